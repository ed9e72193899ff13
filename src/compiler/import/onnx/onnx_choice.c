/* Axes that an input tells at each call.
 *
 * The number of the set of axes is a dim of the graph, v (a choice, graph/element.h). A size or a
 * stride that depends on the axes is a step function of v. With sets 0 … K-1
 *
 *     f(v) = f(0) + sum over j ≥ 1 of ((v + K - j) // K) × (f(j) - f(j-1))
 *
 * where the quotient is 1 for v ≥ j, otherwise 0. So an operand is read through one index computed
 * with such strides, with the chosen axes moved to known positions, and the op is applied along
 * known axes. */
#include <string.h>

#include "compiler/import/onnx/onnx_told_priv.h"

bool onnx_choose(struct onnx_call *c, uint32_t index, uint32_t rank, struct onnx_choice *out)
{
    struct dim_table *dims = &c->o->graph->dims;
    uint32_t input;
    *out = (struct onnx_choice){.rank = rank};
    if (!onnx_may_tell(c, index, &input, &out->count) || out->count > rank || rank > LIMIT_RANK)
        return false;
    out->sets = (uint32_t)choice_count(rank, out->count);
    struct graph_element element = {input, 0, ELEMENT_CHOICE, dim_const(dims, rank), DIM_NONE};
    out->number = onnx_tell(c, element);
    return out->number != DIM_NONE;
}

dim_id onnx_choice_dim(struct onnx_call *c, const struct onnx_choice *choice, const dim_id *of_sets)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id sets = dim_const(dims, choice->sets), value = of_sets[0];
    int64_t least = INT64_MAX;
    for (uint32_t j = 0; j < choice->sets; j++) {
        int64_t low, high;
        onnx_dim_range(dims, of_sets[j], &low, &high);
        least = low < least ? low : least;
        if (j == 0 || of_sets[j] == of_sets[j - 1])
            continue;
        dim_id from = dim_add(dims, choice->number, dim_const(dims, choice->sets - j));
        dim_id step = dim_sub(dims, of_sets[j], of_sets[j - 1]);
        value = dim_add(dims, value, dim_mul(dims, dim_floordiv(dims, from, sets), step));
    }
    return dim_max(dims, value, dim_const(dims, least));
}

/* The strides of a dense value of this shape. */
static void strides_of(struct onnx_call *c, const dim_id *shape, uint32_t rank, dim_id *out)
{
    dim_id stride = b_dim_const(c->b, 1);
    for (uint32_t i = rank; i-- > 0;) {
        out[i] = stride;
        stride = b_dim_mul(c->b, stride, shape[i]);
    }
}

/* The value of this rank whose element at index i is the element of x at Σ i × strides. shapes and
 * strides: `rank` of each for every set. */
static value_id view(struct onnx_call *c, value_id x, const struct onnx_choice *choice,
                     uint32_t rank, const dim_id *shapes, const dim_id *strides)
{
    struct builder *b = c->b;
    struct arena scratch;
    dim_id shape[LIMIT_RANK], total = graph_elements(c->o->graph, x);
    value_id place = VALUE_NONE;
    if (rank > LIMIT_RANK)
        return onnx_refuse(c, "axes that are an input of the model, for this rank");
    arena_init(&scratch);
    dim_id *of_sets = ARENA_ARRAY(&scratch, dim_id, choice->sets);
    for (uint32_t i = 0; i < rank; i++) {
        for (uint32_t j = 0; j < choice->sets; j++)
            of_sets[j] = shapes[j * rank + i];
        shape[i] = onnx_choice_dim(c, choice, of_sets);
    }
    for (uint32_t i = 0; i < rank; i++) {
        for (uint32_t j = 0; j < choice->sets; j++)
            of_sets[j] = strides[j * rank + i];
        value_id stride = b_size(b, onnx_choice_dim(c, choice, of_sets));
        value_id term = b_mul(b, b_iota(b, DTYPE_I64, shape, rank, i), stride);
        place = i == 0 ? term : b_add(b, place, term);
    }
    arena_release(&scratch);
    int64_t least, most;
    value_id flat = b_reshape(b, x, &total, 1);
    onnx_dim_range(&b->graph->dims, total, &least, &most);
    if (rank == 0)
        return b_reshape(b, x, NULL, 0);
    if (least < 1) /* so that there is an element to which an index can be clamped */
        flat = b_pad(b, flat, (dim_id[]){b_dim_const(b, 0)}, (dim_id[]){b_dim_const(b, 1)}, 0);
    return b_take(b, flat, place, 0);
}

static bool has(const uint32_t *axes, uint32_t count, uint32_t axis)
{
    for (uint32_t i = 0; i < count; i++)
        if (axes[i] == axis)
            return true;
    return false;
}

value_id onnx_choice_last(struct onnx_call *c, value_id x, const struct onnx_choice *choice,
                          bool keep)
{
    uint32_t rank = choice->rank, total = keep ? rank + choice->count : rank;
    dim_id strides[LIMIT_RANK], one = b_dim_const(c->b, 1);
    dim_id *shapes = ARENA_ARRAY(c->o->arena, dim_id, choice->sets * total);
    dim_id *steps = ARENA_ARRAY(c->o->arena, dim_id, choice->sets * total);
    strides_of(c, graph_node(c->o->graph, x)->shape, rank, strides);
    for (uint32_t j = 0; j < choice->sets; j++) {
        uint32_t axes[LIMIT_RANK], at = j * total;
        choice_axes(rank, choice->count, j, axes);
        for (uint32_t i = 0; i < rank; i++) {
            bool chosen = has(axes, choice->count, i);
            if (chosen && !keep)
                continue;
            shapes[at] = chosen ? one : b_dim(c->b, x, i);
            steps[at++] = strides[i];
        }
        for (uint32_t i = 0; i < choice->count; i++, at++) {
            shapes[at] = b_dim(c->b, x, axes[i]);
            steps[at] = strides[axes[i]];
        }
    }
    return view(c, x, choice, total, shapes, steps);
}

value_id onnx_choice_back(struct onnx_call *c, value_id y, const struct onnx_choice *choice,
                          const dim_id *lasts, const dim_id *shape)
{
    uint32_t rank = choice->rank;
    dim_id *shapes = ARENA_ARRAY(c->o->arena, dim_id, choice->sets * rank);
    dim_id *steps = ARENA_ARRAY(c->o->arena, dim_id, choice->sets * rank);
    for (uint32_t j = 0; j < choice->sets; j++) {
        dim_id moved[LIMIT_RANK], strides[LIMIT_RANK];
        uint32_t axis = j; /* the number of a set of one axis is that axis */
        for (uint32_t i = 0, at = 0; i < rank; i++)
            if (i != axis)
                moved[at++] = shape[i];
        moved[rank - 1] = lasts[j];
        strides_of(c, moved, rank, strides);
        for (uint32_t i = 0, at = 0; i < rank; i++) {
            shapes[j * rank + i] = i == axis ? lasts[j] : shape[i];
            steps[j * rank + i] = i == axis ? strides[rank - 1] : strides[at++];
        }
    }
    return view(c, y, choice, rank, shapes, steps);
}

value_id onnx_choice_ones(struct onnx_call *c, value_id x, const struct onnx_choice *choice)
{
    uint32_t rank = choice->rank;
    dim_id strides[LIMIT_RANK], one = b_dim_const(c->b, 1);
    dim_id *shapes = ARENA_ARRAY(c->o->arena, dim_id, choice->sets * rank);
    dim_id *steps = ARENA_ARRAY(c->o->arena, dim_id, choice->sets * rank);
    strides_of(c, graph_node(c->o->graph, x)->shape, onnx_rank(c, x), strides);
    for (uint32_t j = 0; j < choice->sets; j++) {
        uint32_t axes[LIMIT_RANK], next = 0;
        choice_axes(rank, choice->count, j, axes);
        for (uint32_t i = 0; i < rank; i++) {
            bool added = has(axes, choice->count, i);
            shapes[j * rank + i] = added ? one : b_dim(c->b, x, next);
            steps[j * rank + i] = added ? one : strides[next];
            next += !added;
        }
    }
    return view(c, x, choice, rank, shapes, steps);
}
