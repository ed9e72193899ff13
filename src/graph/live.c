/* Rebuilding a graph from the nodes that are needed. Ids are a topological order, so one walk from
 * the highest id down marks all nodes that outputs depend on, and one walk up adds them again, each
 * through the caller's rule. A second walk up gives the origins of values of which nothing is left
 * to the values that took their place. */
#include "graph/element.h"
#include "graph/graph_priv.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void graph_mark_live(const struct graph *from, bool *live)
{
    for (uint32_t i = 0; i < from->outputs.count; i++)
        live[from->outputs.items[i].value] = true;
    for (uint32_t i = 0; i < from->inputs.count; i++)
        live[from->inputs.items[i]] = true;
    for (uint32_t i = 0; i < from->params.count; i++)
        live[from->params.items[i]] = true;
    for (value_id id = from->nodes.count - 1; id > VALUE_NONE; id--) {
        const struct node *node = graph_node(from, id);
        for (uint32_t i = 0; live[id] && i < node->operand_count; i++)
            live[node->operands[i]] = true;
    }
}

static bool import(struct graph *to, const struct graph *from, uint32_t count, dim_id *dims,
                   struct error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        dims[i] = dim_import(&to->dims, &from->dims, dims[i]);
        if (dims[i] == DIM_NONE)
            return fail(err, ERR_LIMIT, "a dim cannot be represented in the copy");
    }
    return true;
}

bool graph_copy_attrs(struct graph *to, const struct graph *from, const struct node *node,
                      struct attrs *out, struct error *err)
{
    uint32_t bits = prim_info((enum prim)node->prim)->attrs;
    *out = *node->attrs;
    return (!(bits & (ATTR_SHAPE | ATTR_DIM)) || import(to, from, out->rank, out->shape, err)) &&
           (!(bits & ATTR_START) || import(to, from, out->rank, out->start, err)) &&
           (!(bits & ATTR_LOW) || import(to, from, out->rank, out->low, err)) &&
           (!(bits & ATTR_HIGH) || import(to, from, out->rank, out->high, err));
}

value_id graph_copy_node(struct graph *to, const struct graph *from, const struct node *node,
                         const value_id *copies, struct error *err)
{
    struct attrs attrs;
    if (!graph_copy_attrs(to, from, node, &attrs, err))
        return VALUE_NONE;
    value_id operands[LIMIT_OPERANDS];
    for (uint32_t i = 0; i < node->operand_count; i++)
        operands[i] = copies[node->operands[i]];
    return graph_add(to, (enum prim)node->prim, operands, node->operand_count, &attrs, err);
}

struct rewriting {
    struct graph *to;
    const struct graph *from;
    /* By value of from. */
    bool *live;
    value_id *copies;   /* what stands for it */
    value_id *begins;   /* the first value that was added for it; one more at the end */
    origin_id *origins; /* in to, by origin of from */
    bool *kept;         /* by value of to, once it stands: outputs need it */
};

/* The origins of what is live. */
static void import_origins(struct rewriting *r)
{
    const struct origin *items = r->from->origins.items.items;
    uint32_t count = r->from->origins.items.count;
    bool *needed = ARENA_ARRAY(r->to->arena, bool, count + 1);
    r->origins = ARENA_ARRAY(r->to->arena, origin_id, count + 1);
    for (value_id id = 1; id < r->from->nodes.count; id++)
        needed[graph_node(r->from, id)->origin] |= r->live[id];
    for (origin_id o = count; o-- > 1;)
        if (needed[o])
            needed[items[o].first] = needed[items[o].second] = true;
    for (origin_id o = 1; o < count; o++) {
        origin_id first = r->origins[items[o].first], second = r->origins[items[o].second];
        if (!needed[o])
            continue;
        r->origins[o] = items[o].name     ? origin_of_node(r->to, items[o].name, ORIGIN_NONE)
                        : items[o].either ? origin_either(r->to, first, second)
                                          : origin_both(r->to, first, second);
    }
}

/* Whether a value of the new graph can have the origin of `of`: it is kept, has operands, and is no
 * constant where `of` is none. */
static bool can_have(const struct rewriting *r, value_id value, const struct node *of)
{
    const struct node *node = graph_node(r->to, value);
    return r->kept[value] && node->operand_count > 0 && (of->constant || !node->constant);
}

/* What was added for a value comes from all that its operands lost, too. What was there before
 * stands for it beside what it was. False where nothing can have the value's origin. */
static bool hand_on(struct rewriting *r, value_id id, origin_id gone)
{
    const struct node *of = graph_node(r->from, id);
    struct node *nodes = r->to->nodes.items;
    value_id copy = r->copies[id];
    bool any = false;
    for (value_id v = r->begins[id]; v < r->begins[id + 1]; v++) {
        if (!can_have(r, v, of))
            continue;
        nodes[v].origin = origin_both(r->to, nodes[v].origin, gone);
        any = true;
    }
    if (copy >= r->begins[id] || !can_have(r, copy, of))
        return any;
    nodes[copy].origin =
        origin_either(r->to, nodes[copy].origin, origin_both(r->to, r->origins[of->origin], gone));
    return true;
}

/* A value of which nothing is kept hands its origin on to its users. Constants, which many share,
 * say nothing about others. */
static void inherit_origins(struct rewriting *r)
{
    struct arena *arena = r->to->arena;
    origin_id *lost = ARENA_ARRAY(arena, origin_id, r->from->nodes.count);
    r->kept = ARENA_ARRAY(arena, bool, r->to->nodes.count);
    graph_mark_live(r->to, r->kept);
    for (value_id id = 1; id < r->from->nodes.count; id++) {
        const struct node *node = graph_node(r->from, id);
        origin_id gone = ORIGIN_NONE;
        if (!r->live[id] || node->operand_count == 0)
            continue;
        for (uint32_t i = 0; i < node->operand_count; i++)
            if (node->constant || !graph_node(r->from, node->operands[i])->constant)
                gone = origin_both(r->to, gone, lost[node->operands[i]]);
        if (!hand_on(r, id, gone))
            lost[id] = origin_both(r->to, r->origins[node->origin], gone);
    }
}

static bool rebuild(struct rewriting *r, const struct graph_copying *copying, struct error *err)
{
    const struct graph *from = r->from;
    for (value_id id = 1; id < from->nodes.count; id++) {
        r->begins[id] = r->to->nodes.count;
        if (!r->live[id])
            continue;
        r->to->origin = r->origins[graph_node(from, id)->origin];
        r->copies[id] = copying->add(r->to, from, id, r->copies, copying->context, err);
        if (r->copies[id] == VALUE_NONE)
            return false;
    }
    r->begins[from->nodes.count] = r->to->nodes.count;
    r->to->origin = ORIGIN_NONE;
    return true;
}

/* Inputs keep their places. */
bool graph_copy_elements(struct graph *to, const struct graph *from, struct error *err)
{
    for (uint32_t i = 0; i < from->elements.count; i++) {
        struct graph_element element = from->elements.items[i];
        if (!import(to, from, 1, &element.of, err) || !import(to, from, 1, &element.dim, err) ||
            !graph_element(to, &element, err))
            return false;
    }
    return true;
}

bool graph_begin_copy(struct graph *to, struct arena *arena, const struct graph *from,
                      struct error *err)
{
    graph_init(to, arena);
    to->name = arena_strdup(arena, from->name);
    for (uint32_t i = 0; i < from->dims.names.count; i++) {
        struct dim_name name = from->dims.names.items[i];
        uint32_t index;
        name.name = arena_strdup(arena, name.name);
        if (!dim_declare(&to->dims, &name, &index, err))
            return false;
        if (dim_shown(&from->dims, i) != from->dims.names.items[i].name)
            dim_spell(&to->dims, index, dim_shown(&from->dims, i));
    }
    return true;
}

bool graph_rebuild(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct graph_copying *copying, struct error *err)
{
    uint32_t count = from->nodes.count;
    if (!graph_begin_copy(to, arena, from, err))
        return false;
    struct rewriting r = {.to = to,
                          .from = from,
                          .live = ARENA_ARRAY(arena, bool, count),
                          .copies = ARENA_ARRAY(arena, value_id, count),
                          .begins = ARENA_ARRAY(arena, value_id, count + 1)};
    graph_mark_live(from, r.live);
    import_origins(&r);
    if (!rebuild(&r, copying, err) || !graph_copy_elements(to, from, err))
        return false;
    for (uint32_t i = 0; i < from->outputs.count; i++) {
        const struct graph_output *output = &from->outputs.items[i];
        if (!graph_output(to, output->name, r.copies[output->value], err))
            return false;
    }
    if (!graph_copy_updates(to, from, err))
        return false;
    if (copying->context && from->origins.items.count > 0)
        inherit_origins(&r);
    return true;
}

struct ruled {
    graph_rule *rule;
    void *context;
};

static value_id copy_by_rule(struct graph *to, const struct graph *from, value_id old,
                             const value_id *copies, void *context, struct error *err)
{
    const struct ruled *ruled = context;
    value_id copy = graph_copy_node(to, from, graph_node(from, old), copies, err);
    return copy == VALUE_NONE || !ruled ? copy
                                        : ruled->rule(to, copy, from, old, ruled->context, err);
}

bool graph_rewrite(struct graph *to, struct arena *arena, const struct graph *from,
                   graph_rule *rule, void *context, struct error *err)
{
    struct ruled ruled = {rule, context};
    return graph_rebuild(to, arena, from,
                         &(struct graph_copying){copy_by_rule, rule ? &ruled : NULL}, err);
}

bool graph_copy_live(struct graph *to, struct arena *arena, const struct graph *from,
                     struct error *err)
{
    return graph_rewrite(to, arena, from, NULL, NULL, err);
}

static const char *numbered(struct arena *arena, char letter, uint32_t number)
{
    char name[16];
    snprintf(name, sizeof name, "%c%u", letter, number);
    return arena_strdup(arena, name);
}

/* Turns the node into an input of that name. */
static void become_input(struct node *node, const char *name, struct arena *arena)
{
    struct attrs *attrs = ARENA_NEW(arena, struct attrs);
    attrs->name = name;
    attrs->dtype = node->dtype;
    attrs->rank = node->rank;
    memcpy(attrs->shape, node->shape, node->rank * sizeof node->shape[0]);
    node->prim = PRIM_INPUT;
    node->operand_count = 0;
    node->attrs = attrs;
}

/* Whether outputs depend only on inputs of the view and on constants. */
static bool closed(const struct graph *view, struct arena *arena, struct error *err)
{
    bool *live = ARENA_ARRAY(arena, bool, view->nodes.count),
         *given = ARENA_ARRAY(arena, bool, view->nodes.count);
    graph_mark_live(view, live);
    for (uint32_t i = 0; i < view->inputs.count; i++)
        given[view->inputs.items[i]] = true;
    for (value_id id = 1; id < view->nodes.count; id++) {
        const struct node *node = graph_node(view, id);
        bool source = node->prim == PRIM_INPUT || node->prim == PRIM_PARAM;
        if (live[id] && source && !given[id])
            return fail(err, ERR_VERIFY, "it needs %s '%s', which it is not given",
                        prim_info((enum prim)node->prim)->name, node->attrs->name);
    }
    return true;
}

/* What a part consists of: first its leaves, then all that its roots need. Large graphs have many
 * small parts, so nothing here is as long as the graph. */
struct extraction {
    struct arena *arena;
    const struct graph *from;
    VEC(value_id) ids;
    struct map places; /* in ids, by id */
};

static bool find_place(const struct extraction *e, value_id id, uint32_t *out)
{
    uint32_t cursor = 0;
    return map_next(&e->places, id, &cursor, out); /* an id is its own hash: equal ones are equal */
}

static void add_value(struct extraction *e, value_id id)
{
    uint32_t place;
    if (find_place(e, id, &place))
        return;
    map_add(&e->places, e->arena, id, e->ids.count);
    VEC_PUSH(e->arena, &e->ids, id);
}

static void find_part(struct extraction *e, const struct graph_part *part)
{
    for (uint32_t i = 0; i < part->leaf_count; i++)
        add_value(e, part->leaves[i]);
    assert(e->ids.count == part->leaf_count && "no leaf twice");
    for (uint32_t i = 0; i < part->root_count; i++)
        add_value(e, part->roots[i]);
    for (uint32_t i = part->leaf_count; i < e->ids.count; i++) {
        const struct node *node = graph_node(e->from, e->ids.items[i]);
        for (uint32_t k = 0; k < node->operand_count; k++)
            add_value(e, node->operands[k]);
    }
}

static int compare_ids(const void *a, const void *b)
{
    value_id x = *(const value_id *)a, y = *(const value_id *)b;
    return (x > y) - (x < y);
}

/* Makes the part's nodes those of a view, renumbered in the order of their ids, and its leaves the
 * view's inputs. Returns the new numbers, by place. */
static const value_id *renumber(const struct extraction *e, uint32_t leaf_count, struct graph *view)
{
    uint32_t count = e->ids.count, place = 0;
    value_id *number = ARENA_ARRAY(e->arena, value_id, count + 1);
    value_id *sorted = arena_memdup(e->arena, e->ids.items, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_ids);
    view->nodes.items = ARENA_ARRAY(e->arena, struct node, count + 1);
    view->nodes.count = view->nodes.capacity = count + 1;
    view->nodes.items[0] = e->from->nodes.items[0];
    for (uint32_t i = 0; i < count; i++) {
        struct node *node = &view->nodes.items[i + 1];
        *node = *graph_node(e->from, sorted[i]);
        find_place(e, sorted[i], &place);
        number[place] = i + 1;
        if (place < leaf_count) {
            become_input(node, numbered(e->arena, 'a', place), e->arena);
            VEC_PUSH(e->arena, &view->inputs, i + 1);
            continue;
        }
        value_id *operands = ARENA_ARRAY(e->arena, value_id, node->operand_count);
        for (uint32_t k = 0; k < node->operand_count; k++) {
            find_place(e, node->operands[k], &place);
            operands[k] = number[place];
        }
        node->operands = operands;
    }
    return number;
}

bool graph_extract(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct graph_part *part, struct error *err)
{
    struct extraction e = {.arena = arena, .from = from};
    /* Has the dims and attributes of all. */
    struct graph view = {.arena = arena, .dims = from->dims, .name = "", .origins = from->origins};
    find_part(&e, part);
    const value_id *number = renumber(&e, part->leaf_count, &view);
    for (uint32_t i = 0; i < part->root_count; i++) {
        uint32_t place = 0;
        find_place(&e, part->roots[i], &place);
        if (place < part->leaf_count)
            return fail(err, ERR_VERIFY, "it reads what it writes");
        VEC_PUSH(arena, &view.outputs,
                 ((struct graph_output){numbered(arena, 'y', i), number[place]}));
    }
    return closed(&view, arena, err) && graph_copy_live(to, arena, &view, err);
}
