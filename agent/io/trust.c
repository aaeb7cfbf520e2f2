#include "agent/io/trust.h"

#include <stdio.h>

#include "tls/anchor.h"
#include "tls/envelope.h"
#include "tls/file.h"
#include "tls/roster.h"

#define PEM_MAX (64 << 10)
#define CRL_MAX (1 << 20)

/* Roots and roster that judge envelopes. trust.arg points to it. */
struct court {
    struct trust trust;
    struct cluster cluster;
    char *machines_pem, *people_pem, *crl, *text; /* owned; text: of the roster */
    struct anchor *machines, *people;             /* owned */
    struct roster *roster;                        /* owned */
    struct trust_roots roots;
};

struct trust_store {
    char *directory;
    struct cluster cluster;
    struct court *own;  /* of this host's files */
    struct trust trust; /* over own: stays where it is when own is replaced */
};

_Static_assert((int)ROLE_VIEWER == (int)TRUST_VIEWER && (int)ROLE_OPERATOR == (int)TRUST_OPERATOR &&
                   (int)ROLE_APPROVER == (int)TRUST_APPROVER && (int)ROLE_ADMIN == (int)TRUST_ADMIN,
               "roles are the same bits in tls and in the cores");

/* ---- courts ---- */

static void court_free(struct court *c)
{
    if (c == NULL)
        return;
    anchor_free(c->machines);
    anchor_free(c->people);
    roster_free(c->roster);
    free(c->machines_pem);
    free(c->people_pem);
    free(c->crl);
    free(c->text);
    free(c);
}
DEFINE_CLEANUP(struct court, court_free)

static int court_verify(const struct court *c, const uint8_t *bytes, size_t len, msec wall,
                        struct trust_command *ret, struct err *err)
{
    struct envelope e = {0};
    int rc =
        envelope_verify((const char *)bytes, len, c->roster, c->people, &c->cluster, wall, &e, err);
    if (rc < 0)
        return rc;
    *ret = (struct trust_command){
        .roles = e.roles,
        .issued_at = e.issued_at,
        .expires_at = e.expires_at,
        .command = TAKE_PTR(e.command),
    };
    snprintf(ret->person, sizeof ret->person, "%s", e.person);
    snprintf(ret->key, sizeof ret->key, "%s", e.key);
    snprintf(ret->nonce, sizeof ret->nonce, "%s", e.nonce);
    snprintf(ret->digest, sizeof ret->digest, "%s", e.digest);
    envelope_done(&e);
    return 0;
}

static int check_follows(const struct court *c, const struct court *previous, struct err *err)
{
    if (strcmp(c->people_pem, previous->people_pem) != 0 ||
        strcmp(c->machines_pem, previous->machines_pem) != 0)
        return err_set(err, ERR_DENIED, "roots: other roots than those that are in force");
    if (anchor_crl_number(c->people) < anchor_crl_number(previous->people) ||
        anchor_crl_number(c->machines) < anchor_crl_number(previous->machines))
        return err_set(err, ERR_STALE, "roots: an older list of revocations");
    return 0;
}

/* The roster in force once more, or one that follows it. */
static int take_roster(struct court *c, const struct court *previous, msec at, struct err *err)
{
    bool same = previous != NULL && strcmp(previous->text, c->text) == 0;
    const struct roster *follows = previous != NULL && !same ? previous->roster : NULL;
    return roster_verify(c->text, strlen(c->text), c->people, &c->cluster, follows, at, &c->roster,
                         err);
}

static int court_new(const struct cluster *cluster, const struct trust_roots *roots,
                     const struct court *previous, msec at, struct court **ret, struct err *err)
{
    _cleanup_(court_freep) struct court *c = xcalloc(1, sizeof *c);
    c->cluster = *cluster;
    c->machines_pem = xstrdup(roots->machines);
    c->people_pem = xstrdup(roots->people);
    c->crl = xstrdup(roots->crl);
    c->text = xstrdup(roots->roster);
    int rc;
    if ((rc = anchor_new(c->machines_pem, c->crl, &c->machines, err)) < 0 ||
        (rc = anchor_new(c->people_pem, c->crl, &c->people, err)) < 0 ||
        (previous != NULL && (rc = check_follows(c, previous, err)) < 0) ||
        (rc = take_roster(c, previous, at, err)) < 0)
        return rc;
    c->roots = (struct trust_roots){
        .machines = c->machines_pem,
        .people = c->people_pem,
        .crl = c->crl,
        .roster = c->text,
        .revocations = anchor_crl_number(c->machines) + anchor_crl_number(c->people),
        .roster_version = c->roster->version,
    };
    *ret = TAKE_PTR(c);
    return 0;
}

/* ---- as agent/core/trust.h ---- */

static int verify_agreed(void *arg, const uint8_t *bytes, size_t len, msec wall,
                         struct trust_command *ret, struct err *err)
{
    return court_verify(arg, bytes, len, wall, ret, err);
}

static const struct trust_roots *agreed_roots(const struct trust *trust)
{
    return &((const struct court *)trust->arg)->roots;
}

static const struct gate_rules *agreed_gates(const struct trust *trust)
{
    return ((const struct court *)trust->arg)->roster->gates;
}

static void drop(struct trust *trust)
{
    court_free(trust->arg);
}

static int follow(void *arg, const struct trust_roots *roots, const struct trust *previous, msec at,
                  struct trust **ret, struct err *err)
{
    const struct trust_store *store = arg;
    struct court *c;
    int rc =
        court_new(&store->cluster, roots, previous != NULL ? previous->arg : NULL, at, &c, err);
    if (rc < 0)
        return rc;
    c->trust = (struct trust){
        .arg = c, .verify = verify_agreed, .roots = agreed_roots, .gates = agreed_gates};
    *ret = &c->trust;
    return 0;
}

static int verify(void *arg, const uint8_t *bytes, size_t len, msec wall, struct trust_command *ret,
                  struct err *err)
{
    return court_verify(((const struct trust_store *)arg)->own, bytes, len, wall, ret, err);
}

static const struct trust_roots *own_roots(const struct trust *trust)
{
    return &((const struct trust_store *)trust->arg)->own->roots;
}

static const struct gate_rules *own_gates(const struct trust *trust)
{
    return ((const struct trust_store *)trust->arg)->own->roster->gates;
}

/* ---- this host's files ---- */

static char *path_of(const struct trust_store *store, const char *name)
{
    return xasprintf("%s/%s", store->directory, name);
}

static int read_file(const struct trust_store *store, const char *name, size_t max, char **ret,
                     struct err *err)
{
    _cleanup_(freep) char *path = path_of(store, name);
    return file_read(path, max, ret, NULL, err);
}

int trust_reload(struct trust_store *store, msec wall, struct err *err)
{
    _cleanup_(freep) char *machines = NULL, *people = NULL, *crl = NULL, *roster = NULL;
    struct court *c;
    int rc;
    if ((rc = read_file(store, "machines.pem", PEM_MAX, &machines, err)) < 0 ||
        (rc = read_file(store, "people.pem", PEM_MAX, &people, err)) < 0 ||
        (rc = read_file(store, "crl.pem", CRL_MAX, &crl, err)) < 0 ||
        (rc = read_file(store, "roster.json", ROSTER_MAX, &roster, err)) < 0)
        return rc;
    struct trust_roots roots = {machines, people, crl, roster, 0, 0};
    /* Its files are the host's own word: only the roster must follow, and may stay the same. */
    if ((rc = court_new(&store->cluster, &roots, NULL, wall, &c, err)) < 0)
        return err_wrap(err, "%s", store->directory);
    if (store->own != NULL && strcmp(store->own->text, c->text) != 0) {
        struct roster *checked = NULL;
        rc = roster_verify(c->text, strlen(c->text), c->people, &c->cluster, store->own->roster,
                           wall, &checked, err);
        roster_free(checked);
        if (rc < 0) {
            court_free(c);
            return err_wrap(err, "%s/roster.json", store->directory);
        }
    }
    court_free(store->own);
    store->own = c;
    return 0;
}

/* What is kept of what the voters agreed on must survive a restart. */
static int keep(const struct trust_store *store, const char *name, const char *text,
                struct err *err)
{
    _cleanup_(freep) char *path = path_of(store, name);
    return file_write(path, text, strlen(text), 0644, FILE_ANY_GROUP, err);
}

int trust_adopt(struct trust_store *store, const struct trust_roots *told, msec wall,
                bool *ret_changed, struct err *err)
{
    const struct court *own = store->own;
    _cleanup_(court_freep) struct court *theirs = NULL, *c = NULL;
    *ret_changed = false;
    if (strcmp(told->crl, own->crl) == 0 && strcmp(told->roster, own->text) == 0)
        return 0;
    int rc = court_new(&store->cluster, told, NULL, wall, &theirs, err); /* for its numbers */
    if (rc < 0)
        return rc;
    struct trust_roots next = own->roots;
    if (theirs->roots.revocations > own->roots.revocations)
        next.crl = theirs->crl;
    if (theirs->roots.roster_version > own->roots.roster_version)
        next.roster = theirs->text;
    if (next.crl == own->roots.crl && next.roster == own->roots.roster)
        return 0;
    if ((rc = court_new(&store->cluster, &next, own, wall, &c, err)) < 0 ||
        (rc = keep(store, "crl.pem", c->crl, err)) < 0 ||
        (rc = keep(store, "roster.json", c->text, err)) < 0)
        return rc;
    court_free(store->own);
    store->own = TAKE_PTR(c);
    *ret_changed = true;
    return 0;
}

int trust_open(const char *directory, msec wall, struct trust_store **ret, struct err *err)
{
    struct trust_store *store = xcalloc(1, sizeof *store);
    _cleanup_(freep) char *cluster = xasprintf("%s/cluster.json", directory);
    store->directory = xstrdup(directory);
    store->trust = (struct trust){.arg = store,
                                  .verify = verify,
                                  .follow = follow,
                                  .drop = drop,
                                  .roots = own_roots,
                                  .gates = own_gates};
    int rc = cluster_load(cluster, &store->cluster, err);
    if (rc >= 0)
        rc = trust_reload(store, wall, err);
    if (rc < 0) {
        trust_close(store);
        return rc;
    }
    *ret = store;
    return 0;
}

int trust_guest(const struct trust_store *store, void *session, msec wall, struct guest *ret,
                struct err *err)
{
    const struct court *c = store->own;
    return guest_judge(session, c->people, c->roster, &store->cluster, wall, ret, err);
}

int trust_member(const struct trust_store *store, const struct chain *chain, enum identity_use use,
                 msec wall, struct subject *ret, struct err *err)
{
    return anchor_verify(store->own->machines, chain->crts, chain->n, store->cluster.name, use,
                         wall, ret, err);
}

int trust_issuer(const struct trust_store *store, gnutls_x509_crt_t issuer, msec wall,
                 struct err *err)
{
    return anchor_verify_issuer(store->own->machines, issuer, wall, err);
}

void trust_close(struct trust_store *store)
{
    if (store == NULL)
        return;
    court_free(store->own);
    free(store->directory);
    free(store);
}

const struct trust *trust_of(const struct trust_store *store)
{
    return &store->trust;
}

const struct cluster *trust_cluster(const struct trust_store *store)
{
    return &store->cluster;
}
