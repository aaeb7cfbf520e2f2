/* rules.h - gate rules as an admin signed them, for tests of agent/core: while they are in scope,
 * test_trust (plans.h) demands them. */
#ifndef SKEIN_TESTS_LIB_RULES_H
#define SKEIN_TESTS_LIB_RULES_H

#include "tests/lib/test.h"

#include "tests/lib/plans.h"

static inline void rules_free(struct gate_rules **rules)
{
    gate_rules_free(*rules);
    test_rules = NULL;
}

static inline struct gate_rules *rules_of(const char *text)
{
    struct gate_rules *rules = NULL;
    struct err err = {0};
    _cleanup_json_ json_t *list = json_loads(text, 0, NULL);
    assert_non_null(list);
    assert_ok(gate_rules_read(list, &rules, &err), &err);
    test_rules = rules;
    return rules;
}

#define WITH_RULES(text)                                                                           \
    struct gate_rules *rules _unused_ __attribute__((cleanup(rules_free))) = rules_of(text)

#endif
