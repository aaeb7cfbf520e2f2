#include "agent/io/agent.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <uv.h>
#include <zstd.h>

#include "agent/core/node.h"
#include "agent/core/snapshot.h"
#include "agent/core/state.h"
#include "agent/io/agent_audit.h"
#include "agent/io/agent_roots.h"
#include "agent/io/api_local.h"
#include "agent/io/api_metrics.h"
#include "agent/io/clock.h"
#include "agent/io/consensus.h"
#include "agent/io/doctor.h"
#include "agent/io/evaluate.h"
#include "agent/io/http.h"
#include "agent/io/hypervisor.h"
#include "agent/io/jobs.h"
#include "agent/io/mesh.h"
#include "agent/io/node_conf.h"
#include "agent/io/performer.h"
#include "agent/io/policy_files.h"
#include "agent/io/recorder.h"
#include "agent/io/sensors.h"
#include "agent/io/store.h"
#include "agent/io/trim.h"
#include "agent/io/trust.h"
#include "proto/codec.h"
#include "proto/log.h"
#include "proto/util.h"
#include "tls/file.h"

#define TICK_MS 100           /* the node is ticked at multiples of it, when something is due */
#define LEAVE_MS 100          /* what was handed to ZeroMQ is in the kernel by then */
#define TRIM_AFTER_MS 10000   /* by then the first observation, links and an election are over */
#define TRIM_EVERY_MS 60000   /* what bursts (links, plans, callers) left free goes back */
#define REFUSED_EVERY_MS 1000 /* strangers at the port are logged at most once in this time */
#define SNAPSHOT_COPY_MAX (16u << 20) /* bytes of a snapshot that another host sends */
#define LARGE_BLOCK (128 << 10)
#define STORE_FILE "skein.db"

struct journal {
    Skein__JournalRecord **items;
    size_t n, cap;
};

struct agent {
    const struct config *config;
    uv_loop_t loop;
    uv_timer_t tick, trim, left;
    msec began, tick_at; /* mono: of the loop's clock; when the tick is set to */
    uv_signal_t on_term, on_int, on_hup;
    uint64_t incarnation;
    char *store_path;

    struct trust_store *trust;
    struct node_conf *node_conf;
    struct store *store;
    struct node *node;
    struct performer *performer;
    struct consensus *consensus; /* NULL: this host does not vote */
    struct jobs *jobs;
    struct mesh *mesh;
    struct evaluator *evaluator;
    struct recorder *recorder;
    struct http *http;
    struct api_local *api_local;
    struct doctor *doctor;
    struct agent_audit *audit;
    struct agent_roots *roots;

    msec refused_at;  /* mono: when a stranger was last logged */
    unsigned refused; /* not logged since */
    bool leaving, stopping, trimmed;
    bool abandons;    /* a migration's call goes on in libvirt while this process ends */
    struct err fatal; /* why it cannot go on; ERR_OK: it was told to stop */
};

static void stop(struct agent *a);

static void fail(struct agent *a, const struct err *err, const char *what)
{
    if (a->fatal.code == ERR_OK) {
        a->fatal = *err;
        err_wrap(&a->fatal, "%s", what);
    }
    stop(a);
}

/* ---- events in ---- */

static struct moment now_of(const struct agent *a)
{
    return (struct moment){.mono = (msec)uv_now(&a->loop), .wall = clock_wall()};
}

static void tick(uv_timer_t *timer);

/* What is due within TICK_MS is done in one go; in a tick for which nothing is due nobody wakes. */
static void set_tick(struct agent *a)
{
    msec now = (msec)uv_now(&a->loop), due = MAX(node_deadline(a->node, now), now + 1);
    msec at = a->began + (due - a->began + TICK_MS - 1) / TICK_MS * TICK_MS;
    if (at == a->tick_at || a->tick.data == NULL || a->stopping)
        return;
    a->tick_at = at;
    uv_timer_start(&a->tick, tick, (uint64_t)(at - now), 0);
}

static void step(struct agent *a, const struct event *event)
{
    struct effects effects = {0};
    if (a->stopping)
        return;
    struct moment now = now_of(a);
    node_step(a->node, event, now, &effects);
    performer_take(a->performer, now.wall, &effects);
    set_tick(a);
}

static void tick(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    a->tick_at = 0;
    step(a, &(struct event){.kind = EVENT_TICK});
    if (!a->stopping)
        agent_audit_tick(a->audit, now_of(a));
}

static void trim(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    if (!a->trimmed)
        trim_memory();
    else
        malloc_trim(0);
    a->trimmed = true;
}

static void peer_up(void *arg, const char *host)
{
    struct agent *a = arg;
    log_info("linked to %s", host);
    if (a->audit != NULL)
        agent_audit_peer(a->audit, host, true);
    if (a->roots != NULL)
        agent_roots_tell(a->roots, host);
    step(arg, &(struct event){.kind = EVENT_PEER_UP, .host = host});
}

static void peer_down(void *arg, const char *host, const char *reason)
{
    struct agent *a = arg;
    log_info("link to %s is down: %s", host, reason);
    if (a->audit != NULL)
        agent_audit_peer(a->audit, host, false);
    step(arg, &(struct event){.kind = EVENT_PEER_DOWN, .host = host});
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
    if (a->consensus != NULL &&
        consensus_receive(a->consensus, host, bytes->data, bytes->len, &err) < 0)
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
        agent_audit_frame(a->audit, now_of(a), host, frame);
    else
        step(a, &(struct event){.kind = EVENT_FRAME, .host = host, .frame = frame});
}

static void hypervisor_done(void *arg, struct hv_result *result)
{
    struct agent *a = arg;
    if (a->doctor == NULL || !doctor_result(a->doctor, result))
        step(a, &(struct event){.kind = EVENT_HV, .result = result});
    hv_result_done(result);
}

static void hypervisor_changed_soon(void *arg)
{
    step(arg, &(struct event){.kind = EVENT_CHANGED});
}

static void evaluated(void *arg, uint64_t token, const struct err *err,
                      const struct evaluated *evaluated)
{
    struct event event = {.kind = EVENT_EVALUATED, .token = token, .evaluated = evaluated};
    event.err = *err;
    step(arg, &event);
}

static void api_called(void *arg, uint64_t token, const Skein__ApiCall *call)
{
    struct agent *a = arg;
    if (!api_metrics_call(a->http, a->node, a->mesh, now_of(a), token, call) &&
        !api_local_call(a->api_local, token, call) && !doctor_call(a->doctor, token, call) &&
        !agent_audit_call(a->audit, now_of(a), token, call))
        step(a, &(struct event){.kind = EVENT_API, .token = token, .call = call});
}

/* ---- the voters' agreement ---- */

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
    step(arg, &(struct event){.kind = EVENT_APPLIED, .index = index, .term = term, .entry = entry});
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
    step(a, &(struct event){.kind = EVENT_ROLE, .term = term, .leader = name});
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
    step(arg, &(struct event){.kind = EVENT_RESTORED, .index = index, .image = image});
    skein__state_image__free_unpacked(image, NULL);
    follow_agreed(arg);
    return 0;
}

static void consensus_failed(void *arg, const struct err *err)
{
    fail(arg, err, "agreement with the other voters");
}

/* ---- effects out ---- */

static void do_send(void *arg, struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    int rc = e->gossip ? mesh_send(a->mesh, e->key, e->data, e->len, &err)
                       : mesh_send_soon(a->mesh, e->key, e->data, e->len, &err);
    if (rc < 0)
        log_debug("nothing sent to %s: %s", e->key, err.msg);
}

static void do_dial(void *arg, const struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    if (e->kind == EFFECT_UNDIAL)
        mesh_undial(a->mesh, e->key);
    else if (e->kind == EFFECT_CLOSE)
        mesh_disconnect(a->mesh, e->key, "not needed any more");
    else if (mesh_dial(a->mesh, e->key, &err) < 0)
        log_err(&err, "mesh");
}

struct proposal {
    struct agent *agent;
    uint64_t token;
};

static void proposed(void *arg, uint64_t index, const struct err *err)
{
    _cleanup_(freep) struct proposal *p = arg;
    struct event event = {.kind = EVENT_PROPOSED, .token = p->token, .index = index};
    if (err != NULL)
        event.err = *err;
    step(p->agent, &event);
}

/* A proposal that is refused at once is answered from the loop, like the others. */
struct refusal {
    struct proposal *proposal;
    struct err err;
    uv_timer_t timer;
};

static void refusal_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void refusal_due(uv_timer_t *timer)
{
    struct refusal *r = timer->data;
    proposed(r->proposal, 0, &r->err);
    uv_close((uv_handle_t *)timer, refusal_closed);
}

static void do_propose(void *arg, struct effect *e)
{
    struct agent *a = arg;
    struct err err = {0};
    struct proposal *p = xcalloc(1, sizeof *p);
    *p = (struct proposal){a, e->token};
    if (a->consensus == NULL)
        err_set(&err, ERR_NOT_LEADER, "%s does not vote", a->config->host);
    else if (consensus_propose(a->consensus, e->data, e->len, proposed, p, &err) >= 0)
        return;
    struct refusal *r = xcalloc(1, sizeof *r);
    r->proposal = p;
    r->err = err;
    uv_timer_init(&a->loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, refusal_due, 0, 0);
}

static void do_answer(void *arg, struct effect *e)
{
    struct agent *a = arg;
    http_answer(a->http, e->token, e->status, e->data, e->len);
}

static void do_job(void *arg, struct effect *e)
{
    struct agent *a = arg;
    jobs_submit(a->jobs, e->job);
}

static void do_evaluate(void *arg, struct effect *e)
{
    struct agent *a = arg;
    const struct evaluation *question = e->evaluation;
    if (question->policy != NULL)
        recorder_offer(a->recorder, (msec)uv_now(&a->loop), clock_wall(), question->snapshot,
                       question->snapshot_len);
    evaluator_run(a->evaluator, e->token, TAKE_PTR(e->evaluation));
}

static void do_notice(void *arg, const char *line)
{
    (void)arg;
    log_info("%s", line);
}

static void do_trace(void *arg, const char *line)
{
    (void)arg;
    log_debug("%s", line);
}

/* What is audited is what people want to see in the log: "move.started plan=... vm=...". */
static void do_audited(void *arg, const json_t *record)
{
    struct agent *a = arg;
    _cleanup_(buf_done) struct buf line = {0};
    const char *key;
    json_t *value;
    agent_audit_recorded(a->audit, record);
    json_object_foreach((json_t *)(uintptr_t)record, key, value)
    {
        bool shown_otherwise = strcmp(key, "event") == 0 || strcmp(key, "at") == 0 ||
                               strcmp(key, "host") == 0 || strcmp(key, "digest") == 0;
        if (shown_otherwise || json_is_null(value))
            continue;
        _cleanup_(freep) char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        buf_addf(&line, " %s=%s", key, text != NULL ? text : "?");
    }
    log_info("%s%s", json_string_value(json_object_get(record, "event")),
             line.len > 0 ? line.data : "");
}

static void store_failed_once(void *arg, const struct err *err)
{
    fail(arg, err, "the state directory");
}

/* ---- the audit beyond this disk ---- */

static void head_proposed(void *arg, const uint8_t *entry, size_t len)
{
    struct agent *a = arg;
    struct err err = {0};
    if (a->consensus != NULL && consensus_propose(a->consensus, entry, len, NULL, NULL, &err) < 0)
        log_debug("an audit head is not proposed: %s", err.msg);
}

static void audit_conflict(void *arg, const char *host, const char *message)
{
    struct agent *a = arg;
    struct effects effects = {0};
    struct step step = {.now = now_of(a), .conf = a->node_conf, .out = &effects};
    effect_audit(&step, "audit.conflict", "{s:s, s:s}", "of", host, "reason", message);
    performer_take(a->performer, step.now.wall, &effects);
}

static int open_audit(struct agent *a, struct err *err)
{
    struct agent_audit_conf conf = {
        .loop = &a->loop,
        .config = a->config,
        .cluster = trust_cluster(a->trust),
        .store = a->store,
        .store_path = a->store_path,
        .http = a->http,
        .mesh = a->mesh,
        .node = a->node,
        .arg = a,
        .propose = head_proposed,
        .conflict = audit_conflict,
    };
    return agent_audit_open(&conf, clock_wall(), &a->audit, err);
}

/* ---- revocations ---- */

static void hypervisor_told(void *arg, unsigned ended)
{
    struct agent *a = arg;
    struct effects effects = {0};
    struct step step = {.now = now_of(a), .conf = a->node_conf, .out = &effects};
    const struct trust *trust = trust_of(a->trust);
    effect_audit(&step, "revocations.held", "{s:I, s:i}", "revocations",
                 (json_int_t)trust->roots(trust)->revocations, "sessions_ended", (int)ended);
    performer_take(a->performer, step.now.wall, &effects);
}

static void open_roots(struct agent *a)
{
    a->roots = agent_roots_open(&(struct agent_roots_conf){
        .loop = &a->loop,
        .config = a->config,
        .trust = a->trust,
        .mesh = a->mesh,
        .audit = a->audit,
        .jobs = a->jobs,
        .arg = a,
        .hypervisor_told = hypervisor_told,
    });
}

/* ---- opening, in order; closing, in the opposite order ---- */

static int journal_each(void *arg, const char *key, const void *value, size_t len)
{
    struct journal *journal = arg;
    Skein__JournalRecord *record = NULL;
    struct err err = {0};
    if (codec_journal(value, len, &record, &err) < 0) {
        log_err(&err, "journal %s", key);
        return -ERR_INVALID;
    }
    ARRAY_RESERVE(journal->items, journal->cap, journal->n + 1);
    journal->items[journal->n++] = record;
    return 0;
}

static int open_node(struct agent *a, struct err *err)
{
    struct journal journal = {0};
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return err_set(err, ERR_IO, "no random numbers: %m");
    int rc = store_journal_load(a->store, journal_each, &journal, err);
    if (rc >= 0)
        rc = node_new(a->node_conf, seed, (const Skein__JournalRecord *const *)journal.items,
                      journal.n, &a->node, err);
    for (size_t i = 0; i < journal.n; i++)
        skein__journal_record__free_unpacked(journal.items[i], NULL);
    free(journal.items);
    return rc;
}

static int open_store(struct agent *a, struct err *err)
{
    struct store_conf conf = {
        .path = a->store_path,
        .loop = &a->loop,
        .on_fail = store_failed_once,
        .arg = a,
    };
    int rc = file_make_directory(a->config->state_dir, 0700, err);
    return rc < 0 ? rc : store_open(&conf, &a->store, err);
}

static void open_recorder(struct agent *a)
{
    _cleanup_(freep) char *directory = xasprintf("%s/recorded", a->config->state_dir);
    struct recorder_conf conf = {
        .directory = directory,
        .every = (msec)a->config->record_every_s * 1000,
        .bytes_max = (uint64_t)a->config->record_max_mib << 20,
        .age_max = (msec)a->config->record_days * 86400000,
    };
    a->recorder = recorder_new(&conf);
}

static void open_performer(struct agent *a)
{
    struct performer_hands hands = {
        .arg = a,
        .send = do_send,
        .dial = do_dial,
        .propose = do_propose,
        .answer = do_answer,
        .job = do_job,
        .evaluate = do_evaluate,
        .notice = do_notice,
        .trace = do_trace,
        .audited = do_audited,
        .failed = store_failed_once,
    };
    open_recorder(a);
    a->performer = performer_new(a->store, &hands);
}

static int open_jobs(struct agent *a, struct err *err)
{
    const struct config *config = a->config;
    struct sensors_conf sensors_conf = {
        .source = config->sensors_source,
        .inlet = config->sensors_inlet[0] != '\0' ? config->sensors_inlet : NULL,
        .outlet = config->sensors_outlet[0] != '\0' ? config->sensors_outlet : NULL,
        .cpu = config->sensors_cpu[0] != '\0' ? config->sensors_cpu : NULL,
    };
    const struct power_driver_conf power_conf = {.driver = config->power_driver,
                                                 .command = config->power_command,
                                                 .broadcast = config->power_broadcast};
    struct hypervisor_conf hv_conf = {
        .uri = config->hypervisor,
        .host = config->host,
        .hooks = config->gates_hooks,
        .firewall_ports = strcmp(config->firewall, "nft") == 0 ? config->migration_ports : NULL,
    };
    struct jobs_conf jobs_conf = {
        .migrate_threads = (unsigned)config->limits_outflow_per_host,
        .done = hypervisor_done,
        .changed = hypervisor_changed_soon,
        .arg = a,
    };
    struct hypervisor *hv = NULL;
    int rc = sensors_open(&sensors_conf, &hv_conf.sensors, err);
    if (rc == 0)
        hv_conf.power = power_driver_new(&power_conf);
    if (rc < 0 || (rc = hypervisor_open(&hv_conf, &hv, err)) < 0)
        return rc;
    return jobs_open(&a->loop, hv, &jobs_conf, &a->jobs, err);
}

static int open_mesh(struct agent *a, struct err *err)
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

static int open_evaluator(struct agent *a, struct err *err)
{
    struct evaluator_conf conf = {
        .loop = &a->loop,
        .lua_ms = a->config->policies_deadline_ms,
        .arg = a,
        .done = evaluated,
    };
    return evaluator_open(&conf, &a->evaluator, err);
}

static int admit(void *arg, void *session, struct err *err)
{
    const struct agent *a = arg;
    struct guest guest;
    return trust_guest(a->trust, session, clock_wall(), &guest, err);
}

/* With the certificate that its directory holds now. */
static int renew_http(struct agent *a, struct err *err)
{
    _cleanup_(http_tls_done) struct http_tls tls = {0};
    if (a->config->api_listen[0] == '\0')
        return 0;
    int rc = http_tls_read(a->config->tls_directory, &tls, err);
    return rc < 0 ? rc : http_renew(a->http, &tls, err);
}

static int start_http(struct agent *a, struct err *err)
{
    _cleanup_(http_tls_done) struct http_tls tls = {0};
    struct http_conf conf = {
        .loop = &a->loop,
        .socket = a->config->api_socket,
        .listen = a->config->api_listen,
        .tls = &tls,
        .arg = a,
        .admit = admit,
        .on_call = api_called,
    };
    int rc = 0;
    if (conf.listen[0] != '\0')
        rc = http_tls_read(a->config->tls_directory, &tls, err);
    return rc < 0 ? rc : http_open(&conf, &a->http, err);
}

static int open_http(struct agent *a, struct err *err)
{
    _cleanup_(freep) char *directory = xstrdup(a->config->api_socket);
    char *slash = strrchr(directory, '/');
    int rc = 0;
    if (slash != NULL && slash != directory) {
        *slash = '\0';
        rc = file_make_directory(directory, 0755, err);
    }
    if (rc >= 0)
        rc = start_http(a, err);
    if (rc < 0)
        return rc;
    a->api_local = api_local_new(a->store, a->http);
    bool libvirt = strncmp(a->config->hypervisor, "libvirt:", 8) == 0;
    a->doctor =
        doctor_new(&(struct doctor_conf){.host = a->config->host,
                                         .state_dir = a->config->state_dir,
                                         .tls_directory = a->config->tls_directory,
                                         .libvirt_directory = libvirt ? "/etc/libvirt" : NULL,
                                         .jobs = a->jobs,
                                         .http = a->http});
    return 0;
}

static bool votes(const struct config *config)
{
    for (size_t i = 0; i < config->n_raft_voters; i++)
        if (strcmp(config->raft_voters[i], config->host) == 0)
            return true;
    return false;
}

static int open_consensus(struct agent *a, struct err *err)
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

/* Goodbye; then stop once that has had time to go out. */
static void left(uv_timer_t *timer)
{
    stop(timer->data);
}

static void leave(struct agent *a)
{
    if (a->leaving)
        return;
    a->leaving = true;
    step(a, &(struct event){.kind = EVENT_LEAVE});
    uv_timer_init(&a->loop, &a->left);
    a->left.data = a;
    uv_timer_start(&a->left, left, LEAVE_MS, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *a = handle->data;
    struct err err = {0};
    if (number != SIGHUP) {
        log_info("told to stop");
        leave(a);
    } else if (agent_roots_reload(a->roots, &err) < 0 || renew_http(a, &err) < 0) {
        log_err(&err, "the old certificates and roster stay in use");
    } else {
        log_info("certificates, revocations and roster are read again");
        agent_roots_tell(a->roots, NULL);
    }
}

static void watch_signal(struct agent *a, uv_signal_t *handle, int number)
{
    uv_signal_init(&a->loop, handle);
    handle->data = a;
    uv_signal_start(handle, on_signal, number);
}

static int open_all(struct agent *a, struct err *err)
{
    int rc;
    if ((rc = trust_open(a->config->tls_directory, clock_wall(), &a->trust, err)) < 0)
        return rc;
    if (strcmp(trust_cluster(a->trust)->name, a->config->cluster) != 0)
        return err_set(err, ERR_INVALID, "%s is of cluster \"%s\", the configuration says \"%s\"",
                       a->config->tls_directory, trust_cluster(a->trust)->name, a->config->cluster);
    a->node_conf = node_conf_new(a->config, a->trust, a->incarnation);
    if ((rc = open_store(a, err)) < 0 || (rc = open_node(a, err)) < 0)
        return rc;
    open_performer(a);
    if ((rc = open_jobs(a, err)) < 0 || (rc = open_evaluator(a, err)) < 0 ||
        (rc = open_mesh(a, err)) < 0 || (rc = open_http(a, err)) < 0 ||
        (rc = open_audit(a, err)) < 0)
        return rc;
    open_roots(a);
    if ((rc = open_consensus(a, err)) < 0)
        return rc;
    uv_timer_init(&a->loop, &a->tick);
    a->tick.data = a;
    a->began = (msec)uv_now(&a->loop);
    uv_timer_start(&a->tick, tick, 0, 0);
    uv_timer_init(&a->loop, &a->trim);
    a->trim.data = a;
    uv_timer_start(&a->trim, trim, TRIM_AFTER_MS, TRIM_EVERY_MS);
    watch_signal(a, &a->on_term, SIGTERM);
    watch_signal(a, &a->on_int, SIGINT);
    watch_signal(a, &a->on_hup, SIGHUP);
    return 0;
}

static void close_handle(void *handle)
{
    uv_handle_t *h = handle;
    if (h->data != NULL && !uv_is_closing(h))
        uv_close(h, NULL);
}

/* The loop runs until all of them have closed: none needs to be waited for by name. */
static void part_closed(void *arg)
{
    (void)arg;
}

/* The mesh and the store outlive those that use them: consensus sends and writes to its end. */
static void consensus_closed(void *arg)
{
    struct agent *a = arg;
    a->consensus = NULL;
    if (a->mesh != NULL)
        mesh_close(a->mesh, part_closed, NULL);
    if (a->store != NULL)
        store_close(a->store, part_closed, NULL);
    a->mesh = NULL;
    a->store = NULL;
}

static void stop(struct agent *a)
{
    if (a->stopping)
        return;
    a->stopping = true;
    sd_notify(0, "STOPPING=1");
    close_handle(&a->tick);
    close_handle(&a->trim);
    close_handle(&a->left);
    close_handle(&a->on_term);
    close_handle(&a->on_int);
    close_handle(&a->on_hup);
    if (a->performer != NULL)
        performer_stop(a->performer);
    if (a->audit != NULL)
        agent_audit_stop(a->audit);
    if (a->roots != NULL)
        agent_roots_stop(a->roots);
    if (a->api_local != NULL)
        api_local_stop(a->api_local);
    if (a->doctor != NULL)
        doctor_stop(a->doctor);
    if (a->http != NULL)
        http_close(a->http, part_closed, NULL);
    if (a->evaluator != NULL)
        evaluator_close(a->evaluator, part_closed, NULL);
    if (a->jobs != NULL) {
        a->abandons = jobs_load(a->jobs).running > 0;
        jobs_close(a->jobs, part_closed, NULL);
    }
    if (a->consensus != NULL)
        consensus_close(a->consensus, consensus_closed, a);
    else
        consensus_closed(a);
}

static void agent_done(struct agent *a)
{
    stop(a);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    uv_loop_close(&a->loop);
    api_local_free(a->api_local);
    doctor_free(a->doctor);
    agent_roots_free(a->roots);
    agent_audit_free(a->audit);
    performer_free(a->performer);
    recorder_free(a->recorder);
    node_free(a->node);
    node_conf_free(a->node_conf);
    trust_close(a->trust);
    free(a->store_path);
}

int agent_run(const struct config *config, struct err *err)
{
    struct agent a = {.config = config, .incarnation = (uint64_t)clock_wall()};
    a.store_path = xasprintf("%s/" STORE_FILE, config->state_dir);
    mallopt(M_ARENA_MAX,
            1); /* one loop does nearly all of it: an arena a thread is 0.3 MB for nothing */
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK); /* fixed: large blocks leave no holes in the heap */
    signal(SIGPIPE, SIG_IGN);
    umask(0077); /* what it writes is for root alone */
    uv_loop_init(&a.loop);
    int rc = open_all(&a, err);
    if (rc >= 0) {
        log_info("%s of cluster %s is ready", config->host, config->cluster);
        sd_notify(0, "READY=1");
        uv_run(&a.loop, UV_RUN_DEFAULT);
    }
    agent_done(&a);
    if (rc >= 0 && a.fatal.code != ERR_OK) {
        *err = a.fatal;
        rc = -(int)a.fatal.code;
    }
    if (a.abandons) { /* exit() would tear libraries down under a thread that is still in them */
        if (rc < 0)
            log_err(err, "ends");
        fflush(NULL);
        _exit(rc < 0 ? 1 : 0);
    }
    return rc;
}

int agent_check(const struct config *config, struct err *err)
{
    struct trust_store *trust = NULL;
    int rc = trust_open(config->tls_directory, clock_wall(), &trust, err);
    trust_close(trust);
    return rc < 0 ? rc : policy_files_check(config, err);
}
