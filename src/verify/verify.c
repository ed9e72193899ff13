/* The driver: one job for each target and one for the whole graph, as child processes that run in
 * parallel, as many as there are processors; then the report's rows are made from their
 * findings. */
#include "verify/verify.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/child.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "package/step_spec.h"
#include "verify/jobs.h"
#include "verify/verify_priv.h"

#define DEFAULT_SECONDS 300
#define ALL_BYTES 4e9 /* limit on all running jobs; a job that takes more runs alone */
/* Operations of the reference for one target: about a tenth of a second. */
#define BUDGET 5e6
#define WHOLE_BUDGET 2e6
#define QUALITY_MOST 4.0

struct driver {
    struct verification *v;
    struct arena *arena;
    bool native[PACKAGE_TARGETS]; /* whether this CPU can run the target */
    double job_bytes;             /* approximate memory of a job … */
    uint64_t most_bytes;          /* … and what it may use */
    VEC(struct verify_check) checks;
    VEC(struct verify_kernel) kernels;
    VEC(struct verify_output) outputs;
    VEC(struct verify_size) sizes;
};

/* Counts elements and bytes of all outputs, at the size of the whole. */
static bool measure_outputs(const struct verification *v, size_t *out_elements, size_t *out_bytes,
                            struct error *err)
{
    const struct graph *graph = &v->contents->graph;
    size_t elements = 0, bytes = 0;
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        const struct node *node = graph_node(graph, graph->outputs.items[o].value);
        int64_t count = 1, dim;
        for (uint32_t i = 0; i < node->rank; i++)
            if (!dim_eval(&graph->dims, node->shape[i], v->whole.dims, &dim) || dim < 0 ||
                !checked_mul_i64(count, dim, &count) || count > LIMIT_TENSOR_BYTES / 8)
                return fail(err, ERR_LIMIT, "output '%s' is too large",
                            graph->outputs.items[o].name);
        elements += (size_t)count;
        bytes += (size_t)count * dtype_bytes((enum dtype)node->dtype);
    }
    *out_elements = elements;
    *out_bytes = bytes;
    return true;
}

/* Copies the verification to shared memory; *out_bytes is its size, for unmapping. */
static struct verification *share(const struct verification *from, size_t *out_bytes,
                                  struct error *err)
{
    size_t elements = 0, bytes = 0, total = sizeof *from;
    if (!measure_outputs(from, &elements, &bytes, err))
        return NULL;
    bytes = (bytes + 15) / 8 * 8;
    total += 2 * elements * sizeof(double) + from->contents->graph.outputs.count * sizeof(int64_t);
    for (uint32_t i = 0; i < from->contents->target_count; i++) {
        const struct plan *plan = &from->contents->targets[i].plan;
        total += bytes +
                 PARTS * (plan->prepare.count + plan->forward.count) * sizeof(struct kernel_result);
    }
    char *map = mmap(NULL, total, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        fail(err, ERR_NOMEM, "no memory for verification");
        return NULL;
    }
    struct verification *v = (struct verification *)(void *)map;
    *v = *from;
    map += sizeof *v;
    v->result.reference = (double *)(void *)map;
    v->result.plain = v->result.reference + elements;
    map += 2 * elements * sizeof(double);
    v->result.drawn = (int64_t *)(void *)map;
    map += from->contents->graph.outputs.count * sizeof(int64_t);
    for (uint32_t i = 0; i < from->contents->target_count; i++) {
        const struct plan *plan = &from->contents->targets[i].plan;
        for (uint32_t part = 0; part < PARTS; part++) {
            v->targets[i][part].results = (struct kernel_result *)(void *)map;
            map += (plan->prepare.count + plan->forward.count) * sizeof(struct kernel_result);
        }
        v->targets[i][0].outputs = (uint8_t *)map;
        map += bytes;
    }
    *out_bytes = total;
    return v;
}

static void run_target(void *context, uint32_t index)
{
    job_target(context, index / PARTS, index % PARTS);
}

static void run_whole(void *context, uint32_t index)
{
    (void)index;
    job_whole(context);
}

static void run_floor(void *context, uint32_t index)
{
    (void)index;
    job_floor(context);
}

/* Whether an output of a target is judged by its quality. */
static bool find_quality(const struct driver *d, uint32_t target, uint32_t output,
                         double *out_quality, double *out_limit, double *out_excess)
{
    const struct target_result *r = &d->v->targets[target][0];
    return d->v->result.referenced && r->done && !r->outputs_partial &&
           whole_quality(d->v, target, output, out_quality, out_limit, out_excess);
}

static bool is_worse(double quality, double limit, double excess)
{
    return !(quality <= QUALITY_MOST * limit) || !(excess <= 4 * QUALITY_MOST * limit);
}

/* Whether an output looks worse than a plain loop where that may be chance. */
static bool any_chance(const struct driver *d)
{
    double quality, limit, excess;
    for (uint32_t t = 0; t < d->v->contents->target_count; t++)
        for (uint32_t o = 0; d->native[t] && o < d->v->contents->graph.outputs.count; o++)
            if (find_quality(d, t, o, &quality, &limit, &excess) &&
                is_worse(quality, limit, excess) && quality_is_chance(d->v, o))
                return true;
    return false;
}

static bool run_jobs(struct driver *d, struct error *err)
{
    struct verification *v = d->v;
    struct job_row rows[PACKAGE_TARGETS * PARTS + 2];
    uint32_t count = 0, targets = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    for (uint32_t i = 0; i < v->contents->target_count; i++)
        targets += d->native[i];
    v->parts = cores > 0 && targets < (unsigned long)cores ? PARTS : 1;
    rows[count++] = (struct job_row){
        .run = run_whole, .context = v, .died = v->result.stage, .died_bytes = STAGE_BYTES};
    for (uint32_t i = v->contents->target_count; i-- > 0;)
        for (uint32_t part = 0; d->native[i] && part < v->parts; part++)
            rows[count++] = (struct job_row){.run = run_target,
                                             .context = v,
                                             .index = i * PARTS + part,
                                             .died = v->targets[i][part].stage,
                                             .died_bytes = STAGE_BYTES};
    uint32_t seconds = v->options->timeout_s ? v->options->timeout_s : DEFAULT_SECONDS;
    uint32_t at_once = cores > 0 && cores < 64 ? (uint32_t)cores : 1;
    if (d->job_bytes * at_once > ALL_BYTES)
        at_once = d->job_bytes < ALL_BYTES ? (uint32_t)(ALL_BYTES / d->job_bytes) : 1;
    v->threads = at_once > count ? at_once / count : 1;
    const uint64_t most = d->most_bytes + VERIFY_RESERVED_BYTES;
    rows[count] = rows[0];
    rows[count].run = run_floor;
    return jobs_run(rows, count, at_once, seconds, most, err) &&
           (!any_chance(d) || jobs_run(rows + count, 1, 1, seconds, most, err));
}

static void add_check(struct driver *d, const char *what, const char *target,
                      const struct outcome *outcome, const char *detail)
{
    struct strbuf name;
    strbuf_init(&name, d->arena);
    strbuf_printf(&name, "%s%s%s", what, target ? " " : "", target ? target : "");
    struct verify_check row = {name.data, outcome->pass, outcome->figure, outcome->bound,
                               arena_strdup(d->arena, detail)};
    VEC_PUSH(d->arena, &d->checks, row);
}

/* Puts the stage in which a failure was found before its text. */
static void place_failure(struct outcome *outcome, const char *stage)
{
    char text[DETAIL_BYTES];
    snprintf(text, sizeof text, "%s: %.300s", stage, outcome->detail);
    memcpy(outcome->detail, text, sizeof text);
}

/* The launch with this index in `results`: prepare launches first. */
static const struct plan_launch *launch_at(const struct plan *plan, uint32_t index)
{
    return index < plan->prepare.count ? &plan->prepare.items[index]
                                       : &plan->forward.items[index - plan->prepare.count];
}

/* Adds a row for each distinct kernel; equal launches were judged once. */
static void add_kernels(struct driver *d, uint32_t target)
{
    const struct package_target *t = &d->v->contents->targets[target];
    const struct plan *plan = &t->plan;
    for (uint32_t i = 0; i < plan->prepare.count + plan->forward.count; i++) {
        const struct kernel_result *r = &d->v->targets[target][0].results[i];
        const struct plan_launch *launch = launch_at(plan, i);
        if (r->samples == 0)
            continue;
        struct verify_kernel row = {t->name,        launch->label, r->samples, r->ratio,
                                    r->not_checked, r->elements,   r->checked};
        VEC_PUSH(d->arena, &d->kernels, row);
    }
}

/* The largest unchecked share of the kernel that writes an output. */
static double output_unchecked(const struct driver *d, uint32_t target, uint32_t output)
{
    const struct plan *plan = &d->v->contents->targets[target].plan;
    const struct kernel_result *results = d->v->targets[target][0].results + plan->prepare.count;
    double share = 0;
    for (uint32_t i = 0; i < plan->forward.count; i++)
        for (uint32_t a = 0; a < plan->forward.items[i].arg_count && a < 32; a++) {
            const struct plan_buffer *b = &plan->buffers.items[plan->forward.items[i].args[a]];
            if (launch_writes(&plan->forward.items[i], a) && b->kind == BUFFER_OUTPUT &&
                b->index == output)
                share = fmax(share, results[i].not_checked);
        }
    return share;
}

static void add_quality(struct driver *d, uint32_t target)
{
    const struct graph *graph = &d->v->contents->graph;
    const char *name = d->v->contents->targets[target].name;
    struct outcome outcome = {.pass = true, .ran = true, .bound = QUALITY_MOST};
    uint32_t judged = 0;
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        struct verify_output row = {graph->outputs.items[o].name, name,
                                    output_unchecked(d, target, o), -1};
        double quality, limit, excess;
        if (find_quality(d, target, o, &quality, &limit, &excess)) {
            row.quality = quality;
            judged++;
            /* One mask of a relu that falls otherwise, by a rounding, moves all of a gradient. */
            bool counts =
                !d->v->block || o < d->v->block->graph.outputs.count || !output_jumps(d->v, o);
            outcome.figure = counts ? fmax(outcome.figure, quality / limit) : outcome.figure;
            if (counts && is_worse(quality, limit, excess))
                outcome_fail(&outcome,
                             "output '%s': rms error %.3g, largest error %.3g times those of a "
                             "plain loop",
                             row.name, quality, excess);
        }
        VEC_PUSH(d->arena, &d->outputs, row);
    }
    if (judged == 0)
        snprintf(outcome.detail, sizeof outcome.detail, "%s",
                 d->v->targets[target][0].outputs_partial || !d->v->result.referenced
                     ? "not judged: the size takes too long"
                     : "not judged: no output below f64 has elements that are finite and settled");
    add_check(d, "quality", name, &outcome, outcome.detail);
}

/* The detail of a check that passed: sizes of kernels (check 0), or ways in which the runtime was
 * used. */
static void describe_sizes(const struct target_result *r, size_t check, struct outcome *outcome)
{
    uint32_t shares = 0, calls = 0;
    char *detail = outcome->detail;
    for (uint32_t i = 0; i < r->size_count; i++) {
        shares += r->sizes[i].partial;
        calls += r->sizes[i].runtime;
    }
    if (check == 0 && shares > 0)
        snprintf(detail, DETAIL_BYTES, "at %u sizes; at %u, which take too long, a share of each",
                 r->size_count, shares);
    else if (calls == 0 && check > 0)
        snprintf(detail, DETAIL_BYTES, "not run: calls take too long");
    else
        snprintf(detail, DETAIL_BYTES, "at %u sizes", check == 0 ? r->size_count : calls);
}

static void add_sizes(struct driver *d, uint32_t target)
{
    const struct target_result *r = &d->v->targets[target][0];
    for (uint32_t i = 0; i < r->size_count; i++) {
        const struct size_result *size = &r->sizes[i];
        struct verify_size row = {d->v->contents->targets[target].name,
                                  arena_strdup(d->arena, size->dims),
                                  arena_strdup(d->arena, size->why),
                                  size->elements,
                                  size->checked,
                                  size->runtime};
        VEC_PUSH(d->arena, &d->sizes, row);
    }
}

#define OUTCOMES 4

static void list_outcomes(struct target_result *r, struct outcome *out[OUTCOMES])
{
    out[0] = &r->kernels;
    out[1] = &r->runtime;
    out[2] = &r->threads;
    out[3] = &r->bounds;
}

/* Prefixes a job's failures with the stage in which they were found. */
static void conclude(struct target_result *r)
{
    struct outcome *outcomes[OUTCOMES];
    bool failed = false;
    list_outcomes(r, outcomes);
    for (size_t i = 0; i < OUTCOMES; i++)
        failed |= outcomes[i]->ran && !outcomes[i]->pass;
    r->kernels.bound = 1;
    if (!r->done && !failed) /* the job died */
        outcome_fail(&r->kernels, "%s", "");
    for (size_t i = 0; i < OUTCOMES; i++)
        if (outcomes[i]->ran && !outcomes[i]->pass)
            place_failure(outcomes[i], r->stage);
}

static void merge_kernel(struct kernel_result *r, const struct kernel_result *other)
{
    double least = r->tried ? r->least : INFINITY;
    double floats_least = r->tried ? r->floats_least : INFINITY;
    if (other->tried) {
        r->least = fmin(least, other->least);
        r->floats_least = fmin(floats_least, other->floats_least);
    }
    r->tried |= other->tried;
    r->ratio = fmax(r->ratio, other->ratio);
    r->not_checked = fmax(r->not_checked, other->not_checked);
    r->elements += other->elements;
    r->checked += other->checked;
    r->samples += other->samples;
}

/* Merges the findings of another part of the same target. */
static void merge(struct target_result *r, struct target_result *other, uint32_t launches)
{
    struct outcome *to[OUTCOMES], *from[OUTCOMES];
    list_outcomes(r, to);
    list_outcomes(other, from);
    for (size_t i = 0; i < OUTCOMES; i++) {
        double figure = fmax(to[i]->figure, from[i]->figure);
        if (from[i]->ran && !from[i]->pass && !(to[i]->ran && !to[i]->pass))
            *to[i] = *from[i];
        to[i]->figure = figure;
        to[i]->ran |= from[i]->ran;
    }
    for (uint32_t i = 0; i < other->size_count; i++)
        r->sizes[r->size_count++] = other->sizes[i];
    for (uint32_t i = 0; i < launches; i++)
        merge_kernel(&r->results[i], &other->results[i]);
    r->done &= other->done;
}

static uint32_t launch_count(const struct driver *d, uint32_t target)
{
    const struct plan *plan = &d->v->contents->targets[target].plan;
    return plan->prepare.count + plan->forward.count;
}

/* Whether enough of every result was checked: on the network's values, or, where these leave too
 * much undetermined, on exact or small arguments. Results that are not floats may stay
 * undetermined, since comparisons of equal sums may be so on all arguments. */
static void check_enough(struct driver *d, uint32_t target)
{
    struct target_result *r = &d->v->targets[target][0];
    const struct plan *plan = &d->v->contents->targets[target].plan;
    for (uint32_t i = 0; r->done && i < launch_count(d, target); i++) {
        bool prepare = i < plan->prepare.count;
        uint32_t number = prepare ? i : i - plan->prepare.count;
        double least = r->results[i].floats_least;
        if (least <= UNCHECKED_MOST)
            continue;
        outcome_fail(&r->kernels,
                     "kernels: %s launch %u (%.100s): %.3g %% of a result cannot be "
                     "checked",
                     prepare ? "prepare" : "forward", number, launch_at(plan, i)->label,
                     100 * least);
        return;
    }
}

static void report_target(struct driver *d, uint32_t target)
{
    static const char *const names[] = {"kernels", "runtime", "threads", "bounds"};
    struct target_result *r = &d->v->targets[target][0];
    const char *name = d->v->contents->targets[target].name;
    struct outcome *outcomes[OUTCOMES];
    for (uint32_t part = 0; part < d->v->parts; part++)
        conclude(&d->v->targets[target][part]);
    if (d->v->parts > 1)
        merge(r, &d->v->targets[target][1], launch_count(d, target));
    check_enough(d, target);
    list_outcomes(r, outcomes);
    for (size_t i = 0; i < OUTCOMES; i++) {
        struct outcome *o = outcomes[i];
        if (o->ran && !o->pass) {
            /* the detail already says what failed, and where */
        } else if (r->done) {
            o->pass = true;
        } else {
            snprintf(o->detail, sizeof o->detail, "not run: another check failed first");
            o->figure = 1;
        }
        if (o->pass)
            describe_sizes(r, i, o);
        add_check(d, names[i], name, o, o->detail);
    }
    add_kernels(d, target);
    add_sizes(d, target);
    struct outcome *passes = &d->v->result.passes[target];
    if (!passes->ran)
        outcome_fail(passes, "%s", d->v->result.stage);
    add_check(d, "passes", name, passes, passes->detail);
    add_quality(d, target);
}

/* A check of the graph alone. */
static void report_graph(struct driver *d, const char *what, struct outcome *outcome)
{
    if (!outcome->ran)
        outcome_fail(outcome, "%s", d->v->result.stage);
    add_check(d, what, NULL, outcome, outcome->detail);
}

static void report(struct driver *d, struct verify_report *out)
{
    for (uint32_t i = 0; i < d->v->contents->target_count; i++)
        if (d->native[i])
            report_target(d, i);
    report_graph(d, "interpreter", &d->v->result.interpreter);
    if (d->v->block || d->v->spec)
        report_graph(d, "gradients", &d->v->result.gradients);
    if (d->v->spec)
        report_graph(d, "optimizer", &d->v->result.optimizer);
    struct verify_report all = {.checks = d->checks.items,
                                .kernels = d->kernels.items,
                                .outputs = d->outputs.items,
                                .count = d->checks.count,
                                .kernel_count = d->kernels.count,
                                .output_count = d->outputs.count,
                                .sizes = d->sizes.items,
                                .size_count = d->sizes.count,
                                .pass = true};
    for (uint32_t i = 0; i < all.count; i++)
        all.pass = all.pass && all.checks[i].pass;
    *out = all;
}

/* What a job may use: what the machine has besides the package, and what the limit on this process
 * leaves. ERR_NOMEM if that is less than a job needs. */
static bool find_memory(struct driver *d, const struct package_contents *contents, size_t size,
                        struct error *err)
{
    uint64_t most = child_memory_most(), left = child_memory_left();
    double params = 0;
    most = size < most ? most - size : 0;
    left = left > VERIFY_RESERVED_BYTES ? left - VERIFY_RESERVED_BYTES : 0;
    d->most_bytes = left < most ? left : most;
    for (uint32_t i = 0; i < contents->graph.params.count; i++)
        params += (double)contents->params[i].data_bytes;
    return d->job_bytes <= (double)d->most_bytes ||
           fail(err, ERR_NOMEM,
                "checking a package with %.1f GB of parameters takes %.1f GB of memory beside it, "
                "of which there are %.1f",
                params / 1e9, d->job_bytes / 1e9, (double)d->most_bytes / 1e9);
}

/* A package that was read; block: of a training step, the package that it is part of. */
static bool verify_contents(const struct verification *what, struct arena *arena,
                            struct verify_report *out, struct error *err)
{
    struct verification v = *what;
    const struct package_contents *contents = v.contents;
    struct driver driver = {.arena = arena};
    struct sizes *sizes = ARENA_NEW(arena, struct sizes);
    if (!sizes_choose(&(struct size_wish){contents, NULL, v.options, WHOLE_BUDGET}, arena, sizes,
                      err))
        return false;
    v.whole = sizes->items[0];
    for (uint32_t i = 0; i < contents->target_count; i++) {
        const struct package_target *target = &contents->targets[i];
        driver.native[i] = target_supported_here(target->name);
        if (target->plan.specials.count > 0 &&
            !sizes_choose(&(struct size_wish){contents, target, v.options, WHOLE_BUDGET}, arena,
                          sizes, err))
            return fail_at(err, "target '%s'", target->name);
        if (driver.native[i])
            driver.job_bytes = fmax(driver.job_bytes, sizes_memory(contents, target, sizes));
    }
    if (!find_memory(&driver, contents, v.size, err))
        return false;
    size_t shared_bytes;
    driver.v = share(&v, &shared_bytes, err);
    if (!driver.v)
        return false;
    bool ok = run_jobs(&driver, err);
    if (ok)
        report(&driver, out);
    munmap(driver.v, shared_bytes);
    return ok;
}

static void *joined(struct arena *arena, const void *a, uint32_t a_count, const void *b,
                    uint32_t b_count, size_t size)
{
    char *all = arena_array(arena, (size_t)a_count + b_count, size);
    memcpy(all, a, a_count * size);
    memcpy(all + a_count * size, b, b_count * size);
    return all;
}

static const char *of_training(const char *name, struct arena *arena)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "training %s", name);
    return text.data;
}

/* Adds the rows of the training step's report; its checks, kernels and outputs, and the targets of
 * its sizes, are called "training …", since the block has others of the same names. */
static void add_report(struct verify_report *to, const struct verify_report *step,
                       struct arena *arena)
{
    for (uint32_t i = 0; i < step->count; i++)
        step->checks[i].name = of_training(step->checks[i].name, arena);
    for (uint32_t i = 0; i < step->kernel_count; i++)
        step->kernels[i].label = of_training(step->kernels[i].label, arena);
    for (uint32_t i = 0; i < step->output_count; i++)
        step->outputs[i].name = of_training(step->outputs[i].name, arena);
    for (uint32_t i = 0; i < step->size_count; i++)
        step->sizes[i].target = of_training(step->sizes[i].target, arena);
#define JOIN(rows, n)                                                                 \
    to->rows = joined(arena, to->rows, to->n, step->rows, step->n, sizeof *to->rows), \
    to->n += step->n
    JOIN(checks, count);
    JOIN(kernels, kernel_count);
    JOIN(outputs, output_count);
    JOIN(sizes, size_count);
#undef JOIN
    to->pass = to->pass && step->pass;
}

bool verify_package(const void *bytes, size_t size, const struct verify_options *options,
                    struct arena *arena, struct verify_report *out, struct error *err)
{
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    struct verification v = {.options = options,
                             .contents = contents,
                             .size = size,
                             .budget = options->thorough ? SIZES_THOROUGH * BUDGET : BUDGET};
    const struct trust trust = {options->allow_unsigned ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE,
                                options->trusted};
    void *copy = (void *)(uintptr_t)bytes;
    if ((uintptr_t)bytes % 64 != 0) { /* code and params must be aligned as in a mapped file */
        copy = arena_alloc(arena, size, 64);
        memcpy(copy, bytes, size);
    }
    v.bytes = copy;
    struct verify_report report, step;
    if (!package_read(copy, size, &trust, arena, contents, err) ||
        !step_spec_of(contents, arena, &v.spec, err) || !verify_contents(&v, arena, &report, err))
        return false;
    if (contents->step) {
        struct verify_options own = *options; /* its signature is the block's */
        own.allow_unsigned = true;
        v.options = &own;
        v.block = contents;
        v.spec = NULL;
        v.contents = contents->step;
        v.bytes = contents->training;
        v.size = contents->training_bytes;
        if (!verify_contents(&v, arena, &step, err))
            return fail_at(err, "the training step");
        add_report(&report, &step, arena);
    }
    *out = report;
    return true;
}
