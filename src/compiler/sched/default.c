/* The default config, which is taken without measuring: from extents, strides and the target. */
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

struct range loop_extent(struct scheduling *c, uint32_t var)
{
    struct range r = {1, 1};
    struct loop_site site;
    if (site_of(c->nest, var, &site))
        index_range(c->nest, c->nest->vars.items[site.loop->var].extent, &r.lo, &r.hi);
    return r;
}

int64_t sum_depth(struct nest *nest, const struct block *block)
{
    int64_t most = 1;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        int64_t inner = sum_depth(nest, &s->body), lo, hi;
        if (s->kind == STMT_FOR && !s->independent) {
            index_range(nest, nest->vars.items[s->var].extent, &lo, &hi);
            inner = hi > 0 && inner > INT64_MAX / hi ? INT64_MAX : inner * hi;
        }
        most = inner > most ? inner : most;
    }
    return most;
}

/* The stride in bytes of a variable in the loads of a loop. */
struct row_stride {
    uint32_t var, buffer; /* buffer: in loads of that argument only; 0 (the result): of any */
    int64_t bytes;
};

static void check_stride(struct nest *nest, expr_id e, void *context)
{
    struct row_stride *r = context;
    struct expr x = *expr_at(nest, e);
    int64_t n;
    if (x.op != EXPR_LOAD || (r->buffer && r->buffer != x.index) ||
        !(expr_at(nest, x.operand[0])->vars >> r->var & 1))
        return;
    expr_id stride = index_stride(nest, x.operand[0], r->var);
    if (stride != EXPR_NONE && index_is_const(nest, stride, &n) && n != 0)
        r->bytes = n * (int64_t)dtype_bytes(nest->buffers.items[x.index].dtype);
}

static void visit_stride(struct nest *nest, expr_id e, void *context)
{
    expr_walk(nest, e, check_stride, context);
}

/* The same for the innermost reduction inside, as variable. */
static void find_reduction(struct nest *nest, const struct block *block, struct row_stride *r)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind != STMT_FOR)
            continue;
        r->var = s->var;
        if (!s->independent && !only_loop(&s->body))
            block_visit(nest, &s->body, visit_stride, r);
        find_reduction(nest, &s->body, r);
    }
}

/* The stride of r->var in what reductions load: each step of these reads it again. */
static void find_strides(struct nest *nest, const struct block *block, struct row_stride *r)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && !s->independent)
            block_visit(nest, &s->body, visit_stride, r);
        else if (s->kind == STMT_FOR)
            find_strides(nest, &s->body, r);
    }
}

#define L1_WAYS 8
#define PAGE_BYTES 4096 /* lines at this distance are in the same set of L1 */

/* The number of rows that can be read in parallel and stay in L1. If the distance of rows is a
 * multiple of a large power of two, they share few sets, so there may be no more rows than these
 * have ways, with one way left for the other operand. */
static int64_t rows_in_l1(struct scheduling *c, int64_t depth)
{
    struct loop_site site;
    struct row_stride r = {.bytes = 64};
    if (depth < 64 || !site_of(c->nest, c->row, &site))
        return INT64_MAX;
    r.var = site.loop->var;
    find_strides(c->nest, &site.loop->body, &r);
    int64_t apart = r.bytes & -r.bytes;
    return apart >= PAGE_BYTES ? L1_WAYS - 2 : (L1_WAYS - 1) * (PAGE_BYTES / apart);
}

#define TILE_STEPS 100 /* cost of a tile besides its sums, in steps of one row */

#define FAR_LOADS 2 /* cost of a step that reads columns which are not packed, in rows */

/* Rows of a register tile: as many as the accumulators allow, or fewer where that wastes less of m.
 * loads: cost of a step besides its rows, in rows. */
static int64_t rows_for(struct range m, int64_t most, int64_t depth, int64_t loads)
{
    if (m.lo != m.hi)
        return m.hi < most ? m.hi : most;
    if (m.hi <= most)
        return m.hi;
    int64_t best = most, best_cost = INT64_MAX;
    for (int64_t rows = most; rows >= most / 2 && rows >= 1; rows--) {
        int64_t tiles = (m.hi + rows - 1) / rows,
                cost = tiles * ((rows + loads) * depth + TILE_STEPS);
        if (cost < best_cost) {
            best = rows;
            best_cost = cost;
        }
    }
    return best;
}

/* The most rows whose accumulators fit in registers, with some left for operands. */
static int64_t most_rows(const struct target *t, enum sched_form form, int64_t columns)
{
    int64_t vectors = columns / t->lanes > 0 ? columns / t->lanes : 1;
    if (form == FORM_CHANNELS)
        return t->registers == 32 ? 8 : 4;
    if (t->registers == 32)
        return (form == FORM_PIXELS ? 28 : 24) / vectors;
    return (t->fma ? 12 : 8) / vectors;
}

#define SUMS_IN_FLIGHT 8 /* sums that the latency of an addition leaves time for */

/* Rows of a smaller tile, for images that are less wide than a tile: fewer sums would wait for each
 * other, so a row that is computed twice costs nothing. */
static int64_t few_pixels(const struct target *t, int64_t columns, int64_t rows)
{
    int64_t vectors = columns / t->lanes > 0 ? columns / t->lanes : 1;
    int64_t few = SUMS_IN_FLIGHT / vectors < rows ? SUMS_IN_FLIGHT / vectors : rows;
    return few > 2 ? few : 2;
}

/* The stride in bytes of the reduction's steps in the operand with contiguous columns; 0: not
 * known. */
static int64_t step_bytes(struct scheduling *c)
{
    struct loop_site site;
    struct row_stride r = {.buffer = c->operand};
    if (!site_of(c->nest, c->column, &site))
        return 0;
    find_reduction(c->nest, &site.loop->body, &r);
    return r.bytes;
}

/* The block of rows that stays in half of L2 while all panels are read. */
static void default_row_block(const struct target *t, struct range m, int64_t depth,
                              struct config *out)
{
    int64_t half = t->l2_bytes / 2, rows = out->value[CONFIG_ROWS];
    if (m.hi <= 2 * rows || depth >= half || m.hi <= half / 4 / depth)
        return;
    int64_t tiles = half / 4 / depth / rows > 1 ? half / 4 / depth / rows : 1;
    if (m.lo == m.hi) { /* equal blocks, so that threads get the same number of them */
        int64_t all = (m.hi + rows - 1) / rows, blocks = (all + tiles - 1) / tiles;
        tiles = (all + blocks - 1) / blocks;
    }
    out->value[CONFIG_ROW_BLOCK] = (int32_t)tiles;
}

/* An operand whose rows of columns are a multiple of a page apart is packed from PACK_ROWS rows on,
 * or from PACK_FEW_ROWS if the reduction has PACK_DEPTH steps: reading it again for each tile costs
 * more then. So is one whose rows are a multiple of half a page apart, if no call has fewer than
 * PACK_FEW_ROWS, for which the copy would not pay. */
#define PACK_ROWS 256
#define PACK_FEW_ROWS 48
#define PACK_DEPTH 2048
#define PACK_PANELS 4
#define SHALLOW_PANELS 8 /* panels of packed columns in a block, for long runs of results */
#define DEEP_PANELS 2    /* the same where the depth may be anything: more would leave L2 */

#define FEW_ROWS 48        /* up to this number, reading columns is the largest cost */
#define SHALLOW 128        /* up to this depth, storing results is a large cost */
#define PREFETCH_DEPTH 256 /* from this depth on, a panel is not in a near cache */
#define PREFETCH_AHEAD 16
#define MAX_VECTORS 8

/* Few rows, wide panels. If columns are not packed, a step of the reduction reads that many lines
 * from one place, and the panel is read once per tile of rows. */
static void wide_tile(const struct target *t, struct range m, struct range n, int64_t depth,
                      struct config *out)
{
    int64_t sums = t->registers == 32 ? 24 : 12, most = m.hi <= FEW_ROWS ? sums / 3 : sums / 4;
    int64_t rows = rows_for(m, most, depth, FAR_LOADS), vectors = sums / rows, lanes = t->lanes;
    vectors = vectors < MAX_VECTORS ? vectors : MAX_VECTORS;
    bool any = n.lo == n.hi && n.hi >= 4 * vectors * lanes; /* vectors need not be a power of two */
    while (vectors > 1 && (vectors * lanes > n.hi || (!any && (vectors & (vectors - 1)))))
        vectors--;
    out->value[CONFIG_ROWS] = (int32_t)rows;
    out->value[CONFIG_COLUMNS] = (int32_t)(vectors * lanes);
}

#define SUM_DEPTH 8 /* rows of columns that hardware prefetchers can follow at once */
#define SUM_ROWS 64 /* up to this number, the sums of a run stay in a near cache */
#define SUM_RUN 512 /* least columns of a run */
#define SUM_RUN_MOST 4096
/* in units of L2: an operand from this size on is read in the order of memory */
#define SUM_CACHES 8

/* Reads the operand in runs of columns, a few steps of the reduction at a time, in the order of
 * memory. */
void sum_tile(const struct target *t, struct range m, struct range n, int64_t depth,
              struct config *out)
{
    int64_t sums = t->registers == 32 ? 24 : 12, rows = rows_for(m, sums / 3, depth, FAR_LOADS);
    int64_t vectors = rows == 1 ? MAX_VECTORS : rows <= 4 ? 4 : 2;
    while (vectors > 1 && vectors * rows > sums)
        vectors /= 2;
    int64_t columns = vectors * t->lanes, run = n.hi / 2; /* for two threads */
    run = run < SUM_RUN ? SUM_RUN : run > SUM_RUN_MOST ? SUM_RUN_MOST : run;
    *out = (struct config){0};
    out->value[CONFIG_ROWS] = (int32_t)rows;
    out->value[CONFIG_COLUMNS] = (int32_t)columns;
    out->value[CONFIG_COLUMN_BLOCK] = (int32_t)(run / columns);
    out->value[CONFIG_DEPTH] = SUM_DEPTH;
}

/* For columns that are not packed: their stride decides. */
static void default_plain(struct scheduling *c, struct range m, struct range n, int64_t depth,
                          struct config *out)
{
    const struct target *t = c->target;
    int64_t large = (m.hi == 1 ? 1 : SUM_CACHES) * (int64_t)t->l2_bytes / 4 / n.hi;
    if (m.lo == m.hi && m.hi <= SUM_ROWS && n.lo == n.hi && n.hi >= SUM_RUN && depth > large) {
        sum_tile(t, m, n, depth, out);
        return;
    }
    bool known = m.lo == m.hi;
    bool many = m.lo >= PACK_FEW_ROWS && depth > SHALLOW;
    int64_t bytes = step_bytes(c);
    bool far = bytes != 0 && bytes % (many ? PAGE_BYTES / 2 : PAGE_BYTES) == 0;
    int64_t columns = out->value[CONFIG_COLUMNS], usual = most_rows(t, c->form, columns);
    bool pack = far && (m.hi >= PACK_ROWS || (m.hi > PACK_FEW_ROWS && depth >= PACK_DEPTH));
    pack &= n.hi >= 4 * PACK_PANELS * columns;
    bool crowded = rows_in_l1(c, depth) < usual && !pack;
    /* One row: a long run of columns, with sums in half of the registers. */
    while (known && m.hi == 1 && 2 * columns <= n.hi && 2 * columns <= t->lanes * t->registers / 2)
        out->value[CONFIG_COLUMNS] = (int32_t)(columns *= 2);
    if (known && m.hi > 1 && (m.hi <= FEW_ROWS || depth <= SHALLOW || crowded))
        wide_tile(t, m, n, depth, out);
    if (m.hi > 1 && depth >= PREFETCH_DEPTH)
        out->value[CONFIG_PREFETCH] = PREFETCH_AHEAD;
    out->value[CONFIG_PACK] = pack;
    out->value[CONFIG_COLUMN_BLOCK] = pack ? PACK_PANELS : 0;
    if (!pack)
        default_row_block(t, m, depth, out);
}

static void default_tile(struct scheduling *c, struct config *out)
{
    const struct target *t = c->target;
    struct range m = loop_extent(c, c->row), n = loop_extent(c, c->column);
    int64_t columns = c->form == FORM_CHANNELS ? t->lanes : 2 * (int64_t)t->lanes;
    if ((c->form == FORM_PIXELS || c->packed) && c->panel > columns)
        columns = c->panel;
    while (columns > t->lanes && columns / 2 >= n.hi)
        columns /= 2;
    int64_t depth = sum_depth(c->nest, &c->nest->body), most;
    bool packed = c->form == FORM_PRODUCT && c->packed && m.lo == m.hi;
    most = most_rows(t, packed ? FORM_PIXELS : c->form, columns);
    if ((c->form == FORM_PRODUCT || c->form == FORM_PIXELS) && most > rows_in_l1(c, depth))
        most = rows_in_l1(c, depth);
    int64_t loads = c->form == FORM_PRODUCT && !c->packed ? FAR_LOADS : 0;
    int64_t rows = c->row != VAR_NONE ? rows_for(m, most, depth, loads) : 1;
    out->value[CONFIG_COLUMNS] = (int32_t)columns;
    out->value[CONFIG_ROWS] = (int32_t)rows;
    if (m.lo < rows)
        out->value[CONFIG_FEW_ROWS] =
            (int32_t)(rows < 4                            ? 1
                      : c->form == FORM_PIXELS            ? few_pixels(t, columns, rows)
                      : c->form == FORM_ROWS && rows >= 8 ? 4
                                                          : 2);
    if (c->form == FORM_PRODUCT && c->packed && depth <= SHALLOW &&
        n.hi >= 4 * SHALLOW_PANELS * columns)
        out->value[CONFIG_COLUMN_BLOCK] = SHALLOW_PANELS;
    else if (c->form == FORM_PRODUCT && c->packed && depth >= t->l2_bytes / 2) {
        if (n.hi >= 4 * DEEP_PANELS * columns)
            out->value[CONFIG_COLUMN_BLOCK] = DEEP_PANELS;
    } else if (c->form == FORM_PRODUCT && c->packed)
        default_row_block(t, m, depth, out);
    else if (c->form == FORM_PRODUCT)
        default_plain(c, m, n, depth, out);
}

#define CHEAP_STEP 4 /* operations per element of a column that leave many registers free */

/* Operations per element, over all loops inside. */
static uint32_t operations_inside(const struct nest *nest, const struct block *block)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR)
            count += operations_inside(nest, &s->body);
        else if (s->kind == STMT_UPDATE || s->kind == STMT_STORE)
            count += expr_operations(nest, s->value);
    }
    return count;
}

/* Long runs of columns, where registers suffice. */
static void default_columns(struct scheduling *c, struct config *out)
{
    struct loop_site site;
    struct range n = loop_extent(c, c->column);
    int64_t vectors = 2, lanes = c->target->lanes;
    if (site_of(c->nest, c->column, &site) &&
        operations_inside(c->nest, &site.loop->body) <= CHEAP_STEP)
        vectors = MAX_VECTORS;
    while (vectors > 1 && vectors * lanes / 2 >= n.hi)
        vectors /= 2;
    out->value[CONFIG_COLUMNS] = (int32_t)(vectors * lanes);
}

#define BLOCK_ELEMENTS \
    4096 /* of an elementwise loop: enough work for a thread, small enough for L1 */

/* Sizes in KiB from which on stores of results bypass the caches. The caller may read an output
 * soon after; a result that the graph reads itself is assumed to be in a cache up to a larger size,
 * because some caches are larger than typical. */
#define STREAM_OUTPUT 16384
#define STREAM_INNER 65536

static int32_t default_stream(struct scheduling *c)
{
    int32_t least = c->output ? STREAM_OUTPUT : STREAM_INNER;
    return results_reach(c->nest, least) ? least : 0;
}

void sched_default(struct scheduling *c, struct config *out)
{
    *out = (struct config){0};
    if (c->form == FORM_FLAT || c->form == FORM_LOOPS || c->form == FORM_COLUMNS)
        out->value[CONFIG_STREAM] = default_stream(c);
    if (c->form == FORM_FLAT)
        out->value[CONFIG_BLOCK] = BLOCK_ELEMENTS;
    else if (c->form == FORM_COLUMNS)
        default_columns(c, out);
    else if (c->form != FORM_LOOPS)
        default_tile(c, out);
}
