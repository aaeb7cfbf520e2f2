/* People's orders, from the planner to the agents that do not vote: the others have them from the
 * log. Told when they change and, since a link may have broken under the last telling, again every
 * now and then: about as often as the hosts themselves call with their details, so that a link
 * stands already. */
#include "agent/core/duty_priv.h"
#include "proto/codec.h"
#include "proto/hash.h"

#define TELL_LOOK_MS 1000   /* how often is looked for changes */
#define TELL_AGAIN_MS 15000 /* likewise for those that have been told: as news.c's details */

static int by_host(const void *key, const void *item)
{
    return strcmp(key, ((const struct duty_told *)item)->host);
}

static struct duty_told *told_of(struct duty *d, const char *host)
{
    struct duty_told *t =
        d->n_told > 0 ? bsearch(host, d->told, d->n_told, sizeof *t, by_host) : NULL;
    if (t != NULL)
        return t;
    size_t at = 0;
    while (at < d->n_told && strcmp(d->told[at].host, host) < 0)
        at++;
    ARRAY_RESERVE(d->told, d->cap_told, d->n_told + 1);
    memmove(&d->told[at + 1], &d->told[at], (d->n_told - at) * sizeof *d->told);
    d->n_told++;
    d->told[at] = (struct duty_told){.host = xstrdup(host)};
    return &d->told[at];
}

static void bulletin_hash(const Skein__Bulletin *b, uint8_t ret[HASH_SIZE])
{
    size_t len;
    Skein__Bulletin copy = *b; /* the index alone is no news */
    copy.has_index = 0;
    _cleanup_(freep) uint8_t *bytes = codec_pack(&copy.base, &len);
    hash_domain("skein.bulletin/1", bytes, len, ret);
}

static void tell_one(struct step *s, const struct state *state, const char *host,
                     struct duty_told *t)
{
    uint8_t hash[HASH_SIZE];
    bool due = t->at == 0 || s->now.mono - t->at >= TELL_AGAIN_MS;
    Skein__Frame frame = SKEIN__FRAME__INIT;
    Skein__Bulletin *b = admin_bulletin(state_admin(state), host, state_index(state));
    bulletin_hash(b, hash);
    if (due || memcmp(hash, t->hash, sizeof hash) != 0) {
        memcpy(t->hash, hash, sizeof hash);
        t->at = s->now.mono;
        frame.kind_case = SKEIN__FRAME__KIND_BULLETIN;
        frame.bulletin = b;
        effect_send(s, host, &frame);
    }
    skein__bulletin__free_unpacked(b, NULL);
}

void duty_tell_others(struct duty *d, struct step *s, const struct view *view,
                      const struct state *state)
{
    if (s->now.mono < d->bulletin_at)
        return;
    d->bulletin_at = s->now.mono + TELL_LOOK_MS;
    bool changed = state_index(state) != d->told_index;
    d->told_index = state_index(state);
    for (size_t i = 0; i < view_count(view); i++) {
        const struct view_host *h = view_at(view, i);
        if (!view_reachable(h) || step_votes(d->conf, h->name))
            continue;
        struct duty_told *t = told_of(d, h->name);
        if (changed || t->at == 0 || s->now.mono - t->at >= TELL_AGAIN_MS)
            tell_one(s, state, h->name, t);
    }
}

void duty_told_clear(struct duty *d)
{
    for (size_t i = 0; i < d->n_told; i++)
        free(d->told[i].host);
    free(TAKE_PTR(d->told));
    d->n_told = d->cap_told = 0;
}
