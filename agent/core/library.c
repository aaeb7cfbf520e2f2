#include "agent/core/library.h"

#include <stdio.h>

#include "proto/codec.h"

static const struct command_verb verbs[] = {
    [LIBRARY_SHADOW] = {"policy-shadow", TRUST_OPERATOR | TRUST_ADMIN},
    [LIBRARY_PROMOTE] = {"policy-promote", TRUST_ADMIN},
    /* It leads back to what an admin promoted before, or to nothing. */
    [LIBRARY_REVERT] = {"policy-revert", TRUST_OPERATOR | TRUST_APPROVER | TRUST_ADMIN},
};

struct library {
    Skein__PolicyRecord **items; /* sorted by name */
    size_t n, cap;
    unsigned generation;
};

/* ---- commands ---- */

const char *library_verb_name(enum library_verb v)
{
    REQUIRE((size_t)v < ARRAY_SIZE(verbs));
    return verbs[v].name;
}

bool library_is_verb(const char *type)
{
    return command_find_verb(verbs, ARRAY_SIZE(verbs), type) >= 0;
}

/* A letter, then letters, digits, "_" and "-". */
static bool name_ok(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t n = strlen(name);
    return n > 0 && n < LIBRARY_NAME_SIZE && strchr(letters, name[0]) != NULL &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

void library_digest(const char *source, size_t len, char ret[HASH_HEX_SIZE])
{
    uint8_t hash[HASH_SIZE];
    hash_domain(HASH_DOMAIN_POLICY, source, len, hash);
    hash_hex(hash, ret);
}

static int check_source(const char *policy, size_t len, struct err *err)
{
    if (len == 0)
        return err_set(err, ERR_INVALID, "policy %s: its source is empty", policy);
    if (len > LIBRARY_SOURCE_MAX)
        return err_set(err, ERR_LIMIT, "policy %s: %zu bytes of source, %u are replicated", policy,
                       len, LIBRARY_SOURCE_MAX);
    return 0;
}

static int read_source(const json_t *command, struct library_command *c, struct err *err)
{
    const json_t *source = json_object_get(command, "source");
    char digest[HASH_HEX_SIZE];
    if (source == NULL || json_is_null(source))
        return c->verb == LIBRARY_SHADOW
                   ? err_set(err, ERR_INVALID, "command: \"source\" is missing")
                   : 0;
    if (!json_is_string(source) || c->verb == LIBRARY_REVERT)
        return err_set(err, ERR_INVALID, "command: \"source\" is not a text that belongs here");
    size_t len = json_string_length(source);
    if (check_source(c->policy, len, err) < 0)
        return -(int)err->code;
    library_digest(json_string_value(source), len, digest);
    if (strcmp(digest, c->digest) != 0)
        return err_set(err, ERR_INVALID, "command: \"digest\" is not that of the source");
    c->source = xmemdup(json_string_value(source), len);
    c->source_len = len;
    return 0;
}

int library_read(const struct trust_command *t, struct library_command *ret, struct err *err)
{
    struct library_command c = {.roles = t->roles, .expires_at = t->expires_at};
    uint8_t hash[HASH_SIZE];
    memcpy(c.person, t->person, sizeof c.person);
    memcpy(c.key, t->key, sizeof c.key);
    memcpy(c.nonce, t->nonce, sizeof c.nonce);
    int verb = command_find_verb(verbs, ARRAY_SIZE(verbs), command_type(t));
    if (verb < 0)
        return err_set(err, ERR_UNSUPPORTED, "command: unknown to this version");
    c.verb = (enum library_verb)verb;
    if (command_text(t->command, "policy", true, c.policy, sizeof c.policy, err) < 0 ||
        command_text(t->command, "digest", true, c.digest, sizeof c.digest, err) < 0 ||
        command_text(t->command, "reason", false, c.reason, sizeof c.reason, err) < 0)
        return -(int)err->code;
    if (!name_ok(c.policy))
        return err_set(err, ERR_INVALID, "command: \"policy\" is not a policy's name");
    if (!hash_from_hex(c.digest, hash))
        return err_set(err, ERR_INVALID, "command: \"digest\" is not a digest");
    if ((c.roles & verbs[c.verb].roles) == 0)
        return err_set(err, ERR_DENIED, "%s has no role that may %s", c.person, verbs[c.verb].name);
    c.drop_shadow = c.verb == LIBRARY_REVERT && json_is_true(json_object_get(t->command, "shadow"));
    if (read_source(t->command, &c, err) < 0)
        return -(int)err->code;
    *ret = c;
    return 0;
}

void library_command_done(struct library_command *c)
{
    free(TAKE_PTR(c->source));
}

/* ---- what is held ---- */

struct library *library_new(void)
{
    return xcalloc(1, sizeof(struct library));
}

void library_free(struct library *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->n; i++)
        skein__policy_record__free_unpacked(l->items[i], NULL);
    free(l->items);
    free(l);
}

size_t library_records(const struct library *l, Skein__PolicyRecord *const **ret)
{
    *ret = l->items;
    return l->n;
}

unsigned library_generation(const struct library *l)
{
    return l->generation;
}

static size_t place(const struct library *l, const char *name)
{
    size_t i = 0;
    while (i < l->n && strcmp(l->items[i]->name, name) < 0)
        i++;
    return i;
}

static Skein__PolicyRecord *find(const struct library *l, const char *name)
{
    size_t i = place(l, name);
    return i < l->n && strcmp(l->items[i]->name, name) == 0 ? l->items[i] : NULL;
}

const Skein__PolicyRecord *library_find(const struct library *l, const char *name)
{
    return find(l, name);
}

static size_t version_size(const Skein__PolicyVersion *v)
{
    return v != NULL ? v->source.len : 0;
}

static int check_room(const struct library *l, bool is_new, size_t more, struct err *err)
{
    size_t bytes = more;
    for (size_t i = 0; i < l->n; i++)
        bytes += version_size(l->items[i]->active) + version_size(l->items[i]->previous) +
                 version_size(l->items[i]->shadow);
    if (is_new && l->n >= LIBRARY_POLICIES_MAX)
        return err_set(err, ERR_LIMIT, "%d policies are held already", LIBRARY_POLICIES_MAX);
    if (bytes > LIBRARY_BYTES_MAX)
        return err_set(err, ERR_LIMIT, "the policies held would take %zu KiB, %u are allowed",
                       bytes >> 10, LIBRARY_BYTES_MAX >> 10);
    return 0;
}

static Skein__PolicyRecord *need(struct library *l, const char *name)
{
    Skein__PolicyRecord *r = find(l, name);
    if (r != NULL)
        return r;
    size_t i = place(l, name);
    ARRAY_RESERVE(l->items, l->cap, l->n + 1);
    memmove(&l->items[i + 1], &l->items[i], (l->n++ - i) * sizeof *l->items);
    Skein__PolicyRecord fresh = SKEIN__POLICY_RECORD__INIT;
    fresh.name = (char *)name;
    return l->items[i] = (Skein__PolicyRecord *)codec_copy(&fresh.base);
}

static Skein__PolicyVersion *version_new(const char *digest, const void *source, size_t len,
                                         msec at)
{
    Skein__PolicyVersion v = SKEIN__POLICY_VERSION__INIT;
    v.digest = (char *)digest;
    v.has_source = v.has_since_ms = 1;
    v.source = (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)source};
    v.since_ms = (uint64_t)at;
    return (Skein__PolicyVersion *)codec_copy(&v.base);
}

static void set_version(Skein__PolicyVersion **place_of, Skein__PolicyVersion *v)
{
    if (*place_of != NULL)
        skein__policy_version__free_unpacked(*place_of, NULL);
    *place_of = v;
}

/* Takes a new place by this command. */
static void sign_version(Skein__PolicyVersion *v, const struct library_command *c,
                         const ProtobufCBinaryData *envelope, msec at)
{
    Skein__Vote r = SKEIN__VOTE__INIT;
    r.has_envelope = r.has_roles = r.has_at_ms = r.has_expires_at_ms = 1;
    r.envelope = *envelope;
    r.verdict = (char *)library_verb_name(c->verb);
    r.person = (char *)c->person;
    r.roles = c->roles;
    r.key = (char *)c->key;
    r.at_ms = v->since_ms = (uint64_t)at;
    r.expires_at_ms = (uint64_t)c->expires_at;
    r.reason = (char *)c->reason;
    if (v->vote != NULL)
        skein__vote__free_unpacked(v->vote, NULL);
    v->vote = (Skein__Vote *)codec_copy(&r.base);
}

static bool is_version(const Skein__PolicyVersion *v, const char *digest)
{
    return v != NULL && strcmp(v->digest, digest) == 0;
}

int library_put(struct library *l, const Skein__PolicyPut *put, msec at, struct err *err)
{
    char digest[HASH_HEX_SIZE];
    if (put->name == NULL || !name_ok(put->name) || !put->has_source)
        return err_set(err, ERR_INVALID, "policy: a field is missing");
    if (find(l, put->name) != NULL)
        return err_set(err, ERR_EXISTS, "policy %s is known already", put->name);
    if (check_source(put->name, put->source.len, err) < 0 ||
        check_room(l, true, put->source.len, err) < 0)
        return -(int)err->code;
    library_digest((const char *)put->source.data, put->source.len, digest);
    need(l, put->name)->active = version_new(digest, put->source.data, put->source.len, at);
    l->generation++;
    return 0;
}

static int apply_shadow(struct library *l, const struct library_command *c,
                        const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    const Skein__PolicyRecord *r = find(l, c->policy);
    if (r != NULL && is_version(r->active, c->digest))
        return err_set(err, ERR_EXISTS, "policy %s: this version is active already", c->policy);
    if (r != NULL && is_version(r->shadow, c->digest))
        return err_set(err, ERR_EXISTS, "policy %s: this version is in shadow already", c->policy);
    if (check_room(l, r == NULL, c->source_len, err) < 0)
        return -(int)err->code;
    Skein__PolicyVersion *v = version_new(c->digest, c->source, c->source_len, at);
    sign_version(v, c, envelope, at);
    set_version(&need(l, c->policy)->shadow, v);
    return 0;
}

/* The version of this digest that is held, out of its place; NULL: none. */
static Skein__PolicyVersion *take_held(Skein__PolicyRecord *r, const char *digest)
{
    Skein__PolicyVersion **places[] = {&r->shadow, &r->previous};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (is_version(*places[i], digest))
            return TAKE_PTR(*places[i]);
    return NULL;
}

static int apply_promote(struct library *l, const struct library_command *c,
                         const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    Skein__PolicyRecord *r = find(l, c->policy);
    if (r != NULL && is_version(r->active, c->digest))
        return err_set(err, ERR_EXISTS, "policy %s: this version is active already", c->policy);
    Skein__PolicyVersion *v = r != NULL ? take_held(r, c->digest) : NULL;
    if (v == NULL && c->source == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "policy %s: no version %.12s is held; try: skein policy shadow FILE",
                       c->policy, c->digest);
    if (v == NULL) {
        if (check_room(l, r == NULL, c->source_len, err) < 0)
            return -(int)err->code;
        v = version_new(c->digest, c->source, c->source_len, at);
        r = need(l, c->policy);
    }
    sign_version(v, c, envelope, at);
    if (r->active != NULL)
        set_version(&r->previous, TAKE_PTR(r->active));
    r->active = v;
    return 0;
}

static int apply_revert(struct library *l, const struct library_command *c,
                        const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    Skein__PolicyRecord *r = find(l, c->policy);
    if (r == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no policy %s; try: skein policy list",
                       c->policy);
    const char *stage = c->drop_shadow ? "in shadow" : "active";
    if (!is_version(c->drop_shadow ? r->shadow : r->active, c->digest))
        return err_set(err, ERR_STALE, "policy %s: version %.12s is not %s", c->policy, c->digest,
                       stage);
    if (c->drop_shadow) {
        set_version(&r->shadow, NULL);
        return 0;
    }
    set_version(&r->active, TAKE_PTR(r->previous));
    if (r->active != NULL)
        sign_version(r->active, c, envelope, at);
    return 0;
}

int library_apply(struct library *l, const struct library_command *c,
                  const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    static int (*const apply[])(struct library *, const struct library_command *,
                                const ProtobufCBinaryData *, msec, struct err *) = {
        [LIBRARY_SHADOW] = apply_shadow,
        [LIBRARY_PROMOTE] = apply_promote,
        [LIBRARY_REVERT] = apply_revert,
    };

    REQUIRE((size_t)c->verb < ARRAY_SIZE(apply));
    int rc = apply[c->verb](l, c, envelope, at, err);
    l->generation += rc == 0;
    return rc;
}

/* ---- the image ---- */

void library_image(const struct library *l, Skein__StateImage *image)
{
    image->policies = xcalloc(l->n, sizeof *image->policies);
    for (size_t i = 0; i < l->n; i++)
        image->policies[image->n_policies++] =
            (Skein__PolicyRecord *)codec_copy(&l->items[i]->base);
}

static bool version_is_whole(const Skein__PolicyVersion *v)
{
    char digest[HASH_HEX_SIZE];
    if (v == NULL)
        return true;
    if (v->digest == NULL || !v->has_source || !v->has_since_ms ||
        (v->vote != NULL && (v->vote->person == NULL || v->vote->reason == NULL)))
        return false;
    library_digest((const char *)v->source.data, v->source.len, digest);
    return strcmp(digest, v->digest) == 0;
}

int library_restore(struct library *l, const Skein__StateImage *image, struct err *err)
{
    REQUIRE(l->n == 0);
    for (size_t i = 0; i < image->n_policies; i++) {
        const Skein__PolicyRecord *r = image->policies[i];
        if (r->name == NULL || !name_ok(r->name) || !version_is_whole(r->active) ||
            !version_is_whole(r->previous) || !version_is_whole(r->shadow) ||
            (l->n > 0 && strcmp(l->items[l->n - 1]->name, r->name) >= 0))
            return err_set(err, ERR_INVALID, "policies[%zu]", i);
        ARRAY_RESERVE(l->items, l->cap, l->n + 1);
        l->items[l->n++] = (Skein__PolicyRecord *)codec_copy(&r->base);
    }
    l->generation++;
    return 0;
}
