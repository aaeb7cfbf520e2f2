/* trust.h - the one question the cores ask of cryptography, answered by a pure function of bytes
 * and time that the shell passes in (tls/envelope.h), or by a test. */
#ifndef SKEIN_AGENT_CORE_TRUST_H
#define SKEIN_AGENT_CORE_TRUST_H

#include <jansson.h>

#include "proto/err.h"
#include "proto/gates.h"
#include "proto/hash.h"
#include "proto/units.h"

enum trust_role {
    TRUST_VIEWER = 1 << 0,
    TRUST_OPERATOR = 1 << 1,
    TRUST_APPROVER = 1 << 2,
    TRUST_ADMIN = 1 << 3,
};

/* A verified envelope. */
struct trust_command {
    char person[128];        /* name in the roster */
    unsigned roles;          /* enum trust_role, or-ed */
    char key[HASH_HEX_SIZE]; /* SHA-256 of the person's public key: distinct people */
    char nonce[HASH_HEX_SIZE];
    char digest[HASH_HEX_SIZE]; /* of the envelope: what "used" remembers */
    msec issued_at, expires_at; /* wall */
    json_t *command;            /* object with "type"; owned */
};

void trust_command_done(struct trust_command *command);

/* What envelopes are judged by: the roots, their revocations, the roster. Texts are borrowed. */
struct trust_roots {
    const char *machines, *people, *crl, *roster;
    uint64_t revocations; /* of the lists: both numbers together, which only grow */
    uint64_t roster_version;
};

struct trust {
    void *arg;
    /* Signature, certificate, roster, cluster and times as of wall. */
    int (*verify)(void *arg, const uint8_t *envelope, size_t len, msec wall,
                  struct trust_command *ret, struct err *err);

    /* What the voters agreed on decides for all of them alike, whatever stands in each one's files.
     * NULL in tests that need none: verify is asked then.
     *
     * Judges by roots alone: a pure function of its arguments. previous (NULL: these are the
     * first): the roots must follow it: the same two roots, no older list of revocations, the
     * same roster or one signed by thresholds of the old and the new. */
    int (*follow)(void *arg, const struct trust_roots *roots, const struct trust *previous, msec at,
                  struct trust **ret, struct err *err);
    void (*drop)(struct trust *trust); /* of one that follow made */
    /* What it judges by, also this host's own; lives as long as trust, or until it is reloaded. */
    const struct trust_roots *(*roots)(const struct trust *trust);
    /* Which approvals plans need, as admins signed it; NULL, also as an answer: no rules. */
    const struct gate_rules *(*gates)(const struct trust *trust);
};

static inline const struct gate_rules *trust_gates(const struct trust *trust)
{
    return trust->gates != NULL ? trust->gates(trust) : NULL;
}

#endif
