/* Affine maps behind a convolution or a product become one factor and one addition.
 *
 *   ((conv(x, w) + b - m) * s) + c
 *     ->  conv(x, w) * s + T
 *         T = (b - m) * s + c
 *
 * All operands but x are parameters or computed from them: one number, or one per output channel. A
 * quotient may stand for the factor. T is then computed once, after load, and a batch norm costs
 * one multiply-add. The result differs by a few roundings, as with another order of summation; f16
 * and bf16, whose sums round only once, are not changed. Every value between the convolution and
 * the end of the chain has one user, because nothing would be saved otherwise.
 *
 * Condition, on parameters only: b - m, (b - m) * s and T are finite. Then nothing overflows that
 * did not before, except results within |T| of the largest number, where T cancels. The factor
 * stays behind the sum, because w * s may overflow or underflow where neither w nor the result
 * does. For the same reason two factors are not joined, and a quotient does not become a
 * product. */
#include <string.h>

#include "compiler/opt/opt_priv.h"
#include "graph/build.h"

struct folder {
    const struct graph *from;
    uint32_t *users;  /* by value of from: number of operands of live nodes and of outputs that name
                         it */
    bool *fixed;      /* by value of from: known after load, and of a constant size */
    value_id *copies; /* by value of from: the value in the new graph */
    uint32_t fired;
};

/* A chain of links, from the convolution or product at its start. */
struct chain {
    value_id start;
    uint32_t channel_axis; /* of its result */
    uint32_t length;
    struct link {
        enum prim prim;
        value_id vector; /* in the old graph: one element or one per channel, of any rank */
    } links[32];
};

static bool constant_shape(const struct graph *g, const struct node *node)
{
    for (uint32_t i = 0; i < node->rank; i++)
        if (!dim_is_const(&g->dims, node->shape[i], NULL))
            return false;
    return true;
}

static void survey(struct folder *f, struct arena *arena)
{
    const struct graph *g = f->from;
    f->users = ARENA_ARRAY(arena, uint32_t, g->nodes.count);
    f->fixed = ARENA_ARRAY(arena, bool, g->nodes.count);
    f->copies = ARENA_ARRAY(arena, value_id, g->nodes.count);
    for (uint32_t i = 0; i < g->outputs.count; i++)
        f->users[g->outputs.items[i].value]++;
    for (value_id v = g->nodes.count; v-- > 1;)
        for (uint32_t i = 0; f->users[v] > 0 && i < graph_node(g, v)->operand_count; i++)
            f->users[graph_node(g, v)->operands[i]]++;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *node = graph_node(g, v);
        f->fixed[v] =
            node->prim != PRIM_INPUT && node->prim != PRIM_SIZE && constant_shape(g, node);
        for (uint32_t i = 0; i < node->operand_count; i++)
            f->fixed[v] &= f->fixed[node->operands[i]];
    }
}

static bool is_one(const struct graph *g, dim_id dim)
{
    int64_t value;
    return dim_is_const(&g->dims, dim, &value) && value == 1;
}

/* The fixed tensor that value broadcasts, if it has one element or one per index of axis; else
 * VALUE_NONE. */
static value_id channel_vector(const struct folder *f, value_id value, uint32_t axis)
{
    const struct graph *g = f->from;
    const struct node *node = graph_node(g, value);
    if (node->rank == 1 && f->fixed[value])
        return value;
    if (node->prim != PRIM_BROADCAST || !f->fixed[node->operands[0]])
        return VALUE_NONE;
    const struct node *source = graph_node(g, node->operands[0]);
    for (uint32_t i = 0; i < source->rank; i++)
        if (!is_one(g, source->shape[i]) && node->attrs->axes[i] != axis)
            return VALUE_NONE;
    return node->operands[0];
}

/* Whether a chain can start at value; *out_axis is the axis of its output channels. */
static bool may_start(const struct folder *f, value_id value, uint32_t *out_axis)
{
    const struct node *node = graph_node(f->from, value);
    if (node->prim != PRIM_CONV && node->prim != PRIM_CONTRACT)
        return false;
    const struct node *weights = graph_node(f->from, node->operands[1]);
    bool linear = node->prim == PRIM_CONTRACT;
    if (linear && (node->attrs->batch > 0 || weights->rank != node->attrs->contract + 1))
        return false;
    *out_axis = linear ? node->rank - 1u : 1;
    return f->fixed[node->operands[1]] && !f->fixed[node->operands[0]];
}

static bool is_link(enum prim prim)
{
    return prim == PRIM_ADD || prim == PRIM_SUB || prim == PRIM_MUL || prim == PRIM_DIV;
}

/* Gathers the chain that ends at value: follows the operand computed from the input back to the
 * start. */
static bool gather(const struct folder *f, value_id value, struct chain *chain)
{
    value_id vectors[32][2];
    const uint32_t most = sizeof chain->links / sizeof *chain->links;
    uint32_t count = 0;
    value_id at = value;
    while (!may_start(f, at, &chain->channel_axis)) {
        const struct node *node = graph_node(f->from, at);
        if (!is_link((enum prim)node->prim) || count == most)
            return false;
        /* The fixed operand itself may have a symbolic shape, so its broadcast's source is tested.
         * At most one side leads to a convolution. */
        bool commutes = node->prim == PRIM_ADD || node->prim == PRIM_MUL;
        const struct node *left = graph_node(f->from, node->operands[0]);
        bool left_is_vector =
            commutes && left->prim == PRIM_BROADCAST && f->fixed[left->operands[0]];
        value_id next = node->operands[left_is_vector];
        if (f->users[next] != 1)
            return false;
        vectors[count][0] = node->operands[!left_is_vector];
        vectors[count++][1] = node->prim;
        at = next;
    }
    chain->start = at;
    chain->length = count;
    for (uint32_t i = 0; i < count; i++) {
        struct link *link = &chain->links[count - 1 - i];
        link->prim = (enum prim)vectors[i][1];
        link->vector = channel_vector(f, vectors[i][0], chain->channel_axis);
        if (link->vector == VALUE_NONE)
            return false;
    }
    return true;
}

/* Whether there are additions to join, across one factor at most. */
static bool worth_folding(const struct chain *chain)
{
    uint32_t factors = 0;
    for (uint32_t i = 0; i < chain->length; i++)
        factors += chain->links[i].prim == PRIM_MUL || chain->links[i].prim == PRIM_DIV;
    return factors <= 1 && chain->length - factors > 1;
}

/* The vector with shape [channels]. */
static value_id spread(struct builder *b, value_id vector, dim_id channels)
{
    if (vector == VALUE_NONE)
        return VALUE_NONE;
    dim_id one = dim_const(&b->graph->dims, 1);
    bool single = graph_elements(b->graph, vector) == one;
    return b_broadcast_to(b, b_reshape(b, vector, single ? &one : &channels, 1), &channels, 1);
}

/* Broadcasts a vector along one axis of a shape. */
static value_id along(struct builder *b, value_id vector, const dim_id *shape, uint32_t rank,
                      uint32_t axis)
{
    struct attrs attrs = {.rank = (uint8_t)rank, .axis_count = 1, .axes = {(uint8_t)axis}};
    memcpy(attrs.shape, shape, rank * sizeof *shape);
    return graph_add(b->graph, PRIM_BROADCAST, &vector, 1, &attrs, b->err);
}

static value_id fold(struct folder *f, struct builder *b, const struct chain *chain)
{
    const struct node start = *graph_node(b->graph, f->copies[chain->start]);
    value_id out = f->copies[chain->start], offset = VALUE_NONE;
    dim_id channels = start.shape[chain->channel_axis];
    for (uint32_t i = 0; i < chain->length; i++) {
        const struct link *link = &chain->links[i];
        value_id v = spread(b, f->copies[link->vector], channels);
        if (v == VALUE_NONE)
            return VALUE_NONE;
        if (link->prim == PRIM_MUL || link->prim == PRIM_DIV)
            out = b_binary(b, link->prim, out,
                           along(b, v, start.shape, start.rank, chain->channel_axis));
        if (offset != VALUE_NONE)
            offset = b_binary(b, link->prim, offset, v);
        else if (link->prim == PRIM_ADD || link->prim == PRIM_SUB)
            offset = link->prim == PRIM_ADD ? v : b_neg(b, v);
    }
    return b_add(b, out, along(b, offset, start.shape, start.rank, chain->channel_axis));
}

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    struct folder *f = context;
    struct builder b = {.graph = to, .err = err};
    enum dtype dtype = (enum dtype)graph_node(from, old)->dtype;
    struct chain chain;
    f->copies[old] = copy;
    if ((dtype != DTYPE_F32 && dtype != DTYPE_F64) ||
        !is_link((enum prim)graph_node(from, old)->prim) || !gather(f, old, &chain) ||
        !worth_folding(&chain))
        return copy;
    f->fired++;
    return f->copies[old] = fold(f, &b, &chain);
}

bool pass_fold_norms(struct graph *to, struct arena *arena, const struct graph *from,
                     const struct target *target, struct error *err)
{
    struct folder f = {.from = from};
    struct graph folded;
    survey(&f, arena);
    if (!graph_rewrite(&folded, arena, from, rule, &f, err))
        return false;
    return f.fired > 0 ? pass_simplify(to, arena, &folded, target, err)
                       : graph_copy_live(to, arena, &folded, err);
}
