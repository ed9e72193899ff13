/* Measures this machine's peaks: multiply-adds in registers, copying and reading, on several
 * threads at once.
 *
 * A round starts all threads together and ends when the last is done. Rounds are made long enough
 * for the clock's resolution, and the fastest of several counts, since any disturbance makes a
 * round slower. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "package/package.h"
#include "profile/peak_priv.h"
#include "profile/profile.h"

#define ROUND_NS 15000000u
#define ROUNDS 4
#define MEMORY_MAX_BYTES (512.0 * 1024 * 1024)

static const struct variant *find_variant(const char *target)
{
    const struct variant *widest = NULL;
    for (size_t i = 0; i < peak_variant_count; i++) {
        const struct variant *variant = &peak_variants[i];
        if (variant->target[0] != '\0' && !target_supported_here(variant->target))
            continue;
        if (strcmp(variant->target, target) == 0)
            return variant;
        if (!widest)
            widest = variant;
    }
    return widest ? widest : &peak_variants[peak_variant_count - 1];
}

enum signal { SIGNAL_WAIT, SIGNAL_GO, SIGNAL_QUIT };

enum probe_kind { PROBE_NONE, PROBE_MULTIPLY_ADD, PROBE_COPY, PROBE_STREAM, PROBE_READ };

struct probe {
    enum probe_kind kind;
    const struct variant *variant;
    copy_fn *volatile copy; /* volatile, so that no copy is optimised away */
    uint64_t (*clock)(void);
    char *memory;
    size_t part_bytes; /* of each thread */
    uint64_t repetitions;
    _Atomic int signal;
};

struct worker {
    struct probe *probe;
    uint32_t index;
    volatile float sum;
    pthread_t thread;
};

static void work(struct worker *worker)
{
    struct probe *probe = worker->probe;
    char *part = probe->memory + worker->index * probe->part_bytes;
    size_t half = probe->part_bytes / 2;
    for (uint64_t i = 0; i < probe->repetitions; i++) {
        if (probe->kind == PROBE_MULTIPLY_ADD)
            worker->sum = probe->variant->multiply_add();
        else if (probe->kind == PROBE_COPY)
            probe->copy(part + half, part, half);
        else if (probe->kind == PROBE_STREAM)
            peak_copy_past_caches(part + half, part, half);
        else
            worker->sum =
                probe->variant->read((const float *)part, probe->part_bytes / sizeof(float));
    }
}

static void *wait_and_work(void *argument)
{
    struct worker *worker = argument;
    int signal;
    while ((signal = atomic_load(&worker->probe->signal)) == SIGNAL_WAIT)
        sched_yield();
    if (signal == SIGNAL_GO)
        work(worker);
    return NULL;
}

static bool run_round(struct probe *probe, struct worker *workers, uint32_t threads,
                      uint64_t *out_ns, struct error *err)
{
    uint32_t started = 1; /* worker 0 is the calling thread */
    atomic_store(&probe->signal, SIGNAL_WAIT);
    for (uint32_t i = 0; i < threads; i++)
        workers[i] = (struct worker){.probe = probe, .index = i};
    while (started < threads &&
           pthread_create(&workers[started].thread, NULL, wait_and_work, &workers[started]) == 0)
        started++;
    uint64_t begin = probe->clock();
    atomic_store(&probe->signal, started == threads ? SIGNAL_GO : SIGNAL_QUIT);
    if (started == threads)
        work(&workers[0]);
    for (uint32_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    *out_ns = probe->clock() - begin;
    return started == threads || fail(err, ERR_NOMEM, "cannot start %u threads", threads);
}

/* Measures repetitions per second and thread. */
static bool measure(struct probe *probe, enum probe_kind kind, struct worker *workers,
                    uint32_t threads, double *out, struct error *err)
{
    uint64_t ns;
    probe->kind = kind;
    double best = 0;
    for (probe->repetitions = 1;; probe->repetitions *= 2) {
        if (!run_round(probe, workers, threads, &ns, err))
            return false;
        if (ns >= ROUND_NS)
            break;
    }
    for (int round = 0; round < ROUNDS; round++) {
        if (!run_round(probe, workers, threads, &ns, err))
            return false;
        double rate = (double)probe->repetitions * 1e9 / (double)ns;
        if (rate > best)
            best = rate;
    }
    *out = best;
    return true;
}

bool peak_measure(const char *target, uint32_t threads, double bytes, bool thread_time,
                  struct peak *out, struct error *err)
{
    double total = bytes < MEMORY_MAX_BYTES ? bytes : MEMORY_MAX_BYTES;
    size_t parts = (size_t)(total / PART_UNIT_BYTES / threads) + 1;
    struct probe probe = {.variant = find_variant(target),
                          .copy = memcpy,
                          .clock = thread_time && threads == 1 ? clock_thread_ns : clock_ns,
                          .part_bytes = parts * PART_UNIT_BYTES};
    struct worker *workers = calloc(threads, sizeof *workers);
    probe.memory = aligned_alloc(PART_UNIT_BYTES, threads * probe.part_bytes);
    double adds = 0, copies = 0, streams = 0, reads = 0;
    bool ok = workers && probe.memory;
    if (!ok) {
        fail(err, ERR_NOMEM, "no memory to measure the speed of memory");
    } else {
        memset(probe.memory, 0, threads * probe.part_bytes);
        ok = measure(&probe, PROBE_COPY, workers, threads, &copies, err) &&
             measure(&probe, PROBE_STREAM, workers, threads, &streams, err) &&
             measure(&probe, PROBE_READ, workers, threads, &reads, err) &&
             measure(&probe, PROBE_MULTIPLY_ADD, workers, threads, &adds, err);
    }
    free(probe.memory);
    free(workers);
    if (ok)
        *out = (struct peak){
            .flops = adds * threads * 2 * STEPS * probe.variant->chains * probe.variant->lanes,
            .bytes_per_s = fmax(fmax(copies, streams), reads) * threads * (double)probe.part_bytes,
        };
    return ok;
}
