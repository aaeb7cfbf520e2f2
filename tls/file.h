/* file.h - small files, whole: read with a bound, written atomically with their mode. */
#ifndef SKEIN_TLS_FILE_H
#define SKEIN_TLS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/err.h"

#define FILE_KEY_MODE 0600
#define FILE_PUBLIC_MODE 0644
#define FILE_ANY_GROUP ((gid_t)-1) /* leave the group as it comes */

/* The whole file as a NUL-terminated string, to be freed. ERR_NOT_FOUND, ERR_LIMIT (more than max
 * bytes), ERR_IO. ret_len may be NULL. */
int file_read(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err);

/* Write beside it, sync, rename over: a reader sees the old file or the new one. The mode and the
 * group are set before the first byte is written. */
int file_write(const char *path, const void *data, size_t len, mode_t mode, gid_t group,
               struct err *err);

/* The directory and those above it; existing ones are left as they are. */
int file_make_directory(const char *path, mode_t mode, struct err *err);

bool file_exists(const char *path);

#endif
