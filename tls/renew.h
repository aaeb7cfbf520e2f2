/* renew.h - a member's certificates anew, from an issuer that believes those that it holds now.
 * Works on the files of layout.h below out; blocking. What is not there is not renewed: an agent
 * without libvirt has its own alone. */
#ifndef SKEIN_TLS_RENEW_H
#define SKEIN_TLS_RENEW_H

#include <stdbool.h>

#include "proto/err.h"
#include "proto/units.h"

struct renewal {
    const char *out;  /* the folder that has skein/host.pem */
    const char *from; /* an issuer's HOST:PORT */
    bool new_keys;    /* else the same keys: files of one kind alone are replaced, each at once */
    msec now;         /* wall */
};

/* On error what was held stays, except that writing may have been cut short by the disk. */
int renew(const struct renewal *r, struct err *err);

#endif
