/* Loops with contiguous loads along one dim and contiguous stores along another, as in a change of
 * layout:
 *
 *   for t                          for to, …
 *     for v                          jam ti            16 of t
 *       y[… + t] = f(x[… + v])  ->     vector v
 *                                        y[… + t] = f(x[… + v])
 *
 * Vectors run along the dim of the loads. The stores of the jammed iterations are then consecutive,
 * and code generation transposes them in registers. */
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

#define MAX_COST 16 /* operations per element, which are repeated for each jammed iteration */

/* Whether a load is contiguous along one loop and strided along the other. */
struct crossing {
    uint32_t with, across;
    bool found;
};

static void check_crossing(struct nest *nest, expr_id e, void *context)
{
    struct crossing *f = context;
    struct expr x = *expr_at(nest, e);
    f->found |= x.op == EXPR_LOAD && access_score(nest, x.operand[0], f->with, 0) == 2 &&
                access_score(nest, x.operand[0], f->across, 0) < 0;
}

static void find_crossing(struct nest *nest, expr_id e, void *context)
{
    expr_walk(nest, e, check_crossing, context);
}

static bool swap_inside(struct scheduling *c, uint32_t loop, const struct stmt *last)
{
    struct loop_site site;
    const struct stmt *inner;
    while (site_of(c->nest, loop, &site) && (inner = only_loop(&site.loop->body)) != NULL &&
           inner != last)
        if (!take_step(c, STEP_SWAP, loop, inner->var, 0, NULL))
            return false;
    return true;
}

bool tile_across(struct scheduling *c)
{
    struct nest *nest = c->nest;
    const struct stmt *loops[LIMIT_RANK + 1], *store, *to = NULL, *along = NULL;
    uint32_t count = 0;
    int64_t lanes = c->target->lanes, lo, hi;
    const struct stmt *at = only_loop(&nest->body);
    for (; at && at->independent && at->loop_kind == LOOP_SERIAL && count < LIMIT_RANK;
         at = only_loop(&at->body))
        loops[count++] = at;
    if (count < 2 || loops[count - 1]->body.stmts.count != 1)
        return false;
    store = loops[count - 1]->body.stmts.items[0];
    if (store->kind != STMT_STORE || expr_operations(nest, store->value) > MAX_COST)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (store_walks(nest, store, loops[i]->var))
            to = loops[i];
    for (uint32_t i = 0; to && i < count; i++) {
        struct crossing f = {.with = loops[i]->var, .across = to->var};
        if (loops[i] != to)
            block_visit(nest, &loops[count - 1]->body, find_crossing, &f);
        along = f.found ? loops[i] : along;
    }
    if (!along)
        return false;
    index_range(nest, nest->vars.items[to->var].extent, &lo, &hi);
    uint32_t vector = along->var;
    struct made tile;
    struct loop_site site;
    if (lo < lanes || !take_step(c, STEP_TILE, to->var, VAR_NONE, lanes, &tile) ||
        !swap_inside(c, vector, NULL) || !site_of(nest, vector, &site) ||
        !swap_inside(c, tile.vars[1], site.loop))
        return false;
    return take_step(c, STEP_VECTOR, vector, VAR_NONE, lanes_for(c, site.loop, 1), NULL) &&
           take_step(c, STEP_JAM, tile.vars[1], VAR_NONE, 0, NULL);
}
