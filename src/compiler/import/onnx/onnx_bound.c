/* Values of which not all counts: which there are, which ops may have them, what becomes of them
 * when they are outputs. */
#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"

/* Ops that give the right result where prims keep the bounds of all operands, or that see to it:
 * they take no size and no place from a dim of an operand without asking for its extent.
 * places: those whose places in a dim are counted from its extent. */
static const struct {
    const char *name;
    bool places;
} allowed[] = {
    {"Abs", false},
    {"Acos", false},
    {"Acosh", false},
    {"Add", false},
    {"And", false},
    {"ArgMax", false},
    {"ArgMin", false},
    {"Asin", false},
    {"Asinh", false},
    {"Atan", false},
    {"Atanh", false},
    {"BatchNormalization", false},
    {"BitCast", false},
    {"BitShift", false},
    {"BitwiseAnd", false},
    {"BitwiseNot", false},
    {"BitwiseOr", false},
    {"BitwiseXor", false},
    {"Cast", false},
    {"CastLike", false},
    {"Ceil", false},
    {"Celu", false},
    {"Clip", false},
    {"Compress", false},
    {"Concat", false},
    {"Conv", false},
    {"Cos", false},
    {"Cosh", false},
    {"CumProd", false},
    {"CumSum", false},
    {"DequantizeLinear", false},
    {"Div", false},
    {"Dropout", false},
    {"Elu", false},
    {"Equal", false},
    {"Erf", false},
    {"Exp", false},
    {"Flatten", false},
    {"Floor", false},
    {"Gather", true},
    {"GatherElements", true},
    {"GatherND", true},
    {"Gelu", false},
    {"Gemm", false},
    {"Greater", false},
    {"GreaterOrEqual", false},
    {"HardSigmoid", false},
    {"HardSwish", false},
    {"Identity", false},
    {"IsInf", false},
    {"IsNaN", false},
    {"LayerNormalization", false},
    {"LeakyRelu", false},
    {"Less", false},
    {"LessOrEqual", false},
    {"Log", false},
    {"LogSoftmax", false},
    {"MatMul", false},
    {"Max", false},
    {"Mean", false},
    {"Min", false},
    {"Mish", false},
    {"Mod", false},
    {"Mul", false},
    {"Neg", false},
    {"NonMaxSuppression", false},
    {"NonZero", false},
    {"Not", false},
    {"OneHot", false},
    {"Or", false},
    {"PRelu", false},
    {"Pow", false},
    {"QuantizeLinear", false},
    {"RMSNormalization", false},
    {"Reciprocal", false},
    {"ReduceL1", false},
    {"ReduceL2", false},
    {"ReduceLogSum", false},
    {"ReduceLogSumExp", false},
    {"ReduceMax", false},
    {"ReduceMean", false},
    {"ReduceMin", false},
    {"ReduceProd", false},
    {"ReduceSum", false},
    {"ReduceSumSquare", false},
    {"Relu", false},
    {"Reshape", false},
    {"Round", false},
    {"ScatterElements", true},
    {"ScatterND", true},
    {"Selu", false},
    {"Shape", false},
    {"Shrink", false},
    {"Sigmoid", false},
    {"Sign", false},
    {"Sin", false},
    {"Sinh", false},
    {"Size", false},
    {"Slice", true},
    {"Softmax", false},
    {"Softplus", false},
    {"Softsign", false},
    {"Split", false},
    {"Sqrt", false},
    {"Squeeze", false},
    {"Sub", false},
    {"Sum", false},
    {"Swish", false},
    {"Tan", false},
    {"Tanh", false},
    {"ThresholdedRelu", false},
    {"TopK", false},
    {"Transpose", false},
    {"Unsqueeze", false},
    {"Where", false},
    {"Xor", false},
};

/* Bounds of all values so far. What is set is not asked for again, so a translator may say of a
 * value what no rule could know. */
static void reach(struct onnx *o)
{
    struct onnx_bounds *all = o->bounds;
    for (uint32_t v = all ? all->items.count : 0; all && v < o->graph->nodes.count; v++) {
        const struct onnx_bound *bound = v > 0 ? onnx_bound_flow(o, v, all->places) : NULL;
        VEC_PUSH(o->arena, &all->items, bound);
    }
}

/* All of the values that were there before the first bound counts. */
static void begin(struct onnx *o)
{
    if (o->bounds)
        return;
    o->bounds = ARENA_NEW(o->arena, struct onnx_bounds);
    while (o->bounds->items.count < o->graph->nodes.count)
        VEC_PUSH(o->arena, &o->bounds->items, NULL);
}

const struct onnx_bound *onnx_bound_of(struct onnx *o, value_id x)
{
    if (!o->bounds || x == VALUE_NONE)
        return NULL;
    reach(o);
    return o->bounds->items.items[x];
}

value_id onnx_count(struct onnx *o, value_id x, int axis)
{
    const struct onnx_bound *bound = onnx_bound_of(o, x);
    return bound ? bound->count[axis] : VALUE_NONE;
}

value_id onnx_extent(struct onnx_call *c, value_id x, int axis)
{
    value_id count = onnx_count(c->o, x, axis);
    return count != VALUE_NONE ? count : b_size(c->b, b_dim(c->b, x, axis));
}

static const char *name_of(const struct onnx_call *c)
{
    const Onnx__NodeProto *node = c->node;
    bool named = node->name && node->name[0] != '\0' && onnx_is_utf8(node->name);
    const char *name = named ? node->name : node->output[0];
    struct strbuf text;
    strbuf_init(&text, c->o->arena);
    strbuf_printf(&text, "%.40s '%.80s'", node->op_type, onnx_is_utf8(name) ? name : "");
    return text.data;
}

/* The value's bounds from here on; those with nothing in them are none. */
static void set(struct onnx *o, value_id x, const struct onnx_bound *bound)
{
    bool any = bound->mixed != NULL;
    for (uint32_t d = 0; d < LIMIT_RANK; d++)
        any = any || bound->count[d] != VALUE_NONE;
    reach(o);
    o->bounds->items.items[x] = any ? arena_memdup(o->arena, bound, sizeof *bound) : NULL;
}

value_id onnx_bound(struct onnx_call *c, value_id x, int axis, value_id count, bool zero)
{
    struct onnx_bound bound = {.node = name_of(c), .zero = zero};
    if (x == VALUE_NONE || count == VALUE_NONE)
        return VALUE_NONE;
    begin(c->o);
    const struct onnx_bound *before = onnx_bound_of(c->o, x);
    if (before && !before->mixed)
        bound = *before;
    for (uint32_t d = 0; d < LIMIT_RANK; d++)
        zero = zero && (d == (uint32_t)axis || bound.count[d] == VALUE_NONE || bound.zero);
    bound.zero = zero;
    bound.count[axis] = count;
    set(c->o, x, &bound);
    return x;
}

/* The greatest or least of what a dtype has. */
static value_id extreme(struct builder *b, enum dtype type, enum onnx_filler filler)
{
    bool least = filler == FILL_LEAST;
    if (dtype_is_float(type))
        return b_const(b, type, least ? -INFINITY : INFINITY);
    /* No double is the greatest i64. */
    struct attrs attrs = {.dtype = (uint8_t)type,
                          .integer = least ? dtype_least(type) : dtype_greatest(type)};
    return graph_add(b->graph, PRIM_CONST, NULL, 0, &attrs, b->err);
}

static value_id filler_of(struct builder *b, value_id x, enum onnx_filler filler)
{
    switch (filler) {
    case FILL_ZERO: return b_const_like(b, x, 0);
    case FILL_ONE: return b_const_like(b, x, 1);
    case FILL_NAN: return b_const_like(b, x, NAN);
    case FILL_LEAST:
    case FILL_GREATEST: return extreme(b, (enum dtype)b_node(b, x)->dtype, filler);
    }
    return VALUE_NONE;
}

/* x where its place along the axis is below the count. */
static value_id select_counted(struct builder *b, value_id x, int axis, value_id count,
                               value_id filler)
{
    dim_id shape[LIMIT_RANK];
    uint32_t rank = b_node(b, x)->rank;
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = d == (uint32_t)axis ? b_dim(b, x, d) : b_dim_const(b, 1);
    value_id place = b_iota(b, DTYPE_I64, shape, rank, axis);
    return b_select(b, b_binary(b, PRIM_LT, place, count), x, filler);
}

value_id onnx_fill(struct onnx_call *c, value_id x, int axis, enum onnx_filler filler)
{
    const struct onnx_bound *before = onnx_bound_of(c->o, x);
    if (!before || before->mixed || before->count[axis] == VALUE_NONE)
        return x;
    struct onnx_bound bound = *before;
    value_id filled = select_counted(c->b, x, axis, bound.count[axis], filler_of(c->b, x, filler));
    if (filled == VALUE_NONE)
        return filled;
    bound.count[axis] = VALUE_NONE;
    bound.zero = false;
    set(c->o, filled, &bound);
    return filled;
}

value_id onnx_fill_all(struct onnx_call *c, value_id x, enum onnx_filler filler)
{
    for (uint32_t d = 0; d < onnx_rank(c, x); d++)
        x = onnx_fill(c, x, (int)d, filler);
    return x;
}

static bool may_follow(const char *name, bool *out_places)
{
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(allowed[i].name, name) == 0) {
            *out_places = allowed[i].places;
            return true;
        }
    return false;
}

#define BOUND_CURE \
    "end the model before it: make that value an output, and give what counts of it to the rest"

bool onnx_bound_enter(struct onnx_call *c)
{
    struct onnx *o = c->o;
    bool places = false, known = may_follow(c->op->name, &places);
    for (uint32_t i = 0; i < c->in_count && o->bounds; i++) {
        const struct onnx_bound *bound = onnx_bound_of(o, c->in[i]);
        for (uint32_t k = 0; c->lists[i] && k < c->lists[i]->count && !bound; k++)
            bound = onnx_bound_of(o, c->lists[i]->items[k]);
        if (!bound || known)
            continue;
        c->cure = BOUND_CURE;
        return onnx_refuse(c,
                           "input %u ('%.60s'): how much of it counts is known when it runs only "
                           "(%s), and this op is not read of such a value",
                           i, c->node->input[i], bound->node);
    }
    reach(o);
    if (o->bounds)
        o->bounds->places = places;
    return true;
}

bool onnx_bound_leave(struct onnx_call *c)
{
    for (uint32_t i = 0; i < c->out_count && c->o->bounds; i++) {
        const struct onnx_bound *bound = onnx_bound_of(c->o, c->out[i]);
        for (uint32_t k = 0; c->out_lists[i] && k < c->out_lists[i]->count; k++)
            bound = onnx_bound_of(c->o, c->out_lists[i]->items[k]);
        if (bound && bound->mixed) {
            c->cure = BOUND_CURE;
            return onnx_refuse(c, "how much of a dim counts is known when it runs only (%s): %s",
                               bound->node, bound->mixed);
        }
    }
    if (c->o->bounds)
        c->o->bounds->places = false;
    return true;
}

bool onnx_bound_output(struct onnx *o, const char *name, value_id x, struct error *err)
{
    struct builder b = {.graph = o->graph, .err = err};
    struct onnx_bound bound = {.zero = false};
    if (!onnx_bound_of(o, x))
        return graph_output(o->graph, name, x, err);
    bound = *onnx_bound_of(o, x);
    uint32_t rank = b_node(&b, x)->rank, bounded = 0;
    for (uint32_t d = 0; d < rank; d++)
        bounded += bound.count[d] != VALUE_NONE;
    for (uint32_t d = 0; d < rank && x != VALUE_NONE; d++) {
        struct strbuf text;
        if (bound.count[d] == VALUE_NONE)
            continue;
        if (!bound.zero)
            x = select_counted(&b, x, (int)d, bound.count[d], b_const_like(&b, x, 0));
        strbuf_init(&text, o->arena);
        strbuf_printf(&text, "%s.count", name);
        if (bounded > 1)
            strbuf_printf(&text, ".%u", d);
        VEC_PUSH(o->arena, &o->bounds->counts, ((struct graph_output){text.data, bound.count[d]}));
    }
    return x != VALUE_NONE && graph_output(o->graph, name, x, err);
}

bool onnx_bound_counts(struct onnx *o, struct error *err)
{
    for (uint32_t i = 0; o->bounds && i < o->bounds->counts.count; i++) {
        const struct graph_output *count = &o->bounds->counts.items[i];
        if (!graph_output(o->graph, count->name, count->value, err))
            return fail_at(err, "output '%.100s'", count->name);
    }
    return true;
}
