/* Networks as PyTorch exports them, by ONNX and by torch.export, from small versions of what
 * bench/models/definitions.py defines (bench/models/export.py --tiny wrote them): each is read,
 * compiled for this CPU and run.
 *
 * What PyTorch computes stands beside a model, in float64 and in float32. No output may lie further
 * from the first than BOUND times as far as the second does: so the bound is as tight as float32
 * allows for this network, and knows nothing of how we compute. */
#include "base/error.h"
#include "base/file.h"
#include "base/npy.h"
#include "compiler/compile.h"
#include "package/package.h"
#include "urza/run.h"

#include "support/work.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FOLDER "tests/data/models"
#define FILE_BYTES ((size_t)1 << 20)
#define MAX_TENSORS 4
#define BOUND 4.0
#define FLOOR 0x1p-23 /* of the largest magnitude: an error of this size means nothing */

static const char *const names[] = {
    "resnet50",  "mobilenet_v3", "efficientnet_b0", "convnext_t",  "vit_b_16", "unet",
    "bert_base", "gpt2",         "llama",           "lstm_tagger",
};

struct model {
    struct arena arena;
    const char *name;
    urza_module *module;
    DLTensor inputs[MAX_TENSORS], outputs[MAX_TENSORS];
    int64_t shapes[MAX_TENSORS][8];
    uint32_t input_count, output_count;
};

static void *read_all(struct model *m, const char *file, size_t *out_size)
{
    char path[160], *bytes;
    struct error err = {.code = ERR_NONE};
    snprintf(path, sizeof path, FOLDER "/%s/%s", m->name, file);
    if (!file_read(path, FILE_BYTES, &bytes, out_size, &err))
        fail_msg("%s: %s", path, err.message);
    void *copy = arena_memdup(&m->arena, bytes, *out_size);
    free(bytes);
    return copy;
}

static struct npy read_npy(struct model *m, const char *kind, uint32_t index)
{
    char file[128];
    struct error err = {.code = ERR_NONE};
    struct npy npy;
    size_t size;
    if (index == UINT32_MAX)
        snprintf(file, sizeof file, "%s.npy", kind);
    else
        snprintf(file, sizeof file, "%s.%u.npy", kind, index);
    void *bytes = read_all(m, file, &size);
    if (!npy_parse(bytes, size, &m->arena, &npy, &err))
        fail_msg("%s/%s: %s", m->name, file, err.message);
    return npy;
}

static void load(struct model *m, const char *file)
{
    const struct compile_options options = {.strategy = STRATEGY_FAST,
                                            .targets = target_best_here()};
    const urza_load_options how = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 2};
    struct compile_result compiled;
    struct error err = {.code = ERR_NONE};
    urza_error problem = {0};
    size_t size;
    const char *text = read_all(m, file, &size);
    if (!compile_blueprint(text, size, &options, &m->arena, &compiled, &err))
        fail_msg("%s/%s: %s: %s", m->name, file, err.place, err.message);
    if (!work_is_bounded(compiled.package, compiled.package_bytes, &err))
        fail_msg("%s/%s: %s: %s", m->name, file, err.place, err.message);
    if (urza_load_memory(compiled.package, compiled.package_bytes, &how, &m->module, &problem) != 0)
        fail_msg("%s/%s: %s: %s", m->name, file, problem.place, problem.message);
}

static void run(struct model *m)
{
    urza_error problem = {0};
    urza_stats stats;
    m->input_count = urza_input_count(m->module);
    m->output_count = urza_output_count(m->module);
    assert_true(m->input_count <= MAX_TENSORS && m->output_count <= MAX_TENSORS);
    for (uint32_t i = 0; i < m->input_count; i++) {
        const urza_tensor_info *info = urza_input_info(m->module, i);
        struct npy npy = read_npy(m, info->name, UINT32_MAX);
        m->inputs[i] = (DLTensor){.data = (void *)npy.data,
                                  .device = {.device_type = kDLCPU},
                                  .ndim = (int32_t)npy.rank,
                                  .dtype = info->dtype,
                                  .shape = arena_memdup(&m->arena, npy.shape, sizeof npy.shape)};
    }
    if (urza_output_shapes(m->module, m->inputs, m->input_count, m->shapes, &problem) != 0)
        fail_msg("%s: %s: %s", m->name, problem.place, problem.message);
    for (uint32_t i = 0; i < m->output_count; i++) {
        const urza_tensor_info *info = urza_output_info(m->module, i);
        size_t count = 1;
        for (int32_t axis = 0; axis < info->rank; axis++)
            count *= (size_t)m->shapes[i][axis];
        m->outputs[i] = (DLTensor){.data = arena_alloc(&m->arena, count * sizeof(float), 64),
                                   .device = {.device_type = kDLCPU},
                                   .ndim = info->rank,
                                   .dtype = info->dtype,
                                   .shape = m->shapes[i]};
    }
    if (urza_call(m->module, m->inputs, m->input_count, m->outputs, m->output_count, NULL,
                  &problem) != 0)
        fail_msg("%s: %s: %s", m->name, problem.place, problem.message);
    urza_stats_get(m->module, &stats);
    assert_int_equal(stats.native_calls, 1);
}

static void compare(struct model *m, uint32_t index)
{
    struct npy expected = read_npy(m, "expected", index), torch = read_npy(m, "torch", index);
    const DLTensor *output = &m->outputs[index];
    const double *exact = expected.data;
    const float *theirs = torch.data, *ours = output->data;
    double largest = 0, their_error = 0, our_error = 0;
    assert_string_equal(expected.descr, "<f8");
    assert_string_equal(torch.descr, "<f4");
    assert_int_equal(output->dtype.code, kDLFloat);
    assert_int_equal(output->dtype.bits, 32);
    assert_int_equal(output->ndim, expected.rank);
    for (uint32_t axis = 0; axis < expected.rank; axis++)
        assert_int_equal(output->shape[axis], expected.shape[axis]);
    size_t count = expected.data_bytes / sizeof *exact;
    assert_int_equal(torch.data_bytes / sizeof *theirs, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(isfinite(ours[i]));
        largest = fmax(largest, fabs(exact[i]));
        their_error = fmax(their_error, fabs((double)theirs[i] - exact[i]));
        our_error = fmax(our_error, fabs((double)ours[i] - exact[i]));
    }
    assert_true(largest > 0);
    if (our_error > BOUND * fmax(their_error, FLOOR * largest))
        fail_msg("%s, output %u: an error of %g, PyTorch's is %g, the largest value %g", m->name,
                 index, our_error, their_error, largest);
}

static void test_model(const char *name, const char *file)
{
    struct model m = {.name = name};
    arena_init(&m.arena);
    load(&m, file);
    run(&m);
    for (uint32_t i = 0; i < m.output_count; i++)
        compare(&m, i);
    urza_unload(m.module);
    arena_release(&m.arena);
}

static void test_onnx(void **state)
{
    test_model(*state, "model.onnx");
}

static void test_pt2(void **state)
{
    test_model(*state, "model.pt2");
}

int main(void)
{
    enum { COUNT = sizeof names / sizeof *names };
    struct CMUnitTest tests[2 * COUNT];
    char labels[2 * COUNT][64];
    for (size_t i = 0; i < 2 * COUNT; i++) {
        const char *name = names[i / 2];
        snprintf(labels[i], sizeof labels[i], "%s by %s", name, i % 2 ? "torch.export" : "ONNX");
        tests[i] = (struct CMUnitTest){.name = labels[i],
                                       .test_func = i % 2 ? test_pt2 : test_onnx,
                                       .initial_state = (void *)name};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
