/* Inside the loop room: raw interning, and what index.c and expr.c share. */
#ifndef URZA_COMPILER_LOOP_LOOP_PRIV_H
#define URZA_COMPILER_LOOP_LOOP_PRIV_H

#include <assert.h>

#include "compiler/loop/loop.h"

/* expr.index of an i64 sum or product that is an atom: it passed a bound of the normal form. */
#define EXPR_OPAQUE 1u

/* What the text calls operations: "floordiv"; infix signs with their spaces, NULL for the rest. */
const char *expr_op_text(enum expr_op op);
const char *expr_op_infix(enum expr_op op);
/* How tightly an infix sign binds; EXPR_PRIMARY for all else. Equals group to the left. */
int expr_op_level(enum expr_op op);
#define EXPR_PRIMARY 6
bool expr_is_opaque(const struct expr *e);

bool nest_find_var(const struct nest *nest, const char *name, uint32_t *out);

/* By content, operands by id. */
uint64_t expr_hash(const struct expr *e);
bool expr_same(const struct expr *a, const struct expr *b);
/* Interns without any folding. */
expr_id expr_intern(struct nest *nest, struct expr e);
expr_id expr_rebuild(struct nest *nest, const struct expr *e, const expr_id operand[3]);
bool expr_is_bool(const struct nest *nest, expr_id e, bool *out);

#endif
