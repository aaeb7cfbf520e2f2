/* names.h - who is who: a cluster's name and UUID, and the URI that a certificate carries.
 *   spiffe://CLUSTER/host/NAME           an agent
 *   spiffe://CLUSTER/host/NAME/libvirt   that host's libvirt; likewise /qemu
 *   spiffe://CLUSTER/person/NAME         a person
 * libvirt's and QEMU's keys stand under the same root as the agent's, hence names of their own:
 * QEMU's key is readable by the QEMU user and must not open the mesh. */
#ifndef SKEIN_TLS_NAMES_H
#define SKEIN_TLS_NAMES_H

#include "proto/err.h"
#include "proto/hash.h"

#define NAME_SIZE 65 /* X.509's bound on a common name, and a NUL */
#define URI_SIZE (sizeof "spiffe:///person//libvirt" + 2 * NAME_SIZE)

struct cluster {
    char name[NAME_SIZE];
    char uuid[UUID_SIZE];
};

/* What a certificate is for. */
enum identity_use { USE_AGENT, USE_LIBVIRT, USE_QEMU, USE_PERSON, USE_COUNT };

const char *use_name(enum identity_use use); /* "agent", "libvirt", "qemu", "person" */

/* Letters, digits, '.', '_', '-'; begins with a letter or digit; at most 64 bytes. what ("host",
 * "person", ...) is for the message. A cluster's name has no capitals (it is a trust domain). */
int name_check(const char *what, const char *name, struct err *err);

void uri_format(const char *cluster, enum identity_use use, const char *name, char ret[URI_SIZE]);

/* ERR_INVALID when it is no such URI, ERR_UNAUTHENTICATED when it is of another cluster. */
int uri_parse(const char *uri, const char *cluster, enum identity_use *ret_use, char ret[NAME_SIZE],
              struct err *err);

/* A cluster of that name, with a new random UUID. */
int cluster_new(const char *name, struct cluster *ret, struct err *err);

/* cluster.json: {"name": ..., "schema": "skein.cluster/1", "uuid": ...} */
int cluster_parse(const char *text, size_t len, const char *what, struct cluster *ret,
                  struct err *err);
int cluster_load(const char *path, struct cluster *ret, struct err *err);
int cluster_save(const char *path, const struct cluster *cluster, struct err *err);

#endif
