/* hash64 consumes eight bytes per step: each word is mixed by a multiplication and a shift,
 * combined with the state, and the state is multiplied and shifted again. Each step is a bijection
 * of the word for a given state, and of the state for a given word, so two inputs that differ in
 * one word only never collide. The size is part of the initial state, which distinguishes "" from
 * "\0". The values depend on byte order and are only for tables in one process. */
#include "base/hash.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <string.h>

static uint64_t finish(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= HASH64_K2;
    hash ^= hash >> 32;
    hash *= HASH64_K2;
    return hash ^ (hash >> 32);
}

uint64_t hash64(const void *data, size_t size, uint64_t seed)
{
    const uint8_t *bytes = data;
    uint64_t hash = hash64_mix(seed, size);
    uint64_t word;
    for (; size >= 8; bytes += 8, size -= 8) {
        memcpy(&word, bytes, 8);
        hash = hash64_mix(hash, word);
    }
    if (size > 0) {
        word = 0;
        memcpy(&word, bytes, size);
        hash = hash64_mix(hash, word);
    }
    return finish(hash);
}

static void sha256_of(const struct bytes_piece *pieces, uint32_t count, uint8_t out[SHA256_BYTES])
{
    /* The deprecated SHA256_* functions: unlike EVP's they cannot fail, since they allocate
     * nothing. */
    SHA256_CTX context;
    SHA256_Init(&context);
    for (uint32_t i = 0; i < count; i++)
        SHA256_Update(&context, pieces[i].data, pieces[i].size_bytes);
    SHA256_Final(out, &context);
}

void sha256(const void *data, size_t size, uint8_t out[SHA256_BYTES])
{
    sha256_of(&(struct bytes_piece){data, size}, 1, out);
}

void sha256_hex_pieces(const struct bytes_piece *pieces, uint32_t count, char out[SHA256_HEX_BYTES])
{
    uint8_t digest[SHA256_BYTES];
    sha256_of(pieces, count, digest);
    hex_encode(digest, sizeof digest, out);
}

void sha256_hex(const void *data, size_t size, char out[SHA256_HEX_BYTES])
{
    uint8_t digest[SHA256_BYTES];
    sha256(data, size, digest);
    hex_encode(digest, sizeof digest, out);
}

void hex_encode(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

/* The value of a lower-case hex digit; -1 for any other character. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int hex_decode(const char *text, uint8_t *out, size_t size)
{
    /* All digits are checked first, since out is written only on success. The terminator is not a
     * digit, so reading stops there. */
    for (size_t i = 0; i < 2 * size; i++)
        if (digit_value(text[i]) < 0)
            return 0;
    if (text[2 * size] != '\0')
        return 0;
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(digit_value(text[2 * i]) << 4 | digit_value(text[2 * i + 1]));
    return 1;
}
