/* Any text as a policy: it loads or is refused with a message; the process and its memory hold. */
#include "planner/worker/policy.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct sandbox_conf conf = {.memory_max = (size_t)8 << 20, .lua_ms = 50, .seed = 1};
    struct err err = {0};
    _cleanup_(sandbox_freep) struct sandbox *sb = NULL;
    _cleanup_(policy_done) struct policy p = {0};
    if (sandbox_new(&conf, &sb, &err) < 0)
        return 0;
    if (policy_load(&p, sb, (const char *)bytes, len, "p.lua", NULL, &err) < 0) {
        REQUIRE(err.code == ERR_POLICY && err.msg[0] != '\0');
        return 0;
    }
    json_decref(policy_manifest(&p));
    json_decref(policy_health(&p));
    return 0;
}
