/* What follows from the shapes of a call, and the cache of it (shapes.c, shape_entry.c). */
#ifndef URZA_RUNTIME_SHAPES_PRIV_H
#define URZA_RUNTIME_SHAPES_PRIV_H

#include "package/package.h"
#include "runtime/parts_priv.h"

#define SHAPE_SETS 64
#define SHAPE_WAYS 8

/* One launch at one shape of the inputs. */
struct shape_launch {
    urza_kernel_fn *kernel;
    uint32_t number;     /* as in urza_span */
    uint32_t first_slot; /* index of its first pointer in the context's table */
    uint32_t chunks;     /* 1: runs on the calling thread only */
    int64_t extent;      /* > 0 */
    int64_t slice;       /* iterations of a slice of its loop; 0: it runs whole each time */
    size_t scratch_stride;
};

/* A copy that a loop makes, between slots of the context's table. */
struct shape_move {
    uint32_t from, to;
    size_t bytes;
    bool turns; /* none is made, as arguments of launches lie elsewhere in each trip (loop_turn) */
};

/* A loop of the plan. Its moves stand one behind the other: states at the start, rows of a trip,
 * states behind it, states at the end. Those that nothing reads have no bytes. */
struct shape_loop {
    uint32_t first, count; /* launches of this entry, maybe none */
    uint32_t iter;         /* slot; PLAN_NONE: nothing reads it */
    uint32_t states, rows;
    int64_t trips;           /* that rows have room for */
    int64_t most;            /* that are made: fewer where the module has a limit */
    int64_t slices, at_once; /* at_once: how many make all trips before the next ones */
    uint32_t condition;      /* slot of one bool that says whether it goes on; PLAN_NONE: none */
    const struct shape_move *moves;
    const struct loop_turns *turns;
};

/* Everything that follows from the input shapes, and from elements that tell dims; immutable once
 * published. Without a plan, or where sizes do not fit, `reason` says why calls are interpreted. */
struct shape_entry {
    uint64_t hash;
    const char *reason; /* NULL: native */
    int64_t *key;       /* of each input the shape, then the elements if some tell dims */
    int64_t *dims;      /* values of the named dims */
    int64_t (*output_shapes)[LIMIT_RANK];
    size_t *output_bytes;
    struct shape_launch *launches; /* only launches with iterations */
    uint32_t launch_count;
    uint32_t *before; /* by forward launch, and one more: how many of them stand before it */
    struct shape_loop *loops;
    struct shape_move *moves; /* of all loops */
    uint32_t loop_count;
    size_t *temp_offsets;  /* by buffer of the plan */
    size_t memory_bytes;   /* temporaries, followed by scratch memory */
    size_t scratch_offset; /* = bytes of temporaries */
    uint64_t intermediate_bytes;
    struct shape_entry *older; /* next in the list of retired entries */
};

struct shape_cache {
    _Atomic uint64_t hashes[SHAPE_SETS][SHAPE_WAYS]; /* a hint that saves reading the entry */
    struct shape_entry *_Atomic entries[SHAPE_SETS][SHAPE_WAYS];
    _Atomic uint8_t oldest[SHAPE_SETS]; /* the way to replace next, modulo SHAPE_WAYS */
    struct shape_entry *_Atomic retired;
};

#endif
