#include "planner/core/lower.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/util.h"

#define PLENTY ((int64_t)1 << 60)

static bool takes_part(const struct model_vm *vm)
{
    return vm->host != MODEL_NONE && vm_takes_resources(vm);
}

/* ---- resources ---- */

static int page_resource(struct lower *l, int64_t kib)
{
    struct instance *in = &l->in;
    for (int r = LOWER_PAGES; r < in->n_resources; r++)
        if (l->page_kib[r] == kib)
            return r;
    if (in->n_resources == INSTANCE_RESOURCES_MAX)
        return -1;
    l->page_kib[in->n_resources] = kib;
    return in->n_resources++;
}

static void find_page_sizes(struct lower *l)
{
    l->in.n_resources = LOWER_PAGES;
    for (int v = 0; v < l->m->n_vms; v++)
        if (fit_hugepages(&l->m->vms[v]) > 0 && takes_part(&l->m->vms[v]))
            page_resource(l, l->m->vms[v].hugepages_kib);
}

/* What is not known counts as all that it may take: a bound for soft terms only, hard ones refuse.
 */
static int64_t used_cores(const struct model_vm *vm)
{
    if (vm->cpu_used_cores != QUANTITY_UNKNOWN)
        return vm->cpu_used_cores;
    return vm->vcpus == QUANTITY_UNKNOWN ? 0 : sat_mul(vm->vcpus, 1000);
}

static void set_demand(struct lower *l, int v)
{
    const struct model_vm *vm = &l->m->vms[v];
    int64_t *d = &l->in.demand[(size_t)v * (size_t)l->in.n_resources];
    if (!takes_part(vm))
        return;
    if (fit_hugepages(vm) > 0)
        d[page_resource(l, vm->hugepages_kib)] = fit_hugepages(vm);
    else if (vm->memory_mib != QUANTITY_UNKNOWN)
        d[LOWER_MEMORY] = vm->memory_mib;
    d[LOWER_VCPUS] = MAX(vm->vcpus, 0);
    d[LOWER_CPU] = used_cores(vm);
    if (l->p->vm_load != NULL && l->p->vm_load[v] != QUANTITY_UNKNOWN)
        d[LOWER_LOAD] = l->p->vm_load[v];
    if (vm->local_disk_mib != QUANTITY_UNKNOWN)
        d[LOWER_DISK] = vm->local_disk_mib;
}

static int64_t free_pages(const struct model_host *h, int64_t kib)
{
    for (int i = 0; i < h->n_hugepages; i++)
        if (h->hugepages[i].size_kib == kib)
            return known_or_zero(h->hugepages[i].free);
    return 0;
}

static bool same_storage(const struct model_vm *a, const struct model_vm *b)
{
    return a->storage.n == b->storage.n &&
           memcmp(a->storage.items, b->storage.items,
                  (size_t)a->storage.n * sizeof *a->storage.items) == 0;
}

/* One VM for each list of storages that VMs with local disks have: where disks are copied to
 * depends on nothing else. */
static void find_disk_kinds(struct lower *l)
{
    const struct model *m = l->m;
    l->disk_kinds = arena_array(&l->arena, (size_t)m->n_vms, sizeof *l->disk_kinds);
    for (int v = 0; v < m->n_vms; v++) {
        bool is_new = takes_part(&m->vms[v]) && m->vms[v].local_disk_mib > 0 &&
                      fit_has_local_disk(&m->vms[v], &m->hosts[m->vms[v].host]);
        for (int k = 0; is_new && k < l->n_disk_kinds; k++)
            is_new = !same_storage(&m->vms[v], &m->vms[l->disk_kinds[k]]);
        if (is_new)
            l->disk_kinds[l->n_disk_kinds++] = v;
    }
}

/* The least of the storages that disks would be copied to: enough for whichever it is. */
static int64_t free_disk(const struct lower *l, const struct model_host *h)
{
    int64_t least = INT64_MAX;
    for (int k = 0; k < l->n_disk_kinds; k++) {
        const struct model_storage *s = fit_copy_target(&l->m->vms[l->disk_kinds[k]], h);
        if (s != NULL)
            least = MIN(least, known_or_zero(s->free_mib));
    }
    return least == INT64_MAX ? 0 : least;
}

/* The load that fits besides what is there, in the VMs' own measure. */
static int64_t load_room(const struct planner_problem *p, int host)
{
    if (p->vm_load == NULL || p->host_room == NULL)
        return PLENTY;
    int64_t room = p->host_room[host];
    if (room == QUANTITY_UNKNOWN || room < 0)
        return 0;
    if (p->host_gain == NULL)
        return room;
    int64_t gain = p->host_gain[host];
    return gain == QUANTITY_UNKNOWN || gain <= 0 ? 0 : sat_mul(room, 1000) / gain;
}

static int64_t safety_pct(const struct planner_problem *p)
{
    return p->safety_pct > 0 ? p->safety_pct : 85;
}

static void set_capacity(struct lower *l, int host)
{
    const struct model_host *h = &l->m->hosts[host];
    struct instance *in = &l->in;
    int64_t *c = &in->capacity[(size_t)host * (size_t)in->n_resources];
    int64_t there[INSTANCE_RESOURCES_MAX] = {0};
    for (int i = 0; i < h->n_vms; i++)
        for (int r = 0; r < in->n_resources; r++)
            there[r] += in->demand[(size_t)h->vms[i] * (size_t)in->n_resources + (size_t)r];
    c[LOWER_MEMORY] = known_or_zero(host_memory_for_vms_mib(h));
    c[LOWER_VCPUS] = known_or_zero(host_vcpus(h));
    c[LOWER_CPU] = l->p->mode == PLANNER_CONSOLIDATE
                       ? known_or_zero(h->cores) * safety_pct(l->p) / 100
                       : PLENTY;
    c[LOWER_LOAD] = sat_add(load_room(l->p, host), there[LOWER_LOAD]);
    c[LOWER_DISK] = sat_add(free_disk(l, h), there[LOWER_DISK]);
    for (int r = LOWER_PAGES; r < in->n_resources; r++)
        c[r] = free_pages(h, l->page_kib[r]) + there[r];
}

static void promise(struct lower *l, int host, size_t r, int64_t amount)
{
    size_t at = (size_t)host * (size_t)l->in.n_resources + r;
    l->in.capacity[at] -= amount;
    l->promised[at] += amount;
}

/* What is promised to arrivals already under way takes room as if it were there. */
static void subtract_promises(struct lower *l)
{
    const struct model *m = l->m;
    size_t n = (size_t)l->in.n_resources;
    for (int v = 0; v < m->n_vms; v++) {
        int to = m->vms[v].in_flight_to;
        if (!m->vms[v].in_flight || to == MODEL_NONE || to == m->vms[v].host)
            continue;
        for (size_t r = 0; r < n; r++)
            if (r != LOWER_CPU)
                promise(l, to, r, l->in.demand[(size_t)v * n + r]);
    }
    for (int i = 0; i < m->n_reservations; i++) {
        const struct model_reservation *x = &m->reservations[i];
        if (x->vm != MODEL_NONE && m->vms[x->vm].in_flight && m->vms[x->vm].in_flight_to == x->host)
            continue;
        promise(l, x->host, LOWER_MEMORY, known_or_zero(x->memory_mib));
        promise(l, x->host, LOWER_VCPUS, known_or_zero(x->vcpus));
    }
}

static void set_safety(struct lower *l, const struct planner_weights *w)
{
    struct instance *in = &l->in;
    int64_t pct = safety_pct(l->p);
    for (int h = 0; h < in->n_hosts; h++) {
        size_t base = (size_t)h * (size_t)in->n_resources;
        for (int r = 0; r < in->n_resources; r++)
            in->safety[base + (size_t)r] = PLENTY;
        int64_t cores = known_or_zero(l->m->hosts[h].cores);
        in->safety[base + LOWER_CPU] = cores * pct / 100;
        in->safety[base + LOWER_MEMORY] = in->capacity[base + LOWER_MEMORY] * pct / 100;
    }
    in->resource[LOWER_CPU].load_weight = w->overload;
    in->resource[LOWER_MEMORY].load_weight = w->overload;
    in->resource[LOWER_DISK].transient = true;
}

/* ---- domains and rules ---- */

static size_t path_prefix(const char *path, int64_t level)
{
    size_t n = strlen(path);
    if (level == QUANTITY_UNKNOWN)
        return n;
    for (size_t i = 0; i < n; i++)
        if (path[i] == '/' && --level == 0)
            return i;
    return n;
}

/* Domains at a level; hosts without one are their own. */
static int add_scope(struct lower *l, int64_t level)
{
    struct instance *in = &l->in;
    struct arena names = {0};
    struct intern table = {.arena = &names};
    int *domain = arena_array(&l->arena, (size_t)in->n_hosts, sizeof *domain);
    const char **seen = xcalloc((size_t)in->n_hosts + 1, sizeof *seen);
    int n = 0;
    for (int h = 0; h < in->n_hosts; h++) {
        const char *path = l->m->hosts[h].failure_domain;
        if (path == NULL) {
            domain[h] = n++;
            continue;
        }
        const char *name = intern(&table, path, path_prefix(path, level));
        int at = 0;
        while (at < n && seen[at] != name)
            at++;
        if (at == n)
            seen[n++] = name;
        domain[h] = at;
    }
    in->domain[in->n_scopes] = domain;
    in->n_domains[in->n_scopes] = n;
    free(seen);
    intern_done(&table);
    arena_done(&names);
    return in->n_scopes++;
}

#define SCOPES_MAX 16

struct scope_list {
    int64_t level[SCOPES_MAX];
    int scope[SCOPES_MAX];
    int n;
};

static int find_scope(struct lower *l, struct scope_list *list, const struct model_rule *r)
{
    if (r->scope == SCOPE_HOST)
        return 0;
    for (int i = 0; i < list->n; i++)
        if (list->level[i] == r->level)
            return list->scope[i];
    if (list->n == SCOPES_MAX - 1) /* deeper than any real tree: all levels */
        return list->scope[0];
    list->level[list->n] = r->level;
    list->scope[list->n] = add_scope(l, r->level);
    return list->scope[list->n++];
}

static int add_set(struct lower *l, const int *vms, int n, int scope)
{
    struct instance *in = &l->in;
    int *members = arena_array(&l->arena, (size_t)n, sizeof *members);
    int count = 0;
    for (int i = 0; i < n; i++)
        if (takes_part(&l->m->vms[vms[i]]))
            members[count++] = vms[i];
    in->sets[in->n_sets] = (struct inst_set){.members = members, .n = count, .scope = scope};
    return in->n_sets++;
}

static void add_rule(struct lower *l, int origin, enum inst_kind kind, int set, int other,
                     int64_t soft_weight)
{
    const struct model_rule *r = &l->m->rules[origin];
    struct instance *in = &l->in;
    int64_t minimum = MIN(known_or_zero(r->minimum), in->sets[set].n);
    in->rules[in->n_rules++] = (struct inst_rule){.kind = kind,
                                                  .hard = r->must,
                                                  .set = set,
                                                  .other = other,
                                                  .minimum = minimum,
                                                  .weight = sat_mul(soft_weight, r->weight) / 1000,
                                                  .origin = origin};
}

static void lower_rule(struct lower *l, int i, struct scope_list *scopes, int64_t soft_weight)
{
    const struct model_rule *r = &l->m->rules[i];
    enum inst_kind kind = INST_APART;
    switch (r->type) {
    case RULE_RUN_ON:
    case RULE_NOT_ON:
    case RULE_KEEP:
        return;
    case RULE_ANTI_AFFINITY:
        kind = INST_APART;
        break;
    case RULE_AFFINITY:
        kind = INST_TOGETHER;
        break;
    case RULE_SPREAD:
        kind = INST_SPREAD;
        break;
    case RULE_DEPENDS_ON:
        kind = INST_BESIDE;
        break;
    case RULE_EXCLUSIVE:
        kind = INST_ALONE;
        break;
    }
    int scope = kind == INST_ALONE ? 0 : find_scope(l, scopes, r);
    bool beside = kind == INST_BESIDE;
    if (r->n_vms < (kind == INST_ALONE ? 1 : 2))
        return;
    int set = add_set(l, r->vms, beside ? 1 : r->n_vms, scope);
    if (l->in.sets[set].n == 0) {
        l->in.n_sets--;
        return;
    }
    int other = beside ? add_set(l, r->vms + 1, r->n_vms - 1, scope) : -1;
    add_rule(l, i, kind, set, other, soft_weight);
}

static void lower_rules(struct lower *l, int64_t soft_weight)
{
    struct instance *in = &l->in;
    size_t n = (size_t)l->m->n_rules;
    in->domain = arena_array(&l->arena, SCOPES_MAX + 1, sizeof *in->domain);
    in->n_domains = arena_array(&l->arena, SCOPES_MAX + 1, sizeof *in->n_domains);
    in->domain[0] = arena_array(&l->arena, (size_t)in->n_hosts, sizeof(int));
    for (int h = 0; h < in->n_hosts; h++)
        in->domain[0][h] = h;
    in->n_domains[0] = in->n_hosts;
    in->n_scopes = 1;
    in->sets = arena_array(&l->arena, 2 * n, sizeof *in->sets);
    in->rules = arena_array(&l->arena, n, sizeof *in->rules);
    struct scope_list scopes = {0};
    for (int i = 0; i < l->m->n_rules; i++)
        lower_rule(l, i, &scopes, soft_weight);
}

/* ---- rules of placement: a VM and hosts, no other VM ---- */

static bool is_place_rule(const struct model_rule *r)
{
    return r->type == RULE_RUN_ON || r->type == RULE_NOT_ON;
}

/* A wish to stay is one about hosts too. */
static bool is_indexed(const struct model_rule *r, bool must)
{
    return r->must == must && (is_place_rule(r) || (!must && r->type == RULE_KEEP));
}

static void index_place_rules(struct lower *l, bool must, int **ret_first, int **ret_rules)
{
    const struct model *m = l->m;
    int *first = arena_array(&l->arena, (size_t)m->n_vms + 2, sizeof *first);
    for (int i = 0; i < m->n_rules; i++)
        if (is_indexed(&m->rules[i], must))
            for (int k = 0; k < m->rules[i].n_vms; k++)
                first[m->rules[i].vms[k] + 1]++;
    for (int v = 0; v < m->n_vms; v++)
        first[v + 1] += first[v];
    int *list = arena_array(&l->arena, (size_t)first[m->n_vms], sizeof *list);
    _cleanup_(freep) int *fill = xmemdup(first, ((size_t)m->n_vms + 1) * sizeof *first);
    for (int i = 0; i < m->n_rules; i++)
        if (is_indexed(&m->rules[i], must))
            for (int k = 0; k < m->rules[i].n_vms; k++)
                list[fill[m->rules[i].vms[k]]++] = i;
    *ret_first = first;
    *ret_rules = list;
}

static void mark_rule_hosts(struct lower *l)
{
    const struct model *m = l->m;
    l->rule_host = arena_array(&l->arena, (size_t)m->n_rules * (size_t)m->n_hosts, 1);
    for (int i = 0; i < m->n_rules; i++)
        for (int k = 0; k < m->rules[i].n_hosts; k++)
            l->rule_host[(size_t)i * (size_t)m->n_hosts + (size_t)m->rules[i].hosts[k]] = 1;
}

bool lower_rule_forbids(const struct lower *l, int rule, int host)
{
    bool named = l->rule_host[(size_t)rule * (size_t)l->m->n_hosts + (size_t)host] != 0;
    return l->m->rules[rule].type == RULE_RUN_ON ? !named : named;
}

int lower_place_rule(const struct lower *l, int vm, int host)
{
    for (int i = l->place_rule_first[vm]; i < l->place_rule_first[vm + 1]; i++)
        if (lower_rule_forbids(l, l->place_rule[i], host))
            return l->place_rule[i];
    return MODEL_NONE;
}

/* ---- classes of VMs that fit the same hosts ---- */

static void add_pointer(struct buf *b, const void *p)
{
    buf_add(b, &p, sizeof p);
}

static void add_strings(struct buf *b, const struct model_strings *s)
{
    for (int i = 0; i < s->n; i++)
        add_pointer(b, s->items[i]);
    add_pointer(b, NULL);
}

/* Everything fit_compatible() reads of the VM and its source. */
static void class_key(const struct lower *l, int v, struct buf *b)
{
    const struct model_vm *vm = &l->m->vms[v];
    const struct model_host *from = &l->m->hosts[vm->host];
    b->len = 0;
    add_pointer(b, from->arch);
    add_pointer(b, from->qemu);
    add_pointer(b, vm->machine);
    add_pointer(b, vm->cpu_model);
    if (vm->cpu_model != NULL && strncmp(vm->cpu_model, "host-", 5) == 0)
        add_pointer(b, from->cpu_model);
    add_strings(b, &vm->cpu_features);
    add_strings(b, &vm->storage);
    add_strings(b, &vm->networks);
    int64_t numbers[4] = {fit_has_local_disk(vm, from), vm->local_disk_mib == QUANTITY_UNKNOWN,
                          fit_hugepages(vm) > 0 ? vm->hugepages_kib : 0, vm->numa_nodes};
    buf_add(b, numbers, sizeof numbers);
    if (vm->numa_nodes > 0) {
        buf_add(b, &vm->memory_mib, sizeof vm->memory_mib);
        buf_add(b, &vm->vcpus, sizeof vm->vcpus);
    }
    if (numbers[0] != 0)
        add_pointer(b, from->name); /* which storages are local is the source's matter */
    for (int i = l->place_rule_first[v]; i < l->place_rule_first[v + 1]; i++)
        buf_add(b, &l->place_rule[i], sizeof(int));
}

struct class_slot {
    const char *key; /* NULL: free */
    size_t len;
    int number;
};

struct class_table {
    struct arena keys;
    struct class_slot *slots;
    size_t n_slots; /* a power of two */
    int n;
};

static struct class_slot *class_slot(const struct class_table *t, const char *key, size_t len)
{
    uint64_t h = 1469598103934665603U;
    for (size_t i = 0; i + 4 <= len; i += 4) { /* keys are made of ints and pointers */
        uint32_t word;
        memcpy(&word, key + i, sizeof word);
        h = (h ^ word) * 1099511628211U;
        h ^= h >> 29;
    }
    size_t at = h & (t->n_slots - 1);
    while (t->slots[at].key != NULL &&
           (t->slots[at].len != len || memcmp(t->slots[at].key, key, len) != 0))
        at = (at + 1) & (t->n_slots - 1);
    return &t->slots[at];
}

static void grow_classes(struct class_table *t)
{
    struct class_slot *old = t->slots;
    size_t n = t->n_slots;
    t->n_slots = n == 0 ? 256 : 2 * n;
    t->slots = xcalloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; i < n; i++)
        if (old[i].key != NULL)
            *class_slot(t, old[i].key, old[i].len) = old[i];
    free(old);
}

static int class_number(struct class_table *t, const struct buf *key)
{
    if (2 * ((size_t)t->n + 1) > t->n_slots)
        grow_classes(t);
    struct class_slot *slot = class_slot(t, key->data, key->len);
    if (slot->key == NULL)
        *slot = (struct class_slot){arena_copy(&t->keys, key->data, key->len), key->len, t->n++};
    return slot->number;
}

static void find_classes(struct lower *l)
{
    struct class_table t = {0};
    _cleanup_(buf_done) struct buf key = {0};
    l->class_of = arena_array(&l->arena, (size_t)l->m->n_vms, sizeof *l->class_of);
    for (int v = 0; v < l->m->n_vms; v++)
        if (takes_part(&l->m->vms[v])) {
            class_key(l, v, &key);
            l->class_of[v] = class_number(&t, &key);
        }
    l->n_classes = t.n;
    l->class_row = arena_array(&l->arena, (size_t)t.n, sizeof *l->class_row);
    free(t.slots);
    arena_done(&t.keys);
}

static bool class_allows(struct lower *l, int vm, int host)
{
    uint8_t **row = &l->class_row[l->class_of[vm]];
    if (*row == NULL)
        *row = arena_array(&l->arena, (size_t)l->m->n_hosts, 1);
    if ((*row)[host] == 0) {
        enum fit_code c = fit_compatible(l->m, vm, host, l->p->copy_storage, NULL);
        if (c == FIT_HOST_IS_SOURCE) /* says nothing about others of its class */
            return false;
        (*row)[host] = c == FIT_OK && lower_place_rule(l, vm, host) == MODEL_NONE ? 1 : 2;
    }
    return (*row)[host] == 1;
}

/* ---- is the pair allowed, and what does it cost? ---- */

const struct planner_verdict *lower_judge(struct lower *l, int vm, int host)
{
    return verdicts_ask(l->verdicts, vm, host);
}

static bool load_is_known(const struct lower *l, int vm, int host)
{
    const struct planner_problem *p = l->p;
    if (p->vm_load == NULL || p->host_room == NULL)
        return true;
    return p->vm_load[vm] != QUANTITY_UNKNOWN && p->host_room[host] != QUANTITY_UNKNOWN;
}

static bool allowed(void *ctx, int vm, int host)
{
    struct lower *l = ctx;
    if (l->movable[vm] != FIT_OK || !load_is_known(l, vm, host) || !class_allows(l, vm, host))
        return false;
    const struct planner_verdict *v = lower_judge(l, vm, host);
    return v == NULL || !v->reject;
}

/* ---- who may move, and with whom ---- */

static void find_movable(struct lower *l)
{
    const struct planner_problem *p = l->p;
    l->movable = arena_array(&l->arena, (size_t)l->m->n_vms, sizeof *l->movable);
    for (int v = 0; v < l->m->n_vms; v++) {
        if (p->candidate != NULL && !p->candidate[v])
            l->movable[v] = FIT_NOT_CANDIDATE;
        else
            l->movable[v] = fit_movable(l->m, v, p->now, p->cooldown_ms, p->override_holds, NULL);
        l->in.fixed[v] = l->movable[v] != FIT_OK;
    }
}

static int block_root(int *parent, int v)
{
    while (parent[v] != v)
        v = parent[v] = parent[parent[v]];
    return v;
}

/* Must-affinity on a host that holds now: its VMs move in one step, as one. */
static void find_blocks(struct lower *l)
{
    struct instance *in = &l->in;
    size_t n = (size_t)in->n_vms;
    l->block = arena_array(&l->arena, n, sizeof *l->block);
    for (int v = 0; v < in->n_vms; v++)
        l->block[v] = v;
    for (int i = 0; i < in->n_rules; i++) {
        const struct inst_rule *r = &in->rules[i];
        const struct inst_set *set = &in->sets[r->set];
        bool together = r->kind == INST_TOGETHER && r->hard && set->scope == 0;
        for (int k = 1; together && k < set->n; k++)
            together = in->initial[set->members[k]] == in->initial[set->members[0]];
        for (int k = 1; together && k < set->n; k++)
            l->block[block_root(l->block, set->members[k])] = block_root(l->block, set->members[0]);
    }
    l->block_first = arena_array(&l->arena, n + 2, sizeof(int));
    l->block_vms = arena_array(&l->arena, n + 1, sizeof(int));
    for (int v = 0; v < in->n_vms; v++)
        l->block[v] = block_root(l->block, v);
    for (int v = 0; v < in->n_vms; v++)
        l->block_first[l->block[v] + 1]++;
    for (int v = 0; v < in->n_vms; v++)
        l->block_first[v + 1] += l->block_first[v];
    _cleanup_(freep) int *fill = xmemdup(l->block_first, (n + 1) * sizeof(int));
    for (int v = 0; v < in->n_vms; v++)
        l->block_vms[fill[l->block[v]]++] = v;
    for (int v = 0; v < in->n_vms; v++)
        in->joined[v] = l->block_first[l->block[v] + 1] - l->block_first[l->block[v]] > 1;
}

static void close_hosts(struct lower *l)
{
    const struct planner_problem *p = l->p;
    for (int h = 0; h < l->m->n_hosts; h++)
        l->in.closed[h] = (p->destination != NULL && !p->destination[h]) ||
                          l->m->hosts[h].state != HOST_UP || l->m->hosts[h].implausible != NULL;
    bool leaves =
        p->mode == PLANNER_RELIEVE || p->mode == PLANNER_DRAIN || p->mode == PLANNER_RESTART;
    for (int i = 0; leaves && i < p->n_sources; i++)
        l->in.closed[p->sources[i]] = true;
}

static void allocate(struct lower *l)
{
    struct instance *in = &l->in;
    size_t hosts = (size_t)l->m->n_hosts, vms = (size_t)l->m->n_vms;
    in->n_hosts = l->m->n_hosts;
    in->n_vms = l->m->n_vms;
    find_page_sizes(l);
    find_disk_kinds(l);
    l->numa_vms = arena_array(&l->arena, vms, sizeof(int));
    for (int v = 0; v < in->n_vms; v++)
        if (takes_part(&l->m->vms[v]) && l->m->vms[v].numa_nodes > 0)
            l->numa_vms[l->n_numa_vms++] = v;
    size_t n = (size_t)in->n_resources;
    in->capacity = arena_array(&l->arena, hosts * n, sizeof(int64_t));
    l->promised = arena_array(&l->arena, hosts * n, sizeof(int64_t));
    in->safety = arena_array(&l->arena, hosts * n, sizeof(int64_t));
    in->demand = arena_array(&l->arena, vms * n, sizeof(int64_t));
    in->initial = arena_array(&l->arena, vms, sizeof(int));
    in->fixed = arena_array(&l->arena, vms, sizeof(bool));
    in->joined = arena_array(&l->arena, vms, sizeof(bool));
    in->closed = arena_array(&l->arena, hosts, sizeof(bool));
    in->move_cost = arena_array(&l->arena, vms, sizeof(int64_t));
}

/* What ran on a lost host is nowhere. */
static bool is_lost(const struct planner_problem *p, int vm)
{
    for (int i = 0; p->mode == PLANNER_RESTART && i < p->n_sources; i++)
        if (p->model->vms[vm].host == p->sources[i])
            return true;
    return false;
}

struct lower *lower_new(const struct planner_problem *p, struct verdicts *verdicts)
{
    struct lower *l = xcalloc(1, sizeof *l);
    l->p = p;
    l->verdicts = verdicts;
    l->m = p->model;
    allocate(l);
    struct instance *in = &l->in;
    struct planner_weights w = lower_weights(p);
    for (int v = 0; v < in->n_vms; v++) {
        in->initial[v] = takes_part(&l->m->vms[v]) && !is_lost(p, v) ? l->m->vms[v].host : -1;
        set_demand(l, v);
    }
    for (int h = 0; h < in->n_hosts; h++)
        set_capacity(l, h);
    subtract_promises(l);
    set_safety(l, &w);
    lower_rules(l, w.soft_rule);
    mark_rule_hosts(l);
    index_place_rules(l, true, &l->place_rule_first, &l->place_rule);
    index_place_rules(l, false, &l->wish_rule_first, &l->wish_rule);
    find_classes(l);
    find_movable(l);
    find_blocks(l);
    close_hosts(l);
    in->allowed = allowed;
    in->allowed_ctx = l;
    lower_terms(l, &w);
    return l;
}

void lower_free(struct lower *l)
{
    if (l == NULL)
        return;
    arena_done(&l->arena);
    free(l);
}
