/* Origins: which nodes of the source a value comes from, by the names they have there.
 *
 * A reader says which node it is about to translate (graph->origin). What is added meanwhile comes
 * from it. What it finds to be there already comes from it or from the node that was first: either
 * asks for it. graph_rewrite does the same for each value it rebuilds, so passes inherit origins
 * without a word; a value of which a pass leaves nothing hands its origin on to what was built for
 * its users, which then comes from both. What is added while no origin is set has those of its
 * operands. Values without operands have none. What follows from constants alone is shared by all
 * who ask for it, so its origin says nothing about them.
 *
 * An origin is an id, interned per graph like a dim, and says nothing about what a value is: it is
 * no part of its identity or of a graph's text. Everything lives in the graph's arena. */
#ifndef URZA_GRAPH_ORIGIN_H
#define URZA_GRAPH_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/map.h"

struct graph;

typedef uint32_t origin_id;
#define ORIGIN_NONE 0u

/* One node, or two other origins. */
struct origin {
    const char *name;        /* of the node; NULL: there are two … */
    origin_id first, second; /* … of smaller ids, */
    bool either;             /* … of which one may be meant, or both are */
};
struct origins {
    VEC(struct origin) items; /* by id; [0] is unused, and not there when nothing is */
    struct map interned;
};

/* The node of that name. inside: the node whose body it stands in, if it does (else ORIGIN_NONE);
 * its name goes before: "outer/inner". What is longer than LIMIT_NAME is cut, between characters of
 * UTF-8. A name of nothing: `inside` itself. */
origin_id origin_of_node(struct graph *graph, const char *name, origin_id inside);
origin_id origin_both(struct graph *graph, origin_id a, origin_id b);
origin_id origin_either(struct graph *graph, origin_id a, origin_id b);

/* Names of nodes, gathered from origins of one graph: for several such sets, one after the other.
 * Origins may be added to the graph meanwhile. */
struct origin_set {
    const struct graph *graph;
    struct arena *arena;
    VEC(const char *) names; /* borrowed from the graph, each once */
    struct origin_mark *marks;
    uint32_t room, set, walk;
    VEC(origin_id) open;
};
void origin_set_init(struct origin_set *set, const struct graph *graph, struct arena *arena);
void origin_set_clear(struct origin_set *set); /* begins the next */
/* Adds the names of an origin that are not there yet, in the order of strcmp. Of two alternatives
 * one that has a name of the set is meant; where neither has, both are. */
void origin_set_add(struct origin_set *set, origin_id origin);

#endif
