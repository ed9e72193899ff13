/* One target's kernels: groups to nests, nests to schedules, all of it to a plan. */
#include "compiler/compile_priv.h"

#include <stdio.h>

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
    struct sched_hint hint = {.once = group->prepare};
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        hint.output |= graph->outputs.items[i].value == group->root;
    return hint;
}

/* Shows the steps of one kernel to an observer. */
struct showing {
    const struct compile_observer *observer;
    struct compile_view view;
};

static void show_step(void *context, struct nest *nest, const struct step *step)
{
    struct showing *showing = context;
    (void)nest; /* is the view's */
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

/* Buffers of the plan by the value whose memory they are. */
struct planning {
    struct job *job;
    struct unit *unit;
    struct package_target *out;
    uint32_t *buffer_of; /* by value: index + 1 */
    struct node_finder nodes;
    struct error *err;
};

static dim_id to_package(struct planning *p, dim_id dim)
{
    return dim_import(&p->job->contents.graph.dims, &p->unit->graph.dims, dim);
}

static bool describe_buffer(struct planning *p, value_id value, struct plan_buffer *out)
{
    const struct graph *g = &p->unit->graph;
    const struct node *n = graph_node(g, value);
    *out = (struct plan_buffer){.kind = BUFFER_TEMP, .dtype = n->dtype, .value = value};
    out->elements = to_package(p, graph_elements(&p->unit->graph, value));
    for (uint32_t i = 0; i < g->inputs.count; i++)
        if (g->inputs.items[i] == value)
            out->kind = BUFFER_INPUT, out->index = i;
    for (uint32_t i = 0; i < g->params.count; i++)
        if (g->params.items[i] == value)
            out->kind = BUFFER_PARAM, out->index = i;
    for (uint32_t i = 0; i < p->unit->kernel_count; i++)
        if (p->unit->kernels[i].group->root == value && p->unit->kernels[i].group->prepare)
            out->kind = BUFFER_PREPARED;
    for (uint32_t i = 0; i < g->outputs.count; i++)
        if (g->outputs.items[i].value == value)
            out->kind = BUFFER_OUTPUT, out->index = i;
    return out->elements != DIM_NONE ||
           fail(p->err, ERR_LIMIT, "a tensor's size cannot be expressed");
}

static bool buffer_for(struct planning *p, value_id value, uint32_t *out)
{
    if (p->buffer_of[value] == 0) {
        struct plan_buffer buffer;
        if (!describe_buffer(p, value, &buffer))
            return false;
        VEC_PUSH(p->job->arena, &p->out->plan.buffers, buffer);
        p->buffer_of[value] = p->out->plan.buffers.count;
    }
    *out = p->buffer_of[value] - 1;
    return true;
}

/* Those that can be said in the package's dims; a size that overflows is none that can be tried. */
static void plan_edges(struct planning *p, const struct sched_sizes *sizes,
                       struct plan_launch *launch)
{
    struct plan_edge *edges = ARENA_ARRAY(p->job->arena, struct plan_edge, sizes->edge_count);
    for (uint32_t i = 0; i < sizes->edge_count; i++) {
        dim_id size = to_package(p, sizes->edges[i].size);
        if (size != DIM_NONE)
            edges[launch->edge_count++] = (struct plan_edge){size, sizes->edges[i].at};
    }
    launch->edges = edges;
}

static bool plan_kernel(struct planning *p, uint32_t kernel)
{
    struct kernel *k = &p->unit->kernels[kernel];
    uint32_t count = k->nest->arguments.count, written = 0;
    uint32_t *args = ARENA_ARRAY(p->job->arena, uint32_t, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct nest_buffer *b = nest_argument(k->nest, i);
        if (!buffer_for(p, b->value, &args[i]))
            return false;
        if (b->role == ROLE_OUT)
            written |= UINT32_C(1) << i;
    }
    struct plan_launch launch = {.kernel = k->code,
                                 .arg_count = count,
                                 .args = args,
                                 .written = written,
                                 .extent = to_package(p, k->sizes.extent),
                                 .work = to_package(p, k->sizes.work),
                                 .scratch_bytes = to_package(p, k->sizes.scratch_bytes),
                                 .asked = to_package(p, k->asked),
                                 .done = to_package(p, k->done),
                                 .label = k->group->label};
    if (launch.asked == DIM_NONE || launch.done == DIM_NONE) /* too many terms: estimated */
        launch.asked = launch.done = launch.work;
    if (launch.extent == DIM_NONE || launch.work == DIM_NONE || launch.scratch_bytes == DIM_NONE)
        return fail(p->err, ERR_LIMIT, "kernel '%s': its sizes cannot be expressed",
                    k->group->label);
    plan_edges(p, &k->sizes, &launch);
    nodes_find(&p->nodes, k->group, &launch);
    if (k->group->prepare)
        VEC_PUSH(p->job->arena, &p->out->plan.prepare, launch);
    else
        VEC_PUSH(p->job->arena, &p->out->plan.forward, launch);
    return true;
}

static void describe_kernels(struct planning *p)
{
    struct unit *unit = p->unit;
    const char **names = ARENA_ARRAY(p->job->arena, const char *, unit->codes.count + 1);
    const char **configs = ARENA_ARRAY(p->job->arena, const char *, unit->codes.count + 1);
    for (uint32_t i = 0; i < unit->codes.count; i++) {
        struct strbuf text;
        strbuf_init(&text, p->job->arena);
        sched_print(&unit->codes.items[i]->schedule, &text);
        names[i] = unit->codes.items[i]->group->label;
        configs[i] = text.data;
    }
    p->out->kernel_names = names;
    p->out->kernel_configs = configs;
}

bool unit_plan(struct job *job, struct unit *unit, struct error *err)
{
    if (job->contents.target_count == PACKAGE_TARGETS)
        return fail(err, ERR_LIMIT, "more than %d targets in one package", PACKAGE_TARGETS);
    struct package_target *out = &job->contents.targets[job->contents.target_count];
    struct planning p = {.job = job,
                         .unit = unit,
                         .out = out,
                         .err = err,
                         .buffer_of = ARENA_ARRAY(job->arena, uint32_t, unit->graph.nodes.count)};
    nodes_init(&p.nodes, unit, job->arena);
    *out = (struct package_target){.name = unit->target->name,
                                   .code = unit->image.bytes,
                                   .code_bytes = unit->image.size_bytes,
                                   .kernel_count = unit->codes.count,
                                   .kernel_offsets = unit->image.kernel_offsets};
    struct strbuf optimised;
    strbuf_init(&optimised, job->arena);
    graph_print(&unit->graph, &optimised);
    out->optimised = optimised.data;
    out->optimised_bytes = optimised.size_bytes;
    out->plan = (struct plan){
        .arena = job->arena, .dims = &job->contents.graph.dims, .kernel_count = unit->codes.count};
    for (uint32_t i = 0; i < unit->kernel_count; i++)
        if (!plan_kernel(&p, i))
            return false;
    plan_finish(&out->plan);
    describe_kernels(&p);
    struct strbuf *dump = job_dump(job, "plan", unit, NULL);
    if (dump)
        plan_describe(&out->plan, dump);
    job->contents.target_count++;
    job->result.kernels = unit->codes.count;
    return true;
}
