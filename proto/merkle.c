#include "proto/merkle.h"

#include <string.h>

#include "proto/util.h"

void merkle_leaf(const void *data, size_t len, uint8_t ret[HASH_SIZE])
{
    _cleanup_(buf_done) struct buf b = {0};
    buf_add(&b, "\0", 1);
    buf_add(&b, data, len);
    hash_sha256(b.data, b.len, ret);
}

void merkle_node(const uint8_t left[HASH_SIZE], const uint8_t right[HASH_SIZE],
                 uint8_t ret[HASH_SIZE])
{
    uint8_t both[1 + 2 * HASH_SIZE] = {1};
    memcpy(both + 1, left, HASH_SIZE);
    memcpy(both + 1 + HASH_SIZE, right, HASH_SIZE);
    hash_sha256(both, sizeof both, ret);
}

/* ---- appending ---- */

int merkle_append(struct merkle_tree *tree, const uint8_t leaf[HASH_SIZE], merkle_put *put,
                  void *arg, struct err *err)
{
    uint8_t hash[HASH_SIZE];
    unsigned level = 0;
    if (tree->size >= MERKLE_SIZE_MAX)
        return err_set(err, ERR_LIMIT, "a tree of %llu leaves grows no more",
                       (unsigned long long)tree->size);
    memcpy(hash, leaf, HASH_SIZE);
    for (; (tree->size >> level & 1) != 0; level++) {
        merkle_node(tree->peaks[level], hash, hash);
        int rc = put != NULL ? put(arg, level + 1, tree->size >> (level + 1), hash, err) : 0;
        if (rc < 0)
            return rc;
    }
    memcpy(tree->peaks[level], hash, HASH_SIZE);
    tree->size++;
    return 0;
}

void merkle_root(const struct merkle_tree *tree, uint8_t ret[HASH_SIZE])
{
    bool any = false;
    hash_sha256("", 0, ret);
    for (unsigned level = 0; level < 64; level++) {
        if ((tree->size >> level & 1) == 0)
            continue;
        if (any)
            merkle_node(tree->peaks[level], ret, ret);
        else
            memcpy(ret, tree->peaks[level], HASH_SIZE);
        any = true;
    }
}

/* ---- proofs ---- */

/* Where the nodes come from. */
struct source {
    merkle_get *get;
    void *arg;
};

/* The largest power of two smaller than n, as an exponent; n > 1. */
static unsigned split_of(uint64_t n)
{
    return 63 - (unsigned)__builtin_clzll(n - 1);
}

/* The root over n leaves from first on; first is a multiple of the smallest power of two that is
 * at least n, which the recursions below keep. */
static int subtree(const struct source *src, uint64_t first, uint64_t n, uint8_t ret[HASH_SIZE],
                   struct err *err)
{
    uint8_t right[HASH_SIZE];
    if ((n & (n - 1)) == 0) {
        unsigned level = (unsigned)__builtin_ctzll(n);
        return src->get(src->arg, level, first >> level, ret, err);
    }
    uint64_t k = (uint64_t)1 << split_of(n);
    int rc = subtree(src, first, k, ret, err);
    if (rc < 0 || (rc = subtree(src, first + k, n - k, right, err)) < 0)
        return rc;
    merkle_node(ret, right, ret);
    return 0;
}

int merkle_root_at(merkle_get *get, void *arg, uint64_t size, uint8_t ret[HASH_SIZE],
                   struct err *err)
{
    struct source src = {get, arg};
    if (size > 0)
        return subtree(&src, 0, size, ret, err);
    hash_sha256("", 0, ret);
    return 0;
}

static int proof_add(const struct source *src, uint64_t first, uint64_t n,
                     struct merkle_proof *proof, struct err *err)
{
    REQUIRE(proof->n < MERKLE_PROOF_MAX);
    return subtree(src, first, n, proof->hashes[proof->n++], err);
}

/* PATH(m, D[first:first+n]) */
static int path(const struct source *src, uint64_t m, uint64_t first, uint64_t n,
                struct merkle_proof *proof, struct err *err)
{
    if (n == 1)
        return 0;
    uint64_t k = (uint64_t)1 << split_of(n);
    int rc =
        m < k ? path(src, m, first, k, proof, err) : path(src, m - k, first + k, n - k, proof, err);
    if (rc < 0)
        return rc;
    return m < k ? proof_add(src, first + k, n - k, proof, err)
                 : proof_add(src, first, k, proof, err);
}

int merkle_inclusion(merkle_get *get, void *arg, uint64_t index, uint64_t size,
                     struct merkle_proof *ret, struct err *err)
{
    struct source src = {get, arg};
    ret->n = 0;
    if (index >= size || size > MERKLE_SIZE_MAX)
        return err_set(err, ERR_INVALID, "record %llu is not among the first %llu",
                       (unsigned long long)index + 1, (unsigned long long)size);
    return path(&src, index, 0, size, ret, err);
}

/* SUBPROOF(m, D[first:first+n], whole) */
static int subproof(const struct source *src, uint64_t m, uint64_t first, uint64_t n, bool whole,
                    struct merkle_proof *proof, struct err *err)
{
    if (m == n)
        return whole ? 0 : proof_add(src, first, n, proof, err);
    uint64_t k = (uint64_t)1 << split_of(n);
    int rc = m <= k ? subproof(src, m, first, k, whole, proof, err)
                    : subproof(src, m - k, first + k, n - k, false, proof, err);
    if (rc < 0)
        return rc;
    return m <= k ? proof_add(src, first + k, n - k, proof, err)
                  : proof_add(src, first, k, proof, err);
}

int merkle_consistency(merkle_get *get, void *arg, uint64_t old, uint64_t size,
                       struct merkle_proof *ret, struct err *err)
{
    struct source src = {get, arg};
    ret->n = 0;
    if (old < 1 || old > size || size > MERKLE_SIZE_MAX)
        return err_set(err, ERR_INVALID, "a log of %llu records does not go on from %llu",
                       (unsigned long long)size, (unsigned long long)old);
    return subproof(&src, old, 0, size, true, ret, err);
}

/* ---- checking ---- */

bool merkle_includes(const uint8_t leaf[HASH_SIZE], uint64_t index, uint64_t size,
                     const struct merkle_proof *proof, const uint8_t root[HASH_SIZE])
{
    uint8_t r[HASH_SIZE];
    if (index >= size || proof->n > MERKLE_PROOF_MAX)
        return false;
    uint64_t fn = index, sn = size - 1;
    memcpy(r, leaf, HASH_SIZE);
    for (size_t i = 0; i < proof->n; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(proof->hashes[i], r, r);
            for (; (fn & 1) == 0 && fn != 0; fn >>= 1)
                sn >>= 1;
        } else {
            merkle_node(r, proof->hashes[i], r);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(r, root, HASH_SIZE) == 0;
}

bool merkle_continues(uint64_t old, const uint8_t old_root[HASH_SIZE], uint64_t size,
                      const uint8_t root[HASH_SIZE], const struct merkle_proof *proof)
{
    uint8_t fr[HASH_SIZE], sr[HASH_SIZE];
    if (old > size || proof->n > MERKLE_PROOF_MAX)
        return false;
    if (old == 0)
        return proof->n == 0;
    if (old == size)
        return proof->n == 0 && memcmp(old_root, root, HASH_SIZE) == 0;
    size_t i = 0;
    bool power = (old & (old - 1)) == 0; /* then the old root is a node, and not in the proof */
    if (!power && proof->n == 0)
        return false;
    memcpy(fr, power ? old_root : proof->hashes[i++], HASH_SIZE);
    memcpy(sr, fr, HASH_SIZE);
    uint64_t fn = old - 1, sn = size - 1;
    for (; (fn & 1) != 0; fn >>= 1)
        sn >>= 1;
    for (; i < proof->n; i++) {
        if (sn == 0)
            return false;
        if ((fn & 1) != 0 || fn == sn) {
            merkle_node(proof->hashes[i], fr, fr);
            merkle_node(proof->hashes[i], sr, sr);
            for (; (fn & 1) == 0 && fn != 0; fn >>= 1)
                sn >>= 1;
        } else {
            merkle_node(sr, proof->hashes[i], sr);
        }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(fr, old_root, HASH_SIZE) == 0 && memcmp(sr, root, HASH_SIZE) == 0;
}
