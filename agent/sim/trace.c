#include "agent/sim/trace.h"

#include <dirent.h>
#include <stdio.h>

#include "proto/util.h"

#define PERIOD_MS 300000
#define NUMBERS_MAX 1000000

static int is_file(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

struct numbers {
    uint8_t *items;
    size_t n, cap;
};

static int read_numbers(FILE *f, const char *path, struct numbers *ret, struct err *err)
{
    char line[64];
    for (size_t number = 1; fgets(line, sizeof line, f) != NULL; number++) {
        char *end;
        long v = strtol(line, &end, 10);
        if (end == line || (*end != '\n' && *end != '\r' && *end != '\0') || v < 0 || v > 100)
            return err_set(err, ERR_INVALID, "%s:%zu: a whole number from 0 to 100 is wanted", path,
                           number);
        if (ret->n == NUMBERS_MAX)
            return err_set(err, ERR_LIMIT, "%s: more than %d lines", path, NUMBERS_MAX);
        ARRAY_RESERVE(ret->items, ret->cap, ret->n + 1);
        ret->items[ret->n++] = (uint8_t)v;
    }
    return ret->n > 0 ? 0 : err_set(err, ERR_INVALID, "%s: empty", path);
}

static int load_one(const char *path, struct world *w, size_t guest, struct err *err)
{
    struct numbers numbers = {0};
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_set(err, ERR_IO, "%s: %m", path);
    int rc = read_numbers(f, path, &numbers, err);
    fclose(f);
    if (rc == 0)
        world_trace(w, guest, numbers.items, numbers.n, PERIOD_MS);
    free(numbers.items);
    return rc;
}

int trace_load(const char *directory, struct world *w, struct err *err)
{
    struct dirent **files = NULL;
    int n = scandir(directory, &files, is_file, by_bytes), rc = 0;
    if (n < 0)
        return err_set(err, ERR_IO, "%s: %m", directory);
    if (n == 0)
        rc = err_set(err, ERR_INVALID, "%s: no trace is there", directory);
    for (size_t i = 0; rc == 0 && i < world_guests(w); i++) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", directory, files[i % (size_t)n]->d_name);
        rc = load_one(path, w, i, err);
    }
    for (int i = 0; i < n; i++)
        free(files[i]);
    free(files);
    return rc;
}
