/* Weights of a few bits, quantised in blocks, as ONNX Runtime's weight-only quantisation writes
 * them: an element represents (element - zero point) * scale, where scale and zero point are those
 * of its block along one dim. */
#include "compiler/import/onnx/onnx_priv.h"

/* Unpacks the elements of `bits` bits along the last dim, the first in the lowest bits; i32. */
static value_id unpack(struct onnx_call *c, value_id bytes, int64_t bits)
{
    struct builder *b = c->b;
    value_id parts[4];
    uint32_t count = (uint32_t)(8 / bits), rank = onnx_rank(c, bytes);
    if (bits == 8 || bytes == VALUE_NONE)
        return b_cast(b, bytes, DTYPE_I32);
    value_id mask = b_const_like(b, bytes, (double)((1 << bits) - 1));
    for (uint32_t i = 0; i < count; i++) {
        value_id places = b_const_like(b, bytes, (double)(i * bits));
        parts[i] = b_binary(b, PRIM_AND, b_binary(b, PRIM_SHR, bytes, places), mask);
    }
    value_id all = onnx_stack(c, parts, count, rank);
    return b_cast(b, b_flatten(b, all, rank - 1, rank), DTYPE_I32);
}

/* The first count elements of the last dim, which may have more. */
static value_id first_of_last(struct onnx_call *c, value_id x, int64_t count)
{
    return b_slice(c->b, x, -1, b_dim_const(c->b, 0), b_dim_const(c->b, count), 1);
}

struct blocks {
    int64_t n, k, bits, size, count; /* weights [n, k]; size of a block; blocks of a row */
};

static bool read_blocks(struct onnx_call *c, struct blocks *out)
{
    *out = (struct blocks){.n = onnx_int(c, "N", 0),
                           .k = onnx_int(c, "K", 0),
                           .bits = onnx_int(c, "bits", 4),
                           .size = onnx_int(c, "block_size", 0)};
    if (out->n < 1 || out->k < 1 || out->size < 1 || out->n > LIMIT_DIM_VALUE ||
        out->k > LIMIT_DIM_VALUE || out->size > LIMIT_DIM_VALUE)
        return b_fail(c->b, ERR_BLUEPRINT, "N %lld, K %lld, block_size %lld", (long long)out->n,
                      (long long)out->k, (long long)out->size);
    if (out->bits != 2 && out->bits != 4 && out->bits != 8)
        return onnx_refuse(c, "%lld bits", (long long)out->bits);
    out->count = (out->k + out->size - 1) / out->size;
    return true;
}

/* The zero points, f32 [n, blocks, 1]: packed like the weights, or floats, or by default the middle
 * of the range. */
static value_id zero_points(struct onnx_call *c, const struct blocks *w)
{
    struct builder *b = c->b;
    dim_id one = b_dim_const(b, 1), rows = b_dim_const(b, w->n), blocks = b_dim_const(b, w->count);
    value_id zero = c->in[3];
    if (!onnx_given(c, 3))
        return b_const(b, DTYPE_F32, (double)(1 << (w->bits - 1)));
    if (!dtype_is_float(onnx_type(c, zero))) {
        int64_t bytes = (w->count * w->bits + 7) / 8;
        zero = b_reshape(b, zero, (dim_id[]){rows, b_dim_const(b, bytes)}, 2);
        zero = first_of_last(c, unpack(c, zero, w->bits), w->count);
    }
    return b_reshape(b, b_cast(b, zero, DTYPE_F32), (dim_id[]){rows, blocks, one}, 3);
}

bool onnx_matmul_nbits(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct blocks w;
    if (!read_blocks(c, &w))
        return false;
    if (onnx_given(c, 4) || onnx_int(c, "weight_prepacked", 0) != 0)
        return onnx_refuse(c, "g_idx, or weights in the layout of a device");
    dim_id one = b_dim_const(b, 1), rows = b_dim_const(b, w.n), blocks = b_dim_const(b, w.count);
    dim_id bytes = b_dim_const(b, w.size * w.bits / 8);
    value_id packed = b_reshape(b, c->in[1], (dim_id[]){rows, blocks, bytes}, 3);
    value_id weights = b_cast(b, unpack(c, packed, w.bits), DTYPE_F32);
    value_id scales =
        b_reshape(b, b_cast(b, c->in[2], DTYPE_F32), (dim_id[]){rows, blocks, one}, 3);
    weights = b_mul(b, b_sub(b, weights, zero_points(c, &w)), scales);
    weights = first_of_last(c, b_flatten(b, weights, 1, 2), w.k);
    value_id y = b_contract(b, c->in[0], weights, 0, 1);
    return onnx_return(c, onnx_given(c, 5) ? b_add(b, y, c->in[5]) : y);
}

/* Gathers rows along one dim of a table whose blocks are along another dim. */
bool onnx_gather_block_quantized(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct onnx_call inner = *c;
    int64_t bits = onnx_int(c, "bits", 4), size = onnx_int(c, "block_size", 128);
    int gather = b_axis(b, c->in[2], onnx_int(c, "gather_axis", 0));
    int blocked = b_axis(b, c->in[2], onnx_int(c, "quantize_axis", 1));
    bool packed = c->small[0] == 0;
    if (gather < 0 || blocked < 0)
        return false;
    if (onnx_small_is_float(c->small[0]) || gather == blocked || size < 1 ||
        size > LIMIT_DIM_VALUE || (packed && bits != 2 && bits != 4 && bits != 8) ||
        onnx_rank(c, c->in[0]) != onnx_rank(c, c->in[2]))
        return onnx_refuse(c, "blocks along the gathered dim, of %lld bits or of floats",
                           (long long)bits);
    /* data, scales and zero points are gathered in the same way. */
    for (uint32_t i = 0; i < c->in_count; i++) {
        if (i == 1 || !onnx_given(c, i))
            continue;
        inner.in[0] = c->in[i];
        c->in[i] = onnx_take_rows(&inner, gather);
    }
    int64_t moved = blocked > gather ? blocked + (int64_t)onnx_rank(c, c->in[1]) - 1 : blocked;
    value_id data = packed ? unpack(c, c->in[0], bits) : b_cast(b, c->in[0], DTYPE_I32);
    value_id zero = b_const(b, DTYPE_I32, packed ? (double)(1 << (bits - 1)) : 0);
    if (onnx_given(c, 3))
        zero = packed ? unpack(c, c->in[3], bits) : b_cast(b, c->in[3], DTYPE_I32);
    value_id scales = c->in[2];
    if (onnx_failed(c))
        return false;
    dim_id length = b_dim(b, data, moved), blocks = b_dim(b, scales, moved);
    dim_id first = b_dim_const(b, 0), times = b_dim_const(b, size);
    if (onnx_given(c, 3)) {
        zero = b_slice(b, zero, moved, first, blocks, 1);
        zero = b_slice(b, onnx_repeat(c, zero, (uint32_t)moved, times), moved, first, length, 1);
    }
    scales = b_slice(b, onnx_repeat(c, scales, (uint32_t)moved, times), moved, first, length, 1);
    value_id y = b_cast(b, b_sub(b, data, zero), onnx_type(c, scales));
    c->out_small[0] = 0;
    return onnx_return(c, b_mul(b, y, scales));
}
