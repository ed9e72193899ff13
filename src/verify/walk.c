/* Runs a plan, launch by launch, in fenced memory.
 *
 * Every buffer has protected pages around it and can be read only after the launch that writes it.
 * A launch runs twice (run.c); then its results are compared with the reference.
 *
 * Parameters and what is prepared are the same at every size, so they stay open; but of parameters,
 * and of what is prepared from nothing else, only so many, since each is a mapping of its own, of
 * which a process may have some ten thousands, and a copy. Beyond that they are closed, and placed
 * or prepared again when a launch asks for them. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "base/board.h"
#include "base/error.h"
#include "verify/walk_priv.h"

/* Limit on the cost of a launch's whole reference, at the first size. */
#define CLOSE_COST 8e6

#define THOROUGH_COST 1.5e8
#define DRAWN_MOST 192 /* drawn elements of a result */
#define DRAWN_ELEMENTS 400000
#define DRAWN_FEW 64 /* at expensive sizes, where only references below DRAWN_COST are whole */
#define DRAWN_FEWEST 8
#define DRAWN_COST 1e5
/* Operations of a launch, above which a share runs: about a second with short vectors. */
#define SHARE_WORK 1e10
#define SHARE_WORK_THOROUGH 1e12
#define SHARE_ALONE 20 /* on test arguments the limit is this many times lower */
/* Parameters and prepared buffers that stay open. */
#define KEPT_MOST 8192

static bool map_code(struct walk *walk, struct error *err)
{
    const struct package_target *target = walk->target->target;
    size_t size = target->code_bytes;
    if (size == 0)
        return true;
    walk->code = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (walk->code == MAP_FAILED) {
        walk->code = NULL;
        return fail(err, ERR_NOMEM, "no memory for code");
    }
    memcpy(walk->code, target->code, size);
    return mprotect(walk->code, size, PROT_READ | PROT_EXEC) == 0 ||
           fail(err, ERR_IO, "code cannot be made executable");
}

bool walk_place(struct walk *walk, struct fenced *out, const void *data, size_t bytes,
                struct error *err)
{
    if (!fenced_place(out, &walk->pool, bytes, FENCE_END, 0, err))
        return false;
    if (bytes > 0)
        memcpy(out->data, data, bytes);
    return fenced_seal(out, err);
}

static void note_maker(struct walk *walk, uint32_t index)
{
    const struct plan *plan = &walk->target->target->plan;
    const struct plan_launch *launch = &plan->prepare.items[index];
    bool from_params = true;
    for (uint32_t i = 0; i < launch->arg_count; i++)
        from_params &=
            launch_writes(launch, i) || plan->buffers.items[launch->args[i]].kind == BUFFER_PARAM;
    for (uint32_t i = 0; from_params && i < launch->arg_count; i++)
        if (launch_writes(launch, i))
            walk->made_by[launch->args[i]] = index + 1;
}

struct walk *walk_open(const struct target_case *target, uint32_t threads, bool thorough,
                       struct kernel_result *results, char *stage, struct error *err)
{
    const struct plan *plan = &target->target->plan;
    struct arena *arena = plan->arena;
    struct walk *walk = ARENA_NEW(arena, struct walk);
    *walk = (struct walk){
        .target = target,
        .usual = {thorough ? THOROUGH_COST : JUDGE_COST, DRAWN_MOST, threads, DRAWN_ELEMENTS,
                  POINT_ELEMENTS},
        .closely = {thorough ? THOROUGH_COST : CLOSE_COST, DRAWN_MOST, threads, DRAWN_ELEMENTS,
                    POINT_ELEMENTS},
        .drawn = {DRAWN_COST, DRAWN_FEW, threads, DRAWN_ELEMENTS / 4, POINT_ELEMENTS, true},
        .glance = {DRAWN_COST, DRAWN_FEWEST, threads, DRAWN_ELEMENTS / 4, POINT_ELEMENTS, true},
        .far = {0, DRAWN_FEWEST / 2, threads, DRAWN_ELEMENTS / 4, DRAWN_ELEMENTS / 4, true,
                FAR_POINTS},
        .alone = {JUDGE_COST, DRAWN_MOST / 4, threads, DRAWN_ELEMENTS, POINT_ELEMENTS},
        .judging = JUDGE_USUAL,
        .share_work = thorough ? SHARE_WORK_THOROUGH : SHARE_WORK,
        .results = results,
        .stage = stage};
    walk->buffers = ARENA_ARRAY(arena, struct fenced, plan->buffers.count);
    walk->judged = ARENA_ARRAY(arena, bool, target->count);
    walk->made_by = ARENA_ARRAY(arena, uint32_t, plan->buffers.count);
    for (uint32_t i = 0; i < plan->prepare.count; i++)
        note_maker(walk, i);
    if (map_code(walk, err))
        return walk;
    walk_close(walk);
    return NULL;
}

void walk_close(struct walk *walk)
{
    if (!walk)
        return;
    for (uint32_t i = 0; i < walk->target->target->plan.buffers.count; i++)
        fenced_close(&walk->buffers[i]);
    fence_pool_release(&walk->pool);
    far_blocks_close(&walk->blocks);
    if (walk->code)
        munmap(walk->code, walk->target->target->code_bytes);
}

/* The kernel that the launch runs at these sizes. */
static urza_kernel_fn *kernel_of(const struct walk *walk, const struct launch_case *c,
                                 const int64_t *dims)
{
    const struct package_target *target = walk->target->target;
    uint32_t kernel = plan_code_at(&target->plan, c->launch, dims)->kernel;
    return (urza_kernel_fn *)((uintptr_t)walk->code + target->kernel_offsets[kernel]);
}

struct run walk_run_of(struct walk *walk, const struct launch_case *c, const int64_t *dims)
{
    return (struct run){
        .pool = &walk->pool, .kernel = kernel_of(walk, c, dims), .share_work = walk->share_work};
}

/* A launch, with the schedule of the kernel that it runs at these sizes. */
static struct launch_case case_at(const struct walk *walk, uint32_t index, const int64_t *dims)
{
    const struct package_target *target = walk->target->target;
    struct launch_case c = walk->target->launches[index];
    const struct plan_code *code = plan_code_at(&target->plan, c.launch, dims);
    if (code != &c.launch->code)
        c.config = target->kernel_configs[code->kernel];
    return c;
}

/* Adds a verdict to the results of a launch. */
static void note_verdict(struct walk *walk, uint32_t index, const struct verdict *verdict,
                         struct outcome *outcome)
{
    struct kernel_result *result = &walk->results[index];
    result->ratio = fmax(result->ratio, verdict->ratio);
    walk->elements += verdict->elements;
    walk->checked += verdict->checked;
    result->elements += verdict->elements;
    result->checked += verdict->checked;
    result->samples++;
    outcome->figure = fmax(outcome->figure, verdict->ratio);
}

static bool judge(struct walk *walk, uint32_t index, const struct run *run, enum fill fill,
                  struct arena *arena, struct outcome *outcome)
{
    const struct launch_case own = case_at(walk, index, run->dims), *c = &own;
    struct kernel_result *result = &walk->results[index];
    struct verdict verdict = {0};
    void **reads = ARENA_ARRAY(arena, void *, c->graph->inputs.count + 1);
    void **writes = ARENA_ARRAY(arena, void *, c->graph->outputs.count);
    for (uint32_t i = 0; i < c->graph->inputs.count; i++)
        reads[i] = run->pointers[c->reads[i]];
    for (uint32_t i = 0; i < c->graph->outputs.count; i++)
        writes[i] = run->results[i].data;
    const struct care *const cares[] = {[JUDGE_GLANCE] = &walk->glance,
                                        [JUDGE_DRAWN] = &walk->drawn,
                                        [JUDGE_USUAL] = &walk->usual,
                                        [JUDGE_CLOSELY] = &walk->closely};
    const struct care *care = fill == FILL_NORMAL ? cares[walk->judging] : &walk->alone;
    const struct launch_memory memory = {run->dims, reads, writes, run->written};
    bool ok = judge_launch(c, &memory, care, &verdict, outcome);
    note_verdict(walk, index, &verdict, outcome);
    if (fill == FILL_NORMAL)
        result->not_checked = fmax(result->not_checked, verdict.not_checked);
    if (fill == FILL_NORMAL || fill == FILL_EXACT || fill == FILL_SMALL) {
        double least = result->tried ? result->least : INFINITY;
        double floats_least = result->tried ? result->floats_least : INFINITY;
        result->least = fmin(least, verdict.not_checked);
        result->floats_least = fmin(floats_least, verdict.floats_not_checked);
        result->tried = true;
    }
    return ok;
}

/* Whether an equal launch was judged at this size already; if not, notes that this one is. */
static bool is_judged(struct walk *walk, uint32_t index)
{
    bool *judged = &walk->judged[walk->target->launches[index].first], was = *judged;
    *judged = true;
    return was;
}

void walk_name_stage(const struct walk *walk, uint32_t index)
{
    char *stage = walk->stage;
    const struct launch_case *c = &walk->target->launches[index];
    board_put(walk->target->board, BOARD_VERIFY, index + 1, walk->target->count);
    size_t used = strcspn(stage, ":");
    uint32_t number = c->prepare ? index : index - walk->target->prepare_count;
    snprintf(stage + used, STAGE_BYTES - used, ": %s launch %u (%.100s)",
             c->prepare ? "prepare" : "forward", number, c->launch->label);
}

static bool can_reopen(const struct walk *walk, uint32_t buffer)
{
    return walk->made_by[buffer] > 0 ||
           walk->target->target->plan.buffers.items[buffer].kind == BUFFER_PARAM;
}

static void keep(struct walk *walk, uint32_t buffer)
{
    VEC_PUSH(walk->target->target->plan.arena, &walk->kept, buffer);
    walk->kept_bytes += walk->buffers[buffer].data_bytes;
}

void walk_close_kept(struct walk *walk)
{
    if (walk->kept.count <= KEPT_MOST && walk->kept_bytes <= WALK_KEPT_BYTES)
        return;
    for (uint32_t i = 0; i < walk->kept.count; i++)
        fenced_close(&walk->buffers[walk->kept.items[i]]);
    walk->kept.count = 0;
    walk->kept_bytes = 0;
}

/* Opens a buffer that can be had again. What is prepared again needs parameters only, so this and
 * run_launch call each other no deeper than twice. */
bool walk_open_buffer(struct walk *walk, uint32_t id, const int64_t *dims, struct arena *arena,
                      struct outcome *outcome)
{
    const struct plan_buffer *buffer = &walk->target->target->plan.buffers.items[id];
    const struct package_param *param = &walk->target->contents->params[buffer->index];
    struct error err;
    if (walk->buffers[id].map || !can_reopen(walk, id))
        return true;
    if (buffer->kind == BUFFER_PREPARED)
        return walk_launch(walk, walk->made_by[id] - 1, dims, true, arena, outcome);
    if (!walk_place(walk, &walk->buffers[id], param->data, param->data_bytes, &err))
        return outcome_error(outcome, &err);
    keep(walk, id);
    return true;
}

bool walk_open_arguments(struct walk *walk, const struct launch_case *c, const int64_t *dims,
                         struct arena *arena, struct outcome *outcome)
{
    for (uint32_t i = 0; i < c->launch->arg_count; i++)
        if (!launch_writes(c->launch, i) &&
            !walk_open_buffer(walk, c->launch->args[i], dims, arena, outcome))
            return false;
    return true;
}

bool walk_launch(struct walk *walk, uint32_t index, const int64_t *dims, bool again,
                 struct arena *arena, struct outcome *outcome)
{
    const struct launch_case *c = &walk->target->launches[index];
    if (!walk_open_arguments(walk, c, dims, arena, outcome))
        return false;
    walk_name_stage(walk, index);
    struct run run = walk_run_of(walk, c, dims);
    if (!run_begin(&run, &walk->target->target->plan, c, dims, arena, outcome))
        return false;
    for (uint32_t i = 0; i < c->launch->arg_count; i++)
        run.pointers[i] = walk->buffers[c->launch->args[i]].data;
    bool ok = run_twice(&run, arena, outcome);
    walk->partial |= run.share < run.extent;
    ok = ok &&
         (again || is_judged(walk, index) || judge(walk, index, &run, FILL_NORMAL, arena, outcome));
    for (uint32_t i = 0; i < c->graph->outputs.count; i++) {
        uint32_t id = c->launch->args[c->writes[i]];
        fenced_close(&walk->buffers[id]);
        walk->buffers[id] = run.results[i];
        if (can_reopen(walk, id))
            keep(walk, id);
    }
    return ok;
}

/* Closes temporaries after the last launch that reads or writes them: it has them as arguments. */
static void drop_dead(struct walk *walk, uint32_t forward)
{
    const struct plan *plan = &walk->target->target->plan;
    const struct plan_launch *launch = &plan->forward.items[forward];
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[launch->args[i]];
        if (buffer->kind == BUFFER_TEMP && buffer->last_launch == forward)
            fenced_close(&walk->buffers[launch->args[i]]);
    }
}

static bool place_inputs(struct walk *walk, const struct sample *sample, struct outcome *outcome)
{
    const struct plan *plan = &walk->target->target->plan;
    struct error err;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->kind != BUFFER_INPUT)
            continue;
        const struct tensor *input = &sample->inputs[buffer->index];
        fenced_close(&walk->buffers[i]);
        if (!walk_place(walk, &walk->buffers[i], input->data, input->bytes, &err))
            return outcome_error(outcome, &err);
    }
    return true;
}

static void take_outputs(const struct walk *walk, const struct sample *sample, struct arena *arena,
                         void ***outputs)
{
    const struct plan *plan = &walk->target->target->plan;
    void **all = ARENA_ARRAY(arena, void *, sample->output_count + 1);
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->kind != BUFFER_OUTPUT)
            continue;
        size_t bytes = sample->outputs[buffer->index].bytes;
        all[buffer->index] = arena_raw(arena, bytes, 64);
        if (bytes > 0)
            memcpy(all[buffer->index], walk->buffers[i].data, bytes);
    }
    *outputs = all;
}

/* Runs launches one behind the other; `from` counts prepare launches, too. */
static bool walk_range(struct walk *walk, uint32_t from, uint32_t to, const int64_t *dims,
                       struct arena *arena, struct outcome *outcome)
{
    uint32_t prepare = walk->target->prepare_count;
    for (uint32_t i = from; i < to; i++) {
        if (!walk_launch(walk, i, dims, false, arena, outcome))
            return false;
        walk_close_kept(walk);
        if (i >= prepare)
            drop_dead(walk, i - prepare);
    }
    return true;
}

bool walk_run(struct walk *walk, const struct sample *sample, enum judging judging,
              struct arena *arena, void ***outputs, struct outcome *outcome)
{
    const struct target_case *t = walk->target;
    const struct plan *plan = &t->target->plan;
    uint32_t next = walk->prepared ? t->prepare_count : 0;
    memset(walk->judged, 0, t->count * sizeof *walk->judged);
    walk->judging = judging;
    walk->partial = false;
    walk->elements = walk->checked = 0;
    if (!place_inputs(walk, sample, outcome))
        return false;
    for (uint32_t i = 0; i < plan->loops.count; i++) {
        const struct plan_loop *loop = &plan->loops.items[i];
        if (!walk_range(walk, next, t->prepare_count + loop->first, sample->dims, arena, outcome) ||
            !walk_loop(walk, loop, sample->dims, arena, outcome))
            return false;
        next = t->prepare_count + loop->first + loop->count;
    }
    if (!walk_range(walk, next, t->count, sample->dims, arena, outcome))
        return false;
    walk->prepared = true;
    take_outputs(walk, sample, arena, outputs);
    return true;
}

void walk_note(const struct walk *walk, struct size_result *out)
{
    out->elements = walk->elements;
    out->checked = walk->checked;
    out->partial = walk->partial;
}

static int64_t last_dim(const struct graph *g, value_id value, const int64_t *dims)
{
    const struct node *node = graph_node(g, value);
    int64_t dim = 0;
    return node->rank > 0 && dim_eval(&g->dims, node->shape[node->rank - 1], dims, &dim) ? dim : 0;
}

static bool has_exponentials(const struct graph *g)
{
    for (value_id v = 1; v < g->nodes.count; v++)
        if (graph_node(g, v)->prim == PRIM_EXP || graph_node(g, v)->prim == PRIM_EXP2)
            return true;
    return false;
}

/* Runs one launch on test arguments. */
static bool alone(struct walk *walk, uint32_t index, const int64_t *dims, enum fill fill,
                  uint64_t seed, struct outcome *outcome)
{
    const struct launch_case *c = &walk->target->launches[index];
    const struct graph *g = c->graph;
    struct arena arena;
    arena_init(&arena);
    struct fenced *reads = ARENA_ARRAY(&arena, struct fenced, g->inputs.count + 1);
    int64_t *extents = index_extents(g, dims, &arena);
    struct error err;
    struct run run = walk_run_of(walk, c, dims);
    run.share_work /= SHARE_ALONE;
    bool ok = run_begin(&run, &walk->target->target->plan, c, dims, &arena, outcome);
    bool skips = may_skip_keys(g, &arena);
    struct peaks peaks = {.terms = graph_terms(g, dims)};
    peaks.high = has_exponentials(g) ? 4 : 8;
    peaks.low = has_exponentials(g) ? -8 : 0;
    if (fill == FILL_SPECIAL && skips)
        fill = FILL_FINITE;
    for (uint32_t i = 0; ok && i < g->inputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->inputs.items[i])->dtype;
        size_t bytes = 0, offset = (i % 4) * dtype_bytes(dtype);
        if (!value_bytes(g, g->inputs.items[i], dims, &bytes)) {
            ok = outcome_fail(outcome, "an argument has no size");
            continue;
        }
        if (!fenced_place(&reads[i], &walk->pool, bytes, i % 2 ? FENCE_END : FENCE_START, offset,
                          &err)) {
            ok = outcome_error(outcome, &err);
            continue;
        }
        random_fill(dtype, (int64_t)(bytes / dtype_bytes(dtype)), seed + i, fill, extents[i],
                    reads[i].data);
        if (fill == FILL_PEAKS && dtype_is_float(dtype)) {
            peaks.row = last_dim(g, g->inputs.items[i], dims);
            peaks_fill(dtype, (int64_t)(bytes / dtype_bytes(dtype)), &peaks, seed + i,
                       reads[i].data);
        }
        if (fill == FILL_WIDE && !skips)
            special_rows(dtype, (int64_t)(bytes / dtype_bytes(dtype)),
                         last_dim(g, g->inputs.items[i], dims), seed + i, reads[i].data);
        ok = fenced_seal(&reads[i], &err);
        for (uint32_t a = 0; a < c->launch->arg_count; a++)
            if (c->launch->args[a] == c->launch->args[c->reads[i]])
                run.pointers[a] = reads[i].data;
    }
    ok = ok && run_twice(&run, &arena, outcome) && judge(walk, index, &run, fill, &arena, outcome);
    for (uint32_t i = 0; i < g->inputs.count; i++)
        fenced_close(&reads[i]);
    for (uint32_t i = 0; i < g->outputs.count; i++)
        fenced_close(&run.results[i]);
    arena_release(&arena);
    return ok;
}

static bool multiplies(const struct graph *g)
{
    for (value_id v = 1; v < g->nodes.count; v++)
        if (graph_node(g, v)->prim == PRIM_CONTRACT || graph_node(g, v)->prim == PRIM_CONV)
            return true;
    return false;
}

/* Whether exact arguments (a few different values) test more than others: for sums, whose bound is
 * then 0, and for prims that jump or compare, which then meet ties. */
static bool exact_says_more(const struct graph *g)
{
    for (value_id v = 1; v < g->nodes.count; v++) {
        enum prim prim = (enum prim)graph_node(g, v)->prim;
        switch (prim) {
        case PRIM_CAST:
        case PRIM_REDUCE_SUM:
        case PRIM_REDUCE_MAX:
        case PRIM_REDUCE_MIN:
        case PRIM_CUM_SUM:
        case PRIM_CONTRACT:
        case PRIM_CONV:
        case PRIM_WINDOW_SUM:
        case PRIM_SCATTER: return true;
        default:
            if (prim_jumps(prim))
                return true;
        }
    }
    return false;
}

/* Whether a launch needs test arguments of this kind. The network's values may overflow nearly
 * everywhere, and so may exact ones if they are multiplied by a large factor. */
static bool alone_says_more(const struct walk *walk, uint32_t index, const int64_t *dims,
                            enum fill fill, bool one_fill)
{
    const struct graph *g = walk->target->launches[index].graph;
    const struct kernel_result *r = &walk->results[index];
    if (fill == FILL_PEAKS)
        return graph_terms(g, dims) > 0 && !(one_fill && multiplies(g));
    if (fill == FILL_SMALL)
        return r->floats_least > UNCHECKED_MOST;
    if (fill == FILL_EXACT && r->least > UNCHECKED_MOST)
        return true;
    return !(one_fill && multiplies(g) != (fill == FILL_EXACT)) &&
           (fill != FILL_EXACT || exact_says_more(g));
}

bool walk_alone(struct walk *walk, const int64_t *dims, enum fill fill, bool one_fill,
                uint64_t seed, struct outcome *outcome)
{
    memset(walk->judged, 0, walk->target->count * sizeof *walk->judged);
    for (uint32_t i = 0; i < walk->target->count; i++) {
        if (is_judged(walk, i) || !alone_says_more(walk, i, dims, fill, one_fill))
            continue;
        walk_name_stage(walk, i);
        if (!alone(walk, i, dims, fill, seed + i * 64, outcome))
            return false;
    }
    return true;
}

bool walk_far(struct walk *walk, const int64_t *dims, uint64_t seed, struct outcome *outcome)
{
    const struct target_case *t = walk->target;
    memset(walk->judged, 0, t->count * sizeof *walk->judged);
    walk->elements = walk->checked = 0;
    walk->partial = true;
    for (uint32_t i = t->prepare_count; i < t->count; i++) {
        const struct launch_case c = case_at(walk, i, dims);
        struct verdict verdict;
        if (is_judged(walk, i))
            continue;
        walk_name_stage(walk, i);
        const struct far_request request = {.launch = &c,
                                            .plan = &t->target->plan,
                                            .kernel = kernel_of(walk, &c, dims),
                                            .dims = dims,
                                            .seed = seed + i * 64,
                                            .blocks = &walk->blocks,
                                            .care = &walk->far};
        bool ok = far_launch(&request, &verdict, outcome);
        note_verdict(walk, i, &verdict, outcome);
        if (!ok)
            return false;
    }
    return true;
}
