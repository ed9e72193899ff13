/* Choosing sizes: the state, and what sizes.c and sizes_edges.c ask of each other. */
#ifndef URZA_VERIFY_SIZES_PRIV_H
#define URZA_VERIFY_SIZES_PRIV_H

#include "verify/sizes.h"

/* State of choosing sizes for one target. */
struct chooser {
    const struct package_contents *contents;
    const struct dim_table *dims;
    const struct plan *plan; /* NULL: the graph alone */
    const bool *distinct;    /* by forward launch */
    double budget;           /* of the present round; one size may cost a part of it */
    double limit;            /* that `spent` may reach at present */
    double spent;
    double bare; /* limit on the cost of a size at which only kernels run */
    double far;  /* limit where only some iterations run */
    struct arena *arena;
    struct sizes *out;
    const struct verify_options *options;
    uint32_t most;    /* limit on the number of sizes */
    uint32_t special; /* sizes are sought at which this one's kernels run; PLAN_NONE: those for all
                         sizes */
    const int64_t *pinned; /* its values, by dim; DIM_ANY: not given */
};

/* The legal value of a dim that is nearest to the wish, or the only one of the specialisation. */
int64_t sizes_legal(const struct chooser *c, uint32_t name, int64_t wish);
uint32_t sizes_special_at(const struct chooser *c, const int64_t *dims);
/* What judging at a size costs; and the part of it that every size has. */
double sizes_cost(const struct chooser *c, const int64_t *dims);
double sizes_launches_cost(const struct chooser *c);
/* Adds the size, unless it is there already, costs too much or has other kernels than those that
 * sizes are sought for, which the first size may have; `must`: whatever it costs. */
bool sizes_take(struct chooser *c, const int64_t *dims, const char *why, bool must);
/* Adds sizes around the edges of the kernels that sizes are sought for, cheap ones first, so that
 * as many edges as possible are reached. */
void sizes_take_edges(struct chooser *c);

#endif
