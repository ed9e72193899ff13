/* For tests of ai.onnx.ml: a node, its inputs and the expected outputs, as rows of text. Everything
 * is allocated in the arena of the model; a failed assertion ends the test. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_CASES_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_CASES_H

#include "compiler/import/onnx/onnx_kit_priv.h"

#define MAX_ATTRIBUTES 32

/* clang-format off */
/* attrs  "name kind values; …". kind: i an integer, f a float, s a string; ii, ff and ss lists of
 *        these; a dtype a tensor of that dtype and rank 1
 * x      "f32 2x3 1 2 3 4 5 6"
 * y, z   the expected outputs in the same form; NULL: no such output */
/* clang-format on */
struct ml_case {
    const char *op;
    int opset;
    const char *attrs, *x, *y, *z;
};
/* The model has only the outputs that the case has. Floats may differ by 2e-6 times the largest
 * magnitude in their tensor. */
void check_cases(struct model *m, const struct ml_case *cases, size_t count);

/* A node that must be refused, and a part of the message. */
struct ml_bad {
    const char *op;
    int opset;
    const char *attrs, *x;
    int code;
    const char *part;
};
void check_bad(struct model *m, const struct ml_bad *cases, size_t count);

/* For other tests: begins a model of one node. */
Onnx__NodeProto *begin_case(struct model *m, const char *op, int opset, const char *attrs);
void add_list(struct model *m, Onnx__NodeProto *node, const char *name, const int64_t *ints,
              const float *floats, size_t count); /* of ints or floats, whichever is not NULL */
void add_texts(struct model *m, Onnx__NodeProto *node, const char *name, const char *const *texts,
               size_t count);
/* Reads the model and runs it with input "x" from the text; results in the order of the graph's
 * outputs. */
const struct interp_tensor *run_text(struct model *m, const char *x);
void assert_tensor(const char *what, const struct interp_tensor *found, const char *right);

#endif
