/* A ZIP archive in one canonical form: stored entries, no times, no attributes but those of a
 * regular file, 0644.
 *
 *     local header | name | extra | data      for each entry, in order
 *     central header | name | extra           for each entry, in order
 *     ZIP64 end record | its locator          where the end record needs them
 *     end record
 *
 * Data starts at a multiple of 64; an extra field in the local header pads up to there.
 *
 * It is the alignment field of Android's zipalign (id 0xd935: the alignment, then zero bytes),
 * which other tools know.
 *
 * A size or offset of UINT32_MAX or more is written as UINT32_MAX there, and in 64 bits in a ZIP64
 * field (id 1: the size twice, then the local header's offset, each only if needed), or, for the
 * directory, in the ZIP64 end record. Smaller numbers never have the ZIP64 form.
 *
 * Invariants:
 * 1. Every byte outside of names and data follows from names, data and their order. The reader uses
 *    only name and size of a local header, makes all headers again and compares.
 * 2. An archive has at most LIMIT_PACKAGE_BYTES, so sums of sizes and offsets do not overflow. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

#define DATA_ALIGN 64u
#define LOCAL_BYTES 30u
#define CENTRAL_BYTES 46u
#define END_BYTES 22u
#define EXTRA_BYTES 6u        /* of the alignment field without its zero bytes */
#define LOCAL_ZIP64_BYTES 20u /* of the ZIP64 field of a local header */
#define ZIP64_BYTES_MAX 28u   /* of any ZIP64 field */
#define ZIP64_END_BYTES 56u   /* of the ZIP64 end record */
#define ZIP64_LOCATOR_BYTES 20u

#define LOCAL_SIGNATURE 0x04034b50u
#define CENTRAL_SIGNATURE 0x02014b50u
#define END_SIGNATURE 0x06054b50u
#define ZIP64_END_SIGNATURE 0x06064b50u
#define ZIP64_LOCATOR_SIGNATURE 0x07064b50u
#define VERSION_NEEDED 10u
#define ZIP64_VERSION 45u /* the first version with ZIP64 */
#define MADE_BY_UNIX 0x0314u
#define ZIP64_MADE_BY_UNIX 0x032du
#define DATE_1980 0x21u /* 1 January 1980; the format cannot express "none" */
#define REGULAR_FILE_0644 ((uint32_t)0100644 << 16)
#define ALIGNMENT_FIELD 0xd935u
#define ZIP64_FIELD 1u

/* A header being built; the longest is shorter than a central header with all extra fields. */
struct header {
    uint8_t bytes[CENTRAL_BYTES + LIMIT_NAME + ZIP64_BYTES_MAX + EXTRA_BYTES + DATA_ALIGN];
    uint32_t size;
    uint64_t zip64_from; /* numbers from this on take their ZIP64 form */
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

static void put64(struct header *header, uint64_t value)
{
    put32(header, (uint32_t)value);
    put32(header, (uint32_t)(value >> 32));
}

static void put32_or_ones(struct header *header, uint64_t value)
{
    put32(header, value < header->zip64_from ? (uint32_t)value : UINT32_MAX);
}

static void put_name(struct header *header, const struct zip_entry *entry)
{
    memcpy(header->bytes + header->size, entry->name, entry->name_bytes);
    header->size += entry->name_bytes;
}

/* Appends the fields that local and central headers share. */
static void put_description(struct header *header, const struct zip_entry *entry,
                            uint32_t extra_bytes, bool zip64)
{
    put16(header, zip64 ? ZIP64_VERSION : VERSION_NEEDED);
    put16(header, 0); /* flags */
    put16(header, 0); /* stored */
    put16(header, 0); /* midnight */
    put16(header, DATE_1980);
    put32(header, entry->crc);
    put32_or_ones(header, entry->size_bytes);
    put32_or_ones(header, entry->size_bytes);
    put16(header, entry->name_bytes);
    put16(header, extra_bytes);
}

static uint32_t local_zip64_bytes(const struct zip_entry *entry, uint64_t zip64_from)
{
    return entry->size_bytes < zip64_from ? 0 : LOCAL_ZIP64_BYTES;
}

static uint32_t padding_of(const struct zip_entry *entry, uint32_t zip64_bytes)
{
    uint64_t end = entry->offset + LOCAL_BYTES + entry->name_bytes + zip64_bytes + EXTRA_BYTES;
    return (uint32_t)-end & (DATA_ALIGN - 1);
}

/* The offset of the entry's data; name, size and offset must be filled. */
static uint64_t data_offset(const struct zip_entry *entry, uint64_t zip64_from)
{
    uint32_t zip64_bytes = local_zip64_bytes(entry, zip64_from);
    return entry->offset + LOCAL_BYTES + entry->name_bytes + zip64_bytes + EXTRA_BYTES +
           padding_of(entry, zip64_bytes);
}

static void make_local(struct header *header, const struct zip_entry *entry)
{
    uint32_t zip64_bytes = local_zip64_bytes(entry, header->zip64_from);
    uint32_t padding = padding_of(entry, zip64_bytes);
    header->size = 0;
    put32(header, LOCAL_SIGNATURE);
    put_description(header, entry, zip64_bytes + EXTRA_BYTES + padding, zip64_bytes > 0);
    put_name(header, entry);
    if (zip64_bytes > 0) {
        put16(header, ZIP64_FIELD);
        put16(header, zip64_bytes - 4);
        put64(header, entry->size_bytes);
        put64(header, entry->size_bytes);
    }
    put16(header, ALIGNMENT_FIELD);
    put16(header, 2 + padding);
    put16(header, DATA_ALIGN);
    memset(header->bytes + header->size, 0, padding);
    header->size += padding;
}

static uint32_t central_zip64_bytes(const struct zip_entry *entry, uint64_t zip64_from)
{
    uint32_t sizes = entry->size_bytes < zip64_from ? 0 : 16;
    uint32_t offset = entry->offset < zip64_from ? 0 : 8;
    return sizes + offset > 0 ? 4 + sizes + offset : 0;
}

static void make_central(struct header *header, const struct zip_entry *entry)
{
    uint32_t zip64_bytes = central_zip64_bytes(entry, header->zip64_from);
    header->size = 0;
    put32(header, CENTRAL_SIGNATURE);
    put16(header, zip64_bytes > 0 ? ZIP64_MADE_BY_UNIX : MADE_BY_UNIX);
    put_description(header, entry, zip64_bytes, zip64_bytes > 0);
    put16(header, 0); /* comment */
    put16(header, 0); /* disk */
    put16(header, 0); /* internal attributes */
    put32(header, REGULAR_FILE_0644);
    put32_or_ones(header, entry->offset);
    put_name(header, entry);
    if (zip64_bytes == 0)
        return;
    put16(header, ZIP64_FIELD);
    put16(header, zip64_bytes - 4);
    if (entry->size_bytes >= header->zip64_from) {
        put64(header, entry->size_bytes);
        put64(header, entry->size_bytes);
    }
    if (entry->offset >= header->zip64_from)
        put64(header, entry->offset);
}

static uint32_t end_bytes(uint64_t central_offset, uint64_t central_bytes, uint64_t zip64_from)
{
    bool zip64 = central_offset >= zip64_from || central_bytes >= zip64_from;
    return END_BYTES + (zip64 ? ZIP64_END_BYTES + ZIP64_LOCATOR_BYTES : 0);
}

static void put_zip64_end(struct header *header, uint32_t count, uint64_t central_offset,
                          uint64_t central_bytes)
{
    put32(header, ZIP64_END_SIGNATURE);
    put64(header, ZIP64_END_BYTES - 12); /* size of the record after this field */
    put16(header, ZIP64_MADE_BY_UNIX);
    put16(header, ZIP64_VERSION);
    put32(header, 0); /* this disk */
    put32(header, 0); /* disk of the directory */
    put64(header, count);
    put64(header, count);
    put64(header, central_bytes);
    put64(header, central_offset);
    put32(header, ZIP64_LOCATOR_SIGNATURE);
    put32(header, 0);                              /* disk of the ZIP64 end record */
    put64(header, central_offset + central_bytes); /* its offset */
    put32(header, 1);                              /* number of disks */
}

/* Makes the end record, with the ZIP64 end record before it where it is needed. */
static void make_end(struct header *header, uint32_t count, uint64_t central_offset,
                     uint64_t central_bytes)
{
    header->size = 0;
    if (end_bytes(central_offset, central_bytes, header->zip64_from) > END_BYTES)
        put_zip64_end(header, count, central_offset, central_bytes);
    put32(header, END_SIGNATURE);
    put16(header, 0); /* this disk */
    put16(header, 0); /* disk of the directory */
    put16(header, count);
    put16(header, count);
    put32_or_ones(header, central_bytes);
    put32_or_ones(header, central_offset);
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

/* Searches the first count entries. */
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

void zip_add_pieces(struct zip *zip, const char *name, const struct bytes_piece *pieces,
                    uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += pieces[i].size_bytes; /* they are in memory, so the sum fits */
    zip_add(zip, name, NULL, size);
    zip->entries[zip->count - 1].pieces = pieces;
    zip->entries[zip->count - 1].piece_count = count;
}

static bool fail_large(struct error *err)
{
    return fail(err, ERR_LIMIT, "the archive is larger than %" PRIu64 " bytes",
                LIMIT_PACKAGE_BYTES);
}

/* Computes the offset of each entry, and the archive's size. */
static bool lay_out(struct zip *zip, uint64_t zip64_from, size_t *out_bytes, struct error *err)
{
    uint64_t offset = 0, central = 0;
    for (uint32_t i = 0; i < zip->count; i++) {
        struct zip_entry *entry = &zip->entries[i];
        if (!zip_name_ok(entry->name, entry->name_bytes) ||
            find_name(zip, i, entry->name, entry->name_bytes))
            return fail(err, ERR_PACKAGE, "'%.*s' is a bad or double entry name",
                        (int)entry->name_bytes, entry->name);
        entry->offset = offset;
        if (entry->size_bytes > LIMIT_PACKAGE_BYTES)
            return fail_large(err);
        offset = data_offset(entry, zip64_from) + entry->size_bytes;
        central += CENTRAL_BYTES + entry->name_bytes + central_zip64_bytes(entry, zip64_from);
        if (offset + central > LIMIT_PACKAGE_BYTES)
            return fail_large(err);
    }
    uint64_t bytes = offset + central + end_bytes(offset, central, zip64_from);
    *out_bytes = (size_t)bytes;
    return bytes <= LIMIT_PACKAGE_BYTES || fail_large(err);
}

bool zip_write_zip64(struct zip *zip, uint64_t zip64_from, struct strbuf *out, struct error *err)
{
    size_t start = out->size_bytes, bytes = 0;
    if (!lay_out(zip, zip64_from, &bytes, err))
        return false;
    strbuf_reserve(out, bytes);
    struct crc32 crc;
    crc32_init(&crc);
    struct header header = {.zip64_from = zip64_from};
    for (uint32_t i = 0; i < zip->count; i++) {
        struct zip_entry *entry = &zip->entries[i];
        const struct bytes_piece whole = {entry->data, entry->size_bytes};
        const struct bytes_piece *pieces = entry->pieces ? entry->pieces : &whole;
        uint32_t count = entry->pieces ? entry->piece_count : 1;
        entry->crc = 0;
        for (uint32_t k = 0; k < count; k++)
            entry->crc = crc32_more(&crc, entry->crc, pieces[k].data, pieces[k].size_bytes);
        make_local(&header, entry);
        strbuf_add(out, header.bytes, header.size);
        for (uint32_t k = 0; k < count; k++)
            strbuf_add(out, pieces[k].data, pieces[k].size_bytes);
    }
    size_t central = out->size_bytes;
    for (uint32_t i = 0; i < zip->count; i++) {
        make_central(&header, &zip->entries[i]);
        strbuf_add(out, header.bytes, header.size);
    }
    make_end(&header, zip->count, central - start, out->size_bytes - central);
    strbuf_add(out, header.bytes, header.size);
    return true;
}

bool zip_write(struct zip *zip, struct strbuf *out, struct error *err)
{
    return zip_write_zip64(zip, UINT32_MAX, out, err);
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) | get16(at + 2) << 16;
}

/* An archive that is being read. */
struct reader {
    const uint8_t *bytes;
    size_t size, at;      /* of the archive; bytes before `at` have been read */
    struct header header; /* the header expected at `at` */
    struct crc32 crc;
};

/* Compares the bytes at `at` with the expected header, and advances past them. */
static bool match(struct reader *r)
{
    const struct header *header = &r->header;
    if (r->size - r->at < header->size ||
        memcmp(r->bytes + r->at, header->bytes, header->size) != 0)
        return false;
    r->at += header->size;
    return true;
}

/* The size of an entry from its local header, whose fixed part and name are in memory; false if the
 * ZIP64 field is missing. */
static bool local_size(const uint8_t *local, size_t size, uint32_t name_bytes, uint64_t *out)
{
    *out = get32(local + 18);
    if (*out != UINT32_MAX)
        return true;
    if (size < LOCAL_BYTES + name_bytes + LOCAL_ZIP64_BYTES)
        return false;
    const uint8_t *zip64 = local + LOCAL_BYTES + name_bytes;
    *out = get32(zip64 + 4) | (uint64_t)get32(zip64 + 8) << 32;
    return true;
}

/* Reads the entry whose local header starts at `at`; its signature has been checked. */
static bool read_entry(struct reader *r, struct zip *zip, struct error *err)
{
    if (zip->count == LIMIT_PACKAGE_ENTRIES)
        return fail(err, ERR_LIMIT, "the archive has more than %d entries", LIMIT_PACKAGE_ENTRIES);
    if (r->size - r->at < LOCAL_BYTES)
        return fail(err, ERR_PACKAGE, "the archive ends inside a header");
    const uint8_t *local = r->bytes + r->at;
    struct zip_entry entry = {
        .name = (const char *)local + LOCAL_BYTES,
        .name_bytes = get16(local + 26),
        .offset = r->at,
    };
    if (r->size - r->at - LOCAL_BYTES < entry.name_bytes)
        return fail(err, ERR_PACKAGE, "the archive ends inside an entry name");
    if (!zip_name_ok(entry.name, entry.name_bytes) ||
        find_name(zip, zip->count, entry.name, entry.name_bytes))
        return fail(err, ERR_PACKAGE, "entry %u has a bad or double name", zip->count);
    uint64_t entry_bytes, data = r->size;
    if (local_size(local, r->size - r->at, entry.name_bytes, &entry_bytes)) {
        entry.size_bytes = entry_bytes;
        data = data_offset(&entry, r->header.zip64_from);
    }
    if (data > r->size || r->size - data < entry_bytes) {
        fail(err, ERR_PACKAGE, "the archive ends inside the entry");
        return fail_at(err, "%.*s", (int)entry.name_bytes, entry.name);
    }
    entry.data = r->bytes + data;
    entry.crc = crc32_of(&r->crc, entry.data, entry.size_bytes);
    make_local(&r->header, &entry);
    if (!match(r)) {
        fail(err, ERR_PACKAGE, "the entry does not match its header");
        return fail_at(err, "%.*s", (int)entry.name_bytes, entry.name);
    }
    r->at += entry.size_bytes;
    zip->entries[zip->count++] = entry;
    return true;
}

bool zip_read_zip64(const void *archive, size_t size, uint64_t zip64_from, struct zip *zip,
                    struct error *err)
{
    if (size > LIMIT_PACKAGE_BYTES)
        return fail_large(err);
    struct reader r = {.bytes = archive, .size = size, .header.zip64_from = zip64_from};
    crc32_init(&r.crc);
    zip->count = 0;
    while (size - r.at >= 4 && get32(r.bytes + r.at) == LOCAL_SIGNATURE)
        if (!read_entry(&r, zip, err))
            return false;
    size_t central_offset = r.at;
    for (uint32_t i = 0; i < zip->count; i++) {
        make_central(&r.header, &zip->entries[i]);
        if (!match(&r))
            return fail(err, ERR_PACKAGE, "the archive's directory is damaged");
    }
    make_end(&r.header, zip->count, central_offset, r.at - central_offset);
    if (!match(&r) || r.at != size)
        return fail(err, ERR_PACKAGE, "not an archive as this program writes them");
    return true;
}

bool zip_read(const void *archive, size_t size, struct zip *zip, struct error *err)
{
    return zip_read_zip64(archive, size, UINT32_MAX, zip, err);
}
