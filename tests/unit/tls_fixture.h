/* tls_fixture.h - a cluster's roots and identities for the tests of tls/, in memory and on disk. */
#ifndef SKEIN_TESTS_TLS_FIXTURE_H
#define SKEIN_TESTS_TLS_FIXTURE_H

#include "tests/lib/test.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "tls/anchor.h"
#include "tls/file.h"
#include "tls/handles.h"
#include "tls/identity.h"
#include "tls/pki.h"
#include "tls/roster.h"

#define NOW ((msec)1795000000000) /* November 2026 */
#define DAY ((msec)86400000)
#define PERSONS_PASSPHRASE "correct horse"

struct world {
    char directory[64];
    struct cluster cluster;
    struct pki_root machines, people;
    struct anchor *people_anchor; /* without revocations */
};

static inline char *path_in(const struct world *w, const char *name)
{
    return xasprintf("%s/%s", w->directory, name);
}

static inline void write_text(const struct world *w, const char *name, const char *text)
{
    struct err err = {0};
    _cleanup_(freep) char *path = path_in(w, name);
    assert_ok(file_write(path, text, strlen(text), 0600, FILE_ANY_GROUP, &err), &err);
}

static inline void world_init(struct world *w, const char *cluster, const char *uuid)
{
    struct err err = {0};
    *w = (struct world){0};
    snprintf(w->directory, sizeof w->directory, "/tmp/skein-tls-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    snprintf(w->cluster.name, sizeof w->cluster.name, "%s", cluster);
    snprintf(w->cluster.uuid, sizeof w->cluster.uuid, "%s", uuid);
    assert_ok(pki_root_create(&w->cluster, ROOT_MACHINES, 3650, NOW, &w->machines, &err), &err);
    assert_ok(pki_root_create(&w->cluster, ROOT_PEOPLE, 3650, NOW, &w->people, &err), &err);
    _cleanup_(freep) char *pem = pki_crt_pem(w->people.crt);
    assert_ok(anchor_new(pem, NULL, &w->people_anchor, &err), &err);
}

static inline void remove_tree(const char *directory)
{
    struct dirent **entries;
    int n = scandir(directory, &entries, NULL, NULL);
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", directory, entries[i]->d_name);
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0 &&
            unlink(path) < 0)
            remove_tree(path);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
    rmdir(directory);
}

static inline void world_done(struct world *w)
{
    remove_tree(w->directory);
    pki_root_done(&w->machines);
    pki_root_done(&w->people);
    anchor_free(w->people_anchor);
}

/* NAME.pem and NAME.key in the world's directory; a copy of the certificate when ret_crt. */
static inline void make_pair(const struct world *w, enum identity_use use, const char *name,
                             int days, msec now, const char *passphrase, gnutls_x509_crt_t *ret_crt)
{
    struct err err = {0};
    _cleanup_(pki_pair_done) struct pki_pair pair = {0};
    struct pki_request request = {.use = use, .name = name, .days = days};
    const struct pki_root *root = use == USE_PERSON ? &w->people : &w->machines;
    assert_ok(pki_issue(root, &w->cluster, &request, now, &pair, &err), &err);
    _cleanup_(freep) char *crt = pki_crt_pem(pair.crt), *key = NULL;
    assert_ok(pki_key_pem(pair.key, passphrase, &key, &err), &err);
    _cleanup_(freep) char *crt_name = xasprintf("%s.pem", name);
    _cleanup_(freep) char *key_name = xasprintf("%s.key", name);
    write_text(w, crt_name, crt);
    write_text(w, key_name, key);
    if (ret_crt != NULL)
        *ret_crt = TAKE_PTR(pair.crt);
}

static inline struct identity *load_pair(const struct world *w, const char *name)
{
    struct err err = {0};
    struct identity *id = NULL;
    _cleanup_(freep) char *crt_name = xasprintf("%s/%s.pem", w->directory, name);
    _cleanup_(freep) char *key_name = xasprintf("%s/%s.key", w->directory, name);
    assert_ok(identity_load(crt_name, key_name, NULL, NULL, &id, &err), &err);
    return id;
}

static inline struct identity *make_person(const struct world *w, const char *name)
{
    make_pair(w, USE_PERSON, name, 365, NOW, NULL, NULL);
    return load_pair(w, name);
}

/* The people's anchor with a certificate revoked. */
static inline struct anchor *people_without(const struct world *w, gnutls_x509_crt_t revoked)
{
    struct err err = {0};
    struct anchor *anchor = NULL;
    _cleanup_(freep) char *root = pki_crt_pem(w->people.crt), *crl = NULL;
    assert_ok(pki_crl(&w->people, NULL, revoked, 30, NOW, &crl, &err), &err);
    assert_ok(anchor_new(root, crl, &anchor, &err), &err);
    return anchor;
}

#define UUID_ONE "11111111-1111-4111-8111-111111111111"
#define UUID_TWO "22222222-2222-4222-8222-222222222222"

#endif
