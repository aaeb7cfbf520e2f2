#include "agent/io/http_crowd.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "proto/util.h"

struct guest_at {
    char network[HTTP_NETWORK_SIZE];
    int fd;
    msec since;
    bool shut;
    struct guest_at *next;
};

void http_network(const struct sockaddr *address, char ret[HTTP_NETWORK_SIZE])
{
    ret[0] = '\0';
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, ret, HTTP_NETWORK_SIZE);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
            inet_ntop(AF_INET, &in.sin6_addr.s6_addr[12], ret, HTTP_NETWORK_SIZE);
        } else {
            memset(&in.sin6_addr.s6_addr[8], 0, 8);
            inet_ntop(AF_INET6, &in.sin6_addr, ret, HTTP_NETWORK_SIZE);
        }
    }
}

bool crowd_admits(const struct crowd *crowd, const struct sockaddr *from, unsigned max)
{
    char network[HTTP_NETWORK_SIZE];
    unsigned n = 0;
    http_network(from, network);
    for (const struct guest_at *g = crowd->first; g != NULL; g = g->next)
        n += strcmp(g->network, network) == 0;
    return n < max;
}

struct guest_at *crowd_add(struct crowd *crowd, const struct sockaddr *from, int fd, msec now)
{
    struct guest_at *g = xcalloc(1, sizeof *g);
    http_network(from, g->network);
    g->fd = fd;
    g->since = now;
    g->next = crowd->first;
    crowd->first = g;
    return g;
}

void crowd_remove(struct crowd *crowd, struct guest_at *guest)
{
    struct guest_at **p = &crowd->first;
    while (*p != guest)
        p = &(*p)->next;
    *p = guest->next;
    free(guest);
}

void crowd_end(struct crowd *crowd, msec before)
{
    for (struct guest_at *g = crowd->first; g != NULL; g = g->next)
        if (!g->shut && g->since < before) {
            shutdown(g->fd, SHUT_RDWR); /* the server sees its end, and closes it */
            g->shut = true;
        }
}

msec crowd_since(const struct crowd *crowd)
{
    msec since = -1;
    for (const struct guest_at *g = crowd->first; g != NULL; g = g->next)
        if (!g->shut && (since < 0 || g->since < since))
            since = g->since;
    return since;
}
