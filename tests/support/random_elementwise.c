#include "random_graph_priv.h"

/* What a unary prim wants of its operand. */
enum domain { ANY_VALUE, SMALL, UNIT, POSITIVE };

static const struct unary_row {
    uint8_t prim, domain;
    double size; /* of the result; 0: the operand's */
} float_rows[] = {
    {PRIM_NEG, ANY_VALUE, 0},   {PRIM_ABS, ANY_VALUE, 0},  {PRIM_SIGN, ANY_VALUE, 1},
    {PRIM_FLOOR, ANY_VALUE, 0}, {PRIM_CEIL, ANY_VALUE, 0}, {PRIM_ROUND, ANY_VALUE, 0},
    {PRIM_TRUNC, ANY_VALUE, 0}, {PRIM_SQRT, POSITIVE, 4},  {PRIM_RSQRT, POSITIVE, 3},
    {PRIM_EXP, UNIT, 3},        {PRIM_EXP2, UNIT, 2},      {PRIM_EXPM1, UNIT, 2},
    {PRIM_LOG, POSITIVE, 4},    {PRIM_LOG2, POSITIVE, 6},  {PRIM_LOG1P, POSITIVE, 4},
    {PRIM_SIN, SMALL, 1},       {PRIM_COS, SMALL, 1},      {PRIM_TAN, UNIT, 2},
    {PRIM_ATAN, ANY_VALUE, 2},  {PRIM_TANH, ANY_VALUE, 1}, {PRIM_ERF, ANY_VALUE, 1},
    {PRIM_ERFC, SMALL, 2},      {PRIM_COPY, ANY_VALUE, 0}, {PRIM_IS_NAN, ANY_VALUE, 0},
};

struct item gen_unary(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 0);
    if (!x)
        return (struct item){0};
    enum dtype_kind kind = dtype_kind((enum dtype)gen_node(gen, x)->dtype);
    if (kind != DTYPE_KIND_FLOAT) {
        static const uint8_t ints[] = {PRIM_NEG, PRIM_ABS, PRIM_SIGN, PRIM_NOT, PRIM_COPY};
        enum prim prim =
            kind == DTYPE_KIND_BOOL ? PRIM_NOT : (enum prim)ints[gen_roll(gen, sizeof ints)];
        return (struct item){.value = b_unary(&gen->b, prim, x->value)};
    }
    const struct unary_row *row =
        &float_rows[gen_roll(gen, sizeof float_rows / sizeof float_rows[0])];
    struct item in = *x;
    if (row->domain == SMALL)
        in = gen_tame(gen, x, 8);
    if (row->domain == UNIT)
        in = gen_tame(gen, x, 1);
    if (row->domain == POSITIVE) {
        in = gen_tame(gen, x, 16);
        in.value = b_shift(&gen->b, b_unary(&gen->b, PRIM_ABS, in.value), 0.125);
    }
    return (struct item){.value = b_unary(&gen->b, (enum prim)row->prim, in.value),
                         .size = row->size > 0 ? row->size : in.size};
}

/* A second operand for x: of its shape, of a part of it, or one number. */
static struct item partner(struct gen *gen, const struct item *x)
{
    const struct node *node = gen_node(gen, x);
    dim_id shape[LIMIT_RANK];
    uint32_t how = gen_roll(gen, 6), skip = 0;
    if (how == 0)
        return (struct item){.value = b_const_like(&gen->b, x->value, 0.25 * gen_roll(gen, 12)),
                             .size = 3};
    if (how > 1)
        return gen_match(gen, x);
    if (node->rank > 0)
        skip = gen_roll(gen, node->rank);
    for (uint32_t i = skip; i < node->rank; i++)
        shape[i - skip] =
            gen_roll(gen, 3) == 0 ? dim_const(&gen->b.graph->dims, 1) : node->shape[i];
    return gen_source(gen, (enum dtype)node->dtype, shape, node->rank - skip);
}

/* |y| + 1/2 */
static value_id away_from_zero(struct gen *gen, const struct item *y)
{
    return b_shift(&gen->b, b_unary(&gen->b, PRIM_ABS, y->value), 0.5);
}

struct item gen_binary(struct gen *gen)
{
    const struct item *picked = gen_pick(gen, GEN_NUM, 0);
    if (!picked)
        return (struct item){0};
    struct builder *b = &gen->b;
    struct item x = gen_tame(gen, picked, 64);
    if (x.value == VALUE_NONE)
        return x;
    bool is_float = dtype_is_float((enum dtype)gen_node(gen, &x)->dtype);
    struct item y = partner(gen, &x), swap;
    y = y.value == VALUE_NONE ? y : gen_tame(gen, &y, 16);
    if (gen_roll(gen, 3) == 0) {
        swap = x;
        x = y;
        y = swap;
    }
    double larger = x.size > y.size ? x.size : y.size;
    if (y.value == VALUE_NONE || x.value == VALUE_NONE)
        return (struct item){0};
    switch (gen_roll(gen, is_float ? 9 : 8)) {
    case 0:
    case 1: return (struct item){.value = b_add(b, x.value, y.value), .size = x.size + y.size};
    case 2: return (struct item){.value = b_sub(b, x.value, y.value), .size = x.size + y.size};
    case 3:
    case 4: return (struct item){.value = b_mul(b, x.value, y.value), .size = x.size * y.size};
    case 5: return (struct item){.value = b_binary(b, PRIM_MIN, x.value, y.value), .size = larger};
    case 6: return (struct item){.value = b_binary(b, PRIM_MAX, x.value, y.value), .size = larger};
    case 7: {
        enum prim prim = gen_roll(gen, 3) == 0 ? PRIM_REM : PRIM_DIV;
        value_id divisor = is_float ? away_from_zero(gen, &y) : y.value;
        return (struct item){.value = b_binary(b, prim, x.value, divisor), .size = 2 * larger};
    }
    default: {
        struct item base = gen_tame(gen, &x, 2), power = gen_tame(gen, &y, 1);
        return (struct item){
            .value = b_binary(b, PRIM_POW, away_from_zero(gen, &base), power.value), .size = 3};
    }
    }
}

struct item gen_logic(struct gen *gen)
{
    static const uint8_t prims[] = {PRIM_AND, PRIM_OR, PRIM_XOR, PRIM_SHL, PRIM_SHR};
    const struct item *x = gen_pick(gen, GEN_BITS, 0);
    if (!x)
        return (struct item){0};
    struct item y = gen_match(gen, x);
    bool is_bool = gen_node(gen, x)->dtype == DTYPE_BOOL;
    enum prim prim = (enum prim)prims[gen_roll(gen, is_bool ? 3 : 5)];
    return (struct item){.value = b_binary(&gen->b, prim, x->value, y.value)};
}

struct item gen_compare(struct gen *gen)
{
    static const uint8_t prims[] = {PRIM_EQ, PRIM_NE, PRIM_LT, PRIM_LE};
    const struct item *x = gen_pick(gen, GEN_ANY, 0);
    if (!x)
        return (struct item){0};
    struct item y = gen_match(gen, x);
    return (struct item){
        .value = b_binary(&gen->b, (enum prim)prims[gen_roll(gen, 4)], x->value, y.value)};
}

struct item gen_select(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 0);
    if (!x)
        return (struct item){0};
    const struct node *node = gen_node(gen, x);
    struct item y = gen_match(gen, x), c = {0};
    for (uint32_t i = 0; i < gen->item_count && c.value == VALUE_NONE; i++) {
        const struct node *other = gen_node(gen, &gen->items[i]);
        bool same = other->dtype == DTYPE_BOOL && other->rank == node->rank;
        for (uint32_t d = 0; same && d < node->rank; d++)
            same = other->shape[d] == node->shape[d];
        if (same)
            c = gen->items[i];
    }
    if (c.value == VALUE_NONE)
        c = gen_source(gen, DTYPE_BOOL, node->shape, node->rank);
    return (struct item){.value = b_select(&gen->b, c.value, x->value, y.value),
                         .size = x->size > y.size ? x->size : y.size};
}

struct item gen_cast(struct gen *gen)
{
    const struct item *x = gen_pick(gen, GEN_ANY, 0);
    enum dtype to = gen_dtype(gen);
    if (!x)
        return (struct item){0};
    bool from_int = dtype_is_int((enum dtype)gen_node(gen, x)->dtype);
    struct item in = gen_tame(gen, x, 100);
    enum dtype from = (enum dtype)gen_node(gen, &in)->dtype;
    if (from_int && dtype_is_int(to) && dtype_bytes(from) == dtype_bytes(to))
        return (struct item){.value = b_bitcast(&gen->b, in.value, to), .size = 1e5};
    return (struct item){.value = b_cast(&gen->b, in.value, to), .size = from_int ? 1e5 : in.size};
}
