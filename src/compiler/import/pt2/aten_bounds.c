/* Indices whose values the program states: they must be inside the dim that they index.
 *
 * Our prims clamp indices, and PyTorch raises an error. So where the least and the greatest index
 * follow from the graph, as those of positions that arange counts, they bound the dims that they
 * depend on; and numbers outside a constant dim are refused. Values that come from inputs are left
 * to the caller, and so is whatever is computed by other prims than those of `rules`.
 *
 * The ends of a span are attained, so that no size that is legal is refused: the ends of a sum are
 * the sums of the ends only where its operands vary along different axes. */
#include <string.h>

#include "base/checked.h"
#include "base/strbuf.h"
#include "compiler/import/pt2/pt2_priv.h"

#define MOST_VISITS 64 /* values between a leaf and its use as indices, some of them repeatedly */
#define ALL_AXES UINT32_MAX

/* Elements of a tensor of whole numbers. */
struct span {
    dim_id least, most; /* both are attained */
    uint32_t axes;      /* one bit for each axis along which elements may differ */
    bool is_line;       /* element i along `axis` is base + i*step; they do not vary otherwise */
    uint32_t axis;
    dim_id base;
    int64_t step;
};

struct walk {
    struct pt2 *p;
    uint32_t visits;
};

static bool span_of(struct walk *w, value_id value, struct span *out);

static struct dim_table *dims_of(const struct walk *w)
{
    return &w->p->graph->dims;
}

static struct span uniform(dim_id value)
{
    return (struct span){.least = value, .most = value};
}

/* The line base, base + step … of `count` elements along an axis; a single element is uniform. */
static struct span line(struct dim_table *dims, dim_id base, int64_t step, dim_id count,
                        uint32_t axis)
{
    if (count == dim_const(dims, 1))
        return uniform(base);
    dim_id steps = dim_sub(dims, count, dim_const(dims, 1));
    dim_id last = dim_add(dims, base, dim_mul(dims, steps, dim_const(dims, step)));
    return (struct span){.least = step < 0 ? last : base,
                         .most = step < 0 ? base : last,
                         .axes = 1u << axis,
                         .is_line = true,
                         .axis = axis,
                         .base = base,
                         .step = step};
}

static bool is_complete(const struct span *span)
{
    return span->least != DIM_NONE && span->most != DIM_NONE;
}

/* Element i of an integer tensor. False: not the value of a dim. */
static bool element(enum dtype dtype, const void *data, int64_t i, int64_t *out)
{
    size_t bytes = dtype_bytes(dtype);
    uint64_t bits = 0;
    memcpy(&bits, (const uint8_t *)data + (size_t)i * bytes, bytes);
    *out = bytes == 8 ? (int64_t)bits : dtype_wrap(dtype, (int64_t)bits);
    return *out >= -LIMIT_DIM_VALUE && *out <= LIMIT_DIM_VALUE;
}

/* Whether all elements are first + step*(index along the axis), where `inner` elements lie behind
 * one index of the axis. */
static bool lies_on_line(enum dtype dtype, const void *data, int64_t count, int64_t size,
                         int64_t inner)
{
    int64_t first = 0, second = 0, value = 0, last = 0;
    if (!element(dtype, data, 0, &first) || size < 2 || !element(dtype, data, inner, &second) ||
        !checked_mul_i64(second - first, size, &last))
        return false;
    for (int64_t i = 0; i < count; i++)
        if (!element(dtype, data, i, &value) ||
            value - first != (second - first) * (i / inner % size))
            return false;
    return true;
}

static bool span_of_data(struct walk *w, const struct node *node, const void *data,
                         struct span *out)
{
    struct dim_table *dims = dims_of(w);
    enum dtype dtype = (enum dtype)node->dtype;
    int64_t sizes[LIMIT_RANK], count = 1, least = 0, most = 0, value = 0, first = 0, second = 0;
    for (uint32_t i = 0; i < node->rank; i++) {
        if (!dim_is_const(dims, node->shape[i], &sizes[i]))
            return false;
        count *= sizes[i]; /* of data that was read: within LIMIT_TENSOR_BYTES */
    }
    if (!data || !dtype_is_int(dtype) || count == 0)
        return false;
    for (int64_t i = 0; i < count; i++) {
        if (!element(dtype, data, i, &value))
            return false;
        least = i == 0 || value < least ? value : least;
        most = i == 0 || value > most ? value : most;
    }
    *out = (struct span){.least = dim_const(dims, least),
                         .most = dim_const(dims, most),
                         .axes = least == most ? 0 : ALL_AXES};
    int64_t inner = count;
    for (uint32_t i = 0; i < node->rank && least != most; i++) {
        inner /= sizes[i];
        if (!lies_on_line(dtype, data, count, sizes[i], inner))
            continue;
        element(dtype, data, 0, &first);
        element(dtype, data, inner, &second);
        *out = line(dims, dim_const(dims, first), second - first, node->shape[i], i);
        break;
    }
    return is_complete(out);
}

static bool span_of_const(struct walk *w, const struct node *node, struct span *out)
{
    bool is_float = dtype_is_float((enum dtype)node->dtype);
    double real = node->attrs->value;
    if (is_float && !(real >= -(double)LIMIT_DIM_VALUE && real <= (double)LIMIT_DIM_VALUE))
        return false;
    int64_t whole = is_float ? (int64_t)real : node->attrs->integer;
    if ((is_float && (double)whole != real) || whole < -LIMIT_DIM_VALUE || whole > LIMIT_DIM_VALUE)
        return false;
    *out = uniform(dim_const(dims_of(w), whole));
    return true;
}

static bool span_of_literal(struct walk *w, const struct node *node, struct span *out)
{
    return span_of_data(w, node, node->attrs->data, out);
}

static bool span_of_param(struct walk *w, const struct node *node, struct span *out)
{
    struct pt2 *p = w->p;
    for (uint32_t i = 0; i < p->graph->params.count && i < p->param_data.count; i++)
        if (graph_node(p->graph, p->graph->params.items[i])->attrs == node->attrs)
            return span_of_data(w, node, p->param_data.items[i]->data, out);
    return false;
}

static bool span_of_size(struct walk *w, const struct node *node, struct span *out)
{
    (void)w;
    *out = uniform(node->attrs->shape[0]);
    return true;
}

static bool span_of_iota(struct walk *w, const struct node *node, struct span *out)
{
    struct dim_table *dims = dims_of(w);
    uint32_t axis = (uint32_t)node->attrs->axis;
    *out = line(dims, dim_const(dims, 0), 1, node->shape[axis], axis);
    return is_complete(out);
}

/* span * factor */
static bool scale(struct walk *w, const struct span *span, int64_t factor, struct span *out)
{
    struct dim_table *dims = dims_of(w);
    dim_id by = dim_const(dims, factor);
    *out = *span;
    out->least = dim_mul(dims, factor < 0 ? span->most : span->least, by);
    out->most = dim_mul(dims, factor < 0 ? span->least : span->most, by);
    out->is_line = span->is_line && checked_mul_i64(span->step, factor, &out->step);
    out->base = out->is_line ? dim_mul(dims, span->base, by) : DIM_NONE;
    return is_complete(out);
}

static bool span_of_neg(struct walk *w, const struct node *node, struct span *out)
{
    struct span x;
    return span_of(w, node->operands[0], &x) && scale(w, &x, -1, out);
}

/* The spans of both operands, if these vary along different axes. */
static bool apart(struct walk *w, const struct node *node, struct span in[2])
{
    return span_of(w, node->operands[0], &in[0]) && span_of(w, node->operands[1], &in[1]) &&
           (in[0].axes & in[1].axes) == 0;
}

static bool add(struct walk *w, const struct span in[2], struct span *out)
{
    struct dim_table *dims = dims_of(w);
    uint32_t varied = in[0].axes == 0 ? 1 : 0;
    *out = in[varied];
    out->axes |= in[1 - varied].axes;
    out->least = dim_add(dims, in[0].least, in[1].least);
    out->most = dim_add(dims, in[0].most, in[1].most);
    out->is_line = out->is_line && in[1 - varied].axes == 0;
    out->base = out->is_line ? dim_add(dims, out->base, in[1 - varied].least) : DIM_NONE;
    return is_complete(out);
}

static bool span_of_add(struct walk *w, const struct node *node, struct span *out)
{
    struct span in[2];
    return apart(w, node, in) && add(w, in, out);
}

static bool span_of_sub(struct walk *w, const struct node *node, struct span *out)
{
    struct span in[2], other;
    if (!apart(w, node, in) || !scale(w, &in[1], -1, &other))
        return false;
    in[1] = other;
    return add(w, in, out);
}

static bool span_of_mul(struct walk *w, const struct node *node, struct span *out)
{
    struct span in[2];
    int64_t factor = 0;
    if (!apart(w, node, in))
        return false;
    for (uint32_t i = 0; i < 2; i++)
        if (in[i].axes == 0 && dim_is_const(dims_of(w), in[i].least, &factor))
            return scale(w, &in[1 - i], factor, out);
    return false;
}

static bool span_of_extreme(struct walk *w, const struct node *node, struct span *out)
{
    struct dim_table *dims = dims_of(w);
    dim_id (*choose)(struct dim_table *, dim_id, dim_id) =
        node->prim == PRIM_MIN ? dim_min : dim_max;
    struct span in[2];
    if (!apart(w, node, in))
        return false;
    *out = (struct span){.least = choose(dims, in[0].least, in[1].least),
                         .most = choose(dims, in[0].most, in[1].most),
                         .axes = in[0].axes | in[1].axes};
    return is_complete(out);
}

static bool span_of_cast(struct walk *w, const struct node *node, struct span *out)
{
    static const enum dtype kept[] = {DTYPE_I32, DTYPE_I64, DTYPE_F32, DTYPE_F64};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (node->dtype == kept[i])
            return span_of(w, node->operands[0], out);
    return false; /* narrow types wrap or round */
}

/* Renames the axes: to[i] is the operand's axis i in the result. */
static void move_axes(struct span *span, const uint8_t *to, uint32_t rank)
{
    uint32_t axes = 0;
    for (uint32_t i = 0; i < rank; i++)
        axes |= (span->axes >> i & 1) << to[i];
    span->axes = span->axes == ALL_AXES ? ALL_AXES : axes;
    if (span->is_line)
        span->axis = to[span->axis];
}

/* Where the result has the same dims besides those of 1, each stays an axis of its own. */
static bool span_of_reshape(struct walk *w, const struct node *node, struct span *out)
{
    const struct node from = *graph_node(w->p->graph, node->operands[0]);
    dim_id one = dim_const(dims_of(w), 1);
    uint8_t to[LIMIT_RANK] = {0}, k = 0;
    bool same = true;
    if (!span_of(w, node->operands[0], out))
        return false;
    for (uint32_t i = 0; i < from.rank && same; i++) {
        if (from.shape[i] == one)
            continue;
        while (k < node->rank && node->shape[k] == one)
            k++;
        same = k < node->rank && node->shape[k] == from.shape[i];
        to[i] = k++;
    }
    if (same) {
        move_axes(out, to, from.rank);
    } else {
        out->axes = out->axes == 0 ? 0 : ALL_AXES;
        out->is_line = false;
    }
    return true;
}

static bool span_of_broadcast(struct walk *w, const struct node *node, struct span *out)
{
    if (!span_of(w, node->operands[0], out))
        return false;
    move_axes(out, node->attrs->axes, graph_node(w->p->graph, node->operands[0])->rank);
    return true;
}

static bool span_of_transpose(struct walk *w, const struct node *node, struct span *out)
{
    uint8_t to[LIMIT_RANK] = {0};
    for (uint8_t i = 0; i < node->rank; i++)
        to[node->attrs->axes[i]] = i;
    if (!span_of(w, node->operands[0], out))
        return false;
    move_axes(out, to, node->rank);
    return true;
}

static bool span_of_reverse(struct walk *w, const struct node *node, struct span *out)
{
    bool known = span_of(w, node->operands[0], out);
    out->is_line = false;
    return known;
}

static bool span_of_slice(struct walk *w, const struct node *node, struct span *out)
{
    struct dim_table *dims = dims_of(w);
    const struct attrs *attrs = node->attrs;
    int64_t step = 0;
    if (!span_of(w, node->operands[0], out))
        return false;
    if (out->axes == 0)
        return true;
    if (!out->is_line || !checked_mul_i64(out->step, attrs->step[out->axis], &step))
        return false;
    dim_id skipped = dim_mul(dims, attrs->start[out->axis], dim_const(dims, out->step));
    *out = line(dims, dim_add(dims, out->base, skipped), step, node->shape[out->axis], out->axis);
    return is_complete(out);
}

static bool span_of_concat(struct walk *w, const struct node *node, struct span *out)
{
    struct dim_table *dims = dims_of(w);
    struct span part;
    if (!span_of(w, node->operands[0], out))
        return false;
    for (uint32_t i = 1; i < node->operand_count; i++) {
        if (!span_of(w, node->operands[i], &part))
            return false;
        out->least = dim_min(dims, out->least, part.least);
        out->most = dim_max(dims, out->most, part.most);
    }
    out->axes = ALL_AXES;
    out->is_line = false;
    return is_complete(out);
}

typedef bool span_rule(struct walk *w, const struct node *node, struct span *out);

static span_rule *const rules[PRIM_COUNT] = {
    [PRIM_CONST] = span_of_const,
    [PRIM_LITERAL] = span_of_literal,
    [PRIM_PARAM] = span_of_param,
    [PRIM_SIZE] = span_of_size,
    [PRIM_IOTA] = span_of_iota,
    [PRIM_NEG] = span_of_neg,
    [PRIM_ADD] = span_of_add,
    [PRIM_SUB] = span_of_sub,
    [PRIM_MUL] = span_of_mul,
    [PRIM_MIN] = span_of_extreme,
    [PRIM_MAX] = span_of_extreme,
    [PRIM_CAST] = span_of_cast,
    [PRIM_RESHAPE] = span_of_reshape,
    [PRIM_BROADCAST] = span_of_broadcast,
    [PRIM_TRANSPOSE] = span_of_transpose,
    [PRIM_REVERSE] = span_of_reverse,
    [PRIM_SLICE] = span_of_slice,
    [PRIM_CONCAT] = span_of_concat,
};

/* False: not known. */
static bool span_of(struct walk *w, value_id value, struct span *out)
{
    *out = (struct span){.axes = ALL_AXES};
    if (value == VALUE_NONE || w->visits == 0)
        return false;
    w->visits--;
    const struct node node = *graph_node(w->p->graph, value);
    return rules[node.prim] && rules[node.prim](w, &node, out);
}

/* Whether `room` is never negative; otherwise fails, and names the index. */
static bool has_room(struct aten_call *c, dim_id room, dim_id index, dim_id size)
{
    struct dim_table *dims = &c->p->graph->dims;
    struct strbuf text;
    if (room == DIM_NONE || dim_never_negative(dims, room))
        return true;
    dim_needs_not_negative(dims, room);
    strbuf_init(&text, c->p->arena);
    strbuf_puts(&text, "index ");
    dim_print_shown(dims, index, &text);
    strbuf_puts(&text, " of a dim of size ");
    dim_print_shown(dims, size, &text);
    return b_fail(c->b, ERR_SHAPE, "%s", text.data);
}

bool aten_check_index(struct aten_call *c, value_id index, dim_id size, bool wraps,
                      bool *out_negative)
{
    struct dim_table *dims = &c->p->graph->dims;
    struct walk walk = {.p = c->p, .visits = MOST_VISITS};
    struct span span;
    int64_t least = -1, most;
    if (aten_failed(c) || index == VALUE_NONE)
        return false;
    bool known = span_of(&walk, index, &span);
    if (known)
        dim_range(dims, span.least, &least, &most);
    if (out_negative)
        *out_negative = least < 0;
    if (!known)
        return true;
    dim_id above = dim_sub(dims, dim_sub(dims, size, span.most), dim_const(dims, 1));
    dim_id below = wraps ? dim_add(dims, size, span.least) : span.least;
    return has_room(c, above, span.most, size) && has_room(c, below, span.least, size);
}
