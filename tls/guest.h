/* guest.h - who is at the other end of a TLS session that somebody else keeps, as an HTTP server
 * does: a person of the roster, judged anew at every request, so that a revocation counts at once.
 */
#ifndef SKEIN_TLS_GUEST_H
#define SKEIN_TLS_GUEST_H

#include "tls/anchor.h"
#include "tls/roster.h"

/* GnuTLS' words for what such a server accepts: TLS 1.3, forward secret, AEAD. People may have RSA
 * keys, in tokens; hosts' are on P-256, and a stranger's large RSA key would take its time. */
extern const char guest_priorities[], host_priorities[];

struct guest {
    char name[NAME_SIZE];
    roles roles; /* never empty */
};

/* session: a gnutls_session_t whose handshake is over. ERR_UNAUTHENTICATED: no certificate, or one
 * that does not lead to people's root; ERR_EXPIRED; ERR_DENIED: revoked, or not in the roster with
 * this key. */
int guest_judge(void *session, const struct anchor *people, const struct roster *roster,
                const struct cluster *cluster, msec wall, struct guest *ret, struct err *err);

#endif
