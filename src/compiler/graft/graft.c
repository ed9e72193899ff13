#include <string.h>

#include "base/error.h"
#include "compiler/graft/graft_priv.h"
#include "graph/build.h"
#include "graph/stack.h"

#define WEIGHT "gate.weight"
#define BIAS "gate.bias"

struct grafting {
    struct graph *graph;
    struct error *err;
    struct builder b;
    value_id x, s, h;        /* the seed's input and result, the host's value */
    value_id wide_s, wide_h; /* as they are blended */
    value_id alpha, off;     /* alpha, of h's shape; whether it is 0 */
};

static bool same_type(const struct node *a, const struct node *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* A seed has one float input, and maybe "seed" and "step", which are integers. */
static bool find_seed(struct grafting *g)
{
    const struct graph *graph = g->graph;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *n = graph_node(graph, graph->inputs.items[i]);
        bool is_float = dtype_is_float((enum dtype)n->dtype);
        if (is_float && g->x != VALUE_NONE)
            return fail(g->err, ERR_BLUEPRINT,
                        "a seed has one float input, but there are '%.100s' and '%.100s'",
                        graph_node(graph, g->x)->attrs->name, n->attrs->name);
        if (!is_float && (strcmp(n->attrs->name, "seed") != 0 || n->dtype != DTYPE_I64 || n->rank))
            return fail(g->err, ERR_BLUEPRINT,
                        "a seed has one float input, and perhaps 'seed' (i64): it cannot have "
                        "'%.100s'",
                        n->attrs->name);
        g->x = is_float ? graph->inputs.items[i] : g->x;
    }
    if (g->x == VALUE_NONE)
        return fail(g->err, ERR_BLUEPRINT, "a seed has one float input, and this block none");
    if (graph->outputs.count != 1)
        return fail(g->err, ERR_BLUEPRINT, "a seed has one output, and this block %u",
                    graph->outputs.count);
    g->s = graph->outputs.items[0].value;
    const struct node *x = graph_node(graph, g->x);
    if (!same_type(x, graph_node(graph, g->s)))
        return fail(g->err, ERR_BLUEPRINT,
                    "a seed's output has the dtype and shape of its input: '%.100s' and '%.100s' "
                    "differ",
                    graph->outputs.items[0].name, x->attrs->name);
    return x->rank > 0 || fail(g->err, ERR_BLUEPRINT, "a seed's input has at least one dim");
}

static bool add_inputs(struct grafting *g)
{
    const struct node x = *graph_node(g->graph, g->x); /* adding may move it */
    enum dtype dtype = (enum dtype)x.dtype, wide = dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    g->h = graph_input(g->graph, GRAFT_HOST, dtype, x.shape, x.rank, g->err);
    if (g->h == VALUE_NONE)
        return false;
    value_id alpha = graph_input(g->graph, GRAFT_ALPHA, wide, x.shape, 1, g->err);
    if (alpha == VALUE_NONE)
        return false;
    dim_id rows[LIMIT_RANK] = {x.shape[0]};
    for (uint32_t i = 1; i < x.rank; i++)
        rows[i] = b_dim_const(&g->b, 1);
    g->wide_h = b_cast(&g->b, g->h, wide);
    g->wide_s = b_cast(&g->b, g->s, wide);
    g->alpha = b_broadcast_to(&g->b, b_reshape(&g->b, alpha, rows, x.rank), x.shape, x.rank);
    g->off = b_binary(&g->b, PRIM_EQ, g->alpha, b_const(&g->b, wide, 0));
    return g->off != VALUE_NONE;
}

static uint32_t features_axis(const struct node *x)
{
    return x->rank >= 4 ? 1 : x->rank - 1u;
}

/* sigmoid of a linear function of the features, one number for each position */
static value_id gate(struct grafting *g)
{
    struct builder *b = &g->b;
    const struct node x = *graph_node(g->graph, g->x);
    const struct node wide = *graph_node(g->graph, g->wide_h);
    uint32_t axis = features_axis(&x);
    int64_t features, axes[] = {(int64_t)axis};
    if (x.rank < 2 || !dim_is_const(&g->graph->dims, x.shape[axis], &features))
        return b_fail(b, ERR_BLUEPRINT,
                      "a gate needs a fixed number of features: dim %u of '%.100s' is none", axis,
                      x.attrs->name);
    value_id w = graph_param(g->graph, WEIGHT, (enum dtype)wide.dtype, &x.shape[axis], 1, g->err);
    value_id bias =
        w == VALUE_NONE ? w : graph_param(g->graph, BIAS, (enum dtype)wide.dtype, NULL, 0, g->err);
    if (bias == VALUE_NONE)
        return VALUE_NONE;
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i < x.rank; i++)
        shape[i] = i == axis ? x.shape[axis] : b_dim_const(b, 1);
    value_id product =
        b_mul(b, b_cast(b, g->x, (enum dtype)wide.dtype), b_reshape(b, w, shape, x.rank));
    value_id z = b_add(b, b_reduce(b, PRIM_REDUCE_SUM, product, axes, 1, true), bias);
    return b_shift(b, b_scale(b, b_unary(b, PRIM_TANH, b_scale(b, z, 0.5)), 0.5), 0.5);
}

static value_id blend_of(struct grafting *g, enum graft_blend blend)
{
    struct builder *b = &g->b;
    value_id h = g->wide_h, s = g->wide_s, alpha = g->alpha;
    value_id apart = blend == GRAFT_RESIDUAL ? VALUE_NONE : b_sub(b, s, h);
    value_id rest = b_shift(b, b_neg(b, alpha), 1); /* 1 - alpha */
    switch (blend) {
    case GRAFT_LERP:
        return b_select(b, b_binary(b, PRIM_LT, alpha, b_const_like(b, alpha, 0.5)),
                        b_add(b, h, b_mul(b, alpha, apart)), b_sub(b, s, b_mul(b, rest, apart)));
    case GRAFT_MULTIPLY:
        return b_mul(b, h, b_shift(b, b_mul(b, alpha, b_unary(b, PRIM_TANH, apart)), 1));
    case GRAFT_GATE: return b_add(b, h, b_mul(b, b_mul(b, alpha, gate(g)), apart));
    default: return b_add(b, h, b_mul(b, alpha, s));
    }
}

/* Seeds side by side, each with its own features. */
static bool in_chunks(struct grafting *g, struct arena *arena, uint32_t chunks)
{
    struct graph *one = g->graph, *all = ARENA_NEW(arena, struct graph);
    const struct node *x = graph_node(one, g->x);
    if (x->rank < 2)
        return fail(g->err, ERR_BLUEPRINT,
                    "a seed in chunks has rows and features: '%.100s' has one dim", x->attrs->name);
    if (!graph_stack(all, arena, one, chunks, features_axis(x), g->err))
        return false;
    *g = (struct grafting){.graph = all, .err = g->err, .b = {all, g->err}};
    return find_seed(g);
}

bool graft_graph(struct graph *to, struct arena *arena, const struct graph *from,
                 struct graft_spec *spec, struct error *err)
{
    struct graph *seed = ARENA_NEW(arena, struct graph);
    struct grafting g = {.graph = seed, .err = err, .b = {seed, err}};
    *err = (struct error){0};
    if (!graph_copy_live(seed, arena, from, err) || !find_seed(&g) ||
        (spec->chunks > 1 && !in_chunks(&g, arena, spec->chunks)) || !add_inputs(&g))
        return false;
    struct graph *joint = g.graph;
    graft_find_last(joint, g.s, arena, spec);
    value_id y = b_select(&g.b, g.off, g.wide_h, blend_of(&g, spec->blend));
    y = b_cast(&g.b, y, (enum dtype)graph_node(joint, g.h)->dtype);
    const char *name = joint->outputs.items[0].name;
    joint->outputs.count = 0;
    return y != VALUE_NONE && graph_output(joint, name, y, err) &&
           graph_copy_live(to, arena, joint, err);
}
