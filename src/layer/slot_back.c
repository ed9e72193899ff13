/* A slot's backward pass.
 *
 * The gradient by h comes in two parts: through the blend, which is dy itself in TRAINING and for a
 * residual; and through the seed's input, where it is not isolated. Gradients by the seed's
 * parameters are looked at before the host gets them: they go to the tape's memory first where they
 * are to be added, or be made larger. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "layer/slot_priv.h"

#define BOOST_MOST 10.0

static bool accumulates(const urza_slot_gradients *call)
{
    return call->flags & URZA_ACCUMULATE;
}

static size_t bytes_of(const DLTensor *tensor)
{
    return tensor_count(tensor) * values_bytes(tensor->dtype);
}

/* What a seed that failed leaves of the gradients: dy, and zeros. */
static void give_none(const urza_slot_gradients *call)
{
    give_alias(call->dy, call->dh);
    for (uint32_t i = 0; i < call->param_count && !accumulates(call); i++)
        if (call->params[i].data)
            memset(tensor_data(&call->params[i]), 0, bytes_of(&call->params[i]));
}

static bool check(const struct urza_slot_tape *tape, const urza_slot_gradients *call,
                  struct error *err)
{
    for (uint32_t i = 0; i < call->param_count; i++) {
        const DLTensor *d = &call->params[i];
        if (d->data && (d->device.device_type != kDLCPU || d->ndim < 0 || d->ndim > LIMIT_RANK ||
                        (d->ndim > 0 && !d->shape) || !values_dtype(d->dtype) ||
                        tensor_count(d) == SIZE_MAX || !tensor_dense(d)))
            return fail(err, ERR_INPUT, "gradient %u is no dense tensor of floats on the CPU", i);
    }
    if (!tape)
        return true;
    uint32_t count = urza_param_count(tape->module);
    if (call->param_count > 0 && call->param_count != count)
        return fail(err, ERR_INPUT, "%u gradients of parameters are given, expected %u",
                    call->param_count, count);
    if (!call->dy->shape || !tensor_alike(call->dy, &tape->h) ||
        call->dy->device.device_type != kDLCPU || (!call->dy->data && tensor_count(call->dy) > 0))
        return fail(err, ERR_INPUT, "dy has no memory, or not the shape and dtype of y");
    for (uint32_t i = 0; i < call->param_count; i++) {
        const urza_tensor_info *info = urza_param_info(tape->module, i);
        const DLTensor expected = {
            .ndim = info->rank, .dtype = info->dtype, .shape = (int64_t *)(uintptr_t)info->shape};
        uint32_t host = param_of(tape, i);
        if (call->params[host].data && !tensor_alike(&call->params[host], &expected))
            return fail(err, ERR_INPUT, "gradient %u has not the shape and dtype of parameter '%s'",
                        host, info->name);
    }
    return true;
}

static bool apart(struct span a, struct span b)
{
    return a.end <= b.begin || b.end <= a.begin;
}

/* Whether dh is memory of its own. */
static bool check_dh(const struct urza_slot_tape *tape, const DLTensor *dh, const DLTensor *dy,
                     struct error *err)
{
    if (!dh->data || !dh->shape || !tensor_alike(dh, &tape->h) || !tensor_dense(dh) ||
        dh->device.device_type != kDLCPU)
        return fail(err, ERR_INPUT,
                    "dh has no memory, or it is not dense, or not h's shape and dtype");
    struct span of = tensor_span(dh);
    return (apart(of, tensor_span(dy)) && apart(of, tensor_span(&tape->h)) && apart(of, tape->y)) ||
           fail(err, ERR_INPUT, "dh shares memory with dy, h or y");
}

/* Tensors of one backward pass, in the tape's memory. */
struct parts {
    DLTensor inputs[4]; /* gradients by the graft's inputs */
    DLTensor *params;   /* as the kernels write them */
    DLTensor through;   /* by the seed's input; data NULL: not wanted */
    bool by_h;          /* the blend's part is computed; else it is dy */
};

static bool is_wanted(const struct urza_slot_tape *tape, const urza_slot_gradients *call,
                      uint32_t param)
{
    if (tape->is_trial)
        return urza_has_gradient(tape->module, urza_param_info(tape->module, param)->name);
    return (call->param_count > 0 && call->params[param_of(tape, param)].data != NULL);
}

/* Where the kernels write the gradient by a parameter: the tape's memory in place of the host's. */
static bool place_params(struct urza_slot_tape *tape, const urza_slot_gradients *call, bool apart,
                         struct parts *parts)
{
    uint32_t count = urza_param_count(tape->module);
    size_t bytes = 0;
    parts->params = room_reserve(&tape->tensors, ((size_t)count + 1) * sizeof *parts->params);
    if (!parts->params)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const urza_tensor_info *info = urza_param_info(tape->module, i);
        bool wanted = is_wanted(tape, call, i);
        parts->params[i] = (DLTensor){.device = {.device_type = kDLCPU},
                                      .ndim = info->rank,
                                      .dtype = info->dtype,
                                      .shape = (int64_t *)(uintptr_t)info->shape};
        if (wanted && !apart)
            parts->params[i].data = tensor_data(&call->params[param_of(tape, i)]);
        else if (wanted)
            bytes += (bytes_of(&parts->params[i]) + 63) / 64 * 64;
    }
    char *at = apart ? room_reserve(&tape->gradients, bytes) : NULL;
    for (uint32_t i = 0; apart && at && i < count; i++) {
        if (!is_wanted(tape, call, i))
            continue;
        parts->params[i].data = at;
        at += (bytes_of(&parts->params[i]) + 63) / 64 * 64;
    }
    return !apart || at;
}

static bool place(struct urza_slot_tape *tape, const urza_slot_gradients *call, bool apart,
                  struct parts *parts)
{
    const struct urza_slot *slot = tape->slot;
    const struct seed_inputs at = seed_inputs_of(tape->module);
    bool blends = state_blends(tape->seen.state);
    *parts = (struct parts){.by_h = blends && slot->options.blend != URZA_RESIDUAL};
    for (uint32_t i = 0; i < at.count; i++)
        parts->inputs[i] = (DLTensor){.device = {.device_type = kDLCPU}};
    parts->inputs[at.h] = parts->inputs[at.x] = tape->h;
    parts->inputs[at.h].data = parts->by_h ? tensor_data(call->dh) : NULL;
    parts->inputs[at.x].data = NULL;
    parts->inputs[at.h].byte_offset = parts->inputs[at.x].byte_offset = 0;
    parts->inputs[at.h].strides = parts->inputs[at.x].strides = NULL;
    if (blends && tape->seen.through) {
        parts->inputs[at.x].data =
            parts->by_h ? room_reserve(&tape->through, bytes_of(&tape->h)) : tensor_data(call->dh);
        if (!parts->inputs[at.x].data)
            return false;
        parts->through = parts->inputs[at.x];
    }
    return place_params(tape, call, apart, parts);
}

/* Sum of the squares of all gradients by parameters that were computed. */
static double squares_of(const struct urza_slot_tape *tape, const struct parts *parts)
{
    double sum = 0;
    for (uint32_t i = 0; i < urza_param_count(tape->module); i++)
        if (parts->params[i].data)
            sum += values_squares(parts->params[i].dtype, parts->params[i].data,
                                  tensor_count(&parts->params[i]));
    return sum;
}

static bool run(struct urza_slot_tape *tape, const urza_slot_gradients *call, struct parts *parts,
                double *out_squares, urza_error *why)
{
    const urza_gradients gradients = {.cotangents = call->dy,
                                      .cotangent_count = 1,
                                      .inputs = parts->inputs,
                                      .input_count = urza_input_count(tape->module),
                                      .params = parts->params,
                                      .param_count = urza_param_count(tape->module)};
    if (urza_backward(tape->tape, &gradients, why) != 0)
        return false;
    *out_squares = squares_of(tape, parts);
    bool finite = isfinite(*out_squares) &&
                  (!parts->by_h ||
                   values_finite(call->dh->dtype, tensor_data(call->dh), tensor_count(call->dh))) &&
                  (!parts->through.data || values_finite(parts->through.dtype, parts->through.data,
                                                         tensor_count(&parts->through)));
    if (!finite)
        snprintf(why->message, sizeof why->message, "its gradients are not finite");
    return finite;
}

/* dh = the blend's part + the part through the seed. dy is dense. */
static void give_dh(const urza_slot_gradients *call, const struct parts *parts)
{
    if (!parts->through.data && !parts->by_h)
        give_alias(call->dy, call->dh);
    if (!parts->through.data)
        return;
    size_t count = tensor_count(call->dh);
    const void *more = parts->by_h ? parts->through.data : tensor_data(call->dy);
    values_add(call->dh->dtype, tensor_data(call->dh), more, 1, count);
    if (!values_finite(call->dh->dtype, tensor_data(call->dh), count))
        give_alias(call->dy, call->dh); /* each part was finite, their sum is not */
}

static void give_params(const struct urza_slot_tape *tape, const urza_slot_gradients *call,
                        const struct parts *parts, double boost)
{
    for (uint32_t i = 0; i < call->param_count; i++) {
        DLTensor *to = &call->params[param_of(tape, i)];
        if (!to->data)
            continue;
        size_t count = tensor_count(to);
        if (accumulates(call))
            values_add(to->dtype, tensor_data(to), parts->params[i].data, boost, count);
        else if (boost != 1) {
            values_scale(to->dtype, tensor_data(to), boost, count);
            if (!values_finite(to->dtype, tensor_data(to), count))
                values_fill(to->dtype, tensor_data(to), 0, count);
        }
    }
}

static double boost_of(const struct urza_slot_tape *tape)
{
    if (!tape->slot->options.boost || tape->seen.state != URZA_BLENDING || !(tape->alpha > 0))
        return 1;
    return fmin(1 / tape->alpha, BOOST_MOST);
}

static bool host_finite(const DLTensor *dy)
{
    return values_finite(dy->dtype, tensor_data(dy), tensor_count(dy));
}

/* dy is dense. */
static void back(struct urza_slot_tape *tape, const urza_slot_gradients *call)
{
    struct urza_slot *slot = tape->slot;
    struct parts parts;
    urza_error why = {0};
    double squares = 0, boost = boost_of(tape);
    bool ok = place(tape, call, accumulates(call) || tape->is_trial, &parts);
    if (!ok)
        snprintf(why.message, sizeof why.message, "no memory for its gradients");
    ok = ok && run(tape, call, &parts, &squares, &why);
    bool fault = !ok && host_finite(call->dy);
    bool current = tape_is_current(tape);
    if (tape->is_trial && current)
        atomic_store(&slot->trial, ok                      ? TRIAL_PASSED
                                   : is_final(&why, fault) ? TRIAL_FAILED
                                                           : TRIAL_NONE);
    if (!ok && fault && tape->arm == 1)
        roll_conclude(tape, &why, false);
    else if (!ok && fault && current)
        slot_fault(slot, tape->seen.state, "backward", &why);
    else if (!ok && current)
        slot_warn(slot, URZA_EVENT_HOST, tape->seen.state, "backward",
                  "the host's gradient is not finite");
    if (!ok || tape->is_trial) {
        give_none(call);
        return;
    }
    give_dh(call, &parts);
    give_params(tape, call, &parts, boost);
    /* As they would be at alpha 1, or a ramp would look like an explosion. */
    if (call->param_count > 0 && tape->alpha > 0 && current)
        slot_add_gradient(slot, squares / (tape->alpha * tape->alpha));
    const struct wanted wanted = {parts.through.data != NULL, parts.by_h};
    roll_pair(tape, call, &wanted);
}

/* Gradients are written to the host's memory, or come from dense memory. */
static bool with_dense(struct urza_slot_tape *tape, urza_slot_gradients *call, struct error *err)
{
    struct kept_tensor dense;
    const DLTensor *dy = call->dy;
    if (tensor_dense(dy)) {
        back(tape, call);
        return true;
    }
    if (!tensor_keep(dy, true, &dense, err))
        return fail_at(err, "dy");
    call->dy = &dense.dl;
    back(tape, call);
    if (call->dh->data == dense.dl.data)
        give_alias(dy, call->dh);
    tensor_forget(&dense);
    return true;
}

URZA_EXPORT int urza_slot_backward(urza_slot *slot, urza_slot_tape *tape,
                                   const urza_slot_gradients *gradients, urza_error *err)
{
    struct error e;
    urza_slot_gradients call = gradients ? *gradients : (urza_slot_gradients){0};
    bool ok = true;
    if (!slot || !call.dy || !call.dh || (!call.params && call.param_count > 0))
        ok = fail(&e, ERR_USAGE, "an argument is NULL");
    else if (call.flags & ~URZA_ACCUMULATE)
        ok = fail(&e, ERR_USAGE, "flags are URZA_ACCUMULATE, or 0");
    else if (tape && tape->slot != slot)
        ok = fail(&e, ERR_USAGE, "the tape is of another slot");
    ok = ok && check(tape, &call, &e);
    bool writes = tape && state_blends(tape->seen.state) &&
                  (tape->seen.through || tape->slot->options.blend != URZA_RESIDUAL);
    ok = ok && (!writes || check_dh(tape, call.dh, call.dy, &e));
    struct cpu_fp before;
    cpu_fp_begin(&before);
    if (ok && tape)
        ok = with_dense(tape, &call, &e);
    else if (ok)
        give_none(&call);
    cpu_fp_end(&before);
    urza_slot_tape_release(tape);
    return public_result(ok, &e, err);
}
