#include "planner/core/jread.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "planner/core/arena.h"
#include "proto/canon.h"

struct frame {
    struct jnode *node; /* NULL: the top object, or a streamed array */
    struct jnode *first, **tail;
    size_t n;
};

struct reader {
    const struct jread *conf;
    const char *what;
    struct arena arena; /* of the piece being read */
    struct frame stack[JREAD_DEPTH + 3];
    int depth; /* frames in use; 1: in the top object; 2 with streaming: in its array */
    bool streaming;
    char *top_key;   /* owned: the member being read */
    int index;       /* of the streamed element */
    int n_values;    /* of the piece */
    const char *key; /* the next value's, below the top */
    size_t key_len;
    struct err *err;
    bool failed; /* err says why */
};

static int fail(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct reader *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->failed = true;
    if (r->top_key == NULL)
        err_set(r->err, ERR_INVALID, "%s: %s", r->what, text);
    else if (r->streaming)
        err_set(r->err, ERR_INVALID, "%s: %s[%d]: %s", r->what, r->top_key, r->index, text);
    else
        err_set(r->err, ERR_INVALID, "%s: %s: %s", r->what, r->top_key, text);
    return 0;
}

static int base_depth(const struct reader *r)
{
    return r->streaming ? 2 : 1;
}

static int deliver(struct reader *r, const struct jnode *node)
{
    int index = r->streaming ? r->index : -1;
    if (r->conf->piece(r->conf->ctx, r->top_key, index, node, r->err) < 0) {
        r->failed = true;
        return 0;
    }
    r->index++;
    r->n_values = 0;
    arena_reset(&r->arena);
    return 1;
}

static struct jnode *new_node(struct reader *r, enum jtype type)
{
    struct jnode *v = arena_alloc(&r->arena, sizeof *v);
    v->type = type;
    return v;
}

/* A complete value: hang it below its parent, or deliver it. */
static int finish(struct reader *r, struct jnode *v)
{
    if (r->depth == 0)
        return fail(r, "must be an object");
    if (++r->n_values > JREAD_VALUES_MAX)
        return fail(r, "more than %d values in one piece", JREAD_VALUES_MAX);
    if (r->depth == base_depth(r))
        return deliver(r, v);
    struct frame *f = &r->stack[r->depth - 1];
    if (f->node->type == J_OBJECT) {
        v->key = r->key;
        v->key_len = r->key_len;
    }
    *f->tail = v;
    f->tail = &v->next;
    f->n++;
    return 1;
}

static int on_null(void *ctx)
{
    struct reader *r = ctx;
    return finish(r, new_node(r, J_NULL));
}

static int on_boolean(void *ctx, int value)
{
    struct reader *r = ctx;
    struct jnode *v = new_node(r, J_BOOL);
    v->boolean = value != 0;
    return finish(r, v);
}

/* Numbers of up to 15 digits, a fraction included, are exact without the library: the quotient of
 * two integers that a double holds is the nearest double (Clinger, PLDI 1990). False: it is another
 * kind. */
static bool read_simple(const char *s, size_t len, struct jnode *v)
{
    static const double tens[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    size_t i = s[0] == '-', point = len;
    int64_t digits = 0;
    if (len - i > 15)
        return false;
    for (; i < len; i++) {
        if (s[i] == '.' && point == len)
            point = i;
        else if (s[i] >= '0' && s[i] <= '9')
            digits = digits * 10 + (s[i] - '0');
        else
            return false;
    }
    v->type = point == len ? J_INTEGER : J_REAL;
    v->integer = point < len ? 0 : s[0] == '-' ? -digits : digits;
    v->real = (double)digits / tens[point < len ? len - point - 1 : 0];
    if (s[0] == '-')
        v->real = -v->real;
    return true;
}

static int on_number(void *ctx, const char *s, size_t len)
{
    struct reader *r = ctx;
    struct jnode simple = {0};
    char text[64];
    if (read_simple(s, len, &simple)) {
        struct jnode *plain = new_node(r, simple.type);
        plain->integer = simple.integer;
        plain->real = simple.real;
        return finish(r, plain);
    }
    if (len >= sizeof text)
        return fail(r, "a number of %zu digits is absurd", len);
    memcpy(text, s, len);
    text[len] = '\0';
    bool integral = strpbrk(text, ".eE") == NULL;
    struct jnode *v = new_node(r, integral ? J_INTEGER : J_REAL);
    v->real = strtod(text, NULL);
    if (!isfinite(v->real) || fabs(v->real) > JREAD_NUMBER_MAX)
        return fail(r, "the number %s is absurd", text);
    v->integer = integral ? strtoll(text, NULL, 10) : 0;
    return finish(r, v);
}

static int on_string(void *ctx, const unsigned char *s, size_t len)
{
    struct reader *r = ctx;
    if (memchr(s, 0, len) != NULL)
        return fail(r, "a string contains NUL");
    struct jnode *v = new_node(r, J_STRING);
    v->text = arena_copy(&r->arena, (const char *)s, len);
    v->len = len;
    return finish(r, v);
}

static int open_frame(struct reader *r, enum jtype type)
{
    if (r->depth >= JREAD_DEPTH)
        return fail(r, "nested deeper than %d", JREAD_DEPTH);
    struct frame *f = &r->stack[r->depth];
    *f = (struct frame){.tail = &f->first};
    if (r->depth == 0) {
        if (type != J_OBJECT)
            return fail(r, "must be an object");
    } else {
        f->node = new_node(r, type);
        struct frame *up = &r->stack[r->depth - 1];
        if (up->node != NULL && up->node->type == J_OBJECT) {
            f->node->key = r->key;
            f->node->key_len = r->key_len;
        }
    }
    r->depth++;
    return 1;
}

static int on_start_map(void *ctx)
{
    return open_frame(ctx, J_OBJECT);
}

static bool is_streamed(const struct reader *r)
{
    for (const char *const *k = r->conf->streamed; *k != NULL; k++)
        if (strcmp(*k, r->top_key) == 0)
            return true;
    return false;
}

static int on_start_array(void *ctx)
{
    struct reader *r = ctx;
    if (r->depth == 1 && !r->streaming && is_streamed(r)) {
        r->streaming = true;
        r->index = 0;
        r->stack[1] = (struct frame){0};
        r->depth = 2;
        return 1;
    }
    return open_frame(r, J_ARRAY);
}

static int on_map_key(void *ctx, const unsigned char *s, size_t len)
{
    struct reader *r = ctx;
    if (memchr(s, 0, len) != NULL)
        return fail(r, "a key contains NUL");
    if (r->depth == 1) {
        free(r->top_key);
        r->top_key = xmalloc(len + 1);
        memcpy(r->top_key, s, len);
        r->top_key[len] = '\0';
        return 1;
    }
    r->key = arena_copy(&r->arena, (const char *)s, len);
    r->key_len = len;
    return 1;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(struct jnode *const *)a)->key, (*(struct jnode *const *)b)->key);
}

/* The key's first bytes, big-endian: where they differ, keys differ alike. */
static uint64_t beginning(const struct jnode *v)
{
    uint64_t bytes = 0;
    memcpy(&bytes, v->key, MIN(v->key_len, sizeof bytes));
    return be64toh(bytes);
}

#define SORTED_HERE 40

static void sort_items(struct jnode **items, size_t n)
{
    uint64_t begin[SORTED_HERE];
    if (n > SORTED_HERE) {
        qsort(items, n, sizeof(struct jnode *), by_key);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct jnode *v = items[i];
        uint64_t b = beginning(v);
        size_t at = i;
        for (; at > 0 && (begin[at - 1] > b ||
                          (begin[at - 1] == b && strcmp(items[at - 1]->key, v->key) > 0));
             at--) {
            items[at] = items[at - 1];
            begin[at] = begin[at - 1];
        }
        items[at] = v;
        begin[at] = b;
    }
}

static int close_frame(struct reader *r)
{
    struct frame *f = &r->stack[r->depth - 1];
    struct jnode *v = f->node;
    v->n = f->n;
    v->items = arena_array(&r->arena, f->n, sizeof *v->items);
    size_t i = 0;
    for (struct jnode *c = f->first; c != NULL; c = c->next)
        v->items[i++] = c;
    if (v->type == J_OBJECT) {
        sort_items(v->items, v->n);
        for (i = 1; i < v->n; i++)
            if (strcmp(v->items[i - 1]->key, v->items[i]->key) == 0)
                return fail(r, "duplicate key \"%s\"", v->items[i]->key);
    }
    r->depth--;
    r->key = v->key;
    r->key_len = v->key_len;
    return finish(r, v);
}

static int on_end_map(void *ctx)
{
    struct reader *r = ctx;
    if (r->depth == 1) {
        r->depth = 0;
        free(r->top_key);
        r->top_key = NULL;
        return 1;
    }
    return close_frame(r);
}

static int on_end_array(void *ctx)
{
    struct reader *r = ctx;
    if (r->streaming && r->depth == 2) {
        int ok = deliver(r, NULL);
        r->streaming = false;
        r->depth = 1;
        return ok;
    }
    return close_frame(r);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_map_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

static int hex4(const char *s, const char *end)
{
    int v = 0;
    if (end - s < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef";
        const char *d = s[i] == '\0' ? NULL : strchr(digits, s[i] | 0x20);
        if (d == NULL)
            return -1;
        v = v * 16 + (int)(d - digits);
    }
    return v;
}

/* yajl turns a lone surrogate into '?': the same bytes would then have two readings. */
static const char *find_lone_surrogate(const char *text, size_t len)
{
    const char *end = text + len;
    for (const char *p = text; (p = memchr(p, '\\', (size_t)(end - p))) != NULL;) {
        int c = end - p > 1 && p[1] == 'u' ? hex4(p + 2, end) : -1;
        if (c < 0xD800 || c > 0xDFFF) {
            p += end - p > 1 ? 2 : 1;
            continue;
        }
        int low =
            c < 0xDC00 && end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex4(p + 8, end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return p;
        p += 12;
    }
    return NULL;
}

static int set_position(const char *what, const char *text, const char *at, const char *why,
                        struct err *err)
{
    int line = 1, column = 1;
    for (const char *p = text; p < at; p++) {
        line += *p == '\n';
        column = *p == '\n' ? 1 : column + 1;
    }
    return err_set(err, ERR_INVALID, "%s:%d:%d: %s", what, line, column, why);
}

/* yajl's message without its excerpt: "parse error: invalid object key (must be a string)". */
static int syntax_error(const struct reader *r, yajl_handle y, const char *text, size_t len)
{
    unsigned char *full = yajl_get_error(y, 0, (const unsigned char *)text, len);
    char why[200];
    snprintf(why, sizeof why, "%s", full == NULL ? "malformed" : (const char *)full);
    why[strcspn(why, "\n")] = '\0';
    yajl_free_error(y, full);
    size_t at = MIN(yajl_get_bytes_consumed(y), len);
    return set_position(r->what, text, text + at, why, r->err);
}

static int parse(struct reader *r, yajl_handle y, const char *text, size_t len)
{
    yajl_status s = yajl_parse(y, (const unsigned char *)text, len);
    if (s == yajl_status_ok)
        s = yajl_complete_parse(y);
    if (s == yajl_status_ok)
        return 0;
    if (r->failed)
        return -(int)(r->err != NULL ? r->err->code : ERR_INVALID);
    return syntax_error(r, y, text, len);
}

int jread_run(const struct jread *conf, const char *what, const char *text, size_t len,
              struct err *err)
{
    struct err local;
    if (err == NULL)
        err = &local;
    const char *lone = find_lone_surrogate(text, len);
    if (lone != NULL)
        return set_position(what, text, lone, "a lone surrogate is no character", err);
    struct reader r = {.conf = conf, .what = what, .err = err};
    yajl_handle y = yajl_alloc(&callbacks, NULL, &r);
    if (y == NULL)
        return err_set(err, ERR_NO_MEMORY, "%s: out of memory", what);
    int rc = parse(&r, y, text, len);
    yajl_free(y);
    free(r.top_key);
    arena_done(&r.arena);
    return rc;
}

static void canon_string(const char *s, size_t len, struct buf *out)
{
    buf_add(out, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(out, s + from, i - from);
        from = i + 1;
        if (c < 0x20)
            buf_addf(out, "\\u%04x", c);
        else
            buf_addf(out, "\\%c", c);
    }
    buf_add(out, s + from, len - from);
    buf_add(out, "\"", 1);
}

static void canon_integer(int64_t v, struct buf *out)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do
        digits[--at] = (char)('0' + u % 10);
    while ((u /= 10) != 0);
    if (v < 0)
        digits[--at] = '-';
    buf_add(out, digits + at, sizeof digits - at);
}

static int canon_real(double v, struct buf *out, struct err *err)
{
    if (fabs(v) > CANON_NUMBER_MAX)
        return err_set(err, ERR_INVALID, "the number %g is too large for a fraction", v);
    int64_t m = llround(v * 1000);
    if (m < 0)
        buf_add(out, "-", 1);
    m = m < 0 ? -m : m;
    canon_integer(m / 1000, out);
    char frac[8];
    snprintf(frac, sizeof frac, ".%03d", (int)(m % 1000));
    size_t n = strlen(frac);
    while (frac[n - 1] == '0')
        n--;
    if (n > 1)
        buf_add(out, frac, n);
    return 0;
}

static int canon_items(const struct jnode *v, struct buf *out, struct err *err)
{
    for (size_t i = 0; i < v->n; i++) {
        if (i > 0)
            buf_add(out, ",", 1);
        if (v->type == J_OBJECT) {
            canon_string(v->items[i]->key, v->items[i]->key_len, out);
            buf_add(out, ":", 1);
        }
        int rc = jnode_canon(v->items[i], out, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int jnode_canon(const struct jnode *v, struct buf *out, struct err *err)
{
    int rc = 0;
    switch (v->type) {
    case J_NULL:
        buf_add(out, "null", 4);
        break;
    case J_BOOL:
        buf_adds(out, v->boolean ? "true" : "false");
        break;
    case J_INTEGER:
        canon_integer(v->integer, out);
        break;
    case J_REAL:
        rc = canon_real(v->real, out, err);
        break;
    case J_STRING:
        canon_string(v->text, v->len, out);
        break;
    case J_ARRAY:
    case J_OBJECT:
        buf_add(out, v->type == J_ARRAY ? "[" : "{", 1);
        rc = canon_items(v, out, err);
        buf_add(out, v->type == J_ARRAY ? "]" : "}", 1);
        break;
    }
    return rc;
}

const struct jnode *jnode_get(const struct jnode *object, const char *key)
{
    if (object == NULL || object->type != J_OBJECT)
        return NULL;
    for (size_t i = 0; i < object->n; i++)
        if (strcmp(object->items[i]->key, key) == 0)
            return object->items[i];
    return NULL;
}
