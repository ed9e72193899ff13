#include "random_graph_priv.h"

struct item gen_reduce(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 1);
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!x)
        return (struct item){0};
    const struct node *node = gen_node(gen, x);
    uint32_t rank = node->rank;
    for (uint32_t i = 0; i < rank; i++)
        if (gen_roll(gen, 2) == 0)
            axes[count++] = i;
    if (count == 0)
        axes[count++] = gen_roll(gen, rank);
    bool keep = gen_roll(gen, 2) == 0;
    bool is_float = dtype_is_float((enum dtype)node->dtype), is_bool = node->dtype == DTYPE_BOOL;
    static const uint8_t prims[] = {PRIM_REDUCE_MAX, PRIM_REDUCE_MIN, PRIM_REDUCE_SUM,
                                    PRIM_REDUCE_SUM, PRIM_REDUCE_PROD};
    uint32_t which = gen_roll(gen, is_bool ? 2 : is_float ? 6 : 5);
    if (which == 5)
        return (struct item){.value = b_mean(&gen->b, x->value, axes, count, keep),
                             .size = x->size};
    struct item in = which < 2 ? *x : gen_tame(gen, x, which == 4 ? 1 : 4);
    return (struct item){
        .value = b_reduce(&gen->b, (enum prim)prims[which], in.value, axes, count, keep),
        .size = which == 2 || which == 3 ? 8 * in.size : in.size};
}

struct item gen_arg(struct gen *gen)
{
    static const uint8_t prims[] = {PRIM_ARGMAX, PRIM_ARGMIN, PRIM_ARGSORT};
    const struct item *x = gen_pick(gen, GEN_NUM, 1);
    if (!x)
        return (struct item){0};
    enum prim prim = (enum prim)prims[gen_roll(gen, 3)];
    struct attrs attrs = {.axis = (int32_t)gen_roll(gen, gen_node(gen, x)->rank)};
    if (prim == PRIM_ARGSORT)
        attrs.reverse = gen_roll(gen, 2) == 0;
    return (struct item){.value = graph_add(gen->b.graph, prim, &x->value, 1, &attrs, &gen->err)};
}

struct item gen_scan(struct gen *gen)
{
    static const uint8_t prims[] = {PRIM_CUM_SUM, PRIM_CUM_PROD, PRIM_CUM_MAX};
    const struct item *x = gen_pick(gen, GEN_NUM, 1);
    if (!x)
        return (struct item){0};
    enum prim prim = (enum prim)prims[gen_roll(gen, 3)];
    struct item in = gen_tame(gen, x, prim == PRIM_CUM_PROD ? 1 : 8);
    if (in.value == VALUE_NONE)
        return in;
    struct attrs attrs = {.axis = (int32_t)gen_roll(gen, gen_node(gen, &in)->rank),
                          .exclusive = gen_roll(gen, 2) == 0,
                          .reverse = gen_roll(gen, 2) == 0};
    if (prim == PRIM_CUM_MAX)
        attrs.exclusive = false; /* it would start at minus infinity */
    return (struct item){.value = graph_add(gen->b.graph, prim, &in.value, 1, &attrs, &gen->err),
                         .size = prim == PRIM_CUM_SUM ? 8 * in.size : in.size};
}

/* x[batch…, m…, k…] with a new, or by luck an old, y[batch…, n…, k…]. */
struct item gen_contract(struct gen *gen)
{
    const struct item *picked = gen_pick(gen, GEN_NUM, 1);
    dim_id shape[LIMIT_RANK];
    uint32_t count = 0;
    if (!picked)
        return (struct item){0};
    struct item x = gen_tame(gen, picked, 4);
    if (x.value == VALUE_NONE)
        return x;
    const struct node *node = gen_node(gen, &x);
    uint32_t rank = node->rank, contract = rank > 1 && gen_roll(gen, 5) == 0 ? 2 : 1;
    uint32_t batch = gen_roll(gen, rank - contract + 1);
    for (uint32_t i = 0; i < batch; i++)
        shape[count++] = node->shape[i];
    for (uint32_t free = gen_roll(gen, 2); free > 0 && count < 3; free--)
        shape[count++] = gen_dim(gen);
    for (uint32_t i = rank - contract; i < rank; i++)
        shape[count++] = node->shape[i];
    struct item y =
        gen_roll(gen, 6) == 0 ? x : gen_source(gen, (enum dtype)node->dtype, shape, count);
    return (struct item){.value = b_contract(&gen->b, x.value, y.value, batch, contract),
                         .size = 16 * x.size};
}

static struct window random_window(struct gen *gen)
{
    return (struct window){.size = 1 + gen_roll(gen, 3),
                           .stride = 1 + gen_roll(gen, 2),
                           .low = gen_roll(gen, 3),
                           .high = gen_roll(gen, 2),
                           .dilation = 1 + (gen_roll(gen, 4) == 0),
                           .base_dilation = 1 + (gen_roll(gen, 5) == 0)};
}

struct item gen_conv(struct gen *gen)
{
    const struct item *picked = gen_pick(gen, GEN_NUM, 2);
    struct window windows[2];
    dim_id shape[LIMIT_RANK];
    int64_t channels;
    if (!picked || gen_node(gen, picked)->rank > 4)
        return (struct item){0};
    struct item x = gen_tame(gen, picked, 4);
    if (x.value != VALUE_NONE && gen_node(gen, &x)->rank == 2)
        x.value = b_unsqueeze(&gen->b, x.value, gen_roll(gen, 3));
    if (x.value == VALUE_NONE)
        return x;
    struct dim_table *dims = &gen->b.graph->dims;
    const struct node *node = gen_node(gen, &x);
    uint32_t count = node->rank - 2u;
    if (!dim_is_const(dims, node->shape[1], &channels) || channels == 0)
        return (struct item){0};
    int64_t groups = channels % 2 == 0 && gen_roll(gen, 3) == 0 ? 2
                     : gen_roll(gen, 4) == 0 && channels < 10   ? channels
                                                                : 1;
    shape[0] = dim_const(dims, groups * (1 + gen_roll(gen, groups > 2 ? 2 : 5)));
    shape[1] = dim_const(dims, channels / groups);
    for (uint32_t i = 0; i < count; i++) {
        windows[i] = random_window(gen);
        shape[2 + i] = dim_const(dims, windows[i].size);
    }
    struct item w = gen_source(gen, (enum dtype)node->dtype, shape, node->rank);
    return (struct item){.value = b_conv(&gen->b, x.value, w.value, windows, count, groups),
                         .size = 16 * x.size};
}

struct item gen_window(struct gen *gen)
{
    const struct item *picked = gen_pick(gen, GEN_NUM, 1);
    struct window windows[2];
    if (!picked)
        return (struct item){0};
    struct item x = gen_tame(gen, picked, 8);
    if (x.value == VALUE_NONE)
        return x;
    uint32_t count = 1 + (gen_node(gen, &x)->rank > 1 ? gen_roll(gen, 2) : 0);
    bool sum = gen_roll(gen, 2) == 0;
    for (uint32_t i = 0; i < count; i++) {
        windows[i] = random_window(gen);
        if (sum)
            continue;
        /* A maximum of padding alone is minus infinity. */
        windows[i].low = windows[i].high = 0;
        windows[i].base_dilation = 1;
    }
    return (struct item){.value = b_window(&gen->b, sum ? PRIM_WINDOW_SUM : PRIM_WINDOW_MAX,
                                           x.value, windows, count),
                         .size = sum ? 9 * x.size : x.size};
}
