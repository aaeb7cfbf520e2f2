/* codec.h - wire <-> domain: every message from outside is unpacked here, with a capped allocator
 * (1 MiB of empty submessages otherwise takes 84 MiB) and checked: names and texts are valid UTF-8
 * without control characters and of bounded length, counts and numbers are within reason.
 * Unknown fields are ignored: newer agents may send them. */
#ifndef SKEIN_PROTO_CODEC_H
#define SKEIN_PROTO_CODEC_H

#include <stdbool.h>

#include "proto/err.h"
#include "proto/skein.pb-c.h"
#include "proto/util.h"

#define CODEC_FRAME_MAX (1u << 20) /* bytes of a frame on the wire */
/* Memory a decoded message may take, times its bytes: a VM of which little is said takes 9 times
 * (each string has an allocator's 16 bytes, the struct 344), empty submessages would take 84. */
#define CODEC_MEMORY_FACTOR 16
#define CODEC_MEMORY_FLOOR (64u << 10) /* at least this, however small the message is */
#define CODEC_NAME_MAX 255             /* host, VM, plan, action */
#define CODEC_TEXT_MAX 4096            /* messages for people */

int codec_frame(const uint8_t *bytes, size_t len, Skein__Frame **ret, struct err *err);
int codec_entry(const uint8_t *bytes, size_t len, Skein__Entry **ret, struct err *err);
int codec_image(const uint8_t *bytes, size_t len, Skein__StateImage **ret, struct err *err);
int codec_journal(const uint8_t *bytes, size_t len, Skein__JournalRecord **ret, struct err *err);

/* Any other message of ours; what names it in the error. */
int codec_unpack(const ProtobufCMessageDescriptor *descriptor, const char *what,
                 const uint8_t *bytes, size_t len, ProtobufCMessage **ret, struct err *err);

/* May this text stand in a message? Valid UTF-8, no control character, at most max bytes. For
 * those who put outside text into messages: one bad name would have the whole refused. */
bool codec_text_ok(const char *text, size_t max);

/* Any message, packed with malloc. */
uint8_t *codec_pack(const ProtobufCMessage *message, size_t *ret_len);
/* A new message of the same kind: what over says where it says something, else what under says;
 * repeated fields of both. (Protocol Buffers: concatenated encodings merge.) */
ProtobufCMessage *codec_merge(const ProtobufCMessage *under, const ProtobufCMessage *over);
/* A deep copy; free with protobuf_c_message_free_unpacked(m, NULL). */
ProtobufCMessage *codec_copy(const ProtobufCMessage *message);
/* Do both say the same? Unknown fields are not looked at. */
bool codec_equal(const ProtobufCMessage *a, const ProtobufCMessage *b);

/* Of codec_frame only: a frame and all in it are one piece of memory, or few. Nothing in it can be
 * taken out. NULL is fine. */
void skein_frame_free(Skein__Frame *m);
DEFINE_CLEANUP(Skein__Frame, skein_frame_free)

static inline void skein_entry_free(Skein__Entry *m)
{
    skein__entry__free_unpacked(m, NULL);
}
DEFINE_CLEANUP(Skein__Entry, skein_entry_free)

#endif
