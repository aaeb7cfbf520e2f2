/* test.h - what every cmocka file needs, included first. */
#ifndef SKEIN_TESTS_LIB_TEST_H
#define SKEIN_TESTS_LIB_TEST_H

/* cmocka.h wants these before it: */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "proto/err.h"

/* The call succeeded; else fail with its message. */
#define assert_ok(call, err)                                                                       \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s: %s", #call, err_name((err)->code), (err)->msg);                      \
    } while (0)

/* The call failed with this code, and its message says this. */
#define assert_err(call, err, want_code, part)                                                     \
    do {                                                                                           \
        if ((call) >= 0)                                                                           \
            fail_msg("%s succeeded, %s wanted", #call, err_name(want_code));                       \
        assert_string_equal(err_name((err)->code), err_name(want_code));                           \
        if (strstr((err)->msg, (part)) == NULL)                                                    \
            fail_msg("message \"%s\" lacks \"%s\"", (err)->msg, (part));                           \
    } while (0)

#endif
