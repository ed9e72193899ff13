/* The parts of the runtime that know nothing of modules: memory blocks, code pages, the layout of
 * temporaries, threads, a lock-free stack, tensors. Memory is owned by whoever asked for it. A part
 * may be used from any thread where nothing else is said. */
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
#define POOLED_MAX 1024 /* contexts, or results kept for use again, of one module */

/* block.c: memory is 64-aligned and not zeroed. */
/* size bytes (0 is fine), NULL when there is no memory; free() gives them back. */
void *block_new(size_t size);
/* Half of the machine's memory, in bytes. Where memory is overcommitted, asking for more than there
 * is would bring the host down later, so this is the most that one thing may take. */
size_t memory_half(void);
/* size up to the next multiple of BLOCK_ALIGN; false when that does not fit. */
bool block_round(int64_t size, int64_t *out);

/* Carves arrays out of one block: a first walk with base NULL measures, a second one places. */
struct carve {
    char *base;
    size_t used_bytes;
};
void *carve_take(struct carve *carve, size_t count, size_t size);

/* image.c: code as pages to be read and executed; image.c says what seals them. */
struct image {
    const uint8_t *code; /* NULL: nothing is mapped */
    size_t size_bytes;
};
bool image_map(struct image *out, const void *code, size_t size, struct error *err); /* ERR_IO */
void image_unmap(struct image *image);

/* layout.c: places items so that two that live at the same time (inclusive intervals) never share
 * a byte. Offsets are multiples of 64. work: room for 2 × count pointers. False when the total does
 * not fit in 63 bits. The same items give the same offsets. */
struct layout_item {
    int64_t size_bytes; /* ≥ 0 */
    uint32_t first, last;
    int64_t offset;
};
bool layout_place(struct layout_item *items, uint32_t count, struct layout_item **work,
                  int64_t *out_bytes);

/* thread.c: threads that take no signals. False: there is none, and nothing ran. */
bool thread_start(pthread_t *out, const pthread_attr_t *attributes, void *(*work)(void *),
                  void *argument); /* attributes NULL: the default */
/* Bytes of stack that the calling thread has below this call; 0 where that is unknown. */
size_t thread_stack_left(void);
/* Runs run(argument) on a thread with a stack of so many bytes, and waits for it. Cancellation must
 * be off. */
bool thread_run(size_t stack_bytes, void (*run)(void *argument), void *argument);

/* pool.c: runs tasks on the module's threads or the host's. */
typedef void pool_task(void *argument, uint32_t index);
typedef void pool_parallel(void *user, pool_task *task, void *argument, uint32_t count);
struct pool;
/* threads: the caller included; with parallel no threads are made. When some threads cannot be
 * started the pool works with those that could. NULL: no memory. */
struct pool *pool_new(uint32_t threads, pool_parallel *parallel, void *user);
void pool_free(struct pool *pool);
/* Runs task(argument, i) for 0 ≤ i < count ≤ LIMIT_THREADS and returns when all are done. A pool
 * that serves another call already leaves all of them to the caller: nobody waits for anybody
 * else's work. */
void pool_run(struct pool *pool, pool_task *task, void *argument, uint32_t count);

/* stack.c: objects to take and put back without a lock; the last one put is the first taken. */
struct pooled {
    _Atomic uint32_t next; /* 1 + index below it on the stack */
    uint32_t number;       /* 1 + index; 0: not registered */
};
struct stack {
    _Atomic uint64_t head; /* count of changes << 32 | 1 + index of the top */
    _Atomic uint32_t count;
    struct pooled *_Atomic items[POOLED_MAX];
};
struct pooled *stack_take(struct stack *stack); /* NULL: empty */
void stack_put(struct stack *stack, struct pooled *item);
/* Gives a new object its number, so that it may be put; false when the stack has POOLED_MAX. */
bool stack_register(struct stack *stack, struct pooled *item);

/* tensor.c: a DLTensor that has been checked. */
struct tensor {
    enum dtype dtype;
    uint32_t rank;
    const int64_t *shape;
    const int64_t *strides; /* in elements; NULL: dense */
    bool dense;             /* row-major without gaps, aligned to its elements */
    int64_t elements;
    size_t size_bytes; /* of all elements, dense */
    char *data;        /* NULL only without elements, or where need_data is false */
    uintptr_t low;     /* the lowest byte; where there are data and elements */
    size_t span_bytes; /* from there to the end of the highest; 0: no memory is touched */
};
/* ERR_INPUT; place is left to the caller. */
bool tensor_check(const DLTensor *given, bool need_data, struct tensor *out, struct error *err);
DLDataType tensor_dtype(enum dtype dtype);
/* Bytes from one index to the next, by dim; 0 for dims without a next index. */
void tensor_steps(const struct tensor *tensor, int64_t steps[LIMIT_RANK]);

/* overlap.c: whether two elements of a tensor share a byte; whether two tensors do. Exact, but
 * where strides are too entangled to decide it soon: then the answer is yes. */
bool tensor_meets_itself(const struct tensor *tensor);
bool tensors_meet(const struct tensor *a, const struct tensor *b);

/* copy.c: between a tensor and dense memory. */
void copy_to_dense(void *dense, const struct tensor *tensor);
void copy_from_dense(const struct tensor *tensor, const void *dense);

#endif
