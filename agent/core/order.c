#include "agent/core/order.h"

#include <stdio.h>

#include "agent/core/command.h"
#include "proto/canon.h"

static int check_keys(const json_t *command, struct err *err)
{
    static const char *const known[] = {
        "type",        "cluster",        "name",    "policy",   "policy_digest", "classes", "hosts",
        "max_actions", "moves_per_hour", "windows", "rollback", "reason",        NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)command, key, value)
    {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0)
            i++;
        if (known[i] == NULL) /* a bound that this version does not know must not be ignored */
            return err_set(err, ERR_UNSUPPORTED, "standing order: \"%.40s\" is unknown here", key);
    }
    return 0;
}

/* The i-th text of a list; absent lists are empty. */
static int list_text(const json_t *command, const char *key, size_t i, size_t max, size_t size,
                     char *ret, struct err *err)
{
    const json_t *list = json_object_get(command, key);
    const char *text = json_string_value(json_array_get(list, i));
    if (list != NULL && (!json_is_array(list) || json_array_size(list) > max))
        return err_set(err, ERR_INVALID, "standing order: \"%s\" is not a list of at most %zu", key,
                       max);
    if (i >= json_array_size(list))
        return 1;
    if (text == NULL || text[0] == '\0' || strlen(text) >= size)
        return err_set(err, ERR_INVALID, "standing order: \"%s\"[%zu] is not a name", key, i);
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

static int read_lists(const json_t *command, struct order *o, struct err *err)
{
    char window[64];
    int rc;
    while (
        (rc = list_text(command, "classes", o->n_classes, ORDER_CLASSES_MAX, sizeof o->classes[0],
                        o->classes[o->n_classes % ORDER_CLASSES_MAX], err)) == 0)
        o->n_classes++;
    if (rc < 0)
        return rc;
    while ((rc = list_text(command, "hosts", o->n_hosts, ORDER_HOSTS_MAX, sizeof o->hosts[0],
                           o->hosts[o->n_hosts % ORDER_HOSTS_MAX], err)) == 0)
        o->n_hosts++;
    if (rc < 0)
        return rc;
    while ((rc = list_text(command, "windows", o->n_windows, ORDER_WINDOWS_MAX, sizeof window,
                           window, err)) == 0)
        if (window_parse(window, &o->windows[o->n_windows++], err) < 0)
            return -(int)err->code;
    return rc < 0 ? rc : 0;
}

int order_read(const json_t *command, struct order *ret, struct err *err)
{
    struct order o = {0};
    int64_t max_actions, moves;
    uint8_t digest[HASH_SIZE];
    if (check_keys(command, err) < 0 ||
        command_text(command, "name", true, o.name, sizeof o.name, err) < 0 ||
        command_text(command, "policy", true, o.policy, sizeof o.policy, err) < 0 ||
        command_text(command, "policy_digest", true, o.policy_digest, sizeof o.policy_digest, err) <
            0 ||
        command_number(command, "max_actions", PLAN_MOVES_MAX, &max_actions, err) < 0 ||
        command_number(command, "moves_per_hour", ORDER_MOVES_MAX, &moves, err) < 0 ||
        read_lists(command, &o, err) < 0)
        return -(int)err->code;
    if (!hash_from_hex(o.policy_digest, digest))
        return err_set(err, ERR_INVALID, "standing order: \"policy_digest\" is not a digest");
    if (moves < 1)
        return err_set(err, ERR_INVALID, "standing order: \"moves_per_hour\" is missing");
    o.max_actions = (unsigned)max_actions;
    o.moves_per_hour = (unsigned)moves;
    o.rollback = json_is_true(json_object_get(command, "rollback"));
    *ret = o;
    return 0;
}

static bool names_host(const struct order *o, const char *host)
{
    for (size_t i = 0; i < o->n_hosts; i++)
        if (strcmp(o->hosts[i], host) == 0)
            return true;
    return o->n_hosts == 0;
}

static bool names_class(const struct order *o, const char *class)
{
    for (size_t i = 0; i < o->n_classes; i++)
        if (strcmp(o->classes[i], class) == 0)
            return true;
    return o->n_classes == 0;
}

int order_covers(const struct order *o, const struct plan_body *body, msec wall, struct err *err)
{
    if (strcmp(o->policy, body->policy) != 0)
        return err_set(err, ERR_DENIED, "standing order %s is for policy %s", o->name, o->policy);
    if (strcmp(o->policy_digest, body->policy_digest) != 0)
        return err_set(err, ERR_DENIED,
                       "standing order %s is for another version of policy %s (%.12s, not %.12s)",
                       o->name, o->policy, o->policy_digest, body->policy_digest);
    if (!names_class(o, body->class))
        return err_set(err, ERR_DENIED, "standing order %s is not for class %s", o->name,
                       body->class);
    if (o->max_actions > 0 && body->n_moves > o->max_actions)
        return err_set(err, ERR_DENIED, "standing order %s is for plans of %u actions, not %zu",
                       o->name, o->max_actions, body->n_moves);
    for (size_t i = 0; i < body->n_moves; i++)
        if (!names_host(o, body->moves[i].from) || !names_host(o, body->moves[i].to))
            return err_set(err, ERR_DENIED, "standing order %s does not name %s", o->name,
                           names_host(o, body->moves[i].from) ? body->moves[i].to
                                                              : body->moves[i].from);
    if (!window_open(o->windows, o->n_windows, wall))
        return err_set(err, ERR_DENIED, "standing order %s is outside its window", o->name);
    return 0;
}
