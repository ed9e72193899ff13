/* Elementwise prims: loops over cells, integer arithmetic, comparisons, select, casts.
 *
 * Integers are exact, and have an error only if they were computed from a float with one. Sums,
 * products, extrema, negation and absolute values then pass it on as long as nothing can wrap; the
 * results of all other prims are not determined. */
#include "graph/interp_exact_priv.h"
#include "graph/interp_priv.h"
#include "graph/interp_op_priv.h"

#include <assert.h>

#include "base/compiler.h"

/* For exact operands the result is the float64 result rounded once: float64 has more than twice the
 * digits. */
void op_put_narrow(const struct op *op, int64_t index, struct approx x)
{
    enum dtype dtype = op->out->dtype;
    double value = dtype_round(dtype, x.value);
    double reach = rounding_error(&op->rounding, x.value, x.error), error = reach;
    if (reach > 0 && reach < INFINITY) {
        reach += 2 * INTERP_UNIT * fabs(x.value);
        double low = dtype_round(dtype, x.value - reach),
               high = dtype_round(dtype, x.value + reach);
        bool same = low == high, finite = isfinite(low) && isfinite(high);
        error = same     ? 0
                : finite ? fmax(high - value, value - low) * (1 + 2 * INTERP_UNIT)
                         : INFINITY;
    }
    op_put_exact(op, index, (union cell){.f = value}, error);
}

void op_put_representable(const struct op *op, int64_t index, struct approx x)
{
    if (op->reference && x.error == 0 && dtype_round(op->out->dtype, x.value) == x.value)
        op_put_exact(op, index, (union cell){.f = x.value}, 0);
    else
        op_put(op, index, x);
}

static int64_t int_unary(enum prim prim, enum dtype dtype, int64_t x)
{
    switch ((int)prim) {
    case PRIM_NEG: return (int64_t)-(uint64_t)x;
    case PRIM_ABS: return dtype_int_less(dtype, x, 0) ? (int64_t)-(uint64_t)x : x;
    case PRIM_SIGN: return dtype_int_less(dtype, 0, x) - dtype_int_less(dtype, x, 0);
    case PRIM_NOT: return dtype == DTYPE_BOOL ? !x : ~x;
    }
    assert(!"a unary prim of integers");
    return 0;
}

static int64_t int_div(enum dtype dtype, int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    if (dtype == DTYPE_U64)
        return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? (int64_t)-(uint64_t)a : a / b;
}

static int64_t int_rem(enum dtype dtype, int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    if (dtype == DTYPE_U64)
        return (int64_t)((uint64_t)a % (uint64_t)b);
    if (b == -1)
        return 0;
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t int_shr(enum dtype dtype, int64_t a, int64_t b, bool shifts)
{
    if (dtype == DTYPE_U64)
        return shifts ? (int64_t)((uint64_t)a >> b) : 0;
    return a >> (shifts ? b : 63); /* the cells of narrower unsigned types are never negative */
}

static int64_t int_binary(enum prim prim, enum dtype dtype, int64_t a, int64_t b)
{
    const int64_t width = (int64_t)dtype_bytes(dtype) * 8;
    const bool shifts = b >= 0 && b < width;
    switch ((int)prim) {
    case PRIM_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
    case PRIM_SUB: return (int64_t)((uint64_t)a - (uint64_t)b);
    case PRIM_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
    case PRIM_DIV: return int_div(dtype, a, b);
    case PRIM_REM: return int_rem(dtype, a, b);
    case PRIM_MIN: return dtype_int_less(dtype, b, a) ? b : a;
    case PRIM_MAX: return dtype_int_less(dtype, a, b) ? b : a;
    case PRIM_AND: return a & b;
    case PRIM_OR: return a | b;
    case PRIM_XOR: return a ^ b;
    case PRIM_SHL: return shifts ? (int64_t)((uint64_t)a << b) : 0;
    case PRIM_SHR: return int_shr(dtype, a, b, shifts);
    }
    assert(!"a binary prim of integers");
    return 0;
}

/* Whether nothing wraps between value - error and value + error, and float64 holds all integers
 * there exactly. */
static bool fits(enum dtype dtype, double value, double error)
{
    return value - error >= dtype_int_value(dtype, dtype_least(dtype)) &&
           value + error <= dtype_int_value(dtype, dtype_greatest(dtype)) &&
           fabs(value) + error <= 0x1p53;
}

/* The error of an integer result. For unary prims b is 0. */
static double int_error(enum prim prim, enum dtype dtype, struct approx a, struct approx b)
{
    double result, error;
    if (a.error == 0 && b.error == 0)
        return 0;
    switch ((int)prim) {
    case PRIM_ADD: result = a.value + b.value, error = a.error + b.error; break;
    case PRIM_SUB: result = a.value - b.value, error = a.error + b.error; break;
    case PRIM_MUL:
        result = a.value * b.value;
        error = fabs(a.value) * b.error + fabs(b.value) * a.error + a.error * b.error;
        break;
    case PRIM_MIN:
    case PRIM_MAX: result = a.value, error = fmax(a.error, b.error); break;
    case PRIM_NEG: result = -a.value, error = a.error; break;
    case PRIM_ABS: result = fabs(a.value), error = a.error; break;
    default: return INFINITY;
    }
    return fits(dtype, result, error) ? error : INFINITY;
}

static struct approx int_approx(const struct interp_tensor *tensor, int64_t i)
{
    return (struct approx){dtype_int_value(tensor->dtype, tensor->cells[i].i), bound_at(tensor, i)};
}

static void integer_unary(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    enum dtype dtype = op->out->dtype;
    for (int64_t i = 0; i < op->out->count; i++) {
        int64_t r = dtype_wrap(dtype, int_unary(op->prim, dtype, x->cells[i].i));
        double error =
            x->bounds ? int_error(op->prim, dtype, int_approx(x, i), (struct approx){0}) : 0;
        op_put_exact(op, i, (union cell){.i = r}, error);
    }
}

static void integer_binary(const struct op *op)
{
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    enum dtype dtype = op->out->dtype;
    for (int64_t i = 0; i < op->out->count; i++) {
        int64_t r = int_binary(op->prim, dtype, a->cells[i].i, b->cells[i].i);
        double error = 0;
        if (a->bounds || b->bounds)
            error = int_error(op->prim, dtype, int_approx(a, i), int_approx(b, i));
        op_put_exact(op, i, (union cell){.i = dtype_wrap(dtype, r)}, error);
    }
}

/* Stores y, the result of operands a and b; with bound 0 if it is exact. */
static void put_correct(const struct op *op, int64_t i, double a, double b, struct approx y)
{
    bool exact = op->reference && y.error == 0 && isfinite(y.value) &&
                 rounds_nothing(op->prim, &op->rounding, a, b, y.value);
    if (exact && op->rounding.narrow)
        y.value = dtype_round(op->out->dtype, y.value);
    if (exact)
        op_put_exact(op, i, (union cell){.f = y.value}, 0);
    else
        op_put(op, i, y);
}

static void put_unary(const struct op *op, int64_t i)
{
    struct approx x = approx_at(op->in[0], i);
    put_correct(op, i, x.value, 0, approx_unary(op->prim, x));
}

/* Every finite operand is a number of the dtype, however large its error. So a sum in which one
 * operand is less than half a unit of the largest number rounds to that number at most: a mask
 * value of the lowest finite float stays finite when a score is added. */
static bool sum_stays_finite(const struct op *op, struct approx a, struct approx b)
{
    enum dtype dtype = op->out->dtype;
    double least = fmin(fabs(a.value) + a.error, fabs(b.value) + b.error);
    return least <= 0.49 * dtype_unit_roundoff(dtype) * dtype_max(dtype);
}

static void put_binary(const struct op *op, int64_t i)
{
    struct approx a = approx_at(op->in[0], i), b = approx_at(op->in[1], i);
    struct approx y = approx_binary_function(op->prim)(a, b);
    if (op->prim == PRIM_REM) {
        op_put_representable(op, i, y);
        return;
    }
    put_correct(op, i, a.value, b.value, y);
    bool sum = op->prim == PRIM_ADD || op->prim == PRIM_SUB;
    if (sum && bound_at(op->out, i) == INFINITY && !op->rounding.narrow && y.error < INFINITY &&
        isfinite(y.value) && sum_stays_finite(op, a, b)) {
        struct rounding unbounded = op->rounding;
        unbounded.max = INFINITY;
        op->out->bounds[i] = finite_rounding_error(&unbounded, y.value, y.error);
    }
}

void run_unary_num(const struct op *op)
{
    if (!dtype_is_float(op->out->dtype)) {
        integer_unary(op);
        return;
    }
    if (lanes_run_unary(op, put_unary))
        return;
    for (int64_t i = 0; i < op->out->count; i++)
        put_unary(op, i);
}

void run_binary_num(const struct op *op)
{
    if (!dtype_is_float(op->out->dtype)) {
        integer_binary(op);
        return;
    }
    if (lanes_run_binary(op, put_binary))
        return;
    for (int64_t i = 0; i < op->out->count; i++)
        put_binary(op, i);
}

/* A comparison is determined if the intervals have no common point, or are both points. */
static double compare_error(struct approx a, struct approx b)
{
    double error = a.error + b.error;
    if (error == 0 || isnan(a.value) || isnan(b.value))
        return error < INFINITY ? 0 : INFINITY;
    return fabs(a.value - b.value) > error ? 0 : INFINITY;
}

static bool float_compare(enum prim prim, double a, double b)
{
    switch ((int)prim) {
    case PRIM_EQ: return a == b;
    case PRIM_NE: return a != b;
    case PRIM_LT: return a < b;
    case PRIM_LE: return a <= b;
    }
    assert(!"a comparison");
    return false;
}

static bool int_compare(enum prim prim, enum dtype dtype, int64_t a, int64_t b)
{
    switch ((int)prim) {
    case PRIM_EQ: return a == b;
    case PRIM_NE: return a != b;
    case PRIM_LT: return dtype_int_less(dtype, a, b);
    case PRIM_LE: return !dtype_int_less(dtype, b, a);
    }
    assert(!"a comparison");
    return false;
}

void run_compare(const struct op *op)
{
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    bool is_float = dtype_is_float(a->dtype);
    for (int64_t i = 0; i < op->out->count; i++) {
        bool r = is_float ? float_compare(op->prim, a->cells[i].f, b->cells[i].f)
                          : int_compare(op->prim, a->dtype, a->cells[i].i, b->cells[i].i);
        double error = 0;
        if (is_float && op->out->bounds)
            error = compare_error(approx_at(a, i), approx_at(b, i));
        else if (op->out->bounds && bound_at(a, i) + bound_at(b, i) > 0)
            error = compare_error(int_approx(a, i), int_approx(b, i));
        op_put_exact(op, i, (union cell){.i = r}, error);
    }
}

void run_is_nan(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    for (int64_t i = 0; i < op->out->count; i++)
        op_put_exact(op, i, (union cell){.i = isnan(x->cells[i].f)},
                     bound_at(x, i) < INFINITY ? 0 : INFINITY);
}

/* A native program may take the other branch, which moves the result by this much. */
static double other_branch_error(enum dtype dtype, union cell taken, double taken_error,
                                 union cell other, double other_error)
{
    double error = fmax(taken_error, other_error);
    double distance = dtype_is_float(dtype)
                          ? fabs(taken.f - other.f)
                          : fabs(dtype_int_value(dtype, taken.i) - dtype_int_value(dtype, other.i));
    if (!(distance < 0x1p53 || dtype_is_float(dtype)))
        return INFINITY;
    double result = distance * (1 + 2 * INTERP_UNIT) + error;
    return isnan(result) ? INFINITY : result;
}

/* Selects cells of any dtype (copied as doubles), or bounds. */
URZA_VECTORISED
static void select_cells(int64_t count, const union cell *restrict c, const double *restrict a,
                         const double *restrict b, double *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = c[i].i ? a[i] : b[i];
}

void run_select(const struct op *op)
{
    const struct interp_tensor *c = op->in[0], *a = op->in[1], *b = op->in[2];
    enum dtype dtype = op->out->dtype;
    if (!c->bounds && op->out->count > 0) {
        select_cells(op->out->count, c->cells, &a->cells->f, &b->cells->f, &op->out->cells->f);
        for (int64_t i = 0, size; op->out->bounds && i < op->out->count; i += size) {
            static const double zeros[256];
            size = op->out->count - i < 256 ? op->out->count - i : 256;
            select_cells(size, c->cells + i, a->bounds ? a->bounds + i : zeros,
                         b->bounds ? b->bounds + i : zeros, op->out->bounds + i);
        }
        return;
    }
    for (int64_t i = 0; i < op->out->count; i++) {
        const struct interp_tensor *taken = c->cells[i].i ? a : b, *other = c->cells[i].i ? b : a;
        double error = bound_at(taken, i);
        if (bound_at(c, i) > 0)
            error = other_branch_error(dtype, taken->cells[i], error, other->cells[i],
                                       bound_at(other, i));
        op_put_exact(op, i, taken->cells[i], error);
    }
}

static void cast_to_int(const struct op *op, struct approx x, int64_t i)
{
    enum dtype dtype = op->out->dtype;
    int64_t r = dtype_saturate(dtype, x.value);
    double value = dtype_int_value(dtype, r);
    double error = x.error;
    if (error > 0 && error < INFINITY) {
        double low = x.value - error, high = x.value + error;
        error = fmax(fabs(dtype_int_value(dtype, dtype_saturate(dtype, low)) - value),
                     fabs(dtype_int_value(dtype, dtype_saturate(dtype, high)) - value));
    }
    op_put_exact(op, i, (union cell){.i = r}, error);
}

static void cast_int_to_int(const struct op *op, struct approx x, int64_t i)
{
    double error = x.error > 0 && !fits(op->out->dtype, x.value, x.error) ? INFINITY : x.error;
    int64_t cell = dtype_wrap(op->out->dtype, op->in[0]->cells[i].i);
    op_put_exact(op, i, (union cell){.i = cell}, error);
}

/* True when every value of `from` is a value of `to`. */
static bool widens(enum dtype from, enum dtype to)
{
    return from == to || to == DTYPE_F64 || (to == DTYPE_F32 && from != DTYPE_F64);
}

static void cast_to_float(const struct op *op, struct approx x, int64_t i)
{
    enum dtype from = op->in[0]->dtype;
    if (dtype_is_float(from) && widens(from, op->out->dtype))
        op_put_exact(op, i, (union cell){.f = x.value}, x.error);
    else
        op_put_representable(op, i, x);
}

/* Converts an integer on its way to a float dtype. Float64 rounds integers above 2^53. In REFERENCE
 * that rounding is added to the error; in other modes, where the value is rounded again to a
 * narrower dtype, a sticky bit is kept, so that both roundings together act as one. */
static struct approx int_as_float(const struct op *op, int64_t i)
{
    struct approx y = int_approx(op->in[0], i);
    int64_t x = op->in[0]->cells[i].i, lost = 0xfff;
    if (!(fabs(y.value) > 0x1p53))
        return y;
    if (op->reference)
        y.error += INTERP_UNIT * fabs(y.value);
    else if (op->out->dtype != DTYPE_F64)
        y.value = dtype_int_value(op->in[0]->dtype, (x & ~lost) | ((x & lost) != 0 ? 0x800 : 0));
    return y;
}

void run_cast(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    enum dtype to = op->out->dtype;
    bool from_float = dtype_is_float(x->dtype);
    for (int64_t i = 0; i < op->out->count; i++) {
        struct approx value = from_float ? approx_at(x, i) : int_as_float(op, i);
        if (dtype_is_float(to))
            cast_to_float(op, value, i);
        else if (to == DTYPE_BOOL)
            op_put_exact(op, i,
                         (union cell){.i = from_float ? value.value != 0 : x->cells[i].i != 0},
                         compare_error(value, (struct approx){0}));
        else if (from_float)
            cast_to_int(op, value, i);
        else
            cast_int_to_int(op, int_approx(x, i), i);
    }
}
