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
    if (!lower_graph(&unit->graph, job->arena, &unit->partition, &lowered, err))
        return false;
    unit->kernel_count = unit->partition.groups.count;
    unit->kernels = ARENA_ARRAY(job->arena, struct kernel, unit->kernel_count + 1);
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

static bool schedule(struct job *job, struct unit *unit, struct kernel *k, struct error *err)
{
    const struct config_chooser *chooser = job->options->chooser;
    const struct compile_observer *observer = job->options->observer;
    struct sched_hint hint = kernel_hint(&unit->graph, k->group), shown = hint;
    struct showing showing = {.observer = observer};
    const struct sched_watch watch = {show_step, &showing};
    if (observer && observer->step) {
        showing.view = unit_view(job, unit, STAGE_SCHEDULE);
        showing.view.kernel = (uint32_t)(k - unit->kernels);
        shown.watch = &watch;
    }
    struct scheduling *s = sched_begin(k->nest, &shown, unit->target);
    struct kernel_question question = {
        &unit->graph, &unit->partition, k->group, unit->target, &hint, s};
    struct config config;
    if (chooser)
        board_put(job->options->board, BOARD_TUNE, (uint32_t)(k - unit->kernels) + 1,
                  unit->kernel_count);
    if (!chooser)
        sched_default(s, &config);
    else if (!chooser->choose(chooser->context, &question, &config, err))
        return fail_at(err, "kernel '%s'", k->group->label);
    sched_finish(s, &config, &k->schedule);
    return true;
}

bool unit_schedule(struct job *job, struct unit *unit, struct error *err)
{
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        struct kernel *k = &unit->kernels[i];
        struct strbuf *dump;
        if ((dump = job_dump(job, "loops", unit, k)) != NULL)
            nest_print(k->nest, dump);
        if (!schedule(job, unit, k, err))
            return false;
        if (job->verify_ir && !nest_verify(k->nest, err))
            return false;
        if (!sched_measure(k->nest, &unit->graph.dims, &k->sizes, err))
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

void unit_share(struct job *job, struct unit *unit)
{
    struct map known = {0};
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        struct kernel *k = &unit->kernels[i];
        uint64_t hash;
        uint32_t cursor = 0;
        bool shared = false;
        nest_digest(k->nest, k->digest);
        memcpy(&hash, k->digest, sizeof hash);
        while (!shared && map_next(&known, hash, &cursor, &k->code))
            shared = memcmp(unit->codes.items[k->code]->digest, k->digest, sizeof k->digest) == 0;
        if (shared)
            continue;
        k->code = unit->codes.count;
        VEC_PUSH(job->arena, &unit->codes, k);
        map_add(&known, job->arena, hash, k->code);
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
