/* facts_json.h - facts as JSON, for what scripts collect on real hosts: one object a fact, in an
 * array or one after the other. {"fact": "domain", "at": 1200, "host": "hv1", ...}: the fields of
 * struct fact, under their names. */
#ifndef SKEIN_TESTS_LIB_FACTS_JSON_H
#define SKEIN_TESTS_LIB_FACTS_JSON_H

#include <jansson.h>

#include "tests/lib/invariants.h"

/* Texts are borrowed from o. A key that no fact has is an error. */
int fact_read(const json_t *o, struct fact *ret, struct err *err);

/* Feeds a whole document; *ret_facts counts what was taken, so that it names the one at fault.
 * When all is taken the whole is checked. */
int facts_feed(struct invariants *inv, const char *text, size_t len, size_t *ret_facts,
               struct err *err);

#endif
