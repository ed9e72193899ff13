/* Elementwise ops, expanding composite ops, and PyTorch's rules of type promotion.
 *
 * The dtype of a result belongs to the highest category (bool, integers, floats) of all operands.
 * Within that category, tensors with dims take precedence over 0-d tensors, and those over Python
 * numbers. */
#include <string.h>

#include "compiler/import/pt2/aten_detach_priv.h"

#define MAX_INTEGER_POWER 8

/* Copies the next word of *list to word; false: there is none. */
static bool next_word(const char **list, char word[static LIMIT_NAME])
{
    *list += strspn(*list, " ");
    size_t length = strcspn(*list, " ");
    if (length == 0 || length >= LIMIT_NAME)
        return false;
    memcpy(word, *list, length);
    word[length] = '\0';
    *list += length;
    return true;
}

/* Reads an argument as an attribute; false: it is omitted. */
static bool read_attr(struct aten_call *c, const char *theirs, struct op_value *out)
{
    const char *kind;
    const json_t *arg = aten_arg(c, theirs, &kind);
    if (!arg)
        return false;
    if (json_is_array(arg)) {
        int64_t *ints = ARENA_ARRAY(c->p->arena, int64_t, LIMIT_OPERANDS);
        out->int_count = aten_ints(c, theirs, ints, LIMIT_OPERANDS);
        out->kind = out->int_count == 1 ? OP_INT : OP_INTS;
        out->ints = ints;
        out->i = ints[0];
        out->f = (double)ints[0];
        return out->int_count > 0;
    }
    if (json_is_boolean(arg)) {
        out->kind = OP_BOOL;
        out->i = json_is_true(arg);
    } else if (strcmp(kind, "as_float") == 0) {
        out->kind = OP_FLOAT;
        out->f = aten_float(c, theirs, 0);
    } else if (json_is_string(arg)) {
        out->kind = OP_TEXT;
        out->text = json_string_value(arg);
    } else {
        out->kind = OP_INT;
        out->i = aten_int(c, theirs, 0);
        out->f = (double)out->i;
    }
    return !aten_failed(c);
}

static uint32_t read_attrs(struct aten_call *c, struct op_value attrs[OP_MAX_ATTRS])
{
    const char *list = c->op->attrs;
    char word[LIMIT_NAME];
    uint32_t count = 0;
    while (count < OP_MAX_ATTRS && next_word(&list, word)) {
        char *equals = strchr(word, '='), *theirs = equals ? equals + 1 : word;
        struct op_value value = {.name = NULL};
        bool given = read_attr(c, theirs, &value);
        if (equals)
            *equals = '\0';
        value.name = arena_strdup(c->p->arena, word);
        if (given)
            attrs[count++] = value;
    }
    if (c->attr.name && count < OP_MAX_ATTRS)
        attrs[count++] = c->attr;
    return count;
}

static bool expand_all(struct aten_call *c, const char *op, const value_id *in, uint32_t in_count)
{
    struct op_value attrs[OP_MAX_ATTRS];
    uint32_t count = read_attrs(c, attrs);
    if (aten_failed(c) || c->refused)
        return false;
    return op_expand(c->b, op_find(op),
                     &(struct op_arguments){in, in_count, attrs, count, c->training}, c->out,
                     &c->out_count, c->b->err);
}

bool aten_expand_row(struct aten_call *c, const char *op)
{
    const char *list = c->op->operands;
    char word[LIMIT_NAME];
    value_id in[LIMIT_OPERANDS];
    uint32_t count = 0;
    while (count < LIMIT_OPERANDS && next_word(&list, word))
        in[count++] = aten_in(c, word);
    while (count > 1 && in[count - 1] == VALUE_NONE)
        count--;
    if (in[0] == VALUE_NONE && !aten_failed(c) && !c->refused)
        return b_fail(c->b, ERR_BLUEPRINT, "the first argument is missing");
    return expand_all(c, op, in, count);
}

value_id aten_expand(struct aten_call *c, const char *op, const value_id *in, uint32_t count,
                     const struct op_value *attrs)
{
    value_id out[OP_MAX_OUTPUTS];
    uint32_t attr_count = 0, out_count = 0;
    while (attrs && attrs[attr_count].name)
        attr_count++;
    if (aten_failed(c) || in[0] == VALUE_NONE)
        return VALUE_NONE;
    if (!op_expand(c->b, op_find(op),
                   &(struct op_arguments){in, count, attrs, attr_count, c->training}, out,
                   &out_count, c->b->err))
        return VALUE_NONE;
    return out[0];
}

bool aten_composite(struct aten_call *c)
{
    return aten_expand_row(c, c->op->with);
}

value_id aten_as_float(struct aten_call *c, value_id x)
{
    return x == VALUE_NONE || dtype_is_float(aten_type(c, x)) ? x : b_cast(c->b, x, DTYPE_F32);
}

bool aten_float_unary(struct aten_call *c)
{
    value_id x = aten_as_float(c, aten_in(c, "self"));
    return aten_return(c, aten_expand(c, c->op->with, &x, 1, NULL));
}

enum dtype aten_join_types(enum dtype a, enum dtype b)
{
    if (a == DTYPE_NONE || a == b)
        return b;
    if (b == DTYPE_NONE || b == DTYPE_BOOL)
        return a;
    if (a == DTYPE_BOOL)
        return b;
    if (dtype_is_float(a) != dtype_is_float(b))
        return dtype_is_float(a) ? a : b;
    if (dtype_bytes(a) != dtype_bytes(b))
        return dtype_bytes(a) > dtype_bytes(b) ? a : b;
    return dtype_is_float(a) ? DTYPE_F32 : DTYPE_I16; /* the remaining pairs: f16 with bf16, i8 with
                                                         u8 */
}

static int category(enum dtype dtype)
{
    return dtype == DTYPE_NONE ? 0 : dtype == DTYPE_BOOL ? 1 : dtype_is_float(dtype) ? 3 : 2;
}

/* Adds one operand's dtype to the types of its precedence: 0 tensors with dims, 1 0-d tensors, 2
 * numbers. */
static void note_type(struct aten_call *c, const char *name, value_id x, enum dtype types[3])
{
    bool tensor = aten_is_tensor(c, name);
    enum dtype dtype = aten_type(c, x);
    int place = !tensor ? 2 : aten_rank(c, x) == 0 ? 1 : 0;
    if (!tensor && dtype == DTYPE_F64)
        dtype = DTYPE_F32; /* a Python number has the default dtype of floats */
    types[place] = aten_join_types(types[place], dtype);
}

bool aten_promote(struct aten_call *c, const char *first, const char *second, value_id out[2])
{
    enum dtype types[3] = {DTYPE_NONE, DTYPE_NONE, DTYPE_NONE};
    out[0] = aten_in(c, first);
    out[1] = aten_in(c, second);
    if (aten_failed(c) || c->refused)
        return false;
    if (out[0] == VALUE_NONE || out[1] == VALUE_NONE)
        return b_fail(c->b, ERR_BLUEPRINT, "an argument is missing");
    note_type(c, first, out[0], types);
    note_type(c, second, out[1], types);
    enum dtype type = types[0];
    for (int i = 1; i < 3; i++)
        if (category(types[i]) > category(type))
            type = types[i];
    out[0] = b_cast(c->b, out[0], type);
    out[1] = b_cast(c->b, out[1], type);
    return !aten_failed(c);
}

static bool promote_row(struct aten_call *c, value_id out[2])
{
    const char *list = c->op->operands;
    char first[LIMIT_NAME], second[LIMIT_NAME];
    return next_word(&list, first) && next_word(&list, second) &&
           aten_promote(c, first, second, out);
}

bool aten_binary(struct aten_call *c)
{
    value_id in[2];
    return promote_row(c, in) && aten_return(c, aten_expand(c, c->op->with, in, 2, NULL));
}

bool aten_larger(struct aten_call *c)
{
    value_id in[2];
    if (!promote_row(c, in))
        return false;
    for (int i = 0; i < 2; i++)
        in[i] = aten_detach_constant(c->b, in[i]);
    return aten_return(c, aten_expand(c, c->op->with, in, 2, NULL));
}

bool aten_add(struct aten_call *c)
{
    value_id in[2];
    double alpha = aten_float(c, "alpha", 1);
    if (!promote_row(c, in))
        return false;
    if (alpha != 1)
        in[1] = b_scale(c->b, in[1], alpha);
    if (aten_type(c, in[0]) == DTYPE_BOOL)
        return aten_return(c, b_binary(c->b, PRIM_OR, in[0], in[1]));
    return aten_return(c, aten_expand(c, c->op->with, in, 2, NULL));
}

static bool divide(struct aten_call *c, const char *mode)
{
    value_id in[2];
    struct op_value attrs[] = {{.name = "rounding_mode", .kind = OP_TEXT, .text = mode}, {0}};
    if (!promote_row(c, in))
        return false;
    return aten_return(c, aten_expand(c, "div", in, 2, mode ? attrs : NULL));
}

bool aten_divide(struct aten_call *c)
{
    return divide(c, aten_text(c, "rounding_mode", NULL));
}

bool aten_floor_divide(struct aten_call *c)
{
    return divide(c, "floor");
}

/* Computes frequent exponents without pow; VALUE_NONE for all others. */
static value_id known_power(struct aten_call *c, value_id x, double exponent)
{
    struct builder *b = c->b;
    bool is_float = dtype_is_float(aten_type(c, x));
    if (exponent == 0.5 && is_float)
        return b_unary(b, PRIM_SQRT, x);
    if (exponent == -0.5 && is_float)
        return b_unary(b, PRIM_RSQRT, x);
    if (exponent == -1 && is_float)
        return b_div(b, b_const_like(b, x, 1), x);
    int64_t most = is_float ? 3 : MAX_INTEGER_POWER;
    if (!(exponent >= 1 && exponent <= (double)most) || exponent != (double)(int64_t)exponent)
        return VALUE_NONE;
    value_id all = x;
    for (int64_t i = 1; i < (int64_t)exponent; i++)
        all = b_mul(b, all, x);
    return all;
}

bool aten_pow(struct aten_call *c)
{
    value_id in[2];
    if (!promote_row(c, in))
        return false;
    if (!aten_is_tensor(c, "exponent")) {
        value_id known = known_power(c, in[0], aten_float(c, "exponent", 1));
        if (known != VALUE_NONE)
            return aten_return(c, known);
    }
    if (!dtype_is_float(aten_type(c, in[0])))
        return aten_refuse(c, "powers of integers");
    return aten_return(c, b_binary(c->b, PRIM_POW, in[0], in[1]));
}

bool aten_where(struct aten_call *c)
{
    value_id in[2], condition = aten_in(c, "condition");
    if (!aten_has(c, "self"))
        return aten_refuse(c, "a result whose size depends on data");
    if (!promote_row(c, in))
        return false;
    return aten_return(c, b_select(c->b, b_cast(c->b, condition, DTYPE_BOOL), in[0], in[1]));
}

bool aten_masked_fill(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), mask = aten_in(c, "mask"), value = aten_in(c, "value");
    if (x == VALUE_NONE || mask == VALUE_NONE || value == VALUE_NONE)
        return false;
    return aten_return(c, b_select(c->b, mask, b_cast(c->b, value, aten_type(c, x)), x));
}

/* A limit in x's dtype. A tensor, also a constant one, shares the gradient where x is equal to it;
 * a number leaves nothing. */
static value_id limit(struct aten_call *c, value_id x, const char *name, value_id limit)
{
    limit = b_cast(c->b, limit, aten_type(c, x));
    return aten_is_tensor(c, name) ? aten_detach_constant(c->b, limit) : limit;
}

bool aten_clamp(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), min = aten_in(c, "min"), max = aten_in(c, "max");
    if (x == VALUE_NONE)
        return false;
    if (dtype_is_float(aten_type(c, min)) || dtype_is_float(aten_type(c, max)))
        x = aten_as_float(c, x);
    if (min != VALUE_NONE)
        x = b_binary(b, PRIM_MAX, x, limit(c, x, "min", min));
    if (max != VALUE_NONE)
        x = b_binary(b, PRIM_MIN, x, limit(c, x, "max", max));
    return aten_return(c, x);
}

bool aten_to(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), other = aten_in(c, "other");
    enum dtype like = other != VALUE_NONE ? aten_type(c, other) : aten_type(c, x);
    enum dtype dtype = aten_dtype(c, "dtype", like);
    c->copied = aten_bool(c, "copy", false);
    return x != VALUE_NONE && !aten_failed(c) && aten_return(c, b_cast(c->b, x, dtype));
}

bool aten_identity(struct aten_call *c)
{
    return aten_return(c, aten_in(c, "self"));
}
