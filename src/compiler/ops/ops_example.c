/* Builds the examples of a row. The notation is explained in ops.h at struct op_row; an example is
 * parsed from left to right, and a capital letter gets its size where it occurs first. */
#include "compiler/ops/ops_priv.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

struct reader {
    const struct op_row *row;
    struct graph *graph;
    struct dim_table *dims; /* declares the letters: the graph's table, or a separate one */
    struct op_example *out;
    uint64_t key;
    int64_t max_dim;
    enum dtype float_dtype;
    bool symbolic;
    value_id operands[LIMIT_OPERANDS]; /* by position in the row */
    uint32_t operand_count;
    struct op_value attrs[OP_MAX_ATTRS];
    uint32_t attr_count;
};

/* The text of example `index`, without blanks around it; NULL after the last. */
static const char *find_example(const struct op_row *row, uint32_t index, size_t *out_size)
{
    const char *text = row->examples;
    for (uint32_t i = 0; i < index; i++) {
        text = strchr(text, ';');
        if (text == NULL) {
            return NULL;
        }
        text++;
    }
    text += strspn(text, " ");
    *out_size = strcspn(text, ";");
    return text;
}

uint32_t op_example_count(const struct op_row *row)
{
    uint32_t count = 0;
    for (size_t size = 0; find_example(row, count, &size) != NULL;) {
        count++;
    }
    return count;
}

static bool declare_letters(struct reader *r, const char *text, struct error *err)
{
    for (; *text != '\0'; text++) {
        uint32_t index = 0;
        char name[2] = {*text, '\0'};
        if (*text < 'A' || *text > 'Z' || dim_find_name(r->dims, name, &index)) {
            continue;
        }
        struct dim_name dim = {
            .name = arena_strdup(r->graph->arena, name), .min = 1, .max = 64, .multiple_of = 1};
        if (!dim_declare(r->dims, &dim, &index, err)) {
            return false;
        }
        uint64_t spread = rng_u32(r->key, (uint64_t)*text);
        r->out->dim_values[index] = 1 + (int64_t)(spread % (uint64_t)r->max_dim);
    }
    return true;
}

/* Parses one expression: its dim in the graph's table, and its value. */
static bool read_dim(struct reader *r, const char **text, dim_id *out_dim, int64_t *out_value,
                     struct error *err)
{
    dim_id dim = DIM_NONE;
    if (!dim_parse(r->dims, text, &dim, err)) {
        return false;
    }
    if (!dim_eval(r->dims, dim, r->out->dim_values, out_value)) {
        return fail(err, ERR_PARSE, "'%s': a dim that has no value", r->row->name);
    }
    *out_dim = r->symbolic ? dim : dim_const(&r->graph->dims, *out_value);
    return true;
}

/* Parses ":dtype" and "<range>", both optional. */
static bool read_type(struct reader *r, const char **text, struct op_example_operand *operand,
                      struct error *err)
{
    operand->dtype = r->float_dtype;
    if (**text == ':') {
        size_t size = strcspn(*text + 1, "<[");
        char *name = arena_strndup(r->graph->arena, *text + 1, size);
        *text += size + 1;
        if (strcmp(name, "float") != 0) {
            operand->dtype = dtype_from_name(name);
        }
        if (operand->dtype == DTYPE_NONE) {
            return fail(err, ERR_PARSE, "'%s': no dtype '%s'", r->row->name, name);
        }
    }
    bool is_float = dtype_is_float(operand->dtype);
    operand->low = is_float ? -2 : dtype_is_unsigned(operand->dtype) ? 0 : -100;
    operand->high = is_float ? 2 : dtype_is_unsigned(operand->dtype) ? 200 : 100;
    if (**text != '<') {
        return true;
    }
    const char *inside = *text + 1, *end = strchr(inside, '>'), *comma = strchr(inside, ',');
    if (end == NULL) {
        return fail(err, ERR_PARSE, "'%s': a range without end", r->row->name);
    }
    *text = end + 1;
    if (comma != NULL && comma < end) {
        operand->low = strtod(inside, NULL);
        operand->high = strtod(comma + 1, NULL);
        return true;
    }
    dim_id unused = DIM_NONE;
    return read_dim(r, &inside, &unused, &operand->index_bound, err);
}

/* The position of the operand of this name; the next free one if it repeats. */
static bool find_place(struct reader *r, const char *name, uint32_t *out, uint32_t *out_repeat,
                       struct error *err)
{
    const char *schema = r->row->operands;
    struct op_operand_schema operand;
    for (uint32_t i = 0; ops_next_operand(&schema, &operand); i++) {
        if (strlen(name) == (size_t)operand.name_size &&
            strncmp(name, operand.name, strlen(name)) == 0) {
            *out = operand.repeats && r->operand_count > i ? r->operand_count : i;
            *out_repeat = *out - i;
            if (*out < LIMIT_OPERANDS && r->operands[*out] == VALUE_NONE) {
                return true;
            }
        }
    }
    return fail(err, ERR_PARSE, "'%s': no place for operand '%s'", r->row->name, name);
}

static bool read_operand(struct reader *r, char *word, size_t name_size, struct error *err)
{
    struct arena *arena = r->graph->arena;
    const char *text = word + name_size;
    char *name = arena_strndup(arena, word, name_size);
    uint32_t place = 0, repeat = 0;
    struct op_example_operand operand = {.count = 1};
    dim_id shape[LIMIT_RANK];
    if (!find_place(r, name, &place, &repeat, err) || !declare_letters(r, text, err) ||
        !read_type(r, &text, &operand, err)) {
        return false;
    }
    if (*text++ != '[') {
        return fail(err, ERR_PARSE, "'%s': operand '%s' has no dims", r->row->name, name);
    }
    while (*text != ']') {
        if (operand.rank == LIMIT_RANK) {
            return fail(err, ERR_PARSE, "'%s': too many dims", r->row->name);
        }
        int64_t *size = &operand.shape[operand.rank];
        if (!read_dim(r, &text, &shape[operand.rank], size, err)) {
            return false;
        }
        operand.rank++;
        operand.count *= *size;
        text += *text == ',';
    }
    if (repeat > 0) {
        char *numbered = arena_alloc(arena, name_size + 2, 1);
        memcpy(numbered, name, name_size);
        numbered[name_size] = (char)('0' + repeat);
        name = numbered;
    }
    operand.value = graph_input(r->graph, name, operand.dtype, shape, operand.rank, err);
    if (operand.value == VALUE_NONE) {
        return false;
    }
    r->out->operands[r->out->operand_count++] = operand;
    r->operands[place] = operand.value;
    r->operand_count = place >= r->operand_count ? place + 1 : r->operand_count;
    return true;
}

static bool read_list(struct reader *r, char *text, struct op_value *value, struct error *err)
{
    int64_t *ints = ARENA_ARRAY(r->graph->arena, int64_t, 2 * LIMIT_RANK);
    value->kind = OP_INTS;
    value->ints = ints;
    for (char *at = text + 1; *at != ']'; at += *at == ',') {
        char *end = NULL;
        if (value->int_count == 2 * LIMIT_RANK) {
            return fail(err, ERR_PARSE, "'%s': a list that is too long", r->row->name);
        }
        ints[value->int_count++] = strtoll(at, &end, 10);
        if (end == at) {
            return fail(err, ERR_PARSE, "'%s': '%s' is no list", r->row->name, text);
        }
        at = end;
    }
    return true;
}

static bool read_attr(struct reader *r, char *word, size_t name_size, struct error *err)
{
    if (r->attr_count == OP_MAX_ATTRS) {
        return fail(err, ERR_PARSE, "'%s': too many attributes", r->row->name);
    }
    struct op_value *value = &r->attrs[r->attr_count++];
    char *text = word + name_size + 1, *end = NULL;
    *value =
        (struct op_value){.name = arena_strndup(r->graph->arena, word, name_size), .text = text};
    if (text[0] == '[') {
        return read_list(r, text, value, err);
    }
    value->i = strtoll(text, &end, 10);
    value->f = (double)value->i;
    value->kind = OP_INT;
    if (*end == '\0') {
        return true;
    }
    value->f = strtod(text, &end);
    value->kind = OP_FLOAT;
    if (*end == '\0') {
        return true;
    }
    value->i = strcmp(text, "true") == 0;
    value->kind = value->i != 0 || strcmp(text, "false") == 0 ? OP_BOOL : OP_TEXT;
    return true;
}

static bool read_words(struct reader *r, const char *text, size_t size, struct error *err)
{
    const char *end = text + size;
    while (text < end) {
        size_t word_size = strcspn(text, " ;");
        char *word = arena_strndup(r->graph->arena, text, word_size);
        size_t name_size = strcspn(word, "=:<[");
        text += word_size;
        text += strspn(text, " ");
        if (strcmp(word, "training") == 0) {
            r->out->training = true;
        } else if (word[name_size] == '=') {
            if (!read_attr(r, word, name_size, err)) {
                return false;
            }
        } else if (!read_operand(r, word, name_size, err)) {
            return false;
        }
    }
    return true;
}

bool op_example_build(const struct op_row *row, const struct op_example_request *request,
                      struct graph *graph, struct op_example *out, struct error *err)
{
    size_t size = 0;
    const char *text = find_example(row, request->index, &size);
    assert(text != NULL && request->max_dim >= 1 && (!request->symbolic || request->max_dim <= 64));
    struct dim_table letters;
    dim_table_init(&letters, graph->arena);
    *out = (struct op_example){.row = row};
    struct reader r = {.row = row,
                       .graph = graph,
                       .dims = request->symbolic ? &graph->dims : &letters,
                       .out = out,
                       .key = rng_key(request->seed),
                       .max_dim = request->max_dim,
                       .float_dtype = request->float_dtype,
                       .symbolic = request->symbolic};
    if (!read_words(&r, text, size, err)) {
        return false;
    }
    struct builder b = {.graph = graph, .err = err};
    value_id results[OP_MAX_OUTPUTS];
    if (!op_expand(&b, row,
                   &(struct op_arguments){r.operands, r.operand_count, r.attrs, r.attr_count,
                                          out->training},
                   results, &out->out_count, err)) {
        return false;
    }
    for (uint32_t i = 0; i < out->out_count; i++) {
        char name[8] = "out";
        name[3] = (char)(i < 10 ? '0' + i : '0' + i / 10);
        name[4] = (char)(i < 10 ? '\0' : '0' + i % 10);
        if (!graph_output(graph, name, results[i], err)) {
            return false;
        }
    }
    return true;
}

static void write_float(enum dtype dtype, void *data, int64_t at, double value)
{
    if (dtype == DTYPE_F64) {
        ((double *)data)[at] = value;
    } else if (dtype == DTYPE_F32) {
        ((float *)data)[at] = (float)value;
    } else if (dtype == DTYPE_F16) {
        ((uint16_t *)data)[at] = f16_from_double(value);
    } else {
        ((uint16_t *)data)[at] = bf16_from_double(value);
    }
}

static void write_int(enum dtype dtype, void *data, int64_t at, int64_t value)
{
    size_t bytes = dtype_bytes(dtype);
    if (bytes == 8) {
        ((int64_t *)data)[at] = value;
    } else if (bytes == 4) {
        ((int32_t *)data)[at] = (int32_t)value;
    } else if (bytes == 2) {
        ((int16_t *)data)[at] = (int16_t)value;
    } else {
        ((uint8_t *)data)[at] = (uint8_t)value;
    }
}

void op_example_fill(const struct op_example_operand *operand, uint64_t seed, void *data)
{
    uint64_t key = rng_key(seed);
    for (int64_t i = 0; i < operand->count; i++) {
        double u = rng_uniform(key, (uint64_t)i);
        if (dtype_is_float(operand->dtype)) {
            double value = operand->low + u * (operand->high - operand->low);
            write_float(operand->dtype, data, i, value);
        } else if (operand->dtype == DTYPE_BOOL) {
            write_int(operand->dtype, data, i, u < 0.5);
        } else if (operand->index_bound > 0) {
            int64_t value = (int64_t)floor(u * (double)operand->index_bound);
            write_int(operand->dtype, data, i, value);
        } else {
            double value = operand->low + floor(u * (operand->high - operand->low + 1));
            write_int(operand->dtype, data, i, (int64_t)value);
        }
    }
}
