/* roster.h - who may do what: the people of a cluster, signed by its admins.
 *   {"schema": "skein.roster/1",
 *    "body": {"cluster": UUID, "version": N, "threshold": N, "issued_at": TIME,
 *             "people": [{"name": NAME, "roles": [ROLE...], "key": HEX}...],
 *             "gates": [RULE...]},
 *    "signatures": [{"certificate": PEM, "signature": BASE64}...]}
 * Signatures are over "skein.roster/1" NUL canonical(body). A version is valid when threshold
 * distinct admins named in it signed it, and, when it follows another, threshold distinct admins
 * of that other did so too: nobody makes himself an admin. The first version needs the former
 * alone. People are sorted by name; names and keys are unique. gates (proto/gates.h) may be absent:
 * which approvals plans need is changed as the roster is, by a threshold of admins and nobody else.
 * Pure: bytes, root and time are arguments. */
#ifndef SKEIN_TLS_ROSTER_H
#define SKEIN_TLS_ROSTER_H

#include <stdbool.h>

#include "proto/gates.h"
#include "proto/units.h"
#include "tls/anchor.h"
#include "tls/identity.h"

#define ROSTER_SCHEMA "skein.roster/1"
#define ROSTER_MAX (1 << 20) /* bytes of a document: some two thousand people */

enum role {
    ROLE_VIEWER = 1 << 0,
    ROLE_OPERATOR = 1 << 1,
    ROLE_APPROVER = 1 << 2,
    ROLE_ADMIN = 1 << 3,
};

typedef unsigned roles; /* a set of enum role */

/* "approver,operator" <-> set; ERR_INVALID names the word that is no role, and the nearest. */
int roles_parse(const char *text, roles *ret, struct err *err);
#define ROLES_TEXT_SIZE 48
void roles_format(roles set, char ret[ROLES_TEXT_SIZE]);

struct roster_person {
    char name[NAME_SIZE];
    char key[HASH_HEX_SIZE]; /* SPKI SHA-256 */
    roles roles;             /* never empty */
};

struct roster {
    char cluster[UUID_SIZE];
    uint64_t version;   /* from 1 */
    unsigned threshold; /* admins' signatures that a version needs */
    msec issued_at;
    struct roster_person *people; /* owned; sorted by name */
    size_t n_people;
    json_t *gates_json;       /* owned; as it is signed; NULL: absent */
    struct gate_rules *gates; /* owned; never NULL in a roster that was verified */
};

void roster_free(struct roster *roster);
DEFINE_CLEANUP(struct roster, roster_free)

/* Check a document and take it apart. people: the people root with its revocations; previous: the
 * version it follows (NULL: trust it on its own, as the first one or one kept on disk).
 * Signers' certificates must be valid at now when it follows another, else at its issued_at: a
 * kept roster outlives its signers' certificates. */
int roster_verify(const char *bytes, size_t len, const struct anchor *people,
                  const struct cluster *cluster, const struct roster *previous, msec now,
                  struct roster **ret, struct err *err);

/* What a document says, whoever signed it: for one that waits for signatures; proves nothing. */
int roster_peek(const char *bytes, size_t len, struct roster **ret, struct err *err);

/* NULL when nobody has that key, or that name. Borrowed. */
const struct roster_person *roster_by_key(const struct roster *roster, const char *key);
const struct roster_person *roster_by_name(const struct roster *roster, const char *name);

/* Who of the roster a subject is, by name and key together; borrowed. ERR_DENIED: nobody. */
int roster_admit(const struct roster *roster, const struct subject *subject,
                 const struct roster_person **ret, struct err *err);

/* Add or replace (by name) a person. ERR_CONFLICT when another has that key. */
int roster_set(struct roster *roster, const struct roster_person *person, struct err *err);
/* ERR_NOT_FOUND when nobody has that name. */
int roster_remove(struct roster *roster, const char *name, struct err *err);

/* The document that states roster, with one signature; to be freed. issued_at and version are as
 * they stand in it. roster_cosign adds another to a document (it does not check it). */
int roster_sign(const struct roster *roster, const struct identity *admin, char **ret,
                struct err *err);
int roster_cosign(const char *bytes, size_t len, const struct identity *admin, char **ret,
                  struct err *err);

#endif
