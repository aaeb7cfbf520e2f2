/* ganeti - hbal's problem from hbal's text file: a reader and a writer around planner_search().
 *   ganeti [--ignore-dynu] IN OUT
 * Prints the moves; OUT is IN with the instances' new nodes and the nodes' new free memory. The
 * objective is hbal's score where moves of instances on shared storage can change it: the standard
 * deviations of free memory, of the ratio of virtual to physical CPUs and of the four dynamic loads
 * (1 an instance), and instances on offline nodes. Instances with a secondary node stay. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "planner/core/search.h"
#include "proto/err.h"
#include "proto/util.h"

/* One point of hbal's score. */
#define POINT ((int64_t)1000000000000)
/* 4 for an instance on an offline node, 16 for its primary there. */
#define OFFLINE_POINTS 20
/* hbal: below a score of 0.1 a move must gain 0.01. */
#define MIN_GAIN (POINT / 100)
#define MIN_GAIN_BELOW (POINT / 10)

enum { MEMORY, VCPUS, LOAD, OFFLINE, N_RESOURCES };

#define FIELDS_MAX 24

struct line {
    char *text; /* the line as it was, owned by the file */
    char *field[FIELDS_MAX];
    int n;
};

struct file {
    char *text;
    struct line *nodes, *instances;
    int n_nodes, n_instances;
    char *head, *tail; /* sections before and after, as they were */
};

_Noreturn static void die(const char *name, const char *why)
{
    fprintf(stderr, "ganeti: %s: %s\n", name, why);
    exit(1);
}

static char *slurp(const char *name)
{
    FILE *f = fopen(name, "rb");
    struct buf b = {0};
    char chunk[65536];
    if (f == NULL)
        die(name, strerror(errno));
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    return buf_take(&b);
}

static char *cut_section(char **at, const char *name)
{
    char *start = *at, *end = strstr(start, "\n\n");
    if (end == NULL)
        die(name, "a section is missing");
    *end = '\0';
    *at = end + 2;
    return start;
}

static struct line *cut_lines(char *section, int *ret_n)
{
    struct line *list = NULL;
    size_t cap = 0;
    for (char *save, *l = strtok_r(section, "\n", &save); l != NULL;
         l = strtok_r(NULL, "\n", &save)) {
        ARRAY_RESERVE(list, cap, (size_t)*ret_n + 1);
        struct line *x = &list[(*ret_n)++];
        *x = (struct line){.text = l};
        for (char *f = l; f != NULL && x->n < FIELDS_MAX;) {
            x->field[x->n++] = f;
            f = strchr(f, '|');
            if (f != NULL)
                *f++ = '\0';
        }
    }
    return list;
}

static void read_file(const char *name, struct file *f)
{
    f->text = slurp(name);
    char *at = f->text;
    f->head = cut_section(&at, name);
    f->nodes = cut_lines(cut_section(&at, name), &f->n_nodes);
    char *instances = at, *end = strstr(at, "\n\n");
    if (end != NULL)
        *end = '\0';
    f->tail = end != NULL ? end + 2 : at + strlen(at);
    f->instances = cut_lines(instances, &f->n_instances);
    for (int i = 0; i < f->n_nodes; i++)
        if (f->nodes[i].n < 8)
            die(name, "a node's line is too short");
    for (int i = 0; i < f->n_instances; i++)
        if (f->instances[i].n < 9)
            die(name, "an instance's line is too short");
}

static int64_t number(const char *name, const char *s)
{
    char *end;
    long long v = strtoll(s, &end, 10);
    if (end == s || v < 0)
        die(name, "a field is no number");
    return v;
}

struct name_ref {
    const char *name;
    int index;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name_ref *)a)->name, ((const struct name_ref *)b)->name);
}

static int find_node(const struct name_ref *refs, int n, const char *node, const char *file)
{
    struct name_ref key = {.name = node};
    const struct name_ref *r = bsearch(&key, refs, (size_t)n, sizeof *refs, by_name);
    if (r == NULL)
        die(file, "an instance's node is not in the list");
    return r->index;
}

static void make_hosts(const char *name, const struct file *f, struct instance *x)
{
    size_t hosts = (size_t)f->n_nodes;
    x->n_hosts = f->n_nodes;
    x->capacity = xcalloc(hosts * N_RESOURCES + 1, sizeof(int64_t));
    x->safety = xcalloc(hosts * N_RESOURCES + 1, sizeof(int64_t));
    x->closed = xcalloc(hosts + 1, sizeof(bool));
    x->n_scopes = 1;
    x->domain = xcalloc(1, sizeof *x->domain);
    x->domain[0] = xcalloc(hosts + 1, sizeof(int));
    x->n_domains = xmemdup(&x->n_hosts, sizeof(int));
    for (int h = 0; h < x->n_hosts; h++) {
        char **field = f->nodes[h].field;
        int64_t *c = &x->capacity[(size_t)h * N_RESOURCES];
        x->domain[0][h] = h;
        x->closed[h] = strcmp(field[7], "Y") == 0;
        c[MEMORY] = number(name, field[3]); /* what is free; what instances use is added below */
        for (int r = VCPUS; r < N_RESOURCES; r++)
            c[r] = INT64_MAX / 4;
        for (int r = 0; r < N_RESOURCES; r++)
            x->safety[(size_t)h * N_RESOURCES + (size_t)r] =
                r == OFFLINE && x->closed[h] ? 0 : INT64_MAX / 4;
    }
    x->resource[OFFLINE].load_weight = OFFLINE_POINTS * POINT;
}

static void make_instances(const char *name, const struct file *f, struct instance *x)
{
    struct name_ref *refs = xcalloc((size_t)f->n_nodes + 1, sizeof *refs);
    for (int h = 0; h < f->n_nodes; h++)
        refs[h] = (struct name_ref){f->nodes[h].field[0], h};
    qsort(refs, (size_t)f->n_nodes, sizeof *refs, by_name);
    size_t vms = (size_t)f->n_instances + 1;
    x->n_vms = f->n_instances;
    x->demand = xcalloc(vms * N_RESOURCES, sizeof(int64_t));
    x->initial = xcalloc(vms, sizeof(int));
    x->fixed = xcalloc(vms, sizeof(bool));
    for (int v = 0; v < x->n_vms; v++) {
        char **field = f->instances[v].field;
        int64_t *d = &x->demand[(size_t)v * N_RESOURCES];
        x->initial[v] = find_node(refs, f->n_nodes, field[6], name);
        x->fixed[v] = field[7][0] != '\0' || strcmp(field[5], "Y") != 0;
        d[MEMORY] = number(name, field[1]);
        d[VCPUS] = number(name, field[3]);
        d[LOAD] = d[OFFLINE] = 1;
        x->capacity[(size_t)x->initial[v] * N_RESOURCES + MEMORY] += d[MEMORY];
    }
    free(refs);
}

static void add_even(const char *name, const struct file *f, struct instance *x, int resource,
                     int field, int64_t weight)
{
    int64_t *base = xcalloc((size_t)x->n_hosts + 1, sizeof *base);
    for (int h = 0; h < x->n_hosts; h++) {
        int64_t v = field < 0 ? 1 : number(name, f->nodes[h].field[field]);
        base[h] = x->closed[h] ? 0 : v;
    }
    x->even[x->n_even++] = (struct inst_even){.resource = resource, .base = base, .weight = weight};
}

/* Free memory of a node over total: used memory and what else is taken differ by a constant share,
 * which must be in the use for the deviation to be hbal's. Fixed pseudo-VMs would do; a node's own
 * share is the same everywhere in practice, so it is kept in a VM that may not move. */
static void add_node_memory(const char *name, const struct file *f, struct instance *x)
{
    size_t vms = (size_t)(x->n_vms + x->n_hosts) + 1;
    x->demand = xrealloc(x->demand, vms * N_RESOURCES, sizeof(int64_t));
    x->initial = xrealloc(x->initial, vms, sizeof(int));
    x->fixed = xrealloc(x->fixed, vms, sizeof(bool));
    for (int h = 0; h < x->n_hosts; h++) {
        int64_t *c = &x->capacity[(size_t)h * N_RESOURCES];
        int v = x->n_vms++;
        int64_t other = MAX(number(name, f->nodes[h].field[1]) - c[MEMORY], 0);
        memset(&x->demand[(size_t)v * N_RESOURCES], 0, N_RESOURCES * sizeof(int64_t));
        x->demand[(size_t)v * N_RESOURCES + MEMORY] = other;
        x->initial[v] = h;
        x->fixed[v] = true;
        c[MEMORY] += other;
    }
}

static void write_line(FILE *out, const struct line *l)
{
    for (int i = 0; i < l->n; i++)
        fprintf(out, "%s%s", l->field[i], i + 1 < l->n ? "|" : "\n");
}

static void write_file(const char *name, const struct file *f, const struct state *s)
{
    FILE *out = fopen(name, "w");
    if (out == NULL)
        die(name, strerror(errno));
    fprintf(out, "%s\n\n", f->head);
    for (int h = 0; h < f->n_nodes; h++) {
        char free_mib[32];
        size_t at = (size_t)h * N_RESOURCES + MEMORY;
        snprintf(free_mib, sizeof free_mib, "%" PRId64, s->in->capacity[at] - s->use[at]);
        struct line l = f->nodes[h];
        l.field[3] = free_mib;
        write_line(out, &l);
    }
    fprintf(out, "\n");
    for (int v = 0; v < f->n_instances; v++) {
        struct line l = f->instances[v];
        l.field[6] = f->nodes[s->at[v]].field[0];
        write_line(out, &l);
    }
    fprintf(out, "\n%s", f->tail);
    if (fclose(out) != 0)
        die(name, strerror(errno));
}

int main(int argc, char **argv)
{
    bool ignore_dynu = argc > 1 && strcmp(argv[1], "--ignore-dynu") == 0;
    if (argc != 3 + ignore_dynu) {
        fprintf(stderr, "usage: ganeti [--ignore-dynu] IN OUT\n");
        return 2;
    }
    const char *name = argv[1 + ignore_dynu];
    struct file f = {0};
    struct instance x = {.n_resources = N_RESOURCES};
    read_file(name, &f);
    make_hosts(name, &f, &x);
    make_instances(name, &f, &x);
    add_node_memory(name, &f, &x);
    add_even(name, &f, &x, MEMORY, 1, POINT);
    add_even(name, &f, &x, VCPUS, 6, POINT);
    if (!ignore_dynu)
        add_even(name, &f, &x, LOAD, -1, 4 * POINT);
    struct state *s = search_state_new(&x);
    int64_t before = s->cost;
    struct search_conf conf = {
        .min_gain = MIN_GAIN, .min_gain_below = MIN_GAIN_BELOW, .effort = INT64_MAX / 2, .seed = 1};
    planner_search(s, &conf, NULL);
    for (int v = 0; v < f.n_instances; v++)
        if (s->at[v] != x.initial[v])
            printf("%s %s => %s\n", f.instances[v].field[0], f.nodes[x.initial[v]].field[0],
                   f.nodes[s->at[v]].field[0]);
    printf("score %.8f -> %.8f, %d moves, %" PRId64 " evaluations\n", (double)before / POINT,
           (double)s->cost / POINT, s->n_moved, s->evaluations);
    write_file(argv[2 + ignore_dynu], &f, s);
    return 0;
}
