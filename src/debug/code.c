/* Judges machine code without the plan: each kernel is called with the arguments of its nest,
 * filled at random, in the validator's fenced memory, and its results are judged by the validator.
 *
 * It runs in a child and writes its findings to shared memory, so that after its death it is known
 * which kernel was running. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "compiler/target/target.h"
#include "debug/debug_priv.h"
#include "verify/jobs.h"

#define SIZE_COST 1e7 /* limit on the reference of a kernel */
#define SECONDS 300
#define ENOUGH_NS 200000000000u /* after this time no further size is begun */
#define ADDRESS_BYTES ((uint64_t)12000000000)

/* Memory shared with the child. */
struct report {
    char stage[STAGE_BYTES];
    uint32_t suspect;
    bool done;
    struct draw draw;
    struct outcome outcome;
};
struct job {
    struct bisect *b;
    struct suspects *suspects;
    const struct package_contents *contents;
    struct package_target target; /* the package's code, with a plan that has dims only */
    struct sizes sizes;
    struct report *report;
    uint64_t end_ns;
};

static bool run_at(struct job *job, struct walk *walk, const struct size *size, enum fill fill)
{
    struct report *r = job->report;
    const struct suspect *s = &job->suspects->items[r->suspect];
    r->draw = (struct draw){.fill = fill, .seed = s->launch.seed};
    memcpy(r->draw.dims, size->dims, sizeof size->dims);
    snprintf(r->stage, sizeof r->stage, "code");
    return walk_alone(walk, size->dims, fill, false, r->draw.seed, &r->outcome);
}

/* Runs and judges one kernel. False: it is wrong. */
static bool run_kernel(struct job *job, struct walk *walk)
{
    static const enum fill fills[] = {FILL_SPECIAL, FILL_EXACT, FILL_WIDE, FILL_PEAKS};
    const struct suspect *s = &job->suspects->items[job->report->suspect];
    const struct size *first = NULL, *large = NULL;
    double most = 0;
    for (uint32_t i = 0; i < job->sizes.count; i++) {
        const struct size *size = &job->sizes.items[i];
        double cost = graph_cost(s->launch.graph, size->dims);
        if (i > 0 && (size->way == SIZE_FAR || cost > SIZE_COST || clock_ns() > job->end_ns))
            continue;
        if (!run_at(job, walk, size, FILL_NORMAL))
            return false;
        first = first && strcmp(size->why, "odd") != 0 ? first : size;
        large = cost >= most ? size : large;
        most = cost >= most ? cost : most;
    }
    for (size_t f = 0; first && f < sizeof fills / sizeof fills[0]; f++)
        if (!run_at(job, walk, first, fills[f]) ||
            (large != first && !run_at(job, walk, large, fills[f])))
            return false;
    return true;
}

static void run(void *context, uint32_t index)
{
    struct job *job = context;
    struct error err;
    (void)index;
    for (uint32_t i = 0; i < job->suspects->count; i++) {
        struct suspect *s = &job->suspects->items[i];
        if (clock_ns() > job->end_ns)
            break;
        struct kernel_result result = {0};
        struct target_case one = {
            .contents = job->contents, .target = &job->target, .launches = &s->launch, .count = 1};
        job->report->suspect = i;
        struct walk *walk = walk_open(&one, 1, false, &result, job->report->stage, &err);
        bool ok =
            walk ? run_kernel(job, walk) : outcome_fail(&job->report->outcome, "%s", err.message);
        walk_close(walk);
        if (!ok)
            return;
    }
    job->report->done = true;
}

/* Whether the package has the kernels that were compiled here; it may come from another version of
 * the compiler. */
static bool is_same(const struct suspects *s, const struct package_target *target,
                    struct arena *arena)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    graph_print(s->graph, &text);
    return target->kernel_count == s->code_count && target->optimised_bytes == text.size_bytes &&
           memcmp(target->optimised, text.data, text.size_bytes) == 0;
}

static void note(struct job *job)
{
    struct bisect *b = job->b;
    struct report *r = job->report;
    const char *detail = r->outcome.detail[0] ? r->outcome.detail : r->stage;
    b->suspect = r->suspect;
    b->draw = r->draw;
    bisect_note(b, FAULT_CODE, job->suspects->target, "code",
                job->suspects->items[r->suspect].label, detail);
}

bool code_judge(struct bisect *b, struct suspects *s, const struct package_contents *contents,
                struct error *err)
{
    const struct package_target *target = NULL;
    struct job *job = ARENA_NEW(b->arena, struct job);
    for (uint32_t i = 0; i < contents->target_count; i++)
        if (strcmp(contents->targets[i].name, s->target->name) == 0)
            target = &contents->targets[i];
    if (!target || !s->measured || !target_supported_here(target->name) ||
        !is_same(s, target, b->arena))
        return true;
    *job = (struct job){.b = b, .suspects = s, .contents = contents, .target = *target};
    job->target.plan = (struct plan){.arena = b->arena, .dims = &s->graph->dims};
    if (!bisect_sizes(b, target->name, &job->sizes, err))
        return false;
    job->report =
        mmap(NULL, sizeof *job->report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (job->report == MAP_FAILED)
        return fail(err, ERR_NOMEM, "no memory for judging code");
    const struct job_row row = {
        .run = run, .context = job, .died = job->report->stage, .died_bytes = STAGE_BYTES};
    job->end_ns = clock_ns() + ENOUGH_NS;
    b->code_judged = true;
    bool ok = jobs_run(&row, 1, 1, SECONDS, ADDRESS_BYTES, err);
    if (ok && !job->report->done)
        note(job);
    munmap(job->report, sizeof *job->report);
    return ok;
}
