/* Partial sums.
 *
 *   local acc = 0                      local acc = 0
 *   for k: acc += x[k]          ->     for ko
 *                                        apart ki: acc += x[ko·32 + ki]
 *
 * A loop `apart` has partial sums of its own, which start at 0 and are added to the sums around it
 * when it ends. With blocks of blocks, an element passes through about 32 additions per level of
 * blocks, so the rounding error of n terms grows with the logarithm of n and not with n. The cost
 * is one addition more per block. A vector loop has partial sums of its own anyway, one per lane,
 * which it merges at its end, so it only needs the split.
 *
 * How a sum is divided depends on sizes and lanes only. */
#include "base/error.h"
#include "compiler/sched/sched_priv.h"

/* About how many additions go to one partial sum; a sum of up to twice as many is not divided.
 * Blocks of products are longer, because their sums fill the registers already. */
#define PART_STEPS 32
#define PART_STEPS_OF_PRODUCT 512

/* Whether expressions depend on any of these locals. */
struct reading {
    uint64_t locals;
    bool found;
};

static void check_reading(struct nest *nest, expr_id e, void *context)
{
    struct reading *r = context;
    r->found |= (expr_at(nest, e)->locals & r->locals) != 0;
}

static uint64_t updated_in(const struct block *block)
{
    uint64_t locals = 0;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_UPDATE)
            locals |= UINT64_C(1) << s->local % 64;
        locals |= updated_in(&s->body) | updated_in(&s->orelse);
    }
    return locals;
}

static uint64_t declared_in(const struct block *block)
{
    uint64_t locals = 0;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_LOCAL)
            locals |= UINT64_C(1) << s->local % 64;
        locals |= declared_in(&s->body) | declared_in(&s->orelse);
    }
    return locals;
}

bool apply_apart(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    if (!site_find(nest, step->loop, &site))
        return fail(err, ERR_UNSUPPORTED, "no such loop");
    if (site.loop->loop_kind != LOOP_SERIAL)
        return fail(err, ERR_UNSUPPORTED, "'%s' has its kind already", step->loop);
    if (site.loop->independent || block_stores(nest, &site.loop->body))
        return fail(err, ERR_UNSUPPORTED, "'%s' is no reduction", step->loop);
    struct reading r = {.locals = updated_in(&site.loop->body) & ~declared_in(&site.loop->body)};
    block_visit(nest, &site.loop->body, check_reading, &r);
    if (r.found)
        return fail(err, ERR_UNSUPPORTED, "'%s' reads its sums", step->loop);
    site.loop->loop_kind = LOOP_APART;
    return true;
}

/* Whether a float sum is updated inside. Other reductions do not round, or would not gain
 * accuracy. */
static bool adds_floats(const struct nest *nest, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_UPDATE && s->combine == COMBINE_SUM &&
            dtype_is_float((enum dtype)nest->locals.items[s->local].dtype))
            return true;
        if (adds_floats(nest, &s->body) || adds_floats(nest, &s->orelse))
            return true;
    }
    return false;
}

static int64_t most_times(struct nest *nest, const struct stmt *loop)
{
    int64_t lo, hi;
    index_range(nest, nest->vars.items[loop->var].extent, &lo, &hi);
    return hi;
}

uint32_t part_lanes(struct scheduling *c, uint32_t loop, int64_t lanes)
{
    struct loop_site site;
    struct made part;
    if (!site_of(c->nest, loop, &site) || !adds_floats(c->nest, &site.loop->body) ||
        most_times(c->nest, site.loop) <= 2 * PART_STEPS * lanes ||
        !take_step(c, STEP_SPLIT, loop, VAR_NONE, PART_STEPS * lanes, &part))
        return loop;
    return part.vars[1];
}

/* Divides a reduction into partial sums, the innermost loops first. Returns the number of
 * consecutive additions to one sum in a run of the loop. steps: the number to aim at. */
static int64_t part_reduction(struct scheduling *c, struct stmt *loop, int64_t steps)
{
    struct nest *nest = c->nest;
    struct stmt *inner = only_loop(&loop->body);
    int64_t row = 1, times = most_times(nest, loop);
    if (loop->loop_kind != LOOP_SERIAL)
        return 1; /* it merges its own partial sums */
    if (inner && !inner->independent) {
        row = part_reduction(c, inner, steps);
        if (row >= steps && take_step(c, STEP_APART, inner->var, VAR_NONE, 0, NULL))
            row = 1;
    }
    int64_t part = steps / row > 1 ? steps / row : 1;
    while (times > 2 * part) {
        struct made made;
        if (!take_step(c, STEP_SPLIT, loop->var, VAR_NONE, part, &made) ||
            !take_step(c, STEP_APART, made.vars[1], VAR_NONE, 0, NULL))
            return times * row;
        times = (times + part - 1) / part; /* from here on the loop is the one over blocks */
        part = steps;
        row = 1;
    }
    return times * row;
}

/* around: a reduction is around, which continues sums that wait in scratch memory. */
static void part_block(struct scheduling *c, struct block *block, int64_t steps, bool around)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i], *inner = only_loop(&s->body);
        bool reduction = s->kind == STMT_FOR && !s->independent;
        if (!reduction || (inner && inner->independent)) {
            part_block(c, &s->body, steps, around || reduction);
            part_block(c, &s->orelse, steps, around);
            continue;
        }
        if (!adds_floats(c->nest, &s->body) || block_stores(c->nest, &s->body))
            continue;
        if (part_reduction(c, s, steps) >= PART_STEPS && around)
            take_step(c, STEP_APART, s->var, VAR_NONE, 0, NULL);
    }
}

void part_sums(struct scheduling *c)
{
    bool few = c->form == FORM_LOOPS || c->form == FORM_FLAT || c->form == FORM_COLUMNS;
    part_block(c, &c->nest->body, few ? PART_STEPS : PART_STEPS_OF_PRODUCT, false);
}
