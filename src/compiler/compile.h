/* The compiler: a blueprint in, the bytes of a package out.
 *
 * compile_blueprint runs the whole pipeline on the calling thread, in memory, and touches no files
 * but those that parameters name (INIT_FILE). LLVM may end the process on internal errors;
 * compile_isolated runs the same in a child process with limits on time and memory, so that
 * whatever happens there is an error here. */
#ifndef URZA_COMPILER_COMPILE_H
#define URZA_COMPILER_COMPILE_H

#include "compiler/cache/cache.h"
#include "package/package.h"

struct config;
struct error;
struct graph;
struct group;
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
    STRATEGY_AGGRESSIVE, /* as standard; whoever gives the chooser measures */
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
/* All levels at once, as sections: graph; then by target its optimised graph, groups, plan, and of
 * each kernel its loops, schedule, llvm and asm. */
#define DUMP_ALL "all"
struct dump_section {
    char level[16], target[32]; /* target: "" for graph */
    uint32_t kernel;            /* number among the target's groups; DUMP_NO_KERNEL */
    char label[160];            /* of the kernel; "" */
    const char *text;           /* borrowed from the dump */
    size_t size;
};
#define DUMP_NO_KERNEL UINT32_MAX
/* Starts with *at at the dump of DUMP_ALL; writes the section there and moves *at behind it. False
 * at the end, and where a text is no such dump: it may come from a child. */
bool dump_next(const char **at, struct dump_section *out);

/* A kernel about to be scheduled, for who chooses its config. All borrowed for the call. */
struct kernel_question {
    const struct graph *graph;         /* optimised for the target */
    const struct partition *partition; /* its cut … */
    const struct group *group;         /* … and the kernel's group */
    const struct target *target;
    const struct sched_hint *hint; /* for scheduling a nest of the group, lowered afresh */
    struct scheduling *scheduling; /* this one, begun: sched_default and sched_space may be asked */
};

/* What scheduling a kernel's nest needs to know beside its loops. */
struct sched_hint kernel_hint(const struct graph *graph, const struct group *group);

/* Writes a config for a kernel; ERR_… when there must be one and is none. */
struct config_chooser {
    bool (*choose)(void *context, const struct kernel_question *question, struct config *out,
                   struct error *err);
    void *context;
};

/* What the job has made so far for one target. All of it may be read, and changed in place by who
 * wants to know what becomes of that: nothing but the stages that follow looks at it again. */
struct compile_view {
    enum stage stage; /* that has just ended */
    const struct target *target;
    struct arena *arena;         /* of the job */
    struct graph *graph;         /* READ: where the passes start; OPTIMISE: what they made */
    const struct pass_row *pass; /* for pass: that made the graph */
    struct nest **nests;         /* LOWER, SCHEDULE: one a group */
    const char *const *labels;   /* of these groups */
    uint32_t nest_count;
    uint32_t kernel;         /* for step: the nest … */
    const struct step *step; /* … and the step it has just taken */
    struct plan *plan;       /* PACKAGE: of the target */
};

/* For tests and tools. see is called for each target after the stages read, optimise, lower,
 * schedule and package (the plan is made, the archive not yet). What it changes is verified no
 * more, and whole packages are neither looked up in the cache nor kept there. */
struct compile_observer {
    void (*see)(void *context, const struct compile_view *view);
    void *context;
    /* NULL, or called after each pass (in stage optimise), and after each step of a schedule. */
    void (*pass)(void *context, const struct compile_view *view);
    void (*step)(void *context, const struct compile_view *view);
};

struct compile_options {
    const struct config_chooser *chooser;    /* NULL: heuristics */
    const struct compile_observer *observer; /* NULL, but in tests and tools */
    const char *targets;    /* comma-separated; NULL: all of this machine's family */
    enum strategy strategy; /* default: standard */
    uint64_t seed;          /* of parameters that a dialect implies */
    bool training;
    bool plain;         /* only the graph passes that are needed: where one of the others fails */
    const char *folder; /* where relative paths of the blueprint start; NULL: it may name no files
                         */
    const struct signing_key *key; /* NULL: unsigned */
    const char *dump;              /* one of DUMP_LEVELS, or DUMP_ALL; NULL: none */
    uint32_t timeout_ms;           /* compile_isolated: 0 means 120,000 */
    uint64_t memory_bytes;         /* compile_isolated, beside what the caller has: 0 means 8 GiB */
    struct cache *cache;           /* of kernels and whole packages; NULL: none. The bytes are the
                                      same with and without it */
    bool kernels_only;             /* whole packages are the caller's business, who has compile_find
                                      and compile_keep for that */
};

struct compile_result {
    const void *package; /* bytes, in the arena */
    size_t package_bytes;
    char kernel_id[KERNEL_ID_BYTES];
    uint32_t kernels;                           /* of one target: forward and prepare */
    uint32_t generated, memory_hits, disk_hits; /* distinct kernels of all targets, by where their
                                                   code comes from; all 0 when found */
    uint32_t passes; /* graph passes that changed something for one of the targets: a bit each, by
                        their order (pass_at); 0 when found */
    enum cache_level found;        /* where the whole package was */
    bool keepable;                 /* it comes of the source alone, and of no files */
    double stages_ms[STAGE_COUNT]; /* summed over targets */
    double total_ms;
    const char *warnings; /* of unused inputs and params, constant outputs: texts one behind the
                             other, each with its zero byte */
    size_t warnings_bytes;
    const char *dump;               /* text of the level asked for, else NULL */
    const struct cache_value *held; /* NULL, or package and warnings lie in it, not in the arena */
};

/* Everything lives in arena, but for a package that was found in the cache: compile_release gives
 * that back, before the cache is freed. On failure *out is unchanged. */
bool compile_blueprint(const char *text, size_t size, const struct compile_options *options,
                       struct arena *arena, struct compile_result *out, struct error *err);
/* The same from a finished graph, left as it is. */
struct compile_source {
    const struct graph *graph;
    const struct package_param *params; /* its parameters' values, by param order */
    const char *blueprint_json;         /* that the package keeps; NULL: "{}" */
};
bool compile_graph(const struct compile_source *source, const struct compile_options *options,
                   struct arena *arena, struct compile_result *out, struct error *err);
/* ERR_COMPILER_DIED when the child crashes or takes too long, ERR_NOMEM when it runs out of memory;
 * otherwise as above. The child is not confined (base/confine.h): a chooser may measure. Forks:
 * call it while no other thread holds locks that the child would need (a single-threaded process,
 * or a server's spawner). Whole packages are looked up in the cache before, kernels in the child:
 * what that adds to the cache's memory is gone with it, what it writes to the folder is there for
 * all.
 */
bool compile_isolated(const char *text, size_t size, const struct compile_options *options,
                      struct arena *arena, struct compile_result *out, struct error *err);

/* Looks for the whole package in options->cache, and does nothing else. */
bool compile_find(const char *text, size_t size, const struct compile_options *options,
                  struct compile_result *out);
/* Puts a whole package there. Nothing happens where that is not sound, and where it was found. */
void compile_keep(const char *text, size_t size, const struct compile_options *options,
                  const struct compile_result *result);

/* The parts in which a child hands its result to the parent, and back: what comes is checked and
 * bounded, texts are cleaned (child_clean), but for the dump and the package, which is for
 * package_read to judge. ERR_COMPILER_DIED. */
struct child_answer;
void compile_answer(const struct compile_result *result, struct arena *arena,
                    struct child_answer *out);
bool compile_take_answer(const struct child_answer *answer, struct compile_result *out,
                         struct error *err);

/* For a process that compiles by itself and may end (base/child.h): where LLVM runs out of memory
 * it does, by child_no_memory. */
void compile_in_child(void);

/* Nothing to do where there is no cache. */
void compile_release(const struct compile_options *options, struct compile_result *result);

const char *compiler_version(void); /* "urza 0.1.0 (llvm 19)": part of every package's identity */

#endif
