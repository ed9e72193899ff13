/* clang-format off */
/* The directory of a ZIP file as PyTorch writes it: entries are not compressed, sizes may need
 * ZIP64.
 *
 *   archive  (local header, data)… central directory [ZIP64 end, its locator] end
 *
 * Only the central directory is used; from a local header only the position of its data. */
/* clang-format on */
#include <string.h>

#include "base/checked.h"
#include "base/crc32.h"
#include "compiler/import/pt2/pt2_priv.h"

#define MAX_FILES 65536
#define END_BYTES 22
#define END64_BYTES 56
#define LOCATOR_BYTES 20
#define CENTRAL_BYTES 46
#define LOCAL_BYTES 30
#define COMMENT_MAX 65535
#define ZIP64_FIELD 1
#define METHOD_STORED 0
#define FLAG_ENCRYPTED 1
#define TORCH_SCRIPT \
    "this is an archive of TorchScript: write the model by torch.export.save or torch.onnx.export"

struct reader {
    const uint8_t *bytes;
    size_t size;
};

static uint64_t number(const uint8_t *at, int width)
{
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

/* `count` bytes from offset on; NULL: outside the file. */
static const uint8_t *bytes_at(const struct reader *r, uint64_t offset, uint64_t count)
{
    return offset <= r->size && count <= r->size - offset ? r->bytes + offset : NULL;
}

static bool has_mark(const uint8_t *at, const char *mark)
{
    return at && memcmp(at, mark, 4) == 0;
}

static bool find_end(const struct reader *r, size_t *out)
{
    for (size_t back = END_BYTES; back <= r->size && back <= END_BYTES + COMMENT_MAX; back++)
        if (has_mark(r->bytes + r->size - back, "PK\5\6")) {
            *out = r->size - back;
            return true;
        }
    return false;
}

static bool find_directory(const struct reader *r, uint64_t *count, uint64_t *offset)
{
    size_t end;
    if (!find_end(r, &end))
        return false;
    *count = number(r->bytes + end + 10, 2);
    *offset = number(r->bytes + end + 16, 4);
    const uint8_t *locator = end < LOCATOR_BYTES ? NULL : r->bytes + end - LOCATOR_BYTES;
    if (!has_mark(locator, "PK\6\7"))
        return true;
    const uint8_t *end64 = bytes_at(r, number(locator + 8, 8), END64_BYTES);
    if (!has_mark(end64, "PK\6\6"))
        return false;
    *count = number(end64 + 32, 8);
    *offset = number(end64 + 48, 8);
    return true;
}

/* Size and position of an entry; from the ZIP64 field if the 32-bit field has its largest value. */
static bool read_extent(const uint8_t *entry, const uint8_t *extra, size_t extra_size,
                        uint64_t *size, uint64_t *offset)
{
    uint64_t packed = number(entry + 20, 4), *fields[] = {size, &packed, offset};
    *size = number(entry + 24, 4);
    *offset = number(entry + 42, 4);
    for (size_t at = 0; at + 4 <= extra_size;) {
        size_t id = number(extra + at, 2), length = number(extra + at + 2, 2), used = 0;
        at += 4;
        if (length > extra_size - at)
            break; /* the rest is padding, which need not consist of fields */
        for (size_t i = 0; i < 3 && id == ZIP64_FIELD; i++) {
            if (*fields[i] != UINT32_MAX || used + 8 > length)
                continue;
            *fields[i] = number(extra + at + used, 8);
            used += 8;
        }
        at += length;
    }
    return packed == *size;
}

/* A compressed entry, which torch.export does not write. */
static bool refuse_packed(const char *name, struct error *err)
{
    size_t size = strlen(name);
    if (strstr(name, "/code/"))
        return fail(err, ERR_UNSUPPORTED, TORCH_SCRIPT);
    if (size > 5 && strcmp(name + size - 5, ".onnx") == 0)
        return fail(err, ERR_UNSUPPORTED, "the archive holds '%.80s': unpack it first", name);
    return fail(err, ERR_UNSUPPORTED, "'%.80s' is compressed or encrypted", name);
}

static bool read_entry(const struct reader *r, uint64_t *at, struct arena *arena,
                       struct pt2_file *out, struct error *err)
{
    const uint8_t *entry = bytes_at(r, *at, CENTRAL_BYTES);
    uint64_t size = 0, offset = 0;
    if (!has_mark(entry, "PK\1\2"))
        return fail(err, ERR_PARSE, "the archive's directory is damaged");
    size_t name_size = number(entry + 28, 2), extra_size = number(entry + 30, 2);
    size_t all = CENTRAL_BYTES + name_size + extra_size + number(entry + 32, 2);
    if (!bytes_at(r, *at, all))
        return fail(err, ERR_PARSE, "the archive's directory is damaged");
    out->name = arena_strndup(arena, (const char *)entry + CENTRAL_BYTES, name_size);
    if (number(entry + 10, 2) != METHOD_STORED || (number(entry + 8, 2) & FLAG_ENCRYPTED) != 0)
        return refuse_packed(out->name, err);
    if (!read_extent(entry, entry + CENTRAL_BYTES + name_size, extra_size, &size, &offset))
        return fail(err, ERR_PARSE, "the sizes of '%.80s' contradict each other", out->name);
    const uint8_t *local = bytes_at(r, offset, LOCAL_BYTES);
    if (!has_mark(local, "PK\3\4"))
        return fail(err, ERR_PARSE, "'%.80s' is not where the directory says", out->name);
    offset += LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    out->crc = (uint32_t)number(entry + 16, 4);
    out->data = bytes_at(r, offset, size);
    out->size = (size_t)size;
    if (!out->data)
        return fail(err, ERR_PARSE, "'%.80s' ends behind the archive", out->name);
    *at += all;
    return true;
}

bool pt2_archive_open(const void *bytes, size_t size, struct arena *arena, struct pt2_archive *out,
                      struct error *err)
{
    struct reader r = {.bytes = bytes, .size = size};
    uint64_t count, at, all = 0;
    *out = (struct pt2_archive){{0}};
    if (!find_directory(&r, &count, &at))
        return fail(err, ERR_PARSE, "the archive has no directory: is it cut off?");
    if (count > MAX_FILES)
        return fail(err, ERR_LIMIT, "%llu files, at most %d", (unsigned long long)count, MAX_FILES);
    for (uint64_t i = 0; i < count; i++) {
        struct pt2_file file;
        if (!read_entry(&r, &at, arena, &file, err))
            return false;
        if (file.size > size - all) /* as if a small archive held as much as one likes */
            return fail(err, ERR_PARSE, "files of the archive overlap, '%.80s' among them",
                        file.name);
        all += file.size;
        VEC_PUSH(arena, &out->files, file);
    }
    return true;
}

bool pt2_no_program(const struct pt2_archive *archive, struct error *err)
{
    bool code = false, pickle = false, manifest = false, blueprint = false;
    for (uint32_t i = 0; i < archive->files.count; i++) {
        const char *name = archive->files.items[i].name, *slash = strrchr(name, '/');
        code |= strstr(name, "/code/") != NULL;
        pickle |= strcmp(slash ? slash + 1 : name, "data.pkl") == 0;
        manifest |= strcmp(name, "manifest.json") == 0;
        blueprint |= strcmp(name, "blueprint.json") == 0;
    }
    if (manifest && blueprint)
        return fail(err, ERR_UNSUPPORTED,
                    "this is a package, compiled already: urza run, inspect and verify take it");
    if (code)
        return fail(err, ERR_UNSUPPORTED, TORCH_SCRIPT);
    if (pickle)
        return fail(err, ERR_UNSUPPORTED,
                    "this is a file of torch.save, a state dict or a pickled module, without a "
                    "program: write the model by torch.export.save or torch.onnx.export");
    return fail(err, ERR_PARSE, "the archive holds no exported program");
}

bool pt2_check(const void *bytes, size_t size, struct arena *arena, struct error *err)
{
    struct pt2_archive archive;
    struct crc32 crc;
    if (!pt2_archive_open(bytes, size, arena, &archive, err))
        return false;
    crc32_init(&crc);
    for (uint32_t i = 0; i < archive.files.count; i++) {
        const struct pt2_file *file = &archive.files.items[i];
        /* PyTorch has an option to write no checksums. */
        if (file->crc != 0 && file->crc != crc32_of(&crc, file->data, file->size))
            return fail(err, ERR_PARSE, "the archive is damaged: '%.100s' has another checksum",
                        file->name);
    }
    return true;
}

const struct pt2_file *pt2_archive_find(const struct pt2_archive *archive, const char *path)
{
    for (uint32_t i = 0; i < archive->files.count; i++) {
        const char *name = archive->files.items[i].name, *slash = strchr(name, '/');
        if (strcmp(name, path) == 0 || (slash && strcmp(slash + 1, path) == 0))
            return &archive->files.items[i];
    }
    return NULL;
}
