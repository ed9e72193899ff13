/* Specialisations: kernels for given sizes beside those for all sizes, in one plan.
 *
 * A specialisation has the same groups and the same buffers, in the same layouts: only the nests
 * differ, which are lowered and scheduled from the graph at these sizes. So a launch stays one
 * launch, and any of its kernels may run in its place. What a kernel is called with must not change
 * either: a nest that reads other arguments, or may not write in place where the plan does, is left
 * out, and the kernel for all sizes serves there, too. So it is where both have the same code, as
 * where nothing depends on sizes. */
#include <string.h>

#include "base/error.h"
#include "compiler/compile_priv.h"
#include "compiler/lower/lower.h"

static bool take_value(const char *text, const struct dim_name *name, const char *given,
                       int64_t *out, struct error *err)
{
    int64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && value <= LIMIT_DIM_VALUE; at++)
        value = 10 * value + (*at - '0');
    if (at == text || *at != '\0')
        return fail(err, ERR_USAGE, "'%.40s' is no size of '%.100s'", text, given);
    const char *open = name->why ? " (" : "", *why = name->why ? name->why : "";
    const char *close = name->why ? ")" : "";
    if (value < name->min || value > name->max)
        return fail(err, ERR_USAGE, "'%.100s' is %lld to %lld, never %s%s%s%s", given,
                    (long long)name->min, (long long)name->max, text, open, why, close);
    if (value % name->multiple_of != 0)
        return fail(err, ERR_USAGE, "'%.100s' is a multiple of %lld, never %s%s%s%s", given,
                    (long long)name->multiple_of, text, open, why, close);
    *out = value;
    return true;
}

/* One "NAME=VALUE". */
static bool read_value(const struct dim_table *dims, char *text, int64_t *values, struct error *err)
{
    char *equals = strrchr(text, '=');
    uint32_t name;
    if (!equals || equals == text)
        return fail(err, ERR_USAGE, "'%.100s', expected NAME=SIZE", text);
    *equals = '\0';
    if (!dim_find_shown(dims, text, &name))
        return dim_refuse_shown(dims, text, err);
    if (values[name] != DIM_ANY)
        return fail(err, ERR_USAGE, "'%.100s' is given twice", text);
    return take_value(equals + 1, &dims->names.items[name], text, &values[name], err);
}

/* One line, which is changed. */
static bool read_special(struct job *job, const struct dim_table *dims, char *line,
                         struct plan_special *out, struct error *err)
{
    int64_t *values = ARENA_ARRAY(job->arena, int64_t, dims->names.count + 1);
    for (uint32_t i = 0; i < dims->names.count; i++)
        values[i] = DIM_ANY;
    for (char *at = line, *next; at; at = next) {
        next = strchr(at, ',');
        if (next)
            *next++ = '\0';
        if (!read_value(dims, at, values, err))
            return false;
    }
    *out = (struct plan_special){values};
    return true;
}

static uint32_t given(const struct plan_special *special, uint32_t names)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < names; i++)
        count += special->values[i] != DIM_ANY;
    return count;
}

/* Behind those that name as many dims, or more. */
static void insert(struct job *job, struct plan_special special, uint32_t names)
{
    VEC_PUSH(job->arena, &job->specials, special);
    uint32_t at = job->specials.count - 1;
    for (; at > 0 && given(&job->specials.items[at - 1], names) < given(&special, names); at--)
        job->specials.items[at] = job->specials.items[at - 1];
    job->specials.items[at] = special;
}

bool job_read_specials(struct job *job, const struct dim_table *dims, struct error *err)
{
    const char *text = job->options->specialise;
    uint32_t names = dims->names.count;
    while (text) {
        size_t size = strcspn(text, "\n");
        const char *line = arena_strndup(job->arena, text, size);
        struct plan_special special = {NULL};
        if (job->specials.count == LIMIT_SPECIALS)
            return fail(err, ERR_USAGE, "more than %d specialisations", LIMIT_SPECIALS);
        if (!read_special(job, dims, arena_strndup(job->arena, text, size), &special, err))
            return fail_at(err, "specialisation '%.120s'", line);
        for (uint32_t i = 0; i < job->specials.count; i++)
            if (memcmp(job->specials.items[i].values, special.values,
                       names * sizeof *special.values) == 0)
                return fail(err, ERR_USAGE, "the specialisation '%.120s' is given twice", line);
        insert(job, special, names);
        text = text[size] == '\n' ? text + size + 1 : NULL;
    }
    return true;
}

/* Gives a nest's arguments the order of another's. False: they are not the same. */
static bool match_arguments(struct nest *nest, const struct nest *like)
{
    uint32_t count = like->arguments.count;
    if (nest->arguments.count != count)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct nest_buffer *wanted = nest_argument(like, i);
        uint32_t at = i;
        while (at < count && (nest_argument(nest, at)->value != wanted->value ||
                              nest_argument(nest, at)->role != wanted->role))
            at++;
        if (at == count)
            return false;
        uint32_t buffer = nest->arguments.items[at];
        nest->arguments.items[at] = nest->arguments.items[i];
        nest->arguments.items[i] = buffer;
    }
    for (uint32_t i = 0; i < count; i++)
        nest->buffers.items[nest->arguments.items[i]].argument = i;
    return true;
}

/* Whether the kernel's result is proven to be fit for writing over the input that it updates. */
static bool in_place(const struct unit *unit, const struct kernel *k)
{
    const struct graph *g = &unit->graph;
    for (uint32_t i = 0; i < g->updates.count; i++) {
        value_id output = g->outputs.items[g->updates.items[i].output].value;
        if (output == k->group->root)
            return nest_in_place(k->nest, output, g->inputs.items[g->updates.items[i].input]);
    }
    return false;
}

static bool specialise(struct job *job, struct unit *unit, struct special *special, uint32_t group,
                       struct error *err)
{
    const struct kernel *general = &unit->kernels[group];
    struct kernel *k = &special->kernels[group];
    *k = (struct kernel){.group = general->group,
                         .nest = ARENA_NEW(unit->arena, struct nest),
                         .special = (uint32_t)(special - unit->specials) + 1};
    const struct lower_task task = {&special->graph, &unit->partition, k->group, unit->arena};
    if (!lower_group(&task, k->nest, err))
        return false;
    bool fits = match_arguments(k->nest, general->nest);
    if (fits && !unit_schedule_kernel(job, unit, &special->graph, k, err))
        return false;
    if (!fits || (general->in_place && !in_place(unit, k)))
        k->nest = NULL;
    return true;
}

bool unit_specialise(struct job *job, struct unit *unit, struct error *err)
{
    uint32_t count = job->specials.count;
    unit->specials = ARENA_ARRAY(unit->arena, struct special, count + 1);
    for (uint32_t s = 0; s < count; s++) {
        struct special *special = &unit->specials[s];
        special->kernels = ARENA_ARRAY(unit->arena, struct kernel, unit->kernel_count + 1);
        if (!graph_fix_dims(&special->graph, unit->arena, &unit->graph,
                            job->specials.items[s].values, err))
            return fail_at(err, "specialisation %u", s);
        for (uint32_t i = 0; i < unit->kernel_count; i++)
            if (!unit->kernels[i].group->prepare && !specialise(job, unit, special, i, err))
                return fail_at(err, "specialisation %u", s);
    }
    return true;
}
