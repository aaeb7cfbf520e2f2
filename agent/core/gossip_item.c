#include "agent/core/gossip.h"

/* FNV-1a of 64 bits, then mixed: names differ in their last letters alone. */
gossip_id gossip_id_of(const char *host)
{
    uint64_t h = 14695981039346656037u;
    for (const char *p = host; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    h ^= h >> 31;
    return h != 0 ? h : 1;
}

struct gossip_item *gossip_item_new(enum gossip_kind kind, gossip_id by, gossip_id host)
{
    struct gossip_item *item = xcalloc(1, sizeof *item);
    item->refs = 1;
    item->kind = kind;
    item->by = by;
    item->host = host;
    return item;
}

struct gossip_item *gossip_item_ref(struct gossip_item *item)
{
    item->refs++;
    return item;
}

void gossip_item_unref(struct gossip_item *item)
{
    if (item == NULL || --item->refs > 0)
        return;
    free(item->name);
    free(item->address);
    free(item->domain);
    free(item->voters);
    free(item->wire);
    if (item->summary != NULL)
        skein__host_summary__free_unpacked(item->summary, NULL);
    free(item);
}

struct gossip_message *gossip_message_new(void)
{
    return xcalloc(1, sizeof(struct gossip_message));
}

void gossip_message_free(struct gossip_message *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n_items; i++)
        gossip_item_unref(m->items[i].item);
    free(m->items);
    free(m->digest);
    free(m->list);
    free(m->want);
    free(m->pull);
    free(m->pull_sequence);
    free(m);
}

void gossip_out_clear(struct gossip_out *out)
{
    for (size_t i = 0; i < out->n; i++) {
        gossip_message_free(out->items[i].message);
        gossip_item_unref(out->items[i].item);
        free(out->items[i].address);
    }
    out->n = 0;
}

void gossip_out_done(struct gossip_out *out)
{
    gossip_out_clear(out);
    free(out->items);
    *out = (struct gossip_out){0};
}
