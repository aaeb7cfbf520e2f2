/* reserve_look.c - what this host's hypervisor sees of a VM, for others who ask. */
#include <stdio.h>

#include "agent/core/reserve_priv.h"

static Skein__JournalState journal_of(const struct reserve *r, const Skein__LookVm *q,
                                      Skein__JournalState journal)
{
    if (journal != SKEIN__JOURNAL_STATE__JOURNAL_NONE || q->plan == NULL || q->action == NULL)
        return journal;
    const struct hold *h = reserve_find(r, q->plan, q->action);
    return h != NULL && reserve_is_held(h) ? SKEIN__JOURNAL_STATE__JOURNAL_RESERVED : journal;
}

void reserve_look(struct reserve *r, struct step *s, const char *from, uint64_t id,
                  const Skein__LookVm *q, Skein__JournalState journal)
{
    struct err err = {0};
    if (q->uuid == NULL || !uuid_is_valid(q->uuid))
        err_set(&err, ERR_INVALID, "look: the UUID is not valid");
    else if (r->n_looks == RESERVE_LOOKS_MAX)
        err_set(&err, ERR_LIMIT, "%d looks are under way", RESERVE_LOOKS_MAX);
    if (err.code != ERR_OK) {
        effect_reply(s, from, id, NULL, &err);
        return;
    }
    struct hv_job job = {.kind = HV_LOOK};
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", q->uuid);
    struct look *l = &r->looks[r->n_looks++];
    *l = (struct look){.request = id,
                       .journal = journal_of(r, q, journal),
                       .deadline_mono = s->now.mono + RESERVE_JOB_PATIENCE};
    snprintf(l->from, sizeof l->from, "%s", from);
    l->job = effect_job(s, OWNER_RESERVE, &job);
}

static void answer_look(struct step *s, const struct look *l, const struct hv_result *result)
{
    Skein__VmSeen seen = SKEIN__VM_SEEN__INIT;
    seen.has_present = seen.has_state = seen.has_persistent = seen.has_job = seen.has_journal = 1;
    seen.present = result->seen.present;
    seen.state = result->seen.state;
    seen.persistent = result->seen.persistent;
    seen.job = result->seen.job;
    seen.reason = (char *)result->seen.reason;
    seen.journal = l->journal;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    if (result->err.code == ERR_OK) {
        reply.kind_case = SKEIN__REPLY__KIND_SEEN;
        reply.seen = &seen;
    }
    effect_reply(s, l->from, l->request, &reply, &result->err);
}

void reserve_look_result(struct reserve *r, struct step *s, const struct hv_result *result)
{
    for (size_t i = 0; i < r->n_looks; i++)
        if (r->looks[i].job == result->job) {
            answer_look(s, &r->looks[i], result);
            r->looks[i] = r->looks[--r->n_looks];
            return;
        }
}

void reserve_look_tick(struct reserve *r, const struct step *s)
{
    for (size_t i = r->n_looks; i-- > 0;)
        if (s->now.mono >= r->looks[i].deadline_mono)
            r->looks[i] = r->looks[--r->n_looks];
}
