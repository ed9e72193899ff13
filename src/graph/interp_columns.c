/* Sums, maxima and minima of many columns at once.
 *
 * The value of a maximum is the largest element. Its error is the largest error among the elements
 * that may be the largest one in a native program, that is those where value + error ≥ the maximum
 * of value - error over all elements. That maximum is only known after a first pass, so errors take
 * a second one. A minimum is the maximum of the negated elements. */
#include "base/compiler.h"
#include "graph/interp_sums_priv.h"

void columns_begin(struct columns *c, enum fold_kind kind, int64_t width)
{
    double empty = kind == FOLD_SUM ? 0 : -INFINITY;
    c->kind = kind;
    c->width = width;
    for (int64_t l = 0; l < width; l++) {
        c->value[l] = empty;
        c->magnitude[l] = empty;
        c->error[l] = 0;
        c->special[l] = 0;
    }
}

URZA_VECTORISED
static void add_sums(struct columns *restrict c, const double *restrict x,
                     const double *restrict errors, int64_t rows, int64_t stride)
{
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t l = 0; l < c->width; l++) {
            c->value[l] += x[row * stride + l];
            c->magnitude[l] += fabs(x[row * stride + l]);
        }
        for (int64_t l = 0; errors && l < c->width; l++)
            c->error[l] += errors[row * stride + l];
    }
}

/* As add_sums, for one column. */
static void add_one_sum(struct columns *restrict c, const double *restrict x,
                        const double *restrict errors, int64_t rows, int64_t stride)
{
    double sum = c->value[0], magnitude = c->magnitude[0], error = c->error[0];
    for (int64_t row = 0; row < rows; row++) {
        sum += x[row * stride];
        magnitude += fabs(x[row * stride]);
    }
    for (int64_t row = 0; errors && row < rows; row++)
        error += errors[row * stride];
    c->value[0] = sum;
    c->magnitude[0] = magnitude;
    c->error[0] = error;
}

/* As add_sums, for eight columns, whose sums stay in registers. */
URZA_VECTORISED
static void add_eight_sums(struct columns *restrict c, const double *restrict x,
                           const double *restrict errors, int64_t rows, int64_t stride)
{
    urza_f64x4 s0 = {0}, s1 = {0}, m0 = {0}, m1 = {0}, e0 = {0}, e1 = {0};
    for (int64_t row = 0; row < rows; row++) {
        urza_f64x4 a = URZA_F64X4(x + row * stride), b = URZA_F64X4(x + row * stride + 4);
        s0 += a, s1 += b;
        m0 += URZA_F64X4_ABS(a), m1 += URZA_F64X4_ABS(b);
    }
    for (int64_t row = 0; errors && row < rows; row++) {
        e0 += URZA_F64X4(errors + row * stride);
        e1 += URZA_F64X4(errors + row * stride + 4);
    }
    for (int l = 0; l < 4; l++) {
        c->value[l] += s0[l], c->value[4 + l] += s1[l];
        c->magnitude[l] += m0[l], c->magnitude[4 + l] += m1[l];
        c->error[l] += e0[l], c->error[4 + l] += e1[l];
    }
}

static double sign_of(const struct columns *c)
{
    return c->kind == FOLD_MIN ? -1 : 1;
}

/* Adds one row of elements to maxima. add_four_maxima adds all rows of four columns, whose maxima
 * stay in registers; it is used where there are eight columns. */
URZA_VECTORISED
static void add_maxima(struct columns *restrict c, const double *restrict x)
{
    double sign = sign_of(c);
    for (int64_t l = 0; l < c->width; l++) {
        double value = sign * x[l];
        c->special[l] = value == value ? c->special[l] : INFINITY;
        c->value[l] = value > c->value[l] ? value : c->value[l];
    }
}

URZA_VECTORISED
static void add_four_maxima(struct columns *c, const double *x, int64_t rows, int64_t stride, int l)
{
    double sign = sign_of(c);
    urza_f64x4 most = URZA_F64X4(c->value + l);
    urza_i64x4 numbers = most == most;
    for (int64_t row = 0; row < rows; row++) {
        urza_f64x4 value = sign * URZA_F64X4(x + row * stride + l);
        urza_i64x4 more = value > most;
        numbers &= value == value;
        most = URZA_F64X4_SELECT(more, value, most);
    }
    for (int i = 0; i < 4; i++) {
        c->value[l + i] = most[i];
        c->special[l + i] = numbers[i] ? c->special[l + i] : INFINITY;
    }
}

/* Updates the maximum of value - error. */
URZA_VECTORISED
static void add_leasts(struct columns *restrict c, const double *restrict x,
                       const double *restrict errors)
{
    double sign = sign_of(c);
    for (int64_t l = 0; l < c->width; l++) {
        double low = sign * x[l] - errors[l];
        c->special[l] = errors[l] < INFINITY ? c->special[l] : INFINITY;
        c->magnitude[l] = low > c->magnitude[l] ? low : c->magnitude[l];
    }
}

URZA_VECTORISED
static void add_four_leasts(struct columns *c, const double *x, const double *errors, int64_t rows,
                            int64_t stride, int l)
{
    double sign = sign_of(c);
    const urza_f64x4 infinite = {INFINITY, INFINITY, INFINITY, INFINITY};
    urza_f64x4 most = URZA_F64X4(c->magnitude + l);
    urza_i64x4 finite = infinite == infinite;
    for (int64_t row = 0; row < rows; row++) {
        urza_f64x4 error = URZA_F64X4(errors + row * stride + l);
        urza_f64x4 low = sign * URZA_F64X4(x + row * stride + l) - error;
        urza_i64x4 more = low > most;
        finite &= error < infinite;
        most = URZA_F64X4_SELECT(more, low, most);
    }
    for (int i = 0; i < 4; i++) {
        c->magnitude[l + i] = most[i];
        c->special[l + i] = finite[i] ? c->special[l + i] : INFINITY;
    }
}

/* Updates the largest error of the elements whose value + error reaches that maximum. */
URZA_VECTORISED
static void add_reaches(struct columns *restrict c, const double *restrict x,
                        const double *restrict errors)
{
    double sign = sign_of(c);
    for (int64_t l = 0; l < c->width; l++) {
        double counts = sign * x[l] + errors[l] >= c->magnitude[l] ? errors[l] : 0;
        c->error[l] = counts > c->error[l] ? counts : c->error[l];
    }
}

URZA_VECTORISED
static void add_four_reaches(struct columns *c, const double *x, const double *errors, int64_t rows,
                             int64_t stride, int l)
{
    double sign = sign_of(c);
    urza_f64x4 least = URZA_F64X4(c->magnitude + l), most = URZA_F64X4(c->error + l);
    for (int64_t row = 0; row < rows; row++) {
        urza_f64x4 error = URZA_F64X4(errors + row * stride + l);
        urza_f64x4 reach = sign * URZA_F64X4(x + row * stride + l) + error;
        urza_i64x4 counts = (reach >= least) & (error > most);
        most = URZA_F64X4_SELECT(counts, error, most);
    }
    for (int i = 0; i < 4; i++)
        c->error[l + i] = most[i];
}

void columns_add(struct columns *c, const double *x, const double *errors, int64_t rows,
                 int64_t stride)
{
    if (c->kind == FOLD_SUM) {
        (c->width == 8   ? add_eight_sums
         : c->width == 1 ? add_one_sum
                         : add_sums)(c, x, errors, rows, stride);
        return;
    }
    for (int l = 0; c->width == 8 && l < 8; l += 4) {
        add_four_maxima(c, x, rows, stride, l);
        if (errors)
            add_four_leasts(c, x, errors, rows, stride, l);
    }
    for (int64_t row = 0; c->width != 8 && row < rows; row++) {
        add_maxima(c, x + row * stride);
        if (errors)
            add_leasts(c, x + row * stride, errors + row * stride);
    }
}

void columns_add_errors(struct columns *c, const double *x, const double *errors, int64_t rows,
                        int64_t stride)
{
    for (int l = 0; c->width == 8 && l < 8; l += 4)
        add_four_reaches(c, x, errors, rows, stride, l);
    for (int64_t row = 0; c->width != 8 && row < rows; row++)
        add_reaches(c, x + row * stride, errors + row * stride);
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

void columns_join(struct columns *c)
{
    for (int64_t size = COLUMNS_MOST; size > 1; size /= 2) {
        for (int64_t l = 0; l < size / 2 && l + size / 2 < c->width; l++) {
            int64_t other = l + size / 2;
            if (c->kind == FOLD_SUM) {
                c->value[l] += c->value[other];
                c->magnitude[l] += c->magnitude[other];
                c->error[l] += c->error[other];
                continue;
            }
            c->value[l] = larger(c->value[l], c->value[other]);
            c->magnitude[l] = larger(c->magnitude[l], c->magnitude[other]);
            c->error[l] = larger(c->error[l], c->error[other]);
            c->special[l] = larger(c->special[l], c->special[other]);
        }
    }
}

bool columns_put(const struct columns *c, const struct op *op, int64_t at, int64_t first,
                 int64_t count, int64_t terms)
{
    const struct sums sums = {count, terms, c->value + first, c->magnitude + first,
                              c->error + first};
    bool plain = true;
    if (c->kind == FOLD_SUM)
        return terms > 0 && sums_put(op, at, 1, &sums);
    for (int64_t l = first; l < first + count; l++, at++) {
        op_put(op, at, (struct approx){sign_of(c) * c->value[l], c->error[l]});
        plain &= c->special[l] == 0 && isfinite(c->value[l]);
    }
    return plain;
}
