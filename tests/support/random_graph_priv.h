/* The generator's state. Makers take what is there, add one operation and tell what came of it;
 * where shapes or dtypes do not fit they make nothing, and the driver tries another. */
#ifndef URZA_TESTS_SUPPORT_RANDOM_GRAPH_PRIV_H
#define URZA_TESTS_SUPPORT_RANDOM_GRAPH_PRIV_H

#include "base/error.h"
#include "graph/build.h"
#include "random_graph.h"

#define GEN_ITEMS 96
#define GEN_ELEMENTS 2048 /* of one tensor */

struct item {
    value_id value; /* VALUE_NONE: nothing was made */
    double size;    /* roughly the largest |x| of a float */
    bool used;
};

struct gen {
    struct builder b;
    struct error err;
    uint64_t key, counter;
    struct item items[GEN_ITEMS];
    uint32_t item_count, source_count;
    int64_t (*sizes)[LIMIT_NAMED_DIMS];
};

uint32_t gen_roll(struct gen *gen, uint32_t sides); /* 0 … sides-1 */
enum { GEN_FLOAT = 1, GEN_INT = 2, GEN_BOOL = 4, GEN_NUM = 3, GEN_BITS = 6, GEN_ANY = 7 };
/* Any item of these kinds and at least this rank, newer ones more often; NULL: none was found. */
struct item *gen_pick(struct gen *gen, int kinds, uint32_t min_rank);
/* A new input, or a param where dims are constant. */
struct item gen_source(struct gen *gen, enum dtype dtype, const dim_id *shape, uint32_t rank);
/* Another item like this one in dtype and shape; a new source if there is none. */
struct item gen_match(struct gen *gen, const struct item *like);
/* x, squashed when it is larger than size. */
struct item gen_tame(struct gen *gen, const struct item *x, double size);
dim_id gen_dim(struct gen *gen);
enum dtype gen_dtype(struct gen *gen);

static inline const struct node *gen_node(const struct gen *gen, const struct item *item)
{
    return graph_node(gen->b.graph, item->value);
}

typedef struct item gen_maker(struct gen *gen);

/* random_elementwise.c */
gen_maker gen_unary, gen_binary, gen_logic, gen_compare, gen_select, gen_cast;
/* random_reduce.c */
gen_maker gen_reduce, gen_arg, gen_scan, gen_contract, gen_conv, gen_window;
/* random_move.c */
gen_maker gen_reshape, gen_transpose, gen_broadcast, gen_slice, gen_pad, gen_concat, gen_reverse,
    gen_take, gen_gather, gen_scatter, gen_generate;
/* random_composite.c */
gen_maker gen_composite, gen_linear;

#endif
