/* Values that are the right numbers at the wrong place: axes, windows, indices, orders. */
#include <string.h>

#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

static value_id with_attrs(struct builder *b, value_id x, const struct attrs *attrs)
{
    struct node n = *b_node(b, x);
    return graph_add(b->graph, (enum prim)n.prim, n.operands, n.operand_count, attrs, b->err);
}

static bool same_shape(const struct node *a, const struct node *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, a->rank * sizeof a->shape[0]) == 0;
}

/* The first two axes of equal size that are no single elements; false: none. */
static bool equal_axes(const struct builder *b, const struct node *n, uint32_t *out_i,
                       uint32_t *out_j)
{
    int64_t size;
    for (uint32_t i = 0; i < n->rank; i++)
        for (uint32_t j = i + 1; j < n->rank; j++) {
            bool one = dim_is_const(&b->graph->dims, n->shape[i], &size) && size == 1;
            if (n->shape[i] == n->shape[j] && !one) {
                *out_i = i;
                *out_j = j;
                return true;
            }
        }
    return false;
}

static value_id swap_axes(struct builder *b, value_id x, uint32_t i, uint32_t j)
{
    return b_swap(b, x, (int64_t)i, (int64_t)j);
}

value_id move_axes_swapped(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    uint32_t i, j;
    if (n.prim < PRIM_NEG || n.prim > PRIM_WINDOW_MAX || !equal_axes(b, &n, &i, &j) ||
        !mutation_here(m, "%s %%%u", prim_info((enum prim)n.prim)->name, x))
        return x;
    return swap_axes(b, x, i, j);
}

value_id move_weight_transposed(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    uint32_t i, j;
    if (!(n.prim == PRIM_CONTRACT || n.prim == PRIM_CONV) ||
        !equal_axes(b, b_node(b, n.operands[1]), &i, &j) ||
        !mutation_here(m, "%s %%%u", prim_info((enum prim)n.prim)->name, x))
        return x;
    value_id w = swap_axes(b, n.operands[1], i, j);
    return graph_add(b->graph, (enum prim)n.prim, (value_id[]){n.operands[0], w}, 2, n.attrs,
                     b->err);
}

value_id move_reduce_axis(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim < PRIM_REDUCE_SUM || n.prim > PRIM_ARGSORT)
        return x;
    uint32_t i, j;
    if (!equal_axes(b, b_node(b, n.operands[0]), &i, &j) || !mutation_here(m, "%%%u", x))
        return x;
    value_id moved = swap_axes(b, n.operands[0], i, j);
    return graph_add(b->graph, (enum prim)n.prim, &moved, 1, n.attrs, b->err);
}

value_id move_concat_order(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    value_id operands[LIMIT_OPERANDS];
    if (n.prim != PRIM_CONCAT)
        return x;
    memcpy(operands, n.operands, n.operand_count * sizeof operands[0]);
    for (uint32_t i = 0; i + 1 < n.operand_count; i++)
        if (operands[i] != operands[i + 1] &&
            same_shape(b_node(b, operands[i]), b_node(b, operands[i + 1])) &&
            mutation_here(m, "concat %%%u", x)) {
            value_id first = operands[i];
            operands[i] = operands[i + 1];
            operands[i + 1] = first;
            return graph_add(b->graph, PRIM_CONCAT, operands, n.operand_count, n.attrs, b->err);
        }
    return x;
}

static bool has_window(const struct node *n)
{
    return n->prim == PRIM_CONV || n->prim == PRIM_WINDOW_SUM || n->prim == PRIM_WINDOW_MAX;
}

/* One element less of padding before, one more behind; or the other way round. */
static value_id shift_window(struct mutation *m, struct builder *b, value_id x, int by)
{
    struct node n = *b_node(b, x);
    if (!has_window(&n))
        return x;
    struct attrs attrs = *n.attrs;
    for (uint32_t i = 0; i < attrs.window_count; i++) {
        struct window *w = &attrs.window[i];
        if (w->low - by < 0 || w->high + by < 0 || w->size == 1 ||
            !mutation_here(m, "%%%u, spatial dim %u", x, i))
            continue;
        w->low -= by;
        w->high += by;
        return with_attrs(b, x, &attrs);
    }
    return x;
}

value_id move_window_later(struct mutation *m, struct builder *b, value_id x)
{
    return shift_window(m, b, x, 1);
}

value_id move_window_earlier(struct mutation *m, struct builder *b, value_id x)
{
    return shift_window(m, b, x, -1);
}

/* A window that is dilated reads neighbours, and the padding hides it. */
value_id move_dilation(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (!has_window(&n))
        return x;
    struct attrs attrs = *n.attrs;
    for (uint32_t i = 0; i < attrs.window_count; i++) {
        struct window *w = &attrs.window[i];
        int64_t less = (w->dilation - 1) * (w->size - 1);
        if (less == 0 || less > w->low + w->high || !mutation_here(m, "%%%u, dim %u", x, i))
            continue;
        int64_t low = less / 2 < w->low ? less / 2 : w->low;
        w->dilation = 1;
        w->low -= low;
        w->high -= less - low;
        return w->high < 0 ? x : with_attrs(b, x, &attrs);
    }
    return x;
}

/* Convolution for correlation. */
value_id move_window_flipped(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    const struct window *w = n.attrs->window;
    if (n.prim != PRIM_CONV || w[0].size == 1 || !mutation_here(m, "conv %%%u", x))
        return x;
    value_id flipped = b_reverse(b, n.operands[1], 2);
    return graph_add(b->graph, PRIM_CONV, (value_id[]){n.operands[0], flipped}, 2, n.attrs, b->err);
}

/* Channels dealt to the groups by turns instead of block by block. */
value_id move_groups(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    int64_t channels, groups = n.attrs->groups;
    struct node in = *b_node(b, n.prim == PRIM_CONV ? n.operands[0] : x);
    if (n.prim != PRIM_CONV || groups < 2 || in.rank + 1 > LIMIT_RANK ||
        !dim_is_const(&b->graph->dims, in.shape[1], &channels) || channels == groups ||
        !mutation_here(m, "conv %%%u", x))
        return x;
    dim_id shape[LIMIT_RANK];
    shape[0] = in.shape[0];
    shape[1] = b_dim_const(b, channels / groups);
    shape[2] = b_dim_const(b, groups);
    for (uint32_t i = 2; i < in.rank; i++)
        shape[i + 1] = in.shape[i];
    value_id dealt = b_swap(b, b_reshape(b, n.operands[0], shape, in.rank + 1u), 1, 2);
    dealt = b_reshape(b, dealt, in.shape, in.rank);
    return graph_add(b->graph, PRIM_CONV, (value_id[]){dealt, n.operands[1]}, 2, n.attrs, b->err);
}

value_id move_slice_start(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_SLICE)
        return x;
    struct attrs attrs = *n.attrs;
    for (uint32_t i = 0; i < n.rank; i++) {
        int64_t start;
        if (!dim_is_const(&b->graph->dims, attrs.start[i], &start) || start == 0 ||
            !mutation_here(m, "slice %%%u, axis %u", x, i))
            continue;
        attrs.start[i] = b_dim_const(b, start - 1);
        return with_attrs(b, x, &attrs);
    }
    return x;
}

value_id move_pad_sides(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_PAD)
        return x;
    struct attrs attrs = *n.attrs;
    for (uint32_t i = 0; i < n.rank; i++) {
        if (attrs.low[i] == attrs.high[i] || !mutation_here(m, "pad %%%u, axis %u", x, i))
            continue;
        dim_id low = attrs.low[i];
        attrs.low[i] = attrs.high[i];
        attrs.high[i] = low;
        return with_attrs(b, x, &attrs);
    }
    return x;
}

value_id move_reverse_dropped(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    return n.prim == PRIM_REVERSE && mutation_here(m, "reverse %%%u", x) ? n.operands[0] : x;
}

static bool indexes(const struct node *n)
{
    return n->prim == PRIM_TAKE || n->prim == PRIM_GATHER || n->prim == PRIM_SCATTER;
}

static value_id with_index(struct builder *b, value_id x, value_id index)
{
    struct node n = *b_node(b, x);
    value_id operands[3];
    memcpy(operands, n.operands, n.operand_count * sizeof operands[0]);
    operands[1] = index;
    return graph_add(b->graph, (enum prim)n.prim, operands, n.operand_count, n.attrs, b->err);
}

value_id move_index_next(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (!indexes(&n) || !mutation_here(m, "%s %%%u", prim_info((enum prim)n.prim)->name, x))
        return x;
    return with_index(b, x, b_add(b, n.operands[1], b_const_like(b, n.operands[1], 1)));
}

/* Clamped to the last but one. */
value_id move_index_clamped(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (!indexes(&n))
        return x;
    dim_id dim = b_node(b, n.operands[0])->shape[n.attrs->axis];
    value_id index = n.operands[1];
    if (b_node(b, index)->dtype != DTYPE_I64 ||
        !mutation_here(m, "%s %%%u", prim_info((enum prim)n.prim)->name, x))
        return x;
    value_id last = b_shift(b, b_size(b, dim), -2);
    return with_index(b, x, b_binary(b, PRIM_MIN, index, last));
}

value_id move_scatter_mode(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_SCATTER || !mutation_here(m, "scatter %%%u", x))
        return x;
    struct attrs attrs = *n.attrs;
    attrs.mode = attrs.mode == SCATTER_SET ? SCATTER_ADD : SCATTER_SET;
    return with_attrs(b, x, &attrs);
}

/* The first of several updates of one element wins instead of the last. */
value_id move_scatter_order(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    int64_t axis = n.attrs->axis;
    if (n.prim != PRIM_SCATTER || !mutation_here(m, "scatter %%%u", x))
        return x;
    value_id operands[3] = {n.operands[0], b_reverse(b, n.operands[1], axis),
                            b_reverse(b, n.operands[2], axis)};
    return graph_add(b->graph, PRIM_SCATTER, operands, 3, n.attrs, b->err);
}

/* n - 1 - f(reversed x) is f with the last of equals first. */
static value_id last_of_equals(struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    int64_t axis = n.attrs->axis;
    value_id reversed = b_reverse(b, n.operands[0], axis);
    value_id index = graph_add(b->graph, (enum prim)n.prim, &reversed, 1, n.attrs, b->err);
    value_id last = b_shift(b, b_size(b, b_dim(b, n.operands[0], axis)), -1);
    return b_sub(b, last, index);
}

value_id move_argmax_last(struct mutation *m, struct builder *b, value_id x)
{
    enum prim prim = (enum prim)b_node(b, x)->prim;
    bool arg = prim == PRIM_ARGMAX || prim == PRIM_ARGMIN;
    return arg && mutation_here(m, "%s %%%u", prim_info(prim)->name, x) ? last_of_equals(b, x) : x;
}

value_id move_sort_unstable(struct mutation *m, struct builder *b, value_id x)
{
    bool sort = b_node(b, x)->prim == PRIM_ARGSORT;
    return sort && mutation_here(m, "argsort %%%u", x) ? last_of_equals(b, x) : x;
}

value_id move_sort_direction(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    bool scan = n.prim >= PRIM_CUM_SUM && n.prim <= PRIM_CUM_MAX;
    if (!(n.prim == PRIM_ARGSORT || scan) || !mutation_here(m, "%%%u", x))
        return x;
    struct attrs attrs = *n.attrs;
    attrs.reverse = !attrs.reverse;
    return with_attrs(b, x, &attrs);
}

value_id move_scan_exclusive(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim < PRIM_CUM_SUM || n.prim > PRIM_CUM_MAX || !mutation_here(m, "%%%u", x))
        return x;
    struct attrs attrs = *n.attrs;
    attrs.exclusive = !attrs.exclusive;
    return with_attrs(b, x, &attrs);
}

/* Another parameter of the same shape, wherever it is read; two that change places. */
value_id move_other_param(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim < PRIM_NEG)
        return x;
    for (uint32_t k = 0; k < n.operand_count && n.operand_count <= 3; k++) {
        struct node p = *b_node(b, n.operands[k]);
        for (uint32_t i = 0; p.prim == PRIM_PARAM && i < b->graph->params.count; i++) {
            value_id other = b->graph->params.items[i], operands[3];
            if (other == n.operands[k] || !same_shape(b_node(b, other), &p) ||
                !mutation_here(m, "%.40s for %.40s", b_node(b, other)->attrs->name, p.attrs->name))
                continue;
            memcpy(operands, n.operands, n.operand_count * sizeof operands[0]);
            operands[k] = other;
            return graph_add(b->graph, (enum prim)n.prim, operands, n.operand_count, n.attrs,
                             b->err);
        }
    }
    return x;
}

/* iota that counts from one. */
value_id move_iota_from_one(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_IOTA || !mutation_here(m, "iota %%%u", x))
        return x;
    return b_shift(b, x, 1);
}

/* One input for another of the same shape. */
value_id move_other_value(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_ADD && n.prim != PRIM_MUL)
        return x;
    for (value_id other = x; other-- > 1;)
        if (other != n.operands[1] && other != n.operands[0] && b_node(b, other)->prim > PRIM_NEG &&
            same_shape(b_node(b, other), b_node(b, n.operands[1])) &&
            !(b_node(b, other)->prim == PRIM_BROADCAST)) {
            if (!mutation_here(m, "%%%u for %%%u", other, n.operands[1]))
                return x;
            return b_binary(b, (enum prim)n.prim, n.operands[0], other);
        }
    return x;
}
