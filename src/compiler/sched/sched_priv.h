/* Inside scheduling: finding loops, and facts about them. */
#ifndef URZA_COMPILER_SCHED_SCHED_PRIV_H
#define URZA_COMPILER_SCHED_SCHED_PRIV_H

#include <assert.h>

#include "compiler/sched/sched.h"

struct loop_site {
    struct block *parent;
    uint32_t at; /* parent->stmts.items[at] is the loop */
    struct stmt *loop;
    struct stmt *around; /* the loop directly around it whose only statement it is; NULL if none */
};

bool site_find(struct nest *nest, const char *name, struct loop_site *out);
const char *loop_label(const struct nest *nest, const struct stmt *loop);
bool block_stores(const struct nest *nest, const struct block *block); /* results; scratch does not
                                                                          count */

/* Calls visit for every expression of every statement inside (values, indices, guards, conditions,
 * extents). */
void block_visit(struct nest *nest, const struct block *block, expr_visitor *visit, void *context);
/* Replaces var in all of them. */
void block_replace(struct nest *nest, struct block *block, uint32_t var, expr_id value);

/* measure.c: the number of distinct operations of an expression, index arithmetic left out. */
uint32_t expr_operations(const struct nest *nest, expr_id e);

/* spill.c */
bool apply_spill(struct nest *nest, const struct step *step, struct error *err);

#endif
