#include "planner/core/fit.h"
#include "proto/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *text, *relax;
} codes[] = {

#define X(name, text, relax) {#name, text, relax},
    FIT_CODES(X)
#undef X
};

const char *fit_code_name(enum fit_code c)
{
    return codes[c].name;
}

const char *fit_code_text(enum fit_code c)
{
    return codes[c].text;
}

enum fit_code fit_code_from_name(const char *name)
{
    int c = 0;
    while (c < FIT_COUNT && strcmp(codes[c].name, name) != 0)
        c++;
    return (enum fit_code)c;
}

enum fit_code fit_refuse(struct fit_refusal *ret, enum fit_code code, const char *fmt, ...)
{
    if (ret == NULL)
        return code;
    *ret = (struct fit_refusal){.code = code, .amount = QUANTITY_UNKNOWN};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret->message, sizeof ret->message, fmt, ap);
    va_end(ap);
    snprintf(ret->relax, sizeof ret->relax, "%s", codes[code].relax);
    return code;
}

enum fit_code fit_relax(struct fit_refusal *ret, enum fit_code code, const char *unit,
                        int64_t amount, const char *subject, const char *fmt, ...)
{
    if (ret == NULL)
        return code;
    ret->unit = unit;
    ret->amount = amount;
    ret->subject = subject;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret->relax, sizeof ret->relax, fmt, ap);
    va_end(ap);
    return code;
}

/* ---- the VM alone ---- */

static enum fit_code check_vm_state(const struct model_vm *vm, struct fit_refusal *ret)
{
    const char *name = vm_label(vm);
    if (vm->state == VM_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_VM_STATE, "the state of %s is not known", name);
    if (vm->in_flight)
        return fit_refuse(ret, FIT_IN_FLIGHT, "%s is being moved already", name);
    if (vm->state != VM_RUNNING)
        return fit_refuse(ret, FIT_VM_NOT_RUNNING, "%s is %s", name, vm_state_name(vm->state));
    if (vm->host == MODEL_NONE)
        return fit_refuse(ret, FIT_UNKNOWN_VM_HOST, "it is not known where %s is", name);
    if (vm->memory_mib == QUANTITY_UNKNOWN || vm->vcpus == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_VM_SIZE, "the %s of %s is not known",
                          vm->memory_mib == QUANTITY_UNKNOWN ? "memory" : "number of vCPUs", name);
    return FIT_OK;
}

static enum fit_code check_blockers(const struct model_vm *vm, struct fit_refusal *ret)
{
    if (vm->blockers.n > 0) {
        enum fit_code c =
            fit_refuse(ret, FIT_BLOCKED, "%s: %s", vm_label(vm), vm->blockers.items[0]);
        return fit_relax(ret, c, "blocker", QUANTITY_UNKNOWN, vm->blockers.items[0],
                         "remove from %s: %s", vm_label(vm), vm->blockers.items[0]);
    }
    for (int i = 0; i < vm->n_devices; i++)
        if (!vm->devices[i].migratable) {
            const char *type = vm->devices[i].type;
            enum fit_code c = fit_refuse(ret, FIT_DEVICE, "%s holds a device that cannot move: %s",
                                         vm_label(vm), type);
            return fit_relax(ret, c, "device", QUANTITY_UNKNOWN, type, "detach %s from %s", type,
                             vm_label(vm));
        }
    return FIT_OK;
}

/* A VM that moves again and again rests longer each time: twice as long for every move of the last
 * 24 h after the first, six hours at most unless the cooldown itself is longer. */
#define COOLDOWN_BACKED_OFF ((msec)6 * 3600000)

static msec backed_off(const struct model_vm *vm, msec cooldown_ms)
{
    int64_t moves = vm->moves_24h == QUANTITY_UNKNOWN ? 1 : vm->moves_24h;
    msec rest = cooldown_ms;
    for (int64_t i = 1; i < moves && rest < COOLDOWN_BACKED_OFF; i++)
        rest = sat_mul(rest, 2);
    return MAX(MIN(rest, COOLDOWN_BACKED_OFF), cooldown_ms);
}

static enum fit_code check_times(const struct model_vm *vm, msec now, msec cooldown_ms,
                                 struct fit_refusal *ret)
{
    char until[TIME_TEXT_SIZE];
    if (vm->hold_until != QUANTITY_UNKNOWN && vm->hold_until > now) {
        time_format(vm->hold_until, until);
        enum fit_code c = fit_refuse(ret, FIT_HOLD, "%s is held until %s", vm_label(vm), until);
        return fit_relax(ret, c, "wait_ms", sat_sub(vm->hold_until, now), NULL,
                         "wait until %s, or release the hold on %s", until, vm_label(vm));
    }
    msec ready = vm->last_move == QUANTITY_UNKNOWN
                     ? QUANTITY_UNKNOWN
                     : sat_add(vm->last_move, backed_off(vm, cooldown_ms));
    if (cooldown_ms > 0 && ready != QUANTITY_UNKNOWN && ready > now) {
        time_format(ready, until);
        enum fit_code c = fit_refuse(ret, FIT_COOLDOWN, "%s was moved recently and rests until %s",
                                     vm_label(vm), until);
        return fit_relax(ret, c, "wait_ms", sat_sub(ready, now), NULL, "wait until %s", until);
    }
    return FIT_OK;
}

static enum fit_code check_source(const struct model *m, const struct model_vm *vm,
                                  struct fit_refusal *ret)
{
    const struct model_host *h = &m->hosts[vm->host];
    switch (h->state) {
    case HOST_UNKNOWN:
        return fit_refuse(ret, FIT_SOURCE_STATE, "the state of %s is not known", h->name);
    case HOST_STANDBY:
    case HOST_OFFLINE:
        return fit_refuse(ret, FIT_SOURCE_STATE, "%s is %s", h->name, host_state_name(h->state));
    case HOST_UP:
    case HOST_CORDONED:
    case HOST_DRAINING:
    case HOST_MAINTENANCE:
    case HOST_QUARANTINE:
        break;
    }
    return FIT_OK;
}

enum fit_code fit_movable(const struct model *m, int v, msec now, msec cooldown_ms, bool override,
                          struct fit_refusal *ret)
{
    const struct model_vm *vm = &m->vms[v];
    enum fit_code c = check_vm_state(vm, ret);
    if (c == FIT_OK)
        c = check_source(m, vm, ret);
    if (c == FIT_OK)
        c = check_blockers(vm, ret);
    if (c == FIT_OK && vm->keep_rule != MODEL_NONE) {
        const struct model_rule *keep = &m->rules[vm->keep_rule];
        c = fit_refuse(ret, FIT_RULE_KEEP, "%s keeps %s where it is", keep->name, vm_label(vm));
        return fit_relax(ret, c, "rule", QUANTITY_UNKNOWN, keep->name, "remove rule %s",
                         keep->name);
    }
    if (c == FIT_OK && !override)
        c = check_times(vm, now, cooldown_ms, ret);
    return c;
}

/* ---- the pair ---- */

static bool contains(const struct model_strings *list, const char *interned)
{
    for (int i = 0; i < list->n; i++)
        if (list->items[i] == interned)
            return true;
    return false;
}

static enum fit_code check_host_state(const struct model_host *h, struct fit_refusal *ret)
{
    if (h->state == HOST_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_HOST_STATE, "the state of %s is not known", h->name);
    if (h->state != HOST_UP) {
        enum fit_code c =
            fit_refuse(ret, FIT_HOST_STATE, "%s is %s", h->name, host_state_name(h->state));
        return fit_relax(ret, c, "host_state", QUANTITY_UNKNOWN, "up", "restore %s", h->name);
    }
    if (h->implausible != NULL)
        return fit_refuse(ret, FIT_HOST_IMPLAUSIBLE, "%s: %s", h->name, h->implausible);
    if (host_memory_for_vms_mib(h) == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_MEMORY, "the memory of %s is not known", h->name);
    if (h->cores == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_CPU, "the cores of %s are not known", h->name);
    return FIT_OK;
}

/* CPU lines, older first. What comes later can run what stands before it. */
static const char *const cpu_lines[][16] = {
    {"Opteron_G1", "Opteron_G2", "Opteron_G3"},
    {"Opteron_G4", "Opteron_G5"},
    {"EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "EPYC-Turin"},
    {"Conroe", "Penryn", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell",
     "Skylake-Server", "Cascadelake-Server", "Icelake-Server", "SapphireRapids", "GraniteRapids"},
    {"Skylake-Client", "Icelake-Client"},
};

/* "Haswell-noTSX-IBRS" is of Haswell's place; noTSX says that the transactions are missing. */
static bool is_model(const char *have, const char *base, size_t *ret_len)
{
    static const char *const suffixes[] = {"-v1", "-v2",   "-v3",   "-v4",   "-v5",
                                           "-v6", "-IBRS", "-IBPB", "-noTSX"};
    size_t n = strlen(base);
    if (strncmp(have, base, n) != 0)
        return false;
    const char *rest = have + n;
    while (*rest != '\0') {
        size_t i = 0;
        while (i < sizeof suffixes / sizeof *suffixes &&
               strncmp(rest, suffixes[i], strlen(suffixes[i])) != 0)
            i++;
        if (i == sizeof suffixes / sizeof *suffixes)
            return false;
        rest += strlen(suffixes[i]);
    }
    *ret_len = n;
    return true;
}

static int cpu_place(const char *model, int *ret_line)
{
    size_t len;
    for (size_t line = 0; line < sizeof cpu_lines / sizeof *cpu_lines; line++)
        for (int i = 0; i < 16 && cpu_lines[line][i] != NULL; i++)
            if (is_model(model, cpu_lines[line][i], &len)) {
                *ret_line = (int)line;
                return i;
            }
    return -1;
}

static bool is_later_of_line(const char *have, const char *want)
{
    int have_line = -1, want_line = -1;
    int have_place = cpu_place(have, &have_line), want_place = cpu_place(want, &want_line);
    if (have_place < 0 || want_place < 0 || have_line != want_line || have_place <= want_place)
        return false;
    return strstr(have, "noTSX") == NULL || strstr(want, "noTSX") != NULL;
}

static enum fit_code refuse_cpu(const struct model_vm *vm, const struct model_host *h,
                                const char *want, struct fit_refusal *ret)
{
    enum fit_code c = fit_refuse(ret, FIT_CPU_MODEL, "%s needs CPU %s, %s has %s", vm_label(vm),
                                 want, h->name, h->cpu_model != NULL ? h->cpu_model : "another");
    return fit_relax(ret, c, "cpu_model", QUANTITY_UNKNOWN, h->cpu_model,
                     "give %s a CPU model that %s can run", vm_label(vm), h->name);
}

static enum fit_code check_cpu_model(const struct model_vm *vm, const struct model_host *h,
                                     const struct model_host *from, struct fit_refusal *ret)
{
    const char *want = vm->cpu_model;
    if (want == NULL)
        return FIT_OK;
    bool same_as_host = strcmp(want, "host-passthrough") == 0 || strcmp(want, "host-model") == 0;
    if (!same_as_host && h->usable_models.known)
        return contains(&h->usable_models, want) ? FIT_OK : refuse_cpu(vm, h, want, ret);
    if (h->cpu_model == NULL || (same_as_host && from->cpu_model == NULL))
        return fit_refuse(ret, FIT_UNKNOWN_CPU_MODEL, "the CPU model of %s is not known",
                          h->cpu_model == NULL ? h->name : from->name);
    if (same_as_host)
        return h->cpu_model == from->cpu_model ? FIT_OK : refuse_cpu(vm, h, from->cpu_model, ret);
    if (h->cpu_model == want || is_later_of_line(h->cpu_model, want))
        return FIT_OK;
    return refuse_cpu(vm, h, want, ret);
}

static enum fit_code check_cpu_features(const struct model_vm *vm, const struct model_host *h,
                                        struct fit_refusal *ret)
{
    if (vm->cpu_features.n == 0)
        return FIT_OK;
    if (!h->cpu_features.known)
        return fit_refuse(ret, FIT_UNKNOWN_CPU_FEATURES, "the CPU features of %s are not known",
                          h->name);
    for (int i = 0; i < vm->cpu_features.n; i++) {
        const char *f = vm->cpu_features.items[i];
        if (contains(&h->cpu_features, f))
            continue;
        enum fit_code c = fit_refuse(ret, FIT_CPU_FEATURE, "%s lacks %s, which %s needs", h->name,
                                     f, vm_label(vm));
        return fit_relax(ret, c, "cpu_feature", QUANTITY_UNKNOWN, f, "drop %s from %s", f,
                         vm_label(vm));
    }
    return FIT_OK;
}

static enum fit_code check_networks(const struct model_vm *vm, const struct model_host *h,
                                    struct fit_refusal *ret)
{
    if (vm->networks.n == 0)
        return FIT_OK;
    if (!h->networks.known)
        return fit_refuse(ret, FIT_UNKNOWN_NETWORKS, "the networks of %s are not known", h->name);
    for (int i = 0; i < vm->networks.n; i++) {
        const char *net = vm->networks.items[i];
        if (contains(&h->networks, net))
            continue;
        enum fit_code c = fit_refuse(ret, FIT_NETWORK, "%s lacks network %s, which %s needs",
                                     h->name, net, vm_label(vm));
        return fit_relax(ret, c, "network", QUANTITY_UNKNOWN, net, "attach %s to %s", net, h->name);
    }
    return FIT_OK;
}

static enum fit_code check_machine(const struct model_vm *vm, const struct model_host *h,
                                   struct fit_refusal *ret)
{
    if (vm->machine == NULL)
        return FIT_OK;
    if (!h->machines.known)
        return fit_refuse(ret, FIT_UNKNOWN_MACHINES, "the machine types of %s are not known",
                          h->name);
    if (contains(&h->machines, vm->machine))
        return FIT_OK;
    enum fit_code c = fit_refuse(ret, FIT_MACHINE, "%s lacks machine type %s, which %s has",
                                 h->name, vm->machine, vm_label(vm));
    return fit_relax(ret, c, "machine", QUANTITY_UNKNOWN, vm->machine, "upgrade QEMU on %s",
                     h->name);
}

static const struct model_storage *find_storage(const struct model_host *h, const char *name)
{
    for (int i = 0; i < h->n_storage; i++)
        if (h->storage[i].name == name)
            return &h->storage[i];
    return NULL;
}

static bool is_local(const struct model_host *h, const char *name)
{
    const struct model_storage *s = find_storage(h, name);
    return s != NULL && s->shared == TRI_NO;
}

const struct model_storage *fit_copy_target(const struct model_vm *vm, const struct model_host *h)
{
    const struct model_storage *best = NULL;
    for (int i = 0; i < vm->storage.n; i++)
        if (is_local(h, vm->storage.items[i]))
            return find_storage(h, vm->storage.items[i]);
    for (int i = 0; i < h->n_storage; i++) {
        const struct model_storage *s = &h->storage[i];
        if (s->shared == TRI_NO && (best == NULL || s->free_mib > best->free_mib))
            best = s;
    }
    return best;
}

bool fit_has_local_disk(const struct model_vm *vm, const struct model_host *from)
{
    if (vm->local_disk_mib != QUANTITY_UNKNOWN && vm->local_disk_mib > 0)
        return true;
    for (int i = 0; i < vm->storage.n; i++)
        if (is_local(from, vm->storage.items[i]))
            return true;
    return false;
}

static enum fit_code check_local_disk(const struct model_vm *vm, const struct model_host *h,
                                      bool copy_storage, struct fit_refusal *ret)
{
    if (!copy_storage) {
        enum fit_code c = fit_refuse(ret, FIT_LOCAL_DISK, "%s has a local disk", vm_label(vm));
        return fit_relax(ret, c, "copy_storage", QUANTITY_UNKNOWN, "all",
                         "allow copying the disk of %s", vm_label(vm));
    }
    if (vm->local_disk_mib == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_VM_SIZE, "the size of the local disk of %s is not known",
                          vm_label(vm));
    if (!h->storage_known)
        return fit_refuse(ret, FIT_UNKNOWN_STORAGE, "the storage of %s is not known", h->name);
    const struct model_storage *s = fit_copy_target(vm, h);
    if (s == NULL)
        return fit_refuse(ret, FIT_STORAGE, "%s has no local storage for the disk of %s", h->name,
                          vm_label(vm));
    if (s->free_mib == QUANTITY_UNKNOWN)
        return fit_refuse(ret, FIT_UNKNOWN_STORAGE, "the free space of %s on %s is not known",
                          s->name, h->name);
    return FIT_OK;
}

static enum fit_code check_storage(const struct model_vm *vm, const struct model_host *h,
                                   const struct model_host *from, bool copy_storage,
                                   struct fit_refusal *ret)
{
    if (vm->storage.n > 0 && !h->storage_known)
        return fit_refuse(ret, FIT_UNKNOWN_STORAGE, "the storage of %s is not known", h->name);
    for (int i = 0; i < vm->storage.n; i++) {
        const char *name = vm->storage.items[i];
        const struct model_storage *s = find_storage(h, name);
        if (is_local(from, name) || (s != NULL && s->shared != TRI_NO))
            continue;
        enum fit_code c =
            fit_refuse(ret, FIT_STORAGE, "%s %s %s, which %s needs", h->name,
                       s == NULL ? "lacks storage" : "does not share storage", name, vm_label(vm));
        return fit_relax(ret, c, "storage", QUANTITY_UNKNOWN, name, "attach %s to %s", name,
                         h->name);
    }
    return fit_has_local_disk(vm, from) ? check_local_disk(vm, h, copy_storage, ret) : FIT_OK;
}

static enum fit_code check_numa(const struct model_vm *vm, const struct model_host *h,
                                struct fit_refusal *ret)
{
    if (vm->numa_nodes == QUANTITY_UNKNOWN || vm->numa_nodes <= 0)
        return FIT_OK;
    if (!h->numa_known)
        return fit_refuse(ret, FIT_UNKNOWN_NUMA, "the NUMA nodes of %s are not known", h->name);
    int64_t fitting = 0;
    for (int i = 0; i < h->n_numa; i++) {
        const struct model_numa *n = &h->numa[i];
        if (n->cores == QUANTITY_UNKNOWN || n->free_mib == QUANTITY_UNKNOWN)
            return fit_refuse(ret, FIT_UNKNOWN_NUMA, "NUMA node %d of %s is not fully known", i,
                              h->name);
        fitting += sat_mul(n->cores, vm->numa_nodes) >= sat_mul(vm->vcpus, 1000) &&
                   sat_mul(n->free_mib, vm->numa_nodes) >= vm->memory_mib;
    }
    if (fitting >= vm->numa_nodes)
        return FIT_OK;
    return fit_refuse(ret, FIT_NUMA,
                      "%s needs %" PRId64 " NUMA nodes, %s has %" PRId64 " with room", vm_label(vm),
                      vm->numa_nodes, h->name, fitting);
}

int64_t fit_hugepages(const struct model_vm *vm)
{
    if (vm->hugepages_kib == QUANTITY_UNKNOWN || vm->hugepages_kib <= 0 ||
        vm->memory_mib == QUANTITY_UNKNOWN)
        return 0;
    return (sat_mul(vm->memory_mib, 1024) + vm->hugepages_kib - 1) / vm->hugepages_kib;
}

static enum fit_code check_hugepage_pool(const struct model_vm *vm, const struct model_host *h,
                                         struct fit_refusal *ret)
{
    if (fit_hugepages(vm) == 0)
        return FIT_OK;
    if (!h->hugepages_known)
        return fit_refuse(ret, FIT_UNKNOWN_HUGEPAGES, "the huge pages of %s are not known",
                          h->name);
    for (int i = 0; i < h->n_hugepages; i++)
        if (h->hugepages[i].size_kib == vm->hugepages_kib) {
            if (h->hugepages[i].free != QUANTITY_UNKNOWN)
                return FIT_OK;
            return fit_refuse(ret, FIT_UNKNOWN_HUGEPAGES, "the free huge pages of %s are not known",
                              h->name);
        }
    int64_t pages = fit_hugepages(vm);
    enum fit_code c =
        fit_refuse(ret, FIT_HUGEPAGES,
                   "%s needs %" PRId64 " pages of %" PRId64 " KiB, %s has none of that size",
                   vm_label(vm), pages, vm->hugepages_kib, h->name);
    return fit_relax(ret, c, "hugepages", pages, NULL,
                     "give %s %" PRId64 " pages of %" PRId64 " KiB", h->name, pages,
                     vm->hugepages_kib);
}

/* "7.2.22" -> 7002; -1 where it does not begin so. */
static int64_t version_number(const char *s)
{
    char *end;
    unsigned long major = strtoul(s, &end, 10);
    if (end == s || *end != '.' || major > 9999)
        return -1;
    const char *second = end + 1;
    unsigned long minor = strtoul(second, &end, 10);
    if (end == second || minor > 999)
        return -1;
    return (int64_t)(major * 1000 + minor);
}

static enum fit_code check_versions(const struct model_host *h, const struct model_host *from,
                                    struct fit_refusal *ret)
{
    if (from->arch != NULL && h->arch != from->arch)
        return fit_refuse(ret, FIT_ARCH, "%s is %s, %s is %s", from->name, from->arch, h->name,
                          h->arch != NULL ? h->arch : "unknown");
    if (from->qemu == NULL)
        return FIT_OK;
    int64_t have = h->qemu == NULL ? -1 : version_number(h->qemu);
    int64_t want = version_number(from->qemu);
    if (have < 0 || want < 0)
        return fit_refuse(ret, FIT_UNKNOWN_VERSION, "the QEMU version of %s is not known",
                          have < 0 ? h->name : from->name);
    if (have >= want)
        return FIT_OK;
    enum fit_code c = fit_refuse(ret, FIT_QEMU_OLDER, "%s has QEMU %s, older than %s on %s",
                                 h->name, h->qemu, from->qemu, from->name);
    return fit_relax(ret, c, "qemu", QUANTITY_UNKNOWN, from->qemu, "upgrade QEMU on %s to %s",
                     h->name, from->qemu);
}

enum fit_code fit_from(const struct model *m, int v, int source, int host, bool copy_storage,
                       struct fit_refusal *ret)
{
    const struct model_vm *vm = &m->vms[v];
    const struct model_host *h = &m->hosts[host], *from = &m->hosts[source];
    if (source == host)
        return fit_refuse(ret, FIT_HOST_IS_SOURCE, "%s is on %s", vm_label(vm), h->name);
    enum fit_code c = check_host_state(h, ret);
    if (c == FIT_OK)
        c = check_versions(h, from, ret);
    if (c == FIT_OK)
        c = check_cpu_model(vm, h, from, ret);
    if (c == FIT_OK)
        c = check_cpu_features(vm, h, ret);
    if (c == FIT_OK)
        c = check_machine(vm, h, ret);
    if (c == FIT_OK)
        c = check_networks(vm, h, ret);
    if (c == FIT_OK)
        c = check_storage(vm, h, from, copy_storage, ret);
    if (c == FIT_OK)
        c = check_numa(vm, h, ret);
    if (c == FIT_OK)
        c = check_hugepage_pool(vm, h, ret);
    return c;
}

enum fit_code fit_compatible(const struct model *m, int vm, int host, bool copy_storage,
                             struct fit_refusal *ret)
{
    return fit_from(m, vm, m->vms[vm].host, host, copy_storage, ret);
}
