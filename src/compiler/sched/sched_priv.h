/* Inside scheduling: finding loops, and facts about them. */
#ifndef URZA_COMPILER_SCHED_SCHED_PRIV_H
#define URZA_COMPILER_SCHED_SCHED_PRIV_H

#include <assert.h>
#include <stdlib.h>

#include "compiler/sched/sched.h"

struct loop_site {
    struct block *parent;
    uint32_t at; /* parent->stmts.items[at] is the loop */
    struct stmt *loop;
    struct stmt *around; /* the loop directly around it whose only statement it is; NULL if none */
};

/* By name, as steps have it, or by variable; false: there is no such loop (any more). */
bool site_find(struct nest *nest, const char *name, struct loop_site *out);
bool site_of(struct nest *nest, uint32_t var, struct loop_site *out);
bool block_stores(const struct nest *nest, const struct block *block); /* results; scratch does not
                                                                          count */

/* Calls visit for every expression of every statement inside (values, indices, guards, conditions,
 * extents). */
void block_visit(struct nest *nest, const struct block *block, expr_visitor *visit, void *context);
/* Replaces var in all of them. */
void block_replace(struct nest *nest, struct block *block, uint32_t var, expr_id value);

/* Whether so many loops can be added; some variables are left for trials (access_score). */
#define TRIAL_VARS 2
bool room_for(const struct nest *nest, uint32_t loops);

/* A variable of a loop made from another, called like it with a letter behind. */
uint32_t derived_var(struct nest *nest, uint32_t from, char suffix, expr_id extent);
void made_add(struct made *out, uint32_t var);

/* Remembers that the code differs around `at` of an extent; constant extents and those that loop
 * variables are in have no such size. */
void note_edge(struct nest *nest, expr_id extent, int64_t at);

/* measure.c: the number of distinct operations of an expression, index arithmetic left out. */
uint32_t expr_operations(const struct nest *nest, expr_id e);

/* A nest on its way to a schedule. */
enum sched_form {
    FORM_LOOPS,    /* whatever loops there are */
    FORM_FLAT,     /* one loop over all elements */
    FORM_COLUMNS,  /* reductions along what lies apart, for columns that lie together */
    FORM_PRODUCT,  /* rows × columns of a contraction, columns contiguous */
    FORM_ROWS,     /* a product whose rows are computed in place: stages over tiles of rows */
    FORM_PIXELS,   /* a convolution with channels in vectors: pixels are the rows, channels the
                      columns */
    FORM_CHANNELS, /* a convolution with pixels in vectors: lines of pixels, or channels, are rows
                    */
};
struct scheduling {
    struct nest *nest;
    const struct target *target;
    const struct sched_watch *watch; /* or NULL */
    struct schedule steps;
    enum sched_form form;
    uint32_t row, column; /* the tile's loops, by variable; VAR_NONE when there is none */
    uint32_t operand;     /* product: the argument whose columns lie together … */
    bool packed;          /* … in panels already */
    int64_t panel;        /* columns that lie together, at least; filters of a convolution */
    bool output;          /* nothing in the graph reads the result */
    bool once;            /* of `prepare` */
};

/* The loops of a role, outermost first; returns their number, at most LIMIT_RANK. */
uint32_t loops_over(const struct nest *nest, enum loop_role role, uint32_t out[LIMIT_RANK]);

/* default.c */
struct range {
    int64_t lo, hi;
};
struct range loop_extent(struct scheduling *c, uint32_t var); /* 1 for a loop that is not there */
/* A config that reads a large second operand in order, for few rows. */
void sum_tile(const struct target *t, struct range m, struct range n, int64_t depth,
              struct config *out);
/* Iterations of all reductions inside, one inside the other: the depth of a product. */
int64_t sum_depth(struct nest *nest, const struct block *block);

/* fit.c */
/* Takes a step on loops (other: VAR_NONE where it names one), and says what loops it made (out may
 * be NULL). False: it is not legal; nothing has changed. take_step notes that as speed lost,
 * try_step does not: there is another way. */
bool take_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t other,
               int64_t number, struct made *out);
bool try_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t other,
              int64_t number, struct made *out);
/* As take_step, where the step names a buffer: instead of a loop (loop: VAR_NONE), or beside it. */
bool take_buffer_step(struct scheduling *c, enum step_kind kind, uint32_t loop, uint32_t buffer,
                      int64_t number);
struct stmt *only_loop(const struct block *block); /* the loop that is all of a block, or NULL */
void fuse_chains(struct scheduling *c, struct block *block);
/* How well an access, or all of them inside a loop, fits lanes of a variable: 2 contiguous, 1 the
 * same for all lanes, negative: neither. block: the loop will be split by it first, so that
 * quotients by it fall out; 0: it will not. */
int access_score(struct nest *nest, expr_id index, uint32_t var, int64_t block);
int lane_score(struct scheduling *c, const struct stmt *loop, int64_t block);
int lane_score_of_sums(struct scheduling *c, const struct stmt *loop, int64_t block); /* the loads
                                                                                        of sums
                                                                                        alone */
/* Lanes for a loop: no wider than it needs, up to so many registers side by side. */
int64_t lanes_for(struct scheduling *c, const struct stmt *loop, int64_t registers);
/* Vectors for every nest of loops that has none yet. lanes: of the loop that stores; 0: as many as
 * one register has. */
void vectorise_rest(struct scheduling *c, int64_t lanes);
void parallelise(struct scheduling *c);

/* Replaces an expression in all of them. */
void block_exchange(struct nest *nest, struct block *block, expr_id what, expr_id value);
uint32_t scratch_buffer(struct nest *nest, const char *stem, enum dtype dtype, expr_id elements);
/* A bound of a loop's extent that holds for all iterations around it. */
expr_id whole_extent(struct nest *nest, const struct stmt *loop);
void insert_stmt(struct nest *nest, struct block *block, uint32_t at, struct stmt *stmt);

/* prefetch.c; the second one takes the step wherever the product's operand is read. */
bool apply_prefetch(struct nest *nest, const struct step *step, struct error *err);
void prefetch_operand(struct scheduling *c, int64_t distance);

/* Whether iterations of a loop around this one run together, in lanes or jammed: they would share
 * scratch memory. */
bool runs_together(const struct nest *nest, const struct stmt *loop);

/* stream.c: the step, for all results, and whether there is one that may be so large. */
bool apply_stream(struct nest *nest, const struct step *step, struct error *err);
bool results_reach(struct nest *nest, int64_t size_kib);
void stream_results(struct scheduling *c, int64_t size_kib);

/* apart.c: the step; whether a long loop that will run in lanes was split into parts; parts for all
 * other long sums. */
bool apply_apart(struct nest *nest, const struct step *step, struct error *err);
uint32_t part_lanes(struct scheduling *c, uint32_t loop, int64_t lanes);
void part_sums(struct scheduling *c);

/* sums.c */
bool apply_sums(struct nest *nest, const struct step *step, struct error *err);
bool goes_on(const struct nest *nest, const struct block *block); /* with what it left in scratch
                                                                     memory */

bool tile_across(struct scheduling *c); /* across.c; false: it has another form */

/* spill.c, pack.c, part.c */
bool apply_part(struct nest *nest, const struct step *step, struct made *out, struct error *err);
bool store_walks(struct nest *nest, const struct stmt *store, uint32_t var); /* with step one */
bool apply_pack(struct nest *nest, const struct step *step, struct error *err);
bool apply_spill(struct nest *nest, const struct step *step, struct error *err);

#endif
