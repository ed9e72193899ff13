/* Loading for callers inside this program, beside include/urza/run.h. */
#ifndef URZA_RUNTIME_BORROW_H
#define URZA_RUNTIME_BORROW_H

#include <stddef.h>

#include "urza/run.h"

/* As urza_load_memory, but without copies of the package, and of its params that are aligned to
 * URZA_BORROW_ALIGN: its bytes must be so, and stay as they are until the module is unloaded. The
 * module's params cannot be set. */
#define URZA_BORROW_ALIGN 64
int urza_load_borrowed(const void *bytes, size_t size, const urza_load_options *options,
                       urza_module **out, urza_error *err);

/* Calls that are interpreted make at most so many trips of each loop from now on, as if the model
 * said it; what runs compiled code makes all. For verification, before the first call. */
void urza_try_trips(urza_module *module, int64_t most);

#endif
