/* Strided copies: all dims but the last are counted like an odometer. Elements are moved by memcpy,
 * which needs no alignment. Misaligned dense tensors are copied here too, with dense strides. */
#include <string.h>

#include "runtime/parts_priv.h"

/* One row of a copy; steps in bytes. */
struct row {
    char *to;
    const char *from;
    int64_t to_step, from_step;
};

static void copy_row(struct row row, int64_t count, size_t size)
{
    if (row.to_step == (int64_t)size && row.from_step == (int64_t)size) {
        memcpy(row.to, row.from, (size_t)count * size);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        /* With a constant size memcpy becomes a single move. */
        switch (size) {
        case 1: *row.to = *row.from; break;
        case 2: memcpy(row.to, row.from, 2); break;
        case 4: memcpy(row.to, row.from, 4); break;
        default: memcpy(row.to, row.from, size); break;
        }
        row.to += row.to_step;
        row.from += row.from_step;
    }
}

static void dense_steps(const struct tensor *tensor, int64_t steps[LIMIT_RANK])
{
    int64_t step = (int64_t)dtype_bytes(tensor->dtype);
    for (uint32_t i = tensor->rank; i-- > 0;) {
        steps[i] = step;
        step *= tensor->shape[i];
    }
}

static void copy(const struct tensor *tensor, char *to, const int64_t *to_steps, const char *from,
                 const int64_t *from_steps)
{
    size_t size = dtype_bytes(tensor->dtype);
    uint32_t rank = tensor->rank;
    if (tensor->elements == 0)
        return;
    if (rank == 0) {
        memcpy(to, from, size);
        return;
    }
    uint32_t last = rank - 1;
    int64_t index[LIMIT_RANK] = {0};
    for (;;) {
        struct row row = {to, from, to_steps[last], from_steps[last]};
        copy_row(row, tensor->shape[last], size);
        uint32_t axis = last;
        for (;;) {
            if (axis == 0)
                return;
            axis--;
            to += to_steps[axis];
            from += from_steps[axis];
            if (++index[axis] < tensor->shape[axis])
                break;
            to -= to_steps[axis] * index[axis];
            from -= from_steps[axis] * index[axis];
            index[axis] = 0;
        }
    }
}

void copy_to_dense(void *dense, const struct tensor *tensor)
{
    int64_t to[LIMIT_RANK], from[LIMIT_RANK];
    dense_steps(tensor, to);
    tensor_steps(tensor, from);
    copy(tensor, dense, to, tensor->data, from);
}

void copy_from_dense(const struct tensor *tensor, const void *dense)
{
    int64_t to[LIMIT_RANK], from[LIMIT_RANK];
    tensor_steps(tensor, to);
    dense_steps(tensor, from);
    copy(tensor, tensor->data, to, dense, from);
}
