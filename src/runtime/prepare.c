/* Params, and the buffers that are computed from them.
 *
 * A module has its own copy of its params, each 64-aligned, so that the package's bytes can be
 * freed after loading and params can change. Only where these bytes are borrowed (borrow.h) params
 * that are aligned there stay there. New values wait in module.pending until the next
 * prepare, so native code and the interpreter always see params and prepared buffers that belong
 * together. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "runtime/borrow.h"
#include "runtime/runtime_priv.h"

_Static_assert(URZA_BORROW_ALIGN == BLOCK_ALIGN, "params are blocks");

static bool stays(const struct urza_module *module, const struct package_param *param)
{
    return module->borrowed && (uintptr_t)param->data % URZA_BORROW_ALIGN == 0;
}

static bool copy_params(struct urza_module *module, struct error *err)
{
    uint32_t count = module->package.graph.params.count;
    const struct package_param *params = module->package.params;
    int64_t total = 0, size;
    for (uint32_t i = 0; i < count; i++)
        if (!block_round((int64_t)params[i].data_bytes, &size) ||
            !checked_add_i64(total, stays(module, &params[i]) ? 0 : size, &total))
            return fail(err, ERR_LIMIT, "the params are too large");
    module->param_memory = block_new((size_t)total);
    if (!module->param_memory)
        return fail(err, ERR_NOMEM, "no memory for %" PRId64 " bytes of params", total);
    char *next = module->param_memory;
    for (uint32_t i = 0; i < count; i++) {
        if (stays(module, &params[i])) {
            module->params[i] = (void *)(uintptr_t)params[i].data; /* only read */
            continue;
        }
        module->params[i] = next;
        if (params[i].data_bytes > 0)
            memcpy(next, params[i].data, params[i].data_bytes);
        block_round((int64_t)params[i].data_bytes, &size);
        next += size;
    }
    return true;
}

/* The size of a prepared buffer in bytes, rounded up. */
static bool prepared_size(const struct plan *plan, const struct plan_buffer *buffer, int64_t *out)
{
    int64_t elements, bytes;
    return dim_is_const(plan->dims, buffer->elements, &elements) &&
           checked_mul_i64(elements, (int64_t)dtype_bytes(buffer->dtype), &bytes) &&
           bytes <= LIMIT_TENSOR_BYTES && block_round(bytes, out);
}

static bool place_prepared(struct urza_module *module, struct error *err)
{
    const struct plan *plan = &module->target->plan;
    int64_t total = 0, size = 0;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_PREPARED &&
            (!prepared_size(plan, &plan->buffers.items[i], &size) ||
             !checked_add_i64(total, size, &total)))
            return fail(err, ERR_LIMIT, "prepared buffer %u is too large", i);
    module->prepared_memory = block_new((size_t)total);
    if (!module->prepared_memory)
        return fail(err, ERR_NOMEM, "no memory for %" PRId64 " bytes of prepared params", total);
    char *next = module->prepared_memory;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->kind == BUFFER_PARAM)
            module->fixed[i] = module->params[buffer->index];
        if (buffer->kind != BUFFER_PREPARED)
            continue;
        module->fixed[i] = next;
        prepared_size(plan, buffer, &size);
        next += size;
    }
    return true;
}

bool prepare_init(struct urza_module *module, struct error *err)
{
    return copy_params(module, err) && (!module->target || place_prepared(module, err)) &&
           prepare_run(module, err);
}

static void commit_pending(struct urza_module *module)
{
    for (uint32_t i = 0; i < module->package.graph.params.count; i++) {
        if (!module->pending[i])
            continue;
        memcpy(module->params[i], module->pending[i], module->package.params[i].data_bytes);
        free(module->pending[i]);
        module->pending[i] = NULL;
    }
}

/* Sizes one prepare launch; all its dims are constants (plan_parse checks it). */
static bool size_launch(const struct urza_module *module, const struct plan_launch *launch,
                        struct shape_launch *out, int64_t *out_scratch_bytes, struct error *err)
{
    const struct dim_table *dims = module->target->plan.dims;
    static const int64_t no_dims[LIMIT_NAMED_DIMS];
    int64_t extent, scratch;
    if (!dim_is_const(dims, launch->code.extent, &extent) ||
        !dim_is_const(dims, launch->code.scratch_bytes, &scratch) ||
        !block_round(scratch, &scratch))
        return fail(err, ERR_PACKAGE, "launch '%s' has no fixed size", launch->label);
    uint32_t chunks = launch_chunks(module, launch, no_dims, extent, scratch, 1);
    *out = (struct shape_launch){
        .kernel = module->kernels[launch->code.kernel],
        .number = module->first_launch + (uint32_t)(launch - module->target->plan.prepare.items),
        .chunks = chunks,
        .extent = extent,
        .scratch_stride = (size_t)scratch,
    };
    return checked_mul_i64(scratch, chunks, out_scratch_bytes) ||
           fail(err, ERR_LIMIT, "launch '%s' needs too much scratch memory", launch->label);
}

static void run_launch(struct urza_module *module, const struct plan_launch *launch,
                       const struct shape_launch *sized, char *scratch)
{
    static const int64_t no_dims[LIMIT_NAMED_DIMS];
    void *buffers[LIMIT_KERNEL_BUFFERS];
    for (uint32_t i = 0; i < launch->arg_count; i++)
        buffers[i] = module->fixed[launch->args[i]];
    if (sized->extent > 0)
        launch_run(module, sized, buffers, no_dims, scratch, (struct iterations){0, sized->extent});
}

bool prepare_run(struct urza_module *module, struct error *err)
{
    if (!module->target) {
        commit_pending(module);
        return true;
    }
    const struct plan *plan = &module->target->plan;
    struct shape_launch sized;
    int64_t scratch_bytes = 0, needed;
    for (uint32_t i = 0; i < plan->prepare.count; i++) {
        if (!size_launch(module, &plan->prepare.items[i], &sized, &needed, err))
            return false;
        if (needed > scratch_bytes)
            scratch_bytes = needed;
    }
    char *scratch = block_new((size_t)scratch_bytes);
    if (!scratch)
        return fail(err, ERR_NOMEM, "no memory for %" PRId64 " bytes of scratch", scratch_bytes);
    commit_pending(module);
    for (uint32_t i = 0; i < plan->prepare.count; i++)
        if (size_launch(module, &plan->prepare.items[i], &sized, &needed, err))
            run_launch(module, &plan->prepare.items[i], &sized, scratch);
    free(scratch);
    return true;
}

void prepare_release(struct urza_module *module)
{
    for (uint32_t i = 0; module->pending && i < module->package.graph.params.count; i++)
        free(module->pending[i]);
    free(module->param_memory);
    free(module->prepared_memory);
}

static bool set_param(struct urza_module *module, const char *name, const DLTensor *value,
                      struct error *err)
{
    uint32_t index = 0, count = module->package.graph.params.count;
    if (module->borrowed)
        return fail(err, ERR_USAGE, "the module has borrowed its params");
    while (index < count && strcmp(module->param_infos[index].name, name) != 0)
        index++;
    if (index == count)
        return fail(err, ERR_NOT_FOUND, "there is no such param");
    const urza_tensor_info *info = &module->param_infos[index];
    struct tensor tensor;
    if (!tensor_check(value, true, &tensor, err))
        return false;
    if (tensor.dtype != module->package.params[index].dtype)
        return fail(err, ERR_INPUT, "has dtype %s, expected %s", dtype_name(tensor.dtype),
                    dtype_name(module->package.params[index].dtype));
    if (tensor.rank != (uint32_t)info->rank)
        return fail(err, ERR_INPUT, "has %u dims, expected %d", tensor.rank, info->rank);
    for (uint32_t i = 0; i < tensor.rank; i++)
        if (tensor.shape[i] != info->shape[i])
            return fail(err, ERR_INPUT, "dim %u is %" PRId64 ", expected %" PRId64, i,
                        tensor.shape[i], info->shape[i]);
    if (!module->pending[index] && !(module->pending[index] = block_new(tensor.size_bytes)))
        return fail(err, ERR_NOMEM, "no memory for %zu bytes", tensor.size_bytes);
    copy_to_dense(module->pending[index], &tensor);
    return true;
}

URZA_EXPORT int urza_param_set(urza_module *module, const char *name, const DLTensor *value,
                               urza_error *err)
{
    struct error e;
    if (!module || !name || !value)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    bool ok = set_param(module, name, value, &e) || fail_at(&e, "param '%s'", name);
    return public_result(ok, &e, err);
}

URZA_EXPORT int urza_prepare(urza_module *module, urza_error *err)
{
    struct error e;
    bool ok = module ? prepare_run(module, &e) : fail(&e, ERR_USAGE, "the module is NULL");
    return public_result(ok, &e, err);
}
