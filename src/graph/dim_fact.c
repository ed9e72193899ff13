/* What is known of an expression's values before any are given (range, divisor), and its value when
 * they are.
 *
 * Facts are found once, at interning. Intervals are those of the terms, added; ±INT64_MAX stands
 * for no bound. An expression with one maximum, rest + c × max(a, b), always equals rest + c × a or
 * rest + c × b, and their intervals often say more: the interval of min(a, b) = a + b - max(a, b)
 * comes out exact. */
#include "graph/dim_priv.h"

#include <assert.h>

#include "base/checked.h"

int64_t floor_div(int64_t a, int64_t b)
{
    assert(b > 0);
    return a / b - (a % b < 0);
}

static bool is_bound(int64_t x)
{
    return x != INT64_MAX && x != -INT64_MAX;
}

static int64_t saturate(bool fits, int64_t value, bool negative)
{
    if (fits && value != INT64_MIN)
        return value;
    return negative ? -INT64_MAX : INT64_MAX;
}

static int64_t bound_add(int64_t a, int64_t b)
{
    if (!is_bound(a))
        return a;
    if (!is_bound(b))
        return b;
    int64_t sum = 0;
    bool fits = checked_add_i64(a, b, &sum);
    return saturate(fits, sum, a < 0);
}

static int64_t bound_mul(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return 0;
    int64_t product = 0;
    bool fits = is_bound(a) && is_bound(b) && checked_mul_i64(a, b, &product);
    return saturate(fits, product, (a < 0) != (b < 0));
}

static int64_t bound_div(int64_t a, int64_t b)
{
    return is_bound(a) ? floor_div(a, b) : a;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t gcd_i64(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

void dim_atom_range(const struct dim_table *table, const struct dim_atom *atom, int64_t *out_min,
                    int64_t *out_max)
{
    if (atom->kind == DIM_ATOM_NAME) {
        const struct dim_name *name = &table->names.items[atom->name];
        *out_min = dim_legal(name, name->min) / atom->divisor;
        *out_max = dim_legal(name, name->max) / atom->divisor;
        return;
    }
    const struct dim_facts *a = &dim_expr_of(table, atom->a)->facts;
    const struct dim_facts *b = &dim_expr_of(table, atom->b)->facts;
    if (atom->kind == DIM_ATOM_MAX) {
        *out_min = max_i64(a->min, b->min);
        *out_max = max_i64(a->max, b->max);
    } else {
        *out_min = min_i64(bound_div(a->min, b->min), bound_div(a->min, b->max));
        *out_max = max_i64(bound_div(a->max, b->min), bound_div(a->max, b->max));
    }
}

static int64_t atom_multiple(const struct dim_table *table, const struct dim_atom *atom)
{
    if (atom->kind == DIM_ATOM_NAME)
        return table->names.items[atom->name].multiple_of / atom->divisor;
    int64_t a = dim_expr_of(table, atom->a)->facts.multiple, divisor;
    if (atom->kind == DIM_ATOM_MAX)
        return gcd_i64(a, dim_expr_of(table, atom->b)->facts.multiple);
    return dim_is_const(table, atom->b, &divisor) && a % divisor == 0 ? a / divisor : 1;
}

/* A product too large for int64 keeps the factors so far: they divide as well. */
static int64_t term_multiple(const struct dim_table *table, const struct term *term)
{
    int64_t multiple = gcd_i64(term->coefficient, 0);
    for (uint32_t i = 0; i < term->atom_count; i++)
        (void)checked_mul_i64(multiple, atom_multiple(table, &term->atoms[i]), &multiple);
    return multiple;
}

static void term_range(const struct dim_table *table, const struct term *term, int64_t *out_min,
                       int64_t *out_max)
{
    int64_t low = term->coefficient, high = low;
    for (uint32_t i = 0; i < term->atom_count; i++) {
        int64_t min, max;
        dim_atom_range(table, &term->atoms[i], &min, &max);
        int64_t ll = bound_mul(low, min), lh = bound_mul(low, max);
        int64_t hl = bound_mul(high, min), hh = bound_mul(high, max);
        low = min_i64(min_i64(ll, lh), min_i64(hl, hh));
        high = max_i64(max_i64(ll, lh), max_i64(hl, hh));
    }
    *out_min = low;
    *out_max = high;
}

/* False when a limit is passed. */
static bool measure(const struct dim_table *table, const struct poly *poly, struct dim_facts *facts)
{
    for (uint32_t i = 0; i < poly->count; i++) {
        facts->size++;
        for (uint32_t j = 0; j < poly->terms[i].atom_count; j++) {
            const struct dim_atom *atom = &poly->terms[i].atoms[j];
            facts->size++;
            if (atom->kind == DIM_ATOM_NAME)
                continue;
            const struct dim_facts *a = &dim_expr_of(table, atom->a)->facts;
            const struct dim_facts *b = &dim_expr_of(table, atom->b)->facts;
            uint32_t depth = 1 + (a->depth > b->depth ? a->depth : b->depth);
            facts->depth = depth > facts->depth ? depth : facts->depth;
            facts->size += a->size + b->size;
        }
    }
    return facts->depth <= DIM_MAX_DEPTH && facts->size <= DIM_MAX_SIZE;
}

/* poly with the maximum of term `at` replaced by one of its operands; it has fewer maxima. */
static dim_id choose_operand(struct dim_table *table, const struct poly *poly, uint32_t at,
                             dim_id operand)
{
    struct poly chosen = *poly;
    struct term factor = term_const(poly->terms[at].coefficient), removed = poly->terms[at];
    removed.coefficient = -removed.coefficient;
    if (!poly_add(table, &chosen, &removed) || !poly_add_scaled(table, &chosen, &factor, operand))
        return DIM_NONE;
    return poly_intern(table, &chosen);
}

static void refine_by_choice(struct dim_table *table, const struct poly *poly,
                             struct dim_facts *facts)
{
    uint32_t found = 0, at = 0;
    for (uint32_t i = 0; i < poly->count; i++)
        for (uint32_t j = 0; j < poly->terms[i].atom_count; j++)
            if (poly->terms[i].atoms[j].kind == DIM_ATOM_MAX) {
                found++;
                at = i;
            }
    /* One maximum only: each further one would double the cases. A bare one has the term's
     * interval. */
    if (found != 1 || poly->terms[at].atom_count != 1 || poly->count == 1)
        return;
    const struct dim_atom *atom = &poly->terms[at].atoms[0];
    dim_id a = choose_operand(table, poly, at, atom->a);
    dim_id b = choose_operand(table, poly, at, atom->b);
    if (a == DIM_NONE || b == DIM_NONE)
        return;
    const struct dim_facts *x = &dim_expr_of(table, a)->facts, *y = &dim_expr_of(table, b)->facts;
    bool smaller = poly->terms[at].coefficient < 0; /* the value is the smaller case, else the
                                                       larger */
    int64_t min = smaller ? min_i64(x->min, y->min) : max_i64(x->min, y->min);
    int64_t max = smaller ? min_i64(x->max, y->max) : max_i64(x->max, y->max);
    facts->min = max_i64(facts->min, min);
    facts->max = min_i64(facts->max, max);
    facts->multiple = max_i64(facts->multiple, gcd_i64(x->multiple, y->multiple));
}

/* rest + m·c·⌊a/c⌋ lies within m·(c - 1) of rest + m·a, whose interval may say more: that is how
 * 32·⌈n/32⌉ - n comes out as no less than 0. */
static void refine_by_quotient(struct dim_table *table, const struct poly *poly,
                               struct dim_facts *facts)
{
    for (uint32_t i = 0; i < poly->count && poly->count > 1; i++) {
        const struct term *term = &poly->terms[i];
        const struct dim_atom *atom = &term->atoms[0];
        int64_t divisor, factor, slack;
        if (term->atom_count != 1 || atom->kind != DIM_ATOM_FLOORDIV ||
            !dim_is_const(table, atom->b, &divisor) || term->coefficient % divisor != 0)
            continue;
        factor = term->coefficient / divisor;
        struct poly whole = *poly;
        struct term scale = term_const(factor), removed = *term;
        removed.coefficient = -removed.coefficient;
        if (!checked_mul_i64(factor, divisor - 1, &slack) || slack == INT64_MIN ||
            !poly_add(table, &whole, &removed) || !poly_add_scaled(table, &whole, &scale, atom->a))
            continue;
        dim_id dim = poly_intern(table, &whole);
        if (dim == DIM_NONE)
            continue;
        const struct dim_facts *x = &dim_expr_of(table, dim)->facts;
        facts->min = max_i64(facts->min, bound_add(x->min, slack > 0 ? -slack : 0));
        facts->max = min_i64(facts->max, bound_add(x->max, slack < 0 ? -slack : 0));
    }
}

bool dim_facts_find(struct dim_table *table, const struct poly *poly, struct dim_facts *out)
{
    struct dim_facts facts = {0};
    if (!measure(table, poly, &facts))
        return false;
    for (uint32_t i = 0; i < poly->count; i++) {
        int64_t min, max;
        term_range(table, &poly->terms[i], &min, &max);
        facts.min = bound_add(facts.min, min);
        facts.max = bound_add(facts.max, max);
        facts.multiple = gcd_i64(facts.multiple, term_multiple(table, &poly->terms[i]));
    }
    refine_by_choice(table, poly, &facts);
    refine_by_quotient(table, poly, &facts);
    *out = facts;
    return true;
}

void dim_range(const struct dim_table *table, dim_id dim, int64_t *out_min, int64_t *out_max)
{
    const struct dim_facts *facts = &dim_expr_of(table, dim)->facts;
    *out_min = facts->min;
    *out_max = facts->max;
}

/* Everything divides zero; a large power of two serves whoever asks about alignment. */
int64_t dim_known_multiple(const struct dim_table *table, dim_id dim)
{
    int64_t multiple = dim_expr_of(table, dim)->facts.multiple;
    return multiple != 0 ? multiple : LIMIT_DIM_VALUE;
}

static bool eval_atom(const struct dim_table *table, const struct dim_atom *atom,
                      const int64_t *name_values, int64_t *out_value)
{
    int64_t a, b;
    if (atom->kind == DIM_ATOM_NAME) {
        *out_value = name_values[atom->name] / atom->divisor;
        return true;
    }
    if (!dim_eval(table, atom->a, name_values, &a) || !dim_eval(table, atom->b, name_values, &b))
        return false;
    if (atom->kind == DIM_ATOM_MAX)
        *out_value = max_i64(a, b);
    else if (b > 0)
        *out_value = floor_div(a, b);
    else /* names outside their ranges */
        return false;
    return true;
}

bool dim_eval(const struct dim_table *table, dim_id dim, const int64_t *name_values,
              int64_t *out_value)
{
    const struct dim_expr *expr = dim_expr_of(table, dim);
    int64_t sum = 0;
    for (uint32_t i = 0; i < expr->term_count; i++) {
        const struct dim_term *term = &expr->terms[i];
        int64_t product = term->coefficient, value;
        for (uint32_t j = 0; j < term->atom_count; j++)
            if (!eval_atom(table, &term->atoms[j], name_values, &value) ||
                !checked_mul_i64(product, value, &product))
                return false;
        if (!checked_add_i64(sum, product, &sum))
            return false;
    }
    *out_value = sum;
    return true;
}
