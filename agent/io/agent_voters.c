/* agent_voters.c - the voters' agreement: what they agreed on, and who of them plans. */
#include "agent/core/state.h"
#include "agent/io/agent_audit.h"
#include "agent/io/agent_priv.h"
#include "agent/io/agent_roots.h"
#include "agent/io/council.h"
#include "agent/io/mesh.h"
#include "agent/io/node_conf.h"
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

static bool applied(void *arg, uint64_t index, uint64_t term, const void *bytes, size_t len,
                    struct voter_group *ret_next)
{
    struct agent *a = arg;
    _cleanup_(skein_entry_freep) Skein__Entry *entry = NULL;
    struct err err = {0};
    if (codec_entry(bytes, len, &entry, &err) < 0) {
        log_err(&err, "entry %llu", (unsigned long long)index); /* the same on every voter */
        return false;
    }
    agent_step(
        arg, &(struct event){.kind = EVENT_APPLIED, .index = index, .term = term, .entry = entry});
    if (entry->kind_case == SKEIN__ENTRY__KIND_ROOTS)
        follow_agreed(arg);
    const struct voter_group *next = state_next_group(node_state(a->node));
    if (next == NULL || next->index != index)
        return false;
    *ret_next = *next;
    return true;
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

/* At the start, too: where the voters may be replaced, the node is told who they are. */
static void group_changed(void *arg, const struct council *council)
{
    struct agent *a = arg;
    const struct voter_group *group = council_group(council);
    if (a->config->raft_replace_after_s == 0)
        return;
    node_conf_voters(a->node_conf, council_groups(council), council_store(council),
                     council_is_new(council));
    log_info("group %llu of voters: this host %s", (unsigned long long)group->number,
             council_votes(council)    ? "votes"
             : council_is_new(council) ? "asks the others whether they begin too"
                                       : "does not vote");
    agent_audit_voters(a->audit, a->node_conf->voters, a->node_conf->n_voters);
    agent_step(a, &(struct event){.kind = EVENT_VOTERS});
}

int agent_open_council(struct agent *a, struct err *err)
{
    struct council_conf conf = {
        .cluster = trust_cluster(a->trust)->uuid,
        .self = a->config->host,
        .first = (const char *const *)a->config->raft_voters,
        .n_first = a->config->n_raft_voters,
        .replaces = a->config->raft_replace_after_s > 0,
        .careful = a->config->raft_replace_after_s > 0,
        .election_timeout_ms = (unsigned)a->config->raft_election_timeout_ms,
        /* Rarer than the library's habit of ten: each wakes every voter, which mostly rests. */
        .heartbeat_ms = (unsigned)a->config->raft_election_timeout_ms / 5,
    };
    struct council_callbacks callbacks = {
        .arg = a,
        .send = raft_send,
        .on_apply = applied,
        .on_role = role_changed,
        .snapshot = state_bytes,
        .restore = state_replace,
        .on_fail = consensus_failed,
        .on_group = group_changed,
    };
    return council_open(&conf, a->store, &a->loop, &callbacks, &a->council, err);
}
