/* Models of ONNX through the program: compiled, run, written as blueprints, and exported. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli_util.h"

/* A model of the fuzz target's corpus as model.onnx: a convolution of f32[2, 3, 7, 5]. */
static void put_model(struct fixture *f, const char *name)
{
    char path[128], *bytes;
    size_t size;
    struct error err;
    snprintf(path, sizeof path, "fuzz/corpus/onnx/%s", name);
    assert_true(file_read(path, (size_t)1 << 20, &bytes, &size, &err));
    put(f, "model.onnx", bytes, size);
    free(bytes);
}

static const char *run_package(struct fixture *f, const char *line, const char *result)
{
    size_t size;
    expect(f, ERR_NONE, line);
    const char *bytes = get(f, result, &size);
    assert_true(size > 128);
    return bytes;
}

/* The same numbers come out by way of the model and of the blueprint it was imported to. */
static void test_compile_and_import(void **state)
{
    struct fixture *f = *state;
    static float x[2 * 3 * 7 * 5];
    for (int i = 0; i < 2 * 3 * 7 * 5; i++)
        x[i] = (float)(i % 7) - 3;
    put_model(f, "test_Conv2d");
    put_npy(f, "x.npy", "<f4", 4, (int64_t[]){2, 3, 7, 5}, x);
    expect(f, ERR_NONE, "compile model.onnx -o a.urza --unsigned --strategy fast");
    expect(f, ERR_NONE, "import model.onnx -o net.json");
    assert_true(exists(f, "net.safetensors"));
    expect(f, ERR_NONE, "compile net.json -o b.urza --unsigned --strategy fast");
    const char *one =
        run_package(f, "run a.urza --allow-unsigned --in 0=x.npy --out one", "one/3.npy");
    const char *two =
        run_package(f, "run b.urza --allow-unsigned --in 0=x.npy --out two", "two/3.npy");
    assert_memory_equal(one, two, 128 + 2 * 4 * 5 * 4 * sizeof(float));
}

static void test_known_inputs(void **state)
{
    struct fixture *f = *state;
    static const int64_t shape[] = {2, -1, 2};
    put_model(f, "test_reshape_negative_dim");
    put_npy(f, "shape.npy", "<i8", 1, (int64_t[]){3}, shape);
    refuse(f, ERR_USAGE, "import model.onnx -o net.json --known shape --json");
    refuse(f, ERR_USAGE, "import model.onnx -o net.json --dim B=x --json");
    expect(f, ERR_NONE, "import model.onnx -o net.json --known shape=shape.npy");
    assert_false(exists(f, "net.safetensors"));
    struct outcome printed = expect(f, ERR_NONE, "graph net.json");
    assert_non_null(strstr(printed.out, "f32[2, 6, 2]"));
}

/* k of a TopK is an input that each call gives. */
static void test_told_sizes(void **state)
{
    struct fixture *f = *state;
    static const int64_t two[] = {2}, five[] = {5};
    put_model(f, "test_top_k");
    put_npy(f, "two.npy", "<i8", 1, (int64_t[]){1}, two);
    put_npy(f, "five.npy", "<i8", 1, (int64_t[]){1}, five);
    expect(f, ERR_NONE, "compile model.onnx -o a.urza --unsigned --strategy fast");
    struct outcome shown = expect(f, ERR_NONE, "inspect a.urza --allow-unsigned");
    assert_non_null(strstr(shown.out, "dim       k  0 to 4\n"));
    assert_non_null(strstr(shown.out, "told by element 0 of input 'k' (size)\n"));
    shown = expect(f, ERR_NONE, "run a.urza --allow-unsigned --random 1 --dims k=3");
    assert_non_null(strstr(shown.out, "values  f32[3, 3]"));
    shown = expect(f, ERR_NONE, "run a.urza --allow-unsigned --random 1 --in k=two.npy");
    assert_non_null(strstr(shown.out, "indices  i64[3, 2]"));
    refuse(f, ERR_INPUT, "run a.urza --allow-unsigned --random 1 --in k=five.npy --json");
    refuse(f, ERR_USAGE, "run a.urza --allow-unsigned --dims k=5 --json");
    expect(f, ERR_NONE, "verify a.urza --allow-unsigned");
    expect(f, ERR_NONE, "bench a.urza --allow-unsigned");
    /* The blueprint says it as well. */
    expect(f, ERR_NONE, "import model.onnx -o net.json");
    expect(f, ERR_NONE, "compile net.json -o b.urza --unsigned --strategy fast");
    shown = expect(f, ERR_NONE, "run b.urza --allow-unsigned --random 1 --in k=two.npy");
    assert_non_null(strstr(shown.out, "indices  i64[3, 2]"));
}

/* An exported model computes what its blueprint does; the package gives the same model. */
static void test_export(void **state)
{
    struct fixture *f = *state;
    float x[3 * 6];
    size_t size, again;
    for (int i = 0; i < 3 * 6; i++)
        x[i] = (float)(i % 5) - 2;
    put_npy(f, "x.npy", "<f4", 2, (int64_t[]){3, 6}, x);
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    expect(f, ERR_NONE, "compile net.json -o net.urza --unsigned --strategy fast");
    expect(f, ERR_NONE, "export net.json -o net.onnx");
    expect(f, ERR_NONE, "export net.urza -o same.onnx --allow-unsigned");
    const char *model = get(f, "net.onnx", &size), *same = get(f, "same.onnx", &again);
    assert_int_equal(size, again);
    assert_memory_equal(model, same, size);
    expect(f, ERR_NONE, "compile net.onnx -o back.urza --unsigned --strategy fast");
    const char *one =
        run_package(f, "run net.urza --allow-unsigned --in x=x.npy --out one", "one/y.npy");
    const char *two =
        run_package(f, "run back.urza --allow-unsigned --in x=x.npy --out two", "two/y.npy");
    assert_memory_equal(one, two, 128 + 3 * 5 * sizeof(float));
    refuse(f, ERR_USAGE, "export net.json --json");
    refuse(f, ERR_SIGNATURE, "export net.urza -o same.onnx --json");
    refuse(f, ERR_NOT_FOUND, "export none.json -o same.onnx --json");
}

/* What a call cannot change is said, by name. And files of big-endian numbers are read. */
static void test_defaults(void **state)
{
    struct fixture *f = *state;
    char *bytes, file[128 + sizeof(float) * 6 + 1];
    size_t size;
    struct error err;
    assert_true(file_read("tests/data/onnx/node/test_default_of_an_input/model.onnx",
                          (size_t)1 << 20, &bytes, &size, &err));
    put(f, "model.onnx", bytes, size);
    free(bytes);
    static const char *const lines[] = {"compile model.onnx -o a.urza --unsigned --strategy fast",
                                        "import model.onnx -o a.json"};
    for (size_t i = 0; i < 2; i++) {
        struct outcome done = expect(f, ERR_NONE, lines[i]);
        assert_non_null(strstr(done.err, "urza: warning: input 'w' keeps its value"));
    }
    put_npy(f, "w.npy", "<f4", 1, (int64_t[]){3}, (float[]){1, 2, 3});
    struct outcome done = expect(f, ERR_NONE, "import model.onnx -o a.json --known w=w.npy");
    assert_null(strstr(done.err, "warning"));
    expect(f, ERR_NONE, "compile a.json -o a.urza --unsigned --strategy fast");

    /* 1, 2, -1 and three zeros. */
    static const uint8_t big[sizeof(float) * 6] = {0x3f, 0x80, 0, 0, 0x40, 0, 0, 0, 0xbf, 0x80};
    static const float right[6] = {1, 4, -3};
    snprintf(file, sizeof file, "\x93NUMPY\x01_v_%-117s\n",
             "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }");
    file[7] = file[9] = '\0';
    memcpy(file + 128, big, sizeof big);
    put(f, "x.npy", file, 128 + sizeof big);
    const char *y = run_package(f, "run a.urza --allow-unsigned --in x=x.npy --out y", "y/y.npy");
    assert_memory_equal(y + 128, right, sizeof right);
}

/* Names that no file can have, alike but for their ends. */
static void test_long_names(void **state)
{
    struct fixture *f = *state;
    char text[4096], name[301] = {0}, line[512];
    memset(name, '/', 300);
    put_npy(f, "x.npy", "<f4", 1, (int64_t[]){2}, (float[]){-1, 2});
    snprintf(
        text, sizeof text,
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"%s\", \"dtype\": \"f32\", "
        "\"shape\": [2]}], \"nodes\": [{\"id\": \"%s1\", \"op\": \"relu\", \"in\": [\"%s\"]}, "
        "{\"id\": \"%s2\", \"op\": \"neg\", \"in\": [\"%s\"]}], \"outputs\": [\"%s1\", \"%s2\"]}",
        name, name, name, name, name, name, name);
    compile(f, text, " --unsigned --strategy fast");
    snprintf(line, sizeof line, "run net.urza --allow-unsigned --in %s=x.npy --out y --json", name);
    json_t *said = answer(f, line), *outputs = member(said, "outputs");
    const float right[2][2] = {{0, 2}, {1, -2}};
    for (size_t i = 0; i < 2; i++) {
        size_t size;
        const char *path = json_string_value(member(json_array_get(outputs, i), "path"));
        assert_memory_equal(get(f, path, &size) + 128, right[i], sizeof right[i]);
    }
    json_decref(said);
}

static void test_ops(void **state)
{
    struct fixture *f = *state;
    struct outcome native = expect(f, ERR_NONE, "ops"), onnx = expect(f, ERR_NONE, "ops --onnx");
    assert_non_null(strstr(native.out, "layer_norm"));
    assert_non_null(strstr(onnx.out, "LayerNormalization"));
    json_t *list = answer(f, "ops --onnx --json");
    assert_true(json_array_size(list) > 150);
    json_decref(list);
}

/* What is read as something else than it says is said, by both who read it. */
static void test_warnings(void **state)
{
    struct fixture *f = *state;
    static const char said[] = "urza: warning: ZipMap 'y': there are no maps: output 'y' is the";
    put_model(f, "ml_zip_map");
    struct outcome done = expect(f, ERR_NONE, "compile model.onnx -o a.urza --unsigned");
    assert_non_null(strstr(done.err, said));
    done = expect(f, ERR_NONE, "import model.onnx -o net.json");
    assert_non_null(strstr(done.err, said));
    done = expect(f, ERR_NONE, "compile net.json -o b.urza --unsigned");
    assert_null(strstr(done.err, "warning"));
}

/* Compiled trees: with verification, and labels of four rows. */
static void test_trees(void **state)
{
    struct fixture *f = *state;
    static const float x[] = {0, 1, 0.5F, 2, 1, 0, (float)NAN, 3};
    static const int64_t labels[] = {7, 5, 9, 7};
    put_model(f, "ml_tree_classifier");
    put_npy(f, "x.npy", "<f4", 2, (int64_t[]){4, 2}, x);
    expect(f, ERR_NONE, "compile model.onnx -o a.urza --unsigned");
    const char *y = run_package(f, "run a.urza --allow-unsigned --in x=x.npy --out o", "o/y.npy");
    assert_memory_equal(y + 128, labels, sizeof labels);
}

/* An archive of PyTorch is a ZIP archive as a package is: each command that takes either knows. */
static void test_archives(void **state)
{
    struct fixture *f = *state;
    char *bytes;
    size_t size;
    struct error err;
    assert_true(file_read("tests/data/pt2/mlp.pt2", (size_t)1 << 20, &bytes, &size, &err));
    put(f, "mlp.pt2", bytes, size);
    free(bytes);
    expect(f, ERR_NONE, "compile mlp.pt2 -o mlp.urza --unsigned --strategy fast --target native");
    static const char *const files[] = {"mlp.pt2", "mlp.urza --allow-unsigned"};
    static const char *const commands[] = {"graph %s", "debug bisect %s", "export %s -o %s.onnx"};
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 3; k++) {
            char line[128];
            snprintf(line, sizeof line, commands[k], files[i], i == 0 ? "a" : "b");
            expect(f, ERR_NONE, line);
        }
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_compile_and_import, build),
        CLI_TEST(test_known_inputs, build),
        CLI_TEST(test_told_sizes, build),
        CLI_TEST(test_export, build),
        CLI_TEST(test_defaults, build),
        CLI_TEST(test_long_names, build),
        CLI_TEST(test_ops, build),
        CLI_TEST(test_warnings, build),
        CLI_TEST(test_trees, build),
        CLI_TEST(test_archives, build),
    };
    return cmocka_run_group_tests_name("cli-onnx", tests, NULL, NULL);
}
