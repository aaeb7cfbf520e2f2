/* Programs and URLs that gate rules ask: their answers, and what does not count as one. */
#include "tests/lib/test.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <microhttpd.h>

#include "agent/io/hooks.h"
#include "proto/util.h"
#include "tls/file.h"

static char folder[] = "/tmp/skein-hooks-XXXXXX";

static void write_hook(const char *name, const char *script, mode_t mode)
{
    struct err err = {0};
    _cleanup_(freep) char *path = xasprintf("%s/%s", folder, name);
    assert_ok(file_write(path, script, strlen(script), mode, FILE_ANY_GROUP, &err), &err);
    assert_int_equal(chmod(path, mode), 0);
}

static int ask(const char *hook, int seconds, struct err *err)
{
    _cleanup_(freep) char *questions = xasprintf(
        "[{\"hook\":\"%s\",\"seconds\":%d,\"question\":{\"rule\":\"r\",\"plan\":\"p1\"}}]", hook,
        seconds);
    *err = (struct err){0};
    return hooks_ask(folder, questions, err);
}

static void programs_answer(void **state)
{
    (void)state;
    struct err err;
    write_hook("yes", "#!/bin/sh\nexit 0\n", 0700);
    write_hook("no", "#!/bin/sh\nprintf 'backup runs\\nmore\\n'\nexit 1\n", 0700);
    write_hook("wait", "#!/bin/sh\nexit 2\n", 0700);
    write_hook("fails", "#!/bin/sh\necho broken >&2\nexit 127\n", 0700);
    write_hook("reads", "#!/bin/sh\ngrep -q '\"plan\":\"p1\"'\n", 0700);
    write_hook("sleeps", "#!/bin/sh\nsleep 60\n", 0700);
    write_hook("open", "#!/bin/sh\nexit 0\n", 0722);
    assert_ok(ask("yes", 8, &err), &err);
    assert_ok(ask("reads", 8, &err), &err);
    assert_err(ask("no", 8, &err), &err, ERR_DENIED, "gate rule r: its hook says no: backup runs");
    assert_null(strstr(err.msg, "more"));
    assert_err(ask("wait", 8, &err), &err, ERR_UNAVAILABLE, "says wait");
    assert_err(ask("fails", 8, &err), &err, ERR_UNAVAILABLE, "its hook failed: broken");
    assert_err(ask("sleeps", 1, &err), &err, ERR_UNAVAILABLE, "did not end");
    assert_err(ask("open", 8, &err), &err, ERR_UNAVAILABLE, "by others than root");
    assert_err(ask("none", 8, &err), &err, ERR_UNAVAILABLE, "No such file");
    /* The first that does not say yes decides. */
    assert_err(hooks_ask(folder,
                         "[{\"hook\":\"yes\",\"seconds\":8,\"question\":{\"rule\":\"a\"}},"
                         "{\"hook\":\"no\",\"seconds\":8,\"question\":{\"rule\":\"b\"}}]",
                         &err),
               &err, ERR_DENIED, "gate rule b");
    assert_ok(hooks_ask(folder, "[]", &err), &err);
}

/* ---- a server ---- */

static const char *answer_text;
static unsigned answer_status;

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *len, void **mine)
{
    static int begun;
    (void)arg, (void)url, (void)method, (void)version, (void)data;
    if (*mine == NULL) {
        *mine = &begun;
        return MHD_YES;
    }
    if (*len > 0) {
        *len = 0;
        return MHD_YES;
    }
    struct MHD_Response *r = MHD_create_response_from_buffer(
        strlen(answer_text), (void *)(uintptr_t)answer_text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result rc = MHD_queue_response(c, answer_status, r);
    MHD_destroy_response(r);
    return rc;
}

static void urls_answer(void **state)
{
    (void)state;
    struct err err;
    struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL,
                                            on_request, NULL, MHD_OPTION_END);
    assert_non_null(d);
    _cleanup_(freep) char *url = xasprintf("http://127.0.0.1:%u/ask",
                                           MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port);
    answer_status = 200;
    answer_text = "{\"verdict\":\"allow\"}";
    assert_ok(ask(url, 8, &err), &err);
    answer_text = "{\"verdict\":\"deny\",\"reason\":\"audit week\"}";
    assert_err(ask(url, 8, &err), &err, ERR_DENIED, "says no: audit week");
    answer_text = "{\"verdict\":\"wait\"}";
    assert_err(ask(url, 8, &err), &err, ERR_UNAVAILABLE, "says wait");
    answer_text = "{\"verdict\":\"yes\"}";
    assert_err(ask(url, 8, &err), &err, ERR_UNAVAILABLE, "no verdict");
    answer_text = "fine";
    assert_err(ask(url, 8, &err), &err, ERR_UNAVAILABLE, "its hook failed");
    answer_status = 500;
    assert_err(ask(url, 8, &err), &err, ERR_UNAVAILABLE, "answers 500");
    MHD_stop_daemon(d);
    assert_err(ask(url, 8, &err), &err, ERR_UNAVAILABLE, "its hook failed");
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"yes", "no", "wait", "fails", "reads", "sleeps", "open"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_answer),
        cmocka_unit_test(urls_answer),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
