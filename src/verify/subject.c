/* A package under test, loaded and called as a user would. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "package/package.h"
#include "verify/verify_priv.h"

bool outcome_fail(struct outcome *outcome, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(outcome->detail, sizeof outcome->detail, fmt, args);
    va_end(args);
    outcome->pass = false;
    outcome->figure = outcome->bound > 0 ? INFINITY : 1;
    return false;
}

bool subject_load(const struct subject *subject, uint32_t threads, urza_module **out,
                  struct outcome *outcome)
{
    const struct verify_options *options = subject->options;
    urza_load_options load = {
        .trust = options->allow_unsigned ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE,
        .trusted_keys = options->trusted ? options->trusted->keys : NULL,
        .trusted_key_count = options->trusted ? options->trusted->count : 0,
        .threads = threads,
        .target = subject->target,
    };
    urza_error failure = {0};
    urza_module *module = NULL;
    if (urza_load_memory(subject->bytes, subject->size, &load, &module, &failure) != 0)
        return outcome_fail(outcome, "does not load: %s%s%s", failure.place,
                            failure.place[0] ? ": " : "", failure.message);
    if (strcmp(urza_target(module), subject->target) != 0) {
        outcome_fail(outcome, "loads for %s", urza_target(module));
        urza_unload(module);
        return false;
    }
    *out = module;
    return true;
}

bool subject_ran(const struct subject *subject, urza_module *module, struct outcome *outcome)
{
    urza_stats stats;
    urza_stats_get(module, &stats);
    bool native = strcmp(subject->target, "interpreter") != 0;
    if (native && stats.native_calls != stats.calls)
        return outcome_fail(outcome, "was interpreted: %s", stats.last_fallback);
    return true;
}

bool subject_call(const struct subject *subject, const struct sample *sample, urza_module *module,
                  struct arena *arena, void ***outputs, struct outcome *outcome)
{
    struct error err = {0};
    void **in = ARENA_ARRAY(arena, void *, sample->input_count);
    void **out = ARENA_ARRAY(arena, void *, sample->output_count);
    for (uint32_t i = 0; i < sample->input_count; i++)
        in[i] = sample->inputs[i].data;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        out[i] = arena_alloc(arena, sample->outputs[i].bytes, 64);
        memset(out[i], FENCED_FILL, sample->outputs[i].bytes);
    }
    if (!sample_call(sample, module, in, out, &err))
        return outcome_fail(outcome, "does not run: %s: %s", error_name(err.code), err.message);
    *outputs = out;
    return subject_ran(subject, module, outcome);
}

bool outcome_same(const struct sample *sample, void *const *a, void *const *b, const char *what,
                  struct outcome *outcome)
{
    uint32_t output = 0;
    size_t byte = 0;
    if (!sample_differs(sample, a, b, &output, &byte))
        return true;
    const struct tensor *tensor = &sample->outputs[output];
    return outcome_fail(outcome, "output '%s' differs at element %zu: %s",
                        sample->graph->outputs.items[output].name,
                        byte / dtype_bytes(tensor->dtype), what);
}
