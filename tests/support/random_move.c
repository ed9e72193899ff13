#include "random_graph_priv.h"

/* Merges two neighbours, splits a dim, or adds a dim of 1. */
struct item gen_reshape(struct gen *gen)
{
    static const uint8_t divisors[] = {2, 3, 4, 5};
    const struct item *x = gen_pick(gen, GEN_ANY, 0);
    if (!x)
        return (struct item){0};
    const struct node *node = gen_node(gen, x);
    struct item out = {.size = x->size};
    uint32_t how = gen_roll(gen, 4);
    if (how < 2 && node->rank > 1) {
        uint32_t first = gen_roll(gen, node->rank - 1u);
        uint32_t last = how == 0 ? first + 1 : node->rank - 1u;
        out.value = b_flatten(&gen->b, x->value, first, last);
    } else if (how == 2 && node->rank > 0) {
        struct dim_table *dims = &gen->b.graph->dims;
        uint32_t axis = gen_roll(gen, node->rank), rank = 0;
        dim_id shape[LIMIT_RANK + 1], by = dim_const(dims, divisors[gen_roll(gen, 4)]);
        dim_id part = dim_div_exact(dims, node->shape[axis], by);
        if (part == DIM_NONE || node->rank >= LIMIT_RANK)
            return (struct item){0};
        for (uint32_t i = 0; i < node->rank; i++) {
            shape[rank++] = i == axis ? part : node->shape[i];
            if (i == axis)
                shape[rank++] = by;
        }
        out.value = b_reshape(&gen->b, x->value, shape, rank);
    } else if (node->rank < 4) {
        out.value = b_unsqueeze(&gen->b, x->value, gen_roll(gen, node->rank + 1u));
    }
    return out;
}

struct item gen_transpose(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 2);
    uint8_t axes[LIMIT_RANK];
    if (!x)
        return (struct item){0};
    uint32_t rank = gen_node(gen, x)->rank;
    for (uint32_t i = 0; i < rank; i++)
        axes[i] = (uint8_t)i;
    for (uint32_t i = rank - 1; i > 0; i--) {
        uint32_t j = gen_roll(gen, i + 1);
        uint8_t axis = axes[i];
        axes[i] = axes[j];
        axes[j] = axis;
    }
    return (struct item){.value = b_transpose(&gen->b, x->value, axes), .size = x->size};
}

struct item gen_broadcast(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 0);
    dim_id shape[LIMIT_RANK];
    if (!x)
        return (struct item){0};
    const struct node *node = gen_node(gen, x);
    uint32_t extra = gen_roll(gen, 2);
    if (node->rank + extra > 4)
        return (struct item){0};
    for (uint32_t i = 0; i < extra; i++)
        shape[i] = gen_dim(gen);
    for (uint32_t i = 0; i < node->rank; i++) {
        int64_t value;
        bool one = dim_is_const(&gen->b.graph->dims, node->shape[i], &value) && value == 1;
        shape[extra + i] = one ? gen_dim(gen) : node->shape[i];
    }
    return (struct item){.value = b_broadcast_to(&gen->b, x->value, shape, node->rank + extra),
                         .size = x->size};
}

struct item gen_slice(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    int64_t size, least, most;
    if (!x)
        return (struct item){0};
    struct builder *b = &gen->b;
    struct dim_table *dims = &b->graph->dims;
    const struct node *node = gen_node(gen, x);
    uint32_t axis = gen_roll(gen, node->rank);
    dim_id dim = node->shape[axis];
    struct item out = {.size = x->size};
    if (dim_is_const(dims, dim, &size)) {
        if (size == 0)
            return (struct item){0};
        int64_t step = 1 + gen_roll(gen, 3), start = gen_roll(gen, (uint32_t)size);
        int64_t count = gen_roll(gen, (uint32_t)((size - start + step - 1) / step) + 1);
        out.value =
            b_slice(b, x->value, axis, dim_const(dims, start), dim_const(dims, count), step);
        return out;
    }
    dim_range(dims, dim, &least, &most);
    int64_t cut = least > 0 ? gen_roll(gen, least > 4 ? 4 : (uint32_t)least + 1) : 0;
    dim_id start = dim_const(dims, cut);
    if (gen_roll(gen, 2) == 0) { /* every second of what is behind the cut */
        dim_id rest = dim_sub(dims, dim, start);
        out.value =
            b_slice(b, x->value, axis, start, dim_ceildiv(dims, rest, dim_const(dims, 2)), 2);
    } else {
        out.value = b_slice(b, x->value, axis, start, dim_sub(dims, dim, start), 1);
    }
    return out;
}

struct item gen_pad(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    if (!x)
        return (struct item){0};
    struct dim_table *dims = &gen->b.graph->dims;
    uint32_t rank = gen_node(gen, x)->rank;
    for (uint32_t i = 0; i < rank; i++) {
        low[i] = dim_const(dims, gen_roll(gen, 2) == 0 ? 0 : gen_roll(gen, 4));
        high[i] = dim_const(dims, gen_roll(gen, 2) == 0 ? 0 : gen_roll(gen, 4));
    }
    return (struct item){.value = b_pad(&gen->b, x->value, low, high, gen_roll(gen, 3)),
                         .size = x->size + 2};
}

struct item gen_concat(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    dim_id shape[LIMIT_RANK];
    value_id parts[4];
    if (!x)
        return (struct item){0};
    const struct node *node = gen_node(gen, x);
    uint32_t count = 1 + gen_roll(gen, 3), axis = gen_roll(gen, node->rank);
    parts[0] = x->value;
    for (uint32_t i = 1; i < count; i++) {
        for (uint32_t d = 0; d < node->rank; d++)
            shape[d] = d == axis ? gen_dim(gen) : node->shape[d];
        struct item part = gen_roll(gen, 2) == 0
                               ? gen_match(gen, x)
                               : gen_source(gen, (enum dtype)node->dtype, shape, node->rank);
        parts[i] = part.value;
    }
    return (struct item){.value = b_concat(&gen->b, parts, count, axis),
                         .size = x->size > 1e3 ? x->size : 1e3};
}

struct item gen_reverse(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    if (!x)
        return (struct item){0};
    return (struct item){.value =
                             b_reverse(&gen->b, x->value, gen_roll(gen, gen_node(gen, x)->rank)),
                         .size = x->size};
}

static enum dtype index_dtype(struct gen *gen)
{
    static const uint8_t dtypes[] = {DTYPE_I64, DTYPE_I64, DTYPE_I32, DTYPE_I16,
                                     DTYPE_U8,  DTYPE_U16, DTYPE_U32};
    return (enum dtype)dtypes[gen_roll(gen, sizeof dtypes)];
}

struct item gen_take(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    dim_id shape[LIMIT_RANK];
    if (!x)
        return (struct item){0};
    uint32_t rank = gen_roll(gen, 3);
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = gen_dim(gen);
    struct item *old = gen_roll(gen, 2) == 0 ? gen_pick(gen, GEN_INT, 0) : NULL;
    if (old && gen_node(gen, old)->dtype == DTYPE_U64)
        old = NULL;
    struct item index = old ? *old : gen_source(gen, index_dtype(gen), shape, rank);
    uint32_t axis = gen_roll(gen, gen_node(gen, x)->rank);
    return (struct item){.value = b_take(&gen->b, x->value, index.value, axis), .size = x->size};
}

/* An index like x but for its size along axis. */
static struct item index_along(struct gen *gen, const struct item *x, uint32_t axis)
{
    const struct node *node = gen_node(gen, x);
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i < node->rank; i++)
        shape[i] = i == axis ? gen_dim(gen) : node->shape[i];
    return gen_source(gen, index_dtype(gen), shape, node->rank);
}

struct item gen_gather(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    if (!x)
        return (struct item){0};
    uint32_t axis = gen_roll(gen, gen_node(gen, x)->rank);
    struct item index = index_along(gen, x, axis);
    return (struct item){.value = b_gather(&gen->b, x->value, index.value, axis), .size = x->size};
}

struct item gen_scatter(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_NUM, 1);
    if (!x)
        return (struct item){0};
    const struct node *node = gen_node(gen, x);
    uint32_t axis = gen_roll(gen, node->rank);
    struct item index = index_along(gen, x, axis);
    if (index.value == VALUE_NONE)
        return index;
    const struct node *at = gen_node(gen, &index);
    struct item updates = gen_source(gen, (enum dtype)node->dtype, at->shape, at->rank);
    value_id operands[3] = {x->value, index.value, updates.value};
    struct attrs attrs = {.axis = (int32_t)axis, .mode = (uint8_t)(1 + gen_roll(gen, 4))};
    return (struct item){.value =
                             graph_add(gen->b.graph, PRIM_SCATTER, operands, 3, &attrs, &gen->err),
                         .size = 8 * x->size + 8};
}

/* Values from nothing: an index, or random numbers. */
struct item gen_generate(struct gen *gen)
{
    dim_id shape[2] = {gen_dim(gen), gen_dim(gen)};
    uint32_t rank = 1 + gen_roll(gen, 2);
    if (gen_roll(gen, 3) == 0) {
        value_id seed = b_const(&gen->b, DTYPE_I64, gen_roll(gen, 1000));
        struct attrs attrs = {.rank = (uint8_t)rank, .shape = {shape[0], rank > 1 ? shape[1] : 0}};
        return (struct item){.value =
                                 graph_add(gen->b.graph, PRIM_RANDOM, &seed, 1, &attrs, &gen->err)};
    }
    enum dtype dtype = gen_dtype(gen);
    if (dtype == DTYPE_BOOL)
        dtype = DTYPE_I64;
    return (struct item){.value = b_iota(&gen->b, dtype, shape, rank, gen_roll(gen, rank)),
                         .size = 40};
}
