/* The program `urza` on training steps: compile --backward, run --backward, inspect. */
#include "cli_util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/npy.h"
#include "base/strbuf.h"

/* The run must fail with these words on standard error. */
static void says(struct fixture *f, enum error_code code, const char *line, const char *words)
{
    struct outcome outcome = expect(f, code, line);
    if (!strstr(outcome.err, words))
        TEST_FAILED("%s\nsays %s\nand not %s", line, outcome.err, words);
    assert_string_equal(outcome.out, "");
}

/* y = tanh(x w1ᵀ + b1) w2ᵀ + b2, whose params are in files. */
static const char mlp[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"mlp\", \"dims\": {\"B\": {\"min\": 1,"
    " \"max\": 16, \"typical\": 8}}, \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
    " \"shape\": [\"B\", 6]}], \"params\": ["
    "{\"id\": \"w1\", \"dtype\": \"f32\", \"shape\": [4, 6],"
    " \"init\": {\"kind\": \"file\", \"path\": \"w1.npy\"}},"
    "{\"id\": \"b1\", \"dtype\": \"f32\", \"shape\": [4],"
    " \"init\": {\"kind\": \"file\", \"path\": \"b1.npy\"}},"
    "{\"id\": \"w2\", \"dtype\": \"f32\", \"shape\": [2, 4],"
    " \"init\": {\"kind\": \"file\", \"path\": \"w2.npy\"}},"
    "{\"id\": \"b2\", \"dtype\": \"f32\", \"shape\": [2],"
    " \"init\": {\"kind\": \"file\", \"path\": \"b2.npy\"}}],"
    " \"nodes\": [{\"id\": \"a\", \"op\": \"linear\", \"in\": [\"x\", \"w1\", \"b1\"]},"
    " {\"id\": \"h\", \"op\": \"tanh\", \"in\": [\"a\"]},"
    " {\"id\": \"y\", \"op\": \"linear\", \"in\": [\"h\", \"w2\", \"b2\"]}],"
    " \"outputs\": [\"y\"]}";

/* Element i of each file is ((i times) mod n - n/2) / over. */
static const struct source {
    const char *file;
    int n, times, over;
    uint32_t rank;
    int64_t shape[2];
} sources[] = {
    {"x.npy", 11, 7, 8, 2, {3, 6}}, {"w1.npy", 13, 5, 8, 2, {4, 6}},
    {"b1.npy", 7, 3, 16, 1, {4}},   {"w2.npy", 9, 4, 8, 2, {2, 4}},
    {"b2.npy", 5, 2, 16, 1, {2}},   {"dy.npy", 15, 4, 8, 2, {3, 2}},
};

/* PyTorch 2.15 in float64:
 *     h = torch.tanh(x @ w1.T + b1); y = h @ w2.T + b2; y.backward(dy) */
static const struct expected {
    const char *name;
    uint32_t rank;
    int64_t shape[2];
    double values[24];
} torch[] = {
    {"y",
     2,
     {3, 2},
     {0.234328732, 0.0460075232, 0.632994079, -0.123224405, -0.0189647032, 0.203959088}},
    {"grad.x",
     2,
     {3, 6},
     {-0.283535909, 0.37418894, 0.170743714, -0.425068928, 0.335005141, 0.131559916, -0.0955177258,
      -0.130367526, 0.00865568236, 0.189138714, -0.165205477, -0.0261822692, -0.184438594,
      0.16106132, 0.198866812, -0.355078431, 0.194069278, 0.23187477}},
    {"grad.w1", 2, {4, 6}, {-0.0695553093, -0.00574052562, 0.089647149,   0.197391263,
                            -0.0734511217, 0.0219365529,   -0.103267092,  0.0093494349,
                            0.0705440694,  -0.00817009307, 0.0151892776,  0.076383912,
                            0.340454573,   -0.0602162695,  -0.12969763,   -0.304234439,
                            0.0211231202,  -0.0483582399,  -0.106340621,  -0.0155843961,
                            0.160886008,   -0.0186991752,  -0.0145461364, 0.161924267}},
    {"grad.b1", 1, {4}, {0.541684768, -0.0467187413, -0.650715118, -0.00830607765}},
    {"grad.w2",
     2,
     {2, 4},
     {0.0859889838, 0.117193735, -0.44560776, 0.267131852, -0.462297566, 0.18582692, 0.135568625,
      -0.108448839}},
    {"grad.b2", 1, {2}, {-1.5, 0.0}},
};

static void put_sources(struct fixture *f)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const struct source *s = &sources[i];
        float values[24];
        int64_t count = s->shape[0] * (s->rank > 1 ? s->shape[1] : 1);
        for (int k = 0; k < count; k++)
            values[k] = (float)(k * s->times % s->n - s->n / 2) / (float)s->over;
        put_npy(f, s->file, "<f4", s->rank, s->shape, values);
    }
}

/* Within a few roundings of f32 of numbers below 2. */
static void must_be_torchs(struct fixture *f, const char *file, const struct expected *expected)
{
    struct npy npy;
    struct error err;
    size_t size;
    const char *data = get(f, file, &size);
    int64_t count = 1;
    if (!npy_parse(data, size, &f->arena, &npy, &err))
        TEST_FAILED("%s: %s", file, err.message);
    assert_string_equal(npy.descr, "<f4");
    assert_int_equal(npy.rank, expected->rank);
    for (uint32_t i = 0; i < npy.rank; i++) {
        assert_int_equal(npy.shape[i], expected->shape[i]);
        count *= npy.shape[i];
    }
    for (int64_t i = 0; i < count; i++) {
        double found = (double)((const float *)npy.data)[i];
        if (!(fabs(found - expected->values[i]) <= 0x1p-20))
            TEST_FAILED("%s[%lld]: %.9g, PyTorch has %.9g", file, (long long)i, found,
                        expected->values[i]);
    }
}

static void test_against_torch(void **state)
{
    struct fixture *f = *state;
    static const char *const options[] = {"", " --target interpreter", " --threads 2"};
    char line[256];
    put_sources(f);
    compile(f, mlp, " --backward --strategy fast --target native");
    struct outcome checked = expect(f, ERR_NONE, "verify net.urza --kernels");
    const char *y = strstr(checked.out, "  output y, "); /* once, and once of the training step */
    assert_true(y && !strstr(y + 1, "  output y, "));
    assert_non_null(strstr(checked.out, "  output training y, "));
    assert_non_null(strstr(checked.out, "  output training grad.w1, "));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        snprintf(line, sizeof line,
                 "run net.urza --backward --in x=x.npy --cotangent y=dy.npy --out out%zu%s", i,
                 options[i]);
        struct outcome seen = expect(f, ERR_NONE, line);
        for (size_t k = 0; k < sizeof torch / sizeof *torch; k++) {
            snprintf(line, sizeof line, "out%zu/%s.npy", i, torch[k].name);
            must_be_torchs(f, line, &torch[k]);
            assert_non_null(strstr(seen.out, line));
        }
    }
    assert_false(exists(f, "out0/grad.y.npy"));
}

static void test_json(void **state)
{
    struct fixture *f = *state;
    put_sources(f);
    compile(f, mlp, " --backward --wrt b2,x --strategy fast --target native");
    json_t *object = answer(f, "run net.urza --backward --in x=x.npy --cotangent y=dy.npy --out out"
                               " --json");
    json_t *outputs = member(object, "outputs");
    static const char *const names[] = {"y", "grad.x", "grad.b2"};
    assert_int_equal(json_array_size(outputs), 3); /* in the order of the block */
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        json_t *item = json_array_get(outputs, i);
        assert_string_equal(json_string_value(member(item, "name")), names[i]);
        assert_string_equal(json_string_value(member(item, "dtype")), "f32");
        snprintf(path, sizeof path, "out/%s.npy", names[i]);
        assert_string_equal(json_string_value(member(item, "path")), path);
        assert_true(exists(f, path));
    }
    assert_true(json_is_null(member(object, "fallback")));
    json_decref(object);
    must_be_torchs(f, "out/grad.x.npy", &torch[1]);
    assert_false(exists(f, "out/grad.w1.npy"));
    object = answer(f, "run net.urza --backward --random 3 --dims B=5 --json");
    outputs = member(object, "outputs");
    assert_int_equal(
        json_integer_value(json_array_get(member(json_array_get(outputs, 1), "shape"), 0)), 5);
    assert_true(json_is_null(member(json_array_get(outputs, 1), "path")));
    json_decref(object);
    /* Without --backward nothing has changed. */
    object = answer(f, "run net.urza --random 3 --json");
    assert_int_equal(json_array_size(member(object, "outputs")), 1);
    json_decref(object);
}

/* Names of parameters may be any; files of gradients stay in the folder. */
static void test_names_of_files(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
        " \"shape\": [4]}], \"params\": [{\"id\": \"../w/v\", \"dtype\": \"f32\", \"shape\": [4],"
        " \"init\": {\"kind\": \"ones\"}}], \"nodes\": [{\"id\": \"a=b\", \"op\": \"mul\","
        " \"in\": [\"x\", \"../w/v\"]}], \"outputs\": [\"a=b\"]}";
    const float dy[4] = {1, 2, 3, 4};
    put_npy(f, "dy.npy", "<f4", 1, (int64_t[]){4}, dy);
    compile(f, text, " --backward --wrt params,x --strategy fast --target native");
    expect(f, ERR_NONE, "run net.urza --backward --random 1 --cotangent a=b=dy.npy --out out");
    assert_true(exists(f, "out/grad...%2Fw%2Fv.npy"));
    size_t size;
    struct npy npy;
    struct error err;
    const char *data = get(f, "out/grad.x.npy", &size); /* the weights are 1 */
    assert_true(npy_parse(data, size, &f->arena, &npy, &err));
    assert_memory_equal(npy.data, dy, sizeof dy);
}

static void must_be_rows(struct fixture *f, const char *file, int64_t rows, const float *values)
{
    struct npy npy;
    struct error err;
    size_t size;
    const char *data = get(f, file, &size);
    assert_true(npy_parse(data, size, &f->arena, &npy, &err));
    assert_int_equal(npy.rank, 2);
    assert_int_equal(npy.shape[0], rows);
    if (values)
        assert_memory_equal(npy.data, values, (size_t)rows * 2 * sizeof *values);
}

/* Where a dim stands in expressions only, files tell it as they do in a call. */
static void test_sizes_in_expressions(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"dims\": {\"B\": {\"max\": 9}}, \"inputs\": ["
        "{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B + 1\", 2]},"
        " {\"id\": \"z\", \"dtype\": \"f32\", \"shape\": [\"2*B\", 2]}], \"params\": ["
        "{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [2], \"init\": {\"kind\": \"ones\"}}],"
        " \"nodes\": [{\"id\": \"y\", \"op\": \"mul\", \"in\": [\"x\", \"w\"]},"
        " {\"id\": \"u\", \"op\": \"mul\", \"in\": [\"z\", \"w\"]}], \"outputs\": [\"y\", \"u\"]}";
    static const struct {
        const char *line, *words;
    } refused[] = {
        {"--in x=six.npy --in z=eight.npy --cotangent y=six.npy", "dim 0 is 8, expected 10"},
        {"--in x=six.npy --in z=ten.npy --cotangent y=eight.npy", "cotangent of 'y'"},
        {"--in x=twenty.npy --random 1", "input 'x': dim 'B' is 19, expected 1 to 9"},
        {"--cotangent u=five.npy --random 1", "cotangent of 'u'"},
        {"--cotangent u=twenty.npy --random 1", "cotangent of 'u': dim 'B' is 10"},
    };
    float values[40];
    static const struct {
        const char *file;
        int64_t rows;
    } files[] = {
        {"five.npy", 5}, {"six.npy", 6}, {"eight.npy", 8}, {"ten.npy", 10}, {"twenty.npy", 20}};
    for (int i = 0; i < 40; i++)
        values[i] = (float)i - 3.5F;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        put_npy(f, files[i].file, "<f4", 2, (int64_t[]){files[i].rows, 2}, values);
    compile(f, text, " --backward --strategy fast --target native");
    expect(f, ERR_NONE,
           "run net.urza --backward --in x=six.npy --in z=ten.npy --cotangent y=six.npy"
           " --out out");
    must_be_rows(f, "out/grad.x.npy", 6, values); /* w is 1 */
    must_be_rows(f, "out/grad.z.npy", 10, NULL);
    expect(f, ERR_NONE, "run net.urza --in x=six.npy --random 1 --out some");
    must_be_rows(f, "some/u.npy", 10, NULL);
    expect(f, ERR_NONE,
           "run net.urza --backward --cotangent u=eight.npy --random 1 --dims B=2 --out told");
    must_be_rows(f, "told/grad.z.npy", 8, values);
    must_be_rows(f, "told/grad.x.npy", 5, NULL);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char line[256];
        snprintf(line, sizeof line, "run net.urza --backward %s", refused[i].line);
        says(f, ERR_INPUT, line, refused[i].words);
    }
}

/* So do elements of files: the first k rows of x. */
static void test_sizes_in_elements(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "{\"format\": \"urza.blueprint/1\", \"graph\": \"graph \\\"g\\\"\\n"
                               "dim N 9..20 multiple 1\\ndim k 1..9 multiple 1\\n"
                               "%1 = input \\\"x\\\" : f32[N, 2]\\n"
                               "%2 = input \\\"k\\\" : i64[]\\n"
                               "%3 = slice %1 {start [0, 0], step [1, 1]} : f32[k, 2]\\n"
                               "element \\\"k\\\" 0 size 0 tells k\\n"
                               "output \\\"y\\\" %3\\n\"}";
    const float dy[] = {2, 3, 5, 7, 11, 13};
    put_npy(f, "k.npy", "<i8", 0, NULL, (int64_t[]){3});
    put_npy(f, "dy.npy", "<f4", 2, (int64_t[]){3, 2}, dy);
    compile(f, text, " --backward --strategy fast --target native");
    expect(f, ERR_NONE,
           "run net.urza --backward --in k=k.npy --random 1 --dims N=10 --cotangent y=dy.npy"
           " --out out");
    const float expected[20] = {2, 3, 5, 7, 11, 13};
    must_be_rows(f, "out/grad.x.npy", 10, expected);
    put_npy(f, "k.npy", "<i8", 0, NULL, (int64_t[]){10});
    says(f, ERR_INPUT, "run net.urza --backward --in k=k.npy --random 1",
         "input 'k': dim 'k' is 10, expected 1 to 9");
}

static void must_be_classes(struct fixture *f, const char *file, const char *classes)
{
    struct npy npy;
    struct error err;
    size_t size;
    const char *data = get(f, file, &size);
    assert_true(npy_parse(data, size, &f->arena, &npy, &err));
    assert_int_equal(npy.data_bytes, strlen(classes) * sizeof(float));
    for (size_t i = 0; classes[i] != '\0'; i++) {
        float value = ((const float *)npy.data)[i];
        char found = isnan(value) ? 'n' : isinf(value) ? 'i' : '1';
        if (found != classes[i])
            TEST_FAILED("%s[%zu] is %g, expected class %c", file, i, (double)value, classes[i]);
    }
}

/* Zeros of padding are multiplied (docs/training.md): y[i] = x[i - 1] ∞ + x[i] + x[i + 1], and
 * grad.x[i] = dy[i + 1] ∞ + dy[i] + dy[i - 1], with zeros outside. So the kernels do as the
 * interpreter does. */
static void test_infinite_weights_meet_padding(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"dims\": {\"L\": {\"max\": 99}}, \"inputs\": ["
        "{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 1, \"L\"]},"
        " {\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [1, 1, 3]}], \"nodes\": ["
        "{\"id\": \"y\", \"op\": \"conv1d\", \"in\": [\"x\", \"w\"],"
        " \"attrs\": {\"padding\": 1}}], \"outputs\": [\"y\"]}";
    static const char *const targets[] = {"", " --target interpreter"};
    const float x[5] = {1, 2, 3, 4, 5}, w[3] = {INFINITY, 1, 1}, ones[3] = {1, 1, 1};
    const float ends[5] = {INFINITY, 1, 1, 1, 1};
    put_npy(f, "x.npy", "<f4", 3, (int64_t[]){1, 1, 5}, x);
    put_npy(f, "w.npy", "<f4", 3, (int64_t[]){1, 1, 3}, w);
    put_npy(f, "ones.npy", "<f4", 3, (int64_t[]){1, 1, 3}, ones);
    put_npy(f, "ends.npy", "<f4", 3, (int64_t[]){1, 1, 5}, ends);
    compile(f, text, " --backward --strategy fast --target native");
    for (size_t i = 0; i < 2; i++) {
        char line[256];
        snprintf(line, sizeof line,
                 "run net.urza --backward --in x=x.npy --in w=w.npy --cotangent y=x.npy"
                 " --out out%s",
                 targets[i]);
        expect(f, ERR_NONE, line);
        must_be_classes(f, "out/y.npy", "niiii");
        must_be_classes(f, "out/grad.x.npy", "iiiin"); /* PyTorch: iiii1 */
        must_be_classes(f, "out/grad.w.npy", "111");
        snprintf(line, sizeof line,
                 "run net.urza --backward --in x=x.npy --in w=ones.npy --cotangent y=ends.npy"
                 " --out out%s",
                 targets[i]);
        expect(f, ERR_NONE, line);
        must_be_classes(f, "out/grad.x.npy", "ii111");
        must_be_classes(f, "out/grad.w.npy", "nii");
    }
}

static void test_compile_refuses(void **state)
{
    struct fixture *f = *state;
    static const char integers[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"a\", \"dtype\": \"i32\","
        " \"shape\": [3]}, {\"id\": \"b\", \"dtype\": \"f32\", \"shape\": [3]}],"
        " \"nodes\": [{\"id\": \"c\", \"op\": \"add\", \"in\": [\"a\", \"a\"]},"
        " {\"id\": \"d\", \"op\": \"floor\", \"in\": [\"b\"]}], \"outputs\": [\"c\", \"d\"]}";
    static const char only_integers[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"a\", \"dtype\": \"i32\","
        " \"shape\": [3]}], \"nodes\": [{\"id\": \"c\", \"op\": \"add\", \"in\": [\"a\", \"a\"]}],"
        " \"outputs\": [\"c\"]}";
    put(f, "mlp.json", blueprint_mlp, strlen(blueprint_mlp));
    put(f, "int.json", integers, strlen(integers));
    put(f, "only.json", only_integers, strlen(only_integers));
    static const struct {
        enum error_code code;
        const char *line, *words;
    } rows[] = {
        {ERR_USAGE, "compile mlp.json -o a.urza --wrt x", "--wrt goes with --backward"},
        {ERR_BLUEPRINT, "compile mlp.json -o a.urza --backward --wrt z",
         "no input or parameter is called 'z'"},
        {ERR_BLUEPRINT, "compile mlp.json -o a.urza --backward --wrt y",
         "no input or parameter is called 'y'"},
        {ERR_BLUEPRINT, "compile mlp.json -o a.urza --backward --wrt x,w,x", "asked for twice"},
        {ERR_USAGE, "compile mlp.json -o a.urza --backward --wrt ,x", "is not a list of names"},
        {ERR_USAGE, "compile mlp.json -o a.urza --backward --wrt x,,w", "is not a list of names"},
        {ERR_USAGE, "compile mlp.json -o a.urza --backward --wrt x,", "is not a list of names"},
        {ERR_USAGE, "compile mlp.json -o a.urza --backward --wrt ", "nothing to differentiate"},
        {ERR_USAGE, "compile int.json -o a.urza --backward --wrt params",
         "nothing to differentiate"},
        {ERR_BLUEPRINT, "compile int.json -o a.urza --backward --wrt a",
         "only floats have a gradient"},
        {ERR_BLUEPRINT, "compile int.json -o a.urza --backward",
         "no output hangs on what is differentiated"},
        {ERR_BLUEPRINT, "compile only.json -o a.urza --backward",
         "no input or parameter is a float"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        says(f, rows[i].code, rows[i].line, rows[i].words);
    assert_false(exists(f, "a.urza"));
    refuse(f, ERR_BLUEPRINT, "compile only.json -o a.urza --backward --json");
}

/* A program of PyTorch: what it trains, and by either name of a weight that is tied. */
static void test_program(void **state)
{
    struct fixture *f = *state;
    static const char *const wrt[][2] = {
        {"", "gradients by x, down.weight, scale, table.weight\n"},
        {" --wrt up.weight,mean", "gradients by down.weight, mean\n"},
        {" --wrt params", "gradients by down.weight, scale, table.weight\n"}};
    char *program;
    size_t size;
    struct error err;
    assert_true(file_read("tests/data/pt2/learned.pt2", (size_t)1 << 20, &program, &size, &err));
    put(f, "learned.pt2", program, size);
    free(program);
    for (size_t i = 0; i < sizeof wrt / sizeof *wrt; i++) {
        char line[160];
        snprintf(line, sizeof line,
                 "compile learned.pt2 -o net.urza --backward --target native -q%s", wrt[i][0]);
        expect(f, ERR_NONE, line);
        struct outcome shown = expect(f, ERR_NONE, "inspect net.urza");
        if (!strstr(shown.out, wrt[i][1]))
            TEST_FAILED("not '%s' but:\n%s", wrt[i][1], shown.out);
        assert_non_null(strstr(shown.out, "differences not judged: the block detaches values"));
        assert_non_null(strstr(shown.out, "and at inputs of a larger range"));
    }
    says(f, ERR_BLUEPRINT, "compile learned.pt2 -o net.urza --backward --wrt nothing",
         "no input or parameter is called 'nothing'");
}

static void test_run_refuses(void **state)
{
    struct fixture *f = *state;
    const float values[12] = {1};
    put_sources(f);
    put_npy(f, "wide.npy", "<f4", 2, (int64_t[]){3, 4}, values);
    put_npy(f, "long.npy", "<f4", 2, (int64_t[]){6, 2}, values);
    put_npy(f, "flat.npy", "<f4", 1, (int64_t[]){6}, values);
    put_npy(f, "double.npy", "<f8", 2, (int64_t[]){3, 2}, values);
    put(f, "text.npy", "no array", 8);
    compile(f, mlp, " --backward --strategy fast --target native");
#define RUN "run net.urza --backward --in x=x.npy --out out "
    static const struct {
        enum error_code code;
        const char *line, *words;
    } rows[] = {
        {ERR_INPUT, "run net.urza --backward --in x=x.npy --out out",
         "no output has a cotangent: give --cotangent y=FILE, or --random"},
        {ERR_INPUT, RUN "--cotangent z=dy.npy", "no output of the name in 'z=dy.npy'"},
        {ERR_INPUT, RUN "--cotangent x=dy.npy", "no output of the name in 'x=dy.npy'"},
        {ERR_USAGE, RUN "--cotangent dy.npy", "--cotangent expects NAME=FILE, not 'dy.npy'"},
        {ERR_USAGE, RUN "--cotangent y=dy.npy --cotangent y=dy.npy", "output 'y' is given twice"},
        {ERR_INPUT, RUN "--cotangent y=wide.npy", "cotangent of 'y'"},
        {ERR_INPUT, RUN "--cotangent y=long.npy", "cotangent of 'y'"},
        {ERR_INPUT, RUN "--cotangent y=flat.npy", "the file has 1 dims, expected 2"},
        {ERR_INPUT, RUN "--cotangent y=double.npy",
         "the file holds elements '<f8', expected '<f4'"},
        {ERR_NOT_FOUND, RUN "--cotangent y=none.npy", "none.npy"},
        {ERR_PARSE, RUN "--cotangent y=text.npy", "text.npy"},
        {ERR_USAGE, "run net.urza --in x=x.npy --cotangent y=dy.npy",
         "--cotangent goes with --backward"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        says(f, rows[i].code, rows[i].line, rows[i].words);
    assert_false(exists(f, "out"));
    refuse(f, ERR_INPUT, RUN "--cotangent y=wide.npy --json");
    compile(f, mlp, " --strategy fast --target native");
    says(f, ERR_UNSUPPORTED, RUN "--cotangent y=dy.npy", "compile it with --backward");
    says(f, ERR_UNSUPPORTED, "run net.urza --backward --in x=x.npy", "compile it with --backward");
}

/* One of each strategy that does not verify, and files without code. */
static void test_inspect(void **state)
{
    struct fixture *f = *state;
    compile(f, blueprint_mlp, " --backward --strategy fast --target x86-64-v2");
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_non_null(strstr(seen.out, "training  gradients by x, w\n"));
    const char *line = strstr(seen.out, "x86-64-v2  forward_train ");
    assert_non_null(line);
    assert_non_null(strstr(line, " bytes saved in between, at most "));
    seen = expect(f, ERR_NONE, "inspect net.urza --dump plan");
    assert_non_null(strstr(seen.out, "\nx86-64-v2, training\n"));
    json_t *object = answer(f, "inspect net.urza --json"), *training = member(object, "training");
    assert_int_equal(json_array_size(member(training, "gradients")), 2);
    json_t *target = json_array_get(member(training, "targets"), 0);
    assert_string_equal(json_string_value(member(target, "name")), "x86-64-v2");
    json_int_t parts[2] = {json_integer_value(member(target, "forward_train")),
                           json_integer_value(member(target, "backward"))};
    assert_true(parts[0] > 0 && parts[1] > 0);
    json_int_t saved = json_integer_value(member(target, "saved_bytes"));
    json_int_t alive = json_integer_value(member(target, "alive_bytes"));
    assert_true(saved >= 0 && saved % 4 == 0 && alive >= saved);
    json_decref(object);
    compile(f, blueprint_mlp, " --backward --wrt w --strategy emergency");
    seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_non_null(strstr(seen.out, "training  gradients by w\nevidence"));
    compile(f, blueprint_mlp, " --strategy emergency");
    seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_null(strstr(seen.out, "training"));
    object = answer(f, "inspect net.urza --json");
    assert_true(json_is_null(member(object, "training")));
    json_decref(object);
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_against_torch, build),
        CLI_TEST(test_json, build),
        CLI_TEST(test_names_of_files, build),
        CLI_TEST(test_compile_refuses, build),
        CLI_TEST(test_run_refuses, build),
        CLI_TEST(test_program, build),
        CLI_TEST(test_inspect, build),
        CLI_TEST(test_sizes_in_expressions, build),
        CLI_TEST(test_sizes_in_elements, build),
        CLI_TEST(test_infinite_weights_meet_padding, build),
    };
    return cmocka_run_group_tests_name("cli-training", tests, NULL, NULL);
}
