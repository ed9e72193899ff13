/* Calls with JSON answers: what is sent, how errors are converted, what is retried; and watching a
 * job over streams that break. */
#include "client/test_util.h"

#include <jansson.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

static urza_client *open_client(const char *url, const urza_client_options *options)
{
    urza_client *client;
    urza_error err;
    must_work(urza_client_open(url, options, &client, &err), &err);
    return client;
}

static const urza_client_options quick = {.timeout_ms = 5000, .tries = 3};

static void start(struct service *service,
                  bool (*answer)(struct service *service, struct heard *heard), const char *text)
{
    *service = (struct service){.answer = answer, .text = text};
    service_start(service);
}

/* Opening. */

static void refuse_open(const char *url, const urza_client_options *options, enum error_code code)
{
    urza_client *client = NULL;
    urza_error err;
    must_give(urza_client_open(url, options, &client, &err), code, &err, "");
    assert_null(client);
}

static void options_are_checked(void **state)
{
    static const char *const urls[] = {"",
                                       "127.0.0.1:80",
                                       "ftp://host",
                                       "file:///etc/passwd",
                                       "http://",
                                       "http:///x",
                                       "http://a b",
                                       "http://user:secret@host",
                                       "http://host/?x=1",
                                       "http://host\r\nX: y"};
    static const char *const tokens[] = {"", "a b", "a\r\nX-Other: 1", "\xc3\xa4"};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        refuse_open(urls[i], NULL, ERR_USAGE);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        refuse_open("http://h", &(urza_client_options){.token = tokens[i]}, ERR_USAGE);
    refuse_open("http://h", &(urza_client_options){.token_file = "/none"}, ERR_NOT_FOUND);
    refuse_open("http://h", &(urza_client_options){.trusted_key_count = 1}, ERR_USAGE);
    refuse_open("http://h", &(urza_client_options){.trust = (urza_trust)7}, ERR_USAGE);
    refuse_open("http://h", &(urza_client_options){.cache_dir = "/proc/none"}, ERR_IO);
    urza_client_close(NULL);
    urza_answer_free(NULL);
    urza_package_free(NULL);
}

/* What is sent. */

static bool echo(struct service *service, struct heard *heard)
{
    char header[200];
    json_t *value = json_pack("{s:s, s:s, s:s}", "method", heard->method, "path", heard->path,
                              "body", heard->body);
    static const char *const names[] = {"Authorization", "Content-Type", "Accept", "Expect"};
    (void)service;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (heard_header(heard, names[i], header, sizeof header))
            json_object_set_new(value, names[i], json_string(header));
    char *text = json_dumps(value, 0);
    say_json(heard->fd, "200 OK", text);
    free(text);
    json_decref(value);
    return true;
}

/* Checks an answer against what was sent, and frees it. */
static void sent(urza_answer *answer, const char *key, const char *expected)
{
    json_t *value = json_loads(urza_answer_json(answer), 0, NULL);
    const char *found = json_string_value(json_object_get(value, key));
    if (!found || !expected ? found != expected : strcmp(found, expected) != 0)
        TEST_FAILED("%s is '%s', not '%s'", key, found ? found : "none",
                    expected ? expected : "none");
    json_decref(value);
}

static void compile_sends(urza_client *client, const urza_request *request, const char *path,
                          const char *type, const char *body)
{
    urza_answer *answer;
    urza_error err;
    must_work(urza_client_compile(client, request, &answer, &err), &err);
    sent(answer, "method", "POST");
    sent(answer, "path", path);
    sent(answer, "Content-Type", type);
    sent(answer, "body", body);
    sent(answer, "Accept", "application/json");
    sent(answer, "Expect", NULL);
    urza_answer_free(answer);
}

static void requests_are_as_the_service_wants_them(void **state)
{
    struct service service;
    urza_answer *answer;
    urza_error err;
    (void)state;
    start(&service, echo, NULL);
    urza_client *client = open_client(service.url, &(urza_client_options){.token = "secret"});
    compile_sends(client, &(urza_request){.source = " {\"id\": 1}", .size = 10}, "/compile",
                  "application/json", "{\"blueprint_ir\": {\"id\": 1},\"optimization_hints\":{}}");
    compile_sends(client,
                  &(urza_request){.source = "{}",
                                  .size = 2,
                                  .hints = "{\"optimization_level\": 2}",
                                  .cache_key = "a\"b",
                                  .priority = 3},
                  "/compile?priority=3", "application/json",
                  "{\"blueprint_ir\":{},\"optimization_hints\":{\"optimization_level\":2},"
                  "\"cache_key\":\"a\\\"b\"}");
    compile_sends(client,
                  &(urza_request){.source = "\x08model",
                                  .size = 6,
                                  .hints = "{\"optimization_level\":1,\"strategy\":\"a&b\"}"},
                  "/compile?optimization_level=1&strategy=a%26b", "application/octet-stream",
                  "\x08model");
    must_work(urza_client_submit(client, &(urza_request){.source = "{}", .size = 2}, &answer, &err),
              &err);
    sent(answer, "path", "/compile?async=true");
    sent(answer, "Authorization", "Bearer secret");
    urza_answer_free(answer);
    must_work(urza_client_optimize(client, "best", "{\"precision\":\"fp32\"}", &answer, &err),
              &err);
    sent(answer, "path", "/optimize/best");
    sent(answer, "body", "{\"precision\":\"fp32\"}");
    urza_answer_free(answer);
    must_work(urza_client_request(client, "PUT", "/api/v1/aliases/a", NULL, &answer, &err), &err);
    sent(answer, "method", "PUT");
    sent(answer, "body", "");
    assert_null(urza_answer_kernel_id(answer));
    assert_null(urza_answer_job_id(answer));
    urza_answer_free(answer);
    urza_client_close(client);
    service_stop(&service);
}

static void requests_that_are_none_are_not_sent(void **state)
{
    static const struct {
        urza_request request;
        enum error_code code;
        const char *text;
    } cases[] = {
        {{.source = "{} , \"x\": {}", .size = 11}, ERR_JSON, "source"},
        {{.source = "{", .size = 1}, ERR_JSON, "source"},
        {{.source = "{}", .size = 2, .hints = "[]"}, ERR_JSON, "hints"},
        {{.source = "{}", .size = 2, .hints = "{} {}"}, ERR_JSON, "hints"},
        {{.source = "{}", .size = 2, .priority = 10}, ERR_USAGE, "priority"},
        {{.source = "m", .size = 1, .hints = "{\"a\": []}"}, ERR_JSON, "'a'"},
        {{.source = NULL, .size = 1}, ERR_USAGE, ""},
    };
    static const char *const paths[] = {"x", "", "/a b", "/a\r\nX: y", "/a#b"};
    struct service service;
    urza_answer *answer = NULL;
    urza_error err;
    (void)state;
    start(&service, echo, NULL);
    urza_client *client = open_client(service.url, &quick);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_give(urza_client_compile(client, &cases[i].request, &answer, &err), cases[i].code,
                  &err, cases[i].text);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        must_give(urza_client_request(client, "GET", paths[i], NULL, &answer, &err), ERR_USAGE,
                  &err, "");
    must_give(urza_client_request(client, "TRACE", "/", NULL, &answer, &err), ERR_USAGE, &err, "");
    must_give(urza_client_cancel(client, "a/b", &err), ERR_USAGE, &err, "");
    must_give(urza_client_optimize(client, "", NULL, &answer, &err), ERR_USAGE, &err, "");
    assert_null(answer);
    assert_int_equal(service.requests, 0);
    urza_client_close(client);
    service_stop(&service);
}

/* Answers. */

static bool say_text(struct service *service, struct heard *heard)
{
    say_json(heard->fd, service->id ? service->id : "200 OK", service->text);
    return true;
}

static void errors_have_the_class_that_the_service_said(void **state)
{
    static const struct {
        const char *status, *json;
        enum error_code code;
        const char *message, *place;
    } cases[] = {
        {"400 Bad Request",
         "{\"error\":\"ShapeError\",\"message\":\"axis 3\",\"place\":\"node 'a'\"}", ERR_SHAPE,
         "axis 3", "node 'a'"},
        {"400 Bad Request", "{\"error\":\"CompilationError\",\"message\":\"x\"}", ERR_COMPILE, "x",
         ""},
        {"401 Unauthorized", "{\"error\":\"UnauthorizedError\",\"message\":\"who\"}", ERR_TOKEN,
         "who", ""},
        {"409 Conflict", "{\"error\":\"NeverHeardOfError\",\"message\":\"y\"}", ERR_CONFLICT, "y",
         ""},
        {"418 Teapot", "{}", ERR_PROTOCOL, "the service answers with status 418", ""},
        {"404 Not Found", "[1, 2", ERR_NOT_FOUND, "the service answers with status 404", ""},
        {"502 Bad Gateway", "", ERR_CONNECTION, "the service answers with status 502", ""},
        {"200 OK", "garbage", ERR_PROTOCOL, NULL, ""},
        {"200 OK", "", ERR_PROTOCOL, NULL, ""},
        {"200 OK", "[]", ERR_PROTOCOL, NULL, ""},
        {"200 OK", "{\"a\": 1, \"a\": 2}", ERR_PROTOCOL, NULL, ""},
    };
    struct service service;
    urza_answer *answer = NULL;
    urza_error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(&service, say_text, cases[i].json);
        service.id = cases[i].status;
        urza_client *client = open_client(service.url, &quick);
        must_give(urza_client_status(client, &answer, &err), cases[i].code, &err, "");
        if (cases[i].message)
            assert_string_equal(err.message, cases[i].message);
        assert_string_equal(err.place, cases[i].place);
        assert_int_equal(service.requests, 1);
        urza_client_close(client);
        service_stop(&service);
    }
    assert_null(answer);
}

/* Tries. */

static bool third_time(struct service *service, struct heard *heard)
{
    (void)service;
    if (heard->number == 1)
        return false;
    if (heard->number == 2)
        say_answer(heard->fd, "503 Service Unavailable", "Retry-After: 1\r\n", "text/plain", "", 0);
    else
        say_json(heard->fd, "200 OK", "{\"kernel_id\": \"kernel-1\", \"job_id\": \"job-1\"}");
    return true;
}

static void what_can_be_repeated_is(void **state)
{
    struct service service;
    urza_answer *answer;
    urza_error err;
    (void)state;
    start(&service, third_time, NULL);
    urza_client *client = open_client(service.url, &quick);
    uint64_t before = clock_ns();
    must_work(
        urza_client_compile(client, &(urza_request){.source = "{}", .size = 2}, &answer, &err),
        &err);
    assert_in_range(clock_ns() - before, 1000000000, 4000000000);
    assert_string_equal(urza_answer_kernel_id(answer), "kernel-1");
    assert_string_equal(urza_answer_job_id(answer), "job-1");
    assert_int_equal(service.requests, 3);
    urza_answer_free(answer);
    urza_client_close(client);
    service_stop(&service);
}

static bool busy_then_gone(struct service *service, struct heard *heard)
{
    (void)service;
    if (heard->number == 1)
        say_answer(heard->fd, "503 Service Unavailable", "Retry-After: 0\r\n", "text/plain", "", 0);
    return heard->number == 1;
}

/* A report that may have arrived is not sent again; one that was refused is. */
static void a_report_is_not_counted_twice(void **state)
{
    struct service service;
    urza_error err;
    const double times[] = {1, 2, 3.5};
    urza_observation report = {.profile = "B=2",
                               .calls = 3,
                               .p50_us = 2,
                               .p95_us = 3.5,
                               .sample_us = times,
                               .sample_count = 3};
    (void)state;
    start(&service, busy_then_gone, NULL);
    urza_client *client = open_client(service.url, &quick);
    must_give(urza_client_observe(client, "best", &report, &err), ERR_CONNECTION, &err, "");
    assert_int_equal(service.requests, 2);
    report.sample_count = 1001;
    must_give(urza_client_observe(client, "best", &report, &err), ERR_LIMIT, &err, "");
    urza_client_close(client);
    service_stop(&service);
    client = open_client(service.url, &quick); /* nobody listens, so nothing can have arrived */
    report.sample_count = 3;
    must_give(urza_client_observe(client, "best", &report, &err), ERR_CONNECTION, &err, "");
    urza_client_close(client);
}

/* Watching. */

#define PROGRESS(stage) \
    "event: progress\ndata: {\"state\":\"LEASED\",\"stage\":\"" stage "\",\"kernel_id\":null}\n\n"
#define END(state) "event: end\ndata: {\"state\":\"" state "\",\"kernel_id\":null}\n\n"

static bool job(struct service *service, struct heard *heard)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Connection: close\r\n\r\n";
    if (!strstr(heard->path, "/events")) {
        say_json(heard->fd, "200 OK", service->text);
        return true;
    }
    if (heard->number == 1)
        return false;
    if (heard->number == 3) {
        say_answer(heard->fd, "503 Service Unavailable", "", "text/plain", "", 0);
        return true;
    }
    say(heard->fd, head);
    if (heard->number == 2) { /* broken in the middle of an event */
        say(heard->fd, PROGRESS("compiling") ": a comment\n\n" PROGRESS("verifying") "event: pro");
        return false;
    }
    if (heard->number == 4) {
        say(heard->fd, PROGRESS("verifying"));
        return false;
    }
    say(heard->fd, "event: progress\r\ndata: {\"state\":\"LEASED\",\r\ndata: \"stage\":\"signing\"}"
                   "\r\n\r\n" END("DONE"));
    return false;
}

struct told {
    char text[1000];
    int stop_after, count;
};

static int take(void *user, const urza_job_event *event)
{
    struct told *told = user;
    json_t *value = json_loads(event->json, 0, NULL);
    const char *stage = json_string_value(json_object_get(value, "stage"));
    size_t length = strlen(told->text);
    snprintf(told->text + length, sizeof told->text - length, "%s:%s ", event->kind,
             stage ? stage : json_string_value(json_object_get(value, "state")));
    json_decref(value);
    return ++told->count == told->stop_after;
}

static void a_stream_that_breaks_is_taken_up_again(void **state)
{
    struct service service;
    struct told told = {.stop_after = 0};
    urza_answer *answer;
    urza_error err;
    (void)state;
    start(&service, job, "{\"state\":\"DONE\",\"kernel_id\":\"kernel-9\"}");
    urza_client *client = open_client(service.url, &quick);
    must_work(urza_client_watch(client, "job-1", 20, take, &told, &answer, &err), &err);
    assert_string_equal(told.text,
                        "progress:compiling progress:verifying progress:signing end:DONE ");
    assert_string_equal(urza_answer_kernel_id(answer), "kernel-9");
    urza_answer_free(answer);
    urza_client_close(client);
    service_stop(&service);
}

static bool ended(struct service *service, struct heard *heard)
{
    if (!strstr(heard->path, "/events")) {
        say_json(heard->fd, "200 OK", service->text);
        return true;
    }
    say(heard->fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" END("X"));
    return false;
}

static void a_job_that_failed_is_its_error(void **state)
{
    static const struct {
        const char *json;
        enum error_code code;
        const char *text;
    } cases[] = {
        {"{\"state\":\"FAILED\",\"error\":{\"error\":\"ShapeError\",\"message\":\"m\",\"place\":"
         "\"p\"}}",
         ERR_SHAPE, "m"},
        {"{\"state\":\"POISON\",\"error\":null}", ERR_COMPILER_DIED, "POISON"},
        {"{\"state\":\"CANCELLED\"}", ERR_CANCELLED, "cancelled"},
        {"{}", ERR_PROTOCOL, "no state"},
        {"nonsense", ERR_PROTOCOL, "no JSON"},
        {"{\"state\":\"QUEUED\"}", ERR_CONNECTION, "not over"},
    };
    struct service service;
    urza_error err;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start(&service, ended, cases[i].json);
        urza_client *client = open_client(service.url, &quick);
        must_give(urza_client_watch(client, "job-1", 0.5, NULL, NULL, NULL, &err), cases[i].code,
                  &err, cases[i].text);
        urza_client_close(client);
        service_stop(&service);
    }
}

static bool waits(struct service *service, struct heard *heard)
{
    say(heard->fd,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" PROGRESS("a") PROGRESS("b"));
    while (!atomic_load(&service->stopping))
        usleep(1000);
    return false;
}

static bool long_line(struct service *service, struct heard *heard)
{
    say(heard->fd, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ");
    for (int i = 0; i < 1000000 && !atomic_load(&service->stopping); i++)
        say(heard->fd, "and more and more and more and more and more");
    return false;
}

static void a_watch_has_an_end(void **state)
{
    struct service service;
    struct told told = {.stop_after = 2};
    urza_error err;
    (void)state;
    start(&service, waits, NULL);
    urza_client *client = open_client(service.url, &quick);
    must_give(urza_client_watch(client, "job-1", 20, take, &told, NULL, &err), ERR_CANCELLED, &err,
              "the caller");
    assert_string_equal(told.text, "progress:a progress:b ");
    must_give(urza_client_watch(client, "job-1", 0.3, NULL, NULL, NULL, &err), ERR_CONNECTION, &err,
              "not over");
    urza_client_close(client);
    service_stop(&service);

    start(&service, long_line, NULL);
    client = open_client(service.url, &quick);
    must_give(urza_client_watch(client, "job-1", 20, NULL, NULL, NULL, &err), ERR_LIMIT, &err, "");
    urza_client_close(client);
    service_stop(&service);

    start(&service, say_text, "{}"); /* not a stream */
    client = open_client(service.url, &quick);
    must_give(urza_client_watch(client, "job-1", 20, NULL, NULL, NULL, &err), ERR_PROTOCOL, &err,
              "application/json");
    urza_client_close(client);
    service_stop(&service);

    /* The service is away. */
    client = open_client(service.url, &(urza_client_options){.timeout_ms = 500});
    must_give(urza_client_watch(client, "job-1", -1, NULL, NULL, NULL, &err), ERR_CONNECTION, &err,
              "");
    urza_client_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(requests_are_as_the_service_wants_them),
        cmocka_unit_test(requests_that_are_none_are_not_sent),
        cmocka_unit_test(errors_have_the_class_that_the_service_said),
        cmocka_unit_test(what_can_be_repeated_is),
        cmocka_unit_test(a_report_is_not_counted_twice),
        cmocka_unit_test(a_stream_that_breaks_is_taken_up_again),
        cmocka_unit_test(a_job_that_failed_is_its_error),
        cmocka_unit_test(a_watch_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
