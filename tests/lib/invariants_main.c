/* invariants FILE...: checks facts that were collected elsewhere, each file by itself; "-" is the
 * standard input. Prints what is broken. Exit status: 0 all holds, 1 broken or unreadable, 2 wrong
 * usage. */
#include <stdio.h>

#include "proto/util.h"
#include "tests/lib/facts_json.h"

static int read_all(const char *path, struct buf *ret, struct err *err)
{
    char piece[65536];
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (file == NULL)
        return err_set(err, ERR_IO, "%m");
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        buf_add(ret, piece, n);
    bool failed = ferror(file) != 0;
    if (file != stdin)
        fclose(file);
    return failed ? err_set(err, ERR_IO, "%m") : 0;
}

static int check_file(const char *path)
{
    struct err err = {0};
    struct buf text = {0};
    size_t facts = 0;
    struct invariants *inv = invariants_new();
    int rc = read_all(path, &text, &err);
    if (rc >= 0)
        rc = facts_feed(inv, text.data != NULL ? text.data : "", text.len, &facts, &err);
    invariants_free(inv);
    buf_done(&text);
    if (rc < 0)
        printf("%s: fact %zu: %s\n", path, facts, err.msg);
    else
        printf("%s: %zu facts, nothing is broken\n", path, facts);
    return rc;
}

int main(int argc, char **argv)
{
    int bad = 0;
    if (argc < 2 || (argv[1][0] == '-' && argv[1][1] != '\0')) {
        fprintf(stderr, "usage: invariants FILE... (\"-\": standard input)\n"
                        "checks facts, as tests/README.md describes them\n");
        return argc > 1 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    for (int i = 1; i < argc; i++)
        bad |= check_file(argv[i]) < 0;
    return bad;
}
