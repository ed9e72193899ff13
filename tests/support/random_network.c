/* Random networks of images: convolutions of all kinds, pools, biases and activations, residuals,
 * gates per channel, and views of images, one behind the other. */
#include "random_graph.h"

#include <stdio.h>

#include "base/rng.h"
#include "graph/build.h"

#define MOST_CHANNELS 72
#define LAYERS 6

struct net {
    struct builder b;
    uint64_t key, counter;
    uint32_t sources;
    enum dtype dtype;
    value_id x;
};

static uint32_t roll(struct net *n, uint32_t sides)
{
    return rng_u32(n->key, n->counter++) % sides;
}

static value_id source(struct net *n, bool param, const dim_id *shape, uint32_t rank)
{
    char name[16];
    snprintf(name, sizeof name, "%s%u", param ? "w" : "x", n->sources++);
    return param ? graph_param(n->b.graph, name, n->dtype, shape, rank, n->b.err)
                 : graph_input(n->b.graph, name, n->dtype, shape, rank, n->b.err);
}

/* The size of a dim that is constant; 0 for a named one. */
static int64_t size_of(struct net *n, uint32_t axis)
{
    int64_t size = 0;
    dim_is_const(&n->b.graph->dims, b_node(&n->b, n->x)->shape[axis], &size);
    return size;
}

static void conv(struct net *n, int64_t filters, int64_t groups)
{
    struct window w[LIMIT_RANK] = {{0}};
    dim_id shape[4];
    for (uint32_t i = 0; i < 2; i++) {
        int64_t size = 1 + 2 * (int64_t)roll(n, 2), dilation = 1 + (roll(n, 6) == 0);
        w[i] = (struct window){.size = size, .dilation = dilation, .base_dilation = 1};
        w[i].stride = 1 + (roll(n, 3) == 0);
        w[i].low = dilation * (size / 2);
        w[i].high = roll(n, 4) == 0 ? w[i].low + 1 : w[i].low;
        w[i].base_dilation += roll(n, 16) == 0;
        shape[2 + i] = b_dim_const(&n->b, size);
    }
    shape[0] = b_dim_const(&n->b, filters);
    shape[1] = b_dim_const(&n->b, size_of(n, 1) / groups);
    value_id weights = b_scale(&n->b, source(n, roll(n, 12) != 0, shape, 4), 0.125);
    n->x = b_conv(&n->b, n->x, weights, w, 2, groups);
}

static void pool(struct net *n)
{
    struct window w[LIMIT_RANK] = {{0}};
    for (uint32_t i = 0; i < 2; i++)
        w[i] = (struct window){.size = 3,
                               .stride = 1 + roll(n, 2),
                               .low = 1,
                               .high = 1,
                               .dilation = 1,
                               .base_dilation = 1};
    n->x = b_window(&n->b, roll(n, 3) ? PRIM_WINDOW_MAX : PRIM_WINDOW_SUM, n->x, w, 2);
}

static value_id per_channel(struct net *n)
{
    dim_id one = b_dim_const(&n->b, 1), shape[4] = {one, b_dim(&n->b, n->x, 1), one, one};
    return source(n, true, shape, 4);
}

static void gate(struct net *n)
{
    value_id mean = b_mean(&n->b, n->x, (int64_t[]){2, 3}, 2, true);
    n->x = b_mul(&n->b, n->x, b_unary(&n->b, PRIM_TANH, mean));
}

static void layer(struct net *n, value_id before)
{
    static const int64_t filters[] = {3, 8, 16, 20, 33, 40, 64};
    struct node old = *b_node(&n->b, before), now = *b_node(&n->b, n->x);
    int64_t c = size_of(n, 1);
    dim_id zero = b_dim_const(&n->b, 0), one = b_dim_const(&n->b, 1), margin[4] = {zero, zero};
    uint8_t last[4] = {0, 2, 3, 1};
    switch (roll(n, 14)) {
    case 0:
    case 1:
    case 2:
    case 3: conv(n, filters[roll(n, 7)], 1); break;
    case 4:
    case 5: conv(n, c, c); break;
    case 6: conv(n, c % 4 == 0 ? c : 8, c % 4 == 0 ? 4 : 1); break;
    case 7: pool(n); break;
    case 8: n->x = b_max_const(&n->b, b_add(&n->b, n->x, per_channel(n)), 0); break;
    case 9: gate(n); break;
    case 10:
        if (memcmp(old.shape, now.shape, sizeof(dim_id) * 4) == 0)
            n->x = b_add(&n->b, n->x, before);
        break;
    case 11:
        n->x = b_concat(&n->b, (value_id[]){n->x, b_neg(&n->b, n->x)}, 2, roll(n, 2) ? 1 : 3);
        break;
    case 12:
        margin[2] = margin[3] = one;
        n->x = b_pad(&n->b, n->x, margin, margin, 0.5);
        break;
    default: /* a sum over channels that are moved last by hand */
        n->x = b_transpose(&n->b, n->x, last);
        n->x = b_sub(&n->b, n->x, b_mean(&n->b, n->x, (int64_t[]){3}, 1, true));
        n->x = b_transpose(&n->b, n->x, (uint8_t[]){0, 3, 1, 2});
    }
    if (roll(n, 3) == 0)
        n->x = b_unary(&n->b, PRIM_TANH, n->x);
}

bool random_network(struct graph *graph, uint64_t seed,
                    int64_t out_sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS], struct error *err)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F32, DTYPE_F32, DTYPE_F64, DTYPE_BF16};
    struct net n = {.b = {graph, err}, .key = rng_key(seed)};
    struct dim_name names[2] = {{.name = "N", .min = 1, .max = 64, .multiple_of = 1},
                                {.name = "W", .min = 4, .max = 64, .multiple_of = 1}};
    uint32_t ids[2];
    bool wide = roll(&n, 3) == 0;
    for (uint32_t i = 0; i < 1u + wide; i++)
        if (!dim_declare(&graph->dims, &names[i], &ids[i], err))
            return false;
    for (uint32_t s = 0; s < RANDOM_GRAPH_SIZES; s++) {
        out_sizes[s][0] = 1 + (int64_t)s;
        out_sizes[s][1] = 4 + (int64_t)roll(&n, 6);
    }
    n.dtype = dtypes[roll(&n, 5)];
    dim_id shape[4] = {dim_named(&graph->dims, ids[0]), b_dim_const(&n.b, roll(&n, 2) ? 3 : 24),
                       b_dim_const(&n.b, 3 + roll(&n, 6)),
                       wide ? dim_named(&graph->dims, ids[1]) : b_dim_const(&n.b, 8)};
    value_id before = n.x = source(&n, false, shape, 4);
    for (uint32_t i = 0; i < LAYERS && n.x != VALUE_NONE && size_of(&n, 1) <= MOST_CHANNELS; i++) {
        value_id now = n.x;
        layer(&n, before);
        before = roll(&n, 2) ? now : before;
    }
    return n.x != VALUE_NONE && graph_output(graph, "y", n.x, err) &&
           (before == n.x || roll(&n, 3) || graph_output(graph, "z", before, err));
}
