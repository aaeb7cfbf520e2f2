/* consensus_impl.h - what consensus.c (the work) and consensus_open.c (the beginning) share. */
#ifndef SKEIN_AGENT_IO_CONSENSUS_IMPL_H
#define SKEIN_AGENT_IO_CONSENSUS_IMPL_H

#include "agent/io/raft_io.h"
#include "proto/util.h"

/* One group at a time is under way: libraft commits only up to what its leader wrote last, so a
 * stream of single entries could keep it from ever committing. */
#define GROUP_MAX 64

struct proposal {
    struct proposal *next;
    void *bytes; /* raft_malloc; NULL once handed to libraft */
    size_t len;
    consensus_done_cb cb;
    void *arg;
};

struct role {
    uint64_t term;
    bool leader;
    const char *host; /* of conf.voters; NULL: nobody known */
};

struct consensus {
    struct consensus_conf conf; /* voters: owned copies, sorted */
    char *voters[CONSENSUS_VOTERS_MAX];
    char *cluster;
    size_t self;
    struct consensus_callbacks cb;
    struct consensus_seams seams;
    struct store *store;
    struct raft_backend *backend;
    struct raft raft;
    struct raft_fsm fsm;
    bool raft_ready; /* raft_init was called */
    uv_timer_t timer;
    bool has_timer;

    unsigned depth; /* of enter */
    bool quiet;     /* inside consensus_propose or _open: no callbacks but send */

    struct raft_barrier barrier;
    uint64_t barrier_term; /* of the barrier under way or done */
    uint64_t ready_term;   /* of the barrier done: this leader has applied all before it */
    struct role told;

    struct proposal *waiting, **waiting_end;
    struct proposal *group[GROUP_MAX]; /* under way */
    size_t group_n, group_done;
    uint64_t group_index, group_term; /* of its first entry */
    struct raft_apply apply;
    size_t proposals;

    struct raft_transfer transfer;
    raft_id transfer_to;     /* wanted: a voter, or ANY_VOTER; 0: nobody */
    uint64_t transfer_until; /* not later */

    struct err failure;
    bool failed, fail_told;
    bool closing, raft_closing, raft_closed;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Around everything that reaches libraft; what follows from it is done in the last leave. */
void consensus_enter(void *consensus);
void consensus_leave(void *consensus);

void consensus_set_fsm(struct consensus *c);
void consensus_free(struct consensus *c); /* the memory; libraft is closed or was never started */
DEFINE_CLEANUP(struct consensus, consensus_free)

#endif
