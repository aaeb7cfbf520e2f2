#include "tls/names.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <stdio.h>

#include "proto/canon.h"
#include "tls/file.h"

#define SCHEME "spiffe://"
#define CLUSTER_SCHEMA "skein.cluster/1"
#define CLUSTER_FILE_MAX 4096

/* Below spiffe://CLUSTER: before and after the name. */
static const struct {
    const char *name, *before, *after;
} uses[USE_COUNT] = {
    [USE_AGENT] = {"agent", "/host/", ""},
    [USE_LIBVIRT] = {"libvirt", "/host/", "/libvirt"},
    [USE_QEMU] = {"qemu", "/host/", "/qemu"},
    [USE_PERSON] = {"person", "/person/", ""},
};

const char *use_name(enum identity_use use)
{
    REQUIRE(use < USE_COUNT);
    return uses[use].name;
}

static bool is_name(const char *s, size_t len)
{
    if (len == 0 || len >= NAME_SIZE || !isalnum((unsigned char)s[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isascii((unsigned char)s[i]) ||
            (!isalnum((unsigned char)s[i]) && strchr("._-", s[i]) == NULL))
            return false;
    return true;
}

int name_check(const char *what, const char *name, struct err *err)
{
    if (!is_name(name, strlen(name)))
        return err_set(err, ERR_INVALID,
                       "%s name \"%.80s\": wants 1 to %d letters, digits, '.', '_' or '-', the "
                       "first a letter or digit",
                       what, name, NAME_SIZE - 1);
    if (strcmp(what, "cluster") == 0)
        for (const char *p = name; *p != '\0'; p++)
            if (isupper((unsigned char)*p))
                return err_set(err, ERR_INVALID, "cluster name \"%s\": wants no capitals", name);
    return 0;
}

void uri_format(const char *cluster, enum identity_use use, const char *name, char ret[URI_SIZE])
{
    REQUIRE(use < USE_COUNT);
    snprintf(ret, URI_SIZE, SCHEME "%s%s%s%s", cluster, uses[use].before, name, uses[use].after);
}

/* path is what follows the cluster's name, from its slash. */
static bool match_use(const char *path, enum identity_use use, char ret[NAME_SIZE])
{
    size_t before = strlen(uses[use].before), after = strlen(uses[use].after), len = strlen(path);
    if (strncmp(path, uses[use].before, before) != 0 || len < before + after ||
        strcmp(path + len - after, uses[use].after) != 0)
        return false;
    size_t n = len - before - after;
    if (!is_name(path + before, n))
        return false;
    memcpy(ret, path + before, n);
    ret[n] = '\0';
    return true;
}

int uri_parse(const char *uri, const char *cluster, enum identity_use *ret_use, char ret[NAME_SIZE],
              struct err *err)
{
    if (strncmp(uri, SCHEME, strlen(SCHEME)) != 0)
        return err_set(err, ERR_INVALID, "\"%.120s\" does not begin with %s", uri, SCHEME);
    const char *domain = uri + strlen(SCHEME), *path = domain + strcspn(domain, "/");
    size_t len = (size_t)(path - domain);
    if (!is_name(domain, len))
        return err_set(err, ERR_INVALID, "\"%.120s\" names no cluster", uri);
    if (len != strlen(cluster) || memcmp(domain, cluster, len) != 0)
        return err_set(err, ERR_UNAUTHENTICATED, "\"%.120s\" is of another cluster than %s", uri,
                       cluster);
    for (enum identity_use use = 0; use < USE_COUNT; use++)
        if (match_use(path, use, ret)) {
            *ret_use = use;
            return 0;
        }
    return err_set(err, ERR_INVALID, "\"%.120s\" names neither a host nor a person", uri);
}

int cluster_new(const char *name, struct cluster *ret, struct err *err)
{
    uint8_t random[16];
    int rc = name_check("cluster", name, err);
    if (rc < 0)
        return rc;
    if ((rc = gnutls_rnd(GNUTLS_RND_RANDOM, random, sizeof random)) < 0)
        return err_set(err, ERR_INTERNAL, "no randomness: %s", gnutls_strerror(rc));
    snprintf(ret->name, sizeof ret->name, "%s", name);
    uuid_from_random(random, ret->uuid);
    return 0;
}

int cluster_parse(const char *text, size_t len, const char *what, struct cluster *ret,
                  struct err *err)
{
    _cleanup_json_ json_t *doc = NULL;
    int rc = canon_parse(text, len, what, &doc, err);
    if (rc < 0)
        return rc;
    const char *schema, *name, *uuid;
    if (json_unpack(doc, "{s:s, s:s, s:s !}", "schema", &schema, "name", &name, "uuid", &uuid) <
            0 ||
        strcmp(schema, CLUSTER_SCHEMA) != 0)
        return err_set(err, ERR_INVALID, "%s: wants schema (\"%s\"), name and uuid, nothing else",
                       what, CLUSTER_SCHEMA);
    if ((rc = name_check("cluster", name, err)) < 0)
        return err_wrap(err, "%s", what);
    if (!uuid_is_valid(uuid))
        return err_set(err, ERR_INVALID, "%s: \"%.60s\" is not a lower-case UUID", what, uuid);
    snprintf(ret->name, sizeof ret->name, "%s", name);
    snprintf(ret->uuid, sizeof ret->uuid, "%s", uuid);
    return 0;
}

int cluster_load(const char *path, struct cluster *ret, struct err *err)
{
    _cleanup_(freep) char *text = NULL;
    size_t len;
    int rc = file_read(path, CLUSTER_FILE_MAX, &text, &len, err);
    return rc < 0 ? rc : cluster_parse(text, len, path, ret, err);
}

int cluster_save(const char *path, const struct cluster *cluster, struct err *err)
{
    _cleanup_json_ json_t *doc = json_pack("{s:s, s:s, s:s}", "schema", CLUSTER_SCHEMA, "name",
                                           cluster->name, "uuid", cluster->uuid);
    _cleanup_(freep) char *text = NULL;
    size_t len;
    int rc = canon_dump(doc, &text, &len, err);
    return rc < 0 ? rc : file_write(path, text, len, FILE_PUBLIC_MODE, FILE_ANY_GROUP, err);
}
