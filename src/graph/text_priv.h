/* The lexer of the text form. Functions that return bool take what they read on success, and fail
 * with ERR_PARSE (or ERR_LIMIT) and the place in the text; spaces and tabs before it are skipped.
 */
#ifndef URZA_GRAPH_TEXT_PRIV_H
#define URZA_GRAPH_TEXT_PRIV_H

#include "graph/graph_priv.h"

struct parser {
    struct graph *graph;
    const char *start, *at, *end; /* *end is the terminator */
    struct error *err;
};

/* Gives the failure in err the place of `at`, instead of any other. Returns false. */
bool text_place(struct parser *p, const char *at);
/* ERR_PARSE "expected <what>", here. Returns false. */
bool text_expected(struct parser *p, const char *what);

void text_skip_space(struct parser *p);
/* Takes text, which is a word or a sign, when it comes next; no failure otherwise. */
bool text_take(struct parser *p, const char *text);
bool text_expect(struct parser *p, const char *text);
bool text_end_line(struct parser *p);

bool text_word(struct parser *p, char out[LIMIT_NAME + 1], const char *what);
bool text_int(struct parser *p, int64_t min, int64_t max, int64_t *out);
bool text_unsigned(struct parser *p, uint64_t *out);
bool text_decimal(struct parser *p, double *out);
bool text_string(struct parser *p, char out[LIMIT_NAME + 1]);

#endif
