/* A slot's forward pass. */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "layer/slot_priv.h"

static bool check_factors(const DLTensor *factors, const DLTensor *h, struct error *err)
{
    if (factors->device.device_type != kDLCPU || factors->ndim != 1 || !factors->shape ||
        factors->shape[0] != h->shape[0] || !tensor_dense(factors) || !factors->data ||
        factors->dtype.code != kDLFloat || factors->dtype.lanes != 1 ||
        factors->dtype.bits != (h->dtype.bits == 64 ? 64 : 32) ||
        !values_finite(factors->dtype, tensor_data(factors), tensor_count(factors)))
        return fail(err, ERR_INPUT, "factors are not dense and finite, one %s for each row of h",
                    h->dtype.bits == 64 ? "f64" : "f32");
    return true;
}

/* What no seed could work with. The kernels' own checks see the rest. */
static bool check(const struct forward_call *call, bool blends, struct error *err)
{
    const DLTensor *h = call->given.h, *y = call->given.y;
    if (h->ndim < 1 || h->ndim > LIMIT_RANK || !h->shape || h->device.device_type != kDLCPU ||
        !values_dtype(h->dtype) || tensor_count(h) == SIZE_MAX || (!h->data && tensor_count(h) > 0))
        return fail(err, ERR_INPUT, "h is no tensor of floats on the CPU, with 1 to %d dims",
                    LIMIT_RANK);
    if (!blends || tensor_count(h) == 0)
        return true;
    if (call->given.factors && !check_factors(call->given.factors, h, err))
        return false;
    if (!y->data || y->device.device_type != kDLCPU || y->ndim != h->ndim || !y->shape ||
        !tensor_alike(y, h) || !tensor_dense(y))
        return fail(err, ERR_INPUT,
                    "y has no memory, or it is not dense, or not h's shape and dtype");
    const struct span of_h = tensor_span(h), of_y = tensor_span(y);
    return of_h.end <= of_y.begin || of_y.end <= of_h.begin ||
           fail(err, ERR_INPUT, "y shares memory with h, or lies between its elements");
}

static bool host_finite(const DLTensor *h)
{
    struct kept_tensor kept;
    struct error none;
    if (tensor_dense(h))
        return values_finite(h->dtype, tensor_data(h), tensor_count(h));
    if (!tensor_keep(h, true, &kept, &none))
        return true;
    bool finite = values_finite(h->dtype, kept.dl.data, tensor_count(h));
    tensor_forget(&kept);
    return finite;
}

/* A dense tensor of h's shape in the tape's own memory. */
static bool own_value(struct urza_slot_tape *tape, DLTensor *out)
{
    *out = tape->h;
    out->strides = NULL;
    out->byte_offset = 0;
    out->data = room_reserve(&tape->value, tensor_count(out) * values_bytes(out->dtype));
    return out->data != NULL;
}

/* Runs the seed with the rows' alpha, and looks at what it gave. Whether it was the seed's fault
 * that this was nothing to go on with: *out_fault. */
static bool run(struct urza_slot_tape *tape, const struct forward_call *call, double alpha,
                DLTensor *out, urza_error *why, bool *out_fault)
{
    *out_fault = true;
    if (!seed_forward(tape, call, alpha, out, why))
        return false;
    if (values_finite(out->dtype, tensor_data(out), tensor_count(out)))
        return true;
    *out_fault = host_finite(call->given.h);
    snprintf(why->message, sizeof why->message,
             *out_fault ? "its values are not finite" : "what the host gives is not finite");
    return false;
}

/* A trial runs the seed twice: with alpha 0, which must give h, and with alpha 1. */
static bool try_seed(struct urza_slot_tape *tape, const struct forward_call *call, DLTensor *out,
                     urza_error *why, bool *out_fault)
{
    struct kept_tensor h;
    struct error e;
    *out_fault = false;
    if (!tensor_keep(call->given.h, true, &h, &e))
        return public_result(false, &e, why) == 0;
    bool ok = run(tape, call, 0, out, why, out_fault);
    if (ok && memcmp(out->data, h.dl.data, tensor_count(out) * values_bytes(out->dtype)) != 0) {
        snprintf(why->message, sizeof why->message, "with alpha 0 it does not give h");
        ok = false;
    }
    tensor_forget(&h);
    return ok && run(tape, call, 1, out, why, out_fault);
}

/* A seed that does not blend yet: the result is h, and what it gives is for its gradients alone. */
static bool learn(struct urza_slot_tape *tape, const struct forward_call *call, urza_error *why,
                  bool *out_fault)
{
    DLTensor own;
    struct error e;
    *out_fault = true;
    if (!own_value(tape, &own))
        return public_result(fail(&e, ERR_NOMEM, "no memory for the seed's values"), &e, why) == 0;
    struct forward_call with = *call;
    with.given.factors = NULL;
    return tape->is_trial ? try_seed(tape, &with, &own, why, out_fault)
                          : run(tape, &with, 1, &own, why, out_fault);
}

static void end_trial(struct urza_slot *slot, enum trial how)
{
    atomic_store(&slot->trial, (uint32_t)how);
}

static bool work(struct urza_slot_tape *tape, const struct forward_call *call, urza_error *why,
                 bool *out_fault)
{
    return state_blends(tape->seen.state)
               ? run(tape, call, tape->seen.alpha, call->given.y, why, out_fault)
               : learn(tape, call, why, out_fault);
}

/* With a tape that has the module: whether it goes on to a backward pass. */
static bool go(struct urza_slot_tape *tape, const struct forward_call *call)
{
    struct urza_slot *slot = tape->slot;
    urza_error why = {0};
    bool fault, blends = state_blends(tape->seen.state);
    tape->h = *call->given.h;
    tape->h.shape = tape->shape;
    memcpy(tape->shape, call->given.h->shape, (size_t)call->given.h->ndim * sizeof *tape->shape);
    tape->alpha = blends ? tape->seen.alpha : 1;
    tape->y = blends ? tensor_span(call->given.y) : (struct span){0, 0};
    if (!tape->is_trial)
        roll_begin(tape, call);
    bool ok = work(tape, call, &why, &fault);
    urza_error failed = why;
    bool again = !ok && fault && roll_again(tape);
    if (again)
        ok = work(tape, call, &why, &fault);
    roll_conclude(tape, again ? &failed : NULL, !ok);
    bool current = tape_is_current(tape);
    if (!ok && fault && current)
        slot_fault(slot, tape->seen.state, "forward", &why);
    else if (!ok && current)
        slot_warn(slot, URZA_EVENT_HOST, tape->seen.state, "forward", why.message);
    if (!ok && tape->is_trial && current)
        end_trial(slot, is_final(&why, fault) ? TRIAL_FAILED : TRIAL_NONE);
    if (!ok || !blends)
        give_alias(call->given.h, call->given.y);
    return ok && call->learns;
}

/* The module, unless it is not there, or the seed was replaced meanwhile. */
static urza_module *module_of(struct urza_slot *slot, const struct published *seen)
{
    urza_module *module = urza_handle_get(slot->handle);
    if (module && slot_published(slot).seed == seen->seed)
        return module;
    urza_unload(module);
    return NULL;
}

static bool begin_trial(struct urza_slot *slot)
{
    uint32_t none = TRIAL_NONE;
    return atomic_compare_exchange_strong(&slot->trial, &none, TRIAL_RUNS);
}

static bool forward(struct urza_slot *slot, const struct published *seen,
                    const struct forward_call *call, urza_slot_tape **out_tape, struct error *err)
{
    bool blends = state_blends(seen->state), is_trial = seen->state == URZA_GERMINATED;
    if (!check(call, blends, err))
        return false;
    bool runs = (blends || call->learns) && tensor_count(call->given.h) > 0;
    urza_module *module = runs ? module_of(slot, seen) : NULL;
    if (!module || (is_trial && !begin_trial(slot))) {
        urza_unload(module);
        give_alias(call->given.h, call->given.y);
        return true;
    }
    struct urza_slot_tape *tape = tape_take(slot);
    if (!tape) {
        const urza_error why = {.message = "no memory for a tape"};
        slot_fault(slot, seen->state, "forward", &why);
        if (is_trial)
            end_trial(slot, TRIAL_NONE);
        urza_unload(module);
        give_alias(call->given.h, call->given.y);
        return true;
    }
    tape->module = module;
    tape->seen = *seen;
    tape->is_trial = is_trial;
    atomic_fetch_add_explicit(&slot->counters.seed_calls, 1, memory_order_relaxed);
    if (go(tape, call))
        *out_tape = tape;
    else
        tape_put(tape);
    return true;
}

URZA_EXPORT int urza_slot_forward(urza_slot *slot, const urza_slot_call *given,
                                  urza_slot_tape **out_tape, urza_error *err)
{
    struct error e;
    urza_slot_tape *tape = NULL;
    if (URZA_UNLIKELY(!slot || !given || !given->h || !given->y ||
                      (!given->params && given->param_count > 0)))
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    atomic_fetch_add_explicit(&slot->counters.calls, 1, memory_order_relaxed);
    const struct published seen = slot_published(slot);
    if (seen.state == URZA_DORMANT || seen.state > URZA_FOSSILIZED) {
        give_alias(given->h, given->y);
    } else {
        const struct forward_call call = {*given, out_tape != NULL};
        struct cpu_fp before;
        cpu_fp_begin(&before);
        bool ok = forward(slot, &seen, &call, &tape, &e);
        cpu_fp_end(&before);
        if (!ok)
            return public_result(false, &e, err);
    }
    if (out_tape)
        *out_tape = tape;
    return 0;
}
