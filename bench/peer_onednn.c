/* oneDNN: one primitive per case. What it may lay out as it likes is `any`, and reordered before
 * the time starts, as a framework would keep it between layers; `plain` leaves a convolution's
 * input and output as they are given: NCHW, or channels last. */
#include "bench.h"

#ifdef HAVE_ONEDNN
#include <dlfcn.h>
#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define ARGUMENTS 6

struct engine {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

struct job {
    struct engine *engine;
    dnnl_primitive_desc_t description;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[ARGUMENTS];
    int argument_count;
    dnnl_memory_t output, plain_output;
    dnnl_memory_desc_t plain;
};

typedef dnnl_memory_desc_t layout;

static bool open_onednn(struct peer *peer, uint32_t threads, struct error *err)
{
    void *openmp = dlopen("libgomp.so.1", RTLD_NOW | RTLD_NOLOAD);
    void (*set_threads)(int) = openmp ? dlsym(openmp, "omp_set_num_threads") : NULL;
    struct engine *engine = calloc(1, sizeof *engine);
    peer->state = engine;
    if (!set_threads)
        return fail(err, ERR_UNSUPPORTED, "built for another OpenMP than GCC's");
    set_threads((int)threads);
    if (dnnl_engine_create(&engine->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&engine->stream, engine->engine, dnnl_stream_default_flags) !=
            dnnl_success)
        return fail(err, ERR_UNSUPPORTED, "it has no engine for this machine");
    const dnnl_version_t *version = dnnl_version();
    snprintf(peer->version, sizeof peer->version, "oneDNN %d.%d.%d, OpenMP, effective ISA 0x%x",
             version->major, version->minor, version->patch,
             (unsigned)dnnl_get_effective_cpu_isa());
    return true;
}

static layout tagged(int rank, const int64_t *dims, dnnl_format_tag_t tag)
{
    layout out;
    dnnl_memory_desc_init_by_tag(&out, rank, dims, dnnl_f32, tag);
    return out;
}

static layout strided(int rank, const int64_t *dims, const int64_t *strides)
{
    layout out;
    dnnl_memory_desc_init_by_strides(&out, rank, dims, dnnl_f32, strides);
    return out;
}

static bool reorder(struct engine *engine, dnnl_memory_t from, dnnl_memory_t to)
{
    const layout *from_layout, *to_layout;
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    dnnl_memory_get_memory_desc(from, &from_layout);
    dnnl_memory_get_memory_desc(to, &to_layout);
    bool ok = dnnl_reorder_primitive_desc_create(&description, from_layout, engine->engine,
                                                 to_layout, engine->engine, NULL) == dnnl_success &&
              dnnl_primitive_create(&primitive, description) == dnnl_success &&
              dnnl_primitive_execute(primitive, engine->stream, 2, arguments) == dnnl_success &&
              dnnl_stream_wait(engine->stream) == dnnl_success;
    dnnl_primitive_destroy(primitive);
    dnnl_primitive_desc_destroy(description);
    return ok;
}

static dnnl_memory_t memory_of(struct job *job, const layout *layout_wanted, const float *data)
{
    dnnl_memory_t memory = NULL;
    /* Inputs are only read; the interface has no pointer to const. */
    void *handle = data ? (void *)(uintptr_t)data : DNNL_MEMORY_ALLOCATE;
    dnnl_memory_create(&memory, layout_wanted, job->engine->engine, handle);
    return memory;
}

/* An argument laid out as the primitive wants it, from data laid out as given. */
static void add_input(struct job *job, int argument, const layout *wanted, const layout *given,
                      const float *data)
{
    dnnl_memory_t memory = memory_of(job, given, data);
    if (!dnnl_memory_desc_equal(wanted, given)) {
        dnnl_memory_t other = memory_of(job, wanted, NULL);
        reorder(job->engine, memory, other);
        dnnl_memory_destroy(memory);
        memory = other;
    }
    job->arguments[job->argument_count++] = (dnnl_exec_arg_t){argument, memory};
}

static void add_output(struct job *job, const layout *wanted, const layout *plain)
{
    job->output = memory_of(job, wanted, NULL);
    job->plain_output = dnnl_memory_desc_equal(wanted, plain) ? NULL : memory_of(job, plain, NULL);
    job->arguments[job->argument_count++] = (dnnl_exec_arg_t){DNNL_ARG_DST, job->output};
}

static bool describe(struct job *job, const void *operation, dnnl_primitive_attr_t attributes)
{
    return dnnl_primitive_desc_create(&job->description, operation, attributes, job->engine->engine,
                                      NULL) == dnnl_success &&
           dnnl_primitive_create(&job->primitive, job->description) == dnnl_success;
}

static const layout *wanted(const struct job *job, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(job->description, what, 0);
}

static bool prepare_gemm(struct job *job, const struct subject *subject)
{
    const struct gemm *gemm = &subject->test->gemm;
    const dnnl_dims_t a_dims = {gemm->m, gemm->k}, b_dims = {gemm->k, gemm->n};
    const dnnl_dims_t c_dims = {gemm->m, gemm->n};
    layout a = tagged(2, a_dims, dnnl_ab), c = tagged(2, c_dims, dnnl_ab);
    layout b = tagged(2, b_dims, gemm->packed ? dnnl_ba : dnnl_ab);
    layout b_any = gemm->packed ? tagged(2, b_dims, dnnl_format_tag_any) : b;
    dnnl_matmul_desc_t operation;
    if (dnnl_matmul_desc_init(&operation, &a, &b_any, NULL, &c) != dnnl_success ||
        !describe(job, &operation, NULL))
        return false;
    add_input(job, DNNL_ARG_SRC, &a, &a, subject_input(subject, 0));
    add_input(job, DNNL_ARG_WEIGHTS, wanted(job, dnnl_query_weights_md), &b,
              gemm->packed ? subject_param(subject, 0) : subject_input(subject, 1));
    add_output(job, &c, &c);
    return true;
}

static bool prepare_conv(struct job *job, const struct subject *subject, bool plain)
{
    const struct conv *conv = &subject->test->conv;
    int64_t height = (conv->height + 2 * conv->padding - conv->window) / conv->stride + 1;
    int64_t width = (conv->width + 2 * conv->padding - conv->window) / conv->stride + 1;
    const dnnl_dims_t x_dims = {conv->batch, conv->channels, conv->height, conv->width};
    const dnnl_dims_t y_dims = {conv->batch, conv->filters, height, width};
    const dnnl_dims_t grouped = {conv->groups, conv->filters / conv->groups,
                                 conv->channels / conv->groups, conv->window, conv->window};
    const dnnl_dims_t strides = {conv->stride, conv->stride};
    const dnnl_dims_t padding = {conv->padding, conv->padding};
    /* The far side is padded as much as the stride reaches. */
    const dnnl_dims_t far = {
        (height - 1) * conv->stride + conv->window - conv->height - conv->padding,
        (width - 1) * conv->stride + conv->window - conv->width - conv->padding};
    bool is_grouped = conv->groups > 1;
    int rank = is_grouped ? 5 : 4;
    const dnnl_dims_t ungrouped = {conv->filters, conv->channels, conv->window, conv->window};
    const int64_t *w_dims = is_grouped ? grouped : ungrouped;
    dnnl_format_tag_t given = conv->channels_last ? dnnl_nhwc : dnnl_nchw;
    layout x = tagged(4, x_dims, given), y = tagged(4, y_dims, given);
    layout w = tagged(rank, w_dims, is_grouped ? dnnl_goihw : dnnl_oihw);
    layout w_any = tagged(rank, w_dims, dnnl_format_tag_any);
    layout x_any = plain ? x : tagged(4, x_dims, dnnl_format_tag_any);
    layout y_any = plain ? y : tagged(4, y_dims, dnnl_format_tag_any);
    dnnl_convolution_desc_t operation;
    if (dnnl_convolution_forward_desc_init(&operation, dnnl_forward_inference,
                                           dnnl_convolution_direct, &x_any, &w_any, NULL, &y_any,
                                           strides, padding, far) != dnnl_success ||
        !describe(job, &operation, NULL))
        return false;
    add_input(job, DNNL_ARG_SRC, wanted(job, dnnl_query_src_md), &x, subject_input(subject, 0));
    add_input(job, DNNL_ARG_WEIGHTS, wanted(job, dnnl_query_weights_md), &w,
              subject_param(subject, 0));
    add_output(job, wanted(job, dnnl_query_dst_md), &y);
    return true;
}

static bool prepare_softmax(struct job *job, const struct subject *subject)
{
    const dnnl_dims_t dims = {subject->test->rows.count, subject->test->rows.width};
    layout x = tagged(2, dims, dnnl_ab);
    dnnl_softmax_desc_t operation;
    if (dnnl_softmax_forward_desc_init(&operation, dnnl_forward_inference, &x, 1) != dnnl_success ||
        !describe(job, &operation, NULL))
        return false;
    add_input(job, DNNL_ARG_SRC, &x, &x, subject_input(subject, 0));
    add_output(job, &x, &x);
    return true;
}

static bool prepare_layer_norm(struct job *job, const struct subject *subject)
{
    const dnnl_dims_t dims = {subject->test->rows.count, subject->test->rows.width};
    const dnnl_dims_t width = {subject->test->rows.width};
    layout x = tagged(2, dims, dnnl_ab), scale = tagged(1, width, dnnl_a);
    dnnl_layer_normalization_desc_t operation;
    if (dnnl_layer_normalization_forward_desc_init(&operation, dnnl_forward_inference, &x, NULL,
                                                   1e-5f, dnnl_use_scale | dnnl_use_shift) !=
            dnnl_success ||
        !describe(job, &operation, NULL))
        return false;
    add_input(job, DNNL_ARG_SRC, &x, &x, subject_input(subject, 0));
    add_input(job, DNNL_ARG_SCALE, &scale, &scale, subject_param(subject, 0));
    add_input(job, DNNL_ARG_SHIFT, &scale, &scale, subject_param(subject, 1));
    add_output(job, &x, &x);
    return true;
}

static bool prepare_gelu(struct job *job, const struct subject *subject)
{
    const dnnl_dims_t dims = {subject->test->rows.count, subject->test->rows.width};
    layout x = tagged(2, dims, dnnl_ab);
    dnnl_eltwise_desc_t operation;
    if (dnnl_eltwise_forward_desc_init(&operation, dnnl_forward_inference, dnnl_eltwise_gelu_erf,
                                       &x, 0, 0) != dnnl_success ||
        !describe(job, &operation, NULL))
        return false;
    add_input(job, DNNL_ARG_SRC, &x, &x, subject_input(subject, 0));
    add_output(job, &x, &x);
    return true;
}

/* An addition with what follows as post-operations. */
static bool prepare_bias(struct job *job, const struct subject *subject)
{
    const dnnl_dims_t dims = {subject->test->rows.count, subject->test->rows.width};
    const dnnl_dims_t row = {1, subject->test->rows.width}, strides = {row[1], 1};
    bool residual = subject->test->kind == CASE_BIAS_RELU_RESIDUAL;
    layout x = tagged(2, dims, dnnl_ab), bias = strided(2, row, strides);
    dnnl_binary_desc_t operation;
    dnnl_post_ops_t post = NULL;
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_create(&post);
    dnnl_post_ops_append_eltwise(post, 1, residual ? dnnl_eltwise_relu : dnnl_eltwise_gelu_erf, 0,
                                 0);
    if (residual)
        dnnl_post_ops_append_binary(post, dnnl_binary_add, &x);
    dnnl_primitive_attr_create(&attributes);
    dnnl_primitive_attr_set_post_ops(attributes, post);
    bool ok = dnnl_binary_desc_init(&operation, dnnl_binary_add, &x, &bias, &x) == dnnl_success &&
              describe(job, &operation, attributes);
    dnnl_primitive_attr_destroy(attributes);
    dnnl_post_ops_destroy(post);
    if (!ok)
        return false;
    add_input(job, DNNL_ARG_SRC_0, &x, &x, subject_input(subject, 0));
    add_input(job, DNNL_ARG_SRC_1, &bias, &bias, subject_param(subject, 0));
    if (residual)
        add_input(job, DNNL_ARG_ATTR_MULTIPLE_POST_OP(1) | DNNL_ARG_SRC_1, &x, &x,
                  subject_input(subject, 1));
    add_output(job, &x, &x);
    return true;
}

static bool prepare_kind(struct job *job, const struct subject *subject, bool plain)
{
    switch (subject->test->kind) {
    case CASE_GEMM: return prepare_gemm(job, subject);
    case CASE_CONV: return prepare_conv(job, subject, plain);
    case CASE_SOFTMAX: return prepare_softmax(job, subject);
    case CASE_LAYER_NORM: return prepare_layer_norm(job, subject);
    case CASE_GELU: return prepare_gelu(job, subject);
    case CASE_BIAS_GELU:
    case CASE_BIAS_RELU_RESIDUAL: return prepare_bias(job, subject);
    case CASE_NONE:
    case CASE_GRAPH: break;
    }
    return false;
}

static void release(void *state)
{
    struct job *job = state;
    for (int i = 0; i < job->argument_count; i++)
        dnnl_memory_destroy(job->arguments[i].memory);
    dnnl_memory_destroy(job->plain_output);
    dnnl_primitive_destroy(job->primitive);
    dnnl_primitive_desc_destroy(job->description);
    free(job);
}

static void *prepare(struct peer *peer, const struct subject *subject, struct error *err)
{
    enum case_kind kind = subject->test->kind;
    if (kind == CASE_NONE || kind == CASE_GRAPH)
        return NULL;
    struct job *job = calloc(1, sizeof *job);
    job->engine = peer->state;
    if (prepare_kind(job, subject, peer->driver == &peer_onednn_plain))
        return job;
    fail(err, ERR_UNSUPPORTED, "no primitive for this case");
    release(job);
    return NULL;
}

static uint64_t run(void *state, uint64_t repetitions)
{
    struct job *job = state;
    uint64_t begin = clock_ns();
    for (uint64_t i = 0; i < repetitions; i++)
        dnnl_primitive_execute(job->primitive, job->engine->stream, job->argument_count,
                               job->arguments);
    dnnl_stream_wait(job->engine->stream);
    return clock_ns() - begin;
}

static const float *result(void *state)
{
    struct job *job = state;
    dnnl_memory_t memory = job->plain_output ? job->plain_output : job->output;
    void *data = NULL;
    if (job->plain_output && !reorder(job->engine, job->output, job->plain_output))
        return NULL;
    dnnl_memory_get_data_handle(memory, &data);
    return data;
}

static void close_peer(struct peer *peer)
{
    struct engine *engine = peer->state;
    if (!engine)
        return;
    dnnl_stream_destroy(engine->stream);
    dnnl_engine_destroy(engine->engine);
    free(engine);
}

const struct peer_driver peer_onednn = {"oneDNN", open_onednn, prepare,   run,
                                        result,   release,     close_peer};
const struct peer_driver peer_onednn_plain = {"oneDNN as given", open_onednn, prepare, run, result,
                                              release,           close_peer};
#else
static bool open_onednn(struct peer *peer, uint32_t threads, struct error *err)
{
    (void)peer, (void)threads;
    return fail(err, ERR_NOT_FOUND, "built without libdnnl-dev");
}

const struct peer_driver peer_onednn = {.name = "oneDNN", .open = open_onednn};
const struct peer_driver peer_onednn_plain = {.name = "oneDNN as given", .open = open_onednn};
#endif
