/* Elementwise float prims, many elements at a time.
 *
 * Values and errors are computed for all lanes by formulas that hold where operands and result are
 * finite and errors are small. Lanes where they do not hold are marked and computed again by the
 * definition in interp_float.c. The formulas are those of the definition, except that the error of
 * an elementary function is e times the largest derivative on [x - e, x + e], with
 *
 *     e^t ≤ 1 + t + t² for 0 ≤ t ≤ 1
 *     |ln ξ - ln x| ≤ δ / (1 - δ) for |ξ - x| ≤ δ|x|, δ < 1
 *
 * For small e this agrees with the results at the ends of the interval, without evaluating them. */
#include "base/compiler.h"
#include "base/parallel.h"
#include "graph/interp_exact_priv.h"
#include "graph/interp_priv.h"

#define CHUNK 256
#define TURN 4096
#define ULP 0x1p-52
#define SMALL 0x1p-5 /* the largest t of the formulas, which are then at most 1/32 too large */
#define MARK (-1.0)  /* the bound of a lane that must be computed again */
/* Covers the rounding of evaluating the formulas. */
#define ROUNDED (1 + 0x1p-20)

static const double ZEROS[CHUNK];

/* Operands and results of a chunk of elements; no pointer is NULL. */
struct lanes {
    int64_t count;
    const double *a, *ea, *b, *eb;
    double *y, *ey;
};

/* A propagated error, and whether the formula for it holds. */
struct propagated {
    double error;
    bool holds;
};

static inline double value_binary(enum prim prim, double a, double b)
{
    switch ((int)prim) {
    case PRIM_ADD: return a + b;
    case PRIM_SUB: return a - b;
    case PRIM_MUL: return a * b;
    case PRIM_DIV: return a / b;
    case PRIM_MAX: return (a != a) | (a > b) ? a : b;
    default: return (a != a) | (a < b) ? a : b; /* MIN */
    }
}

static inline struct propagated error_binary(enum prim prim, double a, double ea, double b,
                                             double eb, double r)
{
    double error, larger = ea > eb ? ea : eb;
    bool plain = fabs(r) < INFINITY;
    switch ((int)prim) {
    case PRIM_ADD:
    case PRIM_SUB: error = ea + eb; break;
    case PRIM_MUL: error = fabs(a) * eb + fabs(b) * ea + ea * eb; break;
    case PRIM_DIV:
        plain &= fabs(b) > eb;
        error = (fabs(r) * eb + ea) / (fabs(b) - eb);
        break;
    case PRIM_MAX:
        error = b - eb > a + ea ? eb : larger;
        error = a - ea > b + eb ? ea : error;
        plain &= larger < INFINITY;
        break;
    default:
        error = -b - eb > -a + ea ? eb : larger;
        error = -a - ea > -b + eb ? ea : error;
        plain &= larger < INFINITY;
        break;
    }
    return (struct propagated){error, plain & (error < INFINITY)};
}

static inline void loop_binary(enum prim prim, const struct rounding *rounding,
                               const struct lanes *lanes, bool *out_marked)
{
    const struct rounding r = *rounding;
    const double *restrict a = lanes->a, *restrict ea = lanes->ea;
    const double *restrict b = lanes->b, *restrict eb = lanes->eb;
    double *restrict y = lanes->y, *restrict ey = lanes->ey;
    double mark = 0, propagated = 1; /* propagated == 0: some lane has exact operands */
    for (int64_t i = 0; i < lanes->count; i++) {
        double value = value_binary(prim, a[i], b[i]);
        struct propagated p = error_binary(prim, a[i], ea[i], b[i], eb[i], value);
        double error = finite_rounding_error(&r, value, p.error);
        bool holds = p.holds & (error < INFINITY); /* the definition may give a finite error */
        y[i] = value;
        ey[i] = holds ? error : MARK;
        mark = holds ? mark : MARK;
        propagated = p.error == 0 ? 0 : propagated;
    }
    for (int64_t i = 0; propagated == 0 && i < lanes->count; i++) {
        struct propagated p = error_binary(prim, a[i], ea[i], b[i], eb[i], y[i]);
        bool exact = (p.error == 0) & rounds_nothing(prim, &r, a[i], b[i], y[i]);
        ey[i] = exact & (ey[i] > 0) ? 0 : ey[i];
    }
    *out_marked = mark < 0;
}

/* True when a lane is marked. */
URZA_VECTORISED
static bool lanes_binary(enum prim prim, const struct rounding *r, const struct lanes *lanes)
{
    bool marked = false;
    switch ((int)prim) {
    case PRIM_ADD: loop_binary(PRIM_ADD, r, lanes, &marked); break;
    case PRIM_SUB: loop_binary(PRIM_SUB, r, lanes, &marked); break;
    case PRIM_MUL: loop_binary(PRIM_MUL, r, lanes, &marked); break;
    case PRIM_DIV: loop_binary(PRIM_DIV, r, lanes, &marked); break;
    case PRIM_MAX: loop_binary(PRIM_MAX, r, lanes, &marked); break;
    case PRIM_MIN: loop_binary(PRIM_MIN, r, lanes, &marked); break;
    }
    return marked;
}

static inline double value_simple(enum prim prim, double x)
{
    switch ((int)prim) {
    case PRIM_NEG: return -x;
    case PRIM_ABS: return fabs(x);
    case PRIM_SIGN: return x != x ? x : (double)(x > 0) - (double)(x < 0);
    case PRIM_FLOOR: return floor(x);
    case PRIM_CEIL: return ceil(x);
    case PRIM_ROUND: return nearbyint(x);
    case PRIM_TRUNC: return trunc(x);
    case PRIM_DETACH: return x;
    case PRIM_SQRT: return sqrt(x);
    default: return 1 / sqrt(x); /* RSQRT */
    }
}

/* Functions that are cheap to evaluate at the ends of the interval: all monotone, except |x|. */
static inline struct propagated error_simple(enum prim prim, double x, double e, double r)
{
    bool plain = (fabs(x) < INFINITY) & (fabs(r) < INFINITY) & (e < INFINITY);
    if (prim == PRIM_NEG || prim == PRIM_ABS || prim == PRIM_DETACH)
        return (struct propagated){e, plain};
    double reach = e + ULP * fabs(x);
    double low = value_simple(prim, x - reach), high = value_simple(prim, x + reach);
    double below = fabs(low - r), above = fabs(high - r), error = below > above ? below : above;
    if (prim == PRIM_SQRT || prim == PRIM_RSQRT) {
        plain &= (e == 0) | (prim == PRIM_SQRT ? x - reach >= 0 : x - reach > 0);
        error += ULP * (low > high ? low : high);
    }
    return (struct propagated){e > 0 ? error : 0, plain};
}

static inline void loop_simple(enum prim prim, const struct rounding *rounding,
                               const struct lanes *lanes, bool *out_marked)
{
    const struct rounding r = *rounding;
    const double *restrict x = lanes->a, *restrict e = lanes->ea;
    double *restrict y = lanes->y, *restrict ey = lanes->ey;
    double mark = 0;
    for (int64_t i = 0; i < lanes->count; i++) {
        double value = value_simple(prim, x[i]);
        struct propagated p = error_simple(prim, x[i], e[i], value);
        double error = finite_rounding_error(&r, value, p.error);
        bool exact = (p.error == 0) & rounds_nothing(prim, &r, x[i], 0, value);
        y[i] = value;
        ey[i] = !p.holds ? MARK : exact ? 0 : error;
        mark = p.holds ? mark : MARK;
    }
    *out_marked = mark < 0;
}

URZA_VECTORISED
static bool lanes_simple(enum prim prim, const struct rounding *r, const struct lanes *lanes)
{
    bool marked = false;
    switch ((int)prim) {
    case PRIM_NEG: loop_simple(PRIM_NEG, r, lanes, &marked); break;
    case PRIM_ABS: loop_simple(PRIM_ABS, r, lanes, &marked); break;
    case PRIM_SIGN: loop_simple(PRIM_SIGN, r, lanes, &marked); break;
    case PRIM_FLOOR: loop_simple(PRIM_FLOOR, r, lanes, &marked); break;
    case PRIM_CEIL: loop_simple(PRIM_CEIL, r, lanes, &marked); break;
    case PRIM_ROUND: loop_simple(PRIM_ROUND, r, lanes, &marked); break;
    case PRIM_TRUNC: loop_simple(PRIM_TRUNC, r, lanes, &marked); break;
    case PRIM_DETACH: loop_simple(PRIM_DETACH, r, lanes, &marked); break;
    case PRIM_SQRT: loop_simple(PRIM_SQRT, r, lanes, &marked); break;
    case PRIM_RSQRT: loop_simple(PRIM_RSQRT, r, lanes, &marked); break;
    }
    return marked;
}

/* An upper bound of t·e^t, for small t: a relative error t times the growth of the slope over
 * it. */
static inline double grown(double t)
{
    return t * (1 + t + t * t) * ROUNDED;
}

/* r: the result; slope: the derivative at x, for erf and erfc. */
static inline struct propagated error_unary(enum prim prim, double x, double e, double r,
                                            double slope)
{
    const double ln2 = 0.69314718055994530942, inverse_ln2 = 1.4426950408889634074;
    double t, size = fabs(r);
    bool plain = (fabs(x) < INFINITY) & (size < INFINITY);
    switch ((int)prim) {
    case PRIM_EXP: return (struct propagated){size * grown(e), plain & (e <= SMALL)};
    case PRIM_EXP2: t = e * ln2; return (struct propagated){size * grown(t), plain & (t <= SMALL)};
    case PRIM_EXPM1:
        return (struct propagated){(fabs(r + 1) + ULP) * grown(e), plain & (e <= SMALL)};
    case PRIM_LOG:
        return (struct propagated){e / (x - e) * ROUNDED, plain & (e <= SMALL * x) & (x > 0)};
    case PRIM_LOG2:
        return (struct propagated){e / (x - e) * inverse_ln2 * ROUNDED,
                                   plain & (e <= SMALL * x) & (x > 0)};
    case PRIM_LOG1P:
        return (struct propagated){e / (1 + x - e) * ROUNDED,
                                   plain & (e <= SMALL * (1 + x)) & (x > -1)};
    case PRIM_SIN:
    case PRIM_COS: return (struct propagated){e < 2 ? e : 2, plain & (e < INFINITY)};
    case PRIM_ATAN: /* |(ln f')'| ≤ 1, so f' grows by e^t at most */
        return (struct propagated){grown(e) / (1 + x * x),
                                   plain & (e <= SMALL) & (fabs(x) < 0x1p100)};
    case PRIM_TANH: /* |(ln f')'| ≤ 2, as above */
        t = 2 * e;
        return (struct propagated){0.5 * grown(t) * ((1 - size) * (1 + size) + ULP),
                                   plain & (t <= SMALL)};
    default: /* erf, erfc: the slope grows by e^(2|x|e) at most */
        t = 2 * fabs(x) * e;
        return (struct propagated){slope * e * (1 + t + t * t) * ROUNDED,
                                   plain & (t <= SMALL) & (e <= SMALL)};
    }
}

static inline void loop_unary(enum prim prim, const struct rounding *rounding,
                              const struct lanes *lanes, bool *out_marked)
{
    const struct rounding r = *rounding;
    const double *restrict x = lanes->a, *restrict e = lanes->ea, *restrict slope = lanes->b;
    const double *restrict y = lanes->y;
    double *restrict ey = lanes->ey, mark = 0;
    for (int64_t i = 0; i < lanes->count; i++) {
        struct propagated p = error_unary(prim, x[i], e[i], y[i], slope[i]);
        double error = finite_rounding_error(&r, y[i], p.error);
        ey[i] = p.holds ? error : MARK;
        mark = p.holds ? mark : MARK;
    }
    *out_marked = mark < 0;
}

/* Errors of elementary functions. */
URZA_VECTORISED
static bool lanes_unary(enum prim prim, const struct rounding *r, const struct lanes *lanes)
{
    bool marked = false;
    switch ((int)prim) {
    case PRIM_EXP: loop_unary(PRIM_EXP, r, lanes, &marked); break;
    case PRIM_EXP2: loop_unary(PRIM_EXP2, r, lanes, &marked); break;
    case PRIM_EXPM1: loop_unary(PRIM_EXPM1, r, lanes, &marked); break;
    case PRIM_LOG: loop_unary(PRIM_LOG, r, lanes, &marked); break;
    case PRIM_LOG2: loop_unary(PRIM_LOG2, r, lanes, &marked); break;
    case PRIM_LOG1P: loop_unary(PRIM_LOG1P, r, lanes, &marked); break;
    case PRIM_SIN:
    case PRIM_COS: loop_unary(PRIM_SIN, r, lanes, &marked); break;
    case PRIM_ATAN: loop_unary(PRIM_ATAN, r, lanes, &marked); break;
    case PRIM_TANH: loop_unary(PRIM_TANH, r, lanes, &marked); break;
    case PRIM_ERF:
    case PRIM_ERFC: loop_unary(PRIM_ERF, r, lanes, &marked); break;
    }
    return marked;
}

/* The logarithm of the power moves by less than t = (|b| + eb)·|ln ξ - ln a| + eb·|ln a|. */
static bool lanes_pow(const struct rounding *r, const struct lanes *lanes)
{
    bool marked = false;
    for (int64_t i = 0; i < lanes->count; i++) {
        double a = lanes->a[i], b = lanes->b[i], ea = lanes->ea[i], eb = lanes->eb[i], t = 0;
        double y = lanes->y[i];
        bool holds = isfinite(a) && isfinite(b) && isfinite(y) && a != 0;
        if (ea > 0 || eb > 0) {
            double share = ea / fabs(a);
            holds &= share <= SMALL / 2 && (a > 0 || (eb == 0 && b == floor(b)));
            t = (fabs(b) + eb) * share / (1 - share) + (eb > 0 ? eb * fabs(log(fabs(a))) : 0);
        }
        holds &= t <= SMALL / 2;
        lanes->ey[i] = holds ? finite_rounding_error(r, y, fabs(y) * grown(t)) : MARK;
        marked |= !holds;
    }
    return marked;
}

URZA_VECTORISED
static void round_f32(int64_t count, const double *restrict x, double *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (double)(float)x[i];
}

static void slopes_of(const struct lanes *lanes, double *out)
{
    for (int64_t i = 0; i < lanes->count; i++)
        out[i] = lanes->ea[i] > 0 ? 1.1283791670955125739 * exp(-lanes->a[i] * lanes->a[i]) : 0;
}

struct lanes_job {
    const struct op *op;
    double (*at)(double);                              /* unary: the function */
    void (*again)(const struct op *op, int64_t index); /* computes one element by the definition */
};

/* Fills y, and ey when the mode has bounds; true when lanes are marked. */
static bool run_chunk(const struct lanes_job *job, struct lanes *lanes, bool bounds)
{
    const struct op *op = job->op;
    double slopes[CHUNK];
    if (!job->at && op->prim != PRIM_POW) {
        bool marked =
            (op->in_count == 1 ? lanes_simple : lanes_binary)(op->prim, &op->rounding, lanes);
        return bounds && marked;
    }
    for (int64_t i = 0; i < lanes->count; i++)
        lanes->y[i] = job->at ? job->at(lanes->a[i]) : pow(lanes->a[i], lanes->b[i]);
    if (!bounds)
        return false;
    if (op->prim == PRIM_POW)
        return lanes_pow(&op->rounding, lanes);
    if (op->prim == PRIM_ERF || op->prim == PRIM_ERFC) {
        slopes_of(lanes, slopes);
        lanes->b = slopes;
    }
    return lanes_unary(op->prim, &op->rounding, lanes);
}

static void lanes_turn(void *context, int64_t turn, uint32_t worker)
{
    const struct lanes_job *job = context;
    const struct op *op = job->op;
    const struct interp_tensor *a = op->in[0], *b = op->in_count > 1 ? op->in[1] : NULL;
    struct interp_tensor *out = op->out;
    int64_t end = (turn + 1) * TURN < out->count ? (turn + 1) * TURN : out->count;
    (void)worker;
    for (int64_t at = turn * TURN; at < end; at += CHUNK) {
        double values[CHUNK], errors[CHUNK];
        struct lanes lanes = {.count = end - at < CHUNK ? end - at : CHUNK,
                              .a = &a->cells[at].f,
                              .ea = a->bounds ? a->bounds + at : ZEROS,
                              .b = b ? &b->cells[at].f : ZEROS,
                              .eb = b && b->bounds ? b->bounds + at : ZEROS,
                              .y = op->reference ? &out->cells[at].f : values,
                              .ey = out->bounds ? out->bounds + at : errors};
        bool marked = run_chunk(job, &lanes, out->bounds != NULL);
        for (int64_t i = 0; marked && i < lanes.count; i++)
            if (lanes.ey[i] < 0)
                job->again(op, at + i);
        if (!op->reference && out->dtype == DTYPE_F32)
            round_f32(lanes.count, values, &out->cells[at].f);
        for (int64_t i = 0; !op->reference && out->dtype != DTYPE_F32 && i < lanes.count; i++)
            out->cells[at + i].f = round_native(out->dtype, values[i]);
    }
}

static void run_lanes(const struct lanes_job *job)
{
    int64_t count = job->op->out->count;
    double work = (double)count * (job->at || job->op->prim == PRIM_POW ? 16 : 1);
    parallel_for(op_threads(job->op, work), (count + TURN - 1) / TURN, lanes_turn,
                 (void *)(uintptr_t)job);
}

bool lanes_run_unary(const struct op *op, void (*again)(const struct op *op, int64_t index))
{
    static double (*const functions[PRIM_COUNT])(double) = {
        [PRIM_EXP] = exp,   [PRIM_EXP2] = exp2,   [PRIM_EXPM1] = expm1, [PRIM_LOG] = log,
        [PRIM_LOG2] = log2, [PRIM_LOG1P] = log1p, [PRIM_SIN] = sin,     [PRIM_COS] = cos,
        [PRIM_ATAN] = atan, [PRIM_TANH] = tanh,   [PRIM_ERF] = erf,     [PRIM_ERFC] = erfc};
    struct lanes_job job = {op, functions[op->prim], again};
    if ((!job.at && op->prim == PRIM_TAN) || (op->reference && op->rounding.narrow))
        return false;
    run_lanes(&job);
    return true;
}

bool lanes_run_binary(const struct op *op, void (*again)(const struct op *op, int64_t index))
{
    struct lanes_job job = {op, NULL, again};
    if (op->prim == PRIM_REM || (op->reference && op->rounding.narrow))
        return false;
    run_lanes(&job);
    return true;
}
