/* A plan, launch by launch, in memory that tells.
 *
 * Every buffer lies alone between protected pages and can only be read once its launch has written
 * it. A launch runs twice: whole, and cut into chunks that run from the last to the first. The
 * second time its results lie elsewhere, aligned otherwise, and what they and the scratch memory
 * held before is something else. Whatever was not written, read from scratch memory before it was
 * written there, written by a chunk that it does not belong to, or depends on where one chunk ends,
 * shows as a difference between the two. So every element is known to have been written by the
 * launch, whichever elements are then compared with the reference. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/verify_priv.h"

/* What the whole reference of a launch may cost. */
#define CLOSE_COST 3e7
#define THOROUGH_COST 1.5e8
#define DRAWN_MOST 512 /* elements of a result */
#define CHUNKS_MOST 8
#define SCRATCH_ALIGN 64

struct walk {
    const struct target_case *target;
    struct care usual, closely, apart; /* on what a network makes; on arguments of its own */
    struct kernel_result *results;     /* by launch */
    void *code;
    struct fenced *buffers; /* by buffer of the plan; closed: holds nothing now */
    bool *judged;           /* by launch: at this size */
    struct fence_pool pool;
    bool prepared;
    enum judging judging; /* at this size */
};

/* What memory holds before it is written: a signalling NaN in every float dtype, of another
 * payload in each run; no bool and no likely integer. */
static void fill_before(enum dtype dtype, void *data, size_t bytes, int run)
{
    static const uint64_t doubles[] = {0x7ff4a5a512345678u, 0xfff35a5a87654321u};
    static const uint32_t singles[] = {0x7fa5a123u, 0xffb35a45u};
    static const uint16_t halves[] = {0x7d2au, 0xfd93u}, brains[] = {0x7fa5u, 0xffb3u};
    const void *pattern = doubles + run;
    uint8_t block[256];
    size_t step = dtype_bytes(dtype);
    switch (dtype) {
    case DTYPE_F64: break;
    case DTYPE_F32: pattern = singles + run; break;
    case DTYPE_F16: pattern = halves + run; break;
    case DTYPE_BF16: pattern = brains + run; break;
    default: memset(data, run ? 0x5a : FENCED_FILL, bytes); return;
    }
    for (size_t i = 0; i < sizeof block; i += step)
        memcpy(block + i, pattern, step);
    for (size_t i = 0; i < bytes; i += sizeof block)
        memcpy((uint8_t *)data + i, block, bytes - i < sizeof block ? bytes - i : sizeof block);
}

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

static bool place(struct walk *walk, struct fenced *out, const void *data, size_t bytes,
                  struct error *err)
{
    if (!fenced_place(out, &walk->pool, bytes, FENCE_END, 0, err))
        return false;
    if (bytes > 0)
        memcpy(out->data, data, bytes);
    return fenced_seal(out, err);
}

struct walk *walk_open(const struct target_case *target, uint32_t threads, bool thorough,
                       struct kernel_result *results, struct error *err)
{
    const struct plan *plan = &target->target->plan;
    struct arena *arena = plan->arena;
    struct walk *walk = ARENA_NEW(arena, struct walk);
    *walk = (struct walk){.target = target,
                          .usual = {thorough ? THOROUGH_COST : JUDGE_COST, DRAWN_MOST, threads},
                          .closely = {thorough ? THOROUGH_COST : CLOSE_COST, DRAWN_MOST, threads},
                          .apart = {JUDGE_COST, DRAWN_MOST / 8, threads},
                          .results = results};
    walk->buffers = ARENA_ARRAY(arena, struct fenced, plan->buffers.count);
    walk->judged = ARENA_ARRAY(arena, bool, target->count);
    bool ok = map_code(walk, err);
    for (uint32_t i = 0; ok && i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        const struct package_param *param = &target->contents->params[buffer->index];
        if (buffer->kind == BUFFER_PARAM)
            ok = place(walk, &walk->buffers[i], param->data, param->data_bytes, err);
    }
    if (ok)
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
    if (walk->code)
        munmap(walk->code, walk->target->target->code_bytes);
}

/* One launch at one size, with memory for what it writes. */
struct run {
    const struct launch_case *launch;
    struct fence_pool *pool;
    urza_kernel_fn *kernel;
    const int64_t *dims;
    int64_t extent;
    size_t scratch_bytes;
    void *pointers[LIMIT_KERNEL_BUFFERS]; /* by argument */
    struct fenced *results;               /* by output of the launch's graph */
    size_t *result_bytes;
};

/* Elements of a value of the launch's graph. */
static bool value_bytes(const struct graph *g, value_id value, const int64_t *dims, size_t *out)
{
    const struct node *node = graph_node(g, value);
    int64_t count = 1, dim;
    for (uint32_t i = 0; i < node->rank; i++) {
        if (!dim_eval(&g->dims, node->shape[i], dims, &dim) || dim < 0 ||
            (dim > 0 && count > LIMIT_TENSOR_BYTES / 8 / dim))
            return false;
        count *= dim;
    }
    *out = (size_t)count * dtype_bytes((enum dtype)node->dtype);
    return true;
}

static bool run_begin(struct run *run, struct walk *walk, const struct launch_case *c,
                      const int64_t *dims, struct arena *arena, struct outcome *outcome)
{
    const struct plan_launch *launch = c->launch;
    const struct package_target *target = walk->target->target;
    const struct plan *plan = &target->plan;
    int64_t scratch;
    uintptr_t entry = (uintptr_t)walk->code + target->kernel_offsets[launch->kernel];
    *run = (struct run){
        .launch = c, .pool = &walk->pool, .dims = dims, .kernel = (urza_kernel_fn *)entry};
    run->results = ARENA_ARRAY(arena, struct fenced, c->graph.outputs.count);
    run->result_bytes = ARENA_ARRAY(arena, size_t, c->graph.outputs.count);
    if (!dim_eval(plan->dims, launch->extent, dims, &run->extent) || run->extent < 0 ||
        !dim_eval(plan->dims, launch->scratch_bytes, dims, &scratch) || scratch < 0)
        return outcome_fail(outcome, "its extent or scratch memory has no size");
    run->scratch_bytes = ((size_t)scratch + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    for (uint32_t i = 0; i < c->graph.outputs.count; i++)
        if (!value_bytes(&c->graph, c->graph.outputs.items[i].value, dims, &run->result_bytes[i]))
            return outcome_fail(outcome, "a result has no size");
    return true;
}

/* Cuts of the second run: single iterations where there are few, else uneven pieces. */
static uint32_t find_chunks(int64_t extent, int64_t *out_ends)
{
    uint32_t count = 0;
    if (extent <= CHUNKS_MOST) {
        for (int64_t i = 1; i <= extent; i++)
            out_ends[count++] = i;
        return count;
    }
    const int64_t ends[] = {1, 3, extent / 3 + 1, extent / 2 + 1, extent - 1, extent};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (count == 0 || ends[i] > out_ends[count - 1])
            out_ends[count++] = ends[i];
    return count;
}

static void call(const struct run *run, void *scratch, bool in_chunks)
{
    int64_t ends[CHUNKS_MOST];
    if (run->extent == 0)
        return; /* as the runtime has it */
    if (!in_chunks) {
        run->kernel(run->pointers, run->dims, scratch, 0, run->extent);
        return;
    }
    for (uint32_t i = find_chunks(run->extent, ends); i-- > 0;)
        run->kernel(run->pointers, run->dims, scratch, i > 0 ? ends[i - 1] : 0, ends[i]);
}

/* Runs it into fresh blocks, which the caller closes. */
static bool call_into(struct run *run, struct fenced *blocks, int number, struct outcome *outcome)
{
    const struct graph *g = &run->launch->graph;
    struct fenced scratch = {0};
    struct error err;
    ptrdiff_t at;
    bool ok = fenced_place(&scratch, run->pool, run->scratch_bytes, FENCE_END, 0, &err);
    for (uint32_t i = 0; ok && i < g->outputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->outputs.items[i].value)->dtype;
        enum fence_side side = number == 0 ? FENCE_END : FENCE_START;
        size_t offset = number == 0 ? 0 : 3 * dtype_bytes(dtype);
        ok = fenced_place(&blocks[i], run->pool, run->result_bytes[i], side, offset, &err);
        if (ok)
            fill_before(dtype, blocks[i].data, run->result_bytes[i], number);
        run->pointers[run->launch->writes[i]] = blocks[i].data;
    }
    if (!ok) {
        fenced_close(&scratch);
        return outcome_fail(outcome, "%s", err.message);
    }
    fill_before(DTYPE_F32, scratch.data, run->scratch_bytes, number);
    call(run, scratch.data, number == 1);
    if (!fenced_intact(&scratch, &at))
        ok = outcome_fail(outcome, "a byte was written %td bytes from the start of scratch memory",
                          at);
    for (uint32_t i = 0; ok && i < g->outputs.count; i++)
        if (!fenced_intact(&blocks[i], &at))
            ok = outcome_fail(outcome, "a byte was written %td bytes from the start of a result",
                              at);
    fenced_close(&scratch);
    return ok;
}

static bool same_bits(const struct run *run, const struct fenced *again, struct outcome *outcome)
{
    const struct graph *g = &run->launch->graph;
    for (uint32_t i = 0; i < g->outputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->outputs.items[i].value)->dtype;
        size_t bytes = run->result_bytes[i], at;
        if (!elements_differ(dtype, run->results[i].data, again[i].data, bytes, &at))
            continue;
        return outcome_fail(
            outcome,
            "element %zu of %zu is not written, or differs between a run as a whole "
            "and one in chunks",
            at, bytes / dtype_bytes(dtype));
    }
    return true;
}

/* Both runs; afterwards run->results holds what was written, sealed. */
static bool run_twice(struct run *run, struct arena *arena, struct outcome *outcome)
{
    uint32_t count = run->launch->graph.outputs.count;
    struct fenced *again = ARENA_ARRAY(arena, struct fenced, count);
    struct error err;
    bool ok = call_into(run, run->results, 0, outcome) && call_into(run, again, 1, outcome) &&
              same_bits(run, again, outcome);
    for (uint32_t i = 0; i < count; i++) {
        fenced_close(&again[i]);
        if (ok && !fenced_seal(&run->results[i], &err))
            ok = outcome_fail(outcome, "%s", err.message);
    }
    return ok;
}

static bool judge(struct walk *walk, uint32_t index, const struct run *run, enum fill fill,
                  struct arena *arena, struct outcome *outcome)
{
    const struct launch_case *c = run->launch;
    struct kernel_result *result = &walk->results[index];
    struct verdict verdict = {0};
    void **reads = ARENA_ARRAY(arena, void *, c->graph.inputs.count + 1);
    void **writes = ARENA_ARRAY(arena, void *, c->graph.outputs.count);
    for (uint32_t i = 0; i < c->graph.inputs.count; i++)
        reads[i] = run->pointers[c->reads[i]];
    for (uint32_t i = 0; i < c->graph.outputs.count; i++)
        writes[i] = run->results[i].data;
    const struct care *care = fill != FILL_NORMAL              ? &walk->apart
                              : walk->judging == JUDGE_CLOSELY ? &walk->closely
                                                               : &walk->usual;
    bool ok = judge_launch(c, run->dims, reads, writes, care, &verdict, outcome);
    result->ratio = fmax(result->ratio, verdict.ratio);
    if (fill == FILL_NORMAL)
        result->not_checked = fmax(result->not_checked, verdict.not_checked);
    if (fill == FILL_NORMAL || fill == FILL_EXACT || fill == FILL_SMALL) {
        double least = result->tried ? result->least : INFINITY;
        double floats_least = result->tried ? result->floats_least : INFINITY;
        result->least = fmin(least, verdict.not_checked);
        result->floats_least = fmin(floats_least, verdict.floats_not_checked);
        result->tried = true;
    }
    result->elements += verdict.elements;
    result->checked += verdict.checked;
    result->samples++;
    outcome->figure = fmax(outcome->figure, verdict.ratio);
    return ok;
}

/* Whether an equal launch was judged at this size; notes that this one now is. */
static bool is_judged(struct walk *walk, uint32_t index)
{
    const struct launch_case *launches = walk->target->launches;
    for (uint32_t i = 0; i < index; i++)
        if (walk->judged[i] && memcmp(launches[i].key, launches[index].key, SHA256_BYTES) == 0)
            return true;
    walk->judged[index] = true;
    return false;
}

static void name_stage(const struct walk *walk, uint32_t index, char *stage)
{
    const struct launch_case *c = &walk->target->launches[index];
    size_t used = strcspn(stage, ":");
    uint32_t number = c->prepare ? index : index - walk->target->prepare_count;
    snprintf(stage + used, STAGE_BYTES - used, ": %s launch %u (%.100s)",
             c->prepare ? "prepare" : "forward", number, c->launch->label);
}

/* One launch of the whole; its results become the buffers that later ones read. */
static bool walk_launch(struct walk *walk, uint32_t index, const int64_t *dims, char *stage,
                        struct arena *arena, struct outcome *outcome)
{
    const struct launch_case *c = &walk->target->launches[index];
    struct run run;
    name_stage(walk, index, stage);
    if (!run_begin(&run, walk, c, dims, arena, outcome))
        return false;
    for (uint32_t i = 0; i < c->launch->arg_count; i++)
        run.pointers[i] = walk->buffers[c->launch->args[i]].data;
    bool ok = run_twice(&run, arena, outcome);
    ok = ok && (walk->judging == JUDGE_BARE || is_judged(walk, index) ||
                judge(walk, index, &run, FILL_NORMAL, arena, outcome));
    for (uint32_t i = 0; i < c->graph.outputs.count; i++) {
        struct fenced *buffer = &walk->buffers[c->launch->args[c->writes[i]]];
        fenced_close(buffer);
        *buffer = run.results[i];
    }
    return ok;
}

/* Closes temporaries behind the last launch that touches them. */
static void drop_dead(struct walk *walk, uint32_t forward)
{
    const struct plan *plan = &walk->target->target->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_TEMP &&
            plan->buffers.items[i].last_launch == forward)
            fenced_close(&walk->buffers[i]);
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
        if (!place(walk, &walk->buffers[i], input->data, input->bytes, &err))
            return outcome_fail(outcome, "%s", err.message);
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

bool walk_run(struct walk *walk, const struct sample *sample, enum judging judging, char *stage,
              struct arena *arena, void ***outputs, struct outcome *outcome)
{
    const struct target_case *t = walk->target;
    memset(walk->judged, 0, t->count * sizeof *walk->judged);
    walk->judging = judging;
    if (!place_inputs(walk, sample, outcome))
        return false;
    for (uint32_t i = walk->prepared ? t->prepare_count : 0; i < t->count; i++) {
        if (!walk_launch(walk, i, sample->dims, stage, arena, outcome))
            return false;
        if (i >= t->prepare_count)
            drop_dead(walk, i - t->prepare_count);
    }
    walk->prepared = true;
    take_outputs(walk, sample, arena, outputs);
    return true;
}

/* Whether the launch may leave out keys that a mask made of indices alone hides: what these hold
 * counts for nothing there, an infinity or a NaN included, as docs/architecture.md says. */
static bool may_skip_keys(const struct graph *g, struct arena *arena)
{
    bool *index = ARENA_ARRAY(arena, bool, g->nodes.count), compares = false, weighs = false;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        index[v] = n->prim != PRIM_INPUT && n->prim != PRIM_PARAM;
        for (uint32_t i = 0; i < n->operand_count; i++)
            index[v] &= index[n->operands[i]];
        compares |= index[v] && (n->prim == PRIM_LE || n->prim == PRIM_LT);
        weighs |= n->prim == PRIM_EXP;
    }
    return compares && weighs;
}

/* One launch on arguments of its own. */
static bool apart(struct walk *walk, uint32_t index, const int64_t *dims, enum fill fill,
                  uint64_t seed, struct arena *arena, struct outcome *outcome)
{
    const struct launch_case *c = &walk->target->launches[index];
    const struct graph *g = &c->graph;
    struct fenced *reads = ARENA_ARRAY(arena, struct fenced, g->inputs.count + 1);
    int64_t *extents = index_extents(g, dims, arena);
    struct error err;
    struct run run;
    bool ok = run_begin(&run, walk, c, dims, arena, outcome);
    if (fill == FILL_SPECIAL && may_skip_keys(g, arena))
        fill = FILL_FINITE;
    for (uint32_t i = 0; ok && i < g->inputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->inputs.items[i])->dtype;
        size_t bytes = 0, offset = (i % 4) * dtype_bytes(dtype);
        if (!value_bytes(g, g->inputs.items[i], dims, &bytes) ||
            !fenced_place(&reads[i], &walk->pool, bytes, i % 2 ? FENCE_END : FENCE_START, offset,
                          &err)) {
            ok = outcome_fail(outcome, "no memory for its arguments");
            continue;
        }
        random_fill(dtype, (int64_t)(bytes / dtype_bytes(dtype)), seed + i, fill, extents[i],
                    reads[i].data);
        ok = fenced_seal(&reads[i], &err);
        for (uint32_t a = 0; a < c->launch->arg_count; a++)
            if (c->launch->args[a] == c->launch->args[c->reads[i]])
                run.pointers[a] = reads[i].data;
    }
    ok = ok && run_twice(&run, arena, outcome) && judge(walk, index, &run, fill, arena, outcome);
    for (uint32_t i = 0; i < g->inputs.count; i++)
        fenced_close(&reads[i]);
    for (uint32_t i = 0; i < g->outputs.count; i++)
        fenced_close(&run.results[i]);
    return ok;
}

static bool multiplies(const struct graph *g)
{
    for (value_id v = 1; v < g->nodes.count; v++)
        if (graph_node(g, v)->prim == PRIM_CONTRACT || graph_node(g, v)->prim == PRIM_CONV)
            return true;
    return false;
}

/* Whether exact arguments, a few different ones, say what others do not: of sums, whose bound is
 * then 0; of what jumps or compares, which then meets ties. */
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

/* More of a result, and it has not been checked. */
#define UNCHECKED_MOST 0.01

/* Whether a launch needs such arguments of its own. What a network makes may overflow nearly
 * everywhere, exact ones behind a large factor, too. */
static bool apart_says_more(const struct walk *walk, uint32_t index, enum fill fill, bool once)
{
    const struct graph *g = &walk->target->launches[index].graph;
    const struct kernel_result *r = &walk->results[index];
    if (fill == FILL_SMALL)
        return r->floats_least > UNCHECKED_MOST;
    if (fill == FILL_EXACT && r->least > UNCHECKED_MOST)
        return true;
    return !(once && multiplies(g) != (fill == FILL_EXACT)) &&
           (fill != FILL_EXACT || exact_says_more(g));
}

bool walk_apart(struct walk *walk, const int64_t *dims, enum fill fill, bool once, uint64_t seed,
                char *stage, struct outcome *outcome)
{
    memset(walk->judged, 0, walk->target->count * sizeof *walk->judged);
    for (uint32_t i = 0; i < walk->target->count; i++) {
        if (is_judged(walk, i) || !apart_says_more(walk, i, fill, once))
            continue;
        struct arena arena;
        arena_init(&arena);
        name_stage(walk, i, stage);
        bool ok = apart(walk, i, dims, fill, seed + i * 64, &arena, outcome);
        arena_release(&arena);
        if (!ok)
            return false;
    }
    return true;
}

bool walk_checked(const struct walk *walk, char *stage, struct outcome *outcome)
{
    for (uint32_t i = 0; i < walk->target->count; i++) {
        const struct kernel_result *r = &walk->results[i];
        if (r->floats_least <= UNCHECKED_MOST)
            continue;
        name_stage(walk, i, stage);
        return outcome_fail(outcome, "%.3g %% of a result cannot be checked",
                            100 * r->floats_least);
    }
    return true;
}
