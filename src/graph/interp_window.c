/* Windows: the elements under them, and their sums and maxima. */
#include "graph/interp_window_priv.h"
#include "graph/interp_op_priv.h"

#include <assert.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "base/parallel.h"

#define KNOWN_BYTES (8 << 20)

bool windows_init(struct windows *w, const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    *w = (struct windows){
        .rank = op->attrs->window_count, .window = op->attrs->window, .x = x, .taps = 1};
    uint32_t first = x->rank - w->rank;
    w->shape = x->shape + first;
    w->out_shape = op->out->shape + first;
    row_strides(w->shape, w->rank, w->stride);
    w->plane = shape_product(w->shape, 0, w->rank);
    w->out_plane = shape_product(w->out_shape, 0, w->rank);
    for (uint32_t d = 0; d < w->rank; d++)
        if (!checked_mul_i64(w->taps, w->window[d].size, &w->taps))
            return false;
    return true;
}

/* The first position of the window in each dim. */
static void window_at(const struct windows *w, int64_t position, int64_t *out_start)
{
    for (uint32_t d = w->rank; d-- > 0;) {
        out_start[d] = position % w->out_shape[d] * w->window[d].stride - w->window[d].low;
        position /= w->out_shape[d];
    }
}

/* The element that tap t of a dim reads, or -1. */
static int64_t find(const struct windows *w, uint32_t d, int64_t start, int64_t t)
{
    int64_t position = start + t * w->window[d].dilation, base = w->window[d].base_dilation;
    if (position < 0 || position > (w->shape[d] - 1) * base || position % base != 0)
        return -1;
    return position / base;
}

int64_t windows_count(const struct windows *w, int64_t position)
{
    int64_t start[LIMIT_RANK], count = 1;
    window_at(w, position, start);
    for (uint32_t d = 0; d < w->rank; d++) {
        int64_t found = 0;
        for (int64_t t = 0; t < w->window[d].size; t++)
            found += find(w, d, start[d], t) >= 0;
        count *= found;
    }
    return count;
}

/* The offsets that one tap reads for eight lanes; -1 for padding. */
struct tap {
    int64_t offset[PANEL_LANES];
    enum { TAP_MIXED, TAP_RUN, TAP_PADDING } kind; /* RUN: eight consecutive elements */
};

/* Finds `count` taps from panel->first on, in all channels. */
static void find_taps(const struct windows *w, const struct panel *panel, int64_t count,
                      struct tap *out)
{
    int64_t size = w->out_plane - panel->lane;
    for (int64_t l = 0; l < PANEL_LANES; l++) {
        int64_t start[LIMIT_RANK], t[LIMIT_RANK], at[LIMIT_RANK];
        int64_t channel = panel->first / w->taps, flat = panel->first % w->taps;
        window_at(w, l < size ? panel->lane + l : 0, start);
        for (uint32_t d = w->rank; d-- > 0; flat /= w->window[d].size) {
            t[d] = flat % w->window[d].size;
            at[d] = find(w, d, start[d], t[d]);
        }
        for (int64_t i = 0; i < count; i++) {
            int64_t offset = channel * w->plane;
            bool found = l < size;
            for (uint32_t d = 0; d < w->rank; d++) {
                found &= at[d] >= 0;
                offset += at[d] * w->stride[d];
            }
            out[i].offset[l] = found ? offset : -1;
            uint32_t d = w->rank;
            for (; d > 0 && ++t[d - 1] == w->window[d - 1].size; d--) {
                t[d - 1] = 0;
                at[d - 1] = find(w, d - 1, start[d - 1], 0);
            }
            if (d > 0)
                at[d - 1] = find(w, d - 1, start[d - 1], t[d - 1]);
            else
                channel++;
        }
    }
    for (int64_t i = 0; i < count; i++) {
        bool run = out[i].offset[0] >= 0, padding = true;
        for (int64_t l = 0; l < PANEL_LANES; l++) {
            run &= out[i].offset[l] == out[i].offset[0] + l;
            padding &= out[i].offset[l] < 0;
        }
        out[i].kind = run ? TAP_RUN : padding ? TAP_PADDING : TAP_MIXED;
    }
}

void windows_find(struct windows *w, const struct op *op)
{
    int64_t panels = (w->out_plane + PANEL_LANES - 1) / PANEL_LANES, count;
    if (w->taps > PANEL_TERMS || !checked_mul_i64(panels, w->taps, &count) ||
        count > (int64_t)(KNOWN_BYTES / sizeof *w->known))
        return;
    w->known = op_scratch(op, SCRATCH_TAPS, (size_t)count * sizeof *w->known);
    w->counts = op_scratch(op, SCRATCH_COUNTS, (size_t)(panels * PANEL_LANES) * sizeof *w->counts);
    memset(w->counts, 0, (size_t)(panels * PANEL_LANES) * sizeof *w->counts);
    for (int64_t i = 0; i < panels; i++) {
        struct panel panel = {.lane = i * PANEL_LANES};
        struct tap *known = w->known + i * w->taps;
        find_taps(w, &panel, w->taps, known);
        for (int64_t t = 0; t < w->taps; t++)
            for (int64_t l = 0; l < PANEL_LANES; l++)
                w->counts[i * PANEL_LANES + l] += known[t].offset[l] >= 0;
    }
}

/* Copies the elements of `count` taps to [count][8]; x: cells, or bounds. */
URZA_VECTORISED
static void move_taps(const struct tap *restrict taps, int64_t count, const double *restrict x,
                      double padding, double *restrict out)
{
    for (int64_t t = 0; t < count; t++, out += PANEL_LANES) {
        const int64_t *offset = taps[t].offset;
        if (taps[t].kind == TAP_RUN) {
            memcpy(out, x + offset[0], PANEL_LANES * sizeof *out);
            continue;
        }
        for (int l = 0; l < PANEL_LANES; l++)
            out[l] = offset[l] >= 0 ? x[offset[l]] : padding;
    }
}

void windows_fill(const struct windows *w, const struct panel *panel, int64_t start,
                  union cell padding)
{
    struct tap found[PANEL_TERMS], *taps = found;
    int64_t count = panel->count < w->taps ? panel->count : w->taps, tap = 0, size;
    if (w->known) {
        taps = w->known + panel->lane / PANEL_LANES * w->taps;
        count = w->taps;
        tap = panel->first % count;
        start += panel->first / count * w->plane;
    } else {
        find_taps(w, panel, count, found);
    }
    /* The taps are the same in each channel. */
    for (int64_t k = 0; k < panel->count; k += size, tap = 0, start += w->plane) {
        size = count - tap < panel->count - k ? count - tap : panel->count - k;
        double *errors = panel->errors ? panel->errors + k * PANEL_LANES : NULL;
        move_taps(taps + tap, size, &w->x->cells[start].f, padding.f,
                  &panel->cells[k * PANEL_LANES].f);
        if (errors && w->x->bounds)
            move_taps(taps + tap, size, w->x->bounds + start, 0, errors);
        else if (errors)
            memset(errors, 0, (size_t)size * PANEL_LANES * sizeof *errors);
    }
}

/* Adds the elements under one window, from dim d on. Only taps on elements are visited: a huge
 * window may have few. */
static void fold_window(const struct windows *w, struct fold *fold, const int64_t *start,
                        uint32_t d, int64_t at)
{
    if (d == w->rank) {
        fold_add(fold, w->x->cells[at], bound_at(w->x, at));
        return;
    }
    const struct window *v = &w->window[d];
    int64_t first = start[d] < 0 ? (-start[d] + v->dilation - 1) / v->dilation : 0;
    int64_t reach = (w->shape[d] - 1) * v->base_dilation;
    for (int64_t t = first; t < v->size && start[d] + t * v->dilation <= reach; t++) {
        int64_t position = start[d] + t * v->dilation;
        if (position % v->base_dilation == 0)
            fold_window(w, fold, start, d + 1, at + position / v->base_dilation * w->stride[d]);
    }
}

static void window_by_terms(const struct windows *w, const struct op *op, int64_t index)
{
    int64_t start[LIMIT_RANK];
    struct fold fold;
    fold_begin(&fold, op->prim == PRIM_WINDOW_SUM ? FOLD_SUM : FOLD_MAX, w->x->dtype);
    window_at(w, index % w->out_plane, start);
    fold_window(w, &fold, start, 0, index / w->out_plane * w->plane);
    fold_put(&fold, op, index);
}

/* Eight windows of one channel at a time. */
struct window_job {
    const struct op *op;
    const struct windows *windows;
    int64_t panels; /* per channel */
    bool by_terms;
};

static void window_panel(const struct window_job *job, int64_t channel, int64_t lane)
{
    const struct windows *w = job->windows;
    union cell cells[PANEL_TERMS * PANEL_LANES];
    double errors[PANEL_TERMS * PANEL_LANES];
    bool is_sum = job->op->prim == PRIM_WINDOW_SUM, plain = true;
    int64_t lanes = w->out_plane - lane < PANEL_LANES ? w->out_plane - lane : PANEL_LANES;
    int64_t at = channel * w->out_plane + lane, counts[PANEL_LANES];
    struct panel panel = {channel, lane, 0, w->taps, cells, w->x->bounds ? errors : NULL};
    windows_fill(w, &panel, channel * w->plane, (union cell){.f = is_sum ? 0 : -INFINITY});
    struct columns columns;
    columns_begin(&columns, is_sum ? FOLD_SUM : FOLD_MAX, PANEL_LANES);
    columns_add(&columns, &cells->f, panel.errors, w->taps, PANEL_LANES);
    if (!is_sum && panel.errors)
        columns_add_errors(&columns, &cells->f, errors, w->taps, PANEL_LANES);
    for (int64_t l = 0; l < lanes; l++)
        counts[l] = w->counts ? w->counts[lane + l] : windows_count(w, lane + l);
    for (int64_t l = 0, end; l < lanes; l = end) {
        for (end = l + 1; end < lanes && counts[end] == counts[l];)
            end++;
        plain &= columns_put(&columns, job->op, at + l, l, end - l, counts[l]);
    }
    for (int64_t l = 0; !plain && l < lanes; l++)
        window_by_terms(w, job->op, at + l);
}

static void window_turn(void *context, int64_t turn, uint32_t worker)
{
    const struct window_job *job = context;
    int64_t channel = turn / job->panels, lane = turn % job->panels * PANEL_LANES;
    int64_t lanes = job->windows->out_plane - lane;
    (void)worker;
    if (!job->by_terms) {
        window_panel(job, channel, lane);
        return;
    }
    for (int64_t l = 0; l < PANEL_LANES && l < lanes; l++)
        window_by_terms(job->windows, job->op, channel * job->windows->out_plane + lane + l);
}

void run_window(const struct op *op)
{
    struct windows w;
    struct window_job job = {.op = op, .windows = &w};
    if (op->out->count == 0)
        return;
    bool few = windows_init(&w, op) && w.taps <= PANEL_TERMS;
    if (few)
        windows_find(&w, op);
    job.by_terms = !few || !dtype_is_float(op->out->dtype);
    job.panels = (w.out_plane + PANEL_LANES - 1) / PANEL_LANES;
    double work = (double)op->out->count * (double)(few ? w.taps : w.plane);
    parallel_for(op_threads(op, work), op->out->count / w.out_plane * job.panels, window_turn,
                 &job);
}
