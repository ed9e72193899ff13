/* Contractions, convolutions and windows.
 *
 * All of contract and conv is dot products of contiguous rows: conv gathers the patch under each
 * window once and multiplies it with every filter of its group. A dot product has three sums: of
 * the products, of their magnitudes, and of the errors that the operands bring. Where one is not
 * finite it is done again term by term, which tells infinities that are exact from overflow. */
#include "graph/interp_priv.h"

/* Rows of b that stay in cache while all rows of a pass. */
#define ROW_BLOCK 32

/* One row: size elements, errors NULL when all are exact. */
struct row {
    const union cell *cells;
    const double *errors;
};

static struct row row_of(const struct interp_tensor *x, int64_t start)
{
    return (struct row){x->cells + start, x->bounds ? x->bounds + start : NULL};
}

static double error_at(struct row row, int64_t i)
{
    return row.errors ? row.errors[i] : 0;
}

static void dot_exact(struct fold *fold, struct row a, struct row b, int64_t size)
{
    double sum[4] = {0}, magnitude[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= size; i += 4) {
        for (int k = 0; k < 4; k++) {
            double product = a.cells[i + k].f * b.cells[i + k].f;
            sum[k] += product;
            magnitude[k] += fabs(product);
        }
    }
    for (; i < size; i++) {
        double product = a.cells[i].f * b.cells[i].f;
        sum[0] += product;
        magnitude[0] += fabs(product);
    }
    fold->value.f = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    fold->magnitude = (magnitude[0] + magnitude[1]) + (magnitude[2] + magnitude[3]);
}

/* Σ(|a|·eb + (|b| + eb)·ea); b has errors, a may have. */
static double dot_errors(struct row a, struct row b, int64_t size)
{
    double error[2] = {0};
    for (int64_t i = 0; i < size; i++) {
        double eb = b.errors[i];
        error[i & 1] += fabs(a.cells[i].f) * eb;
        if (a.errors)
            error[i & 1] += (fabs(b.cells[i].f) + eb) * a.errors[i];
    }
    return error[0] + error[1];
}

static void dot_by_terms(struct fold *fold, struct row a, struct row b, int64_t size)
{
    fold_begin(fold, FOLD_SUM, DTYPE_F64);
    for (int64_t i = 0; i < size; i++) {
        struct approx product = approx_mul((struct approx){a.cells[i].f, error_at(a, i)},
                                           (struct approx){b.cells[i].f, error_at(b, i)});
        fold_add(fold, (union cell){.f = product.value}, product.error);
    }
}

static void dot_float(struct fold *fold, struct row a, struct row b, int64_t size)
{
    dot_exact(fold, a, b, size);
    if (b.errors)
        fold->error = dot_errors(a, b, size);
    else if (a.errors)
        fold->error = dot_errors(b, a, size);
    if (!isfinite(fold->magnitude) || !isfinite(fold->error))
        dot_by_terms(fold, a, b, size);
    fold->count = size;
}

static void dot_int(struct fold *fold, struct row a, struct row b, int64_t size)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < size; i++) {
        sum += (uint64_t)a.cells[i].i * (uint64_t)b.cells[i].i;
        if (error_at(a, i) > 0 || error_at(b, i) > 0)
            fold->error = INFINITY;
    }
    fold->value.i = (int64_t)sum;
}

static void dot(struct fold *fold, enum dtype dtype, struct row a, struct row b, int64_t size)
{
    fold_begin(fold, FOLD_SUM, dtype);
    if (fold->is_float)
        dot_float(fold, a, b, size);
    else
        dot_int(fold, a, b, size);
}

void run_contract(const struct op *op)
{
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    uint32_t batch = op->attrs->batch, first_a = a->rank - op->attrs->contract;
    uint32_t first_b = b->rank - op->attrs->contract;
    int64_t batches = shape_product(a->shape, 0, batch);
    int64_t m = shape_product(a->shape, batch, first_a),
            n = shape_product(b->shape, batch, first_b);
    int64_t k = shape_product(a->shape, first_a, a->rank);
    if (op->out->count == 0)
        return;
    for (int64_t block = 0; block < batches * n; block += ROW_BLOCK) {
        /* A block may reach over several batches; each row of b finds its own. */
        int64_t end = block + ROW_BLOCK < batches * n ? block + ROW_BLOCK : batches * n;
        for (int64_t i = 0; i < m; i++) {
            for (int64_t row = block; row < end; row++) {
                int64_t row_a = row / n * m + i;
                struct fold fold;
                dot(&fold, a->dtype, row_of(a, row_a * k), row_of(b, row * k), k);
                fold_put(&fold, op, row_a * n + row % n);
            }
        }
    }
}

/* The elements that lie under a window, one window after the other in row-major order.
 *
 *     positions of one dim:  low + high elements of padding around x, x spread by base_dilation
 *     window at output o:    positions o*stride + t*dilation - low for t < size
 *     tap:                   such a position that is an element of x: its offset, and t */
struct windows {
    uint32_t rank;
    const struct window *window;
    const int64_t *shape; /* of x, spatial */
    int64_t stride[LIMIT_RANK], tap_stride[LIMIT_RANK];
    struct walk at; /* over output positions */
    int64_t count;
    int64_t *offsets, *taps; /* of the current window; taps are flat over the window's sizes */
};

/* ceil(a / b) for b > 0. */
static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b > 0);
}

static void windows_init(struct windows *w, const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    *w = (struct windows){.rank = op->attrs->window_count, .window = op->attrs->window};
    uint32_t first = x->rank - w->rank;
    int64_t size[LIMIT_RANK], most = 1;
    w->shape = x->shape + first;
    row_strides(w->shape, w->rank, w->stride);
    for (uint32_t d = 0; d < w->rank; d++) {
        size[d] = w->window[d].size;
        most *= size[d] < w->shape[d] ? size[d] : w->shape[d];
        walk_push(&w->at, op->out->shape[first + d], 0);
    }
    /* Only conv uses taps, and its windows' sizes are those of a tensor. */
    if (op->prim == PRIM_CONV)
        row_strides(size, w->rank, w->tap_stride);
    w->offsets = ARENA_ARRAY(op->arena, int64_t, most);
    w->taps = ARENA_ARRAY(op->arena, int64_t, most);
}

/* Extends the taps found so far by those of dim d. */
static void windows_extend(struct windows *w, uint32_t d, int64_t offset, int64_t tap)
{
    if (d == w->rank) {
        w->offsets[w->count] = offset;
        w->taps[w->count++] = tap;
        return;
    }
    const struct window *v = &w->window[d];
    int64_t start = w->at.index[d] * v->stride - v->low;
    int64_t first = start < 0 ? ceil_div(-start, v->dilation) : 0;
    int64_t reach = (w->shape[d] - 1) * v->base_dilation;
    for (int64_t t = first; t < v->size && start + t * v->dilation <= reach; t++) {
        int64_t position = start + t * v->dilation;
        if (position % v->base_dilation == 0)
            windows_extend(w, d + 1, offset + position / v->base_dilation * w->stride[d],
                           tap + t * w->tap_stride[d]);
    }
}

static void windows_find(struct windows *w)
{
    w->count = 0;
    windows_extend(w, 0, 0, 0);
}

void run_window(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    struct windows w;
    if (op->out->count == 0)
        return;
    windows_init(&w, op);
    int64_t outer = shape_product(x->shape, 0, x->rank - w.rank);
    int64_t plane = shape_product(w.shape, 0, w.rank), out_plane = op->out->count / outer;
    for (int64_t position = 0; position < out_plane; position++) {
        windows_find(&w);
        for (int64_t o = 0; o < outer; o++) {
            struct fold fold;
            fold_begin(&fold, op->prim == PRIM_WINDOW_SUM ? FOLD_SUM : FOLD_MAX, x->dtype);
            for (int64_t i = 0; i < w.count; i++) {
                int64_t at = o * plane + w.offsets[i];
                fold_add(&fold, x->cells[at], bound_at(x, at));
            }
            fold_put(&fold, op, o * out_plane + position);
        }
        walk_next(&w.at);
    }
}

/* What lies under one window in all channels of a group, zeros where nothing does. */
struct patch {
    union cell *cells;
    double *errors; /* NULL when x has none */
    int64_t channels, taps, size;
};

static void patch_fill(struct patch *patch, const struct windows *w, const struct interp_tensor *x,
                       int64_t start, int64_t plane)
{
    if (w->count < patch->taps) {
        memset(patch->cells, 0, (size_t)patch->size * sizeof *patch->cells);
        if (patch->errors)
            memset(patch->errors, 0, (size_t)patch->size * sizeof *patch->errors);
    }
    for (int64_t c = 0; c < patch->channels; c++) {
        for (int64_t i = 0; i < w->count; i++) {
            int64_t at = start + c * plane + w->offsets[i], to = c * patch->taps + w->taps[i];
            patch->cells[to] = x->cells[at];
            if (patch->errors)
                patch->errors[to] = x->bounds[at];
        }
    }
}

static void conv_put(const struct op *op, const struct patch *patch, int64_t filter, bool padded,
                     int64_t index)
{
    struct fold fold;
    dot(&fold, op->out->dtype, (struct row){patch->cells, patch->errors},
        row_of(op->in[1], filter * patch->size), patch->size);
    /* A program may leave padding out of the sum: 0 · infinity is NaN in the one and nothing in the
     * other. */
    if (padded && fold.is_float && op->reference && !isfinite(fold.value.f))
        fold.error = INFINITY;
    fold_put(&fold, op, index);
}

void run_conv(const struct op *op)
{
    const struct interp_tensor *x = op->in[0], *filters = op->in[1];
    struct windows w;
    if (op->out->count == 0)
        return;
    windows_init(&w, op);
    int64_t images = x->shape[0], channels = x->shape[1], groups = op->attrs->groups;
    int64_t outputs = filters->shape[0], per_group = outputs / groups;
    int64_t plane = shape_product(w.shape, 0, w.rank);
    int64_t out_plane = op->out->count / (images * outputs);
    struct patch patch = {.channels = channels / groups};
    patch.taps = shape_product(filters->shape, 2, filters->rank);
    patch.size = patch.channels * patch.taps;
    patch.cells = ARENA_ARRAY(op->arena, union cell, patch.size);
    patch.errors = x->bounds ? ARENA_ARRAY(op->arena, double, patch.size) : NULL;
    for (int64_t position = 0; position < out_plane; position++) {
        windows_find(&w);
        for (int64_t i = 0; i < images * groups; i++) {
            int64_t image = i / groups, group = i % groups;
            patch_fill(&patch, &w, x, (image * channels + group * patch.channels) * plane, plane);
            for (int64_t o = group * per_group; o < (group + 1) * per_group; o++)
                conv_put(op, &patch, o, w.count < patch.taps,
                         (image * outputs + o) * out_plane + position);
        }
        walk_next(&w.at);
    }
}
