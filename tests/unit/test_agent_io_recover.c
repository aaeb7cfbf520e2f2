/* skein recover: a voter's log is given to other voters, over real stores. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <unistd.h>

#include "agent/io/council_seams.h"
#include "agent/io/recover.h"
#include "agent/io/store.h"
#include "proto/util.h"
#include "tls/file.h"

#define NOW ((msec)1795000000000) /* November 2026 */

static const char *const before[] = {"hv1", "hv2", "hv3"};

struct world {
    char dir[64], other[80], out[96];
    struct config config;
    char *voters[2];
    FILE *said;
    char *text;
    size_t len;
    struct err err;
};

static struct recover_conf conf_of(struct world *w)
{
    return (struct recover_conf){
        .config = &w->config, .reason = "fire", .who = "root", .apply = true, .wall = NOW};
}

static int run(struct world *w, const struct recover_conf *conf)
{
    w->err = (struct err){0};
    w->said = open_memstream(&w->text, &w->len);
    int rc = recover_run(conf, w->said, &w->err);
    fclose(w->said);
    return rc;
}

#define says(w, words)                                                                             \
    do {                                                                                           \
        if (strstr((w)->text, words) == NULL)                                                      \
            fail_msg("\"%s\" lacks \"%s\"", (w)->text, words);                                     \
        free(TAKE_PTR((w)->text));                                                                 \
    } while (0)

/* Of one store, opened for this alone. */
static void with_store(const char *dir, void (*work)(struct store *s, void *arg), void *arg)
{
    uv_loop_t loop;
    struct store *s = NULL;
    struct err err = {0};
    _cleanup_(freep) char *path = xasprintf("%s/skein.db", dir);
    uv_loop_init(&loop);
    assert_ok(store_open(&(struct store_conf){.path = path, .loop = &loop}, &s, &err), &err);
    work(s, arg);
    store_close(s, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* A snapshot of entry 10, and entries 9 to 12; or, bare, a log of its first entry. */
static void fill(struct store *s, void *arg)
{
    const bool *bare = arg;
    struct raft_configuration configuration;
    struct raft_buffer encoded = {0};
    struct err err = {0};
    struct store_batch *b = store_batch_new();
    assert_ok(raft_voters_encode(before, 3, &configuration, &encoded, &err), &err);
    store_raft_set(b, 7, 2);
    if (*bare) {
        store_raft_append(b, 1, 1, RAFT_CHANGE, encoded.base, encoded.len);
    } else {
        store_raft_snapshot_put(b, 10, 5, encoded.base, encoded.len, "state", 5, 9);
        for (uint64_t i = 9; i <= 12; i++)
            store_raft_append(b, i, 5, RAFT_COMMAND, &i, sizeof i);
    }
    assert_ok(store_submit_wait(s, b, &err), &err);
    raft_configuration_close(&configuration);
    raft_free(encoded.base);
}

static void expect_log(struct store *s, void *arg)
{
    const struct world *w = arg;
    struct store_raft_state l = {0};
    struct raft_configuration configuration;
    struct raft_buffer encoded = {0};
    struct err err = {0};
    const char *after[] = {w->voters[0], w->voters[1]};
    assert_ok(raft_voters_encode(after, 2, &configuration, &encoded, &err), &err);
    assert_ok(store_raft_load(s, &l, &err), &err);
    assert_int_equal(l.term, 8);
    assert_int_equal(l.vote, 0);
    assert_int_equal(l.snapshot.index, 10);
    assert_int_equal(l.snapshot.term, 5);
    assert_int_equal(l.snapshot.config_len, encoded.len);
    assert_memory_equal(l.snapshot.config, encoded.base, encoded.len);
    assert_int_equal(l.snapshot.len, 5);
    assert_memory_equal(l.snapshot.data, "state", 5);
    assert_int_equal(l.n_entries, 4);
    for (uint64_t i = 0; i < 4; i++) {
        const uint64_t value = 9 + i;
        assert_int_equal(l.entries[i].index, value);
        assert_int_equal(l.entries[i].term, 5);
        assert_int_equal(l.entries[i].type, RAFT_COMMAND);
        assert_memory_equal(l.entries[i].data, &value, sizeof value);
    }
    store_raft_state_done(&l);
    raft_configuration_close(&configuration);
    raft_free(encoded.base);
}

static void expect_as_before(struct store *s, void *arg)
{
    struct store_raft_state l = {0};
    struct err err = {0};
    uint64_t audited;
    uint8_t root[HASH_SIZE];
    (void)arg;
    assert_ok(store_raft_load(s, &l, &err), &err);
    assert_int_equal(l.term, 7);
    assert_int_equal(l.vote, 2);
    store_audit_head(s, &audited, root);
    assert_int_equal(audited, 0);
    store_raft_state_done(&l);
}

static void expect_audited(struct store *s, void *arg)
{
    uint64_t audited;
    uint8_t root[HASH_SIZE];
    (void)arg;
    store_audit_head(s, &audited, root);
    assert_int_equal(audited, 1);
}

/* Voters were replaced before: hv1, hv2, hv3 are their second group. */
static void put_groups(struct store *s, void *arg)
{
    static const char *const first[] = {"hv1", "hv2", "hv4"};
    struct voter_groups groups = {0};
    struct voter_group g, next;
    struct err err = {0};
    size_t len;
    (void)arg;
    assert_ok(group_first(first, 3, &g, &err), &err);
    assert_ok(group_next(&g, "hv3", 3, "hv4", "gone", &next, &err), &err);
    groups_add(&groups, &g);
    groups_add(&groups, &next);
    _cleanup_(freep) uint8_t *bytes = groups_pack(&groups, &len);
    struct store_batch *b = store_batch_new();
    store_kv_put(b, COUNCIL_KEY_GROUP, bytes, len);
    assert_ok(store_submit_wait(s, b, &err), &err);
}

static void expect_third_group(struct store *s, void *arg)
{
    struct voter_groups groups;
    struct err err = {0};
    _cleanup_(freep) void *value = NULL;
    size_t len;
    (void)arg;
    assert_ok(store_kv_get(s, COUNCIL_KEY_GROUP, &value, &len, &err), &err);
    assert_ok(groups_unpack(value, len, &groups, &err), &err);
    assert_int_equal(groups.n, 3);
    assert_int_equal(groups.list[2].number, 3);
    assert_int_equal(groups.list[2].n, 2);
    assert_true(group_has(&groups.list[2], "hv9", 12345)); /* whatever its store is */
}

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    bool bare = false;
    snprintf(w->dir, sizeof w->dir, "/tmp/skein-recover-XXXXXX");
    if (mkdtemp(w->dir) == NULL)
        return -1;
    snprintf(w->other, sizeof w->other, "%s/other", w->dir);
    snprintf(w->out, sizeof w->out, "%s/log.db", w->dir);
    w->voters[0] = xstrdup("hv3");
    w->voters[1] = xstrdup("hv9");
    w->config = (struct config){
        .host = xstrdup("hv3"), .state_dir = w->dir, .raft_voters = w->voters, .n_raft_voters = 2};
    with_store(w->dir, fill, &bare);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    _cleanup_(freep) char *command = xasprintf("rm -rf %s", w->dir);
    int rc = system(command);
    free(w->voters[0]);
    free(w->voters[1]);
    free(w->config.host);
    free(w->text);
    free(w);
    return rc;
}

static void without_a_yes_nothing_is_done(void **state)
{
    struct world *w = *state;
    struct recover_conf conf = conf_of(w);
    conf.apply = false;
    assert_ok(run(w, &conf), &w->err);
    assert_non_null(strstr(w->text, "term       7\nentry      12\n"));
    assert_non_null(strstr(w->text, "voters     hv1, hv2, hv3\nnew voters hv3, hv9"));
    says(w, "must not start again with their old state");
    with_store(w->dir, expect_as_before, NULL);
}

static void the_log_is_given_to_other_voters(void **state)
{
    struct world *w = *state;
    struct recover_conf conf = conf_of(w);
    conf.out = w->out;
    assert_ok(run(w, &conf), &w->err);
    says(w, "term 8, entry 12");
    with_store(w->dir, expect_log, w);
    with_store(w->dir, expect_audited, w);
    /* once is enough */
    conf.out = NULL;
    assert_err(run(w, &conf), &w->err, ERR_CONFLICT, "already");
    says(w, "hv3, hv9");

    /* and on the other new voter, which has nothing yet */
    free(w->config.host);
    w->config.host = xstrdup("hv9");
    w->config.state_dir = w->other;
    conf.from = w->out;
    assert_ok(run(w, &conf), &w->err);
    says(w, "term 8, entry 12");
    with_store(w->other, expect_log, w);
    with_store(w->other, expect_audited, w);
}

/* Where voters are replaced, those that recover are a later group than all that were. */
static void those_that_recover_are_the_newest_group(void **state)
{
    struct world *w = *state;
    struct recover_conf conf = conf_of(w);
    with_store(w->dir, put_groups, NULL);
    conf.out = w->out;
    assert_ok(run(w, &conf), &w->err);
    says(w, "term 8, entry 12");
    with_store(w->dir, expect_third_group, NULL);
    free(w->config.host);
    w->config.host = xstrdup("hv9");
    w->config.state_dir = w->other;
    conf.out = NULL;
    conf.from = w->out;
    assert_ok(run(w, &conf), &w->err);
    says(w, "term 8, entry 12");
    with_store(w->other, expect_third_group, NULL);
}

static void mistakes_are_refused(void **state)
{
    struct world *w = *state;
    struct recover_conf conf = conf_of(w);
    conf.reason = NULL;
    assert_err(run(w, &conf), &w->err, ERR_INVALID, "--reason");
    says(w, "");
    conf.reason = "\xff";
    assert_err(run(w, &conf), &w->err, ERR_INVALID, "UTF-8");
    says(w, "");
    conf = conf_of(w);
    conf.from = "/nonexistent/log.db";
    assert_err(run(w, &conf), &w->err, ERR_NOT_FOUND, "/nonexistent/log.db");
    says(w, "");
    _cleanup_(freep) char *own = xasprintf("%s/skein.db", w->dir);
    conf.from = NULL;
    conf.out = own;
    assert_err(run(w, &conf), &w->err, ERR_CONFLICT, "exists already");
    says(w, "");
    w->config.n_raft_voters = 1;
    w->config.raft_voters = &w->voters[1];
    conf = conf_of(w);
    assert_err(run(w, &conf), &w->err, ERR_INVALID, "does not name this host, hv3");
    says(w, "");
    w->config.raft_voters = w->voters;
    w->config.n_raft_voters = 2;
    w->config.state_dir = w->other;
    assert_err(run(w, &conf), &w->err, ERR_NOT_FOUND, "no log of a voter");
    says(w, "");
    w->config.state_dir = w->dir;
    with_store(w->dir, expect_as_before, NULL);
}

static void recover_while_open(struct store *s, void *arg)
{
    struct world *w = arg;
    struct recover_conf conf = conf_of(w);
    (void)s;
    assert_err(run(w, &conf), &w->err, ERR_CONFLICT, "stop this host's agent first");
    says(w, "");
}

static void a_running_agent_is_left_alone(void **state)
{
    with_store(((struct world *)*state)->dir, recover_while_open, *state);
}

/* A log that others wrote is not taken when it is for other voters than these. */
static void anothers_log_is_refused(void **state)
{
    struct world *w = *state;
    bool bare = true;
    struct recover_conf conf = conf_of(w);
    _cleanup_(freep) char *from = xasprintf("%s/skein.db", w->other);
    assert_ok(file_make_directory(w->other, 0700, &w->err), &w->err);
    with_store(w->other, fill, &bare);
    conf.from = from;
    assert_err(run(w, &conf), &w->err, ERR_CONFLICT, "belongs to other voters");
    says(w, "voters     hv1, hv2, hv3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_yes_nothing_is_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_log_is_given_to_other_voters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(those_that_recover_are_the_newest_group, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mistakes_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_running_agent_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(anothers_log_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
