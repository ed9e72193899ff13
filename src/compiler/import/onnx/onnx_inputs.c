/* The inputs of a model and their dims.
 *
 * A dim without a number becomes a named dim. Its name is that in the file, or d1, d2 … if the file
 * has none, or one that exporters write for "unknown". Its range comes from the metadata, if this
 * program exported the model; otherwise it is the default. Inputs whose values the caller gives
 * (options->fixed) become constants. */
#include <onnx.pb-c.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "compiler/import/onnx/onnx_told_priv.h"

#define HASH_DIGITS 16

/* Makes a legal name of one from the file, where exporters also write "batch size" and "2*seq". The
 * rest of a long name is replaced by a hash. */
static const char *legal_label(struct onnx *o, const char *param)
{
    char label[LIMIT_NAME + 1];
    size_t used = 0, most = LIMIT_NAME - HASH_DIGITS - 1, length = strlen(param);
    if (!isalpha((unsigned char)param[0]) && param[0] != '_')
        label[used++] = 'd';
    for (const char *at = param; *at != '\0' && used < most; at++)
        label[used++] = isalnum((unsigned char)*at) || *at == '.' ? *at : '_';
    if (length >= most)
        used += (size_t)snprintf(label + used, sizeof label - used, "_%016llx",
                                 (unsigned long long)hash64(param, length, 0));
    return arena_strndup(o->arena, label, used);
}

/* A legal name that no other dim has. Two names in the file that would become the same one ("a b"
 * and "a_b") get different numbers. */
static const char *fresh_legal_label(struct onnx *o, const char *param)
{
    uint32_t index;
    const char *legal = legal_label(o, param), *label = legal;
    for (uint32_t i = 2; strmap_find(&o->labels, label, &index); i++) {
        char text[LIMIT_NAME + 1];
        snprintf(text, sizeof text, "%.*s_%u", LIMIT_NAME - HASH_DIGITS, legal, i);
        label = arena_strdup(o->arena, text);
    }
    strmap_add(&o->labels, o->arena, label, 0);
    return label;
}

/* The name of the dim that is called `param` in the file. */
static const char *dim_label(struct onnx *o, const char *param)
{
    uint32_t index, place = o->labels.count;
    if (strmap_find(&o->dim_params, param, &index))
        return o->labels.keys[index];
    const char *label = fresh_legal_label(o, param);
    strmap_add(&o->dim_params, o->arena, param, place);
    return label;
}

/* Whether the model has an input dim of this name. */
static bool is_spelled(const struct onnx *o, const char *label)
{
    const Onnx__GraphProto *graph = o->model->graph;
    for (size_t i = 0; i < graph->n_input; i++) {
        const Onnx__TypeProto *type = graph->input[i]->type;
        const Onnx__TensorShapeProto *shape = NULL;
        if (type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type)
            shape = type->tensor_type->shape;
        for (size_t k = 0; shape && k < shape->n_dim; k++)
            if (shape->dim[k]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                shape->dim[k]->dim_param && strcmp(shape->dim[k]->dim_param, label) == 0)
                return true;
    }
    return false;
}

/* The next of the names d1, d2 …, without those that the model itself uses. The numbers depend only
 * on the file, not on sizes that the caller gives. */
static const char *fresh_label(struct onnx *o)
{
    char label[16];
    uint32_t index;
    do
        snprintf(label, sizeof label, "d%u", ++o->anonymous);
    while (strmap_find(&o->labels, label, &index) || is_spelled(o, label));
    const char *kept = arena_strdup(o->arena, label);
    strmap_add(&o->labels, o->arena, kept, 0);
    return kept;
}

/* The range that this program's exporter writes to the metadata: "urza.dim.B" is "1..64 multiple 8
 * typical 16". */
static bool read_range(const struct onnx *o, const char *label, struct dim_name *name,
                       struct error *err)
{
    static const char prefix[] = "urza.dim.";
    const size_t length = sizeof prefix - 1;
    for (size_t i = 0; i < o->model->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *entry = o->model->metadata_props[i];
        long long min, max, multiple, typical;
        int end = 0;
        if (!entry->key || strncmp(entry->key, prefix, length) != 0 ||
            strcmp(entry->key + length, label) != 0)
            continue;
        if (!entry->value ||
            sscanf(entry->value, "%18lld..%18lld multiple %18lld typical %18lld%n", &min, &max,
                   &multiple, &typical, &end) != 4 ||
            entry->value[end] != '\0' || min < 0 || max > LIMIT_DIM_VALUE)
            return fail(err, ERR_PARSE, "the range of the dim '%s' does not parse", label);
        *name = (struct dim_name){label, min, max, multiple, typical, NULL};
    }
    return true;
}

/* Declares a named dim, with the caller's range if it gives one. */
static bool declare(struct onnx *o, const struct dim_name *name, dim_id *out, struct error *err)
{
    struct dim_table *dims = &o->graph->dims;
    uint32_t index;
    for (uint32_t i = 0; i < o->options->equal_count; i++)
        if (strcmp(o->options->equal[i].name, name->name) == 0) {
            bool ok =
                import_declare_equal(dims, o->options, name, o->options->equal[i].expression, err);
            *out = dim_of_name(dims, name->name);
            return ok;
        }
    if (name->min == name->max) {
        *out = dim_const(dims, name->min);
        return dim_declare_alias(dims, name->name, *out, err);
    }
    if (!dim_declare(dims, name, &index, err))
        return false;
    *out = dim_named(dims, index);
    return true;
}

/* param: the name in the file, which the caller may use too; NULL: none. */
static bool declare_dim(struct onnx *o, const char *label, const char *param, dim_id *out,
                        struct error *err)
{
    struct dim_name name = {.name = label, .min = 1, .max = DIM_MAX_DEFAULT, .multiple_of = 1};
    if (!read_range(o, label, &name, err))
        return false;
    for (uint32_t i = 0; i < o->options->dim_count; i++)
        if (strcmp(o->options->dims[i].name, label) == 0 ||
            (param && strcmp(o->options->dims[i].name, param) == 0)) {
            name = o->options->dims[i];
            name.name = label;
        }
    uint32_t index;
    *out = dim_of_name(&o->graph->dims, label);
    if (*out != DIM_NONE)
        return true;
    if (!declare(o, &name, out, err))
        return false;
    if (param && strcmp(param, label) != 0 && onnx_is_utf8(param) &&
        dim_find_name(&o->graph->dims, label, &index))
        dim_spell(&o->graph->dims, index, param);
    return true;
}

bool onnx_declare_told(struct onnx *o, const char *wish, const struct dim_name *range, dim_id *out,
                       struct error *err)
{
    struct dim_name name = *range;
    name.name = fresh_legal_label(o, wish);
    for (uint32_t i = 0; i < o->options->dim_count; i++) {
        const struct dim_name *given = &o->options->dims[i];
        if (strcmp(given->name, name.name) != 0)
            continue;
        name = *given;
        name.min = given->min > range->min ? given->min : range->min;
        name.max = given->max < range->max ? given->max : range->max;
        if (name.min > name.max)
            return fail(err, ERR_SHAPE, "dim '%s' has no value within %lld … %lld", name.name,
                        (long long)range->min, (long long)range->max);
    }
    *out = dim_of_name(&o->graph->dims, name.name);
    return *out != DIM_NONE || declare(o, &name, out, err);
}

/* Exporters write these for every dim that they do not know, so two dims with such a name need not
 * be equal. */
static bool says_unknown(const char *param)
{
    static const char *const words[] = {"", "?", "-1", "None"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(param, words[i]) == 0)
            return true;
    return false;
}

static bool read_dim(struct onnx *o, const Onnx__TensorShapeProto__Dimension *dim, dim_id *out,
                     struct error *err)
{
    bool value = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    bool param = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                 dim->dim_param && !says_unknown(dim->dim_param);
    if (value && dim->dim_value >= 0) {
        if (dim->dim_value > LIMIT_DIM_VALUE)
            return fail(err, ERR_LIMIT, "%lld is larger than any dim may be",
                        (long long)dim->dim_value);
        *out = dim_const(&o->graph->dims, dim->dim_value);
        return true;
    }
    if (!param)
        return declare_dim(o, fresh_label(o), NULL, out, err);
    return declare_dim(o, dim_label(o, dim->dim_param), dim->dim_param, out, err);
}

static const Onnx__TensorShapeProto *stated_shape(const struct onnx_call *c)
{
    const Onnx__GraphProto *graph = c->o->model->graph;
    for (size_t i = 0; i < graph->n_value_info + graph->n_output; i++) {
        const Onnx__ValueInfoProto *info =
            i < graph->n_value_info ? graph->value_info[i] : graph->output[i - graph->n_value_info];
        const Onnx__TypeProto *type = info->type;
        if (info->name && strcmp(info->name, c->node->output[0]) == 0 && type &&
            type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && type->tensor_type)
            return type->tensor_type->shape;
    }
    return NULL;
}

int onnx_stated_rank(const struct onnx_call *c)
{
    const Onnx__TensorShapeProto *shape = stated_shape(c);
    return shape ? (int)shape->n_dim : -1;
}

bool onnx_stated_shape(struct onnx_call *c, dim_id *out, uint32_t *out_rank)
{
    const Onnx__TensorShapeProto *shape = stated_shape(c);
    struct dim_table *dims = &c->o->graph->dims;
    if (!shape || shape->n_dim > LIMIT_RANK || c->scope->parent)
        return false;
    for (size_t i = 0; i < shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        uint32_t index;
        out[i] = DIM_NONE;
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
            dim->dim_value >= 0)
            out[i] = dim_const(dims, dim->dim_value);
        else if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                 dim->dim_param && strmap_find(&c->o->dim_params, dim->dim_param, &index))
            out[i] = dim_of_name(dims, c->o->labels.keys[index]);
        if (out[i] == DIM_NONE)
            return false;
    }
    *out_rank = (uint32_t)shape->n_dim;
    return true;
}

static bool read_type(struct onnx *o, const Onnx__TypeProto *type, enum dtype *dtype,
                      dim_id shape[LIMIT_RANK], uint32_t *rank, struct error *err)
{
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
        return fail(err, ERR_UNSUPPORTED, "it is no dense tensor");
    const Onnx__TensorShapeProto *dims = type->tensor_type->shape;
    uint8_t small;
    if (!onnx_dtype(type->tensor_type->elem_type, dtype, &small, err))
        return false;
    if (!dims)
        return fail(err, ERR_UNSUPPORTED, "its rank is not stated");
    if (dims->n_dim > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "rank %zu, at most %d", dims->n_dim, LIMIT_RANK);
    *rank = (uint32_t)dims->n_dim;
    for (uint32_t i = 0; i < *rank; i++)
        if (!read_dim(o, dims->dim[i], &shape[i], err))
            return fail_at(err, "dim %u", i);
    return true;
}

bool onnx_known_input(struct onnx *o, const Onnx__ValueInfoProto *info,
                      const struct import_tensor *given, struct import_tensor *out,
                      struct error *err)
{
    const Onnx__TypeProto *type = info->type;
    bool tensor = type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    const Onnx__TensorShapeProto *shape = tensor ? type->tensor_type->shape : NULL;
    struct import_type wanted = {.ranked = shape};
    uint8_t small;
    if (!tensor)
        return fail(err, ERR_UNSUPPORTED, "it is no dense tensor");
    if (!onnx_dtype(type->tensor_type->elem_type, &wanted.dtype, &small, err))
        return false;
    if (shape && shape->n_dim > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "rank %zu, at most %d", shape->n_dim, LIMIT_RANK);
    wanted.rank = shape ? (uint32_t)shape->n_dim : 0;
    for (uint32_t i = 0; i < wanted.rank; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        bool value = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        wanted.shape[i] = value && dim->dim_value >= 0 ? dim->dim_value : -1;
    }
    return import_known(given, &wanted, o->arena, out, err);
}

static value_id read_input(struct onnx *o, const Onnx__ValueInfoProto *info, const char *name,
                           struct error *err)
{
    enum dtype dtype = DTYPE_NONE;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    const struct import_tensor *given = import_find_known(o->options, name);
    struct import_tensor known;
    if (given)
        return onnx_known_input(o, info, given, &known, err)
                   ? onnx_initializer(o, name, &known, true, err)
                   : VALUE_NONE;
    if (!read_type(o, info->type, &dtype, shape, &rank, err))
        return VALUE_NONE;
    return graph_input(o->graph, name, dtype, shape, rank, err);
}

static uint8_t small_type(const Onnx__TypeProto *type)
{
    uint8_t small = 0;
    enum dtype carrier;
    bool tensor = type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    if (tensor && type->tensor_type)
        onnx_small_find(type->tensor_type->elem_type, &small, &carrier);
    return small;
}

/* Before IR version 4 all initialisers are inputs too; since then, an initialiser that is an input
 * is a default value. */
static void warn_of_default(struct onnx *o, const char *name)
{
    if (o->model->ir_version < 4 || import_find_known(o->options, name))
        return;
    strbuf_printf(&o->warnings,
                  "input '%.200s' keeps its value in the model: a call cannot give another, the "
                  "option --known can",
                  name);
    strbuf_add(&o->warnings, "", 1);
}

static bool check_known(const struct onnx *o, const Onnx__GraphProto *graph, struct error *err)
{
    const char **names = ARENA_ARRAY(o->arena, const char *, graph->n_input);
    for (size_t i = 0; i < graph->n_input; i++)
        names[i] = graph->input[i]->name ? graph->input[i]->name : "";
    return import_check_known(o->options, names, (uint32_t)graph->n_input, err);
}

bool onnx_inputs(struct onnx *o, struct onnx_scope *scope, const Onnx__GraphProto *graph,
                 struct error *err)
{
    if (!check_known(o, graph, err))
        return false;
    for (size_t i = 0; i < graph->n_input; i++) {
        const char *name = graph->input[i]->name ? graph->input[i]->name : "";
        struct error failure = {.code = ERR_NONE};
        uint32_t index;
        if (strmap_find(&scope->names, name, &index) && index < graph->n_initializer) {
            warn_of_default(o, name);
            continue;
        }
        value_id value = read_input(o, graph->input[i], name, &failure);
        if (failure.code == ERR_UNSUPPORTED) {
            char why[600];
            snprintf(why, sizeof why, "'%.80s': %s", name, failure.message);
            onnx_note_refusal(o, "input", why);
        } else if (failure.code != ERR_NONE) {
            *err = failure;
            return fail_at(err, "input '%.100s'", name);
        }
        if (!onnx_name(o, scope, name, value, err))
            return false;
        onnx_name_small(o, small_type(graph->input[i]->type));
    }
    return true;
}
