/* Sizes that are counts: a tensor as long as what counts of another, whose Shape says so. Its dim
 * is that of the other, and its bound is the same count. An element is followed through moves to
 * where it comes from; of what is computed from counts nothing is known. */
#include "compiler/import/onnx/onnx_bound_priv.h"

#define MOST_MOVES 64

/* One element of a value. */
struct element {
    value_id value;
    int64_t at; /* in row-major order */
};

/* The dim that a count is of: of the first value that has it; false: it is none. */
static bool find_count(struct onnx *o, value_id count, dim_id *out)
{
    for (uint32_t v = 1; v < o->bounds->items.count; v++) {
        const struct onnx_bound *bound = o->bounds->items.items[v];
        const struct node *node = graph_node(o->graph, v);
        for (uint32_t d = 0; bound && !bound->mixed && d < node->rank; d++)
            if (bound->count[d] == count) {
                *out = node->shape[d];
                return true;
            }
    }
    return false;
}

static bool length_of(struct onnx *o, value_id x, int64_t *out)
{
    const struct node *node = graph_node(o->graph, x);
    return node->rank == 1 && onnx_is_const(&o->graph->dims, node->shape[0], out);
}

/* From the operand of a concatenation of lists in which the element lies. */
static bool from_part(struct onnx *o, const struct node *node, struct element *e)
{
    for (uint32_t i = 0; i < node->operand_count; i++) {
        int64_t length = 0;
        if (!length_of(o, node->operands[i], &length))
            return false;
        if (e->at < length) {
            e->value = node->operands[i];
            return true;
        }
        e->at -= length;
    }
    return false;
}

/* By a known place in a list. */
static bool from_place(struct onnx *o, const struct node *node, struct element *e)
{
    const struct known *places = onnx_known(o, node->operands[1]);
    int64_t length = 0, place = 0;
    if (!length_of(o, node->operands[0], &length) || !places->is_known || !places->dims ||
        e->at >= places->count || !onnx_is_const(&o->graph->dims, places->dims[e->at], &place) ||
        place < 0 || place >= length)
        return false;
    *e = (struct element){node->operands[0], place};
    return true;
}

/* To the element that this one is a copy of. */
static bool step_back(struct onnx *o, struct element *e)
{
    const struct node *node = graph_node(o->graph, e->value);
    int64_t start = 0;
    switch (node->prim) {
    case PRIM_RESHAPE:
    case PRIM_COPY: e->value = node->operands[0]; return true;
    case PRIM_CAST:
        e->value = node->operands[0];
        return node->dtype == DTYPE_I64 || node->dtype == DTYPE_I32;
    case PRIM_CONCAT: return node->rank == 1 && from_part(o, node, e);
    case PRIM_TAKE: return from_place(o, node, e);
    case PRIM_SLICE:
        if (node->rank != 1 || !onnx_is_const(&o->graph->dims, node->attrs->start[0], &start))
            return false;
        *e = (struct element){node->operands[0], start + e->at * node->attrs->step[0]};
        return true;
    default: return false;
    }
}

/* The dim that an element is, or the dim of which it is the count. */
static bool resolve(struct onnx *o, struct element e, dim_id *out_dim, value_id *out_count)
{
    *out_count = VALUE_NONE;
    for (uint32_t i = 0; i < MOST_MOVES; i++) {
        const struct known *known = onnx_known(o, e.value);
        if (known->is_known) {
            *out_dim = known->dims && e.at < known->count ? known->dims[e.at] : DIM_NONE;
            return *out_dim != DIM_NONE;
        }
        if (graph_node(o->graph, e.value)->rank == 0 && find_count(o, e.value, out_dim)) {
            *out_count = e.value;
            return true;
        }
        if (!step_back(o, &e))
            return false;
    }
    return false;
}

bool onnx_counted_sizes(struct onnx_call *c, uint32_t index, struct onnx_sizes *out)
{
    struct onnx *o = c->o;
    bool any = false;
    int64_t length = 1;
    if (!o->bounds || !onnx_given(c, index) || onnx_known(o, c->in[index])->is_known ||
        (onnx_rank(c, c->in[index]) > 0 && !length_of(o, c->in[index], &length)) ||
        length > LIMIT_RANK)
        return false;
    onnx_bound_of(o, c->in[index]); /* bounds of all values so far */
    out->count = (uint32_t)length;
    for (uint32_t i = 0; i < out->count; i++) {
        const struct element e = {c->in[index], i};
        if (!resolve(o, e, &out->dims[i], &out->counts[i]))
            return false;
        any = any || out->counts[i] != VALUE_NONE;
    }
    return any;
}

value_id onnx_bound_sizes(struct onnx_call *c, value_id x, const struct onnx_sizes *sizes)
{
    uint32_t rank = onnx_rank(c, x);
    for (uint32_t i = 0; i < sizes->count && x != VALUE_NONE; i++)
        if (sizes->counts[i] != VALUE_NONE)
            x = onnx_bound(c, x, (int)(rank - sizes->count + i), sizes->counts[i], false);
    return x;
}
