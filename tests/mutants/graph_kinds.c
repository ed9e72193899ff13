/* Values of a graph that mean something else: another prim, another attribute, another operand. */
#include <math.h>
#include <string.h>

#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

static const char *name_of(const struct node *n)
{
    return prim_info((enum prim)n->prim)->name;
}

static bool is_prim(const struct node *n, enum prim a, enum prim b)
{
    return n->prim == a || n->prim == b;
}

/* x with another prim, attributes or operands; these may be NULL: as they are. */
static value_id again(struct builder *b, value_id x, enum prim prim, const value_id *operands,
                      const struct attrs *attrs)
{
    struct node n = *b_node(b, x);
    return graph_add(b->graph, prim, operands ? operands : n.operands, n.operand_count,
                     attrs ? attrs : n.attrs, b->err);
}

static value_id swap_prims(struct mutation *m, struct builder *b, value_id x, enum prim p,
                           enum prim q)
{
    const struct node *n = b_node(b, x);
    if (!is_prim(n, p, q) || !mutation_here(m, "%s %%%u", name_of(n), x))
        return x;
    return again(b, x, n->prim == p ? q : p, NULL, NULL);
}

/* Whether x repeats fewer values than it has. */
static bool repeats(const struct builder *b, value_id x)
{
    const struct node *n = b_node(b, x);
    return n->prim == PRIM_BROADCAST || n->prim == PRIM_CONST;
}

/* The operand that stays when the other one, if it is only repeated, is dropped. */
static value_id drop_repeated(struct mutation *m, struct builder *b, value_id x, enum prim prim)
{
    struct node n = *b_node(b, x);
    if (n.prim != prim || repeats(b, n.operands[0]) == repeats(b, n.operands[1]))
        return x;
    if (!mutation_here(m, "%s %%%u", name_of(&n), x))
        return x;
    return repeats(b, n.operands[0]) ? n.operands[1] : n.operands[0];
}

value_id graph_drop_bias(struct mutation *m, struct builder *b, value_id x)
{
    return drop_repeated(m, b, x, PRIM_ADD);
}

value_id graph_drop_scale(struct mutation *m, struct builder *b, value_id x)
{
    return drop_repeated(m, b, x, PRIM_MUL);
}

value_id graph_drop_clamp(struct mutation *m, struct builder *b, value_id x)
{
    value_id y = drop_repeated(m, b, x, PRIM_MAX);
    return y == x ? drop_repeated(m, b, x, PRIM_MIN) : y;
}

value_id graph_drop_function(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    bool function = n.prim >= PRIM_NEG && n.prim <= PRIM_ERFC;
    return function && mutation_here(m, "%s %%%u", name_of(&n), x) ? n.operands[0] : x;
}

value_id graph_drop_residual(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_ADD || repeats(b, n.operands[0]) || repeats(b, n.operands[1]) ||
        !mutation_here(m, "add %%%u", x))
        return x;
    return n.operands[0];
}

/* x - max over a row, in softmax: without the maximum. */
value_id graph_no_maximum(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_SUB)
        return x;
    value_id max = n.operands[1];
    while (is_prim(b_node(b, max), PRIM_BROADCAST, PRIM_RESHAPE))
        max = b_node(b, max)->operands[0];
    if (b_node(b, max)->prim != PRIM_REDUCE_MAX || !mutation_here(m, "sub %%%u", x))
        return x;
    return n.operands[0];
}

value_id graph_min_for_max(struct mutation *m, struct builder *b, value_id x)
{
    return swap_prims(m, b, x, PRIM_MIN, PRIM_MAX);
}

value_id graph_reduce_min_for_max(struct mutation *m, struct builder *b, value_id x)
{
    return swap_prims(m, b, x, PRIM_REDUCE_MIN, PRIM_REDUCE_MAX);
}

value_id graph_lt_for_le(struct mutation *m, struct builder *b, value_id x)
{
    return swap_prims(m, b, x, PRIM_LT, PRIM_LE);
}

value_id graph_sqrt_for_rsqrt(struct mutation *m, struct builder *b, value_id x)
{
    return swap_prims(m, b, x, PRIM_SQRT, PRIM_RSQRT);
}

value_id graph_other_function(struct mutation *m, struct builder *b, value_id x)
{
    static const enum prim pairs[][2] = {
        {PRIM_EXP, PRIM_EXP2},      {PRIM_LOG, PRIM_LOG1P}, {PRIM_SIN, PRIM_COS},
        {PRIM_TANH, PRIM_ATAN},     {PRIM_ERF, PRIM_TANH},  {PRIM_FLOOR, PRIM_TRUNC},
        {PRIM_ROUND, PRIM_CEIL},    {PRIM_AND, PRIM_OR},    {PRIM_ADD, PRIM_SUB},
        {PRIM_REM, PRIM_DIV},       {PRIM_SHL, PRIM_SHR},   {PRIM_CUM_SUM, PRIM_CUM_MAX},
        {PRIM_ARGMAX, PRIM_ARGMIN}, {PRIM_EQ, PRIM_NE},     {PRIM_ERFC, PRIM_EXP},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        value_id y = swap_prims(m, b, x, pairs[i][0], pairs[i][1]);
        if (y != x)
            return y;
    }
    return x;
}

value_id graph_operands_swapped(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    bool ordered = is_prim(&n, PRIM_SUB, PRIM_DIV) || is_prim(&n, PRIM_LT, PRIM_LE) ||
                   is_prim(&n, PRIM_POW, PRIM_REM);
    if (!ordered || !mutation_here(m, "%s %%%u", name_of(&n), x))
        return x;
    return again(b, x, (enum prim)n.prim, (value_id[]){n.operands[1], n.operands[0]}, NULL);
}

value_id graph_select_swapped(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_SELECT || !mutation_here(m, "select %%%u", x))
        return x;
    return b_select(b, n.operands[0], n.operands[2], n.operands[1]);
}

/* max(a, b) by a comparison: a NaN in one of them is lost. */
value_id graph_nan_lost(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (!is_prim(&n, PRIM_MAX, PRIM_MIN) || !dtype_is_float((enum dtype)n.dtype))
        return x;
    for (int first = 0; first < 2; first++) {
        value_id p = n.operands[first], q = n.operands[1 - first];
        if (!mutation_here(m, "%s %%%u, operand %d", name_of(&n), x, 1 - first))
            continue;
        value_id c = n.prim == PRIM_MAX ? b_binary(b, PRIM_LT, p, q) : b_binary(b, PRIM_LT, q, p);
        return b_select(b, c, q, p);
    }
    return x;
}

static value_id narrow(struct mutation *m, struct builder *b, value_id x, enum dtype through)
{
    struct node n = *b_node(b, x);
    bool computed = n.prim >= PRIM_NEG && n.prim != PRIM_CAST && n.prim <= PRIM_WINDOW_MAX;
    if (!computed || n.dtype != DTYPE_F32 || !mutation_here(m, "%s %%%u", name_of(&n), x))
        return x;
    return b_cast(b, b_cast(b, x, through), DTYPE_F32);
}

value_id graph_through_bf16(struct mutation *m, struct builder *b, value_id x)
{
    return narrow(m, b, x, DTYPE_BF16);
}

value_id graph_through_f16(struct mutation *m, struct builder *b, value_id x)
{
    return narrow(m, b, x, DTYPE_F16);
}

/* Integers through half their width: what does not fit is lost. */
value_id graph_integer_narrowed(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    enum dtype dtype = (enum dtype)n.dtype, half = dtype == DTYPE_I64   ? DTYPE_I32
                                                   : dtype == DTYPE_I32 ? DTYPE_I16
                                                                        : DTYPE_I8;
    bool computed = n.prim >= PRIM_NEG && n.prim <= PRIM_REDUCE_PROD;
    if (!computed || (dtype != DTYPE_I64 && dtype != DTYPE_I32 && dtype != DTYPE_I16) ||
        !mutation_here(m, "%s %%%u", name_of(&n), x))
        return x;
    return b_cast(b, b_cast(b, x, half), dtype);
}

static enum dtype unsigned_of(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_I8: return DTYPE_U8;
    case DTYPE_I16: return DTYPE_U16;
    case DTYPE_I32: return DTYPE_U32;
    case DTYPE_I64: return DTYPE_U64;
    default: return DTYPE_NONE;
    }
}

/* A widening that fills with zeros instead of the sign. */
value_id graph_zero_extended(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_CAST || dtype_is_float((enum dtype)n.dtype))
        return x;
    enum dtype from = (enum dtype)b_node(b, n.operands[0])->dtype;
    if (unsigned_of(from) == DTYPE_NONE || dtype_bytes((enum dtype)n.dtype) <= dtype_bytes(from) ||
        !mutation_here(m, "cast %%%u", x))
        return x;
    return b_cast(b, b_cast(b, n.operands[0], unsigned_of(from)), (enum dtype)n.dtype);
}

value_id graph_unsigned_compare(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x);
    if (!is_prim(&n, PRIM_LT, PRIM_LE))
        return x;
    enum dtype other = unsigned_of((enum dtype)b_node(b, n.operands[0])->dtype);
    if (other == DTYPE_NONE || !mutation_here(m, "%s %%%u", name_of(&n), x))
        return x;
    return b_binary(b, (enum prim)n.prim, b_cast(b, n.operands[0], other),
                    b_cast(b, n.operands[1], other));
}

/* Another value for a constant of a float dtype that is used as one. */
static value_id constant(struct mutation *m, struct builder *b, value_id x,
                         double (*change)(enum dtype dtype, double value))
{
    struct node n = *b_node(b, x);
    if (n.prim != PRIM_CONST || !dtype_is_float((enum dtype)n.dtype))
        return x;
    double value = n.attrs->value, other = change((enum dtype)n.dtype, value);
    if (!isfinite(value) || other == value || !mutation_here(m, "const %g", value))
        return x;
    return b_const(b, (enum dtype)n.dtype, other);
}

static double by_thousandth(enum dtype dtype, double value)
{
    (void)dtype;
    return value * 1.001;
}

static double negated(enum dtype dtype, double value)
{
    (void)dtype;
    return -value;
}

static double small_tenfold(enum dtype dtype, double value)
{
    (void)dtype;
    return value > 0 && value < 0.02 ? 10 * value : value;
}

value_id graph_constant_thousandth(struct mutation *m, struct builder *b, value_id x)
{
    return constant(m, b, x, by_thousandth);
}

value_id graph_constant_negated(struct mutation *m, struct builder *b, value_id x)
{
    return constant(m, b, x, negated);
}

value_id graph_constant_epsilon(struct mutation *m, struct builder *b, value_id x)
{
    return constant(m, b, x, small_tenfold);
}

/* A narrow product or sum that is widened: computed wide, it does not wrap. */
value_id graph_wrap_missing(struct mutation *m, struct builder *b, value_id x)
{
    struct node n = *b_node(b, x), of = n.operand_count ? *b_node(b, n.operands[0]) : n;
    enum dtype to = (enum dtype)n.dtype, from = (enum dtype)of.dtype;
    bool sum = is_prim(&of, PRIM_ADD, PRIM_MUL) || of.prim == PRIM_SUB;
    if (n.prim != PRIM_CAST || !sum || dtype_is_float(to) || dtype_is_float(from) ||
        dtype_bytes(to) <= dtype_bytes(from) || !mutation_here(m, "cast %%%u", x))
        return x;
    return b_binary(b, (enum prim)of.prim, b_cast(b, of.operands[0], to),
                    b_cast(b, of.operands[1], to));
}
