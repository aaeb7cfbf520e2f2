#include "tests/lib/network.h"

#include "proto/util.h"

#define REMEMBERED 32   /* old frames that may come again ... */
#define AGAIN_MAX 60000 /* ms after which they do, at most */

struct cut {
    int from, to;
    msec until;
};

struct network {
    int hosts;
    struct rng rng;
    struct network_faults faults;
    struct agenda letters;
    struct cut *cuts; /* few: a list will do */
    size_t n_cuts, cap_cuts;
    struct letter *remembered[REMEMBERED]; /* owned */
};

struct network *network_new(int hosts, uint64_t seed)
{
    struct network *n = xcalloc(1, sizeof *n);
    n->hosts = hosts;
    n->rng.state = seed;
    n->faults = (struct network_faults){.delay_min = 1, .delay_max = 1};
    return n;
}

void letter_free(struct letter *l)
{
    free(l);
}

void network_free(struct network *n)
{
    if (n == NULL)
        return;
    for (struct happening *h; (h = agenda_take(&n->letters, INT64_MAX)) != NULL;)
        letter_free((struct letter *)h);
    for (size_t i = 0; i < REMEMBERED; i++)
        letter_free(n->remembered[i]);
    agenda_done(&n->letters);
    free(n->cuts);
    free(n);
}

void network_set_faults(struct network *n, const struct network_faults *faults)
{
    n->faults = *faults;
}

static struct letter *letter_new(int from, int to, const void *bytes, size_t len)
{
    struct letter *l = xmalloc(sizeof *l + len);
    *l = (struct letter){.from = from, .to = to, .len = len};
    memcpy(l->bytes, bytes, len);
    return l;
}

static void post(struct network *n, msec now, int from, int to, const void *bytes, size_t len)
{
    const struct network_faults *f = &n->faults;
    msec delay = rng_between(&n->rng, f->delay_min, f->delay_max);
    if (f->slow != 0 && rng_chance(&n->rng, f->slow))
        delay = rng_between(&n->rng, f->delay_max, MAX(f->slow_max, f->delay_max));
    agenda_add(&n->letters, now + delay, &letter_new(from, to, bytes, len)->when);
}

/* An old frame comes again, and this one takes its place. */
static void repeat(struct network *n, msec now, int from, int to, const void *bytes, size_t len)
{
    struct letter **place = &n->remembered[rng_below(&n->rng, REMEMBERED)];
    if (*place != NULL)
        agenda_add(&n->letters, now + rng_between(&n->rng, 1, AGAIN_MAX), &(*place)->when);
    *place = letter_new(from, to, bytes, len);
}

void network_send(struct network *n, msec now, int from, int to, const void *bytes, size_t len)
{
    const struct network_faults *f = &n->faults;
    REQUIRE(from >= 0 && from < n->hosts && to >= 0 && to < n->hosts);
    if (network_is_cut(n, now, from, to) || (f->loss != 0 && rng_chance(&n->rng, f->loss)))
        return;
    post(n, now, from, to, bytes, len);
    if (f->twice != 0 && rng_chance(&n->rng, f->twice))
        post(n, now, from, to, bytes, len);
    if (f->again != 0 && rng_chance(&n->rng, f->again))
        repeat(n, now, from, to, bytes, len);
}

struct letter *network_take(struct network *n, msec until)
{
    for (struct happening *h; (h = agenda_take(&n->letters, until)) != NULL;) {
        struct letter *l = (struct letter *)h;
        if (!network_is_cut(n, h->at, l->from, l->to))
            return l;
        letter_free(l);
    }
    return NULL;
}

void network_return(struct network *n, struct letter *l, msec at)
{
    agenda_add(&n->letters, at, &l->when);
}

msec network_next(const struct network *n)
{
    return agenda_next(&n->letters);
}

void network_cut(struct network *n, int from, int to, msec until)
{
    for (size_t i = 0; i < n->n_cuts; i++)
        if (n->cuts[i].from == from && n->cuts[i].to == to) {
            n->cuts[i].until = MAX(n->cuts[i].until, until);
            return;
        }
    ARRAY_RESERVE(n->cuts, n->cap_cuts, n->n_cuts + 1);
    n->cuts[n->n_cuts++] = (struct cut){from, to, until};
}

void network_heal(struct network *n)
{
    n->n_cuts = 0;
}

bool network_has_cuts(const struct network *n, msec now)
{
    for (size_t i = 0; i < n->n_cuts; i++)
        if (now < n->cuts[i].until)
            return true;
    return false;
}

bool network_is_cut(const struct network *n, msec now, int from, int to)
{
    for (size_t i = 0; i < n->n_cuts; i++)
        if (n->cuts[i].from == from && n->cuts[i].to == to)
            return now < n->cuts[i].until;
    return false;
}
