#include "client/loader_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/rng.h"
#include "graph/dtype.h"

#define WARM_BYTES ((int64_t)256 << 20) /* of all inputs; the others are not so much larger */
#define ALIGNMENT ((size_t)64)

/* The typical value of each dim, or the smallest. */
static void choose_dims(const urza_module *module, bool typical, int64_t *dims)
{
    for (uint32_t i = 0; i < urza_dim_count(module); i++) {
        const urza_dim_info *dim = urza_dim(module, i);
        int64_t by = dim->multiple_of, least = (dim->min + by - 1) / by * by;
        bool fits = typical && dim->typical >= dim->min && dim->typical <= dim->max &&
                    dim->typical % by == 0;
        dims[i] = fits ? dim->typical : least;
    }
}

/* Bytes of an input; false: it has no shape at these dims, or too many elements. */
static bool measure(const urza_module *module, uint32_t input, const int64_t *dims, int64_t *shape,
                    int64_t *out)
{
    const urza_tensor_info *info = urza_input_info(module, input);
    if (urza_input_shape(module, input, dims, shape, NULL) != 0)
        return false;
    *out = (info->dtype.bits + 7) / 8;
    for (int32_t i = 0; i < info->rank; i++)
        if (!checked_mul_i64(*out, shape[i], out))
            return false;
    return *out <= WARM_BYTES;
}

/* Small numbers: floats in [0, 1), integers 0. */
static void draw(const urza_tensor_info *info, uint64_t key, char *data, int64_t bytes)
{
    memset(data, 0, (size_t)bytes);
    if (info->dtype.code == kDLFloat && info->dtype.bits == 32)
        for (int64_t i = 0; i < bytes / 4; i++)
            ((float *)(void *)data)[i] = (float)rng_uniform(key, (uint64_t)i);
    if (info->dtype.code == kDLFloat && info->dtype.bits == 64)
        for (int64_t i = 0; i < bytes / 8; i++)
            ((double *)(void *)data)[i] = rng_uniform(key, (uint64_t)i);
}

struct warming {
    urza_module *module;
    uint32_t inputs, outputs;
    DLTensor *tensors; /* inputs, then outputs */
    int64_t (*shapes)[8];
    char **data; /* by input */
};

/* Makes inputs at these dims; false: they would be too large, or there is no memory. */
static bool make_inputs(struct warming *w, const int64_t *dims)
{
    int64_t all = 0;
    for (uint32_t i = 0; i < w->inputs; i++) {
        const urza_tensor_info *info = urza_input_info(w->module, i);
        int64_t bytes;
        free(w->data[i]);
        w->data[i] = NULL;
        if (!measure(w->module, i, dims, w->shapes[i], &bytes) || (all += bytes) > WARM_BYTES)
            return false;
        size_t room = ((size_t)bytes / ALIGNMENT + 1) * ALIGNMENT;
        w->data[i] = aligned_alloc(ALIGNMENT, room);
        if (!w->data[i])
            return false;
        draw(info, rng_key(i + 1), w->data[i], bytes);
        if (urza_input_decides(w->module, i))
            urza_input_fill(w->module, i, dims, w->data[i]);
        w->tensors[i] = (DLTensor){.data = w->data[i],
                                   .device = {.device_type = kDLCPU},
                                   .ndim = info->rank,
                                   .dtype = info->dtype,
                                   .shape = w->shapes[i]};
    }
    return true;
}

static bool warm(struct warming *w, urza_error *err)
{
    int64_t dims[LIMIT_NAMED_DIMS] = {0};
    urza_result *held = NULL;
    urza_error problem;
    choose_dims(w->module, true, dims);
    if (!make_inputs(w, dims)) {
        choose_dims(w->module, false, dims);
        if (!make_inputs(w, dims))
            return true;
    }
    for (uint32_t i = 0; i < w->outputs; i++)
        w->tensors[w->inputs + i] = (DLTensor){.shape = w->shapes[w->inputs + i]};
    int code = urza_call(w->module, w->tensors, w->inputs, w->tensors + w->inputs, w->outputs,
                         &held, &problem);
    urza_result_release(held);
    bool ok = code == 0 || code == ERR_NOMEM;
    if (!ok)
        *err = problem;
    return ok;
}

bool warm_module(urza_module *module, urza_error *err)
{
    struct warming w = {
        .module = module,
        .inputs = urza_input_count(module),
        .outputs = urza_output_count(module),
    };
    size_t count = (size_t)w.inputs + w.outputs;
    if (strcmp(urza_target(module), "interpreter") == 0)
        return true;
    w.tensors = calloc(count + 1, sizeof *w.tensors);
    w.shapes = calloc(count + 1, sizeof *w.shapes);
    w.data = calloc(count + 1, sizeof *w.data);
    bool ok = !w.tensors || !w.shapes || !w.data || warm(&w, err);
    for (uint32_t i = 0; w.data && i < w.inputs; i++)
        free(w.data[i]);
    free(w.tensors);
    free(w.shapes);
    free(w.data);
    return ok;
}
