/* Heuristics: which steps for which nest.
 *
 * In order: fuse what lies together in memory; for contractions and convolutions a register tile
 * (rows jammed, columns in vectors); else the loop whose accesses are contiguous becomes vectors,
 * and reductions that are not inside one become vectors themselves; last, the outer loops become
 * one parallel loop. */
#include "compiler/sched/sched_priv.h"

#include <limits.h>
#include <stdio.h>

#include "base/error.h"
#include "compiler/target/target.h"

struct chooser {
    struct nest *nest;
    const struct target *target;
    struct schedule *out;
};

static bool take(struct chooser *c, enum step_kind kind, const char *loop, const char *other,
                 int64_t number)
{
    struct error ignored = {0};
    struct step step = {.kind = (uint8_t)kind, .number = number};
    if (strlen(loop) >= STEP_NAME_BYTES || (other && strlen(other) >= STEP_NAME_BYTES))
        return false;
    memcpy(step.loop, loop, strlen(loop) + 1);
    if (other)
        memcpy(step.other, other, strlen(other) + 1);
    if (!sched_apply(c->nest, &step, &ignored))
        return false;
    VEC_PUSH(c->nest->arena, &c->out->steps, step);
    return true;
}

/* Whether replacing (outer, inner) by one variable leaves no quotient of it anywhere. */
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

static bool fuses_cleanly(struct chooser *c, const struct loop_site *outer,
                          const struct stmt *inner)
{
    struct nest *nest = c->nest;
    expr_id extent = nest->vars.items[inner->var].extent;
    expr_id total = index_mul(nest, nest->vars.items[outer->loop->var].extent, extent);
    struct fusing f = {.outer = outer->loop->var,
                       .inner = inner->var,
                       .clean = true,
                       .fused = nest_var(nest, "trial", total)};
    f.by_div = index_div(nest, expr_var(nest, f.fused), extent);
    f.by_mod = index_mod(nest, expr_var(nest, f.fused), extent);
    block_visit(nest, &inner->body, check_fused, &f);
    nest->vars.count--; /* the trial variable is the last one */
    return f.clean;
}

static struct stmt *only_loop(const struct block *block)
{
    struct stmt *s = block->stmts.count == 1 ? block->stmts.items[0] : NULL;
    return s && s->kind == STMT_FOR ? s : NULL;
}

/* Fuses what is contiguous, in every chain of loops; forced: whatever the index arithmetic costs.
 */
static void fuse_chains(struct chooser *c, struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i], *inner;
        while (s->kind == STMT_FOR && (inner = only_loop(&s->body)) != NULL) {
            struct loop_site site = {.loop = s};
            if (s->independent != inner->independent || !fuses_cleanly(c, &site, inner) ||
                !take(c, STEP_FUSE, loop_label(c->nest, s), loop_label(c->nest, inner), 0))
                break;
        }
        fuse_chains(c, &s->body);
        fuse_chains(c, &s->orelse);
    }
}

/* How well the accesses inside fit lanes of var. */
struct scoring {
    uint32_t var;
    int64_t block;
    int score;
};

/* block: the loop will be split by it first, so that quotients by it fall out; 0: not. */
static int access_score(struct nest *nest, expr_id index, uint32_t var, int64_t block)
{
    int64_t n;
    if (block) {
        uint32_t inner = nest_var(nest, "trial", index_const(nest, block));
        uint32_t outer = nest_var(nest, "trial", nest->vars.items[var].extent);
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
    if (x.op == EXPR_LOAD)
        s->score += access_score(nest, x.operand[0], s->var, s->block);
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

static int score_of(struct chooser *c, const struct stmt *loop, int64_t block)
{
    struct scoring s = {.var = loop->var, .block = block};
    int64_t lo, hi;
    block_visit(c->nest, &loop->body, score_loads, &s);
    score_stores(c->nest, &loop->body, &s);
    index_range(c->nest, c->nest->vars.items[loop->var].extent, &lo, &hi);
    return hi < c->target->lanes / 2 ? s.score - 3 : s.score;
}

/* Lanes for a loop: no wider than it needs, up to unrolled registers side by side. */
static int64_t lanes_for(struct chooser *c, const struct stmt *loop, int64_t registers)
{
    int64_t lo, hi, lanes = c->target->lanes;
    index_range(c->nest, c->nest->vars.items[loop->var].extent, &lo, &hi);
    while (lanes > 2 && lanes / 2 >= hi)
        lanes /= 2;
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

/* Whether a reduction inside could run in lanes itself. */
static bool reduces_in_lanes(struct chooser *c, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool innermost = s->kind == STMT_FOR && !only_loop(&s->body);
        if (innermost && !s->independent && !block_stores(c->nest, &s->body) &&
            score_of(c, s, 0) >= 0)
            return true;
        if (reduces_in_lanes(c, &s->body) || reduces_in_lanes(c, &s->orelse))
            return true;
    }
    return false;
}

/* The loop with the best score; where accesses do not fit lanes, only if no reduction inside would.
 */
static void best_independent(struct chooser *c, const struct block *block, const struct stmt **best,
                             int *best_score)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind != STMT_FOR)
            continue;
        bool candidate = s->independent && s->loop_kind == LOOP_SERIAL;
        int score = candidate ? score_of(c, s, 0) : INT_MIN;
        if (candidate && score >= *best_score && (score >= 0 || !reduces_in_lanes(c, &s->body))) {
            *best = s;
            *best_score = score;
        }
        best_independent(c, &s->body, best, best_score);
    }
}

/* Reductions outside vector loops: the innermost loop in lanes, when its loads are contiguous. */
static void vectorise_reductions(struct chooser *c, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && s->loop_kind == LOOP_VECTOR)
            continue;
        bool innermost = s->kind == STMT_FOR && !only_loop(&s->body);
        if (innermost && !s->independent && !block_stores(c->nest, &s->body) &&
            score_of(c, s, 0) >= 0)
            take(c, STEP_VECTOR, loop_label(c->nest, s), NULL, lanes_for(c, s, 4));
        vectorise_reductions(c, &s->body);
        vectorise_reductions(c, &s->orelse);
    }
}

static void vectorise(struct chooser *c)
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
        if (best)
            take(c, STEP_VECTOR, loop_label(c->nest, best), NULL, lanes_for(c, best, 1));
    }
    vectorise_reductions(c, &c->nest->body);
}

/* Outer loops become one, down to the first that is special; a lone vector loop is cut into blocks
 * first. */
static void parallelise(struct chooser *c)
{
    struct stmt *top =
        c->nest->body.stmts.count ? c->nest->body.stmts.items[c->nest->body.stmts.count - 1] : NULL;
    struct stmt *inner;
    if (!top || top->kind != STMT_FOR || !top->independent || top->loop_kind != LOOP_SERIAL)
        return;
    while ((inner = only_loop(&top->body)) != NULL && inner->independent &&
           inner->loop_kind == LOOP_SERIAL)
        if (!take(c, STEP_FUSE, loop_label(c->nest, top), loop_label(c->nest, inner), 0))
            break;
    take(c, STEP_PARALLEL, loop_label(c->nest, top), NULL, 0);
}

#define BLOCK_ELEMENTS \
    4096 /* of an elementwise loop: enough work to hand to a thread, small enough for L1 */

/* A nest that is one loop over all elements: blocks outside, vectors inside. */
static void block_flat_loop(struct chooser *c)
{
    struct stmt *top = only_loop(&c->nest->body);
    int64_t lo, hi;
    if (!top || !top->independent || only_loop(&top->body) || score_of(c, top, 0) < 0)
        return;
    index_range(c->nest, c->nest->vars.items[top->var].extent, &lo, &hi);
    if (hi > BLOCK_ELEMENTS)
        take(c, STEP_SPLIT, loop_label(c->nest, top), NULL, BLOCK_ELEMENTS);
}

/* Rows of a register tile: as many as accumulators allow, fewer when that wastes less of m. */
static int64_t rows_for(int64_t m_lo, int64_t m_hi, int64_t most)
{
    if (m_hi <= most)
        return m_lo == m_hi ? m_lo : 1;
    if (m_lo != m_hi)
        return most;
    int64_t best = most, best_cost = INT64_MAX;
    for (int64_t rows = most; rows >= most / 2 && rows >= 1; rows--) {
        int64_t tiles = (m_hi + rows - 1) / rows, cost = tiles * (rows + 2); /* 2: the tile's own
                                                                                loads */
        if (cost < best_cost) {
            best = rows;
            best_cost = cost;
        }
    }
    return best;
}

static bool exists(struct chooser *c, const char *name, struct loop_site *site)
{
    return site_find(c->nest, name, site);
}

#define SPILL_COST \
    32 /* operations on a result from which writing them once beats keeping it in a register */

/* Operations of the one store under a loop, a reduction not counted. */
static uint32_t store_cost(const struct nest *nest, const struct block *block)
{
    uint32_t cost = 0;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_STORE)
            cost += expr_operations(nest, s->value);
        else
            cost += store_cost(nest, &s->body);
    }
    return cost;
}

static void jam(struct chooser *c, const char *row)
{
    struct loop_site site;
    if (take(c, STEP_JAM, row, NULL, 0) && exists(c, row, &site) &&
        store_cost(c->nest, &site.loop->body) > SPILL_COST)
        take(c, STEP_SPILL, row, NULL, 0);
}

/* rows × columns in registers: the column loop in vectors of `columns`, `rows` of the row loop
 * jammed around it. */
static void register_tile(struct chooser *c, const char *row, const char *column, int64_t columns,
                          int64_t most_rows)
{
    struct loop_site r, n;
    int64_t lo, hi;
    char outer[STEP_NAME_BYTES + 8], inner[STEP_NAME_BYTES + 8];
    if (!exists(c, column, &n))
        return;
    index_range(c->nest, c->nest->vars.items[n.loop->var].extent, &lo, &hi);
    while (columns > c->target->lanes && columns / 2 >= hi) {
        columns /= 2;
        most_rows = most_rows * 2 <= NEST_MAX_JAM / 2 ? most_rows * 2 : most_rows;
    }
    snprintf(outer, sizeof outer, "%so", column);
    snprintf(inner, sizeof inner, "%si", column);
    if (hi > columns) {
        if (!take(c, STEP_SPLIT, column, NULL, columns))
            return;
        take(c, STEP_VECTOR, inner, NULL, columns);
        if (row)
            take(c, STEP_SWAP, row, outer, 0);
    } else
        take(c, STEP_VECTOR, column, NULL, columns);
    if (!row || !exists(c, row, &r))
        return;
    index_range(c->nest, c->nest->vars.items[r.loop->var].extent, &lo, &hi);
    int64_t rows = rows_for(lo, hi, most_rows);
    if (rows <= 1)
        return;
    if (lo == hi && hi == rows) {
        jam(c, row);
        return;
    }
    snprintf(inner, sizeof inner, "%si", row);
    if (take(c, STEP_TILE, row, NULL, rows))
        jam(c, inner);
}

/* The last loop among i<first> … i<first+count-1> that still exists: fused loops keep the name of
 * the first. */
static const char *last_loop(struct chooser *c, uint32_t first, uint32_t count, char *name,
                             size_t size)
{
    struct loop_site site;
    for (uint32_t i = count; i-- > 0;) {
        snprintf(name, size, "i%u", first + i);
        if (exists(c, name, &site))
            return name;
    }
    return NULL;
}

static void schedule_contract(struct chooser *c, const struct sched_hint *hint)
{
    char row[8], column[8];
    const struct target *t = c->target;
    struct loop_site site;
    int64_t columns = 2 * (int64_t)t->lanes;
    const char *m = last_loop(c, hint->batch_dims, hint->m_dims, row, sizeof row);
    const char *n = last_loop(c, (uint32_t)hint->batch_dims + hint->m_dims, hint->n_dims, column,
                              sizeof column);
    if (!n || !exists(c, n, &site) || score_of(c, site.loop, columns) < 0)
        return; /* columns are not contiguous: the reduction itself may be */
    int64_t rows = t->registers == 32 ? 12 : t->fma ? 6 : 4;
    register_tile(c, m, n, columns, rows);
}

/* Whether a load under a reduction walks var with step one. */
struct contiguous_load {
    uint32_t var;
    int64_t block;
    bool found;
};

static void check_load(struct nest *nest, expr_id e, void *context)
{
    struct contiguous_load *f = context;
    struct expr x = *expr_at(nest, e);
    f->found |= x.op == EXPR_LOAD && access_score(nest, x.operand[0], f->var, f->block) == 2;
}

static void find_contiguous(struct nest *nest, expr_id e, void *context)
{
    expr_walk(nest, e, check_load, context);
}

static void find_in_reductions(struct nest *nest, const struct block *block,
                               struct contiguous_load *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && !s->independent)
            block_visit(nest, &s->body, find_contiguous, out);
        else
            find_in_reductions(nest, &s->body, out);
    }
}

/* The channel loop goes innermost; its blocks, once split, go back out: a panel of weights stays in
 * the cache. */
static void tile_channels(struct chooser *c, const char *pixel, int64_t columns, int64_t rows)
{
    struct loop_site channels;
    const struct stmt *inner;
    while (exists(c, "i1", &channels) && (inner = only_loop(&channels.loop->body)) != NULL &&
           inner->independent)
        if (!take(c, STEP_SWAP, "i1", loop_label(c->nest, inner), 0))
            return;
    register_tile(c, pixel, "i1", columns, rows);
    if (exists(c, "i1o", &channels) && channels.around)
        take(c, STEP_SWAP, loop_label(c->nest, channels.around), "i1o", 0);
}

/* Channels in vectors when the weights are packed for it (the image is then read pixel by pixel,
 * and the results, which lie apart, are scattered once per tile); else the last spatial dim in
 * vectors and channels as rows. */
static void schedule_conv(struct chooser *c)
{
    struct loop_site site, channels;
    const struct target *t = c->target;
    const char *last = exists(c, "i4", &site) ? "i4" : exists(c, "i3", &site) ? "i3" : "i2";
    bool pixels = exists(c, last, &site);
    if (exists(c, "i1", &channels)) {
        struct contiguous_load f = {.var = channels.loop->var, .block = 2 * (int64_t)t->lanes};
        find_in_reductions(c->nest, &channels.loop->body, &f);
        if (f.found && pixels) {
            tile_channels(c, last, f.block, t->registers == 32 ? 14 : t->fma ? 6 : 4);
            return;
        }
    }
    if (pixels && score_of(c, site.loop, 0) >= 0)
        register_tile(c, exists(c, "i1", &site) ? "i1" : NULL, last, t->lanes,
                      t->registers == 32 ? 8 : 4);
}

void sched_heuristic(struct nest *nest, const struct sched_hint *hint, const struct target *target,
                     struct schedule *out)
{
    struct chooser c = {.nest = nest, .target = target, .out = out};
    *out = (struct schedule){0};
    fuse_chains(&c, &nest->body);
    if (hint->anchor == ANCHOR_CONTRACT)
        schedule_contract(&c, hint);
    else if (hint->anchor == ANCHOR_CONV)
        schedule_conv(&c);
    else
        block_flat_loop(&c);
    vectorise(&c);
    parallelise(&c);
}
