/* room.h - how many more VMs of a size fit, were hosts lost too? Pure. */
#ifndef SKEIN_PLANNER_CORE_ROOM_H
#define SKEIN_PLANNER_CORE_ROOM_H

#include "planner/core/model.h"

struct room_ask {
    const struct model *model;
    const struct model_vm *like; /* size and needs; host and name are not read */
    int64_t n_plus;              /* so many hosts' loss must stay survivable; 0: not asked */
    int64_t most;                /* counted up to */
};

struct room_answer {
    int64_t fits;        /* with n_plus kept */
    int64_t fits_anyhow; /* by capacity and compatibility alone */
    bool n_plus_holds;   /* already, with none of them */
    int64_t *on;         /* [n_hosts] of `fits`, spread evenly; owned */
    const char **full;   /* [n_hosts] what is short there next: "memory", ..., or why not; owned */
};

int room_count(const struct room_ask *ask, struct room_answer *ret, struct err *err);
void room_answer_done(struct room_answer *a);

#endif
