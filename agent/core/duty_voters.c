/* Voters replaced: who is away for long, being emptied or has lost its store makes way for another,
 * by an entry that names the next group (group.h). What is asked for follows from voters.h. */
#include "agent/core/duty_priv.h"
#include "agent/core/voters.h"

#define LOOK_MS 1000
#define AGAIN_MS 5000 /* after a change was proposed: the group may end with it */

static uint64_t store_of(const struct view_host *h)
{
    return h != NULL && h->capability != NULL && h->capability->has_store ? h->capability->store
                                                                          : 0;
}

/* It lives, but without the store that voted. */
static bool has_lost_store(const struct view_host *h, const struct group_voter *v)
{
    bool heard = h != NULL && h->summary != NULL && h->summary->has_voters && view_reachable(h);
    return heard && store_of(h) != 0 &&
           (v->store != 0 ? store_of(h) != v->store : h->summary->voters == 0);
}

/* It is heard of, knows the present group, and is the voter that it was if it is one. */
static bool is_there(const struct node_conf *conf, const struct view_host *h)
{
    if (h == NULL || h->summary == NULL || !view_reachable(h) ||
        h->summary->voters != conf->group.number)
        return false;
    const struct group_voter *v = group_find(&conf->group, h->name);
    return v == NULL || !has_lost_store(h, v);
}

/* Since when this planner knows it to be away; 0: it is there. What it heard last before tells more
 * than when this planner began. */
static msec away_since(struct duty *d, const struct step *s, const struct view_host *h,
                       const char *host)
{
    struct duty_absence *a = NULL;
    for (size_t i = 0; i < d->n_absences && a == NULL; i++)
        if (strcmp(d->absences[i].host, host) == 0)
            a = &d->absences[i];
    if (is_there(d->conf, h)) {
        if (a != NULL)
            *a = d->absences[--d->n_absences];
        return 0;
    }
    if (a != NULL || d->n_absences == ARRAY_SIZE(d->absences))
        return a != NULL ? a->since : s->now.mono;
    a = &d->absences[d->n_absences++];
    bool heard = h != NULL && h->summary_mono > 0 && !view_reachable(h);
    a->since = heard ? h->summary_mono : s->now.mono;
    snprintf(a->host, sizeof a->host, "%s", host);
    return a->since;
}

static struct voters_host describe(struct duty *d, const struct step *s, const struct state *state,
                                   const struct view_host *h, const char *name)
{
    bool votes = group_find(&d->conf->group, name) != NULL;
    bool self = strcmp(name, d->conf->host) == 0;
    msec since = votes && !self ? away_since(d, s, h, name) : 0;
    struct voters_host v = {.name = name,
                            .votes = votes,
                            .self = self,
                            .there = self || is_there(d->conf, h),
                            .away = since != 0 ? s->now.mono - since : 0};
    v.leaves = admin_host_state(state_admin(state), name) == SKEIN__HOST_STATE__HOST_MAINTENANCE;
    if (h == NULL)
        return v;
    v.domain = h->failure_domain;
    v.fit = v.there && h->member && !h->suspected && !h->cloned && store_of(h) != 0 &&
            h->summary->state == SKEIN__HOST_STATE__HOST_UP;
    if (h->summary != NULL && h->summary->has_incarnation)
        v.settled = MAX(s->now.wall - (msec)h->summary->incarnation, (msec)0);
    return v;
}

static void propose(struct duty *d, struct step *s, const char *add, uint64_t store,
                    const char *remove, const char *why)
{
    struct voter_group next;
    struct err err;
    if (group_next(&d->conf->group, add, store, remove, why, &next, &err) < 0) {
        effect_trace(s, "duty: no other voters: %s", err.msg);
        return;
    }
    Skein__Entry entry = SKEIN__ENTRY__INIT;
    entry.kind_case = SKEIN__ENTRY__KIND_VOTERS;
    entry.voters = group_message(&next);
    effect_trace(s, "duty: voters: %s%s%s%s: %s", remove != NULL ? "-" : "",
                 remove != NULL ? remove : "", add != NULL ? "+" : "", add != NULL ? add : "", why);
    duty_propose(d, s, "voters", &entry);
    skein__voter_group__free_unpacked(entry.voters, NULL);
    d->voters_at = s->now.mono + AGAIN_MS;
}

/* First who is there with a new store: it takes its own place. */
static bool take_back(struct duty *d, struct step *s, const struct view *view)
{
    const struct voter_group *g = &d->conf->group;
    size_t there = 0;
    for (size_t i = 0; i < g->n; i++)
        there += strcmp(g->voters[i].host, d->conf->host) == 0 ||
                 is_there(d->conf, view_find(view, g->voters[i].host));
    for (size_t i = 0; i < g->n && there >= g->n / 2 + 1; i++) {
        const struct view_host *h = view_find(view, g->voters[i].host);
        if (strcmp(g->voters[i].host, d->conf->host) == 0 || !has_lost_store(h, &g->voters[i]))
            continue;
        propose(d, s, g->voters[i].host, store_of(h), g->voters[i].host, "it has lost its store");
        return true;
    }
    return false;
}

void duty_voters(struct duty *d, struct step *s, const struct view *view, const struct state *state)
{
    const struct voters_conf conf = {.wanted = d->conf->voters_wanted,
                                     .patience = d->conf->voters_patience};
    const struct voter_group *g = &d->conf->group;
    struct voters_change change;
    if (g->number == 0 || s->now.mono < d->voters_at || duty_busy(d, "voters"))
        return;
    d->voters_at = s->now.mono + LOOK_MS;
    if (take_back(d, s, view))
        return;
    struct voters_host *hosts = xcalloc(view_count(view) + g->n, sizeof *hosts);
    size_t n = 0;
    for (size_t i = 0; i < view_count(view); i++) {
        const struct view_host *h = view_at(view, i);
        if (h->member || group_find(g, h->name) != NULL)
            hosts[n++] = describe(d, s, state, h, h->name);
    }
    for (size_t i = 0; i < g->n; i++)
        if (view_find(view, g->voters[i].host) == NULL)
            hosts[n++] = describe(d, s, state, NULL, g->voters[i].host);
    if (voters_choose(&conf, hosts, n, &change))
        propose(d, s, change.add, change.add != NULL ? store_of(view_find(view, change.add)) : 0,
                change.remove, change.why);
    free(hosts);
}
