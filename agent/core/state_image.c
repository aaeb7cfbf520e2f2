/* state_image.c - the whole state as a message, and back. */
#include "agent/core/state_priv.h"

static Skein__PlanRecord *plan_record(const struct plan *p)
{
    Skein__PlanRecord *r = xmalloc(sizeof *r);
    skein__plan_record__init(r);
    r->put = (Skein__PlanPut *)codec_copy(&p->put->base);
    r->has_state = r->has_made_at_ms = r->has_made_in_term = r->has_changed_at_ms = 1;
    r->state = p->state;
    r->reason = xstrdup(p->reason);
    r->made_at_ms = (uint64_t)p->made_at;
    r->made_in_term = p->made_in_term;
    r->changed_at_ms = (uint64_t)p->changed_at;
    r->votes = xcalloc(p->n_votes, sizeof(Skein__Vote *));
    r->permits = xcalloc(p->body->n_moves, sizeof(Skein__Permit *));
    r->reports = xcalloc(p->body->n_moves, sizeof(Skein__ActionReport *));
    for (size_t i = 0; i < p->n_votes; i++)
        r->votes[r->n_votes++] = (Skein__Vote *)codec_copy(&p->votes[i]->base);
    for (size_t i = 0; i < p->body->n_moves; i++) {
        const struct plan_item *item = &p->items[i];
        if (item->permit != NULL)
            r->permits[r->n_permits++] = (Skein__Permit *)codec_copy(&item->permit->base);
        if (item->report != NULL)
            r->reports[r->n_reports++] = (Skein__ActionReport *)codec_copy(&item->report->base);
    }
    return r;
}

Skein__StateImage *state_image(const struct state *st)
{
    Skein__StateImage *m = xmalloc(sizeof *m);
    skein__state_image__init(m);
    m->has_index = m->has_term = 1;
    m->index = st->index;
    m->term = st->term;
    m->plans = xcalloc(st->n_plans, sizeof(Skein__PlanRecord *));
    m->used = xcalloc(st->n_used, sizeof(Skein__UsedCommand *));
    m->requests = xcalloc(st->n_requests, sizeof(Skein__RequestRecord *));
    for (size_t i = 0; i < st->n_plans; i++)
        m->plans[m->n_plans++] = plan_record(st->plans[i]);
    for (size_t i = 0; i < st->n_used; i++)
        m->used[m->n_used++] = (Skein__UsedCommand *)codec_copy(&st->used[i]->base);
    for (size_t i = 0; i < st->n_requests; i++)
        m->requests[m->n_requests++] = (Skein__RequestRecord *)codec_copy(&st->requests[i]->base);
    admin_image(st->admin, m);
    library_image(st->library, m);
    rulebook_image(st->rulebook, m);
    tokens_image(st->tokens, m);
    m->orders = xcalloc(st->n_orders, sizeof(Skein__Vote *));
    for (size_t i = 0; i < st->n_orders; i++)
        m->orders[m->n_orders++] = (Skein__Vote *)codec_copy(&st->orders[i]->base);
    if (st->agreed != NULL)
        m->roots = state_roots_message(st->agreed->roots(st->agreed));
    m->heads = xcalloc(st->n_heads, sizeof(Skein__AuditHead *));
    for (size_t i = 0; i < st->n_heads; i++)
        m->heads[m->n_heads++] = (Skein__AuditHead *)codec_copy(&st->heads[i]->base);
    state_power_image(st, m);
    return m;
}

static bool vote_is_whole(const Skein__Vote *v)
{
    return v != NULL && v->has_envelope && v->verdict != NULL && v->person != NULL &&
           v->key != NULL && v->has_expires_at_ms;
}

static int restore_items(struct plan *p, const Skein__PlanRecord *r, struct err *err)
{
    for (size_t i = 0; i < r->n_permits; i++) {
        const Skein__Permit *t = r->permits[i];
        struct plan_item *item = t->action != NULL ? plan_item(p, t->action) : NULL;
        if (item == NULL || item->permit != NULL || t->id == NULL || t->plan == NULL ||
            t->digest == NULL || t->source == NULL || t->destination == NULL)
            return err_set(err, ERR_INVALID, "plan %s: permits[%zu]", p->body->id, i);
        item->permit = (Skein__Permit *)codec_copy(&t->base);
    }
    for (size_t i = 0; i < r->n_reports; i++) {
        const Skein__ActionReport *a = r->reports[i];
        struct plan_item *item = a->action != NULL ? plan_item(p, a->action) : NULL;
        if (item == NULL || item->report != NULL || !a->has_state)
            return err_set(err, ERR_INVALID, "plan %s: reports[%zu]", p->body->id, i);
        item->report = (Skein__ActionReport *)codec_copy(&a->base);
    }
    return 0;
}

static int restore_plan(struct state *st, const Skein__PlanRecord *r, struct err *err)
{
    _cleanup_(plan_freep) struct plan *p = NULL;
    if (r->put == NULL || !r->has_state || (int)r->state < 0 ||
        r->state > SKEIN__PLAN_STATE__PLAN_REJECTED)
        return err_set(err, ERR_INVALID, "a plan without body or of an unknown state");
    if (plan_new(r->put, &p, err) < 0)
        return -(int)err->code;
    p->state = r->state;
    p->made_at = (msec)r->made_at_ms;
    p->made_in_term = r->made_in_term;
    p->changed_at = (msec)r->changed_at_ms;
    free(p->reason);
    p->reason = xstrdup(r->reason != NULL ? r->reason : "");
    if (r->n_votes > GATE_VOTES_MAX)
        return err_set(err, ERR_LIMIT, "plan %s carries too many commands", p->body->id);
    for (size_t i = 0; i < r->n_votes; i++) {
        if (!vote_is_whole(r->votes[i]))
            return err_set(err, ERR_INVALID, "plan %s: votes[%zu]", p->body->id, i);
        state_add_vote(p, (Skein__Vote *)codec_copy(&r->votes[i]->base));
    }
    if (restore_items(p, r, err) < 0 || plan_invariant(p, err) < 0)
        return -(int)err->code;
    ARRAY_RESERVE(st->plans, st->cap_plans, st->n_plans + 1);
    st->plans[st->n_plans++] = TAKE_PTR(p);
    return 0;
}

static int restore_rest(struct state *st, const Skein__StateImage *m, struct err *err)
{
    ARRAY_RESERVE(st->used, st->cap_used, m->n_used);
    ARRAY_RESERVE(st->requests, st->cap_requests, m->n_requests);
    for (size_t i = 0; i < m->n_used; i++) {
        if (m->used[i]->digest == NULL)
            return err_set(err, ERR_INVALID, "used[%zu]", i);
        st->used[st->n_used++] = (Skein__UsedCommand *)codec_copy(&m->used[i]->base);
    }
    for (size_t i = 0; i < m->n_requests; i++) {
        const Skein__RequestRecord *r = m->requests[i];
        if (r->nonce == NULL || !vote_is_whole(r->vote) || r->uuid == NULL || r->to == NULL)
            return err_set(err, ERR_INVALID, "requests[%zu]", i);
        st->requests[st->n_requests++] = (Skein__RequestRecord *)codec_copy(&r->base);
    }
    for (size_t i = 0; i < m->n_orders; i++) {
        struct order order;
        if (!vote_is_whole(m->orders[i]) || state_read_order(m->orders[i], &order, err) < 0)
            return err_set(err, ERR_INVALID, "orders[%zu]", i);
        state_add_order(st, (Skein__Vote *)codec_copy(&m->orders[i]->base));
    }
    if (m->roots != NULL && state_restore_roots(st, m->roots, INT64_MAX / 2, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < m->n_heads; i++)
        if (state_apply_head(st, m->heads[i], err) < 0)
            return err_wrap(err, "heads[%zu]", i);
    return state_power_restore(st, m, err);
}

int state_restore(struct state *st, const Skein__StateImage *image, struct err *err)
{
    _cleanup_(state_freep) struct state *fresh = state_new(st->conf);
    fresh->index = image->index;
    fresh->term = image->term;
    for (size_t i = 0; i < image->n_plans; i++)
        if (restore_plan(fresh, image->plans[i], err) < 0)
            return err_wrap(err, "state image: plans[%zu]", i);
    if (restore_rest(fresh, image, err) < 0 || admin_restore(fresh->admin, image, err) < 0 ||
        library_restore(fresh->library, image, err) < 0 ||
        rulebook_restore(fresh->rulebook, image, err) < 0 ||
        tokens_restore(fresh->tokens, image, err) < 0)
        return err_wrap(err, "state image");
    struct state old = *st;
    *st = *fresh;
    *fresh = old;
    return 0;
}
