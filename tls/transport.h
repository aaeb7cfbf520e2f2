/* transport.h - links to other agents: TLS 1.3 with certificates on both sides, over one
 * ZMQ_STREAM socket for all of them.
 *
 * A link counts as joined once both sides have proved to be agents of this cluster (certificate
 * under the machines root, spiffe://CLUSTER/host/NAME, not revoked) and have exchanged HELLO and
 * HELLO-ACK: in TLS 1.3 the dialler finishes before the other side has judged its certificate.
 * Nothing of an unjoined link reaches on_frame.
 *
 * At most one link to a host is current. When both dial each other, both keep, by the same rule,
 * the one of the peer's newest life, then the one dialled by the host whose name sorts first, then
 * the newest; the other is read until it is empty and closed, with no on_down. Frames keep their
 * order within one link; what was on its way when a link breaks is lost.
 *
 * Not thread-safe; owned by one loop, which it knows nothing of: watch transport_fd for reading
 * (edge-triggered: before sleeping ask transport_pending), call transport_process when it is
 * readable or something is pending, transport_tick at the moment that it named. Callbacks run
 * inside these two alone; they may call transport_send, _dial, _undial, _close and the queries.
 * Frames to one peer go together: at the end of these two, or when transport_pending is asked. now
 * is a monotonic clock in milliseconds, the same for all calls. */
#ifndef SKEIN_TLS_TRANSPORT_H
#define SKEIN_TLS_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/units.h"
#include "proto/util.h"
#include "tls/names.h"

#define TRANSPORT_ADDRESS_SIZE 64 /* "IP:PORT" or "[IP]:PORT", and a NUL */

struct transport; /* opaque */

/* What a joined peer said of itself. */
struct transport_peer {
    char host[NAME_SIZE];
    char listen[TRANSPORT_ADDRESS_SIZE]; /* where it can be dialled; "" when it did not say */
    char version[NAME_SIZE];
    uint64_t incarnation;
};

struct transport_conf {
    struct cluster cluster;
    const char *host;        /* own name, as in host.pem */
    const char *listen;      /* "IP:PORT"; NULL: dial only */
    const char *advertise;   /* told to peers; NULL: listen */
    const char *directory;   /* machines.pem, crl.pem, host.pem, host.key */
    const char *version;     /* told to peers, for people */
    uint64_t incarnation;    /* wall ms at the agent's start: grows with each life */
    uint64_t seed;           /* of the jitter of redialling */
    msec (*wall)(void *arg); /* wall clock, for certificates; NULL: the system's */

    /* 0: the default, which is what the comment says */
    size_t max_frame;   /* 1 MiB; at most 16 MiB - 1 */
    size_t max_queue;   /* bytes waiting for one peer: 4 MiB */
    unsigned max_links; /* both ways, joined or not: 1024; half of them may be not yet joined */
    unsigned max_dials; /* under way at once: 32 */
    msec handshake_ms;  /* from connection to joined: 10 s (2 s failed with 1000 dials at once) */
    msec connect_ms;    /* from dial to connection: 3 s */
    msec ping_ms;       /* silence after which a peer is asked: 2 s */
    msec silence_ms;    /* silence after which a link is given up: 10 s */
    msec redial_min_ms, redial_max_ms; /* 250 ms, doubled each time up to 15 s, with jitter */

    void *arg; /* of the callbacks */
    /* A link is joined and current. peer is borrowed. Again for a host that is up: never, except
     * after on_down. */
    void (*on_up)(void *arg, const struct transport_peer *peer);
    void (*on_down)(void *arg, const char *host, const char *reason);
    void (*on_frame)(void *arg, const char *host, const uint8_t *bytes, size_t len);
    /* Optional: whether a host that proved who it is may join at all (membership). err may say
     * why not. */
    bool (*may_join)(void *arg, const struct transport_peer *peer, struct err *err);
    /* Optional: a link was refused or failed before it was joined. address is as dialled, or the
     * caller's IP. For the log and the audit. */
    void (*on_refused)(void *arg, const char *address, const struct err *err);
};

/* Binds and loads; conf's strings are copied. */
int transport_new(const struct transport_conf *conf, struct transport **ret, struct err *err);
void transport_free(struct transport *t); /* closes all, calls nothing back; NULL is fine */
DEFINE_CLEANUP(struct transport, transport_free)

int transport_fd(const struct transport *t);
bool transport_pending(struct transport *t);

/* Take in at most budget messages (of at most 8 KiB each) and do what follows from them. Returns
 * whether more is left: then call again before sleeping, after letting others run. */
bool transport_process(struct transport *t, msec now, unsigned budget);

/* Do what is due. Returns when to be called next at the latest; any transport_send, _dial or
 * _process may bring that forward to at most 20 ms from then: ask transport_deadline. */
msec transport_tick(struct transport *t, msec now);
msec transport_deadline(const struct transport *t);

/* Keep a link to that address: dialled at once if the pace allows, redialled whenever it is down
 * and the host behind it is not linked otherwise. ERR_INVALID when it is no "IP:PORT"; dialling
 * one twice is fine. */
int transport_dial(struct transport *t, const char *address, struct err *err);
void transport_undial(struct transport *t, const char *address); /* a joined link stays */

/* Cut the link to a host; on_down follows. A dialled address is redialled unless undialled. */
void transport_close(struct transport *t, const char *host, const char *reason);

/* Queue one frame. ERR_UNAVAILABLE when the host is not joined, ERR_CAPACITY when its queue is
 * full (nothing is queued then), ERR_LIMIT when the frame is too large. */
int transport_send(struct transport *t, const char *host, const void *bytes, size_t len,
                   struct err *err);
bool transport_is_up(const struct transport *t, const char *host);

/* Read the files again and judge all links anew: one whose certificate is revoked now, or not
 * under the root now, is cut. On error nothing changes. New links use the new certificate. */
int transport_reload(struct transport *t, struct err *err);

enum transport_link_state {
    LINK_CONNECTING,  /* dialled, no connection yet */
    LINK_HANDSHAKING, /* TLS */
    LINK_GREETING,    /* HELLO sent or awaited */
    LINK_UP,          /* current */
    LINK_DRAINING,    /* another one is current: read until it ends */
};

struct transport_link {
    uint64_t id; /* unique in this transport's life */
    enum transport_link_state state;
    bool dialled;                         /* by us */
    char address[TRANSPORT_ADDRESS_SIZE]; /* dialled, or the caller's IP */
    struct transport_peer peer;           /* zero before the state is UP */
    char key[HASH_HEX_SIZE];              /* SPKI SHA-256 of its certificate; "" before TLS */
    msec expires_wall;                    /* its certificate's end; QUANTITY_UNKNOWN before */
    msec since;                           /* when it came into this state */
    msec rtt_ms;                          /* of the last ping; QUANTITY_UNKNOWN before */
    size_t queued;                        /* bytes */
    uint64_t frames_in, frames_out, bytes_in, bytes_out; /* bytes on the wire */
};

/* All links, in no order; stop when visit returns false. */
void transport_links(const struct transport *t,
                     bool (*visit)(void *arg, const struct transport_link *link), void *arg);

/* Own certificate's end, and the revocation list's nextUpdate (QUANTITY_UNKNOWN: no list). */
void transport_validity(const struct transport *t, msec *ret_certificate, msec *ret_crl);

#endif
