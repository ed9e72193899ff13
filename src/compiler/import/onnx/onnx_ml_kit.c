/* Functions that the translators of ai.onnx.ml share. */
#include "compiler/import/onnx/onnx_ml_priv.h"

#include <math.h>
#include <onnx.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "graph/interp.h"

#define MAX_ITEMS ((size_t)1 << 26) /* elements of one attribute */

/* The attribute, if it has this type and a legal length. */
static const Onnx__AttributeProto *find(struct onnx_call *c, const char *name,
                                        Onnx__AttributeProto__AttributeType type, size_t count)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    if (!attr || onnx_failed(c))
        return NULL;
    if (attr->has_type && attr->type != type) {
        b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' is of another type than its op says", name);
        return NULL;
    }
    if (count > MAX_ITEMS) {
        b_fail(c->b, ERR_LIMIT, "attribute '%s' has %zu elements", name, count);
        return NULL;
    }
    return attr;
}

struct ml_ints ml_ints(struct onnx_call *c, const char *name)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    attr = find(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, attr ? attr->n_ints : 0);
    if (!attr)
        return (struct ml_ints){.count = 0};
    return (struct ml_ints){attr->ints, (uint32_t)attr->n_ints, true};
}

struct ml_texts ml_texts(struct onnx_call *c, const char *name)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    attr =
        find(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS, attr ? attr->n_strings : 0);
    if (!attr)
        return (struct ml_texts){.count = 0};
    const char **texts = ARENA_ARRAY(c->o->arena, const char *, attr->n_strings);
    for (size_t i = 0; i < attr->n_strings; i++)
        texts[i] = arena_strndup(c->o->arena,
                                 attr->strings[i].data ? (const char *)attr->strings[i].data : "",
                                 attr->strings[i].len);
    return (struct ml_texts){texts, (uint32_t)attr->n_strings, true};
}

struct ml_reals ml_tensor(struct onnx_call *c, const char *name)
{
    const Onnx__AttributeProto *attr =
        find(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR, 0);
    struct import_tensor tensor;
    if (!attr)
        return (struct ml_reals){.count = 0};
    if (!attr->t) {
        b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' is no tensor", name);
        return (struct ml_reals){.count = 0};
    }
    if (!onnx_tensor(attr->t, c->o->options->folder, c->o->arena, &tensor, c->b->err)) {
        fail_at(c->b->err, "attribute '%s'", name);
        return (struct ml_reals){.count = 0};
    }
    struct interp_tensor cells;
    const struct native_tensor native = {tensor.dtype, tensor.rank, tensor.shape, tensor.data};
    size_t count = tensor.bytes / dtype_bytes(tensor.dtype);
    if (count > MAX_ITEMS) {
        b_fail(c->b, ERR_LIMIT, "attribute '%s' has %zu elements", name, count);
        return (struct ml_reals){.count = 0};
    }
    if (!interp_load(&cells, c->o->arena, &native, c->b->err))
        return (struct ml_reals){.count = 0};
    double *values = ARENA_ARRAY(c->o->arena, double, count);
    for (size_t i = 0; i < count; i++)
        values[i] = dtype_is_float(tensor.dtype) ? cells.cells[i].f
                                                 : dtype_int_value(tensor.dtype, cells.cells[i].i);
    return (struct ml_reals){values, (uint32_t)count, true, tensor.dtype};
}

struct ml_reals ml_reals(struct onnx_call *c, const char *name)
{
    char other[80];
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    snprintf(other, sizeof other, "%s_as_tensor", name);
    attr = find(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS, attr ? attr->n_floats : 0);
    struct ml_reals tensor = ml_tensor(c, other);
    if (!attr || attr->n_floats == 0)
        return tensor.given || !attr ? tensor
                                     : (struct ml_reals){.given = true, .dtype = DTYPE_F32};
    if (tensor.count > 0) {
        b_fail(c->b, ERR_BLUEPRINT, "attributes '%s' and '%s' are both given", name, other);
        return (struct ml_reals){.count = 0};
    }
    double *values = ARENA_ARRAY(c->o->arena, double, attr->n_floats);
    for (size_t i = 0; i < attr->n_floats; i++)
        values[i] = (double)attr->floats[i];
    return (struct ml_reals){values, (uint32_t)attr->n_floats, true, DTYPE_F32};
}

uint32_t ml_word(struct onnx_call *c, const char *name, const char *const *words, uint32_t absent)
{
    const char *text = onnx_text(c, name, words[absent]);
    struct strbuf all;
    strbuf_init(&all, c->o->arena);
    for (uint32_t i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
        strbuf_printf(&all, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    if (!onnx_failed(c))
        b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' is '%.40s', expected one of %s", name, text,
               all.data);
    return 0;
}

bool ml_same_length(struct onnx_call *c, const char *name, uint32_t count, const char *of,
                    uint32_t expected)
{
    if (onnx_failed(c))
        return false;
    return count == expected ||
           b_fail(c->b, ERR_BLUEPRINT, "attribute '%s' has %u elements, and '%s' %u", name, count,
                  of, expected);
}

value_id ml_table(struct onnx_call *c, const char *what, enum dtype dtype, const int64_t *shape,
                  uint32_t rank, const void *data)
{
    char name[LIMIT_NAME];
    struct import_tensor tensor = {.dtype = dtype, .rank = rank, .data = data};
    if (onnx_failed(c))
        return VALUE_NONE;
    tensor.bytes = dtype_bytes(dtype);
    for (uint32_t i = 0; i < rank; i++) {
        tensor.shape[i] = shape[i];
        tensor.bytes *= (size_t)shape[i];
    }
    const Onnx__NodeProto *node = c->node;
    snprintf(name, sizeof name, "%.150s.%.40s#%u",
             node->name && node->name[0] ? node->name : node->output[0], what,
             c->o->param_data.count);
    tensor.name = arena_strdup(c->o->arena, name);
    tensor.data = arena_memdup(c->o->arena, data, tensor.bytes);
    return onnx_initializer(c->o, tensor.name, &tensor, true, c->b->err);
}

value_id ml_constant(struct onnx_call *c, const char *what, enum dtype dtype, const double *values,
                     const int64_t *shape, uint32_t rank)
{
    size_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    if (onnx_failed(c))
        return VALUE_NONE;
    struct interp_tensor cells = {.dtype = dtype, .rank = 1, .count = (int64_t)count};
    cells.cells = ARENA_ARRAY(c->o->arena, union cell, count);
    for (size_t i = 0; i < count; i++) {
        if (dtype_is_float(dtype))
            cells.cells[i].f = dtype_round(dtype, values[i]);
        else
            cells.cells[i].i = dtype_saturate(dtype, values[i]);
    }
    char *data = arena_alloc(c->o->arena, count * dtype_bytes(dtype), 64);
    interp_store(&cells, data);
    return ml_table(c, what, dtype, shape, rank, data);
}

value_id ml_integers(struct onnx_call *c, const char *name, enum dtype dtype, const int64_t *values,
                     const int64_t *shape, uint32_t rank)
{
    size_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    if (onnx_failed(c))
        return VALUE_NONE;
    struct interp_tensor cells = {.dtype = dtype, .rank = 1, .count = (int64_t)count};
    cells.cells = ARENA_ARRAY(c->o->arena, union cell, count);
    for (size_t i = 0; i < count; i++) {
        if (dtype_wrap(dtype, values[i]) != values[i])
            return b_fail(c->b, ERR_BLUEPRINT, "attribute '%s': %lld is no %s", name,
                          (long long)values[i], dtype_name(dtype));
        cells.cells[i].i = values[i];
    }
    char *data = arena_alloc(c->o->arena, count * dtype_bytes(dtype), 64);
    interp_store(&cells, data);
    return ml_table(c, name, dtype, shape, rank, data);
}

enum dtype ml_wide(const struct onnx_call *c, value_id x)
{
    enum dtype type = onnx_type(c, x);
    return type == DTYPE_F64 || !dtype_is_float(type) ? DTYPE_F64 : DTYPE_F32;
}

/* The number of features of x; refuses the node if it is not constant, and says how to state it. */
static bool features_of(struct onnx_call *c, value_id x, int64_t least, int64_t *out)
{
    const struct node *node = b_node(c->b, x);
    struct strbuf name;
    if (onnx_is_const(&c->o->graph->dims, node->shape[node->rank - 1], out))
        return true;
    strbuf_init(&name, c->o->arena);
    dim_print(&c->o->graph->dims, node->shape[node->rank - 1], &name);
    return onnx_refuse(c,
                       "the number of features is %.80s, which is not known; this op needs %lld: a "
                       "dim can be given a size when the model is imported (--dim)",
                       name.data, (long long)least);
}

value_id ml_rows(struct onnx_call *c, value_id x, enum dtype dtype, int64_t features, bool exactly)
{
    struct builder *b = c->b;
    uint32_t rank = onnx_rank(c, x);
    int64_t found = 0;
    if (onnx_failed(c))
        return VALUE_NONE;
    if (rank < 1 || rank > 2)
        return b_fail(b, ERR_SHAPE, "input of rank %u, expected [batch, features] or [features]",
                      rank);
    if (!features_of(c, x, features, &found))
        return VALUE_NONE;
    if (found < features || (exactly && found != features))
        return b_fail(b, ERR_SHAPE, "rows of %lld features, the attributes speak of %lld%s",
                      (long long)found, (long long)features, exactly ? "" : " at least");
    x = b_cast(b, x, dtype);
    return rank == 1 ? b_unsqueeze(b, x, 0) : x;
}

value_id ml_per_feature(struct onnx_call *c, const char *name, const struct ml_reals *list,
                        value_id x)
{
    int64_t features = 0, count = list->count;
    if (!list->given || onnx_failed(c))
        return VALUE_NONE;
    if (onnx_rank(c, x) < 1)
        return b_fail(c->b, ERR_SHAPE, "a scalar has no features");
    if (list->count == 1)
        return b_const(c->b, onnx_type(c, x), list->at[0]);
    if (!features_of(c, x, count, &features))
        return VALUE_NONE;
    if (count != features)
        return b_fail(
            c->b, ERR_BLUEPRINT,
            "attribute '%s' has %lld elements, expected 1 or one for each of %lld features", name,
            (long long)count, (long long)features);
    return ml_constant(c, name, onnx_type(c, x), list->at, &count, 1);
}

enum ml_transform ml_transform_of(struct onnx_call *c)
{
    static const char *const words[] = {"NONE",         "SOFTMAX", "LOGISTIC",
                                        "SOFTMAX_ZERO", "PROBIT",  NULL};
    return (enum ml_transform)ml_word(c, "post_transform", words, ML_NONE);
}

/* Softmax over the scores that are not about 0, which stay about 0; 1/2 for all if all are. */
static value_id softmax_zero(struct onnx_call *c, value_id x)
{
    struct builder *b = c->b;
    int64_t axis = -1;
    value_id zero = b_const_like(b, x, 0);
    value_id most = b_reduce(b, PRIM_REDUCE_MAX, x, &axis, 1, true);
    value_id counts = b_binary(b, PRIM_LT, b_const_like(b, x, 1e-7), b_unary(b, PRIM_ABS, x));
    value_id powers = b_exp(b, b_sub(b, x, most));
    value_id sum = b_reduce(b, PRIM_REDUCE_SUM, b_select(b, counts, powers, zero), &axis, 1, true);
    value_id rest = b_mul(b, x, b_exp(b, b_neg(b, most)));
    value_id none = b_binary(b, PRIM_EQ, sum, zero);
    value_id share =
        b_div(b, b_select(b, counts, powers, rest), b_select(b, none, b_const_like(b, x, 1), sum));
    return b_select(b, none, b_const_like(b, x, 0.5), share);
}

/* The quantile function of the normal distribution, with Winitzki's approximation of the inverse of
 * erf, which ONNX prescribes: erfinv(u)² ≈ √(v² − l/a) − v with l = ln(1 − u²), v = 2/(πa) + l/2, a
 * = 0.147. In f64, because the difference cancels near 1/2. */
static value_id probit(struct onnx_call *c, value_id p)
{
    struct builder *b = c->b;
    const double a = 0.147, pi = 3.14159265358979323846;
    value_id wide = b_cast(b, p, DTYPE_F64);
    value_id u = b_shift(b, b_scale(b, wide, 2), -1);
    value_id product = b_scale(b, b_mul(b, wide, b_sub(b, b_const(b, DTYPE_F64, 1), wide)), 4);
    value_id l = b_unary(b, PRIM_LOG, product);
    value_id v = b_shift(b, b_scale(b, l, 0.5), 2 / (pi * a));
    value_id root = b_unary(b, PRIM_SQRT, b_sub(b, b_mul(b, v, v), b_scale(b, l, 1 / a)));
    value_id y = b_scale(b, b_unary(b, PRIM_SQRT, b_sub(b, root, v)), sqrt(2.0));
    value_id negative = b_binary(b, PRIM_LT, u, b_const(b, DTYPE_F64, 0));
    return b_cast(b, b_select(b, negative, b_neg(b, y), y), onnx_type(c, p));
}

value_id ml_transform(struct onnx_call *c, value_id scores, enum ml_transform transform)
{
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = -1, .f = -1}, {0}};
    switch (transform) {
    case ML_SOFTMAX: return onnx_expand(c, "softmax", &scores, 1, attrs);
    case ML_LOGISTIC: return onnx_expand(c, "sigmoid", &scores, 1, NULL);
    case ML_SOFTMAX_ZERO: return softmax_zero(c, scores);
    case ML_PROBIT: return probit(c, scores);
    case ML_NONE: return scores;
    }
    return VALUE_NONE;
}

bool ml_labels(struct onnx_call *c, const char *ints, const char *strings, struct ml_labels *out)
{
    struct ml_ints numbers = ml_ints(c, ints);
    struct ml_texts texts = ml_texts(c, strings);
    if (onnx_failed(c))
        return false;
    if ((numbers.count > 0) == (texts.count > 0))
        return b_fail(c->b, ERR_BLUEPRINT, "one of the attributes '%s' and '%s' must be given",
                      ints, strings);
    *out = (struct ml_labels){numbers.count + texts.count, numbers.count > 0 ? numbers.at : NULL,
                              strings};
    return true;
}

value_id ml_argmax(struct onnx_call *c, value_id scores)
{
    struct attrs attrs = {.axis = (int32_t)onnx_rank(c, scores) - 1};
    return graph_add(c->b->graph, PRIM_ARGMAX, &scores, 1, &attrs, c->b->err);
}

bool ml_classified(struct onnx_call *c, const struct ml_labels *labels, value_id index,
                   value_id scores)
{
    struct builder *b = c->b;
    int64_t count = labels->count;
    bool counted = labels->ints != NULL;
    char why[240];
    for (uint32_t i = 0; i < labels->count && counted; i++)
        counted = labels->ints[i] == i;
    c->out_count = 2;
    c->out[1] = b_cast(b, scores, DTYPE_F32);
    if (counted) {
        c->out[0] = index;
    } else if (labels->ints) {
        c->out[0] = b_take(b, ml_table(c, "labels", DTYPE_I64, &count, 1, labels->ints), index, 0);
    } else {
        snprintf(why, sizeof why,
                 "the labels of %.60s are strings ('%s'), and there are no tensors of strings; its "
                 "scores can be had from a model without this output",
                 c->op->name, labels->strings);
        c->out_why[0] = arena_strdup(c->o->arena, why);
    }
    return !onnx_failed(c);
}

bool ml_classified_by_one(struct onnx_call *c, const struct ml_labels *labels, value_id score,
                          double border, bool negated, enum ml_transform transform)
{
    struct builder *b = c->b;
    if (onnx_failed(c))
        return false;
    if (transform != ML_NONE && transform != ML_LOGISTIC)
        return onnx_refuse(c, "post_transform %s of two classes by one score",
                           onnx_text(c, "post_transform", ""));
    value_id above = b_binary(b, PRIM_LT, b_const_like(b, score, border), score);
    value_id index = b_squeeze(b, b_cast(b, above, DTYPE_I64), 1);
    value_id other = negated || transform == ML_LOGISTIC
                         ? b_neg(b, score)
                         : b_sub(b, b_const_like(b, score, 1), score);
    value_id both = b_concat(b, (value_id[]){other, score}, 2, 1);
    return ml_classified(c, labels, index, ml_transform(c, both, transform));
}
