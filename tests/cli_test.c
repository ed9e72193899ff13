/* The program `urza` as a user meets it: each command does what its help says. */
#include "cli_util.h"

#include <stdlib.h>
#include <string.h>

#include "base/npy.h"
#include "base/strbuf.h"

static void test_help(void **state)
{
    struct fixture *f = *state;
    static const struct row {
        const char *name, *usage, *example;
    } rows[] = {
#define COMMAND(id, name, usage, function, doc, example) {name, usage, example},
#include "cli/commands.def"
#undef COMMAND
    };
    struct outcome all = expect(f, ERR_NONE, "--help");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct strbuf line;
        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "%s --help", rows[i].name);
        struct outcome one = expect(f, ERR_NONE, line.data);
        assert_non_null(strstr(all.out, rows[i].name));
        assert_non_null(strstr(one.out, rows[i].usage));
        assert_non_null(strstr(one.out, rows[i].example));
        assert_non_null(strstr(one.out, "--json"));
        assert_int_equal(one.err_bytes, 0);
    }
    assert_non_null(strstr(expect(f, ERR_NONE, "--version").out, "urza "));
}

static void test_compile_and_run(void **state)
{
    struct fixture *f = *state;
    static const float a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {0.5f, -1, 2, 0, 1e30f, -6};
    static const int64_t shape[2] = {2, 3};
    put(f, "net.json", blueprint_sum, strlen(blueprint_sum));
    json_t *made = answer(f, "compile net.json -o net.urza --json");
    assert_ptr_equal(strstr(json_string_value(member(made, "kernel_id")), "kernel-"),
                     json_string_value(member(made, "kernel_id")));
    size_t size;
    get(f, "net.urza", &size);
    assert_int_equal(json_integer_value(member(made, "size_bytes")), size);
    assert_string_equal(json_string_value(member(made, "path")), "net.urza");
    assert_true(json_integer_value(member(made, "kernels")) >= 1);
    assert_true(json_number_value(member(made, "total_ms")) > 0);
    assert_true(json_number_value(member(member(made, "stages_ms"), "verify")) > 0);
    assert_true(json_is_array(member(made, "warnings")));
    json_decref(made);

    put_npy(f, "a.npy", "<f4", 2, shape, a);
    put_npy(f, "b.npy", "<f4", 2, shape, b);
    json_t *ran = answer(f, "run net.urza --in a=a.npy --in b=b.npy --out results --json");
    assert_true(json_is_null(member(ran, "fallback")));
    json_t *output = json_array_get(member(ran, "outputs"), 0);
    assert_string_equal(json_string_value(member(output, "name")), "c");
    assert_string_equal(json_string_value(member(output, "dtype")), "f32");
    assert_int_equal(json_integer_value(json_array_get(member(output, "shape"), 0)), 2);
    assert_string_equal(json_string_value(member(output, "path")), "results/c.npy");
    json_decref(ran);

    struct npy npy;
    struct error err;
    const char *bytes = get(f, "results/c.npy", &size);
    assert_true(npy_parse(bytes, size, &f->arena, &npy, &err));
    assert_int_equal(npy.rank, 2);
    for (int i = 0; i < 6; i++)
        assert_true(((const float *)npy.data)[i] == a[i] + b[i]);
}

static void test_random_runs_repeat(void **state)
{
    struct fixture *f = *state;
    size_t size, again;
    compile(f, blueprint_mlp, " --strategy fast");
    expect(f, ERR_NONE, "run net.urza --out one");
    expect(f, ERR_NONE, "run net.urza --random 0 --out two --threads 2");
    expect(f, ERR_NONE, "run net.urza --random 1 --out three");
    const char *one = get(f, "one/y.npy", &size);
    const char *two = get(f, "two/y.npy", &again);
    assert_int_equal(size, again);
    assert_memory_equal(one, two, size);
    const char *three = get(f, "three/y.npy", &again);
    assert_int_equal(size, again);
    assert_memory_not_equal(one, three, size);

    json_t *wide = answer(f, "run net.urza --dims B=7 --json");
    json_t *output = json_array_get(member(wide, "outputs"), 0);
    assert_int_equal(json_integer_value(json_array_get(member(output, "shape"), 0)), 7);
    assert_true(json_is_null(member(output, "path")));
    json_decref(wide);
    refuse(f, ERR_USAGE, "run net.urza --dims B=65 --json");
    refuse(f, ERR_USAGE, "run net.urza --dims C=1 --json");
}

static void test_interpreter_is_a_fallback(void **state)
{
    struct fixture *f = *state;
    size_t size, again;
    compile(f, blueprint_sum, " --strategy emergency");
    json_t *ran = answer(f, "run net.urza --out one --json");
    assert_true(json_is_string(member(ran, "fallback")));
    json_decref(ran);
    json_t *about = answer(f, "inspect net.urza --json");
    assert_int_equal(json_array_size(member(about, "targets")), 0);
    json_decref(about);
    compile(f, blueprint_sum, " --strategy fast");
    expect(f, ERR_NONE, "run net.urza --out two");
    const char *one = get(f, "one/c.npy", &size);
    const char *two = get(f, "two/c.npy", &again);
    assert_int_equal(size, again);
    assert_memory_equal(one, two, size);
}

static void test_verify_and_evidence(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_ir, strlen(blueprint_ir));
    expect(f, ERR_NONE, "compile net.json -o net.urza --verify-dims B=5");
    json_t *report = answer(f, "verify net.urza --json");
    assert_true(json_is_true(member(report, "pass")));
    json_t *checks = member(report, "checks"), *check;
    size_t i;
    assert_true(json_array_size(checks) > 0);
    json_array_foreach(checks, i, check)
    {
        assert_true(json_is_true(member(check, "pass")));
        assert_true(json_is_string(member(check, "name")));
        assert_true(json_number_value(member(check, "figure")) <=
                    json_number_value(member(check, "bound")));
    }
    json_decref(report);

    json_t *about = answer(f, "inspect net.urza --json");
    assert_true(json_object_size(member(about, "evidence")) > 0);
    assert_true(json_is_true(member(about, "signed")));
    json_t *id = json_incref(member(about, "kernel_id"));
    json_decref(about);
    /* Evidence is no part of the identity. */
    json_t *fast = answer(f, "compile net.json -o fast.urza --strategy fast --json");
    json_t *fast_about = answer(f, "inspect fast.urza --json");
    assert_int_equal(json_object_size(member(fast_about, "evidence")), 0);
    assert_true(json_is_string(id));
    json_t *degrading = answer(f, "compile net.json -o degrading.urza --degrade --json");
    assert_string_equal(json_string_value(member(degrading, "kernel_id")), json_string_value(id));
    assert_int_equal(json_array_size(member(degrading, "degraded")), 0);
    json_decref(degrading);
    json_decref(id);
    json_decref(fast);
    json_decref(fast_about);
}

static void test_inspect(void **state)
{
    struct fixture *f = *state;
    compile(f, blueprint_mlp, " --strategy fast");
    json_t *about = answer(f, "inspect net.urza --json");
    json_t *input = json_array_get(member(about, "inputs"), 0);
    json_t *param = json_array_get(member(about, "params"), 0);
    json_t *output = json_array_get(member(about, "outputs"), 0);
    assert_string_equal(json_string_value(member(input, "name")), "x");
    assert_string_equal(json_string_value(json_array_get(member(input, "shape"), 0)), "B");
    assert_int_equal(json_integer_value(json_array_get(member(input, "shape"), 1)), 6);
    assert_string_equal(json_string_value(member(param, "name")), "w");
    assert_string_equal(json_string_value(member(param, "dtype")), "f32");
    assert_string_equal(json_string_value(member(output, "name")), "y");
    assert_true(json_array_size(member(about, "targets")) >= 1);
    assert_true(json_array_size(member(about, "guards")) >= 1);
    size_t size;
    get(f, "net.urza", &size);
    assert_int_equal(json_integer_value(member(about, "size_bytes")), size);
    json_t *work = member(about, "work"); /* B = 4: [4, 6] by [6, 5], then relu */
    assert_int_equal(json_integer_value(member(work, "asked")), 2 * 4 * 6 * 5 + 4 * 5);
    assert_int_equal(json_integer_value(member(work, "done")), 2 * 4 * 6 * 5 + 4 * 5);
    json_decref(about);
    expect(f, ERR_NONE, "compile net.json -o slow.urza --strategy emergency");
    about = answer(f, "inspect slow.urza --json");
    assert_true(json_is_null(member(about, "work")));
    json_decref(about);

    expect(f, ERR_NONE, "compile net.json -o here.urza --strategy fast --target native");
    about = answer(f, "inspect here.urza --json");
    assert_int_equal(json_array_size(member(about, "targets")), 1);
    json_decref(about);

    struct outcome graph = expect(f, ERR_NONE, "inspect net.urza --dump graph");
    assert_string_equal(graph.out, expect(f, ERR_NONE, "graph net.urza").out);
    assert_non_null(strstr(graph.out, "contract"));
    assert_true(expect(f, ERR_NONE, "inspect net.urza --dump manifest").out[0] == '{');
    assert_true(expect(f, ERR_NONE, "inspect net.urza --dump plan").out_bytes > 0);
    assert_true(expect(f, ERR_NONE, "inspect net.urza --dump schedule").out_bytes > 0);
    assert_non_null(strstr(expect(f, ERR_NONE, "inspect net.urza").out, "input     x  f32[B, 6]"));
    assert_non_null(strstr(expect(f, ERR_NONE, "inspect net.urza").out, "260 done"));
    assert_non_null(strstr(expect(f, ERR_NONE, "graph net.json").out, "input \"x\""));
    assert_non_null(strstr(expect(f, ERR_NONE, "graph net.json --dot").out, "digraph"));
    refuse(f, ERR_USAGE, "inspect net.urza --dump all --json");
}

/* The nodes of the blueprint are named beside each launch. */
static void test_profile(void **state)
{
    struct fixture *f = *state;
    compile(f, blueprint_mlp, " --strategy fast");
    json_t *profile = answer(f, "profile net.urza --seconds 0.02 --no-peak --json");
    json_t *launches = member(profile, "launches"), *launch;
    size_t i;
    json_array_foreach(launches, i, launch)
    {
        json_t *nodes = member(launch, "nodes");
        size_t last = json_array_size(nodes) - 1;
        bool prepare = json_is_true(member(launch, "prepare"));
        assert_string_equal(json_string_value(json_array_get(nodes, last)), prepare ? "h" : "y");
    }
    assert_true(i > 0);
    json_decref(profile);
    struct outcome shown = expect(f, ERR_NONE, "profile net.urza --seconds 0.02 --no-peak");
    assert_non_null(strstr(shown.out, "ops"));
    assert_non_null(strstr(shown.out, "contract+max  h, y\n"));
    struct outcome plan = expect(f, ERR_NONE, "inspect net.urza --dump plan");
    assert_non_null(strstr(plan.out, " nodes \"h\", \"y\"\n"));
}

static void test_bench(void **state)
{
    struct fixture *f = *state;
    static const char *const positive[] = {"p50_us", "p95_us",   "min_us",
                                           "gflops", "gb_per_s", "percent_of_peak"};
    compile(f, blueprint_mlp, " --strategy fast");
    json_t *figures = answer(f, "bench net.urza --seconds 0.05 --threads 2 --dims B=64 --json");
    for (size_t i = 0; i < sizeof positive / sizeof positive[0]; i++)
        assert_true(json_number_value(member(figures, positive[i])) > 0);
    assert_int_equal(json_integer_value(member(figures, "threads")), 2);
    assert_true(json_number_value(member(figures, "min_us")) <=
                json_number_value(member(figures, "p50_us")));
    assert_true(json_number_value(member(figures, "p50_us")) <=
                json_number_value(member(figures, "p95_us")));
    /* 2 * 64 * 5 * 6 for the product, and at least one for each of 64 * 5 results of relu. */
    double flops = json_number_value(member(figures, "gflops")) * 1e3 *
                   json_number_value(member(figures, "p50_us"));
    assert_true(flops >= 2 * 64 * 5 * 6 + 64 * 5 - 1 && flops < 2 * 64 * 5 * 6 + 5 * 64 * 5);
    json_decref(figures);
    assert_non_null(
        strstr(expect(f, ERR_NONE, "bench net.urza --seconds 0.05").out, "of peak, by"));
}

static void test_dump(void **state)
{
    struct fixture *f = *state;
    static const char *const levels[] = {"graph",    "optimised", "groups", "loops",
                                         "schedule", "llvm",      "asm",    "plan"};
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        struct strbuf line;
        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "compile net.json --dump %s --target x86-64-v3", levels[i]);
        if (expect(f, ERR_NONE, line.data).out_bytes == 0)
            TEST_FAILED("nothing is dumped for %s", levels[i]);
    }
    json_t *dumped = answer(f, "compile net.json --dump graph --strategy fast --json");
    assert_non_null(strstr(json_string_value(member(dumped, "dump")), "contract"));
    assert_true(json_is_null(member(dumped, "path")));
    json_decref(dumped);
}

/* A graph through two passes: what a dump prints goes in, and what comes out is read again. */
static void test_pass(void **state)
{
    struct fixture *f = *state;
    static const char graph[] = "graph \"\"\n"
                                "%1 = input \"x\" : f32[2, 3]\n"
                                "%2 = neg %1 : f32[2, 3]\n"
                                "%3 = neg %2 : f32[2, 3]\n"
                                "output \"y\" %3\n",
                      simple[] = "graph \"\"\n"
                                 "%1 = input \"x\" : f32[2, 3]\n"
                                 "output \"y\" %1\n";
    put(f, "graph.txt", graph, strlen(graph));
    struct outcome first = expect(f, ERR_NONE, "pass simplify graph.txt");
    assert_string_equal(first.out, simple);
    struct outcome piped =
        run_at(f, "home", path_of(f, "graph.txt"), path_of(f, "stdout"), "pass simplify -");
    assert_int_equal(piped.status, 0);
    put(f, "simple.txt", first.out, first.out_bytes);
    assert_non_null(strstr(expect(f, ERR_NONE, "pass own-outputs simple.txt").out, "= copy %1"));

    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    struct outcome dump = expect(f, ERR_NONE, "compile net.json --dump graph --target x86-64-v3");
    put(f, "mlp.txt", dump.out, dump.out_bytes);
    json_t *packed = answer(f, "pass products mlp.txt --target x86-64-v3 --json");
    assert_non_null(strstr(json_string_value(member(packed, "graph")), "contract"));
    json_decref(packed);
    dump = expect(f, ERR_NONE, "compile net.json --dump optimised --target x86-64-v3");
    put(f, "mlp.txt", dump.out, dump.out_bytes);
    expect(f, ERR_NONE, "pass simplify mlp.txt");

    assert_non_null(strstr(expect(f, ERR_NONE, "pass").out, "\nfold-norms "));
    json_t *list = answer(f, "pass --json");
    assert_string_equal(json_string_value(member(json_array_get(list, 0), "pass")), "simplify");
    json_decref(list);
}

/* Every tag that is opened is closed, in order, but those that close themselves. */
static bool is_well_formed(const char *page)
{
    const char *open[64];
    size_t depth = 0;
    for (const char *at = page; (at = strchr(at, '<')) != NULL; at++) {
        const char *end = strchr(at, '>');
        if (!end || strchr("!abcdefghijklmnopqrstuvwxyz/", at[1]) == NULL)
            return false;
        if (at[1] == '!' || end[-1] == '/')
            continue;
        const char *name = at + 1 + (at[1] == '/');
        size_t length = strcspn(name, " >");
        if (at[1] != '/') {
            if (depth == sizeof open / sizeof open[0])
                return false;
            open[depth++] = name;
        } else if (depth-- == 0 || strncmp(open[depth], name, length) != 0) {
            return false;
        }
    }
    return depth == 0;
}

static void test_dump_all(void **state)
{
    struct fixture *f = *state;
    static const char network[] =
        "{\"format\": \"urza.blueprint/1\", \"name\": \"</pre><b>&\\\"'\","
        "\"dims\": {\"B\": {\"min\": 1, \"max\": 64}},"
        "\"inputs\": [{\"id\": \"x<i>&amp;\", \"dtype\": \"f32\", \"shape\": [\"B\", 6]}],"
        "\"nodes\": [{\"id\": \"h\", \"op\": \"softmax\", \"in\": [\"x<i>&amp;\"],"
        " \"attrs\": {\"dim\": -1}}], \"outputs\": [\"h\"]}";
    static const char *const same[][2] = {{"graph", "graph.txt"},
                                          {"optimised", "x86-64-v3.optimised.txt"},
                                          {"groups", "x86-64-v3.groups.txt"},
                                          {"loops", "x86-64-v3.loops.txt"},
                                          {"plan", "x86-64-v3.plan.txt"}};
    static const char *const shown[] = {"<h4>graph</h4>", "<h4>group</h4>",
                                        "<h4>loops</h4>", "<h4>schedule</h4>",
                                        "<h4>asm</h4>",   "<h2>x86-64-v2</h2>"};
    char name[80], line[120];
    size_t size;
    put(f, "net.json", network, strlen(network));
    expect(f, ERR_NONE, "compile net.json --dump-all out --target x86-64-v3,x86-64-v2");
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        snprintf(name, sizeof name, "out/%s", same[i][1]);
        snprintf(line, sizeof line, "compile net.json --dump %s --target x86-64-v3", same[i][0]);
        assert_string_equal(get(f, name, &size), expect(f, ERR_NONE, line).out);
    }
    assert_non_null(strstr(get(f, "out/x86-64-v2.s", &size), "kernel_0:"));
    assert_non_null(strstr(get(f, "out/x86-64-v3.ll", &size), "define void"));
    assert_non_null(strstr(get(f, "out/x86-64-v3.schedule.txt", &size), "parallel"));
    const char *page = get(f, "out/index.html", &size);
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        assert_non_null(strstr(page, shown[i]));
    assert_true(is_well_formed(page));
    assert_null(strstr(page, "<b>"));
    assert_null(strstr(page, "<i>"));
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "&lt;/pre&gt;&lt;b&gt;&amp;"));
    assert_non_null(strstr(page, "x&lt;i&gt;&amp;amp;"));
    expect(f, ERR_NONE, "compile net.json --dump-all out -o net.urza --strategy fast");
    assert_true(exists(f, "net.urza") && exists(f, "out/x86-64-v4.s"));
    expect(f, ERR_USAGE, "compile net.json --dump-all out --target x86-64-v3"); /* v4 is there */
    expect(f, ERR_USAGE, "compile net.json --dump-all home");
    expect(f, ERR_USAGE, "compile net.json --dump-all out --dump graph");
    expect(f, ERR_IO, "compile net.json --dump-all net.json");
}

static void test_debug(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_mlp, strlen(blueprint_mlp));
    assert_non_null(strstr(expect(f, ERR_NONE, "debug bisect net.json").out, "Nothing is wrong"));
    compile(f, blueprint_mlp, " --strategy fast");
    json_t *found = answer(f, "debug bisect net.urza --dims B=3 --seed 5 --json");
    assert_true(json_is_false(member(found, "found")));
    assert_string_equal(json_string_value(member(found, "place")), "none");
    assert_true(json_integer_value(member(found, "kernels")) > 0);
    assert_true(json_is_null(member(found, "blueprint")));
    json_decref(found);
    expect(f, ERR_USAGE, "debug bisect");
    expect(f, ERR_USAGE, "debug halve net.json");
    expect(f, ERR_USAGE, "debug bisect net.json --dims Q=3");
    expect(f, ERR_TARGET, "debug bisect net.json --target x86-64-v9");
    expect(f, ERR_NOT_FOUND, "debug bisect nowhere.json");
}

static void test_stdin(void **state)
{
    struct fixture *f = *state;
    put(f, "net.json", blueprint_sum, strlen(blueprint_sum));
    struct outcome piped = run_at(f, "home", path_of(f, "net.json"), path_of(f, "stdout"),
                                  "compile - -o piped.urza --strategy fast --unsigned");
    assert_int_equal(piped.status, 0);
    expect(f, ERR_NONE, "compile net.json -o named.urza --strategy fast --unsigned --no-cache");
    size_t piped_size, named_size;
    const char *one = get(f, "piped.urza", &piped_size);
    const char *two = get(f, "named.urza", &named_size);
    assert_int_equal(piped_size, named_size);
    assert_memory_equal(one, two, named_size);
}

/* Compiles with more arguments; whether the package was found, and how many kernels were made. */
static bool found(struct fixture *f, const char *more, int64_t *out_generated)
{
    struct strbuf line;
    strbuf_init(&line, &f->arena);
    strbuf_printf(&line, "compile net.json -o net.urza --target x86-64-v2 --json%s", more);
    json_t *made = answer(f, line.data);
    bool from_cache = json_is_true(member(made, "from_cache"));
    *out_generated = json_integer_value(member(made, "generated"));
    json_decref(made);
    return from_cache;
}

static void test_cache(void **state)
{
    struct fixture *f = *state;
    size_t first_size, size;
    int64_t all, generated;
    put(f, "net.json", blueprint_sum, strlen(blueprint_sum));
    assert_false(found(f, " --strategy fast --no-cache", &all));
    assert_false(exists(f, "home/cache"));
    const char *first = get(f, "net.urza", &first_size);
    assert_false(found(f, " --strategy fast", &generated));
    assert_int_equal(generated, all);
    assert_true(exists(f, "home/cache"));
    assert_true(found(f, " --strategy fast", &generated));
    const char *second = get(f, "net.urza", &size);
    assert_int_equal(size, first_size);
    assert_memory_equal(first, second, size);
    assert_false(found(f, "", &generated)); /* verified, which is another package of equal code */
    assert_int_equal(generated, 0);
    assert_false(found(f, " --cache-dir other", &generated));
    assert_int_equal(generated, all);
    assert_true(found(f, " --cache-dir other", &generated));
    assert_false(found(f, " --cache-dir net.json", &generated)); /* no folder: no cache */
    assert_int_equal(generated, all);
    expect(f, ERR_NONE, "verify net.urza");
}

/* Said on each compilation, whether the package is made or found. */
static void test_warnings(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "{\"format\": \"urza.blueprint/1\","
                               " \"inputs\": [{\"id\": \"a\", \"dtype\": \"f32\", \"shape\": [3]},"
                               " {\"id\": \"idle\", \"dtype\": \"f32\", \"shape\": [3]}],"
                               " \"nodes\": [{\"id\": \"c\", \"op\": \"relu\", \"in\": [\"a\"]}],"
                               " \"outputs\": [\"c\"]}";
    static const char warning[] = "input 'idle' is not used: no output depends on it";
    put(f, "net.json", text, strlen(text));
    for (int again = 0; again < 2; again++) {
        json_t *made = answer(f, "compile net.json -o net.urza --strategy fast --json");
        assert_int_equal(json_is_true(member(made, "from_cache")), again);
        json_t *warnings = member(made, "warnings");
        assert_int_equal(json_array_size(warnings), 1);
        assert_string_equal(json_string_value(json_array_get(warnings, 0)), warning);
        json_decref(made);
    }
    struct outcome said = expect(f, ERR_NONE, "compile net.json -o net.urza --no-cache");
    assert_non_null(strstr(said.err, "urza: warning: "));
    assert_non_null(strstr(said.err, warning));
}

static void test_keys(void **state)
{
    struct fixture *f = *state;
    static const char key[] = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    struct strbuf trust;
    json_t *none = answer(f, "keys --json");
    assert_int_equal(json_array_size(member(none, "keys")), 0);
    json_decref(none);
    assert_false(exists(f, "home")); /* looking makes nothing */
    strbuf_init(&trust, &f->arena);
    strbuf_printf(&trust, "keys trust zoe %s", key);
    expect(f, ERR_NONE, trust.data);
    json_t *list = answer(f, "keys list --json");
    json_t *zoe = json_array_get(member(list, "keys"), 0);
    assert_string_equal(json_string_value(member(zoe, "name")), "zoe");
    assert_string_equal(json_string_value(member(zoe, "key")), key);
    json_decref(list);
    struct outcome first = expect(f, ERR_NONE, "keys show");
    assert_string_equal(first.out, expect(f, ERR_NONE, "keys show").out);
    refuse(f, ERR_USAGE, "keys trust zoe abc --json");
    refuse(f, ERR_USAGE, "keys sell zoe --json");
    refuse(f, ERR_NOT_FOUND, "keys distrust adam --json");
    refuse(f, ERR_USAGE, "keys distrust ../zoe --json");
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_help, build),
        CLI_TEST(test_compile_and_run, build),
        CLI_TEST(test_random_runs_repeat, build),
        CLI_TEST(test_interpreter_is_a_fallback, build),
        CLI_TEST(test_verify_and_evidence, build),
        CLI_TEST(test_inspect, build),
        CLI_TEST(test_bench, build),
        CLI_TEST(test_profile, build),
        CLI_TEST(test_dump, build),
        CLI_TEST(test_pass, build),
        CLI_TEST(test_stdin, build),
        CLI_TEST(test_dump_all, build),
        CLI_TEST(test_debug, build),
        CLI_TEST(test_cache, build),
        CLI_TEST(test_warnings, build),
        CLI_TEST(test_keys, build),
    };
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
