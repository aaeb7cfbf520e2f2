#include "agent/ctl/text.h"

#include <math.h>
#include <string.h>

#include "proto/canon.h"

/* ---- reaching in ---- */

const json_t *json_at(const json_t *doc, const char *path)
{
    char key[64];
    while (doc != NULL && *path != '\0') {
        size_t n = strcspn(path, ".");
        REQUIRE(n < sizeof key);
        memcpy(key, path, n);
        key[n] = '\0';
        doc = json_object_get(doc, key);
        path += n + (path[n] == '.');
    }
    return doc;
}

const char *text_at(const json_t *doc, const char *path)
{
    return json_string_value(json_at(doc, path));
}

const char *text_or(const json_t *doc, const char *path, const char *fallback)
{
    const char *text = text_at(doc, path);
    return text != NULL ? text : fallback;
}

const char *text_to(const json_t *action, const char *fallback)
{
    const char *type = text_or(action, "type", "");
    if (strcmp(type, "shutdown") == 0)
        return "(shutdown)";
    if (strcmp(type, "suspend") == 0)
        return "(suspend)";
    return text_or(action, "to", fallback);
}

milli milli_at(const json_t *doc, const char *path)
{
    const json_t *v = json_at(doc, path);
    return json_is_number(v) ? canon_to_milli(v) : QUANTITY_UNKNOWN;
}

int64_t number_at(const json_t *doc, const char *path)
{
    const json_t *v = json_at(doc, path);
    if (json_is_integer(v))
        return json_integer_value(v);
    return json_is_real(v) ? canon_to_milli(v) / 1000 : QUANTITY_UNKNOWN;
}

msec time_at(const json_t *doc, const char *path)
{
    const char *text = text_at(doc, path);
    msec at;
    return text != NULL && time_parse(text, &at, NULL) == 0 ? at : QUANTITY_UNKNOWN;
}

/* ---- safe to print ---- */

/* Bytes of a character at s that must not reach a terminal; 0 when it may. */
static size_t unsafe(const unsigned char *s)
{
    if (s[0] < 0x20 || s[0] == 0x7f)
        return 1;
    if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0) /* C1 */
        return 2;
    if (s[0] == 0xe2 && s[1] == 0x80 &&
        ((s[2] >= 0x8e && s[2] <= 0x8f) || (s[2] >= 0xa8 && s[2] <= 0xae)))
        return 3; /* marks, line separators, embeddings and overrides */
    if (s[0] == 0xe2 && s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9)
        return 3; /* isolates */
    return 0;
}

bool text_tidy(char *text)
{
    char *to = text;
    bool found = false;
    for (const char *from = text; *from != '\0';) {
        size_t n = unsafe((const unsigned char *)from);
        *to++ = n > 0 ? '?' : *from;
        from += n > 0 ? n : 1;
        found = found || n > 0;
    }
    *to = '\0';
    return found;
}

static json_t *tidy_copy(const json_t *doc, bool *found);

static json_t *tidy_object(const json_t *doc, bool *found)
{
    json_t *copy = json_object(), *value;
    const char *key;
    json_object_foreach((json_t *)(uintptr_t)doc, key, value)
    {
        _cleanup_(freep) char *name = xstrdup(key);
        *found = text_tidy(name) || *found;
        json_object_set_new(copy, name, tidy_copy(value, found));
    }
    return copy;
}

static json_t *tidy_string(const json_t *doc, bool *found)
{
    size_t len = json_string_length(doc);
    _cleanup_(freep) char *text = xmemdup(json_string_value(doc), len + 1);
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\0')
            text[i] = '\x01'; /* a NUL inside ends nothing */
    *found = text_tidy(text) || *found;
    return json_string(text);
}

static json_t *tidy_copy(const json_t *doc, bool *found)
{
    if (json_is_string(doc))
        return tidy_string(doc, found);
    if (json_is_object(doc))
        return tidy_object(doc, found);
    if (!json_is_array(doc))
        return json_deep_copy(doc);
    json_t *copy = json_array();
    for (size_t i = 0; i < json_array_size(doc); i++)
        json_array_append_new(copy, tidy_copy(json_array_get(doc, i), found));
    return copy;
}

bool text_tidy_json(json_t **doc)
{
    bool found = false;
    json_t *copy = tidy_copy(*doc, &found);
    json_decref(*doc);
    *doc = copy;
    return found;
}

/* ---- quantities ---- */

static const char *unknown(char ret[TEXT_SIZE])
{
    return strcpy(ret, "-");
}

/* One decimal below 10, none above; never "2.0". */
static void scaled(double value, const char *unit, char ret[TEXT_SIZE])
{
    double rounded = round(value * 10) / 10;
    bool whole = rounded >= 10 || rounded == floor(rounded);
    snprintf(ret, TEXT_SIZE, whole ? "%.0f %s" : "%.1f %s", whole ? round(value) : rounded, unit);
}

const char *text_mib(int64_t mib, char ret[TEXT_SIZE])
{
    if (mib == QUANTITY_UNKNOWN)
        return unknown(ret);
    double v = (double)mib;
    if (v < 1024)
        scaled(v, "MiB", ret);
    else if (v < 1024 * 1024)
        scaled(v / 1024, "GiB", ret);
    else
        scaled(v / 1024 / 1024, "TiB", ret);
    return ret;
}

const char *text_ms(int64_t ms, char ret[TEXT_SIZE])
{
    if (ms == QUANTITY_UNKNOWN)
        return unknown(ret);
    double v = (double)ms;
    if (ms < 1000)
        snprintf(ret, TEXT_SIZE, "%lld ms", (long long)ms);
    else if (v < 119500)
        scaled(v / 1000, "s", ret);
    else if (v < 119.5 * 60000)
        scaled(v / 60000, "min", ret);
    else if (v < 47.5 * 3600000)
        scaled(v / 3600000, "h", ret);
    else
        scaled(v / 86400000, "days", ret);
    return ret;
}

const char *text_milli(milli value, char ret[TEXT_SIZE])
{
    if (value == QUANTITY_UNKNOWN)
        return unknown(ret);
    double tenths = round((double)value / 100) / 10;
    snprintf(ret, TEXT_SIZE, tenths == floor(tenths) ? "%.0f" : "%.1f", tenths);
    return ret;
}

const char *text_number(int64_t value, char ret[TEXT_SIZE])
{
    if (value == QUANTITY_UNKNOWN)
        return unknown(ret);
    snprintf(ret, TEXT_SIZE, "%lld", (long long)value);
    return ret;
}

const char *text_age(msec age, char ret[TEXT_SIZE])
{
    if (age == QUANTITY_UNKNOWN)
        return unknown(ret);
    if (age < 1000)
        return strcpy(ret, "0 s");
    return text_ms(age / 1000 * 1000, ret);
}

const char *text_ago(msec at, msec now, char ret[TEXT_SIZE])
{
    char span[TEXT_SIZE];
    if (at == QUANTITY_UNKNOWN)
        return unknown(ret);
    snprintf(ret, TEXT_SIZE, "%s ago", text_age(sat_sub(now, at), span));
    return ret;
}

const char *text_state_color(const char *state)
{
    static const struct {
        const char *color, *states;
    } colors[] = {
        {"green", " up running SUCCEEDED ROLLED_BACK "},
        {"red", " offline crashed quarantine FAILED PARTIAL NEEDS_OPERATOR REJECTED error "},
        {"yellow", " cordoned draining maintenance paused PENDING_APPROVAL APPROVED ONGOING "
                   "CANCELLING ROLLING_BACK PERMITTED RUNNING UNKNOWN warning "},
    };

    _cleanup_(freep) char *word = xasprintf(" %s ", state);
    for (size_t i = 0; i < ARRAY_SIZE(colors); i++)
        if (strstr(colors[i].states, word) != NULL)
            return colors[i].color;
    return NULL;
}
