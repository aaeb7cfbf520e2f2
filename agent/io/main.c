/* skein-agent: the peer that runs on every hypervisor host. */
#include <getopt.h>
#include <stdio.h>

#include "agent/io/agent.h"
#include "planner/worker/worker.h"
#include "proto/log.h"

static const char help[] =
    "skein-agent - the peer of the Skein mesh on this host\n"
    "\n"
    "usage: skein-agent -c FILE [-n] [-d]\n"
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

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
    const char *path = "/etc/skein/agent.conf";
    bool check = false, debug = false;
    int c;
    worker_main_if_asked(argc, argv);
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
        rc = check ? agent_check(config, &err) : agent_run(config, &err);
    }
    if (rc < 0)
        fprintf(stderr, "error: %s: %s\n", err_name(err.code), err.msg);
    else if (check)
        printf("%s: the configuration is good\n", path);
    config_free(config);
    return rc < 0 ? 1 : 0;
}
