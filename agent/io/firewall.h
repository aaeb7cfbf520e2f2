/* firewall.h - the ports on which this host receives migrations, closed but to those whose
 * reservation lives: a table of nftables' own ("inet skein"), which refuses new connections to
 * these ports from any address that is not in its sets. Addresses leave the sets when their time is
 * over, also when this agent is dead; connections that stand are not looked at. Calls block, and
 * run in workers, several at once. NULL as a firewall is none. */
#ifndef SKEIN_AGENT_IO_FIREWALL_H
#define SKEIN_AGENT_IO_FIREWALL_H

#include "proto/err.h"
#include "proto/units.h"

struct firewall; /* opaque */

/* Closes the ports ("49152-49215") and makes sure that this works. They stay closed when the agent
 * ends. */
int firewall_new(const char *ports, struct firewall **ret, struct err *err);
void firewall_free(struct firewall *f);

/* sources: addresses, separated by blanks; what is no address is left out, one must be. */
int firewall_open(struct firewall *f, const char *sources, msec time, struct err *err);
int firewall_close(struct firewall *f, const char *sources, struct err *err);
/* Somebody may have flushed all rules: made again, once a minute. */
void firewall_keep(struct firewall *f);

/* What nft is told, to be freed; for tests. time 0: to close. NULL: none is an address. */
char *firewall_script(const char *ports, const char *sources, msec time);

#endif
