/* A snapshot: parsed, and where that succeeds, planned over, whatever it holds. */
#include "planner/core/plan_doc.h"
#include "proto/util.h"
#include "tests/fuzz/fuzz.h"

#define PAIRS_MAX 4000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(model_freep) struct model *m = NULL;
    _cleanup_(planner_result_freep) struct planner_result *r = NULL;
    struct err err;
    if (model_parse((const char *)data, size, &m, &err) < 0) {
        REQUIRE(err.code != ERR_OK && err.msg[0] != '\0');
        return 0;
    }
    if ((int64_t)m->n_hosts * m->n_vms > PAIRS_MAX)
        return 0;
    struct planner_problem p = {.model = m,
                                .mode = (enum planner_mode)(size % 5),
                                .now = m->taken_at,
                                .n_plus = QUANTITY_UNKNOWN,
                                .power = true,
                                .alternatives = true,
                                .copy_storage = size % 2 == 0,
                                .effort = 2000};
    if (p.mode == PLANNER_RELIEVE)
        p.mode = PLANNER_ENFORCE;
    if (planner_run(&p, &r, &err) < 0)
        return 0;
    json_t *body = NULL;
    struct plan_origin origin = {.class = "optimise", .reason = "fuzz"};
    if (plan_body_new(m, r, &origin, &body, &err) == 0)
        json_decref(body);
    return 0;
}
