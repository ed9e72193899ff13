/* Shared by the files of the interpreter: one node being evaluated, values with errors, folds, and
 * walks over strided elements.
 *
 * A float is evaluated as a value and an error: the largest distance of a correct native result
 * from the value. Three invariants hold for every stored element:
 * 1. an error is ≥ 0 and never NaN; INFINITY means "not determined";
 * 2. a NaN or an infinity has error 0 or INFINITY: it is exactly that, or not determined;
 * 3. a finite value with a finite error stays finite in its dtype: |value| + error ≤ dtype_max.
 * In NATIVE mode all errors are 0 and values are rounded when they are stored. Values of f16 and
 * bf16 are numbers of their dtype in both modes. */
#ifndef URZA_GRAPH_INTERP_PRIV_H
#define URZA_GRAPH_INTERP_PRIV_H

#include <math.h>

#include "base/compiler.h"
#include "graph/interp.h"

/* Covers the rounding of the error arithmetic itself and of small rewrites; there is no other
 * tolerance. */
#define INTERP_SAFETY 1.01
/* The unit roundoff of the reference's own float64 arithmetic, which is part of every bound. */
#define INTERP_UNIT 0x1p-53

struct approx {
    double value, error;
};

/* How results of one node are rounded. f16 and bf16 are computed in f32 or wider, and rounded to
 * the dtype in a separate step (op_put_narrow): for them relative, tiny and max describe the wider
 * computation. */
struct rounding {
    bool narrow;     /* the result is f16 or bf16 */
    bool single;     /* computed in f32 precision */
    double relative; /* local error over |result|; 0: exact */
    double tiny;     /* absolute local error of a result near zero */
    double max;      /* results beyond this may become infinite */
    double past_max; /* 1: the local error may take a result beyond max; 0: results are rounded
                        correctly, and become infinite only from max on */
    double sum_unit, sum_tiny, sum_max; /* of the accumulator */
    /* Terms that are all multiples of one number and whose magnitudes add up to no more than this
     * are summed exactly, in any order, by an accumulator of that precision; 0: not known. */
    double exact_sums;
};

/* One node being evaluated. */
struct op {
    enum prim prim;
    const struct attrs *attrs;
    bool reference;
    bool fixed;            /* the result depends on no input, state or trip */
    double constant_error; /* error of a float const, relative to its magnitude */
    bool plain;            /* float sums round each partial sum to f32, or f64 for f64 */
    uint32_t threads;      /* limit on threads; 0 or 1: only the calling thread */
    const struct interp_tensor *in[LIMIT_OPERANDS];
    uint32_t in_count;
    bool constant[2];          /* whether the first operands depend on no input or param, and on no
                                  detach (graph_is_detached_constant) */
    struct interp_tensor *out; /* shape, cells, and bounds where errors can arise */
    struct rounding rounding;  /* when the result is a float */
    int64_t start[LIMIT_RANK], low[LIMIT_RANK]; /* evaluated attributes: start of slice, low of pad
                                                 */
    const int64_t *points;   /* for literal, iota, random: the flat indices of the elements of out;
                                NULL: all elements */
    struct arena *arena;     /* scratch */
    struct scratch *scratch; /* shared by all nodes, one after the other */
};

/* Memory that a node uses while it runs: one buffer for each purpose. */
enum scratch_use {
    SCRATCH_WORKERS,
    SCRATCH_TAPS,
    SCRATCH_COUNTS,
    SCRATCH_TANGENTS,
    SCRATCH_ZEROS,
    SCRATCH_COUNT
};
struct scratch {
    struct arena *arena;
    struct {
        void *data;
        size_t bytes;
    } pieces[SCRATCH_COUNT];
};
/* At least `bytes` of uninitialised memory, 64-aligned. */
void *op_scratch(const struct op *op, enum scratch_use use, size_t bytes);

/* The error of a finite result to which the operands contribute `propagated` < INFINITY. */
static URZA_ALWAYS_INLINE double finite_rounding_error(const struct rounding *r, double value,
                                                       double propagated)
{
    double reach = fabs(value) + propagated;
    double local = INTERP_SAFETY * (r->relative * reach + r->tiny);
    return reach + r->past_max * local > r->max ? INFINITY : propagated + local;
}

/* The error of any result; `propagated` may be NaN. */
static inline double rounding_error(const struct rounding *r, double value, double propagated)
{
    if (!(propagated < INFINITY))
        return INFINITY;
    if (!isfinite(value))
        return propagated > 0 ? INFINITY : 0;
    return finite_rounding_error(r, value, propagated);
}

/* γ = n·u / (1 - n·u): the relative error of n successive roundings, each of at most u (Higham,
 * Accuracy and Stability of Numerical Algorithms, lemma 3.1). INFINITY where n·u ≥ 1. */
static inline double roundings_error(int64_t n, double unit)
{
    double product = (double)n * unit;
    return product < 1 ? product / (1 - product) : INFINITY;
}

static inline double round_native(enum dtype dtype, double value)
{
    return dtype == DTYPE_F32 ? (double)(float)value : dtype_round(dtype, value);
}

static inline double bound_at(const struct interp_tensor *tensor, int64_t index)
{
    return tensor->bounds ? tensor->bounds[index] : 0;
}

static inline struct approx approx_at(const struct interp_tensor *tensor, int64_t index)
{
    return (struct approx){tensor->cells[index].f, bound_at(tensor, index)};
}

/* The number of threads for about `work` terms: starting a thread takes as long as some ten
 * thousand of them.
 */
#define INTERP_THREAD_WORK 3e5
static inline uint32_t op_threads(const struct op *op, double work)
{
    return work > INTERP_THREAD_WORK ? op->threads : 1;
}
/* Stores an f16 or bf16 in REFERENCE: rounding is monotone, so native results are between the
 * rounded ends of the interval. */
void op_put_narrow(const struct op *op, int64_t index, struct approx x);

/* Stores a float result with its local error added. */
static inline void op_put(const struct op *op, int64_t index, struct approx x)
{
    struct interp_tensor *out = op->out;
    if (op->reference && op->rounding.narrow) {
        op_put_narrow(op, index, x);
        return;
    }
    out->cells[index].f = op->reference ? x.value : round_native(out->dtype, x.value);
    if (out->bounds)
        out->bounds[index] = rounding_error(&op->rounding, x.value, x.error);
}

/* Stores a result with exactly this error. */
static inline void op_put_exact(const struct op *op, int64_t index, union cell cell, double error)
{
    op->out->cells[index] = cell;
    if (op->out->bounds)
        op->out->bounds[index] = error;
}

/* Stores a float result that is exact if its operands are exact and its dtype can represent it. */
void op_put_representable(const struct op *op, int64_t index, struct approx x);

/* Float prims: the value and the propagated error, without the local rounding. */
typedef struct approx approx_binary(struct approx a, struct approx b);
struct approx approx_unary(enum prim prim, struct approx x);
approx_binary *approx_binary_function(enum prim prim);
struct approx approx_add(struct approx a, struct approx b);
struct approx approx_mul(struct approx a, struct approx b);
struct approx approx_min(struct approx a, struct approx b);
struct approx approx_max(struct approx a, struct approx b);

/* Elementwise float prims, many elements at a time; `again` computes one element by its definition.
 * False, with nothing done, for prims that have no such code. */
bool lanes_run_unary(const struct op *op, void (*again)(const struct op *op, int64_t index));
bool lanes_run_binary(const struct op *op, void (*again)(const struct op *op, int64_t index));

/* Elements in the row-major order of a shape, each at Σ index × stride. */
struct walk {
    uint32_t rank;
    int64_t shape[LIMIT_RANK], stride[LIMIT_RANK], index[LIMIT_RANK];
    int64_t offset;
};

static inline void walk_push(struct walk *walk, int64_t size, int64_t stride)
{
    walk->shape[walk->rank] = size;
    walk->stride[walk->rank++] = stride;
}

/* Moves to the next element; after the last it returns false and is back at the first. Not for
 * shapes without elements.
 */
static inline bool walk_next(struct walk *walk)
{
    for (uint32_t d = walk->rank; d-- > 0;) {
        walk->offset += walk->stride[d];
        if (++walk->index[d] < walk->shape[d])
            return true;
        walk->offset -= walk->stride[d] * walk->shape[d];
        walk->index[d] = 0;
    }
    return false;
}

/* Row-major strides of a shape. */
void row_strides(const int64_t *shape, uint32_t rank, int64_t *out_stride);
/* Product of shape[first … end-1]. */
int64_t shape_product(const int64_t *shape, uint32_t first, uint32_t end);

/* A sum, product, maximum or minimum being accumulated, of floats, integers or bool, with an error
 * that holds for every order of combination. */
enum fold_kind { FOLD_SUM = 1, FOLD_PROD, FOLD_MAX, FOLD_MIN };
struct fold {
    enum fold_kind kind;
    enum dtype dtype;
    bool is_float;
    bool plain;     /* float sums: each partial sum is rounded to f32 */
    bool special;   /* floats: an infinity or NaN took part */
    bool nan, zero; /* products: a NaN took part, an exact zero did */
    int64_t count;
    union cell value;
    double error;
    double magnitude; /* sums: Σ|finite terms|; products: Π max(|x| + error, 1) */
    double least;     /* products: Π min(|x| - error, 1), without exact zeros */
};
void fold_begin(struct fold *fold, enum fold_kind kind, enum dtype dtype);
void fold_add_other(struct fold *fold, union cell x, double error); /* not for float sums */
void fold_put(const struct fold *fold, const struct op *op, int64_t index);

static inline void fold_add(struct fold *fold, union cell x, double error)
{
    if (fold->kind != FOLD_SUM || !fold->is_float) {
        fold_add_other(fold, x, error);
        return;
    }
    fold->count++;
    fold->value.f += x.f;
    if (fold->plain)
        fold->value.f = (double)(float)fold->value.f;
    fold->error += error;
    if (isfinite(x.f))
        fold->magnitude += fabs(x.f);
    else
        fold->special = true;
}

#endif
