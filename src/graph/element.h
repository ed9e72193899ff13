/* Elements of inputs that tell dims.
 *
 * A named dim has its value at a call from the shapes of the inputs, or from an element of an
 * input: k of a TopK, the start of a slice, a size of a Reshape. The graph lists such elements
 * (graph.elements), each with a rule by which it is read and the dim it must then be. A name alone
 * is given its value by the first that is read for it, as by shapes; everything else is checked.
 * Rules are rows of element_rules.def. Elements are read in the order of the list, and a rule's
 * operand may need the names that shapes and elements before it tell.
 *
 * A choice is the number of a set: of all sets of so many axes, each sorted, in lexicographic
 * order. So a set of one axis is that axis, and there is one set of all.
 *
 * Nothing here allocates. Any number of threads may read. */
#ifndef URZA_GRAPH_ELEMENT_H
#define URZA_GRAPH_ELEMENT_H

#include "graph/graph.h"

#define LIMIT_ELEMENTS 32 /* of an input whose elements tell dims */

enum element_rule {
    ELEMENT_NONE,
#define RULE(id, name, doc) ELEMENT_##id,
#include "graph/element_rules.def"
#undef RULE
    ELEMENT_RULES
};

const char *element_rule_name(unsigned rule);      /* "size"; NULL behind the last */
unsigned element_rule_from_name(const char *name); /* ELEMENT_NONE: no such rule */

/* Adds an element to the list. ERR_BLUEPRINT: no such input, element or rule; an input that is no
 * tensor of integers or whole numbers of rank 0 or 1 with a constant number of elements. */
bool graph_element(struct graph *graph, const struct graph_element *element, struct error *err);
/* Elements that the input has, if some of them tell dims; 0: none does. */
uint32_t elements_of_input(const struct graph *graph, uint32_t input);

/* An element of a tensor in its dtype's layout as an integer; false: it is not whole, or too
 * large. */
bool element_integer(enum dtype dtype, const void *data, uint32_t at, int64_t *out);
/* What the element says, from the integers of its input. dims: values of names, those that `of`
 * needs. ERR_INPUT. */
bool element_read(const struct graph *graph, const struct graph_element *element,
                  const int64_t *integers, const int64_t *dims, int64_t *out, struct error *err);
/* Whether the element says what its dim is at these values of all names. ERR_INPUT. */
bool element_check(const struct graph *graph, const struct graph_element *element,
                   const int64_t *integers, const int64_t *dims, struct error *err);
/* The reverse: overwrites the elements of an input that tell dims, in a dense tensor in its dtype's
 * layout, with values that say these dims. */
void elements_store(const struct graph *graph, uint32_t input, const int64_t *dims, void *data);

/* How many sets of `count` axes there are out of `rank`, both at most LIMIT_RANK; 0 for count >
 * rank. */
int64_t choice_count(uint32_t rank, uint32_t count);
/* The axes of set `number`, ascending. */
void choice_axes(uint32_t rank, uint32_t count, int64_t number, uint32_t axes[LIMIT_RANK]);

#endif
