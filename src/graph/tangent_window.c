/* Tangents of convolutions and of maxima of windows.
 *
 * A window at a position of the result reads, for each of its taps, one element of the operand's
 * plane, or padding. */
#include "graph/tangent_priv.h"

/* The spatial dims: the last ones of the operand and of the result. */
struct spatial {
    uint32_t rank;
    const struct window *window;
    const int64_t *shape, *out_shape;
    int64_t plane, out_plane, taps; /* elements, positions, taps of one window */
};

static struct spatial spatial_of(const struct op *op)
{
    const struct interp_tensor *x = op->in[0];
    uint32_t rank = op->attrs->window_count;
    struct spatial s = {.rank = rank,
                        .window = op->attrs->window,
                        .shape = x->shape + (x->rank - rank),
                        .out_shape = op->out->shape + (x->rank - rank),
                        .taps = 1};
    s.plane = shape_product(s.shape, 0, rank);
    s.out_plane = shape_product(s.out_shape, 0, rank);
    return s;
}

/* The element of the plane that a tap reads; -1: padding, or a zero between spread elements. Both
 * indices are flat, in row-major order. */
static int64_t reads(const struct spatial *s, int64_t position, int64_t tap)
{
    int64_t element = 0, stride = 1;
    for (uint32_t d = s->rank; d-- > 0;) {
        const struct window *w = &s->window[d];
        int64_t at = position % s->out_shape[d] * w->stride + tap % w->size * w->dilation - w->low;
        if (at < 0 || at % w->base_dilation != 0 || at / w->base_dilation >= s->shape[d])
            return -1;
        element += at / w->base_dilation * stride;
        stride *= s->shape[d];
        position /= s->out_shape[d];
        tap /= w->size;
    }
    return element;
}

/* One position and one tap, in all images, groups and channels: each weight w[o, c, tap] meets the
 * element of x that it is multiplied by there. */
static void conv_tap(const struct tangent_op *t, const struct spatial *s, int64_t position,
                     int64_t tap)
{
    const struct interp_tensor *x = t->op->in[0], *w = t->op->in[1];
    int64_t channels = x->shape[1], outputs = w->shape[0], per_group = w->shape[1];
    int64_t element = reads(s, position, tap), group_outputs = outputs / t->op->attrs->groups;
    if (element < 0)
        return;
    for (int64_t i = 0; i < x->shape[0] * outputs; i++) {
        int64_t image = i / outputs, o = i % outputs, group = o / group_outputs;
        int64_t at = (image * channels + group * per_group) * s->plane + element;
        int64_t weight = o * per_group * s->taps + tap;
        double sum = 0;
        for (int64_t c = 0; c < per_group; c++, at += s->plane, weight += s->taps)
            sum += tangent_times(w->cells[weight].f, t->in[0][at]) +
                   tangent_times(x->cells[at].f, t->in[1][weight]);
        t->out[i * s->out_plane + position] += sum;
    }
}

void tangent_conv(const struct tangent_op *t)
{
    struct spatial s = spatial_of(t->op);
    s.taps = shape_product(t->op->in[1]->shape, 2, t->op->in[1]->rank);
    for (int64_t i = 0; i < t->op->out->count; i++)
        t->out[i] = 0;
    for (int64_t position = 0; position < s.out_plane; position++)
        for (int64_t tap = 0; tap < s.taps; tap++)
            conv_tap(t, &s, position, tap);
}

void tangent_window_max(const struct tangent_op *t)
{
    const struct op *op = t->op;
    struct spatial s = spatial_of(op);
    for (uint32_t d = 0; d < s.rank; d++)
        s.taps *= s.window[d].size;
    for (int64_t i = 0; i < op->out->count; i++) {
        int64_t first = i / s.out_plane * s.plane, found = -1;
        for (int64_t tap = 0; tap < s.taps && found < 0; tap++) {
            int64_t at = reads(&s, i % s.out_plane, tap);
            if (at >= 0 && tangent_same(op->in[0]->cells[first + at].f, op->out->cells[i].f))
                found = first + at;
        }
        t->out[i] = found >= 0 ? t->in[0][found] : 0;
    }
}
