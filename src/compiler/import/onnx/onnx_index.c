/* Gathers and scatters. In ONNX, negative indices count from the end; our ops have none, so the
 * size is added to them. */
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"

/* Fails if an index, negative or not, can be outside a dim of this size; may restrict dims. */
static bool lies_inside(struct onnx_call *c, dim_id index, dim_id size)
{
    struct dim_table *dims = &c->o->graph->dims;
    int64_t least, most;
    onnx_dim_range(dims, index, &least, &most);
    dim_id room = most < 0 ? dim_add(dims, size, index)
                           : dim_sub(dims, dim_sub(dims, size, index), dim_const(dims, 1));
    if (room == DIM_NONE || (least < 0 && most >= 0) || dim_never_negative(dims, room))
        return true;
    dim_needs_not_negative(dims, room);
    return b_fail(c->b, ERR_SHAPE, "an index reaches beyond the dim that it is for");
}

#define MOST_STEPS 16 /* nodes between a range and its use as indices */

/* The operand of a prim that only casts, reshapes or broadcasts; VALUE_NONE: another prim. */
static value_id moved_from(const struct node *node)
{
    bool moved =
        node->prim == PRIM_CAST || node->prim == PRIM_RESHAPE || node->prim == PRIM_BROADCAST;
    return moved ? node->operands[0] : VALUE_NONE;
}

static bool known_number(struct onnx_call *c, value_id value, int64_t *out)
{
    for (value_id at = value; at != VALUE_NONE; at = moved_from(graph_node(c->o->graph, at)))
        value = at;
    const struct known *known = onnx_known(c->o, value);
    return known->is_known && known->dims && known->count == 1 &&
           onnx_is_const(&c->o->graph->dims, known->dims[0], out);
}

/* The greatest of indices of the form iota*factor + offset, as positions are; DIM_NONE: another
 * form. */
static dim_id greatest_position(struct onnx_call *c, value_id index)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id factor = dim_const(dims, 1), offset = dim_const(dims, 0);
    for (uint32_t step = 0; step < MOST_STEPS; step++) {
        const struct node *node = graph_node(c->o->graph, index);
        int64_t number = 0;
        value_id next = moved_from(node);
        if (node->prim == PRIM_IOTA) {
            dim_id last = dim_sub(dims, node->shape[node->attrs->axis], dim_const(dims, 1));
            return dim_add(dims, dim_mul(dims, last, factor), offset);
        }
        for (uint32_t i = 0; (node->prim == PRIM_ADD || node->prim == PRIM_MUL) && i < 2; i++)
            if (next == VALUE_NONE && known_number(c, node->operands[i], &number) && number >= 0)
                next = node->operands[1 - i];
        if (node->prim == PRIM_ADD)
            offset = dim_add(dims, offset, dim_mul(dims, factor, dim_const(dims, number)));
        else if (node->prim == PRIM_MUL)
            factor = dim_mul(dims, factor, dim_const(dims, number));
        if (next == VALUE_NONE)
            return DIM_NONE;
        index = next;
    }
    return DIM_NONE;
}

/* Converts indices into a dim of x to indices ≥ 0: negative ones count from the end of what
 * counts. */
static value_id from_start(struct onnx_call *c, value_id index, value_id x, int64_t axis)
{
    struct builder *b = c->b;
    dim_id size = b_dim(b, x, axis);
    const struct known *known = onnx_known(c->o, index);
    dim_id greatest = greatest_position(c, index);
    if (greatest != DIM_NONE && !lies_inside(c, greatest, size))
        return VALUE_NONE;
    for (uint32_t i = 0; i < known->count && known->is_known && known->dims; i++)
        if (!lies_inside(c, known->dims[i], size))
            return VALUE_NONE;
    bool negative = !known->is_known || !known->dims;
    for (uint32_t i = 0; i < known->count && !negative; i++) {
        int64_t least, most;
        onnx_dim_range(&c->o->graph->dims, known->dims[i], &least, &most);
        negative = least < 0;
    }
    index = b_cast(b, index, DTYPE_I64);
    if (!negative)
        return index;
    value_id below = b_binary(b, PRIM_LT, index, b_const(b, DTYPE_I64, 0));
    return b_select(b, below, b_add(b, index, onnx_extent(c, x, (int)axis)), index);
}

value_id onnx_take_rows(struct onnx_call *c, int axis)
{
    value_id index = from_start(c, c->in[1], c->in[0], axis);
    return b_take(c->b, c->in[0], index, axis);
}

bool onnx_gather(struct onnx_call *c)
{
    int axis = b_axis(c->b, c->in[0], onnx_int(c, "axis", 0));
    return axis >= 0 && onnx_return(c, onnx_take_rows(c, axis));
}

bool onnx_gather_elements(struct onnx_call *c)
{
    int axis = b_axis(c->b, c->in[0], onnx_int(c, "axis", 0));
    if (axis < 0)
        return false;
    value_id index = from_start(c, c->in[1], c->in[0], axis);
    return onnx_return(c, b_gather(c->b, c->in[0], index, axis));
}

/* Converts tuples of indices to positions in the merged dims first … first+tuple of the operand.
 * batch: number of leading dims that indices and operand have in common. */
static value_id positions(struct onnx_call *c, uint32_t batch, int64_t *out_tuple)
{
    struct builder *b = c->b;
    value_id data = c->in[0], index = c->in[1], sum = VALUE_NONE;
    uint32_t rank = onnx_rank(c, index);
    int64_t tuple = 0;
    if (rank == 0 || !onnx_is_const(&c->o->graph->dims, b_dim(b, index, -1), &tuple))
        return onnx_refuse(c, "tuples of indices whose size is not known");
    if (tuple < 1 || tuple + batch > onnx_rank(c, data) || batch >= rank)
        return b_fail(b, ERR_SHAPE, "tuples of %lld indices behind %u batch dims", (long long)tuple,
                      batch);
    *out_tuple = tuple;
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i + 1 < rank; i++)
        shape[i] = b_dim(b, index, i);
    for (uint32_t i = 0; i < batch + tuple; i++) {
        value_id part;
        dim_id size = b_dim(b, data, i);
        if (i < batch) {
            part = b_iota(b, DTYPE_I64, shape, rank - 1, i);
        } else {
            part = b_slice(b, index, -1, b_dim_const(b, i - batch), b_dim_const(b, 1), 1);
            part = from_start(c, b_reshape(b, part, shape, rank - 1), data, i);
        }
        sum = i == 0 ? part : b_add(b, b_mul(b, sum, b_size(b, size)), part);
    }
    return sum;
}

/* Merges the first dims of the operand. */
static value_id merge(struct onnx_call *c, value_id x, uint32_t first)
{
    return first > 1 ? b_flatten(c->b, x, 0, first - 1) : x;
}

bool onnx_gather_nd(struct onnx_call *c)
{
    int64_t batch = onnx_int(c, "batch_dims", 0), tuple = 0;
    if (batch < 0 || batch >= LIMIT_RANK)
        return b_fail(c->b, ERR_SHAPE, "batch_dims %lld", (long long)batch);
    value_id index = positions(c, (uint32_t)batch, &tuple);
    if (index == VALUE_NONE)
        return false;
    value_id data = merge(c, c->in[0], (uint32_t)(batch + tuple));
    return onnx_return(c, b_take(c->b, data, index, 0));
}

#define MODE_MUL 255 /* the prim has no such mode: updates are applied one after the other */
#define MAX_FACTORS 64

static bool read_mode(struct onnx_call *c, uint8_t *out)
{
    static const struct {
        const char *name;
        uint8_t mode;
    } modes[] = {{"none", SCATTER_SET},
                 {"mul", MODE_MUL},
                 {"add", SCATTER_ADD},
                 {"max", SCATTER_MAX},
                 {"min", SCATTER_MIN}};
    const char *reduction = onnx_text(c, "reduction", "none");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, reduction) == 0) {
            *out = modes[i].mode;
            return true;
        }
    return onnx_refuse(c, "reduction '%.40s'", reduction);
}

/* reduction 'mul', one update along the axis at a time: within one, no two updates have the same
 * target, so the old elements can be gathered, multiplied and scattered. */
static value_id multiply(struct onnx_call *c, value_id data, value_id index, value_id updates,
                         int axis)
{
    struct builder *b = c->b;
    int64_t count = 0;
    dim_id one = b_dim_const(b, 1);
    if (!onnx_is_const(&b->graph->dims, b_dim(b, index, axis), &count) || count > MAX_FACTORS)
        return onnx_refuse(c, "reduction 'mul' of more than %d updates", MAX_FACTORS);
    for (int64_t i = 0; i < count && data != VALUE_NONE; i++) {
        dim_id at = b_dim_const(b, i);
        value_id place = b_slice(b, index, axis, at, one, 1);
        value_id product =
            b_mul(b, b_gather(b, data, place, axis), b_slice(b, updates, axis, at, one, 1));
        value_id operands[3] = {data, place, product};
        data = graph_add(b->graph, PRIM_SCATTER, operands, 3,
                         &(struct attrs){.axis = axis, .mode = SCATTER_SET}, b->err);
    }
    return data;
}

/* Scatters; sums and products of narrow floats are computed in f32 and rounded once. */
static value_id scatter(struct onnx_call *c, value_id data, value_id index, value_id updates,
                        int axis, uint8_t mode)
{
    struct attrs attrs = {.axis = axis, .mode = mode};
    value_id operands[3] = {data, index, updates};
    if (data == VALUE_NONE || index == VALUE_NONE || updates == VALUE_NONE)
        return VALUE_NONE;
    enum dtype type = onnx_type(c, data);
    bool wide = (mode == MODE_MUL || mode == SCATTER_ADD) && dtype_is_float(type);
    for (uint32_t i = 0; i < 3 && wide && dtype_bytes(type) < 4; i += 2)
        operands[i] = b_cast(c->b, operands[i], DTYPE_F32);
    value_id y = mode == MODE_MUL
                     ? multiply(c, operands[0], index, operands[2], axis)
                     : graph_add(c->o->graph, PRIM_SCATTER, operands, 3, &attrs, c->b->err);
    return wide ? b_cast(c->b, y, type) : y;
}

/* Updates behind the counts of their indices go nowhere: their index is beyond all dims. along: the
 * axis of indices of elements, whose other axes are those of the result and may have its counts;
 * -1: indices of rows. */
static bool drop_filler(struct onnx_call *c, value_id *index, int along)
{
    value_id updates = c->in[2];
    for (uint32_t d = 0; d < onnx_rank(c, *index); d++) {
        value_id count = onnx_count(c->o, *index, (int)d);
        bool other = along >= 0 && d != (uint32_t)along;
        bool kept = other && onnx_count(c->o, c->in[0], (int)d) == count;
        if (count == VALUE_NONE || kept)
            continue;
        if (d < onnx_rank(c, updates) && onnx_count(c->o, updates, (int)d) != count)
            return onnx_refuse(c, "indices and updates along dim %u are not as many", d);
        *index = onnx_fill(c, *index, (int)d, FILL_GREATEST);
        updates = onnx_fill(c, updates, (int)d, FILL_ZERO);
    }
    c->in[2] = updates;
    return !onnx_failed(c);
}

bool onnx_scatter_elements(struct onnx_call *c)
{
    uint8_t mode = 0;
    int axis = b_axis(c->b, c->in[0], onnx_int(c, "axis", 0));
    if (axis < 0 || !read_mode(c, &mode))
        return false;
    value_id index = from_start(c, c->in[1], c->in[0], axis);
    if (!drop_filler(c, &index, axis))
        return false;
    return onnx_return(c, scatter(c, c->in[0], index, c->in[2], axis, mode));
}

bool onnx_scatter_nd(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct dim_table *dims = &c->o->graph->dims;
    uint8_t mode = 0;
    int64_t tuple = 0;
    value_id index = positions(c, 0, &tuple);
    if (index == VALUE_NONE || !read_mode(c, &mode) || !drop_filler(c, &index, -1))
        return false;
    const struct node *node = graph_node(b->graph, c->in[0]);
    dim_id shape[LIMIT_RANK];
    uint32_t rank = node->rank, split = (uint32_t)tuple;
    memcpy(shape, node->shape, rank * sizeof *shape);
    dim_id rows = dim_product(dims, shape, split);
    dim_id columns = dim_product(dims, shape + split, rank - split);
    dim_id writes = graph_elements(b->graph, index);
    value_id data = b_reshape(b, c->in[0], (dim_id[]){rows, columns}, 2);
    value_id updates = b_reshape(b, c->in[2], (dim_id[]){writes, columns}, 2);
    index = b_reshape(b, index, (dim_id[]){writes, b_dim_const(b, 1)}, 2);
    index = b_broadcast_to(b, index, (dim_id[]){writes, columns}, 2);
    return onnx_return(c, b_reshape(b, scatter(c, data, index, updates, 0, mode), shape, rank));
}

/* Writes updates from a position that each batch element may have for itself. */
bool onnx_tensor_scatter(struct onnx_call *c)
{
    struct builder *b = c->b;
    int axis = b_axis(b, c->in[0], onnx_int(c, "axis", -2));
    const struct node *update = graph_node(b->graph, c->in[1]);
    dim_id shape[LIMIT_RANK];
    if (axis < 1 || update->rank != onnx_rank(c, c->in[0]))
        return onnx_failed(c) ? false : b_fail(b, ERR_SHAPE, "axis %d", axis);
    value_id index = b_iota(b, DTYPE_I64, update->shape, update->rank, axis);
    if (onnx_given(c, 2)) {
        for (uint32_t i = 0; i < update->rank; i++)
            shape[i] = i == 0 ? b_dim(b, c->in[2], 0) : b_dim_const(b, 1);
        value_id start = b_reshape(b, b_cast(b, c->in[2], DTYPE_I64), shape, update->rank);
        index = b_add(b, index, start);
    }
    if (strcmp(onnx_text(c, "mode", "linear"), "circular") == 0)
        index = b_binary(b, PRIM_REM, index, b_size(b, b_dim(b, c->in[0], axis)));
    return onnx_return(c, scatter(c, c->in[0], index, c->in[1], axis, SCATTER_SET));
}

/* Reverses each sequence up to its length. */
bool onnx_reverse_sequence(struct onnx_call *c)
{
    struct builder *b = c->b;
    int time = b_axis(b, c->in[0], onnx_int(c, "time_axis", 0));
    int batch = b_axis(b, c->in[0], onnx_int(c, "batch_axis", 1));
    dim_id shape[LIMIT_RANK];
    if (time < 0 || batch < 0)
        return false;
    if (time == batch || onnx_rank(c, c->in[1]) != 1)
        return b_fail(b, ERR_SHAPE, "time_axis and batch_axis are both %d", time);
    const struct node *node = graph_node(b->graph, c->in[0]);
    for (uint32_t i = 0; i < node->rank; i++)
        shape[i] = b_dim_const(b, 1);
    shape[batch] = b_dim(b, c->in[1], 0);
    value_id length = b_reshape(b, b_cast(b, c->in[1], DTYPE_I64), shape, node->rank);
    value_id t = b_iota(b, DTYPE_I64, node->shape, node->rank, time);
    value_id back = b_sub(b, b_shift(b, length, -1), t);
    value_id index = b_select(b, b_binary(b, PRIM_LT, t, length), back, t);
    return onnx_return(c, b_gather(b, c->in[0], index, time));
}
