/* A whole training step of a rollout's arm: forward and backward, with params that the host gives
 * in the champion's order. */
#include <stdlib.h>
#include <string.h>

#include "layer/rollout_priv.h"
#include "runtime/inside.h"

static bool same_param(const urza_tensor_info *a, const urza_tensor_info *b)
{
    bool same = strcmp(a->name, b->name) == 0 && a->dtype.code == b->dtype.code &&
                a->dtype.bits == b->dtype.bits && a->rank == b->rank;
    for (int32_t i = 0; same && i < a->rank; i++)
        same = a->shape[i] == b->shape[i];
    return same;
}

bool step_order(struct urza_rollout *rollout)
{
    urza_module *champion = rollout->arms[0], *challenger = rollout->arms[1];
    uint32_t count = urza_param_count(champion);
    if (!urza_has_backward(champion) || !urza_has_backward(challenger) ||
        urza_param_count(challenger) != count)
        return true;
    uint32_t *order = calloc((size_t)count + 1, sizeof *order);
    if (!order)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = i; /* mostly they are in the same order */
        for (uint32_t tries = 0; tries < count; tries++, k = (k + 1) % count)
            if (same_param(urza_param_info(challenger, i), urza_param_info(champion, k)))
                break;
        if (!same_param(urza_param_info(challenger, i), urza_param_info(champion, k))) {
            free(order);
            return true;
        }
        order[i] = k;
    }
    rollout->order = order;
    return true;
}

int step_run(const struct urza_rollout *rollout, int arm, const struct request *request,
             urza_error *err)
{
    urza_module *module = rollout->arms[arm];
    uint32_t inputs = urza_input_count(module), params = urza_param_count(module);
    uint32_t outputs = urza_output_count(module);
    struct error e;
    urza_tape *tape;
    DLTensor *own = calloc(2 * (size_t)params + 1, sizeof *own); /* params, then gradients */
    if (!own)
        return public_result(fail(&e, ERR_NOMEM, "no memory for a step"), &e, err);
    for (uint32_t i = 0; i < params; i++) {
        uint32_t of = arm == 1 ? rollout->order[i] : i;
        own[i] = request->inputs[inputs + of];
        own[params + i] = request->outputs[outputs + inputs + of];
    }
    int code = urza_forward_train(module, request->inputs, inputs, own, params, request->outputs,
                                  outputs, &tape, err);
    if (code == 0) {
        const urza_gradients gradients = {.cotangents = request->inputs + inputs + params,
                                          .cotangent_count = outputs,
                                          .inputs = request->outputs + outputs,
                                          .input_count = inputs,
                                          .params = own + params,
                                          .param_count = params};
        code = urza_backward(tape, &gradients, err);
        urza_tape_release(tape);
    }
    free(own);
    return code;
}

int step_judge(const struct urza_rollout *rollout, const DLTensor *given, DLTensor *results,
               urza_error *err)
{
    urza_module *champion = rollout->arms[0];
    uint32_t inputs = urza_input_count(champion), params = urza_param_count(champion);
    uint32_t outputs = urza_output_count(champion);
    const struct step_tensors tensors = {.inputs = given,
                                         .params = given + inputs,
                                         .cotangents = given + inputs + params,
                                         .outputs = results,
                                         .input_gradients = results + outputs,
                                         .param_gradients = results + outputs + inputs};
    return judge_training_step(champion, &tensors, err);
}
