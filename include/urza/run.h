/* Urza's runtime: loads packages and runs them. C and C++. Links no compiler.
 *
 * A module is a loaded package. Any number of threads may use one module; up to 1024 calls may run
 * at the same time (LimitExceededError beyond). After the first call with a given set of input
 * shapes a call allocates nothing. A module caches the layout of some hundred shapes; others are
 * laid out again. Calls that cannot run natively (no code for this CPU, sizes beyond the plan) are
 * interpreted, and counted with the reason; inputs that violate the guards are an error. No
 * function ends or blocks the host process.
 *
 * Tensors are DLPack DLTensors on the CPU; any strides are accepted (tensors that are not dense are
 * copied first).
 *
 * Fork: no function takes a lock, so the child of a fork may call and unload modules that its
 * parent loaded, whatever other threads were doing. The child has only the calling thread; memory
 * held by calls that other threads were in is leaked there.
 *
 * Floating point: results do not depend on the calling thread's mode (rounding, flush to zero,
 * subnormals, trapped exceptions). When a function returns, mode and flags are as before, on its
 * thread and on those of options.parallel; callbacks run in the host's own mode.
 *
 * Cancellation: no function is a cancellation point of pthread_cancel, and callbacks run with
 * cancellation disabled. A thread with asynchronous cancellation must not call.
 *
 * Stack: functions use at most 16 KiB of the calling thread's stack, and so do tasks on threads of
 * options.parallel. Parsing a package may take up to 2 MiB: if the calling thread has less left,
 * another thread does it, which has ended when the function returns. */
#ifndef URZA_RUN_H
#define URZA_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "urza/dlpack.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_module urza_module;
typedef struct urza_runtime urza_runtime; /* what modules share: urza/runtime.h */
typedef struct urza_result urza_result;   /* owns outputs in the runtime's memory */

typedef struct urza_error {
    int code;        /* 0: none; otherwise a class; urza_error_name gives its name */
    char place[160]; /* the input, entry or dim; may be empty */
    char message[512];
} urza_error;

const char *urza_error_name(int code);
const char *urza_version(void);

typedef enum urza_trust {
    URZA_TRUST_REQUIRE = 1, /* refuse packages without a trusted signature */
    /* Accept unsigned packages; a signature that is present must still be valid and trusted. */
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
    /* Threads of the module's pool, the caller included; with `parallel`, the number of tasks that
     * may run at one time. A launch is split into at most four times as many chunks. Default 1. */
    uint32_t threads;
    /* Split every launch into this many chunks (or as many as it has iterations), whatever its work
     * and the number of threads: to check that results have the same bits. 0: chosen by work and
     * threads. */
    uint32_t chunks;
    const char *target; /* run this target's code instead of the best one's ("interpreter": no
                           native code) */
    /* Called on calling threads, for each call that is interpreted; may be NULL. */
    void (*on_event)(void *user, const urza_event *event);
    void *user;
    /* The host's thread pool: must run task(argument, i) for 0 ≤ i < count, in any order, and
     * return when all are done. NULL: the module has its own threads. */
    void (*parallel)(void *user, void (*task)(void *argument, uint32_t index), void *argument,
                     uint32_t count);
    /* Loops that end by a condition, which a call finds out, make at most this many trips, as if
     * the model said so; their results are what they had by then. 0: as many as the model allows.
     */
    int64_t most_trips;
    /* Whose threads and working memory the module uses; then threads, parallel and its user are the
     * runtime's, and must not be given here. NULL: those of its own. */
    urza_runtime *runtime;
    const char *home; /* folder whose trusted keys are accepted too (`urza keys`); NULL: none */
} urza_load_options;

/* A package has at most 1 TiB, and a file at most half the machine's memory: larger ones are
 * refused (LimitExceededError) before they are read. The bytes or the file are not needed any more
 * when a load function has returned.
 *
 * All functions that return int return 0 on success and the error's code otherwise; err may be
 * NULL.
 */
int urza_load(const char *path, const urza_load_options *options, urza_module **out,
              urza_error *err);
int urza_load_memory(const void *bytes, size_t size, const urza_load_options *options,
                     urza_module **out, urza_error *err);
/* Ends calls of the module that are running, from any thread: before the next trip of a loop they
 * return CancelledError, and what their outputs hold is not told. Calls without loops, and calls
 * that begin later, are not affected. Accepts NULL. */
void urza_interrupt(urza_module *module);
/* Gives a reference back (urza/runtime.h); the last one frees the module. The thread that has it
 * may have no call running with it. Results that are still held stay valid. Accepts NULL. */
void urza_unload(urza_module *module);

typedef struct urza_tensor_info {
    const char *name;
    DLDataType dtype;
    int32_t rank;
    const int64_t *shape;        /* -1: depends on named dims */
    const char *const *dim_text; /* expressions: "B", "64", "2*S" */
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
    int64_t typical;     /* 0: not given */
} urza_dim_info;

uint32_t urza_dim_count(const urza_module *module); /* named dims */
const urza_dim_info *urza_dim(const urza_module *module, uint32_t index);
/* The shape of an input if the named dims have these values (by index); shape has room for 8
 * dims. */
int urza_input_shape(const urza_module *module, uint32_t input, const int64_t *dim_values,
                     int64_t *shape, urza_error *err);

/* Whether elements of an input decide named dims, as k of a TopK does that is an input. */
int urza_input_decides(const urza_module *module, uint32_t input);
/* Writes the elements of such an input to values, dense, in its dtype, so that the named dims have
 * these values (by index); elements that decide nothing stay as they are. Of other inputs nothing
 * is written. */
void urza_input_fill(const urza_module *module, uint32_t input, const int64_t *dim_values,
                     void *values);

/* The shapes of the outputs for inputs of these shapes: writes the dims of output i to shapes[i],
 * which has room for 8. Inputs need no data, but those whose elements decide dims. */
int urza_output_shapes(urza_module *module, const DLTensor *inputs, uint32_t input_count,
                       int64_t (*shapes)[8], urza_error *err);

/* Runs the package. Inputs are in declaration order. An output is in the caller's memory (dense or
 * strided, in the shape that urza_output_shapes gives), or has data NULL, and a shape pointer with
 * room for 8 dims: then hold must be given, and the output points into memory of *hold until
 * urza_result_release.
 *
 * Refused as invalid input, before anything is written: an output that shares a byte with an input
 * or another output, or of which two elements share one. Strides may be negative, and tensors may
 * be interleaved, such as alternating columns of one matrix. Strides for which it would take too
 * long to decide whether tensors overlap are refused, too. Inputs may overlap each other and
 * themselves (stride 0). */
int urza_call(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
              uint32_t output_count, urza_result **hold, urza_error *err);
/* From any thread, before or after the module is unloaded. Accepts NULL. */
void urza_result_release(urza_result *hold);

/* The values of a parameter, dense and in the shape and dtype of urza_param_info: those of the
 * package, or of the last urza_prepare behind urza_param_set. Valid until then, or until the module
 * is unloaded. NULL: no such parameter. */
const void *urza_param_data(const urza_module *module, uint32_t index);
/* Replaces a parameter's values (copied; shape and dtype must match); takes effect at the next
 * urza_prepare. Neither function may run at the same time as calls on the module. */
int urza_param_set(urza_module *module, const char *name, const DLTensor *value, urza_error *err);
int urza_prepare(urza_module *module, urza_error *err);

/* A trace: when each launch ran, and where. */
typedef struct urza_span {
    /* Index in the package's plan: launches of urza_prepare, then of a call, of forward_train and
     * of backward. A launch without iterations at a size does not run and has no span. */
    uint32_t launch;
    uint32_t chunk, chunks;    /* index of the chunk, and into how many the launch was split */
    int64_t thread;            /* system id of the thread that ran it */
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
} urza_span;

/* From now on the chunks of launches, of calls and of urza_prepare, are recorded in spans, as far
 * as there is room, in the order in which they end. spans stays the caller's, and must live until
 * the end of the trace. Neither function may run at the same time as a call. Without a trace this
 * costs one comparison per chunk. */
int urza_trace_begin(urza_module *module, urza_span *spans, uint32_t room, urza_error *err);
/* The number of spans; if that is more than the room, the rest was not recorded. 0 without a
 * trace. */
uint32_t urza_trace_end(urza_module *module);

typedef struct urza_stats {
    uint64_t calls; /* all calls, refused ones and both parts of a training step included */
    uint64_t native_calls, fallback_calls;
    uint64_t launches;           /* of kernels, in native calls */
    uint64_t shape_misses;       /* calls whose shapes had to be laid out */
    uint64_t copied_inputs;      /* strided tensors copied */
    uint64_t arena_bytes;        /* size of temporaries for the last shape that was laid out */
    uint64_t intermediate_bytes; /* size they would have without reuse of memory */
    char last_fallback[128];     /* the last reason for interpreting a call; empty: none */
} urza_stats;
void urza_stats_get(const urza_module *module, urza_stats *out);

#ifdef __cplusplus
}
#endif

#include "urza/runtime.h"
#include "urza/train.h"

#endif
