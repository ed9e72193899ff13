/* What is asked for again and again, in memory: answers by the digest of a request or key, packages
 * by the digest in their id. Bounded; what was not used for longest goes first.
 *
 * Values are shared: they stay as they are until the last user gives them back. Any number of
 * threads. A value is found until somebody forgets its kernel; one that was made from what had been
 * read before that is not taken any more (kept_epoch). */
#ifndef URZA_SERVER_KEPT_H
#define URZA_SERVER_KEPT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

#define KEPT_NAME_BYTES 80

struct kept;

struct kept_value {
    const char *data;
    size_t size_bytes;
    char kernel[KEPT_NAME_BYTES];              /* the id of the kernel it is about */
    char etag[KEPT_NAME_BYTES];                /* with its quotes; "" */
    void (*release)(struct kept_value *value); /* of data and held; NULL: free(data) */
    void *held, *owner;
    atomic_uint refs; /* the maker's is the first */
};

struct kept *kept_new(size_t bytes); /* NULL: no memory */
void kept_free(struct kept *kept);   /* nothing of it may be in use; NULL is fine */

/* NULL: no memory; data is the caller's then, else the value's. Other fields are for the caller to
 * fill before anybody else sees it. */
struct kept_value *kept_value_new(const char *data, size_t size);
void kept_unref(struct kept_value *value); /* NULL is fine */

struct kept_value *kept_find(struct kept *kept, const uint8_t key[SHA256_BYTES]); /* NULL: none */
/* epoch: what kept_epoch said before anything that the value is made of was read. */
void kept_add(struct kept *kept, const uint8_t key[SHA256_BYTES], struct kept_value *value,
              uint64_t epoch);
uint64_t kept_epoch(const struct kept *kept);
/* All values of a kernel; NULL: all values. */
void kept_forget(struct kept *kept, const char *kernel);
void kept_size(struct kept *kept, uint64_t *out_count, uint64_t *out_bytes);

#endif
