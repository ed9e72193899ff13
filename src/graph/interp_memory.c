/* Conversion between cells and native memory: load, store, compare. */
#include "graph/interp_op_priv.h"

#include <assert.h>

#include "base/checked.h"
#include "base/error.h"

bool interp_count(enum dtype dtype, const int64_t *shape, uint32_t rank, int64_t *out_count)
{
    int64_t count = 1, bytes;
    bool empty = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return false;
        empty |= shape[i] == 0;
    }
    for (uint32_t i = 0; i < rank && !empty; i++)
        if (!checked_mul_i64(count, shape[i], &count))
            return false;
    count = empty ? 0 : count;
    if (!checked_mul_i64(count, (int64_t)dtype_bytes(dtype), &bytes) || bytes > LIMIT_TENSOR_BYTES)
        return false;
    *out_count = count;
    return true;
}

/* One element in native memory. */
union element {
    double f64;
    float f32;
    uint16_t u16;
    uint32_t u32;
    int64_t i64;
    int32_t i32;
    int16_t i16;
    int8_t i8;
    uint8_t u8;
};

static union cell load_cell(enum dtype dtype, const void *data, int64_t index)
{
    union element element;
    size_t bytes = dtype_bytes(dtype);
    memcpy(&element, (const char *)data + (size_t)index * bytes, bytes);
    switch ((int)dtype) {
    case DTYPE_F64: return (union cell){.f = element.f64};
    case DTYPE_F32: return (union cell){.f = (double)element.f32};
    case DTYPE_F16: return (union cell){.f = f16_to_double(element.u16)};
    case DTYPE_BF16: return (union cell){.f = bf16_to_double(element.u16)};
    case DTYPE_I64: return (union cell){.i = element.i64};
    case DTYPE_I32: return (union cell){.i = element.i32};
    case DTYPE_I16: return (union cell){.i = element.i16};
    case DTYPE_I8: return (union cell){.i = element.i8};
    case DTYPE_U8: return (union cell){.i = element.u8};
    case DTYPE_U16: return (union cell){.i = element.u16};
    case DTYPE_U32: return (union cell){.i = element.u32};
    case DTYPE_U64: return (union cell){.i = element.i64};
    case DTYPE_BOOL: return (union cell){.i = element.u8 != 0};
    }
    assert(!"a dtype");
    return (union cell){.i = 0};
}

static union element element_of(enum dtype dtype, union cell cell)
{
    switch ((int)dtype) {
    case DTYPE_F64: return (union element){.f64 = cell.f};
    case DTYPE_F32: return (union element){.f32 = (float)cell.f};
    case DTYPE_F16: return (union element){.u16 = f16_from_double(cell.f)};
    case DTYPE_BF16: return (union element){.u16 = bf16_from_double(cell.f)};
    case DTYPE_I64: return (union element){.i64 = cell.i};
    case DTYPE_I32: return (union element){.i32 = (int32_t)cell.i};
    case DTYPE_I16: return (union element){.i16 = (int16_t)cell.i};
    case DTYPE_I8: return (union element){.i8 = (int8_t)cell.i};
    case DTYPE_U8: return (union element){.u8 = (uint8_t)cell.i};
    case DTYPE_U16: return (union element){.u16 = (uint16_t)cell.i};
    case DTYPE_U32: return (union element){.u32 = (uint32_t)cell.i};
    case DTYPE_U64: return (union element){.i64 = cell.i};
    case DTYPE_BOOL: return (union element){.u8 = cell.i != 0};
    }
    assert(!"a dtype");
    return (union element){.u8 = 0};
}

/* The bits of an exact value are known, except for a NaN: which NaN an operation returns is
 * unspecified. */
void run_bitcast(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    bool is_float = dtype_is_float(x->dtype);
    for (int64_t i = 0; i < op->out->count; i++) {
        union element element = element_of(x->dtype, x->cells[i]);
        bool known = bound_at(x, i) == 0 && !(is_float && isnan(x->cells[i].f));
        op_put_exact(op, i, load_cell(op->out->dtype, &element, 0), known ? 0 : INFINITY);
    }
}

void interp_cells(enum dtype dtype, int64_t count, const void *data, union cell *out)
{
    const float *singles = data;
    if (dtype == DTYPE_F32 && (uintptr_t)data % sizeof *singles == 0) {
        for (int64_t i = 0; i < count; i++)
            out[i].f = (double)singles[i];
        return;
    }
    for (int64_t i = 0; i < count; i++)
        out[i] = load_cell(dtype, data, i);
}

void interp_load_points(enum dtype dtype, int64_t count, const void *data, const int64_t *points,
                        union cell *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = load_cell(dtype, data, points[i]);
}

/* A tensor without elements yet. */
static bool describe(struct interp_tensor *out, const struct native_tensor *native,
                     struct error *err)
{
    struct interp_tensor tensor = {.dtype = native->dtype, .rank = native->rank};
    if (native->rank > LIMIT_RANK)
        return fail(err, ERR_LIMIT, "rank %u, at most %d", native->rank, LIMIT_RANK);
    if (!interp_count(native->dtype, native->shape, native->rank, &tensor.count))
        return fail(err, ERR_LIMIT, "a dim is negative or the tensor larger than %lld bytes",
                    (long long)LIMIT_TENSOR_BYTES);
    for (uint32_t i = 0; i < native->rank; i++)
        tensor.shape[i] = native->shape[i];
    *out = tensor;
    return true;
}

bool interp_load(struct interp_tensor *out, struct arena *arena, const struct native_tensor *native,
                 struct error *err)
{
    if (!describe(out, native, err))
        return false;
    out->cells = arena_raw_array(arena, (size_t)out->count, sizeof *out->cells);
    interp_cells(native->dtype, out->count, native->data, out->cells);
    return true;
}

/* Native memory that is converted when it is needed. */
struct borrowed {
    struct interp_lazy lazy;
    enum dtype dtype;
    const char *data;
};

static void load_borrowed(const struct interp_lazy *lazy, int64_t first, int64_t count,
                          union cell *out)
{
    const struct borrowed *from = (const struct borrowed *)(const void *)lazy;
    interp_cells(from->dtype, count, from->data + (size_t)first * dtype_bytes(from->dtype), out);
}

bool interp_borrow(struct interp_tensor *out, struct arena *arena,
                   const struct native_tensor *native, struct error *err)
{
    struct borrowed *from = ARENA_NEW(arena, struct borrowed);
    *from = (struct borrowed){{load_borrowed}, native->dtype, native->data};
    if (!describe(out, native, err))
        return false;
    out->lazy = &from->lazy;
    return true;
}

void interp_store(const struct interp_tensor *tensor, void *data)
{
    size_t bytes = dtype_bytes(tensor->dtype);
    for (int64_t i = 0; i < tensor->count; i++) {
        union element element = element_of(tensor->dtype, tensor->cells[i]);
        memcpy((char *)data + (size_t)i * bytes, &element, bytes);
    }
}

static double cell_difference(enum dtype dtype, union cell reference, union cell native)
{
    if (dtype_is_float(dtype)) {
        if (isnan(reference.f) || isnan(native.f))
            return isnan(reference.f) && isnan(native.f) ? 0 : INFINITY;
        return reference.f == native.f ? 0 : fabs(native.f - reference.f);
    }
    uint64_t a = (uint64_t)reference.i, b = (uint64_t)native.i;
    return (double)(dtype_int_less(dtype, native.i, reference.i) ? a - b : b - a);
}

#define COMPARED_AT_ONCE 256

static void compare_cells(const struct interp_tensor *reference, int64_t first, int64_t count,
                          const union cell *native, struct interp_difference *out)
{
    for (int64_t i = first; i < first + count; i++) {
        double bound = bound_at(reference, i);
        if (!(bound < INFINITY)) {
            out->undetermined++;
            continue;
        }
        double difference =
            cell_difference(reference->dtype, reference->cells[i], native[i - first]);
        double ratio = difference == 0 ? 0 : difference / bound;
        if (ratio > out->worst_ratio) {
            out->worst_ratio = ratio;
            out->worst_absolute = difference;
            out->worst_bound = bound;
            out->worst_index = i;
        }
    }
}

void interp_compare(const struct interp_tensor *reference, const void *native,
                    struct interp_difference *out)
{
    union cell cells[COMPARED_AT_ONCE];
    size_t bytes = dtype_bytes(reference->dtype);
    *out = (struct interp_difference){0};
    for (int64_t first = 0; first < reference->count; first += COMPARED_AT_ONCE) {
        int64_t left = reference->count - first;
        int64_t count = left < COMPARED_AT_ONCE ? left : COMPARED_AT_ONCE;
        interp_cells(reference->dtype, count, (const char *)native + (size_t)first * bytes, cells);
        compare_cells(reference, first, count, cells, out);
    }
}
