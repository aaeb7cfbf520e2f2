/* fit.h - may this VM live on that host? One code for each refusal, with its smallest relaxation.
 * Pure. Fails closed: what a VM needs and the host does not state is a refusal (UNKNOWN_...); what
 * a VM does not need is not asked. */
#ifndef SKEIN_PLANNER_CORE_FIT_H
#define SKEIN_PLANNER_CORE_FIT_H

#include "planner/core/model.h"

/* code, what it means (documented in docs/refusals.md), how it could be allowed. The names travel
 * in plans: never rename one. Those before HOST_IS_SOURCE concern the VM alone (host null). */
#define FIT_CODES(X)                                                                               \
    X(OK, "allowed", "")                                                                           \
    X(VM_NOT_RUNNING, "only running VMs are moved", "start the VM")                                \
    X(UNKNOWN_VM_STATE, "the VM's state is not known", "observe the VM")                           \
    X(UNKNOWN_VM_HOST, "it is not known where the VM is", "observe the VM")                        \
    X(UNKNOWN_VM_SIZE, "the VM's memory or vCPUs are not known", "observe the VM")                 \
    X(IN_FLIGHT, "the VM is being moved already", "wait for the move's end")                       \
    X(BLOCKED, "something blocks the VM's migration", "remove the blocker")                        \
    X(DEVICE, "the VM holds a device that cannot be migrated", "detach the device")                \
    X(RULE_KEEP, "a rule keeps the VM where it is", "remove the rule")                             \
    X(HOLD, "the VM is held where it is for a time", "release the hold")                           \
    X(COOLDOWN, "the VM was moved too recently", "wait")                                           \
    X(NOT_CANDIDATE, "the policy did not select the VM", "select the VM")                          \
    X(SOURCE_STATE, "nothing can leave the VM's host in its state", "bring the host up")           \
    X(HOST_IS_SOURCE, "the VM is there already", "")                                               \
    X(HOST_STATE, "the host takes nothing in its state", "restore the host")                       \
    X(UNKNOWN_HOST_STATE, "the host's state is not known", "observe the host")                     \
    X(HOST_IMPLAUSIBLE, "the host's data are implausible", "correct the host's data")              \
    X(NOT_DESTINATION, "the policy did not offer the host as destination", "offer the host")       \
    X(MEMORY, "not enough memory for VMs", "free memory")                                          \
    X(VCPUS, "not enough vCPUs", "free vCPUs")                                                     \
    X(HUGEPAGES, "not enough free huge pages", "free huge pages")                                  \
    X(STORAGE_SPACE, "not enough free space for the local disk", "free space")                     \
    X(UNKNOWN_MEMORY, "the host's memory is not known", "observe the host")                        \
    X(UNKNOWN_CPU, "the host's cores are not known", "observe the host")                           \
    X(UNKNOWN_HUGEPAGES, "the host's huge pages are not known", "observe the host")                \
    X(UNKNOWN_STORAGE, "the host's storage is not known", "observe the host")                      \
    X(UNKNOWN_NETWORKS, "the host's networks are not known", "observe the host")                   \
    X(UNKNOWN_MACHINES, "the host's machine types are not known", "observe the host")              \
    X(UNKNOWN_CPU_MODEL, "the host's CPU model is not known", "observe the host")                  \
    X(UNKNOWN_CPU_FEATURES, "the host's CPU features are not known", "observe the host")           \
    X(UNKNOWN_NUMA, "the host's NUMA nodes are not known", "observe the host")                     \
    X(UNKNOWN_VERSION, "the hosts' QEMU versions are not both known", "observe the hosts")         \
    X(ARCH, "the hosts' architectures differ or are not both known", "choose another host")        \
    X(STORAGE, "a storage the VM needs is not there", "attach the storage")                        \
    X(LOCAL_DISK, "the VM has a local disk and copying is not allowed", "allow copying it")        \
    X(NETWORK, "a network the VM needs is not there", "attach the network")                        \
    X(MACHINE, "the host's QEMU lacks the VM's machine type", "upgrade QEMU")                      \
    X(CPU_MODEL, "the host's CPU cannot run the VM's CPU model", "choose an older CPU model")      \
    X(CPU_FEATURE, "the host's CPU lacks a feature of the VM's", "drop the feature")               \
    X(NUMA, "the host has no NUMA nodes that hold the VM", "choose another host")                  \
    X(QEMU_OLDER, "the host's QEMU is older than the source's", "upgrade QEMU")                    \
    X(LOAD, "the host has no room for the VM's load", "cool or unload the host")                   \
    X(UNKNOWN_LOAD, "the VM's load or the host's room for it is not known", "observe both")        \
    X(LIMIT, "a limit of moves leaves no place", "raise the limit")                                \
    X(N_PLUS, "too little would be left for the failure of a host", "add a host")                  \
    X(RULE_ANTI_AFFINITY, "a rule keeps the VMs apart", "relax the rule")                          \
    X(RULE_AFFINITY, "a rule keeps the VMs together", "relax the rule")                            \
    X(RULE_RUN_ON, "a rule names other hosts", "relax the rule")                                   \
    X(RULE_NOT_ON, "a rule forbids the host", "relax the rule")                                    \
    X(RULE_SPREAD, "a rule wants more failure domains", "relax the rule")                          \
    X(RULE_DEPENDS_ON, "a rule wants the VM beside another", "relax the rule")                     \
    X(RULE_EXCLUSIVE, "a rule reserves the host for other VMs", "relax the rule")                  \
    X(RULES_CONFLICT, "rules contradict one another", "remove one of the rules")                   \
    X(POLICY, "the policy's filter refused", "change the policy")                                  \
    X(NO_GAIN, "no move helps enough", "lower the minimum gain")                                   \
    X(NO_ORDER, "no safe order of moves leads there", "free room on a third host")                 \
    X(DEADLINE, "the move would not end in time", "extend the window")                             \
    X(NO_CONVERGENCE, "memory changes faster than it can be copied", "allow post-copy")            \
    X(NO_HOST, "no host would do", "add a host")

enum fit_code {

#define X(name, text, relax) FIT_##name,
    FIT_CODES(X)
#undef X
        FIT_COUNT
};

const char *fit_code_name(enum fit_code c);
const char *fit_code_text(enum fit_code c);
enum fit_code fit_code_from_name(const char *name); /* FIT_COUNT: none of that name */

#define FIT_TEXT_MAX 256

/* A refusal: why not, and the smallest change that would allow it. */
struct fit_refusal {
    enum fit_code code;
    char message[FIT_TEXT_MAX]; /* "web1 needs 8192 MiB, hv2 has 2048 MiB for VMs" */
    char relax[FIT_TEXT_MAX];   /* "free 6144 MiB on hv2" */
    const char *unit;           /* machine-readable: of what, "memory_mib", "rule", ...; or NULL */
    int64_t amount;             /* how much of it, QUANTITY_UNKNOWN where that makes no sense */
    const char *subject;        /* name of the rule, network, storage ..., the model's; or NULL */
};

/* May it move at all? override: classes safety, drain and user go over hold and cooldown.
 * cooldown_ms: no second move within; 0 = none. now: wall clock. FIT_OK, or a refusal in *ret
 * (NULL allowed). Rules are not asked here, keep excepted. */
enum fit_code fit_movable(const struct model *m, int vm, msec now, msec cooldown_ms, bool override,
                          struct fit_refusal *ret);

/* Everything about the pair that no other VM changes: states, compatibility, storage, versions. */
enum fit_code fit_compatible(const struct model *m, int vm, int host, bool copy_storage,
                             struct fit_refusal *ret);

/* The same were vm on host `from`. */
enum fit_code fit_from(const struct model *m, int vm, int from, int host, bool copy_storage,
                       struct fit_refusal *ret);

/* Pages of size_kib that the VM takes; 0 where it takes plain memory. */
int64_t fit_hugepages(const struct model_vm *vm);

/* A local disk that must be copied along; and the storage of h it would be copied to, or NULL. */
bool fit_has_local_disk(const struct model_vm *vm, const struct model_host *from);
const struct model_storage *fit_copy_target(const struct model_vm *vm, const struct model_host *h);

/* Fill a refusal (NULL allowed) and return the code; then, where it is known, how to allow it. */
enum fit_code fit_refuse(struct fit_refusal *ret, enum fit_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
enum fit_code fit_relax(struct fit_refusal *ret, enum fit_code code, const char *unit,
                        int64_t amount, const char *subject, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

#endif
