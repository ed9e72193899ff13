/* Inside the graph room: normal attributes, interning, shape inference, names of attributes in
 * text. */
#ifndef URZA_GRAPH_GRAPH_PRIV_H
#define URZA_GRAPH_GRAPH_PRIV_H

#include "base/compiler.h"
#include "graph/graph.h"

/* Copies the attributes that prim has and zeroes the rest, so that attributes of equal meaning have
 * equal content: integer constants are wrapped to their dtype, float constants are rounded to it,
 * and all NaNs become the same one. Borrows name and data. in may be NULL (all zero). Fails with
 * ERR_LIMIT on counts beyond the arrays, ERR_SHAPE on a bad dtype. */
bool attrs_normalise(enum prim prim, const struct attrs *in, struct attrs *out, struct error *err);
bool attrs_equal(const struct attrs *a, const struct attrs *b);
uint64_t attrs_hash(const struct attrs *attrs, uint64_t seed);

/* The id of an equal node, or VALUE_NONE. attrs must be in normal form. */
value_id graph_find(const struct graph *graph, enum prim prim, const value_id *operands,
                    uint32_t operand_count, const struct attrs *attrs);

/* live.c: marks what outputs need, and all inputs and params; live is all false before. */
void graph_mark_live(const struct graph *from, bool *live);
/* Makes *to a graph with the name and the named dims of *from, and no nodes. */
bool graph_begin_copy(struct graph *to, struct arena *arena, const struct graph *from,
                      struct error *err);
/* Adds the elements of inputs that tell dims. Inputs must have the same places. */
bool graph_copy_elements(struct graph *to, const struct graph *from, struct error *err);
/* update.c: whether an update may be added. */
bool update_is_sound(const struct graph *graph, const struct graph_update *update,
                     struct error *err);
/* Adds updates. Inputs and outputs must have the same places. */
bool graph_copy_updates(struct graph *to, const struct graph *from, struct error *err);
/* A node's attributes with the dims of *to. ERR_LIMIT. */
bool graph_copy_attrs(struct graph *to, const struct graph *from, const struct node *node,
                      struct attrs *out, struct error *err);
/* Adds a node of *from to *to. copies: what its operands became, by value of *from. */
value_id graph_copy_node(struct graph *to, const struct graph *from, const struct node *node,
                         const value_id *copies, struct error *err);
/* graph_rewrite with a function that adds what stands for a value of *from; copies: what its
 * operands became. */
struct graph_copying {
    value_id (*add)(struct graph *to, const struct graph *from, value_id old,
                    const value_id *copies, void *context, struct error *err);
    void *context;
};
bool graph_rebuild(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct graph_copying *copying, struct error *err);

/* The input of a shape rule, and the dtype and shape that it infers. */
struct shape_query {
    struct graph *graph;
    enum prim prim;
    const value_id *operands; /* ids in range */
    uint32_t operand_count;
    const struct attrs *attrs; /* in normal form */
    struct error *err;
    enum dtype dtype; /* the result, from here on */
    uint32_t rank;
    dim_id shape[LIMIT_RANK];
};

/* Checks operands and attributes and fills the result. ERR_SHAPE, ERR_LIMIT, ERR_BLUEPRINT (a bad
 * name). */
bool shape_infer(struct shape_query *q);

/* Attributes that the text form prints in braces, in this order; the others are part of the type or
 * follow the prim's name. */
struct attr_name {
    uint32_t bit;
    const char *name;
};
#define ATTR_NAMES_COUNT 18
extern const struct attr_name attr_names[ATTR_NAMES_COUNT];
const char *scatter_mode_name(unsigned mode); /* "add"; NULL when there is no such mode */

/* "f32[B, 784]" */
void text_print_type(const struct graph *graph, enum dtype dtype, uint32_t rank,
                     const dim_id *shape, struct strbuf *out);
/* Prints the attributes of a node in text form, after a space; nothing if there are none. */
void text_print_attrs(const struct graph *graph, const struct node *node, struct strbuf *out);

#endif
