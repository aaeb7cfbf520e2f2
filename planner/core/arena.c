#include "planner/core/arena.h"

#include <stdalign.h>
#include <string.h>

#include "proto/err.h"

#include "proto/util.h"

#define BLOCK_SIZE ((size_t)256 << 10)

struct arena_block {
    struct arena_block *next;
    size_t size;
    alignas(max_align_t) char data[];
};

static void add_block(struct arena *a, size_t need)
{
    size_t size = MAX(need, BLOCK_SIZE);
    struct arena_block *b = xmalloc(sizeof *b + size);
    b->next = a->blocks;
    b->size = size;
    a->blocks = b;
    a->used = 0;
}

static void *take(struct arena *a, size_t size, size_t align)
{
    size_t start = (a->used + align - 1) & ~(align - 1);
    if (a->blocks == NULL || size > a->blocks->size || start > a->blocks->size - size) {
        add_block(a, size);
        start = 0;
    }
    a->used = start + size;
    return a->blocks->data + start;
}

void *arena_alloc(struct arena *a, size_t size)
{
    return memset(take(a, size, alignof(max_align_t)), 0, size);
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    REQUIRE(!__builtin_mul_overflow(n, size, &bytes));
    return arena_alloc(a, bytes);
}

char *arena_copy(struct arena *a, const char *s, size_t len)
{
    char *p = take(a, len + 1, 1);
    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

void arena_reset(struct arena *a)
{
    if (a->blocks == NULL)
        return;
    while (a->blocks->next != NULL) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    a->used = 0;
}

void arena_done(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    a->used = 0;
}

/* Eight bytes at a time; inputs that collide on purpose cost time only, and a snapshot is signed by
 * our agents. */
static uint32_t hash_bytes(const char *s, size_t len)
{
    uint64_t h = len;
    for (size_t i = 0; i < len; i += sizeof h) {
        uint64_t word = 0;
        memcpy(&word, s + i, MIN(len - i, sizeof word));
        h = (h ^ word) * 0x9E3779B97F4A7C15U;
        h ^= h >> 32;
    }
    return (uint32_t)h;
}

static void grow(struct intern *t)
{
    size_t n = t->n_slots == 0 ? 1024 : t->n_slots * 2;
    const char **slots = xcalloc(n, sizeof *slots);
    uint32_t *hashes = xcalloc(n, sizeof *hashes);
    for (size_t i = 0; i < t->n_slots; i++) {
        if (t->slots[i] == NULL)
            continue;
        size_t at = t->hashes[i] & (n - 1);
        while (slots[at] != NULL)
            at = (at + 1) & (n - 1);
        slots[at] = t->slots[i];
        hashes[at] = t->hashes[i];
    }
    free(t->slots);
    free(t->hashes);
    t->slots = slots;
    t->hashes = hashes;
    t->n_slots = n;
}

const char *intern(struct intern *t, const char *s, size_t len)
{
    if (2 * (t->n + 1) > t->n_slots)
        grow(t);
    uint32_t h = hash_bytes(s, len);
    size_t at = h & (t->n_slots - 1);
    while (t->slots[at] != NULL) {
        const char *have = t->slots[at];
        if (t->hashes[at] == h && strncmp(have, s, len) == 0 && have[len] == '\0')
            return have;
        at = (at + 1) & (t->n_slots - 1);
    }
    t->slots[at] = arena_copy(t->arena, s, len);
    t->hashes[at] = h;
    t->n++;
    return t->slots[at];
}

void intern_done(struct intern *t)
{
    free(t->slots);
    free(t->hashes);
    *t = (struct intern){0};
}
