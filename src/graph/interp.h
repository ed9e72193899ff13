/* The interpreter: computes every prim from its definition. It shares no code with lowering or code
 * generation, so that their results can be compared with it, and it runs packages that have no
 * native code.
 *
 * One implementation, three modes. REFERENCE computes floats in float64 whatever their dtype and
 * computes, with each element, a bound on its distance from any correct native result (a running
 * error analysis: unit roundoff of each value's dtype × the ulp column of prims.def, propagated
 * through each prim; for sums and contractions γ·Σ|terms|, with γ for n roundings, valid for any
 * order of summation). Values of f16 and bf16 have the precision of their dtype wherever they are
 * used: each is rounded in all modes, and its bound is 0 where all values within the error of the
 * result in f32 or wider round to the same number. A bound of INFINITY means "not determined": an
 * operand's error reaches across a comparison, a rounding step or an overflow threshold. NATIVE
 * rounds every result to its dtype (sums accumulate in float64 and are rounded once, those of
 * scatter after each update) and has no bounds. PLAIN is NATIVE with sums computed as in a plain
 * loop: in contractions, convolutions and reductions each partial sum is rounded to f32 (f64 for
 * f64). Integers are exact in 64 bits and wrap to their width.
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
    /* Of a source without cells and bounds: fills cells when a run needs them, which are given back
     * after their last use, since cells of params are larger than params. NULL in results. */
    const struct interp_lazy *lazy;
};

/* Elements that can be had again at any time, as the same ones. */
struct interp_lazy {
    void (*load)(const struct interp_lazy *lazy, int64_t first, int64_t count, union cell *out);
};

/* A dense row-major tensor in the dtype's native layout; borrowed. */
struct native_tensor {
    enum dtype dtype;
    uint32_t rank;
    const int64_t *shape;
    const void *data;
};
/* Convert between cells and native memory. */
bool interp_load(struct interp_tensor *out, struct arena *arena, const struct native_tensor *native,
                 struct error *err);
/* As interp_load, but converts when a run needs the elements; so native->data must stay as it is.
 */
bool interp_borrow(struct interp_tensor *out, struct arena *arena,
                   const struct native_tensor *native, struct error *err);
void interp_store(const struct interp_tensor *tensor, void *data);
void interp_cells(enum dtype dtype, int64_t count, const void *data, union cell *out);

struct interp_options {
    enum interp_mode mode;
    /* REFERENCE: bounds are those of computing in float64, whatever the dtypes; values that depend
     * on constants only are rounded to their dtype, as in NATIVE. For comparing graphs with
     * graphs. */
    bool wide;
    /* With wide: floats that are constants of this graph are exact; others may have been folded by
     * passes in native arithmetic, and get that error. NULL: all are exact. */
    const struct graph *constants;
    size_t memory_limit; /* bytes of all cells and bounds that are alive at the same time; 0: none
                          */
    uint32_t threads;    /* that run in parallel; 0 or 1: only the calling thread */
    struct interp_memo *memo; /* see interp_memo.h; NULL: none */
    /* Of loops that have a condition, as if the graph said it where it says more; 0: no limit. */
    int64_t most_trips;
    /* The same of all loops, for trying a graph in less time; 0: no limit. */
    int64_t tried_trips;
    /* Set where the condition of a loop was not determined: then its results are not either. NULL:
     * not told. */
    bool *unsure;
    /* Asked before each trip of a loop; true ends the run with ERR_CANCELLED. NULL: none. */
    bool (*is_stopped)(const void *user);
    const void *user;
};

/* The arguments of a graph; borrowed. */
struct interp_arguments {
    const int64_t *dims;                 /* a value for each named dim; NULL: there are none */
    const struct interp_tensor *sources; /* inputs, then params, in declaration order */
    uint32_t source_count;
};
/* Runs the graph. The result has the same bits on any number of threads. ERR_INPUT unless dims are
 * in their ranges and the sources are those of the graph in number and shape, at these dims. out:
 * one tensor per graph output. ERR_LIMIT when a tensor would pass LIMIT_TENSOR_BYTES or
 * memory_limit. */
bool interp_run(const struct graph *graph, const struct interp_options *options,
                const struct interp_arguments *arguments, struct arena *arena,
                struct interp_tensor *out, struct error *err);

/* Compares native memory with a reference result: the largest |difference| / bound over determined
 * elements (0/0 = 0; a NaN matches only a NaN), its index, and how many elements were not
 * determined.
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
