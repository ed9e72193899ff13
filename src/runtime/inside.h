/* For callers inside this program, beside the public headers: copies of tensors, calls that tell
 * more, and what a module's package says. */
#ifndef URZA_RUNTIME_INSIDE_H
#define URZA_RUNTIME_INSIDE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/limits.h"
#include "urza/run.h"

struct graft_spec;

/* Copies *from to *err if the call failed; returns the public code. */
int public_result(bool ok, const struct error *from, urza_error *err);
/* What a graft says of itself, as long as the module lives; NULL: it is none. */
const struct graft_spec *module_graft(const urza_module *module);

/* A dense tensor that owns its memory and shape. It must not be moved. */
struct kept_tensor {
    DLTensor dl;
    int64_t shape[LIMIT_RANK];
};
/* Copies a tensor, or makes one of its shape with zeros. ERR_INPUT, ERR_NOMEM. */
bool tensor_keep(const DLTensor *given, bool with_elements, struct kept_tensor *out,
                 struct error *err);
void tensor_give(const struct kept_tensor *kept, const DLTensor *to); /* which has its shape */
void tensor_forget(struct kept_tensor *kept);

/* Refuses what urza_call refuses, with outputs in the caller's memory; runs nothing. */
int call_check(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
               uint32_t output_count, urza_error *err);
/* As urza_call with outputs in the caller's memory; *out_interpreted: there was no native code for
 * it. */
int call_told(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
              uint32_t output_count, bool *out_interpreted, urza_error *err);

/* A training step of a module with a backward pass, in the block's order: as many inputs, params
 * and outputs as it has, a cotangent for each output, a gradient for each input and param. */
struct step_tensors {
    const DLTensor *inputs, *params, *cotangents;
    DLTensor *outputs, *input_gradients, *param_gradients; /* gradients: data NULL: not wanted */
};
/* As urza_judge, of a whole step. Tensors that are not wanted are not judged. */
int judge_training_step(urza_module *module, const struct step_tensors *tensors, urza_error *err);

#endif
