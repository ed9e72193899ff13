/* Reductions, scans, norms over dims. */
#include <math.h>
#include <string.h>

#include "compiler/import/pt2/aten_detach_priv.h"

#define ORDER_MAX 16 /* largest order of differences */

/* Expands a reduction of x, which is the operand cast to another dtype. */
static bool expand_cast(struct aten_call *c, const char *op, value_id x)
{
    struct op_value attrs[3] = {{0}};
    int64_t dims[LIMIT_RANK];
    uint32_t count = 0, used = 0;
    if (x == VALUE_NONE)
        return false;
    if (aten_has(c, "dim"))
        count = aten_ints(c, "dim", dims, LIMIT_RANK);
    if (count == 1)
        attrs[used++] =
            (struct op_value){.name = "dim", .kind = OP_INT, .i = dims[0], .f = (double)dims[0]};
    else if (count > 1)
        attrs[used++] =
            (struct op_value){.name = "dim", .kind = OP_INTS, .ints = dims, .int_count = count};
    if (strstr(c->op->attrs, "keepdim"))
        attrs[used++] = (struct op_value){
            .name = "keepdim", .kind = OP_BOOL, .i = aten_bool(c, "keepdim", false)};
    return aten_return(c, aten_expand(c, op, &x, 1, attrs));
}

bool aten_reduce(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    enum dtype dtype = aten_dtype(c, "dtype", aten_type(c, x));
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    return expand_cast(c, c->op->with, b_cast(c->b, x, dtype));
}

/* Differences of neighbouring elements, n times; of bools, whether they differ. */
bool aten_diff(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id ends[] = {aten_in(c, "prepend"), aten_in(c, "self"), aten_in(c, "append")}, parts[3];
    int64_t times = aten_int(c, "n", 1), dim = aten_int(c, "dim", -1);
    uint32_t count = 0;
    for (int i = 0; i < 3; i++)
        if (ends[i] != VALUE_NONE)
            parts[count++] = ends[i];
    if (ends[1] == VALUE_NONE || aten_failed(c) || c->refused)
        return false;
    if (times < 0 || times > ORDER_MAX)
        return aten_refuse(c, "differences of order %lld", (long long)times);
    value_id x = count > 1 ? b_concat(b, parts, count, dim) : ends[1];
    bool truth = aten_type(c, x) == DTYPE_BOOL;
    for (int64_t i = 0; i < times && x != VALUE_NONE; i++) {
        dim_id zero = b_dim_const(b, 0), one = b_dim_const(b, 1), size = b_dim(b, x, dim);
        dim_id left = dim_max(&c->p->graph->dims, b_dim_add(b, size, b_dim_const(b, -1)), zero);
        if (left == DIM_NONE)
            return b_fail(b, ERR_LIMIT, "the size cannot be expressed");
        value_id next = b_slice(b, x, dim, one, left, 1), own = b_slice(b, x, dim, zero, left, 1);
        x = b_binary(b, truth ? PRIM_XOR : PRIM_SUB, next, own);
    }
    return aten_return(c, x);
}

bool aten_variance(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t dims[LIMIT_RANK];
    uint32_t count = aten_ints(c, "dim", dims, LIMIT_RANK);
    double correction = aten_bool(c, "unbiased", true) ? 1 : 0;
    bool both = strstr(c->op->name, "_mean") != NULL;
    correction = aten_has(c, "correction") ? aten_float(c, "correction", 1) : correction;
    struct op_value attrs[] = {
        {.name = "correction", .kind = OP_FLOAT, .f = correction},
        {.name = "keepdim", .kind = OP_BOOL, .i = aten_bool(c, "keepdim", false)},
        {.name = count > 0 ? "dim" : NULL, .kind = OP_INTS, .ints = dims, .int_count = count},
        {0}};
    if (x == VALUE_NONE || !aten_return(c, aten_expand(c, c->op->with, &x, 1, attrs)))
        return false;
    if (both) {
        c->out[c->out_count++] = aten_expand(c, "mean", &x, 1, attrs + 1);
    }
    return true;
}

/* max and min: over all elements, along a dim with indices, or of two tensors. */
bool aten_extreme(struct aten_call *c)
{
    bool is_max = strcmp(c->op->name, "max") == 0;
    value_id x = aten_in(c, "self");
    if (x == VALUE_NONE)
        return false;
    if (aten_has(c, "other")) {
        value_id in[2];
        if (!aten_promote(c, "self", "other", in))
            return false;
        for (int i = 0; i < 2; i++)
            in[i] = aten_detach_constant(c->b, in[i]);
        return aten_return(c, b_binary(c->b, is_max ? PRIM_MAX : PRIM_MIN, in[0], in[1]));
    }
    if (!expand_cast(c, is_max ? "amax" : "amin", x))
        return false;
    value_id best = c->out[0];
    if (!aten_has(c, "dim"))
        return true;
    if (!expand_cast(c, is_max ? "argmax" : "argmin", x))
        return false;
    c->out[1] = c->out[0];
    c->out[0] = best;
    c->out_count = 2;
    return true;
}

/* The Euclidean norm. Squares of narrow floats would overflow, so they are f32, as in PyTorch. */
static value_id norm(struct aten_call *c, value_id x, const int64_t *axes, uint32_t count,
                     bool keep)
{
    struct builder *b = c->b;
    enum dtype type = aten_type(c, x);
    if (x != VALUE_NONE && dtype_bytes(type) < sizeof(float))
        x = b_cast(b, x, DTYPE_F32);
    value_id sum = b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, x, x), axes, count, keep);
    return b_cast(b, b_unary(b, PRIM_SQRT, sum), type);
}

bool aten_vector_norm(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_as_float(c, aten_in(c, "self"));
    int64_t axes[LIMIT_RANK];
    uint32_t count = aten_ints(c, "dim", axes, LIMIT_RANK);
    double order = aten_float(c, aten_has(c, "p") ? "p" : "ord", 2);
    bool keep = aten_bool(c, "keepdim", false);
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    for (uint32_t i = 0; count == 0 && i < aten_rank(c, x); i++)
        axes[i] = i;
    count = count == 0 ? aten_rank(c, x) : count;
    if (order == 2)
        return aten_return(c, norm(c, x, axes, count, keep));
    value_id size = b_unary(b, PRIM_ABS, x);
    if (order == 1)
        return aten_return(c, b_reduce(b, PRIM_REDUCE_SUM, size, axes, count, keep));
    if (order == (double)INFINITY)
        return aten_return(c, b_reduce(b, PRIM_REDUCE_MAX, size, axes, count, keep));
    return aten_refuse(c, "norm %g", order);
}

/* The product of both tensors, each divided by its norm, which counts as eps where it is less. */
bool aten_cosine_similarity(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[2];
    int64_t dim = aten_int(c, "dim", 1);
    double eps = aten_float(c, "eps", 1e-8);
    if (!aten_promote(c, "x1", "x2", in) || aten_failed(c))
        return false;
    if (!dtype_is_float(aten_type(c, in[0])))
        return b_fail(b, ERR_SHAPE, "integers, expected floats");
    value_id both = b_mul(b, in[0], in[1]); /* for its shape */
    for (uint32_t i = 0; i < 2 && both != VALUE_NONE; i++) {
        const struct node like = *b_node(b, both);
        value_id x = b_broadcast_to(b, in[i], like.shape, like.rank);
        value_id size = norm(c, x, &dim, 1, true);
        in[i] = b_div(b, x, b_binary(b, PRIM_MAX, size, b_const_like(b, size, eps)));
    }
    if (both == VALUE_NONE)
        return false;
    return aten_return(c, b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, in[0], in[1]), &dim, 1, false));
}
