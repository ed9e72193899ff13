/* Schedules: how a nest runs, as a list of plain steps.
 *
 * Each step names loops and keeps the nest right; a wrong step is refused, never applied halfway.
 * The list is the config of a kernel: it stands in the package and can be replayed on the same
 * naive nest. Heuristics choose steps from shapes and the target; they look at sizes and strides
 * only. */
#ifndef URZA_COMPILER_SCHED_SCHED_H
#define URZA_COMPILER_SCHED_SCHED_H

#include "compiler/loop/loop.h"

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
    char loop[STEP_NAME_BYTES];  /* the loop it works on */
    char other[STEP_NAME_BYTES]; /* fuse, swap: the loop inside it */
    int64_t number;              /* split: factor; vector: lanes */
};

struct schedule {
    VEC(struct step) steps;
};

/* Applies one step. ERR_UNSUPPORTED, with the step as place, when it is not legal; the nest is then
 * unchanged. */
bool sched_apply(struct nest *nest, const struct step *step, struct error *err);
bool sched_replay(struct nest *nest, const struct schedule *schedule, struct error *err);

/* "split i1 32; swap i0 i1o; vector i1i 32; parallel p", and back (ERR_PARSE). */
void sched_print(const struct schedule *schedule, struct strbuf *out);
bool sched_parse(struct schedule *schedule, struct arena *arena, const char *text,
                 struct error *err);

/* What a kernel does around its anchor, as far as heuristics care. */
enum sched_anchor { ANCHOR_NONE, ANCHOR_CONTRACT, ANCHOR_CONV };
struct sched_hint {
    uint8_t anchor;
    uint8_t batch_dims, m_dims, n_dims; /* contraction: loops i0 … in this order */
};

/* Chooses and applies steps; records them. Never fails: what cannot be improved stays as it is. */
void sched_heuristic(struct nest *nest, const struct sched_hint *hint, const struct target *target,
                     struct schedule *out);

/* The extent of the parallel loop (1 when there is none), the work of the whole nest in scalar
 * operations, and the scratch bytes of one thread, as dims of the graph. dims is the nest's table,
 * which may grow. */
struct sched_sizes {
    dim_id extent, work, scratch_bytes;
};
bool sched_measure(struct nest *nest, struct dim_table *dims, struct sched_sizes *out,
                   struct error *err);

#endif
