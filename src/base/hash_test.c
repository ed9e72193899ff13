/* Known SHA-256 digests, hex, and the distribution of hash64. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_sha256(void **state)
{
    (void)state;
    char hex[SHA256_HEX_BYTES];
    sha256_hex(NULL, 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_hex(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x00, 0x9f, 0xff};
    char text[7];
    hex_encode(bytes, 3, text);
    assert_string_equal(text, "009fff");
    hex_encode(bytes, 0, text);
    assert_string_equal(text, "");
    uint8_t back[3] = {1, 1, 1};
    assert_true(hex_decode("009fff", back, 3));
    assert_memory_equal(back, bytes, 3);
    assert_true(hex_decode("", back, 0));
    static const char *const wrong[] = {"", "009ff", "009fff0", "009ffF", "009ffg", "009f f"};
    memset(back, 1, 3);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(hex_decode(wrong[i], back, 3));
    assert_memory_equal(back, "\1\1\1", 3);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void test_hash64_has_no_easy_collisions(void **state)
{
    (void)state;
    static uint64_t seen[70000];
    size_t count = 0;
    uint8_t zeros[100] = {0};
    for (size_t size = 0; size <= 100; size++)
        seen[count++] = hash64(zeros, size, 0);
    for (size_t bit = 0; bit < 800; bit++) {
        zeros[bit / 8] ^= (uint8_t)(1 << bit % 8);
        seen[count++] = hash64(zeros, 100, 0);
        zeros[bit / 8] = 0;
    }
    for (uint64_t i = 1; i < 60000; i++)
        seen[count++] = hash64(&i, sizeof i, 0);
    for (uint64_t seed = 1; seed < 1000; seed++)
        seen[count++] = hash64("", 0, seed);
    for (uint64_t a = 0; a < 50; a++)
        for (uint64_t b = 0; b < 50; b++)
            seen[count++] = hash64_mix(hash64_mix(1234567, a), b);
    qsort(seen, count, sizeof seen[0], compare_u64);
    for (size_t i = 1; i < count; i++)
        assert_true(seen[i] != seen[i - 1]);
}

static int ones(uint64_t x)
{
    int count = 0;
    for (; x != 0; x &= x - 1)
        count++;
    return count;
}

static void test_hash64_avalanche(void **state)
{
    (void)state;
    /* Each flipped input bit flips half of the output: 32 of 64 on average, ± 0.25 over these
     * trials (the mean of 64 × 256 words of 64 fair bits deviates by 4 / 128 = 0.03). */
    int total = 0;
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t base = hash64(&i, sizeof i, 9);
        for (int bit = 0; bit < 64; bit++) {
            uint64_t other = i ^ (uint64_t)1 << bit;
            int changed = ones(base ^ hash64(&other, sizeof other, 9));
            assert_in_range(changed, 8, 56);
            total += changed;
        }
    }
    assert_in_range(total, 64 * 256 * 31.75, 64 * 256 * 32.25);
    assert_true(hash64("abc", 3, 0) == hash64("abc", 3, 0));
    char shifted[] = "xabcdefghijkl";
    assert_true(hash64(shifted + 1, 12, 0) == hash64("abcdefghijkl", 12, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_hash64_has_no_easy_collisions),
        cmocka_unit_test(test_hash64_avalanche),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
