/* host_order.h - what the commands about hosts share: a signed order that names hosts. */
#ifndef SKEIN_AGENT_CTL_HOST_ORDER_H
#define SKEIN_AGENT_CTL_HOST_ORDER_H

#include "agent/ctl/sign.h"

#define HOST_ORDER_MAX 64 /* hosts that one order may name */

/* {"type", "hosts"}; NULL when a name is not UTF-8. */
json_t *host_order(const char *type, char *const *hosts, size_t n);
/* Takes command (NULL: said to be an error). */
int host_order_sign(const struct cli *cli, const struct sign_args *sign, json_t *command,
                    json_t **ret, struct err *err);
void host_order_dry_run(const json_t *command);

#endif
