/* envelope.h - a person's command, signed: what every mutating request is.
 *   {"schema": "skein.envelope/1",
 *    "payload": {"cluster": UUID, "nonce": 32 hex digits, "issued_at": TIME, "expires_at": TIME,
 *                "command": {"type": ..., ...}},
 *    "certificate": PEM, "signature": BASE64}
 * The signature is over "skein.envelope/1" NUL canonical(payload); the digest is the SHA-256 of
 * the same bytes, so that it names the command whoever re-encodes the signature.
 * Pure: time and nonce are arguments. */
#ifndef SKEIN_TLS_ENVELOPE_H
#define SKEIN_TLS_ENVELOPE_H

#include <jansson.h>

#include "tls/anchor.h"
#include "tls/identity.h"
#include "tls/roster.h"

#define ENVELOPE_SCHEMA "skein.envelope/1"
#define ENVELOPE_MAX (256 << 10)                    /* bytes */
#define ENVELOPE_LIFETIME_MAX ((msec)31 * 86400000) /* used digests are kept this long */
#define ENVELOPE_SKEW ((msec)2000) /* approvals are refused when clocks differ by more */
#define ENVELOPE_NONCE_SIZE 16

/* command: an object with a "type" (borrowed). The document, to be freed. */
int envelope_sign(const json_t *command, const struct identity *identity,
                  const struct cluster *cluster, msec now, msec lifetime,
                  const uint8_t nonce[ENVELOPE_NONCE_SIZE], char **ret, struct err *err);

struct envelope {
    char person[NAME_SIZE];
    roles roles;             /* as the roster has them */
    char key[HASH_HEX_SIZE]; /* SPKI SHA-256: tells distinct people apart */
    char nonce[2 * ENVELOPE_NONCE_SIZE + 1];
    char digest[HASH_HEX_SIZE]; /* of the payload: what "used" remembers */
    msec issued_at, expires_at; /* wall */
    json_t *command;            /* owned: an object with a string "type", as it was signed */
};

void envelope_done(struct envelope *e);

/* people: the root with its revocations. now: wall clock. Codes:
 *   ERR_LIMIT            too large
 *   ERR_INVALID          malformed, unknown members, lifetime out of range
 *   ERR_UNAUTHENTICATED  another cluster's; certificate not ours; signature does not fit
 *   ERR_EXPIRED          expired, not valid yet (or their certificate is so)
 *   ERR_DENIED           not in the roster; certificate revoked or for another use
 * Whether the roles suffice for the command is for the caller to say. */
int envelope_verify(const char *bytes, size_t len, const struct roster *roster,
                    const struct anchor *people, const struct cluster *cluster, msec now,
                    struct envelope *ret, struct err *err);

#endif
