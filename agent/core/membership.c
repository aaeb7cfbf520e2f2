#include "agent/core/membership.h"

#include "agent/core/gossip_wire.h"

struct peer { /* a link stands */
    gossip_id id;
    char *host; /* owned */
};

struct membership {
    struct view *view;
    struct gossip *gossip; /* made at the first event: it needs to know when that is */
    struct gossip_conf conf;
    uint64_t seed;
    membership_news_cb on_news;
    void *arg;
    struct gossip_out out;
    struct peer *peers;
    size_t n_peers, cap_peers;
};

struct membership *membership_new(struct view *view, uint64_t seed, membership_news_cb on_news,
                                  void *arg)
{
    struct membership *m = xcalloc(1, sizeof *m);
    m->view = view;
    m->seed = seed;
    m->on_news = on_news;
    m->arg = arg;
    return m;
}

void membership_free(struct membership *m)
{
    if (m == NULL)
        return;
    gossip_free(m->gossip);
    gossip_out_done(&m->out);
    for (size_t i = 0; i < m->n_peers; i++)
        free(m->peers[i].host);
    free(m->peers);
    free(m);
}

/* A voter keeps its links to the other voters: raft's messages are not relayed. */
static struct gossip *gossip_of(struct membership *m, const struct step *s)
{
    const struct node_conf *c = s->conf;
    if (m->gossip != NULL)
        return m->gossip;
    bool votes = step_votes(c, c->host);
    const char *address = c->mesh_address != NULL ? c->mesh_address : "";
    const Skein__HostCapability *own = c->own->capability;
    m->conf = (struct gossip_conf){.host = c->host,
                                   .address = address,
                                   .domain = own != NULL ? own->failure_domain : NULL,
                                   .incarnation = c->incarnation,
                                   .seed = m->seed,
                                   .seeds = c->seeds,
                                   .n_seeds = c->n_seeds,
                                   .keep = c->voters,
                                   .n_keep = votes ? c->n_voters : 0,
                                   .summary_every = c->summary_every};
    m->gossip = gossip_new(&m->conf, s->now.mono);
    return m->gossip;
}

void membership_voters(struct membership *m, const struct step *s)
{
    const struct node_conf *c = s->conf;
    if (m->gossip != NULL)
        gossip_keep(m->gossip, c->voters, step_votes(c, c->host) ? c->n_voters : 0);
}

static const char *name_of(const struct membership *m, gossip_id id)
{
    struct gossip_member member;
    for (size_t i = 0; i < m->n_peers; i++)
        if (m->peers[i].id == id)
            return m->peers[i].host;
    return gossip_find(m->gossip, id, &member) ? member.item->name : NULL;
}

static void send_message(const struct membership *m, struct step *s, const struct gossip_effect *e)
{
    const char *host = name_of(m, e->host);
    Skein__Frame frame = SKEIN__FRAME__INIT;
    if (host == NULL)
        return;
    frame.kind_case = SKEIN__FRAME__KIND_GOSSIP;
    frame.gossip.data = gossip_wire_pack(e->message, &frame.gossip.len);
    effect_gossip(s, host, &frame);
    free(frame.gossip.data);
}

/* Whoever dies, leaves, or comes back: not everybody whom a new agent gets to know. */
static void tell_people(const struct membership *m, struct step *s, const struct gossip_effect *e)
{
    const struct view_host *known = view_find(m->view, e->item->name);
    bool was_gone = known != NULL && known->gone, is_gone = e->state != GOSSIP_ALIVE;
    if (is_gone && !was_gone)
        effect_notice(s, "member %s %s", e->item->name,
                      e->state == GOSSIP_GONE_LEFT ? "has left" : "is dead");
    else if (was_gone && !is_gone)
        effect_notice(s, "member %s is back", e->item->name);
    if (e->cloned && (known == NULL || !known->cloned))
        effect_notice(s, "member %s: two hosts speak in its name: quarantine", e->item->name);
}

static void member_changed(struct membership *m, struct step *s, const struct gossip_effect *e)
{
    const char *host = e->item->name;
    tell_people(m, s, e);
    if (strcmp(host, s->conf->host) != 0) {
        struct view_member member = {.gone = e->state != GOSSIP_ALIVE,
                                     .suspected = e->suspected,
                                     .cloned = e->cloned,
                                     .failure_domain = e->item->domain};
        view_member(m->view, host, &member);
    }
    effect_trace(s, "member %s: state %d%s%s", host, (int)e->state,
                 e->suspected ? ", suspected" : "", e->cloned ? ", cloned" : "");
}

/* Taken out first: news may name a planner that is to be reached, which feeds again. */
static void take_effects(struct membership *m, struct step *s)
{
    struct gossip_out out = m->out;
    m->out = (struct gossip_out){0};
    for (size_t i = 0; i < out.n; i++) {
        const struct gossip_effect *e = &out.items[i];
        switch (e->kind) {
        case GOSSIP_SEND:
            send_message(m, s, e);
            break;
        case GOSSIP_DIAL:
            effect_dial(s, EFFECT_DIAL, e->address);
            break;
        case GOSSIP_UNDIAL:
            effect_dial(s, EFFECT_UNDIAL, e->address);
            break;
        case GOSSIP_CLOSE:
            if (name_of(m, e->host) != NULL)
                effect_dial(s, EFFECT_CLOSE, name_of(m, e->host));
            break;
        case GOSSIP_NEWS:
            m->on_news(m->arg, s, e->item->summary, MAX(s->now.mono - e->born, (msec)0));
            break;
        case GOSSIP_CHANGE:
            member_changed(m, s, e);
            break;
        }
    }
    gossip_out_done(&out);
}

static void feed(struct membership *m, struct step *s, const struct gossip_event *event)
{
    gossip_step(gossip_of(m, s), event, s->now.mono, &m->out);
    take_effects(m, s);
}

void membership_tick(struct membership *m, struct step *s)
{
    feed(m, s, &(struct gossip_event){.kind = GOSSIP_TICK});
}

static void peer_add(struct membership *m, const char *host)
{
    ARRAY_RESERVE(m->peers, m->cap_peers, m->n_peers + 1);
    m->peers[m->n_peers++] = (struct peer){gossip_id_of(host), xstrdup(host)};
}

static void peer_drop(struct membership *m, const char *host)
{
    for (size_t i = 0; i < m->n_peers; i++)
        if (strcmp(m->peers[i].host, host) == 0) {
            free(m->peers[i].host);
            m->peers[i--] = m->peers[--m->n_peers];
        }
}

void membership_peer(struct membership *m, struct step *s, const char *host, bool up)
{
    struct gossip_event event = {.kind = up ? GOSSIP_LINK_UP : GOSSIP_LINK_DOWN,
                                 .host = gossip_id_of(host)};
    if (up)
        peer_add(m, host);
    feed(m, s, &event);
    if (!up)
        peer_drop(m, host);
}

void membership_frame(struct membership *m, struct step *s, const char *from,
                      const ProtobufCBinaryData *bytes)
{
    _cleanup_(gossip_message_freep) struct gossip_message *message = NULL;
    struct err err = {0};
    if (gossip_wire_unpack(bytes->data, bytes->len, &message, &err) < 0) {
        effect_trace(s, "gossip of %s dropped: %s", from, err.msg);
        return;
    }
    feed(m, s,
         &(struct gossip_event){
             .kind = GOSSIP_MESSAGE, .host = gossip_id_of(from), .message = message});
}

void membership_tell(struct membership *m, struct step *s, const Skein__HostSummary *summary,
                     bool urgent)
{
    feed(m, s,
         &(struct gossip_event){.kind = GOSSIP_TELL, .item = gossip_wire_summary(summary, urgent)});
}

void membership_used(struct membership *m, struct step *s, const char *host)
{
    feed(m, s, &(struct gossip_event){.kind = GOSSIP_USED, .host = gossip_id_of(host)});
}

void membership_reach(struct membership *m, struct step *s, const char *host)
{
    feed(m, s, &(struct gossip_event){.kind = GOSSIP_DEMAND, .host = gossip_id_of(host)});
}

void membership_leave(struct membership *m, struct step *s)
{
    feed(m, s, &(struct gossip_event){.kind = GOSSIP_LEAVE});
}

void membership_return(struct membership *m, struct step *s)
{
    feed(m, s, &(struct gossip_event){.kind = GOSSIP_RETURN});
}

uint64_t membership_incarnation(const struct membership *m, const struct node_conf *conf)
{
    return m->gossip != NULL ? gossip_own(m->gossip)->incarnation : conf->incarnation;
}

bool membership_cloned(const struct membership *m, const struct node_conf *conf)
{
    struct gossip_member own;
    return m->gossip != NULL && gossip_find(m->gossip, gossip_id_of(conf->host), &own) &&
           own.cloned;
}

void membership_stats(const struct membership *m, struct gossip_stats *ret)
{
    if (m->gossip != NULL)
        gossip_stats(m->gossip, ret);
    else
        *ret = (struct gossip_stats){.alive = 1};
}

size_t membership_alive(const struct membership *m)
{
    struct gossip_stats stats;
    membership_stats(m, &stats);
    return stats.alive;
}

msec membership_deadline(const struct membership *m)
{
    return m->gossip != NULL ? gossip_deadline(m->gossip) : 0;
}
