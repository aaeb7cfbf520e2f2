#include "proto/hash.h"

#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#include "proto/err.h"
#include "proto/util.h"

void hash_sha256(const void *data, size_t len, uint8_t ret[HASH_SIZE])
{
    int rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, data, len, ret);
    REQUIRE(rc == 0);
}

struct hash_run {
    gnutls_hash_hd_t handle;
};

struct hash_run *hash_begin(const char *domain)
{
    struct hash_run *h = xmalloc(sizeof *h);
    int rc = gnutls_hash_init(&h->handle, GNUTLS_DIG_SHA256);
    REQUIRE(rc == 0);
    hash_more(h, domain, strlen(domain) + 1);
    return h;
}

void hash_more(struct hash_run *h, const void *data, size_t len)
{
    int rc = len > 0 ? gnutls_hash(h->handle, data, len) : 0;
    REQUIRE(rc == 0);
}

void hash_done(struct hash_run *h, uint8_t ret[HASH_SIZE])
{
    gnutls_hash_deinit(h->handle, ret);
    free(h);
}

void hash_domain(const char *domain, const void *data, size_t len, uint8_t ret[HASH_SIZE])
{
    struct hash_run *h = hash_begin(domain);
    hash_more(h, data, len);
    hash_done(h, ret);
}

void hash_hex(const uint8_t hash[HASH_SIZE], char ret[HASH_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_SIZE; i++) {
        ret[2 * i] = digits[hash[i] >> 4];
        ret[2 * i + 1] = digits[hash[i] & 15];
    }
    ret[2 * HASH_SIZE] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hash_from_hex(const char *hex, uint8_t ret[HASH_SIZE])
{
    if (strnlen(hex, HASH_HEX_SIZE) != 2 * HASH_SIZE)
        return false;
    for (size_t i = 0; i < HASH_SIZE; i++) {
        int hi = hex_value(hex[2 * i]), lo = hex_value(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        ret[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

bool uuid_is_valid(const char *s)
{
    for (size_t i = 0; i < UUID_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : hex_value(s[i]) < 0)
            return false;
    }
    return s[UUID_SIZE - 1] == '\0';
}

void uuid_from_random(const uint8_t random[16], char ret[UUID_SIZE])
{
    uint8_t b[16];
    memcpy(b, random, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* RFC 4122: version 4, variant 1 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(ret, UUID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}
