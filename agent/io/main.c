/* skein-agent: the peer that runs on every hypervisor host. */
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/agent.h"
#include "agent/io/recover.h"
#include "agent/io/revoker.h"
#include "planner/worker/worker.h"
#include "proto/log.h"
#include "proto/util.h"

static const char help[] =
    "skein-agent - the peer of the Skein mesh on this host\n"
    "\n"
    "usage: skein-agent -c FILE [-n] [-d]\n"
    "       skein-agent -c FILE --recover ...   see: skein recover --help\n"
    "\n"
    "  -c FILE        configuration (default /etc/skein/agent.conf)\n"
    "  -n             check the configuration and what it names, then exit\n"
    "  -d             log what the cores trace, too\n"
    "  -V, --version  print the version and exit\n"
    "  -h, --help     print this and exit\n"
    "\n"
    "Runs in the foreground and logs to stderr (to the journal under systemd). SIGHUP reads\n"
    "certificates, revocations and the roster again; SIGTERM ends it: guests and running\n"
    "migrations are not touched, and are found again by the next start.\n"
    "\n"
    "examples:\n"
    "  skein-agent -n -c /etc/skein/agent.conf\n"
    "  skein-agent -c /etc/skein/agent.conf\n"
    "\n"
    "exit status: 0 done, 1 failed (one line says why), 2 wrong usage\n";

/* Of `skein recover`; the other options are short. */
enum { OPT_RECOVER = 256, OPT_REASON, OPT_OUT, OPT_FROM, OPT_YES };

static int recover_now(struct recover_conf *recover, const struct config *config, struct err *err)
{
    const struct passwd *user = getpwuid(getuid());
    const char *sudo = getenv("SUDO_USER");
    _cleanup_(freep) char *who =
        sudo != NULL ? xasprintf("%s (%s)", user != NULL ? user->pw_name : "?", sudo)
                     : xasprintf("%s", user != NULL ? user->pw_name : "?");
    recover->config = config;
    recover->who = who;
    recover->wall = (msec)time(NULL) * 1000;
    return recover_run(recover, stdout, err);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {"recover", no_argument, NULL, OPT_RECOVER},
                                            {"reason", required_argument, NULL, OPT_REASON},
                                            {"out", required_argument, NULL, OPT_OUT},
                                            {"from", required_argument, NULL, OPT_FROM},
                                            {"yes", no_argument, NULL, OPT_YES},
                                            {0}};
    struct recover_conf recover = {0};
    bool recovers = false;
    const char *path = "/etc/skein/agent.conf";
    bool check = false, debug = false;
    int c;
    worker_main_if_asked(argc, argv);
    revoker_main_if_asked(argc, argv);
    while ((c = getopt_long(argc, argv, "c:ndVh", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 'n':
            check = true;
            break;
        case 'd':
            debug = true;
            break;
        case OPT_RECOVER:
            recovers = true;
            break;
        case OPT_REASON:
            recover.reason = optarg;
            break;
        case OPT_OUT:
            recover.out = optarg;
            break;
        case OPT_FROM:
            recover.from = optarg;
            break;
        case OPT_YES:
            recover.apply = true;
            break;
        case 'V':
            puts("skein-agent " SKEIN_VERSION);
            return 0;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            fputs("try: skein-agent --help\n", stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "error: \"%s\" is not expected; try: skein-agent --help\n", argv[optind]);
        return 2;
    }
    struct config *config = NULL;
    struct err err = {0};
    int rc = config_load(path, &config, &err);
    if (rc >= 0) {
        log_init("skein-agent", debug ? LOG_LEVEL_DEBUG : config_log_level(config));
        rc = recovers ? recover_now(&recover, config, &err)
             : check  ? agent_check(config, &err)
                      : agent_run(config, &err);
    }
    if (rc < 0)
        fprintf(stderr, "error: %s: %s\n", err_name(err.code), err.msg);
    else if (check)
        printf("%s: the configuration is good\n", path);
    config_free(config);
    return rc < 0 ? 1 : 0;
}
