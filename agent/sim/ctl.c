#include "agent/sim/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/sim/show.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/util.h"

#define PATIENCE_MS 10000

static const char help[] =
    "usage: skein-sim ctl --socket PATH COMMAND\n"
    "\n"
    "  status [-o json]            hosts, and with json also the guests\n"
    "  heat HOST C|+C|auto [--inlet]\n"
    "                              hold a temperature sensor (the processor's by default) at C\n"
    "                              degrees Celsius, add C to what it measures, or leave it alone\n"
    "  fan HOST FACTOR             1 as built; 0.5 moves half of the heat\n"
    "  load VM CORES|auto          what a guest asks of its processors\n"
    "  power HOST on|off|standby [--silent]\n"
    "                              silent: the host vanishes without a word, its network too\n"
    "  hang HOST on|off            its hypervisor answers nothing until it wakes; its moves stand\n"
    "  link HOST down|up|MBIT      its migration link\n"
    "  fate VM FATE                of its next migration: none, fail, error-after-success,\n"
    "                              success-without-move, stuck, leftover (of its definition),\n"
    "                              paused (on both hosts)\n"
    "  lose-events HOST on|off     changes are not told any more, only seen\n"
    "  disk-full HOST on|off\n"
    "  speed X                     seconds of the world in a real one, from now on\n"
    "\n"
    "Examples:\n"
    "  skein-sim ctl --socket /run/user/1000/world fan hv03 0.4\n"
    "  skein-sim ctl --socket /run/user/1000/world fate web17 error-after-success\n";

/* ---- words ---- */

static int read_number(const char *word, double *ret, struct err *err)
{
    char *end;
    errno = 0;
    double v = strtod(word, &end);
    if (end == word || *end != '\0' || errno != 0 || !isfinite(v))
        return err_set(err, ERR_INVALID, "\"%s\" is not a number", word);
    *ret = v;
    return 0;
}

static int read_choice(const char *word, const char *const *choices, unsigned *ret, struct err *err)
{
    struct buf known = {0};
    for (unsigned i = 0; choices[i] != NULL; i++) {
        if (strcmp(word, choices[i]) == 0) {
            *ret = i;
            buf_done(&known);
            return 0;
        }
        buf_addf(&known, "%s%s", i > 0 ? ", " : "", choices[i]);
    }
    err_set(err, ERR_INVALID, "\"%s\" is none of %s", word, known.data);
    buf_done(&known);
    return -(int)ERR_INVALID;
}

static int parse_heat(const char *word, Skein__SimInject *i, struct err *err)
{
    if (strcmp(word, "auto") == 0)
        return 0;
    i->has_relative = 1;
    i->relative = word[0] == '+' || word[0] == '-';
    i->has_number = 1;
    return read_number(word, &i->number, err);
}

static int parse_fan(const char *word, Skein__SimInject *i, struct err *err)
{
    i->has_number = 1;
    return read_number(word, &i->number, err);
}

static int parse_load(const char *word, Skein__SimInject *i, struct err *err)
{
    if (strcmp(word, "auto") == 0)
        return 0;
    i->has_number = 1;
    return read_number(word, &i->number, err);
}

static int parse_power(const char *word, Skein__SimInject *i, struct err *err)
{
    static const char *const choices[] = {"on", "off", "standby", NULL};
    unsigned which = 0;
    if (read_choice(word, choices, &which, err) < 0)
        return -(int)err->code;
    i->has_on = i->has_standby = 1;
    i->on = which == 0;
    i->standby = which == 2;
    return 0;
}

static int parse_switch(const char *word, Skein__SimInject *i, struct err *err)
{
    static const char *const choices[] = {"off", "on", NULL};
    unsigned which = 0;
    if (read_choice(word, choices, &which, err) < 0)
        return -(int)err->code;
    i->has_on = 1;
    i->on = which == 1;
    return 0;
}

static int parse_link(const char *word, Skein__SimInject *i, struct err *err)
{
    i->has_on = 1;
    i->on = strcmp(word, "down") != 0;
    if (!i->on || strcmp(word, "up") == 0)
        return 0;
    i->has_number = 1;
    return read_number(word, &i->number, err);
}

static int parse_fate(const char *word, Skein__SimInject *i, struct err *err)
{
    static const char *const choices[] = {
        "none",   "fail", "error-after-success", "success-without-move", "stuck", "leftover",
        "paused", NULL}; /* as enum SimFate */
    unsigned which = 0;
    if (read_choice(word, choices, &which, err) < 0)
        return -(int)err->code;
    i->has_fate = 1;
    i->fate = (Skein__SimFate)which;
    return 0;
}

static const struct command {
    const char *name;
    Skein__SimInjectKind kind;
    int (*parse)(const char *word, Skein__SimInject *i, struct err *err);
} commands[] = {
    {"heat", SKEIN__SIM_INJECT_KIND__INJECT_HEAT, parse_heat},
    {"fan", SKEIN__SIM_INJECT_KIND__INJECT_FAN, parse_fan},
    {"load", SKEIN__SIM_INJECT_KIND__INJECT_LOAD, parse_load},
    {"power", SKEIN__SIM_INJECT_KIND__INJECT_POWER, parse_power},
    {"hang", SKEIN__SIM_INJECT_KIND__INJECT_HANG, parse_switch},
    {"fate", SKEIN__SIM_INJECT_KIND__INJECT_FATE, parse_fate},
    {"lose-events", SKEIN__SIM_INJECT_KIND__INJECT_LOSE_EVENTS, parse_switch},
    {"disk-full", SKEIN__SIM_INJECT_KIND__INJECT_DISK_FULL, parse_switch},
    {"link", SKEIN__SIM_INJECT_KIND__INJECT_LINK, parse_link},
};

static int unknown_command(const char *name, struct err *err)
{
    const char *names[ARRAY_SIZE(commands) + 3];
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        names[i] = commands[i].name;
    names[ARRAY_SIZE(commands)] = "status";
    names[ARRAY_SIZE(commands) + 1] = "speed";
    names[ARRAY_SIZE(commands) + 2] = NULL;
    const char *near = nearest_word(name, names);
    return err_set(err, ERR_INVALID, "unknown command \"%s\"%s%s%s", name,
                   near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "");
}

/* What may follow the three words. */
static int parse_flag(const char *flag, const struct command *c, Skein__SimInject *i,
                      struct err *err)
{
    bool heat = c->kind == SKEIN__SIM_INJECT_KIND__INJECT_HEAT;
    bool power = c->kind == SKEIN__SIM_INJECT_KIND__INJECT_POWER;
    if (heat && strcmp(flag, "--inlet") == 0)
        i->has_inlet = i->inlet = 1;
    else if (power && strcmp(flag, "--silent") == 0 && !i->on)
        i->has_silent = i->silent = 1;
    else
        return err_set(err, ERR_INVALID, "%s: \"%s\" is not expected", c->name, flag);
    return 0;
}

int ctl_parse(int n, char *const *words, Skein__SimInject *ret, struct err *err)
{
    const struct command *command = NULL;
    skein__sim_inject__init(ret);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(commands[i].name, words[0]) == 0)
            command = &commands[i];
    if (command == NULL)
        return unknown_command(words[0], err);
    if (n < 3)
        return err_set(err, ERR_INVALID, "%s wants two words", command->name);
    ret->has_kind = 1;
    ret->kind = command->kind;
    ret->target = words[1];
    int rc = command->parse(words[2], ret, err);
    for (int i = 3; rc == 0 && i < n; i++)
        rc = parse_flag(words[i], command, ret, err);
    if (rc < 0 && strncmp(err->msg, command->name, strlen(command->name)) != 0)
        err_wrap(err, "%s", command->name);
    return rc;
}

/* ---- asking ---- */

static int ask(const char *socket, const Skein__SimRequest *request, Skein__SimReply **ret,
               struct err *err)
{
    _cleanup_(freep) uint8_t *bytes = NULL;
    size_t len;
    ProtobufCMessage *reply = NULL;
    int fd = frame_connect(socket, err);
    if (fd < 0)
        return fd;
    int rc = frame_send(fd, &request->base, err);
    if (rc == 0)
        rc = frame_receive(fd, PATIENCE_MS, &bytes, &len, err);
    close(fd);
    if (rc == 0)
        rc = codec_unpack(&skein__sim_reply__descriptor, "the world's reply", bytes, len, &reply,
                          err);
    if (rc < 0)
        return rc;
    *ret = (Skein__SimReply *)reply;
    if ((*ret)->code == NULL)
        return 0;
    rc = err_set(err, err_from_name((*ret)->code), "%s",
                 (*ret)->message != NULL ? (*ret)->message : "");
    skein__sim_reply__free_unpacked(TAKE_PTR(*ret), NULL);
    return rc;
}

static int failed(const struct err *err, int status)
{
    fprintf(stderr, "skein-sim: %s%s\n", err->msg, status == 2 ? "; see skein-sim ctl --help" : "");
    return status;
}

static int run_status(const char *socket, int n, char *const *words)
{
    struct err err = {0};
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    Skein__SimNothing nothing = SKEIN__SIM_NOTHING__INIT;
    Skein__SimReply *reply = NULL;
    bool json = n == 3 && strcmp(words[1], "-o") == 0 && strcmp(words[2], "json") == 0;
    if (n > 1 && !json) {
        err_set(&err, ERR_INVALID, "status: only -o json may follow");
        return failed(&err, 2);
    }
    request.kind_case = SKEIN__SIM_REQUEST__KIND_STATUS;
    request.status = &nothing;
    if (ask(socket, &request, &reply, &err) < 0)
        return failed(&err, 1);
    if (reply->kind_case == SKEIN__SIM_REPLY__KIND_STATUS)
        json ? show_json(reply->status, stdout) : show_table(reply->status, stdout);
    skein__sim_reply__free_unpacked(reply, NULL);
    return 0;
}

static int run_inject(const char *socket, int n, char *const *words)
{
    struct err err = {0};
    Skein__SimInject inject;
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    Skein__SimReply *reply = NULL;
    if (ctl_parse(n, words, &inject, &err) < 0)
        return failed(&err, 2);
    request.kind_case = SKEIN__SIM_REQUEST__KIND_INJECT;
    request.inject = &inject;
    if (ask(socket, &request, &reply, &err) < 0)
        return failed(&err, 1);
    skein__sim_reply__free_unpacked(reply, NULL);
    return 0;
}

static int run_speed(const char *socket, int n, char *const *words)
{
    struct err err = {0};
    Skein__SimRequest request = SKEIN__SIM_REQUEST__INIT;
    Skein__SimReply *reply = NULL;
    if (n != 2)
        err_set(&err, ERR_INVALID, "speed wants one number");
    else if (read_number(words[1], &request.speed, &err) < 0)
        err_wrap(&err, "speed");
    if (err.code != ERR_OK)
        return failed(&err, 2);
    request.kind_case = SKEIN__SIM_REQUEST__KIND_SPEED;
    if (ask(socket, &request, &reply, &err) < 0)
        return failed(&err, 1);
    skein__sim_reply__free_unpacked(reply, NULL);
    return 0;
}

int ctl_main(int argc, char **argv)
{
    static const struct option known[] = {
        {"socket", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *socket = NULL;
    struct err err = {0};
    optind = 0;
    /* "+": options end at the command, whose words may begin with a dash */
    for (int c; (c = getopt_long(argc, argv, "+:h", known, NULL)) != -1;) {
        if (c == 's') {
            socket = optarg;
        } else if (c == 'h') {
            fputs(help, stdout);
            return 0;
        } else {
            err_set(&err, ERR_INVALID, "ctl: \"%s\" is not understood", argv[optind - 1]);
            return failed(&err, 2);
        }
    }
    if (socket == NULL || optind == argc) {
        err_set(&err, ERR_INVALID, "ctl: %s is missing", socket == NULL ? "--socket" : "a command");
        return failed(&err, 2);
    }
    if (strcmp(argv[optind], "status") == 0)
        return run_status(socket, argc - optind, argv + optind);
    if (strcmp(argv[optind], "speed") == 0)
        return run_speed(socket, argc - optind, argv + optind);
    return run_inject(socket, argc - optind, argv + optind);
}
