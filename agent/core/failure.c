#include "agent/core/failure.h"

#include <strings.h>

#include "proto/err.h"
#include "proto/util.h"

#define PATTERNS_MAX 10

/* In this order: the first entry one of whose words is in the message; then by code. libvirt's and
 * QEMU's words are those of libvirt 9 and QEMU 7.2. */
static const struct entry {
    enum err_code code;              /* matches by itself where no word does; ERR_OK: never */
    const char *words[PATTERNS_MAX]; /* any of them, in any case */
    struct failure failure;
} catalogue[] = {
    {ERR_OK,
     {"postcopy", "post-copy"},
     {"post-copy-loss",
      "a post-copy migration lost its connection: the VM's memory is on two hosts",
      "do not resume the source; repair the migration network, then recover the migration; "
      "otherwise restart the VM from its disk, knowing that what was in memory is lost"}},
    {ERR_OK,
     {"failed to resume", "unable to resume", "finish migration", "guest cpus are not running"},
     {"resume-failure", "the VM arrived but could not be started there",
      "look at the VM's QEMU log on the destination; the source was left to run where possible"}},
    {ERR_OK,
     {"no space left", "not enough space", "disk full", "enospc"},
     {"no-space", "a disk on the destination is full",
      "free space in the destination's storage pool or /var, then let the move be planned again"}},
    {ERR_OK,
     {"was asked, and runs on"},
     {"guest-does-not-listen", "the guest did not shut down when it was asked",
      "shut it down from within; see that it listens to the power button (ACPI); or drain with "
      "another fallback"}},
    {ERR_OK,
     {"block job", "backup of the vm"},
     {"unsupported-configuration", "a block job or a backup works on the VM's disks",
      "wait for it, or end it: skein doctor VM HOST says what it is"}},
    {ERR_OK,
     {"secret not found", "no secret", "secret with", "failed to get secret", "needs secret"},
     {"storage-secret", "the destination does not have the secret of the VM's storage or disk",
      "define the same libvirt secret (virsh secret-define, secret-set-value) on the destination"}},
    {ERR_OK,
     {"cpu is incompatible", "guest cpu doesn't match", "unsupported feature", "cpu model",
      "missing features", "host doesn't support requested feature", "cannot run the vm's cpu"},
     {"cpu", "the destination's CPU lacks what the VM's CPU model needs",
      "give the VM a model that both have (virsh hypervisor-cpu-baseline), or allow only hosts "
      "with that CPU by a run-on rule"}},
    {ERR_DENIED,
     {"permission denied", "access denied", "authentication failed", "not permitted", "certificate",
      "tls"},
     {"permission",
      "a host, QEMU or its storage refused access: a certificate, a role or file rights",
      "compare the certificates' dates and names (skein cert list, virt-pki-validate) and the "
      "rights of the VM's disks on the destination"}},
    {ERR_OK,
     {"lock", "already in use"},
     {"disk-lock", "the disk is locked: another copy of the VM may run",
      "find who holds the lock before anything is started by hand"}},
    {ERR_TIMEOUT,
     {"took longer than it may", "timed out", "timeout", "did not answer in time", "does not end"},
     {"timed-out", "the move did not converge or a host did not answer in the time it may take",
      "compare the VM's dirty rate with the link (skein plan show -f); allow auto-converge or more "
      "bandwidth, or move it at a quieter time"}},
    {ERR_UNAVAILABLE,
     {"unable to connect", "connection refused", "connection reset", "no route to host",
      "cannot recv data", "end of file while reading", "keepalive", "broken pipe",
      "network is unreachable"},
     {"connection", "the two hosts did not reach each other, or a hypervisor stopped answering",
      "check libvirtd on both hosts, the migration address and its ports; skein doctor VM HOST "
      "tries them"}},
    {ERR_CAPACITY,
     {"cannot allocate memory", "are taken", "huge pages"},
     {"no-capacity", "the destination has no room for the VM any more",
      "it will be planned to another host; free memory or vCPUs there if it must be this one"}},
    {ERR_INCOMPATIBLE,
     {"unsupported configuration", "does not support", "machine type", "no network with",
      "host device", "hostdev", "snapshots"},
     {"unsupported-configuration", "the VM uses something that the destination cannot give it",
      "read the message; skein plan explain names what would allow it, skein doctor VM HOST checks "
      "the pair"}},
    {ERR_UNSUPPORTED,
     {NULL},
     {"unsupported-configuration", "this version cannot do that",
      "use "
      "another kind of move"}},
    {ERR_EXPIRED,
     {NULL},
     {"approval-ran-out", "the permit or the approvals ran out before it could begin",
      "approve a new plan, with a longer --lifetime where moves take long"}},
    {ERR_STALE,
     {NULL},
     {"not-confirmed", "a majority of the voters did not confirm the permit",
      "skein status: are the voters up, has the planner just changed? It is tried again"}},
    {ERR_LIMIT,
     {NULL},
     {"busy", "too many moves at once on one of the hosts",
      "it is tried again; "
      "see limits.* in skein-agent.conf(5)"}},
    {ERR_CONFLICT,
     {NULL},
     {"changed", "the VM was not as planned: moved, stopped, or being migrated by someone else",
      "look at it on its host; the next plan starts from what is there"}},
    {ERR_HYPERVISOR,
     {NULL},
     {"hypervisor", "the hypervisor refused or failed",
      "look at libvirtd's log and the VM's QEMU log on both hosts at that time"}},
    {ERR_UNKNOWN,
     {NULL},
     {"unknown", "what happened could not be told from what the hypervisors said",
      "compare the evidence with virsh list --all on both hosts before anything is started or "
      "undefined"}},
};

static const struct failure other = {
    "other", "see the message",
    "look at the agents' logs on both hosts (journalctl -u skein-agent) at that time"};

static bool contains(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (; *text != '\0'; text++)
        if (strncasecmp(text, word, n) == 0)
            return true;
    return false;
}

static bool says(const struct entry *e, const char *message)
{
    for (size_t i = 0; i < PATTERNS_MAX && e->words[i] != NULL; i++)
        if (contains(message, e->words[i]))
            return true;
    return false;
}

const struct failure *failure_find(const char *code, const char *message)
{
    enum err_code c = code != NULL && code[0] != '\0' ? err_from_name(code) : ERR_UNKNOWN;
    for (size_t i = 0; message != NULL && i < ARRAY_SIZE(catalogue); i++)
        if (says(&catalogue[i], message))
            return &catalogue[i].failure;
    for (size_t i = 0; i < ARRAY_SIZE(catalogue); i++)
        if (catalogue[i].code != ERR_OK && catalogue[i].code == c)
            return &catalogue[i].failure;
    return &other;
}
