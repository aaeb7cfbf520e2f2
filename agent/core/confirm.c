#include "agent/core/confirm.h"

#include "agent/core/state.h"
#include "agent/core/verify.h"
#include "proto/codec.h"

/* How long between two questions to a voter that has not decided: a few round trips, so that a
 * lost frame or an entry on its way costs little of the permit's seconds. */
#define CONFIRM_AGAIN 300

/* ---- voter's side ---- */

static int confirm_check(const struct state *state, uint64_t term, const struct step *s,
                         const char *from, const Skein__Permit *p, struct err *ret_not_yet,
                         struct err *err)
{
    if (p == NULL || p->id == NULL || p->source == NULL || p->destination == NULL)
        return err_set(err, ERR_INVALID, "the permit is incomplete");
    if (strcmp(from, p->source) != 0 && strcmp(from, p->destination) != 0)
        return err_set(err, ERR_DENIED, "%s is neither source nor destination", from);
    uint64_t newest = MAX(term, state_term(state));
    if (p->term < newest)
        return err_set(err, ERR_STALE, "it is of term %llu, and this is term %llu",
                       (unsigned long long)p->term, (unsigned long long)newest);
    if (state_permit(state, p->id, NULL) == NULL) {
        err_set(ret_not_yet, ERR_NOT_FOUND, "permit %s is not known at index %llu", p->id,
                (unsigned long long)state_index(state));
        return -1;
    }
    return state_confirm(state, p, s->now.wall, err);
}

void confirm_answer(const struct state *state, uint64_t term, const struct step *s,
                    const char *from, const Skein__Permit *permit, struct confirm_answer *ret)
{
    *ret = (struct confirm_answer){0};
    skein__permit_confirmed__init(&ret->confirmed);
    bool valid = confirm_check(state, term, s, from, permit, &ret->not_yet, &ret->why) >= 0;
    ret->confirmed.has_valid = ret->confirmed.has_term = ret->confirmed.has_index = 1;
    ret->confirmed.valid = valid;
    ret->confirmed.term = MAX(term, state_term(state));
    ret->confirmed.index = state_index(state);
    ret->confirmed.has_at_ms = 1;
    ret->confirmed.at_ms = (uint64_t)s->now.wall;
    ret->confirmed.has_voters = s->conf->group.number != 0;
    ret->confirmed.voters = s->conf->group.number;
    if (!valid)
        ret->confirmed.reason = ret->why.msg;
}

/* ---- asker's side ---- */

enum said { SAID_NOTHING, SAID_NOT_YET, SAID_YES, SAID_NO };

struct voter {
    char *host; /* owned */
    enum said said;
    uint64_t
        token; /* of the question; the same when it is asked again, so that late answers count */
    msec first_mono, asked_mono; /* when it was asked first, and last */
    struct err why;              /* it does not say yes */
};

struct confirm {
    enum owner owner;
    Skein__Permit *permit; /* owned */
    msec deadline_mono;
    struct voter *voters; /* owned */
    size_t n;
    uint64_t group; /* of voters; 0: they are fixed */
};

/* How far a voter's clock is ahead of ours (negative: behind) at the least: it read it at some time
 * between the question and the answer. */
static msec clock_apart(const struct voter *v, const struct step *s,
                        const Skein__PermitConfirmed *confirmed)
{
    if (!confirmed->has_at_ms || confirmed->at_ms > INT64_MAX)
        return 0;
    msec at = (msec)confirmed->at_ms, asked = s->now.wall - (s->now.mono - v->first_mono);
    return at > s->now.wall ? at - s->now.wall : at < asked ? at - asked : 0;
}

static void take_answer(struct voter *v, const struct confirm *c, const struct step *s,
                        const Skein__PermitConfirmed *confirmed)
{
    msec apart = clock_apart(v, s, confirmed);
    if (apart > s->conf->clock_skew_limit || apart < -s->conf->clock_skew_limit) {
        v->said = SAID_NO;
        err_set(&v->why, ERR_DENIED, "its clock is %lld ms %s ours; %lld are borne",
                (long long)(apart > 0 ? apart : -apart), apart > 0 ? "ahead of" : "behind",
                (long long)s->conf->clock_skew_limit);
        return;
    }
    if (!confirmed->valid)
        v->said = SAID_NO;
    else if (confirmed->term != c->permit->term) /* yes to something else: not believed */
        v->said = SAID_NO;
    else
        v->said = SAID_YES;
    err_set(&v->why, ERR_DENIED, "%s",
            confirmed->reason != NULL ? confirmed->reason : "it answered for another term");
}

static void take_not_yet(struct voter *v, const char *why)
{
    v->said = SAID_NOT_YET;
    err_set(&v->why, ERR_NOT_FOUND, "%s", why);
}

/* A word counts only of a voter that knows this group as the newest: of two groups each might have
 * a majority here, of hosts that do not know of one another's decisions. */
static bool is_of_group(struct voter *v, const struct confirm *c,
                        const Skein__PermitConfirmed *confirmed)
{
    if (c->group == 0 || (confirmed->has_voters && confirmed->voters == c->group))
        return true;
    _cleanup_(freep) char *why =
        xasprintf("it knows group %llu of voters, and this is group %llu",
                  (unsigned long long)confirmed->voters, (unsigned long long)c->group);
    take_not_yet(v, why);
    return false;
}

static void ask_self(struct confirm *c, struct voter *v, struct step *s, const struct state *state,
                     uint64_t term)
{
    struct confirm_answer answer;
    confirm_answer(state, term, s, s->conf->host, c->permit, &answer);
    if (answer.not_yet.code != ERR_OK)
        take_not_yet(v, answer.not_yet.msg);
    else if (is_of_group(v, c, &answer.confirmed))
        take_answer(v, c, s, &answer.confirmed);
}

static void ask(struct confirm *c, struct voter *v, struct step *s, const struct state *state,
                uint64_t term)
{
    v->asked_mono = s->now.mono;
    if (v->first_mono == 0)
        v->first_mono = s->now.mono;
    if (strcmp(v->host, s->conf->host) == 0) {
        ask_self(c, v, s, state, term);
        return;
    }
    Skein__ConfirmPermit question = SKEIN__CONFIRM_PERMIT__INIT;
    question.permit = c->permit;
    Skein__Request request = SKEIN__REQUEST__INIT;
    request.kind_case = SKEIN__REQUEST__KIND_CONFIRM;
    request.confirm = &question;
    verify_ask(s, c->owner, v->host, &request, &v->token);
}

struct confirm *confirm_new(struct step *s, enum owner owner, const struct state *state,
                            uint64_t term, const Skein__Permit *permit, msec deadline_mono)
{
    struct confirm *c = xcalloc(1, sizeof *c);
    c->owner = owner;
    c->permit = (Skein__Permit *)codec_copy(&permit->base);
    c->deadline_mono = deadline_mono;
    c->n = s->conf->n_voters;
    c->group = s->conf->group.number;
    c->voters = xcalloc(c->n, sizeof *c->voters);
    for (size_t i = 0; i < c->n; i++) {
        c->voters[i].host = xstrdup(s->conf->voters[i]);
        ask(c, &c->voters[i], s, state, term);
    }
    return c;
}

void confirm_free(struct confirm *c)
{
    if (c == NULL)
        return;
    skein__permit__free_unpacked(c->permit, NULL);
    for (size_t i = 0; i < c->n; i++)
        free(c->voters[i].host);
    free(c->voters);
    free(c);
}

bool confirm_reply(struct confirm *c, const struct step *s, const char *from,
                   const Skein__Reply *reply)
{
    for (size_t i = 0; i < c->n; i++) {
        struct voter *v = &c->voters[i];
        if (v->token == 0 || v->token != reply->id || strcmp(v->host, from) != 0)
            continue;
        if (reply->code != NULL && reply->code[0] != '\0')
            take_not_yet(v, reply->message != NULL ? reply->message : reply->code);
        else if (reply->kind_case == SKEIN__REPLY__KIND_CONFIRMED &&
                 is_of_group(v, c, reply->confirmed))
            take_answer(v, c, s, reply->confirmed);
        return true;
    }
    return false;
}

static size_t count(const struct confirm *c, enum said said)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->voters[i].said == said;
    return n;
}

enum confirm_outcome confirm_tick(struct confirm *c, struct step *s, const struct state *state,
                                  uint64_t term)
{
    size_t majority = c->n / 2 + 1;
    if (c->group != s->conf->group.number)
        return CONFIRM_REFUSED; /* others vote now; the planner gives another permit */
    if (count(c, SAID_YES) >= majority)
        return CONFIRM_VALID;
    if (c->n - count(c, SAID_NO) < majority)
        return CONFIRM_REFUSED;
    if (s->now.mono >= c->deadline_mono)
        return CONFIRM_TIMEOUT;
    for (size_t i = 0; i < c->n; i++) {
        struct voter *v = &c->voters[i];
        bool decided = v->said == SAID_YES || v->said == SAID_NO;
        if (!decided && s->now.mono - v->asked_mono >= CONFIRM_AGAIN)
            ask(c, v, s, state, term);
    }
    return CONFIRM_ASKING;
}

int confirm_why(const struct confirm *c, enum confirm_outcome outcome, struct err *err)
{
    if (outcome == CONFIRM_VALID || outcome == CONFIRM_ASKING)
        return 0;
    struct buf who = {0};
    if (outcome == CONFIRM_REFUSED && c->n - count(c, SAID_NO) >= c->n / 2 + 1)
        buf_adds(&who, "; the voters have changed");
    for (size_t i = 0; i < c->n; i++) {
        const struct voter *v = &c->voters[i];
        if (v->said != SAID_YES)
            buf_addf(&who, "; %s: %s", v->host, v->said == SAID_NOTHING ? "no answer" : v->why.msg);
    }
    int rc = err_set(err, outcome == CONFIRM_REFUSED ? ERR_STALE : ERR_TIMEOUT,
                     "permit %s has the word of %zu of %zu voters, %zu are needed%s", c->permit->id,
                     count(c, SAID_YES), c->n, c->n / 2 + 1, who.data != NULL ? who.data : "");
    buf_done(&who);
    return rc;
}
