/* Many modules in one process: what they share, how long they live, and how one takes the place of
 * another while calls go on. Included by urza/run.h, whose words on threads, forks, errors and
 * memory hold here, too. */
#ifndef URZA_RUNTIME_H
#define URZA_RUNTIME_H

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A runtime owns threads and working memory. Modules that are loaded with
 * urza_load_options.runtime run on its threads, and take the memory of temporaries, of copies and
 * of results from it for the time of a call. So there is as much of it as calls run at the same
 * time, each of the size that the largest module needs, however many modules are loaded. A module
 * that is loaded without one has threads and memory of its own.
 *
 * Working memory grows to what calls need, and stays for the next ones. A piece that was more than
 * four times too large for 64 calls in a row is freed; so it does not matter whether one call was
 * unusually large. */
typedef struct urza_runtime_options {
    uint32_t threads; /* as in urza_load_options */
    void (*parallel)(void *user, void (*task)(void *argument, uint32_t index), void *argument,
                     uint32_t count);
    void *user;
    /* Working memory that no call uses is freed as soon as it is more than this. 0: no limit. */
    uint64_t idle_bytes;
} urza_runtime_options;

/* options NULL: one thread, no limit. */
int urza_runtime_new(const urza_runtime_options *options, urza_runtime **out, urza_error *err);
/* Gives back the reference of urza_runtime_new, or one of urza_runtime_retain. The runtime lives on
 * until its last module is freed. Both accept NULL. */
void urza_runtime_release(urza_runtime *runtime);
urza_runtime *urza_runtime_retain(urza_runtime *runtime); /* returns it */
/* Frees working memory that no call uses, until at most keep_bytes of it are left; and all memory
 * of results that were released. Returns how much is left. From any thread, also during calls.
 * Accepts NULL. */
uint64_t urza_runtime_trim(urza_runtime *runtime, uint64_t keep_bytes);

typedef struct urza_runtime_stats {
    uint32_t modules, threads;
    uint64_t working_bytes; /* of calls that run now, of tapes, and idle */
    uint64_t idle_bytes;    /* of these, what no call uses */
} urza_runtime_stats;
void urza_runtime_stats_get(const urza_runtime *runtime, urza_runtime_stats *out);

/* Modules count their references: the one that a load function gives, those of urza_retain and
 * urza_handle_get, one of each handle that they are in, and one of each tape. The last one that
 * urza_unload, a handle or a tape gives back frees the module, on that thread; whoever makes a call
 * must have one. */
urza_module *urza_retain(urza_module *module); /* returns it; accepts NULL */

/* A handle is a place for a module, which another one may take at any time: a call that begins
 * later runs that one. Nothing waits for anything, on either side. */
typedef struct urza_handle urza_handle;
int urza_handle_new(urza_module *module, urza_handle **out, urza_error *err); /* NULL: empty */
/* No other function may be running on the handle. Accepts NULL. */
void urza_handle_free(urza_handle *handle);
/* The module with a reference of the caller's, for urza_unload. NULL: the handle is empty. */
urza_module *urza_handle_get(urza_handle *handle);
/* Puts a module into the handle, which takes a reference of its own; NULL: none. Refused where the
 * module cannot stand for the one that is there: inputs and outputs must have the same names,
 * dtypes and shapes, and each named dim at least the same range. */
int urza_handle_replace(urza_handle *handle, urza_module *module, urza_error *err);
/* urza_call with the module that is there. ERR_NOT_FOUND: the handle is empty. */
int urza_handle_call(urza_handle *handle, const DLTensor *inputs, uint32_t input_count,
                     DLTensor *outputs, uint32_t output_count, urza_result **hold, urza_error *err);

/* Judges what a call gave: computes the block in float64 on these inputs, with a bound on how far
 * the result of any correct code may be off, in whatever order it adds. VerificationError, with
 * the output and the element, where one is farther off; InvalidInputError for tensors that do not
 * fit. It takes as long as the interpreter, and about 24 bytes for each element of all values that
 * are alive at one time. */
typedef struct urza_verdict {
    double worst_ratio;    /* the largest difference, over its bound */
    uint64_t elements;     /* of all outputs that were compared */
    uint64_t undetermined; /* of these, where no bound decides: a comparison of equal numbers */
} urza_verdict;
int urza_judge(urza_module *module, const DLTensor *inputs, uint32_t input_count,
               const DLTensor *outputs, uint32_t output_count, urza_verdict *out, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
