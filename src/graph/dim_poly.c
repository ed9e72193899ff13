/* The normal form: sums of terms, sorted and merged, and their interning.
 *
 * Invariants:
 * 1. A poly's terms have distinct atoms and coefficients other than 0 and INT64_MIN (whose negation
 * would not fit).
 * 2. The order of atoms depends on what they are, never on ids, so that the same graph prints the
 * same text whatever was interned before. */
#include "graph/dim_priv.h"

#include <assert.h>

#include "base/checked.h"
#include "base/hash.h"

const struct dim_expr *dim_expr_of(const struct dim_table *table, dim_id dim)
{
    assert(dim != DIM_NONE && dim < table->exprs.count);
    return table->exprs.items[dim];
}

static int compare_atoms(const struct dim_table *table, const struct dim_atom *a,
                         const struct dim_atom *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->kind == DIM_ATOM_NAME)
        return a->name < b->name ? -1 : a->name > b->name;
    int order = dim_compare(table, a->a, b->a);
    return order != 0 ? order : dim_compare(table, a->b, b->b);
}

static int compare_monomials(const struct dim_table *table, const struct dim_atom *a,
                             uint32_t a_count, const struct dim_atom *b, uint32_t b_count)
{
    if (a_count != b_count)
        return a_count > b_count ? -1 : 1;
    for (uint32_t i = 0; i < a_count; i++) {
        int order = compare_atoms(table, &a[i], &b[i]);
        if (order != 0)
            return order;
    }
    return 0;
}

/* Different ids are different expressions, so only one pair of operands is ever entered at each
 * level. */
int dim_compare(const struct dim_table *table, dim_id a, dim_id b)
{
    if (a == b)
        return 0;
    const struct dim_expr *x = dim_expr_of(table, a), *y = dim_expr_of(table, b);
    for (uint32_t i = 0; i < x->term_count && i < y->term_count; i++) {
        const struct dim_term *s = &x->terms[i], *t = &y->terms[i];
        int order = compare_monomials(table, s->atoms, s->atom_count, t->atoms, t->atom_count);
        if (order != 0)
            return order;
        struct term u = term_load(table, s), v = term_load(table, t);
        if (u.coefficient != v.coefficient)
            return u.coefficient < v.coefficient ? -1 : 1;
    }
    return x->term_count < y->term_count ? -1 : 1;
}

struct term term_const(int64_t value)
{
    return (struct term){.coefficient = value};
}

struct term term_load(const struct dim_table *table, const struct dim_term *term)
{
    struct term out = {.coefficient = term->coefficient, .atom_count = term->atom_count};
    assert(term->atom_count <= DIM_MAX_ATOMS);
    for (uint32_t i = 0; i < term->atom_count; i++) {
        struct dim_atom *atom = &out.atoms[i];
        *atom = term->atoms[i];
        if (atom->kind != DIM_ATOM_NAME)
            continue;
        out.coefficient *= table->names.items[atom->name].multiple_of / atom->divisor;
        atom->divisor = table->names.items[atom->name].multiple_of;
    }
    return out;
}

/* The reverse: as many whole names as the coefficient has multiples for, the first ones first. */
static void write_names(struct term *term)
{
    for (uint32_t i = 0; i < term->atom_count; i++) {
        struct dim_atom *atom = &term->atoms[i];
        if (atom->kind != DIM_ATOM_NAME)
            continue;
        int64_t common = gcd_i64(term->coefficient, atom->divisor);
        term->coefficient /= common;
        atom->divisor /= common;
    }
}

bool term_mul(const struct dim_table *table, const struct term *a, const struct term *b,
              struct term *out)
{
    struct term product = {.atom_count = a->atom_count + b->atom_count};
    if (product.atom_count > DIM_MAX_ATOMS ||
        !checked_mul_i64(a->coefficient, b->coefficient, &product.coefficient))
        return false;
    for (uint32_t i = 0, j = 0, k = 0; k < product.atom_count; k++) {
        bool from_a = j == b->atom_count ||
                      (i < a->atom_count && compare_atoms(table, &a->atoms[i], &b->atoms[j]) <= 0);
        product.atoms[k] = from_a ? a->atoms[i++] : b->atoms[j++];
    }
    *out = product;
    return true;
}

static bool same_atom(const struct dim_atom *a, const struct dim_atom *b)
{
    return a->kind == b->kind && a->name == b->name && a->a == b->a && a->b == b->b;
}

bool term_div(const struct term *a, const struct term *b, struct term *out)
{
    if (b->coefficient == 0 || a->coefficient % b->coefficient != 0)
        return false;
    struct term quotient = {.coefficient = a->coefficient / b->coefficient};
    uint32_t used = 0;
    for (uint32_t i = 0; i < a->atom_count; i++) {
        if (used < b->atom_count && same_atom(&a->atoms[i], &b->atoms[used]))
            used++;
        else
            quotient.atoms[quotient.atom_count++] = a->atoms[i];
    }
    if (used < b->atom_count)
        return false;
    *out = quotient;
    return true;
}

bool poly_add(const struct dim_table *table, struct poly *poly, const struct term *term)
{
    if (term->coefficient == 0)
        return true;
    uint32_t at = 0;
    int order = -1;
    for (; at < poly->count; at++) {
        const struct term *other = &poly->terms[at];
        order = compare_monomials(table, term->atoms, term->atom_count, other->atoms,
                                  other->atom_count);
        if (order <= 0)
            break;
    }
    if (at < poly->count && order == 0) {
        int64_t *sum = &poly->terms[at].coefficient;
        if (!checked_add_i64(*sum, term->coefficient, sum) || *sum == INT64_MIN)
            return false;
        if (*sum == 0) {
            poly->count--;
            for (uint32_t i = at; i < poly->count; i++)
                poly->terms[i] = poly->terms[i + 1];
        }
        return true;
    }
    if (poly->count == LIMIT_DIM_TERMS || term->coefficient == INT64_MIN)
        return false;
    for (uint32_t i = poly->count; i > at; i--)
        poly->terms[i] = poly->terms[i - 1];
    poly->terms[at] = *term;
    poly->count++;
    return true;
}

bool poly_add_scaled(const struct dim_table *table, struct poly *poly, const struct term *factor,
                     dim_id dim)
{
    const struct dim_expr *expr = dim_expr_of(table, dim);
    for (uint32_t i = 0; i < expr->term_count; i++) {
        struct term term = term_load(table, &expr->terms[i]), product;
        if (!term_mul(table, factor, &term, &product) || !poly_add(table, poly, &product))
            return false;
    }
    return true;
}

static uint64_t hash_poly(const struct poly *poly)
{
    uint64_t hash = poly->count;
    for (uint32_t i = 0; i < poly->count; i++) {
        const struct term *term = &poly->terms[i];
        hash = hash64_mix(hash, (uint64_t)term->coefficient);
        hash = hash64_mix(hash, term->atom_count);
        for (uint32_t j = 0; j < term->atom_count; j++) {
            const struct dim_atom *atom = &term->atoms[j];
            hash = hash64_mix(hash, (uint64_t)atom->kind << 32 | atom->name);
            hash = hash64_mix(hash, (uint64_t)atom->a << 32 | atom->b);
            hash = hash64_mix(hash, (uint64_t)atom->divisor);
        }
    }
    return hash;
}

static bool same_poly(const struct dim_expr *expr, const struct poly *poly)
{
    if (expr->term_count != poly->count)
        return false;
    for (uint32_t i = 0; i < poly->count; i++) {
        const struct dim_term *a = &expr->terms[i];
        const struct term *b = &poly->terms[i];
        if (a->coefficient != b->coefficient || a->atom_count != b->atom_count)
            return false;
        for (uint32_t j = 0; j < a->atom_count; j++)
            if (!same_atom(&a->atoms[j], &b->atoms[j]) ||
                a->atoms[j].divisor != b->atoms[j].divisor)
                return false;
    }
    return true;
}

static const struct dim_term *store_terms(struct arena *arena, const struct poly *poly)
{
    struct dim_term *terms = ARENA_ARRAY(arena, struct dim_term, poly->count);
    for (uint32_t i = 0; i < poly->count; i++) {
        const struct term *term = &poly->terms[i];
        struct dim_atom *atoms = ARENA_ARRAY(arena, struct dim_atom, term->atom_count);
        for (uint32_t j = 0; j < term->atom_count; j++)
            atoms[j] = term->atoms[j];
        terms[i] = (struct dim_term){term->coefficient, term->atom_count, atoms};
    }
    return terms;
}

dim_id poly_intern(struct dim_table *table, const struct poly *poly)
{
    struct poly written;
    written.count = poly->count;
    for (uint32_t i = 0; i < poly->count; i++) {
        written.terms[i] = poly->terms[i];
        write_names(&written.terms[i]);
    }
    uint64_t hash = hash_poly(&written);
    uint32_t cursor = 0, id;
    while (map_next(&table->interned, hash, &cursor, &id))
        if (same_poly(dim_expr_of(table, id), &written))
            return id;
    struct dim_facts facts;
    if (!dim_facts_find(table, poly, &facts))
        return DIM_NONE;
    struct dim_expr *expr = ARENA_NEW(table->arena, struct dim_expr);
    expr->term_count = poly->count;
    expr->terms = store_terms(table->arena, &written);
    expr->facts = facts;
    id = table->exprs.count;
    VEC_PUSH(table->arena, &table->exprs, expr);
    map_add(&table->interned, table->arena, hash, id);
    return id;
}
