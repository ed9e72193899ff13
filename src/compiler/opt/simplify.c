/* Simplification: the rules of simplify.def are applied to every node until none fires, operands
 * first, so that one rebuild does nearly everything; rebuilds are repeated until no rule fires. */
#include "compiler/opt/simplify_priv.h"

#include <string.h>

#include "compiler/opt/opt_priv.h"

#define MAX_REBUILDS 8

enum {
    PRIM_ELEMENTWISE = PRIM_COUNT,
    PRIM_ANY,
};

static const struct rule {
    int prim;
    const char *name;
    simplify_rule *run;
} rules[] = {
#define RULE(prim, name, function) {PRIM_##prim, name, function},
#include "compiler/opt/simplify.def"
#undef RULE
};

static bool rule_is_for(const struct rule *rule, enum prim prim)
{
    return rule->prim == PRIM_ANY || rule->prim == (int)prim ||
           (rule->prim == PRIM_ELEMENTWISE && prim_is_elementwise(prim));
}

static value_id simplify_value(struct simplifier *s, value_id value)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        struct subject x = {.id = value, .node = *graph_node(s->graph, value)};
        if (!rule_is_for(&rules[i], (enum prim)x.node.prim))
            continue;
        value_id better = rules[i].run(s, &x);
        if (better == VALUE_NONE)
            return VALUE_NONE;
        if (better != value) {
            /* A rule returns an operand or a result of simplify_add, to which no rule applies. */
            s->fired++;
            return better;
        }
    }
    return value;
}

value_id simplify_add(struct simplifier *s, enum prim prim, const value_id *operands,
                      uint32_t count, const struct attrs *attrs)
{
    value_id value = graph_add(s->graph, prim, operands, count, attrs, s->err);
    return value == VALUE_NONE ? VALUE_NONE : simplify_value(s, value);
}

value_id simplify_reshape(struct simplifier *s, value_id x, const dim_id *shape, uint32_t rank)
{
    struct attrs attrs = {.rank = (uint8_t)rank};
    memcpy(attrs.shape, shape, rank * sizeof *shape);
    return simplify_add(s, PRIM_RESHAPE, &x, 1, &attrs);
}

value_id simplify_splat(struct simplifier *s, value_id scalar, const dim_id *shape, uint32_t rank)
{
    if (rank == 0 || scalar == VALUE_NONE)
        return scalar;
    struct attrs attrs = {.rank = (uint8_t)rank};
    memcpy(attrs.shape, shape, rank * sizeof *shape);
    return simplify_add(s, PRIM_BROADCAST, &scalar, 1, &attrs);
}

value_id simplify_fill(struct simplifier *s, const struct node *x, double value)
{
    struct node like = *x;
    struct attrs attrs = {.dtype = like.dtype, .value = value, .integer = (int64_t)value};
    return simplify_splat(s, simplify_add(s, PRIM_CONST, NULL, 0, &attrs), like.shape, like.rank);
}

bool same_shape(const struct node *a, const struct node *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

value_id splat_of(const struct simplifier *s, value_id x)
{
    const struct node *node = graph_node(s->graph, x);
    if (node->prim == PRIM_BROADCAST)
        x = node->operands[0];
    return graph_node(s->graph, x)->rank == 0 ? x : VALUE_NONE;
}

const struct attrs *constant_of(const struct simplifier *s, value_id x)
{
    value_id scalar = splat_of(s, x);
    if (scalar == VALUE_NONE || graph_node(s->graph, scalar)->prim != PRIM_CONST)
        return NULL;
    return graph_node(s->graph, scalar)->attrs;
}

static value_id rewrite(struct graph *to, value_id copy, const struct graph *from, value_id old,
                        void *context, struct error *err)
{
    struct simplifier *s = context;
    (void)from;
    (void)old;
    s->graph = to;
    s->err = err;
    return simplify_value(s, copy);
}

bool pass_simplify(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct target *target, struct error *err)
{
    (void)target;
    struct arena *rooms[2] = {arena_inside(arena), arena_inside(arena)}; /* in turn */
    struct graph current = *from, next;
    for (int i = 0; i < MAX_REBUILDS; i++) {
        struct simplifier s = {0};
        arena_release(rooms[i % 2]);
        if (!graph_rewrite(&next, rooms[i % 2], &current, rewrite, &s, err))
            return false;
        current = next;
        if (s.fired == 0)
            break;
    }
    bool ok = graph_copy_live(to, arena, &current, err);
    arena_release(rooms[0]);
    arena_release(rooms[1]);
    return ok;
}
