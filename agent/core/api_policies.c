/* api_policies.c - the policies: which version is in which stage, by whose signature, how each
 * fares, and what the versions in shadow would have done. Answered by the planner, which runs them.
 */
#include "agent/core/api_priv.h"
#include "planner/core/settings.h"
#include "proto/canon.h"

static json_t *version_json(const Skein__PolicyVersion *v, bool with_source)
{
    char since[TIME_TEXT_SIZE];
    if (v == NULL)
        return json_null();
    time_format((msec)v->since_ms, since);
    json_t *o =
        json_pack("{s:s, s:s, s:i, s:s?, s:s?}", "digest", v->digest, "since", since, "bytes",
                  (int)v->source.len, "person", v->vote != NULL ? v->vote->person : NULL, "reason",
                  v->vote != NULL ? v->vote->reason : NULL);
    json_t *params = NULL;
    struct err err;
    if (settings_read((const char *)v->source.data, v->source.len, &params, NULL, &err) == 0 &&
        params != NULL)
        json_object_set_new(o, "params", params);
    if (with_source) /* what is no UTF-8 was never signed: it came from a file */
        json_object_set_new(o, "source", json_stringn((const char *)v->source.data, v->source.len));
    return o;
}

/* What the planner says of this policy in one of its lists; borrowed, or NULL. */
static const json_t *of_duty(const json_t *duty, const char *list, const char *name)
{
    size_t i;
    const json_t *o;
    json_array_foreach(json_object_get(duty, list), i, o)
    {
        if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
            return o;
    }
    return NULL;
}

/* In one word, for people who look for what needs them. */
static const char *health_word(const Skein__PolicyRecord *r, const json_t *run)
{
    if (r->active == NULL)
        return r->shadow != NULL ? "shadow only" : "retired";
    if (run == NULL)
        return "resting";
    if (json_object_get(run, "broken") != NULL)
        return "broken";
    if (json_integer_value(json_object_get(run, "failures")) > 0)
        return "fails";
    const json_t *health = json_object_get(run, "health");
    return json_integer_value(json_object_get(health, "errors")) > 0 ? "errors" : "ok";
}

static json_t *record_json(const Skein__PolicyRecord *r, const json_t *duty, bool with_source)
{
    const json_t *run = of_duty(duty, "policies", r->name);
    const json_t *shadow = of_duty(duty, "shadows", r->name);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:O?, s:O?}", "name", r->name, "state",
                     health_word(r, run), "active", version_json(r->active, with_source),
                     "previous", version_json(r->previous, with_source), "shadow",
                     version_json(r->shadow, with_source), "run", run, "shadow_run", shadow);
}

int api_show_policies(const struct api_context *c, const struct api_request *r, json_t **ret,
                      struct err *err)
{
    (void)r, (void)err;
    Skein__PolicyRecord *const *records;
    size_t n = library_records(state_library(c->state), &records);
    _cleanup_json_ json_t *duty = duty_status(c->duty);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, record_json(records[i], duty, false));
    *ret = json_pack("{s:o}", "policies", list);
    return 0;
}

int api_show_policy(const struct api_context *c, const struct api_request *r, json_t **ret,
                    struct err *err)
{
    const Skein__PolicyRecord *record = library_find(state_library(c->state), r->id);
    if (record == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no policy \"%.64s\"; try: skein policy list",
                       r->id);
    _cleanup_json_ json_t *duty = duty_status(c->duty);
    *ret = record_json(record, duty, true);
    return 0;
}
