/* Shared by the shape rules. A rule is a function shape_<rule> of a query: it checks operands and
 * attributes and fills the result; each row of prims.def names one. On failure all functions return
 * false and fill the query's error. */
#ifndef URZA_GRAPH_SHAPE_PRIV_H
#define URZA_GRAPH_SHAPE_PRIV_H

#include "graph/graph_priv.h"

#define PRIM(id, name, n, rule, attrs, ulp, doc) bool shape_##rule(struct shape_query *q);
#include "graph/prims.def"
#undef PRIM

/* Sets of dtypes. */
enum {
    KIND_FLOAT = 1 << DTYPE_KIND_FLOAT,
    KIND_INT = 1 << DTYPE_KIND_INT | 1 << DTYPE_KIND_UINT,
    KIND_BOOL = 1 << DTYPE_KIND_BOOL,
    KIND_NUM = KIND_FLOAT | KIND_INT,
    KIND_BITS = KIND_INT | KIND_BOOL,
};

static inline const struct node *shape_operand(const struct shape_query *q, uint32_t index)
{
    return graph_node(q->graph, q->operands[index]);
}

/* Fails with ERR_SHAPE; the message begins with the prim's name. */
bool shape_bad(struct shape_query *q, const char *fmt, ...) URZA_PRINTF(2, 3);
const char *shape_dim_text(struct shape_query *q, dim_id dim);

bool shape_expect_kind(struct shape_query *q, uint32_t operand, int kinds);
bool shape_expect_dtype(struct shape_query *q, uint32_t operand, enum dtype dtype);
bool shape_expect_rank(struct shape_query *q, uint32_t operand, uint32_t rank);
bool shape_expect_dim(struct shape_query *q, uint32_t operand, uint32_t index, dim_id expected);
bool shape_expect_shape(struct shape_query *q, uint32_t operand, const struct node *like);
/* Requires attrs->axis to be in 0 … rank-1. */
bool shape_expect_axis(struct shape_query *q, uint32_t rank);
/* Requires attrs->axes to be strictly ascending and below rank. */
bool shape_expect_axes(struct shape_query *q, uint32_t rank);

/* Appends a dim to the result's shape; ERR_LIMIT for DIM_NONE and if the rank gets too high. */
bool shape_push(struct shape_query *q, dim_id dim);
bool shape_push_range(struct shape_query *q, const struct node *node, uint32_t first, uint32_t end);
/* The result has the dtype and shape of an operand. */
bool shape_like(struct shape_query *q, const struct node *node);

/* Whether dim ≥ bound for all values of the named dims, as far as can be proved; false for
 * DIM_NONE. */
bool shape_at_least(struct shape_query *q, dim_id dim, int64_t bound);

#endif
