/* The driver: checks its arguments, evaluates shapes, runs the live nodes in order.
 *
 * A node's memory goes back to a pool after its last use (interp_pool.c), so the arena grows to the
 * peak of live memory and not to the sum of all results. Only nodes that an output needs are
 * run. */
#include "graph/interp_run_priv.h"

#include <assert.h>

#include "base/error.h"
#include "base/rng.h"

#define FOLDED_ROUNDINGS 8 /* error of a folded constant, in unit roundoffs */

void *op_scratch(const struct op *op, enum scratch_use use, size_t bytes)
{
    struct scratch *scratch = op->scratch;
    size_t *had = &scratch->pieces[use].bytes;
    if (*had < bytes) {
        *had = 2 * *had > bytes ? 2 * *had : bytes;
        scratch->pieces[use].data = arena_alloc(scratch->arena, *had, 64);
    }
    return scratch->pieces[use].data;
}

bool interp_shape(const struct graph *graph, const int64_t *dim_values, value_id id,
                  struct interp_tensor *out, struct error *err)
{
    const struct node *node = graph_node(graph, id);
    *out = (struct interp_tensor){.dtype = (enum dtype)node->dtype, .rank = node->rank};
    for (uint32_t i = 0; i < node->rank; i++)
        if (!dim_eval(&graph->dims, node->shape[i], dim_values, &out->shape[i]))
            return fail(err, ERR_LIMIT, "dim %u of value %u cannot be evaluated", i, id);
    if (!interp_count(out->dtype, out->shape, out->rank, &out->count))
        return fail(err, ERR_LIMIT, "value %u is larger than %lld bytes", id,
                    (long long)LIMIT_TENSOR_BYTES);
    return true;
}

static void run_const(const struct op *op)
{
    if (dtype_is_float(op->out->dtype))
        op_put_exact(op, 0, (union cell){.f = op->attrs->value},
                     op->constant_error * fabs(op->attrs->value));
    else
        op_put_exact(op, 0, (union cell){.i = op->attrs->integer}, 0);
}

static void run_literal(const struct op *op)
{
    if (op->points)
        interp_load_points(op->out->dtype, op->out->count, op->attrs->data, op->points,
                           op->out->cells);
    else
        interp_cells(op->out->dtype, op->out->count, op->attrs->data, op->out->cells);
    for (int64_t i = 0; op->out->bounds && i < op->out->count; i++)
        op->out->bounds[i] = 0;
}

static void run_iota(const struct op *op)
{
    const struct interp_tensor *out = op->out;
    uint32_t axis = (uint32_t)op->attrs->axis;
    int64_t inner = shape_product(out->shape, axis + 1, out->rank);
    for (int64_t i = 0; i < out->count; i++) {
        int64_t index = op_point(op, i) / inner % out->shape[axis];
        if (dtype_is_float(out->dtype))
            op_put_representable(op, i, (struct approx){(double)index, 0});
        else
            op_put_exact(op, i, (union cell){.i = dtype_wrap(out->dtype, index)}, 0);
    }
}

static void run_random(const struct op *op)
{
    uint64_t key = rng_key((uint64_t)op->in[0]->cells[0].i);
    double error = bound_at(op->in[0], 0) > 0 ? INFINITY : 0;
    for (int64_t i = 0; i < op->out->count; i++)
        op_put_exact(op, i, (union cell){.i = rng_u32(key, (uint64_t)op_point(op, i))}, error);
}

static void run_size(const struct op *op)
{
    op_put_exact(op, 0, (union cell){.i = op->start[0]}, 0);
}

/* Inputs and params are already filled by the driver. */
static void run_source(const struct op *op)
{
    assert(!op);
}

/* Loops are run by the driver. */
static void run_iter(const struct op *op)
{
    assert(!op);
}

static void run_state(const struct op *op)
{
    assert(!op);
}

static void run_loop(const struct op *op)
{
    assert(!op);
}

/* These rules differ in the operands that they accept, not in how they run. */
static void run_unary_float(const struct op *op)
{
    run_unary_num(op);
}

static void run_unary_bool(const struct op *op)
{
    run_unary_num(op);
}

static void run_unary_any(const struct op *op)
{
    run_reshape(op);
}

static void run_binary_float(const struct op *op)
{
    run_binary_num(op);
}

static void run_binary_bool(const struct op *op)
{
    run_binary_num(op);
}

static void run_binary_int(const struct op *op)
{
    run_binary_num(op);
}

static void run_transpose(const struct op *op)
{
    run_strided_view(op);
}

static void run_broadcast(const struct op *op)
{
    run_strided_view(op);
}

static void run_slice(const struct op *op)
{
    run_strided_view(op);
}

static void run_reverse(const struct op *op)
{
    run_strided_view(op);
}

/* Calls run_<rule>, by the prim's rule. */
void op_evaluate(const struct op *op)
{
    switch (op->prim) {
#define PRIM(id, name, n, rule, attrs, ulp, doc) \
    case PRIM_##id: run_##rule(op); return;
#include "graph/prims.def"
#undef PRIM
    case PRIM_NONE:
    case PRIM_COUNT: break;
    }
    assert(!"a prim");
}

bool op_eval_dims(struct op *op, const struct graph *graph, const int64_t *dim_values,
                  struct error *err)
{
    for (uint32_t i = 0; i < op->attrs->rank; i++) {
        bool is_slice = op->prim == PRIM_SLICE, is_pad = op->prim == PRIM_PAD;
        bool is_size = op->prim == PRIM_SIZE;
        dim_id dim = is_slice  ? op->attrs->start[i]
                     : is_size ? op->attrs->shape[i]
                               : op->attrs->low[i];
        int64_t *value = is_pad ? &op->low[i] : &op->start[i];
        if ((is_slice || is_pad || is_size) && !dim_eval(&graph->dims, dim, dim_values, value))
            return fail(err, ERR_LIMIT, "%s: a dim cannot be evaluated", prim_info(op->prim)->name);
    }
    return true;
}

bool interp_is_exact(const struct interp_tensor *tensor)
{
    for (int64_t i = 0; tensor->bounds && i < tensor->count; i++)
        if (tensor->bounds[i] != 0)
            return false;
    return true;
}

/* Drops bounds that are all zero: nodes that read the result run faster without. */
static void drop_zero_bounds(struct run *run, struct interp_tensor *tensor)
{
    if (!interp_is_exact(tensor))
        return;
    give_memory(run, tensor->bounds);
    tensor->bounds = NULL;
}

static void release_operands(struct run *run, value_id id)
{
    const struct node *node = graph_node(run->graph, id);
    for (uint32_t i = 0; i < node->operand_count; i++) {
        struct value *operand = &run->values[node->operands[i]];
        if (!operand->owned || operand->output || operand->last_use != id)
            continue;
        give_memory(run, operand->tensor.cells);
        give_memory(run, operand->tensor.bounds);
        operand->owned = false;
    }
}

/* A reshape or copy can use its operand's memory: takes it over if no other node reads the operand,
 * or shares it if the memory does not belong to this run. */
static bool take_over(struct run *run, value_id id)
{
    const struct node *node = graph_node(run->graph, id);
    if (node->prim != PRIM_RESHAPE && node->prim != PRIM_COPY)
        return false;
    struct value *value = &run->values[id], *operand = &run->values[node->operands[0]];
    if (operand->owned && (operand->output || operand->last_use != id))
        return false;
    value->tensor.cells = operand->tensor.cells;
    value->tensor.bounds = operand->tensor.bounds;
    value->owned = operand->owned;
    operand->owned = false;
    return true;
}

/* Hands the result to the memo. */
static void remember(struct run *run, const struct op *op, const uint32_t *operands,
                     struct value *value)
{
    struct interp_tensor own = value->tensor;
    enum memo_kept kept = memo_keep(run->memo, op, operands, &value->number, &value->tensor);
    if (kept == MEMO_KNOWN && value->owned) {
        give_memory(run, own.cells);
        give_memory(run, own.bounds);
    }
    if (kept != MEMO_LEFT)
        value->owned = false;
}

bool op_needs_bounds(const struct op *op)
{
    if (op->constant_error > 0)
        return true;
    bool bounds =
        (dtype_is_float(op->out->dtype) && prim_rounds(op->prim)) || op->prim == PRIM_BITCAST;
    for (uint32_t i = 0; i < op->in_count; i++)
        bounds |= op->in[i]->bounds != NULL;
    return op->reference && bounds;
}

double constant_error(const struct interp_options *options, const struct node *node)
{
    const struct graph *known = options->constants;
    if (!options->wide || !known || node->prim != PRIM_CONST ||
        !dtype_is_float((enum dtype)node->dtype))
        return 0;
    for (value_id v = 1; v < known->nodes.count; v++) {
        const struct node *other = graph_node(known, v);
        if (other->prim == PRIM_CONST && other->dtype == node->dtype &&
            memcmp(&other->attrs->value, &node->attrs->value, sizeof node->attrs->value) == 0)
            return 0;
    }
    return FOLDED_ROUNDINGS * dtype_unit_roundoff((enum dtype)node->dtype);
}

void op_of_node(struct run *run, value_id id, struct op *out)
{
    const struct node *node = graph_node(run->graph, id);
    struct value *value = &run->values[id];
    struct op op = {.prim = (enum prim)node->prim,
                    .attrs = node->attrs,
                    .reference = run->reference,
                    .plain = run->plain,
                    .constant_error = constant_error(run->options, node),
                    .threads = run->threads,
                    .in_count = node->operand_count,
                    .out = &value->tensor,
                    .arena = run->arena,
                    .scratch = &run->scratch};
    value->constant = op.fixed = true;
    for (uint32_t i = 0; i < node->operand_count; i++) {
        op.in[i] = &run->values[node->operands[i]].tensor;
        if (i < 2)
            op.constant[i] = graph_node(run->graph, node->operands[i])->constant &&
                             !graph_is_detached_constant(run->graph, node->operands[i]);
        value->constant &= run->values[node->operands[i]].constant;
        op.fixed &= run->values[node->operands[i]].fixed;
    }
    value->fixed = op.fixed;
    if (op.constant_error > 0)
        value->constant = false;
    if (run->wide && value->constant) /* passes fold it as native arithmetic computes it */
        op.reference = false;
    *out = op;
}

bool run_node(struct run *run, value_id id)
{
    const struct node *node = graph_node(run->graph, id);
    struct value *value = &run->values[id];
    /* What a trip computes is another matter in each. */
    struct interp_memo *memo = run->loops.of[id] > 0 ? NULL : run->memo;
    struct op op;
    void *memory;
    uint32_t numbers[LIMIT_OPERANDS];
    op_of_node(run, id, &op);
    for (uint32_t i = 0; i < node->operand_count; i++) {
        struct value *operand = &run->values[node->operands[i]];
        if (operand->number == MEMO_UNKNOWN && !bring(run, node->operands[i]))
            return false;
        numbers[i] = operand->number;
    }
    if (!interp_shape(run->graph, run->dim_values, id, &value->tensor, run->err) ||
        !op_eval_dims(&op, run->graph, run->dim_values, run->err))
        return false;
    if (memo && memo_find(memo, &op, numbers, &value->number, &value->tensor)) {
        release_operands(run, id);
        return true;
    }
    for (uint32_t i = 0; i < node->operand_count; i++)
        if (!bring(run, node->operands[i]))
            return false;
    if (take_over(run, id)) {
        if (memo)
            remember(run, &op, numbers, value);
        return true;
    }
    if (!take_memory(run, value->tensor.count, &memory))
        return false;
    value->owned = true;
    value->tensor.cells = memory;
    if (run->beside->is_needed(&op) && value->tensor.count > 0) {
        if (!take_memory(run, value->tensor.count, &memory))
            return false;
        value->tensor.bounds = memory;
    }
    run->beside->evaluate(&op, run->wide);
    drop_zero_bounds(run, &value->tensor);
    if (memo)
        remember(run, &op, numbers, value);
    release_operands(run, id);
    return true;
}

/* Where the loop runs that a node is in the body of, or gives a result of: at its first node,
 * though others of its nodes may stand far behind. 0: there is none. */
static value_id loop_runs_at(const struct run *run, value_id id)
{
    uint32_t loop = run->loops.of[id];
    const struct node *node = graph_node(run->graph, id);
    for (uint32_t i = 0; node->prim == PRIM_LOOP && i < run->loops.items.count; i++)
        if (run->loops.items.items[i].number == node->attrs->loop)
            loop = i + 1;
    return loop > 0 ? run->loops.items.items[loop - 1].first : 0;
}

/* Marks the values that outputs need, from the last to the first. Operands have smaller ids than
 * their users. What a loop reads from outside is needed until its last trip. */
static void find_uses(struct run *run)
{
    const struct graph *graph = run->graph;
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        run->values[graph->outputs.items[i].value].output = true;
    for (value_id id = graph->nodes.count; id-- > 1;) {
        const struct node *node = graph_node(graph, id);
        bool live = run->values[id].output || run->values[id].last_use != VALUE_NONE;
        value_id runs_at = live ? loop_runs_at(run, id) : 0;
        for (uint32_t i = 0; live && i < node->operand_count; i++) {
            value_id *last_use = &run->values[node->operands[i]].last_use, use = id;
            if (runs_at > 0 && (node->prim == PRIM_LOOP || run->loops.of[node->operands[i]] == 0))
                use = runs_at;
            *last_use = *last_use > use ? *last_use : use;
        }
    }
}

bool interp_check_dims(const struct graph *graph, const int64_t *dim_values, struct error *err)
{
    const struct dim_table *dims = &graph->dims;
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *name = &dims->names.items[i];
        long long value = dim_values[i], min = name->min, max = name->max, by = name->multiple_of;
        if (value < min || value > max)
            return fail(err, ERR_INPUT, "dim '%s' is %lld, expected %lld to %lld",
                        dim_shown(dims, i), value, min, max);
        if (value % by != 0)
            return fail(err, ERR_INPUT, "dim '%s' is %lld, expected a multiple of %lld",
                        dim_shown(dims, i), value, by);
    }
    return true;
}

static bool take_source(struct run *run, value_id id, const struct interp_tensor *source)
{
    struct interp_tensor expected;
    const char *name = graph_node(run->graph, id)->attrs->name;
    if (!interp_shape(run->graph, run->dim_values, id, &expected, run->err))
        return false;
    if (source->dtype != expected.dtype)
        return fail(run->err, ERR_INPUT, "'%s' is %s, expected %s", name, dtype_name(source->dtype),
                    dtype_name(expected.dtype));
    if (source->rank != expected.rank)
        return fail(run->err, ERR_INPUT, "'%s' has rank %u, expected %u", name, source->rank,
                    expected.rank);
    for (uint32_t i = 0; i < source->rank; i++)
        if (source->shape[i] != expected.shape[i])
            return fail(run->err, ERR_INPUT, "dim %u of '%s' is %lld, expected %lld", i, name,
                        (long long)source->shape[i], (long long)expected.shape[i]);
    run->values[id].fixed = graph_node(run->graph, id)->prim == PRIM_PARAM;
    run->values[id].tensor = *source;
    run->values[id].tensor.count = expected.count;
    if (!run->reference)
        run->values[id].tensor.bounds = NULL;
    if (run->memo)
        run->values[id].number = is_absent(&run->values[id].tensor)
                                     ? memo_lazy(run->memo, source->lazy)
                                     : memo_source(run->memo, &run->values[id].tensor);
    return true;
}

static bool take_sources(struct run *run, uint32_t source_count)
{
    const struct graph *graph = run->graph;
    uint32_t inputs = graph->inputs.count, expected = inputs + graph->params.count;
    if (source_count != expected)
        return fail(run->err, ERR_INPUT, "%u tensors given, expected %u", source_count, expected);
    for (uint32_t i = 0; i < expected; i++) {
        value_id id = i < inputs ? graph->inputs.items[i] : graph->params.items[i - inputs];
        if (!take_source(run, id, &run->sources[i]))
            return false;
    }
    return true;
}

/* Outputs belong to the caller, so an output that is a source is copied. */
static bool give_output(struct run *run, value_id id, struct interp_tensor *out)
{
    const struct value *value = &run->values[id];
    if (!bring(run, id))
        return false;
    *out = value->tensor;
    out->lazy = NULL;
    if (value->owned)
        return true;
    void *memory;
    size_t bytes = (size_t)out->count * sizeof *out->cells;
    if (!take_memory(run, out->count, &memory))
        return false;
    out->cells = bytes > 0 ? memcpy(memory, value->tensor.cells, bytes) : memory;
    if (!out->bounds)
        return true;
    if (!take_memory(run, out->count, &memory))
        return false;
    out->bounds = bytes > 0 ? memcpy(memory, value->tensor.bounds, bytes) : memory;
    return true;
}

/* Runs a value that is needed: bodies of loops with the first of their loop nodes. */
static bool run_value(struct run *run, value_id id)
{
    const struct value *value = &run->values[id];
    const struct node *node = graph_node(run->graph, id);
    bool live = value->output || value->last_use != VALUE_NONE;
    if (!live || node->prim == PRIM_INPUT || node->prim == PRIM_PARAM || run->loops.of[id] > 0)
        return true;
    if (node->prim == PRIM_LOOP) {
        const struct graph_loop *loop = graph_loop_from(&run->loops, id);
        return !loop || run_trips(run, loop);
    }
    return run_node(run, id);
}

bool run_graph(struct run *run, const struct interp_arguments *arguments, struct arena *arena,
               struct interp_tensor *out, struct error *err)
{
    const struct graph *graph = run->graph;
    run->threads = run->options->threads;
    run->limit_bytes = run->options->memory_limit;
    run->dim_values = arguments->dims;
    run->sources = arguments->sources;
    run->arena = arena;
    run->memory = run->memo ? memo_arena(run->memo) : arena;
    run->pool = run->memo ? memo_pool(run->memo) : &run->own_pool;
    run->scratch = (struct scratch){.arena = arena};
    run->err = err;
    run->values = ARENA_ARRAY(arena, struct value, graph->nodes.count);
    if (!interp_check_dims(graph, arguments->dims, err) ||
        !graph_find_loops(graph, arena, &run->loops, err) ||
        !take_sources(run, arguments->source_count))
        return false;
    find_uses(run);
    bool known = run->memo && run_is_known(run);
    for (value_id id = 1; !known && id < graph->nodes.count; id++)
        if (!run_value(run, id))
            return false;
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        struct interp_tensor result;
        value_id id = graph->outputs.items[i].value;
        if (!give_output(run, id, &result))
            return false;
        if (run->memo)
            memo_result(run->memo, run->values[id].number, &result);
        out[i] = result;
    }
    trim_pool(run->pool);
    return true;
}

static void evaluate_with_bounds(struct op *op, bool wide)
{
    op_round(op, wide);
    op_evaluate(op);
}

bool interp_run(const struct graph *graph, const struct interp_options *options,
                const struct interp_arguments *arguments, struct arena *arena,
                struct interp_tensor *out, struct error *err)
{
    static const struct beside bounds = {op_needs_bounds, evaluate_with_bounds};
    struct run run = {.graph = graph,
                      .options = options,
                      .beside = &bounds,
                      .reference = options->mode == INTERP_REFERENCE,
                      .wide = options->wide,
                      .plain = options->mode == INTERP_PLAIN,
                      .memo = options->memo};
    return run_graph(&run, arguments, arena, out, err);
}
