/* Translating a BlueprintIR document: blueprint_ir.c finds each node's operands from the edges;
 * blueprint_ir_ops.c translates each node with its attributes to a native one. */
#ifndef URZA_COMPILER_IMPORT_BLUEPRINT_IR_PRIV_H
#define URZA_COMPILER_IMPORT_BLUEPRINT_IR_PRIV_H

#include "compiler/import/import_priv.h"

/* The parts of the native document, owned, and what the translation of all nodes shares. */
struct ir {
    json_t *dims, *inputs, *params, *nodes, *outputs;
    uint64_t seed;
    enum dtype dtype; /* dtype of the parameters of nodes without a precision: that of the first
                         float input */
    bool mixed;       /* more than one float dtype occurs, so operands need casts */
    struct error *err;
};

struct ir_op;

struct ir_node {
    const json_t *json, *attributes; /* attributes: NULL if none */
    const char *id;
    const struct ir_op *op;
    enum dtype precision, edge_dtype; /* DTYPE_NONE: not given; edge_dtype: that of the result, from
                                         an edge */
    const char *edge;                 /* the place of that edge, for messages */
    VEC(const char *) operands;       /* ids of the source nodes, by port; NULL: no edge yet */
    uint32_t used;                    /* all operands before this one have an edge */
    json_t *in;                       /* operands of the native node that is being built */
};

/* One row per op type. attributes: the names of the legal ones, each between spaces. */
struct ir_op {
    const char *name;
    uint32_t min_operands, max_operands;
    const char *attributes;
    bool casts; /* operands are cast to the dtype of its parameters */
    bool (*translate)(struct ir *ir, struct ir_node *node);
};

const struct ir_op *ir_op_find(const char *name); /* NULL if there is none */
const char *ir_op_name_at(uint32_t index);        /* NULL after the last */
bool ir_is_input(const struct ir_op *op);
bool ir_is_output(const struct ir_op *op);

/* The dtype of an input node: its attribute, else its precision, else f32. */
bool ir_input_dtype(struct ir *ir, const struct ir_node *node, enum dtype *out);
/* Checks the names of the attributes and appends the native node and its parameters. */
bool ir_translate_node(struct ir *ir, struct ir_node *node);

/* blueprint_ir_node.c: reading attributes. The place of an error is the attribute. */
/* The attribute; NULL: absent. */
const json_t *ir_attribute(const struct ir_node *node, const char *name);
bool ir_fail_attribute(struct ir *ir, const char *name, const json_t *found, const char *expected);
/* Sizes: required integers in 0 … LIMIT_DIM_VALUE. */
bool ir_get_size(struct ir *ir, const struct ir_node *node, const char *name, int64_t *out);
bool ir_opt_bool(struct ir *ir, const struct ir_node *node, const char *name, bool *out);
bool ir_opt_real(struct ir *ir, const struct ir_node *node, const char *name, double *out);
/* An integer or a list of two, as a list of two. initial: the value if it is absent; NULL: it is
 * required. */
bool ir_get_pair(struct ir *ir, const struct ir_node *node, const char *name,
                 const int64_t *initial, int64_t out[2]);
/* The index in choices (NULL-terminated) of a required string; -1 after failing. */
int ir_get_choice(struct ir *ir, const struct ir_node *node, const char *name,
                  const char *const *choices, const char *expected);
json_t *ir_int_list(const int64_t *items, size_t count);
json_t *ir_init(const char *kind);
json_t *ir_random(const struct ir *ir, const char *kind);
json_t *ir_bias(const struct ir *ir, double fan_in);
/* Declares the parameter "<node id>.<suffix>"; takes ownership of init. */
void ir_declare(struct ir *ir, const struct ir_node *node, const char *suffix, const int64_t *shape,
                size_t rank, json_t *init);
/* Appends the parameter "<node id>.<suffix>" to the native node's operands. */
void ir_use(struct ir_node *node, const char *suffix);
/* A field of the node that has a shape, integers ≥ -1; *out is NULL if it is absent. */
bool ir_get_shape(struct ir *ir, const struct ir_node *node, const char *key, const json_t **out);
/* Appends the native node; takes ownership of attrs, which may be NULL. */
bool ir_emit(struct ir *ir, struct ir_node *node, const char *op, json_t *attrs);

#endif
