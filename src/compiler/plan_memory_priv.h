/* Lowering the peak of a plan: what its files share. Everything lives in the arena of the plan. */
#ifndef URZA_COMPILER_PLAN_MEMORY_PRIV_H
#define URZA_COMPILER_PLAN_MEMORY_PRIV_H

#include "package/plan.h"

#define NONE UINT32_MAX
#define STEPS_MOST ((uint64_t)100000000) /* of a search, in launches and arguments */

/* A plan without loops, at typical sizes. */
struct memory_subject {
    struct plan *plan;
    struct arena *arena;
    uint32_t first;          /* launches of the first entry; all, if there is one */
    int64_t *bytes;          /* by buffer, rounded; 0: no temporary */
    uint32_t *writer;        /* by buffer: the launch; NONE: none */
    const uint32_t *updated; /* by buffer: the output that is written over it; NULL: none is */
    int64_t *cost;           /* by launch: operations and elements read */
    int64_t all;             /* operations of all launches */
    uint64_t steps;
};

/* False: the plan has loops, a size has no value, or a buffer is written twice. */
bool subject_init(struct memory_subject *s, struct plan *plan, struct arena *arena);

/* plan_fold.c: a plan whose loops are launches, whose kernels are kernel_count and more. */
struct folded {
    struct plan plan;
    const uint32_t *updated; /* as of the plan; NULL as there */
    struct plan *of;
    const uint32_t **args; /* by loop: its arguments as they were */
};
/* False: a size has no value, or a loop has more results than a launch can write. Finishes the plan
 * (plan_finish). */
bool plan_fold(struct folded *out, struct plan *plan, const uint32_t *updated, struct arena *arena);
/* Gives the plan the order of the folded one, and what runs again there. */
void plan_unfold(struct folded *f);

/* plan_again.c: has cheap launches of forward_train run again in backward, instead of saving what
 * they computed, if that lowers the peak; with a budget in bytes (0: none) others, too, until the
 * peak is within it. */
void plan_make_again(struct plan *plan, int64_t budget, struct arena *arena);

/* plan_order.c: another order of the launches of each entry, if that lowers the peak. */
void plan_order(struct plan *plan, const uint32_t *updated, struct arena *arena);
/* As plan_peak, of a plan without loops. */
int64_t plan_order_peak(struct plan *plan, struct arena *arena);

#endif
