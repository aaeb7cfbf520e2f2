/* faults.c - what goes wrong. Each seed has its own mixture: some things often, some never. */
#include "tests/sim/sim.h"

#define SOMEBODY_WAKES 100

/* Never, seldom, often. */
static unsigned rate(struct sim *s, unsigned seldom, unsigned often)
{
    switch (rng_below(&s->rng, 4)) {
    case 0:
        return 0;
    case 1:
        return often;
    default:
        return seldom;
    }
}

void faults_make(struct sim *s)
{
    if (s->conf.quiet)
        return;
    s->rates = (struct sim_rates){
        .cut = rate(s, 1000, 5000),
        .crash = rate(s, 300, 2000),
        .effect_crash = rate(s, 20, 150),
        .libvirt = rate(s, 300, 1500),
        .freeze = rate(s, 200, 1000),
        .jump = rate(s, 100, 500),
        .slow_disk = rate(s, 200, 1000),
        .slow_hv = rate(s, 200, 1000),
        .by_hand = rate(s, 500, 4000),
        .power = sim_chance(s, 60000) ? 100 : 0,
        .bad_fate = rate(s, 30000, 100000),
    };
    network_set_faults(s->net, &(struct network_faults){.delay_min = 1,
                                                        .delay_max = 40,
                                                        .loss = rate(s, 1000, 8000),
                                                        .twice = rate(s, 1000, 6000),
                                                        .slow = rate(s, 500, 4000),
                                                        .slow_max = 4000,
                                                        .again = rate(s, 200, 1000)});
    for (int i = 0; i < s->n_hosts; i++)
        s->hosts[i].skew = sim_between(s, -400, 400);
}

static struct sim_host *some_host(struct sim *s)
{
    return &s->hosts[rng_below(&s->rng, (uint64_t)s->n_hosts)];
}

static void cut(struct sim *s)
{
    int a = some_host(s)->index, b = some_host(s)->index;
    msec until = s->now + sim_between(s, 200, 12000);
    bool whole = sim_chance(s, 20000);
    for (int i = 0; i < s->n_hosts; i++) {
        int other = whole ? i : b;
        if (other == a || (!whole && i > 0))
            continue;
        network_cut(s->net, a, other, until);
        if (sim_chance(s, 50000))
            network_cut(s->net, other, a, until);
    }
    SIM_TRACE(s, "cut: %s from %s for %lld ms", s->hosts[a].name, whole ? "all" : s->hosts[b].name,
              (long long)(until - s->now));
}

/* One clock at a time is wrong: the others are right, as time servers make them. */
static void jump(struct sim *s)
{
    struct sim_host *h = some_host(s);
    for (int i = 0; i < s->n_hosts; i++)
        s->hosts[i].skew = MAX((msec)-400, MIN((msec)400, s->hosts[i].skew));
    h->skew = sim_between(s, -90000, 90000);
    s->counts->jumps++;
    SIM_TRACE(s, "%s: its clock is wrong by %lld ms", h->name, (long long)h->skew);
}

static void freeze(struct sim *s)
{
    struct sim_host *h = some_host(s);
    if (h->asleep)
        return;
    h->frozen_until = s->now + sim_between(s, 300, 15000);
    s->counts->freezes++;
    SIM_TRACE(s, "%s: its agent stands still for %lld ms", h->name,
              (long long)(h->frozen_until - s->now));
}

static void power(struct sim *s)
{
    struct sim_host *h = some_host(s);
    if (h->asleep)
        return;
    h->power_until = s->now + sim_between(s, 5000, 30000);
    h->libvirt_down_until = MAX(h->libvirt_down_until, h->power_until);
    s->counts->power_losses++;
    SIM_TRACE(s, "%s loses power", h->name);
    agent_crash(s, h, h->power_until - s->now + sim_between(s, 500, 5000));
    world_power_loss(s, h);
}

static void libvirt(struct sim *s)
{
    struct sim_host *h = some_host(s);
    if (h->asleep)
        return;
    h->libvirt_down_until = s->now + sim_between(s, 500, 20000);
    SIM_TRACE(s, "%s: libvirt does not answer", h->name);
}

/* People lend a hand where a plan runs, above all where nobody knows what became of a move. */
static int some_vm(struct sim *s)
{
    struct plan *const *plans;
    int vm = (int)rng_below(&s->rng, (uint64_t)s->n_vms);
    for (size_t n = state_plans(s->witness, &plans); n-- > 0 && sim_chance(s, 70000);)
        for (size_t i = 0; plan_state_running(plans[n]->state) && i < plans[n]->body->n_moves;
             i++) {
            if (plan_move_is_power(&plans[n]->body->moves[i]))
                continue;
            vm = sim_vm_index(s, plans[n]->body->moves[i].uuid);
            if (plan_item_state(&plans[n]->items[i]) == SKEIN__ACTION_STATE__ACTION_UNKNOWN)
                return vm;
        }
    return vm;
}

void faults_tick(struct sim *s)
{
    const struct sim_rates *r = &s->rates;
    if (!s->faults)
        return;
    if (sim_chance(s, r->cut))
        cut(s);
    if (sim_chance(s, r->crash))
        agent_crash(s, some_host(s), sim_between(s, 200, 8000));
    if (sim_chance(s, r->libvirt))
        libvirt(s);
    if (sim_chance(s, r->freeze))
        freeze(s);
    if (sim_chance(s, r->jump))
        jump(s);
    if (sim_chance(s, r->slow_disk))
        some_host(s)->disk_slow_until = s->now + sim_between(s, 1000, 10000);
    if (sim_chance(s, r->slow_hv))
        some_host(s)->hv_slow_until = s->now + sim_between(s, 1000, 20000);
    if (sim_chance(s, r->by_hand))
        world_move_by_hand(s, some_vm(s), some_host(s)->index);
    if (sim_chance(s, r->power))
        power(s);
    if (s->power && sim_chance(s, SOMEBODY_WAKES)) /* presses its button */
        world_wake(s, some_host(s));
}

void faults_end(struct sim *s)
{
    s->faults = false;
    SIM_TRACE(s, "no faults any more");
    network_heal(s->net);
    network_set_faults(s->net, &(struct network_faults){.delay_min = 1, .delay_max = 20});
    for (int i = 0; i < s->n_hosts; i++) {
        struct sim_host *h = &s->hosts[i];
        world_wake(s, h);
        h->frozen_until = MIN(h->frozen_until, s->now);
        h->libvirt_down_until = MIN(h->libvirt_down_until, s->now);
        h->disk_slow_until = h->hv_slow_until = h->power_until = 0;
        h->up_at = MIN(h->up_at, s->now);
        h->skew = MAX((msec)-100, MIN((msec)100, h->skew));
    }
}
