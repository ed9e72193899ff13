/* Whether a nest may write a result over an argument: of the argument it loads only elements that
 * the same statement writes next, and it writes each element once, whatever the order of
 * iterations. */
#include "compiler/loop/loop.h"

struct writing {
    uint32_t out, in; /* buffers */
    expr_id at;       /* where `in` may be loaded; EXPR_NONE: nowhere */
    bool ok;
};

static uint32_t buffer_of(const struct nest *nest, uint32_t value)
{
    for (uint32_t i = 0; i < nest->arguments.count; i++)
        if (nest_argument(nest, i)->value == value)
            return nest->arguments.items[i];
    return UINT32_MAX;
}

static void look(struct nest *nest, expr_id e, void *context)
{
    struct writing *w = context;
    const struct expr *x = expr_at(nest, e);
    if (x->op != EXPR_LOAD)
        return;
    if (x->index == w->out || (x->index == w->in && x->operand[0] != w->at))
        w->ok = false;
}

static void look_at(struct nest *nest, expr_id e, expr_id at, struct writing *w)
{
    w->at = at;
    if (e != EXPR_NONE)
        expr_walk(nest, e, look, w);
}

/* Blocks that are all whole overlap at the end: they begin at the lesser of two places. */
static void look_for_overlap(struct nest *nest, expr_id e, void *context)
{
    struct writing *w = context;
    uint8_t op = expr_at(nest, e)->op;
    w->ok = w->ok && op != EXPR_MIN && op != EXPR_MAX;
}

/* apart: all loops around it write different elements. */
static void look_in(struct nest *nest, const struct block *block, bool apart, struct writing *w)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool writes = s->kind == STMT_STORE && s->buffer == w->out;
        w->ok = w->ok && (!writes || apart);
        if (writes)
            expr_walk(nest, s->index, look_for_overlap, w);
        look_at(nest, s->value, writes ? s->index : EXPR_NONE, w);
        look_at(nest, s->index, EXPR_NONE, w);
        look_at(nest, s->guard, EXPR_NONE, w);
        look_at(nest, s->cond, EXPR_NONE, w);
        look_in(nest, &s->body, apart && (s->kind != STMT_FOR || s->independent), w);
        look_in(nest, &s->orelse, apart, w);
    }
}

bool nest_in_place(struct nest *nest, uint32_t out, uint32_t in)
{
    struct writing w = {buffer_of(nest, out), buffer_of(nest, in), EXPR_NONE, true};
    look_in(nest, &nest->body, true, &w);
    return w.ok && w.out != UINT32_MAX;
}
