/* Finding what the backward pass can compute in strips; see strips_priv.h. */
#include "compiler/grad/strips_priv.h"

#define MOST_DEPTH 64 /* of what is between the two products of attention */
#define LEAST_ROWS (2 * STRIP_ROWS)

struct finding {
    struct strips *s;
    struct graph *g;
    struct strip_region *region;
};

/* A reshape goes row by row where both have the axis, behind as many elements. */
static uint32_t reshape_axis(struct graph *g, const struct node *n, uint32_t axis)
{
    const struct node *x = graph_node(g, n->operands[0]);
    dim_id before = dim_product(&g->dims, n->shape, axis);
    for (uint32_t d = 0; d < x->rank && before != DIM_NONE; d++)
        if (x->shape[d] == n->shape[axis] && dim_product(&g->dims, x->shape, d) == before)
            return d;
    return AXIS_MIXED;
}

static uint32_t broadcast_axis(const struct graph *g, const struct node *n, uint32_t axis)
{
    const struct node *x = graph_node(g, n->operands[0]);
    for (uint32_t d = 0; d < x->rank; d++)
        if (n->attrs->axes[d] == axis)
            return x->shape[d] == n->shape[axis] ? d : AXIS_NONE;
    return AXIS_NONE;
}

static uint32_t contract_axis(const struct graph *g, const struct node *n, uint32_t operand,
                              uint32_t axis)
{
    uint32_t batch = n->attrs->batch;
    uint32_t rows = graph_node(g, n->operands[0])->rank - n->attrs->contract;
    if (axis < batch)
        return axis;
    if (operand == 0)
        return axis < rows ? axis : AXIS_NONE;
    return axis < rows ? AXIS_NONE : batch + axis - rows;
}

static uint32_t reduce_axis(const struct node *n, uint32_t axis)
{
    bool reduced[LIMIT_RANK] = {false};
    for (uint32_t i = 0; i < n->attrs->axis_count; i++)
        reduced[n->attrs->axes[i]] = true;
    for (uint32_t d = 0; d < LIMIT_RANK; d++)
        if (!reduced[d] && axis-- == 0)
            return d;
    return AXIS_MIXED;
}

uint32_t strip_operand_axis(struct graph *g, const struct node *n, uint32_t operand, uint32_t axis)
{
    enum prim prim = (enum prim)n->prim;
    if (prim_is_elementwise(prim))
        return axis;
    switch (prim) {
    case PRIM_CONTRACT: return contract_axis(g, n, operand, axis);
    case PRIM_REDUCE_SUM:
    case PRIM_REDUCE_MAX:
    case PRIM_REDUCE_MIN: return reduce_axis(n, axis);
    case PRIM_BROADCAST: return broadcast_axis(g, n, axis);
    case PRIM_RESHAPE: return reshape_axis(g, n, axis);
    case PRIM_TRANSPOSE: return n->attrs->axes[axis];
    default: return AXIS_MIXED;
    }
}

static int64_t most(const struct graph *g, dim_id dim)
{
    int64_t least, result;
    dim_range(&g->dims, dim, &least, &result);
    return result;
}

static bool is_part(const struct finding *f, value_id v, enum strip_part part)
{
    return f->region->part[v] == part;
}

static bool is_inside(const struct finding *f, value_id v)
{
    return strip_is_inside(f->region, v);
}

static void join(struct finding *f, value_id v, enum strip_part part, uint32_t axis)
{
    f->region->part[v] = (uint8_t)part;
    f->region->axis[v] = (uint8_t)axis;
}

/* Whether a product has more to give than rows: its rows come from one operand, and the other one
 * has a dim of its own that may be long. */
static bool is_scores(struct finding *f, value_id v, uint32_t axis)
{
    const struct node *n = graph_node(f->g, v);
    if (n->prim != PRIM_CONTRACT || axis < n->attrs->batch)
        return false;
    uint32_t of = contract_axis(f->g, n, 0, axis) == AXIS_NONE ? 1 : 0;
    f->region->keys = DIM_NONE;
    for (uint32_t d = n->attrs->batch; d < n->rank; d++)
        if (contract_axis(f->g, n, of, d) == AXIS_NONE && most(f->g, n->shape[d]) > LEAST_ROWS)
            f->region->keys = n->shape[d];
    return f->region->keys != DIM_NONE;
}

/* Makes what leads from scores to a value members; false: nothing does. Notes reductions. */
static bool join_forward(struct finding *f, value_id v, uint32_t axis, uint32_t depth,
                         bool *reduces)
{
    struct strip_region *r = f->region;
    const struct node *n = graph_node(f->g, v);
    bool any = false;
    if (is_part(f, v, STRIP_MEMBER))
        return r->axis[v] == axis;
    if (depth == 0 || f->s->bound[v])
        return false;
    if (n->prim == PRIM_CONTRACT) {
        if ((r->scores != VALUE_NONE && r->scores != v) || !is_scores(f, v, axis))
            return false;
        r->scores = v;
        join(f, v, STRIP_MEMBER, axis);
        return true;
    }
    for (uint32_t i = 0; i < n->operand_count; i++) {
        uint32_t of = strip_operand_axis(f->g, n, i, axis);
        if (of < LIMIT_RANK && join_forward(f, n->operands[i], of, depth - 1, reduces))
            any = true;
    }
    if (any) {
        join(f, v, STRIP_MEMBER, axis);
        *reduces |= n->prim == PRIM_REDUCE_SUM;
    }
    return any;
}

/* Whether the forward pass has members for itself and the product alone, so that it need not store
 * them. */
static bool forward_ends_here(const struct finding *f)
{
    const struct graph *g = f->g;
    for (value_id v = f->region->scores; v < f->s->first; v++) {
        const struct node *n = graph_node(g, v);
        for (uint32_t i = 0; i < n->operand_count; i++)
            if (is_part(f, n->operands[i], STRIP_MEMBER) && !is_part(f, v, STRIP_MEMBER) &&
                v != f->region->product)
                return false;
    }
    for (uint32_t i = 0; i < g->outputs.count; i++)
        if (is_part(f, g->outputs.items[i].value, STRIP_MEMBER))
            return false;
    return true;
}

/* The axis of a value that goes with the rows of its operands in the region; AXIS_MIXED: none.
 * AXIS_NONE: it has no such operands. */
static uint32_t axis_of(const struct finding *f, const struct node *n)
{
    const struct strip_region *r = f->region;
    bool any = false;
    for (uint32_t i = 0; i < n->operand_count; i++)
        any |= r->part[n->operands[i]] == STRIP_ROW || r->part[n->operands[i]] == STRIP_MEMBER;
    if (!any)
        return AXIS_NONE;
    for (uint32_t axis = 0; axis < n->rank; axis++) {
        bool fits = n->shape[axis] == r->rows;
        for (uint32_t i = 0; fits && i < n->operand_count; i++) {
            value_id x = n->operands[i];
            uint32_t of = strip_operand_axis(f->g, n, i, axis);
            fits = of != AXIS_MIXED &&
                   ((r->part[x] != STRIP_ROW && !is_inside(f, x)) || r->axis[x] == of);
        }
        if (fits)
            return axis;
    }
    return AXIS_MIXED;
}

/* A member reads what was only a reduction until now. */
static void join_rows(struct finding *f, value_id v)
{
    const struct node *n = graph_node(f->g, v);
    for (uint32_t i = 0; i < n->operand_count; i++)
        if (is_part(f, n->operands[i], STRIP_ROW)) {
            join(f, n->operands[i], STRIP_MEMBER, f->region->axis[n->operands[i]]);
            join_rows(f, n->operands[i]);
        }
}

static bool reads(const struct finding *f, const struct node *n, enum strip_part part)
{
    for (uint32_t i = 0; i < n->operand_count; i++)
        if (is_part(f, n->operands[i], part))
            return true;
    return false;
}

/* Members of the backward pass. */
static void join_backward(struct finding *f)
{
    struct strip_region *r = f->region;
    for (value_id v = f->s->first; v < f->s->end; v++) {
        const struct node *n = graph_node(f->g, v);
        uint32_t axis = f->s->needed[v] && !f->s->bound[v] ? axis_of(f, n) : AXIS_NONE;
        if (axis >= LIMIT_RANK)
            continue;
        bool member = reads(f, n, STRIP_MEMBER);
        if (graph_elements(f->g, v) == r->size) {
            join(f, v, STRIP_MEMBER, axis);
            join_rows(f, v);
        } else if (!member || (n->prim >= PRIM_REDUCE_SUM && n->prim <= PRIM_REDUCE_MIN)) {
            join(f, v, STRIP_ROW, axis);
        }
    }
}

/* Whether a value has the axis and as many elements beside it as there are keys. */
static bool is_wide(const struct finding *f, const struct node *n, uint32_t axis)
{
    for (uint32_t d = 0; d < n->rank; d++)
        if (d != axis && n->shape[d] == f->region->keys)
            return true;
    return false;
}

static bool can_join(const struct finding *f, const struct node *n, uint32_t axis)
{
    bool can = n->prim != PRIM_REDUCE_SUM && n->prim != PRIM_REDUCE_MAX &&
               n->prim != PRIM_REDUCE_MIN && (n->prim == PRIM_IOTA || n->operand_count > 0);
    for (uint32_t i = 0; can && i < n->operand_count; i++)
        can = strip_operand_axis(f->g, n, i, axis) != AXIS_MIXED;
    return can;
}

/* What members read element by element, where it is as wide as they are, is computed in the loop,
 * too: the other product of the backward pass, masks. False where a tensor of that size would be
 * stored only to be read in strips, or is read in two ways. */
static bool join_operands(struct finding *f)
{
    for (value_id v = f->s->end; v-- > 1;) {
        const struct node *n = graph_node(f->g, v);
        for (uint32_t i = 0; is_inside(f, v) && i < n->operand_count; i++) {
            value_id x = n->operands[i];
            const struct node *of = graph_node(f->g, x);
            uint32_t axis = strip_operand_axis(f->g, n, i, f->region->axis[v]);
            if (axis == AXIS_NONE || (is_inside(f, x) && f->region->axis[x] == axis))
                continue;
            if (axis == AXIS_MIXED || f->region->part[x] != STRIP_OUTSIDE)
                return false;
            if (n->prim == PRIM_CONTRACT || !is_wide(f, of, axis) ||
                (of->operand_count == 0 && of->prim != PRIM_IOTA))
                continue;
            if (f->s->bound[x] || !can_join(f, of, axis))
                return false;
            join(f, x, STRIP_COPIED, axis);
        }
    }
    return true;
}

/* Whether all of a value's operands that are members are summed over their rows. */
static bool sums_rows(const struct finding *f, const struct node *n)
{
    const struct strip_region *r = f->region;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id x = n->operands[i];
        bool sums = !is_inside(f, x);
        if (n->prim == PRIM_CONTRACT)
            sums |= r->axis[x] + n->attrs->contract >= graph_node(f->g, x)->rank;
        for (uint32_t k = 0; n->prim == PRIM_REDUCE_SUM && k < n->attrs->axis_count; k++)
            sums |= n->attrs->axes[k] == r->axis[x];
        if (!sums || (n->prim != PRIM_CONTRACT && n->prim != PRIM_REDUCE_SUM))
            return false;
    }
    return true;
}

/* The exits; false: one of them needs all rows at once, or there is no sum. */
static bool find_exits(struct finding *f)
{
    struct strip_region *r = f->region;
    bool any = false;
    for (value_id v = f->s->first; v < f->s->end; v++) {
        const struct node *n = graph_node(f->g, v);
        if (!f->s->needed[v] || is_part(f, v, STRIP_MEMBER) || !reads(f, n, STRIP_MEMBER))
            continue;
        bool sums = sums_rows(f, n);
        uint32_t axis = sums ? 0 : axis_of(f, n);
        if (f->s->bound[v] || axis >= LIMIT_RANK)
            return false;
        r->part[v] = sums ? STRIP_SUM : STRIP_ROWS_OUT;
        r->axis[v] = (uint8_t)axis;
        any |= sums;
        VEC_PUSH(f->s->arena, &r->exits, v);
    }
    for (uint32_t i = 0; i < f->s->count; i++)
        any &= !is_part(f, f->s->values[i], STRIP_MEMBER);
    return any;
}

/* Whether nothing that the loop reads hangs on what it gives. */
static bool is_before(const struct finding *f)
{
    const struct strip_region *r = f->region;
    bool *behind = ARENA_ARRAY(f->s->arena, bool, f->s->end);
    for (value_id v = f->s->first; v < f->s->end; v++) {
        const struct node *n = graph_node(f->g, v);
        behind[v] = r->part[v] == STRIP_SUM || r->part[v] == STRIP_ROWS_OUT;
        for (uint32_t i = 0; i < n->operand_count; i++) {
            bool after = behind[n->operands[i]];
            if (after && r->part[v] >= STRIP_COPIED)
                return false;
            behind[v] |= after;
        }
    }
    return true;
}

int64_t strip_typical(const struct dim_table *dims, dim_id dim)
{
    int64_t values[LIMIT_NAMED_DIMS] = {0}, value;
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *name = &dims->names.items[i];
        values[i] = name->typical > 0 ? name->typical : name->max;
    }
    return dim_eval(dims, dim, values, &value) ? value : INT64_MAX;
}

/* Whether there may be more rows than two strips, and typically are more than one. */
static bool has_many_rows(const struct dim_table *dims, dim_id rows)
{
    int64_t least, longest;
    dim_range(dims, rows, &least, &longest);
    return least >= 1 && longest > LEAST_ROWS && strip_typical(dims, rows) > STRIP_ROWS;
}

static bool find_around(struct finding *f, value_id product)
{
    struct strip_region *r = f->region;
    const struct node *n = graph_node(f->g, product);
    uint32_t rows = graph_node(f->g, n->operands[0])->rank - n->attrs->contract;
    for (uint32_t axis = n->attrs->batch; axis < rows; axis++) {
        bool reduces = false;
        *r = (struct strip_region){.product = product,
                                   .rows = n->shape[axis],
                                   .part = ARENA_ARRAY(f->s->arena, uint8_t, f->s->end),
                                   .axis = ARENA_ARRAY(f->s->arena, uint8_t, f->s->end)};
        if (!has_many_rows(&f->g->dims, r->rows) ||
            !join_forward(f, n->operands[0], axis, MOST_DEPTH, &reduces) || !reduces)
            continue;
        r->size = graph_elements(f->g, r->scores);
        if (r->size == DIM_NONE || !forward_ends_here(f))
            continue;
        join_backward(f);
        if (join_operands(f) && find_exits(f) && is_before(f))
            return true;
    }
    return false;
}

bool strip_find_region(struct strips *s, value_id *at, struct strip_region *out)
{
    struct finding f = {.s = s, .g = s->b->graph, .region = out};
    for (; *at > VALUE_NONE; --*at) {
        const struct node *n = graph_node(f.g, *at);
        if (n->prim == PRIM_CONTRACT && !s->bound[*at] && find_around(&f, *at))
            return true;
    }
    return false;
}
