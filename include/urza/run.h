/* Urza's runtime: loads packages and runs them. C and C++. Links no compiler.
 *
 * A module is a loaded package. Calls on one module may come from any number of threads at once, up
 * to 1024 at the same time (LimitExceededError beyond). After the first call with a given set of
 * input shapes a call allocates nothing. A module remembers some hundred shapes; more are laid out
 * again when they return. What cannot run natively (no code for this CPU, sizes beyond the plan) is
 * interpreted, and counted with its reason; what the guards refuse is an error. Nothing here ends
 * or blocks the host process.
 *
 * Tensors are DLPack DLTensors on the CPU; any strides are accepted (tensors that are not dense are
 * copied first).
 *
 * Fork: no function takes a lock, so the child of a fork may go on calling and unload what its
 * parent loaded, whatever other threads were doing. It has no threads but the caller's; what calls
 * in flight held is lost to it.
 *
 * Floating point: results do not depend on the calling thread's mode (rounding, flush to zero,
 * subnormals, exceptions that are signals). Mode and flags are as before when a function returns,
 * on its thread and on those of options.parallel, and are the host's own in its callbacks.
 *
 * Cancellation: no function is a point where pthread_cancel ends its thread, and callbacks run with
 * cancellation off. A thread that may be cancelled at any instruction must not call.
 *
 * Stack: functions take at most 16 KiB of the calling thread's, and so do tasks on threads of
 * options.parallel. Reading a package may take up to 2 MiB: on a thread with less left it is done
 * by another one, which is gone when the function returns. */
#ifndef URZA_RUN_H
#define URZA_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "urza/dlpack.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_module urza_module;
typedef struct urza_result urza_result; /* holds outputs that live in the runtime's memory */

typedef struct urza_error {
    int code;        /* 0: none; otherwise a class; urza_error_name gives its name */
    char place[160]; /* the input, entry or dim; may be empty */
    char message[512];
} urza_error;

const char *urza_error_name(int code);
const char *urza_version(void);

typedef enum urza_trust {
    URZA_TRUST_REQUIRE = 1, /* refuse packages that no trusted key signed */
    /* Accept unsigned ones; a signature that is there must still be right. */
    URZA_TRUST_ALLOW_UNSIGNED = 2,
} urza_trust;

typedef struct urza_event {
    const char *kind; /* "fallback" */
    const char *kernel_id;
    const char *reason; /* borrowed for the call of the callback */
} urza_event;

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_load_options {
    urza_trust trust;                  /* default: URZA_TRUST_REQUIRE */
    const uint8_t (*trusted_keys)[32]; /* Ed25519 public keys */
    uint32_t trusted_key_count;
    /* Threads of the module's pool, the caller included; with parallel, how many tasks may run at
     * one time. A launch is split into at most four times as many chunks. Default 1. */
    uint32_t threads;
    /* Split every launch into this many chunks (as far as it has iterations), whatever its work and
     * the threads there are: for checking that results are the same bits. 0: as it pays. */
    uint32_t chunks;
    const char *target; /* run this target's code instead of the best one ("interpreter": none) */
    /* Called from calling threads, for each call that is interpreted; may be NULL. */
    void (*on_event)(void *user, const urza_event *event);
    void *user;
    /* The host's thread pool instead of ours: must run task(argument, i) for 0 ≤ i < count, in any
     * order, and return when all are done. NULL: own threads. */
    void (*parallel)(void *user, void (*task)(void *argument, uint32_t index), void *argument,
                     uint32_t count);
} urza_load_options;

/* A package has at most 1 TiB, and a file at most half as many bytes as the machine has memory: a
 * larger one is refused (LimitExceededError) before it is read. What is in bytes or in the file is
 * not needed any more when a load function returns.
 *
 * All functions that return int give 0 on success and the error's code otherwise; err may be NULL.
 */
int urza_load(const char *path, const urza_load_options *options, urza_module **out,
              urza_error *err);
int urza_load_memory(const void *bytes, size_t size, const urza_load_options *options,
                     urza_module **out, urza_error *err);
/* No call may be running; NULL is fine. Results that are still held stay as they are. */
void urza_unload(urza_module *module);

typedef struct urza_tensor_info {
    const char *name;
    DLDataType dtype;
    int32_t rank;
    const int64_t *shape;        /* -1: dynamic */
    const char *const *dim_text; /* "B", "64", "2*S" */
} urza_tensor_info;

const char *urza_kernel_id(const urza_module *module);
const char *urza_target(const urza_module *module); /* "x86-64-v4", or "interpreter" */
uint32_t urza_input_count(const urza_module *module);
uint32_t urza_output_count(const urza_module *module);
uint32_t urza_param_count(const urza_module *module);
const urza_tensor_info *urza_input_info(const urza_module *module, uint32_t index);
const urza_tensor_info *urza_output_info(const urza_module *module, uint32_t index);
const urza_tensor_info *urza_param_info(const urza_module *module, uint32_t index);

typedef struct urza_dim_info {
    const char *name;
    int64_t min, max;    /* legal values */
    int64_t multiple_of; /* ≥ 1 */
    int64_t typical;     /* 0: none given */
} urza_dim_info;

uint32_t urza_dim_count(const urza_module *module); /* named dims */
const urza_dim_info *urza_dim(const urza_module *module, uint32_t index);
/* Shape of an input where the named dims have these values (by index; room for 8). */
int urza_input_shape(const urza_module *module, uint32_t input, const int64_t *dim_values,
                     int64_t *shape, urza_error *err);

/* Shapes of the outputs for inputs of these shapes: writes rank values into shapes[i] (room for 8)
 * each. */
int urza_output_shapes(urza_module *module, const DLTensor *inputs, uint32_t input_count,
                       int64_t (*shapes)[8], urza_error *err);

/* Runs forward. Inputs in declaration order. Outputs: caller's memory (dense or strided, shape as
 * urza_output_shapes says), or data NULL with room for 8 dims behind shape: then hold must be given
 * and outputs point into memory of their own until urza_result_release.
 *
 * Refused as invalid input, before anything is written: an output that shares a byte with an input
 * or another output, or two of whose elements share one. Strides may be negative, and tensors may
 * lie between each other's elements, as columns of one matrix in turn do. Where strides are so
 * entangled that it would take long to decide, they are refused too. Inputs may overlap each other
 * and themselves (stride 0). */
int urza_call(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
              uint32_t output_count, urza_result **hold, urza_error *err);
/* From any thread, before or after the module is unloaded; NULL is fine. */
void urza_result_release(urza_result *hold);

/* Replaces a parameter's values (copied; shape and dtype must match); takes effect at the next
 * urza_prepare. Neither may run beside calls on the same module. */
int urza_param_set(urza_module *module, const char *name, const DLTensor *value, urza_error *err);
int urza_prepare(urza_module *module, urza_error *err);

/* A trace: when each launch ran, and where. */
typedef struct urza_span {
    /* By the order in the package's plan: launches of urza_prepare first, then those of a call. One
     * that has no iterations at a size is not run there. */
    uint32_t launch;
    uint32_t chunk, chunks;    /* which part of the launch, of how many */
    int64_t thread;            /* the system's number of the thread that ran it */
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
} urza_span;

/* From now on the launches of calls and of urza_prepare are noted in spans, as far as there is
 * room, in the order in which they end. spans stays the caller's, and must live until the end of
 * the trace. Neither function may run beside a call. While nothing is traced, tracing costs a
 * comparison for each chunk. */
int urza_trace_begin(urza_module *module, urza_span *spans, uint32_t room, urza_error *err);
/* How many spans there were; more than the room: the rest is lost. 0 where nothing is traced. */
uint32_t urza_trace_end(urza_module *module);

typedef struct urza_stats {
    uint64_t calls; /* all, refused ones included */
    uint64_t native_calls, fallback_calls;
    uint64_t launches;           /* of kernels, in native calls */
    uint64_t shape_misses;       /* calls that had to lay out memory for a new shape */
    uint64_t copied_inputs;      /* strided tensors copied */
    uint64_t arena_bytes;        /* temporaries of the last shape laid out */
    uint64_t intermediate_bytes; /* what they would take without reuse */
    char last_fallback[128];     /* reason; empty: never */
} urza_stats;
void urza_stats_get(const urza_module *module, urza_stats *out);

#ifdef __cplusplus
}
#endif
#endif
