/* Inside the ONNX reader.
 *
 * Each node is translated by the function of its row in onnx_ops.def, which builds values with the
 * builder (graph/build.h) or expands a composite of ours. What ONNX leaves to tensors but the graph
 * needs while it is built, the target of a Reshape say, is found by folding: constants by the
 * interpreter, arithmetic on shapes as arithmetic on dims. So there are no separate passes for
 * shape inference or constant propagation.
 *
 * Everything lives in the arena of the import. A translator fails through its builder's error;
 * ERR_UNSUPPORTED refuses the node and lets the others be looked at, any other error ends the
 * import. Nothing that a file may say reaches an assertion. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_PRIV_H

#include "base/strbuf.h"
#include "compiler/import/import_priv.h"
#include "compiler/import/notes.h"
#include "compiler/import/onnx/onnx_build_priv.h"
#include "compiler/ops/ops.h"

/* Of onnx.pb-c.h, which the build makes from the schema. */
typedef struct ProtobufCMessage ProtobufCMessage;
typedef struct ProtobufCMessageDescriptor ProtobufCMessageDescriptor;
typedef struct Onnx__AttributeProto Onnx__AttributeProto;
typedef struct Onnx__FunctionProto Onnx__FunctionProto;
typedef struct Onnx__GraphProto Onnx__GraphProto;
typedef struct Onnx__ModelProto Onnx__ModelProto;
typedef struct Onnx__NodeProto Onnx__NodeProto;
typedef struct Onnx__TensorProto Onnx__TensorProto;
typedef struct Onnx__ValueInfoProto Onnx__ValueInfoProto;

/* Reads a message of the schema. The result borrows nothing from bytes. ERR_PARSE; ERR_LIMIT for
 * nesting and for memory out of proportion to the size. */
ProtobufCMessage *onnx_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                              size_t size, struct arena *arena, struct error *err);

/* The dtype of a TensorProto.DataType. ERR_UNSUPPORTED for those without one of ours: a small type
 * has none unless out_small is there, which gets the type, and 0 of others. */
bool onnx_dtype(int32_t data_type, enum dtype *out, uint8_t *out_small, struct error *err);
/* Reads elements, dense row-major in the dtype's layout, 64-aligned. folder: where external data
 * lies; NULL: it is refused. ERR_PARSE, ERR_SHAPE, ERR_LIMIT, ERR_UNSUPPORTED, ERR_IO. */
bool onnx_tensor(const Onnx__TensorProto *proto, const char *folder, struct arena *arena,
                 struct import_tensor *out, struct error *err);

struct onnx_bounds;
struct onnx_op;
/* A sequence: values in order. */
struct onnx_list {
    uint32_t count;
    value_id *items;
};

/* A name of the model: a value, or a list. A refused value comes, at some distance, from a node
 * that was refused. */
struct onnx_value {
    value_id value;
    const struct onnx_list *list;
    uint8_t small; /* the type that the value's elements stand for; 0: their own */
    bool refused;
    const char *why; /* of a value that is only refused where an output of the model needs it */
};

/* The names that nodes of one graph or function body see. */
struct onnx_scope {
    const struct onnx_scope *parent; /* NULL: the main graph */
    struct strmap names;             /* → values of the reader */
    int64_t opset;                   /* of the default domain */
    const Onnx__NodeProto *caller;   /* whose attributes a function's nodes refer to; or NULL */
};

/* The values that a node of the main graph named: values[first … end); those of the graph from
 * `before` on are its own. */
struct onnx_made {
    const Onnx__NodeProto *node;
    uint32_t first, end;
    value_id before;
};

struct onnx {
    struct graph *graph;
    struct arena *arena;
    const Onnx__ModelProto *model;
    const struct import_options *options;
    struct blueprint *out;
    VEC(struct onnx_value) values;
    VEC(struct import_refusal) refusals;
    VEC(struct onnx_made) made;                   /* kept for notes only */
    struct strbuf warnings;                       /* as in struct blueprint */
    struct strmap refused;                        /* → refusals, by op and reason */
    struct strmap functions;                      /* → those of the model, by domain and name */
    struct strmap dim_params;                     /* → labels, by the name of a dim in the file */
    struct strmap labels;                         /* of dims, in the order in which they came */
    VEC(const struct import_tensor *) param_data; /* by the graph's params */
    VEC(const struct known *) known;              /* folded values by id; NULL: not looked at yet */
    struct onnx_bounds *bounds;                   /* NULL: all of all values counts */
    uint32_t depth;                               /* of bodies inside bodies */
    uint32_t in_loop;                             /* bodies around that are loops of the graph */
    uint32_t nodes;                               /* translated so far, bodies included */
    uint32_t random;                              /* values that were drawn so far */
    size_t made_bytes;                            /* of params that are computed here */
    uint32_t anonymous;                           /* dims without a name so far */
    struct dim_demand demand;                     /* what the first node that failed needed … */
    const char *demand_why;                       /* … and which node that is */
};

/* One node under translation. */
struct onnx_call {
    struct onnx *o;
    struct builder *b;
    struct onnx_scope *scope;
    const Onnx__NodeProto *node;
    const struct onnx_op *op;
    int64_t opset;                                 /* of the node's domain */
    value_id in[LIMIT_OPERANDS];                   /* VALUE_NONE: left out */
    const struct onnx_list *lists[LIMIT_OPERANDS]; /* of operands that are sequences */
    uint8_t small[LIMIT_OPERANDS];                 /* types of operands, where they are small */
    uint32_t in_count;
    value_id out[OP_MAX_OUTPUTS];
    const struct onnx_list *out_lists[OP_MAX_OUTPUTS];
    uint8_t out_small[OP_MAX_OUTPUTS];   /* of ops with the letter S: before it is translated, the
                                            type of the first operand */
    const char *out_why[OP_MAX_OUTPUTS]; /* why a result is not there, though the node is read */
    uint32_t out_count;                  /* how many the node names */
    const char *unknown; /* the operand, by name, that would have to be known; NULL: none was */
    const char *cure;    /* of a refusal; NULL: none is known */
};

/* A row of onnx_ops.def. */
struct onnx_op {
    const char *name, *types; /* "Relu", "com.microsoft.Gelu" */
    int32_t since;            /* the first opset that is read */
    int32_t inputs_min, inputs_max;
    const char *attrs; /* those that are understood, separated by spaces */
    /* False after filling c->b->err. */
    bool (*translate)(struct onnx_call *c);
    const char *with; /* what the function takes from its row: a composite's name, say */
    const char *note; /* what is not covered; "" */
};
const struct onnx_op *onnx_op_find(const char *domain, const char *name);

bool onnx_is_utf8(const char *text); /* names that are not do not end up in JSON */
/* Translates the nodes of a graph or function body in order. False on errors other than refusals.
 */
bool onnx_nodes(struct onnx *o, struct onnx_scope *scope, Onnx__NodeProto *const *nodes,
                size_t count, struct error *err);
/* Its initialisers and inputs become names of a scope. */
bool onnx_initializers(struct onnx *o, struct onnx_scope *scope, const Onnx__GraphProto *graph,
                       struct error *err);
bool onnx_inputs(struct onnx *o, struct onnx_scope *scope, const Onnx__GraphProto *graph,
                 struct error *err);
/* What the caller says an input of the file is, in the input's type. */
bool onnx_known_input(struct onnx *o, const Onnx__ValueInfoProto *info,
                      const struct import_tensor *given, struct import_tensor *out,
                      struct error *err);
/* Bodies: a function that the model defines in place of an op, or a graph in an attribute. */
const Onnx__FunctionProto *onnx_function_find(struct onnx *o, const char *domain, const char *name);
void onnx_functions(struct onnx *o); /* makes a table of them, once */
bool onnx_function(struct onnx_call *c, const Onnx__FunctionProto *function, bool *out_refused,
                   struct error *err);
bool onnx_body(struct onnx_call *c, const Onnx__GraphProto *body, const value_id *in,
               uint32_t in_count, value_id out[OP_MAX_OUTPUTS], bool *out_refused);
/* Remembers a refusal; of those of one op for one reason only the first is told apart. node and
 * cure: NULL where there is none. */
void onnx_refused(struct onnx *o, const struct import_refusal *refusal);
void onnx_note_refusal(struct onnx *o, const char *what, const char *why); /* one that is no node's
                                                                            */
/* Makes names of a scope; ERR_BLUEPRINT when taken. */
bool onnx_name(struct onnx *o, struct onnx_scope *scope, const char *name, value_id value,
               struct error *err);
bool onnx_find(const struct onnx *o, const struct onnx_scope *scope, const char *name,
               struct onnx_value *out);
/* A tensor of the file as a value: a constant when 0-d or a small integer tensor, else a param. */
value_id onnx_initializer(struct onnx *o, const char *name, const struct import_tensor *tensor,
                          bool constant, struct error *err);

void onnx_name_small(struct onnx *o, uint8_t small); /* of the name that was made last */
/* Small types: those of at most 8 bits that the graph has no dtype for. A value of one is of its
 * carrier, i8 or u8: numbers of integers, codes of floats. */
bool onnx_small_find(int32_t data_type, uint8_t *out_small, enum dtype *out_carrier);
const char *onnx_small_name(uint8_t small);
bool onnx_small_is_float(uint8_t small);
uint32_t onnx_small_bits(uint8_t small);
void onnx_small_range(uint8_t small, double *out_least, double *out_greatest); /* of an integer */
uint8_t onnx_small_type(const Onnx__TensorProto *proto);                       /* 0: another one */
/* Elements as the carrier has them, out of bytes that hold 8 / bits of them each, the first lowest.
 */
void onnx_small_unpack(uint8_t small, const uint8_t *packed, size_t count, uint8_t *out);
/* Numbers of any dtype: f32 of codes, x itself of integers and for small 0. */
value_id onnx_small_decode(struct onnx_call *c, value_id x, uint8_t small);
/* The nearest codes of numbers, ties to even, by the node's attributes saturate and round_mode;
 * integers truncate and wrap. */
value_id onnx_small_encode(struct onnx_call *c, value_id x, uint8_t small);

/* Attributes. A wrong type fails the builder and gives the default. */
const Onnx__AttributeProto *onnx_attr(struct onnx_call *c, const char *name); /* NULL: absent */
bool onnx_has(struct onnx_call *c, const char *name);
int64_t onnx_int(struct onnx_call *c, const char *name, int64_t absent);
double onnx_float(struct onnx_call *c, const char *name, double absent);
const char *onnx_text(struct onnx_call *c, const char *name, const char *absent);
const int64_t *onnx_ints(struct onnx_call *c, const char *name, uint32_t *out_count); /* NULL:
                                                                                         absent */
bool onnx_failed(const struct onnx_call *c);

/* Operands and results. */
bool onnx_given(const struct onnx_call *c, uint32_t index);  /* operand is there */
bool onnx_wanted(const struct onnx_call *c, uint32_t index); /* result has a name */
uint32_t onnx_rank(const struct onnx_call *c, value_id x);
enum dtype onnx_type(const struct onnx_call *c, value_id x);
bool onnx_return(struct onnx_call *c, value_id out); /* the first result; false when VALUE_NONE */
/* Refuses the node: fails the builder with ERR_UNSUPPORTED. */
value_id onnx_refuse(struct onnx_call *c, const char *fmt, ...) URZA_PRINTF(2, 3);
/* Says that the node is read as something else than it says. */
void onnx_warn(struct onnx_call *c, const char *fmt, ...) URZA_PRINTF(2, 3);
/* The first result of one of our composites. attrs ends with a row without a name. */
value_id onnx_expand(struct onnx_call *c, const char *op, const value_id *in, uint32_t count,
                     const struct op_value *attrs);

/* Folding. A known value, row-major: integers (and bool) as dims, floats as numbers. */
struct known {
    bool is_known;
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    uint32_t count;
    const dim_id *dims;
    const double *reals;
};
/* As dim_is_const and dim_range; DIM_NONE, which follows from a failure, is not constant and may be
 * anything. */
bool onnx_is_const(const struct dim_table *dims, dim_id dim, int64_t *out);
void onnx_dim_range(const struct dim_table *dims, dim_id dim, int64_t *out_min, int64_t *out_max);
#define ONNX_KNOWN_MAX LIMIT_LITERAL_ELEMENTS
/* Remembers the elements of a param, which has at most ONNX_KNOWN_MAX. */
void onnx_know_tensor(struct onnx *o, value_id param, const struct import_tensor *tensor);
/* What is known of a value; ->is_known false when nothing is. Never fails. */
const struct known *onnx_known(struct onnx *o, value_id x);
/* Operand index as a list of dims, integers or numbers, of rank ≤ 1 and at most max elements;
 * refuses the node when it is not known. onnx_dims makes elements of inputs names
 * (onnx_told_priv.h). */
bool onnx_dims(struct onnx_call *c, uint32_t index, dim_id *out, uint32_t max, uint32_t *out_count);
bool onnx_const_ints(struct onnx_call *c, uint32_t index, int64_t *out, uint32_t max,
                     uint32_t *out_count);
bool onnx_const_reals(struct onnx_call *c, uint32_t index, double *out, uint32_t max,
                      uint32_t *out_count);
/* Integers from an attribute, or from the operand that took its place in a later opset. *out_count
 * 0 and *out_given false when there is neither. */
bool onnx_list(struct onnx_call *c, const char *attr, uint32_t index, int64_t out[LIMIT_RANK],
               uint32_t *out_count, bool *out_given);

#endif
