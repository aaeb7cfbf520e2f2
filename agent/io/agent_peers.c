/* agent_peers.c - links to the other hosts, and what comes over them. */
#include <zstd.h>

#include "agent/core/snapshot.h"
#include "agent/io/agent_audit.h"
#include "agent/io/agent_priv.h"
#include "agent/io/agent_roots.h"
#include "agent/io/clock.h"
#include "agent/io/council.h"
#include "agent/io/mesh.h"
#include "agent/io/store.h"
#include "agent/io/trust.h"
#include "proto/codec.h"
#include "proto/log.h"
#include "proto/util.h"

#define REFUSED_EVERY_MS 1000 /* strangers at the port are logged at most once in this time */
#define SNAPSHOT_COPY_MAX (16u << 20) /* bytes of a snapshot that another host sends */

static void peer_up(void *arg, const char *host)
{
    struct agent *a = arg;
    log_info("linked to %s", host);
    if (a->audit != NULL)
        agent_audit_peer(a->audit, host, true);
    if (a->roots != NULL)
        agent_roots_tell(a->roots, host);
    agent_step(arg, &(struct event){.kind = EVENT_PEER_UP, .host = host});
}

static void peer_down(void *arg, const char *host, const char *reason)
{
    struct agent *a = arg;
    log_info("link to %s is down: %s", host, reason);
    if (a->audit != NULL)
        agent_audit_peer(a->audit, host, false);
    agent_step(arg, &(struct event){.kind = EVENT_PEER_DOWN, .host = host});
}

static void peer_refused(void *arg, const char *address, const struct err *err)
{
    struct agent *a = arg;
    msec now = (msec)uv_now(&a->loop);
    a->refused++;
    if (a->refused_at != 0 && now - a->refused_at < REFUSED_EVERY_MS)
        return;
    log_warn("no link with %s: %s: %s (%u since the last such line)", address, err_name(err->code),
             err->msg, a->refused);
    a->refused_at = now;
    a->refused = 0;
}

/* What the planner decides from is kept by every voter, once it is what its digest says. */
static void keep_snapshot(struct agent *a, const char *host, const Skein__SnapshotCopy *copy)
{
    uint8_t hash[HASH_SIZE];
    char digest[HASH_HEX_SIZE];
    struct err err = {0};
    if (copy->digest == NULL || !copy->has_data)
        return;
    unsigned long long len = ZSTD_getFrameContentSize(copy->data.data, copy->data.len);
    if (len > SNAPSHOT_COPY_MAX) /* also: not known, not zstd */
        return;
    _cleanup_(freep) char *text = xmalloc((size_t)len);
    if (ZSTD_decompress(text, (size_t)len, copy->data.data, copy->data.len) != (size_t)len)
        return;
    hash_domain(SNAPSHOT_SCHEMA, text, (size_t)len, hash);
    hash_hex(hash, digest);
    if (strcmp(digest, copy->digest) != 0) {
        log_warn("%s sent a snapshot that is not what its digest says", host);
        return;
    }
    struct store_batch *batch = store_batch_new();
    store_snapshot_put(batch, digest, clock_wall(), text, (size_t)len);
    if (store_submit(a->store, batch, NULL, NULL, &err) < 0)
        log_err(&err, "snapshot of %s is not kept", host);
}

static void raft_received(struct agent *a, const char *host, const ProtobufCBinaryData *bytes)
{
    struct err err = {0};
    if (a->council != NULL && council_receive(a->council, host, bytes->data, bytes->len, &err) < 0)
        log_debug("raft message of %s refused: %s", host, err.msg);
}

static void frame(void *arg, const char *host, const uint8_t *bytes, size_t len)
{
    struct agent *a = arg;
    _cleanup_(skein_frame_freep) Skein__Frame *frame = NULL;
    struct err err = {0};
    if (a->stopping)
        return;
    if (codec_frame(bytes, len, &frame, &err) < 0)
        log_warn("frame of %s dropped: %s", host, err.msg);
    else if (frame->kind_case == SKEIN__FRAME__KIND_RAFT)
        raft_received(a, host, &frame->raft);
    else if (frame->kind_case == SKEIN__FRAME__KIND_SNAPSHOT)
        keep_snapshot(a, host, frame->snapshot);
    else if (frame->kind_case == SKEIN__FRAME__KIND_ROOTS)
        agent_roots_told(a->roots, host, frame->roots);
    else if (frame->kind_case == SKEIN__FRAME__KIND_AUDIT ||
             frame->kind_case == SKEIN__FRAME__KIND_EVENT)
        agent_audit_frame(a->audit, agent_now(a), host, frame);
    else
        agent_step(a, &(struct event){.kind = EVENT_FRAME, .host = host, .frame = frame});
}

int agent_open_mesh(struct agent *a, struct err *err)
{
    struct mesh_conf conf = {
        .loop = &a->loop,
        .config = a->config,
        .cluster = trust_cluster(a->trust),
        .incarnation = a->incarnation,
        .seed = a->incarnation,
        .arg = a,
        .on_up = peer_up,
        .on_down = peer_down,
        .on_frame = frame,
        .on_refused = peer_refused,
    };
    return mesh_open(&conf, &a->mesh, err);
}
