/* Class probabilities from those of pairs: Wu, Lin and Weng, "Probability estimates for multi-class
 * classification by pairwise coupling", algorithm 2. It minimises pᵀQp, where
 *
 *   Q[i][i] = Σ_j r[j][i]²     Q[i][j] = -r[j][i] · r[i][j]
 *
 * by sweeps over the classes, until no component of the gradient differs from the mean by more than
 * 0.005 / count. libsvm, scikit-learn and ONNX Runtime return the p at which they stop, for each
 * row by itself, so this does too instead of the minimum. They sweep up to 100 times and in
 * practice need at most 5; a row that has not stopped after SWEEPS sweeps is as near to the minimum
 * as theirs. */
#include "compiler/import/onnx/onnx_ml_svm_priv.h"

#define SWEEPS 8

struct coupling {
    struct onnx_call *c;
    value_id q; /* [N, count, count] */
    value_id p; /* [N, count] */
    uint32_t count;
};

static value_id column(struct builder *b, value_id x, uint32_t axis, uint32_t at)
{
    return b_slice(b, x, axis, b_dim_const(b, at), b_dim_const(b, 1), 1);
}

/* r[i][j] as [N, count, count], with 0 for i = j. */
static value_id square_of_pairs(struct coupling *m, value_id pairs)
{
    struct builder *b = m->c->b;
    uint32_t n = m->count;
    int64_t size = (int64_t)n * n;
    int32_t *places = ARENA_ARRAY(m->c->o->arena, int32_t, (size_t)size);
    uint32_t half = n * (n - 1) / 2;
    for (uint32_t i = 0, at = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++, at++) {
            places[i * n + j] = (int32_t)at;
            places[j * n + i] = (int32_t)(half + at);
        }
    for (uint32_t i = 0; i < n; i++)
        places[i * n + i] = (int32_t)(2 * half);
    value_id others = b_sub(b, b_const(b, DTYPE_F64, 1), pairs);
    value_id zero = b_sub(b, column(b, pairs, 1, 0), column(b, pairs, 1, 0));
    value_id all = b_concat(b, (value_id[]){pairs, others, zero}, 3, 1);
    value_id flat = b_take(b, all, ml_table(m->c, "pairs", DTYPE_I32, &size, 1, places), 1);
    dim_id shape[3] = {b_dim(b, flat, 0), b_dim_const(b, n), b_dim_const(b, n)};
    return b_reshape(b, flat, shape, 3);
}

static value_id matrix_of(struct coupling *m, value_id r)
{
    struct builder *b = m->c->b;
    int64_t axis = 1, size = m->count;
    dim_id n = b_dim_const(b, size), shape[2] = {n, n};
    value_id turned = b_swap(b, r, 1, 2);
    value_id squares = b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, r, r), &axis, 1, false);
    value_id diagonal =
        b_binary(b, PRIM_EQ, b_iota(b, DTYPE_I64, shape, 2, 0), b_iota(b, DTYPE_I64, shape, 2, 1));
    return b_select(b, diagonal, b_unsqueeze(b, squares, 2), b_neg(b, b_mul(b, r, turned)));
}

/* One sweep, starting at p; *out_settled: whether p met the criterion before it, [N, 1]. */
static value_id sweep(struct coupling *m, value_id *out_settled)
{
    struct builder *b = m->c->b;
    int64_t last = -1;
    dim_id count = b_dim_const(b, m->count);
    value_id p = m->p, one = b_const(b, DTYPE_F64, 1);
    value_id classes = b_iota(b, DTYPE_I64, &count, 1, 0);
    value_id qp =
        b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, m->q, b_unsqueeze(b, p, 1)), &last, 1, false);
    value_id pqp = b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, p, qp), &last, 1, true);
    value_id error = b_unary(b, PRIM_ABS, b_sub(b, qp, pqp));
    *out_settled = b_binary(b, PRIM_LT, b_reduce(b, PRIM_REDUCE_MAX, error, &last, 1, true),
                            b_const(b, DTYPE_F64, 0.005 / m->count));
    for (uint32_t t = 0; t < m->count; t++) {
        value_id row = b_squeeze(b, column(b, m->q, 1, t), 1), own = column(b, row, 1, t);
        value_id slope = column(b, qp, 1, t);
        value_id step = b_div(b, b_sub(b, pqp, slope), own), whole = b_add(b, one, step);
        value_id is = b_binary(b, PRIM_EQ, classes, b_const(b, DTYPE_I64, t));
        p = b_div(b, b_select(b, is, b_add(b, p, step), p), whole);
        value_id change = b_mul(b, step, b_add(b, b_mul(b, step, own), b_scale(b, slope, 2)));
        pqp = b_div(b, b_div(b, b_add(b, pqp, change), whole), whole);
        qp = b_div(b, b_add(b, qp, b_mul(b, step, row)), whole);
    }
    return p;
}

value_id ml_couple(struct onnx_call *c, value_id pairs, uint32_t count)
{
    struct builder *b = c->b;
    struct coupling m = {.c = c, .count = count};
    if (onnx_failed(c))
        return VALUE_NONE;
    m.q = matrix_of(&m, square_of_pairs(&m, pairs));
    dim_id shape[2] = {b_dim(b, pairs, 0), b_dim_const(b, count)};
    m.p = b_broadcast_to(b, b_const(b, DTYPE_F64, 1.0 / count), shape, 2);
    for (uint32_t i = 0; i < SWEEPS; i++) {
        value_id settled, next = sweep(&m, &settled);
        m.p = b_select(b, settled, m.p, next);
    }
    return m.p;
}
