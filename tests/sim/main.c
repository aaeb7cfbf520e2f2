/* The simulation as a program. See --help. */
#include <errno.h>
#include <getopt.h>
#include <time.h>

#include "tests/sim/sim.h"

static const char *const help =
    "usage: simulate [OPTION]...\n"
    "Runs a cluster in virtual time under faults, seed by seed, and checks the invariants.\n"
    "\n"
    "  --seed N        one seed alone\n"
    "  --from N        the first seed (1)\n"
    "  --seeds N       how many (100)\n"
    "  --hosts N       hosts of the cluster (3 to 6, by the seed)\n"
    "  --quiet         no faults\n"
    "  --virtual N     seconds of faults (10 to 120, by the seed)\n"
    "  --trace         print what happens\n"
    "  --twice         run each seed twice: both must go the same way\n"
    "  --need-variety  fail unless everything that may happen did\n"
    "\n"
    "Exit status: 0 nothing is broken, 1 something is, 2 wrong usage.\n";

struct options {
    struct sim_conf conf;
    uint64_t from, n;
    bool one, twice, variety;
};

static int read_number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno != 0 || end == text || *end != '\0' ? -1 : 0;
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"from", required_argument, NULL, 'f'},
        {"seeds", required_argument, NULL, 'n'},
        {"hosts", required_argument, NULL, 'h'},
        {"virtual", required_argument, NULL, 'v'},
        {"quiet", no_argument, NULL, 'q'},
        {"trace", no_argument, NULL, 't'},
        {"twice", no_argument, NULL, '2'},
        {"need-variety", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, '?'},
        {NULL, 0, NULL, 0},
    };

    *o = (struct options){.from = 1, .n = 100};
    uint64_t number = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (optarg != NULL && read_number(optarg, &number) < 0)
            return -1;
        if (c == 's' || c == 'f')
            o->from = number;
        if (c == 's') {
            o->one = true;
            o->n = 1;
        } else if (c == 'n') {
            o->n = number;
        } else if (c == 'h') {
            o->conf.hosts = (int)MIN(number, (uint64_t)SIM_HOSTS_MAX);
        } else if (c == 'v') {
            o->conf.chaos = (msec)number * 1000;
        }
        o->conf.quiet = o->conf.quiet || c == 'q';
        o->conf.trace = o->conf.trace || c == 't';
        o->twice = o->twice || c == '2';
        o->variety = o->variety || c == 'y';
        if (c == '?')
            return -1;
    }
    return optind < argc || (o->conf.hosts != 0 && o->conf.hosts < 3) ? -1 : 0;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_replay(const struct options *o, const char *program)
{
    printf("replay: %s --seed %llu --trace", program, (unsigned long long)o->conf.seed);
    if (o->conf.hosts != 0)
        printf(" --hosts %d", o->conf.hosts);
    if (o->conf.chaos != 0)
        printf(" --virtual %lld", (long long)o->conf.chaos / 1000);
    puts(o->conf.quiet ? " --quiet" : "");
}

static int run_one(struct options *o, struct sim_counts *counts, const char *program)
{
    struct err err = {0};
    uint64_t hash = 0, again = 0;
    int rc = sim_run(&o->conf, counts, &hash, &err);
    if (rc == 0 && o->twice)
        rc = sim_run(&o->conf, counts, &again, &err);
    if (rc == 0 && o->twice && hash != again)
        rc = err_set(&err, ERR_CONFLICT, "invariant 15 is broken: the second run went otherwise");
    if (rc < 0) {
        printf("seed %llu: %s\n", (unsigned long long)o->conf.seed, err.msg);
        print_replay(o, program);
    }
    return rc;
}

static int print_counts(const struct sim_counts *c, uint64_t seeds, double cpu, bool variety)
{
    bool missing = false;
    printf("%llu seeds, %.1f s of CPU, %.1f virtual hours, %.0f virtual seconds a second of CPU\n",
           (unsigned long long)seeds, cpu, (double)c->virtual_ms / 3.6e6,
           (double)c->virtual_ms / 1000 / cpu);
#define X(name)                                                                                    \
    printf("%s %llu  ", #name, (unsigned long long)c->name);                                       \
    if (variety && c->name == 0) {                                                                 \
        printf("(NEVER)  ");                                                                       \
        missing = true;                                                                            \
    }
    SIM_COUNTS(X)
#undef X
    putchar('\n');
    return missing ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct options o;
    struct sim_counts counts = {0};
    if (read_options(argc, argv, &o) < 0) {
        fputs(help, stdout);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    double began = cpu_seconds();
    for (uint64_t i = 0; i < o.n; i++) {
        o.conf.seed = o.from + i;
        if (run_one(&o, &counts, argv[0]) < 0)
            return 1;
    }
    return print_counts(&counts, o.n, cpu_seconds() - began, o.variety) < 0;
}
