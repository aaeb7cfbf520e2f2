/* trust.h - agent/core/trust.h over tls/: this host's own copy of roots, revocations and roster.
 * Read from tls.directory: machines.pem, people.pem, crl.pem, roster.json, cluster.json. */
#ifndef SKEIN_AGENT_IO_TRUST_H
#define SKEIN_AGENT_IO_TRUST_H

#include "agent/core/trust.h"
#include "tls/guest.h"
#include "tls/handles.h"
#include "tls/names.h"

struct trust_store; /* opaque */

int trust_open(const char *directory, msec wall, struct trust_store **ret, struct err *err);
/* Read the files again; on error what was loaded stays. */
int trust_reload(struct trust_store *store, msec wall, struct err *err);
/* What others hold, where it is newer and follows what this host holds: a longer list of
 * revocations signed by the same roots, a roster signed by thresholds of the old and the new. Kept
 * in the files. The numbers in told are not looked at. */
int trust_adopt(struct trust_store *store, const struct trust_roots *told, msec wall,
                bool *ret_changed, struct err *err);
/* The person at the other end of a TLS session (tls/guest.h), by this host's own roots, revocations
 * and roster. */
int trust_guest(const struct trust_store *store, void *session, msec wall, struct guest *ret,
                struct err *err);
/* Whose this chain is, by this host's own roots and revocations; as anchor_verify. */
int trust_member(const struct trust_store *store, const struct chain *chain, enum identity_use use,
                 msec wall, struct subject *ret, struct err *err);
/* May a certificate authority below the machines' root issue, as of wall, by this host's own roots
 * and revocations? */
int trust_issuer(const struct trust_store *store, gnutls_x509_crt_t issuer, msec wall,
                 struct err *err);
void trust_close(struct trust_store *store);

const struct trust *trust_of(const struct trust_store *store); /* lives as long as the store */
const struct cluster *trust_cluster(const struct trust_store *store);

#endif
