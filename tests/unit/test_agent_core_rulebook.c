/* Rules that people give: who may, what is a rule, that planners and images hold them. */
#include "tests/lib/test.h"

#include "agent/core/snapshot.h"
#include "agent/core/view.h"
#include "tests/lib/deciders.h"

#define VM_A "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f01"
#define VM_B "0f5b9a70-1f7c-4c1e-9c8b-3d1b6a2e4f02"

#define WITH_WORLD(seed)                                                                           \
    struct world w __attribute__((cleanup(world_close)));                                          \
    world_open(&w, seed);                                                                          \
    world_run(&w, 2000)

static json_t *add(const char *rule)
{
    return json_pack("{s:s, s:o, s:s}", "type", "rule-add", "rule", json_loads(rule, 0, NULL),
                     "reason", "licence");
}

static json_t *take_back(const char *name)
{
    return json_pack("{s:s, s:s}", "type", "rule-remove", "rule", name);
}

#define APART                                                                                      \
    "{\"name\":\"db-apart\",\"type\":\"anti-affinity\",\"vms\":[\"" VM_A "\",\"" VM_B "\"]}"
#define SPREAD                                                                                     \
    "{\"name\":\"a-spread\",\"type\":\"spread\",\"minimum\":2,\"select\":{\"role\":\"web\"}}"

static void refused(struct world *w, unsigned roles, json_t *c, const char *why)
{
    say(w, "otto", roles, c);
    const struct state_change *last = state_last(leaders_state(w));
    assert_int_equal(last->kind, STATE_REFUSED);
    if (strstr(last->err.msg, why) == NULL)
        fail_msg("refused with \"%s\", not \"%s\"", last->err.msg, why);
}

static size_t rules(struct world *w, Skein__Rule *const **ret)
{
    return rulebook_rules(state_rulebook(leaders_state(w)), ret);
}

static void given_and_taken_back(void **state)
{
    (void)state;
    WITH_WORLD(1);
    Skein__Rule *const *list;
    say(&w, "olga", TRUST_OPERATOR, add(APART));
    say(&w, "anna", TRUST_ADMIN, add(SPREAD));
    assert_int_equal(rules(&w, &list), 2);
    assert_string_equal(list[0]->name, "a-spread"); /* sorted */
    assert_string_equal(list[1]->vote->person, "olga");
    assert_string_equal(list[1]->vote->reason, "licence");
    assert_non_null(strstr(w.audit.data, "rule.added"));
    refused(&w, TRUST_ADMIN, add(APART), "already, by olga");
    say(&w, "olga", TRUST_OPERATOR, take_back("db-apart"));
    assert_int_equal(rules(&w, &list), 1);
    assert_non_null(strstr(w.audit.data, "rule.removed"));
    refused(&w, TRUST_ADMIN, take_back("db-apart"), "no rule");
    say(&w, "olga", TRUST_OPERATOR, add(APART));
    assert_int_equal(rules(&w, &list), 2);
    /* Another voter, which starts anew, plans. */
    world_run(&w, 2000);
    restart_voter(&w, 1);
    elect(&w, 1);
    assert_int_equal(rules(&w, &list), 2);
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    WITH_WORLD(2);
    refused(&w, TRUST_VIEWER | TRUST_APPROVER, add(APART), "no role");
    refused(&w, TRUST_APPROVER, take_back("db-apart"), "no role");
    refused(&w, TRUST_ADMIN, add("{\"type\":\"keep\",\"vms\":[\"" VM_A "\"]}"), "\"name\"");
    refused(&w, TRUST_ADMIN, add("{\"name\":\"back-off: x\",\"type\":\"keep\",\"vms\":[]}"),
            "rule's name");
    refused(&w, TRUST_ADMIN, add("{\"name\":\"n\",\"type\":\"keep\",\"vms\":[\"web1\"]}"),
            "rule.vms[0]");
    refused(&w, TRUST_ADMIN, add("[]"), "not an object");
    _cleanup_(freep) char *large = xcalloc(RULEBOOK_RULE_MAX + 1, 1);
    memset(large, 'x', RULEBOOK_RULE_MAX);
    _cleanup_(freep) char *text = xasprintf("{\"name\":\"n\",\"description\":\"%s\"}", large);
    refused(&w, TRUST_ADMIN, add(text), "bytes");
}

static int understood(const char *rule, struct err *err)
{
    struct rulebook_command c = {.verb = RULEBOOK_ADD, .name = "n"};
    c.rule = (char *)(uintptr_t)rule;
    c.rule_len = strlen(rule);
    *err = (struct err){0};
    return rulebook_check(&c, err);
}

/* What the planner could not read is caught before it is proposed: it would plan nothing more. */
static void the_planner_understands_it(void **state)
{
    (void)state;
    struct err err;
    assert_ok(understood(APART, &err), &err);
    assert_ok(understood(SPREAD, &err), &err);
    assert_err(understood("{\"name\":\"n\",\"type\":\"apart\",\"select\":{}}", &err), &err,
               ERR_INVALID, "type");
    assert_err(understood("{\"name\":\"n\",\"type\":\"spread\",\"select\":{}}", &err), &err,
               ERR_INVALID, "minimum");
    assert_err(understood("{\"name\":\"n\",\"type\":\"keep\",\"vm\":[]}", &err), &err, ERR_INVALID,
               "vms");
    assert_err(understood("{\"name\":\"n\",\"type\":\"run-on\",\"select\":{}}", &err), &err,
               ERR_INVALID, "hosts");
}

static void snapshots_and_images_hold_them(void **state)
{
    (void)state;
    WITH_WORLD(3);
    struct err err;
    size_t len, again_len;
    say(&w, "olga", TRUST_OPERATOR, add(APART));
    say(&w, "olga", TRUST_OPERATOR, add(SPREAD));
    Skein__StateImage *image = state_image(leaders_state(&w));
    _cleanup_(freep) uint8_t *bytes = codec_pack(&image->base, &len);
    _cleanup_(state_freep) struct state *copy = state_new(&w.voters[0].conf);
    assert_ok(state_restore(copy, image, &err), &err);
    Skein__StateImage *again = state_image(copy);
    _cleanup_(freep) uint8_t *same = codec_pack(&again->base, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(bytes, same, len);

    struct view *view = view_new();
    uint64_t rng = 1;
    struct effects out = {0};
    struct step s = {
        .now = {.mono = 1, .wall = wall(&w)}, .conf = &w.voters[0].conf, .out = &out, .rng = &rng};
    _cleanup_json_ json_t *doc = snapshot_make(view, copy, &s, 1);
    const json_t *in = json_object_get(doc, "rules");
    assert_int_equal(json_array_size(in), 2);
    _cleanup_json_ json_t *spread = json_loads(SPREAD, 0, NULL);
    assert_true(json_equal(json_array_get(in, 0), spread));
    view_free(view);

    free(again->rules[1]->name);
    again->rules[1]->name = xstrdup("a-spread");
    assert_err(state_restore(copy, again, &err), &err, ERR_INVALID, "rules[1]");
    skein__state_image__free_unpacked(image, NULL);
    skein__state_image__free_unpacked(again, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_and_taken_back),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(the_planner_understands_it),
        cmocka_unit_test(snapshots_and_images_hold_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
