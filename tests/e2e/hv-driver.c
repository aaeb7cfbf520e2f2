/* hv-driver.c - asks a hypervisor through the agent's own worker threads, for tests.
 *
 * usage: hv-driver URI [hwmon] [timeout MS] < COMMANDS
 *
 * One command a line; each result is one line of JSON as soon as it is there: {"n": number of the
 * command, "kind", "code", "message", "ms" it took, and what it brought}. After the last line it
 * waits for what still runs, closes, and ends. Commands:
 *   observe                       look UUID
 *   look-remote UUID HOST         precheck UUID HOST      baseline UUID
 *   admit UUID                    (of the VM as the last observation saw it)
 *   admit-as UUID KEY=VALUE...    the same with memory_mib, machine, cpu_model, storage or network
 *                                 changed
 *   know URI                      observes another hypervisor, for admit
 *   migrate UUID HOST KEY=VALUE   address, bandwidth, downtime, parallel, timeout, converge,
 *                                 persistent
 *   progress UUID                 abort UUID                    tidy UUID
 *   until UUID MIB                progress, until so much is moved, for a minute at most
 *   sleep MS                      wait (until all has ended)    rss       changes     load */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/jobs.h"
#include "proto/codec.h"
#include "proto/log.h"

#define JOBS_MAX 4096

static struct {
    uv_loop_t *loop;
    struct jobs *jobs;
    uv_timer_t timer;
    uint64_t n, running, changes;
    uint64_t begun[JOBS_MAX];
    Skein__HostDetail *seen;
    bool waiting, ended;

    struct {
        char uuid[UUID_SIZE];
        uint64_t mib, deadline; /* mib 0: nothing is waited for */
    } until;
    struct sensors *sensors;
} d;

static const char *const kinds[] = {"observe",   "look",     "look-remote", "precheck", "examine",
                                    "admit",     "baseline", "migrate",     "progress", "tune",
                                    "postcopy",  "abort",    "tidy",        "resume",   "discard",
                                    "autostart", "shutdown", "suspend"};

static uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void print(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(line);
}

/* Any message as JSON, by its descriptor: absent fields are absent. */
static json_t *to_json(const ProtobufCMessage *m);

static json_t *value_json(const ProtobufCFieldDescriptor *f, const uint8_t *at)
{
    const void *p = at;
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)p);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)p);
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumDescriptor *e = f->descriptor;
        const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(e, *(const int *)p);
        return json_string(v != NULL ? v->name : "?");
    }
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_integer(*(const int64_t *)p);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)p);
    case PROTOBUF_C_TYPE_STRING:
        return json_string(*(const char *const *)p);
    case PROTOBUF_C_TYPE_MESSAGE:
        return to_json(*(const ProtobufCMessage *const *)p);
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        break;
    }
    return json_null();
}

static size_t value_size(const ProtobufCFieldDescriptor *f)
{
    return f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE
               ? sizeof(void *)
               : sizeof(uint32_t);
}

static bool is_present(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const uint8_t *base = (const uint8_t *)m;
    if (f->type == PROTOBUF_C_TYPE_STRING || f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)(const void *)(base + f->offset) != NULL;
    return *(const protobuf_c_boolean *)(const void *)(base + f->quantifier_offset) != 0;
}

static json_t *to_json(const ProtobufCMessage *m)
{
    json_t *out = json_object();
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const uint8_t *at = (const uint8_t *)m + f->offset;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = *(const size_t *)(const void *)((const uint8_t *)m + f->quantifier_offset);
            json_t *list = json_array();
            const uint8_t *items = *(const uint8_t *const *)(const void *)at;
            for (size_t k = 0; k < n; k++)
                json_array_append_new(list, value_json(f, items + k * value_size(f)));
            json_object_set_new(out, f->name, list);
        } else if (is_present(m, f)) {
            json_object_set_new(out, f->name, value_json(f, at));
        }
    }
    return out;
}

static void add_result(json_t *line, const struct hv_result *r)
{
    if (r->err.code != ERR_OK && r->kind != HV_MIGRATE)
        return;
    if (r->kind == HV_OBSERVE) {
        json_object_set_new(line, "detail", to_json(&r->detail->base));
    } else if (r->kind == HV_LOOK || r->kind == HV_LOOK_REMOTE) {
        const ProtobufCEnumValue *state =
            protobuf_c_enum_descriptor_get_value(&skein__vm_state__descriptor, (int)r->seen.state);
        json_object_update_new(
            line,
            json_pack("{s:b, s:s, s:b, s:b, s:I, s:s}", "present", r->seen.present, "state",
                      r->seen.present ? state->name : "-", "persistent", r->seen.persistent, "job",
                      r->seen.job, "job_ms", (json_int_t)r->seen.job_ms, "reason", r->seen.reason));
    } else if (r->kind == HV_PRECHECK || r->kind == HV_BASELINE) {
        json_t *lines = json_array();
        for (size_t i = 0; i < r->baseline.n; i++)
            json_array_append_new(lines, json_string(r->baseline.lines[i]));
        json_object_set_new(line, "baseline", lines);
    } else if (r->kind == HV_PROGRESS) {
        const struct hv_progress *p = &r->progress;
        json_object_update_new(
            line, json_pack("{s:b, s:I, s:I, s:I, s:I, s:i, s:i, s:i}", "running", p->running,
                            "total_mib", (json_int_t)p->total_mib, "remaining_mib",
                            (json_int_t)p->remaining_mib, "transferred_mib",
                            (json_int_t)p->transferred_mib, "elapsed_ms", (json_int_t)p->elapsed_ms,
                            "dirty_milli_mib_s", (int)p->dirty_milli_mib_s, "bandwidth_milli_mib_s",
                            (int)p->bandwidth_milli_mib_s, "iteration", (int)p->iteration));
    } else if (r->kind == HV_MIGRATE) {
        json_object_update_new(line, json_pack("{s:i, s:I, s:I}", "downtime_ms",
                                               (int)r->stats.downtime_ms, "transferred_mib",
                                               (json_int_t)r->stats.transferred_mib, "elapsed_ms",
                                               (json_int_t)r->stats.elapsed_ms));
    }
}

static void read_on(void);
static void submit(enum hv_kind kind, char **words, size_t n);

static void on_until(uv_timer_t *timer)
{
    (void)timer;
    char *words[] = {NULL, d.until.uuid};
    submit(HV_PROGRESS, words, 2);
}

/* Asks again in a moment, or lets the next command be read. */
static void check_until(const struct hv_result *r)
{
    bool reached = r->err.code == ERR_OK && r->progress.transferred_mib >= d.until.mib;
    if (!reached && now_ms() < d.until.deadline) {
        uv_timer_start(&d.timer, on_until, 200, 0);
        return;
    }
    d.until.mib = 0;
    d.waiting = false;
}

static void on_done(void *arg, struct hv_result *r)
{
    (void)arg;
    d.running--;
    json_t *line = json_pack("{s:I, s:s, s:s, s:s, s:I}", "n", (json_int_t)r->job, "kind",
                             kinds[r->kind], "code", err_name(r->err.code), "message", r->err.msg,
                             "ms", (json_int_t)(now_ms() - d.begun[r->job % JOBS_MAX]));
    add_result(line, r);
    print(line);
    if (r->kind == HV_OBSERVE && r->err.code == ERR_OK) {
        if (d.seen != NULL)
            skein__host_detail__free_unpacked(d.seen, NULL);
        d.seen = r->detail;
        r->detail = NULL;
    }
    if (r->kind == HV_PROGRESS && d.until.mib > 0)
        check_until(r);
    hv_result_done(r);
    read_on();
}

static void on_changed(void *arg)
{
    (void)arg;
    d.changes++;
}

static void set_option(struct hv_move *m, const char *key, const char *value)
{
    uint32_t number = (uint32_t)strtoul(value, NULL, 10);
    if (strcmp(key, "address") == 0)
        snprintf(m->migration_address, sizeof m->migration_address, "%s", value);
    else if (strcmp(key, "bandwidth") == 0)
        m->bandwidth_mib_s = number;
    else if (strcmp(key, "downtime") == 0)
        m->downtime_ms = number;
    else if (strcmp(key, "parallel") == 0)
        m->how.parallel = number;
    else if (strcmp(key, "mode") == 0)
        migrate_mode_find(value, &m->how.mode);
    else if (strcmp(key, "storage") == 0)
        migrate_storage_find(value, &m->how.storage);
    else if (strcmp(key, "disks") == 0)
        snprintf(m->how.disks, sizeof m->how.disks, "%s", value);
    else if (strcmp(key, "xbzrle") == 0)
        m->how.xbzrle = number != 0;
    else if (strcmp(key, "recover") == 0)
        m->recover = number != 0;
    else if (strcmp(key, "timeout") == 0)
        m->timeout_ms = number;
    else if (strcmp(key, "converge") == 0)
        m->how.auto_converge = number != 0;
    else if (strcmp(key, "persistent") == 0)
        m->persistent = number != 0;
    else
        log_fatal("option %s is not known", key);
}

static void replace(char **at, const char *value)
{
    free(*at);
    *at = xstrdup(value);
}

static void set_need(Skein__VmDetail *vm, const char *key, const char *value)
{
    if (strcmp(key, "memory_mib") == 0)
        vm->memory_mib = strtoull(value, NULL, 10);
    else if (strcmp(key, "machine") == 0)
        replace(&vm->machine, value);
    else if (strcmp(key, "cpu_model") == 0)
        replace(&vm->cpu_model, value);
    else if (strcmp(key, "name") == 0)
        replace(&vm->name, value);
    else if (strcmp(key, "storage") == 0 && vm->n_storage > 0)
        replace(&vm->storage[0], value);
    else if (strcmp(key, "hugepages_kib") == 0) {
        vm->has_hugepages_kib = 1;
        vm->hugepages_kib = (uint32_t)strtoul(value, NULL, 10);
    } else
        log_fatal("need %s is not known", key);
}

static void know(const char *uri)
{
    struct err err = {0};
    struct hypervisor *hv;
    struct hypervisor_conf conf = {.uri = uri, .host = "there"};
    struct hv_job job = {.kind = HV_OBSERVE};
    struct hv_result r;
    if (hypervisor_open(&conf, &hv, &err) < 0)
        log_fatal("%s", err.msg);
    hypervisor_call(hv, &job, &r);
    if (r.err.code != ERR_OK)
        log_fatal("%s: %s", uri, r.err.msg);
    if (d.seen != NULL)
        skein__host_detail__free_unpacked(d.seen, NULL);
    d.seen = TAKE_PTR(r.detail);
    hypervisor_close(hv);
}

static Skein__VmDetail *seen_vm(const char *uuid)
{
    for (size_t i = 0; d.seen != NULL && i < d.seen->n_vms; i++)
        if (strcmp(d.seen->vms[i]->uuid, uuid) == 0)
            return (Skein__VmDetail *)codec_copy(&d.seen->vms[i]->base);
    return NULL;
}

static void submit(enum hv_kind kind, char **words, size_t n)
{
    struct hv_job job = {.id = ++d.n, .kind = kind};
    size_t next = 2;
    if (n > 1)
        snprintf(job.move.uuid, sizeof job.move.uuid, "%s", words[1]);
    if (n > 2 && strchr(words[2], '=') == NULL)
        snprintf(job.move.to, sizeof job.move.to, "%s", words[next++]);
    snprintf(job.move.vm, sizeof job.move.vm, "%s", job.move.uuid);
    job.move.persistent = true;
    if (kind == HV_ADMIT)
        job.vm = seen_vm(job.move.uuid);
    for (; next < n; next++) {
        char *value = strchr(words[next], '=');
        if (value == NULL)
            log_fatal("KEY=VALUE wanted, not %s", words[next]);
        *value++ = '\0';
        if (kind == HV_ADMIT && job.vm != NULL)
            set_need(job.vm, words[next], value);
        else
            set_option(&job.move, words[next], value);
    }
    d.begun[job.id % JOBS_MAX] = now_ms();
    d.running++;
    jobs_submit(d.jobs, &job);
}

static void on_slept(uv_timer_t *timer)
{
    (void)timer;
    d.waiting = false;
    read_on();
}

static void print_rss(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL || fscanf(f, "%ld %ld", &pages, &resident) != 2)
        log_fatal("/proc/self/statm cannot be read");
    fclose(f);
    print(json_pack("{s:s, s:I}", "kind", "rss", "kib",
                    (json_int_t)(resident * sysconf(_SC_PAGESIZE) / 1024)));
}

/* False: no more lines are to be read for now. */
static bool command(char *line)
{
    char *words[16], *save = NULL;
    size_t n = 0;
    for (char *w = strtok_r(line, " \n", &save); w != NULL && n < 16;
         w = strtok_r(NULL, " \n", &save))
        words[n++] = w;
    if (n == 0)
        return true;
    if (strcmp(words[0], "sleep") == 0 && n == 2) {
        d.waiting = true;
        uv_timer_start(&d.timer, on_slept, strtoul(words[1], NULL, 10), 0);
        return false;
    }
    if (strcmp(words[0], "until") == 0 && n == 3) {
        snprintf(d.until.uuid, sizeof d.until.uuid, "%s", words[1]);
        d.until.mib = strtoull(words[2], NULL, 10);
        d.until.deadline = now_ms() + 60000;
        d.waiting = true;
        on_until(NULL);
        return false;
    }
    if (strcmp(words[0], "wait") == 0)
        return d.running == 0 ? true : (d.waiting = true, false);
    if (strcmp(words[0], "know") == 0 && n == 2) {
        know(words[1]);
        return true;
    }
    if (strcmp(words[0], "rss") == 0) {
        print_rss();
        return true;
    }
    if (strcmp(words[0], "changes") == 0) {
        print(json_pack("{s:s, s:I}", "kind", "changes", "seen", (json_int_t)d.changes));
        return true;
    }
    if (strcmp(words[0], "load") == 0) {
        struct jobs_load load = jobs_load(d.jobs);
        print(json_pack("{s:s, s:i, s:i, s:i}", "kind", "load", "queued", (int)load.queued,
                        "running", (int)load.running, "abandoned", (int)load.abandoned));
        return true;
    }
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(words[0], kinds[i]) == 0 ||
            (i == HV_ADMIT && strcmp(words[0], "admit-as") == 0)) {
            submit((enum hv_kind)i, words, n);
            return true;
        }
    log_fatal("command %s is not known", words[0]);
}

static void on_closed(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&d.timer, NULL);
}

/* Lines are read between events; a terminal or a slow pipe would hold the loop, which is fine for
 * scripts that write all their lines at once. */
static void read_on(void)
{
    char line[1024];
    if (d.waiting && !uv_is_active((uv_handle_t *)&d.timer) && d.running == 0)
        d.waiting = false;
    while (!d.waiting && !d.ended) {
        if (fgets(line, sizeof line, stdin) == NULL)
            d.ended = true;
        else if (!command(line))
            return;
    }
    if (d.ended && d.running == 0 && d.jobs != NULL) {
        jobs_close(d.jobs, on_closed, NULL);
        d.jobs = NULL;
    }
}

int main(int argc, char **argv)
{
    struct err err = {0};
    uv_loop_t loop;
    if (argc < 2)
        log_fatal("usage: hv-driver URI [hwmon] [timeout MS]");
    log_init("hv-driver", LOG_LEVEL_DEBUG);
    struct hypervisor_conf conf = {.uri = argv[1], .host = "here"};
    struct jobs_conf jobs_conf = {.done = on_done, .changed = on_changed};
    struct sensors_conf sensors_conf = {.source = "none"};
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "hwmon") == 0)
            sensors_conf.source = "hwmon";
        else if (strcmp(argv[i], "unlocked") == 0)
            conf.unlocked_disks = true;
        else if (strcmp(argv[i], "timeout") == 0 && i + 1 < argc)
            jobs_conf.query_timeout = atol(argv[++i]);
        else
            log_fatal("argument %s is not known", argv[i]);
    }
    struct hypervisor *hv;
    if (sensors_open(&sensors_conf, &conf.sensors, &err) < 0 ||
        hypervisor_open(&conf, &hv, &err) < 0)
        log_fatal("%s: %s", err_name(err.code), err.msg);
    uv_loop_init(&loop);
    d.loop = &loop;
    uv_timer_init(&loop, &d.timer);
    if (jobs_open(&loop, hv, &jobs_conf, &d.jobs, &err) < 0)
        log_fatal("%s", err.msg);
    read_on();
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (d.seen != NULL)
        skein__host_detail__free_unpacked(d.seen, NULL);
    return 0;
}
