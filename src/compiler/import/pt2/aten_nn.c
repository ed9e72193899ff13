/* Products, convolutions, norms, attention, pooling: what is more than one of ours by its name. */
#include <stdio.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

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

/* All convolutions in one: the number of spatial dims is that of the weight. */
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
        return (aten_has(c, "output_padding"), aten_expand_row(c, name)); /* which has no meaning */
    const struct aten_op *row = c->op;
    struct aten_op op = *row;
    op.attrs = "stride padding output_padding groups dilation";
    c->op = &op;
    bool ok = aten_expand_row(c, name);
    c->op = row;
    return ok;
}

bool aten_batch_norm(struct aten_call *c)
{
    if (aten_bool(c, "training", false))
        return aten_refuse(c, "the model was exported in training mode; call .eval() first");
    return aten_expand_row(c, c->op->with);
}

bool aten_attention(struct aten_call *c)
{
    if (aten_float(c, "dropout_p", 0) > 0)
        return aten_refuse(c, "dropout");
    return aten_expand_row(c, c->op->with);
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

/* Rows that are -inf throughout give zeros. */
bool aten_safe_softmax(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id y = softmax(c);
    if (y == VALUE_NONE)
        return false;
    value_id lost = b_unary(b, PRIM_IS_NAN, y);
    return aten_return(c, b_select(b, lost, b_const_like(b, y, 0), y));
}

/* Factors of a resize: one number for all dims, or whole ones. */
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
