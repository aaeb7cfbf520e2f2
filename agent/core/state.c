#include "agent/core/state_priv.h"

/* A state without voters is a test's: it has the whole log. */
struct state *state_new(const struct node_conf *conf)
{
    struct state *st = xcalloc(1, sizeof *st);
    st->conf = conf;
    bool votes = conf->n_voters == 0 || step_votes(conf, conf->host);
    st->admin = admin_new(votes ? NULL : conf->host);
    st->library = library_new();
    st->rulebook = rulebook_new();
    st->tokens = tokens_new();
    return st;
}

static void clear(struct state *st)
{
    for (size_t i = 0; i < st->n_plans; i++)
        plan_free(st->plans[i]);
    for (size_t i = 0; i < st->n_requests; i++)
        skein__request_record__free_unpacked(st->requests[i], NULL);
    for (size_t i = 0; i < st->n_used; i++)
        skein__used_command__free_unpacked(st->used[i], NULL);
    for (size_t i = 0; i < st->n_heads; i++)
        skein__audit_head__free_unpacked(st->heads[i], NULL);
    free(st->heads);
    for (size_t i = 0; i < st->n_orders; i++)
        skein__vote__free_unpacked(st->orders[i], NULL);
    free(st->orders);
    state_drop_roots(st);
    state_power_clear(st);
    free(st->plans);
    free(st->requests);
    free(st->used);
    admin_free(st->admin);
    library_free(st->library);
    rulebook_free(st->rulebook);
    tokens_free(st->tokens);
}

void state_free(struct state *st)
{
    if (st == NULL)
        return;
    clear(st);
    free(st);
}

/* ---- looking things up ---- */

struct plan *state_find_plan(const struct state *st, const char *id)
{
    for (size_t i = 0; id != NULL && i < st->n_plans; i++)
        if (strcmp(st->plans[i]->body->id, id) == 0)
            return st->plans[i];
    return NULL;
}

int state_need_plan(const struct state *st, const char *id, struct plan **ret, struct err *err)
{
    *ret = state_find_plan(st, id);
    if (*ret == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no plan %s", id != NULL ? id : "without id");
    return 0;
}

struct plan *state_plan(const struct state *st, const char *prefix)
{
    struct plan *found = NULL;
    size_t len = strlen(prefix);
    for (size_t i = 0; i < st->n_plans; i++) {
        if (strncmp(st->plans[i]->body->digest, prefix, len) != 0 || len == 0)
            continue;
        if (found != NULL)
            return NULL;
        found = st->plans[i];
    }
    return found;
}

size_t state_plans(const struct state *st, struct plan *const **ret)
{
    *ret = st->plans;
    return st->n_plans;
}

size_t state_requests(const struct state *st, Skein__RequestRecord *const **ret)
{
    *ret = st->requests;
    return st->n_requests;
}

Skein__RequestRecord *state_find_request(const struct state *st, const char *nonce)
{
    for (size_t i = 0; nonce != NULL && i < st->n_requests; i++)
        if (strcmp(st->requests[i]->nonce, nonce) == 0)
            return st->requests[i];
    return NULL;
}

const Skein__RequestRecord *state_request(const struct state *st, const char *nonce)
{
    return state_find_request(st, nonce);
}

bool state_request_open(const Skein__RequestRecord *r)
{
    return r->plan == NULL && r->message == NULL;
}

/* The newest permit with this id, and where it stands. */
const Skein__Permit *state_find_permit(const struct state *st, const char *id,
                                       const struct plan **ret_plan,
                                       const struct plan_item **ret_item)
{
    for (size_t i = 0; id != NULL && i < st->n_plans; i++)
        for (size_t k = 0; k < st->plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &st->plans[i]->items[k];
            if (item->permit == NULL || strcmp(item->permit->id, id) != 0)
                continue;
            *ret_plan = st->plans[i];
            *ret_item = item;
            return item->permit;
        }
    return NULL;
}

const Skein__Permit *state_permit(const struct state *st, const char *permit_id,
                                  uint64_t *ret_term_committed)
{
    const struct plan *p;
    const struct plan_item *i;
    const Skein__Permit *permit = state_find_permit(st, permit_id, &p, &i);
    if (permit != NULL && ret_term_committed != NULL)
        *ret_term_committed = permit->term; /* apply_permit: no other gets in */
    return permit;
}

const struct admin *state_admin(const struct state *st)
{
    return st->admin;
}

const struct library *state_library(const struct state *st)
{
    return st->library;
}

const struct rulebook *state_rulebook(const struct state *st)
{
    return st->rulebook;
}

const struct tokens *state_tokens(const struct state *st)
{
    return st->tokens;
}

void state_learn(struct state *st, const Skein__Bulletin *bulletin, msec wall)
{
    admin_learn(st->admin, bulletin, st->conf->trust, st->conf->cluster_uuid, wall);
}

uint64_t state_index(const struct state *st)
{
    return st->index;
}

uint64_t state_term(const struct state *st)
{
    return st->term;
}

const struct state_change *state_last(const struct state *st)
{
    return &st->last;
}

/* ---- applying ---- */

/* Old ended plans go, oldest first. */
static void retain(struct state *st)
{
    size_t ended = 0, bytes = 0, kept = 0;
    for (size_t i = 0; i < st->n_plans; i++)
        if (plan_state_ended(st->plans[i]->state)) {
            ended++;
            bytes += st->plans[i]->put->body.len;
        }
    for (size_t i = 0; i < st->n_plans; i++) {
        struct plan *p = st->plans[i];
        if (plan_state_ended(p->state) &&
            (ended > STATE_ENDED_MAX || (bytes > STATE_ENDED_BYTES && ended > 1))) {
            ended--;
            bytes -= p->put->body.len;
            plan_free(p);
            continue;
        }
        st->plans[kept++] = p;
    }
    st->n_plans = kept;
}

static int apply_policy(struct state *st, const Skein__PolicyPut *put, struct err *err)
{
    if (library_put(st->library, put, st->last.at, err) < 0)
        return -(int)err->code;
    st->last.kind = STATE_POLICY;
    set_text(st->last.about, sizeof st->last.about, put->name);
    set_text(st->last.digest, sizeof st->last.digest,
             library_find(st->library, put->name)->active->digest);
    return 0;
}

static int apply(struct state *st, const Skein__Entry *entry, struct err *err)
{
    switch (entry->kind_case) {
    case SKEIN__ENTRY__KIND_PLAN:
        return state_apply_put(st, entry->plan, err);
    case SKEIN__ENTRY__KIND_CHANGE:
        return state_apply_change(st, entry->change, err);
    case SKEIN__ENTRY__KIND_ENVELOPE:
        return state_apply_envelope(st, entry->envelope, err);
    case SKEIN__ENTRY__KIND_PERMIT:
        return state_apply_permit(st, entry->permit, err);
    case SKEIN__ENTRY__KIND_REPORT:
        return state_apply_report(st, entry->report, err);
    case SKEIN__ENTRY__KIND_CLOSE:
        return state_apply_close(st, entry->close, err);
    case SKEIN__ENTRY__KIND_ORDER_USE:
        return state_apply_order_use(st, entry->order_use, err);
    case SKEIN__ENTRY__KIND_ROOTS:
        return state_apply_roots(st, entry->roots, err);
    case SKEIN__ENTRY__KIND_POLICY:
        return apply_policy(st, entry->policy, err);
    case SKEIN__ENTRY__KIND_TOKEN_USE:
        return state_apply_token_use(st, entry->token_use, err);
    case SKEIN__ENTRY__KIND_VOTERS:
        return state_apply_voters(st, entry->voters, err);
    case SKEIN__ENTRY__KIND_HEAD:
        return state_apply_head(st, entry->head, err);
    case SKEIN__ENTRY__KIND__NOT_SET:
    case _SKEIN__ENTRY__KIND__CASE_IS_INT_SIZE:
        break;
    }
    return err_set(err, ERR_UNSUPPORTED, "an entry of a kind unknown to this version");
}

int state_apply(struct state *st, const Skein__Entry *entry, uint64_t index, uint64_t term,
                struct err *err)
{
    int rc;
    st->index = index;
    st->last = (struct state_change){.index = index, .term = term};
    if (term < st->term)
        rc = err_set(err, ERR_STALE, "an entry of term %llu after one of term %llu",
                     (unsigned long long)term, (unsigned long long)st->term);
    else if (!entry->has_at_ms || entry->at_ms == 0 || entry->at_ms > INT64_MAX / 2)
        rc = err_set(err, ERR_INVALID, "an entry without a time");
    else {
        st->term = term;
        st->last.at = (msec)entry->at_ms;
        rc = apply(st, entry, err);
    }
    if (rc < 0) {
        st->last.kind = STATE_REFUSED;
        st->last.err = *err;
        return rc;
    }
    retain(st);
    return 0;
}
