/* Models on the command line: what is said of them, what is read, and where results go. */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/strbuf.h"
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

/* A model of tests/data/cli, and a line with %s for its path. */
static const char *with_model(struct fixture *f, const char *line, const char *model)
{
    char path[512], here[256], *text = arena_alloc(&f->arena, 1024, 1);
    assert_non_null(getcwd(here, sizeof here));
    snprintf(path, sizeof path, "%s/tests/data/cli/%s.onnx", here, model);
    const char *at = strstr(line, "%s");
    snprintf(text, 1024, "%.*s%s%s", (int)(at - line), line, path, at + 2);
    return text;
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
    refuse(f, ERR_UNSUPPORTED, with_model(f, "compile %s -o r.urza --unsigned --json", "scales"));
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

/* Indices of 2^62 elements are near the end of 64 bits; verification runs the kernel. */
static void test_wide_dims(void **state)
{
    struct fixture *f = *state;
    expect(f, ERR_NONE,
           with_model(f,
                      "compile %s -o s.urza --unsigned --target native --dim B=1..2147483648 "
                      "--dim N=1..2147483648",
                      "sum"));
}

/* Names are spelled out, and what is near is named. */
static void test_names(void **state)
{
    struct fixture *f = *state;
    says(f, ERR_USAGE, "compile m.onnx --dimz N=4", "the nearest is --dim");
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

static void shows(struct fixture *f, const char *line, const char *text)
{
    struct outcome outcome = expect(f, ERR_NONE, line);
    if (!strstr(outcome.out, text))
        TEST_FAILED("%s\nshows %s\nand not %s", line, outcome.out, text);
}

/* Before anything is compiled: what goes in and out, what it is made of, what it needs. */
static void test_inspect(void **state)
{
    struct fixture *f = *state;
    const char *line = with_model(f, "inspect %s", "spelled");
    shows(f, line, "format    ONNX, opset 17, IR 8, written by exporter 1.2\n");
    shows(f, line, "input     x  f32[batch size, 3, 2*seq]\n");
    shows(f, line, "dim       batch size  1 to 16777216\n");
    shows(f, line, "ops       Relu 1\n");
    line = with_model(f, "inspect %s", "unet");
    shows(f, line,
          "dim       height  2 to 16777216, multiple of 2\n          at least 2: MaxPool 'half'");
    shows(f, line, "params    1, 64 bytes\n");
    struct outcome unet = expect(f, ERR_NONE, line);
    assert_null(strstr(unet.out, "warning"));
    shows(f, with_model(f, "inspect %s --dim height=8", "unet"), "output    y  f32[1, 4, 8, 6]\n");

    json_t *object = answer(f, with_model(f, "inspect %s --json", "unet"));
    assert_true(json_is_true(member(object, "supported")));
    const json_t *dim = json_array_get(member(object, "dims"), 0);
    assert_int_equal(json_integer_value(member(dim, "multiple_of")), 2);
    assert_non_null(strstr(json_string_value(member(dim, "why")), "Concat 'join'"));
    assert_int_equal(json_integer_value(member(member(object, "params"), "bytes")), 64);
    assert_int_equal(json_array_size(member(object, "ops")), 3);
    json_decref(object);

    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    shows(f, "inspect net.json", "format    blueprint\n");
    shows(f, "inspect net.json", "output    y  f32[B, 5]\n");
    says(f, ERR_USAGE, "inspect net.json --dump plan", "--dump is for packages");
    expect(f, ERR_NONE, "compile net.json --unsigned --strategy fast");
    shows(f, "explain net.urza --allow-unsigned", "output    y  f32[B, 5]\n");
    says(f, ERR_USAGE, "inspect net.urza --allow-unsigned --dim B=4", "'net.urza' is compiled");
    says(f, ERR_NOT_FOUND, "inspect none.onnx", "none.onnx");
}

/* What cannot be compiled is shown as far as it was read, with the nodes that are in the way. */
static void test_inspect_refused(void **state)
{
    struct fixture *f = *state;
    const char *line = with_model(f, "inspect %s", "unknown");
    shows(f, line, "input     x  f32[T, 5]\n");
    shows(f, line, "output    y  f32[T, ?, 3]\n");
    shows(f, line, "ops       Fancy 2, EyeLike 1, NonZero 1, Relu 1\n");
    shows(f, line, "refused   Fancy 'first' (2 times): no such op\n");
    shows(f, line, "refused   EyeLike 'where': ");
    shows(f, line, "cure: end the model before it");
    line = with_model(f, "explain %s", "resize");
    shows(f, line, "cure: it is read with --dim H=SIZE --dim W=SIZE\n");
    shows(f, with_model(f, "explain %s --dim H=4 --dim W=5", "resize"), "f32[N, 3, 6, 7]");
    shows(f, with_model(f, "inspect %s", "scales"), "cure: --known scales=VALUE");

    json_t *object = answer(f, with_model(f, "inspect %s --json", "unknown"));
    assert_false(json_is_true(member(object, "supported")));
    const json_t *first = json_array_get(member(object, "refused"), 0);
    assert_string_equal(json_string_value(member(first, "node")), "first");
    assert_int_equal(json_integer_value(member(first, "count")), 2);
    json_decref(object);
    struct outcome outcome = expect(f, ERR_UNSUPPORTED, with_model(f, "compile %s", "unknown"));
    assert_non_null(strstr(outcome.err, "EyeLike 'where'"));
    shows(f, with_model(f, "inspect %s", "loops_in_loops"),
          "more than 16384 trips of all loops together");
}

static void test_explain(void **state)
{
    struct fixture *f = *state;
    const char *line = with_model(f, "explain %s", "shapes");
    shows(f, line, "folded    into arithmetic on dims: Concat 1, Gather 1, Shape 1\n");
    shows(f, line, "computed when the package is loaded: Transpose 1\n");
    shows(f, line, "into nothing, as they change nothing: Identity 1\n");
    json_t *object = answer(f, with_model(f, "explain %s --json", "shapes"));
    assert_int_equal(json_array_size(member(member(object, "folded"), "sizes")), 3);
    json_decref(object);
}

/* Errors speak of the model: its node, and its inputs with their shapes or values. */
static void test_wrong_shapes(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[][2] = {
        {"bad_product", "MatMul 'head/MatMul': dim 1 of operand 1 is 4, expected 3 ('x' is [batch "
                        "size, 3], 'w' is [4, 5])\n"},
        {"bad_reshape",
         "Reshape 'flat': 6 elements, expected a multiple of 4 ('x' is [2, 3], 't' = "
         "[4, -1])\n"},
        {"bad_pool", "MaxPool 'pool': window 0 reaches over 3 elements, and dim 2 has 2 with its "
                     "padding ('x' is [1, 3, 2, 2])\n"},
        {"bad_lstm", "LSTM 'rnn': W, 'w', is [1, 16, 5], expected [1, 16, 4] ("},
        {"bad_hidden", "LSTM 'rnn': hidden_size is 4, and R has weights of 3 ("},
        {"bad_split",
         "Split 'halves': the parts are not all of dim 1 ('x' is [2, 7], 's' = [3, 3])"},
        {"bad_norm", "BatchNormalization 'norm': dims 3 and 4 do not broadcast ("},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        says(f, ERR_SHAPE, with_model(f, "compile %s -o m.urza --unsigned", rows[i][0]),
             rows[i][1]);
}

static void put_damaged(struct fixture *f, const char *as, const char *path, size_t size,
                        size_t flip)
{
    char *bytes;
    size_t all;
    struct error err;
    assert_true(file_read(path, (size_t)1 << 24, &bytes, &all, &err));
    if (flip > 0)
        bytes[flip] ^= 4;
    put(f, as, bytes, size > 0 ? size : all);
    free(bytes);
}

/* A file that is cut off or damaged is called that, and what is no model is called what it is. */
static void test_damaged(void **state)
{
    static const char onnx[] = "tests/data/models/unet/model.onnx",
                      pt2[] = "tests/data/models/unet/model.pt2";
    static const struct {
        const char *bytes, *text;
    } others[] = {
        {"", "the file is empty"},
        {"<!DOCTYPE html>", "this is a page of the web"},
        {"version https://git-lfs.github.com/spec/v1\n", "git lfs pull fetches that"},
        {"\x80\x02}q", "this is a pickle of PyTorch"},
        {"hello", "this is neither a model"},
        {"\x89HDF\r\n", "this is HDF5"},
    };
    struct fixture *f = *state;
    for (size_t size = 100; size < 40000; size += 3990) {
        put_damaged(f, "cut.onnx", onnx, size, 0);
        says(f, ERR_PARSE, "compile cut.onnx --unsigned", "the file is cut off: it has ");
        put_damaged(f, "cut.pt2", pt2, size, 0);
        says(f, ERR_PARSE, "inspect cut.pt2", "the archive has no directory: is it cut off?");
    }
    put_damaged(f, "bad.onnx", onnx, 0, 35482);
    says(f, ERR_PARSE, "inspect bad.onnx", "bad.onnx: the file is damaged at byte 35482");
    put_damaged(f, "bad.pt2", pt2, 0, 22097);
    says(f, ERR_PARSE, "inspect bad.pt2",
         "the archive is damaged: 'model/data/weights/weight_18' has another checksum");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        put(f, "other", others[i].bytes, strlen(others[i].bytes));
        says(f, ERR_JSON, "inspect other", others[i].text);
    }
}

/* A dim is called as the model calls it, wherever a user gives or sees one. */
static void test_spelling(void **state)
{
    struct fixture *f = *state;
    static const float x[3 * 4] = {0};
    expect(f, ERR_NONE,
           with_model(f, "compile %s -o m.urza --unsigned --strategy fast", "spelled"));
    shows(f, "inspect m.urza --allow-unsigned", "output    y  f32[batch size, 3, 2*seq]\n");
    put_npy(f, "x.npy", "<f4", 3, (int64_t[]){1, 3, 4}, x);
    shows(f, "run m.urza --allow-unsigned --dims 2*seq=5", ", 3, 5]");
    shows(f, "run m.urza --allow-unsigned --dims d2_seq=5", ", 3, 5]");
    says(f, ERR_USAGE, "run m.urza --allow-unsigned --dims 2*seq=0",
         "dim '2*seq' is 0, expected 1 to 16777216\n");
    says(f, ERR_USAGE, "run m.urza --allow-unsigned --dims seq=5",
         "no dim is named 'seq'; there are 'batch size', '2*seq'");
}

/* What a run writes to a terminal that is its standard error. line: arguments with single spaces.
 */
static const char *on_terminal(struct fixture *f, const char *line)
{
    char *args[32] = {"urza"}, *words = arena_strdup(&f->arena, line), part[4096];
    struct strbuf shown;
    int status, count = 1, master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    const char *slave = ptsname(master);
    while (*words != '\0' && count < 31) {
        args[count++] = words;
        words += strcspn(words, " ");
        if (*words == ' ')
            *words++ = '\0';
    }
    pid_t child = fork();
    if (child == 0) {
        int tty = open(slave, O_RDWR | O_NOCTTY), null = open("/dev/null", O_RDWR);
        if (tty < 0 || null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(tty, 2) < 0 ||
            chdir(f->folder) != 0 || setenv("URZA_HOME", path_of(f, "home"), 1) != 0)
            _exit(126);
        close(master);
        execv(f->program, args);
        _exit(127);
    }
    strbuf_init(&shown, &f->arena);
    for (struct pollfd wait = {.fd = master, .events = POLLIN};;) {
        bool over = waitpid(child, &status, WNOHANG) == child;
        while (poll(&wait, 1, over ? 0 : 50) > 0) {
            ssize_t size = read(master, part, sizeof part);
            if (size <= 0)
                break;
            strbuf_add(&shown, part, (size_t)size);
        }
        if (over)
            break;
    }
    close(master);
    assert_int_equal(status, 0);
    return shown.size_bytes > 0 ? shown.data : "";
}

static bool ends_in(const char *text, const char *end)
{
    size_t size = strlen(text), length = strlen(end);
    return size >= length && strcmp(text + size - length, end) == 0;
}

/* What takes long says on a terminal how far it is, and leaves nothing behind; elsewhere nothing.
 */
static void test_progress(void **state)
{
    struct fixture *f = *state;
    char *bytes;
    size_t size;
    struct error err;
    assert_true(file_read("examples/transformer_block.json", (size_t)1 << 20, &bytes, &size, &err));
    put(f, "block.json", bytes, size);
    free(bytes);
    /* Measuring takes as long as it is told to. */
    const char *line = "bench b.urza --allow-unsigned --seconds 2.5";
    expect(f, ERR_NONE, "compile block.json -o b.urza --unsigned --strategy fast");
    const char *shown = on_terminal(f, line);
    if (!strstr(shown, "\r\033[Kmeasuring, 1 s "))
        TEST_FAILED("shown: %s", shown);
    assert_true(ends_in(shown, "\r\033[K"));
    assert_string_equal(on_terminal(f, "bench b.urza --allow-unsigned --seconds 2 --quiet"), "");
    assert_string_equal(on_terminal(f, "bench b.urza --allow-unsigned --seconds 2 --json"), "");
    assert_string_equal(expect(f, ERR_NONE, line).err, "");
}

/* --quiet leaves warnings out, too. */
static void test_quiet(void **state)
{
    struct fixture *f = *state;
    const char *line = with_model(f, "compile %s -o m.urza --unsigned --strategy fast", "unet");
    says(f, ERR_NONE, line, "urza: warning: the dim 'height' is restricted");
    struct strbuf quiet;
    strbuf_init(&quiet, &f->arena);
    strbuf_printf(&quiet, "%s -q", line);
    assert_string_equal(expect(f, ERR_NONE, quiet.data).err, "");
}

/* One element of the result depends on all weights of a layer, in the optimised graph by way of
 * packed copies: on more elements than are computed one by one. */
static void test_wide_layer(void **state)
{
    static const char wide[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
        " \"shape\": [184, 768]}], \"params\": ["
        "{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [3072, 768],"
        " \"init\": {\"kind\": \"normal\", \"std\": 0.05}},"
        "{\"id\": \"v\", \"dtype\": \"f32\", \"shape\": [8, 3072],"
        " \"init\": {\"kind\": \"normal\", \"std\": 0.05}}],"
        " \"nodes\": [{\"id\": \"h\", \"op\": \"linear\", \"in\": [\"x\", \"w\"]},"
        " {\"id\": \"a\", \"op\": \"relu\", \"in\": [\"h\"]},"
        " {\"id\": \"y\", \"op\": \"linear\", \"in\": [\"a\", \"v\"]}], \"outputs\": [\"y\"]}";
    struct fixture *f = *state;
    put(f, "wide.json", wide, strlen(wide));
    expect(f, ERR_NONE, "compile wide.json -o wide.urza --target native -q");
    struct outcome shown = expect(f, ERR_NONE, "inspect wide.urza");
    assert_non_null(strstr(shown.out, "drawn elements of each output"));
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_known, build),      CLI_TEST(test_wide_dims, build),
        CLI_TEST(test_names, build),      CLI_TEST(test_outputs, build),
        CLI_TEST(test_inspect, build),    CLI_TEST(test_inspect_refused, build),
        CLI_TEST(test_explain, build),    CLI_TEST(test_wrong_shapes, build),
        CLI_TEST(test_damaged, build),    CLI_TEST(test_spelling, build),
        CLI_TEST(test_progress, build),   CLI_TEST(test_quiet, build),
        CLI_TEST(test_wide_layer, build),
    };
    return cmocka_run_group_tests_name("cli-model", tests, NULL, NULL);
}
