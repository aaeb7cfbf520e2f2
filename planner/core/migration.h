/* migration.h - the ways in which a VM can be migrated, and which of them go together. Pure.
 *
 * One table says what is refused and why; planner, agents and people are held to the same one. It
 * is stricter than libvirt 9 and QEMU 7.2 where these accept what breaks later. */
#ifndef SKEIN_PLANNER_CORE_MIGRATION_H
#define SKEIN_PLANNER_CORE_MIGRATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

#define MIGRATE_MODES(X)                                                                           \
    X(PRECOPY, "precopy")                                                                          \
    X(POSTCOPY, "postcopy") /* pre-copy first, switched when it does not converge */               \
    X(POSTCOPY_AFTER_PRECOPY, "postcopy-after-precopy") /* switched after the first round */       \
    X(OFFLINE, "offline")                               /* a stopped VM: only its definition goes */

enum migrate_mode {

#define X(name, text) MIGRATE_##name,
    MIGRATE_MODES(X)
#undef X
        MIGRATE_MODE_COUNT
};

#define MIGRATE_STORAGES(X)                                                                        \
    X(NONE, "none")               /* all disks are on storage that both hosts see */               \
    X(ALL, "all")                 /* local disks are copied whole */                               \
    X(INCREMENTAL, "incremental") /* ... only the top layer: the backing file is there already */

enum migrate_storage {

#define X(name, text) MIGRATE_STORAGE_##name,
    MIGRATE_STORAGES(X)
#undef X
        MIGRATE_STORAGE_COUNT
};

const char *migrate_mode_name(enum migrate_mode mode);
const char *migrate_storage_name(enum migrate_storage storage);
bool migrate_mode_find(const char *name, enum migrate_mode *ret);
bool migrate_storage_find(const char *name, enum migrate_storage *ret);
bool migrate_is_postcopy(enum migrate_mode mode); /* it may be switched to post-copy */

#define MIGRATION_DISKS_SIZE 128

/* How one VM is to be migrated. */
struct migration_choice {
    enum migrate_mode mode;
    enum migrate_storage storage;
    bool auto_converge;
    bool xbzrle;                      /* pages sent again are sent as differences */
    uint32_t parallel;                /* connections (multifd); 0, 1: one ordinary */
    char disks[MIGRATION_DISKS_SIZE]; /* "vda,vdb": copy these; "": all that are local */
};

/* The table's rows and columns. */
#define MIGRATION_FEATURES(X)                                                                      \
    X(PRECOPY, "pre-copy")                                                                         \
    X(POSTCOPY, "post-copy")                                                                       \
    X(POSTCOPY_AFTER_PRECOPY, "post-copy after pre-copy")                                          \
    X(OFFLINE, "offline")                                                                          \
    X(AUTO_CONVERGE, "auto-converge")                                                              \
    X(XBZRLE, "xbzrle")                                                                            \
    X(PARALLEL, "multifd")                                                                         \
    X(STORAGE_ALL, "storage copy")                                                                 \
    X(STORAGE_INCREMENTAL, "incremental storage copy")

enum migration_feature {

#define X(name, text) MIGRATION_##name,
    MIGRATION_FEATURES(X)
#undef X
        MIGRATION_FEATURE_COUNT
};

const char *migration_feature_name(enum migration_feature f);
/* NULL where the two go together; else why not, in a few words. Symmetric. */
const char *migration_conflict(enum migration_feature a, enum migration_feature b);
/* 0, or ERR_UNSUPPORTED naming the first two that do not go together; ERR_INVALID: disks are named
 * and none is copied, or they are not named as disks are. */
int migration_check(const struct migration_choice *c, struct err *err);

/* Reads mode, auto_converge, compression, parallel, copy_storage and disks of an action's
 * parameters, and checks them. What is absent is as in *ret. place is for messages. */
int migration_read(const json_t *parameters, const char *place, struct migration_choice *ret,
                   struct err *err);
/* Adds to an action's parameters what is chosen beside mode, auto_converge and parallel. */
void migration_write(const struct migration_choice *c, json_t *parameters);

#endif
