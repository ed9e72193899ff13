/* Inside the graph passes. */
#ifndef URZA_COMPILER_OPT_OPT_PRIV_H
#define URZA_COMPILER_OPT_OPT_PRIV_H

#include "compiler/opt/opt.h"

struct builder;

/* By value: whether it is known only when a call brings inputs and sizes. The rest follows from
 * parameters and constants. */
bool *values_per_call(const struct graph *graph, struct arena *arena);

/* outputs.c: whether an output is no value of its own, or known before a call. */
bool output_is_shared(const struct graph *g, uint32_t output, const bool *per_call);

/* panels.c. Whether neighbours along dim are neighbours in the memory behind the views. */
bool columns_contiguous(struct graph *g, value_id v, int dim);
/* b[batch…, n…, k…] with its n dim `column` moved to the end of a stored copy. */
value_id columns_last(struct builder *b, value_id v, uint32_t column);
/* b[batch…, n, k] through a stored copy [batch…, n/P, k, P]: panels of columns. */
value_id columns_in_panels(struct builder *b, value_id v, int64_t panel);
/* The same for a parameter whose first dim is n, and the others k. */
value_id pack_param(struct builder *b, value_id w, int64_t panel);
/* Whether there is room for the further dim, and the padding is known not to be negative. */
bool fits_panels(struct builder *b, value_id v, int64_t panel);

/* products.c: whether a convolution is a product of its weights and single pixels. */
bool unit_window(const struct node *conv, const struct node *w, const struct graph *g);

typedef bool pass_fn(struct graph *to, struct arena *arena, const struct graph *from,
                     const struct target *target, struct error *err);
#define PASS(name, function, ...) pass_fn function;
#include "compiler/opt/passes.def"
#undef PASS

#endif
