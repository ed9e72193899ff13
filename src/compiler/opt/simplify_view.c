/* Rules for views: joining two into one, and removing views that change nothing. */
#include <string.h>

#include "base/error.h"
#include "compiler/opt/simplify_priv.h"

static bool shape_is(const struct node *node, const dim_id *shape, uint32_t rank)
{
    return node->rank == rank && memcmp(node->shape, shape, rank * sizeof *shape) == 0;
}

static bool same_as_operand(const struct simplifier *s, const struct subject *x)
{
    const struct node *operand = operand_node(s, x, 0);
    return operand->dtype == x->node.dtype && same_shape(operand, &x->node);
}

value_id reshape_chain(struct simplifier *s, const struct subject *x)
{
    value_id source = x->node.operands[0];
    while (simplify_node(s, source)->prim == PRIM_RESHAPE)
        source = simplify_node(s, source)->operands[0];
    if (shape_is(simplify_node(s, source), x->node.shape, x->node.rank))
        return source;
    return source == x->node.operands[0] ? x->id
                                         : simplify_reshape(s, source, x->node.shape, x->node.rank);
}

/* Whether the axes of more than one element stay in order. */
static bool in_order(const struct simplifier *s, const struct node *source,
                     const struct attrs *attrs)
{
    int last = -1;
    for (uint32_t i = 0; i < attrs->axis_count; i++) {
        if (dim_is(s, source->shape[attrs->axes[i]], 1))
            continue;
        if (attrs->axes[i] < last)
            return false;
        last = attrs->axes[i];
    }
    return true;
}

value_id transpose_chain(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    if (in_order(s, inner, x->node.attrs))
        return simplify_reshape(s, x->node.operands[0], x->node.shape, x->node.rank);
    if (inner->prim != PRIM_TRANSPOSE)
        return x->id;
    struct attrs attrs = {.axis_count = x->node.rank};
    for (uint32_t i = 0; i < x->node.rank; i++)
        attrs.axes[i] = inner->attrs->axes[x->node.attrs->axes[i]];
    return simplify_add(s, PRIM_TRANSPOSE, inner->operands, 1, &attrs);
}

value_id reverse_chain(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    bool joins = inner->prim == PRIM_REVERSE;
    uint32_t named = 0;
    for (uint32_t i = 0; i < x->node.attrs->axis_count; i++)
        named ^= 1u << x->node.attrs->axes[i];
    for (uint32_t i = 0; joins && i < inner->attrs->axis_count; i++)
        named ^= 1u << inner->attrs->axes[i];
    struct attrs attrs = {0};
    for (uint8_t axis = 0; axis < x->node.rank; axis++)
        if ((named >> axis & 1) && !dim_is(s, x->node.shape[axis], 1))
            attrs.axes[attrs.axis_count++] = axis;
    value_id source = joins ? inner->operands[0] : x->node.operands[0];
    if (attrs.axis_count == 0)
        return source;
    return !joins && attrs.axis_count == x->node.attrs->axis_count
               ? x->id
               : simplify_add(s, PRIM_REVERSE, &source, 1, &attrs);
}

/* Whether a reshape only adds dims of 1; `places` are the new positions of the source's dims. */
static bool reshape_adds_ones(const struct simplifier *s, const struct node *source,
                              const struct node *reshaped, uint8_t places[LIMIT_RANK])
{
    uint32_t next = 0;
    for (uint8_t i = 0; i < reshaped->rank; i++) {
        if (next < source->rank && reshaped->shape[i] == source->shape[next])
            places[next++] = i;
        else if (!dim_is(s, reshaped->shape[i], 1))
            return false;
    }
    return next == source->rank;
}

/* Whether a broadcast only adds dims of 1. Not for 0-d values: for them broadcast is the canonical
 * form, so that rules need to look for no other. */
static bool only_adds_ones(const struct simplifier *s, const struct node *source,
                           const struct node *out)
{
    uint32_t next = 0;
    if (source->rank == 0 && out->rank > 0)
        return false;
    for (uint32_t i = 0; i < out->rank; i++) {
        bool taken = next < source->rank && out->attrs->axes[next] == i;
        if (taken ? out->shape[i] != source->shape[next] : !dim_is(s, out->shape[i], 1))
            return false;
        next += taken;
    }
    return true;
}

value_id broadcast_chain(struct simplifier *s, const struct subject *x)
{
    const struct node *inner = operand_node(s, x, 0);
    const struct attrs *outer = x->node.attrs;
    if (only_adds_ones(s, inner, &x->node))
        return simplify_reshape(s, x->node.operands[0], x->node.shape, x->node.rank);
    uint8_t places[LIMIT_RANK];
    if (inner->prim == PRIM_BROADCAST)
        memcpy(places, inner->attrs->axes, sizeof places);
    else if (inner->prim != PRIM_RESHAPE ||
             !reshape_adds_ones(s, simplify_node(s, inner->operands[0]), inner, places))
        return x->id;
    value_id source = inner->operands[0];
    struct attrs attrs = *outer;
    attrs.axis_count = simplify_node(s, source)->rank;
    for (uint32_t i = 0; i < attrs.axis_count; i++)
        attrs.axes[i] = outer->axes[places[i]];
    return simplify_add(s, PRIM_BROADCAST, &source, 1, &attrs);
}

/* slice(slice x): start + (start' + j step') step. If it cannot be proven that the joined slice
 * fits its operand, both stay. */
static value_id join_slices(struct simplifier *s, const struct subject *x, const struct node *inner)
{
    struct dim_table *dims = &s->graph->dims;
    struct attrs attrs = *x->node.attrs;
    for (uint32_t i = 0; i < x->node.rank; i++) {
        const int64_t step = inner->attrs->step[i];
        if (step > LIMIT_DIM_VALUE / attrs.step[i])
            return x->id;
        attrs.step[i] *= step;
        attrs.start[i] = dim_add(dims, inner->attrs->start[i],
                                 dim_mul(dims, attrs.start[i], dim_const(dims, step)));
    }
    struct error unproved = {0};
    value_id joined = graph_add(s->graph, PRIM_SLICE, inner->operands, 1, &attrs, &unproved);
    return joined == VALUE_NONE ? x->id : simplify_add(s, PRIM_SLICE, inner->operands, 1, &attrs);
}

value_id slice_chain(struct simplifier *s, const struct subject *x)
{
    const struct attrs *attrs = x->node.attrs;
    struct node inner = *operand_node(s, x, 0);
    bool everything = same_as_operand(s, x);
    for (uint32_t i = 0; i < x->node.rank && everything; i++)
        everything = dim_is(s, attrs->start[i], 0) && attrs->step[i] == 1;
    if (everything)
        return x->node.operands[0];
    return inner.prim == PRIM_SLICE ? join_slices(s, x, &inner) : x->id;
}

value_id pad_nothing(struct simplifier *s, const struct subject *x)
{
    for (uint32_t i = 0; i < x->node.rank; i++)
        if (!dim_is(s, x->node.attrs->low[i], 0) || !dim_is(s, x->node.attrs->high[i], 0))
            return x->id;
    return x->node.operands[0];
}

value_id concat_parts(struct simplifier *s, const struct subject *x)
{
    value_id parts[LIMIT_OPERANDS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < x->node.operand_count; i++)
        if (!dim_is(s, operand_node(s, x, i)->shape[x->node.attrs->axis], 0))
            parts[count++] = x->node.operands[i];
    if (count == 0)
        return x->node.operands[0];
    if (count == 1)
        return parts[0];
    return count == x->node.operand_count
               ? x->id
               : simplify_add(s, PRIM_CONCAT, parts, count, x->node.attrs);
}

value_id view_of_splat(struct simplifier *s, const struct subject *x)
{
    enum prim prim = (enum prim)x->node.prim;
    bool view =
        prim >= PRIM_RESHAPE && prim <= PRIM_GATHER && prim != PRIM_PAD && prim != PRIM_CONCAT;
    if (!view)
        return x->id;
    value_id operand = x->node.operands[0], scalar = splat_of(s, operand);
    if (scalar == VALUE_NONE || (prim == PRIM_BROADCAST && scalar == operand))
        return x->id;
    return simplify_splat(s, scalar, x->node.shape, x->node.rank);
}

/* A sum starts at +0, so it turns -0 into +0, and its replacement must do so, too. */
static value_id sum_of_one(struct simplifier *s, value_id reshaped)
{
    const struct node *node = simplify_node(s, reshaped);
    if (!dtype_is_float((enum dtype)node->dtype))
        return reshaped;
    value_id zero = simplify_fill(s, node, 0.0);
    if (zero == VALUE_NONE)
        return VALUE_NONE;
    return simplify_add(s, PRIM_ADD, (value_id[]){reshaped, zero}, 2, NULL);
}

value_id reduce_ones(struct simplifier *s, const struct subject *x)
{
    enum prim prim = (enum prim)x->node.prim;
    if (prim == PRIM_ARGMAX || prim == PRIM_ARGMIN)
        return dim_is(s, operand_node(s, x, 0)->shape[x->node.attrs->axis], 1)
                   ? simplify_fill(s, &x->node, 0)
                   : x->id;
    if (prim < PRIM_REDUCE_SUM || prim > PRIM_REDUCE_MIN)
        return x->id;
    const struct node *operand = operand_node(s, x, 0);
    struct attrs left = {0};
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0, next = 0;
    for (uint32_t i = 0; i < operand->rank; i++) {
        bool reduced = next < x->node.attrs->axis_count && x->node.attrs->axes[next] == i;
        next += reduced;
        if (reduced && dim_is(s, operand->shape[i], 1))
            continue;
        if (reduced)
            left.axes[left.axis_count++] = (uint8_t)rank;
        shape[rank++] = operand->shape[i];
    }
    if (rank == operand->rank)
        return x->id;
    value_id reshaped = simplify_reshape(s, x->node.operands[0], shape, rank);
    if (reshaped == VALUE_NONE)
        return VALUE_NONE;
    if (left.axis_count > 0)
        return simplify_add(s, prim, &reshaped, 1, &left);
    return prim == PRIM_REDUCE_SUM ? sum_of_one(s, reshaped) : reshaped;
}
