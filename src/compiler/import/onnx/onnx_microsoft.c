/* Attention, norms and activations of com.microsoft: ops into which ONNX Runtime's optimiser and
 * its exporters fuse frequent chains of nodes. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

bool onnx_fused_matmul(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id in[2] = {c->in[0], c->in[1]};
    double alpha = onnx_float(c, "alpha", 1);
    /* The first dim moves behind the batch dims. */
    for (uint32_t i = 0; i < 2; i++)
        if (onnx_int(c, i == 0 ? "transBatchA" : "transBatchB", 0) != 0 && onnx_rank(c, in[i]) > 2)
            in[i] = onnx_move_first(c, in[i], -2);
    if (onnx_int(c, "transA", 0) != 0 && onnx_rank(c, in[0]) > 1)
        in[0] = b_swap(b, in[0], -2, -1);
    if (onnx_int(c, "transB", 0) != 0 && onnx_rank(c, in[1]) > 1)
        in[1] = b_swap(b, in[1], -2, -1);
    value_id y = onnx_expand(c, "matmul", in, 2, NULL);
    return onnx_return(c, alpha == 1 ? y : b_scale(b, y, alpha));
}

/* Gelu of the operand plus a bias; the row names the form of Gelu. */
bool onnx_bias_gelu(struct onnx_call *c)
{
    value_id x = onnx_given(c, 1) ? b_add(c->b, c->in[0], c->in[1]) : c->in[0];
    struct op_value attrs[] = {{.name = "approximate", .kind = OP_TEXT, .text = c->op->with}, {0}};
    return onnx_return(c, onnx_expand(c, "gelu", &x, 1, attrs));
}

bool onnx_quick_gelu(struct onnx_call *c)
{
    value_id scaled = b_scale(c->b, c->in[0], onnx_float(c, "alpha", 1.702));
    return onnx_return(c, b_mul(c->b, c->in[0], onnx_expand(c, "sigmoid", &scaled, 1, NULL)));
}

/* Normalises the sum of two operands: LayerNormalization, or without the mean if the row says
 * so. */
bool onnx_skip_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    bool simple = strcmp(c->op->with, "rms") == 0;
    uint32_t bias = simple ? 3 : 4;
    enum dtype type = onnx_type(c, c->in[0]), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    for (uint32_t i = 0; i < c->in_count; i++)
        c->in[i] = b_cast(b, c->in[i], wide);
    struct onnx_call inner = *c;
    value_id sum = b_add(b, c->in[0], c->in[1]);
    if (onnx_given(c, bias))
        sum = b_add(b, sum, c->in[bias]);
    inner.in[0] = sum;
    inner.in[1] = c->in[2];
    inner.in[2] = !simple && onnx_given(c, 3) ? c->in[3] : VALUE_NONE;
    inner.in_count = 3;
    if (onnx_failed(c) || !(simple ? onnx_rms_norm(&inner) : onnx_layer_norm(&inner)))
        return false;
    c->out[0] = b_cast(b, inner.out[0], type);
    c->out[1] = simple ? VALUE_NONE : inner.out[1];
    c->out[2] = simple ? VALUE_NONE : inner.out[2];
    c->out[3] = b_cast(b, sum, type);
    c->out_count = 4;
    return true;
}

/* Indices of operands. */
struct ms_operands {
    uint32_t mask, past, bias; /* 0: the op has none */
};

struct heads {
    value_id q, k, v;        /* [B, heads, L, size] */
    value_id past_k, past_v; /* keys and values of past calls; or VALUE_NONE */
    value_id mask;           /* bool, or added to the scores; or VALUE_NONE */
    value_id bias;           /* added to the scores; or VALUE_NONE */
    double scale;            /* 0: 1/sqrt(size) */
    bool causal;
};

static value_id split(struct onnx_call *c, value_id x, int64_t heads)
{
    struct builder *b = c->b;
    if (x == VALUE_NONE || onnx_rank(c, x) == 4)
        return x;
    dim_id count = b_dim_const(b, heads);
    dim_id size = heads < 1 || onnx_rank(c, x) != 3
                      ? DIM_NONE
                      : dim_div_exact(&b->graph->dims, b_dim(b, x, 2), count);
    if (size == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "num_heads is %lld", (long long)heads);
    dim_id shape[4] = {b_dim(b, x, 0), b_dim(b, x, 1), count, size};
    return b_swap(b, b_reshape(b, x, shape, 4), 1, 2);
}

/* Prepends past keys and values. Query i then sees all past keys and the keys up to i of this
 * call. */
static void take_past(struct onnx_call *c, struct heads *h)
{
    struct builder *b = c->b;
    dim_id past = b_dim(b, h->past_k, 2), length = b_dim(b, h->q, 2);
    h->k = b_concat(b, (value_id[]){h->past_k, h->k}, 2, 2);
    h->v = b_concat(b, (value_id[]){h->past_v, h->v}, 2, 2);
    if (!h->causal || onnx_failed(c))
        return;
    dim_id shape[2] = {length, b_dim(b, h->k, 2)};
    value_id last = b_add(b, b_iota(b, DTYPE_I64, shape, 2, 0), b_size(b, past));
    value_id seen = b_binary(b, PRIM_LE, b_iota(b, DTYPE_I64, shape, 2, 1), last);
    h->mask = h->mask == VALUE_NONE ? seen : b_binary(b, PRIM_AND, h->mask, seen);
    h->causal = false;
}

static value_id attend(struct onnx_call *c, struct heads *h)
{
    struct builder *b = c->b;
    if (h->past_k != VALUE_NONE)
        take_past(c, h);
    if (onnx_failed(c))
        return VALUE_NONE;
    value_id mask = h->bias;
    if (mask == VALUE_NONE)
        mask = h->mask;
    else if (h->mask != VALUE_NONE)
        mask = b_select(b, h->mask, mask, b_const_like(b, mask, (double)-INFINITY));
    struct op_value attrs[] = {{.name = "is_causal", .kind = OP_BOOL, .i = h->causal},
                               {.name = "scale", .kind = OP_FLOAT, .f = h->scale},
                               {0}};
    if (h->scale == 0)
        attrs[1].name = NULL;
    value_id y =
        onnx_expand(c, "scaled_dot_product_attention", (value_id[]){h->q, h->k, h->v, mask},
                    mask == VALUE_NONE ? 3 : 4, attrs);
    return y == VALUE_NONE ? y : b_flatten(b, b_swap(b, y, 1, 2), 2, 3);
}

/* Mask of the valid keys, bool [B, 1, 1 or L, S], from a mask [B, S] or [B, L, S] of 0 and 1,
 * lengths [B], or ends and starts [2 * B]. */
static value_id key_mask(struct onnx_call *c, value_id mask, dim_id batch, dim_id keys)
{
    struct builder *b = c->b;
    dim_id one = b_dim_const(b, 1), shape[4] = {batch, one, one, one};
    uint32_t rank = onnx_rank(c, mask);
    if (rank == 2 || rank == 3) {
        value_id open = b_binary(b, PRIM_NE, mask, b_const_like(b, mask, 0));
        return rank == 3 ? b_unsqueeze(b, open, 1) : b_unsqueeze(b, b_unsqueeze(b, open, 1), 1);
    }
    bool both = rank == 1 && b_dim(b, mask, 0) == b_dim_mul(b, batch, b_dim_const(b, 2));
    if (rank != 1 || (!both && b_dim(b, mask, 0) != batch))
        return onnx_refuse(c, "a mask of rank %u, or of another size", rank);
    value_id places = b_iota(b, DTYPE_I64, &keys, 1, 0), wide = b_cast(b, mask, DTYPE_I64);
    value_id ends = b_slice(b, wide, 0, b_dim_const(b, 0), batch, 1);
    value_id open = b_binary(b, PRIM_LT, places, b_reshape(b, ends, shape, 4));
    if (!both)
        return open;
    value_id starts = b_reshape(b, b_slice(b, wide, 0, batch, batch, 1), shape, 4);
    return b_binary(b, PRIM_AND, open, b_binary(b, PRIM_LE, starts, places));
}

/* Splits a projection into query, key and value, of equal sizes or of those in an attribute. */
static bool split_projection(struct onnx_call *c, value_id all, int64_t heads, value_id out[3])
{
    struct builder *b = c->b;
    uint32_t count = 0;
    const int64_t *sizes = onnx_ints(c, "qkv_hidden_sizes", &count);
    dim_id start = b_dim_const(b, 0);
    dim_id size = dim_div_exact(&b->graph->dims, b_dim(b, all, -1), b_dim_const(b, 3));
    if ((sizes && count != 3) || (!sizes && size == DIM_NONE))
        return b_fail(b, ERR_SHAPE, "the projection does not divide into three");
    for (uint32_t i = 0; i < 3 && !onnx_failed(c); i++) {
        size = sizes ? b_dim_const(b, sizes[i]) : size;
        out[i] = split(c, b_slice(b, all, -1, start, size, 1), heads);
        start = b_dim_add(b, start, size);
    }
    return !onnx_failed(c);
}

/* Attention with past keys and values in one operand, [2, B, heads, P, size], and those of past and
 * this call in the second result. */
static bool attend_to_all(struct onnx_call *c, value_id all, const struct ms_operands *at)
{
    struct builder *b = c->b;
    struct heads h = {.scale = onnx_float(c, "scale", 0),
                      .causal = onnx_int(c, "unidirectional", 0) != 0};
    value_id parts[3];
    if (onnx_int(c, "do_rotary", 0) != 0 || onnx_int(c, "past_present_share_buffer", 0) != 0)
        return onnx_refuse(c, "rotary embeddings, or a shared cache");
    if (all == VALUE_NONE || !split_projection(c, all, onnx_int(c, "num_heads", 0), parts))
        return false;
    h.q = parts[0];
    h.k = parts[1];
    h.v = parts[2];
    dim_id batch = b_dim(b, h.q, 0), keys = b_dim(b, h.k, 2);
    if (onnx_given(c, at->past)) {
        dim_id first = b_dim_const(b, 0), one = b_dim_const(b, 1);
        h.past_k = b_squeeze(b, b_slice(b, c->in[at->past], 0, first, one, 1), 0);
        h.past_v = b_squeeze(b, b_slice(b, c->in[at->past], 0, one, one, 1), 0);
        keys = h.past_k == VALUE_NONE ? keys : b_dim_add(b, keys, b_dim(b, h.past_k, 2));
    }
    if (onnx_given(c, at->mask))
        h.mask = key_mask(c, c->in[at->mask], batch, keys);
    h.bias = at->bias > 0 && onnx_given(c, at->bias) ? c->in[at->bias] : VALUE_NONE;
    if (onnx_failed(c))
        return false;
    c->out[0] = attend(c, &h);
    c->out[1] = onnx_wanted(c, 1) ? onnx_stack(c, (value_id[]){h.k, h.v}, 2, 0) : VALUE_NONE;
    c->out_count = 2;
    return !onnx_failed(c);
}

/* Attention with one projection for query, key and value. */
bool onnx_ms_attention(struct onnx_call *c)
{
    value_id all = onnx_expand(c, "matmul", c->in, 2, NULL);
    if (onnx_given(c, 2))
        all = b_add(c->b, all, c->in[2]);
    return attend_to_all(c, all, &(struct ms_operands){.mask = 3, .past = 4, .bias = 5});
}

/* As above, with the projection computed in integers. */
bool onnx_qattention(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct onnx_call inner = *c;
    inner.in[2] = onnx_given(c, 6) ? c->in[6] : VALUE_NONE;
    inner.in[3] = onnx_given(c, 7) ? c->in[7] : VALUE_NONE;
    inner.in_count = 4;
    if (!onnx_matmul_integer(&inner))
        return false;
    value_id scale = b_mul(b, b_reshape(b, c->in[3], NULL, 0), c->in[4]);
    value_id all = b_mul(b, b_cast(b, inner.out[0], onnx_type(c, scale)), scale);
    if (onnx_given(c, 2))
        all = b_add(b, all, c->in[2]);
    return attend_to_all(c, all, &(struct ms_operands){.mask = 5, .past = 8});
}

/* Part `index` of a packed operand, [B, L, heads, parts, size] → [B, heads, L, size]. */
static value_id packed_part(struct onnx_call *c, value_id x, int64_t index)
{
    struct builder *b = c->b;
    if (onnx_rank(c, x) != 5)
        return b_fail(b, ERR_SHAPE, "packed operands of rank %u", onnx_rank(c, x));
    x = b_slice(b, x, 3, b_dim_const(b, index), b_dim_const(b, 1), 1);
    return b_swap(b, b_squeeze(b, x, 3), 1, 2);
}

/* Attention with query, key and value projected already: [B, L, heads * size]; keys and values may
 * be [B, heads, S, size]; all three may be packed in the first operand, or keys and values in the
 * second. */
bool onnx_ms_multi_head_attention(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t count = onnx_int(c, "num_heads", 0);
    struct heads h = {.scale = onnx_float(c, "scale", 0),
                      .causal = onnx_int(c, "unidirectional", 0) != 0};
    value_id in[3] = {c->in[0], c->in[1], c->in[2]};
    uint32_t packed = !onnx_given(c, 1)   ? 0
                      : !onnx_given(c, 2) ? 1
                                          : 3; /* the index of the packed operand; 3: none */
    for (uint32_t i = packed; i < 3; i++)
        in[i] = packed_part(c, c->in[packed], i - packed);
    if (packed < 3 && onnx_given(c, 3))
        return onnx_refuse(c, "a bias for packed operands");
    if (onnx_given(c, 3)) {
        dim_id at = b_dim_const(b, 0);
        for (uint32_t i = 0; i < 3; i++) {
            dim_id size = onnx_rank(c, in[i]) == 3 ? b_dim(b, in[i], 2) : DIM_NONE;
            if (size == DIM_NONE)
                return onnx_refuse(c, "a bias for operands of rank 4");
            in[i] = b_add(b, in[i], b_slice(b, c->in[3], 0, at, size, 1));
            at = b_dim_add(b, at, size);
        }
    }
    h.q = split(c, in[0], count);
    h.k = split(c, in[1], count);
    h.v = split(c, in[2], count);
    if (onnx_failed(c))
        return false;
    dim_id keys = b_dim(b, h.k, 2);
    if (onnx_given(c, 6) && onnx_given(c, 7)) {
        h.past_k = c->in[6];
        h.past_v = c->in[7];
        keys = b_dim_add(b, keys, b_dim(b, h.past_k, 2));
    }
    if (onnx_given(c, 4))
        h.mask = key_mask(c, c->in[4], b_dim(b, h.q, 0), keys);
    h.bias = onnx_given(c, 5) ? c->in[5] : VALUE_NONE;
    c->out[0] = onnx_failed(c) ? VALUE_NONE : attend(c, &h);
    c->out[1] = h.k;
    c->out[2] = h.v;
    c->out_count = 3;
    return !onnx_failed(c);
}

/* The operands are in another order than in the op of the default domain; positions may be one
 * offset for all: [1]. */
bool onnx_ms_rotary_embedding(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct onnx_call inner = *c;
    value_id positions = b_cast(b, c->in[1], DTYPE_I64);
    if (onnx_int(c, "is_packed_batching", 0) != 0 || onnx_float(c, "scale", 1) != 1)
        return onnx_refuse(c, "packed batches, or a scale");
    if (onnx_rank(c, positions) == 1) {
        uint32_t sequence = onnx_rank(c, c->in[0]) == 4 ? 2 : 1;
        dim_id shape[2] = {b_dim(b, c->in[0], 0), b_dim(b, c->in[0], sequence)};
        positions = b_add(b, b_iota(b, DTYPE_I64, shape, 2, 1), positions);
    }
    inner.in[1] = c->in[2];
    inner.in[2] = c->in[3];
    inner.in[3] = positions;
    inner.in_count = 4;
    return !onnx_failed(c) && onnx_rotary_embedding(&inner) && onnx_return(c, inner.out[0]);
}

/* The sum of the embeddings of words, positions and segments, normalised. */
bool onnx_embed_layer_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct onnx_call inner = *c;
    value_id ids = b_cast(b, c->in[0], DTYPE_I64);
    if (onnx_rank(c, ids) != 2)
        return b_fail(b, ERR_SHAPE, "ids of rank %u", onnx_rank(c, ids));
    dim_id shape[2] = {b_dim(b, ids, 0), b_dim(b, ids, 1)};
    value_id places =
        onnx_given(c, 8) ? b_cast(b, c->in[8], DTYPE_I64) : b_iota(b, DTYPE_I64, shape, 2, 1);
    value_id sum = b_add(b, b_take(b, c->in[2], ids, 0), b_take(b, c->in[3], places, 0));
    if (onnx_given(c, 1) && onnx_given(c, 4))
        sum = b_add(b, sum, b_take(b, c->in[4], b_cast(b, c->in[1], DTYPE_I64), 0));
    inner.in[0] = sum;
    inner.in[1] = c->in[5];
    inner.in[2] = c->in[6];
    inner.in_count = 3;
    if (onnx_failed(c) || !onnx_layer_norm(&inner))
        return false;
    c->out[0] = inner.out[0];
    c->out[1] = b_broadcast_to(b, b_const(b, DTYPE_I32, 0), shape, 1); /* without a mask the lengths
                                                                          are 0 */
    if (onnx_given(c, 7))
        c->out[1] = b_reduce(b, PRIM_REDUCE_SUM, c->in[7], (int64_t[]){1}, 1, false);
    c->out[2] = sum;
    c->out_count = 3;
    return !onnx_failed(c);
}
