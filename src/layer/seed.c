/* Running a seed: its arguments, and memory for what the host has none for. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/hash.h"
#include "layer/slot_priv.h"
#include "package/graft_spec.h"
#include "package/package.h"

#define ALIGNMENT 64
#define PARAMS_MOST 100000

void *room_reserve(struct room *room, size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * ALIGNMENT)
        return NULL;
    size_t size = (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    if (room->bytes >= size)
        return room->data;
    void *data = aligned_alloc(ALIGNMENT, size);
    if (!data)
        return NULL;
    free(room->data);
    *room = (struct room){data, size};
    return data;
}

struct urza_slot_tape *tape_take(struct urza_slot *slot)
{
    struct urza_slot_tape *tape = NULL;
    for (int i = 0; !tape && i < TAPES_KEPT; i++)
        if (atomic_load_explicit(&slot->tapes[i], memory_order_relaxed))
            tape = atomic_exchange(&slot->tapes[i], NULL);
    tape = tape ? tape : calloc(1, sizeof *tape);
    if (tape)
        tape->slot = slot;
    return tape;
}

void tape_free(struct urza_slot_tape *tape)
{
    if (!tape)
        return;
    struct room *rooms[] = {&tape->factors, &tape->value,  &tape->through,   &tape->gradients,
                            &tape->tensors, &tape->params, &tape->own_params};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        free(rooms[i]->data);
    free(tape);
}

void tape_put(struct urza_slot_tape *tape)
{
    struct urza_slot *slot = tape->slot;
    urza_tape_release(tape->tape);
    urza_unload(tape->module);
    tape->tape = NULL;
    tape->module = NULL;
    tape->rollout = NULL;
    tape->order = NULL;
    tape->host_params = NULL;
    tape->arm = 0;
    for (int i = 0; i < TAPES_KEPT; i++) {
        struct urza_slot_tape *none = NULL;
        if (atomic_compare_exchange_strong(&slot->tapes[i], &none, tape))
            return;
    }
    tape_free(tape);
}

URZA_EXPORT void urza_slot_tape_release(urza_slot_tape *tape)
{
    if (tape && tape->is_trial && tape_is_current(tape)) { /* another call may try */
        uint32_t runs = TRIAL_RUNS;
        atomic_compare_exchange_strong(&tape->slot->trial, &runs, TRIAL_NONE);
    }
    if (tape)
        tape_put(tape);
}

void give_alias(const DLTensor *from, DLTensor *to)
{
    to->data = from->data;
    to->byte_offset = from->byte_offset;
    to->strides = from->strides;
}

struct seed_inputs seed_inputs_of(const urza_module *module)
{
    uint32_t count = urza_input_count(module);
    struct seed_inputs at = {.count = count, .random = count, .h = count - 2, .alpha = count - 1};
    for (uint32_t i = 0; i < at.h; i++)
        if (urza_input_info(module, i)->dtype.code == kDLInt)
            at.random = i;
        else
            at.x = i;
    return at;
}

bool seed_check(const urza_module *module, urza_blend blend, struct error *err)
{
    const struct graft_spec *spec = module_graft(module);
    const char *wanted = graft_blend_name((enum graft_blend)blend);
    if (!spec)
        return fail(err, ERR_UNSUPPORTED, "the package is no graft: compile it with --graft %s",
                    wanted);
    if ((uint32_t)spec->blend != (uint32_t)blend)
        return fail(err, ERR_UNSUPPORTED, "the graft's blend is %s, and the slot's %s",
                    graft_blend_name(spec->blend), wanted);
    if (!urza_has_backward(module))
        return fail(err, ERR_UNSUPPORTED,
                    "the graft has no backward pass: compile it with --backward");
    struct seed_inputs at = seed_inputs_of(module);
    const char *const needed[] = {urza_input_info(module, at.x)->name,
                                  urza_input_info(module, at.h)->name};
    for (size_t i = 0; i < 2; i++)
        if (!urza_has_gradient(module, needed[i]))
            return fail(err, ERR_UNSUPPORTED, "the graft has no gradient by '%s'", needed[i]);
    for (uint32_t i = 0; i < urza_param_count(module); i++)
        if (!values_dtype(urza_param_info(module, i)->dtype))
            return fail(err, ERR_UNSUPPORTED, "parameter '%s' of the graft is no float",
                        urza_param_info(module, i)->name);
    return urza_param_count(module) <= PARAMS_MOST ||
           fail(err, ERR_LIMIT, "the graft has more than %d parameters", PARAMS_MOST);
}

URZA_EXPORT int urza_graft_info_new(const urza_module *module, urza_graft_info **out,
                                    urza_error *err)
{
    struct error e;
    if (!module || !out)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    const struct graft_spec *spec = module_graft(module);
    if (!spec)
        return public_result(fail(&e, ERR_UNSUPPORTED, "the package is no graft"), &e, err);
    size_t bytes = sizeof **out;
    for (uint32_t i = 0; i < spec->last_count; i++)
        bytes += sizeof(char *) + strlen(spec->last[i]) + 1;
    urza_graft_info *info = malloc(bytes); /* the structure, then pointers, then names */
    if (!info)
        return public_result(fail(&e, ERR_NOMEM, "no memory for what a graft says"), &e, err);
    const char **names = (const char **)(info + 1);
    char *text = (char *)(names + spec->last_count);
    *info = (urza_graft_info){(urza_blend)spec->blend, names, spec->last_count, spec->chunks};
    for (uint32_t i = 0; i < spec->last_count; i++) {
        size_t size = strlen(spec->last[i]) + 1;
        names[i] = memcpy(text, spec->last[i], size);
        text += size;
    }
    *out = info;
    return 0;
}

URZA_EXPORT void urza_graft_info_free(urza_graft_info *info)
{
    free(info);
}

static bool no_memory(urza_error *why)
{
    struct error e;
    fail(&e, ERR_NOMEM, "no memory for a call of a seed");
    public_result(false, &e, why);
    return false;
}

/* alpha in all rows, times the host's factors, which were checked. */
static bool fill_alpha(struct urza_slot_tape *tape, const struct forward_call *call, double alpha,
                       DLTensor *out, urza_error *why)
{
    const DLTensor *factors = call->given.factors;
    int64_t rows = call->given.h->shape[0];
    void *data = room_reserve(&tape->factors, (size_t)rows * values_bytes(out->dtype));
    if (!data)
        return no_memory(why);
    out->data = data;
    values_fill(out->dtype, data, alpha, (size_t)rows);
    for (int64_t i = 0; factors && i < rows; i++)
        if (out->dtype.bits == 64)
            ((double *)data)[i] *= ((double *)tensor_data(factors))[i];
        else
            ((float *)data)[i] *= ((float *)tensor_data(factors))[i];
    return true;
}

/* The host's params in the order of the module; as many as the host says there are. */
static const DLTensor *in_order(struct urza_slot_tape *tape, const struct forward_call *call)
{
    uint32_t count = call->given.param_count;
    DLTensor *own = room_reserve(&tape->own_params, ((size_t)count + 1) * sizeof *own);
    for (uint32_t i = 0; own && i < count; i++)
        own[i] = call->given.params[tape->order[i]];
    return own;
}

bool seed_forward(struct urza_slot_tape *tape, const struct forward_call *call, double alpha,
                  DLTensor *out, urza_error *why)
{
    const struct seed_inputs at = seed_inputs_of(tape->module);
    uint64_t stream = hash64_mix(tape->slot->options.random_seed, tape->seen.seed);
    tape->random = (int64_t)hash64_mix(stream, call->given.step);
    int64_t rows[1] = {call->given.h->shape[0]};
    DLTensor inputs[4];
    inputs[at.x] = inputs[at.h] = *call->given.h;
    inputs[at.alpha] = (DLTensor){.device = {.device_type = kDLCPU},
                                  .ndim = 1,
                                  .dtype = urza_input_info(tape->module, at.alpha)->dtype,
                                  .shape = rows};
    if (at.random < at.count)
        inputs[at.random] = (DLTensor){.data = &tape->random,
                                       .device = {.device_type = kDLCPU},
                                       .dtype = urza_input_info(tape->module, at.random)->dtype};
    if (!fill_alpha(tape, call, alpha, &inputs[at.alpha], why))
        return false;
    if (!call->learns && !call->given.params)
        return urza_call(tape->module, inputs, at.count, out, 1, NULL, why) == 0;
    const DLTensor *params = call->given.params;
    urza_tape *inner;
    if (params && tape->order && !(params = in_order(tape, call)))
        return no_memory(why);
    if (urza_forward_train(tape->module, inputs, at.count, params, call->given.param_count, out, 1,
                           &inner, why) != 0)
        return false;
    urza_tape_release(tape->tape); /* of a trial's first run */
    tape->tape = inner;
    return true;
}
