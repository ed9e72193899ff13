/* Inside the cut: what is known of each value, and what is decided of it.
 *
 * cut_facts.c says what the graph alone says, cut_rules.c decides (cut_rules.def), partition.c goes
 * through the values and makes groups of them. A new rule is a row, a function and a test. */
#ifndef URZA_COMPILER_OPT_CUT_PRIV_H
#define URZA_COMPILER_OPT_CUT_PRIV_H

#include "compiler/opt/opt_priv.h"

#define SEVERAL UINT32_MAX

struct cut_value {
    /* What the graph says, before anything is decided. */
    bool live;             /* an output depends on it */
    bool per_call;         /* it depends on an input or a size */
    bool from_param;       /* it depends on a parameter */
    bool costly;           /* computing an element takes much more than reading one */
    bool behind_reduction; /* computed from a reduction by elementwise prims and views */
    uint8_t marked;        /* enum cut_rule: what stores it, whoever uses it; CUT_NONE: nothing */
    uint32_t users;        /* operand slots that name it; outputs count */
    uint32_t cheap_depth;  /* length of the longest chain of cheap arithmetic that ends here */
    value_id staged;       /* of a product whose rows are computed in place: see struct group */

    /* What its users ask of it: complete when it is decided. */
    value_id owner;     /* root of the one kernel that uses it; VALUE_NONE: none yet; SEVERAL */
    uint32_t copies;    /* at how many indices its kernel computes it, at most */
    uint32_t index_set; /* which indices those are: equal numbers, equal sets; 0: none yet */

    /* Of a root: its kernel so far. */
    value_id anchor;
    uint32_t loops;    /* those of reductions in it */
    uint32_t operands; /* of all values in it */
};

struct cut {
    const struct graph *g;
    struct arena *arena;
    struct partition *p;
    struct cut_value *values;
    uint32_t index_sets; /* so far */
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

/* cut_facts.c. stored: by value, what was found to be over the bound (lower/cut.c); NULL: none. */
void cut_find_facts(struct cut *c, const bool *stored);
/* The transposed result of a convolution or window: as good to store as the result, and in the
 * order that its users ask for. */
bool cut_is_moved_result(const struct cut *c, value_id v);
/* Costs next to nothing per element. */
bool cut_is_cheap(enum prim prim);

/* rows.c: marks what is computed row by row in the kernel of the product that reads it
 * (placed.in_rows), and by product the value that is stored as a row first (staged). What is marked
 * to be stored takes no part. */
void rows_find(struct cut *c);

/* cut_rules.c: the first rule that applies. Changes nothing. */
enum cut_rule cut_decide(const struct cut *c, value_id v);
enum placement cut_place(enum cut_rule rule);
/* The loops that a reduction makes. */
uint32_t cut_reduction_loops(const struct node *n);

#endif
