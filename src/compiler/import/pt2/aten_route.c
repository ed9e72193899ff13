/* Mixture of experts: counting the tokens of each expert, and multiplying each group of rows by its
 * own matrix. */
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define MAX_BINS 65536

/* The number of elements in each of `bins` intervals of min … max; the last one includes max. */
bool aten_histc(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    int64_t bins = aten_int(c, "bins", 100), first = 0;
    double min = aten_float(c, "min", 0), max = aten_float(c, "max", 0);
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    if (!(min < max) || bins < 1 || bins > MAX_BINS)
        return aten_refuse(c, "a range that depends on data, or more than %d bins", MAX_BINS);
    enum dtype own = aten_type(c, x), dtype = own == DTYPE_F64 ? own : DTYPE_F32;
    x = b_cast(
        b, aten_rank(c, x) == 1 ? x : b_reshape(b, x, (dim_id[]){graph_elements(b->graph, x)}, 1),
        dtype);
    dim_id size = b_dim_const(b, bins);
    value_id at = b_scale(b, b_shift(b, x, -min), (double)bins / (max - min));
    at = b_min_const(b, b_unary(b, PRIM_FLOOR, at), (double)(bins - 1));
    value_id low = b_binary(b, PRIM_LE, b_const(b, dtype, min), x);
    value_id high = b_binary(b, PRIM_LE, x, b_const(b, dtype, max));
    value_id inside = b_binary(b, PRIM_AND, low, high);
    at = b_select(b, inside, at, b_const(b, dtype, -1));
    value_id bin = b_cast(b, b_iota(b, DTYPE_I64, &size, 1, 0), dtype);
    value_id hit = b_binary(b, PRIM_EQ, b_unsqueeze(b, at, -1), bin);
    value_id count = b_reduce(b, PRIM_REDUCE_SUM, b_cast(b, hit, DTYPE_I64), &first, 1, false);
    return aten_return(c, b_cast(b, count, own));
}

/* Row t of x belongs to the group with start ≤ t < end. The sizes of groups are known only at the
 * call, so each row is multiplied by all matrices in one product over groups and columns: its
 * operand has x in the columns of the row's own group and zeros in the others. Rows of no group
 * give zeros. */
bool aten_grouped_mm(struct aten_call *c)
{
    struct builder *b = c->b;
    bool own = aten_has(c, "self");
    value_id x = aten_in(c, own ? "self" : "input"), w = aten_in(c, own ? "mat2" : "weight");
    value_id ends = aten_in(c, "offs");
    if (x == VALUE_NONE || w == VALUE_NONE || aten_failed(c))
        return false;
    if (ends == VALUE_NONE || aten_rank(c, x) != 2 || aten_rank(c, w) != 3)
        return aten_refuse(c, "groups other than of rows");
    enum dtype dtype = aten_dtype(c, "out_dtype", aten_type(c, x));
    dim_id groups = b_dim(b, w, 0), rows[] = {b_dim(b, x, 0), groups};
    ends = b_cast(b, ends, DTYPE_I64);
    value_id row = b_iota(b, DTYPE_I64, rows, 2, 0), zero = b_const(b, DTYPE_I64, 0);
    value_id before =
        b_slice(b, ends, 0, b_dim_const(b, 0), b_dim_sub(b, groups, b_dim_const(b, 1)), 1);
    value_id start = b_concat(b, (value_id[]){b_unsqueeze(b, zero, 0), before}, 2, 0);
    value_id here =
        b_binary(b, PRIM_AND, b_binary(b, PRIM_LE, start, row), b_binary(b, PRIM_LT, row, ends));
    value_id wide =
        b_select(b, b_unsqueeze(b, here, -1), b_unsqueeze(b, x, 1), b_const(b, aten_type(c, x), 0));
    value_id y = b_contract(b, wide, b_transpose(b, w, (uint8_t[]){2, 0, 1}), 0, 2);
    return aten_return(c, b_cast(b, y, dtype));
}
