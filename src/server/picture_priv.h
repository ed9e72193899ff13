/* The parts of a drawing: boxes in layers with lines between them (picture_layout.c), choosing what
 * is drawn as a box (picture_scene.c), text (picture_label.c) and printing (picture_svg.c).
 * Everything lives in the arena of the scene; one thread. Lengths are whole units of the drawing; y
 * points down. */
#ifndef URZA_SERVER_PICTURE_PRIV_H
#define URZA_SERVER_PICTURE_PRIV_H

#include "package/plan.h"
#include "graph/graph.h"

struct layering_node {
    double width, height;
    bool first;     /* must be in the first layer; no line may lead to it */
    double x, y;    /* result: the upper left corner */
    uint32_t layer; /* result */
};

/* Where lines leave a node: all lines of a net share a stem. Offsets are from the node's corner. */
struct layering_net {
    uint32_t from;
    double x, y;
    double weight; /* > 0; how important straight lines are */
};

/* A line from a net to a node. Offsets from the node's corner. */
struct layering_line {
    uint32_t net, to;
    double x, y;
};

/* Where a line crosses a layer: straight down at x, from top to bottom; between layers it
 * curves. */
struct layering_pass {
    double x, top, bottom;
};

struct layering {
    double space_x, space_y; /* distance between neighbours, and least distance between layers */
    VEC(struct layering_node) nodes;
    VEC(struct layering_net) nets;
    VEC(struct layering_line) lines; /* by `to`, ascending; from < to */
    double width, height;            /* result */
    struct layering_state *state;
};

/* Places the nodes: each value as low as its users allow (longest path to the end), with few
 * crossings and short lines. O(n log n) in nodes, lines and crossed layers, of which a limited
 * number is laid out: lines beyond that may pass through nodes. */
void layering_place(struct layering *layout, struct arena *arena);
/* The passes of one line, from its start, or from where it leaves another line requested before.
 * Borrowed until the next call. Returns their number, at least 2. */
uint32_t layering_passes(struct layering *layout, uint32_t line, const struct layering_pass **out);

/* Text that is safe in XML: escaped, shortened in the middle, with unprintable characters replaced
 * by U+FFFD. */
struct label {
    const char *xml;
    uint32_t columns; /* width in characters of a monospaced font */
};
struct label label_make(struct arena *arena, const char *text, size_t size, uint32_t columns_max);

enum shape_kind {
    SHAPE_VALUE = 1,
    SHAPE_SMALL, /* a value whose prim only moves elements */
    SHAPE_INPUT,
    SHAPE_PARAM,
    SHAPE_OUTPUT,
    SHAPE_BORDER, /* not a box: where a line enters or leaves a kernel */
    SHAPE_KERNEL, /* contains a drawing */
    SHAPE_KIND_COUNT
};

struct shape {
    enum shape_kind kind;
    bool stored;                     /* the value is written to memory */
    struct label name, number, type; /* "max(·, 0)", "%18", "f32[B, 256]" */
    struct label title;              /* for screen readers and pointers */
    struct drawing *inside;          /* SHAPE_KERNEL, else NULL */
};

/* What one launch computes, or the whole graph. */
struct drawing {
    struct layering layout;
    VEC(struct shape) shapes; /* by layout node */
    bool framed, prepare;
    double x, y; /* offset of the inside from the corner of the kernel's frame */
};

/* Computes the size of a shape from its labels. */
void shape_measure(const struct shape *shape, struct layering_node *node);

struct picture {
    struct drawing whole;
    bool kernels;                           /* some kernels are drawn as frames */
    struct label heading;                   /* one line */
    struct label note;                      /* one line below the drawing; 0 columns: none */
    uint32_t missing_values, missing_lines; /* numbers of those not drawn */
};

/* Lays out a graph, cut into the kernels of plan (NULL: not cut); the caller sets heading and note.
 * The plan's buffers must refer to values and outputs of the graph. Adds dims to the graph. */
void picture_build(struct picture *picture, struct graph *graph, const struct plan *plan,
                   struct arena *arena);
void picture_print(struct picture *picture, struct strbuf *out);

/* The content of a package that pictures show. */
struct picture_subject {
    struct graph graph; /* of the best target; the original graph if there is no code */
    struct plan plan;   /* empty if there is no code */
    const char *target; /* NULL if there is no code */
};
/* The plan points to the graph's dims, so *out must not be moved. */
bool picture_open(const void *bytes, size_t size, struct arena *arena, struct picture_subject *out,
                  struct error *err);
/* Begins an SVG of this size, with style, background and title; the caller ends it with
 * "</svg>". */
void picture_begin(struct strbuf *out, double width, double height, const struct label *heading);
#define PICTURE_COLUMN 7.25 /* width of a character */
#define PICTURE_MARGIN 20

#endif
