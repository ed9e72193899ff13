/* What is asked for again and again, in memory: answers by the digest of a request or key, packages
 * by the digest in their id. Bounded; what was not used for longest goes first.
 *
 * Values are shared: they stay as they are until the last user gives them back. Any number of
 * threads. A value is found until somebody forgets its kernel. Whoever makes a value says which
 * epoch it was before anything was read for it: where a kernel was forgotten since, the value may
 * be stale, and is dropped. */
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
    char kernel[SHELF_NAME_BYTES];              /* the id of the kernel it is about */
    char etag[SHELF_NAME_BYTES];                /* with its quotes; "" */
    void (*release)(struct shelf_value *value); /* of data and held; NULL: free(data) */
    void *held;
    atomic_uint refs; /* the maker's is the first */
};

struct shelf *shelf_new(size_t bytes); /* NULL: no memory */
void shelf_free(struct shelf *shelf);  /* nothing of it may be in use; NULL is fine */

/* NULL: no memory; data is the caller's then, else the value's. Other fields are for the caller to
 * fill before anybody else sees it. */
struct shelf_value *shelf_value_new(const char *data, size_t size);
void shelf_unref(struct shelf_value *value); /* NULL is fine */
void shelf_give_back(void *value);           /* the same, as what a reply calls once it was sent */

struct shelf_value *shelf_find(struct shelf *shelf, const uint8_t key[SHA256_BYTES]); /* NULL: none
                                                                                       */
/* epoch: what shelf_epoch said before anything that the value is made of was read. */
void shelf_add(struct shelf *shelf, const uint8_t key[SHA256_BYTES], struct shelf_value *value,
               uint64_t epoch);
uint64_t shelf_epoch(const struct shelf *shelf);
/* All values of a kernel; NULL: all values. */
void shelf_forget(struct shelf *shelf, const char *kernel);
void shelf_size(struct shelf *shelf, uint64_t *out_count, uint64_t *out_bytes);

#endif
