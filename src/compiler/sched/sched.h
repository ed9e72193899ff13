/* Schedules: lists of steps, each a transformation of loops.
 *
 * Each step names loops and keeps the results of the nest; an illegal step is refused and changes
 * nothing. The list is stored in the package and can be replayed on the same naive nest. Which
 * steps are taken is decided by a few numbers, the config. Heuristics choose a config from sizes,
 * strides and the target only; a tuner may choose another one. */
#ifndef URZA_COMPILER_SCHED_SCHED_H
#define URZA_COMPILER_SCHED_SCHED_H

#include "compiler/loop/loop.h"
#include "package/plan.h"

struct error;
struct strbuf;
struct target;

enum step_kind {
    STEP_NONE,
#define STEP(id, text, loops, number, doc) STEP_##id,
#include "compiler/sched/steps.def"
#undef STEP
    STEP_COUNT
};

#define STEP_NAME_BYTES 24
struct step {
    uint8_t kind;
    char loop[STEP_NAME_BYTES];  /* the loop that it transforms; stream: the buffer */
    char other[STEP_NAME_BYTES]; /* fuse, swap: the loop inside it; sums: the reduction; prefetch:
                                    the buffer */
    int64_t number;              /* split: factor; vector: lanes; … */
};

/* A step that a heuristic asked for and that was not legal, and why: the kernel may be slower than
 * it could be. */
struct refusal {
    struct step step;
    const char *why;
};

struct schedule {
    VEC(struct step) steps;
    VEC(struct refusal) refused;
};

/* The loops that a step made, by variable, in the order of its row's doc: fuse makes one; split,
 * tile and clamp make NAMEo and NAMEi; tile also makes NAMEt if there may be less than one block,
 * which then runs element by element; part makes one per stage. */
#define STEP_MADE_MOST 8
struct made {
    uint32_t count, vars[STEP_MADE_MOST];
};

/* Applies one step. If it is not legal, fails with ERR_UNSUPPORTED and the step as place, and
 * leaves the nest unchanged. out may be NULL. */
bool sched_apply(struct nest *nest, const struct step *step, struct made *out, struct error *err);
bool sched_replay(struct nest *nest, const struct schedule *schedule, struct error *err);

/* "split i1 32; swap i0 i1o; vector i1i 32; parallel p", and back (ERR_PARSE). Refused steps are a
 * line each: "refused jam i0i: a loop inside depends on 'i0i'". */
void sched_print_refused(const struct schedule *schedule, struct strbuf *out);
void sched_print(const struct schedule *schedule, struct strbuf *out);
bool sched_parse(struct schedule *schedule, struct arena *arena, const char *text,
                 struct error *err);

/* For tests and tools: called for each step that a heuristic took, with the nest after it, which it
 * may change. */
struct sched_watch {
    void (*see)(void *context, struct nest *nest, const struct step *step);
    void *context;
};

/* What heuristics need to know that the nest does not say. */
struct sched_hint {
    bool output;  /* the result is an output of the graph */
    bool prepare; /* it runs at load, when parameters change: small code matters more than speed */
    const struct sched_watch *watch; /* NULL outside of tests and tools; decides nothing */
};

/* A config: the choices of a schedule that only speed depends on, by key. 0: the kernel has no such
 * choice, or does not use it. The schedule is correct for all numbers: a step that is not legal is
 * left out and recorded as refused. */
enum config_key {
#define CONFIG(id, text, most, doc) CONFIG_##id,
#include "compiler/sched/configs.def"
#undef CONFIG
    CONFIG_COUNT
};
struct config {
    int32_t value[CONFIG_COUNT];
};
const char *config_key_name(enum config_key key);
const char *config_key_doc(enum config_key key);
int32_t config_key_most(enum config_key key); /* the greatest value; the least is 0 */
bool config_equal(const struct config *a, const struct config *b);

/* The way from a naive nest to a schedule. sched_begin examines the loops (and fuses those that are
 * contiguous in memory); then a config is chosen; sched_finish takes the steps that it asks for and
 * returns all steps taken. sched_default is the heuristic's choice of config. sched_space lists
 * distinct legal configs worth measuring, the default first, and returns their number, at most max.
 * Everything is in the nest's arena. Nothing fails: what cannot be improved stays as it is. */
struct scheduling;
struct scheduling *sched_begin(struct nest *nest, const struct sched_hint *hint,
                               const struct target *target);
void sched_default(struct scheduling *s, struct config *out);
uint32_t sched_space(struct scheduling *s, struct config *out, uint32_t max);
void sched_finish(struct scheduling *s, const struct config *config, struct schedule *out);

/* All of this with the default config. */
void sched_heuristic(struct nest *nest, const struct sched_hint *hint, const struct target *target,
                     struct schedule *out);

/* The extent of the parallel loop (1 if there is none), the scalar operations of the whole nest
 * (work), the scratch bytes of one thread, and the sizes at which its code takes another way, as
 * dims of the graph. dims is the nest's table, which may grow. */
struct sched_sizes {
    dim_id extent, work, scratch_bytes;
    struct plan_edge *edges; /* in the nest's arena */
    uint32_t edge_count;
};
bool sched_measure(struct nest *nest, struct dim_table *dims, struct sched_sizes *out,
                   struct error *err);

#endif
