/* How bounds pass through prims (onnx_bound_priv.h). */
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"
#include "graph/build.h"

#define ALIKE_DEEP 16 /* values between an operand and what it is stretched from */

/* One value and its operands. The node is a copy: building a count moves the graph's. */
struct flow {
    struct onnx *o;
    struct builder b;
    struct error err;
    struct node node;
    bool places;
    struct onnx_bound out;
};

static const struct onnx_bound *in(const struct flow *f, uint32_t operand)
{
    return f->o->bounds->items.items[f->node.operands[operand]];
}

static value_id count_of(const struct flow *f, uint32_t operand, uint32_t axis)
{
    const struct onnx_bound *bound = in(f, operand);
    return bound ? bound->count[axis] : VALUE_NONE;
}

static const struct node *operand(const struct flow *f, uint32_t index)
{
    return graph_node(f->o->graph, f->node.operands[index]);
}

static void mix(struct flow *f, const char *why)
{
    if (!f->out.mixed)
        f->out.mixed = why;
}

/* Result axis `to` has a count: the same as others that it may have. */
static void meet(struct flow *f, uint32_t to, value_id count)
{
    if (count == VALUE_NONE)
        return;
    if (f->out.count[to] != VALUE_NONE && f->out.count[to] != count)
        mix(f, "results with different counts meet");
    f->out.count[to] = count;
}

/* Whether x has the same elements all along the axis, or their numbers, so that any number of them
 * may stand beside what counts: a dim of 1 stretches. Without this, an operand that is as long as
 * another is at most would be taken for one that is as long as it is. */
static bool is_alike(const struct onnx *o, value_id x, uint32_t axis, uint32_t deep)
{
    const struct node *node = graph_node(o->graph, x);
    int64_t size = 0;
    if (deep == 0 || node->prim == PRIM_IOTA ||
        (dim_is_const(&o->graph->dims, node->shape[axis], &size) && size == 1))
        return deep > 0;
    if (node->prim == PRIM_BROADCAST) {
        const struct node *from = graph_node(o->graph, node->operands[0]);
        for (uint32_t i = 0; i < from->rank; i++)
            if (node->attrs->axes[i] == axis && from->shape[i] == node->shape[axis])
                return is_alike(o, node->operands[0], i, deep - 1);
        return true;
    }
    if (!prim_is_elementwise((enum prim)node->prim))
        return false;
    for (uint32_t i = 0; i < node->operand_count; i++)
        if (!is_alike(o, node->operands[i], axis, deep - 1))
            return false;
    return true;
}

/* Operands of one shape, that of the result but for axis `apart`, which is not looked at. */
static void side_by_side(struct flow *f, uint32_t apart)
{
    for (uint32_t i = 0; i < f->node.operand_count; i++)
        for (uint32_t d = 0; d < f->node.rank && in(f, i); d++)
            if (d != apart)
                meet(f, d, count_of(f, i, d));
    for (uint32_t i = 0; i < f->node.operand_count; i++)
        for (uint32_t d = 0; d < f->node.rank; d++)
            if (d != apart && f->out.count[d] != VALUE_NONE && count_of(f, i, d) == VALUE_NONE &&
                !is_alike(f->o, f->node.operands[i], d, ALIKE_DEEP))
                mix(f, "an operand as long as the other can be at most meets it");
}

static void keep_all(struct flow *f)
{
    for (uint32_t d = 0; d < f->node.rank; d++)
        meet(f, d, count_of(f, 0, d));
}

static bool has_axis(const struct attrs *attrs, uint32_t axis)
{
    for (uint32_t i = 0; i < attrs->axis_count; i++)
        if (attrs->axes[i] == axis)
            return true;
    return false;
}

static void concat(struct flow *f)
{
    uint32_t axis = (uint32_t)f->node.attrs->axis;
    side_by_side(f, axis);
    for (uint32_t i = 0; i < f->node.operand_count; i++)
        if (count_of(f, i, axis) != VALUE_NONE)
            mix(f, "something stands behind it");
}

/* Dims that are reduced disappear. */
static void reduce(struct flow *f, bool one_axis)
{
    uint32_t to = 0;
    for (uint32_t d = 0; d < operand(f, 0)->rank; d++) {
        bool gone = one_axis ? (uint32_t)f->node.attrs->axis == d : has_axis(f->node.attrs, d);
        if (gone && count_of(f, 0, d) != VALUE_NONE)
            mix(f, "a reduction along the dim");
        if (!gone)
            meet(f, to++, count_of(f, 0, d));
    }
}

/* Sorting needs all of the axis; a running sum from the front does not. */
static void along(struct flow *f)
{
    keep_all(f);
    if (count_of(f, 0, (uint32_t)f->node.attrs->axis) != VALUE_NONE &&
        (f->node.prim == PRIM_ARGSORT || f->node.attrs->reverse))
        mix(f, f->node.prim == PRIM_ARGSORT ? "sorting along the dim" : "a sum from its end");
}

static void contract(struct flow *f)
{
    uint32_t batch = f->node.attrs->batch, pairs = f->node.attrs->contract, to = 0;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t rank = operand(f, i)->rank;
        for (uint32_t d = 0; d < rank; d++) {
            value_id count = count_of(f, i, d);
            if (d >= rank - pairs && count != VALUE_NONE)
                mix(f, "a sum of products along the dim");
            if (d < batch && count == VALUE_NONE && count_of(f, 1 - i, d) != VALUE_NONE &&
                !is_alike(f->o, f->node.operands[i], d, ALIKE_DEEP))
                mix(f, "an operand as long as the other can be at most meets it");
            if (d < rank - pairs)
                meet(f, i == 1 && d < batch ? d : to++, count);
        }
    }
}

static void window(struct flow *f, uint32_t kept)
{
    for (uint32_t i = 0; i < f->node.operand_count; i++)
        for (uint32_t d = 0; d < operand(f, i)->rank; d++)
            if (i == 0 && d < kept)
                meet(f, d, count_of(f, i, d));
            else if (count_of(f, i, d) != VALUE_NONE)
                mix(f, "windows along the dim");
}

static dim_id product(struct flow *f, const struct node *node, uint32_t from, uint32_t to)
{
    return dim_product(&f->o->graph->dims, node->shape + from, to - from);
}

/* What counts along an axis is, in each of the blocks that the dims before it number, the first
 * elements. It is the same in an axis that as many blocks stand before, where what it has behind it
 * are whole numbers of that axis's. */
static void reshape_axis(struct flow *f, uint32_t axis, bool alone)
{
    struct dim_table *dims = &f->o->graph->dims;
    struct node x = *operand(f, 0);
    value_id count = count_of(f, 0, axis);
    dim_id blocks = product(f, &x, 0, axis), behind = product(f, &x, axis + 1, x.rank);
    dim_id one = dim_const(dims, 1);
    for (uint32_t to = 0; to < f->node.rank && x.shape[axis] != one; to++) {
        if (product(f, &f->node, 0, to) != blocks || f->node.shape[to] == one)
            continue;
        dim_id each = product(f, &f->node, to + 1, f->node.rank);
        dim_id times = behind == each ? one : dim_div_exact(dims, behind, each);
        if (times == DIM_NONE || (times != one && !alone))
            break;
        if (times != one)
            count = b_mul(&f->b, count, b_size(&f->b, times));
        meet(f, to, count);
        return;
    }
    mix(f, "a reshape across the dim");
}

static void reshape(struct flow *f)
{
    uint32_t bounded = 0, rank = operand(f, 0)->rank;
    for (uint32_t d = 0; d < rank; d++)
        bounded += count_of(f, 0, d) != VALUE_NONE;
    for (uint32_t d = 0; d < rank; d++)
        if (count_of(f, 0, d) != VALUE_NONE)
            reshape_axis(f, d, bounded == 1);
}

static void broadcast(struct flow *f)
{
    for (uint32_t d = 0; d < operand(f, 0)->rank; d++) {
        uint32_t to = f->node.attrs->axes[d];
        if (count_of(f, 0, d) != VALUE_NONE && operand(f, 0)->shape[d] != f->node.shape[to])
            mix(f, "a dim of at most 1 is stretched");
        meet(f, to, count_of(f, 0, d));
    }
}

/* Of the elements start, start + step, … those below the count, as far as the slice goes. */
static void slice(struct flow *f)
{
    struct builder *b = &f->b;
    dim_id zero = dim_const(&f->o->graph->dims, 0);
    for (uint32_t d = 0; d < f->node.rank; d++) {
        value_id count = count_of(f, 0, d);
        dim_id start = f->node.attrs->start[d], all = operand(f, 0)->shape[d];
        int64_t step = f->node.attrs->step[d];
        if (count == VALUE_NONE || (start == zero && step == 1 && f->node.shape[d] == all)) {
            meet(f, d, count);
            continue;
        }
        if (!f->places)
            mix(f, "a part of the dim");
        count = b_max_const(b, b_sub(b, count, b_size(b, start)), 0);
        if (step > 1)
            count = b_div(b, b_add(b, count, b_const(b, DTYPE_I64, (double)(step - 1))),
                          b_const(b, DTYPE_I64, (double)step));
        meet(f, d, b_binary(b, PRIM_MIN, count, b_size(b, f->node.shape[d])));
    }
}

static void pad(struct flow *f)
{
    keep_all(f);
    for (uint32_t d = 0; d < f->node.rank; d++)
        if (count_of(f, 0, d) != VALUE_NONE && operand(f, 0)->shape[d] != f->node.shape[d])
            mix(f, "padding of the dim");
}

static void take(struct flow *f)
{
    uint32_t axis = (uint32_t)f->node.attrs->axis, rank = operand(f, 0)->rank;
    uint32_t places = operand(f, 1)->rank;
    for (uint32_t d = 0; d < rank; d++) {
        if (d == axis && count_of(f, 0, d) != VALUE_NONE && !f->places)
            mix(f, "places in the dim");
        if (d != axis)
            meet(f, d < axis ? d : d + places - 1, count_of(f, 0, d));
    }
    for (uint32_t d = 0; d < places; d++)
        meet(f, axis + d, count_of(f, 1, d));
}

static void gather(struct flow *f)
{
    for (uint32_t d = 0; d < f->node.rank; d++) {
        value_id data = count_of(f, 0, d), index = count_of(f, 1, d);
        bool axis = d == (uint32_t)f->node.attrs->axis;
        if (data != VALUE_NONE && (axis ? !f->places : data != index))
            mix(f, "places in the dim");
        meet(f, d, index);
    }
}

static void scatter(struct flow *f)
{
    keep_all(f);
    for (uint32_t d = 0; d < f->node.rank; d++) {
        value_id base = count_of(f, 0, d);
        bool axis = d == (uint32_t)f->node.attrs->axis;
        value_id expected = axis ? VALUE_NONE : base;
        if (count_of(f, 1, d) != expected || count_of(f, 2, d) != expected)
            mix(f, "a scatter that writes filler, too");
        if (axis && base != VALUE_NONE && !f->places)
            mix(f, "places in the dim");
    }
}

static void reverse(struct flow *f)
{
    keep_all(f);
    for (uint32_t d = 0; d < f->node.rank; d++)
        if (has_axis(f->node.attrs, d) && count_of(f, 0, d) != VALUE_NONE)
            mix(f, "the dim back to front");
}

static void transpose(struct flow *f)
{
    for (uint32_t d = 0; d < f->node.rank; d++)
        meet(f, d, count_of(f, 0, f->node.attrs->axes[d]));
}

static void by_prim(struct flow *f)
{
    enum prim prim = (enum prim)f->node.prim;
    switch (prim) {
    case PRIM_COPY: keep_all(f); break;
    case PRIM_CONCAT: concat(f); break;
    case PRIM_REDUCE_SUM:
    case PRIM_REDUCE_PROD:
    case PRIM_REDUCE_MAX:
    case PRIM_REDUCE_MIN: reduce(f, false); break;
    case PRIM_ARGMAX:
    case PRIM_ARGMIN: reduce(f, true); break;
    case PRIM_ARGSORT:
    case PRIM_CUM_SUM:
    case PRIM_CUM_PROD:
    case PRIM_CUM_MAX: along(f); break;
    case PRIM_CONTRACT: contract(f); break;
    case PRIM_CONV: window(f, 1); break;
    case PRIM_WINDOW_SUM:
    case PRIM_WINDOW_MAX: window(f, f->node.rank - f->node.attrs->window_count); break;
    case PRIM_RESHAPE: reshape(f); break;
    case PRIM_TRANSPOSE: transpose(f); break;
    case PRIM_BROADCAST: broadcast(f); break;
    case PRIM_SLICE: slice(f); break;
    case PRIM_PAD: pad(f); break;
    case PRIM_REVERSE: reverse(f); break;
    case PRIM_TAKE: take(f); break;
    case PRIM_GATHER: gather(f); break;
    case PRIM_SCATTER: scatter(f); break;
    default:
        if (prim_is_elementwise(prim))
            side_by_side(f, LIMIT_RANK);
        else
            mix(f, "a loop over its trips");
    }
}

/* Whether filler stays what it was. */
static bool only_moves(const struct node *node)
{
    return node->prim == PRIM_COPY || node->prim == PRIM_RESHAPE || node->prim == PRIM_TRANSPOSE ||
           node->prim == PRIM_SLICE || node->prim == PRIM_CAST;
}

const struct onnx_bound *onnx_bound_flow(struct onnx *o, value_id x, bool places)
{
    struct flow f = {.o = o, .node = *graph_node(o->graph, x), .places = places};
    const struct onnx_bound *first = NULL;
    f.b = (struct builder){.graph = o->graph, .err = &f.err};
    for (uint32_t i = 0; i < f.node.operand_count; i++) {
        const struct onnx_bound *bound = in(&f, i);
        first = first ? first : bound;
        if (bound && bound->mixed)
            return bound;
    }
    if (!first)
        return NULL;
    f.out.node = first->node;
    f.out.zero = only_moves(&f.node) && first->zero;
    by_prim(&f);
    if (f.err.code != ERR_NONE)
        mix(&f, f.err.message);
    bool any = f.out.mixed != NULL;
    for (uint32_t d = 0; d < f.node.rank; d++)
        any = any || f.out.count[d] != VALUE_NONE;
    if (f.out.mixed)
        f.out.mixed = arena_strdup(o->arena, f.out.mixed);
    return any ? arena_memdup(o->arena, &f.out, sizeof f.out) : NULL;
}
