/* The parser of expressions; text.h has the grammar.
 *
 * Precedence climbing: a nested bracket is a nested call, at most PARSE_NESTING of them.
 * Expressions are interned without folding, because what was folded when the nest was made depended
 * on what was known then. Only sums and products of i64 go through index.c, which brings them into
 * normal form and leaves those that have it as they are. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/loop/parse_priv.h"

#define PARSE_NESTING 64

bool nest_expected(struct nest_parser *p, const char *at, const char *what)
{
    p->in.at = at;
    return text_expected(&p->in, what);
}

static bool starts_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool nest_dtype(struct nest_parser *p, enum dtype *out)
{
    char word[LIMIT_NAME + 1];
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!text_word(&p->in, word, "a dtype"))
        return false;
    enum dtype dtype = dtype_from_name(word);
    if (dtype == DTYPE_NONE || strcmp(dtype_name(dtype), word) != 0)
        return nest_expected(p, at, "a dtype");
    *out = dtype;
    return true;
}

/* "@3" behind a name: the index of the one that is meant. */
static bool parse_place(struct nest_parser *p, uint32_t count, uint32_t *out)
{
    int64_t place = 0;
    if (*p->in.at != '@')
        return true;
    p->in.at++;
    if (!text_int(&p->in, 0, (int64_t)count - 1, &place))
        return false;
    *out = (uint32_t)place;
    return true;
}

bool nest_find_buffer(struct nest_parser *p, const char *name, const char *at, uint32_t *out)
{
    uint32_t count = p->nest->buffers.count, i = 0;
    while (i < count && strcmp(p->nest->buffers.items[i].name, name) != 0)
        i++;
    if (!parse_place(p, count, &i))
        return false;
    if (i == count || strcmp(p->nest->buffers.items[i].name, name) != 0)
        return nest_expected(p, at, "a buffer");
    *out = i;
    return true;
}

bool nest_find_local(struct nest_parser *p, const char *name, const char *at, uint32_t *out)
{
    uint32_t count = p->nest->locals.count, i = 0;
    while (i < count && strcmp(p->nest->locals.items[i].name, name) != 0)
        i++;
    if (!parse_place(p, count, &i))
        return false;
    if (i == count || strcmp(p->nest->locals.items[i].name, name) != 0)
        return nest_expected(p, at, "a local");
    *out = i;
    return true;
}

static expr_id intern(struct nest_parser *p, enum expr_op op, enum dtype dtype,
                      const expr_id operand[3])
{
    return expr_intern(p->nest, (struct expr){.op = (uint8_t)op,
                                              .dtype = (uint8_t)dtype,
                                              .operand = {operand[0], operand[1], operand[2]}});
}

/* What an operation requires of its operands if they do not meet it, as text; otherwise NULL. d:
 * their dtypes. */
static const char *misfit(enum expr_op op, const enum dtype d[3])
{
    bool is_float = dtype_is_float(d[0]), narrow = d[0] == DTYPE_F16 || d[0] == DTYPE_BF16;
    switch (op) {
    case EXPR_NEG:
    case EXPR_ABS: return narrow ? "an operand that is not narrow" : NULL;
    case EXPR_NOT: return is_float ? "an operand of integers or bool" : NULL;
    case EXPR_FLOOR:
    case EXPR_CEIL:
    case EXPR_ROUND:
    case EXPR_TRUNC:
    case EXPR_SQRT: return !is_float || narrow ? "an operand of f32 or f64" : NULL;
    case EXPR_FMA:
        return !is_float || narrow || d[1] != d[0] || d[2] != d[0] ? "operands of f32 or of f64"
                                                                   : NULL;
    case EXPR_FMOD: return d[0] != DTYPE_F64 || d[1] != d[0] ? "operands of f64" : NULL;
    case EXPR_FLOORDIV:
    case EXPR_FLOORMOD: return d[0] != DTYPE_I64 || d[1] != d[0] ? "operands of i64" : NULL;
    case EXPR_AND:
    case EXPR_OR:
    case EXPR_XOR: return is_float || d[1] != d[0] ? "like operands of integers or bool" : NULL;
    case EXPR_SHL:
    case EXPR_LSHR:
    case EXPR_ASHR: return !dtype_is_int(d[0]) || d[1] != d[0] ? "like operands of integers" : NULL;
    case EXPR_SELECT:
        return d[0] != DTYPE_BOOL || d[1] != d[2] ? "a condition and two like operands" : NULL;
    default: return narrow || d[1] != d[0] ? "two like operands, not narrow" : NULL;
    }
}

static bool is_compare(enum expr_op op)
{
    return expr_op_level(op) == expr_op_level(EXPR_EQ);
}

/* An operation whose dtype follows from its operands. normal: i64 sums and products are brought
 * into normal form. */
static bool combine(struct nest_parser *p, enum expr_op op, bool normal, const expr_id operand[3],
                    expr_id *out)
{
    enum dtype d[3];
    for (int i = 0; i < 3; i++)
        d[i] = (enum dtype)expr_at(p->nest, operand[i])->dtype;
    const char *wanted = misfit(op, d);
    if (wanted)
        return text_expected(&p->in, wanted);
    enum dtype dtype = is_compare(op) ? DTYPE_BOOL : op == EXPR_SELECT ? d[1] : d[0];
    if (dtype == DTYPE_I64 && op == EXPR_SUB)
        *out = index_sub(p->nest, operand[0], operand[1]);
    else if (dtype == DTYPE_I64 && normal && (op == EXPR_ADD || op == EXPR_MUL))
        *out = expr_binary(p->nest, op, operand[0], operand[1]);
    else if (dtype == DTYPE_I64 && (op == EXPR_ADD || op == EXPR_MUL))
        *out = expr_intern(p->nest, (struct expr){.op = (uint8_t)op,
                                                  .dtype = DTYPE_I64,
                                                  .index = EXPR_OPAQUE,
                                                  .operand = {operand[0], operand[1]}});
    else
        *out = intern(p, op, dtype, operand);
    return true;
}

/* The end of a number: digits, nan, inf, or bits in hexadecimal. */
static const char *number_end(const char *c)
{
    c += *c == '-';
    if (strncmp(c, "nan", 3) == 0 || strncmp(c, "inf", 3) == 0)
        return c + 3;
    if (c[0] == '0' && c[1] == 'x')
        return c + 2 + strspn(c + 2, "0123456789abcdef");
    c += strspn(c, "0123456789.");
    if (*c == 'e' && strchr("+-0123456789", c[1]) && c[1]) {
        c += 2;
        c += strspn(c, "0123456789");
    }
    return c;
}

static bool is_number(const char *c)
{
    const char *digits = c + (*c == '-');
    return (*digits >= '0' && *digits <= '9') || number_end(c)[0] == ':';
}

/* A NaN other than the usual one, as the bits of a double. */
static bool parse_bits(struct nest_parser *p, enum dtype dtype, expr_id *out)
{
    const char *c = p->in.at + 2;
    uint64_t bits = 0;
    double value;
    for (int i = 0; i < 16 && strspn(c, "0123456789abcdef") > 0; i++, c++)
        bits = bits << 4 | (uint64_t)(*c <= '9' ? *c - '0' : *c - 'a' + 10);
    memcpy(&value, &bits, sizeof value);
    if (!dtype_is_float(dtype) || !isnan(value) || c != number_end(p->in.at))
        return text_expected(&p->in, "the bits of a NaN");
    *out = expr_intern(p->nest,
                       (struct expr){.op = EXPR_CONST, .dtype = (uint8_t)dtype, .value = value});
    p->in.at = c;
    return true;
}

static bool parse_number(struct nest_parser *p, expr_id *out)
{
    const char *begin = p->in.at, *end = number_end(begin);
    enum dtype dtype = *end == 'f' ? DTYPE_F32 : DTYPE_I64;
    double value = 0;
    int64_t integer = 0;
    p->in.at = end + (*end == 'f' || *end == ':');
    if (*end == ':' && !nest_dtype(p, &dtype))
        return false;
    const char *behind = p->in.at;
    p->in.at = begin;
    if (begin[0] == '0' && begin[1] == 'x') {
        if (!parse_bits(p, dtype, out))
            return false;
    } else {
        if (!text_number(&p->in, dtype, &value, &integer))
            return false;
        *out = dtype_is_float(dtype) ? expr_const(p->nest, dtype, value)
                                     : expr_int(p->nest, dtype, integer);
    }
    if (p->in.at != end)
        return text_expected(&p->in, "the end of the number");
    p->in.at = behind;
    return true;
}

static bool parse_load(struct nest_parser *p, uint32_t buffer, expr_id *out)
{
    enum dtype dtype = (enum dtype)p->nest->buffers.items[buffer].dtype;
    expr_id index, guard = EXPR_NONE;
    if (!text_expect(&p->in, "[") || !nest_typed(p, DTYPE_I64, &index))
        return false;
    if (text_take(&p->in, "if") && !nest_typed(p, DTYPE_BOOL, &guard))
        return false;
    if (dtype == DTYPE_F16 || dtype == DTYPE_BF16)
        dtype = DTYPE_F32;
    *out = expr_intern(p->nest, (struct expr){.op = EXPR_LOAD,
                                              .dtype = (uint8_t)dtype,
                                              .index = buffer,
                                              .operand = {index, guard}});
    return text_expect(&p->in, "]");
}

static bool parse_dim(struct nest_parser *p, const char *name, const char *at, expr_id *out)
{
    uint32_t index;
    if (!dim_find_name(p->nest->dims, name, &index))
        return nest_expected(p, at, "a loop, a local or a dim");
    *out = expr_intern(p->nest, (struct expr){.op = EXPR_DIM, .dtype = DTYPE_I64, .index = index});
    return true;
}

static bool parse_named(struct nest_parser *p, const char *name, const char *at, expr_id *out)
{
    uint32_t index;
    if (*p->in.at != '@' && nest_find_var(p->nest, name, &index)) {
        *out = expr_var(p->nest, index);
        return true;
    }
    bool is_local = *p->in.at == '@';
    for (uint32_t i = 0; i < p->nest->locals.count; i++)
        is_local |= strcmp(p->nest->locals.items[i].name, name) == 0;
    if (!is_local)
        return parse_dim(p, name, at, out);
    if (!nest_find_local(p, name, at, &index))
        return false;
    *out = expr_local(p->nest, index);
    return true;
}

/* The rest of dim(NAME) or local(NAME), which say what a name means that several things have. */
static bool parse_hidden(struct nest_parser *p, bool is_dim, expr_id *out)
{
    char name[LIMIT_NAME + 1];
    uint32_t local;
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!text_word(&p->in, name, "a name"))
        return false;
    if (is_dim)
        return parse_dim(p, name, at, out) && text_expect(&p->in, ")");
    if (!nest_find_local(p, name, at, &local))
        return false;
    *out = expr_local(p->nest, local);
    return text_expect(&p->in, ")");
}

static bool parse_operands(struct nest_parser *p, uint32_t count, expr_id out[3])
{
    for (uint32_t i = 0; i < count; i++)
        if ((i > 0 && !text_expect(&p->in, ",")) || !nest_expr(p, &out[i]))
            return false;
    return text_expect(&p->in, ")");
}

/* The rest of f32(x), convert:i32(x) or bitcast:i32(x), behind the opening bracket. */
static bool parse_cast(struct nest_parser *p, enum expr_op op, enum dtype to, expr_id *out)
{
    expr_id operand[3] = {0};
    if (!parse_operands(p, 1, operand))
        return false;
    enum dtype from = (enum dtype)expr_at(p->nest, operand[0])->dtype;
    if (op != EXPR_CAST && dtype_bytes(from) != dtype_bytes(to))
        return text_expected(&p->in, "an operand of the same width");
    if (op == EXPR_CONVERT && !(dtype_is_float(from) && dtype_kind(to) == DTYPE_KIND_INT))
        return text_expected(&p->in, "a float, and a dtype of signed integers");
    *out = intern(p, op, to, operand);
    return true;
}

static bool parse_apply(struct nest_parser *p, const expr_id operand[3], expr_id *out)
{
    const struct expr *x = expr_at(p->nest, operand[0]), *f = expr_at(p->nest, operand[1]);
    if (x->dtype != f->dtype || f->vars || f->locals || f->loads)
        return text_expected(&p->in, "a function of param, of the first operand's dtype");
    *out = intern(p, EXPR_APPLY, (enum dtype)f->dtype, operand);
    return true;
}

/* The rest of NAME(…), behind the opening bracket. */
static bool parse_call(struct nest_parser *p, const char *name, const char *at, expr_id *out)
{
    static const uint8_t counts[EXPR_OP_COUNT] = {
#define EXPR(id, text, n) [EXPR_##id] = n,
#include "compiler/loop/exprs.def"
#undef EXPR
    };
    expr_id operand[3] = {0};
    enum dtype dtype = dtype_from_name(name);
    if (strcmp(name, "dim") == 0 || strcmp(name, "local") == 0)
        return parse_hidden(p, name[0] == 'd', out);
    if (dtype != DTYPE_NONE && strcmp(dtype_name(dtype), name) == 0)
        return parse_cast(p, EXPR_CAST, dtype, out);
    int op = EXPR_NEG;
    while (op < EXPR_OP_COUNT && strcmp(expr_op_text((enum expr_op)op), name) != 0)
        op++;
    if (op == EXPR_OP_COUNT || op == EXPR_CAST || op == EXPR_CONVERT || op == EXPR_BITCAST)
        return nest_expected(p, at, "an operation");
    if (!parse_operands(p, counts[op], operand))
        return false;
    if (op == EXPR_APPLY)
        return parse_apply(p, operand, out);
    return combine(p, (enum expr_op)op, false, operand, out);
}

/* The rest of param:f32, convert:i32(x) or bitcast:i32(x), behind the colon. */
static bool parse_with_dtype(struct nest_parser *p, const char *name, const char *at, expr_id *out)
{
    enum dtype dtype;
    if (!nest_dtype(p, &dtype))
        return false;
    if (strcmp(name, "param") == 0) {
        *out = expr_param(p->nest, dtype);
        return true;
    }
    bool convert = strcmp(name, "convert") == 0;
    if (!convert && strcmp(name, "bitcast") != 0)
        return nest_expected(p, at, "param, convert or bitcast");
    return text_expect(&p->in, "(") &&
           parse_cast(p, convert ? EXPR_CONVERT : EXPR_BITCAST, dtype, out);
}

static bool parse_word(struct nest_parser *p, expr_id *out)
{
    char name[LIMIT_NAME + 1];
    uint32_t buffer;
    const char *at = p->in.at;
    if (!text_word(&p->in, name, "an expression"))
        return false;
    if (*p->in.at == '(') {
        p->in.at++;
        return parse_call(p, name, at, out);
    }
    if (*p->in.at == ':') {
        p->in.at++;
        return parse_with_dtype(p, name, at, out);
    }
    const char *behind = p->in.at + (*p->in.at == '@');
    behind += behind > p->in.at ? strspn(behind, "0123456789") : 0;
    if (*behind == '[')
        return nest_find_buffer(p, name, at, &buffer) && parse_load(p, buffer, out);
    return parse_named(p, name, at, out);
}

static bool parse_primary(struct nest_parser *p, expr_id *out)
{
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (*at == '%') {
        int64_t name;
        p->in.at++;
        if (!text_int(&p->in, 1, p->names.count, &name))
            return false;
        *out = p->names.items[name - 1];
        return true;
    }
    if (*at == '(') {
        p->in.at++;
        return nest_expr(p, out) && text_expect(&p->in, ")");
    }
    if (is_number(at))
        return parse_number(p, out);
    return starts_name(*at) ? parse_word(p, out) : text_expected(&p->in, "an expression");
}

/* Accepts an infix sign of at least this precedence; EXPR_OP_NONE if there is none. */
static enum expr_op take_infix(struct nest_parser *p, int level)
{
    for (int op = EXPR_OP_COUNT; --op > EXPR_OP_NONE;) { /* from the last row up, so that <= is
                                                            tried before < */
        const char *sign = expr_op_infix((enum expr_op)op);
        char bare[4] = {0};
        if (!sign || expr_op_level((enum expr_op)op) < level)
            continue;
        snprintf(bare, sizeof bare, "%.*s", (int)strcspn(sign + (*sign == ' '), " "),
                 sign + (*sign == ' '));
        if (text_take(&p->in, bare))
            return (enum expr_op)op;
    }
    return EXPR_OP_NONE;
}

static bool parse_infix(struct nest_parser *p, int level, expr_id *out)
{
    expr_id operand[3] = {0};
    enum expr_op op;
    if (!parse_primary(p, &operand[0]))
        return false;
    while ((op = take_infix(p, level)) != EXPR_OP_NONE) {
        if (!parse_infix(p, expr_op_level(op) + 1, &operand[1]) ||
            !combine(p, op, true, operand, &operand[0]))
            return false;
    }
    *out = operand[0];
    return true;
}

bool nest_expr(struct nest_parser *p, expr_id *out)
{
    if (p->depth == PARSE_NESTING) {
        fail(p->in.err, ERR_LIMIT, "more than %d brackets inside each other", PARSE_NESTING);
        return text_place(&p->in, p->in.at);
    }
    p->depth++;
    if (!parse_infix(p, 1, out))
        return false;
    p->depth--;
    return true;
}

bool nest_typed(struct nest_parser *p, enum dtype dtype, expr_id *out)
{
    char what[32];
    text_skip_space(&p->in);
    const char *at = p->in.at;
    if (!nest_expr(p, out))
        return false;
    if (expr_at(p->nest, *out)->dtype == dtype)
        return true;
    snprintf(what, sizeof what, "an expression of %s", dtype_name(dtype));
    return nest_expected(p, at, what);
}
