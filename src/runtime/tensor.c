/* Nothing in a host's DLTensor is trusted: sizes are computed with overflow checks, and tensors
 * that are not plain dense memory are marked to be copied. */
#include <inttypes.h>

#include "base/checked.h"
#include "runtime/parts_priv.h"

struct dtype_row {
    enum dtype dtype;
    uint8_t code, bits;
};

static const struct dtype_row rows[] = {
    {DTYPE_F32, kDLFloat, 32},   {DTYPE_F64, kDLFloat, 64}, {DTYPE_F16, kDLFloat, 16},
    {DTYPE_BF16, kDLBfloat, 16}, {DTYPE_I64, kDLInt, 64},   {DTYPE_I32, kDLInt, 32},
    {DTYPE_I16, kDLInt, 16},     {DTYPE_I8, kDLInt, 8},     {DTYPE_U8, kDLUInt, 8},
    {DTYPE_BOOL, kDLBool, 8},    {DTYPE_U16, kDLUInt, 16},  {DTYPE_U32, kDLUInt, 32},
    {DTYPE_U64, kDLUInt, 64},
};
#define ROWS (sizeof rows / sizeof rows[0])

DLDataType tensor_dtype(enum dtype dtype)
{
    size_t i = 0;
    while (i + 1 < ROWS && rows[i].dtype != dtype)
        i++;
    return (DLDataType){rows[i].code, rows[i].bits, 1};
}

static enum dtype dtype_of(DLDataType given)
{
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].code == given.code && rows[i].bits == given.bits && given.lanes == 1)
            return rows[i].dtype;
    return DTYPE_NONE;
}

/* Counts elements and dense bytes of the shape. Dims of 0 do not excuse an overflow of the others,
 * since strides are computed from them too. */
static bool measure(struct tensor *tensor, struct error *err)
{
    int64_t elements = 1, bytes;
    bool empty = false;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        int64_t dim = tensor->shape[i];
        if (dim < 0 || dim > LIMIT_DIM_VALUE)
            return fail(err, ERR_INPUT, "dim %u is %" PRId64, i, dim);
        if (dim == 0)
            empty = true;
        else if (!checked_mul_i64(elements, dim, &elements))
            return fail(err, ERR_INPUT, "the shape has too many elements");
    }
    if (!checked_mul_i64(elements, (int64_t)dtype_bytes(tensor->dtype), &bytes) ||
        bytes > LIMIT_TENSOR_BYTES)
        return fail(err, ERR_INPUT, "the tensor is too large");
    tensor->elements = empty ? 0 : elements;
    tensor->size_bytes = empty ? 0 : (size_t)bytes;
    return true;
}

static bool strides_dense(const struct tensor *tensor)
{
    if (!tensor->strides || tensor->elements == 0)
        return true;
    int64_t expected = 1;
    for (uint32_t i = tensor->rank; i-- > 0;) {
        if (tensor->shape[i] != 1 && tensor->strides[i] != expected)
            return false;
        expected *= tensor->shape[i];
    }
    return true;
}

void tensor_steps(const struct tensor *tensor, int64_t steps[LIMIT_RANK])
{
    int64_t size = (int64_t)dtype_bytes(tensor->dtype), dense = size;
    for (uint32_t i = tensor->rank; i-- > 0;) {
        bool moves = tensor->shape[i] > 1; /* the stride of a dim of size 1 may be anything */
        steps[i] = !moves ? 0 : tensor->strides ? tensor->strides[i] * size : dense;
        dense *= tensor->shape[i];
    }
}

/* Strides must be small enough that the offset of the farthest element does not overflow. */
static bool check_strides(const struct tensor *tensor, struct error *err)
{
    int64_t size = (int64_t)dtype_bytes(tensor->dtype);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        int64_t reach;
        if (tensor->shape[i] == 1)
            continue;
        if (!checked_mul_i64(tensor->strides[i], tensor->shape[i] * size, &reach) ||
            reach > INT64_MAX / LIMIT_RANK || reach < -(INT64_MAX / LIMIT_RANK))
            return fail(err, ERR_INPUT, "stride %u is %" PRId64, i, tensor->strides[i]);
    }
    return true;
}

/* Computes the range of addresses, which must not wrap around the end of the address space. */
static bool check_span(struct tensor *tensor, struct error *err)
{
    if (tensor->elements == 0)
        return true;
    int64_t steps[LIMIT_RANK];
    size_t below = 0, above = dtype_bytes(tensor->dtype), low, end;
    tensor_steps(tensor, steps);
    for (uint32_t i = 0; i < tensor->rank; i++) {
        int64_t reach = steps[i] * (tensor->shape[i] - 1); /* the sum over all dims is below 2^63 */
        if (reach < 0)
            below += (size_t)-reach;
        else
            above += (size_t)reach;
    }
    low = (uintptr_t)tensor->data - below;
    if (below > (uintptr_t)tensor->data || !checked_add_size((uintptr_t)tensor->data, above, &end))
        return fail(err, ERR_INPUT, "its elements do not lie within the memory there can be");
    tensor->low = low;
    tensor->span_bytes = end - low;
    return true;
}

bool tensor_check(const DLTensor *given, bool need_data, struct tensor *out, struct error *err)
{
    if (given->device.device_type != kDLCPU)
        return fail(err, ERR_INPUT, "is on device type %d, expected the CPU (%d)",
                    (int)given->device.device_type, (int)kDLCPU);
    if (given->ndim < 0 || given->ndim > LIMIT_RANK)
        return fail(err, ERR_INPUT, "has %d dims, at most %d are possible", given->ndim,
                    LIMIT_RANK);
    if (given->ndim > 0 && !given->shape)
        return fail(err, ERR_INPUT, "has no shape");
    struct tensor tensor = {
        .dtype = dtype_of(given->dtype),
        .rank = (uint32_t)given->ndim,
        .shape = given->shape,
        .strides = given->strides,
    };
    if (tensor.dtype == DTYPE_NONE)
        return fail(err, ERR_INPUT, "has DLPack type code %u with %u bits and %u lanes",
                    given->dtype.code, given->dtype.bits, given->dtype.lanes);
    if (!measure(&tensor, err))
        return false;
    tensor.dense = strides_dense(&tensor);
    if (need_data) {
        if (!given->data && tensor.elements > 0)
            return fail(err, ERR_INPUT, "has no data");
        if (!tensor.dense && !check_strides(&tensor, err))
            return false;
        tensor.data = given->data ? (char *)given->data + given->byte_offset : NULL;
        if ((uintptr_t)tensor.data % dtype_bytes(tensor.dtype) != 0)
            tensor.dense = false;
        if (!check_span(&tensor, err))
            return false;
    }
    *out = tensor;
    return true;
}
