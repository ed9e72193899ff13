/* Random programs: valid graphs of many prims and composites, as a function of a seed.
 *
 * Shapes are small and odd, now and then empty; some dims are named. Values are kept tame (squashed
 * before they grow) so that the reference can determine most results. The graph lives in its arena.
 */
#ifndef URZA_TESTS_SUPPORT_RANDOM_GRAPH_H
#define URZA_TESTS_SUPPORT_RANDOM_GRAPH_H

#include "graph/graph.h"

struct error;

#define RANDOM_GRAPH_SIZES 2

/* Fills *graph, which is initialised and empty, and legal values of its named dims for two sizes.
 * False only when the generator itself is at fault. */
bool random_graph(struct graph *graph, uint64_t seed,
                  int64_t out_sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS], struct error *err);

/* The same for a network of images. */
bool random_network(struct graph *graph, uint64_t seed,
                    int64_t out_sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS], struct error *err);

#endif
