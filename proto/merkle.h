/* merkle.h - the hash tree of RFC 6962 (section 2.1) over a growing list of records: one root
 * names all of them and their order; a proof of some 20 hashes shows that a record is among a
 * million, or that a longer list only goes on where a shorter one ended.
 * Pure. Nodes are named by level and index: (0, i) is leaf i, (l, i) the perfect subtree over the
 * leaves from i << l on. */
#ifndef SKEIN_PROTO_MERKLE_H
#define SKEIN_PROTO_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/hash.h"

#define MERKLE_SIZE_MAX ((uint64_t)1 << 62)
#define MERKLE_PROOF_MAX 64 /* hashes: a path's length, and one more for consistency */

void merkle_leaf(const void *data, size_t len, uint8_t ret[HASH_SIZE]); /* SHA-256(0 || data) */
void merkle_node(const uint8_t left[HASH_SIZE], const uint8_t right[HASH_SIZE],
                 uint8_t ret[HASH_SIZE]); /* SHA-256(1 || left || right) */

/* ---- appending: the peaks are all that is needed ---- */

struct merkle_tree {
    uint64_t size;
    uint8_t peaks[64][HASH_SIZE]; /* [l] holds where bit l of size is set */
};

/* Told of each node above the leaves that became complete; stops at a negative answer. */
typedef int merkle_put(void *arg, unsigned level, uint64_t index, const uint8_t hash[HASH_SIZE],
                       struct err *err);

/* put may be NULL. On failure the tree is as it was. */
int merkle_append(struct merkle_tree *tree, const uint8_t leaf[HASH_SIZE], merkle_put *put,
                  void *arg, struct err *err);
void merkle_root(const struct merkle_tree *tree, uint8_t ret[HASH_SIZE]);

/* ---- proofs: from the nodes that were put ---- */

typedef int merkle_get(void *arg, unsigned level, uint64_t index, uint8_t ret[HASH_SIZE],
                       struct err *err);

struct merkle_proof {
    uint8_t hashes[MERKLE_PROOF_MAX][HASH_SIZE];
    size_t n;
};

/* The root over the first size leaves. */
int merkle_root_at(merkle_get *get, void *arg, uint64_t size, uint8_t ret[HASH_SIZE],
                   struct err *err);
/* Leaf index (from 0) is among the first size; ERR_INVALID when it cannot be. */
int merkle_inclusion(merkle_get *get, void *arg, uint64_t index, uint64_t size,
                     struct merkle_proof *ret, struct err *err);
/* The first size leaves go on where the first old ones ended; 1 <= old <= size. */
int merkle_consistency(merkle_get *get, void *arg, uint64_t old, uint64_t size,
                       struct merkle_proof *ret, struct err *err);

/* RFC 9162, 2.1.3.2 and 2.1.4.2. Everything may come from anyone. An old size of 0 is consistent
 * with anything by an empty proof. */
bool merkle_includes(const uint8_t leaf[HASH_SIZE], uint64_t index, uint64_t size,
                     const struct merkle_proof *proof, const uint8_t root[HASH_SIZE]);
bool merkle_continues(uint64_t old, const uint8_t old_root[HASH_SIZE], uint64_t size,
                      const uint8_t root[HASH_SIZE], const struct merkle_proof *proof);

#endif
