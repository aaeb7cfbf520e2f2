/* roadef - machine reassignment in the format of the ROADEF/EURO challenge 2012: a reader and a
 * writer around planner_search().
 *   roadef -t SECONDS|-e EVALUATIONS -p MODEL -i INITIAL -o NEW [-s SEED] [-1]
 * -e: so many evaluations, whatever the clock says: the same result every time. -1: one thread,
 * with the same result. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "planner/core/search.h"
#include "proto/err.h"
#include "proto/util.h"

struct input {
    char *text, *at;
    const char *name;
};

_Noreturn static void die(const char *name, const char *why)
{
    fprintf(stderr, "roadef: %s: %s\n", name, why);
    exit(1);
}

static void open_input(struct input *in, const char *name)
{
    FILE *f = fopen(name, "rb");
    struct buf b = {0};
    char chunk[65536];
    if (f == NULL)
        die(name, strerror(errno));
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    in->text = in->at = buf_take(&b);
    in->name = name;
}

static int64_t next(struct input *in)
{
    char *end;
    long long v = strtoll(in->at, &end, 10);
    if (end == in->at)
        die(in->name, "ends too early, or holds what is no number");
    if (v < 0)
        die(in->name, "a negative number");
    in->at = end;
    return v;
}

static int next_count(struct input *in, int64_t most)
{
    int64_t v = next(in);
    if (v > most)
        die(in->name, "a number is too large");
    return (int)v;
}

/* What the format has beside the instance. */
struct services {
    int n;
    int *spread_min, *first, *size; /* [service] */
    int *dependency_first, *dependency;
    int *members;
    int64_t move_weight;
};

static void read_machines(struct input *in, struct instance *x, int64_t *distance)
{
    size_t n = (size_t)x->n_resources;
    int most[2] = {0, 0};
    for (int m = 0; m < x->n_hosts; m++) {
        for (int k = 2; k >= 1; k--) { /* neighbourhood, then location */
            x->domain[k][m] = next_count(in, 1000000);
            most[k - 1] = MAX(most[k - 1], x->domain[k][m] + 1);
        }
        x->domain[0][m] = m;
        for (size_t r = 0; r < n; r++)
            x->capacity[(size_t)m * n + r] = next(in);
        for (size_t r = 0; r < n; r++)
            x->safety[(size_t)m * n + r] = next(in);
        for (int k = 0; k < x->n_hosts; k++)
            distance[(size_t)m * (size_t)x->n_hosts + (size_t)k] = next(in);
    }
    x->n_domains[0] = x->n_hosts;
    x->n_domains[1] = most[0];
    x->n_domains[2] = most[1];
}

static void read_services(struct input *in, struct services *s)
{
    size_t cap = 0, n = 0;
    s->n = next_count(in, 10000000);
    s->spread_min = xcalloc((size_t)s->n + 1, sizeof(int));
    s->dependency_first = xcalloc((size_t)s->n + 2, sizeof(int));
    for (int i = 0; i < s->n; i++) {
        s->spread_min[i] = next_count(in, 1000000);
        int k = next_count(in, s->n);
        for (; k > 0; k--) {
            ARRAY_RESERVE(s->dependency, cap, n + 1);
            s->dependency[n++] = next_count(in, s->n - 1);
        }
        s->dependency_first[i + 1] = (int)n;
    }
}

static void read_processes(struct input *in, struct instance *x, const struct services *s)
{
    size_t n = (size_t)x->n_resources;
    x->n_vms = next_count(in, 10000000);
    size_t vms = (size_t)x->n_vms + 1;
    x->demand = xcalloc(vms * n, sizeof(int64_t));
    x->move_cost = xcalloc(vms, sizeof(int64_t));
    x->service = xcalloc(vms, sizeof(int));
    for (int p = 0; p < x->n_vms; p++) {
        x->service[p] = next_count(in, s->n - 1);
        for (size_t r = 0; r < n; r++)
            x->demand[(size_t)p * n + r] = next(in);
        x->move_cost[p] = next(in);
    }
}

static void read_costs(struct input *in, struct instance *x)
{
    x->n_balances = next_count(in, 1000);
    x->balances = xcalloc((size_t)x->n_balances + 1, sizeof *x->balances);
    for (int i = 0; i < x->n_balances; i++) {
        struct inst_balance *b = &x->balances[i];
        b->r1 = next_count(in, x->n_resources - 1);
        b->r2 = next_count(in, x->n_resources - 1);
        b->target = next(in);
        b->weight = next(in);
    }
    int64_t process = next(in);
    x->service_weight = next(in);
    x->distance_weight = next(in);
    for (int p = 0; p < x->n_vms; p++)
        x->move_cost[p] *= process;
}

static void group_by_service(const struct instance *x, struct services *s)
{
    s->first = xcalloc((size_t)s->n + 2, sizeof(int));
    s->members = xcalloc((size_t)x->n_vms + 1, sizeof(int));
    for (int p = 0; p < x->n_vms; p++)
        s->first[x->service[p] + 1]++;
    for (int i = 0; i < s->n; i++)
        s->first[i + 1] += s->first[i];
    int *fill = xmemdup(s->first, ((size_t)s->n + 1) * sizeof(int));
    for (int p = 0; p < x->n_vms; p++)
        s->members[fill[x->service[p]]++] = p;
    free(fill);
}

static int add_set(struct instance *x, const struct services *s, int service, int scope)
{
    x->sets[x->n_sets] = (struct inst_set){.members = &s->members[s->first[service]],
                                           .n = s->first[service + 1] - s->first[service],
                                           .scope = scope};
    return x->n_sets++;
}

static struct inst_rule *add_rule(struct instance *x, enum inst_kind kind, int set)
{
    x->rules[x->n_rules] = (struct inst_rule){.kind = kind, .hard = true, .set = set, .other = -1};
    return &x->rules[x->n_rules++];
}

static void make_rules(struct instance *x, const struct services *s)
{
    int n_dependencies = s->dependency_first[s->n];
    size_t n = (size_t)s->n;
    x->sets = xcalloc(3 * n + 1, sizeof *x->sets);
    x->rules = xcalloc(2 * n + (size_t)n_dependencies + 1, sizeof *x->rules);
    int *near = xcalloc(n + 1, sizeof *near); /* [service] its set by neighbourhoods, + 1 */
    for (int i = 0; i < s->n; i++) {
        int size = s->first[i + 1] - s->first[i];
        if (size > 1)
            add_rule(x, INST_APART, add_set(x, s, i, 0));
        if (s->spread_min[i] > 1)
            add_rule(x, INST_SPREAD, add_set(x, s, i, 1))->minimum = s->spread_min[i];
    }
    for (int i = 0; i < s->n; i++)
        for (int k = s->dependency_first[i]; k < s->dependency_first[i + 1]; k++) {
            const int pair[2] = {i, s->dependency[k]};
            for (int j = 0; j < 2; j++)
                if (near[pair[j]] == 0)
                    near[pair[j]] = add_set(x, s, pair[j], 2) + 1;
            if (pair[0] != pair[1])
                add_rule(x, INST_BESIDE, near[pair[0]] - 1)->other = near[pair[1]] - 1;
        }
    free(near);
}

static void read_model(const char *name, struct instance *x, struct services *s)
{
    struct input in;
    open_input(&in, name);
    x->n_resources = next_count(&in, INSTANCE_RESOURCES_MAX);
    for (int r = 0; r < x->n_resources; r++) {
        x->resource[r].transient = next(&in) != 0;
        x->resource[r].load_weight = next(&in);
    }
    x->n_hosts = next_count(&in, 100000);
    size_t hosts = (size_t)x->n_hosts, n = (size_t)x->n_resources;
    x->capacity = xcalloc(hosts * n + 1, sizeof(int64_t));
    x->safety = xcalloc(hosts * n + 1, sizeof(int64_t));
    x->n_scopes = 3;
    x->domain = xcalloc(3, sizeof *x->domain);
    x->n_domains = xcalloc(3, sizeof *x->n_domains);
    for (int k = 0; k < 3; k++)
        x->domain[k] = xcalloc(hosts + 1, sizeof(int));
    int64_t *distance = xcalloc(hosts * hosts + 1, sizeof *distance);
    read_machines(&in, x, distance);
    x->distance = distance;
    read_services(&in, s);
    x->n_services = s->n;
    read_processes(&in, x, s);
    read_costs(&in, x);
    group_by_service(x, s);
    make_rules(x, s);
    free(in.text);
}

static void read_initial(const char *name, struct instance *x)
{
    struct input in;
    open_input(&in, name);
    x->initial = xcalloc((size_t)x->n_vms + 1, sizeof(int));
    for (int p = 0; p < x->n_vms; p++)
        x->initial[p] = next_count(&in, x->n_hosts - 1);
    free(in.text);
}

static void write_new(const char *name, const struct state *s)
{
    FILE *f = fopen(name, "w");
    if (f == NULL)
        die(name, strerror(errno));
    for (int p = 0; p < s->in->n_vms; p++)
        fprintf(f, "%d%c", s->at[p], p + 1 < s->in->n_vms ? ' ' : '\n');
    if (fclose(f) != 0)
        die(name, strerror(errno));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

#define THREADS_MAX 8

struct job {
    void (*task)(void *arg);
    void *arg;
    pthread_t thread;
    bool runs;
};

static double search_began, deadline;

static bool time_is_up(void *ctx)
{
    (void)ctx;
    return now() >= deadline;
}

static double time_gone(void *ctx)
{
    (void)ctx;
    return (now() - search_began) / (deadline - search_began);
}

static void *thread_main(void *arg)
{
    struct job *job = arg;
    job->task(job->arg);
    return NULL;
}

/* Each task its thread; where none is to be had, here. */
static void run_in_threads(void *ctx, void (*task)(void *arg), void *const *args, int n)
{
    struct job jobs[THREADS_MAX];
    (void)ctx;
    for (int i = 0; i < n; i++) {
        struct job *job = &jobs[i % THREADS_MAX];
        *job = (struct job){.task = task, .arg = args[i]};
        if (i + 1 < n && i < THREADS_MAX)
            job->runs = pthread_create(&job->thread, NULL, thread_main, job) == 0;
        if (!job->runs)
            task(args[i]);
    }
    for (int i = 0; i < MIN(n, THREADS_MAX); i++)
        if (jobs[i].runs)
            pthread_join(jobs[i].thread, NULL);
}

/* A short search tells how long a part of the one that takes the rest of the time should be. */
static void search_for(struct state *s, uint64_t seed, bool threads)
{
    struct search_conf conf = {.seed = seed,
                               .thorough = true,
                               .effort = 20 * (int64_t)s->in->n_vms,
                               .run = threads ? run_in_threads : NULL,
                               .stop = time_is_up};
    double began = now();
    int64_t before = s->evaluations;
    planner_search(s, &conf, NULL);
    search_began = now();
    double speed = (double)(s->evaluations - before) / MAX(search_began - began, 1e-3);
    if (deadline <= search_began)
        return;
    conf.effort = MAX((int64_t)(speed * (deadline - search_began)), 10000);
    conf.pace = time_gone;
    planner_search(s, &conf, NULL);
}

static void usage(void)
{
    fprintf(stderr,
            "usage: roadef -t SECONDS|-e EVALUATIONS -p MODEL -i INITIAL -o NEW [-s SEED] [-1]\n");
    exit(2);
}

int main(int argc, char **argv)
{
    double begin = now(), seconds = 30;
    const char *model = NULL, *initial = NULL, *out = NULL;
    uint64_t seed = 1;
    int64_t effort = 0;
    bool threads = true;
    for (int c; (c = getopt(argc, argv, "t:e:p:i:o:s:1")) != -1;) {
        if (c == 't')
            seconds = strtod(optarg, NULL);
        else if (c == 'p')
            model = optarg;
        else if (c == 'i')
            initial = optarg;
        else if (c == 'o')
            out = optarg;
        else if (c == 'e')
            effort = strtoll(optarg, NULL, 10);
        else if (c == '1')
            threads = false;
        else if (c == 's')
            seed = strtoull(optarg, NULL, 10);
        else
            usage();
    }
    if (model == NULL || initial == NULL || out == NULL || optind != argc || !(seconds > 0))
        usage();
    struct instance x = {0};
    struct services services = {0};
    read_model(model, &x, &services);
    read_initial(initial, &x);
    struct state *s = search_state_new(&x);
    int64_t first = s->cost;
    deadline = begin + seconds - 0.3 - (double)x.n_vms / 5e5;
    if (effort > 0)
        planner_search(s,
                       &(struct search_conf){.seed = seed,
                                             .thorough = true,
                                             .effort = effort,
                                             .run = threads ? run_in_threads : NULL},
                       NULL);
    else
        search_for(s, seed, threads);
    write_new(out, s);
    printf("%" PRId64 " -> %" PRId64 ", %d moved, %" PRId64 " evaluations, %.1f s\n", first,
           s->cost, s->n_moved, s->evaluations, now() - begin);
    return 0;
}
