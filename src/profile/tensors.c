/* Tensors to call a package with. */
#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/rng.h"
#include "profile/profile.h"

#define ALIGNMENT 64

bool tensor_make(struct arena *arena, const struct graph *graph, value_id value,
                 const int64_t *dims, DLTensor *out, struct error *err)
{
    const struct node *node = graph_node(graph, value);
    int64_t *shape = ARENA_ARRAY(arena, int64_t, LIMIT_RANK);
    int64_t bytes = (int64_t)dtype_bytes(node->dtype);
    for (uint32_t axis = 0; axis < node->rank; axis++)
        if (!dim_eval(&graph->dims, node->shape[axis], dims, &shape[axis]) || shape[axis] < 0 ||
            !checked_mul_i64(bytes, shape[axis], &bytes) || bytes > LIMIT_TENSOR_BYTES)
            return fail(err, ERR_LIMIT, "a tensor is larger than %lld bytes at these dims",
                        (long long)LIMIT_TENSOR_BYTES);
    *out = (DLTensor){.data = arena_alloc(arena, (size_t)bytes, ALIGNMENT),
                      .device = {.device_type = kDLCPU},
                      .ndim = (int32_t)node->rank,
                      .shape = shape};
    return true;
}

static void put_random(void *data, enum dtype dtype, int64_t index, double normal, uint32_t integer)
{
    switch (dtype) {
    case DTYPE_F64: ((double *)data)[index] = normal; break;
    case DTYPE_F32: ((float *)data)[index] = (float)normal; break;
    case DTYPE_F16: ((uint16_t *)data)[index] = f16_from_double(normal); break;
    case DTYPE_BF16: ((uint16_t *)data)[index] = bf16_from_double(normal); break;
    case DTYPE_I64: ((int64_t *)data)[index] = (int64_t)integer; break;
    case DTYPE_I32: ((int32_t *)data)[index] = (int32_t)integer; break;
    case DTYPE_I16: ((int16_t *)data)[index] = (int16_t)integer; break;
    case DTYPE_I8: ((int8_t *)data)[index] = (int8_t)integer; break;
    case DTYPE_U8: ((uint8_t *)data)[index] = (uint8_t)integer; break;
    case DTYPE_U16: ((uint16_t *)data)[index] = (uint16_t)integer; break;
    case DTYPE_U32: ((uint32_t *)data)[index] = integer; break;
    case DTYPE_U64: ((uint64_t *)data)[index] = integer; break;
    case DTYPE_BOOL: ((uint8_t *)data)[index] = (uint8_t)(integer & 1); break;
    case DTYPE_NONE:
    case DTYPE_COUNT: break;
    }
}

void tensor_random(const DLTensor *tensor, enum dtype dtype, const char *name, uint64_t seed)
{
    uint64_t key = rng_key(hash64(name, strlen(name), seed));
    int64_t count = 1;
    for (int32_t axis = 0; axis < tensor->ndim; axis++)
        count *= tensor->shape[axis];
    bool is_float = dtype_is_float(dtype);
    for (int64_t i = 0; i < count; i++)
        put_random(tensor->data, dtype, i, is_float ? rng_normal(key, (uint64_t)i) : 0,
                   rng_u32(key, (uint64_t)i) % 100);
}
