/* How far the answers to a case of ONNX may lie from the reference.
 *
 * Compiled code has the bound that the reference carries for each element. The data were computed
 * by NumPy in the dtype of the case and rounded where the case's author rounds, which need not be
 * where the graph that was read does: bf16 data are cut instead of rounded (1 unit in the last
 * place), an attention in f16 or bf16 rounds its weights at another step (2), HardSwish adds after
 * it divides (1.1). So they may lie ONNX_DATA_ULP such units beyond the bound. All else that lies
 * further is named in the table, with the reason. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "compiler/import/import.h"
#include "graph/interp.h"
#include "onnx_case.h"

/* Of ONNX's own runner, for elements without a bound. */
#define RELATIVE 1e-3
#define RELATIVE_F16 0x1p-9
#define RELATIVE_BF16 0x1p-6
#define ABSOLUTE 1e-7

/* Units: what was measured and about a tenth.
 *   names begin with, Debian's, units, of the largest, reason */
static const struct onnx_exception exceptions[] = {
    {"node/test_blackmanwindow", true, 1350, true, "pi was 3.1415"},
    {"node/test_hammingwindow", true, 1350, true, "pi was 3.1415"},
    {"node/test_hannwindow", true, 1350, true, "pi was 3.1415"},
    {"node/test_elu", true, 28, false, "exp(x) - 1 cancels near 0"},
    {"node/test_selu", true, 24, false, "exp(x) - 1 cancels near 0"},
    {"node/test_gridsample_bicubic", true, 1850, false, "written with four digits"},
    {"node/test_roialign_aligned", true, 3600, false, "written with four digits"},
    {"node/test_gridsample_bicubic", false, 1850, false, "written with four digits"},
    {"node/test_roialign_aligned", false, 3600, false, "written with four digits"},
    {"node/test_averagepool_2d_ceil_last_window_starts_on_pad", false, 3200, false,
     "written with four digits"},
    {"node/test_ort_fused_conv_sigmoid", false, 0.94, true, "ONNX Runtime's sigmoid is a fit"},
    {"node/test_dft_inverse", false, 0.32, true, "a Fourier transform in complex64 cancels"},
};

/* So much of an output may have no bound; so few elements are none, where outputs are small. */
#define UNCHECKED_MOST 0.01
#define UNCHECKED_FEW 4

/* Cases whose names begin so may have more: errors of what was computed reach across a rounding
 * step. */
static const struct {
    const char *name, *reason;
} unchecked[] = {
    {"node/test_gridsample", "places in the image are rounded down"},
    {"node/test_roialign", "places in the image are rounded down"},
    {"node/test_basic_deform_conv", "places in the image are rounded down"},
    {"node/test_quantizelinear", "quotients are rounded"},
    {"node/test_nonmaxsuppression_iou_threshold_boundary",
     "an overlap is the threshold but for its rounding"},
};

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

const char *onnx_unchecked_because(const char *name)
{
    for (size_t i = 0; i < sizeof unchecked / sizeof *unchecked; i++)
        if (starts(name, unchecked[i].name))
            return unchecked[i].reason;
    return NULL;
}

const struct onnx_exception *onnx_exception_of(const char *name, bool debian)
{
    for (size_t i = 0; i < sizeof exceptions / sizeof *exceptions; i++)
        if (exceptions[i].debian == debian && starts(name, exceptions[i].name))
            return &exceptions[i];
    return NULL;
}

bool onnx_compare_compiled(const struct interp_tensor *reference, const void *found,
                           const char *unchecked_because, struct onnx_distance *distance,
                           struct error *err)
{
    struct interp_difference worst;
    interp_compare(reference, found, &worst);
    distance->elements += reference->count;
    distance->undetermined += worst.undetermined;
    distance->worst_ratio = fmax(distance->worst_ratio, worst.worst_ratio);
    if (!unchecked_because && worst.undetermined > UNCHECKED_FEW &&
        (double)worst.undetermined > UNCHECKED_MOST * (double)reference->count)
        return fail(err, ERR_VERIFY, "%lld of %lld elements cannot be checked",
                    (long long)worst.undetermined, (long long)reference->count);
    return worst.worst_ratio <= 1 ||
           fail(err, ERR_VERIFY, "[%lld] is off by %.3g, bound %.3g", (long long)worst.worst_index,
                worst.worst_absolute, worst.worst_bound);
}

/* The unit in the last place of a value of the dtype. */
static double unit_of(enum dtype dtype, double value)
{
    int exponent;
    frexp(value, &exponent);
    return fmax(ldexp(dtype_unit_roundoff(dtype), exponent), dtype_min_subnormal(dtype));
}

static double value_of(enum dtype dtype, union cell cell)
{
    return dtype_is_float(dtype) ? cell.f : dtype_int_value(dtype, cell.i);
}

static bool is_same(enum dtype dtype, union cell a, union cell b)
{
    if (!dtype_is_float(dtype))
        return a.i == b.i;
    return a.f == b.f || (isnan(a.f) && isnan(b.f));
}

/* How many units of the dtype b is beyond bound from a; units of largest, where it is not 0. */
static double excess(enum dtype dtype, union cell a, union cell b, double bound, double largest)
{
    if (is_same(dtype, a, b))
        return 0;
    if (!dtype_is_float(dtype))
        return fabs(value_of(dtype, a) - value_of(dtype, b)) <= bound ? 0 : INFINITY;
    if (!isfinite(a.f) || !isfinite(b.f))
        return INFINITY;
    double size = largest > 0 ? largest : fmax(fabs(a.f), fabs(b.f));
    return fmax(fabs(a.f - b.f) - bound, 0) / unit_of(dtype, size);
}

static double largest_of(const struct interp_tensor *t)
{
    double largest = 0;
    for (int64_t i = 0; dtype_is_float(t->dtype) && i < t->count; i++)
        if (isfinite(t->cells[i].f))
            largest = fmax(largest, fabs(t->cells[i].f));
    return largest;
}

/* Without a bound: as ONNX's own runner has it, and a little of the largest element. Infinities
 * must be the same. */
static bool is_close(const struct interp_tensor *expected, union cell want, union cell have)
{
    enum dtype dtype = expected->dtype;
    double relative = dtype == DTYPE_BF16  ? RELATIVE_BF16
                      : dtype == DTYPE_F16 ? RELATIVE_F16
                                           : RELATIVE;
    double absolute = fmax(ABSOLUTE, 0x1p-24 * largest_of(expected));
    if (is_same(dtype, want, have) || !dtype_is_float(dtype) || !isfinite(want.f))
        return is_same(dtype, want, have);
    return fabs(want.f - have.f) <= absolute + relative * fabs(want.f);
}

bool onnx_compare_data(const struct interp_tensor *reference, const void *found,
                       const struct import_tensor *expected, const struct onnx_exception *exception,
                       struct arena *arena, struct onnx_distance *distance, struct error *err)
{
    enum dtype dtype = reference->dtype;
    double data_ulp = exception ? exception->ulp : ONNX_DATA_ULP;
    struct interp_tensor want, have;
    if (expected->dtype != dtype)
        return fail(err, ERR_VERIFY, "is %s, the data are %s", dtype_name(dtype),
                    dtype_name(expected->dtype));
    const struct native_tensor native = {dtype, expected->rank, expected->shape, expected->data};
    if (!interp_load(&want, arena, &native, err) ||
        !interp_load(&have, arena,
                     &(struct native_tensor){dtype, reference->rank, reference->shape, found}, err))
        return false;
    if (want.count != reference->count)
        return fail(err, ERR_VERIFY, "has %lld elements, the data %lld",
                    (long long)reference->count, (long long)want.count);
    double largest = exception && exception->of_largest ? largest_of(reference) : 0;
    for (int64_t i = 0; i < want.count; i++) {
        double bound = reference->bounds ? reference->bounds[i] : 0;
        if (!(bound < INFINITY)) {
            if (!is_close(&want, want.cells[i], have.cells[i]))
                return fail(err, ERR_VERIFY, "[%lld] is %g, expected %g", (long long)i,
                            value_of(dtype, have.cells[i]), value_of(dtype, want.cells[i]));
            continue;
        }
        double beyond = excess(dtype, reference->cells[i], want.cells[i], bound, largest);
        distance->data_ulp = fmax(distance->data_ulp, beyond);
        if (!(beyond <= data_ulp))
            return fail(err, ERR_VERIFY,
                        "[%lld]: the data say %.9g, the reference %.9g with bound %.3g, %.3g units "
                        "in the last place too far",
                        (long long)i, value_of(dtype, want.cells[i]),
                        value_of(dtype, reference->cells[i]), bound, beyond);
    }
    return true;
}
