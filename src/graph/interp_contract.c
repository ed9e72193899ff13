/* Contractions and convolutions: the dot products that they are.
 *
 * contract multiplies rows of a with rows of b. conv multiplies filters with patches, that is with
 * what lies under one window in all channels of a group, zeros where nothing does. */
#include "graph/interp_window_priv.h"

#include <assert.h>

#include "base/compiler.h"
#include "base/parallel.h"

/* Below it, packing the other rows costs more than it saves. */
#define FEW_ROWS 3

/* Rows of a tensor, eight side by side. */
static void fill_rows(const struct product *p, const struct panel *panel)
{
    const struct interp_tensor *x = p->source;
    int64_t lanes = p->lanes - panel->lane < PANEL_LANES ? p->lanes - panel->lane : PANEL_LANES;
    int64_t start = (panel->batch * p->lanes + panel->lane) * p->terms + panel->first;
    if (lanes < PANEL_LANES)
        memset(panel->cells, 0, (size_t)panel->count * PANEL_LANES * sizeof *panel->cells);
    if (lanes < PANEL_LANES && panel->errors)
        memset(panel->errors, 0, (size_t)panel->count * PANEL_LANES * sizeof *panel->errors);
    for (int64_t l = 0; l < lanes; l++) {
        const union cell *row = x->cells + start + l * p->terms;
        for (int64_t k = 0; k < panel->count; k++)
            panel->cells[k * PANEL_LANES + l] = row[k];
        for (int64_t k = 0; panel->errors && k < panel->count; k++)
            panel->errors[k * PANEL_LANES + l] = x->bounds[start + l * p->terms + k];
    }
}

/* One dot product: Σa·b, Σ|a·b|, Σ(|a|·eb + ea·(|b| + eb)). */
struct dot {
    double value, magnitude, error;
};

/* Eight sums, each of every eighth term, so that the order is the same on every CPU. */
struct eight {
    urza_f64x4 low, high;
};

static inline double eight_sum(struct eight x)
{
    urza_f64x4 four = x.low + x.high;
    return (four[0] + four[2]) + (four[1] + four[3]);
}

URZA_VECTORISED
static void dot_products(const double *a, const double *b, int64_t size, struct dot *out)
{
    struct eight sum = {0}, magnitude = {0};
    int64_t k = 0;
    for (; k + 8 <= size; k += 8) {
        urza_f64x4 low = URZA_F64X4(a + k) * URZA_F64X4(b + k);
        urza_f64x4 high = URZA_F64X4(a + k + 4) * URZA_F64X4(b + k + 4);
        sum.low += low, sum.high += high;
        magnitude.low += URZA_F64X4_ABS(low), magnitude.high += URZA_F64X4_ABS(high);
    }
    *out = (struct dot){eight_sum(sum), eight_sum(magnitude), 0};
    for (; k < size; k++) {
        out->value += a[k] * b[k];
        out->magnitude += fabs(a[k] * b[k]);
    }
}

/* Σ|x|·e, with the errors of x added to |x| where there are any. */
URZA_VECTORISED
static double dot_errors(const double *x, const double *x_errors, const double *e, int64_t size)
{
    struct eight sum = {0};
    int64_t k = 0;
    for (; k + 8 <= size; k += 8) {
        urza_f64x4 low = URZA_F64X4_ABS(URZA_F64X4(x + k));
        urza_f64x4 high = URZA_F64X4_ABS(URZA_F64X4(x + k + 4));
        if (x_errors) {
            low += URZA_F64X4(x_errors + k);
            high += URZA_F64X4(x_errors + k + 4);
        }
        sum.low += low * URZA_F64X4(e + k), sum.high += high * URZA_F64X4(e + k + 4);
    }
    double total = eight_sum(sum);
    for (; k < size; k++)
        total += (fabs(x[k]) + (x_errors ? x_errors[k] : 0)) * e[k];
    return total;
}

/* Rows that are too few to be worth packing. */
struct dots {
    const struct op *op;
    int64_t m, n, size;
};

static void dot_by_terms(const struct dots *dots, int64_t row_a, int64_t row_b, int64_t index)
{
    const struct interp_tensor *a = dots->op->in[0], *b = dots->op->in[1];
    struct fold fold;
    fold_begin(&fold, FOLD_SUM, a->dtype);
    for (int64_t k = 0; k < dots->size; k++) {
        struct approx product =
            approx_mul(approx_at(a, row_a * dots->size + k), approx_at(b, row_b * dots->size + k));
        fold_add(&fold, (union cell){.f = product.value}, product.error);
    }
    fold_put(&fold, dots->op, index);
}

/* All of one row of b, which is read once. */
static void dots_turn(void *context, int64_t row_b, uint32_t worker)
{
    const struct dots *dots = context;
    const struct interp_tensor *a = dots->op->in[0], *b = dots->op->in[1];
    int64_t size = dots->size, batch = row_b / dots->n;
    const double *y = &b->cells[row_b * size].f;
    const double *ey = b->bounds ? b->bounds + row_b * size : NULL;
    (void)worker;
    for (int64_t i = 0; i < dots->m; i++) {
        int64_t row_a = batch * dots->m + i, index = row_a * dots->n + row_b % dots->n;
        const double *x = &a->cells[row_a * size].f;
        struct dot dot;
        dot_products(x, y, size, &dot);
        if (b->bounds)
            dot.error += dot_errors(x, NULL, ey, size);
        if (a->bounds)
            dot.error += dot_errors(y, ey, a->bounds + row_a * size, size);
        if (!sums_put(dots->op, index, 1, 1, size, &dot.value, &dot.magnitude, &dot.error))
            dot_by_terms(dots, row_a, row_b, index);
    }
}

static void run_dots(const struct op *op, int64_t m, int64_t n, int64_t size)
{
    struct dots dots = {op, m, n, size};
    double work = (double)op->out->count * (double)size;
    parallel_for(op_threads(op, work), op->out->count / m, dots_turn, &dots);
}

void run_contract(const struct op *op)
{
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    uint32_t batch = op->attrs->batch, first_a = a->rank - op->attrs->contract;
    uint32_t first_b = b->rank - op->attrs->contract;
    int64_t m = shape_product(a->shape, batch, first_a);
    int64_t n = shape_product(b->shape, batch, first_b);
    int64_t terms = shape_product(a->shape, first_a, a->rank);
    if ((m < FEW_ROWS || n < FEW_ROWS) && op->out->count > 0 && terms > 0 &&
        dtype_is_float(a->dtype) && !op->plain) {
        run_dots(op, m, n, terms);
        return;
    }
    /* The lanes are the more numerous, unless both fill their vectors. */
    bool turned = n < PANEL_LANES && m > n;
    const struct interp_tensor *lanes = turned ? a : b;
    struct product product = {.op = op,
                              .batches = shape_product(a->shape, 0, batch),
                              .rows = turned ? n : m,
                              .lanes = turned ? m : n,
                              .terms = terms,
                              .row_stride = turned ? 1 : n,
                              .lane_stride = turned ? n : 1,
                              .row_side = turned ? b : a,
                              .lane_errors = lanes->bounds != NULL,
                              .source = lanes,
                              .fill = fill_rows};
    product.row_batches = product.batches;
    product_run(&product);
}

/* A batch is a group of an image: its channels lie together in x. */
static void fill_patches(const struct product *p, const struct panel *panel)
{
    const struct windows *w = p->source;
    int64_t channels = p->terms / w->taps;
    windows_fill(w, panel, panel->batch * channels * w->plane, (union cell){.i = 0});
}

static bool patch_is_padded(const struct product *p, int64_t batch, int64_t lane)
{
    const struct windows *w = p->source;
    (void)batch;
    return windows_count(w, lane) < w->taps;
}

void run_conv(const struct op *op)
{
    const struct interp_tensor *x = op->in[0], *filters = op->in[1];
    struct windows w;
    if (op->out->count == 0)
        return;
    bool fits = windows_init(&w, op);
    assert(fits);
    windows_find(&w, op);
    struct product product = {.op = op,
                              .batches = x->shape[0] * op->attrs->groups,
                              .rows = filters->shape[0] / op->attrs->groups,
                              .lanes = w.out_plane,
                              .terms = shape_product(filters->shape, 1, filters->rank),
                              .row_stride = w.out_plane,
                              .lane_stride = 1,
                              .row_side = filters,
                              .row_batches = op->attrs->groups,
                              .lane_errors = x->bounds != NULL,
                              .source = &w,
                              .fill = fill_patches,
                              .padded = patch_is_padded};
    product_run(&product);
}
