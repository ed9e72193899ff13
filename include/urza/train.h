/* Training with packages: gradients, and steps that update weights in place. Included by
 * urza/run.h, whose words on threads, tensors, errors and memory hold here, too. */
#ifndef URZA_TRAIN_H
#define URZA_TRAIN_H

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Training. A package that was compiled with its backward pass runs in two parts: forward_train
 * computes the outputs and keeps what the gradients need on a tape; backward computes, from
 * cotangents of the outputs (the gradients of a loss by them), the gradients by inputs and
 * parameters.
 *
 * Parameters are arguments, read where they lie: an optimizer may change them in place between
 * steps. Inputs, parameters and outputs of a call must stay valid and unchanged until its tape was
 * used for the last time; tensors that are not dense are copied, and need not. After the first step
 * of given shapes nothing is allocated, unless more tapes are alive than ever before. Up to 1024
 * may be, each used by one thread at a time. A tape keeps its module from being freed. */
typedef struct urza_tape urza_tape;

/* Whether the package has a backward pass; whether it gives the gradient by an input or a parameter
 * of that name. */
int urza_has_backward(const urza_module *module);
int urza_has_gradient(const urza_module *module, const char *name);

/* params: in the order of urza_param_info; NULL: the module's own values, with param_count 0.
 * Outputs are in the caller's memory, as in urza_call. Arrays of shapes and strides are not needed
 * any more when it has returned. */
int urza_forward_train(urza_module *module, const DLTensor *inputs, uint32_t input_count,
                       const DLTensor *params, uint32_t param_count, DLTensor *outputs,
                       uint32_t output_count, urza_tape **out_tape, urza_error *err);

#define URZA_ACCUMULATE 1u /* gradients are added to what their tensors hold */
#define URZA_KEEP_TAPE 2u  /* backward may be called again, which runs forward_train again */
/* Arguments of urza_backward. Cotangents are one for each output, gradients one for each input and
 * parameter. Data NULL, or no list: a cotangent of zeros; a gradient that nobody wants, whose
 * kernels do not run. Cotangents of outputs on which no gradient depends are not looked at.
 * Gradients may not share memory with each other, with cotangents, or with what the tape uses:
 * dense inputs, parameters and outputs. */
typedef struct urza_gradients {
    const DLTensor *cotangents;
    uint32_t cotangent_count;
    DLTensor *inputs;
    uint32_t input_count;
    DLTensor *params;
    uint32_t param_count;
    uint32_t flags;
} urza_gradients;
/* Without URZA_KEEP_TAPE the tape can only be released afterwards, whether it worked or not. */
int urza_backward(urza_tape *tape, const urza_gradients *gradients, urza_error *err);
void urza_tape_release(urza_tape *tape); /* accepts NULL */

/* Updates. A package may say of an output that it takes the place of an input of the same type
 * (urza_output_updates): the weights after a training step, a cache with what was added to it.
 * urza_call treats it like all other outputs; urza_step writes it over the input. */
/* Of a package of a whole training step (urza compile --step), what it is of, in one line for
 * people: "adamw(beta1=0.9, …) of cross_entropy(logits)". NULL: it is no such package. Valid as
 * long as the module. */
const char *urza_step_text(const urza_module *module);

#define URZA_NO_INPUT UINT32_MAX
uint32_t urza_output_updates(const urza_module *module, uint32_t output); /* or URZA_NO_INPUT */

/* Runs the package and updates inputs in place: their memory is written, though the tensors are
 * const. Outputs are those that update nothing, in declaration order, in the caller's memory as in
 * urza_call. An input that is updated may share no byte with another tensor, nor two of its
 * elements one address. Results have the same bits as those of urza_call. Refused calls write
 * nothing; one that was interrupted, or for which there was no memory in the middle, may have
 * updated some inputs and not others. After the first step of given shapes nothing is allocated. */
int urza_step(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
              uint32_t output_count, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
