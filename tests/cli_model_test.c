/* Models on the command line: what is said of them, what is read, and where results go. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli_util.h"

static void put_model(struct fixture *f, const char *as, const char *corpus)
{
    char path[128], *bytes;
    size_t size;
    struct error err;
    snprintf(path, sizeof path, "fuzz/corpus/onnx/%s", corpus);
    assert_true(file_read(path, (size_t)1 << 20, &bytes, &size, &err));
    put(f, as, bytes, size);
    free(bytes);
}

static void says(struct fixture *f, enum error_code code, const char *line, const char *text)
{
    struct outcome outcome = expect(f, code, line);
    if (!strstr(outcome.err, text))
        TEST_FAILED("%s\nsays %s\nand not %s", line, outcome.err, text);
}

static const char *first_line(struct fixture *f, const char *text)
{
    return arena_strndup(&f->arena, text, strcspn(text, "\n"));
}

/* --known means the same to each command that reads models. */
static void test_known(void **state)
{
    struct fixture *f = *state;
    static const int64_t shape[] = {2, -1, 2};
    put_model(f, "m.onnx", "test_reshape_negative_dim");
    put_npy(f, "shape.npy", "<i8", 1, (int64_t[]){3}, shape);
    put_npy(f, "short.npy", "<i8", 1, (int64_t[]){2}, shape);
    put_npy(f, "floats.npy", "<f8", 1, (int64_t[]){3}, shape);
    refuse(f, ERR_UNSUPPORTED, "compile m.onnx -o m.urza --unsigned --json");
    expect(f, ERR_NONE, "compile m.onnx -o m.urza --unsigned --known shape=shape.npy");
    expect(f, ERR_NONE, "compile m.onnx -o n.urza --unsigned --known shape=2,-1,2");
    size_t one, two;
    const char *a = get(f, "m.urza", &one), *b = get(f, "n.urza", &two);
    assert_int_equal(one, two);
    assert_memory_equal(a, b, one);
    struct outcome printed = expect(f, ERR_NONE, "graph m.onnx --known shape=2,3,4");
    assert_non_null(strstr(printed.out, "f32[2, 3, 4]"));
    says(f, ERR_USAGE, "compile m.onnx -o m.urza --unsigned --known shpe=1,2,3",
         "'shpe' is no input of this model, which has 'data', 'shape'");
    says(f, ERR_USAGE, "compile m.onnx -o m.urza --unsigned --known shape=2,x,2", "'x' is no i64");
    says(f, ERR_USAGE, "compile m.onnx -o m.urza --unsigned --known shape=2,2", "the shape is [3]");
    says(f, ERR_USAGE, "compile m.onnx -o m.urza --unsigned --known shape=short.npy",
         "dim 0 of the file is 2, but that of the input is 3");
    says(f, ERR_USAGE, "graph m.onnx --known shape=floats.npy", "the file holds f64");
    says(f, ERR_USAGE, "graph m.onnx --known shape=1 --known shape=2", "given twice");
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    says(f, ERR_USAGE, "compile net.json --known x=1", "'x' is no input of this model");
}

/* Names are spelled out, and what is near is named. */
static void test_names(void **state)
{
    struct fixture *f = *state;
    says(f, ERR_USAGE, "compile m.onnx --dims N=4", "the nearest is --dim;");
    says(f, ERR_USAGE, "compile m.onnx --verify-dim N=4", "the nearest is --verify-dims;");
    says(f, ERR_USAGE, "compile m.onnx --verify-dim", "the nearest is --verify-dims;");
    says(f, ERR_USAGE, "compile m.onnx --kown=a=b",
         "'--kown' is no option of 'urza compile', the "
         "nearest is --known;");
    says(f, ERR_USAGE, "compile m.onnx --dim", "'--dim' needs a value");
    says(f, ERR_USAGE, "compile m.onnx -o", "'-o' needs a value");
    says(f, ERR_USAGE, "compile -x m.onnx", "'-x' is no option of 'urza compile';");
    says(f, ERR_USAGE, "inspct m.urza", "'inspct' is no command, the nearest is 'inspect';");
}

/* What is written where nothing is said, and what is never replaced. */
static void test_outputs(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    put(f, "note", "mine", 4);
    put(f, "note.urza", "mine", 4);
    struct outcome made = expect(f, ERR_NONE, "compile net.json --strategy fast --unsigned");
    assert_true(exists(f, "net.urza"));
    assert_non_null(strstr(made.out, "net.urza: "));
    expect(f, ERR_NONE, "compile net.json --strategy fast --unsigned");
    put(f, "net.urza", "mine", 4);
    says(f, ERR_USAGE, "compile net.json --unsigned", "'net.urza' exists and is no package");
    assert_string_equal(get(f, "net.urza", &(size_t){0}), "mine");
    expect(f, ERR_NONE, "compile net.json -o net.urza --strategy fast --unsigned");
    says(f, ERR_USAGE, "compile net.json -o net.json --unsigned", "which is read");
    says(f, ERR_USAGE, "compile net.json -o ./net.json --unsigned", "which is read");
    says(f, ERR_USAGE, "compile -", "-o OUT says where");
    says(f, ERR_IO, "compile net.json -o home --unsigned", "'home' is a folder");

    says(f, ERR_USAGE, "import net.json", "which is read");
    struct outcome exported = expect(f, ERR_NONE, "export net.json");
    assert_string_equal(first_line(f, exported.out), "net.onnx");
    says(f, ERR_USAGE, "export net.json", "'net.onnx' exists and is no package");
    put_model(f, "conv.onnx", "test_Conv2d");
    struct outcome imported = expect(f, ERR_NONE, "import conv.onnx");
    assert_string_equal(imported.out, "conv.json\nconv.safetensors\n");
    expect(f, ERR_NONE, "import conv.onnx -o conv.json");
    put(f, "weights.safetensors", "mine", 4);
    says(f, ERR_USAGE, "import conv.onnx -o weights.json",
         "'weights.safetensors', where the parameters would go, exists");
    assert_string_equal(get(f, "weights.safetensors", &(size_t){0}), "mine");
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_known, build),
        CLI_TEST(test_names, build),
        CLI_TEST(test_outputs, build),
    };
    return cmocka_run_group_tests_name("cli-model", tests, NULL, NULL);
}
