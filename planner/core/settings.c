#include "planner/core/settings.h"

#include <string.h>

#include "proto/canon.h"
#include "proto/util.h"

static const char begin[] = "--[==[skein:params ", end[] = "]==] ", bom[] = "\xef\xbb\xbf";

#define BEGIN_LEN (sizeof begin - 1)
#define END_LEN (sizeof end - 1)
#define BOM_LEN (sizeof bom - 1)

static bool is_params(const json_t *params)
{
    const char *name;
    json_t *v;
    if (!json_is_object(params) || json_object_size(params) > SETTINGS_MAX)
        return false;
    json_object_foreach((json_t *)(uintptr_t)params, name, v)
    {
        if (!json_is_number(v) && !json_is_string(v) && !json_is_boolean(v))
            return false;
    }
    return true;
}

int settings_read(const char *text, size_t len, json_t **ret, size_t *ret_len, struct err *err)
{
    size_t at = len >= BOM_LEN && memcmp(text, bom, BOM_LEN) == 0 ? BOM_LEN : 0;
    _cleanup_json_ json_t *params = NULL;
    struct err why;
    *ret = NULL;
    if (ret_len != NULL)
        *ret_len = at;
    if (len - at < BEGIN_LEN || memcmp(text + at, begin, BEGIN_LEN) != 0)
        return 0;
    at += BEGIN_LEN;
    const char *stop = memmem(text + at, MIN(len - at, SETTINGS_TEXT_MAX), end, END_LEN);
    if (stop == NULL ||
        canon_parse(text + at, (size_t)(stop - text) - at, "parameters", &params, &why) < 0 ||
        !is_params(params))
        return err_set(err, ERR_POLICY,
                       "the parameters before the policy's text are not well formed");
    if (ret_len != NULL)
        *ret_len = (size_t)(stop - text) + END_LEN;
    *ret = TAKE_PTR(params);
    return 0;
}

/* A text in them must not end the comment. */
static char *without_brackets(const char *json, size_t *ret_len)
{
    struct buf b = {0};
    for (; *json != '\0'; json++)
        if (*json == ']')
            buf_adds(&b, "\\u005d");
        else
            buf_addf(&b, "%c", *json);
    *ret_len = b.len;
    return buf_take(&b);
}

int settings_write(const char *text, size_t len, const json_t *params, char **ret, size_t *ret_len,
                   struct err *err)
{
    _cleanup_json_ json_t *all = NULL;
    _cleanup_(freep) char *json = NULL, *safe = NULL;
    size_t own, n = 0;
    int rc = settings_read(text, len, &all, &own, err);
    if (rc < 0)
        return rc;
    if (all == NULL)
        all = json_object();
    json_object_update(all, (json_t *)(uintptr_t)params);
    if (!is_params(all))
        return err_set(err, ERR_INVALID,
                       "parameters are at most %d names with a number, a text or yes and no each",
                       SETTINGS_MAX);
    if ((rc = canon_dump(all, &json, NULL, err)) < 0)
        return rc;
    safe = without_brackets(json, &n);
    if (n > SETTINGS_TEXT_MAX - END_LEN)
        return err_set(err, ERR_LIMIT, "the parameters take %zu bytes, %zu are allowed", n,
                       SETTINGS_TEXT_MAX - END_LEN);
    struct buf b = {0};
    if (json_object_size(all) > 0)
        buf_addf(&b, "%s%s%s", begin, safe, end);
    buf_add(&b, text + own, len - own);
    *ret_len = b.len;
    *ret = buf_take(&b);
    return 0;
}
