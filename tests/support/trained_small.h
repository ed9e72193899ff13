/* Shared by the tests of the calls of a training step: a small block, and calls that must
 * work. */
#ifndef URZA_TESTS_SUPPORT_TRAINED_SMALL_H
#define URZA_TESTS_SUPPORT_TRAINED_SMALL_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "trained.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* y = tanh(x wᵀ) v, n = k, z = x x: x has the gradient of two outputs, and k none. */
#define SMALL_TEXT(dtype)                                            \
    "graph \"small\"\n"                                              \
    "dim B 0..64 multiple 1 typical 8\n"                             \
    "%1 = input \"x\" : " dtype "[B, 6]\n"                           \
    "%2 = input \"k\" : i32[B]\n"                                    \
    "%3 = param \"w\" : " dtype "[5, 6]\n"                           \
    "%4 = param \"v\" : " dtype "[3, 5]\n"                           \
    "%5 = contract %1, %3 {batch 0, contract 1} : " dtype "[B, 5]\n" \
    "%6 = tanh %5 : " dtype "[B, 5]\n"                               \
    "%7 = contract %6, %4 {batch 0, contract 1} : " dtype "[B, 3]\n" \
    "%8 = copy %2 : i32[B]\n"                                        \
    "%9 = mul %1, %1 : " dtype "[B, 6]\n"                            \
    "output \"y\" %7\noutput \"n\" %8\noutput \"z\" %9\n"

/* Its lists. */
enum { X, K };
enum { W, V };
enum { Y, N, Z };

#define ROWS 9
static struct trained shared; /* the small block in f32, at ROWS rows */

static inline void must(int code, const urza_error *err)
{
    if (code != 0)
        TEST_FAILED("%s: %s: %s", urza_error_name(code), err->place, err->message);
}

static inline void must_give(int code, enum error_code expected, const urza_error *err,
                             const char *words)
{
    if (code != (int)expected || (!strstr(err->message, words) && !strstr(err->place, words)))
        TEST_FAILED("expected %s '%s', got %s: %s: %s", error_name(expected), words,
                    urza_error_name(code), code ? err->place : "", code ? err->message : "");
}

static inline urza_tape *begin(struct trained *t, urza_module *module)
{
    urza_tape *tape = NULL;
    urza_error err;
    must(trained_forward(t, module, true, &tape, &err), &err);
    assert_non_null(tape);
    return tape;
}

static inline void finish(struct trained *t, urza_tape *tape, uint32_t flags)
{
    urza_error err;
    must(trained_backward(t, tape, flags, &err), &err);
    urza_tape_release(tape);
}

static inline urza_stats stats_of(const urza_module *module)
{
    urza_stats stats;
    urza_stats_get(module, &stats);
    return stats;
}

/* The bits of one plain step. */
static inline void *plain_bits(struct trained *t, size_t *bytes)
{
    urza_module *module = trained_load(t, NULL);
    trained_step(t, module, 0);
    urza_unload(module);
    return trained_copy(t, bytes);
}

static inline void must_have(struct trained *t, const void *bits, size_t bytes, const char *how)
{
    size_t size;
    const void *found = trained_copy(t, &size);
    assert_int_equal(size, bytes);
    if (memcmp(found, bits, bytes) != 0)
        TEST_FAILED("%s: other bits", how);
}

static inline int setup(void **state)
{
    (void)state;
    static const int64_t rows[LIMIT_NAMED_DIMS] = {ROWS};
    trained_compile_text(&shared, SMALL_TEXT("f32"), NULL);
    trained_size(&shared, rows, 11, FILL_NORMAL);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    trained_release(&shared);
    return 0;
}

#endif
