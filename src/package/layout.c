/* Greedy best fit, in several orders, of which the best counts.
 *
 * In one order, each item is placed in the smallest sufficient gap between placed items that live
 * at the same time, or after them if there is none. Large items decide the total, so the order by
 * size is mostly the best; but what is saved from a forward pass for the backward one is large and
 * long, and may have to come before what is larger and short. No order is the best of all plans
 * (the problem is NP-hard), so a few are tried, until one reaches the bound, which nothing can
 * beat. Most are another one in which the item that ended at the top came too late: it moves half
 * of the way to the front. An order takes n² steps, and these are counted, so layouts of very many
 * items get the first order alone.
 *
 * Ties are broken by lifetime and place in the list, so the result is deterministic. */
#include "package/layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/limits.h"
#include "package/plan.h"

#define STEPS_MOST ((uint64_t)1 << 22) /* behind these no other order is tried: some 10 ms */

static int64_t rounded(const struct layout_item *item)
{
    return (item->size_bytes + LAYOUT_ALIGN - 1) & -(int64_t)LAYOUT_ALIGN;
}

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_place(const struct layout_item *a, const struct layout_item *b)
{
    int order = compare(a->first, b->first);
    return order != 0 ? order : (a > b) - (a < b);
}

static int64_t life(const struct layout_item *item)
{
    return (int64_t)item->last - item->first + 1;
}

static int by_size(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    int order = compare(b->size_bytes, a->size_bytes);
    return order != 0 ? order : by_place(a, b);
}

/* Bytes times launches; doubles, because the product of two large numbers may not fit, and near
 * ones may be taken for equal. */
static int by_area(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    double x = (double)a->size_bytes * (double)life(a), y = (double)b->size_bytes * (double)life(b);
    return x != y ? (x < y ? 1 : -1) : by_place(a, b);
}

static int by_life(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    int order = compare(life(b), life(a));
    return order != 0 ? order : by_size(left, right);
}

static int by_first(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    int order = compare(a->first, b->first);
    return order != 0 ? order : by_size(left, right);
}

/* From the last to die to the first: a layout from the end of the call to its beginning. */
static int by_last(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    int order = compare(b->last, a->last);
    return order != 0 ? order : by_size(left, right);
}

static int by_end(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    int order = compare(a->last, b->last);
    return order != 0 ? order : (a > b) - (a < b);
}

typedef int order_fn(const void *, const void *);
/* The orders to begin with, and how often an item moves. */
static const struct {
    order_fn *by;
    uint32_t moves;
} orders[] = {{by_size, 0},  {by_area, 0},   {by_life, 32},
              {by_last, 32}, {by_first, 32}, {by_area, 16}};
#define ORDERS (sizeof orders / sizeof *orders)

static bool live_together(const struct layout_item *a, const struct layout_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The place for an item, given the placed items that live at the same time, sorted by place. The
 * sum of all items is below 2^63, so plain arithmetic cannot overflow here. */
static int64_t find_place(const struct layout_item *item, int64_t size,
                          struct layout_item *const *placed, uint32_t count)
{
    int64_t end = 0, best = -1, best_gap = INT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct layout_item *other = placed[i];
        if (!live_together(item, other))
            continue;
        int64_t gap = other->tried - end;
        if (gap >= size && gap < best_gap) {
            best = end;
            best_gap = gap;
        }
        if (other->tried + rounded(other) > end)
            end = other->tried + rounded(other);
    }
    return best >= 0 ? best : end;
}

/* Places the items of `order` in that order; returns the total. *out_top: the place in the order of
 * the first item that ends there. */
static int64_t place(struct layout_item *const *order, uint32_t count, struct layout_item **placed,
                     uint32_t *out_top)
{
    int64_t total = 0;
    *out_top = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct layout_item *item = order[i];
        int64_t size = rounded(item), at = find_place(item, size, placed, i);
        item->tried = at;
        uint32_t k = i;
        for (; k > 0 && placed[k - 1]->tried > at; k--)
            placed[k] = placed[k - 1];
        placed[k] = item;
        if (at + size > total) {
            total = at + size;
            *out_top = i;
        }
    }
    return total;
}

static void move_ahead(struct layout_item **order, uint32_t from)
{
    struct layout_item *item = order[from];
    uint32_t to = from / 2;
    memmove(&order[to + 1], &order[to], (from - to) * sizeof *order);
    order[to] = item;
}

/* Walks the times at which items begin, beside those at which others have ended. */
static void find_bound(struct layout_item **order, struct layout_item **ends, uint32_t count,
                       struct layout *out)
{
    int64_t alive = 0;
    uint32_t ended = 0;
    memcpy(ends, order, count * sizeof *order);
    qsort(order, count, sizeof *order, by_first);
    qsort(ends, count, sizeof *ends, by_end);
    for (uint32_t i = 0; i < count; i++) {
        for (; ends[ended]->last < order[i]->first; ended++)
            alive -= rounded(ends[ended]);
        alive += rounded(order[i]);
        if (alive > out->bound) {
            out->bound = alive;
            out->at = order[i]->first;
        }
    }
}

/* Puts the items that take a place into `order`; false: their sum does not fit. */
static bool take_items(struct layout_item *items, uint32_t count, struct layout_item **order,
                       uint32_t *out_count)
{
    int64_t all = 0;
    *out_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        items[i].offset = 0;
        if (items[i].size_bytes == 0 || items[i].first > items[i].last)
            continue;
        if (items[i].size_bytes > INT64_MAX - LAYOUT_ALIGN ||
            !checked_add_i64(all, rounded(&items[i]), &all))
            return false;
        order[(*out_count)++] = &items[i];
    }
    return true;
}

bool layout_place(struct layout_item *items, uint32_t count, struct layout_item **work,
                  struct layout *out)
{
    struct layout_item **order = work, **placed = work + count;
    struct layout best = {0};
    uint64_t steps = 0;
    uint32_t taken;
    if (!take_items(items, count, order, &taken))
        return false;
    if (taken > 0) {
        find_bound(order, placed, taken, &best);
        best.bytes = INT64_MAX;
    }
    for (size_t i = 0; i < ORDERS && best.bytes > best.bound && steps < STEPS_MOST; i++) {
        qsort(order, taken, sizeof *order, orders[i].by);
        for (uint32_t move = 0; move <= orders[i].moves && steps < STEPS_MOST; move++) {
            uint32_t top;
            int64_t total = place(order, taken, placed, &top);
            steps += (uint64_t)taken * taken;
            if (total < best.bytes) {
                best.bytes = total;
                for (uint32_t k = 0; k < taken; k++)
                    order[k]->offset = order[k]->tried;
            }
            if (best.bytes == best.bound)
                break;
            move_ahead(order, top);
        }
    }
    *out = best;
    return true;
}

bool layout_size(const struct plan *plan, uint32_t dim, const int64_t *dims, int64_t unit,
                 int64_t *out)
{
    int64_t value;
    if (!dim_eval(plan->dims, dim, dims, &value) || value < 0 ||
        !checked_mul_i64(value, unit, &value) || value > LIMIT_TENSOR_BYTES)
        return false;
    *out = (value + LAYOUT_ALIGN - 1) & -(int64_t)LAYOUT_ALIGN;
    return true;
}

bool layout_items(const struct plan *plan, const int64_t *dims, struct layout_item *items,
                  int64_t *out_all)
{
    int64_t all = 0;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        items[i] = (struct layout_item){.first = buffer->first_launch, .last = buffer->last_launch};
        if (buffer->kind != BUFFER_TEMP || buffer->first_launch > buffer->last_launch ||
            buffer->displaced)
            continue;
        if (!layout_size(plan, buffer->elements, dims,
                         (int64_t)dtype_bytes((enum dtype)buffer->dtype), &items[i].size_bytes) ||
            !checked_add_i64(all, items[i].size_bytes, &all))
            return false;
    }
    *out_all = all;
    return true;
}
