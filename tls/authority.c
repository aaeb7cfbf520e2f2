#include "tls/authority.h"

#include <dirent.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/canon.h"
#include "tls/anchor.h"
#include "tls/authority_priv.h"
#include "tls/file.h"
#include "tls/handles.h"
#include "tls/layout.h"

#define CRL_DAYS 365 /* until the list must be renewed, if nothing was revoked before */
#define CRL_MAX (4 << 20)

static int put_mode(const char *directory, const char *name, const char *text, mode_t mode,
                    gid_t group, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    return file_write(path, text, strlen(text), mode, group, err);
}

static int put(const char *directory, const char *name, const char *text, struct err *err)
{
    return put_mode(directory, name, text, FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
}

static int put_key(const char *directory, const char *name, gnutls_x509_privkey_t key,
                   const char *passphrase, mode_t mode, gid_t group, struct err *err)
{
    _cleanup_(freep) char *pem = NULL;
    int rc = pki_key_pem(key, passphrase, &pem, err);
    if (rc < 0)
        return rc;
    rc = put_mode(directory, name, pem, mode, group, err);
    gnutls_memset(pem, 0, strlen(pem));
    return rc;
}

static int put_crt(const char *directory, const char *name, gnutls_x509_crt_t crt, struct err *err)
{
    _cleanup_(freep) char *pem = pki_crt_pem(crt);
    return put(directory, name, pem, err);
}

static int get(const char *directory, const char *name, size_t max, char **ret, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    return file_read(path, max, ret, NULL, err);
}

static int make_directory(const char *directory, const char *name, mode_t mode, char **ret,
                          struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    int rc = file_make_directory(path, mode, err);
    if (rc == 0)
        *ret = TAKE_PTR(path);
    return rc;
}

static int record(const char *directory, gnutls_x509_crt_t crt, struct err *err)
{
    char serial[SERIAL_SIZE];
    pki_serial(crt, serial);
    _cleanup_(freep) char *name = xasprintf("issued/%s.pem", serial);
    return put_crt(directory, name, crt, err);
}

/* NAME.pem and NAME.key in directory. */
static int put_person(const char *directory, const char *name, const struct pki_pair *pair,
                      const char *passphrase, struct err *err)
{
    _cleanup_(freep) char *crt = xasprintf("%s.pem", name), *key = xasprintf("%s.key", name);
    int rc = put_key(directory, key, pair->key, passphrase, FILE_KEY_MODE, FILE_ANY_GROUP, err);
    return rc < 0 ? rc : put_crt(directory, crt, pair->crt, err);
}

/* Both roots' lists in one file, as all that read lists take it. */
static int write_crl(const char *directory, const struct pki_root *machines,
                     const struct pki_root *people, const char *previous, gnutls_x509_crt_t revoke,
                     bool revoke_person, msec now, struct err *err)
{
    _cleanup_(freep) char *a = NULL, *b = NULL;
    int rc;
    if ((rc = pki_crl(machines, previous, revoke_person ? NULL : revoke, CRL_DAYS, now, &a, err)) <
            0 ||
        (rc = pki_crl(people, previous, revoke_person ? revoke : NULL, CRL_DAYS, now, &b, err)) < 0)
        return rc;
    _cleanup_(freep) char *both = xasprintf("%s%s", a, b);
    return put(directory, "crl.pem", both, err);
}

static char *ask_given(void *user, const char *path _unused_)
{
    return user != NULL ? xstrdup(user) : NULL;
}

static int first_roster(const char *directory, const struct cluster *cluster, const char *admin,
                        const char *passphrase, msec now, struct err *err)
{
    _cleanup_(identity_freep) struct identity *id = NULL;
    _cleanup_(freep) char *text = NULL;
    int rc =
        authority_load_admin(directory, admin, ask_given, (void *)(uintptr_t)passphrase, &id, err);
    if (rc < 0)
        return rc;
    struct roster_person first = {.roles = ROLE_ADMIN};
    snprintf(first.name, sizeof first.name, "%s", admin);
    snprintf(first.key, sizeof first.key, "%s", identity_key(id));
    struct roster roster = {.version = 1, .threshold = 1, .issued_at = now};
    memcpy(roster.cluster, cluster->uuid, sizeof roster.cluster);
    roster.people = &first;
    roster.n_people = 1;
    if ((rc = roster_sign(&roster, id, &text, err)) < 0)
        return rc;
    return put(directory, "roster.json", text, err);
}

static int create_admin(const char *directory, const struct cluster *cluster,
                        const struct pki_root *people, const char *admin, const char *passphrase,
                        msec now, struct err *err)
{
    _cleanup_(pki_pair_done) struct pki_pair pair = {0};
    _cleanup_(freep) char *home = NULL;
    struct pki_request request = {.use = USE_PERSON, .name = admin, .days = PKI_LEAF_DAYS};
    int rc;
    if ((rc = make_directory(directory, "people", 0700, &home, err)) < 0 ||
        (rc = pki_issue(people, cluster, &request, now, &pair, err)) < 0 ||
        (rc = put_person(home, admin, &pair, passphrase, err)) < 0)
        return rc;
    return record(directory, pair.crt, err);
}

static int check_unused(const char *directory, struct err *err)
{
    static const char *const names[] = {"machines.pem", "machines.key", "people.pem",
                                        "people.key",   "crl.pem",      "cluster.json",
                                        "roster.json",  "people",       "issued"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", directory, names[i]);
        if (file_exists(path))
            return err_set(err, ERR_EXISTS, "%s exists: nothing was changed", path);
    }
    return 0;
}

int authority_create(const char *directory, const struct cluster *cluster, const char *admin,
                     const char *passphrase, msec now, struct err *err)
{
    _cleanup_(pki_root_done) struct pki_root machines = {0};
    _cleanup_(pki_root_done) struct pki_root people = {0};
    _cleanup_(freep) char *issued = NULL, *path = xasprintf("%s/cluster.json", directory);
    int rc;
    if ((rc = name_check("person", admin, err)) < 0 || (rc = check_unused(directory, err)) < 0 ||
        (rc = file_make_directory(directory, 0700, err)) < 0 ||
        (rc = make_directory(directory, "issued", 0700, &issued, err)) < 0 ||
        (rc = pki_root_create(cluster, ROOT_MACHINES, PKI_ROOT_DAYS, now, &machines, err)) < 0 ||
        (rc = pki_root_create(cluster, ROOT_PEOPLE, PKI_ROOT_DAYS, now, &people, err)) < 0 ||
        (rc = pki_root_save(directory, &machines, err)) < 0 ||
        (rc = pki_root_save(directory, &people, err)) < 0 ||
        (rc = write_crl(directory, &machines, &people, NULL, NULL, false, now, err)) < 0 ||
        (rc = create_admin(directory, cluster, &people, admin, passphrase, now, err)) < 0 ||
        (rc = first_roster(directory, cluster, admin, passphrase, now, err)) < 0)
        return rc;
    return cluster_save(path, cluster, err);
}

void authority_done(struct authority *a)
{
    pki_root_done(&a->machines);
    pki_root_done(&a->people);
    free(a->directory);
    free(a->crl);
    free(a->roster_text);
    roster_free(a->roster);
    anchor_free(a->anchor);
    *a = (struct authority){0};
}

static int load_anchor(struct authority *a, struct err *err)
{
    _cleanup_(freep) char *people = pki_crt_pem(a->people.crt);
    return anchor_new(people, a->crl, &a->anchor, err);
}

int authority_open(const char *directory, msec now, struct authority *ret, struct err *err)
{
    _cleanup_(authority_done) struct authority a = {.directory = xstrdup(directory)};
    _cleanup_(freep) char *cluster = xasprintf("%s/cluster.json", directory);
    int rc;
    if (!file_exists(cluster))
        return err_set(err, ERR_NOT_FOUND, "%s: not a directory made by \"skein init\"", directory);
    if ((rc = cluster_load(cluster, &a.cluster, err)) < 0 ||
        (rc = pki_root_load(directory, ROOT_MACHINES, &a.machines, err)) < 0 ||
        (rc = pki_root_load(directory, ROOT_PEOPLE, &a.people, err)) < 0 ||
        (rc = get(directory, "crl.pem", CRL_MAX, &a.crl, err)) < 0 ||
        (rc = get(directory, "roster.json", ROSTER_MAX, &a.roster_text, err)) < 0 ||
        (rc = load_anchor(&a, err)) < 0)
        return rc;
    rc = roster_verify(a.roster_text, strlen(a.roster_text), a.anchor, &a.cluster, NULL, now,
                       &a.roster, err);
    if (rc < 0)
        return err_wrap(err, "%s/roster.json", directory);
    *ret = a;
    a = (struct authority){0};
    return 0;
}

static int issue_host_use(const struct authority *a, const struct pki_request *template,
                          enum identity_use use, msec now, struct pki_pair *ret, struct err *err)
{
    struct pki_request request = *template;
    request.use = use;
    int rc = pki_issue(&a->machines, &a->cluster, &request, now, ret, err);
    return rc < 0 ? rc : record(a->directory, ret->crt, err);
}

/* For each use that is wanted; the others stay as they are. */
static int issue_uses(const struct authority *a, const struct pki_request *request, bool agent_only,
                      const char *out, gid_t qemu_group, msec now, struct err *err)
{
    static const enum identity_use uses[] = {USE_LIBVIRT, USE_QEMU, USE_AGENT};

    _cleanup_(freep) char *machines = pki_crt_pem(a->machines.crt);
    _cleanup_(freep) char *people = pki_crt_pem(a->people.crt);
    struct layout layout = {
        .out = out,
        .qemu_group = qemu_group,
        .cluster = &a->cluster,
        .machines = machines,
        .people = people,
        .crl = a->crl,
        .roster = a->roster_text,
    };
    for (size_t i = agent_only ? 2 : 0; i < ARRAY_SIZE(uses); i++) {
        _cleanup_(pki_pair_done) struct pki_pair pair = {0};
        int rc = issue_host_use(a, request, uses[i], now, &pair, err);
        if (rc < 0)
            return rc;
        _cleanup_(freep) char *crt = pki_crt_pem(pair.crt);
        if ((rc = layout_put(&layout, uses[i], crt, pair.key, err)) < 0)
            return rc;
    }
    return layout_put_rest(&layout, err);
}

int authority_issue_host(const struct authority *a, const struct pki_request *request,
                         const char *out, gid_t qemu_group, msec now, struct err *err)
{
    return issue_uses(a, request, false, out, qemu_group, now, err);
}

int authority_issue_agent(const struct authority *a, const struct pki_request *request,
                          const char *out, msec now, struct err *err)
{
    return issue_uses(a, request, true, out, FILE_ANY_GROUP, now, err);
}

/* Its key stays on that host alone: what it signs is revoked by the root's list. */
int authority_make_issuer(const struct authority *a, const char *host, int days, const char *out,
                          msec now, struct err *err)
{
    _cleanup_(pki_root_done) struct pki_root issuer = {0};
    int rc;
    if ((rc = pki_issuer_create(&a->machines, &a->cluster, host, days, now, &issuer, err)) < 0 ||
        (rc = file_make_directory(out, 0755, err)) < 0 ||
        (rc = put_key(out, "issuer.key", issuer.key, NULL, FILE_KEY_MODE, FILE_ANY_GROUP, err)) <
            0 ||
        (rc = put_crt(out, "issuer.pem", issuer.crt, err)) < 0)
        return rc;
    return record(a->directory, issuer.crt, err);
}

int authority_issue_person(struct authority *a, const struct person_request *request,
                           const char *out, msec now, struct err *err)
{
    _cleanup_(pki_pair_done) struct pki_pair pair = {0};
    _cleanup_(identity_freep) struct identity *admin = NULL;
    _cleanup_(freep) char *text = NULL;
    struct pki_request wanted = {.use = USE_PERSON, .name = request->name, .days = request->days};
    struct roster_person person = {.roles = request->roles};
    struct admin_request by = {.name = request->admin, .ask = request->ask, .user = request->user};
    int rc;
    if ((rc = authority_open_admin(a, &by, &admin, err)) < 0 ||
        (rc = authority_roster_free(a, err)) < 0 ||
        (rc = pki_issue(&a->people, &a->cluster, &wanted, now, &pair, err)) < 0 ||
        (rc = spki_digest(pair.crt, person.key, err)) < 0)
        return rc;
    snprintf(person.name, sizeof person.name, "%s", request->name);
    struct roster_change change = {.person = &person};
    if ((rc = authority_next_roster(a, &change, admin, now, &text, err)) < 0 ||
        (rc = file_make_directory(out, 0700, err)) < 0 ||
        (rc = put_person(out, request->name, &pair, request->passphrase, err)) < 0 ||
        (rc = record(a->directory, pair.crt, err)) < 0)
        return rc;
    return authority_put_roster(a, text, now, err);
}

static bool is_revoked(const struct authority *a, gnutls_x509_crt_t crt)
{
    gnutls_datum_t in = datum_text(a->crl);
    gnutls_x509_crl_t *lists;
    unsigned n;
    if (gnutls_x509_crl_list_import2(&lists, &n, &in, GNUTLS_X509_FMT_PEM, 0) < 0)
        return false;
    bool revoked = false;
    for (unsigned i = 0; i < n; i++) {
        revoked = revoked || crl_names(lists[i], crt);
        gnutls_x509_crl_deinit(lists[i]);
    }
    gnutls_free(lists);
    return revoked;
}

static json_t *entry_json(const char *serial, const char *use, const char *name, const char *key,
                          msec not_before, msec not_after, const char *status)
{
    char from[TIME_TEXT_SIZE], to[TIME_TEXT_SIZE];
    time_format(not_before, from);
    time_format(not_after, to);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "serial", serial, "use", use, "name",
                     name, "key", key, "not_before", from, "not_after", to, "status", status);
}

static const char *status_of(msec not_after, bool revoked, msec now)
{
    return revoked ? "revoked" : now >= not_after ? "expired" : "valid";
}

static int list_root(const struct pki_root *root, const char *name, msec now, json_t *out,
                     struct err *err)
{
    char serial[SERIAL_SIZE], key[HASH_HEX_SIZE];
    msec from = (msec)gnutls_x509_crt_get_activation_time(root->crt) * 1000;
    msec to = (msec)gnutls_x509_crt_get_expiration_time(root->crt) * 1000;
    int rc = spki_digest(root->crt, key, err);
    if (rc < 0)
        return rc;
    pki_serial(root->crt, serial);
    json_array_append_new(
        out, entry_json(serial, "root", name, key, from, to, status_of(to, false, now)));
    return 0;
}

static bool is_authority(gnutls_x509_crt_t crt)
{
    return gnutls_x509_crt_get_basic_constraints(crt, NULL, NULL, NULL) > 0;
}

/* An issuer has no URI: it is nobody's identity. */
static int read_issued(const struct authority *a, gnutls_x509_crt_t crt, struct subject *ret,
                       struct err *err)
{
    size_t len = sizeof ret->name;
    if (!is_authority(crt))
        return subject_read(crt, a->cluster.name, ret, err);
    *ret = (struct subject){.use = USE_COUNT};
    ret->not_before = (msec)gnutls_x509_crt_get_activation_time(crt) * 1000;
    ret->not_after = (msec)gnutls_x509_crt_get_expiration_time(crt) * 1000;
    int rc = gnutls_x509_crt_get_subject_alt_name(crt, 0, ret->name, &len, NULL);
    if (rc < 0 || len >= sizeof ret->name)
        return err_set(err, ERR_INVALID, "an issuer without a host's name");
    ret->name[len] = '\0';
    return spki_digest(crt, ret->key, err);
}

static int list_issued(const struct authority *a, const char *path, msec now, json_t *out,
                       struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    struct subject s;
    char serial[SERIAL_SIZE];
    int rc;
    if ((rc = crt_load(path, &crt, err)) < 0)
        return rc;
    if ((rc = read_issued(a, crt, &s, err)) < 0)
        return err_wrap(err, "%s", path);
    pki_serial(crt, serial);
    json_array_append_new(out, entry_json(serial, s.use < USE_COUNT ? use_name(s.use) : "issuer",
                                          s.name, s.key, s.not_before, s.not_after,
                                          status_of(s.not_after, is_revoked(a, crt), now)));
    return 0;
}

static int is_certificate(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 4 && strcmp(entry->d_name + len - 4, ".pem") == 0;
}

int authority_list(const struct authority *a, msec now, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *out = json_array();
    _cleanup_(freep) char *home = xasprintf("%s/issued", a->directory);
    int rc;
    if ((rc = list_root(&a->machines, "machines", now, out, err)) < 0 ||
        (rc = list_root(&a->people, "people", now, out, err)) < 0)
        return rc;
    struct dirent **entries;
    int n = scandir(home, &entries, is_certificate, alphasort);
    if (n < 0)
        return err_set(err, ERR_IO, "%s: %s", home, strerror(errno));
    for (int i = 0; i < n; i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", home, entries[i]->d_name);
        if (rc == 0)
            rc = list_issued(a, path, now, out, err);
        free(entries[i]);
    }
    free(entries);
    if (rc < 0)
        return rc;
    *ret = TAKE_PTR(out);
    return 0;
}

/* What stands in issued/, by its number, or what an issuer below the root made, by its file. */
static int find_revoked(const struct authority *a, const char *which, gnutls_x509_crt_t *ret,
                        struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/issued/%s.pem", a->directory, which);
    if (strchr(which, '/') == NULL && strspn(which, "0123456789ABCDEF") == strlen(which) &&
        which[0] != '\0')
        return crt_load(path, ret, err);
    if (!file_exists(which))
        return err_set(err, ERR_INVALID,
                       "\"%.60s\" is not a serial number (see \"cert list\"), nor a "
                       "certificate's file",
                       which);
    return crt_load(which, ret, err);
}

int authority_revoke(struct authority *a, const char *which, msec now, struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    struct subject s;
    int rc;
    if ((rc = find_revoked(a, which, &crt, err)) < 0 || (rc = read_issued(a, crt, &s, err)) < 0)
        return rc;
    if (is_revoked(a, crt))
        return err_set(err, ERR_EXISTS, "%s is revoked already", which);
    return write_crl(a->directory, &a->machines, &a->people, a->crl, crt, s.use == USE_PERSON, now,
                     err);
}
