/* The client against a service as it is: everything a program does with a registry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include <jansson.h>
#include <pthread.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "support/served.h"
#include "urza/client.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#define THREADS 8

/* y[B, 5] = relu(x[B, 6] w), with a name that makes it another one; %s. */
static const char pattern[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"%s\","
    " \"dims\": {\"B\": {\"min\": 1, \"max\": 64, \"typical\": 4}},"
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 6]}],"
    " \"params\": [{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [5, 6],"
    " \"init\": {\"kind\": \"normal\", \"seed\": 1}}],"
    " \"nodes\": [{\"id\": \"h\", \"op\": \"linear\", \"in\": [\"x\", \"w\"]},"
    " {\"id\": \"y\", \"op\": \"relu\", \"in\": [\"h\"]}], \"outputs\": [\"y\"]}";

struct fixture {
    const char *build;
    struct served served;
    char cache[128];
    uint8_t keys[1][32];
    urza_client *client;
};

static void must_give(int code, enum error_code expected, const urza_error *err, const char *text)
{
    if (code != (int)expected || (code != 0 && !strstr(err->message, text)))
        TEST_FAILED("expected %s '%s', got %s: %s: %s", error_name(expected), text,
                    urza_error_name(code), code ? err->place : "", code ? err->message : "");
}

static void must_work(int code, const urza_error *err)
{
    must_give(code, ERR_NONE, err, "");
}

static urza_client *open_client(struct fixture *f, const char *token, bool trusts)
{
    const urza_client_options options = {.cache_dir = f->cache,
                                         .token = token,
                                         .trusted_keys = (const uint8_t(*)[32])f->keys,
                                         .trusted_key_count = trusts ? 1 : 0,
                                         .timeout_ms = 120000};
    urza_client *client;
    urza_error err;
    must_work(urza_client_open(f->served.url, &options, &client, &err), &err);
    return client;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->build = *state;
    served_start(&f->served, f->build, NULL, NULL);
    served_key(&f->served, NULL, f->keys[0]);
    snprintf(f->cache, sizeof f->cache, "%s/cache", f->served.folder);
    f->client = open_client(f, NULL, true);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    urza_client_close(f->client);
    served_remove(&f->served);
    free(f);
    return 0;
}

static urza_request request_of(const char *name, const char *hints, char out[1024])
{
    int length = snprintf(out, 1024, pattern, name);
    return (urza_request){.source = out, .size = (size_t)length, .hints = hints};
}

/* Compiles; the kernel's id. */
static void compile(urza_client *client, const char *name, const char *hints, char id[80])
{
    char source[1024];
    urza_request request = request_of(name, hints, source);
    urza_answer *answer;
    urza_error err;
    must_work(urza_client_compile(client, &request, &answer, &err), &err);
    assert_non_null(urza_answer_kernel_id(answer));
    snprintf(id, 80, "%s", urza_answer_kernel_id(answer));
    urza_answer_free(answer);
}

static urza_package *fetch(urza_client *client, const char *name, urza_fetch mode)
{
    urza_package *package;
    urza_error err;
    must_work(urza_client_fetch(client, name, mode, &package, &err), &err);
    return package;
}

static json_t *get(urza_client *client, const char *method, const char *path, const char *body)
{
    urza_answer *answer;
    urza_error err;
    must_work(urza_client_request(client, method, path, body, &answer, &err), &err);
    json_t *value = json_loads(urza_answer_json(answer), 0, NULL);
    assert_non_null(value);
    urza_answer_free(answer);
    return value;
}

/* Loads with the client's keys and calls once. */
static void call(urza_client *client, urza_package *package)
{
    static float x[2 * 6], y[2 * 5];
    int64_t x_shape[] = {2, 6}, y_shape[] = {2, 5};
    DLTensor in = {
        .data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}, .shape = x_shape};
    DLTensor out = in;
    urza_load_options options = {.threads = 1};
    urza_module *module;
    urza_error err;
    size_t size;
    out.data = y;
    out.shape = y_shape;
    options.trusted_keys = urza_client_keys(client, &options.trusted_key_count);
    const void *bytes = urza_package_bytes(package, &size);
    must_work(urza_load_memory(bytes, size, &options, &module, &err), &err);
    must_work(urza_call(module, &in, 1, &out, 1, NULL, &err), &err);
    assert_string_equal(urza_kernel_id(module), urza_package_kernel_id(package));
    urza_unload(module);
}

static void compiled_fetched_called(void **state)
{
    struct fixture *f = *state;
    char id[80], again[80];
    compile(f->client, "net", NULL, id);
    compile(f->client, "net", NULL, again);
    assert_string_equal(id, again);
    urza_package *package = fetch(f->client, id, URZA_FETCH_DEFAULT);
    call(f->client, package);
    urza_package_free(package);
    served_stop(&f->served);
    package = fetch(f->client, id, URZA_FETCH_DEFAULT);
    assert_true(urza_package_from_cache(package));
    call(f->client, package);
    urza_package_free(package);
}

static void errors_come_through(void **state)
{
    struct fixture *f = *state;
    static const char bad[] =
        "{\"nodes\": [{\"id\": \"a\", \"op_type\": \"teleport\"}], \"edges\": []}";
    char id[80];
    urza_answer *answer;
    urza_package *package;
    urza_error err;
    must_give(urza_client_compile(f->client, &(urza_request){.source = bad, .size = sizeof bad - 1},
                                  &answer, &err),
              ERR_BLUEPRINT, &err, "teleport");
    must_give(urza_client_fetch(f->client, "nobody", URZA_FETCH_DEFAULT, &package, &err),
              ERR_NOT_FOUND, &err, "");
    must_give(urza_client_cancel(f->client, "job-0", &err), ERR_NOT_FOUND, &err, "");
    must_give(urza_client_watch(f->client, "job-0", 5, NULL, NULL, NULL, &err), ERR_NOT_FOUND, &err,
              "");
    must_give(urza_client_request(f->client, "DELETE", "/status", NULL, &answer, &err), ERR_METHOD,
              &err, "");
    compile(f->client, "net", "{\"strategy\": \"fast\"}", id);
    must_give(urza_client_observe(f->client, id, &(urza_observation){.calls = 1}, &err), ERR_USAGE,
              &err, "p50_us");
    const urza_observation none = {.calls = 0, .p50_us = 1, .p95_us = 2};
    must_give(urza_client_observe(f->client, id, &none, &err), ERR_JSON, &err, "calls");
    must_give(urza_client_optimize(f->client, id, "{\"wish\": 1}", &answer, &err), ERR_JSON, &err,
              "wish");
    urza_client *stranger = open_client(f, NULL, false);
    must_give(urza_client_fetch(stranger, id, URZA_FETCH_DEFAULT, &package, &err), ERR_SIGNATURE,
              &err, "");
    urza_client_close(stranger);
}

static int count_event(void *user, const urza_job_event *event)
{
    json_t *value = json_loads(event->json, 0, NULL);
    assert_non_null(json_string_value(json_object_get(value, "state")));
    json_decref(value);
    ++*(int *)user;
    return 0;
}

static void jobs_are_watched(void **state)
{
    struct fixture *f = *state;
    char source[1024], job[80];
    int events = 0;
    urza_request request = request_of("job", NULL, source);
    urza_answer *answer;
    urza_error err;
    request.priority = 9;
    must_work(urza_client_submit(f->client, &request, &answer, &err), &err);
    assert_non_null(urza_answer_job_id(answer));
    snprintf(job, sizeof job, "%s", urza_answer_job_id(answer));
    urza_answer_free(answer);
    must_work(urza_client_watch(f->client, job, 120, count_event, &events, &answer, &err), &err);
    assert_true(events > 0);
    urza_package *package = fetch(f->client, urza_answer_kernel_id(answer), URZA_FETCH_DEFAULT);
    call(f->client, package);
    urza_package_free(package);
    urza_answer_free(answer);
    must_give(urza_client_cancel(f->client, job, &err), ERR_CONFLICT, &err, "");
}

/* Cancelled while it waits: a job of the lowest priority behind others. */
static void jobs_are_cancelled(void **state)
{
    struct fixture *f = *state;
    char source[1024], name[16], job[80];
    urza_answer *answer;
    urza_error err;
    for (uint32_t i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "n%u", i);
        urza_request request = request_of(name, NULL, source);
        request.priority = i < 7 ? 5 : 0;
        must_work(urza_client_submit(f->client, &request, &answer, &err), &err);
        snprintf(job, sizeof job, "%s", urza_answer_job_id(answer));
        urza_answer_free(answer);
    }
    int code = urza_client_cancel(f->client, job, &err);
    if (code == ERR_CONFLICT)
        skip(); /* this process stood still for as long as seven compilations take */
    must_work(code, &err);
    must_give(urza_client_watch(f->client, job, 60, NULL, NULL, NULL, &err), ERR_CANCELLED, &err,
              "");
}

/* A job outlives the service, and so does the watch. */
static void a_watch_outlives_the_service(void **state)
{
    struct fixture *f = *state;
    char source[1024], job[80];
    urza_request request = request_of("long", NULL, source);
    urza_answer *answer;
    urza_error err;
    must_work(urza_client_submit(f->client, &request, &answer, &err), &err);
    snprintf(job, sizeof job, "%s", urza_answer_job_id(answer));
    urza_answer_free(answer);
    served_stop(&f->served);
    served_start(&f->served, f->build, NULL, NULL);
    must_work(urza_client_watch(f->client, job, 120, NULL, NULL, &answer, &err), &err);
    assert_non_null(urza_answer_kernel_id(answer));
    urza_answer_free(answer);
}

static void better_ones_and_observations(void **state)
{
    struct fixture *f = *state;
    char id[80], better[80], path[160], body[160];
    const double times[] = {4, 5, 6.5};
    const urza_observation seen = {.profile = "B=2",
                                   .host = "here",
                                   .calls = 3,
                                   .p50_us = 5,
                                   .p95_us = 6.5,
                                   .sample_us = times,
                                   .sample_count = 3};
    urza_answer *answer;
    urza_error err;
    /* Verified before the answer: evidence that comes behind it makes another package of it, which
     * a cache need not have. */
    compile(f->client, "net", "{\"optimization_level\": 0}", id);
    must_work(urza_client_observe(f->client, id, &seen, &err), &err);
    snprintf(path, sizeof path, "/api/v1/kernels/%s/observations", id);
    json_t *value = get(f->client, "GET", path, NULL);
    assert_int_equal(json_array_size(json_object_get(value, "items")), 1);
    json_decref(value);
    must_work(urza_client_optimize(f->client, id, "{\"optimization_level\": 2}", &answer, &err),
              &err);
    snprintf(better, sizeof better, "%s", urza_answer_kernel_id(answer));
    urza_answer_free(answer);
    const char *ids[] = {id, better};
    for (int i = 0; i < 2; i++) {
        snprintf(body, sizeof body, "{\"kernel\": \"%s\"}", ids[i]);
        json_decref(get(f->client, "PUT", "/api/v1/aliases/best", body));
        for (int from_cache = 0; from_cache < 2; from_cache++) {
            urza_package *package = fetch(f->client, "best", URZA_FETCH_DEFAULT);
            assert_string_equal(urza_package_kernel_id(package), ids[i]);
            assert_int_equal(urza_package_from_cache(package), from_cache);
            urza_package_free(package);
        }
    }
    assert_string_not_equal(id, better);
    served_stop(&f->served);
    urza_package *package = fetch(f->client, "best", URZA_FETCH_STALE);
    assert_string_equal(urza_package_kernel_id(package), better);
    urza_package_free(package);
}

struct thread {
    struct fixture *f;
    unsigned number, good;
    pthread_t thread;
};

static void *compile_and_fetch(void *context)
{
    struct thread *thread = context;
    urza_client *client = thread->f->client;
    for (unsigned i = 0; i < 6; i++) {
        char source[1024], name[16];
        snprintf(name, sizeof name, "n%u", (i + thread->number) % 3);
        urza_request request = request_of(name, "{\"strategy\": \"fast\"}", source);
        urza_answer *answer;
        urza_package *package;
        urza_error err;
        if (urza_client_compile(client, &request, &answer, &err) != 0)
            continue;
        if (urza_client_fetch(client, urza_answer_kernel_id(answer),
                              i % 2 ? URZA_FETCH_CHECK : URZA_FETCH_DEFAULT, &package, &err) == 0) {
            thread->good++;
            urza_package_free(package);
        }
        urza_answer_free(answer);
    }
    return NULL;
}

static void many_threads(void **state)
{
    struct thread threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.f = *state, .number = i};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, compile_and_fetch, &threads[i]),
                         0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(threads[i].good, 6);
}

/* SHA-256 of "reader" and "builder". */
static void tokens_decide(void **state)
{
    struct fixture *f = *state;
    char path[128], text[512], digests[2][65], id[80];
    struct error problem;
    urza_answer *answer;
    urza_error err;
    sha256_hex("reader", 6, digests[0]);
    sha256_hex("builder", 7, digests[1]);
    int length =
        snprintf(text, sizeof text, "%s read r\n%s read,compile b\n", digests[0], digests[1]);
    served_stop(&f->served);
    snprintf(path, sizeof path, "%s/tokens", f->served.folder);
    assert_true(file_write_atomic(path, text, (size_t)length, 0600, &problem));
    served_start(&f->served, f->build, "--tokens", path);
    must_give(urza_client_status(f->client, &answer, &err), ERR_TOKEN, &err, "");
    urza_client *reader = open_client(f, "reader", true),
                *builder = open_client(f, "builder", true);
    char source[1024];
    urza_request request = request_of("net", "{\"strategy\": \"fast\"}", source);
    must_give(urza_client_compile(reader, &request, &answer, &err), ERR_SCOPE, &err, "");
    compile(builder, "net", "{\"strategy\": \"fast\"}", id);
    urza_package_free(fetch(reader, id, URZA_FETCH_CHECK));
    must_work(urza_client_status(reader, &answer, &err), &err);
    urza_answer_free(answer);
    urza_client_close(reader);
    urza_client_close(builder);
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
#define CASE(function) cmocka_unit_test_prestate_setup_teardown(function, setup, teardown, build)
    const struct CMUnitTest tests[] = {
        CASE(compiled_fetched_called),
        CASE(errors_come_through),
        CASE(jobs_are_watched),
        CASE(jobs_are_cancelled),
        CASE(a_watch_outlives_the_service),
        CASE(better_ones_and_observations),
        CASE(many_threads),
        CASE(tokens_decide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
