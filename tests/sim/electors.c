/* electors.c - voters that are replaced: which group is the newest, which one each host knows, and
 * what agent/io/council.h promises about the way from one to the next. */
#include "tests/sim/sim.h"

static const struct voter_group *newest(const struct sim *s)
{
    return &s->groups.list[s->groups.n - 1];
}

size_t electors_list(const struct sim *s, int ret[SIM_HOSTS_MAX])
{
    size_t n = 0;
    for (int i = 0; i < s->n_hosts; i++)
        if (s->replaces ? group_find(newest(s), s->hosts[i].name) != NULL : i < s->n_voters)
            ret[n++] = i;
    return n;
}

bool electors_know(const struct sim *s, const struct sim_host *h)
{
    return !s->replaces || h->conf.group.number == newest(s)->number;
}

/* ---- what a host knows ---- */

static void set_groups(struct sim_host *h, const struct voter_groups *groups)
{
    h->conf.groups = *groups;
    h->conf.group = groups->list[groups->n - 1];
    for (size_t i = 0; i < h->conf.group.n; i++)
        h->voter_names[i] = h->conf.group.voters[i].host;
    h->conf.voters = h->voter_names;
    h->conf.n_voters = h->conf.group.n;
    h->voter = group_find(&h->conf.group, h->name) != NULL;
}

void electors_make(struct sim *s)
{
    struct err err = {0};
    struct voter_group first;
    if (group_first(s->voters, (size_t)s->n_voters, &first, &err) < 0)
        sim_fail(s, "%s", err.msg);
    for (size_t i = 0; i < first.n; i++)
        first.voters[i].store = 1 + (uint64_t)sim_host_index(s, first.voters[i].host);
    groups_add(&s->groups, &first);
    for (int i = 0; i < s->n_hosts; i++) {
        struct sim_host *h = &s->hosts[i];
        set_groups(h, &s->groups);
        h->conf.store = 1 + (uint64_t)i;
        h->conf.voters_patience = 1500; /* crashes last seconds */
        h->own_capability.has_store = 1;
        h->own_capability.store = h->conf.store;
    }
}

void electors_tell(struct sim *s, struct sim_host *h)
{
    if (s->replaces)
        agent_step(s, h, &(struct event){.kind = EVENT_VOTERS});
}

/* A host that votes from now on begins with nothing; one that goes on keeps what it has. */
static void enter(struct sim *s, struct sim_host *h, const struct voter_groups *groups)
{
    bool voted = h->voter;
    SIM_TRACE(s, "%s: knows group %llu of voters", h->name,
              (unsigned long long)groups->list[groups->n - 1].number);
    set_groups(h, groups);
    if (h->voter && !voted) {
        h->fresh = true;
        h->on_disk = h->applied = h->image_at = 0;
        free(TAKE_PTR(h->image));
    }
    if (h->told_leader >= 0)
        agreement_no_planner(s, h);
    electors_tell(s, h);
}

/* Its log has come to the end of its group. */
bool electors_ended(struct sim *s, struct sim_host *h)
{
    const struct voter_group *next = h->node != NULL ? state_next_group(node_state(h->node)) : NULL;
    if (!s->replaces || next == NULL)
        return false;
    struct voter_groups groups = h->conf.groups;
    const struct voter_group copy = *next;
    groups_add(&groups, &copy);
    enter(s, h, &groups);
    return true;
}

/* By its node's own judgement. Of each number there is one group. */
void electors_follow(struct sim *s, struct sim_host *h, const struct effect *e)
{
    struct voter_groups said, known = h->conf.groups;
    struct err err = {0};
    if (groups_unpack(e->data, e->len, &said, &err) < 0) {
        sim_fail(s, "%s follows voters that cannot be read: %s", h->name, err.msg);
        return;
    }
    const struct voter_group *g = &said.list[said.n - 1];
    bool is_one = false;
    for (size_t i = 0; i < s->groups.n; i++)
        is_one = is_one || group_same(&s->groups.list[i], g);
    if (!is_one)
        sim_fail(s, "%s follows a group %llu of voters that never was", h->name,
                 (unsigned long long)g->number);
    if (g->number <= h->conf.group.number)
        return;
    groups_follow(&known, &said, g);
    enter(s, h, &known);
}

/* ---- what is true ---- */

bool electors_committed(struct sim *s)
{
    const struct voter_group *next = state_next_group(s->witness);
    if (!s->replaces || next == NULL)
        return false;
    s->counts->replaced++;
    groups_add(&s->groups, next);
    s->witness_conf.group = *newest(s);
    SIM_TRACE(s, "group %llu of voters: %s", (unsigned long long)next->number, next->reason);
    for (int i = 0; i < s->n_hosts; i++)
        witness_host(s, &s->hosts[i], group_find(newest(s), s->hosts[i].name) != NULL);
    return true;
}

bool electors_under_way(const struct sim *s)
{
    int voters[SIM_HOSTS_MAX];
    size_t n = s->replaces ? electors_list(s, voters) : 0;
    for (size_t i = 0; i < n; i++)
        if (s->hosts[voters[i]].applied != s->agreement.n_log)
            return true;
    return false;
}

/* A voter that has the entry in its log hears from another that knows that it is committed. */
void electors_tick(struct sim *s)
{
    for (int i = 0; s->replaces && i < s->n_hosts; i++) {
        struct sim_host *h = &s->hosts[i];
        const struct voter_group *next = groups_after(&s->groups, &h->conf.group);
        bool here = h->node != NULL && h->voter && !h->fresh && next != NULL &&
                    next->number == h->conf.group.number + 1 && h->on_disk >= next->index;
        bool told = false;
        for (int k = 0; here && k < s->n_hosts; k++)
            told = told || (agent_reachable(s, k, i) &&
                            group_find(&h->conf.group, s->hosts[k].name) != NULL &&
                            s->hosts[k].conf.group.number > h->conf.group.number);
        if (told && sim_chance(s, 30000))
            agreement_catch_up(s, h, (size_t)next->index);
    }
}
