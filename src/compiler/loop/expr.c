/* Interned scalar expressions: construction, constant folding, substitution.
 *
 *
 * Invariants:
 * (1) equal content, equal id;
 * (2) operands have smaller ids than their users;
 * (3) i64 sums and products are made by index.c only, in normal form;
 * (4) folding never changes the bits of a float result. */
#include "compiler/loop/loop_priv.h"

#include <math.h>

#include "base/arena.h"
#include "base/hash.h"

uint64_t expr_hash(const struct expr *e)
{
    uint64_t bits, kind = (uint64_t)e->op << 8 | e->dtype;
    memcpy(&bits, &e->value, sizeof bits);
    uint64_t h = hash64_mix(kind << 32 | e->index, (uint64_t)e->operand[0] << 32 | e->operand[1]);
    return hash64_mix(hash64_mix(h, e->operand[2]), bits ^ (uint64_t)e->integer);
}

bool expr_same(const struct expr *a, const struct expr *b)
{
    return a->op == b->op && a->dtype == b->dtype && a->index == b->index &&
           a->operand[0] == b->operand[0] && a->operand[1] == b->operand[1] &&
           a->operand[2] == b->operand[2] && a->integer == b->integer &&
           memcmp(&a->value, &b->value, sizeof a->value) == 0;
}

expr_id expr_intern(struct nest *nest, struct expr e)
{
    for (int i = 0; i < 3; i++) {
        if (e.operand[i] != EXPR_NONE) {
            e.vars |= expr_at(nest, e.operand[i])->vars;
            e.locals |= expr_at(nest, e.operand[i])->locals;
            e.loads |= expr_at(nest, e.operand[i])->loads;
            e.unstable |= expr_at(nest, e.operand[i])->unstable;
        }
    }
    if (e.op == EXPR_LOAD) {
        uint8_t role = nest->buffers.items[e.index].role;
        e.loads = true;
        e.unstable |= role == ROLE_OUT || role == ROLE_SCRATCH;
    }
    if (e.op == EXPR_VAR)
        e.vars = (uint64_t)1 << e.index;
    if (e.op == EXPR_LOCAL)
        e.locals = (uint64_t)1 << e.index % 64;
    uint64_t hash = expr_hash(&e);
    uint32_t cursor = 0, id;
    while (map_next(&nest->interned, hash, &cursor, &id))
        if (expr_same(expr_at(nest, id), &e))
            return id;
    id = nest->exprs.count;
    VEC_PUSH(nest->arena, &nest->exprs, e);
    map_add(&nest->interned, nest->arena, hash, id);
    return id;
}

expr_id expr_const(struct nest *nest, enum dtype dtype, double value)
{
    if (!dtype_is_float(dtype))
        return expr_int(nest, dtype, (int64_t)value);
    return expr_intern(
        nest, (struct expr){.op = EXPR_CONST, .dtype = dtype, .value = dtype_round(dtype, value)});
}

expr_id expr_int(struct nest *nest, enum dtype dtype, int64_t value)
{
    assert(!dtype_is_float(dtype));
    return expr_intern(
        nest, (struct expr){.op = EXPR_CONST, .dtype = dtype, .integer = dtype_wrap(dtype, value)});
}

expr_id expr_var(struct nest *nest, uint32_t var)
{
    return expr_intern(nest, (struct expr){.op = EXPR_VAR, .dtype = DTYPE_I64, .index = var});
}

expr_id expr_local(struct nest *nest, uint32_t local)
{
    return expr_intern(
        nest,
        (struct expr){.op = EXPR_LOCAL, .dtype = nest->locals.items[local].dtype, .index = local});
}

/* The dtype that a load from a buffer of this dtype has. */
static enum dtype loaded_dtype(enum dtype dtype)
{
    return dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? DTYPE_F32 : dtype;
}

expr_id expr_load(struct nest *nest, uint32_t buffer, expr_id index, expr_id guard)
{
    bool value;
    enum dtype dtype = loaded_dtype(nest->buffers.items[buffer].dtype);
    if (guard != EXPR_NONE && expr_is_bool(nest, guard, &value)) {
        if (!value)
            return expr_const(nest, dtype, 0);
        guard = EXPR_NONE;
    }
    return expr_intern(
        nest,
        (struct expr){.op = EXPR_LOAD, .dtype = dtype, .index = buffer, .operand = {index, guard}});
}

bool expr_is_bool(const struct nest *nest, expr_id e, bool *out)
{
    const struct expr *x = expr_at(nest, e);
    if (x->op != EXPR_CONST || x->dtype != DTYPE_BOOL)
        return false;
    *out = x->integer != 0;
    return true;
}

static bool is_const(const struct nest *nest, expr_id e)
{
    return expr_at(nest, e)->op == EXPR_CONST;
}

static expr_id fold_float_unary(struct nest *nest, enum expr_op op, const struct expr *x)
{
    double v = x->value;
    switch (op) {
    case EXPR_NEG: v = -v; break;
    case EXPR_ABS: v = fabs(v); break;
    case EXPR_FLOOR: v = floor(v); break;
    case EXPR_CEIL: v = ceil(v); break;
    case EXPR_ROUND: v = rint(v); break;
    case EXPR_TRUNC: v = trunc(v); break;
    case EXPR_SQRT: v = sqrt(v); break;
    default: return EXPR_NONE;
    }
    return expr_const(nest, x->dtype, v);
}

expr_id expr_unary(struct nest *nest, enum expr_op op, expr_id a)
{
    const struct expr *x = expr_at(nest, a);
    if (x->op == EXPR_CONST && dtype_is_float(x->dtype) && !isnan(x->value)) {
        expr_id folded = fold_float_unary(nest, op, x);
        if (folded != EXPR_NONE)
            return folded;
    }
    if (x->op == EXPR_CONST && x->dtype == DTYPE_BOOL && op == EXPR_NOT)
        return expr_int(nest, DTYPE_BOOL, !x->integer);
    if ((op == EXPR_NEG || op == EXPR_NOT) && x->op == op)
        return x->operand[0];
    if (x->dtype == DTYPE_I64 && op == EXPR_NEG)
        return index_sub(nest, index_const(nest, 0), a);
    return expr_intern(nest, (struct expr){.op = (uint8_t)op, .dtype = x->dtype, .operand = {a}});
}

static bool is_compare(enum expr_op op)
{
    return op == EXPR_EQ || op == EXPR_NE || op == EXPR_LT || op == EXPR_LE;
}

static expr_id fold_compare(struct nest *nest, enum expr_op op, const struct expr *a,
                            const struct expr *b)
{
    int order; /* -1, 0, 1; 2: unordered */
    if (dtype_is_float(a->dtype))
        order =
            isnan(a->value) || isnan(b->value) ? 2 : (a->value > b->value) - (a->value < b->value);
    else
        order = dtype_int_less(a->dtype, b->integer, a->integer) -
                dtype_int_less(a->dtype, a->integer, b->integer);
    bool result = op == EXPR_EQ   ? order == 0
                  : op == EXPR_NE ? order != 0
                  : op == EXPR_LT ? order == -1
                                  : order == -1 || order == 0;
    return expr_int(nest, DTYPE_BOOL, result);
}

static expr_id fold_bool(struct nest *nest, enum expr_op op, expr_id a, expr_id b)
{
    bool value;
    if (op != EXPR_AND && op != EXPR_OR)
        return EXPR_NONE;
    if (a == b)
        return a;
    if (!expr_is_bool(nest, a, &value)) {
        if (!expr_is_bool(nest, b, &value))
            return EXPR_NONE;
        b = a;
    }
    if (op == EXPR_AND)
        return value ? b : expr_int(nest, DTYPE_BOOL, 0);
    return value ? expr_int(nest, DTYPE_BOOL, 1) : b;
}

static expr_id fold_float_binary(struct nest *nest, enum expr_op op, const struct expr *a,
                                 const struct expr *b)
{
    double x = a->value, y = b->value, v;
    if (isnan(x) || isnan(y))
        return EXPR_NONE;
    switch (op) {
    case EXPR_ADD: v = x + y; break;
    case EXPR_SUB: v = x - y; break;
    case EXPR_MUL: v = x * y; break;
    case EXPR_DIV: v = x / y; break;
    case EXPR_MIN: v = y < x ? y : x; break;
    case EXPR_MAX: v = y > x ? y : x; break;
    default: return EXPR_NONE;
    }
    return isnan(v) ? EXPR_NONE : expr_const(nest, a->dtype, v); /* f32: rounding the double is
                                                                    innocuous, as if rounded once */
}

/* Folds a comparison of indices that is proven true, or proven false, for all values of
 * variables. */
static expr_id decide_index_compare(struct nest *nest, enum expr_op op, expr_id a, expr_id b)
{
    expr_id one = index_const(nest, 1);
    if (op == EXPR_LT && index_le(nest, index_add(nest, a, one), b))
        return expr_int(nest, DTYPE_BOOL, 1);
    if (op == EXPR_LT && index_le(nest, b, a))
        return expr_int(nest, DTYPE_BOOL, 0);
    if (op == EXPR_LE && index_le(nest, a, b))
        return expr_int(nest, DTYPE_BOOL, 1);
    if (op == EXPR_LE && index_le(nest, index_add(nest, b, one), a))
        return expr_int(nest, DTYPE_BOOL, 0);
    return EXPR_NONE;
}

expr_id expr_binary(struct nest *nest, enum expr_op op, expr_id a, expr_id b)
{
    enum dtype dtype = expr_at(nest, a)->dtype;
    assert(dtype == expr_at(nest, b)->dtype);
    if (dtype == DTYPE_I64) {
        switch (op) {
        case EXPR_ADD: return index_add(nest, a, b);
        case EXPR_SUB: return index_sub(nest, a, b);
        case EXPR_MUL: return index_mul(nest, a, b);
        case EXPR_MIN: return index_min(nest, a, b);
        case EXPR_MAX: return index_max(nest, a, b);
        default: break;
        }
    }
    expr_id folded = EXPR_NONE;
    if (is_compare(op) && is_const(nest, a) && is_const(nest, b))
        folded = fold_compare(nest, op, expr_at(nest, a), expr_at(nest, b));
    else if (is_compare(op) && dtype == DTYPE_I64)
        folded = decide_index_compare(nest, op, a, b);
    else if (dtype == DTYPE_BOOL)
        folded = fold_bool(nest, op, a, b);
    else if (dtype_is_float(dtype) && is_const(nest, a) && is_const(nest, b))
        folded = fold_float_binary(nest, op, expr_at(nest, a), expr_at(nest, b));
    if (folded != EXPR_NONE)
        return folded;
    enum dtype result = is_compare(op) ? DTYPE_BOOL : dtype;
    return expr_intern(
        nest, (struct expr){.op = (uint8_t)op, .dtype = (uint8_t)result, .operand = {a, b}});
}

expr_id expr_select(struct nest *nest, expr_id c, expr_id a, expr_id b)
{
    bool value;
    assert(expr_at(nest, a)->dtype == expr_at(nest, b)->dtype &&
           expr_at(nest, c)->dtype == DTYPE_BOOL);
    if (expr_is_bool(nest, c, &value))
        return value ? a : b;
    if (a == b)
        return a;
    return expr_intern(
        nest,
        (struct expr){.op = EXPR_SELECT, .dtype = expr_at(nest, a)->dtype, .operand = {c, a, b}});
}

expr_id expr_fma(struct nest *nest, expr_id a, expr_id b, expr_id c)
{
    return expr_intern(
        nest,
        (struct expr){.op = EXPR_FMA, .dtype = expr_at(nest, a)->dtype, .operand = {a, b, c}});
}

expr_id expr_param(struct nest *nest, enum dtype dtype)
{
    return expr_intern(nest, (struct expr){.op = EXPR_PARAM, .dtype = (uint8_t)dtype});
}

expr_id expr_apply(struct nest *nest, expr_id x, expr_id f)
{
    const struct expr *body = expr_at(nest, f);
    uint8_t dtype = body->dtype;
    assert(dtype == expr_at(nest, x)->dtype);
    assert(body->vars == 0 && body->locals == 0 && !body->loads);
    return expr_intern(nest, (struct expr){.op = EXPR_APPLY, .dtype = dtype, .operand = {x, f}});
}

expr_id expr_cast(struct nest *nest, expr_id a, enum dtype dtype)
{
    const struct expr *x = expr_at(nest, a);
    if (x->dtype == dtype)
        return a;
    if (loaded_dtype(dtype) != dtype && x->op == EXPR_CAST && x->dtype == DTYPE_F32 &&
        expr_at(nest, x->operand[0])->dtype == dtype)
        return x->operand[0];
    if (x->op == EXPR_CONST && dtype_is_float(x->dtype) && dtype_is_float(dtype) &&
        !isnan(x->value))
        return expr_const(nest, dtype, x->value);
    if (x->op == EXPR_CONST && !dtype_is_float(x->dtype) && !dtype_is_float(dtype))
        return expr_int(nest, dtype, x->integer);
    return expr_intern(nest,
                       (struct expr){.op = EXPR_CAST, .dtype = (uint8_t)dtype, .operand = {a}});
}

expr_id expr_convert(struct nest *nest, expr_id a, enum dtype dtype)
{
    return expr_intern(nest,
                       (struct expr){.op = EXPR_CONVERT, .dtype = (uint8_t)dtype, .operand = {a}});
}

expr_id expr_bitcast(struct nest *nest, expr_id a, enum dtype dtype)
{
    return expr_intern(nest,
                       (struct expr){.op = EXPR_BITCAST, .dtype = (uint8_t)dtype, .operand = {a}});
}

/* Makes e again with other operands, through the constructors, so that it is folded again. */
expr_id expr_rebuild(struct nest *nest, const struct expr *e, const expr_id operand[3])
{
    switch ((enum expr_op)e->op) {
    case EXPR_LOAD: return expr_load(nest, e->index, operand[0], operand[1]);
    case EXPR_CAST: return expr_cast(nest, operand[0], e->dtype);
    case EXPR_CONVERT: return expr_convert(nest, operand[0], e->dtype);
    case EXPR_BITCAST: return expr_bitcast(nest, operand[0], e->dtype);
    case EXPR_SELECT: return expr_select(nest, operand[0], operand[1], operand[2]);
    case EXPR_FMA: return expr_fma(nest, operand[0], operand[1], operand[2]);
    case EXPR_APPLY: return expr_apply(nest, operand[0], operand[1]);
    case EXPR_FLOORDIV: return index_div(nest, operand[0], operand[1]);
    case EXPR_FLOORMOD: return index_mod(nest, operand[0], operand[1]);
    default: break;
    }
    if (operand[1] != EXPR_NONE)
        return expr_binary(nest, (enum expr_op)e->op, operand[0], operand[1]);
    return expr_unary(nest, (enum expr_op)e->op, operand[0]);
}

void expr_exchange_begin(struct nest *nest, expr_id what, expr_id value, struct expr_exchange *out)
{
    uint32_t count = nest->exprs.count;
    if (nest->exchanged.capacity < count) {
        nest->exchanged.capacity = 2 * count;
        nest->exchanged.became = ARENA_ARRAY(nest->arena, expr_id, 2 * count);
        nest->exchanged.numbers = ARENA_ARRAY(nest->arena, uint32_t, 2 * count);
    }
    *out = (struct expr_exchange){what, value, ++nest->exchanged.number};
}

/* e cannot contain `what` if its id is smaller, or if a variable, local or load of `what` is
 * missing. */
expr_id expr_exchange_next(struct nest *nest, const struct expr_exchange *x, expr_id id)
{
    struct expr e = *expr_at(nest, id); /* a copy: the table may move when it grows */
    const struct expr *what = expr_at(nest, x->what);
    if (id == x->what)
        return x->value;
    if (id < x->what || (what->vars & ~e.vars) || (what->locals & ~e.locals) ||
        what->loads > e.loads)
        return id;
    if (id < nest->exchanged.capacity && nest->exchanged.numbers[id] == x->number)
        return nest->exchanged.became[id];
    expr_id operand[3] = {0};
    for (int i = 0; i < 3; i++)
        if (e.operand[i] != EXPR_NONE)
            operand[i] = expr_exchange_next(nest, x, e.operand[i]);
    bool same = memcmp(operand, e.operand, sizeof operand) == 0;
    expr_id became = same ? id : expr_rebuild(nest, &e, operand);
    if (id < nest->exchanged.capacity) {
        nest->exchanged.numbers[id] = x->number;
        nest->exchanged.became[id] = became;
    }
    return became;
}

expr_id expr_exchange(struct nest *nest, expr_id e, expr_id what, expr_id value)
{
    struct expr_exchange exchange;
    if (e == EXPR_NONE || e < what)
        return e;
    expr_exchange_begin(nest, what, value, &exchange);
    return expr_exchange_next(nest, &exchange, e);
}

expr_id expr_replace(struct nest *nest, expr_id e, uint32_t var, expr_id value)
{
    if (e == EXPR_NONE || !(expr_at(nest, e)->vars >> var & 1))
        return e;
    return expr_exchange(nest, e, expr_var(nest, var), value);
}

expr_id expr_replace_local(struct nest *nest, expr_id e, uint32_t local, expr_id value)
{
    if (e == EXPR_NONE || !(expr_at(nest, e)->locals >> local % 64 & 1))
        return e;
    return expr_exchange(nest, e, expr_local(nest, local), value);
}

static void walk(struct nest *nest, expr_id e, bool *seen, expr_visitor *visit, void *context)
{
    if (e == EXPR_NONE || seen[e])
        return;
    seen[e] = true;
    for (int i = 0; i < 3; i++)
        walk(nest, expr_at(nest, e)->operand[i], seen, visit, context);
    visit(nest, e, context);
}

void expr_walk(struct nest *nest, expr_id e, expr_visitor *visit, void *context)
{
    walk(nest, e, ARENA_ARRAY(nest->arena, bool, e + 1), visit, context);
}
