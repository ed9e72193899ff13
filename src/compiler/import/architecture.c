/* clang-format off */
/* Architecture shorthands: {"architecture": {"type", "config"?}}. They are expanded to a
 * BlueprintIR document, whose translator makes the parameters.
 *
 *   type       field          default            meaning
 *   linear     input_size     128
 *              hidden_sizes   [256, 256]
 *              output_size    128
 *              activation     relu               or gelu, tanh
 *              dropout        0
 *              x [B, input_size] → (Linear, activation, Dropout)…, Linear
 *   conv       in_channels    3
 *              out_channels   [64, 128, 256]     one block each
 *              kernel_sizes   3                  a number, or one for each block
 *              strides        1                  the same
 *              paddings       1                  the same
 *              activation     relu               or gelu
 *              pool_type      max                or avg
 *              pool_size      2
 *              input_shape    [in_channels, 32, 32]
 *              x [B, channels, height, width] → (Conv2d, BatchNorm2d, activation, pool)…,
 *              mean of each channel, Flatten
 *   attention  embed_dim      256
 *              num_heads      8
 *              dropout        0.1
 *              x [B, S, embed_dim] → self-attention, batch first
 *   custom     dim            256
 *              num_blocks     2
 *              x [B, dim] → blocks of x + Linear(relu(Linear(x)))
 *   custom     graph                             a document in another dialect
 *
 * The input is "x", the output "y". */
/* clang-format on */
#include "compiler/import/import_priv.h"

#include <string.h>

/* A BlueprintIR document that is being built: a chain of nodes. */
struct chain {
    json_t *nodes, *edges;
    char last[LIMIT_NAME + 1]; /* id of the node appended last */
    const json_t *config;      /* NULL: all defaults */
    struct error *err;
};

static const json_t *config_field(const struct chain *c, const char *key)
{
    return json_object_get(c->config, key);
}

static bool fail_field(struct chain *c, const char *key, const char *expected)
{
    fail(c->err, ERR_BLUEPRINT, "found %s, expected %s", import_type_text(config_field(c, key)),
         expected);
    return fail_at(c->err, "config '%s'", key);
}

static bool get_size(struct chain *c, const char *key, int64_t initial, int64_t min, int64_t *out)
{
    const json_t *found = config_field(c, key);
    int64_t value = found ? json_integer_value(found) : initial;
    if (found && (!json_is_integer(found) || value < min))
        return fail_field(c, key, min > 0 ? "an integer ≥ 1" : "an integer ≥ 0");
    if (value > LIMIT_DIM_VALUE) {
        fail(c->err, ERR_LIMIT, "%lld, at most %lld", (long long)value, (long long)LIMIT_DIM_VALUE);
        return fail_at(c->err, "config '%s'", key);
    }
    *out = value;
    return true;
}

static bool get_real(struct chain *c, const char *key, double initial, double *out)
{
    const json_t *found = config_field(c, key);
    if (found && !json_is_number(found))
        return fail_field(c, key, "a number");
    *out = found ? json_number_value(found) : initial;
    return true;
}

/* A field whose value is one of the words (NULL-terminated); the first is the default. */
static bool get_word(struct chain *c, const char *key, const char *const *words, const char **out)
{
    const json_t *found = config_field(c, key);
    const char *text = found ? json_string_value(found) : words[0];
    for (int i = 0; text && words[i]; i++)
        if (strcmp(words[i], text) == 0) {
            *out = words[i];
            return true;
        }
    fail(c->err, ERR_BLUEPRINT, "found %.64s, expected '%s' or another of its kinds",
         text ? text : import_type_text(found), words[0]);
    return fail_at(c->err, "config '%s'", key);
}

/* A list of sizes ≥ 1, at most LIMIT_NODES / 8 of them; a new reference, NULL on failure. */
static json_t *get_sizes(struct chain *c, const char *key, const int64_t *initial,
                         size_t initial_count)
{
    const json_t *found = config_field(c, key), *item;
    size_t i;
    if (!found) {
        json_t *sizes = import_array();
        for (i = 0; i < initial_count; i++)
            import_append(sizes, import_int(initial[i]));
        return sizes;
    }
    bool ok = json_is_array(found);
    json_array_foreach(found, i, item)
    {
        ok = ok && json_is_integer(item) && json_integer_value(item) >= 1;
    }
    if (!ok) {
        fail_field(c, key, "a list of integers ≥ 1");
        return NULL;
    }
    if (json_array_size(found) > LIMIT_NODES / 8) {
        fail(c->err, ERR_LIMIT, "%zu blocks, at most %d", json_array_size(found), LIMIT_NODES / 8);
        fail_at(c->err, "config '%s'", key);
        return NULL;
    }
    return import_copy(found);
}

/* Element i of a field that has one number for all of `count` blocks, or one for each. */
static bool get_of_block(struct chain *c, const char *key, int64_t initial, size_t i, size_t count,
                         int64_t *out)
{
    const json_t *found = config_field(c, key);
    const json_t *item = json_is_array(found) ? json_array_get(found, i) : found;
    if (json_is_array(found) && json_array_size(found) != count) {
        fail(c->err, ERR_BLUEPRINT, "%zu items for %zu blocks", json_array_size(found), count);
        return fail_at(c->err, "config '%s'", key);
    }
    if (found && (!json_is_integer(item) || json_integer_value(item) < 0))
        return fail_field(c, key, "an integer ≥ 0 or a list of them");
    *out = found ? json_integer_value(item) : initial;
    return true;
}

static void connect(struct chain *c, const char *source, const char *target)
{
    json_t *edge = import_object();
    import_set(edge, "source", import_text(source));
    import_set(edge, "target", import_text(target));
    import_append(c->edges, edge);
}

/* Appends a node whose operand is the result of the last one; takes ownership of attributes. */
static void append(struct chain *c, const char *id, const char *op_type, json_t *attributes)
{
    json_t *node = import_object();
    import_set(node, "id", import_text(id));
    import_set(node, "op_type", import_text(op_type));
    import_set(node, "attributes", attributes);
    import_append(c->nodes, node);
    if (c->last[0] != '\0')
        connect(c, c->last, id);
    snprintf(c->last, sizeof c->last, "%s", id);
}

static json_t *with_int(json_t *attributes, const char *name, int64_t value)
{
    import_set(attributes, name, import_int(value));
    return attributes;
}

static json_t *with_text(json_t *attributes, const char *name, const char *value)
{
    import_set(attributes, name, import_text(value));
    return attributes;
}

static json_t *with_real(json_t *attributes, const char *name, double value)
{
    import_set(attributes, name, import_real(value));
    return attributes;
}

static void append_input(struct chain *c, json_t *shape)
{
    json_t *attributes = import_object();
    import_set(attributes, "shape", shape);
    append(c, "x", "input", attributes);
}

static void append_linear(struct chain *c, const char *id, int64_t in, int64_t out)
{
    json_t *attributes = with_int(import_object(), "in_features", in);
    append(c, id, "linear", with_int(attributes, "out_features", out));
}

static bool spell_linear(struct chain *c)
{
    static const char *const activations[] = {"relu", "gelu", "tanh", NULL};
    static const int64_t hidden_default[] = {256, 256};
    const char *activation = NULL;
    int64_t width = 0, out = 0;
    double dropout = 0;
    char id[32];
    if (!get_size(c, "input_size", 128, 0, &width) || !get_size(c, "output_size", 128, 0, &out) ||
        !get_word(c, "activation", activations, &activation) ||
        !get_real(c, "dropout", 0, &dropout))
        return false;
    json_t *hidden = get_sizes(c, "hidden_sizes", hidden_default, 2), *size;
    size_t i, count = json_array_size(hidden);
    if (!hidden)
        return false;
    json_t *shape = import_array();
    import_append(shape, import_int(-1));
    import_append(shape, import_int(width));
    append_input(c, shape);
    json_array_foreach(hidden, i, size)
    {
        snprintf(id, sizeof id, "fc%zu", i + 1);
        append_linear(c, id, width, json_integer_value(size));
        width = json_integer_value(size);
        snprintf(id, sizeof id, "act%zu", i + 1);
        append(c, id, "activation", with_text(import_object(), "type", activation));
        snprintf(id, sizeof id, "drop%zu", i + 1);
        if (dropout != 0)
            append(c, id, "dropout", with_real(import_object(), "p", dropout));
    }
    snprintf(id, sizeof id, "fc%zu", count + 1);
    append_linear(c, id, width, out);
    json_decref(hidden);
    return true;
}

/* What all blocks of a `conv` have in common. */
struct conv_blocks {
    size_t count;
    const char *activation, *pool; /* op types */
    int64_t pool_size;
};

static bool append_conv_block(struct chain *c, const struct conv_blocks *blocks, size_t i,
                              int64_t in, int64_t out)
{
    size_t count = blocks->count;
    int64_t kernel = 0, stride = 0, padding = 0;
    char id[32];
    if (!get_of_block(c, "kernel_sizes", 3, i, count, &kernel) ||
        !get_of_block(c, "strides", 1, i, count, &stride) ||
        !get_of_block(c, "paddings", 1, i, count, &padding))
        return false;
    json_t *conv = with_int(import_object(), "in_channels", in);
    with_int(with_int(conv, "out_channels", out), "kernel_size", kernel);
    snprintf(id, sizeof id, "conv%zu", i + 1);
    append(c, id, "conv2d", with_int(with_int(conv, "stride", stride), "padding", padding));
    snprintf(id, sizeof id, "bn%zu", i + 1);
    append(c, id, "batch_norm", with_int(import_object(), "num_features", out));
    snprintf(id, sizeof id, "act%zu", i + 1);
    append(c, id, "activation", with_text(import_object(), "type", blocks->activation));
    snprintf(id, sizeof id, "pool%zu", i + 1);
    json_t *pooling = with_text(import_object(), "type", blocks->pool);
    append(c, id, "pooling", with_int(pooling, "kernel_size", blocks->pool_size));
    return true;
}

/* The shape of one image, a new reference. */
static json_t *conv_input(struct chain *c, int64_t channels)
{
    const json_t *found = config_field(c, "input_shape"), *item;
    json_t *shape = import_array();
    size_t i;
    import_append(shape, import_int(-1));
    if (!found) {
        import_append(shape, import_int(channels));
        import_append(shape, import_int(32));
        import_append(shape, import_int(32));
        return shape;
    }
    bool ok = json_is_array(found) && json_array_size(found) == 3 &&
              json_integer_value(json_array_get(found, 0)) == channels;
    json_array_foreach(found, i, item)
    {
        ok = ok && json_is_integer(item) && json_integer_value(item) >= 1;
        if (ok)
            import_append(shape, import_copy(item));
    }
    if (ok)
        return shape;
    json_decref(shape);
    fail_field(c, "input_shape", "[in_channels, height, width]");
    return NULL;
}

static bool spell_conv(struct chain *c)
{
    static const char *const activations[] = {"relu", "gelu", NULL}, *const pools[] = {"max", "avg",
                                                                                       NULL};
    static const int64_t channels_default[] = {64, 128, 256};
    struct conv_blocks blocks = {.count = 0};
    int64_t channels = 0;
    bool ok = true;
    if (!get_size(c, "in_channels", 3, 1, &channels) ||
        !get_size(c, "pool_size", 2, 1, &blocks.pool_size) ||
        !get_word(c, "activation", activations, &blocks.activation) ||
        !get_word(c, "pool_type", pools, &blocks.pool))
        return false;
    json_t *shape = conv_input(c, channels), *size;
    if (!shape)
        return false;
    append_input(c, shape);
    json_t *out_channels = get_sizes(c, "out_channels", channels_default, 3);
    size_t i;
    if (!out_channels)
        return false;
    blocks.count = json_array_size(out_channels);
    json_array_foreach(out_channels, i, size)
    {
        int64_t out = json_integer_value(size);
        ok = ok && append_conv_block(c, &blocks, i, channels, out);
        channels = out;
    }
    json_decref(out_channels);
    json_t *mean = with_text(import_object(), "type", "adaptive_avg_pool2d");
    append(c, "mean", "pooling", with_int(mean, "output_size", 1));
    append(c, "flat", "flatten", import_object());
    return ok;
}

static bool spell_attention(struct chain *c)
{
    int64_t width = 0, heads = 0;
    double dropout = 0;
    if (!get_size(c, "embed_dim", 256, 1, &width) || !get_size(c, "num_heads", 8, 1, &heads) ||
        !get_real(c, "dropout", 0.1, &dropout))
        return false;
    json_t *shape = import_array();
    import_append(shape, import_int(-1));
    import_append(shape, import_int(-1));
    import_append(shape, import_int(width));
    append_input(c, shape);
    json_t *attributes = with_int(import_object(), "embed_dim", width);
    append(c, "attn", "attention",
           with_real(with_int(attributes, "num_heads", heads), "dropout", dropout));
    return true;
}

static bool spell_custom(struct chain *c)
{
    int64_t dim = 0, blocks = 0;
    char id[48], from[LIMIT_NAME + 1];
    if (!get_size(c, "dim", 256, 0, &dim) || !get_size(c, "num_blocks", 2, 0, &blocks))
        return false;
    if (blocks > LIMIT_NODES / 8) {
        fail(c->err, ERR_LIMIT, "%lld, at most %d", (long long)blocks, LIMIT_NODES / 8);
        return fail_at(c->err, "config 'num_blocks'");
    }
    json_t *shape = import_array();
    import_append(shape, import_int(-1));
    import_append(shape, import_int(dim));
    append_input(c, shape);
    for (int64_t i = 1; i <= blocks; i++) {
        memcpy(from, c->last, sizeof from);
        snprintf(id, sizeof id, "block%lld.fc1", (long long)i);
        append_linear(c, id, dim, dim);
        snprintf(id, sizeof id, "block%lld.act", (long long)i);
        append(c, id, "activation", with_text(import_object(), "type", "relu"));
        snprintf(id, sizeof id, "block%lld.fc2", (long long)i);
        append_linear(c, id, dim, dim);
        snprintf(id, sizeof id, "block%lld", (long long)i);
        append(c, id, "add", import_object());
        connect(c, from, id);
    }
    return true;
}

static const struct architecture {
    const char *type;
    const char *keys[12];
    bool (*spell)(struct chain *);
    bool sequence; /* x has the dims B and S */
} rows[] = {
    {"linear",
     {"input_size", "hidden_sizes", "output_size", "activation", "dropout"},
     spell_linear,
     false},
    {"conv",
     {"in_channels", "out_channels", "kernel_sizes", "strides", "paddings", "activation",
      "pool_type", "pool_size", "input_shape"},
     spell_conv,
     false},
    {"attention", {"embed_dim", "num_heads", "dropout"}, spell_attention, true},
    {"custom", {"dim", "num_blocks"}, spell_custom, false},
};

static json_t *named_dim(int64_t typical)
{
    json_t *dim = with_int(with_int(import_object(), "min", 1), "max", 65536);
    return with_int(dim, "typical", typical);
}

/* Gives the dims of a translated document their names and typical values. */
static void name_dims(json_t *native, bool sequence)
{
    json_t *dims = import_object();
    import_set(dims, "B", named_dim(8));
    if (sequence) {
        json_t *input = json_array_get(json_object_get(native, "inputs"), 0);
        import_set(dims, "S", named_dim(16));
        json_array_set_new(json_object_get(input, "shape"), 1, import_text("S"));
    }
    import_set(native, "dims", dims);
}

static json_t *spell(const struct architecture *row, const json_t *config,
                     const struct import_options *options, struct error *err)
{
    struct chain c = {
        .nodes = import_array(), .edges = import_array(), .config = config, .err = err};
    json_t *document = import_object(), *native = NULL;
    bool ok = row->spell(&c);
    if (ok)
        append(&c, "y", "output", import_object());
    import_set(document, "nodes", c.nodes);
    import_set(document, "edges", c.edges);
    if (ok)
        native = dialect_from_blueprint_ir(document, options, err);
    json_decref(document);
    if (native)
        name_dims(native, row->sequence);
    return native;
}

/* config with "graph": a document in another dialect. */
static json_t *explicit_graph(const json_t *config, const struct import_options *options,
                              struct error *err)
{
    static const char *const keys[] = {"graph", NULL};
    json_t *graph = NULL;
    if (!json_only_keys(config, keys, err) || !json_get_object(config, "graph", &graph, err))
        return NULL;
    if (json_object_get(graph, "format"))
        return json_deep_copy(graph);
    json_t *native = dialect_from_blueprint_ir(graph, options, err);
    if (!native)
        fail_at(err, "config 'graph'");
    return native;
}

static json_t *translate(const json_t *architecture, const struct import_options *options,
                         struct error *err)
{
    static const char *const keys[] = {"type", "config", NULL};
    const char *type = NULL;
    const struct architecture *row = NULL;
    json_t *config = json_object_get(architecture, "config");
    if (!json_only_keys(architecture, keys, err) ||
        !json_get_string(architecture, "type", &type, err) ||
        (config && !json_get_object(architecture, "config", &config, err)))
        return NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].type, type) == 0)
            row = &rows[i];
    if (!row) {
        fail(err, ERR_BLUEPRINT, "unknown type '%.64s', expected linear, conv, attention or custom",
             type);
        return NULL;
    }
    if (row->spell == spell_custom && json_object_get(config, "graph"))
        return explicit_graph(config, options, err);
    if (config && !json_only_keys(config, row->keys, err)) {
        fail_at(err, "config");
        return NULL;
    }
    return spell(row, config, options, err);
}

json_t *dialect_from_architecture(const json_t *document, const struct import_options *options,
                                  struct error *err)
{
    static const char *const keys[] = {"architecture", DOCUMENT_KEYS, NULL};
    if (!json_only_keys(document, keys, err) || !import_check_document(document, err))
        return NULL;
    json_t *native = translate(json_object_get(document, "architecture"), options, err);
    json_t *name = json_object_get(document, "name");
    if (!native) {
        fail_at(err, "architecture");
        return NULL;
    }
    if (name)
        import_set(native, "name", import_copy(name));
    return native;
}
