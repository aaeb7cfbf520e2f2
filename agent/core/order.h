/* order.h - standing orders: an admin's signature that approves, in advance, the plans of one exact
 * policy within bounds: that is what "automatic" means. Pure.
 *
 * The signed command: {"type": "order", "name", "policy", "policy_digest", "classes": [...],
 * "hosts": [...], "max_actions", "moves_per_hour", "windows": ["mon-fri 22:00-06:00"...],
 * "rollback"}. It ends when its envelope expires. Empty lists and 0 do not bound. Whoever acts
 * verifies it, and counts the moves of the last hour, for himself. */
#ifndef SKEIN_AGENT_CORE_ORDER_H
#define SKEIN_AGENT_CORE_ORDER_H

#include <jansson.h>

#include "agent/core/plan.h"
#include "proto/window.h"

#define ORDER_HOSTS_MAX 32
#define ORDER_CLASSES_MAX 8
#define ORDER_WINDOWS_MAX 4
#define ORDER_MOVES_MAX 1000 /* an hour */

struct order {
    char name[65], policy[129], policy_digest[HASH_HEX_SIZE];
    char classes[ORDER_CLASSES_MAX][32], hosts[ORDER_HOSTS_MAX][65];
    struct window windows[ORDER_WINDOWS_MAX];
    size_t n_classes, n_hosts, n_windows;
    unsigned max_actions;    /* of a plan; 0: not bounded */
    unsigned moves_per_hour; /* at least 1 */
    bool rollback;
};

/* Every field well formed, nothing unknown. */
int order_read(const json_t *command, struct order *ret, struct err *err);
/* Is this plan within its bounds (budget apart) at wall? 0, or ERR_DENIED and why not. */
int order_covers(const struct order *o, const struct plan_body *body, msec wall, struct err *err);

#endif
