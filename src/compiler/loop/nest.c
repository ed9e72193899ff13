/* Nests: variables, buffers, locals, statements, copies. */
#include "compiler/loop/loop_priv.h"

#include <math.h>

#include "base/checked.h"
#include "base/strbuf.h"

void nest_init(struct nest *nest, struct arena *arena, const struct dim_table *dims,
               const char *name)
{
    *nest = (struct nest){.arena = arena, .dims = dims, .name = arena_strdup(arena, name)};
    VEC_PUSH(arena, &nest->exprs, (struct expr){0});
}

bool nest_find_var(const struct nest *nest, const char *name, uint32_t *out)
{
    for (uint32_t i = 0; i < nest->vars.count; i++) {
        if (strcmp(nest->vars.items[i].name, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

const char *loop_role_stem(enum loop_role role)
{
    static const char *const stems[OVER_COUNT] = {
#define ROLE(id, text, stem, doc) [OVER_##id] = stem,
#include "compiler/loop/roles.def"
#undef ROLE
    };
    return stems[role];
}

const char *loop_role_name(enum loop_role role)
{
    static const char *const names[OVER_COUNT] = {
#define ROLE(id, text, stem, doc) [OVER_##id] = text,
#include "compiler/loop/roles.def"
#undef ROLE
    };
    return names[role];
}

enum loop_role loop_role_from_name(const char *name)
{
    for (int role = OVER_NONE + 1; role < OVER_COUNT; role++)
        if (strcmp(loop_role_name((enum loop_role)role), name) == 0)
            return (enum loop_role)role;
    return OVER_NONE;
}

uint32_t nest_var(struct nest *nest, const char *name, enum loop_role role, expr_id extent)
{
    struct strbuf unique;
    uint32_t other;
    strbuf_init(&unique, nest->arena);
    strbuf_puts(&unique, name);
    for (int n = 2; nest_find_var(nest, unique.data, &other); n++) {
        strbuf_init(&unique, nest->arena);
        strbuf_printf(&unique, "%s%d", name, n);
    }
    VEC_PUSH(nest->arena, &nest->vars,
             ((struct nest_var){.name = unique.data, .role = (uint8_t)role, .extent = extent}));
    return nest->vars.count - 1;
}

uint32_t nest_buffer(struct nest *nest, const struct nest_buffer *buffer)
{
    struct nest_buffer b = *buffer;
    b.argument = nest->arguments.count;
    if (b.role == ROLE_OUT || b.role == ROLE_IN)
        VEC_PUSH(nest->arena, &nest->arguments, nest->buffers.count);
    VEC_PUSH(nest->arena, &nest->buffers, b);
    return nest->buffers.count - 1;
}

uint32_t nest_local(struct nest *nest, const char *name, enum dtype dtype)
{
    VEC_PUSH(nest->arena, &nest->locals,
             ((struct nest_local){.name = name, .dtype = (uint8_t)dtype}));
    return nest->locals.count - 1;
}

/* floor(a / b). Indices are divided as what is never negative, so what may be gets whole multiples
 * of b first, as far as they are surely representable: floor((a + n × b) / b) - n. */
static expr_id divide(struct nest *nest, const struct dim_atom *atom, expr_id a, expr_id b)
{
    int64_t least, most, least_b, most_b, add;
    dim_range(nest->dims, atom->a, &least, &most);
    dim_range(nest->dims, atom->b, &least_b, &most_b);
    if (least >= 0 || least == -INT64_MAX || least_b < 1)
        return index_div(nest, a, b);
    int64_t n = -least / least_b + 1;
    if (!checked_mul_i64(n, most_b, &add))
        return index_div(nest, a, b);
    a = index_add(nest, a, index_mul(nest, index_const(nest, n), b));
    return index_add(nest, index_div(nest, a, b), index_const(nest, -n));
}

static expr_id dim_atom_expr(struct nest *nest, const struct dim_atom *atom)
{
    if (atom->kind == DIM_ATOM_NAME) {
        const struct expr name = {.op = EXPR_DIM, .dtype = DTYPE_I64, .index = atom->name};
        return index_div(nest, expr_intern(nest, name), index_const(nest, atom->divisor));
    }
    expr_id a = expr_dim(nest, atom->a), b = expr_dim(nest, atom->b);
    return atom->kind == DIM_ATOM_MAX ? index_max(nest, a, b) : divide(nest, atom, a, b);
}

expr_id expr_dim(struct nest *nest, dim_id dim)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(nest->dims, dim, &count);
    expr_id sum = index_const(nest, 0);
    for (uint32_t i = 0; i < count; i++) {
        expr_id product = index_const(nest, terms[i].coefficient);
        for (uint32_t a = 0; a < terms[i].atom_count; a++)
            product = index_mul(nest, product, dim_atom_expr(nest, &terms[i].atoms[a]));
        sum = index_add(nest, sum, product);
    }
    return sum;
}

static struct stmt *stmt_new(struct nest *nest, enum stmt_kind kind)
{
    struct stmt *stmt = ARENA_NEW(nest->arena, struct stmt);
    stmt->kind = (uint8_t)kind;
    return stmt;
}

struct stmt *stmt_for(struct nest *nest, uint32_t var, bool independent)
{
    struct stmt *stmt = stmt_new(nest, STMT_FOR);
    stmt->loop_kind = LOOP_SERIAL;
    stmt->var = var;
    stmt->independent = independent;
    return stmt;
}

struct stmt *stmt_if(struct nest *nest, expr_id cond)
{
    struct stmt *stmt = stmt_new(nest, STMT_IF);
    stmt->cond = cond;
    return stmt;
}

struct stmt *stmt_local(struct nest *nest, uint32_t local, expr_id init)
{
    struct stmt *stmt = stmt_new(nest, STMT_LOCAL);
    stmt->local = local;
    stmt->value = init;
    return stmt;
}

struct stmt *stmt_update(struct nest *nest, uint32_t local, enum combine combine, expr_id value)
{
    struct stmt *stmt = stmt_new(nest, STMT_UPDATE);
    stmt->local = local;
    stmt->combine = combine;
    stmt->value = value;
    return stmt;
}

struct stmt *stmt_store(struct nest *nest, uint32_t buffer, expr_id index, expr_id value,
                        expr_id guard)
{
    struct stmt *stmt = stmt_new(nest, STMT_STORE);
    stmt->buffer = buffer;
    stmt->index = index;
    stmt->value = expr_before_rounding(nest, value, nest->buffers.items[buffer].dtype);
    stmt->guard = guard;
    return stmt;
}

struct stmt *stmt_prefetch(struct nest *nest, uint32_t buffer, expr_id index)
{
    struct stmt *stmt = stmt_new(nest, STMT_PREFETCH);
    stmt->buffer = buffer;
    stmt->index = index;
    return stmt;
}

void block_add(struct nest *nest, struct block *block, struct stmt *stmt)
{
    VEC_PUSH(nest->arena, &block->stmts, stmt);
}

expr_id combine_identity(struct nest *nest, enum combine combine, enum dtype dtype)
{
    bool is_float = dtype_is_float(dtype);
    switch (combine) {
    case COMBINE_PROD: return expr_const(nest, dtype, 1);
    case COMBINE_MAX:
        return is_float ? expr_const(nest, dtype, -INFINITY)
                        : expr_int(nest, dtype, dtype_least(dtype));
    case COMBINE_MIN:
        return is_float ? expr_const(nest, dtype, INFINITY)
                        : expr_int(nest, dtype, dtype_greatest(dtype));
    case COMBINE_NONE:
    case COMBINE_SUM: break;
    }
    return expr_const(nest, dtype, 0);
}

/* Substitutions made by a copy: each loop variable and local of the copied block gets a new one. */
struct rename {
    uint32_t count;
    uint32_t from[NEST_MAX_VARS];
    expr_id to[NEST_MAX_VARS];
    uint32_t local_to[NEST_MAX_LOCALS]; /* index + 1; 0: not renamed */
};

/* New locals are not among the old ones, so substituting one after the other is safe. */
static expr_id rename_locals(struct nest *nest, expr_id e, const struct rename *names)
{
    for (uint32_t i = 0; i < NEST_MAX_LOCALS && expr_at(nest, e)->locals; i++)
        if (names->local_to[i])
            e = expr_replace_local(nest, e, i, expr_local(nest, names->local_to[i] - 1));
    return e;
}

static expr_id rename_expr(struct nest *nest, expr_id e, const struct rename *names)
{
    if (e == EXPR_NONE)
        return e;
    for (uint32_t i = 0; i < names->count; i++)
        e = expr_replace(nest, e, names->from[i], names->to[i]);
    return rename_locals(nest, e, names);
}

static void copy_block(struct nest *nest, const struct block *from, struct block *to,
                       struct rename *names)
{
    for (uint32_t i = 0; i < from->stmts.count; i++) {
        const struct stmt *s = from->stmts.items[i];
        struct stmt *copy = ARENA_NEW(nest->arena, struct stmt);
        *copy = *s;
        copy->body = copy->orelse = (struct block){0};
        if (s->kind == STMT_FOR) {
            expr_id extent = rename_expr(nest, nest->vars.items[s->var].extent, names);
            const struct nest_var old = nest->vars.items[s->var];
            copy->var = nest_var(nest, old.name, (enum loop_role)old.role, extent);
            nest->vars.items[copy->var].full = old.full;
            names->from[names->count] = s->var;
            names->to[names->count++] = expr_var(nest, copy->var);
        }
        if (s->kind == STMT_LOCAL) {
            copy->local = nest_local(nest, nest->locals.items[s->local].name,
                                     nest->locals.items[s->local].dtype);
            names->local_to[s->local] = copy->local + 1;
        } else if (s->kind == STMT_UPDATE && names->local_to[s->local]) {
            copy->local = names->local_to[s->local] - 1;
        }
        copy->cond = rename_expr(nest, s->cond, names);
        copy->value = rename_expr(nest, s->value, names);
        copy->index = rename_expr(nest, s->index, names);
        copy->guard = rename_expr(nest, s->guard, names);
        copy_block(nest, &s->body, &copy->body, names);
        copy_block(nest, &s->orelse, &copy->orelse, names);
        block_add(nest, to, copy);
    }
}

void block_copy(struct nest *nest, const struct block *from, struct block *to, uint32_t var,
                expr_id value)
{
    struct rename names = {.count = 1, .from = {var}, .to = {value}};
    copy_block(nest, from, to, &names);
}
