/* Whether an expression is proved not to be negative, where its interval alone does not say so.
 *
 * Each negative term is paid for by positive ones that hold all its atoms: as x*y ≥ min(x)·y, a
 * term 2*x*y with x ≥ 32 pays for 64 times y. A positive term is spent as it pays. Where that does
 * not do, floor divisions by a number are replaced by their bounds, which share terms with the
 * rest:
 *
 *   (a - b + 1)/b ≤ floor(a/b) ≤ a/b
 *
 * A proof that is not found is no proof of the contrary. */
#include "graph/dim_priv.h"

#define MOST_TERMS 64
#define MOST_DIVISIONS 16
#define ROUNDING 1e-12 /* relative: what is spent is rounded up by so much */

static double least(const struct dim_table *table, const struct dim_atom *atom)
{
    int64_t lo, hi;
    dim_atom_range(table, atom, &lo, &hi);
    return (double)lo;
}

static bool same_atom(const struct dim_atom *a, const struct dim_atom *b)
{
    return a->kind == b->kind && a->name == b->name && a->a == b->a && a->b == b->b;
}

static bool atoms_not_negative(const struct dim_table *table, const struct dim_term *term)
{
    for (uint32_t i = 0; i < term->atom_count; i++)
        if (least(table, &term->atoms[i]) < 0)
            return false;
    return true;
}

/* The least value of large's atoms without those of small; 0 when small has others. Atoms are
 * sorted. */
static double least_quotient(const struct dim_table *table, const struct dim_term *large,
                             const struct dim_term *small)
{
    double product = 1;
    uint32_t next = 0;
    for (uint32_t i = 0; i < large->atom_count; i++) {
        if (next < small->atom_count && same_atom(&large->atoms[i], &small->atoms[next]))
            next++;
        else
            product *= least(table, &large->atoms[i]);
    }
    return next == small->atom_count ? product : 0;
}

static bool positive_terms_pay(const struct dim_table *table, dim_id dim)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    double left[MOST_TERMS];
    if (count > MOST_TERMS)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        left[i] = (double)terms[i].coefficient;
        if (!atoms_not_negative(table, &terms[i]))
            return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        double need = -left[i];
        for (uint32_t p = 0; need > 0 && p < count; p++) {
            double worth = left[p] > 0 ? least_quotient(table, &terms[p], &terms[i]) : 0;
            double paid = left[p] * worth < need ? left[p] * worth : need;
            if (worth <= 0)
                continue;
            need -= paid;
            left[p] -= paid / worth * (1 + ROUNDING);
        }
        if (need > 0)
            return false;
    }
    return true;
}

static dim_id atom_dim(struct dim_table *table, const struct dim_atom *atom)
{
    switch ((enum dim_atom_kind)atom->kind) {
    case DIM_ATOM_NAME: return dim_named(table, atom->name);
    case DIM_ATOM_FLOORDIV: return dim_floordiv(table, atom->a, atom->b);
    case DIM_ATOM_MAX: return dim_max(table, atom->a, atom->b);
    }
    return DIM_NONE;
}

/* coefficient × atoms, without the one at `without`. */
static dim_id term_dim(struct dim_table *table, const struct dim_term *term, uint32_t without)
{
    dim_id product = dim_const(table, term->coefficient);
    for (uint32_t i = 0; i < term->atom_count; i++)
        if (i != without)
            product = dim_mul(table, product, atom_dim(table, &term->atoms[i]));
    return product;
}

/* The divisor times an expression that is not larger, with one floor division less; DIM_NONE where
 * there is none. */
static dim_id without_division(struct dim_table *table, dim_id dim)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(table, dim, &count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < terms[i].atom_count; k++) {
            struct dim_atom atom = terms[i].atoms[k];
            int64_t by;
            if (atom.kind != DIM_ATOM_FLOORDIV || !dim_is_const(table, atom.b, &by) ||
                !atoms_not_negative(table, &terms[i]))
                continue;
            int64_t off = terms[i].coefficient < 0 ? 0 : by - 1;
            dim_id rest = dim_sub(table, dim, term_dim(table, &terms[i], UINT32_MAX));
            dim_id bound = dim_sub(table, atom.a, dim_const(table, off));
            return dim_add(table, dim_mul(table, rest, atom.b),
                           dim_mul(table, bound, term_dim(table, &terms[i], k)));
        }
    return DIM_NONE;
}

bool dim_never_negative(struct dim_table *table, dim_id dim)
{
    for (int i = 0; i <= MOST_DIVISIONS && dim != DIM_NONE; i++) {
        int64_t lo, hi;
        dim_range(table, dim, &lo, &hi);
        if (lo >= 0 || positive_terms_pay(table, dim))
            return true;
        dim = without_division(table, dim);
    }
    return false;
}
