/* Domain ai.onnx.ml: linear models. */
#include "compiler/import/onnx/onnx_ml_priv.h"

/* X · Cᵀ + intercepts: [N, count] in the dtype of ml_wide. count: number of rows of
 * coefficients. */
static value_id linear(struct onnx_call *c, const struct ml_reals *coefficients, int64_t count)
{
    struct builder *b = c->b;
    struct ml_reals intercepts = ml_reals(c, "intercepts");
    enum dtype dtype = ml_wide(c, c->in[0]);
    int64_t shape[2] = {count, coefficients->count / count};
    if (onnx_failed(c))
        return VALUE_NONE;
    if (shape[1] * count != coefficients->count || shape[1] == 0)
        return b_fail(b, ERR_BLUEPRINT,
                      "attribute 'coefficients' has %u elements, which do not "
                      "divide into %lld rows",
                      coefficients->count, (long long)count);
    if (intercepts.count > 0 && intercepts.count != count)
        return b_fail(b, ERR_BLUEPRINT, "attribute 'intercepts' has %u elements, expected %lld",
                      intercepts.count, (long long)count);
    value_id x = ml_rows(c, c->in[0], dtype, shape[1], true);
    value_id weights = ml_constant(c, "coefficients", dtype, coefficients->at, shape, 2);
    value_id y = b_contract(b, x, weights, 0, 1);
    if (intercepts.count > 0)
        y = b_add(b, y, ml_constant(c, "intercepts", dtype, intercepts.at, &count, 1));
    return y;
}

bool onnx_ml_linear_regressor(struct onnx_call *c)
{
    struct ml_reals coefficients = ml_reals(c, "coefficients");
    enum ml_transform transform = ml_transform_of(c);
    int64_t targets = onnx_int(c, "targets", 1);
    if (targets < 1 || targets > LIMIT_NODES)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'targets' is %lld", (long long)targets);
    value_id y = ml_transform(c, linear(c, &coefficients, targets), transform);
    return onnx_return(c, b_cast(c->b, y, DTYPE_F32));
}

/* One score for each row of coefficients, which is a class; a single row distinguishes two
 * classes. */
bool onnx_ml_linear_classifier(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct ml_reals coefficients = ml_reals(c, "coefficients");
    struct ml_reals intercepts = ml_reals(c, "intercepts");
    enum ml_transform transform = ml_transform_of(c);
    int64_t features = 0, rows = intercepts.count;
    struct ml_labels labels;
    if (!ml_labels(c, "classlabels_ints", "classlabels_strings", &labels))
        return false;
    value_id x = c->in[0];
    if (rows == 0 && onnx_rank(c, x) > 0 &&
        onnx_is_const(&c->o->graph->dims, b_dim(b, x, -1), &features) && features > 0)
        rows = coefficients.count / features;
    if (rows != labels.count && (rows != 1 || labels.count != 2))
        return b_fail(b, ERR_BLUEPRINT, "coefficients for %lld scores, and labels of %u classes",
                      (long long)rows, labels.count);
    value_id scores = linear(c, &coefficients, rows);
    if (rows == 1 && labels.count == 2)
        return ml_classified_by_one(c, &labels, scores, 0, false, transform);
    return ml_classified(c, &labels, ml_argmax(c, scores), ml_transform(c, scores, transform));
}
