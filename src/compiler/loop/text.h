/* Loop nests as text, for people and for tests: what `urza compile --dump loops` shows, and back.
 *
 *   kernel "contract+add"
 *     dim B 1..65536 multiple 1 typical 32
 *     out b0 f32[B*10]
 *     in b1 f32[10]
 *     in b2 f32[B*128]
 *     in b3 f32[2048]
 *     loops i0, i1, k
 *     locals acc0 f32
 *     order B, i0, i1, k
 *     for i0 over row in B
 *       for i1 over column in 10
 *         local acc0 = 0f
 *         for k over depth in 128 reduce
 *           acc0 += b2[i0*128 + k]*b3[i1 + k*16]
 *         b0[i0*10 + i1] = acc0 + b1[i1]
 *
 * A line is a declaration or a statement; two spaces more are a level further inside. "# …" is a
 * comment. Declarations stand in the order above:
 *
 *   dim        as in the text of graphs; all named dims of the graph, in their order
 *   out, in, scratch, table    NAME DTYPE[ELEMENTS], in the order of the kernel's arguments; behind
 *              it "stream if CONDITION", or of a table its bytes, 0x…
 *   loops      names of all loop variables, those of no loop any more included: they are taken. ""
 *              is one that has no name any more
 *   locals     all of them
 *   order      expressions that were made first, in this order: the factors of index arithmetic,
 *              because terms and factors are ordered by age. May be left out: then it is the order
 *              of reading. It may be several lines
 *   edge       SIZE at NUMBER
 *
 * Statements:
 *
 *   for NAME [over ROLE] in EXTENT [to FULL] [reduce]    also parallel, vector(LANES), jam, apart
 *   if CONDITION … [else …]
 *   local NAME = VALUE                                   declares
 *   NAME += VALUE                                        also *=, max=, min=
 *   BUFFER[INDEX] = VALUE [if GUARD]
 *   prefetch BUFFER[INDEX]
 *   %1 = VALUE            a name for what the line behind these uses more than once; %1 starts anew
 *
 * Expressions, from what binds most loosely: | & then == != < <= then + - then * / ; all group to
 * the left. Else an operation is written as exprs.def names it, f(a, b); a cast as its dtype,
 * f32(a); BUFFER[INDEX if GUARD] loads. Of i64, a sum or product is in normal form however it is
 * written; add(a, b) and mul(a, b) are those that passed its bounds. Numbers: 3 is i64, 0.5f is
 * f32, all others say their dtype, 7:u8, -inf:f32; a NaN that is not the usual one stands in
 * hexadecimal, as its bits in a double. NAME@3 is the local or buffer of that place where NAME is
 * not enough; dim(B) and local(x) are those whose name is also a loop's (a local's).
 *
 * One thread at a time, as with the nest. Of a text nothing is kept but copies. */
#ifndef URZA_COMPILER_LOOP_TEXT_H
#define URZA_COMPILER_LOOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct dim_table;
struct error;
struct nest;
struct strbuf;

/* Uses the nest's arena. */
void nest_print(const struct nest *nest, struct strbuf *out);

/* Reads one nest, of at most LIMIT_JSON_BYTES, into a fresh one in the arena, with a fresh table of
 * dims, which must live as long. What comes back has passed nest_verify. print∘parse is the
 * identity on what nest_print writes, and the nest computes the same, bit by bit, and under a
 * schedule becomes the same as the one that was printed. But ids of expressions differ, as those
 * that nothing reaches are not written; so digests do, too, and a minimum or maximum that a step
 * makes of sums that were there before may have its operands in another order. ERR_PARSE with "line
 * L, column C" as place; ERR_LIMIT past a bound (names, loops, locals, nesting). */
bool nest_parse(struct nest *nest, struct dim_table *dims, struct arena *arena, const char *text,
                size_t size, struct error *err);

#endif
