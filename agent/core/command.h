/* command.h - what a person signed, verified and opened: the beginning of every signed command.
 * What it orders is read by gate.h (plans) or admin.h (hosts, freezes, holds). Pure. */
#ifndef SKEIN_AGENT_CORE_COMMAND_H
#define SKEIN_AGENT_CORE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/trust.h"
#include "proto/err.h"
#include "proto/units.h"

#define COMMAND_ENVELOPE_MAX (16u << 10) /* bytes of one signed command ... */
#define COMMAND_POLICY_MAX (192u << 10)  /* ... and of one that carries a policy's source */
#define COMMAND_REASON_MAX 512

/* Verifies one envelope as of wall; an expired one or one for another cluster is refused. End *ret
 * with trust_command_done. */
int command_open(const struct trust *trust, const char *cluster_uuid, const uint8_t *envelope,
                 size_t len, msec wall, struct trust_command *ret, struct err *err);
/* "type" of the command, or NULL. */
const char *command_type(const struct trust_command *c);

struct command_verb {
    const char *name; /* the command's "type" */
    unsigned roles;   /* any of them may give it */
};

/* Which of them it is; -1: none. type may be NULL. */
int command_find_verb(const struct command_verb *verbs, size_t n, const char *type);

/* A text of the command that fits into ret whole, without control characters; "" when absent. */
int command_text(const json_t *command, const char *key, bool required, char *ret, size_t size,
                 struct err *err);
/* A whole number up to max; 0 when absent. */
int command_number(const json_t *command, const char *key, int64_t max, int64_t *ret,
                   struct err *err);

#endif
