#include "verify/test_util.h"

#include <string.h>

#include "verify/sample.h"

/* The answer for three elements of which the middle one has these bits. */
static void expect(enum dtype dtype, uint64_t a, uint64_t b, bool differs)
{
    uint8_t x[24] = {0}, y[24] = {0};
    size_t step = dtype_bytes(dtype), at = 0;
    memcpy(x + step, &a, step);
    memcpy(y + step, &b, step);
    if (elements_differ(dtype, x, y, 3 * step, &at) != differs || at != differs)
        TEST_FAILED("%s: %llx and %llx", dtype_name(dtype), (unsigned long long)a,
                    (unsigned long long)b);
}

/* Where two tiles overlap, the later one's result is stored, and infinity times 0 may give a NaN of
 * either sign. */
static void only_the_sign_of_a_nan_is_free(void **state)
{
    (void)state;
    expect(DTYPE_F32, 0x3f800000, 0x3f800000, false);
    expect(DTYPE_F32, 0x3f800000, 0xbf800000, true);
    expect(DTYPE_F32, 0, 0x80000000, true);
    expect(DTYPE_F32, 0x7f800000, 0xff800000, true);
    expect(DTYPE_F32, 0x7fc00000, 0xffc00000, false);
    expect(DTYPE_F32, 0x7fe5a123, 0xfff35a45, true); /* the content of memory before the run, as a
                                                        quiet NaN */
    expect(DTYPE_F64, 0x7ff8000000000000, 0xfff8000000000000, false);
    expect(DTYPE_F64, 0x7ff0000000000000, 0xfff0000000000000, true);
    expect(DTYPE_F16, 0x7e00, 0xfe00, false);
    expect(DTYPE_F16, 0x7c00, 0xfc00, true);
    expect(DTYPE_BF16, 0x7fc0, 0xffc0, false);
    expect(DTYPE_BF16, 0x7f80, 0xff80, true);
    expect(DTYPE_I32, 0x7fc00000, 0xffc00000, true);
    expect(DTYPE_U8, 0x7f, 0xff, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_the_sign_of_a_nan_is_free)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
