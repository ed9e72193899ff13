/* An LRU cache in memory: of answers by the digest of a request or key, and of packages by the
 * digest in their id. Its size is bounded.
 *
 * Values are shared and immutable, and freed with the last reference. Any number of threads. A
 * value is found until its kernel is forgotten (shelf_forget) or it is evicted. Adding a value
 * takes the epoch from before the first read that it was made from: if a kernel was forgotten
 * since, the value may be stale, and is dropped. */
#ifndef URZA_SERVER_SHELF_H
#define URZA_SERVER_SHELF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define SHELF_NAME_BYTES 80

struct shelf;

struct shelf_value {
    const char *data;
    size_t size_bytes;
    char kernel[SHELF_NAME_BYTES];              /* id of the kernel that the value belongs to */
    char etag[SHELF_NAME_BYTES];                /* with its quotes; "" */
    void (*release)(struct shelf_value *value); /* frees data and held; NULL: free(data) */
    void *held;
    atomic_uint refs; /* 1 at first, for the maker */
};

struct shelf *shelf_new(size_t bytes); /* NULL: no memory */
void shelf_free(struct shelf *shelf);  /* accepts NULL; no value may be in use */

/* NULL: no memory, and data stays the caller's; otherwise it belongs to the value. The caller fills
 * the other fields before it adds the value. */
struct shelf_value *shelf_value_new(const char *data, size_t size);
void shelf_unref(struct shelf_value *value); /* accepts NULL */
void shelf_give_back(void *value);           /* the same, for a reply to call after it was sent */

/* NULL: there is none. */
struct shelf_value *shelf_find(struct shelf *shelf, const uint8_t key[SHA256_BYTES]);
/* epoch: shelf_epoch from before the first read that the value was made from. */
void shelf_add(struct shelf *shelf, const uint8_t key[SHA256_BYTES], struct shelf_value *value,
               uint64_t epoch);
uint64_t shelf_epoch(const struct shelf *shelf);
/* Drops all values of a kernel; NULL: all values. */
void shelf_forget(struct shelf *shelf, const char *kernel);
void shelf_size(struct shelf *shelf, uint64_t *out_count, uint64_t *out_bytes);

#endif
