#include "agent/io/agent_audit.h"

#include "agent/io/api_audit.h"
#include "agent/io/events.h"
#include "agent/io/notary.h"
#include "agent/io/publish.h"
#include "proto/codec.h"
#include "proto/log.h"
#include "proto/util.h"

struct agent_audit {
    struct agent_audit_conf conf;
    struct notary *notary;
    struct api_audit *api;
    struct events *events;
    struct webhooks *webhooks;
    struct moment now; /* of the last tick, frame or call */
    uint64_t seq;      /* of the last record that was told */
    char **peers;      /* linked; owned */
    size_t n_peers, cap_peers;
    bool stopped;
};

/* ---- out ---- */

static void send_frame(struct agent_audit *a, const char *host, const Skein__Frame *frame)
{
    size_t len;
    struct err err = {0};
    _cleanup_(freep) uint8_t *bytes = codec_pack(&frame->base, &len);
    if (!a->stopped && mesh_send(a->conf.mesh, host, bytes, len, &err) < 0)
        log_debug("nothing sent to %s: %s", host, err.msg);
}

static void send_audit(void *arg, const char *host, Skein__AuditFrame *audit)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    frame.kind_case = SKEIN__FRAME__KIND_AUDIT;
    frame.audit = audit;
    send_frame(arg, host, &frame);
}

static void propose_head(struct agent_audit *a, msec wall, const Skein__AuditHead *head)
{
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    size_t len;
    entry.has_at_ms = 1;
    entry.at_ms = (uint64_t)wall;
    entry.proposer = a->conf.config->host;
    entry.kind_case = SKEIN__ENTRY__KIND_HEAD;
    entry.head = (Skein__AuditHead *)(uintptr_t)head;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&entry.base, &len);
    a->conf.propose(a->conf.arg, bytes, len);
}

static bool plans(const struct agent_audit *a)
{
    return strcmp(node_planner(a->conf.node), a->conf.config->host) == 0;
}

static void commit(void *arg, Skein__AuditHead *head)
{
    struct agent_audit *a = arg;
    Skein__AuditFrame frame = SKEIN__AUDIT_FRAME__INIT;
    if (plans(a)) {
        propose_head(a, a->now.wall, head);
    } else if (node_planner(a->conf.node)[0] != '\0') {
        frame.kind_case = SKEIN__AUDIT_FRAME__KIND_HEAD;
        frame.head = head;
        send_audit(a, node_planner(a->conf.node), &frame);
    }
}

static void publish_checkpoint(void *arg, const char *checkpoint)
{
    struct agent_audit *a = arg;
    const struct config *config = a->conf.config;
    if (!a->stopped)
        publish(a->conf.loop, a->webhooks, (const char *const *)config->audit_anchors,
                config->n_audit_anchors, checkpoint);
}

static void conflict(void *arg, const char *host, const char *message)
{
    struct agent_audit *a = arg;
    log_warn("audit: %s", message);
    if (!a->stopped)
        a->conf.conflict(a->conf.arg, host, message);
}

void agent_audit_tell_all(struct agent_audit *a, const Skein__Frame *frame)
{
    for (size_t i = 0; i < a->n_peers; i++)
        send_frame(a, a->peers[i], frame);
}

/* ---- in ---- */

void agent_audit_recorded(struct agent_audit *a, const json_t *record)
{
    _cleanup_(freep) char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS);
    Skein__AuditEvent event = SKEIN__AUDIT_EVENT__INIT;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    size_t len = strlen(text);
    event.has_seq = event.has_record = 1;
    event.seq = ++a->seq;
    event.record = (ProtobufCBinaryData){len, (uint8_t *)text};
    frame.kind_case = SKEIN__FRAME__KIND_EVENT;
    frame.event = &event;
    if (len <= EVENTS_RECORD_MAX)
        agent_audit_tell_all(a, &frame);
    events_add(a->events, a->conf.config->host, a->seq, text, len);
}

/* A host commits its own head alone; whether it is sound its readers verify. */
static void head_received(struct agent_audit *a, struct moment now, const char *host,
                          const Skein__AuditHead *head)
{
    if (head->host != NULL && strcmp(head->host, host) == 0 && plans(a))
        propose_head(a, now.wall, head);
}

void agent_audit_frame(struct agent_audit *a, struct moment now, const char *host,
                       const Skein__Frame *frame)
{
    a->now = now;
    if (frame->kind_case == SKEIN__FRAME__KIND_EVENT)
        events_add(a->events, host, frame->event->seq, (const char *)frame->event->record.data,
                   frame->event->record.len);
    else if (frame->audit->kind_case == SKEIN__AUDIT_FRAME__KIND_HEAD)
        head_received(a, now, host, frame->audit->head);
    else
        notary_frame(a->notary, now, host, frame->audit);
}

void agent_audit_peer(struct agent_audit *a, const char *host, bool up)
{
    for (size_t i = 0; i < a->n_peers; i++)
        if (strcmp(a->peers[i], host) == 0) {
            free(a->peers[i]);
            a->peers[i] = a->peers[--a->n_peers];
            break;
        }
    if (!up)
        return;
    ARRAY_RESERVE(a->peers, a->cap_peers, a->n_peers + 1);
    a->peers[a->n_peers++] = xstrdup(host);
}

void agent_audit_tick(struct agent_audit *a, struct moment now)
{
    a->now = now;
    notary_tick(a->notary, now);
    events_tick(a->events, now.mono);
}

bool agent_audit_call(struct agent_audit *a, struct moment now, uint64_t token,
                      const Skein__ApiCall *call)
{
    a->now = now;
    return events_call(a->events, token, call) || api_audit_call(a->api, now, token, call);
}

/* ---- opening and closing ---- */

static int open_notary(struct agent_audit *a, msec wall, struct err *err)
{
    const struct config *config = a->conf.config;
    struct notary_conf conf = {
        .store = a->conf.store,
        .cluster = a->conf.cluster,
        .host = config->host,
        .tls_directory = config->tls_directory,
        .voters = (const char *const *)config->raft_voters,
        .n_voters = config->n_raft_voters,
        .every = (msec)config->audit_checkpoint_s * 1000,
        .arg = a,
        .send = send_audit,
        .commit = commit,
        .publish = publish_checkpoint,
        .conflict = conflict,
    };
    return notary_open(&conf, wall, &a->notary, err);
}

int agent_audit_open(const struct agent_audit_conf *conf, msec wall, struct agent_audit **ret,
                     struct err *err)
{
    struct agent_audit *a = xcalloc(1, sizeof *a);
    uint8_t root[HASH_SIZE];
    a->conf = *conf;
    a->events = events_new(conf->http);
    store_audit_head(conf->store, &a->seq, root);
    int rc = open_notary(a, wall, err);
    if (rc >= 0)
        rc = webhooks_open(conf->loop, &a->webhooks, err);
    if (rc < 0) {
        agent_audit_free(a);
        return rc;
    }
    struct api_audit_conf api = {
        .store = conf->store,
        .path = conf->store_path,
        .http = conf->http,
        .notary = a->notary,
        .cluster = conf->cluster,
        .host = conf->config->host,
        .state = node_state(conf->node),
    };
    a->api = api_audit_new(&api);
    *ret = a;
    return 0;
}

void agent_audit_voters(struct agent_audit *a, const char *const *voters, size_t n)
{
    notary_voters(a->notary, voters, n);
}

int agent_audit_reload(struct agent_audit *a, msec wall, struct err *err)
{
    return notary_reload(a->notary, wall, err);
}

void agent_audit_stop(struct agent_audit *a)
{
    a->stopped = true;
    api_audit_stop(a->api);
    if (a->webhooks != NULL)
        webhooks_close(TAKE_PTR(a->webhooks), NULL, NULL);
}

void agent_audit_free(struct agent_audit *a)
{
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->n_peers; i++)
        free(a->peers[i]);
    free(a->peers);
    notary_free(a->notary); /* answers those who wait */
    api_audit_free(a->api);
    events_free(a->events);
    free(a);
}
