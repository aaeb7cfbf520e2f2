#include "proto/codec.h"

#include <stdio.h>

/* An allocator with a budget: unpacking fails when peer bytes ask for more. */
struct capped {
    size_t left;
};

static void *capped_alloc(void *data, size_t size)
{
    struct capped *c = data;
    size_t cost = size + 16; /* malloc's own overhead */
    if (cost > c->left)
        return NULL;
    c->left -= cost;
    return malloc(size);
}

static void capped_free(void *data, void *p)
{
    (void)data;
    free(p);
}

/* ---- an arena: what is only read and then forgotten as a whole, as most frames are ---- */

struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t data[];
};

struct arena {
    struct capped capped;
    struct chunk *first, *last;
};

#ifdef __SANITIZE_ADDRESS__
#define CHUNK_MIN 0 /* each piece for itself, so that reading beyond it is seen */
#else
#define CHUNK_MIN 512
#endif

static void *arena_alloc(void *data, size_t size)
{
    struct arena *a = data;
    size_t cost = size + 16;
    if (cost > a->capped.left)
        return NULL;
    a->capped.left -= cost;
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (a->last == NULL || a->last->size - a->last->used < size) {
        size_t grown = CHUNK_MIN != 0 && a->last != NULL ? 2 * a->last->size : CHUNK_MIN;
        size_t room = MAX(size, grown);
        struct chunk *c = xmalloc(sizeof *c + room);
        *c = (struct chunk){.size = room};
        *(a->last != NULL ? &a->last->next : &a->first) = c;
        a->last = c;
    }
    void *at = (uint8_t *)a->last->data + a->last->used;
    a->last->used += size;
    return at;
}

static void arena_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

static void chunks_free(struct chunk *c)
{
    for (struct chunk *next; c != NULL; c = next) {
        next = c->next;
        free(c);
    }
}

/* Length of the valid UTF-8 sequence at s (RFC 3629), 0 when there is none. */
static size_t utf8_sequence(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool surrogate = s[0] == 0xed && s[1] >= 0xa0;
    bool beyond = s[0] == 0xf4 && s[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : n;
}

bool codec_text_ok(const char *text, size_t max)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    for (size_t n; s[i] != '\0'; i += n) {
        n = utf8_sequence(s + i);
        if (n == 0 || s[i] < 0x20 || s[i] == 0x7f || i + n > max)
            return false;
    }
    return true;
}

static size_t text_limit(const ProtobufCFieldDescriptor *field)
{
    static const char *const long_texts[] = {"message", "reason", "evidence",       "health",
                                             "path",    "query",  "changed_reason", "wrong_reason"};
    for (size_t i = 0; i < ARRAY_SIZE(long_texts); i++)
        if (strcmp(field->name, long_texts[i]) == 0)
            return CODEC_TEXT_MAX;
    return CODEC_NAME_MAX;
}

static int check_text(const char *text, const ProtobufCFieldDescriptor *field, struct err *err)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0, n;
    while (s[i] >= 0x20 && s[i] < 0x7f && i < CODEC_NAME_MAX) /* nearly all are short and ASCII */
        i++;
    if (s[i] == '\0')
        return 0;
    size_t limit = text_limit(field);
    for (i = 0; s[i] != '\0'; i += n) {
        n = utf8_sequence(s + i);
        if (n == 0)
            return err_set(err, ERR_INVALID, "%s: invalid UTF-8", field->name);
        if (s[i] < 0x20 || s[i] == 0x7f)
            return err_set(err, ERR_INVALID, "%s: a control character", field->name);
        if (i + n > limit)
            return err_set(err, ERR_LIMIT, "%s: longer than %zu bytes", field->name, limit);
    }
    return 0;
}

static int check_message(const ProtobufCMessage *m, struct err *err);

static int check_value(const void *value, const ProtobufCFieldDescriptor *field, struct err *err)
{
    int rc = 0;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)value;
        rc = text != NULL ? check_text(text, field, err) : 0;
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *sub = *(const ProtobufCMessage *const *)value;
        rc = sub != NULL ? check_message(sub, err) : 0;
        if (rc < 0)
            return err_wrap(err, "%s", field->name);
    }
    return rc;
}

static size_t item_size(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE
               ? sizeof(void *)
               : 0; /* other types have nothing to check */
}

static int check_message(const ProtobufCMessage *m, struct err *err)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &d->fields[i];
        const uint8_t *at = (const uint8_t *)m + field->offset;
        if (item_size(field) == 0)
            continue;
        size_t n = 1;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            n = *(const size_t *)(const void *)((const uint8_t *)m + field->quantifier_offset);
            at = *(const uint8_t *const *)(const void *)at;
        } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            uint32_t chosen =
                *(const uint32_t *)(const void *)((const uint8_t *)m + field->quantifier_offset);
            n = chosen == field->id ? 1 : 0;
        }
        for (size_t k = 0; k < n; k++) {
            int rc = check_value(at + k * item_size(field), field, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static size_t memory_for(size_t len)
{
    return MAX(len * CODEC_MEMORY_FACTOR, (size_t)CODEC_MEMORY_FLOOR);
}

static int malformed(const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID, "%s: malformed, or it would take too much memory", what);
}

int codec_unpack(const ProtobufCMessageDescriptor *descriptor, const char *what,
                 const uint8_t *bytes, size_t len, ProtobufCMessage **ret, struct err *err)
{
    struct capped capped = {.left = memory_for(len)};
    ProtobufCAllocator allocator = {capped_alloc, capped_free, &capped};
    if (len > 64u * CODEC_FRAME_MAX)
        return err_set(err, ERR_LIMIT, "%s of %zu bytes is too large", what, len);
    ProtobufCMessage *m = protobuf_c_message_unpack(descriptor, &allocator, len, bytes);
    if (m == NULL)
        return malformed(what, err);
    int rc = check_message(m, err);
    if (rc < 0) {
        protobuf_c_message_free_unpacked(m, NULL);
        return err_wrap(err, "%s", what);
    }
    *ret = m;
    return 0;
}

/* The message is the first piece of the first chunk. */
int codec_frame(const uint8_t *bytes, size_t len, Skein__Frame **ret, struct err *err)
{
    if (len > CODEC_FRAME_MAX)
        return err_set(err, ERR_LIMIT, "frame of %zu bytes is too large", len);
    struct arena arena = {.capped.left = memory_for(len)};
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &arena};
    ProtobufCMessage *m =
        protobuf_c_message_unpack(&skein__frame__descriptor, &allocator, len, bytes);
    int rc = m == NULL ? malformed("frame", err) : check_message(m, err);
    if (m != NULL && rc < 0)
        err_wrap(err, "frame");
    if (rc < 0) {
        chunks_free(arena.first);
        return rc;
    }
    REQUIRE((void *)m == (void *)arena.first->data);
    *ret = (Skein__Frame *)m;
    return 0;
}

void skein_frame_free(Skein__Frame *m)
{
    if (m != NULL)
        chunks_free((struct chunk *)(void *)((uint8_t *)m - offsetof(struct chunk, data)));
}

int codec_entry(const uint8_t *bytes, size_t len, Skein__Entry **ret, struct err *err)
{
    return codec_unpack(&skein__entry__descriptor, "entry", bytes, len, (ProtobufCMessage **)ret,
                        err);
}

int codec_image(const uint8_t *bytes, size_t len, Skein__StateImage **ret, struct err *err)
{
    return codec_unpack(&skein__state_image__descriptor, "state image", bytes, len,
                        (ProtobufCMessage **)ret, err);
}

int codec_journal(const uint8_t *bytes, size_t len, Skein__JournalRecord **ret, struct err *err)
{
    return codec_unpack(&skein__journal_record__descriptor, "journal record", bytes, len,
                        (ProtobufCMessage **)ret, err);
}

uint8_t *codec_pack(const ProtobufCMessage *message, size_t *ret_len)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = xmalloc(len);
    protobuf_c_message_pack(message, bytes);
    *ret_len = len;
    return bytes;
}

ProtobufCMessage *codec_merge(const ProtobufCMessage *under, const ProtobufCMessage *over)
{
    REQUIRE(under->descriptor == over->descriptor);
    size_t len = protobuf_c_message_get_packed_size(under);
    size_t over_len = protobuf_c_message_get_packed_size(over);
    _cleanup_(freep) uint8_t *bytes = xmalloc(len + over_len);
    protobuf_c_message_pack(under, bytes);
    protobuf_c_message_pack(over, bytes + len);
    ProtobufCMessage *merged =
        protobuf_c_message_unpack(under->descriptor, NULL, len + over_len, bytes);
    REQUIRE(merged != NULL);
    return merged;
}

/* ---- copying: every observation and every frame that is kept is copied, so not by way of the
 * wire ---- */

static size_t value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return 4;
}

/* What a value points at becomes the copy's own. */
static void own_value(ProtobufCType type, void *at)
{
    if (type == PROTOBUF_C_TYPE_STRING) {
        char **text = at;
        *text = *text != NULL ? xstrdup(*text) : NULL;
    } else if (type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage **message = at;
        *message = *message != NULL ? codec_copy(*message) : NULL;
    } else if (type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData *bytes = at;
        bytes->data = bytes->len > 0 ? xmemdup(bytes->data, bytes->len) : NULL;
    }
}

static void own_list(const ProtobufCFieldDescriptor *f, uint8_t *copy)
{
    size_t n = *(size_t *)(void *)(copy + f->quantifier_offset), size = value_size(f->type);
    uint8_t **list = (uint8_t **)(void *)(copy + f->offset);
    *list = n > 0 ? xmemdup(*list, n * size) : NULL;
    for (size_t i = 0; i < n; i++)
        own_value(f->type, *list + i * size);
}

static bool is_there(const ProtobufCFieldDescriptor *f, const uint8_t *copy)
{
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        return *(const uint32_t *)(const void *)(copy + f->quantifier_offset) == f->id;
    if (f->label != PROTOBUF_C_LABEL_OPTIONAL || f->type == PROTOBUF_C_TYPE_STRING ||
        f->type == PROTOBUF_C_TYPE_MESSAGE)
        return true;
    return *(const protobuf_c_boolean *)(const void *)(copy + f->quantifier_offset) != 0;
}

/* No message of ours has default values: what is not there is zero. */
static void own_field(const ProtobufCFieldDescriptor *f, uint8_t *copy)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        own_list(f, copy);
    else if (is_there(f, copy))
        own_value(f->type, copy + f->offset);
    else if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
        REQUIRE(f->default_value == NULL);
        memset(copy + f->offset, 0, value_size(f->type));
    }
}

static void own_unknown(ProtobufCMessage *copy)
{
    if (copy->n_unknown_fields == 0) {
        copy->unknown_fields = NULL;
        return;
    }
    copy->unknown_fields =
        xmemdup(copy->unknown_fields, copy->n_unknown_fields * sizeof *copy->unknown_fields);
    for (unsigned i = 0; i < copy->n_unknown_fields; i++)
        copy->unknown_fields[i].data =
            xmemdup(copy->unknown_fields[i].data, copy->unknown_fields[i].len);
}

ProtobufCMessage *codec_copy(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *d = message->descriptor;
    ProtobufCMessage *copy = xmemdup(message, d->sizeof_message);
    for (unsigned i = 0; i < d->n_fields; i++)
        own_field(&d->fields[i], (uint8_t *)copy);
    own_unknown(copy);
    return copy;
}

/* ---- comparing, likewise without the wire ---- */

static bool value_equal(ProtobufCType type, const uint8_t *a, const uint8_t *b)
{
    if (type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *x = (const void *)a, *y = (const void *)b;
        return x->len == y->len && (x->len == 0 || memcmp(x->data, y->data, x->len) == 0);
    }
    if (type != PROTOBUF_C_TYPE_STRING && type != PROTOBUF_C_TYPE_MESSAGE)
        return memcmp(a, b, value_size(type)) == 0;
    const void *x = *(const void *const *)(const void *)a,
               *y = *(const void *const *)(const void *)b;
    if (x == NULL || y == NULL)
        return x == y;
    return type == PROTOBUF_C_TYPE_STRING ? strcmp(x, y) == 0 : codec_equal(x, y);
}

static bool list_equal(const ProtobufCFieldDescriptor *f, const uint8_t *a, const uint8_t *b)
{
    size_t n = *(const size_t *)(const void *)(a + f->quantifier_offset),
           size = value_size(f->type);
    const uint8_t *x = *(const uint8_t *const *)(const void *)(a + f->offset);
    const uint8_t *y = *(const uint8_t *const *)(const void *)(b + f->offset);
    bool equal = n == *(const size_t *)(const void *)(b + f->quantifier_offset);
    for (size_t i = 0; equal && i < n; i++)
        equal = value_equal(f->type, x + i * size, y + i * size);
    return equal;
}

bool codec_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    const ProtobufCMessageDescriptor *d = a->descriptor;
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    bool equal = d == b->descriptor;
    for (unsigned i = 0; equal && i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        bool there = f->label == PROTOBUF_C_LABEL_REPEATED || is_there(f, x);
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            equal = list_equal(f, x, y);
        else
            equal = there == is_there(f, y) &&
                    (!there || value_equal(f->type, x + f->offset, y + f->offset));
    }
    return equal;
}
