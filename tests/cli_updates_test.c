/* The program `urza` on outputs that update inputs: what it shows, runs and measures, and whole
 * training steps. */
#include "cli_util.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/npy.h"

static const char counter[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"counter\", \"dims\": {\"N\": {\"max\": 64,"
    " \"typical\": 8}}, \"inputs\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [\"N\"]},"
    " {\"id\": \"g\", \"dtype\": \"f32\", \"shape\": [\"N\"]}],"
    " \"nodes\": [{\"id\": \"y\", \"op\": \"sum\", \"in\": [\"w\"]},"
    " {\"id\": \"w_new\", \"op\": \"sub\", \"in\": [\"w\", \"g\"]}],"
    " \"outputs\": [\"y\", \"w_new\"], \"updates\": {\"w\": \"w_new\"}}";

static void must_show(struct fixture *f, const char *line, const char *words)
{
    struct outcome seen = expect(f, ERR_NONE, line);
    if (!strstr(seen.out, words))
        TEST_FAILED("%s shows\n%s\nand not %s", line, seen.out, words);
}

static void must_say(struct fixture *f, const char *line)
{
    json_t *object = answer(f, line);
    const json_t *outputs = member(object, "outputs");
    assert_int_equal(json_array_size(outputs), 2);
    assert_null(json_object_get(json_array_get(outputs, 0), "updates"));
    const char *updates = json_string_value(member(json_array_get(outputs, 1), "updates"));
    assert_non_null(updates);
    assert_string_equal(updates, "w");
    json_decref(object);
}

static void what_is_shown(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", counter, strlen(counter));
    must_show(f, "inspect net.json", "output    y  f32[]\noutput    w_new  f32[N]  updates w\n");
    must_say(f, "inspect net.json --json");
    must_show(f, "explain net.json", "output    w_new  f32[N]  updates w\n");
    must_show(f, "graph net.json", "update \"w\" by \"w_new\"\n");
    compile(f, counter, " --strategy fast");
    must_show(f, "inspect net.urza", "output    y  f32[]\noutput    w_new  f32[N]  updates w\n");
    must_say(f, "inspect net.urza --json");
    must_show(f, "graph net.urza", "update \"w\" by \"w_new\"\n");
    must_show(f, "inspect net.urza --dump plan", "out output 1 f32[N] in place, ");
    expect(f, ERR_NONE, "graph net.json --dot");
}

static void what_is_run(void **state)
{
    struct fixture *f = *state;
    const float w[3] = {1, 2, 4}, g[3] = {0.5F, 1, 8};
    struct npy npy;
    struct error err;
    size_t size;
    put_npy(f, "w.npy", "<f4", 1, (const int64_t[]){3}, w);
    put_npy(f, "g.npy", "<f4", 1, (const int64_t[]){3}, g);
    compile(f, counter, " --strategy fast");
    expect(f, ERR_NONE, "run net.urza --in w=w.npy --in g=g.npy --out out");
    const char *bytes = get(f, "out/w_new.npy", &size);
    assert_true(npy_parse(bytes, size, &f->arena, &npy, &err));
    for (int i = 0; i < 3; i++)
        assert_true(((const float *)npy.data)[i] == w[i] - g[i]);
    bytes = get(f, "w.npy", &size); /* a run changes no file that it reads */
    assert_true(npy_parse(bytes, size, &f->arena, &npy, &err));
    assert_memory_equal(npy.data, w, sizeof w);
    json_t *object = answer(f, "bench net.urza --seconds 0.05 --json");
    json_decref(object);
    expect(f, ERR_NONE, "bench net.urza --seconds 0.05 --dims N=1");
    expect(f, ERR_NONE, "profile net.urza --seconds 0.05");
    expect(f, ERR_NONE, "export net.urza -o net.onnx");
    must_show(f, "inspect net.onnx", "output    w_new  f32[N]\n");
}

static void whole_steps(void **state)
{
    struct fixture *f = *state;
    compile(f, blueprint_mlp, " --strategy fast --step lion(weight_decay=0.1) --loss mse_loss");
    must_show(f, "inspect net.urza",
              "step      a whole training step\nloss      mse_loss\n"
              "optimizer lion  beta1=0.9 beta2=0.99 weight_decay=0.1\ntrained   ");
    must_show(f, "verify net.urza", "lion, by definition");
    json_t *object = answer(f, "inspect net.urza --json");
    const json_t *step = member(object, "step");
    assert_true(json_number_value(member(member(step, "optimizer"), "beta2")) == 0.99);
    assert_true(json_array_size(member(step, "trained")) > 0);
    assert_int_equal(json_array_size(member(step, "frozen")), 0);
    json_decref(object);
    must_show(
        f, "inspect net.urza",
        "output    loss  f32[]\noutput    new.w  f32[5, 6]  updates w\n"
        "output    new.m.w  f32[5, 6]  updates m.w\noutput    new.step  i64[]  updates step\n");
    must_show(f, "inspect net.urza --dump plan", "out output 1 f32[30] in place");
    must_show(f, "inspect net.urza --dump plan", "out output 2 f32[30] in place");
    object = answer(f, "bench net.urza --seconds 0.05 --json");
    json_decref(object);
    refuse(f, ERR_USAGE, "compile net.json --step adagrad --json");
    refuse(f, ERR_USAGE, "compile net.json --step sgd --json"); /* no output is called loss */
    refuse(f, ERR_USAGE, "compile net.json --step sgd --loss relu --json");
    refuse(f, ERR_BLUEPRINT, "compile net.json --step sgd --loss y --json");
    refuse(f, ERR_BLUEPRINT, "compile net.json --step sgd --loss mse_loss --wrt q --json");
    struct outcome said = expect(f, ERR_USAGE, "compile net.json --step sgd(clip_norm=0) --loss y");
    assert_non_null(strstr(said.err, "--step"));
    assert_non_null(strstr(said.err, "'clip_norm' is a number above 0"));
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(what_is_shown, build),
        CLI_TEST(what_is_run, build),
        CLI_TEST(whole_steps, build),
    };
    return cmocka_run_group_tests_name("cli-updates", tests, NULL, NULL);
}
