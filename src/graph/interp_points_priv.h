/* The elements of the operands that one element of a result reads, for every prim. */
#ifndef URZA_GRAPH_INTERP_POINTS_PRIV_H
#define URZA_GRAPH_INTERP_POINTS_PRIV_H

#include "graph/interp_op_priv.h"

/* A growing list of flat indices in an arena. Once it holds `most`, it takes no more and `over` is
 * set. */
struct indices {
    struct arena *arena;
    int64_t *items;
    int64_t count, capacity, most;
    bool over;
};
void indices_push(struct indices *list, int64_t index);
/* Sorts ascending and drops duplicates. A list made of few ascending runs takes few passes. */
void indices_sort(struct indices *list);
/* The position of an index in a sorted list that contains it. *cursor is the position of the last
 * one found, 0 at first.
 */
int64_t indices_find(const struct indices *list, int64_t index, int64_t *cursor);

/* How a node is run at points: which dense tensors are gathered from its operands for the n
 * requested elements. */
enum points_kind {
    POINTS_NONE,        /* cannot be run at points */
    POINTS_SOURCE,      /* read from memory */
    POINTS_ELEMENTWISE, /* [n] -> [n]; generators too, with op.points */
    POINTS_MOVE,        /* copies the one element that one of the operands holds for it */
    POINTS_LOOKUP,      /* copies an element of operand 0, at the index that operand 1 holds */
    POINTS_LINE,        /* [n, terms] -> [n], along axis 1 */
    POINTS_LINES,       /* the whole lines of the elements: [lines, size] -> [lines, size] */
    POINTS_PRODUCT,     /* [n, terms] · [n, terms] -> [n] */
    POINTS_WINDOW,      /* as LINE, but the number of terms differs from window to window */
};

/* An element that is asked for; with POINTS_LINES, a line along the axis, numbered by its place in
 * the other dims. */
struct points_unit {
    int64_t index;
    int64_t looked_up; /* POINTS_LOOKUP: the index from operand 1, clamped */
};

/* Appends the flat indices of the elements of an operand that a unit reads, in the order in which
 * the prim uses them. -1 stands for no element: padding, or an element of another operand. The
 * operands and the result of op have shapes but no cells. Stops when the list is full. */
typedef void points_reads(const struct op *op, uint32_t operand, struct points_unit unit,
                          struct indices *out);

struct points_rule {
    points_reads *reads; /* NULL: no operands, or POINTS_NONE */
    enum points_kind kind;
};
const struct points_rule *points_rule(enum prim prim);

/* POINTS_LINES: the line that holds an element, and its place in the line. */
int64_t points_line(const struct op *op, int64_t element, int64_t *out_place);
/* POINTS_LOOKUP: the element of operand 1 that holds the index for an element. */
int64_t points_index(const struct op *op, int64_t element);

#endif
