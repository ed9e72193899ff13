/* The step `sums`: partial sums that wait in scratch memory.
 *
 *                                      for c: sums[c] = 0
 *   for c                              for ko
 *     local acc = 0                      for c
 *     for ko: …: acc += …       ->         local acc = sums[c]
 *     y[c] = f(acc)                        …: acc += …
 *                                          sums[c] = acc
 *                                      for c: y[c] = f(sums[c])
 *
 * A block of the reduction is applied to all columns before the next block, so an operand whose
 * rows are contiguous is read in the order of memory. The order of each sum does not change. */
#include "base/error.h"
#include "compiler/sched/sched_priv.h"

#define MAX_SUM_LOOPS 8

struct sums {
    struct stmt *loops[MAX_SUM_LOOPS]; /* from the step's loop inwards */
    uint32_t count;
    uint64_t vars;      /* of these loops */
    struct block *leaf; /* local, reduction, store */
    uint32_t buffer;
    expr_id index;
};

/* Collects the perfectly nested loops down to a block that is not a single loop. */
static bool find_loops(struct stmt *loop, struct sums *s)
{
    for (; loop && loop->kind == STMT_FOR; loop = only_loop(s->leaf)) {
        if (s->count == MAX_SUM_LOOPS || !loop->independent)
            return false;
        s->loops[s->count++] = loop;
        s->vars |= UINT64_C(1) << loop->var;
        s->leaf = &loop->body;
    }
    return true;
}

static bool has_form(const struct nest *nest, const struct sums *s, const struct stmt *reduction)
{
    struct stmt *const *leaf = s->leaf->stmts.items;
    return s->leaf->stmts.count == 3 && leaf[0]->kind == STMT_LOCAL && leaf[1]->kind == STMT_FOR &&
           leaf[1] == reduction && !leaf[1]->independent && leaf[1]->loop_kind == LOOP_SERIAL &&
           leaf[2]->kind == STMT_STORE &&
           (expr_at(nest, nest->vars.items[leaf[1]->var].extent)->vars & s->vars) == 0;
}

/* Whether the statements of the leaf share nothing but the sum, and only the result depends on
 * it. */
static bool only_the_sum(const struct nest *nest, const struct sums *s)
{
    const struct stmt *local = s->leaf->stmts.items[0], *store = s->leaf->stmts.items[2];
    uint64_t sum = UINT64_C(1) << local->local % 64;
    expr_id others[] = {local->value, store->index, store->guard};
    for (int i = 0; i < 3; i++)
        if (others[i] != EXPR_NONE && expr_at(nest, others[i])->locals)
            return false;
    return (expr_at(nest, store->value)->locals & ~sum) == 0;
}

/* Makes a buffer with an element per sum, in the order of the loops. */
static bool make_buffer(struct nest *nest, struct sums *s)
{
    expr_id size = index_const(nest, 1);
    s->index = index_const(nest, 0);
    for (uint32_t i = 0; i < s->count; i++) {
        expr_id extent = whole_extent(nest, s->loops[i]);
        size = index_mul(nest, size, extent);
        s->index =
            index_add(nest, index_mul(nest, s->index, extent), expr_var(nest, s->loops[i]->var));
    }
    if (expr_at(nest, size)->vars)
        return false;
    uint32_t local = s->leaf->stmts.items[0]->local;
    s->buffer = scratch_buffer(nest, "sums", nest->locals.items[local].dtype, size);
    return true;
}

/* A statement of the leaf inside loops of its own, which are like those around it. */
static struct stmt *in_loops(struct nest *nest, const struct sums *s, struct stmt *leaf)
{
    struct stmt *outer = NULL, *inner = NULL;
    struct block one = {0};
    block_add(nest, &one, leaf);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct stmt *from = s->loops[i];
        const struct nest_var old = nest->vars.items[from->var];
        uint32_t var = nest_var(nest, old.name, (enum loop_role)old.role, old.extent);
        struct stmt *loop = stmt_for(nest, var, true);
        loop->loop_kind = from->loop_kind;
        loop->lanes = from->lanes;
        if (inner)
            block_add(nest, &inner->body, loop);
        outer = outer ? outer : loop;
        inner = loop;
    }
    inner->body = one;
    const struct stmt *loop = outer;
    for (uint32_t i = 0; i < s->count; i++, loop = loop->body.stmts.items[0])
        block_replace(nest, &((struct stmt *)loop)->body, s->loops[i]->var,
                      expr_var(nest, loop->var));
    return outer;
}

/* Moves the reduction's loop around the others; its body takes its place. */
static void turn_inside_out(struct nest *nest, struct loop_site *site, struct sums *s)
{
    struct stmt *local = s->leaf->stmts.items[0], *reduction = s->leaf->stmts.items[1];
    struct stmt *store = s->leaf->stmts.items[2];
    expr_id waiting = expr_load(nest, s->buffer, s->index, EXPR_NONE);
    expr_id result = expr_replace_local(nest, store->value, local->local, waiting);
    struct stmt *first =
        in_loops(nest, s, stmt_store(nest, s->buffer, s->index, local->value, EXPR_NONE));
    struct stmt *last =
        in_loops(nest, s, stmt_store(nest, store->buffer, store->index, result, store->guard));
    struct block leaf = {0};
    block_add(nest, &leaf, stmt_local(nest, local->local, waiting));
    for (uint32_t i = 0; i < reduction->body.stmts.count; i++)
        block_add(nest, &leaf, reduction->body.stmts.items[i]);
    block_add(nest, &leaf,
              stmt_store(nest, s->buffer, s->index, expr_local(nest, local->local), EXPR_NONE));
    *s->leaf = leaf;
    reduction->body = (struct block){0};
    block_add(nest, &reduction->body, site->loop);
    site->parent->stmts.items[site->at] = reduction;
    insert_stmt(nest, site->parent, site->at + 1, last);
    insert_stmt(nest, site->parent, site->at, first);
}

bool apply_sums(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site, reduction;
    struct sums s = {0};
    if (!site_find(nest, step->loop, &site))
        return fail(err, ERR_UNSUPPORTED, "no such loop");
    if (runs_together(nest, site.loop))
        return fail(err, ERR_UNSUPPORTED, "around '%s' iterations run together", step->loop);
    if (site.loop->loop_kind != LOOP_SERIAL)
        return fail(err, ERR_UNSUPPORTED, "'%s' has its kind already", step->loop);
    if (!site_find(nest, step->other, &reduction) || !find_loops(site.loop, &s) ||
        !has_form(nest, &s, reduction.loop) || !only_the_sum(nest, &s))
        return fail(err, ERR_UNSUPPORTED, "'%s' is not all that '%s' adds up", step->other,
                    step->loop);
    if (!room_for(nest, 2 * s.count) || !make_buffer(nest, &s))
        return fail(err, ERR_UNSUPPORTED, "no room for the sums of '%s'", step->loop);
    turn_inside_out(nest, &site, &s);
    return true;
}

/* Whether iterations continue with a value that they left in memory: then none may run twice. */
bool goes_on(const struct nest *nest, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        bool reads = s->kind == STMT_LOCAL && expr_at(nest, s->value)->op == EXPR_LOAD;
        uint32_t buffer = reads ? expr_at(nest, s->value)->index : 0;
        for (uint32_t k = i + 1; reads && k < block->stmts.count; k++)
            if (block->stmts.items[k]->kind == STMT_STORE &&
                block->stmts.items[k]->buffer == buffer)
                return true;
        if (goes_on(nest, &s->body) || goes_on(nest, &s->orelse))
            return true;
    }
    return false;
}
