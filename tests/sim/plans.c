/* plans.c - what a policy's worker answers: a body made from the snapshot it was given. Most are
 * sound; some are what a defective planner might make, for the checker and the agents to refuse. */
#include "proto/canon.h"
#include "tests/sim/sim.h"

#define MOVES_MAX 4

struct guest {
    const char *uuid, *name, *host;
    int64_t mib, vcpus;
    bool taken;
};

/* The snapshot, as far as moves need it. */
struct picture {
    json_t *doc;
    bool up[SIM_HOSTS_MAX];
    bool drains[SIM_HOSTS_MAX];
    bool sleeps[SIM_HOSTS_MAX];
    struct guest guests[SIM_VMS_MAX];
    size_t n_guests;
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static void read_picture(const struct sim *s, const struct evaluation *e, struct picture *p)
{
    const json_t *vm, *host;
    size_t i;
    *p = (struct picture){.doc = json_loadb(e->snapshot, e->snapshot_len, 0, NULL)};
    json_array_foreach(json_object_get(p->doc, "hosts"), i, host)
    {
        int index = sim_host_index(s, text_of(host, "name"));
        const char *state = text_of(host, "state");
        if (index < 0)
            continue;
        p->up[index] = strcmp(state, "up") == 0;
        p->sleeps[index] = strcmp(state, "standby") == 0;
        p->drains[index] = strcmp(state, "draining") == 0 || strcmp(state, "maintenance") == 0;
    }
    json_array_foreach(json_object_get(p->doc, "vms"), i, vm)
    {
        if (p->n_guests < SIM_VMS_MAX && strcmp(text_of(vm, "state"), "running") == 0)
            p->guests[p->n_guests++] = (struct guest){
                .uuid = text_of(vm, "uuid"),
                .name = text_of(vm, "name"),
                .host = text_of(vm, "host"),
                .mib = json_integer_value(json_object_get(vm, "memory_mib")),
                .vcpus = json_integer_value(json_object_get(vm, "vcpus")),
            };
    }
}

static bool fits(const struct sim *s, const struct picture *p, const struct guest *g, int host)
{
    int64_t mib = g->mib, vcpus = g->vcpus;
    for (size_t i = 0; i < p->n_guests; i++)
        if (strcmp(p->guests[i].host, s->hosts[host].name) == 0) {
            mib += p->guests[i].mib;
            vcpus += p->guests[i].vcpus;
        }
    return mib <= (int64_t)s->hosts[host].memory_mib && vcpus <= (int64_t)s->hosts[host].vcpus;
}

static json_t *action_doc(const struct guest *g, const char *to, unsigned step, unsigned n)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:{s:s, s:b}, s:{s:i, s:i, s:i}}", "id",
                     json_sprintf("s%u-%u", step + 1, n + 1), "type", "migrate", "vm", g->name,
                     "uuid", g->uuid, "from", g->host, "to", to, "reason", "simulated",
                     "parameters", "mode", "precopy", "tls", 1, "estimate", "ms", 4000,
                     "downtime_ms", 60, "mib", 512);
}

/* Takes steps. */
static void finish(const struct evaluation *e, const char *class, json_t *steps,
                   struct evaluated *ret)
{
    json_t *policy = e->policy != NULL ? json_pack("{s:s}", "name", e->policy) : json_null();
    json_t *body =
        json_pack("{s:o, s:s, s:s, s:s, s:I, s:o}", "policy", policy, "class", class, "reason",
                  e->reason != NULL ? e->reason : "simulated", "snapshot_digest",
                  e->snapshot_digest, "seed", (json_int_t)e->seed, "steps", steps);
    struct err err;
    REQUIRE(body != NULL && canon_dump(body, &ret->body, &ret->body_len, &err) == 0);
    json_decref(body);
}

static const char *choose_host(struct sim *s, const struct picture *p, const struct guest *g,
                               bool bad)
{
    int host = (int)rng_below(&s->rng, (uint64_t)s->n_hosts);
    for (int i = 0; i < s->n_hosts; i++, host = (host + 1) % s->n_hosts)
        if (strcmp(s->hosts[host].name, g->host) != 0 &&
            (bad || (p->up[host] && fits(s, p, g, host))))
            return s->hosts[host].name;
    return NULL;
}

/* One or two steps of one move or two. A VM stays counted where it was and where it goes. */
static void make_policy(struct sim *s, const struct evaluation *e, struct picture *p,
                        struct evaluated *ret)
{
    json_t *steps = json_array();
    unsigned n_steps = (unsigned)sim_between(s, 1, 2), n = 0;
    bool bad = s->faults && sim_chance(s, 5000);
    for (unsigned step = 0; step < n_steps && p->n_guests > 0; step++) {
        json_t *actions = json_array();
        for (int tries = (int)sim_between(s, 1, 3); tries > 0 && n < MOVES_MAX; tries--) {
            struct guest *g = &p->guests[rng_below(&s->rng, p->n_guests)];
            const char *to = g->taken ? NULL : choose_host(s, p, g, bad);
            if (to == NULL)
                continue;
            g->taken = true;
            json_array_append_new(actions, action_doc(g, to, step, n++));
            if (p->n_guests < SIM_VMS_MAX) {
                p->guests[p->n_guests] = *g;
                p->guests[p->n_guests++].host = to;
            }
        }
        if (json_array_size(actions) > 0)
            json_array_append_new(steps, json_pack("{s:o}", "actions", actions));
        else
            json_decref(actions);
    }
    if (json_array_size(steps) > 0) {
        finish(e, sim_chance(s, 30000) ? "balance" : "safety", steps, ret);
        return;
    }
    json_decref(steps);
    ret->nothing = xstrdup("nothing to do");
}

/* A step for each move; the VM stays counted where it was. */
static void add_step(struct picture *p, struct guest *g, const char *to, json_t *steps)
{
    json_t *actions = json_pack("[o]", action_doc(g, to, (unsigned)json_array_size(steps), 0));
    json_array_append_new(steps, json_pack("{s:o}", "actions", actions));
    g->taken = true;
    if (p->n_guests < SIM_VMS_MAX) {
        p->guests[p->n_guests] = *g;
        p->guests[p->n_guests++].host = to;
    }
}

/* ---- standby and wake ---- */

static json_t *power_step(const char *type, const char *host, unsigned step)
{
    return json_pack("{s:[{s:o, s:s, s:s, s:s, s:{s:i}}]}", "actions", "id",
                     json_sprintf("s%u-1", step + 1), "type", type, "host", host, "reason",
                     "simulated", "estimate", "ms", 10000);
}

static bool stands_empty(const struct sim *s, const struct picture *p, int host)
{
    for (size_t i = 0; i < p->n_guests; i++)
        if (strcmp(p->guests[i].host, s->hosts[host].name) == 0)
            return false;
    return p->up[host];
}

/* Rather one that sleeps or stands empty. Voters are the first hosts. */
static int choose_to_switch(struct sim *s, const struct picture *p)
{
    int host = s->n_voters < s->n_hosts ? (int)sim_between(s, s->n_voters, s->n_hosts - 1) : 0;
    for (int i = s->n_voters; i < s->n_hosts && sim_chance(s, 80000); i++)
        if (p->sleeps[i] || stands_empty(s, p, i))
            host = i;
    return host;
}

/* A host that sleeps wakes; else one that does not vote goes to sleep, once its guests have left.
 */
static bool make_power(struct sim *s, const struct evaluation *e, struct picture *p,
                       struct evaluated *ret)
{
    json_t *steps = json_array();
    bool whole = s->n_voters < s->n_hosts; /* voters are the first */
    int host = choose_to_switch(s, p);
    const char *name = s->hosts[host].name;
    if (p->sleeps[host])
        json_array_append_new(steps, power_step("wake", name, 0));
    for (size_t i = 0, n = p->n_guests; i < n && !p->sleeps[host]; i++) {
        struct guest *g = &p->guests[i];
        const char *to = strcmp(g->host, name) == 0 ? choose_host(s, p, g, false) : NULL;
        if (to != NULL && json_array_size(steps) < MOVES_MAX)
            add_step(p, g, to, steps);
        else if (strcmp(g->host, name) == 0)
            whole = false;
    }
    if (!p->sleeps[host] && whole && p->up[host] && !s->hosts[host].voter)
        json_array_append_new(steps, power_step("standby", name, (unsigned)json_array_size(steps)));
    else if (!p->sleeps[host])
        json_array_clear(steps);
    bool made = json_array_size(steps) > 0;
    if (made)
        finish(e, "safety", steps, ret);
    else
        json_decref(steps);
    return made;
}

static void make_steps(const struct evaluation *e, const char *class, json_t *steps,
                       struct evaluated *ret)
{
    if (json_array_size(steps) > 0) {
        finish(e, class, steps, ret);
        return;
    }
    json_decref(steps);
    ret->nothing = xstrdup("nothing can be moved");
}

/* Off the hosts that drain. */
static void make_drain(struct sim *s, const struct evaluation *e, struct picture *p,
                       struct evaluated *ret)
{
    json_t *steps = json_array();
    for (size_t i = 0, n = p->n_guests; i < n && json_array_size(steps) < MOVES_MAX; i++) {
        struct guest *g = &p->guests[i];
        int from = sim_host_index(s, g->host);
        const char *to = from >= 0 && p->drains[from] ? choose_host(s, p, g, false) : NULL;
        if (to != NULL)
            add_step(p, g, to, steps);
    }
    s->counts->drains += json_array_size(steps) > 0;
    make_steps(e, "drain", steps, ret);
}

/* Home to a host that was restored. */
static void make_return(struct sim *s, const struct evaluation *e, struct picture *p,
                        struct evaluated *ret)
{
    json_t *steps = json_array();
    for (size_t k = 0; k < e->n_moves; k++)
        for (size_t i = 0, n = p->n_guests; i < n && json_array_size(steps) < MOVES_MAX; i++) {
            struct guest *g = &p->guests[i];
            int to = sim_host_index(s, e->moves[k].to);
            if (strcmp(g->uuid, e->moves[k].uuid) == 0 && !g->taken && to >= 0 && p->up[to] &&
                strcmp(g->host, e->moves[k].to) != 0 && fits(s, p, g, to))
                add_step(p, g, s->hosts[to].name, steps);
        }
    make_steps(e, e->class, steps, ret);
}

static void make_move(struct sim *s, const struct evaluation *e, const struct picture *p,
                      struct evaluated *ret)
{
    for (size_t i = 0; i < p->n_guests; i++) {
        const struct guest *g = &p->guests[i];
        int to = sim_host_index(s, e->to);
        if (strcmp(g->uuid, e->uuid) != 0)
            continue;
        if (to < 0 || strcmp(g->host, e->to) == 0 || !p->up[to] || !fits(s, p, g, to))
            break;
        json_t *actions = json_pack("[o]", action_doc(g, e->to, 0, 0));
        finish(e, "user", json_pack("[{s:o}]", "actions", actions), ret);
        return;
    }
    ret->nothing = xstrdup("it does not fit there");
}

static void make_plan(struct sim *s, const struct evaluation *e, struct evaluated *ret)
{
    struct picture p;
    read_picture(s, e, &p);
    if (e->policy == NULL && e->n_moves > 0)
        make_return(s, e, &p, ret);
    else if (e->policy != NULL && strcmp(e->policy, ADMIN_DRAIN_POLICY) == 0)
        make_drain(s, e, &p, ret);
    else if (e->policy == NULL)
        make_move(s, e, &p, ret);
    else if (!s->power || !e->power || !make_power(s, e, &p, ret))
        make_policy(s, e, &p, ret);
    json_decref(p.doc);
}

static void evaluated(struct sim *s, struct later *l)
{
    struct evaluation *e = (struct evaluation *)(uintptr_t)l->b;
    struct event event = {.kind = EVENT_EVALUATED, .token = l->a};
    struct evaluated answer = {0};
    if (s->faults && sim_chance(s, 5000))
        err_set(&event.err, ERR_TIMEOUT, "the worker took too long");
    else if (e->policy != NULL && (s->people_rest || (!s->power && sim_chance(s, 30000))))
        answer.nothing = xstrdup("all is well");
    else
        make_plan(s, e, &answer);
    event.evaluated = &answer;
    evaluation_free(e);
    agent_step(s, &s->hosts[l->host], &event);
    free(answer.body);
    free(answer.nothing);
}

static void forget(struct later *l)
{
    evaluation_free((struct evaluation *)(uintptr_t)l->b);
}

static void orphaned(struct sim *s, struct later *l)
{
    (void)s;
    forget(l);
}

void plans_evaluate(struct sim *s, struct sim_host *h, uint64_t token, struct evaluation *e)
{
    if (e->policy != NULL)
        witness_planning(s, h);
    struct later *l = sim_later(s, sim_between(s, 20, 300), h->index, evaluated);
    l->orphaned = orphaned;
    l->forget = forget;
    l->a = token;
    l->b = (uint64_t)(uintptr_t)e;
}
