#include "agent/core/step.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/codec.h"

void hv_job_done(struct hv_job *job)
{
    if (job->vm != NULL)
        skein__vm_detail__free_unpacked(TAKE_PTR(job->vm), NULL);
    free(TAKE_PTR(job->questions));
}

void hv_result_done(struct hv_result *result)
{
    if (result->detail != NULL)
        skein__host_detail__free_unpacked(TAKE_PTR(result->detail), NULL);
    free(TAKE_PTR(result->findings));
    baseline_done(&result->baseline);
}

void trust_command_done(struct trust_command *command)
{
    json_decref(TAKE_PTR(command->command));
}

void evaluation_free(struct evaluation *e)
{
    if (e == NULL)
        return;
    free(e->snapshot);
    free(e->policy);
    free(e->source);
    free(e->moves);
    free(e->parameters);
    free(e->reason);
    free(e);
}

static struct effect *effect_add(struct step *s, enum effect_kind kind, const char *key)
{
    struct effects *out = s->out;
    ARRAY_RESERVE(out->items, out->cap, out->n + 1);
    struct effect *e = &out->items[out->n++];
    *e = (struct effect){.kind = kind, .key = key != NULL ? xstrdup(key) : NULL};
    return e;
}

static uint64_t token_new(struct step *s, enum owner owner)
{
    return ++*s->next_token << OWNER_BITS | owner;
}

void effect_send(struct step *s, const char *host, const Skein__Frame *frame)
{
    struct effect *e = effect_add(s, EFFECT_SEND, host);
    e->data = codec_pack(&frame->base, &e->len);
}

void effect_gossip(struct step *s, const char *host, const Skein__Frame *frame)
{
    effect_send(s, host, frame);
    s->out->items[s->out->n - 1].gossip = true;
}

uint64_t effect_request(struct step *s, enum owner owner, const char *host, Skein__Request *request)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    request->has_id = 1;
    request->id = token_new(s, owner);
    frame.kind_case = SKEIN__FRAME__KIND_REQUEST;
    frame.request = request;
    effect_send(s, host, &frame);
    return request->id;
}

void effect_reply(struct step *s, const char *host, uint64_t id, Skein__Reply *reply,
                  const struct err *err)
{
    Skein__Frame frame = SKEIN__FRAME__INIT;
    Skein__Reply empty = SKEIN__REPLY__INIT;
    if (reply == NULL)
        reply = &empty;
    reply->has_id = 1;
    reply->id = id;
    if (err != NULL && err->code != ERR_OK) {
        reply->code = (char *)err_name(err->code);
        reply->message = (char *)err->msg;
    }
    frame.kind_case = SKEIN__FRAME__KIND_REPLY;
    frame.reply = reply;
    effect_send(s, host, &frame);
}

uint64_t effect_propose(struct step *s, enum owner owner, Skein__Entry *entry)
{
    struct effect *e = effect_add(s, EFFECT_PROPOSE, NULL);
    entry->has_at_ms = 1;
    entry->at_ms = (uint64_t)s->now.wall;
    entry->proposer = (char *)s->conf->host;
    e->token = token_new(s, owner);
    e->data = codec_pack(&entry->base, &e->len);
    return e->token;
}

void effect_journal(struct step *s, const char *key, const Skein__JournalRecord *record)
{
    struct effect *e = effect_add(s, EFFECT_JOURNAL, key);
    if (record != NULL)
        e->data = codec_pack(&record->base, &e->len);
}

void effect_audit(struct step *s, const char *event, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    json_error_t where;
    json_t *record = json_vpack_ex(&where, 0, fmt, ap);
    va_end(ap);
    if (record == NULL) /* a name that is no UTF-8 never gets this far: codec and parsers check */
        record = json_pack("{s:s}", "defect", where.text);
    char at[TIME_TEXT_SIZE];
    time_format(s->now.wall, at);
    json_object_set_new(record, "at", json_string(at));
    json_object_set_new(record, "host", json_string(s->conf->host));
    json_object_set_new(record, "event", json_string(event));
    effect_add(s, EFFECT_AUDIT, NULL)->record = record;
}

void effect_snapshot(struct step *s, const char *digest, const char *text, size_t len)
{
    struct effect *e = effect_add(s, EFFECT_SNAPSHOT, digest);
    e->data = xmemdup(text, len);
    e->len = len;
}

uint64_t effect_job(struct step *s, enum owner owner, struct hv_job *job)
{
    struct effect *e = effect_add(s, EFFECT_JOB, NULL);
    e->token = job->id = token_new(s, owner);
    e->job = xmemdup(job, sizeof *job);
    job->vm = NULL;
    job->questions = NULL;
    return e->token;
}

uint64_t effect_evaluate(struct step *s, enum owner owner, struct evaluation *evaluation)
{
    struct effect *e = effect_add(s, EFFECT_EVALUATE, NULL);
    e->token = token_new(s, owner);
    e->evaluation = evaluation;
    return e->token;
}

void effect_answer(struct step *s, uint64_t token, unsigned status, json_t *body)
{
    struct effect *e = effect_add(s, EFFECT_ANSWER, NULL);
    e->token = token;
    e->status = status;
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    REQUIRE(text != NULL);
    e->len = strlen(text);
    e->data = (uint8_t *)text;
}

void effect_dial(struct step *s, enum effect_kind kind, const char *key)
{
    effect_add(s, kind, key);
}

void effect_voters(struct step *s, const struct voter_groups *groups)
{
    struct effect *e = effect_add(s, EFFECT_VOTERS, NULL);
    e->data = groups_pack(groups, &e->len);
}

void effect_yield(struct step *s, const char *host)
{
    effect_add(s, EFFECT_YIELD, host);
}

static void add_line(struct step *s, enum effect_kind kind, const char *fmt, va_list ap)
{
    char line[512];
    vsnprintf(line, sizeof line, fmt, ap);
    effect_add(s, kind, line);
}

void effect_notice(struct step *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_line(s, EFFECT_NOTICE, fmt, ap);
    va_end(ap);
}

void effect_trace(struct step *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_line(s, EFFECT_TRACE, fmt, ap);
    va_end(ap);
}

void effects_clear(struct effects *effects)
{
    for (size_t i = 0; i < effects->n; i++) {
        struct effect *e = &effects->items[i];
        free(e->key);
        free(e->data);
        json_decref(e->record);
        if (e->job != NULL)
            hv_job_done(e->job);
        free(e->job);
        evaluation_free(e->evaluation);
    }
    free(effects->items);
    *effects = (struct effects){0};
}

/* Either may be NULL. */
static ProtobufCMessage *lay_over(const void *under, const void *over)
{
    if (under == NULL || over == NULL)
        return under != over ? codec_copy(under != NULL ? under : over) : NULL;
    return codec_merge(under, over);
}

/* Only the hypervisor knows VMs, and they are nearly all of it: copied, not by way of the wire. */
Skein__HostDetail *step_own_detail(const struct step *s, const Skein__HostDetail *observed)
{
    const Skein__HostDetail *own = s->conf->own;
    Skein__HostDetail vms = *observed;
    vms.summary = NULL;
    vms.capability = NULL;
    Skein__HostDetail *detail = (Skein__HostDetail *)codec_copy(&vms.base);
    detail->summary = (Skein__HostSummary *)lay_over(observed->summary, own->summary);
    detail->capability = (Skein__HostCapability *)lay_over(observed->capability, own->capability);
    return detail;
}

bool step_votes(const struct node_conf *conf, const char *host)
{
    for (size_t i = 0; i < conf->n_voters; i++)
        if (strcmp(conf->voters[i], host) == 0)
            return conf->group.number == 0 || strcmp(host, conf->host) != 0 ||
                   group_has(&conf->group, host, conf->store);
    return false;
}

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
uint64_t step_random(struct step *s)
{
    uint64_t z = *s->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void step_random_hex(struct step *s, char *ret, size_t digits)
{
    for (size_t i = 0; i < digits; i++)
        ret[i] = "0123456789abcdef"[step_random(s) & 15];
    ret[digits] = '\0';
}
