/* One node as the interpreter sets it up: what interp_run and interp_points share. */
#ifndef URZA_GRAPH_INTERP_OP_PRIV_H
#define URZA_GRAPH_INTERP_OP_PRIV_H

#include "graph/interp_priv.h"

/* ERR_INPUT unless each named dim has a legal value. */
bool interp_check_dims(const struct graph *graph, const int64_t *dim_values, struct error *err);
/* Dtype, shape and count of a value, without memory. ERR_LIMIT when it is too large. */
bool interp_shape(const struct graph *graph, const int64_t *dim_values, value_id id,
                  struct interp_tensor *out, struct error *err);
bool interp_is_exact(const struct interp_tensor *tensor); /* no bounds, or all are zero */

/* The dims that prims take beside shapes. */
bool op_eval_dims(struct op *op, const struct graph *graph, const int64_t *dim_values,
                  struct error *err);
/* For op.constant_error of a node. */
double constant_error(const struct interp_options *options, const struct node *node);
/* Whether errors can arise in the result, or come from operands. */
bool op_needs_bounds(const struct op *op);
/* Fills op->rounding, with the operands' cells and bounds there; wide: as in interp_options. */
void op_round(struct op *op, bool wide);
/* Runs it, by the rule of its prim. */
void op_evaluate(const struct op *op);

/* What element i of op->out is of the whole result. */
static inline int64_t op_point(const struct op *op, int64_t i)
{
    return op->points ? op->points[i] : i;
}

/* A box of elements: where it starts and how it strides. */
struct box {
    int64_t base, stride[LIMIT_RANK];
};
/* What transpose, broadcast, slice and reverse read, by the dims of the result. */
struct box op_view(const struct op *op);

/* Where take and gather read. */
static inline int64_t clamp_index(int64_t index, int64_t size)
{
    return index < 0 ? 0 : index >= size ? size - 1 : index;
}

/* Elements of a shape; false when a dim is negative or the tensor passes LIMIT_TENSOR_BYTES. */
bool interp_count(enum dtype dtype, const int64_t *shape, uint32_t rank, int64_t *out_count);

/* Native memory to cells; and those elements that have these flat indices. */
void interp_load_cells(enum dtype dtype, int64_t count, const void *data, union cell *out);
void interp_load_points(enum dtype dtype, int64_t count, const void *data, const int64_t *points,
                        union cell *out);

/* The prims, by the rules of prims.def. All results fit; those that can fail are checked by the
 * driver before. */
void run_unary_num(const struct op *op);
void run_binary_num(const struct op *op);
void run_compare(const struct op *op);
void run_is_nan(const struct op *op);
void run_select(const struct op *op);
void run_cast(const struct op *op);
void run_bitcast(const struct op *op);
void run_reduce(const struct op *op);
void run_scan(const struct op *op);
void run_arg_reduce(const struct op *op);
void run_arg_sort(const struct op *op);
void run_contract(const struct op *op);
void run_conv(const struct op *op);
void run_window(const struct op *op);
void run_reshape(const struct op *op);
void run_strided_view(const struct op *op); /* transpose, broadcast, slice, reverse */
void run_pad(const struct op *op);
void run_concat(const struct op *op);
void run_take(const struct op *op);
void run_gather(const struct op *op);
void run_scatter(const struct op *op);

#endif
