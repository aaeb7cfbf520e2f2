#include "tests/lib/test.h"

#include "tests/lib/deciders.h"

/* Policies here are one line: "moves HOST" wants vm0 on HOST, "fails" never loads, the rest wants
 * nothing. */
static char *worker_of_source(struct world *w, const struct evaluation *e, size_t *ret_len,
                              const char **ret_nothing)
{
    char digest[HASH_HEX_SIZE];
    const char *to = NULL;
    if (e->source == NULL || strncmp(e->source, "fails", 5) == 0)
        return NULL;
    for (int h = 0; h < HOSTS; h++)
        if (memmem(e->source, e->source_len, host_names[h], strlen(host_names[h])) != NULL)
            to = host_names[h];
    struct test_move move = {0, 0, host_names[w->vm_at[0]], to};
    if (to == NULL || strcmp(to, move.from) == 0) {
        *ret_nothing = "nothing to do";
        return NULL;
    }
    char *body = test_body(e->policy, "safety", e->seed, e->snapshot_digest, &move, 1, ret_len);
    library_digest(e->source, e->source_len, digest);
    memcpy(strstr(body, TEST_POLICY_DIGEST), digest, sizeof digest - 1);
    return body;
}

static struct node_policy files[] = {{(char *)"alpha", (char *)"moves hv3", 9},
                                     {(char *)"beta", (char *)"rests", 5}};

static void open_world(struct world *w, uint64_t seed)
{
    world_open(w, seed);
    w->worker = worker_of_source;
    for (int v = 0; v < VOTERS; v++) {
        w->voters[v].conf.sources = files;
        w->voters[v].conf.n_sources = ARRAY_SIZE(files);
    }
    world_run(w, 2000);
}

#define WITH_WORLD(seed)                                                                           \
    struct world w __attribute__((cleanup(world_close)));                                          \
    open_world(&w, seed)

static const Skein__PolicyRecord *record(struct world *w, const char *name)
{
    return library_find(state_library(leaders_state(w)), name);
}

static const struct plan *waiting(struct world *w)
{
    struct plan *const *plans;
    for (size_t i = state_plans(leaders_state(w), &plans); i-- > 0;)
        if (plans[i]->state == SKEIN__PLAN_STATE__PLAN_PENDING_APPROVAL)
            return plans[i];
    return NULL;
}

/* source NULL: none. The digest is that of about. */
static json_t *command(const char *type, const char *policy, const char *about, const char *source)
{
    char digest[HASH_HEX_SIZE];
    library_digest(about, strlen(about), digest);
    return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "type", type, "policy", policy, "digest", digest,
                     "reason", "because", "source", source);
}

static void refused(struct world *w, unsigned roles, json_t *c, const char *why)
{
    w->audit.len = 0;
    say(w, "otto", roles, c);
    const struct state_change *last = state_last(leaders_state(w));
    assert_int_equal(last->kind, STATE_REFUSED);
    if (strstr(last->err.msg, why) == NULL)
        fail_msg("refused with \"%s\", not \"%s\"", last->err.msg, why);
}

static void assert_source(const Skein__PolicyVersion *v, const char *source)
{
    assert_non_null(v);
    assert_int_equal(v->source.len, strlen(source));
    assert_memory_equal(v->source.data, source, v->source.len);
}

static json_t *told(struct world *w, const char *list, const char *name)
{
    _cleanup_json_ json_t *status = duty_status(w->voters[w->leader].d);
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(status, list), i, o)
    {
        if (strcmp(json_string_value(json_object_get(o, "name")), name) == 0)
            return json_incref(o);
    }
    return NULL;
}

static int number(const json_t *o, const char *key)
{
    return (int)json_integer_value(json_object_get(o, key));
}

static void the_files_begin_and_are_the_truth_no_more(void **state)
{
    (void)state;
    WITH_WORLD(1);
    world_run(&w, 10000);
    assert_source(record(&w, "alpha")->active, "moves hv3");
    assert_null(record(&w, "alpha")->active->vote);
    assert_non_null(record(&w, "beta"));
    assert_string_equal(waiting(&w)->body->moves[0].to, "hv3");
    say(&w, "anna", TRUST_ADMIN, command("policy-promote", "alpha", "moves hv4", "moves hv4"));
    /* Another voter, which starts anew with the old files, plans. */
    world_run(&w, 2000);
    restart_voter(&w, 1);
    elect(&w, 1);
    world_run(&w, 2 * MINUTE);
    assert_source(record(&w, "alpha")->active, "moves hv4");
    assert_source(record(&w, "alpha")->previous, "moves hv3");
    assert_string_equal(waiting(&w)->body->moves[0].to, "hv4");
}

static void a_shadow_is_asked_and_never_acted_on(void **state)
{
    (void)state;
    WITH_WORLD(2);
    say(&w, "olga", TRUST_OPERATOR, command("policy-shadow", "alpha", "moves hv4", "moves hv4"));
    say(&w, "olga", TRUST_OPERATOR, command("policy-shadow", "gamma", "moves hv2", "moves hv2"));
    world_run(&w, MINUTE);
    struct plan *const *plans;
    for (size_t i = state_plans(leaders_state(&w), &plans); i-- > 0;)
        assert_string_equal(plans[i]->body->moves[0].to, "hv3");
    _cleanup_json_ json_t *alpha = told(&w, "shadows", "alpha");
    _cleanup_json_ json_t *gamma = told(&w, "shadows", "gamma");
    assert_true(number(alpha, "rounds") >= 10);
    assert_int_equal(number(alpha, "proposed"), number(alpha, "rounds"));
    assert_int_equal(number(alpha, "differed"), number(alpha, "rounds"));
    assert_int_equal(number(alpha, "agreed"), 0);
    assert_string_equal(json_string_value(json_object_get(alpha, "outcome")), "would move 1 VM");
    assert_true(number(gamma, "proposed") >= 10); /* without an active version, too */
    assert_non_null(strstr(w.audit.data, "policy.shadowed"));
    assert_non_null(strstr(w.audit.data, "policy.would"));
    assert_null(told(&w, "policies", "gamma"));
    /* What agrees is counted so. */
    say(&w, "olga", TRUST_OPERATOR,
        command("policy-shadow", "alpha", "moves hv3 too", "moves hv3 too"));
    world_run(&w, MINUTE);
    _cleanup_json_ json_t *again = told(&w, "shadows", "alpha");
    assert_true(number(again, "agreed") >= 10);
}

static void promoted_and_reverted(void **state)
{
    (void)state;
    WITH_WORLD(3);
    world_run(&w, 10000);
    char first[PLAN_ID_SIZE];
    memcpy(first, waiting(&w)->body->id, sizeof first);
    say(&w, "olga", TRUST_OPERATOR, command("policy-shadow", "alpha", "moves hv4", "moves hv4"));
    refused(&w, TRUST_OPERATOR | TRUST_APPROVER,
            command("policy-promote", "alpha", "moves hv4", NULL), "no role");
    refused(&w, TRUST_ADMIN, command("policy-promote", "alpha", "moves hv2", NULL), "is held");
    say(&w, "anna", TRUST_ADMIN, command("policy-promote", "alpha", "moves hv4", NULL));
    assert_null(record(&w, "alpha")->shadow);
    world_run(&w, 20000);
    /* An approval was for the version before. */
    const struct plan *old = state_plan(leaders_state(&w), first);
    assert_int_equal(old->state, SKEIN__PLAN_STATE__PLAN_SUPERSEDED);
    assert_non_null(strstr(old->reason, "policy alpha is version"));
    assert_string_equal(waiting(&w)->body->policy_digest, record(&w, "alpha")->active->digest);
    assert_string_equal(waiting(&w)->body->moves[0].to, "hv4");
    refused(&w, TRUST_OPERATOR, command("policy-revert", "alpha", "moves hv3", NULL),
            "is not active");
    say(&w, "olga", TRUST_OPERATOR, command("policy-revert", "alpha", "moves hv4", NULL));
    assert_source(record(&w, "alpha")->active, "moves hv3");
    assert_string_equal(record(&w, "alpha")->active->vote->person, "olga");
    world_run(&w, 20000);
    assert_string_equal(waiting(&w)->body->moves[0].to, "hv3");
    say(&w, "olga", TRUST_OPERATOR, command("policy-revert", "alpha", "moves hv3", NULL));
    world_run(&w, 20000);
    assert_null(record(&w, "alpha")->active); /* retired: its file does not bring it back */
    assert_null(told(&w, "policies", "alpha"));
    assert_non_null(strstr(w.audit.data, "policy.reverted"));
}

static void a_broken_version_makes_way_for_the_one_before(void **state)
{
    (void)state;
    WITH_WORLD(4);
    say(&w, "anna", TRUST_ADMIN, command("policy-promote", "alpha", "fails", "fails"));
    world_run(&w, MINUTE);
    _cleanup_json_ json_t *alpha = told(&w, "policies", "alpha");
    assert_non_null(json_object_get(alpha, "broken"));
    assert_string_equal(json_string_value(json_object_get(alpha, "digest")),
                        record(&w, "alpha")->previous->digest);
    assert_int_equal(number(alpha, "failures"), 0);
    assert_string_equal(waiting(&w)->body->moves[0].to, "hv3");
    assert_non_null(strstr(w.audit.data, "policy.broken"));
    /* One that has ever answered is not given up. */
    say(&w, "anna", TRUST_ADMIN, command("policy-promote", "alpha", "moves hv4", "moves hv4"));
    world_run(&w, 10000);
    _cleanup_json_ json_t *mended = told(&w, "policies", "alpha");
    assert_string_equal(json_string_value(json_object_get(mended, "digest")),
                        record(&w, "alpha")->active->digest);
    assert_null(json_object_get(mended, "broken")); /* that was another version */
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    WITH_WORLD(5);
    refused(&w, TRUST_ADMIN, command("policy-shadow", "alpha", "a", NULL), "source");
    refused(&w, TRUST_ADMIN, command("policy-shadow", "alpha", "a", "b"), "digest");
    refused(&w, TRUST_ADMIN, command("policy-shadow", "../alpha", "a", "a"), "name");
    refused(&w, TRUST_ADMIN, command("policy-shadow", "alpha", "moves hv3", "moves hv3"), "active");
    refused(&w, TRUST_ADMIN, command("policy-revert", "delta", "a", NULL), "no policy");
    refused(&w, TRUST_VIEWER, command("policy-shadow", "alpha", "a", "a"), "no role");
    refused(&w, TRUST_APPROVER, command("policy-promote", "alpha", "a", "a"), "no role");
    size_t len = LIBRARY_SOURCE_MAX + 1;
    _cleanup_(freep) char *large = xcalloc(len + 1, 1);
    memset(large, 'x', len);
    refused(&w, TRUST_ADMIN, command("policy-shadow", "alpha", large, large), "bytes");
    json_t *long_reason = command("policy-revert", "alpha", "moves hv3", NULL);
    large[64u << 10] = '\0';
    json_object_set_new(long_reason, "padding", json_string(large));
    refused(&w, TRUST_ADMIN, long_reason, "too large");
}

static void the_library_has_an_end(void **state)
{
    (void)state;
    WITH_WORLD(6);
    _cleanup_(freep) char *text = xcalloc(LIBRARY_SOURCE_MAX + 1, 1);
    memset(text, 'x', LIBRARY_SOURCE_MAX);
    for (unsigned i = 0; i < LIBRARY_BYTES_MAX / LIBRARY_SOURCE_MAX - 1; i++) {
        char name[32];
        snprintf(name, sizeof name, "p%u", i);
        say(&w, "anna", TRUST_ADMIN, command("policy-shadow", name, text, text));
        assert_int_equal(state_last(leaders_state(&w))->kind, STATE_POLICY);
    }
    refused(&w, TRUST_ADMIN, command("policy-shadow", "more", text, text), "KiB");
    say(&w, "anna", TRUST_ADMIN, command("policy-shadow", "more", "small", "small"));
    assert_int_equal(state_last(leaders_state(&w))->kind, STATE_POLICY);
}

static void the_image_holds_it_all(void **state)
{
    (void)state;
    WITH_WORLD(7);
    say(&w, "olga", TRUST_OPERATOR, command("policy-shadow", "alpha", "moves hv4", "moves hv4"));
    say(&w, "anna", TRUST_ADMIN, command("policy-promote", "beta", "moves hv2", "moves hv2"));
    struct err err;
    size_t len, again_len;
    Skein__StateImage *image = state_image(leaders_state(&w));
    _cleanup_(freep) uint8_t *bytes = codec_pack(&image->base, &len);
    _cleanup_(state_freep) struct state *copy = state_new(&w.voters[0].conf);
    assert_ok(state_restore(copy, image, &err), &err);
    Skein__StateImage *again = state_image(copy);
    _cleanup_(freep) uint8_t *same = codec_pack(&again->base, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(bytes, same, len);
    assert_source(library_find(state_library(copy), "beta")->previous, "rests");
    /* A source that is not what its digest says does not come in. */
    again->policies[0]->active->source.data[0] ^= 1;
    assert_err(state_restore(copy, again, &err), &err, ERR_INVALID, "policies[0]");
    skein__state_image__free_unpacked(image, NULL);
    skein__state_image__free_unpacked(again, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_files_begin_and_are_the_truth_no_more),
        cmocka_unit_test(a_shadow_is_asked_and_never_acted_on),
        cmocka_unit_test(promoted_and_reverted),
        cmocka_unit_test(a_broken_version_makes_way_for_the_one_before),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(the_library_has_an_end),
        cmocka_unit_test(the_image_holds_it_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
