/* Training steps as calls: tapes, threads, modules, parameters, statistics, traces, interruptions.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compiler.h"
#include "support/trained_small.h"

/* h = tanh(x[t] + h wᵀ). */
static const char loop_text[] =
    "graph \"loop\"\n"
    "dim T 1..4000 multiple 1 typical 9\n"
    "%1 = input \"x\" : f32[T, 32, 64]\n"
    "%2 = input \"h0\" : f32[32, 64]\n"
    "%3 = param \"w\" : f32[64, 64]\n"
    "%4 = state %2 {loop 1, index 0} : f32[32, 64]\n"
    "%5 = iter {loop 1} : i64[]\n"
    "%6 = take %1, %5 {axis 0} : f32[32, 64]\n"
    "%7 = contract %4, %3 {batch 0, contract 1} : f32[32, 64]\n"
    "%8 = add %6, %7 : f32[32, 64]\n"
    "%9 = tanh %8 : f32[32, 64]\n"
    "%10 = copy %9 : f32[32, 64]\n"
    "%11 = loop %4, %10 {loop 1, index 0, states 1, dim [T]} : f32[32, 64]\n"
    "output \"h\" %11\n";

static void keeps_the_tape(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    struct trained *t = &shared;
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        urza_error err;
        urza_module *module = trained_load(t, &(urza_load_options){.target = targets[i]});
        trained_step(t, module, 0);
        void *bits = trained_copy(t, &bytes);
        trained_clear(t);
        urza_tape *tape = begin(t, module);
        for (int pass = 0; pass < 3; pass++) {
            must(trained_backward(t, tape, pass < 2 ? URZA_KEEP_TAPE : 0, &err), &err);
            must_have(t, bits, bytes, "a tape that is kept");
            for (uint32_t k = t->output_count; k < t->step->outputs.count; k++)
                memset(t->results[k], 1, t->sample.outputs[k].bytes);
        }
        must_give(trained_backward(t, tape, 0, &err), ERR_USAGE, &err, "the tape was used");
        must_give(trained_backward(t, tape, URZA_KEEP_TAPE, &err), ERR_USAGE, &err, "was used");
        urza_tape_release(tape);
        urza_tape_release(NULL);
        /* A refused pass spends the tape, too, unless it is kept; unknown flags do not. */
        tape = begin(t, module);
        must_give(trained_backward(t, tape, 4, &err), ERR_USAGE, &err, "flags 0x4");
        DLTensor *whole = t->input_grads;
        DLTensor bad[2] = {whole[X], whole[K]};
        bad[X].ndim = 1;
        t->input_grads = bad;
        must_give(trained_backward(t, tape, URZA_KEEP_TAPE, &err), ERR_INPUT, &err, "grad.x");
        t->input_grads = whole;
        must(trained_backward(t, tape, URZA_KEEP_TAPE, &err), &err);
        must_have(t, bits, bytes, "after a refused pass");
        t->input_grads = bad;
        must_give(trained_backward(t, tape, 0, &err), ERR_INPUT, &err, "grad.x");
        t->input_grads = whole;
        must_give(trained_backward(t, tape, 0, &err), ERR_USAGE, &err, "the tape was used");
        urza_tape_release(tape);
        urza_unload(module);
    }
}

/* Modules that share a runtime take turns; one is unloaded while its tape is out. */
static void a_tape_keeps_its_module(void **state)
{
    (void)state;
    struct trained *t = &shared;
    urza_runtime *runtime;
    urza_runtime_stats stats;
    urza_error err;
    size_t bytes;
    must(urza_runtime_new(NULL, &runtime, &err), &err);
    const urza_load_options options = {.runtime = runtime};
    urza_module *a = trained_load(t, &options), *b = trained_load(t, &options);
    trained_step(t, b, 0);
    void *bits = trained_copy(t, &bytes);
    trained_clear(t);
    urza_tape *tape = begin(t, a);
    trained_step(t, b, 0);
    urza_unload(a);
    urza_runtime_trim(runtime, 0);
    for (uint32_t k = t->output_count; k < t->step->outputs.count; k++)
        memset(t->results[k], 1, t->sample.outputs[k].bytes);
    finish(t, tape, 0);
    must_have(t, bits, bytes, "a tape of a module that was unloaded");
    urza_runtime_stats_get(runtime, &stats);
    assert_int_equal(stats.modules, 1);
    urza_unload(b);
    urza_runtime_release(runtime);
}

/* Tapes of different inputs, whose gradients come in another order. */
static void many_tapes(void **state)
{
    (void)state;
    enum { TAPES = 100 };
    struct trained *t = &shared;
    urza_module *module = trained_load(t, NULL);
    urza_tape *tapes[TAPES];
    void *kept[TAPES];
    static float x[TAPES][ROWS * 6], results[TAPES][ROWS * 6 * 2];
    size_t bytes;
    DLTensor input = t->inputs[X], y = t->outputs[Y], z = t->outputs[Z];
    for (int i = 0; i < TAPES; i++) {
        random_fill(DTYPE_F32, ROWS * 6, (uint64_t)i, FILL_NORMAL, 0, x[i]);
        t->inputs[X].data = x[i];
        trained_step(t, module, 0);
        kept[i] = trained_copy(t, &bytes);
    }
    for (int i = 0; i < TAPES; i++) {
        t->inputs[X].data = x[i];
        t->outputs[Y].data = results[i]; /* stay unchanged while the tape is used */
        t->outputs[Z].data = results[i] + ROWS * 6;
        tapes[i] = begin(t, module);
    }
    for (int i = 0; i < TAPES; i++) {
        int at = i * 37 % TAPES; /* all of them */
        memcpy(y.data, results[at], ROWS * 3 * sizeof(float));
        memcpy(z.data, results[at] + ROWS * 6, ROWS * 6 * sizeof(float));
        finish(t, tapes[at], 0);
        must_have(t, kept[at], bytes, "one of many tapes");
    }
    t->inputs[X] = input;
    t->outputs[Y] = y;
    t->outputs[Z] = z;
    /* No more than 1024 at a time, and all can be used again. */
    static urza_tape *most[1024];
    urza_error err;
    for (int i = 0; i < 1024; i++)
        most[i] = begin(t, module);
    urza_tape *none = NULL;
    must_give(trained_forward(t, module, true, &none, &err), ERR_LIMIT, &err, "more than 1024");
    assert_null(none);
    for (int i = 0; i < 1024; i++)
        urza_tape_release(most[i]);
    trained_step(t, module, 0);
    urza_unload(module);
}

struct worker {
    urza_module *module;
    const struct trained *t;
    const void *bits;
    atomic_int *wrong;
};

/* Each thread has tensors of its own, and three tapes at a time. */
static void *work(void *argument)
{
    const struct worker *w = argument;
    const struct trained *t = w->t;
    float y[3][ROWS * 3], z[3][ROWS * 6], gx[ROWS * 6], gw[30], gv[15];
    int32_t n[3][ROWS];
    urza_tape *tapes[3];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 3; i++) {
            DLTensor outputs[3] = {t->outputs[Y], t->outputs[N], t->outputs[Z]};
            outputs[Y].data = y[i];
            outputs[N].data = n[i];
            outputs[Z].data = z[i];
            if (urza_forward_train(w->module, t->inputs, 2, t->params, 2, outputs, 3, &tapes[i],
                                   NULL) != 0)
                atomic_fetch_add(w->wrong, 1000);
        }
        for (int i = 2; i >= 0; i--) {
            DLTensor inputs[2] = {t->input_grads[X], t->input_grads[K]};
            DLTensor params[2] = {t->param_grads[W], t->param_grads[V]};
            inputs[X].data = gx;
            params[W].data = gw;
            params[V].data = gv;
            const urza_gradients gradients = {t->cotangents, 3, inputs, 2, params, 2, 0};
            if (urza_backward(tapes[i], &gradients, NULL) != 0)
                atomic_fetch_add(w->wrong, 1000);
            urza_tape_release(tapes[i]);
            const char *at = w->bits;
            atomic_fetch_add(w->wrong, memcmp(at, y[i], sizeof y[i]) != 0);
            at += sizeof y[i] + sizeof n[i];
            atomic_fetch_add(w->wrong, memcmp(at, z[i], sizeof z[i]) != 0);
            at += sizeof z[i];
            atomic_fetch_add(w->wrong, memcmp(at, gx, sizeof gx) != 0);
            at += sizeof gx;
            atomic_fetch_add(w->wrong, memcmp(at, gw, sizeof gw) != 0);
            atomic_fetch_add(w->wrong, memcmp(at + sizeof gw, gv, sizeof gv) != 0);
        }
    }
    return NULL;
}

static void threads_share_a_module(void **state)
{
    (void)state;
    struct trained *t = &shared;
    size_t bytes;
    void *bits = plain_bits(t, &bytes);
    atomic_int wrong = 0;
    for (uint32_t threads = 1; threads <= 2; threads++) {
        const urza_load_options options = {.threads = threads, .chunks = threads == 2 ? 3 : 0};
        struct worker worker = {trained_load(t, &options), t, bits, &wrong};
        pthread_t ids[4];
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&ids[i], NULL, work, &worker), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(ids[i], NULL);
        assert_int_equal(wrong, 0);
        assert_int_equal(stats_of(worker.module).calls, 4 * 50 * 3 * 2);
        urza_unload(worker.module);
    }
}

static void modules_do_not_know_each_other(void **state)
{
    (void)state;
    struct trained *t = &shared;
    size_t bytes;
    void *bits = plain_bits(t, &bytes);
    urza_module *a = trained_load(t, NULL), *b = trained_load(t, NULL);
    trained_clear(t);
    urza_tape *of_a = begin(t, a), *of_b = begin(t, b);
    finish(t, of_a, 0);
    urza_unload(a);
    trained_clear(t);
    memcpy(t->results[Y], bits, ROWS * 3 * sizeof(float));
    finish(t, of_b, URZA_KEEP_TAPE); /* and the tape stays until it is released */
    trained_step(t, b, 0);
    must_have(t, bits, bytes, "a second module");
    assert_int_equal(stats_of(b).calls, 4);
    urza_unload(b);
}

/* As an optimizer changes them; and the module's own values. */
static void params_are_read_where_they_lie(void **state)
{
    (void)state;
    struct trained *t = &shared;
    size_t bytes;
    urza_error err;
    urza_module *module = trained_load(t, NULL);
    float *w = t->params[W].data, *gradient = t->param_grads[W].data, old[30];
    memcpy(old, w, sizeof old);
    trained_step(t, module, 0);
    void *bits = trained_copy(t, &bytes);
    trained_clear(t);
    urza_tape *tape = NULL;
    must(trained_forward(t, module, false, &tape, &err), &err);
    finish(t, tape, 0);
    must_have(t, bits, bytes, "the module's own params");
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 30; k++)
            w[k] -= 0.05f * gradient[k];
        trained_step(t, module, 0);
        trained_judge(t, NULL);
    }
    void *after = trained_copy(t, &bytes);
    assert_memory_not_equal(after, bits, bytes);
    must(urza_param_set(module, "w", &t->params[W], &err), &err);
    must(urza_prepare(module, &err), &err);
    trained_clear(t);
    must(trained_forward(t, module, false, &tape, &err), &err);
    finish(t, tape, 0);
    must_have(t, after, bytes, "params that were set");
    memcpy(w, old, sizeof old);
    urza_unload(module);
}

static uint32_t events;
static char event_id[128];
static void on_event(void *user, const urza_event *event)
{
    (void)user;
    events++;
    snprintf(event_id, sizeof event_id, "%s", event->kernel_id);
    assert_string_equal(event->kind, "fallback");
}

static void counts_both_parts(void **state)
{
    (void)state;
    struct trained *t = &shared;
    urza_error err;
    urza_module *module = trained_load(t, NULL);
    static float y[ROWS * 3], z[ROWS * 6];
    static int32_t n[ROWS];
    DLTensor outputs[3] = {t->outputs[Y], t->outputs[N], t->outputs[Z]};
    outputs[Y].data = y;
    outputs[N].data = n;
    outputs[Z].data = z;
    must(urza_call(module, t->inputs, 2, outputs, 3, NULL, &err), &err);
    urza_stats before = stats_of(module);
    assert_int_equal(before.calls, 1);
    trained_step(t, module, 0);
    urza_stats after = stats_of(module);
    assert_int_equal(after.calls, 3);
    assert_int_equal(after.native_calls + after.fallback_calls, 3);
    assert_int_equal(after.shape_misses, 2);
    if (target_best_here())
        assert_int_equal(after.launches - before.launches,
                         t->contents.step->targets[0].plan.forward.count);
    must_give(
        urza_forward_train(module, t->inputs, 1, NULL, 0, outputs, 3, &(urza_tape *){NULL}, &err),
        ERR_INPUT, &err, "1 inputs are given, expected 2");
    assert_int_equal(stats_of(module).calls, 4);
    urza_unload(module);
    events = 0;
    module = trained_load(t, &(urza_load_options){.target = "interpreter", .on_event = on_event});
    trained_step(t, module, 0);
    assert_int_equal(events, 2);
    assert_string_equal(event_id, urza_kernel_id(module));
    after = stats_of(module);
    assert_int_equal(after.fallback_calls, 2);
    assert_int_equal(after.native_calls, 0);
    assert_int_equal(after.launches, 0);
    assert_string_equal(after.last_fallback, "the interpreter was asked for");
    urza_unload(module);
}

/* Launches of the step are numbered behind those of the block, each traced once for each chunk. */
static void traces_both_parts(void **state)
{
    (void)state;
    if (!target_best_here())
        skip();
    struct trained *t = &shared;
    urza_error err;
    urza_span spans[256];
    const struct plan *block = &t->contents.targets[0].plan;
    const struct plan *step = &t->contents.step->targets[0].plan;
    struct plan_entry first;
    assert_true(plan_find_entry(step, "forward_train", &first));
    urza_module *module = trained_load(t, &(urza_load_options){.chunks = 2});
    must(urza_trace_begin(module, spans, 256, &err), &err);
    urza_tape *tape = begin(t, module);
    uint32_t base = block->prepare.count + block->forward.count + step->prepare.count;
    uint32_t seen[64] = {0};
    finish(t, tape, 0);
    uint32_t count = urza_trace_end(module);
    assert_true(count > step->forward.count && count <= 256);
    for (uint32_t i = 0; i < count; i++) {
        assert_in_range(spans[i].launch, base, base + step->forward.count - 1);
        assert_true(i == 0 || spans[i].launch >= spans[i - 1].launch);
        assert_true(spans[i].chunk < spans[i].chunks && spans[i].end_ns >= spans[i].begin_ns);
        seen[spans[i].launch - base] += spans[i].chunks == 1 ? 2 : 1;
    }
    for (uint32_t i = 0; i < step->forward.count; i++)
        assert_int_equal(seen[i], 2);
    static float y[ROWS * 3], z[ROWS * 6];
    static int32_t n[ROWS];
    DLTensor outputs[3] = {t->outputs[Y], t->outputs[N], t->outputs[Z]};
    outputs[Y].data = y;
    outputs[N].data = n;
    outputs[Z].data = z;
    must(urza_trace_begin(module, spans, 256, &err), &err);
    must(urza_call(module, t->inputs, 2, outputs, 3, NULL, &err), &err);
    count = urza_trace_end(module);
    for (uint32_t i = 0; i < count; i++)
        assert_in_range(spans[i].launch, block->prepare.count, base - step->prepare.count - 1);
    trained_step(t, module, 0); /* without a trace again */
    urza_unload(module);
}

/* Stops the module in the n-th launch that is handed out. */
static struct {
    urza_module *module;
    uint32_t seen, at;
} stopping;
static void parallel(void *user, void (*task)(void *argument, uint32_t index), void *argument,
                     uint32_t count)
{
    (void)user;
    if (++stopping.seen == stopping.at)
        urza_interrupt(stopping.module);
    for (uint32_t i = 0; i < count; i++)
        task(argument, i);
}

static void loops_can_be_interrupted(void **state)
{
    (void)state;
    if (!target_best_here())
        skip();
    static const int64_t trips[LIMIT_NAMED_DIMS] = {30};
    struct trained t;
    urza_error err;
    size_t bytes;
    urza_tape *tape = NULL;
    trained_compile_text(&t, loop_text, NULL);
    trained_size(&t, trips, 3, FILL_NORMAL);
    void *bits = plain_bits(&t, &bytes);
    urza_module *module = trained_load(&t, &(urza_load_options){.chunks = 2, .parallel = parallel});
    stopping.module = module;
    stopping.seen = stopping.at = 0;
    tape = begin(&t, module);
    uint32_t of_forward = stopping.seen;
    finish(&t, tape, 0);
    uint32_t of_both = stopping.seen;
    must_have(&t, bits, bytes, "chunks of the host's threads");
    assert_true(of_forward >= 30 && of_both >= of_forward + 60);
    stopping.seen = 0; /* in the middle of the loop of forward_train */
    stopping.at = of_forward / 2;
    must_give(trained_forward(&t, module, true, &tape, &err), ERR_CANCELLED, &err, "interrupted");
    assert_int_equal(stopping.at, of_forward / 2);
    assert_true(stopping.seen < of_forward);
    for (uint32_t keep = 0; keep < 2; keep++) { /* in that of backward */
        stopping.at = 0;
        tape = begin(&t, module);
        stopping.seen = 0;
        stopping.at = (of_both - of_forward) / 2;
        must_give(trained_backward(&t, tape, keep ? URZA_KEEP_TAPE : 0, &err), ERR_CANCELLED, &err,
                  "interrupted");
        assert_true(stopping.seen < of_both - of_forward);
        if (keep) { /* then another pass gives the same */
            finish(&t, tape, 0);
            must_have(&t, bits, bytes, "after an interruption");
            continue;
        }
        must_give(trained_backward(&t, tape, 0, &err), ERR_USAGE, &err, "the tape was used");
        urza_tape_release(tape);
    }
    trained_step(&t, module, 0);
    must_have(&t, bits, bytes, "after interruptions");
    urza_unload(module);
    trained_release(&t);
}

/* As run.h promises: 16 KiB are enough to load, for both parts of a step, and to unload. */
struct on_stack {
    struct trained *t;
    const char *target; /* NULL with t: the best one */
};

static void *step_on_stack(void *argument)
{
    struct on_stack *job = argument;
    if (!job)
        return NULL;
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .target = job->target};
    urza_module *module = NULL;
    assert_int_equal(
        urza_load_memory(job->t->package, job->t->package_bytes, &options, &module, NULL), 0);
    urza_tape *tape = NULL;
    assert_int_equal(trained_forward(job->t, module, true, &tape, NULL), 0);
    assert_int_equal(trained_backward(job->t, tape, URZA_KEEP_TAPE, NULL), 0);
    assert_int_equal(trained_backward(job->t, tape, 0, NULL), 0);
    urza_tape_release(tape);
    urza_unload(module);
    return NULL;
}

/* How much of a stack of that size is used, below which lies a page that nobody may touch. */
static size_t run_on_stack(size_t bytes, struct on_stack *job)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), unused = 0;
    bytes = (bytes + page - 1) / page * page;
    char *memory =
        mmap(NULL, page + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(memory, page, PROT_NONE), 0);
    memset(memory + page, 0x5a, bytes);
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstack(&attributes, memory + page, bytes), 0);
    assert_int_equal(pthread_create(&thread, &attributes, step_on_stack, job), 0);
    pthread_join(thread, NULL);
    while (memory[page + unused] == 0x5a)
        unused++;
    munmap(memory, page + bytes);
    return bytes - unused;
}

static void little_stack_is_enough(void **state)
{
    (void)state;
    if (URZA_SANITIZED)
        skip(); /* sanitizers take stack of their own */
    static const char *const targets[] = {NULL, "interpreter"};
    size_t bytes;
    void *bits = plain_bits(&shared, &bytes);
    size_t start = run_on_stack((size_t)1 << 20, NULL); /* what starting a thread takes */
    for (size_t i = 0; i < 2; i++) {
        trained_clear(&shared);
        run_on_stack(start + ((size_t)16 << 10), &(struct on_stack){&shared, targets[i]});
        if (i == 0)
            must_have(&shared, bits, bytes, "on little stack");
        else
            trained_judge(&shared, NULL);
    }
}

/* The values that a program begins to train with. */
static void params_have_data(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    struct trained *t = &shared;
    for (size_t i = 0; i < 2; i++) {
        urza_module *module = trained_load(t, &(urza_load_options){.target = targets[i]});
        urza_error err;
        for (uint32_t k = 0; k < t->param_count; k++) {
            const void *data = urza_param_data(module, k);
            assert_non_null(data);
            assert_memory_equal(data, t->contents.params[k].data, t->contents.params[k].data_bytes);
        }
        assert_null(urza_param_data(module, t->param_count));
        assert_null(urza_param_data(module, UINT32_MAX));
        float other[30];
        for (int k = 0; k < 30; k++)
            other[k] = (float)k;
        DLTensor w = t->params[W];
        w.data = other;
        must(urza_param_set(module, "w", &w, &err), &err);
        must(urza_prepare(module, &err), &err);
        assert_memory_equal(urza_param_data(module, W), other, sizeof other);
        assert_memory_equal(urza_param_data(module, V), t->contents.params[V].data,
                            t->contents.params[V].data_bytes);
        urza_unload(module);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_tape),
        cmocka_unit_test(many_tapes),
        cmocka_unit_test(threads_share_a_module),
        cmocka_unit_test(modules_do_not_know_each_other),
        cmocka_unit_test(params_are_read_where_they_lie),
        cmocka_unit_test(a_tape_keeps_its_module),
        cmocka_unit_test(counts_both_parts),
        cmocka_unit_test(traces_both_parts),
        cmocka_unit_test(loops_can_be_interrupted),
        cmocka_unit_test(params_have_data),
        cmocka_unit_test(little_stack_is_enough),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
