/* Shared by the graph passes. */
#ifndef URZA_COMPILER_OPT_OPT_PRIV_H
#define URZA_COMPILER_OPT_OPT_PRIV_H

#include "compiler/opt/opt.h"

struct builder;

/* By value: whether it depends on inputs or sizes of a call. The others depend on parameters and
 * constants only. */
bool *values_per_call(const struct graph *graph, struct arena *arena);

/* outputs.c: whether an output shares its value with something else, or is known before a call. */
bool output_is_shared(const struct graph *g, uint32_t output, const bool *per_call);

/* panels.c: whether consecutive indices in dim are consecutive elements of the memory behind the
 * views. */
bool columns_contiguous(struct graph *g, value_id v, int dim);
/* b[batch…, n…, k…] as views around a stored copy, in which dim `column` is last. */
value_id columns_last(struct builder *b, value_id v, uint32_t column);
/* v[…, n, k] as views around a stored copy with k last, whose rows lie an odd number of cache lines
 * apart: otherwise rows of some lengths are all in the same few sets of a cache. */
value_id rows_apart(struct builder *b, value_id v);
/* b[batch…, n, k] as views around a stored copy in panels of columns, [batch…, n/P, k, P]. */
value_id columns_in_panels(struct builder *b, value_id v, int64_t panel);
/* The same for a parameter whose first dim is n, and the others k. */
value_id pack_param(struct builder *b, value_id w, int64_t panel);
/* Whether v may have one dim more, and the padding is provably not negative. */
bool fits_panels(struct builder *b, value_id v, int64_t panel);

/* products.c: whether a convolution is a product of its weights and single pixels (window 1, stride
 * 1). */
bool unit_window(const struct node *conv, const struct node *w, const struct graph *g);

typedef bool pass_fn(struct graph *to, struct arena *arena, const struct graph *from,
                     const struct target *target, struct error *err);
#define PASS(name, function, ...) pass_fn function;
#include "compiler/opt/passes.def"
#undef PASS

#endif
