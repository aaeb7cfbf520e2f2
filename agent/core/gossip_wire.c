#include "agent/core/gossip_wire.h"

#include "proto/codec.h"
#include "proto/gossip.pb-c.h"

#define AGE_MAX 3600000 /* ms; older things are as good as unknown */
#define LIST_MAX 65536  /* members in one list: more than a frame holds */
#define ITEMS_MAX 8192  /* items in one message: each takes some 200 bytes of memory */

enum gossip_flag {
    FLAG_PARENT = 1 << 0,
    FLAG_ORPHAN = 1 << 1,
    FLAG_MESH = 1 << 2,
    FLAG_BYE = 1 << 3,
    FLAG_PING = 1 << 4,
};

/* ---- items to bytes ---- */

static void put_verdict(const struct gossip_item *item, Skein__GossipVerdict *v)
{
    v->has_by = v->has_host = v->has_incarnation = v->has_epoch = 1;
    v->by = item->by;
    v->host = item->host;
    v->incarnation = item->incarnation;
    v->epoch = item->epoch;
    v->voters = item->voters;
    v->n_voters = item->n_voters;
}

static void put_member(const struct gossip_item *item, Skein__GossipMember *m)
{
    m->has_incarnation = m->has_epoch = 1;
    m->host = item->name;
    m->incarnation = item->incarnation;
    m->epoch = item->epoch;
    m->address = item->address;
    m->failure_domain = item->domain;
}

/* Once: the bytes stay with the item. */
static void item_pack(struct gossip_item *item)
{
    Skein__GossipItem w = SKEIN__GOSSIP_ITEM__INIT;
    Skein__GossipVerdict verdict = SKEIN__GOSSIP_VERDICT__INIT;
    Skein__GossipMember member = SKEIN__GOSSIP_MEMBER__INIT;
    if (item->wire != NULL)
        return;
    w.has_urgent = w.urgent = item->kind == GOSSIP_SUMMARY && item->urgent;
    put_verdict(item, &verdict);
    switch (item->kind) {
    case GOSSIP_SUMMARY:
        w.kind_case = SKEIN__GOSSIP_ITEM__KIND_SUMMARY;
        w.summary = item->summary;
        break;
    case GOSSIP_MEMBER:
        put_member(item, &member);
        w.kind_case = SKEIN__GOSSIP_ITEM__KIND_MEMBER;
        w.member = &member;
        break;
    case GOSSIP_SUSPECT:
        w.kind_case = SKEIN__GOSSIP_ITEM__KIND_SUSPECT;
        w.suspect = &verdict;
        break;
    case GOSSIP_DEAD:
        w.kind_case = SKEIN__GOSSIP_ITEM__KIND_DEAD;
        w.dead = &verdict;
        break;
    case GOSSIP_LEFT:
        w.kind_case = SKEIN__GOSSIP_ITEM__KIND_LEFT;
        w.left = &verdict;
        break;
    }
    item->wire = codec_pack(&w.base, &item->wire_len);
}

struct gossip_item *gossip_wire_summary(const Skein__HostSummary *summary, bool urgent)
{
    gossip_id id = gossip_id_of(summary->host);
    struct gossip_item *item = gossip_item_new(GOSSIP_SUMMARY, id, id);
    item->incarnation = summary->incarnation;
    item->sequence = summary->sequence;
    item->urgent = urgent;
    item->summary = (Skein__HostSummary *)codec_copy(&summary->base);
    item_pack(item);
    return item;
}

/* ---- messages to bytes ---- */

struct packing {
    Skein__GossipSigned *items, **pointers;
    uint32_t *ages;
    uint64_t *hosts, *versions;
};

static void pack_items(const struct gossip_message *m, struct packing *p, Skein__GossipMessage *w)
{
    p->items = xcalloc(m->n_items, sizeof *p->items);
    p->pointers = xcalloc(m->n_items, sizeof *p->pointers);
    p->ages = xcalloc(m->n_items, sizeof *p->ages);
    for (size_t i = 0; i < m->n_items; i++) {
        struct gossip_item *item = m->items[i].item;
        item_pack(item);
        skein__gossip_signed__init(&p->items[i]);
        p->items[i].has_item = 1;
        p->items[i].item = (ProtobufCBinaryData){.data = item->wire, .len = item->wire_len};
        p->pointers[i] = &p->items[i];
        p->ages[i] = (uint32_t)MIN(MAX(m->items[i].age, (msec)0), (msec)AGE_MAX);
    }
    w->n_items = w->n_ages_ms = m->n_items;
    w->items = p->pointers;
    w->ages_ms = p->ages;
}

static void pack_list(const struct gossip_message *m, struct packing *p, Skein__GossipMessage *w)
{
    p->hosts = xcalloc(m->n_list, sizeof *p->hosts);
    p->versions = xcalloc(m->n_list, sizeof *p->versions);
    for (size_t i = 0; i < m->n_list; i++) {
        p->hosts[i] = m->list[i].id;
        p->versions[i] = m->list[i].version;
    }
    w->n_list_hosts = w->n_list_versions = m->n_list;
    w->list_hosts = p->hosts;
    w->list_versions = p->versions;
    w->has_listed = m->listed != 0;
    w->listed = m->listed;
}

static uint32_t flags_of(const struct gossip_message *m)
{
    return (m->parent ? FLAG_PARENT : 0u) | (m->orphan ? FLAG_ORPHAN : 0u) |
           (m->mesh ? FLAG_MESH : 0u) | (m->bye ? FLAG_BYE : 0u) | (m->ping ? FLAG_PING : 0u);
}

uint8_t *gossip_wire_pack(const struct gossip_message *m, size_t *ret_len)
{
    Skein__GossipMessage w = SKEIN__GOSSIP_MESSAGE__INIT;
    struct packing p = {0};
    w.has_root = w.has_root_sequence = w.has_distance = w.has_flags = 1;
    w.root = m->root;
    w.root_sequence = m->root_sequence;
    w.distance = m->distance;
    w.flags = flags_of(m);
    pack_items(m, &p, &w);
    pack_list(m, &p, &w);
    w.n_digest = m->digest != NULL ? GOSSIP_BUCKETS : 0;
    w.digest = m->digest;
    w.n_want = m->n_want;
    w.want = m->want;
    w.n_pull = w.n_pull_sequences = m->n_pull;
    w.pull = m->pull;
    w.pull_sequences = m->pull_sequence;
    uint8_t *bytes = codec_pack(&w.base, ret_len);
    free(p.items);
    free(p.pointers);
    free(p.ages);
    free(p.hosts);
    free(p.versions);
    return bytes;
}

/* ---- bytes to items ---- */

static int get_verdict(const Skein__GossipVerdict *v, enum gossip_kind kind,
                       struct gossip_item **ret, struct err *err)
{
    if (!v->has_by || !v->has_host || v->by == 0 || v->host == 0 || !v->has_incarnation)
        return err_set(err, ERR_INVALID, "a verdict of nobody or on nobody");
    if (v->n_voters > GOSSIP_VOTERS_MAX || v->incarnation >> 43 != 0)
        return err_set(err, ERR_LIMIT, "a verdict beyond all bounds");
    if (kind == GOSSIP_LEFT && v->by != v->host)
        return err_set(err, ERR_INVALID, "a goodbye in another's name");
    struct gossip_item *item = gossip_item_new(kind, v->by, v->host);
    item->incarnation = v->incarnation;
    item->epoch = v->epoch;
    item->urgent = true;
    if (v->n_voters > 0)
        item->voters = xmemdup(v->voters, v->n_voters * sizeof *v->voters);
    item->n_voters = v->n_voters;
    *ret = item;
    return 0;
}

static bool text_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int get_member(const Skein__GossipMember *m, struct gossip_item **ret, struct err *err)
{
    if (!text_given(m->host) || !text_given(m->address) || !m->has_incarnation)
        return err_set(err, ERR_INVALID, "a member without a name or an address");
    if (m->incarnation >> 43 != 0 || m->epoch >> 18 != 0)
        return err_set(err, ERR_LIMIT, "member %s: beyond all bounds", m->host);
    gossip_id id = gossip_id_of(m->host);
    struct gossip_item *item = gossip_item_new(GOSSIP_MEMBER, id, id);
    item->incarnation = m->incarnation;
    item->epoch = m->epoch;
    item->urgent = true;
    item->name = xstrdup(m->host);
    item->address = xstrdup(m->address);
    item->domain = xstrdup(m->failure_domain != NULL ? m->failure_domain : "");
    item->domain_hash = item->domain[0] != '\0' ? gossip_id_of(item->domain) : id;
    *ret = item;
    return 0;
}

static int get_summary(Skein__GossipItem *w, struct gossip_item **ret, struct err *err)
{
    Skein__HostSummary *s = w->summary;
    if (!text_given(s->host) || !s->has_incarnation || !s->has_sequence)
        return err_set(err, ERR_INVALID, "a summary of nobody");
    gossip_id id = gossip_id_of(s->host);
    struct gossip_item *item = gossip_item_new(GOSSIP_SUMMARY, id, id);
    item->incarnation = s->incarnation;
    item->sequence = s->sequence;
    item->urgent = w->urgent;
    item->summary = s; /* taken */
    w->summary = NULL;
    w->kind_case = SKEIN__GOSSIP_ITEM__KIND__NOT_SET;
    *ret = item;
    return 0;
}

static int get_kind(Skein__GossipItem *w, struct gossip_item **ret, struct err *err)
{
    switch (w->kind_case) {
    case SKEIN__GOSSIP_ITEM__KIND_SUMMARY:
        return get_summary(w, ret, err);
    case SKEIN__GOSSIP_ITEM__KIND_MEMBER:
        return get_member(w->member, ret, err);
    case SKEIN__GOSSIP_ITEM__KIND_SUSPECT:
        return get_verdict(w->suspect, GOSSIP_SUSPECT, ret, err);
    case SKEIN__GOSSIP_ITEM__KIND_DEAD:
        return get_verdict(w->dead, GOSSIP_DEAD, ret, err);
    case SKEIN__GOSSIP_ITEM__KIND_LEFT:
        return get_verdict(w->left, GOSSIP_LEFT, ret, err);
    case SKEIN__GOSSIP_ITEM__KIND__NOT_SET:
    case _SKEIN__GOSSIP_ITEM__KIND__CASE_IS_INT_SIZE:
        break;
    }
    *ret = NULL; /* of a newer version */
    return 0;
}

static int get_item(const Skein__GossipSigned *s, struct gossip_item **ret, struct err *err)
{
    Skein__GossipItem *w = NULL;
    int rc = codec_unpack(&skein__gossip_item__descriptor, "gossip item", s->item.data, s->item.len,
                          (ProtobufCMessage **)&w, err);
    if (rc < 0)
        return rc;
    rc = get_kind(w, ret, err);
    skein__gossip_item__free_unpacked(w, NULL);
    if (rc >= 0 && *ret != NULL) {
        (*ret)->wire = xmemdup(s->item.data, s->item.len);
        (*ret)->wire_len = s->item.len;
    }
    return rc;
}

/* ---- bytes to messages ---- */

static int check_counts(const Skein__GossipMessage *w, struct err *err)
{
    if (w->n_items != w->n_ages_ms || w->n_list_hosts != w->n_list_versions ||
        w->n_pull != w->n_pull_sequences || (w->n_digest != 0 && w->n_digest != GOSSIP_BUCKETS))
        return err_set(err, ERR_INVALID, "gossip: lists of different lengths");
    if (w->n_items > ITEMS_MAX || w->n_list_hosts > LIST_MAX || w->n_want > LIST_MAX ||
        w->n_pull > LIST_MAX)
        return err_set(err, ERR_LIMIT, "gossip: a list beyond all bounds");
    return 0;
}

static int get_items(const Skein__GossipMessage *w, struct gossip_message *m, struct err *err)
{
    ARRAY_RESERVE(m->items, m->cap_items, w->n_items);
    for (size_t i = 0; i < w->n_items; i++) {
        struct gossip_item *item;
        int rc = get_item(w->items[i], &item, err);
        if (rc < 0)
            return rc;
        if (item != NULL)
            m->items[m->n_items++] =
                (struct gossip_carried){item, (msec)MIN(w->ages_ms[i], (uint32_t)AGE_MAX)};
    }
    return 0;
}

static void get_lists(const Skein__GossipMessage *w, struct gossip_message *m)
{
    ARRAY_RESERVE(m->list, m->cap_list, w->n_list_hosts);
    for (size_t i = 0; i < w->n_list_hosts; i++)
        m->list[m->n_list++] = (struct gossip_listed){w->list_hosts[i], w->list_versions[i]};
    m->listed = w->listed;
    if (w->n_digest > 0)
        m->digest = xmemdup(w->digest, GOSSIP_BUCKETS * sizeof *w->digest);
    if (w->n_want > 0)
        m->want = xmemdup(w->want, w->n_want * sizeof *w->want);
    m->n_want = w->n_want;
    if (w->n_pull > 0) {
        m->pull = xmemdup(w->pull, w->n_pull * sizeof *w->pull);
        m->pull_sequence = xmemdup(w->pull_sequences, w->n_pull * sizeof *w->pull_sequences);
    }
    m->n_pull = w->n_pull;
}

static void get_flags(const Skein__GossipMessage *w, struct gossip_message *m)
{
    m->root = w->root;
    m->root_sequence = w->root_sequence;
    m->distance = w->distance;
    m->parent = (w->flags & FLAG_PARENT) != 0;
    m->orphan = (w->flags & FLAG_ORPHAN) != 0;
    m->mesh = (w->flags & FLAG_MESH) != 0;
    m->bye = (w->flags & FLAG_BYE) != 0;
    m->ping = (w->flags & FLAG_PING) != 0;
}

int gossip_wire_unpack(const uint8_t *bytes, size_t len, struct gossip_message **ret,
                       struct err *err)
{
    Skein__GossipMessage *w = NULL;
    _cleanup_(gossip_message_freep) struct gossip_message *m = gossip_message_new();
    int rc = codec_unpack(&skein__gossip_message__descriptor, "gossip", bytes, len,
                          (ProtobufCMessage **)&w, err);
    if (rc < 0)
        return rc;
    rc = check_counts(w, err);
    if (rc >= 0)
        rc = get_items(w, m, err);
    if (rc >= 0) {
        get_lists(w, m);
        get_flags(w, m);
        *ret = TAKE_PTR(m);
    }
    skein__gossip_message__free_unpacked(w, NULL);
    return rc;
}
