/* Products: 1x1 convolutions become products, and operands of products are packed for vectors.
 *
 * So do convolutions of patches that do not overlap, with few pixels, if the weights are inputs: a
 * product finds the better way to read these.
 *
 * A 1x1 convolution with stride 1 is a product of the weights and the pixels. The second operand of
 * a product is read in vectors along its n dim. If it is a parameter it gets a packed copy, made
 * once after load:
 *
 *   w[N, K]
 *     ->  pad N to panels of P columns, [N/P, P, K]
 *     ->  [N/P, K, P]
 *
 * where P is two vector registers, so that a tile reads one sequence of addresses. Where few rows
 * may read a large weight of i8 or u8, what is stored are its bytes. Another operand whose n dim is
 * not the last one in memory is packed in the same way, by a kernel of its own before the product.
 * Both are ordinary views around a stored copy. So is an operand that merges dims of which one is
 * not constant and which are not neighbours in memory, as rows of attention's heads are: indices of
 * a product with a division by a named dim would cost more than the copy. With weights that are
 * inputs, and for pixels of a 1x1 convolution, so is one that merges constant dims: vectors along
 * them would be gathered element by element. So is a first operand
 * whose rows are several dims in another order than in memory, if the last of them may be short.
 *
 * The gradient of a weight, dy^T x, reduces along the first dim of both of its operands. Read where
 * they lie, each step would be on other pages than the one before. So dy is stored by rows, and x
 * in panels. */
#include "base/error.h"
#include "compiler/opt/opt_priv.h"
#include "compiler/target/target.h"
#include "graph/build.h"

struct products {
    const struct target *target;
    const bool *from_input; /* by value of the old graph: whether it depends on inputs or sizes */
};

bool unit_window(const struct node *conv, const struct node *w, const struct graph *g)
{
    for (uint32_t i = 0; i < conv->attrs->window_count; i++) {
        const struct window *k = &conv->attrs->window[i];
        int64_t size;
        if (!dim_is_const(&g->dims, w->shape[2 + i], &size) || size != 1 || k->stride != 1 ||
            k->low || k->high || k->base_dilation != 1)
            return false;
    }
    return conv->attrs->groups == 1;
}

/* y[N, O, s…] = w[O, C] · x[N, C, s…]: the weights are rows, the pixels are columns. */
static value_id conv_as_product(struct builder *b, value_id conv)
{
    const struct node *n = b_node(b, conv);
    value_id x = n->operands[0], w = n->operands[1];
    const uint8_t pixels_last[3] = {0, 2, 1}, batch_first[3] = {1, 0, 2};
    dim_id shape[LIMIT_RANK];
    uint32_t rank = n->rank;
    memcpy(shape, n->shape, sizeof(dim_id) * rank);
    x = b_transpose(b, b_flatten(b, x, 2, (int64_t)rank - 1), pixels_last); /* [N, S, C] */
    w = b_flatten(b, w, 1, (int64_t)rank - 1);                              /* [O, C] */
    value_id y = b_transpose(b, b_contract(b, w, x, 0, 1), batch_first); /* [O, N, S] -> [N, O, S]
                                                                          */
    return b_reshape(b, y, shape, rank);
}

/* The same with pixels as rows and filters as columns, from packed weights: for images whose pixels
 * do not fill vectors, if sums are so long that scattered stores of results cost little. */
static value_id conv_by_pixels(struct builder *b, value_id conv)
{
    const struct node *n = b_node(b, conv);
    value_id x = n->operands[0], w = n->operands[1];
    const uint8_t channels_last[3] = {0, 2, 1};
    uint32_t rank = n->rank;
    x = b_transpose(b, b_flatten(b, x, 2, (int64_t)rank - 1), channels_last); /* [N, S, C] */
    w = b_flatten(b, w, 1, (int64_t)rank - 1);                                /* [O, C] */
    return b_contract(b, x, w, 0, 1);                                         /* [N, S, O] */
}

/* Whether windows lie side by side over the image, as patches. */
static bool is_of_patches(const struct graph *g, const struct node *conv, const struct node *w)
{
    for (uint32_t i = 0; i < conv->attrs->window_count; i++) {
        const struct window *k = &conv->attrs->window[i];
        if (k->size != k->stride || k->dilation != 1 || k->low || k->high || k->base_dilation != 1)
            return false;
    }
    return conv->attrs->groups == 1 && dim_is_const(&g->dims, w->shape[1], NULL) &&
           2u * conv->rank - 2 <= LIMIT_RANK;
}

/* y[N, P, O] = patches of x[N, P, C·window] · w[O, C·window] */
static value_id conv_by_patches(struct builder *b, value_id conv)
{
    const struct node *n = b_node(b, conv);
    value_id x = n->operands[0], w = b_flatten(b, n->operands[1], 1, (int64_t)n->rank - 1);
    uint32_t count = n->attrs->window_count, rank = 2 + 2 * count;
    dim_id split[LIMIT_RANK] = {b_dim(b, x, 0), b_dim(b, x, 1)};
    dim_id rows[3] = {split[0], b_dim_const(b, 1), b_dim(b, w, 1)};
    uint8_t order[LIMIT_RANK] = {0};
    order[1 + count] = 1;
    for (uint32_t i = 0; i < count; i++) {
        split[2 + 2 * i] = n->shape[2 + i];
        split[3 + 2 * i] = b_dim_const(b, n->attrs->window[i].size);
        order[1 + i] = (uint8_t)(2 + 2 * i);
        order[2 + count + i] = (uint8_t)(3 + 2 * i);
        rows[1] = b_dim_mul(b, rows[1], n->shape[2 + i]);
        dim_id covered = b_dim_mul(b, split[2 + 2 * i], split[3 + 2 * i]);
        if (covered != b_dim(b, x, 2 + i))
            x = b_slice(b, x, 2 + i, b_dim_const(b, 0), covered, 1);
    }
    x = b_transpose(b, b_reshape(b, x, split, rank), order);
    return b_contract(b, b_unary(b, PRIM_COPY, b_reshape(b, x, rows, 3)), w, 0, 1);
}

#define MIN_SCATTER_DEPTH 64

static bool few_pixels(const struct graph *g, const struct node *conv, const struct node *w,
                       int64_t panel)
{
    int64_t pixels = 1, size, depth;
    for (uint32_t i = 2; i < conv->rank; i++) {
        if (!dim_is_const(&g->dims, conv->shape[i], &size) || size < 1 || pixels > 4096)
            return false;
        pixels *= size;
    }
    int64_t filled = (pixels + panel - 1) / panel * panel;
    return dim_is_const(&g->dims, w->shape[1], &depth) && depth >= MIN_SCATTER_DEPTH &&
           10 * filled > 11 * pixels;
}

static bool few_rows(const struct graph *g, const struct node *a, const struct node *contract)
{
    int64_t product = 1, n;
    for (uint32_t i = contract->attrs->batch; i + contract->attrs->contract < a->rank; i++) {
        if (!dim_is_const(&g->dims, a->shape[i], &n))
            return false;
        product *= n;
    }
    return product <= 2;
}

#define PAGE_BYTES 4096

/* Whether rows of the first operand are a multiple of a page apart: then they are in the same cache
 * sets of L1, so tiles have few rows, and twice as many columns instead. */
static bool rows_collide(const struct graph *g, const struct node *x, uint32_t depth)
{
    int64_t bytes = (int64_t)dtype_bytes((enum dtype)x->dtype), size;
    for (uint32_t i = x->rank - depth; i < x->rank; i++) {
        if (!dim_is_const(&g->dims, x->shape[i], &size))
            return false;
        bytes *= size;
    }
    return bytes > 0 && bytes % PAGE_BYTES == 0;
}

/* Rows that read each column, and columns that read each row: of fewer, copies cost more than they
 * save where operands fit in a near cache. */
#define LEAST_SHARED 256
#define LEAST_STEPS 16

/* Whether a product is one like the gradient of a weight, dy^T x: both operands lie in memory step
 * by step of the reduction, and each is read often. */
static bool along_steps(struct builder *b, value_id contract)
{
    struct graph *g = b->graph;
    const struct node *n = b_node(b, contract);
    const struct node *x = b_node(b, n->operands[0]), *y = b_node(b, n->operands[1]);
    int64_t rows, columns, steps, most;
    if (n->attrs->batch != 0 || n->attrs->contract != 1 || x->rank != 2 || y->rank != 2)
        return false;
    dim_range(&g->dims, x->shape[0], &rows, &most);
    dim_range(&g->dims, y->shape[0], &columns, &most);
    dim_range(&g->dims, x->shape[1], &most, &steps);
    return rows >= LEAST_SHARED && columns >= LEAST_SHARED && steps >= LEAST_STEPS &&
           !columns_contiguous(g, n->operands[0], 1) && columns_contiguous(g, n->operands[1], 0);
}

#define LARGE_WEIGHT (1 << 19) /* elements, from which on a copy is not soon in a cache again */
#define MANY_COLUMNS 1024      /* so many results of each element of x pay for packing x */

/* Whether packing x and storing the result once more moves fewer elements than packing w. Rows that
 * a panel has and x has not would be computed for nothing. */
static bool has_cheaper_rows(int64_t rows, int64_t columns, int64_t depth, int64_t panel)
{
    int64_t filled = (rows + panel - 1) / panel * panel;
    return filled - rows <= rows / 8 && rows * (depth + 2 * columns) < columns * depth;
}

/* Whether a product is x w^T with a w that is no parameter, so that it would be packed by each
 * call, and packing x is cheaper: w is large, and x may have few rows, or x has so few. */
static bool has_dear_weight(struct builder *b, value_id contract, int64_t panel)
{
    struct graph *g = b->graph;
    const struct node *n = b_node(b, contract);
    const struct node *x = b_node(b, n->operands[0]), *w = b_node(b, n->operands[1]);
    int64_t columns, depth, rows = 1, least, most;
    bool fixed = true;
    if (n->attrs->batch != 0 || n->attrs->contract != 1 || w->rank != 2 || x->rank < 2 ||
        !dim_is_const(&g->dims, w->shape[0], &columns) ||
        !dim_is_const(&g->dims, w->shape[1], &depth) || columns_contiguous(g, n->operands[1], 0) ||
        !columns_contiguous(g, n->operands[1], 1))
        return false;
    for (uint32_t i = 0; i + 1 < x->rank && rows < columns; i++) {
        dim_range(&g->dims, x->shape[i], &least, &most);
        rows *= least < columns ? least : columns;
        fixed &= least == most;
    }
    bool large = columns >= MANY_COLUMNS && depth >= LARGE_WEIGHT / columns;
    return rows < columns && !few_rows(g, x, n) &&
           (large || (fixed && has_cheaper_rows(rows, columns, depth, panel)));
}

/* (w x^T)^T: w lies by rows as it should, and x, in panels, is the smaller one to pack where it has
 * few rows. Tiles of the result are transposed when they are stored: in the other order all that
 * reads it would be slow. */
static value_id weight_as_rows(struct builder *b, value_id contract, int64_t panel)
{
    struct node n = *b_node(b, contract);
    value_id x = n.operands[0], w = n.operands[1];
    const uint8_t turned[2] = {1, 0};
    bool wide = rows_collide(b->graph, b_node(b, w), 1);
    x = b_flatten(b, x, 0, (int64_t)b_node(b, x)->rank - 2);
    if (x == VALUE_NONE || !fits_panels(b, x, panel))
        return contract;
    x = columns_in_panels(b, x, wide ? 2 * panel : panel);
    value_id y = b_transpose(b, b_contract(b, w, x, 0, 1), turned);
    return b_reshape(b, b_unary(b, PRIM_COPY, y), n.shape, n.rank);
}

#define WIDENED_DEEP 16 /* views and casts between a weight and its product */

/* Whether a value is one integer for all elements. */
static bool is_integer(struct builder *b, value_id v, int64_t *out)
{
    const struct node *n = b_node(b, v);
    while (n->prim == PRIM_BROADCAST || n->prim == PRIM_RESHAPE)
        n = b_node(b, n->operands[0]);
    *out = n->attrs->integer;
    return n->prim == PRIM_CONST && !dtype_is_float((enum dtype)n->dtype);
}

/* The same elements in one byte each, behind the same views, of a weight that is i8 or u8 and was
 * cast to wider types, maybe less a zero point, which is added to *zero; VALUE_NONE if it is not.
 */
static value_id in_bytes(struct builder *b, value_id v, int depth, int64_t *zero)
{
    struct node n = *b_node(b, v);
    enum dtype dtype = (enum dtype)n.dtype;
    int64_t less = 0;
    if (dtype == DTYPE_I8 || dtype == DTYPE_U8)
        return v;
    bool view = n.prim == PRIM_TRANSPOSE || n.prim == PRIM_RESHAPE || n.prim == PRIM_SLICE;
    bool exact = n.prim == PRIM_CAST && (dtype == DTYPE_F32 || dtype == DTYPE_I32);
    exact |= n.prim == PRIM_SUB && dtype == DTYPE_I32 && is_integer(b, n.operands[1], &less) &&
             less >= -UINT8_MAX && less <= UINT8_MAX;
    if (depth == 0 || (!exact && !view))
        return VALUE_NONE;
    value_id x = in_bytes(b, n.operands[0], depth - 1, zero);
    *zero += less;
    return exact || x == VALUE_NONE
               ? x
               : graph_add(b->graph, (enum prim)n.prim, &x, 1, n.attrs, b->err);
}

#define BYTES_LEAST (1 << 17) /* elements, from which on a weight leaves the near cache in f32 */
#define BYTES_ROWS 8          /* rows, up to which reading a weight takes longer than widening it */

/* Whether a product may have so few rows at some size that its time is that of reading the weight.
 */
static bool may_have_few_rows(struct builder *b, value_id x, uint32_t depth)
{
    const struct node *n = b_node(b, x);
    int64_t rows = 1, least, most;
    for (uint32_t i = 0; i + depth < n->rank && rows <= BYTES_ROWS; i++) {
        dim_range(&b->graph->dims, n->shape[i], &least, &most);
        rows = least > BYTES_ROWS ? least : rows * least;
    }
    return rows <= BYTES_ROWS;
}

/* A packed weight. Few rows read a large one as fast as memory gives it, so where it can be it has
 * one byte for each element, and is widened where it is read. Rows without a bound may be few: what
 * many lose by that is a tenth, what few gain is the double or more. */
static value_id pack_weight(struct builder *b, value_id w, bool few, int64_t panel)
{
    const struct node *n = b_node(b, w);
    int64_t elements = 1, size, zero = 0;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = n->rank;
    memcpy(shape, n->shape, rank * sizeof *shape);
    for (uint32_t i = 0; i < rank && elements < BYTES_LEAST; i++)
        elements *= dim_is_const(&b->graph->dims, shape[i], &size) ? size : 1;
    bool large = few && n->dtype == DTYPE_F32 && elements >= BYTES_LEAST;
    value_id bytes = large ? in_bytes(b, w, WIDENED_DEEP, &zero) : VALUE_NONE;
    if (bytes == VALUE_NONE)
        return pack_param(b, w, panel);
    w = b_cast(b, pack_param(b, bytes, panel), DTYPE_F32);
    if (zero == 0)
        return w;
    value_id point = b_const(b, DTYPE_F32, (double)zero);
    return b_binary(b, PRIM_SUB, w, b_broadcast_to(b, point, shape, rank));
}

static value_id fit_operand(struct builder *b, value_id contract, bool from_input, int64_t panel)
{
    const struct node *n = b_node(b, contract), *w = b_node(b, n->operands[1]);
    value_id x = n->operands[0], y = n->operands[1];
    uint32_t batch = n->attrs->batch, depth = n->attrs->contract;
    int columns = (int)w->rank - (int)depth - (int)batch;
    if (columns < 1 || w->rank == 0)
        return contract;
    if (from_input && along_steps(b, contract) && fits_panels(b, y, panel))
        return b_contract(b, rows_apart(b, x), columns_in_panels(b, y, panel), 0, 1);
    if (from_input && has_dear_weight(b, contract, panel))
        return weight_as_rows(b, contract, panel);
    bool few = few_rows(b->graph, b_node(b, x), n);
    if (!few && rows_collide(b->graph, b_node(b, x), depth) && columns == 1)
        panel *= 2;
    if (!from_input && batch == 0 && columns == 1 && depth >= 1)
        y = pack_weight(b, y, may_have_few_rows(b, x, depth), panel);
    else if (!columns_contiguous(b->graph, y, (int)(w->rank - depth) - 1) && !few)
        y = columns == 1 && depth == 1 && fits_panels(b, y, panel)
                ? columns_in_panels(b, y, panel)
                : columns_last(b, y, w->rank - depth - 1);
    else
        return contract;
    return b_contract(b, x, y, batch, depth);
}

#define PIXELS_FOR_PACKING 64 /* that win back what packing weights costs in each call */

/* Whether a convolution has so many results of a channel, at all sizes. */
static bool has_many_pixels(struct builder *b, const struct node *conv)
{
    struct dim_table *dims = &b->graph->dims;
    dim_id pixels = dim_product(dims, conv->shape + 2, conv->rank - 2u);
    int64_t least = 0, most;
    if (pixels != DIM_NONE && (pixels = dim_mul(dims, pixels, conv->shape[0])) != DIM_NONE)
        dim_range(dims, pixels, &least, &most);
    return least >= PIXELS_FOR_PACKING;
}

/* A convolution of many channels reads its weights as a product does, from packed panels, and its
 * pixels one by one. Its padding is stored with the image, so that no condition is left inside.
 * Where a sum is short, scattered stores of results would cost more than that saves; and where
 * weights are inputs they are packed in each call, which takes many pixels to win back. */
static value_id fit_conv(struct builder *b, value_id conv, bool weights_from_input, int64_t panel)
{
    const struct node *n = b_node(b, conv);
    struct window windows[LIMIT_RANK];
    value_id x = n->operands[0], w = n->operands[1];
    uint32_t count = n->attrs->window_count, rank = n->rank;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    int64_t channels = 0;
    bool padded = false;
    int64_t depth = 1, size;
    for (uint32_t i = 1; i < rank; i++)
        depth *= dim_is_const(&b->graph->dims, b_node(b, w)->shape[i], &size) ? size : 1;
    dim_is_const(&b->graph->dims, b_node(b, w)->shape[0], &channels);
    memcpy(windows, n->attrs->window, sizeof windows);
    if (columns_contiguous(b->graph, w, 0) || n->attrs->groups != 1 ||
        (weights_from_input && !has_many_pixels(b, n)) || channels < panel / 4 || depth < 2 * panel)
        return conv;
    for (uint32_t i = 0; i < rank; i++)
        low[i] = high[i] = b_dim_const(b, 0);
    for (uint32_t i = 0; i < count; i++) {
        if (windows[i].base_dilation != 1)
            return conv;
        padded |= windows[i].low || windows[i].high;
        low[2 + i] = b_dim_const(b, windows[i].low);
        high[2 + i] = b_dim_const(b, windows[i].high);
        windows[i].low = windows[i].high = 0;
    }
    if (padded)
        x = b_unary(b, PRIM_COPY, b_pad(b, x, low, high, 0));
    return b_conv(b, x, pack_param(b, w, panel), windows, count, 1);
}

/* Whether a reshape of a transposed value makes a dim that hangs on named dims and is none of the
 * value's own. */
static bool merges_apart(const struct graph *g, const struct node *reshape)
{
    const struct node *x = graph_node(g, reshape->operands[0]);
    if (x->prim != PRIM_TRANSPOSE)
        return false;
    for (uint32_t i = 0; i < reshape->rank; i++) {
        bool own = dim_is_const(&g->dims, reshape->shape[i], NULL);
        for (uint32_t k = 0; k < x->rank && !own; k++)
            own = x->shape[k] == reshape->shape[i];
        if (!own)
            return true;
    }
    return false;
}

/* Whether dim b follows dim a, dims of 1 apart. */
static bool are_neighbours(const struct graph *g, const struct node *x, int a, int b)
{
    int64_t size = 1;
    for (int i = a + 1; i < b && size == 1; i++)
        if (!dim_is_const(&g->dims, x->shape[i], &size))
            return false;
    return a < b && size == 1;
}

/* Whether a dim of a reshape is merged from constant dims that a transpose brought together: heads
 * of attention, rows of windows, patches of an image. Vectors along it would be gathered element by
 * element. */
static bool merges_strangers(const struct graph *g, const struct node *reshape)
{
    const struct node *x = graph_node(g, reshape->operands[0]);
    uint32_t from = 0;
    while (x->prim == PRIM_RESHAPE)
        x = graph_node(g, x->operands[0]);
    if (x->prim != PRIM_TRANSPOSE)
        return false;
    const struct node *source = graph_node(g, x->operands[0]);
    for (uint32_t i = 0; i < reshape->rank; i++) {
        int64_t size, part, filled = 1;
        int before = -1;
        if (!dim_is_const(&g->dims, reshape->shape[i], &size)) {
            if (from == x->rank || x->shape[from++] != reshape->shape[i])
                return false;
            continue;
        }
        for (; from < x->rank && filled < size; filled *= part) {
            int place = x->attrs->axes[from];
            if (!dim_is_const(&g->dims, x->shape[from++], &part) || part < 1)
                return false;
            if (part > 1 && before >= 0 && !are_neighbours(g, source, before, place))
                return true;
            before = part > 1 ? place : before;
        }
        if (filled != size)
            return false;
    }
    return false;
}

#define RESULTS_FOR_COPY 16 /* so many products of each element pay for storing it */

/* Whether each element of an operand has so many products: with the rows or columns of the other
 * one. */
static bool pays_for_copy(const struct graph *g, const struct node *other, const struct attrs *a)
{
    int64_t least, most, results = 1;
    for (uint32_t i = a->batch; i + a->contract < other->rank && results < RESULTS_FOR_COPY; i++) {
        dim_range(&g->dims, other->shape[i], &least, &most);
        results *= least < RESULTS_FOR_COPY ? least : RESULTS_FOR_COPY;
    }
    return results >= RESULTS_FOR_COPY;
}

/* An operand with such a reshape stored, maybe behind a transpose. constant: one of constant dims,
 * too. */
static value_id store_merged(struct builder *b, value_id v, bool constant)
{
    struct node n = *b_node(b, v);
    if (n.prim == PRIM_RESHAPE)
        return merges_apart(b->graph, &n) || (constant && merges_strangers(b->graph, &n))
                   ? b_unary(b, PRIM_COPY, v)
                   : v;
    if (n.prim != PRIM_TRANSPOSE)
        return v;
    value_id x = store_merged(b, n.operands[0], constant);
    return x == n.operands[0] ? v : b_transpose(b, x, n.attrs->axes);
}

/* A convolution of single pixels, whose pixels are columns, with these stored as they are read. */
static value_id store_pixels(struct builder *b, value_id conv)
{
    struct node n = *b_node(b, conv);
    int64_t least, most;
    dim_range(&b->graph->dims, n.shape[1], &least, &most);
    value_id x = store_merged(b, n.operands[0], least >= RESULTS_FOR_COPY);
    return x == n.operands[0] ? conv
                              : b_conv(b, x, n.operands[1], n.attrs->window, n.attrs->window_count,
                                       n.attrs->groups);
}

#define TILE_ROWS 16        /* a dim that is never shorter fills tiles by itself */
#define COLUMNS_FOR_COPY 64 /* so many results of each row pay for copying it */

/* The first operand of a product, stored if it is transposed so that its rows are several dims in
 * another order than in memory, and the last of them may be short: tiles would be along that one,
 * as of a batch of one sequence, [T, B, K] of [B, T, K]. Rows of the copy are one dim. */
static value_id store_rows(struct builder *b, value_id x, value_id w, uint32_t depth)
{
    struct graph *g = b->graph;
    const struct node *n = b_node(b, x), *columns = b_node(b, w);
    uint32_t rows = n->rank - depth;
    int64_t least, most, results = 1;
    if (n->prim != PRIM_TRANSPOSE || rows < 2)
        return x;
    for (uint32_t i = rows; i < n->rank; i++)
        if (n->attrs->axes[i] != i)
            return x;
    for (uint32_t i = 0; i + depth < columns->rank && results < COLUMNS_FOR_COPY; i++) {
        dim_range(&g->dims, columns->shape[i], &least, &most);
        results *= least < COLUMNS_FOR_COPY ? least : COLUMNS_FOR_COPY;
    }
    dim_range(&g->dims, n->shape[rows - 1], &least, &most);
    return least >= TILE_ROWS || results < COLUMNS_FOR_COPY ? x : b_unary(b, PRIM_COPY, x);
}

static bool nonempty(const struct graph *g, const struct node *n)
{
    for (uint32_t i = 0; i < n->rank; i++) {
        int64_t size;
        if (dim_is_const(&g->dims, n->shape[i], &size) && size == 0)
            return false;
    }
    return true;
}

/* The product [N, pixels, O], fitted, in the order of a convolution's result. */
static value_id pixels_in_order(struct builder *b, value_id conv, value_id product, bool from_input,
                                int64_t panel)
{
    const uint8_t pixels_last[3] = {0, 2, 1};
    if (product == VALUE_NONE)
        return VALUE_NONE;
    value_id y = b_transpose(b, fit_operand(b, product, from_input, panel), pixels_last);
    struct node result = *b_node(b, conv);
    return b_reshape(b, y, result.shape, result.rank);
}

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    const struct products *p = context;
    struct builder b = {to, err};
    const struct node *n = graph_node(to, copy);
    if (n->prim != PRIM_CONV && n->prim != PRIM_CONTRACT)
        return copy;
    if (!nonempty(to, graph_node(to, n->operands[0])) ||
        !nonempty(to, graph_node(to, n->operands[1])))
        return copy;
    int64_t panel = 2 * (int64_t)p->target->lanes;
    bool from_input = p->from_input[graph_node(from, old)->operands[1]];
    if (n->prim == PRIM_CONTRACT) {
        struct node own = *n;
        value_id x = own.operands[0], y = own.operands[1];
        bool of_x = from_input && pays_for_copy(to, graph_node(to, y), own.attrs);
        bool of_y = from_input && pays_for_copy(to, graph_node(to, x), own.attrs);
        x = store_merged(&b, x, of_x);
        y = store_merged(&b, y, of_y);
        if (own.attrs->batch == 0)
            x = store_rows(&b, x, y, own.attrs->contract);
        copy = b_contract(&b, x, y, own.attrs->batch, own.attrs->contract);
        return copy == VALUE_NONE ? copy : fit_operand(&b, copy, from_input, panel);
    }
    if (unit_window(n, graph_node(to, n->operands[1]), to)) {
        copy = store_pixels(&b, copy);
        n = graph_node(to, copy);
        const struct node *w = graph_node(to, n->operands[1]);
        if (from_input || !few_pixels(to, n, w, panel))
            return conv_as_product(&b, copy);
        return pixels_in_order(&b, copy, conv_by_pixels(&b, copy), false, panel);
    }
    if (from_input && !has_many_pixels(&b, n) &&
        is_of_patches(to, n, graph_node(to, n->operands[1])))
        return pixels_in_order(&b, copy, conv_by_patches(&b, copy), from_input, panel);
    return fit_conv(&b, copy, from_input, panel);
}

bool pass_products(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct target *target, struct error *err)
{
    struct products p = {.target = target, .from_input = values_per_call(from, arena)};
    return graph_rewrite(to, arena, from, rule, &p, err);
}
