/* check.h - is this plan safe on this snapshot? An independent second opinion.
 * Pure; shares no code with planner/core, only proto/: its own reading of both documents, its own
 * arithmetic, its own rules, written to be read rather than to be fast.
 *
 * Checked: digests and id; every action against the snapshot (the VM is where the plan says, may
 * move, the destination is fit and compatible); capacity on both ends while a step's moves run;
 * every must rule after every step and in every state between; inflow, outflow, total; n_plus;
 * standby and wake in their order. A rule violated at the start must not get worse. */
#ifndef SKEIN_PLANNER_CHECK_CHECK_H
#define SKEIN_PLANNER_CHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"
#include "proto/units.h"

struct check_finding {
    int step;        /* from 0; -1: about the plan as a whole */
    char action[64]; /* its id, or empty */
    char
        code[32]; /* "CAPACITY", "RULE", "LIMIT", "COMPATIBILITY", "PLACE", "DIGEST", "ORDER" ... */
    char message[256];
};

struct check_report {
    bool ok;
    struct check_finding *findings; /* owned */
    int n_findings;
};

struct check_options {
    msec now;                  /* for holds; QUANTITY_UNKNOWN: the snapshot's taken_at */
    const char *policy_digest; /* must be the body's; NULL = not asked */
};

/* 0 with *ret filled, ok or not; negative where a document cannot be read at all. */
int plan_check(const char *snapshot, size_t snapshot_len, const char *plan, size_t plan_len,
               const struct check_options *options, struct check_report **ret, struct err *err);
void check_report_free(struct check_report *r);

static inline void check_report_freep(struct check_report **r)
{
    check_report_free(*r);
}

#endif
