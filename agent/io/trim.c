#include "agent/io/trim.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Text is mapped r-x from a file and never written to, so that dropping its pages loses nothing.
 * Read-only data is left alone: what was relocated before it was sealed exists nowhere else. */
static void drop_text(const char *line)
{
    uintptr_t from, to;
    char perms[5];
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &from, &to, perms) != 3 ||
        strcmp(perms, "r-xp") != 0 || strchr(line, '/') == NULL)
        return;
    madvise((void *)from, to - from, MADV_DONTNEED);
}

void trim_memory(void)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    malloc_trim(0);
    if (maps == NULL)
        return;
    while (fgets(line, sizeof line, maps) != NULL)
        drop_text(line);
    fclose(maps);
}
