/* api_status.c - the cluster on one page: who plans, how healthy it is, what goes on, and why
 * nothing does. What a host can see by itself is said by itself; plans and policies by the planner.
 */
#include <stdio.h>

#include "agent/core/api_priv.h"
#include "agent/core/membership.h"
#include "agent/core/plan.h"
#include "agent/core/setback.h"
#include "agent/core/snapshot.h"
#include "proto/canon.h"

/* Health checks: the codes stay what they are, in the API as in alerts and the handbook. */
#define HEALTH_CHECKS(X)                                                                           \
    X(NO_PLANNER, "error")                                                                         \
    X(PLANNER_SILENT, "warning")                                                                   \
    X(VOTER_DOWN, "warning")                                                                       \
    X(HOST_SILENT, "warning")                                                                      \
    X(HYPERVISOR_SILENT, "warning")                                                                \
    X(CLOCK_SKEW, "warning")                                                                       \
    X(HOT_INLET, "warning")                                                                        \
    X(HOT_CPU, "warning")                                                                          \
    X(NEEDS_OPERATOR, "error")                                                                     \
    X(POLICY_FAILS, "warning")                                                                     \
    X(BREAKER_OPEN, "error")                                                                       \
    X(BACKING_OFF, "warning")                                                                      \
    X(FROZEN, "warning")                                                                           \
    X(DRAIN_OVERDUE, "warning")

enum check {

#define X(name, severity) CHECK_##name,
    HEALTH_CHECKS(X)
#undef X
};

static const struct {
    const char *code, *severity;
} checks[] = {

#define X(name, severity) {"SKEIN_" #name, severity},
    HEALTH_CHECKS(X)
#undef X
};

/* about: the host, plan or policy; a code is said once of each. */
static void add_health(json_t *list, enum check check, const char *about, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void add_health(json_t *list, enum check check, const char *about, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:o}", "code", checks[check].code,
                                          "severity", checks[check].severity, "about", about,
                                          "message", api_text(text)));
}

/* ---- hosts and voters ---- */

static bool host_up(const struct api_context *c, const struct view_host *host)
{
    return host != NULL && (strcmp(host->name, c->step->conf->host) == 0 || view_reachable(host));
}

static size_t voters_up(const struct api_context *c)
{
    const struct node_conf *conf = c->step->conf;
    size_t up = 0;
    for (size_t i = 0; i < conf->n_voters; i++)
        up += strcmp(conf->voters[i], conf->host) == 0 ||
              host_up(c, view_find(c->view, conf->voters[i]));
    return up;
}

void api_no_planner(const struct api_context *c, struct err *err)
{
    size_t n = c->step->conf->n_voters, up = voters_up(c);
    bool enough = up > n / 2;
    err_set(err, ERR_UNAVAILABLE,
            "no planner is elected: %s reaches %zu of %zu voters, %zu are needed%s",
            c->step->conf->host, up, n, n / 2 + 1,
            enough ? "; an election should end soon" : "; nothing new starts until then");
}

static json_t *voters_json(const struct api_context *c, json_t *health)
{
    const struct node_conf *conf = c->step->conf;
    json_t *list = json_array();
    for (size_t i = 0; i < conf->n_voters; i++) {
        const char *name = conf->voters[i];
        bool up = strcmp(name, conf->host) == 0 || host_up(c, view_find(c->view, name));
        json_array_append_new(list, json_pack("{s:s, s:b}", "host", name, "up", up));
        if (!up)
            add_health(health, CHECK_VOTER_DOWN, name, "%s does not reach voter %s", conf->host,
                       name);
    }
    return list;
}

static void check_temperature(json_t *health, enum check check, const char *host, const char *what,
                              bool known, int32_t now_milli, int32_t max_milli)
{
    if (known && now_milli >= max_milli)
        add_health(health, check, host, "%s: %s %.1f C, at most %.1f C", host, what,
                   now_milli / 1000.0, max_milli / 1000.0);
}

static void check_host(const struct api_context *c, const struct view_host *host, json_t *health)
{
    const struct node_conf *conf = c->step->conf;
    const Skein__HostSummary *s = host->summary;
    bool worked_on =
        admin_host_state(state_admin(c->state), host->name) == SKEIN__HOST_STATE__HOST_MAINTENANCE;
    if (!view_fresh(host, c->step->now, conf->stale_after)) {
        if (worked_on)
            return; /* people switched it off */
        add_health(health, CHECK_HOST_SILENT, host->name, "%s: nothing was heard for %lld s",
                   host->name, (long long)conf->stale_after / 1000);
        return;
    }
    if (s == NULL)
        return;
    if (s->has_hypervisor_ok && !s->hypervisor_ok)
        add_health(health, CHECK_HYPERVISOR_SILENT, host->name,
                   "%s: the hypervisor does not answer; its VMs are left alone", host->name);
    if (s->has_clock_offset_ms && (s->clock_offset_ms > conf->clock_skew_limit ||
                                   s->clock_offset_ms < -conf->clock_skew_limit))
        add_health(health, CHECK_CLOCK_SKEW, host->name,
                   "%s: its clock is %d ms off the planner's; approvals are refused beyond %lld ms",
                   host->name, s->clock_offset_ms, (long long)conf->clock_skew_limit);
    check_temperature(health, CHECK_HOT_INLET, host->name, "inlet",
                      s->has_inlet_millicelsius && s->has_inlet_max_millicelsius,
                      s->inlet_millicelsius, s->inlet_max_millicelsius);
    check_temperature(health, CHECK_HOT_CPU, host->name, "CPU",
                      s->has_cpu_millicelsius && s->has_cpu_max_millicelsius, s->cpu_millicelsius,
                      s->cpu_max_millicelsius);
}

static void count_up(json_t *counts, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(counts, key));
    json_object_set_new(counts, key, json_integer(n + 1));
}

static void put_hosts(const struct api_context *c, json_t *o, json_t *health)
{
    json_t *hosts = json_object();
    json_int_t vms = 0;
    for (size_t i = 0; i < view_count(c->view); i++) {
        const struct view_host *host = view_at(c->view, i);
        json_t *snapshot = snapshot_host(host, c->state, c->step);
        const char *state = json_string_value(json_object_get(snapshot, "state"));
        count_up(hosts, state != NULL ? state : "unknown");
        json_decref(snapshot);
        vms += host->summary != NULL && host->summary->has_vms ? (json_int_t)host->summary->vms
                                                               : (json_int_t)host->n_vms;
        check_host(c, host, health);
    }
    json_object_set_new(o, "hosts", hosts);
    json_object_set_new(o, "vms", json_integer(vms));
}

/* ---- plans and policies: the planner's part ---- */

static void check_plan(const struct plan *plan, json_t *health)
{
    for (size_t i = 0; i < plan->body->n_moves; i++) {
        const struct plan_item *item = &plan->items[i];
        if (plan_item_state(item) != SKEIN__ACTION_STATE__ACTION_NEEDS_OPERATOR)
            continue;
        const char *message = item->report != NULL ? item->report->message : NULL;
        add_health(health, CHECK_NEEDS_OPERATOR, plan->body->id,
                   "plan %s: %s %s (%s -> %s) needs an operator: %s", plan->body->id,
                   plan_move_what(item->move), item->move->vm, item->move->from, item->move->to,
                   message != NULL ? message : "see the report");
    }
}

static void put_plans(const struct api_context *c, json_t *o, json_t *health)
{
    struct plan *const *plans;
    size_t n = state_plans(c->state, &plans);
    json_t *counts = json_object(), *waiting = json_array(), *running = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct plan *p = plans[i];
        count_up(counts, plan_state_name(p->state));
        check_plan(p, health);
        if (p->state == SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL ||
            p->state == SKEIN__PLAN_STATE__PLAN_RECOMMENDED)
            json_array_append_new(waiting, plan_summary(p));
        else if (!plan_state_ended(p->state))
            json_array_append_new(running, plan_summary(p));
    }
    json_object_set_new(o, "plans", counts);
    json_object_set_new(o, "waiting", waiting);
    json_object_set_new(o, "running", running);
    json_object_set_new(o, "in_flight", api_in_flight(c));
    json_object_set_new(o, "last_plan", n > 0 ? plan_summary(plans[n - 1]) : json_null());
}

static void put_duty(const struct api_context *c, json_t *o, json_t *health)
{
    json_t *duty = duty_status(c->duty), *policy;
    size_t i;
    json_array_foreach(json_object_get(duty, "policies"), i, policy)
    {
        const char *name = json_string_value(json_object_get(policy, "name"));
        const char *outcome = json_string_value(json_object_get(policy, "outcome"));
        const json_t *broken = json_object_get(policy, "broken");
        const char *why = json_string_value(json_object_get(broken, "reason"));
        if (broken != NULL)
            add_health(health, CHECK_POLICY_FAILS, name != NULL ? name : "",
                       "policy %s: the active version does not run, the one before it does: %s",
                       name != NULL ? name : "?", why != NULL ? why : "see the log");
        else if (json_integer_value(json_object_get(policy, "failures")) > 0)
            add_health(health, CHECK_POLICY_FAILS, name != NULL ? name : "", "policy %s fails: %s",
                       name != NULL ? name : "?", outcome != NULL ? outcome : "see the log");
    }
    json_object_update(o, duty);
    json_decref(duty);
}

/* ---- the mesh ---- */

static void put_mesh(const struct api_context *c, json_t *o)
{
    struct gossip_stats m;
    if (c->membership == NULL)
        return;
    membership_stats(c->membership, &m);
    json_object_set_new(o, "mesh",
                        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "members",
                                  (json_int_t)m.alive, "links", (json_int_t)m.links, "mesh_links",
                                  (json_int_t)m.mesh_links, "summaries", (json_int_t)m.summaries,
                                  "repeats", (json_int_t)m.repeats, "pulls", (json_int_t)m.pulls,
                                  "votes", (json_int_t)m.votes, "refutations",
                                  (json_int_t)m.refutations, "slow", (json_int_t)m.slow, "in_tree",
                                  !m.orphan));
}

/* ---- what people ordered ---- */

static void check_failures(const struct api_context *c, json_t *health)
{
    struct err open;
    struct setback *items;
    if (breaker_check(c->state, "", c->step->now.wall, &open) < 0)
        add_health(health, CHECK_BREAKER_OPEN, "", "%s", open.msg);
    size_t n = setbacks(c->state, c->step->now.wall, &items);
    for (size_t i = 0; i < n; i++) {
        char until[TIME_TEXT_SIZE];
        time_format(items[i].until, until);
        add_health(health, CHECK_BACKING_OFF, items[i].vm,
                   "VM %s: %u move%s failed; no policy moves it until %s", items[i].vm,
                   items[i].failures, items[i].failures == 1 ? "" : "s in a row", until);
    }
    free(items);
}

static void put_orders(const struct api_context *c, json_t *o, json_t *health)
{
    char until[TIME_TEXT_SIZE];
    Skein__HostAdmin *const *hosts;
    const Skein__Freeze *f = admin_freeze(state_admin(c->state), c->step->now.wall);
    json_t *freezes = NULL;
    api_show_freezes(c, NULL, &freezes, NULL);
    json_object_update(o, freezes);
    json_decref(freezes);
    if (f != NULL) {
        time_format((msec)f->until_ms, until);
        add_health(health, CHECK_FROZEN, f->id, "frozen by %s until %s%s%s", f->vote->person, until,
                   f->vote->reason[0] != '\0' ? ": " : "", f->vote->reason);
    }
    check_failures(c, health);
    for (size_t i = admin_hosts(state_admin(c->state), &hosts); i-- > 0;) {
        const Skein__HostAdmin *r = hosts[i];
        if (!r->has_deadline_ms || r->state != SKEIN__HOST_STATE__HOST_DRAINING ||
            (msec)r->deadline_ms > c->step->now.wall || api_host_vms(c, r->host) == 0)
            continue;
        time_format((msec)r->deadline_ms, until);
        add_health(health, CHECK_DRAIN_OVERDUE, r->host,
                   "%s: should be drained since %s, but %zu VMs run there", r->host, until,
                   api_host_vms(c, r->host));
    }
}

/* ---- the whole ---- */

/* A simulated world's own clock: {at, speed}, at null until it is known. */
static void put_world(const struct api_context *c, json_t *o)
{
    const struct moment *now = &c->step->now;
    char at[TIME_TEXT_SIZE];
    time_format(moment_world(now) / 1000 * 1000, at);
    json_t *world = now->clock.speed_milli == 0
                        ? json_pack("{s:n, s:n}", "at", "speed")
                        : json_pack("{s:s, s:o}", "at", at, "speed",
                                    canon_milli((int64_t)now->clock.speed_milli));
    json_object_set_new(o, "world", world);
}

int api_show_status(const struct api_context *c, const struct api_request *r _unused_, json_t **ret,
                    struct err *err _unused_)
{
    const struct node_conf *conf = c->step->conf;
    json_t *health = json_array();
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:n}", "cluster", conf->cluster, "cluster_uuid",
                  conf->cluster_uuid, "host", conf->host, "version", SKEIN_VERSION, "idle_reason");
    json_object_set_new(o, "planner",
                        c->leader[0] == '\0' ? json_null()
                                             : json_pack("{s:s, s:I}", "host", c->leader, "term",
                                                         (json_int_t)c->term));
    if (c->leader[0] == '\0') {
        struct err why;
        api_no_planner(c, &why);
        json_object_set_new(o, "idle_reason", json_string(why.msg));
        add_health(health, CHECK_NO_PLANNER, "", "%s", why.msg);
    }
    if (conf->simulated)
        put_world(c, o);
    json_object_set_new(o, "voters", voters_json(c, health));
    put_hosts(c, o, health);
    put_mesh(c, o);
    put_plans(c, o, health);
    put_orders(c, o, health);
    if (api_leads(c))
        put_duty(c, o, health);
    json_object_set_new(o, "health", health);
    *ret = o;
    return 0;
}

static bool has_check(const json_t *health, const json_t *check)
{
    size_t i;
    const json_t *other;
    json_array_foreach(health, i, other)
    {
        if (json_equal(json_object_get(other, "code"), json_object_get(check, "code")) &&
            json_equal(json_object_get(other, "about"), json_object_get(check, "about")))
            return true;
    }
    return false;
}

json_t *api_merge_status(json_t *own, const json_t *planner, const char *why)
{
    static const char *const theirs[] = {"plans",     "waiting",  "running",     "in_flight",
                                         "last_plan", "policies", "idle_reason", "freezes"};
    json_t *health = json_object_get(own, "health"), *check;
    if (planner == NULL) {
        json_object_set_new(own, "idle_reason", json_string(why));
        add_health(health, CHECK_PLANNER_SILENT, "", "%s", why);
        return own;
    }
    for (size_t i = 0; i < ARRAY_SIZE(theirs); i++) {
        json_t *value = json_object_get(planner, theirs[i]);
        if (value != NULL)
            json_object_set(own, theirs[i], value);
    }
    size_t i;
    json_array_foreach(json_object_get(planner, "health"), i, check)
    {
        if (!has_check(health, check))
            json_array_append(health, check);
    }
    return own;
}
