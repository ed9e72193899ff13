/* Whole files.
 *
 * Only regular files are read: opening never waits for the other end of a pipe, and the size is
 * checked before reading. Writing is atomic: a temporary file in the same folder, fsync, rename; on
 * failure nothing is left behind. */
#ifndef URZA_BASE_FILE_H
#define URZA_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;

/* Reads a regular file of at most limit bytes into malloc'd memory (with one extra zero byte at the
 * end); the caller frees *out_data. ERR_NOT_FOUND, ERR_IO, ERR_LIMIT, ERR_NOMEM. */
bool file_read(const char *path, size_t limit, char **out_data, size_t *out_size,
               struct error *err);
/* Reads the first bytes of a regular file: size, or fewer where it is shorter. Fails as file_read
 * does. */
bool file_peek(const char *path, void *data, size_t size, size_t *out_size, struct error *err);

/* Opens a regular file for reading; the caller closes it. -1 on failure, as file_read. */
int file_open(const char *path, struct error *err);
/* As file_open, for a path relative to a folder that it must not leave, neither by ".." nor by
 * symbolic links. ERR_BLUEPRINT for a path that does, and for a PEM file (a signing key, say).
 */
int file_open_below(const char *folder, const char *path, struct error *err);
/* file_read of an open descriptor; name is for messages. */
bool file_read_open(int fd, const char *name, size_t limit, char **out_data, size_t *out_size,
                    struct error *err);

/* A part of an open file, 64-aligned, for as long as the arena lives; the caller may change it.
 * Where it is large it is a private mapping, which takes no memory of its own: a process that
 * shortens the file meanwhile ends this one (SIGBUS). ERR_PARSE where the file ends before the part
 * does, ERR_IO. */
struct file_range {
    uint64_t offset;
    size_t size_bytes;
};
bool file_part(int fd, const char *name, struct file_range range, struct arena *arena, void **out,
               struct error *err);

/* Reads or writes all size bytes at fd, whatever signals arrive; false with errno set (0: end of
 * file, for reading). */
bool file_read_all(int fd, void *data, size_t size);
bool file_write_all(int fd, const void *data, size_t size);
/* Writes as file_write_all does, but if RLIMIT_FSIZE is passed, only fails: the SIGXFSZ that the
 * kernel sends for it is taken back. */
bool file_write_quietly(int fd, const void *data, size_t size);

/* Replaces the file at path. mode: permission bits, for example 0644. If path is a symbolic link,
 * the file it leads to is replaced (or made) and the link stays. Anything but a regular file, such
 * as a device or a pipe, is written to in place. ERR_IO, ERR_NOMEM. */
bool file_write_atomic(const char *path, const void *data, size_t size, unsigned mode,
                       struct error *err);
/* Makes a folder and its parents; an existing folder is success. ERR_IO, ERR_NOMEM. */
bool file_make_dirs(const char *path, unsigned mode, struct error *err);
/* Checks that a file which the program trusts belongs to this user or root, and that nobody else
 * may write to it. ERR_SIGNATURE. */
struct stat;
bool file_is_ours(const struct stat *info, const char *path, struct error *err);
/* Waits until the directory entries of path's folder are on disk, where the file system supports
 * it. */
void file_sync_folder_of(const char *path);

#endif
