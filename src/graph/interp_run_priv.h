/* One run of a graph: shared by the driver and by loops. */
#ifndef URZA_GRAPH_INTERP_RUN_PRIV_H
#define URZA_GRAPH_INTERP_RUN_PRIV_H

#include "graph/interp_memo_priv.h"
#include "graph/interp_op_priv.h"
#include "graph/loops.h"

struct value {
    struct interp_tensor tensor;
    value_id last_use;  /* the last node that reads it; VALUE_NONE: none does */
    bool output, owned; /* owned: its memory belongs to the pool */
    bool constant;      /* depends on constants only … */
    bool fixed;         /* … or on params, too */
    uint32_t number;    /* in the memo, if there is one */
};

/* What is computed beside the cells of a node's result and stored in the place of bounds, where
 * there is any: bounds, or tangents (tangent.c). NULL there means that all are zero. */
struct beside {
    bool (*is_needed)(const struct op *op);
    void (*evaluate)(struct op *op, bool wide); /* the node's cells too */
};

struct run {
    const struct graph *graph;
    const struct interp_options *options;
    const struct beside *beside;
    bool reference; /* there may be something beside the cells */
    bool wide, plain;
    uint32_t threads;
    const int64_t *dim_values;
    const struct interp_tensor *sources;
    struct arena *arena;
    struct value *values; /* by id */
    struct graph_loops loops;
    struct interp_memo *memo;
    struct arena *memory;        /* for cells and bounds */
    struct pool *pool, own_pool; /* own_pool where there is no memo */
    size_t used_bytes, limit_bytes;
    struct scratch scratch;
    struct error *err;
};

/* interp_pool.c. Takes the smallest free buffer with room for count cells or bounds, or makes a new
 * one. ERR_LIMIT beyond the memory limit. */
bool take_memory(struct run *run, int64_t count, void **out_data);
/* Gives back what take_memory gave, or NULL. */
void give_memory(struct run *run, void *data);
/* Gives the pages of large free buffers back to the system: the next run of a memo may be far off,
 * and an arena holds all until its end. */
void trim_pool(const struct pool *pool);
/* Whether a tensor's cells can be had, and are not there. */
bool is_absent(const struct interp_tensor *tensor);
/* Has a value's cells loaded, if they are absent; from then on it owns them. */
bool bring(struct run *run, value_id id);
/* The op of a node; its value gets to know whether it is constant or fixed. */
void op_of_node(struct run *run, value_id id, struct op *op);
bool run_node(struct run *run, value_id id);
/* Runs a graph. Of *run, graph, options, beside, reference, wide and plain are set; run->memo too
 * if there is one. */
bool run_graph(struct run *run, const struct interp_arguments *arguments, struct arena *arena,
               struct interp_tensor *out, struct error *err);

/* interp_known.c: whether the memo has the results of this graph, from the same sources. If so, the
 * values of its outputs have them. Its sources are taken. */
bool run_is_known(struct run *run);

/* interp_loop.c: runs all trips of the loop with this node, and fills all its loop nodes. */
bool run_trips(struct run *run, const struct graph_loop *loop);

#endif
