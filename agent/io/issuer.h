/* issuer.h - issues certificates to hosts that join by a token: reads what they ask (tls/join.h),
 * has the token spent by the voters, verifies by this host's own roster what an admin signed of it,
 * and only then signs, with the names of that. And to members that renew: what they hold now says
 * who they are, for which uses and under which names. Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_ISSUER_H
#define SKEIN_AGENT_IO_ISSUER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/core/step.h"
#include "agent/io/config.h"
#include "agent/io/trust.h"

struct issuer; /* opaque */

/* Everything is borrowed. */
struct issuer_conf {
    const struct config *config;
    struct trust_store *trust;
    void *arg;
    /* POST /v1/tokens/use on this agent's API; the answer comes to issuer_answered. */
    void (*spend)(void *arg, uint64_t token, const char *body);
    /* To a host that asked; takes body, a text or NULL (err says why not). */
    void (*answer)(void *arg, uint64_t to, char *body, const struct err *err);
    /* Does the mesh know such a host already? */
    bool (*known)(void *arg, const char *host);
    /* What this agent itself remembers of the token with that hash, where it votes; else NULL. */
    const Skein__Token *(*remembered)(void *arg, const char *hash);
    /* event "certificates.issued" or "certificates.refused"; fields is borrowed. Of what anybody
     * can cause one refusal a minute is told, with the count of those that were not. */
    void (*audit)(void *arg, const char *event, const json_t *fields);
};

/* Loads issuer.cert and issuer.key. ERR_DENIED, ERR_EXPIRED, ...: it may not issue. */
int issuer_open(const struct issuer_conf *conf, msec wall, struct issuer **ret, struct err *err);
void issuer_free(struct issuer *issuer);

/* A host's whole request; answered by conf.answer, now or later. network: whence (http_network),
 * so that whoever asks too often keeps nobody else out. */
void issuer_join(struct issuer *issuer, struct moment now, uint64_t from, const char *network,
                 const char *bytes, size_t len);
/* A member's; session: the gnutls_session_t by which it proved to be one. Answered at once. */
void issuer_renew(struct issuer *issuer, struct moment now, uint64_t from, void *session,
                  const char *network, const char *bytes, size_t len);
/* Is this token one of its own questions? issuer may be NULL. */
bool issuer_asked(const struct issuer *issuer, uint64_t token);
void issuer_answered(struct issuer *issuer, struct moment now, uint64_t token, unsigned status,
                     const void *body, size_t len);

#endif
