/* Nests from text: the printed form, error messages, and that no text does harm.
 * sched/nest_text_test.c parses the nests of all operations back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/loop/loop.h"
#include "compiler/loop/text.h"
#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct dim_table dims;
    struct nest nest;
    struct error err;
};

static bool read(struct fixture *f, const char *text)
{
    *f = (struct fixture){.err = {0}};
    arena_init(&f->arena);
    return nest_parse(&f->nest, &f->dims, &f->arena, text, strlen(text), &f->err);
}

static const char *written(struct fixture *f)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    nest_print(&f->nest, &out);
    return out.data;
}

/* Text that parses and prints as itself. */
static void expect_kept(const char *text)
{
    struct fixture f;
    if (!read(&f, text))
        fail_msg("%s: %s\n%s", f.err.place, f.err.message, text);
    assert_string_equal(written(&f), text);
    arena_release(&f.arena);
}

static void all_there_is_is_kept(void **state)
{
    (void)state;
    expect_kept("kernel \"a \\\"b\\\"\"\n");
    expect_kept("kernel \"\"\n"
                "  dim B 1..64 multiple 1 typical 8\n"
                "  dim i 0..4 multiple 4\n"
                "  out y f32[B*4] stream if B <= 16\n"
                "  in x f16[B*4]\n"
                "  scratch s f64[8]\n"
                "  scratch s f64[9]\n"
                "  table table i32[2] 0x0100000002000000\n"
                "  loops i, \"\", k, v\n"
                "  locals a f32, a f64, k i64\n"
                "  order B, dim(i), i, k, v, floordiv(i, 4), local(k), "
                "i64(table[v if v < 2])\n"
                "  edge B at 6\n"
                "  edge B*4 at 24\n"
                "  parallel i over row in B to B*4\n"
                "    jam k in 3\n"
                "      vector(8) v over column in 4\n"
                "        local a@0 = 0f\n"
                "        local a@1 = -inf:f64\n"
                "        local k = i64(table[v if v < 2])\n"
                "        prefetch x[i*4 + v - 3]\n"
                "        if i + v < B & (0 < k | dim(i) == 4)\n"
                "          s@3[v] = a@1\n"
                "        else\n"
                "          s@2[v] = fma(a@1, 2:f64, nan:f64)\n"
                "        y[i*4 + v] = x[i*4 + v if i < 3] if local(k) < 2\n");
    expect_kept("kernel \"sum\"\n"
                "  out y f32[1]\n"
                "  in x f32[12]\n"
                "  loops k, j\n"
                "  locals a f32, b f32, c f32, d f32\n"
                "  order k, j\n"
                "  local a = 0f\n"
                "  local b = 1f\n"
                "  local c = -inf:f32\n"
                "  local d = inf:f32\n"
                "  for k in 3 reduce\n"
                "    apart j in 4 reduce\n"
                "      a += x[k*4 + j]\n"
                "      b *= x[k*4 + j]\n"
                "      c max= x[k*4 + j]\n"
                "      d min= x[k*4 + j]\n"
                "  %1 = a - b\n"
                "  %2 = %1*%1 + 1f\n"
                "  y[0] = %2 / (c - (d - %2)) + -0f\n");
}

/* Parses a store of `value` into an output of a dtype and expects it to print `as`. */
static void expect_written(const char *dtype, const char *value, const char *as)
{
    struct fixture f;
    char text[512], line[256];
    snprintf(text, sizeof text,
             "kernel \"\"\n  out y %s[8]\n  in x f32[8]\n  in n i32[8]\n  in l i64[8]\n"
             "  in b bool[8]\n  loops i, j\n  for i in 2\n    for j in 4\n      y[i*4 + j] = %s\n",
             dtype, value);
    snprintf(line, sizeof line, "y[i*4 + j] = %s\n", as);
    if (!read(&f, text))
        fail_msg("%s: %s\n%s", f.err.place, f.err.message, value);
    if (!strstr(written(&f), line))
        fail_msg("'%s' is not in\n%s", line, written(&f));
    arena_release(&f.arena);
}

static void expressions_are_kept(void **state)
{
    (void)state;
    static const char *const same[] = {"x[i] + x[j] - 0.5f",
                                       "x[i] - (x[j] - 0.25f)",
                                       "neg(sqrt(abs(x[i])))",
                                       "-0f",
                                       "0x7ff8000000000001:f32",
                                       "min(x[i], nan:f32)",
                                       "select(b[i], 1f, x[j])",
                                       "f32(i)",
                                       "f32(f16(x[i]))",
                                       "bitcast:f32(n[i])",
                                       "apply(x[i], param:f32*2f)",
                                       "x[i] / x[j]*2f"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        expect_written("f32", same[i], same[i]);
    expect_written("i32", "convert:i32(x[i]) + -3:i32", "convert:i32(x[i]) + -3:i32");
    expect_written("i32", "xor(n[i], not(shl(n[j], 3:i32)))", "xor(n[i], not(shl(n[j], 3:i32)))");
    expect_written("u64", "18446744073709551615:u64", "18446744073709551615:u64");
    expect_written("bool", "(i < j) == b[i] | not(b[j])", "(i < j) == b[i] | not(b[j])");
}

/* Sums and products of i64, in any spelling. */
static void indices_take_their_normal_form(void **state)
{
    (void)state;
    expect_written("i64", "(i + 1)*(j + 2)", "i*j + i*2 + j + 2");
    expect_written("i64", "j + i - j", "i");
    expect_written("i64", "1 - i*2", "i*-2 + 1");
    expect_written("i64", "j - (i - 3)*2", "i*-2 + j + 6");
    expect_written("i64", "l[i]*-1 + l[j]", "l[i]*-1 + l[j]");
    expect_written("i64", "add(i, mul(j, 3))", "add(i, mul(j, 3))");
    expect_written("i64", "floordiv(i + 5, 4)*4 + floormod(i + 5, 4)", "i + 5");
    expect_written("i64", "min(3, i)", "min(3, i)");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
#define HEAD "kernel \"\"\n  out y f32[4]\n  in x f32[4]\n  loops i\n  locals a f32\n"
    static const struct {
        const char *text, *place, *message;
        enum error_code code;
    } cases[] = {
        {"", "line 1, column 1", "expected 'kernel'", ERR_PARSE},
        {"kernel", "line 1, column 7", "expected '\"'", ERR_PARSE},
        {"kernel \"\"\n  dim B 3..2 multiple 1", "line 2, column 7", "", ERR_PARSE},
        {"kernel \"\"\n  out y f33[4]", "line 2, column 9", "a dtype", ERR_PARSE},
        {"kernel \"\"\n  out for f32[4]", "line 2, column 7", "the name of a buffer", ERR_PARSE},
        {"kernel \"\"\n  out y f32[4f]", "line 2, column 13", "an expression of i64", ERR_PARSE},
        {"kernel \"\"\n  table t f32[2] 0x00", "line 2, column 18", "as many bytes", ERR_PARSE},
        {"kernel \"\"\n  loops i, i", "line 2, column 12", "no other loop has", ERR_PARSE},
        {"kernel \"\"\n  out y f32[i]\n  loops i", "line 1, column 1", "outside its loop",
         ERR_PARSE},
        {HEAD "y[0] = 1f", "line 6, column 1", "a statement of the kernel", ERR_PARSE},
        {HEAD "   y[0] = 1f", "line 6, column 4", "at most 2 spaces", ERR_PARSE},
        {HEAD "  for j in 4", "line 6, column 7", "a loop of the list", ERR_PARSE},
        {HEAD "  for i over nothing in 4", "line 6, column 14", "a role", ERR_PARSE},
        {HEAD "  for i in 4\n  for i in 5", "line 7, column 7", "the loop's first place",
         ERR_PARSE},
        {HEAD "  for i in i\n    y[i] = 1f", "line 1, column 1", "outside its loop", ERR_PARSE},
        {HEAD "  for i in 4 to i\n    y[i] = 1f", "line 1, column 1", "outside its loop",
         ERR_PARSE},
        {HEAD "  vector(3) i in 4", "line 1, column 1", "not a power of two", ERR_PARSE},
        {HEAD "  a += 1f", "line 1, column 1", "not declared here", ERR_PARSE},
        {HEAD "  a -= 1f", "line 6, column 5", "+=, *=, max= or min=", ERR_PARSE},
        {HEAD "  z[0] = 1f", "line 6, column 3", "a buffer", ERR_PARSE},
        {HEAD "  y[0] = z", "line 6, column 10", "a loop, a local or a dim", ERR_PARSE},
        {HEAD "  y[0] = %1", "line 6, column 11", "an integer from 1 to 0", ERR_PARSE},
        {HEAD "  %2 = 1f", "line 6, column 4", "an integer from 1 to 1", ERR_PARSE},
        {HEAD "  y[0] = 1", "line 6, column 10", "a value of the dtype", ERR_PARSE},
        {HEAD "  y[0] = 1f + 1", "line 6, column 16", "two like operands", ERR_PARSE},
        {HEAD "  y[0] = frob(1f)", "line 6, column 10", "an operation", ERR_PARSE},
        {HEAD "  y[0] = floor(1)", "line 6, column 18", "an operand of f32 or f64", ERR_PARSE},
        {HEAD "  y[0] = x[0 if 1]", "line 6, column 17", "an expression of bool", ERR_PARSE},
        {HEAD "  y[0] = 1f)", "line 6, column 12", "the end of the line", ERR_PARSE},
        {HEAD "  y[0] = 1e9999f:f32", "line 6, column 17", "the end of the line", ERR_PARSE},
        {HEAD "  if i < 1\n  else\n  else", "line 8, column 3", "a statement of the kernel",
         ERR_PARSE},
        {HEAD "  x[0] = 1f", "line 1, column 1", "that is not written", ERR_PARSE},
        {HEAD "  edge i at 3", "line 6, column 8", "a size", ERR_PARSE},
    };
#undef HEAD
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        assert_false(read(&f, cases[i].text));
        if (f.err.code != cases[i].code || strncmp(f.err.place, cases[i].place, 6) != 0 ||
            strcmp(f.err.place, cases[i].place) != 0 || !strstr(f.err.message, cases[i].message))
            fail_msg("case %zu: %d, %s: %s\n%s", i, f.err.code, f.err.place, f.err.message,
                     cases[i].text);
        arena_release(&f.arena);
    }
}

/* Passing a bound is ERR_LIMIT and ends only the parsing. */
static void limits_hold(void **state)
{
    (void)state;
    struct fixture f;
    char text[8192];
    size_t at = (size_t)snprintf(text, sizeof text, "kernel \"\"\n  edge ");
    memset(text + at, '(', 1000);
    text[at + 1000] = '\0';
    assert_false(read(&f, text));
    assert_int_equal(f.err.code, ERR_LIMIT);
    arena_release(&f.arena);
    for (int list = 0; list < 2; list++) {
        at = (size_t)snprintf(text, sizeof text, "kernel \"\"\n  %s", list ? "locals" : "loops");
        for (int i = 0; i <= NEST_MAX_VARS; i++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s n%d%s", i ? "," : "", i,
                                   list ? " f32" : "");
        assert_false(read(&f, text));
        assert_int_equal(f.err.code, ERR_LIMIT);
        arena_release(&f.arena);
    }
    at = (size_t)snprintf(text, sizeof text, "kernel \"\"\n");
    struct strbuf deep;
    struct arena arena;
    arena_init(&arena);
    strbuf_init(&deep, &arena);
    strbuf_puts(&deep, text);
    for (int i = 1; i < 1000; i++)
        strbuf_printf(&deep, "%*sif 1:bool\n", 2 * i, "");
    assert_false(read(&f, deep.data));
    assert_int_equal(f.err.code, ERR_LIMIT);
    arena_release(&f.arena);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_there_is_is_kept),
        cmocka_unit_test(expressions_are_kept),
        cmocka_unit_test(indices_take_their_normal_form),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
