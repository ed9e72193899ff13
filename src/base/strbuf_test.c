/* Appending, growing, self-reference and doubles. */
#include "base/strbuf.h"
#include "base/arena.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strbuf buf;
    strbuf_init(&buf, &arena);
    assert_string_equal(buf.data, "");
    strbuf_add(&buf, NULL, 0);
    for (size_t i = 0; i < 5000; i++) {
        strbuf_puts(&buf, "ab");
        assert_int_equal(buf.size_bytes, 2 * i + 2);
        assert_int_equal(buf.data[buf.size_bytes], 0);
    }
    assert_int_equal(strlen(buf.data), 10000);
    strbuf_add(&buf, "\0x", 2);
    assert_int_equal(buf.size_bytes, 10002);
    arena_release(&arena);
}

static void test_printf_short_long_and_of_itself(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strbuf buf;
    strbuf_init(&buf, &arena);
    strbuf_printf(&buf, "%d-%s", 12, "x");
    assert_string_equal(buf.data, "12-x");
    strbuf_add(&buf, buf.data, buf.size_bytes);
    assert_string_equal(buf.data, "12-x12-x");
    for (size_t i = 0; i < 8; i++)
        strbuf_printf(&buf, "%s", buf.data);
    assert_int_equal(buf.size_bytes, 8 << 8);
    assert_memory_equal(buf.data + (7 << 8), "12-x12-x", 8);
    for (int width = 250; width < 260; width++) { /* around the size of the inner copy */
        size_t before = buf.size_bytes;
        strbuf_printf(&buf, "%*d", width, 7);
        assert_int_equal(buf.size_bytes, before + (size_t)width);
        assert_int_equal(buf.data[buf.size_bytes - 1], '7');
    }
    arena_release(&arena);
}

static void test_doubles(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strbuf buf;
    strbuf_init(&buf, &arena);
    const double values[] = {0.1, -0.0, 3, 1e300, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        strbuf_double(&buf, values[i]);
        strbuf_puts(&buf, " ");
    }
    assert_string_equal(buf.data, "0.1 -0 3 1e+300 nan inf -inf ");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grows_and_stays_terminated),
        cmocka_unit_test(test_printf_short_long_and_of_itself),
        cmocka_unit_test(test_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
