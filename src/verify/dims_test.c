#include "verify/test_util.h"

#include "verify/dims.h"
#include "verify/verify.h"

static struct arena arena;
static struct dim_table dims;

static int setup(void **state)
{
    static const struct dim_name names[] = {{"B", 1, 64, 1, 32, NULL},
                                            {"S", 0, 1000, 12, 0, NULL},
                                            {"T", 100, 200, 1, 0, NULL},
                                            {"U", 1, 3, 1, 0, NULL}};
    struct error err;
    uint32_t index;
    (void)state;
    arena_init(&arena);
    dim_table_init(&dims, &arena);
    for (size_t i = 0; i < 4; i++)
        assert_true(dim_declare(&dims, &names[i], &index, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

static void expect(const char *text, int64_t b, int64_t s, int64_t t, int64_t u)
{
    struct error err = {0};
    int64_t values[4] = {0};
    if (!dims_choose(&dims, text, values, &err))
        TEST_FAILED("%s: %s", text ? text : "none", err.message);
    assert_int_equal(values[0], b);
    assert_int_equal(values[1], s);
    assert_int_equal(values[2], t);
    assert_int_equal(values[3], u);
}

static void chooses(void **state)
{
    (void)state;
    expect(NULL, 32, 12, 100, 3); /* the typical value; nearest to 8; above the range; below it */
    expect("", 32, 12, 100, 3);
    expect("B=1", 1, 12, 100, 3);
    expect("S=0,B=64", 64, 0, 100, 3);
    expect("U=1,T=200,S=996,B=7", 7, 996, 200, 1);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"B", "NAME=VALUE"},      {"=3", "NAME=VALUE"},     {"B=1,", "comma"},
        {"B=1,,S=0", "NAME="},    {",B=1", "NAME="},        {"X=1", "'X'"},
        {"B=", "whole number"},   {"B=1x", "whole number"}, {"B=-1", "whole number"},
        {"B=+1", "whole number"}, {"B= 1", "whole number"}, {"B=99999999999999999999", "whole"},
        {"B=0", "1 to 64"},       {"B=65", "1 to 64"},      {"S=13", "multiple of 12"},
        {"B=1,B=1", "twice"},     {"B =1", "'B '"},         {"b=1", "'b'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        int64_t values[4] = {-1, -1, -1, -1};
        if (dims_choose(&dims, cases[i].text, values, &err))
            TEST_FAILED("accepts '%s'", cases[i].text);
        assert_int_equal(err.code, ERR_USAGE);
        if (!strstr(err.message, cases[i].message))
            TEST_FAILED("'%s': %s", cases[i].text, err.message);
        assert_int_equal(values[0], -1);
    }
}

static void nearest_legal(void **state)
{
    (void)state;
    const struct dim_name by4 = {"x", 3, 30, 4, 0, NULL};
    static const int64_t pairs[][2] = {{0, 4},   {4, 4},   {6, 4},     {7, 8},          {9, 8},
                                       {28, 28}, {30, 28}, {1000, 28}, {INT64_MAX, 28}, {-7, 4}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        assert_int_equal(dims_legal(&by4, pairs[i][0]), pairs[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chooses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(nearest_legal),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
