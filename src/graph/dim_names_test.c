/* Named dims: the value of one that nobody gives one, and other ways to write a dim. */
#include "graph/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

#include <cmocka.h> /* after error.h: cmocka has a macro named fail */

static void test_typical(void **state)
{
    (void)state;
    static const struct {
        struct dim_name name;
        int64_t expected;
    } rows[] = {
        {{"B", 1, 64, 1, 0, NULL}, 8},    {{"B", 1, 64, 1, 4, NULL}, 4},
        {{"B", 1, 64, 5, 0, NULL}, 10},   {{"B", 1, 64, 3, 0, NULL}, 9},
        {{"B", 1, 64, 6, 0, NULL}, 6},    {{"B", 0, 64, 16, 0, NULL}, 0},
        {{"B", 1, 64, 16, 0, NULL}, 16},  {{"B", 1, 6, 4, 0, NULL}, 4},
        {{"B", 20, 64, 3, 0, NULL}, 21},  {{"B", 0, 7, 1, 0, NULL}, 7},
        {{"B", 0, 64, 12, 24, NULL}, 24},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(dim_typical(&rows[i].name), rows[i].expected);
}

static void test_alias(void **state)
{
    (void)state;
    struct arena arena;
    struct dim_table table;
    struct error err = {0};
    uint32_t index;
    dim_id twice = DIM_NONE;
    const char *text = "2*B";
    arena_init(&arena);
    dim_table_init(&table, &arena);
    assert_true(dim_declare(&table, &(struct dim_name){.name = "B", .max = 9, .multiple_of = 1},
                            &index, &err));
    assert_true(dim_parse(&table, &text, &twice, &err));
    assert_true(dim_declare_alias(&table, "T", twice, &err));
    assert_int_equal(dim_of_name(&table, "T"), twice);
    assert_int_equal(dim_of_name(&table, "B"), dim_named(&table, index));
    assert_int_equal(dim_of_name(&table, "X"), DIM_NONE);
    text = "T + B";
    dim_id sum = DIM_NONE;
    struct strbuf printed;
    strbuf_init(&printed, &arena);
    assert_true(dim_parse(&table, &text, &sum, &err));
    dim_print(&table, sum, &printed);
    assert_string_equal(printed.data, "3*B");
    /* A name is declared once, as a name or as another way to write something. */
    assert_false(dim_declare_alias(&table, "B", twice, &err));
    assert_int_equal(err.code, ERR_BLUEPRINT);
    assert_false(dim_declare_alias(&table, "T", twice, &err));
    assert_false(dim_declare(&table, &(struct dim_name){.name = "T", .max = 9, .multiple_of = 1},
                             &index, &err));
    assert_false(dim_declare_alias(&table, "a b", twice, &err));
    arena_release(&arena);
}

static void test_is_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_name;
    } cases[] = {{"B", true},        {"H", true},    {"2*B", false},
                 {"B + 1", false},   {"3", false},   {"H//2", false},
                 {"2*(H//2)", true}, {"B*H", false}, {"max(B, H)", false}};
    struct arena arena;
    struct dim_table table;
    struct error err = {0};
    uint32_t index;
    arena_init(&arena);
    dim_table_init(&table, &arena);
    assert_true(dim_declare(&table, &(struct dim_name){.name = "B", .max = 9, .multiple_of = 1},
                            &index, &err));
    assert_true(dim_declare(&table, &(struct dim_name){.name = "H", .max = 9, .multiple_of = 2},
                            &index, &err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *text = cases[i].text;
        dim_id dim = DIM_NONE;
        assert_true(dim_parse(&table, &text, &dim, &err));
        assert_int_equal(dim_is_name(&table, dim, &index), cases[i].is_name);
    }
    arena_release(&arena);
}

/* People give a dim its spelling or its name; of two dims the name counts. */
static void test_spellings(void **state)
{
    (void)state;
    struct arena arena;
    struct dim_table table;
    struct strbuf text;
    struct error err;
    uint32_t index;
    arena_init(&arena);
    dim_table_init(&table, &arena);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(dim_declare(
            &table,
            &(struct dim_name){.name = i ? "b" : "a_b", .min = 1, .max = 9, .multiple_of = 1},
            &index, &err));
    dim_spell(&table, 0, "b");
    assert_string_equal(dim_shown(&table, 0), "b");
    assert_string_equal(dim_shown(&table, 1), "b");
    assert_true(dim_find_shown(&table, "a_b", &index));
    assert_int_equal(index, 0);
    assert_true(dim_find_shown(&table, "b", &index));
    assert_int_equal(index, 1);
    assert_false(dim_find_shown(&table, "c", &index));
    dim_spell(&table, 1, "c d");
    assert_true(dim_find_shown(&table, "c d", &index));
    assert_int_equal(index, 1);
    strbuf_init(&text, &arena);
    dim_print_shown(&table, dim_add(&table, dim_named(&table, 1), dim_const(&table, 2)), &text);
    assert_string_equal(text.data, "c d + 2");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typical),
        cmocka_unit_test(test_alias),
        cmocka_unit_test(test_is_name),
        cmocka_unit_test(test_spellings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
