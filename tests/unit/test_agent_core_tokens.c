/* Tokens by which hosts may join: who gives them, that each is used once, that images hold them. */
#include "tests/lib/test.h"

#include "tests/lib/deciders.h"

#define WITH_WORLD(seed)                                                                           \
    struct world w __attribute__((cleanup(world_close)));                                          \
    world_open(&w, seed);                                                                          \
    world_run(&w, 2000)

struct made {
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE], id[TOKENS_ID_SIZE];
};

static struct made made_of(char digit)
{
    struct made m;
    char secret[HASH_HEX_SIZE] = {0};
    memset(secret, digit, HASH_HEX_SIZE - 1);
    assert_true(token_proof(secret, m.proof) && token_hash(m.proof, m.hash));
    snprintf(m.id, sizeof m.id, "%.*s", TOKENS_ID_SIZE - 1, m.hash);
    return m;
}

static json_t *creation(const struct made *m, const char *host)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:[s], s:[s], s:s}", "type", "token-create", "hash",
                     m->hash, "host", host, "role", "agent", "dns", "hv9.lab", "addresses",
                     "10.0.0.4", "reason", "new rack");
}

static json_t *changed(const struct made *m, const char *key, json_t *value)
{
    json_t *c = creation(m, "hv9");
    json_object_set_new(c, key, value);
    return c;
}

static json_t *taking_back(const char *id)
{
    return json_pack("{s:s, s:s}", "type", "token-revoke", "token", id);
}

static const struct state_change *use_as(struct world *w, const char *proof, const char *request,
                                         const char *host, const char *role)
{
    Skein__Entry *e = test_entry(wall(w));
    e->kind_case = SKEIN__ENTRY__KIND_TOKEN_USE;
    e->token_use = xmalloc(sizeof *e->token_use);
    skein__token_use__init(e->token_use);
    e->token_use->proof = xstrdup(proof);
    e->token_use->issuer = xstrdup("hv1");
    e->token_use->request = xstrdup(request);
    e->token_use->host = xstrdup(host);
    e->token_use->role = xstrdup(role);
    commit(w, e);
    catch_up(w, w->leader);
    return state_last(leaders_state(w));
}

static const struct state_change *use(struct world *w, const char *proof, const char *request)
{
    return use_as(w, proof, request, "hv9", "agent");
}

static void is_refused(const struct state_change *last, enum err_code code, const char *why)
{
    assert_int_equal(last->kind, STATE_REFUSED);
    if (last->err.code != code || strstr(last->err.msg, why) == NULL)
        fail_msg("refused with \"%s: %s\", not \"%s\"", err_name(last->err.code), last->err.msg,
                 why);
}

static void refused(struct world *w, unsigned roles, json_t *c, enum err_code code, const char *why)
{
    say(w, "otto", roles, c);
    is_refused(state_last(leaders_state(w)), code, why);
}

static const Skein__Token *found(struct world *w, const struct made *m)
{
    return tokens_find(state_tokens(leaders_state(w)), m->id);
}

static void used_once(void **state _unused_)
{
    WITH_WORLD(1);
    struct made m = made_of('1'), never = made_of('2');
    say(&w, "anna", TRUST_ADMIN, creation(&m, "hv9"));
    assert_string_equal(found(&w, &m)->host, "hv9");
    assert_string_equal(tokens_status(found(&w, &m), wall(&w)), "open");
    assert_non_null(strstr(w.audit.data, "token.created"));
    is_refused(use(&w, never.proof, "r"), ERR_NOT_FOUND, "no such token");
    is_refused(use(&w, m.hash, "r"), ERR_NOT_FOUND, "no such token"); /* what the state shows */
    is_refused(use(&w, "", "r"), ERR_NOT_FOUND, "no such token");
    is_refused(use_as(&w, m.proof, "r", "hv8", "agent"), ERR_DENIED, "another host");
    is_refused(use_as(&w, m.proof, "r", "hv9", "host"), ERR_DENIED, "the role agent");
    assert_int_equal(use(&w, m.proof, "first")->kind, STATE_TOKEN);
    assert_non_null(strstr(w.audit.data, "token.used"));
    is_refused(use(&w, m.proof, "second"), ERR_CONFLICT, "used already");
    is_refused(use(&w, m.proof, "first"), ERR_CONFLICT, "used already"); /* played again */
    assert_string_equal(found(&w, &m)->request, "first");
    refused(&w, TRUST_ADMIN, taking_back(m.id), ERR_CONFLICT, "used already");
    /* Another voter, which starts anew, plans: it is used there too. */
    world_run(&w, 2000);
    restart_voter(&w, 1);
    elect(&w, 1);
    assert_string_equal(tokens_status(found(&w, &m), wall(&w)), "used");
    is_refused(use(&w, m.proof, "third"), ERR_CONFLICT, "used already");
}

static void taken_back_or_late(void **state _unused_)
{
    WITH_WORLD(2);
    struct made m = made_of('3'), late = made_of('4');
    say(&w, "anna", TRUST_ADMIN, creation(&m, "hv9"));
    say(&w, "anna", TRUST_ADMIN, creation(&late, "hv8"));
    say(&w, "berta", TRUST_ADMIN, taking_back(m.id));
    assert_non_null(strstr(w.audit.data, "token.revoked"));
    assert_string_equal(tokens_status(found(&w, &m), wall(&w)), "revoked");
    is_refused(use(&w, m.proof, "r"), ERR_DENIED, "taken back by berta");
    refused(&w, TRUST_ADMIN, taking_back(m.id), ERR_DENIED, "taken back");
    refused(&w, TRUST_ADMIN, taking_back("000000000000"), ERR_NOT_FOUND, "no token");
    w.now += 20 * MINUTE; /* as long as the signature counts */
    assert_string_equal(tokens_status(found(&w, &late), wall(&w)), "expired");
    is_refused(use(&w, late.proof, "r"), ERR_EXPIRED, "expired at");
    /* A week later both are forgotten, and a token of that hash would be a new one. */
    w.now += TOKENS_KEEP_MS;
    struct made next = made_of('5');
    say(&w, "anna", TRUST_ADMIN, creation(&next, "hv7"));
    assert_null(found(&w, &m));
    assert_null(found(&w, &late));
    is_refused(use(&w, late.proof, "r"), ERR_NOT_FOUND, "no such token");
}

static void what_is_malformed_is_refused(void **state _unused_)
{
    WITH_WORLD(3);
    struct made m = made_of('6');
    json_t *many = json_array();
    for (int i = 0; i <= TOKENS_NAMES_MAX; i++)
        json_array_append_new(many, json_string("n"));
    refused(&w, TRUST_OPERATOR | TRUST_APPROVER, creation(&m, "hv9"), ERR_DENIED, "no role");
    refused(&w, TRUST_OPERATOR, taking_back(m.id), ERR_DENIED, "no role");
    refused(&w, TRUST_ADMIN, creation(&m, "../hv9"), ERR_INVALID, "host's name");
    refused(&w, TRUST_ADMIN, creation(&m, ""), ERR_INVALID, "host");
    refused(&w, TRUST_ADMIN, changed(&m, "role", json_string("admin")), ERR_INVALID, "role");
    refused(&w, TRUST_ADMIN, changed(&m, "hash", json_string("ff")), ERR_INVALID, "hash");
    refused(&w, TRUST_ADMIN, changed(&m, "dns", json_string("hv9")), ERR_INVALID, "dns");
    refused(&w, TRUST_ADMIN, changed(&m, "dns", many), ERR_INVALID, "dns");
    refused(&w, TRUST_ADMIN, changed(&m, "addresses", json_pack("[i]", 1)), ERR_INVALID,
            "addresses[0]");
    refused(&w, TRUST_ADMIN, changed(&m, "addresses", json_pack("[s]", "hv9.lab")), ERR_INVALID,
            "addresses[0] \"hv9.lab\"");
    refused(&w, TRUST_ADMIN, changed(&m, "dns", json_pack("[s, s]", "hv9", "a b")), ERR_INVALID,
            "dns[1] \"a b\"");
    refused(&w, TRUST_ADMIN, changed(&m, "addresses", json_pack("[s]", "10.0.0.300")), ERR_INVALID,
            "addresses[0]");
    refused(&w, TRUST_ADMIN, changed(&m, "dns", json_pack("[s]", "*.lab")), ERR_INVALID, "dns[0]");
    refused(&w, TRUST_ADMIN, taking_back("xyz"), ERR_INVALID, "not a token");
    refused(&w, TRUST_ADMIN, json_pack("{s:s, s:s}", "type", "token-use", "proof", m.proof),
            ERR_UNSUPPORTED, "");
    assert_null(found(&w, &m));
}

static void images_hold_them(void **state _unused_)
{
    WITH_WORLD(4);
    struct made m = made_of('7'), n = made_of('8'), o = made_of('9');
    struct err err;
    size_t len, again_len;
    say(&w, "anna", TRUST_ADMIN, creation(&m, "hv9"));
    say(&w, "anna", TRUST_ADMIN, creation(&n, "hv8"));
    say(&w, "anna", TRUST_ADMIN, creation(&o, "hv7"));
    refused(&w, TRUST_ADMIN, creation(&o, "hv6"), ERR_EXISTS, "already");
    assert_int_equal(use(&w, m.proof, "r")->kind, STATE_TOKEN);
    say(&w, "anna", TRUST_ADMIN, taking_back(n.id));
    Skein__StateImage *image = state_image(leaders_state(&w));
    _cleanup_(freep) uint8_t *bytes = codec_pack(&image->base, &len);
    _cleanup_(state_freep) struct state *copy = state_new(&w.voters[0].conf);
    assert_ok(state_restore(copy, image, &err), &err);
    Skein__StateImage *again = state_image(copy);
    _cleanup_(freep) uint8_t *same = codec_pack(&again->base, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(bytes, same, len);
    again->tokens[1]->hash[0] = 'x';
    assert_err(state_restore(copy, again, &err), &err, ERR_INVALID, "tokens[1]");
    skein__state_image__free_unpacked(image, NULL);
    skein__state_image__free_unpacked(again, NULL);
}

static void no_more_than_are_remembered(void **state _unused_)
{
    _cleanup_(tokens_freep) struct tokens *t = tokens_new();
    ProtobufCBinaryData envelope = {.len = 2, .data = (uint8_t *)(uintptr_t) "{}"};
    struct err err = {0};
    for (unsigned i = 0; i <= TOKENS_MAX; i++) {
        struct tokens_command c = {.verb = TOKENS_CREATE, .expires_at = 1000 + (i == 7 ? 0 : i)};
        snprintf(c.hash, sizeof c.hash, "%08x%056x", i * 2654435761u, i);
        snprintf(c.id, sizeof c.id, "%.*s", TOKENS_ID_SIZE - 1, c.hash);
        snprintf(c.host, sizeof c.host, "hv%u", i);
        snprintf(c.role, sizeof c.role, "host");
        if (i < TOKENS_MAX)
            assert_ok(tokens_apply(t, &c, &envelope, 1, &err), &err);
        else
            assert_err(tokens_apply(t, &c, &envelope, 1, &err), &err, ERR_LIMIT, "not expired");
    }
    Skein__Token *const *all;
    size_t n = tokens_all(t, &all);
    assert_int_equal(n, TOKENS_MAX);
    for (size_t i = 1; i < n; i++)
        assert_true(strcmp(all[i - 1]->hash, all[i]->hash) < 0);
    /* Later there is room again: that which expired first is forgotten. */
    struct tokens_command more = {
        .verb = TOKENS_CREATE, .expires_at = 5000, .hash = "zy", .id = "zy"};
    struct tokens_command again = {
        .verb = TOKENS_CREATE, .expires_at = 5000, .hash = "zz", .id = "zz"};
    assert_ok(tokens_apply(t, &more, &envelope, 1001, &err), &err);
    assert_err(tokens_apply(t, &again, &envelope, 999, &err), &err, ERR_LIMIT, "not expired");
    n = tokens_all(t, &all);
    assert_int_equal(n, TOKENS_MAX);
    bool first = false, eighth = false;
    for (size_t i = 0; i < n; i++) {
        first |= strcmp(all[i]->host, "hv0") == 0;
        eighth |= strcmp(all[i]->host, "hv7") == 0;
        assert_true(i == 0 || strcmp(all[i - 1]->hash, all[i]->hash) < 0);
    }
    assert_true(first != eighth); /* both ended at 1000: one of them has gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(used_once),
        cmocka_unit_test(taken_back_or_late),
        cmocka_unit_test(what_is_malformed_is_refused),
        cmocka_unit_test(images_hold_them),
        cmocka_unit_test(no_more_than_are_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
