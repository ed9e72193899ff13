/* The text form of dims, printed and parsed.
 *
 *     sum     = product { ("+" | "-") product }
 *     product = factor { ("*" | "//") factor }
 *     factor  = { "-" } ( integer | name | "(" sum ")" | ("max" | "min") "(" sum "," sum ")" )
 *
 * As in Python, * and // bind equally and to the left, and a sign binds tighter than both. A floor
 * division inside a product or behind a leading sign is printed in parentheses, so that one level
 * of an expression takes at most two levels of text: PARSE_NESTING covers whatever dim_print
 * writes. */
#include "graph/dim.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "graph/dim_priv.h"

#define PARSE_NESTING (2 * DIM_MAX_DEPTH + 1)

static bool is_quotient(const struct dim_atom *atom)
{
    return atom->kind == DIM_ATOM_FLOORDIV || (atom->kind == DIM_ATOM_NAME && atom->divisor > 1);
}

/* An operand of a floor division: bare when it is one factor without a sign. */
static void print_operand(const struct dim_table *table, dim_id dim, struct strbuf *out)
{
    uint32_t count;
    int64_t value;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    bool bare = dim_is_const(table, dim, &value)
                    ? value >= 0
                    : count == 1 && terms[0].coefficient == 1 && terms[0].atom_count == 1 &&
                          !is_quotient(&terms[0].atoms[0]);
    if (!bare)
        strbuf_puts(out, "(");
    dim_print(table, dim, out);
    if (!bare)
        strbuf_puts(out, ")");
}

static void print_atom(const struct dim_table *table, const struct dim_atom *atom, bool alone,
                       struct strbuf *out)
{
    if (atom->kind == DIM_ATOM_NAME) {
        const char *name = table->names.items[atom->name].name;
        if (atom->divisor == 1)
            strbuf_puts(out, name);
        else
            strbuf_printf(out, alone ? "%s//%" PRId64 : "(%s//%" PRId64 ")", name, atom->divisor);
    } else if (atom->kind == DIM_ATOM_MAX) {
        strbuf_puts(out, "max(");
        dim_print(table, atom->a, out);
        strbuf_puts(out, ", ");
        dim_print(table, atom->b, out);
        strbuf_puts(out, ")");
    } else {
        strbuf_puts(out, alone ? "" : "(");
        print_operand(table, atom->a, out);
        strbuf_puts(out, "//");
        print_operand(table, atom->b, out);
        strbuf_puts(out, alone ? "" : ")");
    }
}

void dim_print(const struct dim_table *table, dim_id dim, struct strbuf *out)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    if (count == 0)
        strbuf_puts(out, "0");
    for (uint32_t i = 0; i < count; i++) {
        const struct dim_term *term = &terms[i];
        bool negative = term->coefficient < 0;
        int64_t magnitude = negative ? -term->coefficient : term->coefficient;
        bool number = magnitude != 1 || term->atom_count == 0;
        if (i > 0)
            strbuf_puts(out, negative ? " - " : " + ");
        else if (negative)
            strbuf_puts(out, "-");
        if (number)
            strbuf_printf(out, "%" PRId64, magnitude);
        for (uint32_t j = 0; j < term->atom_count; j++) {
            if (number || j > 0)
                strbuf_puts(out, "*");
            bool alone = !number && term->atom_count == 1 && (i > 0 || !negative);
            print_atom(table, &term->atoms[j], alone, out);
        }
    }
}

void dim_print_shown(const struct dim_table *table, dim_id dim, struct strbuf *out)
{
    struct dim_table spelled = *table;
    struct dim_name names[LIMIT_NAMED_DIMS];
    for (uint32_t i = 0; i < table->names.count; i++) {
        names[i] = table->names.items[i];
        names[i].name = dim_shown(table, i);
    }
    spelled.names.items = names;
    dim_print(&spelled, dim, out);
}

struct parser {
    struct dim_table *table;
    const char *at; /* behind the last token */
    int nesting;
    struct error *err;
};

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Takes the token when it comes next; leaves white space alone otherwise. */
static bool take(struct parser *parser, const char *token)
{
    const char *at = skip_space(parser->at);
    size_t length = strlen(token);
    if (strncmp(at, token, length) != 0)
        return false;
    parser->at = at + length;
    return true;
}

static bool take_minus(struct parser *parser)
{
    return strncmp(skip_space(parser->at), "->", 2) != 0 && take(parser, "-");
}

static bool unexpected(struct parser *parser, const char *expected)
{
    const char *at = skip_space(parser->at);
    return fail(parser->err, ERR_PARSE, "expected %s in a dim expression, found '%.16s'", expected,
                at);
}

static bool checked(struct parser *parser, dim_id dim, dim_id *out)
{
    if (dim == DIM_NONE)
        return fail(parser->err, ERR_LIMIT,
                    "a dim expression overflows or passes the limit of %d terms", LIMIT_DIM_TERMS);
    *out = dim;
    return true;
}

static bool parse_sum(struct parser *parser, dim_id *out);

static bool parse_integer(struct parser *parser, dim_id *out)
{
    int64_t value = 0;
    const char *at = skip_space(parser->at);
    for (; *at >= '0' && *at <= '9'; at++)
        if (!checked_mul_i64(value, 10, &value) || !checked_add_i64(value, *at - '0', &value))
            return fail(parser->err, ERR_LIMIT, "an integer in a dim expression is too large");
    parser->at = at;
    return checked(parser, dim_const(parser->table, value), out);
}

static bool parse_call(struct parser *parser, bool is_max, dim_id *out)
{
    dim_id a, b;
    if (!parse_sum(parser, &a))
        return false;
    if (!take(parser, ","))
        return unexpected(parser, "','");
    if (!parse_sum(parser, &b))
        return false;
    if (!take(parser, ")"))
        return unexpected(parser, "')'");
    return checked(parser, is_max ? dim_max(parser->table, a, b) : dim_min(parser->table, a, b),
                   out);
}

static bool parse_name(struct parser *parser, dim_id *out)
{
    const char *start = skip_space(parser->at);
    size_t length =
        strspn(start, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.0123456789");
    if (length == 0 || *start == '.')
        return unexpected(parser, "a name, an integer or '('");
    if (length > LIMIT_NAME)
        return fail(parser->err, ERR_LIMIT, "a name of a dim is longer than %d bytes", LIMIT_NAME);
    char name[LIMIT_NAME + 1];
    memcpy(name, start, length);
    name[length] = '\0';
    parser->at = start + length;
    bool is_max = strcmp(name, "max") == 0;
    if ((is_max || strcmp(name, "min") == 0) && take(parser, "("))
        return parse_call(parser, is_max, out);
    dim_id dim = dim_of_name(parser->table, name);
    if (dim == DIM_NONE)
        return fail(parser->err, ERR_BLUEPRINT, "unknown dim '%s'", name);
    return checked(parser, dim, out);
}

static bool parse_factor(struct parser *parser, dim_id *out)
{
    bool negative = false;
    while (take_minus(parser))
        negative = !negative;
    dim_id dim;
    char first = *skip_space(parser->at);
    if (first >= '0' && first <= '9') {
        if (!parse_integer(parser, &dim))
            return false;
    } else if (take(parser, "(")) {
        if (!parse_sum(parser, &dim))
            return false;
        if (!take(parser, ")"))
            return unexpected(parser, "')'");
    } else if (!parse_name(parser, &dim)) {
        return false;
    }
    if (negative)
        dim = dim_sub(parser->table, dim_const(parser->table, 0), dim);
    return checked(parser, dim, out);
}

static bool parse_product(struct parser *parser, dim_id *out)
{
    dim_id product, factor;
    int64_t min, max;
    if (!parse_factor(parser, &product))
        return false;
    for (;;) {
        bool divide = take(parser, "//");
        if (!divide && !take(parser, "*"))
            break;
        if (!parse_factor(parser, &factor))
            return false;
        dim_range(parser->table, factor, &min, &max);
        if (divide && min <= 0)
            return fail(parser->err, ERR_BLUEPRINT,
                        "a divisor in a dim expression may be 0 or less");
        product = divide ? dim_floordiv(parser->table, product, factor)
                         : dim_mul(parser->table, product, factor);
        if (!checked(parser, product, &product))
            return false;
    }
    *out = product;
    return true;
}

static bool parse_sum(struct parser *parser, dim_id *out)
{
    if (parser->nesting == PARSE_NESTING)
        return fail(parser->err, ERR_LIMIT, "a dim expression is nested more than %d deep",
                    PARSE_NESTING);
    parser->nesting++;
    dim_id sum, term;
    if (!parse_product(parser, &sum))
        return false;
    for (;;) {
        bool plus = take(parser, "+");
        if (!plus && !take_minus(parser))
            break;
        if (!parse_product(parser, &term))
            return false;
        sum = plus ? dim_add(parser->table, sum, term) : dim_sub(parser->table, sum, term);
        if (!checked(parser, sum, &sum))
            return false;
    }
    parser->nesting--;
    *out = sum;
    return true;
}

bool dim_parse(struct dim_table *table, const char **text, dim_id *out, struct error *err)
{
    struct parser parser = {.table = table, .at = *text, .err = err};
    if (!parse_sum(&parser, out))
        return false;
    *text = parser.at;
    return true;
}
