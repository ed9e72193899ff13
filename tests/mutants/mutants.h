/* Mutants: packages with one known fault, to see whether verification notices.
 *
 * A kind of mutant (kinds.def) damages what the compiler has made at some stage, or the finished
 * package, and may do so at many sites of a subject (a blueprint); one site gives one mutant. A
 * mutant's package is whole and signed: only what it computes is wrong. A mutant whose results are
 * the same bits in every call that we try is counted apart, as one that changes nothing.
 *
 * Whatever comes of a mutant happens in a child process: planting it, running it, verifying it.
 * Everything lives in the arena of its subject. One thread. */
#ifndef URZA_TESTS_MUTANTS_H
#define URZA_TESTS_MUTANTS_H

#include <jansson.h>

#include "base/compiler.h"
#include "compiler/compile.h"
#include "graph/build.h"
#include "package/package.h"
#include "verify/sample.h"

struct nest;
struct block;
struct stmt;

/* Where the damage is done. */
enum mutant_stage {
    MUTANT_JSON = 1, /* the blueprint that the compiler reads; the package keeps the right one */
    MUTANT_READ,     /* the graph before the passes */
    MUTANT_GRAPH,    /* the graph after the passes of the target */
    MUTANT_NAIVE,    /* nests as they were lowered */
    MUTANT_LOOPS,    /* nests as they were scheduled */
    MUTANT_PLAN,     /* the plan and the kernel table of the package */
    MUTANT_CODE,     /* the code image of the package */
    MUTANT_STAGES
};
const char *mutant_stage_name(enum mutant_stage stage);

/* One attempt at planting: the sites are counted as they are met, and one is taken. */
struct mutation {
    uint32_t seen, site; /* SITE_NONE: sites are counted only */
    bool done;
    char place[128]; /* what was damaged, for people */
};
#define SITE_NONE UINT32_MAX
/* To be asked at each site, before anything is changed: whether this is the one. */
bool mutation_here(struct mutation *m, const char *fmt, ...) URZA_PRINTF(2, 3);

/* A statement, and what is around it. */
struct place {
    struct nest *nest;
    struct block *block;
    uint32_t at; /* block->stmts.items[at] == stmt */
    struct stmt *stmt;
    struct stmt *loops[16]; /* outermost first */
    uint32_t depth;
    enum field { FIELD_VALUE, FIELD_INDEX, FIELD_GUARD, FIELD_COND, FIELD_COUNT } field;
};

struct package_damage {
    struct package_contents *contents;
    struct package_target *target;
    struct arena *arena;
};

/* What a kind is, by stage. JSON: one node of the blueprint; attrs is an object. value: one node of
 * a graph that is built again; returns what takes its place. expr: one expression inside a
 * statement; returns what takes its place or EXPR_NONE. stmt: one statement, changed in place. */
typedef void json_damage(struct mutation *m, const char *op, json_t *attrs);
typedef value_id value_damage(struct mutation *m, struct builder *b, value_id x);
typedef uint32_t expr_damage(struct mutation *m, const struct place *place, uint32_t e);
typedef void stmt_damage(struct mutation *m, const struct place *place);
typedef void package_damage(struct mutation *m, const struct package_damage *p);

/* Flags of kinds. */
enum {
    KIND_UNSEEN = 1, /* a fault that the bits of our calls need not show, such as a read beyond a
                        tensor, a race, or one of large sizes only: not judged by them */
    KIND_ALWAYS = 2, /* on every subject of the selection */
    KIND_DIGITS = 4, /* a fault in the last digits: where no result leaves the bounds of the
                        reference, nor is far from the right one, it may be none */
    KIND_MUST = 8, /* the selection fails when one is missed: a kernel that does not do its work */
};

struct kind {
    const char *name, *damage;
    enum mutant_stage stage;
    unsigned flags;
    json_damage *json;
    value_damage *value;
    expr_damage *expr;
    stmt_damage *stmt;
    package_damage *package;
};
const struct kind *kind_at(uint32_t index); /* NULL behind the last */
#define MAX_KINDS 256

#define MAX_TRIALS 24
/* One call, and what comes of it when the code is right. */
struct trial {
    struct sample sample;
    const char *fill;
    size_t shift;                     /* inputs and outputs lie so many elements behind 64 */
    void **expected[PACKAGE_TARGETS]; /* by target, then output */
};

struct subject {
    const char *name;
    struct arena arena;
    const char *json; /* native */
    const char *folder;
    struct graph graph;
    struct package_param *params;
    struct compile_options options;
    struct signing_key key;
    struct cache *cache;
    const void *package; /* the right one */
    size_t package_bytes;
    struct package_contents contents; /* of it */
    uint32_t sites[MAX_KINDS];        /* by kind */
    struct trial trials[MAX_TRIALS];
    uint32_t trial_count;
    uint32_t timeout_s; /* for each child of a mutant */
};

/* Reads a blueprint in any dialect, compiles it and counts the sites of all kinds. */
bool subject_open(struct subject *subject, const char *name, const char *path, const char *targets,
                  const struct signing_key *key, struct error *err);
void subject_close(struct subject *subject);

/* plant.c: the package of a mutant, in arena. False: it cannot be built. m says where. */
bool plant(const struct subject *subject, const struct kind *kind, struct mutation *m,
           struct arena *arena, struct strbuf *out, struct error *err);
bool plant_count(struct subject *subject, struct error *err);
/* The graph with the kind's damage at the mutation's site, if it has that many; of a kind that
 * damages values. */
bool graph_damage(struct graph *graph, const struct kind *kind, struct mutation *m,
                  struct arena *arena, struct error *err);
/* nest_walk.c: shows every statement, or every expression in it, to the kind. */
void nest_damage(struct nest *nest, const struct kind *kind, struct mutation *m);

/* observe.c */
bool trials_make(struct subject *subject, uint64_t seed, struct error *err);
struct observation {
    bool differs;
    double worst; /* |difference| / largest magnitude of the output, in the first call that shows
                     it; infinite where one of the two is no number */
    char where[192];
};
/* Runs the code of a package: in a child only. */
void observe(const struct subject *subject, const void *package, size_t size,
             struct observation *out);
/* The same, whether a result lies outside the bounds of the reference where the right one does not.
 */
bool exceeds_bounds(const struct subject *subject, const void *package, size_t size);

/* child.c: body writes its answer to out, in a process of its own group that is ended with all that
 * it started after timeout_s (ERR_LIMIT), or when we end. False when it did not come to its end;
 * err says how it died. */
typedef void child_body(const void *argument, struct arena *arena, struct strbuf *out);
bool spawn_run(child_body *body, const void *argument, uint32_t timeout_s, struct arena *arena,
               struct strbuf *out, struct error *err);

enum verdict {
    VERDICT_UNBUILT = 1, /* the compiler refused, or died; or a call does not come to its end */
    VERDICT_EQUIVALENT,
    VERDICT_CAUGHT,
    VERDICT_MISSED,
    VERDICT_WITHIN, /* missed, of KIND_DIGITS, and no result lies further from the reference than
                       its bound in any call that we try: by that measure it is right */
    VERDICT_COUNT
};
const char *verdict_name(enum verdict verdict);

struct mutant {
    const struct subject *subject;
    const struct kind *kind;
    uint32_t site;
    enum verdict verdict;
    char place[128], check[64], detail[256];
    double worst;
    uint64_t took_ms;
};

/* judge.c: plants it, observes it, verifies it. */
void judge(struct mutant *mutant, uint64_t seed);

#endif
