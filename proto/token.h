/* token.h - what lets one host join once: "skein1:CLUSTER:MACHINES:PEOPLE:SECRET".
 * MACHINES and PEOPLE are digests of both roots' keys: whoever joins knows by them whom to believe,
 * the first before he says his secret, the second before he takes any person for one. The
 * replicated state holds the hash of a proof of the secret, so that an agent that asks to use it
 * shows no more than that proof: with it a token can be spent, but no certificate had. Pure. */
#ifndef SKEIN_PROTO_TOKEN_H
#define SKEIN_PROTO_TOKEN_H

#include "proto/err.h"
#include "proto/hash.h"

#define TOKEN_CLUSTER_SIZE 65
#define TOKEN_TEXT_SIZE (sizeof "skein1::::" + TOKEN_CLUSTER_SIZE + 3 * HASH_HEX_SIZE)

struct token {
    char cluster[TOKEN_CLUSTER_SIZE];
    char machines[HASH_HEX_SIZE]; /* SPKI SHA-256 of the machines' root, ... */
    char people[HASH_HEX_SIZE];   /* ... and of the people's */
    char secret[HASH_HEX_SIZE];   /* 32 random bytes */
};

void token_format(const struct token *token, char ret[TOKEN_TEXT_SIZE]);
/* ERR_INVALID says what of it is wrong, and nothing of the secret. */
int token_parse(const char *text, struct token *ret, struct err *err);

/* false: not 64 hexadecimal digits, in lower case. */
bool token_proof(const char *secret, char ret[HASH_HEX_SIZE]);
bool token_hash(const char *proof, char ret[HASH_HEX_SIZE]);

#endif
