#include "proto/canon.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "proto/units.h"

int canon_parse(const char *text, size_t len, const char *what, json_t **ret, struct err *err)
{
    json_error_t where;
    json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
    if (doc == NULL)
        return err_set(err, ERR_INVALID, "%s:%d:%d: %s", what, where.line, where.column,
                       where.text);
    *ret = doc;
    return 0;
}

static int dump_value(const json_t *v, struct buf *out, struct err *err);

static void dump_string(const char *s, size_t len, struct buf *out)
{
    size_t plain = 0; /* what needs no escape goes out as a whole */
    buf_add(out, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c != '"' && c != '\\' && c >= 0x20)
            continue;
        buf_add(out, s + plain, i - plain);
        plain = i + 1;
        if (c < 0x20)
            buf_addf(out, "\\u%04x", c);
        else
            buf_addf(out, "\\%c", c);
    }
    buf_add(out, s + plain, len - plain);
    buf_add(out, "\"", 1);
}

/* Snapshots are mostly numbers: not by way of printf. */
static void dump_integer(int64_t value, struct buf *out)
{
    char digits[24], *at = digits + sizeof digits;
    uint64_t u = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + u % 10);
    while ((u /= 10) > 0);
    if (value < 0)
        *--at = '-';
    buf_add(out, at, (size_t)(digits + sizeof digits - at));
}

static void dump_milli(int64_t m, struct buf *out)
{
    uint64_t u = m < 0 ? 0 - (uint64_t)m : (uint64_t)m;
    if (m < 0)
        buf_add(out, "-", 1);
    dump_integer((int64_t)(u / 1000), out);
    unsigned frac = (unsigned)(u % 1000);
    if (frac % 10 != 0)
        buf_addf(out, ".%03u", frac);
    else if (frac % 100 != 0)
        buf_addf(out, ".%02u", frac / 10);
    else if (frac != 0)
        buf_addf(out, ".%u", frac / 100);
}

static int dump_real(double v, struct buf *out, struct err *err)
{
    if (!isfinite(v) || fabs(v) > CANON_NUMBER_MAX)
        return err_set(err, ERR_INVALID, "a number is too large for a canonical document");
    dump_milli(llround(v * 1000), out);
    return 0;
}

struct member {
    const char *key;
    const json_t *value;
};

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* ---- sets ---- */

struct element {
    size_t at, len; /* in text */
    const char *text;
};

static int by_text(const void *a, const void *b)
{
    const struct element *x = a, *y = b;
    int c = memcmp(x->text, y->text, MIN(x->len, y->len));
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static int dump_set(const json_t *list, struct buf *out, struct err *err)
{
    size_t n = json_array_size(list);
    _cleanup_(buf_done) struct buf text = {0};
    _cleanup_(freep) struct element *elements = xcalloc(n, sizeof *elements);
    for (size_t i = 0; i < n; i++) {
        elements[i].at = text.len;
        int rc = dump_value(json_array_get(list, i), &text, err);
        if (rc < 0)
            return rc;
        elements[i].len = text.len - elements[i].at;
    }
    for (size_t i = 0; i < n; i++)
        elements[i].text = text.data + elements[i].at;
    qsort(elements, n, sizeof *elements, by_text);
    buf_add(out, "[", 1);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_add(out, ",", 1);
        buf_add(out, elements[i].text, elements[i].len);
    }
    buf_add(out, "]", 1);
    return 0;
}

static bool is_set(const char *const *sets, const char *key, const json_t *v)
{
    for (; sets != NULL && *sets != NULL; sets++)
        if (strcmp(*sets, key) == 0)
            return json_is_array(v);
    return false;
}

static int dump_object(const json_t *v, const char *const *sets, struct buf *out, struct err *err)
{
    size_t n = json_object_size(v), i = 0;
    _cleanup_(freep) struct member *members = xcalloc(n, sizeof *members);
    for (void *it = json_object_iter((json_t *)v); it != NULL;
         it = json_object_iter_next((json_t *)v, it))
        members[i++] = (struct member){json_object_iter_key(it), json_object_iter_value(it)};
    qsort(members, n, sizeof *members, by_key);
    buf_add(out, "{", 1);
    for (i = 0; i < n; i++) {
        if (i > 0)
            buf_add(out, ",", 1);
        dump_string(members[i].key, strlen(members[i].key), out);
        buf_add(out, ":", 1);
        int rc = is_set(sets, members[i].key, members[i].value)
                     ? dump_set(members[i].value, out, err)
                     : dump_value(members[i].value, out, err);
        if (rc < 0)
            return rc;
    }
    buf_add(out, "}", 1);
    return 0;
}

static int dump_array(const json_t *v, struct buf *out, struct err *err)
{
    buf_add(out, "[", 1);
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i > 0)
            buf_add(out, ",", 1);
        int rc = dump_value(json_array_get(v, i), out, err);
        if (rc < 0)
            return rc;
    }
    buf_add(out, "]", 1);
    return 0;
}

static int dump_value(const json_t *v, struct buf *out, struct err *err)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return dump_object(v, NULL, out, err);
    case JSON_ARRAY:
        return dump_array(v, out, err);
    case JSON_STRING:
        dump_string(json_string_value(v), json_string_length(v), out);
        return 0;
    case JSON_INTEGER:
        dump_integer(json_integer_value(v), out);
        return 0;
    case JSON_REAL:
        return dump_real(json_real_value(v), out, err);
    case JSON_TRUE:
        buf_adds(out, "true");
        return 0;
    case JSON_FALSE:
        buf_adds(out, "false");
        return 0;
    case JSON_NULL:
        buf_adds(out, "null");
        return 0;
    }
    return err_set(err, ERR_INTERNAL, "JSON value of no known type");
}

int canon_dump(const json_t *doc, char **ret, size_t *ret_len, struct err *err)
{
    _cleanup_(buf_done) struct buf out = {0};
    int rc = dump_value(doc, &out, err);
    if (rc < 0)
        return rc;
    if (ret_len != NULL)
        *ret_len = out.len;
    *ret = buf_take(&out);
    return 0;
}

int canon_dump_sets(const json_t *doc, const char *const *sets, char **ret, size_t *ret_len,
                    struct err *err)
{
    _cleanup_(buf_done) struct buf out = {0};
    int rc = dump_object(doc, sets, &out, err);
    if (rc < 0)
        return rc;
    *ret_len = out.len;
    *ret = buf_take(&out);
    return 0;
}

int canon_digest(const char *domain, const json_t *doc, char ret[HASH_HEX_SIZE], struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    int rc = canon_dump(doc, &text, &len, err);
    if (rc < 0)
        return rc;
    uint8_t hash[HASH_SIZE];
    hash_domain(domain, text, len, hash);
    hash_hex(hash, ret);
    return 0;
}

json_t *canon_milli(int64_t thousandths)
{
    if (thousandths % 1000 == 0)
        return json_integer(thousandths / 1000);
    return json_real((double)thousandths / 1000);
}

int64_t canon_to_milli(const json_t *number)
{
    if (json_is_integer(number)) {
        int64_t v = json_integer_value(number), m;
        if (__builtin_mul_overflow(v, (int64_t)1000, &m))
            return v < 0 ? INT64_MIN : INT64_MAX;
        return m;
    }
    double v = json_number_value(number) * 1000;
    if (v >= 9.2e18)
        return INT64_MAX;
    return v <= -9.2e18 ? INT64_MIN : llround(v);
}

json_t *canon_time(uint64_t wall)
{
    char text[TIME_TEXT_SIZE];
    if (wall == 0 || wall > INT64_MAX)
        return json_null();
    time_format((msec)wall, text);
    return json_string(text);
}
