#include "agent/core/admin.h"

#include <stdio.h>

#include "proto/codec.h"

#define UP SKEIN__HOST_STATE__HOST_UP
#define CORDONED SKEIN__HOST_STATE__HOST_CORDONED
#define DRAINING SKEIN__HOST_STATE__HOST_DRAINING
#define MAINTENANCE SKEIN__HOST_STATE__HOST_MAINTENANCE

struct admin {
    const char *only; /* borrowed: records of other hosts are not to be had; NULL: all are */
    Skein__HostAdmin **hosts; /* sorted by name */
    size_t n_hosts, cap_hosts;
    Skein__Freeze **freezes; /* oldest first */
    size_t n_freezes, cap_freezes;
    Skein__Hold **holds; /* sorted by UUID */
    size_t n_holds, cap_holds;
};

void admin_set_only(struct admin *a, const char *only)
{
    a->only = only;
}

struct admin *admin_new(const char *only)
{
    struct admin *a = xcalloc(1, sizeof *a);
    a->only = only;
    return a;
}

static bool knows(const struct admin *a, const char *host)
{
    return a->only == NULL || strcmp(a->only, host) == 0;
}

static void clear(struct admin *a)
{
    for (size_t i = 0; i < a->n_hosts; i++)
        skein__host_admin__free_unpacked(a->hosts[i], NULL);
    for (size_t i = 0; i < a->n_freezes; i++)
        skein__freeze__free_unpacked(a->freezes[i], NULL);
    for (size_t i = 0; i < a->n_holds; i++)
        skein__hold__free_unpacked(a->holds[i], NULL);
    a->n_hosts = a->n_freezes = a->n_holds = 0;
}

void admin_free(struct admin *a)
{
    if (a == NULL)
        return;
    clear(a);
    free(a->hosts);
    free(a->freezes);
    free(a->holds);
    free(a);
}

/* ---- asked ---- */

size_t admin_hosts(const struct admin *a, Skein__HostAdmin *const **ret)
{
    *ret = a->hosts;
    return a->n_hosts;
}

size_t admin_freezes(const struct admin *a, Skein__Freeze *const **ret)
{
    *ret = a->freezes;
    return a->n_freezes;
}

size_t admin_holds(const struct admin *a, Skein__Hold *const **ret)
{
    *ret = a->holds;
    return a->n_holds;
}

/* Where the record of this host is, or would be. */
static size_t host_place(const struct admin *a, const char *host)
{
    size_t i = 0;
    while (i < a->n_hosts && strcmp(a->hosts[i]->host, host) < 0)
        i++;
    return i;
}

static Skein__HostAdmin *find_host(const struct admin *a, const char *host)
{
    size_t i = host_place(a, host);
    return i < a->n_hosts && strcmp(a->hosts[i]->host, host) == 0 ? a->hosts[i] : NULL;
}

const Skein__HostAdmin *admin_host(const struct admin *a, const char *host)
{
    return find_host(a, host);
}

Skein__HostState admin_host_state(const struct admin *a, const char *host)
{
    const Skein__HostAdmin *r = find_host(a, host);
    return r != NULL ? r->state : UP;
}

const char *admin_state_name(Skein__HostState s)
{
    return s == CORDONED      ? "cordoned"
           : s == DRAINING    ? "draining"
           : s == MAINTENANCE ? "maintenance"
                              : "up";
}

bool admin_drains(const struct admin *a, const char *host)
{
    Skein__HostState s = admin_host_state(a, host);
    return s == DRAINING || s == MAINTENANCE;
}

const Skein__Freeze *admin_freeze(const struct admin *a, msec wall)
{
    for (size_t i = 0; i < a->n_freezes; i++)
        if ((msec)a->freezes[i]->until_ms > wall)
            return a->freezes[i];
    return NULL;
}

static size_t hold_place(const struct admin *a, const char *uuid)
{
    size_t i = 0;
    while (i < a->n_holds && strcmp(a->holds[i]->uuid, uuid) < 0)
        i++;
    return i;
}

static Skein__Hold *find_hold(const struct admin *a, const char *uuid)
{
    size_t i = hold_place(a, uuid);
    return i < a->n_holds && strcmp(a->holds[i]->uuid, uuid) == 0 ? a->holds[i] : NULL;
}

const Skein__Hold *admin_hold(const struct admin *a, const char *uuid, msec wall)
{
    const Skein__Hold *h = find_hold(a, uuid);
    return h != NULL && (msec)h->until_ms > wall ? h : NULL;
}

static bool goes_over_holds(const char *class)
{
    return strcmp(class, "safety") == 0 || strcmp(class, "drain") == 0 ||
           strcmp(class, "user") == 0;
}

static int check_hold(const struct admin *a, const struct plan_body *body,
                      const struct plan_move *m, msec made_at, msec wall, struct err *err)
{
    char until[TIME_TEXT_SIZE];
    const Skein__Hold *h = admin_hold(a, m->uuid, wall);
    if (h == NULL)
        return 0;
    bool newer = made_at != 0 && (msec)h->since_ms > made_at;
    if (goes_over_holds(body->class) && !newer)
        return 0;
    time_format((msec)h->until_ms, until);
    return err_set(err, ERR_CANCELLED, "VM %s is held by %s until %s", m->vm, h->vote->person,
                   until);
}

/* Nothing but the drain's own order lets a VM be stopped. */
static int check_in_place(const struct admin *a, const struct plan_move *m, struct err *err)
{
    const Skein__HostAdmin *r = find_host(a, m->from);
    if (!knows(a, m->from))
        return 0;
    if (r == NULL || r->state != DRAINING || r->fallback == NULL ||
        strcmp(r->fallback, plan_action_type_name(m->type)) != 0)
        return err_set(err, ERR_CANCELLED, "no drain of %s orders that VMs which cannot move %s",
                       m->from, m->type == PLAN_SUSPEND ? "are saved" : "are shut down");
    return 0;
}

int admin_check_move(const struct admin *a, const struct plan_body *body, const struct plan_move *m,
                     msec made_at, msec wall, struct err *err)
{
    const Skein__Freeze *f = admin_freeze(a, wall);
    const Skein__HostAdmin *to = find_host(a, m->to);
    if (f != NULL)
        return err_set(err, ERR_CANCELLED, "frozen by %s%s%s", f->vote->person,
                       f->vote->reason[0] != '\0' ? ": " : "", f->vote->reason);
    if (plan_move_is_in_place(m) && check_in_place(a, m, err) < 0)
        return -(int)err->code;
    if (to != NULL && to->state != UP && m->type == PLAN_MIGRATE)
        return err_set(err, ERR_CANCELLED, "%s takes nothing: %s by %s", m->to,
                       admin_state_name(to->state), to->vote->person);
    if (strcmp(body->policy, ADMIN_DRAIN_POLICY) == 0 && knows(a, m->from) &&
        !admin_drains(a, m->from))
        return err_set(err, ERR_CANCELLED, "%s is not being drained any more", m->from);
    return check_hold(a, body, m, made_at, wall, err);
}

/* ---- applying ---- */

static Skein__Vote *vote_new(const struct admin_command *c, const ProtobufCBinaryData *envelope,
                             msec at)
{
    Skein__Vote r = SKEIN__VOTE__INIT;
    r.has_envelope = r.has_roles = r.has_at_ms = r.has_expires_at_ms = 1;
    r.envelope = *envelope;
    r.verdict = (char *)admin_verb_name(c->verb);
    r.person = (char *)c->person;
    r.roles = c->roles;
    r.key = (char *)c->key;
    r.at_ms = (uint64_t)at;
    r.expires_at_ms = (uint64_t)c->expires_at;
    r.reason = (char *)c->reason;
    return (Skein__Vote *)codec_copy(&r.base);
}

static Skein__HostAdmin *add_host(struct admin *a, const char *host)
{
    size_t i = host_place(a, host);
    ARRAY_RESERVE(a->hosts, a->cap_hosts, a->n_hosts + 1);
    memmove(&a->hosts[i + 1], &a->hosts[i], (a->n_hosts++ - i) * sizeof *a->hosts);
    Skein__HostAdmin r = SKEIN__HOST_ADMIN__INIT;
    r.host = (char *)host;
    return a->hosts[i] = (Skein__HostAdmin *)codec_copy(&r.base);
}

static void drop_host(struct admin *a, const char *host)
{
    size_t i = host_place(a, host);
    if (i == a->n_hosts || strcmp(a->hosts[i]->host, host) != 0)
        return;
    skein__host_admin__free_unpacked(a->hosts[i], NULL);
    memmove(&a->hosts[i], &a->hosts[i + 1], (--a->n_hosts - i) * sizeof *a->hosts);
}

static int check_host(const struct admin *a, const char *host, enum admin_verb verb,
                      struct err *err)
{
    const Skein__HostAdmin *r = find_host(a, host);
    bool drains = admin_drains(a, host);
    if (r == NULL && (verb == ADMIN_UNCORDON || verb == ADMIN_RESTORE))
        return err_set(err, ERR_CONFLICT, "%s is up", host);
    if (verb == ADMIN_UNCORDON && drains)
        return err_set(err, ERR_CONFLICT,
                       "%s is %s; try: skein restore %s, which brings home what left, or skein "
                       "restore --no-return %s",
                       host, admin_state_name(r->state), host, host);
    if (verb == ADMIN_CORDON && r != NULL && r->state == CORDONED)
        return err_set(err, ERR_EXISTS, "%s is cordoned already by %s", host, r->vote->person);
    if (verb == ADMIN_MAINTENANCE && r != NULL && r->state == MAINTENANCE)
        return err_set(err, ERR_EXISTS, "%s is in maintenance already by %s", host,
                       r->vote->person);
    return 0;
}

/* All hosts of the command, or none. */
static int check_hosts(const struct admin *a, const struct admin_command *c, struct err *err)
{
    for (size_t i = 0; i < c->n_hosts; i++)
        if (check_host(a, c->hosts[i], c->verb, err) < 0)
            return -(int)err->code;
    if (a->n_hosts + c->n_hosts > ADMIN_HOSTS_MAX)
        return err_set(err, ERR_LIMIT, "%zu hosts are not up already", a->n_hosts);
    return 0;
}

static Skein__HostState state_after(enum admin_verb verb)
{
    return verb == ADMIN_CORDON        ? CORDONED
           : verb == ADMIN_DRAIN       ? DRAINING
           : verb == ADMIN_MAINTENANCE ? MAINTENANCE
                                       : UP;
}

static void replace_text(char **at, const char *text)
{
    free(*at);
    *at = text != NULL ? xstrdup(text) : NULL;
}

static void set_drain(Skein__HostAdmin *r, const struct admin_command *c)
{
    bool drain = c->verb == ADMIN_DRAIN;
    replace_text(&r->drain, drain ? c->nonce : NULL);
    replace_text(&r->fallback, drain ? c->fallback : NULL);
    r->has_concurrency = drain && c->concurrency > 0;
    r->concurrency = c->concurrency;
    r->has_deadline_ms = drain && c->deadline > 0;
    r->deadline_ms = (uint64_t)c->deadline;
}

static void order_host(struct admin *a, const char *host, const struct admin_command *c,
                       const ProtobufCBinaryData *envelope, msec at)
{
    Skein__HostAdmin *r = find_host(a, host);
    Skein__HostState to = state_after(c->verb);
    bool return_home = c->verb == ADMIN_RESTORE && !c->no_return && r->n_departures > 0;
    if (to == UP && !return_home) {
        drop_host(a, host);
        return;
    }
    if (r == NULL)
        r = add_host(a, host);
    if (r->vote != NULL)
        skein__vote__free_unpacked(r->vote, NULL);
    r->vote = vote_new(c, envelope, at);
    r->has_state = r->has_since_ms = 1;
    r->state = to;
    r->since_ms = (uint64_t)at;
    set_drain(r, c);
}

static int apply_freeze(struct admin *a, const struct admin_command *c,
                        const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    if (c->until <= at)
        return err_set(err, ERR_EXPIRED, "the freeze of %s is over already", c->person);
    if (a->n_freezes >= ADMIN_FREEZES_MAX)
        return err_set(err, ERR_LIMIT, "%zu freezes are in force already", a->n_freezes);
    Skein__Freeze f = SKEIN__FREEZE__INIT;
    char id[ADMIN_ID_SIZE];
    snprintf(id, sizeof id, "%.*s", ADMIN_ID_SIZE - 1, c->nonce);
    f.id = id;
    f.has_since_ms = f.has_until_ms = 1;
    f.since_ms = (uint64_t)at;
    f.until_ms = (uint64_t)c->until;
    ARRAY_RESERVE(a->freezes, a->cap_freezes, a->n_freezes + 1);
    Skein__Freeze *copy = (Skein__Freeze *)codec_copy(&f.base);
    copy->vote = vote_new(c, envelope, at);
    a->freezes[a->n_freezes++] = copy;
    return 0;
}

/* Its owner takes a freeze or hold back, or an admin. */
static bool may_take_back(const struct admin_command *c, const Skein__Vote *v)
{
    return (c->roles & TRUST_ADMIN) != 0 || strcmp(c->person, v->person) == 0 ||
           strcmp(c->key, v->key) == 0;
}

static int apply_unfreeze(struct admin *a, const struct admin_command *c, struct err *err)
{
    size_t kept = 0, matching = 0;
    for (size_t i = 0; i < a->n_freezes; i++) {
        const Skein__Freeze *f = a->freezes[i];
        if (strncmp(f->id, c->id, strlen(c->id)) != 0)
            continue;
        matching++;
        if (!may_take_back(c, f->vote))
            return err_set(err, ERR_DENIED,
                           "the freeze %s is of %s: that person or an admin ends it", f->id,
                           f->vote->person);
    }
    if (matching == 0)
        return err_set(err, ERR_NOT_FOUND,
                       c->id[0] == '\0' ? "nothing is frozen%s" : "there is no freeze %s", c->id);
    for (size_t i = 0; i < a->n_freezes; i++) {
        if (strncmp(a->freezes[i]->id, c->id, strlen(c->id)) == 0)
            skein__freeze__free_unpacked(a->freezes[i], NULL);
        else
            a->freezes[kept++] = a->freezes[i];
    }
    a->n_freezes = kept;
    return 0;
}

static void drop_hold(struct admin *a, size_t i)
{
    skein__hold__free_unpacked(a->holds[i], NULL);
    memmove(&a->holds[i], &a->holds[i + 1], (--a->n_holds - i) * sizeof *a->holds);
}

static int apply_hold(struct admin *a, const struct admin_command *c,
                      const ProtobufCBinaryData *envelope, msec at, struct err *err)
{
    const Skein__Hold *old = find_hold(a, c->uuid);
    if (c->until <= at)
        return err_set(err, ERR_EXPIRED, "the hold of %s is over already", c->person);
    if (old != NULL && !may_take_back(c, old->vote))
        return err_set(err, ERR_EXISTS, "VM %s is held by %s already", c->vm, old->vote->person);
    if (old == NULL && a->n_holds >= ADMIN_HOLDS_MAX)
        return err_set(err, ERR_LIMIT, "%zu VMs are held already", a->n_holds);
    if (old != NULL)
        drop_hold(a, hold_place(a, c->uuid));
    Skein__Hold h = SKEIN__HOLD__INIT;
    h.uuid = (char *)c->uuid;
    h.vm = (char *)(c->vm[0] != '\0' ? c->vm : c->uuid);
    h.has_since_ms = h.has_until_ms = 1;
    h.since_ms = (uint64_t)at;
    h.until_ms = (uint64_t)c->until;
    Skein__Hold *copy = (Skein__Hold *)codec_copy(&h.base);
    copy->vote = vote_new(c, envelope, at);
    size_t i = hold_place(a, c->uuid);
    ARRAY_RESERVE(a->holds, a->cap_holds, a->n_holds + 1);
    memmove(&a->holds[i + 1], &a->holds[i], (a->n_holds++ - i) * sizeof *a->holds);
    a->holds[i] = copy;
    return 0;
}

static int apply_release(struct admin *a, const struct admin_command *c, struct err *err)
{
    const Skein__Hold *h = find_hold(a, c->uuid);
    if (h == NULL)
        return err_set(err, ERR_NOT_FOUND,
                       "VM %s is not held here; a hold in its own metadata is "
                       "taken back there",
                       c->vm[0] != '\0' ? c->vm : c->uuid);
    if (!may_take_back(c, h->vote))
        return err_set(err, ERR_DENIED,
                       "the hold of VM %s is of %s: that person or an admin ends it", h->vm,
                       h->vote->person);
    drop_hold(a, hold_place(a, c->uuid));
    return 0;
}

void admin_hold_after(struct admin *a, const char *uuid, msec moment)
{
    Skein__Hold *h = find_hold(a, uuid);
    if (h != NULL && (msec)h->since_ms <= moment)
        h->since_ms = (uint64_t)moment + 1;
}

msec admin_newest_hold(const struct admin *a)
{
    msec newest = 0;
    for (size_t i = 0; i < a->n_holds; i++)
        newest = MAX(newest, (msec)a->holds[i]->since_ms);
    return newest;
}

void admin_expire(struct admin *a, msec at)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->n_freezes; i++) {
        if ((msec)a->freezes[i]->until_ms > at)
            a->freezes[kept++] = a->freezes[i];
        else
            skein__freeze__free_unpacked(a->freezes[i], NULL);
    }
    a->n_freezes = kept;
    for (size_t i = a->n_holds; i-- > 0;)
        if ((msec)a->holds[i]->until_ms <= at)
            drop_hold(a, i);
}

int admin_apply(struct admin *a, const struct admin_command *c, const ProtobufCBinaryData *envelope,
                msec at, struct err *err)
{
    switch (c->verb) {
    case ADMIN_CORDON:
    case ADMIN_UNCORDON:
    case ADMIN_DRAIN:
    case ADMIN_MAINTENANCE:
    case ADMIN_RESTORE:
        if (check_hosts(a, c, err) < 0)
            return -(int)err->code;
        for (size_t i = 0; i < c->n_hosts; i++)
            order_host(a, c->hosts[i], c, envelope, at);
        return 0;
    case ADMIN_FREEZE:
        return apply_freeze(a, c, envelope, at, err);
    case ADMIN_UNFREEZE:
        return apply_unfreeze(a, c, err);
    case ADMIN_HOLD:
        return apply_hold(a, c, envelope, at, err);
    case ADMIN_RELEASE:
        return apply_release(a, c, err);
    case ADMIN_VERB_COUNT:
        break;
    }
    return err_set(err, ERR_UNSUPPORTED, "a command unknown to this version");
}

/* ---- who left, who came home ---- */

static size_t find_departure(const Skein__HostAdmin *r, const char *uuid)
{
    size_t i = 0;
    while (i < r->n_departures && strcmp(r->departures[i]->uuid, uuid) != 0)
        i++;
    return i;
}

static void come_home(struct admin *a, const struct plan_move *m)
{
    Skein__HostAdmin *r = find_host(a, m->to);
    size_t i = r != NULL ? find_departure(r, m->uuid) : 0;
    if (r == NULL || i == r->n_departures)
        return;
    skein__departure__free_unpacked(r->departures[i], NULL);
    memmove(&r->departures[i], &r->departures[i + 1],
            (--r->n_departures - i) * sizeof(*r->departures));
    if (r->n_departures == 0 && r->state == UP)
        drop_host(a, m->to);
}

/* A VM that left another drained host before keeps that one as its home. */
static bool is_away(const struct admin *a, const char *uuid)
{
    for (size_t i = 0; i < a->n_hosts; i++)
        if (find_departure(a->hosts[i], uuid) < a->hosts[i]->n_departures)
            return true;
    return false;
}

void admin_moved(struct admin *a, const struct plan *p, const struct plan_move *m)
{
    Skein__HostAdmin *r = find_host(a, m->from);
    come_home(a, m);
    bool leaves = r != NULL && admin_drains(a, m->from) && !is_away(a, m->uuid) &&
                  strcmp(p->body->class, "drain") == 0 && r->n_departures < ADMIN_DEPARTURES_MAX;
    if (!leaves)
        return;
    Skein__Departure d = SKEIN__DEPARTURE__INIT;
    d.uuid = m->uuid;
    d.vm = m->vm;
    r->departures = xrealloc(r->departures, r->n_departures + 1, sizeof *r->departures);
    r->departures[r->n_departures++] = (Skein__Departure *)codec_copy(&d.base);
}

/* ---- images ---- */

static void copy_list(const void *from, size_t n, ProtobufCMessage ***ret, size_t *ret_n)
{
    ProtobufCMessage *const *items = from;
    *ret = xcalloc(n, sizeof **ret);
    for (*ret_n = 0; *ret_n < n; ++*ret_n)
        (*ret)[*ret_n] = codec_copy(items[*ret_n]);
}

void admin_image(const struct admin *a, Skein__StateImage *m)
{
    copy_list(a->hosts, a->n_hosts, (ProtobufCMessage ***)&m->hosts, &m->n_hosts);
    copy_list(a->freezes, a->n_freezes, (ProtobufCMessage ***)&m->freezes, &m->n_freezes);
    copy_list(a->holds, a->n_holds, (ProtobufCMessage ***)&m->holds, &m->n_holds);
}

static bool vote_is_whole(const Skein__Vote *v)
{
    return v != NULL && v->has_envelope && v->person != NULL && v->key != NULL &&
           v->reason != NULL && v->has_at_ms;
}

static int restore_host(struct admin *a, const Skein__HostAdmin *r, struct err *err)
{
    bool whole =
        r->host != NULL && r->has_state && r->has_since_ms && vote_is_whole(r->vote) &&
        (r->state == UP || r->state == CORDONED || r->state == DRAINING || r->state == MAINTENANCE);
    for (size_t i = 0; whole && i < r->n_departures; i++)
        whole = r->departures[i]->uuid != NULL && r->departures[i]->vm != NULL;
    if (!whole || find_host(a, r->host) != NULL || a->n_hosts >= ADMIN_HOSTS_MAX)
        return err_set(err, ERR_INVALID, "the record of host %s",
                       r->host != NULL ? r->host : "without a name");
    size_t i = host_place(a, r->host);
    ARRAY_RESERVE(a->hosts, a->cap_hosts, a->n_hosts + 1);
    memmove(&a->hosts[i + 1], &a->hosts[i], (a->n_hosts++ - i) * sizeof *a->hosts);
    a->hosts[i] = (Skein__HostAdmin *)codec_copy(&r->base);
    return 0;
}

static int restore_freeze(struct admin *a, const Skein__Freeze *f, struct err *err)
{
    if (f->id == NULL || !f->has_since_ms || !f->has_until_ms || !vote_is_whole(f->vote) ||
        a->n_freezes >= ADMIN_FREEZES_MAX)
        return err_set(err, ERR_INVALID, "freezes[%zu]", a->n_freezes);
    ARRAY_RESERVE(a->freezes, a->cap_freezes, a->n_freezes + 1);
    a->freezes[a->n_freezes++] = (Skein__Freeze *)codec_copy(&f->base);
    return 0;
}

static int restore_hold(struct admin *a, const Skein__Hold *h, struct err *err)
{
    if (h->uuid == NULL || h->vm == NULL || !h->has_since_ms || !h->has_until_ms ||
        !vote_is_whole(h->vote) || find_hold(a, h->uuid) != NULL || a->n_holds >= ADMIN_HOLDS_MAX)
        return err_set(err, ERR_INVALID, "holds[%zu]", a->n_holds);
    size_t i = hold_place(a, h->uuid);
    ARRAY_RESERVE(a->holds, a->cap_holds, a->n_holds + 1);
    memmove(&a->holds[i + 1], &a->holds[i], (a->n_holds++ - i) * sizeof *a->holds);
    a->holds[i] = (Skein__Hold *)codec_copy(&h->base);
    return 0;
}

int admin_restore(struct admin *a, const Skein__StateImage *m, struct err *err)
{
    clear(a);
    for (size_t i = 0; i < m->n_hosts; i++)
        if (restore_host(a, m->hosts[i], err) < 0)
            return -(int)err->code;
    for (size_t i = 0; i < m->n_freezes; i++)
        if (restore_freeze(a, m->freezes[i], err) < 0)
            return -(int)err->code;
    for (size_t i = 0; i < m->n_holds; i++)
        if (restore_hold(a, m->holds[i], err) < 0)
            return -(int)err->code;
    return 0;
}

/* ---- for those who do not vote ---- */

Skein__Bulletin *admin_bulletin(const struct admin *a, const char *host, uint64_t index)
{
    Skein__Bulletin *b = xmalloc(sizeof *b);
    skein__bulletin__init(b);
    b->has_index = 1;
    b->index = index;
    size_t at = host_place(a, host);
    copy_list(a->hosts + at, find_host(a, host) != NULL, (ProtobufCMessage ***)&b->hosts,
              &b->n_hosts);
    copy_list(a->freezes, a->n_freezes, (ProtobufCMessage ***)&b->freezes, &b->n_freezes);
    copy_list(a->holds, a->n_holds, (ProtobufCMessage ***)&b->holds, &b->n_holds);
    /* Who left is the planner's business, and may be long. */
    for (size_t i = 0; i < b->n_hosts; i++) {
        for (size_t k = 0; k < b->hosts[i]->n_departures; k++)
            skein__departure__free_unpacked(b->hosts[i]->departures[k], NULL);
        b->hosts[i]->n_departures = 0;
    }
    return b;
}

/* Did a person sign this, and was it valid when it was applied? */
static bool verifies(const Skein__Vote *v, const struct trust *trust, const char *cluster_uuid,
                     msec wall, struct admin_command *ret)
{
    struct err err;
    _cleanup_(trust_command_done) struct trust_command c = {0};
    return vote_is_whole(v) && (msec)v->at_ms <= wall &&
           command_open(trust, cluster_uuid, v->envelope.data, v->envelope.len, (msec)v->at_ms, &c,
                        &err) == 0 &&
           admin_read(&c, ret, &err) == 0 && strcmp(ret->person, v->person) == 0;
}

static bool names(const struct admin_command *c, const char *host)
{
    for (size_t i = 0; i < c->n_hosts; i++)
        if (strcmp(c->hosts[i], host) == 0)
            return true;
    return false;
}

void admin_learn(struct admin *a, const Skein__Bulletin *b, const struct trust *trust,
                 const char *cluster_uuid, msec wall)
{
    struct err err;
    _cleanup_(freep) struct admin_command *c = xcalloc(1, sizeof *c);
    clear(a);
    for (size_t i = 0; i < b->n_hosts; i++)
        if (verifies(b->hosts[i]->vote, trust, cluster_uuid, wall, c) &&
            b->hosts[i]->host != NULL && names(c, b->hosts[i]->host) &&
            state_after(c->verb) == b->hosts[i]->state)
            restore_host(a, b->hosts[i], &err);
    for (size_t i = 0; i < b->n_freezes; i++)
        if (verifies(b->freezes[i]->vote, trust, cluster_uuid, wall, c) &&
            c->verb == ADMIN_FREEZE && (msec)b->freezes[i]->until_ms == c->until)
            restore_freeze(a, b->freezes[i], &err);
    for (size_t i = 0; i < b->n_holds; i++)
        if (verifies(b->holds[i]->vote, trust, cluster_uuid, wall, c) && c->verb == ADMIN_HOLD &&
            b->holds[i]->uuid != NULL && strcmp(b->holds[i]->uuid, c->uuid) == 0)
            restore_hold(a, b->holds[i], &err);
}
