/* join.h - what a host that joins, or renews, asks of an issuer, and what it is answered.
 *   {"schema": "skein.join/1", "host": NAME, "secret": HEX (of its token; absent: it renews),
 *    "requests": {"agent": PKCS#10 as PEM, "libvirt": ..., "qemu": ...},
 *    "present": {"libvirt": PEM with what stands above it, "qemu": ...}} (renewing, what it holds)
 *   {"schema": "skein.joined/1", "cluster": {"name", "uuid"}, "certificates": {"agent": PEM, ...},
 *    "issuer": PEM, "machines": PEM, "people": PEM, "crl": PEM, "roster": TEXT, "peers": [ADDRESS],
 *    "voters": [NAME]}
 * Of a request its public key alone counts, once its signature proves that the other half is there:
 * names and uses are the issuer's to say. Pure. */
#ifndef SKEIN_TLS_JOIN_H
#define SKEIN_TLS_JOIN_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <jansson.h>

#include "proto/units.h"
#include "proto/util.h"
#include "tls/names.h"

#define JOIN_REQUEST_MAX (32u << 10) /* bytes; three RSA-4096 requests take 6,000 */
#define JOIN_ANSWER_MAX (4u << 20)   /* bytes; lists of revocations grow */
#define JOIN_USES USE_PERSON         /* a host's uses come before it */

struct join_request {
    char host[NAME_SIZE];
    char secret[HASH_HEX_SIZE];      /* "": it renews */
    gnutls_pubkey_t keys[JOIN_USES]; /* owned; NULL: not asked for */
    char *present[JOIN_USES];        /* owned; NULL: not said */
    char digest[HASH_HEX_SIZE];      /* of all its bytes */
};

void join_request_done(struct join_request *request);
/* ERR_INVALID: not well formed, without an agent's request, or a key of a kind or size that its use
 * does not allow; ERR_LIMIT; ERR_UNAUTHENTICATED: a request that its own key did not sign. */
int join_request_read(const char *bytes, size_t len, struct join_request *ret, struct err *err);
/* "host": all three are asked for, "agent": one, NULL: neither. */
const char *join_request_role(const struct join_request *request);

/* secret NULL: to renew; present NULL: nothing is said of what it holds. keys[use] NULL: not asked
 * for. To be freed, wiped first. */
int join_request_write(const char *host, const char *secret,
                       const gnutls_x509_privkey_t keys[JOIN_USES], char *const present[JOIN_USES],
                       char **ret, struct err *err);

struct join_answer {
    struct cluster cluster;
    const char *certificates[JOIN_USES]; /* PEM of each leaf; NULL: not asked for */
    const char *issuer, *machines, *people, *crl, *roster;
    const json_t *peers, *voters; /* lists of texts */
    json_t *doc;                  /* of one that was read: what the others are borrowed from */
};

char *join_answer_write(const struct join_answer *answer);
int join_answer_read(const char *bytes, size_t len, struct join_answer *ret, struct err *err);
void join_answer_done(struct join_answer *answer);

/* Is it what was asked for: under a root whose key has the digest root, of this cluster, in this
 * host's name, each certificate for its use and with the key that was made here? */
int join_answer_check(const struct join_answer *answer, const char *root, const char *cluster,
                      const char *host, const gnutls_x509_privkey_t keys[JOIN_USES], msec now,
                      struct err *err);
/* Is the people's root the one whose key has this digest, and its roster of the cluster, by name
 * and UUID, that the answer is of? For who has none of his own yet. */
int join_answer_check_people(const struct join_answer *answer, const char *root, msec now,
                             struct err *err);

#endif
