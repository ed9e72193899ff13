/* Expands jammed loops. Each statement is copied once per value of the variable, before the next
 * statement is; a loop inside stays one loop, with the copies in its body. A local declared inside
 * becomes one local per copy. Serial, parallel and vector loops are left. */
#include "compiler/loop/loop_priv.h"

struct jam {
    struct nest *nest;
    uint32_t count; /* copies of a statement: the product of the extents of the jammed loops around
                       it */
    uint32_t var_count;
    uint32_t vars[NEST_MAX_JAM_DEPTH];
    int64_t extents[NEST_MAX_JAM_DEPTH];
    uint32_t (*locals)[NEST_MAX_JAM]; /* by original local, the local of each copy, as index + 1; 0:
                                         declared outside of all jammed loops */
};

static expr_id rename_copy(struct jam *j, expr_id e, uint32_t copy)
{
    for (uint32_t i = 0; i < NEST_MAX_LOCALS && expr_at(j->nest, e)->locals; i++)
        if (j->locals[i][copy] && j->locals[i][copy] != i + 1)
            e = expr_replace_local(j->nest, e, i, expr_local(j->nest, j->locals[i][copy] - 1));
    return e;
}

static expr_id instance(struct jam *j, expr_id e, uint32_t copy)
{
    if (e == EXPR_NONE)
        return e;
    uint32_t rest = copy;
    for (uint32_t i = j->var_count; i-- > 0;) {
        e = expr_replace(j->nest, e, j->vars[i],
                         index_const(j->nest, rest % (uint32_t)j->extents[i]));
        rest /= (uint32_t)j->extents[i];
    }
    return rename_copy(j, e, copy);
}

/* Inside a further jammed loop each copy becomes `extent` copies, which share the locals declared
 * outside of that loop. */
static uint32_t (*widen_locals(const struct jam *j, uint32_t extent))[NEST_MAX_JAM]
{
    uint32_t(*wide)[NEST_MAX_JAM] = arena_array(j->nest->arena, NEST_MAX_LOCALS, sizeof *wide);
    for (uint32_t local = 0; local < NEST_MAX_LOCALS; local++)
        for (uint32_t copy = 0; copy < j->count * extent; copy++)
            wide[local][copy] = j->locals[local][copy / extent];
    return wide;
}

static void expand(struct jam *j, const struct block *from, struct block *to);

/* Whether one of the copies from `first` on prefetches the same element. */
static bool prefetched(const struct block *block, uint32_t first, const struct stmt *s)
{
    for (uint32_t i = first; i < block->stmts.count; i++)
        if (block->stmts.items[i]->index == s->index)
            return true;
    return false;
}

static void expand_leaf(struct jam *j, const struct stmt *s, struct block *to)
{
    uint32_t first = to->stmts.count;
    for (uint32_t copy = 0; copy < j->count; copy++) {
        struct stmt *out = ARENA_NEW(j->nest->arena, struct stmt);
        *out = *s;
        if (s->kind == STMT_LOCAL) {
            struct nest_local l = j->nest->locals.items[s->local];
            out->local = copy == 0 ? s->local : nest_local(j->nest, l.name, l.dtype);
            j->locals[s->local][copy] = out->local + 1;
        } else if (s->kind == STMT_UPDATE && j->locals[s->local][copy])
            out->local = j->locals[s->local][copy] - 1;
        out->value = instance(j, s->value, copy);
        out->index = instance(j, s->index, copy);
        out->guard = instance(j, s->guard, copy);
        if (s->kind != STMT_PREFETCH || !prefetched(to, first, out))
            block_add(j->nest, to, out);
    }
}

static void expand_stmt(struct jam *j, const struct stmt *s, struct block *to)
{
    if (s->kind != STMT_FOR && s->kind != STMT_IF) {
        expand_leaf(j, s, to);
        return;
    }
    if (s->kind == STMT_FOR && s->loop_kind == LOOP_JAM) {
        struct jam inner = *j;
        int64_t extent = 0;
        index_is_const(j->nest, j->nest->vars.items[s->var].extent, &extent);
        assert(inner.var_count < NEST_MAX_JAM_DEPTH && inner.count * extent <= NEST_MAX_JAM);
        inner.vars[inner.var_count] = s->var;
        inner.extents[inner.var_count++] = extent;
        inner.count *= (uint32_t)extent;
        inner.locals = widen_locals(j, (uint32_t)extent);
        expand(&inner, &s->body, to);
        return;
    }
    struct stmt *out = ARENA_NEW(j->nest->arena, struct stmt);
    *out = *s;
    out->body = out->orelse = (struct block){0};
    out->cond = instance(j, s->cond, 0);
    expand(j, &s->body, &out->body);
    expand(j, &s->orelse, &out->orelse);
    block_add(j->nest, to, out);
}

static void expand(struct jam *j, const struct block *from, struct block *to)
{
    for (uint32_t i = 0; i < from->stmts.count; i++)
        expand_stmt(j, from->stmts.items[i], to);
}

void nest_expand_jam(struct nest *nest)
{
    struct jam j = {.nest = nest, .count = 1};
    j.locals = arena_array(nest->arena, NEST_MAX_LOCALS, sizeof *j.locals);
    struct block body = {0};
    expand(&j, &nest->body, &body);
    nest->body = body;
}
