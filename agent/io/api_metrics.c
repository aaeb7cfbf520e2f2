#include "agent/io/api_metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/core/metrics.h"

static double descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    double n = -3; /* ".", "..", and the directory's own */
    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* The names and meanings are those of Prometheus' own client libraries. */
static void process(struct buf *b)
{
    struct rusage use;
    struct rlimit files;
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%lu %lu", &size, &resident) == 2)
            metrics_single(b, "process_resident_memory_bytes", "gauge",
                           "Resident memory size in bytes.",
                           (double)resident * (double)sysconf(_SC_PAGESIZE));
        fclose(f);
    }
    if (getrusage(RUSAGE_SELF, &use) == 0)
        metrics_single(b, "process_cpu_seconds_total", "counter",
                       "Total user and system CPU time spent in seconds.",
                       (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6);
    metrics_single(b, "process_open_fds", "gauge", "Number of open file descriptors.",
                   descriptors());
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        metrics_single(b, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
                       (double)files.rlim_cur);
}

static void certificates(struct buf *b, const struct mesh *mesh, msec wall)
{
    msec certificate, crl;
    mesh_validity(mesh, &certificate, &crl);
    metrics_single(b, "skein_certificate_remaining_seconds", "gauge",
                   "Life that is left to this agent's certificate.",
                   (double)(certificate - wall) / 1e3);
    if (crl != QUANTITY_UNKNOWN)
        metrics_single(b, "skein_crl_remaining_seconds", "gauge",
                       "Time until the list of revocations should have been replaced.",
                       (double)(crl - wall) / 1e3);
}

bool api_metrics_call(struct http *http, struct node *node, const struct mesh *mesh,
                      struct moment now, uint64_t token, const Skein__ApiCall *call)
{
    _cleanup_(buf_done) struct buf text = {0};
    if (strcmp(call->path, "/metrics") != 0 || strcmp(call->method, "GET") != 0)
        return false;
    _cleanup_(freep) char *of_node = node_metrics(node, now);
    metrics_family(&text, "skein_build_info", "gauge", "1; the version is a label.");
    metrics_sample(&text, "skein_build_info", "version=\"" SKEIN_VERSION "\"", 1);
    buf_adds(&text, of_node);
    certificates(&text, mesh, now.wall);
    process(&text);
    http_answer_text(http, token, METRICS_TYPE, text.data, text.len);
    return true;
}
