#include "runtime/test_util.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY_SHAPES 3000 /* several times the capacity of the cache */

static void remembers_shapes(void **state)
{
    (void)state;
    urza_module *module = test_load("4*B", NULL);
    for (int round = 0; round < 3; round++)
        for (int64_t rows = 1; rows <= 64; rows++)
            test_call(module, rows);
    assert_int_equal(test_stats(module).shape_misses, 64);
    urza_unload(module);
}

static void forgets_the_oldest(void **state)
{
    (void)state;
    urza_module *module = test_load("4*B", NULL);
    for (int round = 0; round < 2; round++)
        for (int64_t rows = 0; rows < MANY_SHAPES; rows++)
            test_call(module, rows % 2 ? rows : MANY_SHAPES - rows);
    assert_true(test_stats(module).shape_misses > MANY_SHAPES);
    uint32_t retired = 0;
    for (struct shape_entry *entry = module->shapes.retired; entry; entry = entry->older)
        retired++;
    assert_true(retired <= 1); /* the entry that the one context claims */
    urza_unload(module);
}

struct caller {
    urza_module *module;
    uint32_t number;
};

static void *call_often(void *argument)
{
    const struct caller *caller = argument;
    for (uint32_t i = 0; i < 4000; i++) {
        /* A few shapes that all threads use, among many that evict each other. */
        int64_t rows = i % 3 == 0 ? i % 17 : (i * 7919 + caller->number * 101) % MANY_SHAPES;
        test_call(caller->module, rows % 200 + (i % 5 == 0 ? rows : 0));
    }
    return NULL;
}

static void serves_threads_with_many_shapes(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 2};
    urza_module *module = test_load("4*B", &options);
    struct caller callers[THREADS];
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){module, i};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    urza_stats stats = test_stats(module);
    assert_int_equal(stats.native_calls, THREADS * 4000);
    assert_true(atomic_load(&module->contexts.count) <= THREADS);
    urza_unload(module);
}

struct layer {
    urza_module *module;
    _Atomic bool stop;
};

static void *lay_out_until_told(void *argument)
{
    struct layer *layer = argument;
    struct test_tensor in;
    int64_t shapes[2][8];
    urza_error err;
    for (int64_t rows = 1; !atomic_load(&layer->stop); rows = rows % 1000000 + 1) {
        test_tensor_init(&in, NULL, rows);
        must_work(urza_output_shapes(layer->module, &in.dl, 1, shapes, &err), &err);
    }
    return NULL;
}

/* The child calls with new and old shapes, uses all queries, and exits. */
static void use_and_leave(urza_module *module)
{
    alarm(20);
    for (int64_t rows = 2000001; rows < 2000004; rows++) {
        struct test_tensor in;
        int64_t shapes[2][8];
        urza_error err;
        test_tensor_init(&in, NULL, rows);
        must_work(urza_output_shapes(module, &in.dl, 1, shapes, &err), &err);
        assert_int_equal(shapes[0][0], rows);
    }
    test_call(module, 5);
    test_call(module, 40001);
    test_stats(module);
    urza_unload(module);
    _exit(0);
}

static void a_child_calls_though_threads_laid_out_shapes(void **state)
{
    (void)state;
    enum { CONTEXTS = 1000, FORKS = 60 };
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 3};
    struct layer layer = {.module = test_load("4*B", &options)};
    struct error e;
    for (int i = 0; i < CONTEXTS; i++) /* all contexts are checked when a shape is published */
        assert_non_null(context_take(layer.module, &e));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, lay_out_until_told, &layer), 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0)
            use_and_leave(layer.module);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&layer.stop, true);
    pthread_join(thread, NULL);
    urza_unload(layer.module);
}

struct stack_user {
    struct stack *stack;
    _Atomic uint32_t *owners;
};

static void *take_and_put(void *argument)
{
    struct stack_user *user = argument;
    for (int i = 0; i < 20000; i++) {
        struct pooled *item = stack_take(user->stack);
        if (!item)
            continue;
        assert_int_equal(atomic_fetch_add(&user->owners[item->number], 1), 0);
        atomic_fetch_sub(&user->owners[item->number], 1);
        stack_put(user->stack, item);
    }
    return NULL;
}

/* No item on the stack is taken twice or lost. */
static void the_stack_gives_each_item_once(void **state)
{
    (void)state;
    enum { ITEMS = 3, THREADS = 4 };
    struct stack *stack = calloc(1, sizeof *stack);
    struct pooled items[ITEMS] = {{0}};
    _Atomic uint32_t owners[ITEMS + 1] = {0};
    struct stack_user user = {stack, owners};
    assert_null(stack_take(stack));
    for (int i = 0; i < ITEMS; i++) {
        assert_true(stack_register(stack, &items[i]));
        stack_put(stack, &items[i]);
    }
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_put, &user), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < ITEMS; i++)
        assert_non_null(stack_take(stack));
    assert_null(stack_take(stack));
    free(stack);
}

static void calls_at_the_same_time_are_bounded(void **state)
{
    (void)state;
    urza_module *module = test_load("4*B", NULL);
    struct error e;
    struct call_context *taken[POOLED_MAX];
    for (int i = 0; i < POOLED_MAX; i++) {
        taken[i] = context_take(module, &e);
        assert_non_null(taken[i]);
    }
    float x[4] = {0}, y[4], s[4];
    struct test_tensor in, out[2];
    urza_error err;
    test_tensor_init(&in, x, 1);
    test_tensor_init(&out[0], y, 1);
    test_tensor_init(&out[1], s, 1);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    must_give(urza_call(module, &in.dl, 1, outputs, 2, NULL, &err), ERR_LIMIT, &err, "same time");
    context_put(module, taken[0]);
    must_work(urza_call(module, &in.dl, 1, outputs, 2, NULL, &err), &err);
    urza_unload(module);
}

static void results_beyond_the_pool_are_freed(void **state)
{
    (void)state;
    urza_module *module = test_load("4*B", NULL);
    struct error e;
    struct urza_result *held[POOLED_MAX + 5];
    for (int i = 0; i < POOLED_MAX + 5; i++) {
        held[i] = result_take(module->runtime->results, 100, &e);
        assert_non_null(held[i]);
    }
    for (int i = 0; i < POOLED_MAX + 5; i++)
        urza_result_release(held[i]);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_shapes),
        cmocka_unit_test(forgets_the_oldest),
        cmocka_unit_test(serves_threads_with_many_shapes),
        cmocka_unit_test(a_child_calls_though_threads_laid_out_shapes),
        cmocka_unit_test(the_stack_gives_each_item_once),
        cmocka_unit_test(calls_at_the_same_time_are_bounded),
        cmocka_unit_test(results_beyond_the_pool_are_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
