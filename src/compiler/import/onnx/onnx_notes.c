/* Describing a model: its contents, from the file alone, before it is translated, and the fate of
 * each node. */
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_notes_priv.h"

#define MAX_DEPTH 32 /* nested bodies whose nodes are counted */

static const char *text_of(const char *text)
{
    return text && onnx_is_utf8(text) ? text : "";
}

static const char *op_name(struct import_notes *notes, const Onnx__NodeProto *node)
{
    struct strbuf name;
    const char *domain = text_of(node->domain);
    strbuf_init(&name, notes->arena);
    if (domain[0] != '\0' && strcmp(domain, "ai.onnx") != 0)
        strbuf_printf(&name, "%s.", domain);
    strbuf_puts(&name, text_of(node->op_type));
    return name.data;
}

static void count_nodes(struct import_notes *notes, Onnx__NodeProto *const *nodes, size_t count,
                        uint32_t depth)
{
    for (size_t i = 0; i < count && depth < MAX_DEPTH; i++) {
        import_note_op(notes, op_name(notes, nodes[i]))->count++;
        for (size_t k = 0; k < nodes[i]->n_attribute; k++) {
            const Onnx__GraphProto *body = nodes[i]->attribute[k]->g;
            if (body)
                count_nodes(notes, body->node, body->n_node, depth + 1);
        }
    }
}

static void describe_output(struct import_notes *notes, const Onnx__ValueInfoProto *info)
{
    const Onnx__TypeProto *type = info->type;
    bool tensor = type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    const Onnx__TensorShapeProto *shape = tensor ? type->tensor_type->shape : NULL;
    struct error ignored;
    enum dtype dtype = DTYPE_NONE;
    uint8_t small = 0;
    struct strbuf text;
    strbuf_init(&text, notes->arena);
    bool typed = tensor && onnx_dtype(type->tensor_type->elem_type, &dtype, &small, &ignored);
    strbuf_printf(&text, "%s  %s", text_of(info->name),
                  typed ? dtype_name(dtype) : "no dense tensor");
    for (size_t i = 0; shape && typed && i <= shape->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = i < shape->n_dim ? shape->dim[i] : NULL;
        strbuf_puts(&text, i == 0 ? "[" : dim ? ", " : "");
        if (!dim)
            strbuf_puts(&text, "]");
        else if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
            strbuf_printf(&text, "%lld", (long long)dim->dim_value);
        else if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            strbuf_puts(&text, text_of(dim->dim_param));
        else
            strbuf_puts(&text, "?");
    }
    VEC_PUSH(notes->arena, &notes->outputs, text.data);
}

static void describe_version(struct import_notes *notes, const Onnx__ModelProto *model)
{
    struct strbuf text;
    strbuf_init(&text, notes->arena);
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = model->opset_import[i];
        const char *domain = text_of(set->domain);
        bool main = domain[0] == '\0' || strcmp(domain, "ai.onnx") == 0;
        strbuf_printf(&text, "%s%s%sopset %lld", i > 0 ? ", " : "", main ? "" : domain,
                      main ? "" : " ", (long long)set->version);
    }
    strbuf_printf(&text, "%sIR %lld", text.size_bytes > 0 ? ", " : "",
                  (long long)model->ir_version);
    notes->version = text.data;
    strbuf_init(&text, notes->arena);
    strbuf_printf(&text, "%s %s", text_of(model->producer_name), text_of(model->producer_version));
    notes->producer = text_of(model->producer_name)[0] != '\0' ? text.data : NULL;
}

void onnx_note_file(struct import_notes *notes, const Onnx__ModelProto *model)
{
    notes->format = "ONNX";
    describe_version(notes, model);
    count_nodes(notes, model->graph->node, model->graph->n_node, 0);
    for (size_t i = 0; i < model->n_functions; i++)
        count_nodes(notes, model->functions[i]->node, model->functions[i]->n_node, 0);
    for (size_t i = 0; i < model->graph->n_output; i++)
        describe_output(notes, model->graph->output[i]);
}

void onnx_note_node(struct onnx *o, const Onnx__NodeProto *node, uint32_t first_value,
                    value_id before)
{
    VEC_PUSH(o->arena, &o->made, ((struct onnx_made){node, first_value, o->values.count, before}));
}

/* The fate of a node: of its results' fates the one with the most work. */
static enum import_fate fate_of(const struct onnx *o, const struct onnx_made *made,
                                const uint8_t *fates)
{
    enum import_fate fate = IMPORT_FATES;
    for (uint32_t i = made->first; i < made->end; i++) {
        value_id value = o->values.items[i].value;
        if (value == VALUE_NONE)
            continue;
        enum import_fate one = fates[value];
        if ((one == IMPORT_KERNEL || one == IMPORT_LOADED) && value < made->before)
            one = IMPORT_SAME;
        bool more = fate == IMPORT_FATES || one == IMPORT_KERNEL ||
                    (fate != IMPORT_KERNEL && one == IMPORT_LOADED);
        fate = more ? one : fate;
    }
    return fate;
}

void onnx_note_fates(struct onnx *o, struct import_notes *notes)
{
    const uint8_t *fates = import_fates(o->graph, o->arena);
    for (uint32_t i = 0; i < o->made.count; i++) {
        enum import_fate fate = fate_of(o, &o->made.items[i], fates);
        if (fate != IMPORT_FATES)
            import_note_op(notes, op_name(notes, o->made.items[i].node))->fates[fate]++;
    }
}

void onnx_note_refused(const struct onnx *o, struct import_notes *notes)
{
    notes->refused.count = 0;
    for (uint32_t i = 0; i < o->refusals.count; i++)
        VEC_PUSH(notes->arena, &notes->refused, o->refusals.items[i]);
}
