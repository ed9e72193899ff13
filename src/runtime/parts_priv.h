/* The parts of the runtime that do not depend on modules: memory blocks, code pages, threads, a
 * lock-free stack, tensors. The caller owns the memory it asks for.
 * Functions may be called from any thread unless stated otherwise. */
#ifndef URZA_RUNTIME_PARTS_PRIV_H
#define URZA_RUNTIME_PARTS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/limits.h"
#include "graph/dtype.h"
#include "urza/run.h"

#define BLOCK_ALIGN ((size_t)64)
#define POOLED_MAX 1024 /* contexts of one module, or its results, that are kept for reuse */

/* block.c: memory is 64-aligned and not zeroed. */
/* size bytes (0 is allowed), NULL when there is no memory; freed with free(). */
void *block_new(size_t size);
/* Half of the machine's memory, in bytes: the largest single allocation. Where memory is
 * overcommitted, a larger one would succeed and bring the host down later. */
size_t memory_half(void);
/* Rounds size up to a multiple of BLOCK_ALIGN; false if the result does not fit. */
bool block_round(int64_t size, int64_t *out);

/* Divides one block into arrays: a first pass with base NULL measures, a second one places. */
struct carve {
    char *base;
    size_t used_bytes;
};
void *carve_take(struct carve *carve, size_t count, size_t size);

/* image.c: code in pages that are readable and executable, sealed as described there. */
struct image {
    const uint8_t *code; /* NULL: no code is mapped */
    size_t size_bytes;
};
bool image_map(struct image *out, const void *code, size_t size, struct error *err); /* ERR_IO */
void image_unmap(struct image *image);

/* thread.c: starts a thread with all signals blocked. False: no thread was started, and nothing
 * ran. */
bool thread_start(pthread_t *out, const pthread_attr_t *attributes, void *(*work)(void *),
                  void *argument); /* attributes NULL: the default */
/* Bytes of stack left to the calling thread below this call; 0 where that is unknown. */
size_t thread_stack_left(void);
/* Runs run(argument) on a new thread with a stack of stack_bytes, and waits for it. Cancellation
 * must be disabled. */
bool thread_run(size_t stack_bytes, void (*run)(void *argument), void *argument);

/* pool.c: runs tasks on the module's threads or on the host's. */
typedef void pool_task(void *argument, uint32_t index);
typedef void pool_parallel(void *user, pool_task *task, void *argument, uint32_t count);
struct pool;
/* threads: the caller included; with parallel no threads are made. If some threads cannot be
 * started, the pool works with the others. NULL: no memory. */
struct pool *pool_new(uint32_t threads, pool_parallel *parallel, void *user);
void pool_free(struct pool *pool);
/* Runs task(argument, i) for 0 ≤ i < count ≤ LIMIT_THREADS and returns when all are done. If the
 * pool is busy with another call, the caller runs all tasks itself, so calls never wait for each
 * other. */
void pool_run(struct pool *pool, pool_task *task, void *argument, uint32_t count);

/* stack.c: a lock-free stack of reusable objects; the last one put is the first taken. */
struct pooled {
    _Atomic uint32_t next; /* 1 + index of the object below it on the stack */
    uint32_t number;       /* 1 + index; 0: not registered */
};
struct stack {
    _Atomic uint64_t head; /* number of changes << 32 | 1 + index of the top */
    _Atomic uint32_t count;
    struct pooled *_Atomic items[POOLED_MAX];
};
struct pooled *stack_take(struct stack *stack); /* NULL: empty */
void stack_put(struct stack *stack, struct pooled *item);
/* Gives a new object its number, which stack_put needs; false when the stack already has
 * POOLED_MAX. */
bool stack_register(struct stack *stack, struct pooled *item);

/* tensor.c: a checked DLTensor. */
struct tensor {
    enum dtype dtype;
    uint32_t rank;
    const int64_t *shape;
    const int64_t *strides; /* in elements; NULL: dense */
    bool dense;             /* row-major without gaps, and aligned to its elements */
    int64_t elements;
    size_t size_bytes; /* of all elements without gaps */
    char *data;        /* NULL only for tensors without elements, or where need_data is false */
    uintptr_t low;     /* address of the lowest byte; valid if there are data and elements */
    size_t span_bytes; /* from there to the end of the highest element; 0: no memory is accessed */
};
/* ERR_INPUT; the caller adds the place. */
bool tensor_check(const DLTensor *given, bool need_data, struct tensor *out, struct error *err);
DLDataType tensor_dtype(enum dtype dtype);
/* The distance in bytes from one index to the next, by dim; 0 for dims of size 1 or less. */
void tensor_steps(const struct tensor *tensor, int64_t steps[LIMIT_RANK]);

/* overlap.c: whether two elements of a tensor share a byte; whether two tensors do. Exact, except
 * that for strides whose search would take too long the answer is yes. */
bool tensor_meets_itself(const struct tensor *tensor);
bool tensors_meet(const struct tensor *a, const struct tensor *b);

/* copy.c: copies between a tensor and dense memory. */
void copy_to_dense(void *dense, const struct tensor *tensor);
void copy_from_dense(const struct tensor *tensor, const void *dense);

#endif
