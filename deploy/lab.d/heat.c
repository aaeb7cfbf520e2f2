/* heat.c - the lab's weather: temperatures that follow what runs on each host.
 *
 * usage: heat HOSTS INLET PER_GUEST PER_CORE TAU
 *
 * HOSTS/hvN holds, for each host: pidns (the identity of its process namespace), hwmon/ (what its
 * libsensors reads) and heat/ (what `lab heat` says: cpu.pin and inlet.pin hold a sensor still;
 * cpu.offset, inlet.offset and factor are numbers). Once a second, with a first-order lag of TAU
 * seconds, load  = factor x (PER_GUEST x guests + PER_CORE x processor cores that they use) inlet =
 * INLET + inlet.offset + load / 10    some warm air finds its way back to the front cpu   = inlet +
 * 16 + load + cpu.offset All temperatures are in degrees Celsius. */
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_RISE 16.0   /* of a processor without work, above the inlet */
#define RECIRCULATE 10.0 /* a tenth of the load's heat comes back */
#define MAX_HOSTS 256
#define MAX_GUESTS 4096

struct host {
    char name[32], pidns[64];
    unsigned guests;
    double cores, cpu, inlet;
    bool known; /* cpu and inlet hold the last temperatures */
};

struct guest {
    long pid;
    unsigned long long ticks;
    bool seen;
};

static struct host hosts[MAX_HOSTS];
static size_t host_count;
static struct guest guests[MAX_GUESTS];
static size_t guest_count;
static double inlet, per_guest, per_core, tau;
static const char *root;

static double read_number(const char *host, const char *file, double fallback)
{
    char path[PATH_MAX];
    double v = fallback;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s/heat/%s", root, host, file);
    f = fopen(path, "re");
    if (!f)
        return fallback;
    if (fscanf(f, "%lf", &v) != 1)
        v = fallback;
    fclose(f);
    return v;
}

static bool is_pinned(const char *host, const char *file)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s/heat/%s", root, host, file);
    return access(path, F_OK) == 0;
}

/* Replaces a sensor's file in one act: a reader never sees half a number. */
static void write_sensor(const char *host, const char *sensor, double celsius)
{
    char path[PATH_MAX], fresh[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s/hwmon/%s", root, host, sensor);
    snprintf(fresh, sizeof(fresh), "%s/%s/hwmon/.fresh", root, host);
    f = fopen(fresh, "we");
    if (!f)
        return;
    fprintf(f, "%ld\n", (long)(celsius * 1000));
    if (fclose(f) == 0)
        rename(fresh, path);
}

static void find_hosts(void)
{
    DIR *dir = opendir(root);

    for (struct dirent *e; dir && (e = readdir(dir)) && host_count < MAX_HOSTS;)
        if (e->d_name[0] != '.' && strlen(e->d_name) < sizeof(hosts[0].name))
            strcpy(hosts[host_count++].name, e->d_name);
    if (dir)
        closedir(dir);
}

/* A host gets a new process namespace each time that it is switched on. */
static void read_namespaces(void)
{
    for (size_t i = 0; i < host_count; i++) {
        char path[PATH_MAX];
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s/pidns", root, hosts[i].name);
        hosts[i].pidns[0] = '\0';
        f = fopen(path, "re");
        if (!f)
            continue;
        if (fscanf(f, "%63s", hosts[i].pidns) != 1)
            hosts[i].pidns[0] = '\0';
        fclose(f);
    }
}

static struct guest *find_guest(long pid)
{
    for (size_t i = 0; i < guest_count; i++)
        if (guests[i].pid == pid)
            return &guests[i];
    if (guest_count == MAX_GUESTS)
        return NULL;
    guests[guest_count] = (struct guest){.pid = pid, .ticks = ULLONG_MAX};
    return &guests[guest_count++];
}

static struct host *find_host(long pid)
{
    char path[64], ns[64];
    ssize_t len;

    snprintf(path, sizeof(path), "/proc/%ld/ns/pid", pid);
    len = readlink(path, ns, sizeof(ns) - 1);
    if (len < 0)
        return NULL;
    ns[len] = '\0';
    for (size_t i = 0; i < host_count; i++)
        if (!strcmp(hosts[i].pidns, ns))
            return &hosts[i];
    return NULL;
}

/* True when `pid` is a QEMU; its processor time so far, in clock ticks, goes to *ret_ticks. */
static bool read_qemu(long pid, unsigned long long *ret_ticks)
{
    char path[64], line[1024];
    unsigned long long user, system;
    const char *after;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    f = fopen(path, "re");
    if (!f)
        return false;
    if (!fgets(line, sizeof(line), f))
        line[0] = '\0';
    fclose(f);
    after = strrchr(line, ')');
    if (!strstr(line, "(qemu-system") || !after ||
        sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
               &system) != 2)
        return false;
    *ret_ticks = user + system;
    return true;
}

static void measure(void)
{
    const double hz = (double)sysconf(_SC_CLK_TCK);
    DIR *proc = opendir("/proc");
    size_t kept = 0;

    for (size_t i = 0; i < host_count; i++)
        hosts[i].guests = 0, hosts[i].cores = 0;
    for (struct dirent *e; proc && (e = readdir(proc));) {
        const long pid = strtol(e->d_name, NULL, 10);
        unsigned long long ticks;
        struct host *h;
        struct guest *g;

        if (pid <= 0 || !read_qemu(pid, &ticks) || !(h = find_host(pid)) || !(g = find_guest(pid)))
            continue;
        h->guests++;
        if (g->ticks <= ticks)
            h->cores += (double)(ticks - g->ticks) / hz; /* the period is one second */
        g->ticks = ticks;
        g->seen = true;
    }
    if (proc)
        closedir(proc);
    for (size_t i = 0; i < guest_count; i++)
        if (guests[i].seen) {
            guests[i].seen = false;
            guests[kept++] = guests[i];
        }
    guest_count = kept;
}

static void follow(struct host *h)
{
    const double load =
        read_number(h->name, "factor", 1) * (per_guest * h->guests + per_core * h->cores);
    const double to_inlet = inlet + read_number(h->name, "inlet.offset", 0) + load / RECIRCULATE;
    const double to_cpu = to_inlet + IDLE_RISE + load + read_number(h->name, "cpu.offset", 0);

    if (!h->known)
        h->inlet = to_inlet, h->cpu = to_cpu, h->known = true;
    h->inlet += (to_inlet - h->inlet) / tau;
    h->cpu += (to_cpu - h->cpu) / tau;
    if (!is_pinned(h->name, "inlet.pin"))
        write_sensor(h->name, "hwmon1/temp1_input", h->inlet);
    if (!is_pinned(h->name, "cpu.pin"))
        write_sensor(h->name, "hwmon0/temp1_input", h->cpu);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fputs("usage: heat HOSTS INLET PER_GUEST PER_CORE TAU\n", stderr);
        return 2;
    }
    root = argv[1];
    inlet = strtod(argv[2], NULL);
    per_guest = strtod(argv[3], NULL);
    per_core = strtod(argv[4], NULL);
    tau = strtod(argv[5], NULL);
    if (!(tau >= 1)) {
        fputs("heat: TAU must be 1 second or more\n", stderr);
        return 2;
    }
    find_hosts();
    for (;;) {
        read_namespaces();
        measure();
        for (size_t i = 0; i < host_count; i++)
            follow(&hosts[i]);
        sleep(1);
    }
}
