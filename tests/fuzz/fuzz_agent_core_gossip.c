/* Whatever a neighbour may say: one message, taken in by an agent that knows others. */
#include "agent/core/gossip.h"
#include "agent/core/gossip_wire.h"
#include "tests/fuzz/fuzz.h"

static struct gossip_item *member(const char *name)
{
    gossip_id id = gossip_id_of(name);
    struct gossip_item *item = gossip_item_new(GOSSIP_MEMBER, id, id);
    item->incarnation = 1000;
    item->name = xstrdup(name);
    item->address = xstrdup("127.0.0.1:7440");
    item->domain = xstrdup("");
    item->domain_hash = id;
    return item;
}

static void drop_effects(struct gossip_out *out)
{
    for (size_t i = 0; i < out->n; i++)
        if (out->items[i].kind == GOSSIP_SEND) {
            size_t len;
            free(gossip_wire_pack(out->items[i].message, &len));
        }
    gossip_out_clear(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a", "b", "c"};
    struct gossip_conf conf = {.host = "self", .address = "127.0.0.1:7441", .incarnation = 1000};
    struct gossip_message *m = NULL;
    struct gossip_out out = {0};
    struct err err = {0};
    if (gossip_wire_unpack(data, size, &m, &err) < 0)
        return 0;
    struct gossip *g = gossip_new(&conf, 1000);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct gossip_item *item = member(names[i]);
        gossip_acquaint(g, &item, 1);
        gossip_item_unref(item);
    }
    struct gossip_event events[] = {
        {.kind = GOSSIP_TICK},
        {.kind = GOSSIP_LINK_UP, .host = gossip_id_of("a")},
        {.kind = GOSSIP_LINK_UP, .host = gossip_id_of("b")},
        {.kind = GOSSIP_MESSAGE, .host = gossip_id_of("a"), .message = m},
        {.kind = GOSSIP_LINK_DOWN, .host = gossip_id_of("a")},
        {.kind = GOSSIP_TICK},
    };
    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        gossip_step(g, &events[i], 1000 + 2000 * (msec)i, &out);
        drop_effects(&out);
    }
    gossip_out_done(&out);
    gossip_free(g);
    gossip_message_free(m);
    return 0;
}
