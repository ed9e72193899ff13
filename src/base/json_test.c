/* Strict reading, the canonical form, and the field getters. */
#include "base/json.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/strbuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_canonical(const char *text, const char *expected)
{
    struct error err = {0};
    struct arena arena;
    arena_init(&arena);
    struct strbuf out;
    strbuf_init(&out, &arena);
    json_t *value = json_read(text, strlen(text), &err);
    if (!value)
        fail_msg("%s: %s", text, err.message);
    json_write_canonical(value, &out);
    assert_string_equal(out.data, expected);
    json_decref(value);
    arena_release(&arena);
}

static void expect_error(const char *text, size_t size, enum error_code code, const char *place)
{
    struct error err = {0};
    json_t *value = json_read(text, size, &err);
    if (value)
        fail_msg("was read: %s", text);
    assert_int_equal(err.code, code);
    assert_true(err.message[0] != '\0');
    if (place)
        assert_string_equal(err.place, place);
}

static void test_canonical_form(void **state)
{
    (void)state;
    expect_canonical(" {\"b\" : [1, 2.50, true,\nnull, false], \"a\": {}, \"\": []} ",
                     "{\"\":[],\"a\":{},\"b\":[1,2.5,true,null,false]}");
    /* RFC 8785, 3.2.2 and 3.2.4 (without the number that does not fit int64) */
    expect_canonical("{\"numbers\": [333333333.33333329, 1E30, 4.50, 2e-3, "
                     "0.000000000000000000000000001],"
                     "\"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\","
                     "\"literals\": [null, true, false]}",
                     "{\"literals\":[null,true,false],"
                     "\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],"
                     "\"string\":\"\xe2\x82\xac$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}");
    expect_canonical("\"\\b\\t\\n\\f\\r\\u001f\\u007f\"", "\"\\b\\t\\n\\f\\r\\u001f\x7f\"");
    expect_canonical("[0, -0, -0.0, 1.0, 1e2]", "[0,0,0,1,100]");
    expect_canonical("[9007199254740993, -9223372036854775808, 9223372036854775807]",
                     "[9007199254740993,-9223372036854775808,9223372036854775807]");
    expect_canonical("7", "7");
}

static void test_keys_by_utf16(void **state)
{
    (void)state;
    /* RFC 8785, 3.2.3 */
    expect_canonical("{\"\\u20ac\": 1, \"\\r\": 2, \"\\ufb33\": 3, \"1\": 4, \"\\ud83d\\ude00\": 5,"
                     "\"\\u0080\": 6, \"\\u00f6\": 7}",
                     "{\"\\r\":2,\"1\":4,\"\xc2\x80\":6,\"\xc3\xb6\":7,\"\xe2\x82\xac\":1,"
                     "\"\xf0\x9f\x98\x80\":5,\"\xef\xac\xb3\":3}");
    expect_canonical("{\"ab\": 1, \"a\": 2, \"\\ue000\": 3, \"\\ud7ff\": 4, \"\\ud83d\\ude00\": 5,"
                     "\"\\ud83d\\ude01\": 6}",
                     "{\"a\":2,\"ab\":1,\"\xed\x9f\xbf\":4,\"\xf0\x9f\x98\x80\":5,"
                     "\"\xf0\x9f\x98\x81\":6,\"\xee\x80\x80\":3}");
}

static void test_count(void **state)
{
    static const struct {
        const char *text;
        size_t count;
    } cases[] = {
        {"1", 1}, {"[1,2]", 3}, {"{\"a,[{\":[\"\\\",\"]}", 3}, {"\"not closed,", 1}, {"", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(json_count(cases[i].text, strlen(cases[i].text)), cases[i].count);
}

static void test_refused_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "[1] x",
        "[1][2]",
        "{a:1}",
        "'a'",
        "nul",
        "01",
        "+1",
        ".5",
        "1.",
        "NaN",
        "// c\n1",
        "\"\t\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\u0000\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf[]",
        "9223372036854775808",
        "-9223372036854775809",
        "1e309",
        "-1e309",
        "]",
        "\"abc",
        "\"abc\\",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect_error(texts[i], strlen(texts[i]), ERR_JSON, NULL);
    expect_error(NULL, 0, ERR_JSON, NULL);
    expect_error("{\"a\":1,\"a\":2}", 13, ERR_JSON, NULL);
    expect_error("[{\"a\":1,\"\\u0061\":2}]", 20, ERR_JSON, NULL);
    expect_error("[1\0]", 4, ERR_JSON, "line 1, column 3");
    expect_error("[\n\"a\0\"]", 7, ERR_JSON, "line 2, column 3");
    expect_error("[1]\0", 4, ERR_JSON, "line 1, column 4");
    expect_error("[1,\n2,\nx]", 9, ERR_JSON, "line 3, column 1");
}

static void test_limits(void **state)
{
    (void)state;
    char text[2 * LIMIT_JSON_DEPTH + 3];
    memset(text, '[', LIMIT_JSON_DEPTH);
    memset(text + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
    struct error err = {0};
    json_t *value = json_read(text, 2 * LIMIT_JSON_DEPTH, &err);
    assert_non_null(value);
    json_decref(value);
    memset(text, '[', LIMIT_JSON_DEPTH + 1);
    memset(text + LIMIT_JSON_DEPTH + 1, ']', LIMIT_JSON_DEPTH + 1);
    expect_error(text, 2 * LIMIT_JSON_DEPTH + 2, ERR_LIMIT, "line 1, column 65");

    size_t deep = 10000000;
    char *brackets = malloc(deep);
    assert_non_null(brackets);
    memset(brackets, '{', deep);
    expect_error(brackets, deep, ERR_LIMIT, NULL);
    memset(brackets, '[', deep); /* brackets in strings are not counted, and escaped quotes do not
                                    end a string */
    memcpy(brackets, "\"\\\"", 3);
    brackets[deep - 1] = '"';
    value = json_read(brackets, deep, &err);
    assert_non_null(value);
    json_decref(value);
    expect_error(brackets, LIMIT_JSON_BYTES + 1, ERR_LIMIT, NULL);
    free(brackets);
}

static json_t *sample(void)
{
    const char *text = "{\"s\":\"x\",\"i\":-3,\"r\":2.5,\"b\":true,\"a\":[1],\"o\":{},\"n\":null}";
    struct error err = {0};
    json_t *value = json_read(text, strlen(text), &err);
    assert_non_null(value);
    return value;
}

static void test_getters(void **state)
{
    (void)state;
    json_t *o = sample(), *child = NULL;
    struct error err = {0};
    const char *s = NULL;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    assert_true(json_get_string(o, "s", &s, &err) && strcmp(s, "x") == 0);
    assert_true(json_get_int(o, "i", &i, &err) && i == -3);
    assert_true(json_get_array(o, "a", &child, &err) && json_array_size(child) == 1);
    assert_true(json_get_object(o, "o", &child, &err) && json_is_object(child));
    assert_true(json_opt_double(o, "r", &d, &err) && d == 2.5);
    assert_true(json_opt_double(o, "i", &d, &err) && d == -3);
    assert_true(json_opt_bool(o, "b", &b, &err) && b);
    assert_int_equal(err.code, ERR_NONE);
    s = "before";
    i = 42;
    assert_true(json_opt_string(o, "absent", &s, &err) && strcmp(s, "before") == 0);
    assert_true(json_opt_int(o, "absent", &i, &err) && i == 42);
    assert_true(json_opt_double(o, "absent", &d, &err) && d == -3);
    assert_true(json_opt_bool(o, "absent", &b, &err) && b);
    json_decref(o);
}

static void test_getters_refuse(void **state)
{
    (void)state;
    json_t *o = sample(), *child = NULL;
    struct error err = {0};
    const char *s = NULL;
    int64_t i = 42;
    double d = 1;
    bool b = true;
    assert_false(json_get_int(o, "absent", &i, &err));
    assert_int_equal(err.code, ERR_JSON);
    assert_string_equal(err.message, "field 'absent' is missing");
    assert_false(json_get_int(o, "r", &i, &err));
    assert_string_equal(err.message, "field 'r': expected an integer, found a real number");
    assert_false(json_opt_int(o, "n", &i, &err));
    assert_string_equal(err.message, "field 'n': expected an integer, found null");
    assert_false(json_get_string(o, "i", &s, &err) || json_opt_string(o, "a", &s, &err));
    assert_false(json_get_array(o, "o", &child, &err) || json_get_object(o, "a", &child, &err));
    assert_false(json_opt_double(o, "s", &d, &err) || json_opt_bool(o, "i", &b, &err));
    assert_string_equal(err.message, "field 'i': expected a boolean, found an integer");
    assert_false(json_opt_int(json_object_get(o, "a"), "x", &i, &err));
    assert_string_equal(err.message, "expected an object, found an array");
    assert_false(json_get_string(NULL, "x", &s, &err));
    assert_true(s == NULL && child == NULL && i == 42 && d == 1 && b);
    json_decref(o);
}

static void test_only_keys(void **state)
{
    (void)state;
    json_t *o = sample();
    struct error err = {0};
    static const char *const all[] = {"s", "i", "r", "b", "a", "o", "n", "more", NULL};
    static const char *const few[] = {"s", "i", "r", "b", "a", "n", NULL};
    static const char *const none[] = {NULL};
    assert_true(json_only_keys(o, all, &err));
    assert_false(json_only_keys(o, few, &err));
    assert_string_equal(err.message, "unknown field 'o': these are known: s, i, r, b, a, n");
    assert_true(json_only_keys(json_object_get(o, "o"), none, &err));
    assert_false(json_only_keys(json_object_get(o, "a"), none, &err));
    json_decref(o);
}

static long allocations_left;

static void *fail_one(size_t size)
{
    return --allocations_left == 0 ? NULL : malloc(size);
}

/* A failed allocation is never reported as a fault of the text. */
static void test_no_memory(void **state)
{
    (void)state;
    static const char text[] = "{\"format\": [1, 2.5, \"gr\", {\"a\": null}]}";
    long n = 0;
    json_set_alloc_funcs(fail_one, free);
    do {
        struct error err = {.code = ERR_NONE};
        allocations_left = ++n;
        json_t *value = json_read(text, sizeof text - 1, &err);
        assert_int_equal(err.code, value ? ERR_NONE : ERR_NOMEM);
        json_decref(value);
    } while (allocations_left <= 0);
    json_set_alloc_funcs(malloc, free);
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_form), cmocka_unit_test(test_keys_by_utf16),
        cmocka_unit_test(test_count),          cmocka_unit_test(test_refused_text),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getters_refuse), cmocka_unit_test(test_only_keys),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
