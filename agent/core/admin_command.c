/* admin_command.c - reading what people order of hosts, VMs and the whole. */
#include <stdio.h>

#include "agent/core/admin.h"

static const struct command_verb verbs[] = {

#define X(name, text, roles) [ADMIN_##name] = {text, roles},
    ADMIN_VERBS(X)
#undef X
};

const char *admin_verb_name(enum admin_verb v)
{
    REQUIRE((size_t)v < ARRAY_SIZE(verbs));
    return verbs[v].name;
}

bool admin_is_verb(const char *type)
{
    return command_find_verb(verbs, ARRAY_SIZE(verbs), type) >= 0;
}

/* Letters, digits and what stands in host names; nothing that a log or path would mistake. */
static bool is_host_name(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < 256 && name[0] != '-' && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n;
}

static bool named_before(const struct admin_command *c, const char *host)
{
    for (size_t i = 0; i < c->n_hosts; i++)
        if (strcmp(c->hosts[i], host) == 0)
            return true;
    return false;
}

static int read_hosts(const json_t *command, struct admin_command *c, struct err *err)
{
    const json_t *list = json_object_get(command, "hosts"), *item;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return err_set(err, ERR_INVALID, "command: \"hosts\" is not a list of hosts");
    if (json_array_size(list) > ADMIN_COMMAND_HOSTS)
        return err_set(err, ERR_LIMIT, "command: %zu hosts, %d may be named at once",
                       json_array_size(list), ADMIN_COMMAND_HOSTS);
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(item);
        if (name == NULL || !is_host_name(name))
            return err_set(err, ERR_INVALID, "command: hosts[%zu] is not a host's name", i);
        if (!named_before(c, name))
            snprintf(c->hosts[c->n_hosts++], sizeof c->hosts[0], "%s", name);
    }
    return 0;
}

static int read_drain(const json_t *command, struct admin_command *c, struct err *err)
{
    int64_t concurrency, seconds;
    if (command_number(command, "concurrency", 1000, &concurrency, err) < 0 ||
        command_number(command, "deadline_seconds", ADMIN_FREEZE_MAX_S, &seconds, err) < 0 ||
        command_text(command, "fallback", false, c->fallback, sizeof c->fallback, err) < 0)
        return -(int)err->code;
    if (c->fallback[0] == '\0')
        snprintf(c->fallback, sizeof c->fallback, "wait");
    static const char *const known[] = {"wait", "skip", "shutdown", "suspend"};
    bool found = false;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        found = found || strcmp(c->fallback, known[i]) == 0;
    if (!found)
        return err_set(err, ERR_UNSUPPORTED,
                       "command: \"fallback\" is \"%s\": this version knows wait, skip, shutdown "
                       "and suspend",
                       c->fallback);
    c->concurrency = (unsigned)concurrency;
    c->deadline = seconds > 0 ? c->issued_at + seconds * 1000 : 0;
    return 0;
}

/* How long: from the signature on, so that a late application does not make it longer. */
static int read_until(const json_t *command, int64_t max, struct admin_command *c, struct err *err)
{
    int64_t seconds;
    if (command_number(command, "seconds", max, &seconds, err) < 0)
        return -(int)err->code;
    if (seconds == 0)
        return err_set(err, ERR_INVALID, "command: \"seconds\" is missing: it must end some time");
    c->until = c->issued_at + seconds * 1000;
    return 0;
}

static int read_vm(const json_t *command, struct admin_command *c, struct err *err)
{
    if (command_text(command, "vm", false, c->vm, sizeof c->vm, err) < 0 ||
        command_text(command, "uuid", true, c->uuid, sizeof c->uuid, err) < 0)
        return -(int)err->code;
    return uuid_is_valid(c->uuid) ? 0
                                  : err_set(err, ERR_INVALID, "command: \"uuid\" is not a UUID");
}

static int read_rest(const json_t *command, struct admin_command *c, struct err *err)
{
    switch (c->verb) {
    case ADMIN_DRAIN:
        return read_hosts(command, c, err) < 0 ? -(int)err->code : read_drain(command, c, err);
    case ADMIN_RESTORE:
        c->no_return = json_is_true(json_object_get(command, "no_return"));
        return read_hosts(command, c, err);
    case ADMIN_CORDON:
    case ADMIN_UNCORDON:
    case ADMIN_MAINTENANCE:
        return read_hosts(command, c, err);
    case ADMIN_FREEZE:
        return read_until(command, ADMIN_FREEZE_MAX_S, c, err);
    case ADMIN_UNFREEZE:
        return command_text(command, "freeze", false, c->id, sizeof c->id, err);
    case ADMIN_HOLD:
        return read_vm(command, c, err) < 0 ? -(int)err->code
                                            : read_until(command, ADMIN_HOLD_MAX_S, c, err);
    case ADMIN_RELEASE:
        return read_vm(command, c, err);
    case ADMIN_VERB_COUNT:
        break;
    }
    return err_set(err, ERR_UNSUPPORTED, "command: unknown to this version");
}

int admin_read(const struct trust_command *t, struct admin_command *ret, struct err *err)
{
    struct admin_command *c = ret;
    *c = (struct admin_command){
        .roles = t->roles, .issued_at = t->issued_at, .expires_at = t->expires_at};
    memcpy(c->person, t->person, sizeof c->person);
    memcpy(c->key, t->key, sizeof c->key);
    memcpy(c->nonce, t->nonce, sizeof c->nonce);
    memcpy(c->digest, t->digest, sizeof c->digest);
    int verb = command_find_verb(verbs, ARRAY_SIZE(verbs), command_type(t));
    if (verb < 0)
        return err_set(err, ERR_UNSUPPORTED, "command: unknown to this version");
    c->verb = (enum admin_verb)verb;
    if (command_text(t->command, "reason", false, c->reason, sizeof c->reason, err) < 0 ||
        read_rest(t->command, c, err) < 0)
        return -(int)err->code;
    if ((c->roles & verbs[c->verb].roles) == 0)
        return err_set(err, ERR_DENIED, "%s has no role that may %s", c->person,
                       verbs[c->verb].name);
    return 0;
}
