/* jread.h - large JSON documents, piece by piece: one small tree for each member of the top object,
 * and for the arrays named, one for each element, so that memory follows the largest element and
 * not the document. Strict: duplicate keys, NUL, invalid UTF-8, lone surrogates, numbers beyond
 * 1e15, depth beyond JREAD_DEPTH, pieces beyond JREAD_VALUES_MAX and trailing text are errors.
 * Pure. */
#ifndef SKEIN_PLANNER_CORE_JREAD_H
#define SKEIN_PLANNER_CORE_JREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/units.h"
#include "proto/util.h"

#define JREAD_DEPTH 32
#define JREAD_NUMBER_MAX 1e15
/* Values in one piece: what is not streamed is a tree for a moment, at about 100 bytes each. */
#define JREAD_VALUES_MAX 4000000

enum jtype { J_NULL, J_BOOL, J_INTEGER, J_REAL, J_STRING, J_ARRAY, J_OBJECT };

struct jnode {
    enum jtype type;
    bool boolean;
    const char *key; /* within an object, else NULL */
    size_t key_len;
    const char *text; /* string, NUL-terminated */
    size_t len;
    int64_t integer;
    double real;
    struct jnode **items; /* of arrays; of objects sorted by key */
    size_t n;
    struct jnode *next; /* while building */
};

struct jread {
    /* Top members whose arrays come element by element. NULL-terminated. */
    const char *const *streamed;
    /* One piece: the member key, and index -1 for the whole value; or for streamed arrays each
     * element by index, and at its end once more with node NULL and index the count. The node
     * lives until the call returns. Negative stops the reading, with err set. */
    int (*piece)(void *ctx, const char *key, int index, const struct jnode *node, struct err *err);
    void *ctx;
};

/* what: the document's name in messages, "snapshot". */
int jread_run(const struct jread *r, const char *what, const char *text, size_t len,
              struct err *err);

/* The canonical bytes (proto/canon.h) of one node. */
int jnode_canon(const struct jnode *v, struct buf *out, struct err *err);

const struct jnode *jnode_get(const struct jnode *object, const char *key); /* NULL: none */

#endif
