/* What all forms share: taking steps, fusing loops that are contiguous in memory, and finding the
 * loops whose accesses suit vectors. */
#include <limits.h>
#include <stdio.h>

#include "base/error.h"
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

static bool write_name(char out[STEP_NAME_BYTES], const char *name, struct error *err)
{
    if (strlen(name) >= STEP_NAME_BYTES)
        return fail(err, ERR_UNSUPPORTED, "the name '%s' is too long", name);
    memcpy(out, name, strlen(name) + 1);
    return true;
}

/* loop, other: names; NULL where the step has none. wanted: a refusal is recorded. */
static bool apply_named(struct scheduling *c, struct step *step, const char *loop,
                        const char *other, bool wanted, struct made *out)
{
    struct error err = {0};
    if (write_name(step->loop, loop, &err) && (!other || write_name(step->other, other, &err)) &&
        sched_apply(c->nest, step, out, &err)) {
        VEC_PUSH(c->nest->arena, &c->steps.steps, *step);
        if (c->watch)
            c->watch->see(c->watch->context, c->nest, step);
        return true;
    }
    if (wanted)
        VEC_PUSH(c->nest->arena, &c->steps.refused,
                 ((struct refusal){*step, arena_strdup(c->nest->arena, err.message)}));
    return false;
}

static const char *var_name(const struct nest *nest, uint32_t var)
{
    return var == VAR_NONE ? NULL : nest->vars.items[var].name;
}

bool take_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t other,
               int64_t number, struct made *out)
{
    struct step step = {.kind = (uint8_t)kind, .number = number};
    return apply_named(c, &step, var_name(c->nest, loop), var_name(c->nest, other), true, out);
}

bool try_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t other,
              int64_t number, struct made *out)
{
    struct step step = {.kind = (uint8_t)kind, .number = number};
    return apply_named(c, &step, var_name(c->nest, loop), var_name(c->nest, other), false, out);
}

bool take_buffer_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t buffer,
                      int64_t number)
{
    struct step step = {.kind = (uint8_t)kind, .number = number};
    const char *name = c->nest->buffers.items[buffer].name, *first = var_name(c->nest, loop);
    return apply_named(c, &step, first ? first : name, first ? name : NULL, true, NULL);
}

/* Whether fusing (outer, inner) into one variable leaves no division of it anywhere. */
struct fusing {
    uint32_t outer, inner;
    expr_id by_div, by_mod;
    uint32_t fused;
    bool clean;
};

static void find_quotient(struct nest *nest, expr_id e, void *context)
{
    struct fusing *f = context;
    const struct expr *x = expr_at(nest, e);
    if (x->vars >> f->fused & 1 && (x->op == EXPR_FLOORDIV || x->op == EXPR_FLOORMOD))
        f->clean = false;
}

static void check_fused(struct nest *nest, expr_id e, void *context)
{
    struct fusing *f = context;
    if (!f->clean)
        return;
    e = expr_replace(nest, expr_replace(nest, e, f->outer, f->by_div), f->inner, f->by_mod);
    expr_walk(nest, e, find_quotient, f);
}

static bool fuses_cleanly(struct scheduling *c, const struct loop_site *outer,
                          const struct stmt *inner)
{
    struct nest *nest = c->nest;
    expr_id extent = nest->vars.items[inner->var].extent;
    expr_id total = index_mul(nest, nest->vars.items[outer->loop->var].extent, extent);
    struct fusing f = {.outer = outer->loop->var,
                       .inner = inner->var,
                       .clean = true,
                       .fused = nest_var(nest, "trial", OVER_NONE, total)};
    f.by_div = index_div(nest, expr_var(nest, f.fused), extent);
    f.by_mod = index_mod(nest, expr_var(nest, f.fused), extent);
    block_visit(nest, &inner->body, check_fused, &f);
    nest->vars.count--; /* removes the trial variable, the last one */
    return f.clean;
}

struct stmt *only_loop(const struct block *block)
{
    struct stmt *s = block->stmts.count == 1 ? block->stmts.items[0] : NULL;
    return s && s->kind == STMT_FOR ? s : NULL;
}

/* Fuses each pair of perfectly nested loops whose indices then need no division. */
void fuse_chains(struct scheduling *c, struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i], *inner;
        while (s->kind == STMT_FOR && (inner = only_loop(&s->body)) != NULL) {
            struct loop_site site = {.loop = s};
            if (s->independent != inner->independent || !fuses_cleanly(c, &site, inner) ||
                !take_step(c, STEP_FUSE, s->var, inner->var, 0, NULL))
                break;
        }
        fuse_chains(c, &s->body);
        fuse_chains(c, &s->orelse);
    }
}

struct scoring {
    uint32_t var;
    int64_t block;
    int score;
};

int access_score(struct nest *nest, expr_id index, uint32_t var, int64_t block)
{
    int64_t n;
    if (block) {
        uint32_t inner = nest_var(nest, "trial", OVER_NONE, index_const(nest, block));
        uint32_t outer = nest_var(nest, "trial", OVER_NONE, nest->vars.items[var].extent);
        expr_id start = index_mul(nest, expr_var(nest, outer), index_const(nest, block));
        index = expr_replace(nest, index, var, index_add(nest, start, expr_var(nest, inner)));
        var = inner;
    }
    expr_id stride = index_stride(nest, index, var);
    nest->vars.count -= block ? 2 : 0;
    if (stride == EXPR_NONE || !index_is_const(nest, stride, &n))
        return -4;
    return n == 1 ? 2 : n == 0 ? 1 : -4;
}

static void score_load(struct nest *nest, expr_id e, void *context)
{
    struct scoring *s = context;
    struct expr x = *expr_at(nest, e);
    if (x.op != EXPR_LOAD)
        return;
    expr_id stride = index_stride(nest, x.operand[0], s->var);
    int64_t n;
    bool near = stride != EXPR_NONE && index_is_const(nest, stride, &n) && n >= 2 && n <= 4;
    s->score += near ? 0 : access_score(nest, x.operand[0], s->var, s->block); /* a shuffle */
}

static void score_loads(struct nest *nest, expr_id e, void *context)
{
    if (expr_at(nest, e)->loads)
        expr_walk(nest, e, score_load, context);
}

static void score_stores(struct nest *nest, const struct block *block, struct scoring *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_STORE)
            out->score += access_score(nest, s->index, out->var, out->block);
        score_stores(nest, &s->body, out);
        score_stores(nest, &s->orelse, out);
    }
}

static void score_sums(struct nest *nest, const struct block *block, struct scoring *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && !s->independent)
            block_visit(nest, &s->body, score_loads, out);
        else
            score_sums(nest, &s->body, out);
    }
}

int lane_score_of_sums(struct scheduling *c, const struct stmt *loop, int64_t block)
{
    struct scoring s = {.var = loop->var, .block = block};
    score_sums(c->nest, &loop->body, &s);
    return s.score;
}

int lane_score(struct scheduling *c, const struct stmt *loop, int64_t block)
{
    struct scoring s = {.var = loop->var, .block = block};
    int64_t lo, hi;
    block_visit(c->nest, &loop->body, score_loads, &s);
    score_stores(c->nest, &loop->body, &s);
    index_range(c->nest, c->nest->vars.items[loop->var].extent, &lo, &hi);
    return hi < c->target->lanes / 2 ? s.score - 3 : s.score;
}

int64_t lanes_for(struct scheduling *c, const struct stmt *loop, int64_t registers)
{
    int64_t lo, hi, lanes = c->target->lanes;
    index_range(c->nest, c->nest->vars.items[loop->var].extent, &lo, &hi);
    while (lanes > 2 && lanes / 2 >= hi)
        lanes /= 2;
    if (c->nest->vars.items[loop->var].full != EXPR_NONE)
        lo = hi / 2; /* most rows are longer than the least */
    while (lanes < registers * c->target->lanes && 2 * lanes <= lo)
        lanes *= 2;
    return lanes;
}

static bool has_vector(const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if ((s->kind == STMT_FOR && s->loop_kind == LOOP_VECTOR) || has_vector(&s->body) ||
            has_vector(&s->orelse))
            return true;
    }
    return false;
}

static bool has_loops(const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR || has_loops(&s->body) || has_loops(&s->orelse))
            return true;
    }
    return false;
}

/* Whether s is a reduction that can be a vector loop. */
static bool fits_lanes(struct scheduling *c, const struct stmt *s)
{
    return s->kind == STMT_FOR && !has_loops(&s->body) && !s->independent &&
           !block_stores(c->nest, &s->body) && lane_score(c, s, 0) >= 0;
}

/* Whether a reduction inside can. */
static bool reduces_in_lanes(struct scheduling *c, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (fits_lanes(c, s) || reduces_in_lanes(c, &s->body) || reduces_in_lanes(c, &s->orelse))
            return true;
    }
    return false;
}

/* Finds the independent loop with the best score; one whose accesses do not suit vectors only if no
 * reduction inside can be a vector loop. */
static void best_independent(struct scheduling *c, const struct block *block,
                             const struct stmt **best, int *best_score)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind != STMT_FOR)
            continue;
        bool candidate = s->independent && s->loop_kind == LOOP_SERIAL;
        int score = candidate ? lane_score(c, s, 0) : INT_MIN;
        if (candidate && score >= *best_score && (score >= 0 || !reduces_in_lanes(c, &s->body))) {
            *best = s;
            *best_score = score;
        }
        best_independent(c, &s->body, best, best_score);
    }
}

static void reduce_in_lanes(struct scheduling *c, uint32_t loop, int64_t lanes)
{
    take_step(c, STEP_VECTOR, part_lanes(c, loop, lanes), VAR_NONE, lanes, NULL);
}

/* Vectorises the innermost loops of reductions outside of vector loops, if their loads suit
 * that. */
static void vectorise_reductions(struct scheduling *c, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && s->loop_kind == LOOP_VECTOR)
            continue;
        if (fits_lanes(c, s))
            reduce_in_lanes(c, s->var, lanes_for(c, s, 4));
        vectorise_reductions(c, &s->body);
        vectorise_reductions(c, &s->orelse);
    }
}

/* Moves a loop with contiguous accesses inside of loops with larger strides. */
static void move_inside(struct scheduling *c, uint32_t loop)
{
    struct loop_site site;
    const struct stmt *inner;
    while (site_of(c->nest, loop, &site) && (inner = only_loop(&site.loop->body)) != NULL &&
           inner->independent && lane_score(c, inner, 0) < lane_score(c, site.loop, 0))
        if (!take_step(c, STEP_SWAP, loop, inner->var, 0, NULL))
            return;
}

void vectorise_rest(struct scheduling *c, int64_t lanes)
{
    for (uint32_t i = 0; i < c->nest->body.stmts.count; i++) {
        struct stmt *top = c->nest->body.stmts.items[i];
        struct block one = {0};
        const struct stmt *best = NULL;
        int score = INT_MIN;
        if (has_vector(&top->body) || (top->kind == STMT_FOR && top->loop_kind == LOOP_VECTOR))
            continue;
        block_add(c->nest, &one, top);
        best_independent(c, &one, &best, &score);
        if (!best)
            continue;
        uint32_t loop = best->var;
        int64_t wide = lanes ? lanes : lanes_for(c, best, 1);
        move_inside(c, loop);
        take_step(c, STEP_VECTOR, loop, VAR_NONE, wide, NULL);
    }
    vectorise_reductions(c, &c->nest->body);
}

/* Fuses the outer loops, as far as is legal, and makes the result parallel. */
void parallelise(struct scheduling *c)
{
    struct stmt *top =
        c->nest->body.stmts.count ? c->nest->body.stmts.items[c->nest->body.stmts.count - 1] : NULL;
    struct stmt *inner;
    if (!top || top->kind != STMT_FOR || !top->independent || top->loop_kind != LOOP_SERIAL)
        return;
    while ((inner = only_loop(&top->body)) != NULL && inner->independent &&
           inner->loop_kind == LOOP_SERIAL)
        if (!try_step(c, STEP_FUSE, top->var, inner->var, 0, NULL)) /* as far as legal */
            break;
    take_step(c, STEP_PARALLEL, top->var, VAR_NONE, 0, NULL);
}
