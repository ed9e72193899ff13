/* Counter-based random numbers: element i of the n-th random node of a model is the same in every
 * call and on every machine. */
#include <math.h>
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

#define TWO_PI 6.28318530717958647692

/* A random integer, 0 … 2^32 - 1, for each element. */
static value_id draw(struct onnx_call *c, const dim_id *shape, uint32_t rank)
{
    struct attrs attrs = {.rank = (uint8_t)rank};
    const Onnx__AttributeProto *attr = onnx_attr(c, "seed"); /* a float; of Dropout an integer */
    double seed = !attr ? 0 : attr->has_i ? (double)attr->i : (double)attr->f;
    double key = 1 + (double)c->o->random++ + 65536 * (isfinite(seed) ? fmod(seed, 0x1p31) : 0);
    value_id operand = b_const(c->b, DTYPE_I64, key);
    if (rank > 0)
        memcpy(attrs.shape, shape, rank * sizeof *shape);
    return graph_add(c->o->graph, PRIM_RANDOM, &operand, 1, &attrs, c->b->err);
}

/* Uniform in [0, 1), f32 with 24 random bits. */
static value_id uniform(struct onnx_call *c, const dim_id *shape, uint32_t rank)
{
    struct builder *b = c->b;
    value_id bits = b_binary(b, PRIM_SHR, draw(c, shape, rank), b_const(b, DTYPE_I64, 8));
    return b_scale(b, b_cast(b, bits, DTYPE_F32), 0x1p-24);
}

/* Normal, by the Box–Muller transform. */
static value_id normal(struct onnx_call *c, const dim_id *shape, uint32_t rank)
{
    struct builder *b = c->b;
    value_id angle = b_scale(b, uniform(c, shape, rank), TWO_PI);
    value_id rest = b_neg(b, uniform(c, shape, rank));
    value_id radius = b_unary(b, PRIM_SQRT, b_scale(b, b_unary(b, PRIM_LOG1P, rest), -2));
    return b_mul(b, radius, b_unary(b, PRIM_COS, angle));
}

/* Reads the shape, from an attribute or from operand 0, and the dtype. */
static bool read_shape(struct onnx_call *c, dim_id *shape, uint32_t *rank, enum dtype *dtype)
{
    bool like = c->in_count > 0;
    uint32_t count = 0;
    const int64_t *ints = like ? NULL : onnx_ints(c, "shape", &count);
    *dtype = like && dtype_is_float(onnx_type(c, c->in[0])) ? onnx_type(c, c->in[0]) : DTYPE_F32;
    if (onnx_has(c, "dtype") &&
        !onnx_dtype((int32_t)onnx_int(c, "dtype", 1), dtype, NULL, c->b->err))
        return false;
    *rank = like ? onnx_rank(c, c->in[0]) : count;
    if (*rank > LIMIT_RANK || (!like && !ints))
        return b_fail(c->b, ERR_SHAPE, "attribute 'shape'");
    for (uint32_t i = 0; i < *rank; i++)
        shape[i] = like ? b_dim(c->b, c->in[0], i) : b_dim_const(c->b, ints[i]);
    return true;
}

bool onnx_random_uniform(struct onnx_call *c)
{
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    enum dtype dtype = DTYPE_NONE;
    double low = onnx_float(c, "low", 0), high = onnx_float(c, "high", 1);
    if (!read_shape(c, shape, &rank, &dtype))
        return false;
    value_id x = b_shift(c->b, b_scale(c->b, uniform(c, shape, rank), high - low), low);
    return onnx_return(c, b_cast(c->b, x, dtype));
}

bool onnx_random_normal(struct onnx_call *c)
{
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    enum dtype dtype = DTYPE_NONE;
    if (!read_shape(c, shape, &rank, &dtype))
        return false;
    value_id x = b_scale(c->b, normal(c, shape, rank), onnx_float(c, "scale", 1));
    return onnx_return(c, b_cast(c->b, b_shift(c->b, x, onnx_float(c, "mean", 0)), dtype));
}

bool onnx_bernoulli(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    enum dtype dtype = DTYPE_NONE;
    if (!read_shape(c, shape, &rank, &dtype))
        return false;
    enum dtype type = onnx_type(c, c->in[0]), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    value_id draws = b_cast(b, uniform(c, shape, rank), wide);
    value_id hit = b_binary(b, PRIM_LT, draws, b_cast(b, c->in[0], wide));
    return onnx_return(c, b_cast(b, hit, dtype));
}

/* Draws classes from their log-probabilities: argmax after adding Gumbel noise. */
bool onnx_multinomial(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t samples = onnx_int(c, "sample_size", 1);
    enum dtype dtype = DTYPE_I32;
    if (onnx_rank(c, c->in[0]) != 2 || samples < 1)
        return b_fail(b, ERR_SHAPE, "rank %u, %lld samples", onnx_rank(c, c->in[0]),
                      (long long)samples);
    if (onnx_has(c, "dtype") && !onnx_dtype((int32_t)onnx_int(c, "dtype", 6), &dtype, NULL, b->err))
        return false;
    dim_id shape[3] = {b_dim(b, c->in[0], 0), b_dim_const(b, samples), b_dim(b, c->in[0], 1)};
    value_id noise = b_shift(b, uniform(c, shape, 3), 0x1p-25);
    noise = b_neg(b, b_unary(b, PRIM_LOG, b_neg(b, b_unary(b, PRIM_LOG, noise))));
    value_id sum = b_add(b, b_unsqueeze(b, b_cast(b, c->in[0], DTYPE_F32), 1), noise);
    value_id best = sum == VALUE_NONE ? sum
                                      : graph_add(b->graph, PRIM_ARGMAX, &sum, 1,
                                                  &(struct attrs){.axis = 2}, b->err);
    return onnx_return(c, b_cast(b, best, dtype));
}

/* Each element becomes zero with probability ratio; the others are scaled so that the mean is
 * unchanged. */
static bool drop(struct onnx_call *c, double ratio)
{
    struct builder *b = c->b;
    const struct node *node = graph_node(b->graph, c->in[0]);
    value_id draws = uniform(c, node->shape, node->rank);
    value_id kept = b_binary(b, PRIM_LE, b_const(b, DTYPE_F32, ratio), draws);
    enum dtype type = onnx_type(c, c->in[0]), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    value_id scaled = b_cast(b, c->in[0], wide);
    scaled = ratio < 1 ? b_scale(b, scaled, 1 / (1 - ratio)) : scaled;
    c->out[0] = b_select(b, kept, b_cast(b, scaled, type), b_const_like(b, c->in[0], 0));
    c->out[1] = kept;
    c->out_count = 2;
    return !onnx_failed(c);
}

/* From opset 12 on an operand says whether the node is in training mode. */
bool onnx_dropout(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t training[1] = {0};
    double ratio[1] = {0.5};
    uint32_t count = 0;
    if ((onnx_given(c, 2) && !onnx_const_ints(c, 2, training, 1, &count)) ||
        (training[0] != 0 && onnx_given(c, 1) && !onnx_const_reals(c, 1, ratio, 1, &count)))
        return false;
    if (training[0] != 0 && ratio[0] > 0)
        return drop(c, ratio[0]);
    const struct node *node = graph_node(b->graph, c->in[0]);
    enum dtype mask = c->opset < 10 ? onnx_type(c, c->in[0]) : DTYPE_BOOL;
    c->out[0] = c->in[0];
    if (onnx_wanted(c, 1))
        c->out[1] = b_broadcast_to(b, b_const(b, mask, 1), node->shape, node->rank);
    c->out_count = 2;
    return !onnx_failed(c);
}
