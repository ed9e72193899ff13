/* The cut into kernel groups.
 *
 * Values are decided from the outputs back, each by the first rule that applies (cut_rules.def), so
 * all users of a value are decided before it. Each stored value is the root of one kernel. A value
 * whose users are all in one kernel may be inlined there.
 *
 * No rule counts operations. If inlined values make a kernel do more than 5/4 of the operations
 * that the graph requires of it, lower/cut.c finds that, and cuts again with one of them stored. */
#include "compiler/opt/cut_priv.h"

#include <assert.h>

#include "base/error.h"
#include "base/strbuf.h"

/* Records at how many indices `operand` is computed: an elementwise user needs it at its own
 * indices, any other user at new ones. */
static void note_index(struct cut *c, value_id user, value_id operand)
{
    struct cut_value *u = &c->values[user], *o = &c->values[operand];
    bool same = prim_is_elementwise((enum prim)cut_node(c, user)->prim);
    uint32_t set = same ? u->index_set : ++c->index_sets;
    if (o->index_set == set)
        return;
    o->index_set = o->index_set == 0 ? set : ++c->index_sets;
    uint32_t sum = o->copies + u->copies;
    o->copies = sum < SEVERAL / 2 ? sum : SEVERAL / 2;
}

static void note_operands(struct cut *c, value_id v, value_id owner)
{
    const struct node *n = cut_node(c, v);
    for (uint32_t i = 0; i < n->operand_count; i++) {
        value_id *o = &c->values[n->operands[i]].owner;
        *o = *o == VALUE_NONE || *o == owner ? owner : SEVERAL;
        note_index(c, v, n->operands[i]);
    }
}

static void join_kernel(struct cut *c, value_id v, value_id root)
{
    const struct node *n = cut_node(c, v);
    struct cut_value *kernel = &c->values[root], *x = &c->values[v];
    kernel->operands += n->operand_count;
    if (is_anchor((enum prim)n->prim) && !c->p->values[v].in_rows)
        kernel->anchor = v;
    if (is_reduction((enum prim)n->prim))
        kernel->loops += cut_reduction_loops(n);
    c->p->values[v].kept = v != root && kernel->loops > 0 && x->users > 1 && x->costly;
}

static void decide(struct cut *c, value_id v)
{
    struct cut_value *x = &c->values[v];
    struct placed *out = &c->p->values[v];
    enum cut_rule rule = cut_decide(c, v);
    out->rule = (uint8_t)rule;
    out->place = (uint8_t)cut_place(rule);
    if (out->place == PLACE_STORED) {
        x->copies = 1;
        x->index_set = ++c->index_sets;
        join_kernel(c, v, v);
        note_operands(c, v, v);
    } else if (out->place == PLACE_INLINE) {
        if (x->owner != SEVERAL && x->owner != VALUE_NONE)
            join_kernel(c, v, x->owner);
        note_operands(c, v, x->owner);
    }
}

static void label_value(const struct cut *c, value_id v, value_id root, struct strbuf *out,
                        int *left)
{
    const struct node *n = cut_node(c, v);
    bool here = v == root || c->p->values[v].place == PLACE_INLINE;
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
    if (anchor == VALUE_NONE)
        return VALUE_NONE;
    value_id x = cut_node(c, anchor)->operands[0];
    return c->p->values[x].place == PLACE_INLINE ? c->values[anchor].staged : VALUE_NONE;
}

static void make_group(struct cut *c, value_id root)
{
    struct strbuf label;
    int left = 6;
    strbuf_init(&label, c->arena);
    label_value(c, root, root, &label, &left);
    struct group group = {.root = root,
                          .anchor = c->values[root].anchor,
                          .label = label.data,
                          .staged = staged_for(c, c->values[root].anchor),
                          .prepare = !c->values[root].per_call};
    VEC_PUSH(c->arena, &c->p->groups, group);
}

static void make_groups(struct cut *c)
{
    for (value_id v = 1; v < c->g->nodes.count; v++) {
        struct placed *x = &c->p->values[v];
        if (x->place == PLACE_ALIAS)
            x->memory = c->p->values[cut_node(c, v)->operands[0]].memory;
        else if (x->place == PLACE_STORED || x->place == PLACE_SOURCE)
            x->memory = v;
        if (x->place == PLACE_STORED)
            make_group(c, v);
    }
}

/* Kernels of outputs, and of values computed from outputs, run in every call, even if they depend
 * on parameters only. */
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
                    .values = ARENA_ARRAY(arena, struct cut_value, count),
                    .met = ARENA_ARRAY(arena, uint32_t, count),
                    .to_see = ARENA_ARRAY(arena, value_id, count)};
    *out = (struct partition){.values = ARENA_ARRAY(arena, struct placed, count)};
    struct error err;
    bool sound = graph_find_loops(graph, arena, &out->loops, &err);
    assert(sound && "graphs that are read or rewritten were checked");
    (void)sound;
    cut_find_facts(&c, stored);
    for (value_id v = count; v-- > 1;) {
        enum prim prim = (enum prim)cut_node(&c, v)->prim;
        if (c.values[v].live || prim == PRIM_INPUT || prim == PRIM_PARAM)
            decide(&c, v);
    }
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
        strbuf_printf(out, ": %s\n",
                      cut_rule_reason((enum cut_rule)partition->values[g->root].rule));
    }
}
