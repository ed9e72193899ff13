/* Runs a package made from mlp.json on two rows of numbers. Usage: call PACKAGE KEY */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "urza/run.h"

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

int main(int argc, char **argv)
{
    static float x[2 * 784], y[2 * 10];
    int64_t x_shape[] = {2, 784}, y_shape[] = {2, 10};
    DLTensor in = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    DLTensor out = {.data = y, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    uint8_t key[1][32]; /* who must have signed the package */
    urza_load_options options = {.trusted_keys = key, .trusted_key_count = 1};
    urza_module *module;
    urza_error err;

    if (argc != 3 || strlen(argv[2]) != 64)
        return 64;
    for (int i = 0; i < 32; i++)
        sscanf(argv[2] + 2 * i, "%2hhx", &key[0][i]);
    for (int i = 0; i < 2 * 784; i++)
        x[i] = (float)(i % 11) / 11;
    in.shape = x_shape;
    out.shape = y_shape;
    check(urza_load(argv[1], &options, &module, &err), &err);
    check(urza_call(module, &in, 1, &out, 1, NULL, &err), &err);
    for (int i = 0; i < 20; i++)
        printf("%9.5f%s", (double)y[i], i % 10 == 9 ? "\n" : " ");
    urza_unload(module);
    return 0;
}
