/* Errors of nodes in the model's terms: names and shapes of the inputs. */
#include <onnx.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "compiler/import/onnx/onnx_failure_priv.h"

#define SHOWN_INPUTS 4

static void print_shape(const struct dim_table *dims, const dim_id *shape, uint32_t rank,
                        struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (uint32_t i = 0; i < rank; i++) {
        strbuf_puts(out, i > 0 ? ", " : "");
        dim_print_shown(dims, shape[i], out);
    }
    strbuf_puts(out, "]");
}

/* Appends the shape, " is [2, 3]", or the elements of a short list of integers, " = [4, -1]". */
static void print_input(struct onnx_call *c, value_id x, struct strbuf *out)
{
    const struct node *node = graph_node(c->o->graph, x);
    const struct known *known = NULL;
    if (node->rank == 1 && dtype_is_int((enum dtype)node->dtype))
        known = onnx_known(c->o, x);
    bool listed = known && known->is_known && known->count <= LIMIT_RANK;
    strbuf_puts(out, listed ? " = " : " is ");
    if (listed)
        print_shape(&c->o->graph->dims, known->dims, known->count, out);
    else
        print_shape(&c->o->graph->dims, node->shape, node->rank, out);
}

static const char *input_name(const struct onnx_call *c, uint32_t index)
{
    const char *name = index < c->node->n_input ? c->node->input[index] : "";
    return onnx_is_utf8(name) ? name : "";
}

void onnx_add_shapes(struct onnx_call *c)
{
    struct error *err = c->b->err;
    struct strbuf text;
    uint32_t shown = 0;
    strbuf_init(&text, c->o->arena);
    for (uint32_t i = 0; i < c->in_count && shown < SHOWN_INPUTS; i++) {
        if (c->in[i] == VALUE_NONE || input_name(c, i)[0] == '\0')
            continue;
        strbuf_printf(&text, "%s'%.60s'", shown++ > 0 ? ", " : "", input_name(c, i));
        print_input(c, c->in[i], &text);
    }
    size_t used = strlen(err->message);
    if (err->code == ERR_SHAPE && shown > 0 && used + text.size_bytes + 4 < sizeof err->message)
        used +=
            (size_t)snprintf(err->message + used, sizeof err->message - used, " (%s)", text.data);
    if (err->code == ERR_SHAPE && c->o->undecided)
        snprintf(err->message + used, sizeof err->message - used, "; %s", c->o->undecided);
}

bool onnx_expect_shape(struct onnx_call *c, uint32_t index, const char *what, const dim_id *shape,
                       uint32_t rank)
{
    struct dim_table *dims = &c->o->graph->dims;
    struct strbuf found, expected;
    if (!onnx_given(c, index))
        return true;
    const struct node *node = graph_node(c->o->graph, c->in[index]);
    bool same = node->rank == rank;
    for (uint32_t i = 0; same && i < rank; i++)
        same = node->shape[i] == shape[i] || dim_needs_equal(dims, node->shape[i], shape[i]);
    if (same)
        return true;
    strbuf_init(&found, c->o->arena);
    strbuf_init(&expected, c->o->arena);
    print_shape(dims, node->shape, node->rank, &found);
    print_shape(dims, shape, rank, &expected);
    return b_fail(c->b, ERR_SHAPE, "%s, '%.60s', is %s, expected %s", what, input_name(c, index),
                  found.data, expected.data);
}

static bool is_made_by_a_node(const struct onnx *o, const char *name)
{
    const Onnx__GraphProto *graph = o->model->graph;
    for (size_t i = 0; i < graph->n_node; i++)
        for (size_t k = 0; k < graph->node[i]->n_output; k++)
            if (strcmp(graph->node[i]->output[k], name) == 0)
                return true;
    return false;
}

bool onnx_no_value(struct onnx_call *c, const char *name)
{
    if (is_made_by_a_node(c->o, name))
        return b_fail(c->b, ERR_BLUEPRINT,
                      "input '%.100s' comes from a node behind this one: the nodes are not in "
                      "order, or form a cycle",
                      name);
    return b_fail(c->b, ERR_BLUEPRINT, "input '%.100s' is not the name of a value", name);
}

const char *onnx_node_name(const Onnx__NodeProto *node)
{
    if (node->name && node->name[0] != '\0' && onnx_is_utf8(node->name))
        return node->name;
    for (size_t i = 0; i < node->n_output; i++)
        if (node->output[i][0] != '\0' && onnx_is_utf8(node->output[i]))
            return node->output[i];
    return node->op_type && onnx_is_utf8(node->op_type) ? node->op_type : "";
}

void onnx_refuse_op(struct onnx *o, const char *domain, const Onnx__NodeProto *node)
{
    char why[160];
    const char *cure = "urza ops --onnx lists what is read";
    snprintf(why, sizeof why, "no such op%s%.80s", domain[0] ? " in domain " : "", domain);
    if (strcmp(domain, "com.microsoft.nchwc") == 0)
        cure =
            "the model before ONNX Runtime laid it out for one machine, or one that it saved with "
            "ORT_ENABLE_EXTENDED";
    onnx_refused(o, &(struct import_refusal){.op = node->op_type ? node->op_type : "",
                                             .node = onnx_node_name(node),
                                             .why = why,
                                             .cure = cure});
}
