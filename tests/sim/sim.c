/* sim.c - the clock, and one seed from its beginning to its end. */
#include "tests/sim/sim.h"

#include <stdarg.h>

#define TICK_MS 100
#define CALM_MS 4000      /* before the first fault */
#define SETTLE_MS 2400000 /* after the last one, everything has ended */
#define RELEASE_MS 400000 /* by then what hangs for good has been given up: it lets go */
#define STALL_MS 30000    /* a move without progress is given up after that (ladder.c), no sooner */
#define IN_FLIGHT_MS                                                                               \
    10000 /* for what has just been proposed, and a change of voters with its election */
#define EPILOGUE_MS 100000 /* for reservations to run out, and people's repairs to be seen */

void sim_trace(const struct sim *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    printf("%10.3f ", (double)(s->now - SIM_START) / 1000);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    if (s->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&s->err, ERR_CONFLICT, "%s", text);
    s->failed = true;
}

/* FNV-1a. */
void sim_mix(struct sim *s, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ bytes[i]) * 0x100000001b3u;
}

int sim_host_index(const struct sim *s, const char *name)
{
    int i = atoi(name + 2) - 1; /* "hv7" */
    return name[0] == 'h' && i >= 0 && i < s->n_hosts ? i : -1;
}

int sim_vm_index(const struct sim *s, const char *uuid)
{
    int i = (int)strtol(uuid, NULL, 16) - 1; /* "00000007-..." */
    REQUIRE(i >= 0 && i < s->n_vms);
    return i;
}

/* ---- time ---- */

struct later *sim_later(struct sim *s, msec delay, int host,
                        void (*run)(struct sim *, struct later *))
{
    struct later *l = xcalloc(1, sizeof *l);
    l->run = run;
    l->host = host;
    l->life = host >= 0 ? s->hosts[host].life : 0;
    agenda_add(&s->agenda, s->now + delay, &l->when);
    return l;
}

/* When it goes on; of a host that sleeps nobody knows. */
static msec next_look(const struct sim *s, const struct sim_host *h)
{
    return h->asleep ? s->now + TICK_MS : h->frozen_until;
}

static void run_later(struct sim *s, struct later *l)
{
    const struct sim_host *h = l->host >= 0 ? &s->hosts[l->host] : NULL;
    bool alive = h == NULL || l->always || (h->node != NULL && h->life == l->life);
    if (alive && h != NULL && !l->always && h->frozen_until > s->now) {
        agenda_add(&s->agenda, next_look(s, h), &l->when);
        return;
    }
    l->again = 0;
    if (alive)
        l->run(s, l);
    else if (l->orphaned != NULL)
        l->orphaned(s, l);
    if (l->again > 0) {
        agenda_add(&s->agenda, s->now + l->again, &l->when);
        return;
    }
    free(l->data);
    free(l);
}

static void run_letter(struct sim *s, struct letter *l)
{
    const struct sim_host *h = &s->hosts[l->to];
    if (h->asleep) {
        letter_free(l);
        return;
    }
    if (h->frozen_until > s->now) {
        network_return(s->net, l, h->frozen_until);
        return;
    }
    agent_frame(s, l);
    letter_free(l);
}

static void run_until(struct sim *s, msec until)
{
    while (!s->failed) {
        msec letter = network_next(s->net), happening = agenda_next(&s->agenda);
        if (MIN(letter, happening) > until)
            break;
        s->now = MAX(s->now, MIN(letter, happening));
        if (happening <= letter) {
            run_later(s, (struct later *)agenda_take(&s->agenda, s->now));
        } else {
            struct letter *l = network_take(s->net, s->now);
            if (l != NULL)
                run_letter(s, l);
        }
        witness_check(s);
    }
    if (!s->failed)
        s->now = MAX(s->now, until);
}

static void host_tick(struct sim *s, struct later *l)
{
    struct sim_host *h = &s->hosts[l->host];
    bool frozen = h->node != NULL && h->frozen_until > s->now;
    if (!frozen)
        agent_tick(s, h);
    l->again = frozen ? next_look(s, h) - s->now : TICK_MS;
}

static void cluster_tick(struct sim *s, struct later *l)
{
    faults_tick(s);
    agreement_tick(s);
    people_tick(s);
    l->again = TICK_MS;
}

/* ---- a seed ---- */

static void make(struct sim *s)
{
    s->rng.state = s->seed * 0x9e3779b97f4a7c15u + 1;
    s->now = SIM_START;
    s->agreement.leader = -1;
    s->links_changed = 1;
    s->inv = invariants_new();
    s->n_hosts = s->conf.hosts != 0 ? s->conf.hosts : (int)sim_between(s, 3, 6);
    s->n_voters = s->n_hosts >= 5 && sim_chance(s, 40000) ? 5 : 3;
    s->power = s->seed % 4 == 0;
    if (s->power) { /* voters do not sleep */
        s->n_voters = 3;
        s->n_hosts = MAX(s->n_hosts, 4);
    }
    s->n_vms = (int)MIN(sim_between(s, s->n_hosts, 5 * s->n_hosts / 2), (msec)SIM_VMS_MAX);
    if (s->power) /* so that a host can stand empty */
        s->n_vms = s->n_hosts;
    s->net = network_new(s->n_hosts, rng_next(&s->rng));
    people_make(s);
    s->limit_total = (unsigned)sim_between(s, 1, 3);
    for (int i = 0; i < s->n_hosts; i++)
        agent_make(s, i);
    for (int i = 0; i < s->n_voters; i++)
        s->voters[i] = s->hosts[i].name;
    witness_fact(s, (struct fact){.kind = FACT_COMPLETE,
                                  .kinds = "vote permit confirmed journal audit started ended "
                                           "reported"});
    witness_fact(s, (struct fact){.kind = FACT_LIMITS,
                                  .total = s->limit_total,
                                  .until = 2 * s->hosts[0].conf.permit_lifetime,
                                  .timeout = STALL_MS,
                                  .slack = 4000});
    world_make(s);
    s->replaces = !s->power && s->n_hosts > s->n_voters && s->seed % 2 == 0;
    if (s->replaces)
        electors_make(s);
    faults_make(s);
    /* Voters that believe anything, and hosts that do not vote and are honest. */
    s->captured = !s->conf.quiet && s->n_hosts > s->n_voters && sim_chance(s, 30000);
    s->captured = s->captured && !s->replaces; /* others than those would vote */
    for (int i = 0; s->captured && i < s->n_voters; i++) {
        s->hosts[i].captured = true;
        s->hosts[i].conf.trust = &s->captured_trust;
    }
    bool mixed = sim_chance(s, 25000);
    s->counts->newer += mixed;
    for (int i = 0; mixed && i < s->n_hosts; i++)
        s->hosts[i].newer = sim_chance(s, 50000);
    s->witness_conf = s->hosts[0].conf;
    s->witness = state_new(&s->witness_conf);
    for (int i = 0; i < s->n_hosts; i++) {
        agent_up(s, &s->hosts[i]);
        sim_later(s, sim_between(s, 0, TICK_MS - 1), i, host_tick)->always = true;
    }
    sim_later(s, 0, -1, cluster_tick);
}

static void unmake(struct sim *s)
{
    for (int i = 0; i < s->n_hosts; i++)
        agent_done(&s->hosts[i]);
    for (struct happening *h; (h = agenda_take(&s->agenda, INT64_MAX)) != NULL;) {
        struct later *l = (struct later *)h;
        if (l->forget != NULL)
            l->forget(l);
        free(l->data);
        free(l);
    }
    agenda_done(&s->agenda);
    agreement_done(s);
    people_done(s);
    state_free(s->witness);
    network_free(s->net);
    invariants_free(s->inv);
    free(s->cancelled);
}

/* What still went to sleep is switched on by people. */
static void wake_all(struct sim *s)
{
    for (int i = 0; i < s->n_hosts; i++)
        world_wake(s, &s->hosts[i]);
}

/* Nothing goes wrong any more: everything comes to a definite end, in bounded time. */
static void settle(struct sim *s)
{
    msec from = s->now;
    faults_end(s);
    s->people_rest = true;
    run_until(s, s->now + 15000);
    wake_all(s);
    while (!s->failed && witness_open(s) != NULL && s->now - from < SETTLE_MS) {
        if (s->now - from >= RELEASE_MS)
            world_release(s);
        run_until(s, s->now + 5000);
        wake_all(s);
    }
    world_release(s);
    run_until(s, s->now + EPILOGUE_MS / 2);
    world_repair(s);
    run_until(s, s->now + EPILOGUE_MS / 2);
    const char *open;
    for (int more = 0; (open = witness_open(s)) != NULL && more < IN_FLIGHT_MS; more += TICK_MS)
        run_until(s, s->now + TICK_MS); /* a proposal of this moment */
    if (!s->failed && open != NULL)
        sim_fail(s, "invariant 9 is broken: %s has not ended %lld s after the last fault", open,
                 (long long)(s->now - from) / 1000);
    witness_end(s);
}

int sim_run(const struct sim_conf *conf, struct sim_counts *counts, uint64_t *ret_hash,
            struct err *err)
{
    struct sim *s = xcalloc(1, sizeof *s);
    s->conf = *conf;
    s->seed = conf->seed;
    s->counts = counts;
    s->hash = 0xcbf29ce484222325u;
    make(s);
    run_until(s, s->now + CALM_MS);
    s->faults = !conf->quiet;
    msec chaos = conf->chaos != 0 ? conf->chaos : sim_between(s, 10000, 120000);
    run_until(s, s->now + chaos);
    settle(s);
    counts->virtual_ms += (uint64_t)(s->now - SIM_START);
    if (ret_hash != NULL)
        *ret_hash = s->hash;
    int rc = s->failed ? -(int)s->err.code : 0;
    if (s->failed)
        *err = s->err;
    if (s->failed && conf->trace)
        sim_trace(s, "%s", s->err.msg);
    unmake(s);
    free(s);
    return rc;
}
