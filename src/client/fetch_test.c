/* Fetching: what is stored, what is requested again; and that a service that lies, breaks off or
 * never ends causes an error of the right class and leaves nothing in the folder. */
#include "client/test_util.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"

#define TYPE "application/vnd.urza.package"

struct fixture {
    struct signing_key key, stranger;
    /* Again: the id of package, but signed by a second trusted key. */
    struct test_package package, again, other, unsigned_one;
    char home[64], stranger_home[64], cache[64];
    uint8_t trusted[1][32], both[2][32];
    struct service service;
};

static int setup(void **state)
{
    struct error err;
    struct fixture *f = calloc(1, sizeof *f);
    folder_new(f->home);
    folder_new(f->stranger_home);
    folder_new(f->cache);
    must(keys_open(f->home, &f->key, &err), &err);
    must(keys_open(f->stranger_home, &f->stranger, &err), &err);
    memcpy(f->trusted[0], f->key.public_key, 32);
    memcpy(f->both[0], f->key.public_key, 32);
    memcpy(f->both[1], f->stranger.public_key, 32);
    test_package_make(&f->package, "4*B", &f->key);
    test_package_make(&f->again, "4*B", &f->stranger);
    test_package_make(&f->other, NULL, &f->key);
    test_package_make(&f->unsigned_one, "4*B", NULL);
    assert_string_equal(f->package.id, f->again.id);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    test_package_free(&f->package);
    test_package_free(&f->again);
    test_package_free(&f->other);
    test_package_free(&f->unsigned_one);
    folder_remove(f->home);
    folder_remove(f->stranger_home);
    folder_remove(f->cache);
    free(f);
    return 0;
}

static urza_client *open_client(struct fixture *f, const char *url)
{
    const urza_client_options options = {.cache_dir = f->cache,
                                         .trusted_keys = (const uint8_t(*)[32])f->both,
                                         .trusted_key_count = 2,
                                         .timeout_ms = 20000,
                                         .tries = 3};
    urza_client *client;
    urza_error err;
    must_work(urza_client_open(url, &options, &client, &err), &err);
    return client;
}

static void serve_package(struct service *service, const struct test_package *package)
{
    service->data = package->bytes.data;
    service->size = package->bytes.size_bytes;
    service->id = package->id;
}

/* A correct service: bytes, their digest as etag, 304. */
static bool honest(struct service *service, struct heard *heard)
{
    char etag[SHA256_HEX_BYTES + 2], headers[512], given[256];
    if (strncmp(heard->path, "/kernel/", 8) != 0) {
        say_json(heard->fd, "404 Not Found", "{\"error\": \"NotFoundError\", \"message\": \"no\"}");
        return true;
    }
    etag[0] = '"';
    sha256_hex(service->data, service->size, etag + 1);
    snprintf(etag + 65, 2, "\"");
    snprintf(headers, sizeof headers, "ETag: %s\r\nX-Kernel-Id: %s\r\n", etag, service->id);
    if (heard_header(heard, "If-None-Match", given, sizeof given) && strcmp(given, etag) == 0)
        say_answer(heard->fd, "304 Not Modified", headers, TYPE, "", 0);
    else
        say_answer(heard->fd, "200 OK", headers, TYPE, service->data, service->size);
    return true;
}

static void fetch(urza_client *client, const char *name, urza_fetch mode,
                  const struct test_package *expected, int from_cache)
{
    urza_package *package;
    urza_error err;
    size_t size;
    must_work(urza_client_fetch(client, name, mode, &package, &err), &err);
    const void *bytes = urza_package_bytes(package, &size);
    assert_int_equal(size, expected->bytes.size_bytes);
    assert_memory_equal(bytes, expected->bytes.data, size);
    assert_int_equal((uintptr_t)bytes % 64, 0);
    assert_string_equal(urza_package_kernel_id(package), expected->id);
    assert_int_equal(urza_package_from_cache(package), from_cache);
    urza_package_free(package);
}

static void refuse(urza_client *client, const char *name, urza_fetch mode, enum error_code code,
                   const char *text)
{
    urza_package *package = NULL;
    urza_error err;
    must_give(urza_client_fetch(client, name, mode, &package, &err), code, &err, text);
    assert_null(package);
}

static void an_id_is_asked_for_once(void **state)
{
    struct fixture *f = *state;
    f->service = (struct service){.answer = honest};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    refuse(client, f->package.id, URZA_FETCH_LOCAL, ERR_NOT_FOUND, "");
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 1);
    assert_int_equal(f->service.requests, 1);
    service_stop(&f->service);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 1); /* without a service */
    fetch(client, f->package.id, URZA_FETCH_LOCAL, &f->package, 1);
    refuse(client, f->package.id, URZA_FETCH_CHECK, ERR_CONNECTION, "");
    urza_client_close(client);
}

static void evidence_that_is_newer_is_fetched(void **state)
{
    struct fixture *f = *state;
    f->service = (struct service){.answer = honest};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    fetch(client, f->package.id, URZA_FETCH_CHECK, &f->package, 1); /* 304 */
    serve_package(&f->service, &f->again);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 1);
    fetch(client, f->package.id, URZA_FETCH_CHECK, &f->again, 0);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->again, 1);
    assert_int_equal(f->service.requests, 3);
    assert_int_equal(f->service.connections, 1); /* the connection was reused */
    urza_client_close(client);
    service_stop(&f->service);
}

static void an_alias_is_asked_for_each_time(void **state)
{
    struct fixture *f = *state;
    f->service = (struct service){.answer = honest};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    fetch(client, "best", URZA_FETCH_DEFAULT, &f->package, 0);
    fetch(client, "best", URZA_FETCH_DEFAULT, &f->package, 1);
    serve_package(&f->service, &f->other);
    fetch(client, "best", URZA_FETCH_DEFAULT, &f->other, 0);
    fetch(client, "best", URZA_FETCH_LOCAL, &f->other, 1);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 1);
    assert_int_equal(f->service.requests, 3);
    service_stop(&f->service);
    refuse(client, "best", URZA_FETCH_DEFAULT, ERR_CONNECTION, "");
    fetch(client, "best", URZA_FETCH_STALE, &f->other, 1);
    refuse(client, "worst", URZA_FETCH_STALE, ERR_CONNECTION, "");
    refuse(client, "worst", URZA_FETCH_LOCAL, ERR_NOT_FOUND, "");
    refuse(client, "../best", URZA_FETCH_LOCAL, ERR_USAGE, "");
    refuse(client, "..", URZA_FETCH_DEFAULT, ERR_USAGE, "");
    urza_client_close(client);
}

/* The folder's package is damaged in each of these ways, and must be fetched again. */
static void damage_is_noticed(void **state)
{
    struct fixture *f = *state;
    char path[256];
    urza_error err;
    struct error problem;
    f->service = (struct service){.answer = honest};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    snprintf(path, sizeof path, "%s/packages/%s.urza", f->cache, f->package.id);
    size_t size = f->package.bytes.size_bytes;
    for (int kind = 0; kind < 5; kind++) {
        char *bytes = malloc(size);
        memcpy(bytes, f->package.bytes.data, size);
        bytes[kind == 0 ? size / 2 : 0] ^= 1;
        const void *data = kind == 3   ? f->other.bytes.data
                           : kind == 4 ? f->unsigned_one.bytes.data
                           : kind < 2  ? bytes
                                       : f->package.bytes.data;
        size_t cut = kind == 2   ? size / 3
                     : kind == 3 ? f->other.bytes.size_bytes
                     : kind == 4 ? f->unsigned_one.bytes.size_bytes
                                 : size;
        must(file_write_atomic(path, data, cut, 0600, &problem), &problem);
        urza_package *package = NULL;
        int code = urza_client_fetch(client, f->package.id, URZA_FETCH_LOCAL, &package, &err);
        assert_int_equal(code, kind == 4 ? ERR_SIGNATURE : ERR_PACKAGE);
        fetch(client, f->package.id, kind % 2 ? URZA_FETCH_CHECK : URZA_FETCH_DEFAULT, &f->package,
              0);
        fetch(client, f->package.id, URZA_FETCH_LOCAL, &f->package, 1);
        free(bytes);
    }
    assert_int_equal(truncate(path, 0), 0);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    assert_int_equal(f->service.requests, 7);
    urza_client_close(client);
    service_stop(&f->service);
}

/* Faulty services. */

static bool flipped(struct service *service, struct heard *heard)
{
    char *bytes = malloc(service->size);
    memcpy(bytes, service->data, service->size);
    bytes[service->size / 2] ^= 4;
    say_answer(heard->fd, "200 OK", "", TYPE, bytes, service->size);
    free(bytes);
    return true;
}

static bool plain(struct service *service, struct heard *heard)
{
    say_answer(heard->fd, "200 OK", "", TYPE, service->data, service->size);
    return true;
}

static bool shortened(struct service *service, struct heard *heard)
{
    say_answer(heard->fd, "200 OK", "", TYPE, service->data, service->size / 2);
    return true;
}

static bool other_id_said(struct service *service, struct heard *heard)
{
    say_answer(heard->fd, "200 OK", "X-Kernel-Id: kernel-12\r\n", TYPE, service->data,
               service->size);
    return true;
}

static bool broken_off(struct service *service, struct heard *heard)
{
    char head[200];
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nContent-Type: " TYPE "\r\nContent-Length: %zu"
             "\r\n\r\n",
             service->size);
    say(heard->fd, head);
    say_bytes(heard->fd, service->data, service->size / 2);
    return false;
}

static bool endless(struct service *service, struct heard *heard)
{
    static const char zeros[65536];
    say(heard->fd, "HTTP/1.1 200 OK\r\nContent-Type: " TYPE "\r\n\r\n");
    for (int i = 0; i < 1000 && !atomic_load(&service->stopping); i++)
        say_bytes(heard->fd, zeros, sizeof zeros);
    return false;
}

static bool huge(struct service *service, struct heard *heard)
{
    (void)service;
    say(heard->fd,
        "HTTP/1.1 200 OK\r\nContent-Type: " TYPE "\r\nContent-Length: 99999999999\r\n\r\n");
    return false;
}

static bool endless_headers(struct service *service, struct heard *heard)
{
    say(heard->fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 100000 && !atomic_load(&service->stopping); i++)
        say(heard->fd, "X-More: and more, and more, and more, and more, and more\r\n");
    return false;
}

static bool slow(struct service *service, struct heard *heard)
{
    say(heard->fd, "HTTP/1.1 200 OK\r\nContent-Type: " TYPE "\r\n\r\n");
    while (!atomic_load(&service->stopping)) {
        say(heard->fd, "x");
        usleep(50000);
    }
    return false;
}

static bool silent(struct service *service, struct heard *heard)
{
    (void)heard;
    while (!atomic_load(&service->stopping))
        usleep(10000);
    return false;
}

static bool gone(struct service *service, struct heard *heard)
{
    (void)service, (void)heard;
    return false;
}

static bool busy(struct service *service, struct heard *heard)
{
    (void)service;
    say_answer(heard->fd, "503 Service Unavailable", "Retry-After: 0\r\n", "application/json", "{}",
               2);
    return true;
}

static bool busy_for_long(struct service *service, struct heard *heard)
{
    (void)service;
    say_answer(heard->fd, "429 Too Many Requests", "Retry-After: 3600\r\n", "text/plain", "no", 2);
    return true;
}

static bool elsewhere(struct service *service, struct heard *heard)
{
    char headers[128];
    snprintf(headers, sizeof headers, "Location: %s/kernel/other\r\n", service->url);
    say_answer(heard->fd, "302 Found", headers, "text/plain", "", 0);
    return true;
}

static bool other_type(struct service *service, struct heard *heard)
{
    say_answer(heard->fd, "200 OK", "", "text/html", service->data, service->size);
    return true;
}

static bool no_http(struct service *service, struct heard *heard)
{
    (void)service;
    say(heard->fd, "\x16\x03\x01 what do you want\r\n\r\n");
    return false;
}

static bool unasked_304(struct service *service, struct heard *heard)
{
    (void)service;
    say_answer(heard->fd, "304 Not Modified", "", TYPE, "", 0);
    return true;
}

static bool a_part(struct service *service, struct heard *heard)
{
    say_answer(heard->fd, "206 Partial Content", "", TYPE, service->data, service->size);
    return true;
}

static bool missing(struct service *service, struct heard *heard)
{
    (void)service;
    say_json(heard->fd, "404 Not Found",
             "{\"error\":\"NotFoundError\",\"message\":\"no kernel\",\"place\":\"here\"}");
    return true;
}

static bool proxy(struct service *service, struct heard *heard)
{
    (void)service;
    say_answer(heard->fd, "403 Forbidden", "", "text/html", "<h1>no</h1>", 11);
    return true;
}

static const struct {
    const char *what;
    bool (*answer)(struct service *service, struct heard *heard);
    enum { OF_PACKAGE, OF_OTHER, OF_STRANGER, OF_NOBODY } bytes;
    enum error_code code;
    unsigned requests;
} hostile[] = {
    {"wrong digest", flipped, OF_PACKAGE, ERR_PACKAGE, 1},
    {"another kernel", plain, OF_OTHER, ERR_PACKAGE, 1},
    {"signed by a stranger", plain, OF_STRANGER, ERR_SIGNATURE, 1},
    {"not signed", plain, OF_NOBODY, ERR_SIGNATURE, 1},
    {"truncated archive", shortened, OF_PACKAGE, ERR_PACKAGE, 1},
    {"broken off", broken_off, OF_PACKAGE, ERR_CONNECTION, 3},
    {"endless body", endless, OF_PACKAGE, ERR_LIMIT, 1},
    {"huge body", huge, OF_PACKAGE, ERR_LIMIT, 1},
    {"endless headers", endless_headers, OF_PACKAGE, ERR_LIMIT, 1},
    {"slow", slow, OF_PACKAGE, ERR_CONNECTION, 1},
    {"silent", silent, OF_PACKAGE, ERR_CONNECTION, 1},
    {"gone", gone, OF_PACKAGE, ERR_CONNECTION, 3},
    {"busy", busy, OF_PACKAGE, ERR_BUSY, 3},
    {"busy for longer than we have", busy_for_long, OF_PACKAGE, ERR_BUSY, 1},
    {"redirect", elsewhere, OF_PACKAGE, ERR_PROTOCOL, 1},
    {"another type", other_type, OF_PACKAGE, ERR_PROTOCOL, 1},
    {"no HTTP", no_http, OF_PACKAGE, ERR_PROTOCOL, 1},
    {"304 that nobody asked for", unasked_304, OF_PACKAGE, ERR_PROTOCOL, 1},
    {"a part", a_part, OF_PACKAGE, ERR_PROTOCOL, 1},
    {"missing", missing, OF_PACKAGE, ERR_NOT_FOUND, 1},
    {"a proxy's page", proxy, OF_PACKAGE, ERR_SCOPE, 1},
};

static void hostile_services_leave_nothing(void **state)
{
    struct fixture *f = *state;
    const struct test_package *packages[] = {&f->package, &f->other, &f->again, &f->unsigned_one};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        const urza_client_options options = {.cache_dir = f->cache,
                                             .trusted_keys = (const uint8_t(*)[32])f->trusted,
                                             .trusted_key_count = 1,
                                             .timeout_ms = 800,
                                             .package_bytes = 1 << 20,
                                             .tries = 3};
        urza_client *client;
        urza_package *package = NULL;
        urza_error err;
        f->service = (struct service){.answer = hostile[i].answer};
        serve_package(&f->service, packages[hostile[i].bytes]);
        service_start(&f->service);
        must_work(urza_client_open(f->service.url, &options, &client, &err), &err);
        uint64_t start = clock_ns();
        int code = urza_client_fetch(client, f->package.id, URZA_FETCH_DEFAULT, &package, &err);
        if (code != (int)hostile[i].code || package || f->service.requests != hostile[i].requests)
            TEST_FAILED("%s: %s: %s; %u requests", hostile[i].what, urza_error_name(code),
                        code != 0 ? err.message : "", f->service.requests);
        if (clock_ns() - start > 5000000000)
            TEST_FAILED("%s: took too long", hostile[i].what);
        assert_int_equal(folder_files(f->cache, NULL, 0), 0);
        urza_client_close(client);
        service_stop(&f->service);
    }
    f->service = (struct service){.answer = other_id_said};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    refuse(client, "alias", URZA_FETCH_DEFAULT, ERR_PACKAGE, "another kernel");
    assert_int_equal(folder_files(f->cache, NULL, 0), 0);
    urza_client_close(client);
    service_stop(&f->service);
}

static void unsigned_ones_when_allowed(void **state)
{
    struct fixture *f = *state;
    const urza_client_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    urza_client *client;
    urza_error err;
    f->service = (struct service){.answer = plain};
    serve_package(&f->service, &f->unsigned_one);
    service_start(&f->service);
    must_work(urza_client_open(f->service.url, &options, &client, &err), &err);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->unsigned_one, 0);
    serve_package(&f->service, &f->package); /* a signature that is present must be valid */
    refuse(client, f->package.id, URZA_FETCH_DEFAULT, ERR_SIGNATURE, "");
    urza_client_close(client);
    service_stop(&f->service);
}

static void the_folder_has_a_bound(void **state)
{
    struct fixture *f = *state;
    char path[512];
    const urza_client_options options = {
        .cache_dir = f->cache, .cache_bytes = f->package.bytes.size_bytes + 10, .home = f->home};
    urza_client *client;
    urza_error err;
    f->service = (struct service){.answer = honest};
    service_start(&f->service);
    must_work(urza_client_open(f->service.url, &options, &client, &err), &err);
    serve_package(&f->service, &f->package);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    serve_package(&f->service, &f->other);
    fetch(client, f->other.id, URZA_FETCH_DEFAULT, &f->other, 0);
    snprintf(path, sizeof path, "%s/packages", f->cache);
    assert_int_equal(folder_files(path, path, sizeof path), 1);
    assert_non_null(strstr(path, f->other.id));
    urza_client_close(client);
    service_stop(&f->service);
}

/* A folder that is not writable, or has no space, is no failure. */
static void a_folder_that_goes_away(void **state)
{
    struct fixture *f = *state;
    f->service = (struct service){.answer = honest};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    folder_remove(f->cache);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    fetch(client, f->package.id, URZA_FETCH_DEFAULT, &f->package, 0);
    urza_client_close(client);
    service_stop(&f->service);
}

#define THREADS 8
#define ROUNDS 30

struct thread {
    struct fixture *f;
    urza_client *client;
    pthread_t thread;
    unsigned number, good;
};

static void *fetch_again_and_again(void *context)
{
    struct thread *thread = context;
    struct fixture *f = thread->f;
    static const urza_fetch modes[] = {URZA_FETCH_DEFAULT, URZA_FETCH_CHECK, URZA_FETCH_STALE};
    for (unsigned i = 0; i < ROUNDS; i++) {
        urza_package *package;
        urza_error err;
        size_t size;
        const char *name = (i + thread->number) % 4 == 0 ? "alias" : f->package.id;
        if (urza_client_fetch(thread->client, name, modes[(i + thread->number) % 3], &package,
                              &err) != 0)
            continue;
        urza_package_bytes(package, &size);
        thread->good += size == f->package.bytes.size_bytes &&
                        strcmp(urza_package_kernel_id(package), f->package.id) == 0;
        urza_package_free(package);
    }
    return NULL;
}

static void many_threads(void **state)
{
    struct fixture *f = *state;
    struct thread threads[THREADS];
    char path[512];
    f->service = (struct service){.answer = honest};
    serve_package(&f->service, &f->package);
    service_start(&f->service);
    urza_client *client = open_client(f, f->service.url);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.f = f, .client = client, .number = i};
        assert_int_equal(
            pthread_create(&threads[i].thread, NULL, fetch_again_and_again, &threads[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(threads[i].good, ROUNDS);
    assert_in_range(f->service.connections, 1, THREADS);
    snprintf(path, sizeof path, "%s/packages", f->cache);
    assert_int_equal(folder_files(path, NULL, 0), 1); /* and no temporary files */
    urza_client_close(client);
    service_stop(&f->service);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(an_id_is_asked_for_once),
        CASE(evidence_that_is_newer_is_fetched),
        CASE(an_alias_is_asked_for_each_time),
        CASE(damage_is_noticed),
        CASE(hostile_services_leave_nothing),
        CASE(unsigned_ones_when_allowed),
        CASE(the_folder_has_a_bound),
        CASE(a_folder_that_goes_away),
        CASE(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
