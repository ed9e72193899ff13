/* A rollout of another kernel for a slot's seed: which arm a call runs, the champion in place of a
 * challenger that fails, and sampled steps that both run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "layer/slot_priv.h"

static bool check(const struct urza_slot *slot, urza_rollout *rollout, struct error *err)
{
    urza_module *there = urza_handle_get(slot->handle);
    const char *id = there ? urza_kernel_id(there) : "";
    bool same = strcmp(id, urza_kernel_id(rollout->arms[0])) == 0;
    urza_unload(there);
    if (!same)
        return fail(err, ERR_INPUT, "the rollout's champion is not the seed's kernel");
    if (!seed_check(rollout->arms[1], slot->options.blend, err))
        return fail_at(err, "the challenger");
    return rollout->order ||
           fail(err, ERR_INPUT, "the challenger's parameters are not those of the champion");
}

URZA_EXPORT int urza_slot_roll(urza_slot *slot, urza_rollout *rollout, uint64_t number,
                               urza_error *err)
{
    struct error e;
    if (!slot)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (rollout && !check(slot, rollout, &e))
        return public_result(false, &e, err);
    atomic_store(&slot->rollout_number, number);
    atomic_store(&slot->rollout, rollout);
    return 0;
}

/* Copies of the host's tensors, for a step that both arms may run later. */
static void keep_params(struct urza_slot_tape *tape, const struct forward_call *call)
{
    uint32_t count = urza_param_count(tape->module);
    const DLTensor *given = call->given.params;
    DLTensor *kept = room_reserve(&tape->params, ((size_t)count + 1) * sizeof *kept);
    bool dense = kept != NULL && call->learns;
    for (uint32_t i = 0; dense && i < count; i++) {
        const urza_tensor_info *info = urza_param_info(tape->module, i);
        kept[i] = given[i];
        dense = given[i].ndim == info->rank && tensor_dense(&given[i]);
        kept[i].shape = (int64_t *)(uintptr_t)info->shape;
        kept[i].strides = NULL;
    }
    tape->host_params = dense ? kept : NULL;
}

void roll_begin(struct urza_slot_tape *tape, const struct forward_call *call)
{
    struct urza_slot *slot = tape->slot;
    struct urza_rollout *rollout = atomic_load(&slot->rollout);
    if (!rollout || !call->given.params ||
        call->given.param_count != urza_param_count(tape->module))
        return;
    tape->rollout = rollout;
    tape->number = atomic_load(&slot->rollout_number);
    tape->tick = atomic_load(&slot->tick_seen);
    keep_params(tape, call);
    int arm = urza_rollout_arm(rollout, tape->number, tape->tick);
    rollout_count(rollout, arm);
    if (arm == 0)
        return;
    urza_unload(tape->module);
    tape->module = urza_retain(rollout->arms[1]);
    tape->order = rollout->order;
    tape->arm = 1;
}

bool roll_again(struct urza_slot_tape *tape)
{
    if (tape->arm == 0)
        return false;
    urza_unload(tape->module);
    tape->module = urza_retain(tape->rollout->arms[0]);
    tape->order = NULL;
    tape->arm = 0;
    return true;
}

void roll_conclude(struct urza_slot_tape *tape, const urza_error *why, bool champion_too)
{
    struct run runs[2] = {{0}};
    if (!tape->rollout || (!why && (tape->arm == 0 || champion_too)))
        return;
    if (why) {
        runs[1].err = *why;
        runs[1].code = why->code != 0 ? why->code : ERR_VERIFY;
        runs[0].code = champion_too ? ERR_VERIFY : 0;
        slot_warn(tape->slot, URZA_EVENT_FAULT, tape->seen.state, "the challenger", why->message);
    }
    rollout_conclude(tape->rollout, runs);
}

struct pair {
    struct request request;
    DLTensor *list;
};

/* What a step of the champion has been given, and what is wanted of it, as in struct request. */
static bool describe(struct urza_slot_tape *tape, const urza_slot_gradients *call,
                     const struct wanted *wanted, struct pair *pair)
{
    const urza_module *champion = tape->rollout->arms[0];
    const struct seed_inputs at = seed_inputs_of(champion);
    uint32_t params = urza_param_count(champion);
    uint32_t given = at.count + params + 1, results = 1 + at.count + params;
    DLTensor *list = calloc((size_t)given + results, sizeof *list);
    if (!list)
        return false;
    pair->list = list;
    pair->request = (struct request){list, list + given, given, results, true};
    list[at.x] = list[at.h] = tape->h;
    list[at.alpha] = (DLTensor){.data = tape->factors.data,
                                .device = {.device_type = kDLCPU},
                                .ndim = 1,
                                .dtype = urza_input_info(champion, at.alpha)->dtype,
                                .shape = tape->shape};
    if (at.random < at.count)
        list[at.random] = (DLTensor){.data = &tape->random,
                                     .device = {.device_type = kDLCPU},
                                     .dtype = urza_input_info(champion, at.random)->dtype};
    memcpy(list + at.count, tape->host_params, params * sizeof *list);
    list[given - 1] = *call->dy;
    DLTensor *out = list + given;
    out[0] = tape->h;
    out[1 + at.x] = wanted->by_x ? tape->h : (DLTensor){.data = NULL};
    out[1 + at.h] = wanted->by_h ? tape->h : (DLTensor){.data = NULL};
    for (uint32_t i = 0; i < call->param_count; i++)
        if (call->params[i].data)
            out[1 + at.count + i] = tape->host_params[i];
    return true;
}

void roll_pair(struct urza_slot_tape *tape, const urza_slot_gradients *call,
               const struct wanted *wanted)
{
    bool swapped;
    struct pair pair;
    if (!tape->rollout || !tape->host_params ||
        !rollout_samples(tape->rollout, tape->number, tape->tick, &swapped) ||
        !describe(tape, call, wanted, &pair))
        return;
    rollout_pair_step(tape->rollout, swapped, &pair.request);
    free(pair.list);
}
