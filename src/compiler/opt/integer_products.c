/* Products and convolutions of small integers in f32.
 *
 *   contract(a, b) : i32
 *     ->  cast(contract(cast a, cast b)) + cast(contract(…)) + … : i32
 *
 * Processors multiply vectors of f32 up to four times as fast as vectors of i32. A sum of products
 * of integers is exact in f32, in any order and with or without fused multiply-adds, as long as no
 * partial sum can be larger than 2^24. How large elements of a and b can be follows from their
 * types and from what was done to them: quantised tensors are u8 or i8 less a zero point. From this
 * comes the number of terms that a sum may have. Longer ones are cut into blocks, of the contracted
 * dim or of channels, whose sums are added in i32.
 *
 * Condition: the number of terms is constant, and elements are so small that a block of FEWEST
 * terms is exact. So results have the same bits, on all arguments. */
#include "base/arena.h"
#include "compiler/opt/opt_priv.h"
#include "graph/build.h"

#define EXACT ((int64_t)1 << 24) /* f32 has all integers up to here */
#define SMALL ((int64_t)1 << 20) /* larger bounds are not kept, so they can be added */
#define FEWEST 32                /* terms of a block; fewer cost more to add than they save */
#define BLOCKS_MOST 8            /* of one product */
#define STEP 8                   /* blocks have a multiple of so many indices, but for the last */

/* Between what integers a value's elements lie. */
struct span {
    int64_t low, high;
};

/* That of all values of a type; of floats and wide types nothing is known but the sign. */
static struct span whole(enum dtype dtype)
{
    if (dtype == DTYPE_BOOL)
        return (struct span){0, 1};
    if (!dtype_is_float(dtype) && dtype_bytes(dtype) <= 2)
        return (struct span){dtype_least(dtype), dtype_greatest(dtype)};
    return (struct span){dtype_is_unsigned(dtype) ? 0 : -2 * SMALL, 2 * SMALL};
}

static struct span joined(struct span a, struct span b)
{
    return (struct span){a.low < b.low ? a.low : b.low, a.high > b.high ? a.high : b.high};
}

static bool is_small(struct span s)
{
    return s.low >= -SMALL && s.high <= SMALL;
}

static int64_t magnitude(struct span s)
{
    int64_t below = -s.low;
    return below > s.high ? below : s.high;
}

/* The span of a literal of one-byte integers. */
static struct span span_of_literal(const struct node *n)
{
    const uint8_t *data = n->attrs->data;
    struct span s = whole((enum dtype)n->dtype);
    if (dtype_bytes((enum dtype)n->dtype) != 1 || n->attrs->data_bytes == 0)
        return s;
    for (uint32_t i = 0; i < n->attrs->data_bytes; i++) {
        int64_t x = dtype_wrap((enum dtype)n->dtype, data[i]);
        s = i == 0 ? (struct span){x, x} : joined(s, (struct span){x, x});
    }
    return s;
}

/* From the spans of the operands. Results that may wrap have the span of their type. */
static struct span span_of(const struct node *n, const struct span *spans)
{
    const struct span all = whole((enum dtype)n->dtype);
    struct span a = n->operand_count > 0 ? spans[n->operands[0]] : all, s = all;
    struct span b = n->operand_count > 1 ? spans[n->operands[1]] : a;
    bool small = is_small(a) && is_small(b);
    if (dtype_is_float((enum dtype)n->dtype))
        return all;
    switch ((enum prim)n->prim) {
    case PRIM_CONST: s = (struct span){n->attrs->integer, n->attrs->integer}; break;
    case PRIM_LITERAL: return span_of_literal(n);
    case PRIM_NEG: s = small ? (struct span){-a.high, -a.low} : all; break;
    case PRIM_ADD: s = small ? (struct span){a.low + b.low, a.high + b.high} : all; break;
    case PRIM_SUB: s = small ? (struct span){a.low - b.high, a.high - b.low} : all; break;
    case PRIM_MIN:
    case PRIM_MAX:
    case PRIM_PAD: return joined(a, b);
    case PRIM_SELECT: return joined(b, spans[n->operands[2]]);
    case PRIM_CAST:
    case PRIM_RESHAPE:
    case PRIM_TRANSPOSE:
    case PRIM_BROADCAST:
    case PRIM_SLICE:
    case PRIM_REVERSE:
    case PRIM_TAKE:
    case PRIM_GATHER:
    case PRIM_COPY: s = a; break;
    case PRIM_CONCAT:
        for (uint32_t i = 1; i < n->operand_count; i++)
            a = joined(a, spans[n->operands[i]]);
        return a;
    default: return all;
    }
    return s.low >= all.low && s.high <= all.high && is_small(s) ? s : all;
}

/* Indices of a dim, and how many a block may have; terms: of one index. */
struct blocks {
    int64_t count, each, terms;
};

/* false: there is no room for a block worth having. */
static bool cut(struct blocks *out, int64_t count, int64_t terms, int64_t most)
{
    *out = (struct blocks){count, count, terms};
    if (count <= 0 || terms <= 0 || terms > most)
        return false;
    int64_t fit = most / terms;
    if (count <= fit)
        return true;
    if (fit >= STEP)
        fit -= fit % STEP;
    int64_t parts = (count + fit - 1) / fit;
    out->each = (count + parts - 1) / parts;
    if (fit >= STEP)
        out->each = (out->each + STEP - 1) / STEP * STEP;
    return parts <= BLOCKS_MOST && out->each * terms >= FEWEST;
}

/* The product of constant dims from one on; false: one is not constant, or they are too many. */
static bool elements_from(const struct graph *g, const struct node *n, uint32_t first, int64_t *out)
{
    *out = 1;
    for (uint32_t i = first; i < n->rank; i++) {
        int64_t size;
        if (!dim_is_const(&g->dims, n->shape[i], &size) || size <= 0 || size > EXACT)
            return false;
        *out *= size;
        if (*out > EXACT)
            return false;
    }
    return true;
}

/* Where a product can be cut: the axes of both operands, and blocks of at most `most` terms. */
static bool find_blocks(const struct graph *g, const struct node *n, int64_t most, uint32_t axes[2],
                        struct blocks *out)
{
    const struct node *x = graph_node(g, n->operands[0]), *w = graph_node(g, n->operands[1]);
    bool conv = n->prim == PRIM_CONV;
    axes[0] = conv ? 1 : x->rank - n->attrs->contract;
    axes[1] = conv ? 1 : w->rank - n->attrs->contract;
    if (axes[1] >= w->rank)
        return false;
    int64_t size, terms;
    if (!dim_is_const(&g->dims, w->shape[axes[1]], &size) ||
        !elements_from(g, w, axes[1] + 1, &terms) || !cut(out, size, terms, most))
        return false;
    return out->each == out->count || !conv || n->attrs->groups == 1;
}

/* The sum of the block from an index on, in i32. */
static value_id block_sum(struct builder *b, const struct node *n, const uint32_t axes[2],
                          const struct blocks *blocks, int64_t first)
{
    value_id in[2] = {n->operands[0], n->operands[1]};
    int64_t left = blocks->count - first, count = left < blocks->each ? left : blocks->each;
    in[0] = b_cast(b, in[0], DTYPE_F32); /* once for all blocks; weights are packed by block */
    for (int i = 0; i < 2 && count < blocks->count; i++)
        if (in[i] != VALUE_NONE)
            in[i] = b_slice(b, in[i], (int64_t)axes[i], b_dim_const(b, first),
                            b_dim_const(b, count), 1);
    if (in[1] != VALUE_NONE)
        in[1] = b_cast(b, in[1], DTYPE_F32);
    if (in[0] == VALUE_NONE || in[1] == VALUE_NONE)
        return VALUE_NONE;
    value_id sum = graph_add(b->graph, (enum prim)n->prim, in, 2, n->attrs, b->err);
    return sum == VALUE_NONE ? sum : b_cast(b, sum, DTYPE_I32);
}

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    const struct span *spans = context; /* by value of the old graph */
    struct builder b = {to, err};
    struct node n = *graph_node(to, copy);
    struct blocks blocks;
    uint32_t axes[2];
    if ((n.prim != PRIM_CONTRACT && n.prim != PRIM_CONV) || n.dtype != DTYPE_I32)
        return copy;
    const value_id *in = graph_node(from, old)->operands;
    struct span x = spans[in[0]], w = spans[in[1]];
    int64_t largest = magnitude(x) * magnitude(w);
    if (!is_small(x) || !is_small(w) || largest > EXACT / FEWEST ||
        !find_blocks(to, &n, EXACT / (largest > 0 ? largest : 1), axes, &blocks))
        return copy;
    value_id sum = VALUE_NONE, operands[2] = {n.operands[0], n.operands[1]};
    n.operands = operands;
    for (int64_t first = 0; first < blocks.count; first += blocks.each) {
        value_id term = block_sum(&b, &n, axes, &blocks, first);
        sum = first == 0 || term == VALUE_NONE ? term : b_add(&b, sum, term);
        if (sum == VALUE_NONE)
            return sum;
    }
    return sum;
}

bool pass_integer_products(struct graph *to, struct arena *arena, const struct graph *from,
                           const struct target *target, struct error *err)
{
    struct graph changed;
    struct span *spans = ARENA_ARRAY(arena, struct span, from->nodes.count);
    (void)target;
    for (value_id v = 1; v < from->nodes.count; v++)
        spans[v] = span_of(graph_node(from, v), spans);
    return graph_rewrite(&changed, arena, from, rule, spans, err) &&
           graph_copy_live(to, arena, &changed, err);
}
