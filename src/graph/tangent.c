/* Forward mode: the interpreter's driver, with tangents where it has bounds.
 *
 * 1. Values are computed by the interpreter's own code, in NATIVE, from tensors whose float dtype
 *    is replaced by f64: so nothing is rounded to a narrower dtype, and cells are those of the same
 *    graph in f64. Where the dtype decides what bits mean (literals, bitcast) it stays.
 * 2. A tangent of NULL is 0 everywhere. So what does not depend on the direction costs nothing.
 * 3. Linear prims are the same prim on the tangents. All others are written down in
 *    tangent_elementwise.c, tangent_reduce.c, tangent_product.c, tangent_window.c and
 *    tangent_index.c. */
#include "graph/tangent.h"

#include <assert.h>

#include "graph/interp_run_priv.h"
#include "graph/tangent_priv.h"

static bool is_needed(const struct op *op)
{
    bool moves = false;
    for (uint32_t i = 0; i < op->in_count; i++)
        moves |= op->in[i]->bounds != NULL;
    return moves && dtype_is_float(op->out->dtype);
}

/* The prim itself, which is linear in the operands that are floats, on their tangents. */
static void linear(const struct tangent_op *t)
{
    struct op op = *t->op;
    struct interp_tensor in[LIMIT_OPERANDS], out = *op.out;
    out.cells = (union cell *)t->out;
    op.out = &out;
    for (uint32_t i = 0; i < op.in_count; i++) {
        if (!t->in[i])
            continue;
        in[i] = *op.in[i];
        in[i].cells = (union cell *)(uintptr_t)t->in[i]; /* only read */
        op.in[i] = &in[i];
    }
    op_evaluate(&op);
}

static void zero(const struct tangent_op *t)
{
    for (int64_t i = 0; i < t->op->out->count; i++)
        t->out[i] = 0;
}

static void scatter(const struct tangent_op *t)
{
    switch ((enum scatter_mode)t->op->attrs->mode) {
    case SCATTER_SET: /* what is written last, in tangents as in values */
    case SCATTER_ADD: linear(t); return;
    case SCATTER_MAX:
    case SCATTER_MIN: tangent_scatter_extremum(t); return;
    }
}

/* By prim. NULL: no operand is a float, or the result is none, or the driver runs it (loops). */
static void (*const TANGENTS[PRIM_COUNT])(const struct tangent_op *t) = {
    [PRIM_NEG] = linear,
    [PRIM_ABS] = tangent_unary,
    [PRIM_SIGN] = zero,
    [PRIM_FLOOR] = zero,
    [PRIM_CEIL] = zero,
    [PRIM_ROUND] = zero,
    [PRIM_TRUNC] = zero,
    [PRIM_SQRT] = tangent_unary,
    [PRIM_RSQRT] = tangent_unary,
    [PRIM_EXP] = tangent_unary,
    [PRIM_EXP2] = tangent_unary,
    [PRIM_EXPM1] = tangent_unary,
    [PRIM_LOG] = tangent_unary,
    [PRIM_LOG2] = tangent_unary,
    [PRIM_LOG1P] = tangent_unary,
    [PRIM_SIN] = tangent_unary,
    [PRIM_COS] = tangent_unary,
    [PRIM_TAN] = tangent_unary,
    [PRIM_ATAN] = tangent_unary,
    [PRIM_TANH] = tangent_unary,
    [PRIM_ERF] = tangent_unary,
    [PRIM_ERFC] = tangent_unary,
    [PRIM_DETACH] = zero,
    [PRIM_ADD] = linear,
    [PRIM_SUB] = linear,
    [PRIM_MUL] = tangent_binary,
    [PRIM_DIV] = tangent_binary,
    [PRIM_REM] = tangent_binary,
    [PRIM_POW] = tangent_binary,
    [PRIM_MIN] = tangent_extremum,
    [PRIM_MAX] = tangent_extremum,
    [PRIM_SELECT] = linear, /* in what it selects from */
    [PRIM_BITCAST] = zero,
    [PRIM_CAST] = linear, /* from float to float */
    [PRIM_REDUCE_SUM] = linear,
    [PRIM_REDUCE_PROD] = tangent_reduce_prod,
    [PRIM_REDUCE_MAX] = tangent_reduce_extremum,
    [PRIM_REDUCE_MIN] = tangent_reduce_extremum,
    [PRIM_CUM_SUM] = linear,
    [PRIM_CUM_PROD] = tangent_cum_prod,
    [PRIM_CUM_MAX] = tangent_cum_max,
    [PRIM_CONTRACT] = tangent_contract,
    [PRIM_CONV] = tangent_conv,
    [PRIM_WINDOW_SUM] = linear,
    [PRIM_WINDOW_MAX] = tangent_window_max,
    [PRIM_RESHAPE] = linear,
    [PRIM_TRANSPOSE] = linear,
    [PRIM_BROADCAST] = linear,
    [PRIM_SLICE] = linear,
    [PRIM_PAD] = linear,
    [PRIM_CONCAT] = linear,
    [PRIM_REVERSE] = linear,
    [PRIM_TAKE] = linear,   /* in the data */
    [PRIM_GATHER] = linear, /* in the data */
    [PRIM_SCATTER] = scatter,
    [PRIM_COPY] = linear,
};

/* A tensor without bounds whose floats are f64. */
static struct interp_tensor widened(const struct interp_tensor *tensor)
{
    struct interp_tensor wide = *tensor;
    wide.bounds = NULL;
    if (dtype_is_float(wide.dtype))
        wide.dtype = DTYPE_F64;
    return wide;
}

/* Arrays of zeros for operands that have no tangent. */
static void fill_tangents(struct tangent_op *t, const struct op *given)
{
    int64_t most = 0;
    for (uint32_t i = 0; i < given->in_count; i++)
        if (!given->in[i]->bounds && given->in[i]->count > most)
            most = given->in[i]->count;
    double *zeros = op_scratch(given, SCRATCH_ZEROS, (size_t)(most + 1) * sizeof *zeros);
    memset(zeros, 0, (size_t)(most + 1) * sizeof *zeros);
    for (uint32_t i = 0; i < given->in_count; i++)
        if (dtype_is_float(given->in[i]->dtype))
            t->in[i] = given->in[i]->bounds ? given->in[i]->bounds : zeros;
}

static void evaluate(struct op *given, bool wide)
{
    struct op op = *given;
    struct interp_tensor in[LIMIT_OPERANDS], out = widened(given->out);
    /* What bits mean hangs on the dtype, to which a bitcast rounds its operand. */
    bool bits = op.prim == PRIM_BITCAST || op.prim == PRIM_LITERAL;
    (void)wide;
    op.reference = false;
    op.out = &out;
    for (uint32_t i = 0; i < op.in_count; i++) {
        in[i] = widened(given->in[i]);
        op.in[i] = &in[i];
    }
    op_evaluate(bits ? given : &op);
    if (given->out->bounds) {
        struct tangent_op t = {.op = &op, .out = given->out->bounds};
        fill_tangents(&t, given);
        assert(TANGENTS[op.prim]);
        TANGENTS[op.prim](&t);
    }
}

/* The sources, with their tangents in the place of bounds. */
static struct interp_tensor *with_tangents(const struct tangent_arguments *arguments,
                                           struct arena *arena)
{
    uint32_t count = arguments->point.source_count;
    struct interp_tensor *sources = ARENA_ARRAY(arena, struct interp_tensor, count);
    for (uint32_t i = 0; i < count; i++) {
        sources[i] = arguments->point.sources[i];
        bool is_float = dtype_is_float(sources[i].dtype);
        sources[i].bounds = is_float ? (double *)(uintptr_t)arguments->direction[i] /* only read */
                                     : NULL;
    }
    return sources;
}

/* Tangents of outputs that do not depend on the direction. */
static bool fill_zeros(struct run *run, struct interp_tensor *outputs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        void *zeros;
        if (!dtype_is_float(outputs[i].dtype) || outputs[i].bounds)
            continue;
        if (!take_memory(run, outputs[i].count, &zeros))
            return false;
        memset(zeros, 0, (size_t)outputs[i].count * sizeof(double));
        outputs[i].bounds = zeros;
    }
    return true;
}

bool tangent_run(const struct graph *graph, const struct interp_options *options,
                 const struct tangent_arguments *arguments, struct arena *arena,
                 struct tangent_tensor *out, struct error *err)
{
    static const struct beside beside = {is_needed, evaluate};
    const struct interp_options own = {.mode = INTERP_NATIVE,
                                       .memory_limit = options->memory_limit,
                                       .threads = options->threads,
                                       .most_trips = options->most_trips,
                                       .is_stopped = options->is_stopped,
                                       .user = options->user};
    struct run run = {.graph = graph, .options = &own, .beside = &beside, .reference = true};
    uint32_t count = graph->outputs.count;
    struct interp_tensor *outputs = ARENA_ARRAY(arena, struct interp_tensor, count);
    struct interp_arguments point = arguments->point;
    if (point.source_count == graph->inputs.count + graph->params.count) /* else it is refused */
        point.sources = with_tangents(arguments, arena);
    if (!run_graph(&run, &point, arena, outputs, err) || !fill_zeros(&run, outputs, count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        /* Rows of a loop may have zeros beside integers. */
        bool is_float = dtype_is_float(outputs[i].dtype);
        out[i] = (struct tangent_tensor){outputs[i], is_float ? outputs[i].bounds : NULL};
        out[i].value.bounds = NULL;
    }
    return true;
}
