/* Vectors from an independent implementation, and the moments of the distributions. */
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_vectors(void **state)
{
    (void)state;
    /* splitmix64 of 0 and of 1234567 are the reference values of its author (the latter is odd). */
    assert_true(rng_key(0) == 0xe220a8397b1dcdafu);
    assert_true(rng_key(1234567) == 6457827717110365317u);
    assert_true(rng_key(1) == 0x910a2dec89025cc1u);
    static const struct {
        uint64_t key, counter;
        uint32_t value;
    } rows[] = {
        {0xe220a8397b1dcdaf, 0, 0x1d20353b},
        {0xe220a8397b1dcdaf, 1, 0x1f462cba},
        {0xe220a8397b1dcdaf, (uint64_t)1 << 40, 0xaa67105e},
        {0xe220a8397b1dcdaf, UINT64_MAX, 0xca8d5aa0},
        {0x548c9decbce65297, 0, 0x36d88366},
        {0x548c9decbce65297, 3, 0x35cc666a},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(rng_u32(rows[i].key, rows[i].counter), rows[i].value);
    static const double normals[] = {-0.16791278203920826, -1.0689697468827697,
                                     0.06182853050123244};
    for (uint64_t c = 0; c < 3; c++)
        assert_true(fabs(rng_normal(rng_key(42), c) - normals[c]) < 1e-14);
}

static void test_moments(void **state)
{
    (void)state;
    enum { COUNT = 200000 };
    double uniform = 0, normal = 0, square = 0;
    uint64_t key = rng_key(7);
    for (uint64_t c = 0; c < COUNT; c++) {
        double u = rng_uniform(key, c), n = rng_normal(key, c);
        assert_true(u >= 0 && u < 1 && isfinite(n));
        uniform += u / COUNT;
        normal += n / COUNT;
        square += n * n / COUNT;
    }
    /* Five standard deviations of each mean: sqrt(1/12), 1 and sqrt(2), over sqrt(COUNT). */
    assert_true(fabs(uniform - 0.5) < 5 * sqrt(1.0 / 12 / COUNT));
    assert_true(fabs(normal) < 5 * sqrt(1.0 / COUNT));
    assert_true(fabs(square - 1) < 5 * sqrt(2.0 / COUNT));
}

static void test_many_are_as_one_by_one(void **state)
{
    (void)state;
    static const uint64_t firsts[] = {0, 5, ((uint64_t)1 << 32) - 3, UINT64_MAX - 9};
    double many[50];
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t key = rng_key(seed);
        for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++)
            for (size_t count = 0; count < sizeof many / sizeof many[0]; count++) {
                many[count] = -1; /* after the last element */
                rng_uniforms(key, firsts[f], count, many);
                for (size_t i = 0; i < count; i++)
                    assert_true(many[i] == rng_uniform(key, firsts[f] + i));
                assert_true(many[count] == -1);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_many_are_as_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
