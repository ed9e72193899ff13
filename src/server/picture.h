/* Drawings of packages as SVG. A drawing of the graph has the values of primitives in layers from
 * inputs to outputs, and a frame around those that one kernel computes. It works without scripts;
 * each node has a title for screen readers. */
#ifndef URZA_SERVER_PICTURE_H
#define URZA_SERVER_PICTURE_H

#include <stdbool.h>
#include <stddef.h>

struct arena;
struct error;
struct strbuf;

/* Draws the optimised graph of the package's best target (the original graph if there is no code).
 * The size is bounded: of a graph with more than some hundred values, the first ones are drawn,
 * with a note. ERR_PACKAGE. */
bool picture_of_package(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                        struct error *err);

/* Draws the memory that a call needs, at typical sizes: a bar for each temporary, from the launch
 * that writes it to the last that reads it, and below them their sum. Bounded, and fails, as above;
 * for a package without code a note says that it has no temporaries. */
bool picture_of_memory(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                       struct error *err);

#endif
