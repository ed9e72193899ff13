/* The interpreter: the meaning of every prim, from its definition. It shares nothing with lowering
 * or code generation, so that it can judge them, and it runs what has no native code.
 *
 * Two modes over one implementation. REFERENCE computes floats in float64 whatever their dtype and
 * carries, beside each element, a bound on how far a correct native computation may lie from it (a
 * running error analysis: unit roundoff of each value's dtype × the ulp column of prims.def,
 * propagated through each prim; sums and contractions by γ·Σ|terms| (γ of n roundings), valid for
 * any order of summation). Values of f16 and bf16 have the precision of their dtype wherever they
 * are used: each is rounded in all modes, and its bound is 0 where all that lies within the error
 * of what was computed, in f32 or wider, rounds to one number. INFINITY means "not determined": an
 * input's error reaches across a comparison, a rounding step or an overflow threshold. NATIVE
 * rounds every result to its dtype (sums accumulate in float64 and round once, scattered ones with
 * each update) and has no bounds. PLAIN is NATIVE with sums as a plain loop has them: in
 * contractions, convolutions and reductions each partial sum is rounded to f32 (f64 for f64).
 * Integers are exact in 64 bits and wrap to their width.
 *
 * Elements are 64-bit cells in row-major order. Memory comes from the arena; values are freed with
 * it. Thread-safe on distinct arenas. */
#ifndef URZA_GRAPH_INTERP_H
#define URZA_GRAPH_INTERP_H

#include "graph/graph.h"

enum interp_mode { INTERP_REFERENCE = 1, INTERP_NATIVE, INTERP_PLAIN };

union cell {
    double f;  /* float dtypes */
    int64_t i; /* integer dtypes and bool */
};

struct interp_tensor {
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    int64_t count; /* elements */
    union cell *cells;
    double *bounds; /* REFERENCE mode: count bounds ≥ 0; NULL: all zero */
};

/* Dense row-major memory in the dtype's own layout; borrowed. */
struct native_tensor {
    enum dtype dtype;
    uint32_t rank;
    const int64_t *shape;
    const void *data;
};
/* Between cells and native memory. */
bool interp_load(struct interp_tensor *out, struct arena *arena, const struct native_tensor *native,
                 struct error *err);
void interp_store(const struct interp_tensor *tensor, void *data);

struct interp_options {
    enum interp_mode mode;
    /* REFERENCE: bounds are those of computing in float64, whatever the dtypes; what depends on
     * constants alone is rounded to its dtype, as by NATIVE. For comparing graphs with graphs. */
    bool wide;
    /* Wide: floats that stand in this graph are exact; others may be results of native arithmetic
     * that passes folded, and have its error. NULL: all are exact. */
    const struct graph *constants;
    size_t memory_limit;      /* bytes of all cells and bounds alive at one time; 0: none */
    uint32_t threads;         /* that work at one time; 0 or 1: the caller alone, none is created */
    struct interp_memo *memo; /* see interp_memo.h; NULL: none */
};

/* What a graph is run on; borrowed. */
struct interp_arguments {
    const int64_t *dims;                 /* a value for each named dim; NULL: there are none */
    const struct interp_tensor *sources; /* inputs, then params, in declaration order */
    uint32_t source_count;
};
/* Runs the graph. The same bits on any number of threads. ERR_INPUT unless dims lie inside their
 * ranges and the sources are as many as the graph has, in the declared shapes at these dims. out:
 * one tensor per graph output. ERR_LIMIT when a tensor would pass LIMIT_TENSOR_BYTES or
 * memory_limit. */
bool interp_run(const struct graph *graph, const struct interp_options *options,
                const struct interp_arguments *arguments, struct arena *arena,
                struct interp_tensor *out, struct error *err);

/* Compares native memory with a reference result: the largest |difference| / bound over determined
 * elements (0/0 = 0; NaN must meet NaN), where it lies, and how many elements were not determined.
 */
struct interp_difference {
    double worst_ratio;    /* ≤ 1: within bounds; INFINITY where NaN or inf do not match */
    double worst_absolute; /* |difference| at that element */
    double worst_bound;
    int64_t worst_index; /* flat */
    int64_t undetermined;
};
void interp_compare(const struct interp_tensor *reference, const void *native,
                    struct interp_difference *out);

#endif
