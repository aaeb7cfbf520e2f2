/* plan_body.c - reading a plan's body, which may come from anyone. */
#include <stdio.h>

#include "agent/core/plan.h"
#include "proto/canon.h"
#include "proto/codec.h"

#define MS_MAX (30LL * 86400000) /* a prediction longer than a month is nonsense */

/* A place in the body, for messages: "plan: steps[0].actions[2]". */
struct place {
    const json_t *object;
    char path[64];
};

static int get_text(const struct place *at, const char *key, char **ret, struct err *err)
{
    const char *text = json_string_value(json_object_get(at->object, key));
    if (text == NULL)
        return err_set(err, ERR_INVALID, "%s.%s: text is missing", at->path, key);
    if (strlen(text) > CODEC_TEXT_MAX)
        return err_set(err, ERR_LIMIT, "%s.%s: longer than %d bytes", at->path, key,
                       CODEC_TEXT_MAX);
    *ret = xstrdup(text);
    return 0;
}

static int get_name(const struct place *at, const char *key, size_t max, char **ret,
                    struct err *err)
{
    const char *text = json_string_value(json_object_get(at->object, key));
    if (text == NULL || text[0] == '\0')
        return err_set(err, ERR_INVALID, "%s.%s: a name is missing", at->path, key);
    if (strlen(text) > max)
        return err_set(err, ERR_LIMIT, "%s.%s: longer than %zu bytes", at->path, key, max);
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return err_set(err, ERR_INVALID, "%s.%s: a control character", at->path, key);
    *ret = xstrdup(text);
    return 0;
}

/* Absent and null are 0. */
static int get_count(const struct place *at, const char *key, int64_t max, int64_t *ret,
                     struct err *err)
{
    const json_t *v = json_object_get(at->object, key);
    *ret = 0;
    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
        return err_set(err, ERR_INVALID, "%s.%s: not a whole number from 0 to %lld", at->path, key,
                       (long long)max);
    *ret = json_integer_value(v);
    return 0;
}

/* A member object; absent and null read as empty. */
static int get_object(const struct place *at, const char *key, struct place *ret, struct err *err)
{
    const json_t *v = json_object_get(at->object, key);
    if (v != NULL && !json_is_object(v) && !json_is_null(v))
        return err_set(err, ERR_INVALID, "%s.%s: not an object", at->path, key);
    ret->object = v;
    snprintf(ret->path, sizeof ret->path, "%s.%s", at->path, key);
    return 0;
}

static int get_array(const struct place *at, const char *key, const json_t **ret, struct err *err)
{
    *ret = json_object_get(at->object, key);
    if (!json_is_array(*ret) || json_array_size(*ret) == 0)
        return err_set(err, ERR_INVALID, "%s.%s: not an array with something in it", at->path, key);
    return 0;
}

static int read_parameters(const struct place *at, struct plan_move *m, struct err *err)
{
    int64_t bandwidth, downtime;
    if (migration_read(at->object, at->path, &m->how, err) < 0 ||
        get_count(at, "bandwidth_mib_s", UINT32_MAX, &bandwidth, err) < 0 ||
        get_count(at, "downtime_ms", UINT32_MAX, &downtime, err) < 0)
        return -(int)err->code;
    m->bandwidth_mib_s = (uint32_t)bandwidth;
    m->downtime_ms = (uint32_t)downtime;
    return 0;
}

static int read_estimate(const struct place *at, struct plan_move *m, struct err *err)
{
    int64_t ms, downtime, mib;
    if (get_count(at, "ms", MS_MAX, &ms, err) < 0 ||
        get_count(at, "downtime_ms", UINT32_MAX, &downtime, err) < 0 ||
        get_count(at, "mib", INT64_MAX, &mib, err) < 0)
        return -(int)err->code;
    m->estimate_ms = ms;
    m->estimate_downtime_ms = (uint32_t)downtime;
    m->estimate_mib = (uint64_t)mib;
    return 0;
}

static int read_names(const struct place *at, struct plan_move *m, struct err *err)
{
    if (get_name(at, "id", PLAN_ACTION_ID_MAX - 1, &m->id, err) < 0 ||
        get_name(at, "vm", CODEC_NAME_MAX, &m->vm, err) < 0 ||
        get_name(at, "uuid", UUID_SIZE - 1, &m->uuid, err) < 0 ||
        get_name(at, "from", CODEC_NAME_MAX, &m->from, err) < 0 ||
        get_name(at, "to", CODEC_NAME_MAX, &m->to, err) < 0)
        return -(int)err->code;
    if (!uuid_is_valid(m->uuid))
        return err_set(err, ERR_INVALID, "%s.uuid: not a UUID", at->path);
    bool same = strcmp(m->from, m->to) == 0;
    if (same != plan_move_is_in_place(m))
        return err_set(err, ERR_INVALID, "%s: from and to are %s", at->path,
                       same ? "the same host" : "two hosts, and the VM is to stay");
    const char *reason = json_string_value(json_object_get(at->object, "reason"));
    m->reason = xstrdup(reason != NULL ? reason : "");
    return 0;
}

static int read_host(const struct place *at, struct plan_move *m, struct err *err)
{
    if (get_name(at, "id", PLAN_ACTION_ID_MAX - 1, &m->id, err) < 0 ||
        get_name(at, "host", CODEC_NAME_MAX, &m->to, err) < 0)
        return -(int)err->code;
    const char *reason = json_string_value(json_object_get(at->object, "reason"));
    m->from = xstrdup(m->to);
    m->vm = xstrdup(m->to);
    m->uuid = xstrdup("");
    m->reason = xstrdup(reason != NULL ? reason : "");
    return 0;
}

static int read_type(const struct place *at, struct plan_move *m, struct err *err)
{
    static const enum plan_action_type types[] = {PLAN_MIGRATE, PLAN_SHUTDOWN, PLAN_SUSPEND,
                                                  PLAN_STANDBY, PLAN_WAKE};

    const char *type = json_string_value(json_object_get(at->object, "type"));
    if (type == NULL)
        return err_set(err, ERR_INVALID, "%s.type: text is missing", at->path);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (strcmp(type, plan_action_type_name(types[i])) == 0) {
            m->type = types[i];
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED, "%s.type: \"%s\" is not carried out by this version",
                   at->path, type);
}

static int read_move(const struct place *at, unsigned step, struct plan_move *m, struct err *err)
{
    struct place parameters, estimate;
    m->step = step;
    if (read_type(at, m, err) < 0)
        return -(int)err->code;
    bool power = plan_move_is_power(m);
    if ((power ? read_host(at, m, err) : read_names(at, m, err)) < 0 ||
        get_object(at, "parameters", &parameters, err) < 0 ||
        (!power && read_parameters(&parameters, m, err) < 0) ||
        get_object(at, "estimate", &estimate, err) < 0 || read_estimate(&estimate, m, err) < 0)
        return -(int)err->code;
    return 0;
}

static int check_unique(const struct plan_body *b, const struct place *at, struct err *err)
{
    const struct plan_move *last = &b->moves[b->n_moves - 1];
    for (size_t i = 0; i + 1 < b->n_moves; i++) {
        const struct plan_move *m = &b->moves[i];
        if (strcmp(m->id, last->id) == 0)
            return err_set(err, ERR_INVALID, "%s.id: \"%s\" is there twice", at->path, last->id);
        if (m->step == last->step && plan_move_same_subject(m, last))
            return err_set(err, ERR_INVALID, "%s: %s %s %s twice in one step", at->path,
                           plan_move_what(last), last->vm,
                           plan_move_is_power(last) ? "is switched" : "moves");
    }
    return 0;
}

static int read_step(struct plan_body *b, size_t *cap, const json_t *step, unsigned index,
                     struct err *err)
{
    struct place at = {.object = step};
    snprintf(at.path, sizeof at.path, "plan: steps[%u]", index);
    const json_t *actions, *action;
    if (get_array(&at, "actions", &actions, err) < 0)
        return -(int)err->code;
    size_t i;
    json_array_foreach(actions, i, action)
    {
        if (b->n_moves == PLAN_MOVES_MAX)
            return err_set(err, ERR_LIMIT, "plan: more than %d actions", PLAN_MOVES_MAX);
        struct place here = {.object = action};
        snprintf(here.path, sizeof here.path, "plan: steps[%u].actions[%zu]", index, i);
        ARRAY_RESERVE(b->moves, *cap, b->n_moves + 1);
        struct plan_move *m = &b->moves[b->n_moves++];
        *m = (struct plan_move){0};
        if (read_move(&here, index, m, err) < 0 || check_unique(b, &here, err) < 0)
            return -(int)err->code;
    }
    return 0;
}

static int read_policy(const struct place *body, struct plan_body *b, struct err *err)
{
    struct place policy;
    if (get_object(body, "policy", &policy, err) < 0)
        return -(int)err->code;
    const json_t *name = json_object_get(policy.object, "name");
    if (name == NULL || json_is_null(name)) {
        b->policy = xstrdup("");
        return 0;
    }
    const char *digest = json_string_value(json_object_get(policy.object, "digest"));
    if (digest != NULL && strlen(digest) < sizeof b->policy_digest)
        snprintf(b->policy_digest, sizeof b->policy_digest, "%s", digest);
    return get_name(&policy, "name", CODEC_NAME_MAX, &b->policy, err);
}

static int read_body(const json_t *json, struct plan_body *b, struct err *err)
{
    struct place at = {.object = json, .path = "plan"};
    uint8_t digest[HASH_SIZE];
    const json_t *steps, *step;
    if (get_name(&at, "class", CODEC_NAME_MAX, &b->class, err) < 0 ||
        get_text(&at, "reason", &b->reason, err) < 0 ||
        get_name(&at, "snapshot_digest", HASH_HEX_SIZE - 1, &b->snapshot_digest, err) < 0 ||
        read_policy(&at, b, err) < 0 || get_array(&at, "steps", &steps, err) < 0)
        return -(int)err->code;
    if (!hash_from_hex(b->snapshot_digest, digest))
        return err_set(err, ERR_INVALID, "plan.snapshot_digest: not a digest");
    size_t i, cap = 0;
    json_array_foreach(steps, i, step)
    {
        if (read_step(b, &cap, step, (unsigned)i, err) < 0)
            return -(int)err->code;
    }
    b->n_steps = (unsigned)i;
    return 0;
}

int plan_body_parse(const uint8_t *bytes, size_t len, struct plan_body **ret, struct err *err)
{
    if (len > PLAN_BODY_MAX)
        return err_set(err, ERR_LIMIT, "plan: a body of %zu bytes is too large", len);
    _cleanup_json_ json_t *json = NULL;
    _cleanup_(plan_body_freep) struct plan_body *b = xcalloc(1, sizeof *b);
    if (canon_parse((const char *)bytes, len, "plan", &json, err) < 0 ||
        read_body(json, b, err) < 0 || canon_digest(PLAN_SCHEMA, json, b->digest, err) < 0)
        return -(int)err->code;
    memcpy(b->id, b->digest, PLAN_ID_SIZE - 1);
    *ret = TAKE_PTR(b);
    return 0;
}

void plan_body_free(struct plan_body *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n_moves; i++) {
        struct plan_move *m = &b->moves[i];
        free(m->id);
        free(m->vm);
        free(m->uuid);
        free(m->from);
        free(m->to);
        free(m->reason);
    }
    free(b->moves);
    free(b->class);
    free(b->reason);
    free(b->policy);
    free(b->snapshot_digest);
    free(b);
}

const struct plan_move *plan_body_move(const struct plan_body *b, const char *action)
{
    for (size_t i = 0; i < b->n_moves; i++)
        if (strcmp(b->moves[i].id, action) == 0)
            return &b->moves[i];
    return NULL;
}

bool plan_move_is_power(const struct plan_move *m)
{
    return m->type == PLAN_STANDBY || m->type == PLAN_WAKE;
}

bool plan_move_is_in_place(const struct plan_move *m)
{
    return m->type == PLAN_SHUTDOWN || m->type == PLAN_SUSPEND;
}

bool plan_body_only_moves(const struct plan_body *b)
{
    for (size_t i = 0; i < b->n_moves; i++)
        if (b->moves[i].type != PLAN_MIGRATE)
            return false;
    return true;
}

bool plan_body_switches_power(const struct plan_body *b)
{
    for (size_t i = 0; i < b->n_moves; i++)
        if (plan_move_is_power(&b->moves[i]))
            return true;
    return false;
}

bool plan_class_is_asked_for(const char *class)
{
    return strcmp(class, "user") == 0 || strcmp(class, "rollback") == 0 ||
           strcmp(class, "drill") == 0;
}

const char *plan_move_what(const struct plan_move *m)
{
    return plan_move_is_power(m) ? "host" : "VM";
}

bool plan_move_same_subject(const struct plan_move *a, const struct plan_move *b)
{
    if (plan_move_is_power(a) != plan_move_is_power(b))
        return false;
    return plan_move_is_power(a) ? strcmp(a->to, b->to) == 0 : strcmp(a->uuid, b->uuid) == 0;
}

bool plan_move_permits(const struct plan_move *m, const char *source, const char *destination)
{
    if (strcmp(destination, m->to) != 0)
        return false;
    return m->type == PLAN_WAKE ? strcmp(source, m->to) != 0 : strcmp(source, m->from) == 0;
}

static bool has_move(const struct plan_body *b, const struct plan_move *m)
{
    for (size_t i = 0; i < b->n_moves; i++) {
        const struct plan_move *o = &b->moves[i];
        if (o->type == m->type && strcmp(o->uuid, m->uuid) == 0 && strcmp(o->from, m->from) == 0 &&
            strcmp(o->to, m->to) == 0)
            return true;
    }
    return false;
}

bool plan_body_same_moves(const struct plan_body *a, const struct plan_body *b)
{
    if (a->n_moves != b->n_moves || strcmp(a->policy, b->policy) != 0)
        return false;
    for (size_t i = 0; i < a->n_moves; i++)
        if (!has_move(b, &a->moves[i]) || !has_move(a, &b->moves[i]))
            return false;
    return true;
}
