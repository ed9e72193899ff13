/* The parts of a drawing: boxes in layers with lines between them (picture_layout.c), what is
 * drawn as a box (picture_scene.c), its text (picture_label.c) and how it is printed
 * (picture_svg.c). Everything lives in the arena of the scene; one thread. Lengths
 * are whole units of the drawing, y goes down. */
#ifndef URZA_SERVER_PICTURE_PRIV_H
#define URZA_SERVER_PICTURE_PRIV_H

#include "package/plan.h"
#include "graph/graph.h"

struct layering_node {
    double width, height;
    bool first;     /* stands in the first layer; no line may lead to it */
    double x, y;    /* found: the left upper corner */
    uint32_t layer; /* found */
};

/* Where lines leave a node: all that start here share a stem. Offsets from the node's corner. */
struct layering_net {
    uint32_t from;
    double x, y;
    double weight; /* > 0; how much straight lines matter here */
};

/* A line from a net to a node. Offsets from the node's corner. */
struct layering_line {
    uint32_t net, to;
    double x, y;
};

/* A line passes a layer straight down at x, from top to bottom, and curves from one to the next. */
struct layering_pass {
    double x, top, bottom;
};

struct layering {
    double space_x, space_y; /* between neighbours, and between layers at least */
    VEC(struct layering_node) nodes;
    VEC(struct layering_net) nets;
    VEC(struct layering_line) lines; /* by `to`, ascending; from < to */
    double width, height;            /* found */
    struct layering_state *state;
};

/* Places the nodes: each value as late as its users allow (longest path to the end), few crossings,
 * short lines. O(n log n) in nodes, lines and the layers that lines cross, of which a bounded
 * number is counted: lines beyond it may go through nodes. */
void layering_place(struct layering *layout, struct arena *arena);
/* The passes of one line, from its start, or from where it leaves a line that was asked for before.
 * Borrowed until the next call. Returns their number, at least 2. */
uint32_t layering_passes(struct layering *layout, uint32_t line, const struct layering_pass **out);

/* Text that is safe in XML: escaped, shortened in the middle, what is no printable character
 * replaced by U+FFFD. */
struct label {
    const char *xml;
    uint32_t columns; /* of a font whose letters are equally wide */
};
struct label label_make(struct arena *arena, const char *text, size_t size, uint32_t columns_max);

enum shape_kind {
    SHAPE_VALUE = 1,
    SHAPE_SMALL, /* a value that only moves elements */
    SHAPE_INPUT,
    SHAPE_PARAM,
    SHAPE_OUTPUT,
    SHAPE_BORDER, /* no box: where a line enters or leaves a kernel */
    SHAPE_KERNEL, /* holds a drawing of its own */
    SHAPE_KIND_COUNT
};

struct shape {
    enum shape_kind kind;
    bool stored;                     /* the value is written to memory */
    struct label name, number, type; /* "max(·, 0)", "%18", "f32[B, 256]" */
    struct label title;              /* for screen readers and pointers */
    struct drawing *inside;          /* SHAPE_KERNEL, else NULL */
};

/* What one launch computes, or the whole. */
struct drawing {
    struct layering layout;
    VEC(struct shape) shapes; /* by layout node */
    bool framed, prepare;
    double x, y; /* of the inside, from the corner of the kernel's frame */
};

/* Gives each shape its size from its labels. */
void shape_measure(const struct shape *shape, struct layering_node *node);

struct picture {
    struct drawing whole;
    bool kernels;                           /* some are framed */
    struct label heading;                   /* one line */
    struct label note;                      /* one line under the drawing; no columns: none */
    uint32_t missing_values, missing_lines; /* that are not drawn */
};

/* Places everything of a graph, cut into the kernels of plan (NULL: not cut); heading and note are
 * the caller's. The plan's buffers must be of values and outputs of the graph. Adds dims to the
 * graph. */
void picture_build(struct picture *picture, struct graph *graph, const struct plan *plan,
                   struct arena *arena);
void picture_print(struct picture *picture, struct strbuf *out);

/* What pictures of a package are of. */
struct picture_subject {
    struct graph graph; /* the best target's; the original one where there is no code */
    struct plan plan;   /* empty there */
    const char *target; /* NULL there */
};
/* The plan points at the graph's dims, so *out must stay where it is. */
bool picture_open(const void *bytes, size_t size, struct arena *arena, struct picture_subject *out,
                  struct error *err);
/* Begins a picture of a size, with its style, paper and title; strbuf_puts "</svg>" ends it. */
void picture_begin(struct strbuf *out, double width, double height, const struct label *heading);
#define PICTURE_COLUMN 7.25 /* width of a letter */
#define PICTURE_MARGIN 20

#endif
