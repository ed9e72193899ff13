/* The graph: one interned, typed, acyclic program over the prims of prims.def.
 *
 * A value is a u32 id; operands have smaller ids than their users, so ids are a topological order.
 * Nodes are immutable (except for their origins, which may grow) and interned: the same prim with
 * the same operands, attributes and shape is the same value (inputs and params are distinct by
 * name). Everything lives in the graph's arena.
 * One thread at a time builds; any number may read. Composite ops do not appear here: compiler/ops
 * expands them while the graph is built. */
#ifndef URZA_GRAPH_GRAPH_H
#define URZA_GRAPH_GRAPH_H

#include "base/limits.h"
#include "graph/dim.h"
#include "graph/dtype.h"
#include "graph/origin.h"

struct error;
struct strbuf;

typedef uint32_t value_id;
#define VALUE_NONE 0u

enum prim {
    PRIM_NONE,
#define PRIM(id, name, n, rule, attrs, ulp, doc) PRIM_##id,
#include "graph/prims.def"
#undef PRIM
    PRIM_COUNT
};

enum attr_bit {
    ATTR_SHAPE = 1 << 0,
    ATTR_DTYPE = 1 << 1,
    ATTR_NAME = 1 << 2,
    ATTR_VALUE = 1 << 3,
    ATTR_DATA = 1 << 4,
    ATTR_AXIS = 1 << 5,
    ATTR_AXES = 1 << 6,
    ATTR_EXCLUSIVE = 1 << 7,
    ATTR_REVERSE = 1 << 8,
    ATTR_BATCH = 1 << 9,
    ATTR_CONTRACT = 1 << 10,
    ATTR_WINDOW = 1 << 11,
    ATTR_GROUPS = 1 << 12,
    ATTR_START = 1 << 13,
    ATTR_STEP = 1 << 14,
    ATTR_LOW = 1 << 15,
    ATTR_HIGH = 1 << 16,
    ATTR_MODE = 1 << 17,
    ATTR_DIM = 1 << 18, /* attrs.shape, where it is not the shape of the result */
    ATTR_LOOP = 1 << 19,
    ATTR_INDEX = 1 << 20,
    ATTR_STATES = 1 << 21,
    ATTR_WHILE = 1 << 22, /* optional */
};

enum scatter_mode { SCATTER_SET = 1, SCATTER_ADD, SCATTER_MAX, SCATTER_MIN };

/* One spatial dim of a convolution or window. All ≥ 0; size, stride and dilations ≥ 1.
 * Output size: floor((base_dilation*(x-1)+1 + low + high - (dilation*(size-1)+1)) / stride) + 1 (x
 * ≥ 1). */
struct window {
    int64_t size, stride, low, high, dilation, base_dilation;
};

/* The attributes of any prim; prims.def says which of them a prim has, and all others are zero. */
struct attrs {
    uint8_t rank; /* of shape, start, step, low, high */
    dim_id shape[LIMIT_RANK];
    uint8_t dtype;
    const char *name; /* input, param; interned per graph */
    double value;     /* const of a float dtype */
    int64_t integer;  /* const of an integer dtype or bool */
    const void *data; /* literal: elements in row-major order, native layout */
    uint32_t data_bytes;
    int32_t axis; /* 0 … rank-1 */
    uint8_t axis_count;
    uint8_t axes[LIMIT_RANK];
    bool exclusive, reverse;
    uint8_t batch, contract; /* numbers of dims */
    uint8_t window_count;    /* spatial dims */
    struct window window[LIMIT_RANK];
    int64_t groups;
    dim_id start[LIMIT_RANK];
    int64_t step[LIMIT_RANK];
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    uint8_t mode;                 /* enum scatter_mode */
    uint32_t loop, index, states; /* iter, state, loop: see graph/loops.h */
    uint32_t condition;           /* loop: 1 + the index of a state; 0: none */
};

struct node {
    uint8_t prim, dtype, rank;
    bool constant; /* depends on no input or param */
    uint16_t operand_count;
    const dim_id *shape; /* rank dims */
    const value_id *operands;
    const struct attrs *attrs; /* never NULL */
    origin_id origin;
};

struct graph_output {
    const char *name;
    value_id value;
};

/* An element of an input that tells a dim (element.h). */
struct graph_element {
    uint32_t input;   /* by place among the graph's inputs */
    uint32_t element; /* of it, in row-major order */
    uint8_t rule;     /* enum element_rule */
    dim_id of;        /* what the rule says; else 0 */
    dim_id dim;
};

/* An output that takes the place of an input of the same type, which a step may write over it:
 * weights after a training step, a cache with what was added. Both by place. Values do not depend
 * on it: all reading of the input is of what it was before. */
struct graph_update {
    uint32_t input, output;
};

struct graph {
    struct arena *arena;
    struct dim_table dims;
    VEC(struct node) nodes; /* by id; [0] is unused */
    struct map interned;
    VEC(value_id) inputs; /* in declaration order, the order of call arguments */
    VEC(value_id) params;
    VEC(struct graph_output) outputs;
    uint32_t loops; /* the highest number of a loop */
    VEC(struct graph_element) elements;
    VEC(struct graph_update) updates; /* no input and no output twice */
    const char *name;                 /* of the graph; "" if none */
    struct origins origins;
    origin_id origin; /* of what is added now */
};

/* The row of a prim in prims.def. */
struct prim_info {
    const char *name, *doc;
    int operands; /* -1: any number, but at least 1 */
    uint32_t attrs;
    double ulp;
};
const struct prim_info *prim_info(enum prim prim);
/* Whether an element of the result depends only on the operands' elements at the same index. The
 * enum lists these prims together, from NEG to CAST; reductions, too, are together, from REDUCE_SUM
 * on. */
static inline bool prim_is_elementwise(enum prim prim)
{
    return prim >= PRIM_NEG && prim <= PRIM_CAST;
}
/* The error bound of compiled code in dtype, in ulp: the ulp column of prims.def; larger in f64 for
 * some prims, where that precision would be expensive. */
double prim_ulp(enum prim prim, enum dtype dtype);
/* Whether a float result may be rounded. The other prims return one of their operands' numbers, or
 * a whole number. */
bool prim_rounds(enum prim prim);
/* Whether a value is a constant behind a detach, perhaps broadcast. Of min and max it is an operand
 * like others, which shares the gradient where both are equal; other constants leave nothing. */
bool graph_is_detached_constant(const struct graph *graph, value_id id);
enum prim prim_from_name(const char *name);

void graph_init(struct graph *graph, struct arena *arena);

/* All nodes are added by this function: it checks operands and attributes, infers dtype and shape,
 * and interns the node. attrs may be NULL when the prim has none. Operands that are VALUE_NONE give
 * VALUE_NONE and leave err as it is, so a chain of calls needs one check at its end. Fails with
 * ERR_SHAPE (names the prim, the operand and what was expected) or ERR_LIMIT. Copies names, data
 * and attributes. */
value_id graph_add(struct graph *graph, enum prim prim, const value_id *operands,
                   uint32_t operand_count, const struct attrs *attrs, struct error *err);
/* Names are unique among inputs and params together (and among outputs): ERR_BLUEPRINT otherwise.
 */
value_id graph_input(struct graph *graph, const char *name, enum dtype dtype, const dim_id *shape,
                     uint32_t rank, struct error *err);
value_id graph_param(struct graph *graph, const char *name, enum dtype dtype, const dim_id *shape,
                     uint32_t rank, struct error *err);
bool graph_output(struct graph *graph, const char *name, value_id value, struct error *err);
/* ERR_BLUEPRINT: the types differ, or one of the two is in another update. */
bool graph_update(struct graph *graph, const struct graph_update *update, struct error *err);
#define UPDATE_NONE UINT32_MAX
uint32_t graph_updates_input(const struct graph *graph, uint32_t output); /* or UPDATE_NONE */

static inline const struct node *graph_node(const struct graph *graph, value_id value)
{
    return &graph->nodes.items[value];
}
dim_id graph_elements(struct graph *graph, value_id value); /* product of the shape */

/* Checks every invariant: operands have smaller ids and are in range, attributes are legal, shapes
 * and dtypes equal what the rules infer, outputs are in range. ERR_BUG with the value as place. */
bool graph_verify(struct graph *graph, struct error *err);

/* Text form, one line per node; printing what was parsed from a printed text gives the same text:
 *   graph "mlp"
 *   dim B 1..65536 multiple 1 typical 32
 *   %1 = input "x" : f32[B, 784]
 *   %3 = contract %1, %2 {batch 0, contract 1} : f32[B, 256]
 *   element "k" 0 size 0 tells K
 *   output "y" %7
 *   update "w" by "w_new"
 * Parsing is bounded and strict: ERR_PARSE with "line L, column C" as place; the type after ':'
 * must be the one that the rules infer. graph_parse initialises *graph in arena. Values that no
 * output needs are printed too. */
void graph_print(const struct graph *graph, struct strbuf *out);
bool graph_parse(struct graph *graph, struct arena *arena, const char *text, size_t size,
                 struct error *err);
/* The graph as Graphviz DOT. */
void graph_print_dot(const struct graph *graph, struct strbuf *out);

/* Rebuilds *from in *to, a new graph: inputs, params and all nodes that outputs need are added
 * again in order. rule, if not NULL, is called with each node right after it was added and returns
 * the value to use in its place: the copy itself, or a value that it adds to *to (VALUE_NONE on
 * failure). Unused copies stay in *to until the next rebuild. Origins are inherited (origin.h). */
typedef value_id graph_rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                            void *context, struct error *err);
bool graph_rewrite(struct graph *to, struct arena *arena, const struct graph *from,
                   graph_rule *rule, void *context, struct error *err);

/* Copies inputs, params and the nodes that outputs need to *to, a new graph: dead nodes are
 * dropped, ids are renumbered in order. */
bool graph_copy_live(struct graph *to, struct arena *arena, const struct graph *from,
                     struct error *err);

/* The graph at values of some of its named dims (by index; DIM_ANY: none given), to be read only:
 * the same values by the same ids, whose dims have no given name. All names are declared, in the
 * same order. Elements that tell dims, and origins, are left out. Inputs, params, outputs and
 * operands are borrowed from *from. ERR_LIMIT. */
bool graph_fix_dims(struct graph *to, struct arena *arena, const struct graph *from,
                    const int64_t *values, struct error *err);

/* The part of a graph between some values: from the leaves to the roots. */
struct graph_part {
    const value_id *roots; /* the values that the part computes, */
    uint32_t root_count;
    const value_id *leaves; /* the values that it computes them from, none twice */
    uint32_t leaf_count;
};
/* Makes a part a graph of its own. Leaves become its inputs, named "a0", "a1" … by their place in
 * the list and declared in the order of their ids; roots become its outputs "y0", "y1" …; it has
 * all named dims, in the same order. Leaves that no root needs are inputs too. ERR_VERIFY when an
 * input or param is needed that is no leaf, or a root is a leaf. The cost is that of the part, not
 * of the graph. */
bool graph_extract(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct graph_part *part, struct error *err);

#endif
