#include "agent/core/command.h"

#include "proto/util.h"

int command_open(const struct trust *trust, const char *cluster_uuid, const uint8_t *envelope,
                 size_t len, msec wall, struct trust_command *ret, struct err *err)
{
    _cleanup_(trust_command_done) struct trust_command c = {0};
    if (len > COMMAND_POLICY_MAX)
        return err_set(err, ERR_LIMIT, "a signed command of %zu bytes is too large", len);
    if (trust->verify(trust->arg, envelope, len, wall, &c, err) < 0)
        return -(int)err->code;
    if (wall >= c.expires_at)
        return err_set(err, ERR_EXPIRED, "the command of %s has expired", c.person);
    const char *cluster = json_string_value(json_object_get(c.command, "cluster"));
    if (cluster != NULL && strcmp(cluster, cluster_uuid) != 0)
        return err_set(err, ERR_DENIED, "command: meant for cluster %s", cluster);
    if (command_type(&c) == NULL)
        return err_set(err, ERR_INVALID, "command: \"type\" is missing");
    if (len > COMMAND_ENVELOPE_MAX && json_object_get(c.command, "source") == NULL)
        return err_set(err, ERR_LIMIT, "a signed command of %zu bytes is too large", len);
    *ret = c;
    c.command = NULL;
    return 0;
}

const char *command_type(const struct trust_command *c)
{
    return json_string_value(json_object_get(c->command, "type"));
}

int command_find_verb(const struct command_verb *verbs, size_t n, const char *type)
{
    for (size_t i = 0; type != NULL && i < n; i++)
        if (strcmp(type, verbs[i].name) == 0)
            return (int)i;
    return -1;
}

int command_text(const json_t *command, const char *key, bool required, char *ret, size_t size,
                 struct err *err)
{
    const json_t *value = json_object_get(command, key);
    const char *text = json_string_value(value);
    ret[0] = '\0';
    if (value != NULL && !json_is_null(value) && text == NULL)
        return err_set(err, ERR_INVALID, "command: \"%s\" is not a text", key);
    if (text == NULL || text[0] == '\0')
        return required ? err_set(err, ERR_INVALID, "command: \"%s\" is missing", key) : 0;
    if (strlen(text) >= size)
        return err_set(err, ERR_LIMIT, "command: \"%s\" is longer than %zu bytes", key, size - 1);
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(err, ERR_INVALID, "command: \"%s\" has a control character", key);
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

int command_number(const json_t *command, const char *key, int64_t max, int64_t *ret,
                   struct err *err)
{
    const json_t *value = json_object_get(command, key);
    *ret = 0;
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
        return err_set(err, ERR_INVALID, "command: \"%s\" is not a whole number up to %lld", key,
                       (long long)max);
    *ret = json_integer_value(value);
    return 0;
}
