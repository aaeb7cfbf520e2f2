/* A roster that is accepted has an admin and its people in order, whatever the bytes. */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/tls_court.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    const struct court *court = court_get();
    struct err err = {0};
    _cleanup_(roster_freep) struct roster *roster = NULL;
    int rc = roster_verify((const char *)bytes, len, court->people, &court->cluster, NULL,
                           COURT_NOW, &roster, &err);
    if (rc < 0) {
        REQUIRE(err.code != ERR_OK && err.msg[0] != '\0' && roster == NULL);
        return 0;
    }
    roles all = 0;
    for (size_t i = 0; i < roster->n_people; i++) {
        all |= roster->people[i].roles;
        REQUIRE(i == 0 || strcmp(roster->people[i - 1].name, roster->people[i].name) < 0);
    }
    REQUIRE((all & ROLE_ADMIN) != 0 && roster->version > 0 && roster->threshold > 0);
    return 0;
}
