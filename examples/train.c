/* Trains the network of mlp.json to read digits that it draws itself.
 * Usage: train PACKAGE KEY [STEPS]      the package is compiled with --backward --wrt params */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "urza/run.h"

enum { ROWS = 64, PIXELS = 28, INPUTS = PIXELS * PIXELS, CLASSES = 10, PARAMS_MOST = 16 };
static float x[ROWS * INPUTS], y[ROWS * CLASSES], dy[ROWS * CLASSES];
static int label[ROWS];
static unsigned seed = 1;

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

static float drawn(void) /* in [0, 1) */
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / (float)(1 << 24);
}

/* Digits of seven segments, moved by a few pixels, with noise. */
static void draw_batch(void)
{
    static const char segments[CLASSES] = {0x77, 0x24, 0x5d, 0x6d, 0x2e,
                                           0x6b, 0x7b, 0x25, 0x7f, 0x6f};
    static const int line[7][4] = {{4, 3, 9, 1},  {4, 3, 1, 9},   {12, 3, 1, 9}, {4, 11, 9, 1},
                                   {4, 11, 1, 9}, {12, 11, 1, 9}, {4, 19, 9, 1}};
    for (int row = 0; row < ROWS; row++) {
        float *image = x + row * INPUTS;
        int right = (int)(drawn() * 12), down = (int)(drawn() * 6);
        label[row] = (int)(drawn() * CLASSES);
        for (int i = 0; i < INPUTS; i++)
            image[i] = 0.4F * drawn();
        for (int s = 0; s < 7; s++)
            for (int j = 0; j < line[s][3] && segments[label[row]] >> s & 1; j++)
                for (int i = 0; i < line[s][2]; i++)
                    image[(line[s][1] + down + j) * PIXELS + line[s][0] + right - 3 + i] += 0.6F;
    }
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
        draw_batch();
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
