/* The tree against RFC 6962's definition, written down once more here in its plainest form, and
 * against the roots that certificate transparency's own tests use. */
#include "tests/lib/test.h"

#include "proto/merkle.h"
#include "proto/util.h"

#define LEAVES 70

static uint8_t leaves[LEAVES][HASH_SIZE];
static uint8_t nodes[8][LEAVES][HASH_SIZE]; /* as they were put */

static int put(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_SIZE],
               struct err *err)
{
    (void)arg;
    (void)err;
    memcpy(nodes[level][index], hash, HASH_SIZE);
    return 0;
}

static int get(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_SIZE], struct err *err)
{
    uint64_t size = *(const uint64_t *)arg;
    (void)err;
    assert_true((index + 1) << level <= size); /* nothing is asked for that is not there */
    memcpy(ret, level == 0 ? leaves[index] : nodes[level][index], HASH_SIZE);
    return 0;
}

/* MTH(D[from:to]) */
static void mth(size_t from, size_t to, uint8_t ret[HASH_SIZE])
{
    uint8_t left[HASH_SIZE], right[HASH_SIZE];
    if (to - from == 1) {
        memcpy(ret, leaves[from], HASH_SIZE);
        return;
    }
    size_t k = 1;
    while (2 * k < to - from)
        k *= 2;
    mth(from, from + k, left);
    mth(from + k, to, right);
    merkle_node(left, right, ret);
}

static void grow(struct merkle_tree *tree)
{
    struct err err = {0};
    for (size_t i = 0; i < LEAVES; i++) {
        merkle_leaf(&(char){(char)i}, 1, leaves[i]);
        assert_ok(merkle_append(tree, leaves[i], put, NULL, &err), &err);
    }
}

static void test_known_roots(void **state)
{
    static const struct {
        const char *data;
        size_t len;
        const char *root;
    } known[] = {
        {"", 0, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
        {"\x00", 1, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
        {"\x10", 1, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
        {"\x20\x21", 2, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
        {"\x30\x31", 2, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
        {"@ABC", 4, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
        {"PQRSTUVW", 8, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
        {"`abcdefghijklmno", 16,
         "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
    };

    struct merkle_tree tree = {0};
    uint8_t hash[HASH_SIZE];
    char hex[HASH_HEX_SIZE];
    struct err err = {0};
    (void)state;
    merkle_root(&tree, hash);
    hash_hex(hash, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        merkle_leaf(known[i].data, known[i].len, hash);
        assert_ok(merkle_append(&tree, hash, NULL, NULL, &err), &err);
        merkle_root(&tree, hash);
        hash_hex(hash, hex);
        assert_string_equal(hex, known[i].root);
    }
}

static void test_roots_and_paths(void **state)
{
    struct merkle_tree tree = {0};
    struct merkle_proof proof;
    struct err err = {0};
    uint8_t root[HASH_SIZE], want[HASH_SIZE];
    (void)state;
    grow(&tree);
    for (uint64_t n = 1; n <= LEAVES; n++) {
        mth(0, n, want);
        assert_ok(merkle_root_at(get, &n, n, root, &err), &err);
        assert_memory_equal(root, want, HASH_SIZE);
        for (uint64_t i = 0; i < n; i++) {
            assert_ok(merkle_inclusion(get, &n, i, n, &proof, &err), &err);
            assert_true(merkle_includes(leaves[i], i, n, &proof, root));
            assert_false(merkle_includes(leaves[(i + 1) % LEAVES], i, n, &proof, root));
            assert_false(merkle_includes(leaves[i], (i + 1) % n, n, &proof, root) && n > 1);
            proof.hashes[0][5] ^= 1;
            assert_false(proof.n > 0 && merkle_includes(leaves[i], i, n, &proof, root));
        }
        assert_int_equal(merkle_inclusion(get, &n, n, n, &proof, &err), -ERR_INVALID);
    }
}

static void test_consistency(void **state)
{
    struct merkle_tree tree = {0};
    struct merkle_proof proof;
    struct err err = {0};
    uint8_t root[HASH_SIZE], old[HASH_SIZE];
    (void)state;
    grow(&tree);
    for (uint64_t n = 1; n <= LEAVES; n++) {
        mth(0, n, root);
        for (uint64_t m = 1; m <= n; m++) {
            mth(0, m, old);
            assert_ok(merkle_consistency(get, &n, m, n, &proof, &err), &err);
            assert_true(merkle_continues(m, old, n, root, &proof));
            assert_false(merkle_continues(m, leaves[LEAVES - 1], n, root, &proof));
            assert_false(merkle_continues(m, old, n, leaves[LEAVES - 1], &proof));
            if (proof.n > 0) {
                proof.hashes[proof.n - 1][0] ^= 1;
                assert_false(merkle_continues(m, old, n, root, &proof));
                proof.n--;
                assert_false(merkle_continues(m, old, n, root, &proof));
            }
        }
    }
    uint64_t n = 3;
    assert_int_equal(merkle_consistency(get, &n, 4, 3, &proof, &err), -ERR_INVALID);
    proof.n = 0;
    assert_true(merkle_continues(0, root, 5, root, &proof));
    assert_false(merkle_continues(6, root, 5, root, &proof));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_roots),
        cmocka_unit_test(test_roots_and_paths),
        cmocka_unit_test(test_consistency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
