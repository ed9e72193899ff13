/* Facts of values that the rules of the cut use: how expensive they are, who uses them, and which
 * must be stored whoever uses them. */
#include "compiler/opt/cut_priv.h"

bool cut_is_cheap(enum prim prim)
{
    switch (prim) {
    case PRIM_NEG:
    case PRIM_ABS:
    case PRIM_NOT:
    case PRIM_DETACH:
    case PRIM_ADD:
    case PRIM_SUB:
    case PRIM_MUL:
    case PRIM_CAST:
    case PRIM_BITCAST:
    case PRIM_EQ:
    case PRIM_NE:
    case PRIM_LT:
    case PRIM_LE:
    case PRIM_SELECT: return true;
    default: return is_view(prim) || is_leaf(prim);
    }
}

bool cut_is_trip_row(const struct cut *c, value_id v)
{
    const struct node *n = cut_node(c, v);
    return n->prim == PRIM_TAKE && cut_node(c, n->operands[1])->prim == PRIM_ITER;
}

bool cut_is_moved_result(const struct cut *c, value_id v)
{
    const struct node *n = cut_node(c, v);
    enum prim prim = PRIM_NONE;
    if (n->prim == PRIM_TRANSPOSE && c->values[n->operands[0]].users == 1)
        prim = (enum prim)cut_node(c, n->operands[0])->prim;
    return prim == PRIM_CONV || prim == PRIM_WINDOW_SUM || prim == PRIM_WINDOW_MAX;
}

/* Of several marks, that of the first rule in the table counts, independently of the order of
 * marking. */
static void mark(struct cut *c, value_id v, enum cut_rule rule)
{
    uint8_t *marked = &c->values[v].marked;
    if (*marked == CUT_NONE || (uint8_t)rule < *marked)
        *marked = (uint8_t)rule;
}

/* Finds the cost of computing v, operands first. At this point only values over the bound are
 * marked. */
static void find_costs(struct cut *c, value_id v)
{
    const struct node *n = cut_node(c, v);
    struct cut_value *x = &c->values[v];
    enum prim prim = (enum prim)n->prim;
    bool local =
        prim_is_elementwise(prim) || is_view(prim) || prim == PRIM_CONCAT || prim == PRIM_PAD;
    x->costly =
        (prim >= PRIM_RSQRT && prim <= PRIM_ERFC) || prim == PRIM_POW || prim == PRIM_CONCAT;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        const struct cut_value *o = &c->values[n->operands[i]];
        uint32_t depth = o->cheap_depth + prim_is_elementwise(prim);
        bool reduction = is_reduction((enum prim)cut_node(c, n->operands[i])->prim);
        if ((cut_is_cheap(prim) || cut_is_trip_row(c, v)) && depth > x->cheap_depth)
            x->cheap_depth = depth;
        x->costly |= local && o->costly && !reduction;
        x->behind_reduction |= local && (o->behind_reduction || reduction);
    }
}

static void find_sources(struct cut *c)
{
    const bool *per_call = values_per_call(c->g, c->arena);
    for (value_id v = 1; v < c->g->nodes.count; v++) {
        const struct node *n = cut_node(c, v);
        c->values[v].per_call = per_call[v];
        c->values[v].from_param = n->prim == PRIM_PARAM;
        for (uint32_t i = 0; i < n->operand_count; i++)
            c->values[v].from_param |= c->values[n->operands[i]].from_param;
    }
}

static void find_users(struct cut *c)
{
    for (uint32_t i = 0; i < c->g->outputs.count; i++) {
        struct cut_value *x = &c->values[c->g->outputs.items[i].value];
        x->live = true;
        x->users++;
    }
    for (value_id v = c->g->nodes.count; v-- > 1;) {
        const struct node *n = cut_node(c, v);
        for (uint32_t i = 0; c->values[v].live && i < n->operand_count; i++) {
            c->values[n->operands[i]].live = true;
            c->values[n->operands[i]].users++;
        }
    }
}

/* Whether operand i of n is also an earlier one. */
static bool is_repeated(const struct node *n, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (n->operands[k] == n->operands[i])
            return true;
    return false;
}

/* Lists the users of each value: counts them, and then puts each at the end of the lists of its
 * operands. */
static void list_users(struct cut *c)
{
    uint32_t count = c->g->nodes.count;
    uint32_t *at = ARENA_ARRAY(c->arena, uint32_t, count + 2); /* at[v + 1]: of v */
    for (value_id v = 1; v < count; v++) {
        const struct node *n = cut_node(c, v);
        for (uint32_t i = 0; c->values[v].live && i < n->operand_count; i++)
            at[n->operands[i] + 2] += !is_repeated(n, i);
    }
    for (value_id v = 1; v < count; v++)
        at[v + 1] += at[v];
    c->users = ARENA_ARRAY(c->arena, value_id, at[count] + at[count + 1]);
    for (value_id v = 1; v < count; v++) {
        const struct node *n = cut_node(c, v);
        for (uint32_t i = 0; c->values[v].live && i < n->operand_count; i++)
            if (!is_repeated(n, i))
                c->users[at[n->operands[i] + 1]++] = v;
    }
    c->users_at = at;
}

static const struct node *behind_view(const struct graph *g, value_id v)
{
    while (is_view((enum prim)graph_node(g, v)->prim))
        v = graph_node(g, v)->operands[0];
    return graph_node(g, v);
}

bool widens_bytes(const struct graph *g, value_id v)
{
    const struct node *n = graph_node(g, v);
    if (n->prim == PRIM_SUB && behind_view(g, n->operands[1])->prim == PRIM_CONST)
        n = graph_node(g, n->operands[0]);
    if (n->prim != PRIM_CAST || n->dtype != DTYPE_F32)
        return false;
    const struct node *x = graph_node(g, n->operands[0]);
    return (x->dtype == DTYPE_I8 || x->dtype == DTYPE_U8) &&
           behind_view(g, n->operands[0])->prim == PRIM_COPY;
}

/* Marks the memory behind the views of an anchor's operand: it must be stored. */
static void mark_memory(struct cut *c, value_id v)
{
    while ((is_view((enum prim)cut_node(c, v)->prim) && !cut_is_moved_result(c, v)) ||
           widens_bytes(c->g, v))
        v = cut_node(c, v)->operands[0];
    if (!is_leaf((enum prim)cut_node(c, v)->prim))
        mark(c, v, CUT_OPERAND);
}

/* The value behind views if it is computed from parameters; else v itself, which is then not
 * prepared if it is a view. So a mask computed from numbers alone stays inlined, and lowering knows
 * its condition. */
static value_id behind_views(const struct cut *c, value_id v)
{
    value_id base = v;
    while (is_view((enum prim)cut_node(c, base)->prim))
        base = cut_node(c, base)->operands[0];
    return c->values[base].from_param ? base : v;
}

/* Marks the operands of v that follow from parameters, if v is computed in calls. */
static void mark_prepared(struct cut *c, value_id v)
{
    const struct node *n = cut_node(c, v);
    for (uint32_t i = 0; c->values[v].per_call && i < n->operand_count; i++) {
        value_id o = behind_views(c, n->operands[i]);
        enum prim prim = (enum prim)cut_node(c, o)->prim;
        bool computed =
            prim != PRIM_INPUT && prim != PRIM_PARAM && !is_leaf(prim) && !is_view(prim);
        if (!c->values[o].per_call && computed && !widens_bytes(c->g, o))
            mark(c, o, CUT_PREPARED);
    }
}

/* Marks what a value of a loop's body reads from outside, so that it is not computed in every
 * trip. */
static void mark_invariants(struct cut *c, value_id v)
{
    const struct node *n = cut_node(c, v);
    for (uint32_t i = 0; c->p->loops.of[v] > 0 && i < n->operand_count; i++) {
        value_id o = n->operands[i];
        if (c->p->loops.of[o] > 0)
            continue;
        while (is_view((enum prim)cut_node(c, o)->prim) || widens_bytes(c->g, o))
            o = cut_node(c, o)->operands[0];
        if (!is_leaf((enum prim)cut_node(c, o)->prim))
            mark(c, o, CUT_INVARIANT);
    }
}

static void mark_stored(struct cut *c, value_id v)
{
    const struct node *n = cut_node(c, v);
    enum prim prim = (enum prim)n->prim;
    if (is_special(prim) || prim == PRIM_COPY)
        mark(c, v, CUT_KERNEL);
    for (uint32_t i = 0; (is_anchor(prim) || prim == PRIM_ARGSORT) && i < n->operand_count; i++)
        if (!c->p->values[n->operands[i]].in_rows)
            mark_memory(c, n->operands[i]);
    mark_prepared(c, v);
    mark_invariants(c, v);
}

void cut_find_facts(struct cut *c, const bool *stored)
{
    uint32_t count = c->g->nodes.count;
    for (value_id v = 1; stored && v < count; v++)
        if (stored[v] && !is_view((enum prim)cut_node(c, v)->prim))
            mark(c, v, CUT_EXCESS);
    for (value_id v = 1; v < count; v++)
        find_costs(c, v);
    find_sources(c);
    find_users(c);
    list_users(c);
    for (uint32_t i = 0; i < c->g->outputs.count; i++)
        mark(c, c->g->outputs.items[i].value, CUT_OUTPUT);
    rows_find(c);
    for (value_id v = 1; v < count; v++)
        if (c->values[v].live)
            mark_stored(c, v);
}
