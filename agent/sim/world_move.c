/* world_move.c - migrations: iterative pre-copy over links that are shared.
 *
 * Each host's link carries its departures and, independently, its arrivals; what competes for one
 * shares it fairly (max-min: progressive filling, Bertsekas and Gallager, Data Networks, 6.5). A
 * round sends what the last one's time has dirtied: writes fall at random into the working set, so
 * of W MiB that D MiB/s write to in t seconds, W (1 - exp(-D t / W)) are dirty. When the rest fits
 * into the downtime allowed, the guest stops, the rest goes, and it runs at the other end. With
 * auto-converge a guest that dirties more than half of what is sent, twice in a row, is slowed by
 * 20 %, then by 10 % more each time, up to 99 % (as QEMU does). Post-copy: when asked for, the
 * guest runs at the other end at once, and what was dirty follows; if the ends lose each other
 * then, the guest waits, broken, until a recovery, and with either host it is lost. Local disks go
 * before the memory. */
#include <math.h>
#include <stdio.h>

#include "agent/sim/world_priv.h"

#define SETUP_MS 600         /* connections, TLS, the other end's QEMU */
#define SWITCH_MS 25         /* device state and resuming */
#define OFFLINE_MS 200       /* a definition alone */
#define DOWNTIME_MS 300      /* allowed when nothing is said */
#define DOWNTIME_LEAST_MS 30 /* no less can be asked for */
#define CUT_MS 30000         /* ends that do not reach each other give up: libvirt's keepalive */
#define LINK_EFFICIENCY 0.9  /* of TLS and framing */
#define THROTTLE_FIRST 0.2
#define THROTTLE_MORE 0.1
#define THROTTLE_MAX 0.99
#define XBZRLE_SHARE 0.6 /* of a page that is sent again: what differs */
#define BEHIND_MAX 2     /* rounds that fall behind before the guest is slowed */
#define FAILS_AT 0.5     /* a fate strikes at this part of the first round */
#define LEAST_MIB 1e-9   /* below this nothing is left but rounding */

/* ---- beginning ---- */

static struct host *destination(const struct world *w, const char *name)
{
    size_t at;
    return world_find_host(w, name, &at, NULL) == 0 ? w->hosts[at] : NULL;
}

static int check_begin(const struct world *w, size_t host, const struct hv_move *move,
                       struct domain **ret, struct err *err)
{
    int rc = world_precheck(w, host, move, err);
    if (rc < 0)
        return rc;
    const struct host *to = destination(w, move->to);
    const struct domain *there = domain_find(to, move->uuid);
    *ret = domain_find(w->hosts[host], move->uuid);
    if (there != NULL && domain_active(there))
        return err_set(err, ERR_EXISTS, "%s: VM \"%s\" is active there already", to->name,
                       (*ret)->guest->detail->name);
    if (domain_active(*ret) && host_memory_available(to) < (*ret)->guest->memory_mib)
        return err_set(err, ERR_HYPERVISOR,
                       "%s: cannot set up guest memory: cannot allocate memory", to->name);
    return 0;
}

/* The other end: a definition left by an earlier visit is taken up. */
static struct domain *target_begin(struct world *w, struct migration *m, struct host *to)
{
    struct domain *d = domain_find(to, m->guest->uuid);
    if (d == NULL)
        d = domain_add(w, to, m->guest, SKEIN__VM_STATE__VM_STOPPED, "");
    if (m->live)
        domain_set(w, d, SKEIN__VM_STATE__VM_INCOMING, "migrating");
    d->job = m;
    return d;
}

/* Both ends of a post-copy take the same reason. */
static void set_both(struct world *w, struct migration *m, const char *reason)
{
    domain_set(w, m->source, SKEIN__VM_STATE__VM_PAUSED, reason);
    if (m->target != NULL)
        domain_set(w, m->target, SKEIN__VM_STATE__VM_RUNNING, reason);
}

/* A post-copy that broke goes on over a new connection. */
static int migration_recover(struct world *w, size_t host, const struct hv_move *move,
                             uint64_t *ret, struct err *err)
{
    const struct domain *d = domain_find(w->hosts[host], move->uuid);
    struct migration *m = d != NULL ? d->job : NULL;
    if (m == NULL || m->source != d || m->phase != PHASE_BROKEN)
        return err_set(err, ERR_CONFLICT, "no post-copy of VM %s waits for a recovery", move->uuid);
    if (m->target == NULL || !host_runs(m->to) || m->to->unlinked || w->hosts[host]->unlinked)
        return err_set(err, ERR_UNAVAILABLE, "%s does not answer %s", m->to->name,
                       w->hosts[host]->name);
    m->id = w->next_migration++;
    m->phase = PHASE_POSTCOPY;
    m->cut_since = -1;
    set_both(w, m, HV_REASON_POSTCOPY);
    moves_rates(w);
    *ret = m->id;
    return 0;
}

int world_migrate(struct world *w, size_t host, const struct hv_move *move, uint64_t *ret,
                  struct err *err)
{
    struct domain *source;
    if (move->recover)
        return migration_recover(w, host, move, ret, err);
    int rc = check_begin(w, host, move, &source, err);
    if (rc < 0)
        return rc;
    ARRAY_RESERVE(w->migrations, w->cap_migrations, w->n_migrations + 1);
    struct migration *m = w->migrations[w->n_migrations++] = xcalloc(1, sizeof *m);
    m->id = w->next_migration++;
    m->guest = source->guest;
    m->source = source;
    m->move = *move;
    m->live = source->state == SKEIN__VM_STATE__VM_RUNNING;
    m->fate = m->guest->fate;
    m->guest->fate = SKEIN__SIM_FATE__FATE_NONE;
    m->began = w->now;
    m->until = w->now + (m->live ? SETUP_MS : OFFLINE_MS);
    m->cut_since = -1;
    m->total_mib = m->guest->memory_mib;
    m->round_mib = m->remaining_mib = m->live ? m->guest->used_mib : 0;
    if (m->live && move->how.storage != MIGRATE_STORAGE_NONE)
        m->disks_mib = (double)m->guest->detail->local_disk_mib;
    m->total_mib += m->disks_mib;
    source->job = m;
    m->to = destination(w, move->to);
    m->target = target_begin(w, m, m->to);
    moves_rates(w);
    world_changed(w, w->hosts[host]);
    *ret = m->id;
    return 0;
}

/* ---- ends ---- */

static void report(struct world *w, const struct migration *m, enum err_code code, const char *why)
{
    struct world_event *e = world_event_add(w, WORLD_MOVED);
    e->host = m->source->host->index;
    e->migration = m->id;
    if (code != ERR_OK)
        err_set(&e->err, code, "migrating VM \"%s\" to %s: %s", m->guest->detail->name, m->move.to,
                why);
    e->stats = (struct hv_stats){.downtime_ms = (uint32_t)MIN(m->downtime, (msec)UINT32_MAX),
                                 .transferred_mib = (uint64_t)m->sent_mib,
                                 .elapsed_ms = (uint64_t)(w->now - m->began)};
}

static void forget(struct world *w, struct migration *m)
{
    size_t i = 0;
    while (w->migrations[i] != m)
        i++;
    memmove(&w->migrations[i], &w->migrations[i + 1],
            (w->n_migrations - i - 1) * sizeof *w->migrations);
    w->n_migrations--;
    free(m);
}

/* The other end is as before: without the guest, or with its definition. */
static void target_undo(struct world *w, struct domain *d)
{
    if (d == NULL) /* its host lost power */
        return;
    d->job = NULL;
    if (d->persistent)
        domain_set(w, d, SKEIN__VM_STATE__VM_STOPPED, "failed to start");
    else
        domain_remove(w, d);
}

static void source_resume(struct world *w, struct migration *m)
{
    m->source->job = NULL;
    if (m->source->state == SKEIN__VM_STATE__VM_PAUSED)
        domain_set(w, m->source, SKEIN__VM_STATE__VM_RUNNING, "migration cancelled");
    else
        world_changed(w, m->source->host);
}

static void undo(struct world *w, struct migration *m)
{
    source_resume(w, m);
    target_undo(w, m->target);
}

/* After the switch there is no way back: what is left of the guest waits. */
static void break_postcopy(struct world *w, struct migration *m, const char *why)
{
    report(w, m, ERR_HYPERVISOR, why);
    set_both(w, m, HV_REASON_POSTCOPY_FAILED);
    m->phase = PHASE_BROKEN;
    if (m->target != NULL && host_runs(m->to))
        return;
    m->source->job = NULL;
    if (m->target != NULL)
        m->target->job = NULL;
    forget(w, m);
}

void migration_fail(struct world *w, struct migration *m, enum err_code code, const char *why)
{
    if (m->phase == PHASE_POSTCOPY || m->phase == PHASE_BROKEN) {
        break_postcopy(w, m, why);
        return;
    }
    report(w, m, code, why);
    undo(w, m);
    forget(w, m);
}

/* Its source has lost power: nothing tells anybody, and the guest is gone with it. */
static void lose_source(struct world *w, struct migration *m)
{
    report(w, m, ERR_UNAVAILABLE, "the source's hypervisor is gone");
    m->source->job = NULL; /* host_stop() stops it */
    if ((m->phase == PHASE_POSTCOPY || m->phase == PHASE_BROKEN) && m->target != NULL)
        m->target->persistent = m->move.persistent;
    target_undo(w, m->target);
    forget(w, m);
}

static void leave_source(struct world *w, struct migration *m)
{
    bool leftover = m->fate == SKEIN__SIM_FATE__FATE_LEFTOVER || !m->move.persistent;
    m->source->job = NULL;
    if (m->source->persistent && leftover && m->live)
        domain_set(w, m->source, SKEIN__VM_STATE__VM_STOPPED, "migrated");
    else
        domain_remove(w, m->source);
}

static void arrive(struct world *w, struct migration *m)
{
    struct domain *d = m->target;
    d->job = NULL;
    d->arrived = true;
    d->persistent = d->persistent || m->move.persistent || !m->live;
    domain_set(w, d, m->live ? SKEIN__VM_STATE__VM_RUNNING : SKEIN__VM_STATE__VM_STOPPED,
               "migrated");
    m->guest->last_move = world_wall(w);
    bool lie = m->fate == SKEIN__SIM_FATE__FATE_ERROR_AFTER_SUCCESS;
    report(w, m, lie ? ERR_HYPERVISOR : ERR_OK, "end of file while reading data");
    leave_source(w, m);
    forget(w, m);
}

static void finish(struct world *w, struct migration *m)
{
    if (m->fate == SKEIN__SIM_FATE__FATE_SUCCESS_WITHOUT_MOVE) {
        report(w, m, ERR_OK, "");
        undo(w, m);
        forget(w, m);
    } else if (m->fate == SKEIN__SIM_FATE__FATE_PAUSED && m->live) {
        report(w, m, ERR_HYPERVISOR, "the connection broke at the end");
        m->source->job = m->target->job = NULL;
        domain_set(w, m->source, SKEIN__VM_STATE__VM_PAUSED, "post-migration");
        domain_set(w, m->target, SKEIN__VM_STATE__VM_PAUSED, "migrating");
        forget(w, m);
    } else if (m->to->disk_full) {
        migration_fail(w, m, ERR_HYPERVISOR,
                       "cannot write the definition: no space left on device");
    } else {
        arrive(w, m);
    }
}

/* ---- rounds ---- */

static double dirty_rate(const struct migration *m)
{
    return m->source->state == SKEIN__VM_STATE__VM_RUNNING
               ? m->guest->dirty_mib_s * (1 - m->throttle)
               : 0;
}

static double dirtied(const struct migration *m)
{
    double wset = MAX(m->guest->wset_mib, LEAST_MIB);
    return wset * (1 - exp(-dirty_rate(m) * m->round_seconds / wset));
}

static double downtime_allowed(const struct migration *m)
{
    return m->move.downtime_ms > 0 ? MAX(m->move.downtime_ms, DOWNTIME_LEAST_MS) : DOWNTIME_MS;
}

static void slow_down(struct migration *m, double dirty)
{
    bool falls_behind = dirty > m->round_mib / 2;
    m->behind = falls_behind ? m->behind + 1 : 0;
    if (!m->move.how.auto_converge || m->behind < BEHIND_MAX)
        return;
    m->behind = 0;
    m->throttle = m->throttle > 0 ? MIN(m->throttle + THROTTLE_MORE, THROTTLE_MAX) : THROTTLE_FIRST;
}

static void round_end(struct world *w, struct migration *m)
{
    double dirty = dirtied(m) * (m->move.how.xbzrle ? XBZRLE_SHARE : 1),
           rate = MAX(m->round_mib / MAX(m->round_seconds, 1e-3), LEAST_MIB);
    m->iteration++;
    slow_down(m, dirty);
    m->round_mib = m->remaining_mib = dirty;
    m->round_seconds = 0;
    double stop_ms = dirty / rate * 1000 + SWITCH_MS;
    if (stop_ms > downtime_allowed(m))
        return;
    m->phase = PHASE_SWITCH;
    m->downtime = (msec)ceil(stop_ms);
    m->until = w->now + m->downtime;
    m->sent_mib += dirty;
    m->remaining_mib = 0;
    domain_set(w, m->source, SKEIN__VM_STATE__VM_PAUSED, "migrating");
}

/* ---- time ---- */

/* Do the ends reach each other, and does somebody live there to carry the move on? */
static bool is_cut(const struct migration *m)
{
    return m->source->host->unlinked || m->to->unlinked || (!host_runs(m->to) && m->to->silent);
}

static bool stands_still(const struct migration *m)
{
    return m->cut_since >= 0 || m->source->host->hung || m->to->hung;
}

static bool sends(const struct migration *m)
{
    return m->phase == PHASE_COPY || m->phase == PHASE_POSTCOPY || m->phase == PHASE_DISKS;
}

void moves_pass(struct world *w, msec dt)
{
    for (size_t i = 0; i < w->n_migrations; i++) {
        struct migration *m = w->migrations[i];
        if (!sends(m)) {
            m->until += stands_still(m) ? dt : 0;
            continue;
        }
        double seconds = (double)dt / 1000, mib = MIN(m->rate_mib_s * seconds, m->remaining_mib);
        m->remaining_mib -= mib;
        m->sent_mib += mib;
        m->round_seconds += seconds;
    }
}

static msec due_at(const struct world *w, const struct migration *m)
{
    if (m->phase == PHASE_BROKEN)
        return WORLD_NEVER;
    if (m->cut_since >= 0)
        return m->cut_since + CUT_MS;
    if (stands_still(m))
        return WORLD_NEVER;
    if (!sends(m))
        return m->until;
    if (m->remaining_mib <= LEAST_MIB)
        return w->now;
    if (m->rate_mib_s <= 0)
        return WORLD_NEVER;
    double ms = ceil(m->remaining_mib / m->rate_mib_s * 1000);
    return ms < 1e12 ? w->now + (msec)ms : WORLD_NEVER;
}

msec moves_next(const struct world *w)
{
    msec next = WORLD_NEVER;
    for (size_t i = 0; i < w->n_migrations; i++)
        next = MIN(next, due_at(w, w->migrations[i]));
    return next;
}

static bool strikes(const struct migration *m)
{
    return m->fate == SKEIN__SIM_FATE__FATE_FAIL && m->iteration == 0 &&
           m->remaining_mib <= m->round_mib * (1 - FAILS_AT);
}

/* The ends gave each other up; true when it is no more. */
static bool migration_cut(struct world *w, struct migration *m)
{
    bool waits = m->phase == PHASE_POSTCOPY && m->target != NULL && host_runs(m->to);
    migration_fail(w, m, ERR_HYPERVISOR, "keepalive timeout");
    return !waits;
}

/* One that is due; true when it is no more. */
static bool settle(struct world *w, struct migration *m)
{
    if (!host_runs(m->source->host))
        return lose_source(w, m), true;
    bool gone = host_runs(m->to) ? m->target == NULL : !m->to->silent;
    if (gone)
        return migration_fail(w, m, ERR_HYPERVISOR, "connection reset by peer"), true;
    if (m->phase == PHASE_BROKEN)
        return false;
    if (is_cut(m) != (m->cut_since >= 0))
        m->cut_since = is_cut(m) ? w->now : -1;
    if (m->cut_since >= 0 && w->now - m->cut_since >= CUT_MS)
        return migration_cut(w, m);
    if (stands_still(m))
        return false;
    if (m->phase == PHASE_SETUP && w->now >= m->until) {
        if (!m->live)
            return finish(w, m), true;
        m->phase = m->disks_mib > 0 ? PHASE_DISKS : PHASE_COPY;
        if (m->disks_mib > 0)
            m->remaining_mib = m->disks_mib;
    } else if (m->phase == PHASE_DISKS && m->remaining_mib <= LEAST_MIB) {
        m->phase = PHASE_COPY;
        m->remaining_mib = m->round_mib;
        m->round_seconds = 0;
    } else if (m->phase == PHASE_POSTCOPY && m->remaining_mib <= LEAST_MIB) {
        return finish(w, m), true;
    } else if (m->phase == PHASE_COPY && strikes(m)) {
        return migration_fail(w, m, ERR_HYPERVISOR, "QEMU ended unexpectedly"), true;
    } else if (m->phase == PHASE_COPY && m->remaining_mib <= LEAST_MIB) {
        round_end(w, m);
    } else if (m->phase == PHASE_SWITCH && w->now >= m->until) {
        return finish(w, m), true;
    }
    return false;
}

void moves_settle(struct world *w)
{
    for (size_t i = 0; i < w->n_migrations;)
        if (!settle(w, w->migrations[i]))
            i++;
}

/* ---- shares ---- */

static bool takes_part(const struct migration *m)
{
    return sends(m) && !stands_still(m) && !is_cut(m) && m->fate != SKEIN__SIM_FATE__FATE_STUCK;
}

struct share {
    double left[2]; /* MiB/s of the link that nobody has yet: out, in */
    unsigned wants[2];
};

/* The least that any of the open ones can still get. */
static double least_share(const struct world *w, const struct share *shares, const bool *open)
{
    double least = HUGE_VAL;
    for (size_t i = 0; i < w->n_migrations; i++) {
        const struct migration *m = w->migrations[i];
        const struct share *from = &shares[m->source->host->index], *to = &shares[m->to->index];
        if (!open[i])
            continue;
        double limit = m->move.bandwidth_mib_s > 0 ? (double)m->move.bandwidth_mib_s : HUGE_VAL;
        least = MIN(least, limit - m->rate_mib_s);
        least = MIN(least, from->left[0] / from->wants[0]);
        least = MIN(least, to->left[1] / to->wants[1]);
    }
    return MAX(least, 0);
}

static bool is_full(const struct migration *m, const struct share *shares)
{
    return (m->move.bandwidth_mib_s > 0 && m->rate_mib_s >= m->move.bandwidth_mib_s - 1e-6) ||
           shares[m->source->host->index].left[0] <= 1e-6 || shares[m->to->index].left[1] <= 1e-6;
}

/* Raise all open ones alike until the first is full; close those; again. False: none is open. */
static bool fill(struct world *w, struct share *shares, bool *open)
{
    double more = least_share(w, shares, open);
    bool any = false;
    for (size_t i = 0; i < w->n_migrations; i++) {
        struct migration *m = w->migrations[i];
        if (!open[i])
            continue;
        m->rate_mib_s += more;
        shares[m->source->host->index].left[0] -= more;
        shares[m->to->index].left[1] -= more;
    }
    for (size_t i = 0; i < w->n_migrations; i++) {
        const struct migration *m = w->migrations[i];
        if (!open[i])
            continue;
        any = true;
        if (!is_full(m, shares))
            continue;
        open[i] = false;
        shares[m->source->host->index].wants[0]--;
        shares[m->to->index].wants[1]--;
    }
    return any;
}

void moves_rates(struct world *w)
{
    if (w->n_migrations == 0)
        return;
    _cleanup_(freep) struct share *shares = xcalloc(w->n_hosts, sizeof *shares);
    _cleanup_(freep) bool *open = xcalloc(w->n_migrations, sizeof *open);
    for (size_t i = 0; i < w->n_hosts; i++)
        shares[i].left[0] = shares[i].left[1] = w->hosts[i]->link_mib_s * LINK_EFFICIENCY;
    for (size_t i = 0; i < w->n_migrations; i++) {
        struct migration *m = w->migrations[i];
        m->rate_mib_s = 0;
        open[i] = takes_part(m);
        if (!open[i])
            continue;
        shares[m->source->host->index].wants[0]++;
        shares[m->to->index].wants[1]++;
    }
    while (fill(w, shares, open))
        ;
}

/* ---- progress, abort ---- */

static struct migration *leaving(const struct world *w, size_t host, const char *uuid)
{
    const struct domain *d = domain_find(w->hosts[host], uuid);
    return d != NULL && d->job != NULL && d->job->source == d ? d->job : NULL;
}

int world_progress(const struct world *w, size_t host, const char *uuid, struct hv_progress *ret,
                   struct err *err)
{
    const struct migration *m = leaving(w, host, uuid);
    *ret = (struct hv_progress){0};
    if (domain_find(w->hosts[host], uuid) == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s is not here", uuid);
    if (m == NULL)
        return 0;
    ret->running = m->phase != PHASE_BROKEN;
    ret->postcopy = m->phase == PHASE_POSTCOPY;
    ret->total_mib = (uint64_t)m->total_mib;
    ret->remaining_mib = (uint64_t)m->remaining_mib;
    ret->transferred_mib = (uint64_t)m->sent_mib;
    ret->elapsed_ms = (uint64_t)(w->now - m->began);
    ret->dirty_milli_mib_s = (uint32_t)(dirty_rate(m) * 1000);
    ret->bandwidth_milli_mib_s = (uint32_t)MIN(m->rate_mib_s * 1000, (double)UINT32_MAX);
    ret->iteration = m->iteration + 1;
    return 0;
}

int world_postcopy(struct world *w, size_t host, const char *uuid, struct err *err)
{
    struct migration *m = leaving(w, host, uuid);
    if (m == NULL || m->phase != PHASE_COPY)
        return err_set(err, ERR_CONFLICT, "no migration of VM %s copies memory", uuid);
    if (!migrate_is_postcopy(m->move.how.mode))
        return err_set(err, ERR_CONFLICT, "the migration of VM %s was begun without post-copy",
                       uuid);
    m->remaining_mib = MIN(m->remaining_mib + dirtied(m), m->guest->used_mib);
    m->phase = PHASE_POSTCOPY;
    m->downtime = 2 * SWITCH_MS;
    set_both(w, m, HV_REASON_POSTCOPY);
    moves_rates(w);
    return 0;
}

int world_stop(struct world *w, size_t host, const char *uuid, const char *reason, struct err *err)
{
    struct domain *d = domain_find(w->hosts[host], uuid);
    if (d == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s is not here", uuid);
    if (d->state != SKEIN__VM_STATE__VM_RUNNING || d->job != NULL || !d->persistent)
        return err_set(err, ERR_CONFLICT, "VM %s does not run here, or a migration of it does",
                       uuid);
    domain_set(w, d, SKEIN__VM_STATE__VM_STOPPED, reason);
    moves_rates(w);
    return 0;
}

int world_abort(struct world *w, size_t host, const char *uuid, struct err *err)
{
    struct migration *m = leaving(w, host, uuid);
    if (domain_find(w->hosts[host], uuid) == NULL)
        return err_set(err, ERR_NOT_FOUND, "VM %s is not here", uuid);
    if (m == NULL)
        return err_set(err, ERR_CONFLICT, "no migration of VM %s runs", uuid);
    if (m->phase == PHASE_SWITCH || m->phase == PHASE_POSTCOPY || m->phase == PHASE_BROKEN)
        return err_set(err, ERR_CONFLICT, "the migration of VM %s has all but ended", uuid);
    migration_fail(w, m, ERR_CANCELLED, "aborted");
    moves_rates(w);
    return 0;
}
