#include "tls/guest.h"

#include <stdio.h>

#include "tls/handles.h"

const char guest_priorities[] = TLS_PRIORITIES ":+SIGN-RSA-PSS-RSAE-SHA256";
const char host_priorities[] = TLS_PRIORITIES;

int guest_judge(void *session, const struct anchor *people, const struct roster *roster,
                const struct cluster *cluster, msec wall, struct guest *ret, struct err *err)
{
    struct chain chain = {0};
    struct subject subject;
    const struct roster_person *person;
    int rc = chain_of_peer(session, &chain, err);
    if (rc == 0)
        rc = anchor_verify(people, chain.crts, chain.n, cluster->name, USE_PERSON, wall, &subject,
                           err);
    chain_done(&chain);
    if (rc < 0 || (rc = roster_admit(roster, &subject, &person, err)) < 0)
        return rc;
    snprintf(ret->name, sizeof ret->name, "%s", person->name);
    ret->roles = person->roles;
    return 0;
}
