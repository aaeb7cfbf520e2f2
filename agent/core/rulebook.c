#include "agent/core/rulebook.h"

#include "planner/core/model.h"
#include "proto/canon.h"
#include "proto/codec.h"

static const struct command_verb verbs[] = {

#define X(name, text, roles) [RULEBOOK_##name] = {text, roles},
    RULEBOOK_VERBS(X)
#undef X
};

struct rulebook {
    Skein__Rule **items; /* sorted by name */
    size_t n, cap;
};

/* ---- commands ---- */

const char *rulebook_verb_name(enum rulebook_verb v)
{
    REQUIRE((size_t)v < ARRAY_SIZE(verbs));
    return verbs[v].name;
}

bool rulebook_is_verb(const char *type)
{
    return command_find_verb(verbs, ARRAY_SIZE(verbs), type) >= 0;
}

/* Never like those of the planner's own rules ("back-off: ..."). */
static bool name_ok(const char *name)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t n = strlen(name);
    return n > 0 && n < RULEBOOK_NAME_SIZE && strspn(name, chars) == n && name[0] != '-' &&
           name[0] != '.';
}

static int check_vms(const json_t *rule, struct err *err)
{
    size_t i;
    const json_t *vm;
    json_array_foreach(json_object_get(rule, "vms"), i, vm)
    {
        const char *uuid = json_string_value(vm);
        if (uuid == NULL || !uuid_is_valid(uuid))
            return err_set(err, ERR_INVALID, "command: rule.vms[%zu] is not a VM's UUID", i);
    }
    return 0;
}

static int read_rule(const json_t *command, struct rulebook_command *c, struct err *err)
{
    const json_t *rule = json_object_get(command, "rule");
    if (c->verb == RULEBOOK_REMOVE)
        return command_text(command, "rule", true, c->name, sizeof c->name, err);
    if (!json_is_object(rule))
        return err_set(err, ERR_INVALID, "command: \"rule\" is not an object");
    if (command_text(rule, "name", true, c->name, sizeof c->name, err) < 0 ||
        check_vms(rule, err) < 0 || canon_dump(rule, &c->rule, &c->rule_len, err) < 0)
        return -(int)err->code;
    if (c->rule_len > RULEBOOK_RULE_MAX)
        return err_set(err, ERR_LIMIT, "a rule of %zu bytes, %d are allowed", c->rule_len,
                       RULEBOOK_RULE_MAX);
    return 0;
}

int rulebook_read(const struct trust_command *t, struct rulebook_command *ret, struct err *err)
{
    _cleanup_(rulebook_command_done) struct rulebook_command c = {.roles = t->roles,
                                                                  .expires_at = t->expires_at};
    memcpy(c.person, t->person, sizeof c.person);
    memcpy(c.key, t->key, sizeof c.key);
    int verb = command_find_verb(verbs, ARRAY_SIZE(verbs), command_type(t));
    if (verb < 0)
        return err_set(err, ERR_UNSUPPORTED, "command: unknown to this version");
    c.verb = (enum rulebook_verb)verb;
    if (command_text(t->command, "reason", false, c.reason, sizeof c.reason, err) < 0 ||
        read_rule(t->command, &c, err) < 0)
        return -(int)err->code;
    if (!name_ok(c.name))
        return err_set(err, ERR_INVALID, "command: \"%.64s\" is not a rule's name", c.name);
    if ((c.roles & verbs[c.verb].roles) == 0)
        return err_set(err, ERR_DENIED, "%s has no role that may %s", c.person, verbs[c.verb].name);
    *ret = c;
    c.rule = NULL;
    return 0;
}

void rulebook_command_done(struct rulebook_command *c)
{
    free(TAKE_PTR(c->rule));
}

/* The planner's own reader is asked, with a snapshot that holds nothing else. */
int rulebook_check(const struct rulebook_command *c, struct err *err)
{
    struct model *model = NULL;
    if (c->rule == NULL)
        return 0;
    _cleanup_(freep) char *text =
        xasprintf("{\"schema\":\"skein.snapshot/1\",\"cluster\":\"-\",\"taken_at\":"
                  "\"2000-01-01T00:00:00Z\",\"seed\":1,\"hosts\":[],\"vms\":[],\"rules\":[%.*s]}",
                  (int)c->rule_len, c->rule);
    int rc = model_parse(text, strlen(text), &model, err);
    model_free(model);
    return rc < 0 ? err_wrap(err, "rule %s", c->name) : 0;
}

/* ---- what is held ---- */

struct rulebook *rulebook_new(void)
{
    return xcalloc(1, sizeof(struct rulebook));
}

void rulebook_free(struct rulebook *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n; i++)
        skein__rule__free_unpacked(b->items[i], NULL);
    free(b->items);
    free(b);
}

size_t rulebook_rules(const struct rulebook *b, Skein__Rule *const **ret)
{
    *ret = b->items;
    return b->n;
}

/* Where the rule of this name is, or would be. */
static size_t place(const struct rulebook *b, const char *name, bool *ret_found)
{
    size_t i = 0;
    while (i < b->n && strcmp(b->items[i]->name, name) < 0)
        i++;
    *ret_found = i < b->n && strcmp(b->items[i]->name, name) == 0;
    return i;
}

static Skein__Rule *rule_new(const struct rulebook_command *c, const ProtobufCBinaryData *envelope,
                             msec at)
{
    Skein__Rule r = SKEIN__RULE__INIT;
    Skein__Vote v = SKEIN__VOTE__INIT;
    v.has_envelope = v.has_roles = v.has_at_ms = v.has_expires_at_ms = 1;
    v.envelope = *envelope;
    v.verdict = (char *)rulebook_verb_name(c->verb);
    v.person = (char *)c->person;
    v.roles = c->roles;
    v.key = (char *)c->key;
    v.at_ms = (uint64_t)at;
    v.expires_at_ms = (uint64_t)c->expires_at;
    v.reason = (char *)c->reason;
    r.name = (char *)c->name;
    r.has_rule = 1;
    r.rule = (ProtobufCBinaryData){.len = c->rule_len, .data = (uint8_t *)c->rule};
    r.vote = &v;
    return (Skein__Rule *)codec_copy(&r.base);
}

int rulebook_apply(struct rulebook *b, const struct rulebook_command *c,
                   const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    bool found;
    size_t i = place(b, c->name, &found);
    if (c->verb == RULEBOOK_REMOVE) {
        if (!found)
            return err_set(err, ERR_NOT_FOUND, "there is no rule \"%s\"; try: skein rule list",
                           c->name);
        skein__rule__free_unpacked(b->items[i], NULL);
        memmove(&b->items[i], &b->items[i + 1], (--b->n - i) * sizeof(*b->items));
        return 0;
    }
    if (found)
        return err_set(err, ERR_EXISTS, "there is a rule \"%s\" already, by %s", c->name,
                       b->items[i]->vote->person);
    if (b->n >= RULEBOOK_RULES_MAX)
        return err_set(err, ERR_LIMIT, "there are %d rules already", RULEBOOK_RULES_MAX);
    ARRAY_RESERVE(b->items, b->cap, b->n + 1);
    memmove(&b->items[i + 1], &b->items[i], (b->n++ - i) * sizeof(*b->items));
    b->items[i] = rule_new(c, envelope, at);
    return 0;
}

/* ---- the image ---- */

void rulebook_image(const struct rulebook *b, Skein__StateImage *image)
{
    image->rules = xcalloc(b->n, sizeof *image->rules);
    for (size_t i = 0; i < b->n; i++)
        image->rules[image->n_rules++] = (Skein__Rule *)codec_copy(&b->items[i]->base);
}

static bool is_whole(const Skein__Rule *r)
{
    return r->name != NULL && name_ok(r->name) && r->has_rule && r->vote != NULL &&
           r->vote->person != NULL && r->vote->reason != NULL;
}

int rulebook_restore(struct rulebook *b, const Skein__StateImage *image, struct err *err)
{
    REQUIRE(b->n == 0);
    for (size_t i = 0; i < image->n_rules; i++) {
        const Skein__Rule *r = image->rules[i];
        if (!is_whole(r) || b->n >= RULEBOOK_RULES_MAX ||
            (b->n > 0 && strcmp(b->items[b->n - 1]->name, r->name) >= 0))
            return err_set(err, ERR_INVALID, "rules[%zu]", i);
        ARRAY_RESERVE(b->items, b->cap, b->n + 1);
        b->items[b->n++] = (Skein__Rule *)codec_copy(&r->base);
    }
    return 0;
}
