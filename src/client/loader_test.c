/* The loader: what is fetched how often, what comes of failures, and that nobody waits longer than
 * was agreed. */
#include "client/test_util.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "client/loader_priv.h"
#include "urza/loader.h"

#define TYPE "application/vnd.urza.package"
#define LONG_MS 60000
#define MS UINT64_C(1000000)

enum way { WAY_HONEST, WAY_SLOW, WAY_ABSENT, WAY_BUSY, WAY_SILENT, WAY_DAMAGED };

struct fixture {
    struct signing_key key;
    struct test_package package, other;
    char home[64], cache[64];
    uint8_t trusted[1][32];
    struct service service;
    _Atomic int way;
    const struct test_package *_Atomic alias; /* what "best" names */
    urza_client *client;
    urza_loader *loader;
    _Atomic uint32_t ready, failed;
};

/* Kernels by their ids, and "best". */
static bool answer(struct service *service, struct heard *heard)
{
    struct fixture *f = (struct fixture *)(uintptr_t)service->data;
    const struct test_package *package = strstr(heard->path, f->package.id) ? &f->package
                                         : strstr(heard->path, f->other.id) ? &f->other
                                         : strstr(heard->path, "/best")     ? f->alias
                                                                            : NULL;
    char headers[128];
    int way = package ? f->way : WAY_ABSENT;
    if (way == WAY_SLOW)
        usleep(300000);
    if (way == WAY_SILENT)
        while (!service->stopping)
            usleep(1000);
    if (way == WAY_ABSENT)
        say_json(heard->fd, "404 Not Found", "{\"error\": \"NotFoundError\", \"message\": \"no\"}");
    if (way == WAY_BUSY)
        say_json(heard->fd, "503 Service Unavailable",
                 "{\"error\": \"OverloadedError\", \"message\": \"later\"}");
    if (way == WAY_HONEST || way == WAY_SLOW || way == WAY_DAMAGED) {
        char *bytes = malloc(package->bytes.size_bytes);
        memcpy(bytes, package->bytes.data, package->bytes.size_bytes);
        bytes[package->bytes.size_bytes / 2] ^= way == WAY_DAMAGED;
        snprintf(headers, sizeof headers, "X-Kernel-Id: %s\r\n", package->id);
        say_answer(heard->fd, "200 OK", headers, TYPE, bytes, package->bytes.size_bytes);
        free(bytes);
    }
    return way != WAY_SILENT;
}

static int setup(void **state)
{
    struct error err;
    struct fixture *f = calloc(1, sizeof *f);
    folder_new(f->home);
    must(keys_open(f->home, &f->key, &err), &err);
    memcpy(f->trusted[0], f->key.public_key, 32);
    test_package_make(&f->package, "4*B", &f->key);
    test_package_make(&f->other, NULL, &f->key);
    f->alias = &f->package;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    test_package_free(&f->package);
    test_package_free(&f->other);
    folder_remove(f->home);
    free(f);
    return 0;
}

static void count(void *user, const char *kernel, urza_module *module, const urza_error *why)
{
    struct fixture *f = user;
    assert_true(strlen(kernel) > 0);
    assert_true((module != NULL) == (why == NULL));
    ++*(module ? &f->ready : &f->failed);
}

/* A service, a client with an empty folder, and a loader. */
static void begin(struct fixture *f, urza_loader_options options)
{
    urza_error err;
    folder_new(f->cache);
    f->ready = f->failed = 0;
    f->way = WAY_HONEST;
    f->service = (struct service){.answer = answer, .data = f, .size = 1};
    service_start(&f->service);
    const urza_client_options client = {.cache_dir = f->cache,
                                        .trusted_keys = (const uint8_t(*)[32])f->trusted,
                                        .trusted_key_count = 1,
                                        .timeout_ms = 20000,
                                        .tries = 1};
    must_work(urza_client_open(f->service.url, &client, &f->client, &err), &err);
    options.client = f->client;
    options.on_ready = count;
    options.user = f;
    must_work(urza_loader_open(&options, &f->loader, &err), &err);
}

static void end(struct fixture *f)
{
    urza_loader_close(f->loader);
    urza_client_close(f->client);
    service_stop(&f->service);
    folder_remove(f->cache);
}

static urza_module *get(struct fixture *f, const char *kernel)
{
    urza_module *module = NULL;
    urza_error err;
    must_work(urza_loader_get(f->loader, kernel, LONG_MS, &module, &err), &err);
    return module;
}

static void get_fails(struct fixture *f, const char *kernel, uint32_t wait_ms, enum error_code code,
                      const char *text)
{
    urza_module *module = NULL;
    urza_error err;
    must_give(urza_loader_get(f->loader, kernel, wait_ms, &module, &err), code, &err, text);
    assert_null(module);
}

static urza_loader_stats stats_of(struct fixture *f)
{
    urza_loader_stats stats;
    urza_loader_stats_get(f->loader, &stats);
    return stats;
}

static void wait_until_idle(struct fixture *f)
{
    while (stats_of(f).waiting > 0)
        usleep(1000);
}

static void what_is_wanted_is_there_later(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    begin(f, (urza_loader_options){0});
    must_work(urza_loader_want(f->loader, f->package.id, &err), &err);
    must_work(urza_loader_want(f->loader, f->package.id, &err), &err);
    urza_module *module = get(f, f->package.id);
    urza_stats stats = test_stats(module);
    assert_int_equal(stats.native_calls, 1); /* it was called with eight rows */
    assert_int_equal(stats.shape_misses, 1);
    test_call(module, 8);
    assert_int_equal(test_stats(module).shape_misses, 1);
    urza_module *again = get(f, f->package.id);
    assert_ptr_equal(again, module);
    urza_unload(again);
    must_work(urza_loader_want(f->loader, f->package.id, &err), &err);
    assert_int_equal(f->service.requests, 1);
    wait_until_idle(f);
    urza_loader_stats loads = stats_of(f);
    assert_int_equal(loads.fetched, 1);
    assert_int_equal(loads.loaded, 1);
    assert_int_equal(loads.kept, 1);
    end(f);
    assert_int_equal(f->ready, 1);
    assert_int_equal(f->failed, 0);
    test_call(module, 3); /* it is the host's, too */
    urza_unload(module);
}

static void names_of_one_kernel_share_a_module(void **state)
{
    struct fixture *f = *state;
    begin(f, (urza_loader_options){.threads = 2});
    urza_module *by_id = get(f, f->package.id), *by_name = get(f, "best");
    assert_ptr_equal(by_id, by_name);
    urza_unload(by_id);
    urza_unload(by_name);
    end(f);
}

static void an_alias_moves_on(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    begin(f, (urza_loader_options){0});
    urza_module *first = get(f, "best");
    must_work(urza_loader_want(f->loader, "best", &err), &err);
    wait_until_idle(f);
    urza_module *same = get(f, "best");
    assert_ptr_equal(same, first);
    f->alias = &f->other;
    must_work(urza_loader_want(f->loader, "best", &err), &err);
    wait_until_idle(f);
    urza_module *second = get(f, "best");
    assert_string_equal(urza_kernel_id(second), f->other.id);
    test_call(first, 5);
    f->way = WAY_BUSY; /* what is there stays */
    must_work(urza_loader_want(f->loader, "best", &err), &err);
    wait_until_idle(f);
    urza_module *third = get(f, "best");
    assert_ptr_equal(third, second);
    urza_unload(first);
    urza_unload(same);
    urza_unload(second);
    urza_unload(third);
    end(f);
    assert_int_equal(f->ready, 2);
    assert_int_equal(f->failed, 1);
}

static void what_failed_is_left_for_a_while(void **state)
{
    struct fixture *f = *state;
    begin(f, (urza_loader_options){.pause_ms = 300, .failures = 100});
    get_fails(f, "none", LONG_MS, ERR_NOT_FOUND, "no");
    unsigned before = f->service.requests;
    for (int i = 0; i < 5; i++)
        get_fails(f, "none", LONG_MS, ERR_NOT_FOUND, "no");
    assert_int_equal(f->service.requests, before);
    usleep(400000);
    get_fails(f, "none", LONG_MS, ERR_NOT_FOUND, "no");
    assert_int_equal(f->service.requests, before + 1);
    f->way = WAY_DAMAGED;
    get_fails(f, f->package.id, LONG_MS, ERR_PACKAGE, "");
    f->way = WAY_HONEST;
    usleep(400000);
    urza_unload(get(f, f->package.id));
    end(f);
    assert_int_equal(f->failed, 3);
}

static void a_registry_that_fails_is_left_alone(void **state)
{
    struct fixture *f = *state;
    begin(f, (urza_loader_options){.pause_ms = 400, .failures = 2});
    urza_unload(get(f, f->package.id)); /* in the folder from now on */
    f->way = WAY_BUSY;
    get_fails(f, f->other.id, LONG_MS, ERR_BUSY, "");
    assert_int_equal(stats_of(f).resting, 0);
    get_fails(f, "best", LONG_MS, ERR_BUSY, "");
    assert_int_equal(stats_of(f).resting, 1);
    unsigned before = f->service.requests;
    get_fails(f, "another", LONG_MS, ERR_CONNECTION, "left alone");
    get_fails(f, "a-third", LONG_MS, ERR_CONNECTION, "left alone");
    assert_int_equal(f->service.requests, before);
    f->way = WAY_HONEST;
    usleep(500000);
    urza_unload(get(f, f->other.id));
    assert_int_equal(stats_of(f).resting, 0);
    end(f);
}

/* Also a second loader, on the same folder. */
static void the_folder_serves_while_the_registry_rests(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    begin(f, (urza_loader_options){.pause_ms = LONG_MS, .failures = 1});
    urza_unload(get(f, f->package.id));
    urza_loader_close(f->loader);
    const urza_loader_options options = {.client = f->client, .pause_ms = LONG_MS, .failures = 1};
    must_work(urza_loader_open(&options, &f->loader, &err), &err);
    f->way = WAY_BUSY;
    get_fails(f, f->other.id, LONG_MS, ERR_BUSY, "");
    unsigned before = f->service.requests;
    urza_unload(get(f, f->package.id));
    assert_int_equal(f->service.requests, before);
    end(f);
}

static void nobody_waits_longer_than_agreed(void **state)
{
    struct fixture *f = *state;
    begin(f, (urza_loader_options){.deadline_ms = 300});
    f->way = WAY_SILENT;
    get_fails(f, f->package.id, 0, ERR_BUSY, "is being loaded");
    get_fails(f, f->package.id, 20, ERR_BUSY, "is being loaded");
    get_fails(f, f->package.id, LONG_MS, ERR_CONNECTION, "");
    end(f);
}

static void few_are_kept(void **state)
{
    struct fixture *f = *state;
    begin(f, (urza_loader_options){.keep = 1});
    urza_module *first = get(f, f->package.id);
    urza_unload(get(f, f->other.id));
    wait_until_idle(f);
    assert_int_equal(stats_of(f).kept, 1);
    assert_int_equal(stats_of(f).evicted, 1);
    test_call(first, 4);
    urza_module *again = get(f, f->package.id); /* from the folder */
    assert_ptr_not_equal(again, first);
    assert_int_equal(f->service.requests, 2);
    urza_unload(first);
    urza_unload(again);
    end(f);
}

static void *get_all(void *argument)
{
    struct fixture *f = argument;
    for (int i = 0; i < 200; i++) {
        urza_error err;
        urza_module *module = get(f, i % 3 == 0   ? f->package.id
                                     : i % 3 == 1 ? f->other.id
                                                  : "best");
        test_call(module, 1 + i % 4);
        urza_unload(module);
        if (i % 20 == 0) {
            f->alias = i % 40 == 0 ? &f->other : &f->package;
            must_work(urza_loader_want(f->loader, "best", &err), &err);
        }
    }
    return NULL;
}

static void threads_ask_at_the_same_time(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    begin(f, (urza_loader_options){.threads = 3, .keep = 2});
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_all, f), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    end(f);
    f->alias = &f->package;
    assert_int_equal(f->failed, 0);
}

static void closing_forgets_what_is_queued(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    begin(f, (urza_loader_options){.deadline_ms = 3000});
    f->way = WAY_SILENT;
    for (int i = 0; i < 1100; i++) {
        char name[32];
        snprintf(name, sizeof name, "name-%d", i);
        int code = urza_loader_want(f->loader, i == 0 ? f->package.id : name, &err);
        if (i < 1000)
            must_work(code, &err);
        if (i == 1099)
            must_give(code, ERR_BUSY, &err, "waited for");
    }
    end(f);
    assert_true(f->failed < 1000);
}

/* An alias that moves while it is asked about. */
static void wanting_again_is_not_lost(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    begin(f, (urza_loader_options){0});
    urza_unload(get(f, "best"));
    f->way = WAY_SLOW;
    must_work(urza_loader_want(f->loader, "best", &err), &err);
    for (unsigned before = f->service.requests; f->service.requests == before;)
        usleep(100);
    usleep(20000); /* the answer names the first package, and comes later */
    f->alias = &f->other;
    must_work(urza_loader_want(f->loader, "best", &err), &err);
    wait_until_idle(f);
    urza_module *module = get(f, "best");
    assert_string_equal(urza_kernel_id(module), f->other.id);
    urza_unload(module);
    f->alias = &f->package;
    end(f);
}

static void *wait_for_ever(void *argument)
{
    struct fixture *f = argument;
    urza_module *module = NULL;
    urza_error err;
    return urza_loader_get(f->loader, f->package.id, UINT32_MAX, &module, &err) == ERR_CANCELLED
               ? argument
               : NULL;
}

static void closing_ends_what_waits(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[3];
    begin(f, (urza_loader_options){.deadline_ms = 300});
    f->way = WAY_SILENT;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_ever, f), 0);
    while (stats_of(f).waiting == 0)
        usleep(100);
    usleep(50000);
    end(f);
    for (int i = 0; i < 3; i++) {
        void *cancelled;
        pthread_join(threads[i], &cancelled);
        assert_non_null(cancelled);
    }
}

/* The host gives back its runtime and the text of the target as soon as the loader is open. */
static void options_are_kept(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    char target[] = "interpreter";
    urza_loader_options options = {.load = {.target = target}};
    must_work(urza_runtime_new(NULL, &options.load.runtime, &err), &err);
    begin(f, options);
    urza_runtime_release(options.load.runtime);
    memset(target, 'x', sizeof target - 1);
    urza_module *module = get(f, f->package.id);
    assert_string_equal(urza_target(module), "interpreter");
    end(f);
    test_call(module, 3);
    urza_unload(module);
}

static void refuses_what_makes_no_sense(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    urza_loader *none;
    begin(f, (urza_loader_options){0});
    must_give(urza_loader_want(f->loader, "../x", &err), ERR_USAGE, &err, "not the name");
    must_give(urza_loader_want(f->loader, NULL, &err), ERR_USAGE, &err, "NULL");
    get_fails(f, "", 0, ERR_USAGE, "not the name");
    must_give(urza_loader_open(NULL, &none, &err), ERR_USAGE, &err, "needs a client");
    urza_loader_options options = {
        .client = f->client,
        .load = {.trusted_keys = (const uint8_t(*)[32])f->trusted, .trusted_key_count = 1}};
    must_give(urza_loader_open(&options, &none, &err), ERR_USAGE, &err, "keys");
    options = (urza_loader_options){.client = f->client, .threads = 100000};
    must_give(urza_loader_open(&options, &none, &err), ERR_LIMIT, &err, "threads");
    end(f);
}

static void a_breaker_opens_and_closes(void **state)
{
    (void)state;
    struct breaker b = {.failures_most = 2, .pause_ns = 10 * MS};
    for (int i = 0; i < 2; i++) {
        assert_true(breaker_allows(&b, 0));
        breaker_report(&b, false, 0);
    }
    uint64_t now = 0;
    for (int i = 0; i < 10; i++) { /* pauses double, six times */
        uint64_t pause = (10 * MS) << (i < 6 ? i : 6);
        assert_false(breaker_allows(&b, now + pause - 1));
        assert_true(breaker_allows(&b, now + pause));
        assert_false(breaker_allows(&b, now + pause)); /* one alone tries */
        now += pause;
        breaker_report(&b, false, now);
    }
    assert_true(breaker_allows(&b, now + 1000 * MS));
    breaker_report(&b, true, now);
    assert_true(breaker_allows(&b, now));
    breaker_report(&b, false, now);
    assert_true(breaker_allows(&b, now)); /* one failure is not two */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wanted_is_there_later),
        cmocka_unit_test(names_of_one_kernel_share_a_module),
        cmocka_unit_test(an_alias_moves_on),
        cmocka_unit_test(what_failed_is_left_for_a_while),
        cmocka_unit_test(a_registry_that_fails_is_left_alone),
        cmocka_unit_test(the_folder_serves_while_the_registry_rests),
        cmocka_unit_test(nobody_waits_longer_than_agreed),
        cmocka_unit_test(few_are_kept),
        cmocka_unit_test(threads_ask_at_the_same_time),
        cmocka_unit_test(closing_forgets_what_is_queued),
        cmocka_unit_test(wanting_again_is_not_lost),
        cmocka_unit_test(closing_ends_what_waits),
        cmocka_unit_test(options_are_kept),
        cmocka_unit_test(refuses_what_makes_no_sense),
        cmocka_unit_test(a_breaker_opens_and_closes),
    };
    return cmocka_run_group_tests_name("loader", tests, setup, teardown);
}
