/* GroupQueryAttention of com.microsoft, as exporters of language models write it: several query
 * heads share a key head, and a cache of keys and values is an operand and a result.
 *
 * Row b of a batch has seqlens_k[b] + 1 tokens. The last L are those of this call; `before` tokens
 * precede them. In a first call rows may be padded at the end; then `before` is 0.
 *
 *     key j of the new cache    j < before: key j of the given cache; otherwise of this call
 *     query i of this call      sees keys up to before + i
 *
 * The new cache is as long as the given cache and this call together. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

struct grouped {
    struct onnx_call *c;
    struct builder *b;
    int64_t heads, shared; /* query heads; key and value heads */
    value_id q, k, v;      /* [B, heads, L, size] */
    value_id before;       /* i64 [B] */
    dim_id batch, length, keys;
};

/* [B, L, count * size] → [B, count, L, size] */
static value_id split(struct grouped *g, value_id x, int64_t count)
{
    struct builder *b = g->b;
    if (x == VALUE_NONE || onnx_rank(g->c, x) != 3)
        return onnx_failed(g->c) ? VALUE_NONE : b_fail(b, ERR_SHAPE, "operands of rank 3 expected");
    dim_id size = dim_div_exact(&b->graph->dims, b_dim(b, x, 2), b_dim_const(b, count));
    if (size == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "%lld heads", (long long)count);
    dim_id shape[4] = {b_dim(b, x, 0), b_dim(b, x, 1), b_dim_const(b, count), size};
    return b_swap(b, b_reshape(b, x, shape, 4), 1, 2);
}

/* Reads query, keys and values, which may be packed in the first operand. */
static bool take_heads(struct grouped *g)
{
    struct onnx_call *c = g->c;
    struct builder *b = g->b;
    if (g->heads < 1 || g->shared < 1 || g->heads % g->shared != 0 || g->heads > LIMIT_DIM_VALUE)
        return b_fail(b, ERR_BLUEPRINT, "num_heads %lld, kv_num_heads %lld", (long long)g->heads,
                      (long long)g->shared);
    if (onnx_given(c, 1) != onnx_given(c, 2))
        return b_fail(b, ERR_BLUEPRINT, "key and value go together");
    if (onnx_given(c, 1)) {
        g->q = split(g, c->in[0], g->heads);
        g->k = split(g, c->in[1], g->shared);
        g->v = split(g, c->in[2], g->shared);
    } else {
        value_id all = split(g, c->in[0], g->heads + 2 * g->shared);
        dim_id first = b_dim_const(b, 0), own = b_dim_const(b, g->heads);
        dim_id some = b_dim_const(b, g->shared);
        g->q = b_slice(b, all, 1, first, own, 1);
        g->k = b_slice(b, all, 1, own, some, 1);
        g->v = b_slice(b, all, 1, b_dim_add(b, own, some), some, 1);
    }
    return !onnx_failed(c);
}

/* Applies the rotary embedding of the tokens' positions. */
static value_id turn(struct grouped *g, value_id x, value_id places)
{
    struct builder *b = g->b;
    value_id cache[2];
    struct op_value attrs[] = {
        {.name = "interleaved", .kind = OP_BOOL, .i = onnx_int(g->c, "rotary_interleaved", 0) != 0},
        {0}};
    for (uint32_t i = 0; i < 2; i++)
        cache[i] = b_unsqueeze(b, b_take(b, g->c->in[7 + i], places, 0), 1);
    if (onnx_failed(g->c))
        return VALUE_NONE;
    dim_id first = b_dim_const(b, 0), size = b_dim(b, x, 3);
    dim_id turned = b_dim_mul(b, b_dim(b, cache[0], 3), b_dim_const(b, 2));
    dim_id rest = b_dim_sub(b, size, turned);
    value_id head = b_slice(b, x, 3, first, turned, 1);
    value_id y =
        onnx_expand(g->c, "rotary_embedding", (value_id[]){head, cache[0], cache[1]}, 3, attrs);
    return rest == first ? y
                         : b_concat(b, (value_id[]){y, b_slice(b, x, 3, turned, rest, 1)}, 2, 3);
}

static bool turn_heads(struct grouped *g)
{
    struct onnx_call *c = g->c;
    struct builder *b = g->b;
    if (onnx_int(c, "do_rotary", 0) == 0)
        return true;
    if (!onnx_given(c, 7) || !onnx_given(c, 8))
        return b_fail(b, ERR_BLUEPRINT, "do_rotary without cos_cache and sin_cache");
    dim_id shape[2] = {g->batch, g->length};
    value_id places = onnx_given(c, 9) ? c->in[9]
                                       : b_add(b, b_iota(b, DTYPE_I64, shape, 2, 1),
                                               b_unsqueeze(b, g->before, 1));
    g->q = turn(g, g->q, places);
    g->k = turn(g, g->k, places);
    return !onnx_failed(c);
}

/* Reshapes one number for each row of the batch to [B, 1, 1, 1]. */
static value_id by_row(struct grouped *g, value_id x)
{
    dim_id one = b_dim_const(g->b, 1);
    return b_reshape(g->b, x, (dim_id[]){g->batch, one, one, one}, 4);
}

/* The new cache: the given one followed by the keys or values of this call. */
static value_id append(struct grouped *g, value_id past, value_id fresh)
{
    struct builder *b = g->b;
    dim_id one = b_dim_const(b, 1), shape[4] = {g->batch, one, g->keys, one};
    value_id all = b_concat(b, (value_id[]){past, fresh}, 2, 2);
    value_id place = b_iota(b, DTYPE_I64, shape, 4, 2), before = by_row(g, g->before);
    value_id behind = b_add(b, b_sub(b, place, before), b_size(b, b_dim(b, past, 2)));
    behind = b_binary(b, PRIM_MIN, behind, b_shift(b, b_size(b, g->keys), -1));
    value_id from = b_select(b, b_binary(b, PRIM_LT, place, before), place, behind);
    if (all == VALUE_NONE)
        return VALUE_NONE;
    return b_gather(b, all, b_broadcast_to(b, from, b_node(b, all)->shape, 4), 2);
}

/* Mask of the keys that each query sees: bool [B, 1, L, keys]. */
static value_id visible(struct grouped *g)
{
    struct builder *b = g->b;
    dim_id one = b_dim_const(b, 1), shape[4] = {g->batch, one, g->length, g->keys};
    int64_t window = onnx_int(g->c, "local_window_size", -1);
    value_id key = b_iota(b, DTYPE_I64, shape, 4, 3);
    value_id last = b_add(b, b_iota(b, DTYPE_I64, shape, 4, 2), by_row(g, g->before));
    if (onnx_int(g->c, "causal", 1) == 0)
        return b_binary(b, PRIM_LT, key, b_add(b, by_row(g, g->before), b_size(b, g->length)));
    value_id seen = b_binary(b, PRIM_LE, key, last);
    if (window < 0)
        return seen;
    value_id first = b_shift(b, last, (double)-window);
    return b_binary(b, PRIM_AND, seen, b_binary(b, PRIM_LT, first, key));
}

static bool check_options(struct onnx_call *c)
{
    for (uint32_t i = 11; i < c->in_count; i++)
        if (onnx_given(c, i))
            return onnx_refuse(c, "input %u", i);
    if (onnx_int(c, "smooth_softmax", 0) > 0 || onnx_int(c, "sliding_window_cache", 0) != 0 ||
        onnx_wanted(c, 3) || strcmp(onnx_text(c, "k_quant_type", "NONE"), "NONE") != 0 ||
        strcmp(onnx_text(c, "v_quant_type", "NONE"), "NONE") != 0)
        return onnx_refuse(c, "smooth_softmax, scores, or a cache of integers");
    return onnx_given(c, 5) || b_fail(c->b, ERR_BLUEPRINT, "input 5 is left out");
}

/* Scores that keep within the cap, before what hides keys; in f32 at least. */
static value_id attend_capped(struct grouped *g, value_id mask, double cap)
{
    struct builder *b = g->b;
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = -1, .f = -1}, {0}};
    enum dtype type = onnx_type(g->c, g->q), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    double scale = onnx_float(g->c, "scale", 0);
    int64_t size = 0;
    if (!(cap > 0))
        return onnx_refuse(g->c, "a softcap of %g", cap);
    if (scale == 0 && !onnx_is_const(&b->graph->dims, b_dim(b, g->q, 3), &size))
        return onnx_refuse(g->c, "a head size that is not constant");
    value_id q = b_scale(b, b_cast(b, g->q, wide), scale != 0 ? scale : 1 / sqrt((double)size));
    value_id scores = b_contract(b, q, b_cast(b, g->k, wide), 2, 1);
    scores = b_scale(b, b_unary(b, PRIM_TANH, b_scale(b, scores, 1 / cap)), cap);
    if (onnx_type(g->c, mask) == DTYPE_BOOL)
        scores = b_select(b, mask, scores, b_const(b, wide, (double)-INFINITY));
    else
        scores = b_add(b, scores, b_cast(b, mask, wide));
    value_id weights = onnx_expand(g->c, "softmax", &scores, 1, attrs);
    value_id values = b_swap(b, b_cast(b, g->v, wide), 2, 3);
    return b_cast(b, b_contract(b, weights, values, 2, 1), type);
}

bool onnx_group_query_attention(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct grouped g = {.c = c,
                        .b = b,
                        .heads = onnx_int(c, "num_heads", 0),
                        .shared = onnx_int(c, "kv_num_heads", 0)};
    if (!check_options(c) || !take_heads(&g))
        return false;
    g.batch = b_dim(b, g.q, 0);
    g.length = g.keys = b_dim(b, g.q, 2);
    value_id counts = b_reshape(b, b_cast(b, c->in[5], DTYPE_I64), &g.batch, 1);
    g.before = b_sub(b, b_shift(b, counts, 1), b_size(b, g.length));
    g.before = b_max_const(b, g.before, 0);
    if (onnx_failed(c) || !turn_heads(&g))
        return false;
    if (onnx_given(c, 3) && onnx_given(c, 4)) {
        g.keys = b_dim_add(b, b_dim(b, c->in[3], 2), g.length);
        g.k = append(&g, c->in[3], g.k);
        g.v = append(&g, c->in[4], g.v);
    }
    c->out[1] = g.k;
    c->out[2] = g.v;
    dim_id times = b_dim_const(b, g.heads / g.shared);
    if (g.heads != g.shared && !onnx_failed(c)) {
        g.k = onnx_repeat(c, g.k, 1, times);
        g.v = onnx_repeat(c, g.v, 1, times);
    }
    value_id mask = visible(&g);
    if (onnx_given(c, 10))
        mask = b_select(b, mask, c->in[10], b_const_like(b, c->in[10], (double)-INFINITY));
    struct op_value attrs[] = {{.name = "scale", .kind = OP_FLOAT, .f = onnx_float(c, "scale", 0)},
                               {0}};
    if (attrs[0].f == 0)
        attrs[0].name = NULL;
    double cap = onnx_float(c, "softcap", 0);
    value_id y = cap != 0 ? attend_capped(&g, mask, cap)
                          : onnx_expand(c, "scaled_dot_product_attention",
                                        (value_id[]){g.q, g.k, g.v, mask}, 4, attrs);
    c->out[0] = y == VALUE_NONE ? y : b_flatten(b, b_swap(b, y, 1, 2), 2, 3);
    c->out_count = 3;
    return !onnx_failed(c);
}
