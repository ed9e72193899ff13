/* Symbolic dims: integer expressions over named dims, kept in a normal form so that equality is
 * identity.
 *
 * A dim is an interned id in a `dim_table`. The normal form is a polynomial with integer
 * coefficients: a sorted sum of coefficient × product of atoms, where an atom is a named dim, a
 * floor division of two dims, or a maximum of two dims. Two dims that are equal as polynomials have
 * the same id. Named dims declare a range and a divisor, which give every expression an interval.
 * A named dim that is a multiple of m divides by the divisors of m without a rest: 2*(H//2) is H.
 * Indices in loop nests (compiler/loop/loop.h) are polynomials, too, but in a table of their own:
 * theirs are made and dropped with a nest, their atoms are any expressions, loads among them, and
 * they are asked for strides; dims live as long as a graph, print and parse, and are proved about.
 *
 * The table lives in an arena and belongs to one graph; one thread at a time writes it. Every
 * constructor returns DIM_NONE when the exact result cannot be represented (overflow,
 * LIMIT_DIM_TERMS) or when an operand is DIM_NONE, so that a chain needs one check at its end. */
#ifndef URZA_GRAPH_DIM_H
#define URZA_GRAPH_DIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/map.h"

struct error;
struct strbuf;

typedef uint32_t dim_id;
#define DIM_NONE 0u

struct dim_name {
    const char *name;
    int64_t min, max;    /* 0 ≤ min ≤ max ≤ LIMIT_DIM_VALUE */
    int64_t multiple_of; /* ≥ 1 */
    int64_t typical;     /* a value to tune and to show for; 0: none given (dim_typical) */
    const char *why;     /* who restricts it and why, for people; NULL: nobody */
};

/* What a shape rule needed and could not prove. */
enum dim_need { DIM_NEEDS_NOTHING, DIM_NEEDS_NOT_NEGATIVE, DIM_NEEDS_EQUAL };
struct dim_demand {
    enum dim_need need;
    dim_id a, b;  /* a is never negative; a equals b */
    bool repeats; /* of EQUAL: a side that is known to be 1 would do, too, and be repeated */
};
/* Another way to write a dim. */
struct dim_alias {
    const char *name;
    dim_id dim;
};

/* What the model that was read calls a named dim, where that is no legal name. */
struct dim_spelling {
    uint32_t name;
    const char *text;
};

struct dim_expr; /* one interned expression, dim.c */

struct dim_table {
    struct arena *arena;
    struct map interned;
    VEC(struct dim_expr *) exprs; /* by id; [0] is unused */
    VEC(struct dim_name) names;
    VEC(struct dim_alias) aliases;
    VEC(struct dim_spelling) spellings;
    struct dim_demand unproved; /* of the first shape rule that failed since a reader cleared it */
};

void dim_table_init(struct dim_table *table, struct arena *arena);

/* Declares a named dim; its index is its place among the arguments of every kernel. Fails
 * (ERR_BLUEPRINT, ERR_LIMIT) on a bad or double name ([A-Za-z_][A-Za-z0-9_.]*), a bad range, too
 * many names. */
bool dim_declare(struct dim_table *table, const struct dim_name *name, uint32_t *out_index,
                 struct error *err);
/* The legal value (range, multiple) of a named dim that is nearest to the wish; of two, the
 * smaller. */
int64_t dim_legal(const struct dim_name *name, int64_t wish);
/* The value of a dim that nobody gives one: the declared typical one, else the legal one nearest to
 * 8. */
int64_t dim_typical(const struct dim_name *name);
/* From here on dim_parse reads the name as the dim. ERR_BLUEPRINT on a bad or double name. */
bool dim_declare_alias(struct dim_table *table, const char *name, dim_id dim, struct error *err);
/* A named dim or an alias; DIM_NONE: neither. */
dim_id dim_of_name(struct dim_table *table, const char *name);
bool dim_find_name(const struct dim_table *table, const char *name, uint32_t *out_index);
/* Spells a named dim, for people; once. */
void dim_spell(struct dim_table *table, uint32_t name_index, const char *spelling);
/* What people see of a named dim, and may give: its spelling, or its name; dim_find_shown takes
 * both, and of two dims that of the name. */
const char *dim_shown(const struct dim_table *table, uint32_t name_index);
bool dim_find_shown(const struct dim_table *table, const char *shown, uint32_t *out_index);
/* The error for one that dim_find_shown does not find: ERR_USAGE, with what there is. Returns
 * false. */
bool dim_refuse_shown(const struct dim_table *table, const char *shown, struct error *err);

dim_id dim_const(struct dim_table *table, int64_t value);
dim_id dim_named(struct dim_table *table, uint32_t name_index);
dim_id dim_add(struct dim_table *table, dim_id a, dim_id b);
dim_id dim_sub(struct dim_table *table, dim_id a, dim_id b);
dim_id dim_mul(struct dim_table *table, dim_id a, dim_id b);
dim_id dim_floordiv(struct dim_table *table, dim_id a, dim_id b); /* rounds toward -inf; b's range
                                                                     must be > 0 */
dim_id dim_ceildiv(struct dim_table *table, dim_id a, dim_id b);
dim_id dim_max(struct dim_table *table, dim_id a, dim_id b);
dim_id dim_min(struct dim_table *table, dim_id a, dim_id b); /* a + b - max(a, b) */
/* a / b when b divides a as a polynomial with integer coefficients, DIM_NONE otherwise. */
dim_id dim_div_exact(struct dim_table *table, dim_id a, dim_id b);
dim_id dim_product(struct dim_table *table, const dim_id *dims, uint32_t count); /* empty: 1 */

bool dim_is_const(const struct dim_table *table, dim_id dim, int64_t *out_value); /* out_value may
                                                                                     be NULL */
/* Whether dim is a named dim by itself. */
bool dim_is_name(const struct dim_table *table, dim_id dim, uint32_t *out_index);
/* An interval that contains every value under the declared ranges; saturates at ±INT64_MAX. */
void dim_range(const struct dim_table *table, dim_id dim, int64_t *out_min, int64_t *out_max);
/* Whether no value is negative, as far as can be proved (dim_sign.c): dim_range, and terms that
 * outweigh each other, as in x*y - 2*x for y ≥ 2. */
bool dim_never_negative(struct dim_table *table, dim_id dim);
/* Note what a rule needs; false, so that a rule can return it. */
bool dim_needs_not_negative(struct dim_table *table, dim_id dim);
bool dim_needs_equal(struct dim_table *table, dim_id a, dim_id b);
bool dim_needs_broadcast(struct dim_table *table, dim_id a, dim_id b); /* equal, or one of them 1 */
/* A divisor of every value (≥ 1), from coefficients and multiple_of. */
int64_t dim_known_multiple(const struct dim_table *table, dim_id dim);

/* The value at names' values (by index). False on overflow or division by zero. Allocates nothing.
 */
bool dim_eval(const struct dim_table *table, dim_id dim, const int64_t *name_values,
              int64_t *out_value);

/* Copies an expression into another table whose names are the same by name; DIM_NONE when one is
 * missing. */
dim_id dim_import(struct dim_table *to, const struct dim_table *from, dim_id dim);

/* The same where some names have values (by name's index in `from`; DIM_ANY: none given). */
#define DIM_ANY INT64_MIN
dim_id dim_import_at(struct dim_table *to, const struct dim_table *from, const int64_t *values,
                     dim_id dim);

/* Text: "B", "64", "B*S", "2*B + 1", "(H + 1)//2", "max(A, B)". Parsing accepts + - * // max()
 * min() and parentheses over declared names and decimal integers; *text moves behind what was read.
 * ERR_PARSE on bad text, ERR_BLUEPRINT on an unknown name. Nesting is bounded. */
void dim_print(const struct dim_table *table, dim_id dim, struct strbuf *out);
/* As dim_print, with names as people see them: not to be parsed. */
void dim_print_shown(const struct dim_table *table, dim_id dim, struct strbuf *out);
bool dim_parse(struct dim_table *table, const char **text, dim_id *out, struct error *err);

/* How code generation and the plan walk an expression: a sum of terms, each coefficient × atoms. */
enum dim_atom_kind { DIM_ATOM_NAME = 1, DIM_ATOM_FLOORDIV, DIM_ATOM_MAX };
struct dim_atom {
    uint8_t kind;
    uint32_t name;   /* DIM_ATOM_NAME: index of the named dim … */
    int64_t divisor; /* … which is divided by this divisor of its multiple_of */
    dim_id a, b;     /* the others: operands */
};
struct dim_term {
    int64_t coefficient;
    uint32_t atom_count;
    const struct dim_atom *atoms; /* sorted; a power repeats its atom */
};
/* Borrowed for the life of the table. The constant term has no atoms; zero has no terms. */
const struct dim_term *dim_terms(const struct dim_table *table, dim_id dim, uint32_t *out_count);

#endif
