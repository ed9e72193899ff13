/* The verifier of nests. It runs after lowering and after every schedule, so that a wrong step is
 * found there and not by wrong results. */
#include "base/error.h"
#include "compiler/loop/loop_priv.h"

struct scope {
    const struct nest *nest;
    struct error *err;
    uint64_t vars;   /* of the loops around */
    uint64_t locals; /* declared in the blocks around */
    uint32_t depth;
    bool in_vector, in_parallel;
};

static bool bad(struct scope *s, const char *what, const char *name)
{
    fail(s->err, ERR_BUG, "%s: '%s'", what, name);
    return fail_at(s->err, "nest '%s'", s->nest->name);
}

static bool check_expr(struct scope *s, expr_id e, const char *where)
{
    if (e == EXPR_NONE || e >= s->nest->exprs.count)
        return bad(s, "missing expression", where);
    const struct expr *x = expr_at(s->nest, e);
    if (x->vars & ~s->vars)
        return bad(s, "a variable is used outside its loop", where);
    if (x->locals & ~s->locals)
        return bad(s, "a local is used before its declaration", where);
    return true;
}

static bool check_index(struct scope *s, expr_id e, const char *where)
{
    return check_expr(s, e, where) &&
           (expr_at(s->nest, e)->dtype == DTYPE_I64 || bad(s, "an index that is not i64", where));
}

static bool check_block(struct scope *s, const struct block *block);

static bool check_for(struct scope *s, const struct stmt *f)
{
    const struct nest *nest = s->nest;
    if (f->var >= nest->vars.count)
        return bad(s, "no such variable", "for");
    const char *name = nest->vars.items[f->var].name;
    if (s->vars >> f->var & 1)
        return bad(s, "a loop inside itself", name);
    if (!check_index(s, nest->vars.items[f->var].extent, name) ||
        (nest->vars.items[f->var].full != EXPR_NONE &&
         !check_index(s, nest->vars.items[f->var].full, name)))
        return false;
    if (f->loop_kind == LOOP_PARALLEL && (s->depth > 0 || !f->independent))
        return bad(s, "a parallel loop must be outermost and independent", name);
    if (f->loop_kind == LOOP_VECTOR) {
        if (s->in_vector || f->lanes == 0 || (f->lanes & (f->lanes - 1)))
            return bad(s, "a vector loop inside another, or lanes not a power of two", name);
    }
    if (f->loop_kind == LOOP_APART && f->independent)
        return bad(s, "a loop that runs apart must be a reduction", name);
    if (f->loop_kind == LOOP_JAM &&
        !(f->independent && index_is_const(nest, nest->vars.items[f->var].extent, NULL)))
        return bad(s, "a jammed loop must be independent and of constant extent", name);
    struct scope inner = *s;
    inner.vars |= (uint64_t)1 << f->var;
    inner.depth++;
    inner.in_vector |= f->loop_kind == LOOP_VECTOR;
    return check_block(&inner, &f->body);
}

static bool check_store(struct scope *s, const struct stmt *st)
{
    const struct nest *nest = s->nest;
    if (st->buffer >= nest->buffers.count)
        return bad(s, "no such buffer", "store");
    const struct nest_buffer *b = &nest->buffers.items[st->buffer];
    if (b->role != ROLE_OUT && b->role != ROLE_SCRATCH)
        return bad(s, "a store into a buffer that is not written", b->name);
    if (!check_index(s, st->index, b->name) || !check_expr(s, st->value, b->name))
        return false;
    enum dtype dtype = expr_at(nest, st->value)->dtype;
    if (dtype != b->dtype &&
        !(dtype == DTYPE_F32 && (b->dtype == DTYPE_F16 || b->dtype == DTYPE_BF16)))
        return bad(s, "a store of another dtype", b->name);
    return st->guard == EXPR_NONE || check_expr(s, st->guard, b->name);
}

/* A prefetch may have an index outside of its buffer; a load inside that index would then read
 * there. */
static bool check_prefetch(struct scope *s, const struct stmt *st)
{
    const struct nest *nest = s->nest;
    if (st->buffer >= nest->buffers.count)
        return bad(s, "no such buffer", "prefetch");
    const char *name = nest->buffers.items[st->buffer].name;
    return check_index(s, st->index, name) &&
           (!expr_at(nest, st->index)->loads || bad(s, "a prefetch of what a load says", name));
}

static bool check_local(struct scope *s, const struct stmt *st)
{
    if (st->local >= s->nest->locals.count)
        return bad(s, "no such local", "local");
    const struct nest_local *l = &s->nest->locals.items[st->local];
    if (!check_expr(s, st->value, l->name))
        return false;
    if (expr_at(s->nest, st->value)->dtype != l->dtype)
        return bad(s, "a value of another dtype", l->name);
    if (st->kind == STMT_UPDATE && !(s->locals >> st->local & 1))
        return bad(s, "an update of a local that is not declared here", l->name);
    if (st->kind == STMT_LOCAL)
        s->locals |= (uint64_t)1 << st->local;
    return true;
}

static bool check_block(struct scope *s, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *st = block->stmts.items[i];
        struct scope inner = *s;
        bool ok = false;
        switch ((enum stmt_kind)st->kind) {
        case STMT_FOR: ok = check_for(s, st); break;
        case STMT_IF:
            ok = check_expr(s, st->cond, "if") && check_block(&inner, &st->body);
            inner = *s;
            ok = ok && check_block(&inner, &st->orelse);
            break;
        case STMT_LOCAL:
        case STMT_UPDATE: ok = check_local(s, st); break;
        case STMT_STORE: ok = check_store(s, st); break;
        case STMT_PREFETCH: ok = check_prefetch(s, st); break;
        }
        if (!ok)
            return false;
    }
    return true;
}

static bool check_buffer(struct scope *s, const struct nest_buffer *b)
{
    if (!check_index(s, b->elements, b->name))
        return false;
    if (b->stream == EXPR_NONE)
        return true;
    if (b->role != ROLE_OUT)
        return bad(s, "only results are written past the caches", b->name);
    return check_expr(s, b->stream, b->name) && (expr_at(s->nest, b->stream)->dtype == DTYPE_BOOL ||
                                                 bad(s, "a condition that is not bool", b->name));
}

bool nest_verify(struct nest *nest, struct error *err)
{
    struct scope s = {.nest = nest, .err = err};
    if (nest->vars.count > NEST_MAX_VARS || nest->locals.count > NEST_MAX_LOCALS)
        return bad(&s, "too many variables or locals", nest->name);
    for (uint32_t i = 0; i < nest->buffers.count; i++)
        if (!check_buffer(&s, &nest->buffers.items[i]))
            return false;
    return check_block(&s, &nest->body);
}
