/* Products, convolutions, norms, attention, pooling: calls that need more than a composite op of
 * the same name. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compiler/import/pt2/aten_detach_priv.h"
#include "compiler/import/pt2/pt2_training_priv.h"

bool aten_baddbmm(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[2] = {aten_in(c, "batch1"), aten_in(c, "batch2")}, sum = aten_in(c, "self");
    double alpha = aten_float(c, "alpha", 1), beta = aten_float(c, "beta", 1);
    if (in[0] == VALUE_NONE || in[1] == VALUE_NONE || sum == VALUE_NONE)
        return false;
    value_id product = aten_expand(c, "bmm", in, 2, NULL);
    product = alpha == 1 ? product : b_scale(b, product, alpha);
    if (beta == 0)
        return aten_return(c, product);
    return aten_return(c, b_add(b, beta == 1 ? sum : b_scale(b, sum, beta), product));
}

bool aten_einsum(struct aten_call *c)
{
    value_id in[LIMIT_OPERANDS];
    uint32_t count = aten_tensors(c, "tensors", in, LIMIT_OPERANDS);
    const char *equation = aten_text(c, "equation", "");
    char *packed = arena_strdup(c->p->arena, equation), *to = packed;
    for (const char *at = equation; *at != '\0'; at++)
        if (*at != ' ')
            *to++ = *at;
    *to = '\0';
    struct op_value attrs[] = {{.name = "equation", .kind = OP_TEXT, .text = packed}, {0}};
    return count > 0 && !c->refused && aten_return(c, aten_expand(c, "einsum", in, count, attrs));
}

/* The general convolution: the rank of the weight gives the number of spatial dims. */
bool aten_convolution(struct aten_call *c)
{
    value_id weight = aten_in(c, "weight");
    bool transposed = aten_bool(c, "transposed", false);
    char name[24];
    if (weight == VALUE_NONE || aten_failed(c))
        return false;
    if (aten_rank(c, weight) < 3 || aten_rank(c, weight) > 5)
        return b_fail(c->b, ERR_SHAPE, "a weight of rank %u", aten_rank(c, weight));
    snprintf(name, sizeof name, transposed ? "conv_transpose%ud" : "conv%ud",
             aten_rank(c, weight) - 2);
    if (!transposed)
        return (aten_has(c, "output_padding"), aten_expand_row(c, name)); /* output_padding does not
                                                                             apply */
    const struct aten_op *row = c->op;
    struct aten_op op = *row;
    op.attrs = "stride padding output_padding groups dilation";
    c->op = &op;
    bool ok = aten_expand_row(c, name);
    c->op = row;
    return ok;
}

/* Without running statistics, the statistics of the batch are used, in training mode or not. In
 * training mode running ones get their next values, which functional calls have as results and
 * others write to them. */
bool aten_batch_norm(struct aten_call *c)
{
    static const char *const running[] = {"running_mean", "running_var"};
    const bool functional = strstr(c->op->name, "functional") != NULL;
    c->training = aten_bool(c, "training", false);
    if (!c->training)
        return aten_expand_row(c, c->op->with);
    const struct aten_op *row = c->op;
    struct aten_op op = *row;
    op.attrs = "eps momentum";
    c->op = &op;
    bool ok = aten_expand_row(c, op.with);
    c->op = row;
    if (!ok || c->out_count < 3)
        return ok;
    const value_id next[2] = {c->out[1], c->out[2]};
    c->out[1] = c->out[2] = VALUE_NONE;
    for (uint32_t i = 0; i < 2 && ok && !functional; i++)
        ok = aten_write_argument(c, running[i], next[i]);
    for (uint32_t i = 0; i < 2 && functional; i++)
        c->out[3 + i] = aten_detached(c->b, next[i]);
    c->out_count = functional ? 5 : 1;
    return ok;
}

/* Heads and batch dims of k and v are broadcast to those of q; a single head of k and v becomes
 * grouped-query attention with one group. */
bool aten_attention(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[] = {aten_in(c, "query"), aten_in(c, "key"), aten_in(c, "value"),
                     aten_in(c, "attn_mask"), VALUE_NONE};
    bool grouped = aten_bool(c, "enable_gqa", false);
    double rate = aten_float(c, "dropout_p", 0);
    dim_id one = b_dim_const(b, 1), shape[LIMIT_RANK];
    if (in[0] == VALUE_NONE || in[1] == VALUE_NONE || in[2] == VALUE_NONE || aten_failed(c))
        return false;
    const struct node q = *b_node(b, in[0]);
    for (int i = 1; i < 3; i++) {
        const struct node node = *b_node(b, in[i]);
        if (node.rank > q.rank || node.rank < 2)
            return aten_refuse(c, "keys of rank %u for queries of rank %u", node.rank, q.rank);
        memcpy(shape, q.shape, q.rank * sizeof *shape);
        shape[q.rank - 2] = node.shape[node.rank - 2];
        shape[q.rank - 1] = node.shape[node.rank - 1];
        if (q.rank > 2 && node.rank == q.rank && (grouped || node.shape[q.rank - 3] == one))
            shape[q.rank - 3] = node.shape[q.rank - 3];
        in[i] = b_broadcast_to(b, in[i], shape, q.rank);
    }
    if (!grouped && q.rank > 2 && !aten_failed(c)) {
        dim_id keys = b_dim(b, in[1], q.rank - 3), values = b_dim(b, in[2], q.rank - 3);
        grouped = keys == values && keys == one && q.shape[q.rank - 3] != one;
        for (int i = 1; i < 3 && !grouped; i++) {
            memcpy(shape, b_node(b, in[i])->shape, q.rank * sizeof *shape);
            shape[q.rank - 3] = q.shape[q.rank - 3];
            in[i] = b_broadcast_to(b, in[i], shape, q.rank);
        }
    }
    struct op_value attrs[] = {
        {.name = "is_causal", .kind = OP_BOOL, .i = aten_bool(c, "is_causal", false)},
        {.name = "enable_gqa", .kind = OP_BOOL, .i = grouped},
        {.name = "dropout_p", .kind = OP_FLOAT, .f = rate},
        {.name = aten_has(c, "scale") ? "scale" : NULL,
         .kind = OP_FLOAT,
         .f = aten_float(c, "scale", 1)},
        {0}};
    uint32_t count = in[3] == VALUE_NONE ? 3 : 4;
    c->training = rate > 0;
    if (c->training) {
        in[4] = aten_seed(c);
        count = 5;
    }
    return aten_return(c, aten_expand(c, "scaled_dot_product_attention", in, count, attrs));
}

/* Losses; the reduction is given as a number. */
bool aten_loss(struct aten_call *c)
{
    static const char *const names[] = {"none", "mean", "sum"};
    int64_t reduction = aten_int(c, "reduction", 1);
    if (aten_failed(c) || reduction < 0 || reduction > 2)
        return aten_refuse(c, "reduction %lld", (long long)reduction);
    c->attr = (struct op_value){.name = "reduction", .kind = OP_TEXT, .text = names[reduction]};
    return aten_expand_row(c, c->op->with);
}

/* v * g / |v|, with the norm over all dims but one. */
bool aten_weight_norm(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id v = aten_in(c, "v"), g = aten_in(c, "g");
    int64_t dim = aten_int(c, "dim", 0), axes[LIMIT_RANK];
    uint32_t count = 0;
    if (v == VALUE_NONE || g == VALUE_NONE || aten_failed(c))
        return false;
    int axis = dim == -1 ? -1 : b_axis(b, v, dim); /* -1: the norm is over all dims */
    for (int i = 0; i < (int)aten_rank(c, v); i++)
        if (i != axis)
            axes[count++] = i;
    value_id sum = b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, v, v), axes, count, true);
    value_id norm = b_unary(b, PRIM_SQRT, sum);
    return aten_return(c, b_mul(b, v, b_div(b, g, norm)));
}

bool aten_elu(struct aten_call *c)
{
    if (aten_float(c, "scale", 1) != 1 || aten_float(c, "input_scale", 1) != 1)
        return aten_refuse(c, "scale and input_scale");
    return aten_expand_row(c, c->op->with);
}

static value_id softmax(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dim", -1);
    enum dtype dtype = aten_dtype(c, "dtype", aten_type(c, x));
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim}, {0}};
    if (x == VALUE_NONE || aten_failed(c))
        return VALUE_NONE;
    x = b_cast(c->b, x, aten_bool(c, "half_to_float", false) ? DTYPE_F32 : dtype);
    return aten_expand(c, c->op->with, &x, 1, attrs);
}

bool aten_softmax(struct aten_call *c)
{
    return aten_return(c, softmax(c));
}

/* Softmax, where a row with all elements -inf gives zeros; one with a NaN gives NaN. */
bool aten_safe_softmax(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), y = softmax(c);
    int64_t dim = aten_int(c, "dim", -1);
    if (y == VALUE_NONE)
        return false;
    value_id most = b_reduce(b, PRIM_REDUCE_MAX, x, &dim, 1, true);
    value_id closed = b_binary(b, PRIM_EQ, most, b_const_like(b, most, -(double)INFINITY));
    return aten_return(c, b_select(b, closed, b_const_like(b, y, 0), y));
}

/* Scale factors of a resize: equal for all dims, or integers. */
static bool read_factors(struct aten_call *c, const json_t *list, int64_t ints[LIMIT_RANK],
                         struct op_value *out)
{
    size_t count = json_array_size(list);
    bool same = true, whole = true;
    if (count == 0 || count > LIMIT_RANK)
        return b_fail(c->b, ERR_BLUEPRINT, "%zu factors", count);
    double first = json_number_value(json_array_get(list, 0));
    for (size_t i = 0; i < count; i++) {
        double factor = json_number_value(json_array_get(list, i));
        if (!(factor > 0 && factor < 65536))
            return b_fail(c->b, ERR_BLUEPRINT, "factor %g", factor);
        ints[i] = (int64_t)factor;
        same = same && factor == first;
        whole = whole && factor == (double)ints[i];
    }
    *out = (struct op_value){.name = "scale_factor", .kind = OP_FLOAT, .f = first};
    if (!same)
        *out = (struct op_value){
            .name = "scale_factor", .kind = OP_INTS, .ints = ints, .int_count = (uint32_t)count};
    return same || whole || aten_refuse(c, "factors that differ and are not whole");
}

bool aten_upsample(struct aten_call *c)
{
    bool vec = aten_has(c, "input");
    const char *kind;
    value_id x = aten_in(c, vec ? "input" : "self");
    const json_t *factors = aten_arg(c, "scale_factors", &kind);
    int64_t ints[LIMIT_RANK];
    struct op_value attrs[4] = {
        {.name = "mode", .kind = OP_TEXT, .text = c->op->with},
        {.name = "align_corners", .kind = OP_BOOL, .i = aten_bool(c, "align_corners", false)}};
    if (x == VALUE_NONE)
        return false;
    if (aten_has(c, "output_size")) {
        uint32_t count = aten_ints(c, "output_size", ints, LIMIT_RANK);
        attrs[2] =
            (struct op_value){.name = "size", .kind = OP_INTS, .ints = ints, .int_count = count};
    } else if (!read_factors(c, factors, ints, &attrs[2])) {
        return false;
    }
    return aten_return(c, aten_expand(c, "interpolate", &x, 1, attrs));
}
