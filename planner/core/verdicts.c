#include "planner/core/verdicts.h"

#include <string.h>

#include "proto/util.h"

void verdicts_init(struct verdicts *v, const struct planner_problem *p)
{
    *v = (struct verdicts){
        .judge = p->judge, .ctx = p->judge_ctx, .n_hosts = (uint64_t)p->model->n_hosts};
}

void verdicts_done(struct verdicts *v)
{
    free(v->slots);
    arena_done(&v->arena);
}

static struct verdict_slot *find(struct verdicts *v, uint64_t key)
{
    size_t at = (key * 0x9E3779B97F4A7C15U >> 20) & (v->n_slots - 1);
    while (v->slots[at].key != 0 && v->slots[at].key != key)
        at = (at + 1) & (v->n_slots - 1);
    return &v->slots[at];
}

static void grow(struct verdicts *v)
{
    struct verdict_slot *old = v->slots;
    size_t n = v->n_slots;
    v->n_slots = n == 0 ? 256 : 2 * n;
    v->slots = xcalloc(v->n_slots, sizeof *v->slots);
    for (size_t i = 0; i < n; i++)
        if (old[i].key != 0)
            *find(v, old[i].key) = old[i];
    free(old);
}

/* Equal answers in a row are kept once: they are large, and of millions of pairs most are refused
 * alike. */
static const struct planner_verdict *ask(struct verdicts *v, int vm, int host)
{
    struct planner_verdict answer;
    memset(&answer, 0, sizeof answer);
    v->judge(v->ctx, vm, host, &answer);
    if (v->last == NULL || memcmp(v->last, &answer, sizeof answer) != 0) {
        struct planner_verdict *kept = arena_alloc(&v->arena, sizeof answer);
        memcpy(kept, &answer, sizeof answer);
        v->last = kept;
    }
    return v->last;
}

const struct planner_verdict *verdicts_ask(struct verdicts *v, int vm, int host)
{
    if (v->judge == NULL)
        return NULL;
    if (2 * (v->n + 1) > v->n_slots)
        grow(v);
    uint64_t key = (uint64_t)vm * v->n_hosts + (uint64_t)host + 1;
    struct verdict_slot *slot = find(v, key);
    static const struct planner_verdict not_asked = {
        .reject = true, .code = "NOT_ASKED", .message = "the policy was not asked about it"};
    if (slot->key == 0 && v->closed)
        return &not_asked;
    if (slot->key == 0) {
        slot->key = key;
        slot->verdict = ask(v, vm, host);
        v->n++;
    }
    return slot->verdict;
}
