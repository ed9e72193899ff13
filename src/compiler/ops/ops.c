/* The table of ops, their schemas, and the expansion of calls.
 *
 * A schema is a short text in the row (see struct op_row). It is parsed at each call, which is
 * cheap compared with the nodes that a call makes, so no second form of it has to be kept. */
#include "compiler/ops/ops_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static const struct op_row rows[] = {
#define OP(name, operands, attrs, examples, doc) \
    {#name, operands, attrs, examples, doc, expand_##name},
#include "compiler/ops/ops.def"
#undef OP
};

#define ROW_COUNT (sizeof rows / sizeof rows[0])

const struct op_row *op_find(const char *name)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

const struct op_row *op_at(uint32_t index)
{
    return index < ROW_COUNT ? &rows[index] : NULL;
}

/* The length of the next word of a text whose words are separated by blanks; 0 at the end. */
static int next_word(const char **text)
{
    *text += strspn(*text, " ");
    return (int)strcspn(*text, " ");
}

bool ops_next_operand(const char **schema, struct op_operand_schema *out)
{
    int size = next_word(schema);
    if (size == 0) {
        return false;
    }
    *out = (struct op_operand_schema){.name = *schema, .name_size = size};
    *schema += size;
    if (size > 3 && strncmp(out->name + size - 3, "...", 3) == 0) {
        out->repeats = true;
        out->name_size -= 3;
    } else if (out->name[size - 1] == '?') {
        out->optional = true;
        out->name_size -= 1;
    }
    return true;
}

bool ops_next_attr(const char **schema, struct op_attr_schema *out)
{
    int size = next_word(schema);
    if (size == 0) {
        return false;
    }
    const char *word = *schema;
    const char *colon = memchr(word, ':', (size_t)size);
    assert(colon != NULL);
    const char *equals = memchr(colon, '=', (size_t)(word + size - colon));
    const char *types_end = equals != NULL ? equals : word + size;
    *out = (struct op_attr_schema){
        .name = word,
        .name_size = (int)(colon - word),
        .types = colon + 1,
        .types_size = (int)(types_end - colon - 1),
    };
    if (equals != NULL) {
        out->initial = equals + 1;
        out->initial_size = (int)(word + size - equals - 1);
    }
    *schema += size;
    return true;
}

static bool word_is(const char *word, int size, const char *text)
{
    return (int)strlen(text) == size && strncmp(word, text, (size_t)size) == 0;
}

/* Whether the value has one of the alternative types. Numbers widen: an int is accepted as a float
 * and as a list. */
static bool type_accepts(const struct op_attr_schema *schema, const struct op_value *value)
{
    const char *end = schema->types + schema->types_size;
    for (const char *type = schema->types; type < end;) {
        const char *bar = memchr(type, '|', (size_t)(end - type));
        int size = (int)((bar != NULL ? bar : end) - type);
        bool fits = false;
        if (word_is(type, size, "int")) {
            fits = value->kind == OP_INT;
        } else if (word_is(type, size, "float")) {
            fits = value->kind == OP_FLOAT || value->kind == OP_INT;
        } else if (word_is(type, size, "bool")) {
            fits = value->kind == OP_BOOL;
        } else if (word_is(type, size, "ints")) {
            fits = value->kind == OP_INTS || value->kind == OP_INT;
        } else if (word_is(type, size, "text")) {
            fits = value->kind == OP_TEXT;
        } else {
            fits = value->kind == OP_TEXT && word_is(type, size, value->text);
        }
        if (fits) {
            return true;
        }
        type += size + 1;
    }
    return false;
}

/* Parses a default in a schema, as the first of the types that accepts it. */
static struct op_value parse_default(struct arena *arena, const char *name,
                                     const struct op_attr_schema *schema)
{
    const char *text = arena_strndup(arena, schema->initial, (size_t)schema->initial_size);
    struct op_value value = {.name = name, .kind = OP_INT, .text = text};
    char *end = NULL;
    value.i = strtoll(text, &end, 10);
    value.f = (double)value.i;
    if (*end == '\0' && type_accepts(schema, &value)) {
        return value;
    }
    value.kind = OP_FLOAT;
    value.f = strtod(text, &end);
    if (*end == '\0' && type_accepts(schema, &value)) {
        return value;
    }
    value.kind = OP_BOOL;
    value.i = strcmp(text, "true") == 0;
    if (type_accepts(schema, &value)) {
        return value;
    }
    value.kind = OP_TEXT;
    assert(type_accepts(schema, &value));
    return value;
}

static bool check_operands(const struct op_row *row, const value_id *operands, uint32_t count,
                           struct op_call *call, struct error *err)
{
    const char *schema = row->operands;
    struct op_operand_schema operand;
    uint32_t i = 0;
    bool repeats = false;
    while (ops_next_operand(&schema, &operand)) {
        repeats = operand.repeats;
        value_id value = i < count ? operands[i] : VALUE_NONE;
        if (value == VALUE_NONE && !operand.optional) {
            return fail(err, ERR_BLUEPRINT, "'%s' needs operand '%.*s' (operands: %s)", row->name,
                        operand.name_size, operand.name, row->operands);
        }
        assert(i < LIMIT_OPERANDS);
        call->in[i++] = value;
    }
    if (count > (repeats ? LIMIT_OPERANDS : i)) {
        return fail(err, repeats ? ERR_LIMIT : ERR_BLUEPRINT,
                    "'%s' takes at most %u operands (%s), not %u", row->name,
                    repeats ? LIMIT_OPERANDS : i, row->operands, count);
    }
    for (; i < count; i++) {
        if (operands[i] == VALUE_NONE) {
            return fail(err, ERR_BLUEPRINT, "operand %u of '%s' is missing", i, row->name);
        }
        call->in[i] = operands[i];
    }
    call->in_count = i;
    return true;
}

static bool check_unknown(const struct op_row *row, const struct op_value *attrs, uint32_t count,
                          struct error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *schema = row->attrs;
        struct op_attr_schema attr;
        bool known = false;
        while (!known && ops_next_attr(&schema, &attr)) {
            known = word_is(attr.name, attr.name_size, attrs[i].name);
        }
        if (!known) {
            fail(err, ERR_BLUEPRINT, "'%s' has no such attribute (attributes: %s)", row->name,
                 row->attrs[0] != '\0' ? row->attrs : "none");
            return fail_at(err, "attribute '%s'", attrs[i].name);
        }
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(attrs[i].name, attrs[j].name) == 0) {
                fail(err, ERR_BLUEPRINT, "given twice");
                return fail_at(err, "attribute '%s'", attrs[i].name);
            }
        }
    }
    return true;
}

static bool check_attrs(const struct op_row *row, const struct op_value *attrs, uint32_t count,
                        struct op_call *call, struct error *err)
{
    struct arena *arena = call->b->graph->arena;
    const char *schema = row->attrs;
    struct op_attr_schema attr;
    while (ops_next_attr(&schema, &attr)) {
        assert(call->attr_count < OP_MAX_ATTRS);
        struct op_value *to = &call->attrs[call->attr_count++];
        const char *name = arena_strndup(arena, attr.name, (size_t)attr.name_size);
        const struct op_value *given = NULL;
        for (uint32_t i = 0; i < count; i++) {
            given = strcmp(attrs[i].name, name) == 0 ? &attrs[i] : given;
        }
        if (given == NULL && attr.initial == NULL) {
            fail(err, ERR_BLUEPRINT, "'%s' needs it (%.*s)", row->name, attr.types_size,
                 attr.types);
            return fail_at(err, "attribute '%s'", name);
        }
        if (given == NULL && word_is(attr.initial, attr.initial_size, "?")) {
            *to = (struct op_value){.name = name};
        } else if (given == NULL) {
            *to = parse_default(arena, name, &attr);
        } else if (!type_accepts(&attr, given)) {
            fail(err, ERR_BLUEPRINT, "'%s' expects %.*s", row->name, attr.types_size, attr.types);
            return fail_at(err, "attribute '%s'", name);
        } else {
            *to = *given;
            to->name = name;
            to->f = given->kind == OP_INT ? (double)given->i : given->f;
        }
    }
    return true;
}

bool op_expand(struct builder *b, const struct op_row *row, const struct op_arguments *arguments,
               value_id out[OP_MAX_OUTPUTS], uint32_t *out_count, struct error *err)
{
    struct builder builder = {.graph = b->graph, .err = err};
    struct op_call call = {.b = &builder, .row = row, .training = arguments->training};
    if (!check_operands(row, arguments->operands, arguments->operand_count, &call, err) ||
        !check_unknown(row, arguments->attrs, arguments->attr_count, err) ||
        !check_attrs(row, arguments->attrs, arguments->attr_count, &call, err) ||
        !row->expand(&call)) {
        return false;
    }
    assert(call.out_count > 0 && call.out_count <= OP_MAX_OUTPUTS);
    memcpy(out, call.out, call.out_count * sizeof out[0]);
    *out_count = call.out_count;
    return true;
}

const struct op_value *op_attr(const struct op_call *call, const char *name)
{
    for (uint32_t i = 0; i < call->attr_count; i++) {
        if (strcmp(call->attrs[i].name, name) == 0) {
            return &call->attrs[i];
        }
    }
    assert(!"the attribute is not in the row");
    return NULL;
}

int64_t op_int(const struct op_call *call, const char *name)
{
    const struct op_value *value = op_attr(call, name);
    assert(value->kind == OP_INT);
    return value->i;
}

double op_float(const struct op_call *call, const char *name)
{
    const struct op_value *value = op_attr(call, name);
    assert(value->kind == OP_FLOAT || value->kind == OP_INT);
    return value->f;
}

bool op_bool(const struct op_call *call, const char *name)
{
    const struct op_value *value = op_attr(call, name);
    assert(value->kind == OP_BOOL);
    return value->i != 0;
}

const char *op_text(const struct op_call *call, const char *name)
{
    const struct op_value *value = op_attr(call, name);
    assert(value->kind == OP_TEXT);
    return value->text;
}

bool op_has(const struct op_call *call, const char *name)
{
    return op_attr(call, name)->kind != 0;
}

bool op_ints(const struct op_call *call, const char *name, uint32_t count, int64_t *out)
{
    const struct op_value *value = op_attr(call, name);
    if (value->kind != OP_INT && (value->kind != OP_INTS || value->int_count != count)) {
        fail(call->b->err, ERR_BLUEPRINT, "'%s' expects %u integers", call->row->name, count);
        return fail_at(call->b->err, "attribute '%s'", name);
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = value->kind == OP_INT ? value->i : value->ints[i];
    }
    return true;
}

bool op_return(struct op_call *call, value_id out)
{
    call->out[0] = out;
    call->out_count = 1;
    return out != VALUE_NONE;
}
