/* Drawings of packages as SVG. Of the graph: values of primitives in layers from inputs to outputs,
 * and a frame around what one kernel computes. Works without scripts; each node has a title for
 * screen readers. */
#ifndef URZA_SERVER_PICTURE_H
#define URZA_SERVER_PICTURE_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct error;
struct strbuf;

/* The optimised graph of the package's best target (the original graph where there is no code).
 * Bounded: of a graph with more than some hundred values the first are drawn, and it says so.
 * ERR_PACKAGE. */
bool picture_of_package(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                        struct error *err);

/* When a call needs which memory, at typical sizes: a bar for each temporary, from the launch that
 * writes it to the last that reads it, and below what all take together. Bounded and refused
 * likewise; a package without code has no temporaries, and it says so. */
bool picture_of_memory(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                       struct error *err);

#endif
