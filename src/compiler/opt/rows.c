/* Products whose rows are computed in the kernel of the product: attention.
 *
 *   s = contract(q, k)                       [batch…, rows, keys]
 *   t = s · scale, masked …
 *   e = exp(t - max over keys of t)
 *   p = e / sum over keys of e              or that in a narrower dtype
 *   y = contract(p, v)
 *
 * Stored, s and e would be by far the largest tensors of a network, but a row of y needs only one
 * row of them. So everything from s to p is computed in the kernel of the outer product, a few rows
 * at a time. t, the last value before the first reduction, is stored in scratch memory as a row (it
 * is the staged value), what follows loads it there, and p is stored as a row at the end.
 *
 * Dividing y instead of e would save divisions if there are more keys than columns, but a sum of
 * e·v may overflow where one of p·v does not. */
#include "compiler/opt/cut_priv.h"

#define MAX_ROW_VALUES 64
#define MAX_BEHIND 256

struct rows {
    const struct graph *g;
    value_id product, inner;          /* the outer contraction, and the inner one that its operand
                                         is computed from */
    value_id members[MAX_ROW_VALUES]; /* ascending */
    uint32_t count;
};

static bool is_member(const struct rows *r, value_id v)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->members[i] == v)
            return true;
    return false;
}

static bool same_shape(const struct node *a, const struct node *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof(dim_id)) == 0;
}

/* Whether n is elementwise on rows, a reduction of rows to one number each, or a view of such a
 * number. */
static bool stays_in_rows(const struct rows *r, const struct node *n)
{
    const struct node *inner = graph_node(r->g, r->inner);
    const struct node *x = n->operand_count ? graph_node(r->g, n->operands[0]) : NULL;
    enum prim prim = (enum prim)n->prim;
    if (prim_is_elementwise(prim))
        return true;
    if (prim == PRIM_REDUCE_MAX || prim == PRIM_REDUCE_SUM)
        return same_shape(x, inner) && n->attrs->axis_count == 1 &&
               n->attrs->axes[0] == inner->rank - 1;
    return prim == PRIM_BROADCAST || prim == PRIM_RESHAPE;
}

/* The last contraction in the shape of e that v is computed from by elementwise prims and
 * reductions of rows; VALUE_NONE: none. Others, where scores are sums of several, are stored. */
static value_id find_inner(const struct graph *g, value_id v, const struct node *e, uint32_t depth)
{
    const struct node *n = graph_node(g, v);
    enum prim prim = (enum prim)n->prim;
    value_id found = VALUE_NONE;
    if (prim == PRIM_CONTRACT)
        return same_shape(n, e) ? v : VALUE_NONE;
    if (depth == 0 || !(prim_is_elementwise(prim) || prim == PRIM_BROADCAST ||
                        prim == PRIM_RESHAPE || prim == PRIM_REDUCE_MAX))
        return VALUE_NONE;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id inner = find_inner(g, n->operands[i], e, depth - 1);
        found = inner > found ? inner : found;
    }
    return found;
}

/* Whether v is computed from the product. False: that would take too long to find out. */
static bool find_after(const struct rows *r, value_id v, bool *out)
{
    value_id behind[MAX_BEHIND] = {v}; /* values of larger ids that v is computed from */
    uint32_t count = 1;
    *out = false;
    for (uint32_t at = 0; at < count; at++) {
        const struct node *n = graph_node(r->g, behind[at]);
        for (uint32_t i = 0; i < n->operand_count; i++) {
            bool seen = n->operands[i] < r->product;
            *out |= n->operands[i] == r->product;
            for (uint32_t k = 0; k < count && !seen; k++)
                seen = behind[k] == n->operands[i];
            if (!seen && count == MAX_BEHIND)
                return *out;
            if (!seen)
                behind[count++] = n->operands[i];
        }
        if (*out)
            return true;
    }
    return true;
}

/* The first user of any member behind v; VALUE_NONE: there is none. */
static value_id next_user(const struct rows *r, const struct cut *c, uint32_t *seen, value_id v)
{
    value_id next = VALUE_NONE;
    for (uint32_t i = 0; i < r->count; i++) {
        uint32_t count;
        const value_id *users = cut_users(c, r->members[i], &count);
        while (seen[i] < count && users[seen[i]] <= v)
            seen[i]++;
        if (seen[i] < count && (next == VALUE_NONE || users[seen[i]] < next))
            next = users[seen[i]];
    }
    return next;
}

/* Gathers everything that is computed from the inner contraction, up to the outer one and beside
 * it; false if anything else uses it. */
static bool gather(struct rows *r, const struct cut *c)
{
    uint32_t seen[MAX_ROW_VALUES] = {0}; /* by member: its users that were met */
    r->members[r->count++] = r->inner;
    for (value_id v = r->inner; (v = next_user(r, c, seen, v)) != VALUE_NONE;) {
        const struct node *n = cut_node(c, v);
        bool after = false;
        if (v == r->product)
            continue;
        if (v > r->product && !find_after(r, v, &after))
            return false;
        if (after && prim_is_elementwise((enum prim)n->prim))
            continue; /* as in y = product / sum */
        if (after || !stays_in_rows(r, n) || r->count == MAX_ROW_VALUES)
            return false;
        r->members[r->count++] = v;
    }
    return is_member(r, cut_node(c, r->product)->operands[0]);
}

/* The last value of rows before the first reduction. */
static value_id last_before_reductions(const struct rows *r)
{
    value_id last = r->inner;
    for (uint32_t i = 1; i < r->count; i++) {
        const struct node *n = graph_node(r->g, r->members[i]);
        if (n->prim == PRIM_REDUCE_MAX || n->prim == PRIM_REDUCE_SUM)
            return n->operands[0];
        last = r->members[i];
    }
    return last;
}

/* Whether one of the members must be stored. */
static bool has_stored(const struct rows *r, const struct cut *c)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (c->values[r->members[i]].marked)
            return true;
    return false;
}

void rows_find(struct cut *c)
{
    const struct graph *g = c->g;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        if (!c->values[v].live || n->prim != PRIM_CONTRACT || n->attrs->batch == 0 ||
            n->attrs->contract != 1)
            continue;
        const struct node *e = graph_node(g, n->operands[0]);
        if (e->prim == PRIM_CAST)
            e = graph_node(g, e->operands[0]);
        if (e->prim == PRIM_MUL || e->prim == PRIM_DIV)
            e = graph_node(g, e->operands[0]);
        if (e->prim != PRIM_EXP || (e->dtype != DTYPE_F32 && e->dtype != DTYPE_F64))
            continue;
        struct rows r = {.g = g, .product = v, .inner = find_inner(g, n->operands[0], e, 16)};
        if (r.inner == VALUE_NONE || !gather(&r, c) || has_stored(&r, c))
            continue;
        for (uint32_t i = 0; i < r.count; i++)
            c->p->values[r.members[i]].in_rows = true;
        c->values[v].staged = last_before_reductions(&r);
    }
}
