/* Finds the form of a nest, from the roles of its loops and from what is contiguous in memory, and
 * the two loops of its register tile. */
#include "compiler/sched/sched_priv.h"
#include "compiler/target/target.h"

struct roles {
    const struct nest *nest;
    enum loop_role role;
    uint32_t *vars, count;
};

static void find_over(struct roles *r, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && r->nest->vars.items[s->var].role == r->role &&
            r->count < LIMIT_RANK)
            r->vars[r->count++] = s->var;
        find_over(r, &s->body);
        find_over(r, &s->orelse);
    }
}

uint32_t loops_over(const struct nest *nest, enum loop_role role, uint32_t out[LIMIT_RANK])
{
    struct roles r = {nest, role, out, 0};
    find_over(&r, &nest->body);
    return r.count;
}

/* The innermost loop of a role; VAR_NONE: there is none. */
static uint32_t last_over(const struct nest *nest, enum loop_role role)
{
    uint32_t vars[LIMIT_RANK], count = loops_over(nest, role, vars);
    return count > 0 ? vars[count - 1] : VAR_NONE;
}

/* Whether lowering made a loop of this role, even if steps have replaced it since. */
static bool has_role(const struct nest *nest, enum loop_role role)
{
    for (uint32_t i = 0; i < nest->vars.count; i++)
        if (nest->vars.items[i].role == role)
            return true;
    return false;
}

/* Whether a load in a reduction has stride 1 in var. */
struct contiguous_load {
    uint32_t var;
    int64_t block;
    bool found;
    uint32_t buffer;
};

static void check_load(struct nest *nest, expr_id e, void *context)
{
    struct contiguous_load *f = context;
    struct expr x = *expr_at(nest, e);
    if (x.op != EXPR_LOAD || access_score(nest, x.operand[0], f->var, f->block) != 2)
        return;
    f->found = true;
    f->buffer = x.index;
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

#define SCATTER_DEPTH 16 /* sums so long that scattered stores of results cost little */

static int panel_score(struct scheduling *c, const struct stmt *columns, int64_t panel,
                       bool scatter)
{
    return scatter ? lane_score_of_sums(c, columns, panel) : lane_score(c, columns, panel);
}

/* A product. If it has loops over keys, its rows are computed in place. */
static void look_at_product(struct scheduling *c)
{
    struct loop_site site;
    c->row = last_over(c->nest, OVER_ROW);
    c->column = last_over(c->nest, OVER_COLUMN);
    if (!site_of(c->nest, c->column, &site))
        return;
    bool scatter = sum_depth(c->nest, &site.loop->body) >= SCATTER_DEPTH;
    int64_t lanes = c->target->lanes;
    int usual = panel_score(c, site.loop, 2 * lanes, scatter);
    c->panel = panel_score(c, site.loop, 4 * lanes, scatter) == usual ? 4 * lanes : 2 * lanes;
    if (usual < (scatter ? 2 : 0))
        return; /* columns are not contiguous, but the reduction itself may be */
    c->form = has_role(c->nest, OVER_KEY) ? FORM_ROWS : FORM_PRODUCT;
    struct contiguous_load f = {.var = site.loop->var};
    find_in_reductions(c->nest, &site.loop->body, &f);
    c->packed = !f.found;
    c->operand = f.buffer;
}

/* Whether a load has a constant stride above 1 in var. */
struct far_load {
    uint32_t var;
    bool found;
};

static void check_far(struct nest *nest, expr_id e, void *context)
{
    struct far_load *f = context;
    struct expr x = *expr_at(nest, e);
    int64_t n;
    if (x.op != EXPR_LOAD)
        return;
    expr_id stride = index_stride(nest, x.operand[0], f->var);
    f->found |= stride != EXPR_NONE && index_is_const(nest, stride, &n) && n > 1;
}

static void find_far(struct nest *nest, expr_id e, void *context)
{
    expr_walk(nest, e, check_far, context);
}

/* Vectors of channels if the weights are packed for it: the image is then read pixel by pixel, and
 * results that are not contiguous are reordered once per tile. Otherwise vectors of the last
 * spatial dim, with pixels of neighbouring lines, or channels, as rows of the tile. */
static void look_at_conv(struct scheduling *c)
{
    struct loop_site last, channels;
    uint32_t pixels[LIMIT_RANK], count = loops_over(c->nest, OVER_PIXEL, pixels);
    bool has_channels = site_of(c->nest, last_over(c->nest, OVER_CHANNEL), &channels);
    if (count == 0 || !site_of(c->nest, pixels[count - 1], &last))
        return;
    struct contiguous_load f = {.block = 8 * (int64_t)c->target->lanes};
    while (has_channels && !f.found && f.block > 2 * (int64_t)c->target->lanes) {
        f.var = channels.loop->var;
        f.block /= 2;
        find_in_reductions(c->nest, &channels.loop->body, &f);
    }
    bool depthwise = !has_role(c->nest, OVER_INPUT); /* each channel reads one channel */
    c->panel = f.found && !depthwise ? f.block : 0;  /* its filters are not in panels */
    if (f.found) {
        c->form = FORM_PIXELS;
        c->row = last.loop->var;
        c->column = channels.loop->var;
        return;
    }
    if (lane_score(c, last.loop, 0) < 0)
        return;
    /* Where each channel reads an image of its own, or the stride is 1, lines of pixels share
     * loads; otherwise channels do. */
    struct far_load far = {.var = last.loop->var};
    block_visit(c->nest, &last.loop->body, find_far, &far);
    bool rows = count > 1 && (depthwise || !far.found);
    c->form = FORM_CHANNELS;
    c->row = rows ? pixels[count - 2] : has_channels ? channels.loop->var : VAR_NONE;
    c->column = last.loop->var;
}

/* Reductions along an axis other than the last, in vectors of the last one. */
static void look_at_columns(struct scheduling *c)
{
    struct stmt *loop = only_loop(&c->nest->body), *inner;
    while (loop && loop->independent && (inner = only_loop(&loop->body)) != NULL)
        loop = inner;
    if (!loop || !loop->independent || lane_score(c, loop, 0) < 0 ||
        lane_score_of_sums(c, loop, 0) < 2)
        return;
    c->form = FORM_COLUMNS;
    c->column = loop->var;
}

struct scheduling *sched_begin(struct nest *nest, const struct sched_hint *hint,
                               const struct target *target)
{
    struct scheduling *c = ARENA_NEW(nest->arena, struct scheduling);
    *c = (struct scheduling){.nest = nest,
                             .target = target,
                             .watch = hint->watch,
                             .row = VAR_NONE,
                             .column = VAR_NONE,
                             .output = hint->output,
                             .prepare = hint->prepare};
    bool product = has_role(nest, OVER_ROW) || has_role(nest, OVER_COLUMN);
    bool conv = has_role(nest, OVER_CHANNEL) || has_role(nest, OVER_PIXEL);
    fuse_chains(c, &nest->body);
    const struct stmt *top = only_loop(&nest->body);
    if (product)
        look_at_product(c);
    else if (conv)
        look_at_conv(c);
    else if (top && top->independent && !only_loop(&top->body) && lane_score(c, top, 0) >= 0)
        c->form = FORM_FLAT;
    if (!product && !conv)
        look_at_columns(c);
    return c;
}
