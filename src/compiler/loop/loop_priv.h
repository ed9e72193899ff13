/* Inside the loop room: interning without folding, and what its files share. */
#ifndef URZA_COMPILER_LOOP_LOOP_PRIV_H
#define URZA_COMPILER_LOOP_LOOP_PRIV_H

#include <assert.h>

#include "compiler/loop/loop.h"

/* expr.index of an i64 ADD or MUL that is an atom, because its normal form would have passed a
 * bound. */
#define EXPR_OPAQUE 1u

/* The name of an operation in text ("floordiv"), and its infix sign with the spaces around it (NULL
 * if it has none). */
const char *expr_op_text(enum expr_op op);
const char *expr_op_infix(enum expr_op op);
/* The precedence of an infix sign; EXPR_PRIMARY for everything else. Signs of equal precedence
 * associate to the left. */
int expr_op_level(enum expr_op op);
#define EXPR_PRIMARY 6
bool expr_is_opaque(const struct expr *e);

bool nest_find_var(const struct nest *nest, const char *name, uint32_t *out);

/* Of an expression's own fields; operands count as ids. */
uint64_t expr_hash(const struct expr *e);
bool expr_same(const struct expr *a, const struct expr *b);
/* Interns e as it is, without folding. */
expr_id expr_intern(struct nest *nest, struct expr e);
expr_id expr_rebuild(struct nest *nest, const struct expr *e, const expr_id operand[3]);
/* The upper bound (exclusive) of a variable; EXPR_NONE: none. The loop may run to `full`, and then
 * takes those values, too. */
expr_id nest_var_bound(const struct nest *nest, uint32_t var);
/* Whether an index is negative at one of a few legal points; "no" says nothing. */
bool index_refuted(const struct nest *nest, expr_id e);
bool expr_is_bool(const struct nest *nest, expr_id e, bool *out);

#endif
