#include "planner/core/migration.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "proto/util.h"

static const char *const modes[] = {

#define X(name, text) [MIGRATE_##name] = (text),
    MIGRATE_MODES(X)
#undef X
};

static const char *const storages[] = {

#define X(name, text) [MIGRATE_STORAGE_##name] = (text),
    MIGRATE_STORAGES(X)
#undef X
};

static const char *const features[] = {

#define X(name, text) [MIGRATION_##name] = (text),
    MIGRATION_FEATURES(X)
#undef X
};

static const char one_mode[] = "a migration has one mode";
static const char no_memory[] = "of a stopped VM only the definition goes: no memory is sent";
static const char no_multifd[] =
    "QEMU cannot switch to post-copy what goes over several connections";
static const char no_mirror[] = "a link that breaks after the switch would divide disks and memory";

/* What does not go together. All else does. */
static const struct {
    enum migration_feature a, b;
    const char *why;
} conflicts[] = {
    {MIGRATION_PRECOPY, MIGRATION_POSTCOPY, one_mode},
    {MIGRATION_PRECOPY, MIGRATION_POSTCOPY_AFTER_PRECOPY, one_mode},
    {MIGRATION_PRECOPY, MIGRATION_OFFLINE, one_mode},
    {MIGRATION_POSTCOPY, MIGRATION_POSTCOPY_AFTER_PRECOPY, one_mode},
    {MIGRATION_POSTCOPY, MIGRATION_OFFLINE, one_mode},
    {MIGRATION_POSTCOPY_AFTER_PRECOPY, MIGRATION_OFFLINE, one_mode},
    {MIGRATION_POSTCOPY, MIGRATION_PARALLEL, no_multifd},
    {MIGRATION_POSTCOPY_AFTER_PRECOPY, MIGRATION_PARALLEL, no_multifd},
    {MIGRATION_POSTCOPY, MIGRATION_STORAGE_ALL, no_mirror},
    {MIGRATION_POSTCOPY, MIGRATION_STORAGE_INCREMENTAL, no_mirror},
    {MIGRATION_POSTCOPY_AFTER_PRECOPY, MIGRATION_STORAGE_ALL, no_mirror},
    {MIGRATION_POSTCOPY_AFTER_PRECOPY, MIGRATION_STORAGE_INCREMENTAL, no_mirror},
    {MIGRATION_POSTCOPY_AFTER_PRECOPY, MIGRATION_AUTO_CONVERGE,
     "it is switched before there is anything to slow the guest for"},
    {MIGRATION_POSTCOPY_AFTER_PRECOPY, MIGRATION_XBZRLE,
     "it is switched before any page is sent again"},
    {MIGRATION_OFFLINE, MIGRATION_AUTO_CONVERGE, no_memory},
    {MIGRATION_OFFLINE, MIGRATION_XBZRLE, no_memory},
    {MIGRATION_OFFLINE, MIGRATION_PARALLEL, no_memory},
    {MIGRATION_OFFLINE, MIGRATION_STORAGE_ALL, "libvirt copies disks of running VMs only"},
    {MIGRATION_OFFLINE, MIGRATION_STORAGE_INCREMENTAL, "libvirt copies disks of running VMs only"},
    {MIGRATION_XBZRLE, MIGRATION_PARALLEL, "QEMU compresses with xbzrle on one connection only"},
    {MIGRATION_STORAGE_ALL, MIGRATION_STORAGE_INCREMENTAL,
     "disks are copied whole or by their top layer"},
};

const char *migrate_mode_name(enum migrate_mode mode)
{
    REQUIRE(mode < MIGRATE_MODE_COUNT);
    return modes[mode];
}

const char *migrate_storage_name(enum migrate_storage storage)
{
    REQUIRE(storage < MIGRATE_STORAGE_COUNT);
    return storages[storage];
}

static bool find(const char *name, const char *const *names, size_t n, size_t *ret)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) {
            *ret = i;
            return true;
        }
    return false;
}

bool migrate_mode_find(const char *name, enum migrate_mode *ret)
{
    size_t i;
    bool found = find(name, modes, ARRAY_SIZE(modes), &i);
    if (found)
        *ret = (enum migrate_mode)i;
    return found;
}

bool migrate_storage_find(const char *name, enum migrate_storage *ret)
{
    size_t i;
    bool found = find(name, storages, ARRAY_SIZE(storages), &i);
    if (found)
        *ret = (enum migrate_storage)i;
    return found;
}

bool migrate_is_postcopy(enum migrate_mode mode)
{
    return mode == MIGRATE_POSTCOPY || mode == MIGRATE_POSTCOPY_AFTER_PRECOPY;
}

const char *migration_feature_name(enum migration_feature f)
{
    REQUIRE(f < MIGRATION_FEATURE_COUNT);
    return features[f];
}

const char *migration_conflict(enum migration_feature a, enum migration_feature b)
{
    for (size_t i = 0; i < ARRAY_SIZE(conflicts); i++)
        if ((conflicts[i].a == a && conflicts[i].b == b) ||
            (conflicts[i].a == b && conflicts[i].b == a))
            return conflicts[i].why;
    return NULL;
}

/* ---- a choice ---- */

static unsigned features_of(const struct migration_choice *c)
{
    unsigned set = 1u << c->mode; /* modes come first, in the same order */
    set |= c->auto_converge ? 1u << MIGRATION_AUTO_CONVERGE : 0;
    set |= c->xbzrle ? 1u << MIGRATION_XBZRLE : 0;
    set |= c->parallel > 1 ? 1u << MIGRATION_PARALLEL : 0;
    set |= c->storage == MIGRATE_STORAGE_ALL ? 1u << MIGRATION_STORAGE_ALL : 0;
    set |= c->storage == MIGRATE_STORAGE_INCREMENTAL ? 1u << MIGRATION_STORAGE_INCREMENTAL : 0;
    return set;
}

/* "vda,sdb": targets as a guest sees them, no commas at the ends. */
static bool disks_ok(const char *disks)
{
    char last = ',';
    for (const char *c = disks; *c != '\0'; last = *c++)
        if (!isalnum((unsigned char)*c) && !(*c == ',' && last != ','))
            return false;
    return disks[0] == '\0' || last != ',';
}

int migration_check(const struct migration_choice *c, struct err *err)
{
    unsigned set = features_of(c);
    if (c->disks[0] != '\0' && c->storage == MIGRATE_STORAGE_NONE)
        return err_set(err, ERR_INVALID, "disks are named, but none is to be copied");
    if (!disks_ok(c->disks))
        return err_set(err, ERR_INVALID, "\"%s\" are not disks' targets like vda,vdb", c->disks);
    for (unsigned a = 0; a < MIGRATION_FEATURE_COUNT; a++)
        for (unsigned b = a + 1; b < MIGRATION_FEATURE_COUNT; b++) {
            const char *why = migration_conflict(a, b);
            if ((set & 1u << a) != 0 && (set & 1u << b) != 0 && why != NULL)
                return err_set(err, ERR_UNSUPPORTED, "%s does not go with %s: %s", features[a],
                               features[b], why);
        }
    return 0;
}

/* ---- as JSON ---- */

static int read_word(const json_t *o, const char *place, const char *key, const char **ret,
                     struct err *err)
{
    const json_t *v = json_object_get(o, key);
    *ret = NULL;
    if (v == NULL || json_is_null(v))
        return 0;
    *ret = json_string_value(v);
    return *ret != NULL ? 0 : err_set(err, ERR_INVALID, "%s.%s: must be a text", place, key);
}

static int read_disks(const json_t *o, const char *place, struct migration_choice *c,
                      struct err *err)
{
    const json_t *list = json_object_get(o, "disks"), *disk;
    size_t i, len = 0;
    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return err_set(err, ERR_INVALID, "%s.disks: must be a list of targets", place);
    c->disks[0] = '\0';
    json_array_foreach(list, i, disk)
    {
        const char *name = json_string_value(disk);
        if (name == NULL || name[0] == '\0' || strchr(name, ',') != NULL ||
            len + strlen(name) + 2 > sizeof c->disks)
            return err_set(err, ERR_INVALID, "%s.disks[%zu]: not a disk's target like vda", place,
                           i);
        len +=
            (size_t)snprintf(c->disks + len, sizeof c->disks - len, "%s%s", i > 0 ? "," : "", name);
    }
    return 0;
}

static int read_numbers(const json_t *o, const char *place, struct migration_choice *c,
                        struct err *err)
{
    const json_t *parallel = json_object_get(o, "parallel");
    const json_t *throttle = json_object_get(o, "auto_converge");
    if (parallel != NULL && !json_is_null(parallel)) {
        if (!json_is_integer(parallel) || json_integer_value(parallel) < 0 ||
            json_integer_value(parallel) > 255)
            return err_set(err, ERR_INVALID, "%s.parallel: not a whole number from 0 to 255",
                           place);
        c->parallel = (uint32_t)json_integer_value(parallel);
    }
    if (throttle != NULL && !json_is_null(throttle)) {
        if (!json_is_boolean(throttle))
            return err_set(err, ERR_INVALID, "%s.auto_converge: must be true or false", place);
        c->auto_converge = json_is_true(throttle);
    }
    return 0;
}

static int read_words(const json_t *o, const char *place, struct migration_choice *c,
                      struct err *err)
{
    const char *mode, *compression, *storage;
    if (read_word(o, place, "mode", &mode, err) < 0 ||
        read_word(o, place, "compression", &compression, err) < 0 ||
        read_word(o, place, "copy_storage", &storage, err) < 0)
        return -(int)err->code;
    if (mode != NULL && !migrate_mode_find(mode, &c->mode))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s.mode: \"%.64s\" is not carried out by this version", place, mode);
    if (compression != NULL && strcmp(compression, "xbzrle") != 0)
        return err_set(err, ERR_UNSUPPORTED, "%s.compression: \"%.64s\" is not xbzrle", place,
                       compression);
    if (compression != NULL)
        c->xbzrle = true;
    if (storage != NULL &&
        (!migrate_storage_find(storage, &c->storage) || c->storage == MIGRATE_STORAGE_NONE))
        return err_set(err, ERR_INVALID, "%s.copy_storage: must be \"all\" or \"incremental\"",
                       place);
    return 0;
}

int migration_read(const json_t *parameters, const char *place, struct migration_choice *ret,
                   struct err *err)
{
    struct migration_choice c = *ret;
    const json_t *tls = json_object_get(parameters, "tls");
    if (tls != NULL && !json_is_true(tls))
        return err_set(err, ERR_UNSUPPORTED, "%s.tls: VMs are migrated over TLS only", place);
    if (read_words(parameters, place, &c, err) < 0 ||
        read_numbers(parameters, place, &c, err) < 0 || read_disks(parameters, place, &c, err) < 0)
        return -(int)err->code;
    if (migration_check(&c, err) < 0)
        return err_wrap(err, "%s", place);
    *ret = c;
    return 0;
}

static void put(json_t *object, const char *key, json_t *value)
{
    REQUIRE(value != NULL && json_object_set_new(object, key, value) == 0);
}

void migration_write(const struct migration_choice *c, json_t *parameters)
{
    if (c->xbzrle)
        put(parameters, "compression", json_string("xbzrle"));
    if (c->storage != MIGRATE_STORAGE_NONE)
        put(parameters, "copy_storage", json_string(migrate_storage_name(c->storage)));
    if (c->disks[0] == '\0')
        return;
    json_t *list = json_array();
    for (const char *at = c->disks; *at != '\0';) {
        size_t len = strcspn(at, ",");
        REQUIRE(json_array_append_new(list, json_stringn(at, len)) == 0);
        at += len + (at[len] == ',');
    }
    put(parameters, "disks", list);
}
