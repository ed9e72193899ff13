/* Known inputs: inputs whose values the caller gives, as a tensor or as numbers. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compiler/import/import_priv.h"

/* Stores one number in an element of the dtype; false: the dtype cannot represent it. */
static bool put_number(const char *text, enum dtype dtype, char *element)
{
    char *end;
    errno = 0;
    if (dtype_is_float(dtype)) {
        double value = strtod(text, &end);
        float single = (float)value;
        uint16_t half = dtype == DTYPE_F16 ? f16_from_double(value) : bf16_from_double(value);
        const void *from = dtype == DTYPE_F64   ? (const void *)&value
                           : dtype == DTYPE_F32 ? (const void *)&single
                                                : (const void *)&half;
        memcpy(element, from, dtype_bytes(dtype));
        return end != text && *end == '\0' && isfinite(value);
    }
    bool wide = dtype == DTYPE_U64 && text[0] != '-';
    int64_t value = wide ? (int64_t)strtoull(text, &end, 10) : strtoll(text, &end, 10);
    bool fits = wide || (value >= dtype_least(dtype) && value <= dtype_greatest(dtype));
    if (dtype == DTYPE_BOOL)
        fits = value == 0 || value == 1;
    memcpy(element, &value, dtype_bytes(dtype)); /* little-endian, as all tensors here */
    return end != text && *end == '\0' && errno == 0 && (dtype != DTYPE_U64 || wide) && fits;
}

/* The input's shape with `count` elements: the size of at most one dim is open, and follows from
 * the others. */
static bool shape_of(const struct import_type *type, int64_t count, int64_t out[LIMIT_RANK])
{
    int64_t known = 1, open = 0;
    for (uint32_t i = 0; i < type->rank; i++) {
        bool any = type->shape[i] < 0;
        if (!any && (type->shape[i] == 0 || known > count / type->shape[i]))
            return false;
        known *= any ? 1 : type->shape[i];
        open += any;
    }
    for (uint32_t i = 0; i < type->rank; i++)
        out[i] = type->shape[i] < 0 ? count / known : type->shape[i];
    return open <= 1 && (open == 1 ? count % known == 0 : count == known);
}

static bool refuse_count(const struct import_type *type, size_t count, struct error *err)
{
    char shape[12 * LIMIT_RANK + 8] = "of any rank";
    for (uint32_t i = 0; type->ranked && i <= type->rank; i++) {
        size_t used = i > 0 ? strlen(shape) : 0;
        char size[24] = "]";
        if (i < type->rank && type->shape[i] >= 0)
            snprintf(size, sizeof size, "%lld", (long long)type->shape[i]);
        else if (i < type->rank)
            snprintf(size, sizeof size, "?");
        snprintf(shape + used, sizeof shape - used, "%s%s",
                 i == 0           ? "["
                 : i < type->rank ? ", "
                                  : "",
                 size);
    }
    return fail(err, ERR_USAGE,
                "%zu numbers are given, and the shape is %s; a .npy file has a shape", count,
                shape);
}

static bool read_numbers(const struct import_tensor *given, const struct import_type *type,
                         struct arena *arena, struct import_tensor *out, struct error *err)
{
    size_t count = 1, bytes = dtype_bytes(type->dtype);
    for (const char *at = given->numbers; (at = strchr(at, ',')) != NULL; at++)
        count++;
    struct import_tensor tensor = {
        .name = given->name, .dtype = type->dtype, .rank = type->rank, .bytes = count * bytes};
    if (!type->ranked || !shape_of(type, (int64_t)count, tensor.shape))
        return refuse_count(type, count, err);
    char *data = arena_alloc(arena, count * bytes, 64);
    const char *at = given->numbers;
    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(at, ",");
        const char *number = arena_strndup(arena, at, length);
        if (!put_number(number, type->dtype, data + i * bytes))
            return fail(err, ERR_USAGE, "'%.40s' is no %s", number, dtype_name(type->dtype));
        at += length + 1;
    }
    tensor.data = data;
    *out = tensor;
    return true;
}

bool import_known(const struct import_tensor *given, const struct import_type *type,
                  struct arena *arena, struct import_tensor *out, struct error *err)
{
    if (given->numbers)
        return read_numbers(given, type, arena, out, err);
    if (given->dtype != type->dtype)
        return fail(err, ERR_USAGE, "the file holds %s, but the input is %s",
                    dtype_name(given->dtype), dtype_name(type->dtype));
    if (type->ranked && given->rank != type->rank)
        return fail(err, ERR_USAGE, "the file has %u dims, but the input has %u", given->rank,
                    type->rank);
    for (uint32_t i = 0; type->ranked && i < type->rank; i++)
        if (type->shape[i] >= 0 && given->shape[i] != type->shape[i])
            return fail(err, ERR_USAGE, "dim %u of the file is %lld, but that of the input is %lld",
                        i, (long long)given->shape[i], (long long)type->shape[i]);
    *out = *given;
    return true;
}

const struct import_tensor *import_find_known(const struct import_options *options,
                                              const char *name)
{
    for (uint32_t i = 0; i < options->fixed_count; i++)
        if (strcmp(options->fixed[i].name, name) == 0)
            return &options->fixed[i];
    return NULL;
}

bool import_check_known(const struct import_options *options, const char *const *inputs,
                        uint32_t count, struct error *err)
{
    for (uint32_t i = 0; i < options->fixed_count; i++) {
        const char *name = options->fixed[i].name;
        char names[320] = "";
        bool found = false;
        for (uint32_t k = 0; k < count; k++) {
            size_t used = strlen(names);
            found |= strcmp(inputs[k], name) == 0;
            snprintf(names + used, sizeof names - used, "%s'%.60s'", k > 0 ? ", " : "", inputs[k]);
        }
        if (!found)
            return fail(err, ERR_USAGE, "'%.100s' is no input of this model, which has %s", name,
                        count > 0 ? names : "none");
    }
    return true;
}
