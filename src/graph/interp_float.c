/* Float prims on values with errors: the result, and how far it may move when the operands move
 * within their errors.
 *
 * An operand [value ± error] is an interval that holds every correct native operand. A result's
 * error is the largest distance from the result at the values to the result anywhere on the
 * intervals. It follows from the derivative where that is constant, and from the ends of the
 * interval where the function is monotone. Where the interval leaves the function's domain or meets
 * a pole the result is not determined.
 *
 * The results at the ends are computed in float64 too, so an interval is widened by one ulp of its
 * centre, and a distance between two results by one ulp of these. For f64 that is as large as the
 * errors themselves. */
#include "graph/interp_priv.h"

#include <assert.h>

#define ULP 0x1p-52

enum function_kind {
    FUNCTION_ISOMETRY = 1, /* |f(x) - f(y)| ≤ |x - y| */
    FUNCTION_MONOTONE,
    FUNCTION_STEP, /* monotone, with whole numbers as results */
    FUNCTION_WAVE, /* |f(x) - f(y)| ≤ |x - y|, with results in [-1, 1] */
    FUNCTION_TAN,
};

struct function {
    double (*at)(double);
    enum function_kind kind;
    double above; /* the domain is x > above */
};

static double same(double x)
{
    return x;
}

static double negate(double x)
{
    return -x;
}

static double sign(double x)
{
    return isnan(x) ? x : (double)((x > 0) - (x < 0));
}

static double reciprocal_sqrt(double x)
{
    return 1 / sqrt(x);
}

/* For large angles near a multiple of π/2 libm's functions of double are inaccurate: the cosine of
 * 6381956970095103 2^797 is 8 ULP off. Those of long double are not. */
#define LARGE_ANGLE 0x1p26

static double sine(double x)
{
    return fabs(x) > LARGE_ANGLE ? (double)sinl((long double)x) : sin(x);
}

static double cosine(double x)
{
    return fabs(x) > LARGE_ANGLE ? (double)cosl((long double)x) : cos(x);
}

static double tangent(double x)
{
    return fabs(x) > LARGE_ANGLE ? (double)tanl((long double)x) : tan(x);
}

static const struct function FUNCTIONS[PRIM_COUNT] = {
    [PRIM_NEG] = {negate, FUNCTION_ISOMETRY, -INFINITY},
    [PRIM_ABS] = {fabs, FUNCTION_ISOMETRY, -INFINITY},
    [PRIM_DETACH] = {same, FUNCTION_ISOMETRY, -INFINITY},
    [PRIM_SIGN] = {sign, FUNCTION_STEP, -INFINITY},
    [PRIM_FLOOR] = {floor, FUNCTION_STEP, -INFINITY},
    [PRIM_CEIL] = {ceil, FUNCTION_STEP, -INFINITY},
    [PRIM_ROUND] = {nearbyint, FUNCTION_STEP, -INFINITY},
    [PRIM_TRUNC] = {trunc, FUNCTION_STEP, -INFINITY},
    [PRIM_SQRT] = {sqrt, FUNCTION_MONOTONE, -0x1p-1074}, /* so that zero is in the domain */
    [PRIM_RSQRT] = {reciprocal_sqrt, FUNCTION_MONOTONE, 0},
    [PRIM_EXP] = {exp, FUNCTION_MONOTONE, -INFINITY},
    [PRIM_EXP2] = {exp2, FUNCTION_MONOTONE, -INFINITY},
    [PRIM_EXPM1] = {expm1, FUNCTION_MONOTONE, -INFINITY},
    [PRIM_LOG] = {log, FUNCTION_MONOTONE, 0},
    [PRIM_LOG2] = {log2, FUNCTION_MONOTONE, 0},
    [PRIM_LOG1P] = {log1p, FUNCTION_MONOTONE, -1},
    [PRIM_SIN] = {sine, FUNCTION_WAVE, -INFINITY},
    [PRIM_COS] = {cosine, FUNCTION_WAVE, -INFINITY},
    [PRIM_TAN] = {tangent, FUNCTION_TAN, -INFINITY},
    [PRIM_ATAN] = {atan, FUNCTION_MONOTONE, -INFINITY},
    [PRIM_TANH] = {tanh, FUNCTION_MONOTONE, -INFINITY},
    [PRIM_ERF] = {erf, FUNCTION_MONOTONE, -INFINITY},
    [PRIM_ERFC] = {erfc, FUNCTION_MONOTONE, -INFINITY},
};

/* The larger distance from r to the results at the ends of the interval, widened. */
static double ends_error(double r, double low, double high)
{
    double distance = fmax(fabs(low - r), fabs(high - r));
    return isnan(low) || isnan(high) ? INFINITY : distance + ULP * fmax(fabs(low), fabs(high));
}

static double unary_error(const struct function *f, struct approx x, double r)
{
    double reach = x.error + ULP * fabs(x.value);
    double low = x.value - reach, high = x.value + reach;
    if (high < f->above) /* the whole interval is outside of the domain: NaN, exactly */
        return 0;
    if (!(low > f->above))
        return INFINITY;
    switch (f->kind) {
    case FUNCTION_ISOMETRY: return x.error;
    case FUNCTION_WAVE: return fmin(x.error, 2);
    case FUNCTION_MONOTONE: return ends_error(r, f->at(low), f->at(high));
    case FUNCTION_STEP: return fmax(fabs(f->at(low) - r), fabs(f->at(high) - r));
    case FUNCTION_TAN: {
        /* No pole if the ends are less than a period apart and their cosines have the same sign. */
        bool pole = reach >= 1.5 || !(cosine(low) * cosine(high) > 0);
        return pole ? INFINITY : ends_error(r, tangent(low), tangent(high));
    }
    }
    return INFINITY;
}

struct approx approx_unary(enum prim prim, struct approx x)
{
    const struct function *f = &FUNCTIONS[prim];
    assert(f->at);
    double r = f->at(x.value);
    if (!(x.error < INFINITY))
        return (struct approx){r, INFINITY};
    if (isnan(x.value))
        return (struct approx){x.value, 0};
    if (x.error > 0)
        return (struct approx){r, unary_error(f, x, r)};
    /* The result of a finite operand is infinite at a pole, which is exact, or by overflow (exp and
     * its like), which is not determined. */
    bool overflow = isinf(r) && isfinite(x.value) &&
                    (prim == PRIM_EXP || prim == PRIM_EXP2 || prim == PRIM_EXPM1);
    return (struct approx){r, overflow ? INFINITY : 0};
}

/* Handles the cases that all binary prims share: an undetermined operand, a NaN. */
static bool settled(struct approx a, struct approx b, double r, struct approx *out)
{
    if (!(a.error < INFINITY && b.error < INFINITY)) {
        *out = (struct approx){r, INFINITY};
        return true;
    }
    if (isnan(a.value) || isnan(b.value)) {
        *out = (struct approx){r, 0};
        return true;
    }
    return false;
}

static struct approx sum(struct approx a, struct approx b, double r)
{
    struct approx result;
    if (settled(a, b, r, &result))
        return result;
    if (isfinite(r))
        return (struct approx){r, a.error + b.error};
    bool exact = isinf(a.value) || isinf(b.value);
    return (struct approx){r, exact ? 0 : INFINITY};
}

struct approx approx_add(struct approx a, struct approx b)
{
    return sum(a, b, a.value + b.value);
}

static struct approx approx_sub(struct approx a, struct approx b)
{
    return sum(a, b, a.value - b.value);
}

static bool may_be_zero(struct approx x)
{
    return x.error > 0 && x.error >= fabs(x.value);
}

struct approx approx_mul(struct approx a, struct approx b)
{
    struct approx result;
    double r = a.value * b.value;
    if (settled(a, b, r, &result))
        return result;
    if (isinf(a.value) || isinf(b.value))
        return (struct approx){r, may_be_zero(a) || may_be_zero(b) ? INFINITY : 0};
    if (isinf(r))
        return (struct approx){r, INFINITY};
    return (struct approx){r,
                           fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error};
}

static struct approx approx_div(struct approx a, struct approx b)
{
    struct approx result;
    double r = a.value / b.value;
    if (settled(a, b, r, &result))
        return result;
    if (may_be_zero(b))
        return (struct approx){r, INFINITY};
    if (isinf(a.value) || isinf(b.value))
        return (struct approx){r, 0};
    if (b.value == 0)
        return (struct approx){r, may_be_zero(a) ? INFINITY : 0};
    if (isinf(r))
        return (struct approx){r, INFINITY};
    return (struct approx){r, (fabs(r) * b.error + a.error) / (fabs(b.value) - b.error)};
}

static double floor_mod(double a, double b)
{
    if (isinf(b) && isfinite(a))
        return a == 0 || (a < 0) == (b < 0) ? a : b;
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* The result is a - q·b, and moves with a and b while q, the floor of the quotient, cannot change;
 * otherwise both results are only known to be between 0 and b. */
static struct approx approx_rem(struct approx a, struct approx b)
{
    struct approx result;
    double r = floor_mod(a.value, b.value);
    if (settled(a, b, r, &result))
        return result;
    if (a.error == 0 && b.error == 0)
        return (struct approx){r, 0};
    if (may_be_zero(b) || !isfinite(r) || isinf(b.value))
        return (struct approx){r, INFINITY};
    double least = INFINITY, most = -INFINITY;
    for (int corner = 0; corner < 4; corner++) {
        double q = (a.value + (corner & 1 ? a.error : -a.error)) /
                   (b.value + (corner & 2 ? b.error : -b.error));
        least = fmin(least, q - 4 * ULP * fabs(q));
        most = fmax(most, q + 4 * ULP * fabs(q));
    }
    double whole = fabs(b.value) + b.error;
    if (floor(least) != floor(most))
        return (struct approx){r, whole};
    return (struct approx){r, fmin(whole, a.error + fabs(floor(least)) * b.error)};
}

/* The error of an inexact base to an exact whole power, from the power of |base|. */
static double whole_power_error(struct approx a, double b, double r)
{
    double magnitude = fabs(a.value), reach = a.error + ULP * magnitude;
    double high = pow(magnitude + reach, b), size = fabs(r);
    if (b == 0)
        return 0;
    if (magnitude > reach)
        return ends_error(size, pow(magnitude - reach, b), high);
    if (b < 0)
        return INFINITY;
    double low = fmod(b, 2) == 0 ? 0 : -pow(reach - magnitude, b);
    return ends_error(size, low, high);
}

static struct approx approx_pow(struct approx a, struct approx b)
{
    struct approx result;
    double r = pow(a.value, b.value);
    /* 1 to any power, and anything to the power 0, is 1 even for NaN; so a NaN operand is not
     * decisive if the other may be that. */
    if ((isnan(a.value) && may_be_zero(b)) ||
        (isnan(b.value) && may_be_zero((struct approx){a.value - 1, a.error})))
        return (struct approx){r, INFINITY};
    if (settled(a, b, r, &result))
        return result;
    if (a.error == 0 && b.error == 0) {
        bool overflow = isinf(r) && isfinite(a.value) && isfinite(b.value) && a.value != 0;
        return (struct approx){r, overflow ? INFINITY : 0};
    }
    if (!isfinite(r))
        return (struct approx){r, INFINITY};
    if (b.error == 0 && b.value == floor(b.value) && isfinite(b.value))
        return (struct approx){r, whole_power_error(a, b.value, r)};
    /* For a positive base pow is monotone in each operand, so the extremes are at the corners. */
    double reach_a = a.error + ULP * fabs(a.value), reach_b = b.error + ULP * fabs(b.value);
    if (a.value + reach_a < 0 && b.error == 0 && b.value != floor(b.value))
        return (struct approx){r, 0}; /* NaN for every base in the interval */
    if (!(a.value - reach_a > 0))
        return (struct approx){r, INFINITY};
    double low = ends_error(r, pow(a.value - reach_a, b.value - reach_b),
                            pow(a.value - reach_a, b.value + reach_b));
    double high = ends_error(r, pow(a.value + reach_a, b.value - reach_b),
                             pow(a.value + reach_a, b.value + reach_b));
    return (struct approx){r, fmax(low, high)};
}

struct approx approx_max(struct approx a, struct approx b)
{
    struct approx result;
    double r = isnan(a.value) || a.value > b.value ? a.value : b.value;
    if (settled(a, b, r, &result))
        return result;
    if (!isfinite(r))
        return (struct approx){r, 0};
    if (a.value - a.error > b.value + b.error)
        return a;
    if (b.value - b.error > a.value + a.error)
        return b;
    return (struct approx){r, fmax(a.error, b.error)};
}

struct approx approx_min(struct approx a, struct approx b)
{
    a.value = -a.value;
    b.value = -b.value;
    struct approx result = approx_max(a, b);
    result.value = -result.value;
    return result;
}

approx_binary *approx_binary_function(enum prim prim)
{
    static approx_binary *const functions[PRIM_COUNT] = {
        [PRIM_ADD] = approx_add, [PRIM_SUB] = approx_sub, [PRIM_MUL] = approx_mul,
        [PRIM_DIV] = approx_div, [PRIM_REM] = approx_rem, [PRIM_POW] = approx_pow,
        [PRIM_MIN] = approx_min, [PRIM_MAX] = approx_max,
    };
    assert(functions[prim]);
    return functions[prim];
}
