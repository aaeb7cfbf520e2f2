/* Which ways of migrating go together: every cell of the table, and what is read of it. */
#include <stdio.h>

#include "planner/core/migration.h"
#include "proto/canon.h"
#include "tests/lib/test.h"

/* Row by row as the features are declared: '.' goes together, 'x' does not, '-' is itself.
 *                                                          Pre Post After Off Auto Xb Par All Inc
 */
static const char *const cells[MIGRATION_FEATURE_COUNT] = {
    [MIGRATION_PRECOPY] = "-xxx.....",
    [MIGRATION_POSTCOPY] = "x-xx..xxx",
    [MIGRATION_POSTCOPY_AFTER_PRECOPY] = "xx-xxxxxx",
    [MIGRATION_OFFLINE] = "xxx-xxxxx",
    [MIGRATION_AUTO_CONVERGE] = "..xx-....",
    [MIGRATION_XBZRLE] = "..xx.-x..",
    [MIGRATION_PARALLEL] = ".xxx.x-..",
    [MIGRATION_STORAGE_ALL] = ".xxx...-x",
    [MIGRATION_STORAGE_INCREMENTAL] = ".xxx...x-",
};

static void set(struct migration_choice *c, enum migration_feature f)
{
    switch (f) {
    case MIGRATION_PRECOPY:
    case MIGRATION_POSTCOPY:
    case MIGRATION_POSTCOPY_AFTER_PRECOPY:
    case MIGRATION_OFFLINE:
        c->mode = (enum migrate_mode)f;
        break;
    case MIGRATION_AUTO_CONVERGE:
        c->auto_converge = true;
        break;
    case MIGRATION_XBZRLE:
        c->xbzrle = true;
        break;
    case MIGRATION_PARALLEL:
        c->parallel = 4;
        break;
    case MIGRATION_STORAGE_ALL:
        c->storage = MIGRATE_STORAGE_ALL;
        break;
    case MIGRATION_STORAGE_INCREMENTAL:
        c->storage = MIGRATE_STORAGE_INCREMENTAL;
        break;
    case MIGRATION_FEATURE_COUNT:
        fail();
    }
}

/* Two of one kind: a choice has only one of them. */
static bool exclusive(unsigned a, unsigned b)
{
    return (a <= MIGRATION_OFFLINE && b <= MIGRATION_OFFLINE) ||
           (a >= MIGRATION_STORAGE_ALL && b >= MIGRATION_STORAGE_ALL);
}

static void every_cell(void **state)
{
    (void)state;
    for (unsigned a = 0; a < MIGRATION_FEATURE_COUNT; a++)
        for (unsigned b = 0; b < MIGRATION_FEATURE_COUNT; b++) {
            const char *why = migration_conflict(a, b);
            if ((why != NULL) != (cells[a][b] == 'x'))
                fail_msg("%s with %s: %s", migration_feature_name(a), migration_feature_name(b),
                         why != NULL ? why : "goes together");
            assert_true(why == migration_conflict(b, a));
            if (exclusive(a, b))
                continue;
            struct migration_choice c = {.mode = MIGRATE_PRECOPY};
            struct err err = {0};
            set(&c, a);
            set(&c, b);
            if (why == NULL) {
                assert_ok(migration_check(&c, &err), &err);
            } else {
                assert_err(migration_check(&c, &err), &err, ERR_UNSUPPORTED, why);
                assert_non_null(strstr(err.msg, migration_feature_name(a)));
                assert_non_null(strstr(err.msg, migration_feature_name(b)));
            }
        }
}

static int read_text(const char *text, struct migration_choice *c, struct err *err)
{
    _cleanup_json_ json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    *c = (struct migration_choice){0};
    *err = (struct err){0};
    return migration_read(o, "here", c, err);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct migration_choice c = {.mode = MIGRATE_PRECOPY,
                                 .storage = MIGRATE_STORAGE_INCREMENTAL,
                                 .xbzrle = true,
                                 .disks = "vda,vdb"},
                            back = {0};
    struct err err = {0};
    _cleanup_json_ json_t *o = json_object();
    migration_write(&c, o);
    assert_int_equal(json_array_size(json_object_get(o, "disks")), 2);
    assert_ok(migration_read(o, "here", &back, &err), &err);
    assert_memory_equal(&c, &back, sizeof c);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    struct migration_choice c;
    struct err err;
    assert_ok(read_text("{\"mode\":\"postcopy\",\"parallel\":1}", &c, &err), &err);
    assert_true(migrate_is_postcopy(c.mode));
    assert_ok(read_text("{\"mode\":null,\"copy_storage\":\"all\",\"disks\":[\"vdb\"]}", &c, &err),
              &err);
    assert_string_equal(c.disks, "vdb");
    assert_err(read_text("{\"mode\":\"warp\"}", &c, &err), &err, ERR_UNSUPPORTED, "here.mode");
    assert_err(read_text("{\"mode\":1}", &c, &err), &err, ERR_INVALID, "here.mode");
    assert_err(read_text("{\"tls\":false}", &c, &err), &err, ERR_UNSUPPORTED, "here.tls");
    assert_err(read_text("{\"parallel\":256}", &c, &err), &err, ERR_INVALID, "here.parallel");
    assert_err(read_text("{\"auto_converge\":1}", &c, &err), &err, ERR_INVALID, "auto_converge");
    assert_err(read_text("{\"compression\":\"zlib\"}", &c, &err), &err, ERR_UNSUPPORTED, "xbzrle");
    assert_err(read_text("{\"copy_storage\":\"none\"}", &c, &err), &err, ERR_INVALID,
               "copy_storage");
    assert_err(read_text("{\"copy_storage\":\"all\",\"disks\":[\"a,b\"]}", &c, &err), &err,
               ERR_INVALID, "disks[0]");
    assert_err(read_text("{\"copy_storage\":\"all\",\"disks\":[\"../x\"]}", &c, &err), &err,
               ERR_INVALID, "targets like");
    assert_err(read_text("{\"disks\":[\"vda\"]}", &c, &err), &err, ERR_INVALID, "none is to be");
    assert_err(read_text("{\"mode\":\"postcopy\",\"parallel\":2}", &c, &err), &err, ERR_UNSUPPORTED,
               "multifd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
