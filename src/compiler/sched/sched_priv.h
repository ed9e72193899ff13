/* Shared by the files of this room. */
#ifndef URZA_COMPILER_SCHED_SCHED_PRIV_H
#define URZA_COMPILER_SCHED_SCHED_PRIV_H

#include <assert.h>
#include <stdlib.h>

#include "compiler/sched/sched.h"

struct loop_site {
    struct block *parent;
    uint32_t at; /* parent->stmts.items[at] is the loop */
    struct stmt *loop;
    struct stmt *around; /* the loop whose body is only this loop; NULL if there is none */
};

/* Find a loop by name, as steps do, or by variable; false: the nest has no such loop (any more). */
bool site_find(struct nest *nest, const char *name, struct loop_site *out);
bool site_of(struct nest *nest, uint32_t var, struct loop_site *out);
/* Whether it stores into an output; scratch memory does not count. */
bool block_stores(const struct nest *nest, const struct block *block);

/* Calls visit for every expression of every statement inside: values, indices, guards, conditions,
 * extents. */
void block_visit(struct nest *nest, const struct block *block, expr_visitor *visit, void *context);
/* Substitutes value for var in all of them. */
void block_replace(struct nest *nest, struct block *block, uint32_t var, expr_id value);

/* Whether so many loops can be added; TRIAL_VARS variables are reserved for access_score. */
#define TRIAL_VARS 2
bool room_for(const struct nest *nest, uint32_t loops);

/* A variable for a loop derived from another: its name has a letter more, its role is the same. */
uint32_t derived_var(struct nest *nest, uint32_t from, char suffix, expr_id extent);
void made_add(struct made *out, uint32_t var);

/* Records an edge: the code takes another way at this value of the extent. Constant extents and
 * those that depend on loop variables have no edge. */
void note_edge(struct nest *nest, expr_id extent, int64_t at);

/* measure.c: the number of distinct operations of an expression, without index arithmetic. */
uint32_t expr_operations(const struct nest *nest, expr_id e);

/* The form of a nest decides which steps are worth taking. */
enum sched_form {
    FORM_LOOPS,    /* any other nest */
    FORM_FLAT,     /* one loop over all elements */
    FORM_COLUMNS,  /* reductions along a strided dim, for contiguous columns */
    FORM_PRODUCT,  /* rows × columns of a contraction, columns contiguous */
    FORM_ROWS,     /* attention: a product whose rows are computed in place, stage by stage, over
                      tiles of rows */
    FORM_PIXELS,   /* a convolution with vectors of channels: rows of the tile are pixels, columns
                      are channels */
    FORM_CHANNELS, /* a convolution with vectors of pixels: rows of the tile are lines of pixels, or
                      channels */
};
/* A nest between sched_begin and sched_finish. */
struct scheduling {
    struct nest *nest;
    const struct target *target;
    const struct sched_watch *watch; /* or NULL */
    struct schedule steps;
    enum sched_form form;
    uint32_t row, column; /* the loops of the register tile, by variable; VAR_NONE: none */
    uint32_t operand;     /* product: the argument with contiguous columns … */
    bool packed;          /* … which are in panels already */
    int64_t panel;        /* contiguous columns, at least; of a convolution, filters */
    bool output;          /* the result is an output of the graph */
    bool prepare;         /* it runs at load */
};

/* The loops of a role, outermost first; returns their number, at most LIMIT_RANK. */
uint32_t loops_over(const struct nest *nest, enum loop_role role, uint32_t out[LIMIT_RANK]);

/* default.c */
struct range {
    int64_t lo, hi;
};
/* The bounds of a loop's extent; 1 if there is no such loop. */
struct range loop_extent(struct scheduling *c, uint32_t var);
/* A config for few rows that reads a large second operand in the order of memory. */
void sum_tile(const struct target *t, struct range m, struct range n, int64_t depth,
              struct config *out);
/* The product of the extents of nested reductions: the depth of a product. */
int64_t sum_depth(struct nest *nest, const struct block *block);

/* fit.c */
/* Takes a step on loops (other: VAR_NONE if it names one) and gives the loops that it made (out may
 * be NULL). False: it is not legal, and nothing has changed; take_step records it as refused,
 * try_step does not, because the caller has an alternative. */
bool take_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t other,
               int64_t number, struct made *out);
bool try_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t other,
              int64_t number, struct made *out);
/* take_step for a step that names a buffer: instead of a loop (loop: VAR_NONE), or besides one. */
bool take_buffer_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t buffer,
                      int64_t number);
/* The loop that is the only statement of a block; NULL: there is none. */
struct stmt *only_loop(const struct block *block);
void fuse_chains(struct scheduling *c, struct block *block);
/* How well an access, or all accesses inside a loop, suit a vector loop over a variable: 2
 * contiguous, 1 the same for all lanes, negative: neither. block: the loop will be split by that
 * number first, so that quotients by it disappear; 0: it will not be. */
int access_score(struct nest *nest, expr_id index, uint32_t var, int64_t block);
int lane_score(struct scheduling *c, const struct stmt *loop, int64_t block);
/* The same for loads in reductions only. */
int lane_score_of_sums(struct scheduling *c, const struct stmt *loop, int64_t block);
/* Lanes for a loop: no more than it needs, up to so many registers. */
int64_t lanes_for(struct scheduling *c, const struct stmt *loop, int64_t registers);
/* Vectorises every nest of loops that has no vector loop. lanes: of the loop that stores; 0: those
 * of one register. */
void vectorise_rest(struct scheduling *c, int64_t lanes);
void parallelise(struct scheduling *c);

/* Substitutes value for an expression in all expressions of a block. */
void block_exchange(struct nest *nest, struct block *block, expr_id what, expr_id value);
uint32_t scratch_buffer(struct nest *nest, const char *stem, enum dtype dtype, expr_id elements);
/* A bound of a loop's extent that holds in all iterations of the loops around it. */
expr_id whole_extent(struct nest *nest, const struct stmt *loop);
void insert_stmt(struct nest *nest, struct block *block, uint32_t at, struct stmt *stmt);

/* prefetch.c: the step; and taking it wherever the product's operand is read. */
bool apply_prefetch(struct nest *nest, const struct step *step, struct error *err);
void prefetch_operand(struct scheduling *c, int64_t distance);

/* Whether a loop around this one is a vector loop or jammed: its iterations would share scratch
 * memory. */
bool runs_together(const struct nest *nest, const struct stmt *loop);

/* stream.c: the step; whether a result may have this size; and taking the step for all results. */
bool apply_stream(struct nest *nest, const struct step *step, struct error *err);
bool results_reach(struct nest *nest, int64_t size_kib);
void stream_results(struct scheduling *c, int64_t size_kib);

/* apart.c: the step; splitting a long reduction before it becomes a vector loop (returns the loop
 * to vectorise); partial sums in all other long reductions. */
bool apply_apart(struct nest *nest, const struct step *step, struct error *err);
uint32_t part_lanes(struct scheduling *c, uint32_t loop, int64_t lanes);
void part_sums(struct scheduling *c);

/* sums.c: the step; and whether a block continues sums that wait in scratch memory. */
bool apply_sums(struct nest *nest, const struct step *step, struct error *err);
bool goes_on(const struct nest *nest, const struct block *block);

/* across.c; false: the nest has another form. */
bool tile_across(struct scheduling *c);

/* spill.c, pack.c, part.c */
bool apply_part(struct nest *nest, const struct step *step, struct made *out, struct error *err);
/* Whether the index of a store has stride 1 in var. */
bool store_walks(struct nest *nest, const struct stmt *store, uint32_t var);
bool apply_pack(struct nest *nest, const struct step *step, struct error *err);
bool apply_spill(struct nest *nest, const struct step *step, struct error *err);

#endif
