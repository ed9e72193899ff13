/* Whether a training step belongs to its block: checked when a package is read, so that the runtime
 * can hand tensors over by their places. */
#include <string.h>

#include "base/error.h"
#include "package/package_priv.h"
#include "package/plan_priv.h"

struct pair {
    const struct graph *block, *step;
    struct error *err;
};

static bool same_dims(const struct pair *p)
{
    const struct dim_table *a = &p->block->dims, *b = &p->step->dims;
    bool same = a->names.count == b->names.count;
    for (uint32_t i = 0; same && i < a->names.count; i++) {
        const struct dim_name *x = &a->names.items[i], *y = &b->names.items[i];
        same = strcmp(x->name, y->name) == 0 && x->min == y->min && x->max == y->max &&
               x->multiple_of == y->multiple_of;
    }
    return same || fail(p->err, ERR_PACKAGE, "its named dims are not those of the block");
}

/* Both may be DIM_NONE. They are compared in the block's dims, to which expressions are added. */
static bool same_dim(const struct pair *p, dim_id of_block, dim_id of_step)
{
    struct dim_table *dims = (struct dim_table *)&p->block->dims;
    return of_step == DIM_NONE ? of_block == DIM_NONE
                               : dim_import(dims, &p->step->dims, of_step) == of_block;
}

static bool same_type(const struct pair *p, value_id of_block, value_id of_step, const char *name)
{
    const struct node *x = graph_node(p->block, of_block), *y = graph_node(p->step, of_step);
    bool same = x->dtype == y->dtype && x->rank == y->rank;
    for (uint32_t d = 0; same && d < x->rank; d++)
        same = same_dim(p, x->shape[d], y->shape[d]);
    return same || fail(p->err, ERR_PACKAGE, "'%s' has another type than in the block", name);
}

static const char *source_name(const struct graph *graph, value_id v)
{
    return graph_node(graph, v)->attrs->name;
}

/* Input or param i of the block, inputs first. */
static value_id block_source(const struct graph *block, uint32_t i)
{
    return i < block->inputs.count ? block->inputs.items[i]
                                   : block->params.items[i - block->inputs.count];
}

static bool is_float(const struct pair *p, value_id of_block)
{
    return of_block != VALUE_NONE &&
           dtype_is_float((enum dtype)graph_node(p->block, of_block)->dtype);
}

/* They must tell the same dims of both, and no cotangent may tell any. */
static bool same_elements(const struct pair *p)
{
    bool same = p->step->elements.count == p->block->elements.count;
    for (uint32_t i = 0; same && i < p->step->elements.count; i++) {
        const struct graph_element *x = &p->block->elements.items[i];
        const struct graph_element *y = &p->step->elements.items[i];
        same = x->input == y->input && x->element == y->element && x->rule == y->rule &&
               same_dim(p, x->of, y->of) && same_dim(p, x->dim, y->dim);
    }
    return same ||
           fail(p->err, ERR_PACKAGE, "its elements that tell dims are not those of the block");
}

static bool check_inputs(const struct pair *p)
{
    uint32_t sources = p->block->inputs.count + p->block->params.count;
    if (p->step->params.count > 0 || p->step->inputs.count < sources)
        return fail(p->err, ERR_PACKAGE, "its inputs are not those of the block, then its params");
    uint32_t output = 0;
    for (uint32_t i = 0; i < p->step->inputs.count; i++) {
        value_id v = p->step->inputs.items[i], of = VALUE_NONE;
        const char *name = source_name(p->step, v), *prefix = PACKAGE_COTANGENT;
        if (i < sources) {
            of = block_source(p->block, i);
            if (strcmp(name, source_name(p->block, of)) != 0)
                return fail(p->err, ERR_PACKAGE, "input '%s' is not the block's", name);
        } else if (strncmp(name, prefix, strlen(prefix)) == 0) {
            for (; output < p->block->outputs.count && of == VALUE_NONE; output++)
                if (strcmp(p->block->outputs.items[output].name, name + strlen(prefix)) == 0)
                    of = p->block->outputs.items[output].value;
            of = is_float(p, of) ? of : VALUE_NONE;
        }
        if (of == VALUE_NONE)
            return fail(p->err, ERR_PACKAGE, "input '%s' is no cotangent", name);
        if (!same_type(p, of, v, name))
            return false;
    }
    return true;
}

static bool check_outputs(const struct pair *p)
{
    uint32_t sources = p->block->inputs.count + p->block->params.count, source = 0;
    if (p->step->outputs.count < p->block->outputs.count)
        return fail(p->err, ERR_PACKAGE, "its outputs are not those of the block, then gradients");
    for (uint32_t i = 0; i < p->step->outputs.count; i++) {
        const struct graph_output *output = &p->step->outputs.items[i];
        const char *prefix = PACKAGE_GRAD;
        value_id of = VALUE_NONE;
        if (i < p->block->outputs.count) {
            if (strcmp(output->name, p->block->outputs.items[i].name) == 0)
                of = p->block->outputs.items[i].value;
        } else if (strncmp(output->name, prefix, strlen(prefix)) == 0) {
            for (source = 0; source < sources && of == VALUE_NONE; source++)
                if (strcmp(source_name(p->block, block_source(p->block, source)),
                           output->name + strlen(prefix)) == 0)
                    of = block_source(p->block, source);
            of = is_float(p, of) ? of : VALUE_NONE;
        }
        if (of == VALUE_NONE)
            return fail(p->err, ERR_PACKAGE, "output '%s' is no gradient", output->name);
        if (!same_type(p, of, output->value, output->name))
            return false;
    }
    return true;
}

/* Whether a buffer is a cotangent or a gradient; PLAN_NONE is none. */
static bool is_backward(const struct pair *p, const struct plan *plan, uint32_t buffer)
{
    const struct plan_buffer *b = buffer == PLAN_NONE ? NULL : &plan->buffers.items[buffer];
    uint32_t sources = p->block->inputs.count + p->block->params.count;
    return b && ((b->kind == BUFFER_INPUT && b->index >= sources) ||
                 (b->kind == BUFFER_OUTPUT && b->index >= p->block->outputs.count));
}

static bool loop_is_backward(const struct pair *p, const struct plan *plan,
                             const struct plan_loop *loop)
{
    bool any = false;
    for (uint32_t i = 0; i < loop->state_count; i++)
        any |= is_backward(p, plan, loop->states[i].from) ||
               is_backward(p, plan, loop->states[i].next) ||
               is_backward(p, plan, loop->states[i].result);
    for (uint32_t i = 0; i < loop->row_count; i++)
        any |=
            is_backward(p, plan, loop->rows[i].row) || is_backward(p, plan, loop->rows[i].result);
    return any;
}

/* The first entry must not touch cotangents or gradients, and write all results of the block. */
static bool check_plan(const struct pair *p, const struct plan *plan)
{
    struct plan_entry first, second;
    if (plan->entries.count != 2 || !plan_find_entry(plan, "forward_train", &first) ||
        !plan_find_entry(plan, "backward", &second) || first.first != 0)
        return fail(p->err, ERR_PACKAGE, "its plan has not the entries forward_train and backward");
    bool *written = ARENA_ARRAY(plan->arena, bool, plan->buffers.count);
    for (uint32_t i = 0; i < first.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            if (is_backward(p, plan, launch->args[k]))
                return fail(p->err, ERR_PACKAGE, "launch %u of forward_train is one of backward",
                            i);
            written[launch->args[k]] |= launch_writes(launch, k);
        }
    }
    plan_loops_written(plan, first.count, written);
    for (uint32_t i = 0; i < plan->loops.count; i++)
        if (plan->loops.items[i].first < first.count &&
            loop_is_backward(p, plan, &plan->loops.items[i]))
            return fail(p->err, ERR_PACKAGE, "loop %u of forward_train is one of backward", i);
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *b = &plan->buffers.items[i];
        if (b->kind == BUFFER_OUTPUT && b->index < p->block->outputs.count && !written[i])
            return fail(p->err, ERR_PACKAGE, "forward_train does not write output %u", b->index);
    }
    return true;
}

bool training_check(const struct package_contents *block, const struct package_contents *step,
                    struct error *err)
{
    const struct pair p = {&block->graph, &step->graph, err};
    if (!same_dims(&p) || !check_inputs(&p) || !check_outputs(&p) || !same_elements(&p))
        return false;
    if (step->target_count != block->target_count)
        return fail(err, ERR_PACKAGE, "it has not the targets of the block");
    for (uint32_t i = 0; i < step->target_count; i++) {
        if (strcmp(step->targets[i].name, block->targets[i].name) != 0)
            return fail(err, ERR_PACKAGE, "it has not the targets of the block");
        if (!check_plan(&p, &step->targets[i].plan))
            return fail_at(err, "target '%s'", step->targets[i].name);
    }
    return true;
}
