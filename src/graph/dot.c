/* The graph as Graphviz DOT. */
#include "graph/graph_priv.h"

#include "base/strbuf.h"

static void print_label(const char *text, struct strbuf *out)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            strbuf_puts(out, "\\");
        strbuf_add(out, text, 1);
    }
}

static void print_node(const struct graph *graph, value_id id, struct strbuf *out)
{
    const struct node *node = graph_node(graph, id);
    const char *style = node->prim == PRIM_INPUT   ? "shape=ellipse, style=bold"
                        : node->prim == PRIM_PARAM ? "shape=ellipse, style=dashed"
                                                   : "shape=box";
    struct strbuf label;
    strbuf_init(&label, out->arena);
    strbuf_printf(&label, "%%%u %s", id, prim_info((enum prim)node->prim)->name);
    if (node->prim != PRIM_LITERAL) /* a literal's data would fill the picture */
        text_print_attrs(graph, node, &label);
    strbuf_printf(out, "  v%u [%s, label=\"", id, style);
    print_label(label.data, out);
    strbuf_init(&label, out->arena);
    text_print_type(graph, (enum dtype)node->dtype, node->rank, node->shape, &label);
    strbuf_puts(out, "\\n");
    print_label(label.data, out);
    strbuf_puts(out, "\"];\n");
    for (uint32_t i = 0; i < node->operand_count; i++) {
        strbuf_printf(out, "  v%u -> v%u", node->operands[i], id);
        if (node->operand_count > 1)
            strbuf_printf(out, " [headlabel=\"%u\"]", i);
        strbuf_puts(out, ";\n");
    }
}

void graph_print_dot(const struct graph *graph, struct strbuf *out)
{
    strbuf_puts(out, "digraph \"");
    print_label(graph->name, out);
    strbuf_puts(out, "\" {\n");
    for (value_id id = 1; id < graph->nodes.count; id++)
        print_node(graph, id, out);
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        strbuf_printf(out, "  o%u [shape=ellipse, style=bold, label=\"", i);
        print_label(graph->outputs.items[i].name, out);
        strbuf_printf(out, "\"];\n  v%u -> o%u;\n", graph->outputs.items[i].value, i);
    }
    strbuf_puts(out, "}\n");
}
