/* `urza compile --specialise`: what is said of a package with kernels for given sizes, and that
 * these are what calls of these sizes run. */
#include "cli_util.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/file.h"

static void put_block(struct fixture *f)
{
    struct error err = {0};
    size_t size;
    char *text;
    if (!file_read("examples/transformer_block.json", LIMIT_JSON_BYTES, &text, &size, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
    put(f, "net.json", text, size);
    free(text);
}

static void says(struct fixture *f, const char *line, const char *words)
{
    struct outcome seen = expect(f, ERR_NONE, line);
    if (!strstr(seen.out, words))
        TEST_FAILED("%s: expected '%s', got %s", line, words, seen.out);
}

/* The kernels that the launches of a call run at these sizes, as text. */
static const char *kernels_at(struct fixture *f, const char *dims)
{
    char line[160], *out = arena_alloc(&f->arena, 512, 1);
    snprintf(line, sizeof line, "profile net.urza --no-peak --seconds 0.01 --dims %s --json", dims);
    json_t *object = answer(f, line);
    const json_t *launches = member(object, "launches");
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(launches); i++) {
        const json_t *launch = json_array_get(launches, i);
        if (json_is_false(member(launch, "prepare")))
            used += (size_t)snprintf(out + used, 512 - used, "%d ",
                                     (int)json_integer_value(member(launch, "kernel")));
    }
    json_decref(object);
    return out;
}

static void sizes_have_their_own_kernels(void **state)
{
    struct fixture *f = *state;
    put_block(f);
    expect(f, ERR_NONE,
           "compile net.json --specialise B=2 --specialize S=12,B=2 --strategy fast --target "
           "native -o net.urza");
    says(f, "inspect net.urza", "at B=2 S=12 10 of 10 launches have kernels of their own\n");
    says(f, "inspect net.urza", "at B=2 10 of 10 launches have kernels of their own\n");
    json_t *about = answer(f, "inspect net.urza --json");
    const json_t *list = member(about, "specialised"), *first = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_integer_value(member(member(first, "dims"), "B")), 2);
    assert_int_equal(json_integer_value(member(member(first, "dims"), "S")), 12);
    assert_int_equal(json_integer_value(member(first, "own")), 10);
    assert_int_equal(json_integer_value(member(first, "launches")), 10);
    json_decref(about);
    const char *exact = kernels_at(f, "B=2,S=12"), *partly = kernels_at(f, "B=2,S=11");
    const char *general = kernels_at(f, "B=3,S=12");
    assert_string_not_equal(exact, partly);
    assert_string_not_equal(exact, general);
    assert_string_not_equal(partly, general);
    assert_string_equal(partly, kernels_at(f, "B=2,S=13"));
    assert_string_equal(general, kernels_at(f, "B=1,S=11"));
}

/* Of two that name as many dims, a call that fits both runs the first. */
static void the_first_of_equals_counts(void **state)
{
    struct fixture *f = *state;
    put_block(f);
    expect(f, ERR_NONE,
           "compile net.json --specialise B=2 --specialise S=12 --strategy fast --target native "
           "-o net.urza");
    const char *both = kernels_at(f, "B=2,S=12");
    assert_string_equal(both, kernels_at(f, "B=2,S=11"));
    assert_string_not_equal(both, kernels_at(f, "B=3,S=12"));
}

static void a_training_step_too(void **state)
{
    struct fixture *f = *state;
    put_block(f);
    expect(f, ERR_NONE,
           "compile net.json --specialise B=2,S=12 --backward --strategy fast --target native "
           "-o net.urza");
    json_t *about = answer(f, "inspect net.urza --json");
    const json_t *list = member(member(about, "training"), "specialised");
    assert_int_equal(json_array_size(list), 1);
    assert_true(json_integer_value(member(json_array_get(list, 0), "own")) > 10);
    json_decref(about);
    compile(f, blueprint_sum, " --strategy fast --target native");
    about = answer(f, "inspect net.urza --json");
    assert_int_equal(json_array_size(member(about, "specialised")), 0);
    json_decref(about);
}

/* Names that a model spells in its own way are given so, and shown so. */
static void spelled_names_too(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    size_t size;
    char *model;
    if (!file_read("tests/data/cli/spelled.onnx", LIMIT_JSON_BYTES, &model, &size, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
    put(f, "net.onnx", model, size);
    free(model);
    expect(f, ERR_NONE, "compile net.onnx --specialise 2*seq=6 --strategy fast -o net.urza");
    says(f, "inspect net.urza", "at 2*seq=6 1 of 1 launches");
}

static void wrong_sizes_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[][2] = {
        {"--specialise X=1", "no dim is named 'X'"},
        {"--specialise B=0", "'B' is 1 to 256, never 0"},
        {"--specialise B", "expected NAME=SIZE"},
        {"--specialise=", "--specialise is empty, expected LIST"},
        {"--specialise=B=1 --specialize=", "--specialize is empty"},
        {"--specialise=B=1,", "'', expected NAME=SIZE"},
        {"--dim=", "--dim is empty, expected NAME=SIZE"},
        {"--target=", "the list of targets is empty"},
        {"--specialise B=1,B=1", "'B' is given twice"},
        {"--specialise B=1 --specialize B=1", "'B=1' is given twice"},
        {"--dim S=12 --specialise B=1,S=12", "no dim is named 'S'"},
        {"--strategy emergency --specialise B=1", "--strategy emergency has none"},
    };
    put_block(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[160];
        snprintf(line, sizeof line, "compile net.json -o x.urza %s", rows[i][0]);
        struct outcome seen = expect(f, ERR_USAGE, line);
        if (!strstr(seen.err, rows[i][1]))
            TEST_FAILED("%s: expected '%s', got %s", line, rows[i][1], seen.err);
        assert_false(exists(f, "x.urza"));
    }
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(sizes_have_their_own_kernels, build), CLI_TEST(the_first_of_equals_counts, build),
        CLI_TEST(a_training_step_too, build),          CLI_TEST(spelled_names_too, build),
        CLI_TEST(wrong_sizes_are_refused, build),
    };
    return cmocka_run_group_tests_name("cli-special", tests, NULL, NULL);
}
