/* Folding: finding the elements of a value while its graph is built.
 *
 * A value is known if each of its elements is a constant or, for integers, an expression over named
 * dims; exporters compute the shapes of every Reshape in such graphs. If the operands are known,
 * three rules are tried in this order:
 *
 *   1. all elements are constants       the interpreter runs the prim
 *   2. the prim only moves elements     the interpreter moves indices into a list of dims
 *   3. arithmetic                       arithmetic on dims, element by element
 *
 * A float that was cast from a dim remains a dim as long as it is an integer. Each value is folded
 * once; the traversal has an explicit stack. */
#include "compiler/import/onnx/onnx_told_priv.h"

#include <onnx.pb-c.h>
#include <math.h>
#include <string.h>

#include "graph/interp.h"

#define MEMORY_LIMIT ((size_t)16 << 20) /* for one prim with at most ONNX_KNOWN_MAX elements */

static const struct known unknown;

/* One prim and its known operands. */
struct step {
    struct onnx *o;
    const struct node *node;
    const struct known *in[LIMIT_OPERANDS];
    struct arena *scratch;
};

static bool copy_dims(const struct dim_table *from, struct dim_table *to, const dim_id *dims,
                      uint32_t count, dim_id *out)
{
    int64_t value;
    for (uint32_t i = 0; i < count; i++) {
        if (!onnx_is_const(from, dims[i], &value))
            return false;
        out[i] = dim_const(to, value);
    }
    return true;
}

/* Makes a graph of the prim alone; its operands are inputs of the given dtypes. */
static bool make_graph(const struct step *s, struct graph *graph, const enum dtype *dtypes)
{
    const struct dim_table *dims = &s->o->graph->dims;
    struct attrs attrs = *s->node->attrs;
    value_id operands[LIMIT_OPERANDS], result;
    struct error err;
    graph_init(graph, s->scratch);
    if (!copy_dims(dims, &graph->dims, s->node->attrs->shape, attrs.rank, attrs.shape))
        return false;
    for (uint32_t i = 0; i < attrs.rank; i++) {
        const struct attrs *from = s->node->attrs;
        if ((from->start[i] &&
             !copy_dims(dims, &graph->dims, &from->start[i], 1, &attrs.start[i])) ||
            (from->low[i] && !copy_dims(dims, &graph->dims, &from->low[i], 1, &attrs.low[i])) ||
            (from->high[i] && !copy_dims(dims, &graph->dims, &from->high[i], 1, &attrs.high[i])))
            return false;
    }
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        char name[16] = {(char)('a' + i % 26), (char)('a' + i / 26), 0};
        dim_id shape[LIMIT_RANK];
        for (uint32_t d = 0; d < s->in[i]->rank; d++)
            shape[d] = dim_const(&graph->dims, s->in[i]->shape[d]);
        operands[i] = graph_input(graph, name, dtypes[i], shape, s->in[i]->rank, &err);
    }
    result =
        graph_add(graph, (enum prim)s->node->prim, operands, s->node->operand_count, &attrs, &err);
    return result != VALUE_NONE && graph_output(graph, "result", result, &err);
}

static bool run(const struct step *s, const enum dtype *dtypes, union cell *const *cells,
                struct interp_tensor *out)
{
    struct interp_tensor sources[LIMIT_OPERANDS];
    struct graph graph;
    struct error err;
    if (!make_graph(s, &graph, dtypes))
        return false;
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        sources[i] = (struct interp_tensor){.dtype = dtypes[i],
                                            .rank = s->in[i]->rank,
                                            .count = s->in[i]->count,
                                            .cells = cells[i]};
        memcpy(sources[i].shape, s->in[i]->shape, sizeof sources[i].shape);
    }
    return interp_run(
        &graph, &(struct interp_options){.mode = INTERP_NATIVE, .memory_limit = MEMORY_LIMIT},
        &(struct interp_arguments){NULL, sources, s->node->operand_count}, s->scratch, out, &err);
}

/* Allocates a result of the node's type, without elements; NULL if its shape is not constant or too
 * large. */
static struct known *make_known(struct onnx *o, const struct node *node)
{
    struct known *known = ARENA_NEW(o->arena, struct known);
    int64_t count = 1;
    known->dtype = (enum dtype)node->dtype;
    known->rank = node->rank;
    for (uint32_t i = 0; i < node->rank; i++) {
        if (!onnx_is_const(&o->graph->dims, node->shape[i], &known->shape[i]) ||
            known->shape[i] > ONNX_KNOWN_MAX)
            return NULL;
        count *= known->shape[i];
        if (count > ONNX_KNOWN_MAX)
            return NULL;
    }
    known->count = (uint32_t)count;
    known->is_known = true;
    return known;
}

/* Element i as a dim; DIM_NONE if it is not an integer. */
static dim_id element(struct onnx *o, const struct known *known, uint32_t i)
{
    if (known->dims)
        return known->dims[i];
    double real = known->reals[i];
    return rint(real) == real && fabs(real) < 0x1p53 ? dim_const(&o->graph->dims, (int64_t)real)
                                                     : DIM_NONE;
}

/* Element i as a cell; false if it is not a constant. */
static bool cell_of(struct onnx *o, const struct known *known, uint32_t i, union cell *out)
{
    int64_t value = 0;
    if (!known->dims) {
        out->f = known->reals[i];
        return true;
    }
    if (!onnx_is_const(&o->graph->dims, known->dims[i], &value))
        return false;
    if (dtype_is_float(known->dtype))
        out->f = (double)value;
    else
        out->i = value;
    return true;
}

static bool cells_of(const struct step *s, uint32_t operand, union cell *out)
{
    for (uint32_t i = 0; i < s->in[operand]->count; i++)
        if (!cell_of(s->o, s->in[operand], i, &out[i]))
            return false;
    return true;
}

static void keep_cells(struct onnx *o, const union cell *cells, struct known *out)
{
    if (dtype_is_float(out->dtype)) {
        double *reals = ARENA_ARRAY(o->arena, double, out->count);
        for (uint32_t i = 0; i < out->count; i++)
            reals[i] = cells[i].f;
        out->reals = reals;
        return;
    }
    dim_id *dims = ARENA_ARRAY(o->arena, dim_id, out->count);
    /* A dim cannot be the least int64, which exporters write for "from the start". */
    for (uint32_t i = 0; i < out->count; i++)
        dims[i] = dim_const(&o->graph->dims, cells[i].i < -INT64_MAX ? -INT64_MAX : cells[i].i);
    out->dims = dims;
}

static bool fold_constants(const struct step *s, struct known *out)
{
    enum dtype dtypes[LIMIT_OPERANDS];
    union cell *cells[LIMIT_OPERANDS];
    struct interp_tensor result;
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        dtypes[i] = s->in[i]->dtype;
        cells[i] = ARENA_ARRAY(s->scratch, union cell, s->in[i]->count);
        if (!cells_of(s, i, cells[i]))
            return false;
    }
    if (!run(s, dtypes, cells, &result))
        return false;
    keep_cells(s->o, result.cells, out);
    return true;
}

/* Bits of the operands whose elements the prim moves; the other operands say where to. 0: the prim
 * computes. */
static uint32_t moved_operands(const struct node *node)
{
    switch (node->prim) {
    case PRIM_RESHAPE:
    case PRIM_TRANSPOSE:
    case PRIM_BROADCAST:
    case PRIM_SLICE:
    case PRIM_REVERSE:
    case PRIM_COPY:
    case PRIM_CONCAT: return ~0u;
    case PRIM_PAD: return 3;
    case PRIM_TAKE:
    case PRIM_GATHER: return 1;
    case PRIM_SELECT: return 6;
    case PRIM_SCATTER: return node->attrs->mode == SCATTER_SET ? 5 : 0;
    default: return 0;
    }
}

/* Moves indices into a list of all elements in place of the elements. */
static bool fold_move(const struct step *s, struct known *out)
{
    uint32_t moved = moved_operands(s->node), total = 0, next = 0;
    enum dtype dtypes[LIMIT_OPERANDS];
    union cell *cells[LIMIT_OPERANDS];
    struct interp_tensor result;
    for (uint32_t i = 0; i < s->node->operand_count; i++)
        total += s->in[i]->count;
    dim_id *list = ARENA_ARRAY(s->scratch, dim_id, total);
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        bool moves = i < 32 ? (moved >> i & 1) != 0 : moved == ~0u;
        cells[i] = ARENA_ARRAY(s->scratch, union cell, s->in[i]->count);
        dtypes[i] = moves ? DTYPE_I64 : s->in[i]->dtype;
        if (!moves && !cells_of(s, i, cells[i]))
            return false;
        for (uint32_t k = 0; k < s->in[i]->count && moves; k++) {
            list[next] = element(s->o, s->in[i], k);
            cells[i][k].i = next++;
        }
    }
    if (moved == 0 || !run(s, dtypes, cells, &result))
        return false;
    dim_id *dims = ARENA_ARRAY(s->o->arena, dim_id, out->count);
    for (uint32_t i = 0; i < out->count; i++) {
        dims[i] = list[result.cells[i].i];
        if (dims[i] == DIM_NONE)
            return false;
    }
    out->dims = dims;
    return true;
}

/* a OP b, if the ranges of the dims decide it; otherwise DIM_NONE. */
static dim_id compare(struct dim_table *dims, enum prim prim, dim_id a, dim_id b)
{
    int64_t least, most;
    if (a == b)
        return dim_const(dims, prim == PRIM_EQ || prim == PRIM_LE);
    onnx_dim_range(dims, dim_sub(dims, a, b), &least, &most);
    if (least > 0 || most < 0) {
        bool less = most < 0;
        return dim_const(dims, prim == PRIM_EQ ? 0 : prim == PRIM_NE ? 1 : less);
    }
    if (prim == PRIM_LT && least >= 0)
        return dim_const(dims, 0);
    return prim == PRIM_LE && most <= 0 ? dim_const(dims, 1) : DIM_NONE;
}

static dim_id divide(struct dim_table *dims, dim_id a, dim_id b, bool whole)
{
    int64_t least, most;
    dim_id exact = dim_div_exact(dims, a, b);
    onnx_dim_range(dims, b, &least, &most);
    if (least < 1 || exact != DIM_NONE)
        return least < 1 ? DIM_NONE : exact;
    return whole && dim_never_negative(dims, a) ? dim_floordiv(dims, a, b) : DIM_NONE;
}

/* The remainder with the sign of b; b > 0. */
static dim_id remainder_of(struct dim_table *dims, dim_id a, dim_id b)
{
    int64_t least, most;
    onnx_dim_range(dims, b, &least, &most);
    return least < 1 ? DIM_NONE : dim_sub(dims, a, dim_mul(dims, dim_floordiv(dims, a, b), b));
}

static dim_id compute(struct onnx *o, const struct node *node, dim_id a, dim_id b)
{
    struct dim_table *dims = &o->graph->dims;
    if (a == DIM_NONE || b == DIM_NONE)
        return DIM_NONE;
    switch (node->prim) {
    case PRIM_ADD: return dim_add(dims, a, b);
    case PRIM_SUB: return dim_sub(dims, a, b);
    case PRIM_MUL: return dim_mul(dims, a, b);
    case PRIM_DIV: return divide(dims, a, b, dtype_is_int((enum dtype)node->dtype));
    case PRIM_REM: return remainder_of(dims, a, b);
    case PRIM_MIN: return dim_min(dims, a, b);
    case PRIM_MAX: return dim_max(dims, a, b);
    case PRIM_NEG: return dim_sub(dims, dim_const(dims, 0), a);
    case PRIM_FLOOR:
    case PRIM_CEIL:
    case PRIM_ROUND:
    case PRIM_TRUNC: return a;
    case PRIM_CAST:
        return node->dtype == DTYPE_I64 || node->dtype == DTYPE_I32 ||
                       dtype_is_float((enum dtype)node->dtype)
                   ? a
                   : DIM_NONE;
    case PRIM_EQ:
    case PRIM_NE:
    case PRIM_LT:
    case PRIM_LE: return compare(dims, (enum prim)node->prim, a, b);
    default: return DIM_NONE;
    }
}

static bool fold_arithmetic(const struct step *s, struct known *out)
{
    const struct node *node = s->node;
    if (node->operand_count == 0 || node->operand_count > 2 || out->count == 0)
        return false;
    const struct known *a = s->in[0], *b = s->in[node->operand_count - 1];
    dim_id *dims = ARENA_ARRAY(s->o->arena, dim_id, out->count);
    bool all = node->prim == PRIM_REDUCE_PROD || node->prim == PRIM_REDUCE_SUM;
    if (all ? out->count != 1 : a->count != out->count || b->count != out->count)
        return false;
    for (uint32_t i = 0; i < out->count; i++) {
        dims[i] = all ? dim_const(&s->o->graph->dims, node->prim == PRIM_REDUCE_PROD)
                      : compute(s->o, node, element(s->o, a, i), element(s->o, b, i));
        for (uint32_t k = 0; k < a->count && all; k++)
            dims[i] = node->prim == PRIM_REDUCE_PROD
                          ? dim_mul(&s->o->graph->dims, dims[i], element(s->o, a, k))
                          : dim_add(&s->o->graph->dims, dims[i], element(s->o, a, k));
        if (dims[i] == DIM_NONE)
            return false;
    }
    out->dims = dims;
    return true;
}

/* Prims that are not folded: the sizes of operands and result do not bound their cost, or the graph
 * does not have their elements. */
static bool is_heavy(const struct node *node)
{
    return node->prim == PRIM_CONTRACT || node->prim == PRIM_CONV ||
           node->prim == PRIM_WINDOW_SUM || node->prim == PRIM_WINDOW_MAX ||
           node->prim == PRIM_RANDOM || node->prim == PRIM_INPUT || node->prim == PRIM_PARAM;
}

/* A value without elements is always known. */
static bool is_empty(const struct onnx *o, const struct node *node)
{
    int64_t size;
    for (uint32_t i = 0; i < node->rank; i++)
        if (onnx_is_const(&o->graph->dims, node->shape[i], &size) && size == 0)
            return true;
    return false;
}

static const struct known *fold(struct onnx *o, value_id x)
{
    const struct node *node = graph_node(o->graph, x);
    struct arena scratch;
    struct step step = {.o = o, .node = node, .scratch = &scratch};
    struct known *out = is_heavy(node) && !is_empty(o, node) ? NULL : make_known(o, node);
    if (out && out->count == 0)
        return out;
    for (uint32_t i = 0; i < node->operand_count && out; i++) {
        step.in[i] = o->known.items[node->operands[i]];
        if (!step.in[i]->is_known)
            out = NULL;
    }
    if (!out)
        return &unknown;
    if (node->prim == PRIM_SIZE) {
        dim_id *dim = ARENA_ARRAY(o->arena, dim_id, 1);
        *dim = node->attrs->shape[0];
        out->dims = dim;
        return out;
    }
    arena_init(&scratch);
    bool ok = fold_constants(&step, out) || fold_move(&step, out) || fold_arithmetic(&step, out);
    arena_release(&scratch);
    return ok ? out : &unknown;
}

static void reach(struct onnx *o)
{
    while (o->known.count < o->graph->nodes.count)
        VEC_PUSH(o->arena, &o->known, NULL);
}

void onnx_know_tensor(struct onnx *o, value_id param, const struct import_tensor *tensor)
{
    struct known *known = make_known(o, graph_node(o->graph, param));
    struct interp_tensor cells;
    struct arena scratch;
    struct error err;
    if (!known)
        return;
    arena_init(&scratch);
    const struct native_tensor native = {tensor->dtype, tensor->rank, tensor->shape, tensor->data};
    if (interp_load(&cells, &scratch, &native, &err)) {
        keep_cells(o, cells.cells, known);
        reach(o);
        o->known.items[param] = known;
    }
    arena_release(&scratch);
}

const struct known *onnx_known(struct onnx *o, value_id x)
{
    VEC(value_id) stack = {0};
    if (x == VALUE_NONE)
        return &unknown;
    reach(o);
    VEC_PUSH(o->arena, &stack, x);
    while (stack.count > 0) {
        value_id top = stack.items[stack.count - 1];
        const struct node *node = graph_node(o->graph, top);
        uint32_t before = stack.count;
        bool hopeless = is_heavy(node) && !is_empty(o, node);
        for (uint32_t i = 0; i < node->operand_count && !o->known.items[top] && !hopeless; i++) {
            const struct known *operand = o->known.items[node->operands[i]];
            hopeless = operand && !operand->is_known;
            if (!operand)
                VEC_PUSH(o->arena, &stack, node->operands[i]);
            if (!operand)
                break;
        }
        if (stack.count > before && !hopeless)
            continue;
        stack.count--;
        if (!o->known.items[top])
            o->known.items[top] = hopeless ? &unknown : fold(o, top);
    }
    return o->known.items[x];
}

void onnx_know_dims(struct onnx *o, value_id input, const dim_id *dims)
{
    struct known *known = make_known(o, graph_node(o->graph, input));
    if (!known)
        return;
    known->dims = arena_memdup(o->arena, dims, known->count * sizeof *dims);
    reach(o);
    o->known.items[input] = known;
}

void onnx_forget(struct onnx *o)
{
    for (uint32_t i = 0; i < o->known.count; i++)
        if (o->known.items[i] == &unknown)
            o->known.items[i] = NULL;
}

static const struct known *list_of(struct onnx_call *c, uint32_t index, uint32_t max, bool may_tell)
{
    const struct known *known = onnx_given(c, index) ? onnx_known(c->o, c->in[index]) : &unknown;
    if (!known->is_known && may_tell && onnx_given(c, index) && onnx_tell_sizes(c, c->in[index]))
        known = onnx_known(c->o, c->in[index]);
    if (onnx_failed(c))
        return NULL;
    const char *name = index < c->node->n_input ? c->node->input[index] : "";
    if (!known->is_known) {
        c->unknown = name;
        onnx_refuse(c, "input %u ('%.60s') is not known at compile time", index, name);
        return NULL;
    }
    if (known->rank > 1 || known->count > max) {
        b_fail(c->b, ERR_SHAPE,
               "input %u has %u elements of rank %u, expected at most %u of rank 1", index,
               known->count, known->rank, max);
        return NULL;
    }
    return known;
}

bool onnx_dims(struct onnx_call *c, uint32_t index, dim_id *out, uint32_t max, uint32_t *out_count)
{
    const struct known *known = list_of(c, index, max, true);
    if (!known)
        return false;
    for (uint32_t i = 0; i < known->count; i++) {
        out[i] = element(c->o, known, i);
        if (out[i] == DIM_NONE)
            return onnx_refuse(c, "input %u: element %u is not an integer", index, i);
    }
    *out_count = known->count;
    return true;
}

bool onnx_const_ints(struct onnx_call *c, uint32_t index, int64_t *out, uint32_t max,
                     uint32_t *out_count)
{
    const struct known *known = list_of(c, index, max, false);
    if (!known)
        return false;
    for (uint32_t i = 0; i < known->count; i++) {
        dim_id dim = element(c->o, known, i);
        if (dim == DIM_NONE || !onnx_is_const(&c->o->graph->dims, dim, &out[i]))
            return onnx_refuse(c, "input %u: element %u is not a constant integer", index, i);
    }
    *out_count = known->count;
    return true;
}

bool onnx_const_reals(struct onnx_call *c, uint32_t index, double *out, uint32_t max,
                      uint32_t *out_count)
{
    const struct known *known = list_of(c, index, max, false);
    if (!known)
        return false;
    for (uint32_t i = 0; i < known->count; i++) {
        union cell cell;
        if (!cell_of(c->o, known, i, &cell))
            return onnx_refuse(c, "input %u: element %u is not constant", index, i);
        out[i] = dtype_is_float(known->dtype) ? cell.f : (double)cell.i;
    }
    *out_count = known->count;
    return true;
}

bool onnx_list(struct onnx_call *c, const char *attr, uint32_t index, int64_t out[LIMIT_RANK],
               uint32_t *out_count, bool *out_given)
{
    const int64_t *ints = attr ? onnx_ints(c, attr, out_count) : NULL;
    *out_given = true;
    if (onnx_failed(c))
        return false;
    if (ints) {
        if (*out_count > LIMIT_RANK)
            return b_fail(c->b, ERR_SHAPE, "attribute '%s' has %u integers, at most %d", attr,
                          *out_count, LIMIT_RANK);
        memcpy(out, ints, *out_count * sizeof *out);
        return true;
    }
    if (onnx_given(c, index))
        return onnx_const_ints(c, index, out, LIMIT_RANK, out_count);
    *out_given = false;
    *out_count = 0;
    return true;
}
