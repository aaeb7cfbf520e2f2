/* agreement.c - the voters' agreement as agent/io/consensus.h promises it, without the protocol:
 * one committed log; a planner for each term; entries that reach voters late; planners that were
 * replaced and do not know it; proposals that are lost, or committed although their planner was
 * told that nobody knows. (libraft over raft_io is tried under its own schedules:
 * tests/unit/test_agent_io_consensus_sim.c.) */
#include "tests/sim/sim.h"

#define ELECTION_MS 500
#define COMPACT_EVERY 16 /* entries between two snapshots of the state */

/* For each of those who vote in the newest group, in the order of hosts. */
#define EACH_VOTER(s, i)                                                                           \
    int voters_[SIM_HOSTS_MAX], i;                                                                 \
    size_t n_voters_ = electors_list(s, voters_);                                                  \
    for (size_t k_ = 0; k_ < n_voters_ && (i = voters_[k_], true); k_++)

static size_t majority(const struct sim *s)
{
    int voters[SIM_HOSTS_MAX];
    return electors_list(s, voters) / 2 + 1;
}

static size_t count_reachable(const struct sim *s, int from)
{
    size_t n = 0;
    EACH_VOTER(s, i)
    n += agent_reachable(s, from, i) && electors_know(s, &s->hosts[i]);
    return n;
}

static bool leads(const struct sim *s, const struct sim_host *h)
{
    const struct agreement *a = &s->agreement;
    return a->leader == h->index && a->leader_knows && a->leader_life == h->life && h->node != NULL;
}

/* ---- what a voter is told ---- */

static void tell_role(struct sim *s, struct sim_host *h, uint64_t term, int leader)
{
    h->disk_term = MAX(h->disk_term, term);
    if (h->node == NULL || (h->told_term == term && h->told_leader == leader) ||
        term < h->told_term)
        return;
    if (h->told_leader == h->index && leader != h->index)
        h->led_until = s->now;
    if (h->told_leader != h->index && leader == h->index &&
        (h->led_until == 0 || s->now - h->led_until > h->conf.stale_after))
        h->leads_from = s->now;
    h->told_term = term;
    h->told_leader = leader;
    struct event event = {
        .kind = EVENT_ROLE, .term = term, .leader = leader >= 0 ? s->hosts[leader].name : ""};
    if (leader == h->index)
        witness_fact(s, (struct fact){.kind = FACT_LEADER, .host = h->name, .term = (int64_t)term});
    agent_step(s, h, &event);
}

static void apply_one(struct sim *s, struct sim_host *h)
{
    const struct log_entry *e = &s->agreement.log[h->applied];
    struct err err;
    _cleanup_(skein_entry_freep) Skein__Entry *entry = NULL;
    size_t before = h->applied++;
    if (codec_entry(e->data, e->len, &entry, &err) < 0) {
        sim_fail(s, "entry %zu is refused: %s", h->applied, err.msg);
        return;
    }
    struct event event = {
        .kind = EVENT_APPLIED, .index = h->applied, .term = e->term, .entry = entry};
    agent_step(s, h, &event);
    witness_applied(s, h, before);
}

static void make_image(struct sim *s, struct sim_host *h)
{
    uint8_t hash[HASH_SIZE];
    char hex[HASH_HEX_SIZE];
    free(h->image);
    h->image = node_image(h->node, &h->image_len);
    h->image_at = h->applied;
    hash_sha256(h->image, h->image_len, hash);
    hash_hex(hash, hex);
    witness_fact(
        s, (struct fact){
               .kind = FACT_IMAGE, .host = h->name, .index = (int64_t)h->applied, .digest = hex});
}

static void keep_image(struct sim *s, struct sim_host *h)
{
    if (h->node != NULL && h->applied >= h->image_at + COMPACT_EVERY)
        make_image(s, h);
}

static void restore(struct sim *s, struct sim_host *h, const struct sim_host *from)
{
    Skein__StateImage *image = NULL;
    struct err err;
    size_t before = h->applied;
    if (codec_image(from->image, from->image_len, &image, &err) < 0) {
        sim_fail(s, "the state of %s cannot be read: %s", from->name, err.msg);
        return;
    }
    s->counts->restores++;
    h->applied = from->image_at;
    struct event event = {.kind = EVENT_RESTORED, .index = h->applied, .image = image};
    agent_step(s, h, &event);
    skein__state_image__free_unpacked(image, NULL);
    witness_applied(s, h, before);
}

static void catch_up(struct sim *s, struct sim_host *h, size_t until)
{
    while (h->node != NULL && h->applied < until && !s->failed) {
        apply_one(s, h);
        if (electors_ended(s, h) && !h->voter)
            break;
    }
    h->on_disk = MAX(h->on_disk, h->applied);
    keep_image(s, h);
}

void agreement_catch_up(struct sim *s, struct sim_host *h, size_t until)
{
    catch_up(s, h, until);
}

void agreement_no_planner(struct sim *s, struct sim_host *h)
{
    tell_role(s, h, h->told_term, -1);
}

/* Who has nothing of a log that has been compacted is given the state. */
static void give_state(struct sim *s, struct sim_host *h, struct sim_host *leader)
{
    make_image(s, leader);
    h->fresh = false;
    restore(s, h, leader);
}

/* A voter hears from the planner: the entries, and who it is. */
static void hear(struct sim *s, struct later *l)
{
    struct sim_host *h = &s->hosts[l->host];
    const struct agreement *a = &s->agreement;
    if (l->a != a->term || a->leader < 0 || !leads(s, &s->hosts[a->leader]) ||
        !agent_reachable(s, a->leader, h->index))
        return;
    struct sim_host *leader = &s->hosts[a->leader];
    if (!electors_know(s, h))
        return; /* what is said in a group is not heard in another */
    if (h->fresh)
        give_state(s, h, leader);
    if (leader->image != NULL && h->applied + COMPACT_EVERY < leader->image_at)
        restore(s, h, leader); /* the planner's log does not go back so far */
    catch_up(s, h, l->b);
    tell_role(s, h, a->term, a->leader);
}

static void spread(struct sim *s)
{
    struct agreement *a = &s->agreement;
    EACH_VOTER(s, i)
    {
        const struct sim_host *h = &s->hosts[i];
        bool news = h->applied < a->n_log || h->told_term != a->term || h->told_leader != a->leader;
        if (i == a->leader || !news || h->node == NULL || sim_chance(s, 30000))
            continue;
        struct later *l = sim_later(s, sim_between(s, 1, s->faults ? 150 : 20), i, hear);
        l->a = a->term;
        l->b = a->n_log;
    }
}

/* ---- proposals ---- */

static void answer(struct sim *s, struct sim_host *h, uint64_t token, uint64_t index,
                   enum err_code code, const char *why)
{
    struct event event = {.kind = EVENT_PROPOSED, .token = token, .index = index};
    if (code != ERR_OK)
        err_set(&event.err, code, "%s", why);
    agent_step(s, h, &event);
}

static void refuse(struct sim *s, struct later *l)
{
    answer(s, &s->hosts[l->host], l->a, 0, ERR_NOT_LEADER, "another voter leads");
}

static void unknown(struct sim *s, struct later *l)
{
    s->counts->unknown_proposals++;
    answer(s, &s->hosts[l->host], l->a, 0, ERR_UNKNOWN, "leadership was lost");
}

/* A majority has it. */
static void append(struct sim *s, uint8_t *data, size_t len, uint64_t term)
{
    struct agreement *a = &s->agreement;
    ARRAY_RESERVE(a->log, a->cap_log, a->n_log + 1);
    a->log[a->n_log++] = (struct log_entry){data, len, term};
    witness_committed(s, &a->log[a->n_log - 1], a->n_log);
}

static void mark_on_disk(struct sim *s)
{
    struct agreement *a = &s->agreement;
    EACH_VOTER(s, i)
    if (agent_reachable(s, a->leader, i) && electors_know(s, &s->hosts[i]) && !s->hosts[i].fresh)
        s->hosts[i].on_disk = a->n_log;
}

static bool can_commit(const struct sim *s, const struct sim_host *h)
{
    size_t willing = 0;
    EACH_VOTER(s, i)
    willing += agent_reachable(s, h->index, i) && electors_know(s, &s->hosts[i]) &&
               !s->hosts[i].fresh && s->hosts[i].disk_term <= s->agreement.term &&
               s->hosts[i].frozen_until <= s->now;
    return leads(s, h) && willing >= majority(s);
}

static void drop_pending(struct sim *s, size_t from);

/* Nothing of the group counts any more; the next one has no planner yet. */
static void end_group(struct sim *s)
{
    struct agreement *a = &s->agreement;
    for (size_t i = 0; i < a->n_pending; i++)
        sim_later(s, sim_between(s, 0, ELECTION_MS), a->leader, refuse)->a = a->pending[i].token;
    drop_pending(s, 0);
    a->leader = -1;
    a->leader_knows = false;
}

static void commit_due(struct sim *s, struct later *l)
{
    struct agreement *a = &s->agreement;
    struct sim_host *h = &s->hosts[l->host];
    if (!leads(s, h) || a->n_pending == 0 || !can_commit(s, h))
        return;
    struct pending p = a->pending[0];
    memmove(&a->pending[0], &a->pending[1], --a->n_pending * sizeof *a->pending);
    append(s, p.data, p.len, a->term);
    mark_on_disk(s);
    size_t index = a->n_log;
    if (electors_committed(s))
        end_group(s);
    catch_up(s, h, index);
    if (h->node != NULL && h->life == l->life)
        answer(s, h, p.token, index, ERR_OK, "");
    spread(s);
}

void agreement_propose(struct sim *s, struct sim_host *h, const struct effect *e)
{
    struct agreement *a = &s->agreement;
    if (!leads(s, h)) {
        bool believes = h->told_leader == h->index;
        sim_later(s, believes ? sim_between(s, 100, 2 * ELECTION_MS) : 0, h->index,
                  believes ? unknown : refuse)
            ->a = e->token;
        return;
    }
    ARRAY_RESERVE(a->pending, a->cap_pending, a->n_pending + 1);
    bool before = a->n_pending == 0 || a->pending[a->n_pending - 1].leaked;
    a->pending[a->n_pending++] = (struct pending){
        .token = e->token,
        .data = xmemdup(e->data, e->len),
        .len = e->len,
        .leaked = before && count_reachable(s, h->index) > 1 && sim_chance(s, 50000)};
    sim_later(s, sim_between(s, 2, h->disk_slow_until > s->now ? 500 : 30), h->index, commit_due);
}

/* ---- elections ---- */

static void drop_pending(struct sim *s, size_t from)
{
    struct agreement *a = &s->agreement;
    for (size_t i = from; i < a->n_pending; i++)
        free(a->pending[i].data);
    a->n_pending = MIN(a->n_pending, from);
}

/* The planner finds out that it is none, or has died: what was under way is known to nobody. What
 * another voter has may be committed by the next one. */
static void step_down(struct sim *s)
{
    struct agreement *a = &s->agreement;
    struct sim_host *h = &s->hosts[a->leader];
    size_t leaked = 0;
    bool alive = leads(s, h);
    a->leader_knows = false;
    uint64_t *tokens = xcalloc(a->n_pending + 1, sizeof *tokens);
    size_t n = a->n_pending;
    for (size_t i = 0; i < n; i++) {
        tokens[i] = a->pending[i].token;
        leaked += a->pending[i].leaked;
    }
    drop_pending(s, leaked);
    for (size_t i = 0; i < n && alive && h->node != NULL; i++) {
        s->counts->unknown_proposals++;
        answer(s, h, tokens[i], 0, ERR_UNKNOWN, "leadership was lost");
    }
    free(tokens);
    if (alive)
        tell_role(s, h, a->term, -1);
}

/* Does this voter hear a planner of the present term? */
static bool hears(const struct sim *s, int voter)
{
    const struct agreement *a = &s->agreement;
    return a->leader >= 0 && leads(s, &s->hosts[a->leader]) &&
           s->hosts[a->leader].frozen_until <= s->now && agent_reachable(s, a->leader, voter);
}

static size_t would_vote(const struct sim *s, int candidate)
{
    size_t n = 0;
    EACH_VOTER(s, i)
    n += agent_reachable(s, candidate, i) && electors_know(s, &s->hosts[i]) &&
         s->hosts[i].frozen_until <= s->now && s->hosts[i].on_disk <= s->hosts[candidate].on_disk &&
         !hears(s, i);
    return n;
}

static int find_candidate(struct sim *s)
{
    int voters[SIM_HOSTS_MAX];
    size_t n = electors_list(s, voters), first = rng_below(&s->rng, n);
    for (size_t k = 0; k < n; k++) {
        int i = voters[(first + k) % n];
        if (electors_know(s, &s->hosts[i]) && !s->hosts[i].fresh && s->hosts[i].node != NULL &&
            s->hosts[i].frozen_until <= s->now && s->hosts[i].on_disk == s->agreement.n_log &&
            would_vote(s, i) >= majority(s))
            return i;
    }
    return -1;
}

static void deposed(struct sim *s, struct later *l)
{
    struct sim_host *h = &s->hosts[l->host];
    if (h->told_term == l->a && h->told_leader == h->index)
        tell_role(s, h, l->a, -1);
}

/* It goes on believing that it plans until it hears of the new one, or misses its majority. */
static void depose(struct sim *s, struct sim_host *h, uint64_t term)
{
    struct agreement *a = &s->agreement;
    for (size_t i = 0; i < a->n_pending; i++)
        sim_later(s, sim_between(s, 1, 2 * ELECTION_MS), h->index, unknown)->a =
            a->pending[i].token;
    sim_later(s, sim_between(s, 1, 3 * ELECTION_MS), h->index, deposed)->a = term;
}

static void elect(struct sim *s, int winner)
{
    struct agreement *a = &s->agreement;
    struct sim_host *h = &s->hosts[winner];
    uint64_t old = a->term++;
    int replaced = a->leader;
    bool unaware = replaced >= 0 && leads(s, &s->hosts[replaced]);
    s->counts->elections++;
    if (unaware)
        depose(s, &s->hosts[replaced], old);
    EACH_VOTER(s, i)
    if (agent_reachable(s, winner, i) && i != replaced && electors_know(s, &s->hosts[i]))
        tell_role(s, &s->hosts[i], a->term, -1);
    size_t leaked = 0;
    while (leaked < a->n_pending && a->pending[leaked].leaked)
        leaked++;
    bool ended = false;
    for (size_t k = 0; k < leaked && !ended; k++) {
        append(s, TAKE_PTR(a->pending[k].data), a->pending[k].len, old);
        a->leader = winner;
        mark_on_disk(s);
        ended = electors_committed(s);
    }
    drop_pending(s, 0);
    if (ended) { /* it finds that the group has ended */
        a->leader = -1;
        catch_up(s, h, a->n_log);
        return;
    }
    a->leader = winner;
    a->leader_life = h->life;
    a->leader_knows = true;
    a->quorum_seen = s->now;
    a->trouble_since = 0;
    mark_on_disk(s);
    catch_up(s, h, a->n_log);
    if (h->node != NULL)
        tell_role(s, h, a->term, winner);
    spread(s);
}

/* The successor asks for votes, if it has all that is committed; who follows the old planner gives
 * it one all the same. */
static void hand_over(struct sim *s, struct later *l)
{
    const struct agreement *a = &s->agreement;
    int to = (int)l->a;
    size_t willing = 0;
    EACH_VOTER(s, i)
    willing += agent_reachable(s, to, i) && electors_know(s, &s->hosts[i]) &&
               s->hosts[i].frozen_until <= s->now && s->hosts[i].on_disk <= s->hosts[to].on_disk;
    if (!leads(s, &s->hosts[l->host]) || a->n_pending > 0 || s->hosts[to].fresh ||
        !s->hosts[to].voter || !electors_know(s, &s->hosts[to]) || s->hosts[to].node == NULL ||
        s->hosts[to].on_disk != a->n_log || willing < majority(s))
        return;
    s->counts->handovers++;
    elect(s, to);
}

void agreement_yield(struct sim *s, struct sim_host *h, const char *to)
{
    int index = sim_host_index(s, to);
    if (index < 0 || (!s->replaces && index >= s->n_voters) || index == h->index)
        sim_fail(s, "%s hands planning over to %s", h->name, to);
    else if (leads(s, h))
        sim_later(s, sim_between(s, 1, ELECTION_MS), h->index, hand_over)->a = (uint64_t)index;
}

void agreement_tick(struct sim *s)
{
    struct agreement *a = &s->agreement;
    electors_tick(s);
    struct sim_host *h = a->leader >= 0 ? &s->hosts[a->leader] : NULL;
    bool valid = h != NULL && leads(s, h);
    bool quorum =
        valid && count_reachable(s, a->leader) >= majority(s) && h->frozen_until <= s->now;
    if (quorum) {
        a->quorum_seen = s->now;
        a->trouble_since = 0;
        for (size_t i = 0; i < a->n_pending; i++)
            sim_later(s, (msec)i, a->leader, commit_due);
        spread(s);
        return;
    }
    if (valid && h->frozen_until <= s->now && s->now - a->quorum_seen >= a->patience)
        step_down(s);
    if (a->trouble_since == 0) {
        a->trouble_since = s->now;
        a->patience = sim_between(s, ELECTION_MS, 3 * ELECTION_MS);
    }
    if (s->now - a->trouble_since < a->patience)
        return;
    int winner = find_candidate(s);
    if (winner >= 0)
        elect(s, winner);
}

void agreement_agent_down(struct sim *s, struct sim_host *h)
{
    h->told_term = 0;
    h->told_leader = -1;
    h->led_until = 0;
    h->applied = 0;
    if (s->agreement.leader == h->index && s->agreement.leader_knows)
        step_down(s);
}

void agreement_agent_up(struct sim *s, struct sim_host *h)
{
    if (h->image != NULL)
        restore(s, h, h);
    /* known to be committed: some prefix of what is on its disk */
    size_t known = h->applied + (size_t)rng_below(&s->rng, h->on_disk - h->applied + 1);
    size_t on_disk = h->on_disk;
    catch_up(s, h, known);
    h->on_disk = on_disk;
    if (h->disk_term > 0 && h->node != NULL)
        tell_role(s, h, h->disk_term, -1);
}

void agreement_done(struct sim *s)
{
    struct agreement *a = &s->agreement;
    for (size_t i = 0; i < a->n_log; i++)
        free(a->log[i].data);
    drop_pending(s, 0);
    free(a->log);
    free(a->pending);
}
