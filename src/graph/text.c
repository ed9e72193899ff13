/* Printing the text form. Attributes are printed in the order of attr_names. For every prim that
 * has shape or dtype attributes these are the result's, so they are printed in the type only.
 */
#include "graph/element.h"
#include "graph/graph_priv.h"
#include "graph/text.h"

#include <inttypes.h>
#include <string.h>

#include "base/strbuf.h"

const struct attr_name attr_names[ATTR_NAMES_COUNT] = {
    {ATTR_AXIS, "axis"},       {ATTR_AXES, "axes"},     {ATTR_EXCLUSIVE, "exclusive"},
    {ATTR_REVERSE, "reverse"}, {ATTR_BATCH, "batch"},   {ATTR_CONTRACT, "contract"},
    {ATTR_WINDOW, "window"},   {ATTR_GROUPS, "groups"}, {ATTR_START, "start"},
    {ATTR_STEP, "step"},       {ATTR_LOW, "low"},       {ATTR_HIGH, "high"},
    {ATTR_MODE, "mode"},       {ATTR_LOOP, "loop"},     {ATTR_INDEX, "index"},
    {ATTR_STATES, "states"},   {ATTR_DIM, "dim"},       {ATTR_WHILE, "while"},
};

const char *scatter_mode_name(unsigned mode)
{
    static const char *const names[] = {NULL, "set", "add", "max", "min"};
    return mode < sizeof names / sizeof *names ? names[mode] : NULL;
}

void text_print_string(const char *text, struct strbuf *out)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    strbuf_puts(out, "\"");
    for (; *text; text++) {
        const char *at = strchr(escaped, *text);
        if (at)
            strbuf_printf(out, "\\%c", letters[at - escaped]);
        else if ((unsigned char)*text < 0x20)
            strbuf_printf(out, "\\u%04x", (unsigned)*text);
        else
            strbuf_add(out, text, 1);
    }
    strbuf_puts(out, "\"");
}

void text_print_number(enum dtype dtype, double value, int64_t integer, struct strbuf *out)
{
    if (dtype_is_float(dtype))
        strbuf_double(out, value);
    else if (dtype == DTYPE_U64)
        strbuf_printf(out, "%" PRIu64, (uint64_t)integer);
    else
        strbuf_printf(out, "%" PRId64, integer);
}

void text_print_hex(const void *bytes, uint32_t size_bytes, struct strbuf *out)
{
    strbuf_puts(out, "0x");
    for (uint32_t i = 0; i < size_bytes; i++)
        strbuf_printf(out, "%02x", ((const uint8_t *)bytes)[i]);
}

void text_print_dims(const struct dim_table *dims, const char *indent, struct strbuf *out)
{
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *dim = &dims->names.items[i];
        strbuf_printf(out, "%sdim %s %" PRId64 "..%" PRId64 " multiple %" PRId64, indent, dim->name,
                      dim->min, dim->max, dim->multiple_of);
        if (dim->typical != 0)
            strbuf_printf(out, " typical %" PRId64, dim->typical);
        if (dim->why) {
            strbuf_puts(out, " why ");
            text_print_string(dim->why, out);
        }
        if (dim_shown(dims, i) != dim->name) {
            strbuf_puts(out, " spelled ");
            text_print_string(dim_shown(dims, i), out);
        }
        strbuf_puts(out, "\n");
    }
}

static void print_dims(const struct graph *graph, uint32_t rank, const dim_id *dims,
                       struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (uint32_t i = 0; i < rank; i++) {
        strbuf_puts(out, i > 0 ? ", " : "");
        dim_print(&graph->dims, dims[i], out);
    }
    strbuf_puts(out, "]");
}

void text_print_type(const struct graph *graph, enum dtype dtype, uint32_t rank,
                     const dim_id *shape, struct strbuf *out)
{
    strbuf_puts(out, dtype_name(dtype));
    print_dims(graph, rank, shape, out);
}

static void print_windows(const struct attrs *attrs, struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (uint32_t i = 0; i < attrs->window_count; i++) {
        const struct window *w = &attrs->window[i];
        strbuf_printf(out,
                      "%ssize %" PRId64 " stride %" PRId64 " low %" PRId64 " high %" PRId64
                      " dilation %" PRId64 " base %" PRId64,
                      i > 0 ? ", " : "", w->size, w->stride, w->low, w->high, w->dilation,
                      w->base_dilation);
    }
    strbuf_puts(out, "]");
}

static void print_axes(const struct attrs *attrs, struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (uint32_t i = 0; i < attrs->axis_count; i++)
        strbuf_printf(out, "%s%u", i > 0 ? ", " : "", attrs->axes[i]);
    strbuf_puts(out, "]");
}

static void print_steps(const struct attrs *attrs, struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (uint32_t i = 0; i < attrs->rank; i++)
        strbuf_printf(out, "%s%" PRId64, i > 0 ? ", " : "", attrs->step[i]);
    strbuf_puts(out, "]");
}

/* Whether an attribute that may be left out is there; the others are. */
static bool attr_given(const struct attrs *attrs, uint32_t bit)
{
    return bit != ATTR_WHILE || attrs->condition > 0;
}

static void print_attr(const struct graph *graph, const struct attrs *attrs, uint32_t bit,
                       struct strbuf *out)
{
    switch (bit) {
    case ATTR_AXIS: strbuf_printf(out, "%d", attrs->axis); break;
    case ATTR_AXES: print_axes(attrs, out); break;
    case ATTR_EXCLUSIVE: strbuf_puts(out, attrs->exclusive ? "true" : "false"); break;
    case ATTR_REVERSE: strbuf_puts(out, attrs->reverse ? "true" : "false"); break;
    case ATTR_BATCH: strbuf_printf(out, "%u", attrs->batch); break;
    case ATTR_CONTRACT: strbuf_printf(out, "%u", attrs->contract); break;
    case ATTR_WINDOW: print_windows(attrs, out); break;
    case ATTR_GROUPS: strbuf_printf(out, "%" PRId64, attrs->groups); break;
    case ATTR_START: print_dims(graph, attrs->rank, attrs->start, out); break;
    case ATTR_STEP: print_steps(attrs, out); break;
    case ATTR_LOW: print_dims(graph, attrs->rank, attrs->low, out); break;
    case ATTR_HIGH: print_dims(graph, attrs->rank, attrs->high, out); break;
    case ATTR_DIM: print_dims(graph, attrs->rank, attrs->shape, out); break;
    case ATTR_MODE: strbuf_puts(out, scatter_mode_name(attrs->mode)); break;
    case ATTR_LOOP: strbuf_printf(out, "%u", attrs->loop); break;
    case ATTR_INDEX: strbuf_printf(out, "%u", attrs->index); break;
    case ATTR_STATES: strbuf_printf(out, "%u", attrs->states); break;
    case ATTR_WHILE: strbuf_printf(out, "%u", attrs->condition - 1); break;
    }
}

void text_print_attrs(const struct graph *graph, const struct node *node, struct strbuf *out)
{
    const struct attrs *attrs = node->attrs;
    uint32_t bits = prim_info((enum prim)node->prim)->attrs;
    if (bits & ATTR_NAME) {
        strbuf_puts(out, " ");
        text_print_string(attrs->name, out);
    }
    if (bits & ATTR_VALUE) {
        strbuf_puts(out, " ");
        text_print_number((enum dtype)attrs->dtype, attrs->value, attrs->integer, out);
    }
    if (bits & ATTR_DATA) {
        strbuf_puts(out, " ");
        text_print_hex(attrs->data, attrs->data_bytes, out);
    }
    const char *before = " {";
    for (size_t i = 0; i < ATTR_NAMES_COUNT; i++) {
        if (!(bits & attr_names[i].bit) || !attr_given(attrs, attr_names[i].bit))
            continue;
        strbuf_printf(out, "%s%s ", before, attr_names[i].name);
        print_attr(graph, attrs, attr_names[i].bit, out);
        before = ", ";
    }
    strbuf_puts(out, before[0] == ',' ? "}" : "");
}

static void print_element(const struct graph *graph, const struct graph_element *element,
                          struct strbuf *out)
{
    strbuf_puts(out, "element ");
    text_print_string(graph_node(graph, graph->inputs.items[element->input])->attrs->name, out);
    strbuf_printf(out, " %u %s ", element->element, element_rule_name(element->rule));
    dim_print(&graph->dims, element->of, out);
    strbuf_puts(out, " tells ");
    dim_print(&graph->dims, element->dim, out);
    strbuf_puts(out, "\n");
}

void graph_print(const struct graph *graph, struct strbuf *out)
{
    strbuf_puts(out, "graph ");
    text_print_string(graph->name, out);
    strbuf_puts(out, "\n");
    text_print_dims(&graph->dims, "", out);
    for (value_id id = 1; id < graph->nodes.count; id++) {
        const struct node *node = graph_node(graph, id);
        strbuf_printf(out, "%%%u = %s", id, prim_info((enum prim)node->prim)->name);
        for (uint32_t i = 0; i < node->operand_count; i++)
            strbuf_printf(out, "%s%%%u", i > 0 ? ", " : " ", node->operands[i]);
        text_print_attrs(graph, node, out);
        strbuf_puts(out, " : ");
        text_print_type(graph, (enum dtype)node->dtype, node->rank, node->shape, out);
        strbuf_puts(out, "\n");
    }
    for (uint32_t i = 0; i < graph->elements.count; i++)
        print_element(graph, &graph->elements.items[i], out);
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        strbuf_puts(out, "output ");
        text_print_string(graph->outputs.items[i].name, out);
        strbuf_printf(out, " %%%u\n", graph->outputs.items[i].value);
    }
    for (uint32_t i = 0; i < graph->updates.count; i++) {
        const struct graph_update *update = &graph->updates.items[i];
        strbuf_puts(out, "update ");
        text_print_string(graph_node(graph, graph->inputs.items[update->input])->attrs->name, out);
        strbuf_puts(out, " by ");
        text_print_string(graph->outputs.items[update->output].name, out);
        strbuf_puts(out, "\n");
    }
}
