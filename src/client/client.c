/* The public interface: opening, and calls that consist of one exchange. */
#include <math.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "client/client_priv.h"

#define TIMEOUT_MS 600000
#define CONNECT_TIMEOUT_MS 10000
#define TRIES 5
#define PACKAGE_BYTES ((uint64_t)4 << 30)
#define CACHE_BYTES ((uint64_t)10 << 30)
#define TOKEN_FILE_BYTES 4096
#define PATH_BYTES_MOST 8192
#define SAMPLE_MOST 1000

/* Opening. */

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

static bool take_url(struct urza_client *client, const char *url, struct error *err)
{
    size_t length = strlen(url);
    size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0 || length > 2048 || !is_printable(url) || strpbrk(url, "?#@\\\"") ||
        url[scheme] == '\0' || url[scheme] == '/')
        return fail(err, ERR_USAGE, "'%.100s' is no URL http://HOST:PORT or https://…", url);
    while (url[length - 1] == '/')
        length--;
    client->url = arena_strndup(&client->arena, url, length);
    return true;
}

static bool take_token(struct urza_client *client, const urza_client_options *options,
                       struct error *err)
{
    const char *token = options->token;
    char *text = NULL;
    size_t size;
    if (!token && !options->token_file)
        return true;
    if (!token) {
        if (!file_read(options->token_file, TOKEN_FILE_BYTES, &text, &size, err))
            return false;
        text[strcspn(text, "\r\n")] = '\0';
        token = text;
    }
    bool ok = (*token != '\0' && is_printable(token)) ||
              fail(err, ERR_USAGE, "a token is a word of printable characters");
    if (ok) {
        struct strbuf line;
        strbuf_init(&line, &client->arena);
        strbuf_printf(&line, "Authorization: Bearer %s", token);
        client->authorization = line.data;
    }
    if (text)
        OPENSSL_cleanse(text, size);
    free(text);
    return ok;
}

static bool take_keys(struct urza_client *client, const urza_client_options *options,
                      struct error *err)
{
    struct trusted_keys home = {.count = 0};
    if (options->trust > URZA_TRUST_ALLOW_UNSIGNED)
        return fail(err, ERR_USAGE, "trust policy %d is unknown", (int)options->trust);
    if (options->trusted_key_count > 0 && !options->trusted_keys)
        return fail(err, ERR_USAGE, "trusted keys are counted but not given");
    if (options->home && !keys_trusted(options->home, &client->arena, &home, err))
        return false;
    uint32_t given = options->trusted_key_count;
    uint8_t(*keys)[32] = arena_array(&client->arena, (size_t)home.count + given, sizeof *keys);
    if (home.count > 0)
        memcpy(keys, home.keys, home.count * sizeof *keys);
    if (given > 0)
        memcpy(keys + home.count, options->trusted_keys, given * sizeof *keys);
    client->trusted = (struct trusted_keys){(const uint8_t(*)[32])keys, home.count + given};
    client->trust =
        options->trust == URZA_TRUST_ALLOW_UNSIGNED ? TRUST_ALLOW_UNSIGNED : TRUST_REQUIRE;
    return true;
}

static bool take_folder(struct urza_client *client, const char *folder, struct error *err)
{
    struct strbuf packages, names;
    char digest[SHA256_HEX_BYTES];
    if (!folder)
        return true;
    strbuf_init(&packages, &client->arena);
    strbuf_init(&names, &client->arena);
    sha256_hex(client->url, strlen(client->url), digest);
    strbuf_printf(&packages, "%s/packages", folder);
    strbuf_printf(&names, "%s/names/%.16s", folder, digest);
    client->packages = packages.data;
    client->names = names.data;
    return file_make_dirs(packages.data, 0700, err) && file_make_dirs(names.data, 0700, err);
}

static bool fill(struct urza_client *client, const char *url, const urza_client_options *options,
                 struct error *err)
{
    jmp_buf no_memory;
    if (setjmp(no_memory) != 0)
        return fail(err, ERR_NOMEM, "no memory for a client");
    client->arena.oom = &no_memory;
    client->timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : TIMEOUT_MS;
    client->connect_timeout_ms =
        options->connect_timeout_ms > 0 ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    client->tries = options->tries > 0 ? options->tries : TRIES;
    client->cache_bytes = options->cache_bytes > 0 ? options->cache_bytes : CACHE_BYTES;
    uint64_t most = options->package_bytes > 0 ? options->package_bytes : PACKAGE_BYTES;
    client->package_bytes = (size_t)(most < LIMIT_PACKAGE_BYTES ? most : LIMIT_PACKAGE_BYTES);
    client->random = rng_key(clock_ns() ^ (uint64_t)(uintptr_t)client);
    if (options->ca_file)
        client->ca_file = arena_strdup(&client->arena, options->ca_file);
    bool ok = take_url(client, url, err) && take_token(client, options, err) &&
              take_keys(client, options, err) && take_folder(client, options->cache_dir, err);
    client->arena.oom = NULL;
    return ok;
}

int client_result(bool ok, const struct error *from, urza_error *err)
{
    if (ok)
        return 0;
    if (err) {
        *err = (urza_error){.code = (int)from->code};
        memcpy(err->place, from->place, sizeof err->place);
        memcpy(err->message, from->message, sizeof err->message);
    }
    return (int)from->code;
}

URZA_EXPORT int urza_client_open(const char *url, const urza_client_options *options,
                                 urza_client **out, urza_error *err)
{
    static const urza_client_options defaults;
    struct error error;
    if (!url || !out)
        return client_result(fail(&error, ERR_USAGE, "an argument is NULL"), &error, err);
    struct urza_client *client = calloc(1, sizeof *client);
    if (!client)
        return client_result(fail(&error, ERR_NOMEM, "no memory for a client"), &error, err);
    arena_init(&client->arena);
    pthread_mutex_init(&client->lock, NULL);
    client->curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    bool ok = client->curl_ready || fail(&error, ERR_NOMEM, "libcurl does not start");
    ok = ok && fill(client, url, options ? options : &defaults, &error);
    if (ok)
        *out = client;
    else
        urza_client_close(client);
    return client_result(ok, &error, err);
}

URZA_EXPORT void urza_client_close(urza_client *client)
{
    if (!client)
        return;
    http_close(client);
    if (client->authorization)
        OPENSSL_cleanse(client->authorization, strlen(client->authorization));
    if (client->curl_ready)
        curl_global_cleanup();
    pthread_mutex_destroy(&client->lock);
    arena_release(&client->arena);
    free(client);
}

URZA_EXPORT const uint8_t (*urza_client_keys(const urza_client *client, uint32_t *out_count))[32]
{
    *out_count = client->trusted.count;
    return client->trusted.keys;
}

URZA_EXPORT int urza_client_fetch(urza_client *client, const char *kernel, urza_fetch mode,
                                  urza_package **out, urza_error *err)
{
    struct error error;
    if (!kernel || !out || !name_is_fit(kernel) || mode > URZA_FETCH_LOCAL)
        return client_result(fail(&error, ERR_USAGE, "no id or alias of a kernel"), &error, err);
    return client_result(
        fetch_package(client, kernel, mode, deadline_after(client->timeout_ms), out, &error),
        &error, err);
}

/* Compiling. */

static bool is_json(const urza_request *request)
{
    const char *at = request->source, *end = at + request->size;
    while (at < end && strchr(" \t\r\n", *at) && *at != '\0')
        at++;
    return at < end && *at == '{';
}

/* Parses hints to a JSON object that the caller owns; NULL on failure. */
static json_t *read_hints(const char *hints, struct error *err)
{
    json_t *value = hints ? json_read(hints, strlen(hints), err) : json_object();
    if (value && !json_is_object(value)) {
        json_decref(value);
        value = NULL;
        fail(err, ERR_JSON, "hints are not an object");
    }
    if (!value && hints)
        fail_at(err, "hints");
    return value;
}

static void add_value(struct bytes *body, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        bytes_text(body, text);
    body->failed |= !text;
    free(text);
    json_decref(value);
}

/* The source is inserted into the body unchanged: it was checked to be exactly one JSON value. */
static bool make_body(const urza_request *request, json_t *hints, struct bytes *body,
                      struct error *err)
{
    json_t *source = json_read(request->source, request->size, err);
    if (!source)
        return fail_at(err, "source");
    json_decref(source);
    bytes_text(body, "{\"blueprint_ir\":");
    bytes_add(body, request->source, request->size);
    bytes_text(body, ",\"optimization_hints\":");
    add_value(body, json_incref(hints));
    if (request->cache_key) {
        bytes_text(body, ",\"cache_key\":");
        add_value(body, json_string(request->cache_key));
    }
    bytes_text(body, "}");
    return !body->failed || fail(err, ERR_NOMEM, "no memory for the request");
}

static void add_query(struct bytes *path, const char *name, const char *value)
{
    char *safe = curl_easy_escape(NULL, value, 0);
    bytes_text(path, strchr(path->data, '?') ? "&" : "?");
    bytes_text(path, name);
    bytes_text(path, "=");
    if (safe)
        bytes_text(path, safe);
    path->failed |= !safe;
    curl_free(safe);
}

/* Hints for a model are passed in the query. */
static bool add_hints(struct bytes *path, json_t *hints, struct error *err)
{
    const char *name;
    json_t *value;
    char number[32];
    json_object_foreach(hints, name, value)
    {
        if (strspn(name, "abcdefghijklmnopqrstuvwxyz_") != strlen(name) ||
            !(json_is_string(value) || json_is_integer(value) || json_is_boolean(value)))
            return fail(err, ERR_JSON,
                        "hint '%.60s': for a model, a text, a whole number or a truth", name);
        if (json_is_boolean(value))
            snprintf(number, sizeof number, "%s", json_is_true(value) ? "true" : "false");
        else
            snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
        add_query(path, name, json_is_string(value) ? json_string_value(value) : number);
    }
    return true;
}

static bool compile(struct urza_client *client, const urza_request *request, bool later,
                    urza_answer **out, struct error *err)
{
    struct bytes body = {0}, path = {0};
    char priority[12];
    bool model = !is_json(request);
    if (request->priority > 9)
        return fail(err, ERR_USAGE, "a priority is from 0 to 9");
    json_t *hints = read_hints(request->hints, err);
    if (!hints)
        return false;
    bytes_text(&path, "/compile");
    bool ok = !path.failed || fail(err, ERR_NOMEM, "no memory for the request");
    if (ok && later)
        add_query(&path, "async", "true");
    if (ok && request->priority > 0) {
        snprintf(priority, sizeof priority, "%u", request->priority);
        add_query(&path, "priority", priority);
    }
    ok = ok && (model ? add_hints(&path, hints, err) : make_body(request, hints, &body, err));
    ok = ok && (!path.failed || fail(err, ERR_NOMEM, "no memory for the request"));
    struct exchange exchange = {.method = "POST",
                                .path = path.data,
                                .type = model ? "application/octet-stream" : "application/json",
                                .body = model ? request->source : body.data,
                                .body_bytes = model ? request->size : body.size,
                                .repeatable = true}; /* finds an earlier try's result */
    ok = ok && answer_ask(client, &exchange, out, err);
    json_decref(hints);
    bytes_release(&body);
    bytes_release(&path);
    return ok;
}

URZA_EXPORT int urza_client_compile(urza_client *client, const urza_request *request,
                                    urza_answer **out, urza_error *err)
{
    struct error error;
    if (!request || !out || (!request->source && request->size > 0))
        return client_result(fail(&error, ERR_USAGE, "an argument is NULL"), &error, err);
    return client_result(compile(client, request, false, out, &error), &error, err);
}

URZA_EXPORT int urza_client_submit(urza_client *client, const urza_request *request,
                                   urza_answer **out, urza_error *err)
{
    struct error error;
    if (!request || !out || (!request->source && request->size > 0))
        return client_result(fail(&error, ERR_USAGE, "an argument is NULL"), &error, err);
    return client_result(compile(client, request, true, out, &error), &error, err);
}

/* Everything else. */

struct question {
    const char *method;
    const char *path; /* the whole path, or the part before a name */
    const char *json; /* NULL: no body */
    bool repeatable;  /* as in struct exchange */
};

static bool ask(struct urza_client *client, const struct question *question, urza_answer **out,
                struct error *err)
{
    const char *json = question->json;
    struct exchange exchange = {.method = question->method,
                                .path = question->path,
                                .type = json ? "application/json" : NULL,
                                .body = json,
                                .body_bytes = json ? strlen(json) : 0,
                                .repeatable = question->repeatable};
    return answer_ask(client, &exchange, out, err);
}

/* As ask, with a name appended to the path. */
static bool ask_of(struct urza_client *client, struct question question, const char *name,
                   const char *behind, urza_answer **out, struct error *err)
{
    char path[64 + NAME_BYTES];
    if (!name || !name_is_fit(name))
        return fail(err, ERR_USAGE, "no id: letters, digits, ._- and at most %d of them",
                    NAME_BYTES - 1);
    snprintf(path, sizeof path, "%s%s%s", question.path, name, behind);
    question.path = path;
    return ask(client, &question, out, err);
}

URZA_EXPORT int urza_client_optimize(urza_client *client, const char *kernel, const char *hints,
                                     urza_answer **out, urza_error *err)
{
    struct error error;
    if (!out)
        return client_result(fail(&error, ERR_USAGE, "an argument is NULL"), &error, err);
    const struct question question = {"POST", "/optimize/", hints ? hints : "{}", true};
    bool ok = ask_of(client, question, kernel, "", out, &error);
    return client_result(ok, &error, err);
}

static bool is_cancelled(struct urza_client *client, const char *job)
{
    struct error ignored;
    struct urza_answer *answer;
    const struct question question = {"GET", "/api/v1/jobs/", NULL, true};
    if (!ask_of(client, question, job, "", &answer, &ignored))
        return false;
    const char *json = urza_answer_json(answer);
    json_t *value = json_read(json, strlen(json), &ignored);
    const char *state = json_string_value(json_object_get(value, "state"));
    bool cancelled = state && strcmp(state, "CANCELLED") == 0;
    json_decref(value);
    urza_answer_free(answer);
    return cancelled;
}

URZA_EXPORT int urza_client_cancel(urza_client *client, const char *job, urza_error *err)
{
    struct error error;
    const struct question question = {"DELETE", "/api/v1/jobs/", NULL, true};
    bool ok = ask_of(client, question, job, "", NULL, &error);
    if (!ok && error.code == ERR_CONFLICT) /* it may have been cancelled by an earlier try whose
                                              answer was lost */
        ok = is_cancelled(client, job);
    return client_result(ok, &error, err);
}

static bool is_utf8(const char *text)
{
    json_t *value = text ? json_string(text) : json_null();
    json_decref(value);
    return value != NULL;
}

static bool observation_is_fit(const urza_observation *observation)
{
    for (uint32_t i = 0; i < observation->sample_count; i++)
        if (!isfinite(observation->sample_us[i]) || observation->sample_us[i] < 0)
            return false;
    return isfinite(observation->p95_us) && observation->p50_us > 0 &&
           observation->p50_us <= observation->p95_us && is_utf8(observation->profile) &&
           is_utf8(observation->host);
}

static char *print_observation(const urza_observation *observation)
{
    json_t *value = json_pack("{s:I, s:f, s:f}", "calls", (json_int_t)observation->calls, "p50_us",
                              observation->p50_us, "p95_us", observation->p95_us);
    if (observation->profile)
        json_object_set_new(value, "profile", json_string(observation->profile));
    if (observation->host)
        json_object_set_new(value, "host", json_string(observation->host));
    if (observation->sample_count > 0) {
        json_t *sample = json_array();
        for (uint32_t i = 0; i < observation->sample_count; i++)
            json_array_append_new(sample, json_real(observation->sample_us[i]));
        json_object_set_new(value, "sample_us", sample);
    }
    char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
    json_decref(value);
    return text;
}

URZA_EXPORT int urza_client_observe(urza_client *client, const char *kernel,
                                    const urza_observation *observation, urza_error *err)
{
    struct error error;
    if (!observation || (!observation->sample_us && observation->sample_count > 0))
        return client_result(fail(&error, ERR_USAGE, "an argument is NULL"), &error, err);
    if (observation->sample_count > SAMPLE_MOST)
        return client_result(fail(&error, ERR_LIMIT, "a sample has at most %d times", SAMPLE_MOST),
                             &error, err);
    if (!observation_is_fit(observation))
        return client_result(
            fail(&error, ERR_USAGE, "expected finite times, 0 < p50_us <= p95_us, and UTF-8 texts"),
            &error, err);
    char *json = print_observation(observation);
    bool ok = json || fail(&error, ERR_NOMEM, "no memory for a report");
    const struct question question = {"POST", "/api/v1/kernels/", json, false};
    ok = ok && ask_of(client, question, kernel, "/observations", NULL, &error);
    free(json);
    return client_result(ok, &error, err);
}

URZA_EXPORT int urza_client_status(urza_client *client, urza_answer **out, urza_error *err)
{
    struct error error;
    if (!out)
        return client_result(fail(&error, ERR_USAGE, "an argument is NULL"), &error, err);
    const struct question question = {"GET", "/status", NULL, true};
    return client_result(ask(client, &question, out, &error), &error, err);
}

URZA_EXPORT int urza_client_request(urza_client *client, const char *method, const char *path,
                                    const char *json, urza_answer **out, urza_error *err)
{
    static const char *const methods[] = {"GET", "PUT", "DELETE", "POST", "PATCH"};
    struct error error;
    size_t known = 0;
    while (method && known < 5 && strcmp(methods[known], method) != 0)
        known++;
    if (!method || known == 5 || !path || *path != '/' || strlen(path) > PATH_BYTES_MOST ||
        !is_printable(path) || strchr(path, '#'))
        return client_result(fail(&error, ERR_USAGE, "no such method, or no path"), &error, err);
    const struct question question = {method, path, json, known < 3};
    return client_result(ask(client, &question, out, &error), &error, err);
}
