/* authority_priv.h - what authority.c and authority_roster.c share. Not for others. */
#ifndef SKEIN_TLS_AUTHORITY_PRIV_H
#define SKEIN_TLS_AUTHORITY_PRIV_H

#include "tls/authority.h"

int authority_load_admin(const char *directory, const char *name, identity_passphrase ask,
                         void *user, struct identity **ret, struct err *err);
/* The admin named, or the only one of the roster's whose key lies here. */
int authority_open_admin(const struct authority *a, const struct admin_request *by,
                         struct identity **ret, struct err *err);
/* ERR_CONFLICT while a next version waits for signatures. */
int authority_roster_free(const struct authority *a, struct err *err);
/* The next version, with one signature. */
int authority_next_roster(const struct authority *a, const struct roster_change *change,
                          const struct identity *admin, msec now, char **ret, struct err *err);
/* Into force where enough admins signed it, else to wait; a->waits says which. */
int authority_put_roster(struct authority *a, const char *text, msec now, struct err *err);

#endif
