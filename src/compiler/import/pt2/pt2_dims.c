/* clang-format off */
/* Sizes in shapes: expressions over symbols, as PyTorch prints those of SymPy. Two forms are read:
 *
 *   infix         2*s0 + 1
 *                 (s0//2)
 *   constructors  Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(1))
 *
 * Nesting is limited. */
/* clang-format on */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define MAX_NESTING 32
#define MAX_POWER 8

struct parser {
    struct pt2 *p;
    const char *at;
    bool declare;
    uint32_t depth;
    struct error *err;
};

static dim_id sum(struct parser *s);

static dim_id bad(struct parser *s)
{
    if (s->err->code == ERR_NONE)
        fail(s->err, ERR_PARSE, "expression of a size: unexpected '%.40s'", s->at);
    return DIM_NONE;
}

static bool accept(struct parser *s, const char *token)
{
    size_t size = strlen(token);
    s->at += strspn(s->at, " ");
    if (strncmp(s->at, token, size) != 0)
        return false;
    s->at += size;
    return true;
}

/* The range of a symbol that the document or the caller gives. If the document leaves an end open,
 * or if no tensor can have that size, ours is used. */
static struct dim_name symbol_range(const struct parser *s, const char *label)
{
    const struct import_options *options = s->p->options;
    const json_t *range = json_object_get(s->p->ranges, label);
    const json_t *min = json_object_get(range, "min_val"), *max = json_object_get(range, "max_val");
    struct dim_name name = {.name = label, .min = 1, .max = DIM_MAX_DEFAULT, .multiple_of = 1};
    if (json_is_integer(min) && json_integer_value(min) > 1)
        name.min = json_integer_value(min);
    if (json_is_integer(max) && json_integer_value(max) < LIMIT_DIM_VALUE)
        name.max = json_integer_value(max);
    for (uint32_t i = 0; i < options->dim_count; i++)
        if (strcmp(options->dims[i].name, label) == 0)
            name = options->dims[i];
    return name;
}

static dim_id symbol(struct parser *s, const char *label)
{
    struct dim_table *dims = &s->p->graph->dims;
    const struct import_options *options = s->p->options;
    uint32_t index;
    dim_id dim = dim_of_name(dims, label);
    if (dim != DIM_NONE)
        return dim;
    for (uint32_t i = 0; i < options->dim_count; i++)
        if (strcmp(options->dims[i].name, label) == 0 &&
            options->dims[i].min == options->dims[i].max) {
            dim = dim_const(dims, options->dims[i].min);
            return dim_declare_alias(dims, label, dim, s->err) ? dim : DIM_NONE;
        }
    if (!s->declare) {
        fail(s->err, ERR_UNSUPPORTED, "'%.60s' depends on data", label);
        return DIM_NONE;
    }
    for (uint32_t i = 0; i < options->equal_count; i++)
        if (strcmp(options->equal[i].name, label) == 0) {
            const struct dim_name range = symbol_range(s, label);
            return import_declare_equal(dims, options, &range, options->equal[i].expression, s->err)
                       ? dim_of_name(dims, label)
                       : DIM_NONE;
        }
    const struct dim_name name = symbol_range(s, label);
    return dim_declare(dims, &name, &index, s->err) ? dim_named(dims, index) : DIM_NONE;
}

/* Parses the rest of Symbol('name', …). */
static dim_id quoted_symbol(struct parser *s)
{
    if (!accept(s, "'"))
        return bad(s);
    size_t length = strcspn(s->at, "'");
    const char *label = arena_strndup(s->p->arena, s->at, length);
    s->at += length;
    size_t rest = strcspn(s->at, ")");
    s->at += rest;
    return accept(s, ")") ? symbol(s, label) : bad(s);
}

static dim_id power(struct parser *s, dim_id base, dim_id exponent)
{
    struct dim_table *dims = &s->p->graph->dims;
    int64_t times;
    if (base == DIM_NONE || exponent == DIM_NONE || !dim_is_const(dims, exponent, &times) ||
        times < 0 || times > MAX_POWER)
        return bad(s);
    dim_id product = dim_const(dims, 1);
    for (int64_t i = 0; i < times; i++)
        product = dim_mul(dims, product, base);
    return product;
}

/* a // b; b must be provably positive. */
static dim_id quotient(struct parser *s, dim_id a, dim_id b)
{
    struct dim_table *dims = &s->p->graph->dims;
    int64_t least, most;
    if (a == DIM_NONE || b == DIM_NONE)
        return DIM_NONE;
    dim_range(dims, b, &least, &most);
    return least > 0 ? dim_floordiv(dims, a, b) : bad(s);
}

static dim_id apply(struct parser *s, const char *name, dim_id a, dim_id b)
{
    struct dim_table *dims = &s->p->graph->dims;
    if (a == DIM_NONE || b == DIM_NONE)
        return DIM_NONE;
    if (strcmp(name, "Add") == 0)
        return dim_add(dims, a, b);
    if (strcmp(name, "Mul") == 0)
        return dim_mul(dims, a, b);
    if (strcmp(name, "Max") == 0)
        return dim_max(dims, a, b);
    if (strcmp(name, "Min") == 0)
        return dim_min(dims, a, b);
    if (strcmp(name, "Pow") == 0)
        return power(s, a, b);
    if (strcmp(name, "FloorDiv") == 0 || strcmp(name, "CleanDiv") == 0)
        return quotient(s, a, b);
    if (strcmp(name, "Mod") == 0 || strcmp(name, "PythonMod") == 0)
        return dim_sub(dims, a, dim_mul(dims, quotient(s, a, b), b));
    fail(s->err, ERR_UNSUPPORTED, "sizes computed by %.40s", name);
    return DIM_NONE;
}

/* Parses the arguments behind "name(". */
static dim_id arguments(struct parser *s, const char *name)
{
    if (strcmp(name, "Symbol") == 0)
        return quoted_symbol(s);
    dim_id all = sum(s);
    while (all != DIM_NONE && accept(s, ","))
        all = apply(s, name, all, sum(s));
    return accept(s, ")") ? all : bad(s);
}

static dim_id atom(struct parser *s)
{
    struct dim_table *dims = &s->p->graph->dims;
    if (accept(s, "(")) {
        dim_id inner = sum(s);
        return accept(s, ")") ? inner : bad(s);
    }
    if (isdigit((unsigned char)*s->at)) {
        char *end;
        long long value = strtoll(s->at, &end, 10);
        s->at = end;
        return value > LIMIT_DIM_VALUE ? bad(s) : dim_const(dims, value);
    }
    size_t length = 0;
    while (isalnum((unsigned char)s->at[length]) || s->at[length] == '_' || s->at[length] == '.')
        length++;
    if (length == 0 || length > LIMIT_NAME)
        return bad(s);
    const char *name = arena_strndup(s->p->arena, s->at, length), *dot = strrchr(name, '.');
    s->at += length;
    return accept(s, "(") ? arguments(s, dot ? dot + 1 : name) : symbol(s, name);
}

static dim_id product(struct parser *s)
{
    struct dim_table *dims = &s->p->graph->dims;
    bool negative = accept(s, "-");
    s->at += strspn(s->at, " ");
    dim_id all = atom(s);
    while (all != DIM_NONE) {
        if (accept(s, "**"))
            all = power(s, all, atom(s));
        else if (accept(s, "//"))
            all = quotient(s, all, atom(s));
        else if (accept(s, "*"))
            all = dim_mul(dims, all, atom(s));
        else
            break;
    }
    return negative ? dim_sub(dims, dim_const(dims, 0), all) : all;
}

static dim_id sum(struct parser *s)
{
    struct dim_table *dims = &s->p->graph->dims;
    if (++s->depth > MAX_NESTING) {
        fail(s->err, ERR_LIMIT, "expression of a size: more than %d levels", MAX_NESTING);
        return DIM_NONE;
    }
    dim_id all = product(s);
    while (all != DIM_NONE) {
        if (accept(s, "+"))
            all = dim_add(dims, all, product(s));
        else if (accept(s, "-"))
            all = dim_sub(dims, all, product(s));
        else
            break;
    }
    s->depth--;
    return all;
}

bool pt2_sym_int(struct pt2 *p, const json_t *json, bool declare, dim_id *out, struct error *err)
{
    const json_t *number = json_object_get(json, "as_int");
    const json_t *text = json_object_get(json_object_get(json, "as_expr"), "expr_str");
    struct error failure = {.code = ERR_NONE};
    if (json_is_integer(number)) {
        int64_t value = json_integer_value(number);
        if (value > LIMIT_DIM_VALUE || value < -LIMIT_DIM_VALUE)
            return fail(err, ERR_LIMIT, "size %lld", (long long)value);
        *out = dim_const(&p->graph->dims, value);
        return true;
    }
    if (!json_is_string(text))
        return fail(err, ERR_PARSE, "a size is neither a number nor an expression");
    struct parser s = {.p = p, .at = json_string_value(text), .declare = declare, .err = &failure};
    dim_id dim = sum(&s);
    if (dim != DIM_NONE && (accept(&s, ""), *s.at != '\0'))
        dim = bad(&s);
    if (dim == DIM_NONE && failure.code == ERR_NONE)
        fail(&failure, ERR_LIMIT, "expression of a size: '%.80s'", json_string_value(text));
    if (dim == DIM_NONE) {
        *err = failure;
        return false;
    }
    *out = dim;
    return true;
}

bool pt2_dtype(int64_t scalar_type, enum dtype *out, struct error *err)
{
    static const enum dtype dtypes[] = {
        [1] = DTYPE_U8,   [2] = DTYPE_I8,   [3] = DTYPE_I16, [4] = DTYPE_I32,   [5] = DTYPE_I64,
        [6] = DTYPE_F16,  [7] = DTYPE_F32,  [8] = DTYPE_F64, [12] = DTYPE_BOOL, [13] = DTYPE_BF16,
        [28] = DTYPE_U16, [34] = DTYPE_U32, [35] = DTYPE_U64};
    int64_t count = (int64_t)(sizeof dtypes / sizeof *dtypes);
    if (scalar_type < 1 || scalar_type >= count || dtypes[scalar_type] == DTYPE_NONE)
        return fail(err, ERR_UNSUPPORTED, "dtype %lld of PyTorch's ScalarType",
                    (long long)scalar_type);
    *out = dtypes[scalar_type];
    return true;
}

bool pt2_tensor_type(struct pt2 *p, const json_t *meta, bool declare, struct pt2_type *out,
                     struct error *err)
{
    const json_t *sizes = json_object_get(meta, "sizes"), *type = json_object_get(meta, "dtype");
    if (!json_is_array(sizes) || !json_is_integer(type))
        return fail(err, ERR_PARSE, "a tensor has no dtype or sizes");
    if (json_array_size(sizes) > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "rank %zu, at most %d", json_array_size(sizes), LIMIT_RANK);
    if (!pt2_dtype(json_integer_value(type), &out->dtype, err))
        return false;
    out->rank = (uint32_t)json_array_size(sizes);
    for (uint32_t i = 0; i < out->rank; i++)
        if (!pt2_sym_int(p, json_array_get(sizes, i), declare, &out->shape[i], err))
            return fail_at(err, "dim %u", i);
    return true;
}
