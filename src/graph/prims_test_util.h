/* Random programs of all prims but those of loops, for the interpreter's tests: a graph as a
 * function of a key, and tensors for its sources. Now and then a dim is named or empty. */
#ifndef URZA_GRAPH_PRIMS_TEST_UTIL_H
#define URZA_GRAPH_PRIMS_TEST_UTIL_H

#include "graph/interp_test_util.h"

#define VALUES_MOST 40
#define SOURCES_MOST 64
#define ELEMENTS_MOST 3000

struct program {
    struct bed *bed;
    struct graph graph; /* initialised */
    uint64_t key, next;
    bool special;              /* infinities, NaN and zeros are among the sources' elements */
    enum dtype floats;         /* all floats are of this dtype; DTYPE_NONE: of any */
    bool excluded[PRIM_COUNT]; /* prims that grow leaves out */
    value_id values[VALUES_MOST];
    uint32_t count;
    int64_t dims[LIMIT_NAMED_DIMS];
    dim_id n; /* the named dim */
};

/* A number in [least, most]. */
int64_t program_roll(struct program *p, int64_t least, int64_t most);
const struct node *program_node(struct program *p, value_id id);
int64_t program_size(struct program *p, dim_id dim);
int64_t program_elements(struct program *p, value_id id);
/* A new input or param. */
value_id program_roll_source(struct program *p, enum dtype dtype);
/* A node of this prim; x is its operand, or one of them, where it has any. VALUE_NONE where no
 * attributes fit. */
value_id program_make(struct program *p, enum prim prim, value_id x);
/* Begins with a source of floats and one of integers, and adds values until there are so many. */
void program_grow(struct program *p, uint32_t values);
/* Random elements for a source. */
struct interp_tensor program_tensor(struct program *p, value_id id);

#endif
