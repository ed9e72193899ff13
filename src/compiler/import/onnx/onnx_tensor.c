/* Tensors of a model: in typed fields, as raw little-endian bytes, or in external files. */
#include <onnx.pb-c.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/file.h"
#include "compiler/import/onnx/onnx_priv.h"

#define NO_DTYPE(name) {DTYPE_NONE, name}

bool onnx_dtype(int32_t data_type, enum dtype *out, uint8_t *out_small, struct error *err)
{
    static const struct {
        enum dtype dtype;
        const char *name;
    } types[] = {
        [0] = NO_DTYPE("undefined"),     [1] = {DTYPE_F32, "float"},
        [2] = {DTYPE_U8, "uint8"},       [3] = {DTYPE_I8, "int8"},
        [4] = {DTYPE_U16, "uint16"},     [5] = {DTYPE_I16, "int16"},
        [6] = {DTYPE_I32, "int32"},      [7] = {DTYPE_I64, "int64"},
        [8] = NO_DTYPE("string"),        [9] = {DTYPE_BOOL, "bool"},
        [10] = {DTYPE_F16, "float16"},   [11] = {DTYPE_F64, "double"},
        [12] = {DTYPE_U32, "uint32"},    [13] = {DTYPE_U64, "uint64"},
        [14] = NO_DTYPE("complex64"),    [15] = NO_DTYPE("complex128"),
        [16] = {DTYPE_BF16, "bfloat16"},
    };
    int32_t count = (int32_t)(sizeof types / sizeof *types);
    enum dtype carrier;
    uint8_t small = 0;
    bool is_small = onnx_small_find(data_type, &small, &carrier);
    if (is_small && !out_small)
        return fail(err, ERR_UNSUPPORTED, "tensors of %s", onnx_small_name(small));
    if (out_small)
        *out_small = small;
    if (is_small) {
        *out = carrier;
        return true;
    }
    if (data_type < 0 || data_type >= count)
        return fail(err, ERR_UNSUPPORTED, "tensors of data type %d", data_type);
    if (types[data_type].dtype == DTYPE_NONE)
        return fail(err, ERR_UNSUPPORTED, "tensors of %s", types[data_type].name);
    *out = types[data_type].dtype;
    return true;
}

uint8_t onnx_small_type(const Onnx__TensorProto *proto)
{
    enum dtype carrier;
    uint8_t small = 0;
    onnx_small_find(proto->data_type, &small, &carrier);
    return small;
}

/* The shape, the size in bytes, and the size in the file, where small types are packed. */
static bool measure(const Onnx__TensorProto *proto, struct import_tensor *out, size_t *out_bytes,
                    struct error *err)
{
    int64_t count = 1, bytes = 0;
    uint8_t small;
    if (!onnx_dtype(proto->data_type, &out->dtype, &small, err))
        return false;
    if (proto->n_dims > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "rank %zu, at most %d", proto->n_dims, LIMIT_RANK);
    out->rank = (uint32_t)proto->n_dims;
    for (uint32_t i = 0; i < out->rank; i++) {
        out->shape[i] = proto->dims[i];
        if (out->shape[i] < 0)
            return fail(err, ERR_SHAPE, "dim %u is %lld", i, (long long)out->shape[i]);
        if (!checked_mul_i64(count, out->shape[i], &count))
            return fail(err, ERR_LIMIT, "the number of elements overflows");
    }
    if (!checked_mul_i64(count, (int64_t)dtype_bytes(out->dtype), &bytes) ||
        bytes > LIMIT_TENSOR_BYTES)
        return fail(err, ERR_LIMIT, "more than %lld bytes", (long long)LIMIT_TENSOR_BYTES);
    out->bytes = (size_t)bytes;
    *out_bytes = small ? (out->bytes * onnx_small_bits(small) + 7) / 8 : out->bytes;
    return true;
}

static bool wrong_size(size_t found, size_t expected, const char *what, struct error *err)
{
    return fail(err, ERR_PARSE, "the data has %zu %s, its shape says %zu", found, what, expected);
}

static const char *external_field(const Onnx__TensorProto *proto, const char *key)
{
    for (size_t i = 0; i < proto->n_external_data; i++) {
        const Onnx__StringStringEntryProto *entry = proto->external_data[i];
        if (entry->key && entry->value && strcmp(entry->key, key) == 0)
            return entry->value;
    }
    return NULL;
}

static bool external_number(const Onnx__TensorProto *proto, const char *key, size_t absent,
                            size_t *out, struct error *err)
{
    const char *text = external_field(proto, key);
    char *end = NULL;
    *out = absent;
    if (!text)
        return true;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value > (uint64_t)LIMIT_TENSOR_BYTES)
        return fail(err, ERR_PARSE, "external data: %s is '%.40s'", key, text);
    *out = (size_t)value;
    return true;
}

static bool read_external(const Onnx__TensorProto *proto, const char *folder, struct arena *arena,
                          void **out, size_t bytes, struct error *err)
{
    const char *location = external_field(proto, "location");
    size_t offset = 0, length = 0;
    if (!location)
        return fail(err, ERR_PARSE, "external data without a location");
    if (!folder)
        return fail(err, ERR_IO, "external data needs a model that lies in a folder");
    if (!import_check_path(location, err) || !external_number(proto, "offset", 0, &offset, err) ||
        !external_number(proto, "length", bytes, &length, err))
        return false;
    if (length != bytes)
        return wrong_size(length, bytes, "bytes", err);
    int fd = file_open_below(folder, location, err);
    if (fd < 0)
        return fail_at(err, "external data");
    bool ok = file_part(fd, location, (struct file_range){offset, bytes}, arena, out, err);
    close(fd);
    return ok || fail_at(err, "external data");
}

/* Narrow types have one 32-bit field for each element. */
static void narrow(enum dtype dtype, const int32_t *from, size_t count, void *out)
{
    for (size_t i = 0; i < count; i++) {
        if (dtype == DTYPE_I32)
            ((int32_t *)out)[i] = from[i];
        else if (dtype_bytes(dtype) == 2)
            ((uint16_t *)out)[i] = (uint16_t)from[i];
        else
            ((uint8_t *)out)[i] = dtype == DTYPE_BOOL ? from[i] != 0 : (uint8_t)from[i];
    }
}

static bool read_fields(const Onnx__TensorProto *proto, const struct import_tensor *tensor,
                        void *out, size_t bytes, struct error *err)
{
    size_t count = bytes / dtype_bytes(tensor->dtype), found = proto->n_int32_data;
    const void *from = NULL;
    if (tensor->dtype == DTYPE_F32) {
        found = proto->n_float_data;
        from = proto->float_data;
    } else if (tensor->dtype == DTYPE_F64) {
        found = proto->n_double_data;
        from = proto->double_data;
    } else if (tensor->dtype == DTYPE_I64) {
        found = proto->n_int64_data;
        from = proto->int64_data;
    } else if (tensor->dtype == DTYPE_U64 || tensor->dtype == DTYPE_U32) {
        found = proto->n_uint64_data;
        from = tensor->dtype == DTYPE_U64 ? proto->uint64_data : NULL;
    }
    if (found != count)
        return wrong_size(found, count, "elements", err);
    if (count == 0)
        return true;
    if (from)
        memcpy(out, from, bytes);
    else if (tensor->dtype == DTYPE_U32)
        for (size_t i = 0; i < count; i++)
            ((uint32_t *)out)[i] = (uint32_t)proto->uint64_data[i];
    else
        narrow(tensor->dtype, proto->int32_data, count, out);
    return true;
}

/* The message's memory if it is aligned, as large blocks are, since it lives as long; otherwise a
 * copy. */
static void *aligned(void *data, size_t bytes, struct arena *arena)
{
    if (bytes > 0 && (uintptr_t)data % 64 == 0)
        return data;
    void *copy = arena_alloc(arena, bytes, 64);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    return copy;
}

bool onnx_tensor(const Onnx__TensorProto *proto, const char *folder, struct arena *arena,
                 struct import_tensor *out, struct error *err)
{
    struct import_tensor tensor = {.name = proto->name ? proto->name : ""};
    size_t bytes = 0;
    void *data = NULL;
    if (!measure(proto, &tensor, &bytes, err))
        return false;
    if (proto->segment)
        return fail(err, ERR_UNSUPPORTED, "tensors in segments");
    if (proto->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        if (!read_external(proto, folder, arena, &data, bytes, err))
            return false;
    } else if (proto->has_raw_data) {
        if (proto->raw_data.len != bytes)
            return wrong_size(proto->raw_data.len, bytes, "bytes", err);
        data = aligned(proto->raw_data.data, bytes, arena);
    } else {
        /* Checked before memory is allocated: the fields must be there. */
        size_t fields = proto->n_int32_data + proto->n_float_data + proto->n_double_data +
                        proto->n_int64_data + proto->n_uint64_data;
        if (fields * dtype_bytes(tensor.dtype) < bytes)
            return wrong_size(fields, bytes / dtype_bytes(tensor.dtype), "elements", err);
        data = arena_alloc(arena, bytes, 64);
        if (!read_fields(proto, &tensor, data, bytes, err))
            return false;
    }
    for (size_t i = 0; i < bytes && tensor.dtype == DTYPE_BOOL; i++)
        ((uint8_t *)data)[i] = ((uint8_t *)data)[i] != 0;
    tensor.data = data;
    if (bytes != tensor.bytes) {
        uint8_t *elements = arena_alloc(arena, tensor.bytes, 64);
        onnx_small_unpack((uint8_t)proto->data_type, data, tensor.bytes, elements);
        tensor.data = elements;
    }
    *out = tensor;
    return true;
}

bool onnx_read_tensor(const void *bytes, size_t size, struct arena *arena,
                      struct import_tensor *out, struct error *err)
{
    const ProtobufCMessage *message =
        onnx_unpack(&onnx__tensor_proto__descriptor, bytes, size, arena, err);
    return message && onnx_tensor((const Onnx__TensorProto *)message, NULL, arena, out, err);
}
