/* From a naive nest and a config to a schedule.
 *
 * In order: fuse what lies together in memory; for contractions and convolutions a register tile
 * (rows jammed, columns in vectors); else the loop whose accesses are contiguous becomes vectors,
 * and reductions that are not inside one become vectors themselves; last, the outer loops become
 * one parallel loop.
 *
 * The loops of a product, outermost first, with all that a config can ask for:
 *
 *   block of rows (row_block) · panel of columns · tile of rows · k · row of the tile · column
 *   block of panels (column_block) · tile of rows · panel · k · row of the tile · column */
#include <stdio.h>

#include "base/error.h"
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

static bool exists(struct scheduling *c, const char *name, struct loop_site *site)
{
    return site_find(c->nest, name, site);
}

/* The last loop among i<first> … i<first+count-1> that still exists: fused loops keep the name of
 * the first. */
static void last_loop(struct scheduling *c, uint32_t first, uint32_t count, char name[8])
{
    struct loop_site site;
    for (uint32_t i = count; i-- > 0;) {
        snprintf(name, 8, "i%u", (first + i) % 100);
        if (exists(c, name, &site))
            return;
    }
    name[0] = 0;
}

/* Whether a load under a reduction walks var with step one. */
struct contiguous_load {
    uint32_t var;
    int64_t block;
    bool found;
    uint32_t buffer;
};

static void check_load(struct nest *nest, expr_id e, void *context)
{
    struct contiguous_load *f = context;
    struct expr x = *expr_at(nest, e);
    if (x.op != EXPR_LOAD || access_score(nest, x.operand[0], f->var, f->block) != 2)
        return;
    f->found = true;
    f->buffer = x.index;
}

static void find_contiguous(struct nest *nest, expr_id e, void *context)
{
    expr_walk(nest, e, check_load, context);
}

static void find_in_reductions(struct nest *nest, const struct block *block,
                               struct contiguous_load *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && !s->independent)
            block_visit(nest, &s->body, find_contiguous, out);
        else
            find_in_reductions(nest, &s->body, out);
    }
}

#define SCATTER_DEPTH 64 /* sums so long that it matters little where results are stored */

static int panel_score(struct scheduling *c, const struct stmt *columns, int64_t panel,
                       bool scatter)
{
    return scatter ? lane_score_of_sums(c, columns, panel) : lane_score(c, columns, panel);
}

static void look_at_contract(struct scheduling *c, const struct sched_hint *hint)
{
    struct loop_site site;
    last_loop(c, hint->batch_dims, hint->m_dims, c->row);
    last_loop(c, (uint32_t)hint->batch_dims + hint->m_dims, hint->n_dims, c->column);
    if (!c->column[0] || !exists(c, c->column, &site))
        return;
    bool scatter = sum_depth(c->nest, &site.loop->body) >= SCATTER_DEPTH;
    int64_t lanes = c->target->lanes;
    int usual = panel_score(c, site.loop, 2 * lanes, scatter);
    c->panel = panel_score(c, site.loop, 4 * lanes, scatter) == usual ? 4 * lanes : 2 * lanes;
    if (usual < (scatter ? 2 : 0))
        return; /* columns are not contiguous: the reduction itself may be */
    c->form = hint->rows ? FORM_ROWS : FORM_PRODUCT;
    struct contiguous_load f = {.var = site.loop->var};
    find_in_reductions(c->nest, &site.loop->body, &f);
    c->packed = !f.found;
    c->operand = f.buffer;
}

/* Whether a reduction reads every second element, or further apart, along var. */
struct far_load {
    uint32_t var;
    bool found;
};

static void check_far(struct nest *nest, expr_id e, void *context)
{
    struct far_load *f = context;
    struct expr x = *expr_at(nest, e);
    int64_t n;
    if (x.op != EXPR_LOAD)
        return;
    expr_id stride = index_stride(nest, x.operand[0], f->var);
    f->found |= stride != EXPR_NONE && index_is_const(nest, stride, &n) && n > 1;
}

static void find_far(struct nest *nest, expr_id e, void *context)
{
    expr_walk(nest, e, check_far, context);
}

static bool strided(struct scheduling *c, const char *loop)
{
    struct loop_site site;
    if (!exists(c, loop, &site))
        return false;
    struct far_load f = {.var = site.loop->var};
    block_visit(c->nest, &site.loop->body, find_far, &f);
    return f.found;
}

/* Every output channel reads one input channel: there is no loop over channels to sum. */
static bool depthwise(struct scheduling *c)
{
    struct loop_site site;
    return !exists(c, "c", &site);
}

/* Channels in vectors when the weights are packed for it (the image is then read pixel by pixel,
 * and the results, which lie apart, are put into order once per tile); else the last spatial dim
 * in vectors, and pixels above each other, or channels, as rows. */
static void look_at_conv(struct scheduling *c)
{
    struct loop_site site, channels;
    const char *last = exists(c, "i4", &site) ? "i4" : exists(c, "i3", &site) ? "i3" : "i2";
    bool has_channels = exists(c, "i1", &channels);
    if (!exists(c, last, &site))
        return;
    struct contiguous_load f = {.block = 8 * (int64_t)c->target->lanes};
    while (has_channels && !f.found && f.block > 2 * (int64_t)c->target->lanes) {
        f.var = channels.loop->var;
        f.block /= 2;
        find_in_reductions(c->nest, &channels.loop->body, &f);
    }
    c->panel = f.found && !depthwise(c) ? f.block : 0; /* filters of one channel lie in no panels */
    if (f.found)
        c->form = FORM_PIXELS;
    else if (lane_score(c, site.loop, 0) >= 0)
        c->form = FORM_CHANNELS;
    else
        return;
    /* Where every channel has its own image, or images move by one, rows of pixels share what they
     * read; else channels do. */
    bool rows = !f.found && strcmp(last, "i2") != 0 && (depthwise(c) || !strided(c, last));
    const char *above = strcmp(last, "i4") == 0 ? "i3" : "i2";
    snprintf(c->row, sizeof c->row, "%s", f.found ? last : rows ? above : has_channels ? "i1" : "");
    snprintf(c->column, sizeof c->column, "%s", f.found ? "i1" : last);
}

/* Reductions along another axis than the last, in vectors of the last one. */
static void look_at_columns(struct scheduling *c)
{
    struct stmt *loop = only_loop(&c->nest->body), *inner;
    while (loop && loop->independent && (inner = only_loop(&loop->body)) != NULL)
        loop = inner;
    if (!loop || !loop->independent || strlen(loop_label(c->nest, loop)) >= sizeof c->column ||
        lane_score(c, loop, 0) < 0 || lane_score_of_sums(c, loop, 0) < 2)
        return;
    c->form = FORM_COLUMNS;
    snprintf(c->column, sizeof c->column, "%.7s", loop_label(c->nest, loop));
}

struct scheduling *sched_begin(struct nest *nest, const struct sched_hint *hint,
                               const struct target *target)
{
    struct scheduling *c = ARENA_NEW(nest->arena, struct scheduling);
    *c = (struct scheduling){
        .nest = nest, .target = target, .output = hint->output, .once = hint->once};
    fuse_chains(c, &nest->body);
    const struct stmt *top = only_loop(&nest->body);
    if (hint->anchor == ANCHOR_CONTRACT)
        look_at_contract(c, hint);
    else if (hint->anchor == ANCHOR_CONV)
        look_at_conv(c);
    else if (top && top->independent && !only_loop(&top->body) && lane_score(c, top, 0) >= 0)
        c->form = FORM_FLAT;
    if (hint->anchor == ANCHOR_NONE)
        look_at_columns(c);
    return c;
}

#define SPILL_COST \
    32 /* operations on a result from which writing them once beats keeping it in a register */

/* Operations of the one store under a loop, a reduction not counted. */
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

/* Whether the tile's results are neighbours along its rows, and not along the lanes of its vectors,
 * which would scatter them. */
static bool stores_across(struct nest *nest, const struct stmt *rows)
{
    const struct stmt *vector = only_loop(&rows->body);
    if (!vector || vector->loop_kind != LOOP_VECTOR || vector->body.stmts.count == 0)
        return false;
    const struct stmt *store = vector->body.stmts.items[vector->body.stmts.count - 1];
    return store->kind == STMT_STORE && store_walks(nest, store, rows->var) &&
           !store_walks(nest, store, vector->var);
}

static bool jam(struct scheduling *c, const char *row)
{
    struct loop_site site;
    if (!take_step(c, STEP_JAM, row, NULL, 0))
        return false;
    if (exists(c, row, &site) &&
        (store_cost(c->nest, &site.loop->body) > SPILL_COST || stores_across(c->nest, site.loop)))
        take_step(c, STEP_SPILL, row, NULL, 0);
    return true;
}

static int64_t most_of(struct scheduling *c, const char *name)
{
    struct loop_site site;
    int64_t lo, hi;
    if (!exists(c, name, &site))
        return 0;
    index_range(c->nest, c->nest->vars.items[site.loop->var].extent, &lo, &hi);
    return hi;
}

/* The tile of rows: jammed, or, where there are fewer rows than a tile has, tiles of few rows.
 * panel: a loop that goes between the tiles and the rows of a tile; NULL: none. */
static void tile_rows(struct scheduling *c, const struct config *config, const char *panel)
{
    int64_t rows = config->value[CONFIG_ROWS], few = config->value[CONFIG_FEW_ROWS];
    struct name inner = derived(c->row, "i"), rest = derived(c->row, "t");
    bool whole = most_of(c, c->row) == rows;
    const char *row = whole ? c->row : inner.text;
    if (rows <= 1 || (!whole && !take_step(c, STEP_TILE, c->row, NULL, rows)))
        return;
    if (panel)
        take_step(c, STEP_SWAP, row, panel, 0);
    jam(c, row);
    if (few > 1 && !whole && take_step(c, STEP_CLAMP, rest.text, NULL, few))
        jam(c, derived(rest.text, "i").text);
}

/* Loops between the tile's two go outside both. */
static void bring_together(struct scheduling *c)
{
    struct loop_site row;
    const struct stmt *inner;
    while (c->row[0] && exists(c, c->row, &row) && (inner = only_loop(&row.loop->body)) != NULL &&
           inner->independent && strcmp(loop_label(c->nest, inner), c->column) != 0)
        if (!take_step(c, STEP_SWAP, c->row, loop_label(c->nest, inner), 0))
            return;
}

/* The column loop in vectors, panel by panel where it is wide. A panel is one wide vector, or, when
 * its columns are no power of two, some vectors of the machine side by side. */
static bool column_vectors(struct scheduling *c, int64_t columns, bool wide)
{
    struct name inner = wide ? derived(c->column, "i") : derived(c->column, "");
    bool several = (columns & (columns - 1)) != 0;
    bool whole = several || c->form == FORM_CHANNELS; /* the last panel moved back: no masks */
    if (columns < 2 ||
        (wide && !take_step(c, whole ? STEP_TILE : STEP_SPLIT, c->column, NULL, columns) &&
         (several || !take_step(c, STEP_SPLIT, c->column, NULL, columns))))
        return false;
    if (several && take_step(c, STEP_SPLIT, inner.text, NULL, c->target->lanes)) {
        take_step(c, STEP_VECTOR, derived(inner.text, "i").text, NULL, c->target->lanes);
        take_step(c, STEP_JAM, derived(inner.text, "o").text, NULL, 0);
        return true;
    }
    take_step(c, STEP_VECTOR, inner.text, NULL, columns);
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

/* The reduction inside block by block: each meets all panels of a block of columns. */
static void sum_blocks(struct scheduling *c, const char *panel, int64_t depth)
{
    struct loop_site site;
    const struct stmt *reduction;
    if (depth < 1 || !exists(c, panel, &site) ||
        (reduction = reduction_in(&site.loop->body)) == NULL)
        return;
    struct name sum = derived(loop_label(c->nest, reduction), "");
    if (take_step(c, STEP_SPLIT, sum.text, NULL, depth))
        take_step(c, STEP_SUMS, panel, derived(sum.text, "o").text, 0);
}

/* rows × columns in registers: the columns in vectors, rows jammed around them. */
static void register_tile(struct scheduling *c, const struct config *config)
{
    int64_t columns = config->value[CONFIG_COLUMNS], block = config->value[CONFIG_ROW_BLOCK];
    int64_t panels = config->value[CONFIG_COLUMN_BLOCK];
    struct loop_site site;
    struct name outer = derived(c->column, "o");
    bool wide = most_of(c, c->column) > columns;
    bring_together(c);
    if (!column_vectors(c, columns, wide))
        return;
    if (!c->row[0]) {
        if (wide && panels > 0 && take_step(c, STEP_SPLIT, outer.text, NULL, panels))
            sum_blocks(c, derived(outer.text, "i").text, config->value[CONFIG_DEPTH]);
        return;
    }
    bool pack = config->value[CONFIG_PACK] && c->form == FORM_PRODUCT && !c->packed;
    if (wide && panels > 0 && take_step(c, STEP_SPLIT, outer.text, NULL, panels)) {
        take_step(c, STEP_SWAP, c->row, derived(outer.text, "o").text, 0);
        if (pack)
            take_step(c, STEP_PACK, c->row, NULL, c->operand);
        tile_rows(c, config, derived(outer.text, "i").text);
        struct name tiles = derived(c->row, "o"), panel = derived(outer.text, "i");
        sum_blocks(c, exists(c, tiles.text, &site) ? tiles.text : panel.text,
                   config->value[CONFIG_DEPTH]);
        return;
    }
    if (wide)
        take_step(c, STEP_SWAP, c->row, outer.text, 0);
    if (pack)
        take_step(c, STEP_PACK, c->row, NULL, c->operand);
    tile_rows(c, config, NULL);
    struct name tiles = derived(c->row, "o");
    if (wide && block > 0 && take_step(c, STEP_SPLIT, tiles.text, NULL, block))
        take_step(c, STEP_SWAP, outer.text, derived(tiles.text, "o").text, 0);
}

/* One tile of rows, stage by stage: the scores as a product, softmax row by row, the result as a
 * product. */
static void tile_stages(struct scheduling *c, const char *rows)
{
    struct loop_site last;
    if (!take_step(c, STEP_PART, rows, NULL, 0))
        return;
    take_step(c, STEP_JAM, derived(rows, "a").text, NULL, 0);
    for (const char *suffix = "edc"; *suffix; suffix++) {
        struct name name = derived(rows, (char[]){*suffix, 0});
        if (!exists(c, name.text, &last))
            continue;
        take_step(c, STEP_JAM, name.text, NULL, 0);
        return;
    }
}

/* Keys and columns in vectors, rows in tiles. */
static void tile_attention(struct scheduling *c, const struct config *config)
{
    int64_t columns = config->value[CONFIG_COLUMNS], rows = config->value[CONFIG_ROWS];
    int64_t few = config->value[CONFIG_FEW_ROWS];
    struct loop_site keys;
    struct name inner = derived(c->row, "i"), rest = derived(c->row, "t");
    if (columns < 2)
        return;
    for (int i = 0; i < 2; i++) { /* scores, and what is made of them in the end */
        const char *loop = i == 0 ? "j" : "j2";
        if (exists(c, loop, &keys) && lane_score(c, keys.loop, columns) >= 0 &&
            take_step(c, STEP_SPLIT, loop, NULL, columns))
            take_step(c, STEP_VECTOR, derived(loop, "i").text, NULL, columns);
    }
    bool wide = most_of(c, c->column) > columns;
    if (wide && !take_step(c, STEP_SPLIT, c->column, NULL, columns))
        return;
    take_step(c, STEP_VECTOR, wide ? derived(c->column, "i").text : c->column, NULL, columns);
    if (rows <= 1)
        return;
    if (most_of(c, c->row) == rows) {
        tile_stages(c, c->row);
        return;
    }
    if (!take_step(c, STEP_TILE, c->row, NULL, rows))
        return;
    tile_stages(c, inner.text);
    if (few > 1 && take_step(c, STEP_CLAMP, rest.text, NULL, few))
        tile_stages(c, derived(rest.text, "i").text);
}

/* The channel loop goes innermost; its blocks, once split, go back out: a panel of weights stays in
 * the cache. */
static void tile_pixels(struct scheduling *c, const struct config *config)
{
    struct loop_site channels;
    const struct stmt *inner;
    while (exists(c, "i1", &channels) && (inner = only_loop(&channels.loop->body)) != NULL &&
           inner->independent)
        if (!take_step(c, STEP_SWAP, "i1", loop_label(c->nest, inner), 0))
            return;
    register_tile(c, config);
    if (exists(c, "i1o", &channels) && channels.around)
        take_step(c, STEP_SWAP, loop_label(c->nest, channels.around), "i1o", 0);
}

#define MAX_UNROLLED 96 /* copies of a statement, jammed rows counted */
#define MAX_UNROLLED_PIXELS                                                 \
    32 /* the same where pixels are the rows: windows that share them would \
          keep more than there are registers */

/* Windows: reductions of few constant steps inside vectors, unrolled, so that what a step adds to
 * an index or a condition is a constant. copies: of each statement, so far. */
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
        if (vector && constant && !s->independent && s->loop_kind == LOOP_SERIAL && extent <= 7 &&
            (c->form != FORM_PIXELS || s->body.stmts.items[0]->kind != STMT_FOR) &&
            extent * copies * s->body.stmts.count <= most &&
            take_step(c, STEP_UNROLL, loop_label(c->nest, s), NULL, 0))
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
        if (block > 0 && most_of(c, loop_label(c->nest, top)) > block)
            take_step(c, STEP_SPLIT, loop_label(c->nest, top), NULL, block);
        break;
    case FORM_LOOPS:
        if (!c->once)
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
