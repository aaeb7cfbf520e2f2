/* invariants_priv.h - what the checker remembers; shared by invariants.c and invariants_rules.c. */
#ifndef SKEIN_TESTS_LIB_INVARIANTS_PRIV_H
#define SKEIN_TESTS_LIB_INVARIANTS_PRIV_H

#include "proto/util.h"
#include "tests/lib/invariants.h"

#define NAME_SIZE 160
#define NOWHERE (-1)

enum domain_state {
    DOMAIN_ABSENT,
    DOMAIN_RUNNING,
    DOMAIN_PAUSED,
    DOMAIN_STOPPED,
    DOMAIN_CRASHED,
    DOMAIN_INCOMING
};

struct domain {
    enum domain_state state;
    bool persistent, job;
    int64_t since; /* in this state */
};

struct inv_host {
    char name[NAME_SIZE];
    int64_t memory_mib, vcpus, inflow, outflow; /* 0: not known */
    bool voter;
    int64_t closed_at; /* cordoned or draining since: nothing may come; 0: open */
    bool drains;
    struct domain *domains; /* one a VM */
};

struct inv_vm {
    char uuid[NAME_SIZE];
    int64_t memory_mib, vcpus;
    bool broken, seen;
    bool persistent;     /* it was defined once */
    int64_t broken_at;   /* last; 0: never */
    int64_t held_at;     /* a person holds it since; 0: nobody does */
    int64_t operator_at; /* a person's hand was on it last; 0: never */
};

struct inv_action {
    char plan[NAME_SIZE], action[NAME_SIZE];
    int vm, from, to;
    int64_t step;
    char permit[NAME_SIZE]; /* the newest committed */
    int64_t permit_at, permit_term, attempt;
    uint64_t confirmed_source, confirmed_destination; /* bits of voters, for that permit */
    unsigned started;
    int64_t started_at, aborted_at;
    bool job;     /* told, and not known to have ended */
    bool arrived; /* its domain was seen at the destination since */
    bool journal_started, audit_started, held;
    int64_t held_until;
    bool ended;    /* a source concluded */
    bool returned; /* the attempt is over and the VM where it was: another permit may try again */
    char outcome[NAME_SIZE];
    char reported[NAME_SIZE]; /* the committed outcome; "" while it is open */
};

struct inv_plan {
    char plan[NAME_SIZE], class[NAME_SIZE], author[NAME_SIZE], state[NAME_SIZE];
    int64_t at;

    struct known {
        int host;
        int64_t at;
    } * cancel_known; /* owned */

    size_t n_known, cap_known;
};

struct inv_vote {
    char plan[NAME_SIZE], person[NAME_SIZE], what[NAME_SIZE];
    int64_t at, until;
};

struct inv_term {
    int64_t term;
    int host;
};

struct inv_image {
    int64_t index;
    char digest[NAME_SIZE];
};

struct inv_command {
    char digest[NAME_SIZE];
};

struct invariants {
    int64_t now;
    uint64_t complete; /* bits of kinds */
    int64_t total, permit_lifetime, timeout, slack;
    int64_t frozen_at; /* 0: not frozen */
    struct inv_host *hosts;
    size_t n_hosts, cap_hosts;
    struct inv_vm *vms;
    size_t n_vms, cap_vms;
    struct inv_action *actions;
    size_t n_actions, cap_actions;
    struct inv_plan *plans;
    size_t n_plans, cap_plans;
    struct inv_vote *votes;
    size_t n_votes, cap_votes;
    struct inv_term *terms;
    size_t n_terms, cap_terms;
    struct inv_image *images;
    size_t n_images, cap_images;
    struct inv_command *commands;
    size_t n_commands, cap_commands;
};

#define BROKEN(err, number, ...) broken((err), (number), __VA_ARGS__)
int broken(struct err *err, int number, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static inline bool is_complete(const struct invariants *inv, enum fact_kind kind)
{
    return (inv->complete & UINT64_C(1) << kind) != 0;
}

/* A running copy, or one that may become so by itself. */
static inline bool domain_runs(const struct domain *d)
{
    return d->state == DOMAIN_RUNNING;
}

static inline bool domain_takes(const struct domain *d)
{
    return d->state == DOMAIN_RUNNING || d->state == DOMAIN_PAUSED || d->state == DOMAIN_INCOMING;
}

/* A person's hand was on this VM while the action ran or a moment ago: what follows is not only
 * Skein's doing. */
#define OPERATOR_SHADOW 60000

static inline bool in_shadow(const struct invariants *inv, const struct inv_vm *vm, int64_t since)
{
    return vm->operator_at != 0 &&
           (vm->operator_at >= since || inv->now - vm->operator_at < OPERATOR_SHADOW);
}

struct inv_plan *inv_plan(struct invariants *inv, const char *plan);
struct inv_action *inv_action(struct invariants *inv, const char *plan, const char *action);

/* invariants_rules.c: each called when the fact has been recorded. */
int rule_domain(struct invariants *inv, int host, int vm, const struct domain *before,
                struct err *err);
int rule_admitted(struct invariants *inv, const struct inv_action *a, int64_t seen_at,
                  struct err *err);
int rule_started(struct invariants *inv, struct inv_action *a, const struct fact *f, int host,
                 struct err *err);
int rule_permit(struct invariants *inv, const struct inv_action *a, const struct fact *f,
                struct err *err);
int rule_confirmed(const struct inv_action *a, const struct fact *f, struct err *err);
int rule_aborted(struct invariants *inv, int host, int vm, struct err *err);
int rule_tidied(struct invariants *inv, int host, int vm, struct err *err);
int rule_ended(struct invariants *inv, const struct inv_action *a, const char *outcome,
               struct err *err);
int rule_returned(struct invariants *inv, const struct inv_action *a, struct err *err);
int rule_planning(const struct invariants *inv, const struct fact *f, struct err *err);
int rule_released(struct invariants *inv, const struct inv_action *a, struct err *err);
int rule_settled(struct invariants *inv, struct err *err);

#endif
