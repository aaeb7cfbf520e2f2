/* The planner on duty under random schedules: leaders change, voters restart, hosts go, messages
 * are lost, people vote as they like. */
#include "tests/lib/test.h"

#include "tests/lib/deciders.h"

#define WITH_WORLD(seed)                                                                           \
    struct world w __attribute__((cleanup(world_close)));                                          \
    world_open(&w, seed)

#define A(x) SKEIN__ACTION_STATE__ACTION_##x

/* The same wish for half a minute, so that plans can stand. */
static char *worker_random(struct world *w, const struct evaluation *e, size_t *ret_len,
                           const char **ret_nothing)
{
    if (e->policy == NULL)
        return worker_wants(w, e, ret_len, ret_nothing);
    uint64_t wish = w->seed * 31 + (uint64_t)(w->now / 30000) * 2 + (e->policy[0] == 'a');
    struct step s = {.rng = &wish};
    if (step_random(&s) % 20 == 0)
        return NULL; /* the policy fails */
    size_t n = step_random(&s) % (MOVES_MAX + 1), first = step_random(&s) % VMS;
    struct test_move moves[MOVES_MAX];
    for (size_t i = 0; i < n; i++) {
        int vm = (int)((first + i) % VMS), from = w->vm_at[vm];
        int to = (from + 1 + (int)(step_random(&s) % (HOSTS - 1))) % HOSTS;
        moves[i] = (struct test_move){(unsigned)(i / 2), vm, host_names[from], host_names[to]};
    }
    if (n > 0)
        return test_body(e->policy, "safety", e->seed, e->snapshot_digest, moves, n, ret_len);
    *ret_nothing = "all is well";
    return NULL;
}

static void people_act(struct world *w)
{
    struct plan *const *plans;
    size_t n = state_plans(leaders_state(w), &plans);
    if (n > 0 && chance(w, 10)) {
        char digest[HASH_HEX_SIZE];
        memcpy(digest, plans[n - 1 - rnd(w, (unsigned)MIN(n, 3))]->body->digest, sizeof digest);
        unsigned what = rnd(w, 20);
        say(w, what < 16 ? "anna" : "olga", TRUST_APPROVER,
            test_vote(what == 0   ? "reject"
                      : what == 1 ? "cancel"
                                  : "approve",
                      digest));
    }
    if (rnd(w, 400) == 0)
        say(w, "olga", TRUST_ADMIN, test_request((int)rnd(w, VMS), host_names[rnd(w, HOSTS)]));
}

static void things_break(struct world *w)
{
    if (rnd(w, 300) == 0)
        elect(w, rnd(w, 4) == 0 ? -1 : (int)rnd(w, VOTERS));
    else if (w->leader < 0 && chance(w, 10))
        elect(w, (int)rnd(w, VOTERS));
    if (rnd(w, 500) == 0) {
        int v = (int)rnd(w, VOTERS);
        if (v == w->leader)
            elect(w, (v + 1) % VOTERS);
        restart_voter(w, v);
        WITH_STEP(w, v, duty_role(me->d, s, w->term, w->leader >= 0 ? host_names[w->leader] : ""));
    }
    for (int h = 0; h < HOSTS; h++) {
        if (w->host_up[h] && rnd(w, 600) == 0) {
            w->host_up[h] = false;
            w->host_back[h] = w->now + rnd(w, 60000);
        } else if (!w->host_up[h] && w->now >= w->host_back[h]) {
            w->host_up[h] = true;
        }
    }
    if (w->n_journals > 0 && rnd(w, 2000) == 0) {
        struct journal *j = &w->journals[rnd(w, (unsigned)w->n_journals)];
        j->forgotten = j->ended;
    }
}

static size_t count_open(struct world *w)
{
    struct plan *const *plans;
    size_t n = state_plans(leaders_state(w), &plans), open = 0;
    for (size_t i = 0; i < n; i++)
        open += !plan_state_ended(plans[i]->state);
    return open;
}

static void check_images_agree(struct world *w)
{
    size_t len[VOTERS];
    uint8_t *bytes[VOTERS];
    for (int v = 0; v < VOTERS; v++) {
        catch_up(w, v);
        Skein__StateImage *image = state_image(w->voters[v].st);
        bytes[v] = codec_pack(&image->base, &len[v]);
        skein__state_image__free_unpacked(image, NULL);
        CHECK(len[v] == len[0] && memcmp(bytes[v], bytes[0], len[0]) == 0,
              "hv%d holds another state than hv1", v + 1);
    }
    for (int v = 0; v < VOTERS; v++)
        free(bytes[v]);
}

static char *worker_quiet(struct world *w, const struct evaluation *e, size_t *ret_len,
                          const char **ret_nothing)
{
    (void)w, (void)e, (void)ret_len;
    *ret_nothing = "all is well";
    return NULL;
}

/* What the state says of a move is what happened, where it says that it knows. */
static void check_truth(struct world *w)
{
    struct plan *const *plans;
    size_t n = state_plans(leaders_state(w), &plans);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < plans[i]->body->n_moves; k++) {
            const struct plan_item *item = &plans[i]->items[k];
            Skein__ActionState s = plan_item_state(item);
            unsigned done = 0;
            for (size_t j = 0; j < w->n_journals; j++)
                done += strcmp(w->journals[j].plan, plans[i]->body->id) == 0 &&
                        strcmp(w->journals[j].action, item->move->id) == 0 &&
                        w->journals[j].succeeds;
            CHECK(done <= 1, "action %s was done %u times", item->move->id, done);
            bool says_not = s == A(FAILED) || s == A(CANCELLED) || s == A(SKIPPED);
            CHECK((s != A(SUCCEEDED) || done == 1) && (!says_not || done == 0),
                  "plan %s action %s is %s, and was done %u times", plans[i]->body->id,
                  item->move->id, plan_action_name(s), done);
        }
}

static void run_random(uint64_t seed, unsigned *starts, size_t *plans)
{
    WITH_WORLD(seed);
    w.worker = worker_random;
    w.faults.loss = rnd(&w, 30);
    w.faults.doubled = rnd(&w, 20);
    w.faults.slow = rnd(&w, 30);
    w.faults.proposal_loss = rnd(&w, 15);
    w.faults.refusal = rnd(&w, 30);
    w.faults.failure = rnd(&w, 30);
    for (msec end = w.now + 8 * MINUTE; w.now < end;) {
        things_break(&w);
        if (w.leader >= 0)
            people_act(&w);
        world_tick(&w);
    }
    memset(&w.faults, 0, sizeof w.faults);
    w.worker = worker_quiet;
    for (int h = 0; h < HOSTS; h++)
        w.host_up[h] = true;
    if (w.leader < 0)
        elect(&w, (int)rnd(&w, VOTERS));
    for (msec end = w.now + 45 * MINUTE; w.now < end && count_open(&w) > 0;)
        world_tick(&w);
    CHECK(count_open(&w) == 0, "%zu plans never end", count_open(&w));
    check_truth(&w);
    check_images_agree(&w);
    *starts += w.starts;
    *plans += count_plans(&w);
}

/* SKEIN_SEED=N replays one, with SKEIN_TRACE=1 line by line; SKEIN_SEEDS=N runs more of them. */
static void random_schedules_keep_the_rules(void **state)
{
    (void)state;
    const char *one = getenv("SKEIN_SEED"), *many = getenv("SKEIN_SEEDS");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1;
    uint64_t n = one != NULL ? 1 : many != NULL ? strtoull(many, NULL, 10) : 60;
    unsigned starts = 0;
    size_t plans = 0;
    for (uint64_t seed = first; seed < first + n; seed++)
        run_random(seed, &starts, &plans);
    print_message("%llu schedules, %zu plans, %u moves\n", (unsigned long long)n, plans, starts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_schedules_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
