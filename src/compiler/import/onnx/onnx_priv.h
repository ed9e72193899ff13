/* Inside the ONNX reader.
 *
 * Each node is translated by the function of its row in onnx_ops.def, which builds values with the
 * builder (graph/build.h) or expands one of our composite ops. Some operands must be known while
 * the graph is built, such as the shape of a Reshape. They are found by folding: the interpreter
 * computes constants, and arithmetic on shapes becomes arithmetic on dims. So there are no separate
 * passes for shape inference or constant propagation.
 *
 * Everything is allocated in the arena of the import. A translator reports failures through its
 * builder's error: ERR_UNSUPPORTED refuses the node, and the next ones are still translated; any
 * other error ends the import. No contents of a file can violate an assertion. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_PRIV_H

#include "base/strbuf.h"
#include "compiler/import/import_priv.h"
#include "compiler/import/notes.h"
#include "compiler/import/onnx/onnx_build_priv.h"
#include "compiler/ops/ops.h"

/* Types of onnx.pb-c.h, which the build generates from the schema. */
typedef struct ProtobufCMessage ProtobufCMessage;
typedef struct ProtobufCMessageDescriptor ProtobufCMessageDescriptor;
typedef struct Onnx__AttributeProto Onnx__AttributeProto;
typedef struct Onnx__FunctionProto Onnx__FunctionProto;
typedef struct Onnx__GraphProto Onnx__GraphProto;
typedef struct Onnx__ModelProto Onnx__ModelProto;
typedef struct Onnx__NodeProto Onnx__NodeProto;
typedef struct Onnx__TensorProto Onnx__TensorProto;
typedef struct Onnx__ValueInfoProto Onnx__ValueInfoProto;

/* Parses a message of the schema. The result borrows nothing from bytes. ERR_PARSE; ERR_LIMIT if it
 * nests too deep or needs too much memory for its size. */
ProtobufCMessage *onnx_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                              size_t size, struct arena *arena, struct error *err);

/* The dtype of a TensorProto.DataType. ERR_UNSUPPORTED if we have none. A small type has one only
 * if out_small is not NULL; *out_small is then the small type, and 0 for all others. */
bool onnx_dtype(int32_t data_type, enum dtype *out, uint8_t *out_small, struct error *err);
/* Reads the elements, dense and row-major in the dtype's layout, 64-aligned. folder: of external
 * data; NULL: it is refused. ERR_PARSE, ERR_SHAPE, ERR_LIMIT, ERR_UNSUPPORTED, ERR_IO. */
bool onnx_tensor(const Onnx__TensorProto *proto, const char *folder, struct arena *arena,
                 struct import_tensor *out, struct error *err);

struct onnx_bounds;
struct onnx_op;
/* A sequence: values in order. */
struct onnx_list {
    uint32_t count;
    value_id *items;
};

/* What a name of the model stands for: a value or a list. refused: it depends on a node that was
 * refused. */
struct onnx_value {
    value_id value;
    const struct onnx_list *list;
    uint8_t small; /* the small type that the elements represent; 0: none */
    bool refused;
    const char *why; /* not NULL: refused with this reason, if a model output depends on it */
};

/* The names that nodes of one graph or function body see. */
struct onnx_scope {
    const struct onnx_scope *parent; /* NULL: the main graph */
    struct strmap names;             /* → values of the reader */
    int64_t opset;                   /* opset of the default domain */
    const Onnx__NodeProto *caller;   /* of a function: the node with the attributes that its nodes
                                        refer to; or NULL */
};

/* The values that a node of the main graph named: values[first … end). Those with graph ids from
 * `before` on are new. */
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
    VEC(struct onnx_made) made;                   /* for notes only */
    struct strbuf warnings;                       /* as in struct blueprint */
    struct strmap refused;                        /* → refusals, by op and reason */
    struct strmap functions;                      /* → functions of the model, by domain and name */
    struct strmap dim_params;                     /* → labels, by dim_param */
    struct strmap labels;                         /* names of dims, in order of creation */
    VEC(const struct import_tensor *) param_data; /* in the order of the graph's params */
    VEC(const struct known *) known;              /* by value id; NULL: not folded yet */
    struct onnx_bounds *bounds;                   /* NULL: all of all values counts */
    uint32_t depth;                               /* depth of nested bodies */
    uint32_t in_loop;                             /* enclosing bodies that are loops of the graph */
    const char *undecided; /* in a branch chosen at run time: what reads one branch only; or NULL */
    value_id guard;  /* in a branch that holds loops: whether it is taken, and they run; or NONE */
    uint32_t nodes;  /* nodes translated so far, bodies included */
    uint32_t trips;  /* trips of loops unrolled so far */
    uint32_t random; /* random tensors so far */
    size_t made_bytes;        /* size of params that the reader computes */
    uint32_t anonymous;       /* number of dims without a name so far */
    struct dim_demand demand; /* what the first node that failed needs … */
    const char *demand_why;   /* … and the name of that node */
};

/* A node that is being translated. */
struct onnx_call {
    struct onnx *o;
    struct builder *b;
    struct onnx_scope *scope;
    const Onnx__NodeProto *node;
    const struct onnx_op *op;
    int64_t opset;                                 /* of the node's domain */
    value_id in[LIMIT_OPERANDS];                   /* VALUE_NONE: omitted */
    const struct onnx_list *lists[LIMIT_OPERANDS]; /* operands that are sequences */
    uint8_t small[LIMIT_OPERANDS];                 /* small types of operands; 0: none */
    uint32_t in_count;
    value_id out[OP_MAX_OUTPUTS];
    const struct onnx_list *out_lists[OP_MAX_OUTPUTS];
    uint8_t out_small[OP_MAX_OUTPUTS];   /* of ops with S: initially operand 0's */
    const char *out_why[OP_MAX_OUTPUTS]; /* why a result is missing although the node is read */
    uint32_t out_count;                  /* number of results that the node names */
    const char *unknown; /* the name of an operand that must be known but is not; NULL: none */
    const char *cure;    /* of a refusal; NULL: none is known */
};

/* A row of onnx_ops.def. */
struct onnx_op {
    const char *name, *types; /* "Relu", "com.microsoft.Gelu" */
    int32_t since;            /* the first opset that is read */
    int32_t inputs_min, inputs_max;
    const char *attrs; /* attributes that are read, separated by spaces */
    /* False: c->b->err is set. */
    bool (*translate)(struct onnx_call *c);
    const char *with; /* an argument of the function, such as the name of a composite op */
    const char *note; /* which uses are not read; "" if all are */
};
const struct onnx_op *onnx_op_find(const char *domain, const char *name);

bool onnx_is_utf8(const char *text); /* other names are not written to JSON */
/* Translates the nodes of a graph or body, in order. False: an error that ends the import. */
bool onnx_nodes(struct onnx *o, struct onnx_scope *scope, Onnx__NodeProto *const *nodes,
                size_t count, struct error *err);
/* Makes the graph's initialisers and inputs names of a scope. */
bool onnx_initializers(struct onnx *o, struct onnx_scope *scope, const Onnx__GraphProto *graph,
                       struct error *err);
bool onnx_inputs(struct onnx *o, struct onnx_scope *scope, const Onnx__GraphProto *graph,
                 struct error *err);
/* The value that the caller gives for an input of the file, in the input's type. */
bool onnx_known_input(struct onnx *o, const Onnx__ValueInfoProto *info,
                      const struct import_tensor *given, struct import_tensor *out,
                      struct error *err);
/* Functions that the model defines in place of an op. Graphs in attributes: onnx_bodies_priv.h. */
const Onnx__FunctionProto *onnx_function_find(struct onnx *o, const char *domain, const char *name);
void onnx_functions(struct onnx *o); /* builds the table of functions, once */
bool onnx_function(struct onnx_call *c, const Onnx__FunctionProto *function, bool *out_refused,
                   struct error *err);
/* Records a refusal; refusals of the same op for the same reason are counted together. node and
 * cure may be NULL. */
void onnx_refused(struct onnx *o, const struct import_refusal *refusal);
void onnx_note_refusal(struct onnx *o, const char *what, const char *why); /* not of a node */
/* Adds a name to a scope; ERR_BLUEPRINT if it is taken. */
bool onnx_name(struct onnx *o, struct onnx_scope *scope, const char *name, value_id value,
               struct error *err);
bool onnx_find(const struct onnx *o, const struct onnx_scope *scope, const char *name,
               struct onnx_value *out);
/* A tensor of the file as a value: a constant if it is 0-d or a small tensor of integers; otherwise
 * a param. */
value_id onnx_initializer(struct onnx *o, const char *name, const struct import_tensor *tensor,
                          bool constant, struct error *err);

/* Gives the name that was added last a small type. */
void onnx_name_small(struct onnx *o, uint8_t small);
/* Small types: types of at most 8 bits for which the graph has no dtype. Their values have a
 * carrier, i8 or u8, whose elements are the integers themselves or the bit patterns (codes) of
 * floats. */
bool onnx_small_find(int32_t data_type, uint8_t *out_small, enum dtype *out_carrier);
const char *onnx_small_name(uint8_t small);
bool onnx_small_is_float(uint8_t small);
uint32_t onnx_small_bits(uint8_t small);
void onnx_small_range(uint8_t small, double *out_least, double *out_greatest); /* integers only */
uint8_t onnx_small_type(const Onnx__TensorProto *proto); /* 0: not a small type */
/* Unpacks elements into the carrier; a byte has 8 / bits elements, the first in the lowest bits. */
void onnx_small_unpack(uint8_t small, const uint8_t *packed, size_t count, uint8_t *out);
/* The numbers that x represents: codes become f32; integers and values that are not small stay
 * x. */
value_id onnx_small_decode(struct onnx_call *c, value_id x, uint8_t small);
/* Inverse: rounds to the nearest code, ties to even, as the node's attributes saturate and
 * round_mode say; integers are truncated and wrap. */
value_id onnx_small_encode(struct onnx_call *c, value_id x, uint8_t small);

/* Attributes. If the type is wrong, the builder fails and the result is the default. Pointers are
 * NULL without one. */
const Onnx__AttributeProto *onnx_attr(struct onnx_call *c, const char *name);
bool onnx_has(struct onnx_call *c, const char *name);
int64_t onnx_int(struct onnx_call *c, const char *name, int64_t absent);
double onnx_float(struct onnx_call *c, const char *name, double absent);
const char *onnx_text(struct onnx_call *c, const char *name, const char *absent);
const int64_t *onnx_ints(struct onnx_call *c, const char *name, uint32_t *out_count);
bool onnx_failed(const struct onnx_call *c);
/* Operands and results. */
bool onnx_given(const struct onnx_call *c, uint32_t index);  /* the operand is given */
bool onnx_wanted(const struct onnx_call *c, uint32_t index); /* the result has a name */
uint32_t onnx_rank(const struct onnx_call *c, value_id x);
enum dtype onnx_type(const struct onnx_call *c, value_id x);
bool onnx_return(struct onnx_call *c, value_id out); /* sets the first result */
/* Refuses the node: fails the builder with ERR_UNSUPPORTED. */
value_id onnx_refuse(struct onnx_call *c, const char *fmt, ...) URZA_PRINTF(2, 3);
/* Adds a warning that the node is not read exactly as it says. */
void onnx_warn(struct onnx_call *c, const char *fmt, ...) URZA_PRINTF(2, 3);
/* The first result of one of our composite ops. attrs ends with a row whose name is NULL. */
value_id onnx_expand(struct onnx_call *c, const char *op, const value_id *in, uint32_t count,
                     const struct op_value *attrs);

/* Folding. A known value, row-major: integers and bools as dims, floats as numbers. */
struct known {
    bool is_known;
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK];
    uint32_t count;
    const dim_id *dims;
    const double *reals;
};
/* As dim_is_const and dim_range; DIM_NONE, the result of a failure, is not constant and may have
 * any value. */
bool onnx_is_const(const struct dim_table *dims, dim_id dim, int64_t *out);
void onnx_dim_range(const struct dim_table *dims, dim_id dim, int64_t *out_min, int64_t *out_max);
#define ONNX_KNOWN_MAX LIMIT_LITERAL_ELEMENTS
/* Makes the elements of a param known; at most ONNX_KNOWN_MAX. */
void onnx_know_tensor(struct onnx *o, value_id param, const struct import_tensor *tensor);
/* What is known of a value; ->is_known is false if nothing is. Never fails. */
const struct known *onnx_known(struct onnx *o, value_id x);
/* Operand `index` as a list of dims, integers or numbers, of rank ≤ 1 and at most max elements;
 * refuses the node if it is not known. onnx_dims lets inputs tell dims (onnx_told_priv.h). */
bool onnx_dims(struct onnx_call *c, uint32_t index, dim_id *out, uint32_t max, uint32_t *out_count);
bool onnx_const_ints(struct onnx_call *c, uint32_t index, int64_t *out, uint32_t max,
                     uint32_t *out_count);
bool onnx_const_reals(struct onnx_call *c, uint32_t index, double *out, uint32_t max,
                      uint32_t *out_count);
/* Integers from an attribute, or from the operand that replaced it in a later opset. If there is
 * neither, *out_count is 0 and *out_given false. */
bool onnx_list(struct onnx_call *c, const char *attr, uint32_t index, int64_t out[LIMIT_RANK],
               uint32_t *out_count, bool *out_given);

#endif
