/* authority.h - the directory from which a cluster's identities come: both roots with their keys,
 * the revocation lists, the roster, the admins, and a copy of every certificate issued.
 *   machines.pem machines.key people.pem people.key crl.pem cluster.json roster.json
 *   roster.next.json        the next roster, while it lacks admins' signatures
 *   people/NAME.{pem,key}   admins' own
 *   issued/SERIAL.pem       each certificate, for listing and revoking
 * Keep it off the hosts. Not safe against two writers at once. */
#ifndef SKEIN_TLS_AUTHORITY_H
#define SKEIN_TLS_AUTHORITY_H

#include <jansson.h>
#include <sys/types.h>

#include "proto/units.h"
#include "tls/pki.h"
#include "tls/roster.h"

/* ERR_EXISTS when the directory already holds one. passphrase (NULL: none) guards the admin's
 * key. */
int authority_create(const char *directory, const struct cluster *cluster, const char *admin,
                     const char *passphrase, msec now, struct err *err);

struct authority {
    char *directory; /* owned */
    struct cluster cluster;
    struct pki_root machines, people;
    char *crl;             /* owned: PEM of both roots' lists */
    char *roster_text;     /* owned */
    struct roster *roster; /* owned; checked */
    struct anchor *anchor; /* owned: the people root */
    bool waits;            /* the roster written last lacks signatures: ... */
    char lacks[256];       /* ... how many */
};

int authority_open(const char *directory, msec now, struct authority *ret, struct err *err);
void authority_done(struct authority *a);

/* Three certificates and what a host needs to check others, laid out below out:
 *   CA/cacert.pem; libvirt/{servercert,clientcert}.pem, libvirt/private/{serverkey,clientkey}.pem;
 *   qemu/{ca-cert,server-cert,server-key,client-cert,client-key}.pem;
 *   skein/{machines.pem,people.pem,crl.pem,host.pem,host.key,roster.json,cluster.json}
 * qemu_group (FILE_ANY_GROUP: none) may read QEMU's keys. request->use is ignored. */
int authority_issue_host(const struct authority *a, const struct pki_request *request,
                         const char *out, gid_t qemu_group, msec now, struct err *err);

/* The agent's certificate and key alone, out/skein: for a host without libvirt, which a simulated
 * one is. */
int authority_issue_agent(const struct authority *a, const struct pki_request *request,
                          const char *out, msec now, struct err *err);

/* An intermediate below the machines' root, for an agent on that host that issues certificates
 * (skein join): OUT/issuer.{pem,key}. The key is not kept here. */
int authority_make_issuer(const struct authority *a, const char *host, int days, const char *out,
                          msec now, struct err *err);

struct person_request {
    const char *name;
    roles roles;
    int days;
    const char *passphrase;  /* for the new key; NULL: none */
    const char *admin;       /* who signs the roster; NULL: the only admin with a key here */
    identity_passphrase ask; /* for the admin's key */
    void *user;
};

/* OUT/NAME.{pem,key}, and the next version of the roster. */
int authority_issue_person(struct authority *a, const struct person_request *request,
                           const char *out, msec now, struct err *err);

/* Which admin signs: one with a key in the directory, or with a key of his own. */
struct admin_request {
    const char *name;              /* NULL: the only admin with a key here */
    const char *key, *certificate; /* both, or NULL */
    identity_passphrase ask;
    void *user;
};

/* Members that are NULL or 0 stay as they are. */
struct roster_change {
    const struct roster_person *person; /* added, or replaced by name */
    const char *remove;                 /* a person's name */
    unsigned threshold;
    const json_t *gates; /* the whole list of gate rules */
};

/* The next version of the roster, signed by one admin. In force at once where that suffices; else
 * it waits for authority_roster_sign (a->waits). Open the authority anew afterwards. */
int authority_roster_change(struct authority *a, const struct roster_change *change,
                            const struct admin_request *by, msec now, struct err *err);
int authority_roster_sign(struct authority *a, const struct admin_request *by, msec now,
                          struct err *err);

/* Everything issued, and the roots: a list of {serial, use, name, not_before, not_after, status
 * (valid, expired, revoked), key}, times in RFC 3339. New reference. */
int authority_list(const struct authority *a, msec now, json_t **ret, struct err *err);

/* Put a certificate on its root's list; ERR_EXISTS when it stands there already. which: the serial
 * number of one in issued/, or the file of one that an issuer made. */
int authority_revoke(struct authority *a, const char *which, msec now, struct err *err);

#endif
