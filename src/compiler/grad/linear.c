/* Rules of products, convolutions and windows. */
#include "compiler/grad/grad_priv.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "compiler/ops/ops.h"

/* In the gradient of a convolution by its weight each place of the window has a product of its own,
 * up to so many places. Of more, or where windows do not overlap, what all places see is stored at
 * once for one product, if that takes at most so many copies of the images. Where it takes more,
 * storing costs more than all the small products, whose operands stay in a cache: so they are kept
 * up to a number at which compiling them takes too long, and then there is one for each place in
 * the first dims. */
#define MOST_PLACES 49
#define MOST_COPIES 64
#define MOST_PLACES_DENSE 1024
#define MANY 256 /* rows, and columns, of a product */

/* How many dims the batch has in merged values: where two more would be too many, it is one. */
static uint32_t kept_batch(uint32_t batch)
{
    return batch + 2 <= LIMIT_RANK ? batch : 1;
}

/* x[batch…, f…, k…] as [batch…, f, k], f of `free` dims as one and the rest as another: products
 * are scheduled best with one dim of each kind. Memory stays as it is. */
static value_id merged(struct builder *b, value_id x, uint32_t batch, uint32_t free)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *n = b_node(b, x);
    uint32_t kept = kept_batch(batch);
    dim_id shape[LIMIT_RANK];
    for (uint32_t d = 0; d < kept + 2; d++)
        shape[d] = b_dim_const(b, 1);
    for (uint32_t d = 0; d < n->rank; d++) {
        uint32_t to = d < batch ? (kept == batch ? d : 0) : d < batch + free ? kept : kept + 1;
        shape[to] = b_dim_mul(b, shape[to], n->shape[d]);
    }
    return b_reshape(b, x, shape, kept + 2);
}

/* Merged, then [batch…, k, f]. */
static value_id turned(struct builder *b, value_id x, uint32_t batch, uint32_t free)
{
    uint32_t kept = kept_batch(batch);
    x = merged(b, x, batch, free);
    return x == VALUE_NONE ? x : b_swap(b, x, kept, kept + 1);
}

/* [batch…, rows, columns] of the shape of a value. */
static value_id unmerged(struct builder *b, value_id x, const dim_id *shape, uint32_t rank)
{
    return x == VALUE_NONE ? x : b_reshape(b, x, shape, rank);
}

/* The shape of a cotangent: batch and free dims of one value, then the last dims of another. */
static uint32_t product_shape(struct builder *b, const struct grad_product *p, uint32_t first,
                              uint32_t count, dim_id out[LIMIT_RANK])
{
    const struct node *g = b_node(b, p->g), *other = b_node(b, p->other);
    uint32_t rank = 0;
    for (uint32_t d = 0; d < p->batch; d++)
        out[rank++] = g->shape[d];
    for (uint32_t d = 0; d < count; d++)
        out[rank++] = g->shape[first + d];
    for (uint32_t d = other->rank - p->contract; d < other->rank; d++)
        out[rank++] = other->shape[d];
    return rank;
}

/* a[batch, m, k] = Σ over n of g[batch, m, n] · other[batch, n, k] */
value_id grad_product_first(struct builder *b, const struct grad_product *p)
{
    if (p->g == VALUE_NONE || p->other == VALUE_NONE)
        return VALUE_NONE;
    uint32_t n = b_node(b, p->other)->rank - p->batch - p->contract;
    uint32_t m = b_node(b, p->g)->rank - p->batch - n;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = product_shape(b, p, p->batch, m, shape);
    value_id product = b_contract(b, merged(b, p->g, p->batch, m), turned(b, p->other, p->batch, n),
                                  kept_batch(p->batch), 1);
    return unmerged(b, product, shape, rank);
}

/* b[batch, n, k] = Σ over m of g[batch, m, n] · other[batch, m, k] */
value_id grad_product_second(struct builder *b, const struct grad_product *p)
{
    if (p->g == VALUE_NONE || p->other == VALUE_NONE)
        return VALUE_NONE;
    uint32_t m = b_node(b, p->other)->rank - p->batch - p->contract;
    uint32_t n = b_node(b, p->g)->rank - p->batch - m;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = product_shape(b, p, p->batch + m, n, shape);
    value_id product = b_contract(b, turned(b, p->g, p->batch, m), turned(b, p->other, p->batch, m),
                                  kept_batch(p->batch), 1);
    return unmerged(b, product, shape, rank);
}

bool grad_contract(struct grad_call *c)
{
    const struct attrs *attrs = c->node.attrs;
    struct grad_product product = {attrs->batch, attrs->contract, c->g, c->x[1]};
    if (grad_wants(c, 0) && !grad_give(c, 0, grad_product_first(c->b, &product)))
        return false;
    product.other = c->x[0];
    return !grad_wants(c, 1) || grad_give(c, 1, grad_product_second(c->b, &product));
}

value_id grad_trim(struct builder *b, value_id x, uint32_t axis, int64_t drop, dim_id count)
{
    if (x == VALUE_NONE || (drop == 0 && b_dim(b, x, axis) == count))
        return x;
    return b_slice(b, x, axis, b_dim_const(b, drop), count, 1);
}

/* The size of an axis of x once the zeros between its elements are there. */
static dim_id spread_size(struct builder *b, dim_id size, int64_t base_dilation)
{
    dim_id one = b_dim_const(b, 1), gap = b_dim_const(b, base_dilation);
    return b_dim_add(b, b_dim_mul(b, gap, b_dim_sub(b, size, one)), one);
}

/* What is left of the cotangent of x with zeros between its elements. */
static value_id without_gaps(struct builder *b, value_id spread, value_id x,
                             const struct window *windows, uint32_t count)
{
    uint32_t first = b_node(b, x)->rank - count;
    for (uint32_t i = 0; i < count && spread != VALUE_NONE; i++)
        if (windows[i].base_dilation > 1)
            spread = b_slice(b, spread, first + i, b_dim_const(b, 0), b_dim(b, x, first + i),
                             windows[i].base_dilation);
    return spread;
}

/* The transposed convolution of g. Behind the last window there may be up to stride - 1 elements of
 * x that none reaches: so many zeros are added, and what is too much is dropped. */
static value_id conv_data(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    struct window windows[LIMIT_RANK] = {0};
    uint32_t count = attrs->window_count;
    for (uint32_t i = 0; i < count; i++) {
        windows[i] = attrs->window[i];
        windows[i].high = windows[i].stride > 1 ? 1 - windows[i].stride : windows[i].high;
        windows[i].base_dilation = 1;
    }
    value_id y = op_conv_transpose(b, c->g, c->x[1], windows, count, attrs->groups);
    for (uint32_t i = 0; i < count && y != VALUE_NONE; i++)
        y = grad_trim(b, y, 2 + i, 0,
                      spread_size(b, b_dim(b, c->x[0], 2 + i), attrs->window[i].base_dilation));
    return without_gaps(b, y, c->x[0], attrs->window, count);
}

/* x as the windows see it, with zeros between and around; or filled with `fill`. */
static value_id seen(struct builder *b, value_id x, const struct window *windows, uint32_t count,
                     double fill)
{
    uint32_t first = b_node(b, x)->rank - count;
    for (uint32_t i = 0; i < count && x != VALUE_NONE; i++) {
        dim_id low[LIMIT_RANK], high[LIMIT_RANK], shape[LIMIT_RANK];
        uint32_t rank = b_node(b, x)->rank;
        int64_t gap = windows[i].base_dilation;
        dim_id size = b_dim(b, x, first + i);
        memcpy(shape, b_node(b, x)->shape, rank * sizeof *shape);
        if (gap > 1) {
            for (uint32_t d = 0; d <= rank; d++)
                low[d] = high[d] = b_dim_const(b, 0);
            high[first + i + 1] = b_dim_const(b, gap - 1);
            shape[first + i] = b_dim_mul(b, size, b_dim_const(b, gap));
            x = b_pad(b, b_unsqueeze(b, x, first + i + 1), low, high, fill);
            x = b_reshape(b, x, shape, rank);
            x = grad_trim(b, x, first + i, 0, spread_size(b, size, gap));
        }
        for (uint32_t d = 0; d < rank; d++)
            low[d] = high[d] = b_dim_const(b, 0);
        low[first + i] = b_dim_const(b, windows[i].low);
        high[first + i] = b_dim_const(b, windows[i].high);
        if (x != VALUE_NONE && (windows[i].low > 0 || windows[i].high > 0))
            x = b_pad(b, x, low, high, fill);
    }
    return x;
}

/* The places of a window, one after the other in row-major order. */
struct tap {
    const struct window *windows;
    uint32_t count;
    int64_t at[LIMIT_RANK];
};

static bool next_tap(struct tap *tap)
{
    for (uint32_t i = tap->count; i-- > 0;) {
        if (++tap->at[i] < tap->windows[i].size)
            return true;
        tap->at[i] = 0;
    }
    return false;
}

/* The last one first. */
static bool previous_tap(struct tap *tap)
{
    for (uint32_t i = tap->count; i-- > 0;) {
        if (tap->at[i]-- > 0)
            return true;
        tap->at[i] = tap->windows[i].size - 1;
    }
    return false;
}

/* What that place of each window sees, windows being along the dims from `first` on; sizes: the
 * numbers of windows. */
static value_id tap_of(struct builder *b, value_id seen, const struct tap *tap, uint32_t first,
                       const dim_id *sizes)
{
    for (uint32_t i = 0; i < tap->count && seen != VALUE_NONE; i++) {
        const struct window *w = &tap->windows[i];
        seen = b_slice(b, seen, first + i, b_dim_const(b, tap->at[i] * w->dilation), sizes[i],
                       w->stride);
    }
    return seen;
}

/* x[N, G·C, …] as [G, C, N, …] */
static value_id channels_first(struct builder *b, value_id x, int64_t groups)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *n = b_node(b, x);
    dim_id shape[LIMIT_RANK];
    uint8_t order[LIMIT_RANK] = {1, 2, 0};
    int64_t channels = 0;
    dim_is_const(&b->graph->dims, n->shape[1], &channels);
    shape[0] = n->shape[0];
    shape[1] = b_dim_const(b, groups);
    shape[2] = b_dim_const(b, channels / groups);
    for (uint32_t d = 2; d < n->rank; d++) {
        shape[d + 1] = n->shape[d];
        order[d + 1] = (uint8_t)(d + 1);
    }
    uint32_t rank = n->rank + 1;
    return b_transpose(b, b_reshape(b, x, shape, rank), order);
}

/* Joins values along a new last axis; more than a node takes at once, in steps. */
static value_id stack(struct builder *b, value_id *parts, uint32_t count, int64_t axis)
{
    while (count > 1) {
        uint32_t joined = 0;
        for (uint32_t i = 0; i < count; i += LIMIT_OPERANDS) {
            uint32_t some = count - i < LIMIT_OPERANDS ? count - i : LIMIT_OPERANDS;
            parts[joined++] = b_concat(b, parts + i, some, axis);
        }
        count = joined;
    }
    return parts[0];
}

/* A product for each place of the window, over all images and positions: [G, O, C, places]. */
static value_id weights_by_places(struct grad_call *c, value_id x, int64_t places)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    uint32_t count = attrs->window_count, taps = 0;
    struct tap tap = {attrs->window, count, {0}};
    value_id *parts = ARENA_ARRAY(c->grad->arena, value_id, (size_t)places);
    value_id g = channels_first(b, c->g, attrs->groups);
    do {
        value_id part = tap_of(b, x, &tap, 2, c->node.shape + 2);
        part = channels_first(b, part, attrs->groups);
        part = b_contract(b, g, part, 1, 1 + count); /* [G, O, C] */
        parts[taps++] = part == VALUE_NONE ? part : b_unsqueeze(b, part, 3);
    } while (parts[taps - 1] != VALUE_NONE && next_tap(&tap));
    return parts[taps - 1] == VALUE_NONE ? VALUE_NONE : stack(b, parts, taps, 3);
}

/* Axis `axis` of x as two: the number of the window, and the place in it. Where windows follow each
 * other without gap or overlap x only gets another shape. */
static value_id unfold(struct builder *b, value_id x, uint32_t axis, const struct window *w,
                       dim_id windows)
{
    const dim_id shape[] = {windows, b_dim_const(b, w->size)};
    if (x == VALUE_NONE)
        return VALUE_NONE;
    if (w->size != w->stride || w->dilation != 1) {
        value_id at = b_binary(b, PRIM_MUL, b_iota(b, DTYPE_I64, shape, 2, 0),
                               b_const(b, DTYPE_I64, (double)w->stride));
        value_id in = b_binary(b, PRIM_MUL, b_iota(b, DTYPE_I64, shape, 2, 1),
                               b_const(b, DTYPE_I64, (double)w->dilation));
        return b_take(b, x, b_add(b, at, in), axis);
    }
    x = grad_trim(b, x, axis, 0, b_dim_mul(b, shape[0], shape[1]));
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *n = b_node(b, x);
    dim_id split[LIMIT_RANK];
    uint32_t rank = 0;
    for (uint32_t d = 0; d < n->rank; d++) {
        split[rank++] = d == axis ? shape[0] : n->shape[d];
        if (d == axis)
            split[rank++] = shape[1];
    }
    return b_reshape(b, x, split, rank);
}

/* x[N, G·C, windows…], with a dim of places behind each number of windows from dim 2 + first on, as
 * [G, C·places, N·windows]; or, of one group, as the transpose of [N·windows, C·places]. */
static value_id as_matrix(struct builder *b, value_id x, uint32_t first, int64_t groups,
                          bool by_windows)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    uint8_t order[LIMIT_RANK];
    uint32_t rank = b_node(b, x)->rank, pairs = (rank - 2 - first) / 2, at = 0;
    for (uint32_t part = 0; part < 2; part++) {
        bool windows = (part == 0) == by_windows;
        order[at++] = windows ? 0 : 1;
        for (uint32_t i = 0; i < first && windows; i++)
            order[at++] = (uint8_t)(2 + i);
        for (uint32_t i = 0; i < pairs; i++)
            order[at++] = (uint8_t)(2 + first + 2 * i + !windows);
    }
    x = b_transpose(b, x, order);
    if (x == VALUE_NONE)
        return VALUE_NONE;
    if (by_windows) {
        x = merged(b, x, 0, 1 + first + pairs);
        return x == VALUE_NONE ? x : b_swap(b, x, 0, 1);
    }
    const struct node *n = b_node(b, x);
    int64_t channels = 0;
    dim_is_const(&b->graph->dims, n->shape[0], &channels);
    dim_id shape[] = {b_dim_const(b, groups), b_dim_const(b, channels / groups), b_dim_const(b, 1)};
    for (uint32_t d = 1; d < rank; d++)
        shape[d <= pairs ? 1 : 2] = b_dim_mul(b, shape[d <= pairs ? 1 : 2], n->shape[d]);
    return b_reshape(b, x, shape, 3);
}

/* Whether both matrices are stored window by window: products of many rows and columns are fastest
 * so. */
static bool is_by_windows(const struct grad_call *c, int64_t places)
{
    const struct node *w = b_node(c->b, c->x[1]);
    int64_t rows = 0, channels = 0;
    return c->node.attrs->groups == 1 && dim_is_const(&c->b->graph->dims, w->shape[0], &rows) &&
           dim_is_const(&c->b->graph->dims, w->shape[1], &channels) && rows >= MANY &&
           channels >= (MANY + places - 1) / places;
}

/* A product for each place in the dims of the window before `first`, with all places in the other
 * dims as columns: [G·O, C, places of the first dims, places of the others]. */
static value_id weights_by_matrices(struct grad_call *c, value_id x, uint32_t first, int64_t places)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    const struct node *w = b_node(b, c->x[1]);
    uint32_t count = attrs->window_count, taps = 0;
    struct tap tap = {attrs->window, first, {0}};
    int64_t others = 1;
    for (uint32_t i = first; i < count; i++)
        others *= attrs->window[i].size;
    bool by_windows = is_by_windows(c, others);
    const dim_id shape[] = {w->shape[0], w->shape[1], b_dim_const(b, 1), b_dim_const(b, others)};
    value_id *parts = ARENA_ARRAY(c->grad->arena, value_id, (size_t)(places / others));
    value_id g = as_matrix(b, c->g, count, attrs->groups, by_windows), part;
    if (x != c->x[0]) /* stored, so that nobody asks for its borders at each place */
        x = b_unary(b, PRIM_COPY, x);
    for (uint32_t i = count; i-- > first;)
        x = unfold(b, x, 2 + i, &attrs->window[i], c->node.shape[2 + i]);
    do {
        part = tap_of(b, x, &tap, 2, c->node.shape + 2);
        part = as_matrix(b, part, first, attrs->groups, by_windows);
        part = b_contract(b, g, part, !by_windows, 1);
        part = part == VALUE_NONE ? part : b_reshape(b, part, shape, 4);
        parts[taps++] = part;
    } while (part != VALUE_NONE && next_tap(&tap));
    return part == VALUE_NONE ? part : stack(b, parts, taps, 2);
}

/* The first dim from which on all places of windows are stored at once. */
static uint32_t first_unfolded(const struct attrs *attrs)
{
    int64_t copies = 1; /* of an element of x, about */
    uint32_t first = attrs->window_count;
    while (first > 0) {
        const struct window *w = &attrs->window[first - 1];
        copies *= (w->size - 1) / w->stride + 1;
        if (copies > MOST_COPIES)
            break;
        first--;
    }
    return first;
}

static bool no_overlap(const struct attrs *attrs)
{
    bool none = true;
    for (uint32_t i = 0; i < attrs->window_count; i++)
        none &= attrs->window[i].size == attrs->window[i].stride && attrs->window[i].dilation == 1;
    return none;
}

static value_id conv_weights(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    uint32_t count = attrs->window_count, first = first_unfolded(attrs);
    int64_t places = 1, products = 1;
    for (uint32_t i = 0; i < count; i++) {
        places *= attrs->window[i].size; /* at most the elements of a weight */
        products *= i < first ? attrs->window[i].size : 1;
    }
    bool each = places == 1 ||
                (places <= (first > 0 ? MOST_PLACES_DENSE : MOST_PLACES) && !no_overlap(attrs));
    if ((each ? places : products) > LIMIT_NODES / 8)
        return b_fail(b, ERR_LIMIT, "the gradient of a window of %lld places", (long long)places);
    value_id x = seen(b, c->x[0], attrs->window, count, 0);
    value_id y = each ? weights_by_places(c, x, places) : weights_by_matrices(c, x, first, places);
    const struct node *w = b_node(b, c->x[1]);
    return y == VALUE_NONE ? y : b_reshape(b, y, w->shape, w->rank);
}

/* Whether the gradient by x is one product and another order of its results: each element of x is
 * in one window at most, and nothing is around or between elements. */
static bool is_reordered(const struct grad_call *c)
{
    const struct attrs *attrs = c->node.attrs;
    int64_t places = 1;
    for (uint32_t i = 0; i < attrs->window_count; i++) {
        const struct window *w = &attrs->window[i];
        places *= w->size;
        if (w->low != 0 || w->high != 0 || w->base_dilation != 1)
            return false;
    }
    return places > 1 && attrs->groups == 1 && no_overlap(attrs);
}

/* [N·windows, O] · [O, C·places], whose results go to their places. */
static value_id data_by_product(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct node *x = b_node(b, c->x[0]), *w = b_node(b, c->x[1]), *g = b_node(b, c->g);
    uint32_t count = c->node.attrs->window_count, rank = x->rank;
    dim_id shape[LIMIT_RANK] = {g->shape[0]}, joined[LIMIT_RANK] = {x->shape[0], x->shape[1]};
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    uint8_t order[LIMIT_RANK] = {0, (uint8_t)(1 + count)};
    bool rest = false;
    shape[1 + count] = w->shape[1];
    low[0] = high[0] = low[1] = high[1] = b_dim_const(b, 0);
    for (uint32_t i = 0; i < count; i++) {
        shape[1 + i] = g->shape[2 + i];
        shape[2 + count + i] = w->shape[2 + i];
        order[2 + 2 * i] = (uint8_t)(1 + i);
        order[3 + 2 * i] = (uint8_t)(2 + count + i);
        joined[2 + i] = b_dim_mul(b, g->shape[2 + i], w->shape[2 + i]);
        low[2 + i] = b_dim_const(b, 0);
        high[2 + i] = b_dim_sub(b, x->shape[2 + i], joined[2 + i]);
        rest |= joined[2 + i] != x->shape[2 + i];
    }
    value_id rows = as_matrix(b, c->g, count, 1, true); /* [O, N·windows] */
    value_id columns = merged(b, c->x[1], 0, 1);        /* [O, C·places] */
    if (rows == VALUE_NONE || columns == VALUE_NONE)
        return VALUE_NONE;
    value_id y = b_contract(b, b_swap(b, rows, 0, 1), b_swap(b, columns, 0, 1), 0, 1);
    y = y == VALUE_NONE ? y : b_reshape(b, y, shape, 2 + 2 * count);
    y = y == VALUE_NONE ? y : b_reshape(b, b_transpose(b, y, order), joined, rank);
    return rest && y != VALUE_NONE ? b_pad(b, y, low, high, 0) : y;
}

bool grad_conv(struct grad_call *c)
{
    return (!grad_wants(c, 0) ||
            grad_give(c, 0, is_reordered(c) ? data_by_product(c) : conv_data(c))) &&
           (!grad_wants(c, 1) || grad_give(c, 1, conv_weights(c)));
}

/* Sums of windows over the cotangent, spread by the stride: element i of x is in the windows that
 * begin up to a window's reach before it. */
bool grad_window_sum(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    uint32_t count = attrs->window_count, first = c->node.rank - count;
    struct window windows[LIMIT_RANK] = {0};
    int64_t drop[LIMIT_RANK] = {0};
    for (uint32_t i = 0; i < count; i++) {
        const struct window *w = &attrs->window[i];
        int64_t reach = w->dilation * (w->size - 1);
        int64_t low = reach - w->low, high = reach - w->high + w->stride - 1;
        windows[i] = (struct window){w->size,     1,        low > 0 ? low : 0, high > 0 ? high : 0,
                                     w->dilation, w->stride};
        drop[i] = low < 0 ? -low : 0;
    }
    value_id y = b_window(b, PRIM_WINDOW_SUM, c->g, windows, count);
    for (uint32_t i = 0; i < count && y != VALUE_NONE; i++)
        y = grad_trim(b, y, first + i, drop[i],
                      spread_size(b, b_dim(b, c->x[0], first + i), attrs->window[i].base_dilation));
    return grad_give(c, 0, without_gaps(b, y, c->x[0], attrs->window, count));
}

/* The flat index within the last dims of x of the first element of each window that is equal to its
 * maximum; -1 where none is, as with NaN. */
static value_id places_of_maximum(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    uint32_t count = attrs->window_count, rank = c->node.rank, first = rank - count;
    const struct node *node = b_node(b, c->x[0]);
    dim_id tail[LIMIT_RANK], flat = b_dim_const(b, 1);
    for (uint32_t i = 0; i < count; i++) {
        tail[i] = node->shape[first + i];
        flat = b_dim_mul(b, flat, tail[i]);
    }
    /* What is between and around is NaN, which is equal to nothing. */
    value_id x = seen(b, c->x[0], attrs->window, count, (double)NAN);
    value_id index = b_reshape(b, b_iota(b, DTYPE_I64, &flat, 1, 0), tail, count);
    if (x == VALUE_NONE || index == VALUE_NONE)
        return VALUE_NONE;
    index = seen(b, index, attrs->window, count, -1);
    /* The last place first, so that the first one stays. */
    struct tap tap = {attrs->window, count, {0}};
    value_id place = b_const(b, DTYPE_I64, -1);
    for (uint32_t i = 0; i < count; i++)
        tap.at[i] = attrs->window[i].size - 1;
    do {
        value_id equal =
            b_binary(b, PRIM_EQ, tap_of(b, x, &tap, first, c->node.shape + first), c->y);
        place = b_select(b, equal, tap_of(b, index, &tap, 0, c->node.shape + first), place);
    } while (place != VALUE_NONE && previous_tap(&tap));
    return place;
}

bool grad_window_max(struct grad_call *c)
{
    struct builder *b = c->b;
    uint32_t count = c->node.attrs->window_count, first = c->node.rank - count;
    value_id operands[] = {c->x[0], places_of_maximum(c), c->g};
    for (uint32_t i = 0; i < 3; i++)
        if (operands[i] == VALUE_NONE ||
            (operands[i] = b_flatten(b, operands[i], first, c->node.rank - 1)) == VALUE_NONE)
            return false;
    value_id sum = grad_scatter_add(b, operands[0], operands[1], operands[2], first);
    const struct node *x = b_node(b, c->x[0]);
    return grad_give(c, 0, sum == VALUE_NONE ? sum : b_reshape(b, sum, x->shape, x->rank));
}
