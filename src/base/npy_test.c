/* Files as NumPy writes them, and malformed ones. */
#include "base/npy.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Makes a file of version `major` with this dict (padded by one space and a newline) and this
 * data. */
static void make_file(struct strbuf *out, int major, const char *dict, const void *data,
                      size_t size)
{
    size_t length = strlen(dict) + 2;
    const char start[12] = {'\x93', 'N', 'U', 'M', 'P', 'Y', (char)major, 0, (char)length, 0, 0, 0};
    strbuf_add(out, start, major == 1 ? 10 : 12);
    strbuf_printf(out, "%s \n", dict);
    strbuf_add(out, data, size);
}

/* Parses a copy in an allocation of exactly its size, so that a sanitizer reports any read beyond
 * it. */
static bool parse_copy(const char *bytes, size_t size, struct arena *arena, struct npy *npy,
                       struct error *err)
{
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    bool ok = npy_parse(copy, size, arena, npy, err);
    free(copy);
    return ok;
}

static void expect_dict(const char *dict, const void *data, size_t size, enum error_code code)
{
    struct arena arena;
    arena_init(&arena);
    struct strbuf file;
    strbuf_init(&file, &arena);
    make_file(&file, 1, dict, data, size);
    struct npy npy;
    struct error err = {0};
    bool ok = parse_copy(file.data, file.size_bytes, &arena, &npy, &err);
    if (ok != (code == ERR_NONE) || err.code != code)
        fail_msg("%s: %s: %s", dict, err.place, err.message);
    assert_true(ok || err.message[0] != '\0');
    arena_release(&arena);
}

/* What numpy.save wrote for numpy.arange(6, dtype='<i2').reshape(2, 3). */
static const char numpy_file[] =
    "\x93NUMPY\x01\x00v\x00{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3), }"
    "                                                          \n"
    "\0\0\1\0\2\0\3\0\4\0\5";

static void test_same_bytes_as_numpy(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strbuf out;
    strbuf_init(&out, &arena);
    struct npy npy, back;
    struct error err = {0};
    const int16_t values[] = {0, 1, 2, 3, 4, 5};
    assert_int_equal(sizeof numpy_file, 128 + 12);
    assert_true(npy_init(&npy, "<i2", 2, (const int64_t[]){2, 3}, values, &err));
    npy_format(&npy, &out);
    assert_int_equal(out.size_bytes, sizeof numpy_file);
    assert_memory_equal(out.data, numpy_file, sizeof numpy_file);
    assert_true(parse_copy(out.data, out.size_bytes, &arena, &back, &err));
    assert_string_equal(back.descr, "<i2");
    assert_int_equal(back.rank, 2);
    assert_int_equal(back.shape[0], 2);
    assert_int_equal(back.shape[1], 3);
    assert_int_equal(back.item_bytes, 2);
    assert_int_equal(back.data_bytes, 12);
    assert_int_equal((uintptr_t)back.data % 64, 0);
    assert_memory_equal(back.data, values, 12);
    arena_release(&arena);
}

static void test_all_types_and_ranks_round_trip(void **state)
{
    (void)state;
    static const char *const descrs[] = {"<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1",
                                         "|u1", "|b1", "<V2", "<u8", "<u4", "<u2"};
    static const int64_t shape[LIMIT_RANK] = {2, 1, 3, 1, 2, 1, 1, 2};
    char data[24 * 8];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = i % 2 == 0;
    for (size_t t = 0; t < sizeof descrs / sizeof descrs[0]; t++) {
        for (uint32_t rank = 0; rank <= LIMIT_RANK; rank++) {
            struct arena arena;
            arena_init(&arena);
            struct strbuf out;
            strbuf_init(&out, &arena);
            struct npy npy, back;
            struct error err = {0};
            assert_true(npy_init(&npy, descrs[t], rank, shape, data, &err));
            npy_format(&npy, &out);
            assert_int_equal((out.size_bytes - npy.data_bytes) % 64, 0);
            assert_true(parse_copy(out.data, out.size_bytes, &arena, &back, &err));
            assert_string_equal(back.descr, descrs[t]);
            assert_int_equal(back.rank, rank);
            assert_memory_equal(back.shape, npy.shape, sizeof npy.shape);
            assert_int_equal(back.data_bytes, npy.data_bytes);
            assert_memory_equal(back.data, data, npy.data_bytes);
            arena_release(&arena);
        }
    }
}

static void test_fortran_order(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strbuf file;
    strbuf_init(&file, &arena);
    int32_t values[24]; /* element [i][j][k] of shape (2, 3, 4) is 100 i + 10 j + k */
    for (int at = 0; at < 24; at++)
        values[at] = 100 * (at % 2) + 10 * (at / 2 % 3) + at / 6;
    make_file(&file, 2, "{\"shape\":(2,3,4,),\"fortran_order\":True,\"descr\":\"<i4\"}", values,
              sizeof values);
    struct npy npy;
    struct error err = {0};
    assert_true(parse_copy(file.data, file.size_bytes, &arena, &npy, &err));
    const int32_t *found = npy.data;
    for (int at = 0; at < 24; at++)
        assert_int_equal(found[at], 100 * (at / 12) + 10 * (at / 4 % 3) + at % 4);
    arena_release(&arena);
}

/* As NumPy writes them with '>f4' and the like: the same values, in either order of dims. */
static void test_big_endian(void **state)
{
    (void)state;
    static const uint8_t data[] = {0, 1, 0x80, 0, 0xff, 0xfe, 0x7f, 0xff, 0, 0, 1, 2};
    static const int16_t in_order[] = {1, -32768, -2, 32767, 0, 258},
                         turned[] = {1, -2, 0, -32768, 32767, 258};
    static const uint8_t wide[] = {0x40, 0x09, 0x21, 0xfb, 0x54, 0x44, 0x2d, 0x18};
    struct arena arena;
    arena_init(&arena);
    for (int fortran = 0; fortran < 2; fortran++) {
        struct strbuf file;
        struct npy npy;
        struct error err = {0};
        char dict[128];
        strbuf_init(&file, &arena);
        snprintf(dict, sizeof dict, "{'descr': '>i2', 'fortran_order': %s, 'shape': (%s), }",
                 fortran ? "True" : "False", fortran ? "2, 3" : "6,");
        make_file(&file, 1, dict, data, sizeof data);
        assert_true(parse_copy(file.data, file.size_bytes, &arena, &npy, &err));
        assert_string_equal(npy.descr, "<i2");
        assert_memory_equal(npy.data, fortran ? turned : in_order, sizeof in_order);
        strbuf_init(&file, &arena);
        make_file(&file, 2, "{'descr': '>f8', 'fortran_order': False, 'shape': ()}", wide,
                  sizeof wide);
        assert_true(parse_copy(file.data, file.size_bytes, &arena, &npy, &err));
        double pi;
        memcpy(&pi, npy.data, sizeof pi);
        assert_true(pi == 0x1.921fb54442d18p+1);
    }
    assert_int_equal(npy_item_bytes(">f4"), 0); /* is read, never written */
    arena_release(&arena);
}

#define DICT(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape "}"

static void test_headers(void **state)
{
    (void)state;
    expect_dict(DICT("'|u1'", "()"), "x", 1, ERR_NONE);
    expect_dict(DICT("'|u1'", "( 2 , )"), "xy", 2, ERR_NONE);
    expect_dict(DICT("'|V2'", "(1,)"), "xy", 2, ERR_NONE);
    expect_dict(DICT("'<f8'", "(0, 1099511627776, 1099511627776)"), "", 0, ERR_NONE);
    expect_dict("{'descr': '|u1', 'fortran_order': True, 'shape': (0, 3)}", "", 0, ERR_NONE);
    static const char *const wrong[] = {
        "",
        "{",
        "{}",
        "{,}",
        "{'descr': '|u1', 'shape': ()}",
        "{'descr': '|u1', 'fortran_order': False}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (), 'shape': ()}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (), 'more': 1}",
        "{'descr': '|u1', 'fortran_order': false, 'shape': ()}",
        "{'descr': '|u1', 'fortran_order': 1, 'shape': ()}",
        "{'descr': '|u1' 'fortran_order': False, 'shape': ()}",
        "{'descr' '|u1', 'fortran_order': False, 'shape': ()}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ()",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (),,}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ()}}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ()}\n",
        "{\t'descr': '|u1', 'fortran_order': False, 'shape': ()}",
        "{'descr: '|u1', 'fortran_order': False, 'shape': ()}",
        DICT("'>f4'", "()"),
        DICT("'=f4'", "()"),
        DICT("'<f16'", "()"),
        DICT("'<c8'", "()"),
        DICT("'|O'", "()"),
        DICT("'<f4\"", "()"),
        DICT("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "()"),
        DICT("[('a', '<f4')]", "()"),
        DICT("'|u1'", "(1)"),
        DICT("'|u1'", "(,)"),
        DICT("'|u1'", "1"),
        DICT("'|u1'", "[1]"),
        DICT("'|u1'", "(-1,)"),
        DICT("'|u1'", "(+1,)"),
        DICT("'|u1'", "(01,)"),
        DICT("'|u1'", "(1L,)"),
        DICT("'|u1'", "(1 1)"),
        DICT("'|u1'", "(1.0,)"),
        DICT("'|u1'", "(1,,)"),
        DICT("'|u1'", "(1,"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        expect_dict(wrong[i], "x", 1, ERR_PARSE);
}

static void test_sizes(void **state)
{
    (void)state;
    expect_dict(DICT("'<f4'", "(2,)"), "1234567", 7, ERR_PARSE);
    expect_dict(DICT("'<f4'", "(2,)"), "123456789", 9, ERR_PARSE);
    expect_dict(DICT("'|b1'", "(2,)"), "\1\2", 2, ERR_PARSE);
    expect_dict(DICT("'|b1'", "(2,)"), "\1\0", 2, ERR_NONE);
    expect_dict(DICT("'<f4'", "(1099511627777,)"), "", 0, ERR_LIMIT);
    expect_dict(DICT("'<f4'", "(99999999999999999999999999999999999999,)"), "", 0, ERR_LIMIT);
    expect_dict(DICT("'<f4'", "(1099511627776, 1099511627776)"), "", 0, ERR_LIMIT);
    expect_dict(DICT("'<f4'", "(1099511627776,2)"), "", 0, ERR_LIMIT);
    expect_dict(DICT("'<f4'", "(1099511627776,)"), "", 0, ERR_PARSE);
    expect_dict(DICT("'|u1'", "(1,1,1,1,1,1,1,1)"), "x", 1, ERR_NONE);
    expect_dict(DICT("'|u1'", "(1,1,1,1,1,1,1,1,1)"), "x", 1, ERR_LIMIT);

    struct npy npy;
    struct error err = {0};
    const int64_t huge[] = {LIMIT_DIM_VALUE, LIMIT_DIM_VALUE, LIMIT_DIM_VALUE + 1};
    assert_false(npy_init(&npy, "<f4", 2, huge, NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(npy_init(&npy, "<f4", 1, huge + 2, NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(npy_init(&npy, "<f4", LIMIT_RANK + 1, huge, NULL, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(npy_init(&npy, "|V2", 0, NULL, NULL, &err));
    assert_int_equal(err.code, ERR_PARSE);
    assert_int_equal(npy_item_bytes("<V2"), 2);
    assert_int_equal(npy_item_bytes("f4"), 0);
}

/* Every truncation, and every byte replaced by special values, is refused or parsed, without memory
 * errors. */
static void test_damaged_files(void **state)
{
    (void)state;
    static const char bytes[] = "\0\1\2\3\xff '\"(),0:9{}\n";
    struct arena arena;
    arena_init(&arena);
    struct npy npy;
    struct error err;
    assert_true(parse_copy(numpy_file, sizeof numpy_file, &arena, &npy, &err));
    for (size_t size = 0; size < sizeof numpy_file; size++) {
        assert_false(parse_copy(numpy_file, size, &arena, &npy, &err));
        assert_int_equal(err.code, ERR_PARSE);
    }
    for (size_t at = 0; at < sizeof numpy_file; at++) {
        for (size_t b = 0; b < sizeof bytes; b++) {
            char file[sizeof numpy_file];
            memcpy(file, numpy_file, sizeof file);
            file[at] = bytes[b];
            bool ok = parse_copy(file, sizeof file, &arena, &npy, &err);
            assert_true(!ok || npy.data_bytes == 12);
        }
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes_as_numpy),
        cmocka_unit_test(test_big_endian),
        cmocka_unit_test(test_all_types_and_ranks_round_trip),
        cmocka_unit_test(test_fortran_order),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
