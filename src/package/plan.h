/* The plan of one target: which kernels run on which buffers, and in which order.
 *
 * Shapes and extents are dim expressions over the graph's named dims, so one plan serves every
 * legal shape. Offsets of temporaries are not in the plan: the runtime lays them out by size and
 * lifetime when it first sees a shape. plan_parse checks every index and lifetime, so executing a
 * parsed plan needs no further checks. Everything lives in the arena it was built or parsed in. */
#ifndef URZA_PACKAGE_PLAN_H
#define URZA_PACKAGE_PLAN_H

#include "graph/dim.h"
#include "graph/dtype.h"

struct error;
struct strbuf;

/* A kernel's entry point. It runs the iterations begin ≤ i < end of the launch's parallel extent.
 * buffers: one pointer per launch argument, in order; dims: the values of the named dims by index;
 * scratch: memory that nothing else uses meanwhile (64-aligned, launch.scratch_bytes). A kernel has
 * no state, allocates nothing and cannot fail. */
typedef void urza_kernel_fn(void *const *buffers, const int64_t *dims, void *scratch, int64_t begin,
                            int64_t end);

enum buffer_kind {
    BUFFER_INPUT = 1, /* index: input of the graph */
    BUFFER_OUTPUT,    /* index: output of the graph */
    BUFFER_PARAM,     /* index: param of the graph */
    /* Computed from params by the prepare launches; valid as long as the module is loaded; has a
     * constant shape. */
    BUFFER_PREPARED,
    BUFFER_TEMP, /* lives during one call */
};

/* What a temporary is to its loop, if it lies elsewhere in each trip, so that nothing is copied. A
 * state and its value after a trip (next) change places, and with a result, unless there is a
 * condition, result and next do instead, so that the last trip writes the result; a row is written
 * where its result has it. They have no other part in the loop, and launches of the loop write
 * next, or the row. */
enum plan_turn { TURN_NONE, TURN_STATE, TURN_NEXT, TURN_ROW };

struct plan_buffer {
    uint8_t kind, dtype;
    uint8_t turn;        /* enum plan_turn; filled by plan_finish */
    uint32_t turn_index; /* of the state or row in its loop */
    uint32_t index;      /* 0 for prepared and temporary buffers */
    uint32_t value; /* a value of the target's optimised graph, which the buffer holds, row-major */
    dim_id elements; /* bytes = elements × dtype size */
    /* BUFFER_OUTPUT that updates an input: it may be written over the input's memory, since the
     * launch that writes it reads of the input, if at all, only the element that it writes next,
     * and no later one reads the input. */
    bool in_place;
    /* BUFFER_TEMP: first and last forward launch that reads or writes it; filled by plan_finish. If
     * no launch does, first_launch > last_launch. What passes from trip to trip of a loop, and what
     * the loop reads from outside, lives during the whole loop. */
    uint32_t first_launch, last_launch;
    /* BUFFER_TEMP that needs no memory in a call: its loop has a result that takes its place.
     * Filled by plan_finish. */
    bool displaced;
};

/* A size around which a kernel's code takes another path: it differs for `size` below `at`, equal
 * to it and above it, and around multiples of it (a tile of rows, a vector, a block, results large
 * enough to be written past the caches). The verifier chooses sizes by these edges. */
struct plan_edge {
    dim_id size; /* not constant */
    int64_t at;  /* > 0 */
};

/* A kernel for a launch, and what depends on how it was scheduled. */
struct plan_code {
    uint32_t kernel; /* index into the target's kernel table */
    dim_id extent;   /* parallel iterations; a launch with 0 iterations is skipped */
    /* Estimated cost of the whole launch, in scalar operations: below a threshold it runs on one
     * thread. */
    dim_id work;
    dim_id scratch_bytes; /* per thread */
    const struct plan_edge *edges;
    uint32_t edge_count; /* ≤ LIMIT_KERNEL_EDGES */
};

/* What a launch runs in place of its code in calls of one specialisation. */
struct plan_variant {
    uint32_t special; /* index into plan.specials */
    struct plan_code code;
};

struct plan_launch {
    struct plan_code code;
    uint32_t arg_count;
    const uint32_t *args; /* buffers, in the order of the kernel's arguments (loop.h: arguments) */
    uint32_t written;     /* bit i: args[i] is written (only the first 32 are tracked; outputs come
                             first); not 0 */
    const struct plan_variant *variants; /* ascending by special, no two for one; none in prepare */
    uint32_t variant_count;
    bool sliced; /* see struct plan_loop */
    /* Scalar operations: those that the graph asks of this launch, and those that it does,
     * including values computed more than once. Both DIM_NONE: not known. */
    dim_id asked, done;
    const char *label; /* for people: "linear+gelu" */
    /* Names of the source's nodes that it comes from, in the order in which they are computed:
     * those of LAUNCH_NODES, and how many there are beside. None: not known. */
    const char *const *nodes;
    uint32_t node_count, more_nodes;
};
#define LAUNCH_NODES 16
static inline bool launch_writes(const struct plan_launch *launch, uint32_t arg)
{
    return arg < 32 && (launch->written >> arg & 1) != 0;
}

/* Forward launches that run in every trip of a loop (graph/loops.h), and what moves between trips.
 * Before the first trip each state is made a copy of `from`; before trip t, iter holds t; behind it
 * each row is copied to place t of its result, and then what each state is after the trip to the
 * state; behind the last trip states are copied to their results. With a condition there are at
 * most that many trips: before each one that state's buffer is looked at, and where it holds false
 * the loop ends, and rows of trips that were not made become 0. Sizes agree, so that no copy leaves
 * its buffers. With `slices` a loop may make all trips for some of so many slices, then for others:
 * each has an equal part of a sliced launch's iterations; other launches run whole each time. */
#define PLAN_NONE UINT32_MAX
struct plan_state {
    uint32_t from, state, next; /* buffers of one size */
    uint32_t result;            /* PLAN_NONE: nothing reads it */
};
struct plan_row {
    uint32_t row, result; /* result: trips × the size of row */
};
struct plan_loop {
    uint32_t first, count; /* launches, at least one */
    dim_id trips, slices;  /* slices: DIM_NONE: none */
    uint32_t iter;         /* buffer of one i64; PLAN_NONE: nothing reads it */
    uint32_t condition;    /* 1 + the index of a state, a buffer of one bool; 0: none */
    const struct plan_state *states;
    const struct plan_row *rows; /* those that something reads */
    uint32_t state_count, row_count;
};

/* What a call runs: forward launches, one behind the other. A plan has the entry "forward", or, for
 * a training step, "forward_train" and "backward", which share temporaries: those that the second
 * reads of the first are what is saved in between. Entries cover all launches in order. */
struct plan_entry {
    const char *name;
    uint32_t first, count;
};

/* A specialisation: sizes at which launches may have kernels of their own. A call belongs to the
 * first one whose values are all those of its named dims. */
struct plan_special {
    const int64_t *values; /* by named dim; DIM_ANY: any value; not all of them */
};

struct plan {
    struct arena *arena;
    struct dim_table *dims; /* borrowed: the package's table */
    VEC(struct plan_buffer) buffers;
    VEC(struct plan_launch) prepare; /* run once after load and whenever params change */
    VEC(struct plan_launch) forward;
    VEC(struct plan_loop) loops;       /* one behind the other */
    VEC(struct plan_entry) entries;    /* none: only "forward" */
    VEC(struct plan_special) specials; /* ≤ LIMIT_SPECIALS */
    uint32_t kernel_count;
};

/* The specialisation that a call at these sizes belongs to; PLAN_NONE: none. */
uint32_t plan_special_at(const struct plan *plan, const int64_t *dims);
/* What a launch runs in calls of that specialisation. */
const struct plan_code *plan_code_of(const struct plan_launch *launch, uint32_t special);
/* The same, by sizes. */
static inline const struct plan_code *
plan_code_at(const struct plan *plan, const struct plan_launch *launch, const int64_t *dims)
{
    return launch->variant_count == 0 ? &launch->code
                                      : plan_code_of(launch, plan_special_at(plan, dims));
}
/* How many forward launches have a variant for a specialisation. */
uint32_t plan_special_count(const struct plan *plan, uint32_t special);
/* Whether specialisation `a` has all calls that `b` would have. */
bool plan_special_covers(const struct plan_special *a, const struct plan_special *b,
                         uint32_t names);
/* "B=1 S=128" */
void plan_special_print(const struct plan *plan, uint32_t special, struct strbuf *out);

/* The loop in which a forward launch runs: 1 + its index; 0: none. */
uint32_t plan_loop_of(const struct plan *plan, uint32_t launch);
/* How often a forward launch runs in a call, at most where its loop has a condition; false if its
 * number of trips has no value. */
bool plan_trips(const struct plan *plan, uint32_t launch, const int64_t *dims, int64_t *out);

/* Whether the buffers of a state turn (enum plan_turn), and whether its result takes its place
 * then; whether a row does. Of a finished plan. */
static inline bool plan_state_turns(const struct plan *plan, const struct plan_loop *loop,
                                    uint32_t state)
{
    return plan->buffers.items[loop->states[state].state].turn == TURN_STATE;
}
static inline bool plan_result_turns(const struct plan *plan, const struct plan_loop *loop,
                                     uint32_t state)
{
    return plan_state_turns(plan, loop, state) && loop->condition == 0 &&
           loop->states[state].result != PLAN_NONE;
}
static inline bool plan_row_turns(const struct plan *plan, const struct plan_loop *loop,
                                  uint32_t row)
{
    return plan->buffers.items[loop->rows[row].row].turn == TURN_ROW;
}

/* The entry of that name; where a plan has none, "forward" is all. False: there is no such entry.
 */
bool plan_find_entry(const struct plan *plan, const char *name, struct plan_entry *out);

/* Launches of "backward" that compute once more what one of "forward_train" computed
 * (compiler/plan_again.c): how many, and scalar operations of these and of the others. False
 * where operations are not known, or dims have no value. Scratch memory is the arena's. */
struct plan_again {
    uint32_t launches;
    int64_t operations, others;
};
bool plan_count_again(const struct plan *plan, const int64_t *dims, struct arena *arena,
                      struct plan_again *out);

/* Whether the order of launches lets an output be written over an input (buffers; PLAN_NONE: an
 * input that nothing reads): one launch writes it, no later one reads the input, and no loop has a
 * part in it. *out_reads: that launch reads the input itself. */
bool plan_may_update(const struct plan *plan, uint32_t input, uint32_t output, bool *out_reads);
/* The buffer of an input or output of the graph; PLAN_NONE: it has none. */
uint32_t plan_bound_buffer(const struct plan *plan, enum buffer_kind kind, uint32_t index);

/* Computes lifetimes of temporaries; asserts everything that plan_parse checks. */
void plan_finish(struct plan *plan);

/* Canonical JSON, and back. Parsing refuses (ERR_PACKAGE) indices out of range; a temporary, output
 * or prepared buffer read before a launch wrote it; a forward launch that writes an input, a param
 * or a prepared buffer; a prepare launch that touches anything but params (reading) and prepared
 * buffers, or whose extent, work or scratch depends on a named dim; negative constants; unknown
 * fields; loops that overlap, whose condition is no state of one bool, or that copy what was not
 * written, over what a launch writes, or between buffers of different sizes; entries that do not
 * cover the launches in order, have no or equal names, or divide a loop; specialisations of no dim,
 * of values that are not legal for their dims, or none of whose calls would belong to them because
 * an earlier one has them; variants of a prepare launch, or two for one specialisation. ERR_LIMIT:
 * LIMIT_SPECIALS, LIMIT_LAUNCHES, LIMIT_NODES buffers, LIMIT_KERNEL_BUFFERS args. Expressions that
 * are not constant are checked when they are evaluated. Dims are added to *dims. A launch has
 * "asked" and "done" or neither, and "nodes" if it has any: names of 1 … LIMIT_NAME bytes, with
 * "more_nodes" only behind LAUNCH_NODES of them. plan_parse initialises *plan and calls
 * plan_finish. */
void plan_print(const struct plan *plan, struct strbuf *out);
bool plan_parse(struct plan *plan, struct arena *arena, struct dim_table *dims, const char *text,
                size_t size, struct error *err);
/* One line per launch, for people (--dump plan). */
void plan_describe(const struct plan *plan, struct strbuf *out);

#endif
