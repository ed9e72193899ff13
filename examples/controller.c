/* Looks after a network while it works. The network's blocks are packages of a registry, called
 * without pause by a thread of their own. For each block and each wish the controller asks the
 * registry for another kernel of the same blueprint, loads it while calls go on, lets the next call
 * take it, reports how long calls took, and goes back when it is slower.
 *
 *     controller URL HOME KERNEL... HINTS...
 *
 * HOME: the folder of trusted keys; KERNEL: an id or an alias; HINTS: a JSON object, one for each
 * wish. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "urza/client.h"

#define BLOCKS_MOST 8
#define TENSORS_MOST 16
#define DIMS_MOST 32
#define SAMPLE 1000
#define MEASURE_US 300000

struct block {
    char kernel[101];    /* the id of what is current */
    urza_handle *handle; /* what calls take */
    DLTensor inputs[TENSORS_MOST], outputs[TENSORS_MOST];
    int64_t shapes[2 * TENSORS_MOST][8];
    pthread_mutex_t lock;
    double times_us[SAMPLE]; /* under lock: of the last calls */
    uint64_t calls;          /* under lock: since they were last cleared */
};

struct network {
    struct block blocks[BLOCKS_MOST];
    uint32_t count;
    atomic_bool stopping;
};

struct latency {
    double p50_us, p95_us, sample[SAMPLE];
    uint32_t sample_count;
    uint64_t calls;
};

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "controller: %s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(code);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* The network at work. */

static void call_block(struct block *block)
{
    urza_module *module = urza_handle_get(block->handle);
    urza_error err;
    double start = now_us();
    check(urza_call(module, block->inputs, urza_input_count(module), block->outputs,
                    urza_output_count(module), NULL, &err),
          &err);
    double took = now_us() - start;
    pthread_mutex_lock(&block->lock);
    block->times_us[block->calls++ % SAMPLE] = took;
    pthread_mutex_unlock(&block->lock);
    urza_unload(module);
}

static void *work(void *argument)
{
    struct network *network = argument;
    while (!atomic_load(&network->stopping))
        for (uint32_t i = 0; i < network->count; i++)
            call_block(&network->blocks[i]);
    return NULL;
}

static int by_value(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* Of the calls of the next moments. */
static struct latency measure(struct block *block)
{
    struct latency out = {.calls = 0};
    pthread_mutex_lock(&block->lock);
    block->calls = 0;
    pthread_mutex_unlock(&block->lock);
    for (int i = 0; i < 100 && out.calls < 20; i++) { /* a slow block gets longer */
        usleep(MEASURE_US);
        pthread_mutex_lock(&block->lock);
        out.calls = block->calls;
        memcpy(out.sample, block->times_us, sizeof out.sample);
        pthread_mutex_unlock(&block->lock);
    }
    out.sample_count = (uint32_t)(out.calls < SAMPLE ? out.calls : SAMPLE);
    if (out.sample_count == 0)
        return out;
    qsort(out.sample, out.sample_count, sizeof *out.sample, by_value);
    out.p50_us = out.sample[out.sample_count / 2];
    out.p95_us = out.sample[out.sample_count * 95 / 100];
    return out;
}

/* Packages. */

static urza_module *load(urza_client *client, const char *kernel, char id[101])
{
    urza_load_options options = {.threads = 1};
    urza_package *package;
    urza_module *module;
    urza_error err;
    size_t size;
    options.trusted_keys = urza_client_keys(client, &options.trusted_key_count);
    check(urza_client_fetch(client, kernel, URZA_FETCH_DEFAULT, &package, &err), &err);
    const void *bytes = urza_package_bytes(package, &size);
    check(urza_load_memory(bytes, size, &options, &module, &err), &err);
    snprintf(id, 101, "%s", urza_package_kernel_id(package));
    urza_package_free(package);
    return module;
}

static void make_tensor(const urza_tensor_info *info, int64_t *shape, DLTensor *out)
{
    size_t bytes = info->dtype.bits / 8u;
    for (int32_t i = 0; i < info->rank; i++)
        bytes *= (size_t)shape[i];
    *out = (DLTensor){.data = aligned_alloc(64, (bytes + 127) / 64 * 64),
                      .device = {kDLCPU, 0},
                      .ndim = info->rank,
                      .dtype = info->dtype,
                      .shape = shape};
    if (!out->data)
        exit(1);
    memset(out->data, 0, bytes);
}

/* Zeros of typical sizes; every kernel of the block's blueprint takes the same. */
static void make_tensors(struct block *block, urza_module *module)
{
    int64_t dims[DIMS_MOST];
    uint32_t inputs = urza_input_count(module), outputs = urza_output_count(module);
    urza_error err;
    if (inputs > TENSORS_MOST || outputs > TENSORS_MOST || urza_dim_count(module) > DIMS_MOST)
        exit(1);
    for (uint32_t i = 0; i < urza_dim_count(module); i++) {
        const urza_dim_info *dim = urza_dim(module, i);
        int64_t step = dim->multiple_of, least = (dim->min + step - 1) / step * step;
        dims[i] = dim->typical > 0 ? dim->typical : least > 0 ? least : step;
    }
    for (uint32_t i = 0; i < inputs; i++) {
        check(urza_input_shape(module, i, dims, block->shapes[i], &err), &err);
        make_tensor(urza_input_info(module, i), block->shapes[i], &block->inputs[i]);
        urza_input_fill(module, i, dims, block->inputs[i].data);
    }
    check(urza_output_shapes(module, block->inputs, inputs, block->shapes + TENSORS_MOST, &err),
          &err);
    for (uint32_t i = 0; i < outputs; i++)
        make_tensor(urza_output_info(module, i), block->shapes[TENSORS_MOST + i],
                    &block->outputs[i]);
}

/* The controller. */

static void report(urza_client *client, const char *kernel, const struct latency *latency)
{
    urza_error err;
    const urza_observation seen = {.host = "controller",
                                   .calls = latency->calls,
                                   .p50_us = latency->p50_us,
                                   .p95_us = latency->p95_us,
                                   .sample_us = latency->sample,
                                   .sample_count = latency->sample_count};
    if (latency->calls > 0 && urza_client_observe(client, kernel, &seen, &err) != 0)
        fprintf(stderr, "controller: not reported: %s\n", err.message); /* goes on without */
}

static void improve(urza_client *client, struct block *block, const char *hints)
{
    urza_answer *answer;
    urza_error err;
    char id[101];
    struct latency before = measure(block);
    report(client, block->kernel, &before);
    if (urza_client_optimize(client, block->kernel, hints, &answer, &err) != 0) {
        printf("%.15s  %s: %s: %s\n", block->kernel, hints, urza_error_name(err.code), err.message);
        return;
    }
    const char *found = urza_answer_kernel_id(answer);
    if (!found || strcmp(found, block->kernel) == 0) {
        printf("%.15s  %s: it is that one already\n", block->kernel, hints);
        urza_answer_free(answer);
        return;
    }
    urza_module *module = load(client, found, id); /* calls go on meanwhile */
    urza_answer_free(answer);
    urza_module *old = urza_handle_get(block->handle);
    check(urza_handle_replace(block->handle, module, &err), &err); /* the next call takes it */
    struct latency after = measure(block);
    report(client, id, &after);
    bool slower = after.p50_us > before.p50_us * 1.05;
    printf("%.15s  %s: %.15s  %.2f us -> %.2f us: %s\n", block->kernel, hints, id, before.p50_us,
           after.p50_us, slower ? "slower, rolled back" : "taken");
    if (slower)
        check(urza_handle_replace(block->handle, old, &err), &err);
    urza_unload(old);
    urza_unload(module);
    if (!slower)
        snprintf(block->kernel, sizeof block->kernel, "%s", id);
}

int main(int argc, char **argv)
{
    static struct network network;
    urza_client *client;
    urza_error err;
    pthread_t worker;
    if (argc < 5)
        return 64;
    const urza_client_options options = {.home = argv[2]};
    check(urza_client_open(argv[1], &options, &client, &err), &err);
    for (int i = 3; i < argc && network.count < BLOCKS_MOST; i++) {
        if (argv[i][0] == '{')
            continue;
        struct block *block = &network.blocks[network.count++];
        pthread_mutex_init(&block->lock, NULL);
        urza_module *module = load(client, argv[i], block->kernel);
        make_tensors(block, module);
        check(urza_handle_new(module, &block->handle, &err), &err);
        urza_unload(module);
    }
    if (pthread_create(&worker, NULL, work, &network) != 0)
        return 1;
    for (uint32_t b = 0; b < network.count; b++)
        for (int i = 3; i < argc; i++)
            if (argv[i][0] == '{')
                improve(client, &network.blocks[b], argv[i]);
    atomic_store(&network.stopping, true);
    pthread_join(worker, NULL);
    for (uint32_t b = 0; b < network.count; b++) {
        struct block *block = &network.blocks[b];
        printf("%.15s  stays\n", block->kernel);
        urza_handle_free(block->handle);
        for (uint32_t i = 0; i < TENSORS_MOST; i++) {
            free(block->inputs[i].data);
            free(block->outputs[i].data);
        }
    }
    urza_client_close(client);
    return 0;
}
