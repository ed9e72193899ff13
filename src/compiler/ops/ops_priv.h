/* Shared by the expansions: checked attributes, and small formulas that several families use.
 *
 * Like the functions of build.h, those that return a value pass VALUE_NONE through and fail by
 * filling b->err. Float arithmetic of several steps is done in "wide" dtypes: f16 and bf16 are cast
 * to f32 first and the result is cast back once. */
#ifndef URZA_COMPILER_OPS_OPS_PRIV_H
#define URZA_COMPILER_OPS_OPS_PRIV_H

#include "base/error.h"
#include "compiler/ops/ops.h"

#define OP(name, operands, attrs, examples, doc) bool expand_##name(struct op_call *call);
#include "compiler/ops/ops.def"
#undef OP

/* Parses a row's schema, one operand or attribute at a time; *schema moves past it; false at the
 * end. */
struct op_operand_schema {
    const char *name;
    int name_size;
    bool optional, repeats;
};
struct op_attr_schema {
    const char *name, *types, *initial; /* initial: the default's text, or "?"; NULL: required */
    int name_size, types_size, initial_size;
};
bool ops_next_operand(const char **schema, struct op_operand_schema *out);
bool ops_next_attr(const char **schema, struct op_attr_schema *out);

/* Fails with ERR_BLUEPRINT, with the attribute as place; returns false. */
bool ops_attr_fail(struct op_call *call, const char *name, const char *fmt, ...) URZA_PRINTF(3, 4);
/* Read an attribute and check its range, ends included. */
bool ops_int_in(struct op_call *call, const char *name, int64_t min, int64_t max, int64_t *out);
bool ops_ints_in(struct op_call *call, const char *name, uint32_t count, int64_t min, int64_t max,
                 int64_t *out);
/* The attribute's list, or its scalar as a list of one; at most LIMIT_RANK items. */
bool ops_list(struct op_call *call, const char *name, int64_t out[LIMIT_RANK], uint32_t *out_count);
/* The axes of x that the attribute names, 0 … rank-1, each once; all axes when it is absent or
 * empty.
 */
bool ops_axes(struct op_call *call, const char *name, value_id x, int64_t out[LIMIT_RANK],
              uint32_t *out_count);
/* The axis of x that the attribute names, or -1 after failing. */
int ops_axis(struct op_call *call, const char *name, value_id x);

uint32_t ops_rank(const struct builder *b, value_id x);    /* 0 for VALUE_NONE */
enum dtype ops_dtype(const struct builder *b, value_id x); /* DTYPE_NONE for VALUE_NONE */
/* False with ERR_SHAPE unless min ≤ rank ≤ max. */
bool ops_check_rank(struct op_call *call, value_id x, uint32_t min, uint32_t max);
/* False for a symbolic dim; that is no error. */
bool ops_const_dim(const struct builder *b, value_id x, int64_t axis, int64_t *out);

value_id ops_wide(struct builder *b, value_id x); /* f16, bf16 → f32; others as they are */
/* A new tensor with every element equal to value. */
value_id ops_full(struct builder *b, enum dtype dtype, double value, const dim_id *shape,
                  uint32_t rank);
value_id ops_dim_value(struct builder *b, dim_id dim); /* the dim's value, i64 0-d */
/* Reshapes x [n] so that it is dim `axis` of a tensor of that rank: [n, 1, …, 1]. */
value_id ops_along(struct builder *b, value_id x, uint32_t rank, int axis);
value_id ops_head(struct builder *b, value_id x, int64_t axis, dim_id start, dim_id count); /* slice
                                                                                               of
                                                                                               step
                                                                                               1 */
/* Repeats x along axis: as a whole (1 2 1 2), or each element when inside (1 1 2 2). */
value_id ops_repeat(struct builder *b, value_id x, int64_t axis, int64_t times, bool inside);
value_id ops_argsort(struct builder *b, value_id x, int axis, bool descending);

value_id ops_sigmoid(struct builder *b, value_id x);           /* 1 / (1 + e^-x) */
value_id ops_gated(struct builder *b, value_id x, value_id v); /* x sigmoid(v) */
value_id ops_softmax(struct builder *b, value_id x, int64_t axis);
value_id ops_log_softmax(struct builder *b, value_id x, int64_t axis);
value_id ops_softplus(struct builder *b, value_id x); /* max(x, 0) + log1p(e^-|x|) */
/* x·wᵀ + bias over the last dim. bias is used only if has_bias; a VALUE_NONE is passed through as a
 * failure. */
value_id ops_linear(struct builder *b, value_id x, value_id w, value_id bias, bool has_bias);
/* Keeps each element with probability 1 - p and divides it by 1 - p; the identity in inference. */
value_id ops_dropout(struct op_call *call, value_id x, double p, value_id seed);
/* Reduces the loss as the attribute "reduction" says. */
value_id ops_reduce_loss(struct op_call *call, value_id loss);

#endif
