/* Elementwise primitives. ONNX broadcasts operands itself, so if one operand has the full shape,
 * another one that is the result of a broadcast is replaced by the broadcast's operand. */
#include <math.h>

#include "compiler/export/export_priv.h"

static const char *operand(struct export *e, const struct node *node, uint32_t index)
{
    value_id value = node->operands[index];
    enum dtype dtype = (enum dtype)graph_node(e->graph, value)->dtype;
    bool full = false;
    for (uint32_t i = 0; i < node->operand_count; i++)
        full = full || !e->thin[node->operands[i]];
    if (!full || !e->thin[value])
        return export_wide(e, value);
    enum dtype carrier = export_carrier(dtype);
    return carrier == dtype ? e->thin[value] : export_cast(e, e->thin[value], carrier);
}

static const char *constant(struct export *e, const struct node *node, double value)
{
    return export_real(e, export_carrier((enum dtype)node->dtype), value);
}

static const char *truncated(struct export *e, const struct node *node, const char *x)
{
    const char *below = NODE(e, "Less", x, constant(e, node, 0));
    const char *up = NODE(e, "Ceil", x);
    return NODE(e, "Where", below, up, NODE(e, "Floor", x));
}

/* e^x - 1 = 2t / (1 - t) with t = tanh(x/2), which does not cancel near 0. */
static const char *expm1_of(struct export *e, const struct node *node, const char *x)
{
    const char *half = NODE(e, "Mul", x, constant(e, node, 0.5));
    const char *t = NODE(e, "Tanh", half), *one = constant(e, node, 1);
    const char *near = NODE(e, "Add", t, t);
    near = NODE(e, "Div", near, NODE(e, "Sub", one, t));
    const char *far = NODE(e, "Exp", x);
    far = NODE(e, "Sub", far, one);
    const char *size = NODE(e, "Abs", x);
    return NODE(e, "Where", NODE(e, "Less", size, constant(e, node, 0.5)), near, far);
}

static const char *log2_of(struct export *e, const struct node *node, const char *x)
{
    const char *log = NODE(e, "Log", x);
    return NODE(e, "Mul", log, constant(e, node, M_LOG2E));
}

/* With u = 1 + x, rounded, ln(u) · x / (u - 1) corrects the rounding of u; the result is x where u
 * is 1, and ln(u) where the 1 is lost in rounding. */
static const char *log1p_of(struct export *e, const struct node *node, const char *x)
{
    const char *one = constant(e, node, 1);
    const char *u = NODE(e, "Add", x, one), *log = NODE(e, "Log", u);
    const char *rest = NODE(e, "Sub", u, one);
    const char *is_one = NODE(e, "Equal", u, one), *lost = NODE(e, "Equal", u, x);
    const char *safe = NODE(e, "Where", is_one, one, rest);
    const char *ratio = NODE(e, "Div", x, safe);
    const char *exact = NODE(e, "Mul", log, ratio);
    exact = NODE(e, "Where", lost, log, exact);
    return NODE(e, "Where", is_one, x, exact);
}

/* Chebyshev's fit of Numerical Recipes (erfcc), relative error below 1.2e-7, computed in f64. */
static const char *erfc_of(struct export *e, const struct node *node, const char *x)
{
    static const double fit[] = {-1.26551223, 1.00002368,  0.37409196, 0.09678418,  -0.18628806,
                                 0.27886807,  -1.13520398, 1.48851587, -0.82215223, 0.17087277};
    if (node->dtype == DTYPE_F64)
        return export_refuse(e, "ONNX has none that keeps the precision of f64");
    const char *wide = export_cast(e, x, DTYPE_F64), *one = export_real(e, DTYPE_F64, 1);
    const char *z = NODE(e, "Abs", wide), *square = NODE(e, "Mul", wide, wide);
    const char *t = NODE(e, "Mul", z, export_real(e, DTYPE_F64, 0.5));
    t = NODE(e, "Div", one, NODE(e, "Add", t, one));
    const char *sum = export_real(e, DTYPE_F64, fit[9]);
    for (int i = 8; i >= 0; i--) {
        sum = NODE(e, "Mul", sum, t);
        sum = NODE(e, "Add", sum, export_real(e, DTYPE_F64, fit[i]));
    }
    sum = NODE(e, "Exp", NODE(e, "Sub", sum, square));
    sum = NODE(e, "Mul", sum, t);
    const char *negative = NODE(e, "Less", wide, export_real(e, DTYPE_F64, 0));
    const char *mirrored = NODE(e, "Sub", export_real(e, DTYPE_F64, 2), sum);
    return export_cast(e, NODE(e, "Where", negative, mirrored, sum), DTYPE_F32);
}

static const char *sign_of(struct export *e, const struct node *node, const char *x)
{
    const char *sign = NODE(e, "Sign", x);
    return dtype_is_float((enum dtype)node->dtype)
               ? NODE(e, "Where", NODE(e, "IsNaN", x), x, sign) /* undefined in ONNX */
               : sign;
}

const char *export_unary(struct export *e, const struct node *node, const char *x)
{
    switch ((enum prim)node->prim) {
    case PRIM_NEG: return NODE(e, "Neg", x);
    case PRIM_ABS: return NODE(e, "Abs", x);
    case PRIM_SIGN: return sign_of(e, node, x);
    case PRIM_NOT: return NODE(e, node->dtype == DTYPE_BOOL ? "Not" : "BitwiseNot", x);
    case PRIM_FLOOR: return NODE(e, "Floor", x);
    case PRIM_CEIL: return NODE(e, "Ceil", x);
    case PRIM_ROUND: return NODE(e, "Round", x);
    case PRIM_TRUNC: return truncated(e, node, x);
    case PRIM_SQRT: return NODE(e, "Sqrt", x);
    case PRIM_RSQRT: return NODE(e, "Reciprocal", NODE(e, "Sqrt", x));
    case PRIM_EXP: return NODE(e, "Exp", x);
    case PRIM_EXP2: return NODE(e, "Pow", constant(e, node, 2), x);
    case PRIM_EXPM1: return expm1_of(e, node, x);
    case PRIM_LOG: return NODE(e, "Log", x);
    case PRIM_LOG2: return log2_of(e, node, x);
    case PRIM_LOG1P: return log1p_of(e, node, x);
    case PRIM_SIN: return NODE(e, "Sin", x);
    case PRIM_COS: return NODE(e, "Cos", x);
    case PRIM_TAN: return NODE(e, "Tan", x);
    case PRIM_ATAN: return NODE(e, "Atan", x);
    case PRIM_TANH: return NODE(e, "Tanh", x);
    case PRIM_ERF: return NODE(e, "Erf", x);
    case PRIM_ERFC: return erfc_of(e, node, x);
    case PRIM_DETACH: return NODE(e, "Identity", x);
    case PRIM_IS_NAN: return NODE(e, "IsNaN", x);
    default: return export_refuse(e, "no translation");
    }
}

/* The remainder of fmod, moved to the sign of b. */
static const char *rem_of(struct export *e, const struct node *node, const char *a, const char *b)
{
    const char *zero = constant(e, node, 0), *rest = NODE(e, "Mod", a, b);
    export_int(e, "fmod", 1);
    const char *below = NODE(e, "Less", rest, zero);
    const char *differs = NODE(e, "Xor", below, NODE(e, "Less", b, zero));
    const char *some = NODE(e, "Not", NODE(e, "Equal", rest, zero));
    const char *moved = NODE(e, "Add", rest, b);
    return NODE(e, "Where", NODE(e, "And", differs, some), moved, rest);
}

static const char *compare(struct export *e, const struct node *node, const char *op, const char *a,
                           const char *b)
{
    if (export_dtype(e, node, 0) == DTYPE_BOOL) {
        a = export_cast(e, a, DTYPE_I32);
        b = export_cast(e, b, DTYPE_I32);
    }
    return export_node(e, op, (const char *const[]){a, b}, 2);
}

const char *export_binary(struct export *e, const struct node *node, const char *a, const char *b)
{
    bool is_bool = node->dtype == DTYPE_BOOL, is_float = dtype_is_float((enum dtype)node->dtype);
    switch ((enum prim)node->prim) {
    case PRIM_ADD: return NODE(e, "Add", a, b);
    case PRIM_SUB: return NODE(e, "Sub", a, b);
    case PRIM_MUL: return NODE(e, "Mul", a, b);
    case PRIM_DIV: return is_float ? NODE(e, "Div", a, b) : export_divide(e, node, a, b);
    case PRIM_REM: return is_float ? rem_of(e, node, a, b) : export_divide(e, node, a, b);
    case PRIM_POW: return NODE(e, "Pow", a, b);
    case PRIM_MIN: return is_float ? NODE(e, "Min", a, b) : export_bound(e, a, b, false);
    case PRIM_MAX: return is_float ? NODE(e, "Max", a, b) : export_bound(e, a, b, true);
    case PRIM_AND: return NODE(e, is_bool ? "And" : "BitwiseAnd", a, b);
    case PRIM_OR: return NODE(e, is_bool ? "Or" : "BitwiseOr", a, b);
    case PRIM_XOR: return NODE(e, is_bool ? "Xor" : "BitwiseXor", a, b);
    case PRIM_SHL:
    case PRIM_SHR: return export_shift(e, node, a, b);
    case PRIM_EQ: return NODE(e, "Equal", a, b);
    case PRIM_NE: return NODE(e, "Not", NODE(e, "Equal", a, b));
    case PRIM_LT: return compare(e, node, "Less", a, b);
    case PRIM_LE: return compare(e, node, "LessOrEqual", a, b);
    default: return export_refuse(e, "no translation");
    }
}

const char *export_elementwise(struct export *e, const struct node *node)
{
    const char *a = operand(e, node, 0), *result;
    if (node->operand_count == 1)
        result = export_unary(e, node, a);
    else
        result = export_binary(e, node, a, operand(e, node, 1));
    return export_narrow(e, result, (enum dtype)node->dtype);
}

const char *export_select(struct export *e, const struct node *node)
{
    const char *c = operand(e, node, 0), *a = operand(e, node, 1), *b = operand(e, node, 2);
    if (node->dtype == DTYPE_BOOL) { /* not every runtime has Where for bool */
        const char *yes = NODE(e, "And", c, a);
        return NODE(e, "Or", yes, NODE(e, "And", NODE(e, "Not", c), b));
    }
    return export_narrow(e, NODE(e, "Where", c, a, b), (enum dtype)node->dtype);
}

/* Truncates, saturates, and maps NaN to 0, which ONNX leaves undefined. */
static const char *float_to_int(struct export *e, const char *x, enum dtype from, enum dtype to)
{
    enum dtype carrier = export_carrier(to);
    bool is_signed = !dtype_is_unsigned(to);
    double most = ldexp(1, 8 * (int)dtype_bytes(to) - is_signed);
    const char *high = NODE(e, "LessOrEqual", export_real(e, from, most), x);
    const char *low = NODE(e, "LessOrEqual", x, export_real(e, from, is_signed ? -most : -1));
    const char *out = NODE(e, "Or", high, low);
    out = NODE(e, "Or", out, NODE(e, "IsNaN", x));
    const char *safe = NODE(e, "Where", out, export_real(e, from, 0), x);
    const char *whole = export_cast(e, safe, carrier);
    whole = NODE(e, "Where", high, export_extreme(e, to, carrier, true), whole);
    whole = NODE(e, "Where", low, export_extreme(e, to, carrier, false), whole);
    return export_narrow(e, whole, to);
}

const char *export_cast_prim(struct export *e, const struct node *node)
{
    enum dtype from = export_dtype(e, node, 0), to = (enum dtype)node->dtype;
    if (dtype_is_float(from) && dtype_is_int(to))
        return float_to_int(e, export_wide(e, node->operands[0]), export_carrier(from), to);
    return export_cast(e, e->names[node->operands[0]], to);
}
