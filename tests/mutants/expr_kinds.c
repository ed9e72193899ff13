/* Expressions of a nest that are slightly others. Each function proposes what takes the place of e,
 * or EXPR_NONE. */
#include <math.h>
#include <string.h>

#include "compiler/loop/loop.h"
#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

/* A copy: the table moves when it grows. */
static struct expr at(const struct place *p, expr_id e)
{
    return *expr_at(p->nest, e);
}

static bool loads_argument(const struct place *p, const struct expr *e)
{
    return e->op == EXPR_LOAD && p->nest->buffers.items[e->index].role == ROLE_IN;
}

static expr_id load_at(const struct place *p, const struct expr *e, expr_id index)
{
    return expr_load(p->nest, e->index, index, e->operand[1]);
}

static expr_id load_moved(const struct place *p, expr_id id, int64_t by)
{
    struct expr e = at(p, id);
    if (!loads_argument(p, &e))
        return EXPR_NONE;
    return load_at(p, &e, index_add(p->nest, e.operand[0], index_const(p->nest, by)));
}

uint32_t expr_index_plus(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return load_moved(p, id, 1);
}

uint32_t expr_index_minus(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return load_moved(p, id, -1);
}

/* The innermost loop whose variable is in e; NULL: none. */
static const struct stmt *innermost(const struct place *p, expr_id e)
{
    for (uint32_t i = p->depth; i-- > 0;)
        if (expr_at(p->nest, e)->vars >> p->loops[i]->var & 1)
            return p->loops[i];
    return NULL;
}

static const struct stmt *outermost(const struct place *p, expr_id e)
{
    for (uint32_t i = 0; i < p->depth; i++)
        if (expr_at(p->nest, e)->vars >> p->loops[i]->var & 1)
            return p->loops[i];
    return NULL;
}

static expr_id with_stride(const struct place *p, expr_id id, bool inner)
{
    struct expr e = at(p, id);
    if (e.op != EXPR_LOAD)
        return EXPR_NONE;
    const struct stmt *loop = inner ? innermost(p, e.operand[0]) : outermost(p, e.operand[0]);
    if (!loop)
        return EXPR_NONE;
    return load_at(p, &e, index_add(p->nest, e.operand[0], expr_var(p->nest, loop->var)));
}

uint32_t expr_inner_stride(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return with_stride(p, id, true);
}

uint32_t expr_outer_stride(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return with_stride(p, id, false);
}

/* Two variables in the place of each other; with equal: only where their loops are as long. */
static expr_id swap_vars(const struct place *p, expr_id id, bool equal)
{
    struct expr e = at(p, id);
    struct nest *nest = p->nest;
    if (e.op != EXPR_LOAD)
        return EXPR_NONE;
    for (uint32_t i = 0; i < p->depth; i++)
        for (uint32_t j = i + 1; j < p->depth; j++) {
            uint32_t a = p->loops[i]->var, b = p->loops[j]->var;
            uint64_t vars = expr_at(nest, e.operand[0])->vars;
            bool same = nest->vars.items[a].extent == nest->vars.items[b].extent;
            if (!(vars >> a & vars >> b & 1) || same != equal)
                continue;
            expr_id index = expr_replace(nest, e.operand[0], a, expr_var(nest, b));
            expr_id both = expr_replace(nest, e.operand[0], b, expr_var(nest, a));
            expr_id sum = index_add(nest, index, both); /* (sa+sb)·b + (sa+sb)·a + 2c */
            index = index_sub(nest, sum, e.operand[0]); /* sb·a + sa·b + c, where it is linear */
            return load_at(p, &e, index);
        }
    return EXPR_NONE;
}

uint32_t expr_transposed(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return swap_vars(p, id, true);
}

uint32_t expr_strides_swapped(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return swap_vars(p, id, false);
}

uint32_t expr_mask_dropped(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (e.op != EXPR_LOAD || e.operand[1] == EXPR_NONE)
        return EXPR_NONE;
    return expr_load(p->nest, e.index, e.operand[0], EXPR_NONE);
}

/* The same place of another argument of the same size. */
uint32_t expr_other_argument(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    const struct nest *nest = p->nest;
    (void)m;
    if (!loads_argument(p, &e))
        return EXPR_NONE;
    for (uint32_t i = 0; i < nest->buffers.count; i++) {
        const struct nest_buffer *b = &nest->buffers.items[i], *own = &nest->buffers.items[e.index];
        if (i != e.index && b->role == ROLE_IN && b->dtype == own->dtype &&
            b->elements == own->elements)
            return expr_load(p->nest, i, e.operand[0], e.operand[1]);
    }
    return EXPR_NONE;
}

static expr_id changed_constant(const struct place *p, expr_id id, double by, bool ulp)
{
    struct expr e = at(p, id);
    if (e.op != EXPR_CONST || !dtype_is_float((enum dtype)e.dtype) || !isfinite(e.value))
        return EXPR_NONE;
    double value = e.value * by;
    if (ulp && e.dtype == DTYPE_F32)
        value = (double)nextafterf((float)e.value, INFINITY);
    else if (ulp)
        value = nextafter(e.value, INFINITY);
    return expr_const(p->nest, (enum dtype)e.dtype, value);
}

uint32_t expr_constant_ulp(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return changed_constant(p, id, 1, true);
}

uint32_t expr_constant_millionth(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return changed_constant(p, id, 1 + 1e-6, false);
}

uint32_t expr_constant_ten_thousandth(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return changed_constant(p, id, 1 + 1e-4, false);
}

uint32_t expr_constant_negated(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return changed_constant(p, id, -1, false);
}

static bool is_float(const struct expr *e)
{
    return dtype_is_float((enum dtype)e->dtype);
}

uint32_t expr_operand_dropped(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    bool binary = e.op == EXPR_ADD || e.op == EXPR_SUB || e.op == EXPR_MUL || e.op == EXPR_DIV;
    return binary && is_float(&e) ? e.operand[0] : EXPR_NONE;
}

/* a·b + c without c. */
uint32_t expr_fma_term(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    return e.op == EXPR_FMA ? expr_binary(p->nest, EXPR_MUL, e.operand[0], e.operand[1])
                            : EXPR_NONE;
}

uint32_t expr_lt_for_le(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (e.op != EXPR_LT && e.op != EXPR_LE)
        return EXPR_NONE;
    return expr_binary(p->nest, e.op == EXPR_LT ? EXPR_LE : EXPR_LT, e.operand[0], e.operand[1]);
}

static bool is_extreme(const struct expr *e)
{
    return e->op == EXPR_MIN || e->op == EXPR_MAX;
}

uint32_t expr_min_for_max(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (!is_extreme(&e))
        return EXPR_NONE;
    return expr_binary(p->nest, e.op == EXPR_MIN ? EXPR_MAX : EXPR_MIN, e.operand[0], e.operand[1]);
}

/* The order of operands decides which NaN is kept. */
uint32_t expr_extreme_order(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (!is_extreme(&e) || !is_float(&e))
        return EXPR_NONE;
    return expr_binary(p->nest, (enum expr_op)e.op, e.operand[1], e.operand[0]);
}

uint32_t expr_select_first(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    return e.op == EXPR_SELECT ? e.operand[1] : EXPR_NONE;
}

uint32_t expr_select_second(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    return e.op == EXPR_SELECT ? e.operand[2] : EXPR_NONE;
}

static expr_id through(const struct place *p, expr_id id, enum dtype dtype)
{
    struct expr e = at(p, id);
    if (e.dtype != DTYPE_F32 || e.op < EXPR_NEG || e.op == EXPR_CAST)
        return EXPR_NONE;
    return expr_cast(p->nest, expr_cast(p->nest, id, dtype), DTYPE_F32);
}

uint32_t expr_through_bf16(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return p->field == FIELD_VALUE ? through(p, id, DTYPE_BF16) : EXPR_NONE;
}

uint32_t expr_through_f16(struct mutation *m, const struct place *p, uint32_t id)
{
    (void)m;
    return p->field == FIELD_VALUE ? through(p, id, DTYPE_F16) : EXPR_NONE;
}

/* Float to integer rounds instead of truncating; a rounding to integers is left out. */
uint32_t expr_rounding(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (e.op >= EXPR_FLOOR && e.op <= EXPR_TRUNC)
        return expr_unary(p->nest, e.op == EXPR_FLOOR ? EXPR_TRUNC : EXPR_FLOOR, e.operand[0]);
    if (e.op != EXPR_CAST || is_float(&e) || e.dtype == DTYPE_BOOL)
        return EXPR_NONE;
    struct expr from = at(p, e.operand[0]);
    if (!is_float(&from))
        return EXPR_NONE;
    return expr_cast(p->nest, expr_unary(p->nest, EXPR_ROUND, e.operand[0]), (enum dtype)e.dtype);
}

uint32_t expr_sqrt_dropped(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    return e.op == EXPR_SQRT || e.op == EXPR_ABS ? e.operand[0] : EXPR_NONE;
}

/* What is kept in memory by an earlier stage, one element on. */
uint32_t expr_scratch_index(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (e.op != EXPR_LOAD || p->nest->buffers.items[e.index].role != ROLE_SCRATCH)
        return EXPR_NONE;
    return load_at(p, &e, index_add(p->nest, e.operand[0], index_const(p->nest, 1)));
}

/* A bound of a tile: min(B - 6, 6·i) one lower. */
uint32_t expr_tile_bound(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    if (!is_extreme(&e) || e.dtype != DTYPE_I64)
        return EXPR_NONE;
    return index_sub(p->nest, id, index_const(p->nest, 1));
}

/* A cast to a narrow float that cuts the bits off. */
uint32_t expr_cast_truncates(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    struct nest *nest = p->nest;
    (void)m;
    if (e.op != EXPR_CAST || (e.dtype != DTYPE_BF16 && e.dtype != DTYPE_F16) ||
        expr_at(nest, e.operand[0])->dtype != DTYPE_F32)
        return EXPR_NONE;
    expr_id mask = expr_int(nest, DTYPE_I32, e.dtype == DTYPE_BF16 ? -(1 << 16) : -(1 << 13));
    expr_id bits = expr_binary(nest, EXPR_AND, expr_bitcast(nest, e.operand[0], DTYPE_I32), mask);
    return expr_cast(nest, expr_bitcast(nest, bits, DTYPE_F32), (enum dtype)e.dtype);
}

/* Another named dim, if the nest knows one. */
uint32_t expr_other_dim(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    (void)m;
    for (expr_id other = 1; e.op == EXPR_DIM && other < p->nest->exprs.count; other++)
        if (expr_at(p->nest, other)->op == EXPR_DIM && expr_at(p->nest, other)->index != e.index)
            return other;
    return EXPR_NONE;
}

/* An index taken apart by blocks that are one larger. */
uint32_t expr_block_size(struct mutation *m, const struct place *p, uint32_t id)
{
    struct expr e = at(p, id);
    int64_t block;
    (void)m;
    if ((e.op != EXPR_FLOORDIV && e.op != EXPR_FLOORMOD) ||
        !index_is_const(p->nest, e.operand[1], &block))
        return EXPR_NONE;
    expr_id larger = index_const(p->nest, block + 1);
    return e.op == EXPR_FLOORDIV ? index_div(p->nest, e.operand[0], larger)
                                 : index_mod(p->nest, e.operand[0], larger);
}
