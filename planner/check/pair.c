/* pair.c - one VM, one host: state and compatibility. What a VM needs and the host does not state
 * is a refusal. */
#include <stdio.h>
#include <string.h>

#include "planner/check/world.h"
#include "proto/util.h"

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static bool lists(const json_t *array, const char *word)
{
    size_t i;
    const json_t *v;
    json_array_foreach(array, i, v)
    {
        if (json_is_string(v) && strcmp(json_string_value(v), word) == 0)
            return true;
    }
    return false;
}

static bool has_all(const json_t *have, const json_t *want)
{
    size_t i;
    const json_t *v;
    if (json_array_size(want) > 0 && !json_is_array(have))
        return false;
    json_array_foreach(want, i, v)
    {
        if (!json_is_string(v) || !lists(have, json_string_value(v)))
            return false;
    }
    return true;
}

/* Each line of processors, oldest first, between bars. */
static const char *const lines[] = {
    "|EPYC|EPYC-Rome|EPYC-Milan|EPYC-Genoa|EPYC-Turin|",
    "|Opteron_G1|Opteron_G2|Opteron_G3|",
    "|Opteron_G4|Opteron_G5|",
    "|Conroe|Penryn|Nehalem|Westmere|SandyBridge|IvyBridge|Haswell|Broadwell|Skylake-Server|"
    "Cascadelake-Server|Icelake-Server|SapphireRapids|GraniteRapids|",
    "|Skylake-Client|Icelake-Client|",
};

/* Without the variants that libvirt appends. */
static void base_of(const char *model, char ret[64])
{
    static const char *const variants[] = {"-noTSX", "-IBRS", "-IBPB", "-v1", "-v2",
                                           "-v3",    "-v4",   "-v5",   "-v6"};
    snprintf(ret, 64, "%s", model);
    for (bool cut = true; cut;) {
        cut = false;
        for (size_t i = 0; i < ARRAY_SIZE(variants); i++) {
            size_t n = strlen(ret), k = strlen(variants[i]);
            if (n > k && strcmp(ret + n - k, variants[i]) == 0) {
                ret[n - k] = '\0';
                cut = true;
            }
        }
    }
}

static bool later(const char *have, const char *want)
{
    char a[64], b[64], ka[68], kb[68];
    base_of(have, a);
    base_of(want, b);
    snprintf(ka, sizeof ka, "|%s|", a);
    snprintf(kb, sizeof kb, "|%s|", b);
    if (strstr(have, "noTSX") != NULL && strstr(want, "noTSX") == NULL)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        const char *x = strstr(lines[i], ka), *y = strstr(lines[i], kb);
        if (x != NULL && y != NULL)
            return x > y;
    }
    return false;
}

static bool cpu_runs(const json_t *vm, const json_t *host, const json_t *from)
{
    const char *want = text(vm, "cpu_model");
    const json_t *cpu = json_object_get(host, "cpu");
    const json_t *usable = json_object_get(cpu, "usable_models");
    const char *have = text(cpu, "model");
    if (want == NULL)
        return true;
    if (strcmp(want, "host-passthrough") == 0 || strcmp(want, "host-model") == 0) {
        const char *there = text(json_object_get(from, "cpu"), "model");
        return have != NULL && there != NULL && strcmp(have, there) == 0;
    }
    if (json_is_array(usable))
        return lists(usable, want);
    return have != NULL && (strcmp(have, want) == 0 || later(have, want));
}

static const char *storage_name(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : text(v, "name");
}

static const json_t *find_storage(const json_t *host, const char *name)
{
    size_t i;
    const json_t *v;
    json_array_foreach(json_object_get(host, "storage"), i, v)
    {
        if (storage_name(v) != NULL && strcmp(storage_name(v), name) == 0)
            return v;
    }
    return NULL;
}

static bool is_local(const json_t *host, const char *name)
{
    return json_is_false(json_object_get(find_storage(host, name), "shared"));
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : -1;
}

static const char *storage_problem(const json_t *vm, const json_t *host, const json_t *from,
                                   bool copy)
{
    size_t i;
    const json_t *v;
    bool local = number(vm, "local_disk_mib") > 0;
    json_array_foreach(json_object_get(vm, "storage"), i, v)
    {
        const char *name = storage_name(v);
        if (name == NULL)
            return "a storage has no name";
        if (is_local(from, name))
            local = true;
        else if (find_storage(host, name) == NULL || is_local(host, name))
            return "a storage that the VM needs is not there, or not shared";
    }
    if (!local)
        return NULL;
    if (!copy)
        return "the VM has a local disk and the action does not copy it";
    return number(vm, "local_disk_mib") < 0 ? "the size of the local disk is not known" : NULL;
}

int world_copy_target(const json_t *vm, const json_t *storages)
{
    size_t i, k;
    const json_t *s, *need;
    int best = -1;
    double most = -1;
    json_array_foreach(json_object_get(vm, "storage"), k, need)
    {
        const char *name = storage_name(need);
        json_array_foreach(storages, i, s)
        {
            if (json_is_false(json_object_get(s, "shared")) && name != NULL &&
                storage_name(s) != NULL && strcmp(storage_name(s), name) == 0)
                return (int)i;
        }
    }
    json_array_foreach(storages, i, s)
    {
        const json_t *room = json_object_get(s, "free_mib");
        double free_mib = json_is_number(room) ? json_number_value(room) : 0;
        if (json_is_false(json_object_get(s, "shared")) && free_mib > most) {
            most = free_mib;
            best = (int)i;
        }
    }
    return best;
}

static bool numa_fits(const json_t *vm, const json_t *host)
{
    const json_t *want = json_object_get(vm, "numa"), *have = json_object_get(host, "numa"), *n;
    double nodes = json_is_array(want) ? (double)json_array_size(want) : number(vm, "numa");
    double fitting = 0;
    size_t i;
    if (nodes <= 0)
        return true;
    json_array_foreach(have, i, n)
    {
        if (number(n, "cores") * nodes >= number(vm, "vcpus") &&
            number(n, "free_mib") * nodes >= number(vm, "memory_mib") && number(n, "free_mib") >= 0)
            fitting++;
    }
    return fitting >= nodes;
}

static bool pages_known(const struct w_vm *vm, const json_t *host)
{
    size_t i;
    const json_t *p;
    if (vm->pages == 0)
        return true;
    json_array_foreach(json_object_get(host, "hugepages"), i, p)
    {
        if ((int64_t)number(p, "size_kib") == vm->page_kib)
            return number(p, "free") >= 0;
    }
    return false;
}

static const char *version_problem(const json_t *host, const json_t *from)
{
    const char *a = text(from, "qemu"), *b = text(host, "qemu");
    const char *arch = text(from, "arch"), *arch_there = text(host, "arch");
    unsigned am, an, bm, bn;
    if (arch != NULL && (arch_there == NULL || strcmp(arch, arch_there) != 0))
        return "the architecture differs or is not known";
    if (a == NULL)
        return NULL;
    if (b == NULL || sscanf(a, "%u.%u", &am, &an) != 2 || sscanf(b, "%u.%u", &bm, &bn) != 2)
        return "a QEMU version is not known";
    return bm < am || (bm == am && bn < an) ? "QEMU is older there" : NULL;
}

const char *world_incompatible(const struct world *w, int v, int source, int h, bool copy)
{
    const struct w_vm *vm = &w->vms[v];
    const struct w_host *host = &w->hosts[h];
    const json_t *o = vm->json, *there = host->json, *from = w->hosts[source].json;
    if (host->state == NULL || strcmp(host->state, "up") != 0)
        return "the host is not up";
    if (!host->plausible)
        return "the host's data are implausible";
    if (host->memory < 0 || host->vcpus < 0)
        return "the host's memory or cores are not known";
    if (h == source) /* it runs there */
        return NULL;
    const char *problem = version_problem(there, from);
    if (problem == NULL)
        problem = storage_problem(o, there, from, copy);
    if (problem != NULL)
        return problem;
    if (!cpu_runs(o, there, from))
        return "the CPU cannot run the VM's model";
    if (!has_all(json_object_get(json_object_get(there, "cpu"), "features"),
                 json_object_get(o, "cpu_features")))
        return "a CPU feature is missing";
    if (!has_all(json_object_get(there, "networks"), json_object_get(o, "networks")))
        return "a network is missing";
    const char *machine = text(o, "machine");
    if (machine != NULL && !lists(json_object_get(there, "machines"), machine))
        return "the machine type is missing";
    if (!numa_fits(o, there))
        return "no NUMA nodes hold the VM";
    return pages_known(vm, there) ? NULL : "huge pages of that size are missing or not known";
}
