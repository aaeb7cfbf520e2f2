/* sequence_step.h - the step being filled: which moves may run at the same time. Pure; internal to
 * sequence.c. Arrivals are held beside what is there; departures free nothing yet. */
#ifndef SKEIN_PLANNER_CORE_SEQUENCE_STEP_H
#define SKEIN_PLANNER_CORE_SEQUENCE_STEP_H

#include "planner/core/sequence.h"

struct step_move {
    int vm, from, to;
};

struct step_entry {
    int set, domain;
};

struct step {
    struct lower *l;
    struct state *s; /* as the step begins */
    msec begins_ms, deadline_ms;

    struct step_move *moves;
    size_t n_moves, cap_moves;
    int64_t *arriving;     /* [host * R + r] */
    int *inflow, *outflow; /* [host] blocks */
    int *vms_in, *vms_out; /* [host] VMs, which share its link */
    int total;             /* blocks */
    int *hosts;            /* touched, to be cleared */
    int n_hosts;
    int *set_use; /* [set] moves of the step with members in it */
    int *sets;    /* touched */
    int n_sets;
    struct step_entry *entered; /* domains that a set's VMs come to */
    size_t n_entered, cap_entered;
    bool alone; /* a move that touches a host kept for some VMs: it goes by itself */
};

void step_init(struct step *t, struct lower *l, struct state *s, msec deadline_ms);
void step_done(struct step *t);

/* The next one begins, at this time. */
void step_clear(struct step *t, msec begins_ms);

/* May block b go to host in this step, beside what is in it? */
bool step_can_go(struct step *t, int b, int to);
void step_add(struct step *t, int b, int to);

/* With the links shared as they are in this step. */
int64_t step_duration(const struct step *t);

/* Would b arrive before the deadline, were the step to begin now and carry nothing else? */
bool step_in_time(const struct step *t, int b, int to);

static inline int block_size(const struct lower *l, int b)
{
    return l->block_first[b + 1] - l->block_first[b];
}

static inline const int *block_members(const struct lower *l, int b)
{
    return &l->block_vms[l->block_first[b]];
}

#endif
