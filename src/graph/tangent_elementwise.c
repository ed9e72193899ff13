/* Tangents of elementwise prims: the slope in each operand, from the derivative as it stands in a
 * table of derivatives, times the operand's tangent. */
#include "graph/tangent_priv.h"

#include <assert.h>

#define LN2 0.693147180559945309417
#define TWO_OVER_SQRT_PI 1.12837916709551257390

/* y is the result. */
static double unary_slope(enum prim prim, double x, double y)
{
    switch ((int)prim) {
    case PRIM_ABS: return isnan(x) ? x : (double)((x > 0) - (x < 0));
    case PRIM_SQRT: return 0.5 / y;
    case PRIM_RSQRT: return -0.5 * y / x;
    case PRIM_EXP: return y;
    case PRIM_EXP2: return LN2 * y;
    case PRIM_EXPM1: return exp(x);
    case PRIM_LOG: return 1 / x;
    case PRIM_LOG2: return 1 / (LN2 * x);
    case PRIM_LOG1P: return 1 / (1 + x);
    case PRIM_SIN: return cos(x);
    case PRIM_COS: return -sin(x);
    case PRIM_TAN: return 1 + y * y;
    case PRIM_ATAN: return 1 / (1 + x * x);
    case PRIM_TANH: return 1 / (cosh(x) * cosh(x)); /* 1 - y*y has no digits where y is near 1 */
    case PRIM_ERF: return TWO_OVER_SQRT_PI * exp(-x * x);
    case PRIM_ERFC: return -TWO_OVER_SQRT_PI * exp(-x * x);
    }
    assert(!"a unary prim with a slope");
    return 0;
}

void tangent_unary(const struct tangent_op *t)
{
    const struct op *op = t->op;
    for (int64_t i = 0; i < op->out->count; i++) {
        double x = op->in[0]->cells[i].f, y = op->out->cells[i].f;
        t->out[i] = tangent_times(unary_slope(op->prim, x, y), t->in[0][i]);
    }
}

struct slopes {
    double a, b;
};

/* floor(a/b), where rem is a - floor(a/b)*b. The rounded quotient may be a whole number that a/b
 * does not reach; a - rem is a whole multiple of b but for its rounding. */
static double floor_quotient(double a, double b, double rem)
{
    double quotient = (a - rem) / b;
    return isfinite(quotient) ? nearbyint(quotient) : floor(a / b);
}

static struct slopes binary_slopes(enum prim prim, double a, double b, double y)
{
    switch ((int)prim) {
    case PRIM_MUL: return (struct slopes){b, a};
    case PRIM_DIV: return (struct slopes){1 / b, -y / b};
    case PRIM_REM: return (struct slopes){1, -floor_quotient(a, b, y)};
    case PRIM_POW:
        return (struct slopes){b == 0 ? 0 : b * pow(a, b - 1), a == 0 && b >= 0 ? 0 : y * log(a)};
    }
    assert(!"a binary prim with slopes");
    return (struct slopes){0, 0};
}

void tangent_binary(const struct tangent_op *t)
{
    const struct op *op = t->op;
    for (int64_t i = 0; i < op->out->count; i++) {
        double a = op->in[0]->cells[i].f, b = op->in[1]->cells[i].f, y = op->out->cells[i].f;
        struct slopes slopes = binary_slopes(op->prim, a, b, y);
        t->out[i] = tangent_times(slopes.a, t->in[0][i]) + tangent_times(slopes.b, t->in[1][i]);
    }
}

/* Of equal operands half of each, and nothing of either where one is a constant. */
void tangent_extremum(const struct tangent_op *t)
{
    const struct op *op = t->op;
    double share = op->constant[0] || op->constant[1] ? 0 : 0.5;
    for (int64_t i = 0; i < op->out->count; i++) {
        double a = op->in[0]->cells[i].f, b = op->in[1]->cells[i].f;
        bool first = op->prim == PRIM_MIN ? a < b : a > b;
        bool second = op->prim == PRIM_MIN ? b < a : b > a;
        double both = share * (t->in[0][i] + t->in[1][i]);
        t->out[i] = first ? t->in[0][i] : second ? t->in[1][i] : both;
    }
}
