/* Reading one tensor of a safetensors file, which has eight bytes of header size, a JSON object
 * with dtype, shape and position of each tensor, and the data. Only the header and the tensor are
 * read. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "compiler/import/import_priv.h"

#define SIZE_BYTES 8u

struct file {
    int fd;
    uint64_t size_bytes;
    const char *path;
};

static bool read_at(const struct file *file, uint64_t offset, void *out, size_t size,
                    struct error *err)
{
    size_t done = 0;
    if (offset > file->size_bytes || size > file->size_bytes - offset)
        return fail(err, ERR_PARSE, "'%.200s' ends too early", file->path);
    while (done < size) {
        ssize_t n = pread(file->fd, (char *)out + done, size - done, (off_t)(offset + done));
        if (n <= 0)
            return fail(err, ERR_IO, "cannot read '%.200s'", file->path);
        done += (size_t)n;
    }
    return true;
}

static bool read_header(const struct file *file, struct arena *arena, json_t **out,
                        uint64_t *out_data, struct error *err)
{
    uint8_t bytes[SIZE_BYTES];
    uint64_t size = 0;
    if (!read_at(file, 0, bytes, sizeof bytes, err))
        return false;
    for (unsigned i = 0; i < SIZE_BYTES; i++)
        size |= (uint64_t)bytes[i] << (8 * i);
    if (size > LIMIT_JSON_BYTES)
        return fail(err, ERR_LIMIT, "'%.200s': a header of %llu bytes", file->path,
                    (unsigned long long)size);
    if (size > file->size_bytes)
        return fail(err, ERR_PARSE, "'%.200s' ends too early", file->path);
    char *text = arena_alloc(arena, size + 1, 1);
    if (!read_at(file, SIZE_BYTES, text, size, err))
        return false;
    *out = json_read(text, size, err);
    *out_data = SIZE_BYTES + size;
    return *out || fail_at(err, "the header of '%.200s'", file->path);
}

/* Whether the tensor has the dtype and shape of the parameter. */
static bool check_entry(const json_t *entry, const struct import_tensor *tensor, struct error *err)
{
    const char *dtype = NULL;
    json_t *shape = NULL;
    if (!json_get_string(entry, "dtype", &dtype, err) ||
        !json_get_array(entry, "shape", &shape, err))
        return false;
    if (dtype_from_safetensors(dtype) != tensor->dtype)
        return fail(err, ERR_SHAPE, "the file holds %.16s, the parameter is %s", dtype,
                    dtype_safetensors(tensor->dtype));
    bool same = json_array_size(shape) == tensor->rank;
    for (uint32_t i = 0; i < tensor->rank && same; i++)
        same = json_integer_value(json_array_get(shape, i)) == tensor->shape[i];
    return same || fail(err, ERR_SHAPE, "the file holds another shape than the parameter's");
}

static bool read_tensor(const struct file *file, const struct import_tensor *tensor,
                        struct arena *arena, void **out, struct error *err)
{
    json_t *header = NULL, *place = NULL;
    uint64_t data = 0;
    bool ok = false;
    if (!read_header(file, arena, &header, &data, err))
        return false;
    const json_t *entry = json_object_get(header, tensor->name);
    if (!entry) {
        fail(err, ERR_NOT_FOUND, "'%.200s' has no tensor '%.100s'", file->path, tensor->name);
        goto out;
    }
    if (!check_entry(entry, tensor, err) || !json_get_array(entry, "data_offsets", &place, err))
        goto out;
    int64_t from = json_integer_value(json_array_get(place, 0));
    int64_t to = json_integer_value(json_array_get(place, 1));
    if (from < 0 || to < from || (uint64_t)(to - from) != tensor->bytes) {
        fail(err, ERR_PARSE, "'%.200s': data_offsets do not fit the shape", file->path);
        goto out;
    }
    if (tensor->bytes > file->size_bytes) { /* checked before memory is allocated */
        fail(err, ERR_PARSE, "'%.200s' ends too early", file->path);
        goto out;
    }
    ok = file_part(file->fd, file->path, (struct file_range){data + (uint64_t)from, tensor->bytes},
                   arena, out, err);
out:
    json_decref(header);
    return ok;
}

bool import_safetensors(int fd, const char *path, const struct import_tensor *tensor,
                        struct arena *arena, void **out, struct error *err)
{
    struct file file = {.fd = fd, .path = path};
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail(err, ERR_IO, "cannot inspect '%.200s'", path);
    file.size_bytes = (uint64_t)info.st_size;
    return read_tensor(&file, tensor, arena, out, err);
}
