/* Table look-ups. Indices outside a table are clamped by the prims, never read out of bounds. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

bool expand_embedding(struct op_call *call)
{
    /* padding_idx only affects gradients, not the result. */
    return ops_check_rank(call, call->in[1], 2, 2) &&
           op_return(call, b_take(call->b, call->in[1], call->in[0], 0));
}

bool expand_one_hot(struct op_call *call)
{
    struct builder *b = call->b;
    int64_t classes = 0;
    enum dtype dtype = dtype_from_name(op_text(call, "dtype"));
    if (!ops_int_in(call, "num_classes", 1, LIMIT_DIM_VALUE, &classes)) {
        return false;
    }
    if (dtype == DTYPE_NONE) {
        return ops_attr_fail(call, "dtype", "'%s' is not a dtype", op_text(call, "dtype"));
    }
    dim_id size = b_dim_const(b, classes);
    value_id numbers = b_iota(b, DTYPE_I64, &size, 1, 0);
    value_id index = b_unsqueeze(b, b_cast(b, call->in[0], DTYPE_I64), -1);
    return op_return(call, b_cast(b, b_binary(b, PRIM_EQ, index, numbers), dtype));
}

bool expand_take(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    return axis >= 0 && op_return(call, b_take(call->b, call->in[0], call->in[1], axis));
}

bool expand_index_select(struct op_call *call)
{
    return ops_check_rank(call, call->in[1], 0, 1) && expand_take(call);
}

bool expand_gather(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    return axis >= 0 && op_return(call, b_gather(call->b, call->in[0], call->in[1], axis));
}

/* Sums in narrow floats are computed in f32 and rounded once. */
static bool scatter(struct op_call *call, enum scatter_mode mode)
{
    struct attrs attrs = {.mode = (uint8_t)mode, .axis = ops_axis(call, "dim", call->in[0])};
    struct builder *b = call->b;
    value_id in[3] = {call->in[0], call->in[1], call->in[2]};
    for (uint32_t i = 0; i < 3 && mode == SCATTER_ADD; i += 2) {
        in[i] = ops_wide(b, in[i]);
    }
    if (attrs.axis < 0) {
        return false;
    }
    value_id y = graph_add(b->graph, PRIM_SCATTER, in, 3, &attrs, b->err);
    return op_return(call, b_cast(b, y, ops_dtype(b, call->in[0])));
}

bool expand_scatter(struct op_call *call)
{
    const char *reduce = op_text(call, "reduce");
    enum scatter_mode mode = strcmp(reduce, "add") == 0    ? SCATTER_ADD
                             : strcmp(reduce, "amax") == 0 ? SCATTER_MAX
                             : strcmp(reduce, "amin") == 0 ? SCATTER_MIN
                                                           : SCATTER_SET;
    return scatter(call, mode);
}

bool expand_scatter_add(struct op_call *call)
{
    return scatter(call, SCATTER_ADD);
}
