/* Models of ONNX for tests. */
#include "compiler/import/onnx/onnx_kit_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <onnx.pb-c.h>
/* cmocka defines a macro fail, so our headers come first. */
#include "base/strbuf.h"
#include <cmocka.h>

int begin(void **state)
{
    struct model *m = calloc(1, sizeof *m);
    arena_init(&m->arena);
    m->proto = ARENA_NEW(&m->arena, Onnx__ModelProto);
    m->graph = ARENA_NEW(&m->arena, Onnx__GraphProto);
    m->opset = ARENA_NEW(&m->arena, Onnx__OperatorSetIdProto);
    onnx__model_proto__init(m->proto);
    onnx__graph_proto__init(m->graph);
    onnx__operator_set_id_proto__init(m->opset);
    m->opset->domain = (char *)"";
    m->opset->has_version = 1;
    m->opset->version = 13;
    m->opsets[0] = m->opset;
    m->proto->has_ir_version = 1;
    m->proto->ir_version = 8;
    m->proto->n_opset_import = 1;
    m->proto->opset_import = m->opsets;
    m->proto->graph = m->graph;
    m->graph->name = (char *)"g";
    m->graph->node = m->nodes;
    m->graph->initializer = m->initializers;
    m->graph->input = m->inputs;
    m->graph->output = m->outputs;
    *state = m;
    return 0;
}

int end(void **state)
{
    struct model *m = *state;
    arena_release(&m->arena);
    free(m);
    return 0;
}

void add_input(struct model *m, const char *name, int32_t type, const char *const *dims)
{
    Onnx__ValueInfoProto *info = ARENA_NEW(&m->arena, Onnx__ValueInfoProto);
    Onnx__TypeProto *proto = ARENA_NEW(&m->arena, Onnx__TypeProto);
    Onnx__TypeProto__Tensor *tensor = ARENA_NEW(&m->arena, Onnx__TypeProto__Tensor);
    Onnx__TensorShapeProto *shape = ARENA_NEW(&m->arena, Onnx__TensorShapeProto);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(proto);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    info->name = (char *)name;
    info->type = proto;
    proto->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    proto->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    tensor->shape = shape;
    shape->dim = ARENA_ARRAY(&m->arena, Onnx__TensorShapeProto__Dimension *, MAX_ITEMS);
    for (; dims[shape->n_dim]; shape->n_dim++) {
        const char *text = dims[shape->n_dim];
        Onnx__TensorShapeProto__Dimension *dim =
            ARENA_NEW(&m->arena, Onnx__TensorShapeProto__Dimension);
        onnx__tensor_shape_proto__dimension__init(dim);
        if (text[strspn(text, "0123456789")] == '\0') {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = strtoll(text, NULL, 10);
        } else if (text[0] != '?') {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = (char *)text;
        }
        shape->dim[shape->n_dim] = dim;
    }
    m->inputs[m->graph->n_input++] = info;
}

void add_output(struct model *m, const char *name)
{
    Onnx__ValueInfoProto *info = ARENA_NEW(&m->arena, Onnx__ValueInfoProto);
    onnx__value_info_proto__init(info);
    info->name = (char *)name;
    m->outputs[m->graph->n_output++] = info;
}

Onnx__NodeProto *add_node(struct model *m, const char *op, const char *in, const char *in2,
                          const char *out)
{
    Onnx__NodeProto *node = ARENA_NEW(&m->arena, Onnx__NodeProto);
    onnx__node_proto__init(node);
    node->op_type = (char *)op;
    node->input = ARENA_ARRAY(&m->arena, char *, 2);
    node->output = ARENA_ARRAY(&m->arena, char *, 1);
    node->input[0] = (char *)in;
    node->input[1] = (char *)in2;
    node->n_input = in2 ? 2 : 1;
    node->output[0] = (char *)out;
    node->n_output = 1;
    m->nodes[m->graph->n_node++] = node;
    return node;
}

Onnx__AttributeProto *add_branch(struct model *m, const char *name, const char *op)
{
    Onnx__AttributeProto *attr = ARENA_NEW(&m->arena, Onnx__AttributeProto);
    Onnx__GraphProto *graph = ARENA_NEW(&m->arena, Onnx__GraphProto);
    Onnx__NodeProto *node = add_node(m, op, "x", NULL, "z");
    onnx__attribute_proto__init(attr);
    onnx__graph_proto__init(graph);
    m->graph->n_node--;
    add_output(m, "z");
    graph->n_node = graph->n_output = 1;
    graph->node = arena_memdup(&m->arena, &node, sizeof(Onnx__NodeProto *));
    graph->output =
        arena_memdup(&m->arena, &m->outputs[--m->graph->n_output], sizeof(Onnx__ValueInfoProto *));
    attr->name = (char *)name;
    attr->g = graph;
    return attr;
}

void add_int(struct model *m, Onnx__NodeProto *node, const char *name, int64_t value)
{
    Onnx__AttributeProto *attr = ARENA_NEW(&m->arena, Onnx__AttributeProto);
    onnx__attribute_proto__init(attr);
    attr->name = (char *)name;
    attr->has_type = attr->has_i = 1;
    attr->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    attr->i = value;
    node->attribute = ARENA_ARRAY(&m->arena, Onnx__AttributeProto *, 1);
    node->attribute[node->n_attribute++] = attr;
}

Onnx__TensorProto *add_initializer(struct model *m, const char *name, int32_t type, int64_t count,
                                   const void *data, size_t bytes)
{
    Onnx__TensorProto *tensor = ARENA_NEW(&m->arena, Onnx__TensorProto);
    onnx__tensor_proto__init(tensor);
    tensor->name = (char *)name;
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->n_dims = 1;
    tensor->dims = ARENA_ARRAY(&m->arena, int64_t, 1);
    tensor->dims[0] = count;
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){bytes, (uint8_t *)data};
    m->initializers[m->graph->n_initializer++] = tensor;
    return tensor;
}

bool read_bytes(struct model *m, const void *bytes, size_t size)
{
    m->err = (struct error){.code = ERR_NONE};
    return onnx_read(bytes, size, &m->options, &m->arena, &m->blueprint, &m->err);
}

uint8_t *pack(struct model *m, size_t *out_size)
{
    *out_size = onnx__model_proto__get_packed_size(m->proto);
    uint8_t *bytes = arena_alloc(&m->arena, *out_size, 1);
    onnx__model_proto__pack(m->proto, bytes);
    return bytes;
}

bool read_model(struct model *m)
{
    size_t size;
    const uint8_t *bytes = pack(m, &size);
    return read_bytes(m, bytes, size);
}

void assert_shape(const struct model *m, const char *expected)
{
    const struct graph *graph = &m->blueprint.graph;
    const struct node *node = graph_node(graph, graph->outputs.items[0].value);
    struct strbuf text;
    strbuf_init(&text, graph->arena);
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&text, i > 0 ? "," : "");
        dim_print(&graph->dims, node->shape[i], &text);
    }
    assert_string_equal(text.data, expected);
}

void assert_refused(struct model *m, int code, const char *part)
{
    assert_false(read_model(m));
    assert_int_equal(m->err.code, code);
    if (!strstr(m->err.message, part))
        assert_string_equal(m->err.message, part);
}

struct interp_tensor run_model(struct model *m, enum dtype dtype, int64_t count, const void *data)
{
    struct interp_tensor in, out;
    if (!read_model(m) ||
        !interp_load(&in, &m->arena, &(struct native_tensor){dtype, 1, &count, data}, &m->err) ||
        !interp_run(&m->blueprint.graph, &(struct interp_options){.mode = INTERP_NATIVE},
                    &(struct interp_arguments){NULL, &in, 1}, &m->arena, &out, &m->err))
        fail_msg("%s %s", m->err.place, m->err.message);
    return out;
}

void start_over(struct model *m)
{
    m->graph->n_input = m->graph->n_output = m->graph->n_node = m->graph->n_initializer = 0;
}
