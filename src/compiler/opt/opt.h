/* Graph passes, and the cut of a graph into kernel groups.
 *
 * A pass is a function from a graph to a new graph. Rewriting means rebuilding: nodes are added
 * again in order, each through the pass's rules. Because nodes are interned, common subexpressions
 * merge, and dead nodes are not copied. passes.def lists the passes in the order in which the
 * pipeline runs them. */
#ifndef URZA_COMPILER_OPT_OPT_H
#define URZA_COMPILER_OPT_OPT_H

#include "graph/loops.h"

struct error;
struct strbuf;
struct target;

/* What may hold of a graph. Sets of properties are bits, 1 << PROPERTY_LIVE. */
enum property {
#define PROPERTY(id, name, find, doc) PROPERTY_##id,
#include "compiler/opt/properties.def"
#undef PROPERTY
    PROPERTY_COUNT
};
const char *property_name(enum property property); /* "live" */
const char *property_doc(enum property property);
/* Whether a property holds; exact. False: *out_where is a value that violates it. */
bool property_holds(enum property property, const struct graph *graph, struct arena *arena,
                    value_id *out_where);

struct pass_row {
    const char *name, *doc;
    bool needed; /* runs also without optimisation */
    bool target; /* depends on the target; other passes accept NULL as target */
    /* Sets of properties. needs: required of the pass's graph. gives: hold of its result. keeps:
     * hold of its result if they hold of its graph. */
    uint32_t needs, gives, keeps;
    bool (*run)(struct graph *to, struct arena *arena, const struct graph *from,
                const struct target *target, struct error *err);
};
const struct pass_row *pass_at(uint32_t index); /* NULL behind the last */
const struct pass_row *pass_find(const char *name);
/* Runs the pass. With `checked` its result is verified, and so are the properties that it needs,
 * gives and keeps. */
struct pass_setting {
    const struct target *target; /* NULL is for passes that do not depend on it */
    bool checked;
};
bool pass_run(const struct pass_row *pass, struct graph *to, struct arena *arena,
              const struct graph *from, const struct pass_setting *setting, struct error *err);

/* The cut gives every value a place: a source (input, parameter), stored (a kernel writes it), an
 * alias (the same memory as another value: a reshape), or inlined into the kernels of its users. */
enum placement { PLACE_NONE, PLACE_SOURCE, PLACE_STORED, PLACE_ALIAS, PLACE_INLINE };

struct group {
    value_id root;     /* the stored value this kernel computes */
    value_id anchor;   /* the contraction, convolution … whose dims are the kernel's loops;
                          VALUE_NONE: the root's dims are */
    value_id staged;   /* if the anchor's first operand is computed in this kernel, row by row: the
                          value that is stored as a row first; else VALUE_NONE */
    bool prepare;      /* depends on parameters only: runs once, after load */
    const char *label; /* "contract+add+erfc": for people */
};

/* The rule that gave a value its place (cut_rules.def). */
enum cut_rule {
    CUT_NONE,
#define CUT_RULE(id, applies, place, reason) CUT_##id,
#include "compiler/opt/cut_rules.def"
#undef CUT_RULE
    CUT_COUNT
};
const char *cut_rule_reason(enum cut_rule rule); /* "it is an output" */

struct placed {
    uint8_t place;   /* enum placement; PLACE_NONE: no output depends on it */
    uint8_t rule;    /* enum cut_rule */
    bool in_rows;    /* inlined, and computed row by row for the product that reads it */
    bool kept;       /* inlined, but stored for a row between its uses (lower/keep.c) */
    value_id memory; /* the value whose memory holds it (itself, or what it is an alias of);
                        VALUE_NONE if inlined */
};

struct partition {
    struct placed *values;    /* by value */
    VEC(struct group) groups; /* in an order in which they can run, but for loops: see loops.h */
    struct graph_loops loops;
};

/* Checks the properties that the cut needs, as those that a pass needs are checked. */
bool partition_check(const struct graph *graph, struct arena *arena, struct error *err);
void partition_graph(const struct graph *graph, struct arena *arena, struct partition *out);
/* The same, but values marked in `stored` (by value; NULL: none) are stored, whatever the rules
 * say. Marks of sources, leaves and views are ignored. */
void partition_storing(const struct graph *graph, const bool *stored, struct arena *arena,
                       struct partition *out);
/* Whether a value makes f32 of integers of one byte that a copy holds, maybe less a zero point. It
 * is computed where it is read, since in memory it would take four times as long, and is no more
 * work than a load: a register tile does it once for all of its rows. */
bool widens_bytes(const struct graph *graph, value_id value);
/* One line per group, with the reason why its root is stored (--dump groups). */
void partition_print(const struct graph *graph, const struct partition *partition,
                     struct strbuf *out);

#endif
