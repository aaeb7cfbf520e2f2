#include "agent/core/voters.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/util.h"

/* What is chosen from. The new set is the voters without one of them, with another host. */
struct choice {
    const struct voters_conf *conf;
    const struct voters_host *hosts;
    size_t n, voters;
    unsigned wanted;
};

static bool is_lost(const struct choice *c, const struct voters_host *h)
{
    return !h->there && h->away >= c->conf->patience;
}

static bool is_well(const struct voters_host *h)
{
    return h->there && !h->leaves;
}

unsigned voters_wanted(const struct voters_conf *conf, const struct voters_host *hosts, size_t n)
{
    const struct choice c = {.conf = conf};
    unsigned count = 0, voters = 0;
    for (size_t i = 0; i < n; i++) {
        count += hosts[i].votes ? !is_lost(&c, &hosts[i]) : hosts[i].there;
        voters += hosts[i].votes;
    }
    unsigned wanted = conf->wanted != 0 ? MIN(conf->wanted, VOTERS_MAX) : 5;
    unsigned least = voters < 3 ? 1 : 3; /* copies of the state that there are stay */
    while (wanted > count && wanted > least)
        wanted -= wanted % 2 == 0 ? 1 : 2; /* an even one more bears no more losses */
    return MAX(wanted, least);
}

/* ---- the set after a change ---- */

static bool votes_after(const struct voters_host *h, const struct voters_host *add,
                        const struct voters_host *remove)
{
    return h == add || (h->votes && h != remove);
}

/* Can these agree: before the change, and after it? */
static bool majorities_hold(const struct choice *c, const struct voters_host *add,
                            const struct voters_host *remove)
{
    size_t before = 0, there_before = 0, after = 0, there_after = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct voters_host *h = &c->hosts[i];
        before += h->votes;
        there_before += h->votes && h->there;
        if (votes_after(h, add, remove)) {
            after++;
            there_after += h->there;
        }
    }
    return there_before >= before / 2 + 1 && after > 0 && there_after >= after / 2 + 1;
}

static bool same_domain(const struct voters_host *a, const struct voters_host *b)
{
    return a == b || (a->domain != NULL && b->domain != NULL && strcmp(a->domain, b->domain) == 0);
}

static size_t sharers(const struct choice *c, const struct voters_host *host,
                      const struct voters_host *add, const struct voters_host *remove)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += &c->hosts[i] != host && votes_after(&c->hosts[i], add, remove) &&
             same_domain(&c->hosts[i], host);
    return n;
}

/* Pairs of voters that one failure takes: the fewer, the better spread. */
static size_t crowding(const struct choice *c, const struct voters_host *add,
                       const struct voters_host *remove)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (votes_after(&c->hosts[i], add, remove))
            n += sharers(c, &c->hosts[i], add, remove);
    return n / 2;
}

/* ---- who comes, who goes ---- */

static bool is_older(const struct voters_host *a, const struct voters_host *b)
{
    return a->settled != b->settled ? a->settled > b->settled : strcmp(a->name, b->name) < 0;
}

/* The host that spreads the voters best, rather one that was long there. NULL: none. */
static const struct voters_host *find_new(const struct choice *c, const struct voters_host *remove)
{
    const struct voters_host *best = NULL;
    size_t best_crowd = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct voters_host *h = &c->hosts[i];
        if (h->votes || !h->fit || !is_well(h) || !majorities_hold(c, h, remove))
            continue;
        size_t crowd = crowding(c, h, remove);
        if (best == NULL || crowd < best_crowd || (crowd == best_crowd && is_older(h, best))) {
            best = h;
            best_crowd = crowd;
        }
    }
    return best;
}

static size_t count_new(const struct choice *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += !c->hosts[i].votes && c->hosts[i].fit && is_well(&c->hosts[i]);
    return n;
}

/* The voter that is lost, longest first; else one that is being emptied. */
static const struct voters_host *find_going(const struct choice *c)
{
    const struct voters_host *going = NULL;
    for (size_t i = 0; i < c->n; i++) {
        const struct voters_host *h = &c->hosts[i];
        bool goes = h->votes && !h->self && (is_lost(c, h) || (h->leaves && h->there));
        if (goes && (going == NULL || h->away > going->away))
            going = h;
    }
    return going;
}

/* The voter that would be missed least. */
static const struct voters_host *find_spare(const struct choice *c)
{
    const struct voters_host *spare = NULL;
    size_t best = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct voters_host *h = &c->hosts[i];
        if (!h->votes || h->self || !majorities_hold(c, NULL, h))
            continue;
        size_t crowd = crowding(c, NULL, h);
        if (spare == NULL || crowd < best || (crowd == best && is_older(spare, h))) {
            spare = h;
            best = crowd;
        }
    }
    return spare;
}

static bool change(struct voters_change *ret, const struct voters_host *add,
                   const struct voters_host *remove, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool change(struct voters_change *ret, const struct voters_host *add,
                   const struct voters_host *remove, const char *fmt, ...)
{
    va_list ap;
    *ret = (struct voters_change){.add = add != NULL ? add->name : NULL,
                                  .remove = remove != NULL ? remove->name : NULL};
    va_start(ap, fmt);
    vsnprintf(ret->why, sizeof ret->why, fmt, ap);
    va_end(ap);
    return true;
}

/* ---- the reasons for a change, the first that there is ---- */

static bool replace_going(const struct choice *c, struct voters_change *ret)
{
    const struct voters_host *going = find_going(c);
    const struct voters_host *add =
        going != NULL && c->voters <= c->wanted ? find_new(c, going) : NULL;
    if (going == NULL)
        return false;
    bool fewer = c->voters > c->wanted && majorities_hold(c, NULL, going);
    if (add == NULL && !fewer)
        return false; /* nobody takes its place: it stays, a voter more or less is not worth less */
    if (going->there)
        return change(ret, add, going, "%.60s is being emptied", going->name);
    return change(ret, add, going, "%.60s has been away for %lld s", going->name,
                  (long long)(going->away / 1000));
}

/* From three to five two must come: four bear no more losses than three. */
static bool grow(const struct choice *c, struct voters_change *ret)
{
    if (c->voters >= c->wanted || count_new(c) < (c->voters % 2 == 0 ? 1u : 2u))
        return false;
    const struct voters_host *add = find_new(c, NULL);
    return add != NULL && change(ret, add, NULL, "%u should vote, not %zu", c->wanted, c->voters);
}

static bool shrink(const struct choice *c, struct voters_change *ret)
{
    const struct voters_host *spare = c->voters > c->wanted ? find_spare(c) : NULL;
    return spare != NULL &&
           change(ret, NULL, spare, "%u should vote, not %zu", c->wanted, c->voters);
}

/* Only among hosts that are well, and known for long: it is not urgent. */
static bool spread(const struct choice *c, struct voters_change *ret)
{
    size_t best = crowding(c, NULL, NULL);
    const struct voters_host *add = NULL, *remove = NULL;
    for (size_t i = 0; i < c->n; i++)
        if (c->hosts[i].votes && !is_well(&c->hosts[i]))
            return false;
    for (size_t i = 0; i < c->n && best > 0; i++) {
        const struct voters_host *old = &c->hosts[i];
        const struct voters_host *h = old->votes && !old->self ? find_new(c, old) : NULL;
        if (h == NULL || h->domain == NULL || h->settled < c->conf->patience ||
            crowding(c, h, old) >= best)
            continue;
        best = crowding(c, h, old);
        add = h;
        remove = old;
    }
    return add != NULL &&
           change(ret, add, remove, "%.40s stands in another failure domain than the others",
                  add->name);
}

bool voters_choose(const struct voters_conf *conf, const struct voters_host *hosts, size_t n,
                   struct voters_change *ret)
{
    struct choice c = {.conf = conf, .hosts = hosts, .n = n};
    c.wanted = voters_wanted(conf, hosts, n);
    for (size_t i = 0; i < n; i++)
        c.voters += hosts[i].votes;
    return replace_going(&c, ret) || grow(&c, ret) || shrink(&c, ret) || spread(&c, ret);
}
