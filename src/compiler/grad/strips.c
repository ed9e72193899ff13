/* Computing parts of the backward pass in strips; see strips_priv.h.
 *
 * Strip t has the rows from min(t·h, T − h) on, h of them: the last one begins before it would, so
 * that all have h rows, and rows that an earlier strip had must not count again in its sums. What
 * only the backward pass reads, cotangents, is 0 in these rows; sums are linear in them, so what
 * they add is 0, too.
 *
 * Regions are found first, all of them in the graph as it is. Then one pass over the backward pass
 * makes again what is behind exits. A region's loop is made as soon as all that it reads is known;
 * what hangs on its exits waits until then. */
#include <stdlib.h>
#include <string.h>

#include "compiler/grad/strips_priv.h"

/* What the loop reads of a value that has rows. */
struct strip_entry {
    value_id value, strip;
    struct strip_axis at;
};

/* Arrays are by value. */
struct emitting {
    struct strips *s;
    struct builder *b;
    const struct strip_region *region;
    value_id *follows;     /* what takes its place; VALUE_NONE: nothing does */
    bool *exits, *waits;   /* of loops that are not made yet; hangs on such an exit */
    value_id index, fresh; /* [h]: the numbers of the rows; whether no earlier strip has them */
    bool *forward;         /* members of the forward pass have it as operand, or a view of it */
    bool *still;           /* of what is inside: 0 in rows that do not count */
    value_id *copies;      /* of what is inside, in the loop */
    VEC(struct strip_entry) entries;
    value_id state[LIMIT_OPERANDS], next[LIMIT_OPERANDS], row[LIMIT_OPERANDS];
    value_id exit_of[LIMIT_OPERANDS];         /* of states, then, from states on, of rows */
    struct strip_axis row_at[LIMIT_OPERANDS]; /* of exits that have rows */
    uint32_t states, rows;
};

/* min(t·h, T − h) for a 0-d or 1-d t. */
static value_id beginning(struct emitting *e, value_id t)
{
    struct builder *b = e->b;
    value_id last = b_size(b, b_dim_sub(b, e->region->rows, e->region->height));
    return b_binary(b, PRIM_MIN, b_mul(b, t, b_size(b, e->region->height)), last);
}

static bool begin_trip(struct emitting *e, value_id iter)
{
    struct builder *b = e->b;
    value_id local = b_iota(b, DTYPE_I64, &e->region->height, 1, 0);
    e->index = b_add(b, local, beginning(e, iter));
    e->fresh = b_binary(b, PRIM_LE, b_mul(b, iter, b_size(b, e->region->height)), e->index);
    return e->fresh != VALUE_NONE;
}

static struct strip_axis operand_axis(const struct emitting *e, const struct node *n, uint32_t i,
                                      struct strip_axis at)
{
    return strip_operand_axis(e->b->graph, n, i, at, e->region->rows);
}

/* The size of an axis that has `count` rows. */
static dim_id axis_size(const struct emitting *e, struct strip_axis at, dim_id count)
{
    struct dim_table *dims = &e->b->graph->dims;
    return dim_mul(dims, dim_mul(dims, at.outer, count), at.inner);
}

/* The axis of the rows by itself. */
static struct strip_axis bare(struct emitting *e, uint32_t axis)
{
    dim_id one = b_dim_const(e->b, 1);
    return (struct strip_axis){axis, one, one};
}

/* A value as strip_split has it. */
static value_id split(struct emitting *e, value_id v, struct strip_axis at, dim_id count,
                      uint32_t *out_axis)
{
    dim_id shape[LIMIT_RANK + 2];
    uint32_t rank;
    if (v == VALUE_NONE)
        return v;
    struct node n = *b_node(e->b, v);
    *out_axis = strip_split(e->b->graph, &n, at, count, shape, &rank);
    return rank == n.rank ? v : b_reshape(e->b, v, shape, rank);
}

/* A value in the shape of another one, but for the size of an axis. */
static value_id merged(struct emitting *e, value_id v, const struct node *like,
                       struct strip_axis at, dim_id count)
{
    dim_id shape[LIMIT_RANK];
    if (v == VALUE_NONE)
        return v;
    memcpy(shape, like->shape, like->rank * sizeof *shape);
    shape[at.axis] = axis_size(e, at, count);
    return b_reshape(e->b, v, shape, like->rank);
}

/* A vector of the rows, in the shape of a value that has them along an axis. */
static value_id along(struct builder *b, value_id vector, const struct node *like, uint32_t axis)
{
    struct attrs attrs = {.rank = like->rank, .axis_count = 1, .axes = {(uint8_t)axis}};
    memcpy(attrs.shape, like->shape, like->rank * sizeof like->shape[0]);
    return graph_add(b->graph, PRIM_BROADCAST, &vector, 1, &attrs, b->err);
}

static bool is_view(const struct node *n)
{
    return n->prim == PRIM_TRANSPOSE || n->prim == PRIM_RESHAPE;
}

/* Whether something is 0 in rows that do not count: zeros, and cotangents, which only the backward
 * pass reads; of what is inside as its operands are (stays_still). */
static bool is_still(const struct emitting *e, value_id v, struct strip_axis at)
{
    const struct node *n = b_node(e->b, v);
    if (strip_is_inside(e->s, v))
        return e->still[v];
    if (n->prim == PRIM_CONST)
        return n->attrs->value == 0 && n->attrs->integer == 0;
    if (is_view(n) || (n->prim == PRIM_BROADCAST && at.axis == AXIS_NONE))
        return is_still(e, n->operands[0], at.axis < LIMIT_RANK ? operand_axis(e, n, 0, at) : at);
    return at.axis < LIMIT_RANK && dtype_is_float((enum dtype)n->dtype) && !e->forward[v];
}

/* Prims whose result is 0 where operands are. */
static bool stays_still(const struct emitting *e, value_id v)
{
    const struct node *n = b_node(e->b, v);
    bool still[2 + LIMIT_RANK], all = n->operand_count > 0, any = false;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        still[i] = is_still(e, n->operands[i], operand_axis(e, n, i, e->s->at[v]));
        all &= still[i];
        any |= still[i];
    }
    switch ((enum prim)n->prim) {
    case PRIM_CONTRACT:
    case PRIM_MUL: return any;
    case PRIM_DIV: return still[0];
    case PRIM_SELECT: return still[1] && still[2];
    case PRIM_ADD:
    case PRIM_SUB:
    case PRIM_NEG:
    case PRIM_CAST:
    case PRIM_COPY:
    case PRIM_REDUCE_SUM:
    case PRIM_BROADCAST:
    case PRIM_RESHAPE:
    case PRIM_TRANSPOSE: return all;
    default: return false;
    }
}

/* x where its rows count, else 0. */
static value_id fresh_only(struct emitting *e, value_id x, struct strip_axis at)
{
    uint32_t axis = 0;
    if (x == VALUE_NONE)
        return x;
    struct node whole = *b_node(e->b, x);
    x = split(e, x, at, e->region->height, &axis);
    if (x == VALUE_NONE)
        return x;
    struct node like = *b_node(e->b, x);
    x = b_select(e->b, along(e->b, e->fresh, &like, axis), x, grad_zeros_like(e->b, x));
    return merged(e, x, &whole, at, e->region->height);
}

/* The rows of the strip of what is outside; one copy of them for all views of it. */
static value_id strip_of(struct emitting *e, value_id v, struct strip_axis at)
{
    struct builder *b = e->b;
    struct node n = *b_node(b, v);
    struct strip_axis of = is_view(&n) ? operand_axis(e, &n, 0, at) : (struct strip_axis){0};
    uint32_t axis = 0;
    if (n.prim == PRIM_TRANSPOSE)
        return b_transpose(b, strip_of(e, n.operands[0], of), n.attrs->axes);
    if (n.prim == PRIM_RESHAPE && of.axis < LIMIT_RANK)
        return merged(e, strip_of(e, n.operands[0], of), &n, at, e->region->height);
    for (uint32_t i = 0; i < e->entries.count; i++)
        if (e->entries.items[i].value == v && strip_same_axis(e->entries.items[i].at, at))
            return e->entries.items[i].strip;
    value_id whole = e->follows[v] != VALUE_NONE ? e->follows[v] : v;
    whole = split(e, whole, at, e->region->rows, &axis);
    value_id strip = b_take(b, grad_readable(b, whole, axis), e->index, axis);
    if (is_still(e, v, at))
        strip = fresh_only(e, strip, bare(e, axis));
    strip = merged(e, strip, &n, at, e->region->height);
    VEC_PUSH(e->s->arena, &e->entries, ((struct strip_entry){v, strip, at}));
    return strip;
}

/* An operand as the loop has it. */
static value_id operand_at(struct emitting *e, value_id v, struct strip_axis at)
{
    if (strip_is_inside(e->s, v))
        return e->copies[v];
    if (at.axis == AXIS_NONE)
        return e->follows[v] != VALUE_NONE ? e->follows[v] : v;
    return strip_of(e, v, at);
}

/* A node in the loop, whose result has rows along an axis. */
static value_id copy_rows(struct emitting *e, value_id v, struct strip_axis at)
{
    struct graph *g = e->b->graph;
    struct node n = *graph_node(g, v);
    struct attrs attrs = *n.attrs;
    value_id operands[2 + LIMIT_RANK];
    for (uint32_t i = 0; i < n.operand_count; i++)
        operands[i] = operand_at(e, n.operands[i], operand_axis(e, &n, i, at));
    if (prim_info((enum prim)n.prim)->attrs & ATTR_SHAPE)
        attrs.shape[at.axis] = axis_size(e, at, e->region->height);
    g->origin = n.origin;
    value_id copy = graph_add(g, (enum prim)n.prim, operands, n.operand_count, &attrs, e->b->err);
    if (n.prim == PRIM_IOTA && attrs.axis == (int32_t)at.axis && copy != VALUE_NONE) {
        value_id index = b_cast(e->b, e->index, (enum dtype)n.dtype);
        copy = index == VALUE_NONE ? VALUE_NONE : along(e->b, index, graph_node(g, copy), at.axis);
    }
    return copy;
}

/* The axis of the rows of an operand of a sum over rows. */
static struct strip_axis summed_axis(const struct emitting *e, const struct node *n, uint32_t i)
{
    const struct strips *s = e->s;
    uint32_t k = 0;
    while (!strip_is_inside(s, n->operands[k])) /* exits have such an operand */
        k++;
    struct strip_axis at = s->at[n->operands[k]];
    at.axis += b_node(e->b, n->operands[i])->rank;
    at.axis -= b_node(e->b, n->operands[k])->rank;
    return at;
}

/* What the strip's rows add to a sum; in f32 if that is narrow: sums of many strips round once.
 * turned: of a product, with its operands in the other order. */
static value_id partial_sum(struct emitting *e, value_id v, bool turned)
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
        struct strip_axis at = summed_axis(e, &n, i);
        operands[i] = operand_at(e, n.operands[i], at);
        if (i == 0 && !still)
            operands[i] = fresh_only(e, operands[i], at);
        operands[i] = b_cast(b, operands[i], wide);
    }
    if (turned) {
        value_id first = operands[0];
        operands[0] = operands[1];
        operands[1] = first;
    }
    b->graph->origin = n.origin;
    return graph_add(b->graph, (enum prim)n.prim, operands, n.operand_count, n.attrs, b->err);
}

/* A sum is a state, in the order of dims in which it is read behind the loop. */
static bool add_sum(struct emitting *e, uint32_t loop, value_id v)
{
    struct builder *b = e->b;
    uint8_t axes[LIMIT_RANK];
    value_id transpose = strip_transposes(e->s, v, axes);
    value_id part = partial_sum(e, v, strip_turns(e->s, v, axes));
    if (transpose != VALUE_NONE) {
        part = b_transpose(b, part, axes);
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

/* What has rows is rows of the loop, with an axis of their own, in the order of dims in which it is
 * read behind the loop. */
static bool add_rows(struct emitting *e, value_id v)
{
    struct strip_axis at = e->s->at[v];
    uint32_t axis, moved = 0;
    uint8_t axes[LIMIT_RANK];
    value_id row = strip_is_inside(e->s, v) ? e->copies[v] : copy_rows(e, v, at);
    value_id transpose = strip_transposes(e->s, v, axes);
    if (transpose != VALUE_NONE) {
        row = b_transpose(e->b, row, axes);
        while (axes[moved] != at.axis)
            moved++;
        at.axis = moved;
        v = transpose;
    }
    row = b_loop_value(e->b, split(e, row, at, e->region->height, &axis));
    e->row_at[e->rows] = at;
    e->exit_of[e->states + e->rows] = v;
    e->row[e->rows++] = row;
    return row != VALUE_NONE;
}

/* The body. States come before rows in the list of exits. */
static bool add_body(struct emitting *e, uint32_t loop)
{
    const struct strip_region *r = e->region;
    const uint8_t *part = e->s->part;
    for (uint32_t i = 0; i < r->items.count; i++) {
        value_id v = r->items.items[i].value;
        if (!strip_is_inside(e->s, v))
            continue;
        e->copies[v] = copy_rows(e, v, e->s->at[v]);
        if (e->copies[v] == VALUE_NONE)
            return false;
        e->still[v] = stays_still(e, v);
    }
    for (uint32_t i = 0; i < r->exits.count; i++)
        if (part[r->exits.items[i]] == STRIP_SUM && !add_sum(e, loop, r->exits.items[i]))
            return false;
    for (uint32_t i = 0; i < r->exits.count; i++)
        if (part[r->exits.items[i]] != STRIP_SUM && !add_rows(e, r->exits.items[i]))
            return false;
    return true;
}

/* What has rows, of the strips [strips, …, h, …]: row r is in strip r // h, and so many rows behind
 * its place in an array of whole strips as the strip begins before its place. */
static value_id join_strips(struct emitting *e, value_id strips, value_id like,
                            struct strip_axis at)
{
    struct builder *b = e->b;
    const struct strip_region *r = e->region;
    uint8_t axes[LIMIT_RANK];
    dim_id shape[LIMIT_RANK + 2];
    uint32_t rank;
    if (strips == VALUE_NONE)
        return strips;
    struct node whole = *b_node(b, like);
    uint32_t axis =
        strip_split(b->graph, &whole, at, b_dim_mul(b, r->strips, r->height), shape, &rank);
    for (uint32_t d = 0; d <= rank; d++)
        axes[d] = (uint8_t)(d < axis ? d + 1 : d == axis ? 0 : d);
    strips = b_reshape(b, b_transpose(b, strips, axes), shape, rank);
    value_id row = b_iota(b, DTYPE_I64, &r->rows, 1, 0);
    value_id strip = b_div(b, row, b_size(b, r->height));
    value_id ahead = b_sub(b, b_mul(b, strip, b_size(b, r->height)), beginning(e, strip));
    /* Stored, so that what reads rows does not divide for each of their elements. */
    value_id place = b_unary(b, PRIM_COPY, b_add(b, row, ahead));
    return merged(e, b_take(b, grad_readable(b, strips, axis), place, axis), &whole, at, r->rows);
}

/* Whether the loop would read what hangs on its own exits, or on those of one that is not made. */
static bool reads_waiting(const struct emitting *e)
{
    const struct strip_region *r = e->region;
    for (uint32_t k = 0; k < r->items.count; k++) {
        const struct node *n = b_node(e->b, r->items.items[k].value);
        for (uint32_t i = 0; i < n->operand_count; i++)
            if (e->waits[n->operands[i]] && !strip_is_inside(e->s, n->operands[i]))
                return true;
    }
    return false;
}

/* The region is the one at hand, or no longer. What its members of the forward pass read is no
 * cotangent. */
static void set_region(struct emitting *e, const struct strip_region *r, bool at_hand)
{
    struct strips *s = e->s;
    e->region = r;
    e->states = e->rows = e->entries.count = 0;
    for (uint32_t k = 0; k < r->items.count; k++) {
        const struct strip_item *item = &r->items.items[k];
        const struct node *n = b_node(e->b, item->value);
        s->part[item->value] = (uint8_t)(at_hand ? item->part : STRIP_OUTSIDE);
        s->at[item->value] = item->at;
        for (uint32_t i = 0; item->value < s->first && i < n->operand_count; i++) {
            value_id x = n->operands[i];
            e->forward[x] = at_hand;
            for (; is_view(b_node(e->b, x)); e->forward[x] = at_hand)
                x = b_node(e->b, x)->operands[0];
        }
    }
}

static bool emit(struct emitting *e)
{
    struct builder *b = e->b;
    value_id results[LIMIT_OPERANDS];
    uint32_t loop = b_loop_begin(b);
    if (!begin_trip(e, b_iter(b, loop)) || !add_body(e, loop))
        return false;
    const struct loop_spec spec = {.loop = loop,
                                   .trips = e->region->strips,
                                   .state = e->state,
                                   .next = e->next,
                                   .row = e->row,
                                   .states = e->states,
                                   .rows = e->rows};
    if (!b_loop_end(b, &spec, results))
        return false;
    for (uint32_t i = 0; i < e->states + e->rows; i++) {
        value_id v = e->exit_of[i];
        b->graph->origin = b_node(b, v)->origin;
        e->follows[v] = i < e->states ? b_cast(b, results[i], (enum dtype)b_node(b, v)->dtype)
                                      : join_strips(e, results[i], v, e->row_at[i - e->states]);
        e->waits[v] = false;
        if (e->follows[v] == VALUE_NONE)
            return false;
    }
    return true;
}

/* What is behind exits again, of the values in between. */
static bool follow(struct emitting *e, value_id from, value_id to)
{
    const struct strips *s = e->s;
    struct graph *g = e->b->graph;
    value_id *follows = e->follows;
    for (value_id v = from; v < to; v++) {
        struct node n = *graph_node(g, v);
        value_id operands[LIMIT_OPERANDS];
        bool behind = false;
        if (!s->needed[v] || follows[v] != VALUE_NONE)
            continue;
        e->waits[v] = e->exits[v];
        for (uint32_t i = 0; i < n.operand_count; i++) {
            value_id x = n.operands[i];
            e->waits[v] |= e->waits[x];
            behind |= follows[x] != VALUE_NONE;
            operands[i] = follows[x] != VALUE_NONE ? follows[x] : x;
        }
        if (e->waits[v] || !behind || s->taken[v])
            continue;
        g->origin = n.origin;
        follows[v] = graph_add(g, (enum prim)n.prim, operands, n.operand_count, n.attrs, e->b->err);
        if (follows[v] == VALUE_NONE)
            return false;
    }
    return true;
}

/* Makes the region's loop, or leaves it, and then what waited for it, of the values before `to`. */
static bool make(struct emitting *e, const struct strip_region *r, value_id to)
{
    struct strips *s = e->s;
    value_id from = r->exits.items[0];
    bool leaves, ok;
    set_region(e, r, true);
    leaves = reads_waiting(e);
    ok = leaves || emit(e);
    set_region(e, r, false);
    for (uint32_t i = 0; i < r->exits.count; i++)
        e->exits[r->exits.items[i]] = e->waits[r->exits.items[i]] = false;
    for (uint32_t k = r->items.count; leaves && k-- > 0;) {
        const struct strip_item *item = &r->items.items[k];
        if (item->part != STRIP_MEMBER)
            continue;
        s->taken[item->value] = false;
        if (item->value >= s->first && item->value < from)
            from = item->value;
    }
    return ok && follow(e, from, to);
}

static int by_ready(const void *a, const void *b)
{
    const struct strip_region *x = *(const struct strip_region *const *)a;
    const struct strip_region *y = *(const struct strip_region *const *)b;
    if (x->ready != y->ready)
        return x->ready < y->ready ? -1 : 1;
    return x->product > y->product ? -1 : x->product < y->product;
}

static bool make_all(struct strips *s, const struct strip_region **regions, uint32_t count)
{
    struct emitting e = {.s = s,
                         .b = s->b,
                         .follows = ARENA_ARRAY(s->arena, value_id, s->end),
                         .exits = ARENA_ARRAY(s->arena, bool, s->end),
                         .waits = ARENA_ARRAY(s->arena, bool, s->end),
                         .forward = ARENA_ARRAY(s->arena, bool, s->end),
                         .still = ARENA_ARRAY(s->arena, bool, s->end),
                         .copies = ARENA_ARRAY(s->arena, value_id, s->end)};
    value_id done = s->first;
    qsort(regions, count, sizeof *regions, by_ready);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < regions[i]->exits.count; k++)
            e.exits[regions[i]->exits.items[k]] = true;
    for (uint32_t i = 0; i < count; i++) {
        value_id to = regions[i]->ready + 1;
        if (to > done && !follow(&e, done, to))
            return false;
        done = to > done ? to : done;
        if (!make(&e, regions[i], done))
            return false;
    }
    if (!follow(&e, done, s->end))
        return false;
    for (uint32_t i = 0; i < s->count; i++)
        if (e.follows[s->values[i]] != VALUE_NONE)
            s->values[i] = e.follows[s->values[i]];
    return true;
}

/* What reads each value: of the forward pass all, of the backward pass what is needed. */
static void find_users(struct strips *s)
{
    const struct graph *g = s->b->graph;
    s->user_at = ARENA_ARRAY(s->arena, uint32_t, s->end + 2u);
    for (value_id v = 1; v < s->end; v++)
        for (uint32_t i = 0; (v < s->first || s->needed[v]) && i < graph_node(g, v)->operand_count;
             i++)
            s->user_at[graph_node(g, v)->operands[i] + 2]++;
    for (value_id v = 2; v < s->end + 2; v++)
        s->user_at[v] += s->user_at[v - 1];
    s->users = ARENA_ARRAY(s->arena, value_id, s->user_at[s->end + 1] + 1u);
    for (value_id v = 1; v < s->end; v++)
        for (uint32_t i = 0; (v < s->first || s->needed[v]) && i < graph_node(g, v)->operand_count;
             i++)
            s->users[s->user_at[graph_node(g, v)->operands[i] + 1]++] = v;
}

/* Marks what is asked for, what values hang on, and what belongs to loops. */
static void look(struct strips *s)
{
    const struct graph *g = s->b->graph;
    for (uint32_t i = 0; i < s->count; i++)
        s->needed[s->values[i]] = s->asked[s->values[i]] = true;
    for (uint32_t i = 0; i < g->outputs.count; i++)
        s->asked[g->outputs.items[i].value] = true;
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
    find_users(s);
}

bool grad_in_strips(struct builder *b, value_id first, value_id *values, uint32_t count,
                    struct arena *arena)
{
    value_id end = b->graph->nodes.count;
    struct strips s = {.b = b,
                       .arena = arena,
                       .first = first,
                       .end = end,
                       .values = values,
                       .count = count,
                       .needed = ARENA_ARRAY(arena, bool, end),
                       .asked = ARENA_ARRAY(arena, bool, end),
                       .bound = ARENA_ARRAY(arena, bool, end),
                       .taken = ARENA_ARRAY(arena, bool, end),
                       .part = ARENA_ARRAY(arena, uint8_t, end),
                       .at = ARENA_ARRAY(arena, struct strip_axis, end),
                       .queued = ARENA_ARRAY(arena, bool, end)};
    VEC(const struct strip_region *) regions = {0};
    origin_id origin = b->graph->origin;
    look(&s);
    for (value_id v = first; v-- > 1;) {
        struct strip_region found;
        if (strip_find_region(&s, v, &found))
            VEC_PUSH(arena, &regions, arena_memdup(arena, &found, sizeof found));
    }
    bool ok = regions.count == 0 || make_all(&s, regions.items, regions.count);
    b->graph->origin = origin;
    return ok;
}
