/* Attention and related ops of newer opsets.
 *
 * If only the result is used and there is no softcap, Attention expands to our
 * scaled_dot_product_attention; its mask says which keys each query sees. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

struct attention {
    struct onnx_call *c;
    struct builder *b;
    value_id q, k, v; /* [B, heads, length, size] */
    value_id allowed; /* bool, broadcast to the scores; VALUE_NONE: all keys */
    value_id bias;    /* added to the scores; or VALUE_NONE */
    bool causal;      /* expressed by is_causal: there is no cache and no other mask */
    double scale;
    dim_id queries, keys;
};

/* [B, L, H*D] to [B, H, L, D]. */
static value_id split_heads(struct onnx_call *c, value_id x, const char *attr)
{
    struct builder *b = c->b;
    int64_t heads = onnx_int(c, attr, 0);
    if (onnx_rank(c, x) == 4)
        return x;
    dim_id count = b_dim_const(b, heads);
    dim_id size = heads < 1 || onnx_rank(c, x) != 3
                      ? DIM_NONE
                      : dim_div_exact(&b->graph->dims, b_dim(b, x, 2), count);
    if (size == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "%s is %lld, rank %u", attr, (long long)heads, onnx_rank(c, x));
    dim_id shape[4] = {b_dim(b, x, 0), b_dim(b, x, 1), count, size};
    return b_swap(b, b_reshape(b, x, shape, 4), 1, 2);
}

static void allow(struct attention *a, value_id also)
{
    a->allowed = a->allowed == VALUE_NONE ? also : b_binary(a->b, PRIM_AND, a->allowed, also);
}

/* Number of keys before the first query, those in the cache: i64, 0-d or [B, 1, 1, 1]. */
static value_id offset_of(struct attention *a)
{
    struct onnx_call *c = a->c;
    struct builder *b = a->b;
    if (onnx_given(c, 4))
        return b_size(b, b_dim(b, c->in[4], 2));
    if (!onnx_given(c, 6))
        return b_const(b, DTYPE_I64, 0);
    dim_id one = b_dim_const(b, 1), shape[4] = {b_dim(b, c->in[6], 0), one, one, one};
    value_id valid = b_reshape(b, b_cast(b, c->in[6], DTYPE_I64), shape, 4);
    return b_sub(b, valid, b_size(b, a->queries));
}

static void allow_by_place(struct attention *a)
{
    struct onnx_call *c = a->c;
    struct builder *b = a->b;
    int64_t left = onnx_int(c, "left_window_size", -1),
            right = onnx_int(c, "right_window_size", -1);
    bool causal = onnx_int(c, "is_causal", 0) != 0;
    dim_id shape[2] = {a->queries, a->keys};
    value_id key = b_iota(b, DTYPE_I64, shape, 2, 1);
    if (causal || left >= 0 || right >= 0) {
        value_id query = b_add(b, b_iota(b, DTYPE_I64, shape, 2, 0), offset_of(a));
        value_id ahead = b_sub(b, key, query);
        if (causal)
            allow(a, b_binary(b, PRIM_LE, ahead, b_const(b, DTYPE_I64, 0)));
        if (right >= 0)
            allow(a, b_binary(b, PRIM_LE, ahead, b_const(b, DTYPE_I64, (double)right)));
        if (left >= 0)
            allow(a, b_binary(b, PRIM_LE, b_const(b, DTYPE_I64, (double)-left), ahead));
    }
    if (onnx_given(c, 6)) {
        dim_id one = b_dim_const(b, 1), each[4] = {b_dim(b, c->in[6], 0), one, one, one};
        value_id valid = b_reshape(b, b_cast(b, c->in[6], DTYPE_I64), each, 4);
        allow(a, b_binary(b, PRIM_LT, key, valid));
    }
}

/* The mask may have fewer keys than there are; the keys beyond it are masked. */
static void read_mask(struct attention *a)
{
    struct onnx_call *c = a->c;
    struct builder *b = a->b;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    value_id mask = c->in[3];
    uint32_t rank = onnx_rank(c, mask);
    if (!onnx_given(c, 3) || rank == 0)
        return;
    dim_id last = b_dim(b, mask, -1);
    bool closes = onnx_type(c, mask) == DTYPE_BOOL;
    if (last != a->keys && last != b_dim_const(b, 1)) {
        for (uint32_t i = 0; i < rank; i++)
            low[i] = high[i] = b_dim_const(b, 0);
        high[rank - 1] = b_dim_sub(b, a->keys, last);
        mask = b_pad(b, mask, low, high, closes ? 0 : (double)-INFINITY);
    }
    if (closes)
        allow(a, mask);
    else
        a->bias = mask;
}

static value_id by_composite(struct attention *a)
{
    value_id mask = a->bias;
    struct onnx_call *c = a->c;
    if (mask == VALUE_NONE)
        mask = a->allowed;
    else if (a->allowed != VALUE_NONE)
        mask = b_select(a->b, a->allowed, mask, b_const_like(a->b, mask, (double)-INFINITY));
    struct op_value attrs[] = {
        {.name = "scale", .kind = OP_FLOAT, .f = a->scale},
        {.name = "is_causal", .kind = OP_BOOL, .i = a->causal},
        {.name = "enable_gqa", .kind = OP_BOOL, .i = 1},
        {0},
    };
    return onnx_expand(c, "scaled_dot_product_attention", (value_id[]){a->q, a->k, a->v, mask},
                       mask == VALUE_NONE ? 3 : 4, attrs);
}

/* Merges the query heads that share a key head with the queries: [B, key heads, group * L, D]. */
static value_id group(struct attention *a, value_id x)
{
    struct builder *b = a->b;
    dim_id shared = b_dim(b, a->k, 1), heads = b_dim(b, x, 1);
    dim_id times = heads == DIM_NONE ? DIM_NONE : dim_div_exact(&b->graph->dims, heads, shared);
    if (times == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "the heads of the query are no multiple of the key's");
    dim_id shape[4] = {b_dim(b, x, 0), shared, b_dim_mul(b, times, b_dim(b, x, 2)), b_dim(b, x, 3)};
    return b_reshape(b, x, shape, 4);
}

static value_id ungroup(struct attention *a, value_id x)
{
    dim_id shape[4] = {b_dim(a->b, a->q, 0), b_dim(a->b, a->q, 1), a->queries, b_dim(a->b, x, 3)};
    return b_reshape(a->b, x, shape, 4);
}

/* Softmax; queries that see no key get zeros. */
static value_id weigh(struct attention *a, value_id scores)
{
    struct onnx_call *c = a->c;
    struct builder *b = a->b;
    enum dtype type = onnx_type(c, scores), wide = type;
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = -1, .f = -1}, {0}};
    int64_t axis = 3;
    if (onnx_has(c, "softmax_precision") &&
        !onnx_dtype((int32_t)onnx_int(c, "softmax_precision", 1), &wide, NULL, b->err))
        return VALUE_NONE;
    scores = b_cast(b, scores, wide);
    value_id closed = b_binary(b, PRIM_EQ, b_reduce(b, PRIM_REDUCE_MAX, scores, &axis, 1, true),
                               b_const(b, wide, (double)-INFINITY));
    value_id weights = onnx_expand(c, "softmax", &scores, 1, attrs);
    return b_cast(b, b_select(b, closed, b_const(b, wide, 0), weights), type);
}

/* Computes attention step by step, for softcap and if the scores are used (the fourth result). */
static value_id by_steps(struct attention *a, value_id *out_scores)
{
    struct onnx_call *c = a->c;
    struct builder *b = a->b;
    double cap = onnx_float(c, "softcap", 0), root = sqrt(a->scale);
    int64_t mode = onnx_int(c, "qk_matmul_output_mode", 0);
    enum dtype type = onnx_type(c, a->q), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    value_id *operands[4] = {&a->q, &a->k, &a->v, &a->bias}, scores;
    for (uint32_t i = 0; i < 4; i++)
        *operands[i] = b_cast(b, *operands[i], wide);
    value_id keys = b_scale(b, a->k, root);
    scores = ungroup(a, b_contract(b, group(a, b_scale(b, a->q, root)), keys, 2, 1));
    *out_scores = scores;
    if (cap > 0) {
        scores = b_scale(b, b_unary(b, PRIM_TANH, b_scale(b, scores, 1 / cap)), cap);
        *out_scores = mode == 0 ? *out_scores : scores;
    }
    if (a->bias != VALUE_NONE)
        scores = b_add(b, scores, a->bias);
    if (a->allowed != VALUE_NONE)
        scores = b_select(b, a->allowed, scores, b_const_like(b, scores, (double)-INFINITY));
    *out_scores = mode == 2 ? scores : *out_scores;
    value_id weights = weigh(a, scores);
    *out_scores = b_cast(b, mode == 3 ? weights : *out_scores, type);
    if (weights == VALUE_NONE)
        return VALUE_NONE;
    value_id y = ungroup(a, b_contract(b, group(a, weights), b_swap(b, a->v, 2, 3), 2, 1));
    return b_cast(b, y, type);
}

bool onnx_attention(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct attention a = {.c = c, .b = b};
    bool flat = onnx_rank(c, c->in[0]) == 3;
    int64_t size = 1;
    a.q = split_heads(c, c->in[0], "q_num_heads");
    a.k = split_heads(c, c->in[1], "kv_num_heads");
    a.v = split_heads(c, c->in[2], "kv_num_heads");
    if (onnx_given(c, 4) != onnx_given(c, 5))
        return b_fail(b, ERR_BLUEPRINT, "past_key and past_value go together");
    if (onnx_given(c, 4)) {
        a.k = b_concat(b, (value_id[]){c->in[4], a.k}, 2, 2);
        a.v = b_concat(b, (value_id[]){c->in[5], a.v}, 2, 2);
    }
    a.queries = b_dim(b, a.q, 2);
    a.keys = b_dim(b, a.k, 2);
    if (onnx_failed(c))
        return false;
    if (!onnx_has(c, "scale") && !onnx_is_const(&b->graph->dims, b_dim(b, a.q, 3), &size))
        return onnx_refuse(c, "a head size that is not constant");
    a.scale = onnx_float(c, "scale", 1 / sqrt((double)size));
    bool steps = onnx_wanted(c, 3) || onnx_float(c, "softcap", 0) > 0 || a.scale <= 0 ||
                 onnx_has(c, "softmax_precision");
    a.causal = !steps && onnx_int(c, "is_causal", 0) != 0 && c->in_count == 3 &&
               !onnx_has(c, "left_window_size") && !onnx_has(c, "right_window_size");
    if (!a.causal) {
        read_mask(&a);
        allow_by_place(&a);
    }
    if (a.scale <= 0)
        return onnx_refuse(c, "a scale of %g", a.scale);
    c->out[1] = a.k;
    c->out[2] = a.v;
    value_id y = steps ? by_steps(&a, &c->out[3]) : by_composite(&a);
    if (flat && y != VALUE_NONE)
        y = b_flatten(b, b_swap(b, y, 1, 2), 2, 3);
    c->out[0] = y;
    c->out_count = 4;
    return !onnx_failed(c);
}

bool onnx_rotary_embedding(struct onnx_call *c)
{
    struct builder *b = c->b;
    bool flat = onnx_rank(c, c->in[0]) == 3;
    int64_t part = onnx_int(c, "rotary_embedding_dim", 0);
    value_id x = split_heads(c, c->in[0], "num_heads"), cache[2] = {c->in[1], c->in[2]};
    struct op_value attrs[] = {
        {.name = "interleaved", .kind = OP_BOOL, .i = onnx_int(c, "interleaved", 0) != 0}, {0}};
    for (uint32_t i = 0; i < 2; i++) {
        if (onnx_given(c, 3))
            cache[i] = b_take(b, cache[i], b_cast(b, c->in[3], DTYPE_I64), 0);
        cache[i] = b_unsqueeze(b, cache[i], 1);
    }
    if (onnx_failed(c))
        return false;
    dim_id size = b_dim(b, x, 3), turned = part > 0 ? b_dim_const(b, part) : size;
    dim_id zero = b_dim_const(b, 0), rest = b_dim_sub(b, size, turned);
    value_id head = b_slice(b, x, 3, zero, turned, 1);
    value_id y =
        onnx_expand(c, "rotary_embedding", (value_id[]){head, cache[0], cache[1]}, 3, attrs);
    if (rest != zero)
        y = b_concat(b, (value_id[]){y, b_slice(b, x, 3, turned, rest, 1)}, 2, 3);
    if (flat && y != VALUE_NONE)
        y = b_flatten(b, b_swap(b, y, 1, 2), 2, 3);
    return onnx_return(c, y);
}

/* A depthwise convolution of the state followed by the operand. */
bool onnx_causal_conv(struct onnx_call *c)
{
    struct builder *b = c->b;
    const char *activation = onnx_text(c, "activation", "none");
    int64_t size = 0, channels = 0;
    value_id x = c->in[0];
    if (onnx_rank(c, x) != 3 || onnx_rank(c, c->in[1]) != 3 ||
        !onnx_is_const(&b->graph->dims, b_dim(b, c->in[1], 2), &size) ||
        !onnx_is_const(&b->graph->dims, b_dim(b, x, 1), &channels) || size < 1)
        return b_fail(b, ERR_SHAPE, "expected inputs of rank 3 with a constant number of channels");
    dim_id none[3] = {b_dim_const(b, 0), b_dim_const(b, 0), b_dim_const(b, 0)};
    dim_id before[3] = {none[0], none[0], b_dim_const(b, size - 1)};
    x = onnx_given(c, 3) ? b_concat(b, (value_id[]){c->in[3], x}, 2, 2)
                         : b_pad(b, x, before, none, 0);
    struct window window = {size, 1, 0, 0, 1, 1};
    value_id y = b_conv(b, x, c->in[1], &window, 1, channels);
    if (onnx_given(c, 2))
        y = b_add(b, y, b_unsqueeze(b, c->in[2], 1));
    if (strcmp(activation, "silu") == 0 || strcmp(activation, "swish") == 0)
        y = onnx_expand(c, "silu", &y, 1, NULL);
    else if (strcmp(activation, "none") != 0)
        return onnx_refuse(c, "activation '%.40s'", activation);
    c->out[0] = y;
    dim_id start = x == VALUE_NONE ? DIM_NONE : b_dim_sub(b, b_dim(b, x, 2), before[2]);
    c->out[1] = b_slice(b, x, 2, start, before[2], 1);
    c->out_count = 2;
    return !onnx_failed(c);
}

/* The operands of linear attention. */
struct recurrence {
    struct onnx_call *c;
    bool gated, delta;
    value_id q, k, v, decay, beta; /* [B, heads, T, size] */
    double scale;
};

/* Token t of a value that is split by heads: [B, heads, size]. */
static value_id row(struct recurrence *r, value_id x, int64_t t)
{
    struct builder *b = r->c->b;
    return b_squeeze(b, b_slice(b, x, 2, b_dim_const(b, t), b_dim_const(b, 1), 1), 2);
}

/* One token: updates *state [B, heads, dk, dv]; the result is [B, query heads, dv]. */
static value_id recur(struct recurrence *r, int64_t t, value_id *state)
{
    struct builder *b = r->c->b;
    value_id k = row(r, r->k, t), v = row(r, r->v, t), q = b_scale(b, row(r, r->q, t), r->scale);
    if (r->gated)
        *state = b_mul(b, *state, b_unsqueeze(b, b_exp(b, row(r, r->decay, t)), 3));
    if (r->delta) {
        value_id seen = b_contract(b, b_swap(b, *state, 2, 3), b_unsqueeze(b, k, 2), 2, 1);
        v = b_mul(b, b_sub(b, v, b_squeeze(b, seen, 3)), row(r, r->beta, t));
    }
    *state = b_add(b, *state, b_mul(b, b_unsqueeze(b, k, 3), b_unsqueeze(b, v, 2)));
    if (onnx_failed(r->c))
        return VALUE_NONE;
    const struct node *node = graph_node(b->graph, q);
    dim_id batch = node->shape[0], heads = node->shape[1], size = node->shape[2];
    dim_id shared = b_dim(b, *state, 1), times = dim_div_exact(&b->graph->dims, heads, shared);
    dim_id values = b_dim(b, *state, 3);
    if (times == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "the heads of the query are no multiple of the key's");
    q = b_reshape(b, q, (dim_id[]){batch, shared, times, size}, 4);
    value_id y = b_contract(b, q, b_swap(b, *state, 2, 3), 2, 1);
    return b_reshape(b, y, (dim_id[]){batch, heads, values}, 3);
}

#define MAX_TOKENS 512

bool onnx_linear_attention(struct onnx_call *c)
{
    struct builder *b = c->b;
    const char *rule = onnx_text(c, "update_rule", "gated_delta");
    struct recurrence r = {.c = c,
                           .gated = strncmp(rule, "gated", 5) == 0,
                           .delta = strstr(rule, "delta") != NULL,
                           .scale = onnx_float(c, "scale", 0)};
    int64_t tokens = 0, size = 0;
    value_id rows[MAX_TOKENS], state = VALUE_NONE;
    enum dtype type = onnx_type(c, c->in[0]), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    for (uint32_t i = 0; i < c->in_count; i++)
        c->in[i] = b_cast(b, c->in[i], wide); /* the state accumulates all tokens */
    r.q = split_heads(c, c->in[0], "q_num_heads");
    r.k = split_heads(c, c->in[1], "kv_num_heads");
    r.v = split_heads(c, c->in[2], "kv_num_heads");
    if (r.gated)
        r.decay = onnx_given(c, 4) ? split_heads(c, c->in[4], "kv_num_heads")
                                   : b_fail(b, ERR_BLUEPRINT, "no decay");
    if (r.delta && !onnx_failed(c)) {
        bool one = onnx_given(c, 5) && b_dim(b, c->in[5], -1) == b_dim_const(b, 1);
        r.beta = one                ? b_unsqueeze(b, c->in[5], 1)
                 : onnx_given(c, 5) ? split_heads(c, c->in[5], "kv_num_heads")
                                    : b_fail(b, ERR_BLUEPRINT, "no beta");
    }
    if (onnx_failed(c))
        return false;
    if (!onnx_is_const(&b->graph->dims, b_dim(b, r.q, 2), &tokens) || tokens < 1 ||
        tokens > MAX_TOKENS || !onnx_is_const(&b->graph->dims, b_dim(b, r.q, 3), &size))
        return onnx_refuse(c, "a sequence that is not of a constant length of 1 … %d", MAX_TOKENS);
    if (r.scale == 0)
        r.scale = 1 / sqrt((double)size);
    dim_id shape[4] = {b_dim(b, r.k, 0), b_dim(b, r.k, 1), b_dim(b, r.k, 3), b_dim(b, r.v, 3)};
    state = onnx_given(c, 3) ? c->in[3] : b_broadcast_to(b, b_const_like(b, r.k, 0), shape, 4);
    for (int64_t t = 0; t < tokens && !onnx_failed(c); t++)
        rows[t] = recur(&r, t, &state);
    if (onnx_failed(c))
        return false;
    value_id y = b_flatten(b, onnx_stack(c, rows, (uint32_t)tokens, 1), 2, 3);
    c->out[0] = b_cast(b, y, type);
    c->out[1] = b_cast(b, state, type);
    c->out_count = 2;
    return !onnx_failed(c);
}
