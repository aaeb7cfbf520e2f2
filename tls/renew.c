#include "tls/renew.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tls/anchor.h"
#include "tls/ask.h"
#include "tls/file.h"
#include "tls/handles.h"
#include "tls/join.h"
#include "tls/layout.h"
#include "tls/pki.h"

#define PEM_MAX 65536
#define CRL_MAX (4 << 20)
#define ROSTER_FILE_MAX (1 << 20)

/* A use's files, below out. */
static const struct {
    const char *certificate, *key;
} files[JOIN_USES] = {
    [USE_AGENT] = {"skein/host.pem", "skein/host.key"},
    [USE_LIBVIRT] = {"libvirt/servercert.pem", "libvirt/private/serverkey.pem"},
    [USE_QEMU] = {"qemu/server-cert.pem", "qemu/server-key.pem"},
};

/* What this host holds now. */
struct held {
    struct cluster cluster;
    char *certificates[JOIN_USES], *keys_pem[JOIN_USES]; /* owned; NULL: not held */
    gnutls_x509_privkey_t keys[JOIN_USES];               /* owned; of what is asked for */
    char *machines, *people, *crl, *roster;              /* owned */
};

static void held_done(struct held *h)
{
    for (size_t i = 0; i < JOIN_USES; i++) {
        free(h->certificates[i]);
        if (h->keys_pem[i] != NULL)
            explicit_bzero(h->keys_pem[i], strlen(h->keys_pem[i]));
        free(h->keys_pem[i]);
        key_freep(&h->keys[i]);
    }
    free(h->machines);
    free(h->people);
    free(h->crl);
    free(h->roster);
}

static int get(const struct renewal *r, const char *name, size_t max, char **ret, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", r->out, name);
    return file_read(path, max, ret, NULL, err);
}

static int make_key(const struct renewal *r, struct held *h, enum identity_use use, struct err *err)
{
    gnutls_datum_t in = datum_text(h->keys_pem[use]);
    if (r->new_keys)
        return pki_key_generate(use, &h->keys[use], err);
    int rc = gnutls_x509_privkey_init(&h->keys[use]);
    if (rc == 0)
        rc = gnutls_x509_privkey_import2(h->keys[use], &in, GNUTLS_X509_FMT_PEM, NULL, 0);
    return rc < 0 ? tls_error(err, rc, "%s/%s", r->out, files[use].key) : 0;
}

/* libvirt's and QEMU's go together; the agent's is always there. */
static int read_use(const struct renewal *r, struct held *h, enum identity_use use, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", r->out, files[use].certificate);
    int rc;
    if (use != USE_AGENT && !file_exists(path))
        return 0;
    if ((rc = get(r, files[use].certificate, PEM_MAX, &h->certificates[use], err)) < 0 ||
        (rc = get(r, files[use].key, PEM_MAX, &h->keys_pem[use], err)) < 0)
        return rc;
    return make_key(r, h, use, err);
}

static int read_held(const struct renewal *r, struct held *h, struct err *err)
{
    _cleanup_(freep) char *cluster = xasprintf("%s/skein/cluster.json", r->out);
    int rc;
    if ((rc = cluster_load(cluster, &h->cluster, err)) < 0 ||
        (rc = get(r, "skein/machines.pem", PEM_MAX, &h->machines, err)) < 0 ||
        (rc = get(r, "skein/people.pem", PEM_MAX, &h->people, err)) < 0 ||
        (rc = get(r, "skein/crl.pem", CRL_MAX, &h->crl, err)) < 0 ||
        (rc = get(r, "skein/roster.json", ROSTER_FILE_MAX, &h->roster, err)) < 0)
        return rc;
    for (enum identity_use use = 0; use < JOIN_USES; use++)
        if ((rc = read_use(r, h, use, err)) < 0)
            return rc;
    return 0;
}

/* Who may read QEMU's key stays so. */
static gid_t qemu_group(const struct renewal *r)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", r->out, files[USE_QEMU].key);
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IRGRP) != 0 ? st.st_gid : FILE_ANY_GROUP;
}

/* Roots, revocations and roster stay as this host has them: they come by their own way. */
static int put(const struct renewal *r, const struct held *h, const struct join_answer *answer,
               struct err *err)
{
    struct layout layout = {
        .out = r->out,
        .qemu_group = qemu_group(r),
        .cluster = &h->cluster,
        .machines = h->machines,
        .issuer = answer->issuer,
    };
    for (enum identity_use use = 0; use < JOIN_USES; use++) {
        int rc = h->keys[use] != NULL
                     ? layout_put(&layout, use, answer->certificates[use], h->keys[use], err)
                     : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* In whose name it is held. */
static int own_name(const struct held *h, char ret[NAME_SIZE], struct err *err)
{
    _cleanup_(chain_done) struct chain chain = {.n = 0};
    struct subject subject;
    int rc;
    if ((rc = chain_read(h->certificates[USE_AGENT], &chain, err)) < 0 ||
        (rc = subject_read(chain.crts[0], h->cluster.name, &subject, err)) < 0)
        return rc;
    memcpy(ret, subject.name, sizeof subject.name);
    return 0;
}

/* The digest of the root that this host has, by which the answer is judged. */
static int root_digest(const struct held *h, char ret[HASH_HEX_SIZE], struct err *err)
{
    _cleanup_(chain_done) struct chain roots = {.n = 0};
    int rc = chain_read(h->machines, &roots, err);
    return rc < 0 ? rc : spki_digest(roots.crts[0], ret, err);
}

int renew(const struct renewal *r, struct err *err)
{
    _cleanup_(held_done) struct held h = {.machines = NULL};
    _cleanup_(join_answer_done) struct join_answer answer = {.doc = NULL};
    _cleanup_(freep) char *request = NULL, *text = NULL;
    char root[HASH_HEX_SIZE], host[NAME_SIZE];
    size_t len;
    int rc;
    if ((rc = read_held(r, &h, err)) < 0 || (rc = root_digest(&h, root, err)) < 0 ||
        (rc = own_name(&h, host, err)) < 0 ||
        (rc = join_request_write(host, NULL, h.keys, h.certificates, &request, err)) < 0)
        return rc;
    struct ask question = {.address = r->from,
                           .cluster = h.cluster.name,
                           .machines = h.machines,
                           .crl = h.crl,
                           .certificate = h.certificates[USE_AGENT],
                           .key = h.keys_pem[USE_AGENT],
                           .now = r->now};
    if ((rc = ask(&question, "/v1/renew", request, JOIN_ANSWER_MAX, &text, &len, err)) < 0 ||
        (rc = join_answer_read(text, len, &answer, err)) < 0 ||
        (rc = join_answer_check(&answer, root, h.cluster.name, host, h.keys, r->now, err)) < 0)
        return rc;
    return put(r, &h, &answer, err);
}
