/* pki.h - the two roots and what they sign.
 * Machines sign hosts: three certificates a host, each with a key of its own (agent, libvirt,
 * QEMU). People sign persons. libvirt and QEMU trust machines alone, so that a person's
 * certificate opens no hypervisor.
 *
 * Keys: libvirt's and QEMU's must be RSA (they demand key encipherment); agents' and persons' are
 * ECDSA P-256, which TLS 1.3 and PKCS#11 tokens both know. The machines root is RSA too, so that
 * whatever libvirt is built against can check it; the people root is P-256.
 * Time is an argument (milliseconds since 1970); randomness comes from GnuTLS. */
#ifndef SKEIN_TLS_PKI_H
#define SKEIN_TLS_PKI_H

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <sys/types.h>

#include "proto/units.h"
#include "proto/util.h"
#include "tls/names.h"

#define PKI_ROOT_DAYS 3650
#define PKI_ISSUER_DAYS 1825
#define PKI_LEAF_DAYS 365

enum pki_root_kind { ROOT_MACHINES, ROOT_PEOPLE };

struct pki_root {
    enum pki_root_kind kind;
    gnutls_x509_crt_t crt;     /* owned */
    gnutls_x509_privkey_t key; /* owned */
};

void pki_root_done(struct pki_root *root);

int pki_root_create(const struct cluster *cluster, enum pki_root_kind kind, int days, msec now,
                    struct pki_root *ret, struct err *err);

/* DIRECTORY/{machines,people}.{pem,key} */
int pki_root_load(const char *directory, enum pki_root_kind kind, struct pki_root *ret,
                  struct err *err);
int pki_root_save(const char *directory, const struct pki_root *root, struct err *err);

/* An intermediate below the machines' root, which issues hosts' certificates in its place: for one
 * host, whose name it carries. Used as a root is, by pki_certify. */
int pki_issuer_create(const struct pki_root *root, const struct cluster *cluster, const char *host,
                      int days, msec now, struct pki_root *ret, struct err *err);
int pki_issuer_load(const char *crt_path, const char *key_path, struct pki_root *ret,
                    struct err *err);

struct pki_request {
    enum identity_use use;
    const char *name;             /* host or person, checked by name_check */
    const char *const *dns;       /* beside the URI; for hosts */
    const char *const *addresses; /* IPv4 or IPv6 */
    size_t n_dns, n_addresses;
    int days;
};

/* A new key of the kind that the use wants. */
int pki_key_generate(enum identity_use use, gnutls_x509_privkey_t *ret, struct err *err);

/* A certificate for a key made elsewhere: the issuer alone decides the names and the use. */
int pki_certify(const struct pki_root *root, const struct cluster *cluster,
                const struct pki_request *request, gnutls_pubkey_t key, msec now,
                gnutls_x509_crt_t *ret, struct err *err);

struct pki_pair {
    gnutls_x509_crt_t crt;     /* owned */
    gnutls_x509_privkey_t key; /* owned */
};

void pki_pair_done(struct pki_pair *pair);

/* pki_key_generate and pki_certify in one. */
int pki_issue(const struct pki_root *root, const struct cluster *cluster,
              const struct pki_request *request, msec now, struct pki_pair *ret, struct err *err);

/* PEM, to be freed. A key is PKCS#8, encrypted (PBES2, AES-256) when a passphrase is given. */
char *pki_crt_pem(gnutls_x509_crt_t crt);
int pki_key_pem(gnutls_x509_privkey_t key, const char *passphrase, char **ret, struct err *err);

/* A list of revoked certificates: PEM, to be freed. previous (NULL: none) is the list that it
 * follows, whose entries it keeps and whose number it passes by one; revoke (NULL: none) is added.
 */
int pki_crl(const struct pki_root *root, const char *previous, gnutls_x509_crt_t revoke, int days,
            msec now, char **ret, struct err *err);

/* When the certificate in that file (PEM, the first) begins and ends; wall clock. */
int pki_certificate_life(const char *path, msec *ret_from, msec *ret_to, struct err *err);
int pki_certificate_end(const char *path, msec *ret, struct err *err);

/* What the machines' root revoked, once more in the issuers' name: libvirt and QEMU look for a
 * certificate in the list of who signed it, by that name, and do not verify the list: it is signed
 * by a key that is thrown away. Make it from a list that was verified, for them alone. PEM, to be
 * freed. */
int pki_issuers_crl(gnutls_x509_crt_t root, gnutls_x509_crl_t list, char **ret, struct err *err);

#define PKI_NAMES_MAX 32

/* The DNS names and addresses of a certificate, to be given to the next one; its URI is not among
 * them. ERR_LIMIT: more than PKI_NAMES_MAX of a kind. */
struct pki_names {
    const char *dns[PKI_NAMES_MAX], *addresses[PKI_NAMES_MAX]; /* owned */
    size_t n_dns, n_addresses;
};

int pki_names_read(gnutls_x509_crt_t crt, struct pki_names *ret, struct err *err);
void pki_names_done(struct pki_names *names);

/* Upper-case hexadecimal digits of the serial number. */
#define SERIAL_SIZE 48
void pki_serial(gnutls_x509_crt_t crt, char ret[SERIAL_SIZE]);

#endif
