#include "planner/check/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "planner/check/world.h"
#include "proto/canon.h"
#include "proto/util.h"

#define FINDINGS_MAX 1000

struct checker {
    struct world w;
    struct check_report *report;
    size_t cap;
    const json_t *body;
    msec now;
    bool override;    /* the class goes over holds */
    bool asks_n_plus; /* asked for, and kept at the start */
    int step;
    int *to;               /* [vm] where this step takes it, -1: nowhere */
    int *movers, n_movers; /* VMs of this step */
    bool *copies;          /* [vm] with its disk */
    bool *standby, *woken; /* [host] */
};

static void find(struct checker *c, const char *action, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void find(struct checker *c, const char *action, const char *code, const char *fmt, ...)
{
    struct check_report *r = c->report;
    r->ok = false;
    if (r->n_findings >= FINDINGS_MAX)
        return;
    ARRAY_RESERVE(r->findings, c->cap, (size_t)r->n_findings + 1);
    struct check_finding *f = &r->findings[r->n_findings++];
    *f = (struct check_finding){.step = c->step};
    snprintf(f->action, sizeof f->action, "%s", action);
    snprintf(f->code, sizeof f->code, "%s", code);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->message, sizeof f->message, fmt, ap);
    va_end(ap);
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s == NULL ? "" : s;
}

/* ---- documents ---- */

static int check_digests(struct checker *c, const json_t *plan, const struct check_options *options,
                         struct err *err)
{
    char digest[HASH_HEX_SIZE];
    int rc = canon_digest("skein.plan/1", c->body, digest, err);
    if (rc < 0)
        return rc;
    if (c->body != plan) {
        if (strcmp(text(plan, "schema"), "skein.plan/1") != 0)
            find(c, "", "SCHEMA", "the plan's schema is not skein.plan/1");
        if (strcmp(text(plan, "digest"), digest) != 0)
            find(c, "", "DIGEST", "the plan's digest is not its body's");
        const char *id = text(plan, "id");
        if (strlen(id) < 8 || strncmp(id, digest, strlen(id)) != 0)
            find(c, "", "DIGEST", "the plan's id is not the prefix of its digest");
    }
    if (strcmp(text(c->body, "snapshot_digest"), c->w.digest) != 0)
        find(c, "", "DIGEST", "the plan was made for another snapshot");
    const char *policy = text(json_object_get(c->body, "policy"), "digest");
    if (options->policy_digest != NULL && strcmp(policy, options->policy_digest) != 0)
        find(c, "", "DIGEST", "the plan was made by another policy");
    return 0;
}

/* ---- may the VM move? ---- */

static bool held(const struct checker *c, const json_t *vm)
{
    msec until;
    const char *s = text(vm, "hold_until");
    return s[0] != '\0' && !c->override && time_parse(s, &until, NULL) == 0 && until > c->now;
}

static bool has_fixed_device(const json_t *vm)
{
    size_t i;
    const json_t *d;
    json_array_foreach(json_object_get(vm, "devices"), i, d)
    {
        if (!json_is_true(json_object_get(d, "migratable")))
            return true;
    }
    return false;
}

static bool in_flight(const struct checker *c, int vm)
{
    size_t i;
    const json_t *f;
    json_array_foreach(json_object_get(c->w.doc, "in_flight"), i, f)
    {
        if (world_vm(&c->w, text(f, "vm"), text(f, "vm")) == vm)
            return true;
    }
    return false;
}

static const char *why_fixed(const struct checker *c, int v)
{
    const struct w_vm *vm = &c->w.vms[v];
    const char *state = vm->at < 0 ? NULL : c->w.hosts[vm->at].state;
    if (strcmp(text(vm->json, "state"), "running") != 0)
        return "the VM is not running";
    if (vm->memory < 0 || vm->vcpus < 0)
        return "the VM's memory or vCPUs are not known";
    if (state == NULL || strcmp(state, "standby") == 0 || strcmp(state, "offline") == 0 ||
        strcmp(state, "unknown") == 0)
        return "nothing can leave its host";
    if (json_array_size(json_object_get(vm->json, "blockers")) > 0)
        return "the VM has a blocker";
    if (has_fixed_device(vm->json))
        return "the VM holds a device that cannot move";
    if (in_flight(c, v))
        return "the VM is being moved already";
    return held(c, vm->json) ? "the VM is held" : NULL;
}

/* ---- one action ---- */

static void check_placement_rules(struct checker *c, const char *id, int v, int to)
{
    for (int i = 0; i < c->w.n_rules; i++) {
        const struct w_rule *r = &c->w.rules[i];
        bool member = false;
        for (int k = 0; k < r->n_vms; k++)
            member = member || r->vms[k] == v;
        if (!member || !r->must)
            continue;
        if (strcmp(r->type, "keep") == 0 && c->w.vms[v].counts)
            find(c, id, "RULE", "rule %s keeps the VM where it is", r->name);
        if ((strcmp(r->type, "run-on") == 0 && !r->hosts[to]) ||
            (strcmp(r->type, "not-on") == 0 && r->hosts[to]))
            find(c, id, "RULE", "rule %s forbids the VM on %s", r->name, c->w.hosts[to].name);
    }
}

static void check_migration(struct checker *c, const char *id, const json_t *a)
{
    const char *name = text(a, "vm"), *uuid = json_string_value(json_object_get(a, "uuid"));
    int v = world_vm(&c->w, name, uuid);
    int from = world_host(&c->w, text(a, "from")), to = world_host(&c->w, text(a, "to"));
    const char *copy = text(json_object_get(a, "parameters"), "copy_storage");
    if (v < 0 ||
        (uuid != NULL && c->w.vms[v].uuid != NULL && strcmp(uuid, c->w.vms[v].uuid) != 0)) {
        find(c, id, "PLACE", "no such VM: %s", name);
        return;
    }
    if (from < 0 || to < 0 || from == to) {
        find(c, id, "PLACE", "from and to must be two hosts of the snapshot");
        return;
    }
    struct w_vm *vm = &c->w.vms[v];
    if (vm->at != from)
        find(c, id, "PLACE", "%s is not on %s then", name, c->w.hosts[from].name);
    if (vm->at < 0)
        return;
    const char *fixed = why_fixed(c, v);
    if (fixed != NULL)
        find(c, id, "MOVABLE", "%s: %s", name, fixed);
    if (c->to[v] >= 0)
        find(c, id, "PLACE", "%s moves twice in one step", name);
    if (c->standby[to])
        find(c, id, "ORDER", "%s is in standby", c->w.hosts[to].name);
    const char *problem = world_incompatible(&c->w, v, vm->at, to, copy[0] != '\0');
    if (problem != NULL)
        find(c, id, "COMPATIBILITY", "%s on %s: %s", name, c->w.hosts[to].name, problem);
    check_placement_rules(c, id, v, to);
    if (c->to[v] < 0)
        c->movers[c->n_movers++] = v;
    c->to[v] = to;
    c->copies[v] = copy[0] != '\0';
}

/* A VM that does not run starts on a host: it needs the host as a migration does, and nobody's
 * leave. */
static void check_start(struct checker *c, const char *id, const json_t *a)
{
    const char *name = text(a, "vm"), *uuid = json_string_value(json_object_get(a, "uuid"));
    int v = world_vm(&c->w, name, uuid), to = world_host(&c->w, text(a, "to"));
    if (v < 0 || to < 0) {
        find(c, id, "PLACE", "no such VM or host: %s, %s", name, text(a, "to"));
        return;
    }
    struct w_vm *vm = &c->w.vms[v];
    const char *state = text(vm->json, "state");
    if (vm->counts || (strcmp(state, "stopped") != 0 && strcmp(state, "crashed") != 0))
        find(c, id, "PLACE", "%s runs already, or it is not known that it does not", name);
    if (vm->counts || c->to[v] >= 0)
        return;
    if (c->standby[to])
        find(c, id, "ORDER", "%s is in standby", c->w.hosts[to].name);
    if (vm->memory < 0 || vm->vcpus < 0)
        find(c, id, "MOVABLE", "%s: its memory or vCPUs are not known", name);
    const char *problem = vm->home < 0 ? "where it was is not known"
                                       : world_incompatible(&c->w, v, vm->home, to, false);
    if (problem != NULL)
        find(c, id, "COMPATIBILITY", "%s on %s: %s", name, c->w.hosts[to].name, problem);
    check_placement_rules(c, id, v, to);
    vm->at = -1;
    vm->counts = vm->started = true;
    c->movers[c->n_movers++] = v;
    c->to[v] = to;
}

/* A VM that cannot leave is stopped where it is: only a drain's own order says so. It goes on
 * taking its room: nothing may rest on its being gone. */
static void check_in_place(struct checker *c, const char *id, const json_t *a, const char *type)
{
    const char *name = text(a, "vm"), *uuid = json_string_value(json_object_get(a, "uuid"));
    int v = world_vm(&c->w, name, uuid);
    int from = world_host(&c->w, text(a, "from")), to = world_host(&c->w, text(a, "to"));
    if (v < 0 || from < 0 || from != to || c->w.vms[v].at != from) {
        find(c, id, "PLACE", "no such VM there: %s on %s", name, text(a, "from"));
        return;
    }
    const char *state = c->w.hosts[from].state;
    if (strcmp(text(c->w.vms[v].json, "state"), "running") != 0 || in_flight(c, v))
        find(c, id, "MOVABLE", "%s does not run, or is being moved", name);
    if (c->to[v] >= 0)
        find(c, id, "PLACE", "%s moves in the same step", name);
    if (strcmp(text(c->body, "class"), "drain") != 0 || state == NULL ||
        strcmp(state, "draining") != 0 ||
        strcmp(text(c->w.hosts[from].json, "drain_fallback"), type) != 0)
        find(c, id, "ORDER", "no drain of %s orders that of a VM", c->w.hosts[from].name);
}

static bool is_empty(const struct checker *c, int host)
{
    for (int v = 0; v < c->w.n_vms; v++)
        if (c->w.vms[v].counts && (c->w.vms[v].at == host || c->to[v] == host))
            return false;
    return true;
}

static void check_power(struct checker *c, const char *id, const json_t *a, bool wake)
{
    int h = world_host(&c->w, text(a, "host"));
    if (h < 0) {
        find(c, id, "PLACE", "no such host: %s", text(a, "host"));
        return;
    }
    const char *state = c->w.hosts[h].state == NULL ? "unknown" : c->w.hosts[h].state;
    if (wake) {
        if (strcmp(state, "standby") != 0 && !c->standby[h])
            find(c, id, "ORDER", "%s is not in standby", c->w.hosts[h].name);
        c->woken[h] = true;
    } else {
        if (!is_empty(c, h))
            find(c, id, "ORDER", "%s is not empty before this step", c->w.hosts[h].name);
        if (json_is_true(json_object_get(c->w.hosts[h].json, "voter")))
            find(c, id, "ORDER", "%s is a voter", c->w.hosts[h].name);
        c->standby[h] = true;
    }
}

static void check_action(struct checker *c, const json_t *a)
{
    const char *id = text(a, "id"), *type = text(a, "type");
    if (strcmp(type, "migrate") == 0)
        check_migration(c, id, a);
    else if (strcmp(type, "start") == 0)
        check_start(c, id, a);
    else if (strcmp(type, "shutdown") == 0 || strcmp(type, "suspend") == 0)
        check_in_place(c, id, a, type);
    else if (strcmp(type, "standby") == 0 || strcmp(type, "wake") == 0)
        check_power(c, id, a, type[0] == 'w');
    else
        find(c, id, "TYPE", "actions of type \"%s\" cannot be checked", type);
}

/* ---- what a step's moves need together ---- */

static int64_t reserved(const struct checker *c, int host, const char *what)
{
    int64_t sum = 0;
    size_t i;
    const json_t *r;
    json_array_foreach(json_object_get(c->w.doc, "reservations"), i, r)
    {
        int v = world_vm(&c->w, text(r, "vm"), text(r, "vm"));
        if (strcmp(text(r, "host"), c->w.hosts[host].name) == 0 && (v < 0 || !in_flight(c, v)))
            sum += json_integer_value(json_object_get(r, what));
    }
    return sum;
}

/* Room promised to VMs that were under way to h when the snapshot was taken. */
static void add_flights(const struct checker *c, int h, int64_t *memory, int64_t *vcpus)
{
    size_t i;
    const json_t *f;
    json_array_foreach(json_object_get(c->w.doc, "in_flight"), i, f)
    {
        int v = world_vm(&c->w, text(f, "vm"), text(f, "vm"));
        if (v < 0 || !c->w.vms[v].counts || world_host(&c->w, text(f, "to")) != h ||
            c->w.vms[v].at == h)
            continue;
        *memory += c->w.vms[v].pages > 0 ? 0 : MAX(c->w.vms[v].memory, 0);
        *vcpus += MAX(c->w.vms[v].vcpus, 0);
    }
}

static void check_plain(struct checker *c, int h)
{
    const struct world *w = &c->w;
    int64_t memory = reserved(c, h, "memory_mib"), vcpus = reserved(c, h, "vcpus");
    int64_t new_memory = 0, new_vcpus = 0; /* a host too full already is not this plan's fault */
    for (int v = 0; v < w->n_vms; v++) {
        if (!w->vms[v].counts || (w->vms[v].at != h && c->to[v] != h))
            continue;
        memory += w->vms[v].pages > 0 ? 0 : MAX(w->vms[v].memory, 0);
        vcpus += MAX(w->vms[v].vcpus, 0);
        new_memory += w->vms[v].at != h && w->vms[v].pages == 0 ? w->vms[v].memory : 0;
        new_vcpus += w->vms[v].at != h ? w->vms[v].vcpus : 0;
    }
    add_flights(c, h, &memory, &vcpus);
    if (new_memory > 0 && memory > w->hosts[h].memory)
        find(c, "", "CAPACITY", "%s would hold %" PRId64 " MiB of %" PRId64, w->hosts[h].name,
             memory, w->hosts[h].memory);
    if (new_vcpus > 0 && vcpus > w->hosts[h].vcpus)
        find(c, "", "CAPACITY", "%s would hold %" PRId64 " vCPUs of %" PRId64, w->hosts[h].name,
             vcpus, w->hosts[h].vcpus);
}

/* Pages of one size: those free in the snapshot, less who came, plus who left in earlier steps. */
static void check_pages(struct checker *c, int h, const json_t *pool)
{
    const struct world *w = &c->w;
    int64_t size = json_integer_value(json_object_get(pool, "size_kib"));
    int64_t left = json_integer_value(json_object_get(pool, "free"));
    for (int v = 0; v < w->n_vms; v++) {
        const struct w_vm *vm = &w->vms[v];
        if (!vm->counts || vm->page_kib != size)
            continue;
        bool was_there = vm->home == h && !vm->started;
        left += was_there && vm->at != h ? vm->pages : 0;
        left -= (!was_there && vm->at == h) || (c->to[v] == h && vm->at != h) ? vm->pages : 0;
    }
    if (left < 0)
        find(c, "", "CAPACITY", "%s lacks %" PRId64 " pages of %" PRId64 " KiB", w->hosts[h].name,
             -left, size);
}

static void check_disk(struct checker *c, int h)
{
    struct w_host *host = &c->w.hosts[h];
    const json_t *storages = json_object_get(host->json, "storage");
    for (int v = 0; v < c->w.n_vms; v++) {
        const json_t *vm = c->w.vms[v].json;
        double mib = json_number_value(json_object_get(vm, "local_disk_mib"));
        if (c->to[v] != h || !c->copies[v] || mib <= 0)
            continue;
        int i = world_copy_target(vm, storages);
        const json_t *room =
            json_object_get(json_array_get(storages, (size_t)MAX(i, 0)), "free_mib");
        if (host->copied_in == NULL)
            host->copied_in = xcalloc(json_array_size(storages) + 1, sizeof *host->copied_in);
        if (i >= 0)
            host->copied_in[i] += mib;
        if (i < 0 || !json_is_number(room) || host->copied_in[i] > json_number_value(room))
            find(c, "", "CAPACITY", "%s has no room for the disk of %s", host->name,
                 c->w.vms[v].name != NULL ? c->w.vms[v].name : c->w.vms[v].uuid);
    }
}

static bool receives(const struct checker *c, int h)
{
    for (int i = 0; i < c->n_movers; i++)
        if (c->to[c->movers[i]] == h)
            return true;
    return false;
}

static void check_capacity(struct checker *c)
{
    for (int h = 0; h < c->w.n_hosts; h++) {
        size_t i;
        const json_t *pool;
        if (!receives(c, h))
            continue;
        check_plain(c, h);
        json_array_foreach(json_object_get(c->w.hosts[h].json, "hugepages"), i, pool)
            check_pages(c, h, pool);
        check_disk(c, h);
    }
}

/* ---- limits ---- */

static int group_of(int *group, int v)
{
    while (group[v] != v)
        v = group[v];
    return v;
}

/* VMs of a must-affinity group that move between the same hosts count as one: all are numbered by
 * one of them. */
static void find_groups(const struct checker *c, int *group)
{
    const struct world *w = &c->w;
    for (int v = 0; v < w->n_vms; v++)
        group[v] = v;
    for (int i = 0; i < w->n_rules; i++) {
        const struct w_rule *r = &w->rules[i];
        if (!r->must || strcmp(r->type, "affinity") != 0 || strcmp(r->scope, "host") != 0)
            continue;
        for (int k = 0; k < r->n_vms; k++)
            for (int j = 0; j < k; j++) {
                int a = r->vms[k], b = r->vms[j];
                if (c->to[a] >= 0 && c->to[a] == c->to[b] && w->vms[a].at == w->vms[b].at)
                    group[group_of(group, a)] = group_of(group, b);
            }
    }
}

static void check_limit(struct checker *c, int64_t n, int64_t most, const char *what)
{
    if (n > most)
        find(c, "", "LIMIT", "%" PRId64 " moves %s, %" PRId64 " allowed", n, what, most);
}

static void check_limits(struct checker *c)
{
    const struct world *w = &c->w;
    _cleanup_(freep) int64_t *in = xcalloc((size_t)w->n_hosts + 1, sizeof *in);
    _cleanup_(freep) int64_t *out = xcalloc((size_t)w->n_hosts + 1, sizeof *out);
    _cleanup_(freep) int *group = xcalloc((size_t)w->n_vms + 1, sizeof *group);
    int64_t total = 0;
    find_groups(c, group);
    for (int i = 0; i < c->n_movers; i++) {
        int v = c->movers[i];
        if (w->vms[v].at < 0 || group_of(group, v) != v)
            continue; /* it starts; or it is one of a group */
        total++;
        in[c->to[v]]++;
        out[w->vms[v].at]++;
    }
    for (int h = 0; h < w->n_hosts; h++) {
        char what[160];
        snprintf(what, sizeof what, "into %s", w->hosts[h].name);
        check_limit(c, in[h], w->inflow, what);
        snprintf(what, sizeof what, "out of %s", w->hosts[h].name);
        check_limit(c, out[h], w->outflow, what);
    }
    check_limit(c, total, w->total, "in one step");
}

/* ---- rules ---- */

/* Rules of which no VM moves are as they were; any VM may be a stranger to an exclusive one. */
static bool is_touched(const struct checker *c, const struct w_rule *r)
{
    for (int k = 0; k < r->n_vms; k++)
        if (c->to[r->vms[k]] >= 0)
            return true;
    return strcmp(r->type, "exclusive") == 0 && c->n_movers > 0;
}

static void check_rules_during(struct checker *c)
{
    for (int i = 0; i < c->w.n_rules; i++) {
        const struct w_rule *r = &c->w.rules[i];
        if (!r->must || !is_touched(c, r))
            continue;
        bool both_ends = strcmp(r->type, "anti-affinity") == 0 || strcmp(r->type, "exclusive") == 0;
        if (both_ends && world_violations(&c->w, r, c->to) > r->before)
            find(c, "", "RULE", "rule %s is broken while the moves run", r->name);
        if (strcmp(r->type, "spread") == 0 &&
            r->minimum - world_fewest_domains(&c->w, r, c->to) > r->before)
            find(c, "", "RULE", "rule %s is broken between the moves", r->name);
    }
}

static void check_rules_after(struct checker *c, const bool *touched)
{
    for (int i = 0; i < c->w.n_rules; i++) {
        struct w_rule *r = &c->w.rules[i];
        if (!touched[i])
            continue;
        int64_t now = r->must ? world_violations(&c->w, r, NULL) : 0;
        if (now > r->before)
            find(c, "", "RULE", "rule %s has %" PRId64 " violations, %" PRId64 " before", r->name,
                 now, r->before);
        r->before = now;
    }
}

/* ---- steps ---- */

static void end_step(struct checker *c)
{
    for (int i = 0; i < c->n_movers; i++) {
        int v = c->movers[i];
        c->w.vms[v].at = c->to[v];
        c->to[v] = -1;
        c->copies[v] = false;
    }
    c->n_movers = 0;
    for (int h = 0; h < c->w.n_hosts; h++)
        if (c->woken[h]) {
            c->w.hosts[h].state = "up";
            c->woken[h] = c->standby[h] = false;
        }
}

static void check_step(struct checker *c, const json_t *step)
{
    size_t i;
    const json_t *a;
    const json_t *actions = json_object_get(step, "actions");
    if (json_array_size(actions) == 0)
        find(c, "", "ORDER", "a step without actions");
    json_array_foreach(actions, i, a) check_action(c, a);
    check_capacity(c);
    check_limits(c);
    check_rules_during(c);
    _cleanup_(freep) bool *touched = xcalloc((size_t)c->w.n_rules + 1, sizeof *touched);
    for (int k = 0; k < c->w.n_rules; k++)
        touched[k] = is_touched(c, &c->w.rules[k]);
    end_step(c);
    check_rules_after(c, touched);
    if (c->asks_n_plus && !world_survives(&c->w, c->w.n_plus))
        find(c, "", "N_PLUS", "after the step, the loss of %" PRId64 " hosts is too much",
             c->w.n_plus);
}

static void check_ids(struct checker *c, const json_t *steps)
{
    _cleanup_json_ json_t *seen = json_object();
    size_t i, k;
    const json_t *step, *a;
    json_array_foreach(steps, i, step)
    {
        json_array_foreach(json_object_get(step, "actions"), k, a)
        {
            const char *id = text(a, "id");
            if (id[0] == '\0' || json_object_get(seen, id) != NULL)
                find(c, id, "ID", "an action's id is missing or stands twice");
            json_object_set_new(seen, id, json_true());
        }
    }
}

static bool goes_over_holds(const char *class)
{
    return strcmp(class, "safety") == 0 || strcmp(class, "drain") == 0 ||
           strcmp(class, "user") == 0;
}

static void check_steps(struct checker *c, const struct check_options *options)
{
    const json_t *steps = json_object_get(c->body, "steps"), *step;
    size_t i;
    c->now = options->now;
    if (c->now == QUANTITY_UNKNOWN)
        time_parse(text(c->w.doc, "taken_at"), &c->now, NULL);
    c->override = goes_over_holds(text(c->body, "class"));
    for (int k = 0; k < c->w.n_rules; k++)
        c->w.rules[k].before = world_violations(&c->w, &c->w.rules[k], NULL);
    c->asks_n_plus = c->w.n_plus > 0 && world_survives(&c->w, c->w.n_plus);
    if (!json_is_array(steps))
        find(c, "", "SCHEMA", "the body has no list of steps");
    check_ids(c, steps);
    json_array_foreach(steps, i, step)
    {
        c->step = (int)i;
        check_step(c, step);
    }
}

int plan_check(const char *snapshot, size_t snapshot_len, const char *plan, size_t plan_len,
               const struct check_options *options, struct check_report **ret, struct err *err)
{
    static const struct check_options defaults = {.now = QUANTITY_UNKNOWN};
    struct checker c = {.step = -1};
    _cleanup_json_ json_t *doc = NULL;
    _cleanup_(check_report_freep) struct check_report *report = xcalloc(1, sizeof *report);
    options = options == NULL ? &defaults : options;
    int rc = canon_parse(plan, plan_len, "plan", &doc, err);
    if (rc == 0)
        rc = world_read(snapshot, snapshot_len, &c.w, err);
    if (rc < 0)
        return rc;
    report->ok = true;
    c.report = report;
    const json_t *body = json_object_get(doc, "body");
    c.body = body != NULL ? body : doc;
    c.to = xcalloc((size_t)c.w.n_vms + 1, sizeof *c.to);
    memset(c.to, 0xff, ((size_t)c.w.n_vms + 1) * sizeof *c.to);
    c.movers = xcalloc((size_t)c.w.n_vms + 1, sizeof *c.movers);
    c.copies = xcalloc((size_t)c.w.n_vms + 1, sizeof *c.copies);
    c.standby = xcalloc((size_t)c.w.n_hosts + 1, sizeof *c.standby);
    c.woken = xcalloc((size_t)c.w.n_hosts + 1, sizeof *c.woken);
    rc = check_digests(&c, doc, options, err);
    if (rc == 0)
        check_steps(&c, options);
    free(c.to);
    free(c.movers);
    free(c.copies);
    free(c.standby);
    free(c.woken);
    world_done(&c.w);
    if (rc == 0)
        *ret = TAKE_PTR(report);
    return rc;
}

void check_report_free(struct check_report *r)
{
    if (r == NULL)
        return;
    free(r->findings);
    free(r);
}
