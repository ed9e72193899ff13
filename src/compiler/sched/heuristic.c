/* From a naive nest and a config to a schedule.
 *
 * In order: loops that are contiguous in memory were fused; contractions and convolutions get a
 * register tile (rows jammed, columns in vectors); in other nests the loop with contiguous accesses
 * becomes a vector loop, and reductions outside of vector loops become vector loops themselves;
 * last, the outer loops become one parallel loop.
 *
 * The loops of a product, outermost first, with everything that a config can ask for:
 *
 *   block of rows (row_block) · panel of columns · tile of rows · k · row of the tile · column
 *   block of panels (column_block) · tile of rows · panel · k · row of the tile · column */
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

#define SPILL_COST 32 /* operations of an epilogue from which on spilling the tile is faster */

/* Operations of the stores under a loop; reductions are not counted. */
static uint32_t store_cost(const struct nest *nest, const struct block *block)
{
    uint32_t cost = 0;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_STORE)
            cost += expr_operations(nest, s->value);
        else
            cost += store_cost(nest, &s->body);
    }
    return cost;
}

/* Whether the tile's results are contiguous along its rows but not along its lanes, so that vector
 * stores would scatter them. */
static bool stores_across(struct nest *nest, const struct stmt *rows)
{
    const struct stmt *vector = only_loop(&rows->body);
    if (!vector || vector->loop_kind != LOOP_VECTOR || vector->body.stmts.count == 0)
        return false;
    const struct stmt *store = vector->body.stmts.items[vector->body.stmts.count - 1];
    return store->kind == STMT_STORE && store_walks(nest, store, rows->var) &&
           !store_walks(nest, store, vector->var);
}

static bool jam(struct scheduling *c, uint32_t row)
{
    struct loop_site site;
    if (!take_step(c, STEP_JAM, row, VAR_NONE, 0, NULL))
        return false;
    if (site_of(c->nest, row, &site) &&
        (store_cost(c->nest, &site.loop->body) > SPILL_COST || stores_across(c->nest, site.loop)))
        take_step(c, STEP_SPILL, row, VAR_NONE, 0, NULL);
    return true;
}

static int64_t most_of(struct scheduling *c, uint32_t var)
{
    return var == VAR_NONE ? 0 : loop_extent(c, var).hi;
}

/* Makes the tile of rows and jams it; where there may be fewer rows than a tile has, smaller tiles
 * of few rows. panel: a loop to put between the tiles and the rows of a tile; VAR_NONE: none. Tiles
 * of few rows have a copy of it.
 * Returns the loop over tiles; VAR_NONE: there is one tile. */
static uint32_t tile_rows(struct scheduling *c, const struct config *config, uint32_t panel)
{
    int64_t rows = config->value[CONFIG_ROWS], few = config->value[CONFIG_FEW_ROWS];
    bool whole = most_of(c, c->row) == rows;
    struct made tile = {.count = 2, .vars = {VAR_NONE, c->row}}, rest;
    struct loop_site site;
    if (rows <= 1 || (!whole && !take_step(c, STEP_TILE, c->row, VAR_NONE, rows, &tile)))
        return VAR_NONE;
    if (panel != VAR_NONE)
        take_step(c, STEP_SWAP, tile.vars[1], panel, 0, NULL);
    jam(c, tile.vars[1]);
    if (few > 1 && tile.count == 3 &&
        take_step(c, STEP_CLAMP, tile.vars[2], VAR_NONE, few, &rest)) {
        const struct stmt *copy =
            site_of(c->nest, rest.vars[1], &site) ? only_loop(&site.loop->body) : NULL;
        if (panel != VAR_NONE && copy)
            take_step(c, STEP_SWAP, rest.vars[1], copy->var, 0, NULL);
        jam(c, rest.vars[1]);
    }
    return tile.vars[0];
}

/* Moves loops between the tile's two loops outside of both. */
static void bring_together(struct scheduling *c)
{
    struct loop_site row;
    const struct stmt *inner;
    while (site_of(c->nest, c->row, &row) && (inner = only_loop(&row.loop->body)) != NULL &&
           inner->independent && inner->var != c->column)
        if (!take_step(c, STEP_SWAP, c->row, inner->var, 0, NULL))
            return;
}

/* Divides columns into panels. If several, or in FORM_CHANNELS if legal, the last panel starts
 * earlier, so that no masks are needed. */
static bool cut_panels(struct scheduling *c, int64_t columns, bool several, struct made *out)
{
    if (several)
        return take_step(c, STEP_TILE, c->column, VAR_NONE, columns, out);
    return (c->form == FORM_CHANNELS &&
            try_step(c, STEP_TILE, c->column, VAR_NONE, columns, out)) ||
           take_step(c, STEP_SPLIT, c->column, VAR_NONE, columns, out);
}

/* Makes vectors of columns, in panels if there are more columns: *out_panels is the loop over
 * panels, else VAR_NONE. A panel is one wide vector or, if its columns are no power of two, several
 * vectors of the machine, jammed. */
static bool column_vectors(struct scheduling *c, int64_t columns, uint32_t *out_panels)
{
    bool several = (columns & (columns - 1)) != 0;
    struct made panel = {.count = 2, .vars = {VAR_NONE, c->column}}, vectors;
    if (columns < 2 ||
        (most_of(c, c->column) > columns && !cut_panels(c, columns, several, &panel)))
        return false;
    *out_panels = panel.vars[0];
    if (several && take_step(c, STEP_SPLIT, panel.vars[1], VAR_NONE, c->target->lanes, &vectors)) {
        take_step(c, STEP_VECTOR, vectors.vars[1], VAR_NONE, c->target->lanes, NULL);
        take_step(c, STEP_JAM, vectors.vars[0], VAR_NONE, 0, NULL);
        return true;
    }
    take_step(c, STEP_VECTOR, panel.vars[1], VAR_NONE, columns, NULL);
    return true;
}

static const struct stmt *reduction_in(const struct block *block)
{
    const struct stmt *found = NULL;
    for (uint32_t i = 0; i < block->stmts.count && !found; i++) {
        const struct stmt *s = block->stmts.items[i];
        found = s->kind == STMT_FOR && !s->independent ? s : reduction_in(&s->body);
    }
    return found;
}

/* Splits the reduction into blocks of `depth` steps. Each runs over all panels of a block of
 * columns before the next one, while the partial sums wait in scratch memory. */
static void sum_blocks(struct scheduling *c, uint32_t panel, int64_t depth)
{
    struct loop_site site;
    const struct stmt *reduction;
    struct made blocks;
    if (depth < 1 || !site_of(c->nest, panel, &site) ||
        (reduction = reduction_in(&site.loop->body)) == NULL)
        return;
    if (take_step(c, STEP_SPLIT, reduction->var, VAR_NONE, depth, &blocks))
        take_step(c, STEP_SUMS, panel, blocks.vars[0], 0, NULL);
}

/* Makes a register tile of rows × columns: columns in vectors, rows jammed around them. Returns the
 * loop over panels of columns; VAR_NONE: there is one panel, or there are blocks of panels. */
static uint32_t register_tile(struct scheduling *c, const struct config *config)
{
    int64_t columns = config->value[CONFIG_COLUMNS], block = config->value[CONFIG_ROW_BLOCK];
    int64_t panels = config->value[CONFIG_COLUMN_BLOCK], depth = config->value[CONFIG_DEPTH];
    bool pack = config->value[CONFIG_PACK] && c->form == FORM_PRODUCT && !c->packed;
    struct made blocks = {0};
    uint32_t panel = VAR_NONE, tiles;
    bring_together(c);
    if (!column_vectors(c, columns, &panel))
        return VAR_NONE;
    bool in_blocks = panel != VAR_NONE && panels > 0 &&
                     take_step(c, STEP_SPLIT, panel, VAR_NONE, panels, &blocks);
    if (c->row == VAR_NONE) {
        if (in_blocks)
            sum_blocks(c, blocks.vars[1], depth);
        return in_blocks ? VAR_NONE : panel;
    }
    if (panel != VAR_NONE)
        take_step(c, STEP_SWAP, c->row, in_blocks ? blocks.vars[0] : panel, 0, NULL);
    if (pack)
        take_step(c, STEP_PACK, c->row, VAR_NONE, c->operand, NULL);
    tiles = tile_rows(c, config, in_blocks ? blocks.vars[1] : VAR_NONE);
    if (in_blocks) {
        sum_blocks(c, tiles != VAR_NONE ? tiles : blocks.vars[1], depth);
        return VAR_NONE;
    }
    if (panel != VAR_NONE && block > 0 && tiles != VAR_NONE &&
        take_step(c, STEP_SPLIT, tiles, VAR_NONE, block, &blocks))
        take_step(c, STEP_SWAP, panel, blocks.vars[0], 0, NULL);
    return panel;
}

/* Distributes a tile of rows over the stages: the scores as a product, softmax row by row, the
 * result as a product. */
static void tile_stages(struct scheduling *c, uint32_t rows)
{
    struct made stages;
    if (!take_step(c, STEP_PART, rows, VAR_NONE, 0, &stages))
        return;
    take_step(c, STEP_JAM, stages.vars[0], VAR_NONE, 0, NULL);
    if (stages.count > 2)
        take_step(c, STEP_JAM, stages.vars[stages.count - 1], VAR_NONE, 0, NULL);
}

/* Attention: keys and columns in vectors, rows in tiles. */
static void tile_attention(struct scheduling *c, const struct config *config)
{
    int64_t columns = config->value[CONFIG_COLUMNS], rows = config->value[CONFIG_ROWS];
    int64_t few = config->value[CONFIG_FEW_ROWS];
    uint32_t keys[LIMIT_RANK], count = loops_over(c->nest, OVER_KEY, keys);
    struct loop_site site;
    struct made made = {.count = 2, .vars = {VAR_NONE, c->column}};
    if (columns < 2)
        return;
    for (uint32_t i = 0; i < count; i++) { /* the scores and, at the end, the weights */
        struct made parts;
        if (site_of(c->nest, keys[i], &site) && lane_score(c, site.loop, columns) >= 0 &&
            take_step(c, STEP_SPLIT, keys[i], VAR_NONE, columns, &parts))
            take_step(c, STEP_VECTOR, parts.vars[1], VAR_NONE, columns, NULL);
    }
    if (most_of(c, c->column) > columns &&
        !take_step(c, STEP_SPLIT, c->column, VAR_NONE, columns, &made))
        return;
    take_step(c, STEP_VECTOR, made.vars[1], VAR_NONE, columns, NULL);
    if (rows <= 1)
        return;
    if (most_of(c, c->row) == rows) {
        tile_stages(c, c->row);
        return;
    }
    if (!take_step(c, STEP_TILE, c->row, VAR_NONE, rows, &made))
        return;
    tile_stages(c, made.vars[1]);
    if (few > 1 && made.count == 3 && take_step(c, STEP_CLAMP, made.vars[2], VAR_NONE, few, &made))
        tile_stages(c, made.vars[1]);
}

/* Moves the channel loop innermost for the register tile, and its panels out again, so that a panel
 * of weights stays in the cache. */
static void tile_pixels(struct scheduling *c, const struct config *config)
{
    struct loop_site channels;
    const struct stmt *inner;
    while (site_of(c->nest, c->column, &channels) &&
           (inner = only_loop(&channels.loop->body)) != NULL && inner->independent)
        if (!take_step(c, STEP_SWAP, c->column, inner->var, 0, NULL))
            return;
    uint32_t panel = register_tile(c, config);
    if (site_of(c->nest, panel, &channels) && channels.around)
        take_step(c, STEP_SWAP, channels.around->var, panel, 0, NULL);
}

#define MAX_UNROLLED 96        /* most copies of a statement, jammed rows included */
#define MAX_UNROLLED_PIXELS 32 /* for pixels: values that windows share must fit in registers */

/* Unrolls windows: reductions of few constant steps inside vectors, so that each step adds
 * constants to indices and conditions. copies: of each statement so far. */
static void unroll_windows(struct scheduling *c, struct block *block, int64_t copies, bool vector)
{
    int64_t most = c->form == FORM_PIXELS ? MAX_UNROLLED_PIXELS : MAX_UNROLLED;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i];
        int64_t extent = 0, jammed = copies;
        bool constant = s->kind == STMT_FOR &&
                        index_is_const(c->nest, c->nest->vars.items[s->var].extent, &extent);
        if (s->kind == STMT_FOR && s->loop_kind == LOOP_JAM)
            jammed *= extent;
        bool lanes = vector || (s->kind == STMT_FOR && s->loop_kind == LOOP_VECTOR);
        unroll_windows(c, &s->body, jammed, lanes);
        unroll_windows(c, &s->orelse, jammed, lanes);
        if (vector && constant && !s->independent && s->loop_kind == LOOP_SERIAL && extent >= 1 &&
            extent <= 7 && (c->form != FORM_PIXELS || s->body.stmts.items[0]->kind != STMT_FOR) &&
            extent * copies * s->body.stmts.count <= most &&
            take_step(c, STEP_UNROLL, s->var, VAR_NONE, 0, NULL))
            i += (uint32_t)extent * s->body.stmts.count - 1;
    }
}

void sched_finish(struct scheduling *c, const struct config *config, struct schedule *out)
{
    const struct stmt *top = only_loop(&c->nest->body);
    int64_t block = config->value[CONFIG_BLOCK];
    switch (c->form) {
    case FORM_PRODUCT:
        register_tile(c, config);
        if (config->value[CONFIG_PREFETCH] > 0 && !c->packed)
            prefetch_operand(c, config->value[CONFIG_PREFETCH]);
        break;
    case FORM_COLUMNS:
    case FORM_CHANNELS: register_tile(c, config); break;
    case FORM_ROWS: tile_attention(c, config); break;
    case FORM_PIXELS: tile_pixels(c, config); break;
    case FORM_FLAT:
        if (block > 0 && most_of(c, top->var) > block)
            take_step(c, STEP_SPLIT, top->var, VAR_NONE, block, NULL);
        break;
    case FORM_LOOPS:
        if (!c->prepare)
            tile_across(c);
        break;
    }
    vectorise_rest(c, config->value[CONFIG_LANES]);
    part_sums(c);
    unroll_windows(c, &c->nest->body, 1, false);
    parallelise(c);
    if (config->value[CONFIG_STREAM] > 0)
        stream_results(c, config->value[CONFIG_STREAM]);
    *out = c->steps;
}

void sched_heuristic(struct nest *nest, const struct sched_hint *hint, const struct target *target,
                     struct schedule *out)
{
    struct scheduling *c = sched_begin(nest, hint, target);
    struct config config;
    sched_default(c, &config);
    sched_finish(c, &config, out);
}
