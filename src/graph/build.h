/* Short functions for building graphs. Every function returns VALUE_NONE after a failure and passes
 * VALUE_NONE (and DIM_NONE among dims) through, so expansions read as formulas and check once at
 * the end. Binary functions broadcast as NumPy does (trailing dims align, 1 stretches) by adding
 * reshape and broadcast nodes; dtypes must agree. */
#ifndef URZA_GRAPH_BUILD_H
#define URZA_GRAPH_BUILD_H

#include "base/compiler.h"
#include "graph/graph.h"

struct builder {
    struct graph *graph;
    struct error *err; /* filled by the first failure; must be zero before it */
};

const struct node *b_node(const struct builder *b, value_id x);
/* Fills err and returns VALUE_NONE. */
value_id b_fail(struct builder *b, int error_code, const char *fmt, ...) URZA_PRINTF(3, 4);

value_id b_const(struct builder *b, enum dtype dtype, double value); /* 0-d; integer dtypes:
                                                                        (int64_t)value */
value_id b_const_like(struct builder *b, value_id x, double value);  /* 0-d of x's dtype */
value_id b_literal(struct builder *b, enum dtype dtype, const int64_t *shape, uint32_t rank,
                   const void *data);
value_id b_unary(struct builder *b, enum prim prim, value_id x);
value_id b_binary(struct builder *b, enum prim prim, value_id x, value_id y); /* broadcasts */
value_id b_select(struct builder *b, value_id c, value_id x, value_id y);     /* broadcasts */
value_id b_cast(struct builder *b, value_id x, enum dtype dtype); /* x itself when it has dtype */
value_id b_bitcast(struct builder *b, value_id x, enum dtype dtype); /* as b_cast */

value_id b_add(struct builder *b, value_id x, value_id y);
value_id b_sub(struct builder *b, value_id x, value_id y);
value_id b_mul(struct builder *b, value_id x, value_id y);
value_id b_div(struct builder *b, value_id x, value_id y);
value_id b_scale(struct builder *b, value_id x, double factor); /* x * factor */
value_id b_shift(struct builder *b, value_id x, double offset); /* x + offset */
value_id b_neg(struct builder *b, value_id x);
value_id b_exp(struct builder *b, value_id x);
value_id b_max_const(struct builder *b, value_id x, double bound); /* max(x, bound) */
value_id b_min_const(struct builder *b, value_id x, double bound);

/* axis may be negative (from the end). b_axis gives the axis in 0 … rank-1, or -1 after failing
 * (ERR_SHAPE). */
int b_axis(struct builder *b, value_id x, int64_t axis);
value_id b_reduce(struct builder *b, enum prim prim, value_id x, const int64_t *axes,
                  uint32_t count, bool keep_dims);
value_id b_mean(struct builder *b, value_id x, const int64_t *axes, uint32_t count, bool keep_dims);
/* x minus its mean over axes; *out_mean keeps these dims, with size 1. The mean is computed from
 * differences to the first element, so equal elements give exactly 0, however large they are. If
 * the first element is not finite, or so large that differences might overflow (2^100, or 2^1000 in
 * f64), 0 is used in its place. */
value_id b_centred(struct builder *b, value_id x, const int64_t *axes, uint32_t count,
                   value_id *out_mean);
value_id b_reshape(struct builder *b, value_id x, const dim_id *shape, uint32_t rank);
value_id b_reshape_infer(struct builder *b, value_id x, const dim_id *shape, uint32_t rank,
                         uint32_t infer); /* shape[infer] is computed; the division must be exact */
value_id b_squeeze(struct builder *b, value_id x, int64_t axis);
value_id b_unsqueeze(struct builder *b, value_id x, int64_t axis);
/* Merges the dims first … last. */
value_id b_flatten(struct builder *b, value_id x, int64_t first, int64_t last);
value_id b_transpose(struct builder *b, value_id x, const uint8_t *axes);
value_id b_swap(struct builder *b, value_id x, int64_t axis_a, int64_t axis_b);
/* Broadcasts by NumPy's rule. */
value_id b_broadcast_to(struct builder *b, value_id x, const dim_id *shape, uint32_t rank);
/* One axis: elements start, start+step, … (count of them). */
value_id b_slice(struct builder *b, value_id x, int64_t axis, dim_id start, dim_id count,
                 int64_t step);
value_id b_pad(struct builder *b, value_id x, const dim_id *low, const dim_id *high, double value);
value_id b_concat(struct builder *b, const value_id *parts, uint32_t count, int64_t axis);
value_id b_reverse(struct builder *b, value_id x, int64_t axis);
value_id b_take(struct builder *b, value_id data, value_id index, int64_t axis);
value_id b_gather(struct builder *b, value_id data, value_id index, int64_t axis);
value_id b_iota(struct builder *b, enum dtype dtype, const dim_id *shape, uint32_t rank,
                int64_t axis);
value_id b_size(struct builder *b, dim_id dim); /* i64 0-d: its value */
/* a[batch…, m…, k…] · b[batch…, n…, k…] */
value_id b_contract(struct builder *b, value_id x, value_id y, uint32_t batch, uint32_t contract);
value_id b_conv(struct builder *b, value_id x, value_id w, const struct window *windows,
                uint32_t count, int64_t groups);
value_id b_window(struct builder *b, enum prim prim, value_id x, const struct window *windows,
                  uint32_t count);
/* Dims of a value, and dim arithmetic: DIM_NONE on overflow, with ERR_LIMIT. */
dim_id b_dim(struct builder *b, value_id x, int64_t axis);
dim_id b_dim_const(struct builder *b, int64_t value);
dim_id b_dim_add(struct builder *b, dim_id x, dim_id y);
dim_id b_dim_sub(struct builder *b, dim_id x, dim_id y);
dim_id b_dim_mul(struct builder *b, dim_id x, dim_id y);

#endif
