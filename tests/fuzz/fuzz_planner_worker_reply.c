/* A policy worker's answer, as an escaped worker may send it: refused with a reason, or held by its
 * types. First byte: which task it answers. */
#include "planner/worker/request.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static const enum worker_task tasks[] = {WORKER_PLAN, WORKER_CHECK, WORKER_TEST};
    struct err err = {0};
    _cleanup_(worker_result_done) struct worker_result r = {0};
    if (len == 0)
        return 0;
    enum worker_task task = tasks[bytes[0] % ARRAY_SIZE(tasks)];
    if (reply_parse((const char *)bytes + 1, len - 1, task, &r, &err) < 0) {
        REQUIRE(err.code != ERR_OK && err.msg[0] != '\0');
        return 0;
    }
    REQUIRE(task == WORKER_PLAN ? json_is_object(r.body)
                                : r.body == NULL || json_is_object(r.body));
    REQUIRE(r.warnings == NULL || json_is_array(r.warnings));
    return 0;
}
