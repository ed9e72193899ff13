/* Adds nodes, attributes and constants to the model being built. */
#include <math.h>
#include <onnx.pb-c.h>
#include <string.h>

#include "base/strbuf.h"
#include "compiler/export/export_priv.h"
#include "graph/interp.h"

const char *export_name(struct export *e)
{
    struct strbuf name;
    strbuf_init(&name, e->arena);
    strbuf_printf(&name, "%s%u", e->prefix, ++e->made);
    return name.data;
}

const char *export_node(struct export *e, const char *op, const char *const *in, uint32_t count)
{
    Onnx__NodeProto *node = ARENA_NEW(e->arena, Onnx__NodeProto);
    onnx__node_proto__init(node);
    node->op_type = (char *)op;
    node->input = arena_memdup(e->arena, in, count * sizeof *in);
    node->n_input = count;
    node->output = ARENA_ARRAY(e->arena, char *, 2);
    node->output[0] = (char *)export_name(e);
    node->n_output = 1;
    VEC_PUSH(e->arena, &e->nodes, node);
    return node->output[0];
}

static Onnx__NodeProto *newest(struct export *e)
{
    return e->nodes.items[e->nodes.count - 1];
}

const char *export_second(struct export *e)
{
    Onnx__NodeProto *node = newest(e);
    node->output[1] = (char *)export_name(e);
    node->n_output = 2;
    return node->output[1];
}

static Onnx__AttributeProto *attribute(struct export *e, const char *name,
                                       Onnx__AttributeProto__AttributeType type)
{
    Onnx__NodeProto *node = newest(e);
    Onnx__AttributeProto **all =
        ARENA_ARRAY(e->arena, Onnx__AttributeProto *, node->n_attribute + 1);
    Onnx__AttributeProto *added = ARENA_NEW(e->arena, Onnx__AttributeProto);
    if (node->n_attribute > 0)
        memcpy(all, node->attribute, node->n_attribute * sizeof(Onnx__AttributeProto *));
    onnx__attribute_proto__init(added);
    added->name = (char *)name;
    added->has_type = 1;
    added->type = type;
    all[node->n_attribute++] = added;
    node->attribute = all;
    return added;
}

void export_int(struct export *e, const char *name, int64_t value)
{
    Onnx__AttributeProto *a = attribute(e, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = 1;
    a->i = value;
}

void export_ints(struct export *e, const char *name, const int64_t *values, uint32_t count)
{
    Onnx__AttributeProto *a = attribute(e, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    a->ints = arena_memdup(e->arena, values, count * sizeof *values);
    a->n_ints = count;
}

void export_text(struct export *e, const char *name, const char *value)
{
    Onnx__AttributeProto *a = attribute(e, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    a->has_s = 1;
    a->s.data = (uint8_t *)arena_strdup(e->arena, value);
    a->s.len = strlen(value);
}

int32_t export_type(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F64: return ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
    case DTYPE_F32: return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    case DTYPE_F16: return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16;
    case DTYPE_BF16: return ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
    case DTYPE_I64: return ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    case DTYPE_I32: return ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    case DTYPE_I16: return ONNX__TENSOR_PROTO__DATA_TYPE__INT16;
    case DTYPE_I8: return ONNX__TENSOR_PROTO__DATA_TYPE__INT8;
    case DTYPE_U8: return ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    case DTYPE_U16: return ONNX__TENSOR_PROTO__DATA_TYPE__UINT16;
    case DTYPE_U32: return ONNX__TENSOR_PROTO__DATA_TYPE__UINT32;
    case DTYPE_U64: return ONNX__TENSOR_PROTO__DATA_TYPE__UINT64;
    case DTYPE_BOOL: return ONNX__TENSOR_PROTO__DATA_TYPE__BOOL;
    case DTYPE_NONE:
    case DTYPE_COUNT: break;
    }
    return ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED;
}

const char *export_tensor(struct export *e, enum dtype dtype, uint32_t rank, const int64_t *shape,
                          const void *data, size_t bytes)
{
    const char *name = export_node(e, "Constant", NULL, 0);
    Onnx__TensorProto *t = ARENA_NEW(e->arena, Onnx__TensorProto);
    onnx__tensor_proto__init(t);
    t->has_data_type = 1;
    t->data_type = export_type(dtype);
    t->dims = arena_memdup(e->arena, shape, rank * sizeof *shape);
    t->n_dims = rank;
    t->has_raw_data = 1;
    t->raw_data.data = arena_memdup(e->arena, data, bytes);
    t->raw_data.len = bytes;
    attribute(e, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR)->t = t;
    return name;
}

static const char *scalar(struct export *e, enum dtype dtype, union cell cell)
{
    uint64_t bytes = 0;
    struct interp_tensor tensor = {.dtype = dtype, .count = 1, .cells = &cell};
    interp_store(&tensor, &bytes);
    return export_tensor(e, dtype, 0, NULL, &bytes, dtype_bytes(dtype));
}

const char *export_real(struct export *e, enum dtype dtype, double value)
{
    return scalar(e, dtype,
                  dtype_is_float(dtype) ? (union cell){.f = value}
                                        : (union cell){.i = (int64_t)value});
}

const char *export_whole(struct export *e, enum dtype dtype, int64_t value)
{
    return scalar(e, dtype,
                  dtype_is_float(dtype) ? (union cell){.f = (double)value}
                                        : (union cell){.i = value});
}

const char *export_list(struct export *e, const int64_t *values, uint32_t count)
{
    return export_tensor(e, DTYPE_I64, 1, (int64_t[]){count}, values, count * sizeof *values);
}

const char *export_refuse(struct export *e, const char *why)
{
    const char *op = prim_info((enum prim)graph_node(e->graph, e->now)->prim)->name;
    for (uint32_t i = 0; i < e->refusals.count; i++) {
        struct export_refusal *r = &e->refusals.items[i];
        if (strcmp(r->op, op) == 0 && strcmp(r->why, why) == 0) {
            r->count++;
            return export_name(e);
        }
    }
    struct export_refusal refusal = {op, arena_strdup(e->arena, why), 1};
    VEC_PUSH(e->arena, &e->refusals, refusal);
    return export_name(e);
}

enum dtype export_carrier(enum dtype dtype)
{
    if (dtype == DTYPE_F16 || dtype == DTYPE_BF16)
        return DTYPE_F32;
    if (dtype_is_int(dtype) && dtype_bytes(dtype) < 4)
        return DTYPE_I32;
    if (dtype == DTYPE_U32)
        return DTYPE_I64;
    return dtype;
}

const char *export_cast(struct export *e, const char *x, enum dtype dtype)
{
    const char *result = NODE(e, "Cast", x);
    export_int(e, "to", export_type(dtype));
    return result;
}

const char *export_wide(struct export *e, value_id value)
{
    enum dtype dtype = (enum dtype)graph_node(e->graph, value)->dtype;
    enum dtype carrier = export_carrier(dtype);
    if (carrier == dtype)
        return e->names[value];
    if (!e->wide[value])
        e->wide[value] = export_cast(e, e->names[value], carrier);
    return e->wide[value];
}

const char *export_narrow(struct export *e, const char *x, enum dtype dtype)
{
    return export_carrier(dtype) == dtype ? x : export_cast(e, x, dtype);
}

const char *export_bound(struct export *e, const char *a, const char *b, bool greater)
{
    const char *less = greater ? NODE(e, "Less", a, b) : NODE(e, "Less", b, a);
    return NODE(e, "Where", less, b, a);
}

const char *export_extreme(struct export *e, enum dtype dtype, enum dtype as, bool greatest)
{
    if (dtype_is_float(dtype))
        return export_real(e, as, greatest ? INFINITY : -INFINITY);
    return export_whole(e, as, greatest ? dtype_greatest(dtype) : dtype_least(dtype));
}
