/* What a reader found in a source, for people (urza inspect, urza explain).
 *
 * A caller makes one with import_notes_init and gives it to blueprint_read by its options. The
 * reader fills it as far as it gets, whether it succeeds or not: what the file is made of before
 * anything is translated, what was refused when it is done. Of several readings of one source the
 * last counts. Everything lives in the arena of the reading, and texts are the file's own:
 * untrusted, UTF-8. One thread. */
#ifndef URZA_COMPILER_IMPORT_NOTES_H
#define URZA_COMPILER_IMPORT_NOTES_H

#include "base/arena.h"
#include "base/map.h"
#include "graph/graph.h"

/* What became of nodes whose results need no kernel of their own at a call. */
enum import_fate {
    IMPORT_KERNEL,   /* it is computed at each call */
    IMPORT_CONSTANT, /* it became a constant */
    IMPORT_SIZES,    /* it became arithmetic on dims */
    IMPORT_LOADED,   /* it depends on parameters only: computed once, when the package is loaded */
    IMPORT_SAME,     /* it is another value: it changes nothing, or is computed already */
    IMPORT_FATES
};
const char *import_fate_name(enum import_fate fate); /* "constant" */

struct import_op {
    const char *name;
    uint32_t count;               /* nodes of the file, those of bodies and functions included */
    uint32_t fates[IMPORT_FATES]; /* nodes of the main graph; all 0 where nothing is known of them
                                   */
};

struct import_refusal {
    const char *op;   /* or "input", "output" … */
    const char *node; /* the first one; NULL: none in particular */
    const char *why;
    const char *cure; /* what a user can do; NULL: nothing is known to help */
    uint32_t count;
};

struct import_notes {
    struct arena *arena;
    const char *format;   /* "ONNX"; NULL: it was not recognised */
    const char *version;  /* "opset 17"; NULL */
    const char *producer; /* "pytorch 2.1.0"; NULL: the file does not say */
    VEC(struct import_op) ops;
    VEC(struct import_refusal) refused;
    /* The last reading: complete when it succeeded; inputs and dims are read first. NULL: none
     * began. */
    const struct graph *graph;
    VEC(const char *) outputs; /* as the file declares them: "y f32[batch, 10]" */
    struct strmap op_names;    /* → ops */
};

void import_notes_init(struct import_notes *notes, struct arena *arena);
/* The row of an op, which is made where it is new. */
struct import_op *import_note_op(struct import_notes *notes, const char *name);
/* What became of each value of a graph, by id: IMPORT_SAME is not told. In the arena. */
uint8_t *import_fates(const struct graph *graph, struct arena *arena);

#endif
