/* http_crowd.h - who is connected to a door where anybody may come: from which networks, since
 * when. Nobody there holds all places, and none for long: a connection ends after a while, whatever
 * it does. Belongs to the loop thread. */
#ifndef SKEIN_AGENT_IO_HTTP_CROWD_H
#define SKEIN_AGENT_IO_HTTP_CROWD_H

#include <stdbool.h>
#include <sys/socket.h>

#include "proto/units.h"

/* Whom an address belongs to, as far as can be told: an IPv4 address, or an IPv6 network of /64,
 * of which one host has as many addresses as it likes. "" for other families. */
#define HTTP_NETWORK_SIZE 48
void http_network(const struct sockaddr *address, char ret[HTTP_NETWORK_SIZE]);

struct guest_at; /* opaque */

struct crowd {
    struct guest_at *first; /* owned */
};

/* May one more come from there, with max of one network? */
bool crowd_admits(const struct crowd *crowd, const struct sockaddr *from, unsigned max);
/* A connection came (by its descriptor), and went. */
struct guest_at *crowd_add(struct crowd *crowd, const struct sockaddr *from, int fd, msec now);
void crowd_remove(struct crowd *crowd, struct guest_at *guest);
/* Shut those that came before; mono. */
void crowd_end(struct crowd *crowd, msec before);
/* When the first of those that are not shut came; mono; -1: nobody. */
msec crowd_since(const struct crowd *crowd);

#endif
