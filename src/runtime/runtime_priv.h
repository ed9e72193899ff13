/* Shared by the files of the runtime.
 *
 * After loading a module is immutable, except for the shape cache, the pool of contexts, its
 * references and its statistics, which are accessed by atomics. A call takes a context from the
 * pool and has it to itself until it puts it back. Only loading, a shape seen for the first time
 * and the interpreter allocate. There are no locks, since the child of a fork could find one locked
 * for ever. Every allocation may fail and is checked. */
#ifndef URZA_RUNTIME_PRIV_H
#define URZA_RUNTIME_PRIV_H

#include "package/package.h"
#include "runtime/inside.h"
#include "runtime/parts_priv.h"
#include "runtime/shared_priv.h"
#include "runtime/shapes_priv.h"

/* Launches of less estimated work (in scalar operations) run on the calling thread, since waking
 * another costs more. */
#define PARALLEL_WORK ((int64_t)1 << 17)

/* What forward_train leaves for backward: part of the context that it ran in, which nobody else
 * gets until the tape is released. */
struct urza_tape {
    struct urza_module *module; /* of the block */
    bool forward_done;          /* its temporaries are there: no backward overwrote them */
    bool spent;
};

struct context_stats {
    _Atomic uint64_t calls, native_calls, fallback_calls, launches, shape_misses, copied_inputs;
};

/* The state of one call. Only the owner accesses it, except for entry and stats, which
 * other threads read. The shape entry that `entry` points to is not freed (shapes.c), also between
 * calls. */
struct call_context {
    struct pooled pooled;
    struct shape_entry *_Atomic entry;
    bool table_filled;       /* the table matches the current entry and table_memory */
    char *table_memory;      /* temporaries */
    struct working *working; /* between calls NULL, if the runtime is shared */
    struct urza_tape tape;
    void **table;              /* pointer tables of all launches: module.slot_count */
    uint32_t interrupts;       /* of the module, when the call began */
    int64_t *key, *key_end;    /* module.key_count; behind what was filled of it */
    struct tensor *tensors;    /* inputs, then outputs */
    void **data;               /* dense memory of each tensor */
    struct guard_input *given; /* by input */
    struct context_stats stats;
};

/* The slot of a context's table that gets the pointer of an input or output. */
struct slot_patch {
    uint32_t slot, tensor;
};

/* Arguments of a loop's launches that lie elsewhere in each trip (enum plan_turn). */
struct loop_turn {
    uint32_t slot;
    uint32_t index; /* of the state or row */
    enum plan_turn what;
};
struct loop_turns {
    const struct loop_turn *items;
    uint32_t count;
};

/* Launches are recorded while spans is not NULL. */
struct trace {
    urza_span *spans;
    uint32_t room;
    _Atomic uint32_t count;
};

struct urza_module {
    struct arena arena; /* only written while loading */
    struct package_contents package;

    const struct package_target *target; /* NULL: calls are interpreted, for this reason: */
    const char *reason;
    const char *step_text;          /* urza_step_text */
    const struct graft_spec *graft; /* NULL: it is none */
    struct image image;
    urza_kernel_fn **kernels; /* by index in the target's table */
    struct urza_runtime *runtime;
    _Atomic uint32_t references; /* of an owner */
    uint32_t chunks;             /* of every launch; 0: chosen by launch_chunks */
    void (*on_event)(void *user, const urza_event *event);
    void *user;

    bool borrowed; /* the package's bytes stay as they are: params may lie there */
    char *param_memory;
    void **params;  /* by param */
    void **pending; /* by param: values set but not prepared yet; NULL: none */
    char *prepared_memory;
    void **fixed; /* by buffer of the plan: params and prepared buffers; NULL for others */
    /* The arguments of all forward launches, then for each loop: iter, and of each state from,
     * state, next and result, and of each row the row and its result. */
    uint32_t slot_count;
    uint32_t *slot_buffer; /* by slot; PLAN_NONE: none */
    uint32_t loop_slots;   /* the first of a loop */
    uint32_t move_count;   /* of all loops */
    struct slot_patch *patches;
    uint32_t patch_count;
    struct loop_turns *turns; /* by loop */
    uint32_t *updates;        /* by output: the input that it updates; UPDATE_NONE: none */
    bool *in_place;           /* by output: kernels may write it over that input */
    uint32_t *input_integers; /* by input: its elements, if some tell dims; else 0 */
    uint32_t key_count;       /* dims of all inputs, and those elements */

    urza_tensor_info *inputs, *outputs, *param_infos;
    urza_dim_info *dim_infos;

    int64_t most_trips;  /* of loops that have a condition; 0: no limit */
    int64_t tried_trips; /* of all loops where calls are interpreted; 0: no limit */
    _Atomic uint32_t interrupts;

    /* The training step, a module of its own; NULL: there is none. */
    struct urza_module *step;
    /* What the host knows of: the block of a training step; else the module itself. It has the
     * trace, the last fallback and the sizes of the last shape, and its launches are counted
     * before this module's in a trace. */
    struct urza_module *owner;
    uint32_t first_launch;
    /* Of a training step: by input, for a cotangent the output that it belongs to; by output, for a
     * gradient the source (inputs, then params) that it belongs to; else PLAN_NONE. */
    uint32_t *cotangent_of, *gradient_of;
    /* By forward launch: the outputs that hang on it, as bits; the last one for all from 63 on.
     * NULL: not a training step, or interpreted. */
    uint64_t *feeds;

    struct trace trace;
    struct shape_cache shapes;
    struct stack contexts;
    _Atomic uint64_t arena_bytes, intermediate_bytes;
    const char *_Atomic last_fallback; /* the reason, which lives as long as the module; NULL: none
                                          yet */
};

/* call.c: checks an input, fills its context.tensors and given, and adds its part to the key. */
bool call_check_input(const struct urza_module *module, struct call_context *context,
                      uint32_t input, const DLTensor *given, bool need_data, struct error *err);
/* Whether a tensor that is written shares a byte with another one of the first `count`. */
bool call_meets(const struct call_context *context, const struct tensor *tensor, uint32_t count);
/* Room for a tensor in staging memory. */
static inline size_t staged_bytes(size_t size)
{
    return (size + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
}
/* All inputs: fills context.tensors, given and key. */
bool call_check_inputs(const struct urza_module *module, struct call_context *context,
                       const DLTensor *inputs, uint32_t count, bool need_data, struct error *err);
/* Checks a tensor of the caller's that a call writes: its type, and that its elements have
 * addresses of their own. */
bool call_check_written(const DLTensor *given, const urza_tensor_info *info, const int64_t *shape,
                        struct tensor *out, struct error *err);

/* training.c: what a module needs to run as a training step of `block`. */
bool training_init(struct urza_module *step, const struct urza_module *block, struct error *err);

/* prepare.c: memory of params and prepared buffers, and the launches that fill prepared buffers. */
bool prepare_init(struct urza_module *module, struct error *err);
bool prepare_run(struct urza_module *module, struct error *err); /* ERR_NOMEM: no change */
void prepare_release(struct urza_module *module);

/* context.c */
struct call_context *context_take(struct urza_module *module, struct error *err);
void context_put(struct urza_module *module, struct call_context *context);
/* Working memory of size bytes or more; its content is lost. */
char *context_reserve(const struct urza_module *module, struct call_context *context,
                      enum working_kind kind, size_t size, struct error *err);
/* Ensures memory and a filled pointer table for the context's entry. */
bool context_ready(const struct urza_module *module, struct call_context *context,
                   struct error *err);
void contexts_release(struct urza_module *module);

/* Each statistic has one writer, so adding needs no locked instruction. */
static inline void stat_add(_Atomic uint64_t *stat, uint64_t amount)
{
    atomic_store_explicit(stat, atomic_load_explicit(stat, memory_order_relaxed) + amount,
                          memory_order_relaxed);
}

/* shapes.c: the entry for context.key; it stays valid while the context points to it. ERR_INPUT
 * (guards), ERR_LIMIT (an output that is too large), ERR_NOMEM. */
const struct shape_entry *shapes_find(struct urza_module *module, struct call_context *context,
                                      struct error *err);
void shapes_release(struct urza_module *module);

/* shape_entry.c: makes an entry; context.given must hold the inputs' shapes. */
struct shape_entry *shape_entry_new(struct urza_module *module, const struct call_context *context,
                                    uint64_t hash, struct error *err);

/* shape_entry.c: into how many chunks a launch is split. The host's number, if it set one; else 1
 * for cheap launches, and otherwise enough to share them among the threads. dims: as in the
 * plan; extent: of one of `parts` equal parts of it that run one after the other. */
uint32_t launch_chunks(const struct urza_module *module, const struct plan_launch *launch,
                       const int64_t *dims, int64_t extent, int64_t scratch_stride, int64_t parts);
/* shape_entry.c: the bytes of a buffer of the plan; SIZE_MAX: too many. */
size_t shape_buffer_bytes(const struct plan *plan, uint32_t buffer, const int64_t *dims);
/* slices.c: chooses slices and at_once of a loop of an entry whose moves and launches are there,
 * and the slice of its launches: so many slices at once that what is computed stays in a cache. */
void slices_choose(const struct urza_module *module, const struct shape_entry *entry, uint32_t loop,
                   struct shape_loop *out);
/* execute.c: runs forward launches of the context's entry: `count` of the plan from `first` on, and
 * of these only those that outputs in `wanted` hang on (feeds). False, ERR_CANCELLED: it was
 * interrupted. */
struct part {
    uint32_t first, count;
    uint64_t wanted;
};
bool execute_part(struct urza_module *module, struct call_context *context, const struct part *part,
                  struct error *err);
bool execute(struct urza_module *module, struct call_context *context, struct error *err);
/* Whether urza_interrupt was called since the call began. */
bool is_interrupted(const struct urza_module *module, const struct call_context *context);
/* Runs iterations of a launch: `first` and those behind it, `count` in all. */
struct iterations {
    int64_t first, count;
};
void launch_run(struct urza_module *module, const struct shape_launch *launch, void *const *buffers,
                const int64_t *dims, char *scratch, struct iterations part);

/* fallback.c: runs the graph in the interpreter, from and to context.data; counts and reports the
 * call. */
bool fallback_run(struct urza_module *module, struct call_context *context, const char *reason,
                  struct error *err);

/* fallback.c: the graph's sources for the interpreter: inputs from context.data, and params. */
struct interp_tensor;
bool interpreter_sources(const struct urza_module *module, const struct call_context *context,
                         struct arena *arena, struct interp_tensor *out, struct error *err);

#endif
