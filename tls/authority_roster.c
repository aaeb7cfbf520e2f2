/* authority_roster.c - the next version of the roster: written by one admin, in force once enough
 * of the old and of the new have signed it, and until then beside the old one. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tls/authority_priv.h"
#include "tls/file.h"

#define NEXT "roster.next.json"

int authority_load_admin(const char *directory, const char *name, identity_passphrase ask,
                         void *user, struct identity **ret, struct err *err)
{
    _cleanup_(freep) char *crt = xasprintf("%s/people/%s.pem", directory, name);
    _cleanup_(freep) char *key = xasprintf("%s/people/%s.key", directory, name);
    return identity_load(crt, key, ask, user, ret, err);
}

static int choose_admin(const struct authority *a, const char *wanted, const char **ret,
                        struct err *err)
{
    const char *found = NULL;
    for (size_t i = 0; i < a->roster->n_people; i++) {
        const struct roster_person *p = &a->roster->people[i];
        _cleanup_(freep) char *key = xasprintf("%s/people/%s.key", a->directory, p->name);
        if ((p->roles & ROLE_ADMIN) == 0 || !file_exists(key) ||
            (wanted != NULL && strcmp(wanted, p->name) != 0))
            continue;
        if (found != NULL)
            return err_set(err, ERR_CONFLICT,
                           "%s/people holds several admins' keys: choose one with --admin",
                           a->directory);
        found = p->name;
    }
    if (found == NULL)
        return err_set(err, ERR_NOT_FOUND, "%s/people holds no key of %s%s", a->directory,
                       wanted != NULL ? "the admin " : "an admin", wanted != NULL ? wanted : "");
    *ret = found;
    return 0;
}

int authority_open_admin(const struct authority *a, const struct admin_request *by,
                         struct identity **ret, struct err *err)
{
    const char *name = NULL;
    if (by->key != NULL)
        return identity_load(by->certificate, by->key, by->ask, by->user, ret, err);
    int rc = choose_admin(a, by->name, &name, err);
    return rc < 0 ? rc : authority_load_admin(a->directory, name, by->ask, by->user, ret, err);
}

static char *next_path(const struct authority *a)
{
    return xasprintf("%s/" NEXT, a->directory);
}

int authority_roster_free(const struct authority *a, struct err *err)
{
    _cleanup_(freep) char *path = next_path(a);
    if (!file_exists(path))
        return 0;
    return err_set(err, ERR_CONFLICT, "%s waits for signatures: skein roster sign, or remove it",
                   path);
}

static int change_roster(struct roster *next, const struct roster_change *change, struct err *err)
{
    int rc = 0;
    if (change->person != NULL)
        rc = roster_set(next, change->person, err);
    if (rc == 0 && change->remove != NULL)
        rc = roster_remove(next, change->remove, err);
    if (change->threshold > 0)
        next->threshold = change->threshold;
    if (change->gates != NULL)
        next->gates_json = (json_t *)(uintptr_t)change->gates;
    return rc;
}

int authority_next_roster(const struct authority *a, const struct roster_change *change,
                          const struct identity *admin, msec now, char **ret, struct err *err)
{
    struct roster next = *a->roster; /* what it points to stays the old one's */
    next.people = xmemdup(next.people, next.n_people * sizeof *next.people);
    next.version++;
    next.issued_at = now;
    int rc = change_roster(&next, change, err);
    if (rc == 0)
        rc = roster_sign(&next, admin, ret, err);
    free(next.people);
    return rc;
}

int authority_put_roster(struct authority *a, const char *text, msec now, struct err *err)
{
    _cleanup_(roster_freep) struct roster *checked = NULL;
    _cleanup_(freep) char *next = next_path(a),
                          *current = xasprintf("%s/roster.json", a->directory);
    int rc =
        roster_verify(text, strlen(text), a->anchor, &a->cluster, a->roster, now, &checked, err);
    a->waits = rc < 0 && err->code == ERR_UNAUTHENTICATED; /* of this cluster, and well signed */
    if (a->waits)
        snprintf(a->lacks, sizeof a->lacks, "%s", err->msg);
    if (rc < 0 && !a->waits)
        return rc;
    *err = (struct err){0};
    rc = file_write(a->waits ? next : current, text, strlen(text), FILE_PUBLIC_MODE, FILE_ANY_GROUP,
                    err);
    if (rc == 0 && !a->waits && unlink(next) < 0 && errno != ENOENT)
        return err_set(err, ERR_IO, "%s: %s", next, strerror(errno));
    return rc;
}

static int check_admin(const struct roster *roster, const struct identity *id, struct err *err)
{
    const struct roster_person *p = roster_by_key(roster, identity_key(id));
    if (p == NULL || (p->roles & ROLE_ADMIN) == 0)
        return err_set(err, ERR_DENIED, "%s is no admin of this roster",
                       p != NULL ? p->name : "the key's owner");
    return 0;
}

/* Signatures of admins of the roster in force count, and those of admins of the next. */
static int check_signer(const struct authority *a, const char *next, const struct identity *id,
                        struct err *err)
{
    _cleanup_(roster_freep) struct roster *waiting = NULL;
    struct err unused;
    int rc = roster_peek(next, strlen(next), &waiting, err);
    if (rc < 0 || check_admin(waiting, id, &unused) == 0)
        return rc;
    return check_admin(a->roster, id, err);
}

int authority_roster_change(struct authority *a, const struct roster_change *change,
                            const struct admin_request *by, msec now, struct err *err)
{
    _cleanup_(identity_freep) struct identity *admin = NULL;
    _cleanup_(gate_rules_freep) struct gate_rules *rules = NULL;
    _cleanup_(freep) char *text = NULL;
    int rc;
    if ((rc = authority_roster_free(a, err)) < 0 ||
        (change->gates != NULL && (rc = gate_rules_read(change->gates, &rules, err)) < 0) ||
        (rc = authority_open_admin(a, by, &admin, err)) < 0 ||
        (rc = check_admin(a->roster, admin, err)) < 0 ||
        (rc = authority_next_roster(a, change, admin, now, &text, err)) < 0)
        return rc;
    return authority_put_roster(a, text, now, err);
}

int authority_roster_sign(struct authority *a, const struct admin_request *by, msec now,
                          struct err *err)
{
    _cleanup_(identity_freep) struct identity *admin = NULL;
    _cleanup_(freep) char *path = next_path(a), *text = NULL, *both = NULL;
    int rc;
    if (!file_exists(path))
        return err_set(err, ERR_NOT_FOUND, "%s: there is no roster that waits for signatures",
                       path);
    if ((rc = file_read(path, ROSTER_MAX, &text, NULL, err)) < 0 ||
        (rc = authority_open_admin(a, by, &admin, err)) < 0 ||
        (rc = check_signer(a, text, admin, err)) < 0 ||
        (rc = roster_cosign(text, strlen(text), admin, &both, err)) < 0)
        return rc;
    return authority_put_roster(a, both, now, err);
}
