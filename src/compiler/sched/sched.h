/* Schedules: how a nest runs, as a list of plain steps.
 *
 * Each step names loops and keeps the nest right; a wrong step is refused, never applied halfway.
 * The list is the config of a kernel: it stands in the package and can be replayed on the same
 * naive nest. Which steps are taken is decided by few numbers, the config; heuristics choose it
 * from shapes and the target, looking at sizes and strides only, and a tuner may choose another. */
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
    char loop[STEP_NAME_BYTES];  /* the loop it works on; stream: the buffer */
    char other[STEP_NAME_BYTES]; /* fuse, swap: the loop inside it; prefetch: the buffer */
    int64_t number;              /* split: factor; vector: lanes; … */
};

/* A step that a heuristic wanted and could not take, and why: speed that was hoped for is lost. */
struct refusal {
    struct step step;
    const char *why;
};

struct schedule {
    VEC(struct step) steps;
    VEC(struct refusal) refused;
};

/* The loops that a step made, by variable, in the order in which the step's row names them: fuse
 * the one, split, tile and clamp NAMEo and NAMEi (tile, where a block may not be whole, NAMEt,
 * element by element), part one a stage. */
#define STEP_MADE_MOST 8
struct made {
    uint32_t count, vars[STEP_MADE_MOST];
};

/* Applies one step. ERR_UNSUPPORTED, with the step as place, when it is not legal; the nest is then
 * unchanged. out may be NULL. */
bool sched_apply(struct nest *nest, const struct step *step, struct made *out, struct error *err);
bool sched_replay(struct nest *nest, const struct schedule *schedule, struct error *err);

/* "split i1 32; swap i0 i1o; vector i1i 32; parallel p", and back (ERR_PARSE). What was refused is
 * a line each: "refused jam i0i: a loop inside depends on 'i0i'". */
void sched_print_refused(const struct schedule *schedule, struct strbuf *out);
void sched_print(const struct schedule *schedule, struct strbuf *out);
bool sched_parse(struct schedule *schedule, struct arena *arena, const char *text,
                 struct error *err);

/* For tests and tools: told of each step that a heuristic took, with the nest as it is then, which
 * it may change. */
struct sched_watch {
    void (*see)(void *context, struct nest *nest, const struct step *step);
    void *context;
};

/* What the loops do not say, and heuristics care for. */
struct sched_hint {
    bool output; /* the result is the graph's: nothing in the graph reads it */
    bool once;   /* it runs when parameters change: little code matters more than speed */
    const struct sched_watch *watch; /* NULL, but in tests and tools; decides nothing */
};

/* A config: the choices in a schedule that only speed depends on, by key; 0: the kernel has no such
 * choice, or does without. Whatever the numbers are, the schedule is right: a step that is not
 * legal is left out, and noted. */
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
int32_t config_key_most(enum config_key key); /* values run from 0 to it */
bool config_equal(const struct config *a, const struct config *b);

/* A naive nest on its way to a schedule: begin looks at its loops (and fuses what lies together in
 * memory), finish takes the steps that a config asks for and records all steps taken. Between them
 * the config is chosen: sched_default is the heuristic's choice; sched_space lists distinct legal
 * configs worth measuring, the default first, and returns their number, at most max. Everything
 * lives in the nest's arena. None of it fails: what cannot be improved stays as it is. */
struct scheduling;
struct scheduling *sched_begin(struct nest *nest, const struct sched_hint *hint,
                               const struct target *target);
void sched_default(struct scheduling *s, struct config *out);
uint32_t sched_space(struct scheduling *s, struct config *out, uint32_t max);
void sched_finish(struct scheduling *s, const struct config *config, struct schedule *out);

/* All of that with the default config. */
void sched_heuristic(struct nest *nest, const struct sched_hint *hint, const struct target *target,
                     struct schedule *out);

/* The extent of the parallel loop (1 when there is none), the work of the whole nest in scalar
 * operations, the scratch bytes of one thread, and the sizes around which its code differs, as dims
 * of the graph. dims is the nest's table, which may grow. */
struct sched_sizes {
    dim_id extent, work, scratch_bytes;
    struct plan_edge *edges; /* in the nest's arena */
    uint32_t edge_count;
};
bool sched_measure(struct nest *nest, struct dim_table *dims, struct sched_sizes *out,
                   struct error *err);

#endif
