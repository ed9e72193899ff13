/* Loop nests as text: printed for people and tests (`urza compile --dump loops`), and parsed back.
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
 * A line is a declaration or a statement; two spaces more indent one level further. "# …" is a
 * comment. Declarations, in this order:
 *
 *   kernel "NAME"
 *   dim …                                           all named dims, as in the text of graphs
 *   out NAME DTYPE[ELEMENTS] [stream if CONDITION]  the kernel's arguments, in their order
 *   in NAME DTYPE[ELEMENTS]
 *   scratch NAME DTYPE[ELEMENTS]
 *   table NAME DTYPE[ELEMENTS] 0x…                  constants, as bytes
 *   loops NAME, …                                   all variables ever made, as their names are
 *                                                   taken; "" is one that lost its name
 *   locals NAME DTYPE, …                            all of them
 *   order EXPRESSION, …                             any number of lines; see below
 *   edge SIZE at NUMBER
 *
 * The atoms of index arithmetic are sorted by id, that is, by when they were made. `order` makes
 * expressions in that order before all others; without it they are made in the order of reading.
 *
 * Statements:
 *
 *   for NAME [over ROLE] in EXTENT [to FULL] [reduce]
 *   parallel | vector(LANES) | jam | apart …        in place of `for`
 *   if CONDITION … [else …]
 *   local NAME = VALUE                              declaration
 *   NAME += VALUE                                   or *=, max=, min=
 *   BUFFER[INDEX] = VALUE [if GUARD]
 *   prefetch BUFFER[INDEX]
 *   %1 = VALUE                                      a subexpression that the next statement uses
 *                                                   more than once; %1 starts a new list
 *
 * Infix operators, from the loosest to the tightest; all associate to the left:
 *
 *   |
 *   &
 *   == != < <=
 *   + -
 *   * /
 *
 * Other expressions:
 *
 *   f(a, b)                  an operation, as exprs.def names it
 *   f32(a)                   a cast
 *   BUFFER[INDEX if GUARD]   a load
 *   add(a, b), mul(a, b)     i64: an atom, because its normal form would have passed a bound; + and
 *                            * are brought into normal form, however they are written
 *   3, 0.5f, 7:u8, -inf:f32  numbers: i64, f32, all others with their dtype
 *   0x…:f32                  a NaN other than the usual one, as the bits of a double
 *   NAME@3                   the local or buffer of that index, where the name is not unique
 *   dim(B), local(x)         a dim or local with the name of a loop; a dim with that of a local
 *
 * One thread at a time, as with the nest. The text is copied: it need not outlive the call. */
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

/* Parses one nest, of at most LIMIT_JSON_BYTES, into a new one in the arena, with a new table of
 * dims that must live as long as the nest. The result has passed nest_verify.
 *
 * print∘parse is the identity on the output of nest_print, and the parsed nest computes the same
 * bits, also under a schedule. Ids of expressions differ, because unreachable expressions are not
 * printed; so digests differ, and a minimum or maximum that a step makes of older sums may have its
 * operands in another order. ERR_PARSE with place "line L, column C"; ERR_LIMIT past a bound
 * (names, loops, locals, nesting). */
bool nest_parse(struct nest *nest, struct dim_table *dims, struct arena *arena, const char *text,
                size_t size, struct error *err);

#endif
