/* The head of a request. What proxies might interpret differently is refused; then client, route
 * and body are checked. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "server/http_priv.h"
#include "server/tokens.h"

#define HEADERS_MOST 64
#define LENGTH_DIGITS_MOST 18
#define HOST_BYTES_MOST 255
#define PORT_DIGITS_MOST 5
#define TRACEPARENT_BYTES 55
#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define TOKEN_CHARACTERS "!#$%&'*+-.^_`|~" DIGITS LETTERS

/* Target. */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool head_target_ok(const char *target, struct arena *arena)
{
    size_t length = strlen(target), count = 0;
    char *text = arena_alloc(arena, length + 1, 1);
    bool path = true;
    for (size_t i = 0; i < length; i++) {
        int c = (unsigned char)target[i];
        path = path && c != '?';
        if (c <= ' ' || c >= 0x7f || strchr("#\"<>\\^`{|}", c))
            return false;
        if (c == '%') {
            int high = hex_digit(target[i + 1]), low = high < 0 ? -1 : hex_digit(target[i + 2]);
            c = low < 0 ? 0 : high << 4 | low;
            if (c == 0 || (path && (c == '/' || c == '\\')))
                return false;
            i += 2;
        }
        text[count++] = (char)c;
    }
    /* NULL if the bytes are not UTF-8. */
    json_t *utf8 = target[0] == '/' ? json_stringn(text, count) : NULL;
    json_decref(utf8);
    return utf8 != NULL;
}

/* Headers. */

struct header_check {
    uint32_t count, hosts, lengths, encodings;
    uint64_t length;
    uintptr_t next;    /* where the next line begins, in the connection's memory */
    const char *wrong; /* NULL: nothing is wrong */
};

/* A name, an IPv4 address, or an IPv6 address in brackets, with an optional port. */
static bool host_ok(const char *value)
{
    const char *at = value;
    if (*at == '[') {
        size_t length = strspn(++at, DIGITS "abcdefABCDEF:.");
        at += length;
        if (length < 2 || *at++ != ']')
            return false;
    } else {
        size_t length = strspn(at, DIGITS LETTERS "-._~");
        at += length;
        if (length == 0 || value[0] == '.' || strstr(value, ".."))
            return false;
    }
    if (strlen(value) > HOST_BYTES_MOST)
        return false;
    if (*at == ':') {
        size_t length = strspn(++at, DIGITS);
        at += length;
        if (length == 0 || length > PORT_DIGITS_MOST || strtoul(at - length, NULL, 10) > 65535)
            return false;
    }
    return *at == '\0';
}

static void check_one(struct header_check *check, const char *key, const char *value)
{
    if (strcasecmp(key, "host") == 0 && (++check->hosts > 1 || !host_ok(value)))
        check->wrong = "the Host header is odd, or there are two";
    if (strcasecmp(key, "content-length") == 0) {
        check->length = strtoull(value, NULL, 10);
        if (++check->lengths > 1 || *value == '\0' || strlen(value) > LENGTH_DIGITS_MOST ||
            value[strspn(value, DIGITS)] != '\0')
            check->wrong = "the Content-Length header is odd, or there are two";
    }
    if (strcasecmp(key, "transfer-encoding") == 0 &&
        (++check->encodings > 1 || strcasecmp(value, "chunked") != 0))
        check->wrong = "Transfer-Encoding is something else than chunked";
    if (strcasecmp(key, "expect") == 0 && strcasecmp(value, "100-continue") != 0)
        check->wrong = "the Expect header is something else than 100-continue";
}

/* The library terminates lines in the read buffer by zero bytes, and accepts, without telling us,
 * zero bytes inside lines, folded lines, lines without CR, and several spaces in the first line. In
 * all these cases the parts of the head do not follow each other directly in the buffer, which is
 * checked here. */
#define LINE_WRONG "a line is folded, has zero bytes or odd spaces, or does not end in CR LF"
#define LINE_END_BYTES 2

static bool first_line_ok(const struct request *request, const char *version)
{
    return request->path == request->method + strlen(request->method) + 1 &&
           request->target_end + 1 == version;
}

static bool last_line_ok(const struct request *request, uintptr_t next)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return !info || (uintptr_t)request->method + info->header_size == next + LINE_END_BYTES;
}

static enum MHD_Result check_header(void *context, enum MHD_ValueKind kind, const char *key,
                                    size_t key_size, const char *value, size_t value_size)
{
    struct header_check *check = context;
    (void)kind;
    check->count++;
    if ((uintptr_t)key != check->next)
        check->wrong = LINE_WRONG;
    check->next = (uintptr_t)value + value_size + LINE_END_BYTES;
    if (key_size == 0 || strspn(key, TOKEN_CHARACTERS) != key_size)
        check->wrong = "a header's name has characters that names cannot have";
    for (size_t i = 0; i < value_size; i++)
        if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
            check->wrong = "a header's value has control characters";
    char text[HOST_BYTES_MOST + 2]; /* trailing white space is not part of the value */
    while (value_size > 0 && strchr(" \t", value[value_size - 1]))
        value_size--;
    snprintf(text, sizeof text, "%.*s", (int)(value_size < sizeof text ? value_size : sizeof text),
             value ? value : "");
    if (!check->wrong)
        check_one(check, key, text);
    return MHD_YES;
}

static bool check_headers(struct request *request, const char *version, uint64_t *out_length,
                          bool *out_chunked, struct error *err)
{
    struct header_check check = {.next = (uintptr_t)version + strlen(version) + LINE_END_BYTES};
    bool old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    if (!first_line_ok(request, version))
        check.wrong = LINE_WRONG;
    MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, check_header, &check);
    if (!check.wrong && !last_line_ok(request, check.next))
        check.wrong = LINE_WRONG;
    if (request->target_wrong)
        check.wrong = "the target is no path in plain or escaped UTF-8";
    else if (!old && strcmp(version, MHD_HTTP_VERSION_1_1) != 0)
        check.wrong = "the version is neither HTTP/1.0 nor HTTP/1.1";
    else if (!check.wrong && check.hosts == 0 && !old)
        check.wrong = "the Host header is missing";
    else if (!check.wrong && check.encodings > 0 && (check.lengths > 0 || old))
        check.wrong = "Transfer-Encoding excludes Content-Length and HTTP/1.0";
    if (check.wrong) {
        request->framing_wrong = true;
        reply_header(request, "Connection", "close"); /* the end of the body is uncertain */
        return fail(err, ERR_JSON, "%s", check.wrong);
    }
    if (check.count > HEADERS_MOST)
        return fail(err, ERR_LIMIT, "more than %d headers", HEADERS_MOST);
    *out_length = check.length;
    *out_chunked = check.encodings > 0;
    return true;
}

/* Requests by pages of other origins: a browser on this machine can reach a service that needs no
 * token, and any web page can make it send requests. So such a service accepts only its address, or
 * a host name without dots, as Host (the owner of any other name may have made it resolve to this
 * machine), and only its own page as origin. */

static bool is_own_name(const char *host, const struct settings *settings)
{
    char name[HOST_BYTES_MOST + 1];
    struct in_addr address;
    bool v6 = host[0] == '[';
    size_t length = v6 ? strcspn(++host, "]") : strcspn(host, ":");
    snprintf(name, sizeof name, "%.*s", (int)length, host);
    return strcasecmp(name, settings->host) == 0 || (!v6 && !strchr(name, '.')) ||
           (v6 && strcmp(name, "::1") == 0) ||
           (inet_pton(AF_INET, name, &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
}

/* Whether origin is "http://HOST", with the host of the request. */
static bool is_own_origin(const char *origin, const char *host)
{
    const char *at = strstr(origin, "://");
    return at && host && strcasecmp(at + 3, host) == 0;
}

static bool check_origin(const struct request *request, struct error *err)
{
    const char *host = request_header(request, "Host"), *origin = request_header(request, "Origin");
    const char *site = request_header(request, "Sec-Fetch-Site");
    bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    if (host && !is_own_name(host, &request->server->settings))
        return fail(err, ERR_SCOPE,
                    "a service without tokens is asked as localhost or by its address, not as "
                    "'%.100s'",
                    host);
    if ((origin && !is_own_origin(origin, host)) ||
        (site && !reads && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0))
        return fail(err, ERR_SCOPE, "a service without tokens takes nothing from pages of others");
    return true;
}

/* Identity. */

static bool id_ok(const char *id)
{
    size_t length = id ? strlen(id) : 0;
    return length > 0 && length <= 32 && strspn(id, DIGITS LETTERS "-_") == length;
}

/* Whether the text is "00-TRACE-SPAN-FLAGS" of the W3C's Trace Context, with neither id all
 * zeros. */
static bool traceparent_ok(const char *text)
{
    static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    if (!text || strlen(text) != TRACEPARENT_BYTES || strncmp(text, "ff", 2) == 0)
        return false;
    for (size_t i = 0; i < TRACEPARENT_BYTES; i++)
        if (form[i] == '-' ? text[i] != '-' : !strchr(DIGITS "abcdef", text[i]))
            return false;
    return strspn(text + 3, "0") < 32 && strspn(text + 36, "0") < 16;
}

static void name_request(struct request *request)
{
    struct http *http = request->server->http;
    const char *given = request_header(request, "X-Request-Id");
    const char *parent = request_header(request, "traceparent");
    request->traceparent = traceparent_ok(parent) ? parent : NULL;
    if (id_ok(given))
        snprintf(request->id, sizeof request->id, "%s", given);
    else if (request->traceparent)
        snprintf(request->id, sizeof request->id, "%.32s", parent + 3);
    else
        snprintf(request->id, sizeof request->id, "%016llx",
                 (unsigned long long)(http->id_base + HASH64_K1 * ++http->requests));
}

static void name_client(struct request *request)
{
    char text[INET6_ADDRSTRLEN] = "unknown";
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text,
                  sizeof text);
    else if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, text,
                  sizeof text);
    request->client = arena_strdup(&request->arena, text);
}

static bool authorise(struct request *request, struct error *err)
{
    const struct tokens *tokens = request->server->tokens;
    enum scope needed = request->route->scope;
    request->scopes = ~0u;
    if (!tokens) {
        name_client(request);
        return needed == SCOPE_ANYBODY || check_origin(request, err);
    }
    const char *header = request_header(request, "Authorization");
    request->scopes = 0;
    if (header && (strncasecmp(header, "Bearer ", 7) != 0 ||
                   !tokens_find(tokens, header + 7, &request->client, &request->scopes)))
        return fail(err, ERR_TOKEN, "the token is unknown");
    if (!header)
        name_client(request);
    if (needed == SCOPE_ANYBODY || (request->scopes & (1u << needed)))
        return true;
    if (!header)
        return fail(err, ERR_TOKEN, "this needs a token: Authorization: Bearer TOKEN");
    return fail(err, ERR_SCOPE, "the token '%s' does not allow this", request->client);
}

/* Content types. */

static bool type_is(const char *header, const char *type)
{
    size_t length = strlen(type);
    return strncasecmp(header, type, length) == 0 &&
           (header[length] == '\0' || header[length] == ';' || header[length] == ' ');
}

static bool check_type(struct request *request, struct error *err)
{
    static const char *const models[] = {"application/octet-stream", "application/onnx",
                                         "application/x-onnx", "application/zip"};
    const char *type = request_header(request, "Content-Type");
    const char *coding = request_header(request, "Content-Encoding");
    if (coding && strcasecmp(coding, "identity") != 0)
        return fail(err, ERR_MEDIA, "bodies are not read in the coding '%.60s'", coding);
    request->source_kind = SOURCE_JSON;
    if (!type || type_is(type, "application/json"))
        return true;
    for (size_t i = 0; request->route->body == BODY_SOURCE && i < sizeof models / sizeof *models;
         i++)
        if (type_is(type, models[i])) {
            request->source_kind = SOURCE_MODEL;
            return true;
        }
    return fail(err, ERR_MEDIA, "'%.60s' is not read here: application/json%s", type,
                request->route->body == BODY_SOURCE ? ", or application/octet-stream for a model"
                                                    : "");
}

bool head_accept(struct request *request, const char *version, struct error *err)
{
    uint64_t length = 0;
    bool chunked = false;
    const char *methods;
    uint64_t most = (uint64_t)request->server->settings.max_body_mb << 20;
    name_request(request);
    if (!check_headers(request, version, &length, &chunked, err))
        return false;
    request->route =
        route_find(request->method, request->path, &request->arena, request->args, &methods);
    if (!request->route && methods[0] != '\0') {
        reply_header(request, "Allow", methods);
        return fail(err, ERR_METHOD, "%s is not among %s", request->method, methods);
    }
    if (!request->route)
        return fail(err, ERR_NOT_FOUND, "nothing is at '%.100s'", request->path);
    if (!authorise(request, err))
        return false;
    if (request->route->body == BODY_NOTHING)
        return (length == 0 && !chunked) || fail(err, ERR_JSON, "this takes no body");
    if (length > most)
        return fail(err, ERR_LIMIT, "a body of %llu bytes; at most %llu are taken",
                    (unsigned long long)length, (unsigned long long)most);
    return check_type(request, err);
}
