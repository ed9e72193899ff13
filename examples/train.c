/* Trains the network of mlp.json to read digits that it draws itself, with an optimizer of its own;
 * train/digits.c leaves that to the package.
 * Usage: train PACKAGE KEY [STEPS]      the package is compiled with --backward --wrt params */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "urza/run.h"

#include "train/draw.h"
#include "train/random.h"

enum { ROWS = 64, INPUTS = DRAW_PIXELS, CLASSES = DRAW_CLASSES, PARAMS_MOST = 16 };
static float x[ROWS * INPUTS], y[ROWS * CLASSES], dy[ROWS * CLASSES];
static int label[ROWS];

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

/* Uniform in [0, 1): each call another number. */
static float drawn(void)
{
    static uint64_t count;
    return random_unit(random_bits(1, RANDOM_UNSEEN, count++));
}

static void draw_batch(int step)
{
    for (int row = 0; row < ROWS; row++)
        label[row] = draw_digit(x + row * INPUTS, random_bits(1, (uint64_t)step, (uint64_t)row));
}

/* The mean cross-entropy, and its gradient by y: softmax less the label. */
static float loss(int *right)
{
    float sum = 0;
    for (int row = 0; row < ROWS; row++) {
        float *score = y + row * CLASSES, most = score[0], total = 0;
        int best = 0;
        for (int c = 0; c < CLASSES; c++)
            most = score[c] > most ? score[best = c] : most;
        for (int c = 0; c < CLASSES; c++)
            total += expf(score[c] - most);
        for (int c = 0; c < CLASSES; c++)
            dy[row * CLASSES + c] =
                (expf(score[c] - most) / total - (c == label[row] ? 1.0F : 0.0F)) / ROWS;
        sum += logf(total) + most - score[label[row]];
        *right += best == label[row];
    }
    return sum / ROWS;
}

static int64_t elements(const urza_tensor_info *info)
{
    int64_t count = 1;
    for (int i = 0; i < info->rank; i++)
        count *= info->shape[i];
    return count;
}

static DLTensor tensor(const urza_tensor_info *info, float *data)
{
    return (DLTensor){.data = data,
                      .device = {kDLCPU, 0},
                      .ndim = info->rank,
                      .dtype = info->dtype,
                      .shape = (int64_t *)info->shape};
}

int main(int argc, char **argv)
{
    int64_t x_shape[] = {ROWS, INPUTS}, y_shape[] = {ROWS, CLASSES};
    DLTensor in = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    DLTensor out = {.data = y, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    DLTensor by_out = {.data = dy, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    DLTensor params[PARAMS_MOST], grads[PARAMS_MOST];
    uint8_t key[1][32]; /* who must have signed the package */
    urza_load_options options = {.trusted_keys = key, .trusted_key_count = 1};
    urza_module *module;
    urza_error err;

    if (argc < 3 || strlen(argv[2]) != 64)
        return 64;
    for (int i = 0; i < 32; i++)
        sscanf(argv[2] + 2 * i, "%2hhx", &key[0][i]);
    in.shape = x_shape;
    out.shape = by_out.shape = y_shape;
    check(urza_load(argv[1], &options, &module, &err), &err);

    /* The weights are this program's: uniform, smaller the more inputs they have. */
    uint32_t count = urza_param_count(module);
    for (uint32_t p = 0; p < count && p < PARAMS_MOST; p++) {
        const urza_tensor_info *info = urza_param_info(module, p);
        int64_t n = elements(info);
        float *values = malloc((size_t)n * sizeof *values);
        float reach = info->rank == 2 ? sqrtf(6.0F / (float)info->shape[1]) : 0;
        for (int64_t i = 0; i < n; i++)
            values[i] = reach * (2 * drawn() - 1);
        params[p] = tensor(info, values);
        grads[p] = tensor(info, malloc((size_t)n * sizeof *values));
    }

    int steps = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1000;
    for (int step = 0; step < steps; step++) {
        urza_tape *tape;
        int right = 0;
        draw_batch(step);
        check(urza_forward_train(module, &in, 1, params, count, &out, 1, &tape, &err), &err);
        float now = loss(&right);
        urza_gradients wanted = {
            .cotangents = &by_out, .cotangent_count = 1, .params = grads, .param_count = count};
        check(urza_backward(tape, &wanted, &err), &err);
        urza_tape_release(tape);
        for (uint32_t p = 0; p < count; p++) {
            float *w = params[p].data, *g = grads[p].data;
            for (int64_t i = 0, n = elements(urza_param_info(module, p)); i < n; i++)
                w[i] -= 0.1F * g[i];
        }
        if (step % 200 == 0 || step == steps - 1)
            printf("step %d: loss %.3f, %d of %d right\n", step, (double)now, right, ROWS);
    }
    for (uint32_t p = 0; p < count; p++) {
        free(params[p].data);
        free(grads[p].data);
    }
    urza_unload(module);
    return 0;
}
