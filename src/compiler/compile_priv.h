/* Inside the pipeline: one compile job, and the work on one target. */
#ifndef URZA_COMPILER_COMPILE_PRIV_H
#define URZA_COMPILER_COMPILE_PRIV_H

#include "base/strbuf.h"
#include "compiler/codegen/codegen.h"
#include "compiler/compile.h"
#include "compiler/loop/loop.h"
#include "compiler/opt/opt.h"
#include "compiler/sched/sched.h"

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
    bool verify_ir; /* run verifiers after each pass and step */
    uint64_t start_ns, lap_ns;
    const char *said; /* warnings of the reader, as in struct blueprint */
    size_t said_bytes;
    struct strbuf dump;          /* of one level; DUMP_ALL: of all, at the end … */
    VEC(struct dump_part) parts; /* … from these */
    struct package_contents contents;
    struct compile_result result;
};

struct kernel {
    const struct group *group;
    struct nest *nest;
    struct schedule schedule;
    struct sched_sizes sizes; /* in the unit's graph's dims, as asked and done */
    dim_id asked, done;       /* see struct lowered_group */
    uint8_t digest[32];       /* of the scheduled nest */
    uint32_t code;            /* index among the unit's distinct nests */
};

/* Everything about one target. */
struct unit {
    const struct target *target;
    struct graph graph; /* optimised */
    struct partition partition;
    struct kernel *kernels; /* by group */
    uint32_t kernel_count;
    VEC(struct kernel *) codes; /* the first kernel of each distinct scheduled nest */
    struct code_image image;    /* kernels by code */
};

void job_lap(struct job *job, enum stage stage);

/* dump.c: where the text of a level goes; NULL: it is not asked for. unit: NULL for the graph;
 * kernel: NULL where the text is of none. */
struct strbuf *job_dump(struct job *job, const char *level, const struct unit *unit,
                        const struct kernel *kernel);
bool job_dumps_all(const struct job *job);
/* The texts of all modules of a unit, which begin with `begin`, as sections by kernel. */
void job_dump_modules(struct job *job, const char *level, const struct unit *unit,
                      const struct strbuf *all, const char *begin);
void job_dump_end(struct job *job); /* the parts become job->dump */

/* warn.c: fills job->result's warnings. */
void job_warn(struct job *job, const struct graph *graph);

/* kept.c: whether parameters come from files. */
struct blueprint;
bool kept_reads_files(const struct blueprint *blueprint);

/* unit.c */
/* What an observer is shown of a unit. */
struct compile_view unit_view(struct job *job, struct unit *unit, enum stage stage);
bool unit_lower(struct job *job, struct unit *unit, struct error *err);
bool unit_schedule(struct job *job, struct unit *unit, struct error *err);
void unit_share(struct job *job, struct unit *unit); /* finds kernels that are the same code */
bool unit_plan(struct job *job, struct unit *unit, struct error *err); /* adds the target to
                                                                          job->contents */

#endif
