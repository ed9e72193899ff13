/* Whether an expression is proved not to be negative, where its interval alone does not say so.
 *
 * Each atom x with the range lo … hi is replaced by lo + x', x' ≥ 0, or one of them by hi - x'. A
 * polynomial of what is not negative whose coefficients are not negative is not negative: with
 * h, w ≥ 2, (h - 2)*(w - 2) becomes h'*w'. Where that does not do, floor divisions by a number are
 * replaced by their bounds, which share terms with the rest:
 *
 *   (a - b + 1)/b ≤ floor(a/b) ≤ a/b
 *
 * What is bounded is a whole number, so it is enough that the bound lies above -1: with n ≥ 1,
 * (n + 1)//2 + (-n)//2 is at least -1/2.
 *
 * A maximum is one of its operands, and no less than either: what subtracts it is proved for both,
 * and what adds it for one of them. So n - min(s, n) is not negative, whatever s is.
 *
 * What is proved of an expression holds of its multiples: the coefficients' common divisor does not
 * count.
 *
 * A proof that is not found is no proof of the contrary. */
#include "base/checked.h"
#include "graph/dim_priv.h"

#define MOST_DIVISIONS 16
#define MOST_CASES 64 /* of operands in place of maxima, in one proof */

/* product × (bound + sign × atom). False: it does not fit. */
static bool multiply(const struct dim_table *table, struct poly *product,
                     const struct dim_atom *atom, int64_t bound, int64_t sign)
{
    const struct term factors[2] = {
        {.coefficient = sign, .atom_count = 1, .atoms = {*atom}},
        {.coefficient = bound},
    };
    struct poly sum = {.count = 0};
    for (uint32_t i = 0; i < product->count; i++)
        for (uint32_t f = 0; f < 2; f++) {
            struct term term;
            if (!term_mul(table, &product->terms[i], &factors[f], &term) ||
                !poly_add(table, &sum, &term))
                return false;
        }
    *product = sum;
    return true;
}

static bool is_bound(int64_t value)
{
    return value != INT64_MAX && value != -INT64_MAX;
}

static bool same_atom(const struct dim_atom *a, const struct dim_atom *b)
{
    return a->kind == b->kind && a->name == b->name && a->a == b->a && a->b == b->b;
}

/* Whether no coefficient is negative behind the replacement; `from_top` is the atom that counts
 * down from its most, NULL: none does. */
static bool positive_behind(const struct dim_table *table, dim_id dim,
                            const struct dim_atom *from_top)
{
    struct poly sum = {.count = 0};
    const struct dim_expr *expr = dim_expr_of(table, dim);
    for (uint32_t i = 0; i < expr->term_count; i++) {
        struct term term = term_load(table, &expr->terms[i]);
        struct poly product = {.count = 1, .terms = {term_const(term.coefficient)}};
        for (uint32_t k = 0; k < term.atom_count; k++) {
            const struct dim_atom *atom = &term.atoms[k];
            bool down = from_top && same_atom(atom, from_top);
            int64_t lo, hi;
            dim_atom_range(table, atom, &lo, &hi);
            if (!is_bound(down ? hi : lo) ||
                !multiply(table, &product, atom, down ? hi : lo, down ? -1 : 1))
                return false;
        }
        for (uint32_t k = 0; k < product.count; k++)
            if (!poly_add(table, &sum, &product.terms[k]))
                return false;
    }
    for (uint32_t i = 0; i < sum.count; i++)
        if (sum.terms[i].coefficient < 0)
            return false;
    return true;
}

static bool coefficients_tell(const struct dim_table *table, dim_id dim)
{
    if (positive_behind(table, dim, NULL))
        return true;
    const struct dim_expr *expr = dim_expr_of(table, dim);
    for (uint32_t i = 0; i < expr->term_count; i++)
        for (uint32_t k = 0; k < expr->terms[i].atom_count; k++)
            if (positive_behind(table, dim, &expr->terms[i].atoms[k]))
                return true;
    return false;
}

/* coefficient × atoms, without the one at `without`. */
static dim_id term_dim(struct dim_table *table, const struct dim_term *term, uint32_t without)
{
    dim_id product = dim_const(table, term->coefficient);
    for (uint32_t i = 0; i < term->atom_count; i++)
        if (i != without)
            product = dim_mul(table, product, intern_atom(table, term->atoms[i]));
    return product;
}

/* Whether the sign of the term is that of its coefficient, whatever the atom at `without` is. */
static bool others_not_negative(const struct dim_table *table, const struct dim_term *term,
                                uint32_t without)
{
    for (uint32_t i = 0; i < term->atom_count; i++) {
        int64_t lo, hi;
        dim_atom_range(table, &term->atoms[i], &lo, &hi);
        if (i != without && lo < 0)
            return false;
    }
    return true;
}

/* The divisor times an expression that is not larger, with one floor division less; DIM_NONE where
 * there is none. The divisor is multiplied to *scale. */
static dim_id without_division(struct dim_table *table, dim_id dim, int64_t *scale)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < terms[i].atom_count; k++) {
            struct dim_atom atom = terms[i].atoms[k];
            int64_t by;
            if (atom.kind != DIM_ATOM_FLOORDIV || !dim_is_const(table, atom.b, &by) ||
                !others_not_negative(table, &terms[i], k))
                continue;
            if (!checked_mul_i64(*scale, by, scale))
                return DIM_NONE;
            int64_t off = terms[i].coefficient < 0 ? 0 : by - 1;
            dim_id rest = dim_sub(table, dim, term_dim(table, &terms[i], UINT32_MAX));
            dim_id bound = dim_sub(table, atom.a, dim_const(table, off));
            return dim_add(table, dim_mul(table, rest, atom.b),
                           dim_mul(table, bound, term_dim(table, &terms[i], k)));
        }
    return DIM_NONE;
}

bool dim_sign_tells(struct dim_table *table, dim_id dim)
{
    int64_t scale = 1;
    for (int i = 0; i <= MOST_DIVISIONS && dim != DIM_NONE; i++) {
        int64_t lo, hi;
        dim_id above = dim_add(table, dim, dim_const(table, scale - 1));
        if (above == DIM_NONE)
            return false;
        dim_range(table, above, &lo, &hi);
        if (lo >= 0 || coefficients_tell(table, above))
            return true;
        dim = without_division(table, dim, &scale);
    }
    return false;
}

static uint32_t depth_of(const struct dim_table *table, const struct dim_atom *atom)
{
    uint32_t a = dim_expr_of(table, atom->a)->facts.depth;
    uint32_t b = dim_expr_of(table, atom->b)->facts.depth;
    return 1 + (a > b ? a : b);
}

/* A term of dim that has a maximum whose place its operands can take, one that subtracts it, or one
 * that adds it: the deepest, which may hold the others. */
static bool find_max(struct dim_table *table, dim_id dim, bool subtracts, struct dim_term *out_term,
                     uint32_t *out_at)
{
    uint32_t count, deepest = 0;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < terms[i].atom_count; k++) {
            if (terms[i].atoms[k].kind != DIM_ATOM_MAX || (terms[i].coefficient < 0) != subtracts ||
                !others_not_negative(table, &terms[i], k) ||
                depth_of(table, &terms[i].atoms[k]) <= deepest)
                continue;
            deepest = depth_of(table, &terms[i].atoms[k]);
            *out_term = terms[i];
            *out_at = k;
        }
    return deepest > 0;
}

/* dim with an operand in place of the maximum in a term. */
static dim_id with_operand(struct dim_table *table, dim_id dim, const struct dim_term *term,
                           uint32_t at, dim_id operand)
{
    dim_id rest = dim_sub(table, dim, term_dim(table, term, UINT32_MAX));
    return dim_add(table, rest, dim_mul(table, operand, term_dim(table, term, at)));
}

static bool by_cases(struct dim_table *table, dim_id dim, uint32_t *cases)
{
    struct dim_term term;
    uint32_t at;
    if (dim == DIM_NONE || *cases == 0)
        return false;
    --*cases;
    if (dim_sign_tells(table, dim))
        return true;
    int64_t scale = 1;
    bool subtracts = find_max(table, dim, true, &term, &at);
    if (!subtracts) { /* a division of a maximum, say */
        dim_id bound = without_division(table, dim, &scale);
        if (by_cases(table, dim_add(table, bound, dim_const(table, scale - 1)), cases))
            return true;
    }
    if (!subtracts && !find_max(table, dim, false, &term, &at))
        return false;
    const struct dim_atom max = term.atoms[at];
    bool first = by_cases(table, with_operand(table, dim, &term, at, max.a), cases);
    return first != subtracts ? first
                              : by_cases(table, with_operand(table, dim, &term, at, max.b), cases);
}

/* dim by the common divisor of its coefficients. The bounds of divisions are above -1, which is
 * enough for a whole number but not for three times that. */
static dim_id without_factor(struct dim_table *table, dim_id dim)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    int64_t factor = 0;
    for (uint32_t i = 0; i < count && factor != 1; i++)
        factor = gcd_i64(factor, terms[i].coefficient);
    return factor > 1 ? dim_div_exact(table, dim, dim_const(table, factor)) : dim;
}

bool dim_never_negative(struct dim_table *table, dim_id dim)
{
    uint32_t cases = MOST_CASES;
    return dim != DIM_NONE && by_cases(table, without_factor(table, dim), &cases);
}
