/* tls_court.h - the fixed cluster under whose people root the corpora of tls/ are signed. Its
 * private keys were thrown away. */
#ifndef SKEIN_TESTS_FUZZ_TLS_COURT_H
#define SKEIN_TESTS_FUZZ_TLS_COURT_H

#include <stdio.h>

#include "proto/err.h"
#include "tls/anchor.h"
#include "tls/file.h"
#include "tls/roster.h"

#define COURT_DIRECTORY SKEIN_SOURCE_DIR "/tests/fuzz/"
#define COURT_NOW ((msec)1795425742000) /* a second after the corpora were made */

struct court {
    struct cluster cluster;
    struct anchor *people;
    struct roster *roster; /* corpus/tls_roster/second */
};

static inline void court_must(int rc, const struct err *err)
{
    if (rc < 0)
        fprintf(stderr, "%s\n", err->msg);
    REQUIRE(rc >= 0);
}

/* Loaded once; lives as long as the process. */
static inline const struct court *court_get(void)
{
    static struct court court;
    struct err err;
    if (court.roster != NULL)
        return &court;
    _cleanup_(freep) char *text = NULL;
    court_must(cluster_load(COURT_DIRECTORY "tls_cluster.json", &court.cluster, &err), &err);
    court_must(anchor_load(COURT_DIRECTORY "tls_people.pem", NULL, &court.people, &err), &err);
    court_must(file_read(COURT_DIRECTORY "corpus/tls_roster/second", ROSTER_MAX, &text, NULL, &err),
               &err);
    court_must(roster_verify(text, strlen(text), court.people, &court.cluster, NULL, COURT_NOW,
                             &court.roster, &err),
               &err);
    return &court;
}

#endif
