/* tokens.h - the tokens by which hosts may join (proto/token.h).
 * Part of the replicated state: deterministic, time comes from the entries. An admin's signed
 * command says which host may join, as what, under which names others reach it, and how long: as
 * long as the signature counts. A token is used once, for good, before a certificate is made. */
#ifndef SKEIN_AGENT_CORE_TOKENS_H
#define SKEIN_AGENT_CORE_TOKENS_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/core/command.h"
#include "proto/skein.pb-c.h"
#include "proto/token.h"

#define TOKENS_MAX 256                          /* that are remembered */
#define TOKENS_KEEP_MS (7 * 86400 * (msec)1000) /* after their end, while there is room */
#define TOKENS_NAMES_MAX 16                     /* DNS names, and as many addresses */
#define TOKENS_NAME_SIZE 65                     /* of a host, as certificates have it */
#define TOKENS_ID_SIZE 13                       /* the first digits of its hash */

/* name, roles that may give it, what the audit calls it */
#define TOKENS_VERBS(X)                                                                            \
    X(CREATE, "token-create", TRUST_ADMIN, "token.created")                                        \
    X(REVOKE, "token-revoke", TRUST_ADMIN, "token.revoked")                                        \
    X(USE, "token-use", 0, "token.used") /* nobody signs that: whoever has the secret may */

enum tokens_verb {

#define X(name, text, roles, event) TOKENS_##name,
    TOKENS_VERBS(X)
#undef X
        TOKENS_VERB_COUNT
};

const char *tokens_verb_name(enum tokens_verb v);
const char *tokens_event(enum tokens_verb v);
bool tokens_is_verb(const char *type); /* is this command read here? */

/* A verified command: {"type": "token-create", "host": NAME, "role": "host" (agent, libvirt and
 * QEMU) or "agent" (a host without libvirt), "hash": HEX, "dns": [NAME], "addresses": [IP],
 * "replace": true (though there is such a host already), "reason"} or {"type": "token-revoke",
 * "token": ID, "reason"}. */
struct tokens_command {
    enum tokens_verb verb;
    char person[128], key[HASH_HEX_SIZE];
    unsigned roles;
    msec expires_at;
    char reason[COMMAND_REASON_MAX];
    char hash[HASH_HEX_SIZE]; /* CREATE ... */
    char id[TOKENS_ID_SIZE];
    char host[TOKENS_NAME_SIZE];
    char role[16];
    bool replace;
};

int tokens_read(const struct trust_command *c, struct tokens_command *ret, struct err *err);
/* The names that a token-create gives its host: key is "dns" or "addresses"; borrowed from command.
 * ERR_INVALID: not a list of at most TOKENS_NAMES_MAX names, or addresses, as certificates have
 * them. */
int tokens_names(const json_t *command, const char *key, const char *ret[TOKENS_NAMES_MAX],
                 size_t *ret_n, struct err *err);

struct tokens; /* opaque */

struct tokens *tokens_new(void);
void tokens_free(struct tokens *t);
DEFINE_CLEANUP(struct tokens, tokens_free)

/* All that are remembered, sorted by hash; borrowed until the next change. */
size_t tokens_all(const struct tokens *t, Skein__Token *const **ret);
const Skein__Token *tokens_find(const struct tokens *t, const char *id); /* or NULL */
/* "open", "used", "revoked" or "expired" */
const char *tokens_status(const Skein__Token *token, msec wall);

/* Could whoever asks so join at wall? ERR_NOT_FOUND, ERR_DENIED (revoked; for another host or
 * role), ERR_CONFLICT (used), ERR_EXPIRED. */
int tokens_judge(const struct tokens *t, const Skein__TokenUse *use, msec wall,
                 const Skein__Token **ret, struct err *err);

/* 0, or refused and nothing changed. */
int tokens_apply(struct tokens *t, const struct tokens_command *c,
                 const ProtobufCBinaryData *envelope, msec at, struct err *err);
int tokens_use(struct tokens *t, const Skein__TokenUse *use, msec at, const Skein__Token **ret,
               struct err *err);

void tokens_image(const struct tokens *t, Skein__StateImage *image);
int tokens_restore(struct tokens *t, const Skein__StateImage *image, struct err *err);

#endif
