/* Matrix products. `contract` pairs leading batch dims and trailing summed dims, so each op here
 * only brings its operands into that order. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

bool expand_linear(struct op_call *call)
{
    value_id x = call->in[0], w = call->in[1], bias = call->in[2];
    if (!ops_check_rank(call, x, 1, LIMIT_RANK) || !ops_check_rank(call, w, 2, 2)) {
        return false;
    }
    return op_return(call, ops_linear(call->b, x, w, bias, bias != VALUE_NONE));
}

/* Broadcasts the leading dims of x and y to their common shape; both keep their last two dims. */
static bool broadcast_batch(struct builder *b, value_id *x, value_id *y, uint32_t *out_batch)
{
    value_id values[2] = {*x, *y};
    uint32_t ranks[2] = {ops_rank(b, *x), ops_rank(b, *y)};
    uint32_t rank = ranks[0] > ranks[1] ? ranks[0] : ranks[1];
    dim_id one = b_dim_const(b, 1), batch[LIMIT_RANK];
    for (uint32_t i = 0; i + 2 < rank; i++) {
        batch[i] = one;
        for (int side = 0; side < 2; side++) {
            if (i + ranks[side] >= rank) {
                dim_id dim = b_dim(b, values[side], (int64_t)(i + ranks[side] - rank));
                batch[i] = batch[i] == one ? dim : batch[i];
            }
        }
    }
    for (int side = 0; side < 2; side++) {
        dim_id shape[LIMIT_RANK];
        memcpy(shape, batch, sizeof shape);
        shape[rank - 2] = b_dim(b, values[side], -2);
        shape[rank - 1] = b_dim(b, values[side], -1);
        values[side] = b_broadcast_to(b, values[side], shape, rank);
    }
    *x = values[0];
    *y = values[1];
    *out_batch = rank - 2;
    return *x != VALUE_NONE && *y != VALUE_NONE;
}

/* torch.matmul: a vector is a row on the left and a column on the right; leading dims broadcast. */
static value_id matmul(struct builder *b, value_id x, value_id y)
{
    uint32_t x_rank = ops_rank(b, x), y_rank = ops_rank(b, y);
    if (y_rank == 1) {
        return b_contract(b, x, y, 0, 1);
    }
    if (y_rank == 2) {
        return b_contract(b, x, b_swap(b, y, 0, 1), 0, 1);
    }
    value_id left = x_rank == 1 ? b_unsqueeze(b, x, 0) : x;
    uint32_t batch = 0;
    if (!broadcast_batch(b, &left, &y, &batch)) {
        return VALUE_NONE;
    }
    value_id z = b_contract(b, left, b_swap(b, y, -1, -2), batch, 1);
    return x_rank == 1 ? b_squeeze(b, z, -2) : z;
}

bool expand_matmul(struct op_call *call)
{
    if (!ops_check_rank(call, call->in[0], 1, LIMIT_RANK) ||
        !ops_check_rank(call, call->in[1], 1, LIMIT_RANK)) {
        return false;
    }
    return op_return(call, matmul(call->b, call->in[0], call->in[1]));
}

bool expand_bmm(struct op_call *call)
{
    if (!ops_check_rank(call, call->in[0], 3, 3) || !ops_check_rank(call, call->in[1], 3, 3)) {
        return false;
    }
    value_id right = b_swap(call->b, call->in[1], 1, 2);
    return op_return(call, b_contract(call->b, call->in[0], right, 1, 1));
}

/* beta * c + alpha * (x @ y); with beta 0 c is ignored, even if it is NaN. */
bool expand_addmm(struct op_call *call)
{
    struct builder *b = call->b;
    if (!ops_check_rank(call, call->in[1], 2, 2) || !ops_check_rank(call, call->in[2], 2, 2)) {
        return false;
    }
    double alpha = op_float(call, "alpha"), beta = op_float(call, "beta");
    value_id product = matmul(b, call->in[1], call->in[2]);
    product = alpha == 1 ? product : b_scale(b, product, alpha);
    if (beta == 0) {
        return op_return(call, product);
    }
    value_id added = beta == 1 ? call->in[0] : b_scale(b, call->in[0], beta);
    return op_return(call, b_add(b, product, added));
}

bool expand_outer(struct op_call *call)
{
    struct builder *b = call->b;
    if (!ops_check_rank(call, call->in[0], 1, 1) || !ops_check_rank(call, call->in[1], 1, 1)) {
        return false;
    }
    return op_return(call, b_mul(b, b_unsqueeze(b, call->in[0], 1), call->in[1]));
}
