/* made.h - what benchmarks on a made cluster share: their options, the clock, the snapshot's file.
 */
#ifndef SKEIN_TESTS_BENCH_MADE_H
#define SKEIN_TESTS_BENCH_MADE_H

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct made {
    int n_hosts, n_vms;
    uint64_t seed;
    const char *out; /* also write the snapshot there; NULL: do not */
};

static inline double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* -h HOSTS -v VMS -s SEED -w FILE; false when it is none of them */
static inline bool made_option(struct made *m, int c)
{
    if (c == 'h')
        m->n_hosts = atoi(optarg);
    else if (c == 'v')
        m->n_vms = atoi(optarg);
    else if (c == 's')
        m->seed = strtoull(optarg, NULL, 10);
    else if (c == 'w')
        m->out = optarg;
    else
        return false;
    return true;
}

static inline bool made_enough(const struct made *m)
{
    if (m->n_hosts >= 2 && m->n_vms >= 1)
        return true;
    fprintf(stderr, "%s: at least 2 hosts and 1 VM\n", program_invocation_short_name);
    return false;
}

static inline void made_write(const struct made *m, const char *text, size_t len)
{
    if (m->out == NULL)
        return;
    FILE *f = fopen(m->out, "w");
    if (f == NULL || fwrite(text, 1, len, f) != len || fclose(f) != 0) {
        fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, m->out, strerror(errno));
        exit(1);
    }
}

#endif
