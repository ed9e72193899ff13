/* Shared by the parser of statements (parse.c) and that of expressions (parse_expr.c). */
#ifndef URZA_COMPILER_LOOP_PARSE_PRIV_H
#define URZA_COMPILER_LOOP_PARSE_PRIV_H

#include "compiler/loop/loop_priv.h"
#include "graph/text.h"

struct nest_parser {
    struct text_reader in;
    struct nest *nest;
    VEC(expr_id) names; /* values of %1, %2 … */
    int depth;          /* open brackets */
};

/* Fails with "expected `what`" at position `at`. Returns false. */
bool nest_expected(struct nest_parser *p, const char *at, const char *what);

bool nest_dtype(struct nest_parser *p, enum dtype *out);
/* NAME or NAME@3, behind NAME, which stands at `at`. */
bool nest_find_buffer(struct nest_parser *p, const char *name, const char *at, uint32_t *out);
bool nest_find_local(struct nest_parser *p, const char *name, const char *at, uint32_t *out);

/* Parses an expression: of any dtype, or of the given one. */
bool nest_expr(struct nest_parser *p, expr_id *out);
bool nest_typed(struct nest_parser *p, enum dtype dtype, expr_id *out);

#endif
