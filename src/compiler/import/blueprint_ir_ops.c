/* The translation of each op type of BlueprintIR: to one native node with the same id, and its
 * parameters, with PyTorch's default initialisation (reset_parameters of torch.nn.Linear, Conv2d,
 * LayerNorm, BatchNorm2d, MultiheadAttention and Embedding). */
#include "compiler/import/blueprint_ir_priv.h"

#include <string.h>

bool ir_input_dtype(struct ir *ir, const struct ir_node *node, enum dtype *out)
{
    const json_t *found = ir_attribute(node, "dtype");
    enum dtype dtype = node->precision != DTYPE_NONE ? node->precision : DTYPE_F32;
    if (found && !json_is_string(found))
        return ir_fail_attribute(ir, "dtype", found, "the name of a dtype");
    if (found && !import_dtype(json_string_value(found), &dtype, ir->err))
        return fail_at(ir->err, "attribute 'dtype'");
    if (node->precision != DTYPE_NONE && node->precision != dtype)
        return fail(ir->err, ERR_BLUEPRINT, "precision %s of an input of dtype %s",
                    dtype_name(node->precision), dtype_name(dtype));
    *out = dtype;
    return true;
}

/* Whether two shapes of integers can be equal; -1 stands for any size. */
static bool shapes_agree(const json_t *a, const json_t *b)
{
    bool same = json_array_size(a) == json_array_size(b);
    for (size_t i = 0; same && i < json_array_size(a); i++) {
        int64_t x = json_integer_value(json_array_get(a, i));
        int64_t y = json_integer_value(json_array_get(b, i));
        same = x == y || x == -1 || y == -1;
    }
    return same;
}

/* The name of the dynamic dim at this index of a shape; declares the dim on first use. */
static json_t *dynamic_dim(struct ir *ir, size_t place)
{
    char name[8] = "B";
    if (place > 0)
        snprintf(name, sizeof name, "d%zu", place % 100);
    if (!json_object_get(ir->dims, name)) {
        json_t *range = import_object();
        import_set(range, "min", import_int(1));
        import_set(range, "max", import_int(65536));
        import_set(ir->dims, name, range);
    }
    return import_text(name);
}

static bool translate_input(struct ir *ir, struct ir_node *node)
{
    const json_t *shape = ir_attribute(node, "shape"), *said[2] = {NULL, NULL}, *item;
    enum dtype dtype = DTYPE_NONE;
    size_t i;
    if (!json_is_array(shape))
        return ir_fail_attribute(ir, "shape", shape, "a list of integers ≥ -1");
    if (json_array_size(shape) > LIMIT_RANK) {
        fail(ir->err, ERR_LIMIT, "%zu dims, at most %d", json_array_size(shape), LIMIT_RANK);
        return fail_at(ir->err, "attribute 'shape'");
    }
    json_array_foreach(shape, i, item)
    {
        if (!json_is_integer(item) || json_integer_value(item) < -1)
            return ir_fail_attribute(ir, "shape", item, "integers ≥ -1");
    }
    if (!ir_input_dtype(ir, node, &dtype) || !ir_get_shape(ir, node, "input_shape", &said[0]) ||
        !ir_get_shape(ir, node, "output_shape", &said[1]))
        return false;
    for (int k = 0; k < 2; k++)
        if (said[k] && !shapes_agree(said[k], shape))
            return fail(ir->err, ERR_SHAPE, "attribute 'shape' and field '%s' differ",
                        k == 0 ? "input_shape" : "output_shape");
    if (node->edge_dtype != DTYPE_NONE && node->edge_dtype != dtype)
        return fail(ir->err, ERR_SHAPE, "the dtype is %s, %s says %s", dtype_name(dtype),
                    node->edge, dtype_name(node->edge_dtype));
    json_t *input = import_object(), *dims = import_array();
    json_array_foreach(shape, i, item)
    {
        import_append(dims,
                      json_integer_value(item) == -1 ? dynamic_dim(ir, i) : import_copy(item));
    }
    import_set(input, "id", import_text(node->id));
    import_set(input, "dtype", import_text(dtype_name(dtype)));
    import_set(input, "shape", dims);
    import_append(ir->inputs, input);
    return true;
}

static bool translate_output(struct ir *ir, struct ir_node *node)
{
    const json_t *in_shape = NULL, *shape = NULL;
    if (!ir_get_shape(ir, node, "input_shape", &in_shape) ||
        !ir_get_shape(ir, node, "output_shape", &shape))
        return false;
    if (in_shape && shape && !json_equal((json_t *)in_shape, (json_t *)shape))
        return fail(ir->err, ERR_SHAPE,
                    "fields 'input_shape' and 'output_shape' of an output differ");
    json_t *output = import_object();
    import_set(output, "name", import_text(node->id));
    import_set(output, "value", import_copy(json_array_get(node->in, 0)));
    if (in_shape || shape)
        import_set(output, "shape", import_copy(shape ? shape : in_shape));
    import_append(ir->outputs, output);
    return true;
}

static bool translate_linear(struct ir *ir, struct ir_node *node)
{
    int64_t in = 0, out = 0;
    bool bias = true;
    if (!ir_get_size(ir, node, "in_features", &in) ||
        !ir_get_size(ir, node, "out_features", &out) || !ir_opt_bool(ir, node, "bias", &bias))
        return false;
    ir_declare(ir, node, "weight", (int64_t[]){out, in}, 2, ir_random(ir, "kaiming_uniform"));
    ir_use(node, "weight");
    if (bias) {
        ir_declare(ir, node, "bias", &out, 1, ir_bias(ir, (double)in));
        ir_use(node, "bias");
    }
    return ir_emit(ir, node, "linear", NULL);
}

static bool translate_conv2d(struct ir *ir, struct ir_node *node)
{
    static const int64_t zero = 0, one = 1;
    int64_t in = 0, out = 0, groups = 1, kernel[2], stride[2], padding[2], dilation[2];
    bool bias = true;
    if (!ir_get_size(ir, node, "in_channels", &in) ||
        !ir_get_size(ir, node, "out_channels", &out) ||
        !ir_get_pair(ir, node, "kernel_size", NULL, kernel) ||
        !ir_get_pair(ir, node, "stride", &one, stride) ||
        !ir_get_pair(ir, node, "padding", &zero, padding) ||
        !ir_get_pair(ir, node, "dilation", &one, dilation) ||
        !ir_opt_bool(ir, node, "bias", &bias) ||
        (ir_attribute(node, "groups") && !ir_get_size(ir, node, "groups", &groups)))
        return false;
    if (groups < 1 || in % groups != 0 || out % groups != 0)
        return ir_fail_attribute(ir, "groups", ir_attribute(node, "groups"),
                                 "a divisor of in_channels and out_channels");
    int64_t shape[4] = {out, in / groups, kernel[0], kernel[1]};
    ir_declare(ir, node, "weight", shape, 4, ir_random(ir, "kaiming_uniform"));
    ir_use(node, "weight");
    if (bias) {
        double fan_in = (double)shape[1] * (double)kernel[0] * (double)kernel[1];
        ir_declare(ir, node, "bias", &out, 1, ir_bias(ir, fan_in));
        ir_use(node, "bias");
    }
    json_t *attrs = import_object();
    import_set(attrs, "stride", ir_int_list(stride, 2));
    import_set(attrs, "padding", ir_int_list(padding, 2));
    import_set(attrs, "dilation", ir_int_list(dilation, 2));
    import_set(attrs, "groups", import_int(groups));
    return ir_emit(ir, node, "conv2d", attrs);
}

static bool translate_activation(struct ir *ir, struct ir_node *node)
{
    static const char *const types[] = {"relu",      "gelu",        "silu",    "tanh", "sigmoid",
                                        "hardswish", "hardsigmoid", "softmax", NULL};
    const json_t *dim = ir_attribute(node, "dim");
    int type = ir_get_choice(ir, node, "type", types,
                             "relu, gelu, silu, tanh, sigmoid, hardswish, hardsigmoid or softmax");
    if (type < 0)
        return false;
    bool softmax = strcmp(types[type], "softmax") == 0;
    if (dim && (!softmax || !json_is_integer(dim)))
        return ir_fail_attribute(ir, "dim", dim,
                                 softmax ? "an integer" : "nothing: it is softmax's");
    json_t *attrs = NULL;
    if (softmax) {
        attrs = import_object();
        import_set(attrs, "dim", dim ? import_copy(dim) : import_int(-1));
    }
    return ir_emit(ir, node, types[type], attrs);
}

static bool translate_layer_norm(struct ir *ir, struct ir_node *node, double eps)
{
    const json_t *shape = ir_attribute(node, "normalized_shape"), *item;
    int64_t dims[LIMIT_RANK];
    size_t rank = json_is_array(shape) ? json_array_size(shape) : 1, i;
    if (ir_attribute(node, "num_features"))
        return ir_fail_attribute(ir, "num_features", ir_attribute(node, "num_features"),
                                 "nothing: it is batch_norm's");
    if (rank == 0 || rank > LIMIT_RANK)
        return ir_fail_attribute(ir, "normalized_shape", shape, "1 … 8 integers ≥ 0");
    if (!json_is_array(shape)) {
        if (!ir_get_size(ir, node, "normalized_shape", &dims[0]))
            return false;
    }
    json_array_foreach(shape, i, item)
    {
        dims[i] = json_integer_value(item);
        if (!json_is_integer(item) || dims[i] < 0 || dims[i] > LIMIT_DIM_VALUE)
            return ir_fail_attribute(ir, "normalized_shape", item, "integers ≥ 0");
    }
    ir_declare(ir, node, "weight", dims, rank, ir_init("ones"));
    ir_declare(ir, node, "bias", dims, rank, ir_init("zeros"));
    ir_use(node, "weight");
    ir_use(node, "bias");
    json_t *attrs = import_object();
    import_set(attrs, "normalized_shape", ir_int_list(dims, rank));
    import_set(attrs, "eps", import_real(eps));
    return ir_emit(ir, node, "layer_norm", attrs);
}

static bool translate_batch_norm(struct ir *ir, struct ir_node *node, double eps)
{
    int64_t features = 0;
    if (ir_attribute(node, "normalized_shape"))
        return ir_fail_attribute(ir, "normalized_shape", ir_attribute(node, "normalized_shape"),
                                 "nothing: it is layer_norm's");
    if (!ir_get_size(ir, node, "num_features", &features))
        return false;
    ir_declare(ir, node, "weight", &features, 1, ir_init("ones"));
    ir_declare(ir, node, "bias", &features, 1, ir_init("zeros"));
    ir_declare(ir, node, "running_mean", &features, 1, ir_init("zeros"));
    ir_declare(ir, node, "running_var", &features, 1, ir_init("ones"));
    ir_use(node, "running_mean");
    ir_use(node, "running_var");
    ir_use(node, "weight");
    ir_use(node, "bias");
    json_t *attrs = import_object();
    import_set(attrs, "eps", import_real(eps));
    return ir_emit(ir, node, "batch_norm", attrs);
}

static bool translate_normalization(struct ir *ir, struct ir_node *node)
{
    static const char *const types[] = {"layer_norm", "batch_norm", NULL};
    double eps = 1e-5;
    bool general = strcmp(node->op->name, "normalization") == 0;
    int type = strcmp(node->op->name, "batch_norm") == 0;
    if (general || ir_attribute(node, "type")) {
        int said = ir_get_choice(ir, node, "type", types, "layer_norm or batch_norm");
        if (said < 0)
            return false;
        if (!general && said != type)
            return ir_fail_attribute(ir, "type", ir_attribute(node, "type"), types[type]);
        type = said;
    }
    if (!ir_opt_real(ir, node, "eps", &eps))
        return false;
    return type == 0 ? translate_layer_norm(ir, node, eps) : translate_batch_norm(ir, node, eps);
}

static bool translate_pooling(struct ir *ir, struct ir_node *node)
{
    static const char *const types[] = {"max", "avg", "adaptive_avg_pool2d", NULL};
    static const char *const window_keys[] = {"kernel_size", "stride", "padding", NULL};
    static const int64_t zero = 0;
    int64_t kernel[2], stride[2], padding[2];
    int type = ir_get_choice(ir, node, "type", types, "max, avg or adaptive_avg_pool2d");
    if (type < 0)
        return false;
    bool adaptive = type == 2;
    for (int i = 0; adaptive && window_keys[i]; i++)
        if (ir_attribute(node, window_keys[i]))
            return ir_fail_attribute(ir, window_keys[i], ir_attribute(node, window_keys[i]),
                                     "nothing: adaptive_avg_pool2d has output_size");
    if (!adaptive && ir_attribute(node, "output_size"))
        return ir_fail_attribute(ir, "output_size", ir_attribute(node, "output_size"),
                                 "nothing: it is adaptive_avg_pool2d's");
    if (!ir_get_pair(ir, node, adaptive ? "output_size" : "kernel_size", NULL, kernel) ||
        !ir_get_pair(ir, node, "stride", &kernel[0], stride) ||
        !ir_get_pair(ir, node, "padding", &zero, padding))
        return false;
    json_t *attrs = import_object();
    import_set(attrs, adaptive ? "output_size" : "kernel_size", ir_int_list(kernel, 2));
    if (!adaptive) {
        import_set(attrs, "stride", ir_int_list(ir_attribute(node, "stride") ? stride : kernel, 2));
        import_set(attrs, "padding", ir_int_list(padding, 2));
    }
    return ir_emit(ir, node, adaptive ? types[2] : type == 0 ? "max_pool2d" : "avg_pool2d", attrs);
}

static bool translate_attention(struct ir *ir, struct ir_node *node)
{
    int64_t width = 0, heads = 0;
    bool bias = true, batch_first = true;
    double dropout = 0;
    uint32_t count = node->operands.count;
    if (count == 2)
        return fail(ir->err, ERR_BLUEPRINT,
                    "'%s' takes 1 operand (self-attention) or 3, 2 edges lead to it",
                    node->op->name);
    if (!ir_get_size(ir, node, "embed_dim", &width) ||
        !ir_get_size(ir, node, "num_heads", &heads) || !ir_opt_bool(ir, node, "bias", &bias) ||
        !ir_opt_bool(ir, node, "batch_first", &batch_first) ||
        !ir_opt_real(ir, node, "dropout", &dropout))
        return false;
    if (heads < 1 || width % heads != 0)
        return ir_fail_attribute(ir, "num_heads", ir_attribute(node, "num_heads"),
                                 "a divisor of embed_dim");
    for (; count < 3; count++)
        import_append(node->in, json_null());
    ir_declare(ir, node, "in_proj_weight", (int64_t[]){3 * width, width}, 2,
               ir_random(ir, "xavier_uniform"));
    ir_use(node, "in_proj_weight");
    if (bias) {
        ir_declare(ir, node, "in_proj_bias", (int64_t[]){3 * width}, 1, ir_init("zeros"));
        ir_use(node, "in_proj_bias");
    } else {
        import_append(node->in, json_null());
    }
    ir_declare(ir, node, "out_proj.weight", (int64_t[]){width, width}, 2,
               ir_random(ir, "kaiming_uniform"));
    ir_use(node, "out_proj.weight");
    if (bias) {
        ir_declare(ir, node, "out_proj.bias", &width, 1, ir_init("zeros"));
        ir_use(node, "out_proj.bias");
    }
    json_t *attrs = import_object();
    import_set(attrs, "num_heads", import_int(heads));
    import_set(attrs, "batch_first", json_boolean(batch_first));
    import_set(attrs, "dropout_p", import_real(dropout));
    return ir_emit(ir, node, "multi_head_attention", attrs);
}

/* Copies the attributes that have the same name and meaning in the native op. */
static json_t *copy_attributes(const struct ir_node *node)
{
    json_t *attrs = import_object(), *value;
    const char *name;
    json_object_foreach((json_t *)node->attributes, name, value)
    {
        import_set(attrs, name, import_copy(value));
    }
    return attrs;
}

static bool translate_same(struct ir *ir, struct ir_node *node)
{
    return ir_emit(ir, node, node->op->name, copy_attributes(node));
}

static bool translate_flatten(struct ir *ir, struct ir_node *node)
{
    json_t *attrs = copy_attributes(node);
    if (!json_object_get(attrs, "start_dim"))
        import_set(attrs, "start_dim", import_int(1)); /* the default of torch.nn.Flatten; that of
                                                          torch.flatten is 0 */
    return ir_emit(ir, node, "flatten", attrs);
}

static bool translate_multiply(struct ir *ir, struct ir_node *node)
{
    return ir_emit(ir, node, "mul", NULL);
}

static bool translate_concat(struct ir *ir, struct ir_node *node)
{
    if (!json_is_integer(ir_attribute(node, "dim")))
        return ir_fail_attribute(ir, "dim", ir_attribute(node, "dim"), "an integer");
    return translate_same(ir, node);
}

static bool translate_reduce(struct ir *ir, struct ir_node *node)
{
    static const char *const operations[] = {"mean", "sum", "max", "std", NULL};
    static const char *const ops[] = {"mean", "sum", "amax", "std"};
    int operation = ir_get_choice(ir, node, "operation", operations, "mean, sum, max or std");
    if (operation < 0)
        return false;
    json_t *attrs = copy_attributes(node);
    json_object_del(attrs, "operation");
    return ir_emit(ir, node, ops[operation], attrs);
}

static bool translate_embedding(struct ir *ir, struct ir_node *node)
{
    int64_t count = 0, width = 0;
    if (!ir_get_size(ir, node, "num_embeddings", &count) ||
        !ir_get_size(ir, node, "embedding_dim", &width))
        return false;
    ir_declare(ir, node, "weight", (int64_t[]){count, width}, 2, ir_random(ir, "normal"));
    ir_use(node, "weight");
    return ir_emit(ir, node, "embedding", NULL);
}

#define NORM_KEYS " type normalized_shape num_features eps "
#define ATTENTION_KEYS " embed_dim num_heads dropout bias batch_first "
static const struct ir_op rows[] = {
    {"input", 0, 0, " shape dtype ", false, translate_input},
    {"output", 1, 1, " ", false, translate_output},
    {"linear", 1, 1, " in_features out_features bias ", true, translate_linear},
    {"conv2d", 1, 1, " in_channels out_channels kernel_size stride padding dilation groups bias ",
     true, translate_conv2d},
    {"activation", 1, 1, " type dim ", false, translate_activation},
    {"normalization", 1, 1, NORM_KEYS, true, translate_normalization},
    {"layer_norm", 1, 1, NORM_KEYS, true, translate_normalization},
    {"batch_norm", 1, 1, NORM_KEYS, true, translate_normalization},
    {"pooling", 1, 1, " type kernel_size stride padding output_size ", false, translate_pooling},
    {"attention", 1, 3, ATTENTION_KEYS, true, translate_attention},
    {"multi_head_attention", 1, 3, ATTENTION_KEYS, true, translate_attention},
    {"dropout", 1, 1, " p ", false, translate_same},
    {"flatten", 1, 1, " start_dim end_dim ", false, translate_flatten},
    {"identity", 1, 1, " ", false, translate_same},
    {"add", 2, 2, " ", false, translate_same},
    {"multiply", 2, 2, " ", false, translate_multiply},
    {"concat", 1, LIMIT_OPERANDS, " dim ", false, translate_concat},
    {"reduce", 1, 1, " operation dim keepdim ", false, translate_reduce},
    {"embedding", 1, 1, " num_embeddings embedding_dim ", false, translate_embedding},
};

const struct ir_op *ir_op_find(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

const char *ir_op_name_at(uint32_t index)
{
    return index < sizeof rows / sizeof *rows ? rows[index].name : NULL;
}

bool ir_is_input(const struct ir_op *op)
{
    return op->translate == translate_input;
}

bool ir_is_output(const struct ir_op *op)
{
    return op->translate == translate_output;
}

static bool check_attributes(struct ir *ir, const struct ir_node *node)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)node->attributes, name, value)
    {
        const char *at =
            name[0] != '\0' && !strchr(name, ' ') ? strstr(node->op->attributes, name) : NULL;
        size_t size = strlen(name);
        while (at && (at[-1] != ' ' || at[size] != ' '))
            at = strstr(at + 1, name);
        if (!at) {
            fail(ir->err, ERR_BLUEPRINT, "'%s' has no such attribute (attributes:%s)",
                 node->op->name, node->op->attributes[1] != '\0' ? node->op->attributes : " none");
            return fail_at(ir->err, "attribute '%.64s'", name);
        }
    }
    return true;
}

/* Appends the operands as references, with casts if the document mixes float dtypes. */
static void make_operands(struct ir *ir, struct ir_node *node)
{
    bool casts = ir->mixed && (node->op->casts || node->precision != DTYPE_NONE) &&
                 node->op->translate != translate_embedding;
    enum dtype dtype = node->precision != DTYPE_NONE ? node->precision : ir->dtype;
    for (uint32_t i = 0; i < node->operands.count; i++) {
        json_t *reference = import_text(node->operands.items[i]);
        if (casts) {
            json_t *cast = import_object(), *in = import_array(), *attrs = import_object();
            import_append(in, reference);
            import_set(attrs, "dtype", import_text(dtype_name(dtype)));
            import_set(cast, "id", import_textf("%s.cast%u", node->id, i));
            import_set(cast, "op", import_text("to"));
            import_set(cast, "in", in);
            import_set(cast, "attrs", attrs);
            import_append(ir->nodes, cast);
            reference = import_textf("%s.cast%u", node->id, i);
        }
        import_append(node->in, reference);
    }
}

bool ir_translate_node(struct ir *ir, struct ir_node *node)
{
    if (!check_attributes(ir, node))
        return false;
    node->in = import_array();
    make_operands(ir, node);
    bool ok = node->op->translate(ir, node);
    json_decref(node->in);
    node->in = NULL;
    return ok;
}
