/* Shared by the files of the cut: what is known and what is decided of each value.
 *
 * cut_facts.c finds what the graph alone says, cut_rules.c decides (cut_rules.def), partition.c
 * visits the values and makes groups. A new rule is a row, a function and a test. */
#ifndef URZA_COMPILER_OPT_CUT_PRIV_H
#define URZA_COMPILER_OPT_CUT_PRIV_H

#include "compiler/opt/opt_priv.h"

#define SEVERAL UINT32_MAX

struct cut_value {
    /* Facts of the graph, known before anything is decided. */
    bool live;             /* an output depends on it */
    bool per_call;         /* it depends on an input or a size */
    bool from_param;       /* it depends on a parameter */
    bool costly;           /* computing an element costs much more than reading it */
    bool behind_reduction; /* computed from a reduction by elementwise prims and views */
    uint8_t marked;        /* enum cut_rule: the rule that stores it whoever uses it; CUT_NONE:
                              none */
    uint32_t users;        /* number of operands and outputs that name it */
    uint32_t cheap_depth;  /* length of the longest chain of cheap operations that ends here */
    value_id staged;       /* of a product whose rows are computed in place: see struct group */

    /* Facts of its users, complete when the value is decided. */
    value_id owner;     /* root of the only kernel that uses it; VALUE_NONE: none so far; SEVERAL */
    uint32_t copies;    /* number of different indices at which its kernel computes it, at most */
    uint32_t index_set; /* names the set of those indices: equal numbers, equal sets; 0: none so
                           far */

    /* Of a root: the kernel so far. */
    value_id anchor;
    uint32_t loops;    /* loops of the reductions in it */
    uint32_t operands; /* operands of all values in it */
};

struct cut {
    const struct graph *g;
    struct arena *arena;
    struct partition *p;
    struct cut_value *values;
    uint32_t index_sets; /* numbers of index sets in use */
    uint32_t *users_at;  /* by value, and one more: where its users begin in … */
    value_id *users;     /* … live values that name it as an operand, ascending, each once */
    /* For walks from a value to what is computed from it. */
    uint32_t *met;    /* by value: the last walk that came by; [0]: the number of walks so far */
    value_id *to_see; /* as long as the graph */
};

static inline const struct node *cut_node(const struct cut *c, value_id v)
{
    return graph_node(c->g, v);
}

static inline bool is_view(enum prim prim)
{
    return prim == PRIM_RESHAPE || prim == PRIM_TRANSPOSE || prim == PRIM_BROADCAST ||
           prim == PRIM_SLICE || prim == PRIM_REVERSE;
}

static inline bool is_leaf(enum prim prim)
{
    return prim == PRIM_CONST || prim == PRIM_LITERAL || prim == PRIM_IOTA || prim == PRIM_SIZE;
}

static inline bool is_anchor(enum prim prim)
{
    return prim == PRIM_CONTRACT || prim == PRIM_CONV || prim == PRIM_WINDOW_SUM ||
           prim == PRIM_WINDOW_MAX;
}

static inline bool is_reduction(enum prim prim)
{
    return prim >= PRIM_REDUCE_SUM && prim <= PRIM_ARGMIN;
}

static inline bool is_special(enum prim prim)
{
    return prim == PRIM_ARGSORT || prim == PRIM_SCATTER ||
           (prim >= PRIM_CUM_SUM && prim <= PRIM_CUM_MAX);
}

/* The users of v, ascending; after cut_find_facts. */
static inline const value_id *cut_users(const struct cut *c, value_id v, uint32_t *out_count)
{
    *out_count = c->users_at[v + 1] - c->users_at[v];
    return c->users + c->users_at[v];
}

/* cut_facts.c. stored: by value, those to store because of the bound (lower/cut.c); NULL: none. */
void cut_find_facts(struct cut *c, const bool *stored);
/* Whether v is the transposed result of a convolution or window, which can be stored instead of the
 * result, in the order that its users read. */
bool cut_is_moved_result(const struct cut *c, value_id v);
/* Whether v is the row that a trip reads of a value from outside: a place in it, as a slice is. */
bool cut_is_trip_row(const struct cut *c, value_id v);
/* Whether the prim costs less per element than a load. */
bool cut_is_cheap(enum prim prim);

/* rows.c: marks values that are computed row by row in the kernel of the product that reads them
 * (placed.in_rows), and for each such product the value to store as a row first (staged). Values
 * that must be stored take no part. */
void rows_find(struct cut *c);

/* cut_rules.c: the first rule that applies; changes nothing. */
enum cut_rule cut_decide(const struct cut *c, value_id v);
enum placement cut_place(enum cut_rule rule);
/* The number of loops that a reduction becomes. */
uint32_t cut_reduction_loops(const struct node *n);

#endif
