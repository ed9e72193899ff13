/* One target: all kernels at every size on the values that arrive in the network; then kernels on
 * arguments made for testing, which a network hardly produces; then the whole package in the
 * runtime. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/verify_priv.h"

/* Modules of one package, loaded with numbers of threads and chunks that must not change
 * results. */
static const struct way {
    uint32_t threads, chunks;
    const char *what;
} ways[] = {
    {1, 0, "from the kernels one by one"},
    {2, 0, "on 2 threads"},
    {3, 0, "on 3 threads"},
    {7, 0, "on 7 threads"},
    {2, 7, "in 7 chunks each"},
};
#define WAYS (sizeof ways / sizeof ways[0])
/* Loading takes time proportional to the size of the parameters: packages above SOME_BYTES are
 * loaded in three ways, above MANY_BYTES in two. */
#define SOME_BYTES ((size_t)256 << 10)
#define MANY_BYTES ((size_t)4 << 20)
/* A module has what it has prepared of its parameters in memory. Above this only one is loaded at a
 * time, for each size again. */
#define LARGE_BYTES ((size_t)128 << 20)
#define WIDE_EDGES 3  /* sizes around edges at which kernels run on wide values */
#define WIDE_SHARE 32 /* each of them may cost this part of the budget */

struct job {
    struct verification *v;
    uint32_t part;
    struct target_result *result;
    struct target_case target;
    struct sizes sizes;
    struct walk *walk;
    struct subject subject;
    urza_module *modules[WAYS];
    bool is_used[WAYS], one_by_one;
    struct arena *arena;
};

static bool is_whole(const struct verification *v, const struct size *size)
{
    size_t bytes = v->contents->graph.dims.names.count * sizeof size->dims[0];
    return bytes == 0 || memcmp(size->dims, v->whole.dims, bytes) == 0;
}

static void name_size(struct job *job, const char *what, const struct size *size)
{
    char at[120];
    size_print(&job->v->contents->graph.dims, size, at, sizeof at);
    snprintf(job->result->stage, STAGE_BYTES, "%s%s%s", what, at[0] ? " at " : "", at);
}

static void keep_outputs(struct job *job, const struct sample *sample, void *const *outputs)
{
    uint8_t *to = job->result->outputs;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        if (sample->outputs[i].bytes > 0)
            memcpy(to, outputs[i], sample->outputs[i].bytes);
        to += sample->outputs[i].bytes;
    }
}

static size_t param_bytes(const struct package_contents *contents)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < contents->graph.params.count; i++)
        bytes += contents->params[i].data_bytes;
    return bytes;
}

static bool is_used(size_t way, size_t bytes)
{
    return bytes <= SOME_BYTES || way == 0 || way == WAYS - 1 ||
           (bytes <= MANY_BYTES && way == WAYS - 2);
}

uint32_t job_modules(const struct package_contents *contents)
{
    size_t bytes = param_bytes(contents);
    uint32_t count = 0;
    for (size_t i = 0; i < WAYS; i++)
        count += is_used(i, bytes);
    return bytes > LARGE_BYTES ? 1 : count;
}

static bool load_way(struct job *job, size_t way)
{
    return job->modules[way] ||
           subject_load(&job->subject, ways[way].threads, ways[way].chunks, &job->modules[way],
                        way == 0 ? &job->result->runtime : &job->result->threads);
}

static bool load_all(struct job *job)
{
    size_t bytes = param_bytes(job->v->contents);
    job->one_by_one = bytes > LARGE_BYTES;
    for (size_t i = 0; i < WAYS; i++) {
        job->is_used[i] = is_used(i, bytes);
        if (job->is_used[i] && !job->one_by_one && !load_way(job, i))
            return false;
    }
    return true;
}

/* The results of the first module are those of the kernels, on the second call too; where calls are
 * expensive, it only runs in fenced memory. */
static bool call_way(struct job *job, size_t way, const struct sample *sample,
                     void *const *expected, bool heavy)
{
    struct target_result *r = job->result;
    const struct subject *subject = &job->subject;
    urza_module *module = job->modules[way];
    if (way > 0)
        return subject_call(subject, sample, module, expected, ways[way].what, &r->threads);
    return heavy ||
           (subject_call(subject, sample, module, expected, ways[0].what, &r->runtime) &&
            subject_call(subject, sample, module, expected, "on another call", &r->runtime));
}

/* Runs the package in the runtime at one size whose expected bits are known. */
static bool run_whole(struct job *job, const struct sample *sample, void *const *expected,
                      bool fenced, bool heavy)
{
    bool ok = true;
    for (size_t i = 0; ok && i < WAYS; i++) {
        if (!job->is_used[i] || (heavy && (i > 0 ? i < WAYS - 1 : !fenced)))
            continue;
        ok = load_way(job, i) && call_way(job, i, sample, expected, heavy) &&
             (i > 0 || !fenced ||
              subject_bounds(&job->subject, sample, job->modules[0], expected, heavy,
                             &job->result->bounds));
        if (job->one_by_one) {
            urza_unload(job->modules[i]);
            job->modules[i] = NULL;
        }
    }
    return ok;
}

/* At one size: kernels one by one on the network's values, then the runtime. */
static bool walk_size(struct job *job, uint32_t index, struct size_result *note)
{
    static const enum judging by_way[] = {
        [SIZE_USUAL] = JUDGE_USUAL, [SIZE_BARE] = JUDGE_DRAWN, [SIZE_GLANCE] = JUDGE_GLANCE};
    struct verification *v = job->v;
    const struct size *size = &job->sizes.items[index];
    enum judging judging = index == 0 ? JUDGE_CLOSELY : by_way[size->way];
    struct arena arena;
    struct sample sample;
    struct error err;
    void **outputs;
    const struct sample_request request = {.graph = &v->contents->graph,
                                           .params = v->contents->params,
                                           .dims = size->dims,
                                           .seed = v->options->seed + index * 1000003u,
                                           .fill = FILL_NORMAL,
                                           .block = v->block};
    arena_init(&arena);
    bool ok = sample_make(&sample, &request, &arena, &err) ||
              outcome_fail(&job->result->kernels, "%s", err.message);
    ok = ok && walk_run(job->walk, &sample, judging, &arena, &outputs, &job->result->kernels);
    walk_note(job->walk, note);
    bool special = size->special != PLAN_NONE;
    note->runtime = (size->way == SIZE_USUAL || special) && !note->partial;
    if (ok && is_whole(v, size) && index == 0) {
        keep_outputs(job, &sample, outputs);
        job->result->outputs_partial = note->partial;
    }
    if (ok)
        name_size(job, "the runtime", size);
    ok = ok && (!note->runtime ||
                run_whole(job, &sample, outputs, index <= 2 || special, size->cost > SIZE_HEAVY));
    arena_release(&arena);
    return ok;
}

static bool judge_size(struct job *job, uint32_t index)
{
    struct verification *v = job->v;
    const struct size *size = &job->sizes.items[index];
    struct size_result *note = &job->result->sizes[job->result->size_count];
    *note = (struct size_result){0};
    size_print(&v->contents->graph.dims, size, note->dims, sizeof note->dims);
    snprintf(note->why, sizeof note->why, "%s", size->why);
    name_size(job, "kernels", size);
    bool ok;
    if (size->way == SIZE_FAR) {
        ok = walk_far(job->walk, size->dims, v->options->seed + index * 1000003u,
                      &job->result->kernels);
        walk_note(job->walk, note);
    } else {
        ok = walk_size(job, index, note);
    }
    job->result->size_count += ok;
    return ok;
}

/* Runs kernels on test arguments at one size. */
static bool judge_fill(struct job *job, const struct size *size, enum fill fill, const char *name,
                       uint64_t seed)
{
    bool one_fill = size->cost > SIZE_HEAVY || (fill == FILL_WIDE && strcmp(size->why, "odd") != 0);
    name_size(job, name, size);
    return walk_alone(job->walk, size->dims, fill, one_fill, job->v->options->seed + seed,
                      &job->result->kernels);
}

/* The kernels of one specialisation, or those for all sizes: special values at a small odd size;
 * exact values, and small ones where still needed, at the largest cheap size, which has long sums
 * and whole tiles; there also values with peaks, for sums. Wide values at the odd size; at the
 * large size (for kernels without products, since wide values leave little of those to check); and
 * around edges, at sizes that are cheaper still. Sizes of a specialisation may be too large for
 * that. */
static bool judge_alone(struct job *job, uint32_t special)
{
    const struct size *large = NULL, *small = NULL;
    uint32_t edges = 0;
    for (uint32_t i = 0; i < job->sizes.count; i++) {
        const struct size *size = &job->sizes.items[i];
        if (size->special != special || size->way == SIZE_FAR)
            continue;
        if (!small || strcmp(size->why, "odd") == 0)
            small = size;
        if (!large || (size->way == SIZE_USUAL && size->cost <= job->v->budget / 8 &&
                       size->cost > large->cost))
            large = size;
    }
    if (!large)
        return true;
    if (!judge_fill(job, small, FILL_SPECIAL, "kernels on special values", 0) ||
        !judge_fill(job, large, FILL_EXACT, "kernels on exact values", 17) ||
        !judge_fill(job, large, FILL_SMALL, "kernels on small values", 34) ||
        !judge_fill(job, large, FILL_PEAKS, "kernels on values with peaks", 68) ||
        !judge_fill(job, large, FILL_WIDE, "kernels on wide values", 51) ||
        (small != large && !judge_fill(job, small, FILL_WIDE, "kernels on wide values", 52)))
        return false;
    for (uint32_t i = 0; i < job->sizes.count && edges < WIDE_EDGES; i++) {
        const struct size *size = &job->sizes.items[i];
        if (size == large || size->special != special || strncmp(size->why, "around", 6) != 0 ||
            size->cost > job->v->budget / WIDE_SHARE)
            continue;
        edges++;
        if (!judge_fill(job, size, FILL_WIDE, "kernels on wide values", 53 + edges))
            return false;
    }
    return true;
}

static bool judge_all_alone(struct job *job)
{
    for (uint32_t s = 0; s < job->target.target->plan.specials.count; s++)
        if (!judge_alone(job, s))
            return false;
    return judge_alone(job, PLAN_NONE);
}

static void run(struct job *job)
{
    struct verification *v = job->v;
    struct error err;
    const struct package_target *target = job->target.target;
    if (!target_case_make(&job->target, v->contents, target, job->arena, &err)) {
        outcome_fail(&job->result->kernels, "%s: %s", err.place, err.message);
        return;
    }
    job->target.board = v->options->board;
    const struct size_wish wish = {v->contents, target, v->options, v->budget};
    if (!sizes_choose(&wish, job->arena, &job->sizes, &err) ||
        !(job->walk = walk_open(&job->target, v->threads, v->options->thorough,
                                job->result->results, job->result->stage, &err))) {
        outcome_fail(&job->result->kernels, "%s", err.message);
        return;
    }
    for (uint32_t i = 0; i < job->target.count; i++)
        job->target.launches[i].seed = v->options->seed * 1000003u + i;
    snprintf(job->result->stage, STAGE_BYTES, "loading");
    if (!load_all(job))
        return;
    for (uint32_t i = 0; i < job->sizes.count; i++)
        if ((v->parts == 1 || (i > 0) == job->part) && !judge_size(job, i))
            return;
    job->result->done = job->part > 0 || judge_all_alone(job);
}

void job_target(struct verification *v, uint32_t target, uint32_t part)
{
    struct arena arena;
    arena_init(&arena);
    struct job job = {.v = v,
                      .part = part,
                      .result = &v->targets[target][part],
                      .target.target = &v->contents->targets[target],
                      .subject = {v->bytes, v->size, v->options, v->contents->targets[target].name},
                      .arena = &arena};
    run(&job);
    for (size_t i = 0; i < WAYS; i++)
        urza_unload(job.modules[i]);
    walk_close(job.walk);
    arena_release(&arena);
}
