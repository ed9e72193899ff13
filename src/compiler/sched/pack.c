/* Packing an operand.
 *
 *   for r                              for k
 *     jam                                vector c
 *       vector c                           pack[k, c] = b[k, n + c]
 *         for k: acc += a[…] · b[k, n + c]   ->   for r
 *                                            jam
 *                                              vector c
 *                                                for k: acc += a[…] · pack[k, c]
 *
 * Elements that every iteration of r would read with a large stride are copied once, so that they
 * are contiguous. The loops that the load's index depends on (k and c here) are repeated for the
 * copy; they must not depend on r. */
#include <stdio.h>

#include "base/error.h"
#include "compiler/sched/sched_priv.h"

#define MAX_PACK_LOOPS 8

struct packing {
    uint32_t buffer;
    expr_id load; /* the only load of the buffer */
    bool several;
    const struct stmt *loops[MAX_PACK_LOOPS]; /* for the load's index, outermost first */
    uint32_t count;
};

static void find_load(struct nest *nest, expr_id e, void *context)
{
    struct packing *p = context;
    const struct expr *x = expr_at(nest, e);
    if (x->op != EXPR_LOAD || x->index != p->buffer)
        return;
    p->several |= p->load != EXPR_NONE && p->load != e;
    p->load = e;
}

static void find_loads(struct nest *nest, expr_id e, void *context)
{
    if (expr_at(nest, e)->loads)
        expr_walk(nest, e, find_load, context);
}

/* Finds the loops inside block that the load's index depends on; false: there are too many. */
static bool find_loops(const struct nest *nest, const struct block *block, struct packing *p)
{
    uint64_t vars = expr_at(nest, p->load)->vars;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR && vars >> s->var & 1) {
            if (p->count == MAX_PACK_LOOPS)
                return false;
            p->loops[p->count++] = s;
        }
        if (!find_loops(nest, &s->body, p) || !find_loops(nest, &s->orelse, p))
            return false;
    }
    return true;
}

/* Puts the vector loop last, so that its lanes are contiguous in the copy. */
static void vector_last(struct packing *p)
{
    for (uint32_t i = 0; i + 1 < p->count; i++) {
        if (p->loops[i]->loop_kind != LOOP_VECTOR)
            continue;
        const struct stmt *t = p->loops[i];
        p->loops[i] = p->loops[i + 1];
        p->loops[i + 1] = t;
    }
}

static uint64_t vars_inside(const struct block *block)
{
    uint64_t vars = 0;
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_FOR)
            vars |= UINT64_C(1) << s->var;
        vars |= vars_inside(&s->body) | vars_inside(&s->orelse);
    }
    return vars;
}

/* Whether neither the load nor the loops to repeat depend on anything else inside the loop. */
static bool same_every_time(const struct nest *nest, const struct packing *p,
                            const struct stmt *loop)
{
    uint64_t inside = vars_inside(&loop->body) | UINT64_C(1) << loop->var, used = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        used |= expr_at(nest, nest->vars.items[p->loops[i]->var].extent)->vars & inside;
        inside &= ~(UINT64_C(1) << p->loops[i]->var);
    }
    const struct expr *load = expr_at(nest, p->load);
    return ((load->vars | used) & inside) == 0 && used == 0 && load->locals == 0;
}

expr_id whole_extent(struct nest *nest, const struct stmt *loop)
{
    int64_t lo, hi;
    expr_id extent = nest->vars.items[loop->var].extent;
    if (expr_at(nest, extent)->vars == 0)
        return extent;
    index_range(nest, extent, &lo, &hi);
    return index_const(nest, hi);
}

/* Makes the copy: loops around one store. *out_index is the index of the load's element in it. */
static struct stmt *copy_loops(struct nest *nest, struct packing *p, expr_id *out_index,
                               uint32_t *out_buffer)
{
    struct expr load = *expr_at(nest, p->load);
    expr_id there = index_const(nest, 0), here = there, value = p->load,
            size = index_const(nest, 1);
    struct stmt *outer = NULL, *inner = NULL;
    uint32_t vars[MAX_PACK_LOOPS];
    for (uint32_t i = 0; i < p->count; i++) {
        const struct stmt *from = p->loops[i];
        expr_id range = nest->vars.items[from->var].extent;
        for (uint32_t k = 0; k < i; k++)
            range = expr_replace(nest, range, p->loops[k]->var, expr_var(nest, vars[k]));
        uint32_t var = vars[i] = nest_var(nest, "p", OVER_NONE, range);
        expr_id extent = whole_extent(nest, from);
        struct stmt *loop = stmt_for(nest, var, true);
        loop->loop_kind = from->loop_kind;
        loop->lanes = from->lanes;
        there = index_add(nest, index_mul(nest, there, extent), expr_var(nest, var));
        here = index_add(nest, index_mul(nest, here, extent), expr_var(nest, from->var));
        size = index_mul(nest, size, extent);
        value = expr_replace(nest, value, from->var, expr_var(nest, var));
        if (inner)
            block_add(nest, &inner->body, loop);
        outer = outer ? outer : loop;
        inner = loop;
    }
    *out_buffer = scratch_buffer(nest, "pack", load.dtype, size);
    block_add(nest, &inner->body, stmt_store(nest, *out_buffer, there, value, EXPR_NONE));
    *out_index = here;
    return outer;
}

bool apply_pack(struct nest *nest, const struct step *step, struct error *err)
{
    struct loop_site site;
    struct packing p = {.buffer = (uint32_t)step->number};
    if (!site_find(nest, step->loop, &site))
        return fail(err, ERR_UNSUPPORTED, "no such loop");
    if (runs_together(nest, site.loop))
        return fail(err, ERR_UNSUPPORTED, "around '%s' iterations run together", step->loop);
    if (step->number < 0 || step->number >= nest->buffers.count ||
        nest->buffers.items[p.buffer].role != ROLE_IN)
        return fail(err, ERR_UNSUPPORTED, "no argument %lld that is read", (long long)step->number);
    block_visit(nest, &site.loop->body, find_loads, &p);
    if (p.load == EXPR_NONE || p.several || !find_loops(nest, &site.loop->body, &p) ||
        p.count == 0 || !room_for(nest, p.count))
        return fail(err, ERR_UNSUPPORTED, "'%s' does not read argument %lld in one place",
                    step->loop, (long long)step->number);
    vector_last(&p);
    if (!same_every_time(nest, &p, site.loop))
        return fail(err, ERR_UNSUPPORTED, "every iteration of '%s' reads something else",
                    step->loop);
    expr_id index;
    uint32_t buffer;
    struct stmt *copy = copy_loops(nest, &p, &index, &buffer);
    expr_id packed = expr_load(nest, buffer, index, EXPR_NONE);
    block_exchange(nest, &site.loop->body, p.load, packed);
    insert_stmt(nest, site.parent, site.at, copy);
    return true;
}
