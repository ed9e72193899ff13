/* A package whose outputs update inputs, and calls of it that must work.
 *
 * The sample has inputs that are dense; memory of its outputs is by place in the lists. Helpers end
 * the test where what they do must work. */
#ifndef URZA_TESTS_SUPPORT_UPDATED_H
#define URZA_TESTS_SUPPORT_UPDATED_H

#include "base/arena.h"
#include "base/error.h"
#include "compiler/compile.h"
#include "package/package.h"
#include "verify/sample.h"

struct updated {
    struct arena arena;
    struct graph graph;
    const void *package;
    size_t package_bytes;
    struct sample sample;
    void **called, **stepped; /* outputs of urza_call and of urza_step, by place */
};

/* From the text of a graph without params, for the best target here; observer may be NULL. */
void updated_compile(struct updated *u, const char *text, const struct compile_observer *observer);
void updated_release(struct updated *u);
/* Draws inputs at a size, and makes memory for outputs. */
void updated_size(struct updated *u, int64_t size, uint64_t seed);
urza_module *updated_load(const struct updated *u, const urza_load_options *options);
/* Whether kernels write output `index` over the input that it updates; by the package. */
bool updated_in_place(struct updated *u, uint32_t index);

/* The tensor of input or output `index` at `data`, in the shape of the sample, dense. */
DLTensor updated_input(struct updated *u, urza_module *module, uint32_t index, void *data);
DLTensor updated_output(struct updated *u, urza_module *module, uint32_t index, void *data);

#endif
