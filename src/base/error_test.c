/* Filling, placing and cutting errors, and the table of classes. */
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* a macro of cmocka */

static void test_fail_fills_and_empties_place(void **state)
{
    (void)state;
    struct error err = {0};
    assert_false(fail(&err, ERR_SHAPE, "axis %d of '%s'", 3, "x"));
    assert_int_equal(err.code, ERR_SHAPE);
    assert_string_equal(err.message, "axis 3 of 'x'");
    assert_string_equal(err.place, "");
    fail_at(&err, "node 'a'");
    fail(&err, ERR_IO, "again: %s", err.message); /* an argument that points into the error itself
                                                   */
    assert_string_equal(err.message, "again: axis 3 of 'x'");
    assert_string_equal(err.place, "");
}

static void test_places_grow_outward(void **state)
{
    (void)state;
    struct error err = {0};
    fail(&err, ERR_BLUEPRINT, "m");
    assert_false(fail_at(&err, "attribute '%s'", "dim"));
    assert_string_equal(err.place, "attribute 'dim'");
    fail_at(&err, "node '%s'", "a");
    assert_string_equal(err.place, "node 'a', attribute 'dim'");
    fail_at(&err, "%s", "");
    assert_string_equal(err.place, "node 'a', attribute 'dim'");
    assert_string_equal(err.message, "m");
}

static void test_long_text_is_cut(void **state)
{
    (void)state;
    struct error err = {0};
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    fail(&err, ERR_IO, "%s", big);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    fail_at(&err, "inner");
    fail_at(&err, "%.150s", big);
    assert_int_equal(strlen(err.place), 150 + 2 + 5);
    fail_at(&err, "outer");
    assert_int_equal(strlen(err.place), sizeof err.place - 1);
    assert_memory_equal(err.place, "outer, xxx", 10);
    fail_at(&err, "%s", big);
    assert_int_equal(strlen(err.place), sizeof err.place - 1);
    assert_int_equal(err.place[0], 'x');
}

static void test_cut_keeps_utf8_whole(void **state)
{
    (void)state;
    struct error err = {0};
    static const char *const characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < 3; i++) {
        size_t size = strlen(characters[i]);
        for (size_t shift = 0; shift < 4; shift++) {
            char text[1024];
            memset(text, 'x', shift);
            for (size_t at = shift; at < 800; at += size)
                memcpy(text + at, characters[i], size + 1);
            fail(&err, ERR_IO, "%s", text);
            size_t length = strlen(err.message);
            assert_in_range(length, sizeof err.message - 4, sizeof err.message - 1);
            assert_int_equal((length - shift) % size, 0);
        }
    }
}

static void test_table(void **state)
{
    (void)state;
    assert_string_equal(error_name(ERR_SHAPE), "ShapeError");
    assert_int_equal(error_http(ERR_LIMIT), 413);
    assert_int_equal(error_exit(ERR_USAGE), 64);
    assert_true(error_retryable(ERR_IO));
    assert_false(error_retryable(ERR_SHAPE));
    assert_int_equal(error_of_exit(1), ERR_NONE);
    for (int a = 0; a < ERR_COUNT; a++) {
        assert_true(error_text((enum error_code)a)[0] != '\0');
        assert_int_equal(error_of_exit(error_exit((enum error_code)a)), a);
        for (int b = 0; b < a; b++)
            assert_int_not_equal(error_exit((enum error_code)a), error_exit((enum error_code)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_fills_and_empties_place),
        cmocka_unit_test(test_places_grow_outward),
        cmocka_unit_test(test_long_text_is_cut),
        cmocka_unit_test(test_cut_keeps_utf8_whole),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
