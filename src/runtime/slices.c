/* How many slices of a loop a call makes at a time (plan.h: slices). What launches of a trip hand
 * on should stay in a near cache until the next launch reads it, so all trips are made for as many
 * slices at once as fit there, then for the next ones. */
#include <stdint.h>

#include "runtime/runtime_priv.h"

#define SLICES_BYTES ((int64_t)1 << 20) /* at once, for each thread: half of a typical L2 */
#define SHARED_LEAST 8 /* operations of sliced launches over those that are done each time */

/* Whether an argument of the loop's launches was one of an earlier one. */
static bool is_known(const struct plan *plan, const struct plan_loop *loop, uint32_t launch,
                     uint32_t arg)
{
    uint32_t buffer = plan->forward.items[launch].args[arg];
    for (uint32_t i = loop->first; i <= launch; i++) {
        const struct plan_launch *l = &plan->forward.items[i];
        for (uint32_t k = 0; l->sliced && k < (i < launch ? l->arg_count : arg); k++)
            if (l->args[k] == buffer)
                return true;
    }
    return false;
}

/* Bytes of all that sliced launches read and write; of a slice nearly that over the slices. */
static int64_t bytes_of(const struct plan *plan, const struct plan_loop *loop, const int64_t *dims)
{
    int64_t sum = 0;
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++) {
        const struct plan_launch *l = &plan->forward.items[i];
        for (uint32_t k = 0; l->sliced && k < l->arg_count; k++) {
            size_t bytes =
                is_known(plan, loop, i, k) ? 0 : shape_buffer_bytes(plan, l->args[k], dims);
            if (bytes > (size_t)(INT64_MAX - sum))
                return INT64_MAX;
            sum += (int64_t)bytes;
        }
    }
    return sum;
}

/* Whether what is done each time is little beside what is divided into so many parts. */
static bool shares_little(const struct plan *plan, const struct plan_loop *loop,
                          const int64_t *dims, int64_t parts)
{
    double sums[2] = {0, 0};
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++) {
        const struct plan_launch *l = &plan->forward.items[i];
        int64_t work;
        if (!dim_eval(plan->dims, plan_code_at(plan, l, dims)->work, dims, &work))
            return false;
        sums[l->sliced] += (double)work;
    }
    return SHARED_LEAST * (double)parts * sums[false] <= sums[true];
}

/* Whether all that passes from trip to trip stays where launches write it, and the iterations of
 * launches are a multiple of the slices. */
static bool is_divisible(const struct shape_entry *entry, const struct plan *plan,
                         const struct plan_loop *loop, const struct shape_move *moves,
                         int64_t slices)
{
    for (uint32_t i = 0; i < loop->state_count + loop->row_count; i++)
        if (!moves[i].turns)
            return false;
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++)
        if (plan->forward.items[i].sliced && entry->before[i] < entry->before[i + 1] &&
            entry->launches[entry->before[i]].extent % slices != 0)
            return false;
    return true;
}

void slices_choose(const struct urza_module *module, const struct shape_entry *entry,
                   uint32_t index, struct shape_loop *out)
{
    const struct plan *plan = &module->target->plan;
    const struct plan_loop *loop = &plan->loops.items[index];
    int64_t slices, at_once;
    out->slices = out->at_once = 1;
    if (loop->slices == DIM_NONE || !dim_eval(plan->dims, loop->slices, entry->dims, &slices) ||
        slices < 2 || !is_divisible(entry, plan, loop, out->moves, slices))
        return;
    int64_t most = SLICES_BYTES * module->runtime->threads;
    at_once = most / (bytes_of(plan, loop, entry->dims) / slices + 1);
    if (module->chunks > 0) /* so many parts of everything */
        at_once = (slices + module->chunks - 1) / module->chunks;
    at_once = at_once < 1 ? 1 : at_once < slices ? at_once : slices;
    int64_t parts = (slices + at_once - 1) / at_once;
    if (parts < 2 || (module->chunks == 0 && !shares_little(plan, loop, entry->dims, parts)))
        return;
    out->slices = slices;
    out->at_once = (slices + parts - 1) / parts;
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++) {
        const struct plan_launch *l = &plan->forward.items[i];
        struct shape_launch *at = &entry->launches[entry->before[i]];
        if (!l->sliced || entry->before[i] == entry->before[i + 1])
            continue;
        at->slice = at->extent / slices;
        uint32_t chunks = launch_chunks(module, l, entry->dims, at->slice * out->at_once,
                                        (int64_t)at->scratch_stride, parts);
        at->chunks = chunks < at->chunks ? chunks : at->chunks;
    }
}
