/* pulse.c - watches the guests' consoles and keeps, for each, what its heartbeat proves.
 *
 * usage: pulse CONSOLES RESULTS
 *
 * CONSOLES holds one NAME.log a guest (written by guest/guest.c through its serial port). For each,
 * RESULTS/NAME is kept at one line of fixed length: COUNTER STARTS GAP_MS LAST_MS OVERLAPS COUNTER:
 * last beat; STARTS: boot lines so far; GAP_MS: longest time between two beats of one start;
 * LAST_MS: boot time (as in /proc/uptime) of the last beat; OVERLAPS: beats that came out of turn,
 * which is what a second running copy of the guest looks like. The guest's own clock stands still
 * with it, therefore time is taken here. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#define NAME_LEN 128
#define LINE_LEN 128

struct guest {
    struct guest *next;
    char name[NAME_LEN];
    int console, result;
    char line[LINE_LEN];
    size_t line_len;
    char nonce[16];
    unsigned long counter, starts, overlaps;
    int64_t gap_ms, last_ms;
};

static struct guest *guests;
static const char *consoles, *results;

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void take_line(struct guest *g, int64_t now)
{
    /* A host that loses its power cuts a line; the next start goes on in it. */
    const char *boot = strstr(g->line, "boot ");
    char nonce[sizeof(g->nonce)];
    unsigned long n;

    if (boot && sscanf(boot, "boot %15s", nonce) == 1) {
        g->starts++;
        g->counter = 0;
        g->last_ms = 0;
        memcpy(g->nonce, nonce, sizeof(nonce));
    } else if (sscanf(g->line, "beat %15s %lu", nonce, &n) == 2) {
        if (strcmp(nonce, g->nonce) != 0 || n <= g->counter) {
            g->overlaps++;
            return;
        }
        if (g->last_ms && now - g->last_ms > g->gap_ms)
            g->gap_ms = now - g->last_ms;
        g->counter = n;
        g->last_ms = now;
    }
}

static void publish(const struct guest *g)
{
    char text[160];
    const int len = snprintf(text, sizeof(text), "%10lu %6lu %10lld %15lld %6lu\n", g->counter,
                             g->starts, (long long)g->gap_ms, (long long)g->last_ms, g->overlaps);

    if (pwrite(g->result, text, (size_t)len, 0) < 0)
        fprintf(stderr, "pulse: %s: %s\n", g->name, strerror(errno));
}

static void read_console(struct guest *g)
{
    const int64_t now = now_ms();
    char chunk[4096];
    ssize_t len;

    while ((len = read(g->console, chunk, sizeof(chunk))) > 0) {
        for (ssize_t i = 0; i < len; i++) {
            if (chunk[i] != '\n') {
                if (g->line_len < LINE_LEN - 1)
                    g->line[g->line_len++] = chunk[i];
                continue;
            }
            g->line[g->line_len] = '\0';
            g->line_len = 0;
            take_line(g, now);
        }
    }
    publish(g);
}

/* The guest of a console file's name, made when it is new; NULL when the file is not a console. */
static struct guest *find(const char *file)
{
    const char *end = strrchr(file, '.');
    const size_t len = end && !strcmp(end, ".log") ? (size_t)(end - file) : 0;
    char path[PATH_MAX];
    struct guest *g;

    if (!len || len >= NAME_LEN)
        return NULL;
    for (g = guests; g; g = g->next)
        if (strlen(g->name) == len && !memcmp(g->name, file, len))
            return g;
    g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    memcpy(g->name, file, len);
    snprintf(path, sizeof(path), "%s/%s", consoles, file);
    g->console = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/%s", results, g->name);
    g->result = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (g->console < 0 || g->result < 0) {
        if (g->console >= 0)
            close(g->console);
        if (g->result >= 0)
            close(g->result);
        free(g);
        return NULL;
    }
    g->next = guests;
    guests = g;
    return g;
}

static void forget(const struct guest *gone)
{
    for (struct guest **p = &guests; *p; p = &(*p)->next) {
        struct guest *g = *p;

        if (g != gone)
            continue;
        *p = g->next;
        close(g->console);
        close(g->result);
        free(g);
        return;
    }
}

static void take_event(const struct inotify_event *ev)
{
    struct guest *g = ev->len ? find(ev->name) : NULL;

    if (!g)
        return;
    if (ev->mask & IN_DELETE)
        forget(g);
    else
        read_console(g);
}

int main(int argc, char **argv)
{
    _Alignas(struct inotify_event) char buffer[16384];
    DIR *dir;
    int watch;

    if (argc != 3) {
        fputs("usage: pulse CONSOLES RESULTS\n", stderr);
        return 2;
    }
    consoles = argv[1];
    results = argv[2];
    watch = inotify_init1(IN_CLOEXEC);
    if (watch < 0 || inotify_add_watch(watch, consoles, IN_CREATE | IN_MODIFY | IN_DELETE) < 0) {
        fprintf(stderr, "pulse: %s: %s\n", consoles, strerror(errno));
        return 1;
    }
    dir = opendir(consoles); /* consoles that were there before the watch */
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct guest *g = find(e->d_name);

        if (g)
            read_console(g);
    }
    if (dir)
        closedir(dir);
    for (;;) {
        const ssize_t len = read(watch, buffer, sizeof(buffer));

        if (len < 0 && errno != EINTR)
            return 1;
        for (ssize_t at = 0; at < len;) {
            const struct inotify_event *ev = (const void *)(buffer + at);

            take_event(ev);
            at += (ssize_t)sizeof(*ev) + ev->len;
        }
    }
}
