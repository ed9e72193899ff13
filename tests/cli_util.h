/* What the tests of the program `urza` share: a folder, and a run of the program inside it.
 *
 * Failures of these helpers fail the test. What they return lives as long as the fixture. */
#ifndef URZA_TESTS_CLI_UTIL_H
#define URZA_TESTS_CLI_UTIL_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"

/* What cmocka's fail_msg does. */
#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* A folder of its own for each case; the program and its URZA_HOME are in there. */
struct fixture {
    struct arena arena;
    char folder[64];
    const char *program; /* build/urza */
};

/* What one run of the program left. Texts live in the fixture's arena. */
struct outcome {
    int status; /* exit status; -1: killed by a signal */
    const char *out, *err;
    size_t out_bytes, err_bytes;
};

/* Blueprints: y[B, 5] = relu(x[B, 6] w), c[B, 3] = a + b, and a BlueprintIR network. */
extern const char blueprint_mlp[], blueprint_sum[], blueprint_ir[];

/* One case in a folder of its own; build: the build folder, from main's environment. */
#define CLI_TEST(function, build) \
    cmocka_unit_test_prestate_setup_teardown(function, fixture_setup, fixture_teardown, build)
int fixture_setup(void **state);
int fixture_teardown(void **state);

const char *path_of(struct fixture *f, const char *name); /* of a file in the folder */
void put(struct fixture *f, const char *name, const void *data, size_t size);
void put_npy(struct fixture *f, const char *name, const char *descr, uint32_t rank,
             const int64_t *shape, const void *data);
const char *get(struct fixture *f, const char *name, size_t *out_size); /* one zero byte behind it
                                                                         */
bool exists(struct fixture *f, const char *name);
json_t *member(const json_t *object, const char *key); /* borrowed */

/* Runs the program in the folder. line: arguments separated by single spaces; home: folder of keys;
 * in and out: paths. */
struct outcome run_at(struct fixture *f, const char *home, const char *in, const char *out,
                      const char *line);
struct outcome run(struct fixture *f, const char *line);
struct outcome expect(struct fixture *f, enum error_code code, const char *line); /* exit status */
json_t *answer(struct fixture *f, const char *line); /* what a --json run says; caller releases */
/* An error with --json: the class on standard error, nothing on standard output. */
void refuse(struct fixture *f, enum error_code code, const char *line);
void compile(struct fixture *f, const char *text, const char *options); /* to net.urza */

#endif
