/* Random small clusters, tight, violating and partly unknown: every plan is safe by the independent
 * checker, the same for a shuffled snapshot, leaves nothing to be done when it has been carried
 * out, and takes about as long as it must. test_planner_random             as many as the form of
 * the tests says test_planner_random SEED [N]    one, or N from there */
#include "tests/lib/test.h"

#include <inttypes.h>
#include <stdio.h>

#include "planner/check/check.h"
#include "planner/core/plan_doc.h"
#include "planner/core/predict.h"
#include "proto/canon.h"
#include "tests/lib/clusters.h"

#define CLUSTERS 3000
#define CLUSTERS_NIGHTLY 40000

/* A goal drawn from the dice; the arrays live in the model's arena. */
static struct planner_problem draw_problem(struct dice *d, struct model *m)
{
    struct planner_problem p = {.model = m, .now = m->taken_at, .n_plus = QUANTITY_UNKNOWN};
    p.mode = (enum planner_mode)roll(d, 6);
    p.override_holds = p.mode == PLANNER_DRAIN || p.mode == PLANNER_MOVES;
    p.copy_storage = chance(d, 50);
    int *sources = arena_array(&m->arena, 2, sizeof *sources);
    sources[0] = (int)roll(d, (uint64_t)m->n_hosts);
    p.sources = sources;
    p.n_sources = p.mode == PLANNER_CONSOLIDATE ? 0 : 1;
    int64_t *load = arena_array(&m->arena, (size_t)m->n_vms, sizeof *load);
    int64_t *room = arena_array(&m->arena, (size_t)m->n_hosts, sizeof *room);
    int64_t *relief = arena_array(&m->arena, (size_t)m->n_hosts, sizeof *relief);
    for (int v = 0; v < m->n_vms; v++)
        load[v] = odd(d, 5) ? QUANTITY_UNKNOWN : m->vms[v].cpu_used_cores;
    for (int h = 0; h < m->n_hosts; h++)
        room[h] = odd(d, 5) ? QUANTITY_UNKNOWN : (int64_t)roll(d, 5000);
    relief[sources[0]] = (int64_t)roll(d, 6000);
    if (p.mode == PLANNER_RELIEVE) {
        p.vm_load = load;
        p.host_room = room;
        p.host_relief = relief;
    }
    struct planner_move *moves = arena_array(&m->arena, 4, sizeof *moves);
    int first = (int)roll(d, (uint64_t)m->n_vms);
    for (; p.n_moves < MIN(3, m->n_vms); p.n_moves++)
        moves[p.n_moves] = (struct planner_move){(first + p.n_moves) % m->n_vms,
                                                 (int)roll(d, (uint64_t)m->n_hosts)};
    p.moves = moves;
    return p;
}

static const char *class_of(enum planner_mode mode)
{
    return mode == PLANNER_DRAIN ? "drain" : mode == PLANNER_MOVES ? "user" : "optimise";
}

/* Its VMs, which the snapshot says have crashed, are to run again. */
static void revive(struct model *m, int lost, struct planner_problem *p)
{
    int *sources = arena_array(&m->arena, 1, sizeof *sources);
    sources[0] = lost;
    p->mode = PLANNER_RESTART;
    p->override_holds = true;
    p->copy_storage = false;
    p->sources = sources;
    p->n_sources = 1;
    m->hosts[lost].state = HOST_MAINTENANCE;
    for (int i = 0; i < m->hosts[lost].n_vms; i++)
        if (m->vms[m->hosts[lost].vms[i]].state == VM_CRASHED)
            m->vms[m->hosts[lost].vms[i]].state = VM_RUNNING;
}

/* ---- making a plan ---- */

struct made {
    struct model *m;
    struct planner_result *r;
    enum planner_mode mode;
    int64_t max_moves;
    char *text; /* the document */
};

/* VMs that are parked on the way move twice and count once. */
static void assert_moves_bounded(const struct made *x)
{
    int64_t n = 0;
    if (x->max_moves == 0 || x->mode == PLANNER_MOVES || x->mode == PLANNER_RESTART)
        return;
    for (int i = 0; i < x->r->n_actions; i++) {
        bool first = x->r->actions[i].type == PLAN_MIGRATE;
        for (int k = 0; k < i; k++)
            first = first && x->r->actions[k].vm != x->r->actions[i].vm;
        n += first;
    }
    assert_true(n <= x->max_moves);
}

/* after: what an earlier plan of the same dice did, so that what was asked for is asked less. */
static struct made make_plan(const char *snapshot, struct dice d, const char *lost,
                             const struct made *after)
{
    struct made x = {0};
    _cleanup_json_ json_t *body = NULL, *doc = NULL;
    struct err err;
    assert_ok(model_parse(snapshot, strlen(snapshot), &x.m, &err), &err);
    struct planner_problem p = draw_problem(&d, x.m);
    p.alternatives = chance(&d, 20);
    p.power = chance(&d, 30);
    p.max_moves = chance(&d, 20) ? 1 + (int64_t)roll(&d, 5) : 0;
    if (lost[0] != '\0')
        revive(x.m, model_find_host(x.m, lost), &p);
    for (int i = 0; after != NULL && p.host_relief != NULL && i < after->r->n_actions; i++) {
        const struct planner_action *a = &after->r->actions[i];
        int64_t *relief = (int64_t *)p.host_relief, *room = (int64_t *)p.host_room;
        if (a->type != PLAN_MIGRATE)
            continue;
        relief[a->from] = MAX(relief[a->from] - p.vm_load[a->vm], 0);
        room[a->to] = room[a->to] == QUANTITY_UNKNOWN ? QUANTITY_UNKNOWN
                                                      : MAX(room[a->to] - p.vm_load[a->vm], 0);
    }
    x.mode = p.mode;
    x.max_moves = p.max_moves;
    assert_ok(planner_run(&p, &x.r, &err), &err);
    struct plan_origin origin = {.policy_name = "t", .class = class_of(p.mode), .reason = "test"};
    assert_ok(plan_body_new(x.m, x.r, &origin, &body, &err), &err);
    assert_ok(plan_doc_new(body, &doc, &err), &err);
    assert_ok(canon_dump(doc, &x.text, NULL, &err), &err);
    assert_true(x.r->violations_after <= x.r->violations_before);
    assert_moves_bounded(&x);
    return x;
}

static void made_done(struct made *x)
{
    planner_result_free(x->r);
    model_free(x->m);
    free(x->text);
}

/* ---- what is asked of it ---- */

static void check(uint64_t seed, const char *snapshot, const char *plan)
{
    _cleanup_(check_report_freep) struct check_report *report = NULL;
    struct err err;
    assert_ok(plan_check(snapshot, strlen(snapshot), plan, strlen(plan), NULL, &report, &err),
              &err);
    for (int i = 0; i < report->n_findings; i++)
        print_error("step %d %s %s: %s\n", report->findings[i].step, report->findings[i].action,
                    report->findings[i].code, report->findings[i].message);
    if (!report->ok) {
        fprintf(stderr, "%s\n%s\n", snapshot, plan);
        fail_msg("seed %" PRIu64 ": unsafe", seed);
    }
}

/* Carried out, it leaves nothing to do. Not asked of moves that were asked for: VMs that stay
 * together may have been asked to different hosts; nor where only so many may move. */
static void plan_again(uint64_t seed, struct dice d, struct cluster *c, const struct made *first)
{
    if (first->mode == PLANNER_MOVES || first->mode == PLANNER_RESTART || first->max_moves > 0)
        return;
    for (int i = 0; i < first->r->n_actions; i++) {
        const struct planner_action *a = &first->r->actions[i];
        if (a->type != PLAN_MIGRATE)
            json_object_set_new(cluster_find(c->hosts, first->m->hosts[a->to].name), "state",
                                json_string(a->type == PLAN_WAKE ? "up" : "standby"));
        if (a->type != PLAN_MIGRATE)
            continue;
        cluster_move(c, vm_label(&first->m->vms[a->vm]), first->m->hosts[a->from].name,
                     first->m->hosts[a->to].name);
    }
    _cleanup_(freep) char *snapshot = cluster_snapshot(c, NULL);
    struct made again = make_plan(snapshot, d, "", first);
    check(seed, snapshot, again.text);
    if (again.r->n_actions > 0) {
        fprintf(stderr, "%s\n%s\n%s\n", first->text, snapshot, again.text);
        fail_msg("seed %" PRIu64 ": %s again finds %d moves", seed, planner_mode_name(first->mode),
                 again.r->n_actions);
    }
    made_done(&again);
}

/* The least it could take: links, limits and the longest move; 0 without moves. */
static int64_t least_ms(const struct made *x)
{
    const struct model *m = x->m;
    size_t hosts = (size_t)m->n_hosts;
    _cleanup_(freep) int64_t *out = xcalloc(hosts, sizeof *out), *in = xcalloc(hosts, sizeof *in);
    int64_t least = 0, all = 0;
    for (int i = 0; i < x->r->n_actions; i++) {
        const struct planner_action *a = &x->r->actions[i];
        struct planner_parameters p;
        struct planner_estimate alone;
        if (a->type != PLAN_MIGRATE)
            continue;
        predict_move(m, a->vm, a->from, a->to, a->parameters.how.storage != MIGRATE_STORAGE_NONE, 1,
                     1, &p, &alone);
        out[a->from] += alone.ms;
        in[a->to] += alone.ms;
        all += alone.ms;
        least = MAX(least, alone.ms);
    }
    for (int h = 0; h < m->n_hosts; h++) {
        least = MAX(least, out[h] / MAX(m->limits.outflow_per_host, 1));
        least = MAX(least, in[h] / MAX(m->limits.inflow_per_host, 1));
    }
    return MAX(least, all / MAX(m->limits.total, 1));
}

/* Without the time that hosts take to wake. */
static int64_t moves_ms(const struct made *x)
{
    int64_t waking = 0;
    for (int i = 0; i < x->r->n_actions; i++)
        if (x->r->actions[i].type == PLAN_WAKE)
            waking = MAX(waking, x->r->actions[i].estimate.ms);
    return x->r->makespan_ms - waking;
}

struct tally {
    uint64_t clusters, moves, planned;
    double *ratios;
    size_t n_ratios, cap_ratios;
};

static void try_seed(uint64_t seed, struct tally *t)
{
    struct dice d = {.state = seed * 2654435761U + 1}, order = {.state = seed};
    struct cluster c;
    char lost[16] = "";
    cluster_make(&d, &c);
    if (chance(&d, 12)) {
        snprintf(lost, sizeof lost, "h%d", (int)roll(&d, (uint64_t)c.n_hosts));
        cluster_lose(&c, lost);
    }
    _cleanup_(freep) char *snapshot = cluster_snapshot(&c, NULL);
    _cleanup_(freep) char *other = cluster_snapshot(&c, &order);
    struct made first = make_plan(snapshot, d, lost, NULL);
    struct made second = make_plan(other, d, lost, NULL);
    if (strcmp(first.text, second.text) != 0)
        fail_msg("seed %" PRIu64 ": a shuffled snapshot gives another plan", seed);
    check(seed, snapshot, first.text);
    t->clusters++;
    t->moves += (uint64_t)first.r->n_actions;
    t->planned += first.r->n_actions > 0;
    if (least_ms(&first) > 0) {
        ARRAY_RESERVE(t->ratios, t->cap_ratios, t->n_ratios + 1);
        t->ratios[t->n_ratios++] = (double)moves_ms(&first) / (double)MAX(least_ms(&first), 1);
    }
    plan_again(seed, d, &c, &first);
    made_done(&first);
    made_done(&second);
    cluster_done(&c);
}

static uint64_t first_seed = 1, n_seeds = CLUSTERS;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void every_plan_is_safe(void **state)
{
    (void)state;
    struct tally t = {0};
    for (uint64_t s = first_seed; s < first_seed + n_seeds; s++)
        try_seed(s, &t);
    if (t.n_ratios > 0)
        qsort(t.ratios, t.n_ratios, sizeof *t.ratios, by_value);
    double median = t.n_ratios > 0 ? t.ratios[t.n_ratios / 2] : 1;
    print_message("%" PRIu64 " clusters, %" PRIu64 " with moves, %" PRIu64
                  " moves; makespan %.3f times the least on the median\n",
                  t.clusters, t.planned, t.moves, median);
    free(t.ratios);
    assert_true(median <= 1.25);
}

int main(int argc, char **argv)
{
    const char *form = getenv("SKEIN_TEST_FORM");
    if (form != NULL && strcmp(form, "nightly") == 0)
        n_seeds = CLUSTERS_NIGHTLY;
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 1)
        n_seeds = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_plan_is_safe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
