/* Which sizes are tried of a package, and what checking costs there. Pure functions; what they
 * return lies in the arena that they are given. */
#ifndef URZA_VERIFY_SIZES_H
#define URZA_VERIFY_SIZES_H

#include "package/package.h"

struct verify_options;

#define SIZES_MAX 128
#define SIZE_BYTES 80 /* of its text */
struct size {
    int64_t dims[LIMIT_NAMED_DIMS];
    const char *why; /* "typical", "around 12 of B*S" */
    enum size_way {
        SIZE_USUAL,  /* kernels, then the runtime */
        SIZE_BARE,   /* kernels only, few elements of their results compared */
        SIZE_GLANCE, /* still fewer */
        SIZE_FAR     /* a few iterations of kernels by themselves (far.c) */
    } way;
    double cost; /* of the reference: operations, roughly */
};
/* From this cost on a size is run no more often than it must be. */
#define SIZE_HEAVY 5e7
struct sizes {
    struct size items[SIZES_MAX];
    uint32_t count; /* the typical one first */
};
/* What the interpreter computes, roughly: operations. Elements of all values, but for parameters.
 * INFINITY when a dim has no value. */
double graph_cost(const struct graph *graph, const int64_t *dims);
double graph_cells(const struct graph *graph, const int64_t *dims);
/* What one element of one node takes, at most: terms of a sum, of products or not, or of a window.
 */
double graph_depth(const struct graph *graph, const int64_t *dims);
/* Terms of the longest sum that is no sum of products; 0: there is none. */
int64_t graph_terms(const struct graph *graph, const int64_t *dims);
/* Whether a comparison, a rounding step or the like makes results jump. */
bool any_jumps(const struct graph *graph);
/* Memory that checking a target takes at these sizes, roughly: bytes. */
double sizes_memory(const struct package_contents *contents, const struct package_target *target,
                    const struct sizes *sizes);
/* Sizes that reach every way through the code of a target, as far as `budget` operations of the
 * reference go. With options->dims that one. ERR_USAGE. */
struct size_wish {
    const struct package_contents *contents;
    const struct package_target *target; /* NULL: for the graph alone */
    const struct verify_options *options;
    double budget;
};
bool sizes_choose(const struct size_wish *wish, struct arena *arena, struct sizes *out,
                  struct error *err);
/* "B=8 S=3" */
void size_print(const struct dim_table *dims, const struct size *size, char *out, size_t bytes);

#endif
