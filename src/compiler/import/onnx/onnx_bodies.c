/* Graphs inside graphs: functions of the model, and bodies. */
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_bodies_priv.h"

static const char *plain_domain(const char *domain)
{
    return !domain || strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

static const char *function_key(struct onnx *o, const char *domain, const char *name)
{
    struct strbuf key;
    strbuf_init(&key, o->arena);
    strbuf_printf(&key, "%s:%s", domain, name);
    return key.data;
}

void onnx_functions(struct onnx *o)
{
    for (uint32_t i = 0; i < o->model->n_functions; i++) {
        const Onnx__FunctionProto *function = o->model->functions[i];
        const char *domain = plain_domain(function->domain);
        if (function->name) /* if there are two, the first is used */
            strmap_add(&o->functions, o->arena, function_key(o, domain, function->name), i);
    }
}

const Onnx__FunctionProto *onnx_function_find(struct onnx *o, const char *domain, const char *name)
{
    uint32_t index;
    bool found =
        o->functions.count > 0 && strmap_find(&o->functions, function_key(o, domain, name), &index);
    return found ? o->model->functions[index] : NULL;
}

static int64_t function_opset(const Onnx__FunctionProto *function, int64_t absent)
{
    for (size_t i = 0; i < function->n_opset_import; i++)
        if (plain_domain(function->opset_import[i]->domain)[0] == '\0')
            return function->opset_import[i]->version;
    return absent;
}

bool onnx_function(struct onnx_call *c, const Onnx__FunctionProto *function, bool *out_refused,
                   struct error *err)
{
    struct onnx_scope *scope = ARENA_NEW(c->o->arena, struct onnx_scope);
    uint32_t before = c->o->refusals.count;
    *scope = (struct onnx_scope){
        .parent = c->scope, .opset = function_opset(function, c->scope->opset), .caller = c->node};
    if (c->node->n_input > function->n_input || c->node->n_output > function->n_output)
        return fail(err, ERR_BLUEPRINT, "function '%.80s' has %zu inputs and %zu outputs",
                    function->name, function->n_input, function->n_output);
    for (size_t i = 0; i < function->n_input; i++) {
        struct onnx_value value = {0};
        const char *name = i < c->node->n_input ? c->node->input[i] : "";
        if (name[0] == '\0')
            continue; /* an optional input that is omitted; the body fails if it uses it */
        if (!onnx_find(c->o, c->scope, name, &value))
            return fail(err, ERR_BLUEPRINT, "input '%.100s' is not the name of a value", name);
        if (value.list)
            onnx_note_refusal(c->o, function->name, "a sequence");
        if (!onnx_name(c->o, scope, function->input[i], value.value, err))
            return false;
        onnx_name_small(c->o, value.small);
        c->o->values.items[c->o->values.count - 1].why = value.why;
    }
    if (!onnx_nodes(c->o, scope, function->node, function->n_node, err))
        return fail_at(err, "function '%.80s'", function->name);
    c->out_count =
        (uint32_t)(c->node->n_output < OP_MAX_OUTPUTS ? c->node->n_output : OP_MAX_OUTPUTS);
    for (uint32_t i = 0; i < c->out_count; i++) {
        struct onnx_value value;
        if (!onnx_find(c->o, scope, function->output[i], &value))
            return fail(err, ERR_BLUEPRINT, "function '%.80s' does not make its output '%.80s'",
                        function->name, function->output[i]);
        c->out_lists[i] = value.list;
        c->out_small[i] = value.small;
        c->out_why[i] = value.why;
        c->out[i] = value.value;
    }
    *out_refused = c->o->refusals.count > before;
    return true;
}

bool onnx_body(struct onnx_call *c, const Onnx__GraphProto *body, const value_id *in,
               uint32_t in_count, value_id out[OP_MAX_OUTPUTS], bool *out_refused)
{
    struct onnx_scope *scope = ARENA_NEW(c->o->arena, struct onnx_scope);
    *scope = (struct onnx_scope){.parent = c->scope, .opset = c->scope->opset};
    struct error *err = c->b->err;
    if (body->n_input != in_count)
        return fail(err, ERR_BLUEPRINT, "the body has %zu inputs, expected %u", body->n_input,
                    in_count);
    for (uint32_t i = 0; i < in_count; i++)
        if (!onnx_name(c->o, scope, body->input[i]->name ? body->input[i]->name : "", in[i], err))
            return false;
    return onnx_body_in(c, body, scope, out, out_refused);
}

bool onnx_body_in(struct onnx_call *c, const Onnx__GraphProto *body, struct onnx_scope *scope,
                  value_id out[OP_MAX_OUTPUTS], bool *out_refused)
{
    struct error *err = c->b->err;
    if (body->n_output > OP_MAX_OUTPUTS)
        return fail(err, ERR_LIMIT, "the body has %zu outputs", body->n_output);
    if (!onnx_initializers(c->o, scope, body, err) ||
        !onnx_nodes(c->o, scope, body->node, body->n_node, err))
        return false;
    for (size_t i = 0; i < body->n_output; i++) {
        const char *name = body->output[i]->name ? body->output[i]->name : "";
        struct onnx_value value;
        if (!onnx_find(c->o, scope, name, &value))
            return fail(err, ERR_BLUEPRINT, "the body's output '%.100s' is not the name of a value",
                        name);
        if (value.list)
            return onnx_refuse(c, "a body whose result is a sequence");
        if (value.small)
            return onnx_refuse(c, "a body whose result is %s", onnx_small_name(value.small));
        if (value.why)
            return onnx_refuse(c, "%s", value.why);
        *out_refused |= value.refused;
        out[i] = value.value;
    }
    return true;
}
