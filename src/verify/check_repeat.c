/* The same bits: on every call, on any number of threads, and whatever was called before. */
#include "base/arena.h"
#include "verify/verify_priv.h"

#define CALLS 4

void check_repeat(const struct subject *subject, struct outcome *out)
{
    struct arena arena;
    urza_module *module = NULL;
    void **first, **again;
    arena_init(&arena);
    bool ok = subject_load(subject, 1, &module, out) &&
              subject_call(subject, subject->sample, module, &arena, &first, out);
    for (int call = 1; ok && call < CALLS; call++)
        ok = subject_call(subject, subject->sample, module, &arena, &again, out) &&
             outcome_same(subject->sample, first, again, "another call", out);
    out->pass = ok;
    urza_unload(module);
    arena_release(&arena);
}

void check_threads(const struct subject *subject, struct outcome *out)
{
    struct arena arena;
    void **first = NULL, **again;
    bool ok = true;
    arena_init(&arena);
    for (uint32_t threads = 1; ok && threads <= 3; threads++) {
        urza_module *module = NULL;
        ok = subject_load(subject, threads, &module, out) &&
             subject_call(subject, subject->sample, module, &arena, &again, out) &&
             (!first || outcome_same(subject->sample, first, again, "more threads", out));
        if (!first)
            first = again;
        urza_unload(module);
    }
    out->pass = ok;
    arena_release(&arena);
}

void check_reshaping(const struct subject *subject, struct outcome *out)
{
    struct arena arena;
    urza_module *module = NULL;
    void **first, **other, **again;
    arena_init(&arena);
    out->pass = subject_load(subject, 1, &module, out) &&
                subject_call(subject, subject->sample, module, &arena, &first, out) &&
                subject_call(subject, subject->other, module, &arena, &other, out) &&
                subject_call(subject, subject->sample, module, &arena, &again, out) &&
                outcome_same(subject->sample, first, again, "a call at another size between", out);
    urza_unload(module);
    arena_release(&arena);
}
