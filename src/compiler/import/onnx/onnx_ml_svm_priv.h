/* Class probabilities of support vector machines. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_ML_SVM_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_ML_SVM_PRIV_H

#include "compiler/import/onnx/onnx_ml_priv.h"

/* pairs: f64 [N, count · (count - 1) / 2], for each pair of classes i < j, in order, the
 * probability of i given that it is i or j. The result is the probability of each class: f64 [N,
 * count]. */
value_id ml_couple(struct onnx_call *c, value_id pairs, uint32_t count);

#endif
