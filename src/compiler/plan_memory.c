/* Lowers the peak of a plan's temporaries, at typical sizes: by another order of launches
 * (plan_order.c), and by running some again (plan_again.c), which gives orders more to choose from.
 *
 * The peak is the most bytes that are alive in one launch; a layout comes near that
 * (package/layout.h). A change counts only if it lowers the peak. Loops move as a whole
 * (plan_fold.c). Steps are counted, so the time is bounded, and the result hangs on the plan alone.
 */
#include "base/checked.h"
#include "base/limits.h"
#include "compiler/compile_priv.h"
#include "compiler/plan_memory_priv.h"
#include "package/layout.h"

/* Whether launches write each buffer at most once, and all sizes have values. */
static bool look(struct memory_subject *s)
{
    struct plan *plan = s->plan;
    int64_t dims[LIMIT_NAMED_DIMS] = {0}, elements;
    for (uint32_t i = 0; i < plan->dims->names.count; i++)
        dims[i] = dim_typical(&plan->dims->names.items[i]);
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        s->writer[i] = NONE;
        if (buffer->kind == BUFFER_TEMP &&
            !layout_size(plan, buffer->elements, dims,
                         (int64_t)dtype_bytes((enum dtype)buffer->dtype), &s->bytes[i]))
            return false;
    }
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        if (!dim_eval(plan->dims, launch->asked, dims, &s->cost[i]) ||
            !checked_add_i64(s->all, s->cost[i], &s->all))
            return false;
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            uint32_t id = launch->args[k];
            if (!launch_writes(launch, k)) {
                if (!dim_eval(plan->dims, plan->buffers.items[id].elements, dims, &elements) ||
                    !checked_add_i64(s->cost[i], elements, &s->cost[i]))
                    return false;
            } else if (s->writer[id] != NONE) {
                return false;
            } else {
                s->writer[id] = i;
            }
        }
    }
    return true;
}

bool subject_init(struct memory_subject *s, struct plan *plan, struct arena *arena)
{
    uint32_t buffers = plan->buffers.count;
    if (plan->loops.count > 0)
        return false;
    *s = (struct memory_subject){.plan = plan,
                                 .arena = arena,
                                 .first = plan->entries.count > 1 ? plan->entries.items[0].count
                                                                  : plan->forward.count,
                                 .bytes = ARENA_ARRAY(arena, int64_t, buffers + 1),
                                 .writer = ARENA_ARRAY(arena, uint32_t, buffers + 1),
                                 .cost = ARENA_ARRAY(arena, int64_t, plan->forward.count + 1)};
    return look(s);
}

static void lower_peak(struct plan *plan, const uint32_t *updated, int64_t budget,
                       struct arena *arena)
{
    plan_order(plan, updated, arena);
    plan_make_again(plan, budget, arena);
    plan_order(plan, updated, arena);
}

void plan_lower_peak(struct plan *plan, const uint32_t *updated, int64_t budget,
                     struct arena *arena)
{
    struct folded folded;
    if (plan->loops.count == 0) {
        lower_peak(plan, updated, budget, arena);
    } else if (plan_fold(&folded, plan, updated, arena)) {
        lower_peak(&folded.plan, folded.updated, budget, arena);
        plan_unfold(&folded);
    }
}

int64_t plan_peak(struct plan *plan, struct arena *arena)
{
    struct folded folded;
    if (plan->loops.count == 0)
        return plan_order_peak(plan, arena);
    return plan_fold(&folded, plan, NULL, arena) ? plan_order_peak(&folded.plan, arena) : -1;
}
