/* A file is
 *
 *     \x93NUMPY  major minor  header size (u16, from 2.0 on u32)  header  data
 *
 * where the header is a Python dict literal with the keys descr, fortran_order and shape, padded
 * with spaces and ended by a newline. The parser accepts only the literals that such a dict can
 * hold; the keys may be in any order, each once.
 *
 * Invariants: the cursor never passes its end; memory is allocated only after the data size was
 * found to agree with the file's, so an allocation is never larger than the input. */
#include "base/npy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/strbuf.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6
#define ALIGNMENT 64

/* descr in the file, descr in memory, bytes of an element */
static const struct {
    const char *descr, *read_as;
    size_t item_bytes;
} types[] = {
    {"<f8", "<f8", 8}, {"<f4", "<f4", 4}, {"<f2", "<f2", 2}, {"<i8", "<i8", 8}, {"<i4", "<i4", 4},
    {"<i2", "<i2", 2}, {"|i1", "|i1", 1}, {"|u1", "|u1", 1}, {"|b1", "|b1", 1}, {"<u8", "<u8", 8},
    {"<u4", "<u4", 4}, {"<u2", "<u2", 2}, {"<V2", "<V2", 2}, {"|V2", "<V2", 2}, {">f8", "<f8", 8},
    {">f4", "<f4", 4}, {">f2", "<f2", 2}, {">i8", "<i8", 8}, {">i4", "<i4", 4}, {">i2", "<i2", 2},
    {">u8", "<u8", 8}, {">u4", "<u4", 4}, {">u2", "<u2", 2},
};
#define TYPE_COUNT (sizeof types / sizeof types[0])

struct cursor {
    const char *start, *at, *end;
};

struct header {
    struct npy npy;
    bool has_descr, has_order, has_shape, fortran_order, big_endian;
};

static bool fail_expected(struct error *err, const struct cursor *c, const char *expected)
{
    fail(err, ERR_PARSE, "expected %s", expected);
    return fail_at(err, "npy header, byte %td", c->at - c->start);
}

static void skip_spaces(struct cursor *c)
{
    while (c->at < c->end && *c->at == ' ')
        c->at++;
}

/* Consumes `wanted`, and spaces before it, if it comes next. */
static bool take(struct cursor *c, char wanted)
{
    skip_spaces(c);
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    skip_spaces(c);
    size_t size = strlen(word);
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0)
        return false;
    c->at += size;
    return true;
}

/* Parses a quoted string of at most size - 1 printable characters without escapes. */
static bool take_string(struct cursor *c, char *out, size_t size)
{
    skip_spaces(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    char quote = *c->at;
    const char *from = c->at + 1, *to = from;
    while (to < c->end && *to != quote && *to >= ' ' && *to <= '~' && *to != '\\')
        to++;
    if (to == c->end || *to != quote || (size_t)(to - from) >= size)
        return false;
    memcpy(out, from, (size_t)(to - from));
    out[to - from] = '\0';
    c->at = to + 1;
    return true;
}

/* Parses a decimal integer as Python writes it: no sign, no leading zero. */
static bool parse_dim(struct cursor *c, int64_t *out, struct error *err)
{
    skip_spaces(c);
    const char *from = c->at;
    int64_t value = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        value = 10 * value + (*c->at++ - '0');
        if (value > LIMIT_DIM_VALUE)
            return fail(err, ERR_LIMIT, "npy header: a dim is larger than %" PRId64,
                        LIMIT_DIM_VALUE);
    }
    if (c->at == from || (*from == '0' && c->at - from > 1))
        return fail_expected(err, c, "a dim (digits without sign)");
    *out = value;
    return true;
}

/* Parses a tuple of dims; one of length 1 needs its comma, without which Python reads an integer in
 * parentheses. */
static bool parse_shape(struct cursor *c, struct npy *out, struct error *err)
{
    if (!take(c, '('))
        return fail_expected(err, c, "'(' of the shape");
    out->rank = 0;
    if (take(c, ')'))
        return true;
    for (;;) {
        if (out->rank == LIMIT_RANK)
            return fail(err, ERR_LIMIT, "npy header: more than %d dims", LIMIT_RANK);
        if (!parse_dim(c, &out->shape[out->rank], err))
            return false;
        out->rank++;
        bool comma = take(c, ',');
        if (take(c, ')'))
            return comma || out->rank > 1 || fail_expected(err, c, "',' in a shape of one dim");
        if (!comma)
            return fail_expected(err, c, "',' or ')' in the shape");
    }
}

static bool set_type(struct npy *out, const char *descr)
{
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        if (strcmp(types[i].descr, descr) == 0) {
            snprintf(out->descr, sizeof out->descr, "%s", types[i].read_as);
            out->item_bytes = types[i].item_bytes;
            return true;
        }
    }
    return false;
}

/* Parses one `key: value` of the dict. */
static bool parse_entry(struct cursor *c, struct header *h, struct error *err)
{
    char key[16], descr[sizeof h->npy.descr];
    bool *seen = NULL;
    if (take_string(c, key, sizeof key))
        seen = strcmp(key, "descr") == 0           ? &h->has_descr
               : strcmp(key, "fortran_order") == 0 ? &h->has_order
               : strcmp(key, "shape") == 0         ? &h->has_shape
                                                   : NULL;
    if (!seen || *seen)
        return fail_expected(err, c, "one each of 'descr', 'fortran_order' and 'shape'");
    *seen = true;
    if (!take(c, ':'))
        return fail_expected(err, c, "':' after a key");
    if (seen == &h->has_shape)
        return parse_shape(c, &h->npy, err);
    if (seen == &h->has_order) {
        h->fortran_order = take_word(c, "True");
        return h->fortran_order || take_word(c, "False") || fail_expected(err, c, "True or False");
    }
    if (!take_string(c, descr, sizeof descr) || !set_type(&h->npy, descr))
        return fail_expected(err, c,
                             "descr to be one of f8 f4 f2 i8 i4 i2 u8 u4 u2 behind < or >, |i1 |u1 "
                             "|b1 <V2");
    h->big_endian = descr[0] == '>';
    return true;
}

static bool parse_header(struct cursor *c, struct header *h, struct error *err)
{
    if (!take(c, '{'))
        return fail_expected(err, c, "'{'");
    while (!take(c, '}')) {
        if (!parse_entry(c, h, err))
            return false;
        if (!take(c, ',')) {
            if (!take(c, '}'))
                return fail_expected(err, c, "',' or '}'");
            break;
        }
    }
    if (!h->has_descr || !h->has_order || !h->has_shape)
        return fail_expected(err, c, "all of 'descr', 'fortran_order' and 'shape'");
    if (!take(c, '\n') || c->at != c->end)
        return fail_expected(err, c, "spaces and one newline to the end of the header");
    return true;
}

/* Computes data_bytes. A zero dim makes the array empty even if the product of the others
 * overflows. */
static bool set_size(struct npy *npy, struct error *err)
{
    int64_t bytes = (int64_t)npy->item_bytes;
    for (uint32_t i = 0; i < npy->rank; i++)
        if (npy->shape[i] == 0)
            bytes = 0;
    for (uint32_t i = 0; i < npy->rank; i++)
        if (!checked_mul_i64(bytes, npy->shape[i], &bytes) || bytes > LIMIT_TENSOR_BYTES)
            return fail(err, ERR_LIMIT, "the array is larger than %" PRId64 " bytes",
                        LIMIT_TENSOR_BYTES);
    npy->data_bytes = (size_t)bytes;
    return true;
}

/* Copies src, in Fortran order (the first index varies fastest), to dst in C order (the last
 * does). */
static void transpose(const struct npy *npy, char *dst, const char *src)
{
    size_t stride[LIMIT_RANK], index[LIMIT_RANK] = {0}, step = npy->item_bytes;
    for (uint32_t i = 0; i < npy->rank; i++) {
        stride[i] = step;
        step *= (size_t)npy->shape[i];
    }
    size_t offset = 0;
    for (char *end = dst + npy->data_bytes; dst < end; dst += npy->item_bytes) {
        memcpy(dst, src + offset, npy->item_bytes);
        for (uint32_t i = npy->rank; i-- > 0;) {
            offset += stride[i];
            if (++index[i] < (size_t)npy->shape[i])
                break;
            offset -= stride[i] * index[i];
            index[i] = 0;
        }
    }
}

/* Turns the bytes of each element around. */
static void swap_bytes(const struct npy *npy, char *data)
{
    size_t size = npy->item_bytes;
    for (char *item = data, *end = data + npy->data_bytes; item < end; item += size) {
        for (size_t i = 0; i < size / 2; i++) {
            char first = item[i];
            item[i] = item[size - 1 - i];
            item[size - 1 - i] = first;
        }
    }
}

/* Splits the file into header and data. */
static bool open_file(const uint8_t *bytes, size_t size, struct cursor *header, struct cursor *data,
                      struct error *err)
{
    if (size < MAGIC_BYTES + 4 || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0)
        return fail(err, ERR_PARSE, "expected a .npy file (\\x93NUMPY at its start)");
    unsigned major = bytes[6], minor = bytes[7];
    if (major < 1 || major > 3 || minor != 0)
        return fail(err, ERR_PARSE, "npy format %u.%u, expected 1.0, 2.0 or 3.0", major, minor);
    size_t start = major == 1 ? 10 : 12, length = bytes[8] | (size_t)bytes[9] << 8;
    if (size >= start && major > 1)
        length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size < start || length > size - start)
        return fail(err, ERR_PARSE, "the file ends inside its npy header, expected %zu bytes of it",
                    length);
    const char *at = (const char *)bytes + start;
    *header = (struct cursor){at, at, at + length};
    *data = (struct cursor){at + length, at + length, (const char *)bytes + size};
    return true;
}

bool npy_parse(const void *bytes, size_t size, struct arena *arena, struct npy *out,
               struct error *err)
{
    struct cursor text = {0}, data = {0};
    struct header h = {0};
    if (!open_file(bytes, size, &text, &data, err) || !parse_header(&text, &h, err) ||
        !set_size(&h.npy, err))
        return false;
    size_t found = (size_t)(data.end - data.at);
    if (found != h.npy.data_bytes)
        return fail(err, ERR_PARSE, "found %zu bytes of data, expected %zu", found,
                    h.npy.data_bytes);
    if (strcmp(h.npy.descr, "|b1") == 0)
        for (size_t i = 0; i < found; i++)
            if ((uint8_t)data.at[i] > 1)
                return fail(err, ERR_PARSE, "found a boolean of %d, expected 0 or 1",
                            (uint8_t)data.at[i]);

    char *copy = arena_alloc(arena, found, ALIGNMENT);
    if (h.fortran_order && h.npy.rank > 1)
        transpose(&h.npy, copy, data.at);
    else if (found > 0)
        memcpy(copy, data.at, found);
    if (h.big_endian)
        swap_bytes(&h.npy, copy);
    h.npy.data = copy;
    *out = h.npy;
    return true;
}

size_t npy_item_bytes(const char *descr)
{
    struct npy npy;
    return set_type(&npy, descr) && strcmp(npy.descr, descr) == 0 ? npy.item_bytes : 0;
}

bool npy_init(struct npy *out, const char *descr, uint32_t rank, const int64_t *shape,
              const void *data, struct error *err)
{
    struct npy npy = {.rank = rank, .data = data};
    if (npy_item_bytes(descr) == 0)
        return fail(err, ERR_PARSE, "descr '%s' is not a supported element type", descr);
    set_type(&npy, descr);
    if (rank > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "an array of %" PRIu32 " dims, at most %d are allowed", rank,
                    LIMIT_RANK);
    for (uint32_t i = 0; i < rank; i++) {
        assert(shape[i] >= 0);
        if (shape[i] > LIMIT_DIM_VALUE)
            return fail(err, ERR_LIMIT, "dim %" PRIu32 " is larger than %" PRId64, i,
                        LIMIT_DIM_VALUE);
        npy.shape[i] = shape[i];
    }
    if (!set_size(&npy, err))
        return false;
    *out = npy;
    return true;
}

void npy_format(const struct npy *npy, struct strbuf *out)
{
    assert(npy_item_bytes(npy->descr) > 0 && npy->rank <= LIMIT_RANK);
    struct strbuf dict;
    strbuf_init(&dict, out->arena);
    strbuf_printf(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", npy->descr);
    for (uint32_t i = 0; i < npy->rank; i++)
        strbuf_printf(&dict, "%s%" PRId64, i > 0 ? ", " : "", npy->shape[i]);
    strbuf_puts(&dict, npy->rank == 1 ? ",), }" : "), }");

    /* The data starts at a multiple of 64 bytes, so that a mapped file is aligned. */
    size_t head = MAGIC_BYTES + 4 + dict.size_bytes + 1;
    size_t padding = (ALIGNMENT - head % ALIGNMENT) % ALIGNMENT;
    size_t length = dict.size_bytes + padding + 1;
    const char sizes[4] = {1, 0, (char)(length & 0xff), (char)(length >> 8)};
    strbuf_add(out, MAGIC, MAGIC_BYTES);
    strbuf_add(out, sizes, sizeof sizes);
    strbuf_add(out, dict.data, dict.size_bytes);
    strbuf_printf(out, "%*s\n", (int)padding, "");
    strbuf_add(out, npy->data, npy->data_bytes);
}
