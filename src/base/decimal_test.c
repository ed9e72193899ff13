/* The number examples of RFC 8785, appendix B, and round trips. */
#include "base/decimal_priv.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void test_rfc_8785(void **state)
{
    (void)state;
    static const struct {
        uint64_t bits;
        const char *text;
    } rows[] = {
        {0x0000000000000000, "0"},
        {0x8000000000000000, "-0"}, /* json.c drops the sign */
        {0x0000000000000001, "5e-324"},
        {0x8000000000000001, "-5e-324"},
        {0x7fefffffffffffff, "1.7976931348623157e+308"},
        {0xffefffffffffffff, "-1.7976931348623157e+308"},
        {0x4340000000000000, "9007199254740992"},
        {0xc340000000000000, "-9007199254740992"},
        {0x4430000000000000, "295147905179352830000"},
        {0x44b52d02c7e14af5, "9.999999999999997e+22"},
        {0x44b52d02c7e14af6, "1e+23"},
        {0x44b52d02c7e14af7, "1.0000000000000001e+23"},
        {0x444b1ae4d6e2ef4e, "999999999999999700000"},
        {0x444b1ae4d6e2ef4f, "999999999999999900000"},
        {0x444b1ae4d6e2ef50, "1e+21"},
        {0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
        {0x3eb0c6f7a0b5ed8d, "0.000001"},
        {0x41b3de4355555553, "333333333.3333332"},
        {0x41b3de4355555554, "333333333.33333325"},
        {0x41b3de4355555555, "333333333.3333333"},
        {0x41b3de4355555556, "333333333.3333334"},
        {0x41b3de4355555557, "333333333.33333343"},
        {0xbecbf647612f3696, "-0.0000033333333333333333"},
        {0x43143ff3c1cb0959, "1424953923781206.2"},
        {0x3d10000000000000, "1.4210854715202004e-14"}, /* 2^-46 */
        {0x3d30000000000000, "5.684341886080802e-14"},  /* 2^-44: not the nearest of 16 digits */
        {0x0010000000000000, "2.2250738585072014e-308"},
        {0x3ff0000000000000, "1"},
        {0x4059000000000000, "100"},
        {0x3ff8000000000000, "1.5"},
        {0x3fb999999999999a, "0.1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[DECIMAL_TEXT_BYTES];
        size_t size = decimal_format(of_bits(rows[i].bits), text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(size, strlen(text));
    }
}

static void test_reads_back(void **state)
{
    (void)state;
    uint64_t key = rng_key(1);
    char text[DECIMAL_TEXT_BYTES], longer[DECIMAL_TEXT_BYTES];
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)rng_u32(key, 2 * i) << 32 | rng_u32(key, 2 * i + 1);
        double value = i < 2100 ? ldexp(1, (int)i - 1074) : of_bits(bits);
        if (!isfinite(value))
            continue;
        size_t size = decimal_format(value, text);
        assert_true(strtod(text, NULL) == value);
        snprintf(longer, sizeof longer, "%.17g", value);
        assert_true(size <= 21 || size <= strlen(longer) + 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_8785),
        cmocka_unit_test(test_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
