/* Shared by the rules of simplify.
 *
 * A rule gets a node that is already in the graph and returns a value of the same meaning, dtype
 * and shape: the node itself if the rule does not apply, VALUE_NONE on failure. No rule applies to
 * its operands any more. Rules build with simplify_add, whose results are simplified, too. */
#ifndef URZA_COMPILER_OPT_SIMPLIFY_PRIV_H
#define URZA_COMPILER_OPT_SIMPLIFY_PRIV_H

#include "graph/graph.h"

struct simplifier {
    struct graph *graph;
    struct error *err;
    uint32_t fired; /* number of rewrites so far */
};

/* The node to simplify; a copy, because adding nodes moves them. */
struct subject {
    value_id id;
    struct node node;
};

typedef value_id simplify_rule(struct simplifier *s, const struct subject *x);

#define RULE(prim, name, function) simplify_rule function;
#include "compiler/opt/simplify.def"
#undef RULE

value_id simplify_add(struct simplifier *s, enum prim prim, const value_id *operands,
                      uint32_t count, const struct attrs *attrs);
/* A reshape and a broadcast; the value itself where the view would change nothing. */
value_id simplify_reshape(struct simplifier *s, value_id x, const dim_id *shape, uint32_t rank);
value_id simplify_splat(struct simplifier *s, value_id scalar, const dim_id *shape, uint32_t rank);
/* A constant of x's dtype and shape. */
value_id simplify_fill(struct simplifier *s, const struct node *x, double value);

static inline const struct node *simplify_node(const struct simplifier *s, value_id x)
{
    return graph_node(s->graph, x);
}

static inline const struct node *operand_node(const struct simplifier *s, const struct subject *x,
                                              uint32_t index)
{
    return graph_node(s->graph, x->node.operands[index]);
}

static inline bool dim_is(const struct simplifier *s, dim_id dim, int64_t value)
{
    int64_t known;
    return dim_is_const(&s->graph->dims, dim, &known) && known == value;
}

bool same_shape(const struct node *a, const struct node *b);
/* The 0-d value that every element of x is, x itself if it is 0-d; else VALUE_NONE. */
value_id splat_of(const struct simplifier *s, value_id x);
/* The constant that every element of x is, or NULL. */
const struct attrs *constant_of(const struct simplifier *s, value_id x);

#endif
