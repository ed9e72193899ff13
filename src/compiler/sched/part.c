/* The step `part`: loop distribution over stages of a row.
 *
 *   for r                          for ra
 *     for j                          for j
 *       row[j] = …                     rows[ra, j] = …
 *     local m                      for rb
 *     for k: m max= row[k]    ->     local m
 *     for d                          for k: m max= rows[rb, k]
 *       y[r, d] = … m … row[k]       at[rb] = m
 *                                  for rc
 *                                    for d
 *                                      y[rc, d] = … at[rc] … rows[rc, k]
 *
 * Each stage can then be scheduled by itself: the first and the last as tiles of products. Scratch
 * memory that an iteration writes gets one row per iteration. Rows are padded, so that they do not
 * map to the same cache sets. A loop inside whose extent depends on the row and may be longer
 * (nest_var.full) gets the extent of the last row, so that all rows of a stage have the same
 * loops. */
#include "base/error.h"
#include "compiler/sched/sched_priv.h"

#define ROW_PAD 16 /* elements */
#define MAX_STAGES STEP_MADE_MOST

struct parting {
    struct nest *nest;
    struct stmt *loop; /* the loop to distribute, over var, with `rows` iterations */
    expr_id var;
    int64_t rows;
    struct block stages[MAX_STAGES];
    uint32_t count;
};

static bool is_stage(const struct stmt *s)
{
    return s->kind == STMT_FOR && s->independent;
}

static bool cut(struct parting *p)
{
    const struct block *body = &p->loop->body;
    for (uint32_t i = 0; i < body->stmts.count; i++) {
        struct stmt *s = body->stmts.items[i];
        if (i == 0 || is_stage(s) || is_stage(body->stmts.items[i - 1]))
            p->count++;
        if (p->count > MAX_STAGES)
            return false;
        block_add(p->nest, &p->stages[p->count - 1], s);
    }
    return p->count > 1;
}

/* The distinct loads of one buffer in a block. */
struct loads {
    uint32_t buffer;
    VEC(expr_id) ids;
};

static void note_load(struct nest *nest, expr_id e, void *context)
{
    struct loads *l = context;
    if (expr_at(nest, e)->op != EXPR_LOAD || expr_at(nest, e)->index != l->buffer)
        return;
    for (uint32_t i = 0; i < l->ids.count; i++)
        if (l->ids.items[i] == e)
            return;
    VEC_PUSH(nest->arena, &l->ids, e);
}

static void note_loads(struct nest *nest, expr_id e, void *context)
{
    if (expr_at(nest, e)->loads)
        expr_walk(nest, e, note_load, context);
}

/* 1: the block stores into buffer, always at an index without var; -1: also at others; 0: it does
 * not store into it. */
static int stores_to(const struct nest *nest, const struct block *block, uint32_t buffer,
                     uint64_t var)
{
    int found = 0;
    for (uint32_t i = 0; i < block->stmts.count && found >= 0; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_STORE && s->buffer == buffer)
            found = expr_at(nest, s->index)->vars & var ? -1 : 1;
        int inner = stores_to(nest, &s->body, buffer, var);
        found = inner ? inner : found;
        inner = found >= 0 ? stores_to(nest, &s->orelse, buffer, var) : 0;
        found = inner ? inner : found;
    }
    return found;
}

static void redirect_stores(struct nest *nest, const struct block *block, uint32_t from,
                            uint32_t to, expr_id offset)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_STORE && s->buffer == from) {
            s->buffer = to;
            s->index = index_add(nest, offset, s->index);
        }
        redirect_stores(nest, &s->body, from, to, offset);
        redirect_stores(nest, &s->orelse, from, to, offset);
    }
}

static bool mentions(struct nest *nest, const struct block *block, uint32_t buffer)
{
    struct loads l = {.buffer = buffer};
    block_visit(nest, block, note_loads, &l);
    return l.ids.count > 0 || stores_to(nest, block, buffer, 0) != 0;
}

/* Replaces a buffer by one with a row per iteration. */
static void widen(struct parting *p, uint32_t buffer)
{
    struct nest *nest = p->nest;
    struct nest_buffer old = nest->buffers.items[buffer];
    struct loads l = {.buffer = buffer};
    expr_id pad = index_const(nest, ROW_PAD), line = pad;
    expr_id up = index_add(nest, old.elements, index_const(nest, ROW_PAD - 1));
    expr_id stride = index_add(nest, index_mul(nest, index_div(nest, up, line), line), pad);
    expr_id offset = index_mul(nest, p->var, stride);
    uint32_t rows = scratch_buffer(nest, "rows", old.dtype,
                                   index_mul(nest, stride, index_const(nest, p->rows)));
    block_visit(nest, &p->loop->body, note_loads, &l);
    for (uint32_t i = 0; i < l.ids.count; i++) {
        struct expr x = *expr_at(nest, l.ids.items[i]);
        expr_id load = expr_load(nest, rows, index_add(nest, offset, x.operand[0]), x.operand[1]);
        block_exchange(nest, &p->loop->body, l.ids.items[i], load);
    }
    redirect_stores(nest, &p->loop->body, buffer, rows, offset);
    if (!mentions(nest, &nest->body, buffer))
        nest->buffers.items[buffer].elements = index_const(nest, 0);
}

static bool widen_all(struct parting *p, struct error *err)
{
    uint64_t var = expr_at(p->nest, p->var)->vars;
    for (uint32_t b = 0, count = p->nest->buffers.count; b < count; b++) {
        int stores = p->nest->buffers.items[b].role == ROLE_SCRATCH
                         ? stores_to(p->nest, &p->loop->body, b, var)
                         : 0;
        if (stores < 0)
            return fail(err, ERR_UNSUPPORTED, "scratch memory has its rows already");
    }
    for (uint32_t b = 0, count = p->nest->buffers.count; b < count; b++)
        if (p->nest->buffers.items[b].role == ROLE_SCRATCH &&
            stores_to(p->nest, &p->loop->body, b, var))
            widen(p, b);
    return true;
}

static bool uses_local(const struct nest *nest, const struct block *block, uint32_t local)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        expr_id all[4] = {s->cond, s->value, s->index, s->guard};
        for (int e = 0; e < 4; e++)
            if (all[e] != EXPR_NONE && expr_at(nest, all[e])->locals >> local % 64 & 1)
                return true;
        if (uses_local(nest, &s->body, local) || uses_local(nest, &s->orelse, local))
            return true;
    }
    return false;
}

/* Stores a local of one stage at the end of it, if later stages read it, and makes them load it. */
static void hand_over(struct parting *p, uint32_t stage, uint32_t local)
{
    struct nest *nest = p->nest;
    expr_id value = expr_local(nest, local), load = EXPR_NONE;
    uint32_t buffer = UINT32_MAX;
    for (uint32_t later = stage + 1; later < p->count; later++) {
        if (!uses_local(nest, &p->stages[later], local))
            continue;
        if (buffer == UINT32_MAX) {
            buffer = scratch_buffer(nest, "at", nest->locals.items[local].dtype,
                                    index_const(nest, p->rows));
            block_add(nest, &p->stages[stage], stmt_store(nest, buffer, p->var, value, EXPR_NONE));
            load = expr_load(nest, buffer, p->var, EXPR_NONE);
        }
        block_exchange(nest, &p->stages[later], value, load);
    }
}

/* Gives loops with a larger allowed extent the extent of the last iteration. */
static void run_on(struct parting *p, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        struct nest_var *v = s->kind == STMT_FOR ? &p->nest->vars.items[s->var] : NULL;
        if (v && v->full != EXPR_NONE)
            v->extent =
                expr_exchange(p->nest, v->extent, p->var, index_const(p->nest, p->rows - 1));
        run_on(p, &s->body);
        run_on(p, &s->orelse);
    }
}

static void make_loops(struct parting *p, const struct loop_site *site, struct made *out)
{
    struct nest *nest = p->nest;
    uint32_t whole = p->loop->var;
    for (uint32_t i = 0; i < p->count; i++) {
        uint32_t var = derived_var(nest, whole, (char)('a' + i), index_const(nest, p->rows));
        struct stmt *loop = i == 0 ? p->loop : stmt_for(nest, var, true);
        block_exchange(nest, &p->stages[i], p->var, expr_var(nest, var));
        loop->var = var;
        loop->body = p->stages[i];
        made_add(out, var);
        if (i > 0)
            insert_stmt(nest, site->parent, site->at + i, loop);
    }
}

bool apply_part(struct nest *nest, const struct step *step, struct made *out, struct error *err)
{
    struct loop_site site;
    struct parting p = {.nest = nest};
    if (!site_find(nest, step->loop, &site) || site.loop->loop_kind != LOOP_SERIAL ||
        !site.loop->independent)
        return fail(err, ERR_UNSUPPORTED, "no independent loop is called so");
    p.loop = site.loop;
    p.var = expr_var(nest, site.loop->var);
    if (!index_is_const(nest, nest->vars.items[site.loop->var].extent, &p.rows) || p.rows < 1 ||
        p.rows > NEST_MAX_JAM || !cut(&p) || !room_for(nest, p.count))
        return fail(err, ERR_UNSUPPORTED, "'%s' is no loop of few rows over stages", step->loop);
    if (!widen_all(&p, err))
        return false;
    run_on(&p, &site.loop->body);
    for (uint32_t stage = 0; stage < p.count; stage++)
        for (uint32_t i = 0, n = p.stages[stage].stmts.count; i < n; i++)
            if (p.stages[stage].stmts.items[i]->kind == STMT_LOCAL)
                hand_over(&p, stage, p.stages[stage].stmts.items[i]->local);
    make_loops(&p, &site, out);
    return true;
}
