/* reserve_start.c - VMs that arrived and start with this host, as they did where they came from:
 * libvirt does not carry that over. The hypervisor is asked until it has agreed, says that the VM
 * is not here, or time is over; until then it is in the journal. */
#include <stdio.h>

#include "agent/core/reserve_priv.h"

#define AGAIN 1000
#define PATIENCE 120000

static void start_ask(struct step *s, struct start *a)
{
    struct hv_job job = {.kind = HV_AUTOSTART};
    snprintf(job.move.uuid, sizeof job.move.uuid, "%s", a->uuid);
    snprintf(job.move.vm, sizeof job.move.vm, "%s", a->vm);
    a->job = effect_job(s, OWNER_RESERVE, &job);
    a->next_mono = s->now.mono + RESERVE_JOB_PATIENCE;
}

static void start_drop(struct reserve *r, size_t i)
{
    free(r->starts[i].key);
    free(r->starts[i].vm);
    r->starts[i] = r->starts[--r->n_starts];
}

void reserve_start_free(struct reserve *r)
{
    while (r->n_starts > 0)
        start_drop(r, r->n_starts - 1);
    free(r->starts);
}

void reserve_start(struct reserve *r, struct step *s, const struct hold *h, const char *key)
{
    ARRAY_RESERVE(r->starts, r->cap_starts, r->n_starts + 1);
    struct start *a = &r->starts[r->n_starts++];
    *a = (struct start){
        .key = xstrdup(key), .vm = xstrdup(h->record->vm), .until_mono = s->now.mono + PATIENCE};
    snprintf(a->uuid, sizeof a->uuid, "%s", h->record->uuid);
    start_ask(s, a);
}

void reserve_start_forget(struct reserve *r, const char *key)
{
    for (size_t i = r->n_starts; i-- > 0;)
        if (strcmp(r->starts[i].key, key) == 0)
            start_drop(r, i);
}

static void start_end(struct reserve *r, struct step *s, size_t i, const struct err *err)
{
    const struct start *a = &r->starts[i];
    if (err->code != ERR_OK && err->code != ERR_NOT_FOUND)
        effect_audit(s, "arrival.autostart_lost", "{s:s, s:s, s:s}", "vm", a->vm, "uuid", a->uuid,
                     "reason", err->msg);
    effect_trace(s, "reserve: that %s starts with this host: %s", a->vm,
                 err->code == ERR_OK ? "agreed" : err->msg);
    effect_journal(s, a->key, NULL);
    start_drop(r, i);
}

bool reserve_start_result(struct reserve *r, struct step *s, const struct hv_result *result)
{
    for (size_t i = 0; i < r->n_starts; i++) {
        struct start *a = &r->starts[i];
        if (a->job != result->job)
            continue;
        bool definite = result->err.code == ERR_OK || result->err.code == ERR_NOT_FOUND;
        a->job = 0;
        a->next_mono = s->now.mono + AGAIN;
        if (definite || s->now.mono >= a->until_mono)
            start_end(r, s, i, &result->err);
        return true;
    }
    return false;
}

void reserve_start_tick(struct reserve *r, struct step *s)
{
    struct err err;
    for (size_t i = r->n_starts; i-- > 0;) {
        struct start *a = &r->starts[i];
        if (s->now.mono < a->next_mono)
            continue;
        if (s->now.mono < a->until_mono) {
            start_ask(s, a);
        } else {
            err_set(&err, ERR_TIMEOUT, "the hypervisor of %s did not answer", s->conf->host);
            start_end(r, s, i, &err);
        }
    }
}
