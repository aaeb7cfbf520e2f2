/* state_orders.c - standing orders: given, taken back, and used for plans that wait. */
#include "agent/core/state_priv.h"
#include "proto/canon.h"

#define ORDERS_MAX 64
#define HOUR ((msec)3600000)

static bool is_order(const Skein__Vote *v)
{
    return strcmp(v->verdict, gate_verb_name(GATE_ORDER)) == 0;
}

int state_read_order(const Skein__Vote *v, struct order *ret, struct err *err)
{
    _cleanup_json_ json_t *command = NULL;
    if (!v->has_command)
        return err_set(err, ERR_INVALID, "a standing order without its command");
    if (canon_parse((const char *)v->command.data, v->command.len, "order", &command, err) < 0)
        return -(int)err->code;
    return order_read(command, ret, err);
}

static void forget(struct state *st, size_t i)
{
    skein__vote__free_unpacked(st->orders[i], NULL);
    memmove(&st->orders[i], &st->orders[i + 1], (--st->n_orders - i) * sizeof *st->orders);
}

static void forget_expired(struct state *st)
{
    for (size_t i = st->n_orders; i-- > 0;)
        if ((msec)st->orders[i]->expires_at_ms <= st->last.at)
            forget(st, i);
}

size_t state_orders(const struct state *st, Skein__Vote *const **ret)
{
    *ret = st->orders;
    return st->n_orders;
}

/* By its digest, or the beginning of it. */
static int find_order(const struct state *st, const char *id, size_t *ret, struct err *err)
{
    size_t found = 0, len = strlen(id);
    for (size_t i = 0; i < st->n_orders; i++)
        if (len > 0 && strncmp(st->orders[i]->key, id, len) == 0) {
            *ret = i;
            found++;
        }
    if (found == 1)
        return 0;
    return err_set(err, found == 0 ? ERR_NOT_FOUND : ERR_CONFLICT, "there %s standing order %.64s",
                   found == 0 ? "is no" : "is more than one", id);
}

void state_add_order(struct state *st, Skein__Vote *vote)
{
    ARRAY_RESERVE(st->orders, st->cap_orders, st->n_orders + 1);
    st->orders[st->n_orders++] = vote;
}

int state_apply_order(struct state *st, const struct gate_vote *v, const json_t *command,
                      const ProtobufCBinaryData *envelope, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    forget_expired(st);
    if (st->n_orders >= ORDERS_MAX)
        return err_set(err, ERR_LIMIT, "%d standing orders are in force", ORDERS_MAX);
    if (canon_dump(command, &text, &len, err) < 0)
        return -(int)err->code;
    Skein__Vote *vote = state_vote_record(v, envelope, st->last.at);
    free(vote->key);
    vote->key = xstrdup(v->envelope_digest);
    vote->rollback = v->order.rollback;
    vote->has_command = 1;
    vote->command = (ProtobufCBinaryData){len, (uint8_t *)TAKE_PTR(text)};
    state_add_order(st, vote);
    st->last.kind = STATE_ORDER;
    st->last.verb = GATE_ORDER;
    snprintf(st->last.about, sizeof st->last.about, "%s (%.12s)", v->order.name,
             v->envelope_digest);
    return 0;
}

/* What waits or runs under it loses the approval: as a vote that ended now, it stays on record. */
static void take_back(struct state *st, const char *digest)
{
    for (size_t i = 0; i < st->n_plans; i++) {
        struct plan *p = st->plans[i];
        for (size_t k = 0; k < p->n_votes && !plan_state_ended(p->state); k++)
            if (is_order(p->votes[k]) && strcmp(p->votes[k]->key, digest) == 0)
                p->votes[k]->expires_at_ms = MIN(p->votes[k]->expires_at_ms, (uint64_t)st->last.at);
    }
}

int state_apply_order_remove(struct state *st, const struct gate_vote *v, struct err *err)
{
    size_t i;
    forget_expired(st);
    if (find_order(st, v->digest, &i, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_ORDER;
    st->last.verb = GATE_ORDER_REMOVE;
    snprintf(st->last.about, sizeof st->last.about, "%.12s", st->orders[i]->key);
    set_text(st->last.reason, sizeof st->last.reason, v->reason);
    take_back(st, st->orders[i]->key);
    forget(st, i);
    return 0;
}

/* ---- using one ---- */

static bool uses(const struct plan *p, const char *digest)
{
    for (size_t i = 0; i < p->n_votes; i++)
        if (is_order(p->votes[i]) && strcmp(p->votes[i]->key, digest) == 0)
            return true;
    return false;
}

/* Moves under it that began in the last hour or may yet begin. */
static unsigned spent(const struct state *st, const char *digest, msec at)
{
    unsigned n = 0;
    for (size_t i = 0; i < st->n_plans; i++) {
        const struct plan *p = st->plans[i];
        for (size_t k = 0; k < p->body->n_moves && uses(p, digest); k++) {
            const struct plan_item *item = &p->items[k];
            bool begun = item->permit != NULL && (msec)item->permit->issued_at_ms > at - HOUR;
            n += begun || (item->permit == NULL && !plan_state_ended(p->state));
        }
    }
    return n;
}

static int check_use(const struct state *st, const struct plan *p, const Skein__Vote *vote, msec at,
                     struct err *err)
{
    struct order o;
    if ((msec)vote->expires_at_ms <= at)
        return err_set(err, ERR_EXPIRED, "the standing order has expired");
    if (p->state != SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL &&
        p->state != SKEIN__PLAN_STATE__PLAN_RECOMMENDED)
        return err_set(err, ERR_STALE, "plan %s is %s", p->body->id, plan_state_name(p->state));
    if (uses(p, vote->key))
        return err_set(err, ERR_EXISTS, "plan %s stands under this order already", p->body->id);
    if (state_read_order(vote, &o, err) < 0 || order_covers(&o, p->body, at, err) < 0)
        return -(int)err->code;
    unsigned n = spent(st, vote->key, at);
    if (n + p->body->n_moves > o.moves_per_hour)
        return err_set(err, ERR_LIMIT, "standing order %s: %u of its %u moves an hour are spent",
                       o.name, n, o.moves_per_hour);
    if (p->n_votes >= GATE_VOTES_MAX - 1)
        return err_set(err, ERR_LIMIT, "plan %s carries too many commands", p->body->id);
    return 0;
}

const Skein__Vote *state_order_for(const struct state *st, const struct plan *p, msec wall,
                                   struct err *err)
{
    struct err why;
    err_set(err, ERR_NOT_FOUND, "no standing order is in force");
    for (size_t i = 0; i < st->n_orders; i++) {
        if (check_use(st, p, st->orders[i], wall, &why) == 0)
            return st->orders[i];
        struct order o; /* of those for its policy, the reason is worth telling */
        if (state_read_order(st->orders[i], &o, err) == 0 && strcmp(o.policy, p->body->policy) == 0)
            *err = why;
    }
    return NULL;
}

int state_apply_order_use(struct state *st, const Skein__OrderUse *use, struct err *err)
{
    struct plan *p;
    size_t i;
    if (use->order == NULL || strlen(use->order) != HASH_HEX_SIZE - 1)
        return err_set(err, ERR_INVALID, "order: a field is missing");
    forget_expired(st);
    if (state_need_plan(st, use->plan, &p, err) < 0 || find_order(st, use->order, &i, err) < 0 ||
        check_use(st, p, st->orders[i], st->last.at, err) < 0)
        return -(int)err->code;
    Skein__Vote *vote = (Skein__Vote *)codec_copy(&st->orders[i]->base);
    vote->at_ms = (uint64_t)st->last.at;
    state_add_vote(p, vote);
    st->last.kind = STATE_APPROVAL;
    st->last.verb = GATE_ORDER;
    set_text(st->last.plan, sizeof st->last.plan, p->body->id);
    set_text(st->last.who, sizeof st->last.who, vote->person);
    set_text(st->last.reason, sizeof st->last.reason, vote->reason);
    st->last.from = st->last.to = p->state;
    if (state_judge(st, p, st->last.at, err) < 0)
        return 0; /* the gate wants more */
    _cleanup_(freep) char *reason =
        xasprintf("by standing order %.12s of %s", vote->key, vote->person);
    state_set(st, p, SKEIN__PLAN_STATE__PLAN_APPROVED, reason);
    return 0;
}
