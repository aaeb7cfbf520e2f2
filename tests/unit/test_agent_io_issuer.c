/* The issuer: what it asks before it signs, and that it believes the admin and not the planner. */
#include "tests/unit/tls_fixture.h"

#include "agent/io/issuer.h"
#include "proto/canon.h"
#include "proto/token.h"
#include "tls/envelope.h"
#include "tls/join.h"

#define NOISY "10.0.0.66"
#define SECRET "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
#define HOUR ((msec)3600000)

struct scene {
    struct world world;
    struct trust_store *trust;
    struct identity *ada, *olga; /* an admin, an operator */
    struct config config;
    char *seeds[1], *voters[1];
    struct issuer *issuer;
    gnutls_x509_privkey_t keys[JOIN_USES];
    struct moment now;
    /* what it did last */
    uint64_t question;              /* 0: nothing was asked of the voters */
    char *asked, *answer, *audited; /* owned */
    uint64_t answered;              /* to whom; 0: to nobody yet */
    struct err err;
    const Skein__Token *remembered;
};

static void spend(void *arg, uint64_t token, const char *body)
{
    struct scene *s = arg;
    s->question = token;
    free(s->asked);
    s->asked = xstrdup(body);
}

static void answer(void *arg, uint64_t to, char *body, const struct err *err)
{
    struct scene *s = arg;
    free(s->answer);
    s->answer = body;
    s->answered = to;
    s->err = body == NULL ? *err : (struct err){0};
}

static void audit(void *arg, const char *event, const json_t *fields)
{
    struct scene *s = arg;
    _cleanup_(freep) char *text = json_dumps(fields, JSON_SORT_KEYS);
    free(s->audited);
    s->audited = xasprintf("%s %s", event, text);
}

static bool known(void *arg _unused_, const char *host)
{
    return strcmp(host, "hv8") == 0;
}

static const Skein__Token *remembered(void *arg, const char *hash)
{
    const struct scene *s = arg;
    assert_int_equal(strlen(hash), HASH_HEX_SIZE - 1);
    return s->remembered;
}

static void write_roster(struct scene *s)
{
    struct roster r = {.version = 1, .threshold = 1, .issued_at = NOW};
    struct roster_person ada = {.name = "ada", .roles = ROLE_ADMIN};
    struct roster_person olga = {.name = "olga", .roles = ROLE_OPERATOR};
    struct err err = {0};
    _cleanup_(freep) char *text = NULL;
    snprintf(r.cluster, sizeof r.cluster, "%s", s->world.cluster.uuid);
    snprintf(ada.key, sizeof ada.key, "%s", identity_key(s->ada));
    snprintf(olga.key, sizeof olga.key, "%s", identity_key(s->olga));
    assert_ok(roster_set(&r, &ada, &err), &err);
    assert_ok(roster_set(&r, &olga, &err), &err);
    assert_ok(roster_sign(&r, s->ada, &text, &err), &err);
    free(r.people);
    write_text(&s->world, "roster.json", text);
}

/* Both roots' lists; revoked (NULL: nobody) stands on the machines'. */
static void write_crl(struct scene *s, gnutls_x509_crt_t revoked)
{
    struct err err = {0};
    _cleanup_(freep) char *machines = NULL, *people = NULL;
    assert_ok(pki_crl(&s->world.machines, NULL, revoked, 30, NOW, &machines, &err), &err);
    assert_ok(pki_crl(&s->world.people, NULL, NULL, 30, NOW, &people, &err), &err);
    _cleanup_(freep) char *both = xasprintf("%s%s", machines, people);
    write_text(&s->world, "crl.pem", both);
}

static void write_issuer(struct scene *s, int days)
{
    struct err err = {0};
    _cleanup_(pki_root_done) struct pki_root issuer = {0};
    assert_ok(
        pki_issuer_create(&s->world.machines, &s->world.cluster, "hv1", days, NOW, &issuer, &err),
        &err);
    _cleanup_(freep) char *pem = pki_crt_pem(issuer.crt), *key = NULL;
    assert_ok(pki_key_pem(issuer.key, NULL, &key, &err), &err);
    write_text(&s->world, "issuer.pem", pem);
    write_text(&s->world, "issuer.key", key);
}

static int open_issuer(struct scene *s, struct err *err)
{
    struct issuer_conf conf = {.config = &s->config,
                               .trust = s->trust,
                               .arg = s,
                               .spend = spend,
                               .answer = answer,
                               .known = known,
                               .remembered = remembered,
                               .audit = audit};
    return issuer_open(&conf, s->now.wall, &s->issuer, err);
}

static int set_up(void **state)
{
    struct scene *s = xcalloc(1, sizeof *s);
    struct err err = {0};
    world_init(&s->world, "dc1", UUID_ONE);
    s->now = (struct moment){.mono = 1000, .wall = NOW};
    s->ada = make_person(&s->world, "ada");
    s->olga = make_person(&s->world, "olga");
    _cleanup_(freep) char *machines = pki_crt_pem(s->world.machines.crt),
                          *people = pki_crt_pem(s->world.people.crt),
                          *cluster = path_in(&s->world, "cluster.json");
    write_text(&s->world, "machines.pem", machines);
    write_text(&s->world, "people.pem", people);
    write_crl(s, NULL);
    write_roster(s);
    assert_ok(cluster_save(cluster, &s->world.cluster, &err), &err);
    write_issuer(s, 100);
    assert_ok(trust_open(s->world.directory, NOW, &s->trust, &err), &err);
    s->seeds[0] = xstrdup("10.0.0.2:7440");
    s->voters[0] = xstrdup("hv1");
    s->config = (struct config){
        .host = (char *)(uintptr_t) "hv1",
        .state_dir = path_in(&s->world, "state"),
        .mesh_listen = (char *)(uintptr_t) "10.0.0.1:7440",
        .mesh_seeds = s->seeds,
        .n_mesh_seeds = 1,
        .raft_voters = s->voters,
        .n_raft_voters = 1,
        .issuer_cert = path_in(&s->world, "issuer.pem"),
        .issuer_key = path_in(&s->world, "issuer.key"),
        .issuer_days = 365,
    };
    assert_ok(open_issuer(s, &err), &err);
    assert_ok(pki_key_generate(USE_AGENT, &s->keys[USE_AGENT], &err), &err);
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *s = *state;
    issuer_free(s->issuer);
    trust_close(s->trust);
    identity_free(s->ada);
    identity_free(s->olga);
    for (size_t i = 0; i < JOIN_USES; i++)
        key_freep(&s->keys[i]);
    free(s->config.state_dir);
    free(s->config.issuer_cert);
    free(s->config.issuer_key);
    free(s->seeds[0]);
    free(s->voters[0]);
    free(s->asked);
    free(s->answer);
    free(s->audited);
    world_done(&s->world);
    free(s);
    return 0;
}

/* hv9 asks, as who has secret. */
static void join(struct scene *s, const char *host, const char *secret)
{
    struct err err = {0};
    _cleanup_(freep) char *text = NULL;
    const gnutls_x509_privkey_t *keys = s->keys;
    assert_ok(join_request_write(host, secret, keys, NULL, &text, &err), &err);
    s->question = s->answered = 0;
    issuer_join(s->issuer, s->now, 7, "10.0.0.9", text, strlen(text));
}

struct said {
    const struct identity *who;
    const char *type, *host, *role, *secret;
    msec lifetime;
    bool replace;
};

static char *signed_by(const struct scene *s, const struct said *said)
{
    struct err err = {0};
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE], *envelope = NULL;
    uint8_t nonce[ENVELOPE_NONCE_SIZE] = {1};
    assert_true(token_proof(said->secret, proof) && token_hash(proof, hash));
    _cleanup_json_ json_t *c =
        json_pack("{s:s, s:s, s:s, s:s, s:[s], s:[s]}", "type", said->type, "host", said->host,
                  "role", said->role, "hash", hash, "dns", "hv9.lab", "addresses", "10.0.0.9");
    if (said->replace)
        json_object_set_new(c, "replace", json_true());
    assert_ok(
        envelope_sign(c, said->who, &s->world.cluster, NOW, said->lifetime, nonce, &envelope, &err),
        &err);
    return envelope;
}

/* The planner says that it was spent, and shows this. */
static void spent(struct scene *s, const char *envelope)
{
    _cleanup_json_ json_t *doc =
        json_pack("{s:s, s:s, s:s}", "token", "0123456789ab", "hash", "", "envelope", envelope);
    _cleanup_(freep) char *text = json_dumps(doc, 0);
    assert_true(issuer_asked(s->issuer, s->question));
    issuer_answered(s->issuer, s->now, s->question, 200, text, strlen(text));
}

static struct said good(const struct scene *s)
{
    return (struct said){s->ada, "token-create", "hv9", "agent", SECRET, HOUR, false};
}

static void refused(struct scene *s, enum err_code code, const char *why)
{
    assert_int_equal(s->answered, 7);
    assert_null(s->answer);
    if (s->err.code != code || strstr(s->err.msg, why) == NULL)
        fail_msg("refused with \"%s: %s\", not \"%s\"", err_name(s->err.code), s->err.msg, why);
    assert_non_null(strstr(s->audited, "certificates.refused"));
    assert_non_null(strstr(s->audited, err_name(code)));
}

static void issued_once_it_was_spent(void **state)
{
    struct scene *s = *state;
    struct err err = {0};
    struct said said = good(s);
    char proof[HASH_HEX_SIZE], root[HASH_HEX_SIZE];
    _cleanup_(freep) char *envelope = signed_by(s, &said);
    _cleanup_(join_answer_done) struct join_answer a = {0};
    join(s, "hv9", SECRET);
    assert_int_equal(s->answered, 0); /* nothing before */
    assert_true(token_proof(SECRET, proof));
    assert_non_null(strstr(s->asked, proof));
    assert_null(strstr(s->asked, SECRET)); /* the voters do not see it */
    spent(s, envelope);
    assert_int_equal(s->answered, 7);
    assert_non_null(s->answer);
    assert_non_null(strstr(s->audited, "certificates.issued"));
    assert_non_null(strstr(s->audited, "\"who\": \"ada\""));
    assert_ok(join_answer_read(s->answer, strlen(s->answer), &a, &err), &err);
    assert_ok(spki_digest(s->world.machines.crt, root, &err), &err);
    const gnutls_x509_privkey_t *keys = s->keys;
    assert_ok(join_answer_check(&a, root, "dc1", "hv9", keys, NOW, &err), &err);
    assert_ok(spki_digest(s->world.people.crt, root, &err), &err);
    assert_ok(join_answer_check_people(&a, root, NOW, &err), &err);
    assert_int_equal(json_array_size(a.peers), 2);
    _cleanup_(chain_done) struct chain chain = {0};
    assert_ok(chain_read(a.certificates[USE_AGENT], &chain, &err), &err);
    assert_true(gnutls_x509_crt_check_hostname(chain.crts[0], "hv9.lab"));
    assert_true(gnutls_x509_crt_check_hostname(chain.crts[0], "10.0.0.9"));
    /* No longer than the issuer itself. */
    assert_true((msec)gnutls_x509_crt_get_expiration_time(chain.crts[0]) * 1000 <= NOW + 100 * DAY);
    /* The planner says so once more: not from this host. */
    join(s, "hv9", SECRET);
    spent(s, envelope);
    refused(s, ERR_CONFLICT, "used already");
    /* Nor after a restart. */
    issuer_free(s->issuer);
    assert_ok(open_issuer(s, &err), &err);
    join(s, "hv9", SECRET);
    spent(s, envelope);
    refused(s, ERR_CONFLICT, "used already");
}

/* A lying planner: what no admin signed for this host brings nothing. */
static void the_planners_word_is_not_enough(void **state)
{
    struct scene *s = *state;
    const char *other = "00eeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";

    const struct {
        struct said said;
        enum err_code code;
        const char *why;
    } cases[] = {
        {{s->olga, "token-create", "hv9", "agent", SECRET, HOUR, false}, ERR_DENIED, "no role"},
        {{s->ada, "token-create", "hv8", "agent", SECRET, HOUR, false}, ERR_DENIED, "another host"},
        {{s->ada, "token-create", "hv9", "host", SECRET, HOUR, false},
         ERR_DENIED,
         "another host or role"},
        {{s->ada, "token-create", "hv9", "agent", other, HOUR, false}, ERR_DENIED, "another token"},
        {{s->ada, "freeze", "hv9", "agent", SECRET, HOUR, false}, ERR_UNSUPPORTED, "unknown"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_(freep) char *envelope = signed_by(s, &cases[i].said);
        join(s, "hv9", SECRET);
        spent(s, envelope);
        refused(s, cases[i].code, cases[i].why);
    }
    join(s, "hv9", SECRET);
    spent(s, "{}");
    refused(s, ERR_INVALID, "");
    join(s, "hv9", SECRET);
    issuer_answered(s->issuer, s->now, s->question, 200, "{}", 2);
    refused(s, ERR_UNAVAILABLE, "no sound answer");
    struct said said = good(s);
    _cleanup_(freep) char *envelope = signed_by(s, &said);
    join(s, "hv9", SECRET);
    s->now.wall += HOUR;
    spent(s, envelope);
    refused(s, ERR_EXPIRED, "");
}

/* Who is there already is replaced where an admin says so, and not by mistake. */
static void nobody_is_replaced_unsaid(void **state)
{
    struct scene *s = *state;
    static const char *const there[] = {"hv1", "hv8"}; /* a voter; a member */
    for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
        struct said said = good(s);
        said.host = there[i];
        _cleanup_(freep) char *unsaid = signed_by(s, &said);
        join(s, there[i], SECRET);
        spent(s, unsaid);
        refused(s, ERR_CONFLICT, "is replaced");
    }
    struct said said = good(s);
    said.host = "hv8";
    said.replace = true;
    _cleanup_(freep) char *envelope = signed_by(s, &said);
    join(s, "hv8", SECRET);
    spent(s, envelope);
    assert_non_null(s->answer);
}

/* Nor where this agent, which votes, knows better. */
static void what_it_remembers_counts(void **state)
{
    struct scene *s = *state;
    struct said said = good(s);
    Skein__Vote back = SKEIN__VOTE__INIT;
    Skein__Token token = SKEIN__TOKEN__INIT;
    _cleanup_(freep) char *envelope = signed_by(s, &said);
    back.person = (char *)(uintptr_t) "ada";
    token.revoked = &back;
    s->remembered = &token;
    join(s, "hv9", SECRET);
    spent(s, envelope);
    refused(s, ERR_DENIED, "taken back by ada");
    token.revoked = NULL;
    token.has_used_at_ms = 1;
    token.request = (char *)(uintptr_t) "another";
    join(s, "hv9", SECRET);
    spent(s, envelope);
    refused(s, ERR_CONFLICT, "used already");
    token.has_used_at_ms = 0; /* it has not heard of it yet */
    join(s, "hv9", SECRET);
    spent(s, envelope);
    assert_non_null(s->answer);
    s->remembered = NULL;
}

static void the_voters_refusal_is_passed_on(void **state)
{
    struct scene *s = *state;
    static const char *const said[][2] = {
        {"{\"error\":{\"code\":\"CONFLICT\",\"message\":\"the token was used already\"}}", "used"},
        {"{\"error\":{}}", "no sound answer"},
        {"", "no sound answer"}};
    for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
        join(s, "hv9", SECRET);
        issuer_answered(s->issuer, s->now, s->question, 409, said[i][0], strlen(said[i][0]));
        refused(s, i == 0 ? ERR_CONFLICT : ERR_UNKNOWN, said[i][1]);
    }
    issuer_answered(s->issuer, s->now, s->question, 200, "{}", 2); /* again: nobody waits */
    join(s, "hv9", NULL);
    refused(s, ERR_UNAUTHENTICATED, "a token is wanted");
    assert_int_equal(s->question, 0);
    s->answered = 0;
    s->now.mono += 60000; /* such a refusal is told once a minute */
    issuer_join(s->issuer, s->now, 7, NOISY, "garbage", 7);
    refused(s, ERR_INVALID, "request");
}

static void too_many_are_not_answered(void **state)
{
    struct scene *s = *state;
    for (int i = 0; i < 100; i++) {
        s->answered = 0;
        issuer_join(s->issuer, s->now, 7, NOISY, "garbage", 7);
    }
    assert_int_equal(s->err.code, ERR_LIMIT);
    s->now.mono += 600;
    issuer_join(s->issuer, s->now, 7, NOISY, "garbage", 7);
    assert_int_equal(s->err.code, ERR_INVALID);
    s->now.mono += 60000; /* and of those that wait for the voters no more than a few */
    unsigned asked = 0;
    for (int i = 0; i < 12; i++) {
        join(s, "hv9", SECRET);
        asked += s->question != 0;
    }
    assert_int_equal(asked, 8);
    assert_int_equal(s->err.code, ERR_LIMIT);
}

static void a_revoked_issuer_issues_nothing(void **state)
{
    struct scene *s = *state;
    struct err err = {0};
    _cleanup_(pki_root_done) struct pki_root own = {0};
    struct said said = good(s);
    _cleanup_(freep) char *envelope = signed_by(s, &said);
    assert_ok(pki_issuer_load(s->config.issuer_cert, s->config.issuer_key, &own, &err), &err);
    join(s, "hv9", SECRET);
    write_crl(s, own.crt); /* while the voters are asked */
    assert_ok(trust_reload(s->trust, NOW, &err), &err);
    spent(s, envelope);
    refused(s, ERR_DENIED, "revoked");
    issuer_free(TAKE_PTR(s->issuer));
    assert_err(open_issuer(s, &err), &err, ERR_DENIED, "issuer: certificate revoked");
    make_pair(&s->world, USE_AGENT, "issuer", 30, NOW, NULL, NULL); /* a host's: no authority */
    assert_err(open_issuer(s, &err), &err, ERR_INVALID, "no certificate authority");
    write_crl(s, NULL);
    assert_ok(trust_reload(s->trust, NOW, &err), &err);
    write_issuer(s, 100);
    s->now.wall += 100 * DAY;
    assert_err(open_issuer(s, &err), &err, ERR_EXPIRED, "expired");
}

/* An issuer that may not issue costs nobody his token. */
static void a_revoked_issuer_spends_no_token(void **state)
{
    struct scene *s = *state;
    struct err err = {0};
    _cleanup_(pki_root_done) struct pki_root own = {0};
    assert_ok(pki_issuer_load(s->config.issuer_cert, s->config.issuer_key, &own, &err), &err);
    write_crl(s, own.crt);
    assert_ok(trust_reload(s->trust, NOW, &err), &err);
    join(s, "hv9", SECRET);
    assert_int_equal(s->question, 0);
    refused(s, ERR_DENIED, "revoked");
}

/* Whoever only makes noise keeps nobody out. */
static void noise_keeps_nobody_out(void **state)
{
    struct scene *s = *state;
    unsigned asked = 0;
    for (int i = 0; i < 600; i++) { /* ten minutes of twenty requests a second by a stranger */
        for (int k = 0; k < 20; k++) {
            issuer_join(s->issuer, s->now, 7, NOISY, "garbage", 7);
            s->now.mono += 50;
            if (k != 10 || i < 100)
                continue;
            s->now.mono -= 25;
            join(s, "hv9", SECRET);
            s->now.mono += 25;
            asked += s->question != 0;
            if (s->question != 0)
                issuer_answered(s->issuer, s->now, s->question, 409, "{}", 2);
        }
    }
    assert_int_equal(asked, 500);
}

/* Nor do many networks: one that is new is always heard. */
static void many_networks_keep_nobody_out(void **state)
{
    struct scene *s = *state;
    char name[24];
    for (int i = 0; i < 10000; i++) {
        snprintf(name, sizeof name, "10.1.%d.%d", i / 30 % 200, i % 30);
        issuer_join(s->issuer, s->now, 7, name, "garbage", 7);
    }
    join(s, "hv9", SECRET);
    assert_int_not_equal(s->question, 0);
}

/* Noise fills no audit: one record a minute, with how many there were beside. */
static void noise_is_counted(void **state)
{
    struct scene *s = *state;
    static const char no[] = "{\"error\":{\"code\":\"NOT_FOUND\",\"message\":\"no such token\"}}";
    unsigned told = 0;
    for (int i = 0; i < 100; i++) {
        free(TAKE_PTR(s->audited));
        issuer_join(s->issuer, s->now, 7, NOISY, "garbage", 7);
        assert_int_equal(s->err.code, ERR_INVALID);
        told += s->audited != NULL;
        s->now.mono += 1000;
    }
    assert_int_equal(told, 2);
    s->now.mono += 60000;
    issuer_join(s->issuer, s->now, 7, NOISY, "garbage", 7);
    assert_non_null(strstr(s->audited, "\"untold\": 39"));
    for (int i = 0; i < 3; i++) { /* guesses, likewise */
        free(TAKE_PTR(s->audited));
        join(s, "hv9", SECRET);
        issuer_answered(s->issuer, s->now, s->question, 404, no, strlen(no));
        assert_int_equal(s->err.code, ERR_NOT_FOUND);
        assert_true((s->audited != NULL) == (i == 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(issued_once_it_was_spent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_planners_word_is_not_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_is_replaced_unsaid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_it_remembers_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_voters_refusal_is_passed_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_are_not_answered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_revoked_issuer_issues_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_revoked_issuer_spends_no_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(noise_keeps_nobody_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_networks_keep_nobody_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(noise_is_counted, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
