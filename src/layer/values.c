/* Elements of dense tensors of floats. Sums have eight accumulators, whatever the machine, so they
 * have the same bits everywhere. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "graph/dtype.h"
#include "layer/slot_priv.h"

bool values_dtype(DLDataType d)
{
    return d.lanes == 1 &&
           ((d.code == kDLFloat && (d.bits == 16 || d.bits == 32 || d.bits == 64)) ||
            (d.code == kDLBfloat && d.bits == 16));
}

bool tensor_dense(const DLTensor *tensor)
{
    int64_t step = 1;
    for (int32_t i = tensor->ndim; tensor->strides && i-- > 0;) {
        if (tensor->shape[i] != 1 && tensor->strides[i] != step)
            return tensor_count(tensor) == 0;
        step *= tensor->shape[i];
    }
    return true;
}

size_t tensor_count(const DLTensor *tensor)
{
    int64_t count = 1;
    bool fits = true, empty = false;
    for (int32_t i = 0; i < tensor->ndim; i++) {
        empty |= tensor->shape[i] == 0;
        if (tensor->shape[i] != 0)
            fits = fits && tensor->shape[i] > 0 &&
                   checked_mul_i64(count, tensor->shape[i], &count) && count <= LIMIT_TENSOR_BYTES;
    }
    return !fits ? SIZE_MAX : empty ? 0 : (size_t)count;
}

bool tensor_alike(const DLTensor *a, const DLTensor *b)
{
    if (a->ndim != b->ndim || a->dtype.code != b->dtype.code || a->dtype.bits != b->dtype.bits ||
        a->dtype.lanes != b->dtype.lanes)
        return false;
    for (int32_t i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i])
            return false;
    return true;
}

struct span tensor_span(const DLTensor *tensor)
{
    uintptr_t begin = (uintptr_t)tensor_data(tensor), end = begin;
    size_t count = tensor_count(tensor), bytes = values_bytes(tensor->dtype);
    if (count == 0)
        return (struct span){begin, begin};
    if (!tensor->strides)
        return (struct span){begin, begin + count * bytes};
    for (int32_t i = 0; i < tensor->ndim; i++) {
        int64_t reach = (tensor->shape[i] - 1) * tensor->strides[i] * (int64_t)bytes;
        if (reach < 0)
            begin -= (uintptr_t)-reach;
        else
            end += (uintptr_t)reach;
    }
    return (struct span){begin, end + bytes};
}

/* An element is not finite where all bits of its exponent are set. */
URZA_VECTORISED
static bool finite16(const uint16_t *x, size_t count, uint16_t exponent)
{
    uint16_t bad = 0;
    for (size_t i = 0; i < count; i++)
        bad |= (uint16_t)((x[i] & exponent) == exponent);
    return bad == 0;
}

URZA_VECTORISED
static bool finite32(const uint32_t *x, size_t count)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++)
        bad |= (uint32_t)((x[i] & 0x7f800000u) == 0x7f800000u);
    return bad == 0;
}

URZA_VECTORISED
static bool finite64(const uint64_t *x, size_t count)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < count; i++)
        bad |= (uint64_t)((x[i] & 0x7ff0000000000000u) == 0x7ff0000000000000u);
    return bad == 0;
}

bool values_finite(DLDataType dtype, const void *data, size_t count)
{
    if (dtype.bits == 64)
        return finite64(data, count);
    if (dtype.bits == 32)
        return finite32(data, count);
    return finite16(data, count, dtype.code == kDLBfloat ? 0x7f80 : 0x7c00);
}

static double get(DLDataType dtype, const void *data, size_t i)
{
    if (dtype.bits == 64)
        return ((const double *)data)[i];
    if (dtype.bits == 32)
        return (double)((const float *)data)[i];
    uint16_t bits = ((const uint16_t *)data)[i];
    return dtype.code == kDLBfloat ? bf16_to_double(bits) : f16_to_double(bits);
}

static void set(DLDataType dtype, void *data, size_t i, double value)
{
    if (dtype.bits == 64)
        ((double *)data)[i] = value;
    else if (dtype.bits == 32)
        ((float *)data)[i] = (float)value;
    else
        ((uint16_t *)data)[i] =
            dtype.code == kDLBfloat ? bf16_from_double(value) : f16_from_double(value);
}

#define LANES 8

URZA_VECTORISED
static double squares32(const float *x, size_t count)
{
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            sums[k] += (double)x[i + k] * (double)x[i + k];
    for (; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t k = 0; k < LANES; k++)
        sum += sums[k];
    return sum;
}

double values_squares(DLDataType dtype, const void *data, size_t count)
{
    double sum = 0;
    if (dtype.bits == 32)
        return squares32(data, count);
    for (size_t i = 0; i < count; i++) {
        double x = get(dtype, data, i);
        sum += x * x;
    }
    return sum;
}

URZA_VECTORISED
static void add32(float *to, const float *from, float factor, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += factor * from[i];
}

void values_add(DLDataType dtype, void *to, const void *from, double factor, size_t count)
{
    if (dtype.bits == 32) {
        add32(to, from, (float)factor, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        set(dtype, to, i, get(dtype, to, i) + factor * get(dtype, from, i));
}

URZA_VECTORISED
static void scale32(float *data, float factor, size_t count)
{
    for (size_t i = 0; i < count; i++)
        data[i] *= factor;
}

void values_scale(DLDataType dtype, void *data, double factor, size_t count)
{
    if (dtype.bits == 32) {
        scale32(data, (float)factor, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        set(dtype, data, i, factor * get(dtype, data, i));
}

void values_fill(DLDataType dtype, void *data, double value, size_t count)
{
    if (value == 0) {
        memset(data, 0, count * values_bytes(dtype));
        return;
    }
    for (size_t i = 0; i < count; i++)
        set(dtype, data, i, value);
}
