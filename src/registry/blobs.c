/* The checks before every driver of object stores: it selects the driver by URL, rejects texts that
 * are no digests, and compares bytes with their digest. */
#include "registry/blobs_priv.h"

#include <string.h>
#include <time.h>

#include "base/compiler.h"

static const struct blobs_driver *const drivers[] = {&blobs_files, &blobs_memory};

int64_t blobs_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool blobs_open(const char *url, struct blobs **out, struct error *err)
{
    size_t length = strcspn(url, ":");
    for (size_t i = 0; url[length] == ':' && i < sizeof drivers / sizeof drivers[0]; i++)
        if (strlen(drivers[i]->name) == length && memcmp(drivers[i]->name, url, length) == 0)
            return drivers[i]->open(url + length + 1, out, err);
    return fail(err, ERR_USAGE, "'%.200s' names no store: 'file:PATH' or 'memory:' would", url);
}

void blobs_close(struct blobs *blobs)
{
    if (blobs)
        blobs->driver->close(blobs);
}

static bool is_digest(const char *text)
{
    uint8_t bytes[SHA256_BYTES];
    return hex_decode(text, bytes, SHA256_BYTES) != 0;
}

bool blobs_put(struct blobs *blobs, const void *data, size_t size,
               char out_digest[SHA256_HEX_BYTES], struct error *err)
{
    char digest[SHA256_HEX_BYTES];
    sha256_hex(data, size, digest);
    if (!blobs->driver->put(blobs, digest, data, size, err))
        return false;
    memcpy(out_digest, digest, sizeof digest);
    return true;
}

bool blobs_get(struct blobs *blobs, const char *digest, struct blob *out, struct error *err)
{
    struct blob blob;
    char found[SHA256_HEX_BYTES];
    if (!is_digest(digest))
        return fail(err, ERR_NOT_FOUND, "'%.100s' is not the digest of an object", digest);
    if (!blobs->driver->get(blobs, digest, &blob, err))
        return false;
    sha256_hex(blob.data, blob.size_bytes, found);
    if (strcmp(found, digest) != 0) {
        blobs->driver->release(blobs, &blob);
        return fail(err, ERR_IO, "object %s is damaged: its bytes have the digest %s", digest,
                    found);
    }
    *out = blob;
    return true;
}

void blobs_release(struct blobs *blobs, struct blob *blob)
{
    if (!blob->data)
        return;
    blobs->driver->release(blobs, blob);
    *blob = (struct blob){0};
}

bool blobs_remove(struct blobs *blobs, const char *digest, struct error *err)
{
    return !is_digest(digest) || blobs->driver->remove(blobs, digest, err);
}

bool blobs_list(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err)
{
    return blobs->driver->list(blobs, visit, context, err);
}
