/* Dims that inputs of the model tell: their elements give the values at each call
 * (graph/element.h).
 *
 * An input tells a dim only if a node needs a size, a position or an axis that nothing else gives.
 * The dim of an element is a new named dim; or it is a dim that follows from the rest of the model,
 * and a call whose element differs from it is refused. Functions that return a dim or a bool report
 * failures through the call's builder (onnx_failed). */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_TOLD_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_TOLD_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"
#include "graph/element.h"

/* Whether an input has at most LIMIT_ELEMENTS elements, which people can write in an option. */
bool onnx_is_short(const struct onnx *o, value_id input);
/* Whether operand `index` is an input of the model whose elements can tell dims and are not known;
 * its index among the inputs, and the number of its elements. */
bool onnx_may_tell(struct onnx_call *c, uint32_t index, uint32_t *out_input, uint32_t *out_count);
/* The named dim that the element tells, a new one unless there is one already; element.dim is
 * ignored. DIM_NONE after failing. */
dim_id onnx_tell(struct onnx_call *c, struct graph_element element);
/* Makes every call check that the element gives its dim. */
bool onnx_require(struct onnx_call *c, const struct graph_element *element);
bool onnx_require_const(struct onnx_call *c, uint32_t input, uint32_t at, enum element_rule rule,
                        int64_t value);
/* The axes of operand 0, ascending, that operand `index`, an input, must name at each call: the
 * axes along which the result's stated shape differs from the operand's, then the first of the
 * others. May return false without failing. */
bool onnx_told_axes(struct onnx_call *c, uint32_t index, uint32_t count, int64_t *out);
/* The rank that the model states for the first result; -1: none. */
int onnx_stated_rank(const struct onnx_call *c);
/* The shape that the model states for the first result, if all its dims exist; false: none. */
bool onnx_stated_shape(struct onnx_call *c, dim_id *out, uint32_t *out_rank);
/* Makes dims of all elements of inputs that x depends on; false if that makes nothing more
 * known. */
bool onnx_tell_sizes(struct onnx_call *c, value_id x);
/* onnx_inputs.c: declares a named dim, called `wish` or, if that is taken, a similar name. range:
 * its values; the caller may restrict them. */
bool onnx_declare_told(struct onnx *o, const char *wish, const struct dim_name *range, dim_id *out,
                       struct error *err);

/* A choice (onnx_choice.c): which axes an input tells, as the number of one of the sets of `count`
 * out of `rank` axes. */
struct onnx_choice {
    uint32_t rank, count, sets;
    dim_id number; /* number of the set */
};
/* Makes a choice of the axes that operand `index` tells, if it is an input that can. May return
 * false without failing. */
bool onnx_choose(struct onnx_call *c, uint32_t index, uint32_t rank, struct onnx_choice *out);
/* One size for all sets: of_sets[number]. */
dim_id onnx_choice_dim(struct onnx_call *c, const struct onnx_choice *choice,
                       const dim_id *of_sets);
/* x with the chosen axes moved to the end, ascending; keep: their former positions have dims of
 * 1. */
value_id onnx_choice_last(struct onnx_call *c, value_id x, const struct onnx_choice *choice,
                          bool keep);
/* Inverse of onnx_choice_last, for one axis. lasts: the size of y's last dim for each set; shape:
 * of the result; the chosen axis is ignored. */
value_id onnx_choice_back(struct onnx_call *c, value_id y, const struct onnx_choice *choice,
                          const dim_id *lasts, const dim_id *shape);
/* x with a new dim of 1 at each chosen axis. */
value_id onnx_choice_ones(struct onnx_call *c, value_id x, const struct onnx_choice *choice);
/* Appends to an error which inputs the failed reading used to decide sizes. */
void onnx_hint_told(const struct graph *graph, struct error *err);

/* Makes the elements of an input known, and folds again the values that were not known without
 * them. */
void onnx_know_dims(struct onnx *o, value_id input, const dim_id *dims);
void onnx_forget(struct onnx *o);

#endif
