/* Nests whose iterations keep to slices of their arguments, and nests whose iterations do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/loop/slices.h"
#include "compiler/loop/text.h"

#include <cmocka.h> /* last: it defines fail as a macro */

/* y[B, S, 4], x[B, S, 4], z[B, 4], t[S]. */
#define HEAD                               \
    "kernel \"k\"\n"                       \
    "  dim B 1..9 multiple 1 typical 2\n"  \
    "  dim S 1..64 multiple 1 typical 8\n" \
    "  out y f32[B*S*4]\n"                 \
    "  in x f32[B*S*4]\n"                  \
    "  in z f32[B*4]\n"                    \
    "  in t i64[S]\n"                      \
    "  loops i, j, k\n"                    \
    "  locals a f32\n"

static const struct row {
    const char *body;
    const char *sliced; /* of y, x, z and t; "": there is no outermost loop */
} rows[] = {
    {"  for i in B\n    for j in S\n      for k in 4\n"
     "        y[4*S*i + 4*j + k] = x[4*S*i + 4*j + k] + z[4*i + k]\n",
     "yxz-"},
    /* elements that no iteration reads are nobody's: all arguments of a loop have slices at first
     */
    {"  for i in B\n    y[4*S*i] = z[4*i + 3]\n", "yxz-"},
    /* rows of another slice */
    {"  for i in B\n    y[4*S*i] = x[4*S*(B + -1 - i)]\n", "y-z-"},
    /* the same element for all, and every second slice */
    {"  for i in B\n    y[4*S*i] = z[2]\n", "yx--"},
    {"  for i in B\n    y[4*S*i] = x[2*S*i]\n", "y-z-"},
    /* one of two loads is not its own */
    {"  for i in B\n    y[4*S*i] = x[4*S*i] + x[0]\n", "y-z-"},
    /* a sum over all slices */
    {"  for i in B\n    local a = 0f\n    for j in B reduce\n      a += z[4*j]\n    y[4*S*i] = a\n",
     "yx--"},
    /* slices of another dim */
    {"  for i in S\n    y[4*B*i] = x[4*B*i]\n", "--z-"},
    {"  for i in B\n    y[4*S*i] = 0f\n  for j in B\n    y[4*S*j + 1] = 0f\n", ""},
};

static void iterations_keep_to_slices(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena;
        struct dim_table dims;
        struct nest nest;
        struct error err = {0};
        char text[2048], found[5] = "----";
        bool sliced[4];
        arena_init(&arena);
        snprintf(text, sizeof text, "%s%s", HEAD, rows[i].body);
        if (!nest_parse(&nest, &dims, &arena, text, strlen(text), &err))
            fail_msg("%s: %s\n%s", err.place, err.message, text);
        expr_id s4 = index_mul(&nest, expr_dim(&nest, dim_named(&dims, 1)), index_const(&nest, 4));
        const expr_id shares[] = {s4, s4, index_const(&nest, 4), EXPR_NONE};
        nest_find_slices(&nest, shares, sliced);
        for (int k = 0; k < 4; k++)
            found[k] = sliced[k] ? "yxzt"[k] : '-';
        bool outermost = nest_outermost(&nest) != VAR_NONE;
        assert_int_equal(outermost, rows[i].sliced[0] != '\0');
        if (outermost && strcmp(found, rows[i].sliced) != 0)
            fail_msg("expected %s, found %s:\n%s", rows[i].sliced, found, rows[i].body);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(iterations_keep_to_slices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
