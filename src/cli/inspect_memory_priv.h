/* The memory of a plan at one size, as urza inspect --memory shows it: gathered by
 * inspect_memory.c, drawn by inspect_memory_svg.c. Everything lives in the arena of the command. */
#ifndef URZA_CLI_INSPECT_MEMORY_PRIV_H
#define URZA_CLI_INSPECT_MEMORY_PRIV_H

#include "package/layout.h"
#include "package/package.h"

struct cli;
struct strbuf;

/* A temporary that some launch uses. */
struct memory_row {
    uint32_t buffer; /* index in the plan */
    uint32_t first, last;
    int64_t bytes, address;
    const char *name; /* what it holds: the source's node, or what its launch computes */
    bool saved;       /* from forward_train for backward */
};

/* Bytes of what is no temporary, by what it is. Of a training step, params are inputs of its graph,
 * and gradients outputs; here they are params and gradients. Of a whole step, params and states are
 * inputs, and outputs that update them in place take no memory: those that do not are staged, and
 * urza_step copies them when all launches have run. */
enum memory_kind {
    MEMORY_INPUTS,
    MEMORY_PARAMS,
    MEMORY_PREPARED,
    MEMORY_OUTPUTS,
    MEMORY_COTANGENTS,
    MEMORY_GRADIENTS,
    MEMORY_STATES,
    MEMORY_IN_PLACE,
    MEMORY_STAGED,
    MEMORY_KIND_COUNT
};
extern const char *const memory_kinds[MEMORY_KIND_COUNT];

struct memory_view {
    const char *target, *dims; /* dims as text, "B=4, S=128" */
    const int64_t *values;     /* of the plan's named dims */
    const struct plan *plan;
    uint32_t forward; /* launches of forward_train; 0: the plan has one entry */
    struct memory_row *rows;
    uint32_t count;
    struct layout layout;
    int64_t saved;   /* bytes */
    int64_t scratch; /* bytes of each thread, in the launch that needs most */
    int64_t kinds[MEMORY_KIND_COUNT];
};

/* A picture of it: launches from left to right, addresses upwards. */
void memory_svg(struct cli *cli, const struct memory_view *view, struct strbuf *out);

#endif
