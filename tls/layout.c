#include "tls/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/util.h"
#include "tls/file.h"
#include "tls/pki.h"

static int put(const struct layout *l, const char *name, const char *text, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", l->out, name);
    return file_write(path, text, strlen(text), FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
}

static int put_key(const struct layout *l, const char *name, gnutls_x509_privkey_t key, mode_t mode,
                   gid_t group, struct err *err)
{
    _cleanup_(freep) char *pem = NULL, *path = xasprintf("%s/%s", l->out, name);
    int rc = pki_key_pem(key, NULL, &pem, err);
    if (rc < 0)
        return rc;
    rc = file_write(path, pem, strlen(pem), mode, group, err);
    explicit_bzero(pem, strlen(pem));
    return rc;
}

static int make_directory(const struct layout *l, const char *name, mode_t mode, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", l->out, name);
    return file_make_directory(path, mode, err);
}

static int put_libvirt(const struct layout *l, const char *authorities, const char *chain,
                       gnutls_x509_privkey_t key, struct err *err)
{
    static const char server_key[] = "libvirt/private/serverkey.pem",
                      client_key[] = "libvirt/private/clientkey.pem";
    int rc;
    if ((rc = make_directory(l, "CA", 0755, err)) < 0 ||
        (rc = make_directory(l, "libvirt", 0755, err)) < 0 ||
        (rc = make_directory(l, "libvirt/private", 0700, err)) < 0 ||
        (rc = put_key(l, server_key, key, FILE_KEY_MODE, FILE_ANY_GROUP, err)) < 0 ||
        (rc = put_key(l, client_key, key, FILE_KEY_MODE, FILE_ANY_GROUP, err)) < 0 ||
        (rc = put(l, "CA/cacert.pem", authorities, err)) < 0 ||
        (rc = put(l, "libvirt/servercert.pem", chain, err)) < 0)
        return rc;
    return put(l, "libvirt/clientcert.pem", chain, err);
}

static int put_qemu(const struct layout *l, const char *authorities, const char *chain,
                    gnutls_x509_privkey_t key, struct err *err)
{
    bool shared = l->qemu_group != FILE_ANY_GROUP;
    mode_t mode = shared ? 0640 : FILE_KEY_MODE;
    _cleanup_(freep) char *home = xasprintf("%s/qemu", l->out);
    int rc;
    if ((rc = make_directory(l, "qemu", 0755, err)) < 0 ||
        (rc = put_key(l, "qemu/server-key.pem", key, mode, l->qemu_group, err)) < 0 ||
        (rc = put_key(l, "qemu/client-key.pem", key, mode, l->qemu_group, err)) < 0 ||
        (rc = put(l, "qemu/ca-cert.pem", authorities, err)) < 0 ||
        (rc = put(l, "qemu/server-cert.pem", chain, err)) < 0 ||
        (rc = put(l, "qemu/client-cert.pem", chain, err)) < 0)
        return rc;
    if (chmod(home, shared ? 0750 : 0700) < 0 ||
        (shared && chown(home, (uid_t)-1, l->qemu_group) < 0))
        return err_set(err, ERR_IO, "%s: %s", home, strerror(errno));
    return 0;
}

static int put_agent(const struct layout *l, const char *chain, gnutls_x509_privkey_t key,
                     struct err *err)
{
    int rc;
    if ((rc = make_directory(l, "skein", 0700, err)) < 0 ||
        (rc = put_key(l, "skein/host.key", key, FILE_KEY_MODE, FILE_ANY_GROUP, err)) < 0)
        return rc;
    return put(l, "skein/host.pem", chain, err);
}

int layout_put(const struct layout *l, enum identity_use use, const char *certificate,
               gnutls_x509_privkey_t key, struct err *err)
{
    const char *issuer = l->issuer != NULL ? l->issuer : "";
    _cleanup_(freep) char *chain = xasprintf("%s%s", certificate, issuer);
    _cleanup_(freep) char *authorities = xasprintf("%s%s", l->machines, issuer);
    int rc = file_make_directory(l->out, 0755, err);
    if (rc < 0)
        return rc;
    REQUIRE(use == USE_AGENT || use == USE_LIBVIRT || use == USE_QEMU);
    if (use == USE_AGENT)
        return put_agent(l, chain, key, err);
    return use == USE_LIBVIRT ? put_libvirt(l, authorities, chain, key, err)
                              : put_qemu(l, authorities, chain, key, err);
}

int layout_put_rest(const struct layout *l, struct err *err)
{
    _cleanup_(freep) char *cluster = xasprintf("%s/skein/cluster.json", l->out);
    int rc;
    if ((rc = make_directory(l, "skein", 0700, err)) < 0 ||
        (rc = put(l, "skein/machines.pem", l->machines, err)) < 0 ||
        (rc = put(l, "skein/people.pem", l->people, err)) < 0 ||
        (rc = put(l, "skein/crl.pem", l->crl, err)) < 0 ||
        (rc = put(l, "skein/roster.json", l->roster, err)) < 0)
        return rc;
    return cluster_save(cluster, l->cluster, err);
}
