/* Ours: a case compiled in process, loaded and called by the public runtime. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "bench.h"
#include "compiler/compile.h"
#include "verify/verify.h"

/* Rounding to nearest, binary32. */
#define UNIT_ROUNDOFF 0x1p-24

struct bench_case *case_add(struct case_list *list, enum case_kind kind, const char *dims,
                            const char *name_format, ...)
{
    char name[128];
    va_list args;
    va_start(args, name_format);
    vsnprintf(name, sizeof name, name_format, args);
    va_end(args);
    struct bench_case one = {.name = arena_strdup(list->arena, name),
                             .dims = dims ? arena_strdup(list->arena, dims) : NULL,
                             .kind = kind};
    VEC_PUSH(list->arena, &list->cases, one);
    return &list->cases.items[list->cases.count - 1];
}

static bool fail_with(const urza_error *from, struct error *err)
{
    fail(err, (enum error_code)from->code, "%s", from->message);
    return fail_at(err, "%s", from->place);
}

uint64_t tensor_elements(const DLTensor *tensor)
{
    uint64_t count = 1;
    for (int32_t axis = 0; axis < tensor->ndim; axis++)
        count *= (uint64_t)tensor->shape[axis];
    return count;
}

const float *subject_input(const struct subject *subject, uint32_t index)
{
    return subject->inputs[index].data;
}

const float *subject_param(const struct subject *subject, uint32_t index)
{
    return subject->contents.params[index].data;
}

const float *subject_right_operand(const struct subject *subject, float **out_own)
{
    const struct gemm *gemm = &subject->test->gemm;
    *out_own = NULL;
    if (!gemm->packed)
        return subject_input(subject, 1);
    size_t bytes = (size_t)(gemm->n * gemm->k) * sizeof(float);
    const float *weights = subject_param(subject, 0);
    float *rows = aligned_alloc(64, (bytes + 63) / 64 * 64);
    for (int64_t n = 0; n < gemm->n; n++)
        for (int64_t k = 0; k < gemm->k; k++)
            rows[k * gemm->n + n] = weights[n * gemm->k + k];
    return *out_own = rows;
}

static void make_tensor(struct subject *subject, DLDataType dtype, int32_t rank,
                        const int64_t *shape, DLTensor *out)
{
    *out = (DLTensor){.ndim = rank, .dtype = dtype, .device.device_type = kDLCPU};
    out->shape = arena_memdup(&subject->arena, shape, LIMIT_RANK * sizeof *shape);
    size_t bytes = (size_t)tensor_elements(out) * dtype.bits / 8;
    out->data = arena_alloc(&subject->arena, bytes, 64);
    memset(out->data, 0, bytes);
}

/* Uniform values of variance 1 for floats; small indices for integers. */
static void fill(const DLTensor *tensor, uint64_t key)
{
    uint64_t count = tensor_elements(tensor);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits = rng_u32(key, i);
        if (tensor->dtype.code == kDLFloat && tensor->dtype.bits == 32)
            ((float *)tensor->data)[i] = (float)(3.46 * (rng_uniform(key, i) - 0.5));
        else if (tensor->dtype.code == kDLInt && tensor->dtype.bits == 64)
            ((int64_t *)tensor->data)[i] = bits % 100;
        else if (tensor->dtype.code == kDLInt && tensor->dtype.bits == 32)
            ((int32_t *)tensor->data)[i] = (int32_t)(bits % 100);
    }
}

static bool call(struct subject *subject, struct error *err)
{
    urza_error problem = {0};
    return urza_call(subject->module, subject->inputs, subject->input_count, subject->outputs,
                     subject->output_count, NULL, &problem) == 0 ||
           fail_with(&problem, err);
}

static bool make_tensors(struct subject *subject, struct error *err)
{
    int64_t shapes[TENSORS][8];
    urza_error problem = {0};
    subject->input_count = urza_input_count(subject->module);
    subject->output_count = urza_output_count(subject->module);
    if (subject->input_count > TENSORS || subject->output_count > TENSORS)
        return fail(err, ERR_LIMIT, "more than %d tensors", TENSORS);
    for (uint32_t i = 0; i < subject->input_count; i++) {
        const urza_tensor_info *info = urza_input_info(subject->module, i);
        int64_t shape[8] = {0};
        if (urza_input_shape(subject->module, i, subject->dims, shape, &problem) != 0)
            return fail_with(&problem, err);
        make_tensor(subject, info->dtype, info->rank, shape, &subject->inputs[i]);
        fill(&subject->inputs[i], rng_key(i));
        urza_input_fill(subject->module, i, subject->dims, subject->inputs[i].data);
    }
    if (urza_output_shapes(subject->module, subject->inputs, subject->input_count, shapes,
                           &problem) != 0)
        return fail_with(&problem, err);
    for (uint32_t i = 0; i < subject->output_count; i++) {
        const urza_tensor_info *info = urza_output_info(subject->module, i);
        make_tensor(subject, info->dtype, info->rank, shapes[i], &subject->outputs[i]);
    }
    return true;
}

static void make_absolute(const DLTensor *tensor)
{
    float *values = tensor->data;
    for (uint64_t i = 0; i < tensor_elements(tensor); i++)
        values[i] = fabsf(values[i]);
}

/* Sets every parameter to its values, or to their absolute values. */
static bool set_params(struct subject *subject, bool absolute, struct error *err)
{
    urza_error problem = {0};
    for (uint32_t i = 0; i < urza_param_count(subject->module); i++) {
        const urza_tensor_info *info = urza_param_info(subject->module, i);
        DLTensor value;
        int64_t shape[LIMIT_RANK] = {0};
        memcpy(shape, info->shape, (size_t)info->rank * sizeof *shape);
        make_tensor(subject, info->dtype, info->rank, shape, &value);
        memcpy(value.data, subject->contents.params[i].data,
               subject->contents.params[i].data_bytes);
        if (absolute)
            make_absolute(&value);
        if (urza_param_set(subject->module, info->name, &value, &problem) != 0)
            return fail_with(&problem, err);
    }
    return urza_prepare(subject->module, &problem) == 0 || fail_with(&problem, err);
}

/* A linear case run on absolute values sums the absolute values of its terms, which is what bounds
 * the rounding error of any order of summation. */
static bool sum_magnitudes(struct subject *subject, struct error *err)
{
    DLTensor plain[TENSORS];
    memcpy(plain, subject->inputs, sizeof plain);
    for (uint32_t i = 0; i < subject->input_count; i++) {
        make_tensor(subject, plain[i].dtype, plain[i].ndim, plain[i].shape, &subject->inputs[i]);
        memcpy(subject->inputs[i].data, plain[i].data, tensor_elements(&plain[i]) * sizeof(float));
        make_absolute(&subject->inputs[i]);
    }
    bool ok =
        set_params(subject, true, err) && call(subject, err) && set_params(subject, false, err);
    memcpy(subject->inputs, plain, sizeof plain);
    subject->magnitudes = arena_memdup(&subject->arena, subject->outputs[0].data,
                                       tensor_elements(&subject->outputs[0]) * sizeof(float));
    return ok;
}

bool subject_agrees(const struct subject *subject, uint32_t output, const float *result)
{
    const DLTensor *tensor = &subject->outputs[output];
    const float *ours = tensor->data;
    uint64_t count = tensor_elements(tensor);
    double squares = 0;
    for (uint64_t i = 0; i < count; i++)
        squares += (double)ours[i] * (double)ours[i];
    double scale = sqrt(squares / (double)(count ? count : 1));
    /* Errors of n additions are independent enough to grow as sqrt(n); the factor leaves room. */
    double slack = 8 * sqrt((double)subject->test->terms) * UNIT_ROUNDOFF;
    for (uint64_t i = 0; i < count; i++) {
        double bound = subject->magnitudes && output == 0
                           ? slack * (double)subject->magnitudes[i]
                           : 1e-3 * (fabs((double)ours[i]) + 0.1 * scale);
        if (!(fabs((double)ours[i] - (double)result[i]) <= bound))
            return false;
    }
    return true;
}

static bool load(struct subject *subject, uint32_t threads, struct error *err)
{
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = threads};
    urza_error problem = {0};
    return urza_load_memory(subject->package, subject->package_bytes, &options, &subject->module,
                            &problem) == 0 ||
           fail_with(&problem, err);
}

static bool make_ready(struct subject *subject, uint32_t threads,
                       const struct config_chooser *chooser, struct error *err)
{
    const char *text = subject->test->blueprint;
    urza_stats stats;
    struct compile_options options = {
        .targets = target_best_here(), .strategy = STRATEGY_FAST, .chooser = chooser};
    struct compile_result result = {0};
    if (!compile_blueprint(text, strlen(text), &options, &subject->arena, &result, err))
        return false;
    void *package = arena_alloc(&subject->arena, result.package_bytes, 64);
    subject->package = memcpy(package, result.package, result.package_bytes);
    subject->package_bytes = result.package_bytes;
    subject->compile_ms = result.total_ms;
    if (!package_read(package, result.package_bytes, &(struct trust){TRUST_ALLOW_UNSIGNED, NULL},
                      &subject->arena, &subject->contents, err) ||
        !dims_choose(&subject->contents.graph.dims, subject->test->dims, subject->dims, err) ||
        !work_count(&subject->contents.graph, subject->dims, &subject->arena, &subject->work,
                    err) ||
        !load(subject, threads, err) || !make_tensors(subject, err) ||
        (subject->test->terms > 0 && !sum_magnitudes(subject, err)) || !call(subject, err))
        return false;
    urza_stats_get(subject->module, &stats);
    return stats.fallback_calls == 0 ||
           fail(err, ERR_UNSUPPORTED, "interpreted: %s", stats.last_fallback);
}

bool subject_open(const struct bench_case *test, uint32_t threads,
                  const struct config_chooser *chooser, struct subject *out, struct error *err)
{
    *out = (struct subject){.test = test};
    arena_init(&out->arena);
    if (make_ready(out, threads, chooser, err))
        return true;
    subject_release(out);
    return false;
}

void subject_release(struct subject *subject)
{
    urza_unload(subject->module);
    arena_release(&subject->arena);
}

uint64_t subject_run(void *state, uint64_t repetitions)
{
    struct subject *subject = state;
    uint64_t begin = clock_ns();
    for (uint64_t i = 0; i < repetitions; i++)
        urza_call(subject->module, subject->inputs, subject->input_count, subject->outputs,
                  subject->output_count, NULL, NULL);
    return clock_ns() - begin;
}
