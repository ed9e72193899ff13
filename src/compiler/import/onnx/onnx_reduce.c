/* Reductions, scans and selections along axes. */
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_told_priv.h"

/* The axes of a reduction. */
struct axes {
    int64_t list[LIMIT_RANK];
    uint32_t count;
    bool keep;
};

static value_id sum(struct onnx_call *c, value_id x, const struct axes *axes)
{
    return b_reduce(c->b, PRIM_REDUCE_SUM, x, axes->list, axes->count, axes->keep);
}

/* Over what counts of each dim. */
static value_id counted_mean(struct onnx_call *c, value_id x, const struct axes *axes)
{
    struct builder *b = c->b;
    value_id elements = b_const(b, DTYPE_I64, 1);
    for (uint32_t i = 0; i < axes->count; i++) {
        int axis = b_axis(b, x, axes->list[i]);
        if (axis < 0)
            return VALUE_NONE;
        elements = b_mul(b, elements, onnx_extent(c, x, axis));
    }
    for (uint32_t i = 0; i < axes->count; i++)
        x = onnx_fill(c, x, b_axis(b, x, axes->list[i]), FILL_ZERO);
    return b_div(b, sum(c, x, axes), b_cast(b, elements, onnx_type(c, x)));
}

static value_id mean(struct onnx_call *c, value_id x, const struct axes *axes)
{
    struct builder *b = c->b;
    dim_id elements = b_dim_const(b, 1);
    if (dtype_is_float(onnx_type(c, x)))
        return b_mean(b, x, axes->list, axes->count, axes->keep);
    for (uint32_t i = 0; i < axes->count; i++)
        elements = b_dim_mul(b, elements, b_dim(b, x, axes->list[i]));
    return b_div(b, sum(c, x, axes), b_cast(b, b_size(b, elements), onnx_type(c, x)));
}

static value_id extreme(struct onnx_call *c, value_id x, const struct axes *axes, enum prim prim)
{
    return b_reduce(c->b, prim, x, axes->list, axes->count, axes->keep);
}

static value_id log_sum_exp(struct onnx_call *c, value_id x, const struct axes *axes)
{
    struct op_value attrs[] = {
        {.name = "dim", .kind = OP_INTS, .ints = axes->list, .int_count = axes->count},
        {.name = "keepdim", .kind = OP_BOOL, .i = axes->keep},
        {0},
    };
    return axes->count > 0 ? onnx_expand(c, "logsumexp", &x, 1, attrs) : x;
}

/* Kinds, and what in place of elements that do not count leaves the result as it is. */
static const struct {
    const char *name;
    enum onnx_filler neutral;
} kinds[] = {{"sum", FILL_ZERO},     {"max", FILL_LEAST},         {"min", FILL_GREATEST},
             {"prod", FILL_ONE},     {"l1", FILL_ZERO},           {"l2", FILL_ZERO},
             {"log_sum", FILL_ZERO}, {"log_sum_exp", FILL_LEAST}, {"sum_square", FILL_ZERO}};

static bool is_counted(struct onnx_call *c, value_id x, const struct axes *axes)
{
    for (uint32_t i = 0; i < axes->count; i++) {
        int axis = b_axis(c->b, x, axes->list[i]);
        if (axis >= 0 && onnx_count(c->o, x, axis) != VALUE_NONE)
            return true;
    }
    return false;
}

static value_id reduce(struct onnx_call *c, const char *kind, value_id x, const struct axes *axes)
{
    struct builder *b = c->b;
    bool counted = is_counted(c, x, axes);
    if (strcmp(kind, "mean") == 0)
        return counted ? counted_mean(c, x, axes) : mean(c, x, axes);
    for (uint32_t k = 0; counted && k < sizeof kinds / sizeof *kinds; k++)
        for (uint32_t i = 0; strcmp(kinds[k].name, kind) == 0 && i < axes->count; i++)
            x = onnx_fill(c, x, b_axis(b, x, axes->list[i]), kinds[k].neutral);
    if (strcmp(kind, "sum") == 0)
        return sum(c, x, axes);
    if (strcmp(kind, "max") == 0)
        return extreme(c, x, axes, PRIM_REDUCE_MAX);
    if (strcmp(kind, "min") == 0)
        return extreme(c, x, axes, PRIM_REDUCE_MIN);
    if (strcmp(kind, "prod") == 0)
        return extreme(c, x, axes, PRIM_REDUCE_PROD);
    if (strcmp(kind, "l1") == 0)
        return sum(c, b_unary(b, PRIM_ABS, x), axes);
    if (strcmp(kind, "log_sum") == 0)
        return b_unary(b, PRIM_LOG, sum(c, x, axes));
    if (strcmp(kind, "log_sum_exp") == 0)
        return log_sum_exp(c, x, axes);
    if (strcmp(kind, "l2") == 0 && axes->count == 0)
        return b_unary(b, PRIM_ABS, x);
    value_id squares = sum(c, b_mul(b, x, x), axes);
    return strcmp(kind, "l2") == 0 ? b_unary(b, PRIM_SQRT, squares) : squares;
}

bool onnx_reduce(struct onnx_call *c)
{
    struct axes axes = {.keep = onnx_int(c, "keepdims", 1) != 0};
    struct onnx_choice choice;
    bool given = false;
    if (!onnx_has(c, "axes") && onnx_choose(c, 1, onnx_rank(c, c->in[0]), &choice)) {
        value_id x = onnx_choice_last(c, c->in[0], &choice, axes.keep);
        axes.keep = false;
        for (uint32_t i = 0; i < choice.count; i++)
            axes.list[axes.count++] = (int64_t)i - choice.count;
        return onnx_return(c, x == VALUE_NONE ? x : reduce(c, c->op->with, x, &axes));
    }
    if (!onnx_list(c, "axes", 1, axes.list, &axes.count, &given))
        return false;
    /* With noop_with_empty_axes every element is reduced alone, but the elementwise parts of the op
     * (squares, logarithms) still apply. */
    if (axes.count == 0 && onnx_int(c, "noop_with_empty_axes", 0) == 0) {
        axes.count = onnx_rank(c, c->in[0]);
        for (uint32_t i = 0; i < axes.count; i++)
            axes.list[i] = i;
    }
    return onnx_return(c, reduce(c, c->op->with, c->in[0], &axes));
}

bool onnx_arg_reduce(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    int axis = b_axis(b, x, onnx_int(c, "axis", 0));
    bool last = onnx_int(c, "select_last_index", 0) != 0;
    enum prim prim = strcmp(c->op->with, "max") == 0 ? PRIM_ARGMAX : PRIM_ARGMIN;
    if (axis < 0)
        return false;
    if (!last) /* the first that counts is before filler */
        x = onnx_fill(c, x, axis, prim == PRIM_ARGMAX ? FILL_LEAST : FILL_GREATEST);
    value_id from = last ? b_reverse(b, x, axis) : x;
    value_id index = from == VALUE_NONE ? from
                                        : graph_add(b->graph, prim, &from, 1,
                                                    &(struct attrs){.axis = axis}, b->err);
    if (last)
        index = b_sub(b, b_shift(b, b_size(b, b_dim(b, x, axis)), -1), index);
    return onnx_return(c, onnx_int(c, "keepdims", 1) != 0 ? b_unsqueeze(b, index, axis) : index);
}

/* A scan along an axis that an input tells. */
static value_id cumulate_chosen(struct onnx_call *c, const struct onnx_choice *choice,
                                enum prim prim, struct attrs attrs)
{
    const dim_id *shape = graph_node(c->o->graph, c->in[0])->shape;
    value_id x = onnx_choice_last(c, c->in[0], choice, false);
    attrs.axis = (int32_t)choice->rank - 1;
    value_id y = graph_add(c->b->graph, prim, &x, 1, &attrs, c->b->err);
    return y == VALUE_NONE ? y : onnx_choice_back(c, y, choice, shape, shape);
}

bool onnx_cumulate(struct onnx_call *c)
{
    struct onnx_choice choice;
    int64_t wanted[1];
    uint32_t count = 0;
    struct attrs attrs = {.exclusive = onnx_int(c, "exclusive", 0) != 0,
                          .reverse = onnx_int(c, "reverse", 0) != 0};
    enum prim prim = strcmp(c->op->with, "prod") == 0 ? PRIM_CUM_PROD : PRIM_CUM_SUM;
    if (onnx_choose(c, 1, onnx_rank(c, c->in[0]), &choice) && choice.count == 1)
        return onnx_return(c, cumulate_chosen(c, &choice, prim, attrs));
    if (!onnx_const_ints(c, 1, wanted, 1, &count))
        return false;
    attrs.axis = count == 1 ? b_axis(c->b, c->in[0], wanted[0]) : -1;
    if (attrs.axis < 0)
        return count == 1 ? false : b_fail(c->b, ERR_SHAPE, "input 1 names no axis");
    return onnx_return(c, graph_add(c->b->graph, prim, c->in, 1, &attrs, c->b->err));
}

/* k of a TopK, where it is computed from other numbers than an input that may tell: the result is
 * as long as the axis then, and this is how much of it counts. VALUE_NONE: it is known or told. */
static value_id computed_k(struct onnx_call *c)
{
    struct builder *b = c->b;
    if (!onnx_given(c, 1) || onnx_known(c->o, c->in[1])->is_known || onnx_tell_sizes(c, c->in[1]) ||
        onnx_failed(c))
        return VALUE_NONE;
    return b_max_const(b, b_reshape(b, b_cast(b, c->in[1], DTYPE_I64), NULL, 0), 0);
}

/* k of a TopK along a dim of n. Where calls tell both, k is min(k, n), and each call checks that
 * its k is that: the range of k alone could only say that k is at most the least n. input: that
 * tells k; NULL: none does. */
static bool topk_count(struct onnx_call *c, dim_id n, const uint32_t *input, dim_id *k)
{
    uint32_t count = 1;
    int64_t constant = 0;
    if (c->in_count < 2)
        return true;
    if (!onnx_dims(c, 1, k, 1, &count))
        return false;
    if (count != 1)
        return b_fail(c->b, ERR_SHAPE, "input 1 has %u elements, expected one", count);
    if (!input || onnx_is_const(&c->o->graph->dims, n, &constant) ||
        onnx_is_const(&c->o->graph->dims, *k, &constant))
        return true;
    *k = dim_min(&c->o->graph->dims, *k, n);
    return *k != DIM_NONE && onnx_require(c, &(struct graph_element){*input, 0, ELEMENT_SIZE,
                                                                     b_dim_const(c->b, 0), *k});
}

bool onnx_topk(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id k = b_dim_const(b, onnx_int(c, "k", 0));
    bool largest = onnx_int(c, "largest", 1) != 0;
    int axis = b_axis(b, c->in[0], onnx_int(c, "axis", -1));
    uint32_t input = 0, elements = 0;
    bool tells = onnx_may_tell(c, 1, &input, &elements);
    value_id computed = axis < 0 ? VALUE_NONE : computed_k(c);
    if (axis < 0 || onnx_failed(c))
        return false;
    if (computed != VALUE_NONE)
        k = b_dim(b, c->in[0], axis);
    else if (!topk_count(c, b_dim(b, c->in[0], axis), tells ? &input : NULL, &k))
        return false;
    struct attrs attrs = {.axis = axis, .reverse = largest};
    value_id counted = onnx_count(c->o, c->in[0], axis), x = c->in[0];
    bool real = dtype_is_float(onnx_type(c, x));
    /* Filler is sorted behind all that counts: NaN is the greatest, and of equals the first comes
     * first. */
    x = onnx_fill(c, x, axis, largest ? FILL_LEAST : real ? FILL_NAN : FILL_GREATEST);
    if (x == VALUE_NONE)
        return false;
    value_id order = graph_add(b->graph, PRIM_ARGSORT, &x, 1, &attrs, b->err);
    order = b_slice(b, order, axis, b_dim_const(b, 0), k, 1);
    c->out[0] = b_gather(b, x, order, axis);
    c->out[1] = order;
    c->out_count = 2;
    if (computed != VALUE_NONE)
        counted = b_binary(b, PRIM_MIN, computed, onnx_extent(c, c->in[0], axis));
    else if (counted != VALUE_NONE)
        counted = b_binary(b, PRIM_MIN, counted, b_size(b, k));
    for (uint32_t i = 0; i < 2 && counted != VALUE_NONE; i++)
        c->out[i] = onnx_bound(c, c->out[i], axis, counted, false);
    return !onnx_failed(c);
}
