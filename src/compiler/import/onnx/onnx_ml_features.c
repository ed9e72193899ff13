/* Domain ai.onnx.ml: scaling, normalising, imputing and concatenating features. */
#include <math.h>

#include "compiler/import/onnx/onnx_ml_priv.h"

bool onnx_ml_scaler(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct ml_reals offset = ml_reals(c, "offset"), scale = ml_reals(c, "scale");
    value_id x = b_cast(b, c->in[0], ml_wide(c, c->in[0]));
    if (offset.given && scale.given &&
        !ml_same_length(c, "offset", offset.count, "scale", scale.count))
        return false;
    value_id less = ml_per_feature(c, "offset", &offset, x);
    value_id times = ml_per_feature(c, "scale", &scale, x);
    if (less != VALUE_NONE)
        x = b_sub(b, x, less);
    if (times != VALUE_NONE)
        x = b_mul(b, x, times);
    return onnx_return(c, b_cast(b, x, DTYPE_F32));
}

/* Computed in f64, where squares of f32 neither overflow nor underflow, and rounded once. */
bool onnx_ml_normalizer(struct onnx_call *c)
{
    static const char *const words[] = {"MAX", "L1", "L2", NULL};
    struct builder *b = c->b;
    int64_t axis = -1;
    uint32_t norm = ml_word(c, "norm", words, 0);
    value_id x = b_cast(b, c->in[0], DTYPE_F64), size = x;
    if (onnx_rank(c, x) < 1)
        return b_fail(b, ERR_SHAPE, "a scalar has no features");
    if (norm == 0) {
        size = b_reduce(b, PRIM_REDUCE_MAX, x, &axis, 1, true);
    } else if (norm == 1) {
        size = b_reduce(b, PRIM_REDUCE_SUM, b_unary(b, PRIM_ABS, x), &axis, 1, true);
    } else {
        size = b_unary(b, PRIM_SQRT, b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, x, x), &axis, 1, true));
    }
    value_id zero = b_const(b, DTYPE_F64, 0), one = b_const(b, DTYPE_F64, 1);
    size = b_select(b, b_binary(b, PRIM_EQ, size, zero), one, size);
    return onnx_return(c, b_cast(b, b_div(b, x, size), DTYPE_F32));
}

/* The imputed values of integers. */
static value_id imputed_integers(struct onnx_call *c, value_id x)
{
    struct ml_ints list = ml_ints(c, "imputed_value_int64s");
    int64_t features = 0, count = list.count;
    dim_id last = b_dim(c->b, x, -1);
    if (onnx_failed(c))
        return VALUE_NONE;
    if (count == 0)
        return b_fail(c->b, ERR_BLUEPRINT, "integers, and no attribute 'imputed_value_int64s'");
    if (count > 1 && (!onnx_is_const(&c->o->graph->dims, last, &features) || features != count))
        return b_fail(c->b, ERR_BLUEPRINT,
                      "attribute 'imputed_value_int64s' has %lld elements, expected 1 or one for "
                      "each of %lld features",
                      (long long)count, (long long)features);
    return ml_integers(c, "imputed_value_int64s", onnx_type(c, x), list.at, &count, 1);
}

bool onnx_ml_imputer(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], missing, filled;
    if (onnx_rank(c, x) < 1)
        return b_fail(b, ERR_SHAPE, "a scalar has no features");
    if (dtype_is_float(onnx_type(c, x))) {
        struct ml_reals list = ml_reals(c, "imputed_value_floats");
        double replaced = onnx_float(c, "replaced_value_float", 0);
        if (list.count == 0 && !onnx_failed(c))
            return b_fail(b, ERR_BLUEPRINT, "floats, and no attribute 'imputed_value_floats'");
        filled = ml_per_feature(c, "imputed_value_floats", &list, x);
        missing = isnan(replaced) ? b_unary(b, PRIM_IS_NAN, x)
                                  : b_binary(b, PRIM_EQ, x, b_const_like(b, x, replaced));
    } else {
        int64_t replaced = onnx_int(c, "replaced_value_int64", 0);
        filled = imputed_integers(c, x);
        missing =
            b_binary(b, PRIM_EQ, x,
                     ml_integers(c, "replaced_value_int64", onnx_type(c, x), &replaced, NULL, 0));
    }
    return onnx_return(c, b_select(b, missing, filled, x));
}

/* The first `count` columns of [N, F], padded with zeros. */
static value_id cut_columns(struct onnx_call *c, value_id x, uint32_t index, int64_t count)
{
    struct builder *b = c->b;
    int64_t features = 0;
    if (onnx_failed(c))
        return VALUE_NONE;
    if (!onnx_is_const(&c->o->graph->dims, b_dim(b, x, 1), &features))
        return onnx_refuse(c,
                           "attribute 'inputdimensions', and input %u has no known number of "
                           "features",
                           index);
    if (count < 0 || count > LIMIT_DIM_VALUE)
        return b_fail(b, ERR_BLUEPRINT, "attribute 'inputdimensions': %lld columns of input %u",
                      (long long)count, index);
    dim_id zero = b_dim_const(b, 0), more = b_dim_const(b, count - features);
    if (count < features)
        return b_slice(b, x, 1, zero, b_dim_const(b, count), 1);
    return count == features ? x : b_pad(b, x, (dim_id[]){zero, zero}, (dim_id[]){zero, more}, 0);
}

bool onnx_ml_feature_vectorizer(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct ml_ints sizes = ml_ints(c, "inputdimensions");
    value_id parts[LIMIT_OPERANDS];
    if (sizes.given && !ml_same_length(c, "inputdimensions", sizes.count, "X", c->in_count))
        return false;
    for (uint32_t i = 0; i < c->in_count; i++) {
        uint32_t rank = onnx_rank(c, c->in[i]);
        if (rank < 1 || rank > 2)
            return b_fail(b, ERR_SHAPE, "input %u is of rank %u, expected 1 or 2", i, rank);
        parts[i] = b_cast(b, c->in[i], DTYPE_F32);
        if (rank == 1)
            parts[i] = b_unsqueeze(b, parts[i], 0);
        if (sizes.given)
            parts[i] = cut_columns(c, parts[i], i, sizes.at[i]);
    }
    return onnx_return(c, b_concat(b, parts, c->in_count, 1));
}
