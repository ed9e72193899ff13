/* Values of which not all counts: results whose size hangs on numbers, such as NonZero's.
 *
 * Such a value is as long along an axis as it can be at most, and a count, an i64 value of the
 * graph, says how many of the first elements there are those of the model. The rest is filler: 0
 * where a node makes such a value, anything behind others. The bounds of a value follow from those
 * of its operands, prim by prim (onnx_bound_prims.c): a prim that treats each element along the
 * axis alone keeps them, and one that mixes elements which count with filler makes a value that no
 * node may have as its result. So a translator needs to know nothing of bounds, unless it can give
 * the right result in spite of them, or takes a size or a place from a dim that has one; those that
 * do so for each bounded operand are listed in onnx_bound.c, and all other ops are refused.
 *
 * Values come from the call's builder, VALUE_NONE after a failure, which stands in its error. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_BOUND_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_BOUND_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

struct onnx_bound {
    value_id count[LIMIT_RANK]; /* by axis; VALUE_NONE: all of the dim counts */
    const char *mixed;          /* what mixes filler with what counts; NULL: nothing does */
    const char *node;           /* that the first of its counts comes from */
    bool zero;                  /* filler is 0 */
};

/* What a reading keeps of them, from the first one on. */
struct onnx_bounds {
    VEC(const struct onnx_bound *) items; /* by id; NULL: all of the value counts */
    bool places;                          /* of the node that is translated: see onnx_bound_flow */
    VEC(struct graph_output) counts;      /* of outputs so far */
};

/* The bounds of a value; NULL: all of it counts. Borrowed until the next value. */
const struct onnx_bound *onnx_bound_of(struct onnx *o, value_id x);
/* How much of the axis counts; VALUE_NONE: all of it. */
value_id onnx_count(struct onnx *o, value_id x, int axis);
/* That, or the size of the dim: i64 0-d. */
value_id onnx_extent(struct onnx_call *c, value_id x, int axis);
/* x, with a bound along the axis beside those that it has, or alone where the rules of prims would
 * have it mixed. zero: filler is 0. */
value_id onnx_bound(struct onnx_call *c, value_id x, int axis, value_id count, bool zero);

enum onnx_filler { FILL_ZERO, FILL_ONE, FILL_LEAST, FILL_GREATEST, FILL_NAN };
/* x with another filler along the axis, all of which then counts; x itself where all counts. Of
 * floats the least and greatest are infinite. */
value_id onnx_fill(struct onnx_call *c, value_id x, int axis, enum onnx_filler filler);
/* The same along all axes. */
value_id onnx_fill_all(struct onnx_call *c, value_id x, enum onnx_filler filler);

/* Sizes of which some are counts of other values (onnx_bound_size.c), as Shape gives them. */
struct onnx_sizes {
    uint32_t count;
    dim_id dims[LIMIT_RANK];
    value_id counts[LIMIT_RANK]; /* VALUE_NONE: the dim is the size itself */
};
/* Whether operand index is such sizes; false without failing, too, where none is a count or one is
 * neither known nor a count. */
bool onnx_counted_sizes(struct onnx_call *c, uint32_t index, struct onnx_sizes *out);
/* x, whose last dims are these, with their counts as bounds. */
value_id onnx_bound_sizes(struct onnx_call *c, value_id x, const struct onnx_sizes *sizes);

/* Before and after the translation of a node: refuses it where it would not be right. */
bool onnx_bound_enter(struct onnx_call *c);
bool onnx_bound_leave(struct onnx_call *c);
/* Adds x as an output of the model: filler is 0. */
bool onnx_bound_output(struct onnx *o, const char *name, value_id x, struct error *err);
/* Adds the counts of outputs, behind all of them: NAME.count, or NAME.count.AXIS of several. */
bool onnx_bound_counts(struct onnx *o, struct error *err);

/* onnx_bound_prims.c: the bounds of a value from those of its operands; NULL: all of it counts.
 * places: places in its operands are counted from the front, and lie within what counts. */
const struct onnx_bound *onnx_bound_flow(struct onnx *o, value_id x, bool places);

#endif
