/* Loops of a graph: values that are computed again in every trip, with state from trip to trip.
 *
 * A graph stays one list of values in topological order. What makes a loop are three prims that
 * carry its number, 1, 2 … within the graph:
 *
 *   iter {loop}                       the number of the trip, 0, 1 …: i64, 0-d
 *   state %init {loop, index}         a state as the trip finds it; %init in the first one
 *   loop %s…, %next…, %row… {loop, index, states, dim [T], while}
 *                                     runs T trips. Operands: the states, in the order of their
 *                                     indices; as many values that they have after a trip; any
 *                                     number of values of which each trip makes one row.
 *                                     index < states: that state after the last trip;
 *                                     else: the rows of all trips, [T, …].
 *
 * while, which may be left out, is the index of a state that is a 0-d bool. Then the loop makes at
 * most T trips: before each one, also the first, that state is looked at, and where it is false the
 * loop ends. States are then what they are at that point, and rows of trips that were not made are
 * 0. Nothing is kept for each trip but rows, so without rows T may be very large.
 *
 * The body is whatever depends on iter or states of the loop, and ends at its loop nodes. All else
 * is outside and computed once, wherever it stands in the list; the body reads it as it is. So
 * passes, which replace values by equal ones, need to know nothing of loops. Row t of a value that
 * was computed before is `take` at iter.
 *
 *   h = 0              %2 = state %h0 {loop 1, index 0}
 *   for t below T:     %3 = iter {loop 1}
 *     h = tanh(        %4 = take %x, %3 {axis 0}
 *       x[t] + h·w)    %5 = contract %2, %w …  %6 = add %4, %5  %7 = tanh %6  %8 = copy %7
 *     y[t] = h         %9 = loop %2, %8, %8 {loop 1, index 1, states 1, dim [T]} : f32[T, …]
 *
 * Bodies are never nested: a body contains no other loop's iter, states or loop nodes. Values after
 * a trip and rows are copies, or reshapes of copies: they have memory of their own. */
#ifndef URZA_GRAPH_LOOPS_H
#define URZA_GRAPH_LOOPS_H

#include "graph/graph.h"

struct builder;

struct graph_loop {
    uint32_t number;
    dim_id trips;
    value_id iter;        /* VALUE_NONE: nothing reads it */
    value_id first, last; /* of its loop nodes; all have the same operands */
    uint32_t states, rows;
    uint32_t condition; /* 1 + the index of the state that says whether it goes on; 0: none */
    const value_id *state, *next, *row; /* the operands */
    value_id *results; /* by index, states + rows: its loop node; VALUE_NONE: there is none */
};

struct graph_loops {
    uint32_t *of; /* by value: 1 + the index in items of the loop whose body it is in; 0: none */
    VEC(struct graph_loop) items; /* in the order of their first loop nodes */
};

/* Verification and profiling, whose inputs are drawn, make at most so many trips of a loop that has
 * a condition, in the reference, the walk and the runtime alike: on such numbers it may never end.
 */
#define LOOP_TRIED_TRIPS 256

/* Whether the graph has loops, or values that would belong to one. */
bool graph_has_loops(const struct graph *graph);
/* The loops that outputs need, in the arena. ERR_SHAPE, with the value as place, when a value is in
 * the bodies of two loops, an output is in a body, loop nodes of one number do not agree, or a
 * value after a trip, or a row, is no copy. */
bool graph_find_loops(const struct graph *graph, struct arena *arena, struct graph_loops *out,
                      struct error *err);

/* The loop whose first loop node a value is; NULL: none. */
const struct graph_loop *graph_loop_from(const struct graph_loops *loops, value_id first);

/* Building: b_loop_begin gives a number; then come iter, states and the body; then b_loop_end gives
 * the results by index. It copies values after a trip and rows; where the body goes on with such a
 * value it should use b_loop_value(value), which is that copy. VALUE_NONE and false on failure. */
uint32_t b_loop_begin(struct builder *b);
value_id b_iter(struct builder *b, uint32_t loop);
value_id b_state(struct builder *b, uint32_t loop, uint32_t index, value_id init);
value_id b_loop_value(struct builder *b, value_id value);
struct loop_spec {
    uint32_t loop;
    dim_id trips;
    const value_id *state, *next, *row;
    uint32_t states, rows;
    uint32_t condition; /* as in graph_loop */
};
bool b_loop_end(struct builder *b, const struct loop_spec *spec, value_id *results);

/* The graph with its loops open. Its inputs and params are those of `from`, followed by inputs for
 * iter, states and results of each loop; its outputs are those of `from`, followed by what each
 * loop starts from, its states after a trip, its rows, and its trips. So it has no loops. The input
 * of the state that is its condition has a name of its own.
 *
 * Where two graphs with loops of the same numbers agree when they are open, and have inputs and
 * outputs of the same names, they agree: by induction over the trips. Before trip t their states
 * are equal: at first since what the loops start from is, later since equal states have equal next
 * values. So the condition, which is the same state in both, is equal too, both end before the same
 * trip, with equal states, and have equal rows of trips that were made and zeros for the others. */
bool graph_open_loops(struct graph *to, struct arena *arena, const struct graph *from,
                      struct error *err);

#endif
