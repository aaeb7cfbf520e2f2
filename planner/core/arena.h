/* arena.h - memory that is freed all at once, and strings kept once each. Pure. */
#ifndef SKEIN_PLANNER_CORE_ARENA_H
#define SKEIN_PLANNER_CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t used;                /* of the newest */
};

/* Zeroed memory, aligned for any type. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_array(struct arena *a, size_t n, size_t size);
char *arena_copy(struct arena *a, const char *s, size_t len); /* with a NUL added */
void arena_reset(struct arena *a);                            /* keeps one block */
void arena_done(struct arena *a);

/* Strings by content; the table is needed only while interning, the strings live in the arena. */
struct intern {
    struct arena *arena; /* borrowed */
    const char **slots;  /* owned */
    uint32_t *hashes;
    size_t n_slots, n;
};

const char *intern(struct intern *t, const char *s, size_t len);
void intern_done(struct intern *t);

#endif
