/* plan_show.c - a plan as JSON: the document, the line of a list, the report. */
#include "agent/core/failure.h"
#include "agent/core/plan.h"
#include "agent/core/trust.h"
#include "proto/canon.h"

static json_t *text_json(const char *text)
{
    return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

static const char *role_name(unsigned roles)
{
    return (roles & TRUST_ADMIN) != 0      ? "admin"
           : (roles & TRUST_APPROVER) != 0 ? "approver"
           : (roles & TRUST_OPERATOR) != 0 ? "operator"
                                           : "viewer";
}

static json_t *vote_json(const Skein__Vote *v)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "person", v->person, "role",
                     role_name(v->roles), "verdict", v->verdict, "at", canon_time(v->at_ms),
                     "expires_at", canon_time(v->expires_at_ms), "reason", text_json(v->reason),
                     "ticket", text_json(v->ticket));
}

static json_t *votes_json(const struct plan *p, const char *verdict)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n_votes; i++)
        if (verdict == NULL || strcmp(p->votes[i]->verdict, verdict) == 0)
            json_array_append_new(list, vote_json(p->votes[i]));
    return list;
}

/* What came of one action: measured figures are null until they are known. */
static json_t *result_json(const struct plan_item *i)
{
    const Skein__ActionReport none = SKEIN__ACTION_REPORT__INIT;
    const Skein__ActionReport *r = i->report != NULL ? i->report : &none;
    json_t *o =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "action", i->move->id, "state",
                  plan_action_name(plan_item_state(i)), "code", text_json(r->code), "message",
                  text_json(r->message), "reporter", text_json(r->reporter), "evidence",
                  text_json(r->evidence), "started_at", canon_time(r->started_at_ms), "ended_at",
                  plan_action_ended(plan_item_state(i)) ? canon_time(r->ended_at_ms) : json_null());
    json_object_set_new(o, "downtime_ms",
                        r->has_downtime_ms ? json_integer(r->downtime_ms) : json_null());
    json_object_set_new(o, "transferred_mib",
                        r->has_transferred_mib ? json_integer((json_int_t)r->transferred_mib)
                                               : json_null());
    bool measured = r->started_at_ms != 0 && r->ended_at_ms >= r->started_at_ms &&
                    plan_action_ended(plan_item_state(i));
    json_object_set_new(o, "duration_ms",
                        measured ? json_integer((json_int_t)(r->ended_at_ms - r->started_at_ms))
                                 : json_null());
    return o;
}

static json_t *results_json(const struct plan *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->body->n_moves; i++)
        if (p->items[i].report != NULL || p->items[i].permit != NULL)
            json_array_append_new(list, result_json(&p->items[i]));
    return list;
}

static json_t *health_json(const struct plan *p)
{
    const char *text = p->put->health;
    json_t *health = text != NULL ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    return health != NULL ? health : json_null();
}

static void set_life(const struct plan *p, json_t *o)
{
    json_object_set_new(o, "id", json_string(p->body->id));
    json_object_set_new(o, "state", json_string(plan_state_name(p->state)));
    json_object_set_new(o, "state_reason", text_json(p->reason));
    json_object_set_new(o, "author", text_json(p->put->author));
    json_object_set_new(o, "made_at", canon_time((uint64_t)p->made_at));
    json_object_set_new(o, "changed_at", canon_time((uint64_t)p->changed_at));
    json_object_set_new(o, "expires_at", canon_time(p->put->expires_at_ms));
    json_object_set_new(o, "made_in_term", json_integer((json_int_t)p->made_in_term));
}

json_t *plan_doc(const struct plan *p)
{
    json_t *body = NULL;
    struct err err;
    const char *bytes = (const char *)p->put->body.data;
    REQUIRE(canon_parse(bytes, p->put->body.len, "plan", &body, &err) == 0); /* parsed before */
    json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "schema", PLAN_SCHEMA, "digest",
                          p->body->digest, "body", body, "approvals", votes_json(p, NULL),
                          "results", results_json(p), "health", health_json(p));
    set_life(p, o);
    return o;
}

static void set_counts(const struct plan *p, json_t *o)
{
    static const struct {
        const char *key;
        Skein__ActionState state;
    } counts[] = {
        {"succeeded", SKEIN__ACTION_STATE__ACTION_SUCCEEDED},
        {"failed", SKEIN__ACTION_STATE__ACTION_FAILED},
        {"skipped", SKEIN__ACTION_STATE__ACTION_SKIPPED},
        {"cancelled", SKEIN__ACTION_STATE__ACTION_CANCELLED},
        {"unknown", SKEIN__ACTION_STATE__ACTION_UNKNOWN},
        {"needs_operator", SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR},
    };

    json_object_set_new(o, "actions", json_integer((json_int_t)p->body->n_moves));
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        json_object_set_new(o, counts[i].key,
                            json_integer((json_int_t)plan_count(p, counts[i].state)));
}

json_t *plan_summary(const struct plan *p)
{
    json_t *o = json_pack("{s:s, s:s, s:o}", "class", p->body->class, "reason", p->body->reason,
                          "policy", text_json(p->body->policy));
    set_life(p, o);
    set_counts(p, o);
    json_object_set_new(o, "approvals", votes_json(p, "approve"));
    return o;
}

/* ---- the report ---- */

/* Who let it happen: "anna, bert". */
static void set_approvers(const struct plan *p, json_t *o)
{
    struct buf names = {0};
    for (size_t i = 0; i < p->n_votes; i++)
        if (strcmp(p->votes[i]->verdict, "approve") == 0)
            buf_addf(&names, "%s%s", names.len > 0 ? ", " : "", p->votes[i]->person);
    json_object_set_new(o, "approvers", text_json(names.data));
    buf_done(&names);
}

/* A word of a shell command: names of VMs may hold anything. */
static void add_word(struct buf *b, const char *word)
{
    buf_adds(b, " '");
    for (const char *c = word; *c != '\0'; c++)
        if (*c == '\'')
            buf_adds(b, "'\\''");
        else
            buf_add(b, c, 1);
    buf_adds(b, "'");
}

static void add_how(struct buf *b, const struct migration_choice *how)
{
    if (migrate_is_postcopy(how->mode)) /* a person switches with virsh migrate-postcopy */
        buf_adds(b, how->mode == MIGRATE_POSTCOPY ? " --postcopy"
                                                  : " --postcopy --postcopy-after-precopy");
    if (how->auto_converge)
        buf_adds(b, " --auto-converge");
    if (how->xbzrle)
        buf_adds(b, " --compressed --comp-methods xbzrle");
    if (how->parallel > 1)
        buf_addf(b, " --parallel --parallel-connections %u", how->parallel);
    if (how->storage != MIGRATE_STORAGE_NONE)
        buf_adds(b, how->storage == MIGRATE_STORAGE_ALL ? " --copy-storage-all"
                                                        : " --copy-storage-inc");
    if (how->disks[0] != '\0')
        buf_addf(b, " --migrate-disks %s", how->disks);
}

/* What a person would have typed to do the same by hand. virsh's --bandwidth is MiB/s. */
static void set_virsh(const struct plan_move *m, json_t *o)
{
    struct buf b = {0};
    _cleanup_(freep) char *from = xasprintf("qemu+tls://%s/system", m->from);
    _cleanup_(freep) char *to = xasprintf("qemu+tls://%s/system", m->to);
    buf_adds(&b, "virsh -c");
    add_word(&b, from);
    buf_adds(&b, m->how.mode == MIGRATE_OFFLINE ? " migrate --p2p --offline"
                                                : " migrate --live --p2p --tls --abort-on-error");
    buf_adds(&b, " --persistent --undefinesource");
    add_how(&b, &m->how);
    if (m->bandwidth_mib_s > 0)
        buf_addf(&b, " --bandwidth %u", m->bandwidth_mib_s);
    if (m->bandwidth_mib_s > 0 && migrate_is_postcopy(m->how.mode))
        buf_addf(&b, " --postcopy-bandwidth %u", m->bandwidth_mib_s);
    add_word(&b, m->vm);
    add_word(&b, to);
    json_object_set_new(o, "virsh", json_string(b.data));
    buf_done(&b);
}

static void set_virsh_stop(const struct plan_move *m, json_t *o)
{
    struct buf b = {0};
    _cleanup_(freep) char *at = xasprintf("qemu+tls://%s/system", m->from);
    buf_adds(&b, "virsh -c");
    add_word(&b, at);
    buf_adds(&b, m->type == PLAN_SUSPEND ? " managedsave --running" : " shutdown");
    add_word(&b, m->vm);
    json_object_set_new(o, "virsh", json_string(b.data));
    buf_done(&b);
}

/* Cause and remedy beside what failed. */
static void set_failure(const struct plan_item *i, json_t *o)
{
    Skein__ActionState state = plan_item_state(i);
    bool failed = state == SKEIN__ACTION_STATE__ACTION_FAILED ||
                  state == SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR;
    if (!failed || i->report == NULL) {
        json_object_set_new(o, "failure", json_null());
        return;
    }
    const struct failure *f = failure_find(i->report->code, i->report->message);
    json_object_set_new(
        o, "failure",
        json_pack("{s:s, s:s, s:s}", "kind", f->kind, "cause", f->cause, "remedy", f->remedy));
}

static json_t *move_json(const struct plan *p, const struct plan_item *i)
{
    const struct plan_move *m = i->move;
    json_t *o = result_json(i);
    json_object_set_new(o, "type", json_string(plan_action_type_name(m->type)));
    json_object_set_new(o, "vm", json_string(m->vm));
    json_object_set_new(o, "uuid", json_string(m->uuid));
    json_object_set_new(o, "from", json_string(m->from));
    json_object_set_new(o, "to", json_string(m->to));
    json_object_set_new(o, "step", json_integer(m->step));
    json_object_set_new(o, "reason", text_json(m->reason));
    json_object_set_new(o, "mode", json_string(migrate_mode_name(m->how.mode)));
    migration_write(&m->how, o);
    set_approvers(p, o);
    if (plan_move_is_power(m))
        json_object_set_new(o, "virsh", json_null()); /* there is no such command */
    else if (plan_move_is_in_place(m))
        set_virsh_stop(m, o);
    else
        set_virsh(m, o);
    set_failure(i, o);
    json_object_set_new(o, "predicted",
                        json_pack("{s:I, s:I, s:I}", "duration_ms", (json_int_t)m->estimate_ms,
                                  "downtime_ms", (json_int_t)m->estimate_downtime_ms,
                                  "transferred_mib", (json_int_t)m->estimate_mib));
    return o;
}

/* Sums over the moves that were measured; what nobody measured is null. */
struct totals {
    uint64_t started_at, ended_at, downtime_max_ms, mib;
    bool downtime, transferred;
    msec predicted_ms;
    uint64_t predicted_downtime_max_ms, predicted_mib;
};

static void add_up(struct totals *t, const struct plan_item *i)
{
    const Skein__ActionReport *r = i->report;
    t->predicted_ms = sat_add(t->predicted_ms, i->move->estimate_ms);
    t->predicted_downtime_max_ms =
        MAX(t->predicted_downtime_max_ms, (uint64_t)i->move->estimate_downtime_ms);
    t->predicted_mib = (uint64_t)sat_add((int64_t)t->predicted_mib, (int64_t)i->move->estimate_mib);
    if (r == NULL)
        return;
    if (r->started_at_ms != 0 && (t->started_at == 0 || r->started_at_ms < t->started_at))
        t->started_at = r->started_at_ms;
    if (plan_action_ended(r->state))
        t->ended_at = MAX(t->ended_at, r->ended_at_ms);
    if (r->has_downtime_ms) {
        t->downtime = true;
        t->downtime_max_ms = MAX(t->downtime_max_ms, (uint64_t)r->downtime_ms);
    }
    if (r->has_transferred_mib) {
        t->transferred = true;
        t->mib = (uint64_t)sat_add((int64_t)t->mib,
                                   (int64_t)MIN(r->transferred_mib, (uint64_t)INT64_MAX));
    }
}

static json_t *totals_json(const struct plan *p, const struct totals *t)
{
    bool timed = t->started_at != 0 && t->ended_at >= t->started_at;
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:{s:I, s:I, s:I}}", "duration_ms",
        timed ? json_integer((json_int_t)(t->ended_at - t->started_at)) : json_null(),
        "downtime_max_ms", t->downtime ? json_integer((json_int_t)t->downtime_max_ms) : json_null(),
        "transferred_mib", t->transferred ? json_integer((json_int_t)t->mib) : json_null(),
        "predicted", "duration_ms", (json_int_t)t->predicted_ms, "downtime_max_ms",
        (json_int_t)t->predicted_downtime_max_ms, "transferred_mib", (json_int_t)t->predicted_mib);
    set_counts(p, o);
    return o;
}

json_t *plan_report(const struct plan *p)
{
    struct totals totals = {0};
    json_t *moves = json_array();
    for (size_t i = 0; i < p->body->n_moves; i++) {
        add_up(&totals, &p->items[i]);
        json_array_append_new(moves, move_json(p, &p->items[i]));
    }
    json_t *o = json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o}", "digest", p->body->digest, "class",
                          p->body->class, "why", p->body->reason, "policy",
                          text_json(p->body->policy), "snapshot_digest", p->body->snapshot_digest,
                          "approvals", votes_json(p, NULL), "moves", moves);
    set_life(p, o);
    json_object_set_new(o, "started_at", canon_time(totals.started_at));
    json_object_set_new(o, "ended_at",
                        plan_state_ended(p->state) ? canon_time(totals.ended_at) : json_null());
    json_object_set_new(o, "totals", totals_json(p, &totals));
    return o;
}
