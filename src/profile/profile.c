/* Calls a package for a while, and measures the machine before and after. */
#include "profile/profile_priv.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"

#define TIMES_MOST 1000000
#define WARM_UP_SHARE 0.1 /* of the time */

/* Calls until the time is over, at least once. times gets microseconds in the order of the calls;
 * it has room for TIMES_MOST. */
static bool time_calls(struct loaded *loaded, double seconds, double *times, uint32_t *out_count,
                       struct error *err)
{
    uint64_t warm = clock_ns() + (uint64_t)(seconds * WARM_UP_SHARE * 1e9);
    uint64_t end = clock_ns() + (uint64_t)(seconds * 1e9);
    uint32_t count = 0, calls = 0;
    for (uint64_t now = clock_ns(); count == 0 || (now < end && count < TIMES_MOST); calls++) {
        uint64_t begin = clock_ns();
        if (!loaded_call(loaded, err))
            return false;
        now = clock_ns();
        if (now >= warm && calls > 0)
            times[count++] = (double)(now - begin) * 1e-3;
    }
    *out_count = count;
    return true;
}

static void sum_up(double *times, uint32_t count, struct profile *out)
{
    uint32_t shown = count < PROFILE_SAMPLE_MOST ? count : PROFILE_SAMPLE_MOST;
    for (uint32_t i = 0; i < shown; i++)
        out->sample_us[i] = times[(uint64_t)i * count / shown];
    out->sample_count = shown;
    out->calls = count;
    out->p50_us = median_of(times, count); /* times is sorted from here on */
    out->p95_us = times[(uint64_t)count * 95 / 100];
    out->min_us = times[0];
}

/* The machine's peak is the best of all measurements. */
static bool best_peak(struct loaded *loaded, const struct profile_options *options, double bytes,
                      struct peak *best, struct error *err)
{
    uint32_t threads = options->load.threads ? options->load.threads : 1;
    for (uint32_t i = 0; i < options->peaks; i++) {
        struct peak peak = {0};
        if (!peak_measure(urza_target(loaded->module), threads, bytes, false, &peak, err))
            return false;
        best->flops = peak.flops > best->flops ? peak.flops : best->flops;
        best->bytes_per_s =
            peak.bytes_per_s > best->bytes_per_s ? peak.bytes_per_s : best->bytes_per_s;
    }
    return true;
}

static void share(struct profile *profile)
{
    double flops = profile->work.flops / profile->p50_us * 1e6;
    double bytes = profile->work.bytes / profile->p50_us * 1e6;
    double compute = profile->peak.flops > 0 ? flops / profile->peak.flops : 0;
    double memory = profile->peak.bytes_per_s > 0 ? bytes / profile->peak.bytes_per_s : 0;
    profile->compute = compute >= memory;
    double percent = 100 * (compute >= memory ? compute : memory);
    profile->noise = percent > 100;
    profile->percent_of_peak = profile->noise ? 100 : percent;
}

/* Bytes that the launches of a call read and write. */
static double count_traffic(const struct plan *plan, const int64_t *dims)
{
    double sum = 0;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t a = 0; a < launch->arg_count; a++) {
            const struct plan_buffer *buffer = &plan->buffers.items[launch->args[a]];
            int64_t elements;
            if (dim_eval(plan->dims, buffer->elements, dims, &elements))
                sum += (double)elements * (double)dtype_bytes(buffer->dtype);
        }
    }
    return sum;
}

static bool measure(struct loaded *loaded, const struct profile_options *options,
                    struct arena *arena, struct profile *out, struct error *err)
{
    double *times = malloc(TIMES_MOST * sizeof *times);
    uint32_t count = 0;
    urza_stats stats;
    if (!times)
        return fail(err, ERR_NOMEM, "no memory for measurements");
    bool ok = work_count(&loaded->graph, loaded->dims, arena, &out->work, err) &&
              best_peak(loaded, options, out->work.bytes, &out->peak, err) &&
              time_calls(loaded, options->seconds, times, &count, err) &&
              best_peak(loaded, options, out->work.bytes, &out->peak, err);
    if (ok) {
        sum_up(times, count, out);
        share(out);
        urza_stats_get(loaded->module, &stats);
        out->temporaries_bytes = stats.arena_bytes;
        if (stats.fallback_calls > 0)
            snprintf(out->fallback, sizeof out->fallback, "%s", stats.last_fallback);
        print_dims(&loaded->graph.dims, loaded->dims, out->dims, sizeof out->dims);
    }
    free(times);
    return ok;
}

bool profile_package(const void *bytes, size_t size, const struct profile_options *options,
                     struct arena *arena, struct profile *out, struct error *err)
{
    struct loaded *loaded = ARENA_NEW(arena, struct loaded);
    struct profile *profile = ARENA_NEW(arena, struct profile);
    const struct plan *plan = NULL;
    bool ok = loaded_open(loaded, bytes, size, options, arena, err);
    if (ok) {
        profile->threads = options->load.threads ? options->load.threads : 1;
        snprintf(profile->target, sizeof profile->target, "%s", urza_target(loaded->module));
        ok =
            measure(loaded, options, arena, profile, err) && loaded_plan(loaded, arena, &plan, err);
    }
    if (ok && plan)
        profile->traffic_bytes = count_traffic(plan, loaded->dims);
    loaded_close(loaded);
    if (ok)
        *out = *profile;
    return ok;
}

static void put(json_t *object, const char *name, double value)
{
    /* Infinities and NaNs, which JSON does not have, are omitted. */
    json_object_set_new(object, name, json_real(value));
}

void profile_print(const struct profile *profile, struct strbuf *out)
{
    json_t *object = json_object(), *sample = json_array();
    double per_us = profile->p50_us > 0 ? 1e-3 / profile->p50_us : 0;
    for (uint32_t i = 0; i < profile->sample_count; i++)
        json_array_append_new(sample, json_real(profile->sample_us[i]));
    json_object_set_new(object, "dims", json_string(profile->dims));
    json_object_set_new(object, "target", json_string(profile->target));
    json_object_set_new(object, "threads", json_integer(profile->threads));
    json_object_set_new(object, "calls", json_integer((json_int_t)profile->calls));
    put(object, "p50_us", profile->p50_us);
    put(object, "p95_us", profile->p95_us);
    put(object, "min_us", profile->min_us);
    put(object, "flops", profile->work.flops);
    put(object, "bytes", profile->work.bytes);
    put(object, "gflops", profile->work.flops * per_us);
    put(object, "gb_per_s", profile->work.bytes * per_us);
    put(object, "peak_gflops", profile->peak.flops * 1e-9);
    put(object, "peak_gb_per_s", profile->peak.bytes_per_s * 1e-9);
    put(object, "percent_of_peak", profile->percent_of_peak);
    json_object_set_new(object, "bound", json_string(profile->compute ? "compute" : "memory"));
    json_object_set_new(object, "noise", json_boolean(profile->noise));
    json_object_set_new(object, "temporaries_bytes",
                        json_integer((json_int_t)profile->temporaries_bytes));
    put(object, "traffic_bytes", profile->traffic_bytes);
    json_object_set_new(object, "cache_efficiency",
                        profile->traffic_bytes > 0
                            ? json_real(profile->work.bytes / profile->traffic_bytes)
                            : json_null());
    json_object_set_new(object, "fallback",
                        profile->fallback[0] ? json_string(profile->fallback) : json_null());
    json_object_set_new(object, "sample_us", sample);
    json_write_canonical(object, out);
    json_decref(object);
}
