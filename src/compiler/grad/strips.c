/* Computing a part of the backward pass in strips; see strips_priv.h.
 *
 * Strip t has the rows from min(t·h, T − h) on, h of them: the last one begins
 * before it would, so that all have h rows, and rows that an earlier strip had must not count again
 * in its sums. What only the backward pass reads, cotangents, is 0 in these rows; sums are linear
 * in them, so what they add is 0, too. */
#include <string.h>

#include "compiler/grad/strips_priv.h"

/* What the loop reads of a value that has rows. */
struct strip_entry {
    value_id value, strip;
    uint32_t axis;
};

struct emitting {
    struct strips *s;
    struct builder *b;
    const struct strip_region *region;
    dim_id height, strips; /* h, and how many */
    value_id index, fresh; /* [h]: the numbers of the rows; whether no earlier strip has them */
    bool *forward;         /* by value: what members of the forward pass have as operand */
    bool *still;           /* by value of members: 0 in rows that do not count */
    value_id *copies;      /* of members in the loop, by value */
    VEC(struct strip_entry) entries;
    value_id state[LIMIT_OPERANDS], next[LIMIT_OPERANDS], row[LIMIT_OPERANDS];
    value_id exit_of[LIMIT_OPERANDS]; /* first those of states, then, from states on, those of rows
                                       */
    uint32_t states, rows;
};

/* min(t·h, T − h) for a 0-d or 1-d t. */
static value_id beginning(struct emitting *e, value_id t)
{
    struct builder *b = e->b;
    value_id last = b_size(b, b_dim_sub(b, e->region->rows, e->height));
    return b_binary(b, PRIM_MIN, b_mul(b, t, b_size(b, e->height)), last);
}

static bool begin_trip(struct emitting *e, value_id iter)
{
    struct builder *b = e->b;
    value_id local = b_iota(b, DTYPE_I64, &e->height, 1, 0);
    e->index = b_add(b, local, beginning(e, iter));
    e->fresh = b_binary(b, PRIM_LE, b_mul(b, iter, b_size(b, e->height)), e->index);
    return e->fresh != VALUE_NONE;
}

/* A vector of the rows, in the shape of a value that has them along an axis. */
static value_id along(struct builder *b, value_id vector, const struct node *like, uint32_t axis)
{
    struct attrs attrs = {.rank = like->rank, .axis_count = 1, .axes = {(uint8_t)axis}};
    memcpy(attrs.shape, like->shape, like->rank * sizeof like->shape[0]);
    return graph_add(b->graph, PRIM_BROADCAST, &vector, 1, &attrs, b->err);
}

static value_id behind_transposes(const struct emitting *e, value_id v)
{
    while (b_node(e->b, v)->prim == PRIM_TRANSPOSE)
        v = b_node(e->b, v)->operands[0];
    return v;
}

/* Whether what is outside is read as 0 in rows that do not count. */
static bool is_masked(const struct emitting *e, value_id v)
{
    return dtype_is_float((enum dtype)b_node(e->b, v)->dtype) && !e->forward[v];
}

/* x where its rows count, else 0. */
static value_id fresh_only(struct emitting *e, value_id x, uint32_t axis)
{
    if (x == VALUE_NONE)
        return x;
    struct node like = *b_node(e->b, x);
    return b_select(e->b, along(e->b, e->fresh, &like, axis), x, grad_zeros_like(e->b, x));
}

/* The rows of the strip of what is outside; one copy of them for all transposes. */
static value_id strip_of(struct emitting *e, value_id v, uint32_t axis)
{
    const struct node *n = b_node(e->b, v);
    if (n->prim == PRIM_TRANSPOSE) {
        const uint8_t *axes = n->attrs->axes;
        return b_transpose(e->b, strip_of(e, n->operands[0], axes[axis]), axes);
    }
    for (uint32_t i = 0; i < e->entries.count; i++)
        if (e->entries.items[i].value == v && e->entries.items[i].axis == axis)
            return e->entries.items[i].strip;
    value_id strip = b_take(e->b, v, e->index, axis);
    if (is_masked(e, v))
        strip = fresh_only(e, strip, axis);
    VEC_PUSH(e->s->arena, &e->entries, ((struct strip_entry){v, strip, axis}));
    return strip;
}

/* An operand as the loop has it. */
static value_id operand_at(struct emitting *e, value_id v, uint32_t axis)
{
    if (strip_is_inside(e->region, v))
        return e->copies[v];
    return axis == AXIS_NONE ? v : strip_of(e, v, axis);
}

/* A node in the loop, whose result has rows along an axis. */
static value_id copy_rows(struct emitting *e, value_id v, uint32_t axis)
{
    struct graph *g = e->b->graph;
    struct node n = *graph_node(g, v);
    struct attrs attrs = *n.attrs;
    value_id operands[2 + LIMIT_RANK];
    for (uint32_t i = 0; i < n.operand_count; i++)
        operands[i] = operand_at(e, n.operands[i], strip_operand_axis(g, &n, i, axis));
    if (prim_info((enum prim)n.prim)->attrs & ATTR_SHAPE)
        attrs.shape[axis] = e->height;
    g->origin = n.origin;
    value_id copy = graph_add(g, (enum prim)n.prim, operands, n.operand_count, &attrs, e->b->err);
    if (n.prim == PRIM_IOTA && attrs.axis == (int32_t)axis && copy != VALUE_NONE) {
        value_id index = b_cast(e->b, e->index, (enum dtype)n.dtype);
        copy = index == VALUE_NONE ? VALUE_NONE : along(e->b, index, graph_node(g, copy), axis);
    }
    return copy;
}

/* Whether an operand is 0 in rows that do not count. */
static bool is_still(const struct emitting *e, value_id x, uint32_t axis)
{
    if (strip_is_inside(e->region, x))
        return e->still[x];
    return axis < LIMIT_RANK && is_masked(e, behind_transposes(e, x));
}

/* The same of a member, from its operands. */
static bool becomes_still(const struct emitting *e, value_id v)
{
    struct graph *g = e->b->graph;
    const struct node *n = graph_node(g, v);
    bool all = n->operand_count > 0, any = false;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        bool still = is_still(e, n->operands[i], strip_operand_axis(g, n, i, e->region->axis[v]));
        all &= still;
        any |= still;
    }
    switch ((enum prim)n->prim) {
    case PRIM_CONTRACT:
    case PRIM_MUL: return any;
    case PRIM_ADD:
    case PRIM_SUB:
    case PRIM_NEG:
    case PRIM_CAST:
    case PRIM_REDUCE_SUM:
    case PRIM_BROADCAST:
    case PRIM_RESHAPE:
    case PRIM_TRANSPOSE: return all;
    default: return false;
    }
}

/* The axis of the rows of an operand of a sum over rows. */
static uint32_t summed_axis(const struct emitting *e, const struct node *n, uint32_t operand)
{
    const struct strip_region *r = e->region;
    const struct graph *g = e->b->graph;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id x = n->operands[i];
        if (strip_is_inside(r, x))
            return (uint32_t)(graph_node(g, n->operands[operand])->rank + r->axis[x] -
                              graph_node(g, x)->rank);
    }
    return AXIS_MIXED; /* not reached: exits have members as operands */
}

/* What the strip's rows add to a sum; in f32 if that is narrow: sums of many strips round once. */
static value_id partial_sum(struct emitting *e, value_id v)
{
    struct builder *b = e->b;
    struct node n = *b_node(b, v);
    enum dtype dtype = (enum dtype)n.dtype;
    enum dtype wide = dtype == DTYPE_F64 || !dtype_is_float(dtype) ? dtype : DTYPE_F32;
    value_id operands[2];
    bool still = false;
    for (uint32_t i = 0; i < n.operand_count; i++)
        still |= is_still(e, n.operands[i], summed_axis(e, &n, i));
    for (uint32_t i = 0; i < n.operand_count; i++) {
        uint32_t axis = summed_axis(e, &n, i);
        operands[i] = operand_at(e, n.operands[i], axis);
        if (i == 0 && !still)
            operands[i] = fresh_only(e, operands[i], axis);
        operands[i] = b_cast(b, operands[i], wide);
    }
    b->graph->origin = n.origin;
    return graph_add(b->graph, (enum prim)n.prim, operands, n.operand_count, n.attrs, b->err);
}

/* What reads a value, where that is a transpose and nothing else. */
static value_id only_transpose(const struct emitting *e, value_id v)
{
    const struct strips *s = e->s;
    value_id found = VALUE_NONE;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->values[i] == v)
            return VALUE_NONE;
    for (value_id u = v + 1; u < s->end; u++) {
        const struct node *n = b_node(e->b, u);
        for (uint32_t i = 0; s->needed[u] && i < n->operand_count; i++) {
            if (n->operands[i] != v)
                continue;
            if (found != VALUE_NONE || n->prim != PRIM_TRANSPOSE)
                return VALUE_NONE;
            found = u;
        }
    }
    return found;
}

/* A sum is a state, in the order of dims in which it is read behind the loop. */
static bool add_sum(struct emitting *e, uint32_t loop, value_id v)
{
    struct builder *b = e->b;
    value_id part = partial_sum(e, v), transpose = only_transpose(e, v);
    if (transpose != VALUE_NONE) {
        part = b_transpose(b, part, b_node(b, transpose)->attrs->axes);
        v = transpose;
    }
    if (part == VALUE_NONE)
        return false;
    uint32_t at = e->states++;
    e->state[at] = b_state(b, loop, at, grad_zeros_like(b, part));
    e->next[at] = b_loop_value(b, b_add(b, e->state[at], part));
    e->exit_of[at] = v;
    return e->next[at] != VALUE_NONE;
}

/* What members of the forward pass have as operands. */
static void find_forward(struct emitting *e)
{
    for (value_id v = 1; v < e->s->first; v++) {
        const struct node *n = b_node(e->b, v);
        for (uint32_t i = 0; strip_is_inside(e->region, v) && i < n->operand_count; i++)
            e->forward[behind_transposes(e, n->operands[i])] = true;
    }
}

/* The body. States come before rows in the list of exits. */
static bool add_body(struct emitting *e, uint32_t loop)
{
    const struct strip_region *r = e->region;
    for (value_id v = 1; v < e->s->end; v++) {
        if (!strip_is_inside(r, v))
            continue;
        e->copies[v] = copy_rows(e, v, r->axis[v]);
        if (e->copies[v] == VALUE_NONE)
            return false;
        e->still[v] = becomes_still(e, v);
    }
    for (uint32_t i = 0; i < r->exits.count; i++)
        if (r->part[r->exits.items[i]] == STRIP_SUM && !add_sum(e, loop, r->exits.items[i]))
            return false;
    for (uint32_t i = 0; i < r->exits.count; i++) {
        value_id v = r->exits.items[i];
        if (r->part[v] != STRIP_ROWS_OUT)
            continue;
        value_id row = b_loop_value(e->b, copy_rows(e, v, r->axis[v]));
        if (row == VALUE_NONE)
            return false;
        e->exit_of[e->states + e->rows] = v;
        e->row[e->rows++] = row;
    }
    return true;
}

/* What has rows, of the strips [strips, …, h, …]: row r is in strip r // h, and so many rows behind
 * its place in an array of whole strips as the strip begins before its place. */
static value_id join_strips(struct emitting *e, value_id strips, uint32_t axis)
{
    struct builder *b = e->b;
    if (strips == VALUE_NONE)
        return strips;
    struct node n = *b_node(b, strips);
    uint8_t axes[LIMIT_RANK];
    dim_id shape[LIMIT_RANK];
    for (uint32_t d = 0; d < n.rank; d++)
        axes[d] = (uint8_t)(d < axis ? d + 1 : d == axis ? 0 : d);
    strips = b_transpose(b, strips, axes);
    for (uint32_t d = 0; d + 1 < n.rank; d++)
        shape[d] = d == axis ? b_dim_mul(b, e->strips, e->height) : n.shape[d + 1];
    strips = b_reshape(b, strips, shape, n.rank - 1u);
    value_id row = b_iota(b, DTYPE_I64, &e->region->rows, 1, 0);
    value_id strip = b_div(b, row, b_size(b, e->height));
    value_id ahead = b_sub(b, b_mul(b, strip, b_size(b, e->height)), beginning(e, strip));
    /* Stored, so that what reads rows does not divide for each of their elements. */
    return b_take(b, strips, b_unary(b, PRIM_COPY, b_add(b, row, ahead)), axis);
}

/* The values behind the exits again. */
static bool follow(struct emitting *e)
{
    struct strips *s = e->s;
    struct graph *g = e->b->graph;
    value_id *follows = ARENA_ARRAY(s->arena, value_id, s->end);
    for (uint32_t i = 0; i < e->states + e->rows; i++)
        follows[e->exit_of[i]] = e->copies[e->exit_of[i]];
    for (value_id v = s->first; v < s->end; v++) {
        struct node n = *graph_node(g, v);
        value_id operands[LIMIT_OPERANDS];
        bool behind = false;
        for (uint32_t i = 0; i < n.operand_count; i++) {
            value_id x = n.operands[i];
            behind |= follows[x] != VALUE_NONE;
            operands[i] = follows[x] != VALUE_NONE ? follows[x] : x;
        }
        if (!s->needed[v] || !behind || follows[v] != VALUE_NONE)
            continue;
        g->origin = n.origin;
        follows[v] = graph_add(g, (enum prim)n.prim, operands, n.operand_count, n.attrs, e->b->err);
        if (follows[v] == VALUE_NONE)
            return false;
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (follows[s->values[i]] != VALUE_NONE)
            s->values[i] = follows[s->values[i]];
    return true;
}

/* The most rows of a strip. */
static dim_id most_rows(struct dim_table *dims, dim_id rows)
{
    return dim_const(dims, strip_typical(dims, rows) <= FEW_ROWS ? LOW_STRIP : STRIP_ROWS);
}

/* Rows of a strip. Where their number is known, strips of equal heights have few rows twice: 300
 * are five strips of 60, and not of 64. */
static dim_id strip_height(struct dim_table *dims, dim_id rows, dim_id strips)
{
    return dim_is_const(dims, rows, NULL) ? dim_ceildiv(dims, rows, strips)
                                          : dim_min(dims, rows, most_rows(dims, rows));
}

static bool emit(struct strips *s, const struct strip_region *region)
{
    struct builder *b = s->b;
    struct dim_table *dims = &b->graph->dims;
    dim_id strips = dim_ceildiv(dims, region->rows, most_rows(dims, region->rows));
    struct emitting e = {.s = s,
                         .b = b,
                         .region = region,
                         .height = strip_height(dims, region->rows, strips),
                         .strips = strips,
                         .forward = ARENA_ARRAY(s->arena, bool, s->end),
                         .still = ARENA_ARRAY(s->arena, bool, s->end),
                         .copies = ARENA_ARRAY(s->arena, value_id, s->end)};
    if (region->exits.count > LIMIT_OPERANDS / 2 || e.height == DIM_NONE || e.strips == DIM_NONE)
        return true; /* left as it is */
    value_id results[LIMIT_OPERANDS];
    uint32_t loop = b_loop_begin(b);
    find_forward(&e);
    if (!begin_trip(&e, b_iter(b, loop)) || !add_body(&e, loop))
        return false;
    const struct loop_spec spec = {.loop = loop,
                                   .trips = e.strips,
                                   .state = e.state,
                                   .next = e.next,
                                   .row = e.row,
                                   .states = e.states,
                                   .rows = e.rows};
    if (!b_loop_end(b, &spec, results))
        return false;
    for (uint32_t i = 0; i < e.states + e.rows; i++) {
        value_id v = e.exit_of[i], result = results[i];
        b->graph->origin = b_node(b, v)->origin;
        result = i < e.states ? b_cast(b, result, (enum dtype)b_node(b, v)->dtype)
                              : join_strips(&e, result, region->axis[v]);
        if (result == VALUE_NONE)
            return false;
        e.copies[v] = result;
    }
    return follow(&e);
}

/* Marks what values hang on, and what belongs to loops. */
static void look(struct strips *s)
{
    const struct graph *g = s->b->graph;
    s->end = g->nodes.count;
    s->needed = ARENA_ARRAY(s->arena, bool, s->end);
    s->bound = ARENA_ARRAY(s->arena, bool, s->end);
    for (uint32_t i = 0; i < s->count; i++)
        s->needed[s->values[i]] = true;
    for (value_id v = s->end; v-- > 1;)
        for (uint32_t i = 0; s->needed[v] && i < graph_node(g, v)->operand_count; i++)
            s->needed[graph_node(g, v)->operands[i]] = true;
    for (value_id v = 1; v < s->end; v++) {
        const struct node *n = graph_node(g, v);
        s->bound[v] = n->prim == PRIM_ITER || n->prim == PRIM_STATE || n->prim == PRIM_LOOP;
        for (uint32_t i = 0; i < n->operand_count; i++) {
            value_id x = n->operands[i];
            s->bound[v] |= s->bound[x] && graph_node(g, x)->prim != PRIM_LOOP;
        }
    }
}

bool grad_in_strips(struct builder *b, value_id first, value_id *values, uint32_t count,
                    struct arena *arena)
{
    struct strips s = {.b = b, .arena = arena, .first = first, .values = values, .count = count};
    origin_id origin = b->graph->origin;
    bool ok = true;
    for (value_id at = first - 1; ok && at > VALUE_NONE; at--) {
        struct strip_region region;
        look(&s);
        if (!strip_find_region(&s, &at, &region))
            break;
        ok = emit(&s, &region);
    }
    b->graph->origin = origin;
    return ok;
}
