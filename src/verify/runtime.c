/* The package in the runtime, loaded and called as a user would: results must have the bits of the
 * launches run one by one, on every call, at any size, for any alignment of tensors, with any
 * number of threads and chunks. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/child.h"
#include "base/error.h"
#include "graph/loops.h"
#include "runtime/borrow.h"
#include "verify/verify_priv.h"

/* A tensor's placement: against which fence, and how many elements away from it. */
static const struct placement {
    enum fence_side side;
    size_t elements;
} placements[] = {
    {FENCE_END, 0}, {FENCE_START, 0}, {FENCE_END, 1}, {FENCE_START, 3}, {FENCE_START, 7},
};

bool outcome_fail(struct outcome *outcome, const char *fmt, ...)
{
    va_list args;
    if (outcome->pass || outcome->detail[0] == 0) {
        va_start(args, fmt);
        vsnprintf(outcome->detail, sizeof outcome->detail, fmt, args);
        va_end(args);
    }
    outcome->ran = true;
    outcome->pass = false;
    outcome->figure = outcome->bound > 0 ? INFINITY : 1;
    return false;
}

bool outcome_error(struct outcome *outcome, const struct error *err)
{
    if (err->code == ERR_NOMEM)
        child_no_memory();
    return outcome_fail(outcome, "%s", err->message);
}

static bool does_not_run(const struct error *err, struct outcome *outcome)
{
    if (err->code == ERR_NOMEM)
        child_no_memory();
    return outcome_fail(outcome, "does not run: %s: %s", error_name(err->code), err->message);
}

bool runtime_borrows(const struct package_param *param)
{
    return (uintptr_t)param->data % URZA_BORROW_ALIGN == 0;
}

bool subject_load(const struct subject *subject, uint32_t threads, uint32_t chunks,
                  urza_module **out, struct outcome *outcome)
{
    const struct verify_options *options = subject->options;
    urza_load_options load = {
        .trust = options->allow_unsigned ? URZA_TRUST_ALLOW_UNSIGNED : URZA_TRUST_REQUIRE,
        .trusted_keys = options->trusted ? options->trusted->keys : NULL,
        .trusted_key_count = options->trusted ? options->trusted->count : 0,
        .threads = threads,
        .chunks = chunks,
        .target = subject->target,
        .most_trips = LOOP_TRIED_TRIPS,
    };
    urza_error failure = {0};
    urza_module *module = NULL;
    int code = urza_load_borrowed(subject->bytes, subject->size, &load, &module, &failure);
    if (code == ERR_NOMEM)
        child_no_memory();
    if (code != 0)
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

static bool ran(const struct subject *subject, urza_module *module, struct outcome *outcome)
{
    urza_stats stats;
    urza_stats_get(module, &stats);
    bool native = strcmp(subject->target, "interpreter") != 0;
    if (native && stats.native_calls != stats.calls)
        return outcome_fail(outcome, "was interpreted: %s", stats.last_fallback);
    return true;
}

static bool same(const struct sample *sample, void *const *a, void *const *b, const char *what,
                 struct outcome *outcome)
{
    uint32_t output = 0;
    size_t element = 0;
    if (!sample_differs(sample, a, b, &output, &element))
        return true;
    return outcome_fail(outcome, "output '%s' differs at element %zu: %s",
                        sample->graph->outputs.items[output].name, element, what);
}

bool subject_call(const struct subject *subject, const struct sample *sample, urza_module *module,
                  void *const *expected, const char *what, struct outcome *outcome)
{
    struct error err = {0};
    struct arena arena;
    arena_init(&arena);
    void **in = ARENA_ARRAY(&arena, void *, sample->input_count + 1);
    void **out = ARENA_ARRAY(&arena, void *, sample->output_count + 1);
    for (uint32_t i = 0; i < sample->input_count; i++)
        in[i] = sample->inputs[i].data;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        out[i] = arena_raw(&arena, sample->outputs[i].bytes, 64);
        memset(out[i], FENCED_FILL, sample->outputs[i].bytes);
    }
    bool ok = sample_call(sample, module, in, out, &err) || does_not_run(&err, outcome);
    ok = ok && ran(subject, module, outcome) && same(sample, expected, out, what, outcome);
    if (ok && sample->graph->updates.count > 0)
        ok = (sample_step(sample, module, in, out, &err) || does_not_run(&err, outcome)) &&
             ran(subject, module, outcome) &&
             same(sample, expected, out, "where inputs are updated in place", outcome);
    arena_release(&arena);
    return ok;
}

static bool open_all(const struct sample *sample, const struct placement *placement,
                     struct fenced *blocks, struct error *err)
{
    for (uint32_t i = 0; i < sample->input_count + sample->output_count; i++) {
        bool input = i < sample->input_count;
        const struct tensor *t =
            input ? &sample->inputs[i] : &sample->outputs[i - sample->input_count];
        size_t offset = placement->elements * dtype_bytes(t->dtype);
        if (!fenced_open(&blocks[i], t->bytes, placement->side, offset, err))
            return false;
        if (input) {
            if (t->bytes > 0)
                memcpy(blocks[i].data, t->data, t->bytes);
            if (!fenced_seal(&blocks[i], err))
                return false;
        }
    }
    return true;
}

/* One call with all tensors at one placement. */
static bool call_fenced(const struct sample *sample, urza_module *module,
                        const struct placement *placement, void *const *expected,
                        struct arena *arena, struct outcome *out)
{
    uint32_t inputs = sample->input_count, count = inputs + sample->output_count;
    struct fenced *blocks = ARENA_ARRAY(arena, struct fenced, count);
    void **places = ARENA_ARRAY(arena, void *, count);
    struct error err = {0};
    ptrdiff_t at = 0;
    bool ok = open_all(sample, placement, blocks, &err);
    for (uint32_t i = 0; i < count; i++)
        places[i] = blocks[i].data;
    if (!ok || !sample_call(sample, module, places, places + inputs, &err))
        ok = does_not_run(&err, out);
    ok = ok && same(sample, expected, places + inputs, "where tensors lie", out);
    for (uint32_t i = inputs; ok && i < count; i++) {
        if (!fenced_intact(&blocks[i], &at)) {
            ok = outcome_fail(out, "a byte was written %td bytes from the start of output '%s'", at,
                              sample->graph->outputs.items[i - inputs].name);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        fenced_close(&blocks[i]);
    return ok;
}

bool subject_bounds(const struct subject *subject, const struct sample *sample, urza_module *module,
                    void *const *expected, bool heavy, struct outcome *out)
{
    size_t count = heavy ? 1 : sizeof placements / sizeof placements[0];
    struct arena arena;
    arena_init(&arena);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        ok = call_fenced(sample, module, &placements[i], expected, &arena, out);
    for (size_t i = 1; ok && subject->options->all_alignments && i < 64; i++) {
        struct placement end = {FENCE_END, i}, start = {FENCE_START, i};
        ok = call_fenced(sample, module, i % 2 ? &end : &start, expected, &arena, out);
    }
    ok = ok && ran(subject, module, out);
    arena_release(&arena);
    return ok;
}
