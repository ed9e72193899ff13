/* Functions that translators share: attributes, operands, results, refusals. */
#include "compiler/import/onnx/onnx_priv.h"

#include <onnx.pb-c.h>
#include <stdio.h>
#include <string.h>

bool onnx_failed(const struct onnx_call *c)
{
    return c->b->err->code != ERR_NONE;
}

/* The attribute of the node; or, if the node is in a function and refers to an attribute of its
 * caller, that one. */
const Onnx__AttributeProto *onnx_attr(struct onnx_call *c, const char *name)
{
    const Onnx__NodeProto *node = c->node;
    const struct onnx_scope *scope = c->scope;
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *attr = node->attribute[i];
        if (!attr->name || strcmp(attr->name, name) != 0)
            continue;
        if (!attr->ref_attr_name || attr->ref_attr_name[0] == '\0')
            return attr;
        while (scope && !scope->caller)
            scope = scope->parent;
        if (!scope)
            return NULL;
        node = scope->caller;
        name = attr->ref_attr_name;
        scope = scope->parent;
        i = (size_t)-1;
    }
    return NULL;
}

bool onnx_has(struct onnx_call *c, const char *name)
{
    return onnx_attr(c, name) != NULL;
}

static const Onnx__AttributeProto *typed(struct onnx_call *c, const char *name,
                                         Onnx__AttributeProto__AttributeType type)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    if (!attr || !attr->has_type || attr->type == type)
        return attr;
    if (!onnx_failed(c))
        b_fail(c->b, ERR_BLUEPRINT, "attribute '%.60s' is of another type than its op says", name);
    return NULL;
}

int64_t onnx_int(struct onnx_call *c, const char *name, int64_t absent)
{
    const Onnx__AttributeProto *attr = typed(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    return attr ? attr->i : absent;
}

double onnx_float(struct onnx_call *c, const char *name, double absent)
{
    const Onnx__AttributeProto *attr = typed(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    return attr ? (double)attr->f : absent;
}

const char *onnx_text(struct onnx_call *c, const char *name, const char *absent)
{
    const Onnx__AttributeProto *attr =
        typed(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (!attr)
        return absent;
    return arena_strndup(c->o->arena, attr->s.data ? (const char *)attr->s.data : "", attr->s.len);
}

const int64_t *onnx_ints(struct onnx_call *c, const char *name, uint32_t *out_count)
{
    static const int64_t none;
    const Onnx__AttributeProto *attr = typed(c, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    *out_count = 0;
    if (!attr)
        return NULL;
    if (attr->n_ints > LIMIT_NODES) {
        b_fail(c->b, ERR_LIMIT, "attribute '%s' has %zu integers", name, attr->n_ints);
        return NULL;
    }
    *out_count = (uint32_t)attr->n_ints;
    return attr->n_ints > 0 ? attr->ints : &none;
}

bool onnx_given(const struct onnx_call *c, uint32_t index)
{
    return index < c->in_count && c->in[index] != VALUE_NONE;
}

bool onnx_wanted(const struct onnx_call *c, uint32_t index)
{
    return index < c->node->n_output && c->node->output[index][0] != '\0';
}

uint32_t onnx_rank(const struct onnx_call *c, value_id x)
{
    return x == VALUE_NONE ? 0 : graph_node(c->o->graph, x)->rank;
}

enum dtype onnx_type(const struct onnx_call *c, value_id x)
{
    return x == VALUE_NONE ? DTYPE_NONE : (enum dtype)graph_node(c->o->graph, x)->dtype;
}

bool onnx_return(struct onnx_call *c, value_id out)
{
    c->out[0] = out;
    c->out_count = 1;
    return out != VALUE_NONE && !onnx_failed(c);
}

value_id onnx_refuse(struct onnx_call *c, const char *fmt, ...)
{
    va_list args;
    if (onnx_failed(c))
        return VALUE_NONE;
    va_start(args, fmt);
    fail_v(c->b->err, ERR_UNSUPPORTED, fmt, args);
    va_end(args);
    return VALUE_NONE;
}

void onnx_warn(struct onnx_call *c, const char *fmt, ...)
{
    struct strbuf *out = &c->o->warnings;
    char text[400];
    va_list args;
    const Onnx__NodeProto *node = c->node;
    bool named = node->name && node->name[0];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    strbuf_printf(out, "%.40s '%.80s': %s", node->op_type, named ? node->name : node->output[0],
                  text);
    strbuf_add(out, "", 1);
}

value_id onnx_expand(struct onnx_call *c, const char *op, const value_id *in, uint32_t count,
                     const struct op_value *attrs)
{
    value_id out[OP_MAX_OUTPUTS];
    uint32_t attr_count = 0, out_count = 0;
    while (attrs && attrs[attr_count].name)
        attr_count++;
    if (onnx_failed(c))
        return VALUE_NONE;
    for (uint32_t i = 0; i < count; i++)
        if (in[i] == VALUE_NONE && i == 0)
            return VALUE_NONE;
    if (!op_expand(c->b, op_find(op), &(struct op_arguments){in, count, attrs, attr_count, false},
                   out, &out_count, c->b->err))
        return VALUE_NONE;
    return out[0];
}

bool onnx_is_const(const struct dim_table *dims, dim_id dim, int64_t *out)
{
    return dim != DIM_NONE && dim_is_const(dims, dim, out);
}

void onnx_dim_range(const struct dim_table *dims, dim_id dim, int64_t *out_min, int64_t *out_max)
{
    *out_min = -INT64_MAX;
    *out_max = INT64_MAX;
    if (dim != DIM_NONE)
        dim_range(dims, dim, out_min, out_max);
}
