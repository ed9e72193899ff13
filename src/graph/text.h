/* The tokens of text forms: words, punctuation, numbers, strings, declarations of dims. Shared by
 * the text of graphs and that of loop nests (compiler/loop/text.h).
 *
 * A reader is a position in a zero-terminated copy of a text, and never passes its end. Functions
 * that return bool skip spaces and tabs, consume a token on success, and fail with ERR_PARSE (or
 * ERR_LIMIT) and "line L, column C" as place. A reader may be copied, to parse a part again later.
 * It borrows the arena's memory and the error; one thread at a time. */
#ifndef URZA_GRAPH_TEXT_H
#define URZA_GRAPH_TEXT_H

#include "base/limits.h"
#include "graph/dtype.h"

struct arena;
struct dim_table;
struct error;
struct strbuf;

struct text_reader {
    const char *start, *at, *end; /* *end is the terminator */
    struct error *err;
};

/* Copies the text. ERR_LIMIT above LIMIT_JSON_BYTES, ERR_PARSE for a zero byte. */
bool text_open(struct text_reader *out, struct arena *arena, const char *text, size_t size,
               struct error *err);

/* Sets the place of the failure in err to the line and column of `at`. Returns false. */
bool text_place(struct text_reader *in, const char *at);
/* Fails with ERR_PARSE "expected <what>", at the current position. Returns false. */
bool text_expected(struct text_reader *in, const char *what);

void text_skip_space(struct text_reader *in);
/* Consumes text, a word or punctuation, if it comes next; otherwise returns false without an
 * error. */
bool text_take(struct text_reader *in, const char *text);
bool text_expect(struct text_reader *in, const char *text);
bool text_end_line(struct text_reader *in); /* a comment, "# …", may come before it */
/* Moves to the first token of the next non-blank line, which may be the current one, past blank
 * lines and comments; false at the end. */
bool text_next_line(struct text_reader *in);

bool text_word(struct text_reader *in, char out[LIMIT_NAME + 1], const char *what);
bool text_int(struct text_reader *in, int64_t min, int64_t max, int64_t *out);
bool text_unsigned(struct text_reader *in, uint64_t *out);
bool text_decimal(struct text_reader *in, double *out);
/* Parses a number of the given dtype; only the output of its kind (float or integer) is written.
 * Floats may be nan, inf and -inf. */
bool text_number(struct text_reader *in, enum dtype dtype, double *out_value, int64_t *out_integer);
/* Parses "…" of any length into the arena; escapes as in JSON, of ASCII characters only. */
bool text_string(struct text_reader *in, struct arena *arena, const char **out);
/* Parses "0x…", of at most limit bytes, into the arena. */
bool text_hex(struct text_reader *in, struct arena *arena, size_t limit, const void **out,
              uint32_t *out_bytes);
/* Parses the rest of a line after the word "dim", and the line's end: "B 1..64 multiple 1".
 * Declares the dim; ERR_BLUEPRINT and ERR_LIMIT as dim_declare. */
bool text_dim(struct text_reader *in, struct dim_table *dims);

void text_print_string(const char *text, struct strbuf *out); /* in quotes, with JSON's escapes */
void text_print_number(enum dtype dtype, double value, int64_t integer, struct strbuf *out);
void text_print_hex(const void *bytes, uint32_t size_bytes, struct strbuf *out);
/* Prints a line "dim …" for each named dim. */
void text_print_dims(const struct dim_table *dims, const char *indent, struct strbuf *out);

#endif
