/* Ops that remove, add and permute axes. */
#include <onnx.pb-c.h>
#include <stdio.h>

#include "compiler/import/onnx/onnx_told_priv.h"

/* Axes as a bit set; false after failing. */
static bool axis_bits(struct onnx_call *c, const int64_t *axes, uint32_t count, uint32_t rank,
                      uint32_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t axis = axes[i] < 0 && axes[i] >= -(int64_t)rank ? axes[i] + rank : axes[i];
        if (axis < 0 || axis >= rank || (*out >> axis & 1) != 0)
            return b_fail(c->b, ERR_SHAPE, "axis %lld for rank %u", (long long)axes[i], rank);
        *out |= 1u << axis;
    }
    return true;
}

/* Without axes, Squeeze removes the dims that are 1. If it is not known which are, the model's
 * stated rank decides; without a stated rank, the first dim (a batch of one) is 1 and the others
 * are not. */
static bool settle_ones(struct onnx_call *c)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id one = dim_const(dims, 1);
    int stated = onnx_stated_rank(c);
    uint32_t rank = onnx_rank(c, c->in[0]), kept = 0;
    for (uint32_t i = 0; i < rank; i++)
        kept += b_dim(c->b, c->in[0], i) != one;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t least, most;
        dim_id dim = b_dim(c->b, c->in[0], i);
        onnx_dim_range(dims, dim, &least, &most);
        if (dim == one || least > 1 || most < 1)
            continue;
        bool stays = stated == (int)kept || (stated < 0 && i > 0);
        const char *of = stated < 0 ? "" : ", by the stated rank";
        char cure[160] = "--dim says otherwise";
        uint32_t name;
        if (dim_is_name(dims, dim, &name))
            snprintf(cure, sizeof cure, "--dim %.120s=%s", dim_shown(dims, name),
                     stays ? "1 lets it go" : "SIZE keeps it");
        if (stays)
            dim_needs_not_negative(dims, dim_sub(dims, dim, dim_const(dims, 2)));
        else
            dim_needs_equal(dims, dim, one);
        return b_fail(c->b, ERR_SHAPE, "without axes dims of 1 go: dim %u is taken for %s%s; %s", i,
                      stays ? "more and stays" : "1 and goes", of, cure);
    }
    return true;
}

/* Whether removing these axes is possible: their dims are 1, and the remaining shape is the stated
 * one. */
static bool may_squeeze(struct onnx_call *c, const uint32_t *axes, uint32_t count)
{
    dim_id one = b_dim_const(c->b, 1), shape[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, c->in[0]), stated = 0, gone = 0;
    bool states = onnx_stated_shape(c, shape, &stated) && stated == rank - count;
    for (uint32_t i = 0; i < rank; i++) {
        bool goes = gone < count && axes[gone] == i;
        dim_id dim = b_dim(c->b, c->in[0], i);
        if (goes ? dim != one : states && dim != shape[i - gone])
            return false;
        gone += goes;
    }
    return true;
}

/* Reads the axes. If an input tells them, they are the only set that may be removed; if several
 * sets may, they must be known. */
static bool squeezed_axes(struct onnx_call *c, int64_t *axes, uint32_t *count, bool *given)
{
    uint32_t input, told = 0, found = 0, set = 0, list[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, c->in[0]);
    if (onnx_has(c, "axes") || !onnx_may_tell(c, 1, &input, &told) || told > rank)
        return onnx_list(c, "axes", 1, axes, count, given);
    for (uint32_t j = 0; j < choice_count(rank, told); j++) {
        choice_axes(rank, told, j, list);
        bool may = may_squeeze(c, list, told);
        set = may ? j : set;
        found += may;
    }
    if (found != 1)
        return onnx_list(c, "axes", 1, axes, count, given);
    choice_axes(rank, told, set, list);
    for (uint32_t i = 0; i < told; i++)
        axes[i] = list[i];
    *count = told;
    *given = true;
    return onnx_require(c,
                        &(struct graph_element){input, 0, ELEMENT_CHOICE, b_dim_const(c->b, rank),
                                                b_dim_const(c->b, set)});
}

bool onnx_squeeze(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t axes[LIMIT_RANK], value;
    uint32_t count = 0, gone = 0, rank = onnx_rank(c, c->in[0]), left = 0;
    bool given = false;
    dim_id shape[LIMIT_RANK];
    if (!squeezed_axes(c, axes, &count, &given) || !axis_bits(c, axes, count, rank, &gone) ||
        (!given && !settle_ones(c)))
        return false;
    for (uint32_t i = 0; i < rank; i++) {
        dim_id dim = b_dim(b, c->in[0], i);
        bool one = onnx_is_const(&c->o->graph->dims, dim, &value) && value == 1;
        bool chosen = given ? (gone >> i & 1) != 0 : one;
        if (chosen && !one)
            return dim_needs_equal(&c->o->graph->dims, dim, b_dim_const(b, 1)) ||
                   b_fail(b, ERR_SHAPE, "dim %u is not 1", i);
        if (!chosen)
            shape[left++] = dim;
    }
    return onnx_return(c, b_reshape(b, c->in[0], shape, left));
}

/* The number of elements of operand `index` if it is constant, otherwise 0. */
static uint32_t constant_length(struct onnx_call *c, uint32_t index)
{
    int64_t count = 1;
    if (!onnx_given(c, index) || onnx_rank(c, c->in[index]) > 1)
        return 0;
    if (onnx_rank(c, c->in[index]) == 1 &&
        !onnx_is_const(&c->o->graph->dims, b_dim(c->b, c->in[index], 0), &count))
        return 0;
    return count > 0 && count <= LIMIT_RANK ? (uint32_t)count : 0;
}

bool onnx_unsqueeze(struct onnx_call *c)
{
    struct onnx_choice choice;
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0, added = 0, next = 0;
    bool given = false;
    dim_id shape[LIMIT_RANK];
    if (!onnx_has(c, "axes") &&
        onnx_choose(c, 1, onnx_rank(c, c->in[0]) + constant_length(c, 1), &choice))
        return onnx_return(c, onnx_choice_ones(c, c->in[0], &choice));
    if (!onnx_list(c, "axes", 1, axes, &count, &given))
        return false;
    uint32_t rank = onnx_rank(c, c->in[0]) + count;
    if (rank > LIMIT_RANK)
        return b_fail(c->b, ERR_LIMIT, "rank %u, at most %d", rank, LIMIT_RANK);
    if (!axis_bits(c, axes, count, rank, &added))
        return false;
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = (added >> i & 1) != 0 ? b_dim_const(c->b, 1) : b_dim(c->b, c->in[0], next++);
    return onnx_return(c, b_reshape(c->b, c->in[0], shape, rank));
}

bool onnx_transpose(struct onnx_call *c)
{
    uint32_t count = 0, rank = onnx_rank(c, c->in[0]), seen = 0;
    const int64_t *perm = onnx_ints(c, "perm", &count);
    uint8_t axes[LIMIT_RANK];
    if (perm && (count != rank || !axis_bits(c, perm, count, rank, &seen)))
        return onnx_failed(c) ? false : b_fail(c->b, ERR_SHAPE, "perm has %u axes", count);
    for (uint32_t i = 0; i < rank; i++)
        axes[i] = (uint8_t)(!perm ? rank - 1 - i : perm[i] < 0 ? perm[i] + rank : perm[i]);
    return onnx_return(c, b_transpose(c->b, c->in[0], axes));
}
