/* Signal processing: windows, Fourier transforms as products with matrices of cosines and sines,
 * mel filters. */
#include <math.h>
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_told_priv.h"

#define TWO_PI 6.28318530717958647692
#define MAX_MADE_BYTES ((size_t)64 << 20) /* total size of computed matrices in one model */

/* a0 - a1 cos(2πn/N) + a2 cos(4πn/N) for n < size. */
static bool window(struct onnx_call *c, double a0, double a1, double a2)
{
    struct builder *b = c->b;
    enum dtype dtype = DTYPE_F32;
    dim_id size = DIM_NONE;
    uint32_t count = 0;
    if (!onnx_dims(c, 0, &size, 1, &count) ||
        !onnx_dtype((int32_t)onnx_int(c, "output_datatype", 1), &dtype, NULL, b->err))
        return false;
    if (count != 1)
        return b_fail(b, ERR_SHAPE, "no size");
    enum dtype wide = dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    value_id n = b_cast(b, b_iota(b, DTYPE_I64, &size, 1, 0), wide);
    value_id whole = b_cast(b, b_size(b, size), wide);
    if (onnx_int(c, "periodic", 1) == 0)
        whole = b_shift(b, whole, -1);
    value_id angle = b_div(b, b_scale(b, n, TWO_PI), whole);
    value_id sum = b_shift(b, b_scale(b, b_unary(b, PRIM_COS, angle), -a1), a0);
    if (a2 != 0)
        sum = b_add(b, sum, b_scale(b, b_unary(b, PRIM_COS, b_scale(b, angle, 2)), a2));
    return onnx_return(c, b_cast(b, sum, dtype));
}

bool onnx_hann(struct onnx_call *c)
{
    return window(c, 0.5, 0.5, 0);
}

bool onnx_hamming(struct onnx_call *c)
{
    return window(c, 25.0 / 46, 1 - 25.0 / 46, 0);
}

bool onnx_blackman(struct onnx_call *c)
{
    return window(c, 0.42, 0.5, 0.08);
}

/* The real (index 0) or imaginary part of x[.., n, 1 or 2] as [.., length], truncated or padded
 * with zeros. */
static value_id part(struct onnx_call *c, value_id x, int64_t index, dim_id length)
{
    struct builder *b = c->b;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK], size;
    value_id one = b_slice(b, x, -1, b_dim_const(b, index), b_dim_const(b, 1), 1);
    one = b_squeeze(b, one, -1);
    if (one == VALUE_NONE)
        return one;
    uint32_t rank = onnx_rank(c, one);
    size = b_dim(b, one, -1);
    if (size == length)
        return one;
    dim_id shorter = dim_min(&b->graph->dims, size, length);
    one = b_slice(b, one, -1, b_dim_const(b, 0), shorter, 1);
    for (uint32_t i = 0; i < rank; i++)
        low[i] = high[i] = b_dim_const(b, 0);
    high[rank - 1] = b_dim_sub(b, length, shorter);
    return b_pad(b, one, low, high, 0);
}

/* The transform over the second last dim of x[.., n, 1 or 2]: [.., bins, 2]. In f64, because the
 * terms of a bin are large compared with their sum. */
static value_id transform(struct onnx_call *c, value_id x, dim_id length, dim_id bins, bool inverse)
{
    struct builder *b = c->b;
    enum dtype type = DTYPE_F64, own = onnx_type(c, x);
    int64_t parts = 0;
    if (!onnx_is_const(&b->graph->dims, b_dim(b, x, -1), &parts) || parts < 1 || parts > 2)
        return b_fail(b, ERR_SHAPE, "the last dim is neither 1 nor 2");
    x = b_cast(b, x, type);
    dim_id shape[2] = {bins, length};
    value_id count = b_size(b, length);
    value_id turn = b_mul(b, b_iota(b, DTYPE_I64, shape, 2, 0), b_iota(b, DTYPE_I64, shape, 2, 1));
    turn = b_cast(b, b_binary(b, PRIM_REM, turn, count), type);
    value_id angle = b_div(b, b_scale(b, turn, inverse ? -TWO_PI : TWO_PI), b_cast(b, count, type));
    value_id cosine = b_unary(b, PRIM_COS, angle), sine = b_unary(b, PRIM_SIN, angle);
    value_id real = part(c, x, 0, length);
    value_id out_real = b_contract(b, real, cosine, 0, 1);
    value_id out_imaginary = b_neg(b, b_contract(b, real, sine, 0, 1));
    if (parts == 2) {
        value_id imaginary = part(c, x, 1, length);
        out_real = b_add(b, out_real, b_contract(b, imaginary, sine, 0, 1));
        out_imaginary = b_add(b, out_imaginary, b_contract(b, imaginary, cosine, 0, 1));
    }
    if (inverse) {
        out_real = b_div(b, out_real, b_cast(b, count, type));
        out_imaginary = b_div(b, out_imaginary, b_cast(b, count, type));
    }
    if (onnx_failed(c))
        return VALUE_NONE;
    value_id both[2] = {b_cast(b, out_real, own), b_cast(b, out_imaginary, own)};
    return onnx_stack(c, both, 2, onnx_rank(c, out_real));
}

/* The number of bins: all, or without those that are mirrored. */
static dim_id bins_of(struct onnx_call *c, dim_id length, bool onesided)
{
    struct dim_table *dims = &c->o->graph->dims;
    if (!onesided)
        return length;
    return dim_add(dims, dim_floordiv(dims, length, dim_const(dims, 2)), dim_const(dims, 1));
}

/* DFT along an axis that an input tells, other than the last. */
static bool dft_chosen(struct onnx_call *c, struct onnx_choice *choice, bool onesided, bool inverse)
{
    struct builder *b = c->b;
    struct dim_table *dims = &b->graph->dims;
    uint32_t rank = choice->rank, count = 0;
    dim_id bins[LIMIT_RANK], lengths[LIMIT_RANK], shape[LIMIT_RANK];
    dim_id room = dim_sub(dims, dim_const(dims, (int64_t)rank - 2), choice->number);
    if (!dim_never_negative(dims, room))
        return dim_needs_not_negative(dims, room) ||
               b_fail(b, ERR_SHAPE, "the axis may be the last");
    choice->sets = rank - 1;
    for (uint32_t i = 0; i + 1 < rank; i++)
        lengths[i] = shape[i] = b_dim(b, c->in[0], i);
    shape[rank - 1] = b_dim_const(b, 2);
    dim_id length = onnx_choice_dim(c, choice, lengths);
    if (onnx_given(c, 1) && !onnx_dims(c, 1, &length, 1, &count))
        return false;
    for (uint32_t i = 0; i + 1 < rank; i++)
        bins[i] = bins_of(c, onnx_given(c, 1) ? length : lengths[i], onesided);
    value_id x = b_swap(b, onnx_choice_last(c, c->in[0], choice, false), -1, -2);
    x = x == VALUE_NONE ? x : transform(c, x, length, bins_of(c, length, onesided), inverse);
    x = b_swap(b, x, -1, -2);
    return onnx_return(c, x == VALUE_NONE ? x : onnx_choice_back(c, x, choice, bins, shape));
}

bool onnx_dft(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct onnx_choice choice;
    uint32_t rank = onnx_rank(c, c->in[0]), count = 0;
    bool onesided = onnx_int(c, "onesided", 0) != 0, inverse = onnx_int(c, "inverse", 0) != 0;
    int64_t axis = onnx_int(c, "axis", c->opset < 20 ? 1 : -2);
    if (rank > 1 && !(onesided && inverse) && onnx_choose(c, 2, rank, &choice) && choice.count == 1)
        return dft_chosen(c, &choice, onesided, inverse);
    if (onnx_given(c, 2) && !onnx_const_ints(c, 2, &axis, 1, &count))
        return false;
    int at = b_axis(b, c->in[0], axis);
    if (at < 0 || rank < 2 || (uint32_t)at + 1 == rank)
        return at < 0 ? false : b_fail(b, ERR_SHAPE, "axis %lld is the last", (long long)axis);
    if (onesided && inverse)
        return onnx_refuse(c, "the inverse of one side");
    dim_id length = b_dim(b, c->in[0], at);
    if (onnx_given(c, 1) && !onnx_dims(c, 1, &length, 1, &count))
        return false;
    value_id x = b_swap(b, c->in[0], at, rank - 2);
    x = x == VALUE_NONE ? x : transform(c, x, length, bins_of(c, length, onesided), inverse);
    return onnx_return(c, b_swap(b, x, at, rank - 2));
}

bool onnx_stft(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct dim_table *dims = &b->graph->dims;
    dim_id step = DIM_NONE, size = DIM_NONE, one = dim_const(dims, 1);
    uint32_t count = 0;
    bool onesided = onnx_int(c, "onesided", 1) != 0;
    if (onnx_rank(c, c->in[0]) != 3 || !onnx_dims(c, 1, &step, 1, &count))
        return onnx_failed(c) ? false : b_fail(b, ERR_SHAPE, "the signal is not of rank 3");
    if (onnx_given(c, 3) ? !onnx_dims(c, 3, &size, 1, &count) : !onnx_given(c, 2))
        return onnx_refuse(c, "a frame length that is not known");
    size = onnx_given(c, 3) ? size : b_dim(b, c->in[2], 0);
    dim_id room = b_dim_sub(b, b_dim(b, c->in[0], 1), size);
    const dim_id at_least[3] = {dim_sub(dims, step, one), dim_sub(dims, size, one), room};
    for (uint32_t i = 0; i < 3 && room != DIM_NONE; i++)
        if (!dim_never_negative(dims, at_least[i]))
            return dim_needs_not_negative(dims, at_least[i]) ||
                   b_fail(
                       b, ERR_SHAPE,
                       "expected a frame length from 1 to the signal's, and a step of at least 1");
    dim_id frames = dim_add(dims, dim_floordiv(dims, room, step), one);
    dim_id shape[2] = {frames, size};
    value_id start = b_mul(b, b_iota(b, DTYPE_I64, shape, 2, 0), b_size(b, step));
    value_id index = b_add(b, start, b_iota(b, DTYPE_I64, shape, 2, 1));
    value_id x = b_take(b, c->in[0], index, 1);
    if (onnx_given(c, 2))
        x = b_mul(b, x, b_unsqueeze(b, c->in[2], 1));
    if (x == VALUE_NONE)
        return false;
    return onnx_return(c, transform(c, x, size, bins_of(c, size, onesided), false));
}

/* Triangular filters over the bins of a spectrum, evenly spaced on the mel scale. */
static void fill_mel(const double *numbers, int64_t bands, int64_t bins, float *out)
{
    double low = 2595 * log10(1 + numbers[3] / 700), high = 2595 * log10(1 + numbers[4] / 700);
    double step = (high - low) / (double)(bands + 2);
    int64_t edges[3];
    for (int64_t i = 0; i < bands; i++) {
        for (int64_t k = 0; k < 3; k++) {
            double hertz = 700 * (pow(10, (low + (double)(i + k) * step) / 2595) - 1);
            double edge = floor((numbers[1] + 1) * hertz / numbers[2]);
            edges[k] = edge > 0 ? edge < (double)bins ? (int64_t)edge : bins : 0;
        }
        if (edges[0] == edges[1] && edges[1] < bins)
            out[edges[1] * bands + i] = 1;
        for (int64_t j = edges[0]; j <= edges[1] && j < bins && edges[1] > edges[0]; j++)
            out[j * bands + i] = (float)((double)(j - edges[0]) / (double)(edges[1] - edges[0]));
        for (int64_t j = edges[1]; j < edges[2] && j < bins; j++)
            out[j * bands + i] = (float)((double)(edges[2] - j) / (double)(edges[2] - edges[1]));
    }
}

bool onnx_mel_weights(struct onnx_call *c)
{
    double numbers[5]; /* bands, transform length, sample rate, lower and upper frequency */
    enum dtype dtype = DTYPE_F32;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 5; i++)
        if (!onnx_const_reals(c, i, &numbers[i], 1, &count))
            return false;
    if (!onnx_dtype((int32_t)onnx_int(c, "output_datatype", 1), &dtype, NULL, c->b->err))
        return false;
    if (!(numbers[0] >= 1 && numbers[0] <= 65536 && numbers[1] >= 1 && numbers[1] <= 65536 &&
          numbers[2] >= 1))
        return b_fail(c->b, ERR_SHAPE, "num_mel_bins is %g, dft_length %g", numbers[0], numbers[1]);
    int64_t bands = (int64_t)numbers[0], bins = (int64_t)numbers[1] / 2 + 1;
    struct import_tensor tensor = {.name = c->node->output[0],
                                   .dtype = DTYPE_F32,
                                   .rank = 2,
                                   .shape = {bins, bands},
                                   .bytes = (size_t)(bins * bands) * sizeof(float)};
    c->o->made_bytes += tensor.bytes;
    if (c->o->made_bytes > MAX_MADE_BYTES)
        return b_fail(c->b, ERR_LIMIT, "a matrix of %lld x %lld weights is too large",
                      (long long)bins, (long long)bands);
    float *data = arena_alloc(c->o->arena, tensor.bytes, 64);
    fill_mel(numbers, bands, bins, data);
    tensor.data = data;
    value_id weights = onnx_initializer(c->o, tensor.name, &tensor, true, c->b->err);
    return onnx_return(c, b_cast(c->b, weights, dtype));
}
