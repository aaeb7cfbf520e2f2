#include "tests/lib/facts_json.h"

#include "proto/util.h"

static int read_kind(const json_t *o, struct fact *f, struct err *err)
{
    const char *names[FACT_KIND_COUNT + 1] = {NULL};
    const char *text = json_string_value(json_object_get(o, "fact"));
    if (text == NULL)
        return err_set(err, ERR_INVALID, "\"fact\" is missing");
    for (int kind = 0; kind < FACT_KIND_COUNT; kind++) {
        names[kind] = fact_kind_name((enum fact_kind)kind);
        if (strcmp(text, names[kind]) == 0) {
            f->kind = (enum fact_kind)kind;
            return 0;
        }
    }
    const char *near = nearest_word(text, names);
    return err_set(err, ERR_INVALID, "there is no fact \"%s\"%s%s%s", text,
                   near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "");
}

static int read_field(const char *key, const json_t *value, struct fact *f, struct err *err)
{
#define X(name)                                                                                    \
    if (strcmp(key, #name) == 0) {                                                                 \
        f->name = json_string_value(value);                                                        \
        return f->name != NULL ? 0 : err_set(err, ERR_INVALID, "\"%s\" is not a text", key);       \
    }
    FACT_TEXTS(X)
#undef X
#define X(name)                                                                                    \
    if (strcmp(key, #name) == 0) {                                                                 \
        f->name = json_integer_value(value);                                                       \
        return json_is_integer(value) ? 0                                                          \
                                      : err_set(err, ERR_INVALID, "\"%s\" is not a number", key);  \
    }
    FACT_NUMBERS(X)
#undef X
#define X(name)                                                                                    \
    if (strcmp(key, #name) == 0) {                                                                 \
        f->name = json_is_true(value);                                                             \
        return json_is_boolean(value)                                                              \
                   ? 0                                                                             \
                   : err_set(err, ERR_INVALID, "\"%s\" is not true or false", key);                \
    }
    FACT_FLAGS(X)
#undef X
    return err_set(err, ERR_INVALID, "no fact has a \"%s\"", key);
}

int fact_read(const json_t *o, struct fact *ret, struct err *err)
{
    const char *key;
    json_t *value;
    struct fact f = {0};
    if (!json_is_object(o))
        return err_set(err, ERR_INVALID, "a fact is an object");
    if (read_kind(o, &f, err) < 0)
        return -(int)err->code;
    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        if (strcmp(key, "fact") == 0 || json_is_null(value))
            continue;
        if (read_field(key, value, &f, err) < 0)
            return -(int)err->code;
    }
    *ret = f;
    return 0;
}

static int feed_one(struct invariants *inv, const json_t *o, size_t *ret_facts, struct err *err)
{
    struct fact f;
    ++*ret_facts;
    int rc = fact_read(o, &f, err);
    return rc < 0 ? rc : invariants_fact(inv, &f, err);
}

static int feed(struct invariants *inv, const json_t *o, size_t *ret_facts, struct err *err)
{
    size_t i;
    json_t *one;
    if (!json_is_array(o))
        return feed_one(inv, o, ret_facts, err);
    json_array_foreach(o, i, one)
    {
        int rc = feed_one(inv, one, ret_facts, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int facts_feed(struct invariants *inv, const char *text, size_t len, size_t *ret_facts,
               struct err *err)
{
    *ret_facts = 0;
    size_t at = 0;
    for (;;) {
        json_error_t where;
        while (at < len && strchr(" \t\r\n", text[at]) != NULL)
            at++;
        if (at == len)
            return invariants_check(inv, err);
        json_t *o = json_loadb(text + at, len - at, JSON_DISABLE_EOF_CHECK, &where);
        if (o == NULL)
            return err_set(err, ERR_INVALID, "after fact %zu: %s", *ret_facts, where.text);
        int rc = feed(inv, o, ret_facts, err);
        json_decref(o);
        if (rc < 0)
            return rc;
        at += (size_t)where.position;
    }
}
