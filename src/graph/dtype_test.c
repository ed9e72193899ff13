/* Names, and rounding checked against every pattern of f16 and bf16 and the ties between
 * neighbours. */
#include "graph/dtype.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dtype dtype;
    } cases[] = {
        {"f32", DTYPE_F32},
        {"float32", DTYPE_F32},
        {"float", DTYPE_F32},
        {"f64", DTYPE_F64},
        {"float64", DTYPE_F64},
        {"double", DTYPE_F64},
        {"f16", DTYPE_F16},
        {"float16", DTYPE_F16},
        {"half", DTYPE_F16},
        {"bf16", DTYPE_BF16},
        {"bfloat16", DTYPE_BF16},
        {"torch.bfloat16", DTYPE_BF16},
        {"i64", DTYPE_I64},
        {"int64", DTYPE_I64},
        {"long", DTYPE_I64},
        {"i32", DTYPE_I32},
        {"int32", DTYPE_I32},
        {"int", DTYPE_I32},
        {"i16", DTYPE_I16},
        {"int16", DTYPE_I16},
        {"short", DTYPE_I16},
        {"i8", DTYPE_I8},
        {"int8", DTYPE_I8},
        {"u8", DTYPE_U8},
        {"uint8", DTYPE_U8},
        {"bool", DTYPE_BOOL},
        {"torch.bool", DTYPE_BOOL},
        {"torch.float32", DTYPE_F32},
        {"", DTYPE_NONE},
        {"none", DTYPE_NONE},
        {"F32", DTYPE_NONE},
        {"f32 ", DTYPE_NONE},
        {"torch.", DTYPE_NONE},
        {"torch.torch.f32", DTYPE_NONE},
        {"torch.uint16", DTYPE_U16},
        {"uint32", DTYPE_U32},
        {"u64", DTYPE_U64},
        {"complex64", DTYPE_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(dtype_from_name(cases[i].name), cases[i].dtype);
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++) {
        enum dtype dtype = (enum dtype)d;
        assert_int_equal(dtype_from_name(dtype_name(dtype)), dtype);
        assert_int_equal(dtype_from_npy(dtype_npy(dtype)), dtype);
        assert_int_equal(dtype_from_safetensors(dtype_safetensors(dtype)), dtype);
        assert_in_range(dtype_bytes(dtype), 1, 8);
    }
    assert_int_equal(dtype_from_npy(""), DTYPE_NONE);
    assert_int_equal(dtype_from_npy(">f4"), DTYPE_NONE);
    assert_int_equal(dtype_from_safetensors(""), DTYPE_NONE);
    assert_int_equal(dtype_bytes(DTYPE_NONE), 0);
    assert_true(dtype_is_float(DTYPE_BF16) && !dtype_is_int(DTYPE_BF16));
    assert_true(dtype_is_unsigned(DTYPE_U64) && dtype_is_unsigned(DTYPE_BOOL));
    assert_true(!dtype_is_unsigned(DTYPE_I8) && !dtype_is_unsigned(DTYPE_F32));
    assert_true(dtype_is_int(DTYPE_U8) && !dtype_is_int(DTYPE_BOOL) && !dtype_is_float(DTYPE_NONE));
}

struct format {
    enum dtype dtype;
    uint16_t infinity, quiet;
    uint16_t (*from)(double);
    double (*to)(uint16_t);
};

static const struct format FORMATS[] = {
    {DTYPE_F16, 0x7c00, 0x0200, f16_from_double, f16_to_double},
    {DTYPE_BF16, 0x7f80, 0x0040, bf16_from_double, bf16_to_double},
};

static void check_round_trips(const struct format *f)
{
    for (uint32_t pattern = 0; pattern < 65536; pattern++) {
        uint16_t bits = (uint16_t)pattern;
        double value = f->to(bits);
        bool nan = (bits & 0x7fff) > f->infinity;
        assert_int_equal(isnan(value) != 0, nan);
        assert_int_equal(f->from(value), nan ? bits | f->quiet : bits);
        assert_int_equal(signbit(value) != 0, bits >> 15);
    }
}

/* Between neighbours the nearer one is chosen, ties go to the even pattern, with both signs. */
static void check_ties(const struct format *f)
{
    for (uint16_t bits = 0; bits < f->infinity; bits++) {
        double low = f->to(bits), high = f->to((uint16_t)(bits + 1));
        if (isinf(high)) /* the next value if the exponent range went one further */
            high = low + (low - f->to((uint16_t)(bits - 1)));
        double tie = low + (high - low) / 2;
        uint16_t even = (uint16_t)(bits + (bits & 1)), up = (uint16_t)(bits + 1);
        assert_int_equal(f->from(tie), even);
        assert_int_equal(f->from(nextafter(tie, 0)), bits);
        assert_int_equal(f->from(nextafter(tie, INFINITY)), up);
        assert_int_equal(f->from(-tie), even | 0x8000);
        assert_int_equal(f->from(-nextafter(tie, INFINITY)), up | 0x8000);
        assert_int_equal(f->from(nextafter(high, 0)), up);
        assert_true(dtype_round(f->dtype, tie) == f->to(even));
    }
}

static void test_narrow_floats(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        const struct format *f = &FORMATS[i];
        check_round_trips(f);
        check_ties(f);
        assert_int_equal(f->from(INFINITY), f->infinity);
        assert_int_equal(f->from(-1e300), f->infinity | 0x8000);
        assert_int_equal(f->from(-0.0), 0x8000);
        assert_int_equal(f->from(5e-324), 0);
        assert_int_equal(f->from(-5e-324), 0x8000);
        uint64_t low_payload = 0x7ff0000000000001;
        double nan;
        memcpy(&nan, &low_payload, sizeof nan);
        assert_int_equal(f->from(nan), f->infinity | f->quiet);
    }
    assert_true(f16_to_double(0x3c00) == 1 && f16_to_double(0xc000) == -2);
    assert_true(bf16_to_double(0x3f80) == 1 && bf16_to_double(0xc049) == -3.140625);
    /* By way of float32 these would be rounded twice, and down. */
    assert_int_equal(f16_from_double(1 + ldexp(1, -11) + ldexp(1, -40)), 0x3c01);
    assert_int_equal(bf16_from_double(1 + ldexp(1, -8) + ldexp(1, -40)), 0x3f81);
}

static void test_float_facts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
        const struct format *f = &FORMATS[i];
        uint16_t one = f->from(1);
        assert_true(dtype_max(f->dtype) == f->to((uint16_t)(f->infinity - 1)));
        assert_true(dtype_min_subnormal(f->dtype) == f->to(1));
        assert_true(dtype_min_normal(f->dtype) == f->to((uint16_t)(2 * f->quiet)));
        assert_true(2 * dtype_unit_roundoff(f->dtype) == f->to((uint16_t)(one + 1)) - 1);
    }
    assert_true(dtype_max(DTYPE_F32) == (double)3.40282346638528859812e+38F);
    assert_true(dtype_max(DTYPE_F64) == 1.7976931348623157e308);
    assert_true(dtype_unit_roundoff(DTYPE_F32) == ldexp(1, -24));
    assert_true(dtype_unit_roundoff(DTYPE_F64) == ldexp(1, -53));
    assert_true(dtype_min_normal(DTYPE_F32) == ldexp(1, -126));
    assert_true(dtype_min_subnormal(DTYPE_F32) == ldexp(1, -149));
    assert_true(dtype_min_subnormal(DTYPE_F64) == 5e-324);
    assert_true(dtype_round(DTYPE_F32, 1 + ldexp(1, -24)) == 1);
    assert_true(dtype_round(DTYPE_F64, 0.1) == 0.1);
    assert_true(isinf(dtype_round(DTYPE_F32, 1e39)));
}

static void test_wrap(void **state)
{
    (void)state;
    assert_int_equal(dtype_wrap(DTYPE_I8, 128), -128);
    assert_int_equal(dtype_wrap(DTYPE_I8, -129), 127);
    assert_int_equal(dtype_wrap(DTYPE_U8, -1), 255);
    assert_int_equal(dtype_wrap(DTYPE_U8, 256), 0);
    assert_int_equal(dtype_wrap(DTYPE_I16, 0x18000), -32768);
    assert_int_equal(dtype_wrap(DTYPE_I32, (int64_t)1 << 31), INT32_MIN);
    assert_int_equal(dtype_wrap(DTYPE_I64, INT64_MIN), INT64_MIN);
    assert_int_equal(dtype_wrap(DTYPE_U16, -1), 65535);
    assert_int_equal(dtype_wrap(DTYPE_U32, -1), UINT32_MAX);
    assert_int_equal(dtype_wrap(DTYPE_U64, INT64_MIN), INT64_MIN);
    assert_int_equal(dtype_wrap(DTYPE_BOOL, (int64_t)1 << 40), 1);
    assert_int_equal(dtype_wrap(DTYPE_BOOL, 0), 0);
}

static void test_integer_values(void **state)
{
    (void)state;
    static const struct {
        enum dtype dtype;
        int64_t least, greatest;
    } ranges[] = {
        {DTYPE_I8, -128, 127},
        {DTYPE_I16, -32768, 32767},
        {DTYPE_I32, INT32_MIN, INT32_MAX},
        {DTYPE_I64, INT64_MIN, INT64_MAX},
        {DTYPE_U8, 0, 255},
        {DTYPE_U16, 0, 65535},
        {DTYPE_U32, 0, UINT32_MAX},
        {DTYPE_U64, 0, -1},
        {DTYPE_BOOL, 0, 1},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        enum dtype d = ranges[i].dtype;
        assert_int_equal(dtype_least(d), ranges[i].least);
        assert_int_equal(dtype_greatest(d), ranges[i].greatest);
        assert_true(dtype_int_less(d, ranges[i].least, ranges[i].greatest));
        assert_false(dtype_int_less(d, ranges[i].greatest, ranges[i].least));
        assert_int_equal(dtype_saturate(d, 1e30), ranges[i].greatest);
        assert_int_equal(dtype_saturate(d, -1e30), ranges[i].least);
        assert_int_equal(dtype_saturate(d, 0.9), 0);
        assert_int_equal(dtype_saturate(d, (double)NAN), 0);
    }
    assert_true(dtype_int_value(DTYPE_U64, -1) == 0x1p64);
    assert_true(dtype_int_value(DTYPE_I64, -1) == -1);
    assert_int_equal(dtype_saturate(DTYPE_U64, 0x1p63 + 4096), INT64_MIN + 4096);
    assert_int_equal(dtype_saturate(DTYPE_I64, -3.9), -3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),          cmocka_unit_test(test_narrow_floats),
        cmocka_unit_test(test_float_facts),    cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_integer_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
