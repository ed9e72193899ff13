/* Demand, then supply. From the requested value down, each value collects the indices of the
 * elements that its users read. Ids are a topological order, so a list is complete when its value
 * is reached; it is then sorted. From the lowest id up, each node gathers the operand elements that
 * it reads into small dense tensors, on which the interpreter's own functions run.
 *
 *     elements   2 7 9      of a contraction of lines of four terms
 *     operands   [3][4] · [3][4], batch by batch -> [3]
 *
 * The elements that take and gather read depend on values. Those index values are computed first,
 * at the indices that are needed, by a nested evaluation. */
#include "graph/interp_points.h"

#include <assert.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/interp_points_priv.h"

/* Nested evaluations: of indices that are looked up by indices. */
#define LEVELS 16

/* The elements of one value that the points need. */
struct demand {
    struct interp_tensor whole; /* dtype and shape, no cells */
    struct indices needed;      /* its elements; sorted once the value is reached */
    struct indices lines;       /* POINTS_LINES: the lines that hold its elements, sorted */
    int64_t *looked_up;         /* POINTS_LOOKUP: the index of each element */
    double *index_bounds;       /* and the bound of the index; NULL: all zero */
    struct interp_tensor at;    /* the elements' values, once computed */
};

struct points {
    const struct graph *graph;
    const int64_t *dims;
    struct points_source *sources;             /* by id */
    struct demand **levels[LEVELS], **demands; /* by id; demands: of the current level */
    uint32_t depth;
    int64_t limit, left;  /* elements */
    struct indices under; /* scratch: the elements that a unit reads */
    const struct interp_options *options;
    bool *constant; /* by value */
    struct arena *arena;
    struct scratch scratch;
    struct error *err;
};

static bool evaluate(struct points *p, value_id value, const int64_t *points, int64_t count,
                     struct interp_tensor *out);

static bool over_limit(struct points *p)
{
    return fail(p->err, ERR_LIMIT, "the points need more than %lld elements", (long long)p->limit);
}

/* NULL on failure, with the error filled. */
static struct demand *demand_of(struct points *p, value_id id)
{
    if (p->demands[id])
        return p->demands[id];
    struct demand *demand = ARENA_NEW(p->arena, struct demand);
    if (!interp_shape(p->graph, p->dims, id, &demand->whole, p->err))
        return NULL;
    demand->needed = (struct indices){.arena = p->arena, .most = INT64_MAX};
    demand->lines = demand->needed;
    return p->demands[id] = demand;
}

/* The op of a node as its read function takes it: with shapes but no cells. */
static bool op_of(struct points *p, value_id id, struct op *op)
{
    const struct node *node = graph_node(p->graph, id);
    *op = (struct op){.prim = (enum prim)node->prim,
                      .attrs = node->attrs,
                      .reference = p->options->mode == INTERP_REFERENCE &&
                                   !(p->options->wide && p->constant[id]),
                      .plain = p->options->mode == INTERP_PLAIN,
                      .constant_error = constant_error(p->options, node),
                      .in_count = node->operand_count,
                      .out = &p->demands[id]->whole,
                      .arena = p->arena,
                      .scratch = &p->scratch};
    for (uint32_t i = 0; i < node->operand_count; i++) {
        struct demand *operand = demand_of(p, node->operands[i]);
        if (!operand)
            return false;
        op->in[i] = &operand->whole;
    }
    return op_eval_dims(op, p->graph, p->dims, p->err);
}

/* The units that a node is asked for: elements, or lines. */
static const struct indices *units_of(const struct demand *demand, const struct points_rule *rule)
{
    return rule->kind == POINTS_LINES ? &demand->lines : &demand->needed;
}

/* Fills p->under with the elements that a unit reads. */
static void read_unit(struct points *p, const struct op *op, const struct demand *demand,
                      int64_t unit, uint32_t operand)
{
    const struct points_rule *rule = points_rule(op->prim);
    struct points_unit at = {.index = units_of(demand, rule)->items[unit]};
    if (demand->looked_up)
        at.looked_up = demand->looked_up[unit];
    p->under.count = 0;
    rule->reads(op, operand, at, &p->under);
}

static bool look_up(struct points *p, const struct op *op, value_id index, struct demand *demand)
{
    int64_t count = demand->needed.count, size = op->in[0]->shape[op->attrs->axis];
    int64_t *points = ARENA_ARRAY(p->arena, int64_t, count);
    struct interp_tensor at;
    for (int64_t i = 0; i < count; i++)
        points[i] = points_index(op, demand->needed.items[i]);
    if (!evaluate(p, index, points, count, &at))
        return false;
    demand->looked_up = points;
    demand->index_bounds = at.bounds;
    for (int64_t i = 0; i < count; i++)
        points[i] = clamp_index(at.cells[i].i, size);
    return true;
}

/* Adds the operand elements that the needed elements of a value read. */
static bool demand_operands(struct points *p, value_id id)
{
    const struct node *node = graph_node(p->graph, id);
    const struct points_rule *rule = points_rule((enum prim)node->prim);
    struct demand *demand = p->demands[id];
    uint32_t operands = rule->kind == POINTS_LOOKUP ? 1 : node->operand_count;
    struct op op;
    int64_t place;
    indices_sort(&demand->needed);
    if (rule->kind == POINTS_NONE)
        return fail(p->err, ERR_UNSUPPORTED, "%s cannot be computed at points",
                    prim_info((enum prim)node->prim)->name);
    if (!op_of(p, id, &op))
        return false;
    if (rule->kind == POINTS_LOOKUP && !look_up(p, &op, node->operands[1], demand))
        return false;
    for (int64_t i = 0; rule->kind == POINTS_LINES && i < demand->needed.count; i++)
        indices_push(&demand->lines, points_line(&op, demand->needed.items[i], &place));
    indices_sort(&demand->lines);
    int64_t units = units_of(demand, rule)->count;
    for (uint32_t k = 0; k < operands; k++) {
        struct indices *needed = &p->demands[node->operands[k]]->needed;
        for (int64_t u = 0; u < units; u++) {
            p->under.most = p->left;
            read_unit(p, &op, demand, u, k);
            if (p->under.over)
                return over_limit(p);
            p->left -= p->under.count;
            for (int64_t i = 0; i < p->under.count; i++) {
                int64_t index = p->under.items[i];
                bool again = needed->count > 0 && needed->items[needed->count - 1] == index;
                if (index >= 0 && !again)
                    indices_push(needed, index);
            }
        }
    }
    return true;
}

/* Makes a tensor [rows, columns], with memory. */
static struct interp_tensor tensor_make(struct points *p, enum dtype dtype, int64_t rows,
                                        int64_t columns, bool bounds)
{
    struct interp_tensor tensor = {
        .dtype = dtype, .rank = 2, .shape = {rows, columns}, .count = rows * columns};
    tensor.cells = ARENA_ARRAY(p->arena, union cell, tensor.count);
    if (bounds)
        tensor.bounds = ARENA_ARRAY(p->arena, double, tensor.count);
    return tensor;
}

static void move(struct interp_tensor *to, int64_t at, const struct demand *from, int64_t index,
                 int64_t *cursor)
{
    int64_t place = indices_find(&from->needed, index, cursor);
    to->cells[at] = from->at.cells[place];
    if (to->bounds)
        to->bounds[at] = bound_at(&from->at, place);
}

/* Gathers the elements of an operand that units first … end-1 read, one row per unit; zeros for
 * index -1. All units read equally many.
 */
static struct interp_tensor collect(struct points *p, value_id id, const struct op *op, uint32_t k,
                                    int64_t first, int64_t end)
{
    const struct demand *from = p->demands[graph_node(p->graph, id)->operands[k]];
    struct interp_tensor to = {0};
    int64_t cursor = 0;
    for (int64_t u = first; u < end; u++) {
        read_unit(p, op, p->demands[id], u, k);
        int64_t terms = p->under.count, start = (u - first) * terms;
        if (u == first)
            to = tensor_make(p, from->whole.dtype, end - first, terms, from->at.bounds != NULL);
        assert(terms == to.shape[1]);
        for (int64_t i = 0; i < terms; i++)
            if (p->under.items[i] >= 0)
                move(&to, start + i, from, p->under.items[i], &cursor);
    }
    return to;
}

/* Runs `dense`: the op on the gathered operands of units first … end-1. */
static void run_units(struct points *p, value_id id, const struct op *op, int64_t first,
                      int64_t end, struct op dense)
{
    struct interp_tensor in[3];
    assert(op->in_count <= sizeof in / sizeof *in);
    for (uint32_t k = 0; k < op->in_count; k++) {
        in[k] = collect(p, id, op, k, first, end);
        dense.in[k] = &in[k];
    }
    op_round(&dense, p->options->wide);
    op_evaluate(&dense);
}

static void run_elementwise(struct points *p, value_id id, const struct op *op)
{
    struct demand *demand = p->demands[id];
    struct op dense = *op;
    struct interp_tensor out = demand->whole; /* iota computes its values from the whole shape */
    out.count = demand->at.count;
    out.cells = demand->at.cells;
    out.bounds = demand->at.bounds;
    dense.out = &out;
    dense.points = demand->needed.items;
    run_units(p, id, op, 0, out.count, dense);
}

/* An element is not determined if its index has an error, since it may be another element. */
static void run_moves(struct points *p, value_id id, const struct op *op)
{
    const struct node *node = graph_node(p->graph, id);
    struct demand *demand = p->demands[id];
    uint32_t operands = demand->looked_up ? 1 : node->operand_count;
    int64_t cursor[LIMIT_OPERANDS] = {0};
    for (int64_t u = 0; u < demand->needed.count; u++) {
        for (uint32_t k = 0; k < operands; k++) {
            read_unit(p, op, demand, u, k);
            if (p->under.items[0] >= 0)
                move(&demand->at, u, p->demands[node->operands[k]], p->under.items[0], &cursor[k]);
        }
        if (demand->index_bounds && demand->index_bounds[u] > 0)
            demand->at.bounds[u] = INFINITY;
    }
}

/* The end of the units from `first` on that have equally many terms. */
static int64_t same_terms(struct points *p, const struct op *op, const struct demand *demand,
                          int64_t first)
{
    int64_t end = first + 1;
    read_unit(p, op, demand, first, 0);
    for (int64_t terms = p->under.count; end < demand->needed.count; end++) {
        read_unit(p, op, demand, end, 0);
        if (p->under.count != terms)
            break;
    }
    return end;
}

static void run_lines_at(struct points *p, value_id id, const struct op *op)
{
    static const struct attrs along = {.axis = 1, .axis_count = 1, .axes = {1}};
    struct demand *demand = p->demands[id];
    bool is_window = op->prim == PRIM_WINDOW_SUM || op->prim == PRIM_WINDOW_MAX;
    struct op dense = *op;
    dense.attrs = &along;
    if (is_window)
        dense.prim = op->prim == PRIM_WINDOW_SUM ? PRIM_REDUCE_SUM : PRIM_REDUCE_MAX;
    for (int64_t first = 0, end; first < demand->at.count; first = end) {
        end = is_window ? same_terms(p, op, demand, first) : demand->at.count;
        struct interp_tensor part = demand->at;
        part.count = part.shape[0] = end - first;
        part.cells += first;
        if (part.bounds)
            part.bounds += first;
        dense.out = &part;
        run_units(p, id, op, first, end, dense);
    }
}

static void run_whole_lines(struct points *p, value_id id, const struct op *op)
{
    struct demand *demand = p->demands[id];
    int64_t size = op->in[0]->shape[op->attrs->axis], cursor = 0, place;
    struct attrs attrs = *op->attrs;
    struct op dense = *op;
    struct interp_tensor lines =
        tensor_make(p, demand->whole.dtype, demand->lines.count, size, demand->at.bounds != NULL);
    attrs.axis = 1;
    dense.attrs = &attrs;
    dense.out = &lines;
    run_units(p, id, op, 0, demand->lines.count, dense);
    for (int64_t i = 0; i < demand->needed.count; i++) {
        int64_t line = points_line(op, demand->needed.items[i], &place);
        int64_t at = indices_find(&demand->lines, line, &cursor) * size + place;
        demand->at.cells[i] = lines.cells[at];
        if (lines.bounds)
            demand->at.bounds[i] = lines.bounds[at];
    }
}

/* A program may leave padding out of a sum or multiply by it: 0 · infinity is NaN in one and
 * nothing in the other, so the result is not determined. */
static void doubt_padding(struct points *p, value_id id, const struct op *op)
{
    struct interp_tensor *at = &p->demands[id]->at;
    for (int64_t u = 0; u < at->count; u++) {
        if (isfinite(at->cells[u].f))
            continue;
        read_unit(p, op, p->demands[id], u, 0);
        for (int64_t i = 0; i < p->under.count; i++)
            if (p->under.items[i] < 0)
                at->bounds[u] = INFINITY;
    }
}

static void run_products(struct points *p, value_id id, const struct op *op)
{
    static const struct attrs rows = {.batch = 1, .contract = 1};
    struct interp_tensor *at = &p->demands[id]->at;
    struct op dense = *op;
    dense.prim = PRIM_CONTRACT;
    dense.attrs = &rows;
    dense.out = at;
    run_units(p, id, op, 0, at->count, dense);
    if (op->prim == PRIM_CONV && dtype_is_float(at->dtype) && at->bounds)
        doubt_padding(p, id, op);
}

static bool load_source(struct points *p, value_id id)
{
    struct demand *demand = p->demands[id];
    const struct points_source *source = &p->sources[id];
    if (!source->data && !source->lazy)
        return fail(p->err, ERR_INPUT, "'%s' is needed and has no data",
                    graph_node(p->graph, id)->attrs->name);
    for (int64_t i = 0; source->lazy && i < demand->needed.count; i++)
        source->lazy->load(source->lazy, demand->needed.items[i], 1, &demand->at.cells[i]);
    if (!source->lazy)
        interp_load_points(demand->whole.dtype, demand->needed.count, source->data,
                           demand->needed.items, demand->at.cells);
    return true;
}

/* Computes the needed elements of a value; those of its operands are already computed. */
static bool supply(struct points *p, value_id id)
{
    const struct node *node = graph_node(p->graph, id);
    struct demand *demand = p->demands[id];
    struct op op, at;
    p->under.most = INT64_MAX; /* no limit: the same reads fitted before */
    if (!op_of(p, id, &op))
        return false;
    at = op;
    for (uint32_t i = 0; i < node->operand_count; i++)
        at.in[i] = &p->demands[node->operands[i]]->at;
    demand->at = tensor_make(p, demand->whole.dtype, demand->needed.count, 1,
                             op_needs_bounds(&at) || demand->index_bounds);
    switch (points_rule(op.prim)->kind) {
    case POINTS_NONE: assert(!"refused before"); break;
    case POINTS_SOURCE:
        if (!load_source(p, id))
            return false;
        break;
    case POINTS_ELEMENTWISE: run_elementwise(p, id, &op); break;
    case POINTS_MOVE:
    case POINTS_LOOKUP: run_moves(p, id, &op); break;
    case POINTS_LINE:
    case POINTS_WINDOW: run_lines_at(p, id, &op); break;
    case POINTS_LINES: run_whole_lines(p, id, &op); break;
    case POINTS_PRODUCT: run_products(p, id, &op); break;
    }
    if (interp_is_exact(&demand->at))
        demand->at.bounds = NULL;
    return true;
}

static bool evaluate_level(struct points *p, value_id value, const int64_t *points, int64_t count,
                           struct interp_tensor *out)
{
    struct demand *demand = demand_of(p, value);
    int64_t cursor = 0;
    if (!demand)
        return false;
    for (int64_t i = 0; i < count; i++)
        indices_push(&demand->needed, points[i]);
    for (value_id id = value; id > VALUE_NONE; id--)
        if (p->demands[id] && p->demands[id]->needed.count > 0 && !demand_operands(p, id))
            return false;
    for (value_id id = 1; id <= value; id++)
        if (p->demands[id] && p->demands[id]->needed.count > 0 && !supply(p, id))
            return false;
    *out = tensor_make(p, demand->whole.dtype, count, 1, demand->at.bounds != NULL);
    for (int64_t i = 0; i < count; i++)
        move(out, i, demand, points[i], &cursor);
    return true;
}

/* Computes elements of a value, one for each point, on a new level. */
static bool evaluate(struct points *p, value_id value, const int64_t *points, int64_t count,
                     struct interp_tensor *out)
{
    struct demand **outer = p->demands;
    if (p->depth == LEVELS)
        return fail(p->err, ERR_LIMIT, "more than %d lookups of indices by indices", LEVELS);
    if (count > p->left)
        return over_limit(p);
    p->left -= count;
    if (!p->levels[p->depth])
        p->levels[p->depth] = ARENA_ARRAY(p->arena, struct demand *, p->graph->nodes.count);
    p->demands = p->levels[p->depth++];
    bool ok = evaluate_level(p, value, points, count, out);
    memset(p->demands, 0, ((size_t)value + 1) * sizeof *p->demands);
    p->demands = outer;
    p->depth--;
    return ok;
}

/* Values that depend on constants only, which passes fold in native arithmetic. */
static bool *find_constants(const struct graph *graph, const struct interp_options *options,
                            struct arena *arena)
{
    bool *constant = ARENA_ARRAY(arena, bool, graph->nodes.count);
    for (value_id id = 1; id < graph->nodes.count; id++) {
        const struct node *node = graph_node(graph, id);
        constant[id] = node->prim != PRIM_INPUT && node->prim != PRIM_PARAM &&
                       constant_error(options, node) == 0;
        for (uint32_t i = 0; i < node->operand_count; i++)
            constant[id] &= constant[node->operands[i]];
    }
    return constant;
}

bool interp_points(const struct graph *graph, const struct interp_options *options,
                   const struct points_request *request, struct arena *arena,
                   struct points_result out, struct error *err)
{
    const int64_t *dims = request->dims, *points = request->points;
    value_id value = request->value;
    struct points p = {.graph = graph,
                       .options = options,
                       .constant = find_constants(graph, options, arena),
                       .dims = dims,
                       .limit = request->element_limit,
                       .left = request->element_limit,
                       .under = {.arena = arena, .most = request->element_limit},
                       .arena = arena,
                       .scratch = {.arena = arena},
                       .err = err};
    struct interp_tensor whole, elements;
    uint32_t inputs = graph->inputs.count;
    if (!interp_check_dims(graph, dims, err) || !interp_shape(graph, dims, value, &whole, err))
        return false;
    for (int64_t i = 0; i < request->count; i++)
        if (points[i] < 0 || points[i] >= whole.count)
            return fail(err, ERR_INPUT, "point %lld is element %lld of value %u, which has %lld",
                        (long long)i, (long long)points[i], value, (long long)whole.count);
    p.sources = ARENA_ARRAY(arena, struct points_source, graph->nodes.count);
    for (uint32_t i = 0; i < inputs + graph->params.count; i++)
        p.sources[i < inputs ? graph->inputs.items[i] : graph->params.items[i - inputs]] =
            request->sources[i];
    if (!evaluate(&p, value, points, request->count, &elements))
        return false;
    for (int64_t i = 0; i < request->count; i++) {
        out.cells[i] = elements.cells[i];
        out.bounds[i] = bound_at(&elements, i);
    }
    return true;
}
