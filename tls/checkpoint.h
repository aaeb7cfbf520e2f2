/* checkpoint.h - a signed tree head: this host's log had so many records, and this root.
 *   {"schema": "skein.checkpoint/1",
 *    "body": {"cluster": UUID, "host": NAME, "size": N, "root": HEX, "at": TIME},
 *    "certificate": PEM, "signature": BASE64,
 *    "cosignatures": [{"body": {"checkpoint": HEX, "witness": NAME, "at": TIME},
 *                      "certificate": PEM, "signature": BASE64}...]}
 * Signed with the host's own key over "skein.checkpoint/1" NUL canonical(body). A cosignature is
 * a voter's, over "skein.cosignature/1" NUL canonical(body): it saw that the log only went on from
 * all that it had seen of it, so that a host that tells two stories is found out.
 * Certificates must have been valid at the signature's own time: a log outlives them.
 * Pure: bytes, root and time are arguments. */
#ifndef SKEIN_TLS_CHECKPOINT_H
#define SKEIN_TLS_CHECKPOINT_H

#include <stdint.h>

#include "tls/anchor.h"
#include "tls/identity.h"

#define CHECKPOINT_SCHEMA "skein.checkpoint/1"
#define COSIGNATURE_SCHEMA "skein.cosignature/1"
#define CHECKPOINT_MAX (64 << 10) /* bytes: seven cosignatures of some 2 KiB, and room */
#define CHECKPOINT_COSIGNATURES_MAX 16

struct checkpoint {
    char host[NAME_SIZE];
    uint64_t size;
    uint8_t root[HASH_SIZE];
    msec at; /* wall clock of the host */
};

struct checkpoint_witness {
    char host[NAME_SIZE];
    msec at;
};

/* The document, without cosignatures; to be freed. */
int checkpoint_sign(const struct checkpoint *c, const struct cluster *cluster,
                    const struct identity *host, char **ret, struct err *err);

/* ERR_INVALID malformed, ERR_UNAUTHENTICATED, ERR_EXPIRED, ERR_DENIED as in anchor.h; also when it
 * was signed by another host than it names, or at a time after now and some skew. machines: the
 * root. Cosignatures are checked too: one that does not hold makes the whole invalid. witnesses
 * (NULL allowed) has room for CHECKPOINT_COSIGNATURES_MAX; they are distinct. */
int checkpoint_verify(const char *bytes, size_t len, const struct anchor *machines,
                      const struct cluster *cluster, msec now, struct checkpoint *ret,
                      struct checkpoint_witness *ret_witnesses, size_t *ret_n, struct err *err);

/* What a witness signs of a checkpoint that it has verified: {"body", "certificate", "signature"};
 * to be freed. */
int cosignature_sign(const char *checkpoint, size_t len, const char *witness,
                     const struct identity *identity, msec now, char **ret, struct err *err);

/* The checkpoint with one more cosignature, which is verified first; to be freed. ERR_EXISTS when
 * that witness has cosigned it. */
int checkpoint_cosigned(const char *checkpoint, size_t len, const char *cosignature,
                        size_t cosignature_len, const struct anchor *machines,
                        const struct cluster *cluster, msec now, char **ret, struct err *err);

/* One certificate's signature over a body, for documents of hosts: who signed it. */
int host_signature_check(const json_t *doc, const char *schema, const struct anchor *machines,
                         const struct cluster *cluster, msec at, struct subject *ret,
                         struct err *err);

#endif
