/* Whether iterations of a nest's outermost loop keep to slices of its arguments.
 *
 * An argument is sliced where all indices of its loads and stores are i·share + rest, with i the
 * outermost loop's variable, rest without it, and share the argument's elements divided by the
 * loop's extent N. Since indices are in bounds for every i, 0 ≤ rest < share: so iteration i
 * touches the elements from i·share to (i + 1)·share, and no others. */
#include "compiler/loop/slices.h"

struct slicing {
    uint32_t var;
    const expr_id *shares;
    bool *sliced;
};

static void look_at(struct nest *nest, uint32_t buffer, expr_id index, struct slicing *s)
{
    const struct nest_buffer *b = &nest->buffers.items[buffer];
    uint32_t argument = b->argument;
    if ((b->role == ROLE_IN || b->role == ROLE_OUT) && s->sliced[argument])
        s->sliced[argument] = index_stride(nest, index, s->var) == s->shares[argument];
}

static void look(struct nest *nest, expr_id e, void *context)
{
    struct expr x = *expr_at(nest, e);
    if (x.op == EXPR_LOAD)
        look_at(nest, x.index, x.operand[0], context);
}

static void look_in(struct nest *nest, const struct block *block, struct slicing *s)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *at = block->stmts.items[i];
        const expr_id all[] = {at->cond, at->value, at->index, at->guard,
                               at->kind == STMT_FOR ? nest->vars.items[at->var].extent : EXPR_NONE};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++)
            if (all[k] != EXPR_NONE)
                expr_walk(nest, all[k], look, s);
        if (at->kind == STMT_STORE)
            look_at(nest, at->buffer, at->index, s);
        look_in(nest, &at->body, s);
        look_in(nest, &at->orelse, s);
    }
}

uint32_t nest_outermost(const struct nest *nest)
{
    const struct stmt *top = nest->body.stmts.count == 1 ? nest->body.stmts.items[0] : NULL;
    return top && top->kind == STMT_FOR && top->independent ? top->var : VAR_NONE;
}

void nest_find_slices(struct nest *nest, const expr_id *shares, bool *out_sliced)
{
    struct slicing s = {nest_outermost(nest), shares, out_sliced};
    for (uint32_t i = 0; i < nest->arguments.count; i++)
        out_sliced[i] = s.var != VAR_NONE && shares[i] != EXPR_NONE;
    if (s.var != VAR_NONE)
        look_in(nest, &nest->body, &s);
}
