/* power_driver.h - how this host goes to sleep and how it wakes others: by what the configuration
 * names. "suspend": the system's own suspend, and wake-on-LAN; "command": a program of the
 * operator's, for Redfish, IPMI and simulated hosts, run as COMMAND standby HOST, COMMAND wake HOST
 * MAC. Calls block, for minutes at most, and run in workers; an object may be used by several at
 * once. */
#ifndef SKEIN_AGENT_IO_POWER_DRIVER_H
#define SKEIN_AGENT_IO_POWER_DRIVER_H

#include "proto/err.h"

struct power_driver_conf {
    const char *driver;    /* "off", "suspend", "command" */
    const char *command;   /* absolute path */
    const char *broadcast; /* where wake-on-LAN is sent, an IPv4 address */
};

#define POWER_DRIVER_PACKET (6 + 16 * 6)

struct power_driver; /* opaque */

struct power_driver *
power_driver_new(const struct power_driver_conf *conf); /* strings are copied */
void power_driver_free(struct power_driver *p);         /* NULL is fine */

/* 0: it was ordered, or is over. What the command says on its standard error is the message. */
int power_driver_standby(const struct power_driver *p, const char *host, struct err *err);
int power_driver_wake(const struct power_driver *p, const char *host, const char *mac,
                      struct err *err);

/* "52:54:00:12:34:56": six pairs of hex digits. ret may be NULL. */
int power_driver_mac(const char *text, unsigned char ret[6], struct err *err);
/* The packet that wakes this card (AMD, Magic Packet Technology, 1995). */
void power_driver_packet(const unsigned char mac[6], unsigned char ret[POWER_DRIVER_PACKET]);

#endif
