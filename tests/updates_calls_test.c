/* Calls of urza_step: every error, behind which nothing was written; tensors that are strided or
 * lie at odd addresses; memory; forks and threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "support/updated.h"

#include "base/faults_test_util.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* w is updated in place, m by a staged copy; y updates nothing. */
#define TEXT                                                \
    "graph \"g\"\ndim N 0..500 multiple 1 typical 8\n"      \
    "%1 = input \"w\" : f32[N, 6]\n"                        \
    "%2 = input \"m\" : f32[N, 6]\n"                        \
    "%3 = input \"x\" : f32[N, 6]\n"                        \
    "%4 = sub %1, %3 : f32[N, 6]\n"                         \
    "%5 = reverse %2 {axes [0, 1]} : f32[N, 6]\n"           \
    "%6 = mul %3, %3 : f32[N, 6]\n"                         \
    "output \"w2\" %4\noutput \"y\" %6\noutput \"m2\" %5\n" \
    "update \"w\" by \"w2\"\nupdate \"m\" by \"m2\"\n"
enum { W, M, X, INPUTS };
enum { W2, Y, M2 };
enum { ROWS = 9, COLUMNS = 6, COUNT = ROWS * COLUMNS };

static struct updated shared;

static int setup(void **state)
{
    (void)state;
    updated_compile(&shared, TEXT, NULL);
    updated_size(&shared, ROWS, 3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    updated_release(&shared);
    return 0;
}

/* Tensors of one step, in memory with room for strides and odd addresses. */
struct step {
    float data[INPUTS][4 * COUNT + 8], y[4 * COUNT + 8];
    DLTensor in[INPUTS], out[1];
    int64_t strides[INPUTS + 1][2];
};

static void fill(struct step *s, urza_module *module)
{
    memset(s, 0x5a, sizeof *s);
    for (uint32_t i = 0; i < INPUTS; i++) {
        memcpy(s->data[i], shared.sample.inputs[i].data, COUNT * sizeof(float));
        s->in[i] = updated_input(&shared, module, i, s->data[i]);
    }
    s->out[0] = updated_output(&shared, module, Y, s->y);
}

static int step(urza_module *module, struct step *s, urza_error *err)
{
    return urza_step(module, s->in, INPUTS, s->out, 1, err);
}

static void must(int code, const urza_error *err)
{
    if (code != 0)
        TEST_FAILED("%s: %s: %s", urza_error_name(code), err->place, err->message);
}

static float at(const DLTensor *t, int64_t row, int64_t column)
{
    const int64_t *strides = t->strides;
    const char *data = (const char *)t->data + t->byte_offset;
    float value;
    memcpy(&value,
           data + (strides ? row * strides[0] + column * strides[1] : row * COLUMNS + column) *
                      (int64_t)sizeof value,
           sizeof value);
    return value;
}

/* By hand, from the sample's inputs. */
static void must_be_stepped(const struct step *s, const char *how)
{
    const float *w = shared.sample.inputs[W].data, *m = shared.sample.inputs[M].data,
                *x = shared.sample.inputs[X].data;
    for (int i = 0; i < COUNT; i++) {
        int64_t r = i / COLUMNS, c = i % COLUMNS;
        if (at(&s->in[W], r, c) != w[i] - x[i] || at(&s->in[M], r, c) != m[COUNT - 1 - i] ||
            at(&s->in[X], r, c) != x[i] || at(&s->out[0], r, c) != x[i] * x[i])
            TEST_FAILED("%s: element %d", how, i);
    }
}

static void wherever_tensors_lie(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    for (int t = 0; t < 2; t++) {
        urza_module *module = updated_load(&shared, &(urza_load_options){.target = targets[t]});
        for (int spread = 0; spread < 16; spread++) { /* bit i: tensor i has strides */
            for (size_t offset = 0; offset < 8; offset += 1 + offset / 3) {
                struct step s;
                urza_error err;
                fill(&s, module);
                for (uint32_t i = 0; i <= INPUTS; i++) {
                    DLTensor *tensor = i < INPUTS ? &s.in[i] : &s.out[0];
                    float *data = i < INPUTS ? s.data[i] : s.y;
                    const float *from = i < INPUTS ? shared.sample.inputs[i].data : NULL;
                    bool strided = (spread >> i & 1) != 0;
                    s.strides[i][0] = strided ? 4 * COLUMNS : COLUMNS;
                    s.strides[i][1] = strided ? -2 : 1; /* backwards, with gaps */
                    tensor->strides = s.strides[i];
                    tensor->byte_offset = offset + (strided ? 2 * COLUMNS * sizeof(float) : 0);
                    for (int k = 0; from && k < COUNT; k++)
                        memcpy((char *)data + tensor->byte_offset +
                                   (k / COLUMNS * s.strides[i][0] + k % COLUMNS * s.strides[i][1]) *
                                       (int64_t)sizeof(float),
                               &from[k], sizeof(float));
                }
                must(step(module, &s, &err), &err);
                must_be_stepped(&s, targets[t] ? targets[t] : "native");
            }
        }
        urza_unload(module);
    }
}

/* One tensor that is wrong, and the words and place of its refusal. */
struct wrong {
    int index; /* of inputs; INPUTS: the output */
    const char *place, *words;
    float *data;
    int64_t *shape, *strides;
    int32_t ndim;
    uint8_t bits;
    bool no_data;
};

static void refuse(urza_module *module, struct step *s, const struct wrong *w)
{
    urza_error err;
    DLTensor *tensor = w->index < INPUTS ? &s->in[w->index] : &s->out[0], kept = *tensor;
    struct step before;
    tensor->data = w->no_data ? NULL : w->data ? w->data : kept.data;
    tensor->shape = w->shape ? w->shape : kept.shape;
    tensor->strides = w->strides;
    tensor->ndim = w->ndim ? w->ndim : kept.ndim;
    tensor->dtype.bits = w->bits ? w->bits : kept.dtype.bits;
    before = *s;
    int code = step(module, s, &err);
    if (code != ERR_INPUT || !strstr(err.message, w->words) || !strstr(err.place, w->place))
        TEST_FAILED("expected '%s' at '%s', got %s: %s: %s", w->words, w->place,
                    urza_error_name(code), code ? err.place : "", code ? err.message : "");
    if (memcmp(&before, s, sizeof before) != 0)
        TEST_FAILED("a refused step wrote something: %s", w->words);
    *tensor = kept;
}

static void what_is_refused(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    for (int t = 0; t < 2; t++) {
        urza_module *module = updated_load(&shared, &(urza_load_options){.target = targets[t]});
        struct step s;
        urza_error err;
        fill(&s, module);
        int64_t wide[2] = {ROWS, 7}, less[2] = {ROWS - 1, COLUMNS}, still[2] = {0, 1},
                folded[2] = {3, 1};
        const struct wrong cases[] = {
            {W, "input 'w'", "is updated, and shares memory with another input", s.data[X], 0, 0, 0,
             0, 0},
            {W, "input 'w'", "shares memory", s.data[X] + 1, 0, 0, 0, 0, 0},
            {W, "input 'w'", "shares memory", s.data[X] + COUNT - 1, 0, 0, 0, 0, 0},
            {W, "input 'w'", "shares memory", s.data[M], 0, 0, 0, 0, 0},
            {M, "input 'm'", "shares memory", s.data[X], 0, 0, 0, 0, 0},
            {INPUTS, "output 'y'", "shares memory", s.data[W], 0, 0, 0, 0, 0},
            {INPUTS, "output 'y'", "shares memory", s.data[M] + COUNT - 1, 0, 0, 0, 0, 0},
            {INPUTS, "output 'y'", "shares memory", s.data[X], 0, 0, 0, 0, 0},
            {W, "input 'w'", "same address", 0, 0, still, 0, 0, 0},
            {M, "input 'm'", "same address", 0, 0, folded, 0, 0, 0},
            {INPUTS, "output 'y'", "same address", 0, 0, still, 0, 0, 0},
            {W, "input 'w'", "no data", 0, 0, 0, 0, 0, true},
            {X, "input 'x'", "no data", 0, 0, 0, 0, 0, true},
            {INPUTS, "output 'y'", "no data", 0, 0, 0, 0, 0, true},
            {W, "'w'", "", 0, wide, 0, 0, 0, 0},
            {M, "'m'", "", 0, less, 0, 0, 0, 0},
            {INPUTS, "output 'y'", "dim 0", 0, less, 0, 0, 0, 0},
            {INPUTS, "output 'y'", "dim 1", 0, wide, 0, 0, 0, 0},
            {W, "input 'w'", "expected 2", 0, 0, 0, 1, 0, 0},
            {INPUTS, "output 'y'", "expected 2", 0, 0, 0, 1, 0, 0},
            {W, "input 'w'", "f64", 0, 0, 0, 0, 64, 0},
            {INPUTS, "output 'y'", "another dtype", 0, 0, 0, 0, 64, 0},
        };
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            refuse(module, &s, &cases[i]);
        const struct {
            uint32_t inputs, outputs;
            const char *words;
        } counts[] = {{2, 1, "2 inputs"},
                      {4, 1, "4 inputs"},
                      {3, 0, "0 outputs are given, expected 1"},
                      {3, 3, "3 outputs are given, expected 1"}};
        struct step before = s;
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            DLTensor in[4] = {s.in[0], s.in[1], s.in[2], s.in[2]}, out[3] = {s.out[0], s.out[0]};
            assert_int_equal(urza_step(module, in, counts[i].inputs, out, counts[i].outputs, &err),
                             ERR_INPUT);
            if (!strstr(err.message, counts[i].words))
                TEST_FAILED("%s, expected %s", err.message, counts[i].words);
        }
        assert_int_equal(urza_step(module, NULL, 3, s.out, 1, &err), ERR_INPUT);
        assert_int_equal(urza_step(module, s.in, 3, NULL, 1, &err), ERR_INPUT);
        assert_int_equal(urza_step(NULL, s.in, 3, s.out, 1, &err), ERR_USAGE);
        assert_int_equal(urza_step(module, s.in, 3, s.out, 0, NULL), ERR_INPUT);
        assert_memory_equal(&before, &s, sizeof s);
        must(step(module, &s, &err), &err); /* no context was lost */
        must_be_stepped(&s, "after refusals");
        urza_unload(module);
    }
}

/* Inputs that are only read may lie over each other; tensors without elements share nothing. */
static void what_is_not_refused(void **state)
{
    (void)state;
    urza_module *module = updated_load(&shared, NULL);
    struct step s;
    urza_error err;
    int64_t empty[2] = {0, COLUMNS};
    fill(&s, module);
    for (int i = 0; i < INPUTS; i++) {
        s.in[i].shape = empty;
        s.in[i].data = s.data[0];
    }
    s.out[0].shape = empty;
    s.out[0].data = s.data[0];
    struct step before = s;
    must(step(module, &s, &err), &err);
    for (int i = 0; i < INPUTS; i++)
        s.in[i].data = NULL;
    s.out[0].data = NULL;
    must(step(module, &s, &err), &err);
    assert_memory_equal(before.data, s.data, sizeof s.data);
    urza_unload(module);
}

static void a_package_without_updates(void **state)
{
    (void)state;
    struct updated u;
    urza_error err;
    float x = 1, y = 2;
    updated_compile(
        &u, "graph \"g\"\n%1 = input \"x\" : f32[]\n%2 = neg %1 : f32[]\noutput \"y\" %2\n", NULL);
    updated_size(&u, 1, 1);
    urza_module *module = updated_load(&u, NULL);
    DLTensor in = updated_input(&u, module, 0, &x), out = updated_output(&u, module, 0, &y);
    assert_int_equal(urza_output_updates(module, 0), URZA_NO_INPUT);
    assert_int_equal(urza_output_updates(module, 1), URZA_NO_INPUT);
    assert_int_equal(urza_step(module, &in, 1, &out, 1, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no output of the package updates an input: it is no "));
    assert_true(x == 1 && y == 2);
    urza_unload(module);
    updated_release(&u);
}

static void later_steps_allocate_nothing(void **state)
{
    (void)state;
    if (!FAULTS_COUNTED) {
        print_message("allocations cannot be counted under a sanitizer\n");
        skip();
    }
    urza_module *module = updated_load(&shared, &(urza_load_options){.threads = 2, .chunks = 4});
    struct step s;
    urza_error err;
    for (int round = 0; round < 4; round++) {
        fill(&s, module);
        s.strides[M][0] = 2 * COLUMNS;
        s.strides[M][1] = 2;
        s.in[M].strides = round % 2 ? s.strides[M] : NULL; /* staged twice */
        if (round > 1)
            faults_begin(FAULTS_OURS, 0, 0);
        int code = step(module, &s, &err);
        faults_end();
        must(code, &err);
        if (round > 1)
            assert_int_equal(faults.count, 0);
    }
    urza_unload(module);
}

/* Each allocation of a first step may fail: it says so, nothing was written, the next one works. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    if (!FAULTS_COUNTED) {
        print_message("allocations cannot be counted under a sanitizer\n");
        skip();
    }
    static const char *const targets[] = {NULL, "interpreter"};
    for (int t = 0; t < 2; t++) {
        uint32_t failed = 0;
        for (uint64_t n = 1;; n++) {
            urza_module *module = updated_load(&shared, &(urza_load_options){.target = targets[t]});
            struct step s;
            urza_error err;
            fill(&s, module);
            struct step before = s;
            faults_begin(FAULTS_OURS, n, 0);
            int code = step(module, &s, &err);
            faults_end();
            if (code != 0 && code != ERR_NOMEM)
                TEST_FAILED("allocation %llu: %s", (unsigned long long)n, urza_error_name(code));
            if (code != 0) {
                failed++;
                assert_memory_equal(&before, &s, sizeof s);
                must(step(module, &s, &err), &err);
            }
            must_be_stepped(&s, "after an allocation that failed");
            bool end = faults.count < n;
            urza_unload(module);
            if (end)
                break;
        }
        assert_true(failed > 0);
    }
}

struct working {
    urza_module *module;
    bool ok;
};

static void *work(void *argument)
{
    struct working *w = argument;
    for (int i = 0; i < 200; i++) {
        struct step s;
        urza_error err;
        fill(&s, w->module);
        w->ok = w->ok && step(w->module, &s, &err) == 0;
        must_be_stepped(&s, "on several threads");
    }
    return NULL;
}

static void several_threads_step_at_once(void **state)
{
    (void)state;
    urza_module *module = updated_load(&shared, &(urza_load_options){.threads = 2, .chunks = 3});
    pthread_t threads[3];
    struct working working[3];
    for (int i = 0; i < 3; i++) {
        working[i] = (struct working){module, true};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &working[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(working[i].ok);
    }
    urza_unload(module);
}

static void behind_a_fork(void **state)
{
    (void)state;
    urza_module *module = updated_load(&shared, &(urza_load_options){.threads = 2, .chunks = 4});
    struct step s;
    urza_error err;
    int status;
    fill(&s, module);
    must(step(module, &s, &err), &err);
    pid_t child = fork();
    if (child == 0) {
        fill(&s, module);
        bool ok = step(module, &s, &err) == 0;
        for (int i = 0; ok && i < COUNT; i++)
            ok = s.data[M][i] == ((const float *)shared.sample.inputs[M].data)[COUNT - 1 - i];
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fill(&s, module);
    must(step(module, &s, &err), &err);
    must_be_stepped(&s, "behind a fork");
    urza_unload(module);
}

/* A loop that does not end by itself. */
#define ENDLESS                                                                                 \
    "graph \"endless\"\n%1 = input \"x\" : f32[]\n%2 = input \"go\" : bool[]\n"                 \
    "%3 = state %1 {loop 1, index 0} : f32[]\n%4 = state %2 {loop 1, index 1} : bool[]\n"       \
    "%5 = const 1 : f32[]\n%6 = add %3, %5 : f32[]\n%7 = copy %6 : f32[]\n"                     \
    "%8 = copy %4 : bool[]\n"                                                                   \
    "%9 = loop %3, %4, %7, %8 {loop 1, index 0, states 2, dim [2147483647], while 1} : f32[]\n" \
    "output \"x2\" %9\nupdate \"x\" by \"x2\"\n"

struct stuck {
    struct updated u;
    urza_module *module;
    float x;
    uint8_t go;
    int code;
    atomic_bool ended;
};

static void *step_endlessly(void *argument)
{
    struct stuck *stuck = argument;
    urza_error err;
    DLTensor in[2] = {updated_input(&stuck->u, stuck->module, 0, &stuck->x),
                      updated_input(&stuck->u, stuck->module, 1, &stuck->go)};
    stuck->code = urza_step(stuck->module, in, 2, NULL, 0, &err);
    atomic_store(&stuck->ended, true);
    return NULL;
}

static void steps_can_be_interrupted(void **state)
{
    (void)state;
    static const char *const targets[] = {NULL, "interpreter"};
    static struct stuck stuck;
    updated_compile(&stuck.u, ENDLESS, NULL);
    updated_size(&stuck.u, 1, 1);
    for (int t = 0; t < 2; t++) {
        const struct timespec while_it_runs = {.tv_nsec = 20000000};
        pthread_t thread;
        stuck.module = updated_load(&stuck.u, &(urza_load_options){.target = targets[t]});
        stuck.x = 1;
        stuck.go = 1;
        atomic_store(&stuck.ended, false);
        assert_int_equal(pthread_create(&thread, NULL, step_endlessly, &stuck), 0);
        nanosleep(&while_it_runs, NULL);
        assert_false(atomic_load(&stuck.ended));
        while (!atomic_load(&stuck.ended)) { /* the first may come before the step begins */
            urza_interrupt(stuck.module);
            nanosleep(&while_it_runs, NULL);
        }
        pthread_join(thread, NULL);
        assert_int_equal(stuck.code, ERR_CANCELLED);
        assert_true(stuck.x == 1); /* the loop's result would be copied behind it */
        stuck.go = 0;
        step_endlessly(&stuck);
        assert_int_equal(stuck.code, 0);
        assert_true(stuck.x == 1);
        urza_unload(stuck.module);
    }
    updated_release(&stuck.u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wherever_tensors_lie),         cmocka_unit_test(what_is_refused),
        cmocka_unit_test(what_is_not_refused),          cmocka_unit_test(a_package_without_updates),
        cmocka_unit_test(later_steps_allocate_nothing), cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(several_threads_step_at_once), cmocka_unit_test(behind_a_fork),
        cmocka_unit_test(steps_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
