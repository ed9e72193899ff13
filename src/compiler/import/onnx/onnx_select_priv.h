/* What selections by value share (onnx_select.c, onnx_nms.c). */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_SELECT_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_SELECT_PRIV_H

#include "graph/graph.h"

struct onnx_call;

/* Of a list of bool, all of which counts, the places that are true, ascending, as i64; behind the
 * last of them 0. *out_count, which is also their bound: how many there are. */
value_id onnx_true_places(struct onnx_call *c, value_id flags, value_id *out_count);
/* Rows of x, whose dim may be empty: then the places are of rows that do not count. */
value_id onnx_take_any(struct onnx_call *c, value_id x, value_id places, int axis);

#endif
