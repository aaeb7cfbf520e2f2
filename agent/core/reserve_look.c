/* reserve_look.c - what this host's hypervisor sees of a VM, for others who ask. */
#include <stdio.h>

#include "agent/core/reserve_priv.h"
#include "proto/codec.h"

static void look_drop(struct reserve *r, size_t i)
{
    skein__look_vm__free_unpacked(r->looks[i].question, NULL);
    r->looks[i] = r->looks[--r->n_looks];
}

void reserve_look_free(struct reserve *r)
{
    while (r->n_looks > 0)
        look_drop(r, r->n_looks - 1);
}

static void look_job(struct step *s, struct look *l, enum hv_kind kind)
{
    struct hv_job job = {.kind = kind};
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", l->question->uuid);
    l->job = effect_job(s, OWNER_RESERVE, &job);
}

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
    struct look *l = &r->looks[r->n_looks++];
    *l = (struct look){.request = id,
                       .question = (Skein__LookVm *)codec_copy(&q->base),
                       .journal = journal_of(r, q, journal),
                       .deadline_mono = s->now.mono + RESERVE_JOB_PATIENCE};
    snprintf(l->from, sizeof l->from, "%s", from);
    look_job(s, l, HV_LOOK);
}

static void answer_seen(struct step *s, const struct look *l, const struct hv_seen *v,
                        const struct baseline *after)
{
    struct buf changed = {0}, wrong = {0};
    Skein__VmSeen seen = SKEIN__VM_SEEN__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    seen.has_present = seen.has_state = seen.has_persistent = seen.has_job = seen.has_journal = 1;
    seen.present = v->present;
    seen.state = v->state;
    seen.persistent = v->persistent;
    seen.job = v->job;
    seen.reason = (char *)v->reason;
    seen.journal = l->journal;
    baseline_compare(l->question->before, MIN(l->question->n_before, (size_t)BASELINE_LINES_MAX),
                     after, &changed, &wrong);
    struct err changed_line = {0}, wrong_line = {0}; /* makes them one line of UTF-8 */
    if (changed.len > 0)
        err_set(&changed_line, ERR_UNKNOWN, "%s", changed.data);
    if (wrong.len > 0)
        err_set(&wrong_line, ERR_UNKNOWN, "%s", wrong.data);
    seen.changed_reason = changed.len > 0 ? changed_line.msg : NULL;
    seen.wrong_reason = wrong.len > 0 ? wrong_line.msg : NULL;
    reply.kind_case = SKEIN__REPLY__KIND_SEEN;
    reply.seen = &seen;
    effect_reply(s, l->from, l->request, &reply, NULL);
    buf_done(&changed);
    buf_done(&wrong);
}

/* What runs here to stay is compared with what it was. */
static bool can_compare(const struct look *l, const struct hv_seen *seen)
{
    return l->question->n_before > 0 && seen->present && !seen->job &&
           seen->state == SKEIN__VM_STATE__VM_RUNNING;
}

/* True: it is answered. What cannot be compared is seen all the same. */
static bool look_result(struct step *s, struct look *l, const struct hv_result *result)
{
    static const struct baseline none;
    if (l->comparing) {
        answer_seen(s, l, &l->seen, &result->baseline);
    } else if (result->err.code != ERR_OK) {
        effect_reply(s, l->from, l->request, NULL, &result->err);
    } else if (can_compare(l, &result->seen)) {
        l->seen = result->seen;
        l->comparing = true;
        look_job(s, l, HV_BASELINE);
        return false;
    } else {
        answer_seen(s, l, &result->seen, &none);
    }
    return true;
}

void reserve_look_result(struct reserve *r, struct step *s, const struct hv_result *result)
{
    for (size_t i = 0; i < r->n_looks; i++)
        if (r->looks[i].job == result->job) {
            if (look_result(s, &r->looks[i], result))
                look_drop(r, i);
            return;
        }
}

void reserve_look_tick(struct reserve *r, const struct step *s)
{
    for (size_t i = r->n_looks; i-- > 0;)
        if (s->now.mono >= r->looks[i].deadline_mono)
            look_drop(r, i);
}
