/* What modules share: threads, working memory and results. Functions may be called from any
 * thread. */
#ifndef URZA_RUNTIME_SHARED_PRIV_H
#define URZA_RUNTIME_SHARED_PRIV_H

#include "runtime/parts_priv.h"

/* What calls write beside their tensors. */
enum working_kind { WORKING_TEMPORARIES, WORKING_STAGED, WORKING_BACK_STAGED, WORKING_KINDS };
struct working {
    struct pooled pooled;
    struct pooled *below; /* while memory is trimmed */
    struct working_part {
        char *memory;
        size_t bytes, needed_bytes; /* the most that was needed in the last `uses` calls */
    } parts[WORKING_KINDS];
    size_t total_bytes;
    uint32_t uses;
};

struct urza_runtime {
    _Atomic uint32_t references; /* the host's, and of each module */
    _Atomic uint32_t modules;
    bool shared;      /* otherwise it is one module's, whose contexts keep working memory */
    uint32_t threads; /* that the pool was to have */
    uint64_t idle_most;
    struct pool *pool;
    struct result_pool *results;
    struct stack working;
    _Atomic uint64_t working_bytes, idle_bytes;
};

/* The results of the modules of one runtime. The runtime and each result that the host holds count
 * as references, so a result may be released after its module was unloaded. */
struct result_pool {
    struct stack stack;
    _Atomic uint32_t references;
    _Atomic bool unloaded; /* no more results are taken: released memory is freed at once */
};

struct urza_result {
    struct pooled pooled;
    struct urza_result *below; /* while memory is trimmed */
    struct result_pool *pool;
    void *memory;
    size_t memory_bytes;
};

/* working.c */
struct working *working_take(struct urza_runtime *runtime, struct error *err);
void working_put(struct urza_runtime *runtime, struct working *working);
bool working_reserve(struct urza_runtime *runtime, struct working *working, enum working_kind kind,
                     size_t size, struct error *err); /* ERR_NOMEM */
/* Notes what is needed of a part that is large enough. */
static inline void working_need(struct working *working, enum working_kind kind, size_t size)
{
    if (working->parts[kind].needed_bytes < size)
        working->parts[kind].needed_bytes = size;
}
/* Behind a call: now and then frees a part that is much larger than what calls needed. */
#define WORKING_USES 64
void working_shrink(struct urza_runtime *runtime, struct working *working);
static inline void working_end(struct urza_runtime *runtime, struct working *working)
{
    if (++working->uses >= WORKING_USES)
        working_shrink(runtime, working);
}
uint64_t working_trim(struct urza_runtime *runtime, uint64_t keep_bytes);
void working_free(struct urza_runtime *runtime, struct working *working);

/* shared.c */
struct urza_runtime *runtime_new(const struct urza_runtime_options *options, bool shared,
                                 struct error *err);
struct urza_runtime *runtime_ref(struct urza_runtime *runtime); /* returns it */
void runtime_unref(struct urza_runtime *runtime);               /* accepts NULL */

/* result.c */
struct result_pool *results_new(void); /* NULL: no memory */
struct urza_result *result_take(struct result_pool *pool, size_t size, struct error *err);
void result_put(struct urza_result *result); /* from any thread, also after results_unload */
void results_unload(struct result_pool *pool);
void results_trim(struct result_pool *pool); /* frees the memory of those that nobody holds */

#endif
