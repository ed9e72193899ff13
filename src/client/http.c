/* One request over libcurl.
 *
 * Each call takes a handle, which includes a connection; no two threads ever use the same one. An
 * unacceptable answer is refused as early as possible: a wrong content type before the first byte
 * of the body, a size limit when the size is announced, or else when it is exceeded. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/clock.h"
#include "client/client_priv.h"

#define FIRST_BYTES ((size_t)16 << 10)

void bytes_add(struct bytes *bytes, const void *data, size_t size)
{
    size_t need;
    if (bytes->failed)
        return;
    if (URZA_ADD_OVERFLOW(bytes->size, size + 1, &need) || need > SIZE_MAX / 4) {
        bytes->failed = true;
        return;
    }
    if (need > bytes->capacity) {
        size_t capacity = bytes->capacity > 0 ? bytes->capacity : FIRST_BYTES;
        while (capacity < need)
            capacity *= 2;
        char *grown = aligned_alloc(64, capacity);
        if (!grown) {
            bytes->failed = true;
            return;
        }
        if (bytes->size > 0)
            memcpy(grown, bytes->data, bytes->size);
        free(bytes->data);
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    if (size > 0)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
    bytes->data[bytes->size] = '\0';
}

void bytes_text(struct bytes *bytes, const char *text)
{
    bytes_add(bytes, text, strlen(text));
}

void bytes_release(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

/* What arrives. */

static bool succeeded(const struct exchange *exchange)
{
    return exchange->status >= 200 && exchange->status < 300;
}

static bool right_type(const struct exchange *exchange)
{
    size_t length = strlen(exchange->answer_type);
    const char *type = exchange->answered_type;
    return strncasecmp(type, exchange->answer_type, length) == 0 &&
           (type[length] == '\0' || type[length] == ';' || type[length] == ' ');
}

/* Copies the value of a header line with this name, cut to the buffer's size. */
static bool header_is(const char *line, size_t size, const char *name, char *out, size_t out_size)
{
    size_t length = strlen(name);
    if (size <= length || strncasecmp(line, name, length) != 0 || line[length] != ':')
        return false;
    size_t from = length + 1, to = size;
    while (from < to && (line[from] == ' ' || line[from] == '\t'))
        from++;
    while (to > from && strchr(" \t\r\n", line[to - 1]))
        to--;
    /* A value that is too long is treated as missing. */
    size_t count = to - from < out_size - 1 ? to - from : 0;
    memcpy(out, line + from, count);
    out[count] = '\0';
    return true;
}

static size_t take_header(char *line, size_t one, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t size = one * count;
    char text[32];
    exchange->header_bytes += size;
    if (exchange->header_bytes > HEADER_BYTES) {
        exchange->broken = BROKEN_HEADERS;
        return 0;
    }
    if (size > 5 && strncmp(line, "HTTP/", 5) == 0) { /* an interim answer came before this one */
        exchange->answered_type[0] = exchange->answered_etag[0] = exchange->kernel_id[0] = '\0';
        exchange->retry_after_s = -1;
    }
    header_is(line, size, "Content-Type", exchange->answered_type, sizeof exchange->answered_type);
    header_is(line, size, "ETag", exchange->answered_etag, sizeof exchange->answered_etag);
    header_is(line, size, "X-Kernel-Id", exchange->kernel_id, sizeof exchange->kernel_id);
    if (header_is(line, size, "Retry-After", text, sizeof text) && text[0] != '\0' &&
        strlen(text) < 10 && text[strspn(text, "0123456789")] == '\0')
        exchange->retry_after_s = strtol(text, NULL, 10);
    return size;
}

static size_t take_body(char *data, size_t one, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t size = one * count;
    if (succeeded(exchange) && !right_type(exchange)) {
        exchange->broken = BROKEN_TYPE;
        return 0;
    }
    if (succeeded(exchange) && exchange->take) {
        if (exchange->take(exchange->context, data, size))
            return size;
        exchange->broken = BROKEN_TAKER;
        return 0;
    }
    size_t most = succeeded(exchange) ? exchange->answer_bytes : ERROR_BODY_BYTES;
    if (size > most - exchange->answer.size) {
        exchange->broken = BROKEN_SIZE;
        return 0;
    }
    bytes_add(&exchange->answer, data, size);
    if (exchange->answer.failed) {
        exchange->broken = BROKEN_MEMORY;
        return 0;
    }
    return size;
}

/* State of a transfer. When the body starts the status is known, but libcurl only reports it on
 * request. */
struct trip {
    CURL *handle;
    struct exchange *exchange;
};

static size_t take_body_of(char *data, size_t one, size_t count, void *context)
{
    struct trip *trip = context;
    curl_easy_getinfo(trip->handle, CURLINFO_RESPONSE_CODE, &trip->exchange->status);
    return take_body(data, one, count, trip->exchange);
}

/* Handles.
 *
 * What is the same for all requests is set once, and each request sets all the rest, so a handle
 * need not be reset: curl_easy_reset cannot say that it had no memory, and leaves defaults out
 * then, the size of the receive buffer among them (libcurl 7.88 writes 16 KiB into one byte). */

static bool has_set(CURLcode code)
{
    return code == CURLE_OK;
}

/* An option that fails must not be left out: without CURLOPT_PROXY, say, the environment's proxies
 * would be used. */
static bool set_once(const struct urza_client *client, CURL *h)
{
    return has_set(curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https")) &&
           has_set(curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1)) &&
           has_set(curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L)) &&
           /* ignore proxies of the environment */
           has_set(curl_easy_setopt(h, CURLOPT_PROXY, "")) &&
           has_set(curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L)) &&
           has_set(curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L)) &&
           has_set(curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L)) &&
           has_set(curl_easy_setopt(h, CURLOPT_USERAGENT, "urza/" URZA_VERSION)) &&
           has_set(curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, take_header)) &&
           has_set(curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_body_of)) &&
           has_set(
               curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_timeout_ms)) &&
           (!client->ca_file || has_set(curl_easy_setopt(h, CURLOPT_CAINFO, client->ca_file)));
}

static CURL *take_handle(struct urza_client *client)
{
    CURL *handle = NULL;
    pthread_mutex_lock(&client->lock);
    if (client->idle_count > 0)
        handle = client->idle[--client->idle_count];
    pthread_mutex_unlock(&client->lock);
    if (handle)
        return handle;
    handle = curl_easy_init();
    if (handle && set_once(client, handle))
        return handle;
    curl_easy_cleanup(handle);
    return NULL;
}

/* One that ran out of memory is not used again. */
static void give_back(struct urza_client *client, CURL *handle, bool is_good)
{
    bool kept = false;
    if (is_good) {
        curl_easy_setopt(handle, CURLOPT_HTTPHEADER, NULL); /* what they point to ends now */
        curl_easy_setopt(handle, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, NULL);
        curl_easy_setopt(handle, CURLOPT_HEADERDATA, NULL);
        curl_easy_setopt(handle, CURLOPT_WRITEDATA, NULL);
        pthread_mutex_lock(&client->lock);
        kept = client->idle_count < IDLE_MOST;
        if (kept)
            client->idle[client->idle_count++] = handle;
        pthread_mutex_unlock(&client->lock);
    }
    if (!kept)
        curl_easy_cleanup(handle);
}

void http_close(struct urza_client *client)
{
    while (client->idle_count > 0)
        curl_easy_cleanup(client->idle[--client->idle_count]);
}

/* What is sent. */

static bool add_header(struct curl_slist **list, const char *name, const char *value)
{
    struct bytes line = {0};
    bytes_text(&line, name);
    bytes_text(&line, value);
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(*list, line.data);
    bytes_release(&line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool make_headers(const struct urza_client *client, const struct exchange *exchange,
                         struct curl_slist **list)
{
    return add_header(list, "Expect:", "") /* do not wait for an interim answer */
           && add_header(list, "Accept: ", exchange->answer_type) &&
           (!client->authorization || add_header(list, client->authorization, "")) &&
           (exchange->type ? add_header(list, "Content-Type: ", exchange->type)
                           : add_header(list, "Content-Type:", "")) &&
           (!exchange->etag || add_header(list, "If-None-Match: ", exchange->etag));
}

/* Limits that an exchange does not have are set to none. */
static bool set_limits(const struct exchange *exchange, CURL *h)
{
    uint64_t now = clock_ns(), left = 0;
    size_t most =
        exchange->answer_bytes > ERROR_BODY_BYTES ? exchange->answer_bytes : ERROR_BODY_BYTES;
    if (exchange->deadline_ns != UINT64_MAX) {
        left = exchange->deadline_ns > now ? (exchange->deadline_ns - now) / 1000000 : 0;
        left = left > 0 ? left : 1;
    }
    return has_set(curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)left)) &&
           has_set(
               curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, exchange->silence_s > 0 ? 1L : 0L)) &&
           has_set(curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)exchange->silence_s)) &&
           has_set(curl_easy_setopt(h, CURLOPT_MAXFILESIZE_LARGE,
                                    exchange->take ? 0 : (curl_off_t)most));
}

/* POST, PUT and PATCH need a Content-Length, even 0. */
static bool set_body(const struct exchange *exchange, CURL *h)
{
    if (exchange->method[0] != 'P')
        return has_set(curl_easy_setopt(h, CURLOPT_HTTPGET, 1L));
    return has_set(curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE,
                                    (curl_off_t)exchange->body_bytes)) &&
           has_set(curl_easy_setopt(h, CURLOPT_POSTFIELDS, exchange->body ? exchange->body : ""));
}

static bool set_options(struct trip *trip, const char *url, const struct curl_slist *headers,
                        char *detail)
{
    CURL *h = trip->handle;
    struct exchange *exchange = trip->exchange;
    /* If a reused connection turns out to be dead, libcurl sends the request again by itself, so
     * only repeatable requests may reuse one. */
    return has_set(curl_easy_setopt(h, CURLOPT_URL, url)) &&
           has_set(curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers)) &&
           has_set(curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, exchange->repeatable ? 0L : 1L)) &&
           set_body(exchange, h) &&
           has_set(curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, exchange->method)) &&
           has_set(curl_easy_setopt(h, CURLOPT_HEADERDATA, exchange)) &&
           has_set(curl_easy_setopt(h, CURLOPT_WRITEDATA, trip)) &&
           has_set(curl_easy_setopt(h, CURLOPT_ERRORBUFFER, detail)) && set_limits(exchange, h);
}

/* Writing to a connection that the other end has closed raises SIGPIPE inside OpenSSL. The host's
 * signal handlers must not be changed, so the signal is blocked during the call, and one that was
 * raised by it is removed. */
static CURLcode perform(CURL *handle)
{
    sigset_t pipe, before, pending;
    const struct timespec at_once = {0};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    CURLcode code = curl_easy_perform(handle);
    if (!was_pending && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1)
        while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

/* How it failed. */

static bool fail_broken(const struct exchange *exchange, struct error *err)
{
    switch (exchange->broken) {
    case BROKEN_SIZE:
        return fail(err, ERR_LIMIT, "the answer has more than %zu bytes",
                    succeeded(exchange) ? exchange->answer_bytes : ERROR_BODY_BYTES);
    case BROKEN_TYPE:
        return fail(err, ERR_PROTOCOL, "the answer is '%s', not %s", exchange->answered_type,
                    exchange->answer_type);
    case BROKEN_HEADERS:
        return fail(err, ERR_LIMIT, "the answer has more than %zu bytes of headers", HEADER_BYTES);
    case BROKEN_MEMORY: return fail(err, ERR_NOMEM, "no memory for the answer");
    case BROKEN_TAKER: return fail(err, ERR_CANCELLED, "the caller wants no more of it");
    case BROKEN_NOT: break;
    }
    return fail(err, ERR_PROTOCOL, "the answer cannot be read");
}

static bool fail_curl(CURLcode code, const struct exchange *exchange, const char *detail,
                      bool *out_unsent, struct error *err)
{
    const char *why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
    *out_unsent = code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
    switch (code) {
    case CURLE_OUT_OF_MEMORY: return fail(err, ERR_NOMEM, "no memory for the request");
    case CURLE_WRITE_ERROR: return fail_broken(exchange, err);
    case CURLE_FILESIZE_EXCEEDED:
        return fail(err, ERR_LIMIT, "the answer has more than %zu bytes", exchange->answer_bytes);
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9: no status line */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING: return fail(err, ERR_PROTOCOL, "not HTTP: %s", why);
    case CURLE_URL_MALFORMAT: return fail(err, ERR_USAGE, "the URL: %s", why);
    case CURLE_SSL_CACERT_BADFILE: return fail(err, ERR_IO, "the CA file: %s", why);
    case CURLE_OPERATION_TIMEDOUT: return fail(err, ERR_CONNECTION, "no answer in time: %s", why);
    default: return fail(err, ERR_CONNECTION, "%s", why);
    }
}

static void begin(struct exchange *exchange)
{
    bytes_release(&exchange->answer);
    exchange->status = 0;
    exchange->answered_type[0] = exchange->answered_etag[0] = exchange->kernel_id[0] = '\0';
    exchange->retry_after_s = -1;
    exchange->header_bytes = 0;
    exchange->broken = BROKEN_NOT;
}

bool http_try(struct urza_client *client, struct exchange *exchange, bool *out_unsent,
              struct error *err)
{
    struct trip trip = {.handle = take_handle(client), .exchange = exchange};
    struct curl_slist *headers = NULL;
    struct bytes url = {0};
    char detail[CURL_ERROR_SIZE] = "";
    begin(exchange);
    *out_unsent = true;
    if (!trip.handle)
        return fail(err, ERR_NOMEM, "no memory for a connection");
    bytes_text(&url, client->url);
    bytes_text(&url, exchange->path);
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (make_headers(client, exchange, &headers) && !url.failed &&
        set_options(&trip, url.data, headers, detail)) {
        code = perform(trip.handle);
        curl_easy_getinfo(trip.handle, CURLINFO_RESPONSE_CODE, &exchange->status);
    }
    bool ok = code == CURLE_OK || fail_curl(code, exchange, detail, out_unsent, err);
    give_back(client, trip.handle, code != CURLE_OUT_OF_MEMORY);
    curl_slist_free_all(headers);
    bytes_release(&url);
    return ok;
}
