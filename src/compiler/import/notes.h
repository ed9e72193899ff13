/* A description of a source, for people (urza inspect, urza explain).
 *
 * A caller initialises one with import_notes_init and passes it to blueprint_read in the options.
 * The reader fills it whether it succeeds or not: the contents of the file before anything is
 * translated, what was refused at the end. If a source is read several times, the last reading
 * counts. Everything is allocated in the arena of the reading, and strings come from the file:
 * untrusted, UTF-8. One thread. */
#ifndef URZA_COMPILER_IMPORT_NOTES_H
#define URZA_COMPILER_IMPORT_NOTES_H

#include "base/arena.h"
#include "base/map.h"
#include "graph/graph.h"

/* How the result of a node is computed. */
enum import_fate {
    IMPORT_KERNEL,   /* by a kernel at each call */
    IMPORT_CONSTANT, /* it is a constant */
    IMPORT_SIZES,    /* it depends on sizes only: arithmetic on dims */
    IMPORT_LOADED,   /* it depends on parameters only: once, when the package is loaded */
    IMPORT_SAME, /* it is the same value as another: the node changes nothing, or repeats another
                    node */
    IMPORT_FATES
};
const char *import_fate_name(enum import_fate fate); /* "constant" */

struct import_op {
    const char *name;
    uint32_t count;               /* nodes of the file, including those in bodies and functions */
    uint32_t fates[IMPORT_FATES]; /* nodes of the main graph; all 0 if not known */
};

struct import_refusal {
    const char *op;   /* the op; or "input", "output" … */
    const char *node; /* the first such node; NULL: no particular node */
    const char *why;
    const char *cure; /* what a user can do about it; NULL: nothing is known to help */
    uint32_t count;
};

struct import_notes {
    struct arena *arena;
    const char *format;   /* "ONNX"; NULL: not recognised */
    const char *version;  /* "opset 17"; NULL */
    const char *producer; /* "pytorch 2.1.0"; NULL: not in the file */
    VEC(struct import_op) ops;
    VEC(struct import_refusal) refused;
    /* The graph of the last reading: complete if it succeeded; inputs and dims are read first.
     * NULL: no graph was begun. */
    const struct graph *graph;
    VEC(const char *) outputs; /* as the file declares them: "y f32[batch, 10]" */
    struct strmap op_names;    /* → ops */
};

void import_notes_init(struct import_notes *notes, struct arena *arena);
/* The row of an op; adds it if there is none. */
struct import_op *import_note_op(struct import_notes *notes, const char *name);
/* The fate of each value of a graph, by id, in the arena; IMPORT_SAME does not occur. */
uint8_t *import_fates(const struct graph *graph, struct arena *arena);

#endif
