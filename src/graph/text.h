/* The pieces of text forms: words, signs, numbers, strings, declared dims. The text of graphs is
 * made of them, and that of loop nests (compiler/loop/text.h).
 *
 * A reader stands in a terminated copy of a text and never passes its end. Functions that return
 * bool take what they read on success, and fail with ERR_PARSE (or ERR_LIMIT) and "line L, column
 * C" as place; spaces and tabs before it are skipped. A reader may be copied, to read a part again
 * later. It borrows the arena's memory and the error; one thread. */
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

/* Copies the text. ERR_LIMIT past LIMIT_JSON_BYTES, ERR_PARSE for a zero byte. */
bool text_open(struct text_reader *out, struct arena *arena, const char *text, size_t size,
               struct error *err);

/* Gives the failure in err the place of `at`, instead of any other. Returns false. */
bool text_place(struct text_reader *in, const char *at);
/* ERR_PARSE "expected <what>", here. Returns false. */
bool text_expected(struct text_reader *in, const char *what);

void text_skip_space(struct text_reader *in);
/* Takes text, which is a word or a sign, when it comes next; no failure otherwise. */
bool text_take(struct text_reader *in, const char *text);
bool text_expect(struct text_reader *in, const char *text);
bool text_end_line(struct text_reader *in); /* a comment, "# …", may stand before it */
/* Moves to the first sign of the next line that holds one, here or further on, past blank lines and
 * comments; false at the end. */
bool text_next_line(struct text_reader *in);

bool text_word(struct text_reader *in, char out[LIMIT_NAME + 1], const char *what);
bool text_int(struct text_reader *in, int64_t min, int64_t max, int64_t *out);
bool text_unsigned(struct text_reader *in, uint64_t *out);
bool text_decimal(struct text_reader *in, double *out);
/* A number of a dtype; only that of its kind is written. Floats: nan, inf and -inf, too. */
bool text_number(struct text_reader *in, enum dtype dtype, double *out_value, int64_t *out_integer);
/* "…" of any length, into the arena; escapes as in JSON, of ASCII characters only. */
bool text_string(struct text_reader *in, struct arena *arena, const char **out);
/* "0x…", at most limit bytes, into the arena. */
bool text_hex(struct text_reader *in, struct arena *arena, size_t limit, const void **out,
              uint32_t *out_bytes);
/* What stands behind the word "dim" of a line, and the line's end: "B 1..64 multiple 1". Declares
 * it; ERR_BLUEPRINT and ERR_LIMIT as dim_declare. */
bool text_dim(struct text_reader *in, struct dim_table *dims);

void text_print_string(const char *text, struct strbuf *out); /* in quotes, with JSON's escapes */
void text_print_number(enum dtype dtype, double value, int64_t integer, struct strbuf *out);
void text_print_hex(const void *bytes, uint32_t size_bytes, struct strbuf *out);
/* A line "dim …" for each named dim. */
void text_print_dims(const struct dim_table *dims, const char *indent, struct strbuf *out);

#endif
