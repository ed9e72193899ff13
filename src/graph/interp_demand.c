/* The elements of operands that an element of a result reads: index arithmetic for each prim, and
 * the sets of indices that it gives. */
#include "graph/interp_points_priv.h"

#include <assert.h>

#include "base/arena.h"

void indices_push(struct indices *list, int64_t index)
{
    if (list->count == list->most) {
        list->over = true;
        return;
    }
    if (list->count == list->capacity) {
        int64_t capacity = list->capacity > 0 ? 2 * list->capacity : 16;
        int64_t *items = ARENA_ARRAY(list->arena, int64_t, capacity);
        if (list->count > 0)
            memcpy(items, list->items, (size_t)list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = index;
}

/* The end of the ascending run that begins at `start`. */
static int64_t run_end(const struct indices *list, int64_t start)
{
    int64_t end = start < list->count ? start + 1 : start;
    while (end < list->count && list->items[end] >= list->items[end - 1])
        end++;
    return end;
}

/* Merges two runs of `from` and appends them to `to`, each index once. */
static void merge(const struct indices *from, int64_t start, int64_t middle, int64_t end,
                  struct indices *to)
{
    int64_t first = to->count, a = start, b = middle;
    while (a < middle || b < end) {
        bool left = b == end || (a < middle && from->items[a] <= from->items[b]);
        int64_t index = left ? from->items[a++] : from->items[b++];
        if (to->count == first || to->items[to->count - 1] != index)
            to->items[to->count++] = index;
    }
}

void indices_sort(struct indices *list)
{
    struct indices other = *list;
    int64_t runs, sorted = 1;
    while (sorted < list->count && list->items[sorted - 1] < list->items[sorted])
        sorted++;
    if (sorted >= list->count)
        return;
    other.items = ARENA_ARRAY(list->arena, int64_t, list->capacity);
    do {
        runs = other.count = 0;
        for (int64_t start = 0, end; start < list->count; start = end, runs++) {
            int64_t middle = run_end(list, start);
            end = run_end(list, middle);
            merge(list, start, middle, end, &other);
        }
        struct indices merged = other;
        other = *list;
        *list = merged;
    } while (runs > 1);
}

int64_t indices_find(const struct indices *list, int64_t index, int64_t *cursor)
{
    int64_t at = *cursor, low = 0, high = list->count - 1;
    for (int64_t i = at; i < list->count && i < at + 2; i++)
        if (list->items[i] == index)
            return *cursor = i;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (list->items[middle] < index)
            low = middle + 1;
        else
            high = middle;
    }
    assert(low < list->count && list->items[low] == index);
    return *cursor = low;
}

/* Splits a flat index into the index in each dim of a shape. */
static void unravel(const struct interp_tensor *tensor, int64_t element, int64_t *out)
{
    for (uint32_t d = tensor->rank; d-- > 0; element /= tensor->shape[d])
        out[d] = element % tensor->shape[d];
}

static int64_t inner_of(const struct interp_tensor *tensor, int32_t axis)
{
    return shape_product(tensor->shape, (uint32_t)axis + 1, tensor->rank);
}

static void reads_same(const struct op *op, uint32_t operand, struct points_unit unit,
                       struct indices *out)
{
    (void)op, (void)operand;
    indices_push(out, unit.index);
}

/* Reads the only element of a 0-d operand. */
static void reads_scalar(const struct op *op, uint32_t operand, struct points_unit unit,
                         struct indices *out)
{
    (void)op, (void)operand, (void)unit;
    indices_push(out, 0);
}

static void reads_view(const struct op *op, uint32_t operand, struct points_unit unit,
                       struct indices *out)
{
    struct box box = op_view(op);
    int64_t at[LIMIT_RANK];
    (void)operand;
    unravel(op->out, unit.index, at);
    for (uint32_t d = 0; d < op->out->rank; d++)
        box.base += at[d] * box.stride[d];
    indices_push(out, box.base);
}

/* The flat index of `at`, or -1 where that is outside of the tensor. */
static int64_t element_at(const struct interp_tensor *tensor, const int64_t *at)
{
    int64_t index = 0;
    for (uint32_t d = 0; d < tensor->rank; d++) {
        if (at[d] < 0 || at[d] >= tensor->shape[d])
            return -1;
        index = index * tensor->shape[d] + at[d];
    }
    return index;
}

static void reads_pad(const struct op *op, uint32_t operand, struct points_unit unit,
                      struct indices *out)
{
    int64_t at[LIMIT_RANK];
    unravel(op->out, unit.index, at);
    for (uint32_t d = 0; d < op->out->rank; d++)
        at[d] -= op->low[d];
    int64_t index = element_at(op->in[0], at);
    if (operand == 1)
        index = index < 0 ? 0 : -1;
    indices_push(out, index);
}

static void reads_concat(const struct op *op, uint32_t operand, struct points_unit unit,
                         struct indices *out)
{
    int64_t at[LIMIT_RANK];
    unravel(op->out, unit.index, at);
    for (uint32_t i = 0; i < operand; i++)
        at[op->attrs->axis] -= op->in[i]->shape[op->attrs->axis];
    indices_push(out, element_at(op->in[operand], at));
}

int64_t points_index(const struct op *op, int64_t element)
{
    if (op->prim == PRIM_GATHER)
        return element;
    return element / inner_of(op->in[0], op->attrs->axis) % op->in[1]->count;
}

static void reads_take(const struct op *op, uint32_t operand, struct points_unit unit,
                       struct indices *out)
{
    const struct interp_tensor *data = op->in[0];
    int64_t inner = inner_of(data, op->attrs->axis), outer = unit.index / inner / op->in[1]->count;
    if (operand == 0)
        indices_push(out, (outer * data->shape[op->attrs->axis] + unit.looked_up) * inner +
                              unit.index % inner);
}

static void reads_gather(const struct op *op, uint32_t operand, struct points_unit unit,
                         struct indices *out)
{
    int64_t at[LIMIT_RANK];
    unravel(op->out, unit.index, at);
    at[op->attrs->axis] = unit.looked_up;
    if (operand == 0)
        indices_push(out, element_at(op->in[0], at));
}

static void reads_reduce(const struct op *op, uint32_t operand, struct points_unit unit,
                         struct indices *out)
{
    const struct interp_tensor *x = op->in[0];
    int64_t stride[LIMIT_RANK], at[LIMIT_RANK], base = 0;
    uint32_t next = 0, kept = 0;
    struct walk walk = {0};
    (void)operand;
    if (x->count == 0)
        return;
    row_strides(x->shape, x->rank, stride);
    unravel(op->out, unit.index, at);
    for (uint32_t d = 0; d < x->rank; d++) {
        if (next < op->attrs->axis_count && op->attrs->axes[next] == d) {
            walk_push(&walk, x->shape[d], stride[d]);
            next++;
        } else {
            base += at[kept++] * stride[d];
        }
    }
    do
        indices_push(out, base + walk.offset);
    while (!out->over && walk_next(&walk));
}

int64_t points_line(const struct op *op, int64_t element, int64_t *out_place)
{
    int64_t size = op->in[0]->shape[op->attrs->axis], inner = inner_of(op->in[0], op->attrs->axis);
    *out_place = element / inner % size;
    return element / inner / size * inner + element % inner;
}

/* Lines are numbered as the elements of an argmax or argmin along the axis are. */
static void reads_line(const struct op *op, uint32_t operand, struct points_unit unit,
                       struct indices *out)
{
    int64_t size = op->in[0]->shape[op->attrs->axis], inner = inner_of(op->in[0], op->attrs->axis);
    int64_t base = unit.index / inner * size * inner + unit.index % inner;
    (void)operand;
    for (int64_t j = 0; j < size && !out->over; j++)
        indices_push(out, base + j * inner);
}

static void push_run(struct indices *out, int64_t first, int64_t count)
{
    for (int64_t k = 0; k < count && !out->over; k++)
        indices_push(out, first + k);
}

static void reads_contract(const struct op *op, uint32_t operand, struct points_unit unit,
                           struct indices *out)
{
    const struct interp_tensor *a = op->in[0], *b = op->in[1];
    uint32_t batch = op->attrs->batch, first_a = a->rank - op->attrs->contract;
    int64_t m = shape_product(a->shape, batch, first_a);
    int64_t n = shape_product(b->shape, batch, b->rank - op->attrs->contract);
    int64_t terms = shape_product(a->shape, first_a, a->rank), matrix = unit.index / n / m;
    int64_t row = operand == 0 ? matrix * m + unit.index / n % m : matrix * n + unit.index % n;
    push_run(out, row * terms, terms);
}

/* State of walking a window's taps from dim d on: the window's first position in each dim. `at` is
 * the flat index in the operand so far; -1 on padding. Taps on padding are pushed only if `padding`
 * is set. */
struct window_reads {
    const struct window *window;
    const int64_t *shape;
    int64_t start[LIMIT_RANK], stride[LIMIT_RANK];
    uint32_t rank;
    bool padding;
};

static void reads_taps(const struct window_reads *w, uint32_t d, int64_t at, struct indices *out)
{
    if (d == w->rank) {
        indices_push(out, at);
        return;
    }
    const struct window *v = &w->window[d];
    int64_t start = w->start[d], reach = (w->shape[d] - 1) * v->base_dilation;
    int64_t first = w->padding || start >= 0 ? 0 : (-start + v->dilation - 1) / v->dilation;
    for (int64_t t = first; t < v->size && !out->over; t++) {
        int64_t position = start + t * v->dilation;
        bool found =
            at >= 0 && position >= 0 && position <= reach && position % v->base_dilation == 0;
        if (!w->padding && position > reach)
            break;
        if (found || w->padding)
            reads_taps(w, d + 1, found ? at + position / v->base_dilation * w->stride[d] : -1, out);
    }
}

/* The window at an element of the result. */
static struct window_reads window_reads(const struct op *op, int64_t element)
{
    const struct interp_tensor *x = op->in[0];
    struct window_reads w = {.window = op->attrs->window, .rank = op->attrs->window_count};
    int64_t at[LIMIT_RANK];
    uint32_t first = x->rank - w.rank;
    w.shape = x->shape + first;
    row_strides(w.shape, w.rank, w.stride);
    unravel(op->out, element, at);
    for (uint32_t d = 0; d < w.rank; d++)
        w.start[d] = at[first + d] * w.window[d].stride - w.window[d].low;
    return w;
}

static void reads_window(const struct op *op, uint32_t operand, struct points_unit unit,
                         struct indices *out)
{
    struct window_reads w = window_reads(op, unit.index);
    int64_t plane = shape_product(w.shape, 0, w.rank);
    int64_t out_plane = shape_product(op->out->shape, op->out->rank - w.rank, op->out->rank);
    (void)operand;
    reads_taps(&w, 0, unit.index / out_plane * plane, out);
}

/* Operand 0: the patch in all channels of the group. Operand 1: the filter of the result's
 * channel. */
static void reads_conv(const struct op *op, uint32_t operand, struct points_unit unit,
                       struct indices *out)
{
    const struct interp_tensor *x = op->in[0], *filters = op->in[1];
    int64_t out_plane = inner_of(op->out, 1), channel = unit.index / out_plane % op->out->shape[1];
    if (operand == 1) {
        int64_t terms = inner_of(filters, 0);
        push_run(out, channel * terms, terms);
        return;
    }
    struct window_reads w = window_reads(op, unit.index);
    int64_t image = unit.index / out_plane / op->out->shape[1], plane = inner_of(x, 1);
    int64_t channels = filters->shape[1], per_group = filters->shape[0] / op->attrs->groups;
    int64_t first = image * x->shape[1] + channel / per_group * channels;
    w.padding = true;
    for (int64_t c = 0; c < channels && !out->over; c++)
        reads_taps(&w, 0, (first + c) * plane, out);
}

/* Indexed by the rules of prims.def. */
#define ELEMENTWISE {reads_same, POINTS_ELEMENTWISE}
#define GENERATOR {NULL, POINTS_ELEMENTWISE}
#define VIEW {reads_view, POINTS_MOVE}
static const struct points_rule rule_source = {NULL, POINTS_SOURCE}, rule_const = GENERATOR,
                                rule_literal = GENERATOR, rule_iota = GENERATOR,
                                rule_size = GENERATOR,
                                rule_random = {reads_scalar, POINTS_ELEMENTWISE};
static const struct points_rule rule_unary_num = ELEMENTWISE, rule_unary_float = ELEMENTWISE,
                                rule_unary_bool = ELEMENTWISE, rule_is_nan = ELEMENTWISE,
                                rule_binary_num = ELEMENTWISE, rule_binary_float = ELEMENTWISE,
                                rule_binary_bool = ELEMENTWISE, rule_binary_int = ELEMENTWISE,
                                rule_compare = ELEMENTWISE, rule_select = ELEMENTWISE,
                                rule_cast = ELEMENTWISE, rule_bitcast = ELEMENTWISE;
static const struct points_rule rule_reduce = {reads_reduce, POINTS_LINE},
                                rule_arg_reduce = {reads_line, POINTS_LINE},
                                rule_scan = {reads_line, POINTS_LINES},
                                rule_arg_sort = {reads_line, POINTS_LINES},
                                rule_contract = {reads_contract, POINTS_PRODUCT},
                                rule_conv = {reads_conv, POINTS_PRODUCT},
                                rule_window = {reads_window, POINTS_WINDOW};
static const struct points_rule rule_reshape = {reads_same, POINTS_MOVE},
                                rule_unary_any = {reads_same, POINTS_MOVE}, rule_transpose = VIEW,
                                rule_broadcast = VIEW, rule_slice = VIEW, rule_reverse = VIEW,
                                rule_pad = {reads_pad, POINTS_MOVE},
                                rule_concat = {reads_concat, POINTS_MOVE},
                                rule_take = {reads_take, POINTS_LOOKUP},
                                rule_gather = {reads_gather, POINTS_LOOKUP},
                                rule_scatter = {NULL, POINTS_NONE};
static const struct points_rule rule_iter = {NULL, POINTS_NONE}, rule_state = {NULL, POINTS_NONE},
                                rule_loop = {NULL, POINTS_NONE};

const struct points_rule *points_rule(enum prim prim)
{
    static const struct points_rule *const rules[PRIM_COUNT] = {
#define PRIM(id, name, n, rule, attrs, ulp, doc) [PRIM_##id] = &rule_##rule,
#include "graph/prims.def"
#undef PRIM
    };
    assert(rules[prim]);
    return rules[prim];
}
