/* Nests that may write their result over an argument, and nests that may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/loop/loop.h"
#include "compiler/loop/text.h"

#include <cmocka.h> /* last: it defines fail as a macro */

enum { OUT = 1, IN, OTHER }; /* values */

/* y[S*4] over x[S*4]; z, t are others. */
#define HEAD                               \
    "kernel \"k\"\n"                       \
    "  dim S 1..64 multiple 1 typical 8\n" \
    "  out y f32[S*4]\n"                   \
    "  in x f32[S*4]\n"                    \
    "  in z f32[S*4]\n"                    \
    "  in t i64[S*4]\n"                    \
    "  scratch s f32[64]\n"                \
    "  loops i, j, k\n"                    \
    "  locals a f32, n i64\n"

static bool in_place(const char *body, uint32_t out, uint32_t in)
{
    struct arena arena;
    struct dim_table dims;
    struct nest nest;
    struct error err = {0};
    char text[2048];
    arena_init(&arena);
    snprintf(text, sizeof text, "%s%s", HEAD, body);
    if (!nest_parse(&nest, &dims, &arena, text, strlen(text), &err))
        fail_msg("%s: %s\n%s", err.place, err.message, text);
    for (uint32_t i = 0; i < nest.arguments.count; i++)
        nest.buffers.items[nest.arguments.items[i]].value = i + 1;
    bool may = nest_in_place(&nest, out, in);
    arena_release(&arena);
    return may;
}

static void must(bool expected, const char *const *bodies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (in_place(bodies[i], OUT, IN) != expected)
            fail_msg("expected %s:\n%s", expected ? "in place" : "not in place", bodies[i]);
}
#define MUST(expected, bodies) must(expected, bodies, sizeof bodies / sizeof bodies[0])

static void elements_that_are_stored_next(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "  for i in S*4\n    y[i] = x[i] + z[i]\n",
        "  for i in S*4\n    y[i] = x[i]*x[i] + z[0]\n",
        "  for i in S*4\n    y[i] = z[i]\n",
        "  for i in S\n    for j in 4\n      y[i*4 + j] = x[i*4 + j] + z[i]\n",
        "  for i in S\n    for j in 4\n      y[i*4 + j] = x[i*4 + j] if i < 3\n",
        "  for i in S\n    for j in 4\n      y[j*S + i] = x[j*S + i] - 1f\n", /* another order */
        "  parallel i in S\n    vector(4) j in 4\n      y[i*4 + j] = x[i*4 + j] + 1f\n",
        "  parallel i in S\n    jam j in 4\n      y[i*4 + j] = x[i*4 + j] + 1f\n",
        "  for i in S\n    vector(4) j in 4\n      y[i*4 + j] = x[i*4 + j] + z[j]\n",
        "  y[0] = x[0] + 1f\n",
        "  for i in S*4\n    for j in 1\n      y[i] = x[i] + 1f\n", /* one iteration */
        /* a reduction of something else around it */
        "  for i in S*4\n    local a = 0f\n    for k in 4 reduce\n      a += z[i + k]\n"
        "    y[i] = x[i] - a\n",
        /* blocks with a shorter one at the end do not overlap */
        "  for i in floordiv(S*4 + 7, 8)\n    for j in min(8, S*4 + i*(-8))\n"
        "      y[i*8 + j] = x[i*8 + j] + 1f\n",
        /* one of two stores */
        "  if 8 < S\n    for i in S*4\n      y[i] = x[i] + 1f\n  else\n    for j in S*4\n"
        "      y[j] = x[j] + 1f\n",
        /* the first one reads, the second one does not */
        "  for i in S*4\n    y[i] = x[i] + 1f\n  y[2] = 0f\n",
        /* elements that something else tells, behind the others: set, and added to */
        "  for i in S*4\n    y[i] = x[i]\n  for j in 3 reduce\n    y[t[j]] = z[j] if t[j] < S\n",
        "  for i in S*4\n    y[i] = x[i]\n  for j in 3 reduce\n"
        "    y[t[j]] = y[t[j] if t[j] < S] + z[j] if t[j] < S\n",
        "  parallel i in S\n    for j in 4\n      y[i*4 + j] = x[i*4 + j]\n    for k in 2 reduce\n"
        "      y[i*4 + t[k]] = z[k]\n",
        /* scratch of something else */
        "  for i in S\n    for j in 4\n      s[j] = z[j]\n    for k in 4\n"
        "      y[i*4 + k] = x[i*4 + k]*s[k]\n",
    };
    MUST(true, bodies);
}

static void other_elements(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "  for i in S*4\n    y[i] = x[S*4 - 1 - i]\n",                   /* reversed */
        "  for i in S\n    for j in 4\n      y[i*4 + j] = x[j*S + i]\n", /* transposed */
        "  for i in S*4\n    y[i] = x[i] + x[0]\n",                      /* and another one */
        "  for i in S*4\n    y[i] = x[i] + x[i + 1 if i < S*4 - 1]\n",   /* its neighbour */
        "  for i in S\n    for j in 4\n      y[i*4 + j] = x[i*4]\n",     /* its row's first */
        "  for i in S*4\n    y[i] = x[floordiv(i, 2)]\n",
        "  for i in S*4\n    y[i] = x[i64(z[i])]\n", /* gathered */
        "  for i in S*4\n    y[i] = x[i] + x[t[i]]\n",
        "  for i in S*4\n    y[i] = x[min(i, S*2)]\n",
        "  for i in S*4\n    local a = x[i]\n    y[i] = a\n", /* not seen */
        "  for i in S*4\n    local a = x[0]\n    y[i] = a\n",
        "  for i in S\n    local a = 0f\n    for k in 4 reduce\n      a += x[i*4 + k]\n"
        "    for j in 4\n      y[i*4 + j] = z[j]*a\n", /* a row's sum */
        "  for i in S\n    local a = -inf:f32\n    for k in 4 reduce\n      a max= x[i*4 + k]\n"
        "    for j in 4\n      y[i*4 + j] = x[i*4 + j] - a\n", /* a softmax's */
        "  for i in S\n    for j in 4\n      s[j] = x[i*4 + j]\n    for k in 4\n"
        "      y[i*4 + k] = x[i*4 + k] + s[3 - k]\n", /* by scratch */
    };
    MUST(false, bodies);
}

static void conditions_and_places(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "  for i in S*4\n    y[i] = z[i] if x[i] < 1f\n",
        "  for i in S*4\n    y[i] = x[i] + z[i] if x[0] < 1f\n",
        "  if x[0] < 1f\n    for i in S*4\n      y[i] = x[i] + 1f\n",
        "  for i in S*4\n    y[i] = x[i] + z[i64(x[0])]\n",
        "  for i in S*4\n    y[i] = z[i if x[0] < 1f]\n",
        "  for i in S*4\n    y[i] = x[i if x[0] < 1f]\n",
        "  for i in S*4\n    y[i64(x[i])] = 1f\n",
        /* elements that something else tells */
        "  for i in S*4\n    y[t[i]] = x[t[i]] + 1f\n",
        "  for i in S*4\n    local n = t[i]\n    y[n] = x[n] + 1f\n",
        /* overlapping blocks */
        "  for i in S\n    for j in 8\n"
        "      y[min(i*8, S*4 - 8) + j] = x[min(i*8, S*4 - 8) + j] + 1f\n",
        "  for i in S*5\n    y[min(i, S*4 - 1)] = x[min(i, S*4 - 1)] + 1f\n",
        "  for i in S*5\n    y[max(i, S) - S] = x[max(i, S) - S] + 1f\n",
        "  vector(4) i in S*4\n    y[select(i < S, i, S)] = x[select(i < S, i, S)] + 1f\n",
    };
    MUST(false, bodies);
}

static void elements_that_are_stored_again(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "  for i in S*4\n    for k in 3 reduce\n      y[i] = x[i] + 1f\n",
        "  for i in S*4\n    for k in 3\n      y[i] = x[i] + 1f\n", /* though it says independent */
        "  for k in S\n    for i in S*4\n      y[i] = x[i] + 1f\n",
        "  for i in S*4\n    y[i] = x[i] + y[i]\n",
        "  for i in S*4\n    y[i] = z[i] + y[0]\n",
        "  for i in S*4\n    local a = y[i]\n    y[i] = x[i] + a\n",
        "  for i in S*4\n    y[i] = z[i]\n  for j in S*4\n    y[j] = x[j] + 1f\n",
        "  for i in S*4\n    y[i] = x[i] + 1f\n    y[i] = x[i] + 2f\n",
        "  for i in S*4\n    y[i] = 1f\n    y[i] = x[i] + 2f\n",
        "  if 8 < S\n    y[0] = 0f\n  else\n    y[1] = 0f\n  for i in S*4\n    y[i] = x[i] + 2f\n",
        /* stores that do not keep to their iteration */
        "  for i in S*4\n    y[i] = x[i] + 1f\n    y[2] = 0f\n",
        "  parallel i in S\n    for j in 4\n      y[i*4 + j] = x[i*4 + j]\n    for k in 2 reduce\n"
        "      y[t[k]] = z[k]\n",
        /* a load of the result before there is one */
        "  for i in S*4\n    local a = y[i]\n    y[i] = z[i] + a\n",
        "  if 8 < S\n    y[0] = 0f\n  for i in S*4\n    y[i] = x[i] + 2f\n",
        "  vector(4) i in S*4\n    jam k in 3\n      y[i] = x[i] + 1f\n",
    };
    MUST(false, bodies);
}

static void which_argument(void **state)
{
    (void)state;
    const char *body = "  for i in S*4\n    y[i] = x[i] + z[S*4 - 1 - i]\n";
    assert_true(in_place(body, OUT, IN));
    assert_false(in_place(body, OUT, OTHER));
    assert_false(in_place(body, 77, IN)); /* the nest does not store it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_that_are_stored_next),
        cmocka_unit_test(other_elements),
        cmocka_unit_test(conditions_and_places),
        cmocka_unit_test(elements_that_are_stored_again),
        cmocka_unit_test(which_argument),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
