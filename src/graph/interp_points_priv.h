/* What one element of a result reads of its operands, for every prim. */
#ifndef URZA_GRAPH_INTERP_POINTS_PRIV_H
#define URZA_GRAPH_INTERP_POINTS_PRIV_H

#include "graph/interp_op_priv.h"

/* A growing list of flat indices in an arena. At `most` it takes no more and is `over`. */
struct indices {
    struct arena *arena;
    int64_t *items;
    int64_t count, capacity, most;
    bool over;
};
void indices_push(struct indices *list, int64_t index);
/* Ascending, each once. A list of few ascending runs is sorted in few passes. */
void indices_sort(struct indices *list);
/* The place of an index in a sorted list that has it; *cursor, at first 0, is where the last was.
 */
int64_t indices_find(const struct indices *list, int64_t index, int64_t *cursor);

/* How a node is run at points. Of its operands' elements dense tensors are made, side by side with
 * the n elements that are asked for. */
enum points_kind {
    POINTS_NONE,        /* not at all */
    POINTS_SOURCE,      /* read from memory */
    POINTS_ELEMENTWISE, /* [n] -> [n]; generators too, with op.points */
    POINTS_MOVE,        /* the one element that any operand has under it */
    POINTS_LOOKUP,      /* the same, of operand 0 by the values of operand 1 */
    POINTS_LINE,        /* [n, terms] -> [n], along axis 1 */
    POINTS_LINES,       /* the whole lines of the elements: [lines, size] -> [lines, size] */
    POINTS_PRODUCT,     /* [n, terms] · [n, terms] -> [n] */
    POINTS_WINDOW,      /* as LINE, with as many terms as lie under each window */
};

/* An element that is asked for; under POINTS_LINES, a line along the axis, numbered as the elements
 * are that lie beside the axis. */
struct points_unit {
    int64_t index;
    int64_t looked_up; /* POINTS_LOOKUP: the index that operand 1 gives, clamped */
};

/* Appends the flat indices of what a unit reads of an operand, in the order in which the prim takes
 * them; -1 stands for nothing: padding, or an element that another operand has. The operands and
 * the result of op have shapes and no cells. Stops when the list is over. */
typedef void points_reads(const struct op *op, uint32_t operand, struct points_unit unit,
                          struct indices *out);

struct points_rule {
    points_reads *reads; /* NULL: no operands, or POINTS_NONE */
    enum points_kind kind;
};
const struct points_rule *points_rule(enum prim prim);

/* POINTS_LINES: the line of an element, and its place there. */
int64_t points_line(const struct op *op, int64_t element, int64_t *out_place);
/* POINTS_LOOKUP: the element of operand 1 that an element depends on. */
int64_t points_index(const struct op *op, int64_t element);

#endif
