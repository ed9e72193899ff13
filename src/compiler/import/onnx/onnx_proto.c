/* Parsing untrusted protocol buffers.
 *
 * The library parses nested messages by unbounded recursion and allocates as it meets them. So the
 * bytes are checked first, with the schema and a limit on nesting. The library's memory comes from
 * the arena and is limited to a multiple of the size. */
#include <onnx.pb-c.h>
#include <string.h>

#include "base/checked.h"
#include "compiler/import/onnx/onnx_priv.h"

#define MAX_NESTING 64
#define MEMORY_PER_BYTE 128 /* an empty message, two bytes, takes some 200 */
#define MEMORY_BASE ((size_t)1 << 20)
#define LARGE 4096

enum wire { WIRE_VARINT, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct cursor {
    const uint8_t *at, *end;
};

static bool read_varint(struct cursor *c, uint64_t *out)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (c->at == c->end)
            return false;
        uint8_t byte = *c->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Skips one field. *out_part: its bytes, if it has a length. */
static bool read_field(struct cursor *c, uint64_t *out_tag, enum wire *out_wire,
                       struct cursor *out_part)
{
    uint64_t key = 0, value = 0, size = 0;
    if (!read_varint(c, &key))
        return false;
    *out_tag = key >> 3;
    *out_wire = (enum wire)(key & 7);
    switch (key & 7) {
    case WIRE_VARINT: return read_varint(c, &value);
    case WIRE_64: size = 8; break;
    case WIRE_32: size = 4; break;
    case WIRE_BYTES:
        if (!read_varint(c, &size))
            return false;
        break;
    default: return false;
    }
    if (size > (uint64_t)(c->end - c->at))
        return false;
    *out_part = (struct cursor){c->at, c->at + size};
    c->at += size;
    return true;
}

/* Refuses names with a zero byte, which C would read as another, shorter name. */
static bool check_text(const ProtobufCFieldDescriptor *field, struct cursor text, struct error *err)
{
    if (text.at == text.end || strcmp(field->name, "doc_string") == 0 ||
        !memchr(text.at, 0, (size_t)(text.end - text.at)))
        return true;
    return fail(err, ERR_PARSE, "a field '%s' holds a zero byte", field->name);
}

/* The error of a field that does not parse. If a field of the outermost message ends beyond the
 * file, the file is truncated. */
static bool refuse_field(const uint8_t *bytes, size_t size, uint32_t depth, struct cursor field,
                         struct error *err)
{
    ptrdiff_t at = field.at - bytes;
    uint64_t key = 0, length = 0;
    bool whole =
        read_varint(&field, &key) && (key & 7) == WIRE_BYTES && read_varint(&field, &length);
    if (depth == 1 && whole && length < (uint64_t)LIMIT_MODEL_BYTES)
        return fail(
            err, ERR_PARSE,
            "the file is cut off: it has %zu bytes, and what begins at byte %td ends at byte "
            "%llu",
            size, at, (unsigned long long)(field.at - bytes) + length);
    if (at == 0)
        return fail(err, ERR_PARSE, "the file is no protocol buffer");
    return fail(err, ERR_PARSE, "the file is %s at byte %td",
                depth == 1 && field.at == bytes + size ? "cut off" : "damaged", at);
}

/* Whether messages nest at most MAX_NESTING deep and every length is inside its message. The stack
 * is explicit. */
static bool check_nesting(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size,
                          struct error *err)
{
    struct {
        const ProtobufCMessageDescriptor *type;
        struct cursor cursor;
    } stack[MAX_NESTING];
    uint32_t depth = 1;
    stack[0].type = type;
    stack[0].cursor = (struct cursor){bytes, bytes + size};
    while (depth > 0) {
        struct cursor *cursor = &stack[depth - 1].cursor, part = {0};
        uint64_t tag = 0;
        enum wire wire = WIRE_VARINT;
        if (cursor->at == cursor->end) {
            depth--;
            continue;
        }
        struct cursor field_at = *cursor;
        if (!read_field(cursor, &tag, &wire, &part))
            return refuse_field(bytes, size, depth, field_at, err);
        if (wire != WIRE_BYTES || tag > UINT32_MAX)
            continue;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(stack[depth - 1].type, (unsigned)tag);
        if (field && field->type == PROTOBUF_C_TYPE_STRING && !check_text(field, part, err))
            return false;
        if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (depth == MAX_NESTING)
            return fail(err, ERR_LIMIT, "messages nest more than %d deep", MAX_NESTING);
        stack[depth].type = field->descriptor;
        stack[depth++].cursor = part;
    }
    return true;
}

struct budget {
    struct arena *arena;
    size_t left_bytes;
};

static void *take(void *user, size_t size)
{
    struct budget *budget = user;
    if (size > budget->left_bytes)
        return NULL;
    budget->left_bytes -= size;
    return size < LARGE ? arena_alloc(budget->arena, size, 16)
                        : arena_raw(budget->arena, size, 64); /* aligned, so that a tensor can use
                                                                 its data without a copy */
}

static void give_back(void *user, void *pointer)
{
    (void)user;
    (void)pointer; /* released with the arena */
}

ProtobufCMessage *onnx_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                              size_t size, struct arena *arena, struct error *err)
{
    struct budget budget = {.arena = arena};
    ProtobufCAllocator allocator = {take, give_back, &budget};
    size_t limit;
    if (!checked_mul_size(size, MEMORY_PER_BYTE, &limit) ||
        !checked_add_size(limit, MEMORY_BASE, &budget.left_bytes)) {
        fail(err, ERR_LIMIT, "the file is too large");
        return NULL;
    }
    if (!check_nesting(type, bytes, size, err))
        return NULL;
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, size, bytes);
    if (!message)
        fail(err, ERR_PARSE, "the file is damaged, or no %s", type->name);
    return message;
}
