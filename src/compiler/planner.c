/* The plan of one target: which launches, in which order, over which buffers. */
#include "compiler/compile_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "compiler/target/target.h"

/* For making a plan: its buffers, by the value whose memory they are. */
struct planning {
    struct job *job;
    struct unit *unit;
    struct package_target *out;
    uint32_t *buffer_of;       /* by value: index + 1 */
    struct plan_buffer *named; /* by value: kind and index of inputs, parameters, outputs and what
                                  prepare writes; BUFFER_TEMP otherwise */
    struct node_finder nodes;
    struct error *err;
};

static dim_id to_package(struct planning *p, dim_id dim)
{
    return dim_import(&p->job->contents.graph.dims, &p->unit->graph.dims, dim);
}

/* Later ones count where a value is several: an output above all. */
static void find_named(struct planning *p)
{
    const struct graph *g = &p->unit->graph;
    p->named = ARENA_ARRAY(p->job->arena, struct plan_buffer, g->nodes.count);
    for (value_id v = 0; v < g->nodes.count; v++)
        p->named[v].kind = BUFFER_TEMP;
    for (uint32_t i = 0; i < g->inputs.count; i++)
        p->named[g->inputs.items[i]] = (struct plan_buffer){.kind = BUFFER_INPUT, .index = i};
    for (uint32_t i = 0; i < g->params.count; i++)
        p->named[g->params.items[i]] = (struct plan_buffer){.kind = BUFFER_PARAM, .index = i};
    for (uint32_t i = 0; i < p->unit->kernel_count; i++)
        if (p->unit->kernels[i].group->prepare)
            p->named[p->unit->kernels[i].group->root].kind = BUFFER_PREPARED;
    for (uint32_t i = 0; i < g->outputs.count; i++)
        p->named[g->outputs.items[i].value] =
            (struct plan_buffer){.kind = BUFFER_OUTPUT, .index = i};
}

static bool describe_buffer(struct planning *p, value_id value, struct plan_buffer *out)
{
    *out = p->named[value];
    out->dtype = graph_node(&p->unit->graph, value)->dtype;
    out->value = value;
    out->elements = to_package(p, graph_elements(&p->unit->graph, value));
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

/* The edges that are representable in the package's dims; a size that overflows cannot be tried. */
static void plan_edges(struct planning *p, const struct dim_table *dims,
                       const struct sched_sizes *sizes, struct plan_code *out)
{
    struct plan_edge *edges = ARENA_ARRAY(p->job->arena, struct plan_edge, sizes->edge_count);
    for (uint32_t i = 0; i < sizes->edge_count; i++) {
        dim_id size = dim_import(&p->job->contents.graph.dims, dims, sizes->edges[i].size);
        if (size != DIM_NONE)
            edges[out->edge_count++] = (struct plan_edge){size, sizes->edges[i].at};
    }
    out->edges = edges;
}

/* dims: those of the kernel's sizes. */
static bool plan_code(struct planning *p, const struct dim_table *dims, const struct kernel *k,
                      struct plan_code *out)
{
    struct dim_table *to = &p->job->contents.graph.dims;
    *out = (struct plan_code){.kernel = k->code,
                              .extent = dim_import(to, dims, k->sizes.extent),
                              .work = dim_import(to, dims, k->sizes.work),
                              .scratch_bytes = dim_import(to, dims, k->sizes.scratch_bytes)};
    if (out->extent == DIM_NONE || out->work == DIM_NONE || out->scratch_bytes == DIM_NONE)
        return fail(p->err, ERR_LIMIT, "kernel '%s': its sizes cannot be expressed",
                    k->group->label);
    plan_edges(p, dims, &k->sizes, out);
    return true;
}

static bool plan_variants(struct planning *p, uint32_t kernel, struct plan_launch *launch)
{
    uint32_t count = p->job->specials.count;
    struct plan_variant *variants = ARENA_ARRAY(p->job->arena, struct plan_variant, count);
    for (uint32_t s = 0; s < count; s++) {
        const struct special *special = &p->unit->specials[s];
        struct plan_variant *variant = &variants[launch->variant_count];
        if (!special->kernels[kernel].nest)
            continue;
        variant->special = s;
        if (!plan_code(p, &special->graph.dims, &special->kernels[kernel], &variant->code))
            return false;
        launch->variant_count++;
    }
    launch->variants = variants;
    return true;
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
    struct plan_launch launch = {.arg_count = count,
                                 .args = args,
                                 .written = written,
                                 .asked = to_package(p, k->asked),
                                 .done = to_package(p, k->done),
                                 .label = arena_strdup(p->job->arena, k->group->label)};
    if (!plan_code(p, &p->unit->graph.dims, k, &launch.code) || !plan_variants(p, kernel, &launch))
        return false;
    if (launch.asked == DIM_NONE || launch.done == DIM_NONE) /* not representable: an estimate */
        launch.asked = launch.done = launch.code.work;
    nodes_find(&p->nodes, k->group, &launch);
    if (k->group->prepare)
        VEC_PUSH(p->job->arena, &p->out->plan.prepare, launch);
    else
        VEC_PUSH(p->job->arena, &p->out->plan.forward, launch);
    return true;
}

/* Where a kernel stands among the others: those of a loop's body together, where the loop's first
 * result stands among the values. */
struct turn {
    value_id at, root;
    uint32_t kernel;
};

static int by_turn(const void *a, const void *b)
{
    const struct turn *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : (x->root > y->root) - (x->root < y->root);
}

/* The buffer of a loop's value, or of a result that may be missing. */
static bool loop_buffer(struct planning *p, value_id value, uint32_t *out)
{
    *out = PLAN_NONE;
    return value == VALUE_NONE || buffer_for(p, p->unit->partition.values[value].memory, out);
}

/* Whether a loop may be run in slices; kernels: of its launches. */
static void slice_loop(struct planning *p, const struct graph_loop *loop, const uint32_t *kernels,
                       struct plan_loop *out)
{
    bool *sliced = ARENA_ARRAY(p->job->arena, bool, out->count + 1);
    dim_id slices = plan_find_slices(p->job, p->unit, loop, kernels, out->count, sliced);
    out->slices = slices == DIM_NONE ? DIM_NONE : to_package(p, slices);
    for (uint32_t i = 0; out->slices != DIM_NONE && i < out->count; i++)
        p->out->plan.forward.items[out->first + i].sliced = sliced[i];
}

/* A loop whose kernels were planned last, from launch `first` on. */
static bool plan_loop(struct planning *p, const struct graph_loop *loop, const uint32_t *kernels,
                      uint32_t first)
{
    struct plan_state *states = ARENA_ARRAY(p->job->arena, struct plan_state, loop->states);
    struct plan_row *rows = ARENA_ARRAY(p->job->arena, struct plan_row, loop->rows);
    struct plan_loop out = {.first = first,
                            .count = p->out->plan.forward.count - first,
                            .trips = to_package(p, loop->trips),
                            .states = states,
                            .rows = rows,
                            .condition = loop->condition,
                            .state_count = loop->states};
    if (!loop_buffer(p, loop->iter, &out.iter))
        return false;
    for (uint32_t i = 0; i < loop->states; i++) {
        value_id init = graph_node(&p->unit->graph, loop->state[i])->operands[0];
        if (!loop_buffer(p, init, &states[i].from) ||
            !loop_buffer(p, loop->state[i], &states[i].state) ||
            !loop_buffer(p, loop->next[i], &states[i].next) ||
            !loop_buffer(p, loop->results[i], &states[i].result))
            return false;
    }
    for (uint32_t i = 0; i < loop->rows; i++) {
        struct plan_row *row = &rows[out.row_count];
        if (loop->results[loop->states + i] == VALUE_NONE)
            continue;
        if (!loop_buffer(p, loop->row[i], &row->row) ||
            !loop_buffer(p, loop->results[loop->states + i], &row->result))
            return false;
        out.row_count++;
    }
    if (out.count == 0 || out.trips == DIM_NONE)
        return fail(p->err, ERR_UNSUPPORTED, "a loop whose trips compute nothing");
    slice_loop(p, loop, kernels, &out);
    VEC_PUSH(p->job->arena, &p->out->plan.loops, out);
    return true;
}

/* The kernels of one entry, in order, and those that are planned. */
struct queue {
    struct turn *turns;
    uint32_t count, next;
};

/* Plans the kernels that stand before a value. */
static bool plan_before(struct planning *p, struct queue *queue, value_id value)
{
    for (; queue->next < queue->count && queue->turns[queue->next].at < value; queue->next++)
        if (!plan_kernel(p, queue->turns[queue->next].kernel))
            return false;
    return true;
}

/* Plans the kernels whose values are needed for the first outputs, or all others. */
static bool plan_part(struct planning *p, const bool *needed, bool of)
{
    const struct unit *unit = p->unit;
    const struct graph_loops *loops = &unit->partition.loops;
    struct queue queue = {ARENA_ARRAY(p->job->arena, struct turn, unit->kernel_count + 1), 0, 0};
    for (uint32_t i = 0; i < unit->kernel_count; i++) {
        value_id root = unit->kernels[i].group->root;
        uint32_t loop = loops->of[root];
        value_id at = loop > 0 ? loops->items.items[loop - 1].first : root;
        if (needed[at] == of)
            queue.turns[queue.count++] = (struct turn){at, root, i};
    }
    if (loops->items.count > 0)
        qsort(queue.turns, queue.count, sizeof *queue.turns, by_turn);
    for (uint32_t i = 0; i < loops->items.count; i++) {
        const struct graph_loop *loop = &loops->items.items[i];
        if (needed[loop->first] != of)
            continue;
        if (!plan_before(p, &queue, loop->first))
            return false;
        uint32_t first = p->out->plan.forward.count, next = queue.next;
        if (!plan_before(p, &queue, loop->first + 1))
            return false;
        uint32_t *kernels = ARENA_ARRAY(p->job->arena, uint32_t, queue.next - next + 1);
        for (uint32_t k = next; k < queue.next; k++)
            kernels[k - next] = queue.turns[k].kernel;
        if (!plan_loop(p, loop, kernels, first))
            return false;
    }
    return plan_before(p, &queue, unit->graph.nodes.count);
}

/* Marks what the first outputs hang on. All nodes of a loop are needed where one of them is. */
static void mark_needed(const struct planning *p, uint32_t outputs, bool *needed)
{
    const struct graph *g = &p->unit->graph;
    const struct graph_loops *loops = &p->unit->partition.loops;
    for (uint32_t i = 0; i < outputs; i++)
        needed[g->outputs.items[i].value] = true;
    for (value_id v = g->nodes.count; v-- > 1;) {
        const struct node *n = graph_node(g, v);
        for (uint32_t i = 0; needed[v] && i < n->operand_count; i++)
            needed[n->operands[i]] = true;
    }
    for (uint32_t i = 0; i < loops->items.count; i++) {
        const struct graph_loop *loop = &loops->items.items[i];
        for (uint32_t k = 0; k < loop->states + loop->rows; k++)
            needed[loop->first] |= loop->results[k] != VALUE_NONE && needed[loop->results[k]];
    }
}

static bool plan_kernels(struct planning *p)
{
    struct plan *plan = &p->out->plan;
    bool *needed = ARENA_ARRAY(p->job->arena, bool, p->unit->graph.nodes.count);
    uint32_t first = p->job->options->first_outputs;
    if (first > 0)
        mark_needed(p, first, needed);
    else /* one entry, which computes what nothing needs, too */
        memset(needed, true, p->unit->graph.nodes.count * sizeof *needed);
    if (!plan_part(p, needed, true))
        return false;
    uint32_t count = plan->forward.count;
    if (!plan_part(p, needed, false))
        return false;
    if (first > 0) {
        const struct plan_entry entries[] = {{"forward_train", 0, count},
                                             {"backward", count, plan->forward.count - count}};
        VEC_PUSH(p->job->arena, &plan->entries, entries[0]);
        VEC_PUSH(p->job->arena, &plan->entries, entries[1]);
    }
    return true;
}

/* Which outputs may be written over the inputs that they update. *out: by buffer, the one that is
 * written over it; PLAN_NONE: none. */
static void plan_updates(struct planning *p, uint32_t *out)
{
    const struct graph *g = &p->unit->graph;
    struct plan *plan = &p->out->plan;
    memset(out, 0xff, plan->buffers.count * sizeof *out);
    for (uint32_t i = 0; i < g->updates.count; i++) {
        value_id input = g->inputs.items[g->updates.items[i].input];
        value_id output = g->outputs.items[g->updates.items[i].output].value;
        uint32_t from = p->buffer_of[input] - 1, to = p->buffer_of[output] - 1;
        bool reads = false, may = plan_may_update(plan, from, to, &reads), proven = !reads;
        for (uint32_t k = 0; k < p->unit->kernel_count; k++)
            proven |= p->unit->kernels[k].group->root == output && p->unit->kernels[k].in_place;
        plan->buffers.items[to].in_place = may && proven;
        if (may && proven && from != PLAN_NONE)
            out[from] = to;
    }
}

/* The order of launches, and which run again. */
static bool plan_memory(struct planning *p)
{
    struct job *job = p->job;
    struct plan *plan = &p->out->plan;
    uint32_t *updated = ARENA_ARRAY(job->arena, uint32_t, plan->buffers.count + 1);
    int64_t budget = plan->entries.count > 1 ? job->options->peak_bytes : 0;
    plan_updates(p, updated);
    plan_lower_peak(plan, p->unit->graph.updates.count > 0 ? updated : NULL, budget, job->arena);
    int64_t peak = budget > 0 ? plan_peak(plan, job->arena) : 0;
    return peak <= budget ||
           fail(p->err, ERR_LIMIT,
                "its temporaries take %lld bytes at typical sizes in the best plan for --memory, "
                "which allows %lld",
                (long long)peak, (long long)budget);
}

/* "contract+add", with its sizes where it is for some only. */
static const char *name_kernel(struct planning *p, const struct kernel *k)
{
    struct strbuf text;
    if (k->special == 0)
        return arena_strdup(p->job->arena, k->group->label);
    strbuf_init(&text, p->job->arena);
    strbuf_printf(&text, "%s at ", k->group->label);
    plan_special_print(&p->out->plan, k->special - 1, &text);
    return text.data;
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
        names[i] = name_kernel(p, unit->codes.items[i]);
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
    find_named(&p);
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
    for (uint32_t i = 0; i < job->specials.count; i++)
        VEC_PUSH(job->arena, &out->plan.specials, job->specials.items[i]);
    if (!plan_kernels(&p))
        return false;
    if (!plan_memory(&p))
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
