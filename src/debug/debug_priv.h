/* Inside the search: what its files share. One search, one thread, one arena. */
#ifndef URZA_DEBUG_DEBUG_PRIV_H
#define URZA_DEBUG_DEBUG_PRIV_H

#include "base/error.h"
#include "base/hash.h"
#include "compiler/compile.h"
#include "compiler/loop/loop.h"
#include "debug/debug.h"
#include "verify/walk.h"

/* Random arguments of a kernel, or inputs of a graph. */
struct draw {
    int64_t dims[LIMIT_NAMED_DIMS];
    enum fill fill;
    uint64_t seed;
};
/* "B=3 S=2, special values" in the arena. */
const char *draw_print(const struct draw *draw, const struct dim_table *dims, struct arena *arena);

/* A kernel of the target that is being compiled. */
struct suspect {
    struct launch_case launch; /* called as the nest says, whatever the plan does */
    const char *label;
    struct nest *nest; /* naive, then scheduled */
    uint32_t code;     /* index of its machine code in the package */
    uint8_t digest[SHA256_BYTES];
};
struct suspects {
    const struct target *target;
    struct graph *graph; /* optimised */
    struct suspect *items;
    uint32_t count;
    uint32_t code_count; /* distinct nests, as scheduled */
    bool measured;       /* extents are known: the nests were scheduled */
};

/* A sample of the graph's inputs, and what the last graph made of it. */
struct probe {
    struct draw draw;
    struct sample sample;
    struct interp_tensor *sources;        /* NULL: elements are drawn */
    struct interp_tensor *first, *before; /* by output: of the graph that is compiled; of the last
                                           */
};

struct bisect {
    const struct bisect_request *request;
    struct arena *arena;
    struct bisect_finding finding;
    struct draw draw; /* that shows what was found */
    /* Passes. */
    struct probe *probes;
    uint32_t probe_count;
    const struct graph *from; /* the last graph that is right; where one is not, the one before it
                               */
    const struct pass_row *pass; /* that was found */
    /* Kernels. */
    struct suspects targets[PACKAGE_TARGETS];
    uint32_t target_count;
    uint32_t suspect;                        /* found, of the last target */
    const struct package_contents *compiled; /* says at which sizes code differs; NULL: it does not
                                                compile */
    struct cache *cache;                     /* of kernels: it is compiled several times */
    bool code_judged; /* kernels were called by themselves: the package has those compiled here */
    bool failed;      /* what an observer cannot say otherwise */
    struct error *err;
};

/* Notes what was found; the first one counts. The texts are copied. */
void bisect_note(struct bisect *b, enum fault_place place, const struct target *target,
                 const char *what, const char *kernel, const char *detail);
/* Sizes to judge a target at; false after failing *err. */
bool bisect_sizes(const struct bisect *b, const char *target, struct sizes *out, struct error *err);

/* passes.c: samples of the graph, which is interpreted; false after failing *err. */
bool probes_make(struct bisect *b, struct error *err);
void probes_restart(struct bisect *b); /* the next graph follows on the one that is compiled */
void probes_judge(struct bisect *b, const struct target *target, struct graph *graph,
                  const struct pass_row *pass, const char *name);
/* Whether b is what a is, at a draw of the inputs that both have; no params. detail: what is not.
 */
bool graphs_agree(const struct graph *a, const struct graph *b, const struct draw *draw,
                  char detail[DETAIL_BYTES]);

/* nests.c */
/* What the nests of a view are to compute. False after failing *err. */
bool suspects_make(struct bisect *b, const struct compile_view *view, struct suspects *out,
                   struct error *err);
void suspects_judge_naive(struct bisect *b, struct suspects *s);
/* Once they are scheduled: extents, and what the nests compute now. */
void suspects_judge_scheduled(struct bisect *b, struct suspects *s, struct graph *graph);
/* Whether the nest, in whatever state, computes what its launch must. */
bool nest_is_right(const struct launch_case *c, const struct nest *nest, const struct draw *draw,
                   struct outcome *outcome);

/* code.c: the code of all kernels of a package's target by itself. False after failing *err. */
bool code_judge(struct bisect *b, struct suspects *s, const struct package_contents *contents,
                struct error *err);

/* shrink.c: fills the finding's blueprint. */
void bisect_shrink(struct bisect *b);

#endif
