#include "tests/lib/test.h"

#include <stdint.h>
#include <string.h>

#include "planner/worker/pool.h"
#include "tests/lib/rng.h"

static void sizes_are_rounded(void **state)
{
    (void)state;
    if (pool_size(1) == 1)
        return; /* under a sanitizer: malloc's */
    assert_int_equal(pool_size(0), 0);
    assert_int_equal(pool_size(1), 16);
    assert_int_equal(pool_size(48), 48);
    assert_int_equal(pool_size(49), 64);
    assert_int_equal(pool_size(56), 64);
    assert_int_equal(pool_size(65), 128);
    assert_int_equal(pool_size(1024), 1024);
    assert_int_equal(pool_size(1025), 1025);
}

static void tables_begin_with_a_line(void **state)
{
    (void)state;
    struct pool p = {0};
    for (int i = 0; i < 10000; i++) {
        char *small = pool_realloc(&p, NULL, 0, 24), *table = pool_realloc(&p, NULL, 0, 56);
        assert_non_null(small);
        assert_non_null(table);
        if (pool_size(1) > 1) {
            assert_int_equal((uintptr_t)small % POOL_FINE, 0);
            assert_int_equal((uintptr_t)table % POOL_LINE, 0);
        }
        memset(small, 1, 24);
        memset(table, 2, 56);
        pool_free(&p, small, 24);
        pool_free(&p, table, 56);
    }
    pool_done(&p);
}

struct block {
    unsigned char *at;
    size_t size;
    unsigned char mark;
};

static void check_block(const struct block *b)
{
    for (size_t i = 0; i < b->size; i++)
        assert_int_equal(b->at[i], b->mark);
}

/* Blocks grow, shrink and go in any order; none ever sees another's bytes. */
static void blocks_keep_their_bytes(void **state)
{
    (void)state;

    enum { BLOCKS = 200 };

    static struct block blocks[BLOCKS];
    struct pool p = {0};
    struct rng rng;
    rng.state = 7;
    for (int step = 0; step < 30000; step++) {
        struct block *b = &blocks[rng_below(&rng, BLOCKS)];
        size_t size = rng_below(&rng, 10) == 0 ? 0 : 1 + rng_below(&rng, 1600);
        check_block(b);
        if (size == 0) {
            pool_free(&p, b->at, b->size);
            *b = (struct block){0};
            continue;
        }
        size_t kept = b->size < size ? b->size : size;
        b->at = pool_realloc(&p, b->at, b->size, size);
        assert_non_null(b->at);
        b->size = kept;
        check_block(b);
        *b = (struct block){b->at, size, (unsigned char)step};
        memset(b->at, b->mark, size);
    }
    for (int i = 0; i < BLOCKS; i++) {
        check_block(&blocks[i]);
        pool_free(&p, blocks[i].at, blocks[i].size);
    }
    pool_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_rounded),
        cmocka_unit_test(tables_begin_with_a_line),
        cmocka_unit_test(blocks_keep_their_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
