/* A block and its training step, as two packages. */
#include "trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "checkpoint.h"
#include "curve.h"

static void check(int code, const urza_error *err)
{
    if (code != 0)
        die("%s: %s%s%s", urza_error_name(code), err->place, err->place[0] ? ": " : "",
            err->message);
}

static void *must_alloc(size_t size)
{
    void *memory = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!memory)
        die("no memory for %zu bytes", size);
    return memset(memory, 0, size);
}

size_t tensor_bytes(const DLTensor *tensor)
{
    size_t bytes = tensor->dtype.bits / 8;
    for (int i = 0; i < tensor->ndim; i++)
        bytes *= (size_t)tensor->shape[i]; /* the loader has checked the product */
    return bytes;
}

static urza_module *load(const char *path, const struct options *options)
{
    urza_load_options load = {
        .trusted_keys = options->key, .trusted_key_count = 1, .threads = options->threads};
    urza_module *module;
    urza_error err;
    check(urza_load(path, &load, &module, &err), &err);
    return module;
}

/* The sizes of named dims that the command line or the package chooses. */
static void choose_dims(const struct trainer *t, const struct options *options, int64_t *values)
{
    for (uint32_t i = 0; i < urza_dim_count(t->step); i++) {
        const urza_dim_info *dim = urza_dim(t->step, i);
        int64_t asked = !strcmp(dim->name, "B")   ? options->batch
                        : !strcmp(dim->name, "T") ? options->length
                                                  : 0;
        values[i] = asked ? asked : dim->typical ? dim->typical : dim->min;
        if (values[i] < dim->min || values[i] > dim->max)
            die("%s: %" PRId64 " is not from %" PRId64 " to %" PRId64, dim->name, values[i],
                dim->min, dim->max);
    }
}

static bool is_updated(const struct trainer *t, uint32_t input)
{
    for (uint32_t i = 0; i < urza_output_count(t->step); i++)
        if (urza_output_updates(t->step, i) == input)
            return true;
    return false;
}

static void make_inputs(struct trainer *t, const struct options *options)
{
    uint32_t dims = urza_dim_count(t->step);
    int64_t *values = must_alloc(dims * sizeof *values);
    urza_error err;
    choose_dims(t, options, values);
    t->count = urza_input_count(t->step);
    t->inputs = must_alloc(t->count * sizeof *t->inputs);
    t->updated = must_alloc(t->count * sizeof *t->updated);
    for (uint32_t i = 0; i < t->count; i++) {
        const urza_tensor_info *info = urza_input_info(t->step, i);
        int64_t *shape = must_alloc(8 * sizeof *shape);
        check(urza_input_shape(t->step, i, values, shape, &err), &err);
        t->inputs[i] = (DLTensor){
            .device = {kDLCPU, 0}, .ndim = info->rank, .dtype = info->dtype, .shape = shape};
        t->inputs[i].data = must_alloc(tensor_bytes(&t->inputs[i]));
        t->updated[i] = is_updated(t, i);
    }
    free(values);
}

static uint32_t find(const struct trainer *t, const char *name)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (!strcmp(urza_input_info(t->step, i)->name, name))
            return i;
    die("the step package has no input '%s'", name);
}

/* The step's input that is a param of NET. */
static DLTensor *param_input(const struct trainer *t, uint32_t param)
{
    const urza_tensor_info *info = urza_param_info(t->net, param);
    DLTensor *input = &t->inputs[find(t, info->name)];
    bool same = input->ndim == info->rank && input->dtype.code == info->dtype.code &&
                input->dtype.bits == info->dtype.bits;
    for (int i = 0; same && i < info->rank; i++)
        same = input->shape[i] == info->shape[i];
    if (!same)
        die("the packages are not of one block: '%s' has two shapes", info->name);
    return input;
}

/* "bf16", "i64" */
struct type_text {
    char text[8];
};
static struct type_text type_text(DLDataType dtype)
{
    struct type_text out;
    const char *letters = dtype.code == kDLFloat    ? "f"
                          : dtype.code == kDLBfloat ? "bf"
                          : dtype.code == kDLInt    ? "i"
                                                    : "u";
    snprintf(out.text, sizeof out.text, "%s%d", letters, dtype.bits);
    return out;
}

static void must_be_f32(const char *of, const urza_tensor_info *info)
{
    if (info->dtype.code != kDLFloat || info->dtype.bits != 32)
        die("output '%s' of the %s is %s: this program reads f32", info->name, of,
            type_text(info->dtype).text);
}

/* NET.urza and STEP.urza are easily taken for each other. */
static void check_kinds(const struct trainer *t, const struct options *options)
{
    if (urza_step_text(t->net))
        die("%s is a training step, '%s': the block's own package comes first, then its step",
            options->net, urza_step_text(t->net));
    if (!urza_step_text(t->step))
        die("%s is no whole training step: compile the block with --step%s", options->step,
            urza_has_backward(t->step) ? ", not with --backward" : "");
}

void trainer_open(struct trainer *out, const struct options *options)
{
    *out = (struct trainer){.net = load(options->net, options),
                            .step = load(options->step, options),
                            .fastest = HUGE_VAL};
    check_kinds(out, options);
    make_inputs(out, options);
    for (uint32_t i = 0; i < urza_output_count(out->net); i++)
        must_be_f32("block", urza_output_info(out->net, i));
    out->net_inputs = urza_input_count(out->net);
    for (uint32_t i = 0; i < out->net_inputs; i++)
        if (find(out, urza_input_info(out->net, i)->name) != i)
            die("the packages are not of one block: '%s'", urza_input_info(out->net, i)->name);
    for (uint32_t i = 0; i < urza_param_count(out->net); i++) {
        DLTensor *input = param_input(out, i);
        memcpy(input->data, urza_param_data(out->net, i), tensor_bytes(input));
    }
    for (uint32_t i = 0; i < urza_output_count(out->step); i++) {
        const urza_tensor_info *info = urza_output_info(out->step, i);
        if (urza_output_updates(out->step, i) != URZA_NO_INPUT)
            continue;
        if (info->rank != 0 || out->result_count == 2)
            die("'%s' is no result of a training step", info->name);
        must_be_f32("step package", info);
        out->result_count++;
    }
    if (out->result_count == 0)
        die("the step package gives no loss");
    *(float *)trainer_input(out, "lr", kDLFloat, 32, NULL) = options->lr;
}

void trainer_close(struct trainer *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        free(t->inputs[i].data);
        free(t->inputs[i].shape);
    }
    free(t->inputs);
    free(t->updated);
    urza_unload(t->step);
    urza_unload(t->net);
}

void *trainer_input(const struct trainer *t, const char *name, DLDataTypeCode code, uint8_t bits,
                    const int64_t **out_shape)
{
    const DLTensor *tensor = &t->inputs[find(t, name)];
    struct type_text is = type_text(tensor->dtype),
                     written = type_text((DLDataType){code, bits, 1});
    if (tensor->dtype.code != code || tensor->dtype.bits != bits)
        die("input '%s' of the step package is %s: this program writes %s", name, is.text,
            written.text);
    if (out_shape)
        *out_shape = tensor->shape;
    return tensor->data;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void make_step(struct trainer *t, bool timed)
{
    DLTensor outputs[2];
    urza_error err;
    for (uint32_t i = 0; i < t->result_count; i++)
        outputs[i] =
            (DLTensor){.data = &t->results[i], .device = {kDLCPU, 0}, .dtype = {kDLFloat, 32, 1}};
    double begin = now();
    check(urza_step(t->step, t->inputs, t->count, outputs, t->result_count, &err), &err);
    double seconds = now() - begin;
    t->seconds += timed ? seconds : 0;
    t->fastest = timed && seconds < t->fastest ? seconds : t->fastest;
}

/* What decides the numbers of a run, but for its packages. */
static void describe(const struct trainer *t, const struct options *options, char *out, size_t room)
{
    const char *step = urza_step_text(t->step);
    int used = snprintf(out, room, "seed=%" PRIu64 " lr=%.9g data=%016" PRIx64, options->seed,
                        (double)options->lr, t->data);
    used += snprintf(out + used, room - (size_t)used, " step=%016" PRIx64 " ",
                     checksum(0, step, strlen(step)));
    for (; *step && used + 1 < (int)room / 2; step++) /* it stands in JSON */
        out[used++] = (unsigned char)*step < 32 || strchr("\"\\", *step) ? '?' : *step;
    out[used] = '\0';
    for (int i = 0; i < t->inputs[0].ndim && used < (int)room; i++)
        used += snprintf(out + used, room - (size_t)used, "%s%" PRId64,
                         i ? "x" : " batch=", t->inputs[0].shape[i]);
}

/* Refuses before the training what could not be written behind it. */
static void try_path(const char *path)
{
    FILE *file = path ? fopen(path, "ab") : NULL;
    if (path && !file)
        die("%s: cannot be written", path);
    if (file)
        fclose(file);
}

void trainer_run(struct trainer *t, const struct options *options,
                 void (*fill)(void *user, uint64_t step), void *user)
{
    const int64_t *made = trainer_input(t, "step", kDLInt, 64, NULL);
    char run[1024];
    describe(t, options, run, sizeof run);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (options->checkpoint)
        checkpoint_try(options->checkpoint);
    try_path(options->svg);
    try_path(options->losses);
    if (options->resume)
        checkpoint_load(options->resume, t, run);
    int64_t first = *made, total = options->steps, most = total > first ? total - first : 0;
    int64_t lines = most > 10 ? most / 10 : 1;
    float *losses = must_alloc((size_t)most * sizeof *losses);
    for (int64_t i = 0; i < most; i++) {
        fill(user, (uint64_t)*made);
        make_step(t, i > 0);
        losses[i] = t->results[0];
        double rate = i > 0 ? (double)i / t->seconds : 0;
        progress_show(*made, total, losses[i], rate);
        if (i == 0 || (i + 1) % lines == 0 || i + 1 == most)
            printf("step %" PRId64 ": loss %.4f\n", *made, (double)losses[i]);
        if (options->checkpoint && options->every && *made % options->every == 0)
            checkpoint_save(options->checkpoint, t, run);
    }
    if (options->checkpoint)
        checkpoint_save(options->checkpoint, t, run);
    if (options->svg)
        curve_draw(options->svg, losses, most, first);
    if (options->losses)
        curve_print(options->losses, losses, most);
    if (most > 1)
        printf("%" PRId64 " steps, %.2f steps/s, the fastest %.2f\n", most,
               (double)(most - 1) / t->seconds, 1 / t->fastest);
    free(losses);
}

void trainer_hand_over(struct trainer *t)
{
    urza_error err;
    for (uint32_t i = 0; i < urza_param_count(t->net); i++)
        check(urza_param_set(t->net, urza_param_info(t->net, i)->name, param_input(t, i), &err),
              &err);
    check(urza_prepare(t->net, &err), &err);
}

urza_result *trainer_evaluate(struct trainer *t, const DLTensor *inputs, DLTensor *outputs,
                              int64_t (*shapes)[8], uint32_t output_count)
{
    urza_result *hold;
    urza_error err;
    for (uint32_t i = 0; i < output_count; i++)
        outputs[i] = (DLTensor){.device = {kDLCPU, 0}, .shape = shapes[i]};
    check(urza_call(t->net, inputs, t->net_inputs, outputs, output_count, &hold, &err), &err);
    return hold;
}
