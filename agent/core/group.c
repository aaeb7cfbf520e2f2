#include "agent/core/group.h"

#include <stdio.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/util.h"

/* Voters that a group of so many or more keeps: with fewer, one host would be a majority. */
#define LEAST 3

static int by_host(const void *a, const void *b)
{
    return strcmp(((const struct group_voter *)a)->host, ((const struct group_voter *)b)->host);
}

static int check(const struct voter_group *g, struct err *err)
{
    if (g->n < 1 || g->n > GROUP_VOTERS_MAX || g->number < 1)
        return err_set(err, ERR_INVALID, "a group of %zu voters: 1 to %d are possible", g->n,
                       GROUP_VOTERS_MAX);
    for (size_t i = 0; i < g->n; i++)
        if (g->voters[i].host[0] == '\0' ||
            (i > 0 && strcmp(g->voters[i - 1].host, g->voters[i].host) >= 0))
            return err_set(err, ERR_INVALID, "the voters are not in order");
    return 0;
}

int group_first(const char *const *hosts, size_t n, struct voter_group *ret, struct err *err)
{
    struct voter_group g = {.number = 1, .n = MIN(n, (size_t)GROUP_VOTERS_MAX + 1)};
    if (n > GROUP_VOTERS_MAX)
        return check(&g, err);
    for (size_t i = 0; i < n; i++)
        snprintf(g.voters[i].host, sizeof g.voters[i].host, "%s", hosts[i]);
    qsort(g.voters, n, sizeof g.voters[0], by_host);
    int rc = check(&g, err);
    if (rc >= 0)
        *ret = g;
    return rc;
}

const struct group_voter *group_find(const struct voter_group *g, const char *host)
{
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(g->voters[i].host, host) == 0)
            return &g->voters[i];
    return NULL;
}

bool group_has(const struct voter_group *g, const char *host, uint64_t store)
{
    const struct group_voter *v = group_find(g, host);
    return v != NULL && (v->store == 0 || v->store == store);
}

/* ---- bytes ---- */

Skein__VoterGroup *group_message(const struct voter_group *g)
{
    Skein__VoterGroup *m = xcalloc(1, sizeof *m);
    skein__voter_group__init(m);
    m->has_number = 1;
    m->number = g->number;
    if (g->number > 1) {
        m->has_previous = 1;
        m->previous.data = xmemdup(g->previous, sizeof g->previous);
        m->previous.len = sizeof g->previous;
    }
    m->voters = xcalloc(g->n, sizeof *m->voters);
    m->n_voters = g->n;
    for (size_t i = 0; i < g->n; i++) {
        m->voters[i] = xcalloc(1, sizeof *m->voters[i]);
        skein__voter__init(m->voters[i]);
        m->voters[i]->host = xstrdup(g->voters[i].host);
        m->voters[i]->has_store = g->voters[i].store != 0;
        m->voters[i]->store = g->voters[i].store;
    }
    if (g->reason[0] != '\0')
        m->reason = xstrdup(g->reason);
    m->has_index = m->has_term = g->index != 0;
    m->index = g->index;
    m->term = g->term;
    return m;
}

uint8_t *group_pack(const struct voter_group *g, size_t *ret_len)
{
    Skein__VoterGroup *m = group_message(g);
    uint8_t *bytes = codec_pack(&m->base, ret_len);
    skein__voter_group__free_unpacked(m, NULL);
    return bytes;
}

int group_read(const Skein__VoterGroup *m, struct voter_group *ret, struct err *err)
{
    struct voter_group g = {
        .number = m->number, .n = m->n_voters, .index = m->index, .term = m->term};
    if (m->n_voters > GROUP_VOTERS_MAX)
        return check(&g, err);
    if (m->has_previous != (g.number > 1) ||
        (m->has_previous && m->previous.len != sizeof g.previous))
        return err_set(err, ERR_INVALID, "group %llu does not say which was before it",
                       (unsigned long long)g.number);
    if (m->has_previous)
        memcpy(g.previous, m->previous.data, sizeof g.previous);
    for (size_t i = 0; i < g.n; i++) {
        const Skein__Voter *v = m->voters[i];
        if (v->host == NULL || strlen(v->host) > GROUP_HOST_MAX)
            return err_set(err, ERR_INVALID, "a voter without a name");
        snprintf(g.voters[i].host, sizeof g.voters[i].host, "%s", v->host);
        g.voters[i].store = v->store;
    }
    if (m->reason != NULL && strlen(m->reason) >= sizeof g.reason)
        return err_set(err, ERR_INVALID, "a reason of %zu bytes", strlen(m->reason));
    snprintf(g.reason, sizeof g.reason, "%s", m->reason != NULL ? m->reason : "");
    int rc = check(&g, err);
    if (rc >= 0)
        *ret = g;
    return rc;
}

void group_digest(const struct voter_group *g, uint8_t ret[HASH_SIZE])
{
    size_t len;
    _cleanup_(freep) uint8_t *bytes = group_pack(g, &len);
    hash_domain("skein.voters/1", bytes, len, ret);
}

/* Of what the digest covers; asked often. */
bool group_same(const struct voter_group *a, const struct voter_group *b)
{
    bool same = a->number == b->number && a->n == b->n && a->index == b->index &&
                (a->index == 0 || a->term == b->term) && strcmp(a->reason, b->reason) == 0 &&
                (a->number <= 1 || memcmp(a->previous, b->previous, sizeof a->previous) == 0);
    for (size_t i = 0; same && i < a->n; i++)
        same = a->voters[i].store == b->voters[i].store &&
               strcmp(a->voters[i].host, b->voters[i].host) == 0;
    return same;
}

/* ---- those that are known ---- */

void groups_add(struct voter_groups *gs, const struct voter_group *g)
{
    if (gs->n == GROUPS_KEPT)
        memmove(&gs->list[0], &gs->list[1], --gs->n * sizeof gs->list[0]);
    gs->list[gs->n++] = *g;
}

static bool vouches(const struct voter_group *g, const struct voter_group *before)
{
    uint8_t digest[HASH_SIZE];
    if (g->number != before->number + 1)
        return false;
    group_digest(before, digest);
    return memcmp(g->previous, digest, sizeof digest) == 0;
}

void groups_follow(struct voter_groups *gs, const struct voter_groups *said,
                   const struct voter_group *g)
{
    uint64_t known = gs->n > 0 ? gs->list[gs->n - 1].number : 0;
    size_t i = 0;
    while (said != NULL && i < said->n && !group_same(&said->list[i], g))
        i++;
    size_t first = i;
    while (said != NULL && i < said->n && first > 0 && said->list[first - 1].number > known &&
           vouches(&said->list[first], &said->list[first - 1]))
        first--;
    for (; first < i; first++)
        groups_add(gs, &said->list[first]);
    groups_add(gs, g);
}

const struct voter_group *groups_after(const struct voter_groups *gs, const struct voter_group *g)
{
    for (size_t i = 0; i < gs->n; i++)
        if (vouches(&gs->list[i], g))
            return &gs->list[i];
    bool later = gs->n > 0 && gs->list[gs->n - 1].number > g->number;
    return later ? &gs->list[gs->n - 1] : NULL;
}

Skein__VoterGroups *groups_message(const struct voter_groups *gs)
{
    Skein__VoterGroups *m = xcalloc(1, sizeof *m);
    skein__voter_groups__init(m);
    m->groups = xcalloc(gs->n, sizeof *m->groups);
    for (size_t i = 0; i < gs->n; i++)
        m->groups[m->n_groups++] = group_message(&gs->list[i]);
    return m;
}

int groups_read(const Skein__VoterGroups *m, struct voter_groups *ret, struct err *err)
{
    struct voter_groups gs = {0};
    if (m->n_groups < 1 || m->n_groups > GROUPS_KEPT)
        return err_set(err, ERR_INVALID, "%zu groups of voters", m->n_groups);
    for (; gs.n < m->n_groups; gs.n++) {
        int rc = group_read(m->groups[gs.n], &gs.list[gs.n], err);
        if (rc < 0)
            return rc;
        if (gs.n > 0 && gs.list[gs.n].number <= gs.list[gs.n - 1].number)
            return err_set(err, ERR_INVALID, "groups of voters out of order");
    }
    *ret = gs;
    return 0;
}

uint8_t *groups_pack(const struct voter_groups *gs, size_t *ret_len)
{
    Skein__VoterGroups *m = groups_message(gs);
    uint8_t *bytes = codec_pack(&m->base, ret_len);
    skein__voter_groups__free_unpacked(m, NULL);
    return bytes;
}

int groups_unpack(const uint8_t *bytes, size_t len, struct voter_groups *ret, struct err *err)
{
    Skein__VoterGroups *m = NULL;
    int rc = codec_unpack(&skein__voter_groups__descriptor, "groups of voters", bytes, len,
                          (ProtobufCMessage **)&m, err);
    if (rc < 0)
        return rc;
    rc = groups_read(m, ret, err);
    skein__voter_groups__free_unpacked(m, NULL);
    return rc;
}

/* ---- the next one ---- */

int group_next(const struct voter_group *g, const char *add, uint64_t store, const char *remove,
               const char *reason, struct voter_group *ret, struct err *err)
{
    struct voter_group next = {.number = g->number + 1};
    group_digest(g, next.previous);
    for (size_t i = 0; i < g->n; i++)
        if (remove == NULL || strcmp(g->voters[i].host, remove) != 0)
            next.voters[next.n++] = g->voters[i];
    if (add != NULL && next.n == GROUP_VOTERS_MAX)
        return err_set(err, ERR_LIMIT, "%zu vote already", next.n);
    if (add != NULL) {
        snprintf(next.voters[next.n].host, sizeof next.voters[next.n].host, "%s", add);
        next.voters[next.n++].store = store;
    }
    qsort(next.voters, next.n, sizeof next.voters[0], by_host);
    snprintf(next.reason, sizeof next.reason, "%.190s", reason);
    int rc = check(&next, err) < 0 ? -ERR_INVALID : group_check_next(g, &next, err);
    if (rc >= 0)
        *ret = next;
    return rc;
}

/* Of a's voters: how many are not b's, with their store? */
static size_t missing(const struct voter_group *a, const struct voter_group *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; i++) {
        const struct group_voter *v = group_find(b, a->voters[i].host);
        n += v == NULL || v->store != a->voters[i].store;
    }
    return n;
}

int group_check_next(const struct voter_group *g, const struct voter_group *next, struct err *err)
{
    uint8_t digest[HASH_SIZE];
    group_digest(g, digest);
    if (next->number != g->number + 1 || memcmp(next->previous, digest, sizeof digest) != 0)
        return err_set(err, ERR_CONFLICT, "it does not follow group %llu of voters",
                       (unsigned long long)g->number);
    size_t gone = missing(g, next), come = missing(next, g);
    if (next->n < MIN(g->n, (size_t)LEAST))
        return err_set(err, ERR_INVALID, "%zu of %zu voters: fewer than %d could be one host's own",
                       next->n, g->n, LEAST);
    if (gone > 1 || come > 1 || gone + come == 0)
        return err_set(err, ERR_INVALID, "of the voters %zu go and %zu come: one at a time", gone,
                       come);
    return 0;
}
