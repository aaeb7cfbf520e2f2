/* duty_policies.c - which versions of which policies run: what the voters hold; until they hold a
 * policy, what stood in the configuration's files when the agent started. A version in shadow is
 * asked what its active one is asked, and never acted on. */
#include <stdio.h>

#include "agent/core/duty_priv.h"

#define BROKEN_AFTER 3          /* failures in a row of a version that never answered */
#define SHADOW_RECORD_MS 300000 /* at least between two records of what a shadow would do */
#define SHADOW_RECORD_MOVES 50  /* that are spelt out */

/* ---- the list ---- */

static void evaluator_done(struct evaluator *e)
{
    duty_evaluator_forget(e);
    free(e->policy);
    free(e->outcome);
    free(e->health);
    json_decref(e->refused);
    json_decref(e->moves);
    json_decref(e->shadow.recorded);
}

static struct evaluator *find(struct duty *d, const char *policy, bool in_shadow)
{
    for (size_t i = 0; i + 1 < d->n_evaluators; i++)
        if (d->evaluators[i].in_shadow == in_shadow && strcmp(d->evaluators[i].policy, policy) == 0)
            return &d->evaluators[i];
    return NULL;
}

struct evaluator *duty_shadow_of(struct duty *d, const char *policy)
{
    return find(d, policy, true);
}

/* Before the requests' one, which is the last. */
static void add(struct duty *d, const char *policy, bool in_shadow, bool implicit)
{
    if (find(d, policy, in_shadow) != NULL)
        return;
    ARRAY_RESERVE(d->evaluators, d->cap_evaluators, d->n_evaluators + 1);
    d->evaluators[d->n_evaluators] = d->evaluators[d->n_evaluators - 1];
    d->evaluators[d->n_evaluators++ - 1] = (struct evaluator){.policy = xstrdup(policy),
                                                              .in_shadow = in_shadow,
                                                              .implicit = implicit,
                                                              .resting = implicit};
}

static bool configured(const struct duty *d, const char *policy)
{
    for (size_t i = 0; i < d->conf->n_policies; i++)
        if (strcmp(d->conf->policies[i], policy) == 0)
            return true;
    return false;
}

/* `skein drain` works whatever is configured, and whatever was reverted. */
static bool is_drain(const char *policy)
{
    return strcmp(policy, ADMIN_DRAIN_POLICY) == 0;
}

void duty_evaluators_new(struct duty *d)
{
    ARRAY_RESERVE(d->evaluators, d->cap_evaluators, 1);
    d->evaluators[d->n_evaluators++] = (struct evaluator){0}; /* people's requests */
    for (size_t i = 0; i < d->conf->n_policies; i++)
        add(d, d->conf->policies[i], false, false);
    add(d, ADMIN_DRAIN_POLICY, false, true);
}

void duty_evaluators_free(struct duty *d)
{
    for (size_t i = 0; i < d->n_evaluators; i++)
        evaluator_done(&d->evaluators[i]);
    free(d->evaluators);
}

static bool wanted(const struct duty *d, const struct evaluator *e, const struct library *l)
{
    const Skein__PolicyRecord *r = library_find(l, e->policy);
    if (e->in_shadow)
        return r != NULL && r->shadow != NULL;
    return is_drain(e->policy) || (r != NULL ? r->active != NULL : configured(d, e->policy));
}

/* What was found broken is said of that version alone: not of the one that people put in its
 * place, or went back to. */
static void forget_broken(struct evaluator *e, const struct library *l)
{
    const Skein__PolicyRecord *r = e->policy != NULL ? library_find(l, e->policy) : NULL;
    if (r == NULL || r->active == NULL || strcmp(r->active->digest, e->broken) != 0)
        e->broken[0] = '\0';
}

static void follow(struct duty *d, const struct library *l)
{
    Skein__PolicyRecord *const *records;
    size_t n = library_records(l, &records), kept = 0;
    for (size_t i = 0; i < d->n_evaluators; i++) {
        if (i + 1 == d->n_evaluators || wanted(d, &d->evaluators[i], l))
            d->evaluators[kept++] = d->evaluators[i];
        else
            evaluator_done(&d->evaluators[i]);
    }
    d->n_evaluators = kept;
    for (size_t i = 0; i < kept; i++)
        forget_broken(&d->evaluators[i], l);
    for (size_t i = 0; i < n; i++) {
        if (records[i]->active != NULL)
            add(d, records[i]->name, false, is_drain(records[i]->name));
        if (records[i]->shadow != NULL)
            add(d, records[i]->name, true, false);
    }
}

/* ---- from the files ---- */

/* One at a time: they are few, and it is done once in a cluster's life. */
static void put_next(struct duty *d, struct step *s, const struct library *l)
{
    char key[DUTY_KEY_SIZE];
    for (size_t i = 0; i < d->conf->n_sources; i++) {
        const struct node_policy *p = &d->conf->sources[i];
        if (library_find(l, p->name) != NULL)
            continue;
        snprintf(key, sizeof key, "file %.140s", p->name);
        if (duty_busy(d, key))
            continue;
        Skein__PolicyPut put = SKEIN__POLICY_PUT__INIT;
        Skein__Entry entry = SKEIN__ENTRY__INIT;
        put.name = p->name;
        put.has_source = 1;
        put.source = (ProtobufCBinaryData){.len = p->source_len, .data = (uint8_t *)p->source};
        entry.kind_case = SKEIN__ENTRY__KIND_POLICY;
        entry.policy = &put;
        duty_propose(d, s, key, &entry);
        return;
    }
}

void duty_policies(struct duty *d, struct step *s, const struct state *state)
{
    const struct library *l = state_library(state);
    put_next(d, s, l);
    if (d->library == library_generation(l))
        return;
    follow(d, l);
    d->library = library_generation(l);
}

/* ---- versions ---- */

static const char *from_version(const Skein__PolicyVersion *v, size_t *ret_len,
                                char ret_digest[HASH_HEX_SIZE])
{
    *ret_len = v->source.len;
    snprintf(ret_digest, HASH_HEX_SIZE, "%s", v->digest);
    return (const char *)v->source.data;
}

const char *duty_source(const struct duty *d, const struct evaluator *e, const struct state *state,
                        size_t *ret_len, char ret_digest[HASH_HEX_SIZE])
{
    const Skein__PolicyRecord *r = library_find(state_library(state), e->policy);
    ret_digest[0] = '\0';
    if (r != NULL && e->in_shadow && r->shadow != NULL)
        return from_version(r->shadow, ret_len, ret_digest);
    if (r != NULL && r->active != NULL)
        return from_version(strcmp(r->active->digest, e->broken) == 0 && r->previous != NULL
                                ? r->previous
                                : r->active,
                            ret_len, ret_digest);
    for (size_t i = 0; i < d->conf->n_sources; i++) {
        const struct node_policy *p = &d->conf->sources[i];
        if (strcmp(p->name, e->policy) != 0)
            continue;
        *ret_len = p->source_len;
        library_digest(p->source, p->source_len, ret_digest);
        return p->source;
    }
    return NULL;
}

void duty_policy_failed(struct step *s, struct evaluator *e, const struct state *state,
                        const char *why)
{
    const Skein__PolicyRecord *r =
        e->policy != NULL ? library_find(state_library(state), e->policy) : NULL;
    if (r == NULL || r->active == NULL || r->previous == NULL || e->in_shadow || e->proven ||
        e->failures < BROKEN_AFTER || strcmp(r->active->digest, e->digest) != 0)
        return;
    snprintf(e->broken, sizeof e->broken, "%s", r->active->digest);
    snprintf(e->broken_why, sizeof e->broken_why, "%s", why);
    effect_audit(s, "policy.broken", "{s:s, s:s, s:s, s:s}", "policy", e->policy, "digest",
                 r->active->digest, "runs", r->previous->digest, "reason", why);
    effect_notice(s, "policy %s: version %.12s fails; the one before it, %.12s, runs: %s",
                  e->policy, r->active->digest, r->previous->digest, why);
}

/* ---- shadows ---- */

static bool has_move(const json_t *moves, const json_t *one)
{
    size_t i;
    const json_t *m;
    json_array_foreach(moves, i, m)
    {
        if (json_equal(json_object_get(m, "uuid"), json_object_get(one, "uuid")) &&
            json_equal(json_object_get(m, "to"), json_object_get(one, "to")))
            return true;
    }
    return false;
}

static bool same_moves(const json_t *a, const json_t *b)
{
    size_t i;
    const json_t *m;
    if (json_array_size(a) != json_array_size(b))
        return false;
    json_array_foreach(a, i, m)
    {
        if (!has_move(b, m))
            return false;
    }
    return true;
}

/* What it would have done enters the audit, with the snapshot from which it can be replayed: once
 * each time that it is something else, but not more often than people would read. */
static void record(struct duty *d, struct step *s, struct evaluator *e, const char *active)
{
    struct shadow *w = &e->shadow;
    bool known = w->recorded != NULL && same_moves(w->recorded, e->moves);
    bool soon = w->recorded != NULL && s->now.mono - w->recorded_at < SHADOW_RECORD_MS;
    if (json_array_size(e->moves) == 0 || known || soon)
        return;
    json_decref(w->recorded);
    w->recorded = json_incref(e->moves);
    w->recorded_at = s->now.mono;
    _cleanup_json_ json_t *shown = json_array();
    for (size_t i = 0; i < MIN(json_array_size(e->moves), (size_t)SHADOW_RECORD_MOVES); i++)
        json_array_append(shown, json_array_get(e->moves, i));
    duty_keep_snapshot(d, s, e);
    effect_audit(s, "policy.would", "{s:s, s:s, s:s, s:i, s:O, s:s}", "policy", e->policy, "digest",
                 e->digest, "snapshot", e->snapshot_digest, "actions",
                 (int)json_array_size(e->moves), "moves", shown, "active", active);
}

void duty_shadow_heard(struct duty *d, struct step *s, struct evaluator *shadow)
{
    struct shadow *w = &shadow->shadow;
    const struct evaluator *active = find(d, shadow->policy, false);
    const char *said = active == NULL ? "none" : "unknown";
    if (shadow->heard[0] == '\0')
        return;
    if (active != NULL && strcmp(active->heard, shadow->heard) == 0) {
        bool same = same_moves(active->moves, shadow->moves);
        said = same ? "agrees" : "differs";
        if (strcmp(w->compared, shadow->heard) != 0) {
            w->agreed += same;
            w->differed += !same;
            memcpy(w->compared, shadow->heard, sizeof w->compared);
        }
    }
    if (shadow->token != 0) /* its own answer came, and its question is still at hand */
        record(d, s, shadow, said);
}

/* ---- told ---- */

static json_t *version_state(const struct evaluator *e)
{
    char at[TIME_TEXT_SIZE] = "";
    if (e->at != 0)
        time_format(e->at, at);
    json_t *health = e->health != NULL ? json_loads(e->health, 0, NULL) : NULL;
    json_t *o =
        json_pack("{s:s, s:o, s:s?, s:i, s:o, s:O?, s:s, s:O?}", "name", e->policy, "at",
                  e->at != 0 ? json_string(at) : json_null(), "outcome", e->outcome, "failures",
                  (int)e->failures, "health", health != NULL ? health : json_null(), "refused",
                  e->refused, "digest", e->digest, "moves", e->moves);
    if (e->broken[0] != '\0')
        json_object_set_new(o, "broken",
                            json_pack("{s:s, s:s}", "digest", e->broken, "reason", e->broken_why));
    return o;
}

json_t *duty_status(const struct duty *d)
{
    json_t *policies = json_array(), *shadows = json_array();
    for (size_t i = 0; i + 1 < d->n_evaluators; i++) {
        const struct evaluator *e = &d->evaluators[i];
        if (e->resting)
            continue;
        json_t *o = version_state(e);
        if (e->in_shadow) {
            const struct shadow *w = &e->shadow;
            json_t *seen =
                json_pack("{s:i, s:i, s:i, s:i}", "rounds", (int)w->rounds, "proposed",
                          (int)w->proposed, "agreed", (int)w->agreed, "differed", (int)w->differed);
            json_object_update_new(o, seen);
        }
        json_array_append_new(e->in_shadow ? shadows : policies, o);
    }
    return json_pack("{s:s, s:o, s:o}", "idle_reason", d->idle, "policies", policies, "shadows",
                     shadows);
}
