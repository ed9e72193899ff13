/* The compiler: from a blueprint to the bytes of a package.
 *
 * compile_blueprint runs the whole pipeline on the calling thread, in memory, and opens no files
 * but those that parameters name (INIT_FILE). LLVM may end the process on internal errors;
 * compile_isolated runs the same in a child process with limits on time and memory, so that such an
 * end is an error here. */
#ifndef URZA_COMPILER_COMPILE_H
#define URZA_COMPILER_COMPILE_H

#include "compiler/cache/cache.h"
#include "package/package.h"

struct board;
struct config;
struct error;
struct graph;
struct group;
struct import_tensor;
struct nest;
struct partition;
struct pass_row;
struct sched_hint;
struct scheduling;
struct step;
struct strbuf;
struct target;

enum strategy {
    STRATEGY_NONE,
    STRATEGY_EMERGENCY,
    STRATEGY_FAST,
    STRATEGY_STANDARD,
    STRATEGY_AGGRESSIVE, /* as standard; the caller's chooser measures */
    STRATEGY_COUNT
};
const char *strategy_name(enum strategy strategy);  /* "fast" */
enum strategy strategy_from_name(const char *name); /* STRATEGY_NONE if unknown */

enum stage {
    STAGE_READ,
    STAGE_OPTIMISE,
    STAGE_LOWER,
    STAGE_SCHEDULE,
    STAGE_CODEGEN,
    STAGE_PACKAGE,
    STAGE_COUNT
};
const char *stage_name(enum stage stage);

#define DUMP_LEVELS "graph|optimised|groups|loops|schedule|llvm|asm|plan"
/* All levels at once, as sections: graph; then for each target its optimised graph, groups and
 * plan, and for each kernel its loops, schedule, llvm and asm. */
#define DUMP_ALL "all"
struct dump_section {
    char level[16], target[32]; /* target: "" for graph */
    uint32_t kernel;            /* index of the target's group; DUMP_NO_KERNEL */
    char label[160];            /* of the kernel; "": none */
    const char *text;           /* borrowed from the dump */
    size_t size;
};
#define DUMP_NO_KERNEL UINT32_MAX
/* Parses one section of a DUMP_ALL dump at *at and moves *at behind it. False at the end, or if the
 * text is no such dump, which may come from a child. */
bool dump_next(const char **at, struct dump_section *out);

/* A kernel that is about to be scheduled, for the choice of its config. All pointers are borrowed
 * for the call. */
struct kernel_question {
    const struct graph *graph;         /* optimised for the target */
    const struct partition *partition; /* its cut … */
    const struct group *group;         /* … and the kernel's group */
    const struct target *target;
    const struct sched_hint *hint; /* for scheduling another nest of the group */
    struct scheduling *scheduling; /* of this nest, begun: sched_default and sched_space may be
                                      called */
};

/* What scheduling needs to know of a kernel besides its nest. */
struct sched_hint kernel_hint(const struct graph *graph, const struct group *group);

/* Chooses a config for a kernel; fails if it must have one and does not. */
struct config_chooser {
    bool (*choose)(void *context, const struct kernel_question *question, struct config *out,
                   struct error *err);
    void *context;
};

/* The state of the job for one target. All of it may be read, and changed in place to see what the
 * later stages make of the change. */
struct compile_view {
    enum stage stage; /* the stage that has just ended */
    const struct target *target;
    struct arena *arena;         /* of the job */
    struct graph *graph;         /* READ: the input of the passes; OPTIMISE: their result */
    const struct pass_row *pass; /* for pass(): the pass that made the graph */
    struct nest **nests;         /* LOWER, SCHEDULE: one per group */
    const char *const *labels;   /* of these groups */
    uint32_t nest_count;
    uint32_t kernel;         /* for step(): the index of the nest … */
    const struct step *step; /* … and the step that was just taken */
    struct plan *plan;       /* PACKAGE: of the target */
};

/* For tests and tools. see() is called for each target after the stages read, optimise, lower,
 * schedule and package (when the plan exists, but not the archive). What it changes is not verified
 * again, and whole packages are neither looked up in the cache nor added to it. */
struct compile_observer {
    void (*see)(void *context, const struct compile_view *view);
    void *context;
    /* NULL, or called after each pass (in stage optimise) and after each step of a schedule. */
    void (*pass)(void *context, const struct compile_view *view);
    void (*step)(void *context, const struct compile_view *view);
};

struct compile_options {
    const struct config_chooser *chooser;    /* NULL: heuristics */
    const struct compile_observer *observer; /* NULL outside of tests and tools */
    const char *targets;    /* comma-separated; NULL: all targets of this machine's family */
    enum strategy strategy; /* default: standard */
    uint64_t seed;          /* of parameters that a dialect initialises */
    const char *dims;       /* of the source, for import_dims_parse; NULL: nothing is said */
    /* Sizes for which kernels of their own are made: a line each, "B=1,S=128", of some or all dims;
     * NULL: none. ERR_USAGE. */
    const char *specialise;
    const struct import_tensor *known; /* inputs of a model that are constants */
    uint32_t known_count;
    bool training;
    bool backward;   /* the package gets a training step, too */
    const char *wrt; /* for it: names of inputs and params, separated by commas; "params": all of
                        them; NULL: all inputs and params that are floats */
    /* Of the training step's temporaries: the peak at typical sizes, in bytes, at most; what was to
     * be saved is computed again, at any cost. ERR_LIMIT where that is not enough. 0: whatever
     * costs next to nothing is computed again. */
    int64_t peak_bytes;
    /* Compiles a whole training step of the blueprint in its place (step/step.h); of what wrt says,
     * or of all params that are floats. NULL: none. */
    const char *step, *loss;
    /* Compiles a graft of the blueprint in its place (graft/graft.h): what
     * graft_spec_ask is asked for; gradients of all but alpha, if wrt does not say. NULL: none. */
    const char *graft;
    /* The plan's first entry, forward_train, computes so many outputs, its second, backward, the
     * others; 0: one entry computes all. */
    uint32_t first_outputs;
    uint32_t threads;   /* that generate code, at most; 0: one. The bytes are the same */
    bool plain;         /* run only the needed graph passes: a fallback when one of the others
                           fails */
    const char *folder; /* base of relative paths in the blueprint; NULL: it may name no files */
    const struct signing_key *key; /* NULL: unsigned */
    const char *dump;              /* one of DUMP_LEVELS, or DUMP_ALL; NULL: none */
    uint32_t timeout_ms;           /* compile_isolated: 0 means 120,000 */
    uint64_t memory_bytes;         /* compile_isolated, in addition to the caller's: 0 means
                                      child_memory_most */
    struct cache *cache;           /* of kernels and whole packages; NULL: none. It does not change
                                      the bytes */
    struct board *board;           /* gets how far it is (base/board.h); NULL: nobody asks */
    bool kernels_only;             /* do not cache whole packages: the caller does, with
                                      compile_find and compile_store */
};

struct compile_result {
    const void *package; /* bytes, in the arena */
    size_t package_bytes;
    char kernel_id[KERNEL_ID_BYTES];
    uint32_t kernels;                           /* of one target, for forward and prepare */
    uint32_t generated, memory_hits, disk_hits; /* distinct kernels of all targets, by the source of
                                                   their code; all 0 when found */
    uint32_t passes; /* graph passes that changed something for a target, as bits in their order
                        (pass_at); 0 when found */
    enum cache_level found;        /* the cache level where the whole package was found */
    bool cacheable;                /* it may be cached: it depends on the source only, not on
                                     files */
    double stages_ms[STAGE_COUNT]; /* summed over targets */
    double total_ms;
    const char *warnings; /* those of reading (struct blueprint), and about unused inputs and params
                             and constant outputs: texts, each ended by a zero byte */
    size_t warnings_bytes;
    const char *dump;               /* text of the requested level, else NULL */
    const struct cache_value *held; /* the cache's value that owns package and warnings; NULL: the
                                       arena does */
};

/* Everything is in the arena, except a package that was found in the cache: compile_release gives
 * it back, before the cache is freed. On failure *out is unchanged. */
bool compile_blueprint(const char *text, size_t size, const struct compile_options *options,
                       struct arena *arena, struct compile_result *out, struct error *err);
/* The same from a finished graph, which is not changed. */
struct compile_source {
    const struct graph *graph;
    const struct package_param *params; /* values of its parameters, in their order */
    const char *blueprint_json;         /* stored in the package; NULL: "{}" */
};
bool compile_graph(const struct compile_source *source, const struct compile_options *options,
                   struct arena *arena, struct compile_result *out, struct error *err);
/* ERR_COMPILER_DIED when the child crashes or takes too long, ERR_NOMEM when it runs out of memory;
 * otherwise as above. The child is not confined (base/confine.h), because a chooser may measure.
 * Forks: no other thread may hold locks that the child needs (call it in a single-threaded process,
 * or in a server's spawner). The parent looks up whole packages in the cache, the child looks up
 * kernels: what it adds to the cache's memory is lost with it, what it adds to the folder is there
 * for all. */
bool compile_isolated(const char *text, size_t size, const struct compile_options *options,
                      struct arena *arena, struct compile_result *out, struct error *err);

/* Only looks for the whole package in options->cache. */
bool compile_find(const char *text, size_t size, const struct compile_options *options,
                  struct compile_result *out);
/* Adds a whole package to it, unless it may not be cached (cacheable) or was found there. */
void compile_store(const char *text, size_t size, const struct compile_options *options,
                   const struct compile_result *result);

/* The parts in which a child hands its result to the parent, and back. The received parts are
 * checked and bounded and texts are cleaned (child_clean), except for the dump, and the package,
 * which package_read checks. ERR_COMPILER_DIED. */
struct child_answer;
void compile_answer(const struct compile_result *result, struct arena *arena,
                    struct child_answer *out);
bool compile_take_answer(const struct child_answer *answer, struct compile_result *out,
                         struct error *err);

/* For a process that compiles by itself and may end (base/child.h): if LLVM runs out of memory, it
 * ends by child_no_memory. */
void compile_in_child(void);

/* Allowed without a cache, too. */
void compile_release(const struct compile_options *options, struct compile_result *result);

const char *compiler_version(void); /* "urza 0.1.0 (llvm 19)": part of every package's identity */

#endif
