/* clang-format off */
/* The native dialect. The order of nodes does not matter: a node may use one that comes later.
 *
 *   document  {"format": "urza.blueprint/1",
 *              "name"?,
 *              "dims"?:    {"B": dim…},
 *              "inputs":   [{"id", "dtype", "shape"}…],
 *              "params"?:  [{"id", "dtype", "shape", "init"?}…],  constant shapes; init: see init.c
 *              "nodes":    [node…],
 *              "outputs":  [output…],
 *              "updates"?: {"input": "output"…},                 outputs that replace inputs
 *              "id"?, "version"?, "tags"?, "metadata"?}           these do not affect the graph
 *   dim       {"min"? (1), "max"? (65536), "multiple_of"? (1), "typical"?, "equals"?, "why"?}
 *   node      {"id", "op", "in"?, "attrs"?, "out"?, "shape"?, "in_shape"?, "dtype"?}
 *   output    "id" or {"name", "value", "shape"?, "dtype"?}
 *
 *   in            references to the operands, in the op's order; null omits an optional one
 *   attrs         the op's attributes: numbers, booleans, strings, lists of integers
 *   out           further names for the results, in order
 *   shape, dtype  compared with the inferred type of the first result
 *   in_shape      compared with the shape of the first operand; -1 in it or in shape is any size
 *   equals        an expression that the dim is another name of
 *   why           the reason for a derived restriction
 *   reference     "id" (of an input, a param or a node: its first result), "id.k" (result k), or a
 *                 name from "out"; a declared name takes precedence over the form "id.k"
 *   shape         integers and expressions over dims: ["B", 64, "2*S + 1"]
 *
 * In place of dims, inputs, nodes and outputs a field "graph" may have a graph of primitives; see
 * native_graph.c.
 *
 * Dims are declared in alphabetical order, so the order of keys does not matter either. */
/* clang-format on */
#include "compiler/import/import_priv.h"

#include <stdlib.h>
#include <string.h>

static bool read_named_dim(struct graph *graph, const char *name, const json_t *range,
                           struct error *err)
{
    static const char *const keys[] = {"min", "max",    "multiple_of", "typical",
                                       "why", "equals", NULL};
    const char *equals = NULL;
    struct dim_name dim = {.name = name, .min = 1, .max = DIM_MAX_BLUEPRINT, .multiple_of = 1};
    uint32_t index;
    static const struct import_options none = {.dim_count = 0};
    if (!json_only_keys(range, keys, err) || !json_opt_int(range, "min", &dim.min, err) ||
        !json_opt_int(range, "max", &dim.max, err) ||
        !json_opt_int(range, "multiple_of", &dim.multiple_of, err) ||
        !json_opt_int(range, "typical", &dim.typical, err) ||
        !json_opt_string(range, "why", &dim.why, err) ||
        !json_opt_string(range, "equals", &equals, err))
        return false;
    return equals ? import_declare_equal(&graph->dims, &none, &dim, equals, err)
                  : dim_declare(&graph->dims, &dim, &index, err);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool read_dims(struct graph *graph, const json_t *document, struct error *err)
{
    json_t *dims = json_object_get(document, "dims"), *range;
    const char *names[LIMIT_NAMED_DIMS], *name;
    uint32_t count = 0;
    if (!dims)
        return true;
    if (!json_get_object(document, "dims", &dims, err))
        return false;
    if (json_object_size(dims) > LIMIT_NAMED_DIMS)
        return fail(err, ERR_LIMIT, "%zu named dims, at most %d", json_object_size(dims),
                    LIMIT_NAMED_DIMS);
    json_object_foreach(dims, name, range)
    {
        names[count++] = name;
    }
    qsort(names, count, sizeof *names, compare_names);
    for (int equal = 0; equal < 2; equal++) /* those with "equals" behind the others */
        for (uint32_t i = 0; i < count; i++) {
            range = json_object_get(dims, names[i]);
            if ((json_object_get(range, "equals") != NULL) == (equal == 1) &&
                !read_named_dim(graph, names[i], range, err))
                return fail_at(err, "dim '%.64s'", names[i]);
        }
    return true;
}

/* Reads one dim of a shape. */
static bool read_dim(struct graph *graph, const json_t *item, bool any, dim_id *out,
                     struct error *err)
{
    if (json_is_integer(item)) {
        int64_t value = json_integer_value(item);
        if (any && value == -1) {
            *out = DIM_NONE;
            return true;
        }
        if (value < 0)
            return fail(err, ERR_SHAPE, "found %lld, expected an integer ≥ 0 or a dim expression",
                        (long long)value);
        if (value > LIMIT_DIM_VALUE)
            return fail(err, ERR_LIMIT, "%lld is larger than any dim may be (%lld)",
                        (long long)value, (long long)LIMIT_DIM_VALUE);
        *out = dim_const(&graph->dims, value);
        return true;
    }
    if (!json_is_string(item))
        return fail(err, ERR_JSON, "found %s, expected an integer ≥ 0 or a dim expression",
                    import_type_text(item));
    const char *text = json_string_value(item), *rest = text;
    dim_id dim = DIM_NONE;
    if (!dim_parse(&graph->dims, &rest, &dim, err)) {
        err->code = err->code == ERR_PARSE ? ERR_BLUEPRINT : err->code;
        return fail_at(err, "'%.64s'", text);
    }
    rest += strspn(rest, " ");
    if (*rest != '\0')
        return fail(err, ERR_BLUEPRINT, "found '%.64s' behind the dim expression in '%.64s'", rest,
                    text);
    *out = dim;
    return true;
}

bool native_read_shape(struct graph *graph, const json_t *shape, bool any, dim_id out[LIMIT_RANK],
                       uint32_t *out_rank, struct error *err)
{
    if (!json_is_array(shape))
        return fail(err, ERR_JSON, "field 'shape': expected an array, found %s",
                    import_type_text(shape));
    size_t rank = json_array_size(shape);
    if (rank > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "a shape has %zu dims, at most %d", rank, LIMIT_RANK);
    for (size_t i = 0; i < rank; i++)
        if (!read_dim(graph, json_array_get(shape, i), any, &out[i], err))
            return fail_at(err, "shape, dim %zu", i);
    *out_rank = (uint32_t)rank;
    return true;
}

static bool is_constant(const struct graph *graph, const dim_id *shape, uint32_t rank)
{
    for (uint32_t i = 0; i < rank; i++)
        if (!dim_is_const(&graph->dims, shape[i], NULL))
            return false;
    return true;
}

/* Reads an input, or a param if init is not NULL; its name is known already. */
static bool read_tensor(struct graph *graph, const json_t *item, const char *id,
                        struct param_init *init, struct error *err)
{
    static const char *const input_keys[] = {"id", "dtype", "shape", NULL};
    static const char *const param_keys[] = {"id", "dtype", "shape", "init", NULL};
    const char *dtype_text = NULL;
    enum dtype dtype = DTYPE_NONE;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    if (!json_only_keys(item, init ? param_keys : input_keys, err) ||
        !json_get_string(item, "dtype", &dtype_text, err) ||
        !import_dtype(dtype_text, &dtype, err) ||
        !native_read_shape(graph, json_object_get(item, "shape"), false, shape, &rank, err))
        return false;
    if (!init)
        return graph_input(graph, id, dtype, shape, rank, err) != VALUE_NONE;
    if (!is_constant(graph, shape, rank))
        return fail(err, ERR_SHAPE, "found a dynamic dim, expected a constant shape");
    const json_t *from = json_object_get(item, "init");
    if (from && !init_read(from, dtype, rank, graph->arena, init, err))
        return fail_at(err, "init");
    return graph_param(graph, id, dtype, shape, rank, err) != VALUE_NONE;
}

static bool read_tensors(struct blueprint *out, const json_t *list, bool params, struct error *err)
{
    const char *what = params ? "param" : "input";
    size_t count = json_array_size(list);
    struct graph *graph = &out->graph;
    if (count > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "%zu %ss, at most %d", count, what, LIMIT_NODES);
    if (params)
        out->inits = ARENA_ARRAY(graph->arena, struct param_init, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        const char *id = NULL;
        if (!import_id(item, "id", &id, err))
            return fail_at(err, "%ss[%zu]", what, i);
        if (!read_tensor(graph, item, id, params ? &out->inits[i] : NULL, err))
            return fail_at(err, "%s '%s'", what, id);
    }
    return true;
}

bool native_read(const json_t *document, const struct import_options *options, struct arena *arena,
                 struct blueprint *out, struct error *err)
{
    static const char *const keys[] = {"format",  "dims",    "inputs",      "params", "nodes",
                                       "outputs", "updates", DOCUMENT_KEYS, NULL};
    const char *format = NULL, *name = "";
    json_t *inputs = NULL, *params = json_object_get(document, "params");
    graph_init(&out->graph, arena);
    if (!json_get_string(document, "format", &format, err))
        return false;
    if (strcmp(format, NATIVE_FORMAT) != 0)
        return fail(err, ERR_UNSUPPORTED, "format '%.64s', expected '%s'", format, NATIVE_FORMAT);
    if (json_object_get(document, "graph"))
        return native_read_graph(document, arena, out, err);
    if (!json_only_keys(document, keys, err) || !import_check_document(document, err) ||
        !json_get_array(document, "inputs", &inputs, err) ||
        (params && !json_get_array(document, "params", &params, err)) ||
        !json_opt_string(document, "name", &name, err))
        return false;
    out->graph.name = arena_strdup(arena, name);
    return read_dims(&out->graph, document, err) && read_tensors(out, inputs, false, err) &&
           read_tensors(out, params, true, err) && native_read_nodes(document, options, out, err);
}
