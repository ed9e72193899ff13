/* What a module needs to run as a training step: which tensors of the block its own belong to, and
 * what hangs on each launch. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime_priv.h"

#define FEEDS_LAST 63 /* bit of all outputs from there on */

uint64_t training_output_bit(uint32_t output)
{
    return (uint64_t)1 << (output < FEEDS_LAST ? output : FEEDS_LAST);
}

uint32_t training_find_source(const struct urza_module *block, const char *name)
{
    uint32_t inputs = block->package.graph.inputs.count;
    for (uint32_t i = 0; i < inputs + block->package.graph.params.count; i++) {
        const urza_tensor_info *info =
            i < inputs ? &block->inputs[i] : &block->param_infos[i - inputs];
        if (strcmp(info->name, name) == 0)
            return i;
    }
    return PLAN_NONE;
}

static uint32_t find_output(const struct urza_module *block, const char *name)
{
    for (uint32_t i = 0; i < block->package.graph.outputs.count; i++)
        if (strcmp(block->outputs[i].name, name) == 0)
            return i;
    return PLAN_NONE;
}

static void match_names(struct urza_module *step, const struct urza_module *block)
{
    const struct graph *graph = &step->package.graph;
    uint32_t sources = block->package.graph.inputs.count + block->package.graph.params.count;
    uint32_t results = block->package.graph.outputs.count;
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        step->cotangent_of[i] =
            i < sources ? PLAN_NONE
                        : find_output(block, step->inputs[i].name + strlen(PACKAGE_COTANGENT));
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        step->gradient_of[i] =
            i < results ? PLAN_NONE
                        : training_find_source(block, step->outputs[i].name + strlen(PACKAGE_GRAD));
}

/* What hangs on the buffers that a launch, or all launches of a loop, write. */
static uint64_t written_bits(const struct plan_launch *launch, const uint64_t *bits)
{
    uint64_t all = 0;
    for (uint32_t k = 0; k < launch->arg_count; k++)
        if (launch_writes(launch, k))
            all |= bits[launch->args[k]];
    return all;
}

static void mark(uint64_t *bits, uint32_t buffer, uint64_t with)
{
    if (buffer != PLAN_NONE)
        bits[buffer] |= with;
}

/* All of a loop is run, or nothing. */
static uint64_t loop_bits(const struct plan *plan, const struct plan_loop *loop, uint64_t *bits)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < loop->state_count; i++)
        all |= loop->states[i].result == PLAN_NONE ? 0 : bits[loop->states[i].result];
    for (uint32_t i = 0; i < loop->row_count; i++)
        all |= bits[loop->rows[i].result];
    for (uint32_t i = 0; i < loop->count; i++)
        all |= written_bits(&plan->forward.items[loop->first + i], bits);
    for (uint32_t i = 0; i < loop->state_count; i++) {
        mark(bits, loop->states[i].from, all);
        mark(bits, loop->states[i].next, all);
    }
    for (uint32_t i = 0; i < loop->row_count; i++)
        mark(bits, loop->rows[i].row, all);
    return all;
}

/* From the last launch to the first: a launch feeds what its results feed, and so what it reads
 * does. */
static bool find_feeds(struct urza_module *step, struct error *err)
{
    const struct plan *plan = &step->target->plan;
    uint64_t *bits = calloc(plan->buffers.count + 1, sizeof *bits);
    if (!bits)
        return fail(err, ERR_NOMEM, "no memory for a training step");
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_OUTPUT)
            bits[i] = training_output_bit(plan->buffers.items[i].index);
    for (uint32_t i = plan->forward.count; i-- > 0;) {
        const struct plan_launch *launch = &plan->forward.items[i];
        uint32_t loop = plan_loop_of(plan, i);
        const struct plan_loop *of = loop > 0 ? &plan->loops.items[loop - 1] : NULL;
        if (!of)
            step->feeds[i] = written_bits(launch, bits);
        else if (i + 1 == of->first + of->count)
            step->feeds[i] = loop_bits(plan, of, bits);
        else
            step->feeds[i] = step->feeds[i + 1];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            bits[launch->args[k]] |= step->feeds[i];
    }
    free(bits);
    return true;
}

bool training_init(struct urza_module *step, const struct urza_module *block, struct error *err)
{
    const struct graph *graph = &step->package.graph;
    uint32_t launches = step->target ? step->target->plan.forward.count : 0;
    jmp_buf out_of_memory;
    if (setjmp(out_of_memory) != 0) {
        step->arena.oom = NULL;
        return fail(err, ERR_NOMEM, "no memory for a training step");
    }
    step->arena.oom = &out_of_memory;
    step->cotangent_of = ARENA_ARRAY(&step->arena, uint32_t, graph->inputs.count);
    step->gradient_of = ARENA_ARRAY(&step->arena, uint32_t, graph->outputs.count);
    if (step->target)
        step->feeds = ARENA_ARRAY(&step->arena, uint64_t, launches + 1);
    step->arena.oom = NULL;
    match_names(step, block);
    return !step->target || find_feeds(step, err);
}
