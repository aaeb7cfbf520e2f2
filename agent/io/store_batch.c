/* Batches: what is to be written, copied and held to its limits. */
#include <string.h>

#include "agent/io/store_db.h"
#include "proto/util.h"

struct store_batch *store_batch_new(void)
{
    return xcalloc(1, sizeof(struct store_batch));
}

void store_batch_free(struct store_batch *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n; i++) {
        free(b->ops[i].key);
        free(b->ops[i].data);
        free(b->ops[i].config);
    }
    free(b->ops);
    free(b);
}

static struct store_op *add_op(struct store_batch *b, enum store_op_kind kind, const void *data,
                               size_t len)
{
    ARRAY_RESERVE(b->ops, b->cap, b->n + 1);
    struct store_op *op = &b->ops[b->n++];
    *op = (struct store_op){.kind = kind, .len = len};
    /* A text's terminating NUL is kept, beyond len. */
    op->data = xmalloc(len + 1);
    if (len > 0)
        memcpy(op->data, data, len);
    op->data[len] = '\0';
    b->bytes += len + sizeof *op;
    b->raft = b->raft || kind >= STORE_RAFT_SET;
    return op;
}

/* Remember the first limit that a batch breaks. */
static bool within(struct store_batch *b, const char *what, size_t len, size_t max)
{
    if (len <= max)
        return true;
    if (b->err.code == ERR_OK)
        err_set(&b->err, ERR_INVALID, "%s of %zu bytes: at most %zu", what, len, max);
    return false;
}

static bool key_within(struct store_batch *b, const char *what, const char *key)
{
    if (key[0] != '\0')
        return within(b, what, strlen(key), STORE_KEY_MAX);
    if (b->err.code == ERR_OK)
        err_set(&b->err, ERR_INVALID, "%s is empty", what);
    return false;
}

static void add_keyed(struct store_batch *b, enum store_op_kind kind, const char *what,
                      const char *key, const void *value, size_t len)
{
    if (key_within(b, what, key) && within(b, what, len, STORE_VALUE_MAX))
        add_op(b, kind, value, len)->key = xstrdup(key);
}

void store_journal_put(struct store_batch *b, const char *key, const void *value, size_t len)
{
    add_keyed(b, STORE_JOURNAL_PUT, "a journal entry", key, value, len);
}

void store_journal_delete(struct store_batch *b, const char *key)
{
    add_keyed(b, STORE_JOURNAL_DELETE, "a journal entry", key, NULL, 0);
}

void store_kv_put(struct store_batch *b, const char *key, const void *value, size_t len)
{
    add_keyed(b, STORE_KV_PUT, "a value", key, value, len);
}

void store_kv_delete(struct store_batch *b, const char *key)
{
    add_keyed(b, STORE_KV_DELETE, "a value", key, NULL, 0);
}

void store_audit_append(struct store_batch *b, msec at_wall, const char *record)
{
    size_t len = strlen(record);
    if (within(b, "an audit record", len, STORE_VALUE_MAX))
        add_op(b, STORE_AUDIT, record, len)->at_wall = at_wall;
}

void store_snapshot_put(struct store_batch *b, const char *digest, msec at_wall, const void *data,
                        size_t len)
{
    uint8_t hash[HASH_SIZE];
    if (!hash_from_hex(digest, hash)) {
        if (b->err.code == ERR_OK)
            err_set(&b->err, ERR_INVALID, "a snapshot's digest is not 64 hexadecimal digits");
        return;
    }
    if (!within(b, "a snapshot", len, STORE_DOCUMENT_MAX))
        return;
    struct store_op *op = add_op(b, STORE_SNAPSHOT, data, len);
    op->key = xstrdup(digest);
    op->at_wall = at_wall;
}

void store_raft_set(struct store_batch *b, uint64_t term, uint64_t vote)
{
    struct store_op *op = add_op(b, STORE_RAFT_SET, NULL, 0);
    op->term = term;
    op->vote = vote;
}

void store_raft_append(struct store_batch *b, uint64_t index, uint64_t term, unsigned type,
                       const void *data, size_t len)
{
    if (!within(b, "a raft entry", len, STORE_VALUE_MAX))
        return;
    struct store_op *op = add_op(b, STORE_RAFT_APPEND, data, len);
    op->index = index;
    op->term = term;
    op->type = type;
}

void store_raft_truncate(struct store_batch *b, uint64_t from_index)
{
    add_op(b, STORE_RAFT_TRUNCATE, NULL, 0)->index = from_index;
}

void store_raft_snapshot_put(struct store_batch *b, uint64_t index, uint64_t term,
                             const void *config, size_t config_len, const void *data, size_t len,
                             uint64_t keep_from)
{
    if (!within(b, "a raft snapshot", len, STORE_DOCUMENT_MAX))
        return;
    struct store_op *op = add_op(b, STORE_RAFT_SNAPSHOT, data, len);
    op->index = index;
    op->term = term;
    op->keep_from = keep_from;
    op->config = xmemdup(config, config_len);
    op->config_len = config_len;
}
