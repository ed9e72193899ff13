/* Random bytes that nobody can guess: keys, tokens, names that must be ours alone. */
#ifndef URZA_BASE_ENTROPY_H
#define URZA_BASE_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>

struct error;

/* From the kernel, which needs no memory of ours for it. ERR_IO. Any thread. */
bool entropy_fill(void *out, size_t size, struct error *err);

#endif
