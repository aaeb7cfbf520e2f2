/* transport_parts.h - the transport's insides, for its own files:
 *   transport.c   the public face: configuration, queries, the loop's calls
 *   socket.c      ZMQ_STREAM and its traps: routing ids, tombstones, sending
 *   link.c        one link's life
 *   dial.c        the addresses to which links are kept
 * Invariants: a link in t->links has a route or is failed; a host in t->hosts has one current
 * link, whose state is LINK_UP; links die in link_reap alone, so that no callback pulls one from
 * under its caller. */
#ifndef SKEIN_TLS_TRANSPORT_PARTS_H
#define SKEIN_TLS_TRANSPORT_PARTS_H

#include "tls/hello.h"
#include "tls/transport.h"
#include "tls/wire.h"

#define TABLE_SIZE 1024 /* buckets; chains stay short at the greatest number of links */

struct link;

/* What a routing id of the socket stands for. Ids are never used again, but notices and data of
 * a closed link still come for a while: then link is NULL, and what comes is dropped. */
struct route {
    uint32_t id;
    struct link *link; /* NULL: a tombstone */
    msec until;        /* of a tombstone */
    struct route *next;
};

enum dial_state {
    DIAL_WAITING, /* until at */
    DIAL_BUSY,    /* its link is under way or up */
    DIAL_PARKED,  /* the host behind it is linked otherwise */
};

struct dial {
    char address[TRANSPORT_ADDRESS_SIZE];
    enum dial_state state;
    msec at;
    unsigned failures;    /* in a row */
    struct link *link;    /* DIAL_BUSY */
    char host[NAME_SIZE]; /* who answered there last; "" before */
};

struct link {
    struct transport *t;
    uint64_t id;       /* the dialler's number when dialled by us */
    uint64_t sequence; /* the dialler's number, ours or theirs */
    uint32_t route;
    enum transport_link_state state;
    bool dialled;
    bool blocked; /* ZeroMQ takes no more now */
    bool waits;   /* what was queued goes at the end of the turn */
    char address[TRANSPORT_ADDRESS_SIZE];
    struct dial *dial; /* dialled by us, and still wanted */
    struct wire *wire; /* owned; NULL while LINK_CONNECTING */
    struct transport_peer peer;
    msec since, born, last_in, ping_at, rtt;
    bool pinged; /* ping_at awaits its answer */
    bool failed;
    struct err why; /* failed: as told to the callbacks */
    bool say_bye;   /* failed: by us, so the peer may be told why */
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    size_t index; /* in t->links */
    struct link *next_host;
};

struct transport {
    struct transport_conf conf; /* strings owned below; defaults filled in */
    char *host, *listen, *advertise, *directory, *version;
    void *zmq, *socket;
    struct creds *creds;
    struct link **links;
    size_t n_links, cap_links, n_unjoined, n_failed, n_blocked, n_waiting;
    struct dial **dials;
    size_t n_dials, cap_dials, n_busy; /* n_busy: dialled and not joined yet */
    struct route *routes[TABLE_SIZE];
    struct link *hosts[TABLE_SIZE];
    uint64_t next_id, random;
    msec now, deadline, next_sweep;
    bool more;    /* the last process stopped at its budget */
    bool drained; /* nothing was left to read, and no call since may have taken its signal */
};

/* socket.c */
int socket_open(struct transport *t, struct err *err);
void socket_close(struct transport *t);
struct route *route_find(struct transport *t, uint32_t id);
void route_add(struct transport *t, uint32_t id, struct link *link);
void routes_sweep(struct transport *t);
void routes_free(struct transport *t);
int socket_connect(struct transport *t, const char *address, uint32_t *ret_route, struct err *err);
void socket_drop(struct transport *t, const struct link *link); /* closes, leaves a tombstone */
/* 0 sent, 1 no room now, negative failed */
int socket_send(struct transport *t, uint32_t route, const void *bytes, size_t len,
                struct err *err);
bool socket_readable(struct transport *t);
/* One message; false when there is none. */
bool socket_receive(struct transport *t);

/* link.c */
struct link *link_new(struct transport *t, bool dialled, uint32_t route, const char *address);
void link_free(struct link *link);
void link_connected(struct link *link);
void link_input(struct link *link, const void *bytes, size_t len);
void link_flush(struct link *link);
int link_send(struct link *link, const void *bytes, size_t len, struct err *err);
void link_fail(struct link *link, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void link_fail_err(struct link *link, const struct err *err);
msec link_tick(struct link *link); /* when it wants to be called next */
void links_reap(struct transport *t);
struct link *link_current(const struct transport *t, const char *host);

/* dial.c */
struct dial *dial_find(const struct transport *t, const char *address);
void dial_add(struct transport *t, const char *address);
void dial_remove(struct transport *t, struct dial *dial);
void dial_park(struct link *link);                      /* another link to its host is current */
void dial_ended(struct link *link);                     /* its link is gone: wait, then again */
void dials_wake(struct transport *t, const char *host); /* the host is not linked any more */
msec dials_tick(struct transport *t);
void dials_free(struct transport *t);

/* transport.c */
void transport_want(struct transport *t, msec at); /* tick no later than that */
uint64_t transport_random(struct transport *t);
msec transport_wall(const struct transport *t);

#endif
