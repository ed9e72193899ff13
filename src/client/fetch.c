/* Fetching: from the folder, or from the service into the folder.
 *
 *              in the folder   asked            answer
 *   id         yes             no
 *   id, CHECK  yes             with its etag    304: the folder's; else new bytes of the same id
 *   alias      yes             with its etag    304: the folder's; else the kernel it names now
 *   any        no              without          bytes
 */
#include <stdlib.h>
#include <string.h>

#include "client/client_priv.h"

#define TYPE_PACKAGE "application/vnd.urza.package"

bool name_is_fit(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < NAME_BYTES && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
               length;
}

bool name_is_id(const char *name)
{
    uint8_t digest[SHA256_BYTES];
    return strlen(name) == KERNEL_ID_BYTES - 1 && strncmp(name, "kernel-", 7) == 0 &&
           hex_decode(name + 7, digest, sizeof digest);
}

/* Makes a package of an answer, after verifying it. NULL on failure. */
static struct urza_package *take_package(struct urza_client *client, const char *name,
                                         struct exchange *exchange, struct error *err)
{
    char id[KERNEL_ID_BYTES];
    struct bytes *bytes = &exchange->answer;
    if (!check_package(client, bytes->data ? bytes->data : "", bytes->size, id, err))
        return NULL;
    const char *wanted = name_is_id(name) ? name : exchange->kernel_id;
    if (wanted[0] != '\0' && strcmp(wanted, id) != 0) {
        fail(err, ERR_PACKAGE, "the package is another kernel, %s", id);
        return NULL;
    }
    struct urza_package *package = calloc(1, sizeof *package);
    if (!package) {
        fail(err, ERR_NOMEM, "no memory for a package");
        return NULL;
    }
    package->bytes = *bytes;
    *bytes = (struct bytes){0};
    memcpy(package->kernel_id, id, sizeof id);
    return package;
}

/* etag NULL: the folder has no bytes. *out stays NULL if the folder's bytes are still current. */
static bool download(struct urza_client *client, const char *name, const char *etag,
                     uint64_t deadline_ns, struct urza_package **out, struct error *err)
{
    char path[16 + NAME_BYTES];
    snprintf(path, sizeof path, "/kernel/%s", name);
    struct exchange exchange = {.method = "GET",
                                .path = path,
                                .etag = etag,
                                .answer_type = TYPE_PACKAGE,
                                .answer_bytes = client->package_bytes,
                                .repeatable = true,
                                .deadline_ns = deadline_ns};
    bool ok = exchange_run(client, &exchange, err);
    if (ok && exchange.status != 304) {
        *out = take_package(client, name, &exchange, err);
        ok = *out != NULL;
        if (ok)
            folder_store(client, name, exchange.answered_etag, *out);
    }
    exchange_release(&exchange);
    return ok || fail_at(err, "%s", name);
}

/* The etag of the folder's bytes; NULL if it is unknown. */
static const char *etag_of(const struct cached_name *known, const struct urza_package *cached)
{
    char digest[SHA256_HEX_BYTES];
    if (!cached || known->etag[0] == '\0')
        return NULL;
    sha256_hex(cached->bytes.data, cached->bytes.size, digest);
    return strcmp(digest, known->digest) == 0 ? known->etag : NULL;
}

bool fetch_package(struct urza_client *client, const char *name, urza_fetch mode,
                   uint64_t deadline_ns, struct urza_package **out, struct error *err)
{
    struct cached_name known = {.etag = ""};
    struct urza_package *cached = NULL, *fresh = NULL;
    bool is_id = name_is_id(name), named = folder_name(client, name, &known);
    if (is_id || named)
        cached = folder_find(client, is_id ? name : known.kernel_id, err);
    else
        fail(err, ERR_NOT_FOUND, "'%s' is not in the folder of packages", name);
    if (mode == URZA_FETCH_LOCAL || (cached && is_id && mode != URZA_FETCH_CHECK)) {
        if (cached)
            *out = cached;
        return cached != NULL;
    }
    bool ok = download(client, name, etag_of(&known, cached), deadline_ns, &fresh, err);
    bool stale = !ok && cached && mode == URZA_FETCH_STALE &&
                 (err->code == ERR_CONNECTION || err->code == ERR_BUSY);
    if (!ok && !stale) {
        urza_package_free(cached);
        return false;
    }
    if (fresh)
        urza_package_free(cached);
    *out = fresh ? fresh : cached;
    return true;
}

URZA_EXPORT const void *urza_package_bytes(const urza_package *package, size_t *out_size)
{
    *out_size = package->bytes.size;
    return package->bytes.data;
}

URZA_EXPORT const char *urza_package_kernel_id(const urza_package *package)
{
    return package->kernel_id;
}

URZA_EXPORT int urza_package_from_cache(const urza_package *package)
{
    return package->from_cache;
}

URZA_EXPORT void urza_package_free(urza_package *package)
{
    if (!package)
        return;
    bytes_release(&package->bytes);
    free(package);
}
