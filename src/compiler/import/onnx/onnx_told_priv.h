/* What inputs of the model tell at each call (graph/element.h), while a node is translated.
 *
 * An input is asked only where a node needs a size, a place or an axis and nothing says it. What an
 * element tells is a dim with a name of its own, or one that follows from the rest of the model and
 * that the element must say, or the call is refused. Functions that give a dim or a bool fail
 * through the call's builder, where onnx_failed says so. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_TOLD_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_TOLD_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"
#include "graph/element.h"

/* Whether operand index is itself an input whose elements may, and nothing says them; its place
 * among inputs, and how many they are. */
bool onnx_may_tell(struct onnx_call *c, uint32_t index, uint32_t *out_input, uint32_t *out_count);
/* The dim that the element tells, a name of its own; element.dim is not looked at. DIM_NONE after
 * failing. */
dim_id onnx_tell(struct onnx_call *c, struct graph_element element);
/* Has the element say its dim at each call. */
bool onnx_require(struct onnx_call *c, const struct graph_element *element);
bool onnx_require_const(struct onnx_call *c, uint32_t input, uint32_t at, enum element_rule rule,
                        int64_t value);
/* Axes of operand 0 that operand index, an input, must name, ascending: those along which the shape
 * that the model states for the result differs, and then the first. False without failing, too. */
bool onnx_told_axes(struct onnx_call *c, uint32_t index, uint32_t count, int64_t *out);
/* The rank that the model states for the first result; -1: it states none. */
int onnx_stated_rank(const struct onnx_call *c);
/* The shape that the model states for the first result, in dims that there are; false: none. */
bool onnx_stated_shape(struct onnx_call *c, dim_id *out, uint32_t *out_rank);
/* Makes all elements of inputs that x hangs on names; false when nothing is won by it. */
bool onnx_tell_sizes(struct onnx_call *c, value_id x);
/* onnx_inputs.c: declares a name after the wish, which may be taken. ranges: its values; a caller's
 * may be less. */
bool onnx_declare_told(struct onnx *o, const char *wish, const struct dim_name *range, dim_id *out,
                       struct error *err);

/* Axes that an input tells (onnx_choice.c): one of the sets of `count` out of `rank` axes. */
struct onnx_choice {
    uint32_t rank, count, sets;
    dim_id number; /* of the set */
};
/* Whether operand index tells axes of so many, as an input can; false without failing, too. */
bool onnx_choose(struct onnx_call *c, uint32_t index, uint32_t rank, struct onnx_choice *out);
/* A size by set, as one. */
dim_id onnx_choice_dim(struct onnx_call *c, const struct onnx_choice *choice,
                       const dim_id *of_sets);
/* x with the chosen axes behind all others, ascending; keep: where they were stands a 1. */
value_id onnx_choice_last(struct onnx_call *c, value_id x, const struct onnx_choice *choice,
                          bool keep);
/* Back from that, of one axis: lasts is the size of y's last dim by set, shape the result's but for
 * the chosen axis. */
value_id onnx_choice_back(struct onnx_call *c, value_id y, const struct onnx_choice *choice,
                          const dim_id *lasts, const dim_id *shape);
/* x with a 1 at each chosen axis of the result. */
value_id onnx_choice_ones(struct onnx_call *c, value_id x, const struct onnx_choice *choice);
/* Adds to an error which inputs were taken to decide sizes by the reading that failed. */
void onnx_hint_told(const struct graph *graph, struct error *err);

/* Remembers the elements of an input; looks again at what was not known without them. */
void onnx_know_dims(struct onnx *o, value_id input, const dim_id *dims);
void onnx_forget(struct onnx *o);

#endif
