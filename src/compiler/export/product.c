/* Contractions as MatMul, convolutions as Conv. */
#include "compiler/export/export_priv.h"

/* Transposes and reshapes an operand to [batch…, rows, summed]. */
static const char *as_matrix(struct export *e, const struct node *node, uint32_t index,
                             uint32_t *out_rank)
{
    const struct attrs *attrs = node->attrs;
    const struct node *x = export_operand(e, node, index);
    struct dim_table *dims = &e->graph->dims;
    uint32_t batch = attrs->batch, rows = x->rank - batch - attrs->contract;
    dim_id shape[EXPORT_RANK];
    for (uint32_t d = 0; d < batch; d++)
        shape[d] = x->shape[d];
    shape[batch] = dim_product(dims, x->shape + batch, rows);
    shape[batch + 1] = dim_product(dims, x->shape + batch + rows, attrs->contract);
    *out_rank = batch + 2;
    const char *name = export_wide(e, node->operands[index]);
    if (rows == 1 && attrs->contract == 1)
        return name;
    return export_reshape(e, name, shape, batch + 2);
}

static const char *swapped(struct export *e, const char *x, uint32_t rank)
{
    int64_t axes[EXPORT_RANK];
    for (uint32_t d = 0; d < rank; d++)
        axes[d] = d;
    axes[rank - 1] = rank - 2;
    axes[rank - 2] = rank - 1;
    const char *result = export_node(e, "Transpose", &x, 1);
    export_ints(e, "perm", axes, rank);
    return result;
}

const char *export_contract(struct export *e, const struct node *node)
{
    uint32_t rank, batch = node->attrs->batch;
    const char *a = as_matrix(e, node, 0, &rank);
    const char *b = swapped(e, as_matrix(e, node, 1, &rank), rank);
    const char *result = NODE(e, "MatMul", a, b);
    uint32_t a_rows = export_operand(e, node, 0)->rank - batch - node->attrs->contract;
    if (node->rank != rank || a_rows != 1)
        result = export_reshape(e, result, node->shape, node->rank);
    return export_narrow(e, result, (enum dtype)node->dtype);
}

const char *export_conv(struct export *e, const struct node *node)
{
    const struct attrs *attrs = node->attrs;
    const struct node *x = export_operand(e, node, 0);
    enum dtype dtype = (enum dtype)node->dtype;
    dim_id shape[LIMIT_RANK];
    if (!dtype_is_float(dtype))
        return export_refuse(e, "Conv takes floats");
    if (attrs->window_count == 0)
        return export_refuse(e, "Conv wants spatial dims");
    for (uint32_t d = 0; d < x->rank; d++)
        shape[d] = x->shape[d];
    const char *zero = export_real(e, export_carrier(dtype), 0);
    const char *spread =
        export_spread(e, export_wide(e, node->operands[0]), attrs, shape, x->rank, zero);
    const char *weight = export_wide(e, node->operands[1]);
    const char *result = NODE(e, "Conv", spread, weight);
    export_window_attrs(e, attrs, true);
    export_int(e, "group", attrs->groups);
    return export_narrow(e, result, dtype);
}
