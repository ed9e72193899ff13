/* Shared by the files of this room. */
#ifndef URZA_COMPILER_LOWER_LOWER_PRIV_H
#define URZA_COMPILER_LOWER_LOWER_PRIV_H

#include <assert.h>

#include "base/error.h"
#include "base/hash.h"
#include "compiler/lower/lower.h"

#define MAX_OPEN 32

/* The index of an element, one expression per dim, and the condition under which the element is
 * read. */
struct at {
    expr_id idx[LIMIT_RANK];
    expr_id guard; /* EXPR_NONE: always */
};

/* The expression of a value at an index, for reuse. */
struct generated {
    value_id value;
    struct at at;
    uint32_t rank;
    expr_id expr;
};

/* A row that is in scratch memory: a part of a value, for the rest of the iteration around it. */
struct kept {
    value_id value;
    struct at at;        /* the index at which it was stored */
    uint32_t first_axis; /* the axes from here on are stored; they are the loops that stored it,
                            from 0 to their ends */
    uint32_t buffer;
};

/* An index along a whole axis that has several loops (pieces.c). */
struct whole_index {
    expr_id index;
    dim_id extent;
};

/* The keys of a row that are not masked. A masked key contributes exp(-inf) = 0 to the row, so
 * loops over keys may stop before it. */
struct row_limit {
    expr_id limit;     /* number of keys; EXPR_NONE: all */
    dim_id full;       /* number of all keys */
    uint32_t row_rank; /* the first so many indices of `row` say which row it is */
    struct at row;
};

/* The open loops, saved while code is generated elsewhere. */
struct place {
    struct stmt *open[MAX_OPEN];
    uint32_t depth;
};

/* Scalar operations of a kernel, by value of the graph; the arrays are as long as the graph. */
struct kernel_work {
    bool *made;
    dim_id *done;         /* where made: operations done, at most */
    dim_id *asked;        /* where any kernel so far made it: operations required; DIM_NONE: not
                             made, or not representable */
    VEC(value_id) values; /* those made in this kernel */
};

struct lowering {
    struct graph *graph; /* its nodes do not change; its dims may grow */
    const struct partition *partition;
    const struct group *group;
    struct nest *nest;
    struct error *err;
    bool failed;

    struct stmt *open[MAX_OPEN]; /* loops around the current place, outermost first */
    uint32_t depth;
    uint32_t local_depth[NEST_MAX_LOCALS]; /* number of loops around each local */
    dim_id extent[NEST_MAX_VARS];          /* by variable: most iterations of its loop */
    struct kernel_work *work;              /* NULL: not counted */

    VEC(struct generated) generated;
    struct map by_key;
    VEC(struct kept) kept;
    VEC(struct whole_index) wholes; /* by reductions */
    struct row_limit row_limit;
    value_id weights;              /* the product's first operand, once stored as a row */
    uint32_t dim_var[LIMIT_RANK];  /* the loop over each dim of the root, or VAR_NONE: it has none,
                                      or several */
    uint64_t dim_vars[LIMIT_RANK]; /* all of its loops */
    int64_t parts[LIMIT_RANK]; /* the dim's loop should be two, with this extent inside, because a
                                  reduction is indexed by blocks of it; 0: no */
    VEC(uint64_t) row_vars;    /* for each reduction, the variables that its index depends on */
};

/* gen.c: the value at an index, as an expression at the current place. */
expr_id gen(struct lowering *l, value_id value, const struct at *at);
/* Generates the value at the current place, even where it is known already. */
expr_id gen_node(struct lowering *l, value_id value, const struct at *at);
/* The nest buffer of the root; must be the first buffer. */
uint32_t gen_output(struct lowering *l);
/* The nest buffer of a stored value. */
uint32_t gen_buffer(struct lowering *l, value_id value);
/* The row-major offset. */
expr_id gen_flat(struct lowering *l, const struct node *node, const expr_id *idx);

/* keep.c: rows in scratch memory, which later stages load instead of computing them again.
 * keep_find: a load of the value, EXPR_NONE if it is in no row. keep_value: stores expr, if a row
 * may hold it. */
expr_id keep_find(struct lowering *l, value_id value, const struct at *at);
void keep_value(struct lowering *l, value_id value, const struct at *at, expr_id expr);

/* Stores a value as a row, by a loop of its own, and loads it. */
expr_id stage_value(struct lowering *l, value_id value, const struct at *at);
/* Shortens the loop over var to the row limit, if it runs over the keys of that row. */
void limit_row(struct lowering *l, value_id row, const struct at *at, uint32_t var);

/* elementwise.c: operations of elementwise prims; operands are expressions in compute dtypes. */
expr_id gen_elementwise(struct lowering *l, const struct node *node, const expr_id v[3]);
expr_id gen_const(struct nest *nest, const struct node *node);
/* f32 for f16 and bf16. */
enum dtype compute_dtype(enum dtype dtype);
/* x cast to a dtype of the graph, in its compute dtype. */
expr_id gen_as(struct nest *nest, expr_id x, enum dtype to);

/* view.c: the index in its operand that a view's element comes from; false when it has more than
 * one operand (pad, concat: gen.c). */
bool view_source(struct lowering *l, const struct node *node, const struct at *at, struct at *out);
/* The index in `user` at which an element of its operand ends up; false where no single index
 * follows. */
bool view_forward(struct lowering *l, const struct node *user, const struct at *operand_at,
                  struct at *out);
/* The index in `to`, a reshape of `from`. */
void reshape_index(struct lowering *l, const struct node *from, const expr_id *at,
                   const struct node *to, expr_id *out);

/* reduce.c: reductions, contractions, convolutions, windows. */
expr_id gen_reduction(struct lowering *l, value_id value, const struct at *at);
/* An elementwise value at an index. If an outer loop body is the innermost that the index depends
 * on and reductions have locals there, the value is computed there, once, and has a local, too. */
expr_id gen_once(struct lowering *l, value_id value, const struct at *at);
/* Moves the current place out to the innermost loop that the first `rank` indices and the guard
 * depend on; come_back returns. */
void go_out(struct lowering *l, const struct at *at, uint32_t rank, struct place *saved);
void come_back(struct lowering *l, const struct place *saved);
/* The number of open loops up to and including the innermost that e depends on. */
uint32_t depth_of_expr(const struct lowering *l, expr_id e);

/* Loops. A dim of size 1 gets no loop (VAR_NONE), and its index is 0. */
uint32_t open_loop(struct lowering *l, enum loop_role role, dim_id extent, bool independent,
                   expr_id *out_index);
/* Until `depth` loops are open. */
void close_loops(struct lowering *l, uint32_t depth);
struct block *block_here(struct lowering *l);

/* pieces.c: an axis that takes several loops. From the inside out, sizes[k] is the number of
 * elements in the first k + 1 of them; one more loop, outside, has the rest. */
struct pieces {
    int64_t sizes[LIMIT_RANK];
    uint32_t count; /* 0: one loop is right */
};
/* Of an axis of a value that is computed here. */
void find_pieces(struct lowering *l, value_id value, uint32_t axis, struct pieces *out);
/* Opens the loops, and gives the index along the axis, whose extent is constant. */
expr_id open_pieces(struct lowering *l, enum loop_role role, dim_id extent,
                    const struct pieces *pieces);

/* work.c: scalar operations that the graph requires for a value; DIM_NONE where not
 * representable. */
dim_id work_asked(struct graph *graph, value_id value);
/* Requires none, at any size. */
bool work_moves_only(const struct graph *graph, value_id value);
/* Counts one element of value, computed in the body of the outermost `depth` open loops. */
void work_add(struct lowering *l, value_id value, uint32_t depth);
void work_clear(struct kernel_work *work);
/* lower_group that also counts operations (work NULL: does not). */
bool lower_counted(const struct lower_task *task, struct kernel_work *work, struct nest *out,
                   struct error *err);

/* special.c: roots that are not one store per element. */
bool lower_special(struct lowering *l);

#endif
