/* Reading the attributes of a BlueprintIR node, and building the native node and its parameters. */
#include "compiler/import/blueprint_ir_priv.h"

#include <string.h>

const json_t *ir_attribute(const struct ir_node *node, const char *name)
{
    return json_object_get(node->attributes, name);
}

bool ir_fail_attribute(struct ir *ir, const char *name, const json_t *found, const char *expected)
{
    if (!found)
        fail(ir->err, ERR_BLUEPRINT, "is missing, expected %s", expected);
    else if (json_is_integer(found))
        fail(ir->err, ERR_BLUEPRINT, "found %" JSON_INTEGER_FORMAT ", expected %s",
             json_integer_value(found), expected);
    else if (json_is_string(found))
        fail(ir->err, ERR_BLUEPRINT, "found '%.64s', expected %s", json_string_value(found),
             expected);
    else
        fail(ir->err, ERR_BLUEPRINT, "found %s, expected %s", import_type_text(found), expected);
    return fail_at(ir->err, "attribute '%.64s'", name);
}

bool ir_get_size(struct ir *ir, const struct ir_node *node, const char *name, int64_t *out)
{
    const json_t *found = ir_attribute(node, name);
    if (!json_is_integer(found) || json_integer_value(found) < 0)
        return ir_fail_attribute(ir, name, found, "an integer ≥ 0");
    if (json_integer_value(found) > LIMIT_DIM_VALUE) {
        fail(ir->err, ERR_LIMIT, "%" JSON_INTEGER_FORMAT ", at most %lld",
             json_integer_value(found), (long long)LIMIT_DIM_VALUE);
        return fail_at(ir->err, "attribute '%s'", name);
    }
    *out = json_integer_value(found);
    return true;
}

bool ir_opt_bool(struct ir *ir, const struct ir_node *node, const char *name, bool *out)
{
    const json_t *found = ir_attribute(node, name);
    if (found && !json_is_boolean(found))
        return ir_fail_attribute(ir, name, found, "true or false");
    *out = found ? json_is_true(found) : *out;
    return true;
}

bool ir_opt_real(struct ir *ir, const struct ir_node *node, const char *name, double *out)
{
    const json_t *found = ir_attribute(node, name);
    if (found && !json_is_number(found))
        return ir_fail_attribute(ir, name, found, "a number");
    *out = found ? json_number_value(found) : *out;
    return true;
}

bool ir_get_pair(struct ir *ir, const struct ir_node *node, const char *name,
                 const int64_t *initial, int64_t out[2])
{
    const json_t *found = ir_attribute(node, name);
    bool list = json_is_array(found) && json_array_size(found) == 2;
    if (!found && initial) {
        out[0] = out[1] = *initial;
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        const json_t *item = list ? json_array_get(found, i) : found;
        if (!json_is_integer(item) || json_integer_value(item) < 0 ||
            json_integer_value(item) > LIMIT_DIM_VALUE)
            return ir_fail_attribute(ir, name, found, "an integer ≥ 0 or a list of two");
        out[i] = json_integer_value(item);
    }
    return true;
}

int ir_get_choice(struct ir *ir, const struct ir_node *node, const char *name,
                  const char *const *choices, const char *expected)
{
    const char *text = json_string_value(ir_attribute(node, name));
    for (int i = 0; text && choices[i]; i++)
        if (strcmp(choices[i], text) == 0)
            return i;
    ir_fail_attribute(ir, name, ir_attribute(node, name), expected);
    return -1;
}

json_t *ir_int_list(const int64_t *items, size_t count)
{
    json_t *list = import_array();
    for (size_t i = 0; i < count; i++)
        import_append(list, import_int(items[i]));
    return list;
}

json_t *ir_init(const char *kind)
{
    json_t *init = import_object();
    import_set(init, "kind", import_text(kind));
    return init;
}

json_t *ir_random(const struct ir *ir, const char *kind)
{
    json_t *init = ir_init(kind);
    import_set(init, "seed", import_int((int64_t)ir->seed));
    return init;
}

json_t *ir_bias(const struct ir *ir, double fan_in)
{
    json_t *init = ir_random(ir, "bias_uniform");
    import_set(init, "fan_in", import_real(fan_in));
    return init;
}

void ir_declare(struct ir *ir, const struct ir_node *node, const char *suffix, const int64_t *shape,
                size_t rank, json_t *init)
{
    json_t *param = import_object();
    enum dtype dtype = node->precision != DTYPE_NONE ? node->precision : ir->dtype;
    import_set(param, "id", import_textf("%s.%s", node->id, suffix));
    import_set(param, "dtype", import_text(dtype_name(dtype)));
    import_set(param, "shape", ir_int_list(shape, rank));
    import_set(param, "init", init);
    import_append(ir->params, param);
}

void ir_use(struct ir_node *node, const char *suffix)
{
    import_append(node->in, import_textf("%s.%s", node->id, suffix));
}

bool ir_get_shape(struct ir *ir, const struct ir_node *node, const char *key, const json_t **out)
{
    const json_t *shape = json_object_get(node->json, key), *item;
    size_t i;
    bool ok = !shape || json_is_array(shape);
    json_array_foreach(shape, i, item)
    {
        ok = ok && json_is_integer(item) && json_integer_value(item) >= -1;
    }
    if (!ok)
        return fail(ir->err, ERR_JSON, "field '%s': expected a list of integers ≥ -1", key);
    *out = shape;
    return true;
}

bool ir_emit(struct ir *ir, struct ir_node *node, const char *op, json_t *attrs)
{
    const json_t *in_shape = NULL, *shape = NULL;
    json_t *native = import_object();
    import_set(native, "id", import_text(node->id));
    import_set(native, "op", import_text(op));
    import_set(native, "in", import_copy(node->in));
    if (attrs)
        import_set(native, "attrs", attrs);
    import_append(ir->nodes, native);
    if (!ir_get_shape(ir, node, "input_shape", &in_shape) ||
        !ir_get_shape(ir, node, "output_shape", &shape))
        return false;
    if (in_shape)
        import_set(native, "in_shape", import_copy(in_shape));
    if (shape)
        import_set(native, "shape", import_copy(shape));
    if (node->edge_dtype != DTYPE_NONE)
        import_set(native, "dtype", import_text(dtype_name(node->edge_dtype)));
    return true;
}
