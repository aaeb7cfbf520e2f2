/* The parent's reading of an answer. Whoever wrote it may be an attacker: counted before it is
 * parsed, bounded in depth, no text that could steer a terminal, every field of its type. */
#include <stdio.h>

#include "planner/core/plan_doc.h"
#include "planner/worker/request.h"
#include "proto/canon.h"

#define VALUES_MAX 2000000 /* jansson takes some 100 bytes for each */
#define DEPTH_MAX 12
#define TEXT_MAX 2048

/* Values are at most the commas and brackets outside strings. */
static int count_values(const char *s, size_t len, struct err *err)
{
    size_t values = 0;
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted && (s[i] == ',' || s[i] == '[' || s[i] == '{'))
            values++;
    }
    if (values > VALUES_MAX)
        return err_set(err, ERR_LIMIT, "the worker's answer holds too many values");
    return 0;
}

static bool text_is_plain(const char *s)
{
    size_t len = strnlen(s, TEXT_MAX + 1);
    if (len > TEXT_MAX)
        return false;
    for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
            return false;
    return true;
}

static bool value_is_plain(const json_t *v, int depth)
{
    if (depth > DEPTH_MAX)
        return false;
    const char *key;
    json_t *item;
    size_t i;
    switch (json_typeof(v)) {
    case JSON_STRING:
        return text_is_plain(json_string_value(v)) &&
               strlen(json_string_value(v)) == json_string_length(v);
    case JSON_OBJECT:
        json_object_foreach((json_t *)v, key,
                            item) if (!text_is_plain(key) ||
                                      !value_is_plain(item, depth + 1)) return false;
        return true;
    case JSON_ARRAY:
        json_array_foreach(v, i, item) if (!value_is_plain(item, depth + 1)) return false;
        return true;
    case JSON_INTEGER:
    case JSON_REAL:
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        return true;
    }
    return false;
}

/* The worker's own refusal. Its code is believed only among those that a policy run can have. */
static int reported_error(const json_t *e, struct err *err)
{
    const char *code = json_string_value(json_object_get(e, "code"));
    const char *message = json_string_value(json_object_get(e, "message"));
    if (code == NULL || message == NULL)
        return err_set(err, ERR_POLICY, "the worker's answer has an error without a message");
    enum err_code c = err_from_name(code);
    if (c != ERR_INVALID && c != ERR_LIMIT && c != ERR_NO_MEMORY && c != ERR_INTERNAL)
        c = ERR_POLICY;
    return err_set(err, c, "%s", message);
}

static int take_field(json_t *doc, const char *name, json_type type, json_t **ret, struct err *err)
{
    json_t *v = json_object_get(doc, name);
    if (v == NULL)
        return 0;
    if (json_typeof(v) != type)
        return err_set(err, ERR_POLICY, "the worker's answer has a \"%s\" of the wrong type", name);
    *ret = json_incref(v);
    json_object_del(doc, name);
    return 0;
}

static int check_texts(const json_t *array, struct err *err)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!json_is_string(json_array_get(array, i)))
            return err_set(err, ERR_POLICY, "the worker's warnings or lines are not texts");
    return 0;
}

static int take_fields(json_t *doc, struct worker_result *r, struct err *err)
{
    if (take_field(doc, "body", JSON_OBJECT, &r->body, err) < 0 ||
        take_field(doc, "health", JSON_OBJECT, &r->health, err) < 0 ||
        take_field(doc, "warnings", JSON_ARRAY, &r->warnings, err) < 0 ||
        take_field(doc, "notes", JSON_OBJECT, &r->notes, err) < 0 ||
        take_field(doc, "manifest", JSON_OBJECT, &r->manifest, err) < 0 ||
        take_field(doc, "approvals", JSON_ARRAY, &r->approvals, err) < 0 ||
        take_field(doc, "log", JSON_ARRAY, &r->log, err) < 0 ||
        take_field(doc, "pairs", JSON_ARRAY, &r->pairs, err) < 0 ||
        take_field(doc, "tests", JSON_OBJECT, &r->tests, err) < 0 ||
        check_texts(r->warnings, err) < 0 || check_texts(r->log, err) < 0)
        return -(int)err->code;
    if (json_object_size(doc) > 0)
        return err_set(err, ERR_POLICY, "the worker's answer has a field of no known name");
    return 0;
}

/* The body must be one that the plan's own reader accepts. */
static int check_body(const struct worker_result *r, enum worker_task task, struct err *err)
{
    if (task == WORKER_TEST)
        return r->tests != NULL ? 0 : err_set(err, ERR_POLICY, "the worker ran no tests");
    if (task == WORKER_CHECK)
        return r->manifest != NULL ? 0 : err_set(err, ERR_POLICY, "the worker described no policy");
    if (r->body == NULL)
        return err_set(err, ERR_POLICY, "the worker's answer holds no plan");
    _cleanup_(plan_doc_freep) struct plan_doc *plan = NULL;
    if (plan_doc_from_json(r->body, &plan, err) < 0)
        return err_wrap(err, "the worker's plan");
    return 0;
}

int reply_parse(const char *text, size_t len, enum worker_task task, struct worker_result *ret,
                struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err mine;
    if (err == NULL)
        err = &mine;
    if (count_values(text, len, err) < 0)
        return -(int)err->code;
    if (canon_parse(text, len, "the worker's answer", &doc, err) < 0)
        return err_set(err, ERR_POLICY, "the worker's answer is not JSON");
    if (!json_is_object(doc) || !value_is_plain(doc, 0))
        return err_set(err, ERR_POLICY, "the worker's answer is malformed");
    json_t *failure = json_object_get(doc, "error");
    if (failure != NULL)
        return reported_error(failure, err);
    _cleanup_(worker_result_done) struct worker_result r = {0};
    if (take_fields(doc, &r, err) < 0 || check_body(&r, task, err) < 0)
        return -(int)err->code;
    *ret = r;
    r = (struct worker_result){0};
    return 0;
}
