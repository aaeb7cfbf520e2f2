/* consensus.h - the voters' agreement on one sequence of entries, and on who leads.
 *
 * Behind it stands libraft over the agent's store and mesh; nothing of it shows here, so that etcd
 * could stand behind it too. Only voters have one: other agents learn the committed entries from
 * voters.
 *
 * Promises: an entry whose proposal was answered with success is applied, in the same order, by
 * every voter, whatever minority of them fails; on_apply is called with growing indices, in this
 * process once for each entry that was proposed (a restore stands for those before it; what is
 * left out are the log's own entries); on_role(leader) comes only when all that was committed
 * before this term is applied here.
 *
 * A voter whose store is lost must not come back under its name before the others agree to it
 * (council.h, skein recover): it has forgotten its votes.
 *
 * Belongs to the loop thread. Callbacks may call consensus_propose, consensus_status and
 * consensus_close; of the caller's, only send runs inside consensus_propose. */
#ifndef SKEIN_AGENT_IO_CONSENSUS_H
#define SKEIN_AGENT_IO_CONSENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "agent/io/store.h"
#include "proto/err.h"

struct consensus;

#define CONSENSUS_VOTERS_MAX 7
#define CONSENSUS_HOST_MAX 255             /* bytes of a host's name */
#define CONSENSUS_ENTRY_MAX (2u << 20)     /* bytes of a proposal */
#define CONSENSUS_SNAPSHOT_MAX (32u << 20) /* bytes of the state machine's snapshot */
#define CONSENSUS_MESSAGE_MAX                                                                      \
    (256u << 10)                     /* bytes handed to send; what is larger goes in parts         \
                                      */
#define CONSENSUS_PROPOSALS_MAX 1024 /* not yet answered */

struct consensus_conf {
    const char *cluster;       /* its UUID: messages of another cluster are not heard */
    const char *const *voters; /* host names, any order, the same set on every voter */
    size_t n_voters;           /* 1 to CONSENSUS_VOTERS_MAX; odd is sensible */
    const char *self;          /* one of them */
    const uint8_t *group;      /* HASH_SIZE bytes: messages of another group are not heard; NULL */
    uint64_t base_index;       /* the log of all that can be elected reaches there; or 0 */
    unsigned election_timeout_ms; /* 0: 1000. A leader is given up after 1 to 2 times this */
    unsigned heartbeat_ms;        /* 0: a tenth of it */
    unsigned snapshot_threshold;  /* entries after which the log is compacted; 0: 1024 */
    unsigned snapshot_trailing;   /* entries kept behind a snapshot for laggards; 0: 256 */
};

/* arg is the one given with the callbacks. */
struct consensus_callbacks {
    void *arg;

    /* Send to a voter; the bytes are copied. Best effort and unordered: 0, or negative when it is
     * known that it cannot arrive. Must not call back into consensus. */
    int (*send)(void *arg, const char *host, const uint8_t *bytes, size_t len);

    /* A committed entry; bytes live for the call. Must succeed: whether it makes sense is decided
     * from the state, and so alike everywhere. */
    void (*on_apply)(void *arg, uint64_t index, uint64_t term, const void *bytes, size_t len);

    /* The role changed: is_leader, or leader is who is believed to lead (NULL: nobody known). */
    void (*on_role)(void *arg, uint64_t term, bool is_leader, const char *leader);

    /* The whole state as of the last on_apply, in malloc memory that is handed over. */
    int (*snapshot)(void *arg, void **ret_bytes, size_t *ret_len, struct err *err);

    /* Replace the whole state; index is the last entry that it holds. A failure ends this voter. */
    int (*restore)(void *arg, uint64_t index, const void *bytes, size_t len, struct err *err);

    /* This voter has stopped for good (its disk failed, or its state contradicts the others'). It
     * answers nothing any more; the process should end. Once. */
    void (*on_fail)(void *arg, const struct err *err);
};

/* Restores from the store: restore and on_apply may be called before it returns (entries known to
 * be committed); the rest follows when a leader is known. ERR_INVALID: the configuration.
 * ERR_CONFLICT: the store belongs to another set of voters. ERR_IO: its content is not sound. */
int consensus_open(const struct consensus_conf *conf, struct store *store, uv_loop_t *loop,
                   const struct consensus_callbacks *cb, struct consensus **ret, struct err *err);

/* Stop; unanswered proposals are answered with ERR_UNKNOWN; then closed is called. The store stays
 * open until then. */
void consensus_close(struct consensus *c, void (*closed)(void *arg), void *arg);

/* err NULL: entry index is committed and was applied here just now. ERR_NOT_LEADER: it was not
 * taken. ERR_UNKNOWN: leadership was lost, it may be committed yet. */
typedef void (*consensus_done_cb)(void *arg, uint64_t index, const struct err *err);

/* Copies the bytes. 0: cb (which may be NULL) is called later, once. Refused now, without cb:
 * ERR_NOT_LEADER (the message names the leader where known), ERR_LIMIT, ERR_INVALID (empty or too
 * big), ERR_IO (stopped). */
int consensus_propose(struct consensus *c, const void *bytes, size_t len, consensus_done_cb cb,
                      void *arg, struct err *err);

/* A message that arrived from an authenticated host. Anything that is not a sound message of
 * another voter is refused: ERR_DENIED, ERR_INVALID; the state is then unchanged. */
int consensus_receive(struct consensus *c, const char *from_host, const uint8_t *bytes, size_t len,
                      struct err *err);

/* Hand leadership to a voter, or to the best one (NULL). Leaders only; the outcome is on_role. */
int consensus_transfer(struct consensus *c, const char *host, struct err *err);

/* What messages of this group begin with; the term of an entry of the log, 0: it is not there. */
uint64_t consensus_group(const struct consensus *c);
uint64_t consensus_term_at(const struct consensus *c, uint64_t index);

struct consensus_status {
    bool leader;             /* as told by on_role */
    const char *leader_host; /* lives as long as the consensus; NULL: nobody known */
    uint64_t term, commit_index, applied_index, last_index, snapshot_index;
    size_t proposals; /* not yet answered */
    bool failed;
    uint64_t refused_messages; /* not from a voter, or not sound */
};

void consensus_status(const struct consensus *c, struct consensus_status *ret);

#endif
