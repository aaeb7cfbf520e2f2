#include "planner/core/fields.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define KEYS_MAX 64
#define WARNINGS_MAX 1000

static void where_text(const struct where *w, struct buf *out)
{
    if (w == NULL)
        return;
    where_text(w->up, out);
    if (w->key == NULL)
        buf_addf(out, "[%d]", w->index);
    else
        buf_addf(out, "%s%s", w->up == NULL ? "" : ".", w->key);
}

static char *place_and_text(const struct where *w, const char *fmt, va_list ap)
{
    struct buf b = {0};
    where_text(w, &b);
    char text[400];
    vsnprintf(text, sizeof text, fmt, ap);
    buf_addf(&b, "%s%s", b.len > 0 ? ": " : "", text);
    return buf_take(&b);
}

int fields_bad(struct fields_ctx *c, const struct where *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    _cleanup_(freep) char *text = place_and_text(w, fmt, ap);
    va_end(ap);
    return err_set(c->err, ERR_INVALID, "snapshot: %s", text);
}

void fields_warn(struct fields_ctx *c, const struct where *w, const char *fmt, ...)
{
    if (c->n_warnings >= WARNINGS_MAX)
        return;
    va_list ap;
    va_start(ap, fmt);
    _cleanup_(freep) char *text = place_and_text(w, fmt, ap);
    va_end(ap);
    ARRAY_RESERVE(c->warnings, c->cap_warnings, c->n_warnings + 1);
    c->warnings[c->n_warnings++] = arena_copy(c->arena, text, strlen(text));
}

int fields_string(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                  const char **ret)
{
    if (v->type != J_STRING)
        return fields_bad(c, w, "must be a string");
    *ret = intern(&c->strings, v->text, v->len);
    return 0;
}

int fields_array(struct fields_ctx *c, const struct jnode *v, const struct where *w)
{
    if (v->type != J_ARRAY)
        return fields_bad(c, w, "must be a list");
    return 0;
}

int fields_strings(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                   struct model_strings *ret)
{
    int rc = fields_array(c, v, w);
    if (rc < 0)
        return rc;
    ret->items = arena_array(c->arena, v->n, sizeof *ret->items);
    for (size_t i = 0; i < v->n; i++) {
        struct where at = {.up = w, .index = (int)i};
        rc = fields_string(c, v->items[i], &at, &ret->items[i]);
        if (rc < 0)
            return rc;
    }
    ret->n = (int)v->n;
    ret->known = true;
    return 0;
}

int fields_word(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                const char *const *names, int *ret)
{
    if (v->type != J_STRING)
        return fields_bad(c, w, "must be a string");
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], v->text) == 0) {
            *ret = i;
            return 0;
        }
    const char *near = nearest_word(v->text, names);
    if (near != NULL)
        return fields_bad(c, w, "\"%s\" is not known; did you mean \"%s\"?", v->text, near);
    return fields_bad(c, w, "\"%s\" is not known", v->text);
}

static int is_number(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                     bool negative)
{
    if (v->type != J_INTEGER && v->type != J_REAL)
        return fields_bad(c, w, "must be a number");
    if (!negative && v->real < 0)
        return fields_bad(c, w, "must not be negative");
    return 0;
}

static int read_whole(struct fields_ctx *c, const struct jnode *v, const struct where *w, bool up,
                      int64_t *ret)
{
    int rc = is_number(c, v, w, false);
    if (rc < 0)
        return rc;
    *ret = v->type == J_INTEGER ? v->integer : (int64_t)(up ? ceil(v->real) : floor(v->real));
    return 0;
}

static int read_milli(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                      bool negative, milli *ret)
{
    int rc = is_number(c, v, w, negative);
    if (rc < 0)
        return rc;
    *ret = v->type == J_INTEGER ? sat_mul(v->integer, 1000) : llround(v->real * 1000);
    return 0;
}

/* What a machine room or a chip can have; beyond it a sensor is broken, or a unit confused. */
#define CELSIUS_MIN 1000
#define CELSIUS_MAX 150000

static int read_celsius(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                        milli *ret)
{
    milli m;
    int rc = read_milli(c, v, w, true, &m);
    if (rc < 0)
        return rc;
    if (m < CELSIUS_MIN || m > CELSIUS_MAX)
        fields_warn(c, w, "%g degrees are implausible: taken as unknown", v->real);
    else
        *ret = m;
    return 0;
}

static int read_time(struct fields_ctx *c, const struct jnode *v, const struct where *w, msec *ret)
{
    if (v->type != J_STRING)
        return fields_bad(c, w, "must be a time, \"2026-11-22T01:30:00Z\"");
    struct err why;
    if (time_parse(v->text, ret, &why) < 0)
        return fields_bad(c, w, "%s", why.msg);
    return 0;
}

static int read_bool(struct fields_ctx *c, const struct jnode *v, const struct where *w,
                     enum tri *ret)
{
    if (v->type != J_BOOL)
        return fields_bad(c, w, "must be true or false");
    *ret = v->boolean ? TRI_YES : TRI_NO;
    return 0;
}

static int read_field(struct fields_ctx *c, const struct field *f, const struct jnode *v,
                      const struct where *w, void *obj)
{
    void *at = (char *)obj + f->offset;
    switch (f->type) {
    case FIELD_ANY:
        return 0;
    case FIELD_STRING:
        return fields_string(c, v, w, at);
    case FIELD_BOOL:
        return read_bool(c, v, w, at);
    case FIELD_TIME:
        return read_time(c, v, w, at);
    case FIELD_FLOOR:
        return read_whole(c, v, w, false, at);
    case FIELD_CEIL:
        return read_whole(c, v, w, true, at);
    case FIELD_MILLI:
        return read_milli(c, v, w, false, at);
    case FIELD_CELSIUS:
        return read_celsius(c, v, w, at);
    case FIELD_SIGNED:
        return read_milli(c, v, w, true, at);
    case FIELD_STRINGS:
        return fields_strings(c, v, w, at);
    case FIELD_CALL:
        return f->call(c, v, w, obj);
    }
    return err_set(c->err, ERR_INTERNAL, "a field of no type");
}

static int unknown_key(struct fields_ctx *c, const struct field *table, const char *key,
                       const struct where *w)
{
    const char *names[KEYS_MAX + 1];
    int n = 0;
    for (const struct field *f = table; f->key != NULL && n < KEYS_MAX; f++)
        names[n++] = f->key;
    names[n] = NULL;
    const char *near = nearest_word(key, names);
    if (near != NULL)
        return fields_bad(c, w, "unknown key \"%s\"; did you mean \"%s\"?", key, near);
    fields_warn(c, w, "unknown key \"%s\"", key);
    return 0;
}

static const struct field *look_up(const struct field *table, const char *key)
{
    for (const struct field *f = table; f->key != NULL; f++)
        if (f->key[0] == key[0] && strcmp(f->key, key) == 0)
            return f;
    return NULL;
}

/* Where in `found` the key of a table is remembered. */
static size_t found_at(const struct field *table, const struct jnode *item)
{
    uint64_t bytes = 0;
    memcpy(&bytes, item->key, MIN(item->key_len, sizeof bytes));
    bytes = (bytes ^ (uintptr_t)table ^ item->key_len) * 0x9E3779B97F4A7C15U;
    return (bytes >> 32) % FIELDS_FOUND;
}

static const struct field *find_field(struct fields_ctx *c, const struct field *table,
                                      const struct jnode *item)
{
    size_t at = found_at(table, item);
    if (c->found[at].table == table && strcmp(c->found[at].field->key, item->key) == 0)
        return c->found[at].field;
    const struct field *f = look_up(table, item->key);
    if (f != NULL) {
        c->found[at].table = table;
        c->found[at].field = f;
    }
    return f;
}

int fields_read(struct fields_ctx *c, const struct field *table, const struct jnode *v,
                const struct where *w, void *obj)
{
    if (v->type != J_OBJECT)
        return fields_bad(c, w, "must be an object");
    for (size_t i = 0; i < v->n; i++) {
        const struct jnode *item = v->items[i];
        const struct field *f = find_field(c, table, item);
        int rc = 0;
        if (f == NULL) {
            rc = unknown_key(c, table, item->key, w);
        } else if (item->type != J_NULL) {
            struct where at = {.up = w, .key = f->key};
            rc = read_field(c, f, item, &at, obj);
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}
