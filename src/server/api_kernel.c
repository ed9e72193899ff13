/* GET /kernel/{id} and its parts: bytes of packages, from memory after the first request. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "package/package.h"
#include "server/api.h"
#include "server/shelf.h"
#include "server/metrics.h"
#include "server/picture.h"

#define ZSTD_LEVEL 3
#define TYPE_PACKAGE "application/vnd.urza.package"

/* The object that holds the bytes of a value in `packages`. */
struct held_blob {
    struct blobs *blobs;
    struct blob blob;
};

static void release_blob(struct shelf_value *value)
{
    struct held_blob *held = value->held;
    blobs_release(held->blobs, &held->blob);
    free(held);
}

/* The key in memory, from the requested id and whether the bytes are compressed. */
static void key_of(const char *id, bool compressed, uint8_t out[SHA256_BYTES])
{
    size_t length = strlen(id);
    if (length != KERNEL_ID_BYTES - 1 || strncmp(id, "kernel-", 7) != 0 ||
        strspn(id + 7, "0123456789abcdef") != 2 * SHA256_BYTES ||
        !hex_decode(id + 7, out, SHA256_BYTES))
        sha256(id, length, out);
    out[31] ^= compressed ? 1 : 0;
}

/* Whether Accept-Encoding, such as "gzip, zstd;q=0.5", contains zstd with a weight above zero. */
static bool accepts_zstd(const struct request *request)
{
    const char *at = request_header(request, "Accept-Encoding");
    while (at && *at != '\0') {
        at += strspn(at, ", \t");
        size_t name = strcspn(at, ",; \t"), whole = strcspn(at, ",");
        const char *weight = at + name + strspn(at + name, "; \t");
        bool none = strncasecmp(weight, "q=0", 3) == 0 &&
                    strcspn(weight + 3, "123456789") >= strcspn(weight + 3, ", \t");
        if (name == 4 && strncasecmp(at, "zstd", 4) == 0 && !none)
            return true;
        at += whole;
    }
    return false;
}

/* Replies. */

static bool etag_matches(const char *header, const char *etag)
{
    const char *at = header ? strstr(header, etag) : NULL;
    return header && (strcmp(header, "*") == 0 || at != NULL);
}

/* Parses "bytes=A-B", one range. 0: the header has another form and is ignored; -1: the range
 * cannot be satisfied. */
static int parse_range(const char *header, size_t size, size_t *out_from, size_t *out_to)
{
    unsigned long long from, to;
    char *end;
    if (strncmp(header, "bytes=", 6) != 0 || strchr(header, ',') || strlen(header) > 60)
        return 0;
    const char *at = header + 6;
    if (*at == '-') {
        if (at[1] == '\0' || at[1 + strspn(at + 1, "0123456789")] != '\0')
            return 0;
        to = strtoull(at + 1, NULL, 10);
        if (to == 0 || size == 0)
            return -1;
        *out_from = to < size ? size - (size_t)to : 0;
        *out_to = size - 1;
        return 1;
    }
    if (*at < '0' || *at > '9')
        return 0;
    from = strtoull(at, &end, 10);
    if (*end++ != '-' || end[strspn(end, "0123456789")] != '\0')
        return 0;
    to = *end != '\0' ? strtoull(end, NULL, 10) : size - 1;
    if (*end != '\0' && to < from)
        return 0;
    if (from >= size)
        return -1;
    *out_from = (size_t)from;
    *out_to = to < size ? (size_t)to : size - 1;
    return 1;
}

static enum handled reply_range(struct request *request, const struct shelf_value *value)
{
    size_t from = 0, to = 0;
    const char *header = request_header(request, "Range"),
               *if_range = request_header(request, "If-Range");
    int ok = header && (!if_range || strcmp(if_range, value->etag) == 0)
                 ? parse_range(header, value->size_bytes, &from, &to)
                 : 0;
    if (ok == 0)
        return reply_text(request, 200, TYPE_PACKAGE, value->data, value->size_bytes);
    char *text = arena_alloc(&request->arena, 80, 1);
    if (ok < 0)
        snprintf(text, 80, "bytes */%zu", value->size_bytes);
    else
        snprintf(text, 80, "bytes %zu-%zu/%zu", from, to, value->size_bytes);
    reply_header(request, "Content-Range", text);
    if (ok < 0)
        return reply_text(request, 416, NULL, "", 0);
    return reply_text(request, 206, TYPE_PACKAGE, value->data + from, to - from + 1);
}

/* Takes over the caller's reference. */
static enum handled reply_package(struct request *request, struct shelf_value *value,
                                  bool compressed)
{
    request->reply.release = shelf_give_back;
    request->reply.held = value;
    registry_used(request->server->registry, value->kernel);
    reply_header(request, "ETag", value->etag);
    reply_header(request, "Vary", "Accept-Encoding");
    reply_header(request, "Cache-Control", "no-cache");
    reply_header(request, "X-Kernel-Id", value->kernel);
    if (etag_matches(request_header(request, "If-None-Match"), value->etag))
        return reply_text(request, 304, NULL, "", 0);
    if (compressed) {
        reply_header(request, "Content-Encoding", "zstd");
        return reply_text(request, 200, TYPE_PACKAGE, value->data, value->size_bytes);
    }
    reply_header(request, "Accept-Ranges", "bytes");
    return reply_range(request, value);
}

/* Loading. */

static bool find_kernel(struct request *request, struct kernel_record **out, struct error *err)
{
    if (!registry_kernel(request->server->registry, request->args[0], &request->arena, out, err))
        return false;
    if (strcmp((*out)->status, "RETIRED") == 0)
        return fail(err, ERR_NOT_FOUND, "the kernel was retired: %s", (*out)->reason);
    return true;
}

static bool open_blob(struct request *request, const struct kernel_record *kernel,
                      struct held_blob **out, struct error *err)
{
    struct server *server = request->server;
    struct held_blob *held = calloc(1, sizeof *held);
    if (!held)
        return fail(err, ERR_NOMEM, "no memory for a package");
    held->blobs = registry_blobs(server->registry);
    if (registry_package(server->registry, kernel, &held->blob, err)) {
        *out = held;
        return true;
    }
    if (err->code == ERR_BUSY)
        shelf_forget(server->answers, kernel->head.id); /* lost: it must be compiled again */
    free(held);
    return false;
}

static struct shelf_value *load(struct request *request, struct error *err)
{
    struct kernel_record *kernel;
    struct held_blob *held;
    if (!find_kernel(request, &kernel, err) || !open_blob(request, kernel, &held, err))
        return NULL;
    struct shelf_value *value = shelf_value_new(held->blob.data, held->blob.size_bytes);
    if (!value) {
        blobs_release(held->blobs, &held->blob);
        free(held);
        fail(err, ERR_NOMEM, "no memory for a package");
        return NULL;
    }
    value->held = held;
    value->release = release_blob;
    snprintf(value->kernel, sizeof value->kernel, "%s", kernel->head.id);
    snprintf(value->etag, sizeof value->etag, "\"%s\"", kernel->object);
    return value;
}

static struct shelf_value *compress(const struct shelf_value *plain, struct error *err)
{
    size_t most = ZSTD_compressBound(plain->size_bytes);
    char *bytes = malloc(most > 0 ? most : 1);
    size_t size =
        bytes ? ZSTD_compress(bytes, most, plain->data, plain->size_bytes, ZSTD_LEVEL) : 0;
    bool ok = bytes && !ZSTD_isError(size);
    char *shrunk = ok ? realloc(bytes, size) : NULL;
    struct shelf_value *value = ok ? shelf_value_new(shrunk ? shrunk : bytes, size) : NULL;
    if (!value) {
        free(shrunk ? shrunk : bytes);
        fail(err, ERR_NOMEM, "no memory to compress a package");
        return NULL;
    }
    memcpy(value->kernel, plain->kernel, sizeof value->kernel);
    snprintf(value->etag, sizeof value->etag, "%.*s-zstd\"", (int)strlen(plain->etag) - 1,
             plain->etag);
    return value;
}

static enum handled package_later(struct request *request, struct error *err)
{
    struct shelf *packages = request->server->packages;
    uint8_t key[SHA256_BYTES];
    bool compressed = accepts_zstd(request);
    uint64_t epoch = shelf_epoch(packages);
    struct shelf_value *value = load(request, err);
    if (!value)
        return HANDLED_FAILED;
    if (compressed) {
        struct shelf_value *plain = value;
        value = compress(plain, err);
        shelf_unref(plain);
        if (!value)
            return HANDLED_FAILED;
    }
    key_of(request->args[0], compressed, key);
    shelf_add(packages, key, value, epoch);
    return reply_package(request, value, compressed);
}

enum handled route_package(struct request *request, struct error *err)
{
    uint8_t key[SHA256_BYTES];
    bool compressed = accepts_zstd(request);
    key_of(request->args[0], compressed, key);
    struct shelf_value *value = shelf_find(request->server->packages, key);
    return value ? reply_package(request, value, compressed)
                 : request_later(request, package_later, err);
}

/* Parts. */

static void release_part(void *context)
{
    struct held_blob *held = context;
    blobs_release(held->blobs, &held->blob);
    free(held);
}

static enum handled reply_part(struct request *request, const char *entry, struct error *err)
{
    struct kernel_record *kernel;
    struct held_blob *held;
    const uint8_t *data;
    size_t size;
    char *etag = arena_alloc(&request->arena, SHA256_HEX_BYTES + 2, 1), digest[SHA256_HEX_BYTES];
    if (!find_kernel(request, &kernel, err) || !open_blob(request, kernel, &held, err))
        return HANDLED_FAILED;
    request->reply.release = release_part;
    request->reply.held = held;
    if (!package_entry(held->blob.data, held->blob.size_bytes, entry, &data, &size, err))
        return HANDLED_FAILED;
    sha256_hex(data, size, digest);
    snprintf(etag, SHA256_HEX_BYTES + 2, "\"%s\"", digest);
    reply_header(request, "ETag", etag);
    if (etag_matches(request_header(request, "If-None-Match"), etag))
        return reply_text(request, 304, NULL, "", 0);
    return reply_text(request, 200, "application/json", (const char *)data, size);
}

enum handled route_manifest(struct request *request, struct error *err)
{
    return reply_part(request, "manifest.json", err);
}

enum handled route_evidence(struct request *request, struct error *err)
{
    return reply_part(request, "evidence.json", err);
}

typedef bool picture_fn(const void *bytes, size_t size, struct arena *arena, struct strbuf *out,
                        struct error *err);

static enum handled reply_picture(struct request *request, picture_fn *draw, struct error *err)
{
    struct kernel_record *kernel;
    struct held_blob *held;
    struct strbuf text;
    strbuf_init(&text, &request->arena);
    if (!find_kernel(request, &kernel, err) || !open_blob(request, kernel, &held, err))
        return HANDLED_FAILED;
    request->reply.release = release_part;
    request->reply.held = held;
    if (!draw(held->blob.data, held->blob.size_bytes, &request->arena, &text, err))
        return HANDLED_FAILED;
    return reply_text(request, 200, "image/svg+xml", text.data, text.size_bytes);
}

enum handled route_picture(struct request *request, struct error *err)
{
    return reply_picture(request, picture_of_package, err);
}

enum handled route_memory_picture(struct request *request, struct error *err)
{
    return reply_picture(request, picture_of_memory, err);
}
