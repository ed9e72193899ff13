/* Objects: bytes stored under their SHA-256, persistently. An interface with three drivers: files,
 * memory (for tests), and one that injects faults into another.
 *
 * An object is complete or absent: it is written under a temporary name, synced, then renamed. Once
 * put has returned true the object survives a power cut. Objects are never changed. The store does
 * not know which objects are still needed, the catalogue does; it removes what it is told to.
 *
 * Any number of threads, and any number of processes on one store. */
#ifndef URZA_REGISTRY_BLOBS_H
#define URZA_REGISTRY_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct blobs;

/* An open object: its bytes stay valid until it is released, even if it is removed meanwhile. */
struct blob {
    const void *data; /* 64-aligned */
    size_t size_bytes;
    void *held; /* for the driver */
};

/* Called by list for each object. put_ms: when it was put last (since 1970). May remove objects;
 * returning false ends the listing. */
typedef bool blobs_visit(void *context, const char *digest, uint64_t size, int64_t put_ms);

struct blobs_driver {
    const char *name; /* as in "file:PATH" */
    bool (*open)(const char *place, struct blobs **out, struct error *err);
    void (*close)(struct blobs *blobs);
    /* Stores an object. digest: of data, in hex. If the object exists, put succeeds and updates its
     * put time (see list); if it exists but is damaged, it is written again. ERR_IO, ERR_SPACE: it
     * is absent, unless it existed before. */
    bool (*put)(struct blobs *blobs, const char *digest, const void *data, size_t size,
                struct error *err);
    /* Opens an object without checking its bytes: a damaged object is returned as it is.
     * ERR_NOT_FOUND. */
    bool (*get)(struct blobs *blobs, const char *digest, struct blob *out, struct error *err);
    void (*release)(struct blobs *blobs, struct blob *blob);
    /* Removes an object; succeeds if it is absent. ERR_IO. */
    bool (*remove)(struct blobs *blobs, const char *digest, struct error *err);
    /* Calls visit for every object, in any order. If visit returns false, the listing ends early,
     * which is no failure. Temporary files of interrupted puts are removed when they are an hour
     * old. */
    bool (*list)(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err);
};

/* The first member of a driver's own struct. */
struct blobs {
    const struct blobs_driver *driver;
};

/* url: "file:PATH" or "memory:". ERR_USAGE. */
bool blobs_open(const char *url, struct blobs **out, struct error *err);
void blobs_close(struct blobs *blobs); /* accepts NULL; no object may be open */

/* Stores data and returns its digest. */
bool blobs_put(struct blobs *blobs, const void *data, size_t size,
               char out_digest[SHA256_HEX_BYTES], struct error *err);
/* ERR_NOT_FOUND, also for a text that is no digest; ERR_IO if the bytes do not have this digest (it
 * is computed each time, at about 1 GB/s). */
bool blobs_get(struct blobs *blobs, const char *digest, struct blob *out, struct error *err);
void blobs_release(struct blobs *blobs, struct blob *blob); /* accepts NULL data */
bool blobs_remove(struct blobs *blobs, const char *digest, struct error *err);
bool blobs_list(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err);

#endif
