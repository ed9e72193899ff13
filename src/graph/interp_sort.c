/* argmax, argmin and argsort: results that are indices.
 *
 * An index is determined if no error can make another element take its place. Exact ties are
 * determined: the first element wins. */
#include "graph/interp_priv.h"
#include "graph/interp_op_priv.h"

/* A line of elements along an axis. */
struct line {
    const struct interp_tensor *x;
    int64_t base, stride, size;
    bool is_float, down; /* down: the order is reversed */
};

static int64_t line_at(const struct line *line, int64_t j)
{
    return line->base + j * line->stride;
}

/* The sort key of an element, as an interval: larger keys come later, and NaN is the largest. */
static struct approx line_key(const struct line *line, int64_t j)
{
    int64_t at = line_at(line, j);
    const union cell *cell = &line->x->cells[at];
    double value = !line->is_float  ? dtype_int_value(line->x->dtype, cell->i)
                   : isnan(cell->f) ? INFINITY
                                    : cell->f;
    double error = bound_at(line->x, at);
    if (!(error < INFINITY))
        value = 0; /* the interval is all numbers, so its centre does not matter */
    return (struct approx){line->down ? -value : value, error};
}

/* Whether element i is ordered before element j, not counting their places in the line. */
static bool line_before(const struct line *line, int64_t i, int64_t j)
{
    union cell a = line->x->cells[line_at(line, line->down ? j : i)];
    union cell b = line->x->cells[line_at(line, line->down ? i : j)];
    if (!line->is_float)
        return dtype_int_less(line->x->dtype, a.i, b.i);
    return isnan(b.f) ? !isnan(a.f) : a.f < b.f;
}

/* Whether no element's error lets it take the place of element j, the first one. */
static bool first_is_determined(const struct line *line, int64_t j)
{
    struct approx first = line_key(line, j);
    bool nan = line->is_float && isnan(line->x->cells[line_at(line, j)].f);
    for (int64_t i = 0; i < line->size; i++) {
        struct approx other = line_key(line, i);
        double error = first.error + other.error;
        if (!(error < INFINITY))
            return false;
        if (i != j && error > 0 && !nan && other.value - other.error <= first.value + first.error)
            return false;
    }
    return true;
}

/* The first element in the order (which `down` reverses); a NaN is first in both directions. */
static int64_t first_of(const struct line *line)
{
    int64_t best = 0;
    for (int64_t j = 0; j < line->size; j++) {
        if (line->is_float && isnan(line->x->cells[line_at(line, j)].f))
            return j;
        if (line_before(line, j, best))
            best = j;
    }
    return best;
}

void run_arg_reduce(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    uint32_t axis = (uint32_t)op->attrs->axis;
    int64_t inner = shape_product(x->shape, axis + 1, x->rank);
    struct line line = {.x = x, .stride = inner, .size = x->shape[axis]};
    line.is_float = dtype_is_float(x->dtype);
    line.down = op->prim == PRIM_ARGMAX;
    for (int64_t i = 0; i < op->out->count; i++) {
        line.base = i / inner * line.size * inner + i % inner;
        int64_t r = line.size > 0 ? first_of(&line) : 0;
        bool determined = !x->bounds || line.size == 0 || first_is_determined(&line, r);
        op_put_exact(op, i, (union cell){.i = r}, determined ? 0 : INFINITY);
    }
}

/* Stable merge sort, bottom up; the result is in `order`. */
static void sort_line(const struct line *line, int64_t *order, int64_t *scratch)
{
    int64_t size = line->size, *from = order, *to = scratch;
    for (int64_t j = 0; j < size; j++)
        order[j] = j;
    for (int64_t run = 1; run < size; run *= 2) {
        for (int64_t low = 0; low < size; low += 2 * run) {
            int64_t middle = low + run < size ? low + run : size;
            int64_t high = middle + run < size ? middle + run : size;
            int64_t i = low, j = middle;
            for (int64_t k = low; k < high; k++) {
                bool right = i == middle || (j < high && line_before(line, from[j], from[i]));
                to[k] = right ? from[j++] : from[i++];
            }
        }
        int64_t *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != order)
        memcpy(order, from, (size_t)size * sizeof *order);
}

/* Fills errors, one for each place of the sorted line: a place is not determined if an earlier
 * element may move behind it or a later one before it. There is one pass for each direction. It
 * compares with the largest key + error so far: over all elements for an inexact element, but only
 * over inexact ones for an exact element, since exact elements keep their order. */
static void sort_errors(const struct line *line, const int64_t *order, double *errors)
{
    for (int64_t p = 0; p < line->size; p++)
        errors[p] = 0;
    for (int pass = 0; pass < 2; pass++) {
        double all = -INFINITY, inexact = -INFINITY;
        for (int64_t k = 0; k < line->size; k++) {
            int64_t p = pass == 0 ? k : line->size - 1 - k;
            struct approx key = line_key(line, order[p]);
            double value = pass == 0 ? key.value : -key.value;
            double reach = key.error > 0 ? all : inexact;
            if (k > 0 && reach >= value - key.error && reach > -INFINITY)
                errors[p] = INFINITY;
            all = fmax(all, value + key.error);
            if (key.error > 0)
                inexact = fmax(inexact, value + key.error);
        }
    }
}

void run_arg_sort(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    uint32_t axis = (uint32_t)op->attrs->axis;
    int64_t inner = shape_product(x->shape, axis + 1, x->rank);
    int64_t outer = shape_product(x->shape, 0, axis);
    struct line line = {
        .x = x, .stride = inner, .size = x->shape[axis], .down = op->attrs->reverse};
    line.is_float = dtype_is_float(x->dtype);
    int64_t *order = ARENA_ARRAY(op->arena, int64_t, line.size);
    int64_t *scratch = ARENA_ARRAY(op->arena, int64_t, line.size);
    double *errors = ARENA_ARRAY(op->arena, double, line.size);
    for (int64_t i = 0; i < outer * inner; i++) {
        line.base = i / inner * line.size * inner + i % inner;
        sort_line(&line, order, scratch);
        if (op->out->bounds)
            sort_errors(&line, order, errors);
        for (int64_t p = 0; p < line.size; p++)
            op_put_exact(op, line_at(&line, p), (union cell){.i = order[p]}, errors[p]);
    }
}
