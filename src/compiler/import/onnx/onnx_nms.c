/* NonMaxSuppression: a trip of a loop chooses, for each class of each batch at once, the box with
 * the greatest score that is left, and takes out those that it covers too much of.
 *
 * Scores are whole numbers in the loop, in the same order: bits of f32, of negative ones all but
 * the sign turned. So the least number stands for a box that is out, whatever scores there are. A
 * score that is NaN is never chosen; of equal ones the first box is. */
#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_select_priv.h"
#include "graph/loops.h"

#define BOX_OUT ((double)INT32_MIN)

/* Boxes [batches, boxes], by their corners. */
struct boxes {
    value_id low[2], high[2], area;
};

struct nms {
    dim_id batches, classes, boxes;
    dim_id trips; /* at most as many are chosen of a class */
    value_id most_covered;
};

static value_id coordinate(struct builder *b, value_id boxes, int64_t i)
{
    return b_squeeze(b, b_slice(b, boxes, 2, b_dim_const(b, i), b_dim_const(b, 1), 1), 2);
}

static void read_corners(struct onnx_call *c, value_id boxes, struct boxes *out)
{
    struct builder *b = c->b;
    bool centred = onnx_int(c, "center_point_box", 0) != 0;
    for (int64_t i = 0; i < 2; i++) {
        value_id first = coordinate(b, boxes, i), second = coordinate(b, boxes, i + 2);
        value_id half = b_scale(b, second, 0.5);
        out->low[i] = centred ? b_sub(b, first, half) : b_binary(b, PRIM_MIN, first, second);
        out->high[i] = centred ? b_add(b, first, half) : b_binary(b, PRIM_MAX, first, second);
    }
    out->area = b_mul(b, b_sub(b, out->high[0], out->low[0]), b_sub(b, out->high[1], out->low[1]));
}

/* An operand of one element. */
static value_id scalar(struct onnx_call *c, uint32_t index)
{
    return b_cast(c->b, b_reshape(c->b, c->in[index], NULL, 0), DTYPE_F32);
}

static value_id rank_scores(struct onnx_call *c, value_id scores)
{
    struct builder *b = c->b;
    value_id out = b_const(b, DTYPE_I32, BOX_OUT), zero = b_const(b, DTYPE_I32, 0);
    /* 0 and -0 are one score. */
    value_id bits = b_bitcast(b, b_shift(b, scores, 0), DTYPE_I32);
    value_id turned = b_binary(b, PRIM_XOR, bits, b_const(b, DTYPE_I32, INT32_MAX));
    value_id key = b_select(b, b_binary(b, PRIM_LT, bits, zero), turned, bits);
    value_id candidate = b_unary(b, PRIM_NOT, b_unary(b, PRIM_IS_NAN, scores));
    if (onnx_given(c, 4))
        candidate = b_binary(b, PRIM_LT, scalar(c, 4), scores);
    return b_select(b, candidate, key, out);
}

/* Of [batches, boxes] those at [batches, classes], beside all: *of [.., .., 1], *all [.., 1, ..].
 */
static void beside(struct builder *b, value_id x, value_id chosen, value_id *of, value_id *all)
{
    *of = b_unsqueeze(b, b_gather(b, x, chosen, 1), 2);
    *all = b_unsqueeze(b, x, 1);
}

/* Whether the chosen boxes cover others too much, [batches, classes, boxes]: their common area over
 * that of both together is greater than it may be. Boxes without area cover none. */
static value_id covers(struct onnx_call *c, const struct nms *n, const struct boxes *boxes,
                       value_id chosen)
{
    struct builder *b = c->b;
    value_id zero = b_const(b, DTYPE_F32, 0), side[2], of, all, other, others;
    for (uint32_t i = 0; i < 2; i++) {
        beside(b, boxes->low[i], chosen, &of, &all);
        beside(b, boxes->high[i], chosen, &other, &others);
        side[i] = b_sub(b, b_binary(b, PRIM_MIN, other, others), b_binary(b, PRIM_MAX, of, all));
    }
    beside(b, boxes->area, chosen, &of, &all);
    value_id common = b_mul(b, side[0], side[1]);
    value_id both = b_sub(b, b_add(b, of, all), common);
    value_id yes = b_binary(b, PRIM_LT, n->most_covered, b_div(b, common, both));
    const value_id above[] = {side[0], side[1], common, of, all, both};
    for (uint32_t i = 0; i < sizeof above / sizeof *above; i++)
        yes = b_binary(b, PRIM_AND, yes, b_binary(b, PRIM_LT, zero, above[i]));
    return yes;
}

/* The chosen boxes by trip, class and batch, [trips, batches, classes]; -1: none is left. */
static value_id choose(struct onnx_call *c, const struct nms *n, const struct boxes *boxes,
                       value_id key)
{
    struct builder *b = c->b;
    value_id out = b_const(b, DTYPE_I32, BOX_OUT), results[2];
    uint32_t loop = b_loop_begin(b);
    value_id state = b_state(b, loop, 0, key);
    if (state == VALUE_NONE)
        return state;
    value_id best = graph_add(b->graph, PRIM_ARGMAX, &state, 1, &(struct attrs){.axis = 2}, b->err);
    value_id score = b_reduce(b, PRIM_REDUCE_MAX, state, (int64_t[]){2}, 1, false);
    value_id is_left = b_binary(b, PRIM_NE, score, out);
    value_id row = b_select(b, is_left, best, b_const(b, DTYPE_I64, -1));
    value_id place = b_iota(b, DTYPE_I64, &n->boxes, 1, 0);
    value_id itself = b_binary(b, PRIM_EQ, place, b_unsqueeze(b, best, 2));
    value_id gone = b_binary(b, PRIM_OR, itself, covers(c, n, boxes, best));
    value_id next = b_select(b, gone, out, state);
    const struct loop_spec spec = {.loop = loop,
                                   .trips = n->trips,
                                   .state = &state,
                                   .next = &next,
                                   .row = &row,
                                   .states = 1,
                                   .rows = 1};
    return b_loop_end(b, &spec, results) ? results[1] : VALUE_NONE;
}

/* [batch, class, box] of all that were chosen, in the order of these, then of scores. */
static bool list_chosen(struct onnx_call *c, const struct nms *n, value_id chosen)
{
    struct builder *b = c->b;
    value_id count = VALUE_NONE, in_order, columns[3];
    if (chosen == VALUE_NONE)
        return false;
    in_order = b_flatten(b, b_transpose(b, chosen, (uint8_t[]){1, 2, 0}), 0, -1);
    value_id flags = b_binary(b, PRIM_LE, b_const(b, DTYPE_I64, 0), in_order);
    value_id place = onnx_true_places(c, flags, &count);
    value_id class = b_div(b, place, b_size(b, n->trips));
    columns[0] = b_div(b, class, b_size(b, n->classes));
    columns[1] = b_binary(b, PRIM_REM, class, b_size(b, n->classes));
    columns[2] = onnx_take_any(c, in_order, place, 0);
    value_id y = onnx_stack(c, columns, 3, 1);
    return onnx_return(c, onnx_bound(c, y, 0, count, false));
}

static bool same_dim(struct onnx_call *c, dim_id x, dim_id y, const char *of)
{
    return (x != DIM_NONE && x == y) || dim_needs_equal(&c->o->graph->dims, x, y) ||
           b_fail(c->b, ERR_SHAPE, "inputs 0 and 1 differ in the number of %s", of);
}

/* At most so many of a class as operand 2 says, and as there are boxes. */
static bool read_trips(struct onnx_call *c, struct nms *n)
{
    struct dim_table *dims = &c->o->graph->dims;
    uint32_t count = 1;
    int64_t value = 0;
    n->trips = b_dim_const(c->b, 0);
    if (onnx_given(c, 2) && !onnx_dims(c, 2, &n->trips, 1, &count))
        return false;
    if (count != 1)
        return b_fail(c->b, ERR_SHAPE, "input 2 has %u elements, expected one", count);
    if (onnx_is_const(dims, n->trips, &value) && value >= LIMIT_DIM_VALUE)
        n->trips = n->boxes;
    n->trips = dim_min(dims, dim_max(dims, n->trips, b_dim_const(c->b, 0)), n->boxes);
    return n->trips != DIM_NONE;
}

bool onnx_non_max_suppression(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct nms n;
    struct boxes corners;
    value_id boxes = c->in[0], scores = c->in[1];
    if (onnx_rank(c, boxes) != 3 || onnx_rank(c, scores) != 3)
        return b_fail(b, ERR_SHAPE, "ranks %u and %u, expected 3", onnx_rank(c, boxes),
                      onnx_rank(c, scores));
    if (c->o->in_loop > 0)
        return onnx_refuse(c, "in the body of a loop");
    if (onnx_count(c->o, boxes, 1) != onnx_count(c->o, scores, 2))
        return onnx_refuse(c, "boxes and scores are not as many");
    n.batches = b_dim(b, scores, 0);
    n.classes = b_dim(b, scores, 1);
    n.boxes = b_dim(b, scores, 2);
    if (!same_dim(c, b_dim(b, boxes, 0), n.batches, "batches") ||
        !same_dim(c, b_dim(b, boxes, 1), n.boxes, "boxes") || !read_trips(c, &n))
        return false;
    n.most_covered = onnx_given(c, 3) ? scalar(c, 3) : b_const(b, DTYPE_F32, 0);
    boxes = b_cast(b, onnx_fill(c, boxes, 1, FILL_ZERO), DTYPE_F32);
    scores = b_cast(b, onnx_fill(c, scores, 2, FILL_NAN), DTYPE_F32);
    read_corners(c, boxes, &corners);
    if (onnx_failed(c))
        return false;
    return list_chosen(c, &n, choose(c, &n, &corners, rank_scores(c, scores)));
}
