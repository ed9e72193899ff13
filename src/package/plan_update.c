/* Outputs that are written over inputs. */
#include "package/plan_priv.h"

uint32_t plan_bound_buffer(const struct plan *plan, enum buffer_kind kind, uint32_t index)
{
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == kind && plan->buffers.items[i].index == index)
            return i;
    return PLAN_NONE;
}

/* Whether a loop copies from or to a buffer between its launches. */
static bool loops_copy(const struct plan *plan, uint32_t buffer)
{
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        for (uint32_t k = 0; k < loop->state_count; k++) {
            const struct plan_state *s = &loop->states[k];
            if (s->from == buffer || s->state == buffer || s->next == buffer || s->result == buffer)
                return true;
        }
        for (uint32_t k = 0; k < loop->row_count; k++)
            if (loop->rows[k].row == buffer || loop->rows[k].result == buffer)
                return true;
    }
    return false;
}

bool plan_may_update(const struct plan *plan, uint32_t input, uint32_t output, bool *out_reads)
{
    uint32_t writer = PLAN_NONE, reader = PLAN_NONE; /* the last ones */
    *out_reads = false;
    if (loops_copy(plan, output) || (input != PLAN_NONE && loops_copy(plan, input)))
        return false;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            if (launch->args[k] == input)
                reader = i;
            if (launch->args[k] != output || !launch_writes(launch, k))
                continue;
            if (writer != PLAN_NONE || plan_loop_of(plan, i) > 0)
                return false;
            writer = i;
        }
    }
    *out_reads = reader == writer;
    return writer != PLAN_NONE && (reader == PLAN_NONE || reader <= writer);
}
