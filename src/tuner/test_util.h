/* Helpers of the tuner's tests: kernels as graph text, a temporary folder, recorded warnings. */
#ifndef URZA_TUNER_TEST_UTIL_H
#define URZA_TUNER_TEST_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "tuner/visit_priv.h"

#include <cmocka.h>

#define TEST_TARGET "x86-64-v2" /* supported by every machine that runs the tests */

/* y[m, n] = x[m, k] w[k, n] + b[n] */
#define PRODUCT(m, n, k)                                               \
    "graph \"\"\n"                                                     \
    "%1 = input \"a0\" : f32[" m ", " k "]\n"                          \
    "%2 = input \"a1\" : f32[" k ", " n "]\n"                          \
    "%3 = input \"a2\" : f32[" n "]\n"                                 \
    "%4 = transpose %2 {axes [1, 0]} : f32[" n ", " k "]\n"            \
    "%5 = contract %1, %4 {batch 0, contract 1} : f32[" m ", " n "]\n" \
    "%6 = broadcast %3 {axes [1]} : f32[" m ", " n "]\n"               \
    "%7 = add %5, %6 : f32[" m ", " n "]\n"                            \
    "output \"y\" %7\n"
#define PRODUCT_OP "contract+add"

struct fixture {
    struct arena arena;
    char folder[32];
    char warnings[4096]; /* one line each */
    uint32_t warning_count;
    char choices[1024]; /* names of the sources of choices, each followed by a space */
};

static inline void note_warning(void *user, const char *message)
{
    struct fixture *f = user;
    size_t used = strlen(f->warnings);
    snprintf(f->warnings + used, sizeof f->warnings - used, "%s\n", message);
    f->warning_count++;
}

static inline void note_choice(void *user, const urza_tune_choice *choice)
{
    struct fixture *f = user;
    size_t used = strlen(f->choices);
    snprintf(f->choices + used, sizeof f->choices - used, "%s ",
             urza_config_source_name(choice->source));
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f)
        return 1;
    arena_init(&f->arena);
    snprintf(f->folder, sizeof f->folder, "/tmp/urza-tuner-XXXXXX");
    *state = f;
    return mkdtemp(f->folder) ? 0 : 1;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", f->folder);
    int status = system(command);
    arena_release(&f->arena);
    free(f);
    return status;
}

#define TUNER_TEST(function) \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

static inline urza_tuner *open_tuner_in(struct fixture *f, urza_tune_policy policy)
{
    urza_tuner_options options = {.directory = f->folder,
                                  .policy = policy,
                                  .budget_s = 0.2,
                                  .on_warning = note_warning,
                                  .on_choice = note_choice,
                                  .user = f};
    urza_tuner *tuner = NULL;
    assert_int_equal(urza_tuner_open(&options, &tuner, NULL), 0);
    return tuner;
}

static inline bool keep_visit(struct visit *visit, void *context, struct error *err)
{
    (void)err;
    tuner_keep(visit, context, true);
    return true;
}

static inline void keep(urza_tuner *tuner, struct entry *entry)
{
    struct error err;
    assert_true(visit_run(tuner, keep_visit, entry, &err));
}

static inline struct invocation invocation_from(struct fixture *f, const char *graph)
{
    struct kernel_case *kernel = ARENA_NEW(&f->arena, struct kernel_case);
    struct invocation out;
    struct error err = {0};
    if (!case_parse(graph, TEST_TARGET, &f->arena, kernel, &err) ||
        !invocation_of_case(kernel, &f->arena, &out, &err))
        fail_msg("%s: %s", err.place, err.message);
    return out;
}

/* An entry for this device with an invented measurement. */
static inline struct entry entry_from(struct fixture *f, const struct invocation *invocation,
                                      int32_t rows, int64_t at)
{
    struct device device;
    struct entry entry = {.invocation = invocation->json,
                          .measured = true,
                          .config.value[CONFIG_ROWS] = rows,
                          .ns = 100,
                          .heuristic_ns = 200,
                          .at = at,
                          .timings = "[]"};
    device_ask(&f->arena, &device);
    memcpy(entry.key, invocation->key, sizeof entry.key);
    memcpy(entry.device, device.fingerprint, sizeof entry.device);
    return entry;
}

#endif
