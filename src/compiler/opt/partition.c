/* The cut into kernel groups.
 *
 * Values are decided from the outputs back, so that all users of a value are decided before it.
 * Each stored value is the root of one kernel; a value whose users all lie in one kernel may be
 * inlined there. Rules, in order:
 *
 *   1. Outputs are stored. What depends on parameters only, and is used by what does not, is
 *      stored by `prepare`.
 *   2. A contraction or convolution reads memory: what lies behind the views on its operands is
 *      stored.
 *   3. Sorting, scanning and scattering are roots; what a window or a sort reads more than once
 *      is stored.
 *   4. A contraction, convolution or window is inlined only as the anchor of its kernel: only
 *      pointwise prims lead from it to the root, and the kernel has no reduction.
 *   5. A reduction is inlined into a kernel without an anchor. What such a kernel would compute
 *      again for each use (for each reduction and the result) is stored when that costs more than
 *      reading it, unless it depends on a reduction itself, as the exponentials of softmax do.
 *   6. What several kernels use is stored, unless it costs next to nothing to compute again.
 *   7. A reshape of a stored value or source is the same memory.
 *   8. What is computed row by row for a product (rows.c) is inlined there, whatever it is.
 *   9. Where a convolution or window is not inlined, but its result transposed, the transposed
 *      result is stored.
 *  10. A kernel has bounds: operands, loops of reductions, and indices at which it computes one
 *      value (a sum of x and x moved needs x twice; a chain of n such sums would need it 2^n
 *      times). What passes one is stored.
 *
 * None of these counts operations. What they would compute again for more than a quarter of what
 * the graph asks of a kernel is found by lower/cut.c, which cuts again with it stored. */
#include "compiler/opt/opt_priv.h"

#include "base/strbuf.h"

struct cut {
    const struct graph *g;
    struct arena *arena;
    struct partition *p;
    value_id *owner;     /* root of the one kernel that inlines it; VALUE_NONE: none yet; SEVERAL */
    uint32_t *users;     /* number of operand slots that name it; outputs count */
    bool *wanted_stored; /* rules 1–3 */
    bool *from_input;    /* depends on an input */
    bool *from_param;    /* depends on a parameter */
    bool *live;
    bool *costly;           /* computing an element takes much more than reading one */
    uint32_t *cheap_depth;  /* length of the longest chain of cheap arithmetic that ends here */
    bool *behind_reduction; /* computed from a reduction by elementwise prims and views */
    uint32_t *loops;        /* by root: those of reductions inlined in its kernel */
    uint32_t *copies;       /* at how many indices its kernel computes it, at most */
    uint32_t *index_set;    /* which indices those are: equal numbers, equal sets; 0: none yet */
    uint32_t index_sets;
    uint32_t *size;   /* by root: operands of all values in its kernel */
    value_id *anchor; /* by root */
    value_id *staged; /* by product: see struct group */
};

#define SEVERAL UINT32_MAX
#define MAX_KERNEL_OPERANDS \
    150                     /* keeps a kernel's code, its buffers and recursion over it bounded */
#define MAX_CHEAP_DEPTH 2   /* operations that several kernels rather repeat than read */
#define MAX_KERNEL_LOOPS 24 /* of reductions: a nest has few loops and locals */
#define MAX_COPIES 32       /* code grows with them: x + shifted x, done n times, has 2^n */
#define MAX_REDUCTION_COPIES 8

static bool is_view(enum prim prim)
{
    return prim == PRIM_RESHAPE || prim == PRIM_TRANSPOSE || prim == PRIM_BROADCAST ||
           prim == PRIM_SLICE || prim == PRIM_REVERSE;
}

static bool is_leaf(enum prim prim)
{
    return prim == PRIM_CONST || prim == PRIM_LITERAL || prim == PRIM_IOTA || prim == PRIM_SIZE;
}

static bool is_source(enum prim prim)
{
    return prim == PRIM_INPUT || prim == PRIM_PARAM;
}

static bool is_anchor(enum prim prim)
{
    return prim == PRIM_CONTRACT || prim == PRIM_CONV || prim == PRIM_WINDOW_SUM ||
           prim == PRIM_WINDOW_MAX;
}

static bool is_reduction(enum prim prim)
{
    return prim >= PRIM_REDUCE_SUM && prim <= PRIM_ARGMIN;
}

static bool is_special(enum prim prim)
{
    return prim == PRIM_ARGSORT || prim == PRIM_SCATTER ||
           (prim >= PRIM_CUM_SUM && prim <= PRIM_CUM_MAX);
}

/* Costs next to nothing per element. */
static bool is_cheap(enum prim prim)
{
    switch (prim) {
    case PRIM_NEG:
    case PRIM_ABS:
    case PRIM_NOT:
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

/* The transposed result of a convolution or window: as good to store as the result, and in the
 * order that its users ask for. */
static bool is_moved_result(const struct cut *c, value_id v)
{
    const struct node *n = graph_node(c->g, v);
    enum prim prim = PRIM_NONE;
    if (n->prim == PRIM_TRANSPOSE && c->users[n->operands[0]] == 1)
        prim = (enum prim)graph_node(c->g, n->operands[0])->prim;
    return prim == PRIM_CONV || prim == PRIM_WINDOW_SUM || prim == PRIM_WINDOW_MAX;
}

/* Memory behind the views: the operand of an anchor is read through them. */
static void want_memory(struct cut *c, value_id v)
{
    const struct node *n = graph_node(c->g, v);
    while (is_view((enum prim)n->prim) && !is_moved_result(c, v)) {
        v = n->operands[0];
        n = graph_node(c->g, v);
    }
    if (!is_leaf((enum prim)n->prim))
        c->wanted_stored[v] = true;
}

/* Whether every dim is a number: what `prepare` computes has a size before any input is seen. */
static bool constant_shape(const struct graph *g, const struct node *n)
{
    for (uint32_t i = 0; i < n->rank; i++)
        if (!dim_is_const(&g->dims, n->shape[i], NULL))
            return false;
    return true;
}

static void scan_values(struct cut *c)
{
    const struct graph *g = c->g;
    c->from_input = values_per_call(g, c->arena);
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        enum prim prim = (enum prim)n->prim;
        bool local =
            is_elementwise(prim) || is_view(prim) || prim == PRIM_CONCAT || prim == PRIM_PAD;
        c->from_param[v] = prim == PRIM_PARAM;
        for (uint32_t i = 0; i < n->operand_count; i++)
            c->from_param[v] |= c->from_param[n->operands[i]];
        c->costly[v] =
            (prim >= PRIM_RSQRT && prim <= PRIM_ERFC) || prim == PRIM_POW || prim == PRIM_CONCAT;
        for (uint32_t i = 0; is_cheap(prim) && i < n->operand_count; i++) {
            value_id o = n->operands[i];
            uint32_t depth = (c->wanted_stored[o] ? 0 : c->cheap_depth[o]) + is_elementwise(prim);
            c->cheap_depth[v] = depth > c->cheap_depth[v] ? depth : c->cheap_depth[v];
        }
        for (uint32_t i = 0; local && i < n->operand_count; i++) {
            value_id o = n->operands[i];
            bool reduction = is_reduction((enum prim)graph_node(g, o)->prim);
            c->costly[v] |= c->costly[o] && !reduction;
            c->behind_reduction[v] |= c->behind_reduction[o] || reduction;
        }
    }
    for (uint32_t i = 0; i < g->outputs.count; i++) {
        c->live[g->outputs.items[i].value] = true;
        c->wanted_stored[g->outputs.items[i].value] = true;
        c->users[g->outputs.items[i].value]++;
    }
    for (value_id v = g->nodes.count; v-- > 1;) {
        const struct node *n = graph_node(g, v);
        for (uint32_t i = 0; c->live[v] && i < n->operand_count; i++) {
            c->live[n->operands[i]] = true;
            c->users[n->operands[i]]++;
        }
    }
}

/* What a view of something computed from parameters shows, else v itself: a mask made of numbers
 * alone, as it stands where it is read, tells more than its values would. */
static value_id behind_views(const struct cut *c, value_id v)
{
    value_id base = v;
    while (is_view((enum prim)graph_node(c->g, base)->prim))
        base = graph_node(c->g, base)->operands[0];
    return c->from_param[base] ? base : v;
}

static void want_stored(struct cut *c)
{
    const struct graph *g = c->g;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        enum prim prim = (enum prim)n->prim;
        if (!c->live[v])
            continue;
        if (is_special(prim) || prim == PRIM_COPY)
            c->wanted_stored[v] = true;
        if (prim == PRIM_CONTRACT || prim == PRIM_CONV || prim == PRIM_ARGSORT ||
            prim == PRIM_WINDOW_SUM || prim == PRIM_WINDOW_MAX)
            for (uint32_t i = 0; i < n->operand_count; i++)
                if (!c->p->in_rows[n->operands[i]])
                    want_memory(c, n->operands[i]);
        for (uint32_t i = 0; i < n->operand_count; i++) { /* rule 1, second half */
            value_id o = behind_views(c, n->operands[i]);
            const struct node *x = graph_node(g, o);
            bool computed = !is_source((enum prim)x->prim) && !is_leaf((enum prim)x->prim) &&
                            !is_view((enum prim)x->prim);
            if (c->from_input[v] && !c->from_input[o] && computed && constant_shape(g, x))
                c->wanted_stored[o] = true;
        }
    }
}

/* The one user of v up to root. */
static value_id user_of(const struct cut *c, value_id v, value_id root)
{
    for (value_id u = v + 1; u <= root; u++) {
        const struct node *n = graph_node(c->g, u);
        for (uint32_t i = 0; c->live[u] && i < n->operand_count; i++)
            if (n->operands[i] == v)
                return u;
    }
    return VALUE_NONE;
}

/* Whether everything computed from v is elementwise and inside the kernel of root: then all of it
 * needs v at one index only, however many uses there are (gelu(x) = x·φ(x)). */
static bool only_elementwise(const struct cut *c, value_id v, value_id root)
{
    bool *reached = ARENA_ARRAY(c->arena, bool, root + 1 - v);
    reached[0] = true;
    for (value_id u = v + 1; u < c->g->nodes.count; u++) {
        const struct node *n = graph_node(c->g, u);
        for (uint32_t i = 0; c->live[u] && i < n->operand_count; i++) {
            if (n->operands[i] < v || n->operands[i] >= root || !reached[n->operands[i] - v])
                continue;
            if (u > root || !is_elementwise((enum prim)n->prim) ||
                (u != root && c->owner[u] != root))
                return false;
            reached[u - v] = true;
        }
    }
    return reached[root - v];
}

/* Rule 4. */
static bool may_anchor(const struct cut *c, value_id v, value_id root)
{
    if (c->anchor[root] != VALUE_NONE || c->loops[root] > 0)
        return false;
    for (value_id at = v; at != root;) {
        if (c->users[at] > 1)
            return only_elementwise(c, at, root);
        value_id user = user_of(c, at, root);
        enum prim prim = user == VALUE_NONE ? PRIM_NONE : (enum prim)graph_node(c->g, user)->prim;
        bool copied = prim == PRIM_COPY && user == root;
        if (!is_elementwise(prim) && prim != PRIM_RESHAPE && prim != PRIM_TRANSPOSE && !copied)
            return false;
        at = user;
    }
    return true;
}

/* An output needs memory of its own: a second name for an input, a parameter or another output is a
 * kernel. */
static bool may_alias(const struct cut *c, value_id v, const struct node *n)
{
    if (n->prim != PRIM_RESHAPE)
        return false;
    for (uint32_t i = 0; i < c->g->outputs.count; i++)
        if (c->g->outputs.items[i].value == v)
            return false;
    value_id o = n->operands[0];
    enum prim prim = (enum prim)graph_node(c->g, o)->prim;
    return is_source(prim) || c->wanted_stored[o];
}

/* argmax runs twice: for the maximum, then for where it is. */
static uint32_t reduction_loops(const struct node *n)
{
    bool by_axes = prim_info((enum prim)n->prim)->attrs & ATTR_AXES;
    return by_axes ? n->attrs->axis_count + 1u : 2;
}

static bool inline_here(const struct cut *c, value_id v, const struct node *n)
{
    value_id root = c->owner[v];
    enum prim prim = (enum prim)n->prim;
    if (is_leaf(prim))
        return true;
    if (c->wanted_stored[v] || root == VALUE_NONE)
        return false;
    if (c->p->in_rows[v])
        return root != SEVERAL;
    if (is_moved_result(c, v) && (root == SEVERAL || !may_anchor(c, v, root)))
        return false;
    if (root == SEVERAL)
        return is_cheap(prim) && c->cheap_depth[v] <= MAX_CHEAP_DEPTH;
    if (is_special((enum prim)graph_node(c->g, root)->prim) && !is_cheap(prim))
        return false;
    if (c->size[root] >= MAX_KERNEL_OPERANDS || c->copies[v] > MAX_COPIES)
        return false;
    if (c->loops[root] > 0 && c->users[v] > 1 && c->costly[v] && !c->behind_reduction[v])
        return false;
    if (is_anchor(prim))
        return may_anchor(c, v, root);
    if (is_reduction(prim))
        return c->anchor[root] == VALUE_NONE && c->copies[v] <= MAX_REDUCTION_COPIES &&
               c->loops[root] + reduction_loops(n) <= MAX_KERNEL_LOOPS &&
               !is_special((enum prim)graph_node(c->g, root)->prim);
    return true;
}

/* An elementwise user asks for an operand where it is asked for itself; any other elsewhere. */
static void note_index(struct cut *c, value_id user, value_id operand)
{
    bool same = is_elementwise((enum prim)graph_node(c->g, user)->prim);
    uint32_t set = same ? c->index_set[user] : ++c->index_sets;
    if (c->index_set[operand] == set)
        return;
    bool first = c->index_set[operand] == 0;
    c->index_set[operand] = first ? set : ++c->index_sets;
    uint32_t sum = c->copies[operand] + c->copies[user];
    c->copies[operand] = sum < SEVERAL / 2 ? sum : SEVERAL / 2;
}

static void note_users_owner(struct cut *c, value_id v, value_id owner)
{
    const struct node *n = graph_node(c->g, v);
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id *o = &c->owner[n->operands[i]];
        *o = *o == VALUE_NONE || *o == owner ? owner : SEVERAL;
        note_index(c, v, n->operands[i]);
    }
}

static void join_kernel(struct cut *c, value_id v, value_id root)
{
    enum prim prim = (enum prim)graph_node(c->g, v)->prim;
    c->size[root] += graph_node(c->g, v)->operand_count;
    if (is_anchor(prim) && !c->p->in_rows[v])
        c->anchor[root] = v;
    if (is_reduction(prim))
        c->loops[root] += reduction_loops(graph_node(c->g, v));
    c->p->kept[v] = v != root && c->loops[root] > 0 && c->users[v] > 1 && c->costly[v];
}

static void decide(struct cut *c, value_id v)
{
    const struct node *n = graph_node(c->g, v);
    enum prim prim = (enum prim)n->prim;
    uint8_t *place = &c->p->placement[v];
    if (is_source(prim)) {
        *place = PLACE_SOURCE;
    } else if (may_alias(c, v, n)) {
        *place = PLACE_ALIAS;
    } else if (inline_here(c, v, n)) {
        *place = PLACE_INLINE;
        if (c->owner[v] != SEVERAL && c->owner[v] != VALUE_NONE)
            join_kernel(c, v, c->owner[v]);
        note_users_owner(c, v, c->owner[v]);
    } else {
        *place = PLACE_STORED;
        c->copies[v] = 1;
        c->index_set[v] = ++c->index_sets;
        join_kernel(c, v, v);
        note_users_owner(c, v, v);
    }
}

static void label_value(const struct cut *c, value_id v, value_id root, struct strbuf *out,
                        int *left)
{
    const struct node *n = graph_node(c->g, v);
    bool here = v == root || c->p->placement[v] == PLACE_INLINE;
    if (!here || *left == 0)
        return;
    for (uint32_t i = 0; i < n->operand_count; i++)
        label_value(c, n->operands[i], root, out, left);
    bool plain = is_view((enum prim)n->prim) || is_leaf((enum prim)n->prim);
    if ((plain && v != root) || *left == 0)
        return;
    strbuf_printf(out, "%s%s", out->size_bytes ? "+" : "", prim_info((enum prim)n->prim)->name);
    --*left;
}

static value_id staged_for(const struct cut *c, value_id anchor)
{
    if (anchor == VALUE_NONE || c->staged[anchor] == VALUE_NONE)
        return VALUE_NONE;
    value_id x = graph_node(c->g, anchor)->operands[0];
    return c->p->placement[x] == PLACE_INLINE ? c->staged[anchor] : VALUE_NONE;
}

static void make_groups(struct cut *c)
{
    struct partition *p = c->p;
    for (value_id v = 1; v < c->g->nodes.count; v++) {
        const struct node *n = graph_node(c->g, v);
        if (!c->live[v] && !is_source((enum prim)n->prim))
            continue;
        p->memory[v] = p->placement[v] == PLACE_ALIAS    ? p->memory[n->operands[0]]
                       : p->placement[v] == PLACE_INLINE ? VALUE_NONE
                                                         : v;
        if (p->placement[v] != PLACE_STORED)
            continue;
        struct strbuf label;
        int left = 6;
        strbuf_init(&label, c->arena);
        label_value(c, v, v, &label, &left);
        struct group group = {.root = v,
                              .anchor = c->anchor[v],
                              .label = label.data,
                              .staged = staged_for(c, c->anchor[v]),
                              .prepare = !c->from_input[v] && constant_shape(c->g, n)};
        VEC_PUSH(c->arena, &p->groups, group);
    }
}

/* An output is written by each call, and so is what is computed from one. */
static void keep_outputs_in_calls(struct cut *c)
{
    bool *in_call = ARENA_ARRAY(c->arena, bool, c->g->nodes.count);
    uint32_t next = 0;
    for (uint32_t i = 0; i < c->g->outputs.count; i++)
        in_call[c->g->outputs.items[i].value] = true;
    for (value_id v = 1; v < c->g->nodes.count; v++) {
        const struct node *n = graph_node(c->g, v);
        for (uint32_t i = 0; i < n->operand_count; i++)
            in_call[v] |= in_call[n->operands[i]];
        if (next < c->p->groups.count && c->p->groups.items[next].root == v)
            c->p->groups.items[next++].prepare &= !in_call[v];
    }
}

void partition_storing(const struct graph *graph, const bool *stored, struct arena *arena,
                       struct partition *out)
{
    uint32_t count = graph->nodes.count;
    struct cut c = {.g = graph,
                    .arena = arena,
                    .p = out,
                    .owner = ARENA_ARRAY(arena, value_id, count),
                    .users = ARENA_ARRAY(arena, uint32_t, count),
                    .wanted_stored = ARENA_ARRAY(arena, bool, count),
                    .live = ARENA_ARRAY(arena, bool, count),
                    .from_param = ARENA_ARRAY(arena, bool, count),
                    .costly = ARENA_ARRAY(arena, bool, count),
                    .cheap_depth = ARENA_ARRAY(arena, uint32_t, count),
                    .behind_reduction = ARENA_ARRAY(arena, bool, count),
                    .loops = ARENA_ARRAY(arena, uint32_t, count),
                    .copies = ARENA_ARRAY(arena, uint32_t, count),
                    .index_set = ARENA_ARRAY(arena, uint32_t, count),
                    .size = ARENA_ARRAY(arena, uint32_t, count),
                    .anchor = ARENA_ARRAY(arena, value_id, count),
                    .staged = ARENA_ARRAY(arena, value_id, count)};
    *out = (struct partition){.placement = ARENA_ARRAY(arena, uint8_t, count),
                              .memory = ARENA_ARRAY(arena, value_id, count),
                              .kept = ARENA_ARRAY(arena, bool, count),
                              .in_rows = ARENA_ARRAY(arena, bool, count)};
    for (value_id v = 1; stored && v < count; v++)
        c.wanted_stored[v] = stored[v] && !is_view((enum prim)graph_node(graph, v)->prim);
    scan_values(&c);
    rows_find(graph, c.live, c.wanted_stored, out->in_rows, c.staged);
    want_stored(&c);
    for (value_id v = count; v-- > 1;)
        if (c.live[v] || is_source((enum prim)graph_node(graph, v)->prim))
            decide(&c, v);
    make_groups(&c);
    keep_outputs_in_calls(&c);
}

void partition_graph(const struct graph *graph, struct arena *arena, struct partition *out)
{
    partition_storing(graph, NULL, arena, out);
}

void partition_print(const struct graph *graph, const struct partition *partition,
                     struct strbuf *out)
{
    for (uint32_t i = 0; i < partition->groups.count; i++) {
        const struct group *g = &partition->groups.items[i];
        const struct node *n = graph_node(graph, g->root);
        strbuf_printf(out, "%s %%%u = %s : %s[", g->prepare ? "prepare" : "kernel", g->root,
                      g->label, dtype_name(n->dtype));
        for (uint32_t d = 0; d < n->rank; d++) {
            strbuf_puts(out, d ? ", " : "");
            dim_print(&graph->dims, n->shape[d], out);
        }
        strbuf_puts(out, "]");
        if (g->anchor)
            strbuf_printf(out, " around %%%u", g->anchor);
        strbuf_puts(out, "\n");
    }
}
