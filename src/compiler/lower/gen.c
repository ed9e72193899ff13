/* The value of a graph node at an index. */
#include "compiler/lower/lower_priv.h"

#include <stdio.h>

/* Adds the memory of a value as the nest's next argument. */
static uint32_t add_argument(struct lowering *l, value_id memory, enum buffer_role role)
{
    const struct node *node = graph_node(l->graph, memory);
    uint32_t argument = l->nest->arguments.count;
    expr_id elements = index_const(l->nest, 1);
    char name[16];
    for (uint32_t i = 0; i < node->rank; i++)
        elements = index_mul(l->nest, elements, expr_dim(l->nest, node->shape[i]));
    snprintf(name, sizeof name, "b%u", argument); /* by argument: equal kernels have equal text */
    struct nest_buffer buffer = {.name = arena_strdup(l->nest->arena, name),
                                 .dtype = node->dtype,
                                 .elements = elements,
                                 .role = (uint8_t)role,
                                 .value = memory};
    if (argument >= LIMIT_KERNEL_BUFFERS && !l->failed)
        l->failed =
            !fail(l->err, ERR_LIMIT, "a kernel with more than %d buffers", LIMIT_KERNEL_BUFFERS);
    return nest_buffer(l->nest, &buffer);
}

uint32_t gen_output(struct lowering *l)
{
    assert(l->nest->arguments.count == 0 && "outputs come first");
    return add_argument(l, l->group->root, ROLE_OUT);
}

uint32_t gen_buffer(struct lowering *l, value_id value)
{
    value_id memory = l->partition->values[value].memory;
    for (uint32_t i = 0; i < l->nest->arguments.count; i++)
        if (nest_argument(l->nest, i)->value == memory)
            return l->nest->arguments.items[i];
    return add_argument(l, memory, ROLE_IN);
}

expr_id gen_flat(struct lowering *l, const struct node *node, const expr_id *idx)
{
    expr_id flat = index_const(l->nest, 0);
    for (uint32_t i = 0; i < node->rank; i++)
        flat =
            index_add(l->nest, index_mul(l->nest, flat, expr_dim(l->nest, node->shape[i])), idx[i]);
    return flat;
}

static expr_id and_guard(struct lowering *l, expr_id a, expr_id b)
{
    return a == EXPR_NONE ? b : b == EXPR_NONE ? a : expr_binary(l->nest, EXPR_AND, a, b);
}

static expr_id gen_pad(struct lowering *l, const struct node *node, const struct at *at)
{
    struct nest *nest = l->nest;
    const struct node *x = graph_node(l->graph, node->operands[0]);
    struct at inner = *at;
    expr_id inside = expr_int(nest, DTYPE_BOOL, 1);
    for (uint32_t i = 0; i < node->rank; i++) {
        inner.idx[i] = index_sub(nest, at->idx[i], expr_dim(nest, node->attrs->low[i]));
        expr_id low = expr_binary(nest, EXPR_LE, index_const(nest, 0), inner.idx[i]);
        expr_id high = expr_binary(nest, EXPR_LT, inner.idx[i], expr_dim(nest, x->shape[i]));
        inside = expr_binary(nest, EXPR_AND, inside, expr_binary(nest, EXPR_AND, low, high));
    }
    inner.guard = and_guard(l, at->guard, inside);
    struct at scalar = {.guard = EXPR_NONE};
    return expr_select(nest, inside, gen(l, node->operands[0], &inner),
                       gen(l, node->operands[1], &scalar));
}

static expr_id gen_concat(struct lowering *l, const struct node *node, const struct at *at)
{
    struct nest *nest = l->nest;
    uint32_t axis = (uint32_t)node->attrs->axis;
    expr_id start = index_const(nest, 0), out = EXPR_NONE;
    for (uint32_t i = 0; i < node->operand_count; i++) {
        expr_id end = index_add(
            nest, start, expr_dim(nest, graph_node(l->graph, node->operands[i])->shape[axis]));
        expr_id here = expr_binary(nest, EXPR_AND, expr_binary(nest, EXPR_LE, start, at->idx[axis]),
                                   expr_binary(nest, EXPR_LT, at->idx[axis], end));
        struct at part = *at;
        part.idx[axis] = index_sub(nest, at->idx[axis], start);
        part.guard = and_guard(l, at->guard, here);
        expr_id v = gen(l, node->operands[i], &part);
        out = out == EXPR_NONE ? v : expr_select(nest, here, v, out);
        start = end;
    }
    return out;
}

/* squares32 of base/rng.h, on i64. */
static expr_id gen_random(struct lowering *l, const struct node *node, const struct at *at)
{
    struct nest *n = l->nest;
    struct at scalar = {.guard = EXPR_NONE};
    expr_id c32 = expr_int(n, DTYPE_I64, 32), z = gen(l, node->operands[0], &scalar);
#define BIN(op, a, b) expr_binary(n, EXPR_##op, a, b)
#define K(v) expr_int(n, DTYPE_I64, (int64_t)(v))
    z = BIN(ADD, z, K(0x9e3779b97f4a7c15u));
    z = BIN(MUL, BIN(XOR, z, BIN(LSHR, z, K(30))), K(0xbf58476d1ce4e5b9u));
    z = BIN(MUL, BIN(XOR, z, BIN(LSHR, z, K(27))), K(0x94d049bb133111ebu));
    expr_id key = BIN(OR, BIN(XOR, z, BIN(LSHR, z, K(31))), K(1));
    expr_id y = BIN(MUL, gen_flat(l, node, at->idx), key), w = BIN(ADD, y, key), x = y;
    for (int round = 0; round < 4; round++) {
        x = BIN(ADD, BIN(MUL, x, x), round % 2 ? w : y);
        if (round < 3)
            x = BIN(OR, BIN(LSHR, x, c32), BIN(SHL, x, c32));
    }
    return BIN(LSHR, x, c32);
#undef BIN
#undef K
}

static expr_id gen_literal(struct lowering *l, const struct node *node, const struct at *at)
{
    struct nest_buffer table = {
        .name = "table",
        .dtype = node->dtype,
        .role = ROLE_TABLE,
        .table = node->attrs->data,
        .table_bytes = node->attrs->data_bytes,
        .elements =
            index_const(l->nest, (int64_t)(node->attrs->data_bytes / dtype_bytes(node->dtype)))};
    uint32_t buffer = UINT32_MAX;
    for (uint32_t i = 0; i < l->nest->buffers.count; i++)
        if (l->nest->buffers.items[i].table == table.table)
            buffer = i;
    if (buffer == UINT32_MAX)
        buffer = nest_buffer(l->nest, &table);
    return expr_load(l->nest, buffer, gen_flat(l, node, at->idx), at->guard);
}

/* The highest operand below a bound, VALUE_NONE if there is none. */
static value_id highest_operand(const struct node *node, value_id below)
{
    value_id best = VALUE_NONE;
    for (uint32_t i = 0; i < node->operand_count; i++)
        if (node->operands[i] < below && node->operands[i] > best)
            best = node->operands[i];
    return best;
}

static expr_id gen_made(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    struct at source;
    switch ((enum prim)node->prim) {
    case PRIM_CONST: return gen_const(l->nest, node);
    case PRIM_LITERAL: return gen_literal(l, node, at);
    case PRIM_IOTA: return gen_as(l->nest, at->idx[node->attrs->axis], (enum dtype)node->dtype);
    case PRIM_SIZE: return expr_dim(l->nest, node->attrs->shape[0]);
    case PRIM_RANDOM: return gen_random(l, node, at);
    case PRIM_PAD: return gen_pad(l, node, at);
    case PRIM_CONCAT: return gen_concat(l, node, at);
    case PRIM_REDUCE_SUM:
    case PRIM_REDUCE_PROD:
    case PRIM_REDUCE_MAX:
    case PRIM_REDUCE_MIN:
    case PRIM_ARGMAX:
    case PRIM_ARGMIN:
    case PRIM_CONTRACT:
    case PRIM_CONV:
    case PRIM_WINDOW_SUM:
    case PRIM_WINDOW_MAX: return gen_reduction(l, value, at);
    default: break;
    }
    if (view_source(l, node, at, &source))
        return gen(l, node->operands[0], &source);
    expr_id v[3] = {0};
    assert(node->operand_count <= 3);
    /* Later values first, so that a reduction that keeps a value comes before a direct reader of
     * it. */
    for (value_id last = value, next; (next = highest_operand(node, last)) != VALUE_NONE;
         last = next)
        for (uint32_t i = 0; i < node->operand_count; i++)
            if (node->operands[i] == next)
                v[i] = gen(l, next, at);
    return gen_elementwise(l, node, v);
}

/* Every use of a narrow value is rounded to its dtype, as if it had been stored. */
expr_id gen_node(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    enum prim prim = (enum prim)node->prim;
    expr_id made = gen_made(l, value, at);
    bool reduction = (prim >= PRIM_REDUCE_SUM && prim <= PRIM_ARGMIN) ||
                     (prim >= PRIM_CONTRACT && prim <= PRIM_WINDOW_MAX);
    bool narrow = node->dtype == DTYPE_F16 || node->dtype == DTYPE_BF16;
    if (!reduction) /* reductions are counted per element taken in (finish) */
        work_add(l, value, depth_of_expr(l, made));
    return narrow && prim_rounds(prim) ? expr_round(l->nest, made, (enum dtype)node->dtype) : made;
}

static expr_id gen_guarded(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    uint8_t place = l->partition->values[value].place;
    if (place != PLACE_INLINE && value != l->group->root)
        return expr_load(l->nest, gen_buffer(l, value), gen_flat(l, node, at->idx), at->guard);
    uint64_t hash = hash64_mix(value, at->guard);
    for (uint32_t i = 0; i < node->rank; i++)
        hash = hash64_mix(hash, at->idx[i]);
    uint32_t cursor = 0, id;
    while (map_next(&l->by_key, hash, &cursor, &id)) {
        const struct generated *g = &l->generated.items[id];
        if (g->value == value && g->at.guard == at->guard &&
            memcmp(g->at.idx, at->idx, node->rank * sizeof(expr_id)) == 0)
            return g->expr;
    }
    bool keep = l->partition->values[value].kept, stage = l->group->staged == value;
    bool row = keep || stage || value == l->weights;
    expr_id expr = row ? keep_find(l, value, at) : EXPR_NONE;
    if (expr == EXPR_NONE && stage)
        expr = stage_value(l, value, at);
    if (expr == EXPR_NONE) {
        bool elementwise = prim_is_elementwise((enum prim)node->prim);
        expr = elementwise ? gen_once(l, value, at) : gen_node(l, value, at);
        if (keep)
            keep_value(l, value, at, expr);
    }
    struct generated made = {.value = value, .at = *at, .rank = node->rank, .expr = expr};
    map_add(&l->by_key, l->nest->arena, hash, l->generated.count);
    VEC_PUSH(l->nest->arena, &l->generated, made);
    return made.expr;
}

/* Whether the index lies inside the value even without the guard. The guard is dropped then: it
 * would make the value depend on loops that it does not depend on. */
static bool always_inside(struct lowering *l, const struct node *node, const expr_id *idx)
{
    expr_id zero = index_const(l->nest, 0), one = index_const(l->nest, 1);
    for (uint32_t i = 0; i < node->rank; i++)
        if (!index_le(l->nest, zero, idx[i]) ||
            !index_le(l->nest, index_add(l->nest, idx[i], one), expr_dim(l->nest, node->shape[i])))
            return false;
    return true;
}

expr_id gen(struct lowering *l, value_id value, const struct at *given)
{
    const struct node *node = graph_node(l->graph, value);
    struct at at = *given;
    if (at.guard != EXPR_NONE && always_inside(l, node, at.idx))
        at.guard = EXPR_NONE;
    return gen_guarded(l, value, &at);
}
