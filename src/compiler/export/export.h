/* Writes graphs as ONNX models, so that another runtime can check or replace this one.
 *
 * Every primitive becomes one or a few nodes of ONNX; composites have been expanded before. The
 * same graph and parameters give the same bytes. */
#ifndef URZA_COMPILER_EXPORT_EXPORT_H
#define URZA_COMPILER_EXPORT_EXPORT_H

#include <stddef.h>

#include "graph/graph.h"
#include "package/package.h"

struct error;
struct strbuf;

#define EXPORT_OPSET 18

/* A model as the bytes of a file. */
struct onnx_file {
    const void *data;
    size_t size_bytes;
};
/* Writes the graph as a model of opset EXPORT_OPSET. params: in the graph's param order. Inputs and
 * params keep their names, and so do outputs, unless an input or param has the same name. A named
 * dim becomes a dim_param where it is a whole dim of an input; its range is stored in the model's
 * metadata, where onnx_read finds it. *out lives in arena.
 *
 * ERR_UNSUPPORTED lists everything that cannot be expressed in ONNX, and why; refused, when not
 * NULL, gets the same text without a length limit. ERR_LIMIT when the model would exceed the 2 GiB
 * of its format. */
bool onnx_write(const struct graph *graph, const struct package_param *params, struct arena *arena,
                struct strbuf *refused, struct onnx_file *out, struct error *err);

#endif
