/* Arguments of calls, by the names in ATen's schemas. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

bool aten_failed(const struct aten_call *c)
{
    return c->b->err->code != ERR_NONE;
}

value_id aten_refuse(struct aten_call *c, const char *fmt, ...)
{
    va_list args;
    if (aten_failed(c))
        return VALUE_NONE;
    va_start(args, fmt);
    fail_v(c->b->err, ERR_UNSUPPORTED, fmt, args);
    va_end(args);
    return VALUE_NONE;
}

bool aten_return(struct aten_call *c, value_id out)
{
    c->out[0] = out;
    c->out_count = 1;
    return out != VALUE_NONE && !aten_failed(c);
}

uint32_t aten_rank(const struct aten_call *c, value_id x)
{
    return x == VALUE_NONE ? 0 : graph_node(c->p->graph, x)->rank;
}

enum dtype aten_type(const struct aten_call *c, value_id x)
{
    return x == VALUE_NONE ? DTYPE_NONE : (enum dtype)graph_node(c->p->graph, x)->dtype;
}

const json_t *aten_arg(struct aten_call *c, const char *name, const char **out_kind)
{
    const json_t *input;
    size_t i;
    *out_kind = "";
    json_array_foreach(c->inputs, i, input)
    {
        const char *own = json_string_value(json_object_get(input, "name"));
        json_t *arg = json_object_get(input, "arg");
        void *first = json_object_iter(arg);
        if (!own || strcmp(own, name) != 0)
            continue;
        c->used |= i < 64 ? UINT64_C(1) << i : 0;
        if (!first || strcmp(json_object_iter_key(first), "as_none") == 0)
            return NULL;
        *out_kind = json_object_iter_key(first);
        if (strcmp(*out_kind, "as_optional_tensor") != 0)
            return json_object_iter_value(first);
        *out_kind = "as_tensor";
        return json_object_get(json_object_iter_value(first), "as_tensor");
    }
    return NULL;
}

bool aten_has(struct aten_call *c, const char *name)
{
    const char *kind;
    return aten_arg(c, name, &kind) != NULL;
}

bool aten_is_tensor(struct aten_call *c, const char *name)
{
    const char *kind;
    return aten_arg(c, name, &kind) && strcmp(kind, "as_tensor") == 0;
}

static void wrong_type(struct aten_call *c, const char *name)
{
    if (!aten_failed(c))
        b_fail(c->b, ERR_BLUEPRINT, "argument '%.60s' is of another type than the op's", name);
}

/* The entry of a name, up to date; NULL: it cannot be read. */
static struct pt2_name *entry_of(struct aten_call *c, const char *name)
{
    struct pt2_name *entry = name ? pt2_find(c->p, name, c->b->err) : NULL;
    if (!entry && !aten_failed(c))
        b_fail(c->b, ERR_BLUEPRINT, "'%.100s' is no value", name ? name : "");
    if (!entry || aten_failed(c) ||
        !pt2_refresh(c->p, (uint32_t)(entry - c->p->entries.items), c->b->err))
        return NULL;
    entry = pt2_find(c->p, name, c->b->err); /* entries move when refreshing adds others */
    if (entry->why) {
        aten_refuse(c, "%s", entry->why);
        return NULL;
    }
    c->refused = c->refused || entry->refused;
    return entry->refused ? NULL : entry;
}

static value_id tensor_of(struct aten_call *c, const json_t *json)
{
    struct pt2_name *entry = entry_of(c, json_string_value(json_object_get(json, "name")));
    if (entry && entry->dim != DIM_NONE)
        return b_size(c->b, entry->dim);
    return entry ? entry->value : VALUE_NONE;
}

static dim_id dim_of(struct aten_call *c, const char *name, const json_t *json)
{
    const json_t *number = json_is_integer(json) ? json : json_object_get(json, "as_int");
    const char *label = json_string_value(json_object_get(json, "as_name"));
    if (json_is_integer(number))
        return b_dim_const(c->b, json_integer_value(number));
    struct pt2_name *entry = label ? entry_of(c, label) : NULL;
    if (entry && entry->dim != DIM_NONE)
        return entry->dim;
    if (!label || entry)
        wrong_type(c, name);
    return DIM_NONE;
}

/* A number in PyTorch's JSON: infinities and NaN are strings. */
static bool number_of(const json_t *json, double *out)
{
    const char *text = json_string_value(json);
    if (json_is_number(json))
        *out = json_number_value(json);
    else if (text && strcmp(text, "Infinity") == 0)
        *out = (double)INFINITY;
    else if (text && strcmp(text, "-Infinity") == 0)
        *out = -(double)INFINITY;
    else if (text && strcmp(text, "NaN") == 0)
        *out = (double)NAN;
    else
        return false;
    return true;
}

value_id aten_in(struct aten_call *c, const char *name)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    double number = 0;
    if (!arg || aten_failed(c))
        return VALUE_NONE;
    if (strcmp(kind, "as_tensor") == 0)
        return tensor_of(c, arg);
    if (strcmp(kind, "as_bool") == 0)
        return b_const(c->b, DTYPE_BOOL, json_is_true(arg));
    if (strcmp(kind, "as_int") == 0 && json_is_integer(arg)) {
        int64_t value = json_integer_value(arg);
        return b_literal(c->b, DTYPE_I64, NULL, 0, &value);
    }
    if (strcmp(kind, "as_sym_int") == 0) {
        dim_id dim = dim_of(c, name, arg);
        return dim == DIM_NONE ? VALUE_NONE : b_size(c->b, dim);
    }
    if (strcmp(kind, "as_float") == 0 && number_of(arg, &number))
        return b_const(c->b, DTYPE_F64, number);
    wrong_type(c, name);
    return VALUE_NONE;
}

uint32_t aten_tensors(struct aten_call *c, const char *name, value_id *out, uint32_t max)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind), *item;
    size_t i;
    bool optional = strcmp(kind, "as_optional_tensors") == 0;
    if (!json_is_array(arg) || (!optional && strcmp(kind, "as_tensors") != 0)) {
        wrong_type(c, name);
        return 0;
    }
    if (json_array_size(arg) > max) {
        aten_refuse(c, "%zu tensors, at most %u", json_array_size(arg), max);
        return 0;
    }
    json_array_foreach(arg, i, item)
    {
        const json_t *tensor = optional ? json_object_get(item, "as_tensor") : item;
        out[i] = tensor ? tensor_of(c, tensor) : VALUE_NONE;
    }
    return (uint32_t)json_array_size(arg);
}

dim_id aten_dim(struct aten_call *c, const char *name, int64_t absent)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    return arg ? dim_of(c, name, arg) : b_dim_const(c->b, absent);
}

int64_t aten_int(struct aten_call *c, const char *name, int64_t absent)
{
    int64_t value = absent;
    dim_id dim = aten_dim(c, name, absent);
    if (dim != DIM_NONE && !dim_is_const(&c->p->graph->dims, dim, &value))
        aten_refuse(c, "argument '%.60s' is not constant", name);
    return value;
}

double aten_float(struct aten_call *c, const char *name, double absent)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    double value = absent;
    if (strcmp(kind, "as_bool") == 0)
        return json_is_true(arg);
    if (arg && !number_of(arg, &value))
        wrong_type(c, name);
    return value;
}

bool aten_bool(struct aten_call *c, const char *name, bool absent)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    if (arg && !json_is_boolean(arg))
        wrong_type(c, name);
    return arg ? json_is_true(arg) : absent;
}

const char *aten_text(struct aten_call *c, const char *name, const char *absent)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    if (arg && !json_is_string(arg))
        wrong_type(c, name);
    return json_is_string(arg) ? json_string_value(arg) : absent;
}

enum dtype aten_dtype(struct aten_call *c, const char *name, enum dtype absent)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    enum dtype dtype = absent;
    if (arg && !json_is_integer(arg))
        wrong_type(c, name);
    else if (arg)
        pt2_dtype(json_integer_value(arg), &dtype, c->b->err);
    return dtype;
}

uint32_t aten_dims(struct aten_call *c, const char *name, dim_id *out, uint32_t max)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind), *item;
    size_t i;
    if (!arg)
        return 0;
    if (!json_is_array(arg)) {
        out[0] = dim_of(c, name, arg);
        return 1;
    }
    if (json_array_size(arg) > max) {
        b_fail(c->b, ERR_LIMIT, "'%.60s' has %zu items, at most %u", name, json_array_size(arg),
               max);
        return 0;
    }
    json_array_foreach(arg, i, item)
    {
        out[i] = dim_of(c, name, item);
    }
    return aten_failed(c) ? 0 : (uint32_t)json_array_size(arg);
}

uint32_t aten_ints(struct aten_call *c, const char *name, int64_t *out, uint32_t max)
{
    dim_id dims[LIMIT_OPERANDS];
    uint32_t count = aten_dims(c, name, dims, max < LIMIT_OPERANDS ? max : LIMIT_OPERANDS);
    for (uint32_t i = 0; i < count; i++)
        if (dims[i] == DIM_NONE || !dim_is_const(&c->p->graph->dims, dims[i], &out[i])) {
            aten_refuse(c, "argument '%.60s' is not constant", name);
            return 0;
        }
    return count;
}
