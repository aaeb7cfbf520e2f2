/* council.h - groups of voters, one after the other, and this host's part in them.
 *
 * Within a group the voters are always the same: that is a consensus (consensus.h) of its own. Its
 * log ends with the first entry that names the next group and is accepted; what stands behind it in
 * that log never counts. The next group goes on from the state as of that entry, in later terms.
 *
 * Why no two groups decide at once: nobody founds a group before the entry that names it is known
 * to be committed; from then on nothing can be committed in the group before it, for whoever could
 * lead there has that entry and ends with it. Why nothing is lost: only hosts whose log reaches to
 * that entry can be elected in the new group. Why no host votes twice: it goes from a group to a
 * later one only, in one write, and its terms never go back.
 *
 * A voter is a host with its store. One with a new store is not that voter, and of the first group
 * one that has none yet votes only when all others said that they begin too (see careful).
 *
 * Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_COUNCIL_H
#define SKEIN_AGENT_IO_COUNCIL_H

#include "agent/core/group.h"
#include "agent/io/consensus.h"

struct council; /* opaque */

struct council_conf {
    const char *cluster;      /* its UUID */
    const char *self;         /* this host */
    const char *const *first; /* the first voters, as configured */
    size_t n_first;
    bool replaces; /* voters are replaced here: what others say of a group's end is heard */
    bool careful;  /* with an empty store it does not vote before council_follow gave it a group */
    unsigned election_timeout_ms, heartbeat_ms, snapshot_threshold, snapshot_trailing;
};

/* As those of consensus.h, but: */
struct council_callbacks {
    void *arg;
    int (*send)(void *arg, const char *host, const uint8_t *bytes, size_t len);
    /* True: it was accepted and names the next group, which is *ret_next. */
    bool (*on_apply)(void *arg, uint64_t index, uint64_t term, const void *bytes, size_t len,
                     struct voter_group *ret_next);
    void (*on_role)(void *arg, uint64_t term, bool is_leader, const char *leader);
    int (*snapshot)(void *arg, void **ret_bytes, size_t *ret_len, struct err *err);
    int (*restore)(void *arg, uint64_t index, const void *bytes, size_t len, struct err *err);
    void (*on_fail)(void *arg, const struct err *err);
    /* The newest group that is known, at the beginning and when it is another one. Before anything
     * of it is applied or restored. */
    void (*on_group)(void *arg, const struct council *council);
};

/* Opens what this host has of it. A host that does not vote has a council too: it knows who does.
 */
int council_open(const struct council_conf *conf, struct store *store, uv_loop_t *loop,
                 const struct council_callbacks *cb, struct council **ret, struct err *err);
void council_close(struct council *c, void (*closed)(void *arg), void *arg);

const struct voter_group *council_group(const struct council *c);
const struct voter_groups *council_groups(const struct council *c); /* and those before it */
uint64_t council_store(const struct council *c);                    /* of this host */
bool council_votes(const struct council *c);                        /* in that group, now */
bool council_is_new(const struct council *c); /* careful, and nothing is known of the first group */

/* As consensus_... ; of a host that does not vote ERR_NOT_LEADER. */
int council_propose(struct council *c, const void *bytes, size_t len, consensus_done_cb cb,
                    void *arg, struct err *err);
int council_receive(struct council *c, const char *from_host, const uint8_t *bytes, size_t len,
                    struct err *err);
int council_transfer(struct council *c, const char *host, struct err *err);
void council_status(const struct council *c, struct consensus_status *ret);

/* A majority of the voters of the group that this host knows say that this is the newest; or, of a
 * new host, that all begin with it. Older ones are not followed. said: what one of them knows of
 * those before it; or NULL. */
void council_follow(struct council *c, const struct voter_group *group,
                    const struct voter_groups *said);

#endif
