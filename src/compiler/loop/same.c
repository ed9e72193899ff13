/* Comparing nests. Lowering and scheduling are deterministic, so two groups that are alike make
 * expressions with the same ids in the same order: equal tables and equal trees are equal code. */
#include "base/hash.h"
#include "compiler/loop/loop_priv.h"

static bool same_tables(const struct nest *a, const struct nest *b)
{
    if (a->exprs.count != b->exprs.count || a->vars.count != b->vars.count ||
        a->buffers.count != b->buffers.count || a->locals.count != b->locals.count)
        return false;
    for (uint32_t i = 1; i < a->exprs.count; i++)
        if (!expr_same(expr_at(a, i), expr_at(b, i)))
            return false;
    for (uint32_t i = 0; i < a->vars.count; i++)
        if (a->vars.items[i].extent != b->vars.items[i].extent)
            return false;
    for (uint32_t i = 0; i < a->locals.count; i++)
        if (a->locals.items[i].dtype != b->locals.items[i].dtype)
            return false;
    for (uint32_t i = 0; i < a->buffers.count; i++) {
        const struct nest_buffer *x = &a->buffers.items[i], *y = &b->buffers.items[i];
        if (x->dtype != y->dtype || x->role != y->role || x->elements != y->elements ||
            x->table != y->table)
            return false;
    }
    return true;
}

static bool same_blocks(const struct block *a, const struct block *b)
{
    if (a->stmts.count != b->stmts.count)
        return false;
    for (uint32_t i = 0; i < a->stmts.count; i++) {
        const struct stmt *x = a->stmts.items[i], *y = b->stmts.items[i];
        if (x->kind != y->kind || x->loop_kind != y->loop_kind ||
            x->independent != y->independent || x->var != y->var || x->lanes != y->lanes ||
            x->cond != y->cond || x->local != y->local || x->combine != y->combine ||
            x->value != y->value || x->buffer != y->buffer || x->index != y->index ||
            x->guard != y->guard)
            return false;
        if (!same_blocks(&x->body, &y->body) || !same_blocks(&x->orelse, &y->orelse))
            return false;
    }
    return true;
}

bool nest_same(const struct nest *a, const struct nest *b)
{
    return same_tables(a, b) && same_blocks(&a->body, &b->body);
}

uint64_t nest_hash(const struct nest *nest)
{
    uint64_t hash = nest->exprs.count;
    for (uint32_t i = 1; i < nest->exprs.count; i++)
        hash = hash64_mix(hash, expr_hash(expr_at(nest, i)));
    return hash;
}
