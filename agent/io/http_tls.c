#include "agent/io/http_tls.h"

#include "tls/file.h"

#define PEM_MAX (64 << 10)

static int read_one(const char *directory, const char *name, char **ret, struct err *err)
{
    _cleanup_(freep) char *path = xasprintf("%s/%s", directory, name);
    return file_read(path, PEM_MAX, ret, NULL, err);
}

int http_tls_read(const char *directory, struct http_tls *ret, struct err *err)
{
    struct http_tls tls = {0};
    int rc;
    if ((rc = read_one(directory, "host.pem", &tls.certificate, err)) < 0 ||
        (rc = read_one(directory, "host.key", &tls.key, err)) < 0 ||
        (rc = read_one(directory, "people.pem", &tls.people, err)) < 0) {
        http_tls_done(&tls);
        return rc;
    }
    *ret = tls;
    return 0;
}

int http_tls_read_hosts(const char *directory, struct http_tls *ret, struct err *err)
{
    struct http_tls tls = {0};
    _cleanup_(freep) char *own = NULL;
    int rc;
    if ((rc = read_one(directory, "host.pem", &own, err)) < 0 ||
        (rc = read_one(directory, "host.key", &tls.key, err)) < 0 ||
        (rc = read_one(directory, "machines.pem", &tls.people, err)) < 0) {
        http_tls_done(&tls);
        return rc;
    }
    tls.certificate = xasprintf("%s%s", own, tls.people);
    *ret = tls;
    return 0;
}

void http_tls_done(struct http_tls *tls)
{
    free(tls->certificate);
    if (tls->key != NULL)
        explicit_bzero(tls->key, strlen(tls->key));
    free(tls->key);
    free(tls->people);
    *tls = (struct http_tls){0};
}
