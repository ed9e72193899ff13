/* Prefetching an operand.
 *
 *   for k                              for k
 *     acc += a[…] · b[k, n + c]   ->     prefetch b[k + distance, n + c]
 *                                        acc += a[…] · b[k, n + c]
 *
 * Hardware prefetchers follow consecutive addresses, but not steps from page to page. Prefetches
 * beyond the last iteration are useless, but harmless. */
#include "base/error.h"
#include "compiler/sched/sched_priv.h"

#define MAX_DISTANCE 4096

struct reading {
    uint32_t buffer;
    expr_id load;
    bool several;
};

static void find_load(struct nest *nest, expr_id e, void *context)
{
    struct reading *r = context;
    const struct expr *x = expr_at(nest, e);
    if (x->op != EXPR_LOAD || x->index != r->buffer)
        return;
    r->several |= r->load != EXPR_NONE && r->load != e;
    r->load = e;
}

static void find_loads(struct nest *nest, expr_id e, void *context)
{
    if (expr_at(nest, e)->loads)
        expr_walk(nest, e, find_load, context);
}

/* Finds the first statement inside whose value reads the buffer. */
static bool find_reader(struct nest *nest, struct block *block, struct reading *r,
                        struct block **out, uint32_t *out_at)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i];
        if (s->value != EXPR_NONE)
            find_loads(nest, s->value, r);
        if (r->load != EXPR_NONE) {
            *out = block;
            *out_at = i;
            return true;
        }
        if (find_reader(nest, &s->body, r, out, out_at) ||
            find_reader(nest, &s->orelse, r, out, out_at))
            return true;
    }
    return false;
}

static bool find_buffer(const struct nest *nest, const char *name, uint32_t *out)
{
    for (*out = 0; *out < nest->buffers.count; ++*out)
        if (strcmp(nest->buffers.items[*out].name, name) == 0)
            return true;
    return false;
}

bool apply_prefetch(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    struct reading r = {0};
    struct block *block;
    uint32_t at;
    if (!site_find(nest, step->loop, &site))
        return fail(err, ERR_UNSUPPORTED, "no such loop");
    if (site.loop->loop_kind != LOOP_SERIAL || step->number < 1 || step->number > MAX_DISTANCE)
        return fail(err, ERR_UNSUPPORTED, "%lld iterations ahead, of a serial loop",
                    (long long)step->number);
    if (!find_buffer(nest, step->other, &r.buffer) ||
        !find_reader(nest, &site.loop->body, &r, &block, &at) || r.several)
        return fail(err, ERR_UNSUPPORTED, "'%s' does not read one place of a buffer '%s'",
                    step->loop, step->other);
    uint32_t var = site.loop->var;
    expr_id index = expr_at(nest, r.load)->operand[0];
    if (expr_at(nest, index)->loads || !(expr_at(nest, index)->vars >> var & 1))
        return fail(err, ERR_UNSUPPORTED, "where '%s' is read does not follow from '%s' alone",
                    step->other, step->loop);
    expr_id ahead = index_add(nest, expr_var(nest, var), index_const(nest, step->number));
    insert_stmt(nest, block, at,
                stmt_prefetch(nest, r.buffer, expr_replace(nest, index, var, ahead)));
    return true;
}

/* Takes the step for the innermost serial loops that read the operand, reductions and copies. */
static bool prefetch_inside(struct scheduling *c, struct block *block, int64_t distance)
{
    bool taken = false;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        struct stmt *s = block->stmts.items[i];
        bool inside = prefetch_inside(c, &s->body, distance);
        inside |= prefetch_inside(c, &s->orelse, distance);
        if (!inside && s->kind == STMT_FOR && s->loop_kind == LOOP_SERIAL)
            inside = take_buffer_step(c, STEP_PREFETCH, s->var, c->operand, distance);
        taken |= inside;
    }
    return taken;
}

void prefetch_operand(struct scheduling *c, int64_t distance)
{
    prefetch_inside(c, &c->nest->body, distance);
}
