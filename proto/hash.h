/* hash.h - SHA-256 and how digests are written: 64 lower-case hexadecimal digits. */
#ifndef SKEIN_PROTO_HASH_H
#define SKEIN_PROTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_SIZE 32
#define HASH_HEX_SIZE (2 * HASH_SIZE + 1) /* with the terminating NUL */

void hash_sha256(const void *data, size_t len, uint8_t ret[HASH_SIZE]);

/* SHA-256 of DOMAIN, a NUL byte and the data: the same bytes mean different things in different
 * places, and so have different digests. */
void hash_domain(const char *domain, const void *data, size_t len, uint8_t ret[HASH_SIZE]);

/* The same, piece by piece. hash_done() ends it and frees. */
struct hash_run;
struct hash_run *hash_begin(const char *domain);
void hash_more(struct hash_run *h, const void *data, size_t len);
void hash_done(struct hash_run *h, uint8_t ret[HASH_SIZE]);

void hash_hex(const uint8_t hash[HASH_SIZE], char ret[HASH_HEX_SIZE]);
bool hash_from_hex(const char *hex, uint8_t ret[HASH_SIZE]); /* false: not 64 hex digits */

/* A policy's text, as plans and standing orders name it. */
#define HASH_DOMAIN_POLICY "skein.policy/1"

#define UUID_SIZE 37 /* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" and a NUL */

bool uuid_is_valid(const char *s); /* canonical lower-case form */
void uuid_from_random(const uint8_t random[16], char ret[UUID_SIZE]);

#endif
