/* Narrow floats (f16, bf16) in expressions.
 *
 * They are computed in f32, which contains all their values, and each result is rounded by a CAST
 * to the dtype and back. For +, -, *, / and sqrt of narrow numbers that double rounding equals a
 * single one, because f32 has at least twice their digits plus two (S. Figueroa, "When is double
 * rounding innocuous?", 1995). */
#include "compiler/loop/loop_priv.h"

/* Bound of the recursion: an expression is a DAG, and a walk without a memo may be exponential. */
#define MAX_DEPTH 8

static bool is_narrow(enum dtype dtype)
{
    return dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

/* Integers of one byte have at most 8 significant bits, as bf16 has. */
static bool is_byte(enum dtype dtype)
{
    return !dtype_is_float(dtype) && dtype_bytes(dtype) == 1;
}

static bool is_rounded(const struct nest *nest, expr_id e, enum dtype narrow, int depth)
{
    const struct expr *x = expr_at(nest, e);
    enum dtype from;
    if (depth > MAX_DEPTH)
        return false;
    switch ((enum expr_op)x->op) {
    case EXPR_CONST: return x->value != x->value || dtype_round(narrow, x->value) == x->value;
    case EXPR_LOAD: return nest->buffers.items[x->index].dtype == narrow;
    case EXPR_CAST:
        from = (enum dtype)expr_at(nest, x->operand[0])->dtype;
        return from == narrow || is_byte(from);
    case EXPR_NEG:
    case EXPR_ABS:
    case EXPR_FLOOR:
    case EXPR_CEIL:
    case EXPR_ROUND:
    case EXPR_TRUNC: return is_rounded(nest, x->operand[0], narrow, depth + 1);
    case EXPR_MIN:
    case EXPR_MAX:
        return is_rounded(nest, x->operand[0], narrow, depth + 1) &&
               is_rounded(nest, x->operand[1], narrow, depth + 1);
    case EXPR_SELECT:
        return is_rounded(nest, x->operand[1], narrow, depth + 1) &&
               is_rounded(nest, x->operand[2], narrow, depth + 1);
    default: return false;
    }
}

bool expr_is_rounded(const struct nest *nest, expr_id e, enum dtype narrow)
{
    return is_narrow(narrow) && expr_at(nest, e)->dtype == DTYPE_F32 &&
           is_rounded(nest, e, narrow, 0);
}

expr_id expr_round(struct nest *nest, expr_id e, enum dtype narrow)
{
    if (is_byte((enum dtype)expr_at(nest, e)->dtype))
        return expr_cast(nest, e, DTYPE_F32);
    if (expr_is_rounded(nest, e, narrow))
        return e;
    return expr_cast(nest, expr_cast(nest, e, narrow), DTYPE_F32);
}

expr_id expr_before_rounding(const struct nest *nest, expr_id e, enum dtype narrow)
{
    const struct expr *x = expr_at(nest, e), *y;
    if (!is_narrow(narrow) || x->op != EXPR_CAST)
        return e;
    y = expr_at(nest, x->operand[0]);
    if (y->op != EXPR_CAST || y->dtype != narrow ||
        expr_at(nest, y->operand[0])->dtype != DTYPE_F32)
        return e;
    return y->operand[0];
}
