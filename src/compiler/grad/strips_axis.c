/* Which axis has the rows: of operands by that of a result, and of results; see strips_priv.h. */
#include <string.h>

#include "compiler/grad/strips_priv.h"

static struct strip_axis none(uint32_t why)
{
    return (struct strip_axis){why, DIM_NONE, DIM_NONE};
}

uint32_t strip_split(struct graph *g, const struct node *n, struct strip_axis at, dim_id count,
                     dim_id shape[LIMIT_RANK + 2], uint32_t *out_rank)
{
    dim_id one = dim_const(&g->dims, 1);
    uint32_t rank = 0, axis = 0;
    for (uint32_t d = 0; d < n->rank; d++) {
        if (d != at.axis) {
            shape[rank++] = n->shape[d];
            continue;
        }
        if (at.outer != one)
            shape[rank++] = at.outer;
        axis = rank;
        shape[rank++] = count;
        if (at.inner != one)
            shape[rank++] = at.inner;
    }
    *out_rank = rank;
    return axis;
}

/* What a reshape makes of an axis: as many elements are in front of row 1 as were, so the dims in
 * front divide them, and the rest is outer. */
static struct strip_axis reshaped(struct graph *g, const struct node *from, struct strip_axis at,
                                  const struct node *to, dim_id rows)
{
    struct dim_table *dims = &g->dims;
    dim_id before = dim_mul(dims, dim_product(dims, from->shape, at.axis), at.outer);
    for (uint32_t d = 0; d < to->rank; d++) {
        dim_id outer = dim_div_exact(dims, before, dim_product(dims, to->shape, d));
        dim_id inner = dim_div_exact(dims, to->shape[d], dim_mul(dims, outer, rows));
        dim_id shape[LIMIT_RANK + 2];
        struct strip_axis found = {d, outer, inner};
        uint32_t rank;
        if (outer == DIM_NONE || inner == DIM_NONE)
            continue;
        strip_split(g, to, found, rows, shape, &rank);
        return rank <= LIMIT_RANK ? found : none(AXIS_MIXED);
    }
    return none(AXIS_MIXED);
}

static uint32_t broadcast_axis(const struct graph *g, const struct node *n, uint32_t axis)
{
    const struct node *x = graph_node(g, n->operands[0]);
    for (uint32_t d = 0; d < x->rank; d++)
        if (n->attrs->axes[d] == axis)
            return x->shape[d] == n->shape[axis] ? d : AXIS_NONE;
    return AXIS_NONE;
}

static uint32_t contract_axis(const struct graph *g, const struct node *n, uint32_t operand,
                              uint32_t axis)
{
    uint32_t batch = n->attrs->batch;
    uint32_t rows = graph_node(g, n->operands[0])->rank - n->attrs->contract;
    if (axis < batch)
        return axis;
    if (operand == 0)
        return axis < rows ? axis : AXIS_NONE;
    return axis < rows ? AXIS_NONE : batch + axis - rows;
}

static uint32_t reduce_axis(const struct node *n, uint32_t axis)
{
    bool reduced[LIMIT_RANK] = {false};
    for (uint32_t i = 0; i < n->attrs->axis_count; i++)
        reduced[n->attrs->axes[i]] = true;
    for (uint32_t d = 0; d < LIMIT_RANK; d++)
        if (!reduced[d] && axis-- == 0)
            return d;
    return AXIS_MIXED;
}

/* Rows of the result are those of the index, or of data. */
static uint32_t take_axis(const struct graph *g, const struct node *n, uint32_t operand,
                          uint32_t axis)
{
    uint32_t along = (uint32_t)n->attrs->axis, index = graph_node(g, n->operands[1])->rank;
    bool of_index = axis >= along && axis < along + index;
    if (of_index != (operand == 1))
        return AXIS_NONE;
    if (of_index)
        return axis - along;
    return axis < along ? axis : axis + 1 - index;
}

struct strip_axis strip_operand_axis(struct graph *g, const struct node *n, uint32_t operand,
                                     struct strip_axis at, dim_id rows)
{
    enum prim prim = (enum prim)n->prim;
    if (prim_is_elementwise(prim) || prim == PRIM_COPY)
        return at;
    switch (prim) {
    case PRIM_CONTRACT: at.axis = contract_axis(g, n, operand, at.axis); break;
    case PRIM_REDUCE_SUM:
    case PRIM_REDUCE_MAX:
    case PRIM_REDUCE_MIN: at.axis = reduce_axis(n, at.axis); break;
    case PRIM_BROADCAST: at.axis = broadcast_axis(g, n, at.axis); break;
    case PRIM_RESHAPE: return reshaped(g, n, at, graph_node(g, n->operands[0]), rows);
    case PRIM_TRANSPOSE: at.axis = n->attrs->axes[at.axis]; break;
    case PRIM_TAKE: at.axis = take_axis(g, n, operand, at.axis); break;
    default: return none(AXIS_MIXED);
    }
    return at.axis < LIMIT_RANK ? at : none(at.axis);
}

struct strip_axis strip_result_axis(struct graph *g, const struct node *n, uint32_t operand,
                                    struct strip_axis at, dim_id rows)
{
    const struct node *x = graph_node(g, n->operands[operand]);
    if (n->prim == PRIM_RESHAPE)
        return reshaped(g, x, at, n, rows);
    for (uint32_t axis = 0; axis < n->rank; axis++) {
        struct strip_axis found = {axis, at.outer, at.inner};
        if (n->shape[axis] == x->shape[at.axis] &&
            strip_same_axis(strip_operand_axis(g, n, operand, found, rows), at))
            return found;
    }
    return none(AXIS_MIXED);
}

/* What reads a value, where that is a transpose and nothing else. */
static value_id only_transpose(const struct strips *s, value_id v)
{
    if (s->asked[v] || s->user_at[v + 1] != s->user_at[v] + 1)
        return VALUE_NONE;
    value_id user = s->users[s->user_at[v]];
    return b_node(s->b, user)->prim == PRIM_TRANSPOSE ? user : VALUE_NONE;
}

value_id strip_transposes(const struct strips *s, value_id v, uint8_t axes[LIMIT_RANK])
{
    value_id last = VALUE_NONE;
    for (uint32_t i = 0; i < LIMIT_RANK; i++)
        axes[i] = (uint8_t)i;
    for (value_id t; (t = only_transpose(s, v)) != VALUE_NONE; v = last = t) {
        const struct node *n = b_node(s->b, t);
        uint8_t before[LIMIT_RANK];
        memcpy(before, axes, sizeof before);
        for (uint32_t i = 0; i < n->rank; i++)
            axes[i] = before[n->attrs->axes[i]];
    }
    return last;
}

bool strip_turns(const struct strips *s, value_id v, uint8_t axes[LIMIT_RANK])
{
    const struct node *n = b_node(s->b, v);
    uint32_t around = n->prim == PRIM_CONTRACT ? n->attrs->batch + n->attrs->contract : 0;
    if (n->prim != PRIM_CONTRACT || b_node(s->b, n->operands[0])->rank != around + 1 ||
        b_node(s->b, n->operands[1])->rank != around + 1 || axes[n->rank - 1] != n->rank - 2)
        return false;
    for (uint32_t i = 0; i < n->rank; i++)
        if (axes[i] + 2 >= n->rank)
            axes[i] = (uint8_t)(2 * n->rank - 3 - axes[i]);
    return true;
}
