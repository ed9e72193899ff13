/* Attention: softmax(q·kᵀ * scale + mask)·v.
 *
 * With grouped heads, k and v are not copied for each query head: q's heads are reshaped to [key
 * heads, group], and the group becomes one of the m dims of `contract`. Attention is computed in
 * f32 or wider and rounded once. Rows that are fully masked give zeros, as PyTorch's safe softmax
 * does. */
#include "compiler/ops/ops_priv.h"

#include <math.h>

struct attention {
    value_id q, k, v; /* [batch…, L, E], [batch…, S, E], [batch…, S, V] */
    value_id mask;  /* VALUE_NONE, bool (true: attend) or float (added); broadcasts to the scores */
    bool is_causal; /* query l attends to key s only where s ≤ l */
    double scale;
    double dropout_p;
    value_id seed;
    uint32_t batch; /* leading dims that q, k and v share */
};

/* true where row ≥ column, [rows, columns] */
static value_id causal_mask(struct builder *b, dim_id rows, dim_id columns)
{
    dim_id shape[2] = {rows, columns};
    value_id row = b_iota(b, DTYPE_I64, shape, 2, 0);
    return b_binary(b, PRIM_LE, b_iota(b, DTYPE_I64, shape, 2, 1), row);
}

static value_id apply_mask(struct builder *b, value_id scores, value_id mask)
{
    if (ops_dtype(b, mask) == DTYPE_BOOL) {
        return b_select(b, mask, scores, b_const_like(b, scores, -INFINITY));
    }
    return b_add(b, scores, b_cast(b, mask, ops_dtype(b, scores)));
}

/* Softmax over the last dim, in which a row of -inf gives zeros. */
static value_id safe_softmax(struct builder *b, value_id x)
{
    int64_t axis = -1;
    value_id zero = b_const_like(b, x, 0);
    value_id max = b_reduce(b, PRIM_REDUCE_MAX, x, &axis, 1, true);
    value_id closed = b_binary(b, PRIM_EQ, max, b_const_like(b, x, -INFINITY));
    value_id e = b_exp(b, b_sub(b, x, b_select(b, closed, zero, max)));
    value_id sum = b_reduce(b, PRIM_REDUCE_SUM, e, &axis, 1, true);
    return b_div(b, e, b_select(b, closed, b_const_like(b, x, 1), sum));
}

static value_id attend(struct op_call *call, const struct attention *a)
{
    struct builder *b = call->b;
    value_id scores = b_contract(b, ops_wide(b, a->q), ops_wide(b, a->k), a->batch, 1);
    scores = b_scale(b, scores, a->scale);
    if (scores == VALUE_NONE) {
        return scores;
    }
    if (a->is_causal) {
        scores = apply_mask(b, scores, causal_mask(b, b_dim(b, scores, -2), b_dim(b, scores, -1)));
    }
    value_id weights = VALUE_NONE;
    if (a->mask != VALUE_NONE) {
        weights = safe_softmax(b, apply_mask(b, scores, a->mask));
    } else {
        weights = ops_softmax(b, scores, -1);
    }
    weights = ops_dropout(call, weights, a->dropout_p, a->seed);
    value_id y = b_contract(b, weights, b_swap(b, ops_wide(b, a->v), -1, -2), a->batch, 1);
    return b_cast(b, y, ops_dtype(b, a->v));
}

/* Splits dim `axis` of x into outer × inner. */
static value_id split_dim(struct builder *b, value_id x, int64_t axis, dim_id outer, dim_id inner)
{
    dim_id shape[LIMIT_RANK];
    uint32_t rank = ops_rank(b, x), to = 0;
    if (rank == LIMIT_RANK) {
        return b_fail(b, ERR_LIMIT, "more than %d dims", LIMIT_RANK);
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (i == axis) {
            shape[to++] = outer;
            shape[to++] = inner;
        } else {
            shape[to++] = b_dim(b, x, i);
        }
    }
    return b_reshape(b, x, shape, to);
}

/* Reshapes the query heads to [key heads, group], if there are fewer key heads. */
static bool group_heads(struct op_call *call, struct attention *a)
{
    struct builder *b = call->b;
    uint32_t rank = ops_rank(b, a->q);
    if (rank < 3 || ops_rank(b, a->k) != rank) {
        return fail(b->err, ERR_SHAPE, "grouped heads need q, k and v with the same dims, ≥ 3");
    }
    int64_t head_axis = (int64_t)rank - 3;
    dim_id key_heads = b_dim(b, a->k, head_axis), heads = b_dim(b, a->q, head_axis);
    dim_id group = dim_div_exact(&b->graph->dims, heads, key_heads);
    if (group == DIM_NONE) {
        return fail(b->err, ERR_SHAPE, "the query heads are no multiple of the key heads");
    }
    a->q = split_dim(b, a->q, head_axis, key_heads, group);
    uint32_t mask_rank = ops_rank(b, a->mask);
    if (mask_rank >= 3) {
        int64_t mask_axis = (int64_t)mask_rank - 3, mask_heads = 0;
        bool one = ops_const_dim(b, a->mask, mask_axis, &mask_heads) && mask_heads == 1;
        dim_id single = b_dim_const(b, 1);
        a->mask = split_dim(b, a->mask, mask_axis, one ? single : key_heads, one ? single : group);
        if (a->mask == VALUE_NONE) {
            return false;
        }
    }
    return a->q != VALUE_NONE;
}

/* 1/sqrt(E), or the value of the attribute. */
static bool read_scale(struct op_call *call, value_id q, double *out)
{
    int64_t width = 0;
    if (op_has(call, "scale")) {
        *out = op_float(call, "scale");
        return true;
    }
    if (!ops_const_dim(call->b, q, -1, &width)) {
        return fail(call->b->err, ERR_UNSUPPORTED,
                    "'%s' over heads of a size that is not known needs 'scale'", call->row->name);
    }
    *out = width > 0 ? 1 / sqrt((double)width) : 1;
    return true;
}

bool expand_scaled_dot_product_attention(struct op_call *call)
{
    struct builder *b = call->b;
    for (uint32_t i = 0; i < 3; i++) {
        if (!ops_check_rank(call, call->in[i], 2, LIMIT_RANK)) {
            return false;
        }
    }
    uint32_t rank = ops_rank(b, call->in[0]);
    struct attention a = {.q = call->in[0],
                          .k = call->in[1],
                          .v = call->in[2],
                          .mask = call->in[3],
                          .is_causal = op_bool(call, "is_causal"),
                          .dropout_p = op_float(call, "dropout_p"),
                          .seed = call->in[4],
                          .batch = rank - 2};
    if (!read_scale(call, a.q, &a.scale)) {
        return false;
    }
    bool grouped = op_bool(call, "enable_gqa") && rank >= 3 && ops_rank(b, a.k) == rank &&
                   b_dim(b, a.q, -3) != b_dim(b, a.k, -3);
    if (!grouped) {
        return op_return(call, attend(call, &a));
    }
    if (!group_heads(call, &a)) {
        return false;
    }
    value_id y = attend(call, &a);
    if (y == VALUE_NONE) {
        return false;
    }
    return op_return(call, b_flatten(b, y, (int64_t)rank - 3, (int64_t)rank - 2));
}

/* [B, L, E] → [B, heads, L, E/heads] */
static value_id to_heads(struct builder *b, value_id x, dim_id heads)
{
    if (x == VALUE_NONE) {
        return x;
    }
    dim_id width = dim_div_exact(&b->graph->dims, b_dim(b, x, 2), heads);
    return b_swap(b, split_dim(b, x, 2, heads, width), 1, 2);
}

/* Applies part number `part` of the joint projection to x; the rows of w_qkv are those of q, then
 * k, then v. */
static value_id project(struct op_call *call, value_id x, uint32_t part, uint32_t parts)
{
    struct builder *b = call->b;
    value_id w = call->in[3], bias = call->in[4];
    dim_id width = b_dim(b, w, 1);
    dim_id start = b_dim_mul(b, width, b_dim_const(b, part));
    dim_id count = b_dim_mul(b, width, b_dim_const(b, parts));
    w = ops_head(b, w, 0, start, count);
    bool has_bias = bias != VALUE_NONE;
    return ops_linear(b, x, w, has_bias ? ops_head(b, bias, 0, start, count) : bias, has_bias);
}

/* The mask of PyTorch's MultiheadAttention, where true hides a key, unlike in
 * scaled_dot_product_attention. [L, S] or [B*heads, L, S]. */
static value_id module_mask(struct builder *b, value_id mask, dim_id batch, dim_id heads)
{
    if (mask == VALUE_NONE) {
        return mask;
    }
    if (ops_dtype(b, mask) == DTYPE_BOOL) {
        mask = b_unary(b, PRIM_NOT, mask);
    }
    return ops_rank(b, mask) == 3 ? split_dim(b, mask, 0, batch, heads) : mask;
}

/* Computes q, k and v as [B, heads, length, width]; with a single product if they are projections
 * of the same operand. */
static bool project_heads(struct op_call *call, value_id *inputs, dim_id heads, struct attention *a)
{
    struct builder *b = call->b;
    value_id *parts[3] = {&a->q, &a->k, &a->v};
    if (inputs[0] == inputs[1] && inputs[1] == inputs[2]) {
        value_id joint = project(call, inputs[0], 0, 3);
        dim_id width = b_dim(b, inputs[0], 2);
        for (uint32_t i = 0; i < 3; i++) {
            dim_id start = b_dim_mul(b, width, b_dim_const(b, i));
            *parts[i] = to_heads(b, ops_head(b, joint, 2, start, width), heads);
        }
    } else {
        for (uint32_t i = 0; i < 3; i++) {
            *parts[i] = to_heads(b, project(call, inputs[i], i, 1), heads);
        }
    }
    return a->q != VALUE_NONE && a->k != VALUE_NONE && a->v != VALUE_NONE;
}

/* Reads the operands as [B, length, E]; k defaults to q, and v to k. */
static bool read_operands(struct op_call *call, value_id inputs[3], bool *out_unbatched)
{
    struct builder *b = call->b;
    uint32_t rank = ops_rank(b, call->in[0]);
    for (uint32_t i = 0; i < 3; i++) {
        value_id x = call->in[i];
        if (x == VALUE_NONE) {
            inputs[i] = inputs[i - 1];
            continue;
        }
        if (!ops_check_rank(call, x, 2, 3)) {
            return false;
        }
        if (ops_rank(b, x) != rank) {
            return fail(b->err, ERR_SHAPE, "query, key and value differ in rank");
        }
        if (rank == 2) {
            x = b_unsqueeze(b, x, 0);
        } else if (!op_bool(call, "batch_first")) {
            x = b_swap(b, x, 0, 1);
        }
        inputs[i] = x;
    }
    *out_unbatched = rank == 2;
    return inputs[0] != VALUE_NONE && inputs[1] != VALUE_NONE && inputs[2] != VALUE_NONE;
}

bool expand_multi_head_attention(struct op_call *call)
{
    struct builder *b = call->b;
    value_id inputs[3], mask = call->in[7];
    bool unbatched = false;
    int64_t count = 0, width = 0;
    if (!read_operands(call, inputs, &unbatched) || !ops_check_rank(call, call->in[3], 2, 2) ||
        !ops_check_rank(call, call->in[5], 2, 2) ||
        (call->in[4] != VALUE_NONE && !ops_check_rank(call, call->in[4], 1, 1)) ||
        (mask != VALUE_NONE && !ops_check_rank(call, mask, 2, 3)) ||
        !ops_int_in(call, "num_heads", 1, INT32_MAX, &count)) {
        return false;
    }
    if (!ops_const_dim(b, inputs[0], 2, &width) || width % count != 0) {
        return ops_attr_fail(call, "num_heads", "%lld does not divide the embedding width %lld",
                             (long long)count, (long long)width);
    }
    dim_id heads = b_dim_const(b, count);
    struct attention a = {.is_causal = op_bool(call, "is_causal"),
                          .scale = width > 0 ? 1 / sqrt((double)(width / count)) : 1,
                          .dropout_p = op_float(call, "dropout_p"),
                          .seed = call->in[8],
                          .batch = 2};
    if (!project_heads(call, inputs, heads, &a)) {
        return false;
    }
    a.mask = module_mask(b, mask, b_dim(b, inputs[0], 0), heads);
    if (mask != VALUE_NONE && a.mask == VALUE_NONE) {
        return false;
    }
    value_id y = b_flatten(b, b_swap(b, attend(call, &a), 1, 2), 2, 3);
    y = ops_linear(b, y, call->in[5], call->in[6], call->in[6] != VALUE_NONE);
    if (unbatched) {
        y = b_squeeze(b, y, 0);
    } else if (!op_bool(call, "batch_first")) {
        y = b_swap(b, y, 0, 1);
    }
    return op_return(call, y);
}

/* Rotates the pairs (x[i], x[i + D/2]), or (x[2i], x[2i + 1]) if interleaved, by the angle whose
 * cosine and sine are given. */
bool expand_rotary_embedding(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    if (!ops_check_rank(call, x, 1, LIMIT_RANK)) {
        return false;
    }
    uint32_t rank = ops_rank(b, x);
    dim_id half = dim_div_exact(&b->graph->dims, b_dim(b, x, -1), b_dim_const(b, 2));
    if (half == DIM_NONE) {
        return fail(b->err, ERR_SHAPE, "'rotary_embedding' pairs the last dim, which is not even");
    }
    bool interleaved = op_bool(call, "interleaved");
    dim_id zero = b_dim_const(b, 0), second = interleaved ? b_dim_const(b, 1) : half;
    int64_t step = interleaved ? 2 : 1;
    value_id re = b_slice(b, x, -1, zero, half, step), im = b_slice(b, x, -1, second, half, step);
    value_id cosine = b_cast(b, call->in[1], ops_dtype(b, x));
    value_id sine = b_cast(b, call->in[2], ops_dtype(b, x));
    value_id parts[2] = {b_sub(b, b_mul(b, re, cosine), b_mul(b, im, sine)),
                         b_add(b, b_mul(b, im, cosine), b_mul(b, re, sine))};
    value_id y = VALUE_NONE;
    if (interleaved) {
        parts[0] = b_unsqueeze(b, parts[0], -1);
        parts[1] = b_unsqueeze(b, parts[1], -1);
        y = b_concat(b, parts, 2, -1);
        y = y == VALUE_NONE ? y : b_flatten(b, y, (int64_t)rank - 1, (int64_t)rank);
    } else {
        y = b_concat(b, parts, 2, -1);
    }
    return op_return(call, b_cast(b, y, ops_dtype(b, call->in[0])));
}
