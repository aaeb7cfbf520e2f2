#include "agent/core/setback.h"

#define FAILED SKEIN__ACTION_STATE__ACTION_FAILED
#define SUCCEEDED SKEIN__ACTION_STATE__ACTION_SUCCEEDED
#define NEEDS_OPERATOR SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR

/* ---- back-off ---- */

struct ending {
    const struct plan_move *move;
    const Skein__ActionReport *report;
};

static int by_vm_and_time(const void *a, const void *b)
{
    const struct ending *x = a, *y = b;
    int order = strcmp(x->move->uuid, y->move->uuid);
    if (order != 0)
        return order;
    return (x->report->ended_at_ms > y->report->ended_at_ms) -
           (x->report->ended_at_ms < y->report->ended_at_ms);
}

/* Moves that ended well or not, of the last day. */
static size_t collect(const struct state *st, msec wall, struct ending **ret)
{
    size_t n = 0, cap = 0;
    struct plan *const *plans;
    size_t n_plans = state_plans(st, &plans);
    *ret = NULL;
    for (size_t i = 0; i < n_plans; i++)
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const Skein__ActionReport *r = plans[i]->items[k].report;
            if (r == NULL || (r->state != FAILED && r->state != SUCCEEDED) ||
                plan_move_is_power(plans[i]->items[k].move) ||
                sat_sub(wall, (msec)r->ended_at_ms) >= SETBACK_MEMORY_MS)
                continue;
            ARRAY_RESERVE(*ret, cap, n + 1);
            (*ret)[n++] = (struct ending){plans[i]->items[k].move, r};
        }
    if (n > 0)
        qsort(*ret, n, sizeof **ret, by_vm_and_time);
    return n;
}

static msec rest_time(unsigned failures)
{
    msec rest = SETBACK_FIRST_MS;
    for (unsigned i = 1; i < failures && rest < SETBACK_LONGEST_MS; i++)
        rest *= 2;
    return MIN(rest, (msec)SETBACK_LONGEST_MS);
}

static void note(struct setback *s, const struct ending *e)
{
    if (e->report->state == SUCCEEDED) {
        s->failures = 0;
        return;
    }
    s->failures++;
    s->vm = e->move->vm;
    s->failed_at = (msec)e->report->ended_at_ms;
    s->until = sat_add(s->failed_at, rest_time(s->failures));
}

size_t setbacks(const struct state *st, msec wall, struct setback **ret)
{
    struct ending *endings;
    size_t n = collect(st, wall, &endings), kept = 0;
    *ret = xcalloc(n, sizeof **ret);
    for (size_t i = 0, end; i < n; i = end) {
        struct setback s = {.uuid = endings[i].move->uuid};
        for (end = i; end < n && strcmp(endings[end].move->uuid, s.uuid) == 0; end++)
            note(&s, &endings[end]);
        if (s.failures > 0 && s.until > wall)
            (*ret)[kept++] = s;
    }
    free(endings);
    return kept;
}

/* ---- the breaker ---- */

static bool had_begun(const Skein__ActionReport *r)
{
    return r->has_started_at_ms && r->started_at_ms != 0;
}

static int by_time(const void *a, const void *b)
{
    msec x = *(const msec *)a, y = *(const msec *)b;
    return (x > y) - (x < y);
}

/* It closes when so many failures have left the window that too few are in it. */
static msec closes_at(msec *failed, unsigned n)
{
    qsort(failed, n, sizeof *failed, by_time);
    return sat_add(failed[n - BREAKER_FAILURES], BREAKER_WINDOW_MS);
}

void breaker_read(const struct state *st, msec wall, struct breaker *ret)
{
    struct plan *const *plans;
    size_t n = state_plans(st, &plans), cap = 0;
    _cleanup_(freep) msec *failed = NULL;
    *ret = (struct breaker){0};
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const Skein__ActionReport *r = plans[i]->items[k].report;
            bool ended = r != NULL && had_begun(r) && plan_action_ended(r->state) &&
                         sat_sub(wall, (msec)r->ended_at_ms) < BREAKER_WINDOW_MS;
            if (!ended)
                continue;
            ret->ended++;
            if (r->state != FAILED && r->state != NEEDS_OPERATOR)
                continue;
            ARRAY_RESERVE(failed, cap, ret->failed + 1);
            failed[ret->failed++] = (msec)r->ended_at_ms;
        }
    ret->open =
        ret->failed >= BREAKER_FAILURES && ret->failed * 100 >= ret->ended * BREAKER_PERCENT;
    if (ret->open)
        ret->until = closes_at(failed, ret->failed);
}

int breaker_check(const struct state *st, const char *class, msec wall, struct err *err)
{
    struct breaker b;
    char until[TIME_TEXT_SIZE];
    if (plan_class_is_asked_for(class))
        return 0; /* people look at what they ask for */
    breaker_read(st, wall, &b);
    if (!b.open)
        return 0;
    time_format(b.until, until);
    return err_set(
        err, ERR_UNAVAILABLE,
        "the circuit breaker is open: %u of %u moves failed within %d minutes; it closes "
        "at %s unless more fails",
        b.failed, b.ended, BREAKER_WINDOW_MS / 60000, until);
}
