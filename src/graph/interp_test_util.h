/* Shared by the interpreter's tests: an arena, tensors from doubles, and one prim run alone. */
#ifndef URZA_GRAPH_INTERP_TEST_UTIL_H
#define URZA_GRAPH_INTERP_TEST_UTIL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/rng.h"
#include "graph/interp.h"

#include <cmocka.h> /* last: it defines fail() */

#define SHAPE(...) \
    (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)
#define SCALAR NULL, 0
#define VALUES(...) ((const double[]){__VA_ARGS__})

struct bed {
    struct arena arena;
    struct error err;
};

static inline int bed_setup(void **state)
{
    struct bed *bed = calloc(1, sizeof *bed);
    arena_init(&bed->arena);
    *state = bed;
    return 0;
}

static inline int bed_teardown(void **state)
{
    struct bed *bed = *state;
    arena_release(&bed->arena);
    free(bed);
    return 0;
}

/* values NULL: all zeros. */
static inline struct interp_tensor tensor_of(struct bed *bed, enum dtype dtype,
                                             const int64_t *shape, size_t rank,
                                             const double *values)
{
    struct interp_tensor t = {.dtype = dtype, .rank = (uint32_t)rank, .count = 1};
    for (size_t i = 0; i < rank; i++)
        t.count *= t.shape[i] = shape[i];
    t.cells = ARENA_ARRAY(&bed->arena, union cell, t.count);
    for (int64_t i = 0; values && i < t.count; i++) {
        if (dtype_is_float(dtype))
            t.cells[i].f = dtype_round(dtype, values[i]);
        else
            t.cells[i].i = (int64_t)values[i];
    }
    return t;
}

static inline struct interp_tensor scalar_of(struct bed *bed, enum dtype dtype, double value)
{
    return tensor_of(bed, dtype, SCALAR, &value);
}

/* Normally distributed floats, or small whole numbers for other dtypes. */
static inline struct interp_tensor random_of(struct bed *bed, enum dtype dtype,
                                             const int64_t *shape, size_t rank, uint64_t seed)
{
    struct interp_tensor t = tensor_of(bed, dtype, shape, rank, NULL);
    uint64_t key = rng_key(seed);
    for (int64_t i = 0; i < t.count; i++) {
        if (dtype_is_float(dtype))
            t.cells[i].f = dtype_round(dtype, rng_normal(key, (uint64_t)i));
        else
            t.cells[i].i = (int64_t)(rng_u32(key, (uint64_t)i) % 5);
    }
    return t;
}

static inline struct interp_tensor with_bound(struct bed *bed, struct interp_tensor t, double bound)
{
    t.bounds = ARENA_ARRAY(&bed->arena, double, t.count);
    for (int64_t i = 0; i < t.count; i++)
        t.bounds[i] = bound;
    return t;
}

/* Runs a graph of one prim, whose inputs have the dtypes and shapes of the given tensors. */
static inline struct interp_tensor run_prim_with(struct bed *bed, struct interp_options options,
                                                 enum prim prim, const struct attrs *attrs,
                                                 uint32_t count,
                                                 const struct interp_tensor *operands)
{
    struct graph *graph = ARENA_NEW(&bed->arena, struct graph);
    value_id ids[LIMIT_OPERANDS];
    graph_init(graph, &bed->arena);
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        dim_id dims[LIMIT_RANK];
        snprintf(name, sizeof name, "x%u", i);
        for (uint32_t d = 0; d < operands[i].rank; d++)
            dims[d] = dim_const(&graph->dims, operands[i].shape[d]);
        ids[i] = graph_input(graph, name, operands[i].dtype, dims, operands[i].rank, &bed->err);
    }
    struct attrs copy = attrs ? *attrs : (struct attrs){0};
    /* The attributes hold dims as plain numbers. */
    for (uint32_t i = 0; i < LIMIT_RANK; i++) {
        copy.shape[i] = dim_const(&graph->dims, copy.shape[i]);
        copy.start[i] = dim_const(&graph->dims, copy.start[i]);
        copy.low[i] = dim_const(&graph->dims, copy.low[i]);
        copy.high[i] = dim_const(&graph->dims, copy.high[i]);
    }
    value_id id = graph_add(graph, prim, ids, count, &copy, &bed->err);
    if (id == VALUE_NONE || !graph_output(graph, "y", id, &bed->err))
        fail_msg("%s: %s", prim_info(prim)->name, bed->err.message);
    struct interp_tensor out;
    if (!interp_run(graph, &options, &(struct interp_arguments){NULL, operands, count}, &bed->arena,
                    &out, &bed->err))
        fail_msg("%s: %s", prim_info(prim)->name, bed->err.message);
    return out;
}

static inline struct interp_tensor run_prim_of(struct bed *bed, enum interp_mode mode,
                                               enum prim prim, const struct attrs *attrs,
                                               uint32_t count, const struct interp_tensor *operands)
{
    return run_prim_with(bed, (struct interp_options){.mode = mode, .threads = 1}, prim, attrs,
                         count, operands);
}

static inline void assert_same(double got, double expected)
{
    bool same = isnan(expected) ? isnan(got) : got == expected;
    if (!same)
        fail_msg("%.17g, expected %.17g", got, expected);
}

static inline void assert_floats(const struct interp_tensor *t, const double *expected)
{
    for (int64_t i = 0; i < t->count; i++)
        assert_same(t->cells[i].f, expected[i]);
}

static inline void assert_ints(const struct interp_tensor *t, const double *expected)
{
    for (int64_t i = 0; i < t->count; i++)
        assert_int_equal(t->cells[i].i, (int64_t)expected[i]);
}

static inline double bound_of(const struct interp_tensor *t, int64_t i)
{
    return t->bounds ? t->bounds[i] : 0;
}

#endif
