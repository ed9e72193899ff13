/* Statements of a nest: loops that end early, terms left out, stores at the wrong place. */
#include <math.h>
#include <string.h>

#include "compiler/loop/loop.h"
#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

static struct nest_var *var_of(const struct place *p)
{
    return &p->nest->vars.items[p->stmt->var];
}

static bool is_loop(const struct place *p, bool independent)
{
    return p->stmt->kind == STMT_FOR && p->stmt->independent == independent;
}

static bool is_vector_loop(const struct place *p)
{
    return p->stmt->kind == STMT_FOR && p->stmt->loop_kind == LOOP_VECTOR;
}

/* The extent plus by; the loop may run no further than that. */
static void set_extent(const struct place *p, expr_id extent)
{
    struct nest_var *var = var_of(p);
    var->extent = extent;
    var->full = EXPR_NONE;
}

static void lengthen(const struct place *p, int64_t by)
{
    set_extent(p, index_add(p->nest, var_of(p)->extent, index_const(p->nest, by)));
}

void stmt_last_term(struct mutation *m, const struct place *p)
{
    if (is_loop(p, false) && mutation_here(m, "%s: %s", p->nest->name, var_of(p)->name))
        lengthen(p, -1);
}

void stmt_first_term(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    struct block body = {0};
    if (!is_loop(p, false) || nest->vars.count > NEST_MAX_VARS / 2 ||
        !mutation_here(m, "%s: %s", nest->name, var_of(p)->name))
        return;
    expr_id next = index_add(nest, expr_var(nest, p->stmt->var), index_const(nest, 1));
    block_copy(nest, &p->stmt->body, &body, p->stmt->var, next);
    p->stmt->body = body;
    lengthen(p, -1);
}

/* The innermost reduction around an update of a sum. */
void stmt_middle_term(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    struct stmt *s = p->stmt, *loop = p->depth ? p->loops[p->depth - 1] : NULL;
    if (s->kind != STMT_UPDATE || s->combine != COMBINE_SUM || !loop || loop->independent ||
        !mutation_here(m, "%s: %s", nest->name, nest->vars.items[loop->var].name))
        return;
    enum dtype dtype = (enum dtype)expr_at(nest, s->value)->dtype;
    expr_id middle = index_div(nest, nest->vars.items[loop->var].extent, index_const(nest, 2));
    expr_id is = expr_binary(nest, EXPR_EQ, expr_var(nest, loop->var), middle);
    s->value = expr_select(nest, is, expr_const(nest, dtype, 0), s->value);
}

void stmt_last_iteration(struct mutation *m, const struct place *p)
{
    if (is_loop(p, true) && !is_vector_loop(p) && p->stmt->loop_kind != LOOP_JAM &&
        mutation_here(m, "%s: %s", p->nest->name, var_of(p)->name))
        lengthen(p, -1);
}

/* As long as one around it that is of another length. */
void stmt_other_extent(struct mutation *m, const struct place *p)
{
    for (uint32_t i = 0;
         p->stmt->kind == STMT_FOR && p->stmt->loop_kind != LOOP_JAM && i < p->depth; i++) {
        const struct nest_var *other = &p->nest->vars.items[p->loops[i]->var];
        if (other->extent == var_of(p)->extent || expr_at(p->nest, other->extent)->vars ||
            !mutation_here(m, "%s: %s as %s", p->nest->name, var_of(p)->name, other->name))
            continue;
        set_extent(p, other->extent);
        return;
    }
}

void stmt_tile_row(struct mutation *m, const struct place *p)
{
    if (p->stmt->kind == STMT_FOR && p->stmt->loop_kind == LOOP_JAM &&
        mutation_here(m, "%s: %s", p->nest->name, var_of(p)->name))
        lengthen(p, -1);
}

void stmt_mask_short(struct mutation *m, const struct place *p)
{
    if (is_vector_loop(p) && mutation_here(m, "%s: %s", p->nest->name, var_of(p)->name))
        lengthen(p, -1);
}

void stmt_mask_long(struct mutation *m, const struct place *p)
{
    if (is_vector_loop(p) && mutation_here(m, "%s: %s", p->nest->name, var_of(p)->name))
        lengthen(p, 1);
}

/* Full vectors only. */
void stmt_no_remainder(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    int64_t extent;
    if (!is_vector_loop(p))
        return;
    expr_id lanes = index_const(nest, p->stmt->lanes);
    if (index_is_const(nest, var_of(p)->extent, &extent) && extent % p->stmt->lanes == 0)
        return;
    if (mutation_here(m, "%s: %s", nest->name, var_of(p)->name))
        set_extent(p, index_mul(nest, index_div(nest, var_of(p)->extent, lanes), lanes));
}

void stmt_if_dropped(struct mutation *m, const struct place *p)
{
    if (p->stmt->kind == STMT_IF && mutation_here(m, "%s", p->nest->name))
        p->stmt->body.stmts.count = 0;
}

void stmt_else_dropped(struct mutation *m, const struct place *p)
{
    if (p->stmt->kind == STMT_IF && p->stmt->orelse.stmts.count > 0 &&
        mutation_here(m, "%s", p->nest->name))
        p->stmt->orelse.stmts.count = 0;
}

static bool is_store(const struct place *p, uint8_t role)
{
    return p->stmt->kind == STMT_STORE && p->nest->buffers.items[p->stmt->buffer].role == role;
}

static const struct nest_buffer *stored(const struct place *p)
{
    return &p->nest->buffers.items[p->stmt->buffer];
}

void stmt_store_next(struct mutation *m, const struct place *p)
{
    if (is_store(p, ROLE_OUT) && mutation_here(m, "%s", p->nest->name))
        p->stmt->index = index_add(p->nest, p->stmt->index, index_const(p->nest, 1));
}

void stmt_store_guard(struct mutation *m, const struct place *p)
{
    if (p->stmt->kind == STMT_STORE && p->stmt->guard != EXPR_NONE &&
        mutation_here(m, "%s", p->nest->name))
        p->stmt->guard = EXPR_NONE;
}

static void guard_store(const struct place *p, expr_id element)
{
    struct nest *nest = p->nest;
    struct stmt *s = p->stmt;
    expr_id other = expr_binary(nest, EXPR_NE, s->index, element);
    s->guard = s->guard == EXPR_NONE ? other : expr_binary(nest, EXPR_AND, s->guard, other);
}

void stmt_last_element(struct mutation *m, const struct place *p)
{
    if (is_store(p, ROLE_OUT) && mutation_here(m, "%s", p->nest->name))
        guard_store(p, index_sub(p->nest, stored(p)->elements, index_const(p->nest, 1)));
}

void stmt_middle_element(struct mutation *m, const struct place *p)
{
    if (is_store(p, ROLE_OUT) && mutation_here(m, "%s", p->nest->name))
        guard_store(p, index_div(p->nest, stored(p)->elements, index_const(p->nest, 2)));
}

/* Never executed: a loop variable is not negative. */
static void drop(const struct place *p)
{
    p->stmt->guard = expr_int(p->nest, DTYPE_BOOL, 0);
}

void stmt_scratch_unwritten(struct mutation *m, const struct place *p)
{
    if (is_store(p, ROLE_SCRATCH) && mutation_here(m, "%s", p->nest->name))
        drop(p);
}

/* The bits of a float with the lowest ones cleared. */
static expr_id cleared(struct nest *nest, expr_id value, uint32_t bits)
{
    expr_id whole = expr_bitcast(nest, value, DTYPE_I32);
    expr_id mask = expr_int(nest, DTYPE_I32, -((int64_t)1 << bits));
    return expr_bitcast(nest, expr_binary(nest, EXPR_AND, whole, mask), DTYPE_F32);
}

static void clear_stored(struct mutation *m, const struct place *p, bool narrow, uint32_t bits)
{
    if (!is_store(p, ROLE_OUT) || expr_at(p->nest, p->stmt->value)->dtype != DTYPE_F32 ||
        (stored(p)->dtype != DTYPE_F32) != narrow || !mutation_here(m, "%s", p->nest->name))
        return;
    if (narrow)
        bits = stored(p)->dtype == DTYPE_BF16 ? 16 : 13;
    p->stmt->value = cleared(p->nest, p->stmt->value, bits);
}

/* Of values that are not rounded already. */
void stmt_truncated(struct mutation *m, const struct place *p)
{
    uint8_t op = p->stmt->kind == STMT_STORE ? expr_at(p->nest, p->stmt->value)->op : EXPR_LOAD;
    if (op != EXPR_LOAD && op != EXPR_CAST && op != EXPR_SELECT)
        clear_stored(m, p, true, 0);
}

void stmt_low_bits_6(struct mutation *m, const struct place *p)
{
    clear_stored(m, p, false, 6);
}

void stmt_low_bits_10(struct mutation *m, const struct place *p)
{
    clear_stored(m, p, false, 10);
}

static bool is_float_sum(const struct place *p)
{
    return p->stmt->kind == STMT_UPDATE && p->stmt->combine == COMBINE_SUM &&
           p->nest->locals.items[p->stmt->local].dtype == DTYPE_F32;
}

static expr_id rounded(struct nest *nest, expr_id value, enum dtype dtype)
{
    return expr_cast(nest, expr_cast(nest, value, dtype), DTYPE_F32);
}

/* Each partial sum is rounded. */
static void narrow_sum(struct mutation *m, const struct place *p, enum dtype dtype)
{
    struct nest *nest = p->nest;
    if (!is_float_sum(p) || !mutation_here(m, "%s", nest->name))
        return;
    expr_id sum = expr_binary(nest, EXPR_ADD, expr_local(nest, p->stmt->local), p->stmt->value);
    p->stmt->value = rounded(nest, sum, dtype);
    p->stmt->combine = COMBINE_NONE;
}

void stmt_sum_bf16(struct mutation *m, const struct place *p)
{
    narrow_sum(m, p, DTYPE_BF16);
}

void stmt_sum_f16(struct mutation *m, const struct place *p)
{
    narrow_sum(m, p, DTYPE_F16);
}

void stmt_terms_bf16(struct mutation *m, const struct place *p)
{
    if (is_float_sum(p) && mutation_here(m, "%s", p->nest->name))
        p->stmt->value = rounded(p->nest, p->stmt->value, DTYPE_BF16);
}

void stmt_last_wins(struct mutation *m, const struct place *p)
{
    if (p->stmt->kind == STMT_UPDATE && p->stmt->combine != COMBINE_NONE &&
        mutation_here(m, "%s", p->nest->name))
        p->stmt->combine = COMBINE_NONE;
}

void stmt_combine_other(struct mutation *m, const struct place *p)
{
    uint32_t *combine = &p->stmt->combine;
    if (p->stmt->kind == STMT_UPDATE && *combine >= COMBINE_MAX &&
        mutation_here(m, "%s", p->nest->name))
        *combine = *combine == COMBINE_MAX ? COMBINE_MIN : COMBINE_MAX;
}

void stmt_update_twice(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    if (p->stmt->kind == STMT_UPDATE && p->stmt->combine == COMBINE_SUM &&
        mutation_here(m, "%s", nest->name))
        block_add(nest, p->block, stmt_update(nest, p->stmt->local, COMBINE_SUM, p->stmt->value));
}

/* Where the start value is that of a sum, a product, a maximum. */
static void change_start(struct mutation *m, const struct place *p, bool extreme)
{
    struct nest *nest = p->nest;
    if (p->stmt->kind != STMT_LOCAL)
        return;
    struct expr e = *expr_at(nest, p->stmt->value);
    enum dtype dtype = (enum dtype)e.dtype;
    bool is_extreme = dtype_is_float(dtype)
                          ? isinf(e.value)
                          : e.integer == dtype_least(dtype) || e.integer == dtype_greatest(dtype);
    if (e.op != EXPR_CONST || dtype == DTYPE_BOOL || is_extreme != extreme ||
        !mutation_here(m, "%s: %s", nest->name, nest->locals.items[p->stmt->local].name))
        return;
    if (extreme)
        p->stmt->value = expr_const(nest, dtype, 0);
    else
        p->stmt->value = dtype_is_float(dtype) ? expr_const(nest, dtype, e.value + 1e-3)
                                               : expr_int(nest, dtype, e.integer + 1);
}

void stmt_start_of_sum(struct mutation *m, const struct place *p)
{
    change_start(m, p, false);
}

void stmt_start_of_maximum(struct mutation *m, const struct place *p)
{
    change_start(m, p, true);
}

/* A stage before the one whose results it needs. */
void stmt_loops_swapped(struct mutation *m, const struct place *p)
{
    struct stmt **items = p->block->stmts.items;
    if (p->at + 1 >= p->block->stmts.count || items[p->at]->kind != STMT_FOR ||
        items[p->at + 1]->kind != STMT_FOR || !mutation_here(m, "%s", p->nest->name))
        return;
    struct stmt *first = items[p->at];
    items[p->at] = items[p->at + 1];
    items[p->at + 1] = first;
}

/* A truth value of 2. */
void stmt_bool_two(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    if (!is_store(p, ROLE_OUT) || stored(p)->dtype != DTYPE_BOOL ||
        !mutation_here(m, "%s", nest->name))
        return;
    nest->buffers.items[p->stmt->buffer].dtype = DTYPE_U8;
    p->stmt->value =
        expr_select(nest, p->stmt->value, expr_int(nest, DTYPE_U8, 2), expr_int(nest, DTYPE_U8, 0));
}

/* The first loop of the body, which is the parallel one where there is one. */
static bool is_outermost(const struct place *p)
{
    return p->depth == 0 && p->stmt->kind == STMT_FOR && p->stmt->loop_kind != LOOP_VECTOR &&
           p->stmt->loop_kind != LOOP_JAM;
}

static void store_zero(const struct place *p, uint32_t buffer, expr_id index)
{
    struct nest *nest = p->nest;
    enum dtype dtype = (enum dtype)nest->buffers.items[buffer].dtype;
    expr_id zero = dtype_is_float(dtype)
                       ? expr_const(nest, dtype == DTYPE_F64 ? dtype : DTYPE_F32, 0)
                       : expr_int(nest, dtype, 0);
    block_add(nest, &p->stmt->body, stmt_store(nest, buffer, index, zero, EXPR_NONE));
}

void stmt_writes_beyond(struct mutation *m, const struct place *p)
{
    if (is_outermost(p) && mutation_here(m, "%s", p->nest->name))
        store_zero(p, 0, p->nest->buffers.items[0].elements);
}

void stmt_writes_before(struct mutation *m, const struct place *p)
{
    if (is_outermost(p) && mutation_here(m, "%s", p->nest->name))
        store_zero(p, 0, index_const(p->nest, -1));
}

void stmt_writes_argument(struct mutation *m, const struct place *p)
{
    for (uint32_t i = 0; is_outermost(p) && i < p->nest->buffers.count; i++)
        if (p->nest->buffers.items[i].role == ROLE_IN &&
            mutation_here(m, "%s: argument %u", p->nest->name, i)) {
            store_zero(p, i, index_const(p->nest, 0));
            return;
        }
}

/* A load behind the end, on which the stored value depends, though not in fact. */
void stmt_reads_beyond(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    struct stmt *s = p->stmt;
    for (uint32_t i = 0; is_store(p, ROLE_OUT) && i < nest->buffers.count; i++) {
        const struct nest_buffer *b = &nest->buffers.items[i];
        if (b->role != ROLE_IN || b->dtype != DTYPE_F32 ||
            expr_at(nest, s->value)->dtype != DTYPE_F32 ||
            !mutation_here(m, "%s: argument %u", nest->name, i))
            continue;
        expr_id beyond = expr_load(nest, i, b->elements, EXPR_NONE);
        expr_id rare = expr_binary(nest, EXPR_EQ, beyond, expr_const(nest, DTYPE_F32, 1.2345e-30));
        s->value = expr_select(nest, rare, expr_const(nest, DTYPE_F32, 0), s->value);
        return;
    }
}

/* A kernel that is so small at every size is not split. */
#define SPLIT_ELEMENTS (1 << 17)

/* An iteration of the parallel loop writes nonsense where the next one writes its results: right
 * as long as that one comes later. */
void stmt_neighbour_race(struct mutation *m, const struct place *p)
{
    struct nest *nest = p->nest;
    struct stmt *s = p->stmt;
    uint32_t around = p->depth ? p->loops[0]->var : 0;
    int64_t elements = SPLIT_ELEMENTS;
    bool small = is_store(p, ROLE_OUT) && index_is_const(nest, stored(p)->elements, &elements) &&
                 elements < SPLIT_ELEMENTS;
    if (!is_store(p, ROLE_OUT) || small || p->depth == 0 ||
        p->loops[0]->loop_kind != LOOP_PARALLEL || expr_at(nest, s->value)->dtype != DTYPE_F32 ||
        s->guard != EXPR_NONE || index_stride(nest, s->index, around) == EXPR_NONE ||
        !mutation_here(m, "%s", nest->name))
        return;
    expr_id next = index_add(nest, expr_var(nest, around), index_const(nest, 1));
    expr_id inside = expr_binary(nest, EXPR_LT, next, nest->vars.items[around].extent);
    struct stmt *store = stmt_store(nest, s->buffer, expr_replace(nest, s->index, around, next),
                                    expr_const(nest, DTYPE_F32, 4), inside);
    block_add(nest, p->block, store);
}
