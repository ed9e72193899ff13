/* Dims from the inside: polynomials under construction, and what interning knows of an expression.
 *
 * A `struct poly` lives on the stack, fixed in size; poly_intern turns it into an id. Functions
 * that return bool are false when the exact result passes a limit or overflows; what they fill is
 * then meaningless. */
#ifndef URZA_GRAPH_DIM_PRIV_H
#define URZA_GRAPH_DIM_PRIV_H

#include "base/limits.h"
#include "graph/dim.h"

enum {
    DIM_MAX_ATOMS = 8,   /* atoms of one term */
    DIM_MAX_DEPTH = 16,  /* floor divisions and maxima inside each other */
    DIM_MAX_SIZE = 4096, /* atoms and terms of an expression written out as a tree */
};

struct term {
    int64_t coefficient; /* never 0 inside a poly, never INT64_MIN */
    uint32_t atom_count;
    struct dim_atom atoms[DIM_MAX_ATOMS]; /* sorted */
};

/* While a poly is under construction, an atom of a named dim stands for name / multiple_of, so that
 * the quotients of a name are integer multiples of one atom. Interned terms are written with whole
 * names as far as their coefficients allow. Terms by falling degree, then by atoms: a monomial
 * order, so that long division works. */
struct poly {
    uint32_t count;
    struct term terms[LIMIT_DIM_TERMS];
};

struct dim_facts {
    int64_t min, max; /* ±INT64_MAX stands for no bound */
    int64_t multiple; /* divides every value; 0: the value is always 0 */
    uint32_t depth, size;
};

struct dim_expr {
    uint32_t term_count;
    const struct dim_term *terms;
    struct dim_facts facts;
};

const struct dim_expr *dim_expr_of(const struct dim_table *table, dim_id dim);

/* An order by structure, 0 only for equal ids: <0, 0, >0. */
int dim_compare(const struct dim_table *table, dim_id a, dim_id b);

/* Makes it 0. Its terms stay as they are: there is room for many, and few are ever used. */
static inline void poly_clear(struct poly *poly)
{
    poly->count = 0;
}

struct term term_const(int64_t value);
struct term term_load(const struct dim_table *table, const struct dim_term *term);
bool term_mul(const struct dim_table *table, const struct term *a, const struct term *b,
              struct term *out);
bool term_div(const struct term *a, const struct term *b, struct term *out); /* exactly */

bool poly_add(const struct dim_table *table, struct poly *poly, const struct term *term);
/* Adds factor × dim. */
bool poly_add_scaled(const struct dim_table *table, struct poly *poly, const struct term *factor,
                     dim_id dim);
dim_id poly_intern(struct dim_table *table, const struct poly *poly);

/* False: the expression is too deep or too large. May intern others. */
bool dim_facts_find(struct dim_table *table, const struct poly *poly, struct dim_facts *out);
void dim_atom_range(const struct dim_table *table, const struct dim_atom *atom, int64_t *out_min,
                    int64_t *out_max);
/* An atom in normal form, as terms hold them. */
dim_id intern_atom(struct dim_table *table, struct dim_atom atom);
/* What dim_never_negative is proved with; it makes no maximum, so that these may ask it. */
bool dim_sign_tells(struct dim_table *table, dim_id dim);
int64_t floor_div(int64_t a, int64_t b); /* b > 0 */
int64_t gcd_i64(int64_t a, int64_t b);   /* ≥ 0 */

#endif
