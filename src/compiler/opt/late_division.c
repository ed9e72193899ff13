/* Dividing results instead of operands.
 *
 *   contract(exp(t) / sum, v)   ->   contract(exp(t), v) / sum
 *
 * where the sum is one number for each row: as many divisions as results instead of as many as
 * operands, and nothing between the exponentials and the product (opt/rows.c). Roundings change as
 * with another order of summation; f16 and bf16, which round once only, stay as they are. */
#include "compiler/opt/opt_priv.h"
#include "graph/build.h"

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    struct builder b = {to, err};
    struct node n = *graph_node(to, copy);
    (void)from, (void)old, (void)context;
    if (n.prim != PRIM_CONTRACT || (n.dtype != DTYPE_F32 && n.dtype != DTYPE_F64))
        return copy;
    struct node x = *graph_node(to, n.operands[0]);
    if (x.prim != PRIM_DIV || graph_node(to, x.operands[0])->prim != PRIM_EXP)
        return copy;
    struct node spread = *graph_node(to, x.operands[1]);
    uint32_t rows = x.rank - (uint32_t)n.attrs->contract;
    if (spread.prim != PRIM_BROADCAST)
        return copy;
    for (uint32_t i = 0; i < spread.attrs->axis_count; i++)
        if (spread.attrs->axes[i] >= rows)
            return copy;
    value_id y = b_contract(&b, x.operands[0], n.operands[1], n.attrs->batch, n.attrs->contract);
    if (y == VALUE_NONE)
        return y;
    struct node result = *graph_node(to, y);
    struct attrs attrs = {.axis_count = spread.attrs->axis_count};
    memcpy(attrs.axes, spread.attrs->axes, sizeof attrs.axes);
    memcpy(attrs.shape, result.shape, sizeof(dim_id) * result.rank);
    attrs.rank = result.rank;
    return b_div(&b, y, graph_add(to, PRIM_BROADCAST, &spread.operands[0], 1, &attrs, err));
}

bool pass_late_division(struct graph *to, struct arena *arena, const struct graph *from,
                        const struct target *target, struct error *err)
{
    (void)target;
    return graph_rewrite(to, arena, from, rule, NULL, err);
}
