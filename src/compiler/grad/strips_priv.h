/* The backward pass of attention in strips of rows.
 *
 *   s = contract(q, k)    p = softmax(s)    y = contract(p, v)             [batch…, rows, keys]
 *   dp = contract(dy, v)  ds = p·(dp − Σ p·dp)
 *   dv = Σ over rows p·dy    dq = contract(ds, k)    dk = Σ over rows ds·q
 *
 * p and ds are by far the largest tensors of a network. The forward pass does not store p
 * (opt/rows.c), and the backward pass need not either: row r of s, p, dp and ds hangs on row r of q
 * and dy alone. So all of them are computed, s and p again, in a loop over strips of at most
 * STRIP_ROWS rows: what sums over rows (dv, dk) is added up in states of the loop, and what has
 * rows itself (dq) is rows of the loop. Everything behind the loop stays as it was.
 *
 * A region is found around a product of the forward pass whose first operand is computed row by
 * row, reductions along rows included, from another product. Its members are
 *   - the values from that product to the first operand, which the loop computes again, and
 *   - the values of the backward pass that are as large and hang on members row by row, with what
 *     lies between them;
 * its exits are the other values of the backward pass that members are operands of. There is no
 * region where the forward pass stores a member, or an exit is no sum over rows and does not go row
 * by row; nor where one strip would typically hold all rows. */
#ifndef URZA_COMPILER_GRAD_STRIPS_PRIV_H
#define URZA_COMPILER_GRAD_STRIPS_PRIV_H

#include "compiler/grad/grad_priv.h"

#define STRIP_ROWS 64 /* at most; */
#define LOW_STRIP 32  /* of FEW_ROWS, typically, or fewer: strips are to be a small part */
#define FEW_ROWS 256

struct strips {
    struct builder *b;
    struct arena *arena;
    value_id first, end; /* the backward pass is first … end - 1; what is behind was added here */
    value_id *values;    /* what is wanted of it */
    uint32_t count;
    bool *needed; /* by value below end: values hang on it */
    bool *bound;  /* by value below end: belongs to the body of a loop, or is a node of one */
};

/* What a value is to a region. */
enum strip_part {
    STRIP_OUTSIDE,
    STRIP_ROW,      /* a reduction of members along rows, which only exits have read so far */
    STRIP_COPIED,   /* computed in the loop, too: what members read element by element */
    STRIP_MEMBER,   /* computed in the loop */
    STRIP_SUM,      /* an exit that sums over rows */
    STRIP_ROWS_OUT, /* an exit that has rows */
};

struct strip_region {
    value_id product, scores; /* y and s */
    dim_id rows, size;        /* of a member along its rows; elements of a large member */
    dim_id keys;              /* the largest other dim of s that k has */
    uint8_t *part;            /* by value below end: enum strip_part */
    uint8_t *axis;            /* of a member, or an exit that has rows: the axis of the rows */
    VEC(value_id) exits;      /* ascending */
};

static inline bool strip_is_inside(const struct strip_region *region, value_id v)
{
    return region->part[v] == STRIP_COPIED || region->part[v] == STRIP_MEMBER;
}

/* What a dim typically is, where that is declared; else the most that it can be. */
int64_t strip_typical(const struct dim_table *dims, dim_id dim);

/* Of a node's operand: the axis that goes row by row with an axis of the result. */
#define AXIS_NONE LIMIT_RANK        /* all rows read the same */
#define AXIS_MIXED (LIMIT_RANK + 1) /* rows of the result are not rows of the operand */
uint32_t strip_operand_axis(struct graph *g, const struct node *n, uint32_t operand, uint32_t axis);

/* strips_region.c: the region around a product, the last one up to *at that has one; *at becomes
 * that product. False: there is none. */
bool strip_find_region(struct strips *s, value_id *at, struct strip_region *out);

#endif
