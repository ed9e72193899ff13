/* The program `urza` on blocks in training mode: batch norm with the batch's statistics, whose
 * running ones a step updates, and dropout, which draws other numbers in each step. */
#include "cli_util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/npy.h"
#include "base/strbuf.h"

/* y = batch_norm(x wᵀ) */
static const char norm[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"norm\", \"dims\": {\"B\": {\"min\": 2,"
    " \"max\": 16, \"typical\": 4}}, \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
    " \"shape\": [\"B\", 6]}], \"params\": ["
    "{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [3, 6], \"init\": {\"kind\": \"ones\"}},"
    "{\"id\": \"mean\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"zeros\"}},"
    "{\"id\": \"var\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"ones\"}},"
    "{\"id\": \"g\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"ones\"}},"
    "{\"id\": \"b\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"zeros\"}}],"
    " \"nodes\": [{\"id\": \"h\", \"op\": \"linear\", \"in\": [\"x\", \"w\"]},"
    " {\"id\": \"y\", \"op\": \"batch_norm\", \"in\": [\"h\", \"mean\", \"var\", \"g\", \"b\"],"
    " \"attrs\": {\"momentum\": 0.25}}], \"outputs\": [\"y\"]}";

/* Element i of each is ((i times) mod n - n/2) / over, or the same number everywhere. */
static const struct source {
    const char *file;
    int n, times, over;
    uint32_t rank;
    int64_t shape[2];
    float constant;
} sources[] = {
    {"x.npy", 11, 7, 8, 2, {4, 6}, 0},     {"w.npy", 13, 5, 8, 2, {3, 6}, 0},
    {"g.npy", 5, 2, 4, 1, {3}, 0},         {"b.npy", 7, 3, 16, 1, {3}, 0},
    {"target.npy", 9, 4, 8, 2, {4, 3}, 0}, {"mean.npy", 0, 0, 1, 1, {3}, 0},
    {"var.npy", 0, 0, 1, 1, {3}, 1},       {"lr.npy", 0, 0, 1, 0, {0}, 0.5F},
};

/* Two steps of PyTorch 2.15 in float64:
 *     bn = torch.nn.BatchNorm1d(3, momentum=0.25).train(), o = torch.optim.SGD(…, lr=0.5)
 *     loss = torch.nn.functional.mse_loss(bn(x @ w.T), target); loss.backward(); o.step() */
static const struct expected {
    const char *file;
    int count;
    double values[18];
} expected[] = {
    {"two/loss.npy", 1, {0.157788301480666}},
    {"two/new.w.npy",
     18,
     {-0.784043315, -0.121016115, 0.480791365, -0.496016115, 0.128983885, 0.730791365, -0.248694948,
      0.374454218, -0.625872087, -0.00054578191, 0.624454218, -0.375872087, 0.160341303,
      -0.77438705, -0.0603701997, 0.47561295, -0.52438705, 0.1896298}},
    {"two/new.g.npy", 3, {-0.217266734, 0.0951812658, 0.199175467}},
    {"two/new.b.npy", 3, {-0.204861111, 0.0, 0.204861111}},
    {"two/new.mean.npy", 3, {-0.0788457501, -0.0991210938, 0.147112858}},
    {"two/new.var.npy", 3, {0.847408671, 0.863388062, 0.610433569}},
};

static void put_step(struct fixture *f, const char *name, int64_t value)
{
    put_npy(f, name, "<i8", 0, NULL, &value);
}

static void put_sources(struct fixture *f)
{
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        const struct source *s = &sources[i];
        float values[24];
        int64_t count = 1;
        for (uint32_t d = 0; d < s->rank; d++)
            count *= s->shape[d];
        for (int k = 0; k < count; k++)
            values[k] =
                s->n > 0 ? (float)(k * s->times % s->n - s->n / 2) / (float)s->over : s->constant;
        put_npy(f, s->file, "<f4", s->rank, s->shape, values);
    }
    put_step(f, "step.npy", 0);
}

static const float *floats(struct fixture *f, const char *file, int count)
{
    struct npy npy;
    struct error err;
    size_t size;
    int64_t found = 1;
    const char *data = get(f, file, &size);
    if (!npy_parse(data, size, &f->arena, &npy, &err))
        TEST_FAILED("%s: %s", file, err.message);
    for (uint32_t i = 0; i < npy.rank; i++)
        found *= npy.shape[i];
    assert_string_equal(npy.descr, "<f4");
    assert_int_equal(found, count);
    return npy.data;
}

static void test_batch_norm(void **state)
{
    struct fixture *f = *state;
    put_sources(f);
    compile(f, norm, " --training --step sgd --loss mse_loss --target native"); /* verified */
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_non_null(strstr(seen.out, "mode      training"));
    assert_non_null(strstr(seen.out, "trained   w, g, b\nrunning   mean, var\n"));
    assert_non_null(strstr(seen.out, "pass  gradients "));
    assert_non_null(strstr(seen.out, "sgd, by definition"));
    expect(f, ERR_NONE,
           "run net.urza --in x=x.npy --in w=w.npy --in mean=mean.npy --in var=var.npy"
           " --in g=g.npy --in b=b.npy --in target=target.npy --in step=step.npy"
           " --in lr=lr.npy --out one");
    expect(f, ERR_NONE,
           "run net.urza --in x=x.npy --in w=one/new.w.npy --in mean=one/new.mean.npy"
           " --in var=one/new.var.npy --in g=one/new.g.npy --in b=one/new.b.npy"
           " --in target=target.npy --in step=one/new.step.npy --in lr=lr.npy"
           " --out two");
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const float *found = floats(f, expected[i].file, expected[i].count);
        for (int k = 0; k < expected[i].count; k++)
            if (!(fabs((double)found[k] - expected[i].values[k]) <= 0x1p-19))
                TEST_FAILED("%s[%d]: %.9g, PyTorch has %.9g", expected[i].file, k, (double)found[k],
                            expected[i].values[k]);
    }
}

/* With a backward pass, next values of the statistics are results. */
static void test_backward(void **state)
{
    struct fixture *f = *state;
    put_sources(f);
    compile(f, norm, " --training --backward --strategy fast --target native");
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_non_null(strstr(seen.out, "output    y  f32[B, 3]\noutput    new.mean  f32[3]\n"
                                     "output    new.var  f32[3]\n"));
    assert_non_null(strstr(seen.out, "gradients by x, w, g, b\n"));
}

enum { SIDE = 64 };

/* The sum of dropout(w · x), for ones. */
static const char drop[] =
    "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
    " \"shape\": [64, 64]}], \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [],"
    " \"init\": {\"kind\": \"ones\"}}], \"nodes\": ["
    "{\"id\": \"h\", \"op\": \"mul\", \"in\": [\"x\", \"w\"]},"
    "{\"id\": \"d\", \"op\": \"dropout\", \"in\": [\"h\"], \"attrs\": {\"p\": 0.25}},"
    "{\"id\": \"loss\", \"op\": \"sum\", \"in\": [\"d\"]}], \"outputs\": [\"loss\"]}";

/* Runs a step, whose loss is the gradient, too: the same elements are kept in both. */
static double dropped(struct fixture *f, int64_t seed, int64_t step)
{
    put_step(f, "seed.npy", seed);
    put_step(f, "step.npy", step);
    expect(f, ERR_NONE,
           "run net.urza --in x=ones.npy --in seed=seed.npy --in step=step.npy"
           " --in w=one.npy --in lr=one.npy --out out");
    double loss = (double)floats(f, "out/loss.npy", 1)[0];
    assert_true(fabs((double)floats(f, "out/new.w.npy", 1)[0] - (1 - loss)) < 0.01);
    /* of SIDE² elements, kept with 3/4; five deviations */
    assert_true(fabs(loss - SIDE * SIDE) < 5 * SIDE / sqrt(3));
    return loss;
}

static void test_dropout(void **state)
{
    struct fixture *f = *state;
    float ones[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++)
        ones[i] = 1;
    put_npy(f, "ones.npy", "<f4", 2, (int64_t[]){SIDE, SIDE}, ones);
    put_npy(f, "one.npy", "<f4", 0, NULL, ones);
    compile(f, drop, " --training --step sgd --target native"); /* verified */
    struct outcome seen = expect(f, ERR_NONE, "verify net.urza");
    assert_non_null(strstr(seen.out, "sgd, by definition"));
    assert_null(strstr(seen.out, "not judged"));
    double losses[] = {dropped(f, 1, 0), dropped(f, 1, 1), dropped(f, 2, 0), dropped(f, 2, 1),
                       dropped(f, -7, 1000000)};
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++)
        for (size_t k = 0; k < i; k++)
            if (losses[i] == losses[k])
                TEST_FAILED("steps %zu and %zu drop as many", i, k);
    assert_true(dropped(f, 1, 0) == losses[0]);
    /* in inference mode nothing is dropped, and there is no seed */
    compile(f, drop, " --step sgd --strategy fast --target native");
    seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_null(strstr(seen.out, "seed"));
}

static void says(struct fixture *f, enum error_code code, const char *line, const char *words)
{
    struct outcome outcome = expect(f, code, line);
    if (!strstr(outcome.err, words))
        TEST_FAILED("%s\nsays %s\nand not %s", line, outcome.err, words);
}

static void test_refuses(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "{\"format\": \"urza.blueprint/1\", \"graph\":"
                               " \"graph \\\"g\\\"\\n%1 = input \\\"x\\\" : f32[]\\n"
                               "output \\\"y\\\" %1\\n\"}";
    static const char twice[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\","
        " \"shape\": [4, 3]}], \"params\": ["
        "{\"id\": \"m\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"zeros\"}},"
        "{\"id\": \"v\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"ones\"}}],"
        " \"nodes\": [{\"id\": \"a\", \"op\": \"batch_norm\", \"in\": [\"x\", \"m\", \"v\"]},"
        " {\"id\": \"y\", \"op\": \"batch_norm\", \"in\": [\"a\", \"m\", \"v\"]}],"
        " \"outputs\": [\"y\"]}";
    put(f, "net.json", norm, strlen(norm));
    put(f, "text.json", text, strlen(text));
    put(f, "twice.json", twice, strlen(twice));
    says(f, ERR_USAGE, "compile net.json --training", "--training goes with --backward or --step");
    says(f, ERR_UNSUPPORTED, "compile text.json --training --backward",
         "training mode is for blueprints with nodes");
    compile(f, norm, " --strategy fast --target native");
    expect(f, ERR_NONE, "export net.urza -o net.onnx");
    says(f, ERR_UNSUPPORTED, "compile net.onnx --training --backward",
         "a model has the mode that it was exported in");
    says(f, ERR_BLUEPRINT, "compile twice.json --training --backward",
         "'m' is the running statistic of another node, too");
}

#define NORM_OF(dims, shape)                                                         \
    "{\"format\": \"urza.blueprint/1\", \"name\": \"few\", \"dims\": {" dims         \
    "}, \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [" shape         \
    "]}], \"params\": [{\"id\": \"m\", \"dtype\": \"f32\", \"shape\": [3],"          \
    " \"init\": {\"kind\": \"zeros\"}}, {\"id\": \"v\", \"dtype\": \"f32\","         \
    " \"shape\": [3], \"init\": {\"kind\": \"ones\"}}], \"nodes\": [{\"id\": \"y\"," \
    " \"op\": \"batch_norm\", \"in\": [\"x\", \"m\", \"v\"]}], \"outputs\": [\"y\"]}"

/* One value of each channel has no unbiased variance: such sizes are refused by name, or by the
 * compiler where they are all there are; two are enough. */
static void test_too_few_values(void **state)
{
    struct fixture *f = *state;
    static const char few[] = "'batch_norm' in training mode needs 2 values of each channel";
    static const char batch[] = NORM_OF("\"B\": {\"max\": 8}", "\"B\", 3");
    static const char image[] =
        NORM_OF("\"B\": {\"max\": 8}, \"H\": {\"min\": 2, \"max\": 9}", "\"B\", 3, \"H\", 1");
    static const char one[] = NORM_OF("", "1, 3, 1"), single[] = NORM_OF("", "2, 3, 1");
    compile(f, batch, " --strategy fast --target native");
    expect(f, ERR_NONE, "run net.urza --dims B=1");
    compile(f, batch, " --training --backward --target native"); /* verified */
    struct outcome seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_non_null(strstr(seen.out, "2 to 8"));
    assert_non_null(strstr(seen.out, few));
    says(f, ERR_USAGE, "compile net.json --training --backward --specialise B=1", few);
    float x[] = {1, 2, 3, 5, 8, 13};
    put_npy(f, "x.npy", "<f4", 2, (int64_t[]){1, 3}, x);
    says(f, ERR_INPUT, "run net.urza --in x=x.npy", "dim 'B' is 1, expected 2 to 8");
    says(f, ERR_INPUT, "run net.urza --in x=x.npy", few);
    put_npy(f, "x.npy", "<f4", 2, (int64_t[]){2, 3}, x);
    expect(f, ERR_NONE, "run net.urza --in x=x.npy --out two");
    const float *variance = floats(f, "two/new.v.npy", 3); /* 0.9 + 0.1 (a - b)²/2 */
    for (int i = 0; i < 3; i++)
        assert_true(fabsf(variance[i] - (0.9F + 0.05F * (x[3 + i] - x[i]) * (x[3 + i] - x[i]))) <
                    0x1p-18F);
    compile(f, image, " --training --backward --strategy fast --target native");
    seen = expect(f, ERR_NONE, "inspect net.urza");
    assert_null(strstr(seen.out, few)); /* two pixels are enough for a batch of one */
    compile(f, single, " --training --backward --strategy fast --target native");
    put(f, "one.json", one, strlen(one));
    says(f, ERR_SHAPE, "compile one.json --training --backward", few);
    says(f, ERR_SHAPE, "compile one.json --training --backward", "node 'y'");
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_batch_norm, build),     CLI_TEST(test_backward, build),
        CLI_TEST(test_dropout, build),        CLI_TEST(test_refuses, build),
        CLI_TEST(test_too_few_values, build),
    };
    return cmocka_run_group_tests_name("cli-training-mode", tests, NULL, NULL);
}
