/* deciders.h - voters with duty and state, a log, hosts and people in one process, on a simulated
 * clock. The network loses, delays, doubles and reorders as world.faults says; everything follows
 * from world.seed. Sources are a model of what agent/core/exec promises the planner: idempotent,
 * journalled, acting only on what a majority of voters confirms. */
#ifndef SKEIN_TESTS_LIB_DECIDERS_H
#define SKEIN_TESTS_LIB_DECIDERS_H

#include "tests/lib/deciders_hosts.h"
#include "tests/lib/deciders_voters.h"

/* ---- the world ---- */

static void deliver(struct world *w, struct message *m)
{
    switch (m->kind) {
    case M_COMMIT:
        commit_proposal(w, m);
        break;
    case M_EVALUATED:
        evaluated(w, m);
        break;
    case M_ASKED:
        hook_answers(w, m);
        break;
    case M_REQUEST:
    case M_REPLY:
        if (!m->to_voter)
            deliver_to_host(w, m);
        else if (w->host_up[m->host] && m->kind == M_REPLY)
            WITH_STEP(w, m->voter,
                      duty_reply(me->d, s, me->st, host_names[m->host], m->frame->reply));
        else if (w->host_up[m->host])
            WITH_STEP(w, m->voter,
                      duty_report(me->d, s, me->st, host_names[m->host], m->frame->request->id,
                                  m->frame->request->report));
        break;
    }
}

static void deliver_due(struct world *w)
{
    for (size_t i = 0; i < w->n_queue;) {
        if (w->queue[i].at > w->now) {
            i++;
            continue;
        }
        struct message m = w->queue[i];
        w->queue[i] = w->queue[--w->n_queue];
        deliver(w, &m);
        message_done(&m);
    }
}

/* A new leader, or none (-1). It has applied all that was committed. */
static void elect(struct world *w, int leader)
{
    w->leader = leader;
    w->term += leader >= 0;
    if (leader >= 0)
        catch_up(w, leader);
    for (int v = 0; v < VOTERS; v++)
        WITH_STEP(w, v, duty_role(me->d, s, w->term, leader >= 0 ? host_names[leader] : ""));
}

/* The agent dies and comes back with what its log says. */
static inline void restart_voter(struct world *w, int v)
{
    struct voter *me = &w->voters[v];
    Skein__StateImage *image = state_image(me->st);
    struct err err;
    state_free(me->st);
    duty_free(me->d);
    me->st = state_new(&me->conf);
    me->d = duty_new(&me->conf);
    CHECK(state_restore(me->st, image, &err) == 0, "restore: %s", err.msg);
    skein__state_image__free_unpacked(image, NULL);
}

static void world_tick(struct world *w)
{
    w->now += TICK;
    show_hosts(w);
    tick_sources(w);
    deliver_due(w);
    for (int v = 0; v < VOTERS; v++) {
        if (w->leader >= 0 && (v == w->leader || chance(w, 50)))
            catch_up(w, v);
        WITH_STEP(w, v, duty_tick(me->d, s, me->view, me->st));
    }
}

static void world_run(struct world *w, msec duration)
{
    for (msec end = w->now + duration; w->now < end;)
        world_tick(w);
}

static void say(struct world *w, const char *person, unsigned roles, json_t *command)
{
    Skein__Entry *e = test_said(
        wall(w), test_envelope(person, roles, ++w->nonce, wall(w) + 20 * MINUTE, command));
    commit(w, e);
    catch_up(w, w->leader);
}

/* The moves in w->wanted, as a body of this evaluation. */
static char *worker_wants(struct world *w, const struct evaluation *e, size_t *ret_len,
                          const char **ret_nothing)
{
    if (e->policy == NULL) {
        int vm = vm_index(e->uuid);
        struct test_move move = {0, vm, host_names[w->vm_at[vm]], e->to};
        if (strcmp(move.from, e->to) != 0)
            return test_body("", "user", e->seed, e->snapshot_digest, &move, 1, ret_len);
        *ret_nothing = "the VM is there already";
        return NULL;
    }
    if (w->n_wanted == 0 || strcmp(e->policy, "alpha") != 0) {
        *ret_nothing = "no host is hot";
        return NULL;
    }
    return test_body(e->policy, "safety", w->wanted_seed + e->seed, e->snapshot_digest, w->wanted,
                     w->n_wanted, ret_len);
}

static void world_open(struct world *w, uint64_t seed)
{
    *w = (struct world){.seed = seed, .rng = seed, .leader = -1, .worker = worker_wants};
    world_now = w;
    for (int v = 0; v < VOTERS; v++) {
        struct voter *me = &w->voters[v];
        me->conf = (struct node_conf){.cluster = "dc1",
                                      .cluster_uuid = "cluster",
                                      .host = host_names[v],
                                      .voters = host_names,
                                      .n_voters = VOTERS,
                                      .policies = policy_names,
                                      .n_policies = ARRAY_SIZE(policy_names),
                                      .limit_total = 3,
                                      .limit_inflow = 1,
                                      .limit_outflow = 2,
                                      .evaluate_every = 5000,
                                      .stale_after = 10000,
                                      .plan_lifetime = 5 * MINUTE,
                                      .permit_lifetime = 10000,
                                      .request_timeout = 2000,
                                      .action_timeout = 2 * MINUTE,
                                      .clock_skew_limit = 2000,
                                      .trust = &test_trust};
        me->st = state_new(&me->conf);
        me->d = duty_new(&me->conf);
        me->view = view_new();
        me->rng = seed + (uint64_t)v;
    }
    for (int i = 0; i < VMS; i++) {
        w->vm_at[i] = i % 2;
        w->vm_moves_to[i] = -1;
    }
    for (int h = 0; h < HOSTS; h++)
        w->host_up[h] = true;
    elect(w, 0);
    world_run(w, 2000);
}

static void world_close(struct world *w)
{
    for (int v = 0; v < VOTERS; v++) {
        state_free(w->voters[v].st);
        duty_free(w->voters[v].d);
        view_free(w->voters[v].view);
    }
    for (size_t i = 0; i < w->n_queue; i++)
        message_done(&w->queue[i]);
    for (size_t i = 0; i < w->n_log; i++)
        skein_entry_free(w->log[i].entry);
    free(w->queue);
    free(w->log);
    free(w->journals);
    free(w->asked);
    buf_done(&w->audit);
}

/* ---- what tests look at ---- */

static inline struct state *leaders_state(struct world *w)
{
    return w->voters[w->leader].st;
}

/* The newest plan, or NULL. */
static inline struct plan *newest(struct world *w)
{
    struct plan *const *plans;
    size_t n = state_plans(leaders_state(w), &plans);
    return n > 0 ? plans[n - 1] : NULL;
}

static inline size_t count_plans(struct world *w)
{
    struct plan *const *plans;
    return state_plans(leaders_state(w), &plans);
}

#endif
