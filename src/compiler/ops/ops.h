/* Composite operations: PyTorch's names and attribute names, expanded into prims while the graph is
 * built.
 *
 * An op is one row in ops.def and one function in the file of its family. There is no switch over
 * ops: importers look up a row by name, check operands and attributes against it, and call its
 * expansion. The docs, the tests of every op and the importers' errors are derived from the row. */
#ifndef URZA_COMPILER_OPS_OPS_H
#define URZA_COMPILER_OPS_OPS_H

#include "graph/build.h"

#define OP_MAX_OUTPUTS 64
#define OP_MAX_ATTRS 16

/* An attribute as given by an importer. Lists hold integers; a scalar int is accepted where a list
 * is expected (PyTorch's kernel_size=3) and is then repeated. */
enum op_value_kind { OP_INT = 1, OP_FLOAT, OP_BOOL, OP_TEXT, OP_INTS };
struct op_value {
    const char *name;
    enum op_value_kind kind;
    int64_t i;           /* OP_INT, OP_BOOL */
    double f;            /* OP_FLOAT; also filled for OP_INT */
    const char *text;    /* OP_TEXT */
    const int64_t *ints; /* OP_INTS */
    uint32_t int_count;
};

/* A call being expanded. in: operands; an optional operand that is absent is VALUE_NONE.
 */
struct op_call {
    struct builder *b;
    const struct op_row *row;
    value_id in[LIMIT_OPERANDS];
    uint32_t in_count;
    struct op_value attrs[OP_MAX_ATTRS]; /* in the row's order, with defaults filled in; kind 0: not
                                            given, and no default */
    uint32_t attr_count;
    bool training; /* dropout is applied, and batch_norm uses batch statistics */
    value_id out[OP_MAX_OUTPUTS];
    uint32_t out_count;
};

/* attrs: the schema of the attributes, as "name:type=default …". A type is a list of alternatives
 * separated by '|': int, float, bool, ints, text (any text), or a word, which is accepted as this
 * text ("ints|same|valid"). Without "=default" the attribute is required; "=?" means optional
 * without default. operands: names in order, with "?" after an optional one, and "..." after the
 * last if it repeats: "x w b?". examples: calls for tests and docs, separated by ";": operands as
 * name[dims] or name:dtype[dims], with capital letters for dims that are chosen at random, then
 * attributes: "x[B,K] w[N,K] b[N]; x[A,B,K] w[N,K]". A dim may be an expression (4*D). An operand
 * without dtype, or of dtype "float", has the float type under test. A range may follow the dtype:
 * idx:i64<N>[B] has values in [0, N), v:float<0.1,4>[C] in [0.1, 4]. A repeated operand is written
 * once per use. The word "training" sets op_call.training. */
struct op_row {
    const char *name, *operands, *attrs, *examples, *doc;
    /* Expands the call: reads call->in and the attributes, writes call->out and out_count. False
     * after failing, with call->b->err filled. */
    bool (*expand)(struct op_call *call);
};

const struct op_row *op_find(const char *name); /* NULL if there is none */
const struct op_row *op_at(uint32_t index);     /* NULL after the last */

/* The arguments of an operation. */
struct op_arguments {
    const value_id *operands; /* VALUE_NONE: absent */
    uint32_t operand_count;
    const struct op_value *attrs;
    uint32_t attr_count;
    bool training; /* false: inference */
};
/* Checks operands and attributes against the row, fills defaults, expands into b's graph. Errors:
 * ERR_BLUEPRINT for unknown, missing or ill-typed attributes and operand counts, with "attribute
 * 'x'" as place; ERR_SHAPE from the rules. out gets *out_count values. */
bool op_expand(struct builder *b, const struct op_row *row, const struct op_arguments *arguments,
               value_id out[OP_MAX_OUTPUTS], uint32_t *out_count, struct error *err);

/* One example as a graph. Its inputs are the operands, in order and with their names (a repeated
 * operand: name, name1, name2 …); its outputs are "out0", "out1" …. */
struct op_example_operand {
    value_id value; /* the graph input */
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[LIMIT_RANK]; /* at the chosen sizes */
    int64_t count;             /* elements */
    int64_t index_bound;       /* legal values are [0, index_bound); 0: not an index */
    double low, high;          /* range of a float or an unbounded integer operand */
};
struct op_example {
    const struct op_row *row;
    struct op_example_operand operands[LIMIT_OPERANDS];
    uint32_t operand_count, out_count;
    bool training;
    int64_t dim_values[LIMIT_NAMED_DIMS]; /* by name index, as interp_run and kernels take them */
};

uint32_t op_example_count(const struct op_row *row);
/* Selects an example of a row, and its sizes and dtype. */
struct op_example_request {
    uint32_t index;         /* < count */
    uint64_t seed;          /* decides the sizes of letters */
    int64_t max_dim;        /* sizes are 1 … max_dim */
    enum dtype float_dtype; /* under test */
    bool symbolic; /* letters become named dims with range 1 … 64 (max_dim ≤ 64), else constants */
};
/* Builds the example in *graph, which is initialised and empty. Fails with ERR_PARSE on a bad row,
 * else as op_expand. */
bool op_example_build(const struct op_row *row, const struct op_example_request *request,
                      struct graph *graph, struct op_example *out, struct error *err);
/* Fills one operand with legal random elements, dense, in the dtype's own layout. */
void op_example_fill(const struct op_example_operand *operand, uint64_t seed, void *data);

/* For expansions: attributes by name (the name must be in the row). */
int64_t op_int(const struct op_call *call, const char *name);
double op_float(const struct op_call *call, const char *name);
bool op_bool(const struct op_call *call, const char *name);
const char *op_text(const struct op_call *call, const char *name);
/* Whether it was given or has a default. */
bool op_has(const struct op_call *call, const char *name);
/* Reads exactly count integers into out; a scalar repeats. False after failing with ERR_BLUEPRINT.
 */
bool op_ints(const struct op_call *call, const char *name, uint32_t count, int64_t *out);
const struct op_value *op_attr(const struct op_call *call, const char *name);
bool op_return(struct op_call *call, value_id out); /* returns one result; false for VALUE_NONE */

/* Whether x, a float, is less than 0 or is -0. */
value_id op_is_negative(struct builder *b, value_id x);
/* C's fmod: x - trunc(x/y)*y, exactly, with the sign of x; of integers 0 where y is 0. */
value_id op_fmod(struct builder *b, value_id x, value_id y);
/* The transposed convolution of x[N, C, …] by w[C, O/groups, window…] over n dims. low and high of
 * the windows are amounts to crop at both ends (negative high: zeros to add); base_dilation is
 * ignored. ERR_SHAPE. */
value_id op_conv_transpose(struct builder *b, value_id x, value_id w, const struct window *windows,
                           uint32_t n, int64_t groups);

#endif
