#include "agent/core/electorate.h"

#include <string.h>

#define ASK_EVERY_MS 1000

/* What a voter of the known group said last. */
struct said {
    uint64_t token;
    bool answered, begins;
    uint64_t store;
    struct voter_groups *groups; /* owned; NULL: nothing that can be read */
};

struct electorate {
    uint64_t newest;                    /* number that somebody knows */
    struct voter_group known;           /* as EVENT_VOTERS said last; number 0: not yet */
    struct said said[GROUP_VOTERS_MAX]; /* in the order of its voters */
    bool voted, left; /* this host did, and since it does not nobody has said who plans */
    msec ask_at;
};

struct electorate *electorate_new(void)
{
    return xcalloc(1, sizeof(struct electorate));
}

static void forget(struct electorate *e)
{
    for (size_t i = 0; i < GROUP_VOTERS_MAX; i++)
        free(e->said[i].groups);
    memset(e->said, 0, sizeof e->said);
}

void electorate_free(struct electorate *e)
{
    if (e == NULL)
        return;
    forget(e);
    free(e);
}

void electorate_heard(struct electorate *e, uint64_t number)
{
    e->newest = MAX(e->newest, number);
}

/* ---- who came, who went ---- */

static bool has_voter(const struct voter_group *g, const struct group_voter *v)
{
    const struct group_voter *other = group_find(g, v->host);
    return other != NULL && (other->store == v->store || other->store == 0 || v->store == 0);
}

static void audit(struct step *s, const char *event, const struct voter_group *of,
                  const struct voter_group *other, const struct voter_group *now)
{
    for (size_t i = 0; i < of->n; i++)
        if (!has_voter(other, &of->voters[i]))
            effect_audit(s, event, "{s:s, s:I, s:s}", "voter", of->voters[i].host, "group",
                         (json_int_t)now->number, "reason", now->reason);
}

void electorate_changed(struct electorate *e, struct step *s)
{
    const struct voter_group *now = &s->conf->group;
    if (e->known.number != 0 && now->number > e->known.number) {
        audit(s, "voter.removed", &e->known, now, now);
        audit(s, "voter.added", now, &e->known, now);
    }
    e->left = e->voted && !step_votes(s->conf, s->conf->host);
    e->voted = step_votes(s->conf, s->conf->host);
    e->known = *now;
    e->newest = MAX(e->newest, now->number);
    e->ask_at = s->now.mono;
    forget(e);
}

/* ---- asking ---- */

bool electorate_waits(const struct electorate *e, const struct node_conf *conf)
{
    return conf->group.number != 0 && (conf->begins || e->left || e->newest > conf->group.number);
}

void electorate_tick(struct electorate *e, struct step *s, bool planner_known)
{
    const struct voter_group *g = &s->conf->group;
    e->left = e->left && !planner_known;
    if (!electorate_waits(e, s->conf) || s->now.mono < e->ask_at)
        return;
    e->ask_at = s->now.mono + ASK_EVERY_MS;
    for (size_t i = 0; i < g->n; i++) {
        Skein__VotersAsk ask = SKEIN__VOTERS_ASK__INIT;
        Skein__Request request = SKEIN__REQUEST__INIT;
        request.kind_case = SKEIN__REQUEST__KIND_VOTERS;
        request.voters = &ask;
        if (strcmp(g->voters[i].host, s->conf->host) != 0)
            e->said[i].token = effect_request(s, OWNER_NODE, g->voters[i].host, &request);
    }
}

void electorate_asked(struct step *s, const char *from, uint64_t id)
{
    Skein__VotersSaid said = SKEIN__VOTERS_SAID__INIT;
    Skein__Reply reply = SKEIN__REPLY__INIT;
    struct err err = {0};
    if (s->conf->group.number == 0) {
        err_set(&err, ERR_UNSUPPORTED, "the voters are fixed");
        effect_reply(s, from, id, NULL, &err);
        return;
    }
    said.groups = groups_message(&s->conf->groups);
    said.has_begins = said.has_store = 1;
    said.begins = s->conf->begins;
    said.store = s->conf->store;
    reply.kind_case = SKEIN__REPLY__KIND_VOTERS;
    reply.voters = &said;
    effect_reply(s, from, id, &reply, NULL);
    skein__voter_groups__free_unpacked(said.groups, NULL);
}

/* ---- what they say ---- */

static const struct voter_group *next_by(const struct electorate *e, const struct node_conf *conf,
                                         size_t voter)
{
    const struct said *said = &e->said[voter];
    return said->groups != NULL && !said->begins ? groups_after(said->groups, &conf->group) : NULL;
}

/* It has nothing, or another store than the voter that it was. */
static bool has_lost(const struct electorate *e, const struct node_conf *conf, size_t voter)
{
    const struct group_voter *v = &conf->group.voters[voter];
    const struct said *said = &e->said[voter];
    bool self = strcmp(v->host, conf->host) == 0;
    if (!self && !said->answered)
        return false;
    return (self ? conf->begins : said->begins) ||
           (v->store != 0 && v->store != (self ? conf->store : said->store));
}

static bool majority_says(const struct electorate *e, const struct node_conf *conf,
                          const struct voter_group *next)
{
    size_t n = 0;
    for (size_t i = 0; i < conf->group.n; i++) {
        const struct voter_group *by = next_by(e, conf, i);
        n += (by != NULL && group_same(by, next)) || has_lost(e, conf, i);
    }
    return n >= conf->group.n / 2 + 1;
}

/* What this voter knows, up to that group. */
static void follow(struct step *s, const struct voter_groups *said, const struct voter_group *next)
{
    struct voter_groups *until = xmemdup(said, sizeof *said);
    while (until->n > 1 && !group_same(&until->list[until->n - 1], next))
        until->n--;
    effect_trace(s, "follows group %llu of voters", (unsigned long long)next->number);
    effect_voters(s, until);
    free(until);
}

static bool follow_majority(const struct electorate *e, struct step *s)
{
    for (size_t i = 0; i < s->conf->group.n; i++) {
        const struct voter_group *next = next_by(e, s->conf, i);
        if (next == NULL || !majority_says(e, s->conf, next))
            continue;
        follow(s, e->said[i].groups, next);
        return true;
    }
    return false;
}

/* This voter knows how they began: with this store, or else this host is not one of them. */
static void begin_as_told(struct step *s, const struct voter_groups *said)
{
    const struct group_voter *v =
        said != NULL && said->n == 1 ? group_find(&said->list[0], s->conf->host) : NULL;
    if (v != NULL && v->store == s->conf->store && said->list[0].number == 1)
        effect_voters(s, said);
}

static void begin(const struct electorate *e, struct step *s)
{
    const struct node_conf *conf = s->conf;
    if (e->newest > 1) /* the cluster is there; all who voted first may have been installed anew */
        return;
    struct voter_groups *first = xcalloc(1, sizeof *first);
    bool all = true;
    groups_add(first, &conf->group);
    for (size_t i = 0; i < conf->group.n; i++) {
        const struct said *said = &e->said[i];
        bool self = strcmp(conf->group.voters[i].host, conf->host) == 0;
        all = all && (self || (said->answered && said->begins));
        first->list[0].voters[i].store = self ? conf->store : said->store;
        if (!self && said->answered && !said->begins)
            begin_as_told(s, said->groups);
    }
    if (all)
        effect_voters(s, first);
    free(first);
}

static int take(struct said *said, const Skein__VotersSaid *m, struct err *err)
{
    struct voter_groups *groups = xcalloc(1, sizeof *groups);
    int rc = groups_read(m->groups, groups, err);
    free(said->groups);
    said->groups = rc >= 0 ? groups : NULL;
    said->answered = rc >= 0;
    said->begins = m->begins;
    said->store = m->store;
    if (rc < 0)
        free(groups);
    return rc;
}

void electorate_reply(struct electorate *e, struct step *s, const char *from,
                      const Skein__Reply *reply)
{
    const struct node_conf *conf = s->conf;
    struct err err;
    size_t i = 0;
    while (i < conf->group.n && strcmp(conf->group.voters[i].host, from) != 0)
        i++;
    if (i == conf->group.n || e->said[i].token != reply->id ||
        reply->kind_case != SKEIN__REPLY__KIND_VOTERS || reply->voters->groups == NULL)
        return;
    if (take(&e->said[i], reply->voters, &err) < 0) {
        effect_trace(s, "what %s says of the voters: %s", from, err.msg);
        return;
    }
    if (electorate_waits(e, conf) && !follow_majority(e, s) && conf->begins)
        begin(e, s);
}
