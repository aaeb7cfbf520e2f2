/* A plan, and behind a line of its own a snapshot: the checker reads both as they come. */
#include <string.h>

#include "planner/check/check.h"
#include "proto/util.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(check_report_freep) struct check_report *report = NULL;
    const char *text = (const char *)data;
    const char *line = size > 0 ? memchr(text, '\n', size) : NULL;
    if (line == NULL)
        return 0;
    size_t plan = (size_t)(line - text);
    struct err err;
    int rc = plan_check(line + 1, size - plan - 1, text, plan, NULL, &report, &err);
    REQUIRE(rc < 0 || report != NULL);
    return 0;
}
