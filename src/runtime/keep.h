/* Copies of tensors, for callers inside this program. */
#ifndef URZA_RUNTIME_KEEP_H
#define URZA_RUNTIME_KEEP_H

#include <stdbool.h>

#include "base/error.h"
#include "base/limits.h"
#include "urza/run.h"

/* A dense tensor that owns its memory and shape. It must not be moved. */
struct kept_tensor {
    DLTensor dl;
    int64_t shape[LIMIT_RANK];
};
/* Copies a tensor, or only makes room for one of its shape. ERR_INPUT, ERR_NOMEM. */
bool tensor_keep(const DLTensor *given, bool with_elements, struct kept_tensor *out,
                 struct error *err);
void tensor_forget(struct kept_tensor *kept);

#endif
