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

#define CRL_DAYS 365 /* until the list must be renewed, if nothing was revoked before */
#define CRL_MAX (4 << 20)
#define PEM_MAX 65536

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

static int put_libvirt(const char *out, gnutls_x509_crt_t root, const struct pki_pair *pair,
                       struct err *err)
{
    _cleanup_(freep) char *ca = NULL, *home = NULL, *private = NULL;
    int rc;
    if ((rc = make_directory(out, "CA", 0755, &ca, err)) < 0 ||
        (rc = make_directory(out, "libvirt", 0755, &home, err)) < 0 ||
        (rc = make_directory(out, "libvirt/private", 0700, &private, err)) < 0 ||
        (rc = put_crt(ca, "cacert.pem", root, err)) < 0 ||
        (rc = put_crt(home, "servercert.pem", pair->crt, err)) < 0 ||
        (rc = put_crt(home, "clientcert.pem", pair->crt, err)) < 0 ||
        (rc = put_key(private, "serverkey.pem", pair->key, NULL, FILE_KEY_MODE, FILE_ANY_GROUP,
                      err)) < 0)
        return rc;
    return put_key(private, "clientkey.pem", pair->key, NULL, FILE_KEY_MODE, FILE_ANY_GROUP, err);
}

static int put_qemu(const char *out, gnutls_x509_crt_t root, const struct pki_pair *pair,
                    gid_t group, struct err *err)
{
    _cleanup_(freep) char *home = NULL;
    bool shared = group != FILE_ANY_GROUP;
    mode_t mode = shared ? 0640 : FILE_KEY_MODE;
    int rc;
    if ((rc = make_directory(out, "qemu", 0755, &home, err)) < 0 ||
        (rc = put_crt(home, "ca-cert.pem", root, err)) < 0 ||
        (rc = put_crt(home, "server-cert.pem", pair->crt, err)) < 0 ||
        (rc = put_crt(home, "client-cert.pem", pair->crt, err)) < 0 ||
        (rc = put_key(home, "server-key.pem", pair->key, NULL, mode, group, err)) < 0 ||
        (rc = put_key(home, "client-key.pem", pair->key, NULL, mode, group, err)) < 0)
        return rc;
    if (chmod(home, shared ? 0750 : 0700) < 0 || (shared && chown(home, (uid_t)-1, group) < 0))
        return err_set(err, ERR_IO, "%s: %s", home, strerror(errno));
    return 0;
}

static int put_agent(const struct authority *a, const char *out, const struct pki_pair *pair,
                     struct err *err)
{
    _cleanup_(freep) char *home = NULL, *cluster = xasprintf("%s/skein/cluster.json", out);
    int rc;
    if ((rc = make_directory(out, "skein", 0700, &home, err)) < 0 ||
        (rc = put_crt(home, "machines.pem", a->machines.crt, err)) < 0 ||
        (rc = put_crt(home, "people.pem", a->people.crt, err)) < 0 ||
        (rc = put(home, "crl.pem", a->crl, err)) < 0 ||
        (rc = put(home, "roster.json", a->roster_text, err)) < 0 ||
        (rc = cluster_save(cluster, &a->cluster, err)) < 0 ||
        (rc = put_key(home, "host.key", pair->key, NULL, FILE_KEY_MODE, FILE_ANY_GROUP, err)) < 0)
        return rc;
    return put_crt(home, "host.pem", pair->crt, err);
}

static int issue_host_use(const struct authority *a, const struct pki_request *template,
                          enum identity_use use, msec now, struct pki_pair *ret, struct err *err)
{
    struct pki_request request = *template;
    request.use = use;
    int rc = pki_issue(&a->machines, &a->cluster, &request, now, ret, err);
    return rc < 0 ? rc : record(a->directory, ret->crt, err);
}

int authority_issue_host(const struct authority *a, const struct pki_request *request,
                         const char *out, gid_t qemu_group, msec now, struct err *err)
{
    _cleanup_(pki_pair_done) struct pki_pair libvirt = {0};
    _cleanup_(pki_pair_done) struct pki_pair qemu = {0};
    int rc;
    if ((rc = issue_host_use(a, request, USE_LIBVIRT, now, &libvirt, err)) < 0 ||
        (rc = issue_host_use(a, request, USE_QEMU, now, &qemu, err)) < 0 ||
        (rc = file_make_directory(out, 0755, err)) < 0 ||
        (rc = put_libvirt(out, a->machines.crt, &libvirt, err)) < 0 ||
        (rc = put_qemu(out, a->machines.crt, &qemu, qemu_group, err)) < 0)
        return rc;
    return authority_issue_agent(a, request, out, now, err);
}

int authority_issue_agent(const struct authority *a, const struct pki_request *request,
                          const char *out, msec now, struct err *err)
{
    _cleanup_(pki_pair_done) struct pki_pair agent = {0};
    int rc;
    if ((rc = issue_host_use(a, request, USE_AGENT, now, &agent, err)) < 0 ||
        (rc = file_make_directory(out, 0755, err)) < 0)
        return rc;
    return put_agent(a, out, &agent, err);
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

static int load_issued(const char *path, gnutls_x509_crt_t *ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    int rc = file_read(path, PEM_MAX, &text, NULL, err);
    if (rc < 0)
        return rc;
    gnutls_datum_t in = datum_text(text);
    if ((rc = gnutls_x509_crt_init(&crt)) < 0 ||
        (rc = gnutls_x509_crt_import(crt, &in, GNUTLS_X509_FMT_PEM)) < 0)
        return tls_error(err, rc, "%s", path);
    *ret = TAKE_PTR(crt);
    return 0;
}

static bool is_revoked(const struct authority *a, gnutls_x509_crt_t crt)
{
    gnutls_datum_t in = datum_text(a->crl);
    gnutls_x509_crl_t *lists;
    unsigned n;
    if (gnutls_x509_crl_list_import2(&lists, &n, &in, GNUTLS_X509_FMT_PEM, 0) < 0)
        return false;
    bool revoked = gnutls_x509_crt_check_revocation(crt, lists, n) == 1;
    for (unsigned i = 0; i < n; i++)
        gnutls_x509_crl_deinit(lists[i]);
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

static int list_issued(const struct authority *a, const char *path, msec now, json_t *out,
                       struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    struct subject s;
    char serial[SERIAL_SIZE];
    int rc;
    if ((rc = load_issued(path, &crt, err)) < 0)
        return rc;
    if ((rc = subject_read(crt, a->cluster.name, &s, err)) < 0)
        return err_wrap(err, "%s", path);
    pki_serial(crt, serial);
    json_array_append_new(out,
                          entry_json(serial, use_name(s.use), s.name, s.key, s.not_before,
                                     s.not_after, status_of(s.not_after, is_revoked(a, crt), now)));
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

int authority_revoke(struct authority *a, const char *serial, msec now, struct err *err)
{
    _cleanup_(crt_freep) gnutls_x509_crt_t crt = NULL;
    struct subject s;
    int rc;
    if (serial[0] == '\0' || strspn(serial, "0123456789ABCDEF") != strlen(serial))
        return err_set(err, ERR_INVALID, "\"%.60s\" is not a serial number (see \"cert list\")",
                       serial);
    _cleanup_(freep) char *path = xasprintf("%s/issued/%s.pem", a->directory, serial);
    if ((rc = load_issued(path, &crt, err)) < 0 ||
        (rc = subject_read(crt, a->cluster.name, &s, err)) < 0)
        return rc;
    if (is_revoked(a, crt))
        return err_set(err, ERR_EXISTS, "%s is revoked already", serial);
    return write_crl(a->directory, &a->machines, &a->people, a->crl, crt, s.use == USE_PERSON, now,
                     err);
}
