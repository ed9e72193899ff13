/* Slices and padding. Bounds are dims: constants, or expressions over named dims. */
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_told_priv.h"

#define PAST_ANY_DIM (INT64_C(1) << 40) /* as a bound: "to the end" */

struct bounds {
    uint32_t count;
    dim_id starts[LIMIT_RANK], ends[LIMIT_RANK];
    int64_t axes[LIMIT_RANK], steps[LIMIT_RANK];
    bool told[2]; /* whether an input tells starts, ends: positions within the dim, for a negative
                     step also -1 */
};

static bool attribute_list(struct onnx_call *c, const char *name, dim_id *out, uint32_t *count)
{
    const int64_t *ints = onnx_ints(c, name, count);
    if (!ints || *count > LIMIT_RANK)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' is missing or too long", name);
    for (uint32_t i = 0; i < *count; i++)
        out[i] = b_dim_const(c->b, ints[i]);
    return true;
}

/* Reads starts (operand 1) or ends (operand 2). If an input tells them, its elements are positions
 * in their axes. */
static bool read_places(struct onnx_call *c, uint32_t index, struct bounds *bounds, uint32_t *count)
{
    dim_id *out = index == 1 ? bounds->starts : bounds->ends;
    uint32_t input;
    bounds->told[index - 1] = onnx_may_tell(c, index, &input, count) && *count <= LIMIT_RANK;
    if (!bounds->told[index - 1])
        return onnx_dims(c, index, out, LIMIT_RANK, count);
    for (uint32_t i = 0; i < *count; i++) {
        bool back = index == 2 && bounds->steps[i] < 0;
        struct graph_element element = {.input = input, .element = i};
        element.rule = back ? ELEMENT_BACK : ELEMENT_PLACE;
        element.of = b_dim(c->b, c->in[0], bounds->axes[i]);
        if (element.of == DIM_NONE || (out[i] = onnx_tell(c, element)) == DIM_NONE)
            return false;
        if (back)
            out[i] = b_dim_sub(c->b, out[i], b_dim_const(c->b, 1));
    }
    return true;
}

/* Reads axes and steps, if given; a step that an input tells must be 1. */
static bool read_walks(struct onnx_call *c, struct bounds *out, uint32_t *axes, uint32_t *steps)
{
    int64_t length = 0;
    uint32_t input;
    bool given = false;
    for (uint32_t i = 0; i < LIMIT_RANK; i++) {
        out->axes[i] = i;
        out->steps[i] = 1;
    }
    if (c->opset >= 10 && onnx_rank(c, c->in[1]) == 1)
        onnx_is_const(&c->o->graph->dims, b_dim(c->b, c->in[1], 0), &length);
    *axes = (uint32_t)(length <= LIMIT_RANK ? length : 0);
    if (onnx_has(c, "axes") || !onnx_told_axes(c, 3, *axes, out->axes)) {
        if (onnx_failed(c) || !onnx_list(c, "axes", 3, out->axes, axes, &given))
            return false;
        *axes = given ? *axes : LIMIT_RANK;
    }
    if (onnx_may_tell(c, 4, &input, steps)) {
        for (uint32_t i = 0; i < *steps; i++)
            if (!onnx_require_const(c, input, i, ELEMENT_SIZE, 1))
                return false;
        return true;
    }
    if (!onnx_list(c, NULL, 4, out->steps, steps, &given))
        return false;
    *steps = given ? *steps : LIMIT_RANK;
    return true;
}

static bool read_bounds(struct onnx_call *c, struct bounds *out)
{
    uint32_t ends = 0, axes = 0, steps = 0;
    if (!read_walks(c, out, &axes, &steps))
        return false;
    for (uint32_t i = 0; i < LIMIT_RANK; i++)
        if (i >= axes)
            out->axes[i] = i;
    if (c->opset < 10) {
        if (!attribute_list(c, "starts", out->starts, &out->count) ||
            !attribute_list(c, "ends", out->ends, &ends))
            return false;
    } else if (!read_places(c, 1, out, &out->count) || !read_places(c, 2, out, &ends)) {
        return false;
    }
    return (ends == out->count && (axes == LIMIT_RANK || axes == out->count) &&
            (steps == LIMIT_RANK || steps == out->count)) ||
           b_fail(c->b, ERR_SHAPE, "starts, ends, axes and steps differ in length");
}

/* A bound of an axis of this size is clamped to low … high; negative ones count from the end. */
struct limits {
    dim_id size, low, high;
};

static dim_id place(struct onnx_call *c, dim_id bound, bool told, const struct limits *within)
{
    struct dim_table *dims = &c->o->graph->dims;
    int64_t least, most;
    onnx_dim_range(dims, bound, &least, &most);
    if (!told && least >= PAST_ANY_DIM)
        return within->high;
    if (!told && most <= -PAST_ANY_DIM)
        return dim_min(dims, within->low, within->high);
    if (!told && most < 0)
        bound = dim_add(dims, bound, within->size);
    else if (!told && least < 0 && !dim_never_negative(dims, bound)) {
        dim_needs_not_negative(dims, bound);
        return onnx_refuse(c, "it is not known whether a bound is negative"), DIM_NONE;
    }
    return dim_min(dims, dim_max(dims, bound, within->low), within->high);
}

/* Whether a slice is the same of what counts, wherever that ends: it begins and ends at places from
 * the front, or at the end. */
static bool is_from_front(struct onnx_call *c, const struct bounds *bounds, uint32_t i)
{
    int64_t start, end, most;
    onnx_dim_range(&c->o->graph->dims, bounds->starts[i], &start, &most);
    onnx_dim_range(&c->o->graph->dims, bounds->ends[i], &end, &most);
    return bounds->steps[i] > 0 && !bounds->told[0] && !bounds->told[1] && start >= 0 && end >= 0;
}

static value_id slice_axis(struct onnx_call *c, value_id x, const struct bounds *bounds, uint32_t i)
{
    struct builder *b = c->b;
    struct dim_table *dims = &c->o->graph->dims;
    int axis = b_axis(b, x, bounds->axes[i]);
    int64_t step = bounds->steps[i];
    if (axis < 0)
        return VALUE_NONE;
    if (step == 0 || step <= -PAST_ANY_DIM)
        return b_fail(b, ERR_SHAPE, "step %lld", (long long)step);
    if (onnx_count(c->o, x, axis) != VALUE_NONE && !is_from_front(c, bounds, i))
        return onnx_refuse(c, "places counted from the end of a dim whose size is known when it "
                              "runs only, or steps back");
    dim_id size = b_dim(b, x, axis), zero = b_dim_const(b, 0), one = b_dim_const(b, 1);
    dim_id start, end;
    if (step > 0) {
        const struct limits within = {size, zero, size};
        start = place(c, bounds->starts[i], bounds->told[0], &within);
        end = place(c, bounds->ends[i], bounds->told[1], &within);
    } else {
        /* Negative step: reverse the axis; element j of the reversed axis is size-1-j of this
         * one. */
        dim_id last = dim_sub(dims, size, one), before = dim_const(dims, -1);
        const struct limits from = {size, zero, last}, to = {size, before, last};
        start = dim_sub(dims, last, place(c, bounds->starts[i], bounds->told[0], &from));
        end = dim_sub(dims, last, place(c, bounds->ends[i], bounds->told[1], &to));
        x = b_reverse(b, x, axis);
        step = -step;
    }
    if (onnx_failed(c))
        return VALUE_NONE;
    step = step > PAST_ANY_DIM ? PAST_ANY_DIM : step;
    dim_id length = dim_max(dims, dim_sub(dims, end, start), zero);
    return b_slice(b, x, axis, start, dim_ceildiv(dims, length, dim_const(dims, step)), step);
}

bool onnx_slice(struct onnx_call *c)
{
    struct bounds bounds = {0};
    value_id x = c->in[0];
    if (!read_bounds(c, &bounds))
        return false;
    for (uint32_t i = 0; i < bounds.count && x != VALUE_NONE; i++)
        x = slice_axis(c, x, &bounds, i);
    return onnx_return(c, x);
}

/* Amounts of padding by dim of the operand; negative ones crop. */
struct pads {
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
};

static bool read_pads(struct onnx_call *c, struct pads *out)
{
    struct builder *b = c->b;
    uint32_t rank = onnx_rank(c, c->in[0]), count = 0, chosen = rank;
    int64_t axes[LIMIT_RANK];
    dim_id list[2 * LIMIT_RANK];
    bool given = false;
    const char *name = onnx_has(c, "paddings") ? "paddings" : "pads";
    const int64_t *ints = onnx_ints(c, name, &count);
    if (ints && count > 2 * LIMIT_RANK)
        return b_fail(b, ERR_SHAPE, "%u pads for rank %u", count, rank);
    for (uint32_t i = 0; ints && i < count; i++)
        list[i] = b_dim_const(b, ints[i]);
    if ((!ints && !onnx_dims(c, 1, list, 2 * LIMIT_RANK, &count)) ||
        !onnx_list(c, NULL, 3, axes, &chosen, &given))
        return false;
    chosen = given ? chosen : rank;
    if (count != 2 * chosen)
        return b_fail(b, ERR_SHAPE, "%u pads for %u dims", count, chosen);
    for (uint32_t i = 0; i < rank; i++)
        out->low[i] = out->high[i] = b_dim_const(b, 0);
    for (uint32_t i = 0; i < chosen; i++) {
        int axis = b_axis(b, c->in[0], given ? axes[i] : i);
        if (axis < 0)
            return false;
        out->low[axis] = list[i];
        out->high[axis] = list[chosen + i];
    }
    return true;
}

static value_id padded_from(struct onnx_call *c, const char *mode, value_id x, dim_id n);

/* Reshapes a list to broadcast along the axis. */
static value_id along(struct onnx_call *c, value_id list, uint32_t axis, uint32_t rank)
{
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = axis; i < rank; i++)
        shape[i - axis] = i == axis ? b_dim(c->b, list, 0) : b_dim_const(c->b, 1);
    return b_reshape(c->b, list, shape, rank - axis);
}

/* Padding by amounts that an input tells: the padded sizes are dims, and indices are computed from
 * the amounts before the data. Elements outside are `value`. */
static bool pad_told(struct onnx_call *c, uint32_t input, const char *mode, const int64_t *axes,
                     uint32_t count)
{
    struct builder *b = c->b;
    value_id x = c->in[0], inside = VALUE_NONE;
    bool constant = strcmp(mode, "constant") == 0;
    uint32_t rank = onnx_rank(c, x);
    for (uint32_t i = 0; i < count && x != VALUE_NONE; i++) {
        int axis = b_axis(b, x, axes[i]);
        dim_id n = axis < 0 ? DIM_NONE : b_dim(b, x, axis);
        if (n == DIM_NONE)
            return false;
        dim_id all = onnx_tell(c, (struct graph_element){input, i, ELEMENT_PADDED, n, DIM_NONE});
        value_id low = b_slice(b, c->in[1], 0, b_dim_const(b, i), b_dim_const(b, 1), 1);
        if (all == DIM_NONE)
            return false;
        value_id at = b_sub(b, b_iota(b, DTYPE_I64, &all, 1, 0), b_reshape(b, low, NULL, 0));
        if (constant) {
            value_id first = b_binary(b, PRIM_LE, b_const(b, DTYPE_I64, 0), at);
            value_id in = b_binary(b, PRIM_AND, first, b_binary(b, PRIM_LT, at, b_size(b, n)));
            in = along(c, in, (uint32_t)axis, rank);
            inside = inside == VALUE_NONE ? in : b_binary(b, PRIM_AND, inside, in);
        } else {
            at = padded_from(c, mode, at, n);
        }
        x = b_take(b, x, at, axis);
    }
    if (!constant || inside == VALUE_NONE)
        return onnx_return(c, x);
    value_id value = onnx_given(c, 2) ? b_reshape(b, c->in[2], NULL, 0)
                                      : b_const_like(b, x, onnx_float(c, "value", 0));
    return onnx_return(c, b_select(b, inside, x, value));
}

static dim_id positive(struct dim_table *dims, dim_id amount)
{
    return dim_max(dims, amount, dim_const(dims, 0));
}

static bool pad_constant(struct onnx_call *c, const struct pads *pads)
{
    struct builder *b = c->b;
    struct dim_table *dims = &c->o->graph->dims;
    value_id x = c->in[0];
    value_id value = onnx_given(c, 2) ? b_reshape(b, c->in[2], NULL, 0)
                                      : b_const_like(b, x, onnx_float(c, "value", 0));
    struct attrs attrs = {.rank = (uint8_t)onnx_rank(c, x)};
    for (uint32_t i = 0; i < attrs.rank; i++) {
        attrs.low[i] = positive(dims, pads->low[i]);
        attrs.high[i] = positive(dims, pads->high[i]);
    }
    x = graph_add(b->graph, PRIM_PAD, (value_id[]){x, value}, 2, &attrs, b->err);
    for (uint32_t i = 0; i < attrs.rank && x != VALUE_NONE; i++) {
        dim_id low = dim_sub(dims, attrs.low[i], pads->low[i]);
        dim_id high = dim_sub(dims, attrs.high[i], pads->high[i]);
        dim_id left = b_dim_sub(b, b_dim(b, x, i), b_dim_add(b, low, high));
        if (left != b_dim(b, x, i))
            x = b_slice(b, x, i, low, left, 1);
    }
    return onnx_return(c, x);
}

/* The element of an axis of size n that each element of the padded axis is a copy of. x: positions
 * relative to the first of those n. */
static value_id padded_from(struct onnx_call *c, const char *mode, value_id x, dim_id n)
{
    struct builder *b = c->b;
    value_id size = b_size(b, n), last = b_shift(b, size, -1);
    if (strcmp(mode, "edge") == 0)
        return b_binary(b, PRIM_MIN, b_max_const(b, x, 0), last);
    if (strcmp(mode, "wrap") == 0)
        return b_binary(b, PRIM_REM, x, size);
    /* Reflection, repeated as often as needed; with a single element always that one. */
    value_id period = b_max_const(b, b_scale(b, last, 2), 1);
    x = b_binary(b, PRIM_REM, x, period);
    return b_binary(b, PRIM_MIN, x, b_sub(b, period, x));
}

/* Padding by a gather, for amounts that are large or not constant. Negative amounts crop first. */
static bool pad_by_index(struct onnx_call *c, const char *mode, const struct pads *pads)
{
    struct builder *b = c->b;
    struct dim_table *dims = &b->graph->dims;
    value_id x = c->in[0];
    for (uint32_t i = 0; i < onnx_rank(c, c->in[0]) && x != VALUE_NONE; i++) {
        dim_id low = positive(dims, pads->low[i]), high = positive(dims, pads->high[i]);
        dim_id front = b_dim_sub(b, low, pads->low[i]), back = b_dim_sub(b, high, pads->high[i]);
        dim_id n = b_dim_sub(b, b_dim(b, x, i), b_dim_add(b, front, back));
        if (n != b_dim(b, x, i))
            x = b_slice(b, x, i, front, n, 1);
        dim_id all = b_dim_add(b, n, b_dim_add(b, low, high));
        if (onnx_failed(c) || all == n)
            continue;
        value_id place = b_sub(b, b_iota(b, DTYPE_I64, &all, 1, 0), b_size(b, low));
        x = b_take(b, x, padded_from(c, mode, place, n), i);
    }
    return onnx_return(c, x);
}

/* Whether all amounts are constant and no larger than the number of elements that the mode can
 * copy. */
static bool pads_are_short(struct onnx_call *c, const char *mode, const struct pads *pads)
{
    for (uint32_t i = 0; i < onnx_rank(c, c->in[0]); i++) {
        int64_t low, high, least, most;
        if (!onnx_is_const(&c->o->graph->dims, pads->low[i], &low) ||
            !onnx_is_const(&c->o->graph->dims, pads->high[i], &high))
            return false;
        onnx_dim_range(&c->o->graph->dims, b_dim(c->b, c->in[0], i), &least, &most);
        least += (low < 0 ? low : 0) + (high < 0 ? high : 0);
        least -= strcmp(mode, "reflect") == 0;
        if ((low > 0 || high > 0) && strcmp(mode, "edge") != 0 && (low > least || high > least))
            return false;
    }
    return true;
}

bool onnx_pad(struct onnx_call *c)
{
    static const char *const modes[][2] = {
        {"reflect", "reflect"}, {"edge", "replicate"}, {"wrap", "circular"}};
    const char *mode = onnx_text(c, "mode", "constant"), *ours = NULL;
    struct pads pads;
    int64_t amounts[2 * LIMIT_RANK];
    uint32_t rank = onnx_rank(c, c->in[0]), used = 0, input, count = 0;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        ours = strcmp(mode, modes[i][0]) == 0 ? modes[i][1] : ours;
    if (!ours && strcmp(mode, "constant") != 0)
        return b_fail(c->b, ERR_BLUEPRINT, "mode '%.40s'", mode);
    if (onnx_may_tell(c, 1, &input, &count) && count % 2 == 0) {
        int64_t axes[LIMIT_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
        uint32_t given = count / 2;
        if (count > 2 * rank ||
            (onnx_given(c, 3) && !onnx_told_axes(c, 3, count / 2, axes) &&
             (onnx_failed(c) || !onnx_const_ints(c, 3, axes, LIMIT_RANK, &given))))
            return false;
        return given == count / 2 && (onnx_given(c, 3) || given == rank)
                   ? pad_told(c, input, mode, axes, given)
                   : b_fail(c->b, ERR_SHAPE, "%u pads for %u dims", count, given);
    }
    if (!read_pads(c, &pads))
        return false;
    if (!ours)
        return pad_constant(c, &pads);
    if (!pads_are_short(c, mode, &pads))
        return pad_by_index(c, mode, &pads);
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t dim = rank - 1 - i;
        onnx_is_const(&c->o->graph->dims, pads.low[dim], &amounts[2 * i]);
        onnx_is_const(&c->o->graph->dims, pads.high[dim], &amounts[2 * i + 1]);
        if (amounts[2 * i] != 0 || amounts[2 * i + 1] != 0)
            used = i + 1;
    }
    if (used == 0)
        return onnx_return(c, c->in[0]);
    struct op_value attrs[] = {
        {.name = "pad", .kind = OP_INTS, .ints = amounts, .int_count = 2 * used},
        {.name = "mode", .kind = OP_TEXT, .text = ours},
        {0},
    };
    return onnx_return(c, onnx_expand(c, "pad", c->in, 1, attrs));
}

bool onnx_center_crop_pad(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct dim_table *dims = &b->graph->dims;
    dim_id wanted[LIMIT_RANK], two = dim_const(dims, 2), zero = dim_const(dims, 0);
    uint32_t count = 0, given = 0, rank = onnx_rank(c, c->in[0]);
    const int64_t *axes = onnx_ints(c, "axes", &given);
    value_id x = c->in[0];
    if (!onnx_dims(c, 1, wanted, LIMIT_RANK, &count))
        return false;
    if (count != (axes ? given : rank))
        return b_fail(b, ERR_SHAPE, "%u sizes", count);
    for (uint32_t i = 0; i < count && x != VALUE_NONE; i++) {
        int axis = b_axis(b, x, axes ? axes[i] : i);
        dim_id low[LIMIT_RANK], high[LIMIT_RANK];
        if (axis < 0)
            return false;
        dim_id size = b_dim(b, x, axis), kept = dim_min(dims, size, wanted[i]);
        dim_id start = dim_floordiv(dims, b_dim_sub(b, size, kept), two);
        dim_id missing = b_dim_sub(b, wanted[i], kept);
        x = b_slice(b, x, axis, start, kept, 1);
        for (uint32_t k = 0; k < rank; k++)
            low[k] = high[k] = zero;
        low[axis] = dim_floordiv(dims, missing, two);
        high[axis] = b_dim_sub(b, missing, low[axis]);
        x = b_pad(b, x, low, high, 0);
    }
    return onnx_return(c, x);
}
