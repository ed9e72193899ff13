/* Measures the time of a call by launch.
 *
 * The runtime records when each chunk of a launch ran (urza_trace_begin). A launch's time is the
 * median over the calls; the timeline is that of the call whose time is nearest to the median. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "profile/profile_priv.h"

#define CALLS_MOST 2000
#define TIMES_MOST 4000000 /* of all launches in all calls: 32 MB */
#define WARM_UP_CALLS 3
/* One measurement of peaks serves working sets up to this size; */
#define LEVELS_FROM ((double)(16 << 10))
#define LEVELS_STEP 8 /* the next one sizes up to so many times larger, and so on */

struct tracer {
    struct loaded loaded;
    const struct plan *plan;
    struct arena *arena;
    urza_span *spans; /* chunks of one call; array of `room` */
    uint32_t room;
    double *times; /* of launches: by call, then by launch */
    double *calls; /* of whole calls */
    uint32_t call_count, calls_most;
};

static const struct plan_launch *launch_of(const struct plan *plan, uint32_t number)
{
    return number < plan->prepare.count ? &plan->prepare.items[number]
                                        : &plan->forward.items[number - plan->prepare.count];
}

static uint32_t launch_total(const struct plan *plan)
{
    return plan->prepare.count + plan->forward.count;
}

/* By launch: the time from the start of its first chunk to the end of its last, in all trips of a
 * loop together. Launches that did not run are left unchanged. */
static void launch_times(const urza_span *spans, uint32_t count, struct launch_profile *launches,
                         double *out_us)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t l = spans[i].launch;
        launches[l].chunks = spans[i].chunks;
        launches[l].runs = 0;
        out_us[l] = 0;
    }
    for (uint32_t i = 0, next; i < count; i = next) { /* the chunks of a launch are consecutive */
        uint64_t begin = spans[i].begin_ns, end = spans[i].end_ns;
        next = i + 1;
        for (; next < count && next < i + spans[i].chunks && spans[next].launch == spans[i].launch;
             next++) {
            begin = spans[next].begin_ns < begin ? spans[next].begin_ns : begin;
            end = spans[next].end_ns > end ? spans[next].end_ns : end;
        }
        out_us[spans[i].launch] += (double)(end - begin) * 1e-3;
        launches[spans[i].launch].runs++;
    }
}

/* One traced run, of urza_prepare or of a call. */
static bool trace(struct tracer *tracer, bool prepare, uint32_t *out_count, double *out_us,
                  struct error *err)
{
    urza_error problem = {.code = 0};
    if (urza_trace_begin(tracer->loaded.module, tracer->spans, tracer->room, &problem) != 0)
        return fail_as(&problem, err);
    uint64_t begin = clock_ns();
    bool ok = prepare ? urza_prepare(tracer->loaded.module, &problem) == 0 || fail_as(&problem, err)
                      : loaded_call(&tracer->loaded, err);
    *out_us = (double)(clock_ns() - begin) * 1e-3;
    *out_count = urza_trace_end(tracer->loaded.module);
    return ok;
}

/* Finds how many spans are needed: at one size a launch always has the same chunks. */
static bool make_room(struct tracer *tracer, struct error *err)
{
    static urza_span none[1];
    double us;
    uint32_t prepare, call;
    tracer->spans = none;
    if (!trace(tracer, true, &prepare, &us, err) || !trace(tracer, false, &call, &us, err))
        return false;
    tracer->room = prepare > call ? prepare : call;
    tracer->spans = ARENA_ARRAY(tracer->arena, urza_span, tracer->room + 1);
    return true;
}

static struct chunk_profile *keep_chunks(struct tracer *tracer, uint32_t count)
{
    struct chunk_profile *chunks = ARENA_ARRAY(tracer->arena, struct chunk_profile, count + 1);
    int64_t *threads = ARENA_ARRAY(tracer->arena, int64_t, count + 1);
    uint32_t thread_count = 0;
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++)
        first = tracer->spans[i].begin_ns < first ? tracer->spans[i].begin_ns : first;
    for (uint32_t i = 0; i < count; i++) {
        const urza_span *span = &tracer->spans[i];
        uint32_t thread = 0;
        while (thread < thread_count && threads[thread] != span->thread)
            thread++;
        if (thread == thread_count)
            threads[thread_count++] = span->thread;
        chunks[i] = (struct chunk_profile){span->launch, span->chunk, thread,
                                           (double)(span->begin_ns - first) * 1e-3,
                                           (double)(span->end_ns - first) * 1e-3};
    }
    return chunks;
}

/* Calls until the time is over. Stores the chunks of the call nearest to the median of the first 1,
 * 2, 4, 8 … calls, which soon approximates that of all. */
static bool trace_calls(struct tracer *tracer, double seconds, struct trace_profile *out,
                        struct error *err)
{
    uint32_t total = launch_total(tracer->plan), count = 0;
    double nearest = INFINITY, middle = 0, us;
    for (uint32_t i = 0; i < WARM_UP_CALLS; i++)
        if (!loaded_call(&tracer->loaded, err))
            return false;
    uint64_t end = clock_ns() + (uint64_t)(seconds * 1e9);
    double *sorted = ARENA_ARRAY(tracer->arena, double, tracer->calls_most);
    while (tracer->call_count == 0 ||
           (clock_ns() < end && tracer->call_count < tracer->calls_most)) {
        uint32_t call = tracer->call_count;
        if (!trace(tracer, false, &count, &us, err))
            return false;
        launch_times(tracer->spans, count, out->launches, tracer->times + (size_t)call * total);
        tracer->calls[tracer->call_count++] = us;
        bool power = (tracer->call_count & (tracer->call_count - 1)) == 0;
        if (power) { /* the median of the calls so far */
            memcpy(sorted, tracer->calls, tracer->call_count * sizeof *sorted);
            middle = median_of(sorted, tracer->call_count);
            nearest = INFINITY;
        }
        if (fabs(us - middle) >= nearest)
            continue;
        nearest = fabs(us - middle);
        struct chunk_profile *chunks = keep_chunks(tracer, count);
        memcpy(out->chunks + out->prepare_chunk_count, chunks, count * sizeof *chunks);
        out->chunk_count = out->prepare_chunk_count + count;
    }
    return true;
}

static bool trace_prepare(struct tracer *tracer, struct trace_profile *out, struct error *err)
{
    double us;
    uint32_t count;
    if (!trace(tracer, true, &count, &us, err))
        return false;
    double *times = ARENA_ARRAY(tracer->arena, double, out->launch_count + 1);
    launch_times(tracer->spans, count, out->launches, times);
    for (uint32_t l = 0; l < out->prepare_count; l++)
        out->launches[l].us = times[l];
    memcpy(out->chunks, keep_chunks(tracer, count), count * sizeof *out->chunks);
    out->chunk_count = out->prepare_chunk_count = count;
    return true;
}

static double eval(const struct plan *plan, dim_id dim, const int64_t *dims)
{
    int64_t value;
    return dim != DIM_NONE && dim_eval(plan->dims, dim, dims, &value) ? (double)value : 0;
}

static void describe(struct tracer *tracer, uint32_t number, struct launch_profile *out)
{
    const struct plan *plan = tracer->plan;
    const struct plan_launch *launch = launch_of(plan, number);
    const int64_t *dims = tracer->loaded.dims;
    out->label = launch->label;
    out->nodes = launch->nodes;
    out->node_count = launch->node_count;
    out->more_nodes = launch->more_nodes;
    out->prepare = number < plan->prepare.count;
    out->kernel = plan_code_at(plan, launch, dims)->kernel;
    int64_t trips = 1;
    uint32_t loop = out->prepare ? 0 : plan_loop_of(plan, number - plan->prepare.count);
    out->counted = loop > 0 && plan->loops.items[loop - 1].condition > 0;
    if (!out->prepare && !out->counted &&
        !plan_trips(plan, number - plan->prepare.count, dims, &trips))
        trips = 0;
    out->asked = (double)trips * eval(plan, launch->asked, dims);
    out->done = (double)trips * eval(plan, launch->done, dims);
    for (uint32_t a = 0; a < launch->arg_count; a++) {
        const struct plan_buffer *buffer = &plan->buffers.items[launch->args[a]];
        out->bytes += eval(plan, buffer->elements, dims) * (double)dtype_bytes(buffer->dtype);
    }
}

static double level_of(double bytes)
{
    double level = LEVELS_FROM;
    while (level < bytes)
        level *= LEVELS_STEP;
    return level;
}

/* Measures peaks once for each level of memory that the arguments of a launch fit into. */
static bool find_peaks(const char *target, uint32_t threads, uint32_t times,
                       struct trace_profile *profile, struct error *err)
{
    for (uint32_t i = 0; i < profile->launch_count; i++) {
        struct launch_profile *l = &profile->launches[i];
        for (uint32_t k = 0; k < i && l->peak.flops == 0; k++)
            if (level_of(profile->launches[k].bytes) == level_of(l->bytes))
                l->peak = profile->launches[k].peak;
        for (uint32_t n = 0; l->peak.flops == 0 && n < times; n++) {
            struct peak peak, *best = &l->peak;
            if (!peak_measure(target, threads, level_of(l->bytes), false, &peak, err))
                return false;
            best->flops = fmax(best->flops, peak.flops);
            best->bytes_per_s = fmax(best->bytes_per_s, peak.bytes_per_s);
        }
    }
    return true;
}

static void sum_up(struct tracer *tracer, struct trace_profile *out)
{
    uint32_t total = out->launch_count;
    double *column = ARENA_ARRAY(tracer->arena, double, tracer->call_count);
    double sums[2] = {0, 0};
    for (uint32_t l = 0; l < total; l++) {
        struct launch_profile *launch = &out->launches[l];
        for (uint32_t c = 0; c < tracer->call_count; c++)
            column[c] = tracer->times[(size_t)c * total + l];
        if (!launch->prepare)
            launch->us = median_of(column, tracer->call_count);
        sums[launch->prepare] += launch->us;
    }
    out->calls = tracer->call_count;
    out->call_us = median_of(tracer->calls, tracer->call_count);
    out->outside_us = fmax(0, out->call_us - sums[0]);
    for (uint32_t l = 0; l < total; l++) {
        struct launch_profile *launch = &out->launches[l];
        double seconds = launch->us * 1e-6;
        launch->asked *= launch->counted ? launch->runs : 1;
        launch->done *= launch->counted ? launch->runs : 1;
        launch->share = sums[launch->prepare] > 0 ? launch->us / sums[launch->prepare] : 0;
        if (seconds <= 0 || launch->peak.flops <= 0)
            continue;
        double compute = launch->asked / seconds / launch->peak.flops;
        double memory = launch->bytes / seconds / launch->peak.bytes_per_s;
        launch->compute = compute >= memory;
        launch->noise = fmax(compute, memory) > 1;
        launch->percent = 100 * fmin(1, fmax(compute, memory));
    }
}

static bool measure(struct tracer *tracer, const struct profile_options *options,
                    struct trace_profile *out, struct error *err)
{
    const struct plan *plan = tracer->plan;
    uint32_t threads = options->load.threads ? options->load.threads : 1;
    out->threads = threads;
    out->launch_count = launch_total(plan);
    out->prepare_count = plan->prepare.count;
    if (!make_room(tracer, err))
        return false;
    tracer->calls_most = TIMES_MOST / (out->launch_count + 1);
    tracer->calls_most = tracer->calls_most < CALLS_MOST ? tracer->calls_most + 1 : CALLS_MOST;
    tracer->calls = ARENA_ARRAY(tracer->arena, double, tracer->calls_most);
    tracer->times =
        ARENA_ARRAY(tracer->arena, double, (size_t)tracer->calls_most *(out->launch_count + 1));
    out->launches = ARENA_ARRAY(tracer->arena, struct launch_profile, out->launch_count + 1);
    out->chunks = ARENA_ARRAY(tracer->arena, struct chunk_profile, 2 * tracer->room + 1);
    for (uint32_t l = 0; l < out->launch_count; l++)
        describe(tracer, l, &out->launches[l]);
    const char *target = urza_target(tracer->loaded.module);
    if (!find_peaks(target, threads, options->peaks, out, err) ||
        !trace_prepare(tracer, out, err) || !trace_calls(tracer, options->seconds, out, err))
        return false;
    sum_up(tracer, out);
    snprintf(out->target, sizeof out->target, "%s", target);
    print_dims(&tracer->loaded.graph.dims, tracer->loaded.dims, out->dims, sizeof out->dims);
    return true;
}

bool profile_launches(const void *bytes, size_t size, const struct profile_options *options,
                      struct arena *arena, struct trace_profile *out, struct error *err)
{
    struct tracer *tracer = ARENA_NEW(arena, struct tracer);
    tracer->arena = arena;
    *out = (struct trace_profile){.calls = 0};
    bool ok = loaded_open(&tracer->loaded, bytes, size, options, arena, err) &&
              loaded_plan(&tracer->loaded, arena, &tracer->plan, err) &&
              (tracer->plan ||
               fail(err, ERR_UNSUPPORTED, "calls are interpreted: there are no launches")) &&
              measure(tracer, options, out, err);
    loaded_close(&tracer->loaded);
    return ok;
}
