/* A network of one layer learns what it cannot; a seed that is grafted into it helps; then the seed
 * breaks, and the network goes on without it. Usage: graft PACKAGE KEY, a graft of [B, 16]. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "urza/layer.h"

enum { ROWS = 64, WIDTH = 16, PARAMS_MOST = 8 };

static int64_t shape[2] = {ROWS, WIDTH};
static float x[ROWS][WIDTH], target[ROWS][WIDTH], h[ROWS][WIDTH], y[ROWS][WIDTH];
static float dy[ROWS][WIDTH], dh[ROWS][WIDTH];
static float weights[WIDTH][WIDTH]; /* the host's */

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

static float draw(void)
{
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (1 << 23) - 1;
}

static DLTensor tensor(void *data, int32_t rank, const int64_t *dims)
{
    return (DLTensor){.data = data,
                      .device = {kDLCPU, 0},
                      .ndim = rank,
                      .dtype = {kDLFloat, 32, 1},
                      .shape = (int64_t *)dims};
}

/* The seed's parameters are the host's: their initial values are the package's, but those of the
 * last layer, which are zeros, so that the seed begins as nothing. */
struct seed {
    uint32_t count;
    size_t sizes[PARAMS_MOST];
    DLTensor params[PARAMS_MOST], gradients[PARAMS_MOST];
};

static void make_seed(urza_module *module, struct seed *seed)
{
    urza_graft_info *graft;
    urza_error err;
    check(urza_graft_info_new(module, &graft, &err), &err);
    seed->count = urza_param_count(module);
    for (uint32_t i = 0; i < seed->count && i < PARAMS_MOST; i++) {
        const urza_tensor_info *info = urza_param_info(module, i);
        size_t size = 1;
        for (int32_t k = 0; k < info->rank; k++)
            size *= (size_t)info->shape[k];
        float *values = calloc(2 * size, sizeof *values);
        memcpy(values, urza_param_data(module, i), size * sizeof *values);
        for (uint32_t k = 0; k < graft->last_count; k++)
            if (strcmp(graft->last[k], info->name) == 0)
                memset(values, 0, size * sizeof *values);
        seed->sizes[i] = size;
        seed->params[i] = tensor(values, info->rank, info->shape);
        seed->gradients[i] = tensor(values + size, info->rank, info->shape);
    }
    urza_graft_info_free(graft);
}

/* One step of training: h = weights x, y = what the slot makes of it. Returns the loss. */
static double step(urza_slot *slot, struct seed *seed, uint64_t number)
{
    const float rate = 0.004f;
    DLTensor given = tensor(h, 2, shape), out = tensor(y, 2, shape);
    DLTensor by_y = tensor(dy, 2, shape), by_h = tensor(dh, 2, shape);
    urza_slot_tape *tape;
    urza_error err;
    double loss = 0;
    for (int i = 0; i < ROWS * WIDTH; i++) {
        h[i / WIDTH][i % WIDTH] = 0;
        for (int k = 0; k < WIDTH; k++)
            h[i / WIDTH][i % WIDTH] += weights[i % WIDTH][k] * x[i / WIDTH][k];
    }
    const urza_slot_call call = {
        .step = number, .h = &given, .params = seed->params, .param_count = seed->count, .y = &out};
    check(urza_slot_forward(slot, &call, &tape, &err), &err);
    for (int i = 0; i < ROWS * WIDTH; i++) {
        float apart = ((float *)out.data)[i] - target[i / WIDTH][i % WIDTH];
        loss += (double)(apart * apart) / (ROWS * WIDTH);
        dy[i / WIDTH][i % WIDTH] = 2 * apart / WIDTH;
    }
    const urza_slot_gradients gradients = {
        .dy = &by_y, .dh = &by_h, .params = seed->gradients, .param_count = seed->count};
    check(urza_slot_backward(slot, tape, &gradients, &err), &err);
    for (int i = 0; i < ROWS * WIDTH; i++)
        for (int k = 0; k < WIDTH; k++)
            weights[i % WIDTH][k] -= rate * ((float *)by_h.data)[i] * x[i / WIDTH][k];
    for (uint32_t i = 0; i < seed->count; i++)
        for (size_t k = 0; k < seed->sizes[i]; k++)
            ((float *)seed->params[i].data)[k] -= rate * ((float *)seed->gradients[i].data)[k];
    return loss;
}

static void print_events(urza_slot *slot)
{
    urza_slot_event events[8];
    uint32_t count = 8;
    urza_slot_events(slot, events, &count);
    for (uint32_t i = 0; i < count; i++)
        printf("  tick %llu: %s: %s -> %s: %s\n", (unsigned long long)events[i].tick,
               urza_slot_event_name(events[i].kind), urza_slot_state_name(events[i].from),
               urza_slot_state_name(events[i].to), events[i].reason);
}

static void train(urza_slot *slot, struct seed *seed, uint64_t steps)
{
    static uint64_t number;
    double loss = 0;
    for (uint64_t i = 0; i < steps; i++) {
        loss = step(slot, seed, number++);
        urza_slot_tick(slot, NULL);
        print_events(slot);
    }
    printf("%s, loss %.3f\n", urza_slot_state_name(urza_slot_state_get(slot)), loss);
}

int main(int argc, char **argv)
{
    uint8_t key[1][32];
    urza_module *module;
    urza_slot *slot;
    urza_error err;
    struct seed seed = {0};
    if (argc != 3 || strlen(argv[2]) != 64)
        return 64;
    for (int i = 0; i < 32; i++)
        sscanf(argv[2] + 2 * i, "%2hhx", &key[0][i]);
    for (int i = 0; i < ROWS * WIDTH; i++)
        x[i / WIDTH][i % WIDTH] = draw();
    for (int i = 0; i < ROWS * WIDTH; i++)
        target[i / WIDTH][i % WIDTH] = fabsf(x[i / WIDTH][(i + 1) % WIDTH]);
    const urza_load_options options = {.trusted_keys = key, .trusted_key_count = 1};
    check(urza_load(argv[1], &options, &module, &err), &err);
    check(urza_slot_open(&(urza_slot_options){.name = "layer 1", .through = 1}, &slot, &err), &err);
    make_seed(module, &seed);

    train(slot, &seed, 300); /* nothing is planted: the host alone */
    check(urza_slot_plant(slot, "tanh", module, NULL, &err), &err);
    train(slot, &seed, 600);
    ((float *)seed.params[0].data)[0] = NAN; /* something goes wrong */
    train(slot, &seed, 12);
    urza_slot_close(slot);
    urza_unload(module); /* which has the shapes of the parameters' tensors */
    for (uint32_t i = 0; i < seed.count; i++)
        free(seed.params[i].data);
    return 0;
}
