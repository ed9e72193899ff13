/* Nodes, interned.
 *
 * Invariants:
 * 1. dtype and shape follow from prim, operands and normal attributes, so these alone decide
 * identity.
 * 2. graph->interned holds three kinds of ids, distinguished by the seed of their hash and by
 *    comparing the entries: nodes by content; inputs and params by name only; outputs (their index)
 *    by name.
 * 3. A node in the table was valid when it was added, so it is not inferred again. */
#include "graph/graph_priv.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

#define SEED_NODE 1
#define SEED_SOURCE 2
#define SEED_OUTPUT 3

static const struct prim_info infos[PRIM_COUNT] = {
#define PRIM(id, name, n, rule, attrs, ulp, doc) [PRIM_##id] = {name, doc, n, attrs, ulp},
#define V (-1)
#include "graph/prims.def"
#undef V
#undef PRIM
};

static const struct attrs no_attrs;

bool prim_rounds(enum prim prim)
{
    return prim_info(prim)->ulp > 0 || prim == PRIM_REM || prim == PRIM_IOTA;
}

bool graph_is_detached_constant(const struct graph *graph, value_id id)
{
    const struct node *n = graph_node(graph, id);
    while (n->prim == PRIM_BROADCAST || n->prim == PRIM_RESHAPE)
        n = graph_node(graph, n->operands[0]);
    return n->prim == PRIM_DETACH && n->constant;
}

const struct prim_info *prim_info(enum prim prim)
{
    assert(prim > PRIM_NONE && prim < PRIM_COUNT);
    return &infos[prim];
}

double prim_ulp(enum prim prim, enum dtype dtype)
{
    static const struct {
        enum prim prim;
        double ulp;
    } of_f64[] = {
        {PRIM_EXP2, 1.5}, {PRIM_SIN, 3},  {PRIM_COS, 3},
        {PRIM_TAN, 4},    {PRIM_TANH, 3}, {PRIM_ERF, 2},
    };
    for (size_t i = 0; dtype == DTYPE_F64 && i < sizeof of_f64 / sizeof *of_f64; i++)
        if (of_f64[i].prim == prim)
            return of_f64[i].ulp;
    return prim_info(prim)->ulp;
}

enum prim prim_from_name(const char *name)
{
    for (enum prim prim = PRIM_NONE + 1; prim < PRIM_COUNT; prim++)
        if (strcmp(infos[prim].name, name) == 0)
            return prim;
    return PRIM_NONE;
}

void graph_init(struct graph *graph, struct arena *arena)
{
    *graph = (struct graph){.arena = arena, .name = ""};
    dim_table_init(&graph->dims, arena);
    VEC_PUSH(arena, &graph->nodes, ((struct node){.attrs = &no_attrs}));
}

static bool is_source(enum prim prim)
{
    return prim == PRIM_INPUT || prim == PRIM_PARAM;
}

static uint64_t hash_name(const char *name, uint64_t seed)
{
    return hash64(name, strlen(name), seed);
}

static uint64_t hash_node(enum prim prim, const value_id *operands, uint32_t operand_count,
                          const struct attrs *attrs)
{
    if (is_source(prim))
        return hash_name(attrs->name, SEED_SOURCE);
    uint64_t hash = hash64_mix(SEED_NODE, prim);
    if (operand_count > 0)
        hash = hash64(operands, operand_count * sizeof *operands, hash);
    return prim_info(prim)->attrs ? attrs_hash(attrs, hash) : hash;
}

static value_id find_source(const struct graph *graph, const char *name)
{
    uint32_t cursor = 0, id;
    while (map_next(&graph->interned, hash_name(name, SEED_SOURCE), &cursor, &id)) {
        if (id == VALUE_NONE || id >= graph->nodes.count)
            continue;
        const struct node *node = graph_node(graph, id);
        if (is_source((enum prim)node->prim) && strcmp(node->attrs->name, name) == 0)
            return id;
    }
    return VALUE_NONE;
}

value_id graph_find(const struct graph *graph, enum prim prim, const value_id *operands,
                    uint32_t operand_count, const struct attrs *attrs)
{
    if (is_source(prim))
        return find_source(graph, attrs->name);
    uint64_t hash = hash_node(prim, operands, operand_count, attrs);
    uint32_t cursor = 0, id;
    while (map_next(&graph->interned, hash, &cursor, &id)) {
        if (id == VALUE_NONE || id >= graph->nodes.count)
            continue;
        const struct node *node = graph_node(graph, id);
        if (node->prim == prim && node->operand_count == operand_count &&
            (operand_count == 0 ||
             memcmp(node->operands, operands, operand_count * sizeof *operands) == 0) &&
            attrs_equal(node->attrs, attrs))
            return id;
    }
    return VALUE_NONE;
}

static bool check_name(const char *what, const char *name, struct error *err)
{
    if (!name || name[0] == '\0')
        return fail(err, ERR_BLUEPRINT, "an %s has no name", what);
    return true;
}

/* What a node with operands comes from: the current node of the source, or what they come from. */
static void set_origin(struct graph *graph, struct node *node)
{
    enum prim prim = (enum prim)node->prim;
    node->constant = !is_source(prim) && prim != PRIM_ITER && prim != PRIM_STATE;
    for (uint32_t i = 0; i < node->operand_count; i++)
        node->constant &= graph_node(graph, node->operands[i])->constant;
    if (node->operand_count > 0)
        node->origin = graph->origin;
    for (uint32_t i = 0; i < node->operand_count && graph->origin == ORIGIN_NONE; i++) {
        const struct node *operand = graph_node(graph, node->operands[i]);
        if (node->constant || !operand->constant)
            node->origin = origin_both(graph, node->origin, operand->origin);
    }
}

/* Appends an inferred node. */
static value_id append(struct graph *graph, const struct shape_query *q)
{
    struct arena *arena = graph->arena;
    const struct attrs *attrs = &no_attrs;
    if (prim_info(q->prim)->attrs) {
        struct attrs *copy = arena_memdup(arena, q->attrs, sizeof *q->attrs);
        if (copy->name)
            copy->name = arena_strdup(arena, copy->name);
        if (copy->data_bytes > 0)
            copy->data = arena_memdup(arena, copy->data, copy->data_bytes);
        attrs = copy;
    }
    struct node node = {
        .prim = (uint8_t)q->prim,
        .dtype = (uint8_t)q->dtype,
        .rank = (uint8_t)q->rank,
        .operand_count = (uint16_t)q->operand_count,
        .shape = arena_memdup(arena, q->shape, q->rank * sizeof *q->shape),
        .operands = arena_memdup(arena, q->operands, q->operand_count * sizeof *q->operands),
        .attrs = attrs,
    };
    value_id id = graph->nodes.count;
    set_origin(graph, &node);
    VEC_PUSH(arena, &graph->nodes, node);
    map_add(&graph->interned, arena, hash_node(q->prim, node.operands, q->operand_count, attrs),
            id);
    if (attrs->loop > graph->loops)
        graph->loops = attrs->loop;
    if (q->prim == PRIM_INPUT)
        VEC_PUSH(arena, &graph->inputs, id);
    if (q->prim == PRIM_PARAM)
        VEC_PUSH(arena, &graph->params, id);
    return id;
}

value_id graph_add(struct graph *graph, enum prim prim, const value_id *operands,
                   uint32_t operand_count, const struct attrs *attrs, struct error *err)
{
    for (uint32_t i = 0; i < operand_count; i++) {
        if (operands[i] == VALUE_NONE)
            return VALUE_NONE;
        assert(operands[i] < graph->nodes.count);
    }
    struct attrs normal;
    if (!attrs_normalise(prim, attrs, &normal, err))
        return VALUE_NONE;
    if (is_source(prim) && !check_name("input or param", normal.name, err))
        return VALUE_NONE;

    value_id found = graph_find(graph, prim, operands, operand_count, &normal);
    if (found != VALUE_NONE && is_source(prim)) {
        fail(err, ERR_BLUEPRINT, "name '%.200s' of %s is taken by another %s", normal.name,
             prim_info(prim)->name, prim_info((enum prim)graph_node(graph, found)->prim)->name);
        return VALUE_NONE;
    }
    if (found != VALUE_NONE) {
        struct node *node = &graph->nodes.items[found];
        if (node->operand_count > 0)
            node->origin = origin_either(graph, node->origin, graph->origin);
        return found;
    }

    struct shape_query q = {
        .graph = graph,
        .prim = prim,
        .operands = operands,
        .operand_count = operand_count,
        .attrs = &normal,
        .err = err,
    };
    if (!shape_infer(&q))
        return VALUE_NONE;
    if (graph->nodes.count > LIMIT_NODES) {
        fail(err, ERR_LIMIT, "%s: the graph has %d values already", prim_info(prim)->name,
             LIMIT_NODES);
        return VALUE_NONE;
    }
    return append(graph, &q);
}

/* Adds an input or param. attrs: its name and dtype. */
static value_id add_source(struct graph *graph, enum prim prim, struct attrs attrs,
                           const dim_id *shape, uint32_t rank, struct error *err)
{
    if (rank > LIMIT_RANK) {
        fail(err, ERR_LIMIT, "%s: rank %u, at most %d", prim_info(prim)->name, rank, LIMIT_RANK);
        return VALUE_NONE;
    }
    attrs.rank = (uint8_t)rank;
    if (rank > 0)
        memcpy(attrs.shape, shape, rank * sizeof *shape);
    return graph_add(graph, prim, NULL, 0, &attrs, err);
}

value_id graph_input(struct graph *graph, const char *name, enum dtype dtype, const dim_id *shape,
                     uint32_t rank, struct error *err)
{
    const struct attrs attrs = {.name = name, .dtype = (uint8_t)dtype};
    return add_source(graph, PRIM_INPUT, attrs, shape, rank, err);
}

value_id graph_param(struct graph *graph, const char *name, enum dtype dtype, const dim_id *shape,
                     uint32_t rank, struct error *err)
{
    const struct attrs attrs = {.name = name, .dtype = (uint8_t)dtype};
    return add_source(graph, PRIM_PARAM, attrs, shape, rank, err);
}

bool graph_output(struct graph *graph, const char *name, value_id value, struct error *err)
{
    if (value == VALUE_NONE)
        return false;
    assert(value < graph->nodes.count);
    if (!check_name("output", name, err))
        return false;
    uint64_t hash = hash_name(name, SEED_OUTPUT);
    uint32_t cursor = 0, index;
    while (map_next(&graph->interned, hash, &cursor, &index))
        if (index < graph->outputs.count && strcmp(graph->outputs.items[index].name, name) == 0)
            return fail(err, ERR_BLUEPRINT, "name '%.200s' of output is taken by another output",
                        name);
    if (graph->outputs.count >= LIMIT_NODES)
        return fail(err, ERR_LIMIT, "the graph has %d outputs already", LIMIT_NODES);
    struct graph_output output = {.name = arena_strdup(graph->arena, name), .value = value};
    map_add(&graph->interned, graph->arena, hash, graph->outputs.count);
    VEC_PUSH(graph->arena, &graph->outputs, output);
    return true;
}

dim_id graph_elements(struct graph *graph, value_id value)
{
    const struct node *node = graph_node(graph, value);
    return dim_product(&graph->dims, node->shape, node->rank);
}
