/* Every file of a directory through the fuzz target, whole, and each with its end cut off. */
#include <dirent.h>
#include <stdio.h>

#include "proto/util.h"
#include "tests/fuzz/fuzz.h"
#include "tls/file.h"

#define INPUT_MAX (4 << 20)

static void replay(const char *path)
{
    struct err err;
    _cleanup_(freep) char *text = NULL;
    size_t len;
    if (file_read(path, INPUT_MAX, &text, &len, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t n = len;; n = n * 7 / 8) {
        /* A copy of just that size, so that a sanitizer sees the first byte beyond. */
        _cleanup_(freep) uint8_t *copy = xmemdup(text, n);
        LLVMFuzzerTestOneInput(copy, n);
        if (n == 0)
            break;
    }
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    if (directory == NULL) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    for (const struct dirent *e; (e = readdir(directory)) != NULL;) {
        _cleanup_(freep) char *path = xasprintf("%s/%s", argv[1], e->d_name);
        if (e->d_name[0] == '.')
            continue;
        replay(path);
        n++;
    }
    closedir(directory);
    printf("%u inputs\n", n);
    return n > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
