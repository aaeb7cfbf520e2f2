#include "agent/ctl/audit_check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "proto/canon.h"
#include "proto/merkle.h"
#include "tls/checkpoint.h"

#define SCHEMAS "skein.audit" /* what all of them begin with */
#define EXPORT_SCHEMA SCHEMAS "/1"

/* A checkpoint known from somewhere: what a host signed of its log. */
struct known {
    struct checkpoint c;
    char *where; /* owned; for the message */
};

/* The log that is being read. */
struct section {
    bool open;
    struct checkpoint c;
    json_t *cosigned_by; /* owned */
    struct merkle_tree tree;
    unsigned line; /* of its beginning */
};

struct check {
    const struct audit_check_args *args;
    msec now;
    struct anchor *machines; /* owned */
    struct cluster cluster;  /* name "": not known yet */
    struct known *known;     /* owned */
    size_t n_known, cap_known;
    struct section section;
    const char *file;
    unsigned line;
    json_t *logs, *proofs, *notes; /* owned */
};

static void check_done(struct check *k)
{
    for (size_t i = 0; i < k->n_known; i++)
        free(k->known[i].where);
    free(k->known);
    anchor_free(k->machines);
    json_decref(k->section.cosigned_by);
    json_decref(k->logs);
    json_decref(k->proofs);
    json_decref(k->notes);
}

static void note(struct check *k, char *text)
{
    json_array_append_new(k->notes, json_string(text));
    free(text);
}

/* ---- the roots ---- */

static int load_roots(struct check *k, struct err *err)
{
    struct stat st;
    const char *roots = k->args->roots;
    if (stat(roots, &st) < 0)
        return err_set(err, ERR_IO, "--roots %s: %s", roots, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return anchor_load(roots, NULL, &k->machines, err);
    _cleanup_(freep) char *pem = xasprintf("%s/machines.pem", roots);
    _cleanup_(freep) char *cluster = xasprintf("%s/cluster.json", roots);
    if (stat(cluster, &st) == 0 && cluster_load(cluster, &k->cluster, err) < 0)
        return -(int)err->code;
    return anchor_load(pem, NULL, &k->machines, err);
}

/* The document's own word for its cluster, when nothing better is known; certificates carry the
 * name, signatures the UUID, so that a false word verifies nothing. */
static int learn_cluster(struct check *k, const json_t *doc, struct err *err)
{
    const char *name = json_string_value(json_object_get(doc, "cluster"));
    const char *uuid = json_string_value(json_object_get(doc, "cluster_uuid"));
    if (name == NULL || uuid == NULL || !uuid_is_valid(uuid) || name_check("cluster", name, err))
        return err_set(err, ERR_INVALID, "it does not say of which cluster it is");
    if (k->cluster.name[0] == '\0') {
        snprintf(k->cluster.name, sizeof k->cluster.name, "%s", name);
        snprintf(k->cluster.uuid, sizeof k->cluster.uuid, "%s", uuid);
    }
    if (strcmp(k->cluster.uuid, uuid) != 0 || strcmp(k->cluster.name, name) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "it is of cluster %s (%s), not of %s (%s)", name,
                       uuid, k->cluster.name, k->cluster.uuid);
    return 0;
}

/* ---- what is signed ---- */

static int read_checkpoint(const struct check *k, const json_t *doc, struct checkpoint *ret,
                           json_t **ret_cosigned, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    struct checkpoint_witness witnesses[CHECKPOINT_COSIGNATURES_MAX];
    size_t len, n = 0;
    int rc;
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "a checkpoint is missing");
    if ((rc = canon_dump(doc, &text, &len, err)) < 0 ||
        (rc = checkpoint_verify(text, len, k->machines, &k->cluster, k->now, ret, witnesses, &n,
                                err)) < 0)
        return rc;
    if (ret_cosigned == NULL)
        return 0;
    *ret_cosigned = json_array();
    for (size_t i = 0; i < n; i++)
        if (strcmp(witnesses[i].host, ret->host) != 0)
            json_array_append_new(*ret_cosigned, json_string(witnesses[i].host));
    return 0;
}

static void know(struct check *k, const struct checkpoint *c, const char *where)
{
    ARRAY_RESERVE(k->known, k->cap_known, k->n_known + 1);
    k->known[k->n_known++] = (struct known){*c, xstrdup(where)};
}

static int know_doc(struct check *k, const json_t *doc, const char *where, struct err *err)
{
    struct checkpoint c;
    int rc = read_checkpoint(k, doc, &c, NULL, err);
    if (rc == 0)
        know(k, &c, where);
    return rc;
}

/* At this length of the open log: is its root what was signed of it elsewhere? */
static int meet_known(const struct check *k, struct err *err)
{
    const struct section *s = &k->section;
    uint8_t root[HASH_SIZE];
    bool computed = false;
    for (size_t i = 0; i < k->n_known; i++) {
        const struct known *known = &k->known[i];
        if (known->c.size != s->tree.size || strcmp(known->c.host, s->c.host) != 0)
            continue;
        if (!computed)
            merkle_root(&s->tree, root);
        computed = true;
        if (memcmp(root, known->c.root, HASH_SIZE) != 0)
            return err_set(err, ERR_CONFLICT,
                           "the log of %s up to record %" PRIu64 " is not what %s of it", s->c.host,
                           s->tree.size, known->where);
    }
    return 0;
}

/* A longer log was signed, at a time when this export claims a shorter one. */
static int check_ends(struct check *k, struct err *err)
{
    const struct section *s = &k->section;
    uint64_t longer = 0;
    for (size_t i = 0; i < k->n_known; i++) {
        const struct known *known = &k->known[i];
        if (strcmp(known->c.host, s->c.host) != 0 || known->c.size <= s->c.size)
            continue;
        if (known->c.at <= s->c.at)
            return err_set(err, ERR_CONFLICT,
                           "the log of %s ends after %" PRIu64 " records, but %" PRIu64
                           " are what %s of it, and not later",
                           s->c.host, s->c.size, known->c.size, known->where);
        longer = MAX(longer, known->c.size);
    }
    if (longer > 0)
        note(k,
             xasprintf("%s: by now its log has %" PRIu64 " records or more; this export is older",
                       s->c.host, longer));
    return 0;
}

/* ---- a log ---- */

static int end_section(struct check *k, struct err *err)
{
    struct section *s = &k->section;
    uint8_t root[HASH_SIZE];
    char hex[HASH_HEX_SIZE], at[TIME_TEXT_SIZE];
    if (!s->open)
        return 0;
    s->open = false;
    merkle_root(&s->tree, root);
    if (s->tree.size != s->c.size)
        return err_set(
            err, ERR_CONFLICT,
            "the log of %s has %" PRIu64 " records here, its checkpoint %" PRIu64 ": some were %s",
            s->c.host, s->tree.size, s->c.size, s->tree.size < s->c.size ? "removed" : "put in");
    if (memcmp(root, s->c.root, HASH_SIZE) != 0)
        return err_set(err, ERR_CONFLICT,
                       "the log of %s is not what it signed: a record was altered or moved",
                       s->c.host);
    if (check_ends(k, err) < 0)
        return -(int)err->code;
    hash_hex(root, hex);
    time_format(s->c.at, at);
    json_array_append_new(k->logs, json_pack("{s:s, s:s, s:I, s:s, s:s, s:O}", "file", k->file,
                                             "host", s->c.host, "records", (json_int_t)s->c.size,
                                             "root", hex, "at", at, "cosigned_by", s->cosigned_by));
    return 0;
}

static int enough_cosigned(const struct check *k, const struct checkpoint *c,
                           const json_t *cosigned_by, struct err *err)
{
    if ((int)json_array_size(cosigned_by) >= k->args->cosigned)
        return 0;
    return err_set(err, ERR_DENIED, "the checkpoint of %s is cosigned by %zu others, wants %d",
                   c->host, json_array_size(cosigned_by), k->args->cosigned);
}

static int begin_section(struct check *k, const json_t *doc, struct err *err)
{
    struct section *s = &k->section;
    const char *host = json_string_value(json_object_get(doc, "host"));
    json_decref(s->cosigned_by);
    *s = (struct section){.line = k->line};
    if (learn_cluster(k, doc, err) < 0 ||
        read_checkpoint(k, json_object_get(doc, "checkpoint"), &s->c, &s->cosigned_by, err) < 0)
        return -(int)err->code;
    if (host == NULL || strcmp(host, s->c.host) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "the export says host %s, its checkpoint %s",
                       host != NULL ? host : "?", s->c.host);
    s->open = true;
    return enough_cosigned(k, &s->c, s->cosigned_by, err);
}

static int take_record(struct check *k, const char *line, size_t len, struct err *err)
{
    struct section *s = &k->section;
    uint8_t leaf[HASH_SIZE];
    if (!s->open)
        return err_set(err, ERR_INVALID, "a record before any checkpoint: not an export, or cut");
    merkle_leaf(line, len, leaf);
    if (merkle_append(&s->tree, leaf, NULL, NULL, err) < 0)
        return -(int)err->code;
    return meet_known(k, err);
}

/* ---- proofs ---- */

static int read_path(const json_t *doc, struct merkle_proof *ret, struct err *err)
{
    const json_t *path = json_object_get(doc, "proof");
    size_t n = json_array_size(path);
    ret->n = 0;
    for (size_t i = 0; i < n; i++) {
        const char *hex = json_string_value(json_array_get(path, i));
        if (i == MERKLE_PROOF_MAX || hex == NULL || !hash_from_hex(hex, ret->hashes[i]))
            return err_set(err, ERR_INVALID, "the proof is malformed");
        ret->n++;
    }
    return json_is_array(path) ? 0 : err_set(err, ERR_INVALID, "the proof is missing");
}

static int begin_proof(struct check *k, const json_t *doc, struct checkpoint *ret,
                       struct merkle_proof *proof, struct err *err)
{
    json_t *cosigned_by = NULL;
    if (learn_cluster(k, doc, err) < 0 ||
        read_checkpoint(k, json_object_get(doc, "checkpoint"), ret, &cosigned_by, err) < 0)
        return -(int)err->code;
    int rc = enough_cosigned(k, ret, cosigned_by, err);
    json_decref(cosigned_by);
    return rc < 0 ? rc : read_path(doc, proof, err);
}

static int take_inclusion(struct check *k, const json_t *doc, struct err *err)
{
    struct checkpoint c;
    struct merkle_proof proof;
    uint8_t leaf[HASH_SIZE];
    const char *record = json_string_value(json_object_get(doc, "record"));
    json_int_t seq = json_integer_value(json_object_get(doc, "seq"));
    if (begin_proof(k, doc, &c, &proof, err) < 0)
        return -(int)err->code;
    if (record == NULL || seq < 1)
        return err_set(err, ERR_INVALID, "record or seq is missing");
    merkle_leaf(record, strlen(record), leaf);
    if (!merkle_includes(leaf, (uint64_t)seq - 1, c.size, &proof, c.root))
        return err_set(err, ERR_CONFLICT, "record %lld is not in the log that %s signed",
                       (long long)seq, c.host);
    json_array_append_new(k->proofs, json_pack("{s:s, s:I, s:s}", "host", c.host, "seq",
                                               (json_int_t)seq, "record", record));
    return 0;
}

static int take_consistency(struct check *k, const json_t *doc, struct err *err)
{
    struct checkpoint c;
    struct merkle_proof proof;
    json_int_t from = json_integer_value(json_object_get(doc, "from"));
    bool found = false;
    if (begin_proof(k, doc, &c, &proof, err) < 0)
        return -(int)err->code;
    for (size_t i = 0; i < k->n_known; i++) {
        const struct known *known = &k->known[i];
        if (strcmp(known->c.host, c.host) != 0 || known->c.size != (uint64_t)from)
            continue;
        found = true;
        if (!merkle_continues(known->c.size, known->c.root, c.size, c.root, &proof))
            return err_set(err, ERR_CONFLICT,
                           "the log of %s does not go on from what %s of its first %lld records",
                           c.host, known->where, (long long)from);
    }
    if (!found)
        return err_set(err, ERR_NOT_FOUND,
                       "no checkpoint of %s with %lld records is given; try: --anchors FILE",
                       c.host, (long long)from);
    json_array_append_new(k->proofs, json_pack("{s:s, s:I, s:I}", "host", c.host, "from",
                                               (json_int_t)from, "size", (json_int_t)c.size));
    return 0;
}

/* ---- lines ---- */

/* The schema of a line that is a document of the audit's; NULL: it is a record. */
static const char *schema_of(const json_t *doc)
{
    return json_string_value(json_object_get(doc, "schema"));
}

static int take_line(struct check *k, const char *line, size_t len, struct err *err)
{
    _cleanup_json_ json_t *doc = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    const char *schema = schema_of(doc);
    if (schema == NULL)
        return take_record(k, line, len, err);
    if (end_section(k, err) < 0)
        return -(int)err->code;
    if (strcmp(schema, EXPORT_SCHEMA) == 0)
        return begin_section(k, doc, err);
    if (strcmp(schema, "skein.audit-proof/1") == 0)
        return take_inclusion(k, doc, err);
    if (strcmp(schema, "skein.audit-consistency/1") == 0)
        return take_consistency(k, doc, err);
    return err_set(err, ERR_INVALID, "a line of schema \"%.60s\"", schema);
}

/* First reading: what all the files, and the anchors, say was signed. */
static int learn_line(struct check *k, const char *line, size_t len, struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    if (memmem(line, len, SCHEMAS, strlen(SCHEMAS)) == NULL)
        return 0; /* a record: of no interest yet */
    doc = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    if (schema_of(doc) == NULL || strncmp(schema_of(doc), SCHEMAS, strlen(SCHEMAS)) != 0)
        return 0;
    if (learn_cluster(k, doc, err) < 0)
        return -(int)err->code;
    const char *host = json_string_value(json_object_get(doc, "host"));
    _cleanup_(freep) char *where =
        xasprintf("the voters committed, as %s exported it,", host != NULL ? host : "?");
    size_t i;
    const json_t *head;
    json_array_foreach(json_object_get(doc, "heads"), i,
                       head) if (know_doc(k, head, where, err) <
                                 0) return err_wrap(err, "heads[%zu]", i);
    return 0;
}

static int learn_anchor(struct check *k, const char *line, size_t len, struct err *err)
{
    _cleanup_json_ json_t *doc = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    return know_doc(k, doc, "was anchored", err);
}

static int each_line(struct check *k, const char *path,
                     int (*take)(struct check *k, const char *line, size_t len, struct err *err),
                     struct err *err)
{
    char *line = NULL;
    size_t cap = 0;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    int rc = f != NULL ? 0 : err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    k->file = path;
    k->line = 0;
    for (ssize_t n; rc >= 0 && (n = getline(&line, &cap, f)) >= 0;) {
        k->line++;
        n -= n > 0 && line[n - 1] == '\n';
        rc = take(k, line, (size_t)n, err);
    }
    if (rc < 0 && f != NULL)
        err_wrap(err, "%s:%u", path, k->line);
    free(line);
    if (f != NULL && f != stdin)
        fclose(f);
    return rc;
}

static int read_all(struct check *k, char *const *files, int n_files, struct err *err)
{
    int rc = load_roots(k, err);
    for (int i = 0; rc >= 0 && i < n_files; i++)
        rc = each_line(k, files[i], learn_line, err);
    if (rc >= 0 && k->args->anchors != NULL)
        rc = each_line(k, k->args->anchors, learn_anchor, err);
    for (int i = 0; rc >= 0 && i < n_files; i++) {
        rc = each_line(k, files[i], take_line, err);
        if (rc >= 0 && (rc = end_section(k, err)) < 0)
            err_wrap(err, "%s", files[i]);
    }
    return rc;
}

int audit_check(const struct audit_check_args *args, char *const *files, int n_files, msec now,
                json_t **ret, struct err *err)
{
    _cleanup_(check_done) struct check k = {.args = args, .now = now};
    k.logs = json_array();
    k.proofs = json_array();
    k.notes = json_array();
    int rc = read_all(&k, files, n_files, err);
    if (rc < 0)
        return rc;
    if (json_array_size(k.logs) + json_array_size(k.proofs) == 0)
        return err_set(err, ERR_INVALID, "%s: nothing that could be verified", files[0]);
    *ret = json_pack("{s:b, s:O, s:O, s:O}", "intact", 1, "logs", k.logs, "proofs", k.proofs,
                     "notes", k.notes);
    return 0;
}
