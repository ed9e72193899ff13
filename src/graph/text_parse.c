/* Parsing the text form, by recursive descent over a zero-terminated copy of the text. One
 * statement per line:
 *
 *   text    = graph { dim } { node } { element } { output } { update }
 *   graph   = "graph" string
 *   dim     = "dim" name int ".." int "multiple" int [ "typical" int ]
 *   node    = "%" int "=" prim [ operand { "," operand } ] [ string | number | "0x" hex ]
 *             [ "{" attr { "," attr } "}" ] ":" type
 *   element = "element" string int rule dim-expression "tells" dim-expression
 *   output  = "output" string operand
 *   update  = "update" string "by" string
 *   type    = dtype "[" [ dim-expression { "," dim-expression } ] "]"
 *
 * Blank lines are skipped, and so are comments, from "#" to the end of the line.
 *
 * The number before "=" must be the id that the node gets, so ids count up from 1, and no line may
 * repeat an earlier node. Strings have JSON's escapes, with \u for ASCII only. Every list, name and
 * number has a bound.
 */
#include "graph/element.h"
#include "graph/graph_priv.h"
#include "graph/loops.h"
#include "graph/text.h"

#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

struct parser {
    struct text_reader in;
    struct graph *graph;
};

static bool parse_value(struct parser *p, value_id *out)
{
    int64_t id;
    if (!text_expect(&p->in, "%") || !text_int(&p->in, 1, p->graph->nodes.count - 1, &id))
        return false;
    *out = (value_id)id;
    return true;
}

static bool too_many(struct parser *p, const char *what, int limit)
{
    text_skip_space(&p->in);
    fail(p->in.err, ERR_LIMIT, "more than %d %s", limit, what);
    return text_place(&p->in, p->in.at);
}

static bool parse_dims(struct parser *p, dim_id out[LIMIT_RANK], uint32_t *out_count)
{
    uint32_t count = 0;
    if (!text_expect(&p->in, "["))
        return false;
    while (!text_take(&p->in, "]")) {
        if (count > 0 && !text_expect(&p->in, ","))
            return false;
        if (count == LIMIT_RANK)
            return too_many(p, "dims", LIMIT_RANK);
        text_skip_space(&p->in);
        const char *before = p->in.at;
        if (!dim_parse(&p->graph->dims, &p->in.at, &out[count++], p->in.err)) {
            return text_place(&p->in, before);
        }
    }
    *out_count = count;
    return true;
}

static bool parse_ints(struct parser *p, int64_t max, int64_t out[LIMIT_RANK], uint32_t *out_count)
{
    uint32_t count = 0;
    if (!text_expect(&p->in, "["))
        return false;
    while (!text_take(&p->in, "]")) {
        if (count > 0 && !text_expect(&p->in, ","))
            return false;
        if (count == LIMIT_RANK)
            return too_many(p, "integers", LIMIT_RANK);
        if (!text_int(&p->in, 0, max, &out[count++]))
            return false;
    }
    *out_count = count;
    return true;
}

static bool parse_windows(struct parser *p, struct attrs *attrs)
{
    uint8_t count = 0;
    if (!text_expect(&p->in, "["))
        return false;
    while (!text_take(&p->in, "]")) {
        if (count > 0 && !text_expect(&p->in, ","))
            return false;
        if (count == LIMIT_RANK)
            return too_many(p, "windows", LIMIT_RANK);
        struct window *w = &attrs->window[count++];
        const struct {
            const char *name;
            int64_t *out;
        } fields[] = {{"size", &w->size}, {"stride", &w->stride},     {"low", &w->low},
                      {"high", &w->high}, {"dilation", &w->dilation}, {"base", &w->base_dilation}};
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            if (!text_expect(&p->in, fields[i].name) ||
                !text_int(&p->in, 0, INT64_MAX, fields[i].out))
                return false;
    }
    attrs->window_count = count;
    return true;
}

static bool parse_bool(struct parser *p, bool *out)
{
    *out = text_take(&p->in, "true");
    return *out || text_take(&p->in, "false") || text_expected(&p->in, "true or false");
}

static bool parse_mode(struct parser *p, uint8_t *out)
{
    for (unsigned mode = 1; scatter_mode_name(mode); mode++) {
        if (text_take(&p->in, scatter_mode_name(mode))) {
            *out = (uint8_t)mode;
            return true;
        }
    }
    return text_expected(&p->in, "set, add, max or min");
}

/* Lists that share attrs->rank must have the same length. */
static bool same_rank(struct parser *p, struct attrs *attrs, uint32_t bit, uint32_t count)
{
    uint32_t first = ATTR_START | ATTR_LOW | ATTR_DIM;
    if (!(bit & first) && attrs->rank != count) {
        fail(p->in.err, ERR_PARSE, "%u entries after a list of %u", count, attrs->rank);
        return text_place(&p->in, p->in.at);
    }
    attrs->rank = (uint8_t)count;
    return true;
}

static bool parse_number(struct parser *p, int64_t most, uint32_t *out)
{
    int64_t value = 0;
    if (!text_int(&p->in, 0, most, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool parse_attr(struct parser *p, uint32_t bit, struct attrs *attrs)
{
    uint32_t count = 0;
    int64_t value = 0, axes[LIMIT_RANK];
    switch (bit) {
    case ATTR_AXIS:
        if (!text_int(&p->in, 0, LIMIT_RANK - 1, &value))
            return false;
        attrs->axis = (int32_t)value;
        return true;
    case ATTR_AXES:
        if (!parse_ints(p, LIMIT_RANK - 1, axes, &count))
            return false;
        attrs->axis_count = (uint8_t)count;
        for (uint32_t i = 0; i < count; i++)
            attrs->axes[i] = (uint8_t)axes[i];
        return true;
    case ATTR_EXCLUSIVE: return parse_bool(p, &attrs->exclusive);
    case ATTR_REVERSE: return parse_bool(p, &attrs->reverse);
    case ATTR_BATCH:
        if (!text_int(&p->in, 0, LIMIT_RANK, &value))
            return false;
        attrs->batch = (uint8_t)value;
        return true;
    case ATTR_CONTRACT:
        if (!text_int(&p->in, 0, LIMIT_RANK, &value))
            return false;
        attrs->contract = (uint8_t)value;
        return true;
    case ATTR_WINDOW: return parse_windows(p, attrs);
    case ATTR_GROUPS: return text_int(&p->in, 0, INT64_MAX, &attrs->groups);
    case ATTR_START: return parse_dims(p, attrs->start, &count) && same_rank(p, attrs, bit, count);
    case ATTR_STEP:
        return parse_ints(p, INT64_MAX, attrs->step, &count) && same_rank(p, attrs, bit, count);
    case ATTR_LOW: return parse_dims(p, attrs->low, &count) && same_rank(p, attrs, bit, count);
    case ATTR_HIGH: return parse_dims(p, attrs->high, &count) && same_rank(p, attrs, bit, count);
    case ATTR_DIM: return parse_dims(p, attrs->shape, &count) && same_rank(p, attrs, bit, count);
    case ATTR_MODE: return parse_mode(p, &attrs->mode);
    case ATTR_LOOP: return parse_number(p, LIMIT_NODES, &attrs->loop);
    case ATTR_INDEX: return parse_number(p, LIMIT_OPERANDS, &attrs->index);
    case ATTR_STATES: return parse_number(p, LIMIT_OPERANDS, &attrs->states);
    case ATTR_WHILE:
        if (!parse_number(p, LIMIT_OPERANDS, &attrs->condition))
            return false;
        attrs->condition++;
        return true;
    default: return text_expected(&p->in, "an attribute");
    }
}

static bool parse_braces(struct parser *p, uint32_t bits, struct attrs *attrs)
{
    const char *before = "{";
    for (size_t i = 0; i < ATTR_NAMES_COUNT; i++) {
        if (!(bits & attr_names[i].bit))
            continue;
        text_skip_space(&p->in);
        if (attr_names[i].bit == ATTR_WHILE && *p->in.at == '}') /* optional, and the last one */
            continue;
        if (!text_expect(&p->in, before) || !text_expect(&p->in, attr_names[i].name) ||
            !parse_attr(p, attr_names[i].bit, attrs))
            return false;
        before = ",";
    }
    return before[0] == '{' || text_expect(&p->in, "}");
}

static size_t number_length(const char *text)
{
    return strcspn(text, " \t\n:");
}

struct type {
    const char *at; /* its position in the text */
    enum dtype dtype;
    uint32_t rank;
    dim_id shape[LIMIT_RANK];
};

static bool parse_type(struct parser *p, struct type *out)
{
    char name[LIMIT_NAME + 1];
    text_skip_space(&p->in);
    out->at = p->in.at;
    if (!text_word(&p->in, name, "a dtype"))
        return false;
    out->dtype = dtype_from_name(name);
    if (out->dtype == DTYPE_NONE || strcmp(dtype_name(out->dtype), name) != 0) {
        p->in.at = out->at;
        return text_expected(&p->in, "a dtype");
    }
    return parse_dims(p, out->shape, &out->rank);
}

/* Parses everything between the prim and the type. A number is only skipped: its syntax depends on
 * the dtype, which comes later. */
static bool parse_arguments(struct parser *p, uint32_t bits, value_id operands[LIMIT_OPERANDS],
                            uint32_t *out_count, struct attrs *attrs, const char **out_number)
{
    uint32_t count = 0;
    text_skip_space(&p->in);
    if (*p->in.at == '%') {
        do {
            if (count == LIMIT_OPERANDS)
                return too_many(p, "operands", LIMIT_OPERANDS);
            if (!parse_value(p, &operands[count++]))
                return false;
        } while (text_take(&p->in, ","));
    }
    *out_count = count;
    if (bits & ATTR_NAME) {
        if (!text_string(&p->in, p->graph->arena, &attrs->name))
            return false;
    }
    if (bits & ATTR_VALUE) {
        text_skip_space(&p->in);
        *out_number = p->in.at;
        p->in.at += number_length(p->in.at);
    }
    if ((bits & ATTR_DATA) &&
        !text_hex(&p->in, p->graph->arena, LIMIT_LITERAL_ELEMENTS * sizeof(double), &attrs->data,
                  &attrs->data_bytes))
        return false;
    return parse_braces(p, bits, attrs);
}

static bool check_type(struct parser *p, const struct node *node, const struct type *type)
{
    bool same = node->dtype == type->dtype && node->rank == type->rank;
    for (uint32_t i = 0; same && i < type->rank; i++)
        same = node->shape[i] == type->shape[i];
    if (same)
        return true;
    struct strbuf text;
    strbuf_init(&text, p->graph->arena);
    text_print_type(p->graph, (enum dtype)node->dtype, node->rank, node->shape, &text);
    fail(p->in.err, ERR_PARSE, "expected the type %s", text.data);
    return text_place(&p->in, type->at);
}

/* Parses the number that was skipped, now that its dtype is known. */
static bool parse_number_at(struct parser *p, const char *number, enum dtype dtype,
                            struct attrs *attrs)
{
    struct text_reader back = p->in;
    back.at = number;
    return text_number(&back, dtype, &attrs->value, &attrs->integer) &&
           (back.at == number + number_length(number) ||
            text_expected(&back, "the end of the number"));
}

/* Takes the attributes that are part of the type. */
static bool take_type(struct parser *p, uint32_t bits, const struct type *type, struct attrs *attrs)
{
    if (bits & ATTR_DTYPE)
        attrs->dtype = (uint8_t)type->dtype;
    if (!(bits & ATTR_SHAPE))
        return true;
    if ((bits & ATTR_START) && attrs->rank != type->rank) {
        fail(p->in.err, ERR_PARSE, "expected a type of rank %u, as start and step have entries",
             attrs->rank);
        return text_place(&p->in, type->at);
    }
    attrs->rank = (uint8_t)type->rank;
    memcpy(attrs->shape, type->shape, type->rank * sizeof *type->shape);
    return true;
}

static bool parse_prim(struct parser *p, enum prim *out)
{
    char name[LIMIT_NAME + 1];
    text_skip_space(&p->in);
    const char *before = p->in.at;
    if (!text_word(&p->in, name, "a prim"))
        return false;
    *out = prim_from_name(name);
    if (*out != PRIM_NONE)
        return true;
    p->in.at = before;
    return text_expected(&p->in, "a prim");
}

static bool parse_node(struct parser *p)
{
    const char *line = p->in.at, *number = NULL;
    enum prim prim;
    value_id operands[LIMIT_OPERANDS];
    uint32_t operand_count = 0;
    struct attrs attrs = {0};
    struct type type;
    int64_t label, next = p->graph->nodes.count;
    if (!text_expect(&p->in, "%") || !text_int(&p->in, next, next, &label) ||
        !text_expect(&p->in, "=") || !parse_prim(p, &prim))
        return false;
    uint32_t bits = prim_info(prim)->attrs;
    if (!parse_arguments(p, bits, operands, &operand_count, &attrs, &number) ||
        !text_expect(&p->in, ":") || !parse_type(p, &type) || !take_type(p, bits, &type, &attrs) ||
        (number && !parse_number_at(p, number, type.dtype, &attrs)))
        return false;
    value_id id = graph_add(p->graph, prim, operands, operand_count, &attrs, p->in.err);
    if (id == VALUE_NONE)
        return text_place(&p->in, line);
    if (id != (value_id)label) {
        fail(p->in.err, ERR_PARSE, "the same as %%%u", id);
        return text_place(&p->in, line);
    }
    return check_type(p, graph_node(p->graph, id), &type) && text_end_line(&p->in);
}

static bool parse_dim(struct parser *p, dim_id *out)
{
    text_skip_space(&p->in);
    const char *before = p->in.at;
    return dim_parse(&p->graph->dims, &p->in.at, out, p->in.err) || text_place(&p->in, before);
}

static bool parse_element(struct parser *p)
{
    const char *name;
    char rule[LIMIT_NAME + 1];
    int64_t at;
    struct graph_element element = {.input = 0};
    text_skip_space(&p->in);
    const char *before = p->in.at;
    if (!text_string(&p->in, p->graph->arena, &name) ||
        !text_int(&p->in, 0, LIMIT_ELEMENTS - 1, &at) || !text_word(&p->in, rule, "a rule") ||
        !parse_dim(p, &element.of) || !text_expect(&p->in, "tells") || !parse_dim(p, &element.dim))
        return false;
    for (uint32_t i = 0; i < p->graph->inputs.count; i++, element.input++)
        if (strcmp(graph_node(p->graph, p->graph->inputs.items[i])->attrs->name, name) == 0)
            break;
    element.element = (uint32_t)at;
    element.rule = (uint8_t)element_rule_from_name(rule);
    if (!graph_element(p->graph, &element, p->in.err))
        return text_place(&p->in, before);
    return text_end_line(&p->in);
}

static bool parse_output(struct parser *p)
{
    const char *name;
    value_id value;
    text_skip_space(&p->in);
    const char *before = p->in.at;
    if (!text_string(&p->in, p->graph->arena, &name) || !parse_value(p, &value))
        return false;
    if (!graph_output(p->graph, name, value, p->in.err))
        return text_place(&p->in, before);
    return text_end_line(&p->in);
}

/* The graph says what is wrong with a name that is none. */
static bool parse_update(struct parser *p)
{
    const char *input, *output;
    struct graph_update update = {.input = 0};
    const struct graph *graph = p->graph;
    text_skip_space(&p->in);
    const char *before = p->in.at;
    if (!text_string(&p->in, graph->arena, &input) || !text_expect(&p->in, "by") ||
        !text_string(&p->in, graph->arena, &output))
        return false;
    while (update.input < graph->inputs.count &&
           strcmp(graph_node(graph, graph->inputs.items[update.input])->attrs->name, input) != 0)
        update.input++;
    while (update.output < graph->outputs.count &&
           strcmp(graph->outputs.items[update.output].name, output) != 0)
        update.output++;
    if (!graph_update(p->graph, &update, p->in.err))
        return text_place(&p->in, before);
    return text_end_line(&p->in);
}

static bool parse_header(struct parser *p)
{
    if (!text_expect(&p->in, "graph") || !text_string(&p->in, p->graph->arena, &p->graph->name))
        return false;
    return text_end_line(&p->in);
}

bool graph_parse(struct graph *graph, struct arena *arena, const char *text, size_t size,
                 struct error *err)
{
    graph_init(graph, arena);
    struct parser parser = {.graph = graph}, *p = &parser;
    if (!text_open(&p->in, arena, text, size, err))
        return false;
    if (!text_next_line(&p->in) || *p->in.at != 'g')
        return text_expected(&p->in, "'graph'");
    if (!parse_header(p))
        return false;
    while (text_next_line(&p->in) && text_take(&p->in, "dim"))
        if (!text_dim(&p->in, &p->graph->dims))
            return false;
    while (text_next_line(&p->in) && *p->in.at == '%')
        if (!parse_node(p))
            return false;
    while (text_next_line(&p->in) && text_take(&p->in, "element"))
        if (!parse_element(p))
            return false;
    while (text_next_line(&p->in) && text_take(&p->in, "output"))
        if (!parse_output(p))
            return false;
    while (text_next_line(&p->in) && text_take(&p->in, "update"))
        if (!parse_update(p))
            return false;
    struct graph_loops loops;
    return (p->in.at == p->in.end ||
            text_expected(&p->in, "the next dim, node, element, output or update")) &&
           graph_find_loops(graph, arena, &loops, err);
}
