/* Inside the graph passes. */
#ifndef URZA_COMPILER_OPT_OPT_PRIV_H
#define URZA_COMPILER_OPT_OPT_PRIV_H

#include "compiler/opt/opt.h"

/* By value: whether it is known only when a call brings inputs and sizes. The rest follows from
 * parameters and constants. */
bool *values_per_call(const struct graph *graph, struct arena *arena);

/* Marks, by value, what is computed row by row in the kernel of the product that reads it, and by
 * product the value to put down as a row (rows.c). */
void rows_find(const struct graph *graph, const bool *live, bool *out_member, value_id *out_staged);

typedef bool pass_fn(struct graph *to, struct arena *arena, const struct graph *from,
                     const struct target *target, struct error *err);
#define PASS(name, function, doc) pass_fn function;
#include "compiler/opt/passes.def"
#undef PASS

#endif
