/* Whole files. Writing is atomic: a temporary file in the same folder, fsync, rename; on failure
 * nothing is left behind. */
#ifndef URZA_BASE_FILE_H
#define URZA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Reads a regular file of at most limit bytes into malloc'd memory (one extra zero byte behind it);
 * the caller frees *out_data. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT, ERR_NOMEM. */
bool file_read(const char *path, size_t limit, char **out_data, size_t *out_size,
               struct error *err);
/* mode: permission bits, 0644 say. ERR_IO. */
bool file_write_atomic(const char *path, const void *data, size_t size, unsigned mode,
                       struct error *err);
/* Makes a folder and its parents; fine when it exists. ERR_IO. */
bool file_make_dirs(const char *path, unsigned mode, struct error *err);

#endif
