/* council_seams.h - a council over other seams, for tests: no timer runs, call council_tick. */
#ifndef SKEIN_AGENT_IO_COUNCIL_SEAMS_H
#define SKEIN_AGENT_IO_COUNCIL_SEAMS_H

#include "agent/io/council.h"
#include "agent/io/raft_io.h"

#define COUNCIL_KEY_GROUP                                                                          \
    "voters.group" /* the newest group that is known, but the configured one */
#define COUNCIL_KEY_STORE "voters.store" /* this store's number, made by chance */

#define COUNCIL_KEY_CONFIGURED "voters.configured" /* digest of the first group, as configured */

struct council_seams {
    struct consensus_seams raft;
    /* As store_kv_get, with the disk's arg. */
    int (*kv_get)(void *arg, const char *key, void **ret_value, size_t *ret_len, struct err *err);
};

int council_open_over(const struct council_conf *conf, const struct council_seams *seams,
                      const struct council_callbacks *cb, struct council **ret, struct err *err);
void council_tick(struct council *c);

#endif
