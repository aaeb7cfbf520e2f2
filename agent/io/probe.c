#include "agent/io/probe.h"

#include <dirent.h>
#include <limits.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/util.h"

#define FILE_MAX (256u << 10) /* /proc/self/mounts of a busy container host is far smaller */
#define BRIDGES_MAX 256

/* The file's text, or NULL. */
static char *read_text(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    char *text = xmalloc(FILE_MAX);
    size_t n = fread(text, 1, FILE_MAX - 1, f);
    bool bad = ferror(f) != 0;
    fclose(f);
    text[n] = '\0';
    if (bad) {
        free(text);
        return NULL;
    }
    return xrealloc(text, n + 1, 1);
}

/* Digits with at most two decimals, as the kernel writes averages, in thousandths. */
static milli parse_average(const char *s)
{
    char *end;
    if (*s < '0' || *s > '9')
        return QUANTITY_UNKNOWN;
    long whole = strtol(s, &end, 10);
    long part = 0;
    if (*end == '.' && end[1] >= '0' && end[1] <= '9') {
        part = (end[1] - '0') * 100;
        if (end[2] >= '0' && end[2] <= '9')
            part += (end[2] - '0') * 10;
    }
    return whole > 100 ? QUANTITY_UNKNOWN : whole * 1000 + part;
}

milli probe_psi_parse(const char *text)
{
    if (strncmp(text, "some ", 5) != 0)
        return QUANTITY_UNKNOWN;
    const char *at = strstr(text, "avg10=");
    const char *end = strchrnul(text, '\n');
    return at != NULL && at < end ? parse_average(at + 6) : QUANTITY_UNKNOWN;
}

static milli read_psi(const char *path)
{
    _cleanup_(freep) char *text = read_text(path);
    return text != NULL ? probe_psi_parse(text) : QUANTITY_UNKNOWN;
}

void probe_pressure(struct probe_pressure *ret)
{
    ret->cpu = read_psi("/proc/pressure/cpu");
    ret->memory = read_psi("/proc/pressure/memory");
    ret->io = read_psi("/proc/pressure/io");
}

int64_t probe_available_parse(const char *meminfo)
{
    static const char key[] = "MemAvailable:";
    const char *at = strstr(meminfo, key);
    unsigned long long kib;
    char unit[3];
    if (at == NULL || (at != meminfo && at[-1] != '\n') ||
        sscanf(at + sizeof key - 1, "%19llu %2s", &kib, unit) != 2 || strcmp(unit, "kB") != 0)
        return QUANTITY_UNKNOWN;
    return (int64_t)(kib / 1024);
}

int64_t probe_available_mib(void)
{
    _cleanup_(freep) char *text = read_text("/proc/meminfo");
    return text != NULL ? probe_available_parse(text) : QUANTITY_UNKNOWN;
}

char *probe_mounts(void)
{
    return read_text("/proc/self/mounts");
}

static bool type_is_shared(const char *type)
{
    static const char *const shared[] = {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "ceph",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "glusterfs",
        "fuse.glusterfs",
        "ocfs2",
        "gfs2",
        "gfs",
        "lustre",
        "gpfs",
        "beegfs",
        "fuse.moosefs",
        "fuse.mfs",
        "afs",
        "pvfs2",
        "fuse.quobyte",
        "acfs",
    };
    for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
        if (strcmp(type, shared[i]) == 0)
            return true;
    return false;
}

/* A field of a mounts line, its octal escapes undone, up to size; returns where it ends. */
static const char *mount_field(const char *s, char *ret, size_t size)
{
    size_t n = 0;
    while (*s != '\0' && *s != ' ' && *s != '\n') {
        int c = (unsigned char)*s++;
        unsigned code;
        if (c == '\\' && sscanf(s, "%3o", &code) == 1 && code < 256) {
            c = (int)code;
            s += strspn(s, "01234567") < 3 ? strspn(s, "01234567") : 3;
        }
        if (n + 1 < size)
            ret[n++] = (char)c;
    }
    ret[n] = '\0';
    return *s == ' ' ? s + 1 : s;
}

static bool is_below(const char *path, const char *target)
{
    size_t n = strlen(target);
    if (strcmp(target, "/") == 0)
        return true;
    return strncmp(path, target, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

bool probe_mount_of(const char *mounts, const char *path, struct probe_mount *ret)
{
    char device[8];
    bool found = false;
    for (const char *line = mounts; *line != '\0';) {
        struct probe_mount m;
        const char *s = mount_field(line, device, sizeof device);
        s = mount_field(s, m.target, sizeof m.target);
        mount_field(s, m.type, sizeof m.type);
        /* of equal targets the later line covers the earlier */
        if (is_below(path, m.target) && (!found || strlen(m.target) >= strlen(ret->target))) {
            *ret = m;
            found = true;
        }
        line = strchrnul(line, '\n');
        line += *line == '\n';
    }
    if (found)
        ret->shared = type_is_shared(ret->type);
    return found;
}

static bool starts_with(const char *file, const char *start)
{
    _cleanup_(freep) char *text = read_text(file);
    return text != NULL && strncmp(text, start, strlen(start)) == 0;
}

bool probe_multipath(const char *sysfs, const char *path, struct probe_multipath *ret)
{
    char real[PATH_MAX];
    const char *name = realpath(path, real) != NULL ? strrchr(real, '/') : strrchr(path, '/');
    if (name == NULL || strncmp(name, "/dm-", 4) != 0)
        return false;
    _cleanup_(freep) char *uuid = xasprintf("%s/block%s/dm/uuid", sysfs, name);
    _cleanup_(freep) char *slaves = xasprintf("%s/block%s/slaves", sysfs, name);
    DIR *dir = starts_with(uuid, "mpath-") ? opendir(slaves) : NULL;
    if (dir == NULL)
        return false;
    *ret = (struct probe_multipath){0};
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        _cleanup_(freep) char *state = xasprintf("%s/%s/device/state", slaves, e->d_name);
        ret->all++;
        ret->up += starts_with(state, "running");
    }
    closedir(dir);
    return true;
}

static bool is_bridge(int fd, const char *name)
{
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
    struct ifreq request = {.ifr_data = (char *)&info};
    memcpy(request.ifr_name, name, strlen(name) + 1);
    if (ioctl(fd, SIOCETHTOOL, &request) < 0)
        return false;
    return strcmp(info.driver, "bridge") == 0 || strcmp(info.driver, "openvswitch") == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char **probe_bridges(size_t *ret_n)
{
    *ret_n = 0;
    struct if_nameindex *all = if_nameindex();
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char **names = xcalloc(BRIDGES_MAX, sizeof *names);
    for (struct if_nameindex *i = all; fd >= 0 && i != NULL && i->if_index != 0; i++) {
        struct ifreq request = {0};
        if (*ret_n == BRIDGES_MAX || strlen(i->if_name) >= sizeof request.ifr_name)
            continue;
        memcpy(request.ifr_name, i->if_name, strlen(i->if_name) + 1);
        if (ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0 &&
            is_bridge(fd, i->if_name))
            names[(*ret_n)++] = xstrdup(i->if_name);
    }
    if (fd >= 0)
        close(fd);
    if (all != NULL)
        if_freenameindex(all);
    qsort(names, *ret_n, sizeof *names, compare_names);
    return names;
}
