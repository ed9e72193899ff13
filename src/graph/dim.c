/* Named dims and the arithmetic that makes expressions of them.
 *
 * A floor division is rewritten until no rule applies, and only then becomes an atom; building a
 * dim from its own printed form therefore gives the same id. Let c > 0, everything an integer:
 *
 *     a // b                = q                     a = q × b as polynomials
 *     (c × X + R) // c      = X + R // c            c a number or a product; constants leave a rest
 *                                                   in 0 … c-1
 *     (g × S + r) // (g×c)  = (S + r // g) // c     g > 1 divides each coefficient of S; r a number
 *     (X // d + r) // c     = (X + r × d) // (d × c)
 *     a // b                = k                     the ranges leave no other value */
#include "graph/dim.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "graph/dim_priv.h"

void dim_table_init(struct dim_table *table, struct arena *arena)
{
    *table = (struct dim_table){.arena = arena};
    VEC_PUSH(arena, &table->exprs, NULL);
}

static bool is_name(const char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    size_t length = strlen(text);
    return length > 0 && length <= LIMIT_NAME && strchr(letters, text[0]) != NULL &&
           text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.0123456789")] ==
               '\0';
}

static const struct dim_alias *find_alias(const struct dim_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->aliases.count; i++)
        if (strcmp(table->aliases.items[i].name, name) == 0)
            return &table->aliases.items[i];
    return NULL;
}

bool dim_declare_alias(struct dim_table *table, const char *name, dim_id dim, struct error *err)
{
    uint32_t known;
    if (!is_name(name))
        return fail(err, ERR_BLUEPRINT, "'%.64s' is not a name for a dim", name);
    if (dim_find_name(table, name, &known) || find_alias(table, name))
        return fail(err, ERR_BLUEPRINT, "dim '%s' is declared twice", name);
    VEC_PUSH(table->arena, &table->aliases,
             ((struct dim_alias){arena_strdup(table->arena, name), dim}));
    return true;
}

bool dim_declare(struct dim_table *table, const struct dim_name *name, uint32_t *out_index,
                 struct error *err)
{
    uint32_t known;
    if (!is_name(name->name))
        return fail(err, ERR_BLUEPRINT, "'%.64s' is not a name for a dim", name->name);
    if (dim_find_name(table, name->name, &known) || find_alias(table, name->name))
        return fail(err, ERR_BLUEPRINT, "dim '%s' is declared twice", name->name);
    if (name->min < 0 || name->min > name->max || name->max > LIMIT_DIM_VALUE)
        return fail(err, ERR_BLUEPRINT,
                    "dim '%s': min %lld, max %lld is not a range within 0 … %lld", name->name,
                    (long long)name->min, (long long)name->max, (long long)LIMIT_DIM_VALUE);
    if (name->multiple_of < 1 || name->max / name->multiple_of * name->multiple_of < name->min)
        return fail(err, ERR_BLUEPRINT, "dim '%s': no multiple of %lld lies within its range",
                    name->name, (long long)name->multiple_of);
    if (name->typical != 0 && (name->typical < name->min || name->typical > name->max ||
                               name->typical % name->multiple_of != 0))
        return fail(err, ERR_BLUEPRINT, "dim '%s': the typical value %lld is not one of its values",
                    name->name, (long long)name->typical);
    if (table->names.count == LIMIT_NAMED_DIMS)
        return fail(err, ERR_LIMIT, "more than %d named dims", LIMIT_NAMED_DIMS);
    struct dim_name copy = *name;
    copy.name = arena_strdup(table->arena, name->name);
    copy.why = name->why ? arena_strdup(table->arena, name->why) : NULL;
    *out_index = table->names.count;
    VEC_PUSH(table->arena, &table->names, copy);
    return true;
}

bool dim_find_name(const struct dim_table *table, const char *name, uint32_t *out_index)
{
    for (uint32_t i = 0; i < table->names.count; i++)
        if (strcmp(table->names.items[i].name, name) == 0) {
            *out_index = i;
            return true;
        }
    return false;
}

void dim_spell(struct dim_table *table, uint32_t name_index, const char *spelling)
{
    VEC_PUSH(table->arena, &table->spellings,
             ((struct dim_spelling){name_index, arena_strdup(table->arena, spelling)}));
}

const char *dim_shown(const struct dim_table *table, uint32_t name_index)
{
    for (uint32_t i = 0; i < table->spellings.count; i++)
        if (table->spellings.items[i].name == name_index)
            return table->spellings.items[i].text;
    return table->names.items[name_index].name;
}

bool dim_find_shown(const struct dim_table *table, const char *shown, uint32_t *out_index)
{
    if (dim_find_name(table, shown, out_index))
        return true;
    for (uint32_t i = 0; i < table->spellings.count; i++) {
        if (strcmp(table->spellings.items[i].text, shown) != 0)
            continue;
        *out_index = table->spellings.items[i].name;
        return true;
    }
    return false;
}

bool dim_refuse_shown(const struct dim_table *table, const char *shown, struct error *err)
{
    char names[400] = "";
    for (uint32_t i = 0; i < table->names.count; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s'%.60s'", i > 0 ? ", " : "",
                 dim_shown(table, i));
    }
    return fail(err, ERR_USAGE, "no dim is named '%.100s'; %s%s", shown,
                table->names.count > 0 ? "there are " : "all sizes are fixed", names);
}

dim_id dim_of_name(struct dim_table *table, const char *name)
{
    uint32_t index;
    if (dim_find_name(table, name, &index))
        return dim_named(table, index);
    const struct dim_alias *alias = find_alias(table, name);
    return alias ? alias->dim : DIM_NONE;
}

bool dim_needs_not_negative(struct dim_table *table, dim_id dim)
{
    table->unproved = (struct dim_demand){DIM_NEEDS_NOT_NEGATIVE, dim, DIM_NONE, false};
    return false;
}

bool dim_needs_equal(struct dim_table *table, dim_id a, dim_id b)
{
    table->unproved = (struct dim_demand){DIM_NEEDS_EQUAL, a, b, false};
    return false;
}

bool dim_needs_broadcast(struct dim_table *table, dim_id a, dim_id b)
{
    table->unproved = (struct dim_demand){DIM_NEEDS_EQUAL, a, b, true};
    return false;
}

static dim_id intern_term(struct dim_table *table, const struct term *term)
{
    struct poly poly;
    poly_clear(&poly);
    return poly_add(table, &poly, term) ? poly_intern(table, &poly) : DIM_NONE;
}

dim_id intern_atom(struct dim_table *table, struct dim_atom atom)
{
    struct term term = {.coefficient = 1, .atom_count = 1, .atoms = {atom}};
    return intern_term(table, &term);
}

dim_id dim_const(struct dim_table *table, int64_t value)
{
    struct term term = term_const(value);
    return intern_term(table, &term);
}

int64_t dim_legal(const struct dim_name *name, int64_t wish)
{
    int64_t by = name->multiple_of;
    int64_t least = (name->min + by - 1) / by * by, most = name->max / by * by;
    if (least > most || wish <= least)
        return least;
    if (wish >= most)
        return most;
    int64_t below = wish / by * by;
    return wish - below <= below + by - wish ? below : below + by;
}

int64_t dim_typical(const struct dim_name *name)
{
    return dim_legal(name, name->typical > 0 ? name->typical : 8);
}

dim_id dim_named(struct dim_table *table, uint32_t name_index)
{
    assert(name_index < table->names.count);
    int64_t multiple = table->names.items[name_index].multiple_of;
    struct dim_atom atom = {.kind = DIM_ATOM_NAME, .name = name_index, .divisor = multiple};
    struct term term = {.coefficient = multiple, .atom_count = 1, .atoms = {atom}};
    return intern_term(table, &term);
}

/* Most dims of most models are numbers, so sums and products of those, and with 0 and 1, need no
 * polynomials. False: one of the two is no number. */
static bool both_const(const struct dim_table *table, dim_id a, dim_id b, int64_t *out_a,
                       int64_t *out_b)
{
    return dim_is_const(table, a, out_a) && dim_is_const(table, b, out_b);
}

static bool is_number(const struct dim_table *table, dim_id dim, int64_t number)
{
    int64_t value;
    return dim_is_const(table, dim, &value) && value == number;
}

/* a + factor × b */
static dim_id add_scaled(struct dim_table *table, dim_id a, int64_t factor, dim_id b)
{
    struct poly poly;
    const struct term one = term_const(1), scale = term_const(factor);
    int64_t x, y, sum;
    if (a == DIM_NONE || b == DIM_NONE)
        return DIM_NONE;
    if (is_number(table, b, 0))
        return a;
    if (both_const(table, a, b, &x, &y) && checked_mul_i64(factor, y, &sum) &&
        checked_add_i64(x, sum, &sum))
        return dim_const(table, sum);
    poly_clear(&poly);
    if (!poly_add_scaled(table, &poly, &one, a) || !poly_add_scaled(table, &poly, &scale, b))
        return DIM_NONE;
    return poly_intern(table, &poly);
}

dim_id dim_add(struct dim_table *table, dim_id a, dim_id b)
{
    return add_scaled(table, a, 1, b);
}

dim_id dim_sub(struct dim_table *table, dim_id a, dim_id b)
{
    return add_scaled(table, a, -1, b);
}

dim_id dim_mul(struct dim_table *table, dim_id a, dim_id b)
{
    struct poly poly;
    int64_t x, y, product;
    if (a == DIM_NONE || b == DIM_NONE)
        return DIM_NONE;
    if (is_number(table, a, 1) || is_number(table, b, 1))
        return is_number(table, a, 1) ? b : a;
    if (both_const(table, a, b, &x, &y) && checked_mul_i64(x, y, &product))
        return dim_const(table, product);
    poly_clear(&poly);
    const struct dim_expr *expr = dim_expr_of(table, a);
    for (uint32_t i = 0; i < expr->term_count; i++) {
        struct term factor = term_load(table, &expr->terms[i]);
        if (!poly_add_scaled(table, &poly, &factor, b))
            return DIM_NONE;
    }
    return poly_intern(table, &poly);
}

/* Long division by the leading term, which the order of terms makes complete. */
dim_id dim_div_exact(struct dim_table *table, dim_id a, dim_id b)
{
    if (a == DIM_NONE || b == DIM_NONE || dim_expr_of(table, b)->term_count == 0)
        return DIM_NONE;
    const struct term lead = term_load(table, &dim_expr_of(table, b)->terms[0]),
                      one = term_const(1);
    struct poly rest, quotient;
    poly_clear(&rest);
    poly_clear(&quotient);
    if (!poly_add_scaled(table, &rest, &one, a))
        return DIM_NONE;
    while (rest.count > 0) {
        struct term q, minus_q;
        if (!term_div(&rest.terms[0], &lead, &q) || !poly_add(table, &quotient, &q))
            return DIM_NONE;
        minus_q = q;
        minus_q.coefficient = -q.coefficient;
        if (!poly_add_scaled(table, &rest, &minus_q, b))
            return DIM_NONE;
    }
    return poly_intern(table, &quotient);
}

/* Moves out of rest whatever the divisor's one term divides; false when there is nothing. */
static bool split_multiples(struct dim_table *table, const struct term *divisor, struct poly *rest,
                            struct poly *out_quotient)
{
    struct poly kept = {.count = 0};
    struct poly quotient = {.count = 0};
    for (uint32_t i = 0; i < rest->count; i++) {
        struct term term = rest->terms[i], q = {.coefficient = 0};
        if (term.atom_count == 0 && divisor->atom_count == 0) {
            q = term_const(floor_div(term.coefficient, divisor->coefficient));
            term.coefficient %= divisor->coefficient;
            term.coefficient += term.coefficient < 0 ? divisor->coefficient : 0;
        } else if (term_div(&term, divisor, &q)) {
            term.coefficient = 0;
        }
        if (!poly_add(table, &quotient, &q) || !poly_add(table, &kept, &term))
            return false;
    }
    *rest = kept;
    *out_quotient = quotient;
    return quotient.count > 0;
}

/* Divides a constant divisor and all coefficients but the constant term by what they have in
 * common. */
static bool cancel_common(struct poly *dividend, int64_t *divisor)
{
    int64_t common = *divisor;
    for (uint32_t i = 0; i < dividend->count; i++)
        if (dividend->terms[i].atom_count > 0)
            common = gcd_i64(common, dividend->terms[i].coefficient);
    if (common == 1)
        return false;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < dividend->count; i++) {
        dividend->terms[kept] = dividend->terms[i];
        int64_t *coefficient = &dividend->terms[kept].coefficient;
        *coefficient = floor_div(*coefficient, common);
        kept += *coefficient != 0;
    }
    dividend->count = kept;
    *divisor /= common;
    return true;
}

/* (X // d + r) // c: gives X + r × d and d × c. */
static bool flatten_nested(struct dim_table *table, const struct poly *dividend, int64_t divisor,
                           dim_id *out_dividend, dim_id *out_divisor)
{
    const struct term *term = &dividend->terms[0];
    int64_t inner, product, shift;
    if (dividend->count < 1 || dividend->count > 2 || term->coefficient != 1 ||
        term->atom_count != 1 || term->atoms[0].kind != DIM_ATOM_FLOORDIV ||
        (dividend->count == 2 && dividend->terms[1].atom_count > 0) ||
        !dim_is_const(table, term->atoms[0].b, &inner) ||
        !checked_mul_i64(inner, divisor, &product))
        return false;
    int64_t r = dividend->count == 2 ? dividend->terms[1].coefficient : 0;
    if (!checked_mul_i64(inner, r, &shift))
        return false;
    dim_id a = dim_add(table, term->atoms[0].a, dim_const(table, shift));
    dim_id b = dim_const(table, product);
    if (a == DIM_NONE || b == DIM_NONE)
        return false;
    *out_dividend = a;
    *out_divisor = b;
    return true;
}

static dim_id floordiv_atom(struct dim_table *table, dim_id a, dim_id b)
{
    struct dim_atom atom = {.kind = DIM_ATOM_FLOORDIV, .a = a, .b = b};
    int64_t min, max;
    dim_atom_range(table, &atom, &min, &max);
    return min == max && max != INT64_MAX && min != -INT64_MAX ? dim_const(table, min)
                                                               : intern_atom(table, atom);
}

/* Whether the first term that is no number is subtracted. */
static bool starts_negative(const struct poly *dividend)
{
    for (uint32_t i = 0; i < dividend->count; i++)
        if (dividend->terms[i].atom_count > 0)
            return dividend->terms[i].coefficient < 0;
    return false;
}

/* Recurses on a smaller dividend (split), a smaller divisor (cancel), a shallower dividend
 * (flatten) or one that starts positive: -H//2 is -((H + 1)//2), which has one form that way. */
dim_id dim_floordiv(struct dim_table *table, dim_id a, dim_id b)
{
    if (a == DIM_NONE || b == DIM_NONE || dim_expr_of(table, b)->facts.min <= 0)
        return DIM_NONE;
    dim_id exact = dim_div_exact(table, a, b);
    if (exact != DIM_NONE)
        return exact;
    const struct dim_expr *divisor = dim_expr_of(table, b);
    if (divisor->term_count != 1)
        return floordiv_atom(table, a, b);
    const struct term one = term_const(1);
    struct term by = term_load(table, &divisor->terms[0]);
    struct poly rest = {.count = 0}, quotient;
    if (by.coefficient < 0 || !poly_add_scaled(table, &rest, &one, a))
        return floordiv_atom(table, a, b);
    if (split_multiples(table, &by, &rest, &quotient)) {
        dim_id part = dim_floordiv(table, poly_intern(table, &rest), b);
        return dim_add(table, poly_intern(table, &quotient), part);
    }
    if (by.atom_count == 0) {
        dim_id flat_a, flat_b;
        if (cancel_common(&rest, &by.coefficient))
            return dim_floordiv(table, poly_intern(table, &rest), dim_const(table, by.coefficient));
        if (flatten_nested(table, &rest, by.coefficient, &flat_a, &flat_b))
            return dim_floordiv(table, flat_a, flat_b);
        if (starts_negative(&rest)) {
            dim_id up = dim_sub(table, dim_const(table, by.coefficient - 1), a);
            return dim_sub(table, dim_const(table, 0), dim_floordiv(table, up, b));
        }
    }
    return floordiv_atom(table, a, b);
}

dim_id dim_ceildiv(struct dim_table *table, dim_id a, dim_id b)
{
    dim_id round_up = dim_sub(table, b, dim_const(table, 1));
    return dim_floordiv(table, dim_add(table, a, round_up), b);
}

/* A proof costs in proportion to the size, and sizes of chosen axes have many maxima. */
#define PROVED_SIZE 48

dim_id dim_max(struct dim_table *table, dim_id a, dim_id b)
{
    if (a == DIM_NONE || b == DIM_NONE || a == b)
        return a == b ? a : DIM_NONE;
    dim_id difference = dim_sub(table, a, b); /* may not fit; then the range decides nothing */
    if (difference != DIM_NONE) {
        const struct dim_facts *facts = &dim_expr_of(table, difference)->facts;
        if (facts->min >= 0)
            return a;
        if (facts->max <= 0)
            return b;
        if (facts->size <= PROVED_SIZE && dim_sign_tells(table, difference))
            return a;
        if (facts->size <= PROVED_SIZE && dim_sign_tells(table, dim_sub(table, b, a)))
            return b;
    }
    if (dim_compare(table, a, b) > 0)
        return intern_atom(table, (struct dim_atom){.kind = DIM_ATOM_MAX, .a = b, .b = a});
    return intern_atom(table, (struct dim_atom){.kind = DIM_ATOM_MAX, .a = a, .b = b});
}

dim_id dim_min(struct dim_table *table, dim_id a, dim_id b)
{
    return dim_sub(table, dim_add(table, a, b), dim_max(table, a, b));
}

dim_id dim_product(struct dim_table *table, const dim_id *dims, uint32_t count)
{
    dim_id product = dim_const(table, 1);
    for (uint32_t i = 0; i < count; i++)
        product = dim_mul(table, product, dims[i]);
    return product;
}

bool dim_is_const(const struct dim_table *table, dim_id dim, int64_t *out_value)
{
    const struct dim_expr *expr = dim_expr_of(table, dim);
    if (expr->term_count > 1 || (expr->term_count == 1 && expr->terms[0].atom_count > 0))
        return false;
    if (out_value != NULL)
        *out_value = expr->term_count == 0 ? 0 : expr->terms[0].coefficient;
    return true;
}

bool dim_is_name(const struct dim_table *table, dim_id dim, uint32_t *out_index)
{
    const struct dim_expr *expr = dim_expr_of(table, dim);
    const struct dim_term *term = expr->terms;
    if (expr->term_count != 1 || term->coefficient != 1 || term->atom_count != 1 ||
        term->atoms->kind != DIM_ATOM_NAME || term->atoms->divisor != 1)
        return false;
    *out_index = term->atoms->name;
    return true;
}

const struct dim_term *dim_terms(const struct dim_table *table, dim_id dim, uint32_t *out_count)
{
    const struct dim_expr *expr = dim_expr_of(table, dim);
    *out_count = expr->term_count;
    return expr->terms;
}
