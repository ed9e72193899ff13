/* Sets up one node for evaluation: shared by interp_run and interp_points. */
#ifndef URZA_GRAPH_INTERP_OP_PRIV_H
#define URZA_GRAPH_INTERP_OP_PRIV_H

#include "graph/interp_priv.h"

/* ERR_INPUT unless each named dim has a legal value. */
bool interp_check_dims(const struct graph *graph, const int64_t *dim_values, struct error *err);
/* Fills dtype, shape and count of a value, but no memory. ERR_LIMIT when it is too large. */
bool interp_shape(const struct graph *graph, const int64_t *dim_values, value_id id,
                  struct interp_tensor *out, struct error *err);
bool interp_is_exact(const struct interp_tensor *tensor); /* no bounds, or all are zero */

/* Evaluates the attributes that are dims, except for shapes. */
bool op_eval_dims(struct op *op, const struct graph *graph, const int64_t *dim_values,
                  struct error *err);
/* The value of op.constant_error for a node. */
double constant_error(const struct interp_options *options, const struct node *node);
/* Whether the result may have errors, of its own or from operands. */
bool op_needs_bounds(const struct op *op);
/* Fills op->rounding; the operands' cells and bounds must be there. wide: as in interp_options. */
void op_round(struct op *op, bool wide);
/* Runs the node by the rule of its prim. */
void op_evaluate(const struct op *op);

/* The flat index in the whole result of element i of op->out. */
static inline int64_t op_point(const struct op *op, int64_t i)
{
    return op->points ? op->points[i] : i;
}

/* A strided box of elements: where it starts, and its strides. */
struct box {
    int64_t base, stride[LIMIT_RANK];
};
/* The box that transpose, broadcast, slice and reverse read, with a stride for each dim of the
 * result. */
struct box op_view(const struct op *op);

/* The index at which take and gather read. */
static inline int64_t clamp_index(int64_t index, int64_t size)
{
    return index < 0 ? 0 : index >= size ? size - 1 : index;
}

/* Elements of a shape; false when a dim is negative or the tensor passes LIMIT_TENSOR_BYTES. */
bool interp_count(enum dtype dtype, const int64_t *shape, uint32_t rank, int64_t *out_count);

/* Converts native memory to cells: all elements, or those at the given flat indices. */
void interp_load_points(enum dtype dtype, int64_t count, const void *data, const int64_t *points,
                        union cell *out);

/* The prims, by the rules of prims.def. The driver has checked beforehand whatever can fail. */
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
