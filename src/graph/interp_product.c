/* Blocked dot products.
 *
 * A block is a range of rows by a range of lanes of one batch; threads take blocks. A block
 * processes its terms in panels: eight lanes are packed side by side, so that one vector holds
 * eight sums, and four rows are multiplied with a panel at a time.
 *
 *               lanes →  8       8             one tile: 4 rows × 8 lanes
 *     terms ↓  [ panel ][ panel ] …            sum[r][l] += row[r][k] · panel[k][l]
 *
 * A sum adds its terms one after the other within a panel, and then the panels' sums. Lanes are
 * never added to each other, so the order of additions, and with it the result's bits, does not
 * depend on vectors, threads or CPU.
 *
 * In REFERENCE a float dot product has three sums: of the terms, of their magnitudes, and of the
 * propagated errors, which are products themselves: Σ|a|·eb + Σea·(|b| + eb). If one of them is not
 * finite, the dot product is computed again term by term, which distinguishes exact infinities from
 * overflow. */
#include "graph/interp_product_priv.h"

#include "base/compiler.h"
#include "base/parallel.h"

#define BLOCK_PANELS 8
#define BLOCK_LANES (BLOCK_PANELS * PANEL_LANES)
#define BLOCK_ROWS 128
#define TILE_ROWS 4

/* Four rows, each starting at the same term, and the panel of these terms. */
struct tile {
    const double *rows[TILE_ROWS];
    const double *panel;
    int64_t terms;
    double *sums, *magnitudes; /* [4][BLOCK_LANES] */
};

URZA_VECTORISED
static void tile_values(const struct tile *tile)
{
    const double *a0 = tile->rows[0], *a1 = tile->rows[1];
    const double *a2 = tile->rows[2], *a3 = tile->rows[3];
    for (int half = 0; half < PANEL_LANES; half += 4) {
        urza_f64x4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (int64_t k = 0; k < tile->terms; k++) {
            urza_f64x4 b = URZA_F64X4(tile->panel + k * PANEL_LANES + half);
            s0 += a0[k] * b;
            s1 += a1[k] * b;
            s2 += a2[k] * b;
            s3 += a3[k] * b;
        }
        URZA_F64X4_ADD(tile->sums + half, s0);
        URZA_F64X4_ADD(tile->sums + BLOCK_LANES + half, s1);
        URZA_F64X4_ADD(tile->sums + 2 * BLOCK_LANES + half, s2);
        URZA_F64X4_ADD(tile->sums + 3 * BLOCK_LANES + half, s3);
    }
}

/* As in a plain f32 loop: each product and each partial sum is rounded. The rows and the panel as
 * floats; the tile's sums are floats, too, stored as doubles. */
URZA_VECTORISED
static void tile_plain(const struct tile *tile, const float *rows, const float *panel)
{
    const float *a0 = rows, *a1 = rows + PANEL_TERMS;
    const float *a2 = rows + 2 * PANEL_TERMS, *a3 = rows + 3 * PANEL_TERMS;
    float sums[TILE_ROWS][PANEL_LANES];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int l = 0; l < PANEL_LANES; l++)
            sums[r][l] = (float)tile->sums[r * BLOCK_LANES + l];
    urza_f32x8 s0 = URZA_F32X8(sums[0]), s1 = URZA_F32X8(sums[1]);
    urza_f32x8 s2 = URZA_F32X8(sums[2]), s3 = URZA_F32X8(sums[3]);
    for (int64_t k = 0; k < tile->terms; k++) {
        urza_f32x8 b = URZA_F32X8(panel + k * PANEL_LANES);
        s0 += a0[k] * b;
        s1 += a1[k] * b;
        s2 += a2[k] * b;
        s3 += a3[k] * b;
    }
    const urza_f32x8 all[TILE_ROWS] = {s0, s1, s2, s3};
    for (int r = 0; r < TILE_ROWS; r++)
        for (int l = 0; l < PANEL_LANES; l++)
            tile->sums[r * BLOCK_LANES + l] = (double)all[r][l];
}

URZA_VECTORISED
static void to_floats(const double *restrict x, int64_t count, float *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)x[i];
}

URZA_VECTORISED
static void tile_magnitudes(const struct tile *tile)
{
    const double *a0 = tile->rows[0], *a1 = tile->rows[1];
    const double *a2 = tile->rows[2], *a3 = tile->rows[3];
    for (int half = 0; half < PANEL_LANES; half += 4) {
        urza_f64x4 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        urza_f64x4 m0 = {0}, m1 = {0}, m2 = {0}, m3 = {0};
        for (int64_t k = 0; k < tile->terms; k++) {
            urza_f64x4 b = URZA_F64X4(tile->panel + k * PANEL_LANES + half);
            urza_f64x4 p0 = a0[k] * b, p1 = a1[k] * b, p2 = a2[k] * b, p3 = a3[k] * b;
            s0 += p0, m0 += URZA_F64X4_ABS(p0);
            s1 += p1, m1 += URZA_F64X4_ABS(p1);
            s2 += p2, m2 += URZA_F64X4_ABS(p2);
            s3 += p3, m3 += URZA_F64X4_ABS(p3);
        }
        URZA_F64X4_ADD(tile->sums + half, s0);
        URZA_F64X4_ADD(tile->sums + BLOCK_LANES + half, s1);
        URZA_F64X4_ADD(tile->sums + 2 * BLOCK_LANES + half, s2);
        URZA_F64X4_ADD(tile->sums + 3 * BLOCK_LANES + half, s3);
        URZA_F64X4_ADD(tile->magnitudes + half, m0);
        URZA_F64X4_ADD(tile->magnitudes + BLOCK_LANES + half, m1);
        URZA_F64X4_ADD(tile->magnitudes + 2 * BLOCK_LANES + half, m2);
        URZA_F64X4_ADD(tile->magnitudes + 3 * BLOCK_LANES + half, m3);
    }
}

/* Integers wrap, so any order of additions gives the same result. */
URZA_VECTORISED
static void row_integers(const union cell *restrict row, const union cell *restrict panel,
                         int64_t terms, double *restrict sums)
{
    uint64_t sum[PANEL_LANES];
    memcpy(sum, sums, sizeof sum);
    for (int64_t k = 0; k < terms; k++)
        for (int l = 0; l < PANEL_LANES; l++)
            sum[l] += (uint64_t)row[k].i * (uint64_t)panel[k * PANEL_LANES + l].i;
    memcpy(sums, sum, sizeof sum);
}

/* For operands with errors: |a| of a tile's rows; |b| + eb. */
URZA_VECTORISED
static void magnitudes_of(const double *restrict x, const double *restrict errors, int64_t count,
                          double *restrict out)
{
    if (errors) {
        for (int64_t i = 0; i < count; i++)
            out[i] = fabs(x[i]) + errors[i];
    } else {
        for (int64_t i = 0; i < count; i++)
            out[i] = fabs(x[i]);
    }
}

/* The scratch memory of a worker for one block. */
struct block {
    union cell cells[BLOCK_PANELS][PANEL_TERMS * PANEL_LANES];
    double errors[BLOCK_PANELS][PANEL_TERMS * PANEL_LANES];
    double reach[BLOCK_PANELS][PANEL_TERMS * PANEL_LANES]; /* |b| + eb */
    double sums[BLOCK_ROWS][BLOCK_LANES];
    double magnitudes[BLOCK_ROWS][BLOCK_LANES];
    double propagated[BLOCK_ROWS][BLOCK_LANES];
    double row_magnitudes[TILE_ROWS][PANEL_TERMS];
    float plain_rows[TILE_ROWS][PANEL_TERMS];                   /* of the tile, in PLAIN mode … */
    float plain_cells[BLOCK_PANELS][PANEL_TERMS * PANEL_LANES]; /* … and the panels */
    int64_t batch, row, row_count, lane, lane_count;
    /* Used where sums are not finite (fold_known), once `searched`: whether a row or lane has a
     * determined NaN, and whether it has an undetermined element. */
    bool searched, row_nan[BLOCK_ROWS], row_open[BLOCK_ROWS], lane_nan[BLOCK_LANES],
        lane_open[BLOCK_LANES];
};

struct job {
    const struct product *product;
    struct block *blocks; /* by worker */
    int64_t row_blocks, lane_blocks;
    bool is_float, reference, plain;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t row_start(const struct product *p, int64_t batch, int64_t row)
{
    return (batch % p->row_batches * p->rows + row) * p->terms;
}

static void fill_panels(const struct job *job, struct block *block, int64_t first, int64_t count)
{
    const struct product *p = job->product;
    const double *row_errors = p->row_side->bounds;
    for (int64_t i = 0; i * PANEL_LANES < block->lane_count; i++) {
        struct panel panel = {block->batch,    block->lane + i * PANEL_LANES,
                              first,           count,
                              block->cells[i], p->lane_errors ? block->errors[i] : NULL};
        p->fill(p, &panel);
        if (job->plain && job->is_float)
            to_floats(&panel.cells->f, count * PANEL_LANES, block->plain_cells[i]);
        if (row_errors && job->is_float)
            magnitudes_of(&panel.cells->f, panel.errors, count * PANEL_LANES, block->reach[i]);
    }
}

/* The rows of a tile; where the block has fewer than four left, the last is repeated and the extra
 * results are not read.
 */
static void tile_rows(const struct job *job, const struct block *block, int64_t row, int64_t first,
                      int64_t out_at[TILE_ROWS])
{
    for (int64_t r = 0; r < TILE_ROWS; r++)
        out_at[r] = row_start(job->product, block->batch,
                              block->row + least(row + r, block->row_count - 1)) +
                    first;
}

/* Adds the errors of the terms to a tile's. */
static void add_errors(const struct job *job, struct block *block, const int64_t at[TILE_ROWS],
                       struct tile *tile, int64_t row)
{
    const struct interp_tensor *side = job->product->row_side;
    for (int pass = 0; pass < 2; pass++) {
        if (!(pass == 0 ? job->product->lane_errors : side->bounds != NULL))
            continue;
        for (int r = 0; r < TILE_ROWS; r++) {
            tile->rows[r] = pass == 0 ? block->row_magnitudes[r] : side->bounds + at[r];
            if (pass == 0)
                magnitudes_of(&side->cells[at[r]].f, NULL, tile->terms, block->row_magnitudes[r]);
        }
        for (int64_t i = 0; i * PANEL_LANES < block->lane_count; i++) {
            tile->panel = pass == 0 ? block->errors[i] : block->reach[i];
            tile->sums = &block->propagated[row][i * PANEL_LANES];
            tile_values(tile);
        }
    }
}

static void add_floats(const struct job *job, struct block *block, int64_t first, int64_t count)
{
    const struct interp_tensor *side = job->product->row_side;
    for (int64_t row = 0; row < block->row_count; row += TILE_ROWS) {
        struct tile tile = {.terms = count};
        int64_t at[TILE_ROWS];
        tile_rows(job, block, row, first, at);
        for (int r = 0; r < TILE_ROWS; r++)
            tile.rows[r] = &side->cells[at[r]].f;
        for (int r = 0; job->plain && r < TILE_ROWS; r++)
            to_floats(tile.rows[r], count, block->plain_rows[r]);
        for (int64_t i = 0; i * PANEL_LANES < block->lane_count; i++) {
            tile.panel = &block->cells[i]->f;
            tile.sums = &block->sums[row][i * PANEL_LANES];
            tile.magnitudes = &block->magnitudes[row][i * PANEL_LANES];
            if (job->reference)
                tile_magnitudes(&tile);
            else if (job->plain)
                tile_plain(&tile, block->plain_rows[0], block->plain_cells[i]);
            else
                tile_values(&tile);
        }
        if (job->reference)
            add_errors(job, block, at, &tile, row);
    }
}

/* An integer result is determined if all its operands are exact. */
static void add_integers(const struct job *job, struct block *block, int64_t first, int64_t count)
{
    const struct interp_tensor *side = job->product->row_side;
    for (int64_t row = 0; row < block->row_count; row++) {
        int64_t at = row_start(job->product, block->batch, block->row + row) + first;
        double row_error = 0;
        for (int64_t k = 0; side->bounds && k < count; k++)
            row_error += side->bounds[at + k];
        for (int64_t l = 0; l < block->lane_count; l++) {
            int64_t i = l / PANEL_LANES, in = l % PANEL_LANES;
            if (in == 0)
                row_integers(side->cells + at, block->cells[i], count, &block->sums[row][l]);
            double error = row_error;
            for (int64_t k = 0; job->product->lane_errors && k < count; k++)
                error += block->errors[i][k * PANEL_LANES + in];
            block->propagated[row][l] += error;
        }
    }
}

/* Whether sums of the lanes lane … lane+7 of a row are not finite. */
static bool is_special(const struct block *block, int64_t row, int64_t lane)
{
    return !(block->magnitudes[row][lane] + block->propagated[row][lane] < INFINITY);
}

static void find_row_nans(const struct job *job, struct block *block)
{
    const struct product *p = job->product;
    const struct interp_tensor *side = p->row_side;
    for (int64_t row = 0; row < block->row_count; row++) {
        int64_t at = row_start(p, block->batch, block->row + row);
        bool nan = false, open = false;
        for (int64_t k = at; k < at + p->terms; k++)
            nan |= isnan(side->cells[k].f);
        for (int64_t k = at; side->bounds && k < at + p->terms; k++)
            open |= !(side->bounds[k] < INFINITY);
        block->row_nan[row] = nan;
        block->row_open[row] = open;
    }
}

static void find_lane_nans(const struct job *job, struct block *block)
{
    const struct product *p = job->product;
    memset(block->lane_nan, 0, sizeof block->lane_nan);
    memset(block->lane_open, 0, sizeof block->lane_open);
    for (int64_t first = 0; first < p->terms; first += PANEL_TERMS) {
        int64_t count = least(PANEL_TERMS, p->terms - first);
        for (int64_t lane = 0; lane < block->lane_count; lane += PANEL_LANES) {
            struct panel panel = {block->batch,    block->lane + lane,
                                  first,           count,
                                  block->cells[0], p->lane_errors ? block->errors[0] : NULL};
            p->fill(p, &panel);
            for (int64_t k = 0; k < count * PANEL_LANES; k++)
                block->lane_nan[lane + k % PANEL_LANES] |= isnan(panel.cells[k].f);
            for (int64_t k = 0; panel.errors && k < count * PANEL_LANES; k++)
                block->lane_open[lane + k % PANEL_LANES] |= !(panel.errors[k] < INFINITY);
        }
    }
}

/* Decides a dot product without its terms, where that is possible, and adds the answer to the fold:
 * NaN, if an operand is a determined NaN and none is undetermined; undetermined, if one is
 * undetermined and none is NaN. False if neither holds. */
static bool fold_known(const struct job *job, struct block *block, int64_t row, int64_t lane,
                       struct fold *fold)
{
    if (!block->searched) {
        find_row_nans(job, block);
        find_lane_nans(job, block);
        block->searched = true;
    }
    bool nan = block->row_nan[row] || block->lane_nan[lane];
    bool open = block->row_open[row] || block->lane_open[lane];
    if (nan != open)
        fold_add(fold, (union cell){.f = nan ? (double)NAN : block->sums[row][lane]},
                 nan ? 0 : INFINITY);
    return nan != open;
}

/* Computes the special dot products among eight of a row again, term by term. */
static void put_by_terms(const struct job *job, struct block *block, int64_t row, int64_t lane)
{
    const struct product *p = job->product;
    const struct interp_tensor *side = p->row_side;
    int64_t at = row_start(p, block->batch, block->row + row);
    int64_t lanes = least(PANEL_LANES, block->lane_count - lane);
    int64_t left = 0;
    struct fold folds[PANEL_LANES];
    bool settled[PANEL_LANES]; /* not to be computed again, or already decided */
    for (int64_t l = 0; l < lanes; l++) {
        fold_begin(&folds[l], FOLD_SUM, p->op->out->dtype);
        settled[l] = !is_special(block, row, lane + l);
        if (!settled[l])
            settled[l] = fold_known(job, block, row, lane + l, &folds[l]);
        left += !settled[l];
    }
    for (int64_t first = 0; left > 0 && first < p->terms; first += PANEL_TERMS) {
        struct panel panel = {block->batch,    block->lane + lane,
                              first,           least(PANEL_TERMS, p->terms - first),
                              block->cells[0], p->lane_errors ? block->errors[0] : NULL};
        p->fill(p, &panel);
        for (int64_t k = 0; left > 0 && k < panel.count * PANEL_LANES; k++) {
            int64_t l = k % PANEL_LANES;
            if (l >= lanes || settled[l])
                continue;
            struct approx b = {panel.cells[k].f, panel.errors ? panel.errors[k] : 0};
            struct approx product = approx_mul(approx_at(side, at + first + k / PANEL_LANES), b);
            fold_add(&folds[l], (union cell){.f = product.value}, product.error);
            if (isnan(product.value) && product.error == 0) { /* a determined NaN: the other terms
                                                                 do not matter */
                folds[l].error = 0;
                folds[l].magnitude = 0;
                settled[l] = true;
                left--;
            }
        }
    }
    for (int64_t l = 0; l < lanes; l++) {
        int64_t to = block->lane + lane + l;
        /* A program may leave padding out of the sum or multiply by it: 0 · infinity is NaN in one
         * and nothing in the other, so the result is not determined. */
        if (!isfinite(folds[l].value.f) && p->padded && p->padded(p, block->batch, to))
            folds[l].error = INFINITY;
        if (is_special(block, row, lane + l))
            fold_put(&folds[l], p->op,
                     block->batch * p->rows * p->lanes + (block->row + row) * p->row_stride +
                         to * p->lane_stride);
    }
}

static void put_floats(const struct job *job, struct block *block, int64_t row, int64_t at)
{
    const struct product *p = job->product;
    const struct sums sums = {block->lane_count, p->terms, block->sums[row], block->magnitudes[row],
                              block->propagated[row]};
    if (sums_put(p->op, at, p->lane_stride, &sums))
        return;
    for (int64_t lane = 0; lane < block->lane_count; lane += PANEL_LANES) {
        bool special = false;
        for (int64_t l = lane; l < least(lane + PANEL_LANES, block->lane_count); l++)
            special |= is_special(block, row, l);
        if (special)
            put_by_terms(job, block, row, lane);
    }
}

static void put_integers(const struct job *job, const struct block *block, int64_t row, int64_t at)
{
    const struct op *op = job->product->op;
    for (int64_t l = 0; l < block->lane_count; l++) {
        union cell cell = {.f = block->sums[row][l]};
        cell.i = dtype_wrap(op->out->dtype, cell.i);
        op_put_exact(op, at + l * job->product->lane_stride, cell,
                     block->propagated[row][l] > 0 ? INFINITY : 0);
    }
}

static void run_block(void *context, int64_t turn, uint32_t worker)
{
    const struct job *job = context;
    const struct product *p = job->product;
    struct block *block = &job->blocks[worker];
    block->row = turn % job->row_blocks * BLOCK_ROWS;
    block->lane = turn / job->row_blocks % job->lane_blocks * BLOCK_LANES;
    block->batch = turn / job->row_blocks / job->lane_blocks;
    block->row_count = least(BLOCK_ROWS, p->rows - block->row);
    block->lane_count = least(BLOCK_LANES, p->lanes - block->lane);
    size_t bytes = (size_t)((block->row_count + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS) *
                   sizeof block->sums[0];
    block->searched = false;
    memset(block->sums, 0, bytes);
    memset(block->magnitudes, 0, bytes);
    memset(block->propagated, 0, bytes);
    for (int64_t first = 0; first < p->terms; first += PANEL_TERMS) {
        int64_t count = least(PANEL_TERMS, p->terms - first);
        fill_panels(job, block, first, count);
        if (job->is_float)
            add_floats(job, block, first, count);
        else
            add_integers(job, block, first, count);
    }
    for (int64_t row = 0; row < block->row_count; row++) {
        int64_t at = block->batch * p->rows * p->lanes + (block->row + row) * p->row_stride +
                     block->lane * p->lane_stride;
        if (job->is_float)
            put_floats(job, block, row, at);
        else
            put_integers(job, block, row, at);
    }
}

void product_run(const struct product *p)
{
    enum dtype dtype = p->op->out->dtype;
    struct job job = {.product = p,
                      .row_blocks = (p->rows + BLOCK_ROWS - 1) / BLOCK_ROWS,
                      .lane_blocks = (p->lanes + BLOCK_LANES - 1) / BLOCK_LANES,
                      .is_float = dtype_is_float(dtype),
                      .reference = p->op->reference,
                      .plain = p->op->plain && dtype != DTYPE_F64};
    if (p->op->out->count == 0)
        return;
    if (p->terms == 0) {
        for (int64_t i = 0; i < p->op->out->count; i++)
            op_put_exact(p->op, i, (union cell){.i = 0}, 0);
        return;
    }
    double work = (double)p->op->out->count * (double)p->terms;
    uint32_t threads = op_threads(p->op, work);
    int64_t turns = job.row_blocks * job.lane_blocks * p->batches;
    job.blocks =
        op_scratch(p->op, SCRATCH_WORKERS, parallel_workers(threads, turns) * sizeof *job.blocks);
    parallel_for(threads, turns, run_block, &job);
}
