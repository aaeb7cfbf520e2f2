#include "agent/core/budget.h"

#include <stdio.h>

#include "proto/codec.h"

#define HOUR ((msec)3600000)

struct budget {
    const char *side;
    Skein__JournalRecord *record; /* owned: what is journaled */
};

struct budget *budget_new(const char *side)
{
    struct budget *b = xcalloc(1, sizeof *b);
    b->side = side;
    b->record = xmalloc(sizeof *b->record);
    skein__journal_record__init(b->record);
    b->record->budget = xstrdup(side);
    return b;
}

void budget_free(struct budget *b)
{
    if (b == NULL)
        return;
    skein__journal_record__free_unpacked(b->record, NULL);
    free(b);
}

void budget_load(struct budget *b, const Skein__JournalRecord *record)
{
    if (record->budget == NULL || strcmp(record->budget, b->side) != 0)
        return;
    skein__journal_record__free_unpacked(b->record, NULL);
    b->record = (Skein__JournalRecord *)codec_copy(&record->base);
}

static bool is_of(const Skein__Spent *s, const char *plan, const char *action)
{
    return s->plan != NULL && s->action != NULL && strcmp(s->plan, plan) == 0 &&
           strcmp(s->action, action) == 0;
}

/* A clock that was set back makes nothing forgotten. */
static bool is_recent(const Skein__Spent *s, msec wall)
{
    return (msec)s->at_ms > wall - HOUR;
}

struct budget_order budget_order_of(const struct gate_verdict *verdict)
{
    struct budget_order o = {.moves_per_hour = verdict->order_moves_per_hour};
    memcpy(o.order, verdict->order, sizeof o.order);
    memcpy(o.name, verdict->order_name, sizeof o.name);
    return o;
}

int budget_check(const struct budget *b, const struct budget_order *o, unsigned pending,
                 const char *plan, const char *action, msec wall, struct err *err)
{
    unsigned n = pending;
    if (o->order[0] == '\0')
        return 0;
    for (size_t i = 0; i < b->record->n_spent; i++) {
        const Skein__Spent *s = b->record->spent[i];
        if (s->order == NULL || strcmp(s->order, o->order) != 0 || !is_recent(s, wall))
            continue;
        if (is_of(s, plan, action))
            return 0;
        n++;
    }
    if (n < o->moves_per_hour)
        return 0;
    return err_set(err, ERR_LIMIT, "standing order %s: %u moves in the last hour here, %u may be",
                   o->name, n, o->moves_per_hour);
}

static void forget_old(struct budget *b, msec wall)
{
    size_t kept = 0;
    for (size_t i = 0; i < b->record->n_spent; i++) {
        Skein__Spent *s = b->record->spent[i];
        if (is_recent(s, wall))
            b->record->spent[kept++] = s;
        else
            skein__spent__free_unpacked(s, NULL);
    }
    b->record->n_spent = kept;
}

void budget_spend(struct budget *b, struct step *s, const struct budget_order *o, const char *plan,
                  const char *action)
{
    char key[32];
    if (o->order[0] == '\0')
        return;
    forget_old(b, s->now.wall);
    for (size_t i = 0; i < b->record->n_spent; i++)
        if (is_of(b->record->spent[i], plan, action))
            return;
    Skein__Spent spent = SKEIN__SPENT__INIT;
    spent.order = (char *)o->order;
    spent.plan = (char *)plan;
    spent.action = (char *)action;
    spent.has_at_ms = 1;
    spent.at_ms = (uint64_t)s->now.wall;
    size_t n = b->record->n_spent;
    b->record->spent = xrealloc(b->record->spent, n + 1, sizeof *b->record->spent);
    b->record->spent[b->record->n_spent++] = (Skein__Spent *)codec_copy(&spent.base);
    snprintf(key, sizeof key, "budget:%s", b->side);
    effect_journal(s, key, b->record);
}
