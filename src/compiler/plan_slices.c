/* Loops that may be run slice by slice (package/plan.h): all trips for some of the slices, then for
 * others, so that what is computed between launches stays in a cache.
 *
 * A dim N divides the loop's values into slices, as a batch does: values are sliced or shared.
 *   - States are sliced, as are their next values and rows.
 *   - iter is shared.
 *   - What a sliced launch writes is sliced. Its iterations are those of an outermost loop of N
 *     iterations and what is inside, in this order; iteration i of that loop writes slice i of the
 *     result, and of sliced values it reads slice i alone (loop/slices.c). The schedule leaves that
 *     loop where it is.
 *   - What a shared launch writes is shared; it reads no sliced values, and runs whole.
 * What is outside of the loop may be read anywhere.
 *
 * By induction over trips and launches, slice i of all values hangs on slice i of the states alone,
 * so slices may be computed in any order. */
#include "compiler/compile_priv.h"

#include <string.h>

#include "compiler/loop/slices.h"

void kernel_find_slices(struct job *job, struct unit *unit, struct graph *graph, struct kernel *k)
{
    const struct node *root = graph_node(graph, k->group->root);
    struct nest *nest = k->nest;
    uint32_t count = nest->arguments.count, var = nest_outermost(nest);
    k->slices = DIM_NONE;
    if (unit->partition.loops.of[k->group->root] == 0 || root->rank == 0 || var == VAR_NONE ||
        expr_dim(nest, root->shape[0]) != nest->vars.items[var].extent)
        return;
    expr_id *shares = ARENA_ARRAY(job->arena, expr_id, count);
    bool *sliced = ARENA_ARRAY(job->arena, bool, count);
    for (uint32_t i = 0; i < count; i++) {
        dim_id elements = graph_elements(graph, nest_argument(nest, i)->value);
        dim_id share =
            elements == DIM_NONE ? DIM_NONE : dim_div_exact(&graph->dims, elements, root->shape[0]);
        shares[i] = share == DIM_NONE ? EXPR_NONE : expr_dim(nest, share);
    }
    nest_find_slices(nest, shares, sliced);
    k->slices = root->shape[0];
    k->sliced = sliced;
    k->outermost = nest->vars.items[var].name;
}

/* Whether a step leaves a loop outermost: others inside may be fused with it. */
static bool stays_outermost(const struct step *step, const char *loop)
{
    if (strcmp(step->other, loop) == 0)
        return false;
    return strcmp(step->loop, loop) != 0 || step->kind == STEP_FUSE || step->kind == STEP_PARALLEL;
}

void kernel_keep_slices(struct kernel *k, struct dim_table *dims)
{
    bool kept =
        k->slices != DIM_NONE && dim_div_exact(dims, k->sizes.extent, k->slices) != DIM_NONE;
    for (uint32_t i = 0; kept && i < k->schedule.steps.count; i++)
        kept = stays_outermost(&k->schedule.steps.items[i], k->outermost);
    if (!kept)
        k->slices = DIM_NONE;
}

/* What a value is to the loop at hand. */
enum slice_part { PART_OUTSIDE, PART_SHARED, PART_SLICED };

/* What a kernel's result is; PART_OUTSIDE: neither. */
static enum slice_part part_of(const struct kernel *k, dim_id slices, const uint8_t *parts)
{
    bool shared = true, sliced = k->slices == slices;
    for (uint32_t i = 0; i < k->nest->arguments.count; i++) {
        const struct nest_buffer *b = nest_argument(k->nest, i);
        bool out = b->role == ROLE_OUT;
        shared &= out || parts[b->value] != PART_SLICED;
        sliced = sliced && (k->sliced[i] || (!out && parts[b->value] != PART_SLICED));
    }
    return sliced ? PART_SLICED : shared ? PART_SHARED : PART_OUTSIDE;
}

/* Whether kernels for specialisations keep to the same slices. */
static bool variants_agree(const struct unit *unit, uint32_t specials, uint32_t kernel)
{
    const struct kernel *k = &unit->kernels[kernel];
    for (uint32_t s = 0; s < specials; s++) {
        const struct kernel *own = &unit->specials[s].kernels[kernel];
        if (!own->nest)
            continue;
        if (own->slices == DIM_NONE)
            return false;
        for (uint32_t i = 0; i < k->nest->arguments.count; i++)
            if (k->sliced[i] && !own->sliced[i])
                return false;
    }
    return true;
}

/* The slices of the kernel that computes a value; DIM_NONE: none, or no kernel does. */
static dim_id slices_of(const struct unit *unit, const uint32_t *kernels, uint32_t count,
                        value_id value)
{
    for (uint32_t i = 0; i < count; i++)
        if (unit->kernels[kernels[i]].group->root == value)
            return unit->kernels[kernels[i]].slices;
    return DIM_NONE;
}

dim_id plan_find_slices(struct job *job, const struct unit *unit, const struct graph_loop *loop,
                        const uint32_t *kernels, uint32_t count, bool *out_sliced)
{
    const struct placed *values = unit->partition.values;
    uint8_t *parts = ARENA_ARRAY(job->arena, uint8_t, unit->graph.nodes.count);
    value_id result = values[loop->states > 0 ? loop->next[0] : loop->row[0]].memory;
    dim_id slices = slices_of(unit, kernels, count, result);
    if (slices == DIM_NONE || loop->condition > 0)
        return DIM_NONE;
    if (loop->iter != VALUE_NONE)
        parts[values[loop->iter].memory] = PART_SHARED;
    for (uint32_t i = 0; i < loop->states; i++)
        parts[values[loop->state[i]].memory] = PART_SLICED;
    for (uint32_t i = 0; i < count; i++) {
        const struct kernel *k = &unit->kernels[kernels[i]];
        enum slice_part part = part_of(k, slices, parts);
        if (part == PART_OUTSIDE ||
            (part == PART_SLICED && !variants_agree(unit, job->specials.count, kernels[i])))
            return DIM_NONE;
        parts[k->group->root] = (uint8_t)part;
        out_sliced[i] = part == PART_SLICED;
    }
    for (uint32_t i = 0; i < loop->states; i++)
        if (parts[values[loop->next[i]].memory] != PART_SLICED)
            return DIM_NONE;
    for (uint32_t i = 0; i < loop->rows; i++)
        if (loop->results[loop->states + i] != VALUE_NONE &&
            parts[values[loop->row[i]].memory] != PART_SLICED)
            return DIM_NONE;
    return slices;
}
