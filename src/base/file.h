/* Whole files.
 *
 * Reading takes regular files only, never waits for the other end of a pipe, and looks at a file's
 * size before it reads. Writing is atomic: a temporary file in the same folder, fsync, rename; on
 * failure nothing is left behind. */
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
/* The first bytes of a regular file: at most size, fewer where it is shorter. As file_read. */
bool file_peek(const char *path, void *data, size_t size, size_t *out_size, struct error *err);

/* A regular file, opened for reading; the caller closes it. -1 on failure: as file_read. */
int file_open(const char *path, struct error *err);
/* The same for a path relative to a folder that it must not leave, neither by ".." nor by symbolic
 * links; a path that does, and a file in PEM's armour (the key that signs, say), is ERR_BLUEPRINT.
 */
int file_open_below(const char *folder, const char *path, struct error *err);
/* file_read of what is open; name is for messages. */
bool file_read_open(int fd, const char *name, size_t limit, char **out_data, size_t *out_size,
                    struct error *err);

/* All of size bytes at fd, whatever signals arrive; false with errno set (0: the file ends, for
 * reading). */
bool file_read_all(int fd, void *data, size_t size);
bool file_write_all(int fd, const void *data, size_t size);
/* The same, where a limit on the size of files (RLIMIT_FSIZE) makes it fail and nothing more: the
 * SIGXFSZ for that is taken back. */
bool file_write_quietly(int fd, const void *data, size_t size);

/* mode: permission bits, 0644 say. Where path is a symbolic link, the file that it names is
 * replaced (or made) and the link stays. What is no regular file, as a device or a pipe, is
 * written to in place. ERR_IO, ERR_NOMEM. */
bool file_write_atomic(const char *path, const void *data, size_t size, unsigned mode,
                       struct error *err);
/* Makes a folder and its parents; fine when it exists. ERR_IO, ERR_NOMEM. */
bool file_make_dirs(const char *path, unsigned mode, struct error *err);
/* What a program believes must be this user's or root's, and nobody else's to write.
 * ERR_SIGNATURE. */
struct stat;
bool file_is_ours(const struct stat *info, const char *path, struct error *err);
/* Waits until the names in the folder of path are on the disk, where the file system can. */
void file_sync_folder_of(const char *path);

#endif
