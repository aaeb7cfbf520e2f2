/* canon.h - canonical JSON: the form in which documents are hashed and signed.
 * Sorted keys (by bytes), no white space, UTF-8, no NUL, decimals of at most three fractional
 * digits and no exponent; 1.0 and 1 are the same. Only strings are escaped, and only what JSON
 * requires (", \, control characters). Duplicate keys are refused when parsing. */
#ifndef SKEIN_PROTO_CANON_H
#define SKEIN_PROTO_CANON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/hash.h"
#include "proto/util.h"

#define _cleanup_json_ _cleanup_(json_decrefp) /* jansson's */

/* Largest number a canonical document holds: what thousandths in a double still represent. */
#define CANON_NUMBER_MAX 1e12

/* Parse text of a document called what (for the message: "WHAT:LINE:COLUMN: ..."). Duplicate keys,
 * NUL, invalid UTF-8 and trailing text are errors. A new reference in *ret. */
int canon_parse(const char *text, size_t len, const char *what, json_t **ret, struct err *err);

/* The canonical bytes, to be freed; ERR_INVALID for a number too large or not finite. */
int canon_dump(const json_t *doc, char **ret, size_t *ret_len, struct err *err);

/* Likewise of an object whose lists of these names (ending with NULL) are sets: their elements come
 * in the order of their own canonical bytes, whatever their order in doc. */
int canon_dump_sets(const json_t *doc, const char *const *sets, char **ret, size_t *ret_len,
                    struct err *err);

/* SHA-256 of DOMAIN, NUL, canonical bytes, in hex. */
int canon_digest(const char *domain, const json_t *doc, char ret[HASH_HEX_SIZE], struct err *err);

/* Numbers with a fraction travel as integers of thousandths. */
json_t *canon_milli(int64_t thousandths);     /* new reference: 1500 -> 1.5 */
int64_t canon_to_milli(const json_t *number); /* 1.5 -> 1500, rounded; saturates */

/* A moment of the wall clock, as text; 0 is unknown: null. */
json_t *canon_time(uint64_t wall);

#endif
