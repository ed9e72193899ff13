/* NumPy's .npy files: reading formats 1.0 to 3.0, writing 1.0.
 *
 * Arrays are always in C order and little-endian once parsed: data in Fortran order is transposed,
 * and the bytes of big-endian elements are reversed. Parsing is strict and bounded, for untrusted
 * files; the bytes must be exactly one array, with nothing after it. Parsed data lives in the
 * arena; a struct npy to be written borrows its data. No shared state.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#ifndef URZA_BASE_NPY_H
#define URZA_BASE_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct arena;
struct error;
struct strbuf;

struct npy {
    char descr[16]; /* "<f4"; a row of npy_item_bytes */
    uint32_t rank;
    int64_t shape[LIMIT_RANK]; /* each ≥ 0 */
    size_t item_bytes;         /* of one element */
    size_t data_bytes;         /* item_bytes × product of shape */
    const void *data;          /* C order, little-endian; never NULL after npy_parse */
};

/* Bytes of an element: <f8 <f4 <f2 <i8 <i4 <i2 |i1 |u1 |b1, and <V2, which stands for bfloat16 as
 * it does in files written from Python; 0 for any other descr. */
size_t npy_item_bytes(const char *descr);

/* Fills *out for writing; data is borrowed. ERR_PARSE: descr is none of those of npy_item_bytes.
 * ERR_LIMIT: rank, a dim or the tensor is too large. Dims must be ≥ 0. */
bool npy_init(struct npy *out, const char *descr, uint32_t rank, const int64_t *shape,
              const void *data, struct error *err);

/* Parses size bytes; the data is copied into the arena, aligned to 64. Reads |V2 as <V2. Booleans
 * must be 0 or 1. ERR_PARSE names what was found and what was expected. ERR_LIMIT: as npy_init. */
bool npy_parse(const void *bytes, size_t size, struct arena *arena, struct npy *out,
               struct error *err);

/* Appends a format 1.0 file. npy must come from npy_init or npy_parse. */
void npy_format(const struct npy *npy, struct strbuf *out);

#endif
