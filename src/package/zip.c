/* A ZIP archive in one canonical form: stored entries, no times, no attributes but those of a
 * regular file, 0644.
 *
 *     local header | name | extra | data      for each entry, in order
 *     central header | name                   for each entry, in order
 *     end record
 *
 * Data starts at a multiple of 64, which the extra field fills up to.
 *
 * The extra field is the alignment field that Android's zipalign defined (id 0xd935: the alignment,
 * then zero bytes), so that other tools know what it is.
 *
 * Invariants:
 * 1. Every byte outside of names and data follows from names, data and their order. The reader
 * takes only name and size from a local header, makes all headers again and compares.
 * 2. Offsets fit 32 bits: an archive that would need ZIP64 is ERR_LIMIT. */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

#define DATA_ALIGN 64u
#define LOCAL_BYTES 30u
#define CENTRAL_BYTES 46u
#define END_BYTES 22u
#define EXTRA_BYTES 6u                /* without its zero bytes */
#define ARCHIVE_MAX (UINT32_MAX - 1u) /* the largest value stands for ZIP64 */

#define LOCAL_SIGNATURE 0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE 0x06054b50u
#define VERSION_NEEDED 10u
#define MADE_BY_UNIX 0x0314u
#define DATE_1980 0x21u /* 1 January; the format cannot say "none" */
#define REGULAR_FILE_0644 ((uint32_t)0100644 << 16)
#define ALIGNMENT_FIELD 0xd935u

/* A header under construction; the longest is a central one, or a local one with its extra field.
 */
struct header {
    uint8_t bytes[CENTRAL_BYTES + LIMIT_NAME + EXTRA_BYTES + DATA_ALIGN];
    uint32_t size;
};

static void put16(struct header *header, uint32_t value)
{
    header->bytes[header->size++] = (uint8_t)value;
    header->bytes[header->size++] = (uint8_t)(value >> 8);
}

static void put32(struct header *header, uint32_t value)
{
    put16(header, value & 0xffff);
    put16(header, value >> 16);
}

static void put_name(struct header *header, const struct zip_entry *entry)
{
    memcpy(header->bytes + header->size, entry->name, entry->name_bytes);
    header->size += entry->name_bytes;
}

/* The part that local and central headers share. */
static void put_description(struct header *header, const struct zip_entry *entry,
                            uint32_t extra_bytes)
{
    put16(header, VERSION_NEEDED);
    put16(header, 0); /* flags */
    put16(header, 0); /* stored */
    put16(header, 0); /* midnight */
    put16(header, DATE_1980);
    put32(header, entry->crc);
    put32(header, (uint32_t)entry->size_bytes);
    put32(header, (uint32_t)entry->size_bytes);
    put16(header, entry->name_bytes);
    put16(header, extra_bytes);
}

static uint32_t padding_of(uint64_t offset, uint32_t name_bytes)
{
    return (uint32_t)-(offset + LOCAL_BYTES + name_bytes + EXTRA_BYTES) & (DATA_ALIGN - 1);
}

/* Where the data of an entry starts whose local header stands at offset. */
static uint64_t data_offset(uint64_t offset, uint32_t name_bytes)
{
    return offset + LOCAL_BYTES + name_bytes + EXTRA_BYTES + padding_of(offset, name_bytes);
}

static void make_local(struct header *header, const struct zip_entry *entry)
{
    uint32_t padding = padding_of(entry->offset, entry->name_bytes);
    header->size = 0;
    put32(header, LOCAL_SIGNATURE);
    put_description(header, entry, EXTRA_BYTES + padding);
    put_name(header, entry);
    put16(header, ALIGNMENT_FIELD);
    put16(header, 2 + padding);
    put16(header, DATA_ALIGN);
    memset(header->bytes + header->size, 0, padding);
    header->size += padding;
}

static void make_central(struct header *header, const struct zip_entry *entry)
{
    header->size = 0;
    put32(header, CENTRAL_SIGNATURE);
    put16(header, MADE_BY_UNIX);
    put_description(header, entry, 0);
    put16(header, 0); /* comment */
    put16(header, 0); /* disk */
    put16(header, 0); /* internal attributes */
    put32(header, REGULAR_FILE_0644);
    put32(header, entry->offset);
    put_name(header, entry);
}

static void make_end(struct header *header, uint32_t count, uint32_t central_offset,
                     uint32_t central_bytes)
{
    header->size = 0;
    put32(header, END_SIGNATURE);
    put16(header, 0); /* this disk */
    put16(header, 0); /* disk of the directory */
    put16(header, count);
    put16(header, count);
    put32(header, central_bytes);
    put32(header, central_offset);
    put16(header, 0); /* comment */
}

static bool name_byte_ok(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '/' || c == '-';
}

bool zip_name_ok(const char *name, size_t size)
{
    if (size == 0 || size > LIMIT_NAME || name[0] == '/' || name[size - 1] == '/')
        return false;
    for (size_t i = 0; i < size; i++) {
        bool pair = i > 0 && name[i] == name[i - 1];
        if (!name_byte_ok(name[i]) || (pair && (name[i] == '.' || name[i] == '/')))
            return false;
    }
    return true;
}

/* Among the first count entries. */
static const struct zip_entry *find_name(const struct zip *zip, uint32_t count, const char *name,
                                         size_t size)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct zip_entry *entry = &zip->entries[i];
        if (entry->name_bytes == size && memcmp(entry->name, name, size) == 0)
            return entry;
    }
    return NULL;
}

const struct zip_entry *zip_find(const struct zip *zip, const char *name)
{
    return find_name(zip, zip->count, name, strlen(name));
}

void zip_add(struct zip *zip, const char *name, const void *data, size_t size)
{
    assert(zip->count < LIMIT_PACKAGE_ENTRIES);
    zip->entries[zip->count++] = (struct zip_entry){
        .name = name,
        .name_bytes = (uint32_t)strlen(name),
        .data = data,
        .size_bytes = size,
    };
}

/* Gives each entry its offset, and the archive's size. */
static bool lay_out(struct zip *zip, size_t *out_bytes, struct error *err)
{
    uint64_t offset = 0, behind = END_BYTES; /* bytes of the directory and the end record */
    for (uint32_t i = 0; i < zip->count; i++) {
        struct zip_entry *entry = &zip->entries[i];
        if (!zip_name_ok(entry->name, entry->name_bytes) ||
            find_name(zip, i, entry->name, entry->name_bytes))
            return fail(err, ERR_PACKAGE, "'%.*s' is a bad or double entry name",
                        (int)entry->name_bytes, entry->name);
        behind += CENTRAL_BYTES + entry->name_bytes;
        entry->offset = (uint32_t)offset;
        offset = data_offset(offset, entry->name_bytes);
        if (entry->size_bytes > ARCHIVE_MAX || offset + entry->size_bytes + behind > ARCHIVE_MAX)
            return fail(err, ERR_LIMIT, "the archive would be larger than %u bytes", ARCHIVE_MAX);
        offset += entry->size_bytes;
    }
    *out_bytes = (size_t)(offset + behind);
    return true;
}

bool zip_write(struct zip *zip, struct strbuf *out, struct error *err)
{
    size_t start = out->size_bytes, bytes = 0;
    if (!lay_out(zip, &bytes, err))
        return false;
    strbuf_reserve(out, bytes);
    struct crc32 crc;
    crc32_init(&crc);
    struct header header;
    for (uint32_t i = 0; i < zip->count; i++) {
        struct zip_entry *entry = &zip->entries[i];
        entry->crc = crc32_of(&crc, entry->data, entry->size_bytes);
        make_local(&header, entry);
        strbuf_add(out, header.bytes, header.size);
        strbuf_add(out, entry->data, entry->size_bytes);
    }
    size_t central = out->size_bytes;
    for (uint32_t i = 0; i < zip->count; i++) {
        make_central(&header, &zip->entries[i]);
        strbuf_add(out, header.bytes, header.size);
    }
    make_end(&header, zip->count, (uint32_t)(central - start),
             (uint32_t)(out->size_bytes - central));
    strbuf_add(out, header.bytes, header.size);
    return true;
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) | get16(at + 2) << 16;
}

/* Compares what stands at *at with the header that must stand there, and moves *at behind it. */
static bool match(const uint8_t *bytes, size_t size, size_t *at, const struct header *header)
{
    if (size - *at < header->size || memcmp(bytes + *at, header->bytes, header->size) != 0)
        return false;
    *at += header->size;
    return true;
}

/* Reads the entry whose local header starts at *at; the signature has been seen. */
static bool read_entry(const uint8_t *bytes, size_t size, size_t *at, const struct crc32 *crc,
                       struct zip *zip, struct error *err)
{
    if (zip->count == LIMIT_PACKAGE_ENTRIES)
        return fail(err, ERR_LIMIT, "the archive has more than %d entries", LIMIT_PACKAGE_ENTRIES);
    if (size - *at < LOCAL_BYTES)
        return fail(err, ERR_PACKAGE, "the archive ends inside a header");
    const uint8_t *local = bytes + *at;
    struct zip_entry entry = {
        .name = (const char *)local + LOCAL_BYTES,
        .name_bytes = get16(local + 26),
        .size_bytes = get32(local + 18),
        .offset = (uint32_t)*at,
    };
    if (size - *at - LOCAL_BYTES < entry.name_bytes)
        return fail(err, ERR_PACKAGE, "the archive ends inside an entry name");
    if (!zip_name_ok(entry.name, entry.name_bytes) ||
        find_name(zip, zip->count, entry.name, entry.name_bytes))
        return fail(err, ERR_PACKAGE, "entry %u has a bad or double name", zip->count);
    uint64_t data = data_offset(*at, entry.name_bytes);
    if (data > size || size - data < entry.size_bytes) {
        fail(err, ERR_PACKAGE, "the archive ends inside the entry");
        return fail_at(err, "%.*s", (int)entry.name_bytes, entry.name);
    }
    entry.data = bytes + data;
    entry.crc = crc32_of(crc, entry.data, entry.size_bytes);
    struct header header;
    make_local(&header, &entry);
    if (!match(bytes, size, at, &header)) {
        fail(err, ERR_PACKAGE, "the entry does not match its header");
        return fail_at(err, "%.*s", (int)entry.name_bytes, entry.name);
    }
    *at += entry.size_bytes;
    zip->entries[zip->count++] = entry;
    return true;
}

bool zip_read(const void *archive, size_t size, struct zip *zip, struct error *err)
{
    if (size > ARCHIVE_MAX)
        return fail(err, ERR_LIMIT, "the archive is larger than %u bytes", ARCHIVE_MAX);
    struct crc32 crc;
    crc32_init(&crc);
    const uint8_t *bytes = archive;
    size_t at = 0;
    zip->count = 0;
    while (size - at >= 4 && get32(bytes + at) == LOCAL_SIGNATURE)
        if (!read_entry(bytes, size, &at, &crc, zip, err))
            return false;
    uint32_t central_offset = (uint32_t)at;
    struct header header;
    for (uint32_t i = 0; i < zip->count; i++) {
        make_central(&header, &zip->entries[i]);
        if (!match(bytes, size, &at, &header))
            return fail(err, ERR_PACKAGE, "the archive's directory is damaged");
    }
    make_end(&header, zip->count, central_offset, (uint32_t)at - central_offset);
    if (!match(bytes, size, &at, &header) || at != size)
        return fail(err, ERR_PACKAGE, "not an archive as this program writes them");
    return true;
}
