/* Plans: the right kernels on the wrong buffers, too few iterations, in the wrong order. */
#include <string.h>

#include "mutants.h"

#define KIND(name, stage, how, function, flags, damage) how##_damage function;
#include "kinds.def"
#undef KIND

static const struct plan_buffer *buffer_of(const struct plan *plan, const struct plan_launch *l,
                                           uint32_t arg)
{
    return &plan->buffers.items[l->args[arg]];
}

static bool same_size(const struct plan_buffer *a, const struct plan_buffer *b)
{
    return a->dtype == b->dtype && a->elements == b->elements;
}

/* The arguments as an array of their own, to be written. */
static uint32_t *own_args(const struct package_damage *p, struct plan_launch *l)
{
    uint32_t *args = arena_memdup(p->arena, l->args, l->arg_count * sizeof l->args[0]);
    l->args = args;
    return args;
}

void plan_args_swapped(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        struct plan_launch *l = &plan->forward.items[i];
        for (uint32_t a = 0; a < l->arg_count; a++)
            for (uint32_t b = a + 1; b < l->arg_count; b++) {
                if (launch_writes(l, a) || launch_writes(l, b) || l->args[a] == l->args[b] ||
                    !same_size(buffer_of(plan, l, a), buffer_of(plan, l, b)) ||
                    !mutation_here(m, "launch %u %s: %u, %u", i, l->label, a, b))
                    continue;
                uint32_t *args = own_args(p, l), first = args[a];
                args[a] = args[b];
                args[b] = first;
                return;
            }
    }
}

/* Another buffer of the same kind and size for one that is read; with any: of any kind. */
static void replace_arg(struct mutation *m, const struct package_damage *p, enum buffer_kind kind)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        struct plan_launch *l = &plan->forward.items[i];
        for (uint32_t a = 0; a < l->arg_count; a++)
            for (uint32_t b = 0; b < plan->buffers.count; b++) {
                const struct plan_buffer *own = buffer_of(plan, l, a),
                                         *other = &plan->buffers.items[b];
                bool late = other->kind == BUFFER_TEMP && other->first_launch >= i;
                if (launch_writes(l, a) || b == l->args[a] || own->kind != kind ||
                    other->kind != kind || late || !same_size(own, other) ||
                    !mutation_here(m, "launch %u %s: %u is %u", i, l->label, a, b))
                    continue;
                own_args(p, l)[a] = b;
                return;
            }
    }
}

void plan_other_param(struct mutation *m, const struct package_damage *p)
{
    replace_arg(m, p, BUFFER_PARAM);
}

void plan_other_prepared(struct mutation *m, const struct package_damage *p)
{
    replace_arg(m, p, BUFFER_PREPARED);
}

void plan_other_input(struct mutation *m, const struct package_damage *p)
{
    replace_arg(m, p, BUFFER_INPUT);
}

void plan_stale_temp(struct mutation *m, const struct package_damage *p)
{
    replace_arg(m, p, BUFFER_TEMP);
}

/* An input or output where a temporary is read. */
void plan_input_for_temp(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        struct plan_launch *l = &plan->forward.items[i];
        for (uint32_t a = 0; a < l->arg_count; a++)
            for (uint32_t b = 0; b < plan->buffers.count; b++) {
                const struct plan_buffer *own = buffer_of(plan, l, a),
                                         *other = &plan->buffers.items[b];
                if (launch_writes(l, a) || own->kind != BUFFER_TEMP ||
                    other->kind != BUFFER_INPUT || !same_size(own, other) ||
                    !mutation_here(m, "launch %u %s: %u", i, l->label, a))
                    continue;
                own_args(p, l)[a] = b;
                return;
            }
    }
}

/* Wherever the second buffer stands, the first takes its place. */
static void merge(const struct package_damage *p, uint32_t first, uint32_t second)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        struct plan_launch *l = &plan->forward.items[i];
        for (uint32_t a = 0; a < l->arg_count; a++)
            if (l->args[a] == second)
                own_args(p, l)[a] = first;
    }
}

static void merge_temps(struct mutation *m, const struct package_damage *p, bool ends)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        for (uint32_t j = 0; j < plan->buffers.count; j++) {
            const struct plan_buffer *a = &plan->buffers.items[i], *b = &plan->buffers.items[j];
            if (i == j || a->kind != BUFFER_TEMP || b->kind != BUFFER_TEMP || !same_size(a, b) ||
                (ends ? a->last_launch != b->first_launch
                      : a->first_launch >= b->first_launch || b->first_launch >= a->last_launch) ||
                !mutation_here(m, "buffers %u and %u", i, j))
                continue;
            merge(p, i, j);
            return;
        }
}

/* One ends where the other begins: the last launch of the first reads what the second overwrites.
 */
void plan_lifetime_short(struct mutation *m, const struct package_damage *p)
{
    merge_temps(m, p, true);
}

void plan_overlapping(struct mutation *m, const struct package_damage *p)
{
    merge_temps(m, p, false);
}

/* The launch that writes a buffer first; where there is none, the number of launches. */
static uint32_t first_writer(const struct plan *plan, uint32_t buffer)
{
    for (uint32_t i = 0; i < plan->forward.count; i++)
        for (uint32_t a = 0; a < plan->forward.items[i].arg_count; a++)
            if (plan->forward.items[i].args[a] == buffer &&
                launch_writes(&plan->forward.items[i], a))
                return i;
    return plan->forward.count;
}

/* The memory of an output serves a temporary too, while or after the output is written. */
void plan_temp_in_output(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        for (uint32_t j = 0; j < plan->buffers.count; j++) {
            const struct plan_buffer *a = &plan->buffers.items[i], *b = &plan->buffers.items[j];
            if (a->kind != BUFFER_OUTPUT || b->kind != BUFFER_TEMP || !same_size(a, b) ||
                b->last_launch <= first_writer(plan, i) ||
                !mutation_here(m, "output %u, temporary %u", i, j))
                continue;
            merge(p, i, j);
            return;
        }
}

void plan_temp_small(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        struct plan_buffer *b = &plan->buffers.items[i];
        if (b->kind != BUFFER_TEMP && b->kind != BUFFER_PREPARED)
            continue;
        if (!mutation_here(m, "buffer %u", i))
            continue;
        b->elements = dim_floordiv(plan->dims, b->elements, dim_const(plan->dims, 2));
        return;
    }
}

static void change_extents(struct mutation *m, const struct package_damage *p, bool prepare,
                           dim_id (*change)(struct dim_table *dims, dim_id extent))
{
    struct plan *plan = &p->target->plan;
    uint32_t count = prepare ? plan->prepare.count : plan->forward.count;
    for (uint32_t i = 0; i < count; i++) {
        struct plan_launch *l = prepare ? &plan->prepare.items[i] : &plan->forward.items[i];
        int64_t extent;
        if ((dim_is_const(plan->dims, l->code.extent, &extent) && extent == 0) ||
            !mutation_here(m, "launch %u %s", i, l->label))
            continue;
        l->code.extent = change(plan->dims, l->code.extent);
        return;
    }
}

static dim_id none_of(struct dim_table *dims, dim_id extent)
{
    (void)extent;
    return dim_const(dims, 0);
}

static dim_id half_of(struct dim_table *dims, dim_id extent)
{
    return dim_floordiv(dims, extent, dim_const(dims, 2));
}

static dim_id less_one(struct dim_table *dims, dim_id extent)
{
    return dim_sub(dims, extent, dim_const(dims, 1));
}

static dim_id more_one(struct dim_table *dims, dim_id extent)
{
    return dim_add(dims, extent, dim_const(dims, 1));
}

/* As many as there are up to 100. */
static dim_id at_most(struct dim_table *dims, dim_id extent)
{
    return dim_min(dims, extent, dim_const(dims, 100));
}

void plan_not_launched(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, false, none_of);
}

void plan_not_prepared(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, true, none_of);
}

void plan_half_launched(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, false, half_of);
}

void plan_half_prepared(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, true, half_of);
}

void plan_extent_less(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, false, less_one);
}

void plan_extent_more(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, false, more_one);
}

void plan_extent_capped(struct mutation *m, const struct package_damage *p)
{
    change_extents(m, p, false, at_most);
}

void plan_launch_dropped(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        if (!mutation_here(m, "launch %u %s", i, plan->forward.items[i].label))
            continue;
        memmove(&plan->forward.items[i], &plan->forward.items[i + 1],
                (plan->forward.count - i - 1) * sizeof plan->forward.items[0]);
        plan->forward.count--;
        return;
    }
}

void plan_order_swapped(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i + 1 < plan->forward.count; i++) {
        struct plan_launch *l = &plan->forward.items[i], first = *l;
        if (!mutation_here(m, "launches %u and %u", i, i + 1))
            continue;
        l[0] = l[1];
        l[1] = first;
        return;
    }
}

/* A launch done again on its own result. */
void plan_launch_again(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        struct plan_launch again = plan->forward.items[i];
        for (uint32_t a = 1; a < again.arg_count; a++) {
            if (launch_writes(&again, a) || !launch_writes(&again, 0) ||
                !same_size(buffer_of(plan, &again, 0), buffer_of(plan, &again, a)) ||
                !mutation_here(m, "launch %u %s", i, again.label))
                continue;
            own_args(p, &again)[a] = again.args[0];
            VEC_PUSH(p->arena, &plan->forward, again);
            memmove(&plan->forward.items[i + 2], &plan->forward.items[i + 1],
                    (plan->forward.count - i - 2) * sizeof again);
            plan->forward.items[i + 1] = again;
            return;
        }
    }
}

void plan_no_scratch(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        struct plan_launch *l = &plan->forward.items[i];
        int64_t bytes;
        if ((dim_is_const(plan->dims, l->code.scratch_bytes, &bytes) && bytes == 0) ||
            !mutation_here(m, "launch %u %s", i, l->label))
            continue;
        l->code.scratch_bytes = dim_const(plan->dims, 0);
        return;
    }
}

/* The kernel of another launch that takes as many arguments. */
void plan_other_kernel(struct mutation *m, const struct package_damage *p)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++)
        for (uint32_t k = 0; k < plan->forward.count; k++) {
            struct plan_launch *l = &plan->forward.items[i];
            const struct plan_launch *other = &plan->forward.items[k];
            bool fits = l->arg_count == other->arg_count && l->code.kernel != other->code.kernel;
            for (uint32_t a = 0; fits && a < l->arg_count; a++)
                fits = same_size(buffer_of(plan, l, a), buffer_of(plan, other, a));
            if (!fits || !mutation_here(m, "launch %u %s", i, l->label))
                continue;
            l->code.kernel = other->code.kernel;
            return;
        }
}

/* Two buffers of one kind that change their places among inputs, outputs or params. */
static void swap_bound(struct mutation *m, const struct package_damage *p, enum buffer_kind kind)
{
    struct plan *plan = &p->target->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        for (uint32_t j = i + 1; j < plan->buffers.count; j++) {
            struct plan_buffer *a = &plan->buffers.items[i], *b = &plan->buffers.items[j];
            if (a->kind != kind || b->kind != kind || !same_size(a, b) ||
                !mutation_here(m, "buffers %u and %u", i, j))
                continue;
            uint32_t index = a->index;
            a->index = b->index;
            b->index = index;
            return;
        }
}

void plan_params_swapped(struct mutation *m, const struct package_damage *p)
{
    swap_bound(m, p, BUFFER_PARAM);
}

void plan_outputs_swapped(struct mutation *m, const struct package_damage *p)
{
    swap_bound(m, p, BUFFER_OUTPUT);
}

void plan_inputs_swapped(struct mutation *m, const struct package_damage *p)
{
    swap_bound(m, p, BUFFER_INPUT);
}
