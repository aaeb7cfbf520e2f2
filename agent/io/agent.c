#include "agent/io/agent.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>
#include <uv.h>

#include "agent/core/node.h"
#include "agent/io/agent_audit.h"
#include "agent/io/agent_priv.h"
#include "agent/io/agent_roots.h"
#include "agent/io/api_local.h"
#include "agent/io/clock.h"
#include "agent/io/council.h"
#include "agent/io/doctor.h"
#include "agent/io/evaluate.h"
#include "agent/io/http.h"
#include "agent/io/hypervisor.h"
#include "agent/io/issuer.h"
#include "agent/io/jobs.h"
#include "agent/io/mesh.h"
#include "agent/io/node_conf.h"
#include "agent/io/performer.h"
#include "agent/io/policy_files.h"
#include "agent/io/recorder.h"
#include "agent/io/renewer.h"
#include "agent/io/sensors.h"
#include "agent/io/store.h"
#include "agent/io/trim.h"
#include "agent/io/trust.h"
#include "agent/io/week.h"
#include "proto/canon.h"
#include "proto/codec.h"
#include "proto/log.h"
#include "proto/util.h"
#include "tls/file.h"

#define TICK_MS 100         /* the node is ticked at multiples of it, when something is due */
#define RESIGN_LOOK_MS 10   /* a handing over takes a few milliseconds */
#define LEAVE_MS 100        /* what was handed to ZeroMQ is in the kernel by then */
#define TRIM_AFTER_MS 10000 /* by then the first observation, links and an election are over */
#define TRIM_EVERY_MS 60000 /* what bursts (links, plans, callers) left free goes back */
#define LARGE_BLOCK (128 << 10)

struct journal {
    Skein__JournalRecord **items;
    size_t n, cap;
};

static void stop(struct agent *a);

void agent_fail(struct agent *a, const struct err *err, const char *what)
{
    if (a->fatal.code == ERR_OK) {
        a->fatal = *err;
        err_wrap(&a->fatal, "%s", what);
    }
    stop(a);
}

/* ---- time, and the answers of jobs and evaluations ---- */

struct moment agent_now(const struct agent *a)
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

void agent_step(struct agent *a, const struct event *event)
{
    struct effects effects = {0};
    if (a->stopping)
        return;
    struct moment now = agent_now(a);
    node_step(a->node, event, now, &effects);
    performer_take(a->performer, now.wall, &effects);
    set_tick(a);
}

static void tick(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    a->tick_at = 0;
    agent_step(a, &(struct event){.kind = EVENT_TICK});
    if (!a->stopping)
        agent_audit_tick(a->audit, agent_now(a));
}

/* Memory is given back; what was learned of the fleet's week is kept. */
static void tidy(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    _cleanup_json_ json_t *week = node_week(a->node, &a->week_seen);
    if (week != NULL)
        week_write(a->config->state_dir, week);
    if (!a->trimmed)
        trim_memory();
    else
        malloc_trim(0);
    a->trimmed = true;
}

static void hypervisor_done(void *arg, struct hv_result *result)
{
    struct agent *a = arg;
    if (a->doctor == NULL || !doctor_result(a->doctor, result))
        agent_step(a, &(struct event){.kind = EVENT_HV, .result = result});
    hv_result_done(result);
}

static void hypervisor_changed_soon(void *arg)
{
    agent_step(arg, &(struct event){.kind = EVENT_CHANGED});
}

static void evaluated(void *arg, uint64_t token, const struct err *err,
                      const struct evaluated *evaluated)
{
    struct event event = {.kind = EVENT_EVALUATED, .token = token, .evaluated = evaluated};
    event.err = *err;
    agent_step(arg, &event);
}

void agent_store_failed(void *arg, const struct err *err)
{
    agent_fail(arg, err, "the state directory");
}

/* ---- the audit beyond this disk ---- */

static void head_proposed(void *arg, const uint8_t *entry, size_t len)
{
    struct agent *a = arg;
    struct err err = {0};
    if (a->council != NULL && council_propose(a->council, entry, len, NULL, NULL, &err) < 0)
        log_debug("an audit head is not proposed: %s", err.msg);
}

static void audit_conflict(void *arg, const char *host, const char *message)
{
    struct agent *a = arg;
    struct effects effects = {0};
    struct step step = {.now = agent_now(a), .conf = a->node_conf, .out = &effects};
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
    struct step step = {.now = agent_now(a), .conf = a->node_conf, .out = &effects};
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

/* ---- renewal ---- */

static void read_again(struct agent *a)
{
    struct err err = {0};
    if (agent_roots_reload(a->roots, &err) < 0 || agent_renew_http(a, &err) < 0) {
        log_err(&err, "the old certificates and roster stay in use");
        return;
    }
    log_info("certificates, revocations and roster are read again");
    agent_roots_tell(a->roots, NULL);
}

static void renewed(void *arg, const struct err *err)
{
    struct agent *a = arg;
    struct effects effects = {0};
    struct step step = {.now = agent_now(a), .conf = a->node_conf, .out = &effects};
    if (err->code != ERR_OK) {
        log_warn("certificates are not renewed yet: %s: %s", err_name(err->code), err->msg);
        return;
    }
    effect_audit(&step, "certificates.renewed", "{}");
    performer_take(a->performer, step.now.wall, &effects);
    read_again(a);
}

static int open_renewer(struct agent *a, struct err *err)
{
    if (a->config->n_issuer_from == 0)
        return 0;
    struct renewer_conf conf = {.loop = &a->loop, .config = a->config, .arg = a, .done = renewed};
    return renewer_open(&conf, &a->renewer, err);
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
    _cleanup_json_ json_t *week = rc < 0 ? NULL : week_read(a->config->state_dir);
    if (week != NULL)
        node_week_take(a->node, week);
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
        .on_fail = agent_store_failed,
        .arg = a,
    };
    int rc = file_make_directory(a->config->state_dir, 0700, err);
    return rc < 0 ? rc : store_open(&conf, &a->store, err);
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

/* Goodbye; then stop once that has had time to go out. */
static void left(uv_timer_t *timer)
{
    stop(timer->data);
}

static bool plans(const struct agent *a)
{
    struct consensus_status status = {0};
    if (a->council != NULL)
        council_status(a->council, &status);
    return status.leader;
}

/* Who plans hands over first: the others would have to miss it, and then to vote. Longer than
 * consensus_transfer tries it is not waited for. */
static void resigned(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    if (plans(a) && (msec)uv_now(&a->loop) < a->resign_by)
        return;
    agent_step(a, &(struct event){.kind = EVENT_LEAVE});
    uv_timer_start(&a->left, left, LEAVE_MS, 0);
}

static void leave(struct agent *a)
{
    if (a->leaving)
        return;
    a->leaving = true;
    a->resign_by = (msec)uv_now(&a->loop);
    uv_timer_init(&a->loop, &a->left);
    a->left.data = a;
    if (plans(a) && a->node_conf->n_voters > 1) {
        a->resign_by += a->config->raft_election_timeout_ms;
        agent_step(a, &(struct event){.kind = EVENT_RESIGN});
    }
    uv_timer_start(&a->left, resigned, 0, RESIGN_LOOK_MS);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *a = handle->data;
    if (number == SIGHUP) {
        read_again(a);
        return;
    }
    log_info("told to stop");
    leave(a);
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
    agent_open_performer(a);
    if ((rc = open_jobs(a, err)) < 0 || (rc = open_evaluator(a, err)) < 0 ||
        (rc = agent_open_mesh(a, err)) < 0 || (rc = agent_open_http(a, err)) < 0 ||
        (rc = open_audit(a, err)) < 0)
        return rc;
    open_roots(a);
    if ((rc = agent_open_council(a, err)) < 0 || (rc = open_renewer(a, err)) < 0)
        return rc;
    uv_timer_init(&a->loop, &a->tick);
    a->tick.data = a;
    a->began = (msec)uv_now(&a->loop);
    uv_timer_start(&a->tick, tick, 0, 0);
    uv_timer_init(&a->loop, &a->trim);
    a->trim.data = a;
    uv_timer_start(&a->trim, tidy, TRIM_AFTER_MS, TRIM_EVERY_MS);
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
static void council_closed(void *arg)
{
    struct agent *a = arg;
    a->council = NULL;
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
    renewer_close(TAKE_PTR(a->renewer));
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
    if (a->council != NULL)
        council_close(a->council, council_closed, a);
    else
        council_closed(a);
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
    issuer_free(a->issuer);
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
