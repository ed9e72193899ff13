/* Contractions and convolutions, as many dot products.
 *
 * contract multiplies rows of a with rows of b. conv multiplies filters with patches: a patch holds
 * the elements under one window in all channels of a group, and zeros where the window lies on
 * padding. */
#include "graph/interp_window_priv.h"
#include "graph/interp_op_priv.h"

#include <assert.h>

/* Fills a panel with eight rows of a tensor side by side. */
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

void run_contract(const struct op *op)
{
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    uint32_t batch = op->attrs->batch, first_a = a->rank - op->attrs->contract;
    uint32_t first_b = b->rank - op->attrs->contract;
    int64_t m = shape_product(a->shape, batch, first_a);
    int64_t n = shape_product(b->shape, batch, first_b);
    int64_t terms = shape_product(a->shape, first_a, a->rank);
    /* The lanes are the rows of b, unless these do not fill a vector and a has more rows. */
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

/* A batch is one group of channels of one image; its channels are contiguous in x. */
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
