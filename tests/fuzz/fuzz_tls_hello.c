/* A hello that is accepted says the same when packed and read again. */
#include "proto/util.h"
#include "tests/fuzz/fuzz.h"
#include "tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = {0};
    struct hello one, two;
    if (hello_unpack(bytes, len, &one, &err) < 0) {
        REQUIRE(err.code != ERR_OK && err.msg[0] != '\0');
        return 0;
    }
    size_t packed_len;
    _cleanup_(freep) uint8_t *packed = hello_pack(&one, &packed_len);
    REQUIRE(hello_unpack(packed, packed_len, &two, &err) == 0);
    REQUIRE(memcmp(&one, &two, sizeof one) == 0);
    return 0;
}
