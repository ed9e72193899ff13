/* Every tensor lies alone between protected pages: flush against the end, flush against the start,
 * and at odd places in between. Inputs are sealed, so writing one is a crash, which the driver
 * reports. */
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/verify_priv.h"

/* Where a tensor lies: its side, and its distance from the fence in elements. */
static const struct placement {
    enum fence_side side;
    size_t elements;
} placements[] = {
    {FENCE_END, 0}, {FENCE_START, 0}, {FENCE_END, 1}, {FENCE_START, 3}, {FENCE_START, 7},
};

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
            memcpy(blocks[i].data, t->data, t->bytes);
            if (!fenced_seal(&blocks[i], err))
                return false;
        }
    }
    return true;
}

/* One call with all tensors at one placement; the results must be the bits of an ordinary call. */
static bool call_fenced(const struct subject *subject, urza_module *module,
                        const struct placement *placement, void *const *expected,
                        struct arena *arena, struct outcome *out)
{
    const struct sample *sample = subject->sample;
    uint32_t inputs = sample->input_count, count = inputs + sample->output_count;
    struct fenced *blocks = ARENA_ARRAY(arena, struct fenced, count);
    void **places = ARENA_ARRAY(arena, void *, count);
    struct error err = {0};
    ptrdiff_t at = 0;
    bool ok = open_all(sample, placement, blocks, &err);
    for (uint32_t i = 0; i < count; i++)
        places[i] = blocks[i].data;
    if (!ok || !sample_call(sample, module, places, places + inputs, &err))
        ok = outcome_fail(out, "does not run: %s: %s", error_name(err.code), err.message);
    ok = ok && outcome_same(sample, expected, places + inputs, "where tensors lie", out);
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

void check_bounds(const struct subject *subject, struct outcome *out)
{
    struct arena arena;
    urza_module *module = NULL;
    void **expected;
    arena_init(&arena);
    bool ok = subject_load(subject, 1, &module, out) &&
              subject_call(subject, subject->sample, module, &arena, &expected, out);
    for (size_t i = 0; ok && i < sizeof placements / sizeof placements[0]; i++)
        ok = call_fenced(subject, module, &placements[i], expected, &arena, out);
    for (size_t i = 1; ok && subject->options->all_alignments && i < 64; i++) {
        struct placement end = {FENCE_END, i}, start = {FENCE_START, i};
        ok = call_fenced(subject, module, i % 2 ? &end : &start, expected, &arena, out);
    }
    out->pass = ok && subject_ran(subject, module, out);
    urza_unload(module);
    arena_release(&arena);
}
