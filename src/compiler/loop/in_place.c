/* Whether a nest may write a result over an argument.
 *
 * 1. Of the argument, only the statement that stores an element loads anything: that element.
 * 2. Elements stored by such a statement are stored once: all loops around it write different
 *    elements in different iterations, so their variables occur in its index, which only adds,
 *    multiplies and divides variables and sizes. A minimum in it tells blocks that overlap at the
 *    end.
 * 3. Such a store follows no other store into the result, unless only one of the two is made: they
 *    might have an element in common. Of loops around both, other stores keep to their iteration:
 *    the variables occur in their index.
 * 4. The result is loaded only behind a store into it, so behind all loads of the argument.
 *
 * So the order of iterations does not matter, in time or among threads. */
#include "compiler/loop/loop.h"

struct writing {
    uint32_t out, in; /* buffers */
    expr_id at;       /* where `in` may be loaded; EXPR_NONE: nowhere */
    bool ok, loads;   /* loads: the expression that was looked at loads `in` */
    bool stored;      /* something may have been stored into `out` */
};

/* What stands around a statement. */
struct around {
    uint64_t vars, apart; /* of all loops with more than one iteration, and of the independent ones
                           */
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
    w->loads |= x->index == w->in;
    if ((x->index == w->out && !w->stored) || (x->index == w->in && x->operand[0] != w->at))
        w->ok = false;
}

static void look_at(struct nest *nest, expr_id e, expr_id at, struct writing *w)
{
    w->at = at;
    w->loads = false;
    if (e != EXPR_NONE)
        expr_walk(nest, e, look, w);
}

static void look_at_index(struct nest *nest, expr_id e, void *context)
{
    struct writing *w = context;
    switch (expr_at(nest, e)->op) {
    case EXPR_CONST:
    case EXPR_VAR:
    case EXPR_DIM:
    case EXPR_ADD:
    case EXPR_MUL:
    case EXPR_FLOORDIV:
    case EXPR_FLOORMOD: break;
    default: w->ok = false;
    }
}

static void look_at_store(struct nest *nest, const struct stmt *s, struct around around,
                          struct writing *w)
{
    if (s->buffer != w->out) {
        look_at(nest, s->value, EXPR_NONE, w);
        return;
    }
    look_at(nest, s->value, s->index, w);
    uint64_t around_both = w->loads ? around.vars : around.apart;
    if ((around_both & ~expr_at(nest, s->index)->vars) != 0)
        w->ok = false;
    if (w->loads) {
        w->ok = w->ok && around.apart == around.vars && !w->stored;
        expr_walk(nest, s->index, look_at_index, w);
    }
    w->stored = true;
}

static void look_in(struct nest *nest, const struct block *block, struct around around,
                    struct writing *w)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        struct around inside = around;
        bool before = w->stored;
        int64_t extent = 0;
        look_at(nest, s->index, EXPR_NONE, w);
        look_at(nest, s->guard, EXPR_NONE, w);
        look_at(nest, s->cond, EXPR_NONE, w);
        if (s->kind == STMT_FOR) {
            expr_id bound = nest->vars.items[s->var].extent;
            bool fixed = index_is_const(nest, bound, &extent);
            uint64_t var = fixed && extent == 1 ? 0 : UINT64_C(1) << s->var;
            look_at(nest, bound, EXPR_NONE, w);
            inside.vars |= var;
            inside.apart |= s->independent ? var : 0;
        }
        if (s->kind == STMT_STORE)
            look_at_store(nest, s, around, w);
        else
            look_at(nest, s->value, EXPR_NONE, w);
        look_in(nest, &s->body, inside, w);
        bool behind = w->stored;
        w->stored = before;
        look_in(nest, &s->orelse, inside, w);
        w->stored |= behind;
    }
}

bool nest_in_place(struct nest *nest, uint32_t out, uint32_t in)
{
    struct writing w = {.out = buffer_of(nest, out), .in = buffer_of(nest, in), .ok = true};
    look_in(nest, &nest->body, (struct around){0}, &w);
    return w.ok && w.out != UINT32_MAX;
}
