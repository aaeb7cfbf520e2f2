/* gossip_wire.h - gossip's messages and items to and from bytes (proto/gossip.proto), every bound
 * checked. Items keep the bytes they came in: they are relayed as their origin packed them. */
#ifndef SKEIN_AGENT_CORE_GOSSIP_WIRE_H
#define SKEIN_AGENT_CORE_GOSSIP_WIRE_H

#include "agent/core/gossip.h"
#include "proto/err.h"

uint8_t *gossip_wire_pack(const struct gossip_message *m, size_t *ret_len);
int gossip_wire_unpack(const uint8_t *bytes, size_t len, struct gossip_message **ret,
                       struct err *err);

/* An item of this host's summary, which is copied. */
struct gossip_item *gossip_wire_summary(const Skein__HostSummary *summary, bool urgent);

#endif
