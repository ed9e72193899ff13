/* The kernels of one target: from groups to nests, to schedules. */
#include "compiler/compile_priv.h"

#include <stdio.h>

#include "base/board.h"
#include "base/error.h"
#include "base/map.h"
#include "compiler/loop/text.h"
#include "compiler/lower/lower.h"
#include "compiler/target/target.h"

struct compile_view unit_view(struct job *job, struct unit *unit, enum stage stage)
{
    struct nest **nests = ARENA_ARRAY(job->arena, struct nest *, unit->kernel_count + 1);
    const char **labels = ARENA_ARRAY(job->arena, const char *, unit->kernel_count + 1);
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        nests[i] = unit->kernels[i].nest;
        labels[i] = unit->kernels[i].group->label;
    }
    return (struct compile_view){.stage = stage,
                                 .target = unit->target,
                                 .arena = job->arena,
                                 .graph = &unit->graph,
                                 .nests = nests,
                                 .labels = labels,
                                 .nest_count = unit->kernel_count};
}

bool unit_lower(struct job *job, struct unit *unit, struct error *err)
{
    struct lowered_group *lowered;
    if (!lower_graph(&unit->graph, unit->arena, &unit->partition, &lowered, err))
        return false;
    unit->kernel_count = unit->partition.groups.count;
    unit->kernels = ARENA_ARRAY(unit->arena, struct kernel, unit->kernel_count + 1);
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        struct kernel *k = &unit->kernels[i];
        k->group = &unit->partition.groups.items[i];
        k->nest = lowered[i].nest;
        k->asked = lowered[i].asked;
        k->done = lowered[i].done;
    }
    struct strbuf *dump;
    if ((dump = job_dump(job, "optimised", unit, NULL)) != NULL)
        graph_print(&unit->graph, dump);
    if ((dump = job_dump(job, "groups", unit, NULL)) != NULL)
        partition_print(&unit->graph, &unit->partition, dump);
    return true;
}

struct sched_hint kernel_hint(const struct graph *graph, const struct group *group)
{
    struct sched_hint hint = {.prepare = group->prepare};
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        hint.output |= graph->outputs.items[i].value == group->root;
    return hint;
}

/* For calling an observer with the steps of one kernel. */
struct showing {
    const struct compile_observer *observer;
    struct compile_view view;
};

static void show_step(void *context, struct nest *nest, const struct step *step)
{
    struct showing *showing = context;
    (void)nest; /* it is in the view */
    showing->view.step = step;
    showing->observer->step(showing->observer->context, &showing->view);
}

/* Sets watch to call the observer with the steps of a kernel of the unit's own graph. */
static void watch_steps(struct job *job, struct unit *unit, const struct kernel *k,
                        struct showing *showing, struct sched_watch *watch)
{
    showing->observer = job->options->observer;
    showing->view = unit_view(job, unit, STAGE_SCHEDULE);
    showing->view.kernel = (uint32_t)(k - unit->kernels);
    *watch = (struct sched_watch){show_step, showing};
}

static bool choose(struct job *job, struct unit *unit, struct graph *graph, struct kernel *k,
                   struct error *err)
{
    const struct config_chooser *chooser = job->options->chooser;
    const struct compile_observer *observer = job->options->observer;
    struct sched_hint hint = kernel_hint(graph, k->group), shown = hint;
    struct showing showing;
    struct sched_watch watch;
    uint32_t number = (uint32_t)(k->group - unit->partition.groups.items);
    if (observer && observer->step && graph == &unit->graph) {
        watch_steps(job, unit, k, &showing, &watch);
        shown.watch = &watch;
    }
    struct scheduling *s = sched_begin(k->nest, &shown, unit->target);
    struct kernel_question question = {graph, &unit->partition, k->group, unit->target, &hint, s};
    struct config config;
    if (chooser)
        board_put(job->options->board, BOARD_TUNE, number + 1, unit->kernel_count);
    if (!chooser)
        sched_default(s, &config);
    else if (!chooser->choose(chooser->context, &question, &config, err))
        return fail_at(err, "kernel '%s'", k->group->label);
    sched_finish(s, &config, &k->schedule);
    return true;
}

bool unit_schedule_kernel(struct job *job, struct unit *unit, struct graph *graph, struct kernel *k,
                          struct error *err)
{
    kernel_find_slices(job, unit, graph, k);
    if (!choose(job, unit, graph, k, err) || (job->verify_ir && !nest_verify(k->nest, err)) ||
        !sched_measure(k->nest, &graph->dims, &k->sizes, err))
        return false;
    kernel_keep_slices(k, &graph->dims);
    return true;
}

bool unit_schedule(struct job *job, struct unit *unit, struct error *err)
{
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        struct kernel *k = &unit->kernels[i];
        struct strbuf *dump;
        if ((dump = job_dump(job, "loops", unit, k)) != NULL)
            nest_print(k->nest, dump);
        if (!unit_schedule_kernel(job, unit, &unit->graph, k, err))
            return false;
        if ((dump = job_dump(job, "schedule", unit, k)) != NULL) {
            sched_print(&k->schedule, dump);
            strbuf_puts(dump, "\n");
            sched_print_refused(&k->schedule, dump);
            nest_print(k->nest, dump);
        }
    }
    return true;
}

/* Gives a kernel the code of an equal one, or its own. */
static void share(struct unit *unit, struct map *known, struct kernel *k)
{
    uint64_t hash;
    uint32_t cursor = 0;
    nest_digest(k->nest, k->digest);
    memcpy(&hash, k->digest, sizeof hash);
    while (map_next(known, hash, &cursor, &k->code))
        if (memcmp(unit->codes.items[k->code]->digest, k->digest, sizeof k->digest) == 0)
            return;
    k->code = unit->codes.count;
    VEC_PUSH(unit->arena, &unit->codes, k);
    map_add(known, unit->arena, hash, k->code);
}

void unit_share(struct job *job, struct unit *unit)
{
    struct map known = {0};
    for (uint32_t i = 0; i < unit->kernel_count; i++)
        share(unit, &known, &unit->kernels[i]);
    for (uint32_t s = 0; s < job->specials.count; s++) {
        for (uint32_t i = 0; i < unit->kernel_count; i++) {
            struct kernel *k = &unit->specials[s].kernels[i];
            if (k->nest)
                share(unit, &known, k);
            if (k->nest && k->code == unit->kernels[i].code)
                k->nest = NULL;
        }
    }
}

void unit_find_in_place(struct unit *unit)
{
    const struct graph *g = &unit->graph;
    for (uint32_t i = 0; i < g->updates.count; i++) {
        value_id input = g->inputs.items[g->updates.items[i].input];
        value_id output = g->outputs.items[g->updates.items[i].output].value;
        for (uint32_t k = 0; k < unit->kernel_count; k++)
            if (unit->kernels[k].group->root == output)
                unit->kernels[k].in_place = nest_in_place(unit->kernels[k].nest, output, input);
    }
}
