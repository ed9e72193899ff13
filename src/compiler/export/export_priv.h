/* Inside the ONNX writer.
 *
 * Values of the graph are translated in order, each by the function of its primitive (prims.c),
 * which adds nodes and returns the name of the result. Nodes that turn out to be unused, such as an
 * Expand whose users broadcast its operand themselves, are left out when the model is serialised.
 *
 * ONNX allows more types for an operation than runtimes implement. So arithmetic uses four types
 * that all runtimes implement, called carriers: f16 and bf16 are computed as f32 and small integers
 * as i32, and rounded or wrapped back after each operation, which gives the same numbers. Prims
 * that move data use no carriers, except where stated.
 *
 * Everything lives in the arena of the export. */
#ifndef URZA_COMPILER_EXPORT_EXPORT_PRIV_H
#define URZA_COMPILER_EXPORT_EXPORT_PRIV_H

#include "base/compiler.h"
#include "compiler/export/export.h"

/* From onnx.pb-c.h, which the build generates from the schema. */
typedef struct Onnx__NodeProto Onnx__NodeProto;

#define EXPORT_RANK (LIMIT_RANK + 2) /* largest rank of intermediate tensors */

struct export_refusal {
    const char *op, *why;
    uint32_t count; /* number of nodes refused for this reason */
};

struct export_dim {
    dim_id dim;
    const char *name;
};

struct export
{
    struct graph *graph; /* live values only */
    struct arena *arena;
    VEC(Onnx__NodeProto *) nodes;
    VEC(struct export_refusal) refusals;
    VEC(struct export_dim) dims; /* dims whose values have been computed */
    const char **names;          /* by value */
    const char **wide;  /* by value: its name after casting to the carrier; NULL: not made yet */
    const char **thin;  /* by value: for a broadcast, the name of its operand, aligned; NULL: not a
                           broadcast */
    const char *prefix; /* of generated names: no other name starts with it */
    uint32_t made;      /* number of names generated so far */
    value_id now;       /* the value being translated */
};

/* Translates one value and returns the name of its result. */
const char *export_prim(struct export *e, const struct node *node);

/* writer.c: nodes. */

/* Adds a node with one result, whose name is returned. An input "" is left out. */
const char *export_node(struct export *e, const char *op, const char *const *in, uint32_t count);
#define NODE(e, op, ...)                                   \
    export_node(e, op, (const char *const[]){__VA_ARGS__}, \
                (uint32_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))
const char *export_name(struct export *e);   /* generates a new name */
const char *export_second(struct export *e); /* adds another result to the newest node */
/* Attributes of the newest node. */
void export_int(struct export *e, const char *name, int64_t value);
void export_ints(struct export *e, const char *name, const int64_t *values, uint32_t count);
void export_text(struct export *e, const char *name, const char *value);
/* Constants. */
const char *export_tensor(struct export *e, enum dtype dtype, uint32_t rank, const int64_t *shape,
                          const void *data, size_t bytes);
const char *export_real(struct export *e, enum dtype dtype, double value); /* 0-d, of any dtype */
const char *export_whole(struct export *e, enum dtype dtype, int64_t value);
const char *export_list(struct export *e, const int64_t *values, uint32_t count); /* i64[count] */
int32_t export_type(enum dtype dtype); /* TensorProto.DataType */
/* Records that the value being translated cannot be expressed; returns a name, so that translation
 * continues and finds further problems. */
const char *export_refuse(struct export *e, const char *why);

/* Carriers (see above). */
enum dtype export_carrier(enum dtype dtype);
const char *export_cast(struct export *e, const char *x, enum dtype dtype);
/* The value, cast to the carrier of its dtype. */
const char *export_wide(struct export *e, value_id value);
/* Casts x from the carrier of dtype to dtype. */
const char *export_narrow(struct export *e, const char *x, enum dtype dtype);
/* The larger of two integers, or the smaller. Built from comparisons, since Max and Min of ONNX
 * Runtime 1.31 compare only the lower half of an int64. */
const char *export_bound(struct export *e, const char *a, const char *b, bool greater);
/* The smallest or the largest value of a dtype; infinities for floats. */
const char *export_extreme(struct export *e, enum dtype dtype, enum dtype as, bool greatest);

/* sizes.c: dims as values of the model. DIM_NONE, for sizes that have no expression, is refused. */

const char *export_dims(struct export *e, const dim_id *dims, uint32_t count); /* i64[count] */
const char *export_dim(struct export *e, dim_id dim);                          /* i64, 0-d */
bool export_may_be_empty(const struct export *e, dim_id dim); /* true for DIM_NONE */
/* Common ways of moving data, with dims as parameters. */
const char *export_reshape(struct export *e, const char *x, const dim_id *shape, uint32_t rank);
const char *export_slice(struct export *e, const char *x, int64_t axis, dim_id start, dim_id end,
                         int64_t step);
/* low and high: rank dims each. value: 0-d, of x's dtype. */
const char *export_pad(struct export *e, const char *x, const dim_id *low, const dim_id *high,
                       uint32_t rank, const char *value);

static inline const struct node *export_operand(const struct export *e, const struct node *node,
                                                uint32_t index)
{
    return graph_node(e->graph, node->operands[index]);
}
static inline enum dtype export_dtype(const struct export *e, const struct node *node,
                                      uint32_t index)
{
    return (enum dtype)export_operand(e, node, index)->dtype;
}

/* Translations, by file. */
typedef const char *export_fn(struct export *e, const struct node *node);
/* elementwise.c; operands come in their carriers, and so does the result. */
const char *export_unary(struct export *e, const struct node *node, const char *x);
const char *export_binary(struct export *e, const struct node *node, const char *a, const char *b);
export_fn export_elementwise, export_cast_prim, export_select;
/* integer.c */
const char *export_divide(struct export *e, const struct node *node, const char *a, const char *b);
const char *export_shift(struct export *e, const struct node *node, const char *a, const char *b);
/* reduce.c */
export_fn export_reduce, export_arg_reduce, export_argsort, export_scan;
/* product.c */
export_fn export_contract, export_conv;
/* window.c */
export_fn export_window;
/* Inserts zeros, or the value of fill, between the elements of the last dims, by base_dilation.
 * *shape is updated. */
const char *export_spread(struct export *e, const char *x, const struct attrs *attrs, dim_id *shape,
                          uint32_t rank, const char *fill);
/* Reshapes x to [product of all dims before the last count, 1, the last count dims]. */
const char *export_plane(struct export *e, const char *x, const dim_id *shape, uint32_t rank,
                         uint32_t count);
/* Adds strides, dilations, pads and, if wanted, kernel_shape to the newest node. */
void export_window_attrs(struct export *e, const struct attrs *attrs, bool kernel_shape);
/* move.c */
export_fn export_const, export_literal, export_iota, export_reshape_prim, export_transpose,
    export_broadcast, export_slice_prim, export_pad_prim, export_concat, export_reverse,
    export_take, export_gather, export_scatter;

#endif
