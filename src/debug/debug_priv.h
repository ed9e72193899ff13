/* Shared by the files of the search. One search, one thread, one arena. */
#ifndef URZA_DEBUG_DEBUG_PRIV_H
#define URZA_DEBUG_DEBUG_PRIV_H

#include "base/error.h"
#include "base/hash.h"
#include "compiler/compile.h"
#include "compiler/loop/loop.h"
#include "debug/debug.h"
#include "verify/walk.h"

/* Describes random arguments of a kernel, or inputs of a graph. */
struct draw {
    int64_t dims[LIMIT_NAMED_DIMS];
    enum fill fill;
    uint64_t seed;
};
/* "B=3 S=2, special values" in the arena. */
const char *draw_print(const struct draw *draw, const struct dim_table *dims, struct arena *arena);

/* A kernel of the target that is being compiled. */
struct suspect {
    struct launch_case launch; /* called with the nest's arguments, whatever the plan says */
    const char *label;
    struct nest *nest; /* naive at first, then scheduled */
    uint32_t code;     /* index of its machine code in the package */
    uint8_t digest[SHA256_BYTES];
};
struct suspects {
    const struct target *target;
    struct graph *graph; /* the optimised graph */
    struct suspect *items;
    uint32_t count;
    uint32_t code_count; /* number of distinct scheduled nests */
    bool measured;       /* extents are known, because the nests were scheduled */
};

/* A sample of the graph's inputs, and the results of the last graph on it. */
struct probe {
    struct draw draw;
    struct sample sample;
    struct interp_tensor *sources;        /* NULL: only drawn elements are computed */
    struct interp_tensor *first, *before; /* by output: results of the graph before all passes; of
                                             the last graph */
};

struct bisect {
    const struct bisect_request *request;
    struct arena *arena;
    struct bisect_finding finding;
    struct draw draw; /* the sample that showed the fault */
    /* Passes. */
    struct probe *probes;
    uint32_t probe_count;
    const struct graph *from; /* the last right graph; after a fault, the graph before the wrong one
                               */
    const struct pass_row *pass; /* the faulty pass */
    /* Kernels. */
    struct suspects targets[PACKAGE_TARGETS];
    uint32_t target_count;
    uint32_t suspect;                        /* the faulty kernel, of the last target */
    const struct package_contents *compiled; /* has the sizes at which code differs; NULL: the graph
                                                does not compile */
    struct cache *cache; /* of kernels, since the graph is compiled several times */
    bool code_judged; /* kernels were judged by themselves, because the package's are those compiled
                         here */
    bool failed;      /* set when judging fails inside an observer, which returns nothing */
    struct error *err;
};

/* Records a finding; only the first one counts. The texts are copied. */
void bisect_note(struct bisect *b, enum fault_place place, const struct target *target,
                 const char *what, const char *kernel, const char *detail);
/* Chooses sizes for judging a target; false after failing *err. */
bool bisect_sizes(const struct bisect *b, const char *target, struct sizes *out, struct error *err);

/* passes.c: makes samples of the graph and interprets it on them; false after failing *err. */
bool probes_make(struct bisect *b, struct error *err);
void probes_restart(struct bisect *b); /* the next graph will be compared with the one before all
                                          passes */
void probes_judge(struct bisect *b, const struct target *target, struct graph *graph,
                  const struct pass_row *pass, const char *name);
/* Whether graph b gives the results of a on this draw of their common inputs; without params.
 * detail: what differs.
 */
bool graphs_agree(const struct graph *a, const struct graph *b, const struct draw *draw,
                  char detail[DETAIL_BYTES]);

/* nests.c */
/* Derives what the nests of a view must compute. False after failing *err. */
bool suspects_make(struct bisect *b, const struct compile_view *view, struct suspects *out,
                   struct error *err);
void suspects_judge_naive(struct bisect *b, struct suspects *s);
/* Called when the nests are scheduled: fills extents, and judges the scheduled nests. */
void suspects_judge_scheduled(struct bisect *b, struct suspects *s, struct graph *graph);
/* Whether the nest, in its current state, computes what its launch must. */
bool nest_is_right(const struct launch_case *c, const struct nest *nest, const struct draw *draw,
                   struct outcome *outcome);

/* code.c: judges the code of all kernels of a package's target without the plan. False after
 * failing *err. */
bool code_judge(struct bisect *b, struct suspects *s, const struct package_contents *contents,
                struct error *err);

/* shrink.c: fills the finding's blueprint. */
void bisect_shrink(struct bisect *b);

#endif
