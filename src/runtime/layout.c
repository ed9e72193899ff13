/* Greedy best fit: items are placed from the largest to the smallest, each in the smallest
 * sufficient gap between placed items that live at the same time, or after them if there is none.
 * Large items decide the total, so they come first; small ones fit into gaps. Ties are broken by
 * lifetime and place in the list, so the result is deterministic. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "runtime/parts_priv.h"

static int by_size(const void *left, const void *right)
{
    const struct layout_item *a = *(struct layout_item *const *)left;
    const struct layout_item *b = *(struct layout_item *const *)right;
    if (a->size_bytes != b->size_bytes)
        return a->size_bytes < b->size_bytes ? 1 : -1;
    if (a->first != b->first)
        return a->first < b->first ? -1 : 1;
    return a < b ? -1 : a > b;
}

static bool live_together(const struct layout_item *a, const struct layout_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The offset for an item of size bytes, given the placed items that live at the same time, sorted
 * by offset. All placed items end below 2^63 after rounding, so plain arithmetic cannot overflow
 * here. */
static int64_t find_offset(const struct layout_item *item, int64_t size,
                           struct layout_item *const *placed, uint32_t count)
{
    int64_t end = 0, best = -1, best_gap = INT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        const struct layout_item *other = placed[i];
        if (!live_together(item, other))
            continue;
        int64_t gap = other->offset - end;
        if (gap >= size && gap < best_gap) {
            best = end;
            best_gap = gap;
        }
        int64_t rounded = 0;
        block_round(other->size_bytes, &rounded);
        if (other->offset + rounded > end)
            end = other->offset + rounded;
    }
    return best >= 0 ? best : end;
}

bool layout_place(struct layout_item *items, uint32_t count, struct layout_item **work,
                  int64_t *out_bytes)
{
    struct layout_item **order = work, **placed = work + count;
    uint32_t placed_count = 0;
    int64_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        order[i] = &items[i];
    if (count > 1)
        qsort(order, count, sizeof *order, by_size);
    for (uint32_t i = 0; i < count; i++) {
        struct layout_item *item = order[i];
        int64_t size, end;
        item->offset = 0;
        if (item->size_bytes == 0 || item->first > item->last)
            continue;
        if (!block_round(item->size_bytes, &size))
            return false;
        int64_t offset = find_offset(item, size, placed, placed_count);
        if (!checked_add_i64(offset, size, &end))
            return false;
        item->offset = offset;
        uint32_t at = placed_count++;
        for (; at > 0 && placed[at - 1]->offset > offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = item;
        if (end > total)
            total = end;
    }
    *out_bytes = total;
    return true;
}
