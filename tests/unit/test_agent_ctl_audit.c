/* An exported audit, verified with nothing but itself and the machines' root: whatever is altered,
 * removed, put in or moved, anywhere, is found. */
#include "tests/unit/tls_fixture.h"

#include "agent/ctl/audit_check.h"
#include "proto/canon.h"
#include "proto/merkle.h"
#include "tls/checkpoint.h"

#define RECORDS 13

struct fleet {
    struct world world;
    struct identity *hv1, *hv2;
    char *roots;
    struct merkle_tree tree; /* of hv1's log */
    char *lines[RECORDS + 1];
};

static json_t *checkpoint(const struct fleet *t, uint64_t size, msec at, bool cosigned)
{
    struct checkpoint c = {.host = "hv1", .size = size, .at = at};
    struct merkle_tree tree = {0};
    struct err err = {0};
    _cleanup_(freep) char *text = NULL, *cosignature = NULL, *whole = NULL;
    for (uint64_t i = 0; i < size; i++) {
        uint8_t leaf[HASH_SIZE];
        merkle_leaf(t->lines[1 + i], strlen(t->lines[1 + i]), leaf);
        assert_ok(merkle_append(&tree, leaf, NULL, NULL, &err), &err);
    }
    merkle_root(&tree, c.root);
    assert_ok(checkpoint_sign(&c, &t->world.cluster, t->hv1, &text, &err), &err);
    if (cosigned) {
        _cleanup_(freep) char *pem = pki_crt_pem(t->world.machines.crt);
        _cleanup_(anchor_freep) struct anchor *machines = NULL;
        assert_ok(anchor_new(pem, NULL, &machines, &err), &err);
        assert_ok(cosignature_sign(text, strlen(text), "hv2", t->hv2, at, &cosignature, &err),
                  &err);
        assert_ok(checkpoint_cosigned(text, strlen(text), cosignature, strlen(cosignature),
                                      machines, &t->world.cluster, at, &whole, &err),
                  &err);
    }
    return json_loads(whole != NULL ? whole : text, 0, NULL);
}

static char *begin_line(const struct fleet *t, json_t *checkpoint_doc, json_t *head)
{
    json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:o, s:[]}", "schema", "skein.audit/1", "cluster",
                            t->world.cluster.name, "cluster_uuid", t->world.cluster.uuid, "host",
                            "hv1", "checkpoint", checkpoint_doc, "heads");
    if (head != NULL)
        json_array_append_new(json_object_get(doc, "heads"), head);
    char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(doc);
    return text;
}

static int set_up(void **state)
{
    struct fleet *t = xcalloc(1, sizeof *t);
    world_init(&t->world, "dc1", UUID_ONE);
    _cleanup_(freep) char *root = pki_crt_pem(t->world.machines.crt);
    write_text(&t->world, "machines.pem", root);
    t->roots = path_in(&t->world, "machines.pem");
    make_pair(&t->world, USE_AGENT, "hv1", 365, NOW, NULL, NULL);
    make_pair(&t->world, USE_AGENT, "hv2", 365, NOW, NULL, NULL);
    t->hv1 = load_pair(&t->world, "hv1");
    t->hv2 = load_pair(&t->world, "hv2");
    for (int i = 1; i <= RECORDS; i++)
        t->lines[i] = xasprintf("{\"event\":\"move.started\",\"host\":\"hv1\",\"n\":%d}", i);
    t->lines[0] = begin_line(t, checkpoint(t, RECORDS, NOW, true), NULL);
    *state = t;
    return 0;
}

static int tear_down(void **state)
{
    struct fleet *t = *state;
    for (int i = 0; i <= RECORDS; i++)
        free(t->lines[i]);
    free(t->roots);
    identity_free(t->hv1);
    identity_free(t->hv2);
    world_done(&t->world);
    free(t);
    return 0;
}

static int check_lines(const struct fleet *t, const char *const *lines, size_t n, int cosigned,
                       const char *anchor, json_t **ret, struct err *err)
{
    _cleanup_(buf_done) struct buf text = {0};
    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%s\n", lines[i]);
    write_text(&t->world, "export", text.data != NULL ? text.data : "");
    if (anchor != NULL)
        write_text(&t->world, "anchors", anchor);
    _cleanup_(freep) char *file = path_in(&t->world, "export");
    _cleanup_(freep) char *anchors = path_in(&t->world, "anchors");
    struct audit_check_args args = {
        .roots = t->roots, .cosigned = cosigned, .anchors = anchor != NULL ? anchors : NULL};
    *ret = NULL;
    *err = (struct err){0};
    return audit_check(&args, &file, 1, NOW + DAY, ret, err);
}

static void must_fail(const struct fleet *t, const char *const *lines, size_t n, const char *what)
{
    json_t *doc;
    struct err err;
    if (check_lines(t, lines, n, 0, NULL, &doc, &err) >= 0)
        fail_msg("%s was not found", what);
}

static void test_intact(void **state)
{
    const struct fleet *t = *state;
    json_t *doc;
    struct err err;
    assert_ok(check_lines(t, (const char *const *)t->lines, RECORDS + 1, 1, NULL, &doc, &err),
              &err);
    const json_t *log = json_array_get(json_object_get(doc, "logs"), 0);
    assert_int_equal(json_integer_value(json_object_get(log, "records")), RECORDS);
    assert_int_equal(json_array_size(json_object_get(log, "cosigned_by")), 1);
    json_decref(doc);
    assert_err(check_lines(t, (const char *const *)t->lines, RECORDS + 1, 2, NULL, &doc, &err),
               &err, ERR_DENIED, "cosigned by 1 others, wants 2");
}

/* Each line in turn: gone, twice, one byte changed, exchanged with the next. */
static void test_every_change_is_found(void **state)
{
    const struct fleet *t = *state;
    const char *lines[RECORDS + 2];
    for (size_t i = 0; i <= RECORDS; i++) {
        size_t n = 0;
        for (size_t k = 0; k <= RECORDS; k++)
            if (k != i)
                lines[n++] = t->lines[k];
        must_fail(t, lines, n, "a line that is gone");
        n = 0;
        for (size_t k = 0; k <= RECORDS; k++) {
            lines[n++] = t->lines[k];
            if (k == i)
                lines[n++] = t->lines[k];
        }
        must_fail(t, lines, n, "a line that stands there twice");
        memcpy(lines, t->lines, (RECORDS + 1) * sizeof *lines);
        _cleanup_(freep) char *altered = xstrdup(t->lines[i]);
        altered[strlen(altered) - 2] ^= 1;
        lines[i] = altered;
        must_fail(t, lines, RECORDS + 1, "a byte that was changed");
        _cleanup_(freep) char *spaced = xasprintf("%s ", t->lines[i]);
        lines[i] = spaced;
        if (i > 0)
            must_fail(t, lines, RECORDS + 1, "a space that was put in");
        memcpy(lines, t->lines, (RECORDS + 1) * sizeof *lines);
        if (i < RECORDS) {
            lines[i] = t->lines[i + 1];
            lines[i + 1] = t->lines[i];
            must_fail(t, lines, RECORDS + 1, "two lines that were exchanged");
        }
    }
    must_fail(t, lines, 0, "an empty file");
}

/* The log's end cut off under an older checkpoint: an anchor, or the heads in any export, tell. */
static void test_a_cut_end(void **state)
{
    const struct fleet *t = *state;
    const char *lines[RECORDS + 1];
    json_t *doc;
    struct err err;
    _cleanup_json_ json_t *anchor = checkpoint(t, 10, NOW, false);
    _cleanup_(freep) char *anchor_text = json_dumps(anchor, JSON_COMPACT);
    memcpy(lines, t->lines, sizeof t->lines);
    _cleanup_(freep) char *cut = begin_line(t, checkpoint(t, 8, NOW, true), NULL);
    lines[0] = cut;
    assert_ok(check_lines(t, lines, 9, 0, NULL, &doc, &err), &err);
    json_decref(doc);
    assert_err(check_lines(t, lines, 9, 0, anchor_text, &doc, &err), &err, ERR_CONFLICT,
               "ends after 8 records, but 10");
    _cleanup_(freep) char *told =
        begin_line(t, checkpoint(t, 8, NOW, true), checkpoint(t, 9, NOW, 0));
    lines[0] = told;
    assert_err(check_lines(t, lines, 9, 0, NULL, &doc, &err), &err, ERR_CONFLICT,
               "ends after 8 records, but 9");
    _cleanup_(freep) char *older = begin_line(t, checkpoint(t, 8, NOW - 60000, true), NULL);
    lines[0] = older; /* an export made before the anchor is only older */
    assert_ok(check_lines(t, lines, 9, 0, anchor_text, &doc, &err), &err);
    assert_int_equal(json_array_size(json_object_get(doc, "notes")), 1);
    json_decref(doc);
}

/* The host itself rewrites its log and signs it anew: what was signed before contradicts. */
static void test_a_log_written_anew(void **state)
{
    struct fleet *t = *state;
    json_t *doc;
    struct err err;
    _cleanup_json_ json_t *anchor = checkpoint(t, 5, NOW - 60000, true);
    _cleanup_(freep) char *anchor_text = json_dumps(anchor, JSON_COMPACT);
    strstr(t->lines[3], "started")[0] = 'S';
    free(t->lines[0]);
    t->lines[0] = begin_line(t, checkpoint(t, RECORDS, NOW, false), NULL);
    assert_ok(check_lines(t, (const char *const *)t->lines, RECORDS + 1, 0, NULL, &doc, &err),
              &err);
    json_decref(doc);
    assert_err(
        check_lines(t, (const char *const *)t->lines, RECORDS + 1, 0, anchor_text, &doc, &err),
        &err, ERR_CONFLICT, "up to record 5 is not what was anchored");
}

static void test_foreign(void **state)
{
    const struct fleet *t = *state;
    struct world other;
    json_t *doc;
    struct err err;
    world_init(&other, "dc1", UUID_ONE);
    _cleanup_(freep) char *root = pki_crt_pem(other.machines.crt);
    write_text(&other, "machines.pem", root);
    struct fleet with = *t;
    with.roots = path_in(&other, "machines.pem");
    assert_err(check_lines(&with, (const char *const *)t->lines, RECORDS + 1, 0, NULL, &doc, &err),
               &err, ERR_UNAUTHENTICATED, "export:1");
    free(with.roots);
    world_done(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_intact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_change_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_cut_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_log_written_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
