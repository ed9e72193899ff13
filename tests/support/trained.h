/* A package with a training step, and the tensors of one step at one size.
 *
 * The sample is of the step's graph (package.h, training): its inputs are those of the block, its
 * params and cotangents, its outputs those of the block and gradients. So the float64 interpreter
 * says with its bounds what both parts of a step must give. Tensors of the sample that a test
 * does not replace are dense; the lists below may be changed. Helpers end the test where what they
 * do must work. */
#ifndef URZA_TESTS_SUPPORT_TRAINED_H
#define URZA_TESTS_SUPPORT_TRAINED_H

#include "base/arena.h"
#include "base/error.h"
#include "package/package.h"
#include "verify/sample.h"

struct trained {
    struct arena arena;
    const void *package;
    size_t package_bytes;
    struct package_contents contents;
    const struct graph *step; /* in contents */
    struct sample sample;
    void **results; /* memory of each output of the step */
    /* In the order of the block. Cotangents of outputs, and gradients of sources, that the step
     * does not have are without data. */
    DLTensor *inputs, *params, *outputs, *cotangents, *input_grads, *param_grads;
    uint32_t input_count, param_count, output_count;
};

/* Compiles the text of a graph, or the blueprint in a file, for the best target here. */
void trained_compile_text(struct trained *t, const char *text, const char *wrt);
void trained_compile_file(struct trained *t, const char *path);
void trained_release(struct trained *t);

/* Makes tensors of that size; params are the package's own values. */
void trained_size(struct trained *t, const int64_t *dims, uint64_t seed, enum fill fill);
/* By what the float64 interpreter says: the worst ratio of difference and bound, 1 or less; and,
 * where out_open is not NULL, for each output of the step whether more than 1 % of it, and more
 * than 4 elements, are not determined. */
double trained_judge(struct trained *t, bool *out_open);

urza_module *trained_load(const struct trained *t, const urza_load_options *options);
/* The lists above. params: whether they are given, or the module's own are taken. */
int trained_forward(struct trained *t, urza_module *module, bool params, urza_tape **out,
                    urza_error *err);
int trained_backward(struct trained *t, urza_tape *tape, uint32_t flags, urza_error *err);
/* Both, which must work, after the results were filled with a pattern. */
void trained_step(struct trained *t, urza_module *module, uint32_t flags);
/* A copy of all results, one behind the other, and the number of its bytes. */
void *trained_copy(struct trained *t, size_t *out_bytes);
void trained_clear(struct trained *t); /* fills the results with a pattern */

#endif
