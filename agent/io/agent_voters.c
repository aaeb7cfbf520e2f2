/* agent_voters.c - the voters' agreement: what they agreed on, and who of them plans. */
#include "agent/core/state.h"
#include "agent/io/agent_priv.h"
#include "agent/io/agent_roots.h"
#include "agent/io/consensus.h"
#include "agent/io/mesh.h"
#include "agent/io/trust.h"
#include "proto/codec.h"
#include "proto/log.h"
#include "proto/util.h"

static void follow_agreed(struct agent *a)
{
    if (!a->stopping && a->roots != NULL)
        agent_roots_agreed(a->roots, state_roots(node_state(a->node)));
}

static int raft_send(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct agent *a = arg;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_RAFT;
    frame.raft = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)bytes, .len = len};
    size_t packed_len;
    _cleanup_(freep) uint8_t *packed = codec_pack(&frame.base, &packed_len);
    struct err err;
    return mesh_send(a->mesh, host, packed, packed_len, &err);
}

static void applied(void *arg, uint64_t index, uint64_t term, const void *bytes, size_t len)
{
    _cleanup_(skein_entry_freep) Skein__Entry *entry = NULL;
    struct err err = {0};
    if (codec_entry(bytes, len, &entry, &err) < 0) {
        log_err(&err, "entry %llu", (unsigned long long)index); /* the same on every voter */
        return;
    }
    agent_step(
        arg, &(struct event){.kind = EVENT_APPLIED, .index = index, .term = term, .entry = entry});
    if (entry->kind_case == SKEIN__ENTRY__KIND_ROOTS)
        follow_agreed(arg);
}

static void role_changed(void *arg, uint64_t term, bool is_leader, const char *leader)
{
    struct agent *a = arg;
    const char *name = is_leader ? a->config->host : leader != NULL ? leader : "";
    log_info("term %llu: %s", (unsigned long long)term,
             is_leader         ? "this host plans"
             : name[0] != '\0' ? name
                               : "no planner is known");
    agent_step(a, &(struct event){.kind = EVENT_ROLE, .term = term, .leader = name});
}

static int state_bytes(void *arg, void **ret, size_t *ret_len, struct err *err)
{
    struct agent *a = arg;
    (void)err;
    *ret = node_image(a->node, ret_len);
    return 0;
}

static int state_replace(void *arg, uint64_t index, const void *bytes, size_t len, struct err *err)
{
    Skein__StateImage *image = NULL;
    int rc = codec_image(bytes, len, &image, err);
    if (rc < 0)
        return rc;
    agent_step(arg, &(struct event){.kind = EVENT_RESTORED, .index = index, .image = image});
    skein__state_image__free_unpacked(image, NULL);
    follow_agreed(arg);
    return 0;
}

static void consensus_failed(void *arg, const struct err *err)
{
    agent_fail(arg, err, "agreement with the other voters");
}

static bool votes(const struct config *config)
{
    for (size_t i = 0; i < config->n_raft_voters; i++)
        if (strcmp(config->raft_voters[i], config->host) == 0)
            return true;
    return false;
}

int agent_open_consensus(struct agent *a, struct err *err)
{
    if (!votes(a->config))
        return 0;
    struct consensus_conf conf = {
        .cluster = trust_cluster(a->trust)->uuid,
        .voters = (const char *const *)a->config->raft_voters,
        .n_voters = a->config->n_raft_voters,
        .self = a->config->host,
        .election_timeout_ms = (unsigned)a->config->raft_election_timeout_ms,
        /* Rarer than the library's habit of ten: each wakes every voter, which mostly rests. */
        .heartbeat_ms = (unsigned)a->config->raft_election_timeout_ms / 5,
    };
    struct consensus_callbacks callbacks = {
        .arg = a,
        .send = raft_send,
        .on_apply = applied,
        .on_role = role_changed,
        .snapshot = state_bytes,
        .restore = state_replace,
        .on_fail = consensus_failed,
    };
    return consensus_open(&conf, a->store, &a->loop, &callbacks, &a->consensus, err);
}
