#include "urza/governor.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "layer/slot_priv.h"

#define SNAPSHOT_EVERY 100

struct urza_governor {
    struct detector detector;
    uint32_t count, every;
    uint64_t since; /* observations since the last snapshot */
    urza_governor_stats stats;
    struct kept_tensor *kept; /* copies */
    void **memory;            /* of the host, by tensor */
    size_t *bytes;
};

static void take_snapshot(struct urza_governor *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        memcpy(g->kept[i].dl.data, g->memory[i], g->bytes[i]);
    g->since = 0;
    g->stats.snapshots++;
}

static bool keep(struct urza_governor *g, const urza_governor_options *options, struct error *err)
{
    g->kept = calloc((size_t)options->count + 1, sizeof *g->kept);
    g->memory = calloc((size_t)options->count + 1, sizeof *g->memory);
    g->bytes = calloc((size_t)options->count + 1, sizeof *g->bytes);
    if (!g->kept || !g->memory || !g->bytes)
        return fail(err, ERR_NOMEM, "no memory for a governor");
    for (uint32_t i = 0; i < options->count; i++) {
        const DLTensor *tensor = &options->tensors[i];
        if (!tensor_keep(tensor, true, &g->kept[i], err))
            return fail_at(err, "tensor %u", i);
        g->count++;
        if (!tensor_dense(tensor))
            return fail_at((fail(err, ERR_INPUT, "is not dense"), err), "tensor %u", i);
        g->memory[i] = tensor_data(tensor);
        g->bytes[i] = tensor_count(tensor) * ((tensor->dtype.bits + 7u) / 8u);
    }
    return true;
}

URZA_EXPORT int urza_governor_open(const urza_governor_options *options, urza_governor **out,
                                   urza_error *err)
{
    struct error e;
    if (!options || !out || (options->count > 0 && !options->tensors))
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    struct urza_governor *g = calloc(1, sizeof *g);
    if (!g)
        return public_result(fail(&e, ERR_NOMEM, "no memory for a governor"), &e, err);
    g->every = options->snapshot_every > 0 ? options->snapshot_every : SNAPSHOT_EVERY;
    if (!keep(g, options, &e)) {
        urza_governor_close(g);
        return public_result(false, &e, err);
    }
    g->stats.snapshots = 1;
    *out = g;
    return 0;
}

URZA_EXPORT void urza_governor_close(urza_governor *g)
{
    for (uint32_t i = 0; g && i < g->count; i++)
        tensor_forget(&g->kept[i]);
    if (g) {
        free(g->kept);
        free(g->memory);
        free(g->bytes);
    }
    free(g);
}

URZA_EXPORT int urza_governor_observe(urza_governor *g, double loss)
{
    if (!g)
        return 0;
    g->stats.observed++;
    struct cpu_fp before;
    cpu_fp_begin(&before);
    bool exploded = detector_observe(&g->detector, loss);
    cpu_fp_end(&before);
    if (exploded) {
        for (uint32_t i = 0; i < g->count; i++)
            memcpy(g->memory[i], g->kept[i].dl.data, g->bytes[i]);
        g->since = 0;
        g->stats.rollbacks++;
        return 1;
    }
    if (++g->since >= g->every && g->detector.strikes == 0)
        take_snapshot(g);
    return 0;
}

URZA_EXPORT void urza_governor_stats_get(const urza_governor *g, urza_governor_stats *out)
{
    *out = g ? g->stats : (urza_governor_stats){0};
}
