/* Handles: references of modules, and replacing them while other threads call. */
#include "runtime/test_util.h"

#include <pthread.h>

#define READERS 7
#define REPLACEMENTS 3000

static urza_runtime *runtime; /* counts the modules that are loaded */

static int setup(void **state)
{
    (void)state;
    return urza_runtime_new(NULL, &runtime, NULL);
}

static uint32_t loaded(void)
{
    urza_runtime_stats stats;
    urza_runtime_stats_get(runtime, &stats);
    return stats.modules;
}

static int teardown(void **state)
{
    (void)state;
    uint32_t left = loaded();
    urza_runtime_release(runtime);
    return left != 0;
}

static urza_module *load(void)
{
    const urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .runtime = runtime};
    return test_load("4*B", &options);
}

/* A package without native code. */
static urza_module *load_graph(const char *text)
{
    const urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .runtime = runtime};
    struct arena arena;
    struct error err;
    struct strbuf bytes;
    char id[KERNEL_ID_BYTES];
    urza_module *module = NULL;
    urza_error error;
    arena_init(&arena);
    struct package_contents *contents = ARENA_NEW(&arena, struct package_contents);
    *contents = (struct package_contents){.name = "t",
                                          .compiler = "by hand",
                                          .strategy = "fast",
                                          .blueprint_json = "{}",
                                          .blueprint_bytes = 2,
                                          .evidence_json = "{}",
                                          .evidence_bytes = 2};
    must(graph_parse(&contents->graph, &arena, text, strlen(text), &err), &err);
    strbuf_init(&bytes, &arena);
    must(package_write(contents, NULL, &bytes, id, &err), &err);
    must_work(urza_load_memory(bytes.data, bytes.size_bytes, &options, &module, &error), &error);
    arena_release(&arena);
    return module;
}

static urza_handle *new_handle(urza_module *module)
{
    urza_handle *handle = NULL;
    urza_error err;
    must_work(urza_handle_new(module, &handle, &err), &err);
    return handle;
}

static void replace(urza_handle *handle, urza_module *module)
{
    urza_error err;
    must_work(urza_handle_replace(handle, module, &err), &err);
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    urza_module *module = load();
    assert_ptr_equal(urza_retain(module), module);
    urza_unload(module);
    assert_int_equal(loaded(), 1);
    test_call(module, 5);
    urza_unload(module);
    assert_int_equal(loaded(), 0);
    assert_null(urza_retain(NULL));
}

static void a_handle_holds_its_module(void **state)
{
    (void)state;
    urza_module *a = load(), *b = load();
    urza_handle *handle = new_handle(a);
    urza_unload(a);
    assert_int_equal(loaded(), 2);
    urza_module *got = urza_handle_get(handle);
    assert_ptr_equal(got, a);
    replace(handle, b);
    urza_unload(b);
    assert_int_equal(loaded(), 2); /* a is ours still */
    test_call(got, 3);
    urza_unload(got);
    assert_int_equal(loaded(), 1);
    replace(handle, b); /* by itself */
    assert_int_equal(loaded(), 1);
    replace(handle, NULL);
    assert_int_equal(loaded(), 0);
    assert_null(urza_handle_get(handle));
    urza_handle_free(handle);
    urza_handle_free(NULL);
}

static void calls_go_to_the_module_that_is_there(void **state)
{
    (void)state;
    urza_handle *handle = new_handle(NULL);
    float x[4] = {test_x(0), test_x(1), test_x(2), test_x(3)}, y[4], s[4];
    struct test_tensor in, out[2];
    urza_error err;
    test_tensor_init(&in, x, 1);
    test_tensor_init(&out[0], y, 1);
    test_tensor_init(&out[1], s, 1);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    must_give(urza_handle_call(handle, &in.dl, 1, outputs, 2, NULL, &err), ERR_NOT_FOUND, &err,
              "empty");
    must_give(urza_handle_call(NULL, &in.dl, 1, outputs, 2, NULL, &err), ERR_USAGE, &err, "NULL");
    urza_module *module = load();
    replace(handle, module);
    urza_unload(module);
    must_work(urza_handle_call(handle, &in.dl, 1, outputs, 2, NULL, &err), &err);
    for (int i = 0; i < 4; i++)
        assert_true(y[i] == test_y(i) && s[i] == test_s(i));
    must_give(urza_handle_call(handle, &in.dl, 2, outputs, 2, NULL, &err), ERR_INPUT, &err,
              "2 inputs");
    urza_handle_free(handle);
    assert_int_equal(loaded(), 0);
}

static void refuses_a_module_that_does_not_fit(void **state)
{
    (void)state;
    static const char with[] = "graph \"g\"\ndim B %s multiple %s typical 8\n"
                               "%%1 = input \"%s\" : %s[B, %s]\n%%2 = add %%1, %%1 : %s[B, %s]\n"
                               "output \"%s\" %%2\n%s";
    static const struct {
        const char *range, *multiple, *in, *dtype, *columns, *out, *more, *refused;
    } rows[] = {
        {"4..64", "2", "x", "f32", "4", "y", "", NULL},
        {"1..64", "1", "x", "f32", "4", "y", "", NULL},
        {"4..64", "4", "x", "f32", "4", "y", "", "dim 'B'"},
        {"6..64", "2", "x", "f32", "4", "y", "", "dim 'B'"},
        {"4..62", "2", "x", "f32", "4", "y", "", "dim 'B'"},
        {"4..64", "2", "z", "f32", "4", "y", "", "input 'z'"},
        {"4..64", "2", "x", "f64", "4", "y", "", "input 'x'"},
        {"4..64", "2", "x", "f32", "5", "y", "", "input 'x'"},
        {"4..64", "2", "x", "f32", "4", "z", "", "output 'z'"},
        {"4..64", "2", "x", "f32", "4", "y", "output \"again\" %2\n", "2 outputs"},
    };
    urza_handle *handle = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        urza_error err;
        snprintf(text, sizeof text, with, rows[i].range, rows[i].multiple, rows[i].in,
                 rows[i].dtype, rows[i].columns, rows[i].dtype, rows[i].columns, rows[i].out,
                 rows[i].more);
        urza_module *module = load_graph(text);
        if (i == 0) {
            handle = new_handle(module);
        } else if (rows[i].refused) {
            must_give(urza_handle_replace(handle, module, &err), ERR_INPUT, &err, rows[i].refused);
            urza_module *is = urza_handle_get(handle);
            assert_ptr_not_equal(is, module);
            urza_unload(is);
        } else {
            urza_handle *other = new_handle(NULL);
            urza_module *first = urza_handle_get(handle);
            replace(other, first);
            replace(other, module);
            urza_unload(first);
            urza_handle_free(other);
        }
        urza_unload(module);
        assert_int_equal(loaded(), 1);
    }
    urza_handle_free(handle);
}

struct reading {
    urza_handle *handle;
    _Atomic bool stop;
    _Atomic uint64_t calls;
};

static void *read_on(void *argument)
{
    struct reading *reading = argument;
    urza_module *kept = NULL;
    for (uint32_t i = 0; !atomic_load(&reading->stop); i++) {
        urza_module *module = urza_handle_get(reading->handle);
        if (module && i % 4 == 0)
            test_call(module, 1 + i % 5);
        urza_module *held = i % 3 == 0 ? kept : module;
        kept = i % 3 == 0 ? module : kept;
        urza_unload(held);
        atomic_fetch_add_explicit(&reading->calls, 1, memory_order_relaxed);
    }
    urza_unload(kept);
    return NULL;
}

/* Two modules go in and out all the time, and new ones; nobody else keeps those. */
static void *replace_often(void *argument)
{
    struct reading *reading = argument;
    urza_module *two[2] = {load(), load()};
    for (int i = 0; i < REPLACEMENTS; i++) {
        urza_module *fresh = i % 50 == 0 ? load() : NULL;
        urza_module *next = fresh || i % 17 == 0 ? fresh : two[i % 2];
        replace(reading->handle, next);
        urza_unload(fresh);
    }
    urza_unload(two[0]);
    urza_unload(two[1]);
    return NULL;
}

static void threads_read_while_others_replace(void **state)
{
    (void)state;
    struct reading reading = {.handle = new_handle(NULL)};
    pthread_t readers[READERS], writers[2];
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_on, &reading), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, replace_often, &reading), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(writers[i], NULL);
    while (atomic_load(&reading.calls) < 10000)
        URZA_CPU_RELAX();
    atomic_store(&reading.stop, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    replace(reading.handle, NULL);
    assert_int_equal(loaded(), 0);
    urza_handle_free(reading.handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(a_handle_holds_its_module),
        cmocka_unit_test(calls_go_to_the_module_that_is_there),
        cmocka_unit_test(refuses_a_module_that_does_not_fit),
        cmocka_unit_test(threads_read_while_others_replace),
    };
    return cmocka_run_group_tests_name("handle", tests, setup, teardown);
}
