/* Prims that move elements, with their errors: copies of strided boxes, and moves at computed
 * indices. */
#include "graph/interp_op_priv.h"

#define TILE 16 /* two cache lines of cells */

static void move_element(const struct op *op, int64_t to, const struct interp_tensor *from,
                         int64_t at)
{
    op_put_exact(op, to, from->cells[at], bound_at(from, at));
}

/* Copies cells of any dtype, as doubles, or bounds. */
static void copy_run(double *to, int64_t to_stride, const double *from, int64_t from_stride,
                     int64_t size)
{
    if (to_stride == 1 && from_stride == 1) {
        memcpy(to, from, (size_t)size * sizeof *to);
        return;
    }
    for (int64_t i = 0; i < size; i++)
        memcpy(to + i * to_stride, from + i * from_stride, sizeof *to);
}

/* Two dims of a copy: their sizes, and their strides in the result and in the operand. */
struct plane {
    int64_t size[2], to[2], from[2];
};

/* Copies a plane tile by tile: in a transposition one of the sides jumps, and a cache line of it is
 * used whole only while it is in the cache. */
static void copy_plane(double *to, const double *from, const struct plane *p)
{
    int64_t most = p->size[0] > 1 ? TILE : p->size[1];
    for (int64_t a = 0; a < p->size[0]; a += TILE) {
        int64_t rows = p->size[0] - a < TILE ? p->size[0] - a : TILE;
        for (int64_t b = 0; b < p->size[1]; b += most) {
            int64_t left = p->size[1] - b, columns = left < most ? left : most;
            for (int64_t i = a; i < a + rows; i++)
                copy_run(to + i * p->to[0] + b * p->to[1], p->to[1],
                         from + i * p->from[0] + b * p->from[1], p->from[1], columns);
        }
    }
}

static void zero_plane(double *to, const struct plane *p)
{
    for (int64_t i = 0; i < p->size[0]; i++)
        for (int64_t j = 0; j < p->size[1]; j++)
            to[i * p->to[0] + j * p->to[1]] = 0;
}

/* The dim that is copied together with the last one: where the operand's elements are in order, if
 * those of the last dim are not. */
static uint32_t dim_beside(const struct box *at, const int64_t *shape, uint32_t rank)
{
    uint32_t last = rank - 1, best = last;
    for (uint32_t d = 0; d < last && at->stride[last] != 1; d++)
        if (shape[d] > 1 && at->stride[d] == 1)
            best = d;
    return best;
}

/* Copies a box of `from` into a box of the result. */
static void copy_box(const struct op *op, const struct box *to, const struct interp_tensor *from,
                     const struct box *at, const int64_t *shape, uint32_t rank)
{
    struct walk writes = {0}, reads = {0};
    struct plane plane = {{1, 1}, {0, 0}, {0, 0}};
    uint32_t last = rank - 1, beside = rank > 0 ? dim_beside(at, shape, rank) : 0;
    if (shape_product(shape, 0, rank) == 0)
        return;
    if (rank > 0)
        plane = (struct plane){{beside < last ? shape[beside] : 1, shape[last]},
                               {to->stride[beside], to->stride[last]},
                               {at->stride[beside], at->stride[last]}};
    for (uint32_t d = 0; rank > 0 && d < last; d++) {
        if (d == beside)
            continue;
        walk_push(&writes, shape[d], to->stride[d]);
        walk_push(&reads, shape[d], at->stride[d]);
    }
    do {
        int64_t write = to->base + writes.offset, read = at->base + reads.offset;
        double *bounds = op->out->bounds ? op->out->bounds + write : NULL;
        copy_plane(&op->out->cells[write].f, &from->cells[read].f, &plane);
        if (bounds && from->bounds)
            copy_plane(bounds, from->bounds + read, &plane);
        else if (bounds)
            zero_plane(bounds, &plane);
        walk_next(&reads);
    } while (walk_next(&writes));
}

/* The driver reuses the operand's memory where it can, and then this is not called. */
void run_reshape(const struct op *op)
{
    if (op->out->count == 0)
        return;
    copy_run(&op->out->cells->f, 1, &op->in[0]->cells->f, 1, op->out->count);
    if (op->out->bounds)
        copy_run(op->out->bounds, 1, op->in[0]->bounds, 1, op->out->count);
}

struct box op_view(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    const struct attrs *attrs = op->attrs;
    int64_t stride[LIMIT_RANK];
    struct box from = {0};
    row_strides(x->shape, x->rank, stride);
    if (op->prim == PRIM_REVERSE)
        memcpy(from.stride, stride, sizeof stride);
    for (uint32_t i = 0; i < x->rank; i++) {
        if (op->prim == PRIM_TRANSPOSE)
            from.stride[i] = stride[attrs->axes[i]];
        else if (op->prim == PRIM_BROADCAST && x->shape[i] != 1)
            from.stride[attrs->axes[i]] = stride[i];
        else if (op->prim == PRIM_SLICE)
            from.base += op->start[i] * stride[i], from.stride[i] = attrs->step[i] * stride[i];
    }
    for (uint32_t i = 0; op->prim == PRIM_REVERSE && i < attrs->axis_count; i++) {
        uint32_t axis = attrs->axes[i];
        from.base += (x->shape[axis] - 1) * stride[axis];
        from.stride[axis] = -stride[axis];
    }
    return from;
}

void run_strided_view(const struct op *op)
{
    struct box from = op_view(op), to = {0};
    row_strides(op->out->shape, op->out->rank, to.stride);
    copy_box(op, &to, op->in[0], &from, op->out->shape, op->out->rank);
}

/* Copies all of `from` into the result, its first element at `start`. */
static void place(const struct op *op, const struct interp_tensor *from, const int64_t *start)
{
    struct box to = {0}, all = {0};
    row_strides(op->out->shape, from->rank, to.stride);
    row_strides(from->shape, from->rank, all.stride);
    for (uint32_t d = 0; d < from->rank; d++)
        to.base += start[d] * to.stride[d];
    copy_box(op, &to, from, &all, from->shape, from->rank);
}

void run_pad(const struct op *op)
{
    for (int64_t i = 0; i < op->out->count; i++)
        move_element(op, i, op->in[1], 0);
    place(op, op->in[0], op->low);
}

void run_concat(const struct op *op)
{
    int64_t start[LIMIT_RANK] = {0};
    for (uint32_t i = 0; i < op->in_count; i++) {
        place(op, op->in[i], start);
        start[op->attrs->axis] += op->in[i]->shape[op->attrs->axis];
    }
}

/* An element is not determined if its index has an error. */
static void move_indexed(const struct op *op, int64_t to, const struct interp_tensor *from,
                         int64_t at, double index_error)
{
    op_put_exact(op, to, from->cells[at], index_error > 0 ? INFINITY : bound_at(from, at));
}

void run_take(const struct op *op)
{
    const struct interp_tensor *data = op->in[0], *index = op->in[1];
    uint32_t axis = (uint32_t)op->attrs->axis;
    int64_t outer = shape_product(data->shape, 0, axis), size = data->shape[axis];
    int64_t inner = shape_product(data->shape, axis + 1, data->rank), to = 0;
    if (op->out->count == 0)
        return;
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t j = 0; j < index->count; j++) {
            int64_t at = (o * size + clamp_index(index->cells[j].i, size)) * inner;
            memcpy(op->out->cells + to, data->cells + at, (size_t)inner * sizeof *data->cells);
            for (int64_t i = 0; op->out->bounds && i < inner; i++)
                op->out->bounds[to + i] =
                    bound_at(index, j) > 0 ? INFINITY : bound_at(data, at + i);
            to += inner;
        }
    }
}

/* Walks the elements of an index tensor; the offsets are those of the first element of each line of
 * `over` along the axis. */
static struct walk index_walk(const struct interp_tensor *index, const struct interp_tensor *over,
                              uint32_t axis, int64_t *out_stride)
{
    struct walk walk = {0};
    int64_t stride[LIMIT_RANK];
    row_strides(over->shape, over->rank, stride);
    for (uint32_t d = 0; d < index->rank; d++)
        walk_push(&walk, index->shape[d], d == axis ? 0 : stride[d]);
    *out_stride = stride[axis];
    return walk;
}

void run_gather(const struct op *op)
{
    const struct interp_tensor *data = op->in[0], *index = op->in[1];
    uint32_t axis = (uint32_t)op->attrs->axis;
    int64_t stride;
    struct walk walk = index_walk(index, data, axis, &stride);
    for (int64_t i = 0; i < index->count; i++) {
        int64_t at = walk.offset + clamp_index(index->cells[i].i, data->shape[axis]) * stride;
        move_indexed(op, i, data, at, bound_at(index, i));
        walk_next(&walk);
    }
}

/* Applies one update. A sum is rounded after each. */
static void scatter_float(const struct op *op, int64_t to, struct approx update)
{
    struct approx old = approx_at(op->out, to), new = update;
    switch ((enum scatter_mode)op->attrs->mode) {
    case SCATTER_SET: break;
    case SCATTER_ADD: new = approx_add(old, update); break;
    case SCATTER_MAX: new = approx_max(old, update); break;
    case SCATTER_MIN: new = approx_min(old, update); break;
    }
    if (op->attrs->mode == SCATTER_ADD)
        op_put(op, to, new);
    else
        op_put_exact(op, to, (union cell){.f = new.value}, new.error);
}

static void scatter_int(const struct op *op, int64_t to, int64_t update, double update_error)
{
    int64_t old = op->out->cells[to].i, new = update;
    double error = update_error, old_error = bound_at(op->out, to);
    switch ((enum scatter_mode)op->attrs->mode) {
    case SCATTER_SET: break;
    case SCATTER_ADD:
        new = dtype_wrap(op->out->dtype, (int64_t)((uint64_t)old + (uint64_t)update));
        error = old_error > 0 || update_error > 0 ? INFINITY : 0;
        break;
    case SCATTER_MAX:
        new = dtype_int_less(op->out->dtype, old, update) ? update : old;
        error = fmax(error, old_error);
        break;
    case SCATTER_MIN:
        new = dtype_int_less(op->out->dtype, update, old) ? update : old;
        error = fmax(error, old_error);
        break;
    }
    op_put_exact(op, to, (union cell){.i = new}, error);
}

/* An index with an error may write any element of its line. */
static void scatter_unknown(const struct op *op, int64_t base, int64_t stride, int64_t size)
{
    for (int64_t j = 0; j < size; j++)
        op->out->bounds[base + j * stride] = INFINITY;
}

void run_scatter(const struct op *op)
{
    const struct interp_tensor *index = op->in[1], *updates = op->in[2];
    struct interp_tensor *out = op->out;
    uint32_t axis = (uint32_t)op->attrs->axis;
    bool is_float = dtype_is_float(out->dtype);
    int64_t stride, size = out->shape[axis];
    struct walk walk = index_walk(index, out, axis, &stride);
    for (int64_t i = 0; i < out->count; i++)
        move_element(op, i, op->in[0], i);
    for (int64_t i = 0; i < index->count; i++) {
        int64_t j = index->cells[i].i;
        bool inside = j >= 0 && j < size;
        int64_t to = walk.offset + (inside ? j * stride : 0);
        if (inside && is_float)
            scatter_float(op, to, approx_at(updates, i));
        else if (inside)
            scatter_int(op, to, updates->cells[i].i, bound_at(updates, i));
        walk_next(&walk);
    }
    /* After all updates, so that no later update of the line replaces the bound. */
    for (int64_t i = 0; index->bounds && i < index->count; i++) {
        if (bound_at(index, i) > 0)
            scatter_unknown(op, walk.offset, stride, size);
        walk_next(&walk);
    }
}
