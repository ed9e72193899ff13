/* Shared by the files of the pipeline: a compile job, and its work for one target. */
#ifndef URZA_COMPILER_COMPILE_PRIV_H
#define URZA_COMPILER_COMPILE_PRIV_H

#include "base/strbuf.h"
#include "compiler/codegen/codegen.h"
#include "compiler/compile.h"
#include "compiler/loop/loop.h"
#include "compiler/opt/opt.h"
#include "compiler/sched/sched.h"

struct blueprint;

/* A section of a dump of all levels. */
struct dump_part {
    const char *level, *target, *label;
    uint32_t kernel;
    struct strbuf *text;
};

struct job {
    const struct compile_options *options;
    struct arena *arena;
    enum strategy strategy;
    bool verify_ir; /* verify graphs, nests and modules in between */
    uint64_t start_ns, lap_ns;
    struct strbuf dump;          /* of one level; DUMP_ALL: of all levels, joined at the end … */
    VEC(struct dump_part) parts; /* … from these */
    struct package_contents contents;
    VEC(struct plan_special) specials; /* in the dims of the contents' graph */
    const struct blueprint *blueprint; /* NULL: the source is a graph */
    const char *read_warnings;         /* of the blueprint, as result's */
    size_t read_warnings_bytes;
    struct compile_result result;
};

struct kernel {
    const struct group *group;
    struct nest *nest;
    struct schedule schedule;
    struct sched_sizes sizes; /* in dims of the unit's graph, as are asked and done */
    dim_id asked, done;       /* see struct lowered_group */
    uint8_t digest[32];       /* of the scheduled nest */
    uint32_t special;         /* 1 + the specialisation that it is for; 0: all sizes */
    uint32_t code;            /* index among the unit's distinct nests */
    bool in_place;            /* its result may be written over the input that it updates */
    /* Of a loop's body: the extent of its outermost loop, if that may be divided (plan_slices.c),
     * that loop's name, and by argument whether an iteration keeps to its slice. */
    dim_id slices;
    const char *outermost;
    const bool *sliced;
};

/* The kernels of a unit at the sizes of a specialisation. */
struct special {
    struct graph graph;     /* the unit's, at these sizes */
    struct kernel *kernels; /* by group; nest NULL: the unit's kernel serves them, too. Sizes are
                               in dims of this graph; asked and done are not filled */
};

/* The compilation for one target. */
struct unit {
    const struct target *target;
    struct arena *arena; /* of what is below, but for the image: what the package holds is the job's
                          */
    struct graph graph;  /* optimised */
    struct partition partition;
    struct kernel *kernels; /* by group */
    uint32_t kernel_count;
    struct special *specials;   /* by specialisation of the job */
    VEC(struct kernel *) codes; /* the first kernel of each distinct scheduled nest */
    struct code_image image;    /* kernels by code */
};

void job_lap(struct job *job, enum stage stage);

/* dump.c: the buffer for the text of a level; NULL: the level is not requested. unit: NULL for the
 * graph; kernel: NULL if the text is not of one kernel. */
struct strbuf *job_dump(struct job *job, const char *level, const struct unit *unit,
                        const struct kernel *kernel);
bool job_dumps_all(const struct job *job);
/* Divides the text of all modules of a unit into sections by kernel; each module starts with
 * `begin`. */
void job_dump_modules(struct job *job, const char *level, const struct unit *unit,
                      const struct strbuf *all, const char *begin);
void job_dump_end(struct job *job); /* joins the parts in job->dump */

/* warn.c: fills job->result's warnings, those of reading first. */
void job_warn(struct job *job, const struct graph *graph);

/* package_cache.c: whether values of parameters come from files. */
struct blueprint;
bool params_read_files(const struct blueprint *blueprint);

/* nodes.c: finds the nodes of the source that a unit's kernels come from, one kernel after the
 * other. */
struct node_finder {
    const struct unit *unit;
    struct arena *arena;
    uint32_t *seen, walk; /* seen: by value, the last walk that met it */
    VEC(value_id) values; /* of the kernel, */
    VEC(uint32_t) ends;   /* and how many names there are behind each */
    struct origin_set set;
};
void nodes_init(struct node_finder *finder, const struct unit *unit, struct arena *arena);
/* Fills the launch's nodes. */
void nodes_find(struct node_finder *finder, const struct group *group, struct plan_launch *out);

/* unit.c */
/* The view of a unit for an observer. */
struct compile_view unit_view(struct job *job, struct unit *unit, enum stage stage);
bool unit_lower(struct job *job, struct unit *unit, struct error *err);
bool unit_schedule(struct job *job, struct unit *unit, struct error *err);
/* Chooses a schedule for a kernel, takes its steps, and measures the result. A graph that is not
 * the unit's is the unit's at the sizes of a specialisation; observers and dumps do not see its
 * kernels. */
bool unit_schedule_kernel(struct job *job, struct unit *unit, struct graph *graph,
                          struct kernel *kernel, struct error *err);
void unit_share(struct job *job, struct unit *unit); /* finds kernels with equal code */
/* Finds kernels that may write in place; before code generation, which changes nests. */
void unit_find_in_place(struct unit *unit);
/* special.c */
/* Fills job->specials from the options; those that name more dims come first. ERR_USAGE. */
bool job_read_specials(struct job *job, const struct dim_table *dims, struct error *err);
/* Lowers and schedules all groups again at the sizes of each specialisation; after
 * unit_find_in_place, before unit_share. */
bool unit_specialise(struct job *job, struct unit *unit, struct error *err);

/* plan_memory.c: changes a plan that was not finished, so that its peak at typical sizes falls: the
 * order of launches in each entry, and which run again. updated: by buffer, the output that a
 * launch writes over it, or PLAN_NONE; NULL: none is, as in a plan with two entries. budget: for a
 * plan with two entries, the peak to reach, in bytes, at any cost; 0: none. */
void plan_lower_peak(struct plan *plan, const uint32_t *updated, int64_t budget,
                     struct arena *arena);
/* The peak of a plan's temporaries at typical sizes, in bytes; -1: not known. */
int64_t plan_peak(struct plan *plan, struct arena *arena);
/* plan_slices.c: what a kernel's iterations keep to, before it is scheduled and behind it. */
void kernel_find_slices(struct job *job, struct unit *unit, struct graph *graph, struct kernel *k);
void kernel_keep_slices(struct kernel *k, struct dim_table *dims);
/* The dim by which a loop whose launches are these kernels may be run in slices, and which of them
 * have slices; DIM_NONE: it may not. */
dim_id plan_find_slices(struct job *job, const struct unit *unit, const struct graph_loop *loop,
                        const uint32_t *kernels, uint32_t count, bool *out_sliced);
/* planner.c: adds the target to job->contents. */
bool unit_plan(struct job *job, struct unit *unit, struct error *err);

#endif
