/* Finding what the backward pass can compute in strips; see strips_priv.h.
 *
 * The search goes from value to value, so its cost is that of the region and not of the graph. */
#include <stdlib.h>

#include "compiler/grad/strips_priv.h"

#define LEAST_ROWS (2 * STRIP_ROWS)
#define MOST_MET 1024 /* values that a search comes by */

struct finding {
    struct strips *s;
    struct graph *g;
    struct strip_region *region;
    VEC(value_id) met; /* all whose part is not STRIP_OUTSIDE */
};

static int64_t most(const struct graph *g, dim_id dim)
{
    int64_t least, result;
    dim_range(&g->dims, dim, &least, &result);
    return result;
}

static bool is_part(const struct finding *f, value_id v, enum strip_part part)
{
    return f->s->part[v] == part;
}

static void join(struct finding *f, value_id v, enum strip_part part, struct strip_axis at)
{
    if (is_part(f, v, STRIP_OUTSIDE))
        VEC_PUSH(f->s->arena, &f->met, v);
    f->s->part[v] = (uint8_t)part;
    f->s->at[v] = at;
}

static int by_id(const void *a, const void *b)
{
    value_id x = *(const value_id *)a, y = *(const value_id *)b;
    return x < y ? -1 : x > y;
}

static void sort_met(struct finding *f)
{
    qsort(f->met.items, f->met.count, sizeof *f->met.items, by_id);
}

static struct strip_axis operand_axis(const struct finding *f, const struct node *n, uint32_t i,
                                      struct strip_axis at)
{
    return strip_operand_axis(f->g, n, i, at, f->region->rows);
}

/* Whether a product has more to give than rows: its rows come from one operand, and the other one
 * has a dim of its own that may be long. */
static bool is_scores(struct finding *f, const struct node *n, struct strip_axis at)
{
    if (at.axis < n->attrs->batch)
        return false;
    uint32_t of = operand_axis(f, n, 0, at).axis == AXIS_NONE ? 1 : 0;
    for (uint32_t d = n->attrs->batch; d < n->rank; d++) {
        struct strip_axis own = {d, at.outer, at.inner};
        if (operand_axis(f, n, of, own).axis == AXIS_NONE && most(f->g, n->shape[d]) > LEAST_ROWS)
            return true;
    }
    return false;
}

/* Goes from a value to what it is computed from row by row, products at most. False: it reads
 * something in two ways, or that is too much. */
static bool walk_down(struct finding *f, value_id v, struct strip_axis at)
{
    struct strips *s = f->s;
    join(f, v, STRIP_MET, at);
    for (uint32_t k = 0; k < f->met.count; k++) {
        v = f->met.items[k];
        const struct node *n = graph_node(f->g, v);
        if (s->bound[v] || s->taken[v])
            continue;
        if (n->prim == PRIM_CONTRACT) {
            if (is_scores(f, n, s->at[v]))
                join(f, v, STRIP_MEMBER, s->at[v]);
            continue;
        }
        for (uint32_t i = 0; i < n->operand_count; i++) {
            value_id x = n->operands[i];
            struct strip_axis of = operand_axis(f, n, i, s->at[v]);
            if (of.axis >= LIMIT_RANK)
                continue;
            if (is_part(f, x, STRIP_OUTSIDE))
                join(f, x, STRIP_MET, of);
            else if (!strip_same_axis(s->at[x], of))
                return false;
        }
        if (f->met.count > MOST_MET)
            return false;
    }
    return true;
}

/* Forgets values that are no members. */
static void keep_members(struct finding *f)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < f->met.count; k++) {
        value_id v = f->met.items[k];
        if (is_part(f, v, STRIP_MEMBER))
            f->met.items[kept++] = v;
        else
            f->s->part[v] = STRIP_OUTSIDE;
    }
    f->met.count = kept;
}

/* Makes what leads from products to a value members; false: nothing does, or nothing is summed on
 * the way. */
static bool join_forward(struct finding *f, value_id to, struct strip_axis at)
{
    struct strips *s = f->s;
    bool sums = false;
    if (!walk_down(f, to, at))
        return false;
    sort_met(f);
    for (uint32_t k = 0; k < f->met.count; k++) {
        value_id v = f->met.items[k];
        const struct node *n = graph_node(f->g, v);
        for (uint32_t i = 0; is_part(f, v, STRIP_MET) && i < n->operand_count; i++)
            if (is_part(f, n->operands[i], STRIP_MEMBER))
                join(f, v, STRIP_MEMBER, s->at[v]);
        sums |= is_part(f, v, STRIP_MEMBER) && n->prim == PRIM_REDUCE_SUM;
    }
    keep_members(f);
    return sums && is_part(f, to, STRIP_MEMBER);
}

/* Whether the forward pass has members for itself and the product alone, so that it need not store
 * them. */
static bool forward_ends_here(const struct finding *f)
{
    const struct strips *s = f->s;
    for (uint32_t k = 0; k < f->met.count; k++) {
        value_id v = f->met.items[k];
        if (!is_part(f, v, STRIP_MEMBER))
            continue;
        if (s->asked[v])
            return false;
        for (uint32_t i = s->user_at[v]; i < s->user_at[v + 1]; i++) {
            value_id user = s->users[i];
            if (user < s->first && user != f->region->product && !is_part(f, user, STRIP_MEMBER))
                return false;
        }
    }
    return true;
}

/* The axis of a value that goes with the rows of its operands in the region; AXIS_MIXED: none.
 * AXIS_NONE: it has no such operands. */
static struct strip_axis axis_of(const struct finding *f, const struct node *n)
{
    const struct strips *s = f->s;
    struct strip_axis found = {AXIS_NONE, DIM_NONE, DIM_NONE};
    for (uint32_t i = 0; found.axis == AXIS_NONE && i < n->operand_count; i++)
        if (s->part[n->operands[i]] == STRIP_ROW || s->part[n->operands[i]] == STRIP_MEMBER)
            found = strip_result_axis(f->g, n, i, s->at[n->operands[i]], f->region->rows);
    for (uint32_t i = 0; found.axis < LIMIT_RANK && i < n->operand_count; i++) {
        value_id x = n->operands[i];
        struct strip_axis of = operand_axis(f, n, i, found);
        bool hangs = s->part[x] == STRIP_ROW || strip_is_inside(s, x);
        if (of.axis == AXIS_MIXED || (hangs && !strip_same_axis(of, s->at[x])))
            found.axis = AXIS_MIXED;
    }
    return found;
}

/* Users in the backward pass are looked at in the order of their ids, up to the last one. */
static void queue_users(struct finding *f, value_id v, value_id *first, value_id *last)
{
    struct strips *s = f->s;
    for (uint32_t i = s->user_at[v]; i < s->user_at[v + 1]; i++) {
        value_id user = s->users[i];
        if (user < s->first || s->bound[user] || s->taken[user])
            continue;
        s->queued[user] = true;
        *first = user < *first ? user : *first;
        *last = user > *last ? user : *last;
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

/* Whether a value that hangs on members is one. If it is smaller than p, as where gradients of a
 * bias are summed over the batch, it is none if it reads something else of the backward pass that
 * is as wide, such as the gradient that another layer gives the bias. */
static bool is_member(const struct finding *f, value_id v, struct strip_axis at)
{
    const struct node *n = graph_node(f->g, v);
    if (graph_elements(f->g, v) == f->region->size)
        return true;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id x = n->operands[i];
        struct strip_axis of = operand_axis(f, n, i, at);
        if (x >= f->s->first && of.axis < LIMIT_RANK && is_part(f, x, STRIP_OUTSIDE) &&
            is_wide(f, graph_node(f->g, x), of.axis))
            return false;
    }
    return is_wide(f, n, at.axis);
}

/* Members of the backward pass. Products of members are none: they have summed keys. */
static bool join_backward(struct finding *f)
{
    struct strips *s = f->s;
    value_id first = s->end, last = VALUE_NONE;
    for (uint32_t k = 0; k < f->met.count; k++)
        if (is_part(f, f->met.items[k], STRIP_MEMBER))
            queue_users(f, f->met.items[k], &first, &last);
    for (value_id v = first; v <= last; v++) {
        const struct node *n = graph_node(f->g, v);
        if (!s->queued[v])
            continue;
        s->queued[v] = false;
        struct strip_axis at = axis_of(f, n);
        if (at.axis >= LIMIT_RANK || n->prim == PRIM_CONTRACT)
            continue;
        if (is_member(f, v, at))
            join(f, v, STRIP_MEMBER, at);
        else if (!is_wide(f, n, at.axis))
            join(f, v, STRIP_ROW, at);
        if (!is_part(f, v, STRIP_OUTSIDE) && f->met.count <= MOST_MET)
            queue_users(f, v, &first, &last);
    }
    sort_met(f);
    for (uint32_t k = f->met.count; k-- > 0;) {
        const struct node *n = graph_node(f->g, f->met.items[k]);
        bool member = is_part(f, f->met.items[k], STRIP_MEMBER);
        for (uint32_t i = 0; member && i < n->operand_count; i++)
            if (is_part(f, n->operands[i], STRIP_ROW))
                join(f, n->operands[i], STRIP_MEMBER, s->at[n->operands[i]]);
    }
    return f->met.count <= MOST_MET;
}

static bool can_join(const struct finding *f, value_id v, struct strip_axis at)
{
    const struct node *n = graph_node(f->g, v);
    dim_id one = dim_const(&f->g->dims, 1);
    bool can = !f->s->bound[v] && n->prim != PRIM_REDUCE_SUM && n->prim != PRIM_REDUCE_MAX &&
               n->prim != PRIM_REDUCE_MIN;
    if (n->prim == PRIM_IOTA)
        return can && (n->attrs->axis != (int32_t)at.axis || (at.outer == one && at.inner == one));
    for (uint32_t i = 0; can && i < n->operand_count; i++)
        can = operand_axis(f, n, i, at).axis != AXIS_MIXED;
    return can;
}

/* What a member reads element by element, where it is as wide, is computed in the loop, too: the
 * other product of the backward pass, masks. What cannot be is read in strips, if it is smaller
 * than members. False where a tensor of their size would be stored for that, or something is read
 * in two ways. */
static bool join_operand(struct finding *f, value_id x, struct strip_axis at)
{
    const struct node *n = graph_node(f->g, x);
    if (strip_is_inside(f->s, x))
        return strip_same_axis(at, f->s->at[x]);
    if (at.axis == AXIS_MIXED || !is_part(f, x, STRIP_OUTSIDE) || f->s->taken[x])
        return false;
    if (at.axis == AXIS_NONE || !is_wide(f, n, at.axis) ||
        (n->operand_count == 0 && n->prim != PRIM_IOTA))
        return true;
    if (!can_join(f, x, at))
        return graph_elements(f->g, x) != f->region->size;
    join(f, x, STRIP_COPIED, at);
    return true;
}

static bool join_operands(struct finding *f)
{
    for (uint32_t k = 0; k < f->met.count && f->met.count <= MOST_MET; k++) {
        value_id v = f->met.items[k];
        const struct node *n = graph_node(f->g, v);
        for (uint32_t i = 0; strip_is_inside(f->s, v) && i < n->operand_count; i++) {
            struct strip_axis at = operand_axis(f, n, i, f->s->at[v]);
            bool stays = n->prim == PRIM_CONTRACT && !strip_is_inside(f->s, n->operands[i]);
            if (stays ? at.axis == AXIS_MIXED || f->s->taken[n->operands[i]]
                      : !join_operand(f, n->operands[i], at))
                return false;
        }
    }
    return f->met.count <= MOST_MET;
}

/* Whether all of a value's operands that are inside are summed over their rows, in one sum. */
static bool sums_rows(const struct finding *f, const struct node *n)
{
    const struct strips *s = f->s;
    uint32_t from_end = LIMIT_RANK + 1; /* of the axis, in all that are inside */
    if (n->prim != PRIM_CONTRACT && n->prim != PRIM_REDUCE_SUM)
        return false;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id x = n->operands[i];
        uint32_t rank = graph_node(f->g, x)->rank;
        if (!strip_is_inside(s, x))
            continue;
        bool sums = n->prim == PRIM_CONTRACT && s->at[x].axis + n->attrs->contract >= rank;
        for (uint32_t k = 0; n->prim == PRIM_REDUCE_SUM && k < n->attrs->axis_count; k++)
            sums |= n->attrs->axes[k] == s->at[x].axis;
        if (!sums || (from_end <= LIMIT_RANK && from_end != rank - s->at[x].axis))
            return false;
        from_end = rank - s->at[x].axis;
    }
    return true;
}

/* Rows of a loop have one more dim than a strip has. */
static bool has_room(const struct finding *f, value_id v, struct strip_axis at)
{
    dim_id shape[LIMIT_RANK + 2];
    uint32_t rank;
    strip_split(f->g, graph_node(f->g, v), at, f->region->rows, shape, &rank);
    return rank < LIMIT_RANK;
}

/* False: it needs all rows at once, or is as wide as members and no product of them. */
static bool add_exit(struct finding *f, value_id v)
{
    struct strips *s = f->s;
    const struct node *n = graph_node(f->g, v);
    bool sums = sums_rows(f, n);
    struct strip_axis at = sums ? (struct strip_axis){0} : axis_of(f, n);
    if (s->bound[v] || at.axis >= LIMIT_RANK)
        return false;
    if (!sums && (!has_room(f, v, at) || (n->prim != PRIM_CONTRACT && is_wide(f, n, at.axis))))
        return false;
    for (uint32_t i = 0; i < n->operand_count; i++)
        if (s->taken[n->operands[i]])
            return false;
    join(f, v, sums ? STRIP_SUM : STRIP_ROWS_OUT, at);
    VEC_PUSH(s->arena, &f->region->exits, v);
    return true;
}

/* The exits behind a member; it is one itself if it is asked for, or if one of them can be none and
 * it is smaller than p. */
static bool find_exits_of(struct finding *f, value_id v)
{
    struct strips *s = f->s;
    bool smaller = v >= s->first && graph_elements(f->g, v) != f->region->size;
    bool given = s->asked[v];
    for (uint32_t i = s->user_at[v]; i < s->user_at[v + 1]; i++) {
        value_id user = s->users[i];
        if (user < s->first || s->part[user] >= STRIP_COPIED || add_exit(f, user))
            continue;
        if (!smaller)
            return false;
        given = true;
    }
    if (given)
        VEC_PUSH(s->arena, &f->region->exits, v);
    return !given || has_room(f, v, s->at[v]);
}

/* False: there are none, or one of them needs a member as large as p whole. */
static bool find_exits(struct finding *f)
{
    struct strip_region *r = f->region;
    for (uint32_t k = 0, count = f->met.count; k < count; k++)
        if (is_part(f, f->met.items[k], STRIP_MEMBER) && !find_exits_of(f, f->met.items[k]))
            return false;
    qsort(r->exits.items, r->exits.count, sizeof *r->exits.items, by_id);
    return r->exits.count > 0 && r->exits.count <= LIMIT_OPERANDS / 2;
}

/* What the dim typically is, where that is declared; else the most that it can be. */
static int64_t typical(const struct dim_table *dims, dim_id dim)
{
    int64_t values[LIMIT_NAMED_DIMS] = {0}, value;
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *name = &dims->names.items[i];
        values[i] = name->typical > 0 ? name->typical : name->max;
    }
    return dim_eval(dims, dim, values, &value) ? value : INT64_MAX;
}

/* The rows of strips. Where their number is known, strips of equal heights have few rows twice: 300
 * are five strips of 60, and not of 64. */
static bool cut_rows(struct dim_table *dims, struct strip_region *r)
{
    dim_id height = dim_const(dims, typical(dims, r->rows) <= FEW_ROWS ? LOW_STRIP : STRIP_ROWS);
    r->strips = dim_ceildiv(dims, r->rows, height);
    r->height = dim_is_const(dims, r->rows, NULL) ? dim_ceildiv(dims, r->rows, r->strips)
                                                  : dim_min(dims, r->rows, height);
    return r->strips != DIM_NONE && r->height != DIM_NONE;
}

/* Keeps what was found, and notes the last value that the loop reads. */
static void keep(struct finding *f)
{
    struct strips *s = f->s;
    struct strip_region *r = f->region;
    sort_met(f);
    for (uint32_t k = 0; k < f->met.count; k++) {
        value_id v = f->met.items[k];
        const struct node *n = graph_node(f->g, v);
        if (s->part[v] < STRIP_COPIED)
            continue;
        s->taken[v] |= is_part(f, v, STRIP_MEMBER);
        VEC_PUSH(s->arena, &r->items,
                 ((struct strip_item){v, (enum strip_part)s->part[v], s->at[v]}));
        for (uint32_t i = 0; i < n->operand_count; i++)
            if (!strip_is_inside(s, n->operands[i]) && n->operands[i] > r->ready)
                r->ready = n->operands[i];
    }
}

/* The largest dim that a product sums over. */
static dim_id summed_dim(const struct graph *g, const struct node *product)
{
    const struct node *x = graph_node(g, product->operands[0]);
    dim_id found = DIM_NONE;
    for (uint32_t d = x->rank - product->attrs->contract; d < x->rank; d++)
        if (found == DIM_NONE || most(g, x->shape[d]) > most(g, found))
            found = x->shape[d];
    return found;
}

static bool find_along(struct finding *f, uint32_t operand, struct strip_axis at)
{
    struct strip_region *r = f->region;
    value_id p = graph_node(f->g, r->product)->operands[operand];
    r->size = graph_elements(f->g, p);
    f->met.count = 0;
    bool found = r->size != DIM_NONE && join_forward(f, p, at) && forward_ends_here(f) &&
                 join_backward(f) && join_operands(f) && find_exits(f) && cut_rows(&f->g->dims, r);
    if (found)
        keep(f);
    for (uint32_t k = 0; k < f->met.count; k++)
        f->s->part[f->met.items[k]] = STRIP_OUTSIDE;
    return found;
}

bool strip_find_region(struct strips *s, value_id product, struct strip_region *out)
{
    struct finding f = {.s = s, .g = s->b->graph, .region = out};
    struct dim_table *dims = &f.g->dims;
    const struct node *n = graph_node(f.g, product);
    if (n->prim != PRIM_CONTRACT || s->bound[product])
        return false;
    dim_id keys = summed_dim(f.g, n), one = dim_const(dims, 1);
    if (keys == DIM_NONE || most(f.g, keys) <= LEAST_ROWS)
        return false;
    for (uint32_t axis = n->attrs->batch; axis < n->rank; axis++) {
        struct strip_axis at = {axis, one, one};
        *out = (struct strip_region){.product = product, .rows = n->shape[axis], .keys = keys};
        if (most(f.g, out->rows) <= LEAST_ROWS || typical(dims, out->rows) <= STRIP_ROWS)
            continue;
        for (uint32_t i = 0; i < 2; i++) {
            struct strip_axis of = operand_axis(&f, n, i, at);
            if (of.axis < LIMIT_RANK && find_along(&f, i, of))
                return true;
        }
    }
    return false;
}
