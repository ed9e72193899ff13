/* For tests of ai.onnx.ml: a node, what goes in and what must come out, as rows of text. Everything
 * lives in the arena of the model; assertions end the test. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_CASES_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_CASES_H

#include "compiler/import/onnx/onnx_kit_priv.h"

#define MAX_ATTRIBUTES 32

/* attrs  "name kind values; …", where the kind is i an integer, f a float, s a text, ii, ff and ss
 *        lists of these, and a dtype a tensor of it of rank 1
 * x      "f32 2x3 1 2 3 4 5 6"
 * y, z   the same for what must come out; a name in front; NULL: no such output */
struct ml_case {
    const char *op;
    int opset;
    const char *attrs, *x, *y, *z;
};
/* Outputs that the model has though the case says nothing of them are not made. Floats are right
 * within 2e-6 of the largest of their tensor. */
void check_cases(struct model *m, const struct ml_case *cases, size_t count);

/* What must be refused, with a part of the message. */
struct ml_bad {
    const char *op;
    int opset;
    const char *attrs, *x;
    int code;
    const char *part;
};
void check_bad(struct model *m, const struct ml_bad *cases, size_t count);

/* The parts of these: a model of one node, of which more can be said. */
Onnx__NodeProto *begin_case(struct model *m, const char *op, int opset, const char *attrs);
void add_list(struct model *m, Onnx__NodeProto *node, const char *name, const int64_t *ints,
              const float *floats, size_t count); /* of the one that is not NULL */
void add_texts(struct model *m, Onnx__NodeProto *node, const char *name, const char *const *texts,
               size_t count);
/* Reads the model and runs it: an input "x" as the text says, results by the graph's outputs. */
const struct interp_tensor *run_text(struct model *m, const char *x);
void assert_tensor(const char *what, const struct interp_tensor *found, const char *right);

#endif
