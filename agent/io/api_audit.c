#include "agent/io/api_audit.h"

#include <stdio.h>

#include "agent/io/http_json.h"
#include "agent/io/query.h"
#include "proto/canon.h"
#include "proto/util.h"

#define LIST_LIMIT 100 /* entries when the caller names no limit */
#define EXPECT_MAX 2   /* own checkpoint, own head in the replicated state */

struct api_audit {
    struct api_audit_conf conf; /* its http: NULL when it is gone; the store may still answer */
};

/* An answer that is owed; ends with it. */
struct waiting {
    struct api_audit *audit;
    uint64_t token;
    enum store_proof proof;
    uint64_t seq;  /* of the record to be proven, or the size to go on from */
    json_t *doc;   /* the answer so far */
    uint64_t size; /* of the checkpoint in it */
};

struct api_audit *api_audit_new(const struct api_audit_conf *conf)
{
    struct api_audit *a = xcalloc(1, sizeof *a);
    a->conf = *conf;
    return a;
}

void api_audit_stop(struct api_audit *a)
{
    a->conf.http = NULL;
}

void api_audit_free(struct api_audit *a)
{
    free(a);
}

/* ---- answers ---- */

static struct waiting *wait_new(struct api_audit *a, uint64_t token)
{
    struct waiting *w = xcalloc(1, sizeof *w);
    w->audit = a;
    w->token = token;
    return w;
}

static void wait_free(struct waiting *w)
{
    json_decref(w->doc);
    free(w);
}
DEFINE_CLEANUP(struct waiting, wait_free)

/* ---- records ---- */

/* The record is JSON that this agent wrote; one that is not is shown as text. */
static json_t *entry_json(const struct store_audit_entry *e)
{
    char at[TIME_TEXT_SIZE], hash[HASH_HEX_SIZE];
    time_format(e->at_wall, at);
    hash_hex(e->hash, hash);
    json_t *record = json_loads(e->record, 0, NULL);
    if (record == NULL)
        record = json_string(e->record);
    return json_pack("{s:I,s:s,s:s,s:o,s:s}", "seq", (json_int_t)e->seq, "at", at, "hash", hash,
                     "record", record, "text", e->record);
}

static void listed(void *arg, const struct err *err, const struct store_audit_entry *entries,
                   size_t n)
{
    _cleanup_(wait_freep) struct waiting *w = arg;
    if (err != NULL) {
        http_json_err(w->audit->conf.http, w->token, err, 500);
        return;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, entry_json(&entries[i]));
    http_json_answer(w->audit->conf.http, w->token, 200, json_pack("{s:o}", "entries", list));
}

static void list(struct api_audit *a, uint64_t token, const char *query)
{
    struct waiting *w = wait_new(a, token);
    struct err err = {0};
    uint64_t from = query_number(query, "from", 0),
             limit = query_number(query, "limit", LIST_LIMIT);
    if (from == 0) { /* the newest */
        uint8_t root[HASH_SIZE];
        uint64_t size;
        store_audit_head(a->conf.store, &size, root);
        from = size > limit ? size - limit + 1 : 1;
    }
    if (store_audit_list(a->conf.store, from, limit, listed, w, &err) < 0) {
        wait_free(w);
        http_json_err(a->conf.http, token, &err, 500);
    }
}

/* ---- verifying ---- */

/* Size and root of a checkpoint that was verified when it came: no need to do so again. */
static bool read_checkpoint(const char *text, size_t len, struct audit_expect *ret)
{
    struct err err;
    _cleanup_json_ json_t *doc = NULL;
    if (canon_parse(text, len, "checkpoint", &doc, &err) < 0)
        return false;
    const json_t *body = json_object_get(doc, "body");
    const char *root = json_string_value(json_object_get(body, "root"));
    json_int_t size = json_integer_value(json_object_get(body, "size"));
    ret->size = (uint64_t)size;
    return size >= 0 && root != NULL && hash_from_hex(root, ret->root);
}

/* Ordered by size. */
static size_t expectations(const struct api_audit *a, struct audit_expect ret[EXPECT_MAX])
{
    const char *latest = notary_checkpoint(a->conf.notary);
    Skein__AuditHead *const *heads;
    size_t n = 0, n_heads = state_heads(a->conf.state, &heads);
    if (latest != NULL && read_checkpoint(latest, strlen(latest), &ret[n]))
        ret[n++].who = "this host signed last";
    for (size_t i = 0; i < n_heads; i++) {
        if (strcmp(heads[i]->host, a->conf.host) == 0 &&
            read_checkpoint((const char *)heads[i]->document.data, heads[i]->document.len, &ret[n]))
            ret[n++].who = "the voters committed";
    }
    if (n == 2 && ret[0].size > ret[1].size) {
        struct audit_expect first = ret[1];
        ret[1] = ret[0];
        ret[0] = first;
    }
    return n;
}

static void verify(struct api_audit *a, uint64_t token)
{
    struct audit_verdict verdict = {0};
    struct audit_expect expect[EXPECT_MAX];
    struct err err = {0};
    char root[HASH_HEX_SIZE];
    size_t n = expectations(a, expect);
    int rc = audit_verify(a->conf.path, expect, n, &verdict, &err);
    if (rc < 0 && err.code != ERR_CONFLICT) {
        http_json_err(a->conf.http, token, &err, 500);
        return;
    }
    hash_hex(verdict.root, root);
    json_t *body = json_pack("{s:b,s:I,s:s,s:i}", "intact", rc == 0, "entries",
                             (json_int_t)verdict.entries, "root", root, "signed", (int)n);
    if (rc < 0) {
        json_object_set_new(body, "broken_seq", json_integer((json_int_t)verdict.broken_seq));
        json_object_set_new(body, "message", json_string(err.msg));
    }
    http_json_answer(a->conf.http, token, 200, body);
}

/* ---- with a fresh checkpoint ---- */

static json_t *heads_json(const struct api_audit *a)
{
    Skein__AuditHead *const *heads;
    size_t n = state_heads(a->conf.state, &heads);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *doc =
            json_loadb((const char *)heads[i]->document.data, heads[i]->document.len, 0, NULL);
        if (doc != NULL)
            json_array_append_new(list, doc);
    }
    return list;
}

static void proved(void *arg, const struct err *err, const struct merkle_proof *proof)
{
    _cleanup_(wait_freep) struct waiting *w = arg;
    char hex[HASH_HEX_SIZE];
    if (err != NULL) {
        http_json_err(w->audit->conf.http, w->token, err, 500);
        return;
    }
    json_t *path = json_array();
    for (size_t i = 0; i < proof->n; i++) {
        hash_hex(proof->hashes[i], hex);
        json_array_append_new(path, json_string(hex));
    }
    json_object_set_new(w->doc, "proof", path);
    http_json_answer(w->audit->conf.http, w->token, 200, TAKE_PTR(w->doc));
}

static void prove(struct waiting *wait)
{
    _cleanup_(wait_freep) struct waiting *w = wait;
    struct err err = {0};
    uint64_t from = w->proof == STORE_PROOF_INCLUSION ? w->seq - 1 : w->seq;
    if (store_audit_proof(w->audit->conf.store, w->proof, from, w->size, proved, w, &err) < 0)
        http_json_err(w->audit->conf.http, w->token, &err, 500);
    else
        w = NULL;
}

static void record_found(void *arg, const struct err *err, const struct store_audit_entry *entries,
                         size_t n)
{
    struct waiting *w = arg;
    struct err none;
    if (err == NULL && n == 0) {
        err_set(&none, ERR_NOT_FOUND, "there is no record %llu", (unsigned long long)w->seq);
        err = &none;
    }
    if (err != NULL) {
        http_json_err(w->audit->conf.http, w->token, err, 500);
        wait_free(w);
        return;
    }
    json_object_set_new(w->doc, "record", json_string(entries[0].record));
    json_object_set_new(w->doc, "seq", json_integer((json_int_t)w->seq));
    prove(w);
}

/* {"schema", "cluster", "cluster_uuid", "checkpoint"} of what is being made. */
static int begin_doc(struct waiting *w, const char *schema, const char *checkpoint, struct err *err)
{
    struct audit_expect head;
    const struct cluster *cluster = w->audit->conf.cluster;
    json_t *doc = NULL;
    if (!read_checkpoint(checkpoint, strlen(checkpoint), &head))
        return err_set(err, ERR_INTERNAL, "the checkpoint is not sound");
    int rc = canon_parse(checkpoint, strlen(checkpoint), "checkpoint", &doc, err);
    if (rc < 0)
        return rc;
    w->size = head.size;
    w->doc =
        json_pack("{s:s, s:s, s:s, s:s, s:o}", "schema", schema, "cluster", cluster->name,
                  "cluster_uuid", cluster->uuid, "host", w->audit->conf.host, "checkpoint", doc);
    return 0;
}

static void export_fresh(void *arg, const struct err *err, const char *text)
{
    _cleanup_(wait_freep) struct waiting *w = arg;
    struct err own = {0};
    if (err != NULL || begin_doc(w, "skein.audit/1", text, &own) < 0) {
        http_json_err(w->audit->conf.http, w->token, err != NULL ? err : &own, 500);
        return;
    }
    json_object_set_new(w->doc, "heads", heads_json(w->audit));
    http_json_answer(w->audit->conf.http, w->token, 200, TAKE_PTR(w->doc));
}

static void proof_fresh(void *arg, const struct err *err, const char *text)
{
    struct waiting *w = arg;
    bool inclusion = w->proof == STORE_PROOF_INCLUSION;
    struct err own = {0};
    if (err == NULL && begin_doc(w, inclusion ? "skein.audit-proof/1" : "skein.audit-consistency/1",
                                 text, &own) == 0) {
        if (!inclusion) {
            json_object_set_new(w->doc, "from", json_integer((json_int_t)w->seq));
            prove(w);
            return;
        }
        if (store_audit_list(w->audit->conf.store, w->seq, 1, record_found, w, &own) == 0)
            return;
    }
    http_json_err(w->audit->conf.http, w->token, err != NULL ? err : &own, 500);
    wait_free(w);
}

static void with_proof(struct api_audit *a, struct moment now, uint64_t token, const char *query,
                       enum store_proof proof)
{
    struct waiting *w = wait_new(a, token);
    struct err err;
    const char *key = proof == STORE_PROOF_INCLUSION ? "seq" : "from";
    w->proof = proof;
    w->seq = query_number(query, key, 0);
    if (w->seq == 0 || w->seq > MERKLE_SIZE_MAX) {
        err_set(&err, ERR_INVALID, "\"%s\" is missing: a number from 1 on", key);
        http_json_err(a->conf.http, token, &err, 500);
        wait_free(w);
        return;
    }
    notary_fresh(a->conf.notary, now, proof_fresh, w);
}

bool api_audit_call(struct api_audit *a, struct moment now, uint64_t token,
                    const Skein__ApiCall *call)
{
    if (strcmp(call->method, "GET") != 0)
        return false;
    if (strcmp(call->path, "/v1/audit") == 0)
        list(a, token, call->query);
    else if (strcmp(call->path, "/v1/audit/verify") == 0)
        verify(a, token);
    else if (strcmp(call->path, "/v1/audit/export") == 0)
        notary_fresh(a->conf.notary, now, export_fresh, wait_new(a, token));
    else if (strcmp(call->path, "/v1/audit/proof") == 0)
        with_proof(a, now, token, call->query, STORE_PROOF_INCLUSION);
    else if (strcmp(call->path, "/v1/audit/consistency") == 0)
        with_proof(a, now, token, call->query, STORE_PROOF_CONSISTENCY);
    else
        return false;
    return true;
}
