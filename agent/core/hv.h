/* hv.h - what the cores ask of a hypervisor and what it answers: plain copied structs.
 * The vtable that carries it out is agent/io/hypervisor.h; the calls block, and run in workers. */
#ifndef SKEIN_AGENT_CORE_HV_H
#define SKEIN_AGENT_CORE_HV_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/core/baseline.h"
#include "planner/core/migration.h"
#include "proto/err.h"
#include "proto/hash.h"
#include "proto/skein.pb-c.h"
#include "proto/units.h"

#define HV_NAME_MAX 256

/* The clock of the world that the hypervisors live in, as a line: it showed world when the wall
 * clock showed wall, and speed_milli thousandths of a second pass there in a real second. All 0, as
 * for real hypervisors: it is the wall clock. */
struct hv_clock {
    msec wall, world;
    uint32_t speed_milli;
};

/* How much time passes there in that much real time. */
static inline msec hv_clock_span(const struct hv_clock *clock, msec real)
{
    return clock->speed_milli == 0 ? real : sat_mul(real, (int64_t)clock->speed_milli) / 1000;
}

static inline msec hv_clock_at(const struct hv_clock *clock, msec wall)
{
    return clock->speed_milli == 0
               ? wall
               : sat_add(clock->world, hv_clock_span(clock, sat_sub(wall, clock->wall)));
}

enum hv_kind {
    HV_OBSERVE,     /* the host and all of its VMs -> detail */
    HV_LOOK,        /* one VM, here -> seen */
    HV_LOOK_REMOTE, /* one VM, at move.to, through that host's hypervisor: when its agent is silent
                     * -> seen */
    HV_PRECHECK,    /* source: can this VM leave for that host now? error code and message if not;
                     * else what it is like -> baseline */
    HV_EXAMINE,     /* source: all that is in the way of this VM's leaving -> findings */
    HV_ADMIT,       /* destination: can this VM arrive now? what its VmDetail needs is here */
    HV_BASELINE,    /* destination: what is a VM like that has arrived? -> baseline */
    HV_MIGRATE,     /* source: carry it out; blocks until done -> stats. ERR_CONFLICT: it was not
                     * begun, the VM is not running or has another job */
    HV_PROGRESS,    /* source: of the running job -> progress */
    HV_TUNE,        /* source: allow the running job a pause of move.first_downtime_ms */
    HV_POSTCOPY,  /* source: the running job's guest goes on at the destination now, and the rest of
                   * its memory follows; no way back from there */
    HV_ABORT,     /* source: abort the running job; ends HV_MIGRATE with ERR_CANCELLED. One that was
                   * switched to post-copy only loses its connection, and can be recovered */
    HV_TIDY,      /* source: remove the definition that a finished migration left behind; refuses
                   * unless the VM is shut off here */
    HV_RESUME,    /* source: a VM that an unfinished migration left paused goes on here; refuses
                   * unless that is why it is paused */
    HV_DISCARD,   /* source: remove such a VM, which was seen running at the destination; refuses
                   * likewise */
    HV_AUTOSTART, /* destination: a VM that arrived starts with its host, as it did where it came
                   * from: libvirt does not carry that over. Refuses unless it is active here */
    HV_SHUTDOWN,  /* source: ask the guest to shut down. OK: it was asked */
    HV_SUSPEND, /* source: save the VM's memory to disk, and stop it: it goes on from there when it
                 * is started. Blocks until done */
    HV_STANDBY, /* this host goes to sleep; refuses while a VM is active here. OK: it was ordered,
                 * or is over */
    HV_WAKE,    /* wakes move.to, whose card is mac, by this host's means; OK: it was ordered */
    HV_ASK,     /* planner, source: may this move begin, by the hooks of the gate rules? OK: yes;
                 * ERR_DENIED: no; all else: not yet */
    HV_OPEN,    /* destination, with a firewall: what move.sources sends may come in for
                 * move.timeout_ms */
    HV_CLOSE,   /* destination: no more */
    HV_KINDS
};

#define HV_MAC_SIZE 24 /* "52:54:00:12:34:56" */

/* hv_seen's reason of a VM that a migration has paused; of both ends of one that was switched to
 * post-copy; and of both ends of one that broke after that. */
#define HV_REASON_MIGRATING "migrating"
#define HV_REASON_POSTCOPY "post-copy"
#define HV_REASON_POSTCOPY_FAILED "post-copy failed"

/* One move. Empty strings and 0 mean "not asked for". */
struct hv_move {
    char uuid[UUID_SIZE];
    char vm[HV_NAME_MAX];
    char to[HV_NAME_MAX];                /* destination host's name */
    char migration_address[HV_NAME_MAX]; /* of the destination, as it said when it reserved */
    bool persistent;                     /* define at the destination, undefine here */
    struct migration_choice how;
    bool recover;               /* goes on with a post-copy that broke */
    uint32_t bandwidth_mib_s;   /* 0: no limit */
    uint32_t downtime_ms;       /* longest pause; 0: the hypervisor's default */
    uint32_t first_downtime_ms; /* to begin with, where HV_TUNE can allow more; 0: downtime_ms */
    uint32_t timeout_ms;        /* abort after this; 0: never */
    char sources[HV_NAME_MAX];  /* OPEN, CLOSE: addresses, separated by blanks */
};

struct hv_seen {
    bool present;
    Skein__VmState state;
    bool persistent;
    bool autostart;  /* starts with this host; false where it is not asked */
    bool job;        /* a migration job runs on it */
    msec job_ms;     /* for so long, in real time; 0: not known */
    char reason[64]; /* the hypervisor's reason for the state, "migrated" and the like */
};

struct hv_progress {
    bool running;  /* a job is there */
    bool postcopy; /* the guest runs at the destination already */
    uint64_t total_mib, remaining_mib, transferred_mib, elapsed_ms;
    uint32_t dirty_milli_mib_s, bandwidth_milli_mib_s, iteration;
};

struct hv_stats {
    uint32_t downtime_ms;
    uint64_t transferred_mib, elapsed_ms;
};

/* One thing that is in the way, for people. */
struct hv_finding {
    char code[32]; /* stable: "NO_DISK_LOCK" */
    bool advice;   /* it forbids no move */
    char evidence[512];
    char remedy[256];
};

#define HV_FINDINGS_MAX 32

struct hv_findings {
    struct hv_finding items[HV_FINDINGS_MAX];
    size_t n;
};

struct hv_job {
    uint64_t id;
    enum hv_kind kind;
    struct hv_move move;   /* all kinds but OBSERVE; of STANDBY and WAKE only to */
    char mac[HV_MAC_SIZE]; /* WAKE; "": not known */
    Skein__VmDetail *vm;   /* ADMIT: what will arrive; owned by the job */
    char *questions;       /* ASK: as hook_questions makes them; owned by the job */
};

struct hv_result {
    uint64_t job;
    enum hv_kind kind;
    struct err err;               /* code ERR_OK when it went well */
    Skein__HostDetail *detail;    /* OBSERVE; owned */
    struct hv_clock clock;        /* OBSERVE */
    struct hv_seen seen;          /* LOOK, LOOK_REMOTE */
    struct hv_progress progress;  /* PROGRESS */
    struct hv_stats stats;        /* MIGRATE */
    struct hv_findings *findings; /* EXAMINE; owned */
    struct baseline baseline;     /* PRECHECK, BASELINE; owned; empty: not known */
};

void hv_job_done(struct hv_job *job);
void hv_result_done(struct hv_result *result);

#endif
