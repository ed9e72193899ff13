/* Large reductions to few results, in two stages.
 *
 *   reduce(x[N])
 *     ->  reduce(copy(reduce(x[c, N/c])))
 *
 * Threads share the elements of a kernel's result, so one thread would compute a sum of a million
 * terms. The copy stores c partial results. c depends on sizes only, so the result does not depend
 * on threads. An axis is split where a divisor of its size is known; if several axes are reduced,
 * one of them may be left to the second stage as it is.
 *
 * Roundings change as with another order of summation. f16 and bf16 would round partial results,
 * too, and are not changed. */
#include "compiler/opt/opt_priv.h"
#include "graph/build.h"

/* to reduce: the largest size must have so many for threads to be worth it, … */
#define LEAST_ELEMENTS (1 << 18)
#define LEAST_ALWAYS (1 << 14) /* … and the least size so many */
#define ENOUGH_UNITS 16        /* units of work that keep threads busy without a split */
#define MOST_UNITS 128
#define COLUMNS 256 /* that one unit reduces in parallel, if the last axis is not reduced */
#define FEWEST_CHUNKS 4

struct reductions {
    const uint32_t *users; /* by value of the old graph: number of operands and outputs that name
                              it */
    const bool *per_call;
};

struct amount {
    int64_t lo, hi;
};

static struct amount amount_of(const struct graph *g, const struct node *x, const bool *reduced,
                               bool which)
{
    struct amount a = {1, 1};
    for (uint32_t i = 0; i < x->rank; i++) {
        int64_t lo, hi;
        if (reduced[i] != which)
            continue;
        dim_range(&g->dims, x->shape[i], &lo, &hi);
        a.lo = lo > 0 && a.lo > LIMIT_DIM_VALUE / lo ? LIMIT_DIM_VALUE : a.lo * lo;
        a.hi = hi > 0 && a.hi > LIMIT_DIM_VALUE / hi ? LIMIT_DIM_VALUE : a.hi * hi;
    }
    return a;
}

/* Whether v is computed from other reductions or used by others, as in softmax: such a kernel reads
 * a row once and uses it several times, so its reductions stay together. */
static bool shared(const struct graph *g, const struct reductions *r, value_id v)
{
    const struct node *n = graph_node(g, v);
    enum prim prim = (enum prim)n->prim;
    bool inside = prim_is_elementwise(prim) || prim == PRIM_RESHAPE || prim == PRIM_TRANSPOSE ||
                  prim == PRIM_BROADCAST || prim == PRIM_SLICE;
    if (prim >= PRIM_REDUCE_SUM && prim <= PRIM_ARGMIN)
        return true;
    if (!inside)
        return false;
    if (r->users[v] > 1)
        return true;
    for (uint32_t i = 0; i < n->operand_count; i++)
        if (shared(g, r, n->operands[i]))
            return true;
    return false;
}

/* The number of equal parts into which dim can be divided, at most `most`; dim itself if it is no
 * larger. DIM_NONE: too few parts. */
static dim_id parts_of(struct graph *g, dim_id dim, int64_t most, int64_t *out_count)
{
    int64_t lo, hi;
    dim_range(&g->dims, dim, &lo, &hi);
    *out_count = hi;
    if (hi <= most)
        return hi >= FEWEST_CHUNKS ? dim : DIM_NONE;
    for (*out_count = most; *out_count >= FEWEST_CHUNKS; --*out_count) {
        dim_id parts = dim_const(&g->dims, *out_count);
        if (dim_div_exact(&g->dims, dim, parts) != DIM_NONE)
            return parts;
    }
    return DIM_NONE;
}

/* The axis to divide, with the number of parts in *out_parts; -1: none. */
static int best_axis(struct graph *g, const struct node *x, const struct attrs *attrs, int64_t most,
                     dim_id *out_parts)
{
    int best = -1;
    int64_t best_count = 0;
    for (uint32_t i = 0; i < attrs->axis_count; i++) {
        int64_t count;
        dim_id dim = x->shape[attrs->axes[i]], parts = parts_of(g, dim, most, &count);
        bool whole = parts == dim;
        if (parts == DIM_NONE || count <= best_count || (whole && attrs->axis_count == 1) ||
            (!whole && x->rank == LIMIT_RANK))
            continue;
        best = attrs->axes[i];
        best_count = count;
        *out_parts = parts;
    }
    return best;
}

static value_id in_two(struct builder *b, struct node n, int axis, dim_id parts)
{
    value_id v = n.operands[0];
    struct node x = *b_node(b, v);
    bool whole = parts == x.shape[axis];
    int64_t axes[LIMIT_RANK], last = axis;
    uint32_t count = 0;
    for (uint32_t i = 0; i < n.attrs->axis_count; i++) {
        int64_t a = n.attrs->axes[i];
        if (a != axis || !whole)
            axes[count++] = a + (!whole && a >= axis);
        last -= a < axis;
    }
    if (!whole) {
        dim_id shape[LIMIT_RANK];
        for (uint32_t i = 0; i < x.rank; i++)
            shape[i + ((int)i > axis)] = x.shape[i];
        shape[axis] = parts;
        shape[axis + 1] = dim_div_exact(&b->graph->dims, x.shape[axis], parts);
        v = b_reshape(b, v, shape, x.rank + 1u);
    }
    v = b_unary(b, PRIM_COPY, b_reduce(b, (enum prim)n.prim, v, axes, count, false));
    return b_reduce(b, (enum prim)n.prim, v, &last, 1, false);
}

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    const struct reductions *r = context;
    struct builder b = {to, err};
    struct node n = *graph_node(to, copy);
    bool reduced[LIMIT_RANK] = {0};
    if (n.prim < PRIM_REDUCE_SUM || n.prim > PRIM_REDUCE_MIN || n.dtype == DTYPE_F16 ||
        n.dtype == DTYPE_BF16 || !r->per_call[old])
        return copy;
    struct node x = *graph_node(to, n.operands[0]);
    for (uint32_t i = 0; i < n.attrs->axis_count; i++)
        reduced[n.attrs->axes[i]] = true;
    struct amount kept = amount_of(to, &x, reduced, false), sum = amount_of(to, &x, reduced, true);
    if (kept.hi > ENOUGH_UNITS * COLUMNS || sum.hi * kept.hi < LEAST_ELEMENTS ||
        sum.lo * kept.lo < LEAST_ALWAYS)
        return copy;
    int64_t units = reduced[x.rank - 1] ? kept.hi : (kept.hi + COLUMNS - 1) / COLUMNS;
    bool alone = units == 1 || !shared(from, r, graph_node(from, old)->operands[0]);
    dim_id parts = DIM_NONE;
    int axis = units < ENOUGH_UNITS && alone
                   ? best_axis(to, &x, n.attrs, MOST_UNITS / (units > 0 ? units : 1), &parts)
                   : -1;
    return axis < 0 ? copy : in_two(&b, n, axis, parts);
}

bool pass_split_reductions(struct graph *to, struct arena *arena, const struct graph *from,
                           const struct target *target, struct error *err)
{
    uint32_t *users = ARENA_ARRAY(arena, uint32_t, from->nodes.count);
    struct reductions r = {users, values_per_call(from, arena)};
    struct graph split;
    (void)target;
    for (value_id v = 1; v < from->nodes.count; v++)
        for (uint32_t i = 0; i < graph_node(from, v)->operand_count; i++)
            users[graph_node(from, v)->operands[i]]++;
    for (uint32_t i = 0; i < from->outputs.count; i++)
        users[from->outputs.items[i].value]++;
    return graph_rewrite(&split, arena, from, rule, &r, err) &&
           graph_copy_live(to, arena, &split, err);
}
