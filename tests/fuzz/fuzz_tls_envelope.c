/* An envelope that is accepted was signed by someone in the roster, whatever the bytes. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tls_court.h"
#include "tls/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct court *court = court_get();
    struct err err = {0};
    _cleanup_(envelope_done) struct envelope e = {0};
    int rc = envelope_verify((const char *)bytes, len, court->roster, court->people,
                             &court->cluster, COURT_NOW, &e, &err);
    if (rc < 0) {
        REQUIRE(err.code != ERR_OK && err.msg[0] != '\0' && e.command == NULL);
        return 0;
    }
    const struct roster_person *person = roster_by_key(court->roster, e.key);
    REQUIRE(person != NULL && strcmp(person->name, e.person) == 0 && person->roles == e.roles);
    REQUIRE(json_is_string(json_object_get(e.command, "type")));
    REQUIRE(e.issued_at <= COURT_NOW + ENVELOPE_SKEW && COURT_NOW < e.expires_at);
    return 0;
}
