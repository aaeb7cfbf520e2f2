/* library.h - the policies that the voters hold: each a text under its digest, in its stage.
 * Part of the replicated state: deterministic, time comes from the entries.
 *
 *   a file of the planner ──put──► active              only where none of that name is known: from
 *                                                      then on the files are no longer the truth
 *   a person ──shadow──► shadow ──promote──► active    what was active is kept as the one before
 *   active ──revert──► the one before, or none (retired)
 *
 * That a policy is active means that it proposes. What it proposes moves nothing without approvals
 * that name its digest or the plan's. */
#ifndef SKEIN_AGENT_CORE_LIBRARY_H
#define SKEIN_AGENT_CORE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/core/command.h"
#include "proto/skein.pb-c.h"
#include "proto/util.h"

#define LIBRARY_POLICIES_MAX 64
#define LIBRARY_SOURCE_MAX (128u << 10) /* bytes of one policy that is replicated */
#define LIBRARY_BYTES_MAX (2u << 20)    /* of all of them */
#define LIBRARY_NAME_SIZE 65

enum library_verb { LIBRARY_SHADOW, LIBRARY_PROMOTE, LIBRARY_REVERT, LIBRARY_VERB_COUNT };

const char *library_verb_name(enum library_verb v);
bool library_is_verb(const char *type); /* is this command read here? */

/* A verified command: {"type", "policy", "digest", "source"?, "shadow"?, "reason"}.
 * policy-shadow: source is wanted. policy-promote: a source, or the digest of a version that is
 * held. policy-revert: digest is that of the version to leave; shadow: the shadow is dropped. */
struct library_command {
    enum library_verb verb;
    char person[128], key[HASH_HEX_SIZE], nonce[HASH_HEX_SIZE];
    unsigned roles;
    msec expires_at;
    char policy[LIBRARY_NAME_SIZE], digest[HASH_HEX_SIZE], reason[COMMAND_REASON_MAX];
    bool drop_shadow;
    char *source; /* owned, or NULL */
    size_t source_len;
};

/* Reads what was verified: well formed, the digest that of the source, a role that may give it. */
int library_read(const struct trust_command *c, struct library_command *ret, struct err *err);
void library_command_done(struct library_command *c);

/* As plans and standing orders name a policy's text. */
void library_digest(const char *source, size_t len, char ret[HASH_HEX_SIZE]);

struct library; /* opaque */

struct library *library_new(void);
void library_free(struct library *l);

/* All policies, sorted by name; borrowed until the next change. */
size_t library_records(const struct library *l, Skein__PolicyRecord *const **ret);
const Skein__PolicyRecord *library_find(const struct library *l, const char *name);
/* Changes with every change; for those who keep something about it. */
unsigned library_generation(const struct library *l);

/* 0, or refused and nothing changed. */
int library_put(struct library *l, const Skein__PolicyPut *put, msec at, struct err *err);
int library_apply(struct library *l, const struct library_command *c,
                  const ProtobufCBinaryData *envelope, msec at, struct err *err);

void library_image(const struct library *l, Skein__StateImage *image);
int library_restore(struct library *l, const Skein__StateImage *image, struct err *err);

#endif
