#include "planner/core/room.h"

#include <string.h>

#include "planner/core/lower.h"
#include "planner/core/survive.h"
#include "proto/util.h"

/* The model with n more VMs at its end. Arrays in the copy's arena, all else is the model's. */
static struct model *with_more(const struct room_ask *ask, int64_t n)
{
    const struct model *m = ask->model;
    struct model *x = xcalloc(1, sizeof *x);
    *x = *m;
    x->arena = (struct arena){0};
    x->n_vms = m->n_vms + (int)n;
    x->vms = arena_array(&x->arena, (size_t)x->n_vms, sizeof *x->vms);
    if (m->n_vms > 0)
        memcpy(x->vms, m->vms, (size_t)m->n_vms * sizeof *x->vms);
    for (int v = m->n_vms; v < x->n_vms; v++) {
        x->vms[v] = *ask->like;
        x->vms[v].name = x->vms[v].id = "one more";
        x->vms[v].uuid = NULL;
        x->vms[v].state = VM_RUNNING;
        x->vms[v].host = x->vms[v].home = MODEL_NONE;
        x->vms[v].keep_rule = MODEL_NONE;
        x->vms[v].in_flight = false;
        x->vms[v].in_flight_to = MODEL_NONE;
    }
    return x;
}

struct counting {
    const struct room_ask *ask;
    bool *suits; /* [n_hosts] */
    struct room_answer *answer;
};

/* Hosts for VMs that run nowhere yet: what they need, with no source to compare with. The source is
 * a twin of each host, last in the list, of which nothing is stated that must be kept up with. */
static void find_suiting(struct counting *c)
{
    const struct model *m = c->ask->model;
    struct model_vm vm = *c->ask->like;
    struct model x = *m;
    struct model_host *hosts = xcalloc((size_t)m->n_hosts + 1, sizeof *hosts);
    memcpy(hosts, m->hosts, (size_t)m->n_hosts * sizeof *hosts);
    x.hosts = hosts;
    x.vms = &vm;
    x.n_vms = 1;
    if (vm.cpu_model != NULL && strncmp(vm.cpu_model, "host-", 5) == 0)
        vm.cpu_model = NULL; /* whatever the host is */
    vm.host = m->n_hosts;
    for (int h = 0; h < m->n_hosts; h++) {
        hosts[m->n_hosts] = m->hosts[h];
        hosts[m->n_hosts].qemu = hosts[m->n_hosts].arch = NULL;
        c->suits[h] = fit_from(&x, 0, m->n_hosts, h, true, NULL) == FIT_OK;
    }
    free(hosts);
}

static int64_t left_of(const struct state *s, int host, size_t r)
{
    size_t at = (size_t)host * (size_t)s->in->n_resources + r;
    return s->in->capacity[at] - s->use[at] - s->held[at];
}

/* The host with most room, by memory, that takes one more; MODEL_NONE: none does. */
static int roomiest(const struct counting *c, const struct state *s, int vm)
{
    int best = MODEL_NONE;
    size_t by = fit_hugepages(c->ask->like) > 0 ? LOWER_VCPUS : LOWER_MEMORY;
    for (int h = 0; h < s->in->n_hosts; h++)
        if (c->suits[h] && state_has_room(s, vm, h, NULL) &&
            (best < 0 || left_of(s, h, by) > left_of(s, best, by)))
            best = h;
    return best;
}

/* With n more, as evenly as room allows: how many found a host, and whether n_plus is kept then. */
static int64_t spread(struct counting *c, int64_t n, bool *ret_kept)
{
    _cleanup_(model_freep) struct model *m = with_more(c->ask, n);
    struct planner_problem p = {
        .model = m, .mode = PLANNER_MOVES, .copy_storage = true, .weights = {.move = 1}};
    struct verdicts none;
    verdicts_init(&none, &p);
    for (int v = c->ask->model->n_vms; v < m->n_vms; v++) /* anywhere: it is put below */
        m->vms[v].host = m->vms[v].home = 0;
    _cleanup_(lower_freep) struct lower *l = lower_new(&p, &none);
    for (int v = c->ask->model->n_vms; v < m->n_vms; v++)
        l->in.initial[v] = -1;
    _cleanup_(search_state_freep) struct state *s = search_state_new(&l->in);
    int64_t placed = 0;
    memset(c->answer->on, 0, (size_t)m->n_hosts * sizeof *c->answer->on);
    for (int v = c->ask->model->n_vms; v < m->n_vms; v++, placed++) {
        int h = roomiest(c, s, v);
        if (h == MODEL_NONE)
            break;
        state_put(s, v, h);
        m->vms[v].host = m->vms[v].home = h;
        c->answer->on[h]++;
    }
    struct survive *x = c->ask->n_plus > 0 ? survive_new(l, s, (int)c->ask->n_plus) : NULL;
    *ret_kept = c->ask->n_plus == 0 || x != NULL;
    survive_free(x);
    for (int h = 0; h < m->n_hosts; h++) {
        int r = -1;
        c->answer->full[h] = !c->suits[h] ? "it cannot run them"
                             : n == 0 || state_has_room(s, m->n_vms - 1, h, &r) ? ""
                             : r == LOWER_MEMORY                                ? "memory"
                             : r == LOWER_VCPUS                                 ? "vcpus"
                             : r == LOWER_DISK                                  ? "disk"
                                                                                : "huge pages";
    }
    verdicts_done(&none);
    return placed;
}

int room_count(const struct room_ask *ask, struct room_answer *ret, struct err *err)
{
    const struct model *m = ask->model;
    if (m->n_hosts == 0)
        return err_set(err, ERR_INVALID, "the snapshot has no hosts");
    *ret = (struct room_answer){.on = xcalloc((size_t)m->n_hosts, sizeof *ret->on),
                                .full = xcalloc((size_t)m->n_hosts, sizeof *ret->full)};
    struct counting c = {
        .ask = ask, .suits = xcalloc((size_t)m->n_hosts, sizeof(bool)), .answer = ret};
    find_suiting(&c);
    bool kept;
    spread(&c, 0, &ret->n_plus_holds);
    ret->fits_anyhow = spread(&c, ask->most, &kept);
    int64_t low = 0,
            high = ret->n_plus_holds ? ret->fits_anyhow : 0; /* low fits, beyond high not */
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        spread(&c, middle, &kept);
        if (kept)
            low = middle;
        else
            high = middle - 1;
    }
    ret->fits = low;
    spread(&c, low, &kept);
    free(c.suits);
    return 0;
}

void room_answer_done(struct room_answer *a)
{
    free(a->on);
    free(a->full);
}
