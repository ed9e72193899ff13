/* Where the temporaries of a call lie in its arena, at one size.
 *
 * Two items that live at the same time never share a byte; what lives at different times may. The
 * least that any layout needs is the bound: the most bytes that are alive in one launch. Callers
 * own all memory; nothing here allocates or locks, and results are deterministic. */
#ifndef URZA_PACKAGE_LAYOUT_H
#define URZA_PACKAGE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

struct plan;

#define LAYOUT_ALIGN 64 /* bytes */

struct layout_item {
    int64_t size_bytes;   /* ≥ 0; 0: takes no place */
    uint32_t first, last; /* it lives from the first to the last, inclusive; first > last: never */
    int64_t offset;       /* result: a multiple of LAYOUT_ALIGN; 0 for what takes no place */
    int64_t tried;        /* scratch */
};
struct layout {
    int64_t bytes; /* of the arena */
    int64_t bound; /* ≤ bytes. Sizes are rounded up to LAYOUT_ALIGN here, too */
    uint32_t at;   /* the first time at which so much is alive */
};
/* Places items. work: scratch for 2 × count pointers. False when the total does not fit in 63 bits;
 * then *out is unchanged. */
bool layout_place(struct layout_item *items, uint32_t count, struct layout_item **work,
                  struct layout *out);

/* The items of a plan's temporaries at these dims, one for each buffer; those of other kinds have
 * no size. False when a size has no value or is above LIMIT_TENSOR_BYTES, or their sum, *out_all,
 * does not fit. */
bool layout_items(const struct plan *plan, const int64_t *dims, struct layout_item *items,
                  int64_t *out_all);

/* Evaluates a size of a plan in units of `unit` bytes, and rounds it up to LAYOUT_ALIGN; false as
 * above. */
bool layout_size(const struct plan *plan, uint32_t dim, const int64_t *dims, int64_t unit,
                 int64_t *out);

#endif
