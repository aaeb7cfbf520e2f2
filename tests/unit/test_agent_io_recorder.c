/* Snapshots go into files, which stay few; what the files hold is read back. */
#include "tests/lib/test.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/recorder.h"
#include "planner/trace/ring.h"
#include "tls/file.h"

#define WALL 1795311000000

static char root[] = "/tmp/skein-recorder-XXXXXX";
static char *folder;

static int is_ring(const struct dirent *e)
{
    return strstr(e->d_name, RING_ENDING) != NULL;
}

/* Files in the folder and snapshots in all of them; the files are then removed. */
static int take_all(int *ret_snapshots)
{
    struct dirent **list;
    int n = scandir(folder, &list, is_ring, alphasort);
    *ret_snapshots = 0;
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", folder, list[i]->d_name), *data = NULL;
        struct err err = {0};
        struct ring_reader r = {0};
        assert_ok(file_read(path, 1 << 30, &data, &r.len, &err), &err);
        r.data = data;
        while (ring_next(&r, &err) > 0)
            (*ret_snapshots)++;
        assert_int_equal(r.pos, r.len);
        ring_reader_done(&r);
        unlink(path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return n;
}

static void offer(struct recorder *r, int minute)
{
    _cleanup_(freep) char *text = xasprintf("{\"minute\":%d}", minute);
    recorder_offer(r, minute * 60000, WALL + minute * 60000, text, strlen(text));
}

static struct recorder *open_recorder(msec every, uint64_t bytes)
{
    struct recorder_conf conf = {
        .directory = folder, .every = every, .bytes_max = bytes, .age_max = (msec)1 << 60};
    return recorder_new(&conf);
}

static void one_in_so_much_time(void **state)
{
    (void)state;
    int snapshots;
    _cleanup_(recorder_freep) struct recorder *r = open_recorder(120000, 1 << 20);
    for (int i = 0; i < 20; i++)
        offer(r, i);
    assert_int_equal(take_all(&snapshots), 1);
    assert_int_equal(snapshots, 10);
}

static void nothing_where_it_is_off(void **state)
{
    (void)state;
    int snapshots;
    _cleanup_(recorder_freep) struct recorder *r = open_recorder(0, 1 << 20);
    for (int i = 0; i < 20; i++)
        offer(r, i);
    assert_true(take_all(&snapshots) <= 0);
}

static void the_oldest_files_go(void **state)
{
    (void)state;
    int snapshots;
    _cleanup_(recorder_freep) struct recorder *r = open_recorder(60000, 8000);
    for (int i = 0; i < 20 * RING_RECORDS; i++)
        offer(r, i);
    int files = take_all(&snapshots);
    assert_in_range(files, 2, 6); /* some 3 KB each */
    assert_true(snapshots > RING_RECORDS);
    assert_int_equal(snapshots, files * RING_RECORDS);
}

/* A folder that cannot be written costs nothing but the record. */
static void trouble_is_survived(void **state)
{
    (void)state;
    struct recorder_conf conf = {.directory = "/proc/nowhere/recorded", .every = 60000};
    _cleanup_(recorder_freep) struct recorder *r = recorder_new(&conf);
    offer(r, 0);
    offer(r, 1);
}

static void a_new_agent_begins_a_new_file(void **state)
{
    (void)state;
    int snapshots;
    for (int i = 0; i < 3; i++) {
        _cleanup_(recorder_freep) struct recorder *r = open_recorder(60000, 1 << 20);
        offer(r, 2 * i);
        offer(r, 2 * i + 1);
    }
    assert_int_equal(take_all(&snapshots), 3);
    assert_int_equal(snapshots, 6);
}

static int begin(void **state)
{
    (void)state;
    folder = mkdtemp(root) != NULL ? xasprintf("%s/recorded", root) : NULL;
    return folder == NULL;
}

static int end(void **state)
{
    (void)state;
    rmdir(folder);
    free(folder);
    return rmdir(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_where_it_is_off),       cmocka_unit_test(one_in_so_much_time),
        cmocka_unit_test(the_oldest_files_go),           cmocka_unit_test(trouble_is_survived),
        cmocka_unit_test(a_new_agent_begins_a_new_file),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
