/* layout.h - a host's certificates and keys where their readers look for them, below out:
 *   CA/cacert.pem; libvirt/{servercert,clientcert}.pem, libvirt/private/{serverkey,clientkey}.pem;
 *   qemu/{ca-cert,server-cert,server-key,client-cert,client-key}.pem;
 *   skein/{machines.pem,people.pem,crl.pem,host.pem,host.key,roster.json,cluster.json}
 * What an intermediate signed stands with it in one file, which all of them show to their peers.
 * libvirt and QEMU check their own certificate at their start by their list of authorities alone:
 * there the intermediate stands beside the root. */
#ifndef SKEIN_TLS_LAYOUT_H
#define SKEIN_TLS_LAYOUT_H

#include <gnutls/x509.h>
#include <sys/types.h>

#include "tls/names.h"

struct layout {
    const char *out;
    gid_t qemu_group; /* may read QEMU's keys; FILE_ANY_GROUP: none */
    const struct cluster *cluster;
    const char *machines, *people, *crl, *roster; /* as files hold them */
    const char *issuer;                           /* PEM of the intermediate; NULL: none */
};

/* certificate: PEM of the leaf. The key of a use comes before its certificate. */
int layout_put(const struct layout *l, enum identity_use use, const char *certificate,
               gnutls_x509_privkey_t key, struct err *err);
/* What the agent judges others by. */
int layout_put_rest(const struct layout *l, struct err *err);

#endif
