#include "runtime/inside.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/runtime_priv.h"

bool tensor_keep(const DLTensor *given, bool with_elements, struct kept_tensor *out,
                 struct error *err)
{
    struct tensor tensor;
    *out = (struct kept_tensor){.dl.data = NULL};
    if (!tensor_check(given, with_elements, &tensor, err))
        return false;
    void *data = block_new(tensor.size_bytes);
    if (!data)
        return fail(err, ERR_NOMEM, "no memory for a copy of %zu bytes", tensor.size_bytes);
    if (with_elements)
        copy_to_dense(data, &tensor);
    else
        memset(data, 0, tensor.size_bytes);
    out->dl = *given;
    out->dl.data = data;
    out->dl.byte_offset = 0;
    out->dl.strides = NULL;
    out->dl.shape = out->shape;
    if (tensor.rank > 0)
        memcpy(out->shape, tensor.shape, tensor.rank * sizeof *out->shape);
    return true;
}

void tensor_give(const struct kept_tensor *kept, const DLTensor *to)
{
    struct tensor tensor;
    struct error none;
    if (tensor_check(to, true, &tensor, &none))
        copy_from_dense(&tensor, kept->dl.data);
}

void tensor_forget(struct kept_tensor *kept)
{
    free(kept->dl.data);
    kept->dl.data = NULL;
}

const struct graft_spec *module_graft(const urza_module *module)
{
    return module->graft;
}
