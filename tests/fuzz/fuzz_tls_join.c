/* A request to join that is accepted names a host, and has keys that its uses allow, whatever the
 * bytes; nothing of one that is refused is left. */
#include "tests/fuzz/fuzz.h"
#include "tls/join.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = {0};
    _cleanup_(join_request_done) struct join_request r = {.secret = ""};
    int rc = join_request_read((const char *)bytes, len, &r, &err);
    if (rc < 0) {
        REQUIRE(err.code != ERR_OK && err.msg[0] != '\0' && r.keys[USE_AGENT] == NULL);
        return 0;
    }
    REQUIRE(name_check("host", r.host, &err) == 0 && join_request_role(&r) != NULL);
    REQUIRE(r.secret[0] == '\0' || strlen(r.secret) == HASH_HEX_SIZE - 1);
    REQUIRE(gnutls_pubkey_get_pk_algorithm(r.keys[USE_AGENT], NULL) == GNUTLS_PK_ECDSA);
    return 0;
}
