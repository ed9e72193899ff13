/* BlueprintIR under translation: the graph part (blueprint_ir.c) finds each node's operands, the op
 * part (blueprint_ir_ops.c) says what a node and its attributes become. */
#ifndef URZA_COMPILER_IMPORT_BLUEPRINT_IR_PRIV_H
#define URZA_COMPILER_IMPORT_BLUEPRINT_IR_PRIV_H

#include "compiler/import/import_priv.h"

/* The native document's parts, owned, and what all nodes share. */
struct ir {
    json_t *dims, *inputs, *params, *nodes, *outputs;
    uint64_t seed;
    enum dtype dtype; /* of parameters of nodes without a precision: the first float input's */
    bool mixed;       /* more than one float dtype occurs, so operands need casts */
    struct error *err;
};

struct ir_op;

struct ir_node {
    const json_t *json, *attributes; /* attributes: NULL if none */
    const char *id;
    const struct ir_op *op;
    enum dtype precision, edge_dtype; /* DTYPE_NONE: not given; edge_dtype: what edges say of the
                                         result */
    const char *edge;                 /* place of the edge that gave edge_dtype */
    VEC(const char *) operands;       /* by port: names of nodes; NULL: free */
    uint32_t used;                    /* operands before this one are taken */
    json_t *in;                       /* references of the native node under construction */
};

/* One row per op type. attributes: the legal ones, with blanks around each. */
struct ir_op {
    const char *name;
    uint32_t min_operands, max_operands;
    const char *attributes;
    bool casts; /* computes in the dtype of its parameters */
    bool (*translate)(struct ir *ir, struct ir_node *node);
};

const struct ir_op *ir_op_find(const char *name); /* NULL if there is none */
bool ir_is_input(const struct ir_op *op);
bool ir_is_output(const struct ir_op *op);

/* The dtype of an input node: its attribute, else its precision, else f32. */
bool ir_input_dtype(struct ir *ir, const struct ir_node *node, enum dtype *out);
/* Checks attributes' names and appends what the node becomes. */
bool ir_translate_node(struct ir *ir, struct ir_node *node);

/* blueprint_ir_node.c: attributes. Failures name the attribute as place. */
/* The attribute, NULL when it is absent. */
const json_t *ir_attribute(const struct ir_node *node, const char *name);
bool ir_fail_attribute(struct ir *ir, const char *name, const json_t *found, const char *expected);
/* Sizes: required integers in 0 … LIMIT_DIM_VALUE. */
bool ir_get_size(struct ir *ir, const struct ir_node *node, const char *name, int64_t *out);
bool ir_opt_bool(struct ir *ir, const struct ir_node *node, const char *name, bool *out);
bool ir_opt_real(struct ir *ir, const struct ir_node *node, const char *name, double *out);
/* An integer or a list of two, as a list of two; initial stands for an absent one, NULL: required.
 */
bool ir_get_pair(struct ir *ir, const struct ir_node *node, const char *name,
                 const int64_t *initial, int64_t out[2]);
/* The place in choices (NULL-terminated) of a required word, or -1 after failing. */
int ir_get_choice(struct ir *ir, const struct ir_node *node, const char *name,
                  const char *const *choices, const char *expected);
json_t *ir_int_list(const int64_t *items, size_t count);
json_t *ir_init(const char *kind);
json_t *ir_random(const struct ir *ir, const char *kind);
json_t *ir_bias(const struct ir *ir, double fan_in);
/* Declares "<node id>.<suffix>"; takes init over. */
void ir_declare(struct ir *ir, const struct ir_node *node, const char *suffix, const int64_t *shape,
                size_t rank, json_t *init);
/* The next operand is that parameter. */
void ir_use(struct ir_node *node, const char *suffix);
/* Field of the node with a shape of integers ≥ -1; *out is NULL when it is absent. */
bool ir_get_shape(struct ir *ir, const struct ir_node *node, const char *key, const json_t **out);
/* Appends the native node; takes attrs over, which may be NULL. */
bool ir_emit(struct ir *ir, struct ir_node *node, const char *op, json_t *attrs);

#endif
