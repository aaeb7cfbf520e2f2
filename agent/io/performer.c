#include "agent/io/performer.h"

#include "proto/log.h"
#include "proto/util.h"

/* The effects of one step. */
struct group {
    struct performer *performer;
    struct effects effects;
    bool durable; /* what had to be on the disk is there */
    struct group *next;
};

struct performer {
    struct store *store;
    struct performer_hands hands;
    struct group *first, **last;
    bool stopped;
};

struct performer *performer_new(struct store *store, const struct performer_hands *hands)
{
    struct performer *p = xcalloc(1, sizeof *p);
    p->store = store;
    p->hands = *hands;
    p->last = &p->first;
    return p;
}

static void group_free(struct group *g)
{
    effects_clear(&g->effects);
    free(g);
}

static void hand_out(struct performer *p, struct effect *e)
{
    void *arg = p->hands.arg;
    switch (e->kind) {
    case EFFECT_SEND:
        if (!e->gossip)
            p->hands.send(arg, e);
        break;
    case EFFECT_DIAL:
    case EFFECT_UNDIAL:
    case EFFECT_CLOSE: /* done at once, as gossip is */
        break;
    case EFFECT_PROPOSE:
        p->hands.propose(arg, e);
        break;
    case EFFECT_ANSWER:
        p->hands.answer(arg, e);
        break;
    case EFFECT_JOB:
        p->hands.job(arg, e);
        break;
    case EFFECT_EVALUATE:
        p->hands.evaluate(arg, e);
        break;
    case EFFECT_VOTERS:
        p->hands.voters(arg, e);
        break;
    case EFFECT_YIELD:
        p->hands.yield(arg, e->key);
        break;
    case EFFECT_NOTICE:
        p->hands.notice(arg, e->key);
        break;
    case EFFECT_TRACE:
        p->hands.trace(arg, e->key);
        break;
    case EFFECT_AUDIT:
        p->hands.audited(arg, e->record);
        break;
    case EFFECT_JOURNAL: /* on the disk already */
    case EFFECT_SNAPSHOT:
        break;
    }
}

static bool is_job(enum effect_kind kind)
{
    return kind == EFFECT_JOB || kind == EFFECT_EVALUATE;
}

static void perform(struct performer *p, struct group *g)
{
    for (int jobs = 0; jobs <= 1; jobs++)
        for (size_t i = 0; i < g->effects.n; i++)
            if (is_job(g->effects.items[i].kind) == (jobs == 1))
                hand_out(p, &g->effects.items[i]);
}

static void perform_ready(struct performer *p)
{
    while (p->first != NULL && p->first->durable && !p->stopped) {
        struct group *g = p->first;
        p->first = g->next;
        if (p->first == NULL)
            p->last = &p->first;
        perform(p, g);
        group_free(g);
    }
}

static void stored(void *arg, const struct err *err)
{
    struct group *g = arg;
    struct performer *p = g->performer;
    g->durable = err == NULL;
    if (err != NULL && !p->stopped) {
        p->stopped = true;
        p->hands.failed(p->hands.arg, err);
    }
    perform_ready(p);
}

static bool is_link(enum effect_kind kind)
{
    return kind == EFFECT_DIAL || kind == EFFECT_UNDIAL || kind == EFFECT_CLOSE;
}

/* Gossip promises nothing that has to be on the disk. Returns whether anything else is left. */
static bool perform_gossip(struct performer *p, struct effects *effects)
{
    bool rest = false;
    for (size_t i = 0; i < effects->n; i++) {
        struct effect *e = &effects->items[i];
        if (e->kind == EFFECT_SEND && e->gossip)
            p->hands.send(p->hands.arg, e);
        else if (is_link(e->kind))
            p->hands.dial(p->hands.arg, e);
        else
            rest = true;
    }
    return rest;
}

static void add_audit(struct store_batch *batch, const struct effect *e, msec wall)
{
    _cleanup_(freep) char *text = json_dumps(e->record, JSON_COMPACT | JSON_SORT_KEYS);
    REQUIRE(text != NULL);
    store_audit_append(batch, wall, text);
}

/* The batch of what must be durable, or NULL when there is nothing. */
static struct store_batch *durable_part(const struct effects *effects, msec wall)
{
    struct store_batch *batch = NULL;
    for (size_t i = 0; i < effects->n; i++) {
        const struct effect *e = &effects->items[i];
        if (e->kind != EFFECT_JOURNAL && e->kind != EFFECT_AUDIT && e->kind != EFFECT_SNAPSHOT)
            continue;
        if (batch == NULL)
            batch = store_batch_new();
        if (e->kind == EFFECT_AUDIT)
            add_audit(batch, e, wall);
        else if (e->kind == EFFECT_SNAPSHOT)
            store_snapshot_put(batch, e->key, wall, e->data, e->len);
        else if (e->data != NULL)
            store_journal_put(batch, e->key, e->data, e->len);
        else
            store_journal_delete(batch, e->key);
    }
    return batch;
}

void performer_take(struct performer *p, msec wall, struct effects *effects)
{
    if (effects->n == 0 || p->stopped || !perform_gossip(p, effects)) {
        effects_clear(effects);
        return;
    }
    struct group *g = xcalloc(1, sizeof *g);
    struct store_batch *batch = durable_part(effects, wall);
    g->performer = p;
    g->effects = *effects;
    *effects = (struct effects){0};
    g->durable = batch == NULL;
    *p->last = g;
    p->last = &g->next;
    struct err err = {0};
    if (batch != NULL && store_submit(p->store, batch, stored, g, &err) < 0)
        stored(g, &err);
    else
        perform_ready(p);
}

void performer_stop(struct performer *p)
{
    p->stopped = true;
}

void performer_free(struct performer *p)
{
    if (p == NULL)
        return;
    while (p->first != NULL) {
        struct group *g = p->first;
        p->first = g->next;
        group_free(g);
    }
    free(p);
}
