/* The interpreter of nests; see nest_eval.h.
 *
 * Operands have smaller ids than their users, so the expressions below a root in ascending order of
 * id are an evaluation order; it is computed once per root. Values are not reused from one
 * statement to the next. */
#include "compiler/loop/nest_eval.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"

struct order {
    bool known;
    uint32_t count;
    expr_id *ids; /* ascending; the last one is the root */
};

struct run {
    const struct nest *nest;
    const int64_t *dims;
    bool fused;
    struct arena *arena;
    struct error *err;
    void **memory;     /* by buffer */
    int64_t *elements; /* by buffer */
    int64_t *vars;
    union nest_value *locals;
    union nest_value *values; /* by expression */
    union nest_value param;   /* the argument, while the second operand of an APPLY is evaluated */
    struct order *orders;     /* by root */
};

static double round_to(enum dtype dtype, double v)
{
    return dtype == DTYPE_F32 ? (double)(float)v : dtype_round(dtype, v);
}

union nest_value nest_eval_load(enum dtype dtype, const void *data, int64_t index)
{
    const unsigned char *at = (const unsigned char *)data + (size_t)index * dtype_bytes(dtype);
    union nest_value out = {.i = 0};
    uint16_t half;
    float single;
    switch (dtype) {
    case DTYPE_F64: memcpy(&out.f, at, sizeof out.f); break;
    case DTYPE_F32:
        memcpy(&single, at, sizeof single);
        out.f = (double)single;
        break;
    case DTYPE_F16:
    case DTYPE_BF16:
        memcpy(&half, at, sizeof half);
        out.f = dtype == DTYPE_F16 ? f16_to_double(half) : bf16_to_double(half);
        break;
    case DTYPE_BOOL: out.i = *at != 0; break;
    default:
        memcpy(&out.i, at, dtype_bytes(dtype)); /* little endian */
        out.i = dtype_wrap(dtype, out.i);
        break;
    }
    return out;
}

void nest_eval_store(enum dtype dtype, void *data, int64_t index, union nest_value v)
{
    unsigned char *at = (unsigned char *)data + (size_t)index * dtype_bytes(dtype);
    uint16_t half;
    float single = 0;
    switch (dtype) {
    case DTYPE_F64: memcpy(at, &v.f, sizeof v.f); break;
    case DTYPE_F32:
        single = (float)v.f;
        memcpy(at, &single, sizeof single);
        break;
    case DTYPE_F16:
    case DTYPE_BF16:
        half = dtype == DTYPE_F16 ? f16_from_double(v.f) : bf16_from_double(v.f);
        memcpy(at, &half, sizeof half);
        break;
    default: memcpy(at, &v.i, dtype_bytes(dtype)); break;
    }
}

static double float_operation(enum expr_op op, enum dtype dtype, const union nest_value v[3],
                              bool fused)
{
    double a = v[0].f, b = v[1].f, c = v[2].f;
    bool single = dtype != DTYPE_F64;
    switch (op) {
    case EXPR_NEG: return -a;
    case EXPR_ABS: return fabs(a);
    case EXPR_FLOOR: return floor(a);
    case EXPR_CEIL: return ceil(a);
    case EXPR_ROUND: return nearbyint(a);
    case EXPR_TRUNC: return trunc(a);
    case EXPR_SQRT: return single ? (double)sqrtf((float)a) : sqrt(a);
    case EXPR_ADD: return single ? (double)((float)a + (float)b) : a + b;
    case EXPR_SUB: return single ? (double)((float)a - (float)b) : a - b;
    case EXPR_MUL: return single ? (double)((float)a * (float)b) : a * b;
    case EXPR_DIV: return single ? (double)((float)a / (float)b) : a / b;
    case EXPR_FMOD: return fmod(a, b);
    case EXPR_MIN: return a < b ? a : b;
    case EXPR_MAX: return a > b ? a : b;
    case EXPR_FMA:
        if (single)
            return fused ? (double)fmaf((float)a, (float)b, (float)c)
                         : (double)((float)((float)a * (float)b) + (float)c);
        return fused ? fma(a, b, c) : a * b + c;
    default: break;
    }
    assert(!"a float operation");
    return 0;
}

static int64_t divide(enum dtype dtype, int64_t a, int64_t b)
{
    if (b == 0)
        return 0;
    if (dtype == DTYPE_U64)
        return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? dtype_wrap(dtype, (int64_t)(0 - (uint64_t)a)) : a / b;
}

static int64_t int_operation(enum expr_op op, enum dtype dtype, const union nest_value v[3])
{
    int64_t a = v[0].i, b = v[1].i;
    uint64_t ua = (uint64_t)a, ub = (uint64_t)b;
    uint64_t width = 8 * dtype_bytes(dtype), amount = ub & (width - 1);
    uint64_t mask = width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
    switch (op) {
    case EXPR_NEG: return (int64_t)(0 - ua);
    case EXPR_ABS: return dtype_int_less(dtype, a, 0) ? (int64_t)(0 - ua) : a;
    case EXPR_NOT: return dtype == DTYPE_BOOL ? !a : ~a;
    case EXPR_ADD: return (int64_t)(ua + ub);
    case EXPR_SUB: return (int64_t)(ua - ub);
    case EXPR_MUL: return (int64_t)(ua * ub);
    case EXPR_DIV: return divide(dtype, a, b);
    case EXPR_FLOORDIV: return (int64_t)(ua / (ub ? ub : 1));
    case EXPR_FLOORMOD: return (int64_t)(ua % (ub ? ub : 1));
    case EXPR_MIN: return dtype_int_less(dtype, b, a) ? b : a;
    case EXPR_MAX: return dtype_int_less(dtype, a, b) ? b : a;
    case EXPR_AND: return a & b;
    case EXPR_OR: return a | b;
    case EXPR_XOR: return a ^ b;
    case EXPR_SHL: return (int64_t)(ua << amount);
    case EXPR_LSHR: return (int64_t)((ua & mask) >> amount);
    case EXPR_ASHR: return dtype == DTYPE_U64 ? (int64_t)(ua >> amount) : a >> amount;
    default: break;
    }
    assert(!"an integer operation");
    return 0;
}

static bool compare(enum expr_op op, enum dtype dtype, union nest_value a, union nest_value b)
{
    bool is_float = dtype_is_float(dtype);
    switch (op) {
    case EXPR_EQ: return is_float ? a.f == b.f : a.i == b.i;
    case EXPR_NE: return is_float ? a.f != b.f : a.i != b.i;
    case EXPR_LT: return is_float ? a.f < b.f : dtype_int_less(dtype, a.i, b.i);
    default: return is_float ? a.f <= b.f : !dtype_int_less(dtype, b.i, a.i);
    }
}

/* An integer in a narrow float dtype, rounded once. Beyond 2^53 the double would round a first
 * time: so bits that cannot reach the result are replaced by one sticky bit. */
static double int_to_narrow(enum dtype from, enum dtype to, int64_t v)
{
    if (fabs(dtype_int_value(from, v)) > 0x1p53)
        v = (v & ~(int64_t)0xfff) | (v & 0xfff ? 0x800 : 0);
    return dtype_round(to, dtype_int_value(from, v));
}

static union nest_value cast(enum dtype from, enum dtype to, union nest_value v)
{
    if (to == DTYPE_BOOL)
        return (union nest_value){.i = dtype_is_float(from) ? v.f != 0 : v.i != 0};
    if (!dtype_is_float(to))
        return (union nest_value){.i = dtype_is_float(from) ? dtype_saturate(to, v.f)
                                                            : dtype_wrap(to, v.i)};
    if (dtype_is_float(from))
        return (union nest_value){.f = round_to(to, v.f)};
    if (to == DTYPE_F64)
        return (union nest_value){.f = dtype_int_value(from, v.i)};
    return (union nest_value){.f = int_to_narrow(from, to, v.i)};
}

static union nest_value bitcast(enum dtype from, enum dtype to, union nest_value v)
{
    unsigned char bytes[8] = {0};
    assert(dtype_bytes(from) == dtype_bytes(to));
    nest_eval_store(from, bytes, 0, v);
    return nest_eval_load(to, bytes, 0);
}

union nest_value nest_eval_operation(enum expr_op op, enum dtype from, enum dtype to,
                                     const union nest_value v[3], bool fused)
{
    switch (op) {
    case EXPR_CAST: return cast(from, to, v[0]);
    case EXPR_CONVERT: return (union nest_value){.i = dtype_saturate(to, v[0].f)};
    case EXPR_BITCAST: return bitcast(from, to, v[0]);
    case EXPR_SELECT: return v[0].i ? v[1] : v[2];
    case EXPR_EQ:
    case EXPR_NE:
    case EXPR_LT:
    case EXPR_LE: return (union nest_value){.i = compare(op, from, v[0], v[1])};
    default: break;
    }
    if (dtype_is_float(to))
        return (union nest_value){.f = float_operation(op, to, v, fused)};
    return (union nest_value){.i = dtype_wrap(to, int_operation(op, to, v))};
}

union nest_value nest_eval_combine(enum combine combine, enum dtype dtype, union nest_value old,
                                   union nest_value v)
{
    const union nest_value both[3] = {old, v};
    enum expr_op op = EXPR_ADD;
    if (combine == COMBINE_PROD)
        op = EXPR_MUL;
    if (combine == COMBINE_MAX || combine == COMBINE_MIN) {
        op = combine == COMBINE_MAX ? EXPR_MAX : EXPR_MIN;
        if (dtype_is_float(dtype) && isnan(old.f))
            return old;
    }
    return nest_eval_operation(op, dtype, dtype, both, true);
}

static bool in_buffer(struct run *r, uint32_t buffer, int64_t index, const char *what)
{
    if (index >= 0 && index < r->elements[buffer])
        return true;
    return fail(r->err, ERR_BUG, "%s %s[%lld] outside its %lld elements", what,
                r->nest->buffers.items[buffer].name, (long long)index,
                (long long)r->elements[buffer]);
}

static bool load(struct run *r, const struct expr *x, union nest_value *out)
{
    *out = (union nest_value){.i = 0};
    if (x->operand[1] != EXPR_NONE && !r->values[x->operand[1]].i)
        return true;
    int64_t index = r->values[x->operand[0]].i;
    if (!in_buffer(r, x->index, index, "load of"))
        return false;
    *out = nest_eval_load(r->nest->buffers.items[x->index].dtype, r->memory[x->index], index);
    return true;
}

/* The second operand of an APPLY is evaluated as a root of its own, because PARAM differs between
 * uses. */
static void mark(const struct nest *nest, expr_id e, bool *marks)
{
    const struct expr *x = expr_at(nest, e);
    if (marks[e])
        return;
    marks[e] = true;
    for (int i = 0; i < (x->op == EXPR_APPLY ? 1 : 3); i++)
        if (x->operand[i] != EXPR_NONE)
            mark(nest, x->operand[i], marks);
}

static const struct order *order_of(struct run *r, expr_id root)
{
    struct order *o = &r->orders[root];
    if (o->known)
        return o;
    bool *marks = ARENA_ARRAY(r->arena, bool, root + 1);
    o->ids = ARENA_ARRAY(r->arena, expr_id, root + 1);
    o->known = true;
    mark(r->nest, root, marks);
    for (expr_id e = 1; e <= root; e++)
        if (marks[e])
            o->ids[o->count++] = e;
    return o;
}

static bool evaluate(struct run *r, expr_id root, union nest_value *out);

static bool evaluate(struct run *r, expr_id root, union nest_value *out)
{
    const struct order *order = order_of(r, root);
    for (uint32_t i = 0; i < order->count; i++) {
        const struct expr *x = expr_at(r->nest, order->ids[i]);
        union nest_value *to = &r->values[order->ids[i]], v[3];
        switch ((enum expr_op)x->op) {
        case EXPR_CONST:
            if (dtype_is_float(x->dtype))
                to->f = x->value;
            else
                to->i = x->integer;
            break;
        case EXPR_VAR: to->i = r->vars[x->index]; break;
        case EXPR_DIM: to->i = r->dims[x->index]; break;
        case EXPR_LOCAL: *to = r->locals[x->index]; break;
        case EXPR_LOAD:
            if (!load(r, x, to))
                return false;
            break;
        case EXPR_PARAM: *to = r->param; break;
        case EXPR_APPLY:
            r->param = r->values[x->operand[0]];
            if (!evaluate(r, x->operand[1], to))
                return false;
            break;
        default:
            for (int o = 0; o < 3; o++)
                v[o] = r->values[x->operand[o]];
            *to = nest_eval_operation((enum expr_op)x->op, expr_at(r->nest, x->operand[0])->dtype,
                                      x->dtype, v, r->fused);
            break;
        }
    }
    *out = r->values[root];
    return true;
}

static bool run_block(struct run *r, const struct block *block);

static bool run_for(struct run *r, const struct stmt *s)
{
    union nest_value extent;
    if (!evaluate(r, r->nest->vars.items[s->var].extent, &extent))
        return false;
    for (int64_t i = 0; i < extent.i; i++) {
        r->vars[s->var] = i;
        if (!run_block(r, &s->body))
            return false;
    }
    return true;
}

static bool run_store(struct run *r, const struct stmt *s)
{
    union nest_value index, value, guard = {.i = 1};
    if ((s->guard != EXPR_NONE && !evaluate(r, s->guard, &guard)) ||
        !evaluate(r, s->value, &value) || !evaluate(r, s->index, &index))
        return false;
    if (!guard.i)
        return true;
    if (!in_buffer(r, s->buffer, index.i, "store into"))
        return false;
    nest_eval_store(r->nest->buffers.items[s->buffer].dtype, r->memory[s->buffer], index.i, value);
    return true;
}

static bool run_stmt(struct run *r, const struct stmt *s)
{
    union nest_value v;
    switch ((enum stmt_kind)s->kind) {
    case STMT_FOR: return run_for(r, s);
    case STMT_STORE: return run_store(r, s);
    case STMT_PREFETCH: return true;
    case STMT_IF: return evaluate(r, s->cond, &v) && run_block(r, v.i ? &s->body : &s->orelse);
    case STMT_LOCAL:
    case STMT_UPDATE: break;
    }
    if (!evaluate(r, s->value, &v))
        return false;
    union nest_value *local = &r->locals[s->local];
    enum dtype dtype = r->nest->locals.items[s->local].dtype;
    *local =
        s->kind == STMT_LOCAL ? v : nest_eval_combine((enum combine)s->combine, dtype, *local, v);
    return true;
}

static bool run_block(struct run *r, const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++)
        if (!run_stmt(r, block->stmts.items[i]))
            return false;
    return true;
}

static bool prepare(struct run *r, void *const *arguments)
{
    for (uint32_t i = 0; i < r->nest->buffers.count; i++) {
        const struct nest_buffer *b = &r->nest->buffers.items[i];
        union nest_value elements;
        if (!evaluate(r, b->elements, &elements))
            return false;
        r->elements[i] = elements.i;
        if (b->role == ROLE_TABLE)
            r->memory[i] = arena_memdup(r->arena, b->table, b->table_bytes);
        else if (b->role == ROLE_SCRATCH)
            r->memory[i] = arena_array(r->arena, (size_t)elements.i, dtype_bytes(b->dtype));
        else
            r->memory[i] = arguments[b->argument];
    }
    return true;
}

bool nest_eval(const struct nest *nest, void *const *arguments, const int64_t *dims, bool fused,
               struct error *err)
{
    struct arena arena;
    arena_init(&arena);
    struct run r = {.nest = nest,
                    .dims = dims,
                    .fused = fused,
                    .arena = &arena,
                    .err = err,
                    .memory = ARENA_ARRAY(&arena, void *, nest->buffers.count + 1),
                    .elements = ARENA_ARRAY(&arena, int64_t, nest->buffers.count + 1),
                    .vars = ARENA_ARRAY(&arena, int64_t, nest->vars.count + 1),
                    .locals = ARENA_ARRAY(&arena, union nest_value, nest->locals.count + 1),
                    .values = ARENA_ARRAY(&arena, union nest_value, nest->exprs.count),
                    .orders = ARENA_ARRAY(&arena, struct order, nest->exprs.count)};
    bool ok = (prepare(&r, arguments) && run_block(&r, &nest->body)) ||
              fail_at(err, "nest '%s'", nest->name);
    arena_release(&arena);
    return ok;
}
