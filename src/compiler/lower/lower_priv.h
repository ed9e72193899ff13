/* Inside lowering. */
#ifndef URZA_COMPILER_LOWER_LOWER_PRIV_H
#define URZA_COMPILER_LOWER_LOWER_PRIV_H

#include <assert.h>

#include "base/error.h"
#include "base/hash.h"
#include "compiler/lower/lower.h"

#define MAX_OPEN 32

/* The index of an element: one expression per dim, and the condition under which it is looked at.
 */
struct at {
    expr_id idx[LIMIT_RANK];
    expr_id guard; /* EXPR_NONE: always */
};

struct generated {
    value_id value;
    struct at at;
    uint32_t rank;
    expr_id expr;
};

/* A value that a reduction left in scratch memory for the rest of the row. */
struct kept {
    value_id value;
    struct at at;        /* where the reduction computed it */
    uint32_t first_axis; /* from here on its index is the reduction's loops, from end to end */
    uint32_t buffer;
};

/* How far the rows of a product go: keys behind it are masked, and count for nothing. */
struct row_limit {
    expr_id limit; /* EXPR_NONE: to the end */
    dim_id full;
    uint32_t row_rank;
    struct at row;
};

/* Where generation goes on after it was elsewhere. */
struct place {
    struct stmt *open[MAX_OPEN];
    uint32_t depth;
};

/* What a kernel does, by the values it makes; the arrays are as long as the graph. */
struct kernel_work {
    bool *made;
    dim_id *done;         /* where made: operations, at most */
    dim_id *asked;        /* where made by any kernel yet; DIM_NONE: not, or not to be expressed */
    VEC(value_id) values; /* those made */
};

struct lowering {
    struct graph *graph; /* only its dims grow */
    const struct partition *partition;
    const struct group *group;
    struct nest *nest;
    struct error *err;
    bool failed;

    struct stmt *open[MAX_OPEN]; /* loops around the present place, outermost first */
    uint32_t depth;
    uint32_t local_depth[NEST_MAX_LOCALS]; /* number of loops around each local */
    dim_id extent[NEST_MAX_VARS];          /* by variable: how often its loop runs, at most */
    struct kernel_work *work;              /* NULL: not counted */

    VEC(struct generated) generated;
    struct map by_key;
    VEC(struct kept) kept;
    struct row_limit row_limit;
    value_id weights; /* what the product of rows reads, once it is put down; VALUE_NONE: before */
    uint32_t *buffer_of;          /* by value: nest buffer + 1 */
    uint32_t dim_var[LIMIT_RANK]; /* the loop over each dim of the root, or VAR_NONE */
    int64_t parts[LIMIT_RANK]; /* reductions need a dim of the root in blocks of so many; 0: not */
    VEC(uint64_t) row_vars;    /* for each reduction: the variables its index depends on */
};

/* gen.c: the value at an index, as an expression at the present place. */
expr_id gen(struct lowering *l, value_id value, const struct at *at);
expr_id gen_node(struct lowering *l, value_id value, const struct at *at); /* generated here, even
                                                                             if it is known already
                                                                           */
uint32_t gen_output(struct lowering *l); /* the nest buffer of the root, before any other is asked
                                            for */
uint32_t gen_buffer(struct lowering *l, value_id value); /* the nest buffer of a stored value */
expr_id gen_flat(struct lowering *l, const struct node *node, const expr_id *idx); /* row-major
                                                                                      offset */

/* keep.c: values that later stages of a row read again instead of computing them again. */
expr_id keep_find(struct lowering *l, value_id value, const struct at *at); /* EXPR_NONE: not kept
                                                                             */
void keep_value(struct lowering *l, value_id value, const struct at *at, expr_id expr);

/* A value put down as a row, by a loop of its own, before what follows reads it. */
expr_id stage_value(struct lowering *l, value_id value, const struct at *at);
/* A loop over the keys of a row that is computed in place runs no further than the row goes. */
void limit_row(struct lowering *l, value_id row, const struct at *at, uint32_t var);

/* elementwise.c: operations of elementwise prims; operands are expressions in compute dtypes. */
expr_id gen_elementwise(struct lowering *l, const struct node *node, const expr_id v[3]);
expr_id gen_const(struct nest *nest, const struct node *node);
enum dtype compute_dtype(enum dtype dtype);                  /* f16, bf16: f32 */
expr_id gen_as(struct nest *nest, expr_id x, enum dtype to); /* x cast to a dtype of the graph, in
                                                                its compute dtype */

/* view.c: where a view's element comes from; false when it has more than one operand (pad, concat:
 * gen.c). */
bool view_source(struct lowering *l, const struct node *node, const struct at *at, struct at *out);
/* Where the element of a value goes in what one user makes of it; false where that is not one place
 * that follows from this index. */
bool view_forward(struct lowering *l, const struct node *user, const struct at *operand_at,
                  struct at *out);
/* The index in `to`, which has the elements of `from` in another shape. */
void reshape_index(struct lowering *l, const struct node *from, const expr_id *at,
                   const struct node *to, expr_id *out);

/* reduce.c: reductions, contractions, convolutions, windows. */
expr_id gen_reduction(struct lowering *l, value_id value, const struct at *at);
/* An elementwise value; in a local of the outermost loop that it depends on, where a reduction has
 * a local there, too. */
expr_id gen_once(struct lowering *l, value_id value, const struct at *at);
/* To the innermost loop that the first `rank` indices and the guard depend on, and back. */
void go_out(struct lowering *l, const struct at *at, uint32_t rank, struct place *saved);
void come_back(struct lowering *l, const struct place *saved);
/* The number of open loops down to the innermost that e depends on. */
uint32_t depth_of_expr(const struct lowering *l, expr_id e);

/* loops; of a dim of size 1 there is none (VAR_NONE), and its index is 0 */
uint32_t open_loop(struct lowering *l, enum loop_role role, dim_id extent, bool independent,
                   expr_id *out_index);
void close_loops(struct lowering *l, uint32_t depth); /* until depth loops are open */
struct block *block_here(struct lowering *l);

/* work.c: operations that the graph asks for; DIM_NONE where they cannot be expressed. */
dim_id work_asked(struct graph *graph, value_id value);
bool work_moves_only(const struct graph *graph, value_id value); /* asks for none, of any size */
/* Counts one element of value, made inside the outermost `depth` open loops. */
void work_add(struct lowering *l, value_id value, uint32_t depth);
void work_clear(struct kernel_work *work);
/* lower_group, with work counted (NULL: not). */
bool lower_counted(const struct lower_task *task, struct kernel_work *work, struct nest *out,
                   struct error *err);

/* special.c: roots that are not one store per element. */
bool lower_special(struct lowering *l);

#endif
