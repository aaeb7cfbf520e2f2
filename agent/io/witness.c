/* witness.c - the notary's other side: a voter cosigns another host's head when that log only goes
 * on from all that it has seen of it. What it has seen is on the disk before it says so. */
#include <stdio.h>

#include "agent/io/notary_priv.h"
#include "proto/log.h"
#include "proto/util.h"

#define HOSTS_MAX 10000
#define VALUE_SIZE (8 + HASH_SIZE) /* size, big endian, and root */

void witness_done(struct witness *w)
{
    free(w->items);
}

static void key_of(const char *host, char *ret, size_t size)
{
    snprintf(ret, size, "witness/%s", host);
}

static void load_seen(struct store *store, struct seen *seen)
{
    char key[NAME_SIZE + 16];
    struct err err;
    _cleanup_(freep) void *value = NULL;
    size_t len;
    key_of(seen->host, key, sizeof key);
    if (store_kv_get(store, key, &value, &len, &err) < 0 || len != VALUE_SIZE)
        return;
    for (int i = 0; i < 8; i++)
        seen->size = seen->size << 8 | ((const uint8_t *)value)[i];
    memcpy(seen->root, (const uint8_t *)value + 8, HASH_SIZE);
}

static struct seen *seen_of(struct notary *n, const char *host)
{
    struct witness *w = &n->witness;
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->items[i].host, host) == 0)
            return &w->items[i];
    if (w->n >= HOSTS_MAX)
        return NULL;
    ARRAY_RESERVE(w->items, w->cap, w->n + 1);
    struct seen *seen = &w->items[w->n++];
    *seen = (struct seen){0};
    snprintf(seen->host, sizeof seen->host, "%s", host);
    load_seen(n->conf.store, seen);
    return seen;
}

static void answer(struct notary *n, const char *to, Skein__CosignAnswer *answer)
{
    Skein__AuditFrame frame = SKEIN__AUDIT_FRAME__INIT;
    frame.kind_case = SKEIN__AUDIT_FRAME__KIND_ANSWER;
    frame.answer = answer;
    n->conf.send(n->conf.arg, to, &frame);
}

static void refuse(struct notary *n, const char *to, uint64_t size, const struct seen *seen,
                   const struct err *err)
{
    Skein__CosignAnswer a = SKEIN__COSIGN_ANSWER__INIT;
    a.has_size = 1;
    a.size = size;
    a.code = (char *)err_name(err->code);
    a.message = (char *)err->msg;
    if (seen != NULL) {
        a.has_known_size = 1;
        a.known_size = seen->size;
    }
    answer(n, to, &a);
}

/* ---- judging ---- */

static int read_proof(const Skein__CosignAsk *ask, struct merkle_proof *ret, struct err *err)
{
    ret->n = 0;
    for (size_t i = 0; i < ask->n_proof; i++) {
        if (i == MERKLE_PROOF_MAX || ask->proof[i].len != HASH_SIZE)
            return err_set(err, ERR_INVALID, "the proof is malformed");
        memcpy(ret->hashes[ret->n++], ask->proof[i].data, HASH_SIZE);
    }
    return 0;
}

static int judge(const struct checkpoint *c, const Skein__CosignAsk *ask, const struct seen *seen,
                 struct err *err)
{
    struct merkle_proof proof;
    int rc = read_proof(ask, &proof, err);
    if (rc < 0)
        return rc;
    if (c->size < seen->size)
        return err_set(err, ERR_CONFLICT, "%s shows %llu records of its log, %llu were there",
                       c->host, (unsigned long long)c->size, (unsigned long long)seen->size);
    if (ask->from_size != seen->size)
        return err_set(err, ERR_STALE, "a proof from %llu records on is wanted",
                       (unsigned long long)seen->size);
    if (!merkle_continues(seen->size, seen->root, c->size, c->root, &proof))
        return err_set(err, ERR_CONFLICT,
                       "the log of %s does not go on from the %llu records that were seen", c->host,
                       (unsigned long long)seen->size);
    return 0;
}

/* ---- cosigning ---- */

struct cosigning {
    struct notary *notary;
    char host[NAME_SIZE];
    uint64_t size;
    char *checkpoint; /* owned */
    msec wall;
};

static void cosign(const struct cosigning *c, struct err *err)
{
    struct notary *n = c->notary;
    _cleanup_(freep) char *text = NULL;
    Skein__CosignAnswer a = SKEIN__COSIGN_ANSWER__INIT;
    if (cosignature_sign(c->checkpoint, strlen(c->checkpoint), n->conf.host, n->identity, c->wall,
                         &text, err) < 0)
        return;
    a.has_size = a.has_cosignature = 1;
    a.size = c->size;
    a.cosignature = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    answer(n, c->host, &a);
}

static void stored(void *arg, const struct err *err)
{
    struct cosigning *c = arg;
    struct err own = {0};
    if (err == NULL)
        cosign(c, &own);
    if (own.code != ERR_OK)
        log_err(&own, "nothing cosigned for %s", c->host);
    free(c->checkpoint);
    free(c);
}

static void remember(struct notary *n, struct moment now, struct seen *seen,
                     const struct checkpoint *c, const Skein__CosignAsk *ask)
{
    char key[NAME_SIZE + 16];
    uint8_t value[VALUE_SIZE];
    struct err err = {0};
    seen->size = c->size;
    memcpy(seen->root, c->root, HASH_SIZE);
    for (int i = 0; i < 8; i++)
        value[i] = (uint8_t)(c->size >> (56 - 8 * i));
    memcpy(value + 8, c->root, HASH_SIZE);
    key_of(seen->host, key, sizeof key);
    struct cosigning *cosigning = xcalloc(1, sizeof *cosigning);
    *cosigning = (struct cosigning){.notary = n, .size = c->size, .wall = now.wall};
    memcpy(cosigning->host, seen->host, sizeof cosigning->host);
    cosigning->checkpoint = xasprintf("%.*s", (int)ask->checkpoint.len, ask->checkpoint.data);
    struct store_batch *batch = store_batch_new();
    store_kv_put(batch, key, value, sizeof value);
    if (store_submit(n->conf.store, batch, stored, cosigning, &err) < 0)
        stored(cosigning, &err);
}

static bool votes(const struct notary *n)
{
    for (size_t i = 0; i < n->conf.n_voters; i++)
        if (strcmp(n->conf.voters[i], n->conf.host) == 0)
            return true;
    return false;
}

void witness_ask(struct notary *n, struct moment now, const char *from, const Skein__CosignAsk *ask)
{
    struct err err = {0};
    struct checkpoint c = {0};
    struct seen *seen = NULL;
    if (!votes(n))
        err_set(&err, ERR_DENIED, "%s does not vote", n->conf.host);
    else if (checkpoint_verify((const char *)ask->checkpoint.data, ask->checkpoint.len, n->machines,
                               n->conf.cluster, now.wall, &c, NULL, NULL, &err) == 0 &&
             strcmp(c.host, from) != 0)
        err_set(&err, ERR_DENIED, "a checkpoint of %s", c.host);
    else if (err.code == ERR_OK && (seen = seen_of(n, from)) == NULL)
        err_set(&err, ERR_LIMIT, "%d logs are witnessed already", HOSTS_MAX);
    else if (err.code == ERR_OK && judge(&c, ask, seen, &err) == 0) {
        remember(n, now, seen, &c, ask);
        return;
    }
    if (err.code == ERR_CONFLICT && !seen->told) {
        seen->told = true;
        n->conf.conflict(n->conf.arg, from, err.msg);
    }
    refuse(n, from, c.size, seen, &err);
}
