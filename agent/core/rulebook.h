/* rulebook.h - the rules that people gave the whole cluster: which VMs go together, apart, where.
 * Part of the replicated state: deterministic, time comes from the entries. Every rule carries the
 * signed command it stands for, and enters each snapshot that the planner freezes. VMs are named
 * by UUID or selected by tags: a name may become another's, and then no plan could be made. */
#ifndef SKEIN_AGENT_CORE_RULEBOOK_H
#define SKEIN_AGENT_CORE_RULEBOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/core/command.h"
#include "proto/skein.pb-c.h"
#include "proto/util.h"

#define RULEBOOK_RULES_MAX 500
#define RULEBOOK_RULE_MAX 8192 /* bytes of one, in canonical form */
#define RULEBOOK_NAME_SIZE 65

/* name, roles that may give it */
#define RULEBOOK_VERBS(X)                                                                          \
    X(ADD, "rule-add", TRUST_OPERATOR | TRUST_ADMIN)                                               \
    X(REMOVE, "rule-remove", TRUST_OPERATOR | TRUST_ADMIN)

enum rulebook_verb {

#define X(name, text, roles) RULEBOOK_##name,
    RULEBOOK_VERBS(X)
#undef X
        RULEBOOK_VERB_COUNT
};

const char *rulebook_verb_name(enum rulebook_verb v);
bool rulebook_is_verb(const char *type); /* is this command read here? */

/* A verified command: {"type": "rule-add", "rule": {...}, "reason"} with a rule as snapshots have
 * it, or {"type": "rule-remove", "rule": NAME, "reason"}. */
struct rulebook_command {
    enum rulebook_verb verb;
    char person[128], key[HASH_HEX_SIZE];
    unsigned roles;
    msec expires_at;
    char name[RULEBOOK_NAME_SIZE], reason[COMMAND_REASON_MAX];
    char *rule; /* canonical JSON, owned; NULL: removed */
    size_t rule_len;
};

/* Reads what was verified: well formed, VMs by UUID, a role that may give it. All versions read
 * alike; what the rule means is looked at by rulebook_check. */
int rulebook_read(const struct trust_command *c, struct rulebook_command *ret, struct err *err);
void rulebook_command_done(struct rulebook_command *c);
/* Does this version's planner understand the rule? For those who are about to propose it. */
int rulebook_check(const struct rulebook_command *c, struct err *err);

struct rulebook; /* opaque */

struct rulebook *rulebook_new(void);
void rulebook_free(struct rulebook *b);

/* All rules, sorted by name; borrowed until the next change. */
size_t rulebook_rules(const struct rulebook *b, Skein__Rule *const **ret);

/* 0, or refused and nothing changed. */
int rulebook_apply(struct rulebook *b, const struct rulebook_command *c,
                   const ProtobufCBinaryData *envelope, msec at, struct err *err);

void rulebook_image(const struct rulebook *b, Skein__StateImage *image);
int rulebook_restore(struct rulebook *b, const Skein__StateImage *image, struct err *err);

#endif
