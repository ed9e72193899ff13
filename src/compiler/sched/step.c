/* The steps. Each checks that it is legal, then transforms the tree. */
#include "compiler/sched/sched_priv.h"

#include <stdio.h>

#include "base/error.h"

static bool find_in(struct block *block, struct stmt *around, uint32_t var, struct loop_site *out)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && s->var == var) {
            *out = (struct loop_site){.parent = block,
                                      .at = i,
                                      .loop = s,
                                      .around = block->stmts.count == 1 ? around : NULL};
            return true;
        }
        if (find_in(&s->body, s->kind == STMT_FOR ? s : NULL, var, out) ||
            find_in(&s->orelse, NULL, var, out))
            return true;
    }
    return false;
}

bool site_of(struct nest *nest, uint32_t var, struct loop_site *out)
{
    return find_in(&nest->body, NULL, var, out);
}

/* Names of loops are unique, and no loop has an empty one. */
bool site_find(struct nest *nest, const char *name, struct loop_site *out)
{
    for (uint32_t var = 0; var < nest->vars.count && name[0]; var++)
        if (strcmp(nest->vars.items[var].name, name) == 0)
            return site_of(nest, var, out);
    return false;
}

bool block_stores(const struct nest *nest, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool result = s->kind == STMT_STORE && nest->buffers.items[s->buffer].role == ROLE_OUT;
        if (result || block_stores(nest, &s->body) || block_stores(nest, &s->orelse))
            return true;
    }
    return false;
}

/* Whether all iterations of a loop over var store into the same scratch memory: then they may only
 * run one by one. */
static bool shares_scratch(const struct nest *nest, const struct block *block, uint32_t var)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool scratch = s->kind == STMT_STORE && nest->buffers.items[s->buffer].role == ROLE_SCRATCH;
        if (scratch && !(expr_at(nest, s->index)->vars >> var & 1))
            return true;
        if (shares_scratch(nest, &s->body, var) || shares_scratch(nest, &s->orelse, var))
            return true;
    }
    return false;
}

void block_visit(struct nest *nest, const struct block *block, expr_visitor *visit, void *context)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        expr_id all[5] = {s->kind == STMT_FOR ? nest->vars.items[s->var].extent : EXPR_NONE,
                          s->cond, s->value, s->index, s->guard};
        for (int e = 0; e < 5; e++)
            if (all[e] != EXPR_NONE)
                visit(nest, all[e], context);
        block_visit(nest, &s->body, visit, context);
        block_visit(nest, &s->orelse, visit, context);
    }
}

static void exchange_in(struct nest *nest, struct block *block, const struct expr_exchange *x)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR) {
            expr_id *extent = &nest->vars.items[s->var].extent;
            *extent = expr_exchange_next(nest, x, *extent);
        }
        s->cond = expr_exchange_next(nest, x, s->cond);
        s->value = expr_exchange_next(nest, x, s->value);
        s->index = expr_exchange_next(nest, x, s->index);
        s->guard = expr_exchange_next(nest, x, s->guard);
        exchange_in(nest, &s->body, x);
        exchange_in(nest, &s->orelse, x);
    }
}

void block_exchange(struct nest *nest, struct block *block, expr_id what, expr_id value)
{
    struct expr_exchange exchange;
    expr_exchange_begin(nest, what, value, &exchange);
    exchange_in(nest, block, &exchange);
}

void block_replace(struct nest *nest, struct block *block, uint32_t var, expr_id value)
{
    block_exchange(nest, block, expr_var(nest, var), value);
}

uint32_t scratch_buffer(struct nest *nest, const char *stem, enum dtype dtype, expr_id elements)
{
    char name[24];
    snprintf(name, sizeof name, "%s%u", stem, nest->buffers.count);
    return nest_buffer(nest, &(struct nest_buffer){.name = arena_strdup(nest->arena, name),
                                                   .dtype = (uint8_t)dtype,
                                                   .role = ROLE_SCRATCH,
                                                   .elements = elements});
}

/* Before statement `at`, or behind the last one. */
void insert_stmt(struct nest *nest, struct block *block, uint32_t at, struct stmt *stmt)
{
    block_add(nest, block, stmt);
    for (uint32_t i = block->stmts.count - 1; i > at; i--)
        block->stmts.items[i] = block->stmts.items[i - 1];
    block->stmts.items[at] = stmt;
}

void made_add(struct made *out, uint32_t var)
{
    if (out->count < STEP_MADE_MOST)
        out->vars[out->count++] = var;
}

static bool plain(const struct stmt *loop)
{
    return loop->loop_kind == LOOP_SERIAL;
}

/* Finds the two loops of a step, the inner one directly inside the outer one. */
static bool find_pair(struct nest *nest, const struct step *step, struct loop_site *outer,
                      struct loop_site *inner, struct error *err)
{
    if (!site_find(nest, step->loop, outer) || !site_find(nest, step->other, inner))
        return fail(err, ERR_UNSUPPORTED, "no such loop");
    if (inner->around != outer->loop)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not all that '%s' contains", step->other,
                    step->loop);
    if (!plain(outer->loop) || !plain(inner->loop) ||
        outer->loop->independent != inner->loop->independent)
        return fail(err, ERR_UNSUPPORTED, "loops of different kinds");
    if (!outer->loop->independent && block_stores(nest, &inner->loop->body))
        return fail(err, ERR_UNSUPPORTED, "the order of these iterations matters");
    if (expr_at(nest, nest->vars.items[inner->loop->var].extent)->vars >> outer->loop->var & 1)
        return fail(err, ERR_UNSUPPORTED, "the extent of '%s' depends on '%s'", step->other,
                    step->loop);
    return true;
}

static bool apply_fuse(struct nest *nest, const struct step *step, struct made *out,
                       struct error *err)
{
    struct loop_site outer, inner;
    if (!find_pair(nest, step, &outer, &inner, err))
        return false;
    expr_id inner_extent = nest->vars.items[inner.loop->var].extent;
    expr_id total = index_mul(nest, nest->vars.items[outer.loop->var].extent, inner_extent);
    const struct nest_var *old = &nest->vars.items[outer.loop->var];
    uint32_t var = nest_var(nest, "fused", (enum loop_role)old->role, total);
    expr_id f = expr_var(nest, var);
    block_replace(nest, &inner.loop->body, outer.loop->var, index_div(nest, f, inner_extent));
    block_replace(nest, &inner.loop->body, inner.loop->var, index_mod(nest, f, inner_extent));
    nest->vars.items[var].name = nest->vars.items[outer.loop->var].name;
    nest->vars.items[outer.loop->var].name = "";
    outer.loop->var = var;
    outer.loop->body = inner.loop->body;
    made_add(out, var);
    return true;
}

static bool apply_swap(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site outer, inner;
    if (!find_pair(nest, step, &outer, &inner, err))
        return false;
    if (!outer.loop->independent)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not independent", step->loop);
    uint32_t var = outer.loop->var;
    outer.loop->var = inner.loop->var;
    inner.loop->var = var;
    return true;
}

uint32_t derived_var(struct nest *nest, uint32_t from, char suffix, expr_id extent)
{
    const struct nest_var *old = &nest->vars.items[from];
    char text[64];
    snprintf(text, sizeof text, "%s%c", old->name, suffix);
    return nest_var(nest, text, (enum loop_role)old->role, extent);
}

static bool find_plain(struct nest *nest, const struct step *step, struct loop_site *site,
                       struct error *err)
{
    if (!site_find(nest, step->loop, site))
        return fail(err, ERR_UNSUPPORTED, "no such loop");
    if (!plain(site->loop))
        return fail(err, ERR_UNSUPPORTED, "'%s' has its kind already", step->loop);
    return true;
}

static expr_id blocks_of(struct nest *nest, expr_id extent, int64_t factor)
{
    expr_id up = index_add(nest, extent, index_const(nest, factor - 1));
    return index_div(nest, up, index_const(nest, factor));
}

static bool divides(struct nest *nest, expr_id extent, int64_t factor)
{
    int64_t zero;
    return index_is_const(nest, index_mod(nest, extent, index_const(nest, factor)), &zero) &&
           zero == 0;
}

static bool apply_split(struct nest *nest, const struct step *step, struct made *out,
                        struct error *err)
{
    struct loop_site site;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (step->number < 1)
        return fail(err, ERR_UNSUPPORTED, "a factor of %lld", (long long)step->number);
    if (!site.loop->independent && block_stores(nest, &site.loop->body))
        return fail(err, ERR_UNSUPPORTED, "the order of these iterations matters");
    expr_id extent = nest->vars.items[site.loop->var].extent,
            factor = index_const(nest, step->number);
    note_edge(nest, extent, step->number);
    /* `full` is for independent loops only: in the additional iterations, a reduction might read
     * memory that was not written. */
    expr_id full = site.loop->independent ? nest->vars.items[site.loop->var].full : EXPR_NONE;
    uint32_t outer = derived_var(nest, site.loop->var, 'o', blocks_of(nest, extent, step->number));
    expr_id start = index_mul(nest, expr_var(nest, outer), factor), left = factor;
    if (full != EXPR_NONE)
        nest->vars.items[outer].full = blocks_of(nest, full, step->number);
    else
        full = extent;
    if (!divides(nest, full, step->number))
        left = index_min(nest, factor, index_sub(nest, full, start));
    uint32_t inner = derived_var(nest, site.loop->var, 'i', left);
    struct stmt *inner_loop = stmt_for(nest, inner, site.loop->independent);
    block_replace(nest, &site.loop->body, site.loop->var,
                  index_add(nest, start, expr_var(nest, inner)));
    inner_loop->body = site.loop->body;
    site.loop->body = (struct block){0};
    site.loop->var = outer;
    block_add(nest, &site.loop->body, inner_loop);
    made_add(out, outer);
    made_add(out, inner);
    return true;
}

/* Tile: all blocks are whole; the last one starts earlier, so that it ends where the loop ends.
 * Elements that it computes again have the same inputs and order of operations, so they are stored
 * with the same values. */
static bool apply_tile(struct nest *nest, const struct step *step, struct made *out,
                       struct error *err)
{
    struct loop_site site;
    int64_t lo, hi;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (step->number < 1 || !site.loop->independent)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not independent", step->loop);
    if (goes_on(nest, &site.loop->body))
        return fail(err, ERR_UNSUPPORTED, "iterations of '%s' may not run twice", step->loop);
    expr_id extent = nest->vars.items[site.loop->var].extent,
            factor = index_const(nest, step->number);
    if (divides(nest, extent, step->number))
        return apply_split(nest, step, out, err);
    index_range(nest, extent, &lo, &hi);
    if (hi < step->number)
        return fail(err, ERR_UNSUPPORTED, "'%s' is shorter than a block", step->loop);
    note_edge(nest, extent, step->number);
    uint32_t outer = derived_var(nest, site.loop->var, 'o', blocks_of(nest, extent, step->number));
    expr_id first = index_mul(nest, expr_var(nest, outer), factor);
    struct stmt *rest = NULL;
    if (lo < step->number) {
        uint32_t slow = derived_var(nest, site.loop->var, 't',
                                    index_min(nest, factor, index_sub(nest, extent, first)));
        rest = stmt_for(nest, slow, true);
        block_copy(nest, &site.loop->body, &rest->body, site.loop->var,
                   index_add(nest, first, expr_var(nest, slow)));
    }
    uint32_t inner = derived_var(nest, site.loop->var, 'i', factor);
    struct stmt *inner_loop = stmt_for(nest, inner, true), *choice = NULL;
    expr_id start = index_min(nest, first, index_sub(nest, extent, factor));
    block_replace(nest, &site.loop->body, site.loop->var,
                  index_add(nest, start, expr_var(nest, inner)));
    inner_loop->body = site.loop->body;
    site.loop->body = (struct block){0};
    site.loop->var = outer;
    if (rest) {
        choice = stmt_if(nest, expr_binary(nest, EXPR_LE, factor, extent));
        block_add(nest, &choice->body, inner_loop);
        block_add(nest, &choice->orelse, rest);
    }
    block_add(nest, &site.loop->body, choice ? choice : inner_loop);
    made_add(out, outer);
    made_add(out, inner);
    if (rest)
        made_add(out, rest->var);
    return true;
}

/* Clamp: all blocks are whole; the last one repeats the loop's last element. */
static bool apply_clamp(struct nest *nest, const struct step *step, struct made *out,
                        struct error *err)
{
    struct loop_site site;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (step->number < 1 || !site.loop->independent)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not independent", step->loop);
    if (goes_on(nest, &site.loop->body))
        return fail(err, ERR_UNSUPPORTED, "iterations of '%s' may not run twice", step->loop);
    expr_id extent = nest->vars.items[site.loop->var].extent,
            factor = index_const(nest, step->number);
    uint32_t outer = derived_var(nest, site.loop->var, 'o', blocks_of(nest, extent, step->number));
    note_edge(nest, extent, step->number);
    uint32_t inner = derived_var(nest, site.loop->var, 'i', factor);
    struct stmt *inner_loop = stmt_for(nest, inner, true);
    expr_id at =
        index_add(nest, index_mul(nest, expr_var(nest, outer), factor), expr_var(nest, inner));
    at = index_min(nest, at, index_sub(nest, extent, index_const(nest, 1)));
    block_replace(nest, &site.loop->body, site.loop->var, at);
    inner_loop->body = site.loop->body;
    site.loop->body = (struct block){0};
    site.loop->var = outer;
    block_add(nest, &site.loop->body, inner_loop);
    made_add(out, outer);
    made_add(out, inner);
    return true;
}

static bool inner_extents_use(const struct nest *nest, const struct block *block, uint32_t var)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && expr_at(nest, nest->vars.items[s->var].extent)->vars >> var & 1)
            return true;
        if (s->kind == STMT_IF && expr_at(nest, s->cond)->vars >> var & 1)
            return true;
        if (inner_extents_use(nest, &s->body, var) || inner_extents_use(nest, &s->orelse, var))
            return true;
    }
    return false;
}

static bool contains_kind(const struct block *block, enum loop_kind kind)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if ((s->kind == STMT_FOR && s->loop_kind == kind) || contains_kind(&s->body, kind) ||
            contains_kind(&s->orelse, kind))
            return true;
    }
    return false;
}

static bool inside_together(const struct block *block, const struct stmt *loop, bool inside)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool here = inside || s->loop_kind == LOOP_VECTOR || s->loop_kind == LOOP_JAM;
        if (s == loop)
            return inside;
        if (inside_together(&s->body, loop, here) || inside_together(&s->orelse, loop, here))
            return true;
    }
    return false;
}

bool runs_together(const struct nest *nest, const struct stmt *loop)
{
    return inside_together(&nest->body, loop, false);
}

static bool inside_vector(const struct block *block, const struct stmt *loop, bool in_vector)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool here = in_vector || (s->kind == STMT_FOR && s->loop_kind == LOOP_VECTOR);
        if (s == loop)
            return in_vector;
        if (inside_vector(&s->body, loop, here) || inside_vector(&s->orelse, loop, here))
            return true;
    }
    return false;
}

static bool apply_vector(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (step->number < 2 || step->number > 512 || (step->number & (step->number - 1)))
        return fail(err, ERR_UNSUPPORTED, "%lld lanes", (long long)step->number);
    if (!site.loop->independent && block_stores(nest, &site.loop->body))
        return fail(err, ERR_UNSUPPORTED, "the order of these iterations matters");
    if (!site.loop->independent && (contains_kind(&site.loop->body, LOOP_SERIAL) ||
                                    contains_kind(&site.loop->body, LOOP_APART)))
        return fail(err, ERR_UNSUPPORTED, "a reduction with loops inside");
    if (contains_kind(&site.loop->body, LOOP_VECTOR) ||
        inside_vector(&nest->body, site.loop, false))
        return fail(err, ERR_UNSUPPORTED, "a vector loop inside another");
    if (inner_extents_use(nest, &site.loop->body, site.loop->var))
        return fail(err, ERR_UNSUPPORTED, "a loop inside differs from lane to lane");
    if (shares_scratch(nest, &site.loop->body, site.loop->var))
        return fail(err, ERR_UNSUPPORTED, "iterations of '%s' share scratch memory", step->loop);
    note_edge(nest, nest->vars.items[site.loop->var].extent, step->number);
    site.loop->loop_kind = LOOP_VECTOR;
    site.loop->lanes = (uint32_t)step->number;
    return true;
}

/* The greatest number of copies that jammed loops make of one statement; 0: they are nested too
 * deep. */
static int64_t jam_copies(const struct nest *nest, const struct block *block, uint32_t depth)
{
    int64_t most = 1;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool jam = s->kind == STMT_FOR && s->loop_kind == LOOP_JAM;
        int64_t body = jam_copies(nest, &s->body, depth + jam),
                orelse = jam_copies(nest, &s->orelse, depth), extent = 1;
        if (jam)
            index_is_const(nest, nest->vars.items[s->var].extent, &extent);
        if (body == 0 || orelse == 0 || depth + jam > NEST_MAX_JAM_DEPTH)
            return 0;
        most = body * extent > most ? body * extent : most;
        most = orelse > most ? orelse : most;
    }
    return most;
}

static bool apply_jam(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    int64_t extent;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (!site.loop->independent ||
        !index_is_const(nest, nest->vars.items[site.loop->var].extent, &extent) || extent < 1 ||
        extent > NEST_MAX_JAM)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not independent or not of small constant extent",
                    step->loop);
    if (inner_extents_use(nest, &site.loop->body, site.loop->var))
        return fail(err, ERR_UNSUPPORTED, "a loop inside depends on '%s'", step->loop);
    if (shares_scratch(nest, &site.loop->body, site.loop->var))
        return fail(err, ERR_UNSUPPORTED, "iterations of '%s' share scratch memory", step->loop);
    site.loop->loop_kind = LOOP_JAM;
    int64_t copies = jam_copies(nest, &nest->body, 0);
    if (copies >= 1 && copies <= NEST_MAX_JAM)
        return true;
    site.loop->loop_kind = LOOP_SERIAL;
    return fail(err, ERR_UNSUPPORTED, "more than %d copies of a statement", NEST_MAX_JAM);
}

#define MAX_UNROLL 16

static void count_inside(const struct block *block, uint32_t *loops, uint32_t *locals)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        *loops += s->kind == STMT_FOR;
        *locals += s->kind == STMT_LOCAL;
        count_inside(&s->body, loops, locals);
        count_inside(&s->orelse, loops, locals);
    }
}

static bool apply_unroll(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    int64_t extent;
    uint32_t loops = 0, locals = 0;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (!index_is_const(nest, nest->vars.items[site.loop->var].extent, &extent) || extent < 1 ||
        extent > MAX_UNROLL)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not of small constant extent", step->loop);
    count_inside(&site.loop->body, &loops, &locals);
    if (!room_for(nest, loops * (uint32_t)extent) ||
        nest->locals.count + locals * extent > NEST_MAX_LOCALS)
        return fail(err, ERR_UNSUPPORTED, "too many loops or locals");
    struct block body = {0};
    for (int64_t i = 0; i < extent; i++)
        block_copy(nest, &site.loop->body, &body, site.loop->var, index_const(nest, i));
    for (uint32_t i = 0; i < body.stmts.count; i++) {
        if (i == 0)
            site.parent->stmts.items[site.at] = body.stmts.items[0];
        else
            insert_stmt(nest, site.parent, site.at + i, body.stmts.items[i]);
    }
    return true;
}

static bool apply_parallel(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    if (!find_plain(nest, step, &site, err))
        return false;
    if (site.parent != &nest->body || !site.loop->independent)
        return fail(err, ERR_UNSUPPORTED, "'%s' is not outermost or not independent", step->loop);
    for (uint32_t i = 0; i < nest->body.stmts.count; i++) {
        const struct stmt *s = nest->body.stmts.items[i];
        if (s != site.loop && (s->kind == STMT_STORE || block_stores(nest, &s->body)))
            return fail(err, ERR_UNSUPPORTED, "statements beside '%s' store", step->loop);
    }
    site.loop->loop_kind = LOOP_PARALLEL;
    return true;
}

bool room_for(const struct nest *nest, uint32_t loops)
{
    return nest->vars.count + loops + TRIAL_VARS <= NEST_MAX_VARS;
}

/* Room for the loops that a step makes, and for those in the copy that a tile makes. */
static bool has_room(const struct nest *nest, const struct step *step)
{
    uint32_t loops = step->kind == STEP_FUSE ? 1 : 2, locals = 0;
    if (step->kind == STEP_TILE) {
        loops = 3;
        count_inside(&nest->body, &loops, &locals);
    }
    return room_for(nest, loops) && nest->locals.count + locals <= NEST_MAX_LOCALS;
}

bool sched_apply(struct nest *nest, const struct step *step, struct made *out, struct error *err)
{
    static const struct {
        bool (*changes)(struct nest *, const struct step *, struct error *);
        bool (*makes)(struct nest *, const struct step *, struct made *, struct error *);
    } steps[STEP_COUNT] = {
        [STEP_FUSE] = {.makes = apply_fuse},
        [STEP_SWAP] = {apply_swap},
        [STEP_SPLIT] = {.makes = apply_split},
        [STEP_TILE] = {.makes = apply_tile},
        [STEP_CLAMP] = {.makes = apply_clamp},
        [STEP_VECTOR] = {apply_vector},
        [STEP_JAM] = {apply_jam},
        [STEP_PARALLEL] = {apply_parallel},
        [STEP_SPILL] = {apply_spill},
        [STEP_PACK] = {apply_pack},
        [STEP_PART] = {.makes = apply_part},
        [STEP_PREFETCH] = {apply_prefetch},
        [STEP_UNROLL] = {apply_unroll},
        [STEP_SUMS] = {apply_sums},
        [STEP_STREAM] = {apply_stream},
        [STEP_APART] = {apply_apart},
    };
    struct made made = {0};
    assert(step->kind > STEP_NONE && step->kind < STEP_COUNT);
    bool ok;
    if (steps[step->kind].changes)
        ok = steps[step->kind].changes(nest, step, err);
    else
        ok = (has_room(nest, step) || fail(err, ERR_UNSUPPORTED, "too many loops or locals")) &&
             steps[step->kind].makes(nest, step, &made, err);
    if (!ok)
        return fail_at(err, "step on loop '%s'", step->loop);
    if (out)
        *out = made;
    return true;
}
