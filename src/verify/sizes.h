/* The sizes at which a package is tested, and what testing costs there. Pure functions; results
 * live in the arena passed to them. */
#ifndef URZA_VERIFY_SIZES_H
#define URZA_VERIFY_SIZES_H

#include "package/package.h"

struct verify_options;

#define SIZES_MAX 600 /* of all specialisations together, and beside them */
#define SIZE_BYTES 80 /* of a size as text */
struct size {
    int64_t dims[LIMIT_NAMED_DIMS];
    const char *why; /* "typical", "around 12 of B*S" */
    enum size_way {
        SIZE_USUAL,  /* kernels are judged, then the runtime */
        SIZE_BARE,   /* only kernels run, and few elements are compared */
        SIZE_GLANCE, /* as BARE, with still fewer elements */
        SIZE_FAR     /* only a few iterations of each kernel run (far.c) */
    } way;
    uint32_t special; /* the plan's, whose kernels run; PLAN_NONE */
    double cost;      /* of the reference, in operations, approximately */
};
#define SIZES_THOROUGH 4 /* the budget of thorough verification, over that of a usual one */
/* At sizes that cost this much or more, nothing runs more often than necessary. */
#define SIZE_HEAVY 5e7
struct sizes {
    struct size items[SIZES_MAX];
    uint32_t count; /* the typical size comes first, then those of specialisations */
};
/* The approximate cost of interpreting the graph, in operations: elements of all values except
 * parameters. INFINITY when a dim has no value. */
double graph_cost(const struct graph *graph, const int64_t *dims);
/* The same, with values of loops counted in each trip. */
double graph_cost_whole(const struct graph *graph, const int64_t *dims);
double graph_cells(const struct graph *graph, const int64_t *dims);
/* The largest number of terms from which one element of a node is computed: of a sum (of products
 * or not) or of a window.
 */
double graph_depth(const struct graph *graph, const int64_t *dims);
/* Terms of the longest sum that is not a sum of products; 0: there is none. */
int64_t graph_terms(const struct graph *graph, const int64_t *dims);
/* Whether the graph has prims whose results jump, such as comparisons and rounding steps. */
bool any_jumps(const struct graph *graph);
/* The approximate memory for checking a target at these sizes, in bytes. */
double sizes_memory(const struct package_contents *contents, const struct package_target *target,
                    const struct sizes *sizes);
/* Chooses sizes that reach every code path of a target's kernels, as far as `budget` operations of
 * the reference allow, those at the sizes of specialisations among them. A thorough choice has the
 * sizes that are judged in a usual one whose budget is 1 / SIZES_THOROUGH of its own, and others.
 * With options->dims, that size only. ERR_USAGE; ERR_LIMIT where a specialisation is too large. */
struct size_wish {
    const struct package_contents *contents;
    const struct package_target *target; /* NULL: for the graph only */
    const struct verify_options *options;
    double budget;
};
bool sizes_choose(const struct size_wish *wish, struct arena *arena, struct sizes *out,
                  struct error *err);
/* "B=8 S=3" */
void size_print(const struct dim_table *dims, const struct size *size, char *out, size_t bytes);

#endif
