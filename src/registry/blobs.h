/* Objects: bytes under the SHA-256 of themselves, in a store that outlives the process. A contract
 * with drivers: files, memory (for tests), and one that makes another fail.
 *
 * An object is whole or not there: it is written aside, waited for, then named. Once put returned
 * true it outlives a power cut. Objects are never changed. Who still needs one is the catalogue's
 * business: a store removes what it is told to.
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

/* An object that is open: its bytes stay where they are until it is released, removed or not. */
struct blob {
    const void *data; /* 64-aligned */
    size_t size_bytes;
    void *held; /* the driver's */
};

/* Of a listing: one object. put_ms: when it was put last (since 1970). May remove objects; false
 * ends the listing. */
typedef bool blobs_visit(void *context, const char *digest, uint64_t size, int64_t put_ms);

struct blobs_driver {
    const char *name; /* as in "file:PATH" */
    bool (*open)(const char *place, struct blobs **out, struct error *err);
    void (*close)(struct blobs *blobs);
    /* digest: of data, in hex. There already: true, and it counts as put now (see list); where it
     * is there but damaged it is put anew. ERR_IO, ERR_SPACE: it is not there, unless it
     * was before. */
    bool (*put)(struct blobs *blobs, const char *digest, const void *data, size_t size,
                struct error *err);
    /* ERR_NOT_FOUND. Not looked at: what is damaged comes as it is. */
    bool (*get)(struct blobs *blobs, const char *digest, struct blob *out, struct error *err);
    void (*release)(struct blobs *blobs, struct blob *blob);
    /* Gone already is fine. ERR_IO. */
    bool (*remove)(struct blobs *blobs, const char *digest, struct error *err);
    /* Every object there is, in any order. false from visit ends the listing early, which is no
     * failure. What a put that never ended left behind is removed on the way once it is an hour
     * old. */
    bool (*list)(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err);
};

/* What a driver's own struct begins with. */
struct blobs {
    const struct blobs_driver *driver;
};

/* url: "file:PATH" or "memory:". ERR_USAGE. */
bool blobs_open(const char *url, struct blobs **out, struct error *err);
void blobs_close(struct blobs *blobs); /* NULL is fine; nothing may be open */

/* Puts data and says its digest. */
bool blobs_put(struct blobs *blobs, const void *data, size_t size,
               char out_digest[SHA256_HEX_BYTES], struct error *err);
/* ERR_NOT_FOUND, also for a text that is no digest; ERR_IO where its bytes are not those that were
 * put (their digest is looked at each time: some 1 GB/s). */
bool blobs_get(struct blobs *blobs, const char *digest, struct blob *out, struct error *err);
void blobs_release(struct blobs *blobs, struct blob *blob); /* NULL data is fine */
bool blobs_remove(struct blobs *blobs, const char *digest, struct error *err);
bool blobs_list(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err);

#endif
