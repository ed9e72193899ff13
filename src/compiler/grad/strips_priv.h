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
 * A region is found around a product of the forward pass, y, one of whose operands, p, is summed
 * over keys and computed row by row from other products, with sums along rows. Its members are
 *   - the values from those products to p, which the loop computes again,
 *   - the values of the backward pass that have rows and keys, too, and hang on members row by row,
 *     and what is between these and members;
 * its exits are the other values of the backward pass that members are operands of: sums over rows,
 * products, and numbers of each row. Where a value is none of these, the member that it reads is
 * the exit instead, if it is smaller than p, as the gradient of a bias is; so are members that are
 * asked for. There is no region where the forward pass stores a member, or such an exit is as large
 * as p; nor where one strip would typically hold all rows.
 *
 * Rows may be part of an axis: with grouped key heads, gradients merge the heads of a group and the
 * rows, [batch…, group·rows, keys]. Such an axis is one of outer · rows · inner elements. */
#ifndef URZA_COMPILER_GRAD_STRIPS_PRIV_H
#define URZA_COMPILER_GRAD_STRIPS_PRIV_H

#include "compiler/grad/grad_priv.h"

#define STRIP_ROWS 64 /* at most; */
#define LOW_STRIP 32  /* of FEW_ROWS, typically, or fewer: strips are to be a small part */
#define FEW_ROWS 256

/* Where a value has the rows: an axis, whose size is outer · rows · inner. */
struct strip_axis {
    uint32_t axis; /* < LIMIT_RANK, or: */
    dim_id outer, inner;
};
#define AXIS_NONE LIMIT_RANK        /* all rows read the same */
#define AXIS_MIXED (LIMIT_RANK + 1) /* rows of the result are not rows of the operand */

/* What a value is to a region. */
enum strip_part {
    STRIP_OUTSIDE,
    STRIP_MET,      /* the same, so far: what members may be computed from */
    STRIP_ROW,      /* hangs on members row by row, and only exits have read it so far */
    STRIP_COPIED,   /* computed in the loop, too: what members read element by element */
    STRIP_MEMBER,   /* computed in the loop */
    STRIP_SUM,      /* an exit that sums over rows */
    STRIP_ROWS_OUT, /* an exit that has rows */
};

/* The graph as the search and the loops see it. Arrays are by value, of those below end. */
struct strips {
    struct builder *b;
    struct arena *arena;
    value_id first, end; /* the backward pass is first … end - 1; what is behind was added here */
    value_id *values;    /* what is asked for; replaced */
    uint32_t count;
    bool *needed;      /* by what is asked for */
    bool *asked;       /* is asked for, or an output */
    bool *bound;       /* belongs to the body of a loop, or is a node of one */
    bool *taken;       /* is a member of a region */
    uint32_t *user_at; /* users[user_at[v] … user_at[v + 1] - 1]: what reads v, ascending; of the */
    value_id *users;   /* backward pass only what is needed */
    /* To the region at hand, else 0: */
    uint8_t *part;         /* enum strip_part */
    struct strip_axis *at; /* of what is inside, and of exits that have rows */
    bool *queued;
};

struct strip_item {
    value_id value;
    enum strip_part part; /* STRIP_COPIED and above */
    struct strip_axis at;
};

struct strip_region {
    value_id product;             /* y */
    dim_id rows, size, keys;      /* of p: rows, elements, the largest dim that y sums over */
    dim_id height, strips;        /* the rows of a strip, and how many strips */
    VEC(struct strip_item) items; /* ascending */
    VEC(value_id) exits;          /* ascending */
    value_id ready;               /* the last value of the backward pass that the loop reads */
};

static inline bool strip_is_inside(const struct strips *s, value_id v)
{
    return s->part[v] == STRIP_COPIED || s->part[v] == STRIP_MEMBER;
}

static inline bool strip_same_axis(struct strip_axis a, struct strip_axis b)
{
    return a.axis == b.axis && (a.axis >= LIMIT_RANK || (a.outer == b.outer && a.inner == b.inner));
}

/* strips_axis.c. Of a node's operand: the axis that goes row by row with an axis of the result; and
 * the other way, of the result from one of the operand. */
struct strip_axis strip_operand_axis(struct graph *g, const struct node *n, uint32_t operand,
                                     struct strip_axis at, dim_id rows);
struct strip_axis strip_result_axis(struct graph *g, const struct node *n, uint32_t operand,
                                    struct strip_axis at, dim_id rows);
/* n's shape with `count` rows, and outer and inner, where they are not 1, as dims of their own;
 * returns the axis of the rows. *out_rank may be greater than LIMIT_RANK by 2 at most. */
uint32_t strip_split(struct graph *g, const struct node *n, struct strip_axis at, dim_id count,
                     dim_id shape[LIMIT_RANK + 2], uint32_t *out_rank);

/* The last of a chain of transposes behind a value, each of which alone reads what is before it,
 * and all of them as one; VALUE_NONE: there is none. */
value_id strip_transposes(const struct strips *s, value_id v, uint8_t axes[LIMIT_RANK]);
/* Whether a value is a product of matrices that has its rows last in the order `axes`. Then its
 * operands go into the other order, and *axes becomes the order of that: columns are last. */
bool strip_turns(const struct strips *s, value_id v, uint8_t axes[LIMIT_RANK]);

/* strips_region.c: the region around a product; false: there is none. Members are taken. */
bool strip_find_region(struct strips *s, value_id product, struct strip_region *out);

#endif
