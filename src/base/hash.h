/* hash64 for tables (fast, not safe against chosen keys); SHA-256 for identity (libcrypto). */
#ifndef URZA_BASE_HASH_H
#define URZA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES 65 /* with the terminator */

uint64_t hash64(const void *data, size_t size, uint64_t seed);

#define HASH64_K1 0x9e3779b97f4a7c15u
#define HASH64_K2 0xd6e8feb86659fd93u
#define HASH64_K3 0xa0761d6478bd642fu

/* One step of hash64; a sequence of words is hashed by a chain of these. Only for tables that mix
 * hashes once more, as map.c does. */
static inline uint64_t hash64_mix(uint64_t hash, uint64_t word)
{
    word *= HASH64_K1;
    word ^= word >> 32;
    hash = ((hash << 27) | (hash >> 37)) ^ word;
    hash = (hash + HASH64_K3) * HASH64_K2;
    return hash ^ (hash >> 29);
}

void sha256(const void *data, size_t size, uint8_t out[SHA256_BYTES]);
void sha256_hex(const void *data, size_t size, char out[SHA256_HEX_BYTES]); /* lower case */
/* The same of bytes that lie in several places, one behind the other. */
struct bytes_piece {
    const void *data;
    size_t size_bytes;
};
void sha256_hex_pieces(const struct bytes_piece *pieces, uint32_t count,
                       char out[SHA256_HEX_BYTES]);
void hex_encode(const uint8_t *bytes, size_t size, char *out); /* 2 × size + 1 bytes */
/* Decodes 2 × size lower-case hex digits into exactly size bytes. Returns 0 if text is anything
 * else. */
int hex_decode(const char *text, uint8_t *out, size_t size);

#endif
