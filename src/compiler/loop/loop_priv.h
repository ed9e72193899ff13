/* Inside the loop room: raw interning, and what index.c and expr.c share. */
#ifndef URZA_COMPILER_LOOP_LOOP_PRIV_H
#define URZA_COMPILER_LOOP_LOOP_PRIV_H

#include <assert.h>

#include "compiler/loop/loop.h"

/* By content, operands by id. */
uint64_t expr_hash(const struct expr *e);
bool expr_same(const struct expr *a, const struct expr *b);
/* Interns without any folding. */
expr_id expr_intern(struct nest *nest, struct expr e);
expr_id expr_rebuild(struct nest *nest, const struct expr *e, const expr_id operand[3]);
bool expr_is_bool(const struct nest *nest, expr_id e, bool *out);

#endif
