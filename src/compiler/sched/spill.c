/* Spilling a register tile.
 *
 *   jam r                            jam r
 *     vector c                         vector c
 *       local acc                        local acc
 *       for k: acc += …        ->        for k: acc += …
 *       y[…] = f(acc)                    tile[r, c] = acc
 *                                    for r'
 *                                      vector c'
 *                                        y[…] = f(tile[r', c'])
 *
 * or the loops over r' and c' in the other order, if the results of one column are contiguous. f is
 * then emitted once and can use all registers. Jamming would emit it once per row, beside the
 * accumulators. */
#include <stdio.h>

#include "base/error.h"
#include "compiler/sched/sched_priv.h"

static bool has_form(const struct stmt *vector)
{
    uint32_t n = vector->body.stmts.count;
    return vector->kind == STMT_FOR && vector->loop_kind == LOOP_VECTOR && vector->independent &&
           n == 3 && vector->body.stmts.items[0]->kind == STMT_LOCAL &&
           vector->body.stmts.items[1]->kind == STMT_FOR &&
           vector->body.stmts.items[2]->kind == STMT_STORE;
}

bool store_walks(struct nest *nest, const struct stmt *store, uint32_t var)
{
    int64_t n;
    expr_id stride = index_stride(nest, store->index, var);
    return stride != EXPR_NONE && index_is_const(nest, stride, &n) && n == 1;
}

static struct stmt *only_stmt(const struct block *block)
{
    return block->stmts.count == 1 ? block->stmts.items[0] : NULL;
}

static expr_id tile_index(struct nest *nest, uint32_t slow, uint32_t fast, int64_t width)
{
    return index_add(nest, index_mul(nest, expr_var(nest, slow), index_const(nest, width)),
                     expr_var(nest, fast));
}

/* Loops over the tile's rows and columns around `moved`. The vector loop is the one along which
 * results are contiguous: columns, or rows if across. */
static struct stmt *store_loops(struct nest *nest, struct stmt *moved, uint32_t row,
                                uint32_t column, uint32_t lanes, bool across)
{
    struct stmt *rows_loop = stmt_for(nest, row, true),
                *columns_loop = stmt_for(nest, column, true);
    struct stmt *inner = across ? rows_loop : columns_loop;
    struct stmt *outer = across ? columns_loop : rows_loop;
    inner->loop_kind = LOOP_VECTOR;
    inner->lanes = lanes;
    block_add(nest, &inner->body, moved);
    block_add(nest, &outer->body, inner);
    return outer;
}

bool apply_spill(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    int64_t rows = 0, lo, width;
    if (!site_find(nest, step->loop, &site) || site.loop->loop_kind != LOOP_JAM)
        return fail(err, ERR_UNSUPPORTED, "no jammed loop is called so");
    if (runs_together(nest, site.loop))
        return fail(err, ERR_UNSUPPORTED, "around '%s' iterations run together", step->loop);
    struct stmt *vector = only_stmt(&site.loop->body);
    if (!vector || !has_form(vector) || !room_for(nest, 2))
        return fail(err, ERR_UNSUPPORTED, "'%s' is not a tile with one reduction and one store",
                    step->loop);
    struct stmt *store = vector->body.stmts.items[2];
    uint32_t local = vector->body.stmts.items[0]->local, row = site.loop->var, column = vector->var;
    index_is_const(nest, nest->vars.items[row].extent, &rows);
    index_range(nest, nest->vars.items[column].extent, &lo, &width);
    if (width > 4096)
        return fail(err, ERR_UNSUPPORTED, "a tile %lld wide", (long long)width);
    enum dtype dtype = nest->locals.items[local].dtype;
    bool across = store_walks(nest, store, row) && !store_walks(nest, store, column);
    int64_t pitch = 2; /* of a column, when rows are the vectors */
    while (pitch < rows)
        pitch *= 2;
    uint32_t tile = scratch_buffer(nest, "tile", dtype,
                                   index_const(nest, across ? width * pitch : rows * width));
    uint32_t row2 = nest_var(nest, "r", OVER_NONE, nest->vars.items[row].extent);
    uint32_t column2 =
        nest_var(nest, "c", OVER_NONE,
                 expr_replace(nest, nest->vars.items[column].extent, row, expr_var(nest, row2)));
    expr_id there =
        across ? tile_index(nest, column, row, pitch) : tile_index(nest, row, column, width);
    expr_id loaded = expr_load(nest, tile, there, EXPR_NONE);
    struct stmt *moved =
        stmt_store(nest, store->buffer, store->index,
                   expr_replace_local(nest, store->value, local, loaded), store->guard);
    struct block body = {0};
    block_add(nest, &body, moved);
    block_replace(nest, &body, row, expr_var(nest, row2));
    block_replace(nest, &body, column, expr_var(nest, column2));
    vector->body.stmts.items[2] = stmt_store(nest, tile, there, expr_local(nest, local), EXPR_NONE);
    insert_stmt(
        nest, site.parent, site.at + 1,
        store_loops(nest, moved, row2, column2, across ? (uint32_t)pitch : vector->lanes, across));
    return true;
}
