/* probe.h - small facts that the kernel tells about this host. Parsers are pure; readers read the
 * files of /proc and /sys. What cannot be read or is nonsense is QUANTITY_UNKNOWN, never 0. */
#ifndef SKEIN_AGENT_IO_PROBE_H
#define SKEIN_AGENT_IO_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/units.h"

/* Pressure stall information: the share of the last 10 s in which some task waited, thousandths of
 * a percent. The text is that of /proc/pressure/X. */
milli probe_psi_parse(const char *text);

struct probe_pressure {
    milli cpu, memory, io;
};

void probe_pressure(struct probe_pressure *ret);

/* MiB that new programs could take without swapping: MemAvailable of /proc/meminfo's text. */
int64_t probe_available_parse(const char *meminfo);
int64_t probe_available_mib(void);

/* The table of mounts, /proc/self/mounts' text; the caller frees it. NULL: unreadable. */
char *probe_mounts(void);

/* The file system that path (absolute, clean) stands on, as the mounts say. False: none. Never
 * touches path itself: a dead NFS server must not hang us. */
struct probe_mount {
    char type[64];
    char target[256];
    bool shared; /* of a kind that other hosts mount too */
};

bool probe_mount_of(const char *mounts, const char *path, struct probe_mount *ret);

/* The paths of a device of several ("mpath-" of the device mapper's): all, and those that work, as
 * sysfs (mostly "/sys") says. False: path is no such device. */
struct probe_multipath {
    unsigned all, up;
};

bool probe_multipath(const char *sysfs, const char *path, struct probe_multipath *ret);

/* Names of the bridges (the kernel's and Open vSwitch's) that are up, sorted; the caller frees the
 * names and the array. */
char **probe_bridges(size_t *ret_n);

#endif
