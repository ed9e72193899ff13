/* Elementwise prims as expressions, with exactly the meaning of prims.def. */
#include "compiler/lower/lower_priv.h"
#include "compiler/lower/math.h"

enum dtype compute_dtype(enum dtype dtype)
{
    return dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? DTYPE_F32 : dtype;
}

expr_id gen_const(struct nest *nest, const struct node *node)
{
    if (!dtype_is_float(node->dtype))
        return expr_int(nest, node->dtype, node->attrs->integer);
    return expr_const(nest, compute_dtype(node->dtype),
                      dtype_round(node->dtype, node->attrs->value));
}

static expr_id is_nan(struct nest *n, expr_id x)
{
    return expr_binary(n, EXPR_NE, x, x);
}

static expr_id zero(struct nest *n, expr_id like)
{
    return expr_const(n, expr_at(n, like)->dtype, 0);
}

/* min and max where a NaN wins. EXPR_MIN and EXPR_MAX give their second operand when either is NaN,
 * so only a NaN in the first operand needs a select. */
static expr_id nan_extreme(struct nest *n, enum expr_op op, expr_id a, expr_id b)
{
    struct expr x = *expr_at(n, a), y = *expr_at(n, b);
    if (!dtype_is_float(x.dtype) || (x.op == EXPR_CONST && x.value == x.value))
        return expr_binary(n, op, a, b);
    if (y.op == EXPR_CONST && y.value == y.value) /* a is second: a NaN in it wins */
        return expr_binary(n, op, b, a);
    return expr_select(n, is_nan(n, a), a, expr_binary(n, op, a, b));
}

static expr_id gen_sign(struct nest *n, expr_id x)
{
    enum dtype d = expr_at(n, x)->dtype;
    expr_id z = zero(n, x), one = expr_const(n, d, 1);
    expr_id out = expr_select(n, expr_binary(n, EXPR_LT, z, x), one, z);
    if (!dtype_is_unsigned(d))
        out = expr_select(n, expr_binary(n, EXPR_LT, x, z), expr_const(n, d, -1), out);
    return dtype_is_float(d) ? expr_select(n, is_nan(n, x), x, out) : out;
}

/* The float remainder with the sign of b, computed in f64: fmod, plus b where the signs differ. For
 * narrower dtypes the f64 sum is exact, so the caller's rounding is the only one. */
static expr_id gen_float_rem(struct nest *n, expr_id a, expr_id b)
{
    a = expr_cast(n, a, DTYPE_F64);
    b = expr_cast(n, b, DTYPE_F64);
    expr_id r = expr_binary(n, EXPR_FMOD, a, b);
    expr_id z = zero(n, r), negative = expr_binary(n, EXPR_LT, r, z);
    expr_id move = expr_binary(n, EXPR_AND, expr_binary(n, EXPR_NE, r, z),
                               expr_binary(n, EXPR_NE, negative, expr_binary(n, EXPR_LT, b, z)));
    return expr_select(n, move, expr_binary(n, EXPR_ADD, r, b), r);
}

/* The integer remainder with the sign of b. */
static expr_id gen_rem(struct nest *n, expr_id a, expr_id b)
{
    enum dtype d = expr_at(n, a)->dtype;
    expr_id z = expr_int(n, d, 0);
    expr_id r =
        expr_binary(n, EXPR_SUB, a, expr_binary(n, EXPR_MUL, expr_binary(n, EXPR_DIV, a, b), b));
    expr_id other_sign =
        expr_binary(n, EXPR_NE, expr_binary(n, EXPR_LT, r, z), expr_binary(n, EXPR_LT, b, z));
    expr_id move = expr_binary(n, EXPR_AND, expr_binary(n, EXPR_NE, r, z), other_sign);
    if (!dtype_is_unsigned(d))
        r = expr_select(n, move, expr_binary(n, EXPR_ADD, r, b), r);
    return expr_select(n, expr_binary(n, EXPR_EQ, b, z), z, r);
}

static expr_id gen_shift(struct nest *n, enum prim prim, expr_id a, expr_id b)
{
    enum dtype d = expr_at(n, a)->dtype;
    int64_t width = (int64_t)(8 * dtype_bytes(d));
    expr_id z = expr_int(n, d, 0), last = expr_int(n, d, width - 1);
    expr_id in_range = expr_binary(n, EXPR_LE, b, last);
    if (!dtype_is_unsigned(d))
        in_range = expr_binary(n, EXPR_AND, in_range, expr_binary(n, EXPR_LE, z, b));
    expr_id amount = expr_select(n, in_range, b, last);
    if (prim == PRIM_SHL)
        return expr_select(n, in_range, expr_binary(n, EXPR_SHL, a, amount), z);
    if (dtype_is_unsigned(d))
        return expr_select(n, in_range, expr_binary(n, EXPR_LSHR, a, amount), z);
    return expr_binary(n, EXPR_ASHR, a, amount); /* by width - 1 if out of range */
}

static bool is_narrow(enum dtype dtype)
{
    return dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

expr_id gen_as(struct nest *n, expr_id x, enum dtype to)
{
    return is_narrow(to) ? expr_round(n, x, to) : expr_cast(n, x, to);
}

/* A narrow float is computed in f32, but its bits are those of its own dtype. */
static expr_id gen_bitcast(struct nest *n, enum dtype from, enum dtype to, expr_id x)
{
    if (is_narrow(from))
        x = expr_cast(n, x, from);
    x = expr_bitcast(n, x, to);
    return is_narrow(to) ? expr_cast(n, x, DTYPE_F32) : x;
}

static expr_id gen_binary(struct nest *n, enum prim prim, expr_id a, expr_id b)
{
    switch (prim) {
    case PRIM_ADD: return expr_binary(n, EXPR_ADD, a, b);
    case PRIM_SUB: return expr_binary(n, EXPR_SUB, a, b);
    case PRIM_MUL: return expr_binary(n, EXPR_MUL, a, b);
    case PRIM_DIV: return expr_binary(n, EXPR_DIV, a, b);
    case PRIM_REM: return gen_rem(n, a, b);
    case PRIM_POW: return math_pow(n, a, b);
    case PRIM_MIN: return nan_extreme(n, EXPR_MIN, a, b);
    case PRIM_MAX: return nan_extreme(n, EXPR_MAX, a, b);
    case PRIM_AND: return expr_binary(n, EXPR_AND, a, b);
    case PRIM_OR: return expr_binary(n, EXPR_OR, a, b);
    case PRIM_XOR: return expr_binary(n, EXPR_XOR, a, b);
    case PRIM_SHL:
    case PRIM_SHR: return gen_shift(n, prim, a, b);
    case PRIM_EQ: return expr_binary(n, EXPR_EQ, a, b);
    case PRIM_NE: return expr_binary(n, EXPR_NE, a, b);
    case PRIM_LT: return expr_binary(n, EXPR_LT, a, b);
    case PRIM_LE: return expr_binary(n, EXPR_LE, a, b);
    default: return EXPR_NONE;
    }
}

static expr_id gen_unary(struct nest *n, enum prim prim, expr_id x)
{
    switch (prim) {
    case PRIM_NEG: return expr_unary(n, EXPR_NEG, x);
    case PRIM_ABS: return expr_unary(n, EXPR_ABS, x);
    case PRIM_SIGN: return gen_sign(n, x);
    case PRIM_NOT: return expr_unary(n, EXPR_NOT, x);
    case PRIM_FLOOR: return expr_unary(n, EXPR_FLOOR, x);
    case PRIM_CEIL: return expr_unary(n, EXPR_CEIL, x);
    case PRIM_ROUND: return expr_unary(n, EXPR_ROUND, x);
    case PRIM_TRUNC: return expr_unary(n, EXPR_TRUNC, x);
    case PRIM_SQRT: return expr_unary(n, EXPR_SQRT, x);
    case PRIM_DETACH: return x;
    case PRIM_IS_NAN: return is_nan(n, x);
    default: return math_unary(n, prim, x);
    }
}

expr_id gen_elementwise(struct lowering *l, const struct node *node, const expr_id v[3])
{
    expr_id out;
    if (node->prim == PRIM_CAST)
        return gen_as(l->nest, v[0], (enum dtype)node->dtype);
    if (node->prim == PRIM_BITCAST)
        return gen_bitcast(l->nest, graph_node(l->graph, node->operands[0])->dtype,
                           (enum dtype)node->dtype, v[0]);
    if (node->prim == PRIM_REM && dtype_is_float((enum dtype)node->dtype))
        return gen_as(l->nest, gen_float_rem(l->nest, v[0], v[1]), (enum dtype)node->dtype);
    if (node->prim == PRIM_SELECT)
        return expr_select(l->nest, v[0], v[1], v[2]);
    if (node->operand_count == 1)
        out = gen_unary(l->nest, (enum prim)node->prim, v[0]);
    else
        out = gen_binary(l->nest, (enum prim)node->prim, v[0], v[1]);
    assert(out != EXPR_NONE && "every elementwise prim is lowered");
    return out;
}
