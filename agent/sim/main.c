/* skein-sim: the simulated world. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "agent/sim/ctl.h"
#include "agent/sim/server.h"
#include "agent/sim/trace.h"
#include "proto/log.h"
#include "proto/util.h"

#define SNAPSHOT_MAX (1u << 30)
#define GUESTS_A_HOST 10

static const char help[] =
    "usage: skein-sim --hosts N [--vms M] [--seed S] --socket PATH [OPTION]...\n"
    "       skein-sim --snapshot FILE --socket PATH [OPTION]...\n"
    "       skein-sim ctl --socket PATH COMMAND      (see skein-sim ctl --help)\n"
    "\n"
    "Holds a simulated world: hosts with load, power and heat, and guests that live on them and\n"
    "move between them. Agents whose configuration says hypervisor = \"sim:PATH\" watch it and "
    "act\n"
    "on it; the guests outlive them. Runs in the foreground; no privilege is needed.\n"
    "\n"
    "  --hosts N           make N ordinary hosts, hv1 ...\n"
    "  --vms M             with M guests (default: 10 a host)\n"
    "  --seed S            the same seed gives the same fleet (default: 1)\n"
    "  --snapshot FILE     start from a skein.snapshot/1 instead; what it does not say of load,\n"
    "                      power and heat gets ordinary values\n"
    "  --daily             guests of the snapshot follow the day around what they use in it\n"
    "  --trace DIR         guests use their processors as the files of DIR say, in the order of\n"
    "                      their names: one number a line, percent, every 5 minutes\n"
    "  --socket PATH       where to listen; only this user may connect\n"
    "  --speed X           seconds of the world in a real one (default: 1)\n"
    "  --at TIME           the world's clock at its start (default: the snapshot's time, else "
    "now)\n"
    "  --room CELSIUS      cold air (default: 22)\n"
    "  --heat-seconds S    time constant of the processors' temperature (default: 60)\n"
    "\n"
    "Examples:\n"
    "  skein-sim --hosts 20 --vms 200 --socket /tmp/world\n"
    "  skein-sim --snapshot dc1.json --at 2026-11-22T01:30:00Z --speed 60 --socket /tmp/world\n";

struct options {
    const char *socket, *snapshot, *trace, *at;
    double speed, hosts, vms, seed, room, heat_seconds;
    bool daily;
};

enum option_key {
    OPTION_HOSTS = 256,
    OPTION_VMS,
    OPTION_SEED,
    OPTION_SPEED,
    OPTION_ROOM,
    OPTION_HEAT_SECONDS,
    OPTION_SOCKET,
    OPTION_SNAPSHOT,
    OPTION_TRACE,
    OPTION_AT,
    OPTION_DAILY,
};

static const struct option known[] = {
    {"hosts", required_argument, NULL, OPTION_HOSTS},
    {"vms", required_argument, NULL, OPTION_VMS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"speed", required_argument, NULL, OPTION_SPEED},
    {"room", required_argument, NULL, OPTION_ROOM},
    {"heat-seconds", required_argument, NULL, OPTION_HEAT_SECONDS},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"snapshot", required_argument, NULL, OPTION_SNAPSHOT},
    {"trace", required_argument, NULL, OPTION_TRACE},
    {"at", required_argument, NULL, OPTION_AT},
    {"daily", no_argument, NULL, OPTION_DAILY},
    {"help", no_argument, NULL, 'h'},
    {0}};

static int read_number(const char *name, double least, double most, double *ret, struct err *err)
{
    char *end;
    errno = 0;
    double v = strtod(optarg, &end);
    if (end == optarg || *end != '\0' || errno != 0 || !(v >= least && v <= most))
        return err_set(err, ERR_INVALID, "--%s \"%s\" is not a number from %g to %g", name, optarg,
                       least, most);
    *ret = v;
    return 0;
}

static int read_option(int key, struct options *o, struct err *err)
{
    switch (key) {
    case OPTION_HOSTS:
        return read_number("hosts", 1, WORLD_HOSTS_MAX, &o->hosts, err);
    case OPTION_VMS:
        return read_number("vms", 0, WORLD_GUESTS_MAX, &o->vms, err);
    case OPTION_SEED:
        return read_number("seed", 0, 1e15, &o->seed, err);
    case OPTION_SPEED:
        return read_number("speed", SERVER_SPEED_MIN, SERVER_SPEED_MAX, &o->speed, err);
    case OPTION_ROOM:
        return read_number("room", 1, 60, &o->room, err);
    case OPTION_HEAT_SECONDS:
        return read_number("heat-seconds", 1, 36000, &o->heat_seconds, err);
    case OPTION_SOCKET:
        o->socket = optarg;
        return 0;
    case OPTION_SNAPSHOT:
        o->snapshot = optarg;
        return 0;
    case OPTION_TRACE:
        o->trace = optarg;
        return 0;
    case OPTION_AT:
        o->at = optarg;
        return 0;
    case OPTION_DAILY:
        o->daily = true;
        return 0;
    default:
        return err_set(err, ERR_INVALID, "an option is unknown or lacks its value");
    }
}

/* 0, or 1 when help was printed. */
static int parse(int argc, char **argv, struct options *o, struct err *err)
{
    int rc;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            return 1;
        }
        if (c == '?')
            return err_set(err, ERR_INVALID, "\"%s\" is not understood", argv[optind - 1]);
        if ((rc = read_option(c, o, err)) < 0)
            return rc;
    }
    if (optind < argc)
        return err_set(err, ERR_INVALID, "\"%s\" is not expected", argv[optind]);
    if (o->socket == NULL)
        return err_set(err, ERR_INVALID, "--socket is missing");
    if ((o->hosts > 0) == (o->snapshot != NULL))
        return err_set(err, ERR_INVALID, "either --hosts or --snapshot is wanted");
    if (o->vms < 0)
        o->vms = GUESTS_A_HOST * o->hosts;
    return 0;
}

static msec wall_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (msec)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int read_file(const char *path, struct buf *ret, struct err *err)
{
    char chunk[65536];
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_set(err, ERR_IO, "%s: %m", path);
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0 && ret->len <= SNAPSHOT_MAX;)
        buf_add(ret, chunk, n);
    bool bad = ferror(f) != 0;
    fclose(f);
    if (bad)
        return err_set(err, ERR_IO, "%s: cannot be read", path);
    return ret->len <= SNAPSHOT_MAX ? 0 : err_set(err, ERR_LIMIT, "%s: too large", path);
}

static int from_snapshot(const struct options *o, struct world_conf *conf, struct world **ret,
                         struct err *err)
{
    struct buf text = {0};
    _cleanup_(model_freep) struct model *model = NULL;
    int rc = read_file(o->snapshot, &text, err);
    if (rc == 0)
        rc = model_parse(text.data != NULL ? text.data : "", text.len, &model, err);
    buf_done(&text);
    if (rc < 0)
        return rc;
    for (int i = 0; i < model->n_warnings; i++)
        log_warn("%s", model->warnings[i]);
    if (o->at == NULL && model->taken_at != QUANTITY_UNKNOWN)
        conf->begins = model->taken_at;
    return world_from_model(conf, model, ret, err);
}

static int make_world_as_asked(const struct options *o, struct world **ret, struct err *err)
{
    struct world_conf conf = {.seed = (uint64_t)o->seed,
                              .begins = wall_now(),
                              .room_celsius = o->room,
                              .heat_seconds = o->heat_seconds,
                              .daily = o->daily};
    int rc = o->at != NULL ? time_parse(o->at, &conf.begins, err) : 0;
    if (rc < 0)
        return err_wrap(err, "--at");
    if (o->snapshot != NULL)
        rc = from_snapshot(o, &conf, ret, err);
    else
        rc = world_generate(&conf, (size_t)o->hosts, (size_t)o->vms, ret, err);
    return rc == 0 && o->trace != NULL ? trace_load(o->trace, *ret, err) : rc;
}

int main(int argc, char **argv)
{
    struct options options = {.speed = 1, .vms = -1, .seed = 1};
    struct server_conf conf;
    struct world *world = NULL;
    struct err err = {0};
    if (argc > 1 && strcmp(argv[1], "ctl") == 0)
        return ctl_main(argc - 1, argv + 1);
    log_init("skein-sim", LOG_LEVEL_INFO);
    int rc = parse(argc, argv, &options, &err);
    if (rc > 0)
        return 0;
    if (rc < 0) {
        fprintf(stderr, "skein-sim: %s; see --help\n", err.msg);
        return 2;
    }
    conf = (struct server_conf){.socket = options.socket, .speed = options.speed};
    rc = make_world_as_asked(&options, &world, &err);
    if (rc == 0)
        rc = server_run(world, &conf, &err);
    world_free(world);
    if (rc < 0)
        fprintf(stderr, "skein-sim: %s\n", err.msg);
    return rc < 0 ? 1 : 0;
}
