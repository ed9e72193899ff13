/* Outputs whose size hangs on values: as long as they can be at most, with a count beside them. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/import/import.h"
#include "graph/interp.h"
#include "onnx_case.h"

#define MAX_OUTPUTS 32

/* Whether the output called `count` is that of output i; of which axis, where it says so. */
static bool is_count_of(const urza_module *module, const char *count, uint32_t i, int *out_axis)
{
    const char *name = urza_output_info(module, i)->name;
    size_t length = strlen(name);
    *out_axis = -1;
    if (strncmp(count, name, length) != 0 || strncmp(count + length, ".count", 6) != 0)
        return false;
    return count[length + 6] == '\0' || sscanf(count + length + 6, ".%d", out_axis) == 1;
}

uint32_t onnx_counts(const urza_module *module, uint32_t outputs)
{
    uint32_t counts = 0;
    int axis;
    for (uint32_t k = outputs; k < urza_output_count(module); k++)
        for (uint32_t i = 0; i < outputs; i++)
            if (is_count_of(module, urza_output_info(module, k)->name, i, &axis)) {
                counts++;
                break;
            }
    return counts;
}

/* The axis that a count without one belongs to: the one that is not as long as what is expected, or
 * one that is as long as the count. */
static int axis_of(const DLTensor *tensor, const struct import_tensor *expected, int64_t count)
{
    int whole = 0;
    for (int32_t d = 0; d < tensor->ndim && (uint32_t)tensor->ndim == expected->rank; d++) {
        if (tensor->shape[d] != expected->shape[d])
            return d;
        whole = tensor->shape[d] == count ? d : whole;
    }
    return whole;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static bool cut_axis(DLTensor *tensor, int axis, int64_t count, struct interp_tensor *reference,
                     struct error *err)
{
    size_t element = (size_t)tensor->dtype.bits / 8;
    int64_t blocks = 1, each = 1, all = tensor->shape[axis];
    uint8_t *bytes = tensor->data;
    if (count < 0 || count > all)
        return fail(err, ERR_VERIFY, "the count is %lld of %lld", (long long)count, (long long)all);
    for (int32_t d = 0; d < tensor->ndim; d++)
        *(d < axis ? &blocks : &each) *= d == axis ? 1 : tensor->shape[d];
    for (int64_t k = 0; k < blocks; k++) {
        int64_t from = k * all * each, to = k * count * each, kept = count * each;
        if (!is_zero(bytes + (size_t)(from + kept) * element,
                     (size_t)((all - count) * each) * element))
            return fail(err, ERR_VERIFY, "what does not count is not 0");
        memmove(bytes + (size_t)to * element, bytes + (size_t)from * element,
                (size_t)kept * element);
        memmove(reference->cells + to, reference->cells + from,
                (size_t)kept * sizeof *reference->cells);
        if (reference->bounds)
            memmove(reference->bounds + to, reference->bounds + from,
                    (size_t)kept * sizeof *reference->bounds);
    }
    tensor->shape[axis] = reference->shape[axis] = count;
    reference->count = blocks * count * each;
    return true;
}

bool onnx_cut(const urza_module *module, DLTensor *tensors, uint32_t i,
              const struct import_tensor *expected, struct interp_tensor *reference,
              struct error *err)
{
    int axis;
    for (uint32_t k = i + 1; k < urza_output_count(module); k++) {
        if (!is_count_of(module, urza_output_info(module, k)->name, i, &axis))
            continue;
        int64_t count = *(const int64_t *)tensors[k].data;
        axis = axis < 0 ? axis_of(&tensors[i], expected, count) : axis;
        if (!cut_axis(&tensors[i], axis, count, reference, err))
            return false;
    }
    return true;
}
