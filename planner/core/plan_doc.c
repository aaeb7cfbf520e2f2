#include "planner/core/plan_doc.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/canon.h"
#include "proto/util.h"

static const char *const type_names[] = {"migrate",      "start",   "shutdown", "suspend", "resume",
                                         "copy-storage", "standby", "wake",     NULL};

const char *plan_action_type_name(enum plan_action_type t)
{
    return type_names[t];
}

/* ---- writing ---- */

static json_t *quantity(int64_t q)
{
    return q == QUANTITY_UNKNOWN ? json_null() : json_integer(q);
}

static json_t *milli_quantity(milli q)
{
    return q == QUANTITY_UNKNOWN ? json_null() : canon_milli(q);
}

/* Texts cut to their buffers, and a policy's own words, may not be whole UTF-8: what is not is left
 * out. */
static json_t *words(const char *s)
{
    json_t *v = json_string(s);
    _cleanup_(buf_done) struct buf b = {0};
    for (; v == NULL && *s != '\0';) {
        size_t n = 1;
        json_t *one;
        while ((one = json_stringn(s, n)) == NULL && n < 4 && s[n] != '\0')
            n++;
        if (one != NULL)
            buf_add(&b, s, n);
        s += one != NULL ? n : 1;
        json_decref(one);
    }
    return v != NULL ? v : json_string(b.data != NULL ? b.data : "");
}

static json_t *text_or_null(const char *s)
{
    return s == NULL ? json_null() : json_string(s);
}

/* New references are stolen; a missing one would be a defect. */
static void put(json_t *object, const char *key, json_t *value)
{
    REQUIRE(value != NULL && json_object_set_new(object, key, value) == 0);
}

static void append(json_t *array, json_t *value)
{
    REQUIRE(value != NULL && json_array_append_new(array, value) == 0);
}

static json_t *parameters_json(const struct planner_parameters *p)
{
    json_t *o = json_object();
    put(o, "mode", json_string(migrate_mode_name(p->how.mode)));
    put(o, "tls", json_true());
    put(o, "auto_converge", json_boolean(p->how.auto_converge));
    put(o, "parallel", json_integer(p->how.parallel));
    put(o, "bandwidth_mib_s", json_integer(p->bandwidth_mib_s));
    put(o, "downtime_ms", json_integer(p->downtime_ms));
    migration_write(&p->how, o);
    return o;
}

static json_t *estimate_json(const struct planner_estimate *e)
{
    json_t *o = json_object();
    put(o, "ms", json_integer(e->ms));
    put(o, "downtime_ms", json_integer(e->downtime_ms));
    put(o, "mib", json_integer(e->mib));
    return o;
}

/* Other hosts, and not moving; the chosen one costs 0. */
static json_t *alternatives_json(const struct model *m, const struct planner_action *a)
{
    json_t *list = json_array();
    for (int i = 0; i < a->n_alternatives; i++) {
        const struct planner_alternative *x = &a->alternatives[i];
        json_t *o = json_object();
        put(o, "host", json_string(m->hosts[x->host].name));
        if (x->cost != QUANTITY_UNKNOWN) {
            put(o, "cost", json_integer(x->cost));
        } else {
            put(o, "code", words(x->code));
            put(o, "message", words(x->message));
        }
        append(list, o);
    }
    return list;
}

static json_t *overrides_json(const struct planner_action *a)
{
    json_t *list = json_array();
    if (a->over_hold)
        append(list, json_string("hold"));
    if (a->over_cooldown)
        append(list, json_string("cooldown"));
    return list;
}

static void put_vm(json_t *o, const struct model *m, const struct planner_action *a)
{
    put(o, "vm", json_string(vm_label(&m->vms[a->vm])));
    put(o, "uuid", text_or_null(m->vms[a->vm].uuid));
    put(o, "from", json_string(m->hosts[a->from].name));
    put(o, "to", json_string(m->hosts[a->to].name));
    if (a->type == PLAN_MIGRATE)
        put(o, "parameters", parameters_json(&a->parameters));
    if (a->over_hold || a->over_cooldown)
        put(o, "overrides", overrides_json(a));
    if (a->n_alternatives > 0) {
        put(o, "alternatives", alternatives_json(m, a));
        put(o, "hosts_fit", json_integer(a->n_hosts_fit));
    }
}

static json_t *action_json(const struct model *m, const struct planner_action *a, int number)
{
    char id[32];
    snprintf(id, sizeof id, "s%d-%d", a->step + 1, number);
    json_t *o = json_object();
    put(o, "id", json_string(id));
    put(o, "type", json_string(type_names[a->type]));
    if (a->vm == MODEL_NONE)
        put(o, "host", json_string(m->hosts[a->to].name));
    else
        put_vm(o, m, a);
    put(o, "reason", words(a->reason));
    put(o, "estimate", estimate_json(&a->estimate));
    return o;
}

static json_t *steps_json(const struct model *m, const struct planner_result *r)
{
    json_t *steps = json_array();
    for (int i = 0; i < r->n_actions;) {
        json_t *actions = json_array();
        int step = r->actions[i].step;
        for (int number = 1; i < r->n_actions && r->actions[i].step == step; i++, number++)
            append(actions, action_json(m, &r->actions[i], number));
        json_t *o = json_object();
        put(o, "actions", actions);
        append(steps, o);
    }
    return steps;
}

static json_t *relax_json(const struct model *m, const struct planner_refusal *r)
{
    json_t *o = json_object();
    put(o, "text", words(r->why.relax));
    if (r->fallback != NULL)
        put(o, "fallback", json_string(r->fallback));
    if (r->why.unit == NULL)
        return o;
    put(o, "unit", json_string(r->why.unit));
    if (r->why.amount != QUANTITY_UNKNOWN)
        put(o, "amount", json_integer(r->why.amount));
    if (r->why.subject != NULL)
        put(o, "subject", json_string(r->why.subject));
    if (r->host != MODEL_NONE)
        put(o, "host", json_string(m->hosts[r->host].name));
    json_t *rules = json_array(); /* any one of them */
    for (int i = 0; i < r->n_rules; i++)
        append(rules, json_string(m->rules[r->rules[i]].name));
    if (r->n_rules > 0)
        put(o, "rules", rules);
    else
        json_decref(rules);
    return o;
}

static json_t *refused_json(const struct model *m, const struct planner_result *result)
{
    json_t *list = json_array();
    for (int i = 0; i < result->n_refusals; i++) {
        const struct planner_refusal *r = &result->refusals[i];
        json_t *o = json_object();
        put(o, "vm", r->vm == MODEL_NONE ? json_null() : json_string(vm_label(&m->vms[r->vm])));
        put(o, "host", r->host == MODEL_NONE ? json_null() : json_string(m->hosts[r->host].name));
        put(o, "code", words(r->code));
        put(o, "message", words(r->why.message));
        put(o, "relax", relax_json(m, r));
        append(list, o);
    }
    return list;
}

static json_t *forecast_json(const struct planner_forecast *f)
{
    json_t *o = json_object();
    put(o, "vms", json_integer(f->vms));
    put(o, "memory_mib", json_integer(f->memory_mib));
    put(o, "vcpus", json_integer(f->vcpus));
    put(o, "used_cores", milli_quantity(f->used_cores));
    return o;
}

/* Hosts that the plan changes; the others stay as the snapshot shows them. */
static json_t *hosts_json(const struct model *m, const struct planner_result *r)
{
    json_t *list = json_array();
    for (int h = 0; h < m->n_hosts; h++) {
        const struct planner_forecast *b = &r->before[h], *a = &r->after[h];
        if (b->vms == a->vms && b->memory_mib == a->memory_mib && b->vcpus == a->vcpus &&
            b->used_cores == a->used_cores && b->load == a->load)
            continue;
        json_t *o = json_object();
        put(o, "host", json_string(m->hosts[h].name));
        put(o, "before", forecast_json(b));
        put(o, "after", forecast_json(a));
        put(o, "load_change", quantity(a->load - b->load));
        append(list, o);
    }
    return list;
}

static json_t *pair_json(int64_t before, int64_t after)
{
    json_t *o = json_object();
    put(o, "before", json_integer(before));
    put(o, "after", json_integer(after));
    return o;
}

static json_t *predicted_json(const struct model *m, const struct planner_result *r)
{
    json_t *o = json_object();
    json_t *imbalance = json_object();
    put(imbalance, "before", canon_milli(r->imbalance_before));
    put(imbalance, "after", canon_milli(r->imbalance_after));
    put(o, "imbalance_pct", imbalance);
    put(o, "hosts_used", pair_json(r->hosts_used_before, r->hosts_used_after));
    put(o, "violations", pair_json(r->violations_before, r->violations_after));
    put(o, "cost", pair_json(r->cost_before, r->cost_after));
    put(o, "makespan_ms", json_integer(r->makespan_ms));
    put(o, "relief_missing", json_integer(r->relief_missing));
    if (r->n_plus > 0) {
        json_t *n_plus = json_object();
        put(n_plus, "asked", json_integer(r->n_plus));
        put(n_plus, "held_before", json_boolean(r->n_plus_holds)); /* else it cannot be asked */
        put(o, "n_plus", n_plus);
    }
    put(o, "hosts", hosts_json(m, r));
    return o;
}

int plan_body_new(const struct model *m, const struct planner_result *r,
                  const struct plan_origin *origin, json_t **ret, struct err *err)
{
    if (origin->class == NULL)
        return err_set(err, ERR_INTERNAL, "a plan needs a class");
    json_t *body = json_object(), *policy = json_object();
    put(policy, "name", text_or_null(origin->policy_name));
    put(policy, "digest", text_or_null(origin->policy_digest));
    put(body, "policy", policy);
    put(body, "snapshot_digest", json_string(m->digest));
    put(body, "seed", json_integer((json_int_t)(origin->seed & INT64_MAX)));
    put(body, "effort", json_integer(r->effort));
    put(body, "stopped_by", json_string(r->stopped_by));
    put(body, "class", json_string(origin->class));
    const char *why = r->n_actions == 0 ? r->reason : origin->reason;
    put(body, "reason", words(why != NULL ? why : ""));
    put(body, "steps", steps_json(m, r));
    put(body, "refused", refused_json(m, r));
    put(body, "predicted", predicted_json(m, r));
    *ret = body;
    return 0;
}

int plan_body_digest(const json_t *body, char ret_digest[HASH_HEX_SIZE], struct err *err)
{
    return canon_digest(PLAN_SCHEMA, body, ret_digest, err);
}

void plan_id(const char digest[HASH_HEX_SIZE], char ret[PLAN_ID_SIZE])
{
    snprintf(ret, PLAN_ID_SIZE, "%.*s", PLAN_ID_SIZE - 1, digest);
}

int plan_doc_new(json_t *body, json_t **ret, struct err *err)
{
    char digest[HASH_HEX_SIZE], id[PLAN_ID_SIZE];
    int rc = plan_body_digest(body, digest, err);
    if (rc < 0)
        return rc;
    plan_id(digest, id);
    json_t *o = json_object();
    put(o, "schema", json_string(PLAN_SCHEMA));
    put(o, "id", json_string(id));
    put(o, "digest", json_string(digest));
    put(o, "body", json_incref(body));
    put(o, "state", json_string("DRAFT"));
    put(o, "made_in_term", json_null());
    put(o, "approvals", json_array());
    put(o, "results", json_array());
    *ret = o;
    return 0;
}

/* ---- reading ---- */

#define NUMBER_MAX ((json_int_t)1000000000000)
#define ACTIONS_MAX 1000000

struct reading {
    char place[96]; /* "plan: body.steps[1].actions[0]" */
    struct err *err;
};

static int bad(const struct reading *r, const char *key, const char *why)
{
    return err_set(r->err, ERR_INVALID, "%s.%s: %s", r->place, key, why);
}

/* A string; needed, or NULL where absent or null. Borrowed from o. */
static int get_text(const struct reading *r, const json_t *o, const char *key, bool needed,
                    const char **ret)
{
    const json_t *v = json_object_get(o, key);
    if (v == NULL || json_is_null(v)) {
        *ret = NULL;
        return needed ? bad(r, key, "is missing") : 0;
    }
    if (!json_is_string(v))
        return bad(r, key, "must be a string");
    *ret = json_string_value(v);
    return 0;
}

static int copy_text(const struct reading *r, const json_t *o, const char *key, bool needed,
                     char **ret)
{
    const char *s = NULL;
    int rc = get_text(r, o, key, needed, &s);
    if (rc == 0 && s != NULL)
        *ret = xstrdup(s);
    return rc;
}

static int get_number(const struct reading *r, const json_t *o, const char *key, int64_t *ret)
{
    const json_t *v = json_object_get(o, key);
    *ret = 0;
    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_integer(v))
        return bad(r, key, "must be a whole number");
    if (json_integer_value(v) < 0 || json_integer_value(v) > NUMBER_MAX)
        return bad(r, key, "is out of range");
    *ret = json_integer_value(v);
    return 0;
}

static int word_index(const struct reading *r, const char *key, const char *word,
                      const char *const *names, int *ret)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], word) == 0) {
            *ret = i;
            return 0;
        }
    return err_set(r->err, ERR_INVALID, "%s.%s: \"%s\" is not known", r->place, key, word);
}

static int read_parameters(const struct reading *r, const json_t *o, struct planner_parameters *p)
{
    const char *mode;
    char place[sizeof r->place + 16];
    snprintf(place, sizeof place, "%s.parameters", r->place);
    int rc = get_text(r, o, "mode", true, &mode);
    if (rc == 0)
        rc = migration_read(o, place, &p->how, r->err);
    if (rc == 0)
        rc = get_number(r, o, "bandwidth_mib_s", &p->bandwidth_mib_s);
    return rc < 0 ? rc : get_number(r, o, "downtime_ms", &p->downtime_ms);
}

static int read_estimate(const struct reading *r, const json_t *o, struct planner_estimate *e)
{
    int rc = get_number(r, o, "ms", &e->ms);
    if (rc == 0)
        rc = get_number(r, o, "downtime_ms", &e->downtime_ms);
    return rc < 0 ? rc : get_number(r, o, "mib", &e->mib);
}

static int read_names(const struct reading *r, const json_t *o, struct plan_action *a)
{
    bool host_only = a->type == PLAN_STANDBY || a->type == PLAN_WAKE;
    bool moves = a->type == PLAN_MIGRATE || a->type == PLAN_COPY_STORAGE ||
                 a->type == PLAN_SHUTDOWN || a->type == PLAN_SUSPEND;
    int rc = copy_text(r, o, "id", true, &a->id);
    if (rc == 0)
        rc = copy_text(r, o, "vm", !host_only, &a->vm);
    if (rc == 0)
        rc = copy_text(r, o, "uuid", false, &a->uuid);
    if (rc == 0)
        rc = copy_text(r, o, "from", moves, &a->from);
    if (rc == 0)
        rc = copy_text(r, o, "to", moves, &a->to);
    if (rc == 0)
        rc = copy_text(r, o, "host", host_only, &a->host);
    return rc < 0 ? rc : copy_text(r, o, "reason", false, &a->reason);
}

static int read_action(struct reading *r, const json_t *o, struct plan_action *a)
{
    const char *type = NULL;
    int index = 0;
    if (!json_is_object(o))
        return err_set(r->err, ERR_INVALID, "%s: must be an object", r->place);
    int rc = get_text(r, o, "type", true, &type);
    if (rc == 0)
        rc = word_index(r, "type", type, type_names, &index);
    if (rc < 0)
        return rc;
    a->type = (enum plan_action_type)index;
    rc = read_names(r, o, a);
    const json_t *parameters = json_object_get(o, "parameters");
    const json_t *estimate = json_object_get(o, "estimate");
    if (rc == 0 && a->type == PLAN_MIGRATE && parameters == NULL)
        rc = bad(r, "parameters", "is missing");
    if (rc == 0 && a->type == PLAN_MIGRATE)
        rc = read_parameters(r, parameters, &a->parameters);
    if (rc == 0 && estimate != NULL)
        rc = read_estimate(r, estimate, &a->estimate);
    return rc;
}

static int read_step(struct plan_doc *d, const json_t *step, int number, size_t *cap,
                     struct err *err)
{
    const json_t *actions = json_object_get(step, "actions"), *o;
    size_t i;
    if (!json_is_array(actions) || json_array_size(actions) == 0)
        return err_set(err, ERR_INVALID, "plan: body.steps[%d].actions: must be a list, not empty",
                       number);
    json_array_foreach(actions, i, o)
    {
        if (d->n_actions >= ACTIONS_MAX)
            return err_set(err, ERR_LIMIT, "plan: more than %d actions", ACTIONS_MAX);
        ARRAY_RESERVE(d->actions, *cap, (size_t)d->n_actions + 1);
        struct plan_action *a = &d->actions[d->n_actions++];
        *a = (struct plan_action){.step = number};
        struct reading r = {.err = err};
        snprintf(r.place, sizeof r.place, "plan: body.steps[%d].actions[%zu]", number, i);
        int rc = read_action(&r, o, a);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_ids(const struct plan_doc *d, struct err *err)
{
    size_t n = (size_t)d->n_actions;
    _cleanup_(freep) const char **ids = xcalloc(n + 1, sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = d->actions[i].id;
    if (n > 0)
        qsort(ids, n, sizeof *ids, by_id);
    for (size_t i = 1; i < n; i++)
        if (strcmp(ids[i - 1], ids[i]) == 0)
            return err_set(err, ERR_INVALID, "plan: the action id \"%s\" stands twice", ids[i]);
    return 0;
}

static int read_body(struct plan_doc *d, struct err *err)
{
    struct reading r = {.place = "plan: body", .err = err};
    const json_t *policy = json_object_get(d->body, "policy"), *step;
    const json_t *steps = json_object_get(d->body, "steps");
    int rc = get_text(&r, d->body, "snapshot_digest", true, &d->snapshot_digest);
    if (rc == 0)
        rc = get_text(&r, d->body, "class", true, &d->class);
    if (rc == 0)
        rc = get_text(&r, d->body, "reason", false, &d->reason);
    if (rc == 0 && policy != NULL)
        rc = get_text(&r, policy, "name", false, &d->policy_name);
    if (rc == 0 && policy != NULL)
        rc = get_text(&r, policy, "digest", false, &d->policy_digest);
    if (rc == 0 && !json_is_array(steps))
        rc = bad(&r, "steps", "must be a list");
    size_t cap = 0, i;
    json_array_foreach(steps, i, step)
    {
        if (rc == 0)
            rc = read_step(d, step, (int)i, &cap, err);
    }
    d->n_steps = (int)json_array_size(steps);
    return rc < 0 ? rc : check_ids(d, err);
}

static int check_envelope(const struct plan_doc *d, struct err *err)
{
    const char *id, *digest, *schema;
    struct reading r = {.place = "plan", .err = err};
    int rc = get_text(&r, d->json, "schema", true, &schema);
    if (rc == 0 && strcmp(schema, PLAN_SCHEMA) != 0)
        rc = bad(&r, "schema", "must be \"" PLAN_SCHEMA "\"");
    if (rc == 0)
        rc = get_text(&r, d->json, "digest", true, &digest);
    if (rc == 0)
        rc = get_text(&r, d->json, "id", true, &id);
    if (rc == 0 && strcmp(digest, d->digest) != 0)
        rc = bad(&r, "digest", "is not the body's");
    if (rc == 0 && strcmp(id, d->id) != 0)
        rc = bad(&r, "id", "is not the body's");
    return rc;
}

int plan_doc_from_json(json_t *doc, struct plan_doc **ret, struct err *err)
{
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "plan: must be an object");
    _cleanup_(plan_doc_freep) struct plan_doc *d = xcalloc(1, sizeof *d);
    d->json = json_incref(doc);
    bool whole = json_object_get(doc, "body") != NULL;
    d->body = whole ? json_object_get(doc, "body") : doc;
    if (!json_is_object(d->body))
        return err_set(err, ERR_INVALID, "plan: body: must be an object");
    int rc = plan_body_digest(d->body, d->digest, err);
    if (rc < 0)
        return err_wrap(err, "plan: body");
    plan_id(d->digest, d->id);
    if (whole)
        rc = check_envelope(d, err);
    if (rc == 0)
        rc = read_body(d, err);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(d);
    return 0;
}

int plan_doc_parse(const char *text, size_t len, struct plan_doc **ret, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int rc = canon_parse(text, len, "plan", &doc, err);
    return rc < 0 ? rc : plan_doc_from_json(doc, ret, err);
}

void plan_doc_free(struct plan_doc *d)
{
    if (d == NULL)
        return;
    for (int i = 0; i < d->n_actions; i++) {
        struct plan_action *a = &d->actions[i];
        char *const owned[] = {a->id, a->vm, a->uuid, a->from, a->to, a->host, a->reason};
        for (size_t k = 0; k < ARRAY_SIZE(owned); k++)
            free(owned[k]);
    }
    free(d->actions);
    json_decref(d->json);
    free(d);
}
