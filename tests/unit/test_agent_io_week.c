/* The fleet's week in its file: written, replaced, and what stands there instead. */
#include "agent/io/week.h"

#include <stdio.h>
#include <unistd.h>

#include "proto/canon.h"
#include "tests/lib/test.h"

static char folder[] = "/tmp/skein-week-XXXXXX";

static void put(const char *text)
{
    _cleanup_(freep) char *path = xasprintf("%s/" WEEK_FILE, folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    assert_null(week_read(folder));
    for (int i = 0; i < 2; i++) {
        _cleanup_json_ json_t *week =
            json_pack("{s:i, s:[i, f, n]}", "every_s", 1800, "used_cores", i, 1.5);
        week_write(folder, week);
        _cleanup_json_ json_t *again = week_read(folder);
        assert_true(json_equal(week, again));
    }
}

static void what_is_no_document_is_nothing(void **state)
{
    (void)state;
    static const char *const cases[] = {"", "{", "\x01\xff", "{} {}"};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put(cases[i]);
        assert_null(week_read(folder));
    }
    _cleanup_json_ json_t *week = json_object();
    week_write("/nonexistent", week); /* told in the log */
    assert_null(week_read("/nonexistent"));
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int end(void **state)
{
    (void)state;
    put("");
    _cleanup_(freep) char *path = xasprintf("%s/" WEEK_FILE, folder);
    return unlink(path) != 0 || rmdir(folder) != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_is_no_document_is_nothing),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
