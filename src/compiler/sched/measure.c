/* The sizes of a nest as dims of the graph, which a plan records for a launch. */
#include "base/error.h"
#include "compiler/sched/sched_priv.h"

/* An index without loop variables as a dim; DIM_NONE if it is not representable. */
static dim_id to_dim(const struct nest *nest, struct dim_table *dims, expr_id e)
{
    const struct expr x = *expr_at(nest, e);
    if (x.op == EXPR_CONST)
        return dim_const(dims, x.integer);
    if (x.op == EXPR_DIM)
        return dim_named(dims, x.index);
    if (x.operand[1] == EXPR_NONE)
        return DIM_NONE;
    dim_id a = to_dim(nest, dims, x.operand[0]), b = to_dim(nest, dims, x.operand[1]);
    switch ((enum expr_op)x.op) {
    case EXPR_ADD: return dim_add(dims, a, b);
    case EXPR_MUL: return dim_mul(dims, a, b);
    case EXPR_FLOORDIV: return dim_floordiv(dims, a, b);
    case EXPR_MIN: return dim_min(dims, a, b);
    case EXPR_MAX: return dim_max(dims, a, b);
    default: return DIM_NONE;
    }
}

/* A bound of a loop's extent without loop variables: blocks of a split count as whole. */
static expr_id bound_of(struct nest *nest, expr_id extent)
{
    struct expr x = *expr_at(nest, extent);
    int64_t lo, hi;
    if (x.vars == 0)
        return extent;
    if (x.op == EXPR_MIN)
        return expr_at(nest, x.operand[0])->vars == 0 ? x.operand[0] : x.operand[1];
    index_range(nest, extent, &lo, &hi);
    return hi < LIMIT_DIM_VALUE ? index_const(nest, hi) : EXPR_NONE;
}

/* Each distinct operation is counted once, because it is computed once. The set of those seen is a
 * small direct-mapped table, so one that was overwritten counts again. The body of an APPLY does
 * not count: it is rarely computed. */
struct seen {
    expr_id ids[512];
};

static uint32_t count_operations(const struct nest *nest, expr_id e, struct seen *seen)
{
    const struct expr *x = expr_at(nest, e);
    if (e == EXPR_NONE || seen->ids[e % 512] == e || x->operand[0] == EXPR_NONE)
        return 0;
    seen->ids[e % 512] = e;
    uint32_t count = 1;
    int operands = x->op == EXPR_LOAD ? 0 : x->op == EXPR_APPLY ? 1 : 3;
    for (int i = 0; i < operands; i++)
        count += count_operations(nest, x->operand[i], seen);
    return count;
}

uint32_t expr_operations(const struct nest *nest, expr_id e)
{
    struct seen seen = {{0}};
    return count_operations(nest, e, &seen);
}

/* The sum over statements of the product of the extents around times the operations of the
 * statement. */
static dim_id work_of(struct nest *nest, struct dim_table *dims, const struct block *block)
{
    dim_id sum = dim_const(dims, 0);
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        dim_id work;
        if (s->kind == STMT_FOR) {
            expr_id bound = bound_of(nest, nest->vars.items[s->var].extent);
            dim_id extent = bound == EXPR_NONE ? DIM_NONE : to_dim(nest, dims, bound);
            work = extent == DIM_NONE ? DIM_NONE
                                      : dim_mul(dims, extent, work_of(nest, dims, &s->body));
        } else if (s->kind == STMT_IF) {
            work = work_of(nest, dims, &s->body);
        } else if (s->kind == STMT_PREFETCH) {
            continue;
        } else {
            work = dim_const(dims, 1 + (int64_t)expr_operations(nest, s->value));
        }
        if (work == DIM_NONE || sum == DIM_NONE)
            return DIM_NONE;
        sum = dim_add(dims, sum, work);
    }
    return sum;
}

static const struct stmt *parallel_loop(const struct nest *nest)
{
    for (uint32_t i = 0; i < nest->body.stmts.count; i++)
        if (nest->body.stmts.items[i]->kind == STMT_FOR &&
            nest->body.stmts.items[i]->loop_kind == LOOP_PARALLEL)
            return nest->body.stmts.items[i];
    return NULL;
}

void note_edge(struct nest *nest, expr_id extent, int64_t at)
{
    int64_t value;
    if (at < 2 || nest->edges.count == LIMIT_KERNEL_EDGES || expr_at(nest, extent)->vars != 0 ||
        index_is_const(nest, extent, &value))
        return;
    for (uint32_t i = 0; i < nest->edges.count; i++)
        if (nest->edges.items[i].size == extent && nest->edges.items[i].at == at)
            return;
    struct nest_edge edge = {extent, at};
    VEC_PUSH(nest->arena, &nest->edges, edge);
}

static void measure_edges(struct nest *nest, struct dim_table *dims, struct sched_sizes *out)
{
    out->edges = ARENA_ARRAY(nest->arena, struct plan_edge, nest->edges.count);
    out->edge_count = 0;
    for (uint32_t i = 0; i < nest->edges.count; i++) {
        dim_id size = to_dim(nest, dims, nest->edges.items[i].size);
        if (size != DIM_NONE)
            out->edges[out->edge_count++] = (struct plan_edge){size, nest->edges.items[i].at};
    }
}

bool sched_measure(struct nest *nest, struct dim_table *dims, struct sched_sizes *out,
                   struct error *err)
{
    const struct stmt *parallel = parallel_loop(nest);
    struct sched_sizes sizes = {.extent = dim_const(dims, 1), .scratch_bytes = dim_const(dims, 0)};
    if (parallel)
        sizes.extent = to_dim(nest, dims, nest->vars.items[parallel->var].extent);
    for (uint32_t i = 0; i < nest->buffers.count; i++) {
        const struct nest_buffer *b = &nest->buffers.items[i];
        if (b->role != ROLE_SCRATCH)
            continue;
        dim_id bytes = dim_mul(dims, to_dim(nest, dims, b->elements),
                               dim_const(dims, (int64_t)dtype_bytes(b->dtype)));
        bytes = dim_mul(dims, dim_ceildiv(dims, bytes, dim_const(dims, 64)), dim_const(dims, 64));
        sizes.scratch_bytes = dim_add(dims, sizes.scratch_bytes, bytes);
    }
    sizes.work = work_of(nest, dims, &nest->body);
    if (sizes.work == DIM_NONE) /* only an estimate: if it is not representable, it is large */
        sizes.work = dim_const(dims, LIMIT_DIM_VALUE);
    if (sizes.extent == DIM_NONE || sizes.scratch_bytes == DIM_NONE)
        return fail(err, ERR_LIMIT, "kernel '%s': its sizes cannot be expressed", nest->name);
    measure_edges(nest, dims, &sizes);
    *out = sizes;
    return true;
}
