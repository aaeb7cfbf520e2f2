#include "proto/token.h"

#include <stdio.h>
#include <string.h>

#define BEGINNING "skein1:"

void token_format(const struct token *token, char ret[TOKEN_TEXT_SIZE])
{
    snprintf(ret, TOKEN_TEXT_SIZE, BEGINNING "%s:%s:%s:%s", token->cluster, token->machines,
             token->people, token->secret);
}

static bool is_digest(const char *text)
{
    return strspn(text, "0123456789abcdef") == HASH_HEX_SIZE - 1 && strlen(text) < HASH_HEX_SIZE;
}

int token_parse(const char *text, struct token *ret, struct err *err)
{
    struct token t = {0};
    if (strncmp(text, BEGINNING, strlen(BEGINNING)) != 0)
        return err_set(err, ERR_INVALID, "that is no token: it would begin with " BEGINNING);
    int end = 0;
    if (sscanf(text + strlen(BEGINNING), "%64[a-z0-9._-]:%64[0-9a-f]:%64[0-9a-f]:%64[0-9a-f]%n",
               t.cluster, t.machines, t.people, t.secret, &end) != 4 ||
        text[strlen(BEGINNING) + (size_t)end] != '\0' || !is_digest(t.machines) ||
        !is_digest(t.people) || !is_digest(t.secret))
        return err_set(err, ERR_INVALID, "the token is not whole: copy all of it");
    *ret = t;
    return 0;
}

static bool step(const char *domain, const char *from, char ret[HASH_HEX_SIZE])
{
    uint8_t hash[HASH_SIZE];
    if (!is_digest(from))
        return false;
    hash_domain(domain, from, HASH_HEX_SIZE - 1, hash);
    hash_hex(hash, ret);
    return true;
}

bool token_proof(const char *secret, char ret[HASH_HEX_SIZE])
{
    return step("skein.token/1", secret, ret);
}

bool token_hash(const char *proof, char ret[HASH_HEX_SIZE])
{
    return step("skein.token-proof/1", proof, ret);
}
