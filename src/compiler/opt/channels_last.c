/* Images inside a network are stored channels last.
 *
 * A convolution computes runs of channels fastest if it reads images whose channels are contiguous,
 * and so do the operations before and after it. So each convolution with neighbours presents its
 * result as a transpose of a channels-last value. These transposes are moved behind the following
 * operations until a convolution reads through one, or an output is reached: a network converts
 * layouts at its borders only.
 *
 *   first(v)   the transpose that presents v[N, s…, C] as [N, C, s…] (channels first)
 *   last(v)    its inverse
 *
 * Rewrites:
 *
 *   conv(x, w)        ->  first(last(conv(x, w)))      a 1x1 convolution: a product of [N, s, C]
 *   f(first(a), b)    ->  first(f(a, last(b)))         elementwise prims and views of images
 *   window(first(a))  ->  first(last(window(first(a))))
 *   last(first(a))    ->  a
 *
 * A convolution then reads its weights in packed panels of channels. Padding that lowering cannot
 * turn into shorter loops is stored with the image. A convolution that cannot use the layout
 * (weights that are inputs, groups of several channels, base dilation) gets its image stored
 * channels first. */
#include "base/error.h"
#include "compiler/opt/opt_priv.h"
#include "compiler/target/target.h"
#include "graph/build.h"

struct layout {
    struct builder b;
    int64_t panel;          /* columns of a panel of packed weights */
    const bool *from_input; /* by value of the old graph: whether it depends on inputs or sizes */
    const bool *wanted;     /* whether a convolution reads it, or a value computed from it */
};

/* Dim i of a channels-last value is dim last_axis(i) of the channels-first image. */
static uint8_t last_axis(uint32_t i, uint32_t rank)
{
    return (uint8_t)(i == 0 ? 0 : i + 1 == rank ? 1 : i + 1);
}

/* Dim i of a channels-first image is dim first_axis(i) of the channels-last value. */
static uint8_t first_axis(uint32_t i, uint32_t rank)
{
    return (uint8_t)(i == 0 ? 0 : i == 1 ? rank - 1 : i - 1);
}

static bool transposes_by(const struct node *n, uint8_t (*axis)(uint32_t, uint32_t))
{
    if (n->prim != PRIM_TRANSPOSE || n->rank < 3)
        return false;
    for (uint32_t i = 0; i < n->rank; i++)
        if (n->attrs->axes[i] != axis(i, n->rank))
            return false;
    return true;
}

static bool is_first(const struct layout *l, value_id v)
{
    return transposes_by(b_node(&l->b, v), first_axis);
}

static value_id transpose_by(struct layout *l, value_id v, uint8_t (*axis)(uint32_t, uint32_t))
{
    uint8_t axes[LIMIT_RANK];
    if (v == VALUE_NONE)
        return v;
    uint32_t rank = b_node(&l->b, v)->rank;
    for (uint32_t i = 0; i < rank; i++)
        axes[i] = axis(i, rank);
    return b_transpose(&l->b, v, axes);
}

static value_id first(struct layout *l, value_id v)
{
    return transpose_by(l, v, first_axis);
}

/* The attributes of a view of a channels-first image, converted for the channels-last value. */
static struct attrs last_attrs(const struct attrs *a, uint32_t rank)
{
    struct attrs out = *a;
    uint32_t named = 0;
    for (uint32_t i = 0; i < rank; i++) {
        uint8_t from = last_axis(i, rank);
        out.shape[i] = a->shape[from];
        out.start[i] = a->start[from];
        out.step[i] = a->step[from];
        out.low[i] = a->low[from];
        out.high[i] = a->high[from];
    }
    out.axis = first_axis((uint32_t)a->axis, rank);
    for (uint32_t i = 0; i < a->axis_count; i++)
        named |= 1u << first_axis(a->axes[i], rank);
    for (uint8_t i = 0, at = 0; i < rank; i++)
        if (named >> i & 1)
            out.axes[at++] = i;
    return out;
}

static value_id last(struct layout *l, value_id v);

/* last() of a broadcast, as a broadcast. Its axes must ascend in the new order, so the operand may
 * need a transpose. */
static value_id last_of_broadcast(struct layout *l, const struct node *n)
{
    value_id x = n->operands[0];
    struct attrs attrs = last_attrs(n->attrs, n->rank);
    uint8_t order[LIMIT_RANK];
    uint32_t count = n->attrs->axis_count;
    bool moved = false;
    for (uint32_t i = 0; i < count; i++)
        for (uint8_t j = 0; j < count; j++)
            if (first_axis(n->attrs->axes[j], n->rank) == attrs.axes[i]) {
                order[i] = j;
                moved |= i != j;
            }
    if (moved)
        x = b_transpose(&l->b, x, order);
    return graph_add(l->b.graph, PRIM_BROADCAST, &x, 1, &attrs, l->b.err);
}

/* last(v), without a transpose where possible. */
static value_id last(struct layout *l, value_id v)
{
    if (v == VALUE_NONE)
        return v;
    struct node n = *b_node(&l->b, v);
    if (transposes_by(&n, first_axis))
        return n.operands[0];
    if (n.prim == PRIM_BROADCAST)
        return last_of_broadcast(l, &n);
    return transpose_by(l, v, last_axis);
}

static value_id add(struct layout *l, enum prim prim, const value_id *operands, uint32_t count,
                    const struct attrs *attrs)
{
    return graph_add(l->b.graph, prim, operands, count, attrs, l->b.err);
}

/* f(first(a), b) -> first(f(a, last(b))); the first `images` operands are images. */
static value_id move_behind(struct layout *l, value_id copy, uint32_t images)
{
    struct node n = *b_node(&l->b, copy);
    value_id operands[LIMIT_OPERANDS];
    bool any = false;
    for (uint32_t i = 0; i < images; i++)
        any |= is_first(l, n.operands[i]);
    if (!any)
        return copy;
    memcpy(operands, n.operands, sizeof(value_id) * n.operand_count);
    for (uint32_t i = 0; i < images; i++)
        operands[i] = last(l, operands[i]);
    struct attrs attrs =
        prim_is_elementwise((enum prim)n.prim) ? *n.attrs : last_attrs(n.attrs, n.rank);
    return first(l, add(l, (enum prim)n.prim, operands, n.operand_count, &attrs));
}

/* reshape(first(a)) -> first(reshape(a)), for a reshape of spatial dims only. */
static value_id move_behind_reshape(struct layout *l, value_id copy)
{
    struct node n = *b_node(&l->b, copy), x = *b_node(&l->b, n.operands[0]);
    dim_id shape[LIMIT_RANK];
    if (!is_first(l, n.operands[0]) || n.rank < 3 || n.shape[0] != x.shape[0] ||
        n.shape[1] != x.shape[1])
        return copy;
    for (uint32_t i = 0; i < n.rank; i++)
        shape[i] = n.shape[last_axis(i, n.rank)];
    return first(l, b_reshape(&l->b, x.operands[0], shape, n.rank));
}

/* transpose(first(a)) -> transpose(a), or a. */
static value_id join_transposes(struct layout *l, value_id copy)
{
    struct node n = *b_node(&l->b, copy);
    uint8_t axes[LIMIT_RANK];
    bool moved = false;
    if (!is_first(l, n.operands[0]))
        return copy;
    for (uint32_t i = 0; i < n.rank; i++) {
        axes[i] = first_axis(n.attrs->axes[i], n.rank);
        moved |= axes[i] != i;
    }
    value_id a = b_node(&l->b, n.operands[0])->operands[0];
    return moved ? b_transpose(&l->b, a, axes) : a;
}

static bool is_depthwise(const struct graph *g, const struct node *conv)
{
    const struct node *x = graph_node(g, conv->operands[0]), *w = graph_node(g, conv->operands[1]);
    int64_t channels, one;
    return dim_is_const(&g->dims, x->shape[1], &channels) &&
           dim_is_const(&g->dims, w->shape[1], &one) && one == 1 &&
           conv->attrs->groups == channels && w->shape[0] == x->shape[1] && channels > 1;
}

/* Whether vectors of its channels are possible. */
static bool runs_of_channels(const struct layout *l, const struct graph *g, const struct node *conv)
{
    int64_t channels;
    for (uint32_t i = 0; i < conv->attrs->window_count; i++)
        if (conv->attrs->window[i].base_dilation != 1)
            return false;
    return dim_is_const(&g->dims, conv->shape[1], &channels) && channels >= l->panel / 4 &&
           (conv->attrs->groups == 1 || is_depthwise(g, conv));
}

/* A 1x1 convolution as a product: [N, s…, C] · w[O, C]. */
static value_id conv_as_product(struct layout *l, const struct node *conv)
{
    struct builder *b = &l->b;
    value_id x = conv->operands[0], w = b_flatten(b, conv->operands[1], 1, conv->rank - 1);
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i < conv->rank; i++)
        shape[i] = conv->shape[last_axis(i, conv->rank)];
    if (is_first(l, x))
        x = b_flatten(b, last(l, x), 1, conv->rank - 2);
    else
        x = b_transpose(b, b_flatten(b, x, 2, conv->rank - 1), (uint8_t[]){0, 2, 1});
    return first(l, b_reshape(b, b_contract(b, x, w, 0, 1), shape, conv->rank));
}

/* Stores the image, in the order in which it is stored already. */
static value_id stored(struct layout *l, value_id x)
{
    struct builder *b = &l->b;
    return is_first(l, x) ? first(l, b_unary(b, PRIM_COPY, last(l, x))) : b_unary(b, PRIM_COPY, x);
}

/* The image, stored with the padding that would leave conditions inside the convolution. */
static value_id padded(struct layout *l, value_id x, struct window *windows, uint32_t count)
{
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    bool any = false;
    for (uint32_t i = 0; i < LIMIT_RANK; i++)
        low[i] = high[i] = b_dim_const(&l->b, 0);
    for (uint32_t i = 0; i < count; i++) {
        if (is_first(l, x) && i + 1 < count && windows[i].dilation == 1)
            continue; /* lowering shortens the window's loop */
        any |= windows[i].low || windows[i].high;
        low[2 + i] = b_dim_const(&l->b, windows[i].low);
        high[2 + i] = b_dim_const(&l->b, windows[i].high);
        windows[i].low = windows[i].high = 0;
    }
    if (!any)
        return x;
    value_id y = b_pad(&l->b, x, low, high, 0);
    return stored(l, is_first(l, x) ? move_behind(l, y, 1) : y);
}

#define FEW_PIXELS 7 /* with so few in a line, twice as many channels fill the registers */

/* Weights in panels of filters, each in the order of the image. */
static value_id pack_filters(struct layout *l, value_id w, const struct node *conv, bool image_last)
{
    int64_t pixels = 0, filters = 0, panel = l->panel;
    dim_is_const(&l->b.graph->dims, conv->shape[conv->rank - 1], &pixels);
    dim_is_const(&l->b.graph->dims, conv->shape[1], &filters);
    if (pixels > 1 && pixels <= FEW_PIXELS && filters >= 2 * panel)
        panel *= 2;
    return image_last ? first(l, pack_param(&l->b, last(l, w), panel))
                      : pack_param(&l->b, w, panel);
}

static value_id convert_conv(struct layout *l, const struct graph *from, value_id old,
                             value_id copy)
{
    struct builder *b = &l->b;
    struct node n = *b_node(b, copy);
    value_id x = n.operands[0], w = n.operands[1];
    struct window windows[LIMIT_RANK];
    bool from_input = l->from_input[graph_node(from, old)->operands[1]];
    memcpy(windows, n.attrs->window, sizeof windows);
    uint32_t count = n.attrs->window_count;
    if (from_input || !runs_of_channels(l, b->graph, &n)) {
        if (is_first(l, x))
            x = b_unary(b, PRIM_COPY, x);
        return x == n.operands[0] ? copy : b_conv(b, x, w, windows, count, n.attrs->groups);
    }
    if (!is_first(l, x) && !l->wanted[old])
        return copy;
    if (unit_window(&n, b_node(b, w), b->graph))
        return conv_as_product(l, &n);
    bool depthwise = n.attrs->groups > 1, packed = columns_contiguous(b->graph, w, 0);
    if (!depthwise)
        x = padded(l, x, windows, count);
    else if (!is_first(l, x)) /* vectors of its channels are read, too */
        x = stored(l, first(l, last(l, x)));
    if (!packed)
        w = depthwise ? columns_last(b, w, 0) : pack_filters(l, w, &n, is_first(l, x));
    return first(l, last(l, b_conv(b, x, w, windows, count, n.attrs->groups)));
}

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    struct layout *l = context;
    l->b = (struct builder){to, err};
    const struct node *n = graph_node(to, copy);
    switch ((enum prim)n->prim) {
    case PRIM_CONV: return convert_conv(l, from, old, copy);
    case PRIM_TRANSPOSE: return join_transposes(l, copy);
    case PRIM_RESHAPE: return move_behind_reshape(l, copy);
    case PRIM_PAD:
    case PRIM_SLICE:
    case PRIM_REVERSE: return move_behind(l, copy, 1);
    case PRIM_CONCAT: return move_behind(l, copy, n->operand_count);
    case PRIM_WINDOW_SUM:
    case PRIM_WINDOW_MAX: return is_first(l, n->operands[0]) ? first(l, last(l, copy)) : copy;
    default:
        return prim_is_elementwise((enum prim)n->prim) ? move_behind(l, copy, n->operand_count)
                                                       : copy;
    }
}

/* Marks the values that a convolution reads, also through operations that do not change the
 * layout. */
static bool *find_wanted(const struct layout *l, const struct graph *g, struct arena *arena,
                         bool *out_any)
{
    bool *wanted = ARENA_ARRAY(arena, bool, g->nodes.count);
    for (value_id v = g->nodes.count; v-- > 1;) {
        const struct node *n = graph_node(g, v);
        enum prim prim = (enum prim)n->prim;
        bool passes = prim_is_elementwise(prim) || prim == PRIM_PAD || prim == PRIM_SLICE ||
                      prim == PRIM_REVERSE || prim == PRIM_CONCAT || prim == PRIM_WINDOW_SUM ||
                      prim == PRIM_WINDOW_MAX || prim == PRIM_RESHAPE;
        bool reads =
            prim == PRIM_CONV && !l->from_input[n->operands[1]] && runs_of_channels(l, g, n);
        if (prim == PRIM_CONV ? reads : passes ? wanted[v] : transposes_by(n, last_axis))
            for (uint32_t i = 0; i < (prim == PRIM_CONV ? 1 : n->operand_count); i++)
                wanted[n->operands[i]] = true;
        *out_any |= reads;
    }
    return wanted;
}

bool pass_channels_last(struct graph *to, struct arena *arena, const struct graph *from,
                        const struct target *target, struct error *err)
{
    struct layout l = {.panel = 2 * (int64_t)target->lanes,
                       .from_input = values_per_call(from, arena)};
    bool any = false;
    l.wanted = find_wanted(&l, from, arena, &any);
    return any ? graph_rewrite(to, arena, from, rule, &l, err)
               : graph_copy_live(to, arena, from, err);
}
