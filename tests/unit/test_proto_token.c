/* Tokens: their text, and the two steps from a secret to what the voters hold. */
#include "tests/lib/test.h"

#include "proto/token.h"
#include "proto/util.h"

#define ROOT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define PEOPLE "99887766554433221100ffeeddccbbaa99887766554433221100ffeeddccbbaa"
#define SECRET "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static void text_and_back(void **state _unused_)
{
    struct token token = {.cluster = "dc-1.lab",
                          .machines = ROOT,
                          .people = PEOPLE,
                          .secret = SECRET},
                 again;
    struct err err = {0};
    char text[TOKEN_TEXT_SIZE];
    token_format(&token, text);
    assert_string_equal(text, "skein1:dc-1.lab:" ROOT ":" PEOPLE ":" SECRET);
    assert_ok(token_parse(text, &again, &err), &err);
    assert_string_equal(again.cluster, token.cluster);
    assert_string_equal(again.machines, ROOT);
    assert_string_equal(again.people, PEOPLE);
    assert_string_equal(again.secret, SECRET);
}

static void what_is_none_is_refused(void **state _unused_)
{
    static const char *const bad[] = {"",
                                      "skein1:",
                                      "skein2:dc1:" ROOT ":" PEOPLE ":" SECRET,
                                      "skein1:dc1:" ROOT,
                                      "skein1:dc1:" ROOT ":" SECRET,
                                      "skein1:dc1:" ROOT ":" PEOPLE ":" ROOT "0",
                                      "skein1:dc1:" ROOT ":" PEOPLE ":" SECRET "\n",
                                      "skein1:dc1:" ROOT ":" PEOPLE ":ffee",
                                      "skein1:DC1:" ROOT ":" PEOPLE ":" SECRET,
                                      "skein1::" ROOT ":" PEOPLE ":" SECRET,
                                      "skein1:dc1:ABCD:" PEOPLE ":" SECRET,
                                      "skein1:dc1:" ROOT ":ABCD:" SECRET};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct token token;
        struct err err = {0};
        assert_err(token_parse(bad[i], &token, &err), &err, ERR_INVALID, "token");
        assert_null(strstr(err.msg, "ffee"));
    }
}

static void proof_and_hash(void **state _unused_)
{
    char proof[HASH_HEX_SIZE], hash[HASH_HEX_SIZE], other[HASH_HEX_SIZE];
    assert_true(token_proof(SECRET, proof));
    assert_true(token_hash(proof, hash));
    assert_string_not_equal(proof, SECRET);
    assert_string_not_equal(hash, proof);
    assert_true(token_hash(SECRET, other)); /* the secret itself is no proof */
    assert_string_not_equal(other, hash);
    assert_false(token_proof("", proof));
    assert_false(token_proof(SECRET "0", proof));
    assert_false(token_hash("FF", hash));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_back),
        cmocka_unit_test(what_is_none_is_refused),
        cmocka_unit_test(proof_and_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
