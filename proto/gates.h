/* gates.h - gate rules: which approvals a plan needs, and when its moves may begin. Part of the
 * roster (tls/roster.h), so that only a threshold of admins can change them, and everybody who acts
 * judges by what admins signed. A list of objects, of which all that match a plan must be met:
 *   {"name": TEXT,
 *    what it is about (absent: every plan):
 *    "classes": [CLASS...], "hosts": [NAME or "PREFIX*"...], "tags": {KEY: VALUE...},
 *    "min_actions": N,
 *    what it demands:
 *    "approvers": N       distinct people (default 1), never the one who asked for the plan
 *    "people": [NAME...]  only these count (default: all whose role allows it)
 *    "orders": BOOL       a standing order does instead (default: only where none of approvers,
 *                         people and ticket is given)
 *    "ticket": PATTERN    of the change ticket that every approval names: a POSIX extended regular
 *                         expression for the whole of it
 *    "windows": ["mon-fri 22:00-06:00"...]  moves begin within these alone, UTC, ...
 *    "overrun_minutes": N                   ... or so long after one, of a plan begun in it
 *    "canary": N, "soak_seconds": N         the first N moves, then a rest, then the others
 *    "notice_seconds": N  moves begin no sooner than so long after the plan was approved: the time
 *                         in which owners, whom the hook tells, and people may veto
 *    "hook": TEXT         asked before each move, by the planner and by the source: a program of
 *                         this name in the hosts' folder of hooks, or an http(s) URL
 *    "hook_seconds": N    how long it may take (default 5); no answer means: wait}
 * Unknown members are errors: a bound that this version does not know must not be ignored. Pure. */
#ifndef SKEIN_PROTO_GATES_H
#define SKEIN_PROTO_GATES_H

#include <jansson.h>
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"
#include "proto/units.h"
#include "proto/util.h"
#include "proto/window.h"

#define GATES_MAX 64      /* rules */
#define GATES_LIST_MAX 64 /* classes, hosts, tags, people of one */
#define GATES_WINDOWS_MAX 8
#define GATES_APPROVERS_MAX 8 /* a plan carries few envelopes */
#define GATES_TEXT_MAX 128    /* bytes of a name */
#define GATES_TICKET_MAX 64   /* bytes of a ticket */
#define GATES_HOOK_SECONDS_MAX 8

struct gate_tag {
    char *key, *value;
};

struct gate_rule {
    char *name;
    char **classes, **hosts, **people; /* NULL-terminated; NULL: all */
    struct gate_tag *tags;
    size_t n_tags;
    unsigned min_actions;
    unsigned approvers; /* at least 1 */
    bool orders;
    char *ticket; /* NULL: none is asked for */
    regex_t ticket_regex;
    struct window windows[GATES_WINDOWS_MAX];
    size_t n_windows;
    msec overrun;
    unsigned canary; /* 0: none */
    msec soak;
    msec notice;        /* 0: none */
    char *hook;         /* NULL: none */
    msec hook_patience; /* with a hook */
};

struct gate_rules {
    struct gate_rule *rules;
    size_t n;
};

/* A list of rules; NULL reads as none. ERR_INVALID names the rule and the member. */
int gate_rules_read(const json_t *list, struct gate_rules **ret, struct err *err);
void gate_rules_free(struct gate_rules *rules);
DEFINE_CLEANUP(struct gate_rules, gate_rules_free)

bool gate_rule_names_class(const struct gate_rule *rule, const char *class);
bool gate_rule_names_host(const struct gate_rule *rule, const char *host);
bool gate_rule_names_person(const struct gate_rule *rule, const char *person);
/* "": no ticket. Any ticket does where the rule asks for none. */
bool gate_rule_takes_ticket(const struct gate_rule *rule, const char *ticket);
/* May moves begin at wall? begun: of a plan that has begun, which it did within a window. */
bool gate_rule_open(const struct gate_rule *rule, bool begun, msec wall);

#endif
