/* Domain ai.onnx.ml: selecting and naming features, and comparing them with a threshold. */
#include <math.h>
#include <onnx.pb-c.h>

#include "compiler/import/onnx/onnx_priv.h"

bool onnx_array_feature_extractor(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id count = onnx_failed(c) ? DIM_NONE : b_dim_const(b, 1);
    for (uint32_t i = 0; i < onnx_rank(c, c->in[1]); i++)
        count = b_dim_mul(b, count, b_dim(b, c->in[1], i));
    if (onnx_rank(c, c->in[0]) < 1)
        return b_fail(b, ERR_SHAPE, "no axis to choose along");
    value_id index = b_reshape(b, b_cast(b, c->in[1], DTYPE_I64), &count, 1);
    value_id chosen = b_take(b, c->in[0], index, -1);
    return onnx_return(c, onnx_rank(c, chosen) == 1 ? b_unsqueeze(b, chosen, 0) : chosen);
}

/* The maps for each row have the same contents as the row and the names of its columns. */
bool onnx_ml_zip_map(struct onnx_call *c)
{
    if (onnx_rank(c, c->in[0]) < 1 || onnx_rank(c, c->in[0]) > 2)
        return b_fail(c->b, ERR_SHAPE, "rank %u, expected 1 or 2", onnx_rank(c, c->in[0]));
    onnx_warn(c,
              "there are no maps: output '%.100s' is the tensor of all scores, a column for each "
              "of the labels in their order",
              c->node->output[0]);
    return onnx_return(c, c->in[0]);
}

bool onnx_binarizer(struct onnx_call *c)
{
    struct builder *b = c->b;
    enum dtype type = onnx_type(c, c->in[0]);
    double threshold = onnx_float(c, "threshold", 0);
    if (dtype_is_int(type))
        threshold = floor(threshold); /* for integers the comparison is the same */
    value_id above = b_binary(b, PRIM_LT, b_const(b, type, threshold), c->in[0]);
    return onnx_return(c, b_cast(b, above, type));
}
