/* Unpredictable random bytes: for keys, tokens, and names that must be unique. */
#ifndef URZA_BASE_ENTROPY_H
#define URZA_BASE_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>

struct error;

/* Reads from the kernel, without allocating. ERR_IO. Any thread. */
bool entropy_fill(void *out, size_t size, struct error *err);

#endif
