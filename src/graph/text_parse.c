/* The text form, read. Recursive descent over a terminated copy of the text; one statement a line:
 *
 *   text    = graph { dim } { node } { output }        blank lines and "# …" to the end of a line
 * are skipped graph   = "graph" string dim     = "dim" name int ".." int "multiple" int [ "typical"
 * int ] node    = "%" int "=" prim [ operand { "," operand } ] [ string | number | "0x" hex ] [ "{"
 * attr { "," attr } "}" ] ":" type output  = "output" string operand type    = dtype "[" [
 * dim-expression { "," dim-expression } ] "]"
 *
 * The number before "=" is the id the node gets, so ids count up from 1 and no node stands there
 * twice. Strings know JSON's escapes, \u for ASCII only. Every list, name and number has a bound.
 */
#include "graph/text_priv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

static bool parse_value(struct parser *p, value_id *out)
{
    int64_t id;
    if (!text_expect(p, "%") || !text_int(p, 1, p->graph->nodes.count - 1, &id))
        return false;
    *out = (value_id)id;
    return true;
}

static bool too_many(struct parser *p, const char *what, int limit)
{
    text_skip_space(p);
    fail(p->err, ERR_LIMIT, "more than %d %s", limit, what);
    return text_place(p, p->at);
}

static bool parse_dims(struct parser *p, dim_id out[LIMIT_RANK], uint32_t *out_count)
{
    uint32_t count = 0;
    if (!text_expect(p, "["))
        return false;
    while (!text_take(p, "]")) {
        if (count > 0 && !text_expect(p, ","))
            return false;
        if (count == LIMIT_RANK)
            return too_many(p, "dims", LIMIT_RANK);
        text_skip_space(p);
        const char *before = p->at;
        if (!dim_parse(&p->graph->dims, &p->at, &out[count++], p->err)) {
            return text_place(p, before);
        }
    }
    *out_count = count;
    return true;
}

static bool parse_ints(struct parser *p, int64_t max, int64_t out[LIMIT_RANK], uint32_t *out_count)
{
    uint32_t count = 0;
    if (!text_expect(p, "["))
        return false;
    while (!text_take(p, "]")) {
        if (count > 0 && !text_expect(p, ","))
            return false;
        if (count == LIMIT_RANK)
            return too_many(p, "integers", LIMIT_RANK);
        if (!text_int(p, 0, max, &out[count++]))
            return false;
    }
    *out_count = count;
    return true;
}

static bool parse_windows(struct parser *p, struct attrs *attrs)
{
    uint8_t count = 0;
    if (!text_expect(p, "["))
        return false;
    while (!text_take(p, "]")) {
        if (count > 0 && !text_expect(p, ","))
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
            if (!text_expect(p, fields[i].name) || !text_int(p, 0, INT64_MAX, fields[i].out))
                return false;
    }
    attrs->window_count = count;
    return true;
}

static bool parse_bool(struct parser *p, bool *out)
{
    *out = text_take(p, "true");
    return *out || text_take(p, "false") || text_expected(p, "true or false");
}

static bool parse_mode(struct parser *p, uint8_t *out)
{
    for (unsigned mode = 1; scatter_mode_name(mode); mode++) {
        if (text_take(p, scatter_mode_name(mode))) {
            *out = (uint8_t)mode;
            return true;
        }
    }
    return text_expected(p, "set, add, max or min");
}

/* The lists that share attrs->rank must be of one length. */
static bool same_rank(struct parser *p, struct attrs *attrs, uint32_t bit, uint32_t count)
{
    uint32_t first = ATTR_START | ATTR_LOW | ATTR_DIM;
    if (!(bit & first) && attrs->rank != count) {
        fail(p->err, ERR_PARSE, "%u entries after a list of %u", count, attrs->rank);
        return text_place(p, p->at);
    }
    attrs->rank = (uint8_t)count;
    return true;
}

static bool parse_attr(struct parser *p, uint32_t bit, struct attrs *attrs)
{
    uint32_t count = 0;
    int64_t value = 0, axes[LIMIT_RANK];
    switch (bit) {
    case ATTR_AXIS:
        if (!text_int(p, 0, LIMIT_RANK - 1, &value))
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
        if (!text_int(p, 0, LIMIT_RANK, &value))
            return false;
        attrs->batch = (uint8_t)value;
        return true;
    case ATTR_CONTRACT:
        if (!text_int(p, 0, LIMIT_RANK, &value))
            return false;
        attrs->contract = (uint8_t)value;
        return true;
    case ATTR_WINDOW: return parse_windows(p, attrs);
    case ATTR_GROUPS: return text_int(p, 0, INT64_MAX, &attrs->groups);
    case ATTR_START: return parse_dims(p, attrs->start, &count) && same_rank(p, attrs, bit, count);
    case ATTR_STEP:
        return parse_ints(p, INT64_MAX, attrs->step, &count) && same_rank(p, attrs, bit, count);
    case ATTR_LOW: return parse_dims(p, attrs->low, &count) && same_rank(p, attrs, bit, count);
    case ATTR_HIGH: return parse_dims(p, attrs->high, &count) && same_rank(p, attrs, bit, count);
    case ATTR_DIM: return parse_dims(p, attrs->shape, &count) && same_rank(p, attrs, bit, count);
    case ATTR_MODE: return parse_mode(p, &attrs->mode);
    default: return text_expected(p, "an attribute");
    }
}

static bool parse_braces(struct parser *p, uint32_t bits, struct attrs *attrs)
{
    const char *before = "{";
    for (size_t i = 0; i < ATTR_NAMES_COUNT; i++) {
        if (!(bits & attr_names[i].bit))
            continue;
        if (!text_expect(p, before) || !text_expect(p, attr_names[i].name) ||
            !parse_attr(p, attr_names[i].bit, attrs))
            return false;
        before = ",";
    }
    return before[0] == '{' || text_expect(p, "}");
}

static bool parse_data(struct parser *p, struct attrs *attrs)
{
    static const char hex[] = "0123456789abcdef";
    if (!text_expect(p, "0x"))
        return false;
    size_t digits = strspn(p->at, hex);
    if (digits % 2 != 0)
        return text_expected(p, "an even number of hex digits");
    if (digits / 2 > LIMIT_LITERAL_ELEMENTS * sizeof(double))
        return too_many(p, "elements", LIMIT_LITERAL_ELEMENTS);
    uint8_t *data = arena_alloc(p->graph->arena, digits / 2, 16);
    for (size_t i = 0; i < digits; i += 2)
        data[i / 2] =
            (uint8_t)((strchr(hex, p->at[i]) - hex) << 4 | (strchr(hex, p->at[i + 1]) - hex));
    attrs->data = data;
    attrs->data_bytes = (uint32_t)(digits / 2);
    p->at += digits;
    return true;
}

static size_t number_length(const char *text)
{
    return strcspn(text, " \t\n:");
}

static bool parse_number(struct parser *p, enum dtype dtype, struct attrs *attrs)
{
    if (dtype == DTYPE_U64) {
        uint64_t value;
        if (!text_unsigned(p, &value))
            return false;
        attrs->integer = (int64_t)value;
        return true;
    }
    if (!dtype_is_float(dtype)) {
        const char *before = p->at;
        if (!text_int(p, INT64_MIN, INT64_MAX, &attrs->integer))
            return false;
        if (dtype_wrap(dtype, attrs->integer) == attrs->integer)
            return true;
        fail(p->err, ERR_PARSE, "%" PRId64 " does not fit %s", attrs->integer, dtype_name(dtype));
        return text_place(p, before);
    }
    if (text_take(p, "nan"))
        attrs->value = (double)NAN;
    else if (text_take(p, "inf"))
        attrs->value = (double)INFINITY;
    else if (text_take(p, "-inf"))
        attrs->value = -(double)INFINITY;
    else
        return text_decimal(p, &attrs->value);
    return true;
}

struct type {
    const char *at; /* where it stands */
    enum dtype dtype;
    uint32_t rank;
    dim_id shape[LIMIT_RANK];
};

static bool parse_type(struct parser *p, struct type *out)
{
    char name[LIMIT_NAME + 1];
    text_skip_space(p);
    out->at = p->at;
    if (!text_word(p, name, "a dtype"))
        return false;
    out->dtype = dtype_from_name(name);
    if (out->dtype == DTYPE_NONE || strcmp(dtype_name(out->dtype), name) != 0) {
        p->at = out->at;
        return text_expected(p, "a dtype");
    }
    return parse_dims(p, out->shape, &out->rank);
}

/* What stands between the prim and its type; a number is read later, when its dtype is known. */
static bool parse_arguments(struct parser *p, uint32_t bits, value_id operands[LIMIT_OPERANDS],
                            uint32_t *out_count, struct attrs *attrs, const char **out_number)
{
    uint32_t count = 0;
    text_skip_space(p);
    if (*p->at == '%') {
        do {
            if (count == LIMIT_OPERANDS)
                return too_many(p, "operands", LIMIT_OPERANDS);
            if (!parse_value(p, &operands[count++]))
                return false;
        } while (text_take(p, ","));
    }
    *out_count = count;
    if (bits & ATTR_NAME) {
        char *name = arena_alloc(p->graph->arena, LIMIT_NAME + 1, 1);
        attrs->name = name;
        if (!text_string(p, name))
            return false;
    }
    if (bits & ATTR_VALUE) {
        text_skip_space(p);
        *out_number = p->at;
        p->at += number_length(p->at);
    }
    if ((bits & ATTR_DATA) && !parse_data(p, attrs))
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
    fail(p->err, ERR_PARSE, "expected the type %s", text.data);
    return text_place(p, type->at);
}

/* Reads the number that was passed over, now that its dtype is known. */
static bool parse_number_at(struct parser *p, const char *number, enum dtype dtype,
                            struct attrs *attrs)
{
    struct parser back = *p;
    back.at = number;
    return parse_number(&back, dtype, attrs) && (back.at == number + number_length(number) ||
                                                 text_expected(&back, "the end of the number"));
}

/* The attributes that stand in the type. */
static bool take_type(struct parser *p, uint32_t bits, const struct type *type, struct attrs *attrs)
{
    if (bits & ATTR_DTYPE)
        attrs->dtype = (uint8_t)type->dtype;
    if (!(bits & ATTR_SHAPE))
        return true;
    if ((bits & ATTR_START) && attrs->rank != type->rank) {
        fail(p->err, ERR_PARSE, "expected a type of rank %u, as start and step have entries",
             attrs->rank);
        return text_place(p, type->at);
    }
    attrs->rank = (uint8_t)type->rank;
    memcpy(attrs->shape, type->shape, type->rank * sizeof *type->shape);
    return true;
}

static bool parse_prim(struct parser *p, enum prim *out)
{
    char name[LIMIT_NAME + 1];
    text_skip_space(p);
    const char *before = p->at;
    if (!text_word(p, name, "a prim"))
        return false;
    *out = prim_from_name(name);
    if (*out != PRIM_NONE)
        return true;
    p->at = before;
    return text_expected(p, "a prim");
}

static bool parse_node(struct parser *p)
{
    const char *line = p->at, *number = NULL;
    enum prim prim;
    value_id operands[LIMIT_OPERANDS];
    uint32_t operand_count = 0;
    struct attrs attrs = {0};
    struct type type;
    int64_t label, next = p->graph->nodes.count;
    if (!text_expect(p, "%") || !text_int(p, next, next, &label) || !text_expect(p, "=") ||
        !parse_prim(p, &prim))
        return false;
    uint32_t bits = prim_info(prim)->attrs;
    if (!parse_arguments(p, bits, operands, &operand_count, &attrs, &number) ||
        !text_expect(p, ":") || !parse_type(p, &type) || !take_type(p, bits, &type, &attrs) ||
        (number && !parse_number_at(p, number, type.dtype, &attrs)))
        return false;
    value_id id = graph_add(p->graph, prim, operands, operand_count, &attrs, p->err);
    if (id == VALUE_NONE)
        return text_place(p, line);
    if (id != (value_id)label) {
        fail(p->err, ERR_PARSE, "the same as %%%u", id);
        return text_place(p, line);
    }
    return check_type(p, graph_node(p->graph, id), &type) && text_end_line(p);
}

static bool parse_dim(struct parser *p)
{
    char name[LIMIT_NAME + 1];
    struct dim_name dim = {.name = name};
    uint32_t index;
    text_skip_space(p);
    const char *before = p->at;
    if (!text_word(p, name, "the name of a dim") || !text_int(p, 0, INT64_MAX, &dim.min) ||
        !text_expect(p, "..") || !text_int(p, 0, INT64_MAX, &dim.max) ||
        !text_expect(p, "multiple") || !text_int(p, 1, INT64_MAX, &dim.multiple_of))
        return false;
    if (text_take(p, "typical") && !text_int(p, 1, INT64_MAX, &dim.typical))
        return false;
    if (!dim_declare(&p->graph->dims, &dim, &index, p->err)) {
        return text_place(p, before);
    }
    return text_end_line(p);
}

static bool parse_output(struct parser *p)
{
    char name[LIMIT_NAME + 1];
    value_id value;
    text_skip_space(p);
    const char *before = p->at;
    if (!text_string(p, name) || !parse_value(p, &value))
        return false;
    if (!graph_output(p->graph, name, value, p->err))
        return text_place(p, before);
    return text_end_line(p);
}

static bool parse_header(struct parser *p)
{
    char name[LIMIT_NAME + 1];
    if (!text_expect(p, "graph") || !text_string(p, name))
        return false;
    p->graph->name = arena_strdup(p->graph->arena, name);
    return text_end_line(p);
}

/* Moves to the next line that holds a statement; false at the end. */
static bool next_statement(struct parser *p)
{
    text_skip_space(p);
    while (*p->at == '#' || *p->at == '\n') {
        if (*p->at == '#')
            p->at += strcspn(p->at, "\n");
        else
            p->at++;
        text_skip_space(p);
    }
    return p->at != p->end;
}

bool graph_parse(struct graph *graph, struct arena *arena, const char *text, size_t size,
                 struct error *err)
{
    graph_init(graph, arena);
    if (size > LIMIT_JSON_BYTES)
        return fail(err, ERR_LIMIT, "more than %zu bytes of text", LIMIT_JSON_BYTES);
    char *copy = arena_alloc(arena, size + 1, 1);
    if (size > 0)
        memcpy(copy, text, size);
    struct parser parser = {
        .graph = graph, .start = copy, .at = copy, .end = copy + size, .err = err};
    struct parser *p = &parser;
    const char *zero = size > 0 ? memchr(copy, 0, size) : NULL;
    if (zero) {
        fail(err, ERR_PARSE, "expected text, not a zero byte");
        return text_place(p, zero);
    }
    if (!next_statement(p) || *p->at != 'g')
        return text_expected(p, "'graph'");
    if (!parse_header(p))
        return false;
    while (next_statement(p) && text_take(p, "dim"))
        if (!parse_dim(p))
            return false;
    while (next_statement(p) && *p->at == '%')
        if (!parse_node(p))
            return false;
    while (next_statement(p) && text_take(p, "output"))
        if (!parse_output(p))
            return false;
    return p->at == p->end || text_expected(p, "the next dim, node or output");
}
