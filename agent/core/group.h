/* group.h - a group of voters: who they are, and where in the log it began. Pure.
 *
 * A voter is a host with one certain store: a host that lost its store has forgotten how it voted,
 * and is not that voter any more. */
#ifndef SKEIN_AGENT_CORE_GROUP_H
#define SKEIN_AGENT_CORE_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/hash.h"
#include "proto/skein.pb-c.h"

#define GROUP_VOTERS_MAX 7
#define GROUP_HOST_MAX 255

struct group_voter {
    char host[GROUP_HOST_MAX + 1];
    uint64_t store; /* 0: any */
};

struct voter_group {
    uint64_t number;                             /* the first is 1 */
    uint8_t previous[HASH_SIZE];                 /* of the first: zeros */
    struct group_voter voters[GROUP_VOTERS_MAX]; /* sorted by host */
    size_t n;
    char reason[200];
    uint64_t index, term; /* of the entry that named it; 0: the first, or not yet committed */
};

/* The first group, as a configuration names it: any order, stores not known. */
int group_first(const char *const *hosts, size_t n, struct voter_group *ret, struct err *err);

/* The voter of this host, or NULL. */
const struct group_voter *group_find(const struct voter_group *g, const char *host);
/* Is the host with this store one of them? */
bool group_has(const struct voter_group *g, const char *host, uint64_t store);

/* The same bytes everywhere; malloc memory. */
uint8_t *group_pack(const struct voter_group *g, size_t *ret_len);
int group_read(const Skein__VoterGroup *message, struct voter_group *ret, struct err *err);
Skein__VoterGroup *
group_message(const struct voter_group *g); /* skein__voter_group__free_unpacked */
void group_digest(const struct voter_group *g, uint8_t ret[HASH_SIZE]);
bool group_same(const struct voter_group *a, const struct voter_group *b);

/* The last groups that are known, oldest first; each follows the one before, or some between them
 * are not known. */
#define GROUPS_KEPT 8

struct voter_groups {
    struct voter_group list[GROUPS_KEPT];
    size_t n;
};

void groups_add(struct voter_groups *gs, const struct voter_group *g); /* the newest */
/* g is the newest now, with those before it that said holds: each vouches for the one before. */
void groups_follow(struct voter_groups *gs, const struct voter_groups *said,
                   const struct voter_group *g);
/* The one that follows g; or, where it is not known, the newest that is later; or NULL. */
const struct voter_group *groups_after(const struct voter_groups *gs, const struct voter_group *g);
Skein__VoterGroups *groups_message(const struct voter_groups *gs);
int groups_read(const Skein__VoterGroups *message, struct voter_groups *ret, struct err *err);
uint8_t *groups_pack(const struct voter_groups *gs, size_t *ret_len);
int groups_unpack(const uint8_t *bytes, size_t len, struct voter_groups *ret, struct err *err);

/* The group after g, without one voter or with one more, or both. Neither index nor term yet. */
int group_next(const struct voter_group *g, const char *add, uint64_t store, const char *remove,
               const char *reason, struct voter_group *ret, struct err *err);
/* May next follow g: its successor, of which one voter is other? Three voters and more stay three.
 */
int group_check_next(const struct voter_group *g, const struct voter_group *next, struct err *err);

#endif
