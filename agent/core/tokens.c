#include "agent/core/tokens.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "proto/codec.h"

static const struct command_verb verbs[] = {

#define X(name, text, roles, event) [TOKENS_##name] = {text, roles},
    TOKENS_VERBS(X)
#undef X
};

struct tokens {
    Skein__Token **items; /* sorted by hash */
    size_t n, cap;
};

/* ---- commands ---- */

const char *tokens_verb_name(enum tokens_verb v)
{
    REQUIRE((size_t)v < ARRAY_SIZE(verbs));
    return verbs[v].name;
}

const char *tokens_event(enum tokens_verb v)
{
    static const char *const events[] = {

#define X(name, text, roles, event) [TOKENS_##name] = event,
        TOKENS_VERBS(X)
#undef X
    };
    REQUIRE((size_t)v < ARRAY_SIZE(events));
    return events[v];
}

bool tokens_is_verb(const char *type)
{
    int verb = command_find_verb(verbs, ARRAY_SIZE(verbs), type);
    return verb >= 0 && verb != TOKENS_USE;
}

/* As in certificates (tls/names.h). */
static bool name_ok(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    return n > 0 && n < TOKENS_NAME_SIZE && strspn(name, chars) == n && strspn(name, letters) > 0;
}

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

static bool role_ok(const char *role)
{
    return strcmp(role, "host") == 0 || strcmp(role, "agent") == 0;
}

/* What cannot stand in a certificate must not be signed: the token would be spent for nothing. */
static bool is_dns(const char *text)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    size_t n = strlen(text);
    return n > 0 && n <= 253 && strspn(text, chars) == n;
}

static bool is_address(const char *text)
{
    uint8_t bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

int tokens_names(const json_t *command, const char *key, const char *ret[TOKENS_NAMES_MAX],
                 size_t *ret_n, struct err *err)
{
    const json_t *list = json_object_get(command, key), *item;
    bool dns = strcmp(key, "dns") == 0;
    size_t i;
    *ret_n = 0;
    if (list != NULL && (!json_is_array(list) || json_array_size(list) > TOKENS_NAMES_MAX))
        return err_set(err, ERR_INVALID, "command: \"%s\" is not a list of at most %d", key,
                       TOKENS_NAMES_MAX);
    json_array_foreach(list, i, item)
    {
        if (!json_is_string(item))
            return err_set(err, ERR_INVALID, "command: %s[%zu] is not a text", key, i);
        if (dns ? !is_dns(json_string_value(item)) : !is_address(json_string_value(item)))
            return err_set(err, ERR_INVALID, "command: %s[%zu] \"%.60s\" is none", key, i,
                           json_string_value(item));
        ret[(*ret_n)++] = json_string_value(item);
    }
    return 0;
}

static int read_create(const json_t *command, struct tokens_command *c, struct err *err)
{
    const char *names[TOKENS_NAMES_MAX];
    size_t n;
    if (command_text(command, "hash", true, c->hash, sizeof c->hash, err) < 0 ||
        command_text(command, "host", true, c->host, sizeof c->host, err) < 0 ||
        command_text(command, "role", true, c->role, sizeof c->role, err) < 0 ||
        tokens_names(command, "dns", names, &n, err) < 0 ||
        tokens_names(command, "addresses", names, &n, err) < 0)
        return -(int)err->code;
    if (!is_hex(c->hash, HASH_HEX_SIZE - 1))
        return err_set(err, ERR_INVALID, "command: \"hash\" is not of 64 hexadecimal digits");
    if (!name_ok(c->host))
        return err_set(err, ERR_INVALID, "command: \"%.64s\" is not a host's name", c->host);
    if (!role_ok(c->role))
        return err_set(err, ERR_INVALID, "command: role \"%s\": there is host and agent", c->role);
    const json_t *replace = json_object_get(command, "replace");
    if (replace != NULL && !json_is_boolean(replace))
        return err_set(err, ERR_INVALID, "command: \"replace\" is neither true nor false");
    c->replace = json_is_true(replace);
    snprintf(c->id, sizeof c->id, "%.*s", TOKENS_ID_SIZE - 1, c->hash);
    return 0;
}

static int read_revoke(const json_t *command, struct tokens_command *c, struct err *err)
{
    int rc = command_text(command, "token", true, c->id, sizeof c->id, err);
    if (rc == 0 && !is_hex(c->id, TOKENS_ID_SIZE - 1))
        return err_set(err, ERR_INVALID, "command: \"%s\" is not a token; try: skein token list",
                       c->id);
    return rc;
}

int tokens_read(const struct trust_command *t, struct tokens_command *ret, struct err *err)
{
    struct tokens_command c = {.roles = t->roles, .expires_at = t->expires_at};
    memcpy(c.person, t->person, sizeof c.person);
    memcpy(c.key, t->key, sizeof c.key);
    int verb = command_find_verb(verbs, ARRAY_SIZE(verbs), command_type(t));
    if (verb < 0 || verb == TOKENS_USE)
        return err_set(err, ERR_UNSUPPORTED, "command: unknown to this version");
    c.verb = (enum tokens_verb)verb;
    if (command_text(t->command, "reason", false, c.reason, sizeof c.reason, err) < 0 ||
        (c.verb == TOKENS_CREATE ? read_create(t->command, &c, err)
                                 : read_revoke(t->command, &c, err)) < 0)
        return -(int)err->code;
    if ((c.roles & verbs[c.verb].roles) == 0)
        return err_set(err, ERR_DENIED, "%s has no role that may %s", c.person, verbs[c.verb].name);
    *ret = c;
    return 0;
}

/* ---- what is held ---- */

struct tokens *tokens_new(void)
{
    return xcalloc(1, sizeof(struct tokens));
}

void tokens_free(struct tokens *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->n; i++)
        skein__token__free_unpacked(t->items[i], NULL);
    free(t->items);
    free(t);
}

size_t tokens_all(const struct tokens *t, Skein__Token *const **ret)
{
    *ret = t->items;
    return t->n;
}

static Skein__Token *find(const struct tokens *t, const char *beginning)
{
    size_t len = strlen(beginning);
    for (size_t i = 0; len > 0 && i < t->n; i++)
        if (strncmp(t->items[i]->hash, beginning, len) == 0)
            return t->items[i];
    return NULL;
}

const Skein__Token *tokens_find(const struct tokens *t, const char *id)
{
    return find(t, id);
}

const char *tokens_status(const Skein__Token *token, msec wall)
{
    if (token->has_used_at_ms)
        return "used";
    if (token->revoked != NULL)
        return "revoked";
    return wall >= (msec)token->vote->expires_at_ms ? "expired" : "open";
}

static int judge(const Skein__Token *token, msec wall, struct err *err)
{
    char text[TIME_TEXT_SIZE];
    if (token->has_used_at_ms) {
        time_format((msec)token->used_at_ms, text);
        return err_set(err, ERR_CONFLICT, "the token was used already, at %s", text);
    }
    if (token->revoked != NULL)
        return err_set(err, ERR_DENIED, "the token was taken back by %s", token->revoked->person);
    if (wall >= (msec)token->vote->expires_at_ms) {
        time_format((msec)token->vote->expires_at_ms, text);
        return err_set(err, ERR_EXPIRED, "the token expired at %s", text);
    }
    return 0;
}

static bool is_text(const char *text, const char *wanted)
{
    return text != NULL && strcmp(text, wanted) == 0;
}

int tokens_judge(const struct tokens *t, const Skein__TokenUse *use, msec wall,
                 const Skein__Token **ret, struct err *err)
{
    char hash[HASH_HEX_SIZE];
    const Skein__Token *token =
        use->proof != NULL && token_hash(use->proof, hash) ? find(t, hash) : NULL;
    if (token == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no such token");
    int rc = judge(token, wall, err);
    if (rc < 0)
        return rc;
    if (!is_text(use->host, token->host))
        return err_set(err, ERR_DENIED, "the token is for another host");
    if (!is_text(use->role, token->role))
        return err_set(err, ERR_DENIED, "the token is for the role %s", token->role);
    *ret = token;
    return 0;
}

/* ---- changes ---- */

static Skein__Vote *vote_new(const struct tokens_command *c, const ProtobufCBinaryData *envelope,
                             msec at)
{
    Skein__Vote v = SKEIN__VOTE__INIT;
    v.has_envelope = v.has_roles = v.has_at_ms = v.has_expires_at_ms = 1;
    v.envelope = *envelope;
    v.verdict = (char *)tokens_verb_name(c->verb);
    v.person = (char *)(uintptr_t)c->person;
    v.roles = c->roles;
    v.key = (char *)(uintptr_t)c->key;
    v.at_ms = (uint64_t)at;
    v.expires_at_ms = (uint64_t)c->expires_at;
    v.reason = (char *)(uintptr_t)c->reason;
    return (Skein__Vote *)codec_copy(&v.base);
}

static Skein__Token *token_new(const struct tokens_command *c, const ProtobufCBinaryData *envelope,
                               msec at)
{
    Skein__Token *token = xcalloc(1, sizeof *token);
    skein__token__init(token);
    token->hash = xstrdup(c->hash);
    token->host = xstrdup(c->host);
    token->role = xstrdup(c->role);
    token->vote = vote_new(c, envelope, at);
    return token;
}

/* Those that ended long ago are forgotten. */
static void forget(struct tokens *t, msec at)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (at >= (msec)t->items[i]->vote->expires_at_ms + TOKENS_KEEP_MS)
            skein__token__free_unpacked(t->items[i], NULL);
        else
            t->items[kept++] = t->items[i];
    }
    t->n = kept;
}

/* That which expired first. One that has not may not be forgotten: it could be given again. */
static bool forget_one(struct tokens *t, msec at)
{
    size_t first = t->n;
    for (size_t i = 0; i < t->n; i++)
        if (at >= (msec)t->items[i]->vote->expires_at_ms &&
            (first == t->n ||
             t->items[i]->vote->expires_at_ms < t->items[first]->vote->expires_at_ms))
            first = i;
    if (first == t->n)
        return false;
    skein__token__free_unpacked(t->items[first], NULL);
    memmove(&t->items[first], &t->items[first + 1], (t->n - first - 1) * sizeof *t->items);
    t->n--;
    return true;
}

static void insert(struct tokens *t, Skein__Token *token)
{
    size_t i = t->n;
    ARRAY_RESERVE(t->items, t->cap, t->n + 1);
    while (i > 0 && strcmp(t->items[i - 1]->hash, token->hash) > 0) {
        t->items[i] = t->items[i - 1];
        i--;
    }
    t->items[i] = token;
    t->n++;
}

static int create(struct tokens *t, const struct tokens_command *c,
                  const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    forget(t, at);
    if (find(t, c->id) != NULL)
        return err_set(err, ERR_EXISTS, "there is a token %s already", c->id);
    if (t->n >= TOKENS_MAX && !forget_one(t, at))
        return err_set(err, ERR_LIMIT, "there are %d tokens that have not expired", TOKENS_MAX);
    insert(t, token_new(c, envelope, at));
    return 0;
}

int tokens_apply(struct tokens *t, const struct tokens_command *c,
                 const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    if (c->verb == TOKENS_CREATE)
        return create(t, c, envelope, at, err);
    Skein__Token *token = find(t, c->id);
    if (token == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no token %s; try: skein token list", c->id);
    int rc = judge(token, at, err);
    if (rc == 0)
        token->revoked = vote_new(c, envelope, at);
    return rc;
}

int tokens_use(struct tokens *t, const Skein__TokenUse *use, msec at, const Skein__Token **ret,
               struct err *err)
{
    const Skein__Token *found;
    int rc = tokens_judge(t, use, at, &found, err);
    if (rc < 0)
        return rc;
    Skein__Token *token = find(t, found->hash);
    token->has_used_at_ms = 1;
    token->used_at_ms = (uint64_t)at;
    token->issuer = xstrdup(use->issuer != NULL ? use->issuer : "");
    token->request = xstrdup(use->request != NULL ? use->request : "");
    *ret = token;
    return 0;
}

/* ---- the image ---- */

void tokens_image(const struct tokens *t, Skein__StateImage *image)
{
    image->tokens = xcalloc(t->n, sizeof *image->tokens);
    for (size_t i = 0; i < t->n; i++)
        image->tokens[image->n_tokens++] = (Skein__Token *)codec_copy(&t->items[i]->base);
}

static bool vote_is_whole(const Skein__Vote *v)
{
    return v != NULL && v->has_envelope && v->person != NULL && v->has_at_ms &&
           v->has_expires_at_ms && v->expires_at_ms <= INT64_MAX / 2;
}

static bool is_whole(const Skein__Token *t)
{
    return t->hash != NULL && is_hex(t->hash, HASH_HEX_SIZE - 1) && t->host != NULL &&
           name_ok(t->host) && t->role != NULL && role_ok(t->role) && vote_is_whole(t->vote) &&
           (t->revoked == NULL || vote_is_whole(t->revoked)) &&
           (!t->has_used_at_ms || (t->issuer != NULL && t->request != NULL));
}

int tokens_restore(struct tokens *t, const Skein__StateImage *image, struct err *err)
{
    REQUIRE(t->n == 0);
    for (size_t i = 0; i < image->n_tokens; i++) {
        const Skein__Token *token = image->tokens[i];
        if (!is_whole(token) || t->n >= TOKENS_MAX ||
            (t->n > 0 && strcmp(t->items[t->n - 1]->hash, token->hash) >= 0))
            return err_set(err, ERR_INVALID, "tokens[%zu]", i);
        insert(t, (Skein__Token *)codec_copy(&token->base));
    }
    return 0;
}
